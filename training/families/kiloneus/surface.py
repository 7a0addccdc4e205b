"""The surface of a bank as the shader traces it, and the last stage: colours learn at those very hits."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from render import sphere_tracing
from render.fields import SurfaceField
from render.sphere_tracing import Cells, Layers
from training import processes
from training.families.kiloneus.bank import POINTS_AT_ONCE, Bank
from training.surface.volume import VolumeTraining

MOST_RAYS = 1 << 20  # that are traced: in the time there is, more would hardly be seen twice
TRACED_AT_ONCE = 1 << 17

Floats = NDArray[np.float32]


def bank_field(bank: Bank) -> SurfaceField:
    """The bank by the training kernels, as the numpy tracer wants it."""
    device, size = bank.low.device, bank.size.cpu().numpy()

    def parts(*arrays: Floats) -> list[tuple[Tensor, ...]]:
        tensors = [torch.from_numpy(np.ascontiguousarray(x, np.float32)).to(device) for x in arrays]
        return list(zip(*(tensor.split(POINTS_AT_ONCE) for tensor in tensors), strict=True))

    def distance(u: Floats) -> Floats:
        found = [bank.distance(x).cpu().numpy() for (x,) in parts(u)]
        return np.concatenate([np.zeros(0, np.float32), *found])

    def gradient(u: Floats) -> tuple[Floats, Floats]:
        found = [bank.distance_gradient(x) for (x,) in parts(u)]
        f = np.concatenate([np.zeros(0, np.float32), *(part[0].cpu().numpy() for part in found)])
        slope = np.concatenate([np.zeros((0, 3), np.float32), *(part[1].cpu().numpy() for part in found)])
        return f, slope * size

    def colour(u: Floats, n: Floats, d: Floats) -> Floats:
        found = [bank.colour_at(*part).detach().cpu().numpy() for part in parts(u, n, d)]
        return np.concatenate([np.zeros((0, 3), np.float32), *found])

    return SurfaceField(distance, gradient, colour)


def trace_bank(
    bank: Bank, occupancy: Cells, inside: Cells, rays_o: Floats, rays_d: Floats, cones: Floats
) -> tuple[Layers, Floats]:
    """What rays (n, 3) meet, by the shader's steps, and where it is: u (LAYERS, n, 3) in [0, 1].

    Args:
        occupancy, inside: the volumes of the asset.
    """
    field = bank_field(bank)
    low, size = bank.low.cpu().numpy(), bank.size.cpu().numpy()
    layers = sphere_tracing.trace_rays(
        *(field.distance, field.gradient, occupancy, low, size),
        *(rays_o, rays_d, cones, bank.cells, inside),
    )
    u = (rays_o - low) / size + layers.t[..., None] * (rays_d / size)
    return layers, np.clip(u, 0, 1).astype(np.float32)


@dataclass(frozen=True, eq=False)
class SurfaceHits:
    """What random training pixels show, layer by layer: (LAYERS, rays, ...), and their colours.

    Attributes:
        u, normal, d: place in [0, 1], unit normal, unit direction.
        weight: (LAYERS, rays) part of the pixel.
        colour, alpha: (rays, 3) and (rays, 1) of the pixel.
        behind: (rays, 3) what stands behind the surface: the background, or the backdrop of the volume.
    """

    u: Tensor
    normal: Tensor
    d: Tensor
    weight: Tensor
    colour: Tensor
    alpha: Tensor
    behind: Tensor

    @staticmethod
    @torch.no_grad()
    def find(
        bank: Bank, occupancy: Cells, inside: Cells, volume: VolumeTraining, generator: torch.Generator
    ) -> SurfaceHits:
        """Trace pixels of the training views, drawn with replacement."""
        found: list[tuple[Tensor, ...]] = []
        pixels = volume.pixels
        for index in pixels.pick(min(MOST_RAYS, pixels.count), generator).split(TRACED_AT_ONCE):
            rays_o, rays_d, colour, alpha = pixels.rays(index)
            cones = pixels.cones(index, rays_d)
            rays = (part.cpu().numpy() for part in (rays_o, rays_d, cones))
            layers, u = trace_bank(bank, occupancy, inside, *rays)
            met = [torch.from_numpy(part).to(rays_d) for part in (u, layers.normal, layers.weight)]
            behind = volume.background.expand(len(rays_d), 3)
            if volume.backdrop is not None:
                behind = volume.backdrop(rays_o, rays_d)
            found.append((met[0], met[1], rays_d, met[2], colour, alpha, behind))
        columns = list(zip(*found, strict=True))
        return SurfaceHits(
            *(torch.cat(columns[0], 1), torch.cat(columns[1], 1), torch.cat(columns[2])),
            *(torch.cat(columns[3], 1), *(torch.cat(column) for column in columns[4:])),
        )

    def loss(self, bank: Bank, count: int, generator: torch.Generator) -> Tensor:
        """Mean squared error of ``count`` random pixels, each process's own."""
        drawn = torch.randint(len(self.d), (processes.count() * count,), generator=generator)
        ray = processes.own(drawn).to(self.d.device)
        weight = self.weight[:, ray]  # (LAYERS, count)
        layer, which = torch.nonzero(weight, as_tuple=True)
        at = ray[which]
        rgb = bank.colour_at(self.u[layer, at], self.normal[layer, at], self.d[at])
        alpha, behind = self.alpha[ray], self.behind[ray]
        picture = (1 - weight.sum(0))[:, None] * behind
        picture = picture.index_add(0, which, weight[layer, which, None] * rgb)
        return (picture - self.colour[ray] * alpha - (1 - alpha) * behind).square().mean()
