"""Cameras over time: a path through key cameras, and a way round the scene."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, replace
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
    """

    times: NDArray[np.float64]
    cameras: Sequence[Camera]

    def at(self, t: float) -> Camera:
        """The camera then; before the first and after the last it stands still.

        Between two, positions and intrinsics follow straight lines, the axes are those of the rotation
        nearest to the mean of both (our choice: keys stand close together).
        """
        k = int(np.clip(np.searchsorted(self.times, t, side="right") - 1, 0, max(len(self.times) - 2, 0)))
        one, other = self.cameras[k], self.cameras[min(k + 1, len(self.cameras) - 1)]
        gap = self.times[min(k + 1, len(self.times) - 1)] - self.times[k]
        s = float(np.clip((t - self.times[k]) / gap, 0, 1)) if gap > 0 else 0.0
        pose = (1 - s) * one.world_from_camera + s * other.world_from_camera
        if 0 < s < 1:
            u, _, v = np.linalg.svd(pose[:3, :3])
            pose[:3, :3] = u @ np.diag([1, 1, np.linalg.det(u @ v)]) @ v
        numbers = {
            name: (1 - s) * getattr(one, name) + s * getattr(other, name)
            for name in ("fl_x", "fl_y", "cx", "cy")
        }
        return replace(one, world_from_camera=pose, **numbers)

    def spread(self, count: int) -> list[Camera]:
        """So many cameras, evenly in time from the first to the last."""
        return [self.at(t) for t in np.linspace(self.times[0], self.times[-1], count)]


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
    data = _read_json(path)
    return _camera(path, data[0] if isinstance(data, list) and data else data)


def read_path(path: Path) -> CameraPath:
    """The path in a JSON file: a list of cameras, each with ``t`` in seconds, or a single camera.

    Raises:
        InshaderError: the file cannot be read, or a camera is not usable, is not later than the one before,
            or has another size of the picture than the first.
    """
    data = _read_json(path)
    if not isinstance(data, list):
        return CameraPath(np.zeros(1), [_camera(path, data)])
    if not data:
        raise InshaderError(f"{path}: an empty list, expected cameras with t")
    cameras: list[Camera] = []
    times: list[float] = []
    for number, entry in enumerate(data):
        cameras.append(_camera(path, entry))
        t = entry.get("t")
        after = times[-1] if times else -np.inf
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
    return CameraPath(np.array(times), cameras)


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
