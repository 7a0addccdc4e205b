"""From a data set's own frame to world units: the scene box centred, of half-diagonal 1."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
from numpy.typing import ArrayLike, NDArray

from render.camera import Camera
from render.errors import InshaderError
from scenes.dataset import PosedImages, Views

LEVEL = 0.02  # mean square of the right axes along a direction to which they count as level
# Mean of unit forward axes: cameras that look so much one way see nothing from around.
ONE_WAY = 0.95
NEAR_OF_DEPTH = 0.9  # of the least depth, where rays begin: depths come from sparse points


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


def up_axis(cameras: Sequence[Camera]) -> NDArray[np.float64]:
    """(3,) unit vector: the cameras' mean up, less its part along directions in which their right axes lie.

    A camera held level has its right axis across the vertical. Where all look down on one side of an object
    their mean up leans away from them, and this takes the lean off. Cameras that roll leave the mean. A
    choice.
    """
    axes = np.stack([camera.world_from_camera[:3, :2] for camera in cameras])
    axes = axes / np.linalg.norm(axes, axis=1, keepdims=True)  # (n, 3, 2)
    right, up = axes[..., 0], axes[..., 1].mean(0)
    spread, directions = np.linalg.eigh(right.T @ right / len(right))
    level = directions[:, spread < LEVEL]  # (3, 0 to 2)
    for found in (level @ (level.T @ up), up, np.array([0.0, 0.0, 1.0])):
        length = float(np.linalg.norm(found))
        if length > 0.1:  # shorter ones cancel out: they say nothing
            break
    return np.asarray(found / length)


def looks_one_way(cameras: Sequence[Camera]) -> bool:
    """Whether photographs are forward-facing: no place in front of them is seen from around."""
    forward = np.mean([camera.forward for camera in cameras], 0)
    return bool(np.linalg.norm(forward) > ONE_WAY)


def forward_facing(posed: PosedImages, near: float) -> PosedImages:
    """Photographs that look one way as an unbounded scene: a ball about the cameras, all else outside of it.

    Contracted, what is outside is nearly even in disparity, as normalised device coordinates have it.

    Args:
        near: source units, the least depth of what is seen.
    """
    middle = np.mean([camera.position for camera in (*posed.train.cameras, *posed.test.cameras)], 0)
    scale = float(np.cbrt(np.linalg.det(posed.world_from_source[:3, :3])))
    return replace(
        posed, unbounded=True, ball=np.array([*middle, scale * near], np.float32), near=NEAR_OF_DEPTH
    )
