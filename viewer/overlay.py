"""Dear ImGui over the picture: fed with events, drawn with moderngl.

Dear ImGui 1.92 asks its renderer to make, update and destroy textures as it rasterises glyphs; each texture
carries a status that says which of these is due. Its own OpenGL back ends need PyOpenGL, this one does not.
Places are in units of the desktop, from the top left corner.
"""

from __future__ import annotations

import ctypes
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import moderngl
import numpy as np

from render.errors import require
from viewer.run_panel import RunPanel

FONT = "assets/fonts/Roboto/Roboto-Regular.ttf"  # of imgui_bundle; its own bitmap font where that is missing
FONT_SIZE = 15.0
# Names of keys in glfw and in Dear ImGui: those that editing a number or a text wants.
KEYS: Mapping[str, str] = {
    "BACKSPACE": "backspace",
    "DELETE": "delete",
    "ENTER": "enter",
    "KP_ENTER": "keypad_enter",
    "ESCAPE": "escape",
    "TAB": "tab",
    "LEFT": "left_arrow",
    "RIGHT": "right_arrow",
    "UP": "up_arrow",
    "DOWN": "down_arrow",
    "HOME": "home",
    "END": "end",
    "LEFT_CONTROL": "mod_ctrl",
    "RIGHT_CONTROL": "mod_ctrl",
    "LEFT_SHIFT": "mod_shift",
    "RIGHT_SHIFT": "mod_shift",
    "A": "a",
    "C": "c",
    "V": "v",
    "X": "x",
    "Z": "z",
}
VERTEX = """
#version 330
uniform vec2 display_size;
in vec2 position;
in vec2 uv;
in vec4 colour;
out vec2 texel;
out vec4 tint;
void main() {
    texel = uv;
    tint = colour;
    vec2 place = 2.0 * position / display_size - 1.0;
    gl_Position = vec4(place.x, -place.y, 0.0, 1.0);
}
"""
FRAGMENT = """
#version 330
uniform sampler2D glyphs;
in vec2 texel;
in vec4 tint;
out vec4 colour;
void main() {
    colour = tint * texture(glyphs, texel);
}
"""
INDEX = np.dtype("u4")  # of vertices; Dear ImGui's own start anew for each of its windows
INDICES = {2: "u2", 4: "u4"}  # those, by their size in bytes


def in_units(glfw: Any, window: Any, x: float, y: float) -> tuple[float, float]:
    """A place in a window, as glfw tells it, in units of the desktop: it counts in pixels on some systems."""
    pixels, scale = glfw.get_framebuffer_size(window)[0], float(glfw.get_window_content_scale(window)[0])
    ratio = pixels / max(glfw.get_window_size(window)[0], 1) / scale
    return x * ratio, y * ratio


class Draw(NamedTuple):
    """Triangles of one texture within a rectangle of the framebuffer."""

    scissor: tuple[int, int, int, int]  # left, bottom, width and height in pixels
    texture: int
    first: int  # of its indices
    length: int


class Overlay:
    """Windows of Dear ImGui in the current framebuffer.

    Attributes:
        imgui: the module, for what is drawn within ``frame``.
        run: the curve of a training.
        typing: whether a text or a number is being typed, so that keys are letters.
        active: whether something of it is being typed into, held or dragged.
    """

    def __init__(self, ctx: moderngl.Context) -> None:
        self.ctx = ctx
        bundle: Any = require("imgui_bundle", "viewer")
        self.imgui: Any = bundle.imgui
        self.state = self.imgui.create_context()
        io = self.imgui.get_io()
        io.set_ini_filename("")  # no file of window positions in the current folder
        io.backend_flags |= self.imgui.BackendFlags_.renderer_has_textures
        font = Path(bundle.__file__).parent / FONT
        if font.is_file():
            io.fonts.add_font_from_file_ttf(str(font), FONT_SIZE)
        self.typing = self.active = False
        self.run = RunPanel()
        self._popup = self._letting_go = False
        self._windows: list[tuple[float, float, float, float]] = []
        self.textures: dict[int, moderngl.Texture] = {}
        self.program = ctx.program(VERTEX, FRAGMENT)
        self.vertices = ctx.buffer(reserve=self.imgui.VERTEX_SIZE, dynamic=True)
        self.indices = ctx.buffer(reserve=INDEX.itemsize, dynamic=True)
        self.array = ctx.vertex_array(
            self.program,
            [(self.vertices, "2f 2f 4f1", "position", "uv", "colour")],
            index_buffer=self.indices,
            index_element_size=INDEX.itemsize,
        )
        self._size = 0, 0  # of the framebuffer that the last frame was for
        self._draws: list[Draw] = []  # of it, in order

    @contextmanager
    def frame(self, size: tuple[int, int], scale: float, seconds: float) -> Iterator[Any]:
        """The module to build a frame with; it is drawn over a framebuffer of ``size`` pixels in the end.

        Args:
            scale: pixels per unit of the desktop, 2 on a HiDPI screen.
            seconds: time since the last call.
        """
        imgui = self.imgui
        io = self._io()
        io.display_size = (size[0] / scale, size[1] / scale)
        io.display_framebuffer_scale = (scale, scale)
        io.delta_time = max(seconds, 1e-4)
        self._windows.clear()
        imgui.new_frame()
        if self._letting_go:
            self._let_go()
        yield imgui
        popups = imgui.PopupFlags_
        self._popup = imgui.is_popup_open("", popups.any_popup_id | popups.any_popup_level)
        imgui.render()
        self.typing, self.active = bool(io.want_text_input), bool(imgui.is_any_item_active())
        self._take(imgui.get_draw_data(), size, scale)
        self.again()

    @contextmanager
    def window(self, name: str, flags: int = 0) -> Iterator[None]:
        """A window in a frame; unless its flags say otherwise, the pointer belongs to it where it lies."""
        imgui = self.imgui
        imgui.begin(name, None, flags)
        if not flags & imgui.WindowFlags_.no_mouse_inputs:
            (left, top), (width, height) = imgui.get_window_pos(), imgui.get_window_size()
            self._windows.append((left, top, left + width, top + height))
        yield
        imgui.end()

    # --- events ------------------------------------------------------------------------------------------

    def covers(self, x: float, y: float) -> bool:
        """Whether a press here belongs to the windows of the last frame, not to the picture."""
        return self._popup or any(
            left <= x < right and top <= y < bottom for left, top, right, bottom in self._windows
        )

    @property
    def held(self) -> bool:
        """Whether a list is open, or a control is held."""
        return self._popup or self.active

    def let_go(self) -> None:
        """Close the list, or let the control go as it stands, with the next frame."""
        self._letting_go = True

    def _let_go(self) -> None:
        within, popups = self.imgui.internal, self.imgui.PopupFlags_
        self._letting_go = False
        within.clear_active_id()
        if self.imgui.is_popup_open("", popups.any_popup_id | popups.any_popup_level):
            within.close_popup_to_level(0, True)

    def pointer(self, x: float, y: float) -> None:
        """It is there now."""
        self._io().add_mouse_pos_event(x, y)

    def button(self, number: int, down: bool) -> None:
        """A mouse button: 0 is the left one, 1 the right, 2 the middle."""
        self._io().add_mouse_button_event(number, down)

    def wheel(self, right: float, up: float) -> None:
        """Steps of the wheel."""
        self._io().add_mouse_wheel_event(right, up)

    def key(self, name: str, down: bool) -> None:
        """A key by its name in glfw; only those of ``KEYS`` count."""
        if name in KEYS:
            self._io().add_key_event(getattr(self.imgui.Key, KEYS[name]), down)

    def character(self, code: int) -> None:
        """A typed character."""
        self._io().add_input_character(code)

    # --- drawing -----------------------------------------------------------------------------------------

    def _io(self) -> Any:
        self.imgui.set_current_context(self.state)
        return self.imgui.get_io()

    def release(self) -> None:
        """Free what the overlay holds on the GPU, and Dear ImGui's context."""
        self.imgui.set_current_context(self.state)
        for texture in self.imgui.get_platform_io().textures:
            self._forget(texture)
        self.imgui.destroy_context(self.state)
        for held in (self.array, self.vertices, self.indices, self.program):
            held.release()

    def again(self) -> None:
        """Draw the last frame over a framebuffer of its size."""
        ctx, (w, h) = self.ctx, self._size
        ctx.enable_only(moderngl.BLEND)
        ctx.blend_func = moderngl.SRC_ALPHA, moderngl.ONE_MINUS_SRC_ALPHA
        ctx.viewport = (0, 0, w, h)
        for draw in self._draws:
            ctx.scissor = draw.scissor
            self.textures[draw.texture].use()
            self.array.render(vertices=draw.length, first=draw.first)
        ctx.scissor = None

    def _take(self, data: Any, size: tuple[int, int], scale: float) -> None:
        """Bring what Dear ImGui has built to the GPU: one list of vertices for all of its windows."""
        for texture in data.textures:
            self._update(texture)
        self._size, self._draws = size, []
        self.program["display_size"] = (size[0] / scale, size[1] / scale)
        vertices, indices = [], []
        vertex = first = 0
        for commands in data.cmd_lists:
            vertices.append(_bytes(commands.vtx_buffer, self.imgui.VERTEX_SIZE))
            of_list = np.frombuffer(
                _bytes(commands.idx_buffer, self.imgui.INDEX_SIZE), INDICES[self.imgui.INDEX_SIZE]
            )
            indices.append(of_list.astype(INDEX) + INDEX.type(vertex))
            for command in commands.cmd_buffer:
                left, top, right, bottom = (round(side * scale) for side in command.clip_rect)
                scissor = left, size[1] - bottom, right - left, bottom - top
                self._draws.append(
                    Draw(scissor, command.get_tex_id(), first + command.idx_offset, command.elem_count)
                )
            vertex += commands.vtx_buffer.size()
            first += len(of_list)
        if self._draws:
            _upload(self.vertices, b"".join(vertices))
            _upload(self.indices, np.concatenate(indices).tobytes())

    def _update(self, texture: Any) -> None:
        """Do what the status of one of Dear ImGui's textures asks for."""
        status = self.imgui.ImTextureStatus
        if texture.status == status.want_create:
            held = self.ctx.texture((texture.width, texture.height), texture.bytes_per_pixel)
            held.write(texture.get_pixels_array())
            self.textures[held.glo] = held
            texture.set_tex_id(held.glo)
            texture.set_status(status.ok)
        elif texture.status == status.want_updates:
            pixels = np.asarray(texture.get_pixels_array()).reshape(texture.height, texture.width, -1)
            for r in texture.updates:
                block = np.ascontiguousarray(pixels[r.y : r.y + r.h, r.x : r.x + r.w])
                self.textures[texture.tex_id].write(block, viewport=(r.x, r.y, r.w, r.h), alignment=1)
            texture.set_status(status.ok)
        elif texture.status == status.want_destroy and texture.unused_frames > 0:
            self._forget(texture)

    def _forget(self, texture: Any) -> None:
        held = self.textures.pop(texture.tex_id, None)
        if held is not None:
            held.release()
        texture.set_tex_id(0)
        texture.set_status(self.imgui.ImTextureStatus.destroyed)


def _bytes(items: Any, item_size: int) -> bytes:
    """A copy of one of Dear ImGui's vectors, which live on its side of the fence."""
    return ctypes.string_at(items.data_address(), items.size() * item_size)


def _upload(buffer: moderngl.Buffer, data: bytes) -> None:
    """Fill ``buffer`` anew; what is still being drawn keeps its own."""
    buffer.orphan(max(len(data), buffer.size))
    buffer.write(data)
