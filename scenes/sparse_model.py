"""The files of a COLMAP sparse model, binary or text: cameras, images and points, in one shape.

Source: Schönberger and Frahm, "Structure-from-Motion Revisited", 2016, and COLMAP's description of its output
format. A pose leads from the world to the camera, with OpenCV's axes (x right, y down, z forward); pixels are
counted from the picture's corner.
"""

from __future__ import annotations

import os
import struct
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from render.errors import InshaderError

# The models by their numbers, and which parameters each has, in order; none stands for what cannot be undone.
MODELS: dict[int, tuple[str, tuple[str, ...]]] = {
    0: ("SIMPLE_PINHOLE", ("f", "cx", "cy")),
    1: ("PINHOLE", ("fx", "fy", "cx", "cy")),
    2: ("SIMPLE_RADIAL", ("f", "cx", "cy", "k1")),
    3: ("RADIAL", ("f", "cx", "cy", "k1", "k2")),
    4: ("OPENCV", ("fx", "fy", "cx", "cy", "k1", "k2", "p1", "p2")),
    5: ("OPENCV_FISHEYE", ()),
    6: ("FULL_OPENCV", ()),
    7: ("FOV", ()),
    8: ("SIMPLE_RADIAL_FISHEYE", ()),
    9: ("RADIAL_FISHEYE", ()),
    10: ("THIN_PRISM_FISHEYE", ()),
}
BY_NAME = dict(MODELS.values())
MOST = 1_000_000  # cameras or images; points ten times as many
LONGEST_NAME = 4096
POINT_2D = 24  # bytes of a point of an image
TRACK = 8  # bytes of an element of a point's track

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class ModelCamera:
    """A lens: size in pixels, parameters by name."""

    w: int
    h: int
    parameters: dict[str, float]


@dataclass(frozen=True)
class ModelImage:
    """A picture by its name, the pose (3, 4) that leads to its camera, and the number of its lens."""

    name: str
    camera_from_world: Floats
    camera: int


def find_model(path: Path) -> Path | None:
    """The folder of a sparse model in, or at, ``path``: where a file of cameras is; None without one."""
    for inner in ("sparse/0", "colmap/sparse/0", "sparse", "."):
        folder = path / inner
        if any((folder / f"cameras.{kind}").is_file() for kind in ("bin", "txt")):
            return folder
    return None


def read_model(folder: Path) -> tuple[dict[int, ModelCamera], list[ModelImage], Floats]:
    """Cameras by number, images in the file's order, and points (n, 3), which may be none.

    Raises:
        InshaderError: a file is missing or damaged, or a lens cannot be undone; the message names it.
    """
    kind = "bin" if (folder / "cameras.bin").is_file() else "txt"
    files = {part: folder / f"{part}.{kind}" for part in ("cameras", "images", "points3D")}
    for part in ("cameras", "images"):
        if not files[part].is_file():
            raise InshaderError(
                f"{files[part]}: the file is missing; a sparse model is cameras.{kind}, images.{kind} and, "
                f"if there, points3D.{kind} (COLMAP: mapper, or model_converter)"
            )
    read_cameras, read_images, read_points = READERS[kind]
    cameras = read_cameras(files["cameras"])
    images = read_images(files["images"])
    if not cameras or not images:
        raise InshaderError(
            f"{folder}: {len(cameras)} cameras and {len(images)} images: nothing is posed there"
        )
    for image in images:
        if image.camera not in cameras:
            raise InshaderError(f"{files['images']}: {image.name!r}: there is no camera {image.camera}")
    points = read_points(files["points3D"]) if files["points3D"].is_file() else np.zeros((0, 3))
    return cameras, images, points


def _camera(where: str, model: str, w: int, h: int, values: tuple[float, ...]) -> ModelCamera:
    """A lens, checked."""
    names = BY_NAME.get(model)
    if not names:
        known = ", ".join(name for name, parameters in MODELS.values() if parameters)
        raise InshaderError(f"{where}: its model is {model[:40]!r}, expected one of {known}")
    if len(values) != len(names):
        raise InshaderError(f"{where}: {model} has {len(names)} parameters, found {len(values)}")
    if not (1 <= w <= 32768 and 1 <= h <= 32768):
        raise InshaderError(f"{where}: {w}x{h} pixels, expected sides of 1 to 32768")
    if not all(abs(value) < 1e30 for value in values):
        raise InshaderError(f"{where}: a parameter is not a finite number")
    found = dict(zip(names, values, strict=True))
    if min(found.get("f", 1.0), found.get("fx", 1.0), found.get("fy", 1.0)) <= 0:
        raise InshaderError(f"{where}: a focal length is not above 0: {model} {values}")
    return ModelCamera(w, h, found)


def _image(where: str, name: str, quaternion: Floats, shift: Floats, camera: int) -> ModelImage:
    """A picture, its pose checked."""
    length = float(np.linalg.norm(quaternion))
    if not (np.isfinite([*quaternion, *shift]).all() and abs(length - 1) < 1e-2):
        raise InshaderError(
            f"{where} ({name!r}): rotation {quaternion.tolist()} and position are no pose, expected a unit "
            "quaternion and finite numbers"
        )
    w, x, y, z = quaternion / length
    rotation = np.array(
        [
            [1 - 2 * (y * y + z * z), 2 * (x * y - w * z), 2 * (x * z + w * y)],
            [2 * (x * y + w * z), 1 - 2 * (x * x + z * z), 2 * (y * z - w * x)],
            [2 * (x * z - w * y), 2 * (y * z + w * x), 1 - 2 * (x * x + y * y)],
        ]
    )
    return ModelImage(name, np.concatenate([rotation, shift[:, None]], 1), camera)


# Binary -----------------------------------------------------------------------------------------------------


class _Bytes:
    """A file read from front to back; whatever is not there is an error with its name."""

    def __init__(self, file: Path) -> None:
        self.file, self.data, self.at = file, file.read_bytes(), 0

    def take(self, layout: str) -> tuple[int | float, ...]:
        size = struct.calcsize(f"<{layout}")
        if self.at + size > len(self.data):
            raise InshaderError(f"{self.file}: ends early, at byte {len(self.data)} (damaged?)")
        found = struct.unpack_from(f"<{layout}", self.data, self.at)
        self.at += size
        return found

    def count(self, most: int) -> int:
        (number,) = self.take("Q")
        if number > most:
            raise InshaderError(f"{self.file}: claims {number} entries, expected at most {most} (damaged?)")
        return int(number)

    def skip(self, size: int) -> None:
        if size > len(self.data) - self.at:
            raise InshaderError(f"{self.file}: ends early, at byte {len(self.data)} (damaged?)")
        self.at += size

    def text(self) -> str:
        end = self.data.find(b"\0", self.at, self.at + LONGEST_NAME)
        if end < 0:
            raise InshaderError(f"{self.file}: a name has no end at byte {self.at} (damaged?)")
        found = os.fsdecode(self.data[self.at : end])
        self.at = end + 1
        return found


def _binary_cameras(file: Path) -> dict[int, ModelCamera]:
    data, found = _Bytes(file), {}
    for _ in range(data.count(MOST)):
        number, model, w, h = data.take("iiQQ")
        name, parameters = MODELS.get(int(model), (f"number {model}", ()))
        where = f"{file}: camera {number}"
        values = data.take(f"{len(parameters)}d")
        found[int(number)] = _camera(where, name, int(w), int(h), values)
    return found


def _binary_images(file: Path) -> list[ModelImage]:
    data, found = _Bytes(file), []
    for _ in range(data.count(MOST)):
        number, *pose = data.take("i7d")
        (camera,) = data.take("i")
        name = data.text()
        data.skip(POINT_2D * data.count(1 << 40))
        pose_ = np.array(pose, np.float64)
        found.append(_image(f"{file}: image {number}", name, pose_[:4], pose_[4:], int(camera)))
    return found


def _binary_points(file: Path) -> Floats:
    data = _Bytes(file)
    found = np.empty((data.count(min(10 * MOST, len(data.data) // 43)), 3))
    for row in found:
        _, *row[:], _, _, _, _ = data.take("Q3d3Bd")
        data.skip(TRACK * data.count(1 << 40))
    return found


# Text -------------------------------------------------------------------------------------------------------


def _lines(file: Path) -> Iterator[tuple[int, str]]:
    """Numbers and texts of the lines that are no comments."""
    with file.open(encoding="utf-8", errors="surrogateescape") as stream:
        for number, line in enumerate(stream, 1):
            if not line.startswith("#"):
                yield number, line.strip()


def _numbers(words: list[str], where: str) -> list[float]:
    try:
        found = [float(word) for word in words]
    except ValueError as error:
        raise InshaderError(f"{where}: {' '.join(words)[:60]!r} are not all numbers") from error
    if not all(abs(value) < 1e30 for value in found):
        raise InshaderError(f"{where}: {' '.join(words)[:60]!r} are not all finite numbers")
    return found


def _text_cameras(file: Path) -> dict[int, ModelCamera]:
    found = {}
    for line, text in _lines(file):
        words = text.split()
        if not words:
            continue
        where = f"{file}: line {line}"
        if len(words) < 4:
            raise InshaderError(f"{where}: expected CAMERA_ID MODEL WIDTH HEIGHT PARAMS, found {text[:60]!r}")
        number, w, h, *values = _numbers([words[0], *words[2:]], where)
        found[int(number)] = _camera(where, words[1], int(w), int(h), tuple(values))
    return found


def _text_images(file: Path) -> list[ModelImage]:
    """Every other line is a pose; the one after it, of points, may be empty."""
    found: list[ModelImage] = []
    posed = True
    for line, text in _lines(file):
        if posed and not text:
            continue
        if posed:
            words = text.split(None, 9)
            where = f"{file}: line {line}"
            if len(words) != 10:
                raise InshaderError(
                    f"{where}: expected IMAGE_ID QW QX QY QZ TX TY TZ CAMERA_ID NAME, found {text[:60]!r}"
                )
            _, *pose, camera = _numbers(words[:9], where)
            values = np.array(pose, np.float64)
            found.append(_image(where, words[9], values[:4], values[4:], int(camera)))
        posed = not posed
    return found


def _text_points(file: Path) -> Floats:
    found = []
    for line, text in _lines(file):
        words = text.split(None, 4)
        if words:
            if len(words) < 4:
                raise InshaderError(f"{file}: line {line}: expected POINT3D_ID X Y Z .., found {text[:60]!r}")
            found.append(_numbers(words[1:4], f"{file}: line {line}"))
    return np.array(found, np.float64).reshape(-1, 3)


READERS = {
    "bin": (_binary_cameras, _binary_images, _binary_points),
    "txt": (_text_cameras, _text_images, _text_points),
}
