"""A ray tracer for the embedded scenes: sphere tracing, light that is found once, area-filtered pictures.

Scalar code for numba (see ``scenes.kernels``). It speaks of a subject's shapes, materials and medium: the
names imported here are the still life's, which has no medium, and ``ray_tracer`` puts another subject's in
their place. Radiance is linear until ``display``; samples, and what is seen through the medium, are added as
displayed, as pictures with alpha are composited.

Source: sphere tracing, Hart 1996; soft shadows, Quilez, iquilezles.org/articles/rmshadows. Lights and tone
curve are our choice: highlights are broad, so that colour of a low order in direction can follow them.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from functools import cache
from math import exp, sqrt
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
from numpy.typing import NDArray

from scenes import medium, still_life
from scenes.kernels import cached, compile_kernels, in_scope, kernel, parallel_kernel, specialised
from scenes.medium import (
    MEDIUM,
    MEDIUM_BOUNCE,
    SHADOW_STEP,
    density,
    medium_albedo,
    medium_span,
    optical_depth,
    phase,
    scattered_through,
)
from scenes.still_life import BOUNCE, Rgb, material, mix, normal, scene_sdf, step

prange = range  # numba's, once compiled

Floats = NDArray[np.float64]
Pixels = NDArray[np.uint8]
Lattice = NDArray[np.float32]

# What a subject gives, and what of a medium's it changes.
NAMES = ("scene_sdf", "normal", "material", "BOUNCE")
MEDIUM_NAMES = ("MEDIUM", "MEDIUM_BOUNCE", "density", "medium_albedo", "medium_span", "optical_depth")


def sources_of(subject: ModuleType) -> list[Path]:
    """The files on which the subject's pictures depend."""
    return [Path(str(file)) for file in (__file__, medium.__file__, still_life.__file__, subject.__file__)]


@cache
def ray_tracer(subject: ModuleType) -> tuple[Callable[..., Any], Callable[..., Any]]:
    """``light_lattice`` and ``trace_views``, compiled for the shapes of a module such as ``still_life``.

    Raises:
        InshaderError: numba is not installed.
    """
    compile_kernels(vars(subject))
    names = {name: vars(subject)[name] for name in (*NAMES, *MEDIUM_NAMES) if name in vars(subject)}
    soft = specialised(vars(medium), names)
    scope = specialised(globals(), {**names, **{name: soft[name] for name in MEDIUM_NAMES}})
    # numba files cached machine code under the values that a function closes over, so naming the sources here
    # has it compile anew when a shape changes in a file that is not the function's own.
    sources = hashlib.sha256(b"".join(path.read_bytes() for path in sources_of(subject))).hexdigest()

    def lattice(low: Floats, cell: float, size: tuple[int, int, int], half: Floats, whole: Floats) -> Any:
        assert sources
        return light_lattice(low, cell, size, half, whole)

    def views(poses: Floats, fl: float, images: Pixels, lattice: Lattice, low: Floats, cell: float) -> None:
        assert sources
        trace_views(poses, fl, images, lattice, low, cell)

    return cached(in_scope(lattice, scope)), cached(in_scope(views, scope))


# Light ----------------------------------------------------------------------------------------------------

SUN = (0.40 / 0.9927, -0.46 / 0.9927, 0.785 / 0.9927)  # unit vector towards it
SUN_COLOUR = (1.25, 1.12, 0.92)
FAR = 1e3  # beyond everything
MEDIUM_STEP = 0.014  # along a camera's rays, in the subject's units
SUN_IN_MEDIUM = 1.1  # of what a surface that faces the sun gets; 1/4 were it scattered once and evenly


@kernel
def sky(x: float, y: float, z: float) -> Rgb:
    """Radiance from a direction: dark floor, pale horizon, blue above and a broad glow about the sun."""
    up = step(0.0, 0.6, z)
    t = max(z, 0.0)
    colour = mix((0.22, 0.19, 0.17), mix((0.60, 0.60, 0.60), (0.28, 0.40, 0.64), t), up)
    glow = 1.2 * max(x * SUN[0] + y * SUN[1] + z * SUN[2], 0.0) ** 6
    return colour[0] + glow, colour[1] + 0.95 * glow, colour[2] + 0.85 * glow


@kernel
def march(
    ox: float, oy: float, oz: float, dx: float, dy: float, dz: float, t: float, end: float
) -> tuple[float, int]:
    """Distance to the first surface on a ray from ``t`` on, and its shape; -1 if none up to ``end``."""
    for _ in range(96):
        d, k = scene_sdf(ox + t * dx, oy + t * dy, oz + t * dz)
        if d < 1e-3:
            return t + d, k
        t += d
        if t > end:
            break
    return -1.0, -1


@kernel
def shadow(x: float, y: float, z: float) -> float:
    """Share of a wide sun that shapes let through to a point."""
    seen, t = 1.0, 0.02
    for _ in range(40):
        d, _ = scene_sdf(x + t * SUN[0], y + t * SUN[1], z + t * SUN[2])
        seen = min(seen, 0.5 + 0.5 * 7.0 * d / t)
        if seen <= 0.0:
            return 0.0
        t += min(max(abs(d), 0.01), 0.15)
        if t > 1.6:
            break
    return seen * seen * (3.0 - 2.0 * seen)


@kernel
def incoming(x: float, y: float, z: float, dx: float, dy: float, dz: float, veil: float) -> Rgb:
    """Radiance from a direction: the sky's or by one bounce a shape's, behind a medium; ``veil`` is the share
    of the medium's optical depth that counts."""
    t, k = march(x, y, z, dx, dy, dz, 0.01, 1.5)
    light = sky(dx, dy, dz) if k < 0 else (BOUNCE[k, 0], BOUNCE[k, 1], BOUNCE[k, 2])
    if MEDIUM[3] > 0.0:
        depth = optical_depth(x, y, z, dx, dy, dz, t if k >= 0 else FAR, SHADOW_STEP)
        light = mix(MEDIUM_BOUNCE, light, exp(-veil * depth))
    return light


@kernel
def skylight(x: float, y: float, z: float, nx: float, ny: float, nz: float, directions: Floats) -> Rgb:
    """Mean radiance at a point, weighted by the cosine to the normal."""
    s = 1.0 if nz >= 0 else -1.0  # an orthonormal frame about the normal: Duff et al. 2017
    a = -1.0 / (s + nz)
    b = nx * ny * a
    r = g = bl = 0.0
    for i in range(directions.shape[0]):
        u, v, w = directions[i, 0], directions[i, 1], directions[i, 2]
        dx = u * (1.0 + s * nx * nx * a) + v * b + w * nx
        dy = u * s * b + v * (s + ny * ny * a) + w * ny
        dz = -u * s * nx - v * ny + w * nz
        light = incoming(x, y, z, dx, dy, dz, 1.0)
        r, g, bl = r + light[0], g + light[1], bl + light[2]
    n = directions.shape[0]
    return r / n, g / n, bl / n


@kernel
def medium_light(x: float, y: float, z: float, directions: Floats) -> tuple[float, float, float, float]:
    """Light at a point of the medium: mean radiance but for the sun as rgb, and the seen share of the sun."""
    r = g = b = 0.0
    n = directions.shape[0]
    for i in range(n):
        light = incoming(x, y, z, directions[i, 0], directions[i, 1], directions[i, 2], 0.5)
        r, g, b = r + light[0] / n, g + light[1] / n, b + light[2] / n
    depth = optical_depth(x, y, z, SUN[0], SUN[1], SUN[2], FAR, SHADOW_STEP)
    return r, g, b, shadow(x, y, z) * scattered_through(depth)


@parallel_kernel
def light_lattice(low: Floats, cell: float, size: tuple[int, int, int], half: Floats, whole: Floats) -> Any:
    """Diffuse light: (nx, ny, nz, 4) float32, sky light as rgb and the seen share of the sun.

    It does not depend on the view, so it is found once, at the points near a surface (each moved onto it).
    Where the subject has a medium, four more values are the light at the points within.

    Args:
        half, whole: (n, 3) unit vectors, about +z as dense as the cosine, and evenly all around.
    """
    lattice = np.zeros((size[0], size[1], size[2], 8 if MEDIUM[3] > 0.0 else 4), np.float32)
    for i in prange(size[0]):
        for j in range(size[1]):
            for k in range(size[2]):
                x, y, z = low[0] + i * cell, low[1] + j * cell, low[2] + k * cell
                d, near = scene_sdf(x, y, z)
                if abs(d) < 1.8 * cell:  # a surface in a cell is at most its diagonal from its corners
                    nx, ny, nz = normal(near, x, y, z)
                    lift = 0.004 - d
                    x, y, z = x + lift * nx, y + lift * ny, z + lift * nz
                    light = skylight(x, y, z, nx, ny, nz, half)
                    depth = optical_depth(x, y, z, SUN[0], SUN[1], SUN[2], FAR, SHADOW_STEP)
                    lattice[i, j, k, 0], lattice[i, j, k, 1], lattice[i, j, k, 2] = light
                    lattice[i, j, k, 3] = shadow(x, y, z) * exp(-depth)
                if MEDIUM[3] > 0.0:
                    x, y, z = low[0] + i * cell, low[1] + j * cell, low[2] + k * cell
                    dx, dy, dz = x - MEDIUM[0], y - MEDIUM[1], z - MEDIUM[2]
                    if dx * dx + dy * dy + dz * dz < (MEDIUM[3] + 1.8 * cell) ** 2:
                        r, g, b, sun = medium_light(x, y, z, whole)
                        lattice[i, j, k, 4], lattice[i, j, k, 5], lattice[i, j, k, 6] = r, g, b
                        lattice[i, j, k, 7] = sun
    return lattice


@kernel
def light_at(lattice: Lattice, first: int, x: float, y: float, z: float) -> tuple[float, float, float, float]:
    """Four of the lattice's values at lattice coordinates, trilinear."""
    i = min(max(int(x), 0), lattice.shape[0] - 2)
    j = min(max(int(y), 0), lattice.shape[1] - 2)
    k = min(max(int(z), 0), lattice.shape[2] - 2)
    u, v, w = x - i, y - j, z - k
    r = g = b = sun = 0.0
    for corner in range(8):
        p, q, s = corner >> 2, (corner >> 1) & 1, corner & 1
        weight = (1 - p + (2 * p - 1) * u) * (1 - q + (2 * q - 1) * v) * (1 - s + (2 * s - 1) * w)
        r += weight * lattice[i + p, j + q, k + s, first]
        g += weight * lattice[i + p, j + q, k + s, first + 1]
        b += weight * lattice[i + p, j + q, k + s, first + 2]
        sun += weight * lattice[i + p, j + q, k + s, first + 3]
    return r, g, b, sun


@kernel
def display(linear: float) -> float:
    """What is shown of linear light: a soft shoulder in place of a clip, and a gamma of 2."""
    shown: float = sqrt(1.0 - exp(-1.3 * linear))
    return shown


@kernel
def shade(k: int, x: float, y: float, z: float, d: Rgb, lattice: Lattice, low: Floats, cell: float) -> Rgb:
    """Display colour of shape ``k`` at a point, seen along ``d``."""
    dx, dy, dz = d
    nx, ny, nz = normal(k, x, y, z)
    albedo, gloss = material(k, x, y, z)
    u, v, w = (x - low[0]) / cell, (y - low[1]) / cell, (z - low[2]) / cell
    red, green, blue, sun = light_at(lattice, 0, u, v, w)
    facing = -(nx * dx + ny * dy + nz * dz)
    rx, ry, rz = dx + 2 * facing * nx, dy + 2 * facing * ny, dz + 2 * facing * nz
    diffuse_sun = sun * max(nx * SUN[0] + ny * SUN[1] + nz * SUN[2], 0.0)
    mirror = sky(rx, ry, rz)
    fresnel = gloss * (0.09 + 0.45 * max(1.0 - facing, 0.0) ** 4) * min(1.0, 1.6 * green)  # less in corners
    highlight = 0.9 * gloss * sun * max(rx * SUN[0] + ry * SUN[1] + rz * SUN[2], 0.0) ** 28
    return (
        display(albedo[0] * (red + SUN_COLOUR[0] * diffuse_sun) + fresnel * mirror[0] + highlight),
        display(albedo[1] * (green + SUN_COLOUR[1] * diffuse_sun) + fresnel * mirror[1] + highlight),
        display(albedo[2] * (blue + SUN_COLOUR[2] * diffuse_sun) + fresnel * mirror[2] + highlight),
    )


@kernel
def gather(
    ox: float,
    oy: float,
    oz: float,
    d: Rgb,
    end: float,
    lattice: Lattice,
    low: Floats,
    cell: float,
    out: Floats,
) -> float:
    """Add the medium's weighted display colour on a ray up to ``end`` to ``out``; what it lets through."""
    dx, dy, dz = d
    a, b = medium_span(ox, oy, oz, dx, dy, dz, end)
    if a >= b:
        return 1.0
    n = int((b - a) / MEDIUM_STEP) + 1
    h = (b - a) / n
    bright = SUN_IN_MEDIUM * phase(dx * SUN[0] + dy * SUN[1] + dz * SUN[2])
    through = 1.0
    for i in range(n):
        t = a + (i + 0.5) * h
        x, y, z = ox + t * dx, oy + t * dy, oz + t * dz
        extinction = density(x, y, z)
        if extinction <= 0.0:
            continue
        u, v, w = (x - low[0]) / cell, (y - low[1]) / cell, (z - low[2]) / cell
        red, green, blue, sun = light_at(lattice, 4, u, v, w)
        albedo = medium_albedo(x, y, z)
        sun *= bright
        weight = through * (1.0 - exp(-extinction * h))
        out[0] += weight * display(albedo[0] * (red + SUN_COLOUR[0] * sun))
        out[1] += weight * display(albedo[1] * (green + SUN_COLOUR[1] * sun))
        out[2] += weight * display(albedo[2] * (blue + SUN_COLOUR[2] * sun))
        through -= weight
        if through < 3e-3:
            return 0.0
    return through


# Pictures -------------------------------------------------------------------------------------------------


@parallel_kernel
def trace_views(poses: Floats, fl: float, images: Pixels, lattice: Lattice, low: Floats, cell: float) -> None:
    """Fill ``images`` (n, h, w, 4) with straight-alpha RGBA.

    A pixel is the mean of 4 samples, of 16 where those differ. ``poses`` (n, 4, 4) are world_from_camera, the
    principal point is the middle of the picture.
    """
    n, h, w = images.shape[:3]
    for row in prange(n * h):
        view, j = row // h, row % h
        samples = np.zeros((16, 4))
        shared = 0.0
        for i in range(w):
            x, y = (i + 0.5 - 0.5 * w) / fl, -(j + 0.5 - 0.5 * h) / fl
            if i % 8 == 0:  # eight pixels share the first part of the way, the samples of one the second
                shared = clear_distance(poses[view], x + 3.5 / fl, y, 4.1 / fl, 0.0)
            start = clear_distance(poses[view], x, y, 0.75 / fl, shared) if shared >= 0.0 else -1.0
            if start < 0.0:
                continue
            count = 0
            for finer in range(2):
                for s in range(16):
                    a, b = s % 4, s // 4
                    # First the four of a rotated grid: one in each row and column.
                    if (a == (2 * b + 1 - b // 2) % 4) == (finer == 0):
                        u, v = x + (a - 1.5) / (4 * fl), y - (b - 1.5) / (4 * fl)
                        trace_sample(poses[view], u, v, start, lattice, low, cell, samples[count])
                        count += 1
                if finer == 0 and spread(samples) < 0.1:
                    break
            store(samples, count, images[view, j, i])


@kernel
def ray_through(pose: Floats, u: float, v: float) -> Rgb:
    """Unit direction through (u, v) of the plane at distance one."""
    dx = pose[0, 0] * u + pose[0, 1] * v - pose[0, 2]
    dy = pose[1, 0] * u + pose[1, 1] * v - pose[1, 2]
    dz = pose[2, 0] * u + pose[2, 1] * v - pose[2, 2]
    s = 1.0 / sqrt(dx * dx + dy * dy + dz * dz)
    return dx * s, dy * s, dz * s


@kernel
def clear_distance(pose: Floats, u: float, v: float, slope: float, start: float) -> float:
    """How far a cone about the ray through (u, v) is clear of all shapes; -1 if it meets none."""
    dx, dy, dz = ray_through(pose, u, v)
    ox, oy, oz = float(pose[0, 3]), float(pose[1, 3]), float(pose[2, 3])
    # The sphere about the still life's BOUNDS holds all shapes of every subject.
    middle = -(dx * ox + dy * oy + dz * (oz - 0.165))
    reach = 2.7 - (ox * ox + oy * oy + (oz - 0.165) ** 2 - middle * middle)
    if reach <= 0.0:
        return -1.0
    reach = sqrt(reach)
    t = max(middle - reach, start)
    for _ in range(96):
        d, _ = scene_sdf(ox + t * dx, oy + t * dy, oz + t * dz)
        if MEDIUM[3] > 0.0:
            x, y, z = ox + t * dx - MEDIUM[0], oy + t * dy - MEDIUM[1], oz + t * dz - MEDIUM[2]
            d = min(d, sqrt(x * x + y * y + z * z) - MEDIUM[3])
        d -= slope * t
        if d < 1e-3:
            return t
        t += d
        if t > middle + reach:
            return -1.0
    return t


@kernel
def trace_sample(
    pose: Floats, u: float, v: float, start: float, lattice: Lattice, low: Floats, cell: float, out: Floats
) -> None:
    """Display colour times coverage, and coverage, on the ray through (u, v), clear up to ``start``."""
    d = ray_through(pose, u, v)
    dx, dy, dz = d
    ox, oy, oz = pose[0, 3], pose[1, 3], pose[2, 3]
    t, k = march(ox, oy, oz, dx, dy, dz, start, start + 3.3)
    out[:] = 0.0
    through = 1.0
    if MEDIUM[3] > 0.0:
        through = gather(ox, oy, oz, d, t if k >= 0 else FAR, lattice, low, cell, out)
        out[3] = 1.0 - through
    if k >= 0 and through > 0.0:
        colour = shade(k, ox + t * dx, oy + t * dy, oz + t * dz, d, lattice, low, cell)
        for c in range(3):
            out[c] += through * colour[c]
        out[3] = 1.0


@kernel
def spread(samples: Floats) -> float:
    """The largest difference between the first four samples in any channel."""
    widest = 0.0
    for c in range(4):
        low, high = samples[0, c], samples[0, c]
        for s in range(1, 4):
            low, high = min(low, samples[s, c]), max(high, samples[s, c])
        widest = max(widest, high - low)
    return widest


@kernel
def store(samples: Floats, count: int, pixel: Pixels) -> None:
    """Mean of the samples, straight alpha, 8 bits; averaged as displayed, as ``scenes.images`` does."""
    coverage = 0.0
    for s in range(count):
        coverage += samples[s, 3]
    for c in range(3):
        total = 0.0
        for s in range(count):
            total += samples[s, c]
        pixel[c] = np.uint8(255.0 * min(total / max(coverage, 1e-9), 1.0) + 0.5)
    pixel[3] = np.uint8(255.0 * coverage / count + 0.5)
    if pixel[3] == 0:  # no colour where nothing is seen
        pixel[:] = 0
