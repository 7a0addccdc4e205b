"""The passes of the driver ``shell``.

Both hosts draw the inner mesh first, into the nearest distance at which a ray is at its end. The compute host
then draws the outer mesh once, into a list of hits for each pixel; pixels are put into bins by how many
samples they have, and each bin is drawn. Pixels with more hits than a list holds are a bin of their own:
their rays are cast through a tree of all faces. The fragment host peels the outer mesh: the nearest hits
beyond the last one, of either kind, are an interval, until no face is left.

Distances are those to a face's plane along the ray, in float32 and never the depth buffer's: the smallest
stays by blending.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable, Mapping
from typing import Any

import moderngl
import numpy as np
from numpy.typing import NDArray

from render.animation import Deformation, check_deformation
from render.asset import BakedAsset, BakedMesh
from render.bvh import tree_order
from render.camera import Camera
from render.errors import InshaderError
from render.glsl import COMPUTE, FRAGMENT, compose, compute_program, draw_program
from render.intervals import NEAR, SHORTEST
from render.parts import DeviceTables, Parts
from render.shell_pose import DEFINES as POSE_DEFINES
from render.shell_pose import PoseTable
from render.shell_targets import FACES, Layer, Mesh
from render.stage_tables import lay_out_tree
from render.targets import Box, Targets, crop_uniforms, view_uniforms, write_uniforms
from render.timing import PassTimer

WIRES = {"inner": (1.0, 0.55, 0.1), "outer": (0.1, 0.5, 1.0)}  # colours of the meshes' edges
LINE_WIDTH = 0.7  # of the half of a line within a face, in pixels near the middle of a picture
NOTHING_MET = 1e30
BINS, OVERFLOW = 9, 8  # as in shell_work.glsl
HEADER = 16 * (BINS + 1)  # bytes before the lists of pixels
LIST_BYTES = 1 << 27  # of hits, or of pixels: what OpenGL grants a buffer
MAX_PEELS = 1024
TREE_BINDING = 5  # as in common/bvh.glsl
RAYS_BINDING = 3  # as in shell_cast.comp, and of the answers one more
POSE, SOLID, PEEL, STATES = 9, 11, 12, 13  # texture units beyond those of the tables, as is FACES


class MeshPasses(ABC):
    """What both hosts have: the meshes, the inner mesh's distance, and the wires."""

    host: str

    def __init__(self, ctx: moderngl.Context, asset: BakedAsset, modes: Mapping[str, int]) -> None:
        self.ctx, self.asset, self.modes = ctx, asset, modes
        self.parts = Parts(asset, self.host)
        self.shapes = {name: asset.meshes[name] for name in ("inner", "outer")}
        self.meshes = {name: Mesh(ctx, mesh) for name, mesh in self.shapes.items()}
        self.programs: dict[str, Any] = {}
        self.targets = Targets(ctx, "fragment")  # wires are drawn by either host
        self.solid = Layer(ctx, (1,))
        self.mesh_program("solid")
        self.deformation: Deformation | None = None
        self.crop: Box | None = None  # what of the world is seen
        self.pose = PoseTable(ctx)
        self.pose_uniforms: dict[str, bytes] = {}

    def deform(self, deformation: Deformation | None) -> None:
        """Draw the shell so from now on; None: as it was learnt.

        Raises:
            InshaderError: the deformation is that of another shell.
        """
        if deformation is None:
            self.move(self.asset.meshes)
        else:
            check_deformation(self.asset, deformation)
            self.pose_uniforms = self.pose.write(deformation.pose)
            self.move(deformation.meshes)
        self.deformation = deformation

    def sampling(self, name: str) -> tuple[str, dict[str, float]]:
        """Of a program that samples the field, the variant for what is drawn now: its name and macros."""
        if self.deformation is None:
            return name, {}
        self.pose.bind(POSE)
        return f"{name} deformed", {"DEFORMED": 1, **POSE_DEFINES}

    def move(self, meshes: Mapping[str, BakedMesh]) -> None:
        """Draw meshes of other vertices and the same faces from now on; the field stays where it is."""
        for name, mesh in meshes.items():
            self.shapes[name] = mesh
            self.meshes[name].move(mesh)

    def ready(self, mode: str) -> bool:
        """Whether ``mode`` can be drawn without compiling first."""
        return mode != "wire" or mode in self.programs

    def options(self, defines: Mapping[str, float]) -> dict[str, Any]:
        modes = {f"MODE_{mode.upper()}": number for mode, number in self.modes.items()}
        return {
            "version": COMPUTE if self.host == "compute" else FRAGMENT,
            "family": self.asset.shader,
            "expand": self.parts.expand,
            "defines": {"CROP": 1, "START": NEAR, "SHORTEST": float(SHORTEST), **modes, **defines},
        }

    def mesh_program(self, name: str, **defines: float) -> moderngl.Program:
        """``shell_<name>.frag`` over the faces of a mesh."""
        if name not in self.programs:
            options = self.options(defines)
            vertex = compose("drivers/shell_mesh.vert", version=options["version"])
            self.programs[name] = draw_program(
                self.ctx, vertex, compose(f"drivers/shell_{name}.frag", **options)
            )
            self.programs[name]["u_faces"] = FACES
        found: moderngl.Program = self.programs[name]
        return found

    def uniforms(self, camera: Camera, mode: str) -> dict[str, bytes]:
        nothing = self.asset.background if mode == "colour" else np.zeros(3)
        return {
            **view_uniforms(camera, self.asset.background, self.modes[mode], self.crop),
            "u_camera_from_world": np.linalg.inv(camera.world_from_camera[:3, :3]).T.astype("f4").tobytes(),
            "u_size": np.array([camera.w, camera.h], "f4").tobytes(),
            "u_pixels": np.array([camera.w, camera.h], "i4").tobytes(),
            **self.pose_uniforms,
            "u_nothing": np.append(nothing, 0).astype("f4").tobytes(),
        }

    def draw(
        self, camera: Camera, mode: str, timer: PassTimer, deformation: Deformation | None = None
    ) -> tuple[moderngl.Texture, moderngl.Texture]:
        """The picture (r, g, b, coverage) and the evaluations per pixel, row 0 at the top."""
        size = camera.w, camera.h
        if deformation is not self.deformation:
            with timer.measure("deform"):
                self.deform(deformation)
        self.targets.resize(size)
        if mode == "wire":
            with timer.measure("wire"):
                self.draw_wires(self.uniforms(camera, mode))
        else:
            uniforms = self.uniforms(camera, mode)
            self.solid.resize(size)
            with timer.measure("inner"), self.solid.target(moderngl.MIN):
                self.solid.clear(NOTHING_MET)
                write_uniforms([self.programs["solid"]], uniforms)
                self.meshes["inner"].draw(self.programs["solid"])
            self.solid.textures[0].use(SOLID)
            self.draw_samples(camera, uniforms, timer)
        return self.targets.textures[0], self.targets.textures[1]

    @abstractmethod
    def draw_samples(self, camera: Camera, uniforms: dict[str, bytes], timer: PassTimer) -> None:
        """All modes but the wires."""

    def draw_wires(self, uniforms: dict[str, bytes]) -> None:
        """Both meshes' edges over each other."""
        program, framebuffer = self.mesh_program("wire", LINE_WIDTH=LINE_WIDTH), self.targets.framebuffer
        assert framebuffer is not None
        with self.ctx.scope(framebuffer, enable_only=moderngl.BLEND):
            framebuffer.clear()
            self.ctx.blend_equation = moderngl.MAX  # type: ignore[assignment]
            for name, colour in WIRES.items():
                write_uniforms([program], {**uniforms, "u_colour": np.array(colour, "f4").tobytes()})
                self.meshes[name].draw(program)
            self.ctx.blend_equation = moderngl.FUNC_ADD  # type: ignore[assignment]

    def release(self) -> None:
        for item in (*self.meshes.values(), self.targets, self.solid, self.pose, *self.programs.values()):
            item.release()


class ComputePasses(MeshPasses):
    """The compute host.

    Attributes:
        overflow: pixels of the last frame that had more hits than their list holds.
    """

    host = "compute"

    def __init__(self, ctx: moderngl.Context, asset: BakedAsset, modes: Mapping[str, int]) -> None:
        super().__init__(ctx, asset, modes)
        self.mesh_program("list", LIST_WRITES=1)
        self.ray_program("enter", "shell_enter.comp")
        self.ray_program("sort", "shell_sort.comp")
        self.sampling_program("shade", "shell.comp", BVH=0)
        self.tables = DeviceTables(ctx, self.parts)
        self.scratch = Layer(ctx, (1,), "f1")  # a framebuffer must have something to be drawn into
        self.buffers: list[moderngl.Buffer] = []  # work, counts, hits
        self.tree: moderngl.Buffer | None = None
        self.order: NDArray[np.int64] | None = None  # of faces in the tree's leaves
        self.pixels, self.room, self.overflow = 0, 0, 0

    def sampling_program(self, name: str, path: str, **defines: float) -> moderngl.ComputeShader:
        """The variant of a program for what is drawn now."""
        variant, more = self.sampling(name)
        return self.ray_program(variant, path, **defines, **more)

    def ray_program(self, name: str, path: str, **defines: float) -> moderngl.ComputeShader:
        if name not in self.programs:
            source = compose(f"drivers/{path}", **self.options(defines))
            self.programs[name] = compute_program(self.ctx, source)
            for uniform, unit in (("u_solid", SOLID), ("u_pose", POSE)):
                if uniform in self.programs[name]:
                    self.programs[name][uniform] = unit
        found: moderngl.ComputeShader = self.programs[name]
        return found

    def reserve(self, pixels: int) -> None:
        """Lists for so many pixels; on large pictures they are shorter than the asset asks for."""
        if pixels == self.pixels:
            return
        limit = min(LIST_BYTES, int(self.ctx.info.get("GL_MAX_SHADER_STORAGE_BLOCK_SIZE", LIST_BYTES)))
        if HEADER + 8 * pixels > limit:
            raise InshaderError(
                f"a picture of {pixels} pixels is too large here, the compute host has lists for "
                f"{(limit - HEADER) // 8}: use the host fragment, or a smaller one"
            )
        for buffer in self.buffers:
            buffer.release()
        self.pixels = pixels
        self.room = max(1, min(int(self.parts.number("max_hits")), limit // (4 * pixels)))
        sizes = HEADER + 8 * pixels, 4 * pixels, 4 * pixels * self.room
        self.buffers = [self.ctx.buffer(reserve=size) for size in sizes]

    def draw_samples(self, camera: Camera, uniforms: dict[str, bytes], timer: PassTimer) -> None:
        self.scratch.resize((camera.w, camera.h))
        self.reserve(camera.w * camera.h)
        work, counts, _ = self.buffers
        header = np.zeros((BINS + 1, 4), np.uint32)
        header[:BINS, 1:3] = 1
        work.write(header.tobytes())
        counts.clear()
        for binding, buffer in enumerate(self.buffers):
            buffer.bind_to_storage_buffer(binding)
        uniforms["u_room"] = np.int32(self.room).tobytes()
        self.sampling_program("shade", "shell.comp", BVH=0)
        write_uniforms(self.programs.values(), uniforms)
        with timer.measure("outer"), self.scratch.target():
            self.meshes["outer"].draw(self.programs["list"])
        self.ctx.memory_barrier()
        self.targets.bind_images()
        with timer.measure("enter"):
            self.programs["enter"].run(-(-camera.w // 8), -(-camera.h // 8))
            self.ctx.memory_barrier()
            self.programs["sort"].run(-(-self.pixels // 64))
        self.ctx.memory_barrier()
        filled = np.frombuffer(work.read(HEADER), np.uint32).reshape(-1, 4)[:BINS, 3]
        self.overflow = int(filled[OVERFLOW])
        with timer.measure(self.asset.driver):
            for number in np.nonzero(filled)[0]:
                self.draw_bin(int(number), uniforms)
        self.ctx.memory_barrier()

    def draw_bin(self, number: int, uniforms: dict[str, bytes]) -> None:
        program = self.sampling_program("shade", "shell.comp", BVH=0)
        if number == OVERFLOW:
            program = self.sampling_program("cast", "shell.comp", BVH=1)
            self.bind_tree()
            write_uniforms([program], uniforms)
        program["u_bin"] = number
        self.tables.bind([])
        program.run_indirect(self.buffers[0], 16 * number)

    def move(self, meshes: Mapping[str, BakedMesh]) -> None:
        super().move(meshes)
        if self.tree is not None:
            self.tree.release()
        self.tree = None

    def bind_tree(self) -> None:
        """The tree of all faces, made when rays are first cast; the outer mesh's belong to 0, others to 1.

        Faces that have moved keep their places in it, and only its boxes are drawn anew.
        """
        if self.tree is None:
            meshes = [self.shapes[name] for name in ("outer", "inner")]
            triangles = np.concatenate([mesh.vertices[mesh.faces] for mesh in meshes])
            owner = np.repeat(np.arange(2, dtype=np.float32), [len(mesh.faces) for mesh in meshes])
            self.order = tree_order(triangles) if self.order is None else self.order
            self.tree = self.ctx.buffer(lay_out_tree(triangles, owner, self.order).tobytes())
        self.tree.bind_to_storage_buffer(TREE_BINDING)

    def cast(self, rays: moderngl.Buffer, answers: moderngl.Buffer, count: int) -> None:
        """What rays from anywhere gather of the shell, deformed as it was drawn last.

        Args:
            rays: of each two vec4: origin in the world, 0; unit direction, 0.
            answers: of each two vec4: colour without background, coverage; transmittance, samples, length
                within the shell, 0.
        """
        program = self.sampling_program("rays", "shell_cast.comp", BVH=1)
        self.bind_tree()
        self.tables.bind([])
        rays.bind_to_storage_buffer(RAYS_BINDING)
        answers.bind_to_storage_buffer(RAYS_BINDING + 1)
        values = {"u_mode": np.int32(self.modes["colour"]), "u_count": np.int32(count)}
        uniforms = {name: value.tobytes() for name, value in values.items()}
        write_uniforms([program], {**uniforms, **crop_uniforms(None), **self.pose_uniforms})
        program.run(-(-count // 64))
        self.ctx.memory_barrier()

    def counts(self) -> dict[str, int]:
        """Of the last frame: pixels whose lists were too short, and such whose hits came in a wrong order."""
        if not self.buffers:
            return {"overflow": 0, "broken": 0}
        broken = np.frombuffer(self.buffers[0].read(4, offset=16 * BINS), np.uint32)
        return {"overflow": self.overflow, "broken": int(broken[0])}

    def release(self) -> None:
        super().release()
        items: Iterable[Any] = (self.tables, self.scratch, *self.buffers, self.tree)
        for item in items:
            if item is not None:
                item.release()


class FragmentPasses(MeshPasses):
    """The fragment host."""

    host = "fragment"

    def __init__(self, ctx: moderngl.Context, asset: BakedAsset, modes: Mapping[str, int]) -> None:
        super().__init__(ctx, asset, modes)
        self.mesh_program("peel")["u_walk"] = STATES + 2
        self.screens: dict[str, moderngl.VertexArray] = {}
        self.screen("step")
        self.screen("resolve")
        self.tables = DeviceTables(ctx, self.parts)
        self.peel = Layer(ctx, (2,))
        self.states = [Layer(ctx, (4, 4, 4)) for _ in range(2)]
        self.last, self.overflow = 0, 0

    def screen(self, name: str) -> moderngl.VertexArray:
        """``shell_<name>.frag`` over the whole picture, the variant for what is drawn now."""
        variant, defines = self.sampling(name)
        if variant in self.screens:
            return self.screens[variant]
        source = compose(f"drivers/shell_{name}.frag", **self.options(defines))
        program = draw_program(self.ctx, compose("common/screen.vert", version=FRAGMENT), source)
        units = {"u_solid": SOLID, "u_peel": PEEL, "u_pose": POSE}
        units |= {f"u_{part}": STATES + k for k, part in enumerate(("sums", "costs", "walk"))}
        for uniform, unit in units.items():
            if uniform in program:
                program[uniform] = unit
        self.programs[variant] = program
        self.screens[variant] = self.ctx.vertex_array(program, [])
        return self.screens[variant]

    def draw_samples(self, camera: Camera, uniforms: dict[str, bytes], timer: PassTimer) -> None:
        for layer in (self.peel, *self.states):
            layer.resize((camera.w, camera.h))
        step = self.screen("step")
        write_uniforms(self.programs.values(), uniforms)
        self.tables.bind([self.programs[name] for name in self.screens])
        with timer.measure(self.asset.driver):
            left, number = 1, 0
            while left and number < MAX_PEELS:  # each peel goes on by a face at least
                for program in (self.programs["peel"], step.program):
                    program["u_number"] = number
                left = self.draw_peel(number, step)
                number += 1
            self.overflow = left
            self.last = (number - 1) % 2
            self.use_states(number)
            self.targets.fill(self.screens["resolve"])

    def draw_peel(self, number: int, step: moderngl.VertexArray) -> int:
        """One interval further; how many faces of pixels were left."""
        self.use_states(number)
        query = self.ctx.query(samples=True)
        with self.peel.target(moderngl.MIN):
            self.peel.clear(NOTHING_MET)
            with query:
                self.meshes["outer"].draw(self.programs["peel"])
        self.peel.textures[0].use(PEEL)
        with self.states[number % 2].target():
            step.render(moderngl.TRIANGLES, vertices=3)
        return int(query.samples)

    def use_states(self, number: int) -> None:
        """Read those that the step before wrote."""
        for k, texture in enumerate(self.states[(number + 1) % 2].textures):
            texture.use(STATES + k)

    def counts(self) -> dict[str, int]:
        """As of the compute host; peels pass over hits within what is entered. Overflow is of faces of pixels
        that are left after ``MAX_PEELS``."""
        if not self.peel.textures:
            return {"overflow": 0, "broken": 0}
        costs = np.frombuffer(self.states[self.last].textures[1].read(), np.float32)
        return {"overflow": self.overflow, "broken": int(costs[3::4].sum())}

    def release(self) -> None:
        super().release()
        items: Iterable[Any] = (self.tables, self.peel, *self.states, *self.screens.values())
        for item in items:
            item.release()
