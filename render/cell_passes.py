"""The passes that trace a bank of networks on compute shaders, each network's rays together.

A network is fast where a group of invocations keeps its weights in the memory that they share, and the code
is straight; so rays are sorted by network before each step. One round of a queue is

    scan      the bins' counts become places in a sorted list, and items of work of one network each
    scatter   each waiting ray goes to its place
    search    rays go on within their cell, until a layer ends or they leave it
    or shade  the ends of layers: normal, coverage, colour

and what a round leaves waits in the bins of the next one. Ends of layers wait until ``SEARCHES`` rounds of
the search are over, so that there are many for each network. The count of rays that still wait is read back
after that, not before. ``CellPasses`` draws pictures this way, ``CellIntersector`` answers rays of others.
"""

from __future__ import annotations

from collections.abc import Mapping

import moderngl
import numpy as np

from render.asset import BakedAsset
from render.camera import Camera
from render.context import is_software
from render.errors import InshaderError
from render.glsl import compose, compute_program
from render.network_glsl import packed_rows
from render.parts import MAX_TEXTURE_HEIGHT, TEXTURE_WIDTH, DeviceTables, Parts
from render.targets import Box, Targets, view_uniforms, write_uniforms
from render.timing import PassTimer

RAYS_AT_ONCE = 1 << 20  # 100 MB of state
SEARCHES = 4
MAX_SHARED = 1 << 15  # bytes, what OpenGL 4.3 grants
MAX_ROUNDS = 512  # a ray takes at most 128 evaluations, one a round at the least

GROUP = {True: 16, False: 64}  # invocations, a ray each, of software and of others
RECORD, STATE, ENTRY = 32, 64, 12  # bytes
SEARCHING, SHADING = range(2)  # the queues


class Rounds:
    """The passes between the rays and what they meet.

    Args:
        modes: numbers of the modes, which the shaders know as macros.
        first_hit: answer with first crossings, in place of layers with edges.

    Raises:
        InshaderError: the bank exceeds what the driver of the graphics system holds.
    """

    def __init__(
        self, ctx: moderngl.Context, asset: BakedAsset, modes: Mapping[str, int], first_hit: bool = False
    ) -> None:
        self.ctx, self.asset = ctx, asset
        check_limits(ctx, asset, "compute")
        # software runs a group's invocations one vector after the other, and idle ones cost as much
        self.group = GROUP[is_software(ctx)]
        self.defines = {f"MODE_{mode.upper()}": number for mode, number in modes.items()}
        self.defines["GROUP"] = self.group
        self.defines["FIRST_HIT" if first_hit else "CROP"] = 1
        self.parts = Parts(asset, "compute")
        self.networks = asset.networks["distance"].spec.count
        self.programs = {name: self.program(name) for name in ("enter", "scan", "scatter", "search", "shade")}
        self.tables = DeviceTables(ctx, self.parts)
        self.buffers: list[moderngl.Buffer] = []
        self.room = 0

    def program(self, name: str) -> moderngl.ComputeShader:
        source = compose(
            f"drivers/trace_cells_{name}.comp",
            family=self.asset.shader,
            expand=self.parts.expand,
            defines=self.defines,
        )
        return compute_program(self.ctx, source)

    def reserve(self, rays: int) -> None:
        """Make room for so many rays; what is there already stays."""
        if rays <= self.room:
            return
        for buffer in self.buffers:
            buffer.release()
        self.room = rays
        items = 64 + 16 * (rays // self.group + self.networks)
        sizes = (rays * RECORD, rays * STATE, 2 * rays * ENTRY, 12 * self.networks, items, 4 * rays)
        self.buffers = [self.ctx.buffer(reserve=size) for size in sizes]
        self.buffers[3].clear()
        self.buffers[4].clear()

    def bind(self, rays: moderngl.Buffer | None = None, first: int = 0, count: int = 0) -> None:
        """Bind all buffers, those of the rays ``first`` to ``first + count`` from elsewhere where given."""
        for binding, buffer in enumerate(self.buffers):
            buffer.bind_to_storage_buffer(binding)
        if rays is not None:
            rays.bind_to_storage_buffer(0, offset=first * RECORD, size=count * RECORD)
        self.tables.bind([])

    def run(self, count: int, uniforms: dict[str, bytes], shade: bool = True) -> None:
        """From ``count`` records of rays to their states, or hits."""
        counts = {"u_rays": np.int32(count).tobytes(), "u_networks": np.int32(self.networks).tobytes()}
        write_uniforms(self.programs.values(), {**uniforms, **counts})
        self.dispatch(self.programs["enter"], count)
        for _ in range(0, MAX_ROUNDS, SEARCHES):
            for _ in range(SEARCHES):
                self._round(SEARCHING, self.programs["search"])
            if shade:
                self._round(SHADING, self.programs["shade"])
            self.ctx.memory_barrier()  # of all kinds: what is read next was written by shaders
            if not any(np.frombuffer(self.buffers[4].read(8, offset=32), np.uint32)):
                return

    def dispatch(self, program: moderngl.ComputeShader, count: int) -> None:
        """``program`` on ``count`` rays, 64 a group."""
        program.run(-(-count // 64))
        self._barrier()

    def _round(self, queue: int, program: moderngl.ComputeShader) -> None:
        scan, scatter, work = self.programs["scan"], self.programs["scatter"], self.buffers[4]
        scan["u_queue"] = scatter["u_queue"] = queue
        scan.run(1)
        self._barrier()
        scatter.run_indirect(work, 16)
        self._barrier()
        program.run_indirect(work)
        self._barrier()

    def _barrier(self) -> None:
        self.ctx.memory_barrier(moderngl.SHADER_STORAGE_BARRIER_BIT | moderngl.COMMAND_BARRIER_BIT)

    def release(self) -> None:
        self.tables.release()
        for buffer in self.buffers:
            buffer.release()
        for program in self.programs.values():
            program.release()


class CellPasses:
    """The compute host of the driver ``trace_cells``, as ``render/ray_passes.py`` is of others."""

    def __init__(self, ctx: moderngl.Context, asset: BakedAsset, modes: Mapping[str, int]) -> None:
        self.ctx, self.asset, self.modes = ctx, asset, modes
        self.rounds = Rounds(ctx, asset, modes)
        self.targets = Targets(ctx)
        self.crop: Box | None = None
        self.camera, self.resolve = self.rounds.program("camera"), self.rounds.program("resolve")

    def draw(self, camera: Camera, mode: str, timer: PassTimer) -> tuple[moderngl.Texture, moderngl.Texture]:
        """The picture (r, g, b, coverage) and the evaluations per pixel, row 0 at the top."""
        self.targets.resize((camera.w, camera.h))
        pixels = camera.w * camera.h
        self.rounds.reserve(min(pixels, RAYS_AT_ONCE))
        uniforms = view_uniforms(camera, self.asset.background, self.modes[mode], self.crop)
        uniforms["u_size"] = np.array([camera.w, camera.h], "i4").tobytes()
        with timer.measure(self.asset.driver):
            for first in range(0, pixels, RAYS_AT_ONCE):
                count = min(RAYS_AT_ONCE, pixels - first)
                part = {"u_first": np.int32(first).tobytes(), "u_rays": np.int32(count).tobytes()}
                write_uniforms((self.camera, self.resolve), {**uniforms, **part})
                self.rounds.bind()
                self.rounds.dispatch(self.camera, count)
                self.rounds.run(count, uniforms)
                self.targets.bind_images()
                self.rounds.dispatch(self.resolve, count)
        self.ctx.memory_barrier()
        return self.targets.textures[0], self.targets.textures[1]

    def release(self) -> None:
        self.targets.release()
        self.rounds.release()
        self.camera.release()
        self.resolve.release()


class CellIntersector:
    """What of a bank rays from anywhere meet first.

    Rays are records of two vec4: origin in the world and half width of the cone at t = 1; unit direction and
    largest t, 0 or less for a ray that is none. Hits are records of three: t (-1: none), number of the
    network, side (1: met from outside), evaluations; unit normal in which f grows, 0; display colour seen
    along the direction, 0.

    Raises:
        InshaderError: the bank exceeds what the driver of the graphics system holds.
    """

    def __init__(self, ctx: moderngl.Context, asset: BakedAsset) -> None:
        self.rounds = Rounds(ctx, asset, {"COLOUR": 0, "DEPTH": 1}, first_hit=True)

    def intersect(
        self, rays: moderngl.Buffer, hits: moderngl.Buffer, count: int, occlusion: bool = False
    ) -> None:
        """Write the hits of ``count`` rays; with ``occlusion`` no normals and no colours."""
        self.rounds.reserve(min(count, RAYS_AT_ONCE))
        uniforms = {"u_mode": np.int32(0).tobytes(), "u_occlusion": np.int32(occlusion).tobytes()}
        for first in range(0, count, RAYS_AT_ONCE):
            part = min(RAYS_AT_ONCE, count - first)
            self.rounds.bind(rays, first, part)
            hits.bind_to_storage_buffer(6, offset=first * 48, size=part * 48)
            self.rounds.run(part, uniforms, shade=not occlusion)

    def release(self) -> None:
        self.rounds.release()


def check_limits(ctx: moderngl.Context, asset: BakedAsset, host: str) -> None:
    """Raise InshaderError unless each bank fits a texture, and the networks of a cell what a group shares."""
    words = TEXTURE_WIDTH * min(MAX_TEXTURE_HEIGHT, int(ctx.info["GL_MAX_TEXTURE_SIZE"]))
    specs = {name: asset.networks[name].spec for name in ("distance", "colour")}
    for name, spec in specs.items():
        each = 4 * packed_rows(spec)
        if spec.count * each > words:
            raise InshaderError(
                f"the cell grid is too large: the bank {name} has {spec.count} networks, "
                f"a texture here holds {words // each} of them ({words >> 18} MB)"
            )
    shared = 16 * sum(packed_rows(spec) for spec in specs.values())
    if host == "compute" and shared > MAX_SHARED:
        raise InshaderError(
            f"the networks distance and colour of a cell take {shared} bytes, the compute host has room for "
            f"{MAX_SHARED}: use the host fragment, or narrower networks"
        )
