"""Photographs with a ``transforms.json``, as instant-ngp's scripts and nerfstudio write it from a capture.

Source: Müller et al., "Instant Neural Graphics Primitives", 2022, and Tancik et al., "Nerfstudio", 2023, with
the documentation of their data. Of frames ``scenes/frames.py`` says more.

``applied_transform`` (3x4) and ``applied_scale`` have led to the file's frame from that of whoever found the
poses; here they are undone, so source units are the original ones. ``aabb_scale`` is instant-ngp's: the scene
lies in a cube so many times its unit cube, which is 1 / ``scale`` (0.33) wide.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from render.errors import InshaderError
from scenes.blender import background_of
from scenes.dataset import HOLD_OUT, PosedImages, Views
from scenes.frames import (
    EXTENSIONS,
    frame_picture,
    frame_pose,
    lens_of,
    named_file,
    number,
    read_transforms,
    where_of,
)
from scenes.hull import bounds_from_views
from scenes.images import image_size, reduced_size
from scenes.normalise import normalised, up_axis
from scenes.photographs import UNEVEN, Photograph, camera_of, read_photographs
from scenes.scene import Scene

SPLITS = ("train_filenames", "val_filenames", "test_filenames")  # nerfstudio's
NGP_SCALE, NGP_OFFSET = 0.33, (0.5, 0.5, 0.5)  # from source units into instant-ngp's unit cube

Matrix = NDArray[np.float64]


def read_capture(path: Path, scene: Scene) -> PosedImages:
    """Read a folder with ``transforms.json``.

    The frames of ``test_filenames``, where there are none those of ``val_filenames``, are held out, and what
    ``train_filenames`` names is trained on, or without that list all others. With ``train_filenames`` alone
    all others are held out. Where neither leaves any to hold out, every 8th picture, by name, is.

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
    trained, held = _split(_frames(document, file), document, file)
    frames = [*trained, *held]
    w, h = reduced_size(frames[0].lens.w, frames[0].lens.h, scene.data.max_size)
    cameras = tuple(camera_of(frame, w, h).transformed(source_from_file) for frame in frames)
    images = read_photographs(frames, w, h)
    views = Views(images, cameras, tuple(frame.picture.stem for frame in frames))
    train, test = views.part(range(len(trained))), views.part(range(len(trained), len(frames)))
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
    poses = [frame_pose(entry, file, i) for i, entry in enumerate(entries)]
    pictures = [frame_picture(entry, file, i) for i, entry in enumerate(entries)]
    masks = [_mask(entry, file, i) for i, entry in enumerate(entries)]
    if len(entries) < 2:
        raise InshaderError(f"{file}: one frame: nothing to score on, expected at least 2")
    for i, mask in enumerate(masks):
        if (mask is None) != (masks[0] is None):
            has = "has" if mask else "has no"
            raise InshaderError(
                f"{where_of(file, i, entries[i])}: {has} mask_path, unlike the first: expected all or none"
            )
    w, h = image_size(pictures[0])
    frames, first = [], dict[Path, int]()
    for i, entry in enumerate(entries):
        where = where_of(file, i, entry)
        if pictures[i] in first:
            raise InshaderError(
                f"{where}: frame {first[pictures[i]]} has this picture too, expected one frame each"
            )
        first[pictures[i]] = i
        lens = lens_of({**document, **entry}, (w, h), where)
        frames.append(Photograph(where, pictures[i], masks[i], poses[i], lens))
    return sorted(frames, key=lambda frame: str(frame.picture))


def _split(
    frames: list[Photograph], document: Mapping[str, Any], file: Path
) -> tuple[list[Photograph], list[Photograph]]:
    """Frames to train on and held-out ones, see ``read_capture``; of those in neither nothing is read."""
    pictures = [frame.picture for frame in frames]
    trained, val, test = (_listed(document, key, set(pictures), file) for key in SPLITS)
    held = test or val
    for picture in sorted(trained & held):
        raise InshaderError(
            f"{file}: {SPLITS[0]} names {picture}, which is held out by {SPLITS[2 if test else 1]}: expected "
            "it in one of them"
        )
    held = held or (set(pictures) - trained if trained else set()) or set(pictures[::HOLD_OUT])
    trained = (trained or set(pictures)) - held
    if not trained:
        raise InshaderError(f"{file}: all frames are held out: nothing to train on")
    return [f for f in frames if f.picture in trained], [f for f in frames if f.picture in held]


def _listed(document: Mapping[str, Any], key: str, pictures: set[Path], file: Path) -> set[Path]:
    """Which of the frames' pictures a list of the file names; none where there is no such list."""
    names = document.get(key)
    if names is None:
        return set()
    if not isinstance(names, list) or not all(isinstance(name, str) for name in names):
        raise InshaderError(f"{file}: {key} is {str(names)[:40]!r}, expected a list of frames' file_path")
    found = {name: named_file(file, name, EXTENSIONS) for name in names}
    for name, picture in found.items():
        if picture not in pictures:
            raise InshaderError(
                f"{file}: {key} names {name[:100]!r}, which no frame has, expected a frame's file_path"
            )
    return pictures & set(found.values())


def _mask(entry: Mapping[str, Any], file: Path, index: int) -> Path | None:
    name = entry.get("mask_path")
    if name is None:
        return None
    if not isinstance(name, str) or not name or "\0" in name:
        raise InshaderError(
            f"{where_of(file, index, entry)}: mask_path is {name!r}, expected the name of a picture"
        )
    found = named_file(file, name)
    if found is None:
        raise InshaderError(f"{where_of(file, index, entry)}: the mask {file.parent / name} is missing")
    return found


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
    scale = number(document, "applied_scale", 1.0, str(file))
    if not scale > 0:
        raise InshaderError(f"{file}: applied_scale is {scale:g}, expected a number above 0")
    file_from_source[:3] *= scale
    source: Matrix = np.linalg.inv(file_from_source).astype(np.float64)
    return source


def _clipped(box: Matrix, document: Mapping[str, Any], source_from_file: Matrix, file: Path) -> Matrix:
    """The part of a box (2, 3) inside the cube of ``aabb_scale``; all of it where the file has none."""
    if "aabb_scale" not in document:
        return box
    side = number(document, "aabb_scale", 1.0, str(file))
    scale = number(document, "scale", NGP_SCALE, str(file))
    if not (side > 0 and scale > 0):
        raise InshaderError(f"{file}: aabb_scale is {side:g} and scale {scale:g}, expected numbers above 0")
    offset = document.get("offset", NGP_OFFSET)
    if not isinstance(offset, (list, tuple)) or len(offset) != 3:
        raise InshaderError(f"{file}: offset is {str(offset)[:40]!r}, expected three numbers")
    shift = np.array([number({"offset": value}, "offset", 0.0, str(file)) for value in offset])
    corners = (0.5 - shift + side * (np.argwhere(np.ones((2, 2, 2))) - 0.5)) / scale  # (8, 3)
    corners = corners @ source_from_file[:3, :3].T + source_from_file[:3, 3]
    clipped = np.stack([np.maximum(box[0], corners.min(0)), np.minimum(box[1], corners.max(0))])
    if not (clipped[0] < clipped[1]).all():
        raise InshaderError(f"{file}: no camera looks at the cube of aabb_scale {side:g}; set data.bounds")
    return clipped
