"""The passes that draw a light field on compute shaders, by the plan of ``render/light_field_plan.py``."""

from __future__ import annotations

from functools import partial

import moderngl
import numpy as np

from render.asset import BakedAsset
from render.context import is_software
from render.errors import InshaderError
from render.glsl import Source, compose, compute_program
from render.light_field import LightField
from render.light_field_gather import MAX_LOG_DENSITY
from render.light_field_plan import (
    INPUT,
    LANES,
    Form,
    Layer,
    assign_buffers,
    code,
    defines,
    form_of,
    packed,
    plan,
    straight_fits,
)
from render.light_field_rays import HALF_DIAGONAL, NEAREST, RayMap
from render.ndc import DEFINES as NDC_DEFINES
from render.parts import DeviceTables, Parts
from render.targets import view_uniforms, write_uniforms
from render.timing import PassTimer

HALF_EXTENSIONS = (
    "GL_EXT_shader_explicit_arithmetic_types_float16",
    "GL_AMD_gpu_shader_half_float",
    "GL_NV_gpu_shader5",
)
_PROBE = """\
#version 430 core
#extension {extension} : require
layout(local_size_x = 1) in;
layout(std430, binding = 0) buffer B {{ vec4 b[]; }};
shared f16vec4 s[1];
void main() {{ s[0] = f16vec4(b[0]); barrier(); b[1] = vec4(s[0] * float16_t(b[2].x)); }}
"""


def half_extension(ctx: moderngl.Context) -> str | None:
    """The extension by which this driver computes in float16, or None: found by compiling, not by name."""
    for extension in HALF_EXTENSIONS:
        if extension in ctx.extensions:
            try:
                ctx.compute_shader(_PROBE.format(extension=extension)).release()
            except moderngl.Error:
                continue
            return extension
    return None


class LightFieldPasses:
    """The programs, weights and maps of one light field in one context.

    Software draws small networks in the straight form.
    """

    def __init__(self, ctx: moderngl.Context, asset: BakedAsset, light_field: LightField) -> None:
        self.ctx, self.asset, self.light_field = ctx, asset, light_field
        self.layers = plan(light_field)
        self.count = assign_buffers(self.layers)
        self.software = is_software(ctx)
        straight = self.software and straight_fits(light_field)
        self.forms = [form_of(layer, straight) for layer in self.layers]
        self.half = all(part.spec.precision == "float16" for _, part in light_field.parts())
        self.extension = half_extension(ctx) if self.half and not straight else None
        self.parts = Parts(asset, "compute")
        self.rays = self._ray_program()
        self.tables = DeviceTables(ctx, self.parts)
        self.programs = self._programs()
        self.firsts: list[int] = []
        self.weights = ctx.buffer(self._weights())
        self.maps: list[moderngl.Buffer] = []
        self.sizes: list[int] = []

    def draw(self, view: RayMap, picture: moderngl.Texture, timer: PassTimer) -> None:
        """All layers, the last of which writes ``picture``; what lies outside of it is left out."""
        self._reserve(view.rows * view.columns)
        picture.bind_to_image(0, read=False, write=True)
        self.weights.bind_to_storage_buffer(0)
        size = np.array([view.columns, view.rows], "i4")
        uniforms = view_uniforms(view.camera, self.asset.background, 0)
        uniforms |= {"u_size": size.tobytes(), "u_block": np.float32(self.light_field.factor).tobytes()}
        write_uniforms([self.rays], uniforms)
        self.maps[INPUT].bind_to_storage_buffer(4)
        self.tables.bind([self.rays])
        with timer.measure("rays"):
            self.rays.run(-(-view.rows * view.columns // 64))
            self.ctx.memory_barrier()
        for number, layer in enumerate(self.layers):
            number_of_step = layer.level if layer.factor > 1 else layer.level - 1
            name = "trunk" if number_of_step < 0 else f"step {number_of_step}"
            with timer.measure(name):
                self._run(number, size * self._scale(layer.level))
                self.ctx.memory_barrier()

    def _run(self, number: int, size: np.ndarray) -> None:
        layer, form, program = self.layers[number], self.forms[number], self.programs[number]
        for binding, buffer in enumerate((layer.source, *layer.added), 1):
            self.maps[buffer].bind_to_storage_buffer(binding)
        if layer.target is not None:
            self.maps[layer.target].bind_to_storage_buffer(4)
        groups = -(-layer.outputs // (4 * form.blocks))
        uniforms = {
            "u_size": size.astype("i4").tobytes(),
            "u_first": np.int32(self.firsts[number]).tobytes(),
            "u_blocks": np.int32(groups).tobytes(),
            "u_chunks": np.int32(layer.inputs // layer.taps**2 // form.chunk).tobytes(),
            "u_chunk": np.int32(form.chunk).tobytes(),
        }
        write_uniforms([program], uniforms)
        pixels = int(size[0]) * int(size[1])
        program.run(-(-pixels // (LANES * form.pixels)), groups * layer.factor**2)

    def _scale(self, level: int) -> int:
        """Pixels along a side that a ray has become before a level."""
        return int(np.prod([step.factor for step in self.light_field.steps[:level]], dtype=int))

    def _reserve(self, rays: int) -> None:
        """Room for the maps of so many rays."""
        sizes = [0] * self.count
        sizes[INPUT] = rays * self.light_field.trunk.spec.widths[0]
        for layer in self.layers:
            if layer.target is not None:
                pixels = rays * self._scale(layer.level) ** 2 * layer.factor**2
                channels = -(-layer.outputs // 16) * 16  # whole groups write, in the loop's form too
                sizes[layer.target] = max(sizes[layer.target], pixels * channels)
        limit = self.ctx.info["GL_MAX_SHADER_STORAGE_BLOCK_SIZE"]
        if 4 * max(sizes) > limit:
            raise InshaderError(
                f"a map of {rays} rays takes {4 * max(sizes) >> 20} MB, a buffer here holds {limit >> 20}"
            )
        if not self.maps or any(new > old for new, old in zip(sizes, self.sizes, strict=True)):
            for buffer in self.maps:
                buffer.release()
            self.maps, self.sizes = [self.ctx.buffer(reserve=4 * size) for size in sizes], sizes

    def _weights(self) -> bytes:
        """The rows of all layers; sets where each layer's begin."""
        found, rows = [], 0
        for layer, form in zip(self.layers, self.forms, strict=True):
            found.append(packed(layer, form).astype("<f2" if self.half else "<f4"))
            self.firsts.append(rows)
            rows += len(found[-1])
        return np.concatenate(found).tobytes()

    def _ray_program(self) -> moderngl.ComputeShader:
        gathers = "features" in self.asset.grids
        slot = self.light_field.trunk.spec.inputs[0]
        source = compose(
            f"drivers/lightfield_{'gather' if gathers else 'rays'}.comp",
            family=self.asset.shader,
            expand=self.parts.expand,
            defines={
                "OCTAVES": slot.order if slot.encoding == "frequency" else 0,
                "HALF_DIAGONAL": HALF_DIAGONAL,
                "NEAREST": NEAREST,
                "MAX_LOG_DENSITY": MAX_LOG_DENSITY,
                **NDC_DEFINES,
            },
        )
        return compute_program(self.ctx, source)

    def _programs(self) -> list[moderngl.ComputeShader]:
        """The program of each layer; those of the same code are one."""
        made: dict[str, moderngl.ComputeShader] = {}
        found = []
        for layer, form in zip(self.layers, self.forms, strict=True):
            source = self._layer_source(layer, form)
            if source.text not in made:
                made[source.text] = compute_program(self.ctx, source)
            found.append(made[source.text])
        return found

    def _layer_source(self, layer: Layer, form: Form) -> Source:
        macros = defines(layer, form)
        version = "430 core"
        if self.half:
            macros["STORED_HALF"] = 1
        if not self.software:  # which would take minutes to compile what other drivers unroll
            macros["CHUNK"] = form.chunk
        if self.extension is not None:
            macros["HALF_PRECISION"] = 1
            version += f"\n#extension {self.extension} : require"
        return compose(
            "drivers/lightfield_layer.comp",
            version=version,
            expand=partial(code, layer, form),
            defines=macros,
        )

    def release(self) -> None:
        for buffer in (*self.maps, self.weights):
            buffer.release()
        for program in (self.rays, *set(self.programs)):
            program.release()
        self.tables.release()
