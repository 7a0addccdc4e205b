"""Gaussian RBF fields: multi-resolution grid features decoded by Gaussian kernels in feature space.

Sources: GNF / Gaussian RBFNet (Bouzidi, Laga, Wannous and Sohel 2025, arXiv 2503.06762): the decoder
y = W exp(-1/2 sum_f beta_f (x_f - mu_f)^2) + b on grid features x, spherical harmonics of degree 3 for
colour; instant-ngp (Mueller et al. 2022) for the grid and the occupancy.

Where we differ, each by our own measurement (README, "Decoders"):
- The default decoder normalises the kernels (a softmax of squared distances) and appends x itself as a linear
  term; ``decoder: rbf`` is the paper's, ``decoder: mlp`` a ReLU layer with the same number of multiply-adds.
- The output layer for colour is linear in the harmonics of the ray direction, so it is folded once per ray
  into three rows, which makes the colour of a sample 3 (1 + H) multiply-adds instead of 48 (1 + H).
- ``deferred`` composites the activations and applies the output layer once per pixel.
- The scene box is the object's, carved from its silhouettes, and only what is dense and seen is sampled
  (``training/occupancy.py``).
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field
from torch import Tensor, nn
from torch.nn import functional

from render.asset import BakedAsset, BakedGrid, BakedNetwork
from render.camera import Camera
from render.grid import GridSpec
from render.network import Concat, Layer, Linear, NetworkSpec, Normalise, Slot, SquareConcat
from scenes import PosedImages
from scenes.hull import visual_hull
from training.families import Family, Stage, seeded
from training.kernels import Kernels, Samples
from training.modules import Grid, Network
from training.occupancy import Occupancy
from training.rays import PixelRays, camera_rays


class Config(BaseModel):
    """Options of the family, under the key ``gaussian_rbf`` of a scene file."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)

    task: Literal["radiance"] = "radiance"
    decoder: Literal["normalised_rbf", "rbf", "mlp"] = Field(
        "normalised_rbf", description="what decodes the features"
    )
    neurons: int = Field(16, ge=1, le=128, description="kernels, or ReLU units")
    deferred: bool = Field(
        False, description="composite activations and colour a pixel once, not every sample"
    )
    harmonics: int = Field(3, ge=0, le=3, description="degree of the spherical harmonics of colour")
    levels: int = Field(8, ge=1, le=16, description="resolutions of the grid")
    features: Literal[1, 2, 4, 8] = Field(2, description="values per grid entry")
    base_resolution: int = Field(
        16, ge=2, le=512, description="coarsest level, cells along a side of the box"
    )
    finest_resolution: int = Field(512, ge=2, le=8192, description="finest level")
    log2_table_size: int = Field(18, ge=8, le=22, description="a level has at most 2^this entries")
    occupancy_resolution: int = Field(96, ge=8, le=512, description="cells along a side of the box")
    steps: int = Field(192, ge=16, le=4096, description="samples along the diagonal of the box")
    stop: float = Field(1e-3, ge=0, lt=1, description="transmittance at which a ray ends")
    samples_per_step: int = Field(
        1 << 16, ge=256, le=1 << 22, description="size of a training batch, in samples"
    )
    learning_rate: float = Field(4e-2, gt=0, le=1)
    random_background: bool = Field(
        True,
        description="train on random colours behind alpha, lest fog of the background's colour be learnt",
    )
    precision: Literal["float32", "float16"] = Field("float16", description="storage of the asset")


# Log density, per world unit, at raw density 0: 0.02 of optical thickness a step, so that the first rays see
# through the whole box. Our choice.
LOG_DENSITY = 0.8
DENSITY_GAIN = 4.0  # the raw density is this times the output layer: density must rise by e^6, colour by 1
KERNEL_GAIN = 8.0  # scale of normalised kernels: the pace they learn at; absorbed by the next layer at bake
MAX_LOG_DENSITY = 12.0
LOG2_E = math.log2(math.e)
# Of the grid's learning rate: at the same rate some runs lose all kernels but one and never recover.
DECODER_RATE = 0.25
FINAL_RATE = 0.06  # the learning rate falls exponentially to this part of its start
OCCUPANCY_START, OCCUPANCY_EVERY = 100, 100  # steps
EVALUATION_RAYS = 1 << 14


def decoder_layers(config: Config, features: int) -> tuple[Layer, ...]:
    """The hidden layers: their last stage holds the activations h that density and colour are linear in."""
    kernels = Linear(config.neurons, activation="gaussian")
    if config.decoder == "normalised_rbf":
        return SquareConcat(), kernels, Normalise(), Concat(0)
    if config.decoder == "rbf":
        return SquareConcat(), kernels
    return (Linear(config.neurons, activation="relu"),)


class RadianceField(nn.Module):
    """sigma(x) and rgb(x, d) of points in the box: grid -> decoder -> density and view-dependent colour."""

    def __init__(self, config: Config, kernels: Kernels, generator: torch.Generator) -> None:
        super().__init__()
        growth = (config.finest_resolution / config.base_resolution) ** (1 / max(config.levels - 1, 1))
        self.config, self.kernels = config, kernels
        self.grid = Grid(
            GridSpec(
                3, config.levels, config.features, config.base_resolution, growth, config.log2_table_size
            ),
            kernels,
            generator,
        )
        width = self.grid.spec.output_width
        hidden = decoder_layers(config, width)
        top = len(hidden)
        self.spec = NetworkSpec((Slot("features", width),), (*hidden, Linear(1), Concat(top)))
        self.hidden_width = self.spec.widths[top]
        if config.decoder == "mlp":
            self.hidden = nn.Linear(width, config.neurons)
        else:
            # beta = exp(log_beta) and mu of eq. 1.1; centres spread over the range that features grow into.
            self.log_beta = nn.Parameter(torch.zeros(config.neurons, width))
            self.mu = nn.Parameter(torch.rand(config.neurons, width, generator=generator) - 0.5)
        self.density = nn.Linear(self.hidden_width, 1)
        outputs = 3 * (1 + self.hidden_width)
        direction = Slot("direction", 3, "spherical_harmonics", config.harmonics)
        self.view = Network(NetworkSpec((direction,), (Linear(outputs, bias=False),)), generator)
        with torch.no_grad():
            for parameter in (
                *self.density.parameters(),
                *(self.hidden.parameters() if config.decoder == "mlp" else ()),
            ):
                reach = 1 / math.sqrt(parameter.shape[-1]) if parameter.ndim == 2 else 0
                parameter.copy_((torch.rand(parameter.shape, generator=generator) * 2 - 1) * reach)
            for parameter in self.view.parameters():
                parameter.mul_(0.1)  # start from an even grey

    def folded(self) -> tuple[Tensor, Tensor]:
        """Kernels as a linear layer on [x, x^2], to base 2: weight (N, 2F), bias (N,)."""
        beta = LOG2_E * self.log_beta.clamp(-6, 6).exp()
        weight = torch.cat([beta * self.mu, -0.5 * beta], 1)
        return weight, -0.5 * (beta * self.mu**2).sum(-1)

    def activations(self, x: Tensor) -> Tensor:
        """Features (n, F) -> h (n, H), which density and colour are linear in."""
        if self.config.decoder == "mlp":
            return functional.relu(self.hidden(x))
        normalised = self.config.decoder == "normalised_rbf"
        gain = KERNEL_GAIN if normalised else 1.0
        return self.kernels.gaussian_kernels(x, *self.folded(), normalised, gain, normalised)

    def density_row(self) -> Tensor:
        """(1, 1 + H): the raw density is this times [1, h]."""
        bias = DENSITY_GAIN * self.density.bias + LOG_DENSITY
        return torch.cat([bias[:, None], DENSITY_GAIN * self.density.weight], 1)

    def thickness(self, x: Tensor, step: float) -> Tensor:
        """Optical thickness (n,) of one step at points (n, 3) in [0, 1]."""
        row = self.density_row()[0]
        return optical_thickness(self.activations(self.grid(x)) @ row[1:] + row[0], step)

    def render(
        self, samples: Samples, rays_d: Tensor, step: float, stop: float
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Premultiplied colour (rays, 3), transmittance (rays,) and weights (samples,)."""
        h = self.activations(self.grid(samples.x))
        colour_rows = self.view(rays_d).view(-1, 3, 1 + self.hidden_width)
        density_row = self.density_row().expand(len(rays_d), 1, -1)
        if self.config.deferred:
            s = self.kernels.per_ray_linear(h, density_row, samples.offsets)[:, 0]
            sums, left, weights = self.kernels.composite(optical_thickness(s, step), h, samples.offsets, stop)
            alpha = (1 - left)[:, None]
            mean = sums / alpha.clamp(min=1e-6)
            rgb = alpha * torch.sigmoid(
                colour_rows[..., 0] + (colour_rows[..., 1:] @ mean[..., None])[..., 0]
            )
        else:
            y = self.kernels.per_ray_linear(h, torch.cat([density_row, colour_rows], 1), samples.offsets)
            optical, colour = optical_thickness(y[:, 0], step), torch.sigmoid(y[:, 1:])
            rgb, left, weights = self.kernels.composite(optical, colour, samples.offsets, stop)
        return rgb, left, weights

    def baked(self, precision: str) -> tuple[dict[str, BakedNetwork], dict[str, BakedGrid]]:
        """The parts that ``shaders/families/gaussian_rbf.glsl`` asks for, gains and folds absorbed."""
        parameters: dict[str, NDArray[np.float32]] = {}
        density = _numpy(self.density_row())
        rows = _numpy(self.view.weights["0_weight"])[0].reshape(3, 1 + self.hidden_width, -1).copy()
        if self.config.decoder == "mlp":
            parameters = {
                "0.weight": _numpy(self.hidden.weight)[None],
                "0.bias": _numpy(self.hidden.bias)[None],
            }
        else:
            weight, bias = (_numpy(part) for part in self.folded())
            parameters = {"1.weight": weight[None], "1.bias": bias[None]}
        if self.config.decoder == "normalised_rbf":
            kernels = slice(1, 1 + self.config.neurons)
            density[:, kernels] *= KERNEL_GAIN
            rows[:, kernels] *= KERNEL_GAIN
        top = len(self.spec.layers) - 2
        parameters |= {f"{top}.weight": density[None, :, 1:], f"{top}.bias": density[:, :1]}
        view = {"0.weight": rows.reshape(1, -1, rows.shape[-1])}
        networks = {
            "decoder": BakedNetwork(self.spec, parameters),
            "view": BakedNetwork(self.view.spec, view),
        }
        spec = GridSpec(**{**self.grid.spec.to_json(), "precision": precision})
        return networks, {"features": BakedGrid(spec, _numpy(self.grid.table).astype(precision))}


def optical_thickness(s: Tensor, step: float) -> Tensor:
    """Of a step through raw density s."""
    return s.clamp(max=MAX_LOG_DENSITY).exp() * step


def _numpy(tensor: Tensor) -> NDArray[np.float32]:
    return tensor.detach().cpu().numpy().astype(np.float32)


class Radiance:
    """Task ``radiance``: posed pictures to a radiance field (a ``training.families.Model``)."""

    def __init__(
        self, config: Config, dataset: PosedImages, kernels: Kernels, device: str, seed: int
    ) -> None:
        self.config, self.dataset, self.kernels, self.device = config, dataset, kernels, device
        self.generator = seeded(seed)
        self.field = RadianceField(config, kernels, self.generator).to(device)
        hull = visual_hull(dataset.train, dataset.bounds, config.occupancy_resolution)
        self.occupancy = Occupancy(hull).to(device)
        self.pixels = PixelRays(dataset, device)
        self.bounds = torch.from_numpy(np.asarray(dataset.bounds, np.float32)).to(device)
        self.background = torch.from_numpy(np.asarray(dataset.background, np.float32)).to(device)
        self.step_size = 2.0 / config.steps  # the diagonal of the box is 2
        decoder = [value for name, value in self.field.named_parameters() if name != "grid.table"]
        self.rates = config.learning_rate, config.learning_rate * DECODER_RATE
        groups = [{"params": [self.field.grid.table]}, {"params": decoder}]
        self.optimiser = torch.optim.Adam(groups, lr=self.rates[0], betas=(0.9, 0.99), eps=1e-15, fused=True)
        self.steps_done, self.rays_per_step = 0, config.samples_per_step // 32
        self.stages: tuple[Stage, ...] = (Stage("radiance", 1.0, self.step),)

    def march(self, rays_o: Tensor, rays_d: Tensor, jitter: Tensor) -> Samples:
        return self.kernels.march(rays_o, rays_d, self.bounds, self.occupancy.leaps, self.step_size, jitter)

    def compile(self) -> None:
        rays_o, rays_d, *_ = self.pixels.draw(256, seeded(0))
        samples = self.march(rays_o, rays_d, torch.full((256,), 0.5, device=self.device))
        rgb, left, _ = self.field.render(samples, rays_d, self.step_size, self.config.stop)
        (rgb.sum() + left.sum()).backward()
        self.optimiser.zero_grad()

    def step(self, progress: float) -> dict[str, float]:
        rays_o, rays_d, colour, alpha = self.pixels.draw(self.rays_per_step, self.generator)
        jitter = torch.rand(len(rays_o), generator=self.generator).to(self.device)
        samples = self.march(rays_o, rays_d, jitter)
        rgb, left, weights = self.field.render(samples, rays_d, self.step_size, self.config.stop)
        background = self.background
        if self.config.random_background and self.pixels.channels == 4:
            background = torch.rand(len(rays_o), 3, generator=self.generator).to(self.device)
        truth = colour * alpha + (1 - alpha) * background
        loss = functional.mse_loss(rgb + left[:, None] * background, truth)
        for group, rate in zip(self.optimiser.param_groups, self.rates, strict=True):
            group["lr"] = rate * FINAL_RATE**progress
        self.optimiser.zero_grad()
        loss.backward()
        self.optimiser.step()
        self.occupancy.note(samples, weights)
        self.steps_done += 1
        if self.steps_done >= OCCUPANCY_START and self.steps_done % OCCUPANCY_EVERY == 0:
            self.occupancy.update(lambda x: self.field.thickness(x, self.step_size), self.generator)
        # Rays per step follow the samples they cost, so that every step costs the same.
        wanted = self.rays_per_step * self.config.samples_per_step / max(len(samples.t), 1)
        self.rays_per_step = min(max(round(0.9 * self.rays_per_step + 0.1 * wanted), 64), 1 << 17)
        return {"psnr": -10 * math.log10(max(loss.item(), 1e-12)), "rays": float(len(rays_o))}

    def state(self) -> dict[str, Tensor]:
        found = {f"field.{name}": value for name, value in self.field.state_dict().items()}
        found |= {f"occupancy.{name}": value for name, value in self.occupancy.state_dict().items()}
        for index, moments in self.optimiser.state_dict()["state"].items():
            found |= {f"optimiser.{index}.{name}": value for name, value in moments.items()}
        counters = torch.tensor([self.steps_done, self.rays_per_step])
        return {**found, "generator": self.generator.get_state(), "counters": counters}

    def load_state(self, state: Mapping[str, Tensor]) -> None:
        def part(prefix: str) -> dict[str, Tensor]:
            return {
                name.removeprefix(prefix): value for name, value in state.items() if name.startswith(prefix)
            }

        self.field.load_state_dict(part("field."))
        self.occupancy.load_state_dict(part("occupancy."))
        moments: dict[int, dict[str, Tensor]] = {}
        for name, value in part("optimiser.").items():
            index, key = name.split(".")
            moments.setdefault(int(index), {})[key] = value
        self.optimiser.load_state_dict({**self.optimiser.state_dict(), "state": moments})
        self.generator.set_state(state["generator"])
        self.steps_done, self.rays_per_step = (int(value) for value in state["counters"])

    @torch.no_grad()
    def draw(self, camera: Camera) -> NDArray[np.float32]:
        rays_o, rays_d = camera_rays(camera, self.device)
        rows = []
        for o, d in zip(rays_o.split(EVALUATION_RAYS), rays_d.split(EVALUATION_RAYS), strict=True):
            samples = self.march(o, d, torch.full((len(o),), 0.5, device=self.device))
            rgb, left, _ = self.field.render(samples, d, self.step_size, self.config.stop)
            rows.append(torch.cat([rgb + left[:, None] * self.background, 1 - left[:, None]], -1))
        return _numpy(torch.cat(rows)).reshape(camera.h, camera.w, 4)

    def bake(self) -> BakedAsset:
        networks, grids = self.field.baked(self.config.precision)
        return BakedAsset(
            family="gaussian_rbf",
            driver="march",
            bounds=self.dataset.bounds,
            networks=networks,
            grids=grids,
            volumes={"occupancy": self.occupancy.cells},
            constants={
                "step_size": self.step_size,
                "stop": self.config.stop,
                "max_log_density": MAX_LOG_DENSITY,
                "deferred": int(self.config.deferred),
            },
            background=self.dataset.background,
            up=self.dataset.up,
            world_from_source=self.dataset.world_from_source,
            camera=self.dataset.test.cameras[0],
            held_out=self.dataset.test.cameras,
        )


PRESETS: dict[str, dict[str, Any]] = {
    "default": {},
    "fast": {"steps": 128, "log2_table_size": 16, "occupancy_resolution": 64},  # to look at before a long run
    "paper": {"decoder": "rbf", "neurons": 32},
}

FAMILY = Family(config=Config, tasks={"radiance": PosedImages}, build=Radiance, presets=PRESETS)
