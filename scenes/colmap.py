"""Photographs with a COLMAP sparse model: sparse/0/ (binary or text) beside images/ or reduced images_8/.

``scenes/sparse_model.py`` reads the files; here they become cameras, lenses are undone, and the points tell
how large the scene is.
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
from scenes.folders import picture_folder
from scenes.hull import bounds_from_views
from scenes.images import image_size, reduced_size
from scenes.lens import Lens, zoom
from scenes.normalise import forward_facing, looks_one_way, normalised, up_axis
from scenes.photographs import Photograph, camera_of, read_photographs
from scenes.scene import Scene
from scenes.sparse_model import ModelCamera, ModelImage, find_model, read_model

ASPECT = 1e-2  # relative: how far a reduced picture's sides may be from the full one's
OUTLIERS = 0.01  # of the points, at either end of each axis, and of depths
FEWEST_POINTS = 100  # that a scene's size is taken from

Matrix = NDArray[np.float64]


def read_colmap(path: Path, scene: Scene) -> PosedImages:
    """Read a folder with a sparse model; every 8th picture, by name, is held out.

    Of ``images`` and ``images_N`` that is read which fits ``data.max_size`` best. Pictures that the model
    does not pose are not read. ``data.bounds: auto`` is the box of all points but the outliers
    (``OUTLIERS``), less what lies outside of the cube about what the cameras look at. Cameras that look one
    way stand in a ball up to the least depth of the points.

    Raises:
        InshaderError: a file is missing, damaged or does not fit the others; the message names it.
    """
    folder = find_model(path)
    if folder is None:
        raise InshaderError(f"{path}: no sparse model: neither sparse/0/cameras.bin nor cameras.txt")
    lenses, posed_images, points = read_model(folder)
    seen = set[str]()
    for image in posed_images:
        if image.name in seen:
            raise InshaderError(f"{folder}: {image.name!r} is posed twice, expected once")
        seen.add(image.name)
    if len(posed_images) < 2:
        raise InshaderError(f"{folder}: one picture is posed: nothing to score on, expected at least 2")
    posed_images = sorted(posed_images, key=lambda image: image.name)
    pictures = picture_folder(path, scene.data.max_size, posed_images[0].name)
    photographs = [_photograph(image, lenses[image.camera], pictures, folder) for image in posed_images]
    lens = photographs[0].lens
    for photograph in photographs:
        if (photograph.lens.w, photograph.lens.h) != (lens.w, lens.h):
            raise InshaderError(
                f"{photograph.where}: {photograph.lens.w}x{photograph.lens.h} pixels, but the first picture "
                f"has {lens.w}x{lens.h}: expected one size"
            )
    w, h = reduced_size(lens.w, lens.h, scene.data.max_size)
    cameras = tuple(camera_of(photograph, w, h) for photograph in photographs)
    images = read_photographs(photographs, w, h)
    names = tuple(p.picture.relative_to(pictures).with_suffix("").as_posix() for p in photographs)
    train, test = hold_out(Views(images, cameras, names))
    bounds = _bounds(train, points, folder) if scene.data.bounds == "auto" else np.array(scene.data.bounds)
    posed = normalised(train, test, bounds, background_of(scene), up_axis(cameras))
    if images.shape[-1] == 4:
        return posed
    if looks_one_way(cameras) and len(points) >= FEWEST_POINTS:
        return forward_facing(posed, _least_depth(cameras, points))
    return replace(posed, unbounded=True)


def _photograph(image: ModelImage, camera: ModelCamera, pictures: Path, folder: Path) -> Photograph:
    """The picture of an image of the model, its lens in the pixels of the file."""
    where = f"{folder}: image {image.name!r}"
    picture = next(
        (p for p in (pictures / image.name, pictures / image.name.replace("\\", "/")) if p.is_file()), None
    )
    if picture is None:
        raise InshaderError(f"{where}: the picture {pictures / image.name} is missing")
    w, h = image_size(picture)
    x, y = w / camera.w, h / camera.h
    if abs(x / y - 1) > ASPECT:
        why = (
            "turned by its EXIF tag?"
            if abs(w / camera.h * camera.w / h - 1) < ASPECT
            else "reduced unevenly?"
        )
        raise InshaderError(
            f"{where}: {picture} has {w}x{h} pixels, the model's camera {camera.w}x{camera.h}: {why}"
        )
    values = camera.parameters
    fl_x, fl_y = (values.get("f", values.get(name, 0.0)) for name in ("fx", "fy"))
    k1, k2, p1, p2 = (values.get(name, 0.0) for name in ("k1", "k2", "p1", "p2"))
    lens = Lens(fl_x * x, fl_y * y, values["cx"] * x, values["cy"] * y, w, h, (k1, k2, p1, p2, 0.0))
    if not (0 <= lens.cx <= w and 0 <= lens.cy <= h):
        raise InshaderError(
            f"{where}: principal point ({lens.cx:.5g}, {lens.cy:.5g}) outside of {w}x{h} pixels"
        )
    try:
        zoom(lens)
    except ValueError as error:
        raise InshaderError(f"{where}: distortion {lens.distortion}: {error}") from error
    rotation, shift = image.camera_from_world[:, :3], image.camera_from_world[:, 3]
    pose = np.eye(4)
    pose[:3, :3] = rotation.T * [1, -1, -1]  # from OpenCV's axes to OpenGL's
    pose[:3, 3] = -rotation.T @ shift
    return Photograph(where, picture, None, pose, lens)


def _bounds(train: Views, points: Matrix, folder: Path) -> Matrix:
    """(2, 3) of what the points and the cameras say."""
    enough, one_way = len(points) >= FEWEST_POINTS, looks_one_way(train.cameras)
    if one_way and not enough:
        raise InshaderError(
            f"{folder}: the cameras look one way and there are {len(points)} points: set data.bounds"
        )
    if not enough or train.images.shape[-1] == 4:
        return bounds_from_views(train)
    box = np.quantile(points, [OUTLIERS, 1 - OUTLIERS], 0)
    if not one_way:
        seen = bounds_from_views(train)
        box = np.stack([np.maximum(box[0], seen[0]), np.minimum(box[1], seen[1])])
        box = box if (box[0] < box[1]).all() else seen
    return np.asarray(box)


def _least_depth(cameras: tuple[Camera, ...], points: Matrix) -> float:
    """Of the points along the cameras' axes, but for outliers."""
    depths = np.concatenate([(points - camera.position) @ camera.forward for camera in cameras])
    ahead = depths[depths > 0]
    if not len(ahead):
        raise InshaderError("the sparse model: all points lie behind the cameras; set data.bounds")
    return float(np.quantile(ahead, OUTLIERS))
