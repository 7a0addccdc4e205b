from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import imageio.v3 as iio
import numpy as np
import pytest

from render.camera import look_at
from render.errors import InshaderError
from scenes import PosedImages, load_dataset, load_scene
from training.cli import main

W, H, COUNT, FOCAL = 64, 48, 9, 70.0  # of the reduced pictures, half the size of the full ones
NEAR, FAR = 3.0, 9.0
# Drawn red, green and blue.
POINTS = np.array([[0.9, 0.5, -5.0], [-1.0, 0.4, -6.0], [0.2, -0.9, -4.0]])
SPREAD = 1.5  # of a drawn dot, in pixels


def pose(index: int) -> np.ndarray:
    """Cameras on a wall of 3 by 3, that look at one place before it."""
    position = np.array([0.5 * (index % 3 - 1), 0.4 * (index // 3 - 1), 0.1 * (index % 2)])
    return look_at(position, (0, 0, -6), (0, 1, 0), W, H, 1.0).world_from_camera


def dots(index: int) -> np.ndarray:
    """(H, W, 3) uint8: a blurred dot where each point falls."""
    rows, columns = np.mgrid[:H, :W] + 0.5
    picture = np.zeros((H, W, 3))
    for channel, point in enumerate(POINTS):
        x, y, z = (np.linalg.inv(pose(index)) @ [*point, 1])[:3]
        u, v = W / 2 - FOCAL * x / z, H / 2 + FOCAL * y / z
        picture[..., channel] = np.exp(-((columns - u) ** 2 + (rows - v) ** 2) / (2 * SPREAD**2))
    return np.round(picture * 255).astype(np.uint8)


def row(index: int) -> np.ndarray:
    """(17,), written out from the definition."""
    right, up, back, position = pose(index)[:3].T
    matrix = np.stack([-up, right, back, position, [2 * H, 2 * W, 2 * FOCAL]], 1)
    return np.concatenate([matrix.ravel(), [NEAR, FAR]])


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    path = tmp_path / "wall"
    (path / "images_2").mkdir(parents=True)
    for index in range(COUNT):
        iio.imwrite(path / "images_2" / f"image{index:03d}.png", dots(index))
    np.save(path / "poses_bounds.npy", np.stack([row(index) for index in range(COUNT)]))
    return path


def load(folder: Path, *overrides: str) -> PosedImages:
    words = [f"data.path={folder}", "data.max_size=null", *overrides]
    posed = load_dataset(load_scene("forward_facing", words))
    assert isinstance(posed, PosedImages)
    return posed


def edit(index: int, *columns: int, value: float) -> Callable[[Path], object]:
    def change(folder: Path) -> None:
        rows = np.load(folder / "poses_bounds.npy")
        rows[index, list(columns)] = value
        np.save(folder / "poses_bounds.npy", rows)

    return change


def save(array: Any) -> Callable[[Path], object]:
    return lambda folder: np.save(folder / "poses_bounds.npy", array)


# What is read ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("size", [W, W // 2, 27])
def test_points_fall_on_their_dots(folder: Path, size: int) -> None:
    """0.05 pixels: eight bits and the cut tails of a dot leave 0.01."""
    posed = load(folder, f"data.max_size={size}")
    assert posed.test.names == ("image000", "image008") and len(posed.train) == 7
    for camera, image in zip(posed.train.cameras, posed.train.images, strict=True):
        assert image.shape == (camera.h, camera.w, 3) and camera.w == size
        rows, columns = np.mgrid[: camera.h, : camera.w] + 0.5
        for channel, point in enumerate(POINTS):
            place = posed.world_from_source @ [*point, 1]
            x, y, z = (np.linalg.inv(camera.world_from_camera) @ place)[:3]
            weight = image[..., channel].astype(float)
            u, v = camera.cx - camera.fl_x * x / z, camera.cy + camera.fl_y * y / z
            assert (columns * weight).sum() / weight.sum() == pytest.approx(u, abs=0.05)
            assert (rows * weight).sum() / weight.sum() == pytest.approx(v, abs=0.05)


def test_box_holds_what_lies_between_the_depths(folder: Path) -> None:
    posed = load(folder)
    source = np.linalg.inv(posed.world_from_source)
    low, high = posed.bounds @ source[:3, :3].T + source[:3, 3]
    rng = np.random.default_rng(0)
    u, v = rng.uniform(0, W, 2000), rng.uniform(0, H, 2000)
    depth = rng.uniform(NEAR, FAR, 2000)
    seen = np.stack([(u - W / 2) / FOCAL * depth, (H / 2 - v) / FOCAL * depth, -depth], -1)
    for index in range(COUNT):
        places = pose(index)[:3, 3] + seen @ pose(index)[:3, :3].T
        assert (places > low - 1e-6).all() and (places < high + 1e-6).all()
    assert np.prod(high - low) < 1.5 * (FAR - NEAR) * (FAR / FOCAL * W + 1) * (FAR / FOCAL * H + 1)
    np.testing.assert_allclose(posed.up, [0, 1, 0], atol=0.02)


def test_the_folder_that_fits(folder: Path) -> None:
    """The smallest that is large enough, the largest where none is."""
    (folder / "images_4").mkdir()
    (folder / "images_old").mkdir()
    for index in range(COUNT):
        iio.imwrite(folder / "images_4" / f"image{index:03d}.png", np.full((H // 2, W // 2, 3), 9, np.uint8))
    assert load(folder, "data.max_size=32").train.images.max() == 9
    assert load(folder, "data.max_size=33").train.images.max() > 9
    assert load(folder).train.images.shape[1:3] == (H, W)
    assert load(folder, "data.max_size=999").train.images.shape[1:3] == (H, W)


# Bad input ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("change", "parts"),
    [
        (edit(3, 0, value=5.0), ["row of image003.png", "no rotation"]),
        (
            lambda f: np.save(
                f / "poses_bounds.npy",
                np.load(f / "poses_bounds.npy") * np.where(np.arange(17) % 5 == 1, -1, 1),
            ),
            ["row of image000.png", "mirrored"],
        ),
        (edit(3, 14, value=0.0), ["row of image003.png", "focal length 0"]),
        (edit(3, 9, value=90.0), ["row of image003.png", "90x96", "64x48"]),
        (edit(3, 15, value=0.0), ["row of image003.png", "depths 0 and 9"]),
        (edit(3, 16, value=1.0), ["row of image003.png", "depths 3 and 1"]),
        (edit(3, 7, value=float("nan")), ["row 3", "not a finite number"]),
        (save(np.zeros((9, 16))), ["(9, 16) array", "expected (n, 17)"]),
        (save(np.zeros((0, 17))), ["(0, 17)", "1 to 100000 rows"]),
        (save(np.zeros((9, 17), "U3")), ["<U3 (9, 17)", "floats"]),
        (save(np.array([{}], dtype=object)), ["cannot be read as npy"]),
        (save(np.stack([row(0)])), ["1 rows for 9 pictures"]),
        (lambda f: (f / "poses_bounds.npy").write_bytes(b"\x93NUMPY"), ["cannot be read as npy"]),
        (lambda f: (f / "images_2" / "image004.png").unlink(), ["9 rows for 8 pictures", "images_2"]),
        (lambda f: (f / "images_2").rename(f / "pictures"), ["no images folder"]),
        (
            lambda f: iio.imwrite(f / "images_2" / "image004.png", np.zeros((H, W + 1, 3), np.uint8)),
            ["image004.png: 65x48 pixels", "expected one size"],
        ),
    ],
)
def test_mistakes(folder: Path, change: Callable[[Path], object], parts: list[str]) -> None:
    change(folder)
    with pytest.raises(InshaderError) as caught:
        load(folder)
    message = str(caught.value)
    assert "\n" not in message
    for part in parts:
        assert part in message


def test_a_file_that_promises_more_than_it_holds(folder: Path) -> None:
    file = folder / "poses_bounds.npy"
    file.write_bytes(file.read_bytes().replace(b"(9, 17)", b"(90000000, 17)".ljust(7))[:2000])
    with pytest.raises(InshaderError, match="cannot be read as npy"):
        load(folder)


def test_inspect(folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "run"
    words = ["forward_facing", f"data.path={folder}", "data.format=auto", "--inspect", "--out", str(out)]
    assert main(words) == 0
    assert (out / "inspect.png").is_file()
    assert "llff, because the folder holds poses_bounds.npy" in capsys.readouterr().out
