"""Lines of text over the picture: Dear ImGui, drawn with moderngl.

Dear ImGui 1.92 asks its renderer to make, update and destroy textures as it rasterises glyphs; each texture
carries a status that says which of these is due. Its own OpenGL back ends need PyOpenGL, this one does not.
"""

from __future__ import annotations

import ctypes
from collections.abc import Sequence
from typing import Any

import moderngl
import numpy as np

from render.errors import require

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


class Overlay:
    """A panel of text in the top left corner of the current framebuffer."""

    def __init__(self, ctx: moderngl.Context) -> None:
        self.ctx = ctx
        self.imgui: Any = require("imgui_bundle", "viewer").imgui
        self.state = self.imgui.create_context()
        io = self.imgui.get_io()
        io.set_ini_filename("")  # no file of window positions in the current folder
        io.backend_flags |= self.imgui.BackendFlags_.renderer_has_textures
        self.textures: dict[int, moderngl.Texture] = {}
        self.program = ctx.program(VERTEX, FRAGMENT)
        self.vertices = ctx.buffer(reserve=self.imgui.VERTEX_SIZE, dynamic=True)
        self.indices = ctx.buffer(reserve=self.imgui.INDEX_SIZE, dynamic=True)
        self.array = ctx.vertex_array(
            self.program,
            [(self.vertices, "2f 2f 4f1", "position", "uv", "colour")],
            index_buffer=self.indices,
            index_element_size=self.imgui.INDEX_SIZE,
        )

    def draw(self, lines: Sequence[str], size: tuple[int, int], scale: float, seconds: float) -> None:
        """Draw ``lines`` over a framebuffer of ``size`` pixels.

        Args:
            scale: pixels per unit of the desktop, 2 on a HiDPI screen.
            seconds: time since the last call.
        """
        imgui = self.imgui
        imgui.set_current_context(self.state)
        io = imgui.get_io()
        io.display_size = (size[0] / scale, size[1] / scale)
        io.display_framebuffer_scale = (scale, scale)
        io.delta_time = max(seconds, 1e-4)
        imgui.new_frame()
        imgui.set_next_window_pos((8, 8))
        imgui.set_next_window_bg_alpha(0.7)
        flags = imgui.WindowFlags_
        imgui.begin("overlay", None, flags.no_decoration | flags.no_inputs | flags.always_auto_resize)
        for line in lines:
            imgui.text(line)
        imgui.end()
        imgui.render()
        self._draw(imgui.get_draw_data(), size, scale)

    def release(self) -> None:
        """Free what the overlay holds on the GPU, and Dear ImGui's context."""
        self.imgui.set_current_context(self.state)
        for texture in self.imgui.get_platform_io().textures:
            self._forget(texture)
        self.imgui.destroy_context(self.state)
        for held in (self.array, self.vertices, self.indices, self.program):
            held.release()

    def _draw(self, data: Any, size: tuple[int, int], scale: float) -> None:
        for texture in data.textures:
            self._update(texture)
        ctx = self.ctx
        ctx.enable_only(moderngl.BLEND)
        ctx.blend_func = moderngl.SRC_ALPHA, moderngl.ONE_MINUS_SRC_ALPHA
        ctx.viewport = (0, 0, size[0], size[1])
        self.program["display_size"] = (size[0] / scale, size[1] / scale)
        for commands in data.cmd_lists:
            _upload(self.vertices, commands.vtx_buffer, self.imgui.VERTEX_SIZE)
            _upload(self.indices, commands.idx_buffer, self.imgui.INDEX_SIZE)
            for command in commands.cmd_buffer:
                left, top, right, bottom = (round(side * scale) for side in command.clip_rect)
                ctx.scissor = (left, size[1] - bottom, right - left, bottom - top)
                self.textures[command.get_tex_id()].use()
                self.array.render(vertices=command.elem_count, first=command.idx_offset)
        ctx.scissor = None

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


def _upload(buffer: moderngl.Buffer, items: Any, item_size: int) -> None:
    """Fill ``buffer`` with one of Dear ImGui's vectors, which live on its side of the fence."""
    data = ctypes.string_at(items.data_address(), items.size() * item_size)
    if len(data) > buffer.size:
        buffer.orphan(len(data))
    buffer.write(data)
