"""Data sets in the layout of NeRF-synthetic: transforms_train.json, transforms_test.json and their pictures.

Source: Mildenhall et al., "NeRF", 2020, and the data published with it. z is up, cameras have OpenGL's axes.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np

from render.errors import InshaderError
from scenes.dataset import PosedImages, Views, hold_out
from scenes.frames import frame_picture, frame_pose, lens_of, read_transforms, where_of
from scenes.hull import bounds_from_views
from scenes.images import image_size, reduced_size
from scenes.normalise import normalised
from scenes.photographs import Photograph, camera_of, read_photographs
from scenes.scene import NAMED_BACKGROUNDS, Scene


def read_blender(folder: Path, scene: Scene) -> PosedImages:
    """Read ``transforms_train.json`` and ``transforms_test.json`` of a folder.

    Without test views every 8th training view is held out. ``val`` is not used. Pictures are reduced to
    ``data.max_size``, cameras with them; ``data.bounds: auto`` is carved from the training views. A file may
    have more intrinsics than ``camera_angle_x`` (``scenes/frames.py``); a lens with distortion is undone as
    ``scenes/capture.py`` does. The axes of a pose may have any length.

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
    entries = document["frames"]
    # All poses and files are looked at before the first picture is read, which takes long.
    poses = [frame_pose(entry, file, i, scaled=True) for i, entry in enumerate(entries)]
    pictures = [frame_picture(entry, file, i) for i, entry in enumerate(entries)]
    size = image_size(pictures[0])
    frames = []
    for i, (entry, picture, pose) in enumerate(zip(entries, pictures, poses, strict=True)):
        where = where_of(file, i, entry)
        frames.append(Photograph(where, picture, None, pose, lens_of({**document, **entry}, size, where)))
    w, h = reduced_size(*size, max_size)
    cameras = tuple(camera_of(frame, w, h) for frame in frames)
    return Views(read_photographs(frames, w, h), cameras, tuple(picture.stem for picture in pictures))
