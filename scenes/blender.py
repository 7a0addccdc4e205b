"""Data sets in the layout of NeRF-synthetic: transforms_train.json, transforms_test.json and their pictures.

Source: Mildenhall et al., "NeRF", 2020, and the data published with it. z is up, cameras have OpenGL's axes.
"""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from render.camera import Camera
from render.errors import InshaderError
from scenes.dataset import PosedImages, Views, hold_out
from scenes.hull import bounds_from_views
from scenes.images import read_images
from scenes.normalise import normalised
from scenes.scene import NAMED_BACKGROUNDS, Scene

MAX_BYTES = 32 << 20  # of the JSON: room for 40,000 frames
EXTENSIONS = (".png", ".jpg", ".jpeg", ".PNG", ".JPG", ".JPEG")

Pose = NDArray[np.float64]


def read_blender(folder: Path, scene: Scene) -> PosedImages:
    """Read ``transforms_train.json`` and ``transforms_test.json`` of a folder.

    Without test views every 8th training view is held out. ``val`` is not used. Pictures are reduced to
    ``data.max_size``, cameras with them; ``data.bounds: auto`` is carved from the training views.

    Raises:
        InshaderError: a file is missing or damaged; the message names it, and the frame.
    """
    max_size = scene.data.max_size
    train = _read_split(folder / "transforms_train.json", max_size)
    test_file = folder / "transforms_test.json"
    if test_file.is_file():
        test = _read_split(test_file, max_size)
    elif len(train) > 1:
        train, test = hold_out(train)
    else:
        raise InshaderError(f"{folder}: one training view and no transforms_test.json: nothing to score on")
    bounds = bounds_from_views(train) if scene.data.bounds == "auto" else np.array(scene.data.bounds)
    return normalised(train, test, bounds, background_of(scene), up=(0, 0, 1))


def background_of(scene: Scene) -> tuple[tuple[float, float, float], str]:
    """Colour (3,) and name of a scene's background."""
    chosen = scene.data.background
    if isinstance(chosen, str):
        return NAMED_BACKGROUNDS[chosen], chosen
    return chosen, " ".join(f"{value:g}" for value in chosen)


def _read_split(file: Path, max_size: int | None) -> Views:
    document = read_transforms(file)
    angle = document.get("camera_angle_x")
    if isinstance(angle, bool) or not isinstance(angle, (int, float)) or not 0 < angle < math.pi:
        raise InshaderError(f"{file}: camera_angle_x is {angle!r}, expected radians between 0 and pi")
    frames = document["frames"]
    # All poses and files are looked at before the first picture is read, which takes long.
    poses = [frame_pose(frame, file, index) for index, frame in enumerate(frames)]
    paths = [frame_picture(frame, file, index) for index, frame in enumerate(frames)]
    images, (full_w, full_h) = read_images(paths, max_size)
    h, w = images.shape[1:3]
    fl = 0.5 * full_w / math.tan(0.5 * angle)
    fl_x, fl_y = fl * w / full_w, fl * h / full_h
    cameras = tuple(Camera(pose, fl_x, fl_y, w / 2, h / 2, w, h) for pose in poses)
    return Views(images, cameras, tuple(path.stem for path in paths))


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


def frame_pose(frame: Any, file: Path, index: int) -> Pose:
    """world_from_camera (4, 4) of a frame, its axes of unit length."""
    name = frame.get("file_path", "") if isinstance(frame, dict) else ""
    where = f"{file}: frame {index} ({name!r})"
    if not isinstance(frame, dict) or "transform_matrix" not in frame:
        raise InshaderError(f"{where}: no transform_matrix, expected a 4x4 camera-to-world matrix")
    try:
        pose = np.array(frame["transform_matrix"], np.float64)
        Camera(pose, 1, 1, 0, 0, 1, 1)  # it knows what a usable pose is
    except (InshaderError, TypeError, ValueError, OverflowError) as error:
        text = str(error).removeprefix("camera: ").replace("world_from_camera", "transform_matrix")
        raise InshaderError(f"{where}: {text}") from error
    pose[:3, :3] /= np.linalg.norm(pose[:3, :3], axis=0)
    return pose


def frame_picture(frame: Any, file: Path, index: int) -> Path:
    """The file of a frame's picture; NeRF-synthetic leaves out the extension."""
    name = frame.get("file_path")
    if not isinstance(name, str) or not name or "\0" in name:
        raise InshaderError(f"{file}: frame {index}: file_path is {name!r}, expected the name of a picture")
    path = file.parent / name
    candidates = [path, *(path.with_name(path.name + extension) for extension in EXTENSIONS)]
    candidates.append(file.parent / name.replace("\\", "/"))  # as Windows writes paths
    for candidate in candidates:
        if candidate.is_file():
            return candidate
    raise InshaderError(f"{file}: frame {index}: the picture {path} is missing, also as .png and .jpg")
