"""The window: events go to the overlay or to the session, which is then drawn."""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

import numpy as np

from render.asset import BakedAsset
from render.context import current_context
from render.errors import InshaderError, require
from viewer import keys, output, panel, path_panel, tracing
from viewer.overlay import KEYS, Overlay, in_units
from viewer.session import Session
from viewer.settings import Settings

VERSIONS = (4, 3), (3, 3)  # of OpenGL, the best first
IDLE = 0.1  # seconds between frames while nothing happens
AWAKE = 1.5  # seconds after an event in which idle frames are drawn at all: tooltips come with a delay
ALIKE = 2  # frames that are drawn though they are alike: windows take the size of their text one later
LIVELY = 6  # frames without a wait after an event: Dear ImGui takes in a click over several of them
GRAB = 6  # units of the desktop from the bar within which a press takes hold of it
REFRESH = 0.5  # seconds between the frame rates that are told while the view moves
LONGEST = 0.5  # seconds of motion that one frame may stand for, after compiling or a stopped process


@contextmanager
def open_window(title: str, size: tuple[int, int]) -> Iterator[Any]:
    """A glfw window of ``size`` (desktop units) whose OpenGL context is current.

    Raises:
        InshaderError: there is no display, or its OpenGL is too old.
    """
    glfw = require("glfw", "viewer")
    told: list[str] = ["no reason was given"]
    glfw.set_error_callback(lambda code, text: told.append(text.decode(errors="replace")))
    try:
        if not glfw.init():
            raise InshaderError(
                f"no window can be opened ({told[-1]}): render-export draws without a display"
            )
        window = None
        for major, minor in VERSIONS:
            glfw.window_hint(glfw.CONTEXT_VERSION_MAJOR, major)
            glfw.window_hint(glfw.CONTEXT_VERSION_MINOR, minor)
            glfw.window_hint(glfw.OPENGL_PROFILE, glfw.OPENGL_CORE_PROFILE)
            glfw.window_hint(glfw.OPENGL_FORWARD_COMPAT, True)  # macOS gives none without
            glfw.window_hint(glfw.SCALE_TO_MONITOR, True)
            window = window or glfw.create_window(*size, title, None, None)
        if not window:
            raise InshaderError(f"no window with OpenGL 3.3 can be opened ({told[-1]})")
        glfw.make_context_current(window)
        glfw.swap_interval(1)
        yield window
    finally:
        glfw.terminate()


class Viewer:
    """One window on a list of named assets.

    Raises:
        InshaderError: the first asset cannot be drawn here.
    """

    def __init__(
        self,
        window: Any,
        assets: Sequence[tuple[str, BakedAsset]],
        settings: Settings = Settings(),  # noqa: B008 - it is frozen
        awaited: Iterable[str] = (),
    ) -> None:
        self.glfw: Any = require("glfw", "viewer")
        self.window = window
        self.ctx = current_context()
        self.overlay = Overlay(self.ctx)
        self.pointer: tuple[float, float] = self.glfw.get_cursor_pos(window)
        self.dragging: int | None = None  # the button that was pressed on the picture
        self.on_bar = False  # whether the bar between two modes is dragged
        self.held: set[str] = set()  # names of the movement and shift keys that are down
        self.lively, self.asleep = LIVELY, 0.0  # frames to come without a wait; when drawing may stop
        self.before = time.perf_counter()  # when the last frame began
        self.told: object = None  # what it told, and how many before it told the same
        self.alike = 0
        self.written: object = None  # what the panel was built with, and how many seconds ago
        self.panel_age = 0.0
        self.windowed: tuple[int, int, int, int] | None = None  # place and size to come back to
        self.title = ""
        self.numbers: dict[int, str] = {}
        for name in (*keys.MOVES, *keys.PRESSED, *keys.ALIASES, *keys.NUMBERED, "LEFT_SHIFT", "RIGHT_SHIFT"):
            self.numbers[getattr(self.glfw, f"KEY_{name}")] = name
        self.others = {getattr(self.glfw, f"KEY_{name}"): name for name in KEYS}  # what Dear ImGui wants
        self.announce(f"compiling the shaders of {assets[0][0]} ...")
        self.session = Session(self.ctx, assets, settings, awaited)
        self.glfw.set_key_callback(window, self.on_key)
        self.glfw.set_char_callback(window, self.on_character)
        self.glfw.set_cursor_pos_callback(window, self.on_pointer)
        self.glfw.set_mouse_button_callback(window, self.on_button)
        self.glfw.set_scroll_callback(window, self.on_wheel)
        self.glfw.set_drop_callback(window, self.on_drop)
        self.glfw.set_window_refresh_callback(window, self.on_refresh)

    def close(self) -> None:
        """Give back what is held on the GPU, while the window is still there."""
        self.session.release()
        self.overlay.release()

    def run(self, frames: int | None = None) -> None:
        """Draw until the window is closed, or so many frames."""
        drawn = 0
        while not self.glfw.window_should_close(self.window) and drawn != frames:
            drawn += self.turn(always=frames is not None)

    def turn(self, always: bool = False) -> bool:
        """Take in what has happened and draw a frame, which is told; without ``always`` only where it would
        look different from the last one."""
        busy = self.busy
        self.session.work()  # before events: what they put off is done when a line about it has been seen
        self.session.watch()
        passed, moving = self.take_in(busy or self.busy)
        size = self.glfw.get_framebuffer_size(self.window)
        if min(size) == 0:  # minimised
            return False
        if self.lively == LIVELY:
            self.asleep = self.before + AWAKE
        self.session.move(self.direction(), self.shift, moving)
        self.session.play(moving)
        told = (size, panel.state_line(self.session, size), *self.session.told)
        still = told == self.told and self.session.rested and not self.session.busy
        self.told, self.alike = told, self.alike + 1 if still else 0
        if self.alike > ALIKE and self.before > self.asleep and not always:
            return False
        self.draw(size, passed)
        self.glfw.swap_buffers(self.window)
        return True

    @property
    def busy(self) -> bool:
        """Whether the next frame need not wait for an event."""
        if min(self.glfw.get_framebuffer_size(self.window)) == 0:  # minimised: nothing is drawn
            return self.session.at_work
        return any(self.direction()) or self.session.busy or self.lively > 0

    def take_in(self, busy: bool) -> tuple[float, float]:
        """Have glfw send what has happened, at once or after a wait for it. Returns seconds since the last
        time, and how many of them count for what moves: none of a wait, before which nothing did."""
        if busy:
            self.lively -= 1
            self.glfw.poll_events()
        else:
            self.glfw.wait_events_timeout(IDLE)
        now = time.perf_counter()
        passed, self.before = now - self.before, now
        return passed, min(passed, LONGEST) if busy else 0.0

    def draw(self, size: tuple[int, int], passed: float) -> None:
        """One frame into the window, ``size`` pixels, ``passed`` seconds after the one before."""
        title = f"{self.session.name} - render-view"
        if title != self.title:
            self.title = title
            self.glfw.set_window_title(self.window, title)
        self.session.draw(self.ctx.screen, size)
        self.panel_age += passed
        written = size, self.scale, *self.session.told, self.session.pictures.warning
        if written == self.written and self.panel_stands():
            self.overlay.again()
            return
        with self.overlay.frame(size, self.scale, self.panel_age):
            panel.show(self.overlay, self.session, size)
        self.written, self.panel_age = written, 0.0

    def panel_stands(self) -> bool:
        """Whether what lies over the picture need not be built anew: it takes longer than showing a picture,
        and nobody misses it while the view moves and the pointer is elsewhere, or busy with a drag."""
        pointed = self.dragging is None and self.overlay.covers(*self.place())
        touched = self.lively > 0 or self.overlay.active or pointed
        moves = not self.session.rested and not path_panel.line_shown(self.session)
        return moves and not touched and self.panel_age < REFRESH

    def announce(self, line: str) -> None:
        """Show a line on an empty window at once."""
        size = self.glfw.get_framebuffer_size(self.window)
        for _ in range(2):  # a window takes the size of its text one frame later
            self.ctx.screen.use()
            self.ctx.clear(0.1, 0.1, 0.1)
            with self.overlay.frame(size, self.scale, IDLE):
                panel.show_in_the_middle(self.overlay, [line])
        self.glfw.swap_buffers(self.window)
        self.glfw.poll_events()

    @property
    def scale(self) -> float:
        """Pixels per unit of the desktop."""
        return float(self.glfw.get_window_content_scale(self.window)[0])

    @property
    def shift(self) -> bool:
        return not self.held.isdisjoint(("LEFT_SHIFT", "RIGHT_SHIFT"))

    def direction(self) -> tuple[int, int, int]:
        """Where the movement keys that are held lead: ahead, right and up."""
        ahead, right, up = np.sum([(0, 0, 0), *(keys.MOVES.get(name, (0, 0, 0)) for name in self.held)], 0)
        return int(ahead), int(right), int(up)

    # --- events, as glfw sends them -----------------------------------------------------------------------

    def on_key(self, window: Any, key: int, scancode: int, action: int, modifiers: int) -> None:
        """Keys of ``render-view --help``, unless a text or a number is being typed."""
        glfw = self.glfw
        if action != glfw.REPEAT or self.overlay.typing:
            self.lively = LIVELY
        name = self.numbers.get(key, "")
        if action != glfw.REPEAT:
            self.overlay.key(name or self.others.get(key, ""), action == glfw.PRESS)
        if action == glfw.RELEASE:
            self.held.discard(name)
        if action != glfw.PRESS or self.overlay.typing:
            return
        if name in keys.MOVES or name.endswith("SHIFT"):
            self.held.add(name)
        elif name in keys.NUMBERED:
            self.session.set_mode(keys.NUMBERED[name], right=self.shift)
        elif (pressed := keys.PRESSED.get(keys.ALIASES.get(name, name))) is not None:
            getattr(self, pressed[1])()

    def on_character(self, window: Any, code: int) -> None:
        """A typed character; help is asked for with one."""
        self.lively = LIVELY
        self.overlay.character(code)
        if chr(code) == keys.HELP_CHARACTER and not self.overlay.typing:
            self.toggle_help()

    def on_pointer(self, window: Any, x: float, y: float) -> None:
        """A drag that began on the picture turns, looks or pans."""
        if self.dragging is None or self.on_bar:  # else the panel has no part in it
            self.lively = LIVELY
        height = max(self.glfw.get_window_size(window)[1], 1)
        right, down = (x - self.pointer[0]) / height, (y - self.pointer[1]) / height
        self.pointer = x, y
        self.overlay.pointer(*self.place())
        if self.on_bar:
            self.session.move_bar(x / max(self.glfw.get_window_size(window)[0], 1))
        elif self.dragging is not None:
            pan = self.dragging != self.glfw.MOUSE_BUTTON_LEFT or self.shift
            self.session.viewpoint.drag(right, down, pan, time.perf_counter() - self.before)

    def on_button(self, window: Any, button: int, action: int, modifiers: int) -> None:
        """A press on the picture begins a drag, one on the panel is the panel's until it is let go."""
        self.lively = LIVELY
        pressed = action == self.glfw.PRESS
        if not pressed and button == self.dragging:
            if not self.on_bar:
                self.session.viewpoint.let_go(self.session.settings.inertia)
            self.dragging, self.on_bar = None, False
        elif pressed and self.dragging is None and not self.overlay.covers(*self.place()):
            self.dragging = button
            self.session.viewpoint.glide.halt()
            self.on_bar = button == self.glfw.MOUSE_BUTTON_LEFT and self.near_bar()
        if button <= self.glfw.MOUSE_BUTTON_MIDDLE:
            self.overlay.button(button, pressed)

    def on_wheel(self, window: Any, x: float, y: float) -> None:
        """The wheel scrolls the panel, else it is the session's."""
        self.lively = LIVELY
        if self.overlay.covers(*self.place()):
            self.overlay.wheel(x, y)
        else:
            self.session.wheel(y)

    def on_drop(self, window: Any, paths: Sequence[str]) -> None:
        """Files that were dropped are opened, the last one is shown."""
        self.lively = LIVELY
        for path in paths:
            self.session.add(path)

    def on_refresh(self, window: Any) -> None:
        """What was drawn has been lost."""
        self.lively = LIVELY

    def near_bar(self) -> bool:
        """Whether the pointer is at the bar between two modes."""
        split = self.session.split
        width = self.glfw.get_framebuffer_size(self.window)[0] / self.scale
        return split is not None and abs(self.place()[0] - split * width) <= GRAB

    def place(self) -> tuple[float, float]:
        """Where the pointer is, in the overlay's units."""
        return in_units(self.glfw, self.window, *self.pointer)

    # --- what keys do, by the names in keys.PRESSED -------------------------------------------------------

    def reset(self) -> None:
        self.session.viewpoint.reset()

    def toggle_fly(self) -> None:
        self.session.viewpoint.set_flying(not self.session.viewpoint.flying)

    def previous_view(self) -> None:
        self.session.viewpoint.jump(-1)

    def next_view(self) -> None:
        self.session.viewpoint.jump(1)

    def next_asset(self) -> None:
        self.session.choose(self.session.index + 1)

    def toggle_split(self) -> None:
        self.session.set_split(self.session.split is None)

    def toggle_truth(self) -> None:
        self.session.set_mode("colour" if self.session.mode == "truth" else "truth")

    def toggle_light(self) -> None:
        self.session.set_mode("colour" if self.session.mode == tracing.MODE else tracing.MODE)

    def toggle_crop(self) -> None:
        if self.session.renderer.crops:
            self.session.crop.set(not self.session.crop.on)

    def add_key(self) -> None:
        path = self.session.path
        path.add(self.session.viewpoint.camera(self.glfw.get_framebuffer_size(self.window)))
        self.session.tell(f"camera path: {len(path.keys)} keys", "camera path")

    def preview(self) -> None:
        path = self.session.path
        path.play(not path.playing)
        if not path.playing and len(path.keys) < 2:
            self.session.tell("a camera path has two keys at least: K adds one", "camera path")

    def toggle_benchmark(self) -> None:
        if self.session.comparison.measuring:
            self.session.comparison.stop()
        else:
            self.session.comparison.measure(self.session.renderer)

    def screenshot(self) -> None:
        session, size = self.session, self.glfw.get_framebuffer_size(self.window)
        session.tasks.attempt(lambda: output.screenshot(session, size, output.here()))

    def toggle_panel(self) -> None:
        settings = self.session.settings
        self.session.settings = replace(settings, panel=not settings.panel)

    def toggle_help(self) -> None:
        self.session.help = not self.session.help

    def escape(self) -> None:
        if self.overlay.held:
            self.overlay.let_go()
        elif self.session.help:
            self.session.help = False
        elif self.session.take is not None:
            self.session.cancel()
        else:
            self.glfw.set_window_should_close(self.window, True)

    def toggle_full_screen(self) -> None:
        """All of the monitor that most of the window is on, or back to where it was."""
        glfw, window = self.glfw, self.window
        if self.windowed is not None:
            glfw.set_window_monitor(window, None, *self.windowed, glfw.DONT_CARE)
            self.windowed = None
            return
        here = (*glfw.get_window_pos(window), *glfw.get_window_size(window))
        monitors = glfw.get_monitors()
        if not monitors:
            self.session.tell("there is no monitor to fill")
            return
        monitor = max(monitors, key=lambda one: shared_area(here, glfw.get_monitor_workarea(one)))
        mode = glfw.get_video_mode(monitor)
        self.windowed = here
        glfw.set_window_monitor(window, monitor, 0, 0, *mode.size, mode.refresh_rate)


def shared_area(a: Sequence[int], b: Sequence[int]) -> int:
    """Of two rectangles (left, top, width, height)."""
    width = min(a[0] + a[2], b[0] + b[2]) - max(a[0], b[0])
    height = min(a[1] + a[3], b[1] + b[3]) - max(a[1], b[1])
    return max(width, 0) * max(height, 0)
