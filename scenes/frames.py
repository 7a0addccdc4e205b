"""Frames of a JSON file: their poses, their pictures and the lenses that took them.

What readers of ``transforms_train.json`` (``blender``) and ``transforms.json`` (``capture``) have in common.
Intrinsics stand at the top or with a frame, which comes first: ``fl_x``, ``fl_y``, ``cx``, ``cy`` in pixels
of ``w`` x ``h`` counted from the picture's corner, ``camera_angle_x`` and ``camera_angle_y`` in radians in
place of focal lengths, and OpenCV's distortion ``k1 k2 p1 p2 k3``. ``transform_matrix`` is camera to world
with OpenGL's axes.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from render.camera import Camera
from render.errors import InshaderError
from scenes.lens import Lens, zoom
from scenes.photographs import rotation_of

MAX_BYTES = 32 << 20  # of the JSON: room for 40,000 frames
EXTENSIONS = (".png", ".jpg", ".jpeg", ".PNG", ".JPG", ".JPEG")
# Of ``camera_model``: those that ``Lens`` covers.
MODELS = ("SIMPLE_PINHOLE", "PINHOLE", "SIMPLE_RADIAL", "RADIAL", "OPENCV", "PERSPECTIVE")
DISTORTION = ("k1", "k2", "p1", "p2", "k3")

Matrix = NDArray[np.float64]


def read_transforms(file: Path) -> dict[str, Any]:
    """What a JSON file of cameras holds, with at least one entry under ``frames``.

    Raises:
        InshaderError: the file cannot be read, is too large or holds no frames.
    """
    try:
        with file.open("rb") as stream:
            data = stream.read(MAX_BYTES + 1)
        if len(data) > MAX_BYTES:  # parsed, it takes ten times as much
            raise InshaderError(f"{file}: larger than {MAX_BYTES >> 20} MiB, which no list of cameras is")
        document = json.loads(data)
    except OSError as error:
        raise InshaderError(f"{file}: cannot be read: {error.strerror or error}") from error
    except (ValueError, RecursionError) as error:
        raise InshaderError(f"{file}: not JSON: {error}") from error
    if not isinstance(document, dict):
        raise InshaderError(f"{file}: holds a {type(document).__name__}, expected cameras and frames")
    frames = document.get("frames")
    if not isinstance(frames, list) or not frames:
        raise InshaderError(
            f"{file}: frames is {str(frames)[:40]!r}, expected a list with at least one frame"
        )
    return document


def where_of(file: Path, index: int, frame: Any) -> str:
    """A frame, for messages."""
    name = frame.get("file_path", "") if isinstance(frame, dict) else ""
    return f"{file}: frame {index} ({name!r})"


def frame_pose(frame: Any, file: Path, index: int, scaled: bool = False) -> Matrix:
    """world_from_camera (4, 4) of a frame: a rotation and a place.

    Args:
        scaled: accept axes of any length, which are brought to 1.

    Raises:
        InshaderError: there is none, or it is singular, sheared, mirrored, or not finite.
    """
    where = where_of(file, index, frame)
    if not isinstance(frame, dict) or "transform_matrix" not in frame:
        raise InshaderError(f"{where}: no transform_matrix, expected a 4x4 camera-to-world matrix")
    try:
        pose = np.array(frame["transform_matrix"], np.float64)
        Camera(pose, 1, 1, 0, 0, 1, 1)  # it knows what a usable pose is
    except (InshaderError, TypeError, ValueError, OverflowError) as error:
        text = str(error).removeprefix("camera: ").replace("world_from_camera", "transform_matrix")
        raise InshaderError(f"{where}: {text}") from error
    axes = pose[:3, :3]
    if scaled:
        axes = axes / np.abs(axes).max(0)  # squares of what is left do not overflow
        axes /= np.linalg.norm(axes, axis=0)
    pose[:3, :3] = rotation_of(axes, f"{where}: transform_matrix")
    return pose


def frame_picture(frame: Mapping[str, Any], file: Path, index: int) -> Path:
    """The file of a frame's picture; NeRF-synthetic leaves out the extension."""
    name = frame.get("file_path")
    if not isinstance(name, str) or not name or "\0" in name:
        raise InshaderError(f"{file}: frame {index}: file_path is {name!r}, expected the name of a picture")
    found = named_file(file, name, EXTENSIONS)
    if found is None:
        raise InshaderError(
            f"{file}: frame {index}: the picture {file.parent / name} is missing, also as .png and .jpg"
        )
    return found


def named_file(file: Path, name: str, extensions: Sequence[str] = ()) -> Path | None:
    """What ``file`` calls ``name``, which may lack one of some extensions; None where there is no file."""
    path = file.parent / name
    candidates = [path, *(Path(f"{path}{extension}") for extension in extensions)]
    candidates.append(file.parent / name.replace("\\", "/"))  # as Windows writes paths
    for candidate in candidates:
        try:
            if candidate.is_file():
                return candidate
        except (OSError, ValueError):  # no system has such names: too long, or with a null byte
            continue
    return None


# Lenses -----------------------------------------------------------------------------------------------------


def lens_of(values: Mapping[str, Any], size: tuple[int, int], where: str) -> Lens:
    """A frame's lens.

    Args:
        values: the keys at the top of the file, and over them those of the frame.
        size: (width, height) of the first picture, which all have.

    Raises:
        InshaderError: a key is missing, is no number, or does not fit the pictures.
    """
    model = values.get("camera_model", "OPENCV")
    if model not in MODELS or values.get("is_fisheye"):
        found = model if model not in MODELS else "a fisheye"
        raise InshaderError(f"{where}: camera_model is {found!r}, expected one of {', '.join(MODELS)}")
    w, h = size
    stated_w, stated_h = number(values, "w", w, where), number(values, "h", h, where)
    if stated_w != w or stated_h != h:
        why = "turned by its EXIF tag?" if stated_w == h and stated_h == w else "expected one size"
        raise InshaderError(
            f"{where}: w, h are {stated_w:g}x{stated_h:g}, but the first picture has {w}x{h}: {why}"
        )
    fl_x = _focal(values, "x", w, None, where)
    fl_y = _focal(values, "y", h, fl_x, where)
    cx, cy = number(values, "cx", w / 2, where), number(values, "cy", h / 2, where)
    if not (0 <= cx <= w and 0 <= cy <= h):
        raise InshaderError(f"{where}: principal point ({cx:.5g}, {cy:.5g}) outside of the {w}x{h} picture")
    k1, k2, p1, p2, k3 = (number(values, key, 0.0, where) for key in DISTORTION)
    if number(values, "k4", 0.0, where) != 0:
        raise InshaderError(f"{where}: k4 is {values['k4']}, expected at most k1 k2 p1 p2 k3")
    lens = Lens(fl_x, fl_y, cx, cy, w, h, (k1, k2, p1, p2, k3))
    try:
        zoom(lens)
    except ValueError as error:
        raise InshaderError(f"{where}: {' '.join(DISTORTION)} {lens.distortion}: {error}") from error
    return lens


def _focal(values: Mapping[str, Any], axis: str, size: int, default: float | None, where: str) -> float:
    """The focal length along an axis, in pixels."""
    focal, angle = f"fl_{axis}", f"camera_angle_{axis}"
    if focal in values:
        found = number(values, focal, 0.0, where)
        if not found > 0:
            raise InshaderError(f"{where}: {focal} is {found:g}, expected pixels above 0")
        return found
    if angle in values:
        found = number(values, angle, 0.0, where)
        if not 0 < found < math.pi:
            raise InshaderError(f"{where}: {angle} is {found:g}, expected radians between 0 and pi")
        return 0.5 * size / math.tan(0.5 * found)
    if default is None:
        raise InshaderError(f"{where}: no {focal} and no {angle}, here or at the top")
    return default


def number(values: Mapping[str, Any], key: str, default: float, where: str) -> float:
    """A finite number of a JSON file, or what stands for it where the key is missing."""
    value = values.get(key, default)
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not abs(value) < 1e30:
        raise InshaderError(f"{where}: {key} is {str(value)[:40]!r}, expected a finite number")
    return float(value)
