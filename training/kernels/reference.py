"""The kernels in plain torch: what they mean, for any device. Gradients are autograd's."""

from __future__ import annotations

import math
from collections.abc import Mapping

import torch
from torch import Tensor

from render.contraction import SIDE
from render.grid import HASH_PRIMES, GridSpec
from render.network import NORMALISE_FLOOR, NetworkSpec
from training.contraction import contract, lattice_distance, lattice_place
from training.kernels import Samples
from training.modules import run_layers

NAME = "torch"


def grid_encode(spec: GridSpec, table: Tensor, x: Tensor) -> Tensor:
    features = []
    for level in spec.level_list:
        position = x * level.scale + 0.5
        base = position.floor()
        fraction = position - base
        total = torch.zeros(len(x), spec.features, device=x.device)
        for k in range(1 << spec.dimension):
            bits = torch.tensor([(k >> axis) & 1 for axis in range(spec.dimension)], device=x.device)
            weight = torch.where(bits == 1, fraction, 1 - fraction).prod(-1, keepdim=True)  # (n, 1)
            corner = base.long() + bits
            if level.hashed:
                index = torch.zeros(len(x), dtype=torch.int64, device=x.device)
                for axis in range(spec.dimension):
                    index ^= (corner[:, axis] * HASH_PRIMES[axis]) & 0xFFFFFFFF
            else:
                index = sum(corner[:, axis] * level.resolution**axis for axis in range(spec.dimension))
            total = total + weight * table[level.offset + index % level.size]
        features.append(total)
    return torch.cat(features, -1)


def gaussian_kernels(
    x: Tensor, weight: Tensor, bias: Tensor, normalise: bool, gain: float, linear: bool
) -> Tensor:
    z = torch.cat([x, x * x], -1) @ weight.T + bias
    phi = torch.exp2(z.clamp(max=0))
    if normalise:
        phi = phi / phi.sum(-1, keepdim=True).clamp(min=NORMALISE_FLOOR)
    return torch.cat([gain * phi, x], -1) if linear else gain * phi


def per_ray_linear(h: Tensor, rows: Tensor, offsets: Tensor) -> Tensor:
    counts = offsets[1:] - offsets[:-1]
    row = torch.repeat_interleave(rows, counts, 0)  # (samples, C, 1 + H)
    return row[..., 0] + (row[..., 1:] @ h[..., None])[..., 0]


def march(
    rays_o: Tensor, rays_d: Tensor, bounds: Tensor, leaps: Tensor, step: float, jitter: Tensor
) -> Samples:
    size = bounds[1] - bounds[0]
    inverse = 1 / torch.where(rays_d.abs() < 1e-12, torch.full_like(rays_d, 1e-12), rays_d)
    near, far = (bounds[0] - rays_o) * inverse, (bounds[1] - rays_o) * inverse
    t0 = torch.minimum(near, far).amax(-1).clamp(min=0)
    t1 = torch.maximum(near, far).amin(-1)
    n_steps = int(torch.clamp((t1 - t0) / step, min=0).max().ceil()) + 1 if len(rays_o) else 0
    t = t0[:, None] + (torch.arange(n_steps, device=rays_o.device) + jitter[:, None]) * step  # (rays, steps)
    x = (rays_o[:, None] + t[..., None] * rays_d[:, None] - bounds[0]) / size  # (rays, steps, 3)
    shape = torch.tensor(leaps.shape, device=x.device)
    cell = torch.minimum((x * shape).long().clamp(min=0), shape - 1)
    occupied = (leaps[cell[..., 0], cell[..., 1], cell[..., 2]] == 0) & (t < t1[:, None])
    offsets = torch.zeros(len(rays_o) + 1, dtype=torch.int64, device=x.device)
    offsets[1:] = occupied.sum(-1).cumsum(0)
    return Samples(x[occupied], t[occupied], offsets)


def march_contracted(
    rays_o: Tensor, rays_d: Tensor, near: float, far: float, leaps: Tensor, step: float, jitter: Tensor
) -> Samples:
    foot = -(rays_o * rays_d).sum(-1)  # its t
    start, end = lattice_place(near - foot), lattice_place(far - foot)
    numbers = torch.arange(math.ceil(2 * SIDE / step) + 1, device=rays_o.device)
    s = start[:, None] + (numbers + jitter[:, None]) * step  # (rays, steps)
    counts = s < end[:, None]
    t = lattice_distance(torch.where(counts, s, 0)) + foot[:, None]
    x = (contract(rays_o[:, None] + t[..., None] * rays_d[:, None]) + SIDE) / (2 * SIDE)
    shape = torch.tensor(leaps.shape, device=x.device)
    cell = torch.minimum((x * shape).long(), shape - 1)
    occupied = (leaps[cell.unbind(-1)] == 0) & counts
    offsets = torch.zeros(len(rays_o) + 1, dtype=torch.int64, device=x.device)
    offsets[1:] = occupied.sum(-1).cumsum(0)
    return Samples(x[occupied], t[occupied], offsets)


def composite(optical: Tensor, values: Tensor, offsets: Tensor, stop: float) -> tuple[Tensor, Tensor, Tensor]:
    counts = offsets[1:] - offsets[:-1]
    n_rays, longest = len(counts), int(counts.max()) if len(counts) else 0
    ray = torch.repeat_interleave(torch.arange(n_rays, device=optical.device), counts)
    place = torch.arange(len(optical), device=optical.device) - offsets[ray]
    dense = torch.zeros(n_rays, longest, device=optical.device).index_put(
        (ray, place), optical
    )  # (rays, longest)
    before = torch.exp(-(dense.cumsum(-1) - dense))  # transmittance in front of each sample
    alive = before.detach() >= stop
    weights = (alive * before * -torch.expm1(-dense))[ray, place]  # (samples,)
    sums = torch.zeros(n_rays, values.shape[-1], device=values.device).index_add(
        0, ray, weights[:, None] * values
    )
    return sums, torch.exp(-(dense * alive).sum(-1)), weights


def by_network(ids: Tensor, count: int) -> tuple[Tensor, Tensor]:
    if len(ids) and not 0 <= int(ids.min()) <= int(ids.max()) < count:
        raise ValueError(f"ids from {int(ids.min())} to {int(ids.max())}, the bank has {count} networks")
    counts = torch.bincount(ids, minlength=count)
    offsets = torch.zeros(count + 1, dtype=torch.int64, device=ids.device)
    offsets[1:] = counts.cumsum(0)
    return torch.sort(ids, stable=True).indices, offsets


def networks(spec: NetworkSpec, parameters: Mapping[str, Tensor], x: Tensor, offsets: Tensor) -> Tensor:
    if spec.count == 1:
        return run_layers(spec, parameters, x)
    counts = offsets[1:] - offsets[:-1]
    network = torch.repeat_interleave(torch.arange(spec.count, device=x.device), counts)
    place = torch.arange(len(x), device=x.device) - offsets[network]
    dense = torch.zeros(spec.count, int(counts.max()), x.shape[1], device=x.device)
    return run_layers(spec, parameters, dense.index_put((network, place), x))[network, place]


def networks_jacobian(
    spec: NetworkSpec, parameters: Mapping[str, Tensor], x: Tensor, offsets: Tensor
) -> tuple[Tensor, Tensor]:
    wanted = torch.is_grad_enabled() and any(value.requires_grad for value in (x, *parameters.values()))
    with torch.enable_grad():
        x = x if x.requires_grad else x.detach().requires_grad_()
        y = networks(spec, parameters, x, offsets)
        rows = [
            torch.autograd.grad(column.sum(), x, create_graph=wanted, retain_graph=True)[0] for column in y.T
        ]
    dy = torch.stack(rows, 1)  # (n, out, in)
    return (y, dy) if wanted else (y.detach(), dy.detach())
