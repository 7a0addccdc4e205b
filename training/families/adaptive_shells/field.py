"""The field: a distance f(x), a sharpness kappa(x) = 1 / s(x) of its own at every place, a normal, colours.

Source: Wang et al. 2023, section 4.1. Departures, our choice: smaller networks; colours see the features of
the grid themselves instead of values made of them.
"""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Literal, Self

import numpy as np
import torch
from numpy.typing import NDArray
from pydantic import Field, model_validator
from torch import Tensor
from torch.nn import functional

from render.asset import BakedNetwork
from render.network import Concat, NetworkSpec, Slot
from training.contraction import box, contract
from training.kernels import Kernels
from training.modules import Network
from training.surface.field import SurfaceConfig, SurfaceField
from training.surface.volume import Sections

# log kappa is this times its output of the decoder: it must move by 3 where distances move by 0.1.
KAPPA_GAIN = 4.0
START_RADIUS = 1.8  # contracted, that a field of all of space starts with as a hollow
NORMAL_FLOOR = 1e-6  # length below which a normal is not made longer


class FieldConfig(SurfaceConfig):
    """Options of the field and of its first, full-ray training."""

    sharpness: float = Field(100.0, ge=1, le=1e4, description="kappa at the start, per world unit")
    final_sharpness: float = Field(1200.0, ge=1, le=1e5, description="kappa where nothing holds it back")
    min_kappa: float = Field(10.0, ge=1, le=1e4, description="of the fuzziest place, per world unit")
    max_kappa: float = Field(4000.0, ge=1, le=1e6, description="of the hardest place, per world unit")
    smooth: float = Field(0.01, ge=0, le=10, description="weight of the smoothness of log kappa")
    contracted: bool = Field(False, description="all of space is in the box, for pictures without alpha")
    normal: float = Field(0.1, ge=0, le=10, description="weight of the predicted normal")
    harmonics: Literal[0, 1, 2, 3] = Field(2, description="degree of the spherical harmonics of colour")

    @model_validator(mode="after")
    def _kappa_has_a_range(self) -> Self:
        if self.min_kappa > self.max_kappa:
            raise ValueError(
                f"min_kappa={self.min_kappa:g} is above max_kappa={self.max_kappa:g}, expected at most that"
            )
        return self


def start_as_hollow(decoder: Network, radius: float) -> None:
    """Turn a field that starts as a ball inside out, f(x) = radius - |x| nearly: all rays meet a wall."""
    with torch.no_grad():
        decoder.weights["1_weight"][0, 0].neg_()
        decoder.weights["1_bias"][0, 0] = radius


class ShellField(SurfaceField):
    """At points in the box: y = [f, log kappa, normal (3)] and display colours.

    log kappa has a base that training raises for all places at once; where a picture is fuzzy the decoder
    learns to stay behind (our choice: in minutes kappa does not get from fog to a surface by itself).
    """

    base: Tensor

    def __init__(
        self,
        config: FieldConfig,
        bounds: NDArray[np.float32],
        kernels: Kernels,
        generator: torch.Generator,
    ) -> None:
        if config.contracted:
            bounds = box("cpu").numpy()
        super().__init__(config, bounds, kernels, generator, outputs=5, seen="h")
        if config.contracted:
            start_as_hollow(self.decoder, START_RADIUS)
        self.low_high = math.log(config.min_kappa), math.log(config.max_kappa)
        self.smooth, self.normal, self.contracted = config.smooth, config.normal, config.contracted
        self.register_buffer("base", torch.tensor(math.log(config.sharpness)))
        with torch.no_grad():
            self.decoder.weights["1_weight"][0, 1].zero_()

    def box(self) -> NDArray[np.float32]:
        """(2, 3) corners of the box of the space that f is in."""
        return torch.stack([self.low, self.low + self.size]).cpu().numpy()

    def log_kappa(self, y: Tensor) -> Tensor:
        """(...) of values (..., 5)."""
        return (self.base + KAPPA_GAIN * y[..., 1]).clamp(*self.low_high)

    def forward(self, u: Tensor, d: Tensor) -> Sections:
        """For full rays, at u (n, 3) seen along d (n, 3): normals are those of differences.

        Penalised are the difference of log kappa from that around (Wang et al. 2023, section 3.5, with the
        taps for the random offset), of the predicted normal from that of differences, and roughness.
        """
        y, gradient, bend, features = self.differences(u)
        log_kappa = self.log_kappa(y)  # (n, 5)
        normal = functional.normalize(gradient, dim=-1, eps=NORMAL_FLOOR)
        penalty = bend.new_zeros(())
        if len(u):
            uneven = (log_kappa[:, 1:] - log_kappa[:, :1]).square().mean()
            turned = (self.normals(y[:, 0]) - normal.detach()).square().sum(-1).mean()
            rough = bend.square().mean()
            penalty = self.smooth * uneven + self.normal * turned + self.config.bend * rough
        rgb = self.colours(features, normal, d)
        return Sections(y[:, 0, 0], gradient, rgb, log_kappa[:, 0].exp(), penalty)

    def narrow(self, u: Tensor, d: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """For the band, as the shader has it: f (n,), predicted unit normals (n, 3), kappa (n,), rgb."""
        features = self.encoded(u)
        y = self.decoded(features, u)
        normal = self.normals(y)
        return y[:, 0], normal, self.log_kappa(y).exp(), self.colours(features, normal, d)

    def normals(self, y: Tensor) -> Tensor:
        """Predicted unit normals (n, 3) of values (n, 5)."""
        return functional.normalize(y[:, 2:], dim=-1, eps=NORMAL_FLOOR)

    def place(self, rays_o: Tensor, rays_d: Tensor, t: Tensor) -> Tensor:
        """Where points of rays (n, 3) at t (n,) are in the space of f: world units, or contracted ones."""
        x = rays_o + t[:, None] * rays_d
        return contract(x) if self.contracted else x

    def surface(self, u: Tensor) -> tuple[Tensor, Tensor]:
        """As ``volume.Surface`` has it: f (n,) and kappa (n,) at u (n, 3) in [0, 1]."""
        y = self.values(u)
        return y[:, 0], self.log_kappa(y).exp()

    def sharpen(self, s: float) -> None:
        """Raise the base of kappa."""
        self.base.fill_(math.log(s))

    def baked(self, precision: str) -> dict[str, BakedNetwork]:
        """The networks that the shader ``adaptive_shells/shell.glsl`` asks for: geometry -> [y, h], h being
        the features and u, and colour."""
        parameters = self.baked_decoder()
        weight, bias = parameters["1.weight"].copy(), parameters["1.bias"].copy()
        weight[0, 1] *= KAPPA_GAIN
        bias[0, 1] = KAPPA_GAIN * bias[0, 1] + float(self.base)
        parameters.update({"1.weight": weight, "1.bias": bias})
        spec = self.decoder.spec
        geometry = NetworkSpec(spec.inputs, (*spec.layers, Concat(0)), 1, precision)
        # The colour's first layer sees u, too, and does nothing with it.
        seen, normal, direction = self.colour.spec.inputs
        wide = Slot(seen.name, seen.width + 3)
        colour = replace(self.colour.spec, inputs=(wide, normal, direction), precision=precision)
        first = self.colour.baked()["0.weight"]
        gap = np.zeros((*first.shape[:-1], 3), np.float32)
        first = np.concatenate([first[..., : seen.width], gap, first[..., seen.width :]], -1)
        return {
            "geometry": BakedNetwork(geometry, parameters),
            "colour": BakedNetwork(colour, {**self.colour.baked(), "0.weight": first}),
        }
