"""An asset that needs no training: a ball with coloured patches."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from render.asset import BakedAsset, BakedGrid, BakedNetwork, write_asset
from render.camera import look_at
from render.grid import GridSpec, entry_index
from render.network import Linear, NetworkSpec, Slot


@pytest.fixture(scope="session")
def tiny_asset(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The file of it."""
    n = 12
    grid = GridSpec(dimension=3, levels=1, features=4, base_resolution=n, growth=1.0, log2_table_size=11)
    (level,) = grid.level_list
    corners = np.stack(np.meshgrid(*[np.arange(n)] * 3, indexing="ij"), -1)
    radius = np.linalg.norm((corners - 0.5) / level.scale - 0.5, axis=-1)
    table = np.zeros((grid.entries, 4), np.float32)
    values = np.random.default_rng(1).uniform(-6, 6, (n, n, n, 4))
    values[..., 0] = 60 * (0.4 - radius)  # log density
    table[entry_index(level, corners)] = values

    decoder = NetworkSpec((Slot("features", 4),), (Linear(4, bias=False),))
    view = NetworkSpec((Slot("d", 3, "spherical_harmonics", 0),), (Linear(12, bias=False),))
    rows = np.eye(3, 4, 1).reshape(1, 12, 1) / 0.28209479  # each channel is one of the activations
    half = 1 / np.sqrt(3)
    asset = BakedAsset(
        family="gaussian_rbf",
        driver="march",
        bounds=np.float32([[-half] * 3, [half] * 3]),
        networks={
            "decoder": BakedNetwork(decoder, {"0.weight": np.eye(4, dtype=np.float32)[None]}),
            "view": BakedNetwork(view, {"0.weight": rows.astype(np.float32)}),
        },
        grids={"features": BakedGrid(grid, table)},
        volumes={"occupancy": radius < 0.7},
        constants={"step_size": 0.02, "stop": 0.005, "max_log_density": 6.0, "deferred": 0},
        background=np.ones(3, np.float32),
        up=np.float32([0, 0, 1]),
        world_from_source=np.eye(4),
        camera=look_at((1.5, 1.0, 0.8), (0, 0, 0), (0, 0, 1), 320, 240, 0.8),
    )
    path = tmp_path_factory.mktemp("asset") / "asset.safetensors"
    write_asset(path, asset)
    return path
