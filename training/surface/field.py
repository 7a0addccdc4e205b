"""A signed distance field on a grid of features: what neural surfaces are made of here."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Literal, Self

import numpy as np
import torch
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field, model_validator
from torch import Tensor, nn

from render.asset import BakedGrid
from render.network import Linear, NetworkSpec, Slot
from training.kernels import Kernels
from training.modules import Grid, Network, check_resolutions, grid_between, stage_0
from training.surface.neus import gradient_of_taps, taps

# What the distance sees of a feature: an entry may then learn colour fast without shaking the surface.
CALM = 0.1
DECODER_RATE = 0.2  # of the grid's learning rate


class SurfaceConfig(BaseModel):
    """Options of a field with a surface and of its training."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)

    neurons: int = Field(32, ge=8, le=128, description="of hidden layers of the field on the grid")
    levels: int = Field(8, ge=1, le=16, description="resolutions of the grid")
    features: Literal[1, 2, 4, 8] = Field(2, description="values per grid entry")
    base_resolution: int = Field(16, ge=2, le=512, description="coarsest level, cells a side of the box")
    finest_resolution: int = Field(256, ge=2, le=8192, description="finest level")
    log2_table_size: int = Field(17, ge=8, le=22, description="a level has at most 2^this entries")
    harmonics: int = Field(3, ge=0, le=3, description="degree of the spherical harmonics of colour")
    occupancy_resolution: int = Field(96, ge=8, le=512, description="cells a side of the box")
    steps: int = Field(384, ge=16, le=4096, description="samples along the diagonal of the box")
    samples_per_step: int = Field(1 << 14, ge=256, le=1 << 22, description="size of a training batch")
    learning_rate: float = Field(2e-2, gt=0, le=1, description="of the grid")
    eikonal: float = Field(0.1, ge=0, le=10, description="weight of the eikonal loss")
    bend: float = Field(0.3, ge=0, le=100, description="weight of the surface's roughness")
    mask: float = Field(0.1, ge=0, le=10, description="weight of the mask loss, where pictures have alpha")
    sharpness: float = Field(150.0, ge=1, le=1e4, description="s at the start, per world unit")
    final_sharpness: float = Field(800.0, ge=1, le=1e5, description="that s is raised to, per world unit")
    sharp_until: float = Field(0.7, gt=0, le=1, description="progress at which it is")
    radius: float = Field(0.4, gt=0, lt=1, description="of the ball that the field starts as, world units")
    open_until: float = Field(0.5, ge=0, le=1, description="progress at which all levels are open")
    anneal_until: float = Field(0.2, ge=0, le=1, description="progress at which slopes count as they are")
    precision: Literal["float32", "float16"] = Field("float16", description="storage of the asset")

    @model_validator(mode="after")
    def _has_a_grid(self) -> Self:
        check_resolutions(self.levels, self.base_resolution, self.finest_resolution)
        return self


class SurfaceField(nn.Module):
    """Values at points in the box, the first of them the signed distance f, and colours: grid, two decoders.

    Args:
        outputs: values of the decoder.
        seen: the slot that a colour is made of, beside ``normal`` and ``direction``.
    """

    mask: Tensor
    low: Tensor
    size: Tensor

    def __init__(
        self,
        config: SurfaceConfig,
        bounds: NDArray[np.float32],
        kernels: Kernels,
        generator: torch.Generator,
        outputs: int,
        seen: str,
    ) -> None:
        super().__init__()
        self.config, self.kernels = config, kernels
        resolutions = config.base_resolution, config.finest_resolution
        spec = grid_between(*resolutions, 3, config.levels, config.features, config.log2_table_size)
        self.grid = Grid(spec, kernels, generator)
        features, position = Slot("features", spec.output_width), Slot("position", 3)
        hidden = Linear(config.neurons, activation="relu")
        self.decoder = Network(NetworkSpec((features, position), (hidden, Linear(outputs))), generator)
        direction = Slot("direction", 3, "spherical_harmonics", config.harmonics)
        layers = (hidden, hidden, Linear(3, activation="sigmoid"))
        slots = Slot(seen, spec.output_width), Slot("normal", 3), direction
        self.colour = Network(NetworkSpec(slots, layers), generator)
        self.register_buffer("mask", torch.ones(spec.output_width))
        self.register_buffer("low", torch.from_numpy(bounds[0].copy()))
        self.register_buffer("size", torch.from_numpy(bounds[1] - bounds[0]))
        self.reach = 0.0  # of finite differences, world units
        self.open(config.levels)
        start_as_ball(self.decoder, spec.output_width, config.radius)

    def open(self, levels: float) -> None:
        """Use this many levels, the last one faded in by its fraction; differences reach half its cell."""
        spec = self.grid.spec
        opened = torch.arange(spec.levels, dtype=torch.float32)
        self.mask.copy_((levels - opened).clamp(0, 1).repeat_interleave(spec.features))
        finest = spec.level_list[min(max(math.ceil(levels), 1), spec.levels) - 1]
        self.reach = 0.5 * float(self.size.min()) / finest.resolution

    def encoded(self, u: Tensor) -> Tensor:
        """(n, F) features of the open levels at u (n, 3)."""
        return self.grid(u) * self.mask

    def decoded(self, features: Tensor, u: Tensor) -> Tensor:
        """Values (n, outputs) of features at u."""
        return self.run(self.decoder, torch.cat([CALM * features, self.low + u * self.size], -1))

    def colours(self, features: Tensor, normal: Tensor, d: Tensor) -> Tensor:
        """Display colours (n, 3) for features (n, F), unit normals and unit directions (n, 3)."""
        return self.run(self.colour, stage_0(self.colour.spec, features, normal, d))

    def run(self, network: Network, x: Tensor) -> Tensor:
        """A network on its stage 0 by the kernels."""
        offsets = torch.tensor([0, len(x)], device=x.device)
        return self.kernels.networks(network.spec, network.parameters_by_name(), x, offsets)

    def values(self, u: Tensor) -> Tensor:
        """(n, outputs) at u (n, 3) in [0, 1]."""
        return self.decoded(self.encoded(u), u)

    def distance(self, u: Tensor) -> Tensor:
        """World distances (n,) at u (n, 3) in [0, 1]."""
        return self.values(u)[:, 0]

    def differences(self, u: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """At u (n, 3): values (n, 5, outputs) there and at the four ``taps`` around, the world gradient of f
        (n, 3), how much f bends (n,): by how much it differs from its mean around, a unit of how far around;
        features (n, F)."""
        points = taps(u, self.reach, self.size).reshape(-1, 3)
        features = self.encoded(points)
        y = self.decoded(features, points)
        y = y.view(len(u), 5, y.shape[-1])
        f = y[..., 0]
        bend = (f[:, 1:].mean(-1) - f[:, 0]) / self.reach
        return y, gradient_of_taps(f, self.reach), bend, features.view(len(u), 5, features.shape[-1])[:, 0]

    def groups(self) -> dict[float, list[nn.Parameter]]:
        """Parameters by the part of the learning rate that they learn at."""
        decoders = [*self.decoder.parameters(), *self.colour.parameters()]
        return {1.0: [self.grid.table], DECODER_RATE: decoders}

    def baked_decoder(self) -> dict[str, NDArray[np.float32]]:
        """The decoder's parameters for features and u as they are."""
        low, size, width = self.low.cpu().numpy(), self.size.cpu().numpy(), self.grid.spec.output_width
        parameters = self.decoder.baked()
        weight = parameters["0.weight"].copy()
        parameters["0.bias"] = parameters["0.bias"] + weight[..., width:] @ low  # x = low + u * size
        weight[..., width:] *= size
        weight[..., :width] *= CALM
        parameters["0.weight"] = weight
        return parameters

    def baked_grid(self, precision: str) -> BakedGrid:
        """The table, all levels open."""
        table = self.grid.table.detach().cpu().numpy().astype(precision)
        return BakedGrid(replace(self.grid.spec, precision=precision), table)


def start_as_ball(decoder: Network, features: int, radius: float) -> None:
    """Make f(x) = |x| - radius, nearly: relu units that look evenly in all directions add up to a length.

    Without the random numbers of the usual geometric start (Atzmon and Lipman 2020), so with few units too.
    """
    with torch.no_grad():
        weight, output = decoder.weights["0_weight"][0], decoder.weights["1_weight"][0, 0]
        count = len(weight)
        z = 1 - (2 * torch.arange(count) + 1) / count
        angle = torch.arange(count) * math.pi * (3 - math.sqrt(5))
        around = (1 - z * z).sqrt()
        weight[:, features:] = torch.stack([around * angle.cos(), around * angle.sin(), z], -1)
        output.fill_(4 / count)  # the mean of relu(cosine) over the sphere is 1/4
        decoder.weights["1_bias"][0, 0] = -radius
