"""GridSpec -> GLSL, and the table as the shader reads it.

The functions emitted for a grid called ``NAME`` (``m`` counts vec4, D is the dimension)::

    void NAME(in vecD u, out vec4 y[m])                                        u in [0, 1]
    void NAME_jvp(in vecD u, out vec4 y[m], out vec4 y_dx[m], out vec4 y_dy[m], out vec4 y_dz[m])

with the macros ``NAME_WIDTH`` and ``NAME_BLOCKS``; a plane's ``_dz`` is zero. The table is an array of 32-bit
words, read by ``uint NAME_word(uint i)``, which the host supplies. Two choices of ours make it cheap to read:

- a float16 table becomes 16-bit fixed point with a range per level and feature: finer than the rounding of
  float16 except for values below 1/64 of the range, and ``float(word & 65535u)`` is half the price of
  ``unpackHalf2x16`` on a processor. The weights of the corners sum to 1, so range and offset are applied
  once, after the interpolation;
- a dense level is laid out with one more corner per axis, which holds what the spec's modulo finds there, so
  its eight corners are constant offsets from one index.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from render.grid import HASH_PRIMES, GridSpec, Level, entry_index
from render.network_glsl import TANGENTS, literal


@dataclass(frozen=True, eq=False)
class GridLayout:
    """A table as the shader reads it.

    Attributes:
        words: (n,) uint32.
        starts: per level, its first entry in ``words`` (in entries, not words).
        low, step: (levels, features): value = low + step * stored, for fixed point; None for float32.
    """

    words: NDArray[np.uint32]
    starts: tuple[int, ...]
    low: NDArray[np.float32] | None
    step: NDArray[np.float32] | None


def lay_out(spec: GridSpec, table: NDArray[np.floating]) -> GridLayout:
    """Words of a table (entries, features)."""
    pieces, starts, start = [], [], 0
    for level in spec.level_list:
        entries = table[_rows(spec, level)].astype(np.float32)  # (n, features)
        if len(entries) % 2:  # two entries of a single feature share a word
            entries = np.concatenate([entries, entries[-1:]])
        pieces.append(entries)
        starts.append(start)
        start += len(entries)
    if spec.precision == "float32":
        floats: NDArray[np.float32] = np.ascontiguousarray(np.concatenate(pieces))
        return GridLayout(np.frombuffer(floats.tobytes(), np.uint32), tuple(starts), None, None)
    low = np.stack([piece.min(0) for piece in pieces])
    step = (np.stack([piece.max(0) for piece in pieces]) - low) / np.float32(65535)
    step = np.maximum(step, np.finfo(np.float32).tiny)  # a constant feature
    stored = [np.rint((p - lo) / st) for p, lo, st in zip(pieces, low, step, strict=True)]
    halves = np.ascontiguousarray(np.concatenate(stored).astype(np.uint16)).ravel()
    words = halves[0::2].astype(np.uint32) | halves[1::2].astype(np.uint32) << np.uint32(16)
    return GridLayout(words, tuple(starts), low, step)


def _rows(spec: GridSpec, level: Level) -> NDArray[np.int64]:
    """Which rows of the table a level's layout takes, in order."""
    if level.hashed:
        return np.arange(level.offset, level.offset + level.size)
    axes = np.meshgrid(*[np.arange(level.resolution + 1)] * spec.dimension, indexing="ij")
    corners = np.stack([axis.ravel() for axis in reversed(axes)], -1)  # x fastest
    return entry_index(level, corners)


def emit(spec: GridSpec, name: str, layout: GridLayout, *, jacobian: bool = False) -> str:
    """GLSL of one grid."""
    tangents = TANGENTS[: spec.dimension] if jacobian else ()
    features = spec.features
    vector = "float" if features == 1 else f"vec{min(features, 4)}"
    lines: list[str] = []
    for index, level in enumerate(spec.level_list):
        lines += _level(spec, name, index, level, layout, vector, tangents)
    blocks = -(-spec.output_width // 4)
    for suffix in ("", *(f"_{t}" for t in TANGENTS)) if jacobian else ("",):
        zero = jacobian and suffix == "_dz" and spec.dimension == 2
        scalars = ["0.0" if zero else s for s in _outputs(spec, suffix)]
        scalars += ["0.0"] * (-len(scalars) % 4)
        for k in range(blocks):
            lines.append(f"y{suffix}[{k}] = vec4({', '.join(scalars[4 * k : 4 * k + 4])});")
    suffixes = ("", *(f"_{t}" for t in TANGENTS)) if jacobian else ("",)
    outputs = ", ".join(f"out vec4 y{suffix}[{blocks}]" for suffix in suffixes)
    body = "".join(f"    {line}\n" for line in lines)
    function = f"void {name}{'_jvp' if jacobian else ''}(in vec{spec.dimension} u, {outputs}) {{\n{body}}}\n"
    if jacobian:
        return function
    macros = f"#define {name.upper()}_WIDTH {spec.output_width}\n#define {name.upper()}_BLOCKS {blocks}\n"
    return macros + _entry(spec, name) + function


def _outputs(spec: GridSpec, suffix: str) -> list[str]:
    """The scalars of all levels in order; eight features are two vec4."""
    found = []
    for index in range(spec.levels):
        for part in range(-(-spec.features // 4)):
            axes = "xyzw"[: min(spec.features, 4)]
            found += [f"v{index}_{part}{suffix}" + (f".{axis}" if spec.features > 1 else "") for axis in axes]
    return found


def _entry(spec: GridSpec, name: str) -> str:
    """Functions that read an entry: ``NAME_entry``; ``NAME_entry1`` for the second half of eight features."""
    text = ""
    for part in range(-(-spec.features // 4)):
        count = min(spec.features, 4)
        if spec.precision == "float32":
            word = [f"{name}_word(i * {spec.features}u + {4 * part + k}u)" for k in range(count)]
            values = [f"uintBitsToFloat({w})" for w in word]
            lines: list[str] = []
        elif count == 1:
            lines = [f"uint w = {name}_word(i >> 1u) >> (16u * (i & 1u));"]
            values = ["float(int(w & 65535u))"]
        else:
            lines = [
                f"uint w{k} = {name}_word(i * {spec.features // 2}u + {2 * part + k}u);"
                for k in range(count // 2)
            ]
            # through int: processors convert signed words in one instruction, unsigned ones in several
            values = [f"float(int(w{k} {op}))" for k in range(count // 2) for op in ("& 65535u", ">> 16u")]
        vector = "float" if count == 1 else f"vec{count}"
        body = f"{' '.join(lines)} return {vector}({', '.join(values)});"
        text += f"{vector} {name}_entry{part or ''}(uint i) {{ {body} }}\n"
    return text


def _level(
    spec: GridSpec,
    name: str,
    index: int,
    level: Level,
    layout: GridLayout,
    vector: str,
    tangents: tuple[str, ...],
) -> list[str]:
    """Interpolation of one level into ``v<index>_<part>`` and its tangents."""
    d, k = spec.dimension, index
    lines = [
        f"vec{d} p{k} = u * {literal(level.scale)} + 0.5;",
        f"vec{d} b{k} = floor(p{k});",
        f"vec{d} f{k} = p{k} - b{k};",
        f"uvec{d} c{k} = uvec{d}(ivec{d}(b{k}));",
    ]
    corners = _corners(d, k, level, layout.starts[index], lines)
    for part in range(-(-spec.features // 4)):
        fetched = [f"e{k}_{part}_{n}" for n in range(1 << d)]
        for variable, corner in zip(fetched, corners, strict=True):
            lines.append(f"{vector} {variable} = {name}_entry{part or ''}({corner});")
        scale, offset = "", ""
        if layout.low is not None and layout.step is not None:
            columns = slice(4 * part, 4 * part + 4)
            scale = f" * {vector}({', '.join(map(literal, layout.step[index, columns]))})"
            offset = f" + {vector}({', '.join(map(literal, layout.low[index, columns]))})"
        lines.append(f"{vector} v{k}_{part} = {_mix(fetched, d, k, None)}{scale}{offset};")
        for axis, tangent in enumerate(tangents):
            slope = _mix(fetched, d, k, axis)
            lines.append(f"{vector} v{k}_{part}_{tangent} = {literal(level.scale)} * ({slope}){scale};")
    return lines


def _corners(d: int, k: int, level: Level, start: int, lines: list[str]) -> list[str]:
    """Entries of the 2^d corners, x fastest; what they share goes to ``lines``."""
    axes = "xyz"[:d]
    if not level.hashed:
        strides = [(level.resolution + 1) ** axis for axis in range(d)]
        terms = [f"c{k}.{axis} * {stride}u" for axis, stride in zip(axes, strides, strict=True)]
        lines.append(f"uint i{k} = {' + '.join(terms)} + {start}u;")
        offsets = [sum(stride for axis, stride in enumerate(strides) if n >> axis & 1) for n in range(1 << d)]
        return [f"i{k} + {offset}u" for offset in offsets]
    for axis, prime in zip(axes, HASH_PRIMES, strict=False):
        lines.append(f"uint h{k}{axis}0 = c{k}.{axis} * {prime}u, h{k}{axis}1 = h{k}{axis}0 + {prime}u;")
    wrap = f"& {level.size - 1}u"  # a hashed level has a power of two of entries
    hashes = [" ^ ".join(f"h{k}{axis}{n >> bit & 1}" for bit, axis in enumerate(axes)) for n in range(1 << d)]
    return [f"(({one}) {wrap}) + {start}u" for one in hashes]


def _mix(values: list[str], d: int, k: int, slope: int | None) -> str:
    """Nested interpolation along x, then y, then z; along ``slope`` the difference instead."""
    for axis in range(d):
        if axis == slope:
            values = [f"({b} - {a})" for a, b in zip(values[0::2], values[1::2], strict=True)]
        else:
            f = f"f{k}.{'xyz'[axis]}"
            values = [f"mix({a}, {b}, {f})" for a, b in zip(values[0::2], values[1::2], strict=True)]
    return values[0]
