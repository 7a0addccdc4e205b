"""A fluffy ball beside a block of glazed tiles and a glazed bead: something soft next to something hard.

Scalar code for numba (see ``scenes.kernels``). Lengths are in the scene's own units, z is up, the base's top
is z = 0; colours are linear. ``regions`` says where in the world the soft and the hard thing stand.

The ball is a medium without a surface. With r the distance from its centre, e the direction from there, and
``strands(e, r)`` in [0, 1] noise that is drawn out along e like fibres, its extinction coefficient is

    sigma(x) = DENSITY * depth^2 * (0.25 + 0.75 strands),   depth = max(0, 1 - r / reach),
    reach = RADIUS * (0.66 + 0.34 strands),

per unit of the scene's length (``world_from_source`` shrinks lengths to the world's, and so divides it by its
scale there). All of it is our choice.
"""

from __future__ import annotations

import math
from math import atan2, floor, sqrt

import numpy as np
from numpy.typing import NDArray

from scenes.kernels import kernel
from scenes.still_life import TETRAHEDRON, Rgb, disc, length, mix, mosaic, noise, step, wood

BOUNDS = ((-0.98, -0.98, -0.17), (0.98, 0.98, 0.90))  # of all shapes, with a little air
CENTRE = (0.0, 0.0, 0.20)  # what cameras look at

# The fluffy ball ------------------------------------------------------------------------------------------

RADIUS = 0.44  # no strand reaches further
MEDIUM = (-0.36, 0.16, 0.37, RADIUS)
DENSITY = 100.0
FINENESS = 11.0  # strands across one radian


@kernel
def strands(ex: float, ey: float, ez: float, r: float) -> float:
    """0 between strands, 1 within: noise over the direction, so that strands run outwards, waved a little."""
    wave = 1.5 * noise(9.0 * r * ex, 9.0 * r * ey, 9.0 * r * ez)
    x, y, z = FINENESS * ex + wave, FINENESS * ey - wave, FINENESS * ez + 0.5 * wave
    tuft = 0.6 * noise(x, y, z) + 0.4 * noise(2.3 * x, 2.3 * y, 2.3 * z)
    return step(0.5, 0.55, tuft)


@kernel
def density(x: float, y: float, z: float) -> float:
    """Extinction coefficient at a point, per unit of length."""
    x, y, z = x - MEDIUM[0], y - MEDIUM[1], z - MEDIUM[2]
    r = sqrt(x * x + y * y + z * z)
    if r >= RADIUS:
        return 0.0
    s = 1.0 / max(r, 1e-6)
    strand = strands(s * x, s * y, s * z, r)
    depth = max(1.0 - r / (RADIUS * (0.66 + 0.34 * strand)), 0.0)
    return DENSITY * depth * depth * (0.25 + 0.75 * strand)


@kernel
def medium_albedo(x: float, y: float, z: float) -> Rgb:
    """The share of extinct light that is scattered: crimson within, rosy tips."""
    x, y, z = x - MEDIUM[0], y - MEDIUM[1], z - MEDIUM[2]
    r = sqrt(x * x + y * y + z * z) / RADIUS
    return mix((0.82, 0.07, 0.07), (0.98, 0.52, 0.36), step(0.62, 0.6, r))


# Signed distances -----------------------------------------------------------------------------------------

# x, y, z of each shape's centre, and the radius of its bounding sphere.
PLACES = np.array(
    [
        [0.00, 0.00, 0.000, 9.00],  # base
        [0.46, -0.10, 0.235, 0.39],  # block
        [-0.02, -0.62, 0.145, 0.15],  # bead
    ]
)
BLOCK_HALF, BLOCK_ROUNDING = 0.235, 0.035
TURN_COS, TURN_SIN = math.cos(0.5), math.sin(0.5)  # the block's


@kernel
def block(x: float, y: float, z: float) -> float:
    """A cube with rounded edges."""
    inner = BLOCK_HALF - BLOCK_ROUNDING
    a, b, c = abs(x) - inner, abs(y) - inner, abs(z) - inner
    outside = sqrt(max(a, 0.0) ** 2 + max(b, 0.0) ** 2 + max(c, 0.0) ** 2)
    return outside + min(max(a, max(b, c)), 0.0) - BLOCK_ROUNDING


@kernel
def base(rho: float, z: float) -> float:
    return min(disc(rho, z, 0.90, -0.06, 0.0, 0.025), disc(rho, z, 0.95, -0.14, -0.05, 0.03))


@kernel
def shape(k: int, x: float, y: float, z: float) -> float:
    """Signed distance to shape ``k`` in scene coordinates."""
    x, y, z = x - PLACES[k, 0], y - PLACES[k, 1], z - PLACES[k, 2]
    if k == 0:
        return base(length(x, y), z)
    if k == 1:
        return block(TURN_COS * x + TURN_SIN * y, -TURN_SIN * x + TURN_COS * y, z)
    return sqrt(x * x + y * y + z * z) - 0.145


@kernel
def scene_sdf(x: float, y: float, z: float) -> tuple[float, int]:
    """Distance to the nearest shape, and which it is."""
    d, nearest = shape(0, x, y, z), 0
    for k in range(1, len(PLACES)):
        to_shape = shape(k, x, y, z)
        if to_shape < d:
            d, nearest = to_shape, k
    return d, nearest


@kernel
def normal(k: int, x: float, y: float, z: float) -> Rgb:
    """Outward unit normal of shape ``k``, from four distances at the corners of a tetrahedron."""
    nx = ny = nz = 0.0
    for corner in range(4):
        ex, ey, ez = TETRAHEDRON[corner, 0], TETRAHEDRON[corner, 1], TETRAHEDRON[corner, 2]
        d = shape(k, x + 1e-4 * ex, y + 1e-4 * ey, z + 1e-4 * ez)
        nx, ny, nz = nx + d * ex, ny + d * ey, nz + d * ez
    s = 1.0 / max(sqrt(nx * nx + ny * ny + nz * nz), 1e-12)
    return nx * s, ny * s, nz * s


# Materials ------------------------------------------------------------------------------------------------

# What each shape sends on, in place of a second bounce: about half its mean colour; and the ball.
BOUNCE = np.array([[0.17, 0.10, 0.06], [0.22, 0.26, 0.36], [0.05, 0.22, 0.22]])
MEDIUM_BOUNCE = (0.42, 0.10, 0.08)


@kernel
def tile(u: float, v: float) -> Rgb:
    """Painted earthenware on the square [-1, 1]^2: an eight-pointed star, quarter rings at the corners."""
    white, blue, pale, gold = (0.84, 0.85, 0.84), (0.02, 0.07, 0.36), (0.16, 0.34, 0.66), (0.80, 0.46, 0.06)
    u, v = abs(u), abs(v)
    rho = length(u, v)
    edge = 0.025
    star = min(max(u, v), (u + v) * 0.70710678)  # two squares, one on its corner
    colour = mix(white, blue, step(0.0, edge, 0.56 - star))
    colour = mix(colour, white, step(0.0, edge, 0.46 - star))
    colour = mix(colour, pale, step(0.0, edge, 0.40 - star))
    petals = 0.20 + 0.08 * math.cos(8.0 * atan2(v, u))
    colour = mix(colour, gold, step(0.0, edge, petals - rho))
    colour = mix(colour, white, step(0.0, edge, 0.07 - rho))
    corner = length(1.0 - u, 1.0 - v)
    colour = mix(colour, blue, step(0.0, edge, 0.38 - corner))
    colour = mix(colour, gold, step(0.0, edge, 0.24 - corner))
    return mix(colour, blue, step(0.0, edge, max(u, v) - 0.94))


@kernel
def block_colour(x: float, y: float, z: float) -> Rgb:
    """Four tiles on each face."""
    a, b, c = abs(x), abs(y), abs(z)
    u, v = (y, z) if a > b and a > c else ((x, z) if b > c else (x, y))
    u, v = u / BLOCK_HALF + 1.0, v / BLOCK_HALF + 1.0
    return tile(2.0 * (u - floor(u)) - 1.0, 2.0 * (v - floor(v)) - 1.0)


@kernel
def bead_colour(x: float, y: float, z: float) -> Rgb:
    """Sea green glaze that pools darker below, with a golden band."""
    green = mix((0.02, 0.20, 0.22), (0.10, 0.52, 0.46), step(0.0, 0.24, z + 0.02))
    return mix(green, (0.82, 0.52, 0.12), step(0.0, 0.01, 0.016 - abs(z - 0.03)))


@kernel
def material(k: int, x: float, y: float, z: float) -> tuple[Rgb, float]:
    """Linear albedo and gloss (0 matte, 1 glazed) of shape ``k`` at a point of its surface."""
    x, y, z = x - PLACES[k, 0], y - PLACES[k, 1], z - PLACES[k, 2]
    if k == 1:
        return block_colour(TURN_COS * x + TURN_SIN * y, -TURN_SIN * x + TURN_COS * y, z), 1.0
    if k == 2:
        return bead_colour(x, y, z), 1.0
    rho = length(x, y)
    if z > -0.01 and 0.78 < rho < 0.87:  # inlay
        return mosaic(atan2(y, x), (rho - 0.78) / 0.045, 120.0), 0.25
    return wood(x, y, z), 0.12


# Where what is --------------------------------------------------------------------------------------------


def regions(world_from_source: NDArray[np.float64]) -> dict[str, tuple[NDArray[np.float64], float]]:
    """World centre (3,) and radius of the spheres that hold the ``fuzzy`` ball and the ``solid`` block.

    The spheres do not meet; both hold some of the base below.

    Args:
        world_from_source: (4, 4), of the loaded data set.
    """
    spheres = {"fuzzy": MEDIUM, "solid": (*PLACES[1, :3].tolist(), float(PLACES[1, 3]))}
    scale = float(np.linalg.norm(world_from_source[:3, 0]))
    return {
        name: ((world_from_source @ [x, y, z, 1])[:3], scale * radius)
        for name, (x, y, z, radius) in spheres.items()
    }
