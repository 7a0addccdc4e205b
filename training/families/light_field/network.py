"""The trainable twin of ``render.light_field.LightField``.

Source: MobileR2L (Cao et al., CVPR 2023), section 3.2 and its released network: a head, residual blocks of
two layers and a skip over all of them, on every ray of a coarse map alike; then transposed convolutions with
residual blocks after each. Batch normalisation, where asked
for, is folded into the layers when they are baked.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional

from render.asset import BakedNetwork
from render.network import Add, Layer, Linear, NetworkSpec, Slot
from training.families.light_field.gather import GatherFeatures
from training.modules import activate, encode

EPSILON = 1e-5  # of batch normalisation


class Affine(nn.Module):
    """W x + b of the last axis, normalised over a batch if asked for (Ioffe and Szegedy 2015)."""

    def __init__(self, inputs: int, outputs: int, normalise: bool, gain: float, g: torch.Generator) -> None:
        super().__init__()
        reach = gain * math.sqrt(3 / inputs)
        self.weight = nn.Parameter((torch.rand(outputs, inputs, generator=g) * 2 - 1) * reach)
        self.bias = nn.Parameter(torch.zeros(outputs))
        self.norm = nn.BatchNorm1d(outputs, EPSILON) if normalise else None

    def forward(self, x: Tensor) -> Tensor:
        """(..., inputs) -> (..., outputs)."""
        y = functional.linear(x, self.weight, self.bias)
        if self.norm is None:
            return y
        rows = y.reshape(-1, y.shape[-1])
        return self.norm(rows).reshape(y.shape)  # type: ignore[no-any-return]

    def folded(self) -> tuple[Tensor, Tensor]:
        """Weight and bias of the one linear layer that this is once it is trained."""
        if self.norm is None:
            return self.weight, self.bias
        assert self.norm.running_var is not None and self.norm.running_mean is not None
        gain = self.norm.weight / torch.sqrt(self.norm.running_var + self.norm.eps)
        return self.weight * gain[:, None], (self.bias - self.norm.running_mean) * gain + self.norm.bias


class Residuals(nn.Module):
    """Blocks x + second(activation(first(x))); no activation after the sum."""

    def __init__(self, width: int, blocks: int, activation: str, normalise: bool, g: torch.Generator) -> None:
        super().__init__()
        self.width, self.activation = width, activation
        # What each block adds is scaled, lest the sum of many grow; a choice.
        gains = (math.sqrt(2), 1 / math.sqrt(max(blocks, 1)))
        self.layers = nn.ModuleList(
            Affine(width, width, normalise, gains[k], g) for _ in range(blocks) for k in range(2)
        )

    def forward(self, x: Tensor) -> Tensor:
        """(..., width) -> (..., width)."""
        for first, second in zip(self.layers[::2], self.layers[1::2], strict=True):
            x = x + second(activate(self.activation, first(x), 1.0))
        return x

    def specified(self, stage: int) -> list[Layer]:
        """The layers of these blocks in a NetworkSpec whose stage ``stage`` is their input."""
        found: list[Layer] = []
        for _ in range(len(self.layers) // 2):
            found += [Linear(self.width, activation=self.activation), Linear(self.width), Add(stage)]
            stage += 3
        return found


class Step(nn.Module):
    """A transposed convolution and what refines its result.

    Attributes:
        weight: (inputs, outputs, kernel, kernel), as torch has it: kernel 4, stride 2 and padding 1 where it
            overlaps, else kernel = stride = factor.
    """

    def __init__(
        self, inputs: int, outputs: int, factor: int, overlaps: bool, blocks: Residuals, g: torch.Generator
    ) -> None:
        super().__init__()
        self.factor, self.taps = factor, 2 if overlaps and factor == 2 else 1
        kernel = factor * self.taps
        reach = math.sqrt(3 / (inputs * self.taps**2))
        self.weight = nn.Parameter((torch.rand(inputs, outputs, kernel, kernel, generator=g) * 2 - 1) * reach)
        self.bias = nn.Parameter(torch.zeros(outputs))
        self.blocks = blocks

    def forward(self, x: Tensor) -> Tensor:
        """(n, h, w, inputs) -> (n, factor h, factor w, outputs)."""
        y = functional.conv_transpose2d(
            x.permute(0, 3, 1, 2),
            self.weight,
            self.bias,
            stride=self.factor,
            padding=(self.taps - 1) * self.factor // 2,
        )
        refined: Tensor = self.blocks(y.permute(0, 2, 3, 1))
        return refined

    def bank(self) -> Tensor:
        """(factor^2, outputs, taps^2 inputs): the weights of each phase, as ``render.light_field`` has them.

        With kernel 4, stride 2 and padding 1 the output 2 m + p takes input m + p - 1 + t by the row
        3 - p - 2 t of the kernel, t = 0, 1.
        """
        inputs, outputs = self.weight.shape[:2]
        phases = []
        for row in range(self.factor):
            for column in range(self.factor):
                if self.taps == 1:
                    phases.append(self.weight[:, :, row, column].T)
                    continue
                rows, columns = [3 - row, 1 - row], [3 - column, 1 - column]
                taps = self.weight[:, :, rows][:, :, :, columns]  # (inputs, outputs, 2, 2)
                phases.append(taps.permute(1, 2, 3, 0).reshape(outputs, 4 * inputs))
        return torch.stack(phases)


class LightFieldNetwork(nn.Module):
    """The rays of a coarse map -> the picture.

    Args:
        points: K along a ray; ``octaves`` of their encoding, where nothing is gathered.
        gather: gathers features along a ray; None: the trunk takes the points.
        width, blocks: of the trunk.
        channels, factors: of the steps of upsampling, one each.
        refine: residual blocks after each step.
        overlaps: whether steps of factor 2 have kernel 4 rather than 2.
        normalise: batch normalisation after each layer of the residual blocks.
    """

    gather: GatherFeatures | None

    def __init__(
        self,
        *,
        points: int,
        octaves: int,
        gather: GatherFeatures | None,
        width: int,
        blocks: int,
        channels: Sequence[int],
        factors: Sequence[int],
        refine: int,
        overlaps: bool,
        activation: str,
        normalise: bool,
        generator: torch.Generator,
    ) -> None:
        super().__init__()
        self.gather = gather
        if gather is not None:
            self.slot = Slot("gathered", gather.grid.spec.output_width + 4)
        elif octaves:
            self.slot = Slot("points", 3 * points, "frequency", octaves)
        else:
            self.slot = Slot("points", 3 * points)
        self.activation = activation
        self.head = Affine(self.slot.encoded_width, width, False, math.sqrt(2), generator)
        self.trunk = Residuals(width, blocks, activation, normalise, generator)
        steps = []
        for inputs, outputs, factor in zip([width, *channels], channels, factors, strict=False):
            after = Residuals(outputs, refine, activation, normalise, generator)
            steps.append(Step(inputs, outputs, factor, overlaps, after, generator))
        self.steps = nn.ModuleList(steps)
        self.output = Affine(channels[-1], 3, False, 1.0, generator)

    def forward(self, rays: Tensor) -> Tensor:
        """Points (n, h, w, 3 K), or rays (n, h, w, 7) to gather along -> display colours
        (n, h * factor, w * factor, 3)."""
        rays = rays if self.gather is None else self.gather(rays)
        head = activate(self.activation, self.head(encode(self.slot, rays)), 1.0)
        x = head + self.trunk(head)
        for step in self.steps:
            x = step(x)
        return torch.sigmoid(self.output(x))

    def baked(self, precision: str) -> dict[str, BakedNetwork]:
        """The networks that the driver ``lightfield`` asks for, but for what is gathered."""
        width = self.head.bias.numel()
        layers = [Linear(width, activation=self.activation), *self.trunk.specified(1), Add(1)]
        affine = [self.head, *self.trunk.layers]
        found = {"trunk": _network((self.slot,), layers, affine, precision)}
        for number, step in enumerate(self.steps):
            assert isinstance(step, Step)
            bank = step.bank()
            phases, outputs, inputs = bank.shape
            spec = NetworkSpec((Slot("features", inputs),), (Linear(outputs),), phases, precision)
            found[f"up_{number}"] = BakedNetwork(
                spec, {"0.weight": _array(bank), "0.bias": _array(step.bias.expand(phases, -1))}
            )
            layers, affine = step.blocks.specified(0), list(step.blocks.layers)
            if number == len(self.steps) - 1:
                layers, affine = [*layers, Linear(3, activation="sigmoid")], [*affine, self.output]
            found[f"refine_{number}"] = _network((Slot("features", outputs),), layers, affine, precision)
        return found


def _network(
    inputs: tuple[Slot, ...], layers: list[Layer], affine: Sequence[nn.Module], precision: str
) -> BakedNetwork:
    """A network whose linear layers are ``affine``, in their order."""
    spec = NetworkSpec(inputs, tuple(layers), precision=precision)
    linear = [index for index, layer in enumerate(layers) if isinstance(layer, Linear)]
    parameters = {}
    for index, module in zip(linear, affine, strict=True):
        assert isinstance(module, Affine)
        weight, bias = module.folded()
        parameters[f"{index}.weight"], parameters[f"{index}.bias"] = _array(weight)[None], _array(bias)[None]
    return BakedNetwork(spec, parameters)


def _array(values: Tensor) -> NDArray[np.float32]:
    array: NDArray[np.float32] = values.detach().cpu().numpy().astype(np.float32)
    return array
