"""How well a distance field reproduces a mesh: IoU, angle between normals, chamfer distance.

All are measured on the field as functions, in world units: ``distance`` maps points (n, 3) float32 to (n,),
negative inside, ``gradient`` to (n, 3), of any length.

The angle is a mean of angles, in degrees, in both directions. (The NeuRBF code, whose name for it is NAE,
overwrites one direction and averages degrees with cosines; its numbers cannot be compared with these.)
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from render.mesh import isosurface
from scenes.dataset import Surface
from scenes.distance import INSIDE, area_vectors, nearest, sample_surface, unit, winding_numbers

RESOLUTION = 256  # cells a side of the box, of occupancies and of marching cubes
COARSEST = 16  # cells a side of the blocks with which the mesh's occupancy begins
SAMPLES = 50_000  # points on either surface: with angles that spread by 15 degrees, a mean to 0.07
NEWTON_STEPS = 2  # marching cubes are already within the square of a cell
CHUNK = 1 << 18  # points evaluated at once

Array = NDArray[np.floating]
Points = NDArray[np.float32]
Distance = Callable[[Points], Array]
Gradient = Callable[[Points], Array]


@dataclass(frozen=True, eq=False)
class FieldSurface:
    """Where a field is zero.

    Attributes:
        vertices, faces: of marching cubes, (v, 3) and (f, 3).
        samples: (n, 3) on it, evenly by area, brought onto the field's zero by Newton's method.
    """

    vertices: Array
    faces: NDArray[np.int64]
    samples: Points


def surface_metrics(distance: Distance, gradient: Gradient, surface: Surface) -> dict[str, float]:
    """``iou``, ``normal_error_deg`` and ``chamfer_l1``; of a field without a surface only the first."""
    values = lattice_values(distance, surface.bounds, RESOLUTION)
    metrics = {"iou": occupancy_iou(values < 0, mesh_occupancy(surface, RESOLUTION))}
    found = field_surface(values, distance, gradient, surface.bounds)
    if found is not None:
        metrics["normal_error_deg"] = normal_error_deg(gradient, found, surface)
        metrics["chamfer_l1"] = chamfer_l1(distance, gradient, found, surface)
    return metrics


def iou(distance: Distance, surface: Surface, resolution: int = RESOLUTION) -> float:
    """Intersection over union of the two insides, on the middles of ``resolution``^3 cells of the box.

    Inside are distances below 0, and winding numbers above 1/2. The field is evaluated at every cell.
    """
    values = lattice_values(distance, surface.bounds, resolution)
    return occupancy_iou(values < 0, mesh_occupancy(surface, resolution))


def occupancy_iou(a: NDArray[np.bool_], b: NDArray[np.bool_]) -> float:
    """|a and b| / |a or b|; 1 of two that are empty."""
    union = np.count_nonzero(a | b)
    return float(np.count_nonzero(a & b) / union) if union else 1.0


def normal_error_deg(gradient: Gradient, found: FieldSurface, surface: Surface) -> float:
    """Mean angle between the unit normals of mesh and field in degrees, the mean of both directions.

    One: at points of the mesh, evenly by area, the normal of their face against the field's gradient there.
    The other: at points of the field's surface its gradient against the normal of the nearest face. An angle
    where the gradient is zero or no number counts as 90.
    """
    normals = unit(area_vectors(surface.vertices, surface.faces))
    points, face = sample_surface(surface.vertices, surface.faces, SAMPLES, np.random.default_rng(0))
    _, nearest_face, _ = nearest(surface.vertices, surface.faces, found.samples)
    there = _angles(_evaluate(gradient, points), normals[face])
    back = _angles(_evaluate(gradient, found.samples), normals[nearest_face])
    return float(there.mean() + back.mean()) / 2


def chamfer_l1(distance: Distance, gradient: Gradient, found: FieldSurface, surface: Surface) -> float:
    """Mean distance between the surfaces, in world units, the mean of both directions; not squared.

    From points of the field's surface it is the exact distance to the mesh; from points of the mesh, evenly
    by area, that to the point which Newton's method finds from the nearest one of marching cubes. (Published
    ones are often between two clouds of points, so never below the spacing of these.)
    """
    points, _ = sample_surface(surface.vertices, surface.faces, SAMPLES, np.random.default_rng(0))
    _, _, closest = nearest(found.vertices, found.faces, points)
    there = np.linalg.norm(project(closest, distance, gradient, surface.bounds) - points, axis=1)
    back, _, _ = nearest(surface.vertices, surface.faces, found.samples)
    return float(there.mean() + back.mean()) / 2


# The field ------------------------------------------------------------------------------------------------


def lattice_values(distance: Distance, bounds: Array, resolution: int) -> NDArray[np.float32]:
    """The field (n, n, n) at the middles of the box's cells, every one of them."""
    axes = _middles(bounds, resolution)
    values = np.empty((resolution,) * 3, np.float32)
    slab = max(1, CHUNK // resolution**2)
    for start in range(0, resolution, slab):
        grids = np.meshgrid(axes[0][start : start + slab], axes[1], axes[2], indexing="ij")
        x = np.stack(grids, -1).reshape(-1, 3)
        values[start : start + slab] = distance(x).reshape(-1, resolution, resolution)
    return values


def field_surface(
    values: NDArray[np.float32],
    distance: Distance,
    gradient: Gradient,
    bounds: Array,
) -> FieldSurface | None:
    """The surface of a field with these ``lattice_values``, wherever in the box; None if there is none."""
    half = (bounds[1] - bounds[0]) / (2 * np.array(values.shape))
    vertices, faces = isosurface(values, np.stack([bounds[0] + half, bounds[1] - half]))
    if len(faces) == 0:
        return None
    points, _ = sample_surface(vertices, faces, SAMPLES, np.random.default_rng(1))
    return FieldSurface(vertices, faces, project(points, distance, gradient, bounds))


def project(points: Array, distance: Distance, gradient: Gradient, bounds: Array) -> Points:
    """Points (n, 3) near the field's zero, moved onto it by Newton's method along their first gradient.

    A step is at most the diagonal of a cell of marching cubes, so that a bad gradient leads nobody away.
    """
    x = points.astype(np.float32)
    longest = float(np.linalg.norm((bounds[1] - bounds[0]) / RESOLUTION))
    slope = _evaluate(gradient, x)
    slope /= np.maximum((slope**2).sum(1, keepdims=True), 1e-12)
    for _ in range(NEWTON_STEPS):
        step = slope * _evaluate(distance, x)[:, None]
        length = np.linalg.norm(step, axis=1, keepdims=True)
        step *= np.minimum(1, longest / np.maximum(length, 1e-30))
        x = np.clip(x - np.nan_to_num(step), *bounds).astype(np.float32)
    return x


def _evaluate(function: Distance, points: Array) -> NDArray[np.float64]:
    parts = [
        np.asarray(function(np.ascontiguousarray(points[start : start + CHUNK], np.float32)))
        for start in range(0, len(points), CHUNK)
    ]
    return np.concatenate(parts).astype(np.float64)


def _angles(slopes: NDArray[np.float64], normals: NDArray[np.float64]) -> NDArray[np.float64]:
    """Between gradients (n, 3) and unit normals (n, 3), in degrees; arctan2 is exact for small ones too."""
    sine = np.linalg.norm(np.cross(slopes, normals), axis=1)
    cosine = (slopes * normals).sum(1)
    angles = np.degrees(np.arctan2(sine, cosine))
    usable = np.isfinite(slopes).all(1) & (np.abs(slopes).max(1) > 0)
    return np.where(usable, angles, 90.0)


# The mesh -------------------------------------------------------------------------------------------------


def mesh_occupancy(surface: Surface, resolution: int) -> NDArray[np.bool_]:
    """Whether the middles (n, n, n) of the box's cells are inside the mesh.

    Blocks of cells that the surface does not come near are on one side as a whole; the others are halved
    until they are single cells. Around the holes of an open mesh, where the winding number passes 1/2 without
    a surface, blocks are halved as well.
    """
    side = COARSEST
    while resolution % side:
        side //= 2
    low, cell = surface.bounds[0].astype(np.float64), np.diff(surface.bounds, axis=0)[0] / resolution
    inside = np.zeros((resolution,) * 3, bool)
    blocks = np.stack(np.meshgrid(*[np.arange(resolution // side)] * 3, indexing="ij"), -1).reshape(-1, 3)
    while True:
        middles = low + (blocks + 0.5) * side * cell
        reach = float(np.linalg.norm(cell)) * (side - 1) / 2  # from the middle to the outermost cell's
        clear = np.ones(len(blocks), bool)
        if side > 1:
            clear = nearest(surface.vertices, surface.faces, middles)[0] > reach
        numbers = winding_numbers(surface.vertices, surface.faces, middles[clear])
        # Far from whole numbers: an open mesh.
        sure = np.abs(numbers - INSIDE) > 0.4 if side > 1 else np.ones(len(numbers), bool)
        decided = np.flatnonzero(clear)[sure]
        i, j, k = blocks[decided[numbers[sure] > INSIDE]].T
        inside.reshape((resolution // side, side) * 3)[i, :, j, :, k, :] = True
        if side == 1:
            return inside
        clear[np.flatnonzero(clear)[~sure]] = False
        corners = np.stack(np.meshgrid(*[[0, 1]] * 3, indexing="ij"), -1).reshape(-1, 1, 3)
        blocks = (2 * blocks[~clear] + corners).reshape(-1, 3)
        side //= 2


def _middles(bounds: Array, resolution: int) -> list[NDArray[np.float32]]:
    """Coordinates of the middles of cells along each axis."""
    steps = (np.arange(resolution) + 0.5) / resolution
    return [(low + steps * (high - low)).astype(np.float32) for low, high in zip(*bounds, strict=True)]
