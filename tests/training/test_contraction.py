"""All of space in a ball: the map, its inverse, the course of a ray, and the march through it."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch.nn import functional

from render import intervals
from render.occupancy import leaps
from training.kernels import Kernels, reference
from training.surface.contraction import FAR, FARTHEST, SIDE, contract, course, expand

STEP = 0.03


def rays(count: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Origins within 3 of the middle, unit directions."""
    generator = torch.Generator().manual_seed(4)
    d = functional.normalize(torch.randn(count, 3, generator=generator), dim=-1)
    return 3 * (2 * torch.rand(count, 3, generator=generator) - 1), d


def test_contraction_is_the_render_sides_and_undone() -> None:
    x = 5 * torch.randn(1000, 3, generator=torch.Generator().manual_seed(0))
    y = contract(x)
    np.testing.assert_allclose(y.numpy(), intervals.contract(x.numpy()), atol=1e-6)
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


def test_march_steps_evenly_through_contracted_space() -> None:
    """Each point of the reference is a step from the one before along the bent ray, as far as five units out;
    within a step its speed changes, by a tenth there, and a chord is shorter than what it spans."""
    o, d = rays(200)
    samples = reference.march_contracted(
        o, d, FAR, torch.zeros(4, 4, 4, dtype=torch.uint8), STEP, torch.rand(200)
    )
    ray = samples.ray_ids
    world = o[ray] + samples.t[:, None] * d[ray]
    torch.testing.assert_close(samples.x, (contract(world) + SIDE) / (2 * SIDE), atol=1e-6, rtol=0)
    along = contract(world)
    near = (ray[1:] == ray[:-1]) & (along[1:].norm(dim=-1) < 1.8)
    chord = (along[1:] - along[:-1]).norm(dim=-1)[near]
    assert float((chord / STEP - 1).abs().quantile(0.99)) < 0.1
    assert float(samples.t.max()) < FAR


def test_march_of_each_device_is_the_references(kernels: Kernels, device: str) -> None:
    """The same points in scattered cells; a rounding may carry a point across the border of a cell."""
    o, d = rays(400)
    cells = np.random.default_rng(5).random((16, 16, 16)) < 0.3
    jitter = torch.rand(400, generator=torch.Generator().manual_seed(1))
    arguments = (FAR, torch.from_numpy(leaps(cells)), STEP, jitter)
    truth = reference.march_contracted(o, d, *arguments)
    moved = (part.to(device) if isinstance(part, torch.Tensor) else part for part in (o, d, *arguments))
    found = kernels.march_contracted(*moved)  # type: ignore[arg-type]
    counts, expected = found.offsets.cpu().diff(), truth.offsets.diff()
    same = counts == expected
    assert same.float().mean() > 0.97
    a, b = same[found.ray_ids.cpu()], same[truth.ray_ids]
    assert float((found.t.cpu()[a] - truth.t[b]).abs().quantile(0.99)) < 1e-3
    assert float((found.x.cpu()[a] - truth.x[b]).abs().quantile(0.99)) < 1e-4
