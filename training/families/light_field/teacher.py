"""Who draws the pseudo views: an asset, the scene itself, or a radiance field that is trained first."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from render.asset import BakedAsset, asset_bytes, asset_path, read_asset
from render.camera import Camera
from render.contraction import SIDE
from render.errors import InshaderError
from scenes import PosedImages
from scenes.dataset import composite
from scenes.procedural import SUBJECTS, trace
from scenes.ray_tracer import sources_of
from scenes.scene import expanded
from training.score import asset_drawer

Draw = Callable[[Camera], NDArray[np.float32]]
"""A camera -> display colours (h, w, 3) on the data's background."""
Teacher = Callable[[], AbstractContextManager[Draw]]
"""Opens what draws: an OpenGL context lives no longer than it is used."""

SAME_PLACE = 1e-3  # world units, or entries of a matrix: how far the frames of one scene may be apart


def asset_teacher(asset: BakedAsset) -> tuple[Teacher, bytes]:
    """An asset as a teacher, and what tells it from others."""

    @contextmanager
    def opened() -> Iterator[Draw]:
        with asset_drawer(asset) as (draw, _):
            yield lambda camera: draw(camera)[0]

    what = replace(asset, scene={}, results={}, provenance={}, stage=None)
    return opened, hashlib.sha256(asset_bytes(what)).digest()


def file_teacher(name: str, dataset: PosedImages) -> BakedAsset:
    """The asset, or that of the run folder, called ``name``.

    Raises:
        InshaderError: it cannot be read, is of another scene, or is itself a light field.
    """
    asset = read_asset(asset_path(expanded(name, "light_field.teacher")))
    where = f"light_field.teacher={name}"
    if asset.driver not in ("march", "shell", "trace", "trace_cells"):
        raise InshaderError(f"{where}: is drawn by {asset.driver}, expected a field of a scene in space")
    contracted = asset.bounds.tolist() == [[-SIDE] * 3, [SIDE] * 3]  # the box is about all of space
    for what, theirs, ours in (
        ("box", dataset.bounds if contracted else asset.bounds, dataset.bounds),
        ("frame", asset.world_from_source, dataset.world_from_source),
        ("background", asset.background, dataset.background),
    ):
        difference = float(np.abs(np.asarray(theirs, np.float64) - np.asarray(ours, np.float64)).max())
        if difference > SAME_PLACE:
            raise InshaderError(
                f"{where}: is of another scene or of other settings: its {what} differs by {difference:.3g}; "
                "train it with the same data section"
            )
    return asset


def subject_teacher(name: str, dataset: PosedImages) -> tuple[Teacher, bytes]:
    """The procedural scene itself, ray traced.

    Raises:
        InshaderError: the data is not of that subject.
    """
    subject = SUBJECTS[name]
    scale = float(np.cbrt(np.linalg.det(dataset.world_from_source[:3, :3])))
    sides = np.asarray(subject.BOUNDS[1]) - np.asarray(subject.BOUNDS[0])
    if np.abs(scale * sides - (dataset.bounds[1] - dataset.bounds[0])).max() > SAME_PLACE:
        raise InshaderError(
            f"light_field.teacher={name}: the data is not that subject: expected data.format=procedural, "
            f"data.subject={name}, data.bounds=auto"
        )
    source_from_world = np.linalg.inv(dataset.world_from_source).astype(np.float64)

    @contextmanager
    def opened() -> Iterator[Draw]:
        def draw(camera: Camera) -> NDArray[np.float32]:
            picture = trace(subject, (camera.transformed(source_from_world),))[0]
            return composite(picture, dataset.background)

        yield draw

    sources = b"".join(path.read_bytes() for path in sources_of(subject))
    return opened, name.encode() + dataset.background.tobytes() + sources
