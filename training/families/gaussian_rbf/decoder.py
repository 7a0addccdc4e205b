"""Multi-resolution grid features and the hidden layer that decodes them: what the tasks share."""

from __future__ import annotations

import math
from typing import Literal, Self

import numpy as np
import torch
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field, model_validator
from torch import Tensor, nn
from torch.nn import functional

from render.asset import BakedGrid
from render.grid import GridSpec
from render.network import Concat, Layer, Linear, Normalise, SquareConcat
from training.kernels import Kernels
from training.modules import Grid, check_resolutions, grid_between
from training.optimise import adam


class DecoderConfig(BaseModel):
    """Options that every task has; each sets the defaults that suit it."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)

    decoder: Literal["normalised_rbf", "rbf", "mlp"] = Field(
        "normalised_rbf", description="what decodes the features"
    )
    neurons: int = Field(16, ge=1, le=128, description="kernels, or ReLU units")
    levels: int = Field(8, ge=1, le=16, description="resolutions of the grid")
    features: Literal[1, 2, 4, 8] = Field(2, description="values per grid entry")
    base_resolution: int = Field(
        16, ge=2, le=512, description="coarsest level, cells along a side of the box"
    )
    finest_resolution: int = Field(512, ge=2, le=8192, description="finest level")
    log2_table_size: int = Field(18, ge=8, le=22, description="a level has at most 2^this entries")
    learning_rate: float = Field(4e-2, gt=0, le=1, description="of the grid; the decoder's is a quarter")
    precision: Literal["float32", "float16"] = Field("float16", description="storage of the asset")

    @model_validator(mode="after")
    def _has_a_grid(self) -> Self:
        check_resolutions(self.levels, self.base_resolution, self.finest_resolution)
        return self


KERNEL_GAIN = 8.0  # scale of normalised kernels: the pace they learn at; absorbed by the next layer at bake
LOG2_E = math.log2(math.e)
# Of the grid's learning rate: at the same rate some runs lose all kernels but one and never recover.
DECODER_RATE = 0.25


def decoder_layers(config: DecoderConfig) -> tuple[Layer, ...]:
    """The hidden layers: their last stage holds the activations h that outputs are linear in."""
    kernels = Linear(config.neurons, activation="gaussian")
    if config.decoder == "normalised_rbf":
        return SquareConcat(), kernels, Normalise(), Concat(0)
    if config.decoder == "rbf":
        return SquareConcat(), kernels
    return (Linear(config.neurons, activation="relu"),)


class Decoder(nn.Module):
    """Points -> grid features -> activations h (n, ``width``), which a task's outputs are linear in.

    Attributes:
        layers: what a task's NetworkSpec begins with.
        width: of h.
    """

    def __init__(
        self, config: DecoderConfig, dimension: int, kernels: Kernels, generator: torch.Generator
    ) -> None:
        super().__init__()
        resolutions = config.base_resolution, config.finest_resolution
        spec = grid_between(*resolutions, dimension, config.levels, config.features, config.log2_table_size)
        self.config, self.kernels = config, kernels
        self.opened: Tensor | None = None  # factors of features, while not all levels are open
        self.grid = Grid(spec, kernels, generator)
        features = spec.output_width
        self.layers = decoder_layers(config)
        self.width = config.neurons + (features if config.decoder == "normalised_rbf" else 0)
        if config.decoder == "mlp":
            self.hidden = nn.Linear(features, config.neurons)
            start_linear(self.hidden, generator)
        else:
            # beta = exp(log_beta) and mu of eq. 1.1; centres spread over the range that features grow into.
            self.log_beta = nn.Parameter(torch.zeros(config.neurons, features))
            self.mu = nn.Parameter(torch.rand(config.neurons, features, generator=generator) - 0.5)

    def folded(self) -> tuple[Tensor, Tensor]:
        """Kernels as a linear layer on [x, x^2], to base 2: weight (N, 2F), bias (N,)."""
        beta = LOG2_E * self.log_beta.clamp(-6, 6).exp()
        weight = torch.cat([beta * self.mu, -0.5 * beta], 1)
        return weight, -0.5 * (beta * self.mu**2).sum(-1)

    def activations(self, x: Tensor) -> Tensor:
        """Features (n, F) -> h (n, width)."""
        if self.config.decoder == "mlp":
            return functional.relu(self.hidden(x))
        normalised = self.config.decoder == "normalised_rbf"
        gain = KERNEL_GAIN if normalised else 1.0
        return self.kernels.gaussian_kernels(x, *self.folded(), normalised, gain, normalised)

    def forward(self, x: Tensor) -> Tensor:
        """Points (n, dimension) in [0, 1] -> h (n, width)."""
        features = self.grid(x)
        return self.activations(features if self.opened is None else features * self.opened)

    def open(self, levels: float) -> None:
        """Use this many levels of the grid, the last one faded in by its fraction."""
        spec = self.grid.spec
        faded = (levels - torch.arange(spec.levels, dtype=torch.float32)).clamp(0, 1)
        table = self.grid.table
        self.opened = (
            None if levels >= spec.levels else faded.repeat_interleave(spec.features).to(table.device)
        )

    def optimiser(self, outputs: list[nn.Parameter]) -> torch.optim.Adam:
        """Adam for the grid, the decoder and a task's own parameters ``outputs``."""
        decoder = [value for name, value in self.named_parameters() if name != "grid.table"]
        return adam({1.0: [self.grid.table], DECODER_RATE: [*decoder, *outputs]})

    def baked_layers(self) -> dict[str, NDArray[np.float32]]:
        """Parameters of ``layers`` as the asset stores them."""
        if self.config.decoder == "mlp":
            return {"0.weight": numpy(self.hidden.weight)[None], "0.bias": numpy(self.hidden.bias)[None]}
        weight, bias = (numpy(part) for part in self.folded())
        return {"1.weight": weight[None], "1.bias": bias[None]}

    def absorb_gain(self, rows: NDArray[np.float32]) -> NDArray[np.float32]:
        """Output rows (..., width) for activations without KERNEL_GAIN, which the baked layers lack."""
        if self.config.decoder != "normalised_rbf":
            return rows
        gains = np.ones(self.width, np.float32)
        gains[: self.config.neurons] = KERNEL_GAIN
        return rows * gains

    def baked_grid(self, precision: str) -> BakedGrid:
        """The grid, rounded to ``float16`` or not; levels are in it as far as they are open."""
        spec = GridSpec(**{**self.grid.spec.to_json(), "precision": precision})
        table = numpy(self.grid.table)
        if self.opened is not None:
            opened = numpy(self.opened).reshape(spec.levels, spec.features)
            table = table * np.repeat(opened, [level.size for level in spec.level_list], 0)
        return BakedGrid(spec, table.astype(precision))


def start_linear(layer: nn.Linear, generator: torch.Generator) -> None:
    """Weights uniform in +-1/sqrt(fan_in), biases at zero."""
    reach = 1 / math.sqrt(layer.weight.shape[-1])
    with torch.no_grad():
        layer.weight.copy_((torch.rand(layer.weight.shape, generator=generator) * 2 - 1) * reach)
        layer.bias.zero_()


def numpy(tensor: Tensor) -> NDArray[np.float32]:
    """A float32 array of a tensor on any device."""
    return tensor.detach().cpu().numpy().astype(np.float32)
