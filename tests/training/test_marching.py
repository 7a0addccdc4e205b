"""The march of each device and of the reference, both against a slow walk over the lattice."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from render.occupancy import leaps
from training.kernels import Kernels, Samples, cpu, reference

BOUNDS = np.float32([[-0.6, -0.5, -0.7], [0.6, 0.7, 0.5]])
STEP = 0.013


def volumes() -> dict[str, np.ndarray]:
    rng = np.random.default_rng(3)
    coarse = rng.random((3, 2, 3)) < 0.3
    one = np.zeros((5, 5, 5), bool)
    one[2, 2, 2] = True
    return {
        "scattered": rng.random((16, 16, 16)) < 0.1,
        "blocks, sides of odd lengths": coarse.repeat(3, 0).repeat(5, 1).repeat(3, 2),
        "one cell": one,
        "full": np.ones((5, 5, 5), bool),
        "empty": np.zeros((8, 8, 8), bool),
    }


def unit(v: np.ndarray) -> np.ndarray:
    return v / np.linalg.norm(v, axis=-1, keepdims=True)


def rays(kind: str) -> tuple[np.ndarray, np.ndarray]:
    """Origins and unit directions (n, 3)."""
    rng = np.random.default_rng(8)
    low, high = BOUNDS
    inside = rng.uniform(low, high, (60, 3))
    around = 3 * unit(rng.normal(size=(60, 3)))
    axes = np.repeat(np.eye(3), 20, 0) * np.where(np.arange(60) % 2, 1, -1)[:, None]
    match kind:
        case "from outside":
            return around, unit(inside - around)
        case "from inside":
            return inside, unit(rng.normal(size=(60, 3)))
        case "along an axis":
            return inside - 2 * axes, axes  # zeros of both signs among their components
        case "nearly along an axis":
            return inside - 2 * axes, unit(axes + 1e-4 * rng.normal(size=(60, 3)))
        case "away from the box":
            return around, unit(around)
        case "beside the box along an axis":
            return inside + 3 * np.roll(axes, 1, -1) - 2 * axes, axes
        case "none":
            return np.zeros((0, 3)), np.zeros((0, 3))
    raise KeyError(kind)


RAYS = (
    "from outside",
    "from inside",
    "along an axis",
    "nearly along an axis",
    "away from the box",
    "beside the box along an axis",
    "none",
)


def walk(o: np.ndarray, d: np.ndarray, cells: np.ndarray, jitter: float) -> tuple[float, set[int], set[int]]:
    """Where the lattice of a ray begins, the lattice points in occupied cells, and those too near to a face
    of a cell or to the end of the box for float32 to tell: it is off by about 1e-5 cell here, ten times that
    is allowed."""
    low, high = BOUNDS.astype(np.float64)
    d = np.where(np.abs(d) < 1e-12, 1e-12, d)
    near, far = (low - o) / d, (high - o) / d
    t0, t1 = max(np.minimum(near, far).max(), 0.0), np.maximum(near, far).min()
    sure, unsure = set(), set()
    for n in range(int(max(t1 - t0, 0) / STEP) + 2):
        t = t0 + (n + jitter) * STEP
        position = (o + t * d - low) / (high - low) * cells.shape
        cell = np.clip(np.floor(position).astype(int), 0, np.array(cells.shape) - 1)
        at_face = (np.abs(position - np.round(position)) < 1e-4).any() or abs(t - t1) < 1e-5
        if at_face and t < t1 + 1e-5:
            unsure.add(n)
        elif t < t1 and cells[tuple(cell)]:
            sure.add(n)
    return t0, sure, unsure


@pytest.mark.parametrize("cap", [2, 15])
@pytest.mark.parametrize("kind", RAYS)
def test_march_finds_what_a_slow_walk_finds(kind: str, cap: int, kernels: Kernels, device: str) -> None:
    """Leaping or testing every lattice point: the same samples, whatever the rays and the cells."""
    rays_o, rays_d = (a.astype(np.float32) for a in rays(kind))
    jitter = np.random.default_rng(0).random(len(rays_o)).astype(np.float32)
    jitter[::3] = 0.5
    jitter[1::9] = 0
    for name, cells in volumes().items():
        arrays = (rays_o, rays_d, BOUNDS, leaps(cells, cap))
        inputs = [torch.from_numpy(a) for a in arrays]
        walked = [
            walk(*(a.astype(np.float64) for a in (o, d)), cells, j)
            for o, d, j in zip(rays_o, rays_d, jitter, strict=True)
        ]
        slow = reference.march(*inputs, STEP, torch.from_numpy(jitter))
        fast = kernels.march(*(a.to(device) for a in inputs), STEP, torch.from_numpy(jitter).to(device))
        for samples in (slow, fast):
            check_samples(samples, rays_o, rays_d, jitter, walked)
        total = sum(len(sure) for _, sure, _ in walked)
        assert sum(len(unsure) for *_, unsure in walked) <= 0.02 * max(total, 1000)
        hits = kind in RAYS[:4] and name != "empty"
        assert total > 5 if hits else total == 0, name  # the one cell is met least


def check_samples(
    samples: Samples,
    rays_o: np.ndarray,
    rays_d: np.ndarray,
    jitter: np.ndarray,
    walked: list[tuple[float, set[int], set[int]]],
) -> None:
    assert samples.offsets.dtype == torch.int64 and samples.offsets.shape == (len(rays_o) + 1,)
    assert samples.t.dtype == samples.x.dtype == torch.float32 and samples.x.shape == (len(samples.t), 3)
    offsets, t, x = samples.offsets.tolist(), samples.t.cpu().numpy(), samples.x.cpu().numpy()
    assert offsets[0] == 0 and offsets[-1] == len(t)
    counts = np.diff(offsets)
    assert samples.ray_ids.tolist() == np.repeat(np.arange(len(rays_o)), counts).tolist()
    low, high = BOUNDS
    for ray, (t0, sure, unsure) in enumerate(walked):
        part = slice(offsets[ray], offsets[ray + 1])
        n = (t[part].astype(np.float64) - t0) / STEP - jitter[ray]
        numbers = np.round(n).astype(int)
        assert np.abs(n - numbers).max(initial=0) < 1e-3  # 1e-6 of t, in steps
        assert (np.diff(numbers) > 0).all()
        assert sure <= set(numbers.tolist()) <= sure | unsure
        where = (rays_o[ray] + t[part, None] * rays_d[ray] - low) / (high - low)
        assert np.abs(x[part] - where).max(initial=0) < 2e-6  # a few ulp of t, which goes to 4
        assert (x[part] > -2e-6).all() and (x[part] < 1 + 2e-6).all()


def test_the_same_bits_twice() -> None:
    """On the CPU, with rays enough for several threads."""
    cells = np.random.default_rng(0).random((32, 32, 32)) < 0.2
    o, d = (np.tile(a, (50, 1)).astype(np.float32) for a in rays("from outside"))
    inputs = [torch.from_numpy(a) for a in (o, d, BOUNDS, leaps(cells))]
    jitter = torch.rand(len(o), generator=torch.Generator().manual_seed(1))
    first, *others = (cpu.march(*inputs, STEP, jitter) for _ in range(3))
    for again in others:
        for a, b in zip((first.x, first.t, first.offsets), (again.x, again.t, again.offsets), strict=True):
            assert len(a) > 3000 and torch.equal(a, b)
