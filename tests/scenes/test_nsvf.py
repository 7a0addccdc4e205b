"""Folders in the layout of NSVF: both forms of intrinsics, splits by digit, and what is wrong with them."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import imageio.v3 as iio
import numpy as np
import pytest

from render.camera import look_at
from render.errors import InshaderError
from scenes import PosedImages, load_dataset, load_scene

W, H, FOCAL = 40, 30, 50.0
NAMES = ["0_a", "0_b", "0_c", "1_d", "2_e", "2_f"]


def pose(index: int) -> np.ndarray:
    angle = 2 * np.pi * index / 6
    return look_at(
        [3 * np.cos(angle), 3 * np.sin(angle), 1], [0, 0, 0], [0, 0, 1], W, H, 0.6
    ).world_from_camera


def write(folder: Path, names: list[str]) -> Path:
    for name in ("rgb", "pose"):
        (folder / name).mkdir(parents=True)
    for index, name in enumerate(names):
        iio.imwrite(folder / "rgb" / f"{name}.png", np.full((H, W, 3), 20 * index, np.uint8))
        np.savetxt(folder / "pose" / f"{name}.txt", pose(index) @ np.diag([1, -1, -1, 1]))
    (folder / "intrinsics.txt").write_text(f"{FOCAL} 20.0 14.0 0.\n0. 0. 0.\n0.\n1.\n{H} {W}\n")
    (folder / "bbox.txt").write_text("-1 -0.5 -0.25 1 0.5 0.75 0.4\n")
    return folder


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return write(tmp_path / "set", NAMES)


def load(folder: Path, *overrides: str) -> PosedImages:
    posed = load_dataset(load_scene("capture", [f"data.path={folder}", "data.format=auto", *overrides]))
    assert isinstance(posed, PosedImages)
    return posed


def test_cameras_split_and_box(folder: Path) -> None:
    posed = load(folder)
    assert posed.train.names == ("0_a", "0_b", "0_c") and posed.test.names == ("2_e", "2_f")
    assert not posed.unbounded
    camera = posed.train.cameras[1]
    assert (camera.fl_x, camera.fl_y, camera.cx, camera.cy) == (FOCAL, FOCAL, 20, 14)
    source = np.linalg.inv(posed.world_from_source)
    moved = camera.transformed(source).world_from_camera
    np.testing.assert_allclose(moved, pose(1), atol=1e-9)
    corners = posed.bounds @ source[:3, :3].T + source[:3, 3]
    np.testing.assert_allclose(corners, [[-1, -0.5, -0.25], [1, 0.5, 0.75]], atol=1e-6)


def test_matrix_of_intrinsics_reduced(folder: Path) -> None:
    np.savetxt(folder / "intrinsics.txt", [[50, 0, 20, 0], [0, 52, 14, 0], [0, 0, 1, 0], [0, 0, 0, 1]])
    camera = load(folder, "data.max_size=20").test.cameras[0]
    assert (camera.w, camera.fl_x, camera.fl_y, camera.cx, camera.cy) == (20, 25, 26, 10, 7)


def test_without_test_pictures_and_without_digits(tmp_path: Path) -> None:
    tested = load(write(tmp_path / "validated", ["0_a", "0_b", "1_c"]))
    assert tested.train.names == ("0_a", "0_b") and tested.test.names == ("1_c",)
    plain = load(write(tmp_path / "plain", ["a", "b", "c", "d"]))
    assert plain.test.names == ("a",) and len(plain.train) == 3


@pytest.mark.parametrize(
    ("change", "text"),
    [
        (lambda f: (f / "pose/0_b.txt").unlink(), "0_b.txt: the file is missing"),
        (lambda f: (f / "pose/0_b.txt").write_text("1 2 3"), "0_b.txt: expected a 4x4 matrix"),
        (lambda f: (f / "pose/0_b.txt").write_text("a b c d"), "0_b.txt: expected numbers"),
        (lambda f: np.savetxt(f / "pose/0_b.txt", np.diag([1, 1, -1, 1])), "0_b.txt: the pose is mirrored"),
        (
            lambda f: np.savetxt(f / "pose/0_b.txt", np.diag([2, 2, 2, 1])),
            "0_b.txt: the pose holds no rotation",
        ),
        (lambda f: (f / "intrinsics.txt").write_text("0 20 14"), "focal lengths 0 and 0"),
        (lambda f: (f / "intrinsics.txt").write_text("50 90 14"), r"principal point \(90, 14\)"),
        (lambda f: (f / "intrinsics.txt").write_text("50"), "expected a matrix of intrinsics"),
        (lambda f: (f / "bbox.txt").write_text("1 1 1 0 0 0 1"), "bbox.txt: expected the lower corner"),
        (lambda f: iio.imwrite(f / "rgb/2_e.png", np.zeros((9, 9, 3), np.uint8)), "2_e.png: 9x9 pixels"),
    ],
)
def test_mistakes(folder: Path, change: Callable[[Path], object], text: str) -> None:
    change(folder)
    with pytest.raises(InshaderError, match=text):
        load(folder)
