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


def test_intrinsics_of_the_file_and_of_a_frame(blender_folder: Path) -> None:
    """In place of the angle, in pixels of the file; a frame's come first."""
    edit(blender_folder, lambda d: d.update(fl_x=60.0, fl_y=50.0, cx=14.0, cy=18.0, w=32, h=32, k1=0.0))
    edit(blender_folder, lambda d: d["frames"][3].update(fl_x=80.0))
    posed = load(blender_folder, "data.max_size=16")
    for index, camera in enumerate(posed.train.cameras):
        found = (camera.fl_x, camera.fl_y, camera.cx, camera.cy, camera.w, camera.h)
        assert found == (40 if index == 3 else 30, 25, 7, 9, 16, 16)
    assert posed.test.cameras[0].fl_x == pytest.approx(8 / math.tan(0.35))  # whose file has none


def test_a_lens_is_undone_as_that_of_a_capture(blender_folder: Path) -> None:
    def change(document: dict[str, Any]) -> None:
        document["k1"] = 0.2
        for frame in document["frames"]:
            frame["file_path"] += ".png"

    before = load(blender_folder)
    edit(blender_folder, change)
    posed = load(blender_folder)
    assert (posed.train.images != before.train.images).any()
    (blender_folder / "transforms_train.json").rename(blender_folder / "transforms.json")
    capture = load_dataset(load_scene("capture", [f"data.path={blender_folder}", "data.format=transforms"]))
    assert isinstance(capture, PosedImages)
    for views in (capture.train, capture.test):
        for name, image, camera in zip(views.names, views.images, views.cameras, strict=True):
            index = posed.train.names.index(name)
            np.testing.assert_array_equal(posed.train.images[index], image)
            assert posed.train.cameras[index].fl_x == camera.fl_x != before.train.cameras[index].fl_x


def test_poses_may_be_scaled(blender_folder: Path) -> None:
    before = load(blender_folder)

    def change(document: dict[str, Any]) -> None:
        for frame in document["frames"]:
            frame["transform_matrix"] = (np.array(frame["transform_matrix"]) @ np.diag([3, 3, 3, 1])).tolist()

    edit(blender_folder, change)
    for camera, found in zip(before.train.cameras, load(blender_folder).train.cameras, strict=True):
        np.testing.assert_allclose(found.world_from_camera, camera.world_from_camera, atol=1e-12)


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


SHEARED = [[1.0, 0.7, 0, 0], [0, 1, 0, 0], [0, 0, 1, 4], [0, 0, 0, 1]]


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
        (lambda d: d["frames"][3].update(file_path="."), ["frame 3", "missing"]),
        (lambda d: d["frames"][3].update(file_path="n" * 300), ["frame 3", "missing"]),
        (_pose(np.diag([-1.0, 1, 1, 1]).tolist()), ["frame 2", "r_2", "transform_matrix is mirrored"]),
        (_pose(SHEARED), ["frame 2", "r_2", "transform_matrix holds no rotation"]),
        (lambda d: d.pop("camera_angle_x"), ["frame 0", "no fl_x and no camera_angle_x"]),
        (lambda d: d["frames"][4].update(fl_y=-1), ["frame 4", "r_4", "fl_y is -1"]),
        (lambda d: d.update(cx=40), ["frame 0", "principal point (40, 16)", "32x32"]),
        (lambda d: d.update(w=64, h=64), ["frame 0", "64x64", "32x32"]),
        (lambda d: d.update(k1=-9), ["frame 0", "k1", "folds the picture"]),
        (lambda d: d.update(camera_angle_x=None), ["frame 0", "camera_angle_x is 'None'"]),
        (lambda d: d.update(camera_angle_x=math.nan), ["frame 0", "camera_angle_x is 'nan'"]),
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
    with pytest.raises(InshaderError, match=r"frame 4 .*r_4\.png has 16x16 pixels, expected 32x32"):
        load(blender_folder)
    file.unlink()
    with pytest.raises(InshaderError, match=r"frame 4: the picture .*r_4 is missing"):
        load(blender_folder)
