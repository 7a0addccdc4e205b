"""Training and drawing within the shell: few samples a ray, at the places where the shader has them.

Source: Wang et al. 2023, sections 3.4 and 3.5 (the second stage: colours alone are compared).
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from render.asset import BakedMesh
from render.errors import require
from render.intervals import Intervals, Samples, contracted_widths, in_box, intervals_from_hits, samples_of
from training import processes
from training.families.adaptive_shells.field import ShellField
from training.rays import PixelRays
from training.surface.neus import optical_thickness

MOST_PIXELS = 1 << 23  # that are traced: in the time there is, more would hardly be seen twice
RAYS_AT_ONCE = 1 << 18
AGAIN = 1e-5  # times t, or 1: so far behind a hit the search for the next one begins
OPAQUE = 50.0  # optical thickness of a sample that takes all the light that is left

Floats = NDArray[np.float32]


@dataclass(frozen=True)
class Sampler:
    """How intervals are sampled; the constants of the asset.

    Attributes:
        single_width: world units; a thinner interval gets one sample.
        spacing: world units a further sample.
        max_samples: of an interval.
        stop: transmittance at which a ray ends.
        contracted: whether widths are contracted ones.
    """

    single_width: float
    spacing: float
    max_samples: int
    stop: float
    contracted: bool = False

    def samples(self, intervals: Intervals, rays_o: Tensor, rays_d: Tensor) -> Samples:
        """Of the intervals of rays (rays, 3)."""
        widths = None
        if self.contracted:
            widths = contracted_widths(intervals, rays_o.cpu().numpy(), rays_d.cpu().numpy())
        return samples_of(intervals, self.single_width, self.spacing, self.max_samples, widths)


class Shell:
    """Both meshes, to be hit by rays.

    Raises:
        InshaderError: no Embree.
    """

    def __init__(self, outer: BakedMesh, inner: BakedMesh) -> None:
        require("embreex", "train")
        from embreex.mesh_construction import TriangleMesh
        from embreex.rtcore_scene import EmbreeScene

        self.outer, self.inner = EmbreeScene(), EmbreeScene() if len(inner.faces) else None
        TriangleMesh(self.outer, np.ascontiguousarray(outer.vertices[outer.faces], np.float32))
        if self.inner is not None:
            TriangleMesh(self.inner, np.ascontiguousarray(inner.vertices[inner.faces], np.float32))
        self.vertices = outer.vertices
        corners = outer.vertices[outer.faces]
        self.normals = np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0])

    def intervals(self, rays_o: Floats, rays_d: Floats) -> Intervals:
        """Intervals of rays (n, 3), found by searching on behind each hit, however many there are."""
        count = len(rays_o)
        solid = np.full(count, np.inf, np.float32)
        if self.inner is not None:
            found = self.inner.run(rays_o, rays_d, output=1)
            solid = np.where(found["primID"] >= 0, found["tfar"], np.inf).astype(np.float32)
        active, reached = np.arange(count), np.zeros(count, np.float32)
        rays, ts, entering = [], [], []
        while len(active):
            start = rays_o[active] + reached[active, None] * rays_d[active]
            found = self.outer.run(np.ascontiguousarray(start), rays_d[active], output=1)
            hit = found["primID"] >= 0
            active, face = active[hit], found["primID"][hit]
            t = reached[active] + found["tfar"][hit]
            rays.append(active)
            ts.append(t)
            entering.append((self.normals[face] * rays_d[active]).sum(-1) < 0)
            reached[active] = t + AGAIN * np.maximum(t, 1)
            active = active[t < solid[active]]
        ray, t, enters = (
            np.concatenate([np.zeros(0, kind), *parts])
            for kind, parts in ((np.int64, rays), (np.float32, ts), (bool, entering))
        )
        order = np.argsort(ray, kind="stable")
        offsets = np.concatenate([[0], np.cumsum(np.bincount(ray, minlength=count))])
        within = in_box(self.vertices, rays_o)
        return intervals_from_hits(offsets, t[order], enters[order], solid, may_begin_within=within)


@dataclass(frozen=True, eq=False)
class BandPixels:
    """Training pixels that meet the shell.

    Attributes:
        index: (n,) of ``PixelRays``.
        intervals: of their rays.
    """

    index: Tensor
    intervals: Intervals

    @staticmethod
    def find(shell: Shell, pixels: PixelRays, generator: torch.Generator) -> BandPixels:
        """All of them, looked for once; of more than MOST_PIXELS so many are drawn, with replacement."""
        if pixels.count > MOST_PIXELS:
            every = pixels.pick(MOST_PIXELS, generator)
        else:
            every = torch.arange(pixels.count) if pixels.wanted is None else pixels.wanted
        kept, found = [], []
        for index in every.split(RAYS_AT_ONCE):
            rays_o, rays_d, *_ = pixels.rays(index)
            part = shell.intervals(rays_o.cpu().numpy(), rays_d.cpu().numpy())
            hit = np.diff(part.offsets) > 0
            kept.append(index[torch.from_numpy(hit)])
            found.append(
                (np.diff(part.offsets)[hit], part.t_starts, part.t_ends, part.closed, part.broken[hit])
            )
        counts, starts, ends, closed, broken = (np.concatenate(column) for column in zip(*found, strict=True))
        offsets = np.concatenate([[0], np.cumsum(counts)])
        return BandPixels(torch.cat(kept), Intervals(offsets, starts, ends, closed, broken))

    def draw(self, count: int, generator: torch.Generator) -> tuple[Tensor, Intervals]:
        """Random ones, each process's own, and their intervals."""
        drawn = torch.randint(len(self.index), (processes.count() * count,), generator=generator)
        which = processes.own(drawn)
        return self.index[which], take(self.intervals, which.numpy())


def take(intervals: Intervals, rays: NDArray[np.int64]) -> Intervals:
    """Those of some of the rays."""
    first, counts = intervals.offsets[rays], np.diff(intervals.offsets)[rays]
    offsets = np.concatenate([[0], np.cumsum(counts)])
    rows = np.repeat(first - offsets[:-1], counts) + np.arange(offsets[-1])
    starts, ends, closed = (part[rows] for part in (intervals.t_starts, intervals.t_ends, intervals.closed))
    return Intervals(offsets, starts, ends, closed, intervals.broken[rays])


def render(
    field: ShellField, rays_o: Tensor, rays_d: Tensor, samples: Samples, stop: float
) -> tuple[Tensor, Tensor]:
    """Premultiplied colour (rays, 3) and transmittance (rays,) of rays (rays, 3)."""
    offsets = torch.from_numpy(samples.offsets).to(rays_o.device)
    t, delta = (torch.from_numpy(part).to(rays_o) for part in (samples.t, samples.delta))
    ray = torch.repeat_interleave(offsets.diff())
    d = rays_d[ray]
    u = ((field.place(rays_o[ray], d, t) - field.low) / field.size).clamp(0, 1)
    f, normal, kappa, rgb = field.narrow(u, d)
    ends = (field.place(rays_o[ray], d, t + side * 0.5 * delta) for side in (-1, 1))
    section = torch.sub(*reversed(list(ends))) if field.contracted else delta[:, None] * d
    optical = optical_thickness(f, (normal * section).sum(-1), 1.0, kappa, 1.0)
    closed = torch.from_numpy(samples.closed).to(rays_o.device)
    optical = torch.where(closed, torch.full_like(optical, OPAQUE), optical)
    rgb, left, _ = field.kernels.composite(optical, rgb, offsets, stop)
    return rgb, left


def band_loss(
    field: ShellField,
    pixels: PixelRays,
    band: BandPixels,
    sampler: Sampler,
    background: Tensor | None,
    count: int,
    generator: torch.Generator,
) -> tuple[Tensor, float, int]:
    """The loss on random pixels: mean squared difference of colours; its dB; how many samples it took.

    Args:
        background: (3,) behind the shell; None: random colours, where pictures have alpha.
    """
    index, intervals = band.draw(count, generator)
    rays_o, rays_d, colour, alpha = pixels.rays(index)
    samples = sampler.samples(intervals, rays_o, rays_d)
    rgb, left = render(field, rays_o, rays_d, samples, sampler.stop)
    if background is None:
        background = torch.rand(count, 3, generator=generator).to(rgb)
    loss = (rgb + left[:, None] * background - colour * alpha - (1 - alpha) * background).square().mean()
    return loss, -10 * math.log10(max(loss.item(), 1e-12)), len(samples.t)
