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


def test_the_edges_are_those_of_the_box(tiny_asset: Path) -> None:
    crop = Crop()
    crop.fit(read_asset(tiny_asset))
    crop.set_ends(0, crop.reach(0)[0] + 0.25, crop.reach(0)[1])
    lines = np.array(crop.edges)
    assert lines.shape == (12, 2, 3)
    lengths = np.abs(lines[:, 1] - lines[:, 0])
    assert ((lengths > 0).sum(1) == 1).all(), "each is along an axis"
    sizes = [high - low for low, high in map(crop.ends, range(3))]
    np.testing.assert_allclose(np.sort(lengths.max(1)), np.sort(np.repeat(sizes, 4)))
    np.testing.assert_allclose(lines.reshape(-1, 3).min(0), [crop.ends(axis)[0] for axis in range(3)])
