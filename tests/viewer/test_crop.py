"""The box that the picture is cropped to."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from render.asset import read_asset
from render.targets import FAR
from viewer.crop import Crop


def test_sides_that_were_not_moved_are_open(tiny_asset: Path) -> None:
    """An unbounded scene goes on behind its box."""
    crop = Crop()
    crop.fit(read_asset(tiny_asset))
    crop.set(True)
    assert crop.box is None, "nothing is cut yet"
    low, high = crop.reach(0)
    crop.set_ends(0, (low + high) / 2, high)
    box = crop.box
    assert box is not None
    np.testing.assert_allclose(box[:, 0], [(low + high) / 2, FAR])
    np.testing.assert_array_equal(box[:, 1:], [[-FAR] * 2, [FAR] * 2])
    crop.set(False)
    assert crop.box is None
