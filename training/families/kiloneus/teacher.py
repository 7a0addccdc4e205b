"""Task ``teacher``: posed pictures to one signed distance field with colours, NeuS on a grid of features.

What departs from NeuS (Wang et al. 2021) is our choice where no other source is named: grid features and two
small decoders instead of two large networks; gradients from finite differences whose reach follows the finest
level in use, which opens level by level (Li et al. 2023); samples on a lattice in occupied cells instead of
importance sampling; random colours behind alpha, which teach the mask as well as a loss of its own.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import replace
from typing import Literal

import numpy as np
import torch
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field
from torch import Tensor, nn

from render.asset import BakedAsset, BakedGrid, BakedNetwork
from render.camera import Camera
from render.drivers import trace
from render.errors import InshaderError
from render.grid import GridSpec
from render.network import Linear, NetworkSpec, Slot
from render.occupancy import dilate
from scenes import PosedImages
from scenes.hull import visual_hull
from training.checkpoint import load_optimiser, optimiser_state, prefixed, without_prefix
from training.families import Draw, Stage, Task, facts_for_asset, seeded
from training.families.kiloneus.backdrop import Backdrop
from training.families.kiloneus.cells import cells_near
from training.families.kiloneus.neus import Sharpness, gradient_of_taps, taps
from training.families.kiloneus.volume import VolumeTraining, Weights
from training.kernels import Kernels
from training.modules import Grid, Network, stage_0
from training.optimise import adam, descend

POINTS_AT_ONCE = 1 << 17
DECODER_RATE, SHARPNESS_RATE = 0.2, 0.1  # of the grid's learning rate
FINAL_RATE = 0.05  # learning rates fall exponentially to this part of their start
COARSE_LEVELS = 4  # that are open from the first step
# What the distance sees of a feature: an entry may then learn colour fast without shaking the surface.
CALM = 0.1
START_SHARE, START_POINTS = 0.01, 1 << 14  # of the budget, and of the hull in a step
START_BAND = 0.1  # world units: how near to the hull's rim its points are


class TeacherConfig(BaseModel):
    """Options of the teacher, which the students' task has too."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)

    neurons: int = Field(32, ge=8, le=128, description="of the teacher's hidden layers")
    levels: int = Field(8, ge=1, le=16, description="resolutions of the grid")
    features: Literal[1, 2, 4, 8] = Field(2, description="values per grid entry")
    base_resolution: int = Field(16, ge=2, le=512, description="coarsest level, cells a side of the box")
    finest_resolution: int = Field(256, ge=2, le=8192, description="finest level")
    log2_table_size: int = Field(17, ge=8, le=22, description="a level has at most 2^this entries")
    harmonics: int = Field(3, ge=0, le=3, description="degree of the spherical harmonics of colour")
    occupancy_resolution: int = Field(96, ge=8, le=512, description="cells a side of the box")
    steps: int = Field(384, ge=16, le=4096, description="samples along the diagonal of the box")
    samples_per_step: int = Field(1 << 14, ge=256, le=1 << 22, description="size of a training batch")
    learning_rate: float = Field(2e-2, gt=0, le=1, description="of the teacher's grid")
    eikonal: float = Field(0.1, ge=0, le=10, description="weight of the eikonal loss")
    bend: float = Field(0.3, ge=0, le=100, description="weight of the surface's roughness")
    mask: float = Field(0.1, ge=0, le=10, description="weight of the mask loss, where pictures have alpha")
    sharpness: float = Field(150.0, ge=1, le=1e4, description="s at the start, per world unit")
    final_sharpness: float = Field(800.0, ge=1, le=1e5, description="that s reaches at least, per world unit")
    sharp_until: float = Field(0.7, gt=0, le=1, description="progress at which it does")
    radius: float = Field(0.4, gt=0, lt=1, description="of the ball that the teacher starts as, world units")
    open_until: float = Field(0.5, ge=0, le=1, description="progress at which all levels are open")
    anneal_until: float = Field(0.2, ge=0, le=1, description="progress at which slopes count as they are")
    precision: Literal["float32", "float16"] = Field("float16", description="storage of the asset")


class TeacherField(nn.Module):
    """f(x), grad f and rgb(x, n, d) of points in the box: grid features -> two decoders."""

    mask: Tensor
    low: Tensor
    size: Tensor

    def __init__(
        self,
        config: TeacherConfig,
        bounds: NDArray[np.float32],
        kernels: Kernels,
        generator: torch.Generator,
    ) -> None:
        super().__init__()
        self.kernels = kernels
        resolutions = config.base_resolution, config.finest_resolution
        spec = GridSpec.between(*resolutions, 3, config.levels, config.features, config.log2_table_size)
        self.grid = Grid(spec, kernels, generator)
        features = Slot("features", spec.output_width)
        hidden = Linear(config.neurons, activation="relu")
        self.decoder = Network(NetworkSpec((features, Slot("position", 3)), (hidden, Linear(1))), generator)
        direction = Slot("direction", 3, "spherical_harmonics", config.harmonics)
        layers = (hidden, hidden, Linear(3, activation="sigmoid"))
        self.colour = Network(NetworkSpec((features, Slot("normal", 3), direction), layers), generator)
        self.sharpness = Sharpness(config.sharpness)
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
        """f (n,) of features at u."""
        return self.run(self.decoder, torch.cat([CALM * features, self.low + u * self.size], -1))[:, 0]

    def colours(self, features: Tensor, normal: Tensor, d: Tensor) -> Tensor:
        """Display colours (n, 3) for features (n, F), unit normals and unit directions (n, 3)."""
        return self.run(self.colour, stage_0(self.colour.spec, features, normal, d))

    def run(self, network: Network, x: Tensor) -> Tensor:
        """A network on its stage 0 by the kernels."""
        offsets = torch.tensor([0, len(x)], device=x.device)
        return self.kernels.networks(network.spec, network.parameters_by_name(), x, offsets)

    def distance(self, u: Tensor) -> Tensor:
        """World distances (n,) at u (n, 3) in [0, 1]."""
        return self.decoded(self.encoded(u), u)

    def distance_gradient(self, u: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """At u (n, 3): f (n,), world gradient (n, 3) and bend (n,) by differences, features (n, F)."""
        points = taps(u, self.reach, self.size)
        features = self.encoded(points.reshape(-1, 3))
        f = self.decoded(features, points.reshape(-1, 3)).view(-1, 5)
        bend = (f[:, 1:].mean(-1) - f[:, 0]) / self.reach
        return (
            f[:, 0],
            gradient_of_taps(f, self.reach),
            bend,
            features.view(len(u), 5, features.shape[-1])[:, 0],
        )

    def forward(self, u: Tensor, d: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """As ``volume.Field`` has it, at u (n, 3) seen along d (n, 3)."""
        f, gradient, bend, features = self.distance_gradient(u)
        normal = nn.functional.normalize(gradient, dim=-1, eps=1e-6)
        return f, gradient, self.colours(features, normal, d), bend

    def baked(self, precision: str) -> tuple[dict[str, BakedNetwork], BakedGrid]:
        """Networks and grid that the shader ``kiloneus/trace.glsl`` asks for, with all levels open."""
        low, size, width = self.low.cpu().numpy(), self.size.cpu().numpy(), self.grid.spec.output_width
        # The shader's position is u: x = low + u * size goes into the first layer.
        parameters = self.decoder.baked()
        weight = parameters["0.weight"].copy()
        parameters["0.bias"] = parameters["0.bias"] + weight[..., width:] @ low
        weight[..., width:] *= size
        weight[..., :width] *= CALM
        parameters["0.weight"] = weight
        networks = {
            "decoder": BakedNetwork(replace(self.decoder.spec, precision=precision), parameters),
            "colour": BakedNetwork(replace(self.colour.spec, precision=precision), self.colour.baked()),
        }
        table = self.grid.table.detach().cpu().numpy().astype(precision)
        return networks, BakedGrid(replace(self.grid.spec, precision=precision), table)


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
        decoder.weights["1_bias"].fill_(-radius)


class TeacherTask(TeacherConfig):
    """Options of the task, under the key ``kiloneus`` of a scene file."""

    task: Literal["teacher"] = "teacher"


class TeacherTraining:
    """The teacher with its optimiser and batches: a stage of the students' task, and all of its own."""

    def __init__(
        self, config: TeacherConfig, dataset: PosedImages, kernels: Kernels, device: str, seed: int
    ) -> None:
        self.config = config
        self.generator = seeded(seed)
        self.field = TeacherField(config, dataset.bounds, kernels, self.generator).to(device)
        resolution = config.occupancy_resolution
        alpha = dataset.train.images.shape[-1] == 4
        self.hull = visual_hull(dataset.train, dataset.bounds, resolution) if alpha else None
        check_views(dataset, self.hull, config.radius)
        self.hull_distance: tuple[Tensor, Tensor] | None = None  # points in [0, 1] and distances, when wanted
        self.backdrop = None if alpha else Backdrop(kernels, self.generator).to(device)
        # A cell more: where the hull is tight, the surface has to be able to lie on its rim.
        allowed = np.ones((resolution,) * 3, bool) if self.hull is None else dilate(self.hull)
        steps, samples = config.steps, config.samples_per_step
        self.volume = VolumeTraining(dataset, kernels, device, allowed, steps, samples, self.backdrop)
        decoders = [*self.field.decoder.parameters(), *self.field.colour.parameters()]
        decoders += [] if self.backdrop is None else list(self.backdrop.parameters())
        self.optimiser = adam(
            {
                1.0: [self.field.grid.table],
                DECODER_RATE: decoders,
                SHARPNESS_RATE: list(self.field.sharpness.parameters()),
            }
        )

    @property
    def starts(self) -> tuple[Stage, ...]:
        """The stage before NeuS's: with alpha, the field becomes the visual hull's distance."""
        return () if self.hull is None else (Stage("start", START_SHARE, self.start),)

    def start(self, progress: float) -> dict[str, float]:
        """Towards the distance to the rim of the visual hull, where it is near."""
        if self.hull_distance is None:
            assert self.hull is not None  # there is no such stage without one
            size = self.field.size.cpu().numpy()
            distance = torch.from_numpy(rim_distance(self.hull, size)).to(self.field.size)
            near = torch.nonzero(distance.abs() < START_BAND)
            self.hull_distance = (near + 0.5) / torch.tensor(self.hull.shape), distance[tuple(near.T)]
        u, truth = self.hull_distance
        index = torch.randint(len(u), (START_POINTS,), generator=self.generator)
        self.field.open(COARSE_LEVELS)
        error = self.field.distance(u[index]) - truth[index]
        descend(self.optimiser, error.abs().mean(), self.config.learning_rate)
        return {"psnr": -10 * math.log10(max(error.detach().square().mean().item(), 1e-12))}

    def step(self, progress: float) -> dict[str, float]:
        config, field = self.config, self.field
        opening = min(progress / config.open_until, 1) if config.open_until else 1.0
        field.open(COARSE_LEVELS + opening * max(config.levels - COARSE_LEVELS, 0))
        anneal = min(progress / config.anneal_until, 1) if config.anneal_until else 1.0
        weights = Weights(config.eikonal, config.bend, config.mask, 0.0)
        rise = (config.final_sharpness / config.sharpness) ** min(progress / config.sharp_until, 1)
        field.sharpness.floor.fill_(config.sharpness * rise)
        s = field.sharpness()
        loss, shown = self.volume.loss(field, field.distance, s, anneal, weights, self.generator)
        descend(self.optimiser, loss, config.learning_rate * FINAL_RATE**progress)
        self.volume.look_again(field.distance, s.detach(), self.generator)
        return shown

    def compile(self) -> None:
        field, s = self.field, self.field.sharpness()
        before = self.volume.state()
        weights = Weights(self.config.eikonal, self.config.bend, self.config.mask, 0.0)
        loss, _ = self.volume.loss(field, field.distance, s, 1.0, weights, seeded(0))
        loss.backward()
        self.optimiser.zero_grad()
        self.volume.load_state(before)

    def draw(self, camera: Camera) -> NDArray[np.float32]:
        """Volume-rendered: (h, w, 4), colour on the background and coverage."""
        return self.volume.draw(self.field, self.field.sharpness(), camera)

    @torch.no_grad()
    def distance(self, u: NDArray[np.float32]) -> NDArray[np.float32]:
        """World distances (n,) at u (n, 3) in [0, 1]."""
        parts = torch.from_numpy(np.ascontiguousarray(u, np.float32)).to(self.field.low.device)
        return np.concatenate(
            [self.field.distance(part).cpu().numpy() for part in parts.split(POINTS_AT_ONCE)]
        )

    def state(self) -> dict[str, Tensor]:
        return {
            **prefixed("field.", self.field.state_dict()),
            **prefixed("backdrop.", {} if self.backdrop is None else self.backdrop.state_dict()),
            **prefixed("volume.", self.volume.state()),
            **prefixed("optimiser.", optimiser_state(self.optimiser)),
            "generator": self.generator.get_state(),
        }

    def load_state(self, state: Mapping[str, Tensor]) -> None:
        self.field.load_state_dict(without_prefix("field.", state))
        if self.backdrop is not None:
            self.backdrop.load_state_dict(without_prefix("backdrop.", state))
        self.volume.load_state(without_prefix("volume.", state))
        load_optimiser(self.optimiser, without_prefix("optimiser.", state))
        self.generator.set_state(state["generator"])


def rim_distance(hull: NDArray[np.bool_], size: NDArray[np.float32]) -> NDArray[np.float32]:
    """World distances (r, r, r) of the middles of cells to the rim of the hull, negative inside."""
    from scipy.ndimage import distance_transform_edt

    cell = (size / hull.shape).tolist()
    outside, inside = (distance_transform_edt(part, cell) for part in (~hull, hull))
    return np.asarray(np.where(hull, -inside, outside), np.float32)


def check_views(dataset: PosedImages, hull: NDArray[np.bool_] | None, radius: float) -> None:
    """Raise InshaderError where the masks or the cameras leave no object that could be seen from outside."""
    if hull is not None and not hull.any():
        raise InshaderError(
            "kiloneus: no place in the box is covered in all views: the masks are black or do not fit the "
            "poses, or data.bounds misses the object (render-train SCENE --inspect draws them)"
        )
    for camera, name in zip(dataset.train.cameras, dataset.train.names, strict=True):
        position = camera.position.astype(np.float32)
        within = float(np.linalg.norm(position)) < radius
        if hull is not None:
            u = (position - dataset.bounds[0]) / (dataset.bounds[1] - dataset.bounds[0])
            within = bool(((u >= 0) & (u < 1)).all()) and bool(hull[tuple((u * hull.shape).astype(int))])
        if within:
            raise InshaderError(
                f"kiloneus: the camera of {name} stands inside the object; its surface has to be seen from "
                "outside (set data.bounds around the object)"
            )


class Teacher:
    """Task ``teacher`` (a ``training.families.Model``), drawn by the ``trace`` driver."""

    def __init__(
        self, config: TeacherTask, dataset: PosedImages, kernels: Kernels, device: str, seed: int
    ) -> None:
        self.config, self.dataset = config, dataset
        self.training = TeacherTraining(config, dataset, kernels, device, seed)
        begin = self.training.starts
        share = 1.0 - sum(stage.share for stage in begin)
        self.stages: tuple[Stage, ...] = (*begin, Stage("teacher", share, self.training.step))

    def compile(self) -> None:
        self.training.compile()

    @property
    def earlier(self) -> Mapping[str, Draw]:
        """The field volume-rendered, as it was trained."""
        return {"volume": self.training.draw}

    def state(self) -> dict[str, Tensor]:
        return self.training.state()

    def load_state(self, state: Mapping[str, Tensor]) -> None:
        self.training.load_state(state)

    def occupancy(self) -> NDArray[np.bool_]:
        """(r, r, r) cells that the surface may pass through, where it was seen."""
        size = self.dataset.bounds[1] - self.dataset.bounds[0]
        seen = self.training.volume.occupancy.cells
        return cells_near(self.training.distance, seen, size, seen.shape)

    def draw(self, camera: Camera) -> NDArray[np.float32]:
        # The Jacobians of the specs, unrounded: slow, but there is one way to trace a field.
        picture, _ = trace.reference(self.baked("float32"), camera, "colour")
        return picture

    def metrics(self) -> dict[str, float]:
        return {"sharpness": float(self.training.field.sharpness().item())}

    def bake(self) -> BakedAsset:
        return self.baked(self.config.precision)

    def baked(self, precision: str) -> BakedAsset:
        """The asset, stored in ``precision``."""
        networks, table = self.training.field.baked(precision)
        return BakedAsset(
            family="kiloneus",
            driver="trace",
            networks=networks,
            grids={"features": table},
            volumes={"occupancy": self.occupancy()},
            constants={"distance_scale": 1.0},
            **facts_for_asset(self.dataset),
        )


TASK = Task(TeacherTask, PosedImages, Teacher, {"default": {}})
