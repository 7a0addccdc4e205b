"""The ``image`` driver: a picture in the plane z = 0, one evaluation a pixel.

What an asset must hold for it (the family is free in how it fills them):

=====================  ==================================================================================
``bounds``             the picture fills low..high in x and y
grid ``features``      of the plane, over uv = (x - low) / (high - low): from the bottom left
network ``decoder``    features -> premultiplied red, green, blue, and alpha where there are four values
``peak``               the largest value of the truth, which scores count as 1; drawing does not need it
=====================  ==================================================================================

Colours are display colours, or linear ones of an HDR picture; they are not clipped. To pan and zoom is to
move the camera. ``reference`` is the numpy twin of ``image.glsl`` in ``shaders/drivers`` and in
``shaders/families``.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import moderngl
import numpy as np
from numpy.typing import NDArray

from render.asset import BakedAsset
from render.camera import Camera
from render.errors import InshaderError
from render.glsl import COMPUTE, FRAGMENT, compose, compute_program, draw_program
from render.parts import DeviceTables, Parts
from render.targets import Targets, view_uniforms, write_uniforms
from render.timing import PassTimer

MODES = ("colour", "depth", "cost")
HOSTS = ("compute", "fragment")
REFERENCE_POINTS = 1 << 17  # evaluated at a time by the numpy twin
Array = NDArray[np.float32]


def check(asset: BakedAsset) -> None:
    """Raise InshaderError unless the parts are there and fit each other."""
    parts = Parts(asset, "compute")
    grid, decoder = parts.grid("features").spec, parts.network("decoder").spec
    if grid.dimension != 2:
        raise InshaderError(f"the grid features has {grid.dimension} dimensions, image wants 2")
    if decoder.count != 1 or len(decoder.inputs) != 1 or decoder.inputs[0].width != grid.output_width:
        width = grid.output_width
        raise InshaderError(f"the network decoder must be a single one with one input of width {width}")
    if decoder.output_width not in (3, 4):
        raise InshaderError(f"the network decoder gives {decoder.output_width} values, expected 3 or 4")
    if not 0 < parts.number("peak") < 1e30:
        raise InshaderError(f"the constant peak is {parts.number('peak')!r}, expected a number above 0")


class Passes:
    """The program, tables and targets of one asset in one context."""

    def __init__(self, ctx: moderngl.Context, asset: BakedAsset, host: str, modes: Mapping[str, int]) -> None:
        self.ctx, self.asset, self.host, self.modes = ctx, asset, host, modes
        parts = Parts(asset, host)
        source = compose(
            "drivers/image.comp" if host == "compute" else "drivers/image.frag",
            version=COMPUTE if host == "compute" else FRAGMENT,
            family=asset.shader,
            expand=parts.expand,
            defines={f"MODE_{name.upper()}": number for name, number in modes.items()},
        )
        self.screen: moderngl.VertexArray | None = None
        self.program: Any
        if host == "compute":
            self.program = compute_program(ctx, source)
        else:
            self.program = draw_program(ctx, compose("common/screen.vert", version=FRAGMENT), source)
            self.screen = ctx.vertex_array(self.program, [])
        self.tables = DeviceTables(ctx, parts)
        self.targets = Targets(ctx)

    def draw(self, camera: Camera, mode: str, timer: PassTimer) -> tuple[moderngl.Texture, moderngl.Texture]:
        """The picture (r, g, b, coverage) and the evaluations per pixel, row 0 at the top."""
        self.targets.resize((camera.w, camera.h))
        self.tables.bind([self.program])
        write_uniforms([self.program], view_uniforms(camera, self.asset.background, self.modes[mode]))
        if self.screen is None:
            self.targets.bind_images()
            with timer.measure("image"):
                self.program.run(-(-camera.w // 8), -(-camera.h // 8))
            self.ctx.memory_barrier()
        else:
            with timer.measure("image"):
                self.targets.fill(self.screen)
        return self.targets.textures[0], self.targets.textures[1]

    def release(self) -> None:
        self.targets.release()
        self.tables.release()
        for item in (self.screen, self.program):
            if item is not None:
                item.release()


def plane_points(bounds: NDArray[np.floating], rays_o: Array, rays_d: Array) -> tuple[Array, Array]:
    """uv (n, 2) where rays (n, 3) meet the plane z = 0, and t (n,), -1 for those that miss the picture."""
    low, size = bounds[0, :2], bounds[1, :2] - bounds[0, :2]
    level = np.abs(rays_d[:, 2]) < 1e-12
    t = np.where(level, np.float32(-1), -rays_o[:, 2] / np.where(level, np.float32(1), rays_d[:, 2]))
    uv = (rays_o[:, :2] + t[:, None] * rays_d[:, :2] - low) / size
    meets = (t >= 0) & ((uv >= 0) & (uv <= 1)).all(-1)
    return uv.astype(np.float32), np.where(meets, t, np.float32(-1)).astype(np.float32)


def reference(asset: BakedAsset, camera: Camera, mode: str) -> tuple[Array, Array]:
    """The numpy twin: picture (h, w, 4), its last channel the coverage, and evaluations (h, w)."""
    parts = Parts(asset, "compute")
    grid, decoder = parts.grid("features"), parts.network("decoder")
    origins, directions = camera.rays()
    uv, t = plane_points(asset.bounds, origins.reshape(-1, 3), directions.reshape(-1, 3))
    rgba = np.zeros((len(t), 4), np.float32)
    met = np.nonzero(t >= 0)[0]
    for start in range(0, len(met), REFERENCE_POINTS):
        some = met[start : start + REFERENCE_POINTS]
        features = grid.spec.evaluate(grid.table, uv[some])
        y = decoder.spec.evaluate(decoder.parameters, features)  # (n, 3 | 4)
        rgba[some, :3] = y[:, :3]
        rgba[some, 3] = np.clip(y[:, 3], 0, 1) if y.shape[1] == 4 else 1
    cost = (t >= 0).astype(np.float32)
    if mode == "colour":
        rgba[:, :3] += (1 - rgba[:, 3:]) * np.asarray(asset.background, np.float32)
    elif mode == "depth":
        rgba[:, :3] = np.where(rgba[:, 3] > 0, t, 0)[:, None]
    else:
        rgba[:, :3] = cost[:, None]
    return rgba.reshape(camera.h, camera.w, 4), cost.reshape(camera.h, camera.w)
