"""The cage: its tetrahedra, what they carry along, and the way back from the deformed world."""

from __future__ import annotations

import numpy as np
import pytest

from render import voxels
from render.asset import BakedMesh
from render.cage import (
    EDGE,
    MARGIN,
    Cage,
    Embedding,
    Points,
    Pose,
    build_cage,
    embed,
    locate,
    pose,
    rest_directions,
    rest_points,
    signed_volumes,
    world_normals,
)
from render.deformation import bend, turn, twist
from render.errors import InshaderError

UP = (0.0, 1.0, 0.0)


def torus(around: int = 40, across: int = 20, radius: float = 0.5, thickness: float = 0.2) -> BakedMesh:
    """A body with a hole; its axis is z."""
    a, b = np.meshgrid(
        np.arange(around) * 2 * np.pi / around, np.arange(across) * 2 * np.pi / across, indexing="ij"
    )
    out = radius + thickness * np.cos(b)
    vertices = np.stack([out * np.cos(a), out * np.sin(a), thickness * np.sin(b)], -1).reshape(-1, 3)
    k = np.arange(around * across).reshape(around, across)
    next_a, next_b = np.roll(k, -1, 0), np.roll(k, -1, 1)
    both = np.roll(next_a, -1, 1)
    faces = np.stack([k, next_a, both, k, both, next_b], -1).reshape(-1, 3)
    return BakedMesh(vertices.astype(np.float32), faces.astype(np.uint32))


def box(half: tuple[float, float, float]) -> BakedMesh:
    corners = (np.arange(8)[:, None] >> np.arange(3) & 1) * 2.0 - 1
    quads = np.array([[0, 4, 6, 2], [1, 3, 7, 5], [0, 1, 5, 4], [2, 6, 7, 3], [0, 2, 3, 1], [4, 5, 7, 6]])
    faces = np.concatenate([quads[:, [0, 1, 2]], quads[:, [0, 2, 3]]])
    return BakedMesh((corners * half).astype(np.float32), faces.astype(np.uint32))


@pytest.fixture(scope="module")
def cage() -> Cage:
    return build_cage([torus()], cells=9)


def bent(cage: Cage) -> Pose:
    """Twisted, bent and turned: no tetrahedron stays as it was."""
    x = twist(cage.vertices, 1.5, UP, (0, 0, 0))
    x = bend(x, 0.6, UP, (1, 0, 0), (0, -0.7, 0), (0, 1.4))
    return pose(cage, turn(x, 0.7, (1, 2, 3), (0.1, 0, 0)))


def inside(cage: Cage, count: int) -> Embedding:
    """Points of random tetrahedra, away from faces."""
    rng = np.random.default_rng(7)
    weights = 0.01 + 0.96 * rng.dirichlet(np.ones(4), count)
    return Embedding(rng.integers(0, len(cage.tetrahedra), count), weights)


def test_voxels_are_those_touched_or_enclosed(monkeypatch: pytest.MonkeyPatch) -> None:
    """Against many points of each triangle; small chunks, so that there are several."""
    rng = np.random.default_rng(0)
    shape = np.array([7, 6, 5])
    triangles = (rng.uniform(0.5, 1, (12, 1, 3)) * (shape - 1.5) + rng.normal(0, 0.9, (12, 3, 3))).clip(
        0.2, shape - 0.2
    )
    monkeypatch.setattr(voxels, "PAIRS_AT_ONCE", 50)
    margin = 0.1
    touched = voxels.touched_voxels(triangles, shape, margin)
    weights = rng.dirichlet(np.full(3, 0.7), 40000)
    places = (weights @ triangles).reshape(-1, 3)
    seen = np.zeros(shape, bool)
    for offset in np.ndindex(3, 3, 3):  # the corners and sides of a box around each point
        near = np.floor(places + margin * (np.array(offset) - 1)).astype(int)
        near = near[((near >= 0) & (near < shape)).all(1)]
        seen[tuple(near.T)] = True
    assert not (seen & ~touched).any()
    # what random points miss of a voxel is a corner that a triangle only just reaches
    assert (touched & ~seen).sum() <= 0.02 * touched.sum()


def test_cage_encloses_and_leaves_holes_open(cage: Cage) -> None:
    x = np.stack(np.meshgrid(*[np.linspace(-0.75, 0.75, 41)] * 3, indexing="ij"), -1).reshape(-1, 3)
    within = np.hypot(np.hypot(x[:, 0], x[:, 1]) - 0.5, x[:, 2]) < 0.2
    embed(cage, x[within])  # none is outside
    with pytest.raises(InshaderError, match=r"point 1, .* is outside the cage"):
        embed(cage, np.array([[0.5, 0, 0], [0, 0, 0]]))
    hollow = build_cage([box((1, 1, 1))], cells=8)
    assert len(hollow.cells) == 8**3, "what a surface encloses belongs to the cage"


def test_tetrahedra_part_the_voxels(cage: Cage) -> None:
    """Volumes are positive and add up; a face is shared by two, which know each other, or lies on the rim."""
    assert signed_volumes(cage.vertices, cage.tetrahedra).min() > 0
    total = len(cage.cells) * cage.spacing**3
    assert np.isclose(cage.volumes.sum(), total, rtol=1e-12)
    assert np.allclose(cage.volumes.reshape(-1, 5).sum(1), cage.spacing**3, rtol=1e-9)
    assert len(np.unique(cage.vertices.round(9), axis=0)) == len(cage.vertices), "vertices are shared"
    for number, (corners, beyond) in enumerate(zip(cage.tetrahedra, cage.neighbours, strict=True)):
        for k, other in enumerate(beyond):
            if other >= 0:
                face = set(corners.tolist()) - {int(corners[k])}
                assert face < set(cage.tetrahedra[other].tolist())
                assert number in cage.neighbours[other]
    # the rim is that of the voxels: two triangles for each of their faces without a neighbour
    solid = np.pad(cage.voxels >= 0, 1).astype(int)
    rim = sum(int(np.abs(np.diff(solid, axis=axis)).sum()) for axis in range(3))
    assert (cage.neighbours < 0).sum() == 2 * rim


def test_embedding_reproduces_vertices(cage: Cage) -> None:
    vertices = torus().vertices
    embedding = embed(cage, vertices)
    assert embedding.weights.min() > -1e-9
    assert np.allclose(embedding.points(cage.rest), vertices, atol=1e-12)
    assert np.allclose(embedding.weights.sum(1), 1, atol=1e-12)


def test_rest_pose_deforms_nothing(cage: Cage) -> None:
    x = inside(cage, 500).points(cage.rest)
    d = np.random.default_rng(1).normal(size=x.shape)
    at, found = locate(cage.rest, x)
    assert found.all()
    # rounding of float64, in numbers of about 1 over edges of about 0.1
    assert np.allclose(rest_points(cage.rest, at, x), x, atol=1e-13)
    assert np.allclose(rest_directions(cage.rest, at, d), d, atol=1e-13)


def test_rigid_motion_maps_back(cage: Cage) -> None:
    """A rotation, then a translation, which any affine map of any tetrahedron undoes."""
    shift = np.array([0.3, -0.2, 0.5])
    moved = pose(cage, turn(cage.vertices, 1.1, (1, 2, -1), (0.2, 0, 0.1)) + shift)
    points = inside(cage, 500)
    x, at = points.points(moved), points.tetrahedra
    assert np.allclose(rest_points(moved, at, x), points.points(cage.rest), atol=1e-12)
    d = np.random.default_rng(1).normal(size=x.shape)
    turned = turn(d, 1.1, (1, 2, -1), (0, 0, 0))
    assert np.allclose(rest_directions(moved, at, turned), d, atol=1e-12)
    unit = d / np.linalg.norm(d, axis=1, keepdims=True)
    assert np.allclose(world_normals(moved, at, unit), turn(unit, 1.1, (1, 2, -1), (0, 0, 0)), atol=1e-12)


def test_walk_finds_points_of_a_deformed_cage(cage: Cage) -> None:
    """From the lattice of hints, points of bent tetrahedra lead back to where they were.

    A walk may end at the rim where the cage is not convex, though the point is further on; that is rare.
    """
    deformed, points = bent(cage), inside(cage, 4000)
    x = points.points(deformed)
    at, found = locate(deformed, x)
    assert found.mean() > 0.998
    assert (at == points.tetrahedra)[found].all()
    back = rest_points(deformed, at, x)
    assert np.abs(back - points.points(cage.rest))[found].max() < 1e-5  # what float32 will do in shaders
    few = locate(deformed, x, steps=4)[1]
    assert few.mean() > 0.97, "hints are near by"


def test_walk_from_anywhere_in_a_convex_cage() -> None:
    """From any hint to any point, against trying every tetrahedron."""
    block = build_cage([box((0.6, 0.4, 0.5))], cells=6)
    deformed = pose(block, twist(block.vertices, 0.8, UP, (0, 0, 0)))
    rng = np.random.default_rng(3)
    x = rng.uniform(*deformed.bounds, (300, 3))
    last = np.einsum("nrc,pc->pnr", deformed.weights_from_world[..., :3], x)
    last += deformed.weights_from_world[..., 3]
    least = np.minimum(last.min(-1), 1 - last.sum(-1))  # (p, n) the smallest weight
    best, truly = least.argmax(1), least.max(1) >= 0
    at, found = locate(deformed, x, rng.integers(0, len(block.tetrahedra), len(x)), steps=60)
    clear = np.abs(least.max(1)) > 2 * EDGE  # those on a face belong to either side
    assert 50 < truly.sum() < 290
    assert (found == truly)[clear].all()
    assert (at == best)[clear & truly].all()


def test_points_outside_keep_the_last_map(cage: Cage) -> None:
    x = np.array([[3.0, 0, 0], [0, 0, 0]])  # far away, and in the hole
    at, found = locate(cage.rest, x)
    assert not found.any()
    assert np.allclose(rest_points(cage.rest, at, x), x, atol=1e-12)


def test_directions_and_normals_follow_small_steps(cage: Cage) -> None:
    """A displacement maps as the difference of two mapped points, a normal stays at right angles to what
    lay in its plane."""
    deformed, points = bent(cage), inside(cage, 200)
    x, at = points.points(deformed), points.tetrahedra
    d = np.random.default_rng(5).normal(size=x.shape)
    step = 1e-4  # stays in the tetrahedron, whose map is affine, so that only rounding is left: 1e-16 / step
    difference = (rest_points(deformed, at, x + step * d) - rest_points(deformed, at, x)) / step
    assert np.allclose(rest_directions(deformed, at, d), difference, atol=1e-9)
    normals = world_normals(deformed, at, difference)
    across = d - (d * normals).sum(1, keepdims=True) * normals
    assert np.allclose(np.linalg.norm(normals, axis=1), 1)
    at_rest = rest_directions(deformed, at, across)
    assert np.allclose((at_rest * difference).sum(1), 0, atol=1e-9)


def test_words_hold_maps_and_neighbours(cage: Cage) -> None:
    deformed = bent(cage)
    words = deformed.words()
    assert words.shape == (len(cage.tetrahedra), 28) and words.dtype == np.uint32
    maps = words[:, :24].copy().view(np.float32).reshape(-1, 2, 3, 4)
    assert np.array_equal(maps[:, 0], deformed.weights_from_world.astype(np.float32))
    assert np.array_equal(maps[:, 1], deformed.rest_from_world.astype(np.float32))
    assert np.array_equal(words[:, 24:].copy().view(np.int32), cage.neighbours)
    assert deformed.hints.min() >= 0 and deformed.hints.max() < len(cage.tetrahedra)


@pytest.mark.parametrize("share", [-0.5, 0.0, 0.0005])
def test_inverted_or_flat_cells_are_named(share: float) -> None:
    """A corner of the block, which one tetrahedron has alone, is pushed through its opposite face."""
    block = build_cage([box((0.5, 0.5, 0.5))], cells=3)
    alone = np.bincount(block.tetrahedra.ravel()) == 1
    vertex = int(np.nonzero(alone)[0][-1])
    number, k = (int(i[0]) for i in np.nonzero(block.tetrahedra == vertex))
    face = block.vertices[np.delete(block.tetrahedra[number], k)].mean(0)
    moved = block.vertices.copy()
    moved[vertex] = face + share * (moved[vertex] - face)
    cell = tuple(np.floor((block.vertices[vertex] * 0.99 - block.low) / block.spacing).astype(int).tolist())
    what = "flat" if share >= 0 else "turned inside out"
    with pytest.raises(InshaderError) as told:
        pose(block, moved)
    assert f"the cage's cell {cell} is {what}: its tetrahedron {number} has" in str(told.value)
    moved[vertex] = np.nan
    with pytest.raises(InshaderError, match="is not finite"):
        pose(block, moved)


def test_bad_meshes_and_sizes() -> None:
    none = BakedMesh(np.zeros((0, 3), np.float32), np.zeros((0, 3), np.uint32))
    with pytest.raises(InshaderError, match="without triangles"):
        build_cage([none])
    with pytest.raises(InshaderError, match="expected 2 to"):
        build_cage([torus()], cells=1000)
    point = BakedMesh(np.ones((3, 3), np.float32), np.array([[0, 1, 2]], np.uint32))
    with pytest.raises(InshaderError, match="a single point"):
        build_cage([point])
    flat = build_cage([box((1, 0, 1)), none], cells=4)  # a sheet is one voxel thick
    assert flat.voxels.shape == (4, 1, 4) and flat.voxels.min() >= 0
    longest = box((1, 0.3, 0.2)).vertices
    cage = build_cage([box((1, 0.3, 0.2))], cells=10)
    assert cage.voxels.shape[0] == 10
    assert np.isclose(cage.spacing * (10 - 2 * MARGIN), np.ptp(longest[:, 0]))


def barr_bend(x: Points, k: float, y0: float, low: float, high: float) -> Points:
    """Barr 1984, section 3.4, as printed: along y, towards z."""
    out = x.copy()
    for point, (_, y, z) in zip(out, x, strict=True):
        held = min(max(y, low), high)
        angle = k * (held - y0)
        point[1] = -np.sin(angle) * (z - 1 / k) + y0
        point[2] = np.cos(angle) * (z - 1 / k) + 1 / k
        point[1] += np.cos(angle) * (y - held)
        point[2] += np.sin(angle) * (y - held)
    return out


def test_deformations_are_barrs() -> None:
    rng = np.random.default_rng(11)
    x = rng.normal(size=(50, 3))
    ours = bend(x, 0.8, (0, 1, 0), (0, 0, 1), (0, 0.2, 0), (-0.5, 0.6))
    assert np.allclose(ours, barr_bend(x, 0.8, 0.2, -0.3, 0.8), atol=1e-12)
    angle = 0.9 * x[:, 2]
    along_z = np.stack(
        [
            np.cos(angle) * x[:, 0] - np.sin(angle) * x[:, 1],
            np.sin(angle) * x[:, 0] + np.cos(angle) * x[:, 1],
            x[:, 2],
        ],
        -1,
    )
    assert np.allclose(
        twist(x, 0.9, (0, 0, 5), (0, 0, 3)), turn(along_z, -2.7, (0, 0, 1), (0, 0, 0)), atol=1e-12
    )
    assert np.allclose(bend(x, 0, (1, 1, 0), (0, 0, 1), (1, 2, 3)), x, atol=1e-12)
    assert np.allclose(twist(x, 0, (1, 1, 0), (1, 2, 3)), x, atol=1e-12)
    with pytest.raises(InshaderError, match="axis"):
        twist(x, 1, (0, 0, 0), (0, 0, 0))
    with pytest.raises(InshaderError, match="along its axis"):
        bend(x, 1, (0, 1, 0), (0, -2, 0), (0, 0, 0))


def test_bending_too_far_is_told(cage: Cage) -> None:
    """Past the centre of the arc, things are inside out."""
    with pytest.raises(InshaderError, match="the cage's cell"):
        pose(cage, bend(cage.vertices, 3.0, UP, (1, 0, 0), (0, 0, 0)))
