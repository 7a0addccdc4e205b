"""Unbounded scenes in tensors: all of space in the ball of radius 2, what lies in the unit ball as it is.

The twin of ``render/contraction.py``, which says more; a march through it is ``Kernels.march_contracted``.
"""

from __future__ import annotations

import torch
from torch import Tensor

from render.contraction import SIDE

FARTHEST = 1.98  # of contracted places that still have a place in the world, for meshes


def contract(x: Tensor) -> Tensor:
    """World places (..., 3) in the ball."""
    norm = x.norm(dim=-1, keepdim=True).clamp(min=1)
    return (2 - 1 / norm) / norm * x


def expand(y: Tensor) -> Tensor:
    """World places (..., 3) of contracted ones, none farther than FARTHEST."""
    norm = y.norm(dim=-1, keepdim=True)
    far = norm.clamp(max=FARTHEST)
    return torch.where(norm > 1, y / norm.clamp(min=1e-9) / (2 - far), y)


def course(x: Tensor, d: Tensor) -> Tensor:
    """Contracted velocity (n, 3) of a ray at world places x (n, 3) that passes them with unit velocity d."""
    norm = x.norm(dim=-1, keepdim=True).clamp(min=1)
    out = x / norm
    along = (out * d).sum(-1, keepdim=True) * out
    shrunk = (2 - 1 / norm) / norm * (d - along) + along / norm.square()
    return torch.where(norm > 1, shrunk, d)


def lattice_place(distance: Tensor) -> Tensor:
    """s (...) of signed distances (...) from a ray's foot."""
    beyond = distance.abs().clamp(min=1)
    return torch.where(beyond > 1, torch.copysign(2 - 1 / beyond, distance), distance)


def lattice_distance(s: Tensor) -> Tensor:
    """Inverse of ``lattice_place``, for s (...) between -2 and 2."""
    beyond = s.abs().clamp(min=1)
    return torch.where(beyond > 1, torch.copysign(1 / (2 - beyond), s), s)


def section(rays_o: Tensor, rays_d: Tensor, t: Tensor, step: float) -> Tensor:
    """What a step of the lattice at t (n,) of rays (n, 3) spans in contracted space, (n, 3)."""
    distance = (t + (rays_o * rays_d).sum(-1)).abs().clamp(min=1)
    return course(rays_o + t[:, None] * rays_d, rays_d) * (step * distance.square())[:, None]


def box(device: str) -> Tensor:
    """(2, 3) corners of the contracted box."""
    return torch.tensor([[-SIDE] * 3, [SIDE] * 3], device=device)
