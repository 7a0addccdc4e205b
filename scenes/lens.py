"""Lens distortion, and pictures without it: OpenCV's model, as COLMAP, instant-ngp and nerfstudio write it.

Source: Brown, "Close-range camera calibration", 1971, in the form of OpenCV: a point (x, y) at depth 1, y
down, falls at the focal lengths times

    x (1 + k1 r^2 + k2 r^4 + k3 r^6) + 2 p1 x y + p2 (r^2 + 2 x^2)
    y (1 + k1 r^2 + k2 r^4 + k3 r^6) + p1 (r^2 + 2 y^2) + 2 p2 x y

Which focal length the undistorted picture has, and how it is sampled, is our choice: see ``zoom`` and
``undistort``.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from scenes.images import Pictures, area_mean, premultiplied, rounded

CELLS = 32  # a side of the net over a picture in which the model is looked at
ZOOMS = (0.5, 2.0)  # least and most by which undistorting may change a focal length
SLACK = 0.1  # pixels more than one that samples may lie apart
BAND = 64  # rows undistorted at a time: they stay in the processor's cache

Floats = NDArray[np.floating]


@dataclass(frozen=True)
class Lens:
    """Intrinsics of pictures as they lie in their files.

    Attributes:
        fl_x, fl_y, cx, cy: pixels, centres of pixels at + 0.5.
        w, h: pixels.
        distortion: k1, k2, p1, p2, k3.
    """

    fl_x: float
    fl_y: float
    cx: float
    cy: float
    w: int
    h: int
    distortion: tuple[float, float, float, float, float] = (0.0, 0.0, 0.0, 0.0, 0.0)

    def distorted(self, x: Floats, y: Floats) -> tuple[Floats, Floats]:
        """Pixels (...) in which points (x, y) (...) at depth 1 fall; y is down."""
        k1, k2, p1, p2, k3 = self.distortion
        square = x * x + y * y
        radial = 1 + square * (k1 + square * (k2 + square * k3))
        u = x * radial + 2 * p1 * x * y + p2 * (square + 2 * x * x)
        v = y * radial + p1 * (square + 2 * y * y) + 2 * p2 * x * y
        return self.fl_x * u + self.cx, self.fl_y * v + self.cy


@lru_cache(maxsize=1024)
def zoom(lens: Lens) -> float:
    """By what focal lengths grow when a picture is undistorted; its size and principal point stay.

    It is the least, from half to twice, with which all of the new picture was seen by the old one, so
    that no pixel is without a colour.

    Raises:
        ValueError: there is none; the distortion folds the picture over itself, or hardly less than that.
    """
    low, high = ZOOMS
    tried = 1.0
    while not _covered(lens, tried):
        tried *= 1.25
        if tried > high:
            raise ValueError("so much distortion folds the picture over itself, or leaves gaps in it")
    high = tried
    if _covered(lens, low):
        return low
    for _ in range(30):
        middle = math.sqrt(low * high)
        low, high = (low, middle) if _covered(lens, middle) else (middle, high)
    return high


def _covered(lens: Lens, factor: float) -> bool:
    """Whether the old picture saw all of the new one, without a fold."""
    u, v = _source(lens, factor, np.linspace(0, lens.w, CELLS + 1), np.linspace(0, lens.h, CELLS + 1))
    inside = u.min() >= 0 and v.min() >= 0 and u.max() <= lens.w and v.max() <= lens.h
    # Twice the signed areas of the net's triangles: all are above 0 where nothing is folded.
    across_u, across_v, down_u, down_v = (
        np.diff(u, axis=1),
        np.diff(v, axis=1),
        np.diff(u, axis=0),
        np.diff(v, axis=0),
    )
    areas = across_u[:-1] * down_v[:, :-1] - across_v[:-1] * down_u[:, :-1]
    return bool(inside and areas.min() > 0)


def _source(lens: Lens, factor: float, columns: Floats, rows: Floats) -> tuple[Floats, Floats]:
    """Places (rows, columns) in the file's picture of a lattice of places in the undistorted one, in its
    pixels before it is reduced."""
    x = (columns[None, :] - lens.cx) / (factor * lens.fl_x)
    y = (rows[:, None] - lens.cy) / (factor * lens.fl_y)
    return lens.distorted(x, y)


def undistort(picture: Pictures, lens: Lens, w: int, h: int) -> Pictures:
    """A file's picture (lens.h, lens.w, 3 | 4) as a camera without distortion sees it: (h, w, 3 | 4).

    Every new pixel is the mean of n x n bilinear samples, n so large that samples are no more than about a
    pixel of the file apart: nothing of the area a pixel covers is left out. Alpha as in ``reduce_image``. The
    camera has focal lengths ``zoom(lens)`` times the lens's before they are reduced with the picture.

    Raises:
        ValueError: as ``zoom``.
    """
    n, corner, part_x, part_y = _taps(lens, w, h)
    channels = picture.shape[2]
    values = premultiplied(picture) if channels == 4 else picture
    values = values.reshape(-1, channels)
    right, below = min(1, lens.w - 1), lens.w * min(1, lens.h - 1)  # steps to neighbours
    out = np.empty((h, w, channels), np.float32)
    for row in range(0, h, BAND):
        rows = min(BAND, h - row)
        fine = slice(row * n, (row + rows) * n)
        at, x, y = corner[fine], part_x[fine, :, None], part_y[fine, :, None]
        upper = _mix(values.take(at, 0), values.take(at + right, 0), x)
        lower = _mix(values.take(at + below, 0), values.take(at + below + right, 0), x)
        out[row : row + rows] = area_mean(area_mean(_mix(upper, lower, y), rows, 0), w, 1)
    return rounded(out, picture.dtype)


def _mix(first: NDArray[np.generic], second: NDArray[np.generic], part: Floats) -> NDArray[np.float32]:
    start = first.astype(np.float32)
    mixed = second.astype(np.float32)
    mixed -= start
    mixed *= part
    mixed += start
    return mixed


@lru_cache(maxsize=2)
def _taps(
    lens: Lens, w: int, h: int
) -> tuple[int, NDArray[np.int32], NDArray[np.float32], NDArray[np.float32]]:
    """n samples a side of a pixel, and for each sample (n h, n w) the flat index of its upper left neighbour
    in the file's picture and how far towards the right and lower one it lies, in pixels."""
    factor = zoom(lens)
    u, v = _source(lens, factor, np.linspace(0, lens.w, CELLS + 1), np.linspace(0, lens.h, CELLS + 1))
    # How many of the file's pixels a new one spans at most.
    wide = float(np.hypot(np.diff(u, axis=1), np.diff(v, axis=1)).max()) * CELLS / w
    high = float(np.hypot(np.diff(u, axis=0), np.diff(v, axis=0)).max()) * CELLS / h
    n = max(1, math.ceil(max(wide, high) - SLACK))
    columns = (np.arange(n * w) + 0.5) * (lens.w / (n * w))
    rows = (np.arange(n * h) + 0.5) * (lens.h / (n * h))
    corner = np.empty((n * h, n * w), np.int32)
    part_x, part_y = np.empty(corner.shape, np.float32), np.empty(corner.shape, np.float32)
    for row in range(0, n * h, BAND):
        band = slice(row, row + BAND)
        u, v = _source(lens, factor, columns, rows[band])
        u, v = np.clip(u - 0.5, 0, lens.w - 1), np.clip(v - 0.5, 0, lens.h - 1)  # from pixel centres
        left = np.minimum(u.astype(np.int32), max(lens.w - 2, 0))
        top = np.minimum(v.astype(np.int32), max(lens.h - 2, 0))
        corner[band], part_x[band], part_y[band] = top * lens.w + left, u - left, v - top
    return n, corner, part_x, part_y
