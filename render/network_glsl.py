"""NetworkSpec -> straight-line GLSL: the value, and the value with three tangents (forward mode).

The functions emitted for a network called ``NAME`` with slots 0, 1, .. (``k`` and ``m`` count vec4)::

    void NAME(in vec4 a0[k], .., out vec4 y[m])
    void NAME_jvp(in vec4 a0[k], in vec4 a0_dx[k], in vec4 a0_dy[k], in vec4 a0_dz[k], ..,
                  out vec4 y[m], out vec4 y_dx[m], out vec4 y_dy[m], out vec4 y_dz[m])

with ``NAME_WIDTH`` and ``NAME_BLOCKS`` (m) as macros in capitals. Weights are literals, which a single small
network is fastest with, or come from ``vec4 NAME_weight(int i)``, which the host supplies for banks; ``i``
counts the rows of ``pack``, and is a constant unless loops are asked for.

A stage is a list of scalars such as ``s2_0.x``. Compilers keep vectors as scalars or rejoin them, so the
swizzles that concatenation of odd widths leads to cost nothing.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from render.encodings import ACTIVATIONS, SPHERICAL_HARMONICS, differentiate, polynomial_glsl
from render.network import (
    NORMALISE_FLOOR,
    Add,
    Concat,
    Linear,
    NetworkSpec,
    Normalise,
    Parameters,
    Slot,
    SquareConcat,
)

TANGENTS = ("dx", "dy", "dz")
Scalars = list[str]


def literal(value: float | np.floating) -> str:
    """A number as a GLSL float that reads back as the same float32."""
    return str(np.float32(value))


def pack(spec: NetworkSpec, parameters: Parameters) -> NDArray[np.float32]:
    """The parameters in the order ``NAME_weight`` counts them: (count, n, 4) float32.

    Linear layer by linear layer; of each its matrix, padded with zeros to multiples of 4, as 4 x 4 blocks
    (rows of blocks outermost, a block column by column), then its bias, where it has one.
    """
    parts = []
    for index, layer in enumerate(spec.layers):
        if not isinstance(layer, Linear):
            continue
        weight = _padded(np.asarray(parameters[f"{index}.weight"], np.float32), (1, 2))
        count, rows, columns = weight.shape
        blocks = weight.reshape(count, rows // 4, 4, columns // 4, 4).transpose(0, 1, 3, 4, 2)
        parts.append(blocks.reshape(count, -1, 4))
        if layer.bias:
            bias = _padded(np.asarray(parameters[f"{index}.bias"], np.float32), (1,))
            parts.append(bias.reshape(count, -1, 4))
    return np.concatenate(parts, 1) if parts else np.zeros((spec.count, 0, 4), np.float32)


def packed_rows(spec: NetworkSpec) -> int:
    """How many vec4 ``pack`` makes of one network."""
    rows = 0
    for width, layer in zip(spec.widths, spec.layers, strict=False):
        if isinstance(layer, Linear):
            blocks = -(-layer.width // 4)
            rows += 4 * blocks * -(-width // 4) + (blocks if layer.bias else 0)
    return rows


def _padded(array: NDArray[np.float32], axes: tuple[int, ...]) -> NDArray[np.float32]:
    """Zeros at the end of ``axes`` up to the next multiple of 4."""
    pads = [(0, -size % 4 if axis in axes else 0) for axis, size in enumerate(array.shape)]
    return np.pad(array, pads)


def emit(
    spec: NetworkSpec,
    name: str,
    parameters: Parameters | None = None,
    *,
    jacobian: bool = False,
    rows: int = 1,
    zero: str | None = None,
) -> str:
    """GLSL of one network.

    Args:
        parameters: of a single network, to become literals; None: fetched from ``NAME_weight``.
        jacobian: emit ``NAME_jvp`` instead of ``NAME``.
        rows: the output is this many rows of equal length; each starts at a vec4 of its own in ``y``.
        zero: a GLSL expression that is 0, which the compiler does not know: linear layers become loops,
            which it keeps from being unrolled. None: straight-line code.
    """
    weights = None if parameters is None else pack(spec, parameters)[0]
    writer = _Writer(name, TANGENTS if jacobian else (), weights, zero)
    stages = [_inputs(writer, spec.inputs)]
    for index, layer in enumerate(spec.layers):
        stages.append(_layer(writer, index, layer, stages))
    length = spec.output_width // rows
    blocks = -(-length // 4)
    for suffix in writer.suffixes:
        for row in range(rows):
            scalars = stages[-1].parts[suffix][row * length : (row + 1) * length]
            for k, block in enumerate(_blocks(scalars)):
                writer.lines.append(f"y{suffix}[{row * blocks + k}] = {block};")
    macros = (
        f"#define {name.upper()}_WIDTH {spec.output_width}\n#define {name.upper()}_BLOCKS {rows * blocks}\n"
    )
    inputs = [
        f"in vec4 a{k}{suffix}[{-(-slot.width // 4)}]"
        for k, slot in enumerate(spec.inputs)
        for suffix in writer.suffixes
    ]
    outputs = [f"out vec4 y{suffix}[{rows * blocks}]" for suffix in writer.suffixes]
    body = "".join(f"    {line}\n" for line in writer.lines)
    function = f"void {name}{'_jvp' if jacobian else ''}({', '.join(inputs + outputs)}) {{\n{body}}}\n"
    return (macros if not jacobian else "") + function


@dataclass
class _Writer:
    """Lines so far, the tangents wanted, and where in the packed weights we are."""

    name: str
    tangents: tuple[str, ...]
    weights: NDArray[np.float32] | None
    zero: str | None = None
    lines: list[str] = field(default_factory=list)
    used: int = 0
    names: int = 0

    @property
    def suffixes(self) -> tuple[str, ...]:
        """What is appended to a name for the value and for each tangent."""
        return ("", *(f"_{tangent}" for tangent in self.tangents))

    def vec4(self, expression: str, suffix: str = "", name: str | None = None) -> str:
        """Declare a vec4; returns its name."""
        if name is None:
            self.names += 1
            name = f"s{self.names}"
        self.lines.append(f"vec4 {name}{suffix} = {expression};")
        return f"{name}{suffix}"

    def weight(self) -> str:
        """The next four weights."""
        index, self.used = self.used, self.used + 1
        if self.weights is None:
            return f"{self.name}_weight({index})"
        return f"vec4({', '.join(literal(value) for value in self.weights[index])})"

    def matrix(self) -> str:
        """The next 4 x 4 block."""
        if self.weights is None:
            return f"mat4({', '.join(self.weight() for _ in range(4))})"
        values = self.weights[self.used : self.used + 4].ravel()
        self.used += 4
        return f"mat4({', '.join(map(literal, values))})"


@dataclass(frozen=True)
class _Stage:
    """Scalars of the value (key "") and of the tangents ("_dx", ..)."""

    parts: dict[str, Scalars]


def _scalars(names: list[str], width: int) -> Scalars:
    """The first ``width`` components of a list of vec4."""
    return [f"{name}.{axis}" for name in names for axis in "xyzw"][:width]


def _blocks(scalars: Scalars) -> list[str]:
    """Scalars as vec4 expressions, the last one filled up with zeros."""
    found = []
    for start in range(0, len(scalars), 4):
        four = scalars[start : start + 4]
        name = four[0].removesuffix(".x")
        if four == [f"{name}.{axis}" for axis in "xyzw"]:
            found.append(name)
        else:
            found.append(f"vec4({', '.join(four + ['0.0'] * (4 - len(four)))})")
    return found


def _inputs(writer: _Writer, slots: tuple[Slot, ...]) -> _Stage:
    """Stage 0: the encoded slots one after another."""
    parts: dict[str, Scalars] = {suffix: [] for suffix in writer.suffixes}
    for k, slot in enumerate(slots):
        names = {
            suffix: [f"a{k}{suffix}[{block}]" for block in range(-(-slot.width // 4))]
            for suffix in writer.suffixes
        }
        encode = {"frequency": _frequency, "spherical_harmonics": _spherical_harmonics}.get(slot.encoding)
        if encode is None:
            encoded = {suffix: _scalars(names[suffix], slot.width) for suffix in writer.suffixes}
        else:
            encoded = encode(writer, slot, names)
        for suffix in writer.suffixes:
            parts[suffix] += encoded[suffix]
    return _Stage(parts)


def _frequency(writer: _Writer, slot: Slot, names: dict[str, list[str]]) -> dict[str, Scalars]:
    found = {suffix: _scalars(names[suffix], slot.width) for suffix in writer.suffixes}
    for octave in range(slot.order):
        factor = literal(2.0**octave)
        for wave, slope in (("sin", "cos"), ("cos", "-sin")):
            values = [writer.vec4(f"{wave}({factor} * {x})") for x in names[""]]
            found[""] += _scalars(values, slot.width)
            for suffix in writer.suffixes[1:]:
                pairs = zip(names[""], names[suffix], strict=True)
                tangents = [writer.vec4(f"{factor} * {slope}({factor} * {x}) * {dx}") for x, dx in pairs]
                found[suffix] += _scalars(tangents, slot.width)
    return found


def _spherical_harmonics(writer: _Writer, slot: Slot, names: dict[str, list[str]]) -> dict[str, Scalars]:
    basis = SPHERICAL_HARMONICS[: slot.encoded_width]
    expressions = {"": [polynomial_glsl(p, names[""][0]) for p in basis]}
    for suffix in writer.suffixes[1:]:
        d = names[suffix][0]
        expressions[suffix] = [
            " + ".join(
                f"({polynomial_glsl(differentiate(p, axis), names[''][0])}) * {d}.{'xyz'[axis]}"
                for axis in range(3)
            )
            for p in basis
        ]
    return {
        suffix: _scalars([writer.vec4(block) for block in _blocks(rows)], len(basis))
        for suffix, rows in expressions.items()
    }


def _layer(
    writer: _Writer, index: int, layer: Linear | SquareConcat | Normalise | Concat | Add, stages: list[_Stage]
) -> _Stage:
    x = stages[-1].parts
    match layer:
        case Linear():
            return _linear(writer, index, layer, x)
        case SquareConcat():
            return _square_concat(writer, x)
        case Normalise():
            return _normalise(writer, x)
        case Concat(source):
            return _Stage({suffix: x[suffix] + stages[source].parts[suffix] for suffix in writer.suffixes})
        case Add(source):
            found = {}
            for suffix in writer.suffixes:
                pairs = zip(_blocks(x[suffix]), _blocks(stages[source].parts[suffix]), strict=True)
                found[suffix] = _scalars([writer.vec4(f"{a} + {b}") for a, b in pairs], len(x[suffix]))
            return _Stage(found)


def _linear(writer: _Writer, index: int, layer: Linear, x: dict[str, Scalars]) -> _Stage:
    product = _matrix_product if writer.zero is None else _matrix_product_loop
    sums = product(writer, index, layer, {suffix: _blocks(x[suffix]) for suffix in writer.suffixes})
    if layer.activation == "none":
        return _Stage({suffix: _scalars(sums[suffix], layer.width) for suffix in writer.suffixes})
    activation = ACTIVATIONS[layer.activation]
    scale = literal(layer.scale)
    found: dict[str, Scalars] = {}
    for suffix in writer.suffixes[1:]:
        slopes = [activation.derivative_glsl.format(z=z, s=scale) for z in sums[""]]
        pairs = zip(slopes, sums[suffix], strict=True)
        tangents = [writer.vec4(f"{slope} * {dz}") for slope, dz in pairs]
        found[suffix] = _scalars(tangents, layer.width)
    values = [writer.vec4(activation.value_glsl.format(z=z, s=scale)) for z in sums[""]]
    return _Stage({"": _scalars(values, layer.width), **found})


def _matrix_product(
    writer: _Writer, index: int, layer: Linear, inputs: dict[str, list[str]]
) -> dict[str, list[str]]:
    """Names of vec4 with W x + b, and with W times the tangents: a line for each block of W."""
    rows = -(-layer.width // 4)
    sums = [f"z{index}_{row}" for row in range(rows)]
    for row, z in enumerate(sums):
        for suffix in writer.suffixes:
            writer.vec4("vec4(0.0)", suffix, z)
        for column in range(len(inputs[""])):
            matrix = writer.matrix()
            if writer.tangents:  # named, so that the value and the tangents share one fetch
                writer.lines.append(f"mat4 w{index}_{row}_{column} = {matrix};")
                matrix = f"w{index}_{row}_{column}"
            for suffix in writer.suffixes:
                writer.lines.append(f"{z}{suffix} += {matrix} * {inputs[suffix][column]};")
    if layer.bias:
        for z in sums:
            writer.lines.append(f"{z} += {writer.weight()};")
    return {suffix: [z + suffix for z in sums] for suffix in writer.suffixes}


def _matrix_product_loop(
    writer: _Writer, index: int, layer: Linear, inputs: dict[str, list[str]]
) -> dict[str, list[str]]:
    """The same in a loop over the blocks of W."""
    rows, columns, first = -(-layer.width // 4), len(inputs[""]), writer.used
    bias = first + 4 * rows * columns
    writer.used = bias + (rows if layer.bias else 0)
    for suffix, blocks in inputs.items():
        writer.lines.append(f"vec4 x{index}{suffix}[{columns}] = vec4[{columns}]({', '.join(blocks)});")
        writer.lines.append(f"vec4 z{index}{suffix}[{rows}];")
    weights = ", ".join(f"{writer.name}_weight(i + {k})" for k in range(4))
    start = f"{writer.name}_weight({bias} + row)" if layer.bias else "vec4(0.0)"
    writer.lines += [
        f"for (int row = 0; row < {rows} + {writer.zero}; ++row) {{",
        *(f"    vec4 z{suffix} = {'vec4(0.0)' if suffix else start};" for suffix in inputs),
        f"    for (int column = 0; column < {columns} + {writer.zero}; ++column) {{",
        f"        int i = {first} + 4 * (row * {columns} + column);",
        f"        mat4 w = mat4({weights});",
        *(f"        z{suffix} += w * x{index}{suffix}[column];" for suffix in inputs),
        "    }",
        *(f"    z{index}{suffix}[row] = z{suffix};" for suffix in inputs),
        "}",
    ]
    return {suffix: [f"z{index}{suffix}[{row}]" for row in range(rows)] for suffix in inputs}


def _square_concat(writer: _Writer, x: dict[str, Scalars]) -> _Stage:
    blocks, width = _blocks(x[""]), len(x[""])
    found = {"": x[""] + _scalars([writer.vec4(f"{block} * {block}") for block in blocks], width)}
    for suffix in writer.suffixes[1:]:
        pairs = zip(blocks, _blocks(x[suffix]), strict=True)
        found[suffix] = x[suffix] + _scalars([writer.vec4(f"2.0 * {a} * {b}") for a, b in pairs], width)
    return _Stage(found)


def _normalise(writer: _Writer, x: dict[str, Scalars]) -> _Stage:
    def total(scalars: Scalars) -> str:
        return " + ".join(f"dot({block}, vec4(1.0))" for block in _blocks(scalars))

    width = len(x[""])
    inverse = writer.vec4(f"vec4(1.0 / max({total(x[''])}, {literal(NORMALISE_FLOOR)}))")
    values = [writer.vec4(f"{block} * {inverse}") for block in _blocks(x[""])]
    found = {"": _scalars(values, width)}
    for suffix in writer.suffixes[1:]:
        change = writer.vec4(f"vec4({total(x[suffix])})")
        pairs = zip(_blocks(x[suffix]), values, strict=True)
        found[suffix] = _scalars(
            [writer.vec4(f"({dx} - {y} * {change}) * {inverse}") for dx, y in pairs], width
        )
    return _Stage(found)
