"""Times the numba kernels against the torch reference: ``python -m training.kernels.benchmark``.

Every figure is the median of several runs of forward plus backward, both implementations in one process.
"""

from __future__ import annotations

import time
from collections.abc import Callable

import numpy as np
import torch
from rich.console import Console
from rich.table import Table
from torch import Tensor

from render.grid import GridSpec
from render.network import NORMALISE_FLOOR, Linear, NetworkSpec, Slot
from render.occupancy import leaps
from training.kernels import Kernels, Samples, select
from training.modules import Network, run_layers

SAMPLES, RAYS, KERNELS = 65_536, 8_192, 16
SPEC = GridSpec(3, 8, 2, 16, 1.64, 17)
STEP = 1 / 128
BANK = NetworkSpec(
    (Slot("x", 3),),
    (Linear(32, activation="sine", scale=8), Linear(32, activation="sine", scale=2), Linear(1)),
    count=1024,
)
DECODER = NetworkSpec((Slot("features", 19),), (Linear(32, activation="relu"), Linear(1)))
NETWORKS = ("bank of networks", "bank, with derivatives", "single network")
Work = Callable[[Kernels], object]


def works() -> dict[str, Work]:
    """The work of each kernel, on inputs that are the same for every implementation."""
    draw = torch.Generator().manual_seed(0)
    x = torch.rand(SAMPLES, 3, generator=draw)
    table = torch.randn(SPEC.entries, SPEC.features, generator=draw)
    features = torch.randn(SAMPLES, SPEC.output_width, generator=draw)
    linear = torch.randn(KERNELS, SPEC.output_width, generator=draw)
    weight = torch.cat([linear, -torch.rand(linear.shape, generator=draw)], 1)
    bias = -3 - torch.rand(KERNELS, generator=draw)
    offsets = torch.arange(RAYS + 1) * (SAMPLES // RAYS)
    h = torch.randn(SAMPLES, KERNELS + SPEC.output_width, generator=draw)
    rows = torch.randn(RAYS, 4, 1 + h.shape[1], generator=draw)
    optical, colour = torch.rand(SAMPLES, generator=draw), torch.rand(SAMPLES, 3, generator=draw)
    towards = torch.nn.functional.normalize(torch.randn(RAYS, 3, generator=draw), dim=-1)
    aim = 0.3 * torch.randn(RAYS, 3, generator=draw)
    rays_d = torch.nn.functional.normalize(aim - 2.5 * towards, dim=-1)
    bounds, jitter = torch.tensor([[-0.5] * 3, [0.5] * 3]), torch.rand(RAYS, generator=draw)
    shell = torch.from_numpy(leaps(_shell(96)))

    def march(kernels: Kernels) -> Samples:
        return kernels.march(2.5 * towards, rays_d, bounds, shell, STEP, jitter)

    return {
        "grid encoding": _both(lambda k, t: k.grid_encode(SPEC, t, x), table),
        "Gaussian kernels": _both(
            lambda k, f, w, b: k.gaussian_kernels(f, w, b, True, 8.0, True), features, weight, bias
        ),
        "per-ray linear": _both(lambda k, a, r: k.per_ray_linear(a, r, offsets), h, rows),
        "marching": march,
        "compositing": _both(lambda k, o, c: k.composite(o, c, offsets, 1e-3)[0], optical, colour),
        **networks(draw),
    }


def networks(draw: torch.Generator) -> dict[str, Work]:
    """A bank of 1,024 networks, 64 rows each, values alone and with derivatives; one network for all rows."""
    x, features = torch.rand(SAMPLES, 3, generator=draw), torch.rand(SAMPLES, 19, generator=draw)
    bank, decoder = Network(BANK, draw).parameters_by_name(), Network(DECODER, draw).parameters_by_name()
    offsets, all_rows = torch.arange(BANK.count + 1) * (SAMPLES // BANK.count), torch.tensor([0, SAMPLES])

    def with_derivative(kernels: Kernels, *values: Tensor) -> Tensor:
        y, dy = kernels.networks_jacobian(BANK, dict(zip(bank, values, strict=True)), x, offsets)
        return torch.cat([y, dy[:, 0]], 1)

    found = (
        _both(
            lambda k, *values: k.networks(BANK, dict(zip(bank, values, strict=True)), x, offsets),
            *bank.values(),
        ),
        _both(with_derivative, *bank.values()),
        _both(
            lambda k, h, *values: k.networks(DECODER, dict(zip(decoder, values, strict=True)), h, all_rows),
            *(features, *decoder.values()),
        ),
    )
    return dict(zip(NETWORKS, found, strict=True))


def bank_against_products(repeats: int = 9) -> tuple[float, float, float]:
    """The bank of ``networks``: GFLOP/s of the numba kernels, without derivatives and with, and how many
    times faster they are than batched matrix products (torch.bmm), which need equal numbers of rows.

    Both passes. A multiply-add of a linear layer counts as two operations, thrice for both passes, four times
    that with derivatives by three inputs; activations are not counted.
    """
    draw, kernels = torch.Generator().manual_seed(0), select("cpu")
    found, parameters = networks(draw), Network(BANK, draw).parameters_by_name()
    x = torch.rand(BANK.count, SAMPLES // BANK.count, 3, generator=draw)
    products = _both(
        lambda k, *values: run_layers(BANK, dict(zip(parameters, values, strict=True)), x),
        *parameters.values(),
    )
    plain = milliseconds(found["bank of networks"], kernels, repeats)
    derived = milliseconds(found["bank, with derivatives"], kernels, repeats)
    work = 3 * 2 * BANK.multiply_adds() * SAMPLES / 1e6  # operations a millisecond, of 1e9 a second
    return work / plain, 4 * work / derived, milliseconds(products, kernels, repeats) / plain


def _shell(side: int) -> np.ndarray:
    """(side, side, side) cells near a sphere about the middle."""
    axis = (np.arange(side) + 0.5) / side - 0.5
    radius = np.sqrt(sum(np.square(part) for part in np.meshgrid(axis, axis, axis, indexing="ij")))
    return np.abs(radius - 0.38) < 0.02


def _both(forward: Callable[..., Tensor], *inputs: Tensor) -> Work:
    """Forward and backward; the gradient that comes in is made before anything is timed."""
    incoming: list[Tensor] = []

    def work(kernels: Kernels) -> None:
        leaves = [value.detach().requires_grad_() for value in inputs]
        out = forward(kernels, *leaves)
        if not incoming:
            incoming.append(torch.ones_like(out))
        out.backward(incoming[0])

    return work


def milliseconds(work: Work, kernels: Kernels, repeats: int) -> float:
    """Median time of ``repeats`` runs, after one that compiles."""
    work(kernels)
    times = []
    for _ in range(repeats):
        start = time.perf_counter()
        work(kernels)
        times.append(1e3 * (time.perf_counter() - start))
    return float(np.median(times))


def compare(repeats: int = 9) -> dict[str, tuple[float, float]]:
    """Kernel -> milliseconds of the reference and of the numba kernels; ``total`` is the sum over those along
    rays. Networks are left out of it: the reference's are themselves matrix products of a tuned library."""
    reference, fast = select("reference"), select("cpu")
    found = {
        name: (milliseconds(work, reference, max(repeats // 3, 3)), milliseconds(work, fast, repeats))
        for name, work in works().items()
    }
    along_rays = [times for name, times in found.items() if name not in NETWORKS]
    slow_total, fast_total = (sum(times[k] for times in along_rays) for k in range(2))
    return {**found, "total": (slow_total, fast_total)}


def written_out(x: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
    """Normalised kernels as the formula is written: all differences of features and centres, (n, N, F)."""
    linear, square = weight.chunk(2, 1)
    mu, beta = linear / (-2 * square), -2 * square  # of the folded layer, to base 2
    offset = bias + 0.5 * (beta * mu**2).sum(-1)
    phi = torch.exp2((offset - 0.5 * (beta * (x[:, None] - mu) ** 2).sum(-1)).clamp(max=0))
    return torch.cat([8 * phi / phi.sum(-1, keepdim=True).clamp(min=NORMALISE_FLOOR), x], -1)


def decoder_against_formula(repeats: int = 9) -> float:
    """How many times faster the numba kernels are than ``written_out``, both passes."""
    draw = torch.Generator().manual_seed(0)
    features = torch.randn(SAMPLES, SPEC.output_width, generator=draw)
    linear = torch.randn(KERNELS, SPEC.output_width, generator=draw)
    weight = torch.cat([linear, -torch.rand(linear.shape, generator=draw) - 0.1], 1)
    bias = -3 - torch.rand(KERNELS, generator=draw)
    fast = _both(lambda k, f, w, b: k.gaussian_kernels(f, w, b, True, 8.0, True), features, weight, bias)
    slow = _both(lambda k, f, w, b: written_out(f, w, b), features, weight, bias)
    kernels = select("cpu")
    return milliseconds(slow, kernels, max(repeats // 3, 3)) / milliseconds(fast, kernels, repeats)


def main() -> None:
    """Print the table."""
    threads = torch.get_num_threads()
    title = f"{SAMPLES} samples, {SPEC.levels} x {SPEC.features} features, {threads} threads, both passes"
    table = Table("kernel", "torch ms", "numba ms", "times faster", title=title)
    for name, (slow, fast) in compare().items():
        table.add_row(name, f"{slow:.2f}", f"{fast:.2f}", f"{slow / fast:.1f}")
    Console().print(table)
    ratio = decoder_against_formula()
    print(f"Gaussian kernels: {ratio:.1f} times faster than the formula written out in torch")
    plain, derived, ratio = bank_against_products()
    print(
        f"bank: {plain:.0f} GFLOP/s, {derived:.0f} with derivatives; {ratio:.1f} times faster than torch.bmm"
    )


if __name__ == "__main__":
    main()
