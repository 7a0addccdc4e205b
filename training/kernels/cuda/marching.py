"""Marching through occupied cells and compositing by nerfacc, version 0.5 or later."""

from __future__ import annotations

import nerfacc
import torch
from torch import Tensor

from training.kernels import Samples


def march(
    rays_o: Tensor, rays_d: Tensor, bounds: Tensor, leaps: Tensor, step: float, jitter: Tensor
) -> Samples:
    """nerfacc's lattice begins at a near plane and takes the middles of steps: so the plane is half a step
    before the first point. Middles decide which cell a step is in, as here."""
    inverse = 1 / torch.where(rays_d.abs() < 1e-12, torch.full_like(rays_d, 1e-12), rays_d)
    near, far = (bounds[0] - rays_o) * inverse, (bounds[1] - rays_o) * inverse
    t0 = torch.minimum(near, far).amax(-1).clamp(min=0)
    t1 = torch.maximum(near, far).amin(-1)
    planes = t0 + (jitter - 0.5) * step, torch.maximum(t1, t0) + step
    intervals, samples, *_ = nerfacc.traverse_grids(
        rays_o.contiguous(),
        rays_d.contiguous(),
        (leaps == 0)[None],
        bounds.reshape(1, 6).contiguous(),
        near_planes=planes[0].contiguous(),
        far_planes=planes[1].contiguous(),
        step_size=step,
        cone_angle=0.0,
    )
    t = 0.5 * (intervals.vals[intervals.is_left] + intervals.vals[intervals.is_right])
    ray = samples.ray_indices.long()
    inside = (t >= t0[ray]) & (t < t1[ray])
    t, ray = t[inside], ray[inside]
    offsets = torch.zeros(len(rays_o) + 1, dtype=torch.int64, device=t.device)
    offsets[1:] = torch.bincount(ray, minlength=len(rays_o)).cumsum(0)
    x = (rays_o[ray] + t[:, None] * rays_d[ray] - bounds[0]) / (bounds[1] - bounds[0])
    return Samples(x.clamp(0, 1), t, offsets)


def composite(optical: Tensor, values: Tensor, offsets: Tensor, stop: float) -> tuple[Tensor, Tensor, Tensor]:
    packed = torch.stack([offsets[:-1], offsets.diff()], -1)  # first sample and number of each ray
    ray = torch.repeat_interleave(torch.arange(len(packed), device=offsets.device), packed[:, 1])
    before = torch.exp(-nerfacc.exclusive_sum(optical, packed_info=packed))
    alive = (before.detach() >= stop).to(optical)
    weights = alive * before * -torch.expm1(-optical)
    sums = nerfacc.accumulate_along_rays(weights, values, ray_indices=ray, n_rays=len(packed))
    spent = nerfacc.accumulate_along_rays(alive * optical, None, ray_indices=ray, n_rays=len(packed))
    return sums, torch.exp(-spent[:, 0]), weights.detach()
