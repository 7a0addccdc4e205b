"""Task ``sdf``: a mesh to its signed distance field, drawn by the ``trace`` driver.

Loss (instant-ngp, Mueller et al. 2022, and NeuRBF): mean |y - d| / (|d| + 0.005), in units of the half box
diagonal. Our choices: batches are neighbours of each other in memory (points of a batch are put in Morton
order once), and the network's value is a distance in units of ``DISTANCE_SCALE``, so that it starts and stays
near 1.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from pydantic import Field
from torch import Tensor, nn

from render.asset import BakedAsset, BakedNetwork
from render.camera import Camera
from render.drivers import trace
from render.fields import SurfaceField, shade
from render.network import Linear, NetworkSpec, Slot
from scenes.dataset import Surface
from scenes.surface import ALBEDO, AMBIENT
from training import processes
from training.checkpoint import load_optimiser, optimiser_state, prefixed, without_prefix
from training.families import Draw, Stage, Task, facts_for_asset, seeded
from training.families.gaussian_rbf.decoder import Decoder, DecoderConfig, numpy, start_linear
from training.kernels import Kernels
from training.optimise import descend
from training.surface_metrics import surface_metrics

DISTANCE_SCALE = 0.1  # world units for an output of 1
RELATIVE_FLOOR = 0.005  # world units: below this distance errors count as they are, above relatively
FINAL_RATE = 0.02  # the learning rate falls exponentially to this part of its start
CELL_MARGIN = 1.5  # how much nearer to the surface a cell may be than the field says
EVALUATED_AT_ONCE = 1 << 16


class Config(DecoderConfig):
    """Options of the task, under the key ``gaussian_rbf`` of a scene file."""

    task: Literal["sdf"] = "sdf"
    finest_resolution: int = Field(256, ge=2, le=8192, description="finest level")
    log2_table_size: int = Field(17, ge=8, le=22, description="a level has at most 2^this entries")
    learning_rate: float = Field(2e-2, gt=0, le=1, description="of the grid; the decoder's is a quarter")
    points_per_step: int = Field(1 << 15, ge=256, le=1 << 22, description="size of a training batch")
    occupancy_resolution: int = Field(96, ge=8, le=512, description="cells along a side of the box")


class DistanceField(nn.Module):
    """Signed distance f(x), world units, of points in the box: grid -> decoder -> one value."""

    def __init__(self, config: Config, kernels: Kernels, generator: torch.Generator) -> None:
        super().__init__()
        self.decoder = Decoder(config, 3, kernels, generator)
        self.output = nn.Linear(self.decoder.width, 1)
        start_linear(self.output, generator)

    def forward(self, u: Tensor) -> Tensor:
        """Points (n, 3) in [0, 1] -> distances (n,)."""
        return DISTANCE_SCALE * self.output(self.decoder(u))[:, 0]

    def baked(self) -> BakedNetwork:
        """The network that the shader ``gaussian_rbf/trace.glsl`` asks for, gains and folds absorbed."""
        top = len(self.decoder.layers)
        features = Slot("features", self.decoder.grid.spec.output_width)
        parameters = {
            **self.decoder.baked_layers(),
            f"{top}.weight": self.decoder.absorb_gain(numpy(self.output.weight))[None],
            f"{top}.bias": numpy(self.output.bias)[None],
        }
        return BakedNetwork(NetworkSpec((features,), (*self.decoder.layers, Linear(1))), parameters)


class Distances:
    """Task ``sdf``: a surface to its distance field (a ``training.families.Model``)."""

    def __init__(self, config: Config, dataset: Surface, kernels: Kernels, device: str, seed: int) -> None:
        self.config, self.dataset, self.device = config, dataset, device
        self.generator = seeded(seed)
        self.field = DistanceField(config, kernels, self.generator).to(device)
        self.low, self.size = dataset.bounds[0], dataset.bounds[1] - dataset.bounds[0]
        u, distances = batches(self._inside(dataset.points), dataset.distances, config.points_per_step)
        self.u, self.distances = (torch.from_numpy(part).to(device) for part in (u, distances))
        self.optimiser = self.field.decoder.optimiser(list(self.field.output.parameters()))
        self.steps_done = 0
        self.found: tuple[int, NDArray[np.bool_]] | None = None  # steps done, and the occupancy then
        self.stages: tuple[Stage, ...] = (Stage("distance", 1.0, self.step),)

    def _inside(self, points: NDArray[np.float32]) -> NDArray[np.float32]:
        """World points (n, 3) in the box's [0, 1]."""
        return np.clip((points - self.low) / self.size, 0, 1).astype(np.float32)

    def compile(self) -> None:
        self.field(self.u[0, :256]).sum().backward()
        self.optimiser.zero_grad()

    def step(self, progress: float) -> dict[str, float]:
        batch = (self.steps_done * processes.count() + processes.rank()) % len(self.u)
        truth = self.distances[batch]
        error = (self.field(self.u[batch]) - truth).abs()
        loss = (error / (truth.abs() + RELATIVE_FLOOR)).mean()
        descend(self.optimiser, loss, self.config.learning_rate * FINAL_RATE**progress)
        self.steps_done += 1
        # Of distances as a signal whose peak is the half diagonal of the box.
        mean_square = error.detach().square().mean().item()
        return {"psnr": -10 * math.log10(max(mean_square, 1e-12)), "relative_error": loss.item()}

    @property
    def earlier(self) -> Mapping[str, Draw]:
        return {}

    def state(self) -> dict[str, Tensor]:
        return {
            **prefixed("field.", self.field.state_dict()),
            **prefixed("optimiser.", optimiser_state(self.optimiser)),
            "counters": torch.tensor([self.steps_done]),
        }

    def load_state(self, state: Mapping[str, Tensor]) -> None:
        self.field.load_state_dict(without_prefix("field.", state))
        load_optimiser(self.optimiser, without_prefix("optimiser.", state))
        self.steps_done, self.found = int(state["counters"][0]), None

    @torch.no_grad()
    def distance(self, u: NDArray[np.float32]) -> NDArray[np.float32]:
        """World distances (n,) at u (n, 3) in [0, 1]."""
        parts = torch.from_numpy(np.ascontiguousarray(u, np.float32)).to(self.device).split(EVALUATED_AT_ONCE)
        return np.concatenate([numpy(self.field(part)) for part in parts])

    def gradient(self, u: NDArray[np.float32]) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        """World distances (n,) and their slopes by u (n, 3), from the Jacobians of the specs."""
        grid, network = self.field.decoder.baked_grid("float32"), self.field.baked()
        values, slopes = [np.zeros(0, np.float32)], [np.zeros((0, 3), np.float32)]
        for start in range(0, len(u), EVALUATED_AT_ONCE):
            features, by_u = grid.spec.jacobian(grid.table, u[start : start + EVALUATED_AT_ONCE])
            y, by_features = network.spec.jacobian(network.parameters, features)
            values.append(DISTANCE_SCALE * y[:, 0])
            slopes.append(DISTANCE_SCALE * np.einsum("nf,nfu->nu", by_features[:, 0], by_u))
        return np.concatenate(values), np.concatenate(slopes)

    def occupancy(self) -> NDArray[np.bool_]:
        """(R, R, R) cells that the surface may pass through: those whose middle is near enough to it.

        Looked for once, until training goes on.
        """
        if self.found is not None and self.found[0] == self.steps_done:
            return self.found[1]
        resolution = self.config.occupancy_resolution
        middle = (np.arange(resolution, dtype=np.float32) + 0.5) / resolution
        u = np.stack(np.meshgrid(middle, middle, middle, indexing="ij"), -1).reshape(-1, 3).astype(np.float32)
        reach = CELL_MARGIN * 0.5 * float(np.linalg.norm(self.size / resolution))
        cells = (np.abs(self.distance(u)) < reach).reshape(resolution, resolution, resolution)
        self.found = self.steps_done, cells
        return cells

    def draw(self, camera: Camera) -> NDArray[np.float32]:
        albedo = np.array(ALBEDO, np.float32)
        field = SurfaceField(self.distance, self.gradient, lambda u, n, d: shade(n, d, albedo, AMBIENT))
        layers, colours, _ = trace.traced(field, self.occupancy(), self.dataset.bounds, camera)
        picture = trace.composite(layers, colours, "colour", self.dataset.background)
        return picture.reshape(camera.h, camera.w, 4)

    def metrics(self) -> dict[str, float]:
        def gradient(points: NDArray[np.float32]) -> NDArray[np.float32]:
            return self.gradient(self._inside(points))[1] / self.size

        return surface_metrics(lambda points: self.distance(self._inside(points)), gradient, self.dataset)

    def preview(self) -> BakedAsset:
        return self.bake()

    def bake(self) -> BakedAsset:
        return BakedAsset(
            family="gaussian_rbf",
            driver="trace",
            networks={"decoder": self.field.baked()},
            grids={"features": self.field.decoder.baked_grid(self.config.precision)},
            volumes={"occupancy": self.occupancy()},
            constants={
                "distance_scale": DISTANCE_SCALE,
                "albedo": tuple(map(float, ALBEDO)),
                "ambient": AMBIENT,
            },
            **facts_for_asset(self.dataset),
        )


def batches(
    u: NDArray[np.float32], distances: NDArray[np.float32], size: int
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Points (n, 3) and distances (n,), in random order, as (m, size, 3) and (m, size).

    A batch is put in Morton order: neighbours then meet in the cache. What fills no batch is left out.
    """
    size = min(size, len(u))
    count = len(u) // size
    u, distances = u[: count * size].reshape(count, size, 3), distances[: count * size].reshape(count, size)
    order = np.argsort(morton(u), axis=1)
    return np.take_along_axis(u, order[..., None], 1), np.take_along_axis(distances, order, 1)


def morton(u: NDArray[np.float32]) -> NDArray[np.uint32]:
    """Places (...) on the Z-order curve of points (..., 3) in [0, 1], 10 bits an axis."""
    cells = np.minimum(u * 1024, 1023).astype(np.uint32)
    place = np.zeros(u.shape[:-1], np.uint32)
    for bit in range(10):
        for axis in range(3):
            place |= ((cells[..., axis] >> np.uint32(bit)) & np.uint32(1)) << np.uint32(3 * bit + axis)
    return place


PRESETS: dict[str, dict[str, Any]] = {
    "default": {},
    "fine": {"finest_resolution": 1024, "log2_table_size": 19},  # for a minute or more, and 12 MB
    "paper": {"decoder": "rbf", "neurons": 64},
}
TASK = Task(Config, Surface, Distances, PRESETS)
