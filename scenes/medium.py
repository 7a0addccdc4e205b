"""What a medium does to light: extinction along a ray, and how light scatters in it.

Scalar code for numba (see ``scenes.kernels``). The medium is the subject's, which puts its own in the place
of the first four names (see ``ray_tracer``); as they stand here there is none.

Source: phase function, Henyey and Greenstein 1941; light that is scattered several times, Wrenninge et al.
2013, "Oz: the great and volumetric". Their parameters are our choice.
"""

from __future__ import annotations

from math import exp, sqrt

from scenes.kernels import kernel
from scenes.still_life import Rgb

MEDIUM = (0.0, 0.0, 0.0, 0.0)  # the sphere that holds it: centre and radius
MEDIUM_BOUNCE = (0.0, 0.0, 0.0)  # what it sends on, in place of a second bounce


@kernel
def density(x: float, y: float, z: float) -> float:
    """Extinction coefficient at a point, per unit of length."""
    return 0.0


@kernel
def medium_albedo(x: float, y: float, z: float) -> Rgb:
    """The share of extinct light that is scattered."""
    return 0.0, 0.0, 0.0


SHADOW_STEP = 0.03  # for optical depths that no camera sees directly
FORWARD = 0.2  # mean cosine of the angle by which the medium scatters


@kernel
def medium_span(
    ox: float, oy: float, oz: float, dx: float, dy: float, dz: float, end: float
) -> tuple[float, float]:
    """Where a ray's part from 0 to ``end`` enters and leaves the sphere of the medium; 0, 0 if it misses."""
    x, y, z = MEDIUM[0] - ox, MEDIUM[1] - oy, MEDIUM[2] - oz
    middle = x * dx + y * dy + z * dz
    squared = MEDIUM[3] * MEDIUM[3] - (x * x + y * y + z * z - middle * middle)
    if squared <= 0.0:
        return 0.0, 0.0
    half = sqrt(squared)
    return max(middle - half, 0.0), min(middle + half, end)


@kernel
def optical_depth(
    ox: float, oy: float, oz: float, dx: float, dy: float, dz: float, end: float, spacing: float
) -> float:
    """Integral of the extinction on a ray from 0 to ``end``, by midpoints at most ``spacing`` apart."""
    a, b = medium_span(ox, oy, oz, dx, dy, dz, end)
    if a >= b:
        return 0.0
    n = int((b - a) / spacing) + 1
    h = (b - a) / n
    total = 0.0
    for i in range(n):
        t = a + (i + 0.5) * h
        total += density(ox + t * dx, oy + t * dy, oz + t * dz)
        if total * h > 12.0:
            break
    return total * h


@kernel
def phase(cosine: float) -> float:
    """Light that goes on at this cosine from where it went, relative to light that is scattered evenly."""
    squared = 1.0 + FORWARD * FORWARD - 2.0 * FORWARD * cosine
    return (1.0 - FORWARD * FORWARD) / (squared * sqrt(squared))


@kernel
def scattered_through(depth: float) -> float:
    """Share of light that passes an optical depth, also by being scattered several times on its way.

    The mean of three octaves, each of half the weight of the one before and half its optical depth.
    """
    return (exp(-depth) + 0.5 * exp(-0.5 * depth) + 0.25 * exp(-0.25 * depth)) / 1.75
