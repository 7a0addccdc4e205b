"""Volume rendering of a signed distance field against posed pictures."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional

from render.camera import Camera
from render.contraction import FAR, SIDE
from scenes import PosedImages
from training import processes
from training.checkpoint import prefixed, without_prefix
from training.contraction import section
from training.kernels import Kernels, Samples
from training.occupancy import Occupancy
from training.rays import PixelRays, camera_rays
from training.surface.backdrop import Backdrop
from training.surface.neus import frontal_thickness, optical_thickness

STOP = 1e-3  # transmittance at which a ray ends
OCCUPANCY_EVERY = 50  # steps
EVALUATION_RAYS = 1 << 13
SEEN_THICKNESS, FAINT = 6.0, 1e-4  # samples behind this much, and thinner than that, change no pixel
DEEP = 3.0  # spreads of the surface; it lets a twentieth through
PEAK_OF_SECTION = 0.25  # the largest weight of a section of length delta is s * delta times this, or 1


class Sections(NamedTuple):
    """A field at n samples.

    Attributes:
        f, gradient: signed distance (n,) and its world gradient (n, 3).
        rgb: display colour (n, 3).
        s: sharpness, () or (n,), per world unit.
        penalty: () what the field adds to the loss by itself.
    """

    f: Tensor
    gradient: Tensor
    rgb: Tensor
    s: Tensor
    penalty: Tensor


Field = Callable[[Tensor, Tensor], Sections]
"""(u (n, 3) in [0, 1], d (n, 3)) -> Sections."""

Surface = Callable[[Tensor], tuple[Tensor, Tensor]]
"""u (n, 3) in [0, 1] -> f (n,) and s, () or (n,)."""


@dataclass(frozen=True)
class Weights:
    """What a step's loss is made of besides the absolute difference of colours, summed over channels.

    Attributes:
        eikonal: of (|grad f| - 1)^2 (NeuS, eq. 7).
        mask: of the cross entropy of coverage, where pictures have alpha.
        clear: of ``passed_inside``, in units of 1 / s.
    """

    eikonal: float
    mask: float
    clear: float = 0.0


class VolumeTraining:
    """Batches of pixels, the cells that rays are sampled in, and the loss of a field on them.

    Args:
        allowed: cells (x, y, z) of the box that samples may lie in.
        steps: samples along the diagonal of the box.
        backdrop: what stands behind the box, for pictures without alpha.
        contracted: whether the box is that of ``training/contraction.py``; steps then span twice its side.
        samples_per_step: size of a batch.
    """

    def __init__(
        self,
        dataset: PosedImages,
        kernels: Kernels,
        device: str,
        allowed: NDArray[np.bool_],
        steps: int,
        samples_per_step: int,
        backdrop: Backdrop | None,
        contracted: bool = False,
    ) -> None:
        self.kernels, self.device = kernels, device
        self.pixels = PixelRays(dataset, device)
        self.occupancy = Occupancy(allowed).to(device)
        self.bounds = torch.from_numpy(np.asarray(dataset.bounds, np.float32)).to(device)
        self.background = torch.from_numpy(np.asarray(dataset.background, np.float32)).to(device)
        self.contracted = contracted
        self.step_size = (2 * SIDE if contracted else 2.0) / steps  # the diagonal of the box is 2
        self.samples_per_step, self.backdrop = samples_per_step, backdrop
        self.rays_per_step, self.steps_done = samples_per_step // 64, 0

    def march(self, rays_o: Tensor, rays_d: Tensor, jitter: Tensor) -> Samples:
        leaps, step = self.occupancy.leaps, self.step_size
        if self.contracted:
            return self.kernels.march_contracted(rays_o, rays_d, 0.0, FAR, leaps, step, jitter)
        return self.kernels.march(rays_o, rays_d, self.bounds, leaps, step, jitter)

    def loss(
        self,
        field: Field,
        surface: Surface,
        anneal: float,
        weights: Weights,
        generator: torch.Generator,
    ) -> tuple[Tensor, dict[str, float]]:
        """The loss on a random batch, and what the log shows."""
        rays_o, rays_d, colour, alpha = self.pixels.draw(self.rays_per_step, generator)
        jitter = torch.rand(len(rays_o), generator=generator).to(self.device)
        marched = self.march(rays_o, rays_d, jitter)
        with torch.no_grad():
            samples = visible(marched, *surface(marched.x), self.step_size)
        rgb, left, compositing, at = self.render(field, samples, rays_o, rays_d, anneal)
        if self.backdrop is None:  # random, lest fog of the background's colour be learnt
            background = torch.rand(len(rays_o), 3, generator=generator).to(self.device)
        else:
            background = self.backdrop(rays_o, rays_d)
        difference = rgb + left[:, None] * background - (colour * alpha + (1 - alpha) * background)
        eikonal = (at.gradient.norm(dim=-1) - 1).square().mean() if len(samples.t) else left.new_zeros(())
        loss = difference.abs().sum(-1).mean() + weights.eikonal * eikonal + at.penalty
        s = at.s.detach()
        if weights.clear > 0:
            loss = loss + weights.clear * passed_inside(s * at.f, compositing, samples)
        if self.backdrop is None and weights.mask > 0:
            covered = (1 - left).clamp(1e-3, 1 - 1e-3)
            loss = loss + weights.mask * functional.binary_cross_entropy(covered, alpha[:, 0])
        # A soft surface gives little weight to every cell: what counts is how it compares with the most.
        most = (PEAK_OF_SECTION * s * self.step_size).clamp(max=1)
        self.occupancy.note(samples, compositing / most)
        self.steps_done += 1
        cost = processes.mean(len(samples.t) + len(marched.t) / 8)
        wanted = self.rays_per_step * self.samples_per_step / max(cost, 1)
        self.rays_per_step = min(max(round(0.9 * self.rays_per_step + 0.1 * wanted), 64), 1 << 16)
        psnr = -10 * math.log10(max(difference.detach().square().mean().item(), 1e-12))
        sharpness = s.mean().item() if s.numel() else 0.0
        shown = {"psnr": psnr, "eikonal": eikonal.item(), "sharpness": sharpness, "rays": float(len(rays_o))}
        return loss, shown

    def render(
        self, field: Field, samples: Samples, rays_o: Tensor, rays_d: Tensor, anneal: float
    ) -> tuple[Tensor, Tensor, Tensor, Sections]:
        """Premultiplied colour (rays, 3) and transmittance (rays,); of samples, weights and the field."""
        d = rays_d[samples.ray_ids]
        at = field(samples.x, d)
        if self.contracted:  # it is seen along d, but passed along the bent ray
            d = section(rays_o[samples.ray_ids], d, samples.t, 1.0)
        optical = optical_thickness(at.f, (at.gradient * d).sum(-1), self.step_size, at.s, anneal)
        colour, left, weights = self.kernels.composite(optical, at.rgb, samples.offsets, STOP)
        return colour, left, weights, at

    @torch.no_grad()
    def weights(
        self, field: Field, surface: Surface, rays_o: Tensor, rays_d: Tensor
    ) -> tuple[Samples, Tensor]:
        """The samples of rays (rays, 3) that are seen, and their compositing weights (n,)."""
        marched = self.march(rays_o, rays_d, torch.full((len(rays_o),), 0.5, device=self.device))
        samples = visible(marched, *surface(marched.x), self.step_size)
        return samples, self.render(field, samples, rays_o, rays_d, 1.0)[2]

    def look_again(self, surface: Surface, generator: torch.Generator) -> None:
        """Every ``OCCUPANCY_EVERY`` steps: keep the cells that are dense and seen."""
        if self.steps_done % OCCUPANCY_EVERY == 0:
            with torch.no_grad():
                self.occupancy.update(lambda u: self.frontal_thickness(surface, u), generator)

    def frontal_thickness(self, surface: Surface, u: Tensor) -> Tensor:
        """Of a section at u (n, 3) that meets the surface head on (n,)."""
        f, s = surface(u)
        return frontal_thickness(f, self.step_size, s)

    @torch.no_grad()
    def draw(self, field: Field, camera: Camera) -> NDArray[np.float32]:
        """The field volume-rendered, (h, w, 4): colour on the background, and coverage."""
        rays_o, rays_d = camera_rays(camera, self.device)
        rows = []
        for o, d in zip(rays_o.split(EVALUATION_RAYS), rays_d.split(EVALUATION_RAYS), strict=True):
            samples = self.march(o, d, torch.full((len(o),), 0.5, device=self.device))
            rgb, left, *_ = self.render(field, samples, o, d, 1.0)
            rows.append(torch.cat([rgb + left[:, None] * self.background, 1 - left[:, None]], -1))
        return np.asarray(torch.cat(rows).cpu().numpy().reshape(camera.h, camera.w, 4))

    def state(self) -> dict[str, Tensor]:
        counters = torch.tensor([self.rays_per_step, self.steps_done])
        return {**prefixed("occupancy.", self.occupancy.state_dict()), "counters": counters}

    def load_state(self, state: Mapping[str, Tensor]) -> None:
        self.occupancy.load_state_dict(without_prefix("occupancy.", state))
        self.rays_per_step, self.steps_done = (int(value) for value in state["counters"])


def passed_inside(f: Tensor, weights: Tensor, samples: Samples) -> Tensor:
    """How far below -DEEP f (n,) is where light goes on, summed along rays, mean of rays.

    NeuS shows nothing of a surface that a ray only leaves, a tracer does: there must be none (our choice).
    Behind a surface that a ray enters hardly any light is left so deep.

    Args:
        f: in units of the spread of the surface, s times the distance.
    """
    after = functional.pad(weights.detach().double().cumsum(0), (1, 0))
    left = 1 - (after[1:] - after[samples.offsets[:-1]][samples.ray_ids])
    return (left.float() * functional.relu(-DEEP - f)).sum() / max(len(samples.offsets) - 1, 1)


@torch.no_grad()
def visible(samples: Samples, f: Tensor, s: Tensor, step: float) -> Samples:
    """The samples with distances f (n,) and sharpness s, () or (n,), that a ray can see and that can hide
    something behind them.

    What light is left comes from neighbouring samples (NeuS, eq. 13), so one evaluation each is enough.
    """
    ends = functional.logsigmoid(s * f)
    # In front of the sample before, since a section begins half a step in front of its own.
    before = torch.zeros(len(f), dtype=torch.float64, device=f.device)
    before[2:] = functional.relu(ends[:-1] - ends[1:])[:-1].double().cumsum(0)
    starts = samples.offsets[:-1].add(1).clamp(max=max(len(f) - 1, 0))
    before -= before[starts][samples.ray_ids]
    keep = (before < SEEN_THICKNESS) & (frontal_thickness(f, step, s) > FAINT)
    counts = torch.zeros(len(f) + 1, dtype=torch.int64, device=f.device)
    counts[1:] = keep.cumsum(0)
    return Samples(samples.x[keep], samples.t[keep], counts[samples.offsets])
