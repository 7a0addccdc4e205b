from __future__ import annotations

import json
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import imageio.v3 as iio
import numpy as np
import pytest

from render.errors import InshaderError
from scenes import PosedImages, load_dataset, load_scene
from scenes.dataset import composite, coverage


def load(folder: Path, *overrides: str) -> PosedImages:
    return load_dataset(load_scene("nerf_synthetic", [f"data.path={folder}", *overrides]))


def edit(folder: Path, change: Callable[[dict[str, Any]], object], split: str = "train") -> None:
    file = folder / f"transforms_{split}.json"
    document = json.loads(file.read_text())
    change(document)
    file.write_text(json.dumps(document))


def test_reads_all(blender_folder: Path) -> None:
    posed = load(blender_folder)
    assert (len(posed.train), len(posed.test)) == (6, 2)
    assert posed.train.images.shape == (6, 32, 32, 4)
    assert posed.train.names[:2] == ("r_0", "r_1")
    assert posed.up.tolist() == [0, 0, 1]
    assert posed.background_name == "white"
    assert np.linalg.norm(posed.bounds[1]) == pytest.approx(1, abs=1e-6)
    camera = posed.train.cameras[0]
    assert camera.fl_x == camera.fl_y == pytest.approx(16 / math.tan(0.35))
    picture = composite(posed.train.images, posed.background)
    assert (picture[0, 0, 0] == 1).all()
    covered = coverage(posed.train.images)
    assert covered is not None and 0.02 < covered.mean() < 0.5


def test_known_point_is_drawn_where_it_projects(blender_folder: Path) -> None:
    """The middle of the silhouettes is where the cameras see the ball's centre."""
    posed = load(blender_folder, "data.max_size=24")
    centre = (posed.world_from_source @ [0.2, 0, 0, 1])[:3]
    for views in (posed.train, posed.test):
        for camera, image in zip(views.cameras, views.images, strict=True):
            x, y, z = (np.linalg.inv(camera.world_from_camera) @ [*centre, 1])[:3]
            u, v = camera.cx - camera.fl_x * x / z, camera.cy + camera.fl_y * y / z
            alpha = image[..., 3].astype(float)
            rows, columns = np.mgrid[:24, :24] + 0.5
            assert abs((columns * alpha).sum() / alpha.sum() - u) < 0.3
            assert abs((rows * alpha).sum() / alpha.sum() - v) < 0.3


def test_bounds(blender_folder: Path) -> None:
    scale = np.linalg.norm(load(blender_folder).world_from_source[:3, 0])
    assert 1 / scale < math.sqrt(3) * 0.6 * 1.6  # 6 small pictures: the hull is coarse
    posed = load(blender_folder, "data.bounds=[[-2, -2, -2], [2, 2, 2]]")
    assert np.allclose(posed.world_from_source[:3, :3], np.eye(3) / math.sqrt(12))


def test_background_by_numbers(blender_folder: Path) -> None:
    posed = load(blender_folder, "data.background=[0.25, 0.5, 1]")
    assert posed.background_name == "0.25 0.5 1"
    assert composite(posed.test.images, posed.background)[0, 0, 0].tolist() == [0.25, 0.5, 1]


def test_every_eighth_is_held_out_without_test_views(blender_folder: Path) -> None:
    (blender_folder / "transforms_test.json").unlink()
    edit(blender_folder, lambda d: d["frames"].extend(d["frames"][:4]))
    posed = load(blender_folder)
    assert (len(posed.train), len(posed.test)) == (8, 2)
    assert posed.test.names == ("r_0", "r_2")
    edit(blender_folder, lambda d: d.update(frames=d["frames"][:1]))
    with pytest.raises(InshaderError, match="nothing to score on"):
        load(blender_folder)


def test_file_names_with_extension(blender_folder: Path) -> None:
    edit(
        blender_folder,
        lambda d: [frame.update(file_path=frame["file_path"] + ".png") for frame in d["frames"]],
    )
    assert len(load(blender_folder).train) == 6


def _pose(value: object) -> Callable[[dict[str, Any]], object]:
    return lambda d: d["frames"][2].update(transform_matrix=value)


@pytest.mark.parametrize(
    ("change", "parts"),
    [
        (_pose([[math.nan] * 4] * 4), ["frame 2", "r_2", "finite"]),
        (_pose([[0.0] * 4] * 3 + [[0, 0, 0, 1]]), ["frame 2", "singular"]),
        (_pose([[1.0] * 3] * 3), ["frame 2", "(3, 3)"]),
        (_pose("none"), ["frame 2"]),
        (_pose([[1], [2, 3]]), ["frame 2"]),
        (lambda d: d["frames"][2].pop("transform_matrix"), ["frame 2", "r_2", "no transform_matrix"]),
        (lambda d: d["frames"][3].update(file_path="./train/r_99"), ["frame 3", "r_99", "missing"]),
        (lambda d: d["frames"][3].update(file_path=7), ["frame 3", "file_path is 7"]),
        (lambda d: d["frames"].append(3), ["frame 6"]),
        (lambda d: d.update(frames=[]), ["frames", "at least one"]),
        (lambda d: d.update(camera_angle_x=None), ["camera_angle_x is None"]),
        (lambda d: d.update(camera_angle_x=math.nan), ["camera_angle_x is nan"]),
    ],
)
def test_mistakes_in_the_json(
    blender_folder: Path, change: Callable[[dict[str, Any]], object], parts: list[str]
) -> None:
    edit(blender_folder, change)
    with pytest.raises(InshaderError) as caught:
        load(blender_folder)
    message = str(caught.value)
    assert "transforms_train.json" in message
    for part in parts:
        assert part in message


@pytest.mark.parametrize("text", ["", "[1]", "{", "[" * 100_000, '{"frames": 1e999}'])
def test_broken_json(blender_folder: Path, text: str) -> None:
    (blender_folder / "transforms_train.json").write_text(text)
    with pytest.raises(InshaderError, match=r"transforms_train\.json"):
        load(blender_folder)


def test_broken_pictures(blender_folder: Path) -> None:
    file = blender_folder / "train" / "r_4.png"
    whole = file.read_bytes()
    file.write_bytes(whole[: len(whole) // 2])
    with pytest.raises(InshaderError, match=r"r_4\.png: cannot be read"):
        load(blender_folder)
    iio.imwrite(file, np.zeros((16, 16, 4), np.uint8))
    with pytest.raises(InshaderError, match=r"r_4\.png: 16x16 pixels"):
        load(blender_folder)
    file.unlink()
    with pytest.raises(InshaderError, match=r"frame 4: the picture .*r_4 is missing"):
        load(blender_folder)
