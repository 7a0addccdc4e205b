"""The soft body: constraints against slow code, and what a fall onto the floor keeps and loses."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import pytest

from render.cage import Cage, Points, pose, signed_volumes, voxel_cage
from render.errors import InshaderError
from render.soft_body import FRAME, Material, SoftBody, colours

UP = np.array([0.0, 0.0, 1.0])


def block(shape: tuple[int, int, int], spacing: float = 0.15) -> Cage:
    return voxel_cage(np.ones(shape, bool), np.zeros(3), spacing)


def ell() -> Cage:
    """A body that tips over: an upright with an arm to one side."""
    voxels = np.zeros((8, 4, 8), bool)
    voxels[:3] = voxels[:, :, 5:] = True
    return voxel_cage(voxels, np.zeros(3), 0.15)


@dataclass
class Fall:
    """Five seconds of it."""

    body: SoftBody
    volumes: Points  # (301,) of the whole over that at rest
    least: Points  # (301,) of any tetrahedron over that at rest
    energy: Points  # (301,)
    speed: Points  # (301,) of the fastest vertex


def fall(cage: Cage, material: Material, drop: float = 0.3) -> Fall:
    body = SoftBody(cage, UP, float((cage.vertices @ UP).min()) - drop, material)
    rows = []
    for frame in range(301):
        if frame:
            body.advance()
        volumes = signed_volumes(body.vertices, cage.tetrahedra)
        speed = np.linalg.norm(body.velocities, axis=1).max()
        rows.append(
            (volumes.sum() / cage.volumes.sum(), (volumes / cage.volumes).min(), body.energy(), speed)
        )
    return Fall(body, *np.array(rows).T)


@pytest.fixture(scope="module")
def fallen() -> Fall:
    return fall(ell(), Material())


def test_falls_freely_as_one(fallen: Fall) -> None:
    """Until the floor is met nothing holds it back: after t seconds it is g t^2 / 2 lower."""
    body = SoftBody(fallen.body.cage, UP, -100.0)
    body.advance(30)
    seconds = 30 * FRAME
    assert np.isclose(body.seconds, seconds)
    # steps of dt fall g t dt / 2 further than the parabola
    further = body.material.gravity * seconds * FRAME / body.material.steps / 2
    moved = body.vertices - body.cage.vertices
    assert np.allclose(moved, -(body.material.gravity * seconds**2 / 2 + further) * UP, atol=1e-9)


def test_volume_stays_within_five_percent(fallen: Fall) -> None:
    """Over 300 frames, and no tetrahedron comes near to being turned over, so that rays can be mapped."""
    assert np.abs(fallen.volumes - 1).max() < 0.05
    assert fallen.volumes.min() < 1 - 1e-4, "the floor squeezes it"
    assert fallen.least.min() > 0.2
    pose(fallen.body.cage, fallen.body.vertices)


def test_comes_to_rest_on_the_floor(fallen: Fall) -> None:
    body = fallen.body
    heights = body.vertices @ UP - body.floor
    assert abs(heights.min()) < 1e-3, "it lies on the floor, and does not sink in"
    assert fallen.speed[:40].max() > 0.8  # sqrt(2 g drop) = 1.1
    assert fallen.speed[-30:].max() < 0.1 * fallen.speed.max()
    assert fallen.speed[-30:].max() < fallen.speed[150:180].max()


def test_energy_is_only_lost(fallen: Fall) -> None:
    """What it falls with bounds what it ever has. Elastic energy is not counted, so that it may go up again
    by what was stored, never above the beginning."""
    assert np.isfinite(fallen.energy).all()
    assert fallen.energy.max() <= fallen.energy[0] * (1 + 1e-9)
    lying = fallen.body.material.gravity * fallen.body.cage.volumes.sum() * 0.3
    assert fallen.energy[-1] < fallen.energy[0] - 0.9 * lying


def test_same_fall_twice(fallen: Fall) -> None:
    again = fall(ell(), Material())
    assert np.array_equal(again.body.vertices, fallen.body.vertices)
    fallen.body.reset()
    fallen.body.advance(5)
    again.body.reset()
    again.body.advance(5)
    assert np.array_equal(again.body.vertices, fallen.body.vertices), "nothing is left of before"


def test_friction_holds_what_slides() -> None:
    """A block thrown along the floor slides v^2 / (2 mu g); without friction it goes on."""
    cage = block((4, 4, 3))
    moved = {}
    for friction in (0.0, 0.5):
        body = SoftBody(cage, UP, float(cage.vertices[:, 2].min()), Material(400, 800, friction=friction))
        body.advance(30)  # settles
        start = body.vertices.mean(0)
        body.velocities = body.velocities + np.array([1.0, 0, 0])
        body.advance(60)
        moved[friction] = (body.vertices.mean(0) - start)[0]
    assert np.isclose(moved[0.0], 1.0, atol=0.01)
    assert np.isclose(moved[0.5], 1 / (2 * 0.5 * 2), rtol=0.05)  # it also tips a little


def test_column_sinks_as_stated() -> None:
    """Young's modulus against the mean weight above, on a floor that lets the foot spread. Springs and
    volumes are a solid of that modulus only where both are many and the volume gives no way."""
    cage = block((3, 3, 8))
    material = Material(damping=20.0, friction=0.0)
    body = SoftBody(cage, UP, float(cage.vertices[:, 2].min()), material)
    body.advance(200)
    height = np.ptp(cage.vertices[:, 2])
    sunk = 1 - np.ptp(body.vertices[:, 2]) / height
    assert np.isclose(sunk, material.gravity * height / (2 * material.stiffness), rtol=0.2)


def test_hard_falls_keep_the_last_valid_frame() -> None:
    """What cannot be held together is told with its cell, and the body stays as it was."""
    cage = block((4, 4, 4))
    body = SoftBody(cage, UP, float(cage.vertices[:, 2].min()) - 0.01, Material(0.001, 0.001))
    body.velocities = -np.outer(np.full(len(cage.vertices), 100.0), UP)
    with pytest.raises(InshaderError, match=r"the cage's cell \(\d, \d, \d\) is .* its tetrahedron \d+ has"):
        body.advance(3)
    before, seconds = body.vertices.copy(), body.seconds
    pose(cage, before)  # which it can be drawn in
    with pytest.raises(InshaderError):
        body.advance()
    assert np.array_equal(body.vertices, before) and body.seconds == seconds
    body.reset()
    assert np.array_equal(body.vertices, cage.vertices) and body.seconds == 0


def test_colours_share_no_vertex(fallen: Fall) -> None:
    corners = fallen.body.cage.tetrahedra
    groups = colours(corners)
    assert sorted(np.concatenate(groups).tolist()) == list(range(len(corners)))
    for group in groups:
        vertices = corners[group].ravel()
        assert len(np.unique(vertices)) == len(vertices)
    most = np.bincount(corners.ravel()).max()
    assert most <= len(groups) <= 2 * most


def slow_step(body: SoftBody, x: Points, dt: float) -> Points:
    """Constraints one by one, as XPBD's equation 18 has them, with slopes by finite differences."""
    x = x.copy()

    def project(corners: list[int], value: Callable[[Points], float], rest: float, compliance: float) -> None:
        at = x[corners]
        slopes = np.zeros_like(at)
        for k in np.ndindex(*at.shape):
            h = np.zeros_like(at)
            h[k] = 1e-6
            slopes[k] = (value(at + h) - value(at - h)) / 2e-6
        w = 1 / body.masses[corners]
        change = (rest - value(at)) / ((w[:, None] * slopes**2).sum() + compliance / dt**2)
        x[corners] = at + change * w[:, None] * slopes

    def length(at: Points) -> float:
        return float(np.linalg.norm(at[0] - at[1]))

    def six_volumes(at: Points) -> float:
        return float(np.linalg.det(at[1:] - at[0]))

    cage, material = body.cage, body.material
    pairs = sorted(
        {
            (int(min(t[a], t[b])), int(max(t[a], t[b])))
            for t in cage.tetrahedra
            for a in range(4)
            for b in range(a)
        }
    )
    ends = np.array(pairs, np.int32)
    for k in np.concatenate(colours(ends)):
        rest = length(cage.vertices[ends[k]])
        around = cage.volumes[[set(ends[k].tolist()) <= set(t.tolist()) for t in cage.tetrahedra]].sum() / 6
        project(ends[k].tolist(), length, rest, 2 / 9 * rest**2 / (material.stiffness * around))
    for k in np.concatenate(colours(cage.tetrahedra)):
        rest = six_volumes(cage.vertices[cage.tetrahedra[k]])
        project(cage.tetrahedra[k].tolist(), six_volumes, rest, 6 * rest / material.bulk)
    return x


def test_constraints_are_those_of_slow_code() -> None:
    """One round over a small block, pulled out of shape."""
    cage = block((2, 1, 1))
    material = Material(gravity=0.0, damping=0.0)
    body = SoftBody(cage, UP, -10.0, material)
    x = cage.vertices + np.random.default_rng(2).normal(0, 0.02, cage.vertices.shape)
    dt = 0.01
    body.reset(x)
    stepped, velocities = body._step(body.vertices, body.velocities, dt)
    expected = slow_step(body, x, dt)
    assert np.abs(expected - x).max() > 5e-3
    assert np.allclose(stepped, expected, atol=1e-8)  # finite differences of float64
    assert np.allclose(velocities, (expected - x) / dt, atol=1e-6)
    assert np.array_equal(body.vertices, x), "what is given stays as it is"


@pytest.mark.parametrize(
    ("material", "told"),
    [
        ({"stiffness": 0.0}, "stiffness is 0.0: it must be above 0"),
        ({"friction": -1.0}, "friction is -1.0"),
        ({"gravity": float("nan")}, "gravity is nan"),
        ({"steps": 0}, "steps is 0"),
    ],
)
def test_bad_materials_are_told(material: dict[str, float], told: str) -> None:
    with pytest.raises(InshaderError, match=told):
        Material(**material)
