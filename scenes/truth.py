"""Held-out pictures for ``render-bench --scene``, which finds this function by its entry point.

``render`` imports no other package; ``pyproject.toml`` names ``held_out`` under the group ``inshader.truth``.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from scenes.dataset import composite, coverage
from scenes.load import load_dataset
from scenes.scene import load_scene

Picture = NDArray[np.float32]


def held_out(scene: str, asset_scene: Mapping[str, Any]) -> Iterator[tuple[Picture, Picture | None]]:
    """Display colour (h, w, 3) and coverage (h, w), None without alpha, of each held-out view of ``scene``.

    A scene file that names no data (``scenes/nerf_synthetic.yaml``) is read with that of the asset, whose
    resolved scene is ``asset_scene``.

    Raises:
        InshaderError: the scene or its data cannot be read.
    """
    found = load_scene(scene)
    data = asset_scene.get("data")
    if found.data.path is None and isinstance(data, Mapping):
        found = load_scene(scene, [f"data.{key}={_yaml(value)}" for key, value in data.items()])
    dataset = load_dataset(found)
    for image in dataset.test.images:
        yield composite(image, dataset.background), coverage(image)


def _yaml(value: Any) -> str:
    import yaml

    return str(yaml.safe_dump(value, default_flow_style=True)).removesuffix("\n").removesuffix("\n...")
