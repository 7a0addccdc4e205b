"""From distances and kernel sizes on a lattice to the two meshes between which a shell is sampled.

The outer one is dilated from the surface, the inner one eroded (``level_set.py``), both by marching cubes.
Source: Wang et al. 2023, "Adaptive shells for efficient neural radiance field rendering", section 3.3. The
paper takes these meshes as they are. What follows is our choice: small pieces are dropped, the meshes are
decimated by quadric errors (Garland and Heckbert 1997), and where that moved the outer one inwards, or the
inner one outwards, by more than half a cell of the lattice, vertices are pushed back: the outer one then
holds what it held before, and the inner one no more. Pushing for less would thicken the shell all over, and
cost samples. Cells in which training rays have found something are taken in, wherever they are: what an
envelope has lost is lost for good.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from render.asset import BakedMesh
from render.errors import InshaderError, require
from render.mesh import isosurface, vertex_normals
from scenes.distance import area_vectors, nearest, unit
from training.families.adaptive_shells.level_set import (
    Bools,
    Floats,
    dilate,
    erode,
    outward_reach,
    widened,
)

ROUNDS = 3  # of pushing vertices: where faces meet at an angle they move less than their corners
PUSH = 1.1  # of what is missing, so that few rounds do
ENOUGH = 0.5  # cells that a mesh may lag
HIDDEN = (
    1e-3  # of the inner surface, where its mesh may hide a little of what is seen: a hit of it ends a ray
)
SATURATED = 1.5  # times as many faces as decimation leaves at least are asked for next
PATIENCE = (
    5  # fast_simplification's aggressiveness: it takes twice as long as with its own 7, and drifts less
)
FEW_FACES = 500  # a piece of fewer is not decimated, and as many are left of a mesh

Vertices = NDArray[np.float64]
Faces = NDArray[np.int64]


@dataclass(frozen=True)
class Options:
    """How meshes are made of fields.

    Attributes:
        keep_faces: share of marching cubes' faces that decimation leaves; more are left where that drifts too
            far. 1 decimates nothing.
        max_drift: in cells, how far a surface may lie on its wrong side after decimation and pushing; of the
            inner one all but ``HIDDEN``.
        smallest: in cells, side of a cube; pieces with less volume are dropped.
        bounded: whether an envelope that leaves the box is an error. Not so for contracted scenes.
        max_cut: world units that the outer tail of the kernel, not the surface, may be cut at the box.
    """

    keep_faces: float = 0.015
    max_drift: float = 1.0
    smallest: float = 4.0
    bounded: bool = True
    max_cut: float = 0.02


@dataclass(frozen=True, eq=False)
class Envelope:
    """The meshes, wound outwards, in the units of the bounds; the inner one may be empty.

    Attributes:
        facts: for the log, see ``extract``.
    """

    outer: BakedMesh
    inner: BakedMesh
    facts: dict[str, float]


def extract(
    f: Floats, s: Floats, bounds: ArrayLike, options: Options | None = None, keep: Bools | None = None
) -> Envelope:
    """The envelope of a field.

    Args:
        f, s: (x, y, z) distances, positive outside, and kernel sizes, at lattice points: value i lies
            at low + i / (n - 1) * size, so the corners of the box are among them.
        bounds: (2, 3) the box.
        keep: (x - 1, y - 1, z - 1), which of the cells between lattice points carry weight on training rays.

    Returns:
        Facts, in cells: ``outer_drift`` and ``inner_drift``, how far decimation moved a vertex of marching
        cubes to the wrong side, and ``..._drift_left``, what remains of it after pushing. In world units:
        ``thickness`` between the meshes, on average over the outer vertices, ``thickness_hard`` and
        ``thickness_fuzzy`` where s is in its lowest and highest quarter (these are absent without an inner
        mesh); ``cut``, how much of the kernel's tail the box cut off. Counts: ``cells_added`` for ``keep``,
        and for both meshes ``..._pieces_dropped``, ``..._faces_before``, ``..._faces``.

    Raises:
        InshaderError: arrays that do not fit each other, or hold what is no number; no surface; an envelope
            that touches the box (unless ``options.bounded`` is off); a missing package.
    """
    options = options or Options()
    box = np.asarray(bounds, np.float64)
    f, s = np.ascontiguousarray(f, np.float32), np.ascontiguousarray(s, np.float32)
    spacing = _checked(f, s, box, keep)
    facts: dict[str, float] = {}
    field = dilate(f, s, spacing)
    facts["cells_added"] = 0 if keep is None else _take_in(field, keep, spacing)
    facts["cut"] = _check_box(f, s, field, box, options)
    near = None if keep is None else _near(keep, f.shape)
    outer = _mesh(field, box, spacing, near, options, facts, "outer")
    del field, near
    if len(outer.faces) == 0:
        raise InshaderError(
            f"shell: every piece of the surface is smaller than {options.smallest:g} cells of the lattice; "
            "train longer or take a finer lattice"
        )
    field = erode(f, s, spacing)
    for side in _sides(field):  # an inner mesh that leaves the box is closed before the outer one is
        np.maximum(side, np.float32(spacing.min()), out=side)
    inner = _mesh(field, box, spacing, None, options, facts, "inner")
    del field
    if len(inner.faces):
        facts |= _thickness(outer, inner, s, box)
    return Envelope(outer, inner, facts)


def _checked(f: Floats, s: Floats, box: NDArray[np.float64], keep: Bools | None) -> NDArray[np.float64]:
    """Distances (3,) between lattice points, once all is in order."""
    if f.ndim != 3 or f.shape != s.shape or min(f.shape) < 4:
        raise InshaderError(
            f"shell: fields of {f.shape} and {s.shape}, expected two alike of at least (4, 4, 4)"
        )
    if keep is not None and keep.shape != tuple(n - 1 for n in f.shape):
        expected = tuple(n - 1 for n in f.shape)
        raise InshaderError(
            f"shell: cells to keep of {keep.shape}, expected {expected}, one less than points"
        )
    for name, values in (("distances", f), ("kernel sizes", s)):
        if not np.isfinite(values.min() + values.max()):
            raise InshaderError(f"shell: {name} that are no finite numbers; did the training diverge?")
    if s.min() <= 0:
        raise InshaderError(f"shell: a kernel size of {s.min():g}, expected more than 0")
    if f.min() >= 0 or f.max() <= 0:
        side = "outside" if f.min() >= 0 else "inside"
        raise InshaderError(
            f"shell: no surface, all of the box is {side} (distances from {f.min():.3g} to {f.max():.3g}); "
            "train longer, or check data.bounds and the masks"
        )
    return np.asarray((box[1] - box[0]) / (np.array(f.shape) - 1), np.float64)


def _take_in(field: Floats, keep: Bools, spacing: NDArray[np.float64]) -> int:
    """Makes the corners of all cells to keep inside; how many cells were not wholly inside before."""
    outside = field >= 0
    lost = np.zeros_like(keep)
    parts = [slice(None, -1), slice(1, None)]
    corners = [(a, b, c) for a in parts for b in parts for c in parts]
    for corner in corners:
        lost |= keep & outside[corner]
    inside = np.float32(-0.5 * spacing.min())
    for corner in corners:
        part = field[corner]
        part[lost] = np.minimum(part[lost], inside)
    return int(np.count_nonzero(lost))


def _near(keep: Bools, shape: tuple[int, ...]) -> Bools:
    """Lattice points at, or a cell or two from, a cell to keep."""
    points = np.zeros(np.add(shape, 2), np.bool_)
    points[1:-2, 1:-2, 1:-2] = keep
    return widened(points, 2)[1:-1, 1:-1, 1:-1]


def _sides(values: Floats) -> list[Floats]:
    """Views of the six outermost layers: lowest x, highest x, lowest y, ..."""
    return [np.moveaxis(values, axis, 0)[end] for axis in range(3) for end in (0, -1)]


def _check_box(f: Floats, s: Floats, field: Floats, box: NDArray[np.float64], options: Options) -> float:
    """How far the outer tail of the kernel would go on outside the box, which cuts it; 0 if it does not."""
    cut = 0.0
    names = [f"{end} {axis}" for axis in "xyz" for end in ("low", "high")]
    for name, distance, size, evolved in zip(names, _sides(f), _sides(s), _sides(field), strict=True):
        touching = evolved < 0
        if not touching.any():
            continue
        beyond = float(np.max(outward_reach(size[touching]) - distance[touching]))
        if options.bounded and (distance.min() <= 0 or beyond > options.max_cut):
            what = "surface" if distance.min() <= 0 else "envelope"
            raise InshaderError(
                f"shell: the {what} touches the {name} side of the box and goes on for about {beyond:.3f} "
                f"(the box is {' x '.join(f'{w:.3f}' for w in box[1] - box[0])}); make data.bounds larger"
            )
        cut = max(cut, beyond)
    return cut


def _mesh(
    field: Floats,
    box: NDArray[np.float64],
    spacing: NDArray[np.float64],
    near: Bools | None,
    options: Options,
    facts: dict[str, float],
    name: str,
) -> BakedMesh:
    """The zero of a field, closed, without small pieces, decimated and pushed to its own side."""
    vertices, faces = _surface(field, box, spacing)
    facts[f"{name}_pieces_dropped"], facts[f"{name}_faces_before"] = 0, len(faces)
    if len(faces):
        faces, pieces = _without_small(vertices, faces, box, spacing, near, options.smallest)
        facts[f"{name}_pieces_dropped"] = pieces
        vertices, faces = _used(vertices, faces)
    if len(faces) == 0:
        facts[f"{name}_faces"] = 0
        return BakedMesh(np.zeros((0, 3), np.float32), np.zeros((0, 3), np.uint32))
    cell, outwards = float(spacing.mean()), 1.0 if name == "outer" else -1.0
    kept = max(options.keep_faces, min(FEW_FACES / len(faces), 1.0))
    counts = 1.0 if name == "outer" else 1 - HIDDEN  # the share of the surface that must not drift
    while True:  # until little enough is left of decimation's drift
        few_vertices, few_faces = _decimated(vertices, faces, kept)
        few_vertices, drift, lag = _pushed(few_vertices, few_faces, vertices, outwards, ENOUGH * cell)
        if np.quantile(lag, counts) <= options.max_drift * cell or kept >= 1:
            break
        kept = min(max(2 * kept, SATURATED * len(few_faces) / len(faces)), 1.0)
    facts[f"{name}_drift"], facts[f"{name}_drift_left"] = drift / cell, float(lag.max(initial=0.0)) / cell
    facts[f"{name}_faces"] = len(few_faces)
    return BakedMesh(few_vertices.astype(np.float32), few_faces.astype(np.uint32))


def _surface(field: Floats, box: NDArray[np.float64], spacing: NDArray[np.float64]) -> tuple[Vertices, Faces]:
    """Where a field is zero, closed at the box; only what surrounds it goes through marching cubes."""
    inside = field < 0
    if not inside.any():
        return np.zeros((0, 3)), np.zeros((0, 3), np.int64)
    ends = [np.flatnonzero(inside.any(tuple({0, 1, 2} - {axis})))[[0, -1]] for axis in range(3)]
    first = np.array([max(end[0] - 1, 0) for end in ends])
    last = np.array([min(end[1] + 1, n - 1) for end, n in zip(ends, field.shape, strict=True)])
    part = field[tuple(slice(a, b + 1) for a, b in zip(first, last, strict=True))]
    part = np.pad(part, 1, constant_values=np.float32(spacing.min()))
    part_box = box[0] + np.stack([first - 1, last + 1]) * spacing
    vertices, faces = isosurface(part, part_box)
    return np.clip(vertices, *box), faces


def _without_small(
    vertices: Vertices,
    faces: Faces,
    box: NDArray[np.float64],
    spacing: NDArray[np.float64],
    near: Bools | None,
    smallest: float,
) -> tuple[Faces, int]:
    """Faces of the connected pieces that are large, or at points of ``near``; and how many pieces are not."""
    pieces, label = _pieces(faces, len(vertices))
    a, b, c = np.moveaxis(vertices[faces] - box.mean(0), 1, 0)
    volumes = np.bincount(label[faces[:, 0]], (a * np.cross(b, c)).sum(1) / 6, pieces)
    large = np.abs(volumes) > smallest**3 * spacing.prod()
    if near is not None:
        at = np.rint((vertices - box[0]) / spacing).astype(np.int64)
        large[label[near[tuple(at.T)]]] = True
    used = np.bincount(label[faces[:, 0]], minlength=pieces) > 0
    return faces[large[label[faces[:, 0]]]], int(np.count_nonzero(used & ~large))


def _pieces(faces: Faces, vertices: int) -> tuple[int, NDArray[np.int32]]:
    """Number of connected pieces, and of each vertex which it belongs to."""
    sparse, graphs = require("scipy.sparse", "train"), require("scipy.sparse.csgraph", "train")
    rows, columns = faces[:, [0, 1]].ravel(), faces[:, [1, 2]].ravel()
    edges = sparse.coo_matrix((np.ones(len(rows), np.bool_), (rows, columns)), (vertices, vertices))
    count, label = graphs.connected_components(edges, directed=False)
    return int(count), label


def _used(vertices: Vertices, faces: Faces) -> tuple[Vertices, Faces]:
    """Without vertices that no face has."""
    used = np.zeros(len(vertices), np.bool_)
    used[faces] = True
    return vertices[used], (np.cumsum(used) - 1)[faces]


def _decimated(vertices: Vertices, faces: Faces, kept: float) -> tuple[Vertices, Faces]:
    """About that share of the faces. Pieces of few faces stay as they are, or they would collapse."""
    pieces, label = _pieces(faces, len(vertices))
    few = np.bincount(label[faces[:, 0]], minlength=pieces)[label[faces[:, 0]]] < FEW_FACES
    if kept >= 1 or few.all():
        return vertices, faces
    simplification = require("fast_simplification", "train")
    many_vertices, many_faces = _used(vertices, faces[~few])
    many_vertices, many_faces = simplification.simplify(
        many_vertices.astype(np.float32), many_faces.astype(np.int32), target_reduction=1 - kept, agg=PATIENCE
    )
    few_vertices, few_faces = _used(vertices, faces[few])
    together = np.concatenate([many_vertices.astype(np.float64), few_vertices])
    return _used(
        together, np.concatenate([_unfolded(many_faces.astype(np.int64)), few_faces + len(many_vertices)])
    )


def _unfolded(faces: Faces) -> Faces:
    """Without pairs of faces of the same corners: back to back they hold nothing, and a cast ray meets only
    one of them."""
    _, inverse, counts = np.unique(np.sort(faces, 1), axis=0, return_inverse=True, return_counts=True)
    return faces[counts[inverse.ravel()] == 1]


def _lag(
    vertices: Vertices, faces: Faces, points: Vertices, outwards: float
) -> tuple[NDArray[np.float64], Faces]:
    """How far points (n, 3) lie on the side of the mesh where they should not be: (n,), and the nearest face.

    Those of the outer surface should not be outside its mesh (``outwards`` 1), of the inner not inside (-1).
    """
    distance, face, closest = nearest(vertices, faces, points)
    side = np.einsum("ij,ij->i", points - closest, unit(area_vectors(vertices, faces))[face])
    return np.where(side * outwards > 0, distance, 0.0), face


def _pushed(
    vertices: Vertices, faces: Faces, points: Vertices, outwards: float, enough: float
) -> tuple[Vertices, float, Vertices]:
    """Vertices moved along their normals until no point lags by more than ``enough``; how much one did, and
    how much each still does, (n,).

    Where two sheets of a mesh come closer than they are pushed, a round may do harm: the best one counts.
    """
    lag, face = _lag(vertices, faces, points, outwards)
    drift = float(lag.max(initial=0.0))
    missing = np.maximum(lag - enough, 0)
    best = np.square(missing).sum(), vertices, lag
    for _ in range(ROUNDS):
        if best[0] == 0:
            break
        push = np.zeros(len(vertices))
        for corner in faces[face].T:
            np.maximum.at(push, corner, PUSH * missing)
        vertices = vertices + outwards * push[:, None] * vertex_normals(vertices, faces)
        lag, face = _lag(vertices, faces, points, outwards)
        missing = np.maximum(lag - enough, 0)
        found = np.square(missing).sum(), vertices, lag
        best = min(best, found, key=lambda one: float(one[0]))
    return best[1], drift, best[2]


def _thickness(outer: BakedMesh, inner: BakedMesh, s: Floats, box: NDArray[np.float64]) -> dict[str, float]:
    """Mean distances from outer vertices to the inner mesh: of all, where s is low, where it is high."""
    vertices = outer.vertices.astype(np.float64)
    distance, _, _ = nearest(inner.vertices.astype(np.float64), inner.faces.astype(np.int64), vertices)
    last = np.array(s.shape) - 1
    at = np.rint((vertices - box[0]) / (box[1] - box[0]) * last).astype(np.int64).clip(0, last)
    size = s[tuple(at.T)]
    low, high = np.quantile(size, [0.25, 0.75])
    return {
        "thickness": float(distance.mean()),
        "thickness_hard": float(distance[size <= low].mean()),
        "thickness_fuzzy": float(distance[size >= high].mean()),
    }
