"""Occupied cells: what is dense and seen stays, the rest goes."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor

from render.occupancy import dilate, leaps
from training.families import seeded
from training.kernels import Samples, cpu
from training.occupancy import LEAP_CAP, Occupancy

R = 24
STEP = 0.5 / R  # in units of the box: two samples a cell
CENTRE, RADIUS = 0.5, 0.3
CORNERS = np.stack(np.meshgrid(*[np.arange(R + 1) / R] * 3, indexing="ij"), -1)
BEYOND = np.linalg.norm(CORNERS - CENTRE, axis=-1) > RADIUS  # (R + 1,) * 3 corners outside of the ball


def of_all_corners(flags: np.ndarray) -> np.ndarray:
    """(R, R, R): cells all of whose corners are flagged."""
    for axis in range(3):
        flags = np.moveaxis(flags, axis, 0)
        flags = np.moveaxis(flags[1:] & flags[:-1], 0, axis)
    return flags


SOLID, EMPTY = of_all_corners(~BEYOND), of_all_corners(BEYOND)


def ball(x: Tensor) -> Tensor:
    """Optical thickness of a step: opaque within the ball, nothing without."""
    return 5.0 * ((x - CENTRE).norm(dim=-1) < RADIUS)


def look(cells: Tensor, seed: int, count: int = 3000) -> tuple[Samples, Tensor]:
    """Samples and weights of rays from all around through a grid of leaps."""
    rng = np.random.default_rng(seed)
    rays_o = rng.normal(size=(count, 3))
    rays_o = 0.5 + 2 * rays_o / np.linalg.norm(rays_o, axis=-1, keepdims=True)
    towards = rng.uniform(0.5 - RADIUS, 0.5 + RADIUS, (count, 3)) - rays_o
    rays_d = towards / np.linalg.norm(towards, axis=-1, keepdims=True)
    bounds = torch.tensor([[0.0] * 3, [1.0] * 3])
    rays = (torch.from_numpy(part.astype(np.float32)) for part in (rays_o, rays_d))
    samples = cpu.march(*rays, bounds, cells, STEP, torch.full((count,), 0.5))
    _, _, weights = cpu.composite(ball(samples.x), torch.zeros(len(samples.t), 1), samples.offsets, 1e-3)
    return samples, weights


def noted(samples: Samples, weights: Tensor) -> np.ndarray:
    """(R, R, R) the largest weight of a sample in each cell, one after the other."""
    largest = np.zeros((R, R, R), np.float32)
    cells = np.minimum((samples.x.numpy() * R).astype(int), R - 1)
    np.maximum.at(largest, tuple(cells.T), weights.numpy())
    return largest


def test_all_allowed_cells_are_occupied_at_first() -> None:
    allowed = np.random.default_rng(0).random((5, 6, 7)) < 0.3
    occupancy = Occupancy(allowed)
    assert np.array_equal(occupancy.cells, allowed)
    assert np.array_equal(occupancy.leaps.numpy(), leaps(allowed, LEAP_CAP))


def test_notes_are_the_largest_weights() -> None:
    occupancy = Occupancy(np.ones((R, R, R), bool))
    wanted = np.zeros((R, R, R), np.float32)
    for seed in range(2):
        samples, weights = look(occupancy.leaps, seed)
        occupancy.note(samples, weights)
        wanted = np.maximum(wanted, noted(samples, weights))
    assert wanted.max() > 0.9
    assert np.array_equal(occupancy.seen.numpy().reshape(R, R, R), wanted)


def test_notes_at_the_border_of_the_box() -> None:
    occupancy = Occupancy(np.ones((2, 3, 4), bool))
    x = torch.tensor([[0.0, 0, 0], [1, 1, 1], [1, 0, 0.5]])
    occupancy.note(Samples(x, torch.zeros(3), torch.tensor([0, 3])), torch.tensor([0.5, 0.25, 1]))
    seen = occupancy.seen.reshape(2, 3, 4)
    assert (seen[0, 0, 0], seen[1, 2, 3], seen[1, 0, 2]) == (0.5, 0.25, 1)
    assert int((seen > 0).sum()) == 3


def test_what_is_dense_and_seen_stays_and_the_rest_goes() -> None:
    """As in training: rays go through what is occupied, and the grid is made anew from what they found."""
    occupancy = Occupancy(np.ones((R, R, R), bool))
    visible = SOLID & (noted(*look(occupancy.leaps, 99, 20000)) > 0.9)
    assert visible.sum() > 100
    generator = seeded(0)
    for update in range(12):
        for batch in range(3):
            samples, weights = look(occupancy.leaps, 100 * update + batch)
            occupancy.note(samples, weights)
        occupancy.update(ball, generator)
        lost = visible & ~occupancy.cells
        assert not lost.any(), f"{lost.sum()} of {visible.sum()} visible cells are lost after update {update}"
    assert not (occupancy.cells & EMPTY).any()
    deep = SOLID & ~dilate(dilate(visible))  # not even a neighbour of what any ray could meet
    assert deep.sum() > 50 and not (occupancy.cells & deep).any()
    assert np.array_equal(occupancy.leaps.numpy(), leaps(occupancy.cells, LEAP_CAP))


def test_what_has_gone_is_dropped() -> None:
    """A half of the ball that vanishes is forgotten, the other is not."""
    occupancy = Occupancy(np.ones((R, R, R), bool))
    generator = seeded(0)
    everywhere = Samples(
        torch.from_numpy(((np.argwhere(np.ones((R, R, R))) + 0.5) / R).astype(np.float32)),
        torch.zeros(R**3),
        torch.tensor([0, R**3]),
    )

    def update(thickness: float) -> np.ndarray:
        occupancy.note(everywhere, torch.ones(R**3))
        occupancy.update(lambda x: ball(x) * torch.where(x[:, 0] < 0.5, thickness, 1.0), generator)
        return occupancy.cells

    for _ in range(8):
        cells = update(1.0)
    assert (cells & SOLID)[: R // 2].sum() == SOLID[: R // 2].sum() > 100
    for _ in range(300):
        cells = update(0.0)
        assert (cells & SOLID)[R // 2 :].sum() == SOLID[R // 2 :].sum()
    assert not cells[: R // 2].any()


def test_what_is_seen_no_more_is_dropped() -> None:
    """However dense it is: something else has come to stand before it."""
    occupancy = Occupancy(np.ones((R, R, R), bool))
    occupancy.note(*look(occupancy.leaps, 0, 20000))
    occupancy.update(ball, seeded(0))
    assert (occupancy.cells & SOLID).sum() > 100
    for seed in range(40):
        occupancy.update(ball, seeded(seed))
    assert not occupancy.cells.any()


def test_nothing_outside_the_allowed_is_occupied() -> None:
    allowed = np.zeros((R, R, R), bool)
    allowed[:, : R // 2] = True
    occupancy = Occupancy(allowed)
    for seed in range(6):
        occupancy.note(*look(Occupancy(np.ones_like(allowed)).leaps, seed))
        occupancy.update(ball, seeded(seed))
        assert occupancy.cells.any() and not (occupancy.cells & ~allowed).any()


def test_a_faint_start_is_not_thrown_away() -> None:
    """Before any density has formed the denser cells are kept, though all are nearly empty."""
    occupancy = Occupancy(np.ones((R, R, R), bool))
    generator = seeded(0)
    for _ in range(5):
        samples, weights = look(occupancy.leaps, 0)
        occupancy.note(samples, torch.ones_like(weights))
        occupancy.update(lambda x: 1e-4 * (1 + ball(x)), generator)
    assert (occupancy.cells & SOLID).sum() > 0.5 * SOLID.sum()


@pytest.mark.parametrize("resolution", [16, 80])
def test_updates_repeat(resolution: int) -> None:
    """Bit for bit, with cells enough that several threads take part and some are looked at twice."""
    results = []
    for _ in range(4):
        occupancy = Occupancy(np.ones((resolution,) * 3, bool))
        generator = seeded(0)
        for _ in range(3):
            occupancy.note(*look(occupancy.leaps, 0))
            occupancy.update(lambda x: ball(x) * x[:, 0], generator)
        results.append({name: value.clone() for name, value in occupancy.state_dict().items()})
    for again in results[1:]:
        assert [name for name, value in results[0].items() if not torch.equal(value, again[name])] == []
