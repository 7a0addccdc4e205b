"""Task ``radiance``: posed pictures to a radiance field, drawn by the ``march`` driver."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any, Literal, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from pydantic import Field
from torch import Tensor, nn
from torch.nn import functional

from render.asset import BakedAsset, BakedNetwork
from render.camera import Camera
from render.network import Concat, Linear, NetworkSpec, Slot
from scenes import PosedImages
from training import processes
from training.checkpoint import load_optimiser, optimiser_state, prefixed, without_prefix
from training.families import Draw, Stage, Task, facts_for_asset, seeded
from training.families.gaussian_rbf.decoder import Decoder, DecoderConfig, numpy, start_linear
from training.families.gaussian_rbf.exposure import Exposure
from training.kernels import Kernels, Samples
from training.modules import Network
from training.occupancy import SEEN, Occupancy
from training.optimise import descend
from training.rays import PixelRays, camera_rays
from training.space import space_of


class Config(DecoderConfig):
    """Options of the task, under the key ``gaussian_rbf`` of a scene file."""

    task: Literal["radiance"] = "radiance"
    deferred: bool = Field(
        False, description="composite activations and colour a pixel once, not every sample"
    )
    harmonics: int = Field(3, ge=0, le=3, description="degree of the spherical harmonics of colour")
    occupancy_resolution: int = Field(96, ge=8, le=512, description="cells along a side of the box")
    steps: int = Field(
        192,
        ge=16,
        le=4096,
        description="samples along the diagonal of the box; unbounded, along all of space",
    )
    unbounded: bool | None = Field(
        None, description="all of space is in the field; null: where pictures show what stands around"
    )
    open_until: float = Field(
        0.5, ge=0, lt=1, description="progress at which all levels of the grid are open, in unbounded scenes"
    )
    distortion: float = Field(
        0.15, ge=0, description="weight of the loss against what is spread along a ray, in unbounded scenes"
    )
    exposure: bool = Field(False, description="learn how bright and how warm each training picture is")
    stop: float = Field(1e-3, ge=0, lt=1, description="transmittance at which a ray ends")
    samples_per_step: int = Field(
        1 << 16, ge=256, le=1 << 22, description="size of a training batch, in samples"
    )
    random_background: bool = Field(
        True,
        description="train on random colours behind the field, lest fog of the background's colour be learnt",
    )


# Log density, per world unit, at raw density 0: 0.02 of optical thickness a step, so that the first rays see
# through the whole box. Our choice.
LOG_DENSITY = 0.8
FOG = 2.0  # optical thickness of all of an unbounded scene at the start
DENSITY_GAIN = 4.0  # the raw density is this times the output layer: density must rise by e^6, colour by 1
MAX_LOG_DENSITY = 12.0
COARSE_LEVELS = 3  # that are open from the first step of an unbounded scene
FINAL_RATE = 0.06  # the learning rate falls exponentially to this part of its start
OCCUPANCY_START, OCCUPANCY_EVERY = 100, 100  # steps
# An unbounded scene begins as fog of which no sample takes much, and behind which something may be: cells are
# looked at later, and a part of what a sample takes of that fog is enough to be seen.
OCCUPANCY_START_IN_FOG, SEEN_IN_FOG = 400, 0.25
# Once it has cleared, the rest of it costs samples that hardly anything comes of: more is asked of a cell.
SEEN_AT_LAST, CLEARING = 0.02, (0.3, 0.8)  # weight; when in the training the bar rises to it
# Fog that has cleared here and there still stands around things: rays are asked to end at one place. In plain
# fog, as it is for the first hundreds of steps, there is no such place yet.
GATHERING = 0.1, 0.4  # when in the training the loss against what is spread begins, and has its full weight
GATHERING_STEPS = 400, 800  # and not before these
EVALUATION_RAYS = 1 << 14


class Rendered(NamedTuple):
    """What rays see.

    Attributes:
        rgb: (rays, 3) premultiplied colour.
        left: (rays,) transmittance.
        weights: (samples,).
        spread: (rays,) half the sum of w_i w_j (s_i - s_j)^2 over all pairs of a ray's samples, where places
            s were given: the distortion of Barron et al. 2022 (Mip-NeRF 360, eq. 15) with the square of the
            distance in place of the distance, for then it follows from two sums, as any colour does.
    """

    rgb: Tensor
    left: Tensor
    weights: Tensor
    spread: Tensor | None


class ScaledGradient(torch.autograd.Function):
    """Values as they are, their gradients times a factor of each row.

    Near a camera a place is met by many rays of one picture, and would take that picture's colours before
    anything farther is learnt: floaters. The square of the distance makes up for it (Philip and Deschaintre
    2023, *Floaters No More*).
    """

    @staticmethod
    def forward(ctx: Any, values: Tensor, factor: Tensor) -> Tensor:
        ctx.save_for_backward(factor)
        return values.view_as(values)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, None]:
        return grads[0] * ctx.saved_tensors[0][:, None], None


class RadianceField(nn.Module):
    """sigma(x) and rgb(x, d) of points in the box: grid -> decoder -> density and view-dependent colour."""

    def __init__(self, config: Config, kernels: Kernels, generator: torch.Generator) -> None:
        super().__init__()
        self.config, self.kernels, self.log_density = config, kernels, LOG_DENSITY
        self.scaled = False  # gradients near cameras
        self.decoder = Decoder(config, 3, kernels, generator)
        width = self.decoder.width
        self.density = nn.Linear(width, 1)
        start_linear(self.density, generator)
        direction = Slot("direction", 3, "spherical_harmonics", config.harmonics)
        outputs = 3 * (1 + width)
        self.view = Network(NetworkSpec((direction,), (Linear(outputs, bias=False),)), generator)
        with torch.no_grad():
            for parameter in self.view.parameters():
                parameter.mul_(0.1)  # start from an even grey

    def density_row(self) -> Tensor:
        """(1, 1 + H): the raw density is this times [1, h]."""
        bias = DENSITY_GAIN * self.density.bias + self.log_density
        return torch.cat([bias[:, None], DENSITY_GAIN * self.density.weight], 1)

    def thickness(self, x: Tensor, step: float) -> Tensor:
        """Optical thickness (n,) of one step at points (n, 3) in [0, 1]."""
        row = self.density_row()[0]
        return optical_thickness(self.decoder(x) @ row[1:] + row[0], step)

    def render(
        self, samples: Samples, rays_d: Tensor, step: float, stop: float, places: Tensor | None = None
    ) -> Rendered:
        """What rays see whose samples are these; ``places`` (samples,) along them for what is spread."""
        h = self.decoder(samples.x)
        if self.scaled:
            h = ScaledGradient.apply(h, samples.t.square().clamp(max=1))
        colour_rows = self.view(rays_d).view(-1, 3, 1 + self.decoder.width)
        density_row = self.density_row().expand(len(rays_d), 1, -1)
        if self.config.deferred:
            s = self.kernels.per_ray_linear(h, density_row, samples.offsets)[:, 0]
            optical = optical_thickness(s, step)
            sums, left, weights, spread = self._composite(optical, h, samples, stop, places)
            alpha = (1 - left)[:, None]
            mean = sums / alpha.clamp(min=1e-6)
            rgb = alpha * torch.sigmoid(
                colour_rows[..., 0] + (colour_rows[..., 1:] @ mean[..., None])[..., 0]
            )
        else:
            y = self.kernels.per_ray_linear(h, torch.cat([density_row, colour_rows], 1), samples.offsets)
            optical, colour = optical_thickness(y[:, 0], step), torch.sigmoid(y[:, 1:])
            rgb, left, weights, spread = self._composite(optical, colour, samples, stop, places)
        return Rendered(rgb, left, weights, spread)

    def _composite(
        self, optical: Tensor, values: Tensor, samples: Samples, stop: float, places: Tensor | None
    ) -> tuple[Tensor, Tensor, Tensor, Tensor | None]:
        if places is None:
            return *self.kernels.composite(optical, values, samples.offsets, stop), None
        values = torch.cat([values, places[:, None], places[:, None] ** 2], 1)
        sums, left, weights = self.kernels.composite(optical, values, samples.offsets, stop)
        spread = (1 - left) * sums[:, -1] - sums[:, -2] ** 2
        return sums[:, :-2], left, weights, spread

    def baked(self) -> dict[str, BakedNetwork]:
        """The networks that the shader ``gaussian_rbf/march.glsl`` asks for, gains and folds absorbed."""
        hidden, top = self.decoder.layers, len(self.decoder.layers)
        density = numpy(self.density_row())
        rows = numpy(self.view.weights["0_weight"])[0].reshape(3, 1 + self.decoder.width, -1)
        colour = self.decoder.absorb_gain(rows[:, 1:].swapaxes(1, 2)).swapaxes(1, 2)
        rows = np.concatenate([rows[:, :1], colour], 1)  # (3, 1 + width, harmonics)
        features = Slot("features", self.decoder.grid.spec.output_width)
        parameters = {
            **self.decoder.baked_layers(),
            f"{top}.weight": self.decoder.absorb_gain(density[:, 1:])[None],
            f"{top}.bias": density[:, :1],
        }
        return {
            "decoder": BakedNetwork(NetworkSpec((features,), (*hidden, Linear(1), Concat(top))), parameters),
            "view": BakedNetwork(self.view.spec, {"0.weight": rows.reshape(1, -1, rows.shape[-1])}),
        }


def optical_thickness(s: Tensor, step: float) -> Tensor:
    """Of a step through raw density s."""
    return s.clamp(max=MAX_LOG_DENSITY).exp() * step


class Radiance:
    """Task ``radiance``: posed pictures to a radiance field (a ``training.families.Model``)."""

    def __init__(
        self, config: Config, dataset: PosedImages, kernels: Kernels, device: str, seed: int
    ) -> None:
        self.config, self.dataset, self.kernels, self.device = config, dataset, kernels, device
        self.generator = seeded(seed)
        self.field = RadianceField(config, kernels, self.generator).to(device)
        self.space = space_of(dataset, config.unbounded, config.occupancy_resolution, device)
        if self.space.unbounded:
            self.field.log_density = math.log(FOG / self.space.length)
        self.field.scaled = self.space.ball is not None
        self.seen = SEEN_IN_FOG * FOG / config.steps if self.space.unbounded else SEEN
        self.occupancy = Occupancy(self.space.cells, self.seen)
        self.occupancy.to(device)
        self.pixels = PixelRays(dataset, device)
        self.background = torch.from_numpy(np.asarray(dataset.background, np.float32)).to(device)
        self.step_size = self.space.length / config.steps
        self.exposure = Exposure(len(dataset.train) if config.exposure else 0).to(device)
        outputs = [*self.field.density.parameters(), *self.field.view.parameters()]
        self.optimiser = self.field.decoder.optimiser([*outputs, *self.exposure.parameters()])
        self.steps_done = 0
        # Of what the longest rays take at first, as one in six does in a box about an object.
        first = config.steps // (2 if self.space.unbounded else 6)
        self.rays_per_step = max(64, config.samples_per_step // first)
        self.stages: tuple[Stage, ...] = (Stage("radiance", 1.0, self.step),)

    def march(self, rays_o: Tensor, rays_d: Tensor, jitter: Tensor) -> Samples:
        return self.space.march(self.kernels, rays_o, rays_d, self.occupancy.leaps, self.step_size, jitter)

    def compile(self) -> None:
        rays_o, rays_d, *_ = self.pixels.draw(256, seeded(0))
        samples = self.march(rays_o, rays_d, torch.full((256,), 0.5, device=self.device))
        seen = self.field.render(
            samples, rays_d, self.step_size, self.config.stop, self.space.places(samples.t)
        )
        (seen.rgb.sum() + seen.left.sum()).backward()
        self.optimiser.zero_grad()

    def step(self, progress: float) -> dict[str, float]:
        if self.space.unbounded:
            opened = min(progress / self.config.open_until, 1) if self.config.open_until else 1.0
            levels = self.config.levels
            self.field.decoder.open(min(levels, COARSE_LEVELS + opened * max(levels - COARSE_LEVELS, 0)))
            cleared = min(max((progress - CLEARING[0]) / (CLEARING[1] - CLEARING[0]), 0), 1)
            self.occupancy.least = self.seen * (SEEN_AT_LAST / self.seen) ** cleared
        index = self.pixels.own(self.rays_per_step, self.generator)
        rays_o, rays_d, colour, alpha = self.pixels.rays(index)
        jitter = torch.rand(len(rays_o), generator=self.generator).to(self.device)
        samples = self.march(rays_o, rays_d, jitter)
        gathering = self._gathering(progress)
        places = self.space.places(samples.t) if gathering else None
        rgb, left, weights, spread = self.field.render(
            samples, rays_d, self.step_size, self.config.stop, places
        )
        background = self.background
        if self.config.random_background and (self.pixels.channels == 4 or self.space.unbounded):
            background = torch.rand(len(rays_o), 3, generator=self.generator).to(self.device)
        truth = colour * alpha + (1 - alpha) * background
        rgb = rgb * self.exposure(self.pixels.views(index))
        loss = functional.mse_loss(rgb + left[:, None] * background, truth)
        whole = loss if spread is None else loss + gathering * spread.mean()
        descend(self.optimiser, whole, self.config.learning_rate * FINAL_RATE**progress)
        self.occupancy.note(samples, weights)
        self.steps_done += 1
        start = OCCUPANCY_START_IN_FOG if self.space.unbounded else OCCUPANCY_START
        if self.steps_done >= start and self.steps_done % OCCUPANCY_EVERY == 0:
            self.occupancy.update(lambda x: self.field.thickness(x, self.step_size), self.generator)
        # Rays per step follow the samples they cost, so that every step costs the same.
        found = processes.mean(len(samples.t))
        wanted = self.rays_per_step * self.config.samples_per_step / max(found, 1)
        self.rays_per_step = min(max(round(0.9 * self.rays_per_step + 0.1 * wanted), 64), 1 << 17)
        return {"psnr": -10 * math.log10(max(loss.item(), 1e-12)), "rays": float(len(rays_o))}

    def _gathering(self, progress: float) -> float:
        """The weight of what is spread along rays."""
        if not self.space.unbounded:
            return 0.0
        parts = ((progress, GATHERING), (self.steps_done, GATHERING_STEPS))
        ramps = (min(max((at - begin) / (end - begin), 0), 1) for at, (begin, end) in parts)
        return self.config.distortion * math.prod(ramps)

    @property
    def earlier(self) -> Mapping[str, Draw]:
        return {}

    def state(self) -> dict[str, Tensor]:
        return {
            **prefixed("field.", self.field.state_dict()),
            **prefixed("exposure.", self.exposure.state_dict()),
            **prefixed("occupancy.", self.occupancy.state_dict()),
            **prefixed("optimiser.", optimiser_state(self.optimiser)),
            "generator": self.generator.get_state(),
            "counters": torch.tensor([self.steps_done, self.rays_per_step]),
        }

    def load_state(self, state: Mapping[str, Tensor]) -> None:
        self.field.load_state_dict(without_prefix("field.", state))
        self.exposure.load_state_dict(without_prefix("exposure.", state))
        self.occupancy.load_state_dict(without_prefix("occupancy.", state))
        load_optimiser(self.optimiser, without_prefix("optimiser.", state))
        self.generator.set_state(state["generator"])
        self.steps_done, self.rays_per_step = (int(value) for value in state["counters"])

    @torch.no_grad()
    def draw(self, camera: Camera) -> NDArray[np.float32]:
        rays_o, rays_d = camera_rays(camera, self.device)
        rows = []
        for o, d in zip(rays_o.split(EVALUATION_RAYS), rays_d.split(EVALUATION_RAYS), strict=True):
            samples = self.march(o, d, torch.full((len(o),), 0.5, device=self.device))
            seen = self.field.render(samples, d, self.step_size, self.config.stop)
            left = seen.left[:, None]
            rows.append(torch.cat([seen.rgb + left * self.background, 1 - left], -1))
        return numpy(torch.cat(rows)).reshape(camera.h, camera.w, 4)

    def metrics(self) -> dict[str, float]:
        return {}

    def preview(self) -> BakedAsset:
        return self.bake()

    def bake(self) -> BakedAsset:
        return BakedAsset(
            family="gaussian_rbf",
            driver="march",
            networks=self.field.baked(),
            grids={"features": self.field.decoder.baked_grid(self.config.precision)},
            volumes={"occupancy": self.occupancy.cells},
            constants={
                "step_size": self.step_size,
                "stop": self.config.stop,
                "max_log_density": MAX_LOG_DENSITY,
                "deferred": int(self.config.deferred),
                **self.space.constants,
            },
            **{**facts_for_asset(self.dataset), **self.space.facts},
        )


PRESETS: dict[str, dict[str, Any]] = {
    "default": {},
    "fast": {"steps": 128, "log2_table_size": 16, "occupancy_resolution": 64},  # to look at before a long run
    "paper": {"decoder": "rbf", "neurons": 32},
}
TASK = Task(Config, PosedImages, Radiance, PRESETS)
