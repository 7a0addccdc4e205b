"""A light field as a list of linear layers for the GPU: what each reads, adds and writes, and its weights.

Every layer of a ``LightField`` is one dispatch of ``shaders/drivers/lightfield_layer.comp``, a matrix product
over all pixels of a map: a group stages a chunk of the matrix in the memory that it shares, and each of its
invocations multiplies it with the features of its own pixels. Two forms:

``loop``      chunks of at most 32 inputs in a loop, 16 outputs of 4 pixels an invocation: 16 multiply-adds a
              read of shared memory. For GPUs, and for networks of any size.
``straight``  all inputs and outputs of a layer in code without loops or branches, one pixel an invocation:
              what software OpenGL vectorises, and 3 to 4 times as fast there. For small networks.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from render.asset import BakedNetwork
from render.encodings import ACTIVATIONS
from render.errors import InshaderError
from render.light_field import LightField
from render.network import Add, Linear
from render.network_glsl import emit, literal, packed_rows

MAX_ROWS = 2048  # vec4 of shared memory: the 32 kB that OpenGL 4.3 grants
STRAIGHT_WEIGHTS = 1 << 14  # of a layer; software takes 0.1 to 0.3 ms to compile one
FUSED_ROWS = 512  # of the last refining network: it becomes literals in the last step of upsampling
LOOP_INPUTS, LOOP_BLOCKS, LOOP_PIXELS = 32, 4, 4
LANES = 64
INPUT = 0  # the buffer of encoded points


@dataclass
class Layer:
    """One dispatch.

    Attributes:
        weight: (phases, outputs, inputs of all taps).
        bias: (phases, outputs).
        factor, taps: of an upsampling step; 1 and 1 for others.
        activation, scale: as in ``render.network.Linear``.
        level: steps of upsampling before this layer.
        source, target: buffers; target None: the picture.
        added: buffers whose features are added after the activation, at most two.
        refine: what follows at once, in the same pass.
    """

    weight: NDArray[np.floating]
    bias: NDArray[np.floating]
    activation: str
    scale: float
    level: int
    source: int
    target: int | None = None
    factor: int = 1
    taps: int = 1
    added: list[int] = field(default_factory=list)
    refine: BakedNetwork | None = None

    @property
    def outputs(self) -> int:
        return int(self.weight.shape[1])

    @property
    def inputs(self) -> int:
        return int(self.weight.shape[2])


def plan(light_field: LightField) -> list[Layer]:
    """The layers in their order, with a buffer for each result; ``assign_buffers`` makes them few.

    Raises:
        InshaderError: a network has a layer that a light field cannot have.
    """
    layers: list[Layer] = []
    source = _append(layers, light_field.trunk, INPUT, 0, "trunk")
    last = len(light_field.steps) - 1
    for number, step in enumerate(light_field.steps):
        linear = step.bank.spec.layers[0]
        assert isinstance(linear, Linear)
        layer = _layer(step.bank, 0, linear, number, source)
        layer.factor, layer.taps = step.factor, step.taps
        layers.append(layer)
        layer.target = source = len(layers)
        if number == last and packed_rows(step.refine.spec) <= FUSED_ROWS:
            layer.refine, layer.target = step.refine, None
        else:
            source = _append(layers, step.refine, source, number + 1, f"refine_{number}")
    layers[-1].target = None
    if layers[-1].added:
        raise InshaderError(f"the network refine_{last} ends with Add, expected the colours' own layer")
    return layers


def _append(layers: list[Layer], network: BakedNetwork, source: int, level: int, name: str) -> int:
    """The layers of a network that follows the buffer ``source``; returns the buffer of its result."""
    stages: list[int | None] = [source]  # the buffer of each; None where its features are no longer alone
    for index, layer in enumerate(network.spec.layers):
        before = stages[-1]
        assert before is not None
        match layer:
            case Linear():
                layers.append(_layer(network, index, layer, level, before))
                layers[-1].target = len(layers)
                stages.append(len(layers))
            case Add(earlier) if before == len(layers) and earlier < len(stages) - 1 and index > 0:
                more = stages[earlier]
                if more is None or len(layers[-1].added) == 2:
                    raise InshaderError(
                        f"the network {name} adds stage {earlier} in layer {index}: it may add two results "
                        "that were not added to themselves"
                    )
                layers[-1].added.append(more)
                stages[-1] = None
                stages.append(before)
            case _:
                raise InshaderError(
                    f"the network {name} has {type(layer).__name__} as layer {index}; in a light field there "
                    "may be Linear and, after it, Add of what came before"
                )
    last = stages[-1]
    assert last is not None
    return last


def _layer(network: BakedNetwork, index: int, linear: Linear, level: int, source: int) -> Layer:
    weight = np.asarray(network.parameters[f"{index}.weight"])
    bias = network.parameters.get(f"{index}.bias")
    zeros = np.zeros(weight.shape[:2], weight.dtype)
    return Layer(
        weight, zeros if bias is None else np.asarray(bias), linear.activation, linear.scale, level, source
    )


def assign_buffers(layers: list[Layer]) -> int:
    """Rename the buffers so that each is used again once its features are no longer needed; how many."""
    last_use = {INPUT: 0}
    for number, layer in enumerate(layers):
        for buffer in (layer.source, *layer.added):
            last_use[buffer] = number
    names, free, count = {INPUT: INPUT}, list[int](), 1
    for number, layer in enumerate(layers):
        read = {layer.source, *layer.added}
        target = layer.target
        layer.source, layer.added = names[layer.source], [names[buffer] for buffer in layer.added]
        if target is not None:
            if not free:
                free.append(count)
                count += 1
            names[target] = layer.target = free.pop()
        free += sorted(names[buffer] for buffer in read if last_use[buffer] == number and buffer != INPUT)
    return count


@dataclass(frozen=True)
class Form:
    """How a layer is cut for the device.

    Attributes:
        straight: see the module.
        blocks: vec4 of outputs of a group.
        chunk: inputs that are staged at a time, a divisor of those of a tap in a loop, of all if straight.
        pixels: of an invocation.
    """

    straight: bool
    blocks: int
    chunk: int
    pixels: int

    @property
    def rows(self) -> int:
        return self.chunk * self.blocks


def form_of(layer: Layer, straight: bool) -> Form:
    """The form of a layer; one that holds colours or is refined at once has all its outputs in one group."""
    blocks = -(-layer.outputs // 4)
    channels = layer.inputs // layer.taps**2
    if straight:
        return Form(True, blocks, _divisor(layer.inputs, MAX_ROWS // blocks), 1)
    if layer.refine is None:
        blocks = min(blocks, LOOP_BLOCKS)
    return Form(False, blocks, _divisor(channels, min(LOOP_INPUTS, MAX_ROWS // blocks)), LOOP_PIXELS)


def _divisor(number: int, limit: int) -> int:
    """The largest divisor of ``number`` up to ``limit``."""
    return next(k for k in range(min(number, limit), 0, -1) if number % k == 0)


def packed(layer: Layer, form: Form) -> NDArray[np.floating]:
    """(rows, 4): the biases of all phases and blocks, then for each of these its matrix, input by input."""
    phases, outputs, inputs = layer.weight.shape
    wide = 4 * form.blocks
    groups = -(-outputs // wide)
    weight = np.zeros((phases, groups * wide, inputs), layer.weight.dtype)
    bias = np.zeros((phases, groups * wide), layer.weight.dtype)
    weight[:, :outputs], bias[:, :outputs] = layer.weight, layer.bias
    matrices = weight.reshape(phases, groups, form.blocks, 4, inputs).transpose(0, 1, 4, 2, 3)
    return np.concatenate([bias.reshape(-1, 4), matrices.reshape(-1, 4)])


def defines(layer: Layer, form: Form) -> dict[str, int]:
    """The macros of ``lightfield_layer.comp``; layers with the same ones share a program."""
    found = {
        "LANES": LANES,
        "PIXELS": form.pixels,
        "BLOCKS": form.blocks,
        "INPUTS": layer.inputs,
        "ROWS": form.rows,
        "FACTOR": layer.factor,
        "TAPS": layer.taps,
        "ADDITIONS": len(layer.added),
    }
    if layer.target is None:
        found["PICTURE"] = 1
    if layer.refine is not None:
        found["REFINE"] = 1
    return found


def code(layer: Layer, form: Form, request: str) -> str:
    """What ``#asset <request>`` stands for in ``lightfield_layer.comp``."""
    match request:
        case "activated":
            value = ACTIVATIONS[layer.activation].value_glsl.format(z="z", s=literal(layer.scale))
            return f"vec4 activated(vec4 z) {{ return {value}; }}\n"
        case "refine":
            refine = layer.refine
            return "" if refine is None else emit(refine.spec, "refine", refine.parameters)
        case "product":
            return _product(layer, form)
    raise InshaderError(f"#asset {request:.80} is not understood")


def _product(layer: Layer, form: Form) -> str:
    """``product(first, sums)``: adds W x to the sums, W in rows from ``first`` on."""
    channels = layer.inputs // layer.taps**2
    lines = []
    if form.straight:
        for start in range(0, layer.inputs, form.chunk):
            lines.append(f"stage(first + {start * form.blocks}, {form.rows});")
            for k in range(form.chunk):
                tap, channel = divmod(start + k, channels)
                lines.append(f"{{ float x = input_value(0, {tap}, {channel});")
                lines += [f"sums[{j}] += rows[{k * form.blocks + j}] * x;" for j in range(form.blocks)]
                lines.append("}")
    else:
        lines = [
            _LOOP.format(tap=tap, first=tap * channels, chunk=form.chunk, rows=form.rows)
            for tap in range(layer.taps**2)
        ]
    body = "\n".join(lines)
    return f"void product(int first, inout vec4 sums[{form.pixels * form.blocks}]) {{\n{body}\n}}\n"


# Chunks are added up in float16 where that is what the device computes in; their sums are kept in float32.
# CHUNK is a number where the compiler shall unroll the loop, and unknown to it where that would take minutes.
_LOOP = """\
for (int chunk = 0; chunk < u_chunks; ++chunk) {{
    stage(first + ({first} + chunk * {chunk}) * BLOCKS, {rows});
    narrow4 parts[PIXELS * BLOCKS];
    for (int i = 0; i < PIXELS * BLOCKS; ++i) parts[i] = narrow4(0.0);
    for (int k = 0; k < CHUNK; ++k) {{
        for (int p = 0; p < PIXELS; ++p) {{
            narrow x = narrow(input_value(p, {tap}, chunk * {chunk} + k));
            for (int j = 0; j < BLOCKS; ++j) parts[p * BLOCKS + j] += rows[k * BLOCKS + j] * x;
        }}
    }}
    for (int i = 0; i < PIXELS * BLOCKS; ++i) sums[i] += vec4(parts[i]);
}}"""


def straight_fits(light_field: LightField) -> bool:
    """Whether every layer is small enough for the straight form."""
    shapes: Mapping[str, tuple[int, ...]]
    for _, network in light_field.parts():
        shapes = network.spec.parameter_shapes()
        weights = [shape for name, shape in shapes.items() if name.endswith("weight")]  # (count, out, in)
        if any(shape[1] * shape[2] > STRAIGHT_WEIGHTS for shape in weights):
            return False
    return True
