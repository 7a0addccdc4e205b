"""Small networks and banks of them, each row through its own network.

They are held against numpy's NetworkSpec, autograd in float64 and finite differences.

What is held against float64 agrees to 1e-5 of the largest value: float32 has 6e-8, sums of some hundred terms
lose one or two digits of it, and a sine multiplies what its argument lost by its scale.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

import numba
import numpy as np
import pytest
import torch
from torch import Tensor

from render.encodings import ACTIVATIONS
from render.network import Add, Concat, Layer, Linear, NetworkSpec, Normalise, Slot, SquareConcat
from training.kernels import Kernels, cpu, reference
from training.kernels.cpu.functions import exp2, log1p, sigmoid, sine_cosine
from training.kernels.cpu.layers import TILE
from training.kernels.cpu.network import PIECE
from training.modules import stage_0

TOLERANCE = 1e-5
RBF = (SquareConcat(), Linear(5, activation="gaussian"), Normalise(), Concat(0), Linear(2))
BODIES: dict[str, tuple[int, tuple[Layer, ...]]] = {  # width of stage 0, layers
    **{
        f"activation {name}": (3, (Linear(7, True, name, 1.7), Linear(5, True, name, 0.8), Linear(2)))
        for name in ACTIVATIONS
    },
    "distance": (3, (Linear(32, True, "sine", 8.0), Linear(32, True, "sine", 2.0), Linear(1))),
    "colour": (22, (Linear(32, True, "relu"), Linear(32, True, "relu"), Linear(3, True, "sigmoid"))),
    "one layer": (1, (Linear(1),)),
    "without biases": (4, (Linear(17, False, "softplus", 3.0), Linear(4, False))),
    "wide": (19, (Linear(50, True, "relu"), Linear(33, True, "tanh"), Linear(18))),
    "skips": (5, (Linear(6, True, "sine"), Concat(0), Linear(6, True, "tanh"), Add(1), Add(4), Concat(2))),
    "an early skip": (4, (Concat(0), Add(1), Linear(3, True, "softplus"))),
    "layers of the reference": (4, RBF),
}
# Rows of each network: none, one, a tile and one more, uneven, all in one
ROWS = {
    "a few": [3, 0, 0, 1, TILE + 1, 40, 0],
    "none": [0, 0],
    "one network": [TILE + 5],
    "pieces": [2 * PIECE + 7, 1, 0, PIECE + 1],
}


@contextmanager
def double() -> Iterator[None]:
    """New tensors are float64, inside the reference too."""
    torch.set_default_dtype(torch.float64)
    try:
        yield
    finally:
        torch.set_default_dtype(torch.float32)


def bank(name: str, counts: list[int]) -> tuple[NetworkSpec, list[Tensor], Tensor, Tensor]:
    """Spec, parameters in its order, stage 0 and offsets."""
    width, layers = BODIES[name]
    spec = NetworkSpec((Slot("x", width),), layers, count=len(counts))
    rng = np.random.default_rng(sum(counts) + width)
    parameters = [
        torch.from_numpy(rng.normal(0, 1.2 / np.sqrt(shape[-1]), shape).astype(np.float32))
        for shape in spec.parameter_shapes().values()
    ]
    x = torch.from_numpy(rng.uniform(-1, 1, (sum(counts), width)).astype(np.float32))
    return spec, parameters, x, torch.tensor([0, *np.cumsum(counts)])


Function = Callable[..., Tensor | tuple[Tensor, Tensor]]


def outcome(
    function: Function, spec: NetworkSpec, parameters: list[Tensor], x: Tensor, offsets: Tensor
) -> list[Tensor]:
    """Values of ``networks`` or ``networks_jacobian``, then the gradients of a random weighting of them by x
    and the parameters."""
    leaves = [value.detach().clone().requires_grad_() for value in (x, *parameters)]
    values = function(spec, dict(zip(spec.parameter_shapes(), leaves[1:], strict=True)), leaves[0], offsets)
    values = values if isinstance(values, tuple) else (values,)
    rng = np.random.default_rng(0)
    weights = [torch.from_numpy(rng.normal(size=value.shape)).to(value) for value in values]
    loss = torch.stack([(w * value).sum() for w, value in zip(weights, values, strict=True)]).sum()
    return [*(value.detach() for value in values), *torch.autograd.grad(loss, leaves)]


def exact(
    function: Function, spec: NetworkSpec, parameters: list[Tensor], x: Tensor, offsets: Tensor
) -> list[Tensor]:
    """``outcome`` in float64."""
    with double():
        return outcome(function, spec, [value.double() for value in parameters], x.double(), offsets)


def assert_all_close(found: list[Tensor], wanted: list[Tensor]) -> None:
    for f, w in zip(found, wanted, strict=True):
        assert f.shape == w.shape and f.dtype == torch.float32
        if w.numel():
            error, scale = float((f.cpu().double() - w).abs().max()), float(w.abs().max())
            assert error <= TOLERANCE * max(scale, 1e-3), f"off by {error:.3g} of {scale:.3g}"


def to(device: str, parameters: list[Tensor], *tensors: Tensor) -> tuple[list[Tensor], *tuple[Tensor, ...]]:
    return [value.to(device) for value in parameters], *(tensor.to(device) for tensor in tensors)


# Sorting ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("rows", [0, 1, 1000])
def test_by_network(rows: int, kernels: Kernels, device: str) -> None:
    ids = np.random.default_rng(rows).integers(0, 50, rows)
    ids[ids == 7] = 8  # a network without rows
    order, offsets = kernels.by_network(torch.from_numpy(ids).to(device), 50)
    assert order.dtype == offsets.dtype == torch.int64
    assert order.tolist() == np.argsort(ids, kind="stable").tolist()
    assert offsets.tolist() == [0, *np.bincount(ids, minlength=50).cumsum()]


@pytest.mark.parametrize("bad", [-1, 4])
def test_by_network_of_a_wrong_id(bad: int, kernels: Kernels, device: str) -> None:
    with pytest.raises(ValueError, match=f"{bad}.* the bank has 4 networks"):
        kernels.by_network(torch.tensor([0, bad, 3], device=device), 4)


# Values and gradients ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", BODIES)
@pytest.mark.parametrize("function", ["networks", "networks_jacobian"])
def test_every_layer(name: str, function: str, kernels: Kernels, device: str) -> None:
    spec, parameters, x, offsets = bank(name, ROWS["a few"])
    found = outcome(getattr(kernels, function), spec, *to(device, parameters, x, offsets))
    assert_all_close(found, exact(getattr(reference, function), spec, parameters, x, offsets))


@pytest.mark.parametrize("rows", ROWS)
@pytest.mark.parametrize("name", ["distance", "colour", "skips"])
@pytest.mark.parametrize("function", ["networks", "networks_jacobian"])
def test_every_shape_of_bank(rows: str, name: str, function: str, kernels: Kernels, device: str) -> None:
    spec, parameters, x, offsets = bank(name, ROWS[rows])
    found = outcome(getattr(kernels, function), spec, *to(device, parameters, x, offsets))
    assert_all_close(found, exact(getattr(reference, function), spec, parameters, x, offsets))


@pytest.mark.parametrize("name", BODIES)
def test_reference_is_the_numpy_network(name: str) -> None:
    """Network by network; the derivative is numpy's forward mode, the reference's comes from autograd."""
    spec, parameters, x, offsets = bank(name, ROWS["a few"])
    single = NetworkSpec(spec.inputs, spec.layers)
    with double():
        named = {key: v.double() for key, v in zip(spec.parameter_shapes(), parameters, strict=True)}
        y, dy = reference.networks_jacobian(spec, named, x.double(), offsets)
    for k in range(spec.count):
        part = slice(int(offsets[k]), int(offsets[k + 1]))
        own = {key: v[k : k + 1].numpy() for key, v in named.items()}
        value, slope = single.jacobian(own, x[part].double().numpy())
        # float64 on both sides: what is left is not rounding but another formula
        assert np.allclose(y[part].numpy(), value, rtol=0, atol=1e-12 * max(1, np.abs(value).max(initial=0)))
        assert np.allclose(dy[part].numpy(), slope, rtol=0, atol=1e-12 * max(1, np.abs(slope).max(initial=0)))


@pytest.mark.parametrize("name", ["distance", "skips", "activation softplus"])
def test_reference_against_finite_differences(name: str) -> None:
    spec, parameters, x, offsets = bank(name, [2, 0, 1])

    def run(x: Tensor, *parameters: Tensor) -> tuple[Tensor, Tensor]:
        named = dict(zip(spec.parameter_shapes(), parameters, strict=True))
        return reference.networks_jacobian(spec, named, x, offsets)

    with double():
        leaves = [value.double().requires_grad_() for value in (x, *parameters)]
        # Along a random direction rather than along each of up to 4000 parameters
        assert torch.autograd.gradcheck(run, leaves, fast_mode=True)


def test_several_slots() -> None:
    """The derivative is by the slots in their order, and stage 0 is what ``stage_0`` makes."""
    spec = NetworkSpec((Slot("x", 3), Slot("code", 2)), (Linear(6, activation="sine"), Linear(2)), count=3)
    rng = np.random.default_rng(0)
    parameters = {k: torch.from_numpy(rng.normal(size=s)).float() for k, s in spec.parameter_shapes().items()}
    x, code = (torch.from_numpy(rng.normal(size=(12, width))).float() for width in (3, 2))
    y, dy = cpu.networks_jacobian(spec, parameters, stage_0(spec, x, code), torch.tensor([0, 4, 8, 12]))
    arrays = {key: value.numpy() for key, value in parameters.items()}
    value, slope = spec.jacobian(arrays, x.numpy().reshape(3, 4, 3), code.numpy().reshape(3, 4, 2))
    assert np.allclose(y.numpy(), value.reshape(12, 2), atol=1e-5)
    assert np.allclose(dy.numpy(), slope.reshape(12, 2, 5), atol=1e-5)


def test_what_needs_no_gradient(kernels: Kernels, device: str) -> None:
    """x, the parameters or one output may be left out of the loss; without gradients nothing is recorded."""
    spec, parameters, x, offsets = bank("distance", [5, 0, 30])
    parameters, x, offsets = to(device, parameters, x, offsets)  # type: ignore[misc]
    leaves = [value.clone().requires_grad_() for value in parameters]
    fixed, free = (dict(zip(spec.parameter_shapes(), v, strict=True)) for v in (parameters, leaves))
    y, dy = kernels.networks_jacobian(spec, free, x, offsets)
    both = [torch.autograd.grad(part.sum(), leaves, retain_graph=True, allow_unused=True) for part in (y, dy)]
    together = torch.autograd.grad(y.sum() + dy.sum(), leaves)
    for a, b, wanted in zip(*both, together, strict=True):
        total = (0 if a is None else a) + (0 if b is None else b)
        assert float((total - wanted).abs().max()) <= TOLERANCE * float(wanted.abs().max())
    point = x.clone().requires_grad_()
    (slope,) = torch.autograd.grad(kernels.networks(spec, fixed, point, offsets).sum(), point)
    assert float((slope - dy[:, 0].detach()).abs().max()) <= TOLERANCE * float(slope.abs().max())
    assert not kernels.networks(spec, fixed, x, offsets).requires_grad
    with torch.no_grad():
        assert not any(part.requires_grad for part in kernels.networks_jacobian(spec, free, x, offsets))


def test_not_a_number_is_seen(kernels: Kernels, device: str) -> None:
    """A run that diverges shows: a NaN parameter reaches the rows of its network, and no others."""
    for name in ("colour", "distance", *(f"activation {name}" for name in ACTIVATIONS)):
        spec, parameters, x, offsets = bank(name, [4, 9])
        parameters[0][1] = float("nan")
        parameters, x, offsets = to(device, parameters, x, offsets)  # type: ignore[misc]
        named = dict(zip(spec.parameter_shapes(), parameters, strict=True))
        y = kernels.networks(spec, named, x, offsets)
        assert torch.isfinite(y[:4]).all() and torch.isnan(y[4:]).all(), name


# The numba kernels alone ------------------------------------------------------------------------------------


@pytest.mark.parametrize("function", ["networks", "networks_jacobian"])
def test_the_same_bits_for_any_threads(function: str) -> None:
    """What a thread adds up is one network's or one piece's, never what the number of threads makes it."""
    problems = [bank("distance", [5, 0, 900, 20, 1, 64] * 5), bank("colour", [3 * PIECE + 100])]
    before, results = numba.get_num_threads(), []
    try:
        for threads in (1, 1, min(2, numba.config.NUMBA_NUM_THREADS)):
            numba.set_num_threads(threads)
            results.append([v for problem in problems for v in outcome(getattr(cpu, function), *problem)])
    finally:
        numba.set_num_threads(before)
    for again in results[1:]:
        assert all(torch.equal(a, b) for a, b in zip(results[0], again, strict=True))


@pytest.mark.parametrize(
    "change",
    [
        lambda spec, named, x, offsets: (spec, named, x[1:], offsets),
        lambda spec, named, x, offsets: (spec, named, x, offsets[1:]),
        lambda spec, named, x, offsets: (spec, named, x, offsets + 1),
        lambda spec, named, x, offsets: (spec, named, x, offsets.flip(0)),
        lambda spec, named, x, offsets: (spec, named, x[:, 1:], offsets),
        lambda spec, named, x, offsets: (spec, named, x.double(), offsets),
        lambda spec, named, x, offsets: (spec, {k: v[1:] for k, v in named.items()}, x, offsets),
        lambda spec, named, x, offsets: (spec, {k: v.double() for k, v in named.items()}, x, offsets),
    ],
)
def test_what_does_not_fit(change: Callable[..., tuple]) -> None:
    """Numba would read beyond arrays."""
    spec, parameters, x, offsets = bank("distance", [4, 0, 3])
    named = dict(zip(spec.parameter_shapes(), parameters, strict=True))
    with pytest.raises(ValueError, match=r"parameters are not|offsets do not|x is"):
        cpu.networks(*change(spec, named, x, offsets))


def test_functions() -> None:
    """The tolerances are those that the docstrings promise."""

    @numba.njit(error_model="numpy")
    def run(x, out):  # type: ignore[no-untyped-def]
        for i in range(len(x)):
            out[0, i], out[1, i] = sine_cosine(x[i])
            out[2, i], out[3, i] = log1p(min(abs(x[i]), np.float32(1))), exp2(-abs(x[i]))
            out[4, i] = sigmoid(x[i])[0]

    rng = np.random.default_rng(0)
    x = np.concatenate([rng.uniform(-reach, reach, 20_000) for reach in (1, 10, 300, 9999)]).astype(
        np.float32
    )
    found = np.empty((5, len(x)), np.float32)
    run(x, found)
    z, small = x.astype(np.float64), np.minimum(np.abs(x.astype(np.float64)), 1)
    with np.errstate(over="ignore"):
        wanted = np.stack([np.sin(z), np.cos(z), np.log1p(small), np.exp2(-np.abs(z)), 1 / (1 + np.exp(-z))])
    assert (np.abs(found - wanted).max(1) < [2e-7, 2e-7, 4e-7, 3e-7, 3e-7]).all()
    strange = np.empty((5, 1), np.float32)
    run(np.float32([np.nan]), strange)
    assert np.isnan(strange[[0, 1, 4]]).all()
