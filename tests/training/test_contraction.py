"""All of space in a ball: the map, its inverse, the course of a ray, and the march through it."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch.nn import functional

from render import contraction as twin
from render.contraction import FAR, SIDE
from render.occupancy import leaps
from training.contraction import (
    FARTHEST,
    contract,
    course,
    expand,
    lattice_distance,
    lattice_place,
    section,
)
from training.kernels import Kernels, reference

STEP, NEAR = 0.03, 0.1


def rays(count: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Origins within 3 of the middle, unit directions."""
    generator = torch.Generator().manual_seed(4)
    d = functional.normalize(torch.randn(count, 3, generator=generator), dim=-1)
    return 3 * (2 * torch.rand(count, 3, generator=generator) - 1), d


def test_contraction_is_the_render_sides_and_undone() -> None:
    x = 5 * torch.randn(1000, 3, generator=torch.Generator().manual_seed(0))
    y = contract(x)
    np.testing.assert_allclose(y.numpy(), twin.contract(x.numpy()), atol=1e-6)
    assert float(y.norm(dim=-1).max()) < 2
    torch.testing.assert_close(expand(y), x, rtol=2e-4, atol=1e-5)  # 1 / (2 - |y|)^2 of float32's rounding
    far = expand(torch.tensor([[1.9999, 0, 0]]))
    assert float(far.norm()) == pytest.approx(1 / (2 - FARTHEST), rel=1e-4)


def test_course_is_the_derivative() -> None:
    """Central differences in double precision, away from the kink at the unit ball."""
    o, d = (part.double() for part in rays(1000))
    o = o[(o.norm(dim=-1) - 1).abs() > 0.01]
    d = d[: len(o)]
    difference = (contract(o + 1e-5 * d) - contract(o - 1e-5 * d)) / 2e-5
    torch.testing.assert_close(course(o, d), difference, atol=1e-8, rtol=0)
    slope = twin.contract_slope(o.numpy(), d.numpy())
    np.testing.assert_allclose(slope, difference.numpy(), atol=1e-6)


def test_lattice_is_the_render_sides_and_undone() -> None:
    distance = torch.cat([torch.linspace(-40, 40, 801), torch.linspace(-1.5, 1.5, 301)])
    s = lattice_place(distance)
    np.testing.assert_allclose(s.numpy(), twin.lattice_place(distance.numpy()), atol=1e-6)
    torch.testing.assert_close(lattice_distance(s), distance, rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(twin.lattice_distance(s.numpy()), distance.numpy(), rtol=1e-4, atol=1e-5)
    assert (s[1:801] > s[:800]).all() and float(s.abs().max()) < 2


def test_a_section_is_what_a_step_spans_and_none_is_longer_than_leaps_allow() -> None:
    """Small steps: the chord of a step is its section to first order."""
    o, d = (part.double() for part in rays(2000))
    s = 3.6 * torch.rand(2000, generator=torch.Generator().manual_seed(2), dtype=torch.float64) - 1.8
    foot = -(o * d).sum(-1)
    step = 1e-5
    before, at, after = (lattice_distance(s + half * step) + foot for half in (-0.5, 0, 0.5))
    chord = contract(o + after[:, None] * d) - contract(o + before[:, None] * d)
    kink = ((o + at[:, None] * d).norm(dim=-1) - 1).abs() < 1e-3
    kink |= (s.abs() - 1).abs() < 1e-3
    found = section(o, d, at, step)
    torch.testing.assert_close(found[~kink], chord[~kink], atol=1e-9, rtol=0)
    fastest = torch.from_numpy(twin.fastest(o.numpy(), d.numpy()))
    assert (found.norm(dim=-1) <= step * fastest * (1 + 1e-6)).all()


def test_march_is_an_even_lattice_from_near_to_far() -> None:
    o, d = rays(200)
    jitter = torch.rand(200, generator=torch.Generator().manual_seed(1))
    nothing_empty = torch.zeros(4, 4, 4, dtype=torch.uint8)
    samples = reference.march_contracted(o, d, NEAR, FAR, nothing_empty, STEP, jitter)
    ray = samples.ray_ids
    world = o[ray] + samples.t[:, None] * d[ray]
    torch.testing.assert_close(samples.x, (contract(world) + SIDE) / (2 * SIDE), atol=1e-6, rtol=0)
    along = (o * d).sum(-1)
    s = lattice_place(samples.t + along[ray])
    same = ray[1:] == ray[:-1]
    torch.testing.assert_close(
        (s[1:] - s[:-1])[same], torch.full((int(same.sum()),), STEP), atol=1e-5, rtol=0
    )
    first = samples.offsets[:-1]
    torch.testing.assert_close(s[first], lattice_place(NEAR + along) + jitter * STEP, atol=1e-5, rtol=0)
    assert (samples.t >= NEAR - 1e-6).all() and float(samples.t.max()) < FAR


def test_march_of_each_device_is_the_references(kernels: Kernels, device: str) -> None:
    """The same points in scattered and in few cells, where leaps are long; a rounding may carry a point
    across the border of a cell."""
    o, d = rays(400)
    for share in (0.3, 0.002):
        cells = np.random.default_rng(5).random((24, 24, 24)) < share
        jitter = torch.rand(400, generator=torch.Generator().manual_seed(1))
        arguments = (NEAR, FAR, torch.from_numpy(leaps(cells)), STEP, jitter)
        truth = reference.march_contracted(o, d, *arguments)
        moved = (part.to(device) if isinstance(part, torch.Tensor) else part for part in (o, d, *arguments))
        found = kernels.march_contracted(*moved)  # type: ignore[arg-type]
        counts, expected = found.offsets.cpu().diff(), truth.offsets.diff()
        same = counts == expected
        assert same.float().mean() > 0.97 and len(truth.t) > 50
        a, b = same[found.ray_ids.cpu()], same[truth.ray_ids]
        assert float((found.t.cpu()[a] / truth.t[b] - 1).abs().quantile(0.99)) < 1e-3
        assert float((found.x.cpu()[a] - truth.x[b]).abs().quantile(0.99)) < 1e-4
