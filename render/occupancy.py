"""Occupied cells of the scene box, and how far a ray may leap where there are none."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Cells = NDArray[np.bool_]


def dilate(cells: Cells) -> Cells:
    """Set cells (x, y, z) and their 26 neighbours."""
    return _dilate_into(cells.copy(), np.empty_like(cells))[0]


def leaps(occupancy: Cells, cap: int = 31) -> NDArray[np.uint8]:
    """Chebyshev distance in cells to the nearest occupied cell, 0 in occupied ones, at most ``cap``.

    A cell with value n > 0 stands in the middle of a cube of 2n - 1 empty cells a side, so a ray may leap to
    where it leaves that cube. Shape and index order (x, y, z) are those of ``occupancy``.
    """
    distance = np.zeros(occupancy.shape, np.uint8)
    reached, spare = occupancy.copy(), np.empty_like(occupancy)
    for _ in range(cap):  # a cell's distance is the number of dilations that have not reached it
        np.logical_not(reached, out=spare)
        if not spare.any():
            break
        np.add(distance, spare.view(np.uint8), out=distance)
        reached, spare = _dilate_into(reached, spare)
    return distance


def _dilate_into(cells: Cells, spare: Cells) -> tuple[Cells, Cells]:
    """Dilated cells and a spare array, in the memory of the two: fresh arrays would cost most of the time.

    A cube is three intervals, one after the other.
    """
    for axis in range(3):
        line, wider = np.moveaxis(cells, axis, 0), np.moveaxis(spare, axis, 0)
        np.logical_or(line[1:], line[:-1], out=wider[1:])
        wider[0] = line[0]
        np.logical_or(wider[:-1], line[1:], out=wider[:-1])
        cells, spare = spare, cells
    return cells, spare
