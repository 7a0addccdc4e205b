"""Data sets in the layout of NSVF: intrinsics.txt, bbox.txt, pose/ and rgb/ with a digit for the split.

Source: Liu et al., "Neural Sparse Voxel Fields", 2020, and the data published with it. A pose is world from
camera (4, 4) with OpenCV's axes (x right, y down, z forward). Names begin with 0_ for training, 1_ for
validation and 2_ for test; sets without 2_ are tested on 1_, as their authors do, and of names without any of
these every 8th is held out. ``bbox.txt`` holds the corners of the scene box, and a voxel's size, which is
not used.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from render.camera import Camera
from render.errors import InshaderError
from scenes.blender import background_of
from scenes.dataset import PosedImages, Views, hold_out
from scenes.folders import pictures_in
from scenes.hull import bounds_from_views
from scenes.images import read_images
from scenes.normalise import normalised, up_axis
from scenes.photographs import rotation_of
from scenes.scene import Scene

MOST_BYTES = 1 << 16  # of a file of numbers

Matrix = NDArray[np.float64]


def read_nsvf(path: Path, scene: Scene) -> PosedImages:
    """Read such a folder. ``data.bounds: auto`` is the box of ``bbox.txt``; without the file, as elsewhere.

    Raises:
        InshaderError: a file is missing, damaged or does not fit the others; the message names it.
    """
    pictures = sorted(pictures_in(path / "rgb"))
    poses = [_pose(path / "pose" / f"{picture.stem}.txt") for picture in pictures]
    splits = [picture.name[:2] for picture in pictures]
    tested = next((split for split in ("2_", "1_") if split in splits), None) if "0_" in splits else None
    if tested is not None:
        kept = [i for i, split in enumerate(splits) if split in ("0_", tested)]
        pictures, poses = [pictures[i] for i in kept], [poses[i] for i in kept]
        splits = [splits[i] for i in kept]
    if len(pictures) < 2:
        raise InshaderError(f"{path / 'rgb'}: one picture: nothing to score on, expected at least 2")
    images, (full_w, full_h) = read_images(pictures, scene.data.max_size)
    h, w = images.shape[1:3]
    fl_x, fl_y, cx, cy = _intrinsics(path / "intrinsics.txt", full_w, full_h)
    x, y = w / full_w, h / full_h
    cameras = tuple(Camera(pose, fl_x * x, fl_y * y, cx * x, cy * y, w, h) for pose in poses)
    views = Views(images, cameras, tuple(picture.stem for picture in pictures))
    if tested is None:
        train, test = hold_out(views)
    else:
        train, test = (
            views.part([i for i, s in enumerate(splits) if s == split]) for split in ("0_", tested)
        )
    if scene.data.bounds != "auto":
        bounds = np.array(scene.data.bounds)
    elif (path / "bbox.txt").is_file():
        bounds = _box(path / "bbox.txt")
    else:
        bounds = bounds_from_views(train)
    posed = normalised(train, test, bounds, background_of(scene), up_axis(cameras))
    # NSVF's sets show one object before a plain ground where they have no alpha: a box is what they are for.
    return replace(posed, unbounded=images.shape[-1] == 3 and not (path / "bbox.txt").is_file())


def _numbers(file: Path) -> list[list[float]]:
    """The numbers of a text file, line by line."""
    if not file.is_file():
        raise InshaderError(f"{file}: the file is missing")
    try:
        text = file.read_bytes()[: MOST_BYTES + 1].decode("ascii")
        found = [[float(word) for word in line.split()] for line in text.splitlines() if line.strip()]
    except ValueError as error:
        raise InshaderError(f"{file}: expected numbers: {error}") from error
    if len(text) > MOST_BYTES or not all(abs(value) < 1e30 for line in found for value in line):
        raise InshaderError(f"{file}: expected a few finite numbers")
    return found


def _pose(file: Path) -> Matrix:
    """world_from_camera (4, 4) with OpenGL's axes."""
    rows = _numbers(file)
    if len(rows) not in (3, 4) or any(len(row) != 4 for row in rows):
        raise InshaderError(f"{file}: expected a 4x4 matrix, world from camera")
    pose = np.eye(4)
    pose[:3] = rows[:3]
    pose[:3, :3] = rotation_of(pose[:3, :3], f"{file}: the pose") * [1, -1, -1]
    return pose


def _intrinsics(file: Path, w: int, h: int) -> tuple[float, float, float, float]:
    """Focal lengths and principal point in pixels: of a matrix, or of a first line ``focal cx cy``."""
    rows = _numbers(file)
    if len(rows) >= 3 and all(len(row) >= 3 for row in rows[:3]) and rows[2][2] == 1:
        found = rows[0][0], rows[1][1], rows[0][2], rows[1][2]
    elif rows and len(rows[0]) >= 3:
        focal, cx, cy = rows[0][:3]
        found = focal, focal, cx, cy
    else:
        raise InshaderError(
            f"{file}: expected a matrix of intrinsics, or a first line of focal length, cx, cy"
        )
    if min(found[:2]) <= 0:
        raise InshaderError(f"{file}: focal lengths {found[0]:g} and {found[1]:g}, expected pixels above 0")
    if not (0 <= found[2] <= w and 0 <= found[3] <= h):
        raise InshaderError(f"{file}: principal point ({found[2]:g}, {found[3]:g}) outside of {w}x{h} pixels")
    return found


def _box(file: Path) -> Matrix:
    values = [value for row in _numbers(file) for value in row]
    if len(values) not in (6, 7) or not all(a < b for a, b in zip(values[:3], values[3:6], strict=True)):
        raise InshaderError(f"{file}: expected the lower corner, the higher corner and a voxel's size")
    return np.array(values[:6], np.float64).reshape(2, 3)
