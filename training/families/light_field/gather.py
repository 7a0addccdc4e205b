"""The trainable twin of ``render.light_field_gather.Gather``: features of a grid, summed along rays.

Where there is something is not learnt here: cells are the teacher's, a visual hull's, or all that is seen.
"""

from __future__ import annotations

import math

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional

from render.asset import BakedGrid, BakedNetwork
from render.grid import GridSpec
from render.light_field_gather import MAX_LOG_DENSITY
from render.network import Linear, NetworkSpec, Slot
from render.occupancy import leaps
from training.kernels import Kernels
from training.modules import Grid
from training.occupancy import LEAP_CAP
from training.space import Space

FEATURE_GAIN = 10.0  # features are this times the table: the trunk must move less than the grid
DENSITY_GAIN = 4.0  # the raw density is this times the layer
THICKNESS = 4.0  # of a whole ray through occupied cells, at the start; it is learnt from what is seen
STOP = 1e-3  # transmittance at which a ray ends


class GatherFeatures(nn.Module):
    """Rays -> what the trunk takes of them.

    Attributes:
        cells: (x, y, z) in which samples count.
        step_size: between samples, in units of the space.
    """

    grid: Grid
    leaps: Tensor

    def __init__(
        self, spec: GridSpec, space: Space, steps: int, kernels: Kernels, generator: torch.Generator
    ) -> None:
        super().__init__()
        self.grid = Grid(spec, kernels, generator)
        self.kernels, self.space, self.step_size = kernels, space, space.length / steps
        self.weight = nn.Parameter(torch.zeros(1, spec.output_width))
        self.bias = nn.Parameter(torch.full((1,), math.log(THICKNESS / space.length) / DENSITY_GAIN))
        with torch.no_grad():
            reach = spec.output_width**-0.5
            self.weight.uniform_(-reach, reach, generator=generator)
        self.register_buffer("leaps", torch.from_numpy(leaps(space.cells, LEAP_CAP)))

    @property
    def cells(self) -> NDArray[np.bool_]:
        return (self.leaps == 0).cpu().numpy()

    def occupy(self, cells: NDArray[np.bool_]) -> None:
        """Samples count in these cells from now on; as many as before."""
        self.leaps.copy_(torch.from_numpy(leaps(cells, LEAP_CAP)))

    def forward(self, rays: Tensor) -> Tensor:
        """(..., 7) origin, unit direction, where in its step the first sample lies -> (..., F + 4), as
        ``render.light_field_gather.Gather.evaluate``."""
        flat = rays.reshape(-1, 7)
        rays_o, rays_d, jitter = (part.contiguous() for part in flat.split((3, 3, 1), -1))
        samples = self.space.march(
            self.kernels, rays_o, rays_d, self.leaps, self.step_size, jitter.reshape(-1)
        )
        features = FEATURE_GAIN * self.grid(samples.x)
        s = DENSITY_GAIN * functional.linear(features, self.weight, self.bias)[:, 0]
        optical = s.clamp(max=MAX_LOG_DENSITY).exp() * self.step_size
        summed, left, _ = self.kernels.composite(optical, features, samples.offsets, STOP)
        return torch.cat([summed, 1 - left[:, None], rays_d], -1).view(*rays.shape[:-1], -1)

    def baked(self, precision: str) -> tuple[BakedGrid, BakedNetwork]:
        """The grid ``features`` and the network ``density``, gains absorbed."""
        spec = GridSpec(**{**self.grid.spec.to_json(), "precision": precision})
        table = (FEATURE_GAIN * self.grid.table).detach().cpu().numpy()
        density = NetworkSpec((Slot("features", spec.output_width),), (Linear(1),), precision=precision)
        parameters = {
            "0.weight": (DENSITY_GAIN * self.weight).detach().cpu().numpy()[None],
            "0.bias": (DENSITY_GAIN * self.bias).detach().cpu().numpy()[None],
        }
        return BakedGrid(spec, table), BakedNetwork(density, parameters)

    @property
    def constants(self) -> dict[str, int | float | tuple[float, ...]]:
        """Of the asset."""
        return {**self.space.constants, "step_size": self.step_size, "stop": STOP}
