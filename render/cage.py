"""A cage of tetrahedra around meshes: move its vertices, and all that is inside follows, rays included.

The cage is made of the cubical voxels that the meshes touch or enclose, each cut into five tetrahedra, in
every other voxel as in a mirror, so that the cuts of two neighbours meet. Within a tetrahedron a deformation
is affine: a point keeps its barycentric weights. Forwards, that moves the vertices of the meshes
(``Embedding``). Backwards, it leads a sample on a ray through the deformed world to where the field was
learnt: ``locate`` finds the tetrahedron by walking, and its 3x4 matrix does the rest,

    x_rest = A x + b       d_rest = A d       n = A^T n_rest / |A^T n_rest|

for points, directions and normals. ``Pose.words`` is what shaders get of it.

Sources: Adaptive Shells (Wang et al. 2023), section 5, which cuts its cage with fTetWild and maps directions
by finite differences; here a voxel grid needs no other program, and the matrix is exact. Walking: Devillers,
Pion and Teillaud, "Walking in a Triangulation", 2001.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from render.asset import BakedMesh
from render.errors import InshaderError
from render.voxels import enclosed_voxels, touched_voxels

CELLS, MAX_CELLS = 12, 48  # voxels along the longest side; the default makes 1000 to 5000 tetrahedra
MARGIN = 0.1  # in voxels: what comes so near to one counts as touching it, for deformed meshes are not exact
FLAT = 1e-3  # of its volume at rest: a tetrahedron with less counts as flat
HINTS = 32  # cells a side of the lattice that tells where to begin to walk: most walks take 1 or 2 steps
STEPS = 16  # of a walk at most
EDGE = 1e-5  # barycentric weights may be so far below 0, or rounding would send a walk back and forth

Points = NDArray[np.float64]
Numbers = NDArray[np.int64]

# Corner c of a voxel is (c & 1, c >> 1 & 1, c >> 2). The tetrahedron in the middle has the corners whose
# coordinates have an even sum, the others one odd corner and its three neighbours.
_SPLIT = np.array([[0, 3, 5, 6], [1, 0, 3, 5], [2, 0, 3, 6], [4, 0, 5, 6], [7, 3, 5, 6]])
# Places in a tetrahedron, as weights of its corners, in whose cells of the lattice it is the hint.
_SPREAD = np.concatenate([0.1 + 0.6 * np.eye(4), np.full((1, 4), 0.25)])
_AXES = np.array([0, 1, 2, 0, 1])
_CYCLE = _AXES + 1
_OPPOSITE = np.array([[1, 2, 3], [0, 2, 3], [0, 1, 3], [0, 1, 2]])  # the face that lacks the k-th corner


@dataclass(frozen=True, eq=False)
class Cage:
    """Tetrahedra at rest.

    Attributes:
        vertices: (v, 3) in the world.
        tetrahedra: (n, 4) int32, numbers of vertices; their signed volumes are positive. Those of the voxel k
            are 5 k to 5 k + 4.
        neighbours: (n, 4) int32, the tetrahedron beyond the face that lacks the k-th corner, -1 for none.
        cells: (n / 5, 3) places of the voxels in the grid.
        voxels: (x, y, z) int32 numbers of the voxels, -1 where there is none.
        low: (3,) corner of the grid in the world.
        spacing: side of a voxel.
    """

    vertices: Points
    tetrahedra: NDArray[np.int32]
    neighbours: NDArray[np.int32]
    cells: Numbers
    voxels: NDArray[np.int32]
    low: Points
    spacing: float

    @cached_property
    def rest(self) -> Pose:
        """The pose that deforms nothing."""
        return pose(self, self.vertices)

    @cached_property
    def volumes(self) -> Points:
        """(n,) of the tetrahedra at rest."""
        return signed_volumes(self.vertices, self.tetrahedra)


@dataclass(frozen=True, eq=False)
class Embedding:
    """Points as the weights of the corners around them.

    Attributes:
        tetrahedra: (p,) numbers.
        weights: (p, 4), their sums are 1.
    """

    tetrahedra: Numbers
    weights: Points

    def points(self, pose: Pose) -> Points:
        """Where they are (p, 3) in a pose."""
        corners = pose.vertices[pose.cage.tetrahedra[self.tetrahedra]]  # (p, 4, 3)
        moved: Points = np.einsum("pk,pkc->pc", self.weights, corners)
        return moved


@dataclass(frozen=True, eq=False)
class Pose:
    """A deformed cage.

    Attributes:
        vertices: (v, 3) where they are now, in the world.
        weights_from_world: (n, 3, 4) affine maps to the weights of the last three corners.
        rest_from_world: (n, 3, 4) affine maps to where things were at rest.
    """

    cage: Cage
    vertices: Points
    weights_from_world: Points
    rest_from_world: Points

    @cached_property
    def bounds(self) -> Points:
        """(2, 3) corners of the box around the vertices, over which the hints lie."""
        return np.stack([self.vertices.min(0), self.vertices.max(0)])

    @cached_property
    def hints(self) -> NDArray[np.int32]:
        """(HINTS, HINTS, HINTS) a tetrahedron in a cell of the box, or near by."""
        inner = np.einsum("sk,nkc->snc", _SPREAD, self.vertices[self.cage.tetrahedra])  # (5, n, 3)
        numbers = np.full((HINTS,) * 3, -1, np.int32)
        for points in inner:
            numbers[tuple(self._hint_cells(points).T)] = np.arange(len(points))
        for step in 2 ** np.arange((HINTS - 1).bit_length()):  # their sums reach everywhere
            for axis in range(3):
                line = np.moveaxis(numbers, axis, 0)
                known = line.copy()
                np.copyto(line[step:], known[:-step], where=line[step:] < 0)
                np.copyto(line[:-step], known[step:], where=line[:-step] < 0)
        return numbers

    def hint(self, x: Points) -> Numbers:
        """Where to begin to look for points (p, 3): numbers (p,) of tetrahedra."""
        found: Numbers = self.hints[tuple(self._hint_cells(x).T)].astype(np.int64)
        return found

    def _hint_cells(self, x: Points) -> Numbers:
        low, high = self.bounds
        cells: Numbers = (HINTS * (x - low) / (high - low)).clip(0, HINTS - 1).astype(np.int64)
        return cells

    def words(self) -> NDArray[np.uint32]:
        """(n, 28) for the shaders, seven groups of four a tetrahedron.

        Three rows of ``weights_from_world``, three of ``rest_from_world``, as bits of float32, and the four
        neighbours as int32.
        """
        maps = np.stack([self.weights_from_world, self.rest_from_world], 1).astype(np.float32)
        count = len(maps)
        bits = maps.reshape(count, 24).view(np.uint32)
        return np.concatenate([bits, self.cage.neighbours.view(np.uint32)], 1)


def build_cage(meshes: Sequence[BakedMesh], cells: int = CELLS) -> Cage:
    """The cage around meshes.

    Args:
        cells: number of voxels along the longest side.

    Raises:
        InshaderError: ``cells`` is out of range, or there are no triangles.
    """
    if not 2 <= cells <= MAX_CELLS:
        raise InshaderError(f"a cage of {cells} cells: expected 2 to {MAX_CELLS} along the longest side")
    triangles = np.concatenate([np.zeros((0, 3, 3)), *(mesh.vertices[mesh.faces] for mesh in meshes)])
    corners = np.concatenate([np.zeros((0, 3)), *(mesh.vertices for mesh in meshes)])
    if len(triangles) == 0:
        raise InshaderError("there is no cage around meshes without triangles")
    low, high = corners.min(0), corners.max(0)
    longest = float((high - low).max())
    if not longest > 0:
        raise InshaderError("there is no cage around meshes that are a single point")
    spacing = longest / (cells - 2 * MARGIN)
    shape = np.maximum(np.ceil((high - low) / spacing + 2 * MARGIN - 1e-9).astype(np.int64), 1)
    low = 0.5 * (low + high) - 0.5 * spacing * shape
    touched = touched_voxels((triangles - low) / spacing, shape, MARGIN)
    touched[tuple(np.floor((corners - low) / spacing).astype(np.int64).T)] = True  # those without faces too
    return voxel_cage(touched | enclosed_voxels(touched), low, spacing)


def voxel_cage(voxels: NDArray[np.bool_], low: Points, spacing: float) -> Cage:
    """The cage of the set voxels (x, y, z) of a grid; at least one is set.

    Args:
        low: (3,) corner of the grid in the world.
        spacing: side of a voxel.
    """
    cells = np.stack(np.nonzero(voxels), -1)  # (m, 3)
    numbers = np.full(voxels.shape, -1, np.int32)
    numbers[voxels] = np.arange(len(cells))
    mirrored = cells.sum(1) % 2  # swaps corners along x
    split = _SPLIT[None] ^ mirrored[:, None, None]  # (m, 5, 4) corners of the voxel
    lattice = cells[:, None, None] + (split[..., None] >> np.arange(3) & 1)  # (m, 5, 4, 3)
    flat = np.ravel_multi_index(tuple(np.moveaxis(lattice, -1, 0)), tuple(np.array(voxels.shape) + 1))
    used, numbered = np.unique(flat, return_inverse=True)
    tetrahedra: NDArray[np.int32] = numbered.reshape(-1, 4).astype(np.int32)
    vertices = np.stack(np.unravel_index(used, tuple(np.array(voxels.shape) + 1)), -1) * spacing + low
    inside_out = signed_volumes(vertices, tetrahedra) < 0
    tetrahedra[inside_out] = tetrahedra[inside_out][:, [0, 1, 3, 2]]
    return Cage(vertices, tetrahedra, _neighbours(tetrahedra), cells, numbers, low, spacing)


def _neighbours(tetrahedra: NDArray[np.int32]) -> NDArray[np.int32]:
    """(n, 4) what lies beyond each face, which two tetrahedra share or one has alone."""
    faces = np.sort(tetrahedra[:, _OPPOSITE].reshape(-1, 3), 1)  # (4 n, 3)
    order = np.lexsort(faces.T)
    same = (faces[order[1:]] == faces[order[:-1]]).all(1)
    one, other = order[:-1][same], order[1:][same]
    neighbours = np.full(len(faces), -1, np.int32)
    neighbours[one], neighbours[other] = other // 4, one // 4
    return neighbours.reshape(-1, 4)


def signed_volumes(vertices: Points, tetrahedra: NDArray[np.int32]) -> Points:
    """(n,) negative where a tetrahedron is turned inside out."""
    return volume_slopes(vertices[tetrahedra])[1] / 6


def pose(cage: Cage, vertices: Points) -> Pose:
    """The cage with its vertices (v, 3) moved.

    Raises:
        InshaderError: a tetrahedron is turned inside out, or flat; the line names its cell.
    """
    vertices = np.asarray(vertices, np.float64)
    corners = vertices[cage.tetrahedra]  # (n, 4, 3)
    slopes, six_volumes = volume_slopes(corners)
    check_volumes(cage, six_volumes / 6)
    inverse = slopes / six_volumes[:, None, None]
    at_zero = -np.einsum("nrc,nc->nr", inverse, corners[:, 0])[..., None]
    weights_from_world = np.concatenate([inverse, at_zero], 2)
    first = cage.vertices[cage.tetrahedra[:, 0]]
    edges = cage.vertices[cage.tetrahedra[:, 1:]] - first[:, None]  # (n, 3, 3), one a row
    rest_from_world = np.einsum("nkc,nkd->ncd", edges, weights_from_world)
    rest_from_world[..., 3] += first
    return Pose(cage, vertices, weights_from_world, rest_from_world)


def check_volumes(cage: Cage, volumes: Points) -> None:
    """Raise InshaderError unless all tetrahedra keep more of their signed volumes (n,) than ``FLAT``."""
    left = volumes / cage.volumes
    worst = int(np.where(np.isfinite(left), left, -np.inf).argmin())
    if not left[worst] > FLAT:
        cell = ", ".join(map(str, cage.cells[worst // 5].tolist()))
        what = (
            "flat" if abs(left[worst]) <= FLAT else "turned inside out" if left[worst] < 0 else "not finite"
        )
        raise InshaderError(
            f"the cage's cell ({cell}) is {what}: its tetrahedron {worst} has {left[worst]:.3g} of its "
            f"volume at rest, at least {FLAT:g} is needed: deform it less"
        )


def volume_slopes(corners: Points) -> tuple[Points, Points]:
    """How six times the volumes change (n, 3, 3) with the last three of four corners (n, 4, 3), and six times
    the volumes (n,).

    The slopes are the cross products of the edges from the first corner, each of the two others. As rows
    they are the inverse of the matrix with the edges as columns, times its determinant, the sixfold volume.
    """
    edges = corners[:, _CYCLE[:, None], _AXES] - corners[:, :1, _AXES]  # (n, 5, 5), first ones twice
    slopes = edges[:, 1:4, 1:4] * edges[:, 2:5, 2:5] - edges[:, 1:4, 2:5] * edges[:, 2:5, 1:4]
    return slopes, np.einsum("nc,nc->n", edges[:, 0, :3], slopes[:, 0])


def embed(cage: Cage, x: Points) -> Embedding:
    """Points (p, 3) of the world at rest as weights of the cage's corners.

    Raises:
        InshaderError: a point is in none of the voxels.
    """
    x = np.asarray(x, np.float64)
    cell = np.floor((x - cage.low) / cage.spacing).astype(np.int64)
    voxel = np.full(len(x), -1)
    within = np.all((cell >= 0) & (cell < cage.voxels.shape), axis=1)
    voxel[within] = cage.voxels[tuple(cell[within].T)]
    if (voxel < 0).any():
        lost = int((voxel < 0).argmax())
        raise InshaderError(f"the point {lost}, {x[lost].round(4).tolist()}, is outside the cage")
    choices = 5 * voxel[:, None] + np.arange(5)  # (p, 5)
    weights = _weights(cage.rest.weights_from_world[choices], x[:, None])  # (p, 5, 4)
    best = weights.min(-1).argmax(1)[:, None]
    return Embedding(
        np.take_along_axis(choices, best, 1)[:, 0],
        np.take_along_axis(weights, best[..., None], 1)[:, 0],
    )


def _weights(maps: Points, x: Points) -> Points:
    """Weights (..., 4) of all corners at points (..., 3), by maps (..., 3, 4)."""
    last = np.einsum("...rc,...c->...r", maps[..., :3], x) + maps[..., 3]
    return np.concatenate([1 - last.sum(-1, keepdims=True), last], -1)


def locate(
    pose: Pose, x: Points, hint: Numbers | None = None, steps: int = STEPS
) -> tuple[Numbers, NDArray[np.bool_]]:
    """The tetrahedra (p,) that points of the deformed world are in, and whether (p,) they are.

    From the hint, a walk goes to the neighbour beyond the face for which the weight is the most negative,
    of those that have a neighbour. The tetrahedron of a point outside the cage is where its walk ended.

    Args:
        x: (p, 3).
        hint: (p,) where to begin; None: what ``Pose.hint`` says.
    """
    at = pose.hint(x) if hint is None else np.array(hint, np.int64)
    inside = np.zeros(len(x), bool)
    walking = np.arange(len(x))
    for step in range(steps + 1):
        weights = _weights(pose.weights_from_world[at[walking]], x[walking])  # (walking, 4)
        arrived = weights.min(1) >= -EDGE
        inside[walking[arrived]] = True
        beyond = pose.cage.neighbours[at[walking]]
        weights[beyond < 0] = np.inf
        face = weights.argmin(1)[:, None]
        goes = np.nonzero(~arrived & (np.take_along_axis(weights, face, 1)[:, 0] < -EDGE))[0]
        if step == steps or len(goes) == 0:
            break
        walking = walking[goes]
        at[walking] = np.take_along_axis(beyond, face, 1)[goes, 0]
    return at, inside


def rest_points(pose: Pose, tetrahedra: Numbers, x: Points) -> Points:
    """Where points (p, 3) of the deformed world, in these tetrahedra (p,), were at rest."""
    maps = pose.rest_from_world[tetrahedra]
    moved: Points = np.einsum("prc,pc->pr", maps[..., :3], x) + maps[..., 3]
    return moved


def rest_directions(pose: Pose, tetrahedra: Numbers, d: Points) -> Points:
    """What displacements (p, 3) in the deformed world were at rest; their lengths change with them."""
    turned: Points = np.einsum("prc,pc->pr", pose.rest_from_world[tetrahedra, :, :3], d)
    return turned


def world_normals(pose: Pose, tetrahedra: Numbers, normals: Points) -> Points:
    """Unit normals (p, 3) in the deformed world of what has these at rest."""
    turned = np.einsum("prc,pr->pc", pose.rest_from_world[tetrahedra, :, :3], normals)
    unit: Points = turned / np.maximum(np.linalg.norm(turned, axis=1, keepdims=True), 1e-30)
    return unit
