"""What of unbounded space the pictures show, against one cell and one camera after the other."""

from __future__ import annotations

import math

import numpy as np
import pytest

from render.camera import Camera, look_at
from render.occupancy import dilate
from scenes import Views
from training import space

R, NEAR = 8, 0.4


def ring(count: int) -> Views:
    """Cameras around and askew, of no common lens; every fifth looks outwards."""
    rng = np.random.default_rng(count)
    cameras = []
    for i in range(count):
        turn = 2 * math.pi * i / count
        place = 2 * np.array([math.cos(turn), math.sin(turn), rng.uniform(-0.5, 0.5)])
        aim = 2 * place if i % 5 == 4 else rng.normal(0, 0.3, 3)
        found = look_at(place, aim, (0, 0, 1), 48, 27, rng.uniform(0.5, 1))
        cameras.append(Camera(found.world_from_camera, found.fl_x, 1.3 * found.fl_y, 20, 15, 48, 27))
    return Views(np.zeros((count, 1, 1, 3), np.uint8), tuple(cameras), tuple(map(str, range(count))))


def cells_of(views: Views) -> np.ndarray:
    """Middles (r^3, 3) of cells, some of them nowhere."""
    rng = np.random.default_rng(1)
    x = 8 * (np.stack(np.meshgrid(*[np.arange(R)] * 3, indexing="ij"), -1).reshape(-1, 3) + 0.5) / R - 4
    x[rng.random(len(x)) < 0.1] = np.inf
    return x


def seen_slowly(camera: Camera, x: np.ndarray) -> bool:
    if not np.isfinite(x).all() or np.linalg.norm(x - camera.position) <= NEAR:
        return False
    u, v, w = (np.linalg.inv(camera.world_from_camera) @ [*x, 1])[:3]
    if w >= 0:
        return False
    i, j = camera.cx - camera.fl_x * u / w, camera.cy + camera.fl_y * v / w
    return bool(0 <= i <= camera.w and 0 <= j <= camera.h)


@pytest.mark.parametrize(("count", "enough"), [(1, 1), (2, 2), (30, 2), (70, 4)])
def test_enough_pictures_show_a_cell(count: int, enough: int) -> None:
    views = ring(count)
    x = cells_of(views)
    counts = np.array([sum(seen_slowly(camera, middle) for camera in views.cameras) for middle in x])
    wanted = dilate((counts >= enough).reshape((R,) * 3))
    assert 0.01 < wanted.mean() < 0.99
    np.testing.assert_array_equal(space._in_view(views, x, NEAR, R), wanted)


def test_a_hundred_speak_for_all(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of 400 pictures 100, the first and the last among them, of which 5 must show a cell."""
    views = ring(400)
    asked: list[Camera] = []
    edges = space._edges
    monkeypatch.setattr(space, "_edges", lambda camera: asked.append(camera) or edges(camera))
    x = cells_of(views)
    found = space._in_view(views, x, NEAR, R)
    assert len(asked) == 100 and asked[0] is views.cameras[0] and asked[-1] is views.cameras[-1]
    places = [views.cameras.index(camera) for camera in asked]
    assert set(np.diff(places)) == {4, 5}
    counts = np.array([sum(seen_slowly(camera, middle) for camera in asked) for middle in x])
    np.testing.assert_array_equal(found, dilate((counts >= 5).reshape((R,) * 3)))
