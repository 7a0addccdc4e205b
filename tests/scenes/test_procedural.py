from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest

from scenes import PosedImages, load_dataset, load_scene, procedural, still_life
from scenes.hull import bounds_from_views
from scenes.kernels import compile_kernels

SMALL = ["data.train_views=5", "data.test_views=3", "data.max_size=40"]


def load(*overrides: str) -> PosedImages:
    return load_dataset(load_scene("quickstart", [*SMALL, *overrides]))


@pytest.fixture
def counted(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Grows by one whenever pictures are traced."""
    calls: list[int] = []
    trace = procedural.trace
    monkeypatch.setattr(procedural, "trace", lambda *given: calls.append(1) or trace(*given))
    return calls


def test_the_pictures(own_cache: Path) -> None:
    posed = load()
    assert posed.train.images.shape == (5, 40, 40, 4)
    assert posed.test.images.shape == (3, 40, 40, 4)
    assert posed.train.images.dtype == np.uint8
    alpha = posed.train.images[..., 3]
    assert (alpha > 0).mean() > 0.4
    assert ((alpha > 0) & (alpha < 255)).any(), "edges are area-filtered"
    assert not posed.train.images[alpha == 0].any()
    assert posed.train.images[alpha == 255][:, :3].std(0).min() > 30, "the pictures hardly show anything"
    for view in (0, 1, 2):
        edge = posed.test.images[view][[0, -1]][..., 3]
        assert not edge.any(), "the still life is cut off"


def test_same_pictures_from_the_cache_and_without(own_cache: Path, counted: list[int]) -> None:
    first = load()
    (file,) = own_cache.iterdir()
    assert np.array_equal(load().train.images, first.train.images)
    assert len(counted) == 1
    file.write_bytes(file.read_bytes()[:5000])  # damaged: ignored and replaced
    assert np.array_equal(load().train.images, first.train.images)
    assert len(counted) == 2
    assert np.array_equal(load().test.images, first.test.images)
    assert len(counted) == 2
    assert not np.array_equal(load("seed=1").train.images, first.train.images)
    assert np.array_equal(load("seed=1").test.images, first.test.images)


def test_a_cache_that_cannot_be_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("INSHADER_CACHE", str(tmp_path / "file" / "below"))
    assert len(load().train) == 5
    assert os.listdir(tmp_path) == ["file"]


def test_hull_and_stated_bounds_agree() -> None:
    """The bounds have 0.03 of air; the hull, which nothing sees from below, is larger than the shapes."""
    posed = load("data.train_views=30", "data.max_size=96")
    low, high = bounds_from_views(posed.train)
    air = 0.031 * np.linalg.norm(posed.world_from_source[:3, 0])
    assert (low < posed.bounds[0] + air).all() and (high > posed.bounds[1] - air).all()
    assert (high - posed.bounds[1])[2] < 0.1 and (high - low)[:2].max() < 1.7


def test_a_point_of_the_scene_is_drawn_where_it_projects() -> None:
    """The lid's blue knob stands out against the white background."""
    posed = load("data.test_views=8", "data.max_size=128")
    knob = (posed.world_from_source @ [-0.10, 0.24, 0.80, 1])[:3]
    for camera, image in zip(posed.test.cameras, posed.test.images, strict=True):
        x, y, z = (np.linalg.inv(camera.world_from_camera) @ [*knob, 1])[:3]
        column, row = int(camera.cx - camera.fl_x * x / z), int(camera.cy + camera.fl_y * y / z)
        red, green, blue, alpha = image[row, column].astype(int)
        assert alpha == 255
        assert blue > red + 25 and blue > green + 10, image[row, column]


def test_kernels_agree_with_plain_python() -> None:
    plain = {name: getattr(still_life, name) for name in ("shape", "scene_sdf", "normal")}
    compile_kernels(vars(still_life))
    rng = np.random.default_rng(0)
    for x, y, z in rng.uniform(-1, 1, (50, 3)).tolist():
        for k in range(len(still_life.PLACES)):
            assert still_life.shape(k, x, y, z) == pytest.approx(plain["shape"](k, x, y, z), abs=1e-9)
        _, k = still_life.scene_sdf(x, y, z)
        assert 0 <= k < len(still_life.PLACES)
        assert np.linalg.norm(still_life.normal(k, x, y, z)) == pytest.approx(1)


def test_no_step_of_a_ray_leads_into_a_shape() -> None:
    """The distance is a bound, so that a ray that advances by it stays outside."""
    compile_kernels(vars(still_life))
    rng = np.random.default_rng(2)
    for x, y, z in rng.uniform(-1.2, 1.2, (400, 3)).tolist():
        d, _ = still_life.scene_sdf(x, y, z)
        if d > 0.01:
            directions = rng.normal(size=(50, 3))
            directions /= np.linalg.norm(directions, axis=1, keepdims=True)
            inside = [
                still_life.scene_sdf(*point)[0] for point in ([x, y, z] + 0.999 * d * directions).tolist()
            ]
            assert min(inside) > -0.02


def test_shapes_stay_in_their_spheres_and_in_the_box() -> None:
    compile_kernels(vars(still_life))
    rng = np.random.default_rng(1)
    low, high = np.array(still_life.BOUNDS)
    points = rng.uniform(low - 0.3, high + 0.3, (20_000, 3))
    for k, (px, py, pz, above, radius) in enumerate(still_life.PLACES):
        inside = points[[still_life.shape(k, *point) < 0 for point in points.tolist()]]
        assert (inside > low).all() and (inside < high).all()
        assert (np.linalg.norm(inside - [px, py, pz + above], axis=1) < radius).all()
