"""Unbounded scenes: all of space in the ball of radius 2, what lies within the unit ball as it is.

Source: Barron et al., "Mip-NeRF 360", 2022, equation 10; ``render.intervals.contract`` is the numpy twin.
"""

from __future__ import annotations

import torch
from torch import Tensor

SIDE = 2.0  # the contracted box is [-SIDE, SIDE]^3
FAR = 50.0  # world units along a ray, where a march ends: contracted, that is 0.02 from the end of space
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


def box(device: str) -> Tensor:
    """(2, 3) corners of the contracted box."""
    return torch.tensor([[-SIDE] * 3, [SIDE] * 3], device=device)
