"""Forward-facing photographs in the layout of LLFF: poses_bounds.npy, and images/ or reduced images_8/.

Source: Mildenhall et al., "Local Light Field Fusion", 2019, and its code's documentation. A row of the file
belongs to a picture, in the order of their names: 15 numbers are a matrix (3, 5) with columns down, right and
back of the camera in its world, position, and (height, width, focal length in pixels) of the full picture;
two are the depths between which the picture's scene lies.

The world here is a box about all that lies between these depths, in plain units of length. Cameras that look
one way stand in a ball up to the least near depth. Radiance fields and light fields are learnt in normalised
device coordinates from there on, as NeRF does for such scenes (``render/ndc.py``); shells in all of space,
contracted outside of the ball.
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
from scenes.folders import picture_folder, pictures_in
from scenes.hull import bounds_from_views
from scenes.images import read_images
from scenes.normalise import forward_facing, looks_one_way, normalised, up_axis
from scenes.scene import Scene

FILE = "poses_bounds.npy"
MAX_ROWS = 100_000
UNEVEN = 1e-2  # how far from a rotation a pose may be, as the largest entry of R^T R - I
ASPECT = 1e-2  # relative: how far a reduced picture's sides may be from the full one's

Matrix = NDArray[np.float64]


def read_llff(path: Path, scene: Scene) -> PosedImages:
    """Read a folder with ``poses_bounds.npy``; every 8th picture is held out.

    Of ``images`` and ``images_N`` that is read whose pictures are the smallest of at least ``data.max_size``,
    or else the largest. Poses say nothing of distortion, so none is removed.

    ``data.bounds: auto`` is the box about the frusta of all cameras between their two depths, in the axes of
    the file's world; of cameras that do not look one way the cube about what they look at.

    Raises:
        InshaderError: a file is missing, damaged or does not fit the others; the message names it, and the
            row.
    """
    file = path / FILE
    rows = _read_rows(file)
    folder = picture_folder(path, scene.data.max_size)
    pictures = sorted(pictures_in(folder))
    if len(pictures) != len(rows):
        raise InshaderError(
            f"{file}: {len(rows)} rows for {len(pictures)} pictures in {folder}: expected one each"
        )
    if len(rows) < 2:
        raise InshaderError(f"{file}: one picture: nothing to score on, expected at least 2")
    for row, picture in zip(rows, pictures, strict=True):
        _check(row, f"{file}: row of {picture.name}")
    images, size = read_images(pictures, scene.data.max_size)
    h, w = images.shape[1:3]
    cameras = tuple(
        _camera(row, size, (w, h), f"{file}: row of {picture.name}")
        for row, picture in zip(rows, pictures, strict=True)
    )
    train, test = hold_out(Views(images, cameras, tuple(picture.stem for picture in pictures)))
    around = not looks_one_way(cameras)
    if scene.data.bounds != "auto":
        bounds = np.array(scene.data.bounds)
    else:
        bounds = bounds_from_views(train) if around else _box(cameras, rows[:, 15:])
    posed = normalised(train, test, bounds, background_of(scene), up_axis(cameras))
    if images.shape[-1] == 4:
        return posed
    return replace(posed, unbounded=True) if around else forward_facing(posed, rows[:, 15].min())


def _read_rows(file: Path) -> Matrix:
    """(n, 17), all finite."""
    try:
        # Mapped, a file that says more of itself than it holds is found out before memory is asked for.
        stored = np.load(file, mmap_mode="r", allow_pickle=False)
    except (OSError, ValueError, EOFError, MemoryError, OverflowError) as error:
        raise InshaderError(f"{file}: cannot be read as npy (damaged?): {error}") from error
    if not isinstance(stored, np.ndarray) or stored.ndim != 2 or stored.shape[1] != 17:
        shape = getattr(stored, "shape", "no")
        raise InshaderError(f"{file}: {shape} array, expected (n, 17): a 3x5 pose and two depths a picture")
    if not 1 <= len(stored) <= MAX_ROWS or stored.dtype.kind != "f":
        raise InshaderError(f"{file}: {stored.dtype} {stored.shape}, expected floats, 1 to {MAX_ROWS} rows")
    rows = np.array(stored, np.float64)
    bad = np.flatnonzero(~(np.abs(rows) < 1e30).all(1))
    if len(bad):
        raise InshaderError(f"{file}: row {bad[0]} holds a value that is not a finite number")
    return rows


def _check(row: Matrix, where: str) -> None:
    """Raise unless a row is a pose, a size, a focal length and two depths."""
    matrix, (near, far) = row[:15].reshape(3, 5), row[15:]
    axes, (height, width, focal) = matrix[:, :3], matrix[:, 4]
    off = float(np.abs(axes.T @ axes - np.eye(3)).max())
    if off > UNEVEN:
        raise InshaderError(
            f"{where}: holds no rotation: R^T R is {off:.2g} from the identity, expected at most {UNEVEN:g}"
        )
    if np.linalg.det(axes) < 0:  # down, right, back turn as right, up, back do
        raise InshaderError(f"{where}: the pose is mirrored, expected columns down, right, back")
    if not (height >= 1 and width >= 1 and focal > 0):
        raise InshaderError(
            f"{where}: height {height:g}, width {width:g}, focal length {focal:g}, expected pixels above 0"
        )
    if not 0 < near < far:
        raise InshaderError(f"{where}: depths {near:g} and {far:g}, expected a nearer and a farther one")


def _camera(row: Matrix, file_size: tuple[int, int], size: tuple[int, int], where: str) -> Camera:
    """The camera of a row, for pictures (width, height) of ``file_size`` that are reduced to ``size``."""
    matrix = row[:15].reshape(3, 5)
    height, width, focal = (float(value) for value in matrix[:, 4])
    (file_w, file_h), (w, h) = file_size, size
    if abs(file_w / width * height / file_h - 1) > ASPECT:
        raise InshaderError(
            f"{where}: of a {width:g}x{height:g} picture, but the file has {file_w}x{file_h}, expected one "
            "that is reduced evenly"
        )
    down, right, back = matrix[:, :3].T
    pose = np.eye(4)
    pose[:3, :3] = np.stack([right, -down, back], 1)
    pose[:3, :3] /= np.linalg.norm(pose[:3, :3], axis=0)
    pose[:3, 3] = matrix[:, 3]
    return Camera(pose, focal * w / width, focal * h / height, w / 2, h / 2, w, h)


def _box(cameras: tuple[Camera, ...], depths: Matrix) -> Matrix:
    """(2, 3): what all cameras see between their near and far depths (n, 2), boxed."""
    corners = []
    for camera, between in zip(cameras, depths, strict=True):
        x, y = 0.5 * camera.w / camera.fl_x, 0.5 * camera.h / camera.fl_y
        directions = np.array([[i * x, j * y, -1] for i in (-1, 1) for j in (-1, 1)])  # (4, 3)
        places = (between[:, None, None] * directions).reshape(-1, 3)  # (8, 3)
        corners.append(camera.position + places @ camera.world_from_camera[:3, :3].T)
    found = np.concatenate(corners)
    return np.stack([found.min(0), found.max(0)])
