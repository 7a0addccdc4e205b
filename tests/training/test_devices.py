"""Every task of every family where its tensors are not on the CPU: on a GPU, and on a stand-in for one.

The stand-in is torch's device ``meta`` with tensors that do hold values, in the CPU's memory. Like CUDA it
refuses what takes tensors of two devices, and hands nothing to numpy; so a tensor that was left on the CPU is
found without a GPU. Kernels are the reference's, as on a GPU without other libraries.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.overrides import TorchFunctionMode
from torch.utils import _pytree as pytree
from torch.utils._python_dispatch import TorchDispatchMode, return_and_correct_aliasing

from render import reference
from render.asset import BakedAsset, asset_bytes
from scenes import PosedImages
from scenes.dataset import Picture, Surface, Views, composite
from scenes.orbit import orbit_cameras
from scenes.surface import render_surface
from training.checkpoint import read_checkpoint, write_checkpoint
from training.families import Family, Model, family_names
from training.kernels import select

aten = torch.ops.aten
COPIES = (aten._to_copy.default, aten.copy_.default)
INDEXED = (aten.index.Tensor, aten.index_put.default, aten.index_put_.default, aten._index_put_impl_.default)


# The stand-in -----------------------------------------------------------------------------------------------


class Elsewhere(torch.Tensor):
    """A tensor of the stand-in; ``held`` has its values."""

    held: Tensor
    is_meta = False

    @staticmethod
    def __new__(cls, held: Tensor) -> Elsewhere:
        layout = {"strides": held.stride(), "storage_offset": held.storage_offset()}
        return torch.Tensor._make_wrapper_subclass(  # type: ignore[attr-defined, no-any-return]
            cls, held.size(), dtype=held.dtype, device="meta", **layout
        )

    def __init__(self, held: Tensor) -> None:
        self.held = held

    def __repr__(self) -> str:  # type: ignore[override]
        return f"Elsewhere({self.held})"

    def tolist(self) -> Any:
        return self.held.tolist()

    @classmethod
    def __torch_dispatch__(cls, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        return called(func, args, kwargs or {})


def called(func: Any, args: Any, kwargs: dict[str, Any]) -> Any:
    """What an operator comes to, where the stand-in has it.

    Raises:
        RuntimeError: it takes tensors of two devices. Numbers, indices and what is copied may be the CPU's.
    """
    tensors = [x for x in pytree.tree_leaves((args, kwargs)) if isinstance(x, Tensor)]
    assert not any(x.is_meta for x in tensors), "torch has made a tensor without values: teach Literals how"
    there = any(isinstance(x, Elsewhere) for x in tensors)
    if there and func not in COPIES:
        alike = [args[0], *args[2:3]] if func in INDEXED else tensors
        left = [x for x in alike if not isinstance(x, Elsewhere) and x.dim()]
        if left:
            raise RuntimeError(f"{func} takes a tensor {tuple(left[0].shape)} that is still on the CPU")
    to = kwargs.get("device")
    stays = there if to is None else torch.device(to).type == "meta"
    held = pytree.tree_map(lambda x: x.held if isinstance(x, Elsewhere) else x, (args, kwargs))
    found = func(*held[0], **(held[1] if to is None else {**held[1], "device": "cpu"}))
    if func is aten.copy_.default:
        return args[0]
    if stays:
        found = pytree.tree_map(lambda x: Elsewhere(x) if isinstance(x, Tensor) else x, found)
    return return_and_correct_aliasing(func, args, kwargs, found) if there and stays else found


class Operators(TorchDispatchMode):
    """Operators that make a tensor of the stand-in from none."""

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        return called(func, args, kwargs or {})


class Literals(TorchFunctionMode):
    """What makes tensors on the stand-in and is no operator: ``torch.tensor``, and lists as indices."""

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        if func in (torch.tensor, torch.as_tensor) and kwargs.get("device") is not None:
            return func(*args, **{**kwargs, "device": None}).to(kwargs["device"])
        if func in (torch.Tensor.__getitem__, torch.Tensor.__setitem__) and isinstance(args[1], tuple):
            index = tuple(torch.tensor(part) if isinstance(part, list) else part for part in args[1])
            args = (args[0], index, *args[2:])
        return func(*args, **kwargs)


@pytest.fixture(params=["stand_in", pytest.param("cuda", marks=pytest.mark.gpu)])
def device(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """One that is not the CPU."""
    if request.param == "cuda":
        yield "cuda"
        return
    adam = torch.optim.Adam  # that of the stand-in cannot be fused
    monkeypatch.setattr(torch.optim, "Adam", lambda *args, fused, **options: adam(*args, **options))
    with Operators(), Literals():
        yield "meta"


@pytest.mark.parametrize(
    "mistake",
    [
        lambda here, there: here + there,
        lambda here, there: there.matmul(here),
        lambda here, there: torch.cat([there, here]),
        lambda here, there: here[there > 0],
        lambda here, there: there.scatter_reduce(0, (here > 0).long(), there, "amax"),
        lambda here, there: there.numpy(),
        lambda here, there: np.asarray(there),
        lambda here, there: torch.nn.Linear(3, 3)(there),
    ],
)
def test_mistakes_are_found(mistake: Callable[[Tensor, Tensor], object], device: str) -> None:
    here = torch.rand(3, 3)
    with pytest.raises((RuntimeError, TypeError)):
        mistake(here, here.to(device))


def test_what_cuda_allows_is_allowed(device: str) -> None:
    here = torch.rand(4, 3)
    there, index = here.to(device), torch.tensor([2, 0])
    assert there.device.type == device
    assert torch.equal((2 * there[index] + torch.tensor(1.0)).cpu(), 2 * here[index] + 1)
    there[index] = torch.zeros((), device=device)
    here[index] = 0
    assert torch.equal(there.cpu(), here) and there.tolist() == here.tolist()
    assert torch.equal(there[:, [2, 1]].cpu(), here[:, [2, 1]])
    there.copy_(here + 1)
    assert there.sum().item() == (here + 1).sum().item()
    layer = torch.nn.Linear(3, 2).to(device)
    layer(there).square().sum().backward()
    gradient = layer.weight.grad
    assert gradient is not None and gradient.device.type == device and gradient.cpu().numpy().any()


# Families ---------------------------------------------------------------------------------------------------

GRID = {"levels": 4, "base_resolution": 8, "finest_resolution": 32, "log2_table_size": 10}
IN_A_BOX = {**GRID, "occupancy_resolution": 16, "steps": 32, "samples_per_step": 1 << 10}
SURFACE = {**IN_A_BOX, "neurons": 8}
STUDENTS = {**SURFACE, "cells": 4, "fine": 2, "width": 8, "lessons": 64, "lessons_per_step": 8}
SHELLS = {**SURFACE, "lattice": 48, "band_rays": 256}
STUDENT = {
    **{**GRID, "steps": 32, "occupancy_resolution": 16, "crop": 4, "views_per_step": 2, "pseudo_views": 4},
    **{"width": 8, "channels": (8,), "teacher_options": {**IN_A_BOX, "neurons": 8}},
}
# Family, task, the data of it, options.
CASES: list[tuple[str, str, str, dict[str, Any]]] = [
    ("gaussian_rbf", "radiance", "masked", IN_A_BOX),
    ("gaussian_rbf", "radiance", "opaque", {**IN_A_BOX, "unbounded": True, "exposure": True}),
    ("gaussian_rbf", "radiance", "masked", {**IN_A_BOX, "deferred": True, "decoder": "mlp"}),
    ("gaussian_rbf", "image", "picture", {**GRID, "pixels_per_step": 128}),
    ("gaussian_rbf", "sdf", "surface", {**GRID, "points_per_step": 256, "occupancy_resolution": 16}),
    ("kiloneus", "students", "masked", STUDENTS),
    ("kiloneus", "students", "opaque", STUDENTS),
    ("kiloneus", "teacher", "masked", SURFACE),
    ("kiloneus", "teacher", "opaque", SURFACE),
    ("adaptive_shells", "shells", "masked", SHELLS),
    ("adaptive_shells", "shells", "opaque", {**SHELLS, "contracted": True}),
    ("light_field", "distil", "masked", STUDENT),
    ("light_field", "distil", "opaque", {**STUDENT, "teacher": "none", "levels": 0, "normalise": True}),
]
# What takes long by the reference, or comes after many steps.
LESS = {
    "training.surface.hull_start.START_POINTS": 256,
    "training.surface.volume.OCCUPANCY_EVERY": 2,
    "training.families.gaussian_rbf.radiance.OCCUPANCY_START": 2,
    "training.families.gaussian_rbf.radiance.OCCUPANCY_START_IN_FOG": 2,
    "training.families.gaussian_rbf.radiance.OCCUPANCY_EVERY": 2,
    "training.families.kiloneus.seams.POOL": 1 << 10,
    "training.families.kiloneus.students.ANCHOR_POINTS": 256,
    "training.families.kiloneus.students.SEAM_POINTS": 256,
    "training.families.kiloneus.surface.MOST_RAYS": 256,
    "training.families.adaptive_shells.shells.NOTICED": 1 << 12,
}

STEPS = 3  # of a stage
case = pytest.mark.parametrize(
    ("family", "task", "data", "options"),
    CASES,
    ids=[f"{family}-{task}-{data}-{k}" for k, (family, task, data, _) in enumerate(CASES)],
)


def record(family: str) -> Family:
    found = importlib.import_module(f"training.families.{family}").FAMILY
    assert isinstance(found, Family)
    return found


def test_no_task_is_left_out() -> None:
    every = {(family, task) for family in family_names() for task in record(family).tasks}
    assert {(family, task) for family, task, *_ in CASES} == every


@pytest.fixture
def small(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Less of all, a cache of its own, and a teacher of light fields that needs no OpenGL."""
    for name, value in LESS.items():
        monkeypatch.setattr(name, value)
    monkeypatch.setenv("INSHADER_CACHE", str(tmp_path / "cache"))

    @contextmanager
    def drawer(asset: BakedAsset) -> Iterator[tuple[Callable[..., tuple[np.ndarray, np.ndarray]], None]]:
        def draw(camera: Any) -> tuple[np.ndarray, np.ndarray]:
            images = reference.draw(asset, camera)
            return images["colour"], images["coverage"]

        yield draw, None

    monkeypatch.setattr("training.families.light_field.teacher.asset_drawer", drawer)


def dataset(name: str, ball: PosedImages) -> PosedImages | Picture | Surface:
    """A ball of 0.45: pictures with alpha, without; one picture; a mesh of two triangles."""
    if name == "masked":
        return ball
    if name == "opaque":
        wall = np.float32([0.2, 0.3, 0.6])
        parts = (
            replace(v, images=np.round(255 * composite(v.images, wall)).astype(np.uint8))
            for v in (ball.train, ball.test)
        )
        return replace(ball, **dict(zip(("train", "test"), parts, strict=True)))
    facts = {key: getattr(ball, key) for key in ("background", "background_name", "up", "world_from_source")}
    if name == "picture":
        flat = np.float32([[0, 0, 0], [1, 1, 0]])
        view = Views(ball.train.images[:1], ball.train.cameras[:1], ("a",))
        return Picture(test=view, bounds=flat, peak=1.0, **facts)
    vertices = np.float32([[-0.3, -0.3, 0], [0.3, -0.3, 0], [0.3, 0.3, 0], [-0.3, 0.3, 0]])
    faces = np.array([[0, 1, 2], [0, 2, 3]])
    points = np.random.default_rng(0).uniform(-0.5, 0.5, (600, 3)).astype(np.float32)
    cameras = tuple(orbit_cameras(1, 16, np.zeros(3), 2.2, (0.1, 0.5)))
    return Surface(
        **{"vertices": vertices, "faces": faces, "points": points, "distances": points[:, 2].copy()},
        test=Views(render_surface(vertices, faces, cameras), cameras, ("a",)),
        bounds=ball.bounds,
        **facts,
    )


def build(family: str, task: str, data: Any, options: dict[str, Any], device: str) -> Model:
    found = record(family).tasks[task]
    return found.build(found.config.model_validate(options), data, select(device), device, 0)


@case
def test_all_that_a_run_does(
    family: str,
    task: str,
    data: str,
    options: dict[str, Any],
    device: str,
    small: None,
    ball: PosedImages,
    tmp_path: Path,
) -> None:
    """Steps of each stage, a checkpoint in its middle from which another goes on; pictures and the asset."""
    given = dataset(data, ball)
    model = build(family, task, given, options, device)
    model.compile()
    model.preview()
    for stage in range(len(model.stages)):
        for step in range(STEPS):
            metrics = model.stages[stage].step(step / STEPS)
            assert np.isfinite(list(metrics.values())).all()
            if step == 0:
                write_checkpoint(tmp_path / "state", model.state(), {})
                model = build(family, task, given, options, device)
                model.load_state(read_checkpoint(tmp_path / "state")[0])
        model.preview()
    camera = given.test.cameras[0].resized(8, 8)
    for draw in (model.draw, *model.earlier.values()):
        picture = draw(camera)
        assert picture.shape == (8, 8, 4) and np.isfinite(picture).all()
    assert len(asset_bytes(model.bake())) > 1000
    if task != "sdf":  # whose figures are of the baked asset alone, and take seconds
        model.metrics()


@case
def test_compiling_changes_nothing(
    family: str, task: str, data: str, options: dict[str, Any], small: None, ball: PosedImages
) -> None:
    model = build(family, task, dataset(data, ball), options, "cpu")
    before = {name: value.clone() for name, value in model.state().items()}
    model.compile()
    after = model.state()
    assert before.keys() == after.keys()
    assert [name for name, value in before.items() if not torch.equal(value, after[name])] == []
