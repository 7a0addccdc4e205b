"""The torch twins of NetworkSpec and GridSpec: values and slopes of numpy's, from the same parameters."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from torch import Tensor

from render.encodings import ACTIVATIONS
from render.grid import GridSpec
from render.network import (
    ENCODINGS,
    LAYERS,
    Add,
    Concat,
    Linear,
    NetworkSpec,
    Normalise,
    Slot,
    SquareConcat,
)
from training.families import seeded
from training.kernels import cpu, reference
from training.modules import Grid, Network, activate, evaluate, run_layers, stage_0

RBF = (SquareConcat(), Linear(6, activation="gaussian"), Normalise(), Concat(0), Linear(1), Concat(4))
SPECS = {
    **{
        f"activation {name}": NetworkSpec((Slot("x", 5),), (Linear(6, activation=name, scale=1.5), Linear(3)))
        for name in ACTIVATIONS
    },
    **{
        f"{name} of order {order}": NetworkSpec((Slot("x", 3, name, order),), (Linear(4, activation="tanh"),))
        for name in ENCODINGS
        for order in (0, 1, 3)
    },
    "several slots": NetworkSpec(
        (Slot("x", 3, "frequency", 2), Slot("d", 3, "spherical_harmonics", 2), Slot("code", 5)), (Linear(9),)
    ),
    "normalised rbf": NetworkSpec((Slot("x", 5),), RBF),
    "rbf": NetworkSpec(
        (Slot("x", 4),), (SquareConcat(), Linear(8, activation="gaussian"), Linear(4, bias=False))
    ),
    "residual": NetworkSpec((Slot("x", 6),), (Linear(6, activation="relu"), Linear(6), Add(1), Concat(0))),
}
BANKS = {f"bank, {name}": NetworkSpec(spec.inputs, spec.layers, count=3) for name, spec in SPECS.items()}


def sample(spec: NetworkSpec) -> tuple[dict[str, np.ndarray], list[np.ndarray]]:
    rng = np.random.default_rng(4)
    parameters = {
        key: rng.normal(0, 0.6, shape).astype(np.float32) for key, shape in spec.parameter_shapes().items()
    }
    count = () if spec.count == 1 else (spec.count,)
    inputs = [rng.normal(size=(*count, 40, slot.width)).astype(np.float32) for slot in spec.inputs]
    for slot, x in zip(spec.inputs, inputs, strict=True):
        if slot.encoding == "spherical_harmonics":
            x /= np.linalg.norm(x, axis=-1, keepdims=True)
    return parameters, inputs


def tensors(arrays: dict[str, np.ndarray], dtype: torch.dtype = torch.float32) -> dict[str, Tensor]:
    return {name: torch.from_numpy(array).to(dtype) for name, array in arrays.items()}


def assert_close(found: Tensor, wanted: np.ndarray, tolerance: float) -> None:
    assert found.shape == wanted.shape
    error = np.abs(found.detach().numpy() - wanted).max()
    assert error <= tolerance * max(1.0, float(np.abs(wanted).max()))


def test_specs_cover_everything() -> None:
    layers = [layer for spec in SPECS.values() for layer in spec.layers]
    assert {type(layer) for layer in layers} == set(LAYERS.values())
    assert {layer.activation for layer in layers if isinstance(layer, Linear)} == set(ACTIVATIONS)
    assert {slot.encoding for spec in SPECS.values() for slot in spec.inputs} == set(ENCODINGS)


@pytest.mark.parametrize("name", [*SPECS, *BANKS])
def test_network_is_the_numpy_network(name: str) -> None:
    spec = {**SPECS, **BANKS}[name]
    parameters, inputs = sample(spec)
    network = Network(spec, seeded(0))
    network.load_state_dict({f"weights.{k.replace('.', '_')}": v for k, v in tensors(parameters).items()})
    y = network(*map(torch.from_numpy, inputs))
    assert y.dtype == torch.float32
    assert_close(y, spec.evaluate(parameters, *inputs), 1e-5)
    assert {k: v.tolist() for k, v in network.baked().items()} == {
        k: v.tolist() for k, v in parameters.items()
    }
    # float64 on both sides: what is left then is not rounding but another formula
    doubles = [x.astype(np.float64) for x in inputs]
    exact = evaluate(spec, tensors(parameters, torch.float64), *map(torch.from_numpy, doubles))
    assert_close(exact, spec.evaluate(parameters, *doubles), 1e-12)


@pytest.mark.parametrize("name", [*SPECS, *BANKS])
def test_jacobian_is_the_numpy_jacobian(name: str) -> None:
    """Row by row through autograd: the slope of sample i depends on input i alone, so sums tell it."""
    spec = {**SPECS, **BANKS}[name]
    parameters, arrays = sample(spec)
    for dtype, tolerance in ((np.float32, 1e-5), (np.float64, 1e-12)):
        values = [x.astype(dtype) for x in arrays]
        inputs = [torch.from_numpy(x).requires_grad_() for x in values]
        y = evaluate(spec, tensors(parameters, inputs[0].dtype), *inputs)
        slope = []
        for k in range(spec.output_width):
            by_slot = torch.autograd.grad(y[..., k].sum(), inputs, retain_graph=True, allow_unused=True)
            found = [torch.zeros_like(x) if g is None else g for g, x in zip(by_slot, inputs, strict=True)]
            slope.append(torch.cat(found, -1))
        wanted = spec.jacobian(parameters, *values)[1]
        assert np.abs(wanted).max() > 0.01 or name.endswith("harmonics of order 0")  # a constant
        # The slope of sine, frequencies and softplus is steep: the 1e-5 is of the largest slope.
        assert_close(torch.stack(slope, -2), wanted, tolerance)


@pytest.mark.parametrize("name", ACTIVATIONS)
def test_activations_at_their_ends(name: str) -> None:
    """Far from 0, where a careless formula overflows or cancels."""
    for dtype in (np.float32, np.float64):
        z = np.array([-200, -70, -30, -1e-3, 0, 1e-3, 30, 70, 200], dtype)
        x = torch.from_numpy(z.copy()).requires_grad_()
        y = activate(name, x, 0.5)
        (slope,) = torch.autograd.grad(y.sum(), x)
        activation = ACTIVATIONS[name]
        inner = z != 0 if name in ("relu", "gaussian") else z == z  # their slope at 0 is a convention
        # sin of an argument of 100 carries an ulp of that: 8e-6
        assert np.allclose(y.detach().numpy(), activation.value(z, 0.5), rtol=1e-5, atol=1e-5)
        assert np.allclose(slope.numpy()[inner], activation.derivative(z, 0.5)[inner], rtol=1e-5, atol=1e-5)


def test_normalise_far_from_every_kernel() -> None:
    """Sums from 1 down to 1e-12 are divided out; one that underflows gives 0, neither NaN nor infinity."""
    spec = NetworkSpec((Slot("x", 1),), (Linear(3, activation="gaussian"), Normalise()))
    parameters = {"0.weight": -np.float32([[[1], [1.5], [2]]]), "0.bias": np.zeros((1, 3), np.float32)}
    x = np.float32([[0], [10], [40], [1000]])
    y = evaluate(spec, tensors(parameters), torch.from_numpy(x))
    assert_close(y, spec.evaluate(parameters, x), 1e-5)
    assert y.sum(-1).tolist() == pytest.approx([1, 1, 1, 0], abs=1e-5)


def test_unknown_activation() -> None:
    with pytest.raises(KeyError, match="step is not one of none, relu"):
        activate("step", torch.zeros(1), 1.0)


def test_first_weights() -> None:
    """Their reach is as documented, biases start at zero, and a seed repeats them."""
    spec = NetworkSpec((Slot("x", 24),), (Linear(64, activation="relu"), Linear(32), Linear(8, bias=False)))
    weights, again, other = (Network(spec, seeded(seed)).baked() for seed in (1, 1, 2))
    for name, reach in (
        ("0.weight", math.sqrt(6 / 24)),
        ("1.weight", 1 / 8),
        ("2.weight", 1 / math.sqrt(32)),
    ):
        largest = np.abs(weights[name]).max()
        assert 0.9 * reach < largest <= reach  # the largest of 256 and more uniform numbers
        assert np.array_equal(weights[name], again[name]) and not np.array_equal(weights[name], other[name])
    assert not weights["0.bias"].any() and not weights["1.bias"].any()


def test_first_weights_of_sines() -> None:
    """Of the first layer by its inputs, of later ones so that what reaches the sine keeps its spread."""
    layers = Linear(64, activation="sine", scale=30), Linear(64, activation="sine", scale=30), Linear(3)
    spec = NetworkSpec((Slot("x", 24),), layers)
    weights = Network(spec, seeded(1)).baked()
    for name, reach in (("0.weight", 1 / 24), ("1.weight", math.sqrt(6 / 64) / 30), ("2.weight", 1 / 8)):
        largest = np.abs(weights[name]).max()
        assert 0.9 * reach < largest <= reach
    # Sitzmann et al. 2020, theorem 1.8: arguments of sines in later layers have a standard deviation of 1
    x = np.random.default_rng(0).uniform(-1, 1, (2000, 24)).astype(np.float32)
    first = NetworkSpec(spec.inputs, layers[:1]).evaluate(
        {k: v for k, v in weights.items() if k[0] == "0"}, x
    )
    assert 0.8 < (30 * first @ weights["1.weight"][0].T).std() < 1.2


def test_networks_that_start_alike() -> None:
    spec = NetworkSpec((Slot("x", 3),), (Linear(8, activation="sine"), Linear(2)), count=5)
    for alike in (True, False):
        network = Network(spec, seeded(3), alike)
        for name, shape in spec.parameter_shapes().items():
            value = network.parameters_by_name()[name]
            assert value.shape == shape and value.is_contiguous() and value.requires_grad
            same = all(torch.equal(value[0], other) for other in value)
            assert same == (alike or name.endswith("bias"))


def test_stage_0_is_what_the_first_layer_takes() -> None:
    spec = SPECS["several slots"]
    parameters, inputs = sample(spec)
    x = stage_0(spec, *map(torch.from_numpy, inputs))
    assert x.shape == (40, spec.widths[0])
    y = run_layers(spec, tensors(parameters), x)
    assert torch.equal(y, evaluate(spec, tensors(parameters), *map(torch.from_numpy, inputs)))


@pytest.mark.parametrize("kernels", [reference, cpu], ids=lambda module: str(module.NAME))
def test_grid_is_the_numpy_grid(kernels: object) -> None:
    spec = GridSpec(3, 3, 2, 6, 1.5, 9)
    grid = Grid(spec, kernels, seeded(3))  # type: ignore[arg-type]
    x = np.random.default_rng(0).random((70, 3)).astype(np.float32)
    table = grid.table.detach().numpy()
    assert table.shape == (spec.entries, spec.features) and 0.9e-4 < np.abs(table).max() <= 1e-4
    # Both round positions of up to 14 cells: 1e-6 cell off, on three axes
    wanted = spec.evaluate(table, x)
    assert np.abs(grid(torch.from_numpy(x)).detach().numpy() - wanted).max() <= 1e-5 * np.abs(wanted).max()
    assert not any(np.array_equal(table, Grid(spec, cpu, seeded(seed)).table.detach()) for seed in (1, 2))  # type: ignore[arg-type]
