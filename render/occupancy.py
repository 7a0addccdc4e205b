"""Occupied cells of the scene box, and how far a ray may leap where there are none."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray


def dilate(cells: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """Set cells (x, y, z) and their 26 neighbours: a cube is three intervals, one after the other."""
    grown = cells
    for axis in range(3):
        line = np.moveaxis(grown, axis, 0)
        wider = line.copy()
        wider[1:] |= line[:-1]
        wider[:-1] |= line[1:]
        grown = np.moveaxis(wider, 0, axis)
    return grown


def leaps(occupancy: NDArray[np.bool_], cap: int = 31) -> NDArray[np.uint8]:
    """Chebyshev distance in cells to the nearest occupied cell, 0 in occupied ones, at most ``cap``.

    A cell with value n > 0 stands in the middle of a cube of 2n - 1 empty cells a side, so a ray may leap to
    where it leaves that cube. Shape and index order (x, y, z) are those of ``occupancy``.
    """
    distance = np.where(occupancy, 0, cap).astype(np.uint8)
    reached = occupancy
    for n in range(1, cap):
        grown = dilate(reached)
        fresh = grown & ~reached
        if not fresh.any():
            break
        distance[fresh] = n
        reached = grown
    return distance
