"""The trainable twin of ``render.light_field_rays.Gather``: features of a grid, summed front to back."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

from render.asset import BakedGrid, BakedNetwork
from render.grid import GridSpec
from render.light_field_rays import REACH
from render.network import Linear, NetworkSpec, Slot
from training.kernels import Kernels
from training.modules import Grid

FEATURE_GAIN = 10.0  # features are this times the table: the trunk must move less than the grid
DENSITY_GAIN = 4.0  # the raw density is this times the layer
LOG_DENSITY = -6.0  # raw density at zero: the first rays see through all of their points


class GatherFeatures(nn.Module):
    """Points along rays -> what the trunk takes of them."""

    grid: Grid

    def __init__(self, spec: GridSpec, kernels: Kernels, generator: torch.Generator) -> None:
        super().__init__()
        self.grid = Grid(spec, kernels, generator)
        self.weight = nn.Parameter(torch.zeros(1, spec.output_width))
        self.bias = nn.Parameter(torch.full((1,), LOG_DENSITY / DENSITY_GAIN))
        with torch.no_grad():
            reach = spec.output_width**-0.5
            self.weight.uniform_(-reach, reach, generator=generator)

    def forward(self, points: Tensor) -> Tensor:
        """(..., 3 K) -> (..., F + 5), as ``render.light_field_rays.Gather.evaluate``."""
        x = points.reshape(*points.shape[:-1], -1, 3)
        place = ((x + REACH) / (2 * REACH)).clamp(0, 1).reshape(-1, 3).contiguous()
        features = FEATURE_GAIN * self.grid(place).view(*x.shape[:-1], -1)  # (..., K, F)
        z = DENSITY_GAIN * functional.linear(features, self.weight, self.bias)[..., 0]
        thickness = functional.softplus(z)
        total = thickness.cumsum(-1)
        weights = torch.exp(thickness - total) - torch.exp(-total)  # (..., K)
        along = functional.normalize(x[..., -1, :] - x[..., 0, :], dim=-1)
        depths = torch.linspace(-1, 1, x.shape[-2], device=x.device)
        summed = (weights[..., None, :] @ features)[..., 0, :]  # (..., F)
        opacity, depth = weights.sum(-1, keepdim=True), (weights * depths).sum(-1, keepdim=True)
        return torch.cat([summed, opacity, along, depth], -1)

    def baked(self, precision: str) -> tuple[BakedGrid, BakedNetwork]:
        """The grid ``features`` and the network ``density``, gains absorbed."""
        old = self.grid.spec
        spec = GridSpec(
            old.dimension,
            old.levels,
            old.features,
            old.base_resolution,
            old.growth,
            old.log2_table_size,
            precision,
        )
        table = (FEATURE_GAIN * self.grid.table).detach().cpu().numpy()
        density = NetworkSpec((Slot("features", old.output_width),), (Linear(1),), precision=precision)
        parameters = {
            "0.weight": (DENSITY_GAIN * self.weight).detach().cpu().numpy()[None],
            "0.bias": (DENSITY_GAIN * self.bias).detach().cpu().numpy()[None],
        }
        return BakedGrid(spec, table), BakedNetwork(density, parameters)
