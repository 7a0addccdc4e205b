"""A family of neural fields is one module of this package: its options, field, losses, stages and bake.

The modules are found by name; there is no list to edit. Each offers one constant ``FAMILY``.
"""

from __future__ import annotations

import difflib
import importlib
import pkgutil
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from pydantic import BaseModel, ValidationError
from torch import Tensor

from render.asset import BakedAsset
from render.camera import Camera
from render.errors import InshaderError
from scenes import Scene
from scenes.dataset import Dataset
from training.kernels import Kernels

Draw = Callable[[Camera], NDArray[np.float32]]
"""A camera -> its picture (h, w, 4), colour on the background and coverage."""


@dataclass(frozen=True)
class Stage:
    """A part of training.

    Attributes:
        name: for the log.
        share: of the whole budget.
        step: one optimiser step at a progress in [0, 1) through the stage; returns what the log shows, at
            least ``psnr`` of the batch in dB.
    """

    name: str
    share: float
    step: Callable[[float], dict[str, float]]


class Model(Protocol):
    """What training makes better. ``state`` is all that a resumed run needs to go on bit for bit."""

    @property
    def stages(self) -> tuple[Stage, ...]: ...

    def compile(self) -> None:
        """Compile the kernels that the stages use, without changing anything."""

    @property
    def earlier(self) -> Mapping[str, Draw]:
        """What came before the field that is baked, by name, each drawn its own way."""

    def state(self) -> dict[str, Tensor]: ...

    def load_state(self, state: Mapping[str, Tensor]) -> None: ...

    def draw(self, camera: Camera) -> NDArray[np.float32]:
        """The trained field by the training kernels, with the sampler of the shader: (h, w, 4), colour on the
        background and coverage."""

    def metrics(self) -> dict[str, float]:
        """What the task is judged by besides pictures: ``family_metrics`` of ``results.json``."""

    def preview(self) -> BakedAsset | None:
        """What there is to be looked at while the training goes on, perhaps by another driver than what is
        baked in the end; None: nothing yet. No later step depends on whether this was called."""

    def bake(self) -> BakedAsset:
        """The asset; ``scene``, ``results`` and ``provenance`` are filled in by the caller."""


@dataclass(frozen=True)
class Task:
    """One thing that a family can be trained for.

    Attributes:
        config: its options, a pydantic model with a field ``task`` of one value.
        dataset: the type of data that it takes.
        build: makes a Model of (config, dataset, kernels, device, seed).
        presets: ``train.preset`` -> options that differ from the defaults; the scene's own options win.
        seconds: budget of a scene that names none: what a small scene takes on two cores to look right.
    """

    config: type[BaseModel]
    dataset: type
    build: Callable[[Any, Any, Kernels, str, int], Model]
    presets: Mapping[str, Mapping[str, Any]]
    seconds: float = 80.0


@dataclass(frozen=True)
class Family:
    """A family: its tasks by name, the first of which is the one that a scene gets without asking."""

    tasks: Mapping[str, Task]


def family_names() -> list[str]:
    """The families there are."""
    return sorted(module.name for module in pkgutil.iter_modules(__path__))


def find_task(scene: Scene) -> tuple[Task, Any]:
    """What a scene asks for, ``family`` and ``<family>.task``, and its options.

    Raises:
        InshaderError: no such family, task or preset, a section that names no family, an option that does
            not hold.
    """
    names = family_names()
    for name in [scene.family, *scene.families]:
        if name not in names:
            near = difflib.get_close_matches(name, [*names, *type(scene).model_fields], 1)
            hint = f"; is {near[0]} meant?" if near else ""
            raise InshaderError(
                f"scene {scene.name}: {name} is not a family (there are: {', '.join(names)}){hint}"
            )
    family: Family = importlib.import_module(f"{__name__}.{scene.family}").FAMILY
    section = scene.families.get(scene.family, {})
    wanted = section.get("task", next(iter(family.tasks)))
    if not isinstance(wanted, str) or wanted not in family.tasks:
        known = ", ".join(family.tasks)
        raise InshaderError(f"scene {scene.name}: {scene.family}.task={wanted!r:.60} is not one of {known}")
    task = family.tasks[wanted]
    if scene.train.preset not in task.presets:
        known = ", ".join(task.presets)
        raise InshaderError(f"scene {scene.name}: train.preset={scene.train.preset} is not one of {known}")
    try:
        config = task.config.model_validate({**task.presets[scene.train.preset], **section})
    except ValidationError as error:
        raise InshaderError(f"scene {scene.name}: {first_line(scene.family, task.config, error)}") from error
    return task, config


def first_line(name: str, config: type[BaseModel], error: ValidationError) -> str:
    """The first thing that is wrong with the options under the key ``name``.

    What a validator says of several options together begins with the name of one of them.
    """
    first = error.errors(include_url=False)[0]
    if not first["loc"] and first["type"] == "value_error":
        return f"{name}.{first['ctx']['error']}"
    key = ".".join([name, *map(str, first["loc"])])
    if first["type"] == "extra_forbidden":
        near = difflib.get_close_matches(str(first["loc"][-1]), config.model_fields, 1)
        return f"unknown key {key}" + (f"; is {name}.{near[0]} meant?" if near else "")
    return f"{key}: {first['msg']}, found {first['input']!r:.60}"


def facts_for_asset(dataset: Dataset) -> dict[str, Any]:
    """The arguments of ``BakedAsset`` that come from the data as they are."""
    return {
        "bounds": dataset.bounds,
        "background": dataset.background,
        "up": dataset.up,
        "world_from_source": dataset.world_from_source,
        "camera": dataset.test.cameras[0],
        "held_out": dataset.test.cameras,
    }


def seeded(seed: int) -> torch.Generator:
    """The one source of randomness of a run, on the CPU whatever the device."""
    return torch.Generator().manual_seed(seed)
