"""Distances from a triangle mesh, which side of it a point lies on, and points on it, through libigl.

The side is told by the winding number (Jacobson et al. 2013, "Robust inside-outside segmentation"; its fast
form: Barill et al. 2018), which a mesh need not be closed for. libigl's own ``signed_distance`` with that
sign is off by up to 0.3 % of the distance, so distance and side are asked for apart.

Measured on two cores with 100,000 triangles, in thousands of points a second: distances 390 near the surface
and 110 away from it, winding numbers 200 to 300. Points in random order take two to three times as long, as
the trees they walk do not stay in the cache; so they are put in order here.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from render.errors import require

INSIDE = 0.5  # winding number above which a point is inside: 1 within a closed mesh, 0 without
CURVE_BITS = 9  # of the space-filling curve along which points are put

Points = NDArray[np.floating]
Doubles = NDArray[np.float64]
Faces = NDArray[np.int64]


def nearest(vertices: Points, faces: Faces, points: Points) -> tuple[Doubles, Faces, Doubles]:
    """Of points (n, 3) the distance (n,) to the mesh, the nearest face (n,) and the nearest point (n, 3)."""
    igl = require("igl", "train")
    if len(points) == 0:
        return np.zeros(0), np.zeros(0, np.int64), np.zeros((0, 3))
    order = along_curve(points)
    squared, face, closest = igl.point_mesh_squared_distance(
        np.ascontiguousarray(points[order], np.float64), vertices.astype(np.float64), faces
    )
    back = np.empty_like(order)
    back[order] = np.arange(len(order))
    return np.sqrt(squared)[back], np.asarray(face, np.int64).ravel()[back], closest[back]


def winding_numbers(vertices: Points, faces: Faces, points: Points) -> Doubles:
    """How often the mesh goes around each of the points (n, 3): (n,), whole numbers if it is closed."""
    igl = require("igl", "train")
    if len(points) == 0:
        return np.zeros(0)
    order = along_curve(points)
    numbers = np.empty(len(points))
    numbers[order] = igl.fast_winding_number(
        vertices.astype(np.float64), faces, np.ascontiguousarray(points[order], np.float64)
    )
    return numbers


def signed_distances(vertices: Points, faces: Faces, points: Points) -> Doubles:
    """Distance (n,) of points (n, 3) to the mesh, negative inside."""
    distance, _, _ = nearest(vertices, faces, points)
    return np.where(winding_numbers(vertices, faces, points) > INSIDE, -distance, distance)


def along_curve(points: Points) -> NDArray[np.intp]:
    """An order of points (n, 3) in which neighbours are near each other: along Morton's curve."""
    low = points.min(0)
    size = np.maximum(points.max(0) - low, 1e-30)
    cells = ((points - low) / size * ((1 << CURVE_BITS) - 1)).astype(np.int64)  # (n, 3)
    key = np.zeros(len(points), np.int64)
    for bit in range(CURVE_BITS):
        for axis in range(3):
            key |= ((cells[:, axis] >> bit) & 1) << (3 * bit + axis)
    return np.argsort(key)


def area_vectors(vertices: Points, faces: Faces) -> Doubles:
    """(f, 3) normals of the triangles, as long as their area, outward where corners run anticlockwise."""
    a, b, c = np.moveaxis(vertices.astype(np.float64)[faces], 1, 0)
    vectors: Doubles = np.cross(b - a, c - a) / 2
    return vectors


def unit(vectors: Doubles) -> Doubles:
    """Vectors (..., 3) of length 1; zero stays zero."""
    lengths = np.linalg.norm(vectors, axis=-1, keepdims=True)
    return np.asarray(vectors / np.maximum(lengths, 1e-30), np.float64)


def sample_surface(
    vertices: Points, faces: Faces, count: int, rng: np.random.Generator
) -> tuple[Doubles, Faces]:
    """``count`` random points (n, 3) on the mesh, evenly by area, and the face (n,) of each, rising.

    Stratified: each n-th part of the area, in the order of faces, holds one.
    """
    area = np.linalg.norm(area_vectors(vertices, faces), axis=1).cumsum()
    drawn = (np.arange(count) + rng.random(count)) * (area[-1] / count)
    face = np.searchsorted(area, drawn, side="right").clip(max=len(faces) - 1)
    weights = rng.random((count, 2))
    beyond = weights.sum(1) > 1  # the other half of the parallelogram, turned back
    weights[beyond] = 1 - weights[beyond]
    a, b, c = np.moveaxis(vertices.astype(np.float64)[faces[face]], 1, 0)  # (n, 3) each
    return a + weights[:, :1] * (b - a) + weights[:, 1:] * (c - a), face
