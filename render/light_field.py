"""The network of a light field: rays in on a coarse map, a picture out. What it is, and its numpy twin.

It is made of ordinary networks, each held by the asset under its own name:

    trunk                   points along a ray -> features of the ray, for every ray of the coarse map
    up_0, up_1, ..          a step of upsampling: a bank of factor^2 networks, one for each pixel that a pixel
                            becomes (row by row), of the features of the taps^2 pixels around it (row by row)
    refine_0, refine_1, ..  features of a pixel -> features, after each step; the last gives display colours

A transposed convolution with kernel 4, stride 2 and padding 1 is such a step of factor 2 with 2 x 2 taps: the
pixels on the left of the four look one pixel to the left, those on the right to the right, and so up and
down; outside the map is zero. With kernel = stride it has one tap, and is a linear layer whose outputs are
shuffled into place. So ``NetworkSpec`` says all of MobileR2L (Cao et al. 2023, section 3.2 and figure 3).

What the trunk takes of a ray is either the points along it, or what is gathered at them: features of a grid
in space, summed front to back as volume rendering does (``render/light_field_rays.py``). The first is
MobileR2L's; the second, after EG3D (Chan et al. 2022), which renders features in low resolution and has a
network enlarge them, learns far faster, for it knows beforehand that what is near hides what is far.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from render.asset import BakedNetwork
from render.errors import InshaderError
from render.network import NetworkSpec

Array = NDArray[np.float32]
MAX_STEPS = 4
MAX_FACTOR = 16


@dataclass(frozen=True, eq=False)
class Step:
    """One step of upsampling.

    Attributes:
        bank: of ``factor`` squared networks.
        refine: of a pixel's features, after it.
        factor: pixels along a side that one becomes.
        taps: pixels along a side that are looked at, 1 or 2.
    """

    bank: BakedNetwork
    refine: BakedNetwork
    factor: int
    taps: int

    def offsets(self, phase: int) -> list[int]:
        """Where along an axis the taps of the new pixel ``phase`` lie, counted from the old pixel."""
        return [0] if self.taps == 1 else [phase - 1, phase]

    def kernel(self) -> Array:
        """The bank's weights as a transposed convolution's, (inputs, outputs, k, k), k = factor * taps.

        Along an axis, the new pixel ``phase`` sees the old one that lies ``offset`` from its own through
        place phase + padding - factor * offset of the kernel.
        """
        factor, taps = self.factor, self.taps
        bank = self.bank.parameters["0.weight"].astype(np.float32)
        bank = bank.reshape(factor, factor, bank.shape[1], taps, taps, -1)
        places = np.array(
            [
                [phase + taps - 1 - factor * offset for offset in self.offsets(phase)]
                for phase in range(factor)
            ]
        )
        kernel = np.zeros((bank.shape[5], bank.shape[2], factor * taps, factor * taps), np.float32)
        rows, columns = (
            places[:, None, :, None],
            places[None, :, None, :],
        )  # both (factor, factor, taps, taps)
        kernel[:, :, rows, columns] = bank.transpose(5, 2, 0, 1, 3, 4)
        return kernel


@dataclass(frozen=True, eq=False)
class LightField:
    """The networks of one light field, checked against each other.

    Raises:
        InshaderError: they do not fit.
    """

    trunk: BakedNetwork
    steps: tuple[Step, ...]

    @staticmethod
    def of(networks: Mapping[str, BakedNetwork], prefix: str = "") -> LightField:
        """The light field whose networks are named ``<prefix>trunk``, ``<prefix>up_0``, ..

        Raises:
            InshaderError: a network is missing or does not fit the one before it.
        """
        trunk = network_of(networks, f"{prefix}trunk")
        if trunk.spec.count != 1 or len(trunk.spec.inputs) != 1:
            raise InshaderError(f"the network {prefix}trunk must be a single one with one input")
        steps, width = [], trunk.spec.output_width
        for number in range(MAX_STEPS + 1):
            if f"{prefix}up_{number}" not in networks:
                break
            step = _step(networks, prefix, number, width)
            steps.append(step)
            width = step.refine.spec.output_width
        found = LightField(trunk, tuple(steps))
        if not 1 <= len(steps) <= MAX_STEPS or found.factor > MAX_FACTOR:
            raise InshaderError(
                f"the light field has {len(steps)} steps of upsampling to {found.factor} times the size, "
                f"expected 1 to {MAX_STEPS} steps, and at most {MAX_FACTOR} times"
            )
        if width != 3:
            raise InshaderError(
                f"the network {prefix}refine_{len(steps) - 1} gives {width} values, expected 3"
            )
        return found

    @cached_property
    def factor(self) -> int:
        """Pixels along a side that a ray of the map becomes."""
        return math.prod(step.factor for step in self.steps)

    def parts(self) -> Iterator[tuple[str, BakedNetwork]]:
        """All networks under the names that ``of`` knows."""
        yield "trunk", self.trunk
        for number, step in enumerate(self.steps):
            yield f"up_{number}", step.bank
            yield f"refine_{number}", step.refine

    def parameters(self) -> int:
        """Number of weights and biases; a bank shares its bias, as a transposed convolution does."""
        total = 0
        for _, network in self.parts():
            for name, array in network.parameters.items():
                total += array.size // (network.spec.count if name.endswith("bias") else 1)
        return total

    def multiply_adds(self, rows: int, columns: int) -> int:
        """Of one picture, from a map of ``rows`` x ``columns`` rays; those at the border count in full."""
        pixels = rows * columns
        total = pixels * self.trunk.spec.multiply_adds()
        for step in self.steps:
            pixels *= step.factor**2
            total += pixels * (step.bank.spec.multiply_adds() + step.refine.spec.multiply_adds())
        return total

    def evaluate(self, rays: Array) -> Array:
        """What the trunk takes (h, w, c) of the rays of a map -> picture (h * factor, w * factor, 3)."""
        x = self.trunk.spec.evaluate(self.trunk.parameters, rays)
        for step in self.steps:
            x = upsample(step, x)
            x = step.refine.spec.evaluate(step.refine.parameters, x)
        return x.astype(np.float32)


def upsample(step: Step, x: Array) -> Array:
    """Features (h, w, c) -> (h * factor, w * factor, c') by one step's bank."""
    h, w, _ = x.shape
    padded = np.pad(x, ((1, 1), (1, 1), (0, 0)))
    out = np.zeros((h, step.factor, w, step.factor, step.bank.spec.output_width), x.dtype)
    one = replace(step.bank.spec, count=1)
    for row in range(step.factor):
        for column in range(step.factor):
            taps = [
                padded[1 + dy : 1 + dy + h, 1 + dx : 1 + dx + w]
                for dy in step.offsets(row)
                for dx in step.offsets(column)
            ]
            number = row * step.factor + column
            parameters = {key: part[number : number + 1] for key, part in step.bank.parameters.items()}
            out[:, row, :, column] = one.evaluate(parameters, np.concatenate(taps, -1))
    return out.reshape(h * step.factor, w * step.factor, -1)


def network_of(networks: Mapping[str, BakedNetwork], name: str) -> BakedNetwork:
    """The network of that name, or an InshaderError."""
    if name not in networks:
        raise InshaderError(
            f"the asset has no network {name!r}, it has {', '.join(sorted(networks)) or 'none'}"
        )
    return networks[name]


def _step(networks: Mapping[str, BakedNetwork], prefix: str, number: int, width: int) -> Step:
    """Step ``number``, which takes ``width`` features."""
    bank = network_of(networks, f"{prefix}up_{number}")
    refine = network_of(networks, f"{prefix}refine_{number}")
    factor = math.isqrt(bank.spec.count)
    taps = math.isqrt(bank.spec.input_width // width)
    if factor < 2 or factor**2 != bank.spec.count:
        raise InshaderError(
            f"the bank {prefix}up_{number} has {bank.spec.count} networks, expected the square of 2 or more"
        )
    if taps not in (1, 2) or taps**2 * width != bank.spec.input_width or (taps == 2 and factor != 2):
        raise InshaderError(
            f"the bank {prefix}up_{number} takes {bank.spec.input_width} values, expected {width}, or "
            f"{4 * width} for a factor of 2"
        )
    if _linear_layers(bank.spec) != 1 or len(bank.spec.layers) != 1:
        raise InshaderError(f"the bank {prefix}up_{number} must be one linear layer")
    if refine.spec.count != 1 or refine.spec.input_width != bank.spec.output_width:
        raise InshaderError(
            f"the network {prefix}refine_{number} must be a single one of width {bank.spec.output_width}"
        )
    for name, spec in ((f"up_{number}", bank.spec), (f"refine_{number}", refine.spec)):
        if len(spec.inputs) != 1 or spec.inputs[0].encoding != "identity":
            raise InshaderError(f"the network {prefix}{name} must have one input, as it is")
    return Step(bank, refine, factor, taps)


def _linear_layers(spec: NetworkSpec) -> int:
    return len([name for name in spec.parameter_shapes() if name.endswith("weight")])
