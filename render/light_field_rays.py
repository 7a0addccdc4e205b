"""The rays of a light field: what its trunk takes of a view, and how the picture becomes the view again.

The rays of the map go through the middles of blocks of ``factor`` x ``factor`` pixels. How far apart they
are, ``pitch``, is learnt: a view of another size or field of view is drawn at the pitch that was trained, on
a map that covers it, and then resampled (a choice; the released code has one size).
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from render.asset import BakedAsset
from render.camera import Camera
from render.errors import InshaderError
from render.light_field import Array
from render.ndc import STRAIGHT, Ndc

MAX_SIDE = 4096  # pixels of a picture before it is resampled
MAX_POINTS = 64
NEAREST = 0.05  # world units: points are never behind the camera
HALF_DIAGONAL = 1.0  # of the scene box: points lie this far before and behind its middle


@dataclass(frozen=True, eq=False)
class RayMap:
    """What a view looks like at the pitch that was trained.

    Attributes:
        camera: the view in pixels of the pitch; its size is that of the map times the factor, a bit more than
            the view where that is no whole multiple.
        rows, columns: of the map.
        scale: (x, y) pixels at the pitch for one pixel of the view.
    """

    camera: Camera
    rows: int
    columns: int
    scale: tuple[float, float]

    @property
    def exact(self) -> bool:
        """Whether the view's pixels are those of the pitch, so that nothing is to be resampled."""
        return max(abs(s - 1) for s in self.scale) < 1e-6


def ray_map(camera: Camera, pitch: tuple[float, float], factor: int) -> RayMap:
    """The map for a view, at focal lengths ``pitch`` in pixels.

    A view so wide that it would exceed MAX_SIDE pixels is drawn coarser.
    """
    coarser = min(
        1.0,
        *(
            MAX_SIDE * fl / p / n
            for fl, p, n in zip((camera.fl_x, camera.fl_y), pitch, (camera.w, camera.h), strict=True)
        ),
    )
    sx, sy = coarser * pitch[0] / camera.fl_x, coarser * pitch[1] / camera.fl_y
    columns, rows = (max(1, math.ceil(round(n * s, 3) / factor)) for n, s in ((camera.w, sx), (camera.h, sy)))
    wide = replace(
        camera,
        fl_x=camera.fl_x * sx,
        fl_y=camera.fl_y * sy,
        cx=camera.cx * sx,
        cy=camera.cy * sy,
        w=columns * factor,
        h=rows * factor,
    )
    return RayMap(wide, rows, columns, (sx, sy))


def pitch_of(asset: BakedAsset) -> tuple[float, float]:
    """Focal lengths (x, y) in pixels that the networks were trained at.

    Raises:
        InshaderError: they are missing or of another kind.
    """
    pitch = asset.constants.get("pitch")
    if not isinstance(pitch, tuple) or len(pitch) != 2 or not all(1 <= focal <= 1e6 for focal in pitch):
        raise InshaderError(f"the constant pitch is {pitch!r:.60}, expected two focal lengths in pixels")
    return pitch[0], pitch[1]


@dataclass(frozen=True, eq=False)
class RayPoints:
    """How a ray becomes the points that the trunk takes.

    Of a scene in a box, points lie evenly in depth along the camera's axis, from one unit before the middle
    of the box to one behind it, wherever the camera stands (a choice: MobileR2L has a fixed near and far, for
    cameras of one distance). Of a forward-facing scene they are in normalised device coordinates, evenly from
    the near plane to infinity.

    Attributes:
        count: K.
        ndc: of a forward-facing scene.
    """

    count: int
    ndc: Ndc | None = None

    def of_camera(self, camera: Camera, factor: int, jitter: Array | None = None) -> Array:
        """Points (h / factor, w / factor, 3 K) float32 of the rays through the middles of blocks.

        Args:
            jitter: (h / factor, w / factor, K) in [0, 1): where in its stratum each point lies, for training.
        """
        d = block_directions(camera, factor) @ camera.world_from_camera[:3, :3].T  # (rows, columns, 3)
        near, far = self.depths(camera.position)
        if self.ndc is None:
            o = camera.position
        else:
            first, last = self.ndc.ends(camera.position, d)
            o, d = first[..., None, :], last - first
        t = np.linspace(near, far, self.count)
        if jitter is not None:
            t = _stratified(t, jitter)[..., None]
        else:
            t = t[:, None]
        points = o + t * d[..., None, :]  # (rows, columns, K, 3)
        return points.reshape(*d.shape[:2], 3 * self.count).astype(np.float32)

    def depths(self, position: NDArray[np.floating]) -> tuple[float, float]:
        """Of the first and the last point."""
        if self.ndc is not None:
            return 0.0, 1.0
        distance = float(np.linalg.norm(position))
        return max(distance - HALF_DIAGONAL, NEAREST), distance + HALF_DIAGONAL

    def constants(self) -> dict[str, int | float | tuple[float, ...]]:
        """As the asset stores them and the shader reads them."""
        return {"points": self.count, **(STRAIGHT if self.ndc is None else self.ndc.constants())}

    @staticmethod
    def of(asset: BakedAsset) -> RayPoints:
        """Inverse of ``constants``.

        Raises:
            InshaderError: one is missing or of another kind.
        """
        count = asset.constants.get("points")
        if not isinstance(count, int) or not 2 <= count <= MAX_POINTS:
            raise InshaderError(f"the constant points is {count!r:.40}, expected 2 to {MAX_POINTS}")
        return RayPoints(count, Ndc.of(asset.constants))


def block_rays(camera: Camera, factor: int) -> tuple[Array, Array]:
    """Origins and unit directions (h / factor, w / factor, 3) of rays through the middles of blocks."""
    d = block_directions(camera, factor) @ camera.world_from_camera[:3, :3].T
    d /= np.linalg.norm(d, axis=-1, keepdims=True)
    return np.broadcast_to(camera.position, d.shape).astype(np.float32), d.astype(np.float32)


def block_directions(camera: Camera, factor: int) -> NDArray[np.float64]:
    """Of rays through the middles of blocks: (h / factor, w / factor, 3) along the camera's axes, z = -1."""
    slope_x = ((np.arange(camera.w // factor) + 0.5) * factor - camera.cx) / camera.fl_x
    slope_y = ((np.arange(camera.h // factor) + 0.5) * factor - camera.cy) / camera.fl_y
    x, y = np.meshgrid(slope_x, -slope_y)
    return np.stack([x, y, -np.ones_like(x)], -1)


def _stratified(t: NDArray[np.float64], jitter: Array) -> NDArray[np.float64]:
    """Each of t (K,) anywhere between the middles to its neighbours: (..., K)."""
    middles = 0.5 * (t[1:] + t[:-1])
    low, high = np.append(t[0], middles), np.append(middles, t[-1])
    spread: NDArray[np.float64] = low + (high - low) * jitter
    return spread


# Resampling -------------------------------------------------------------------------------------------------


def resampled(picture: Array, scale: tuple[float, float], w: int, h: int) -> Array:
    """A picture at the pitch -> (h, w, c) of the view.

    Each pixel is the mean of n x n bilinear values spread over it, n the whole number from ``scale`` on.
    """
    taps = resampling_taps(scale)
    rows, columns = (
        (_positions(n, s, taps), size)
        for n, s, size in ((h, scale[1], picture.shape[0]), (w, scale[0], picture.shape[1]))
    )
    narrow = _interpolated(picture, *rows, 0).reshape(h, taps, *picture.shape[1:]).mean(1)
    found: Array = _interpolated(narrow, *columns, 1).reshape(h, w, taps, -1).mean(2).astype(np.float32)
    return found


def resampling_taps(scale: tuple[float, float]) -> int:
    return max(1, math.ceil(max(scale) - 1e-6))


def _positions(count: int, scale: float, taps: int) -> NDArray[np.float64]:
    """(count * taps,) where pixels look, in pixels of the other picture, whose first has its middle at 0."""
    return (np.arange(count * taps) + 0.5) / taps * scale - 0.5


def _interpolated(picture: Array, at: NDArray[np.float64], size: int, axis: int) -> Array:
    at = np.clip(at, 0, size - 1)
    first = np.minimum(at.astype(np.int64), max(size - 2, 0))
    part = (at - first).astype(np.float32).reshape([-1 if k == axis else 1 for k in range(3)])
    low, high = picture.take(first, axis), picture.take(np.minimum(first + 1, size - 1), axis)
    mixed: Array = (low + part * (high - low)).astype(np.float32)
    return mixed
