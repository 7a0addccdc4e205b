"""The metrics of distance fields, on shapes whose distances are known in closed form."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
import trimesh

from scenes.dataset import Surface, Views
from training import surface_metrics as metrics

RADIUS = 0.5
BOUNDS = np.array([[-0.6, -0.7, -0.55], [0.6, 0.65, 0.6]], np.float32)
Function = Callable[[np.ndarray], np.ndarray]


def surface_of(made: trimesh.Trimesh) -> Surface:
    nothing = Views(np.zeros((0, 4, 4, 4), np.uint8), (), ())
    return Surface(
        vertices=np.asarray(made.vertices, np.float32),
        faces=np.asarray(made.faces, np.int64),
        points=np.zeros((0, 3), np.float32),
        distances=np.zeros(0, np.float32),
        test=nothing,
        bounds=BOUNDS,
        background=np.ones(3, np.float32),
        background_name="white",
        up=np.float32([0, 0, 1]),
        world_from_source=np.eye(4),
    )


@pytest.fixture(scope="module")
def ball() -> Surface:
    return surface_of(trimesh.creation.icosphere(subdivisions=5, radius=RADIUS))


def ball_field(
    radius: float = RADIUS, offset: tuple[float, float, float] = (0, 0, 0)
) -> tuple[Function, Function]:
    def distance(x: np.ndarray) -> np.ndarray:
        return np.linalg.norm(x - np.float32(offset), axis=1) - np.float32(radius)

    def gradient(x: np.ndarray) -> np.ndarray:
        return (x - np.float32(offset)) / np.linalg.norm(x - np.float32(offset), axis=1, keepdims=True)

    return distance, gradient


@pytest.fixture(autouse=True)
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(metrics, "RESOLUTION", 64)
    monkeypatch.setattr(metrics, "SAMPLES", 20000)


def test_the_truth_scores_best(ball: Surface) -> None:
    scores = metrics.surface_metrics(*ball_field(), ball)
    assert scores["iou"] > 0.999
    assert scores["normal_error_deg"] < 1.0  # triangles of 20480 are that far from round
    assert scores["chamfer_l1"] < 2e-4
    assert metrics.iou(ball_field()[0], ball, 64) == scores["iou"]


def test_occupancy_is_that_of_every_cell(ball: Surface) -> None:
    """Against a query at each cell; the box too, whose sides are planes through no cell's middle."""
    for surface in (ball, surface_of(trimesh.creation.box(extents=[0.9, 0.6, 0.7]))):
        for resolution in (48, 20):
            axes = metrics._middles(BOUNDS, resolution)
            x = np.stack(np.meshgrid(*axes, indexing="ij"), -1).reshape(-1, 3)
            plain = metrics.winding_numbers(surface.vertices, surface.faces, x) > 0.5
            found = metrics.mesh_occupancy(surface, resolution)
            assert np.array_equal(found, plain.reshape((resolution,) * 3))
            assert 0.1 < found.mean() < 0.5


def test_occupancy_of_an_open_mesh(ball: Surface) -> None:
    open_ball = trimesh.Trimesh(ball.vertices, ball.faces, process=False)
    open_ball.update_faces(open_ball.triangles_center[:, 2] < 0.6 * RADIUS)
    surface = surface_of(open_ball)
    x = np.stack(np.meshgrid(*metrics._middles(BOUNDS, 48), indexing="ij"), -1).reshape(-1, 3)
    plain = metrics.winding_numbers(surface.vertices, surface.faces, x) > 0.5
    assert np.array_equal(metrics.mesh_occupancy(surface, 48).ravel(), plain)


@pytest.mark.parametrize("radius", [0.45, 0.48, 0.53])
def test_a_ball_of_another_size(ball: Surface, radius: float) -> None:
    scores = metrics.surface_metrics(*ball_field(radius), ball)
    small, large = sorted([radius, RADIUS])
    assert scores["iou"] == pytest.approx((small / large) ** 3, abs=0.01)
    assert scores["chamfer_l1"] == pytest.approx(abs(radius - RADIUS), abs=3e-4)
    assert scores["normal_error_deg"] < 1.0


def test_tilted_gradients(ball: Surface) -> None:
    """A rotation about z by an angle a turns the normal n by acos(1 - (1 - nz^2)(1 - cos a))."""
    distance, gradient = ball_field()
    a = np.radians(10)
    turn = np.array([[np.cos(a), -np.sin(a), 0], [np.sin(a), np.cos(a), 0], [0, 0, 1]])
    nz = np.linspace(-1, 1, 20001)  # evenly by area
    wanted = np.degrees(np.arccos(1 - (1 - nz**2) * (1 - np.cos(a)))).mean()

    def tilted(x: np.ndarray) -> np.ndarray:
        return 7.5 * gradient(x) @ turn.T  # of any length

    values = metrics.lattice_values(distance, BOUNDS, 64)
    found = metrics.field_surface(values, distance, gradient, BOUNDS)
    assert found is not None
    assert metrics.normal_error_deg(tilted, found, ball) == pytest.approx(wanted, abs=0.1)
    flipped = metrics.normal_error_deg(lambda x: -gradient(x), found, ball)
    assert flipped == pytest.approx(180, abs=1)
    for useless in (0.0, np.nan):
        nothing = metrics.normal_error_deg(lambda x, u=useless: np.full_like(x, u), found, ball)
        assert nothing == pytest.approx(90, abs=1e-9)


def test_a_blob_far_from_the_surface_counts(ball: Surface) -> None:
    """A second ball in a corner, of 8 % of the other's diameter: no metric may overlook it."""
    here, there = ball_field(), ball_field(0.08, (0.5, 0.55, 0.5))

    def distance(x: np.ndarray) -> np.ndarray:
        return np.minimum(here[0](x), there[0](x))

    def gradient(x: np.ndarray) -> np.ndarray:
        return np.where((here[0](x) < there[0](x))[:, None], here[1](x), there[1](x))

    scores = metrics.surface_metrics(distance, gradient, ball)
    # Its share of the field's area, and its mean distance: that of its middle.
    share = 0.08**2 / (0.08**2 + RADIUS**2)
    away = np.linalg.norm([0.5, 0.55, 0.5]) - RADIUS
    assert scores["chamfer_l1"] == pytest.approx(share * away / 2, rel=0.05)
    assert scores["iou"] == pytest.approx(1 / (1 + (0.08 / RADIUS) ** 3), abs=0.001)
    flat = metrics.surface_metrics(*here, ball)["normal_error_deg"]  # triangles are not round
    assert scores["normal_error_deg"] - flat == pytest.approx(share * 90 / 2, rel=0.1)  # turned every way


def test_missing_parts_count(ball: Surface) -> None:
    """A field that knows one of two balls: the other's points have far to go."""
    both = trimesh.util.concatenate(
        [
            trimesh.creation.icosphere(subdivisions=4, radius=0.2).apply_translation([dx, 0, 0])
            for dx in (-0.3, 0.3)
        ]
    )
    distance, gradient = ball_field(0.2, (0.3, 0, 0))
    scores = metrics.surface_metrics(distance, gradient, surface_of(both))
    assert scores["iou"] == pytest.approx(0.5, abs=0.01)
    # From the other ball, of radius r = 0.2 at a = 0.6 from c, |x - c| - r is a + r^2 / 3a - r in the mean.
    assert scores["chamfer_l1"] == pytest.approx((0.6 + 0.2**2 / (3 * 0.6) - 0.2) / 4, rel=0.02)


@pytest.mark.parametrize("value", [1.0, -1.0])
def test_no_surface(ball: Surface, value: float) -> None:
    scores = metrics.surface_metrics(lambda x: np.full(len(x), value), np.zeros_like, ball)
    assert set(scores) == {"iou"}
    assert scores["iou"] == (0 if value > 0 else pytest.approx(metrics.mesh_occupancy(ball, 64).mean()))


def test_two_empty_sets_agree() -> None:
    assert metrics.occupancy_iou(np.zeros(4, bool), np.zeros(4, bool)) == 1


def test_projection_onto_the_field(ball: Surface) -> None:
    distance, gradient = ball_field()

    def squared(x: np.ndarray) -> np.ndarray:  # no distance, but of the same zero
        return (x**2).sum(1) - np.float32(RADIUS**2)

    rng = np.random.default_rng(0)
    x = rng.normal(size=(500, 3))
    x *= (RADIUS + rng.uniform(-0.01, 0.01, (500, 1))) / np.linalg.norm(x, axis=1, keepdims=True)
    found = metrics.project(x, squared, lambda x: 2 * x, BOUNDS)
    assert np.abs(distance(found)).max() < 3e-6
    assert np.linalg.norm(found - x, axis=1).max() < 0.0101  # straight there
    lost = metrics.project(x, squared, lambda x: np.full_like(x, np.nan), BOUNDS)
    assert np.allclose(lost, x)
    assert gradient(found).shape == found.shape
