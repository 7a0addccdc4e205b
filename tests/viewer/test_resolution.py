"""The automatic resolution, on machines that are formulas."""

from __future__ import annotations

import numpy as np
import pytest

from viewer.resolution import LOWEST, WINDOW, FrameTimes, adapted, scaled

TARGET = 1 / 30


def run(full: float, overhead: float = 0.0, frames: int = 40, noise: float = 0.0) -> list[float]:
    """Scales of a motion on a machine that takes ``full`` seconds for all pixels."""
    random = np.random.default_rng(0)
    scales = [1.0]
    for _ in range(frames):
        seconds = (overhead + full * scales[-1] ** 2) * (1 + noise * random.uniform(-1, 1))
        scales.append(adapted(scales[-1], seconds, TARGET))
    return scales


@pytest.mark.parametrize("full", [0.002, 0.03, 0.05, 0.12, 0.3])
@pytest.mark.parametrize("overhead", [0.0, 0.005])
def test_the_rate_is_held_and_no_pixels_are_wasted(full: float, overhead: float) -> None:
    last = run(full, overhead)[-1]
    assert overhead + full * last**2 <= TARGET
    more = last + 0.1
    assert last == 1 or overhead + full * more**2 > 0.8 * TARGET


def test_it_is_there_within_a_few_frames_and_stays() -> None:
    scales = run(0.12)
    assert len(set(scales[5:])) == 1


def test_little_noise_does_not_make_it_flicker() -> None:
    assert len(set(run(0.12, noise=0.04, frames=100)[20:])) <= 2


def test_its_ends() -> None:
    assert run(10.0)[-1] == LOWEST
    assert run(1e-5)[-1] == 1.0
    assert adapted(1.0, 0.0, TARGET) == 1.0


def test_one_accident_halves_it_and_is_made_good() -> None:
    assert adapted(1.0, 5.0, TARGET) == 0.5
    scale = 0.5
    for _ in range(12):
        scale = adapted(scale, 0.02 * scale**2, TARGET)
    assert scale == 1.0


def test_sizes() -> None:
    assert scaled((801, 600), 0.5) == (400, 300)
    assert scaled((1, 1), LOWEST) == (1, 1)
    assert scaled((801, 600), 1.0) == (801, 600)


def test_frame_times_look_back_on_a_window() -> None:
    times = FrameTimes()
    assert times.percentile(50) is None
    times.add(9.0)  # compiling
    assert times.percentile(50) is None
    for seconds in [5.0] * 50 + [0.01] * (WINDOW - 12) + [0.03] * 12:
        times.add(seconds)
    assert times.percentile(50) == pytest.approx(0.01)
    assert times.percentile(95) == pytest.approx(0.03)
    assert len(times) == WINDOW
    times.clear()
    assert len(times) == 0
