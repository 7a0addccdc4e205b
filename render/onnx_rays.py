"""The rays of a light field in an ONNX graph: their points, or what is gathered along them.

What is gathered is evaluated in occupied cells alone: which samples these are is known of the pose when the
graph runs, so the tensors of samples are as long as there are any.
"""

from __future__ import annotations

import functools
import itertools

import numpy as np
from numpy.typing import NDArray

from render import contraction
from render.grid import HASH_PRIMES, Level
from render.lattice import Space
from render.light_field_gather import MAX_LOG_DENSITY, Gather
from render.light_field_rays import HALF_DIAGONAL, NEAREST, RayMap, RayPoints, block_directions
from render.ndc import SIDEWAYS, Ndc
from render.onnx_networks import network_in
from render.onnx_nodes import INPUT, Graph

# What has the exclusive or of hashed grids, and sums of scattered values: onnxruntime from 1.14.
GATHER_OPSET, GATHER_IR_VERSION = 18, 8
BEHIND = 1e9  # where a ray begins that has no samples


def points_of(graph: Graph, points: RayPoints, view: RayMap, factor: int) -> str:
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
        first, last = _ndc_ends(graph, position, d, points.ndc)
        x = node("Add", first, node("Mul", fractions, node("Sub", last, first)))
    return x


def _ndc_ends(graph: Graph, o: str, d: str, ndc: Ndc) -> tuple[str, str]:
    """The ends (3, rays) of rays from (3, 1) along (3, rays): the twin of ``Ndc.ends``."""
    constant, node = graph.constant, graph.node
    scale, frame = constant(np.array(ndc.scale)[:, None]), constant(ndc.frame[:, :3])
    o = node("Add", node("MatMul", frame, o), constant(ndc.frame[:, 3:]))
    d = node("MatMul", frame, d)
    o_z, d_z = graph.slice(o, (2,), (3,), (0,)), graph.slice(d, (2,), (3,), (0,))
    ahead = node(
        "Max", node("Mul", d_z, constant(-1)), node("Mul", _length(graph, d), constant(SIDEWAYS))
    )  # -dz
    start = node("Add", o, node("Mul", node("Div", node("Add", o_z, constant(1)), ahead), d))
    depth = node("Mul", graph.slice(start, (2,), (3,), (0,)), constant(-1))  # -z
    first_xy = node("Div", node("Mul", graph.slice(start, (0,), (2,), (0,)), scale), depth)
    first_z = node("Sub", constant(1), node("Div", constant(2), depth))
    last_xy = node("Div", node("Mul", graph.slice(d, (0,), (2,), (0,)), scale), ahead)
    last_z = node("Div", ahead, ahead)  # 1 for each
    return node("Concat", first_xy, first_z, axis=0), node("Concat", last_xy, last_z, axis=0)


def gathered(graph: Graph, gather: Gather, view: RayMap, factor: int) -> str:
    """(F + 4, rays): the twin of ``Gather.evaluate``."""
    graph.scope = "rays"
    graph.opset, graph.ir_version = GATHER_OPSET, GATHER_IR_VERSION
    constant, node = graph.constant, graph.node
    directions = block_directions(view.camera, factor).reshape(-1, 3).T
    directions /= np.linalg.norm(directions, axis=0)
    o = graph.slice(INPUT, (0, 3), (3, 4))  # (3, 1)
    d = node("MatMul", graph.slice(INPUT, (0, 0), (3, 3)), constant(directions))  # (3, rays)
    u, counts = _lattice(graph, gather.space, o, d)  # (3, K, rays), (K, rays)
    rays, shape = directions.shape[1], (gather.space.most_samples, directions.shape[1])
    sample = node("NonZero", counts)  # (2, samples): k and ray
    k, ray = (graph.flat(graph.slice(sample, (row,), (row + 1,), (0,))) for row in (0, 1))
    place = node("Add", node("Mul", k, constant(rays, dtype=np.int64)), ray)  # (samples,) in K * rays
    u = node("Gather", node("Reshape", u, constant([3, -1], dtype=np.int64)), place, axis=1)
    axes = [graph.flat(graph.slice(u, (axis,), (axis + 1,), (0,))) for axis in range(3)]
    table = gather.grid.table.astype(np.float32)
    levels = [_level(graph, level, table, axes) for level in gather.grid.spec.level_list]
    features = node("Concat", *levels, axis=0)  # (F, samples)
    optical = node("Mul", _density(graph, gather, features), constant(gather.space.step_size))
    nothing = node("ConstantOfShape", constant([int(np.prod(shape))], dtype=np.int64))
    dense = node("ScatterElements", nothing, place, optical, axis=0)
    dense = node("Reshape", dense, constant(shape, dtype=np.int64))
    axis = constant(0, dtype=np.int64)
    before, behind = (
        node("Exp", node("Mul", node("CumSum", dense, axis, exclusive=exclusive), constant(-1)))
        for exclusive in (1, 0)
    )
    goes_on = node("Not", node("Less", before, constant(gather.stop)))
    weights = node("Where", goes_on, node("Sub", before, behind), constant(0))  # (K, rays)
    weighted = node("Mul", features, node("Gather", graph.flat(weights), place))
    width = gather.grid.spec.output_width
    sums = node("ConstantOfShape", constant([width, rays], dtype=np.int64))
    index = node("Expand", ray, node("Shape", weighted))
    summed = node("ScatterElements", sums, index, weighted, axis=1, reduction="add")
    return node("Concat", summed, graph.total(weights, 0, keepdims=1), d, axis=0)


def _density(graph: Graph, gather: Gather, features: str) -> str:
    """sigma (samples,) of features (F, samples)."""
    pixels = graph.constant([1, gather.grid.spec.output_width, 1, -1], dtype=np.int64)
    s = network_in(graph, "density", gather.density, graph.node("Reshape", features, pixels))
    graph.scope = "rays"
    return graph.node("Exp", graph.node("Min", graph.flat(s), graph.constant(MAX_LOG_DENSITY)))


# The lattice ------------------------------------------------------------------------------------------------


def _lattice(graph: Graph, space: Space, o: str, d: str) -> tuple[str, str]:
    """Samples of rays from (3, 1) along (3, rays), u (3, K, rays) in [0, 1], and which of them count
    (K, rays): the twin of ``Lattice``."""
    constant, node = graph.constant, graph.node
    k = constant(np.arange(space.most_samples)[:, None])
    low, size = constant(space.low[:, None]), constant(space.size[:, None])
    step, half_step = constant(space.step_size), constant(0.5 * space.step_size)
    if space.ball[3] > 0:
        o = node("Div", node("Sub", o, constant(space.ball[:3, None])), constant(space.ball[3]))
        foot = node("Mul", graph.total(node("Mul", o, d), 0, keepdims=1), constant(-1))  # (1, rays)
        start, end = (
            _lattice_place(graph, node("Sub", constant(t), foot)) for t in (space.near_plane, contraction.FAR)
        )
        start = node("Add", start, half_step)
        s = node("Add", start, node("Mul", k, step))  # (K, rays)
        t = node("Unsqueeze", node("Add", _lattice_distance(graph, s), foot), constant([0], dtype=np.int64))
        x = [node("Unsqueeze", part, constant([1], dtype=np.int64)) for part in (o, d)]
        y = _contracted(graph, node("Add", x[0], node("Mul", t, x[1])))  # (3, K, rays)
        u = node(
            "Div", node("Sub", y, constant(space.low[:, None, None])), constant(space.size[:, None, None])
        )
    else:
        start = constant(0)
        if space.ndc is not None:
            o, d, start = _projected(graph, space.ndc, o, d)
        safe = node("Where", node("Less", node("Abs", d), constant(1e-12)), constant(1e-12), d)
        a, b = (node("Div", node("Sub", side, o), safe) for side in (low, node("Add", low, size)))
        enters = node("ReduceMax", node("Min", a, b), constant([0], dtype=np.int64), keepdims=1)
        start = node("Add", node("Max", enters, start), half_step)  # (1, rays)
        end = node("ReduceMin", node("Max", a, b), constant([0], dtype=np.int64), keepdims=1)
        first = node("Div", node("Sub", node("Add", o, node("Mul", start, d)), low), size)
        along = node("Div", node("Mul", step, d), size)
        first, along = (node("Unsqueeze", part, constant([1], dtype=np.int64)) for part in (first, along))
        u = node("Add", first, node("Mul", k, along))  # (3, K, rays)
    u = node("Clip", u, constant(0), constant(1))
    n = node("Ceil", node("Div", node("Sub", end, start), step))
    return u, node("And", node("Less", k, n), _occupied(graph, space, u))


def _occupied(graph: Graph, space: Space, u: str) -> str:
    """(K, rays) which of u (3, K, rays) lie in set cells."""
    constant, node = graph.constant, graph.node
    shape = np.array(space.occupancy.shape)[:, None, None]
    cell = node("Min", node("Floor", node("Mul", u, constant(shape))), constant(shape - 1))
    strides = np.array([shape[1, 0, 0] * shape[2, 0, 0], shape[2, 0, 0], 1])[:, None, None]
    index = graph.total(node("Mul", graph.whole(cell), constant(strides, dtype=np.int64)), 0)
    return node("Gather", constant(space.occupancy.ravel(), dtype=np.bool_), index)


def _projected(graph: Graph, ndc: Ndc, o: str, d: str) -> tuple[str, str, str]:
    """Rays in normalised device coordinates, and where the camera is on them: the twin of
    ``Lattice._project``."""
    constant, node = graph.constant, graph.node
    first, last = _ndc_ends(graph, o, d, ndc)
    along = node("Sub", last, first)
    along = node("Div", along, _length(graph, along))
    frame = constant(ndc.frame[2:, :3])
    ahead = node("Mul", node("Add", node("MatMul", frame, o), constant(ndc.frame[2:, 3:])), constant(-1))
    goes = node("Mul", node("MatMul", frame, d), constant(-1))  # (1, rays)
    before = node("Sub", constant(1), node("Div", constant(2), node("Max", ahead, constant(1))))
    first_z, along_z = (graph.slice(part, (2,), (3,), (0,)) for part in (first, along))
    start = node("Div", node("Sub", before, first_z), along_z)
    scale = float(np.linalg.norm(ndc.frame[0, :3]))
    sideways = node("Less", goes, constant(SIDEWAYS * scale))
    return first, along, node("Where", sideways, constant(BEHIND), start)


def _length(graph: Graph, x: str) -> str:
    """(1, ..) of vectors (3, ..)."""
    return graph.node("Sqrt", graph.total(graph.node("Mul", x, x), 0, keepdims=1))


def _contracted(graph: Graph, x: str) -> str:
    """The twin of ``contraction.contract``, of (3, ..)."""
    constant, node = graph.constant, graph.node
    norm = node("Max", _length(graph, x), constant(1))
    return node("Mul", node("Div", node("Sub", constant(2), node("Div", constant(1), norm)), norm), x)


def _lattice_place(graph: Graph, distance: str) -> str:
    """The twin of ``contraction.lattice_place``."""
    constant, node = graph.constant, graph.node
    beyond = node("Max", node("Abs", distance), constant(1))
    far = node("Mul", node("Sign", distance), node("Sub", constant(2), node("Div", constant(1), beyond)))
    return node("Where", node("Greater", beyond, constant(1)), far, distance)


def _lattice_distance(graph: Graph, s: str) -> str:
    """The twin of ``contraction.lattice_distance``; s that are no sample's are led to a distance, too."""
    constant, node = graph.constant, graph.node
    beyond = node("Clip", node("Abs", s), constant(1), constant(2 - 1e-3))
    far = node("Div", node("Sign", s), node("Sub", constant(2), beyond))
    return node("Where", node("Greater", beyond, constant(1)), far, s)


# The grid ---------------------------------------------------------------------------------------------------


def _level(graph: Graph, level: Level, table: NDArray[np.float32], axes: list[str]) -> str:
    """Features (f, n) of one level of the grid at places in [0, 1], (n,) by axis: the twin of
    ``_interpolate``."""
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
