"""What drivers of one picture a frame share: the textures they draw into, and the uniforms of a view."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import moderngl
import numpy as np
from numpy.typing import NDArray

from render.camera import Camera

Box = NDArray[np.floating]
FAR = 1e30


class Targets:
    """The picture (r, g, b, coverage) and the evaluations per pixel, as textures of the last size asked for.

    Attributes:
        textures: RGBA32F and R32F, row 0 at the top.
    """

    def __init__(self, ctx: moderngl.Context, host: str) -> None:
        self.ctx, self.host = ctx, host
        self.textures: list[moderngl.Texture] = []
        self.framebuffer: moderngl.Framebuffer | None = None
        self.alone: list[moderngl.Framebuffer] = []  # one for each texture, to be cleared

    def resize(self, size: tuple[int, int]) -> None:
        if self.textures and self.textures[0].size == size:
            return
        self.release()
        self.textures = [self.ctx.texture(size, count, dtype="f4") for count in (4, 1)]
        for texture in self.textures:
            texture.filter = (moderngl.NEAREST, moderngl.NEAREST)
        if self.host == "fragment":
            self.framebuffer = self.ctx.framebuffer(self.textures)

    def bind_images(self) -> None:
        """For the compute host: image units 0 and 1."""
        for unit, texture in enumerate(self.textures):
            texture.bind_to_image(unit, read=False, write=True)

    def clear(self, nothing: bytes) -> None:
        """The picture becomes (r, g, b, coverage), four float32, everywhere, at no evaluation."""
        picture = np.frombuffer(nothing, "f4").tolist()
        self.alone = self.alone or [self.ctx.framebuffer([texture]) for texture in self.textures]
        for framebuffer, (r, g, b, coverage) in zip(self.alone, (picture, [0.0] * 4), strict=True):
            framebuffer.clear(r, g, b, coverage)

    def fill(self, screen: moderngl.VertexArray) -> None:
        """For the fragment host: draw a program over the whole viewport."""
        assert self.framebuffer is not None
        with self.ctx.scope(self.framebuffer, enable_only=moderngl.NOTHING):
            self.framebuffer.viewport = (0, 0, *self.framebuffer.size)
            screen.render(moderngl.TRIANGLES, vertices=3)

    def release(self) -> None:
        for item in (self.framebuffer, *self.alone, *self.textures):
            if item is not None:
                item.release()
        self.framebuffer, self.alone, self.textures = None, [], []


def view_uniforms(
    camera: Camera, background: NDArray[np.floating], mode: int, crop: Box | None = None
) -> dict[str, bytes]:
    """Those of ``shaders/common/camera.glsl``, ``u_background``, ``u_mode``, and of the macro ``CROP``.

    Args:
        crop: (2, 3) what of the world is seen; None: all.
    """
    return {
        "u_world_from_camera": camera.world_from_camera[:3, :3].T.astype("f4").tobytes(),
        "u_position": camera.position.astype("f4").tobytes(),
        "u_focal": np.array([camera.fl_x, camera.fl_y], "f4").tobytes(),
        "u_centre": np.array([camera.cx, camera.cy], "f4").tobytes(),
        "u_background": np.asarray(background, "f4").tobytes(),
        "u_mode": np.int32(mode).tobytes(),
        **crop_uniforms(crop),
    }


def crop_uniforms(crop: Box | None) -> dict[str, bytes]:
    """Those of the macro ``CROP`` in ``shaders/common/box.glsl``."""
    low, high = (np.full(3, -FAR), np.full(3, FAR)) if crop is None else crop
    return {"u_crop_low": np.asarray(low, "f4").tobytes(), "u_crop_high": np.asarray(high, "f4").tobytes()}


def write_uniforms(programs: Iterable[Any], uniforms: dict[str, bytes]) -> None:
    """Set what each program has of them; compilers drop what is not used."""
    for program in programs:
        for name, value in uniforms.items():
            if name in program:
                program[name].write(value)
