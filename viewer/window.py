"""The window: events turn the orbit, the Renderer draws each frame, the overlay lies on top."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import moderngl

from render.asset import BakedAsset
from render.context import current_context
from render.errors import InshaderError, require
from render.renderer import MODES, Renderer
from viewer.orbit import Orbit
from viewer.overlay import Overlay

VERSIONS = (4, 3), (3, 3)  # of OpenGL, the best first
SMOOTHING = 0.1  # weight of the newest frame in the rate that the overlay shows

VERTEX = """
#version 330
void main() {
    vec2 corner = vec2(gl_VertexID == 1 ? 3.0 : -1.0, gl_VertexID == 2 ? 3.0 : -1.0);
    gl_Position = vec4(corner, 0.0, 1.0);
}
"""
FRAGMENT = """
#version 330
uniform sampler2D picture;  // of the renderer, row 0 is the top
uniform int mode;
uniform float reach;        // of the depth that is shown black
out vec4 colour;
void main() {
    ivec2 pixel = ivec2(gl_FragCoord.x, float(textureSize(picture, 0).y) - gl_FragCoord.y);
    vec4 value = texelFetch(picture, pixel, 0);
    if (mode == 1) value.rgb = vec3(value.a * max(1.0 - value.r / reach, 0.0));
    if (mode == 2) value.rgb = value.a * (0.5 + 0.5 * value.rgb);
    if (mode == 3) value.rgb = vec3(value.r / (value.r + 16.0));
    colour = vec4(value.rgb, 1.0);
}
"""


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
    """One window on a list of named assets."""

    def __init__(self, window: Any, assets: Sequence[tuple[str, BakedAsset]]) -> None:
        self.glfw: Any = require("glfw", "viewer")
        self.window = window
        self.assets = assets
        self.ctx = current_context()
        self.overlay = Overlay(self.ctx)
        self.program = self.ctx.program(VERTEX, FRAGMENT)
        self.screen = self.ctx.vertex_array(self.program, [])
        self.seconds = 0.0
        self.pointer: tuple[float, float] = self.glfw.get_cursor_pos(window)
        self.open(0)
        self.glfw.set_key_callback(window, self.on_key)
        self.glfw.set_cursor_pos_callback(window, self.on_pointer)
        self.glfw.set_scroll_callback(window, self.on_wheel)

    def open(self, index: int) -> None:
        """Show another of the assets, from its own first view."""
        self.index = index % len(self.assets)
        name, self.asset = self.assets[self.index]
        self.glfw.set_window_title(self.window, f"{name} - render-view")
        self.renderer = Renderer(self.ctx, self.asset)  # the one before frees what it held
        self.mode = "colour"
        self.orbit = self.first_view()

    def first_view(self) -> Orbit:
        """The orbit that starts at the asset's default camera."""
        flat = self.asset.driver == "image"
        return Orbit.starting_at(self.asset.camera, self.asset.up, self.asset.bounds.mean(0), flat)

    def run(self) -> None:
        """Draw until the window is closed."""
        before = time.perf_counter()
        while not self.glfw.window_should_close(self.window):
            self.glfw.poll_events()
            size = self.glfw.get_framebuffer_size(self.window)
            if min(size) == 0:  # minimised
                self.glfw.wait_events()
                continue
            self.draw(size)
            self.glfw.swap_buffers(self.window)
            now = time.perf_counter()
            passed, before = now - before, now
            self.seconds += (passed - self.seconds) * (SMOOTHING if self.seconds else 1)

    def close(self) -> None:
        """Give back what is held on the GPU, while the window is still there."""
        self.renderer.release()
        self.overlay.release()

    def draw(self, size: tuple[int, int]) -> None:
        """One frame into the window, ``size`` pixels."""
        frame = self.renderer.draw(self.orbit.camera(*size), mode=self.mode)
        self.ctx.screen.use()
        self.ctx.viewport = (0, 0, size[0], size[1])
        self.ctx.enable_only(moderngl.NOTHING)
        frame.texture.use(0)
        self.program["mode"] = MODES[self.mode]
        self.program["reach"] = self.orbit.distance + 1.0  # the half-diagonal of the scene box
        self.screen.render(moderngl.TRIANGLES, vertices=3)
        scale = self.glfw.get_window_content_scale(self.window)[0]
        self.overlay.draw(self.lines(size), size, scale, self.seconds)

    def lines(self, size: tuple[int, int]) -> list[str]:
        """What the overlay tells."""
        rate = f"{1 / self.seconds:.1f} fps, {1e3 * self.seconds:.1f} ms" if self.seconds else "first frame"
        return [rate, f"{size[0]} x {size[1]}, {self.mode}"]

    # --- events, as glfw sends them -----------------------------------------------------------------------

    def on_key(self, window: Any, key: int, scancode: int, action: int, modifiers: int) -> None:
        """Keys of ``render-view --help``."""
        if action != self.glfw.PRESS:
            return
        numbered = dict(zip(range(self.glfw.KEY_1, self.glfw.KEY_9), MODES, strict=False))
        if key == self.glfw.KEY_ESCAPE:
            self.glfw.set_window_should_close(window, True)
        elif key == self.glfw.KEY_R:
            self.orbit = self.first_view()
        elif key == self.glfw.KEY_TAB:
            self.open(self.index + 1)
        elif numbered.get(key) in self.renderer.driver.MODES:
            self.mode = numbered[key]

    def on_pointer(self, window: Any, x: float, y: float) -> None:
        """A drag turns, or moves a picture; with the middle button or shift it pans."""
        glfw = self.glfw
        height = max(glfw.get_window_size(window)[1], 1)
        right, down = (x - self.pointer[0]) / height, (y - self.pointer[1]) / height
        self.pointer = x, y
        shift = glfw.PRESS in (
            glfw.get_key(window, key) for key in (glfw.KEY_LEFT_SHIFT, glfw.KEY_RIGHT_SHIFT)
        )
        held = glfw.get_mouse_button(window, glfw.MOUSE_BUTTON_LEFT) == glfw.PRESS
        if glfw.get_mouse_button(window, glfw.MOUSE_BUTTON_MIDDLE) == glfw.PRESS or (held and shift):
            self.orbit = self.orbit.panned(right, down)
        elif held:
            self.orbit = self.orbit.turned(right, down)

    def on_wheel(self, window: Any, x: float, y: float) -> None:
        """The wheel zooms."""
        self.orbit = self.orbit.zoomed(y)
