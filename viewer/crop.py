"""The box that the picture is cropped to."""

from __future__ import annotations

from itertools import combinations, product

import numpy as np
from numpy.typing import NDArray

from render.asset import BakedAsset
from render.targets import FAR

Box = NDArray[np.float64]
Corner = tuple[float, ...]
THIN = 0.01  # of the scene box, that stays in any case


class Crop:
    """A box within that of the scene.

    Attributes:
        on: whether the picture is cropped.
        low, high: (3,) fractions of the scene box.
        version: counts changes of what is seen.
    """

    def __init__(self) -> None:
        self.on, self.version = False, 0
        self.low, self.high = np.zeros(3), np.ones(3)
        self._bounds: Box = np.zeros((2, 3))

    def fit(self, asset: BakedAsset) -> None:
        """All of another scene box."""
        self._bounds = asset.bounds.astype(np.float64)
        self.on, self.low, self.high = False, np.zeros(3), np.ones(3)
        self.version += 1

    def set(self, on: bool) -> None:
        """Crop, or show all."""
        self.on = on
        self.version += 1

    def reach(self, axis: int) -> tuple[float, float]:
        """The ends of the scene box along an axis, in the world."""
        return float(self._bounds[0, axis]), float(self._bounds[1, axis])

    def ends(self, axis: int) -> tuple[float, float]:
        """Those of the crop box."""
        least, most = self.reach(axis)
        size = most - least
        return least + float(self.low[axis]) * size, least + float(self.high[axis]) * size

    def set_ends(self, axis: int, low: float, high: float) -> None:
        """From and to where it goes along an axis, in the world."""
        least, most = self.reach(axis)
        start = min(max((low - least) / (most - least), 0.0), 1.0 - THIN)
        self.low[axis], self.high[axis] = start, min(max((high - least) / (most - least), start + THIN), 1.0)
        self.version += 1

    @property
    def edges(self) -> list[tuple[Corner, Corner]]:
        """The twelve lines of the crop box, by their ends in the world."""
        sides = [self.ends(axis) for axis in range(3)]
        corners = list(product((0, 1), repeat=3))
        ends = [(a, b) for a, b in combinations(corners, 2) if sum(np.not_equal(a, b)) == 1]
        at = {corner: tuple(sides[axis][end] for axis, end in enumerate(corner)) for corner in corners}
        return [(at[a], at[b]) for a, b in ends]

    @property
    def box(self) -> Box | None:
        """(2, 3) in the world; None where all is seen.

        A side that was not moved is open: an unbounded scene goes on behind its box.
        """
        if not self.on or (self.low.max() <= 0 and self.high.min() >= 1):
            return None
        size = self._bounds[1] - self._bounds[0]
        low, high = self._bounds[0] + self.low * size, self._bounds[0] + self.high * size
        return np.stack([np.where(self.low > 0, low, -FAR), np.where(self.high < 1, high, FAR)])
