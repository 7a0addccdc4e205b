"""The surface of an asset as a triangle mesh: marching cubes over the baked distance field.

It reads assets of the driver ``trace``: the grid ``features`` over the box, the network ``decoder`` whose one
output times the constant ``distance_scale`` is the signed distance, negative inside, and the volume
``occupancy``, whose cells hold the surface. Only in them, and in their neighbours, is the field evaluated;
each connected piece of what is left lies on one side of the surface, which its rim tells.

Marching cubes: Lorensen and Cline 1987, in the form of Lewiner et al. 2003.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from render.asset import BakedAsset
from render.errors import InshaderError, require

SUFFIXES = (".ply", ".glb")
DEFAULT_RESOLUTION, MAX_RESOLUTION = 256, 512  # the lattice of 512 takes half a gigabyte
CHUNK = 1 << 16  # points evaluated at once

Floats = NDArray[np.float32]
Faces = NDArray[np.int64]


def mesh_file(asset: BakedAsset, suffix: str, resolution: int | None = None) -> bytes:
    """The content of a ``.ply`` or ``.glb`` file with the surface, in the data set's own frame.

    Vertices are shared by the faces around them and have normals.

    Raises:
        InshaderError: as ``extract_mesh`` does; or no trimesh.
    """
    trimesh = require("trimesh", "train")
    vertices, faces = extract_mesh(asset, DEFAULT_RESOLUTION if resolution is None else resolution)
    normals = vertex_normals(vertices, faces)
    mesh = trimesh.Trimesh(vertices, faces, vertex_normals=normals, process=False)
    if suffix == ".ply":
        return bytes(mesh.export(file_type="ply", vertex_normal=True))
    return bytes(mesh.export(file_type="glb", include_normals=True))


def extract_mesh(
    asset: BakedAsset, resolution: int = DEFAULT_RESOLUTION
) -> tuple[NDArray[np.float64], Faces]:
    """Vertices (v, 3) in the data set's frame and faces (f, 3), anticlockwise seen from outside.

    Args:
        resolution: number of cubical cells along the longest side of the box.

    Raises:
        InshaderError: the asset holds no surface, or none in its box; ``resolution`` is out of range; or no
            scikit-image.
    """
    if not 8 <= resolution <= MAX_RESOLUTION:
        raise InshaderError(f"--resolution {resolution}: expected 8 to {MAX_RESOLUTION} cells")
    occupancy = _checked(asset)
    low, high = asset.bounds.astype(np.float64)
    size = high - low
    cells = np.maximum(np.ceil(size / size.max() * resolution - 1e-6).astype(int), 1)
    axes = [np.linspace(0, 1, n + 1) for n in cells]  # of lattice points, in the unit cube
    values = _lattice(asset, occupancy, axes)
    # One more layer outside closes a surface that leaves the box.
    values = np.pad(values, 1, constant_values=float(np.max(size / cells)))
    rim = size / cells
    vertices, faces = isosurface(values, np.stack([low - rim, high + rim]))
    if len(faces) == 0:
        raise InshaderError("its distance has no zero in the box, so there is no surface to export")
    source_from_world = np.linalg.inv(asset.world_from_source)
    vertices = np.clip(vertices, low, high) @ source_from_world[:3, :3].T + source_from_world[:3, 3]
    if np.linalg.det(source_from_world[:3, :3]) < 0:  # a mirror turns faces inside out
        faces = faces[:, ::-1]
    return vertices, faces


def isosurface(values: Floats, bounds: NDArray[np.floating]) -> tuple[NDArray[np.float64], Faces]:
    """Where distances on a lattice are zero: shared vertices (v, 3) and faces (f, 3); empty if nowhere.

    Args:
        values: (x, y, z) at points evenly spread over the box, corners included; negative inside.
        bounds: (2, 3) the box. Faces run anticlockwise seen from where values are positive.
    """
    if not (values.min() < 0 < values.max()):
        return np.zeros((0, 3)), np.zeros((0, 3), np.int64)
    measure = require("skimage.measure", "train")
    low, high = np.asarray(bounds, np.float64)
    spacing = (high - low) / (np.array(values.shape) - 1)
    vertices, faces, _, _ = measure.marching_cubes(values, 0.0, allow_degenerate=False)
    return low + vertices.astype(np.float64) * spacing, faces.astype(np.int64)


def vertex_normals(vertices: NDArray[np.float64], faces: Faces) -> NDArray[np.float64]:
    """Unit normals (v, 3): the mean of the faces around, weighted by area."""
    a, b, c = np.moveaxis(vertices[faces], 1, 0)
    flat = np.cross(b - a, c - a)
    sums = [np.bincount(faces.ravel(), np.repeat(flat[:, axis], 3), len(vertices)) for axis in range(3)]
    total = np.stack(sums, -1)
    normals: NDArray[np.float64] = total / np.maximum(np.linalg.norm(total, axis=1, keepdims=True), 1e-30)
    return normals


def distance_field(asset: BakedAsset) -> Callable[[Floats], Floats]:
    """The baked signed distance (n,), in world units, of points (n, 3) in the unit cube of the box.

    Raises:
        InshaderError: the asset has none.
    """
    _checked(asset)
    grid, decoder = asset.grids["features"], asset.networks["decoder"]
    scale = np.float32(asset.constants["distance_scale"])  # type: ignore[arg-type]  # checked above

    def evaluate(x: Floats) -> Floats:
        values = np.empty(len(x), np.float32)
        for start in range(0, len(x), CHUNK):
            features = grid.spec.evaluate(grid.table, x[start : start + CHUNK].astype(np.float32))
            values[start : start + CHUNK] = decoder.spec.evaluate(decoder.parameters, features)[:, 0] * scale
        return values

    return evaluate


def _checked(asset: BakedAsset) -> NDArray[np.bool_]:
    """The asset's occupancy; InshaderError unless all that makes a distance field is there."""
    grid, decoder = asset.grids.get("features"), asset.networks.get("decoder")
    occupancy, scale = asset.volumes.get("occupancy"), asset.constants.get("distance_scale")
    if asset.driver != "trace" or grid is None or decoder is None or occupancy is None:
        raise InshaderError(
            f"an asset of the driver {asset.driver} holds no surface to export, expected one of trace "
            "(gaussian_rbf.task=sdf)"
        )
    spec = decoder.spec
    fits = spec.count == len(spec.inputs) == spec.output_width == 1
    fits = fits and spec.input_width == grid.spec.output_width
    if not fits or grid.spec.dimension != 3 or not isinstance(scale, (int, float)):
        raise InshaderError(
            "its grid features, network decoder and constant distance_scale do not fit together"
        )
    return np.asarray(occupancy, bool)


def _lattice(asset: BakedAsset, occupancy: NDArray[np.bool_], axes: list[NDArray[np.float64]]) -> Floats:
    """Distances (x, y, z) at lattice points; away from the surface only their signs hold."""
    field = distance_field(asset)
    near = occupancy
    for _ in range(max(-(-n // (len(axis) - 1)) for axis, n in zip(axes, occupancy.shape, strict=True))):
        near = _dilated(near)  # as often as there are cells between two lattice points
    sides = _sides(near, field)  # of cells
    cell = [np.minimum((axis * n).astype(int), n - 1) for axis, n in zip(axes, near.shape, strict=True)]
    far = float(np.linalg.norm(asset.bounds[1] - asset.bounds[0]))
    values = sides[np.ix_(*cell)] * np.float32(far)
    at = np.nonzero(near[np.ix_(*cell)])
    for start in range(0, len(at[0]), CHUNK):
        part = tuple(index[start : start + CHUNK] for index in at)
        x = np.stack([axis[index] for axis, index in zip(axes, part, strict=True)], -1)
        values[part] = field(x.astype(np.float32))
    return values


def _dilated(occupancy: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """Occupied cells and those that share a face with one; edges of the lattice lead nowhere else."""
    grown = occupancy.copy()
    for axis in range(3):
        cells, near = np.moveaxis(occupancy, axis, 0), np.moveaxis(grown, axis, 0)
        near[1:] |= cells[:-1]
        near[:-1] |= cells[1:]
    return grown


def _sides(near: NDArray[np.bool_], field: Callable[[Floats], Floats]) -> Floats:
    """-1 or 1 for each cell (x, y, z) not ``near``: what most of its piece's rim says; 1 for the others."""
    measure = require("skimage.measure", "train")
    pieces = np.asarray(measure.label(~near, connectivity=1))
    at = np.nonzero(~near & _dilated(near))
    x = (np.stack(at, -1) + 0.5) / near.shape
    votes = np.bincount(pieces[at], np.sign(field(x.astype(np.float32))), int(pieces.max()) + 1)
    side = np.where(votes < 0, -1, 1).astype(np.float32)
    side[0] = 1
    return np.asarray(side[pieces], np.float32)
