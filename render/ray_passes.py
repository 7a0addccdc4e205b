"""The passes of a driver that follows one ray a pixel.

The compute host runs two (``<driver>_enter.comp`` draws the pixels of rays that meet nothing and lists the
others, ``<driver>.comp`` takes those, 64 a group), the fragment host one (``<driver>.frag``).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

import moderngl
import numpy as np

from render.asset import BakedAsset
from render.camera import Camera
from render.glsl import COMPUTE, FRAGMENT, Source, compose, compute_program, draw_program
from render.ndc import DEFINES
from render.parts import DeviceTables, Parts
from render.targets import Box, Targets, view_uniforms, write_uniforms
from render.timing import PassTimer


class RayPasses:
    """The programs, tables and targets of one asset in one context.

    Attributes:
        crop: what of the world is seen, (2, 3); None: all.
        APART: modes with a program of their own, compiled when first wanted, in which the macro of that name
            in capitals with an S is 1 (``NORMALS``). Software rasterisers run both sides of a branch, so
            what only one mode needs would cost the others as much.
    """

    APART: ClassVar[tuple[str, ...]] = ()

    def __init__(self, ctx: moderngl.Context, asset: BakedAsset, host: str, modes: Mapping[str, int]) -> None:
        self.ctx, self.asset, self.host, self.modes = ctx, asset, host, modes
        self.parts = Parts(asset, host)
        self.programs: dict[str, Any] = {}
        self.vertices: dict[str, moderngl.VertexArray] = {}
        self.targets = Targets(ctx)
        self.crop: Box | None = None
        self.list: moderngl.Buffer | None = None
        self._program("colour")
        if host == "compute":
            self.programs["enter"] = compute_program(ctx, self._compose(f"{asset.driver}_enter.comp"))
        self.tables = DeviceTables(ctx, self.parts)

    def _compose(self, name: str, apart: str = "") -> Source:
        defines = {f"MODE_{mode.upper()}": number for mode, number in self.modes.items()}
        return compose(
            f"drivers/{name}",
            version=COMPUTE if self.host == "compute" else FRAGMENT,
            family=self.asset.shader,
            expand=self.parts.expand,
            defines={
                **defines,
                **DEFINES,
                "CROP": 1,
                **{f"{mode.upper()}S": int(mode == apart) for mode in self.APART},
            },
        )

    def _program(self, mode: str) -> str:
        """The name of the program that draws ``mode``; compiled if it is not there."""
        apart = mode if mode in self.APART else ""
        name = apart or self.asset.driver
        if name not in self.programs:
            if self.host == "compute":
                source = self._compose(f"{self.asset.driver}.comp", apart)
                self.programs[name] = compute_program(self.ctx, source)
            else:
                vertex = compose("common/screen.vert", version=FRAGMENT)
                source = self._compose(f"{self.asset.driver}.frag", apart)
                self.programs[name] = draw_program(self.ctx, vertex, source)
                self.vertices[name] = self.ctx.vertex_array(self.programs[name], [])
        return name

    def ready(self, mode: str) -> bool:
        """Whether ``mode`` can be drawn without compiling first."""
        return (mode if mode in self.APART else self.asset.driver) in self.programs

    def draw(self, camera: Camera, mode: str, timer: PassTimer) -> tuple[moderngl.Texture, moderngl.Texture]:
        """The picture (r, g, b, coverage) and the evaluations per pixel, row 0 at the top."""
        name = self._program(mode)
        self.targets.resize((camera.w, camera.h))
        self.tables.bind([self.programs[name]])
        uniforms = view_uniforms(camera, self.asset.background, self.modes[mode], self.crop)
        nothing = self.asset.background if mode == "colour" else np.zeros(3)
        uniforms["u_nothing"] = np.append(nothing, 0).astype("f4").tobytes()
        write_uniforms(self.programs.values(), uniforms)
        if self.host == "compute":
            self._draw_compute(name, camera, timer)
        else:
            with timer.measure(self.asset.driver):
                self.targets.fill(self.vertices[name])
        return self.targets.textures[0], self.targets.textures[1]

    def _draw_compute(self, name: str, camera: Camera, timer: PassTimer) -> None:
        size = 16 + 8 * camera.w * camera.h
        if self.list is None or self.list.size != size:
            if self.list is not None:
                self.list.release()
            self.list = self.ctx.buffer(reserve=size)
        self.list.write(np.array([0, 1, 1, 0], np.uint32).tobytes())
        self.list.bind_to_storage_buffer(0)
        self.targets.bind_images()
        with timer.measure("enter"):
            self.programs["enter"].run(-(-camera.w // 8), -(-camera.h // 8))
        self.ctx.memory_barrier(moderngl.SHADER_STORAGE_BARRIER_BIT | moderngl.COMMAND_BARRIER_BIT)
        with timer.measure(self.asset.driver):
            self.programs[name].run_indirect(self.list)
        self.ctx.memory_barrier()

    def release(self) -> None:
        self.targets.release()
        self.tables.release()
        if self.list is not None:
            self.list.release()
        for item in (*self.vertices.values(), *self.programs.values()):
            item.release()
