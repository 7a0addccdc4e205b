"""What the readers of data sets return: everything in world units, pictures still as they were read."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from render.camera import Camera

HOLD_OUT = 8  # as LLFF does
NEAR = 0.1  # in radii of the ball: what is nearer to a camera is fog that this camera alone would know of


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

    def part(self, indices: Sequence[int]) -> Views:
        """Some of the views."""
        return Views(
            self.images[list(indices)],
            tuple(self.cameras[i] for i in indices),
            tuple(self.names[i] for i in indices),
        )


def hold_out(views: Views) -> tuple[Views, Views]:
    """Every ``HOLD_OUT``-th view for scores, the others for training: for data that name no test views."""
    held = range(0, len(views), HOLD_OUT)
    return views.part([i for i in range(len(views)) if i not in held]), views.part(held)


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
        unbounded: pictures show what stands around the box, too: photographs without masks.
        ball: (4,) float32, middle and radius in world units of what is near in an unbounded scene; space
            beyond it gets the coarser the farther it is. That about the box, where cameras stand around.
        near: in radii of the ball, how near to a camera something may be.
    """

    train: Views
    test: Views
    bounds: NDArray[np.float32]
    background: NDArray[np.float32]
    background_name: str
    up: NDArray[np.float32]
    world_from_source: NDArray[np.float64]
    masked: bool = False
    unbounded: bool = False
    ball: NDArray[np.float32] = field(default_factory=lambda: np.array([0, 0, 0, 1], np.float32))
    near: float = NEAR


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
