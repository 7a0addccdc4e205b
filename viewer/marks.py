"""Points and lines of the world, drawn over the picture where they are seen in it."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from render.camera import Camera
from viewer.session import Session

NEAREST = 1e-3  # of the depth of a point that is drawn
Place = tuple[float, float]


def window_camera(imgui: Any, session: Session) -> Camera:
    """What is looked through, in units of the desktop as Dear ImGui counts."""
    w, h = imgui.get_io().display_size
    return session.viewpoint.camera((max(round(w), 1), max(round(h), 1)))


def projected(camera: Camera, points: ArrayLike) -> list[Place | None]:
    """Where points (n, 3) of the world lie in a picture, in its pixels; None behind the camera."""
    return [_place(camera, point) for point in _seen(camera, points)]


def segment(camera: Camera, start: ArrayLike, end: ArrayLike) -> tuple[Place, Place] | None:
    """The ends of what is before the camera of a straight line between two points (3,) of the world."""
    a, b = _seen(camera, np.stack([start, end]))
    if a[2] < b[2]:
        a, b = b, a  # b is the deeper one: depths are along -z
    if -b[2] < NEAREST:
        return None
    if -a[2] < NEAREST:
        a = b + (a - b) * (b[2] + NEAREST) / (b[2] - a[2])
        a[2] = -NEAREST
    first, second = _place(camera, a), _place(camera, b)
    return None if first is None or second is None else (first, second)


def add_lines(
    canvas: Any, camera: Camera, lines: Iterable[tuple[ArrayLike, ArrayLike]], colour: int, width: float
) -> None:
    """Draw straight lines between points of the world into one of Dear ImGui's lists."""
    for start, end in lines:
        places = segment(camera, start, end)
        if places is not None:
            canvas.add_line(*places, colour, width)


def _seen(camera: Camera, points: ArrayLike) -> NDArray[np.float64]:
    """Points in the camera's frame: right, up, back."""
    return (np.asarray(points, np.float64) - camera.position) @ camera.world_from_camera[:3, :3]


def _place(camera: Camera, seen: NDArray[np.float64]) -> Place | None:
    right, up, ahead = float(seen[0]), float(seen[1]), -float(seen[2])
    if ahead < NEAREST:
        return None
    return camera.cx + camera.fl_x * right / ahead, camera.cy - camera.fl_y * up / ahead
