"""Photographs with a ``transforms.json``, as instant-ngp's scripts and nerfstudio write it from a capture.

Source: Müller et al., "Instant Neural Graphics Primitives", 2022, and Tancik et al., "Nerfstudio", 2023, with
the documentation of their data. ``transform_matrix`` is camera to world with OpenGL's axes. Intrinsics stand
at the top or with a frame, which comes first: ``fl_x``, ``fl_y``, ``cx``, ``cy`` in pixels of ``w`` x ``h``
counted from the picture's corner, ``camera_angle_x`` and ``camera_angle_y`` in radians in place of focal
lengths, and OpenCV's distortion ``k1 k2 p1 p2 k3``.

``applied_transform`` (3x4) and ``applied_scale`` have led to the file's frame from that of whoever found the
poses; here they are undone, so source units are the original ones. ``aabb_scale`` is instant-ngp's: the scene
lies in a cube so many times its unit cube, which is 1 / ``scale`` (0.33) wide.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from render.errors import InshaderError
from scenes.blender import background_of, frame_picture, frame_pose, read_transforms
from scenes.dataset import PosedImages, Views, hold_out
from scenes.hull import bounds_from_views
from scenes.images import image_size, reduced_size
from scenes.lens import Lens, zoom
from scenes.normalise import normalised, up_axis
from scenes.photographs import UNEVEN, Photograph, camera_of, read_photographs
from scenes.scene import Scene

# Of ``camera_model``: those that ``Lens`` covers.
MODELS = ("SIMPLE_PINHOLE", "PINHOLE", "SIMPLE_RADIAL", "RADIAL", "OPENCV", "PERSPECTIVE")
DISTORTION = ("k1", "k2", "p1", "p2", "k3")
NGP_SCALE, NGP_OFFSET = 0.33, (0.5, 0.5, 0.5)  # from source units into instant-ngp's unit cube

Matrix = NDArray[np.float64]


def read_capture(path: Path, scene: Scene) -> PosedImages:
    """Read a folder with ``transforms.json``; every 8th picture, by name, is held out.

    Distorted pictures are undistorted once and kept in the user's cache (those of 8 bits). They keep their
    size; ``scenes.lens.zoom`` says what their cameras see. ``mask_path`` becomes alpha, 1 where the mask is
    lighter than half: what it leaves out is background. Pictures that no frame names are not read, and an
    EXIF tag that turns a picture is not followed, as poses are found without it.

    ``data.bounds: auto`` is the cube about what the cameras look at, as wide as their view (with masks what
    is left of it when carved), less what lies outside of the cube of ``aabb_scale``.

    Raises:
        InshaderError: a file is missing, damaged or does not fit the others; the message names it, and the
            frame.
    """
    file = path / "transforms.json"
    document = read_transforms(file)
    source_from_file = _source_from_file(document, file)
    frames = _frames(document, file)
    w, h = reduced_size(frames[0].lens.w, frames[0].lens.h, scene.data.max_size)
    cameras = tuple(camera_of(frame, w, h).transformed(source_from_file) for frame in frames)
    images = read_photographs(frames, w, h)
    train, test = hold_out(Views(images, cameras, tuple(frame.picture.stem for frame in frames)))
    if scene.data.bounds == "auto":
        bounds = _clipped(bounds_from_views(train), document, source_from_file, file)
    else:
        bounds = np.array(scene.data.bounds)
    posed = normalised(train, test, bounds, background_of(scene), up_axis(cameras))
    return replace(posed, masked=frames[0].mask is not None, unbounded=images.shape[-1] == 3)


# Frames -----------------------------------------------------------------------------------------------------


def _frames(document: Mapping[str, Any], file: Path) -> list[Photograph]:
    """All frames by the names of their pictures, checked against each other."""
    entries = document["frames"]
    # All poses and files are looked at before the first picture is read, which takes long.
    poses = [_rotation_checked(frame_pose(entry, file, i), entry, file, i) for i, entry in enumerate(entries)]
    pictures = [frame_picture(entry, file, i) for i, entry in enumerate(entries)]
    masks = [_mask(entry, file, i) for i, entry in enumerate(entries)]
    if len(entries) < 2:
        raise InshaderError(f"{file}: one frame: nothing to score on, expected at least 2")
    for i, mask in enumerate(masks):
        if (mask is None) != (masks[0] is None):
            has = "has" if mask else "has no"
            raise InshaderError(
                f"{_where(file, i, entries[i])}: {has} mask_path, unlike the first: expected all or none"
            )
    w, h = image_size(pictures[0])
    frames, first = [], dict[Path, int]()
    for i, entry in enumerate(entries):
        where = _where(file, i, entry)
        if pictures[i] in first:
            raise InshaderError(
                f"{where}: frame {first[pictures[i]]} has this picture too, expected one frame each"
            )
        first[pictures[i]] = i
        lens = _lens({**document, **entry}, (w, h), where)
        frames.append(Photograph(where, pictures[i], masks[i], poses[i], lens))
    return sorted(frames, key=lambda frame: str(frame.picture))


def _where(file: Path, index: int, entry: Mapping[str, Any]) -> str:
    return f"{file}: frame {index} ({entry.get('file_path')!r})"


def _rotation_checked(pose: Matrix, entry: Mapping[str, Any], file: Path, index: int) -> Matrix:
    """A pose whose axes have unit length, made the nearest one whose axes are orthogonal."""
    written = np.array(entry["transform_matrix"], np.float64)[:3, :3]
    if np.linalg.det(written) < 0:
        raise InshaderError(
            f"{_where(file, index, entry)}: transform_matrix is mirrored, expected a right-handed one"
        )
    off = float(np.abs(written.T @ written - np.eye(3)).max())
    if off > UNEVEN:
        raise InshaderError(
            f"{_where(file, index, entry)}: transform_matrix holds no rotation: "
            f"R^T R is {off:.2g} from the identity, expected at most {UNEVEN:g}"
        )
    u, _, v = np.linalg.svd(pose[:3, :3])
    pose[:3, :3] = u @ v
    return pose


def _mask(entry: Mapping[str, Any], file: Path, index: int) -> Path | None:
    name = entry.get("mask_path")
    if name is None:
        return None
    if not isinstance(name, str) or not name or "\0" in name:
        raise InshaderError(
            f"{_where(file, index, entry)}: mask_path is {name!r}, expected the name of a picture"
        )
    for candidate in (file.parent / name, file.parent / name.replace("\\", "/")):
        if candidate.is_file():
            return candidate
    raise InshaderError(f"{_where(file, index, entry)}: the mask {file.parent / name} is missing")


def _lens(values: Mapping[str, Any], size: tuple[int, int], where: str) -> Lens:
    """A frame's lens; ``size`` is that of the first picture, which all have."""
    model = values.get("camera_model", "OPENCV")
    if model not in MODELS or values.get("is_fisheye"):
        found = model if model not in MODELS else "a fisheye"
        raise InshaderError(f"{where}: camera_model is {found!r}, expected one of {', '.join(MODELS)}")
    w, h = size
    stated_w, stated_h = _number(values, "w", w, where), _number(values, "h", h, where)
    if stated_w != w or stated_h != h:
        why = "turned by its EXIF tag?" if stated_w == h and stated_h == w else "expected one size"
        raise InshaderError(
            f"{where}: w, h are {stated_w:g}x{stated_h:g}, but the first picture has {w}x{h}: {why}"
        )
    fl_x = _focal(values, "x", w, None, where)
    fl_y = _focal(values, "y", h, fl_x, where)
    cx, cy = _number(values, "cx", w / 2, where), _number(values, "cy", h / 2, where)
    if not (0 <= cx <= w and 0 <= cy <= h):
        raise InshaderError(f"{where}: principal point ({cx:.5g}, {cy:.5g}) outside of the {w}x{h} picture")
    k1, k2, p1, p2, k3 = (_number(values, key, 0.0, where) for key in DISTORTION)
    if _number(values, "k4", 0.0, where) != 0:
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
        found = _number(values, focal, 0.0, where)
        if not found > 0:
            raise InshaderError(f"{where}: {focal} is {found:g}, expected pixels above 0")
        return found
    if angle in values:
        found = _number(values, angle, 0.0, where)
        if not 0 < found < math.pi:
            raise InshaderError(f"{where}: {angle} is {found:g}, expected radians between 0 and pi")
        return 0.5 * size / math.tan(0.5 * found)
    if default is None:
        raise InshaderError(f"{where}: no {focal} and no {angle}, here or at the top")
    return default


def _number(values: Mapping[str, Any], key: str, default: float, where: str) -> float:
    value = values.get(key, default)
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not abs(value) < 1e30:
        raise InshaderError(f"{where}: {key} is {str(value)[:40]!r}, expected a finite number")
    return float(value)


# Frame and box ----------------------------------------------------------------------------------------------


def _source_from_file(document: Mapping[str, Any], file: Path) -> Matrix:
    """The similarity (4, 4) that undoes ``applied_transform`` and ``applied_scale``."""
    file_from_source = np.eye(4)
    try:
        found = np.array(document.get("applied_transform", np.eye(4)), np.float64)
    except (TypeError, ValueError, OverflowError):
        found = np.zeros(0)
    if found.shape not in ((3, 4), (4, 4)) or not (np.abs(found) < 1e30).all():
        raise InshaderError(f"{file}: applied_transform is no 3x4 matrix of finite numbers")
    file_from_source[:3] = found[:3]
    linear = file_from_source[:3, :3]
    size = float(np.cbrt(np.linalg.det(linear)))
    if not size > 0 or np.abs(linear.T @ linear / size**2 - np.eye(3)).max() > UNEVEN:
        raise InshaderError(f"{file}: applied_transform is no rotation with a shift, mirrored ones included")
    scale = _number(document, "applied_scale", 1.0, str(file))
    if not scale > 0:
        raise InshaderError(f"{file}: applied_scale is {scale:g}, expected a number above 0")
    file_from_source[:3] *= scale
    source: Matrix = np.linalg.inv(file_from_source).astype(np.float64)
    return source


def _clipped(box: Matrix, document: Mapping[str, Any], source_from_file: Matrix, file: Path) -> Matrix:
    """The part of a box (2, 3) inside the cube of ``aabb_scale``; all of it where the file has none."""
    if "aabb_scale" not in document:
        return box
    side = _number(document, "aabb_scale", 1.0, str(file))
    scale = _number(document, "scale", NGP_SCALE, str(file))
    if not (side > 0 and scale > 0):
        raise InshaderError(f"{file}: aabb_scale is {side:g} and scale {scale:g}, expected numbers above 0")
    offset = document.get("offset", NGP_OFFSET)
    if not isinstance(offset, (list, tuple)) or len(offset) != 3:
        raise InshaderError(f"{file}: offset is {str(offset)[:40]!r}, expected three numbers")
    shift = np.array([_number({"offset": value}, "offset", 0.0, str(file)) for value in offset])
    corners = (0.5 - shift + side * (np.argwhere(np.ones((2, 2, 2))) - 0.5)) / scale  # (8, 3)
    corners = corners @ source_from_file[:3, :3].T + source_from_file[:3, 3]
    clipped = np.stack([np.maximum(box[0], corners.min(0)), np.minimum(box[1], corners.max(0))])
    if not (clipped[0] < clipped[1]).all():
        raise InshaderError(f"{file}: no camera looks at the cube of aabb_scale {side:g}; set data.bounds")
    return clipped
