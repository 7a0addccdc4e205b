"""The cells of the scene box that students live in."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

REACH = 1.5  # half diagonals of a cell that its middle may be from the surface and still be traced

Floats = NDArray[np.float32]


def cell_counts(size: Floats, longest: int) -> tuple[int, int, int]:
    """Nearly cubic cells: ``longest`` along the longest side of the box."""
    x, y, z = np.maximum(np.round(longest * size / size.max()), 1).astype(int).tolist()
    return x, y, z


def middles(shape: tuple[int, ...]) -> Floats:
    """(x * y * z, 3) middles of the cells of a box, in [0, 1]."""
    axes = [(np.arange(n, dtype=np.float32) + 0.5) / n for n in shape]
    return np.stack(np.meshgrid(*axes, indexing="ij"), -1).reshape(-1, 3).astype(np.float32)


def cells_near(
    distance: Callable[[Floats], Floats], seen: NDArray[np.bool_], size: Floats, shape: tuple[int, ...]
) -> NDArray[np.bool_]:
    """Cells (x, y, z) of the box that the surface may cross, where it was seen.

    Args:
        distance: world distances (n,) at u (n, 3) in [0, 1].
        seen: (r, r, r) cells of the box in which rays met something. Zeros that no ray met are no surface.
        shape: how many cells there are along each axis.
    """
    u = middles(shape)
    index = np.minimum((u * seen.shape).astype(np.int64), np.array(seen.shape) - 1)
    found = seen[tuple(index.T)]
    reach = REACH * 0.5 * float(np.linalg.norm(size / shape))
    found[found] = np.abs(distance(u[found])) < reach
    return found.reshape(shape)


def blocks(fine: NDArray[np.bool_], side: int) -> NDArray[np.bool_]:
    """Which blocks of ``side``^3 cells hold a set one."""
    x, y, z = (n // side for n in fine.shape)
    return np.asarray(fine.reshape(x, side, y, side, z, side).any((1, 3, 5)))


def shared_faces(cells: NDArray[np.bool_]) -> NDArray[np.int64]:
    """Pairs of neighbouring active cells (n, 3): both networks, and the axis they are neighbours along."""
    slots = np.full(cells.shape, -1, np.int64)
    slots[cells] = np.arange(int(cells.sum()))
    pairs = []
    for axis in range(3):
        line = np.moveaxis(slots, axis, 0)
        both = (line[:-1] >= 0) & (line[1:] >= 0)
        a, b = line[:-1][both], line[1:][both]
        pairs.append(np.stack([a, b, np.full_like(a, axis)], -1))
    return np.concatenate(pairs)
