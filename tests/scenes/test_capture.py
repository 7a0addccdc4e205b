from __future__ import annotations

import json
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import imageio.v3 as iio
import numpy as np
import pytest
from PIL import Image

from render.camera import Camera, look_at
from render.errors import InshaderError
from scenes import PosedImages, load_dataset, load_scene, photographs
from tests.scenes.test_png16 import encoded
from training.cli import main

CENTRE = np.array([1.0, -2, 3])  # what the cameras look at, in the file's frame
BALL = 0.8
W, H, COUNT = 72, 96, 9
FOCAL = (80.0, 82.0)
PRINCIPAL = (37.5, 46.0)
LENS = {"k1": 0.08, "k2": -0.06, "p1": 0.004, "p2": -0.003, "k3": 0.01}
# Drawn red, green and blue.
POINTS = np.array([[0.9, 0.5, 0.6], [-1.0, 0.4, -0.5], [0.2, -1.1, 0.3]]) + CENTRE
SPREAD = 1.5  # of a drawn dot, in pixels


def pose(index: int) -> np.ndarray:
    turn = 2 * math.pi * index / COUNT
    position = CENTRE + 6 * np.array([math.cos(turn), math.sin(turn), 0.3 + 0.1 * (index % 3)])
    return look_at(position, CENTRE, (0, 0, 1), W, H, 1.0).world_from_camera


def pixel(index: int, point: np.ndarray, lens: dict[str, float]) -> tuple[float, float]:
    """Where the distorted picture shows a point, OpenCV's formula written out."""
    x, y, z = (np.linalg.inv(pose(index)) @ [*point, 1])[:3]
    x, y = x / -z, y / z
    k1, k2, p1, p2, k3 = (lens.get(key, 0.0) for key in ("k1", "k2", "p1", "p2", "k3"))
    r2 = x**2 + y**2
    radial = 1 + k1 * r2 + k2 * r2**2 + k3 * r2**3
    u = x * radial + 2 * p1 * x * y + p2 * (r2 + 2 * x**2)
    v = y * radial + p1 * (r2 + 2 * y**2) + 2 * p2 * x * y
    return FOCAL[0] * u + PRINCIPAL[0], FOCAL[1] * v + PRINCIPAL[1]


def dots(index: int, lens: dict[str, float]) -> np.ndarray:
    """(H, W, 3) uint8: a blurred dot where each point falls."""
    rows, columns = np.mgrid[:H, :W] + 0.5
    picture = np.zeros((H, W, 3))
    for channel, point in enumerate(POINTS):
        u, v = pixel(index, point, lens)
        picture[..., channel] = np.exp(-((columns - u) ** 2 + (rows - v) ** 2) / (2 * SPREAD**2))
    return np.round(picture * 255).astype(np.uint8)


def ball(index: int) -> np.ndarray:
    """(H, W) uint8: 255 where a pixel's ray meets the ball, without distortion."""
    rays_o, rays_d = Camera(pose(index), *FOCAL, *PRINCIPAL, W, H).rays()
    return np.where(np.linalg.norm(np.cross(CENTRE - rays_o, rays_d), axis=-1) < BALL, 255, 0).astype(
        np.uint8
    )


def write(folder: Path, lens: dict[str, float]) -> Path:
    (folder / "images").mkdir(parents=True)
    frames = []
    for index in reversed(range(COUNT)):  # they come in any order
        iio.imwrite(folder / "images" / f"{index:04d}.png", dots(index, lens))
        frames.append({"file_path": f"images/{index:04d}.png", "transform_matrix": pose(index).tolist()})
    document = {
        **{"fl_x": FOCAL[0], "fl_y": FOCAL[1], "cx": PRINCIPAL[0], "cy": PRINCIPAL[1], "w": W, "h": H},
        **{**lens, "frames": frames},
    }
    (folder / "transforms.json").write_text(json.dumps(document))
    return folder


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Nine photographs of three dots by a lens with distortion."""
    return write(tmp_path / "capture", LENS)


@pytest.fixture
def straight(tmp_path: Path) -> Path:
    return write(tmp_path / "straight", {})


def load(folder: Path, *overrides: str) -> PosedImages:
    posed = load_dataset(load_scene("capture", [f"data.path={folder}", "data.max_size=null", *overrides]))
    assert isinstance(posed, PosedImages)
    return posed


def edit(folder: Path, change: Callable[[dict[str, Any]], object]) -> None:
    file = folder / "transforms.json"
    document = json.loads(file.read_text())
    change(document)
    file.write_text(json.dumps(document))


def mask(folder: Path) -> None:
    (folder / "masks").mkdir()
    for index in range(COUNT):
        iio.imwrite(folder / "masks" / f"{index}.png", ball(index))
    edit(
        folder,
        lambda d: [f.update(mask_path=f"masks/{int(f['file_path'][7:11])}.png") for f in d["frames"]],
    )


def falls(posed: PosedImages, point: np.ndarray) -> list[tuple[float, float]]:
    """Where the cameras for training see a place in source units."""
    x, y, z = (posed.world_from_source @ [*point, 1])[:3]
    found = []
    for camera in posed.train.cameras:
        u, v, w = (np.linalg.inv(camera.world_from_camera) @ [x, y, z, 1])[:3]
        found.append((camera.cx - camera.fl_x * u / w, camera.cy + camera.fl_y * v / w))
    return found


# What is read ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("size", [H, H // 2, 40])
@pytest.mark.parametrize("lens", [LENS, {}])
def test_points_fall_on_their_dots(tmp_path: Path, size: int, lens: dict[str, float]) -> None:
    """The pictures were drawn by the lens, the cameras have none. It moves these dots by up to a pixel.

    0.06 pixels: eight bits, the cut tails of a dot, and that a lens bends a dot a little.
    """
    posed = load(write(tmp_path / "capture", lens), f"data.max_size={size}")
    rows, columns = np.mgrid[: posed.train.images.shape[1], : posed.train.images.shape[2]] + 0.5
    assert posed.train.images.shape[1] == size and not posed.masked
    for channel, point in enumerate(POINTS):
        for image, (u, v) in zip(posed.train.images, falls(posed, point), strict=True):
            weight = image[..., channel].astype(float)
            assert (columns * weight).sum() / weight.sum() == pytest.approx(u, abs=0.06)
            assert (rows * weight).sum() / weight.sum() == pytest.approx(v, abs=0.06)


def test_split_and_order(folder: Path) -> None:
    posed = load(folder)
    assert posed.test.names == ("0000", "0008")
    assert posed.train.names == tuple(f"{index:04d}" for index in range(1, 8))


def named(*numbers: int) -> list[str]:
    return [f"images/{number:04d}.png" for number in numbers]


@pytest.mark.parametrize(
    ("lists", "trained", "held"),
    [
        ({"test": [3, 1]}, "0245678", "13"),
        ({"val": [3, 1]}, "0245678", "13"),
        ({"val": [4], "test": [3, 1]}, "0245678", "13"),
        ({"train": [7, 2], "val": [4], "test": [3, 1]}, "27", "13"),
        ({"train": [7, 2], "val": [4], "test": []}, "27", "4"),
        ({"train": [0, 1, 2, 3, 4, 5, 7, 8]}, "01234578", "6"),
        ({"train": [0, 1, 2, 3, 4, 5, 6, 7, 8]}, "1234567", "08"),  # leaves none to hold out
        ({"train": [], "val": [], "test": []}, "1234567", "08"),
    ],
)
def test_split_by_lists(straight: Path, lists: dict[str, list[int]], trained: str, held: str) -> None:
    edit(straight, lambda d: d.update({f"{key}_filenames": named(*value) for key, value in lists.items()}))
    posed = load(straight)
    for views, numbers in ((posed.train, trained), (posed.test, held)):
        assert views.names == tuple(f"000{digit}" for digit in numbers)
        for name, image in zip(views.names, views.images, strict=True):
            np.testing.assert_array_equal(image, dots(int(name), {}))


def test_lists_may_spell_names_in_other_ways(straight: Path) -> None:
    edit(
        straight, lambda d: d.update(test_filenames=["./images/0003.png", "images\\0004.png", "images/0005"])
    )
    assert load(straight).test.names == ("0003", "0004", "0005")


def test_frames_in_no_list_are_not_read(straight: Path) -> None:
    edit(straight, lambda d: d.update(train_filenames=named(1, 2, 3), test_filenames=named(4)))
    (straight / "images" / "0005.png").write_bytes(b"no picture")
    assert len(load(straight).train) == 3


def test_box_and_up(straight: Path) -> None:
    posed = load(straight)
    np.testing.assert_allclose((posed.world_from_source @ [*CENTRE, 1])[:3], 0, atol=1e-6)
    np.testing.assert_allclose(posed.up, [0, 0, 1], atol=1e-6)
    half = 0.5 / posed.world_from_source[0, 0] * 2 / math.sqrt(3)  # of the cube, in source units
    edit(straight, lambda d: d.update(aabb_scale=4))
    clipped = load(straight)  # by instant-ngp's cube, 4 / 0.33 wide about the origin
    source = np.linalg.inv(clipped.world_from_source)
    low, high = clipped.bounds @ source[:3, :3].T + source[:3, 3]
    np.testing.assert_allclose(low, np.maximum(CENTRE - half, -2 / 0.33), atol=1e-5)
    np.testing.assert_allclose(high, np.minimum(CENTRE + half, 2 / 0.33), atol=1e-5)
    assert high[2] < CENTRE[2] + half and low[1] > CENTRE[1] - half
    edit(straight, lambda d: d.update(scale=0.1, offset=[0.5, 0.6, 0.5]))
    source = np.linalg.inv(load(straight).world_from_source)
    assert (source @ [0, 0, 0, 1])[:3] == pytest.approx(CENTRE, abs=1e-5)  # 40 wide: cuts nothing


def test_applied_transform_is_undone(straight: Path) -> None:
    """The original frame: half the size, turned, and moved."""
    before = load(straight)
    turn = np.array([[1.0, 0, 0, 5], [0, 0, 1, -1], [0, -1, 0, 2]])
    edit(straight, lambda d: d.update(applied_transform=turn.tolist(), applied_scale=2))
    posed = load(straight)
    source = np.linalg.inv(turn[:, :3]) @ (CENTRE / 2 - turn[:, 3])
    np.testing.assert_allclose((posed.world_from_source @ [*source, 1])[:3], 0, atol=1e-6)
    for point in POINTS:
        moved = np.linalg.inv(turn[:, :3]) @ (point / 2 - turn[:, 3])
        np.testing.assert_allclose(falls(posed, moved), falls(before, point), atol=1e-4)


def test_intrinsics_of_every_frame(folder: Path) -> None:
    """They come before those at the top; only the first keep their distortion."""
    before = load(folder)

    def change(document: dict[str, Any]) -> None:
        for frame in document["frames"]:
            if "0003" in frame["file_path"]:
                frame.update(fl_x=99.0, k1=0, k2=0, p1=0, p2=0, k3=0)

    edit(folder, change)
    after = load(folder)
    index = after.train.names.index("0003")
    assert after.train.cameras[index].fl_x == 99
    assert after.train.cameras[0].fl_x == before.train.cameras[0].fl_x > FOCAL[0]
    np.testing.assert_array_equal(after.train.images[index], dots(3, LENS))  # as it was
    np.testing.assert_array_equal(after.train.images[0], before.train.images[0])


def test_angles_in_place_of_focal_lengths(straight: Path) -> None:
    def change(document: dict[str, Any]) -> None:
        for key in ("fl_x", "fl_y", "cx", "cy", "w", "h"):
            del document[key]
        document["camera_angle_x"] = 2 * math.atan(0.5 * W / 80)

    edit(straight, change)
    camera = load(straight).train.cameras[0]
    assert (camera.fl_x, camera.fl_y) == pytest.approx((80, 80))  # one angle: square pixels
    assert (camera.cx, camera.cy) == (W / 2, H / 2)
    edit(straight, lambda d: d.update(camera_angle_y=2 * math.atan(0.5 * H / 90)))
    assert load(straight).train.cameras[0].fl_y == pytest.approx(90)


def test_masks_become_alpha(straight: Path) -> None:
    mask(straight)
    posed = load(straight)
    assert posed.masked and posed.train.images.shape[-1] == 4
    for name, image in zip(posed.train.names, posed.train.images, strict=True):
        np.testing.assert_array_equal(image[..., 3], ball(int(name)))
    source = np.linalg.inv(posed.world_from_source)
    low, high = posed.bounds @ source[:3, :3].T + source[:3, 3]
    assert (low < CENTRE - 0.9 * BALL).all() and (low > CENTRE - 2 * BALL).all()  # carved
    assert (high > CENTRE + 0.9 * BALL).all() and (high < CENTRE + 2 * BALL).all()


def test_masks_that_hide_nothing_stay(straight: Path) -> None:
    """Somebody made them: the scene is in its box."""
    mask(straight)
    for file in (straight / "masks").iterdir():
        iio.imwrite(file, np.full((H, W), 255, np.uint8))
    posed = load(straight)
    assert posed.masked and not posed.unbounded
    assert posed.train.images.shape[-1] == 4 and (posed.train.images[..., 3] == 255).all()


@pytest.mark.parametrize("lens", [LENS, {}])
def test_alpha_that_hides_nothing_is_no_mask(tmp_path: Path, lens: dict[str, float]) -> None:
    """Phones' and renderers' RGBA, with 255 all over."""
    folder = write(tmp_path / "capture", lens)
    before = load(folder)
    for file in (folder / "images").iterdir():
        iio.imwrite(file, np.dstack([iio.imread(file), np.full((H, W), 255, np.uint8)]))
    for _ in range(2):  # the second time from the cache, where a lens was undone
        posed = load(folder)
        assert posed.unbounded and not posed.masked
        np.testing.assert_array_equal(posed.train.images, before.train.images)
    rgba = iio.imread(folder / "images" / "0004.png")
    rgba[5:50, 5:50, 3] = 0
    iio.imwrite(folder / "images" / "0004.png", rgba)
    posed = load(folder)
    assert not posed.unbounded and posed.train.images.shape[-1] == 4


def test_masks_are_undistorted_too(folder: Path) -> None:
    mask(folder)
    alpha = load(folder).train.images[..., 3]
    assert ((alpha > 0) & (alpha < 255)).any() and (alpha == 255).any()


def test_windows_paths_and_recognition(straight: Path) -> None:
    edit(straight, lambda d: [f.update(file_path=f["file_path"].replace("/", "\\")) for f in d["frames"]])
    assert load(straight, "data.format=auto").test.names == ("0000", "0008")


# The cache ------------------------------------------------------------------------------------------------


def test_undistorted_once(folder: Path, own_cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    first = load(folder)
    assert len(list(own_cache.iterdir())) == 1
    calls: list[Path] = []
    undistort = photographs.undistort
    monkeypatch.setattr(photographs, "undistort", lambda *args: calls.append(folder) or undistort(*args))
    second = load(folder)
    assert not calls
    np.testing.assert_array_equal(second.train.images, first.train.images)
    np.testing.assert_array_equal(second.test.images, first.test.images)
    load(folder, "data.max_size=48")
    assert len(calls) == COUNT
    iio.imwrite(folder / "images" / "0003.png", dots(4, LENS)[:, ::-1])  # another picture of that name
    third = load(folder)
    assert len(calls) == 2 * COUNT
    assert (third.train.images[2] != first.train.images[2]).any()


def test_nothing_kept_without_distortion(straight: Path, own_cache: Path) -> None:
    load(straight)
    assert not own_cache.exists()


# Odd pictures and names -------------------------------------------------------------------------------------


def test_names_that_are_no_utf_8(straight: Path) -> None:
    """Files are named by bytes; JSON writes such a name with half a surrogate."""
    name = b"caf\xe9.png".decode("utf-8", "surrogateescape")
    (straight / "images" / "0002.png").rename(straight / "images" / name)
    edit(straight, lambda d: d["frames"][6].update(file_path=f"images/{name}"))
    assert len(load(straight).train) + len(load(straight).test) == COUNT


def test_a_tag_that_turns_the_picture_is_not_followed(straight: Path) -> None:
    """Whoever found the poses saw the pixels as they are stored."""
    before = load(straight)
    for index in range(COUNT):
        file = straight / "images" / f"{index:04d}.png"
        picture = Image.open(file)
        turned = Image.Exif()
        turned[0x0112] = 6  # to be shown turned by a quarter
        picture.save(file, exif=turned)
    after = load(straight)
    assert Image.open(straight / "images" / "0003.png").getexif()[0x0112] == 6
    np.testing.assert_array_equal(before.train.images, after.train.images)


def test_palettes_and_sixteen_bits(straight: Path) -> None:
    """One picture of each kind among others: all become the deepest, and show the same."""
    before = load(straight).train.images.astype(float) / 255
    Image.fromarray(dots(1, {})).quantize(256).save(straight / "images" / "0001.png")
    deep = dots(2, {}).astype(np.uint16) * 257
    (straight / "images" / "0002.png").write_bytes(encoded(deep, [0]))
    after = load(straight).train.images
    assert after.dtype == np.uint16 and after.shape[-1] == 3
    assert np.abs(after / 65535 - before).max() < 0.03  # what a palette of 256 leaves of three dots
    np.testing.assert_array_equal(after[1], deep)


def test_pictures_that_no_frame_names_are_left_alone(straight: Path) -> None:
    (straight / "images" / "9999.png").write_bytes(b"no picture")
    assert len(load(straight).train) + len(load(straight).test) == COUNT


def test_a_folder_of_pictures_alone(straight: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (straight / "transforms.json").unlink()
    assert main(["capture", f"data.path={straight}", "data.format=auto"]) == 2
    said = capsys.readouterr().err
    assert f"images holds {COUNT} pictures and nothing tells where they were taken from" in said
    assert "colmap" in said and said.count("\n") == 1


# Bad input ------------------------------------------------------------------------------------------------


def frame(number: int, **changes: Any) -> Callable[[Path], None]:
    """Change what frame ``number`` of the file says; None removes a key."""

    def change(document: dict[str, Any]) -> None:
        entry = {**document["frames"][number], **changes}
        document["frames"][number] = {k: v for k, v in entry.items() if v is not None}

    return lambda folder: edit(folder, change)


def top(**changes: Any) -> Callable[[Path], None]:
    def change(document: dict[str, Any]) -> None:
        entry = {**document, **changes}
        document.clear()
        document.update({k: v for k, v in entry.items() if v is not None})

    return lambda folder: edit(folder, change)


def turned(*diagonal: float) -> list[list[float]]:
    return (pose(6) @ np.diag([*diagonal, 1])).tolist()  # type: ignore[no-any-return]


NAME = "frame 2 ('images/0006.png')"  # the file lists them backwards


@pytest.mark.parametrize(
    ("change", "parts"),
    [
        (lambda f: (f / "images" / "0006.png").unlink(), ["frame 2", "images/0006.png is missing"]),
        (frame(2, file_path=7), ["frame 2", "file_path is 7"]),
        (frame(2, file_path="images/0001.png"), ["frame 7", "frame 2 has this picture too"]),
        (frame(2, transform_matrix=None), [NAME, "no transform_matrix"]),
        (frame(2, transform_matrix=turned(-1, 1, 1)), [NAME, "mirrored"]),
        (frame(2, transform_matrix=turned(1.1, 1, 1)), [NAME, "no rotation"]),
        (frame(2, transform_matrix=turned(2, 2, 2)), [NAME, "no rotation"]),
        (frame(2, transform_matrix=turned(0, 1, 1)), [NAME, "singular"]),
        (frame(2, transform_matrix=[[1, 2], [3]]), [NAME]),
        (frame(2, fl_x=0), [NAME, "fl_x is 0", "above 0"]),
        (frame(2, fl_x=-3), [NAME, "fl_x is -3"]),
        (frame(2, fl_x=True), [NAME, "fl_x is 'True'", "finite number"]),
        (top(fl_y=float("nan")), ["frame 0", "fl_y is 'nan'"]),
        (top(fl_x=None, fl_y=None), ["frame 0", "no fl_x and no camera_angle_x"]),
        (top(fl_x=None, camera_angle_x=4), ["frame 0", "camera_angle_x is 4"]),
        (frame(2, w=50), [NAME, "50x96", "72x96"]),
        (top(w=H, h=W), ["frame 0", "96x72", "EXIF"]),
        (frame(2, cx=100), [NAME, "principal point (100, 46)", "72x96"]),
        (frame(2, k1=-9), [NAME, "folds the picture"]),
        (frame(2, k1="a"), [NAME, "k1 is 'a'"]),
        (top(k4=0.1), ["frame 0", "k4 is 0.1"]),
        (top(camera_model="OPENCV_FISHEYE"), ["frame 0", "OPENCV_FISHEYE", "PINHOLE"]),
        (top(camera_model=[]), ["frame 0", "camera_model is []"]),
        (top(is_fisheye=True), ["frame 0", "fisheye"]),
        (
            lambda f: iio.imwrite(f / "images" / "0006.png", np.zeros((H, W + 1, 3), np.uint8)),
            [NAME, "0006.png has 73x96 pixels", "72x96"],
        ),
        (lambda f: (f / "images" / "0006.png").write_bytes(b"\x89PNG"), ["0006.png", "cannot be read"]),
        (frame(2, mask_path="images/0001.png"), [NAME, "has mask_path", "all or none"]),
        (frame(2, mask_path="none.png"), [NAME, "none.png is missing"]),
        (frame(2, mask_path=3), [NAME, "mask_path is 3"]),
        (top(frames=[]), ["frames is '[]'"]),
        (top(test_filenames=named(3, 9)), ["test_filenames names 'images/0009.png'", "no frame has"]),
        (top(val_filenames=["images/\0"]), ["val_filenames names 'images/", "no frame has"]),
        (top(train_filenames=["n" * 999]), ["train_filenames names 'nnn", "no frame has"]),
        (top(train_filenames="0001.png"), ["train_filenames is '0001.png'", "expected a list"]),
        (top(test_filenames=[3]), ["test_filenames is '[3]'", "expected a list"]),
        (
            top(train_filenames=named(1, 2), test_filenames=named(2, 3)),
            ["train_filenames names", "images/0002.png", "held out by test_filenames"],
        ),
        (top(test_filenames=named(*range(COUNT))), ["all frames are held out", "nothing to train on"]),
        (top(frames=["x", "y"]), ["frame 0", "no transform_matrix"]),
        (lambda f: edit(f, lambda d: d["frames"].__delitem__(slice(1, None))), ["one frame", "at least 2"]),
        (top(applied_transform=[[1, 2], [3]]), ["applied_transform is no 3x4"]),
        (top(applied_transform=np.diag([1.0, 1, -1, 1]).tolist()), ["applied_transform is no rotation"]),
        (top(applied_transform=np.diag([1.0, 2, 1, 1]).tolist()), ["applied_transform is no rotation"]),
        (top(applied_scale=0), ["applied_scale is 0"]),
        (top(aabb_scale=0), ["aabb_scale is 0"]),
        (top(aabb_scale=0.01, offset=[0.5, 90, 0.5]), ["no camera looks at the cube of aabb_scale"]),
        (top(aabb_scale=1, offset="x"), ["offset is 'x'"]),
        (
            lambda f: (f / "transforms.json").write_bytes(b'{"frames": "\xff"}'),
            ["transforms.json", "not JSON"],
        ),
        (lambda f: (f / "transforms.json").write_bytes(b" " * (33 << 20)), ["larger than 32 MiB"]),
        (lambda f: (f / "transforms.json").write_text("[" * 100_000), ["transforms.json", "not JSON"]),
        (lambda f: (f / "transforms.json").unlink(), ["holds 9 pictures"]),
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


def test_exit_status(folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = ["capture", f"data.path={folder}", "--inspect", "--out", str(tmp_path / "run")]
    assert main(words) == 0
    assert (tmp_path / "run" / "inspect.png").is_file()
    assert "transforms, because the folder holds transforms.json" in capsys.readouterr().out
    (folder / "images" / "0004.png").unlink()
    assert main(words) == 2
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == 1 and "frame 4" in lines[0] and "0004.png is missing" in lines[0]
