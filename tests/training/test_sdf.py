"""Task sdf of gaussian_rbf: it learns a surface, and what is baked is what was trained."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any, get_args

import moderngl
import numpy as np
import pytest
import torch

from render import reference
from render.asset import asset_bytes, asset_from_bytes
from render.camera import look_at
from render.metrics import parity_db
from render.renderer import Renderer
from scenes.dataset import Surface, Views
from scenes.orbit import orbit_cameras
from scenes.surface import render_surface
from training.families.gaussian_rbf.compare import OUTPUTS, equal_cost, multiply_adds
from training.families.gaussian_rbf.decoder import DecoderConfig
from training.families.gaussian_rbf.sdf import Config, Distances, batches, morton
from training.kernels import cpu
from training.loop import Run

RADIUS = 0.42
# The smallest that learns a ball in seconds.
SMALL = {
    "levels": 4,
    "base_resolution": 8,
    "finest_resolution": 32,
    "log2_table_size": 12,
    "neurons": 8,
    "occupancy_resolution": 32,
    "points_per_step": 1 << 12,
    "precision": "float32",
}


def config(**options: Any) -> Config:
    return Config(**{**SMALL, **options})


@pytest.fixture(scope="module")
def ball() -> Surface:
    """A fine triangle mesh of a sphere; the distances are the sphere's own."""
    import trimesh

    mesh = trimesh.creation.icosphere(4, RADIUS)
    vertices, faces = np.asarray(mesh.vertices, np.float32), np.asarray(mesh.faces, np.int64)
    side = np.float32(1 / np.sqrt(3))
    rng = np.random.default_rng(0)
    near = rng.normal(size=(60000, 3))
    near *= (RADIUS + rng.normal(0, 0.03, (60000, 1))) / np.linalg.norm(near, axis=1, keepdims=True)
    points = np.concatenate([near, rng.uniform(-side, side, (20000, 3))]).astype(np.float32)
    points = points[rng.permutation(len(points))]
    cameras = tuple(orbit_cameras(2, 48, np.zeros(3), 2.2, (0.1, 0.5)))
    return Surface(
        vertices=vertices,
        faces=faces,
        points=points,
        distances=np.linalg.norm(points, axis=1).astype(np.float32) - np.float32(RADIUS),
        test=Views(render_surface(vertices, faces, cameras), cameras, ("a", "b")),
        bounds=np.array([[-side] * 3, [side] * 3], np.float32),
        background=np.ones(3, np.float32),
        background_name="white",
        up=np.array([0, 0, 1], np.float32),
        world_from_source=np.eye(4),
    )


@pytest.fixture(scope="module")
def trained(ball: Surface, tmp_path_factory: pytest.TempPathFactory) -> Distances:
    model = Distances(config(), ball, cpu, "cpu", 0)
    Run(model, tmp_path_factory.mktemp("sdf"), None, 300, "").train()
    return model


def test_learns_the_ball(trained: Distances) -> None:
    """An octant of 32 cells a side is off by some 1e-3 at most where a cell's chord leaves the arc."""
    metrics = trained.metrics()
    assert metrics["iou"] > 0.985 and metrics["normal_error_deg"] < 3 and metrics["chamfer_l1"] < 2e-3


@pytest.mark.parametrize("decoder", get_args(DecoderConfig.model_fields["decoder"].annotation))
def test_every_decoder_learns(decoder: str, ball: Surface, tmp_path: Path) -> None:
    model = Distances(config(decoder=decoder), ball, cpu, "cpu", 0)
    Run(model, tmp_path, None, 250, "").train()
    near = np.flatnonzero(np.abs(ball.distances) < 0.05)[:4000]
    error = np.abs(model.distance(model._inside(ball.points[near])) - ball.distances[near])
    assert error.mean() < 0.006  # a sixth of a cell of the finest level, 0.036 wide


def test_gradient_is_the_slope_of_the_distance(trained: Distances) -> None:
    """Against central differences in float32, away from the faces of cells that a difference would cross."""
    rng = np.random.default_rng(1)
    u, h = rng.uniform(0.2, 0.8, (2000, 3)).astype(np.float32), np.float32(2e-4)
    value, slope = trained.gradient(u)
    assert np.abs(value - trained.distance(u)).max() < 1e-5
    steps = h * np.eye(3, dtype=np.float32)
    found = np.stack([(trained.distance(u + e) - trained.distance(u - e)) / (2 * h) for e in steps], -1)
    assert np.median(np.abs(found - slope)) < 2e-3 and np.quantile(np.abs(found - slope), 0.9) < 2e-2


@pytest.mark.parametrize(("precision", "floor"), [("float32", 50), ("float16", 42)])
def test_drawn_asset_is_the_drawn_field(
    precision: str, floor: float, trained: Distances, ctx: moderngl.Context
) -> None:
    """Through a file, by the shader and by numpy, against the training side."""
    trained.config = trained.config.model_copy(update={"precision": precision})
    asset = asset_from_bytes(asset_bytes(trained.bake()))
    assert asset.precision == precision
    camera = asset.held_out[0]
    wanted = trained.draw(camera)
    with Renderer(ctx, asset) as renderer:
        shader = renderer.draw(camera).images
    for images in (shader, reference.draw(asset, camera)):
        found = parity_db(images["colour"], wanted[..., :3], images["coverage"], wanted[..., 3:])
        assert found is None or found >= floor


def test_views_of_nothing_and_past_the_edge(trained: Distances, ball: Surface) -> None:
    """Rays that meet no cell, and some that pass through cells and meet no surface."""
    camera = ball.test.cameras[0]
    away = look_at(camera.position, 2 * camera.position, [0, 0, 1], 8, 8, 0.5)
    assert (trained.draw(away) == [1, 1, 1, 0]).all()
    level = [float(np.linalg.norm(camera.position)), 0.0, RADIUS + 0.02]
    past = trained.draw(look_at(level, [0, 0, RADIUS + 0.02], [0, 0, 1], 9, 3, 0.002))
    assert (past[..., 3] == 0).all()
    empty = np.zeros((0, 3), np.float32)
    assert trained.distance(empty).shape == (0,) and trained.gradient(empty)[1].shape == (0, 3)


def test_occupied_cells_hold_the_surface(trained: Distances, ball: Surface) -> None:
    cells = trained.occupancy()
    on = ball.points[np.abs(ball.distances) < 1e-3]
    cell = np.minimum((trained._inside(on) * cells.shape).astype(int), np.array(cells.shape) - 1)
    assert cells[tuple(cell.T)].all() and cells.mean() < 0.2


def test_resume_equals_an_uninterrupted_run(ball: Surface, tmp_path: Path) -> None:
    def run(folder: str, steps: int) -> Run:
        (tmp_path / folder).mkdir(exist_ok=True)
        return Run(Distances(config(), ball, cpu, "cpu", 0), tmp_path / folder, None, steps, "")

    whole, first = run("whole", 30), run("parts", 30)
    whole.train()
    for _ in range(11):
        first._step(first.model.stages[0])
    first.save()
    second = run("parts", 30)
    second.resume()
    second.train()
    state, again = whole.model.state(), second.model.state()
    assert set(state) == set(again) and all(torch.equal(value, again[name]) for name, value in state.items())


def test_batches_hold_every_point_once(ball: Surface) -> None:
    u, d = batches(ball.points[:1000], ball.distances[:1000], 256)
    assert u.shape == (3, 256, 3) and d.shape == (3, 256)
    for index in range(3):
        part = slice(256 * index, 256 * (index + 1))
        pairs = np.concatenate([u[index], d[index][:, None]], 1)
        wanted = np.concatenate([ball.points[part], ball.distances[part][:, None]], 1)
        assert sorted(map(tuple, pairs.tolist())) == sorted(map(tuple, wanted.tolist()))
    assert batches(ball.points[:100], ball.distances[:100], 256)[0].shape == (1, 100, 3)


def test_morton_order() -> None:
    corners = np.array([[x, y, z] for z in (0, 0.6) for y in (0, 0.6) for x in (0, 0.6)], np.float32)
    assert np.argsort(morton(corners)).tolist() == list(range(8))
    assert morton(np.array([1, 0, 0], np.float32)) == sum(1 << (3 * bit) for bit in range(10))


@pytest.mark.parametrize("task", OUTPUTS)
def test_compared_decoders_cost_the_same(task: str) -> None:
    chosen = Config(neurons=16)
    wanted = multiply_adds(chosen, OUTPUTS[task])
    for decoder in ("rbf", "mlp"):
        other = equal_cost(chosen, decoder, OUTPUTS[task])
        assert other.decoder == decoder
        assert multiply_adds(other, OUTPUTS[task]) == pytest.approx(wanted, rel=0.06)


def test_a_diverged_field_has_no_surface(ball: Surface) -> None:
    """Only the overlap of insides is told of a field that is positive everywhere."""
    model = Distances(
        config(), replace(ball, points=ball.points[:4096], distances=ball.distances[:4096]), cpu, "cpu", 0
    )
    with torch.no_grad():
        model.field.output.weight.zero_()
        model.field.output.bias.fill_(1.0)
    assert model.metrics() == {"iou": 0.0}
