"""KiloNeuS: the mathematics of NeuS, the cells, the students, and both tasks on a ball."""

from __future__ import annotations

import dataclasses
import json
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

import moderngl
import numpy as np
import pytest
import torch
from torch import Tensor
from torch.nn import functional

from render.asset import asset_bytes, asset_from_bytes
from render.camera import look_at
from render.errors import InshaderError
from render.fields import surface_field
from render.metrics import parity_db, psnr
from render.renderer import Renderer
from render.sphere_tracing import network_cell, network_table
from scenes import PosedImages
from scenes.dataset import composite
from training.families import Model
from training.families.kiloneus import students, teacher
from training.families.kiloneus.bank import Bank
from training.families.kiloneus.cells import blocks, cell_counts, cells_near, middles, shared_faces
from training.families.kiloneus.seams import NEAR, Seams
from training.kernels import Samples
from training.kernels import cpu as kernels
from training.surface.neus import Sharpness, gradient_of_taps, optical_thickness, taps
from training.surface.volume import visible

SMALL = {
    "levels": 6,
    "base_resolution": 8,
    "finest_resolution": 48,
    "log2_table_size": 12,
    "occupancy_resolution": 32,
    "steps": 128,
    "samples_per_step": 1 << 12,
}
RADIUS = 0.45  # of the ball in the pictures of conftest.py
STUDENTS = {**SMALL, "cells": 6, "width": 16, "lessons": 256, "lessons_per_step": 32}


# NeuS -------------------------------------------------------------------------------------------------------


def test_thickness_is_neus_alpha() -> None:
    """1 - exp(-thickness) is eq. 13 of NeuS at the ends of the section, in float64."""
    generator = torch.Generator().manual_seed(0)
    f = torch.randn(1000, generator=generator, dtype=torch.float64) * 0.02
    slope = 2 * torch.rand(1000, generator=generator, dtype=torch.float64) - 1
    step, s = 0.01, torch.tensor(200.0, dtype=torch.float64)
    found = 1 - torch.exp(-optical_thickness(f, slope, step, s, 1.0))
    half = 0.5 * step * functional.relu(-slope)
    before, after = torch.sigmoid(s * (f + half)), torch.sigmoid(s * (f - half))
    torch.testing.assert_close(found, (before - after) / before, rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize(("offset", "covered"), [(-0.2, 1.0), (0.0, 0.5), (0.2, 0.0)])
def test_grazing_ray_is_half_covered(offset: float, covered: float) -> None:
    """A ray past a ball at a distance far above 1 / s sees nothing, a tangent half of it."""
    step, s = 1e-3, torch.tensor(400.0)
    t = torch.arange(-0.5, 0.5, step)
    x = torch.stack([t, torch.full_like(t, RADIUS + offset), torch.zeros_like(t)], -1)
    f, slope = x.norm(dim=-1) - RADIUS, x[:, 0] / x.norm(dim=-1)
    opacity = 1 - torch.exp(-optical_thickness(f, slope, step, s, 1.0).sum())
    assert float(opacity) == pytest.approx(covered, abs=0.01)  # 1 / s is 0.5 % of the radius


def test_taps_differentiate_quadratics_exactly() -> None:
    """Four taps are exact to second order where the second derivatives are isotropic, here a paraboloid."""
    u, size = torch.rand(50, 3) * 0.8 + 0.1, torch.tensor([1.2, 0.9, 1.0])
    x = taps(u, 0.01, size) * size
    centre = torch.tensor([0.3, 0.5, 0.4])
    f = (x - centre).square().sum(-1)
    torch.testing.assert_close(gradient_of_taps(f, 0.01), 2 * (u * size - centre), atol=2e-4, rtol=0)


def test_sharpness_keeps_its_floor_and_learns_above_it() -> None:
    sharpness = Sharpness(100.0)
    sharpness.floor.fill_(300.0)
    assert sharpness().item() == 300
    with torch.no_grad():
        sharpness.theta.fill_(0.65)
    sharpness().backward()
    assert sharpness().item() == pytest.approx(np.exp(6.5), rel=1e-5) and sharpness.theta.grad is not None


def test_teacher_starts_as_a_ball() -> None:
    """Within 3 %: 32 directions spread evenly are not all of them."""
    config = teacher.TeacherConfig(**SMALL, radius=0.4)
    bounds = np.float32([[-0.5] * 3, [0.5] * 3])
    field = teacher.TeacherField(config, bounds, kernels, torch.Generator().manual_seed(0))
    u = torch.rand(2000, 3)
    truth = (u - 0.5).norm(dim=-1) - 0.4
    assert float((field.distance(u).detach() - truth).abs().max()) < 0.03


def test_invisible_samples_change_no_pixel() -> None:
    """What ``visible`` drops has no weight: compositing with and without differs by 3e-3 at most, exp(-6)."""
    generator = torch.Generator().manual_seed(1)
    rays, n, step, s = 200, 60, 0.01, torch.tensor(300.0)
    start = 0.1 + 0.3 * torch.rand(rays, 1, generator=generator)
    t = torch.arange(n) * step
    fall = 0.3 + 0.7 * torch.rand(rays, 1, generator=generator)
    f, slope = ((start - t) * fall).reshape(-1), (-fall).expand(-1, n).reshape(-1)
    samples = Samples(torch.rand(rays * n, 3), t.repeat(rays), torch.arange(rays + 1) * n)
    x = torch.stack([f, slope, f], -1)
    kept = visible(dataclasses.replace(samples, x=x), f, s, step)
    assert 0 < len(kept.t) < 0.6 * len(samples.t)

    def left(samples: Samples) -> Tensor:
        optical = optical_thickness(samples.x[:, 0], samples.x[:, 1], step, s, 1.0)
        return kernels.composite(optical, samples.x, samples.offsets, 0.0)[1]

    assert float((left(dataclasses.replace(samples, x=x)) - left(kept)).abs().max()) < 3e-3


# Cells ------------------------------------------------------------------------------------------------------


def test_cells_near_miss_none() -> None:
    """Every point of a ball lies in a found cell, and far cells are not found."""
    shape, size = (40, 30, 20), np.float32([1.2, 1.0, 0.8])

    def distance(u: np.ndarray) -> np.ndarray:
        return np.linalg.norm((u - 0.5) * size, axis=-1).astype(np.float32) - np.float32(0.35)

    near = cells_near(distance, np.ones((8, 8, 8), bool), size, shape)
    rng = np.random.default_rng(0)
    d = rng.normal(size=(20000, 3))
    u = 0.35 * d / np.linalg.norm(d, axis=1, keepdims=True) / size + 0.5
    assert near[tuple((u * shape).astype(int).T)].all()
    far = np.abs(distance(middles(shape))).reshape(shape) > 2 * np.linalg.norm(size / shape)
    assert not near[far].any()
    seen = np.zeros((8, 8, 8), bool)
    assert not cells_near(distance, seen, size, shape).any()


def test_cell_counts_are_nearly_cubic() -> None:
    assert cell_counts(np.float32([1.0, 0.5, 0.26]), 24) == (24, 12, 6)
    assert cell_counts(np.float32([1.0, 0.01, 1.0]), 8) == (8, 1, 8)


def test_blocks_and_faces() -> None:
    fine = np.zeros((8, 4, 4), bool)
    fine[3, 1, 1] = fine[4, 1, 1] = True
    cells = blocks(fine, 4)
    assert cells.tolist() == [[[True]], [[True]]]
    assert shared_faces(cells).tolist() == [[0, 1, 0]]


# Students ---------------------------------------------------------------------------------------------------


def small_bank(seed: int = 0) -> Bank:
    """A few cells of a box with three different sides."""
    cells = np.random.default_rng(seed).random((4, 3, 5)) < 0.7
    bounds = np.float32([[-0.6, -0.4, -0.7], [0.6, 0.4, 0.7]])
    bank = Bank(cells, 4, bounds, 8, 2, kernels, torch.Generator().manual_seed(seed))
    with torch.no_grad():  # all alike at first
        for parameter in bank.parameters():
            parameter.add_(0.1 * torch.randn(parameter.shape))
    return bank


def test_locate_is_the_shaders_formula() -> None:
    bank = small_bank()
    u = np.random.default_rng(0).random((5000, 3)).astype(np.float32)
    fine = tuple(4 * n for n in bank.cells.shape)
    expected = network_table(bank.cells)[tuple(network_cell(u, bank.cells.shape, fine).T)]
    ids, local = bank.locate(torch.from_numpy(u))
    np.testing.assert_array_equal(np.maximum(expected, -1), ids.numpy())
    assert float(local.abs().max()) <= 1 + 1e-5
    active = ids >= 0
    back = (bank.corners[ids[active]] + 0.5 * (local[active] + 1)) / bank.shape
    torch.testing.assert_close(back, torch.from_numpy(u)[active], atol=1e-6, rtol=0)


def test_bank_gradient_is_the_world_gradient() -> None:
    """Against central differences of its own distance, float32: 1e-3 steps leave an error of about 1e-3."""
    bank = small_bank()
    u = torch.rand(400, 3)
    local = bank.locate(u)[1]
    u = u[(bank.locate(u)[0] >= 0) & (local.abs().max(-1).values < 0.95)]
    f, gradient, rgb = bank(u, functional.normalize(torch.randn(len(u), 3), dim=-1))
    torch.testing.assert_close(bank.distance(u), f.detach())
    step = 1e-3 * torch.eye(3) / bank.size
    for axis in range(3):
        difference = (bank.distance(u + step[axis]) - bank.distance(u - step[axis])) / 2e-3
        torch.testing.assert_close(gradient.detach()[:, axis], difference, atol=3e-3, rtol=0)
    assert ((rgb > 0) & (rgb < 1)).all()


def test_seams_of_one_plane_are_none() -> None:
    """Networks that hold one plane agree on their faces; one that is pushed by 1 % of a cell shows it."""
    cells = np.ones((3, 2, 2), bool)
    bank = Bank(cells, 2, np.float32([[-0.6, -0.4, -0.4], [0.6, 0.4, 0.4]]), 4, 1, kernels, torch.Generator())
    with torch.no_grad():  # sin(a) for a small a is a: sums of x, y, z behind a tiny first factor
        weights = bank.geometry.weights
        for name, value in weights.items():
            value.zero_()
            if name == "0_weight":
                value[:, 0] = torch.tensor([0.3, 0.8, 0.5]) * 1e-3
            if name == "1_weight":
                value[:, 0, 0] = 1.0
        slope = 6.0 * 6.0 * 1e-3  # both frequencies
        weights["2_weight"][:, 0, 0] = 1 / slope
        corner = (bank.corners + 0.5) / bank.shape - 0.5
        along = torch.tensor([0.3, 0.8, 0.5])
        middle = 2 * (corner * bank.shape) @ along  # in half cells
        weights["2_bias"][:, 0] = middle
    seams = Seams.find(bank, bank.distance, NEAR, torch.Generator().manual_seed(0))
    found = seams.metrics(bank)
    # the third order of two sines at 0.006 leaves a relative error of 1e-5
    assert found["seam_step_percent_p95"] < 0.05 and found["seam_normal_deg_p95"] < 0.1
    with torch.no_grad():
        bank.geometry.weights["2_bias"][::2] += 0.02
    pushed = Seams.find(bank, bank.distance, NEAR, torch.Generator().manual_seed(0)).metrics(bank)
    assert pushed["seam_step_percent_p95"] == pytest.approx(1.0, abs=0.1)
    assert seams.loss(bank, 256, torch.Generator().manual_seed(0)).item() > 1e-5


def test_bank_bakes_to_what_it_is(model: students.Students) -> None:
    """The numpy twin of the baked asset, stored in float32, is the bank: rounding only."""
    asset = model.bake()
    twin = surface_field(asset_from_bytes(asset_bytes(asset)))
    u = torch.rand(3000, 3)
    u = u[model.trained.locate(u)[0] >= 0]
    d = functional.normalize(torch.randn(len(u), 3), dim=-1)
    f, gradient, rgb = model.trained(u, d)
    normal = functional.normalize(gradient, dim=-1)
    np.testing.assert_allclose(twin.distance(u.numpy()), f.detach(), atol=2e-6)
    np.testing.assert_allclose(
        twin.gradient(u.numpy())[1], (gradient * model.trained.size).detach(), atol=1e-4
    )
    np.testing.assert_allclose(
        twin.colour(u.numpy(), normal.detach().numpy(), d.numpy()), rgb.detach(), atol=1e-5
    )


# Tasks ------------------------------------------------------------------------------------------------------


def run(model: Model, steps: Mapping[str, int]) -> None:
    for stage in model.stages:
        for k in range(steps[stage.name]):
            stage.step(k / steps[stage.name])


@pytest.fixture(scope="module")
def model(ball: PosedImages) -> students.Students:
    """Students of the ball."""
    config = students.Config(**STUDENTS, precision="float32")
    model = students.Students(config, ball, kernels, "cpu", 0)
    model.compile()
    run(model, {"start": 150, "teacher": 400, "distil": 250, "volume": 250, "surface": 200})
    return model


def test_students_learn_the_ball(model: students.Students) -> None:
    """30 dB where a grey ball has 14; held together at their faces; not below the teacher."""
    dataset = model.dataset
    scores: dict[str, list[float]] = {"students": [], "teacher": []}
    for camera, image in zip(dataset.test.cameras, dataset.test.images, strict=True):
        truth = composite(image, dataset.background)
        for name, draw in (("students", model.draw), ("teacher", model.earlier["teacher"])):
            scores[name].append(psnr(np.clip(draw(camera)[..., :3], 0, 1), truth) or 99)
    means = {name: float(np.mean(values)) for name, values in scores.items()}
    assert means["students"] > 29 and means["students"] > means["teacher"] - 0.5, means
    metrics = model.metrics()
    assert metrics["networks"] == model.trained.count > 50
    assert metrics["seam_normal_deg_p95"] < 12, metrics  # minutes of training bring this down further


def test_shader_draws_the_students(model: students.Students, ctx: moderngl.Context) -> None:
    """What the training side draws with its kernels is what the shader draws: 50 dB in float32."""
    camera = model.dataset.test.cameras[0].resized(64, 64)
    with Renderer(ctx, model.bake()) as renderer:
        images = renderer.draw(camera).images
    trained = model.draw(camera)
    parity = parity_db(images["colour"], trained[..., :3], images["coverage"], trained[..., 3:])
    assert parity is None or parity > 50


def test_students_go_on_from_a_checkpoint(ball: PosedImages) -> None:
    """The state after the stage ``distil``, loaded elsewhere, gives the same next steps bit for bit."""
    config = students.Config(**STUDENTS)
    first, second = (students.Students(config, ball, kernels, "cpu", 0) for _ in range(2))
    run(first, {"start": 5, "teacher": 12, "distil": 4, "volume": 0, "surface": 0})
    second.load_state({name: value.clone() for name, value in first.state().items()})
    for going in (first, second):
        for k in range(3):
            going.learn_volume(k / 3)
        going.learn_surface(0.0)
    a, b = first.state(), second.state()
    assert a.keys() == b.keys()
    for name in a:
        assert torch.equal(a[name], b[name]), name


def test_a_whole_run(tmp_path: Path) -> None:
    """From a scene file to results.json: every stage has its steps, and the family's figures are there."""
    options = [f"kiloneus.{name}={value}" for name, value in STUDENTS.items()]
    data = ["data.max_size=32", "data.train_views=12", "data.test_views=2"]
    # A process of its own: a run makes and releases an OpenGL context, and this one's is shared.
    command = "import sys; from training.cli import main; sys.exit(main())"
    chosen = ["quickstart", "family=kiloneus", "train.steps=100", *data, *options, "--out", str(tmp_path)]
    subprocess.run([sys.executable, "-c", command, *chosen], check=True, timeout=300)
    results = json.loads((tmp_path / "results.json").read_text())
    assert 10 < results["psnr"]["stages"]["teacher"] < 50 and 10 < results["psnr"]["baked"] < 50
    assert {"networks", "seam_step_percent_p95", "seam_normal_deg_p95"} <= set(results["family_metrics"])
    stages = {json.loads(line)["stage"] for line in (tmp_path / "log.jsonl").read_text().splitlines()}
    assert stages == {"start", "teacher", "distil", "volume", "surface"}
    assert results["parity_db"] > 40


@pytest.fixture(scope="module")
def teacher_model(ball: PosedImages) -> teacher.Teacher:
    model = teacher.Teacher(teacher.TeacherConfig(**SMALL, precision="float32"), ball, kernels, "cpu", 0)
    run(model, {"start": 150, "teacher": 400})
    return model


def test_teacher_bakes_and_draws(teacher_model: teacher.Teacher, ctx: moderngl.Context) -> None:
    """Its traced surface is the ball: a radius within 2 % and 26 dB; the shader draws the same, 50 dB."""
    dataset = teacher_model.dataset
    camera = dataset.test.cameras[0]
    u = np.random.default_rng(0).normal(size=(2000, 3))
    x = RADIUS * u / np.linalg.norm(u, axis=1, keepdims=True)
    inside = (x - dataset.bounds[0]) / (dataset.bounds[1] - dataset.bounds[0])
    assert float(np.percentile(np.abs(teacher_model.training.distance(inside)), 90)) < 0.02
    trained = teacher_model.draw(camera)
    truth = composite(dataset.test.images[0], dataset.background)
    assert (psnr(np.clip(trained[..., :3], 0, 1), truth) or 99) > 26
    with Renderer(ctx, teacher_model.bake()) as renderer:
        images = renderer.draw(camera).images
    parity = parity_db(images["colour"], trained[..., :3], images["coverage"], trained[..., 3:])
    assert parity is None or parity > 50


def test_without_alpha_a_backdrop_learns(ball: PosedImages) -> None:
    """Pictures on a blue wall: the loss falls though no mask says what is object."""
    wall = np.float32([0.1, 0.2, 0.9])
    views = [
        dataclasses.replace(v, images=np.round(255 * composite(v.images, wall)).astype(np.uint8))
        for v in (ball.train, ball.test)
    ]
    dataset = dataclasses.replace(ball, train=views[0], test=views[1])
    model = teacher.Teacher(teacher.TeacherConfig(**SMALL), dataset, kernels, "cpu", 0)
    assert [stage.name for stage in model.stages] == ["teacher"]
    scores = [model.training.step(k / 80)["psnr"] for k in range(80)]
    assert np.mean(scores[-10:]) > np.mean(scores[:5]) + 4
    colour = model.training.backdrop(torch.tensor([[3.0, 0, 0]]), torch.tensor([[0.0, 1, 0]]))  # type: ignore[misc]
    assert float((colour.detach() - torch.from_numpy(wall)).abs().max()) < 0.2


# Bad input --------------------------------------------------------------------------------------------------


def told(dataset: PosedImages) -> str:
    with pytest.raises(InshaderError) as caught:
        teacher.Teacher(teacher.TeacherConfig(**SMALL), dataset, kernels, "cpu", 0)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_black_masks(ball: PosedImages) -> None:
    images = np.array(ball.train.images)
    images[..., 3] = 0
    assert "masks are black" in told(
        dataclasses.replace(ball, train=dataclasses.replace(ball.train, images=images))
    )


def test_box_that_misses_the_object(ball: PosedImages) -> None:
    far = dataclasses.replace(ball, bounds=ball.bounds / 16 + np.float32([0, 0, 0.56]))
    assert "data.bounds misses the object" in told(far)


def test_camera_inside_the_object(ball: PosedImages) -> None:
    inside = look_at([0.05, 0, 0], [0, 0, 0], [0, 0, 1], 32, 32, 0.6)
    names = ball.train.names
    train = dataclasses.replace(ball.train, cameras=(inside, *ball.train.cameras[1:]))
    message = told(dataclasses.replace(ball, train=train))
    assert names[0] in message and "inside the object" in message


def test_teacher_without_a_surface(ball: PosedImages) -> None:
    model = students.Students(students.Config(**STUDENTS), ball, kernels, "cpu", 0)
    with torch.no_grad():
        model.teacher.field.decoder.weights["1_bias"].fill_(3.0)
    with pytest.raises(InshaderError, match="no surface in the box"):
        model.distil(0.0)
