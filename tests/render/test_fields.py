"""Surface fields, the numpy twins of what shaders evaluate: against differences and their own networks."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest

from render.asset import BakedAsset
from render.errors import InshaderError
from render.fields import surface_field
from render.sphere_tracing import network_cell, network_table

Build = Callable[..., BakedAsset]


@pytest.fixture
def points() -> np.ndarray:
    return np.random.default_rng(0).uniform(0.2, 0.8, (200, 3)).astype(np.float32)


def test_teacher_is_its_networks(build_teacher: Build, points: np.ndarray) -> None:
    asset = build_teacher()
    field = surface_field(asset)
    grid, decoder, colour = asset.grids["features"], asset.networks["decoder"], asset.networks["colour"]
    features = grid.spec.evaluate(grid.table, points)
    y = decoder.spec.evaluate(decoder.parameters, features, points)[:, 0]
    assert np.allclose(field.distance(points), asset.constants["distance_scale"] * y, atol=1e-7)
    n = np.float32([0, 0, 1]) + 0 * points
    rgb = colour.spec.evaluate(colour.parameters, features, n, -n)
    assert np.allclose(field.colour(points, n, -n), rgb) and rgb.std(0).min() > 0.01


def test_slopes_are_those_of_differences(build_teacher: Build, points: np.ndarray) -> None:
    """Central differences; a face of the grid between two points spoils some, so the median counts."""
    field, h = surface_field(build_teacher()), 1e-3
    f, slope = field.gradient(points)
    assert np.allclose(f, field.distance(points), atol=1e-6)
    for axis in range(3):
        step = np.eye(3, dtype=np.float32)[axis] * np.float32(h)
        difference = (field.distance(points + step) - field.distance(points - step)) / (2 * h)
        assert np.median(np.abs(difference - slope[:, axis])) < 2e-3


def ball_distance(asset: BakedAsset, u: np.ndarray) -> np.ndarray:
    x = asset.bounds[0] + u * (asset.bounds[1] - asset.bounds[0])
    return ((x**2).sum(-1) - 0.25) / 1.0


@pytest.mark.parametrize("times", [1, 3])
def test_bank_is_what_its_networks_hold(times: int, build_bank: Build) -> None:
    """A ball of radius 0.5, in cells with a network; in the others a cell's diagonal, below 0 inside."""
    asset = build_bank(times=times)
    u = np.random.default_rng(1).uniform(0, 1, (4000, 3)).astype(np.float32)
    field, cells, inside = surface_field(asset), asset.volumes["cells"], asset.volumes["inside"]
    cell = tuple(network_cell(u, cells.shape, asset.volumes["occupancy"].shape).T)
    held, size = cells[cell], asset.bounds[1] - asset.bounds[0]
    f, slope = field.gradient(u)
    assert 0.2 < held.mean() < 0.9 and inside[cell].any()
    assert np.abs(f - ball_distance(asset, u))[held].max() < 1e-6
    assert np.abs(slope - 2 * (asset.bounds[0] + u * size) * size)[held].max() < 1e-5
    assert np.allclose(np.abs(f[~held]), np.linalg.norm(size / cells.shape)) and not slope[~held].any()
    assert ((f[~held] < 0) == inside[cell][~held]).all()
    assert np.allclose(field.distance(u), f, atol=1e-6)
    n = u / np.linalg.norm(u, axis=1, keepdims=True)
    rgb = field.colour(u, n, -n)
    assert not rgb[~held].any() and rgb[held].std(0).min() > 0.01
    k = int(network_table(cells)[tuple(part[held][0] for part in cell)])
    network = asset.networks["colour"]
    one = {key: value[k : k + 1] for key, value in network.parameters.items()}
    x = 2 * (u[held][:1] * cells.shape - np.stack(cell, -1)[held][:1]) - 1
    wanted = replace(network.spec, count=1).evaluate(one, x.astype(np.float32), n[held][:1], -n[held][:1])
    assert np.allclose(rgb[held][0], wanted[0], atol=1e-5)


@pytest.mark.parametrize("kind", ["teacher", "bank"])
def test_nothing_to_evaluate(kind: str, build_teacher: Build, build_bank: Build) -> None:
    asset, none = {"teacher": build_teacher, "bank": build_bank}[kind](), np.zeros((0, 3), np.float32)
    field = surface_field(asset)
    assert field.distance(none).shape == (0,) and field.gradient(none)[1].shape == (0, 3)
    assert field.colour(none, none, none).shape == (0, 3)


def test_assets_without_a_surface(build_ball: Build) -> None:
    with pytest.raises(InshaderError, match="the driver march holds no surface"):
        surface_field(build_ball())
