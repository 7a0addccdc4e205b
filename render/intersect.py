"""What a neural object answers to rays from anywhere: what of it they meet first.

Both kinds of intersector have the same two methods. ``intersect(rays, hits, count, occlusion)`` reads
``count`` rays of a buffer and writes as many answers to another; with ``occlusion`` only the first number of
an answer counts, and any crossing will do. ``release`` gives all GL objects back.

=====  =========================================================================================
ray    two vec4: origin in the world, half width of its cone at t = 1; unit direction, largest t
hit    three vec4: t or -1 for none, number of the network, side (1: met from outside), evaluations;
       the unit normal in which f grows, 0; the display colour seen along the direction, 0
=====  =========================================================================================

A ray whose largest t is 0 or less is none; its answer may be anything but a hit. Fields of one network are
searched by sphere tracing, which ends where f changes its sign: the bracket is narrowed by secants until f or
its length is below max(1e-4, a quarter of the cone's half width), or four times, and Newton's step with the
normal corrects the rest. A ray that begins up to 3e-4 behind the surface counts as begun on it.
"""

from __future__ import annotations

from typing import Any, Protocol

import moderngl
import numpy as np

from render.asset import BakedAsset
from render.errors import InshaderError
from render.glsl import compose, compute_program, groups_of
from render.parts import DeviceTables, Parts

RAY_BYTES, HIT_BYTES = 32, 48


class Intersector(Protocol):
    """What the path tracer asks of a neural object."""

    def intersect(
        self, rays: moderngl.Buffer, hits: moderngl.Buffer, count: int, occlusion: bool = False
    ) -> None: ...

    def release(self) -> None: ...


def intersector(ctx: moderngl.Context, asset: BakedAsset) -> Intersector:
    """That of an asset, by its driver.

    Raises:
        InshaderError: the asset holds no surface.
    """
    if asset.driver == "trace":
        return FieldIntersector(ctx, asset)
    if asset.driver == "trace_cells":
        from render.cell_passes import CellIntersector

        found: Intersector = CellIntersector(ctx, asset)
        return found
    raise InshaderError(f"an asset of the driver {asset.driver} holds no surface for rays to meet")


class FieldIntersector:
    """A field of one network (driver ``trace``)."""

    def __init__(self, ctx: moderngl.Context, asset: BakedAsset) -> None:
        self.ctx = ctx
        parts = Parts(asset, "compute")

        def program(name: str, occlusion: int) -> Any:
            defines = {"OCCLUSION": occlusion}
            source = compose(f"drivers/{name}", family=asset.shader, expand=parts.expand, defines=defines)
            return compute_program(ctx, source)

        self.enter = program("intersect_enter.comp", 0)
        self.search = [program("intersect_field.comp", occlusion) for occlusion in (0, 1)]
        self.tables = DeviceTables(ctx, parts)
        self.list: moderngl.Buffer | None = None

    def intersect(
        self, rays: moderngl.Buffer, hits: moderngl.Buffer, count: int, occlusion: bool = False
    ) -> None:
        if self.list is None or self.list.size < 16 + 8 * count:
            if self.list is not None:
                self.list.release()
            self.list = self.ctx.buffer(reserve=16 + 8 * count)
        self.list.write(np.array([0, 1, 1, 0], np.uint32).tobytes())
        for binding, buffer in enumerate((self.list, rays, hits)):
            buffer.bind_to_storage_buffer(binding)
        search = self.search[occlusion]
        self.tables.bind([self.enter, search])
        self.enter["u_count"] = count
        self.enter.run(*groups_of(count))
        self.ctx.memory_barrier(moderngl.SHADER_STORAGE_BARRIER_BIT | moderngl.COMMAND_BARRIER_BIT)
        search.run_indirect(self.list)
        self.ctx.memory_barrier(moderngl.SHADER_STORAGE_BARRIER_BIT)

    def release(self) -> None:
        self.tables.release()
        if self.list is not None:
            self.list.release()
        for program in (self.enter, *self.search):
            program.release()
