"""Turns of the loop: what comes before what, which time counts, and a window that is minimised."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from viewer import panel, window
from viewer.take import Take

if TYPE_CHECKING:
    from tests.viewer.conftest import Driven


@pytest.fixture
def now(driven: Driven, monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """The clock, which only tests move; at rest, and long after the last event."""
    driven.frames()
    clock = [0.0]
    monkeypatch.setattr("viewer.window.time.perf_counter", lambda: clock[0])
    driven.viewer.before, driven.viewer.lively = 0.0, 0
    assert not driven.viewer.busy
    return clock


@pytest.mark.parametrize("busy", [True, False])
def test_a_line_is_seen_before_the_work_that_it_tells_of(
    driven: Driven, monkeypatch: pytest.MonkeyPatch, busy: bool
) -> None:
    viewer, session = driven.viewer, driven.session
    driven.frames()
    found: list[str] = []
    events = [lambda: session.later("something slow ...", lambda: found.append("done"))]

    def send(*arguments: Any) -> None:
        if events:
            events.pop()()

    real = panel.show

    def show(overlay: Any, session: Any, size: Any) -> None:
        found.extend(session.notices)
        real(overlay, session, size)

    monkeypatch.setattr(panel, "show", show)
    driven.glfw.poll_events = driven.glfw.wait_events_timeout = send  # type: ignore[attr-defined]
    viewer.lively = window.LIVELY if busy else 0
    for _ in range(3):
        viewer.turn()
    assert found == ["something slow ...", "done"]
    replaced = [["ball"], []]
    monkeypatch.setattr(session.library, "replaced", lambda shown: replaced.pop(0) if replaced else [])
    for _ in range(3):
        viewer.turn()
    assert found[2] == "opening ball ..." and "opening ball ..." not in found[3:], (
        "also what nobody asked for"
    )


def test_the_time_before_a_key_does_not_count(driven: Driven, now: list[float]) -> None:
    viewer, session, glfw = driven.viewer, driven.session, driven.glfw
    frame = [0.0]

    def press(seconds: float) -> None:
        now[0] += 0.09
        viewer.on_key(None, glfw.KEY_W, 0, glfw.PRESS, 0)

    def poll() -> None:
        now[0] += frame[0]

    glfw.wait_events_timeout, glfw.poll_events = press, poll  # type: ignore[attr-defined]

    def way(seconds: float) -> float:
        frame[0] = seconds
        before = session.viewpoint.view.camera(1, 1).position
        viewer.turn()
        return float(np.linalg.norm(session.viewpoint.view.camera(1, 1).position - before))

    assert way(0.0) == 0.0 and session.viewpoint.flying
    assert way(0.1) == pytest.approx(0.1 * session.settings.speed)
    assert way(30.0) == pytest.approx(window.LONGEST * session.settings.speed)


def test_a_preview_does_not_jump(driven: Driven, now: list[float]) -> None:
    viewer, session, glfw = driven.viewer, driven.session, driven.glfw
    for _ in range(2):
        session.path.add(session.viewpoint.camera(glfw.size))
    session.path.set_gap(60.0)
    session.path.play(True)

    def poll() -> None:
        now[0] += 5.0  # as after compiling

    glfw.poll_events = poll  # type: ignore[attr-defined]
    viewer.turn()
    assert session.path.time == window.LONGEST


@pytest.mark.parametrize("seconds", [1 / 60, 0.5])
def test_inertia_is_that_of_the_drag_at_any_frame_rate(
    driven: Driven, now: list[float], monkeypatch: pytest.MonkeyPatch, seconds: float
) -> None:
    """Half a height of the window a second, told in ten parts a frame."""
    viewer, session, glfw = driven.viewer, driven.session, driven.glfw
    monkeypatch.setattr("viewer.viewpoint.time.monotonic", lambda: now[0])
    session.settings = replace(session.settings, inertia=True)
    x = [560.0]
    viewer.on_pointer(None, *x, 240.0)

    def poll() -> None:
        now[0] += seconds
        for _ in range(10):
            x[0] -= 0.05 * seconds * glfw.size[1]
            viewer.on_pointer(None, *x, 240.0)

    glfw.poll_events = poll  # type: ignore[attr-defined]
    viewer.on_button(None, 0, glfw.PRESS, 0)
    for _ in range(round(1 / seconds)):
        viewer.turn()
    viewer.on_button(None, 0, glfw.RELEASE, 0)
    assert session.viewpoint.glide.speed == pytest.approx((-0.5, 0.0), rel=0.05)


def test_a_minimised_window_goes_on_with_what_is_under_way(driven: Driven, tmp_path: Path) -> None:
    viewer, session, glfw = driven.viewer, driven.session, driven.glfw
    driven.frames()
    waits: list[float] = []
    glfw.wait_events = lambda: pytest.fail("nobody would wake it")  # type: ignore[attr-defined]
    glfw.wait_events_timeout = waits.append  # type: ignore[attr-defined]
    glfw.size = 0, 0
    session.take = Take("filming", tmp_path / "film.mp4", iter(range(5)), 5)
    for _ in range(6):
        assert not waits and not viewer.turn()
    assert session.take is None and any("written" in line for line in session.notices)
    session.viewpoint.drag(0.1, 0.0, pan=False)
    session.path.playing = True
    for _ in range(3):
        viewer.turn()
    assert waits == [window.IDLE] * 3, "what nobody sees is waited for"
    glfw.size = 640, 480
    assert viewer.turn() and len(waits) == 3
