"""Cameras drawn from a manifold belong to it; others are told what is unusual about them."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest

from render.camera import Camera, look_at
from render.manifold import Frontal, Orbit, frontal_of, nearest_to_axes, orbit_around

UP = np.array([0.0, 0.2, 1.0]) / math.hypot(0.2, 1)
TARGET = np.array([0.1, -0.2, 0.3])


def around(azimuths: np.ndarray, elevation: float = 0.6, distance: float = 2.5) -> tuple[Camera, ...]:
    east = np.cross(UP, [1, 0, 0]) / np.linalg.norm(np.cross(UP, [1, 0, 0]))
    north = np.cross(UP, east)
    cameras = []
    for k, azimuth in enumerate(azimuths):
        lift = elevation * (0.5 + 0.5 * (k % 3))
        direction = math.cos(lift) * (math.cos(azimuth) * east + math.sin(azimuth) * north)
        place = TARGET + distance * (direction + math.sin(lift) * UP)
        cameras.append(look_at(place, TARGET, UP, 40, 30, 0.7))
    return tuple(cameras)


@pytest.fixture
def orbit() -> Orbit:
    return orbit_around(around(np.linspace(0, 2 * np.pi, 24, endpoint=False)), UP, 0.2, 0.05)


@pytest.fixture
def frontal() -> Frontal:
    rng = np.random.default_rng(0)
    cameras = []
    for _ in range(20):
        place = np.array([*rng.uniform(-0.3, 0.3, 2), 2.0])
        cameras.append(
            look_at(place, place + np.array([*rng.uniform(-0.1, 0.1, 2), -1]), [0, 1, 0], 40, 30, 0.7)
        )
    return frontal_of(tuple(cameras), 0.1)


def test_an_orbit_is_that_of_its_cameras(orbit: Orbit) -> None:
    cameras = around(np.linspace(0, 2 * np.pi, 24, endpoint=False))
    assert np.allclose(nearest_to_axes(cameras), TARGET)
    assert np.allclose(orbit.target, TARGET) and np.allclose(orbit.distances, [2.0, 3.0])
    assert np.allclose(orbit.elevations, [0.3, 0.9]) and orbit.azimuths[1] == math.pi
    assert not any(orbit.warning(camera) for camera in cameras)


def test_a_side_that_nothing_shows(orbit: Orbit) -> None:
    half = orbit_around(around(np.linspace(0, np.pi, 12)), UP, 0.1, 0.05)
    assert half.azimuths[1] == pytest.approx(math.pi / 2, abs=1e-6)
    inside, outside = around(np.array([0.5 * np.pi, 1.5 * np.pi]))
    assert half.warning(inside) is None and orbit.warning(outside) is None
    assert half.warning(outside) == "the camera is on a side that no picture shows"


def test_drawn_cameras_belong(orbit: Orbit, frontal: Frontal) -> None:
    rng = np.random.default_rng(1)
    like = look_at([0, 0, 3], [0, 0, 0], [0, 1, 0], 64, 48, 0.5)
    for manifold in (orbit, frontal):
        cameras = [manifold.draw(rng, like) for _ in range(300)]
        assert not any(manifold.warning(camera) for camera in cameras)
        assert all((camera.w, camera.h, camera.fl_x) == (64, 48, like.fl_x) for camera in cameras)
        places = np.stack([camera.position for camera in cameras])
        assert places.std(0).max() > 0.15, "they fill it"
    distances = np.linalg.norm(
        np.stack([orbit.draw(rng, like).position for _ in range(300)]) - TARGET, axis=1
    )
    assert distances.min() < 2.1 and distances.max() > 2.9


def test_what_is_told_of_an_orbit(orbit: Orbit) -> None:
    (camera,) = around(np.array([1.0]))

    def moved(target: np.ndarray, times: float = 1.0, lift: float = 0.0) -> Camera:
        place = TARGET + times * (camera.position - TARGET) + lift * UP
        return look_at(place, target, UP, 40, 30, 0.7)

    assert orbit.warning(moved(TARGET)) is None
    assert "nearer" in str(orbit.warning(moved(TARGET, 0.5)))
    assert "farther" in str(orbit.warning(moved(TARGET, 2)))
    assert "higher" in str(orbit.warning(moved(TARGET, 0.6, 1.7)))
    assert "lower" in str(orbit.warning(moved(TARGET, 0.9, -1.5)))
    assert "past the scene" in str(orbit.warning(moved(TARGET + np.array([0, 0, 1.0]))))
    away = look_at(camera.position, 2 * camera.position - TARGET, UP, 40, 30, 0.7)
    assert "past the scene" in str(orbit.warning(away))
    roll = np.eye(4)
    roll[:2, :2] = [[math.cos(0.4), -math.sin(0.4)], [math.sin(0.4), math.cos(0.4)]]
    rolled = replace(camera, world_from_camera=camera.world_from_camera @ roll)
    assert "rolled" in str(orbit.warning(rolled))


def test_what_is_told_of_a_frontal_one(frontal: Frontal) -> None:
    ahead = look_at([0, 0, 2], [0, 0, 0], [0, 1, 0], 40, 30, 0.7)
    assert frontal.warning(ahead) is None
    aside = look_at([1, 0, 2], [1, 0, 0], [0, 1, 0], 40, 30, 0.7)
    assert "away from" in str(frontal.warning(aside))
    turned = look_at([0, 0, 2], [1.5, 0, 0], [0, 1, 0], 40, 30, 0.7)
    assert "another way" in str(frontal.warning(turned))
