"""COLMAP's sparse models: every lens, both kinds of files, and what is wrong with them."""

from __future__ import annotations

import math
import struct
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import imageio.v3 as iio
import numpy as np
import pytest

from render.camera import look_at
from render.errors import InshaderError
from scenes import PosedImages, load_dataset, load_scene
from scenes.sparse_model import MODELS, read_model

CENTRE = np.array([1.0, -2, 3])  # what the cameras look at
W, H, COUNT = 72, 96, 9
POINTS = np.array([[0.9, 0.5, 0.6], [-1.0, 0.4, -0.5], [0.2, -1.1, 0.3]]) + CENTRE
SPREAD = 1.5  # of a drawn dot, in pixels
VALUES = {"f": 80.0, "fx": 80.0, "fy": 82.0, "cx": 37.5, "cy": 46.0} | {"k1": 0.08, "k2": -0.06}
VALUES |= {"p1": 0.004, "p2": -0.003}
LENSES = [name for name, parameters in MODELS.values() if parameters]


@dataclass
class Model:
    """What the files will hold, to be changed before they are written."""

    lens: str = "OPENCV"
    size: tuple[int, int] = (W, H)
    parameters: list[float] = field(default_factory=list)
    names: list[str] = field(default_factory=lambda: [f"{index:04d}.png" for index in range(COUNT)])
    quaternions: list[np.ndarray] = field(default_factory=list)
    shifts: list[np.ndarray] = field(default_factory=list)
    points: np.ndarray = field(
        default_factory=lambda: CENTRE + np.random.default_rng(0).normal(size=(400, 3))
    )

    def __post_init__(self) -> None:
        names = dict(MODELS.values())[self.lens]
        self.parameters = self.parameters or [VALUES[name] for name in names]
        for index in range(COUNT):
            pose = camera_from_world(index)
            self.quaternions.append(quaternion(pose[:3, :3]))
            self.shifts.append(pose[:3, 3])

    def write(self, folder: Path, kind: str) -> Path:
        """Model, and pictures of three dots as the lens shows them."""
        sparse = folder / "sparse" / "0"
        sparse.mkdir(parents=True)
        (folder / "images").mkdir(exist_ok=True)
        for index, name in enumerate(self.names):
            iio.imwrite(folder / "images" / name, dots(index, self.lens))
        (self.binary if kind == "bin" else self.text)(sparse)
        return folder

    def binary(self, folder: Path) -> None:
        number = next(number for number, (name, _) in MODELS.items() if name == self.lens)
        camera = struct.pack("<QiiQQ", 1, 7, number, *self.size)
        camera += struct.pack(f"<{len(self.parameters)}d", *self.parameters)
        (folder / "cameras.bin").write_bytes(camera)
        data = struct.pack("<Q", len(self.names))
        for index, name in reversed(list(enumerate(self.names))):  # in any order
            pose = [*self.quaternions[index], *self.shifts[index]]
            data += struct.pack("<i7di", index, *pose, 7) + name.encode("utf-8", "surrogateescape") + b"\0"
            data += struct.pack("<Q", 2) + struct.pack("<ddq", 1.0, 2.0, -1) * 2
        (folder / "images.bin").write_bytes(data)
        data = struct.pack("<Q", len(self.points))
        for index, point in enumerate(self.points):
            data += struct.pack("<Q3d3Bd", index, *point, 1, 2, 3, 0.5)
            data += struct.pack("<Q", 1) + struct.pack("<ii", 0, 1)
        (folder / "points3D.bin").write_bytes(data)

    def text(self, folder: Path) -> None:
        parameters = " ".join(map(repr, self.parameters))
        lines = ["# CAMERA_ID MODEL ..", f"7 {self.lens} {self.size[0]} {self.size[1]} {parameters}"]
        (folder / "cameras.txt").write_text("\n".join(lines) + "\n")
        lines = ["# IMAGE_ID ..", "# POINTS2D"]
        for index, name in enumerate(self.names):
            pose = " ".join(repr(float(v)) for v in [*self.quaternions[index], *self.shifts[index]])
            lines += [f"{index} {pose} 7 {name}", "1.0 2.0 -1" if index % 2 else ""]
        (folder / "images.txt").write_text("\n".join(lines) + "\n")
        lines = [f"{i} {x} {y} {z} 1 2 3 0.5 0 1" for i, (x, y, z) in enumerate(self.points.tolist())]
        (folder / "points3D.txt").write_text("\n".join(lines) + "\n")


def camera_from_world(index: int) -> np.ndarray:
    turn = 2 * math.pi * index / COUNT
    position = CENTRE + 6 * np.array([math.cos(turn), math.sin(turn), 0.3 + 0.1 * (index % 3)])
    pose = look_at(position, CENTRE, (0, 0, 1), W, H, 1.0).world_from_camera
    return np.diag([1.0, -1, -1, 1]) @ np.linalg.inv(pose)  # OpenCV's axes


def quaternion(rotation: np.ndarray) -> np.ndarray:
    """The eigenvector of Bar-Itzhack's matrix: whatever the angle."""
    r = rotation
    k = np.array(
        [
            [r[0, 0] - r[1, 1] - r[2, 2], r[1, 0] + r[0, 1], r[2, 0] + r[0, 2], r[2, 1] - r[1, 2]],
            [r[1, 0] + r[0, 1], r[1, 1] - r[0, 0] - r[2, 2], r[2, 1] + r[1, 2], r[0, 2] - r[2, 0]],
            [r[2, 0] + r[0, 2], r[2, 1] + r[1, 2], r[2, 2] - r[0, 0] - r[1, 1], r[1, 0] - r[0, 1]],
            [r[2, 1] - r[1, 2], r[0, 2] - r[2, 0], r[1, 0] - r[0, 1], r.trace()],
        ]
    )
    x, y, z, w = np.linalg.eigh(k)[1][:, -1]
    return np.array([w, x, y, z])


def dots(index: int, lens: str) -> np.ndarray:
    """(H, W, 3) uint8: a blurred dot where the lens shows each point, OpenCV's formula written out."""
    names = dict(MODELS.values())[lens]
    k1, k2, p1, p2 = (VALUES[name] if name in names else 0.0 for name in ("k1", "k2", "p1", "p2"))
    fx, fy = (VALUES["f"], VALUES["f"]) if "f" in names else (VALUES["fx"], VALUES["fy"])
    rows, columns = np.mgrid[:H, :W] + 0.5
    picture = np.zeros((H, W, 3))
    for channel, point in enumerate(POINTS):
        x, y, z = (camera_from_world(index) @ [*point, 1])[:3]
        x, y = x / z, y / z
        r2 = x**2 + y**2
        radial = 1 + k1 * r2 + k2 * r2**2
        u = fx * (x * radial + 2 * p1 * x * y + p2 * (r2 + 2 * x**2)) + VALUES["cx"]
        v = fy * (y * radial + p1 * (r2 + 2 * y**2) + 2 * p2 * x * y) + VALUES["cy"]
        picture[..., channel] = np.exp(-((columns - u) ** 2 + (rows - v) ** 2) / (2 * SPREAD**2))
    return np.round(picture * 255).astype(np.uint8)


def load(folder: Path, *overrides: str) -> PosedImages:
    posed = load_dataset(load_scene("capture", [f"data.path={folder}", "data.format=auto", *overrides]))
    assert isinstance(posed, PosedImages)
    return posed


@pytest.mark.parametrize("kind", ["bin", "txt"])
@pytest.mark.parametrize("lens", LENSES)
def test_points_fall_on_their_dots(tmp_path: Path, lens: str, kind: str) -> None:
    """Within a third of a pixel: what resampling moves the middle of a blurred dot by."""
    posed = load(Model(lens).write(tmp_path / "model", kind))
    assert posed.unbounded and len(posed.train) == 7 and posed.test.names == ("0000", "0008")
    for view in (posed.train, posed.test):
        for camera, image in zip(view.cameras, view.images, strict=True):
            for channel, point in enumerate(POINTS):
                x, y, z = (posed.world_from_source @ [*point, 1])[:3]
                u, v, w = (np.linalg.inv(camera.world_from_camera) @ [x, y, z, 1])[:3]
                expected = camera.cx - camera.fl_x * u / w, camera.cy + camera.fl_y * v / w
                weight = image[..., channel].astype(float) ** 2
                rows, columns = np.mgrid[: camera.h, : camera.w] + 0.5
                found = (columns * weight).sum() / weight.sum(), (rows * weight).sum() / weight.sum()
                assert np.hypot(*np.subtract(found, expected)) < 0.35


def test_reduced_pictures_and_box_of_points(tmp_path: Path) -> None:
    model = Model("PINHOLE", points=CENTRE + np.random.default_rng(1).uniform(-1, 1, (2000, 3)))
    folder = model.write(tmp_path / "model", "bin")
    (folder / "images_2").mkdir()
    for index, name in enumerate(model.names):
        iio.imwrite(folder / "images_2" / name, dots(index, "PINHOLE")[::2, ::2])
    posed = load(folder, "data.max_size=48")
    camera = posed.train.cameras[0]
    assert (camera.w, camera.h) == (W // 2, H // 2) and camera.fl_x == pytest.approx(VALUES["fx"] / 2)
    # the box of the points, which world_from_source makes one of half-diagonal 1, but for a hundredth
    scale = np.linalg.norm(posed.world_from_source[:3, 0])
    assert scale == pytest.approx(1 / (0.98 * math.sqrt(3)), rel=0.02)


def test_pictures_in_a_folder_per_camera(tmp_path: Path) -> None:
    model = Model("PINHOLE")
    model.names = [f"{'left' if index % 2 else 'right'}/{name}" for index, name in enumerate(model.names)]
    for side in ("left", "right"):
        (tmp_path / "model" / "images" / side).mkdir(parents=True)
    (tmp_path / "model" / "images_4").mkdir()  # without them: it does not count
    posed = load(model.write(tmp_path / "model", "bin"))
    found = {*posed.train.names, *posed.test.names}
    assert found == {name.removesuffix(".png") for name in model.names}


def test_cameras_that_look_one_way_stand_in_a_ball(tmp_path: Path) -> None:
    """Up to the nearest points, which lie five units ahead."""
    model = Model("PINHOLE")
    rng = np.random.default_rng(2)
    model.quaternions = [np.array([1.0, 0, 0, 0])] * COUNT
    model.shifts = [np.array([0.1 * index, 0, 0]) for index in range(COUNT)]
    model.points = rng.uniform([-2, -2, 5], [2, 2, 20], (1000, 3))
    posed = load(model.write(tmp_path / "model", "txt"))
    scale = np.linalg.norm(posed.world_from_source[:3, 0])
    assert posed.unbounded and posed.ball[3] / scale == pytest.approx(5, rel=0.1)
    positions = np.stack([camera.position for camera in (*posed.train.cameras, *posed.test.cameras)])
    np.testing.assert_allclose(posed.ball[:3], positions.mean(0), atol=1e-6)


# Bad input --------------------------------------------------------------------------------------------------


def truncate(name: str, size: int) -> Callable[[Path], None]:
    def change(folder: Path) -> None:
        file = folder / "sparse" / "0" / name
        file.write_bytes(file.read_bytes()[:size])

    return change


def patch(name: str, at: int, data: bytes) -> Callable[[Path], None]:
    def change(folder: Path) -> None:
        file = folder / "sparse" / "0" / name
        content = bytearray(file.read_bytes())
        content[at : at + len(data)] = data
        file.write_bytes(bytes(content))

    return change


@pytest.mark.parametrize(
    ("change", "parts"),
    [
        (
            lambda f: (f / "sparse/0/images.bin").unlink(),
            ["images.bin", "missing", "cameras.bin, images.bin"],
        ),
        (truncate("cameras.bin", 20), ["cameras.bin", "ends early"]),
        (truncate("images.bin", 100), ["images.bin", "ends early"]),
        (truncate("points3D.bin", 100), ["points3D.bin"]),
        (patch("cameras.bin", 12, struct.pack("<i", 5)), ["camera 7", "OPENCV_FISHEYE", "RADIAL"]),
        (patch("cameras.bin", 12, struct.pack("<i", 77)), ["camera 7", "number 77"]),
        (patch("cameras.bin", 16, struct.pack("<Q", 0)), ["camera 7", "0x96 pixels"]),
        (patch("cameras.bin", 32, struct.pack("<d", 0)), ["camera 7", "focal length is not above 0"]),
        (patch("cameras.bin", 32, struct.pack("<d", math.nan)), ["camera 7", "not a finite number"]),
        (patch("images.bin", 0, struct.pack("<Q", 1 << 60)), ["images.bin", "claims 1152921504606846976"]),
        (patch("images.bin", 12, struct.pack("<d", 3)), ["image 8", "0008.png", "unit quaternion"]),
        (patch("images.bin", 68, struct.pack("<i", 9)), ["0008.png", "no camera 9"]),
        (lambda f: (f / "images/0003.png").unlink(), ["0003.png", "missing"]),
        (
            lambda f: iio.imwrite(f / "images/0003.png", np.zeros((W, H, 3), np.uint8)),
            ["0003.png", "96x72", "EXIF"],
        ),
        (
            lambda f: iio.imwrite(f / "images/0003.png", np.zeros((H, W + 20, 3), np.uint8)),
            ["0003.png", "92x96", "reduced unevenly"],
        ),
        (
            lambda f: iio.imwrite(f / "images/0003.png", np.zeros((2 * H, 2 * W, 3), np.uint8)),
            ["0003.png", "144x192", "72x96", "one size"],
        ),
    ],
)
def test_mistakes(tmp_path: Path, change: Callable[[Path], object], parts: list[str]) -> None:
    folder = Model("PINHOLE").write(tmp_path / "model", "bin")
    change(folder)
    with pytest.raises(InshaderError) as caught:
        load(folder)
    assert all(part in str(caught.value) for part in parts), str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_picture_posed_twice(tmp_path: Path) -> None:
    model = Model("PINHOLE")
    model.names[3] = model.names[2]
    with pytest.raises(InshaderError, match="posed twice"):
        load(model.write(tmp_path / "model", "bin"))


@pytest.mark.parametrize("text", ["7 PINHOLE 72", "7 PINHOLE x 96 1 1 1 1", "7 PINHOLE 72 96 80 82 37"])
def test_damaged_text(tmp_path: Path, text: str) -> None:
    folder = Model("PINHOLE").write(tmp_path / "model", "txt")
    (folder / "sparse/0/cameras.txt").write_text(text + "\n")
    with pytest.raises(InshaderError, match="line 1"):
        read_model(folder / "sparse" / "0")


def test_a_name_that_is_no_utf_8(tmp_path: Path) -> None:
    """Files are named by bytes; a name that no encoding explains is read as it is."""
    model = Model("PINHOLE")
    model.names[2] = b"caf\xe9.png".decode("utf-8", "surrogateescape")
    folder = model.write(tmp_path / "model", "bin")
    assert len(load(folder).train) + len(load(folder).test) == COUNT
