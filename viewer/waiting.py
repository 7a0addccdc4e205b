"""The window while a training has no asset yet: how it goes, until there is something to look at."""

from __future__ import annotations

import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from render.asset import BakedAsset, asset_path, read_asset
from render.context import current_context
from render.errors import InshaderError
from viewer.names import version
from viewer.overlay import Overlay, in_units
from viewer.progress import TrainingLog

IDLE, WATCH = 0.25, 0.5  # seconds between frames, and between looks at the folders
WIDTH = 420.0  # of the chart
EVENTS = "key", "cursor_pos", "mouse_button", "scroll"


def is_run(name: str) -> bool:
    """Whether a training has begun in that folder, and has left no asset yet."""
    folder = Path(name)
    return folder.is_dir() and version(name) is None and (folder / "config.yaml").is_file()


def wait(glfw: Any, window: Any, names: Sequence[str]) -> tuple[str, BakedAsset] | None:
    """The first asset that comes into one of the folders, with its name; None: the window was closed."""
    ctx = current_context()
    overlay = Overlay(ctx)
    logs = [TrainingLog(Path(name)) for name in names]
    looked, told = -WATCH, {name: f"waiting for the first asset of {name} ..." for name in names}
    seen: dict[str, object] = {}
    glfw.set_window_title(window, f"{names[0]} - render-view")
    _listen(glfw, window, overlay)
    try:
        while not glfw.window_should_close(window):
            now = time.monotonic()
            if now - looked > WATCH:
                looked = now
                for name in names:
                    found = version(name)
                    if found is None or found == seen.get(name):
                        continue
                    seen[name] = found
                    try:
                        return name, read_asset(asset_path(name))
                    except InshaderError as error:
                        told[name] = str(error)
            for log in logs:
                log.poll()
            _draw(glfw, window, ctx, overlay, list(told.values()), logs[0])
            glfw.wait_events_timeout(IDLE)
        return None
    finally:
        for event in EVENTS:  # nobody may be told of one who is gone
            getattr(glfw, f"set_{event}_callback")(window, None)
        overlay.release()


def _listen(glfw: Any, window: Any, overlay: Overlay) -> None:
    """Have events of the window sent to the overlay; Esc closes a list, or the window."""

    def on_key(_: Any, key: int, scancode: int, action: int, modifiers: int) -> None:
        if key != glfw.KEY_ESCAPE or action != glfw.PRESS:
            return
        if overlay.held:
            overlay.let_go()
        else:
            glfw.set_window_should_close(window, True)

    def on_button(_: Any, button: int, action: int, modifiers: int) -> None:
        if button <= glfw.MOUSE_BUTTON_MIDDLE:
            overlay.button(button, action == glfw.PRESS)

    takers = (
        on_key,
        lambda _, x, y: overlay.pointer(*in_units(glfw, window, x, y)),
        on_button,
        lambda _, x, y: overlay.wheel(x, y),
    )
    for event, taker in zip(EVENTS, takers, strict=True):
        getattr(glfw, f"set_{event}_callback")(window, taker)


def _draw(glfw: Any, window: Any, ctx: Any, overlay: Overlay, lines: list[str], log: TrainingLog) -> None:
    """What is waited for, in the middle, with the curve of the first training."""
    size = glfw.get_framebuffer_size(window)
    if min(size) == 0:
        return
    ctx.screen.use()
    ctx.clear(0.1, 0.1, 0.1)
    with overlay.frame(size, float(glfw.get_window_content_scale(window)[0]), IDLE) as imgui:
        w, h = imgui.get_io().display_size
        flags = imgui.WindowFlags_
        imgui.set_next_window_pos((w / 2, h / 2), 0, (0.5, 0.5))
        with overlay.window(
            "waiting", flags.no_decoration | flags.always_auto_resize | flags.no_saved_settings
        ):
            for line in lines:
                imgui.text_unformatted(line)
            overlay.run.show(imgui, log, WIDTH)
    glfw.swap_buffers(window)
