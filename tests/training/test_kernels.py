"""The kernels of each device against the torch reference, both against definitions and finite differences.

What is held against float64 agrees to 1e-5 of the largest value: float32 has 6e-8, and sums of some hundred
terms lose one or two digits of it. What this cannot hold for is said where it is compared.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import numpy as np
import pytest
import torch
from torch import Tensor

from render.grid import GridSpec
from training.kernels import Kernels, cpu, reference, select
from training.kernels.cpu.grid import WIDE

TOLERANCE = 1e-5


def assert_close(
    found: Tensor, wanted: Tensor, tolerance: float = TOLERANCE, scale: float | None = None
) -> None:
    """Within ``tolerance`` of the largest wanted value (or of ``scale``), everywhere."""
    assert found.shape == wanted.shape
    if wanted.numel():
        scale = float(wanted.abs().max()) if scale is None else scale
        error = float((found.cpu().double() - wanted.double()).abs().max())
        assert error <= tolerance * scale, f"off by {error:.3g}, allowed {tolerance * scale:.3g}"


Function = Callable[..., Tensor | tuple[Tensor, ...]]


@contextmanager
def double() -> Iterator[None]:
    """New tensors are float64, inside the reference too."""
    torch.set_default_dtype(torch.float64)
    try:
        yield
    finally:
        torch.set_default_dtype(torch.float32)


def exact(function: Function, inputs: tuple[Tensor, ...], grads: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
    """``outcome`` in float64."""
    with double():
        return outcome(function, tuple(x.double() for x in inputs), tuple(g.double() for g in grads))


def outcome(function: Function, inputs: tuple[Tensor, ...], grads: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
    """Values of ``function``, then the gradients of sum(grad * value) by each of ``inputs``."""
    inputs = tuple(x.detach().clone().requires_grad_() for x in inputs)
    values = function(*inputs)
    values = values if isinstance(values, tuple) else (values,)
    loss = sum((grad * value).sum() for grad, value in zip(grads, values, strict=False))
    assert isinstance(loss, Tensor)
    return (*(value.detach() for value in values), *torch.autograd.grad(loss, inputs))


def random_offsets(rays: int, samples: int, rng: np.random.Generator) -> Tensor:
    """Offsets (rays + 1,) that share out ``samples``; some rays get none."""
    if rays == 0:
        return torch.zeros(1, dtype=torch.int64)
    counts = rng.multinomial(samples, rng.dirichlet(np.full(rays, 0.3)))
    return torch.from_numpy(np.concatenate([[0], counts.cumsum()]))


def test_interface() -> None:
    """Every implementation offers the functions of the protocol, with its arguments."""
    wanted = {
        name: f for name, f in inspect.getmembers(Kernels, inspect.isfunction) if not name.startswith("_")
    }
    assert {"grid_encode", "gaussian_kernels", "per_ray_linear", "march", "composite"} <= set(wanted)
    for module in (reference, cpu):
        assert isinstance(module.NAME, str)
        for name, function in wanted.items():
            parameters = list(inspect.signature(function).parameters)[1:]  # without self
            assert list(inspect.signature(getattr(module, name)).parameters) == parameters
    assert select("cpu").NAME == cpu.NAME != reference.NAME


# Multi-resolution grids -------------------------------------------------------------------------------------

# At most 32 cells a side: a position there carries an error of up to 2e-6 cell, which keeps within 1e-5.
GRIDS = {
    "one feature": GridSpec(3, 3, 1, 7, 1.7, 10),
    "dense": GridSpec(3, 4, 2, 5, 1.5, 14),
    "dense and hashed": GridSpec(3, 4, 2, 8, 1.5, 10),
    "four features": GridSpec(3, 2, 4, 8, 2.0, 10),
    "eight features": GridSpec(3, 3, 8, 4, 2.0, 7),
    "two cells": GridSpec(3, 1, 2, 2, 1.0, 4),
    "a single cell": GridSpec(3, 1, 2, 1, 1.0, 4),
    "plane": GridSpec(2, 3, 2, 8, 1.6, 8),
    "dense plane": GridSpec(2, 4, 4, 5, 1.5, 14),
    "plane of one feature": GridSpec(2, 3, 1, 7, 1.7, 7),
    "plane of eight features": GridSpec(2, 3, 8, 4, 2.0, 7),
    "a single cell of a plane": GridSpec(2, 1, 2, 1, 1.0, 4),
}


def grid_sample(spec: GridSpec, rows: int) -> tuple[Tensor, Tensor, Tensor]:
    """Table, points and a gradient. The points include corners of the box and faces of cells; the gradient
    has rows of zeros, as samples behind a surface have."""
    rng = np.random.default_rng(rows)
    table = rng.uniform(-1, 1, (spec.entries, spec.features)).astype(np.float32)
    x = rng.random((rows, spec.dimension)).astype(np.float32)
    special = np.array(np.meshgrid(*[[0, 1, 0.5 / max(spec.level_list[0].scale, 1)]] * spec.dimension)).T
    special = special.reshape(-1, spec.dimension)[:rows]
    x[: len(special)] = special
    grad = rng.normal(size=(rows, spec.output_width)).astype(np.float32)
    grad[1::3] = 0
    grad[2::6, ::2] = 0
    grad[5::6, 1::2] = 0
    return torch.from_numpy(table), torch.from_numpy(x), torch.from_numpy(grad)


@pytest.mark.parametrize("rows", [0, 1, 2 * WIDE + 1])
@pytest.mark.parametrize("name", GRIDS)
def test_grid_encode(name: str, rows: int, kernels: Kernels, device: str) -> None:
    spec = GRIDS[name]
    table, x, grad = grid_sample(spec, rows)
    found = outcome(
        lambda t: kernels.grid_encode(spec, t, x.to(device)), (table.to(device),), (grad.to(device),)
    )
    wanted = exact(lambda t: reference.grid_encode(spec, t, x.double()), (table,), (grad,))
    assert found[0].dtype == found[1].dtype == torch.float32
    assert_close(found[0], wanted[0], scale=1)
    assert_close(found[1], wanted[1], scale=max(1.0, float(wanted[1].abs().max())))
    assert rows == 0 or float(wanted[1].abs().max()) > 0.01


@pytest.mark.parametrize("name", GRIDS)
def test_grid_encode_is_the_numpy_grid(name: str, kernels: Kernels, device: str) -> None:
    spec = GRIDS[name]
    table, x, _ = grid_sample(spec, 500)
    true = spec.evaluate(table.double().numpy(), x.double().numpy())
    with double():
        slow = reference.grid_encode(spec, table.double(), x.double())
    assert_close(slow, torch.from_numpy(true), 1e-13)
    found = kernels.grid_encode(spec, table.to(device), x.to(device))
    assert_close(found, torch.from_numpy(spec.evaluate(table.numpy(), x.numpy())))


def test_hash_wraps_at_32_bits(kernels: Kernels, device: str) -> None:
    """Corner times prime passes 2^32 from corner 2 on; here corners go to 6000 and more."""
    spec = GridSpec(3, 3, 2, 1500, 2.0, 16)
    table, x, grad = grid_sample(spec, 2000)
    assert all(level.hashed for level in spec.level_list)
    true = spec.evaluate(table.double().numpy(), x.double().numpy())
    slow = exact(lambda t: reference.grid_encode(spec, t, x.double()), (table,), (grad,))
    assert_close(slow[0], torch.from_numpy(true), 1e-12)
    found = outcome(
        lambda t: kernels.grid_encode(spec, t, x.to(device)), (table.to(device),), (grad.to(device),)
    )
    # A float32 position near 6000 is off by up to 5e-4 (two roundings, an ulp of 4.9e-4), on each of 3 axes,
    # and neighbours differ by 2 at most. A wrong row would be off by about 1 at most of the points.
    assert_close(found[0], slow[0], 3e-3, scale=1)
    assert_close(found[1], slow[1], 3e-3)


@pytest.mark.parametrize("name", GRIDS)
def test_grid_gradient_is_the_slope(name: str, kernels: Kernels, device: str) -> None:
    """Along random directions of the table: the features are linear in it, central differences exact."""
    spec = GRIDS[name]
    table, x, grad = grid_sample(spec, 300)
    _, slope = outcome(
        lambda t: kernels.grid_encode(spec, t, x.to(device)), (table.to(device),), (grad.to(device),)
    )
    points, wanted = x.double().numpy(), grad.double().numpy()
    for seed in range(3):
        v = np.random.default_rng(seed).normal(size=table.shape)
        up, down = (spec.evaluate(table.double().numpy() + h * v, points) for h in (0.5, -0.5))
        along = float((wanted * (up - down)).sum())
        terms = slope.cpu().double().numpy() * v
        size = float(np.abs(terms).sum())
        assert abs(along) > 1e-3 * size
        assert float(terms.sum()) == pytest.approx(along, abs=TOLERANCE * size)


def test_reference_grid_against_finite_differences() -> None:
    for spec in (GridSpec(3, 2, 2, 3, 1.5, 4), GridSpec(2, 2, 1, 3, 2.0, 3)):
        table, x, _ = grid_sample(spec, 12)
        with double():
            table = table.double().requires_grad_()
            assert torch.autograd.gradcheck(
                lambda t, s=spec, x=x: reference.grid_encode(s, t, x.double()), table
            )


# Gaussian kernels -------------------------------------------------------------------------------------------

# samples, features, kernels, normalise, gain, linear
DECODERS = [
    (0, 4, 3, True, 8.0, True),
    (1, 1, 1, False, 1.0, False),
    (700, 16, 16, True, 8.0, True),
    (5000, 5, 7, True, 1.0, False),
    (999, 16, 9, False, 1.0, False),
    (300, 3, 33, False, 2.0, True),
]


def decoder_sample(
    samples: int, features: int, count: int, width: int
) -> tuple[tuple[Tensor, ...], Tensor, np.ndarray, np.ndarray]:
    """(Features, folded weight, folded bias), a gradient, and the mu and beta that were folded.

    Squared distances stay below 40, where exp2 does not underflow.
    """
    rng = np.random.default_rng(samples + features)
    x, mu = rng.uniform(-1, 1, (samples, features)), rng.uniform(-0.5, 0.5, (count, features))
    beta = np.exp(rng.normal(0, 0.7, (count, features)))
    a, q, log2e = beta * mu, -0.5 * beta, np.log2(np.e)
    weight, bias = np.concatenate([a, q], 1) * log2e, (-0.5 * beta * mu**2).sum(-1) * log2e
    grad = rng.normal(size=(samples, width))
    grad[1::3] = 0
    parts = (torch.from_numpy(part.astype(np.float32)) for part in (x, weight, bias, grad))
    *inputs, upstream = parts
    return tuple(inputs), upstream, mu, beta


@pytest.mark.parametrize("shape", DECODERS, ids=str)
def test_gaussian_kernels(
    shape: tuple[int, int, int, bool, float, bool], kernels: Kernels, device: str
) -> None:
    samples, features, count, *options = shape
    normalise, gain, linear = options
    inputs, grad, mu, beta = decoder_sample(samples, features, count, count + features * linear)
    found = outcome(
        lambda *parts: kernels.gaussian_kernels(*parts, *options),
        tuple(part.to(device) for part in inputs),
        (grad.to(device),),
    )
    wanted = exact(lambda *parts: reference.gaussian_kernels(*parts, *options), inputs, (grad,))
    for f, w in zip(found, wanted, strict=True):
        assert f.dtype == torch.float32
        # z sums 2 F products of up to 3, so it is off by some 1e-6, and the kernels by as much of themselves
        assert_close(f, w)
    # The definition: unfolded, with a natural exponent
    x = inputs[0].double().numpy()
    phi = np.exp(-0.5 * (beta * (x[:, None] - mu) ** 2).sum(-1))  # (samples, count)
    phi = gain * (phi / phi.sum(-1, keepdims=True) if normalise else phi)
    # The folded weights were rounded to float32: 6e-8 of each term of z
    assert_close(wanted[0], torch.from_numpy(np.concatenate([phi, x], 1) if linear else phi))
    assert samples == 0 or (phi > 1e-9 * gain).all()


def test_gaussian_kernels_far_from_all(kernels: Kernels, device: str) -> None:
    """Where all kernels underflow values are 0, normalised or not, and gradients finite."""
    x = torch.tensor([[0.0], [9.0], [100.0]], device=device).requires_grad_()
    weight, bias = torch.tensor([[0.0, -1.0], [0.0, -2.0]], device=device), torch.zeros(2, device=device)
    for normalise, near in ((True, 0.5), (False, 1.0)):
        h = kernels.gaussian_kernels(x, weight, bias, normalise, 1.0, False)
        (slope,) = torch.autograd.grad(h.sum(), x)
        assert torch.isfinite(slope).all()
        assert h[0].tolist() == pytest.approx([near, near])
        assert h[2].tolist() == pytest.approx([0, 0], abs=1e-6)


@pytest.mark.parametrize("normalise", [False, True])
def test_gaussian_gradient_is_the_slope(normalise: bool, kernels: Kernels, device: str) -> None:
    """Along random directions, by central differences in float64; z stays below 0 by more than their step."""
    inputs, grad, mu, _ = decoder_sample(400, 6, 5, 11)
    options = normalise, 2.0, True
    _, *slopes = outcome(
        lambda *parts: kernels.gaussian_kernels(*parts, *options),
        tuple(part.to(device) for part in inputs),
        (grad.to(device),),
    )
    assert float(np.abs(inputs[0].numpy()[:, None] - mu).max(-1).min()) > 0.05
    for seed in range(3):
        rng = np.random.default_rng(seed)
        v = [torch.from_numpy(rng.normal(size=part.shape)) for part in inputs]
        h, ends = 1e-6, []
        for sign in (1, -1):
            moved = (part.double() + sign * h * dx for part, dx in zip(inputs, v, strict=True))
            with double():
                ends.append(float((grad * reference.gaussian_kernels(*moved, *options)).sum()))
        along = (ends[0] - ends[1]) / (2 * h)
        terms = [slope.cpu().double() * dx for slope, dx in zip(slopes, v, strict=True)]
        size = sum(float(term.abs().sum()) for term in terms)
        assert abs(along) > 1e-3 * size
        assert sum(float(term.sum()) for term in terms) == pytest.approx(along, abs=TOLERANCE * size)


# Per-ray linear layer ---------------------------------------------------------------------------------------

# rays, samples, hidden width, channels
LAYERS = [(0, 0, 4, 3), (5, 0, 4, 3), (1, 1, 1, 1), (37, 1001, 34, 3), (64, 333, 5, 4), (3, 700, 16, 1)]


def layer_sample(rays: int, samples: int, width: int, channels: int) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    rng = np.random.default_rng(samples)
    h, rows = rng.normal(size=(samples, width)), rng.normal(size=(rays, channels, 1 + width))
    grad = rng.normal(size=(samples, channels))
    grad[::4] = 0
    arrays = (torch.from_numpy(a.astype(np.float32)) for a in (h, rows, grad))
    return (*arrays, random_offsets(rays, samples, rng))  # type: ignore[return-value]


@pytest.mark.parametrize("shape", LAYERS, ids=str)
def test_per_ray_linear(shape: tuple[int, int, int, int], kernels: Kernels, device: str) -> None:
    h, rows, grad, offsets = layer_sample(*shape)
    on_device = (offsets.to(device), grad.to(device))
    found = outcome(
        lambda h, rows: kernels.per_ray_linear(h, rows, on_device[0]),
        (h.to(device), rows.to(device)),
        on_device[1:],
    )
    wanted = exact(lambda h, rows: reference.per_ray_linear(h, rows, offsets), (h, rows), (grad,))
    for f, w in zip(found, wanted, strict=True):
        assert f.dtype == torch.float32
        assert_close(f, w)
    for ray in range(shape[0]):  # the definition, ray by ray
        part = slice(int(offsets[ray]), int(offsets[ray + 1]))
        y = h[part].double() @ rows[ray, :, 1:].double().T + rows[ray, :, 0]
        assert_close(wanted[0][part], y, 1e-13, scale=10)


def test_per_ray_linear_takes_views(kernels: Kernels, device: str) -> None:
    """Slices and expanded gradients, which are not contiguous."""
    h, rows, _, offsets = layer_sample(9, 200, 6, 3)
    wide = torch.cat([h, h], 1).to(device)
    deep = torch.stack([rows, rows], -1).to(device)
    for function in (kernels.per_ray_linear, reference.per_ray_linear):
        inputs = wide[:, 3:9].detach().requires_grad_(), deep[..., 0].detach().requires_grad_()
        y = function(*inputs, offsets.to(device))
        grads = torch.autograd.grad(y.sum(), inputs)
        if function is kernels.per_ray_linear:
            found = (y, *grads)
    assert not inputs[0].is_contiguous() and not inputs[1].is_contiguous()
    for f, w in zip(found, (y, *grads), strict=True):
        assert_close(f.detach(), w.detach().cpu())


def test_reference_layer_against_finite_differences() -> None:
    h, rows, _, offsets = layer_sample(4, 11, 3, 2)
    inputs = h.double().requires_grad_(), rows.double().requires_grad_()
    with double():
        assert torch.autograd.gradcheck(lambda h, rows: reference.per_ray_linear(h, rows, offsets), inputs)


# Compositing ------------------------------------------------------------------------------------------------

# rays, samples, channels, stop
COMPOSITES = [
    (0, 0, 3, 0.0),
    (6, 0, 3, 1e-3),
    (1, 1, 1, 0.0),
    (50, 900, 3, 0.0),
    (50, 900, 3, 1e-3),
    (17, 1500, 18, 0.3),
    (3, 400, 1, 0.999),
]


def composite_sample(rays: int, samples: int, channels: int) -> tuple[Tensor, ...]:
    """Optical thickness from 1e-4 to 3, some 0; values; gradients of sums and transmittance; offsets."""
    rng = np.random.default_rng(samples)
    optical = 10 ** rng.uniform(-4, 0.5, samples)
    optical[::7] = 0
    arrays = (
        optical,
        rng.normal(size=(samples, channels)),
        rng.normal(size=(rays, channels)),
        rng.normal(size=rays),
    )
    return (*(torch.from_numpy(a.astype(np.float32)) for a in arrays), random_offsets(rays, samples, rng))


@pytest.mark.parametrize("shape", COMPOSITES, ids=str)
def test_composite(shape: tuple[int, int, int, float], kernels: Kernels, device: str) -> None:
    rays, samples, channels, stop = shape
    optical, values, gsums, gleft, offsets = composite_sample(rays, samples, channels)
    found = outcome(
        lambda o, v: kernels.composite(o, v, offsets.to(device), stop),
        (optical.to(device), values.to(device)),
        (gsums.to(device), gleft.to(device)),
    )
    wanted = exact(lambda o, v: reference.composite(o, v, offsets, stop), (optical, values), (gsums, gleft))
    for f, w in zip(found, wanted, strict=True):
        assert f.dtype == torch.float32
        assert_close(f, w)
    weights = wanted[2]
    stopped = (weights == 0) & (optical.double() > 0)
    assert bool(stopped.any()) == (
        stop > 0 and samples > 1
    )  # some rays are cut short where a stop is asked for
    goptical, gvalues = found[3].cpu(), found[4].cpu()
    assert not goptical[stopped].any() and not gvalues[stopped].any()


def test_reference_composite_is_the_definition() -> None:
    """w_i = T_i (1 - exp(-o_i)), T_i the product of what is let through before i; the last counts whole."""
    optical, values, _, _, offsets = composite_sample(40, 700, 3)
    for stop in (0.0, 0.05):
        with double():
            sums, left, weights = reference.composite(optical.double(), values.double(), offsets, stop)
        for ray in range(40):
            transmittance, total = 1.0, np.zeros(3)
            for i in range(int(offsets[ray]), int(offsets[ray + 1])):
                through = np.exp(-float(optical[i])) if transmittance >= stop else 1.0
                assert float(weights[i]) == pytest.approx(transmittance * (1 - through), abs=1e-12)
                total += transmittance * (1 - through) * values[i].numpy()
                transmittance *= through
            assert float(left[ray]) == pytest.approx(transmittance, abs=1e-12)
            assert sums[ray].numpy() == pytest.approx(total, abs=1e-12)


def test_composite_of_a_constant_fog(kernels: Kernels, device: str) -> None:
    """However a ray is cut into samples, fog of optical depth 2 lets exp(-2) through."""
    counts = torch.tensor([1, 2, 5, 40])
    offsets = torch.cat([torch.zeros(1, dtype=torch.int64), counts.cumsum(0)])
    optical = torch.cat([torch.full((int(n),), 2 / float(n)) for n in counts])
    values = torch.ones(len(optical), 1)
    sums, left, weights = kernels.composite(optical.to(device), values.to(device), offsets.to(device), 0.0)
    assert left.tolist() == pytest.approx([np.exp(-2)] * 4, rel=TOLERANCE)
    assert sums[:, 0].tolist() == pytest.approx([1 - np.exp(-2)] * 4, rel=TOLERANCE)
    assert float(weights.sum()) == pytest.approx(4 * (1 - np.exp(-2)), rel=TOLERANCE)


@pytest.mark.parametrize("stop", [0.0, 0.05])
def test_composite_gradient_is_the_slope(stop: float, kernels: Kernels, device: str) -> None:
    """Along random directions, by central differences in float64. No ray's end moves within their step."""
    optical, values, gsums, gleft, offsets = composite_sample(30, 500, 3)
    _, _, _, *slopes = outcome(
        lambda o, v: kernels.composite(o, v, offsets.to(device), stop),
        (optical.to(device), values.to(device)),
        (gsums.to(device), gleft.to(device)),
    )
    at = (optical.double(), values.double())
    for seed in range(3):
        rng = np.random.default_rng(seed)
        v = [torch.from_numpy(rng.normal(size=x.shape)) for x in at]
        h, ends = 1e-5, []
        for sign in (1, -1):
            moved = (x + sign * h * dx for x, dx in zip(at, v, strict=True))
            with double():
                sums, left, _ = reference.composite(*moved, offsets, stop)  # type: ignore[call-arg]
            ends.append(float((gsums * sums).sum() + (gleft * left).sum()))
        along = (ends[0] - ends[1]) / (2 * h)
        found = sum(float((slope.cpu().double() * dx).sum()) for slope, dx in zip(slopes, v, strict=True))
        size = sum(
            float((slope.cpu().double() * dx).abs().sum()) for slope, dx in zip(slopes, v, strict=True)
        )
        assert abs(along) > 1e-3 * size
        assert found == pytest.approx(along, abs=TOLERANCE * size)


def test_reference_composite_against_finite_differences() -> None:
    optical, values, _, _, offsets = composite_sample(5, 25, 2)
    inputs = optical.double().requires_grad_(), values.double().requires_grad_()
    for stop in (0.0, 0.2):
        with double():
            assert torch.autograd.gradcheck(
                lambda o, v, stop=stop: reference.composite(o, v, offsets, stop)[:2], inputs
            )


def test_composite_of_one_output_alone(kernels: Kernels, device: str) -> None:
    """A loss need not use both outputs."""
    optical, values, gsums, gleft, offsets = composite_sample(20, 200, 3)
    for grads in ((gsums, torch.zeros_like(gleft)), (torch.zeros_like(gsums), gleft)):
        *_, wanted, _ = outcome(
            lambda o, v: reference.composite(o, v, offsets, 0.0), (optical, values), grads
        )
        o = optical.detach().clone().to(device).requires_grad_()
        sums, left, _ = kernels.composite(o, values.to(device), offsets.to(device), 0.0)
        loss = (sums * gsums.to(device)).sum() if grads[0].any() else (left * gleft.to(device)).sum()
        loss.backward()
        assert o.grad is not None
        assert_close(o.grad, wanted)


# All together -----------------------------------------------------------------------------------------------


def test_the_same_bits_twice() -> None:
    """On the CPU, with enough of everything that several threads take part."""
    spec = GridSpec(3, 8, 2, 16, 1.4, 12)
    table, x, grad = grid_sample(spec, 20000)
    h, rows, layer_grad, offsets = layer_sample(700, 20000, 18, 3)
    optical, values, gsums, gleft, ray_offsets = composite_sample(700, 20000, 3)
    decoder, decoder_grad, _, _ = decoder_sample(20000, 8, 8, 16)
    results = []
    for _ in range(3):
        results.append(
            (
                *outcome(lambda t: cpu.grid_encode(spec, t, x), (table,), (grad,)),
                *outcome(
                    lambda *parts: cpu.gaussian_kernels(*parts, True, 8.0, True), decoder, (decoder_grad,)
                ),
                *outcome(lambda h, rows: cpu.per_ray_linear(h, rows, offsets), (h, rows), (layer_grad,)),
                *outcome(
                    lambda o, v: cpu.composite(o, v, ray_offsets, 1e-3), (optical, values), (gsums, gleft)
                ),
            )
        )
    for again in results[1:]:
        assert all(torch.equal(a, b) for a, b in zip(results[0], again, strict=True))
