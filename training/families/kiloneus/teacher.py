"""Task ``teacher``: posed pictures to one signed distance field with colours, drawn by ``trace``."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional

from render.asset import BakedAsset, BakedGrid, BakedNetwork
from render.camera import Camera
from render.drivers import trace
from scenes import PosedImages
from training.families import Draw, Stage, Task, facts_for_asset, seeded
from training.families.kiloneus.cells import cells_near
from training.kernels import Kernels
from training.surface.field import SurfaceConfig, SurfaceField
from training.surface.neus import Sharpness
from training.surface.optimisation import SurfaceTraining
from training.surface.volume import Sections

SHARPNESS_RATE = 0.1  # of the grid's learning rate


class TeacherConfig(SurfaceConfig):
    """Options of the task, under the key ``kiloneus`` of a scene file."""

    task: Literal["teacher"] = "teacher"


class TeacherField(SurfaceField):
    """f(x), grad f and rgb(x, n, d) of points in the box, equally sharp everywhere, as NeuS has it."""

    def __init__(
        self,
        config: SurfaceConfig,
        bounds: NDArray[np.float32],
        kernels: Kernels,
        generator: torch.Generator,
    ) -> None:
        super().__init__(config, bounds, kernels, generator, outputs=1, seen="features")
        self.sharpness = Sharpness(config.sharpness)

    def forward(self, u: Tensor, d: Tensor) -> Sections:
        """At u (n, 3) seen along d (n, 3); penalised is roughness (after Li et al. 2023, eq. 10)."""
        y, gradient, bend, features = self.differences(u)
        normal = functional.normalize(gradient, dim=-1, eps=1e-6)
        penalty = self.config.bend * bend.square().mean() if len(bend) else bend.new_zeros(())
        return Sections(y[:, 0, 0], gradient, self.colours(features, normal, d), self.sharpness(), penalty)

    def surface(self, u: Tensor) -> tuple[Tensor, Tensor]:
        """As ``volume.Surface`` has it."""
        return self.distance(u), self.sharpness()

    def sharpen(self, s: float) -> None:
        """Raise the floor of the sharpness."""
        self.sharpness.floor.fill_(s)

    def groups(self) -> dict[float, list[nn.Parameter]]:
        return {**super().groups(), SHARPNESS_RATE: list(self.sharpness.parameters())}

    def baked(self, precision: str) -> tuple[dict[str, BakedNetwork], BakedGrid]:
        """Networks and grid that the shader ``kiloneus/trace.glsl`` asks for, with all levels open."""
        networks = {
            "decoder": BakedNetwork(replace(self.decoder.spec, precision=precision), self.baked_decoder()),
            "colour": BakedNetwork(replace(self.colour.spec, precision=precision), self.colour.baked()),
        }
        return networks, self.baked_grid(precision)


def teacher_training(
    config: SurfaceConfig, dataset: PosedImages, kernels: Kernels, device: str, seed: int
) -> SurfaceTraining:
    """The teacher with its optimiser and batches: a stage of the students' task, and all of its own."""
    generator = seeded(seed)
    field = TeacherField(config, dataset.bounds, kernels, generator)
    return SurfaceTraining(config, field, dataset, kernels, device, generator)


def teacher_asset(training: SurfaceTraining, dataset: PosedImages, precision: str) -> BakedAsset:
    """The teacher as it is, stored in ``precision``, in the cells that its surface may pass through, where it
    was seen."""
    networks, table = training.field.baked(precision)
    seen = training.volume.occupancy.cells
    near = cells_near(training.distance, seen, dataset.bounds[1] - dataset.bounds[0], seen.shape)
    return BakedAsset(
        family="kiloneus",
        driver="trace",
        networks=networks,
        grids={"features": table},
        volumes={"occupancy": near},
        constants={"distance_scale": 1.0},
        **facts_for_asset(dataset),
    )


class Teacher:
    """Task ``teacher`` (a ``training.families.Model``), drawn by the ``trace`` driver."""

    def __init__(
        self, config: TeacherConfig, dataset: PosedImages, kernels: Kernels, device: str, seed: int
    ) -> None:
        self.config, self.dataset = config, dataset
        self.training = teacher_training(config, dataset, kernels, device, seed)
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

    def draw(self, camera: Camera) -> NDArray[np.float32]:
        # The Jacobians of the specs, unrounded: slow, but there is one way to trace a field.
        picture, _ = trace.reference(teacher_asset(self.training, self.dataset, "float32"), camera, "colour")
        return picture

    def metrics(self) -> dict[str, float]:
        return {"sharpness": float(self.training.field.sharpness().item())}

    def preview(self) -> BakedAsset:
        return self.bake()

    def bake(self) -> BakedAsset:
        return teacher_asset(self.training, self.dataset, self.config.precision)


TASK = Task(TeacherConfig, PosedImages, Teacher, {"default": {}})
