"""Points and lines of the world in the picture."""

from __future__ import annotations

import numpy as np
import pytest

from render.camera import look_at
from viewer.marks import projected, segment

CAMERA = look_at((1.5, -1, 0.5), (0, 0, 0), (0, 0, 1), 64, 48, 0.7)


def test_points_are_projected_where_pixels_look() -> None:
    rays_o, rays_d = CAMERA.rays()
    for row, column in ((0, 0), (20, 40), (47, 63)):
        point = rays_o[row, column] + 1.7 * rays_d[row, column]
        ((x, y),) = (place for place in projected(CAMERA, point[None].astype(float)) if place is not None)
        assert (x, y) == pytest.approx((column + 0.5, row + 0.5), abs=1e-3)
    assert projected(CAMERA, (CAMERA.position - CAMERA.forward)[None]) == [None]


def test_lines_end_before_the_camera() -> None:
    """A line that runs past the camera goes on straight to the edge of the picture and beyond."""
    ahead, behind = np.array([0.1, 0.2, -0.1]), CAMERA.position - 0.5 * CAMERA.forward + (0.3, 0.2, 0.1)
    (seen,) = projected(CAMERA, [ahead])
    lines = segment(CAMERA, ahead, behind), segment(CAMERA, behind, ahead)
    assert lines[0] == lines[1] and lines[0] is not None and seen in lines[0]
    (other,) = (place for place in lines[0] if place != seen)
    assert max(map(abs, other)) > 1000
    (within,) = projected(CAMERA, [ahead + 0.3 * (behind - ahead)])
    assert within is not None and seen is not None
    directions = [np.arctan2(y - seen[1], x - seen[0]) for x, y in (other, within)]
    assert directions[0] == pytest.approx(directions[1], abs=1e-6)
    assert segment(CAMERA, behind, behind - CAMERA.forward) is None
