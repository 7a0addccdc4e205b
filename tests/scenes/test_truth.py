"""The held-out pictures that render-bench scores against."""

from __future__ import annotations

import importlib.metadata
from pathlib import Path

import numpy as np
import pytest

from render.errors import InshaderError
from scenes import load_dataset, load_scene
from scenes.dataset import composite
from scenes.truth import held_out


def test_it_is_found_by_its_entry_point() -> None:
    (offer,) = importlib.metadata.entry_points(group="inshader.truth")
    assert offer.load() is held_out


@pytest.mark.parametrize(
    "complete", [True, False], ids=["scene with data", "scene without, taken from the asset"]
)
def test_pictures(blender_folder: Path, tmp_path: Path, complete: bool) -> None:
    overrides = [f"data.path={blender_folder}", "data.max_size=16", "data.background=[0.2, 0.3, 0.4]"]
    dataset = load_dataset(load_scene("nerf_synthetic", overrides))
    scene = tmp_path / "scene.yaml"
    scene.write_text(
        f"data: {{path: {blender_folder}, max_size: 16, background: [0.2, 0.3, 0.4]}}"
        if complete
        else "seed: 1"
    )
    pictures = list(held_out(str(scene), load_scene("nerf_synthetic", overrides).resolved()))
    assert len(pictures) == len(dataset.test) == 2
    for (colour, alpha), image in zip(pictures, dataset.test.images, strict=True):
        assert alpha is not None and colour.shape == (16, 16, 3) and alpha.shape == (16, 16)
        np.testing.assert_array_equal(colour, composite(image, dataset.background))
        np.testing.assert_array_equal(
            colour[alpha == 0], np.broadcast_to(dataset.background, (int((alpha == 0).sum()), 3))
        )


def test_no_such_scene() -> None:
    with pytest.raises(InshaderError, match="nowhere"):
        list(held_out("nowhere", {}))
