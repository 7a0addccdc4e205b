"""A camera that circles a point: what dragging and the wheel do to it, without any window."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import ArrayLike, NDArray

from render.camera import Camera, look_at

Vector = NDArray[np.float64]

MAX_ELEVATION = math.radians(89)  # at the poles the view would be along the up axis
DISTANCES = 1e-2, 1e2  # scene boxes have half-diagonal 1
TURN = math.pi  # radians that a drag over the height of the window turns
ZOOM = 0.9  # factor of the distance for one step of the wheel
FOVS = math.radians(5), math.radians(140)  # what the field of view may be set to


@dataclass(frozen=True, eq=False)
class Orbit:
    """A camera at ``distance`` from ``target`` that keeps ``up`` upright.

    Attributes:
        target: (3,) the point in the middle of the picture.
        axes: (3, 3) columns: two directions level with the ground, and up; right-handed.
        azimuth, elevation: radians, of the camera as seen from the target; azimuth 0 is along the first axis.
        distance: world units.
        fov_y: vertical field of view in radians.
        flat: a picture is looked at, which a drag moves and does not turn.
    """

    target: Vector
    axes: Vector
    azimuth: float
    elevation: float
    distance: float
    fov_y: float
    flat: bool = False

    @staticmethod
    def starting_at(camera: Camera, up: ArrayLike, centre: ArrayLike, flat: bool = False) -> Orbit:
        """The orbit whose first view is ``camera``'s, about the point on its axis that is nearest ``centre``.

        A roll or an off-centre principal point of ``camera`` is dropped; a ``centre`` behind it is not used.
        """
        axes = upright(up)
        distance = float(np.dot(np.asarray(centre, np.float64) - camera.position, camera.forward))
        distance = clamp(distance, *DISTANCES) if distance > 0 else 1.0
        x, y, z = -camera.forward @ axes
        return Orbit(
            target=camera.position + distance * camera.forward,
            axes=axes,
            azimuth=math.atan2(y, x),
            elevation=clamp(math.asin(clamp(z, -1, 1)), -MAX_ELEVATION, MAX_ELEVATION),
            distance=distance,
            fov_y=2 * math.atan(0.5 * camera.h / camera.fl_y),
            flat=flat,
        )

    def camera(self, w: int, h: int) -> Camera:
        """The view from here in ``w`` x ``h`` pixels."""
        level = math.cos(self.elevation)
        outwards = (level * math.cos(self.azimuth), level * math.sin(self.azimuth), math.sin(self.elevation))
        position = self.target + self.distance * (self.axes @ outwards)
        return look_at(position, self.target, self.axes[:, 2], w, h, self.fov_y)

    def turned(self, right: float, down: float) -> Orbit:
        """After a drag by these fractions of the window's height: the scene turns with the pointer."""
        if self.flat:
            return self.panned(right, down)
        elevation = clamp(self.elevation + TURN * down, -MAX_ELEVATION, MAX_ELEVATION)
        return replace(self, azimuth=self.azimuth - TURN * right, elevation=elevation)

    def zoomed(self, steps: float) -> Orbit:
        """After ``steps`` of the wheel, nearer for positive ones."""
        return replace(self, distance=clamp(self.distance * ZOOM**steps, *DISTANCES))

    def panned(self, right: float, down: float) -> Orbit:
        """After a drag by these fractions of the window's height that takes the target along."""
        x, y = self.camera(1, 1).world_from_camera[:3, :2].T
        height = 2 * self.distance * math.tan(self.fov_y / 2)  # of the window, at the target
        return replace(self, target=self.target + height * (down * y - right * x))

    def with_fov(self, fov_y: float) -> Orbit:
        """With this vertical field of view, from the same place."""
        return replace(self, fov_y=clamp(fov_y, *FOVS))


def upright(up: ArrayLike) -> Vector:
    """(3, 3) a right-handed frame whose last column is ``up``."""
    z = np.asarray(up, np.float64)
    z = z / np.linalg.norm(z)
    x = np.cross(z, np.eye(3)[np.argmin(np.abs(z))])
    x /= np.linalg.norm(x)
    return np.stack([x, np.cross(z, x), z], -1)


def clamp(value: float, low: float, high: float) -> float:
    """``value``, or the nearer end of the range."""
    return min(max(value, low), high)
