from __future__ import annotations

import math
import time
from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest

from render.camera import look_at
from render.errors import InshaderError
from scenes.dataset import Views
from scenes.hull import bounds_from_views, visual_hull

Maker = Callable[..., Views]
BOX = np.array([[-1.0, -1, -1], [1, 1, 1]])
CENTRE, RADIUS = np.array([0.3, -0.1, 0.2]), 0.4


def cells(resolution: int) -> np.ndarray:
    """Centres (r, r, r, 3) of the cells of BOX, x first."""
    line = -1 + 2 * (np.arange(resolution) + 0.5) / resolution
    return np.stack(np.meshgrid(line, line, line, indexing="ij"), -1)


@pytest.mark.parametrize("resolution", [20, 32, 64])
def test_conservative_and_tight(sphere_views: Maker, resolution: int) -> None:
    hull = visual_hull(sphere_views(CENTRE, RADIUS), BOX, resolution)
    distance = np.linalg.norm(cells(resolution) - CENTRE, axis=-1) - RADIUS
    half_diagonal = math.sqrt(3) / resolution
    assert hull.shape == (resolution,) * 3
    assert hull[distance < half_diagonal].all(), "a cell that holds a part of the ball was carved"
    assert not hull[distance > 3 * half_diagonal + 0.12].any(), "far too much is left"


def test_thin_things_survive() -> None:
    """A single covered pixel keeps every cell on its ray."""
    camera = look_at((0, -3, 0), (0, 0, 0), (0, 0, 1), 64, 64, 0.8)
    image = np.zeros((1, 64, 64, 4), np.uint8)
    image[0, 20, 40] = 255
    hull = visual_hull(Views(image, (camera,), ("a",)), BOX, 32)
    rays_o, rays_d = camera.rays()
    points = rays_o[20, 40] + np.linspace(2.05, 3.9, 200)[:, None] * rays_d[20, 40]
    index = np.floor((points + 1) / 2 * 32).astype(int)
    index = index[((index >= 0) & (index < 32)).all(1)]
    assert len(index) > 50
    assert hull[tuple(index.T)].all()


def test_outside_the_picture_and_behind_is_not_carved() -> None:
    nothing = np.zeros((1, 16, 16, 4), np.uint8)
    narrow = look_at((0, -3, 0), (0, 0, 0), (0, 0, 1), 16, 16, 0.3)
    hull = visual_hull(Views(nothing, (narrow,), ("a",)), BOX, 32)
    assert not hull[16, 16, 16]
    assert hull[0, :, :].all() and hull[:, :, -1].all()
    inside = look_at((0, 0, 0), (0, 1, 0), (0, 0, 1), 16, 16, 1.0)
    hull = visual_hull(Views(nothing, (inside,), ("a",)), BOX, 32)
    assert hull[:, :16].all()
    assert not hull[16, 28, 16]


def test_bounds_are_tight_and_hold_the_ball(sphere_views: Maker) -> None:
    low, high = bounds_from_views(sphere_views(CENTRE, RADIUS, size=200))
    assert (low <= CENTRE - RADIUS).all() and (high >= CENTRE + RADIUS).all()
    assert (high - low < 2 * RADIUS * 1.25).all()


def test_bounds_without_alpha_or_sense(sphere_views: Maker) -> None:
    views = sphere_views(CENTRE, RADIUS)
    box = bounds_from_views(replace(views, images=views.images[..., :3]))
    assert (box[0] < -1).all() and (box[1] > 1).all()
    with pytest.raises(InshaderError, match="no alpha"):
        visual_hull(replace(views, images=views.images[..., :3]), BOX, 16)
    with pytest.raises(InshaderError, match="inside all silhouettes"):
        bounds_from_views(replace(views, images=np.zeros_like(views.images)))
    parallel = tuple(look_at((x, -3, 0), (x, 0, 0), (0, 0, 1), 96, 96, 0.8) for x in (-1, 0, 1))
    with pytest.raises(InshaderError, match=r"all look one way.*data\.bounds"):
        bounds_from_views(Views(views.images[:3], parallel, ("a", "b", "c")))


def test_speed(sphere_views: Maker) -> None:
    views = sphere_views(CENTRE, RADIUS, count=100, size=200)
    start = time.perf_counter()
    visual_hull(views, BOX, 64)
    assert time.perf_counter() - start < 3  # 0.2 s on a free core
