"""Task ``distil``: pictures of a teacher, then the real ones, to a light field, drawn by ``lightfield``."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from pydantic import ValidationError
from torch import Tensor

from render.asset import BakedAsset, asset_bytes, asset_from_bytes
from render.camera import Camera
from render.drivers.lightfield import PREVIEW
from render.errors import InshaderError
from render.light_field import LightField as BakedLightField
from render.light_field_rays import RayPoints, block_rays, ray_map, resampled
from render.manifold import Frontal, Orbit, frontal_of, manifold_constant, orbit_around
from scenes import PosedImages
from scenes.dataset import composite
from scenes.normalise import looks_one_way
from scenes.procedural import SUBJECTS
from training import processes
from training.checkpoint import load_optimiser, optimiser_state, prefixed, without_prefix
from training.families import Draw, Stage, Task, facts_for_asset, first_line, seeded
from training.families.gaussian_rbf import radiance
from training.families.light_field.options import (
    FACTORS,
    PRESETS,
    Config,
    build_network,
    optimiser_of,
    preview_config,
)
from training.families.light_field.pseudo_views import PseudoViews
from training.families.light_field.teacher import Teacher, asset_teacher, file_teacher, subject_teacher
from training.kernels import Kernels
from training.ndc import ndc_of
from training.optimise import descend
from training.space import space_of

FINAL_RATE = 0.02  # the learning rate falls exponentially to this part of its start
FINETUNE_RATE = 0.05  # of the first rate, on the real pictures, falling on
WARM_UP = 100  # steps in which the rate rises from nothing
ROUND, ROUND_EVERY = 64, 100  # views are drawn so many at a time, every so many steps, until all are there


class LightField:
    """Task ``distil``: a teacher's pictures to a light field (a ``training.families.Model``)."""

    def __init__(
        self, config: Config, dataset: PosedImages, kernels: Kernels, device: str, seed: int
    ) -> None:
        self.config, self.dataset, self.device, self.seed = config, dataset, device, seed
        self.lens = common_lens(dataset, config.upscale)
        self.generator = seeded(seed)
        self.field: radiance.Radiance | None = None
        self.teacher: tuple[Teacher, bytes] | None = None
        cells: NDArray[np.bool_] | None = None  # in which the teacher has something
        if config.teacher == "gaussian_rbf":
            options = teacher_config(config.teacher_options)
            self.field = radiance.Radiance(options, dataset, kernels, device, seed)
        elif config.teacher in SUBJECTS:
            self.teacher = subject_teacher(config.teacher, dataset)
        elif config.teacher != "none":
            asset = file_teacher(config.teacher, dataset)
            self.teacher, cells = asset_teacher(asset), asset.volumes.get("occupancy")
        space = None
        if config.levels:
            space = (
                self.field.space
                if self.field is not None
                else space_of(dataset, None, config.occupancy_resolution, device)
            )
            if cells is not None and space.constants.items() <= asset.constants.items():
                space = replace(space, cells=cells)
        frontal = looks_one_way(dataset.train.cameras)
        self.points = RayPoints(config.points, ndc_of(dataset) if frontal else None)
        self.manifold: Orbit | Frontal = (
            frontal_of(dataset.train.cameras, config.distance_range)
            if frontal
            else orbit_around(
                dataset.train.cameras,
                dataset.up.astype(np.float64),
                config.distance_range,
                config.target_range,
            )
        )
        check_manifold(self.manifold, dataset)
        if config.teacher != "none" and config.pseudo_views < processes.count():
            raise InshaderError(
                f"light_field.pseudo_views={config.pseudo_views}: expected one at least for each of "
                f"{processes.count()} processes"
            )
        networks = {"": config}
        if config.preview is not None:
            networks[PREVIEW] = preview_config(config)
        self.students = {
            name: build_network(option, space, kernels, self.generator).to(device)
            for name, option in networks.items()
        }
        self.rates = {name: option.learning_rate for name, option in networks.items()}
        self.optimisers = {name: optimiser_of(net) for name, net in self.students.items()}
        self.real = dataset.train.images
        self.views: PseudoViews | None = None
        self.steps_done, self.drawn_before = 0, 0  # the views that a resumed run had before it stopped
        self.stages: tuple[Stage, ...] = self._stages()

    def _stages(self) -> tuple[Stage, ...]:
        if self.config.teacher == "none":
            return (Stage("real", 1.0, self.step_alone),)
        shares = {"teacher": self.config.teacher_share if self.field else 0.0}
        shares["finetune"] = self.config.finetune_share
        shares["distil"] = 1 - sum(shares.values())
        steps = {"teacher": self.step_teacher, "distil": self.step, "finetune": self.step_real}
        return tuple(Stage(name, shares[name], step) for name, step in steps.items() if shares[name] > 0)

    def compile(self) -> None:
        if self.field is not None:
            self.field.compile()

    # Steps --------------------------------------------------------------------------------------------------

    def step_teacher(self, progress: float) -> dict[str, float]:
        assert self.field is not None
        return self.field.step(progress)

    def step(self, progress: float) -> dict[str, float]:
        """One step on pseudo views, as many of which are drawn before as its number says."""
        opened = self.views is not None
        views = self.pseudo_views()
        available = min(len(views), ROUND * (1 + self.steps_done // ROUND_EVERY))
        drawn = range(processes.rank(), available, processes.count())  # each process draws and learns its own
        if self.steps_done % ROUND_EVERY == 0 or not opened:  # a resumed run may find none of them
            views.fill(drawn)
        picks = [drawn[k] for k in self.pick(available // processes.count())]
        rate = self.next_rate(progress)
        return self._learn([views.cameras[k] for k in picks], [views.pictures[k] for k in picks], rate)

    def step_real(self, progress: float) -> dict[str, float]:
        """One step on the real pictures, after those on pseudo views."""
        return self._learn_real(FINETUNE_RATE * FINAL_RATE**progress)

    def step_alone(self, progress: float) -> dict[str, float]:
        """The same, where there is no teacher."""
        return self._learn_real(self.next_rate(progress))

    def next_rate(self, progress: float) -> float:
        """The part of the learning rate for the next of the first steps."""
        self.steps_done += 1
        return FINAL_RATE**progress * min(1.0, self.steps_done / WARM_UP)

    def _learn_real(self, rate: float) -> dict[str, float]:
        picks = self.pick(len(self.real))
        cameras = [self.dataset.train.cameras[k] for k in picks]
        return self._learn(cameras, [self.real[k] for k in picks], rate)

    def pick(self, count: int) -> Sequence[int]:
        """This process's share of random numbers below ``count``."""
        every = (processes.count() * self.config.views_per_step,)
        return processes.own(torch.randint(count, every, generator=self.generator)).tolist()

    def _learn(
        self, cameras: Sequence[Camera], pictures: Sequence[NDArray[np.generic]], rate: float
    ) -> dict[str, float]:
        rays, truth, known = self.batch(cameras, pictures)
        error = 1.0
        for name, network in self.students.items():
            network.train()
            loss = (((network(rays) - truth) * known) ** 2).sum() / (3 * known.sum())
            descend(self.optimisers[name], loss, self.rates[name] * rate)
            processes.make_same(*network.buffers())  # the means of batch normalisation
            if name == "":
                error = loss.item()
        return {"psnr": -10 * math.log10(max(error, 1e-12))}

    def batch(
        self, cameras: Sequence[Camera], pictures: Sequence[NDArray[np.generic]]
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Of a window of each view: what the network takes (n, rows, columns, c), colours (n, h, w, 3), and
        where these count, (n, h, w, 1).

        A window has a margin of a ray, for upsampling looks at neighbours; it ends where the picture does.
        """
        factor, rays, truth, known = self.config.upscale, [], [], []
        full = (self.lens.h // factor, self.lens.w // factor)
        rows, columns = (min(self.config.crop + 2, side) if self.config.crop else side for side in full)
        for camera, picture in zip(cameras, pictures, strict=True):
            top, left = (
                int(torch.randint(side - size + 1, (1,), generator=self.generator))
                for side, size in zip(full, (rows, columns), strict=True)
            )
            window = replace(
                camera,
                cx=camera.cx - left * factor,
                cy=camera.cy - top * factor,
                w=columns * factor,
                h=rows * factor,
            )
            rays.append(self.rays(window, self.generator))
            part = picture[top * factor : (top + rows) * factor, left * factor : (left + columns) * factor]
            truth.append(composite(part, self.dataset.background))
            counts = np.zeros((rows * factor, columns * factor, 1), np.float32)
            low = (factor if top else 0, factor if left else 0)
            high = (
                -factor if top + rows < full[0] else None,
                -factor if left + columns < full[1] else None,
            )
            counts[low[0] : high[0], low[1] : high[1]] = 1
            known.append(counts)
        stacked = (torch.from_numpy(np.stack(part)).to(self.device) for part in (rays, truth, known))
        return tuple(stacked)  # type: ignore[return-value]

    def rays(self, camera: Camera, generator: torch.Generator | None = None) -> NDArray[np.float32]:
        """What the network takes of a camera at the pitch: points (rows, columns, 3 K), or where something is
        gathered rays (rows, columns, 7). With a generator, of points or samples moved at random.
        """
        factor = self.config.upscale
        shape = (camera.h // factor, camera.w // factor)
        if not self.config.levels:
            moved = None
            if self.config.jitter and generator is not None:
                moved = torch.rand((*shape, self.config.points), generator=generator).numpy()
            return self.points.of_camera(camera, factor, moved)
        first = np.full((*shape, 1), 0.5, np.float32)
        if generator is not None:
            first = torch.rand((*shape, 1), generator=generator).numpy()
        return np.concatenate([*block_rays(camera, factor), first], -1)

    def pseudo_views(self) -> PseudoViews:
        """Those of the teacher, which is complete by then."""
        if self.views is None:
            if self.field is not None:
                self.teacher = asset_teacher(asset_from_bytes(asset_bytes(self.field.bake())))
                gather = self.students[""].gather
                if gather is not None:
                    gather.occupy(self.field.occupancy.cells)
            assert self.teacher is not None
            rng = np.random.default_rng(self.seed)
            cameras = tuple(self.manifold.draw(rng, self.lens) for _ in range(self.config.pseudo_views))
            self.views = PseudoViews(cameras, *self.teacher)
        return self.views

    @property
    def drawn(self) -> int:
        """How many pseudo views there are."""
        return self.drawn_before if self.views is None else int(self.views.done.sum())

    # The rest of a Model ------------------------------------------------------------------------------------

    @property
    def earlier(self) -> Mapping[str, Draw]:
        return {} if self.field is None else {"teacher": self.field.draw}

    def state(self) -> dict[str, Tensor]:
        counters = torch.tensor([self.steps_done, self.drawn])
        found = {"generator": self.generator.get_state(), "counters": counters}
        for name, network in self.students.items():
            found |= prefixed(f"{name}network.", network.state_dict())
            found |= prefixed(f"{name}optimiser.", optimiser_state(self.optimisers[name]))
        if self.field is not None:
            found |= prefixed("teacher.", self.field.state())
        return found

    def load_state(self, state: Mapping[str, Tensor]) -> None:
        for name, network in self.students.items():
            network.load_state_dict(without_prefix(f"{name}network.", state))
            load_optimiser(self.optimisers[name], without_prefix(f"{name}optimiser.", state))
        if self.field is not None:
            self.field.load_state(without_prefix("teacher.", state))
        self.generator.set_state(state["generator"])
        self.steps_done, self.drawn_before = (int(value) for value in state["counters"])

    @torch.no_grad()
    def draw(self, camera: Camera) -> NDArray[np.float32]:
        network = self.students[""].eval()
        view = ray_map(camera, (self.lens.fl_x, self.lens.fl_y), self.config.upscale)
        rays = torch.from_numpy(self.rays(view.camera))[None].to(self.device)
        picture = network(rays)[0].cpu().numpy()
        rgb = resampled(picture, view.scale, camera.w, camera.h)
        return np.concatenate([rgb, np.ones_like(rgb[..., :1])], -1)

    def metrics(self) -> dict[str, float]:
        baked = BakedLightField.of(self.students[""].baked("float32"))
        rows, columns = (side // self.config.upscale for side in (self.lens.h, self.lens.w))
        return {
            "parameters": float(sum(part.numel() for part in self.students[""].parameters())),
            "gflop": 2e-9 * baked.multiply_adds(rows, columns),
            "pseudo_views": float(self.drawn),
        }

    def preview(self) -> BakedAsset | None:
        if self.steps_done == 0:
            return None if self.field is None else self.field.preview()
        return self.bake()

    def bake(self) -> BakedAsset:
        networks = {}
        for prefix, network in self.students.items():
            parts = network.baked(self.config.precision)
            networks.update({f"{prefix}{name}": part for name, part in parts.items()})
        gather, grids, volumes = self.students[""].gather, {}, {}
        constants, facts = self.points.constants(), facts_for_asset(self.dataset)
        if gather is not None:
            grids["features"], networks["density"] = gather.baked(self.config.precision)
            volumes["occupancy"], constants = gather.cells, gather.constants
            facts |= gather.space.facts
        pitch, manifold = (self.lens.fl_x, self.lens.fl_y), manifold_constant(self.manifold)
        return BakedAsset(
            family="light_field",
            driver="lightfield",
            networks=networks,
            grids=grids,
            volumes=volumes,
            constants={"pitch": pitch, "manifold": manifold, **constants},
            **facts,
        )


def teacher_config(options: dict[str, Any]) -> radiance.Config:
    """The options of the radiance field that is trained first.

    Raises:
        InshaderError: one is unknown or does not hold.
    """
    try:
        return radiance.Config.model_validate(options)
    except ValidationError as error:
        told = first_line("light_field.teacher_options", radiance.Config, error)
        raise InshaderError(told) from error


def common_lens(dataset: PosedImages, upscale: int) -> Camera:
    """The lens that all views have.

    Raises:
        InshaderError: there are fewer than two views, they differ, or their sides are no multiples of
            ``upscale``.
    """
    cameras, names = dataset.train.cameras, dataset.train.names
    if len(cameras) < 2:
        raise InshaderError(f"light_field: {len(cameras)} training view, expected at least 2")
    first = cameras[0]
    for camera, name in zip((*cameras, *dataset.test.cameras), (*names, *dataset.test.names), strict=True):
        ours, theirs = (np.array([c.fl_x, c.fl_y, c.cx, c.cy]) for c in (first, camera))
        if np.abs(ours - theirs).max() > 0.1 or (camera.w, camera.h) != (first.w, first.h):
            raise InshaderError(
                f"light_field: the view {name} has another lens or size than {names[0]} (focal lengths and "
                f"centre {theirs.round(2).tolist()}, {ours.round(2).tolist()}): expected one for all views"
            )
    sides = (first.w, first.h)
    if any(side % upscale for side in sides):
        fitting = [factor for factor in FACTORS if not any(side % factor for side in sides)]
        near = "x".join(str(max(1, round(side / upscale)) * upscale) for side in sides)
        which = f"light_field.upscale={' or '.join(map(str, fitting))} does, or " if fitting else ""
        raise InshaderError(
            f"light_field.upscale={upscale} does not divide pictures of {sides[0]}x{sides[1]}: "
            f"{which}pictures of {near}, the nearest that work (data.max_size)"
        )
    return first


def check_manifold(manifold: Orbit | Frontal, dataset: PosedImages) -> None:
    """Raise InshaderError unless the data's own cameras belong to what is to be trained for."""
    for camera, name in zip(dataset.train.cameras, dataset.train.names, strict=True):
        told = manifold.warning(camera)
        if told is not None:
            raise InshaderError(
                f"light_field: of the view {name}, {told}: expected cameras around one place, or side by side"
            )


TASK = Task(Config, PosedImages, LightField, PRESETS, seconds=150.0)
