"""The benchmark of the kernels."""

from __future__ import annotations

import pytest
import torch

from training.kernels import cpu, reference
from training.kernels.benchmark import BANK, bank_against_products, compare, works, written_out
from training.modules import Network, run_layers


@pytest.mark.slow
def test_numba_is_much_faster_than_the_reference() -> None:
    """On the same work, forward plus backward, in one run. 15 to 38 times are seen on two cores whose
    caches other programs share."""
    times = compare()
    print({name: f"{slow:.1f} / {fast:.1f} ms" for name, (slow, fast) in times.items()})
    assert set(times) == {*works(), "total"}
    slow, fast = times["total"]
    assert slow > 10 * fast


@pytest.mark.slow
def test_banks_are_faster_than_batched_products() -> None:
    """56 and 68 GFLOP/s and 2.4 times are seen on two quiet cores."""
    plain, derived, ratio = bank_against_products()
    assert min(plain, derived) > 20 and ratio > 1.2


def test_batched_products_are_the_same_bank() -> None:
    draw = torch.Generator().manual_seed(0)
    parameters = Network(BANK, draw).parameters_by_name()
    x = torch.rand(BANK.count, 2, 3, generator=draw)
    found = cpu.networks(BANK, parameters, x.flatten(0, 1), torch.arange(BANK.count + 1) * 2)
    # Sums of 32 terms of about 1, in another order
    assert (found - run_layers(BANK, parameters, x).flatten(0, 1)).abs().max() < 1e-5


def test_works_are_the_same_for_both() -> None:
    """The march, which is what could differ, finds about as many samples with either."""
    marched = [works()["marching"](kernels) for kernels in (cpu, reference)]
    counts = [len(samples.t) for samples in marched]  # type: ignore[attr-defined]
    assert counts[0] == pytest.approx(counts[1], rel=1e-3) and counts[0] > 10_000


def test_the_formula_written_out_is_what_the_kernels_compute() -> None:
    draw = torch.Generator().manual_seed(0)
    x = 0.5 * torch.randn(300, 16, generator=draw)
    weight = torch.cat([torch.randn(8, 16, generator=draw), -0.1 - torch.rand(8, 16, generator=draw)], 1)
    bias = -3 - torch.rand(8, generator=draw)
    found = cpu.gaussian_kernels(x, weight, bias, True, 8.0, True)
    assert (written_out(x, weight, bias) - found).abs().max() < 2e-5  # of 8, summed in another order
