"""The mode ``pathtrace``: global illumination of a surface, a sample a frame until there are enough."""

from __future__ import annotations

import math
import time

import moderngl

from render.asset import BakedAsset
from render.camera import Camera
from render.errors import InshaderError
from render.renderer import Frame, Renderer, driver_of
from viewer.resolution import LOWEST, MARGIN, STEP

MODE = "pathtrace"
PATIENCE = 0.4  # seconds that a sample may take at rest; it has fewer pixels where all would take longer
SAMPLES = 256
MOST = 1 << 14  # samples that may be asked for


def offered(ctx: moderngl.Context, asset: BakedAsset) -> bool:
    """Whether the asset has a surface, and the context the compute shaders for it."""
    try:
        driver = driver_of(asset, MODE)
    except InshaderError:
        return False
    return ctx.version_code >= 430 or "fragment" in driver.HOSTS


class PathTracer:
    """A renderer of its own, whose pictures grow better.

    Attributes:
        wanted: samples of a pixel after which it is done.
        denoise: whether the picture is filtered.
        samples: those that have come together.

    Raises:
        InshaderError: the asset cannot be path traced here.
    """

    def __init__(self, ctx: moderngl.Context, asset: BakedAsset) -> None:
        self.renderer = Renderer(ctx, asset, driver=MODE)
        self.wanted, self.denoise, self.samples = SAMPLES, False, 0
        self._filtered: bool | None = None  # whether the last picture is
        self._pace: float | None = None  # seconds of a sample of a pixel; None before any was timed
        self._warm = False  # the first draw compiles
        self._held: tuple[tuple[bool, tuple[int, int], float], float] | None = None

    @property
    def done(self) -> bool:
        """Whether another draw of the same would show the same."""
        return self.samples >= self.wanted and self._filtered == self.denoise

    def draw(self, camera: Camera) -> Frame:
        """A sample more, or the first one of another view."""
        start = time.perf_counter()
        before = self.samples
        state = {"samples": int(self.samples < self.wanted), "denoise": self.denoise}
        frame = self.renderer.draw(camera, state=state)
        self.renderer.ctx.finish()
        if self._warm and frame.samples != before:
            self._pace = (time.perf_counter() - start) / (camera.w * camera.h)
        self._warm = True
        self.samples, self._filtered = frame.samples, self.denoise
        return frame

    def scale(self, size: tuple[int, int], moving: bool, target_fps: float) -> float:
        """Of the resolution that a sample has time for; the same for as long as the view rests or moves."""
        if self._pace is None:
            return LOWEST
        kind = moving, size, target_fps
        if self._held is None or self._held[0] != kind:
            budget = MARGIN / target_fps if moving else PATIENCE
            fitting = math.sqrt(budget / (self._pace * size[0] * size[1]))
            self._held = kind, min(max(math.floor(fitting / STEP) * STEP, LOWEST), 1.0)
        return self._held[1]

    def release(self) -> None:
        """Free what is held on the GPU."""
        self.renderer.release()
