"""The inner loops of training, behind one interface with several implementations.

``reference`` is plain torch, slow and readable: it runs on any device and the others are tested against it.
``cpu`` is numba, parallel and deterministic, with hand-written backward passes. ``cuda`` is the
reference, and in its place nerfacc and tiny-cuda-nn where they are installed.

Rays are packed: the samples of ray ``r`` are rows ``offsets[r]`` to ``offsets[r + 1]`` of every sample array.
The rows of the networks of a bank likewise.
"""

from __future__ import annotations

import importlib
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Protocol, cast

import torch
from torch import Tensor

from render.grid import GridSpec
from render.network import NetworkSpec


@dataclass(frozen=True, eq=False)
class Samples:
    """Occupied lattice points along rays.

    Attributes:
        x: (samples, 3) float32 position in the scene box, each side mapped to [0, 1].
        t: (samples,) float32 distance along the ray, world units.
        offsets: (rays + 1,) int64.
    """

    x: Tensor
    t: Tensor
    offsets: Tensor

    @property
    def ray_ids(self) -> Tensor:
        """(samples,) int64, the ray that each sample belongs to."""
        counts = self.offsets[1:] - self.offsets[:-1]
        return torch.repeat_interleave(torch.arange(len(counts), device=counts.device), counts)


class Kernels(Protocol):
    """What a module of this package offers. All arrays are float32 unless said otherwise."""

    NAME: str

    def grid_encode(self, spec: GridSpec, table: Tensor, x: Tensor) -> Tensor:
        """Features (n, levels * features) at x (n, dimension); differentiable by ``table`` alone."""

    def gaussian_kernels(
        self, x: Tensor, weight: Tensor, bias: Tensor, normalise: bool, gain: float, linear: bool
    ) -> Tensor:
        """Kernel activations gain * exp2(z), z = [x, x * x] weight^T + bias, of features x (n, F) -> (n, N).

        weight (N, 2F), bias (N,): the folded form of squared distances (Bouzidi et al. 2025), so z is never
        positive but for rounding. ``normalise`` divides exp2(z) by its sum over the kernels; ``linear``
        appends x -> (n, N + F). Differentiable by the three arrays.
        """

    def per_ray_linear(self, h: Tensor, rows: Tensor, offsets: Tensor) -> Tensor:
        """y[i, c] = rows[r, c, 0] + rows[r, c, 1:] . h[i] for every sample i of ray r -> (samples, C).

        h (samples, H), rows (rays, C, 1 + H). Differentiable by both.
        """

    def march(
        self, rays_o: Tensor, rays_d: Tensor, bounds: Tensor, leaps: Tensor, step: float, jitter: Tensor
    ) -> Samples:
        """The sampler of the ``march`` driver in a box: points t0 + (k + jitter) * step in occupied cells.

        rays_o, rays_d (rays, 3); bounds (2, 3); leaps (R, R, R) uint8 from ``render.occupancy.leaps``;
        jitter (rays,) in [0, 1), 0.5 is what the shader does.
        """

    def march_contracted(
        self,
        rays_o: Tensor,
        rays_d: Tensor,
        near: float,
        far: float,
        leaps: Tensor,
        step: float,
        jitter: Tensor,
    ) -> Samples:
        """``march`` through all of space, from t = ``near`` to ``far``, for the same driver.

        Points are s0 + (k + jitter) * step on the lattice of ``render/contraction.py``, s0 being the place of
        ``near``, where their cell of the contracted box is occupied: [-2, 2]^3, which Samples.x is in.
        Origins and Samples.t are in units of the ball that is not contracted.
        """

    def composite(
        self, optical: Tensor, values: Tensor, offsets: Tensor, stop: float
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Front-to-back compositing of samples with optical thickness sigma * step (samples,).

        Returns the weighted sums of ``values`` (samples, C) -> (rays, C), the transmittance left (rays,), and
        the weights (samples,); a ray ends after the sample that brings its transmittance below ``stop``.
        Differentiable by ``optical`` and ``values`` through the first two. Source: Max 1995, eq. 9 and 10.
        """

    def by_network(self, ids: Tensor, count: int) -> tuple[Tensor, Tensor]:
        """How to sort rows by network: order (n,) int64, in which rows of equal ``ids`` (n,) int64 keep
        theirs, and offsets (count + 1,) int64 of the sorted rows.

        Raises:
            ValueError: an id is not in 0 .. count - 1.
        """

    def networks(
        self, spec: NetworkSpec, parameters: Mapping[str, Tensor], x: Tensor, offsets: Tensor
    ) -> Tensor:
        """Outputs (n, out) of stage 0, x (n, spec.widths[0]): rows offsets[k] to offsets[k + 1] go through
        network k; offsets (count + 1,) int64 from 0 to n. Differentiable by x and the parameters.

        ``training.modules.stage_0`` makes x; parameters as ``NetworkSpec.parameter_shapes`` has them.
        """

    def networks_jacobian(
        self, spec: NetworkSpec, parameters: Mapping[str, Tensor], x: Tensor, offsets: Tensor
    ) -> tuple[Tensor, Tensor]:
        """``networks``, and the derivative (n, out, in) by stage 0, which is the raw input where all slots
        are identity-encoded. Differentiable by x and the parameters through both.
        """


def select(device: str) -> Kernels:
    """The fastest implementation for a torch device: numba on a ``cpu``, on ``cuda`` what is installed there,
    on any other the reference."""
    name = device if device in ("cpu", "cuda") else "reference"
    return cast(Kernels, importlib.import_module(f"training.kernels.{name}"))


def fallbacks(device: str) -> list[str]:
    """A line for everything that could be faster on a device, if it were installed."""
    if device != "cuda":
        return []
    libraries = importlib.import_module("training.kernels.cuda.libraries")
    return [
        f"{library}: torch takes its place"
        for library in (libraries.NERFACC, libraries.TINYCUDANN)
        if not library.found
    ]
