"""Where two students meet: points on the faces they share, how far they disagree, and a loss on it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from training.families.kiloneus.bank import Bank, inverse
from training.families.kiloneus.cells import shared_faces

POOL = 1 << 20  # points on faces that are looked at: too few are learnt by heart
NEAR = 0.05  # cells: how near to the surface counts; the teacher's is taught at twice that, lest it move
NORMAL_WEIGHT = 0.1  # of the squared difference of gradients, beside 1 for that of distances in half cells


@dataclass(frozen=True, eq=False)
class Seams:
    """Points near the surface on faces between two cells with networks.

    Attributes:
        pairs: (n, 2) the two networks.
        local: (n, 2, 3) the point in the [-1, 1] of either.
    """

    pairs: Tensor
    local: Tensor

    @staticmethod
    @torch.no_grad()
    def find(
        bank: Bank, distance: Callable[[Tensor], Tensor], near: float, generator: torch.Generator
    ) -> Seams:
        """Random points of shared faces where ``distance`` of u (n, 3) in [0, 1] is below ``near`` cells."""
        device = bank.low.device
        faces = torch.from_numpy(shared_faces(bank.cells))
        if not len(faces):
            return Seams(torch.zeros(0, 2, dtype=torch.int64), torch.zeros(0, 2, 3)).to(device)
        face = faces[torch.randint(len(faces), (POOL,), generator=generator)]
        local = (2 * torch.rand(POOL, 3, generator=generator) - 1)[:, None].repeat(1, 2, 1)
        rows, axis = torch.arange(POOL), face[:, 2]
        local[rows, 0, axis], local[rows, 1, axis] = 1.0, -1.0
        face, local = face.to(device), local.to(device)
        u = bank.points(bank.corners[face[:, 0]], local[:, 0])
        kept = distance(u).abs() < near * 2 * bank.scale
        return Seams(face[kept, :2], local[kept])

    def to(self, device: torch.device | str) -> Seams:
        """The same on another device."""
        return Seams(self.pairs.to(device), self.local.to(device))

    def evaluate(self, bank: Bank, part: slice | Tensor) -> tuple[Tensor, Tensor]:
        """f (m, 2) and world gradients (m, 2, 3) of both networks at some of the points."""
        ids, local = self.pairs[part].reshape(-1), self.local[part].reshape(-1, 3)
        order, offsets = bank.kernels.by_network(ids, bank.count)
        f, gradient = bank.gradients(local[order], offsets)
        back = inverse(order)
        return f[back].view(-1, 2), gradient[back].view(-1, 2, 3)

    def loss(self, bank: Bank, points: int, generator: torch.Generator) -> Tensor:
        """Mean disagreement at random points; 0 where no cells are neighbours."""
        if not len(self.pairs):
            return torch.zeros((), device=bank.low.device)
        f, gradient = self.evaluate(bank, torch.randint(len(self.pairs), (points,), generator=generator))
        step = (f[:, 0] - f[:, 1]) / bank.scale
        turn = gradient[:, 0] - gradient[:, 1]
        return step.square().mean() + NORMAL_WEIGHT * turn.square().sum(-1).mean()

    @torch.no_grad()
    def metrics(self, bank: Bank) -> dict[str, float]:
        """95th percentiles of the distance's step, in per cent of a cell, and the normal's turn, degrees."""
        if not len(self.pairs):
            return {}
        f, gradient = self.evaluate(bank, slice(None))
        step = (f[:, 0] - f[:, 1]).abs() / (2 * bank.scale)
        a, b = gradient.double().unbind(1)
        angle = torch.atan2(torch.linalg.cross(a, b).norm(dim=-1), (a * b).sum(-1))
        both = (values.cpu().numpy() for values in (100 * step, angle.rad2deg()))
        percentile = [float(np.percentile(values, 95)) for values in both]
        return {"seam_step_percent_p95": percentile[0], "seam_normal_deg_p95": percentile[1]}
