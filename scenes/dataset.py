"""What the readers of data sets return: everything in world units, pictures still as they were read."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from render.camera import Camera

HOLD_OUT = 8  # as LLFF does


@dataclass(frozen=True, eq=False)
class Views:
    """Pictures and the cameras that took them, all of one size.

    Attributes:
        images: (n, h, w, c) uint8, uint16, or float32 for HDR; c = 3, or 4 with straight alpha.
        cameras: one per picture, in world units.
        names: one per picture, for messages and tables.
    """

    images: NDArray[np.generic]
    cameras: tuple[Camera, ...]
    names: tuple[str, ...]

    def __len__(self) -> int:
        return len(self.cameras)


def hold_out(views: Views) -> tuple[Views, Views]:
    """Every ``HOLD_OUT``-th view for scores, the others for training: for data that name no test views."""
    held = np.arange(len(views)) % HOLD_OUT == 0
    train, test = (
        Views(
            views.images[chosen],
            tuple(views.cameras[i] for i in np.flatnonzero(chosen)),
            tuple(views.names[i] for i in np.flatnonzero(chosen)),
        )
        for chosen in (~held, held)
    )
    return train, test


@dataclass(frozen=True, eq=False)
class PosedImages:
    """Posed pictures of a bounded scene, split into training and held-out views.

    Attributes:
        train, test: the split; ``test`` is what scores are computed on.
        bounds: (2, 3) float32, corners of the scene box, centred, of half-diagonal 1.
        background: (3,) float32, the colour in [0, 1] on which pictures with alpha are composited.
        background_name: how the scene file named it ("white", "black", "0.2 0.3 0.4").
        up: (3,) float32 unit vector.
        world_from_source: (4, 4) float64 similarity from the data set's own frame.
        masked: alpha comes from masks of photographs, which had another background.
    """

    train: Views
    test: Views
    bounds: NDArray[np.float32]
    background: NDArray[np.float32]
    background_name: str
    up: NDArray[np.float32]
    world_from_source: NDArray[np.float64]
    masked: bool = False


@dataclass(frozen=True, eq=False)
class Picture:
    """One picture, lying in the plane z = 0 of the world, to be fitted as it is.

    Attributes:
        test: the picture, as ``Views`` of one, with the camera before it whose pixels are the picture's own.
        bounds: (2, 3) float32: the picture fills low..high in x and y, its top row at high y; half its
            diagonal is 1.
        peak: the value that scores count as 1: 1, or the largest of an HDR picture.
        background, background_name, up, world_from_source: as in ``PosedImages``.
    """

    test: Views
    bounds: NDArray[np.float32]
    peak: float
    background: NDArray[np.float32]
    background_name: str
    up: NDArray[np.float32]
    world_from_source: NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class Surface:
    """A closed surface, with points at known distances from it.

    Attributes:
        vertices, faces: (v, 3) float32 in world units, (f, 3) int64; what metrics measure against.
        points: (n, 3) float32, in the box; in random order: near, on and away from the surface as 4:3:1.
        distances: (n,) float32, world units, negative inside.
        test: pictures of the surface, shaded as the ``trace`` driver shades one without a colour of its own.
        bounds, background, background_name, up, world_from_source: as in ``PosedImages``.
    """

    vertices: NDArray[np.float32]
    faces: NDArray[np.int64]
    points: NDArray[np.float32]
    distances: NDArray[np.float32]
    test: Views
    bounds: NDArray[np.float32]
    background: NDArray[np.float32]
    background_name: str
    up: NDArray[np.float32]
    world_from_source: NDArray[np.float64]


Dataset = PosedImages | Picture | Surface


def composite(images: NDArray[np.generic], background: NDArray[np.float32]) -> NDArray[np.float32]:
    """Pictures (..., 3 | 4) as read -> (..., 3) float32 display colours on ``background``."""
    values = images.astype(np.float32) / _peak(images)
    if images.shape[-1] == 3:
        return values
    rgb, alpha = values[..., :3], values[..., 3:]
    blended: NDArray[np.float32] = rgb * alpha + (1 - alpha) * background
    return blended


def coverage(images: NDArray[np.generic]) -> NDArray[np.float32] | None:
    """Alpha in [0, 1] of pictures (..., 4), None for pictures without alpha."""
    if images.shape[-1] != 4:
        return None
    return images[..., 3].astype(np.float32) / _peak(images)


def _peak(images: NDArray[np.generic]) -> np.float32:
    """The value that stands for 1: pictures of whole numbers use their type's range."""
    if np.issubdtype(images.dtype, np.integer):
        return np.float32(np.iinfo(images.dtype.str).max)
    return np.float32(1)
