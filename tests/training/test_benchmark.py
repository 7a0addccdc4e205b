"""The benchmark of the kernels."""

from __future__ import annotations

import pytest

from training.kernels import cpu, reference
from training.kernels.benchmark import compare, works


@pytest.mark.slow
def test_numba_is_much_faster_than_the_reference() -> None:
    """On the same work, forward plus backward, in one run. Over 25 times are seen on two quiet cores; what a
    busy machine leaves of that is far above 10."""
    times = compare()
    print({name: f"{slow:.1f} / {fast:.1f} ms" for name, (slow, fast) in times.items()})
    assert set(times) == {*works(), "total"}
    slow, fast = times["total"]
    assert slow > 10 * fast


def test_works_are_the_same_for_both() -> None:
    """The march, which is what could differ, finds about as many samples with either."""
    marched = [works()["marching"](kernels) for kernels in (cpu, reference)]
    counts = [len(samples.t) for samples in marched]  # type: ignore[attr-defined]
    assert counts[0] == pytest.approx(counts[1], rel=1e-3) and counts[0] > 10_000
