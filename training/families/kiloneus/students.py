"""Task ``students``: posed pictures to thousands of tiny networks, drawn by the ``trace_cells`` driver.

Five stages: ``start`` (the teacher becomes the visual hull, where pictures have alpha), ``teacher`` (NeuS on
a grid, ``teacher.py``), ``distil`` (each student learns its cell from the teacher, ``distil.py``), ``volume``
(the students learn from the pictures by volume rendering, held together on the faces they share), ``surface``
(their colours learn from the pictures at the very hits that the shader draws).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Any, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from pydantic import Field
from torch import Tensor

from render.asset import BakedAsset
from render.camera import Camera
from render.drivers import trace
from render.errors import InshaderError
from render.occupancy import dilate
from scenes import PosedImages
from training import processes
from training.checkpoint import load_optimiser, optimiser_state, prefixed, without_prefix
from training.families import Draw, Stage, Task, facts_for_asset, seeded
from training.families.kiloneus.bank import Bank
from training.families.kiloneus.cells import blocks, cell_counts, cells_near, middles
from training.families.kiloneus.distil import Lessons, ask, lesson_loss
from training.families.kiloneus.seams import NEAR, Seams
from training.families.kiloneus.surface import SurfaceHits, bank_field
from training.families.kiloneus.teacher import SHARPNESS_RATE, teacher_asset, teacher_training
from training.kernels import Kernels
from training.optimise import adam, descend
from training.surface.field import SurfaceConfig
from training.surface.neus import Sharpness
from training.surface.volume import Sections, VolumeTraining, Weights

FINAL_RATE = 0.1  # learning rates fall exponentially to this part of their start in every stage
# Weight of distances below zero that light passes. Not for the teacher: it would undo the hull in early fog.
CLEAR = 0.05
SHARPER = 2.0  # times the teacher's sharpness, that of students in the end: a tracer has no fog at all
ANCHOR_UNTIL = 0.2  # of the stage ``volume``: until then the teacher's distances hold the students
SEAM_GROWTH = 100.0  # of the weight of agreement in the stage ``volume``
SEAMS_EVERY = 64  # steps of that stage after which points are found where the surface has moved to
ANCHOR_POINTS, SEAM_POINTS = 1 << 13, 1 << 13


class Config(SurfaceConfig):
    """Options of the task, under the key ``kiloneus`` of a scene file."""

    task: Literal["students"] = "students"
    cells: int = Field(24, ge=1, le=128, description="cells along the longest side of the box")
    fine: int = Field(4, ge=1, le=16, description="cells of the occupancy along a side of one of them")
    width: int = Field(32, ge=4, le=64, description="of a student's hidden layers")
    lessons: int = Field(1024, ge=64, le=1 << 14, description="the teacher's samples in each cell")
    lessons_per_step: int = Field(48, ge=8, le=4096, description="of each cell in a step of distillation")
    student_rate: float = Field(1e-2, gt=0, le=1, description="learning rate of distillation")
    finetune_rate: float = Field(1e-3, gt=0, le=1, description="learning rate of the stages after it")
    seam: float = Field(3.0, ge=0, le=100, description="weight of agreement on shared faces, at first")
    anchor: float = Field(1.0, ge=0, le=100, description="weight of the teacher's distances at the start")


class Students:
    """Task ``students`` (a ``training.families.Model``)."""

    def __init__(
        self, config: Config, dataset: PosedImages, kernels: Kernels, device: str, seed: int
    ) -> None:
        self.config, self.dataset, self.kernels, self.device = config, dataset, kernels, device
        self.seed, self.generator = seed, seeded(seed)
        self.teacher = teacher_training(config, dataset, kernels, device, seed)
        self.bank: Bank | None = None
        self.seams: Seams | None = None
        # Made at the start of the stage that wants them, and again where a run is resumed.
        self.lessons: Lessons | None = None
        self.hits: SurfaceHits | None = None
        self.found: NDArray[np.bool_] | None = None  # what ``occupancy`` found
        begin = self.teacher.starts
        left = 1.0 - sum(stage.share for stage in begin)
        self.stages: tuple[Stage, ...] = (
            *begin,
            Stage("teacher", 0.24 * left, self.teacher.step),
            Stage("distil", 0.14 * left, self.distil),
            Stage("volume", 0.46 * left, self.learn_volume),
            Stage("surface", 0.16 * left, self.learn_surface),
        )

    def compile(self) -> None:
        self.teacher.compile()
        cells = np.ones((1, 1, 2), bool)
        bank = Bank(cells, 1, self.dataset.bounds, 8, 1, self.kernels, seeded(0)).to(self.device)
        u, d = torch.rand(64, 3, generator=seeded(0)).to(self.device), torch.full((64, 3), 3**-0.5)
        f, gradient, rgb = bank(u, d.to(self.device))
        (f.sum() + gradient.sum() + rgb.sum()).backward()
        bank.distance(u)

    # Stages ---------------------------------------------------------------------------------------------

    def build(self, near: NDArray[np.bool_]) -> Bank:
        """The students of the cells that hold fine ones of ``near``, untrained, and what trains them."""
        config, bounds = self.config, self.dataset.bounds
        self.near, cells = near, blocks(near, config.fine)
        self.bank = Bank(
            *(cells, config.fine, bounds, config.width, config.harmonics, self.kernels, self.generator)
        ).to(self.device)
        # The surface may move by a fine cell, where there is a network for it.
        allowed = dilate(near) & np.kron(cells, np.ones((config.fine,) * 3, bool))
        self.volume = VolumeTraining(
            *(self.dataset, self.kernels, self.device, allowed),
            *(config.steps, config.samples_per_step, self.teacher.backdrop),
        )
        self.teacher_sharpness = self.teacher.field.sharpness().item()
        self.sharpness = Sharpness(self.teacher_sharpness).to(self.device)
        sharpness = list(self.sharpness.parameters())
        self.optimiser = adam({1.0: list(self.bank.parameters()), SHARPNESS_RATE: sharpness})
        return self.bank

    def find_near(self) -> NDArray[np.bool_]:
        """The fine cells that the teacher's surface crosses, where it was seen.

        Raises:
            InshaderError: there are none.
        """
        size = self.dataset.bounds[1] - self.dataset.bounds[0]
        counts = cell_counts(size, self.config.cells)
        shape = tuple(self.config.fine * n for n in counts)
        near = cells_near(self.teacher.distance, self.teacher.volume.occupancy.cells, size, shape)
        if not near.any():
            raise InshaderError(
                "kiloneus: the teacher has no surface in the box: train longer, or see if data.bounds and "
                "the poses fit the pictures (render-train SCENE --inspect)"
            )
        return near

    def distil(self, progress: float) -> dict[str, float]:
        bank = self.bank or self.build(self.find_near())
        self.found = None
        if self.seams is None:
            self.find_seams(bank, self.teacher.field.distance)
        if self.lessons is None:
            self.lessons = ask(self.teacher.field, bank, self.config.lessons, seeded(self.seed + 1))
        take = min(self.config.lessons_per_step, self.config.lessons)
        starts = torch.randint(self.config.lessons - take + 1, (processes.count(),), generator=self.generator)
        first = int(starts[processes.rank()])
        loss, wrong = lesson_loss(bank, self.lessons, slice(first, first + take))
        loss = loss + self.seam_loss(bank, 0.0)
        descend(self.optimiser, loss, self.config.student_rate * FINAL_RATE**progress)
        return {"psnr": -10 * math.log10(max(wrong.item(), 1e-12)), "loss": loss.item()}

    def find_seams(self, bank: Bank, distance: Callable[[Tensor], Tensor]) -> None:
        """Where students have to agree: on faces near the surface, and a little around, lest it move."""
        self.seams = Seams.find(bank, distance, 2 * NEAR, self.generator)

    def seam_loss(self, bank: Bank, progress: float) -> Tensor:
        """How far neighbours disagree at random points of the faces they share, weighted.

        The weight grows: held together too hard too early, students agree before they know anything.
        """
        assert self.seams is not None  # every stage that has it finds them
        weight = self.config.seam * SEAM_GROWTH**progress
        return weight * self.seams.loss(bank, SEAM_POINTS, self.generator)

    def learn_volume(self, progress: float) -> dict[str, float]:
        bank, config = self.trained, self.config
        self.lessons = self.found = None
        if self.volume.steps_done % SEAMS_EVERY == 0:
            self.find_seams(bank, bank.distance)
        self.sharpness.floor.fill_(self.teacher_sharpness * SHARPER**progress)
        weights = Weights(config.eikonal, config.mask, CLEAR)
        loss, shown = self.volume.loss(self.sections, self.surface, 1.0, weights, self.generator)
        loss = loss + self.seam_loss(bank, progress)
        hold = config.anchor * (1 - progress / ANCHOR_UNTIL)
        if hold > 0:
            loss = loss + hold * self.anchor(bank)
        descend(self.optimiser, loss, config.finetune_rate * FINAL_RATE**progress)
        self.volume.look_again(self.surface, self.generator)
        return shown

    def sections(self, u: Tensor, d: Tensor) -> Sections:
        """The students as ``training.surface.volume`` wants a field."""
        f, gradient, rgb = self.trained(u, d)
        return Sections(f, gradient, rgb, self.sharpness(), f.new_zeros(()))

    def surface(self, u: Tensor) -> tuple[Tensor, Tensor]:
        return self.trained.distance(u), self.sharpness()

    def anchor(self, bank: Bank) -> Tensor:
        """Mean difference from the teacher's distances, in half cells, at random points of all cells."""
        which = torch.randint(bank.count, (ANCHOR_POINTS,), generator=self.generator).sort().values
        local = 2 * torch.rand(ANCHOR_POINTS, 3, generator=self.generator) - 1
        which, local = which.to(self.device), local.to(self.device)
        _, offsets = self.kernels.by_network(which, bank.count)
        u = bank.points(bank.corners[which], local)
        with torch.no_grad():
            truth = self.teacher.field.distance(u)
        return (bank.distances(local, offsets) - truth).abs().mean() / bank.scale

    def learn_surface(self, progress: float) -> dict[str, float]:
        bank = self.trained
        if self.hits is None:
            for parameter in bank.geometry.parameters():
                parameter.requires_grad_(False)
            cells = self.occupancy(), self.inside()
            self.hits = SurfaceHits.find(bank, *cells, self.volume, seeded(self.seed + 3))
        loss = self.hits.loss(bank, self.config.samples_per_step, self.generator)
        descend(self.optimiser, loss, self.config.finetune_rate * FINAL_RATE**progress)
        return {"psnr": -10 * math.log10(max(loss.item(), 1e-12))}

    @property
    def trained(self) -> Bank:
        """The students, which the stage ``distil`` made."""
        assert self.bank is not None
        return self.bank

    def inside(self) -> NDArray[np.bool_]:
        """(x, y, z) cells without a network in which the teacher's distance is below 0."""
        cells = self.trained.cells
        return ~cells & (self.teacher.distance(middles(cells.shape)) < 0).reshape(cells.shape)

    def occupancy(self) -> NDArray[np.bool_]:
        """(fine * x, ..) cells that the students' surface may pass through, of those where it was seen.

        Looked for once, until the geometry learns again.
        """
        if self.found is not None:
            return self.found
        bank, fine = self.trained, self.config.fine
        shape = tuple(fine * n for n in bank.cells.shape)

        def distance(u: NDArray[np.float32]) -> NDArray[np.float32]:
            return bank.distance(torch.from_numpy(u).to(self.device)).cpu().numpy()

        self.found = cells_near(distance, self.volume.occupancy.cells, bank.size.cpu().numpy(), shape)
        return self.found

    # Model ----------------------------------------------------------------------------------------------

    @property
    def earlier(self) -> Mapping[str, Draw]:
        """What came before the students, drawn its own way."""
        return {"teacher": self.teacher.draw}

    def state(self) -> dict[str, Tensor]:
        found = {**prefixed("teacher.", self.teacher.state()), "generator": self.generator.get_state()}
        if self.bank is None or self.seams is None:
            return found
        return {
            **found,
            "near": torch.from_numpy(self.near.astype(np.uint8)),
            **prefixed("bank.", self.bank.state_dict()),
            **prefixed("sharpness.", self.sharpness.state_dict()),
            **prefixed("volume.", self.volume.state()),
            "seams.pairs": self.seams.pairs,
            "seams.local": self.seams.local,
            **prefixed("optimiser.", optimiser_state(self.optimiser)),
        }

    def load_state(self, state: Mapping[str, Tensor]) -> None:
        self.teacher.load_state(without_prefix("teacher.", state))
        if "near" in state:
            self.build(state["near"].numpy().astype(bool)).load_state_dict(without_prefix("bank.", state))
            self.sharpness.load_state_dict(without_prefix("sharpness.", state))
            self.volume.load_state(without_prefix("volume.", state))
            self.seams = Seams(state["seams.pairs"], state["seams.local"]).to(self.device)
            load_optimiser(self.optimiser, without_prefix("optimiser.", state))
        self.generator.set_state(state["generator"])

    def draw(self, camera: Camera) -> NDArray[np.float32]:
        bank = self.trained
        where = self.occupancy(), self.dataset.bounds, camera, bank.cells, self.inside()
        layers, colours, _ = trace.traced(bank_field(bank), *where)
        picture = trace.composite(layers, colours, "colour", self.dataset.background)
        return picture.reshape(camera.h, camera.w, 4)

    def metrics(self) -> dict[str, float]:
        bank = self.trained
        seams = Seams.find(bank, bank.distance, NEAR, seeded(self.seed + 4))
        return {"networks": float(bank.count), **seams.metrics(bank)}

    def preview(self) -> BakedAsset:
        """The teacher, until it has students."""
        if self.bank is None:
            return teacher_asset(self.teacher, self.dataset, self.config.precision)
        return self.bake()

    def bake(self) -> BakedAsset:
        bank = self.trained
        return BakedAsset(
            family="kiloneus",
            driver="trace_cells",
            networks=bank.baked(self.config.precision),
            grids={},
            volumes={"cells": bank.cells, "occupancy": self.occupancy(), "inside": self.inside()},
            constants={"distance_scale": bank.scale},
            **facts_for_asset(self.dataset),
        )


PRESETS: dict[str, dict[str, Any]] = {
    "default": {},
    "fast": {"cells": 16, "lessons": 512},
}
TASK = Task(Config, PosedImages, Students, PRESETS, seconds=180.0)
