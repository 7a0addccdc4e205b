"""Data sets in the layout of IDR and NeuS, above all DTU: cameras_sphere.npz, image/ and, if there, mask/.

Source: Yariv et al., "Multiview Neural Surface Reconstruction" (IDR), 2020, and Wang et al., "NeuS", 2021,
with the data published with them. ``world_mat_i`` is K [R | t], from the data set's world to the pixels of
picture i, with OpenCV's axes (x right, y down, z forward); ``scale_mat_i`` places the unit sphere that holds
the object into that world, the same for all pictures.

Those pixels are counted from the centre of the first: IDR's loader takes whole numbers for pixel centres, and
the smaller copies of DTU in circulation scale by u' = u / 2 - 1 / 4, which says the same. Here pixel centres
are at + 0.5, so principal points move by half a pixel.

The unit sphere enters as a region only. Cameras are taken from ``world_mat`` alone, which leaves them in the
data set's world; ``world_mat @ scale_mat`` is the same camera seen from inside the sphere.
"""

from __future__ import annotations

import os
import re
import zipfile
import zlib
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from render.camera import Camera
from render.errors import InshaderError
from scenes.blender import background_of
from scenes.dataset import PosedImages, Views, hold_out
from scenes.folders import numbers_of, pictures_in
from scenes.hull import visual_hull, well_seen
from scenes.images import Pictures, read_images, read_masked, reduce_image, reduced_size
from scenes.normalise import normalised, up_axis
from scenes.scene import Scene

CAMERA_FILES = ("cameras_sphere.npz", "cameras.npz")  # the first that is there is read
MATRIX_BYTES = 4096  # more in the npz than any 4x4 matrix takes
SKEW = 0.5  # pixels that skew may move a point at the picture's edge: it is left out
ASPECT = 2.0  # how much taller than wide, or the reverse, a pixel may be
UNEVEN = 1e-3  # relative: how far scale_mat may be from one scale, and from picture to picture
HULL = 64  # cells a side of the unit sphere's cube when the box is carved
# What reading a damaged zip raises, or one with a password (RuntimeError).
DAMAGES = (OSError, ValueError, KeyError, EOFError, RuntimeError, MemoryError, zipfile.BadZipFile, zlib.error)

Matrix = NDArray[np.float64]


def read_dtu(path: Path, scene: Scene) -> PosedImages:
    """Read a folder with ``cameras_sphere.npz`` or ``cameras.npz``, ``image/`` and perhaps ``mask/``.

    Picture i belongs to ``world_mat_i`` where the numbers in the file names say so, else they are paired in
    order. Masks become alpha, 1 where they are lighter than half (IDR's rule: their soft edges are no
    coverage), before pictures are reduced to ``data.max_size``. Every 8th picture is held out.

    ``data.bounds: auto`` is the cube about the unit sphere or, with masks, the part of it that the visual
    hull of the training views takes up inside the sphere, where at least half as many see it as see its
    best seen cell (a choice). ``world_from_source`` leads from the data set's world. Up is where the
    cameras' horizons agree: see ``up_axis``.

    Raises:
        InshaderError: a file is missing, damaged or does not fit the others; the message names it.
    """
    file = camera_file(path)
    matrices = _read_matrices(file)
    pictures = pictures_in(path / "image")
    indices = _pair(file, pictures, sorted(matrices))
    masks = _masks_of(path / "mask", pictures)
    if len(pictures) < 2:
        raise InshaderError(f"{path / 'image'}: one picture: nothing to score on, expected at least 2")
    centre, radius = _region(file, [matrices[index][1] for index in indices])
    if masks is None:
        images, size = read_images(pictures, scene.data.max_size)
    else:
        images, size = _read_masked(pictures, masks, scene.data.max_size)
    h, w = images.shape[1:3]
    cameras = [
        _camera(matrices[index][0], centre, size, (w, h), f"{file}: world_mat_{index}") for index in indices
    ]
    train, test = hold_out(Views(images, tuple(cameras), tuple(picture.stem for picture in pictures)))
    bounds = _box(file, train, centre, radius) if scene.data.bounds == "auto" else np.array(scene.data.bounds)
    posed = normalised(train, test, bounds, background_of(scene), up_axis(cameras))
    return replace(posed, masked=masks is not None)


def camera_file(folder: Path) -> Path:
    """The npz with the cameras of a folder.

    Raises:
        InshaderError: there is none.
    """
    for name in CAMERA_FILES:
        if (folder / name).is_file():
            return folder / name
    raise InshaderError(f"{folder}: the cameras are missing, expected {' or '.join(CAMERA_FILES)}")


# Cameras ----------------------------------------------------------------------------------------------------


def decompose(projection: Matrix) -> tuple[Matrix, Matrix, Matrix]:
    """K, R and the camera's position of a projection (3, 4) = K [R | t], known up to a factor of any sign.

    Returns:
        K (3, 3), upper triangular with a positive diagonal and K[2, 2] = 1; R (3, 3), a rotation, camera from
        world; the position (3,), -R^T t.

    Raises:
        ValueError: the left 3x3 part is singular.

    Source: Hartley and Zisserman, "Multiple View Geometry", 2004, 6.2.4.
    """
    left, right = projection[:, :3], projection[:, 3]
    size = float(np.abs(left).max())
    if not (size > 0 and np.linalg.cond(left / size) < 1e7):
        raise ValueError("singular")
    if np.linalg.det(left / size) < 0:  # a rotation has none below 0, so the factor had
        left, right = -left, -right
    # RQ by numpy's QR: turning the matrix about its other diagonal exchanges rows for columns.
    turn = np.eye(3)[::-1]
    q, r = np.linalg.qr((turn @ left).T)
    k, rotation = turn @ r.T @ turn, turn @ q.T
    signs = np.sign(np.diag(k))
    k, rotation = k * signs, signs[:, None] * rotation
    position: Matrix = -np.linalg.solve(left, right).astype(np.float64)
    return k / k[2, 2], rotation, position


def _camera(
    projection: Matrix, centre: Matrix, file_size: tuple[int, int], size: tuple[int, int], where: str
) -> Camera:
    """The camera of pictures of ``file_size`` (width, height), reduced to ``size``."""
    try:
        k, rotation, position = decompose(projection)
    except ValueError as error:
        raise InshaderError(f"{where}: singular, expected K [R | t] of a camera") from error
    (file_w, file_h), (w, h) = file_size, size
    fl_x, fl_y = float(k[0, 0]), float(k[1, 1])
    cx, cy = (float(value) + 0.5 for value in k[:2, 2])  # see above: IDR counts from a pixel's centre
    if abs(k[0, 1]) * file_h / (2 * fl_y) > SKEW:
        raise InshaderError(
            f"{where}: skew {k[0, 1]:.3g}, expected at most {SKEW} pixels at the picture's edge"
        )
    if not 1 / ASPECT <= fl_x / fl_y <= ASPECT:
        raise InshaderError(
            f"{where}: focal lengths {fl_x:.5g} and {fl_y:.5g}, expected a ratio of at most {ASPECT:g}"
        )
    if not (0 <= cx <= file_w and 0 <= cy <= file_h):
        raise InshaderError(
            f"{where}: principal point ({cx:.5g}, {cy:.5g}) outside of the {file_w}x{file_h} picture: "
            "expected cameras made for pictures of this size"
        )
    if not rotation[2] @ (centre - position) > 0:
        raise InshaderError(
            f"{where}: scale_mat's sphere lies behind the camera (a mirrored or inverted matrix?)"
        )
    pose = np.eye(4)
    pose[:3, :3] = rotation.T * [1, -1, -1]  # OpenCV's axes to OpenGL's
    pose[:3, 3] = position
    return Camera(pose, fl_x * w / file_w, fl_y * h / file_h, cx * w / file_w, cy * h / file_h, w, h)


def _region(file: Path, scale_mats: list[Matrix]) -> tuple[Matrix, float]:
    """Centre (3,) and radius of the unit sphere in the data set's world."""
    first = scale_mats[0]
    linear, centre = first[:3, :3], first[:3, 3]
    radius = float(np.sqrt(np.square(linear).sum() / 3))
    if not radius > 0 or np.abs(linear.T @ linear / radius**2 - np.eye(3)).max() > UNEVEN:
        raise InshaderError(f"{file}: scale_mat is no uniform scale: expected a similarity")
    if max(np.abs(other - first)[:3].max() for other in scale_mats) > UNEVEN * radius:
        raise InshaderError(f"{file}: scale_mat differs from picture to picture, expected one for all")
    return centre, radius


def _box(file: Path, train: Views, centre: Matrix, radius: float) -> Matrix:
    """The scene box (2, 3) in the data set's world."""
    cube = np.stack([centre - radius, centre + radius])
    if train.images.shape[-1] != 4:
        return cube
    cell = 2 * radius / HULL
    cells = np.argwhere(visual_hull(train, cube, HULL))  # (n, 3)
    # A cell is inside the sphere where the nearest of it is.
    middle = (cells + 0.5) * cell - radius
    nearest = np.maximum(np.abs(middle) - cell / 2, 0)
    half = np.full(3, cell / 2)
    cells = cells[(np.linalg.norm(nearest, axis=1) < radius) & well_seen(train, centre + middle, half)]
    if len(cells) == 0:
        raise InshaderError(
            f"{file}: nothing inside scale_mat's sphere lies in all masks (masks of other pictures?); "
            "set data.bounds"
        )
    box: Matrix = cube[0] + np.stack([cells.min(0), cells.max(0) + 1]) * cell
    return box


# The npz ----------------------------------------------------------------------------------------------------


def _read_matrices(file: Path) -> dict[int, tuple[Matrix, Matrix]]:
    """By the number i: world_mat_i (3, 4) and scale_mat_i (3, 4), all finite."""
    found: dict[int, tuple[Matrix, Matrix]] = {}
    try:
        with zipfile.ZipFile(file) as archive:
            sizes = {info.filename: info.file_size for info in archive.infolist()}
        with np.load(file, allow_pickle=False) as stored:
            for name in stored.files:
                if match := re.fullmatch(r"world_mat_(0|[1-9]\d{0,5})", name):
                    pair = tuple(_matrix(stored, key, sizes, file) for key in (name, f"scale_mat_{match[1]}"))
                    found[int(match[1])] = pair[0], pair[1]
    except DAMAGES as error:
        raise InshaderError(f"{file}: cannot be read as npz (damaged?): {error}") from error
    if not found:
        raise InshaderError(f"{file}: holds no world_mat_0, expected world_mat_i and scale_mat_i per picture")
    return found


def _matrix(stored: np.lib.npyio.NpzFile, key: str, sizes: dict[str, int], file: Path) -> Matrix:
    size = sizes.get(f"{key}.npy")
    if size is None:
        raise InshaderError(f"{file}: {key} is missing, expected world_mat_i and scale_mat_i per picture")
    if size > MATRIX_BYTES:
        raise InshaderError(f"{file}: {key} takes {size} bytes, expected a 4x4 matrix")
    matrix = np.asarray(stored[key])
    if matrix.shape not in ((4, 4), (3, 4)) or matrix.dtype.kind not in "fiu":
        raise InshaderError(f"{file}: {key} is {matrix.dtype} {matrix.shape}, expected a 4x4 matrix")
    values = matrix[:3].astype(np.float64)  # the last row is 0 0 0 1
    if not (np.abs(values) < 1e30).all():
        raise InshaderError(f"{file}: {key} holds a value that is not a finite number")
    return values


# Pictures and masks -----------------------------------------------------------------------------------------


def _pair(file: Path, pictures: list[Path], indices: list[int]) -> list[int]:
    """Which camera each picture has."""
    numbers = numbers_of(pictures)
    if numbers is not None and set(numbers) <= set(indices):
        absent = sorted(set(indices) - set(numbers))
        if absent:
            stem = pictures[0].stem
            text = stem.rstrip("0123456789")
            number = str(absent[0]).zfill(len(stem) - len(text))
            picture = pictures[0].with_name(text + number + pictures[0].suffix)
            raise InshaderError(
                f"{picture}: the picture is missing, {file.name} has world_mat_{absent[0]} for it"
            )
        return numbers
    if len(pictures) != len(indices):
        without = [p.name for p, n in zip(pictures, numbers or (), strict=False) if n not in indices]
        raise InshaderError(
            f"{file}: {len(indices)} cameras for {len(pictures)} pictures in {pictures[0].parent}: expected "
            f"one each{f'; {without[0]} has none' if without else ''}"
        )
    return indices


def _masks_of(folder: Path, pictures: list[Path]) -> list[Path] | None:
    """The mask of each picture, by name, else by number, else in order; None without the folder."""
    if not folder.exists():
        return None
    masks = pictures_in(folder)
    by_name = {mask.stem: mask for mask in masks}
    if all(picture.stem in by_name for picture in pictures):
        return [by_name[picture.stem] for picture in pictures]
    numbers, mask_numbers = numbers_of(pictures), numbers_of(masks)
    lacking = next(picture for picture in pictures if picture.stem not in by_name)
    shifted = len(masks) == len(pictures)
    if numbers is not None and mask_numbers is not None:
        by_number = dict(zip(mask_numbers, masks, strict=True))
        if set(numbers) <= set(by_number):
            return [by_number[number] for number in numbers]
        lacking = next(p for p, n in zip(pictures, numbers, strict=True) if n not in by_number)
        shifted = shifted and len({a - b for a, b in zip(numbers, mask_numbers, strict=True)}) == 1
    if shifted:
        return masks
    raise InshaderError(
        f"{lacking}: has no mask in {folder}, which holds {len(masks)} for {len(pictures)} pictures: "
        "expected one each, or no folder"
    )


def _read_masked(
    pictures: list[Path], masks: list[Path], max_size: int | None
) -> tuple[Pictures, tuple[int, int]]:
    """As ``read_images``, with alpha from the masks: (n, h, w, 4), and (width, height) of the files."""

    def read(files: tuple[Path, Path]) -> tuple[Pictures, tuple[int, ...]]:
        rgba = read_masked(*files)
        return reduce_image(rgba, *reduced_size(rgba.shape[1], rgba.shape[0], max_size)), rgba.shape[:2]

    with ThreadPoolExecutor(min(8, os.cpu_count() or 1)) as pool:
        found = list(pool.map(read, zip(pictures, masks, strict=True)))
    h, w = found[0][1]
    for path, (image, size) in zip(pictures, found, strict=True):
        if size != (h, w):
            raise InshaderError(
                f"{path}: {size[1]}x{size[0]} pixels, but {pictures[0]} has {w}x{h}: expected one size"
            )
        if image.dtype != found[0][0].dtype:
            raise InshaderError(
                f"{path}: {image.dtype}, but {pictures[0]} has {found[0][0].dtype}: expected one depth"
            )
    return np.stack([image for image, _ in found]), (w, h)
