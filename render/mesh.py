"""The surface of an asset as a triangle mesh: marching cubes over the baked distance field, or, of a shell,
the meshes that it holds.

Only in occupied cells, and in their neighbours, is the field (``render/fields.py``) evaluated; each connected
piece of what is left lies on one side of the surface, which its rim tells.

A field with a network of colours gives its vertices the colour that is seen along the inward normal (a
choice: it has one for every direction). A ``.ply`` file has them as they are displayed, in 8 bits; a ``.glb``
file as glTF wants them, linear, in 16, with a material that is not lit again (KHR_materials_unlit).

Marching cubes: Lorensen and Cline 1987, in the form of Lewiner et al. 2003.
"""

from __future__ import annotations

import json
import struct
from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from render.asset import BakedAsset
from render.errors import InshaderError, require
from render.fields import SurfaceField, surface_field
from render.renderer import driver_of
from render.sphere_tracing import Distance

SUFFIXES = (".ply", ".glb")
DEFAULT_RESOLUTION, MAX_RESOLUTION = 256, 512  # the lattice of 512 takes half a gigabyte
CHUNK = 1 << 16  # points evaluated at once

Floats = NDArray[np.float32]
Faces = NDArray[np.int64]


class Surface(NamedTuple):
    """A mesh: vertices (v, 3), faces (f, 3), and display colours (v, 3) of the vertices, if it has any."""

    vertices: NDArray[np.float64]
    faces: Faces
    colours: Floats | None


def mesh_file(asset: BakedAsset, suffix: str, resolution: int | None = None) -> bytes:
    """The content of a ``.ply`` or ``.glb`` file with the surface, in the data set's own frame.

    Vertices are shared by the faces around them and have normals. Of a shell a ``.ply`` file holds the outer
    mesh, a ``.glb`` file both, each as a node of its name.

    Raises:
        InshaderError: as ``extract_mesh`` or ``envelope`` does; or no trimesh.
    """
    if asset.driver == "shell":
        if resolution is not None:
            raise InshaderError("--resolution: the meshes of a shell are as they are, leave it out")
        parts = envelope(asset)
    else:
        vertices, faces = extract_mesh(asset, DEFAULT_RESOLUTION if resolution is None else resolution)
        colours = vertex_colours(asset, vertices, faces) if "colour" in asset.networks else None
        parts = {"surface": Surface(vertices, faces, colours)}
    if suffix == ".glb":
        return _glb(parts)
    trimesh = require("trimesh", "train")
    vertices, faces, colours = next(iter(parts.values()))
    rgb = None if colours is None else np.rint(255 * colours).astype(np.uint8)
    normals = vertex_normals(vertices, faces)
    mesh = trimesh.Trimesh(vertices, faces, vertex_normals=normals, vertex_colors=rgb, process=False)
    return bytes(mesh.export(file_type="ply", vertex_normal=True))


def envelope(asset: BakedAsset) -> dict[str, Surface]:
    """The meshes of a shell that have faces, the outer one first, in the data set's frame.

    Raises:
        InshaderError: the asset's parts do not fit.
    """
    driver_of(asset)
    found = {}
    for name in ("outer", "inner"):
        mesh = asset.meshes[name]
        if len(mesh.faces):
            found[name] = Surface(
                *_in_source(asset, mesh.vertices.astype(np.float64), mesh.faces.astype(np.int64)), None
            )
    return found


def _in_source(
    asset: BakedAsset, vertices: NDArray[np.float64], faces: Faces
) -> tuple[NDArray[np.float64], Faces]:
    """A mesh of the world in the data set's frame, its outside kept outside."""
    source_from_world = np.linalg.inv(asset.world_from_source)
    vertices = vertices @ source_from_world[:3, :3].T + source_from_world[:3, 3]
    mirrored = np.linalg.det(source_from_world[:3, :3]) < 0
    return vertices, faces[:, ::-1] if mirrored else faces


def vertex_colours(asset: BakedAsset, vertices: NDArray[np.float64], faces: Faces) -> Floats:
    """Display colours (v, 3) in [0, 1] of vertices in the data set's frame, seen along the inward normal.

    A vertex where the field has no slope, outside the cells that hold a network, takes the mean of those
    around it (our choice).
    """
    field, low, size = surface_field(asset), asset.bounds[0], asset.bounds[1] - asset.bounds[0]
    world = vertices @ asset.world_from_source[:3, :3].T + asset.world_from_source[:3, 3]
    u = np.clip((world - low) / size, 0, 1).astype(np.float32)
    slope = field.gradient(u)[1] / size
    length = np.linalg.norm(slope, axis=1, keepdims=True)
    normal = (slope / np.maximum(length, 1e-30)).astype(np.float32)
    known = length[:, 0] > 0
    colours = np.zeros((len(u), 3), np.float32)
    colours[known] = np.clip(field.colour(u[known], normal[known], -normal[known]), 0, 1)
    pairs = np.concatenate([faces[:, [a, b]] for a in range(3) for b in range(3) if a != b])
    while not known.all():
        near = pairs[known[pairs[:, 1]] & ~known[pairs[:, 0]]]
        if len(near) == 0:  # a piece of the surface that holds no colour at all
            break
        count = np.bincount(near[:, 0], minlength=len(u))
        sums = [np.bincount(near[:, 0], colours[near[:, 1], k], len(u)) for k in range(3)]
        reached = count > 0
        colours[reached] = np.stack(sums, -1)[reached] / count[reached, None]
        known |= reached
    return colours


def _glb(surfaces: Mapping[str, Surface]) -> bytes:
    """Meshes as a binary glTF 2.0 file, a node each.

    Source: Khronos, "glTF 2.0 specification", sections 3.7.2 and 4.
    """
    arrays: list[NDArray[Any]] = []
    accessors: list[dict[str, Any]] = []
    meshes: list[dict[str, Any]] = []
    for name, surface in surfaces.items():
        parts = _gltf_parts(surface)
        first = len(arrays)
        primitive: dict[str, Any] = {
            "attributes": {attribute: first + k for k, (attribute, *_) in enumerate(parts[:-1])},
            "indices": first + len(parts) - 1,
        }
        if surface.colours is not None:
            primitive["material"] = 0
        meshes.append({"name": name, "primitives": [primitive]})
        for _, array, component, more in parts:
            kind = "SCALAR" if array.shape[1] == 1 else f"VEC{array.shape[1]}"
            view = {"bufferView": len(arrays), "componentType": component, "count": len(array), "type": kind}
            accessors.append({**view, **more})
            arrays.append(array)
    starts = np.cumsum([0, *(array.nbytes for array in arrays)]).tolist()
    views = [
        {
            "buffer": 0,
            "byteOffset": start,
            "byteLength": array.nbytes,
            "target": 34963 if array.shape[1] == 1 else 34962,  # ELEMENT_ARRAY_BUFFER, ARRAY_BUFFER
        }
        for start, array in zip(starts, arrays, strict=False)
    ]
    scene: dict[str, Any] = {
        "asset": {"version": "2.0", "generator": "Inshader"},
        "scene": 0,
        "scenes": [{"nodes": list(range(len(meshes)))}],
        "nodes": [{"name": name, "mesh": k} for k, name in enumerate(surfaces)],
        "meshes": meshes,
        "accessors": accessors,
        "bufferViews": views,
        "buffers": [{"byteLength": starts[-1]}],
    }
    if any(surface.colours is not None for surface in surfaces.values()):
        scene["materials"] = [{"extensions": {"KHR_materials_unlit": {}}}]
        scene["extensionsUsed"] = ["KHR_materials_unlit"]
    text = json.dumps(scene, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 4)
    content = b"".join(array.tobytes() for array in arrays)
    head = struct.pack("<4sII", b"glTF", 2, 28 + len(text) + len(content))
    pieces = (
        struct.pack("<I4s", len(text), b"JSON"),
        text,
        struct.pack("<I4s", len(content), b"BIN\0"),
        content,
    )
    return b"".join([head, *pieces])


def _gltf_parts(surface: Surface) -> list[tuple[str, NDArray[Any], int, dict[str, Any]]]:
    """Name, array, type of its numbers and what else is told, of each attribute, the indices last."""
    position = surface.vertices.astype("<f4")
    normals = vertex_normals(surface.vertices, surface.faces).astype("<f4")
    extent = {"min": position.min(0).tolist(), "max": position.max(0).tolist()}
    parts: list[tuple[str, NDArray[Any], int, dict[str, Any]]] = [
        ("POSITION", position, 5126, extent),
        ("NORMAL", normals, 5126, {}),
    ]
    if surface.colours is not None:
        srgb = surface.colours
        linear = np.where(srgb <= 0.04045, srgb / 12.92, ((srgb + 0.055) / 1.055) ** 2.4)
        opaque = np.concatenate([linear, np.ones_like(linear[:, :1])], 1)  # so that rows are multiples of 4
        parts.append(("COLOR_0", np.rint(65535 * opaque).astype("<u2"), 5123, {"normalized": True}))
    return [*parts, ("indices", surface.faces.reshape(-1, 1).astype("<u4"), 5125, {})]


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
    field = _surface(asset)
    low, high = asset.bounds.astype(np.float64)
    size = high - low
    cells = np.maximum(np.ceil(size / size.max() * resolution - 1e-6).astype(int), 1)
    axes = [np.linspace(0, 1, n + 1) for n in cells]  # of lattice points, in the unit cube
    values = _lattice(asset, field.distance, axes)
    # One more layer outside closes a surface that leaves the box.
    values = np.pad(values, 1, constant_values=float(np.max(size / cells)))
    rim = size / cells
    vertices, faces = isosurface(values, np.stack([low - rim, high + rim]))
    if len(faces) == 0:
        raise InshaderError("its distance has no zero in the box, so there is no surface to export")
    return _in_source(asset, np.clip(vertices, low, high), faces)


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


def _surface(asset: BakedAsset) -> SurfaceField:
    """The asset's surface; InshaderError unless it holds one and its parts fit."""
    driver_of(asset)
    return surface_field(asset)


def _lattice(asset: BakedAsset, field: Distance, axes: list[NDArray[np.float64]]) -> Floats:
    """Distances (x, y, z) at lattice points; away from the surface only their signs hold."""
    near = occupancy = asset.volumes["occupancy"]
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


def _sides(near: NDArray[np.bool_], field: Distance) -> Floats:
    """-1 or 1 for each cell (x, y, z) not ``near``: what most of its piece's rim says; 1 for the others."""
    measure = require("skimage.measure", "train")
    pieces = np.asarray(measure.label(~near, connectivity=1))
    at = np.nonzero(~near & _dilated(near))
    x = (np.stack(at, -1) + 0.5) / near.shape
    votes = np.bincount(pieces[at], np.sign(field(x.astype(np.float32))), int(pieces.max()) + 1)
    side = np.where(votes < 0, -1, 1).astype(np.float32)
    side[0] = 1
    return np.asarray(side[pieces], np.float32)
