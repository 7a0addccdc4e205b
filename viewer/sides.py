"""The pictures of a frame: of one mode, or of two with a bar between them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import moderngl
import numpy as np
from numpy.typing import NDArray

from render.camera import Camera
from render.renderer import Frame, Renderer
from viewer import comparison, tracing
from viewer.screen import GREY, Screen
from viewer.tracing import PathTracer
from viewer.truth import Truth


class Sides:
    """What was drawn last, and how it comes to the screen.

    Attributes:
        modes: left and right of the bar, or one.
        frame: of the renderer's last draw for them; None where none was needed.
    """

    def __init__(self, ctx: moderngl.Context) -> None:
        self.ctx, self.screen = ctx, Screen(ctx)
        self.modes: tuple[str, ...] = ()
        self.frame: Frame | None = None
        self._textures: dict[str, moderngl.Texture] = {}
        self._held: tuple[Truth, int] | None = None  # which picture the screen has as truth

    @property
    def warning(self) -> str | None:
        """What the driver has to say about the frame, as of a camera that the asset was not made for."""
        return None if self.frame is None else self.frame.warning

    def forget(self) -> None:
        """The renderer draws something else, or is about to be released."""
        self.modes, self.frame, self._textures = (), None, {}

    def draw(
        self,
        renderer: Renderer,
        modes: tuple[str, ...],
        camera: Camera,
        truth: Truth,
        standing: int | None,
        how: Mapping[str, Any],
        tracer: PathTracer | None = None,
        eight_bit: bool = False,
    ) -> None:
        """Draw what ``modes`` want; the renderer has one texture, so what it drew first is copied.

        Args:
            camera: in the pixels to draw.
            truth, standing: where a mode compares, the pictures and which of them ``camera`` is of.
            how: further arguments of ``Renderer.draw``.
            tracer: where a mode is its.
            eight_bit: colours are shown as they are; an error is taken of all that was drawn.
        """
        self.forget()
        for mode in dict.fromkeys(modes):
            if mode == tracing.MODE:
                assert tracer is not None
                self.gather(tracer, camera)
                continue
            of, drawn = camera, mode
            if mode in comparison.MODES:
                assert standing is not None
                if self._held != (truth, standing):
                    self.screen.set_truth(*truth.view(standing))
                    self._held = truth, standing
                of, drawn = renderer.asset.held_out[standing], "colour"  # in its own pixels, as scores are
            if mode == "truth":
                assert self.screen.truth is not None
                self._textures[mode] = self.screen.truth
                continue
            for earlier, texture in self._textures.items():
                if earlier not in ("truth", tracing.MODE):
                    self._textures[earlier] = self.screen.copied(texture)
            self.frame = renderer.draw(of, mode=drawn, eight_bit=eight_bit and mode == "colour", **how)
            self._textures[mode] = self.frame.texture
        self.modes = modes

    def gather(self, tracer: PathTracer, camera: Camera) -> Frame:
        """A sample more of the path traced picture, which is returned; what else was drawn stays."""
        frame = tracer.draw(camera)
        self._textures[tracing.MODE] = frame.texture
        self.frame = frame if self.frame is None or self.modes == (tracing.MODE,) else self.frame
        return frame

    def present(
        self,
        target: moderngl.Framebuffer,
        size: tuple[int, int],
        split: float | None,
        whole: bool = False,
        **looks: Any,
    ) -> None:
        """Into ``target``, ``size`` pixels, the bar at the fraction ``split``; grey where nothing was drawn.

        Args:
            whole: pictures keep their shapes, whatever that of the target is.
            looks: arguments of ``Screen.show``.
        """
        if not self.modes:
            target.use()
            target.clear(GREY, GREY, GREY)
            return
        bar = size[0] if split is None else round(split * size[0])
        for mode, span in zip(self.modes, ((0, bar), (bar, size[0])), strict=False):
            kept = whole or mode in comparison.MODES
            self.screen.show(self._textures[mode], target, size, mode, whole=kept, span=span, **looks)
        if split is not None:
            self.screen.bar(target, size, bar)

    def pixels(self, size: tuple[int, int], split: float | None, **looks: Any) -> NDArray[np.uint8]:
        """(h, w, 3): what ``present`` shows."""
        canvas = self.ctx.texture(size, 4)
        target = self.ctx.framebuffer([canvas])
        try:
            with self.ctx.scope(target):  # which is not to be released while it is bound
                self.present(target, size, split, **looks)
                data = target.read(components=3, alignment=1)
        finally:
            target.release()
            canvas.release()
        return np.frombuffer(data, np.uint8).reshape(size[1], size[0], 3)[::-1]

    def release(self) -> None:
        """Free what is held on the GPU."""
        self.forget()
        self.screen.release()
