"""A light field as one ONNX graph: a camera's pose in, a picture out.

    world_from_camera  float32 (4, 4)        as in ``Camera``: OpenGL's axes, in the asset's world
    picture            float32 (1, 3, h, w)  display colours in [0, 1], row 0 at the top

Planes before rows, as phones' and browsers' libraries take pictures. The size and the lens are fixed: they
are those of the camera that the graph is made for, whose pixels must be those that the networks were trained
at. All else, from the rays of the map on, is computed by the graph: what ``RayPoints.of_camera`` and
``LightField.evaluate`` compute, in float32, by standard operators of opset 13 (2021), or 18 where the trunk
takes what is gathered of a grid with hashed levels.

Of operators that do the same, those were taken that onnxruntime's execution provider for Core ML knows as
well; layers are convolutions of 1 x 1, which accelerators are made for and which are as fast as matrix
products on a CPU.

Points and their waves need float32, whatever the rest is computed in: at a frequency of 32, float16 is wrong
by some hundredths of a radian. The names of these nodes begin with ``rays/``.
"""

from __future__ import annotations

import functools
import itertools
import json
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from render.asset import BakedAsset, BakedNetwork
from render.camera import Camera
from render.encodings import GELU, GELU_CUBIC
from render.errors import InshaderError, require
from render.grid import HASH_PRIMES, Level
from render.light_field import LightField, Step
from render.light_field_rays import (
    HALF_DIAGONAL,
    NEAREST,
    REACH,
    Gather,
    RayMap,
    RayPoints,
    block_directions,
    pitch_of,
    ray_map,
)
from render.ndc import SIDEWAYS, Ndc
from render.network import Add, Concat, Linear, Slot

if TYPE_CHECKING:
    from onnx import ModelProto

OPSET, IR_VERSION = 13, 7  # what onnxruntime reads since 1.7
HASHED_OPSET, HASHED_IR_VERSION = 18, 8  # what has the exclusive or of hashed grids: onnxruntime from 1.14
INPUT, OUTPUT = "world_from_camera", "picture"
MAX_BYTES = (1 << 31) - (1 << 27)  # of weights: what a protobuf message holds, less what rays may take


def onnx_model(asset: BakedAsset, camera: Camera) -> ModelProto:
    """The graph of an asset's light field, for views with the size and the lens of ``camera``.

    Its metadata have what an application needs besides, as JSON: ``camera`` (a first view, and the lens that
    all views have), ``up``, ``world_from_source`` and ``manifold``, which cameras it was trained for, where
    the asset tells.

    Raises:
        InshaderError: the asset is no light field, it has a layer that no light field has, or the pixels of
            ``camera`` are not those that it was trained at.
    """
    if asset.driver != "lightfield":
        raise InshaderError(f"an .onnx is written of light fields, the asset's driver is {asset.driver}")
    light_field = LightField.of(asset.networks)
    points, gather = RayPoints.of(asset), Gather.of(asset)
    view = ray_map(camera, pitch_of(asset), light_field.factor)
    if not view.exact:
        raise InshaderError(_other_pixels(camera, asset, light_field.factor))
    weights = sum(4 * array.size for _, part in light_field.parts() for array in part.parameters.values())
    if weights >= MAX_BYTES:
        raise InshaderError(f"the networks take {weights} bytes in float32, an .onnx holds {MAX_BYTES}")
    graph = Graph()
    x = _points(graph, points, view, light_field.factor)  # (K, 3, rays)
    if gather is not None:
        x = _gathered(graph, gather, x, points.count)
    x = graph.node("Reshape", x, graph.constant([1, -1, view.rows, view.columns], dtype=np.int64))
    x = _network(graph, "trunk", light_field.trunk, x)
    for number, step in enumerate(light_field.steps):
        x = _upsample(graph, f"up_{number}", step, x)
        x = _network(graph, f"refine_{number}", step.refine, x)
    if (view.camera.h, view.camera.w) != (camera.h, camera.w):
        x = graph.slice(x, (0, 0), (camera.h, camera.w), (2, 3))
    return graph.model(x, camera, asset)


def _other_pixels(camera: Camera, asset: BakedAsset, factor: int) -> str:
    """One line on a camera that is not at the pitch, with the size that would be, where there is one."""
    pitch = pitch_of(asset)
    text = (
        f"an .onnx draws at the focal lengths that were trained, {pitch[0]:g} and {pitch[1]:g} pixels, the "
        f"camera has {camera.fl_x:g} and {camera.fl_y:g}"
    )
    w, h = round(camera.w * pitch[0] / camera.fl_x), round(camera.h * pitch[1] / camera.fl_y)
    fits = 1 <= min(w, h) and max(w, h) <= 32768 and ray_map(camera.resized(w, h), pitch, factor).exact
    return f"{text}: use --size {w}x{h}" if fits else text


class Graph:
    """Nodes and constants of a graph under construction; a tensor is told by its name."""

    def __init__(self) -> None:
        self.onnx = require("onnx", "onnx")
        self.nodes: list[Any] = []
        self.constants: dict[str, NDArray[Any]] = {}
        self.scope = ""
        self.opset, self.ir_version = OPSET, IR_VERSION

    def node(self, op: str, *inputs: str, **attributes: Any) -> str:
        """Append an operator with one output, and name that."""
        name = f"{self.scope}/{op}_{len(self.nodes)}"
        self.nodes.append(self.onnx.helper.make_node(op, inputs, [name], name, **attributes))
        return name

    def constant(self, value: ArrayLike, name: str = "", dtype: type = np.float32) -> str:
        """Store a tensor, weights under the ``name`` that the asset has for them; return its full name."""
        name = f"{self.scope}/{name or len(self.constants)}"
        self.constants[name] = np.ascontiguousarray(value, dtype)
        return name

    def slice(
        self, x: str, starts: tuple[int, ...], ends: tuple[int, ...], axes: tuple[int, ...] = (0, 1)
    ) -> str:
        """x[starts[0]:ends[0], starts[1]:ends[1], ..] along ``axes``."""
        return self.node("Slice", x, *(self.constant(n, dtype=np.int64) for n in (starts, ends, axes)))

    def total(self, x: str, axis: int, keepdims: int = 0) -> str:
        """The sum of x along an axis."""
        return self.node("ReduceSum", x, self.constant([axis], dtype=np.int64), keepdims=keepdims)

    def model(self, picture: str, camera: Camera, asset: BakedAsset) -> ModelProto:
        """The whole, with ``picture`` as its output."""
        helper = self.onnx.helper
        self.nodes.append(helper.make_node("Identity", [picture], [OUTPUT], OUTPUT))
        kind = self.onnx.TensorProto.FLOAT
        pose = "pose of the camera (x right, y up, looking down -z) in the asset's world"
        colours = "display colours in [0, 1]; channels, rows from the top, columns"
        graph = helper.make_graph(
            self.nodes,
            "light_field",
            [helper.make_tensor_value_info(INPUT, kind, (4, 4), pose)],
            [helper.make_tensor_value_info(OUTPUT, kind, (1, 3, camera.h, camera.w), colours)],
            [self.onnx.numpy_helper.from_array(array, name) for name, array in self.constants.items()],
        )
        model: ModelProto = helper.make_model(
            graph,
            producer_name="inshader",
            ir_version=self.ir_version,
            opset_imports=[helper.make_opsetid("", self.opset)],
        )
        facts = {
            "camera": camera.to_json(),
            "up": asset.up.tolist(),
            "world_from_source": asset.world_from_source.tolist(),
            **{name: asset.constants[name] for name in ("manifold",) if name in asset.constants},
        }
        helper.set_model_props(model, {name: json.dumps(fact) for name, fact in facts.items()})
        return model


# Rays -------------------------------------------------------------------------------------------------------


def _points(graph: Graph, points: RayPoints, view: RayMap, factor: int) -> str:
    """(K, 3, rays): the twin of ``RayPoints.of_camera``."""
    graph.scope = "rays"
    constant, node = graph.constant, graph.node
    directions = block_directions(view.camera, factor).reshape(-1, 3).T
    position = graph.slice(INPUT, (0, 3), (3, 4))  # (3, 1)
    d = node("MatMul", graph.slice(INPUT, (0, 0), (3, 3)), constant(directions))  # (3, rays)
    fractions = constant(np.linspace(0, 1, points.count)[:, None, None])  # (K, 1, 1)
    if points.ndc is None:
        distance = node("Sqrt", graph.total(node("Mul", position, position), 0, keepdims=1))  # (1, 1)
        near = node("Clip", node("Sub", distance, constant(HALF_DIAGONAL)), constant(NEAREST))
        far = node("Add", distance, constant(HALF_DIAGONAL))
        t = node("Add", near, node("Mul", node("Sub", far, near), fractions))  # (K, 1, 1)
        x = node("Add", position, node("Mul", t, d))  # (K, 3, rays)
    else:
        first, last = _ndc_ends(graph, position, d, directions.shape[1], points.ndc)
        x = node("Add", first, node("Mul", fractions, node("Sub", last, first)))
    return x


def _ndc_ends(graph: Graph, o: str, d: str, rays: int, ndc: Ndc) -> tuple[str, str]:
    """The ends (3, rays) of rays from (3, 1) along (3, rays): the twin of ``Ndc.ends``."""
    constant, node = graph.constant, graph.node
    scale, frame = constant(np.array(ndc.scale)[:, None]), constant(ndc.frame[:, :3])
    o = node("Add", node("MatMul", frame, o), constant(ndc.frame[:, 3:]))
    d = node("MatMul", frame, d)
    o_z, d_z = graph.slice(o, (2,), (3,), (0,)), graph.slice(d, (2,), (3,), (0,))
    length = node("Sqrt", graph.total(node("Mul", d, d), 0, keepdims=1))
    ahead = node("Max", node("Mul", d_z, constant(-1)), node("Mul", length, constant(SIDEWAYS)))  # -dz
    start = node("Add", o, node("Mul", node("Div", node("Add", o_z, constant(1)), ahead), d))
    depth = node("Mul", graph.slice(start, (2,), (3,), (0,)), constant(-1))  # -z
    first_xy = node("Div", node("Mul", graph.slice(start, (0,), (2,), (0,)), scale), depth)
    first_z = node("Sub", constant(1), node("Div", constant(2), depth))
    last_xy = node("Div", node("Mul", graph.slice(d, (0,), (2,), (0,)), scale), ahead)
    last_z = constant(np.ones((1, rays)))
    return node("Concat", first_xy, first_z, axis=0), node("Concat", last_xy, last_z, axis=0)


def _gathered(graph: Graph, gather: Gather, x: str, count: int) -> str:
    """Points (K, 3, rays) -> (1, F + 5, rays): the twin of ``Gather.evaluate``."""
    graph.scope = "rays"
    constant, node = graph.constant, graph.node
    place = node("Div", node("Add", x, constant(REACH)), constant(2 * REACH))
    place = node("Transpose", node("Clip", place, constant(0), constant(1)), perm=(1, 0, 2))
    axes = [graph.slice(place, (axis,), (axis + 1,), (0,)) for axis in range(3)]  # each (1, K, rays)
    table = gather.grid.table.astype(np.float32)
    levels = [_level(graph, level, table, axes) for level in gather.grid.spec.level_list]
    features = node("Concat", *levels, axis=0)  # (F, 1, K, rays)
    features = node("Transpose", features, perm=(1, 0, 2, 3))
    thickness = node("Softplus", _network(graph, "density", gather.density, features))  # (1, 1, K, rays)
    graph.scope = "rays"
    total = node("MatMul", constant(np.tri(count)), thickness)  # up to each point, and with it
    before = node("Exp", node("Sub", thickness, total))
    weights = node("Sub", before, node("Exp", node("Mul", total, constant(-1))))
    last, first = graph.slice(x, (count - 1,), (count,), (0,)), graph.slice(x, (0,), (1,), (0,))
    along = node("Sub", last, first)  # (1, 3, rays)
    along = node("Div", along, node("Sqrt", graph.total(node("Mul", along, along), 1, keepdims=1)))
    depths = constant(np.linspace(-1, 1, count)[:, None])
    parts = [node("Mul", weights, features), weights, node("Mul", weights, depths)]
    summed, opacity, depth = (graph.total(part, 2) for part in parts)
    return node("Concat", summed, opacity, along, depth, axis=1)


def _level(graph: Graph, level: Level, table: NDArray[np.float32], axes: list[str]) -> str:
    """Features (f, 1, K, rays) of one level of the grid at places in [0, 1]: the twin of ``_interpolate``."""
    constant, node = graph.constant, graph.node
    cells, sides = [], []  # for each axis and each of its two corners: part of the entry's number, weight
    for axis, place in enumerate(axes):
        position = node("Add", node("Mul", place, constant(level.scale)), constant(0.5))
        base = node("Floor", position)
        fraction = node("Sub", position, base)
        sides.append([node("Sub", constant(1), fraction), fraction])
        corner = node("Cast", base, to=graph.onnx.TensorProto.INT32)
        numbers = axis_numbers(level, axis)
        cells.append([node("Gather", constant(numbers[bit:], dtype=np.int32), corner) for bit in (0, 1)])
    join = "BitwiseXor" if level.hashed else "Add"
    if level.hashed:
        graph.opset, graph.ir_version = HASHED_OPSET, HASHED_IR_VERSION
    largest = 0 if level.hashed else sum(int(axis_numbers(level, axis)[-1]) for axis in range(3))
    rows = np.arange(max(level.size, largest + 1)) % level.size  # so that no remainder is taken in the graph
    entries = constant(table[level.offset + rows].T)  # (f, entries)
    terms = []
    for y, x in itertools.product((0, 1), repeat=2):
        edge, weight = node(join, cells[0][x], cells[1][y]), node("Mul", sides[0][x], sides[1][y])
        for z in (0, 1):
            found = node("Gather", entries, node(join, edge, cells[2][z]), axis=1)
            terms.append(node("Mul", found, node("Mul", weight, sides[2][z])))
    return functools.reduce(lambda a, b: node("Add", a, b), terms)


def axis_numbers(level: Level, axis: int) -> NDArray[np.int64]:
    """What a corner's place along an axis adds to the number of its entry, or, hashed, is xor-ed to it.

    A hashed level has a power of two of entries, so that the remainder can be taken beforehand.
    """
    places = np.arange(level.resolution + 2, dtype=np.int64)
    numbers: NDArray[np.int64] = places * (HASH_PRIMES[axis] if level.hashed else level.resolution**axis)
    return numbers % level.size if level.hashed else numbers


def _encoded(graph: Graph, slot: Slot, x: str) -> str:
    """The slot's values, in the order of ``NetworkSpec``."""
    graph.scope = "rays"
    if slot.encoding == "identity":
        return x
    if slot.encoding != "frequency":
        raise InshaderError(f"the trunk encodes its points by {slot.encoding}, an .onnx can by frequency")
    parts = [x]
    for k in range(slot.order):
        angle = graph.node("Mul", x, graph.constant(2.0**k)) if k else x
        parts += [graph.node("Sin", angle), graph.node("Cos", angle)]
    return graph.node("Concat", *parts, axis=1)


# Networks ---------------------------------------------------------------------------------------------------


def _gelu(graph: Graph, z: str) -> str:
    """Written as onnxruntime and Core ML know it, who make one operator of it."""
    constant, node = graph.constant, graph.node
    cubic = node("Mul", node("Pow", z, constant(3)), constant(GELU_CUBIC))
    tanh = node("Tanh", node("Mul", node("Add", z, cubic), constant(GELU)))
    return node("Mul", node("Mul", z, constant(0.5)), node("Add", tanh, constant(1)))


ACTIVATIONS: Mapping[str, Callable[[Graph, str, float], str]] = {
    "none": lambda graph, z, s: z,
    "relu": lambda graph, z, s: graph.node("Relu", z),
    "sigmoid": lambda graph, z, s: graph.node("Sigmoid", z),
    "tanh": lambda graph, z, s: graph.node("Tanh", z),
    "sine": lambda graph, z, s: graph.node("Sin", graph.node("Mul", z, graph.constant(s))),
    "gelu": lambda graph, z, s: _gelu(graph, z),
}


def _network(graph: Graph, name: str, network: BakedNetwork, x: str) -> str:
    """A network of every pixel, (1, in, rows, columns) -> (1, out, rows, columns)."""
    stages = [_encoded(graph, network.spec.inputs[0], x)]
    graph.scope = name
    for index, layer in enumerate(network.spec.layers):
        x = stages[-1]
        match layer:
            case Linear():
                weight = network.parameters[f"{index}.weight"][0, :, :, None, None]
                parts = [graph.constant(weight, f"{index}.weight")]
                if layer.bias:
                    parts.append(graph.constant(network.parameters[f"{index}.bias"][0], f"{index}.bias"))
                z = graph.node("Conv", x, *parts, kernel_shape=(1, 1))
                stages.append(_activated(graph, name, layer, z))
            case Concat(source):
                stages.append(graph.node("Concat", x, stages[source], axis=1))
            case Add(source):
                stages.append(graph.node("Add", x, stages[source]))
            case _:
                raise InshaderError(
                    f"layer {index} of the network {name} is a {type(layer).__name__}, an .onnx has "
                    "Linear, Concat and Add"
                )
    return stages[-1]


def _activated(graph: Graph, name: str, layer: Linear, z: str) -> str:
    if layer.activation not in ACTIVATIONS:
        raise InshaderError(
            f"the network {name} has the activation {layer.activation}, an .onnx has {', '.join(ACTIVATIONS)}"
        )
    return ACTIVATIONS[layer.activation](graph, z, layer.scale)


def _upsample(graph: Graph, name: str, step: Step, x: str) -> str:
    """(1, in, rows, columns) -> (1, out, rows * factor, columns * factor) by a transposed convolution."""
    graph.scope = name
    (layer,) = step.bank.spec.layers
    assert isinstance(layer, Linear)  # LightField.of has looked
    parts = [graph.constant(step.kernel(), "0.weight")]
    if layer.bias:
        bias = step.bank.parameters["0.bias"]
        if (bias != bias[0]).any():
            raise InshaderError(f"the biases of the bank {name} differ, a transposed convolution has one")
        parts.append(graph.constant(bias[0], "0.bias"))
    padding = step.taps - 1
    z = graph.node(
        "ConvTranspose",
        x,
        *parts,
        kernel_shape=(step.factor * step.taps,) * 2,
        strides=(step.factor,) * 2,
        pads=(padding,) * 4,
    )
    return _activated(graph, name, layer, z)
