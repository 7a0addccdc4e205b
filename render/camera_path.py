"""Cameras over time: a path through key cameras, and a way round the scene."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from render.camera import Camera
from render.deformation import turn
from render.errors import InshaderError

MAX_BYTES = 1 << 26  # of a file of cameras
LATEST = 1e6  # seconds


@dataclass(frozen=True, eq=False)
class CameraPath:
    """Key cameras and when they are passed.

    Attributes:
        times: (n,) seconds, ascending.
        tension: None: straight from key to key. Else a cubic spline through the keys, 0: Catmull and Rom's,
            1: it halts at each. Where the last key is the first one again, it closes smoothly.
    """

    times: NDArray[np.float64]
    cameras: Sequence[Camera]
    tension: float | None = None

    def at(self, t: float) -> Camera:
        """The camera then; before the first and after the last it stands still.

        Positions, quaternions and intrinsics are blended alike, and the quaternion made a unit one.
        """
        k = int(np.clip(np.searchsorted(self.times, t, side="right") - 1, 0, max(len(self.times) - 2, 0)))
        after = min(k + 1, len(self.times) - 1)
        gap = float(self.times[after] - self.times[k])
        s = float(np.clip((t - self.times[k]) / gap, 0, 1)) if gap > 0 else 0.0
        if s in (0.0, 1.0):
            return self.cameras[after if s else k]
        a, b = self._numbers[k], self._numbers[after]
        if self.tension is None:
            found = (1 - s) * a + s * b
        else:  # Hermite's
            ma, mb = gap * self._slopes[k], gap * self._slopes[after]
            found = (1 + 2 * s) * (1 - s) ** 2 * a + s * (1 - s) ** 2 * ma
            found += s**2 * (3 - 2 * s) * b - s**2 * (1 - s) * mb
        return _camera_of(found, self.cameras[k])

    @cached_property
    def _numbers(self) -> NDArray[np.float64]:
        """(n, 11) of each key: quaternion, position, intrinsics; near quaternions for near rotations."""
        rows = np.array([_numbers_of(camera) for camera in self.cameras])
        for before, row in pairwise(rows):
            row[:4] *= 1.0 if before[:4] @ row[:4] >= 0 else -1.0
        return rows

    @cached_property
    def _slopes(self) -> NDArray[np.float64]:
        """(n, 11) by time at each key: of the parabola through it and its neighbours."""
        rows, times = self._numbers, self.times
        slopes = np.zeros_like(rows)
        if len(rows) > 1:
            gaps = np.diff(times)[:, None]
            paces = np.diff(rows, axis=0) / gaps
            if len(rows) > 2 and _same(self.cameras[0], self.cameras[-1]):
                sign = 1.0 if rows[0, :4] @ rows[-1, :4] >= 0 else -1.0  # quaternions may come round negated
                turned = np.concatenate([np.full(4, sign), np.ones(7)])
                paces = np.concatenate([paces[-1:] * turned, paces, paces[:1] * turned])
                gaps = np.concatenate([gaps[-1:], gaps, gaps[:1]])
            else:
                paces = np.concatenate([paces[:1], paces, paces[-1:]])
                gaps = np.concatenate([gaps[:1], gaps, gaps[-1:]])
            slopes = (gaps[1:] * paces[:-1] + gaps[:-1] * paces[1:]) / (gaps[1:] + gaps[:-1])
        result: NDArray[np.float64] = slopes * (1 - (self.tension or 0.0))
        return result

    def spread(self, count: int) -> list[Camera]:
        """So many cameras, evenly in time from the first to the last."""
        return [self.at(t) for t in np.linspace(self.times[0], self.times[-1], count)]

    def to_json(self) -> Any:
        """What ``read_path`` reads."""
        keys = [
            {"t": float(t), **camera.to_json()} for t, camera in zip(self.times, self.cameras, strict=True)
        ]
        return keys if self.tension is None else {"tension": self.tension, "cameras": keys}


def _numbers_of(camera: Camera) -> list[float]:
    """Quaternion (w, x, y, z), position and intrinsics."""
    m = camera.world_from_camera[:3, :3]
    # Four times the products of w, x, y and z; the row of the largest square is the one to trust.
    squares = 1 + np.array([m.trace(), *(2 * np.diag(m) - m.trace())])
    k = int(squares.argmax())
    w = (m[2, 1] - m[1, 2], m[0, 2] - m[2, 0], m[1, 0] - m[0, 1])
    xy, xz, yz = m[0, 1] + m[1, 0], m[0, 2] + m[2, 0], m[1, 2] + m[2, 1]
    products = np.array([[0, *w], [w[0], 0, xy, xz], [w[1], xy, 0, yz], [w[2], xz, yz, 0]], np.float64)
    products[k, k] = squares[k]
    q = products[k] / np.linalg.norm(products[k])
    return [*q, *camera.position, camera.fl_x, camera.fl_y, camera.cx, camera.cy]


def _camera_of(numbers: NDArray[np.float64], like: Camera) -> Camera:
    """Inverse of ``_numbers_of``; quaternions need not be of unit length."""
    w, x, y, z = numbers[:4] / max(float(np.linalg.norm(numbers[:4])), 1e-12)
    pose = np.eye(4)
    pose[:3, :3] = [
        [1 - 2 * (y * y + z * z), 2 * (x * y - w * z), 2 * (x * z + w * y)],
        [2 * (x * y + w * z), 1 - 2 * (x * x + z * z), 2 * (y * z - w * x)],
        [2 * (x * z - w * y), 2 * (y * z + w * x), 1 - 2 * (x * x + y * y)],
    ]
    pose[:3, 3] = numbers[4:7]
    fl_x, fl_y, cx, cy = (float(value) for value in numbers[7:])
    return replace(like, world_from_camera=pose, fl_x=fl_x, fl_y=fl_y, cx=cx, cy=cy)


def _same(a: Camera, b: Camera) -> bool:
    return bool(
        np.allclose(_numbers_of(a)[4:], _numbers_of(b)[4:])
        and np.allclose(a.world_from_camera, b.world_from_camera)
    )


def orbit(camera: Camera, up: ArrayLike, centre: ArrayLike, count: int) -> list[Camera]:
    """The camera carried once around the line through ``centre`` along ``up``, in so many even steps."""
    return [_turned(camera, 2 * np.pi * k / count, up, centre) for k in range(count)]


def _turned(camera: Camera, angle: float, axis: ArrayLike, centre: ArrayLike) -> Camera:
    corners = turn(np.concatenate([np.zeros((1, 3)), np.eye(3)]), angle, axis, centre)
    rotation = np.eye(4)
    rotation[:3, 3] = corners[0]
    rotation[:3, :3] = (corners[1:] - corners[0]).T
    return camera.transformed(rotation)


def read_camera(path: Path) -> Camera:
    """The camera in a JSON file, the first one of a path of them.

    Raises:
        InshaderError: the file cannot be read or holds no camera.
    """
    data, _ = _keys(path, _read_json(path))
    return _camera(path, data[0] if isinstance(data, list) and data else data)


def read_path(path: Path) -> CameraPath:
    """The path in a JSON file: a list of cameras, each with ``t`` in seconds, or a single camera.

    An object of such ``cameras`` and a ``tension`` from 0 to 1 is a spline, see ``CameraPath``.

    Raises:
        InshaderError: the file cannot be read, or a camera is not usable, is not later than the one before,
            or has another size of the picture than the first.
    """
    data, tension = _keys(path, _read_json(path))
    if not isinstance(data, list):
        return CameraPath(np.zeros(1), [_camera(path, data)])
    if not data:
        raise InshaderError(f"{path}: an empty list, expected cameras with t")
    cameras: list[Camera] = []
    times: list[float] = []
    for number, entry in enumerate(data):
        cameras.append(_camera(path, entry))
        t = entry.get("t")
        after = times[-1] if times else -LATEST
        if isinstance(t, bool) or not isinstance(t, (int, float)) or not after < t <= LATEST:
            wanted = f"more than {after:g} seconds" if times else "a time in seconds"
            raise InshaderError(f"{path}: the t of camera {number} is {t!r:.40}, expected {wanted}")
        times.append(float(t))
        size = cameras[-1].w, cameras[-1].h
        if size != (cameras[0].w, cameras[0].h):
            raise InshaderError(
                f"{path}: camera {number} has {size[0]}x{size[1]} pixels, the first "
                f"{cameras[0].w}x{cameras[0].h}: a video has one size"
            )
    return CameraPath(np.array(times), cameras, tension)


def _keys(path: Path, data: Any) -> tuple[Any, float | None]:
    """The cameras of a file, and the tension of their spline."""
    if not isinstance(data, Mapping) or "cameras" not in data:
        return data, None
    tension = data.get("tension")
    if isinstance(tension, bool) or not isinstance(tension, (int, float)) or not 0 <= tension <= 1:
        raise InshaderError(f"{path}: tension is {tension!r:.40}, expected a number from 0 to 1")
    if not isinstance(data["cameras"], list):
        raise InshaderError(f"{path}: cameras is a {type(data['cameras']).__name__}, expected a list")
    return data["cameras"], float(tension)


def _read_json(path: Path) -> Any:
    try:
        if path.stat().st_size > MAX_BYTES:
            raise InshaderError(f"{path}: larger than {MAX_BYTES >> 20} MB, which is no list of cameras")
        return json.loads(path.read_text())
    except OSError as error:
        raise InshaderError(f"{path}: cannot be read: {error.strerror}") from error
    except (ValueError, RecursionError) as error:
        raise InshaderError(f"{path}: not JSON: {error}") from error


def _camera(path: Path, data: Any) -> Camera:
    try:
        return Camera.from_json(data)
    except InshaderError as error:
        raise InshaderError(f"{path}: {error}") from error
