"""Voxels that triangles touch or enclose."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from render.occupancy import dilate

PAIRS_AT_ONCE = 1 << 17  # of triangles and voxels, 60 MB

Points = NDArray[np.float64]
Numbers = NDArray[np.int64]


def touched_voxels(triangles: Points, shape: Numbers, margin: float) -> NDArray[np.bool_]:
    """Voxels (x, y, z) that a triangle comes nearer than ``margin`` to.

    Source: Akenine-Möller, "Fast 3D Triangle-Box Overlap Testing", 2001: convex bodies that do not overlap
    are apart along a face's normal or the cross product of two edges.

    Args:
        triangles: (n, 3, 3) corners, in voxels from the grid's corner.
    """
    first = np.clip(np.floor(triangles.min(1) - margin).astype(np.int64), 0, shape - 1)  # (n, 3)
    extent = np.clip(np.floor(triangles.max(1) + margin).astype(np.int64), 0, shape - 1) - first + 1
    counts = extent.prod(1)  # of voxels that a triangle's box meets
    ends = counts.cumsum()
    touched = np.zeros(shape, bool)
    start = 0
    while start < len(triangles):
        room = ends[start] - counts[start] + PAIRS_AT_ONCE
        stop = max(int(np.searchsorted(ends, room, "right")), start + 1)
        of = np.repeat(np.arange(start, stop), counts[start:stop])  # (pairs,)
        k = np.arange(ends[start] - counts[start], ends[stop - 1]) - (ends - counts)[of]
        wide, high, _ = extent[of].T
        cells = first[of] + np.stack([k % wide, k // wide % high, k // (wide * high)], -1)  # (pairs, 3)
        near = _overlaps(triangles[of] - (cells + 0.5)[:, None], 0.5 + margin)
        touched[tuple(cells[near].T)] = True
        start = stop
    return touched


def _overlaps(triangles: Points, half: float) -> NDArray[np.bool_]:
    """Whether triangles (n, 3, 3) meet the cube of that half width around 0, which their own boxes do."""
    edges = np.roll(triangles, -1, 1) - triangles
    axes = [np.cross(edges[:, 0], edges[:, 1])]
    axes += [np.cross(edges[:, side], np.eye(3)[axis]) for side in range(3) for axis in range(3)]
    overlap = np.ones(len(triangles), bool)
    for axis in axes:
        places = np.einsum("nkc,nc->nk", triangles, axis)
        reach = half * np.abs(axis).sum(1)
        overlap &= (places.min(1) <= reach) & (places.max(1) >= -reach)
    return overlap


def enclosed_voxels(touched: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """What cannot be reached from outside without passing a touched voxel."""
    free = np.pad(~touched, 1, constant_values=True)
    outside = np.zeros_like(free)
    outside[0, 0, 0] = True
    while True:
        grown = dilate(outside) & free
        if (grown == outside).all():
            return ~outside[1:-1, 1:-1, 1:-1]
        outside = grown
