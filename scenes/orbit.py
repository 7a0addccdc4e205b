"""Cameras for rendered scenes: training views all around, held-out views on a smooth orbit."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import ArrayLike

from render.camera import Camera, look_at

FIELD_OF_VIEW = math.radians(36)


def training_cameras(
    count: int, size: int, centre: ArrayLike, distance: float, elevations: tuple[float, float], seed: int
) -> tuple[Camera, ...]:
    """``count`` square views on a band of a sphere about ``centre``, z up: a jittered Fibonacci lattice.

    Args:
        elevations: lowest and highest, in radians; evenly spread by area.
    """
    jitter = np.random.default_rng(seed).uniform(-0.4, 0.4, (count, 2))
    low, high = math.sin(elevations[0]), math.sin(elevations[1])
    golden = math.pi * (3 - math.sqrt(5))
    cameras = []
    for i, (du, dv) in enumerate(jitter):
        elevation = math.asin(low + (high - low) * (i + 0.5 + dv) / count)
        cameras.append(_camera(golden * i + du * 2 / math.sqrt(count), elevation, size, centre, distance))
    return tuple(cameras)


def orbit_cameras(
    count: int, size: int, centre: ArrayLike, distance: float, elevations: tuple[float, float]
) -> tuple[Camera, ...]:
    """``count`` square views on one turn about z that rises and sinks twice between elevations (radians)."""
    middle, swing = (elevations[0] + elevations[1]) / 2, (elevations[1] - elevations[0]) / 2
    angles = 2 * math.pi * np.arange(count) / count
    return tuple(
        _camera(angle, middle + swing * math.sin(2 * angle), size, centre, distance)
        for angle in angles.tolist()
    )


def _camera(azimuth: float, elevation: float, size: int, centre: ArrayLike, distance: float) -> Camera:
    direction = np.array(
        [
            math.cos(azimuth) * math.cos(elevation),
            math.sin(azimuth) * math.cos(elevation),
            math.sin(elevation),
        ]
    )
    centre = np.asarray(centre, np.float64)
    return look_at(centre + distance * direction, centre, (0, 0, 1), size, size, FIELD_OF_VIEW)
