"""The window while a training has no asset: its list opens, it closes when asked to, and leaves nothing."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import moderngl
import pytest

from tests.viewer.conftest import NoWindow
from tests.viewer.test_panel import Watched
from viewer import waiting
from viewer.overlay import Overlay


class Scripted(NoWindow):
    """A window whose events come from the test, one of ``script`` after each frame."""

    def __init__(self) -> None:
        super().__init__((640, 480))
        self.callbacks: dict[str, Any] = {}
        self.script: Iterator[None] = iter(())

    def __getattr__(self, name: str) -> Any:
        if name.startswith("set_") and name.endswith("_callback"):
            return lambda window, taker: self.callbacks.update({name[4:-9]: taker})
        return super().__getattr__(name)

    def window_should_close(self, window: Any) -> bool:
        return self.closing

    def wait_events_timeout(self, seconds: float) -> None:
        if next(self.script, "over") == "over":
            self.closing = True


@pytest.fixture
def run(tmp_path: Path) -> Path:
    (tmp_path / "config.yaml").write_text("name: run\n")
    lines = (f'{{"step": {k}, "seconds": {k}, "loss": {1 / k}, "psnr": {k}}}\n' for k in range(1, 9))
    (tmp_path / "log.jsonl").write_text("".join(lines))
    return tmp_path


def play(
    ctx: moderngl.Context,
    monkeypatch: pytest.MonkeyPatch,
    run: Path,
    script: Callable[[Scripted, Overlay, Watched], Iterator[None]],
) -> Scripted:
    """Wait for an asset of ``run``, which never comes."""
    pytest.importorskip("imgui_bundle")
    glfw, target = Scripted(), ctx.simple_framebuffer((640, 480))

    def overlay_of(ctx: moderngl.Context) -> Overlay:
        overlay = Overlay(ctx)
        overlay.imgui = watched = Watched(overlay.imgui)
        glfw.script = script(glfw, overlay, watched)
        return overlay

    monkeypatch.setattr(ctx, "_screen", target)
    monkeypatch.setattr(waiting, "current_context", lambda: ctx)
    monkeypatch.setattr(waiting, "Overlay", overlay_of)
    assert waiting.wait(glfw, None, [str(run)]) is None
    target.release()
    return glfw


def test_the_list_of_curves_opens(ctx: moderngl.Context, monkeypatch: pytest.MonkeyPatch, run: Path) -> None:
    opened: list[bool] = []

    def script(glfw: Scripted, overlay: Overlay, watched: Watched) -> Iterator[None]:
        yield from (None, None)
        glfw.callbacks["cursor_pos"](None, *watched.places["##curve"])
        for action in (glfw.PRESS, glfw.RELEASE):
            glfw.callbacks["mouse_button"](None, 0, action, 0)
        yield from (None,) * 4
        opened.append(overlay.held)
        for _ in range(2):
            assert not glfw.closing
            glfw.callbacks["key"](None, glfw.KEY_ESCAPE, 0, glfw.PRESS, 0)
            glfw.callbacks["key"](None, glfw.KEY_ESCAPE, 0, glfw.RELEASE, 0)
            yield from (None, None)
            opened.append(overlay.held)
        raise AssertionError("the second Esc closes the window")

    play(ctx, monkeypatch, run, script)
    assert opened == [True, False]


def test_keys_do_not_take_back_a_wish_to_close(
    ctx: moderngl.Context, monkeypatch: pytest.MonkeyPatch, run: Path
) -> None:
    def script(glfw: Scripted, overlay: Overlay, watched: Watched) -> Iterator[None]:
        yield None
        glfw.closing = True
        for action in (glfw.PRESS, glfw.RELEASE):
            glfw.callbacks["key"](None, glfw.KEY_A, 0, action, 0)
        yield None
        raise AssertionError("it closes")

    glfw = play(ctx, monkeypatch, run, script)
    assert set(waiting.EVENTS) == glfw.callbacks.keys()
    assert not any(glfw.callbacks.values()), "nobody is left to be told"
