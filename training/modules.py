"""Trainable twins of the specs in ``render``: same parameters, same results, with gradients."""

from __future__ import annotations

import math
from collections.abc import Mapping

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional

from render.encodings import ACTIVATIONS, SPHERICAL_HARMONICS, Polynomial
from render.errors import InshaderError
from render.grid import MAX_LEVELS, GridSpec
from render.network import (
    NORMALISE_FLOOR,
    Add,
    Concat,
    Layer,
    Linear,
    NetworkSpec,
    Normalise,
    Slot,
    SquareConcat,
)
from training.kernels import Kernels


class Network(nn.Module):
    """The torch module of a NetworkSpec; its parameters carry the spec's names and shapes.

    Weights start uniform in +-reach, biases at zero. The reach is sqrt(6 / fan_in) before relu (He et al.
    2015); before sine 1 / fan_in in layer 0, where the scale sets the frequencies, and else
    sqrt(6 / fan_in) / scale (Sitzmann et al. 2020, section 3.2); before all others 1 / sqrt(fan_in). With
    ``alike`` the networks of a bank start equal: one draw, repeated (as Reiser et al. 2021 do).
    """

    def __init__(self, spec: NetworkSpec, generator: torch.Generator, alike: bool = False) -> None:
        super().__init__()
        self.spec = spec
        weights = {}
        for name, (count, *shape) in spec.parameter_shapes().items():
            index = int(name.split(".")[0])
            reach = _reach(spec.layers[index], index, shape[-1]) if name.endswith("weight") else 0
            start = (torch.rand(1 if alike else count, *shape, generator=generator) * 2 - 1) * reach
            weights[name.replace(".", "_")] = nn.Parameter(
                start.repeat(count // len(start), *[1] * len(shape))
            )
        self.weights = nn.ParameterDict(weights)

    def forward(self, *inputs: Tensor) -> Tensor:
        """Slot values (samples, width), or (count, samples, width) for a bank -> (..., out)."""
        return evaluate(self.spec, self.parameters_by_name(), *inputs)

    def parameters_by_name(self) -> dict[str, Tensor]:
        """The parameters under the names that the spec and the kernels know them by."""
        return {name.replace("_", "."): value for name, value in self.weights.items()}

    def baked(self) -> dict[str, NDArray[np.float32]]:
        """Parameters as the asset stores them."""
        return {name.replace("_", "."): value.detach().cpu().numpy() for name, value in self.weights.items()}


def _reach(layer: Layer, index: int, fan_in: int) -> float:
    """The largest weight that a layer starts with."""
    match layer:
        case Linear(activation="relu"):
            return math.sqrt(6 / fan_in)
        case Linear(activation="sine", scale=scale):
            return math.sqrt(6 / fan_in) / scale if index else 1 / fan_in
    return 1 / math.sqrt(fan_in)


class Grid(nn.Module):
    """The trainable table of a GridSpec; entries start uniform in +-1e-4 (Mueller et al. 2022, section 4)."""

    def __init__(self, spec: GridSpec, kernels: Kernels, generator: torch.Generator) -> None:
        super().__init__()
        self.spec, self.kernels = spec, kernels
        self.table = nn.Parameter(
            (torch.rand(spec.entries, spec.features, generator=generator) * 2 - 1) * 1e-4
        )

    def forward(self, x: Tensor) -> Tensor:
        """Points (n, dimension) in [0, 1] -> features (n, levels * features)."""
        return self.kernels.grid_encode(self.spec, self.table, x)


def grid_between(
    coarsest: int, finest: int, dimension: int, levels: int, features: int, log2_table_size: int
) -> GridSpec:
    """``GridSpec.between``; a single level is the coarsest one."""
    last = finest if levels > 1 else coarsest
    return GridSpec.between(coarsest, last, dimension, levels, features, log2_table_size)


def check_resolutions(levels: int, base_resolution: int, finest_resolution: int) -> None:
    """Raise ValueError, in words that begin with the name of an option, where no grid has these levels."""

    def fits(levels: int) -> bool:
        try:
            grid_between(base_resolution, finest_resolution, 3, levels, 1, 8)
        except InshaderError:
            return False
        return True

    if levels > 1 and base_resolution > finest_resolution:
        raise ValueError(
            f"base_resolution={base_resolution} is above finest_resolution={finest_resolution}, expected at "
            "most that"
        )
    if not fits(levels):  # a level would be too much finer than the one before
        fewest = next(more for more in range(levels, MAX_LEVELS + 1) if fits(more))
        raise ValueError(
            f"levels={levels} is too few from base_resolution={base_resolution} to "
            f"finest_resolution={finest_resolution}, expected at least {fewest}"
        )


def evaluate(spec: NetworkSpec, parameters: Mapping[str, Tensor], *inputs: Tensor) -> Tensor:
    """``NetworkSpec.evaluate`` in torch, for parameters that need not be a module's own."""
    return run_layers(spec, parameters, stage_0(spec, *inputs))


def stage_0(spec: NetworkSpec, *inputs: Tensor) -> Tensor:
    """Slot values (..., width), encoded and concatenated: what the first layer takes."""
    encoded = [encode(slot, x) for slot, x in zip(spec.inputs, inputs, strict=True)]
    return torch.cat(encoded, -1) if len(encoded) > 1 else encoded[0]


def run_layers(spec: NetworkSpec, parameters: Mapping[str, Tensor], x: Tensor) -> Tensor:
    """All layers on stage 0 (samples, width), or (count, samples, width) for a bank -> (..., out)."""
    stages = [x]
    for index, layer in enumerate(spec.layers):
        x = stages[-1]
        match layer:
            case Linear():
                weight, bias = parameters[f"{index}.weight"], parameters.get(f"{index}.bias")
                if spec.count == 1:
                    z = functional.linear(x, weight[0], None if bias is None else bias[0])
                else:
                    z = x @ weight.transpose(1, 2)  # (count, samples, out)
                    z = z if bias is None else z + bias[:, None]
                x = activate(layer.activation, z, layer.scale)
            case SquareConcat():
                x = torch.cat([x, x * x], -1)
            case Normalise():
                x = x / x.sum(-1, keepdim=True).clamp(min=NORMALISE_FLOOR)
            case Concat(source):
                x = torch.cat([x, stages[source]], -1)
            case Add(source):
                x = x + stages[source]
        stages.append(x)
    return stages[-1]


def activate(name: str, z: Tensor, scale: float) -> Tensor:
    """The activations of ``render/encodings.py`` under the same names."""
    match name:
        case "none":
            return z
        case "relu":
            return functional.relu(z)
        case "sigmoid":
            return torch.sigmoid(z)
        case "tanh":
            return torch.tanh(z)
        case "sine":
            return torch.sin(scale * z)
        case "softplus":
            return functional.softplus(z, beta=scale, threshold=60)
        case "gelu":
            return functional.gelu(z, approximate="tanh")
        case "gaussian":
            return torch.exp2(z.clamp(max=0))
    raise KeyError(f"{name} is not one of {', '.join(ACTIVATIONS)}")


def encode(slot: Slot, x: Tensor) -> Tensor:
    """Slot values (..., width) -> (..., encoded width)."""
    if slot.encoding == "frequency":
        waves = [f(2.0**k * x) for k in range(slot.order) for f in (torch.sin, torch.cos)]
        return torch.cat([x, *waves], -1)
    if slot.encoding == "spherical_harmonics":
        return torch.stack([_polynomial(p, x) for p in SPHERICAL_HARMONICS[: slot.encoded_width]], -1)
    return x


def _polynomial(polynomial: Polynomial, x: Tensor) -> Tensor:
    total = torch.zeros_like(x[..., 0])
    for coefficient, (a, b, c) in polynomial:
        total = total + coefficient * x[..., 0] ** a * x[..., 1] ** b * x[..., 2] ** c
    return total
