"""Which cameras a light field was trained for: outside of them its pictures are guesses.

``Orbit`` is all around a scene that stands in a box, ``Frontal`` in front of one. Pseudo views are drawn from
it when a light field is trained, and the driver asks it of every view. In an asset it is the constant
``manifold``, a list of numbers: 0 or 1, and the fields in their order.

After the released code of MobileR2L (Cao et al. 2023), but wider, so that a viewer that is steered by hand
stays inside: it has one distance, one target and the upper half only.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, fields
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from render.asset import BakedAsset
from render.camera import Camera, look_at
from render.errors import InshaderError

Vector = NDArray[np.float64]
GAP = math.radians(60)  # a larger gap between neighbouring cameras' azimuths is a side that nothing has seen
TOLERANCE = 0.02  # relative, or radians: what a view may exceed before anything is said
MAX_ROLL = math.sin(math.radians(10))


@dataclass(frozen=True, eq=False)
class Orbit:
    """Cameras that look at about one place, from a range of directions and distances, upright.

    Attributes:
        target: (3,) the place, in the world.
        up: (3,) unit vector.
        distances: (2,) nearest and farthest from the place.
        elevations: (2,) lowest and highest, in radians.
        azimuths: (2,) middle and half of their range, in radians; a half of pi is all around.
        offset: (1,) how far from the place the camera's axis may pass.
    """

    target: Vector
    up: Vector
    distances: Vector
    elevations: Vector
    azimuths: Vector
    offset: Vector

    SIZES: ClassVar[tuple[int, ...]] = (3, 3, 2, 2, 2, 1)

    def draw(self, rng: np.random.Generator, like: Camera) -> Camera:
        """A random camera, evenly spread by area and distance, with the lens of another one."""
        height = rng.uniform(*np.sin(self.elevations))
        azimuth = self.azimuths[0] + rng.uniform(-1, 1) * self.azimuths[1]
        side = math.sqrt(1 - height**2)
        direction = np.stack(basis(self.up)).T @ [side * math.cos(azimuth), side * math.sin(azimuth), height]
        position = self.target + rng.uniform(*self.distances) * direction
        aside = rng.normal(size=3)
        aside *= self.offset[0] * rng.uniform() ** (1 / 3) / np.linalg.norm(aside)
        return posed(like, look_at(position, self.target + aside, self.up, like.w, like.h, 1.0))

    def warning(self, camera: Camera) -> str | None:
        """What is unusual about a camera, or None."""
        away = camera.position - self.target
        distance = max(float(np.linalg.norm(away)), 1e-9)
        nearest, farthest = self.distances
        if not nearest * (1 - TOLERANCE) <= distance <= farthest * (1 + TOLERANCE):
            return f"the camera is {'nearer' if distance < nearest else 'farther'} than any that was trained"
        east, north, up = (float(axis @ away) / distance for axis in basis(self.up))
        elevation, (lowest, highest) = math.asin(min(max(up, -1), 1)), self.elevations
        if not lowest - TOLERANCE <= elevation <= highest + TOLERANCE:
            return f"the camera is {'lower' if elevation < lowest else 'higher'} than any that was trained"
        turn = math.remainder(math.atan2(north, east) - self.azimuths[0], 2 * math.pi)
        if abs(turn) > self.azimuths[1] + TOLERANCE and math.hypot(east, north) > 1e-3:
            return "the camera is on a side that no picture shows"
        passes = float(np.linalg.norm(np.cross(away, camera.forward)))
        if float(camera.forward @ away) > 0 or passes > self.offset[0] + TOLERANCE * distance:
            return "the camera looks past the scene"
        return _rolled(camera, self.up)


@dataclass(frozen=True, eq=False)
class Frontal:
    """Cameras that stand in a box and look about one way, upright.

    Attributes:
        low, high: (3,) corners of the box, in the world.
        forward: (3,) the way, a unit vector.
        up: (3,) unit vector.
        angle: (1,) how far from the way a camera may look, in radians.
    """

    low: Vector
    high: Vector
    forward: Vector
    up: Vector
    angle: Vector

    SIZES: ClassVar[tuple[int, ...]] = (3, 3, 3, 3, 1)

    def draw(self, rng: np.random.Generator, like: Camera) -> Camera:
        """A random camera of the box, with the lens of another one."""
        position = rng.uniform(self.low, self.high)
        forward = self.forward + math.tan(self.angle[0]) * math.sqrt(rng.uniform()) * _around(
            rng, self.forward
        )
        return posed(like, look_at(position, position + forward, self.up, like.w, like.h, 1.0))

    def warning(self, camera: Camera) -> str | None:
        """What is unusual about a camera, or None."""
        margin = TOLERANCE * (self.high - self.low).max() + 1e-9
        if not ((self.low - margin <= camera.position) & (camera.position <= self.high + margin)).all():
            return "the camera is away from where pictures were taken"
        if float(camera.forward @ self.forward) < math.cos(self.angle[0] + TOLERANCE):
            return "the camera looks another way than any that was trained"
        return _rolled(camera, self.up)


def manifold_of(asset: BakedAsset) -> Orbit | Frontal:
    """Inverse of ``manifold_constant``.

    Raises:
        InshaderError: the constant is missing or malformed.
    """
    value = asset.constants.get("manifold")
    if isinstance(value, tuple) and value:
        kind: type[Orbit] | type[Frontal] = Frontal if value[0] else Orbit
        if len(value) == 1 + sum(kind.SIZES):
            found = kind(*np.split(np.array(value[1:]), np.cumsum(kind.SIZES)[:-1]))
            upright = abs(float(np.linalg.norm(found.up)) - 1) < 1e-3
            if upright and (isinstance(found, Frontal) or 0 < found.distances[0] <= found.distances[1]):
                return found
    raise InshaderError(f"the constant manifold is {value!r:.60}, expected an orbit or a frontal one")


def manifold_constant(manifold: Orbit | Frontal) -> tuple[float, ...]:
    """As an asset stores it."""
    numbers = np.concatenate([getattr(manifold, field.name) for field in fields(manifold)])
    return (float(isinstance(manifold, Frontal)), *map(float, numbers))


def posed(like: Camera, pose: Camera) -> Camera:
    """The lens of one camera in the place of another."""
    return Camera(pose.world_from_camera, like.fl_x, like.fl_y, like.cx, like.cy, like.w, like.h)


def basis(up: Vector) -> tuple[Vector, Vector, Vector]:
    """Two horizontal axes and ``up``: azimuths count from the first to the second."""
    up = up / np.linalg.norm(up)
    east = np.cross(np.eye(3)[np.argmin(np.abs(up))], up)
    east /= np.linalg.norm(east)
    return east, np.cross(up, east), up


def orbit_around(cameras: tuple[Camera, ...], up: Vector, distance: float, offset: float) -> Orbit:
    """The orbit of cameras, its distances widened by the part ``distance``, its targets by ``offset``."""
    target = nearest_to_axes(cameras)
    away = np.stack([camera.position for camera in cameras]) - target
    lengths = np.linalg.norm(away, axis=1)
    east, north, height = (away @ np.stack(basis(up)).T / lengths[:, None]).T
    elevations = np.arcsin(np.clip(height, -1, 1))
    azimuths = np.sort(np.arctan2(north, east))
    gaps = np.diff(azimuths, append=azimuths[0] + 2 * math.pi)
    widest = int(np.argmax(gaps))
    spread = math.pi if gaps[widest] < GAP else math.pi - 0.5 * float(gaps[widest])
    middle = float(azimuths[widest] + 0.5 * gaps[widest]) + math.pi
    passes = max(
        float(np.linalg.norm(np.cross(camera.position - target, camera.forward))) for camera in cameras
    )
    limit = math.radians(88)  # straight above, up tells nothing of how the camera is turned
    return Orbit(
        target=target,
        up=up / np.linalg.norm(up),
        distances=np.array([lengths.min() * (1 - distance), lengths.max() * (1 + distance)]),
        elevations=np.clip([elevations.min(), elevations.max()], -limit, limit),
        azimuths=np.array([math.remainder(middle, 2 * math.pi), spread]),
        offset=np.array([passes + offset]),
    )


def frontal_of(cameras: tuple[Camera, ...], wider: float) -> Frontal:
    """The box and the ways of cameras, wider by a part."""
    places = np.stack([camera.position for camera in cameras])
    low, high = places.min(0), places.max(0)
    middle, half = 0.5 * (low + high), 0.5 * (high - low) * (1 + wider)
    forwards = np.stack([camera.forward for camera in cameras])
    forward = forwards.mean(0) / np.linalg.norm(forwards.mean(0))
    up: Vector = np.mean([camera.world_from_camera[:3, 1] for camera in cameras], 0)
    angle = float(np.arccos(np.clip(forwards @ forward, -1, 1)).max()) * (1 + wider)
    return Frontal(middle - half, middle + half, forward, up / np.linalg.norm(up), np.array([angle]))


def nearest_to_axes(cameras: tuple[Camera, ...]) -> Vector:
    """The place that the cameras' axes pass nearest to, by least squares; (3,)."""
    forwards = np.stack([camera.forward for camera in cameras])
    across = np.eye(3) - forwards[:, :, None] * forwards[:, None]  # (n, 3, 3)
    places = np.stack([camera.position for camera in cameras])
    found: Vector = np.linalg.lstsq(across.sum(0), (across @ places[..., None]).sum(0)[:, 0], rcond=None)[0]
    return found


def _around(rng: np.random.Generator, axis: Vector) -> Vector:
    """A random unit vector across an axis."""
    angle = rng.uniform(0, 2 * math.pi)
    first, second, _ = basis(axis)
    across: Vector = math.cos(angle) * first + math.sin(angle) * second
    return across


def _rolled(camera: Camera, up: Vector) -> str | None:
    right = camera.world_from_camera[:3, 0]
    if abs(float(right @ up)) > MAX_ROLL * np.linalg.norm(right) and abs(float(camera.forward @ up)) < 0.999:
        return "the camera is rolled to a side"
    return None
