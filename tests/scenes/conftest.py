"""Small made data sets."""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import imageio.v3 as iio
import numpy as np
import pytest

from render.camera import Camera, look_at
from scenes.dataset import Views
from scenes.orbit import training_cameras

ANGLE = 0.7


@pytest.fixture(autouse=True)
def own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """No test reads or writes the user's cache."""
    folder = tmp_path / "cache"
    monkeypatch.setenv("INSHADER_CACHE", str(folder))
    return folder


def sphere_picture(camera: Camera, centre: np.ndarray, radius: float) -> np.ndarray:
    """A ball as (h, w, 4) uint8: alpha is 255 where a pixel's central ray meets it, red rises with z."""
    rays_o, rays_d = camera.rays()
    to_centre = centre - rays_o
    middle = (to_centre * rays_d).sum(-1)
    reach = radius**2 - (to_centre**2).sum(-1) + middle**2
    hit = rays_o + (middle - np.sqrt(np.maximum(reach, 0)))[..., None] * rays_d
    picture = np.zeros((camera.h, camera.w, 4), np.uint8)
    picture[..., 0] = np.clip(128 + 100 * (hit[..., 2] - centre[2]) / radius, 0, 255)
    picture[..., 1] = 90
    picture[..., 3] = 255
    picture[reach <= 0] = 0
    return picture


@pytest.fixture
def sphere_views() -> Callable[..., Views]:
    """Maker of views all around a ball."""

    def views(centre: np.ndarray, radius: float, count: int = 24, size: int = 96) -> Views:
        cameras = training_cameras(count, size, (0, 0, 0), 4.0, (-1.0, 1.2), seed=1)
        images = np.stack([sphere_picture(camera, centre, radius) for camera in cameras])
        return Views(images, cameras, tuple(f"{i}" for i in range(count)))

    return views


@pytest.fixture
def blender_folder(tmp_path: Path) -> Path:
    """A ball seen by six training and two test cameras of 32x32, in NeRF-synthetic's layout."""
    folder = tmp_path / "ball"
    for split, count in (("train", 6), ("test", 2)):
        (folder / split).mkdir(parents=True)
        frames: list[dict[str, Any]] = []
        for i in range(count):
            turn = 2 * math.pi * i / count + (split == "test")
            position = 4 * np.array([math.cos(turn), math.sin(turn), 0.5])
            camera = look_at(position, (0, 0, 0), (0, 0, 1), 32, 32, ANGLE)
            iio.imwrite(folder / split / f"r_{i}.png", sphere_picture(camera, np.array([0.2, 0, 0]), 0.6))
            pose = camera.world_from_camera.tolist()
            frames.append({"file_path": f"./{split}/r_{i}", "transform_matrix": pose})
        text = json.dumps({"camera_angle_x": ANGLE, "frames": frames})
        (folder / f"transforms_{split}.json").write_text(text)
    return folder
