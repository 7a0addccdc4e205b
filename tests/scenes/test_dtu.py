from __future__ import annotations

import math
import zipfile
from collections.abc import Callable
from pathlib import Path

import imageio.v3 as iio
import numpy as np
import pytest

from render.camera import Camera, look_at
from render.errors import InshaderError
from scenes import PosedImages, load_dataset, load_scene
from scenes.dtu import decompose, up_axis
from training.cli import main

CENTRE, RADIUS = np.array([10.0, -20, 30]), 5.0  # of scale_mat's sphere, in the data set's world
BALL = 2.0  # radius of the object, which the masks show
W, H, COUNT = 104, 96, 9  # the pictures show all of the sphere
# Drawn red, green and blue.
POINTS = np.array([[0.9, 0.5, 0.6], [-1.0, 0.4, -0.5], [0.2, -1.1, 0.3]]) + CENTRE
SPREAD = 2.0  # of a drawn dot, in pixels


def intrinsics(index: int) -> np.ndarray:
    """K as IDR counts pixels: (0, 0) is the centre of the first; every camera its own."""
    return np.array([[150.0 + index, 0, 51 + 0.7 * index], [0, 152 + index, 48.2 - 0.3 * index], [0, 0, 1]])


def camera(index: int) -> Camera:
    """The truth, with pixel centres at + 0.5."""
    turn = 2 * math.pi * index / COUNT
    height = 0.3 + 0.1 * (index % 3)
    position = CENTRE + 18 * np.array([math.cos(turn), math.sin(turn), height])
    pose = look_at(position, CENTRE, (0, 0, 1), W, H, 1.0).world_from_camera
    k = intrinsics(index)
    return Camera(pose, k[0, 0], k[1, 1], k[0, 2] + 0.5, k[1, 2] + 0.5, W, H)


def world_mat(index: int) -> np.ndarray:
    """(4, 4), written out from the definition: K [R | t] with OpenCV's axes, times any factor."""
    truth = camera(index).world_from_camera
    rotation = np.diag([1, -1, -1]) @ truth[:3, :3].T
    matrix = np.eye(4)
    matrix[:3] = intrinsics(index) @ np.concatenate([rotation, -rotation @ truth[:3, 3:]], 1)
    return matrix * (-2.5 if index == 3 else 1 + index)


def scale_mat() -> np.ndarray:
    matrix = np.diag([RADIUS, RADIUS, RADIUS, 1])
    matrix[:3, 3] = CENTRE
    return matrix


def dots(index: int) -> np.ndarray:
    """(H, W, 3) uint8: a blurred dot where each point falls, in the pixels of world_mat."""
    rows, columns = np.mgrid[:H, :W]
    picture = np.zeros((H, W, 3))
    for channel, point in enumerate(POINTS):
        u, v, depth = (world_mat(index) @ [*point, 1])[:3]
        square = (columns - u / depth) ** 2 + (rows - v / depth) ** 2
        picture[..., channel] = np.exp(-square / (2 * SPREAD**2))
    return np.round(picture * 255).astype(np.uint8)


def ball(index: int) -> np.ndarray:
    """(H, W) uint8: 255 where a pixel's ray meets the ball, with a soft edge below half."""
    rays_o, rays_d = camera(index).rays()
    nearest = np.linalg.norm(np.cross(CENTRE - rays_o, rays_d), axis=-1)
    return np.where(nearest < BALL, 255, np.where(nearest < BALL + 0.15, 100, 0)).astype(np.uint8)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Nine views of a ball with three dots, in IDR's layout: image/000000.png, mask/000.png."""
    path = tmp_path / "scan"
    for name in ("image", "mask"):
        (path / name).mkdir(parents=True)
    for index in range(COUNT):
        iio.imwrite(path / "image" / f"{index:06d}.png", dots(index))
        iio.imwrite(path / "mask" / f"{index:03d}.png", ball(index))
    matrices = {f"world_mat_{index}": world_mat(index) for index in range(COUNT)}
    matrices |= {f"scale_mat_{index}": scale_mat() for index in range(COUNT)}
    np.savez(path / "cameras_sphere.npz", **matrices)  # type: ignore[arg-type]
    return path


def load(folder: Path, *overrides: str) -> PosedImages:
    posed = load_dataset(load_scene("dtu", [f"data.path={folder}", "data.max_size=null", *overrides]))
    assert isinstance(posed, PosedImages)
    return posed


def edit(folder: Path, **changes: np.ndarray | None) -> None:
    """Change matrices of the npz; None removes one."""
    file = folder / "cameras_sphere.npz"
    with np.load(file, allow_pickle=False) as stored:
        matrices = {**stored, **changes}
    np.savez(file, **{k: v for k, v in matrices.items() if v is not None})  # type: ignore[arg-type]


def without_masks(folder: Path) -> None:
    for mask in (folder / "mask").iterdir():
        mask.unlink()
    (folder / "mask").rmdir()


def all_cameras(posed: PosedImages) -> dict[str, Camera]:
    """By the names of pictures, in the data set's own world."""
    source_from_world = np.linalg.inv(posed.world_from_source)
    return {
        name: found.transformed(source_from_world)
        for views in (posed.train, posed.test)
        for name, found in zip(views.names, views.cameras, strict=True)
    }


# What is read ---------------------------------------------------------------------------------------------


def test_cameras_are_the_ones_written(folder: Path) -> None:
    found = all_cameras(load(folder))
    assert sorted(found) == [f"{index:06d}" for index in range(COUNT)]
    for index in range(COUNT):
        read, truth = found[f"{index:06d}"], camera(index)
        np.testing.assert_allclose(read.world_from_camera, truth.world_from_camera, rtol=0, atol=1e-5)
        for key in ("fl_x", "fl_y", "cx", "cy", "w", "h"):
            assert getattr(read, key) == pytest.approx(getattr(truth, key), abs=1e-5), key
            assert type(getattr(read, key)) in (int, float), "numpy's would turn torch to float64"


def test_inside_the_sphere_it_is_the_same_camera() -> None:
    """world_mat @ scale_mat has the K and R of world_mat; its position goes through scale_mat."""
    k, rotation, position = decompose(world_mat(3)[:3])
    sphere_k, sphere_rotation, sphere_position = decompose((world_mat(3) @ scale_mat())[:3])
    np.testing.assert_allclose(k, intrinsics(3), atol=1e-8)
    np.testing.assert_allclose(sphere_k, k, atol=1e-8)
    np.testing.assert_allclose(sphere_rotation, rotation, atol=1e-10)
    np.testing.assert_allclose(sphere_position * RADIUS + CENTRE, position, atol=1e-8)
    np.testing.assert_allclose(rotation @ rotation.T, np.eye(3), atol=1e-12)
    assert np.linalg.det(rotation) == pytest.approx(1)


@pytest.mark.parametrize("size", [W, W // 2, 40])
def test_points_fall_on_their_dots(folder: Path, size: int) -> None:
    """Half a pixel of difference between conventions would be ten times the tolerance.

    0.05 pixels: eight bits and the cut tails of a dot leave 0.01; what area-filtering adds is symmetric.
    """
    without_masks(folder)  # their edge would cut dots
    posed = load(folder, f"data.max_size={size}")
    assert not posed.masked
    for views in (posed.train, posed.test):
        for found, image in zip(views.cameras, views.images, strict=True):
            assert image.shape == (found.h, found.w, 3) and found.w == size
            rows, columns = np.mgrid[: found.h, : found.w] + 0.5
            for channel, point in enumerate(POINTS):
                world = posed.world_from_source @ [*point, 1]
                x, y, z = (np.linalg.inv(found.world_from_camera) @ world)[:3]
                u, v = found.cx - found.fl_x * x / z, found.cy + found.fl_y * y / z
                weight = image[..., channel].astype(float)
                assert (columns * weight).sum() / weight.sum() == pytest.approx(u, abs=0.05)
                assert (rows * weight).sum() / weight.sum() == pytest.approx(v, abs=0.05)


def test_split(folder: Path) -> None:
    posed = load(folder)
    assert posed.test.names == ("000000", "000008")
    assert posed.train.names == tuple(f"{index:06d}" for index in range(1, 8))
    assert len(posed.train.images) == len(posed.train) == 7


def test_masks_become_alpha(folder: Path) -> None:
    posed = load(folder)
    assert posed.masked
    assert posed.train.images.shape == (7, H, W, 4) and posed.train.images.dtype == np.uint8
    for name, image in zip(posed.train.names, posed.train.images, strict=True):
        np.testing.assert_array_equal(image[..., 3] == 255, ball(int(name)) == 255)
        np.testing.assert_array_equal(image[..., :3], dots(int(name)))
        assert set(np.unique(image[..., 3])) == {0, 255}  # the soft edge is no coverage
    small = load(folder, f"data.max_size={W // 2}").train.images
    assert len(np.unique(small[..., 3])) > 2  # but a pixel half covered has half the alpha
    sums = small[..., 3].astype(float).sum((1, 2)) * 4
    np.testing.assert_allclose(sums, posed.train.images[..., 3].astype(float).sum((1, 2)), rtol=0.01)


def test_sixteen_bits_and_masks_in_colour(folder: Path) -> None:
    for index in range(COUNT):
        deep = np.repeat(ball(index)[..., None], 3, -1)
        iio.imwrite(folder / "mask" / f"{index:03d}.png", deep)
    posed = load(folder)
    assert posed.train.images[..., 3].any()


def test_box_and_the_way_back(folder: Path) -> None:
    posed = load(folder)
    assert np.linalg.norm(posed.bounds[1]) == pytest.approx(1, abs=1e-6)
    source = np.linalg.inv(posed.world_from_source)
    low, high = posed.bounds @ source[:3, :3].T + source[:3, 3]
    # Carved: it holds the ball, and less than the sphere's cube.
    assert (low <= CENTRE - BALL).all() and (high >= CENTRE + BALL).all()
    assert (low > CENTRE - 0.8 * RADIUS).all() and (high < CENTRE + 0.8 * RADIUS).all()
    without_masks(folder)
    posed = load(folder)
    np.testing.assert_allclose((posed.world_from_source @ [*CENTRE, 1])[:3], 0, atol=1e-9)
    assert posed.bounds[1] == pytest.approx(1 / math.sqrt(3))
    assert posed.world_from_source[0, 0] == pytest.approx(1 / (RADIUS * math.sqrt(3)))
    posed = load(folder, "data.bounds=[[8, -22, 28], [12, -18, 32]]")
    assert posed.world_from_source[0, 0] == pytest.approx(1 / math.sqrt(12))


def test_up(folder: Path) -> None:
    np.testing.assert_allclose(load(folder).up, [0, 0, 1], atol=1e-6)


def test_up_of_cameras_on_one_side() -> None:
    """Their mean up leans; the rule that right axes are level does not. Rolled cameras leave the mean."""
    cameras = [
        look_at((4 * math.cos(a), 4 * math.sin(a), 3), (0, 0, 0), (0, 0, 1), 8, 8, 1)
        for a in (0.0, 0.4, 0.9, 1.3)
    ]
    ups = np.mean([c.world_from_camera[:3, 1] for c in cameras], 0)
    assert np.degrees(np.arccos(ups[2] / np.linalg.norm(ups))) > 30
    np.testing.assert_allclose(up_axis(cameras), [0, 0, 1], atol=1e-6)
    rolled = []
    for index, found in enumerate(cameras):
        angle = 0.6 * (-1) ** index
        roll = np.eye(4)
        roll[:2, :2] = [[math.cos(angle), -math.sin(angle)], [math.sin(angle), math.cos(angle)]]
        rolled.append(Camera(found.world_from_camera @ roll, 8, 8, 4, 4, 8, 8))
    mean = np.mean([c.world_from_camera[:3, 1] for c in rolled], 0)
    np.testing.assert_allclose(up_axis(rolled), mean / np.linalg.norm(mean), atol=1e-6)


def test_recognised_by_its_file(folder: Path) -> None:
    assert len(load(folder, "data.format=auto").test) == 2
    (folder / "cameras_sphere.npz").rename(folder / "cameras.npz")
    assert len(load(folder, "data.format=auto").test) == 2


def test_pictures_that_count_from_one(folder: Path) -> None:
    """They are paired in order, as are masks that count from 0."""
    truth = all_cameras(load(folder))["000004"]
    for index in reversed(range(COUNT)):
        (folder / "image" / f"{index:06d}.png").rename(folder / "image" / f"{index + 1:06d}.png")
    posed = load(folder)
    assert posed.test.names == ("000001", "000009")
    np.testing.assert_allclose(
        all_cameras(posed)["000005"].world_from_camera, truth.world_from_camera, atol=1e-9
    )
    assert (posed.train.images[3, ..., 3] == 255).sum() == (ball(4) == 255).sum()


# Bad input ------------------------------------------------------------------------------------------------


def blacken(folder: Path, *indices: int) -> None:
    for index in indices:
        iio.imwrite(folder / "mask" / f"{index:03d}.png", np.zeros((H, W), np.uint8))


def skewed() -> np.ndarray:
    k = intrinsics(2)
    k[0, 1] = 4.0
    return changed_k(k)


def tall() -> np.ndarray:
    k = intrinsics(2)
    k[1, 1] *= 2.5
    return changed_k(k)


def changed_k(k: np.ndarray) -> np.ndarray:
    matrix = np.eye(4)
    matrix[:3] = k @ np.linalg.inv(intrinsics(2)) @ world_mat(2)[:3]
    return matrix


def mirrored() -> np.ndarray:
    return np.asarray(world_mat(2) @ np.diag([1, 1, -1, 1]))


def not_a_number() -> np.ndarray:
    matrix = world_mat(2)
    matrix[1, 3] = math.nan
    return matrix


@pytest.mark.parametrize(
    ("change", "parts"),
    [
        (lambda f: (f / "cameras_sphere.npz").unlink(), ["cameras are missing", "cameras_sphere.npz or"]),
        (lambda f: (f / "image" / "000004.png").unlink(), ["000004.png", "is missing", "world_mat_4"]),
        (lambda f: (f / "mask" / "004.png").unlink(), ["000004.png", "no mask in", "8 for 9"]),
        (lambda f: blacken(f, 5), ["005.png", "all black", "white where the object is"]),
        (lambda f: blacken(f, *range(COUNT)), ["000.png", "all black"]),
        (
            lambda f: iio.imwrite(f / "image" / "000004.png", np.zeros((H, W + 1, 3), np.uint8)),
            ["004.png: 104x96 pixels", "000004.png has 105x96"],
        ),
        (
            lambda f: [
                iio.imwrite(f / "image" / "000004.png", np.zeros((H, W + 1, 3), np.uint8)),
                iio.imwrite(f / "mask" / "004.png", np.full((H, W + 1), 255, np.uint8)),
            ],
            ["000004.png: 105x96 pixels", "000000.png has 104x96"],
        ),
        (
            lambda f: [
                without_masks(f),
                iio.imwrite(f / "image" / "000004.png", np.zeros((H, W + 1, 3), np.uint8)),
            ],
            ["000004.png: 105x96 pixels", "000000.png has 104x96"],
        ),
        (
            lambda f: iio.imwrite(f / "image" / "000004.png", np.zeros((H, W), np.uint16)),
            ["000004.png: uint16", "000000.png has uint8"],
        ),
        (lambda f: (f / "image" / "000004.png").write_bytes(b"\x89PNG"), ["000004.png", "cannot be read"]),
        (lambda f: edit(f, world_mat_2=np.zeros((4, 4))), ["world_mat_2", "singular"]),
        (lambda f: edit(f, world_mat_2=np.ones((4, 4))), ["world_mat_2", "singular"]),
        (lambda f: edit(f, world_mat_2=not_a_number()), ["world_mat_2", "not a finite number"]),
        (lambda f: edit(f, world_mat_2=np.eye(3)), ["world_mat_2 is float64 (3, 3)", "4x4"]),
        (lambda f: edit(f, world_mat_2=np.array("text")), ["world_mat_2 is <U4 ()", "4x4"]),
        (lambda f: edit(f, world_mat_2=np.eye(99)), ["world_mat_2 takes", "4x4"]),
        (lambda f: edit(f, world_mat_2=skewed()), ["world_mat_2", "skew 4", "at most 0.5"]),
        (lambda f: edit(f, world_mat_2=tall()), ["world_mat_2", "focal lengths 152 and 385", "ratio"]),
        (lambda f: edit(f, world_mat_2=mirrored()), ["world_mat_2", "behind the camera"]),
        (
            lambda f: edit(f, world_mat_2=np.diag([2, 2, 1, 1]) @ world_mat(2)),
            ["world_mat_2", "principal point (105.3, 95.7)", "104x96 picture"],
        ),
        (lambda f: edit(f, scale_mat_2=None), ["scale_mat_2 is missing"]),
        (lambda f: edit(f, scale_mat_2=2 * scale_mat()), ["scale_mat differs"]),
        (
            lambda f: edit(f, **{f"scale_mat_{i}": np.diag([1.0, 2, 3, 1]) for i in range(COUNT)}),
            ["scale_mat is no uniform scale"],
        ),
        (
            lambda f: edit(f, **{f"scale_mat_{i}": np.zeros((4, 4)) for i in range(COUNT)}),
            ["scale_mat is no uniform scale"],
        ),
        (lambda f: edit(f, world_mat_8=None), ["8 cameras for 9 pictures", "000008.png has none"]),
        (
            lambda f: edit(f, world_mat_9=world_mat(1), scale_mat_9=scale_mat()),
            ["000009.png", "is missing", "world_mat_9"],
        ),
        (
            lambda f: edit(f, **{f"{kind}_mat_{i}": None for kind in ("world", "scale") for i in range(9)}),
            ["holds no world_mat_0"],
        ),
        (lambda f: (f / "cameras_sphere.npz").write_bytes(b"PK"), ["cameras_sphere.npz", "damaged"]),
        (
            lambda f: np.savez(f / "cameras_sphere.npz", world_mat_0=np.array([{}], dtype=object)),
            ["cameras_sphere.npz", "damaged"],
        ),
        (lambda f: (f / "image").rename(f / "images"), ["image: the folder is missing"]),
        (lambda f: [p.unlink() for p in (f / "mask").iterdir()], ["mask: holds no pictures"]),
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


def test_a_member_that_is_no_array(folder: Path) -> None:
    for name in ("world_mat_0", "world_mat_0.npy"):
        with zipfile.ZipFile(folder / "cameras_sphere.npz", "w") as archive:
            archive.writestr(name, b"no array")
        with pytest.raises(InshaderError, match=r"cameras_sphere\.npz: "):
            load(folder)


def test_masks_of_other_pictures(folder: Path) -> None:
    """Silhouettes that have nothing in common inside the sphere."""
    for index in range(COUNT):
        mask = np.zeros((H, W), np.uint8)
        mask[:4, :4] = 255
        iio.imwrite(folder / "mask" / f"{index:03d}.png", mask)
    with pytest.raises(InshaderError, match="nothing inside scale_mat's sphere lies in all masks"):
        load(folder)


def test_exit_status(folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (folder / "image" / "000004.png").unlink()
    assert main(["dtu", f"data.path={folder}", "--inspect", "--out", str(tmp_path / "run")]) == 2
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == 1 and "000004.png: the picture is missing" in lines[0]
    assert not (tmp_path / "run").exists()
