"""A pinhole camera: intrinsics, a pose, and the rays through its pixels.

Axes are OpenGL's: x right, y up, the camera looks down -z. A pixel (column i, row j) has its centre at
(i + 0.5, j + 0.5), rows counted from the top. ``shaders/common/camera.glsl`` is the twin of ``rays``.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from render.errors import InshaderError

Array = NDArray[np.float32]


@dataclass(frozen=True, eq=False)
class Camera:
    """A camera in the asset's world.

    Attributes:
        world_from_camera: (4, 4) float64, axes of unit length and position; the last row is 0 0 0 1.
        fl_x, fl_y: focal lengths in pixels.
        cx, cy: principal point in pixels from the top left corner.
        w, h: picture size in pixels.

    Raises:
        InshaderError: a value is not finite, the pose is singular, a focal length or size is not positive.
    """

    world_from_camera: NDArray[np.float64]
    fl_x: float
    fl_y: float
    cx: float
    cy: float
    w: int
    h: int

    def __post_init__(self) -> None:
        pose = np.asarray(self.world_from_camera, np.float64)
        if pose.shape != (4, 4):
            raise InshaderError(f"camera: world_from_camera has shape {pose.shape}, not (4, 4)")
        numbers = [self.fl_x, self.fl_y, self.cx, self.cy]
        if not (np.isfinite(pose).all() and np.isfinite(numbers).all()):
            raise InshaderError("camera: a pose or an intrinsic is not a finite number")
        rotation = pose[:3, :3]
        # Scaled poses are accepted, as a similarity moves cameras between frames; flat ones are not.
        scale = float(np.abs(rotation).max())
        if scale == 0 or abs(np.linalg.det(rotation / scale)) < 1e-6:
            raise InshaderError("camera: world_from_camera is singular: its three axes are not independent")
        if not np.allclose(pose[3], [0, 0, 0, 1]):
            raise InshaderError(
                f"camera: the last row of world_from_camera is {pose[3].tolist()}, not 0 0 0 1"
            )
        if min(self.fl_x, self.fl_y) <= 0:
            raise InshaderError(
                f"camera: focal lengths are {self.fl_x} and {self.fl_y}, they must be above 0"
            )
        if not (1 <= self.w <= 32768 and 1 <= self.h <= 32768):
            raise InshaderError(
                f"camera: the picture size is {self.w}x{self.h}, each side must be 1 to 32768"
            )
        pose = pose.copy()
        pose[:3, :3] /= np.linalg.norm(rotation, axis=0)
        object.__setattr__(self, "world_from_camera", pose)

    @property
    def position(self) -> NDArray[np.float64]:
        """(3,) where the camera stands."""
        return self.world_from_camera[:3, 3]

    @property
    def forward(self) -> NDArray[np.float64]:
        """(3,) unit vector the camera looks along."""
        axis = -self.world_from_camera[:3, 2]
        return axis / np.linalg.norm(axis)

    def rays(self) -> tuple[Array, Array]:
        """Origins and unit directions through all pixel centres, each (h, w, 3) float32."""
        i, j = np.meshgrid(np.arange(self.w) + 0.5, np.arange(self.h) + 0.5)  # (h, w)
        d = np.stack([(i - self.cx) / self.fl_x, -(j - self.cy) / self.fl_y, -np.ones_like(i)], -1)
        d = d @ self.world_from_camera[:3, :3].T  # (h, w, 3)
        d /= np.linalg.norm(d, axis=-1, keepdims=True)
        rays_d = d.astype(np.float32)
        rays_o = np.broadcast_to(self.position.astype(np.float32), rays_d.shape)
        return rays_o, rays_d

    def resized(self, w: int, h: int) -> Camera:
        """The same view in ``w`` x ``h`` pixels.

        Where the aspect differs, the vertical field of view is kept and the picture is cut or widened
        alike on both sides, as a window does.
        """
        s = h / self.h
        return replace(
            self,
            fl_x=self.fl_x * s,
            fl_y=self.fl_y * s,
            cx=self.cx * s + (w - self.w * s) / 2,
            cy=self.cy * s,
            w=w,
            h=h,
        )

    def transformed(self, target_from_world: NDArray[np.float64]) -> Camera:
        """The camera after a similarity (4, 4); its axes stay orthonormal."""
        pose = np.asarray(target_from_world, np.float64) @ self.world_from_camera
        return replace(self, world_from_camera=pose)

    def to_json(self) -> dict[str, Any]:
        return {
            "world_from_camera": self.world_from_camera.tolist(),
            **{key: float(getattr(self, key)) for key in ("fl_x", "fl_y", "cx", "cy")},
            "w": int(self.w),
            "h": int(self.h),
        }

    @staticmethod
    def from_json(data: Any) -> Camera:
        """Inverse of ``to_json``.

        Raises:
            InshaderError: a key is missing or of the wrong kind, or the camera is not usable.
        """
        if not isinstance(data, Mapping):
            raise InshaderError(
                f"camera: expected an object with a pose and intrinsics, found {type(data).__name__}"
            )
        try:
            pose = np.array(data["world_from_camera"], np.float64)
            fl_x, fl_y, cx, cy = (float(data[key]) for key in ("fl_x", "fl_y", "cx", "cy"))
            w, h = int(data["w"]), int(data["h"])
        except KeyError as error:
            raise InshaderError(f"camera: the key {error} is missing") from error
        except (TypeError, ValueError, OverflowError) as error:
            raise InshaderError(f"camera: {error}") from error
        return Camera(pose, fl_x, fl_y, cx, cy, w, h)


def look_at(position: ArrayLike, target: ArrayLike, up: ArrayLike, w: int, h: int, fov_y: float) -> Camera:
    """A camera at ``position`` that looks at ``target``; ``fov_y`` is the vertical field of view in radians.

    Raises:
        InshaderError: position and target coincide, or the view is along ``up``.
    """
    position, up = np.asarray(position, np.float64), np.asarray(up, np.float64)
    z = position - np.asarray(target, np.float64)
    x = np.cross(up, z)
    if np.linalg.norm(x) < 1e-9 * max(1.0, float(np.linalg.norm(z))):
        raise InshaderError("camera: position, target and up axis lie on one line")
    z, x = z / np.linalg.norm(z), x / np.linalg.norm(x)
    pose = np.eye(4)
    pose[:3] = np.stack([x, np.cross(z, x), z, position], -1)
    fl = 0.5 * h / math.tan(0.5 * fov_y)
    return Camera(pose, fl, fl, w / 2, h / 2, w, h)
