"""From a data set's own frame to world units: the scene box centred, of half-diagonal 1."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from numpy.typing import ArrayLike, NDArray

from render.errors import InshaderError
from scenes.dataset import PosedImages, Views


def world_from_box(bounds: ArrayLike) -> NDArray[np.float64]:
    """The similarity (4, 4) that centres a box (2, 3) and scales its half-diagonal to 1.

    Raises:
        InshaderError: the box is not finite, or empty along an axis.
    """
    low, high = np.asarray(bounds, np.float64)
    if not (np.isfinite([low, high]).all() and (low < high).all()):
        raise InshaderError(
            f"scene box {low.tolist()}, {high.tolist()}: expected a lower and a higher corner"
        )
    scale = 2 / np.linalg.norm(high - low)
    world_from_source = np.diag([scale, scale, scale, 1.0])
    world_from_source[:3, 3] = -scale * (low + high) / 2
    return world_from_source


def moved(views: Views, target_from_source: NDArray[np.float64]) -> Views:
    """The same pictures with their cameras moved by a similarity."""
    return replace(views, cameras=tuple(camera.transformed(target_from_source) for camera in views.cameras))


def normalised(
    train: Views,
    test: Views,
    bounds: ArrayLike,
    background: tuple[ArrayLike, str],
    up: ArrayLike,
) -> PosedImages:
    """Bring views from source units into the world; the end of every reader.

    Args:
        train, test: with cameras in source units.
        bounds: (2, 3) scene box in source units.
        background: colour (3,) in [0, 1], and how the scene file named it.
        up: (3,) unit vector.
    """
    world_from_source = world_from_box(bounds)
    box = np.asarray(bounds, np.float64) @ world_from_source[:3, :3].T + world_from_source[:3, 3]  # (2, 3)
    colour, background_name = background
    return PosedImages(
        train=moved(train, world_from_source),
        test=moved(test, world_from_source),
        bounds=box.astype(np.float32),
        background=np.asarray(colour, np.float32),
        background_name=background_name,
        up=np.asarray(up, np.float32),
        world_from_source=world_from_source,
    )
