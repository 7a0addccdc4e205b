"""Renderer: draws an asset through OpenGL. Viewer, benchmark and tests use nothing deeper.

    with Renderer(create_context(), read_asset(path)) as renderer:
        frame = renderer.draw(camera, (800, 800))
        frame.images["colour"]                      # (800, 800, 3) float32

A *driver* is a module of ``render/drivers`` with ``MODES``, ``HOSTS``, ``check(asset)``, a class ``Passes``
and the numpy twin ``reference(asset, camera, mode)``; the asset names it. ``pathtrace`` stands above them: it
is asked for by name and has no twin. A driver that knows a state has ``read_state`` for it, whose result its
passes and its twin get. Passes have ``targets``; they may have an attribute ``crop`` (what of the world is
seen), ``ready(mode)`` (whether nothing has to be compiled first), ``counts()``, numbers of a frame, and
``warning``, a line about it.
"""

from __future__ import annotations

import importlib
import pkgutil
import weakref
from collections.abc import Mapping
from functools import cached_property
from types import ModuleType, TracebackType
from typing import Any

import moderngl
import numpy as np
from numpy.typing import NDArray

from render import drivers
from render.asset import BakedAsset
from render.camera import Camera
from render.errors import InshaderError
from render.glsl import families
from render.targets import Box
from render.timing import PassTimer

MODES = {
    "colour": 0,
    "depth": 1,
    "normal": 2,
    "cost": 3,
    "id": 4,
    "error": 5,
    "thickness": 6,
    "wire": 7,
}
CHANNELS = {"colour": 3, "depth": 1, "normal": 3, "cost": 1, "id": 1, "error": 3, "thickness": 1, "wire": 3}
Image = NDArray[np.float32]


def driver_of(asset: BakedAsset, name: str | None = None) -> ModuleType:
    """The driver module of an asset, or the one of that name, which the asset is checked against.

    Raises:
        InshaderError: the family or the driver is unknown, or the asset lacks a part that the driver wants.
    """
    known = sorted(module.name for module in pkgutil.iter_modules(drivers.__path__))
    if asset.driver not in known:
        raise InshaderError(f"the asset wants the driver {asset.driver!r:.40}, there are {', '.join(known)}")
    if asset.shader not in families():
        raise InshaderError(f"the asset is {asset.shader!r:.80}, there are {', '.join(families())}")
    name = asset.driver if name is None else name
    if name not in (asset.driver, "pathtrace"):
        raise InshaderError(
            f"the driver {name!r:.40} cannot draw the asset, use {asset.driver} or, for a surface, pathtrace"
        )
    driver = importlib.import_module(f"{drivers.__name__}.{name}")
    driver.check(asset)
    return driver


def check_mode(driver: ModuleType, mode: str) -> None:
    """Raise InshaderError unless ``driver`` draws ``mode``."""
    if mode not in driver.MODES:
        raise InshaderError(
            f"the driver {_name(driver)} has no mode {mode!r:.40}, it has {', '.join(driver.MODES)}"
        )


def driver_state(driver: ModuleType, state: Mapping[str, Any] | None) -> tuple[Any, ...]:
    """What passes and the twin of ``driver`` get of a state besides camera and mode.

    Raises:
        InshaderError: it knows no such state.
    """
    read_state = getattr(driver, "read_state", None)
    if read_state is not None:
        return (read_state(state or {}),)
    if state:
        raise InshaderError(f"the driver {_name(driver)} has no state {next(iter(state))!r:.40}")
    return ()


def _name(driver: ModuleType) -> str:
    return driver.__name__.rpartition(".")[2]


class Frame:
    """One drawn picture, still on the GPU until asked for.

    Attributes:
        mode: what was drawn.
        samples: a pixel, that a driver has added up; 1 of others.
        warning: a line for whoever looks at the picture, or None.
        texture: RGBA32F of the renderer's, or RGBA8, row 0 is the top row; a is the coverage. colour: display
            colour over the background; depth: world units along the ray, 0 where nothing is; normal: unit
            vectors in the world; cost: evaluated samples.

    It belongs to the renderer's last ``draw``: read what you need before the next one.
    """

    def __init__(
        self, renderer: Renderer, mode: str, texture: moderngl.Texture, cost: moderngl.Texture
    ) -> None:
        self.mode, self.texture = mode, texture
        self._cost, self._renderer, self._number = cost, renderer, renderer.frames
        self.samples = int(getattr(renderer._passes, "samples", 1))
        self.warning: str | None = getattr(renderer._passes, "warning", None)

    @property
    def current(self) -> bool:
        """Whether the renderer has drawn nothing since, so that it can be read."""
        return self._number == self._renderer.frames

    def _read(self, texture: moderngl.Texture) -> Image:
        if not self.current:
            raise RuntimeError("this frame has been drawn over: read it before the renderer's next draw")
        w, h = texture.size
        if texture.dtype == "f1":
            values = np.frombuffer(texture.read(), np.uint8).reshape(h, w, -1)
            return np.divide(values, 255, dtype=np.float32)
        return np.frombuffer(texture.read(), np.float32).reshape(h, w, -1)

    @cached_property
    def images(self) -> dict[str, Image]:
        """``mode``: (h, w, channels), and ``coverage``: (h, w, 1), 1 - transmittance."""
        picture = self._read(self.texture)
        return {self.mode: picture[..., : CHANNELS[self.mode]], "coverage": picture[..., 3:]}

    @cached_property
    def stats(self) -> dict[str, Any]:
        """``evaluations_per_pixel``, ``evaluations_per_hit`` (of pixels that have any), ``ms`` by pass,
        ``timer`` (``wall`` or ``gl``), ``samples`` a pixel, and what the driver counts besides.

        A driver that adds samples up gives the evaluations of one.
        """
        cost = self._read(self._cost)
        timer = self._renderer.timer
        hit = cost[cost > 0]
        counts = getattr(self._renderer._passes, "counts", dict)
        return {
            **counts(),
            "evaluations_per_pixel": float(cost.mean()),
            "evaluations_per_hit": float(hit.mean()) if hit.size else 0.0,
            "ms": timer.milliseconds(),
            "timer": timer.kind,
            "samples": self.samples,
        }


class Renderer:
    """An asset in a context.

    Args:
        ctx: from ``create_context`` or ``current_context``; must be current whenever this is used.
        asset: what to draw.
        host: ``compute`` (OpenGL 4.3), ``fragment`` (3.3), or ``auto``: compute where there is one.
        driver: None: the asset's own; ``pathtrace``: global illumination of what has a surface.

    Raises:
        InshaderError: the asset cannot be drawn, here or at all.
    """

    def __init__(
        self, ctx: moderngl.Context, asset: BakedAsset, host: str = "auto", driver: str | None = None
    ) -> None:
        self.driver = driver_of(asset, driver)
        self.ctx, self.asset = ctx, asset
        self.host = _host(ctx, host, self.driver.HOSTS)
        self.timer = PassTimer(ctx)
        self.frames = 0
        self._passes = self.driver.Passes(ctx, asset, self.host, MODES)
        self._finalizer = weakref.finalize(self, self._passes.release)
        self._finalizer.atexit = False  # the context may be gone by then, and its objects with it

    def draw(
        self,
        camera: Camera,
        size: tuple[int, int] | None = None,
        mode: str = "colour",
        state: Mapping[str, Any] | None = None,
        crop: Box | None = None,
        eight_bit: bool = False,
    ) -> Frame:
        """Draw what ``camera`` sees.

        Args:
            size: (w, h) of the picture; None: the camera's own.
            mode: one of ``MODES`` that the driver has.
            state: what a driver wants besides, such as the samples of ``pathtrace`` or the deformation of
                ``shell``: see its ``read_state``.
            crop: (2, 3) lowest and highest corner of what of the world is seen; None: all.
            eight_bit: colours are only to be seen on a screen: 8 bits a channel are enough.

        Raises:
            InshaderError: the driver has no such mode or no such state, cannot crop, or the size is unusable.
        """
        check_mode(self.driver, mode)
        more = driver_state(self.driver, state)
        if size is not None and tuple(size) != (camera.w, camera.h):
            camera = camera.resized(*size)
        limit = int(self.ctx.info["GL_MAX_TEXTURE_SIZE"])
        if max(camera.w, camera.h) > limit:
            raise InshaderError(
                f"a picture of {camera.w}x{camera.h} is too large here, the longest side is {limit}"
            )
        if crop is not None and not self.crops:
            raise InshaderError(
                f"the driver {_name(self.driver)} draws all of its scene: it cannot be cropped"
            )
        if self.crops:
            self._passes.crop = crop
        self._passes.targets.eight_bit = eight_bit and mode == "colour"
        self.frames += 1
        self.timer.begin()
        picture, cost = self._passes.draw(camera, mode, self.timer, *more)
        return Frame(self, mode, picture, cost)

    @property
    def previews(self) -> bool:
        """Whether the asset has something quicker to draw while the camera moves: the state ``preview``."""
        return bool(getattr(self._passes, "previews", False))

    @property
    def crops(self) -> bool:
        """Whether a part of the scene can be drawn."""
        return hasattr(self._passes, "crop")

    def ready(self, mode: str) -> bool:
        """Whether the driver draws ``mode`` without compiling shaders first."""
        return bool(getattr(self._passes, "ready", lambda mode: True)(mode))

    def release(self) -> None:
        """Give all GL objects back; the renderer is of no use afterwards."""
        self._finalizer()

    def __enter__(self) -> Renderer:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.release()


def _host(ctx: moderngl.Context, host: str, offered: tuple[str, ...]) -> str:
    """The host to use, checked against the context."""
    if host == "auto":
        host = "compute" if ctx.version_code >= 430 and "compute" in offered else "fragment"
        host = host if host in offered else offered[0]
    if host not in offered:
        raise InshaderError(f"the host {host!r:.40} is not one of auto, {', '.join(offered)}")
    if host == "compute" and ctx.version_code < 430:
        raise InshaderError(
            f"the compute host wants OpenGL 4.3, here is {ctx.version_code / 100:.1f}"
            + (": use fragment" if "fragment" in offered else ", and the driver has no other")
        )
    return host
