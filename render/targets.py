"""What drivers of one picture a frame share: the textures they draw into, and the uniforms of a view."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, NamedTuple

import moderngl
import numpy as np
from numpy.typing import NDArray

from render.camera import Camera

Box = NDArray[np.floating]
FAR = 1e30


class Target(NamedTuple):
    """What is drawn into: picture and cost, the framebuffer of both, and one of each, to be cleared."""

    textures: list[moderngl.Texture]
    framebuffer: moderngl.Framebuffer
    alone: list[moderngl.Framebuffer]


class Targets:
    """The picture (r, g, b, coverage) and the evaluations per pixel, as textures of the last size asked for.

    Attributes:
        eight_bit: whether pictures have 8 bits a channel from the next ``resize`` on, as screens show them:
            a quarter of the memory to write, and to read when they are shown.
        textures: RGBA32F or RGBA8, and R32F; row 0 at the top.
    """

    def __init__(self, ctx: moderngl.Context) -> None:
        self.ctx = ctx
        self.eight_bit = False
        self._cost: moderngl.Texture | None = None
        self._made: dict[bool, Target] = {}  # by ``eight_bit``: a window may show both in turn

    @property
    def _target(self) -> Target:
        return self._made[self.eight_bit]

    @property
    def textures(self) -> list[moderngl.Texture]:
        return self._target.textures

    @property
    def framebuffer(self) -> moderngl.Framebuffer:
        return self._target.framebuffer

    def resize(self, size: tuple[int, int]) -> None:
        if self._cost is None or self._cost.size != size:
            self.release()
            self._cost = self._texture(size, 1, "f4")
        if self.eight_bit not in self._made:
            textures = [self._texture(size, 4, "f1" if self.eight_bit else "f4"), self._cost]
            alone = [self.ctx.framebuffer([texture]) for texture in textures]
            self._made[self.eight_bit] = Target(textures, self.ctx.framebuffer(textures), alone)

    def _texture(self, size: tuple[int, int], components: int, dtype: str) -> moderngl.Texture:
        texture = self.ctx.texture(size, components, dtype=dtype)
        texture.filter = (moderngl.NEAREST, moderngl.NEAREST)
        return texture

    def bind_images(self) -> None:
        """For the compute host: image units 0 and 1."""
        for unit, texture in enumerate(self.textures):
            texture.bind_to_image(unit, read=False, write=True)

    def clear(self, nothing: bytes) -> None:
        """The picture becomes (r, g, b, coverage), four float32, everywhere, at no evaluation."""
        picture = np.frombuffer(nothing, "f4").tolist()
        for framebuffer, value in zip(self._target.alone, (picture, [0.0] * 4), strict=True):
            framebuffer.clear(*value)

    def fill(self, screen: moderngl.VertexArray) -> None:
        """For the fragment host: draw a program over the whole viewport."""
        with self.ctx.scope(self.framebuffer, enable_only=moderngl.NOTHING):
            self.framebuffer.viewport = (0, 0, *self.framebuffer.size)
            screen.render(moderngl.TRIANGLES, vertices=3)

    def release(self) -> None:
        for target in self._made.values():
            for framebuffer in (target.framebuffer, *target.alone):
                framebuffer.release()
            target.textures[0].release()
        if self._cost is not None:
            self._cost.release()
        self._cost, self._made = None, {}


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
