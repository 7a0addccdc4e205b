"""A camera that flies: what the movement keys and looking around do to it, without any window."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import ArrayLike

from render.camera import Camera, look_at
from viewer.orbit import FOVS, MAX_ELEVATION, Vector, clamp, upright

SPEEDS = 0.02, 10.0  # world units a second; scene boxes have half-diagonal 1
FAST = 4.0  # factor of the speed while shift is held
LOOK = math.pi / 2  # radians that a drag over the height of the window turns
FAR = 1e3  # no coordinate goes beyond: float32 has too few digits there


@dataclass(frozen=True, eq=False)
class Fly:
    """A camera that keeps ``up`` upright and goes anywhere.

    Attributes:
        position: (3,) where it stands.
        axes: (3, 3) columns: two directions level with the ground, and up; right-handed.
        heading, pitch: radians of where it looks; heading 0 is along the first axis, pitch 0 is level.
        fov_y: vertical field of view in radians.
    """

    position: Vector
    axes: Vector
    heading: float
    pitch: float
    fov_y: float

    @staticmethod
    def starting_at(camera: Camera, up: ArrayLike) -> Fly:
        """The view of ``camera``; its roll and an off-centre principal point are dropped."""
        axes = upright(up)
        x, y, z = camera.forward @ axes
        return Fly(
            position=camera.position,
            axes=axes,
            heading=math.atan2(y, x),
            pitch=clamp(math.asin(clamp(z, -1, 1)), -MAX_ELEVATION, MAX_ELEVATION),
            fov_y=2 * math.atan(0.5 * camera.h / camera.fl_y),
        )

    @property
    def forward(self) -> Vector:
        """(3,) unit vector it looks along."""
        level = math.cos(self.pitch)
        along = (level * math.cos(self.heading), level * math.sin(self.heading), math.sin(self.pitch))
        forward: Vector = self.axes @ along
        return forward

    def camera(self, w: int, h: int) -> Camera:
        """The view from here in ``w`` x ``h`` pixels."""
        return look_at(self.position, self.position + self.forward, self.axes[:, 2], w, h, self.fov_y)

    def looked(self, right: float, down: float) -> Fly:
        """After the pointer went by these fractions of the window's height: the view goes with it."""
        pitch = clamp(self.pitch - LOOK * down, -MAX_ELEVATION, MAX_ELEVATION)
        return replace(self, heading=self.heading - LOOK * right, pitch=pitch)

    def moved(self, direction: ArrayLike, speed: float, seconds: float) -> Fly:
        """After ``seconds`` at ``speed`` along ``direction``: parts ahead, to the right and up.

        Two directions at once are no faster than one. How the time is cut into frames makes no difference.
        """
        parts = np.asarray(direction, np.float64)
        up = self.axes[:, 2]
        ahead = self.forward
        right = np.cross(ahead, up)
        right /= np.linalg.norm(right)
        step = parts @ np.stack([ahead, right, up])
        length = float(np.linalg.norm(step))
        if length == 0:
            return self
        position = self.position + speed * seconds / length * step
        return replace(self, position=np.clip(position, -FAR, FAR))

    def with_fov(self, fov_y: float) -> Fly:
        """With this vertical field of view, from the same place."""
        return replace(self, fov_y=clamp(fov_y, *FOVS))
