"""Ways to move the vertices of a cage: twist, bend and rigid motion, each a function of points.

Source: Barr, "Global and Local Deformations of Solid Primitives", SIGGRAPH 1984, sections 3.3 and 3.4; there
along fixed axes, here along any.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray

from render.errors import InshaderError

Points = NDArray[np.float64]


def twist(x: Points, rate: float, axis: ArrayLike, centre: ArrayLike) -> Points:
    """Points (n, 3) turned about the line through ``centre``, the more the further along it.

    Args:
        rate: radians per unit of length, anticlockwise seen from where ``axis`` points to.

    Raises:
        InshaderError: ``axis`` is too short to be one.
    """
    return _turned(x, 0.0, rate, axis, centre)


def bend(
    x: Points,
    rate: float,
    axis: ArrayLike,
    towards: ArrayLike,
    centre: ArrayLike,
    reach: tuple[float, float] = (-np.inf, np.inf),
) -> Points:
    """Points (n, 3) with the line through ``centre`` along ``axis`` bent into an arc that turns ``towards``.

    Args:
        rate: curvature, radians per unit of length along the line; what lies at 1 / rate from the line, on
            the side it turns to, is the centre of the arc, and beyond it things are inside out.
        towards: need not be at right angles to ``axis``, only not parallel to it.
        reach: from where to where along the line, measured from ``centre``, it is bent; before and after it
            goes on straight.

    Raises:
        InshaderError: ``axis`` is too short to be one, or ``towards`` is parallel to it.
    """
    along, side, third = _frame(axis, towards)
    height, u, v = _coordinates(x, centre, (along, side, third))
    bent = np.clip(height, *reach)
    angle, straight = rate * bent, height - bent
    cosine, sine = np.cos(angle), np.sin(angle)
    # The line itself runs along (sin a, 1 - cos a) / rate; sinc holds the limits for rate = 0.
    ahead = bent * np.sinc(angle / np.pi) + straight * cosine - u * sine
    aside = bent * np.sin(angle / 2) * np.sinc(angle / (2 * np.pi)) + straight * sine + u * cosine
    return _from_frame(centre, (ahead, along), (aside, side), (v, third))


def turn(x: Points, angle: float, axis: ArrayLike, centre: ArrayLike) -> Points:
    """Points (n, 3) turned about the line through ``centre`` by ``angle`` radians, as one body.

    Raises:
        InshaderError: ``axis`` is too short to be one.
    """
    return _turned(x, angle, 0.0, axis, centre)


def _turned(x: Points, angle: float, rate: float, axis: ArrayLike, centre: ArrayLike) -> Points:
    along, side, third = _frame(axis)
    height, u, v = _coordinates(x, centre, (along, side, third))
    turns = angle + rate * height
    cosine, sine = np.cos(turns), np.sin(turns)
    return _from_frame(centre, (height, along), (cosine * u - sine * v, side), (sine * u + cosine * v, third))


def _frame(axis: ArrayLike, towards: ArrayLike | None = None) -> tuple[Points, Points, Points]:
    """Three unit vectors, right-handed: ``axis``, the part of ``towards`` at right angles, and the third."""
    along = np.asarray(axis, np.float64)
    length = float(np.linalg.norm(along))
    if not length > 1e-6:
        raise InshaderError(f"a deformation's axis is {along.tolist()}: it must have a length")
    along = along / length
    wanted = np.eye(3)[np.abs(along).argmin()] if towards is None else np.asarray(towards, np.float64)
    side = wanted - (wanted @ along) * along
    breadth = float(np.linalg.norm(side))
    if not breadth > 1e-6 * float(np.linalg.norm(wanted)):
        raise InshaderError(f"a bend towards {wanted.tolist()} is along its axis: it must lead away from it")
    side = side / breadth
    return along, side, np.cross(along, side)


def _coordinates(x: Points, centre: ArrayLike, frame: tuple[Points, ...]) -> tuple[Points, ...]:
    relative = np.asarray(x, np.float64) - np.asarray(centre, np.float64)
    return tuple(relative @ unit for unit in frame)


def _from_frame(centre: ArrayLike, *parts: tuple[Points, Points]) -> Points:
    moved = np.asarray(centre, np.float64)
    for amount, unit in parts:
        moved = moved + amount[:, None] * unit
    return moved
