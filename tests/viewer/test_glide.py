"""Inertia is that of the drag, fades, and does not depend on the frame rate."""

from __future__ import annotations

import pytest

from viewer.glide import FADE, Glide


def thrown(speed: float = 2.0) -> Glide:
    """Let go of after a drag to the right at so many heights a second."""
    glide = Glide()
    for k in range(41):
        glide.dragged(speed * 0.005, 0.0, False, 0.005 * k)
    glide.let_go(0.2)
    return glide


def test_it_goes_on_as_fast_as_the_drag() -> None:
    assert thrown().speed == pytest.approx((2.0, 0.0), rel=0.1)
    assert thrown().step(1e-3)[0] == pytest.approx(2e-3, rel=0.1)


@pytest.mark.parametrize("rate", [7, 30, 144])
def test_it_ends_at_the_same_place_at_any_rate(rate: int) -> None:
    glide, way = thrown(), 0.0
    while glide:
        way += glide.step(1 / rate)[0]
    assert way == pytest.approx(thrown().speed[0] * FADE, rel=0.01)


@pytest.mark.parametrize("rate", [60, 10, 2])
def test_it_is_as_fast_at_any_rate_of_polls(rate: int) -> None:
    """A mouse tells 250 times a second of a drag of one second; a frame takes in all that has come."""
    glide = Glide()
    for poll in range(1, rate + 1):
        for event in range(250):
            if poll - 1 < event * rate / 250 + 1e-9 <= poll:
                glide.dragged(2.0 / 250, 0.0, False, poll / rate, 1 / rate)
    glide.let_go(1.0)
    assert glide.speed[0] == pytest.approx(2.0, rel=0.1)


def test_a_pointer_that_has_stopped_leaves_nothing_behind() -> None:
    glide = Glide()
    glide.dragged(0.3, 0.1, False, 0.0)
    glide.let_go(0.5)
    assert not glide
    glide = thrown()
    glide.halt()
    assert not glide and glide.step(0.1) == (0.0, 0.0)
