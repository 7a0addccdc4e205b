"""The embedded still life: a tea set and fruit on a pedestal, as signed distances and materials.

Scalar code for numba (see ``scenes.kernels``). Lengths are in the scene's own units, z is up, the pedestal's
top is z = 0; colours are linear.

Source: smooth union, Quilez, iquilezles.org/articles/smin. Shapes and materials are our choice.
"""

from __future__ import annotations

import math
from math import atan2, cos, floor, sin, sqrt

import numpy as np

from scenes.kernels import kernel

BOUNDS = ((-1.03, -1.03, -0.53), (1.03, 1.03, 0.86))  # of all shapes, with a little air
CENTRE = (0.0, 0.0, -0.05)  # what cameras look at

Rgb = tuple[float, float, float]

# Signed distances -----------------------------------------------------------------------------------------


@kernel
def length(x: float, y: float) -> float:
    """``math.hypot`` guards against overflow, which takes three times as long."""
    return sqrt(x * x + y * y)


@kernel
def smooth_min(a: float, b: float, k: float) -> float:
    h = max(k - abs(a - b), 0.0) / k
    return min(a, b) - 0.25 * k * h * h


@kernel
def disc(rho: float, z: float, radius: float, low: float, high: float, rounding: float) -> float:
    """A cylinder about the z axis with rounded edges."""
    a = rho - radius + rounding
    b = abs(z - 0.5 * (low + high)) - 0.5 * (high - low) + rounding
    return min(max(a, b), 0.0) + length(max(a, 0.0), max(b, 0.0)) - rounding


@kernel
def ellipsoid(rho: float, z: float, a: float, b: float) -> float:
    """Of revolution, radii a and b; not the exact distance, but of the right sign and order."""
    k0 = sqrt((rho / a) ** 2 + (z / b) ** 2)
    k1 = sqrt((rho / (a * a)) ** 2 + (z / (b * b)) ** 2)
    return k0 * (k0 - 1.0) / max(k1, 1e-9) if k0 > 1e-3 else -min(a, b)


@kernel
def rod(
    x: float, y: float, z: float, x0: float, z0: float, r0: float, x1: float, z1: float, r1: float
) -> float:
    """A rod in the plane y = 0 whose radius goes from r0 to r1."""
    dx, dz = x1 - x0, z1 - z0
    t = min(max(((x - x0) * dx + (z - z0) * dz) / (dx * dx + dz * dz), 0.0), 1.0)
    return sqrt((x - x0 - t * dx) ** 2 + y * y + (z - z0 - t * dz) ** 2) - (r0 + t * (r1 - r0))


@kernel
def ring(x: float, y: float, z: float, radius: float, thickness: float) -> float:
    """A torus in the plane y = 0."""
    return length(length(x, z) - radius, y) - thickness


@kernel
def pedestal(rho: float, z: float) -> float:
    top = disc(rho, z, 1.0, -0.12, 0.0, 0.025)
    drum = disc(rho, z, 0.92, -0.44, -0.10, 0.0)
    foot = disc(rho, z, 1.0, -0.50, -0.42, 0.025)
    return min(top, min(drum, foot))


@kernel
def teapot(x: float, y: float, z: float) -> float:
    rho = length(x, y)
    d = ellipsoid(rho, z - 0.36, 0.44, 0.34)
    d = smooth_min(d, disc(rho, z, 0.25, 0.0, 0.06, 0.02), 0.05)
    d = smooth_min(d, length(rho - 0.21, z - 0.655) - 0.02, 0.03)  # the lid's rim
    spout = rod(x, y, z, 0.36, 0.28, 0.10, 0.56, 0.44, 0.06)
    spout = smooth_min(spout, rod(x, y, z, 0.56, 0.44, 0.06, 0.68, 0.66, 0.042), 0.04)
    handle = ring((x + 0.42) * 0.9, y, z - 0.40, 0.20, 0.036)
    d = smooth_min(d, min(spout, handle), 0.05)
    lid = ellipsoid(rho, z - 0.66, 0.20, 0.09)
    knob = sqrt(rho * rho + (z - 0.775) ** 2) - 0.05
    return min(d, smooth_min(lid, knob, 0.03))


@kernel
def cup(x: float, y: float, z: float) -> float:
    rho = length(x, y)
    dish = 0.022 + 1.6 * max(rho - 0.15, 0.0) ** 2
    saucer = max(0.85 * (abs(z - dish) - 0.014), rho - 0.29)
    body = ellipsoid(rho, z - 0.27, 0.20, 0.23)
    shell = max(abs(body) - 0.013, z - 0.335)
    tea = max(body, z - 0.285)
    handle = ring(x - 0.21, y, z - 0.21, 0.075, 0.018)
    handle = max(handle, -body)
    return min(saucer, min(min(shell, tea), handle))


@kernel
def lemon(x: float, y: float, z: float) -> float:
    u, v = 0.8 * x + 0.6 * y, -0.6 * x + 0.8 * y  # it lies along u
    d = ellipsoid(length(v, z), u, 0.135, 0.175)
    return smooth_min(d, sqrt((abs(u) - 0.17) ** 2 + v * v + z * z) - 0.025, 0.06)


@kernel
def apple(x: float, y: float, z: float) -> float:
    rho = length(x, y)
    d = length(rho - 0.05 - 0.05 * z, z) - 0.13
    return min(d, rod(x, y, z, 0.0, 0.05, 0.008, 0.03, 0.19, 0.012))


@kernel
def orange(x: float, y: float, z: float) -> float:
    return sqrt(x * x + y * y + z * z) - 0.165


# Where each shape stands: x, y, z of its frame, its bounding sphere's height above that and radius.
PLACES = np.array(
    [
        [0.00, 0.00, 0.000, 0.00, 9.00],  # pedestal
        [-0.10, 0.24, 0.000, 0.40, 0.83],  # teapot
        [0.42, -0.50, 0.000, 0.15, 0.36],  # cup
        [-0.30, -0.56, 0.135, 0.00, 0.21],  # lemon
        [-0.66, -0.30, 0.130, 0.00, 0.24],  # apple
        [0.72, 0.16, 0.165, 0.00, 0.17],  # orange
        [-0.06, -0.79, 0.165, 0.00, 0.17],  # a second orange
    ]
)
TETRAHEDRON = np.array([[1.0, -1.0, -1.0], [-1.0, -1.0, 1.0], [-1.0, 1.0, -1.0], [1.0, 1.0, 1.0]])
TURN_COS, TURN_SIN = cos(-0.5), sin(-0.5)  # the teapot's spout


@kernel
def shape(k: int, x: float, y: float, z: float) -> float:
    """Signed distance to shape ``k`` in scene coordinates."""
    x, y, z = x - PLACES[k, 0], y - PLACES[k, 1], z - PLACES[k, 2]
    if k == 0:
        return pedestal(length(x, y), z)
    if k == 1:
        return teapot(TURN_COS * x + TURN_SIN * y, -TURN_SIN * x + TURN_COS * y, z)
    if k == 2:
        return cup(x, y, z)
    if k == 3:
        return lemon(x, y, z)
    if k == 4:
        return apple(x, y, z)
    return orange(x, y, z)


@kernel
def scene_sdf(x: float, y: float, z: float) -> tuple[float, int]:
    """Distance to the nearest shape, and which it is. Far from a shape its bounding sphere stands for it."""
    d, nearest = shape(0, x, y, z), 0
    for k in range(1, len(PLACES)):
        dx, dy, dz = x - PLACES[k, 0], y - PLACES[k, 1], z - PLACES[k, 2] - PLACES[k, 3]
        squared = dx * dx + dy * dy + dz * dz
        if squared < (max(d, 0.0) + PLACES[k, 4]) ** 2:
            to_sphere = sqrt(squared) - PLACES[k, 4]
            to_shape = to_sphere if to_sphere > 0.1 else shape(k, x, y, z)
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


@kernel
def mix(a: Rgb, b: Rgb, t: float) -> Rgb:
    return a[0] + t * (b[0] - a[0]), a[1] + t * (b[1] - a[1]), a[2] + t * (b[2] - a[2])


@kernel
def step(edge: float, width: float, x: float) -> float:
    """0 below the edge, 1 above, smooth over ``width``."""
    t = min(max((x - edge) / width + 0.5, 0.0), 1.0)
    return t * t * (3.0 - 2.0 * t)


@kernel
def lattice_value(i: int, j: int, k: int) -> float:
    h = (i * 73856093 ^ j * 19349663 ^ k * 83492791) & 0x7FFFFFFF
    h = ((h ^ (h >> 13)) * 1274126177) & 0x7FFFFFFF
    return ((h ^ (h >> 16)) & 0xFFFF) / 65535.0


@kernel
def noise(x: float, y: float, z: float) -> float:
    """Value noise in [0, 1] of period one."""
    i, j, k = floor(x), floor(y), floor(z)
    u, v, w = x - i, y - j, z - k
    u, v, w = u * u * (3 - 2 * u), v * v * (3 - 2 * v), w * w * (3 - 2 * w)
    total = 0.0
    for corner in range(8):
        p, q, r = corner >> 2, (corner >> 1) & 1, corner & 1
        weight = (1 - p + (2 * p - 1) * u) * (1 - q + (2 * q - 1) * v) * (1 - r + (2 * r - 1) * w)
        total += weight * lattice_value(i + p, j + q, k + r)
    return total


@kernel
def wood(x: float, y: float, z: float) -> Rgb:
    """Rings about a distant axis, with fine grain along them."""
    warp = noise(2.0 * x, 2.0 * y, 5.0 * z)
    rings = 9.0 * length(y + 1.6, 0.6 * z + 0.3) + 1.2 * warp
    ripple = rings - floor(rings)
    ripple = step(0.0, 0.5, ripple - 0.15) * (1.0 - step(0.85, 0.25, ripple))
    grain = noise(7.0 * x, 60.0 * y, 60.0 * z)
    return mix((0.16, 0.055, 0.02), (0.42, 0.19, 0.075), min(1.0, 0.6 * ripple + 0.4 * grain))


@kernel
def mosaic(phi: float, v: float, around: float) -> Rgb:
    """Square tiles in joints of mortar: ``around`` of them in a full turn, v counts rows."""
    u = phi / (2.0 * math.pi) * around
    i, j = floor(u), floor(v)
    edge = min(min(u - i, i + 1 - u), min(v - j, j + 1 - v))
    tone = lattice_value(i, j, 7)
    light, dark = (0.85, 0.78, 0.62), (0.04, 0.26, 0.30)
    if (i + j) % 2 == 0:
        colour = mix(light, (0.80, 0.66, 0.45), tone)
    else:
        colour = mix(dark, (0.10, 0.42, 0.42), tone)
        if lattice_value(i, j, 3) > 0.8:
            colour = (0.62, 0.22, 0.08)
    return mix((0.45, 0.42, 0.38), colour, step(0.06, 0.04, edge))


@kernel
def pedestal_colour(x: float, y: float, z: float) -> tuple[Rgb, float]:
    rho = length(x, y)
    if -0.42 < z < -0.12 and rho < 0.95:
        return mosaic(atan2(y, x), (z + 0.42) / 0.30 * 3.0, 60.0), 0.25
    if z > -0.01 and 0.86 < rho < 0.95:  # inlay
        return mosaic(atan2(y, x), (rho - 0.86) / 0.045, 120.0), 0.25
    return wood(x, y, z), 0.12


@kernel
def porcelain_colour(x: float, y: float, z: float) -> tuple[Rgb, float]:
    """White with cobalt: bands, flowers around the belly, stripes on lid and handle."""
    white, blue = (0.84, 0.85, 0.86), (0.03, 0.09, 0.38)
    rho, phi = length(x, y), atan2(y, x)
    ink = 0.0
    if rho < 0.46 and z < 0.66:
        u = phi / (2.0 * math.pi) * 8.0
        u = (u - floor(u) - 0.5) * 0.30
        v = z - 0.37
        r, a = length(u, v), atan2(v, u)
        petals = 0.075 + 0.032 * cos(6.0 * a)
        ink = step(0.0, 0.012, petals - r) * step(0.022, 0.01, r)
        ink = max(ink, 0.55 * step(0.0, 0.012, 0.020 - abs(length(abs(u) - 0.15, abs(v) - 0.0) - 0.035)))
        for band in (0.12, 0.22, 0.52):
            ink = max(ink, step(0.0, 0.008, 0.011 - abs(z - band)))
        scallop = 0.565 + 0.022 * abs(sin(12.0 * phi))
        ink = max(ink, step(0.0, 0.01, z - scallop) * step(0.0, 0.01, 0.64 - z))
    elif rho < 0.25:
        ink = step(0.0, 0.25, cos(16.0 * phi)) * step(0.0, 0.01, 0.735 - z)
        ink = max(ink, step(0.0, 0.02, z - 0.765))
    else:
        ink = step(0.0, 0.3, sin(70.0 * z) - 0.55)
    return mix(white, blue, ink), 1.0


@kernel
def cup_colour(x: float, y: float, z: float) -> tuple[Rgb, float]:
    red, cream, gold = (0.52, 0.035, 0.03), (0.86, 0.78, 0.62), (0.75, 0.48, 0.12)
    rho, phi = length(x, y), atan2(y, x)
    inside = ellipsoid(rho, z - 0.27, 0.20, 0.23) < -0.005
    if z > 0.275 and inside:
        return ((0.20, 0.06, 0.01), 0.6) if z < 0.288 else (cream, 0.8)
    if z > 0.322 or rho > 0.275:
        return gold, 0.8
    if z < 0.07 and rho > 0.13:  # dots on the saucer
        u = phi / (2.0 * math.pi) * 18.0
        dot = length((u - floor(u) - 0.5) * 0.07, rho - 0.215)
        return mix(cream, red, step(0.020, 0.008, dot)), 0.8
    u = phi / (2.0 * math.pi) * 12.0 + 0.5 * floor((z - 0.1) / 0.065)
    v = (z - 0.1) / 0.065
    dot = length((u - floor(u) - 0.5) * 0.10, (v - floor(v) - 0.5) * 0.065)
    return mix(cream, red, step(0.020, 0.008, dot)), 0.8


@kernel
def material(k: int, x: float, y: float, z: float) -> tuple[Rgb, float]:
    """Linear albedo and gloss (0 matte, 1 glazed) of shape ``k`` at a point of its surface."""
    x, y, z = x - PLACES[k, 0], y - PLACES[k, 1], z - PLACES[k, 2]
    if k == 0:
        return pedestal_colour(x, y, z)
    if k == 1:
        return porcelain_colour(TURN_COS * x + TURN_SIN * y, -TURN_SIN * x + TURN_COS * y, z)
    if k == 2:
        return cup_colour(x, y, z)
    if k == 3:
        peel = noise(45.0 * x, 45.0 * y, 45.0 * z)
        return mix((0.76, 0.44, 0.02), (0.92, 0.64, 0.06), peel), 0.15
    if k == 4:
        if length(x, y) < 0.03 and z > 0.07:
            return (0.12, 0.07, 0.03), 0.0
        streaks = noise(4.0 + 5.0 * atan2(y, abs(x)), 4.0 * z, 1.0)
        ripe = step(0.55, 0.7, 0.5 + 1.6 * z + 0.5 * x + 0.3 * (streaks - 0.5))
        return mix((0.42, 0.50, 0.08), (0.50, 0.03, 0.02), ripe), 0.5
    peel = noise(38.0 * x, 38.0 * y, 38.0 * z)
    navel = step(0.03, 0.02, length(x - 0.03, y + 0.02)) if z > 0 else 1.0
    return mix((0.15, 0.22, 0.04), mix((0.72, 0.22, 0.01), (0.88, 0.36, 0.03), peel), navel), 0.15


# What each shape sends on, in place of a second bounce: about half its mean colour.
BOUNCE = np.array(
    [
        [0.17, 0.10, 0.06],
        [0.32, 0.34, 0.40],
        [0.32, 0.14, 0.11],
        [0.45, 0.30, 0.04],
        [0.25, 0.14, 0.04],
        [0.42, 0.18, 0.02],
        [0.42, 0.18, 0.02],
    ]
)
