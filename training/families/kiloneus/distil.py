"""What the teacher knows, in samples, and how the students learn it. Losses and weights are our choice.

Half of a cell's samples lie near the surface, half anywhere in the cell and a margin around it, so that what
neighbouring networks learn overlaps.
"""

from __future__ import annotations

from dataclasses import dataclass, fields

import torch
from torch import Tensor
from torch.nn import functional

from training.families.kiloneus.bank import Bank
from training.families.kiloneus.teacher import TeacherField

ENLARGED = 1.15  # cells are learnt this much larger than they are
NEAR = 0.1  # cells: how far from the surface its samples spread
BIAS = 1.0  # directions lean this much, in units of a random unit vector, against the normal
FAR_WEIGHT = 0.25  # of the distance at samples that are not near the surface
NORMAL, COLOUR, EIKONAL = 0.1, 1.0, 0.05  # weights beside the distance's 1, in half cells
CELLS_AT_ONCE = 32


@dataclass(frozen=True, eq=False)
class Lessons:
    """The teacher at places in each of the networks' cells, all (networks, n, ...).

    Attributes:
        local: places, in the cells' [-1, 1].
        f: world distances.
        gradient: of f, in the world.
        d: unit directions that it is looked along.
        rgb: display colours seen.
    """

    local: Tensor
    f: Tensor
    gradient: Tensor
    d: Tensor
    rgb: Tensor


@torch.no_grad()
def ask(teacher: TeacherField, bank: Bank, count: int, generator: torch.Generator) -> Lessons:
    """``count`` samples a cell, in random order."""
    parts = []
    spread = NEAR * 2 * bank.scale / bank.size  # in u
    for first in range(0, bank.count, CELLS_AT_ONCE):
        corners = bank.corners[first : first + CELLS_AT_ONCE, None]
        local = ENLARGED * (2 * torch.rand(len(corners), count, 3, generator=generator) - 1).to(corners)
        u = bank.points(corners, local).clamp(0, 1)
        near = u[:, : count // 2].reshape(-1, 3)
        y, gradient, *_ = teacher.differences(near)
        f = y[:, 0, 0]
        step = f / gradient.square().sum(-1).clamp(min=0.25)
        noise = torch.randn(near.shape, generator=generator).to(near) * spread
        u[:, : count // 2] = (near - step[:, None] * gradient / bank.size + noise).view(len(u), -1, 3)
        local = (2 * (u * bank.shape - corners) - 1).clamp(-ENLARGED, ENLARGED)
        u = bank.points(corners, local).clamp(0, 1)
        y, gradient, _, features = teacher.differences(u.view(-1, 3))
        f = y[:, 0, 0]
        normal = functional.normalize(gradient, dim=-1, eps=1e-6)
        random = functional.normalize(torch.randn((*f.shape, 3), generator=generator).to(normal), dim=-1)
        d = functional.normalize(random - BIAS * normal, dim=-1, eps=1e-6)
        rgb = teacher.colours(features, normal, d)
        order = torch.randperm(count, generator=generator)
        found = Lessons(local, *(part.view(*local.shape[:2], -1) for part in (f, gradient, d, rgb)))
        parts.append([getattr(found, field.name)[:, order] for field in fields(Lessons)])
    local, f, gradient, d, rgb = (torch.cat(part) for part in zip(*parts, strict=True))
    return Lessons(local, f[..., 0], gradient, d, rgb)


def lesson_loss(bank: Bank, lessons: Lessons, part: slice) -> tuple[Tensor, Tensor]:
    """The loss on a part of every cell's samples, and the mean squared error of colour near the surface."""
    local, f, gradient, d, rgb = (
        getattr(lessons, field.name)[:, part].flatten(0, 1) for field in fields(Lessons)
    )
    count = len(local) // bank.count
    offsets = torch.arange(bank.count + 1, device=local.device) * count
    y, slope = bank.gradients(local, offsets)
    # The teacher's own normal, so that colours do not wait for the students' normals.
    colour = bank.colours(local, functional.normalize(gradient, dim=-1, eps=1e-6), d, offsets)
    near = torch.exp(-((f / (2 * NEAR * 2 * bank.scale)) ** 2))
    wrong = (colour - rgb).square().sum(-1)
    loss = (
        ((FAR_WEIGHT + (1 - FAR_WEIGHT) * near) * (y - f).abs()).mean() / bank.scale
        + NORMAL * (near * (slope - gradient).square().sum(-1)).mean()
        + COLOUR * (near * wrong).mean()
        + EIKONAL * (slope.norm(dim=-1) - 1).square().mean()
    )
    return loss, (near * wrong).sum().detach() / (3 * near.sum().clamp(min=1e-6))
