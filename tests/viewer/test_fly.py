"""What the movement keys and looking around do to the camera."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from render.camera import look_at
from viewer.fly import FAR, LOOK, Fly
from viewer.orbit import FOVS, Orbit

UPS = [(0, 0, 1), (0, 1, 0), (1, 0, 0), (0, -1, 0), (0.3, 0.5, 0.8)]
numbers = st.floats(-20, 20)


def start(up: tuple[float, ...] = (0, 0, 1)) -> Fly:
    return Fly.starting_at(look_at((2.0, 1.5, 1.2), (0.1, -0.1, 0.2), up, 320, 240, 0.8), up)


@pytest.mark.parametrize("up", UPS)
def test_the_first_view_is_the_given_one(up: tuple[float, ...]) -> None:
    camera = look_at((2.0, 1.5, 1.2), (0.1, -0.1, 0.2), up, 320, 240, 0.8)
    again = start(up).camera(320, 240)
    np.testing.assert_allclose(again.world_from_camera, camera.world_from_camera, atol=1e-9)
    np.testing.assert_allclose([again.fl_x, again.fl_y], [camera.fl_x, camera.fl_y])


@given(
    st.tuples(*[st.integers(-1, 1)] * 3),
    st.lists(st.floats(1e-4, 0.5), min_size=1, max_size=12),
)
def test_the_way_does_not_depend_on_the_frame_rate(direction: tuple[int, ...], times: list[float]) -> None:
    whole = start().moved(direction, 0.8, sum(times))
    cut = start()
    for seconds in times:
        cut = cut.moved(direction, 0.8, seconds)
    np.testing.assert_allclose(cut.position, whole.position, atol=1e-12)


@pytest.mark.parametrize(
    ("direction", "axis"), [((1, 0, 0), (0, 0, -1)), ((0, 1, 0), (1, 0, 0)), ((-1, 0, 0), (0, 0, 1))]
)
def test_directions_are_those_of_the_picture(direction: tuple[int, ...], axis: tuple[int, ...]) -> None:
    """Ahead is along the camera's -z, to the right along its x."""
    fly = start()
    way = fly.moved(direction, 2.0, 0.25).position - fly.position
    expected = fly.camera(1, 1).world_from_camera[:3, :3] @ axis
    np.testing.assert_allclose(way, 0.5 * expected, atol=1e-9)


@pytest.mark.parametrize("up", UPS)
def test_up_is_along_the_up_axis(up: tuple[float, ...]) -> None:
    fly = start(up)
    way = fly.moved((0, 0, 1), 1.0, 1.0).position - fly.position
    np.testing.assert_allclose(way, np.asarray(up) / np.linalg.norm(up), atol=1e-9)


def test_two_directions_at_once_are_no_faster() -> None:
    fly = start()
    way = fly.moved((1, 1, 0), 0.7, 1.0).position - fly.position
    assert np.linalg.norm(way) == pytest.approx(0.7)


def test_opposite_keys_cancel() -> None:
    fly = start()
    assert fly.moved((0, 0, 0), 1.0, 1.0) is fly


def test_the_view_goes_with_the_pointer() -> None:
    before = start()
    after = before.looked(0.1, 0)
    right = before.camera(1, 1).world_from_camera[:3, 0]
    assert np.dot(after.forward, right) > 0.1
    assert before.looked(0, 0.1).forward @ before.axes[:, 2] < before.forward @ before.axes[:, 2]
    assert before.heading - after.heading == pytest.approx(0.1 * LOOK)


def test_the_field_of_view_keeps_to_its_range() -> None:
    orbit = Orbit.starting_at(start().camera(64, 48), (0, 0, 1), (0, 0, 0))
    for view in (start(), orbit):
        assert view.with_fov(1.0).camera(100, 100).fl_y == pytest.approx(50 / math.tan(0.5))
        assert view.with_fov(9.0).fov_y == FOVS[1]
        assert view.with_fov(0.0).fov_y == FOVS[0]
        np.testing.assert_array_equal(
            view.with_fov(1.0).camera(9, 9).world_from_camera, view.camera(9, 9).world_from_camera
        )


def test_flight_and_orbit_show_the_same() -> None:
    fly = start((0, 1, 0)).looked(0.2, 0.1)
    orbit = Orbit.starting_at(fly.camera(64, 64), (0, 1, 0), (0, 0, 0))
    back = Fly.starting_at(orbit.camera(64, 64), (0, 1, 0))
    for view in (orbit, back):
        np.testing.assert_allclose(
            view.camera(64, 64).world_from_camera, fly.camera(64, 64).world_from_camera, atol=1e-9
        )


@given(st.lists(st.tuples(st.booleans(), numbers, numbers, st.floats(0, 1e4)), max_size=8))
def test_no_sequence_breaks_the_camera(steps: list[tuple[bool, float, float, float]]) -> None:
    fly = start()
    for looks, a, b, seconds in steps:
        fly = fly.looked(a, b) if looks else fly.moved((a, b, 1), 10.0, seconds)
    camera = fly.camera(64, 48)
    assert np.isfinite(camera.world_from_camera).all()
    assert np.abs(camera.position).max() <= FAR
    assert camera.world_from_camera[:3, 1] @ fly.axes[:, 2] > 0, "the picture is upside down"
