"""The passes of the driver ``shell``.

Both hosts draw the inner mesh first, into the nearest distance at which a ray is at its end. The compute
host then draws the outer mesh once, into a list of hits for each pixel; a pass walks along each list and
writes all samples of all rays side by side; one evaluates them, each for itself, and one adds them up, ray by
ray. So no lane waits for the longest ray beside it; what ``stop`` hides is evaluated, too, as in the paper.
Pixels with more hits than a list holds are drawn by casting their rays through a tree of all faces. The
fragment host peels the outer mesh: each peel shows the nearest hits of either kind beyond the last one, until
no face is left.

Distances are those to a face's plane along the ray, in float32, never the depth buffer's. From outside of
the box of the shell it tells which face is the nearest, and which ones the compute host need not list, being
behind the inner mesh; from within it would be too coarse, and the smallest distance stays by blending.
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
from render.glsl import COMPUTE, FRAGMENT, compose, compute_program, draw_program, groups_of
from render.intervals import NEAR, SAME, SHORTEST, in_box
from render.parts import DeviceTables, Parts
from render.shell_pose import DEFINES as POSE_DEFINES
from render.shell_pose import PoseTable
from render.shell_targets import FACES, Layer, Mesh, box_of, corners_of
from render.stage_tables import lay_out_tree
from render.targets import Box, Targets, crop_uniforms, view_uniforms, write_uniforms
from render.timing import PassTimer

WIRES = {"inner": (1.0, 0.55, 0.1), "outer": (0.1, 0.5, 1.0)}  # colours of the meshes' edges
LINE_WIDTH = 0.7  # of the half of a line within a face, in pixels near the middle of a picture
NOTHING_MET = 1e30
HEADER, RAY_BYTES, SAMPLE_BYTES = 16, 16, 16  # as in shell_work.glsl; the header as in shell_list.glsl, too
SAMPLES = 2  # a pixel that there is room for at first
LIST_BYTES = 1 << 27  # of hits, rays or samples: what OpenGL grants a buffer
LIST_GROUP = 128  # so that a row of groups is enough for LIST_BYTES
MAX_PEELS = 1024
TREE_BINDING = 5  # as in common/bvh.glsl
RAYS_BINDING = 3  # as in shell_cast.comp; of the answers one more
Z_NEAR = 1e-4  # of meshes around the camera
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
        self.targets = Targets(ctx)
        self.solid = Layer(ctx, (1,), depth=True)
        self.mesh_program("solid")
        self.box = box_of(self.shapes["outer"])
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
        self.box = box_of(self.shapes["outer"])

    def ready(self, mode: str) -> bool:
        """Whether ``mode`` can be drawn without compiling first."""
        return mode != "wire" or mode in self.programs

    def options(self, defines: Mapping[str, float]) -> dict[str, Any]:
        modes = {f"MODE_{mode.upper()}": number for mode, number in self.modes.items()}
        return {
            "version": COMPUTE if self.host == "compute" else FRAGMENT,
            "family": self.asset.shader,
            "expand": self.parts.expand,
            "defines": {
                **{"START": NEAR, "SAME": float(SAME), "SHORTEST": float(SHORTEST)},
                **{"LIST_GROUP": LIST_GROUP, "CROP": 1},
                **modes,
                **defines,
            },
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

    def within(self, camera: Camera) -> bool:
        """Whether rays may begin within the shell. Depth buffers are then too coarse, and are not used."""
        return bool(in_box(self.box, camera.position.astype(np.float32)))

    def uniforms(self, camera: Camera, mode: str) -> dict[str, bytes]:
        nothing = self.asset.background if mode == "colour" else np.zeros(3)
        within = self.within(camera)
        ahead = (camera.position - corners_of(self.box)) @ camera.world_from_camera[:3, 2]
        nearest = Z_NEAR if within else max(0.999 * float(ahead.min()), Z_NEAR)
        depth = nearest, max(1.001 * float(ahead.max()), 2 * nearest)
        return {
            **view_uniforms(camera, self.asset.background, self.modes[mode], self.crop),
            "u_camera_from_world": np.linalg.inv(camera.world_from_camera[:3, :3]).T.astype("f4").tobytes(),
            "u_depth": np.array(depth, "f4").tobytes(),
            "u_within": np.int32(within).tobytes(),
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
            outside = not self.within(camera)
            with timer.measure("inner"), self.solid.target(None if outside else moderngl.MIN, outside):
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
        header: of ``shell_work.glsl`` after the last frame.
    """

    host = "compute"

    def __init__(self, ctx: moderngl.Context, asset: BakedAsset, modes: Mapping[str, int]) -> None:
        super().__init__(ctx, asset, modes)
        self.mesh_program("list", LIST_WRITES=1)
        self.ray_program("enter", "shell_enter.comp")
        self.ray_program("sum", "shell_sum.comp")
        self.sampling_program("shade", "shell.comp")
        self.tables = DeviceTables(ctx, self.parts)
        self.scratch = Layer(ctx, (1,), "f1")  # a framebuffer must have something to be drawn into
        self.buffers: list[moderngl.Buffer] = []  # work, counts, hits, samples
        self.tree: moderngl.Buffer | None = None
        self.order: NDArray[np.int64] | None = None  # of faces in the tree's leaves
        self.pixels, self.room = 0, 0
        self.header = np.zeros(HEADER // 4, np.uint32)

    def sampling_program(self, name: str, path: str) -> moderngl.ComputeShader:
        """The variant of a program for what is drawn now."""
        variant, defines = self.sampling(name)
        return self.ray_program(variant, path, **defines)

    def ray_program(self, name: str, path: str, **defines: float) -> moderngl.ComputeShader:
        if name not in self.programs:
            source = compose(f"drivers/{path}", **self.options(defines))
            self.programs[name] = compute_program(self.ctx, source)
            for uniform, unit in (("u_solid", SOLID), ("u_pose", POSE)):
                if uniform in self.programs[name]:
                    self.programs[name][uniform] = unit
        found: moderngl.ComputeShader = self.programs[name]
        return found

    @property
    def most_bytes(self) -> int:
        return min(LIST_BYTES, int(self.ctx.info.get("GL_MAX_SHADER_STORAGE_BLOCK_SIZE", LIST_BYTES)))

    def reserve(self, pixels: int) -> None:
        """Lists for so many pixels; on large pictures they are shorter than the asset asks for."""
        if pixels == self.pixels:
            return
        limit = self.most_bytes
        if HEADER + RAY_BYTES * pixels > limit:
            raise InshaderError(
                f"a picture of {pixels} pixels is too large here, the compute host has lists for "
                f"{(limit - HEADER) // RAY_BYTES}: use the host fragment, or a smaller one"
            )
        for buffer in self.buffers:
            buffer.release()
        self.pixels = pixels
        self.room = max(1, min(int(self.parts.number("max_hits")), limit // (4 * pixels)))
        samples = min(SAMPLES * SAMPLE_BYTES * pixels, limit)
        sizes = HEADER + RAY_BYTES * pixels, HEADER + 8 * pixels, 4 * pixels * self.room, samples
        self.buffers = [self.ctx.buffer(reserve=size) for size in sizes]

    def draw_samples(self, camera: Camera, uniforms: dict[str, bytes], timer: PassTimer) -> None:
        self.scratch.resize((camera.w, camera.h), self.solid.depth)
        self.reserve(camera.w * camera.h)
        self.sampling_program("shade", "shell.comp")
        uniforms["u_room"] = np.int32(self.room).tobytes()
        write_uniforms(self.programs.values(), uniforms)
        self.bind_buffers()
        with timer.measure("outer"), self.scratch.target(depth=not self.within(camera)):
            self.buffers[1].clear()
            self.buffers[1].write(np.array([0, 1, 1, 0], np.uint32).tobytes())
            self.targets.clear(uniforms["u_nothing"])
            self.meshes["outer"].draw(self.programs["list"])
        self.ctx.memory_barrier()
        self.targets.bind_images()
        with timer.measure("enter"):
            self.header = self.enter()
            if self.make_room(int(self.header[0])):
                self.header = self.enter()
        samples, rays, overflow = (int(count) for count in self.header[:3])
        with timer.measure(self.asset.driver):
            self.tables.bind([])
            shade = self.sampling_program("shade", "shell.comp")
            self.run(shade, min(samples, self.buffers[3].size // SAMPLE_BYTES))
        with timer.measure("sum"):
            self.run(self.programs["sum"], rays)
        if overflow:
            with timer.measure("cast"):
                program = self.sampling_program("overflow", "shell_overflow.comp")
                write_uniforms([program], uniforms)
                self.bind_tree()
                self.run(program, overflow)

    def bind_buffers(self) -> None:
        for binding, buffer in enumerate(self.buffers):
            buffer.bind_to_storage_buffer(binding)

    def enter(self) -> NDArray[np.uint32]:
        """List the samples of the hits that are listed; the header then."""
        self.buffers[0].write(bytes(HEADER))
        self.programs["enter"]["u_samples"] = self.buffers[3].size // SAMPLE_BYTES
        self.programs["enter"].run_indirect(self.buffers[1])
        self.ctx.memory_barrier()
        return np.frombuffer(self.buffers[0].read(HEADER), np.uint32)

    def make_room(self, samples: int) -> bool:
        """For so many samples, as far as a buffer may be that large; whether there is more than before."""
        size = self.buffers[3].size
        wanted = min(max(SAMPLE_BYTES * samples * 5 // 4, size), self.most_bytes)
        if SAMPLE_BYTES * samples <= size or wanted == size:
            return False
        self.buffers[3].release()
        self.buffers[3] = self.ctx.buffer(reserve=wanted)
        self.bind_buffers()
        return True

    def run(self, program: moderngl.ComputeShader, count: int) -> None:
        """A program of ``shell_number.glsl``."""
        if count:
            program["u_count"] = count
            program.run(*groups_of(count))
            self.ctx.memory_barrier()

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
        program = self.sampling_program("rays", "shell_cast.comp")
        self.bind_tree()
        self.tables.bind([])
        rays.bind_to_storage_buffer(RAYS_BINDING)
        answers.bind_to_storage_buffer(RAYS_BINDING + 1)
        values = {"u_mode": np.int32(self.modes["colour"]).tobytes(), **self.pose_uniforms}
        write_uniforms([program], {**values, **crop_uniforms(None)})
        self.run(program, count)

    def counts(self) -> dict[str, int]:
        """Of the last frame: pixels whose lists were too short, and such whose hits came in a wrong order."""
        if not self.buffers:
            return {"overflow": 0, "broken": 0}
        broken = np.frombuffer(self.buffers[0].read(HEADER), np.uint32)[3]  # those that were cast, too
        return {"overflow": int(self.header[2]), "broken": int(broken)}

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
        self.query = ctx.query(samples=True)  # moderngl gives none back
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
        """A hit or two further; how many faces of pixels were left."""
        self.use_states(number)
        with self.peel.target(moderngl.MIN):
            self.peel.clear(NOTHING_MET)
            with self.query:
                self.meshes["outer"].draw(self.programs["peel"])
        self.peel.textures[0].use(PEEL)
        with self.states[number % 2].target():
            step.render(moderngl.TRIANGLES, vertices=3)
        return int(self.query.samples)

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
