"""Small networks and banks of them: values, derivatives by the input, and the gradients of both.

What runs is in ``layers.py``; here a NetworkSpec becomes arrays that numba knows, and rows become pieces.
What a thread adds up is one piece of one network's rows, whatever the number of threads: it changes no bit.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import lru_cache
from itertools import pairwise
from typing import Any

import numpy as np
import torch
from numba import config, get_num_threads, njit
from numpy.typing import NDArray
from torch import Tensor

from render.network import Add, Concat, Linear, NetworkSpec
from training.kernels import reference
from training.kernels.cpu.common import array
from training.kernels.cpu.layers import ADD, CONCAT, LINEAR, LN2, TILE, run
from training.kernels.cpu.product import LANES

PIECE = 2048  # rows of one network that one thread takes; the gradients of pieces are added in their order
PIECE_COST = 16  # what a piece costs besides its rows, in rows: its weights are copied and its gradients too

NAMES = ("none", "relu", "sigmoid", "tanh", "sine", "softplus", "gaussian")  # as layers.py counts them
Floats = NDArray[np.float32]
Integers = NDArray[np.int64]


@dataclass(frozen=True, eq=False)
class Plan:
    """A NetworkSpec as numba takes it.

    Attributes:
        layers: (layers, 7) of kind, source stage, activation, width in, width out, whether it has a bias,
            where its packed matrices start; of a Concat or Add, width out is that of the source.
        curves: (layers, 5) scale of the activation a(z), and p, q, r, t of its second derivative as
            a' (p + q a + r a') + t a.
        wide: (stages,) widths of stages, padded.
        starts: (stages + 1,) their running sum.
        packed: how many numbers the packed matrices of a network take.
    """

    layers: Integers
    curves: Floats
    wide: Integers
    starts: Integers
    packed: int


def _padded(width: int) -> int:
    return (width + LANES - 1) // LANES * LANES


def _second(activation: str, scale: float) -> tuple[float, float, float, float]:
    match activation:
        case "sigmoid":
            return 1, -2, 0, 0
        case "tanh":
            return 0, -2, 0, 0
        case "sine":
            return 0, 0, 0, -(scale**2)
        case "softplus":
            return scale, 0, -scale, 0
        case "gaussian":
            return float(LN2), 0, 0, 0
    return 0, 0, 0, 0


@lru_cache(maxsize=64)
def _plan(spec: NetworkSpec) -> Plan | None:
    """None where the spec has a layer or an activation that only the reference knows."""
    layers, curves, packed = [], [], 0
    for index, layer in enumerate(spec.layers):
        row, curve = [0] * 7, [0.0] * 5
        match layer:
            case Linear(activation=unknown) if unknown not in NAMES:
                return None
            case Linear(width, bias, activation, scale):
                row = [LINEAR, 0, NAMES.index(activation), spec.widths[index], width, bias, packed]
                curve = [scale, *_second(activation, scale)]
                packed += max(width * _padded(spec.widths[index]), spec.widths[index] * _padded(width))
                packed += _padded(width)
            case Concat(source) | Add(source):
                row[:2] = CONCAT if isinstance(layer, Concat) else ADD, source
                row[3:5] = spec.widths[index], spec.widths[source]
            case _:
                return None
        layers.append(row)
        curves.append(curve)
    wide = np.array([_padded(width) for width in spec.widths], np.int64)
    starts = np.concatenate([[0], wide.cumsum()])
    return Plan(np.array(layers), np.array(curves, np.float32), wide, starts, packed)


def _pieces(offsets: Integers) -> Integers:
    """(pieces, 4) of network, first row, last row + 1 and where the gradient goes: network k's first piece to
    place k, all others to places from the number of networks on. Every network has a piece."""
    counts = np.diff(offsets)
    times = np.maximum(1, -(-counts // PIECE))
    network = np.repeat(np.arange(len(counts)), times)
    part = np.arange(len(network)) - np.repeat(times.cumsum() - times, times)
    first = offsets[network] + part * PIECE
    last = np.minimum(first + PIECE, offsets[network + 1])
    place = np.where(part == 0, network, len(counts) + (part > 0).cumsum() - 1)
    return np.stack([network, first, last, place], 1)


@lru_cache(maxsize=1)
def _threads() -> ThreadPoolExecutor:
    return ThreadPoolExecutor(config.NUMBA_NUM_THREADS)


def _addresses(spec: NetworkSpec, values: Iterable[Tensor]) -> Integers:
    """(layers, 2) of where the weights and biases of linear layers are, which come in the spec's order."""
    found = np.zeros((len(spec.layers), 2), np.int64)
    for name, value in zip(spec.parameter_shapes(), values, strict=True):
        layer, part = name.split(".")
        found[int(layer), int(part == "bias")] = value.data_ptr()
    return found


def _run_pieces(spec: NetworkSpec, pieces: Integers, *arguments: Any) -> None:
    """``run`` on all pieces, shared out to threads. Not by ``prange``, for which numba compiles all of it
    three times over."""
    plan = _plan(spec)
    assert plan is not None
    work = plan.layers, plan.curves, plan.wide, plan.starts, plan.packed
    cost = (pieces[:, 2] - pieces[:, 1] + PIECE_COST).cumsum()
    shares = np.searchsorted(cost, cost[-1] * np.linspace(0, 1, get_num_threads() + 1))
    shares[-1] = len(pieces)
    tasks = (_threads().submit(run, pieces, *share, *work, *arguments) for share in pairwise(shares))
    for task in list(tasks):
        task.result()


class _Networks(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any, spec: NetworkSpec, tangents: int, offsets: Tensor, x: Tensor, *parameters: Tensor
    ) -> tuple[Tensor, Tensor]:
        values = [value.detach().contiguous() for value in parameters]
        _check(spec, values, x, offsets)
        ctx.save_for_backward(x, *parameters)
        ctx.spec, ctx.tangents, ctx.pieces = spec, tangents, _pieces(array(offsets))
        y, dy = torch.empty(len(x), spec.output_width), torch.empty(len(x), spec.output_width, tangents)
        forward = np.empty((0, 0), np.float32), np.empty((0, 2), np.int64)  # no gradients are asked for
        addresses = _addresses(spec, values)
        _run_pieces(spec, ctx.pieces, tangents, addresses, array(x), y.numpy(), dy.numpy(), *forward)
        return y, dy

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:
        x, *parameters = ctx.saved_tensors
        spec, pieces, count = ctx.spec, ctx.pieces, ctx.spec.count
        values = [value.detach().contiguous() for value in parameters]
        gx = torch.empty(x.shape if ctx.needs_input_grad[3] else (0, 0))
        found = [torch.empty(len(pieces), *value.shape[1:]) for value in values]
        arrays = array(x), array(grads[0]), array(grads[1]), gx.numpy()
        _run_pieces(spec, pieces, ctx.tangents, _addresses(spec, values), *arrays, _addresses(spec, found))
        further = torch.from_numpy(pieces[pieces[:, 3] >= count, 0])
        for gradient in found if len(further) else []:
            gradient[:count].index_add_(0, further, gradient[count:])  # in the order of the pieces
        return None, None, None, gx if ctx.needs_input_grad[3] else None, *(g[:count] for g in found)


def _check(spec: NetworkSpec, values: list[Tensor], x: Tensor, offsets: Tensor) -> None:
    """What numba would not notice: it reads and writes wherever it is told to."""
    shapes = list(spec.parameter_shapes().values())
    if [value.shape for value in values] != shapes or any(v.dtype != torch.float32 for v in (x, *values)):
        raise ValueError(f"parameters are not float32 of the shapes {shapes}, or x is not")
    steps = torch.diff(offsets, prepend=offsets.new_zeros(1), append=offsets.new_full((1,), len(x)))
    if len(offsets) != spec.count + 1 or steps[0] or steps[-1] or int(steps.min()) < 0:
        raise ValueError(f"offsets do not go from 0 to {len(x)} in {spec.count} steps")
    if x.shape[1:] != (spec.widths[0],):
        raise ValueError(f"x is {tuple(x.shape)}, expected rows of {spec.widths[0]}")


@njit(cache=True)
def _sort(ids, order, offsets):
    """Counting sort; False where an id is out of bounds."""
    for k in ids:
        if not 0 <= k < len(offsets) - 1:
            return False
        offsets[k + 1] += 1
    for k in range(1, len(offsets)):
        offsets[k] += offsets[k - 1]
    place = offsets[:-1].copy()
    for i in range(len(ids)):
        order[place[ids[i]]] = i
        place[ids[i]] += 1
    return True


def by_network(ids: Tensor, count: int) -> tuple[Tensor, Tensor]:
    order, offsets = torch.empty_like(ids), torch.zeros(count + 1, dtype=torch.int64)
    if not _sort(array(ids), order.numpy(), offsets.numpy()):
        return reference.by_network(ids, count)  # which says what is wrong
    return order, offsets


def networks(spec: NetworkSpec, parameters: Mapping[str, Tensor], x: Tensor, offsets: Tensor) -> Tensor:
    if _plan(spec) is None:
        return reference.networks(spec, parameters, x, offsets)
    return _Networks.apply(spec, 0, offsets, x, *(parameters[name] for name in spec.parameter_shapes()))[0]


def networks_jacobian(
    spec: NetworkSpec, parameters: Mapping[str, Tensor], x: Tensor, offsets: Tensor
) -> tuple[Tensor, Tensor]:
    tangents = x.shape[1]
    if _plan(spec) is None or tangents >= TILE:
        return reference.networks_jacobian(spec, parameters, x, offsets)
    return _Networks.apply(
        spec, tangents, offsets, x, *(parameters[name] for name in spec.parameter_shapes())
    )
