"""Unbounded scenes: all of space in a ball of radius 2, and how a ray is sampled through it.

Source of the map: Barron et al., *Mip-NeRF 360*, 2022, equation 10. The lattice along a ray is our choice: a
closed form, so that a march can leap over empty space, and nearly even in the contracted space. ``s`` is
where a place of a ray lies on it: from the foot, the ray's nearest place to the middle, s is the distance up
to 1 and 2 - 1 / distance beyond, negative before the foot.

``training/contraction.py`` is the twin for tensors, ``shaders/common/contraction.glsl`` that for shaders.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

SIDE = 2.0  # the contracted box is [-SIDE, SIDE]^3
# The constants of an asset whose space is not contracted.
PLAIN: dict[str, int | float | tuple[float, ...]] = {"ball": (0.0, 0.0, 0.0, 0.0), "near_plane": 0.0}
FAR = 50.0  # distance along a ray where a march ends: contracted, that is 0.02 from the end of space

Array = NDArray[np.float32]


def contract(x: Array) -> Array:
    """All of space in the ball of radius 2: x (..., 3) in the unit ball, (2 - 1 / |x|) x / |x| beyond."""
    norm = np.maximum(np.linalg.norm(x, axis=-1, keepdims=True), np.float32(1))
    return np.asarray((2 - 1 / norm) / norm * x, np.float32)


def contract_slope(x: Array, v: Array) -> Array:
    """The derivative of ``contract`` at x (n, 3), which is symmetric, times v (n, 3)."""
    norm = np.maximum(np.linalg.norm(x, axis=-1, keepdims=True), np.float32(1))
    out = x / norm
    along = (out * v).sum(-1, keepdims=True) * out
    shrunk = (2 - 1 / norm) / norm * (v - along) + along / norm**2
    return np.asarray(np.where(norm > 1, shrunk, v), np.float32)


def lattice_place(distance: Array) -> Array:
    """s (...) of signed distances (...) from a ray's foot."""
    beyond = np.maximum(np.abs(distance), np.float32(1))
    return np.asarray(np.where(beyond > 1, np.copysign(2 - 1 / beyond, distance), distance), np.float32)


def lattice_distance(s: Array) -> Array:
    """Inverse of ``lattice_place``, for s (...) between -2 and 2."""
    beyond = np.maximum(np.abs(s), np.float32(1))
    return np.asarray(np.where(beyond > 1, np.copysign(1 / (2 - beyond), s), s), np.float32)


def fastest(rays_o: Array, rays_d: Array) -> Array:
    """No contracted ray (n,) moves further than this in a unit of s.

    Beyond distance 1 from a foot h away from the middle, its speed is c^2 sqrt(c^2 + h^2 (2 - 1 / r)^2), c
    being distance / r.
    """
    along = (rays_o * rays_d).sum(-1)
    return np.asarray(np.sqrt(1 + 4 * np.maximum((rays_o**2).sum(-1) - along**2, 0)), np.float32)
