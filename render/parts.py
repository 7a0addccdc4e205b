"""The parts of an asset that a shader asks for: their GLSL, and their tables on the device.

A shader writes one of::

    #asset network NAME [rows N]     render/network_glsl.py: the value
    #asset network NAME jacobian     its value with three tangents, after the line above
    #asset grid NAME                 render/grid_glsl.py, likewise with ``jacobian``
    #asset bank NAME                 the same of a network for each cell, chosen by NAME_load(network)
    #asset bank NAME jacobian
    #asset volume NAME               render/volume_glsl.py
    #asset networks NAME             where the networks of a bank are, likewise
    #asset constant TYPE NAME        const TYPE NAME = ..; TYPE is int, float, vec2, vec3 or vec4
    #asset bounds                    const vec3 box_low, box_high

Every table is an array of 32-bit words behind ``uint <part>_word(uint i)``, held in an R32UI texture
``TEXTURE_WIDTH`` wide. The compute host reads it as an image, the fragment host by ``texelFetch``, which
OpenGL 3.3 and WebGL2 have. Measured on llvmpipe, in nanoseconds a word: image 0.31, storage buffer 0.51,
``texelFetch`` 0.91.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TypeVar

import moderngl
import numpy as np
from numpy.typing import NDArray

from render import grid_glsl, network_glsl, volume_glsl
from render.asset import BakedAsset, BakedGrid, BakedNetwork, Constant
from render.contraction import PLAIN
from render.errors import InshaderError
from render.grid_glsl import GridLayout
from render.ndc import STRAIGHT
from render.network_glsl import literal

HOSTS = ("compute", "fragment")
TEXTURE_WIDTH = 2048
# Of a network whose weights are literals: vec4, and values of all its stages. Compilers would take minutes.
MAX_LITERALS, MAX_VALUES = 1 << 14, 1 << 13
MAX_TEXTURE_HEIGHT = 16384  # what desktop drivers have; 128 MB of words
FIRST_UNIT = 2  # image units below are the driver's own
Words = NDArray[np.uint32]


_STAGED = """\
shared vec4 {name}_rows[{rows}];
vec4 {name}_network_weight(int i) {{ return {name}_rows[i]; }}
void {name}_load(int network) {{
    for (uint i = gl_LocalInvocationIndex; i < {rows}u; i += gl_WorkGroupSize.x) {{
        uint at = 4u * (uint(network) * {rows}u + i);
        {name}_rows[i] = uintBitsToFloat(uvec4({words}));
    }}
}}
"""
_FETCHED = """\
uint {name}_first;
vec4 {name}_network_weight(int i) {{
    uint at = 4u * ({name}_first + uint(i));
    return uintBitsToFloat(uvec4({words}));
}}
void {name}_load(int network) {{ {name}_first = uint(network) * {rows}u; }}
"""


@dataclass(frozen=True, eq=False)
class Parts:
    """What one asset answers the shaders of one host.

    Attributes:
        tables: words by the name of the part, filled as shaders ask; the order gives the binding.
    """

    asset: BakedAsset
    host: str

    @cached_property
    def tables(self) -> dict[str, Words]:
        return {}

    @cached_property
    def _layouts(self) -> dict[str, GridLayout]:
        return {}

    def expand(self, request: str) -> str:
        """The GLSL for one ``#asset`` line, given without its first word.

        Raises:
            InshaderError: the asset has no such part, or the line is not understood.
        """
        match request.split():
            case ["network", name, *options]:
                return self._network(name, options)
            case ["bank", name, *options]:
                return self._bank(name, options)
            case ["grid", name, *options]:
                return self._grid(name, options)
            case ["volume", name]:
                volume = self.volume(name)
                if name not in self.tables:
                    self.tables[name] = volume_glsl.lay_out(volume)
                return self._accessor(name) + volume_glsl.emit(volume.shape, name)
            case ["networks", name]:
                cells = self.volume(name)
                if name not in self.tables:
                    self.tables[name] = volume_glsl.lay_out_networks(cells, self.volume("inside"))
                return self._accessor(name) + volume_glsl.emit_networks(cells.shape, name)
            case ["constant", kind, name]:
                return f"const {kind} {name} = {_constant(kind, name, self.constant(name))};\n"
            case ["bounds"]:
                corners = zip(("box_low", "box_high"), self.asset.bounds, strict=True)
                return "".join(f"const vec3 {name} = {_vector(corner)};\n" for name, corner in corners)
        raise InshaderError(f"#asset {request:.80} is not understood")

    def network(self, name: str) -> BakedNetwork:
        return _part(self.asset.networks, "network", name)

    def grid(self, name: str) -> BakedGrid:
        return _part(self.asset.grids, "grid", name)

    def volume(self, name: str) -> NDArray[np.bool_]:
        return _part(self.asset.volumes, "volume", name)

    def constant(self, name: str) -> Constant:
        return _part(self.constants, "constant", name)

    @property
    def constants(self) -> dict[str, Constant]:
        """The asset's, and those of a box where an asset was written before there were other spaces."""
        return {**PLAIN, **STRAIGHT, **self.asset.constants}

    def number(self, name: str) -> int | float:
        """A constant that must be a single number."""
        value = self.constant(name)
        if isinstance(value, tuple):
            raise InshaderError(f"the constant {name} is a list of {len(value)}, expected one number")
        return value

    def _network(self, name: str, options: list[str]) -> str:
        network = self.network(name)
        if network.spec.count != 1:
            raise InshaderError(
                f"the network {name} is a bank of {network.spec.count}, expected a single one"
            )
        literals, values = network_glsl.packed_rows(network.spec), sum(network.spec.widths)
        if literals > MAX_LITERALS or values > MAX_VALUES:
            raise InshaderError(
                f"the network {name} is too large to be written into a shader: {literals} vec4 and "
                f"{values} values, allowed are {MAX_LITERALS} and {MAX_VALUES}"
            )
        match options:
            case []:
                return network_glsl.emit(network.spec, name, network.parameters)
            case ["rows", rows]:
                return network_glsl.emit(network.spec, name, network.parameters, rows=int(rows))
            case ["jacobian"]:
                return network_glsl.emit(network.spec, name, network.parameters, jacobian=True)
        raise InshaderError(f"#asset network {name} {' '.join(options):.80} is not understood")

    def _bank(self, name: str, options: list[str]) -> str:
        """``NAME_network`` and ``NAME_network_jvp``, of the network that ``NAME_load`` was given last.

        The compute host keeps its weights in the memory that a group shares: all of the group call
        ``NAME_load`` for one network, and a barrier follows. The fragment host fetches them one by one.
        """
        network = self.network(name)
        zero = "min(u_mode, 0)" if self.host == "fragment" else None
        if options == ["jacobian"]:
            return network_glsl.emit(network.spec, f"{name}_network", jacobian=True, zero=zero)
        if options:
            raise InshaderError(f"#asset bank {name} {' '.join(options):.80} is not understood")
        rows = network_glsl.packed_rows(network.spec)
        if name not in self.tables:
            packed = network_glsl.pack(network.spec, network.parameters)
            self.tables[name] = packed.astype("<f4").view(np.uint32).ravel()
        words = ", ".join(f"{name}_word(at + {k}u)" for k in range(4))
        access = _STAGED if self.host == "compute" else _FETCHED
        return (
            self._accessor(name)
            + access.format(name=name, rows=rows, words=words)
            + network_glsl.emit(network.spec, f"{name}_network", zero=zero)
        )

    def _grid(self, name: str, options: list[str]) -> str:
        grid = self.grid(name)
        if name not in self._layouts:
            self._layouts[name] = grid_glsl.lay_out(grid.spec, grid.table)
            self.tables[name] = self._layouts[name].words
        if options == ["jacobian"]:
            return grid_glsl.emit(grid.spec, name, self._layouts[name], jacobian=True)
        if options:
            raise InshaderError(f"#asset grid {name} {' '.join(options):.80} is not understood")
        return self._accessor(name) + grid_glsl.emit(grid.spec, name, self._layouts[name])

    def _accessor(self, name: str) -> str:
        bits = TEXTURE_WIDTH.bit_length() - 1
        where = f"ivec2(int(i & {TEXTURE_WIDTH - 1}u), int(i >> {bits}u))"
        if self.host == "fragment":
            declaration = f"uniform highp usampler2D {name}_table;\n"
            read = f"texelFetch({name}_table, {where}, 0)"
        else:
            unit = FIRST_UNIT + list(self.tables).index(name)
            declaration = f"layout(r32ui, binding = {unit}) readonly uniform highp uimage2D {name}_table;\n"
            read = f"imageLoad({name}_table, {where})"
        return f"{declaration}uint {name}_word(uint i) {{ return {read}.r; }}\n"


class DeviceTables:
    """The tables of ``Parts`` on the device, bound to whatever program runs next."""

    def __init__(self, ctx: moderngl.Context, parts: Parts) -> None:
        self.host = parts.host
        self.textures = {name: upload_texture(ctx, name, words) for name, words in parts.tables.items()}

    def bind(self, programs: Iterable[moderngl.Program | moderngl.ComputeShader]) -> None:
        """Bind all tables; a fragment program's samplers are pointed at them."""
        for number, (name, texture) in enumerate(self.textures.items()):
            if self.host == "compute":
                texture.bind_to_image(FIRST_UNIT + number, read=True, write=False)
                continue
            texture.use(number)
            for program in programs:
                if f"{name}_table" in program:
                    program[f"{name}_table"] = number

    def release(self) -> None:
        for texture in self.textures.values():
            texture.release()


def texture_rows(words: Words) -> Words:
    """Words (n,) as the rows of a texture (rows, TEXTURE_WIDTH), the last one filled up with zeros."""
    return np.pad(words, (0, -words.size % TEXTURE_WIDTH)).reshape(-1, TEXTURE_WIDTH)


def upload_texture(ctx: moderngl.Context, name: str, words: Words) -> moderngl.Texture:
    """Words as an R32UI texture.

    Raises:
        InshaderError: there are more than a texture holds.
    """
    rows = texture_rows(words)
    limit = min(MAX_TEXTURE_HEIGHT, int(ctx.info["GL_MAX_TEXTURE_SIZE"]))
    if len(rows) > limit:
        raise InshaderError(
            f"{name} takes {words.nbytes >> 20} MB, a texture here holds {limit * TEXTURE_WIDTH >> 18}"
        )
    texture = ctx.texture((TEXTURE_WIDTH, len(rows)), 1, rows.tobytes(), dtype="u4")
    texture.filter = (moderngl.NEAREST, moderngl.NEAREST)
    return texture


T = TypeVar("T")


def _part(parts: Mapping[str, T], kind: str, name: str) -> T:
    if name not in parts:
        raise InshaderError(f"the asset has no {kind} {name!r}, it has {', '.join(sorted(parts)) or 'none'}")
    return parts[name]


def _vector(values: Sequence[float] | NDArray[np.floating]) -> str:
    return f"vec{len(values)}({', '.join(literal(float(value)) for value in values)})"


def _constant(kind: str, name: str, value: Constant) -> str:
    """A constant as a GLSL expression of the type that the shader wants."""
    if kind == "int" and isinstance(value, int):
        return str(value)
    if kind == "float" and isinstance(value, (int, float)):
        number = literal(value)
        if np.isfinite(float(number)):
            return number
    if isinstance(value, tuple) and kind == f"vec{len(value)}":
        return _vector(value)
    raise InshaderError(f"the asset's constant {name} is {value!r:.40}, the shader wants {kind}")


def check_range(parts: Parts, name: str, low: float, high: float) -> None:
    """Raise InshaderError unless the constant ``name`` is a number from ``low`` to ``high``."""
    if not low <= parts.number(name) <= high:
        raise InshaderError(f"the constant {name} is {parts.number(name)!r}, expected {low:g} to {high:g}")
