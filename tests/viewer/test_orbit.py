"""What dragging and the wheel do to the camera."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from render.camera import Camera, look_at
from viewer.orbit import DISTANCES, Orbit

UPS = [(0, 0, 1), (0, 1, 0), (1, 0, 0), (0, -1, 0), (0.3, 0.5, 0.8)]
numbers = st.floats(-20, 20)


def start(up: tuple[float, ...] = (0, 0, 1)) -> Orbit:
    camera = look_at((2.0, 1.5, 1.2), (0.1, -0.1, 0.2), up, 320, 240, 0.8)
    return Orbit.starting_at(camera, up, (0, 0, 0))


def project(camera: Camera, point: np.ndarray) -> np.ndarray:
    x, y, z = camera.world_from_camera[:3, :3].T @ (point - camera.position)
    return np.array([camera.cx - camera.fl_x * x / z, camera.cy + camera.fl_y * y / z])


@pytest.mark.parametrize("up", UPS)
def test_the_first_view_is_the_given_one(up: tuple[float, ...]) -> None:
    camera = look_at((2.0, 1.5, 1.2), (0.1, -0.1, 0.2), up, 320, 240, 0.8)
    again = Orbit.starting_at(camera, up, (0, 0, 0)).camera(320, 240)
    np.testing.assert_allclose(again.world_from_camera, camera.world_from_camera, atol=1e-9)
    np.testing.assert_allclose([again.fl_x, again.fl_y], [camera.fl_x, camera.fl_y])


def test_the_target_is_the_point_of_the_axis_nearest_the_centre() -> None:
    orbit = start()
    assert np.dot(orbit.target, orbit.camera(1, 1).forward) == pytest.approx(0, abs=1e-9)


@pytest.mark.parametrize("up", UPS)
def test_a_drag_turns_about_the_up_axis(up: tuple[float, ...]) -> None:
    before = start(up)
    after = before.turned(0.3, 0)
    axis = before.axes[:, 2]
    np.testing.assert_allclose(axis, np.asarray(up) / np.linalg.norm(up))
    old, new = (orbit.camera(1, 1).position - orbit.target for orbit in (before, after))
    assert np.dot(new, axis) == pytest.approx(np.dot(old, axis))
    assert np.linalg.norm(new) == pytest.approx(np.linalg.norm(old))
    flat_old, flat_new = (v - np.dot(v, axis) * axis for v in (old, new))
    cosine = np.dot(flat_old, flat_new) / np.linalg.norm(flat_old) ** 2
    assert math.acos(cosine) == pytest.approx(0.3 * math.pi)


def test_the_scene_follows_the_pointer() -> None:
    """What lies before the target moves the way the pointer went."""
    before = start()
    near = before.target + 0.2 * (before.camera(1, 1).position - before.target)
    old = project(before.camera(320, 240), near)
    assert project(before.turned(0.05, 0).camera(320, 240), near)[0] > old[0] + 1
    assert project(before.turned(0, 0.05).camera(320, 240), near)[1] > old[1] + 1


def test_panning_keeps_the_target_under_the_pointer() -> None:
    before = start()
    camera = before.panned(30 / 240, -20 / 240).camera(320, 240)
    np.testing.assert_allclose(project(camera, before.target), [160 + 30, 120 - 20], atol=1e-6)


def test_a_drag_moves_a_picture() -> None:
    camera = look_at((0, 0, 2), (0, 0, 0), (0, 1, 0), 320, 240, 0.5)
    before = Orbit.starting_at(camera, (0, 1, 0), (0, 0, 0), flat=True)
    after = before.turned(30 / 240, -20 / 240).camera(320, 240)
    np.testing.assert_allclose(project(after, before.target), [160 + 30, 120 - 20], atol=1e-6)
    np.testing.assert_allclose(after.forward, camera.forward, atol=1e-12)


def test_zooming_in_and_out_is_undone() -> None:
    before = start()
    assert before.zoomed(3).distance < before.distance
    assert before.zoomed(3).zoomed(-3).distance == pytest.approx(before.distance)


@given(st.lists(st.tuples(st.sampled_from(["turned", "zoomed", "panned"]), numbers, numbers), max_size=8))
def test_no_sequence_breaks_the_camera(steps: list[tuple[str, float, float]]) -> None:
    orbit = start()
    for name, a, b in steps:
        orbit = orbit.zoomed(a * 10) if name == "zoomed" else getattr(orbit, name)(a, b)
    camera = orbit.camera(64, 48)
    assert np.isfinite(camera.world_from_camera).all()
    assert camera.world_from_camera[:3, 1] @ orbit.axes[:, 2] > 0, "the picture is upside down"
    assert DISTANCES[0] <= orbit.distance <= DISTANCES[1]


@pytest.mark.parametrize("centre", [(0, 0, 5), (0, 0, 0)])
def test_a_camera_that_looks_away_or_straight_down_still_starts(centre: tuple[float, ...]) -> None:
    straight_down = look_at((0, 0, 2), (0, 0, 0), (0, 1, 0), 64, 48, 0.8)
    camera = Orbit.starting_at(straight_down, (0, 0, 1), centre).camera(64, 48)
    assert np.dot(camera.forward, straight_down.forward) > 0.99
