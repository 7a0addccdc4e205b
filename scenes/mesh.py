"""A textured mesh, rendered to posed pictures: Embree finds the surfaces, a plain light model colours them.

Light (our choice): colour = albedo * (hemisphere + sun) + emission. The hemisphere light goes from 0.35 on
faces that look down to 0.75 on those that look up; the sun adds up to 0.55 and casts no shadows; the side of
a face that is seen is the one that is lit. Values are display-referred throughout, as the textures are.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from render.camera import Camera
from render.errors import InshaderError, require
from scenes import orbit
from scenes.blender import background_of
from scenes.cache import cache_file, read_cache, write_cache
from scenes.dataset import PosedImages, Views
from scenes.normalise import normalised
from scenes.scene import Scene

DEFAULT_SIZE = 256
SAMPLES = 4  # a side: 16 rays a pixel
BAND = 64  # rows traced at once
ELEVATIONS = (math.radians(-20), math.radians(70))
TEST_ELEVATIONS = (math.radians(5), math.radians(40))
SUN = np.array([0.48, -0.36, 0.80], np.float32)  # unit vector towards it, z up
TURNS = {"x": [1, 2, 0], "y": [2, 0, 1], "z": [0, 1, 2]}  # file axis on which to find x, y, z; none mirrors
PLAIN_ALBEDO = (0.7, 0.7, 0.7)

Floats = NDArray[np.float32]
Doubles = NDArray[np.float64]
Shade = Callable[[NDArray[np.int64], Floats, Floats], Floats]


@dataclass(frozen=True, eq=False)
class Surface:
    """Triangles with colours, z up, in source units.

    Attributes:
        vertices: (v, 3), float64 as read: scans may lie millions of units from the origin.
        faces: (f, 3) indices. normals: (v, 3) unit.
        colours: (v, 3) in [0, 1], which the texture, where there is one, replaces.
        uv: (v, 2), rows of the texture counted from the bottom. texture, emission: (h, w, 3) in [0, 1].
    """

    vertices: NDArray[np.floating]
    faces: NDArray[np.int64]
    normals: Floats
    colours: Floats
    uv: Floats | None = None
    texture: Floats | None = None
    emission: Floats | None = None


def render_mesh(path: Path, scene: Scene) -> PosedImages:
    """Views of the mesh at ``path``: see ``data.train_views``, ``test_views``, ``max_size`` (256) and ``up``.

    Pictures are kept in the user's cache under a hash of the mesh file and of what it refers to.

    Raises:
        InshaderError: no triangles, vertices that are not finite, a texture that is missing, or no Embree.
    """
    size = scene.data.max_size or DEFAULT_SIZE
    surfaces = read_surfaces(path, scene.data.up)
    corners = np.concatenate([surface.vertices for surface in surfaces])
    centre, distance = viewpoint(corners)
    half = (corners.max(0) - corners.min(0)) / 2
    pad = 0.02 * float(half.max())
    if not pad > 0:
        raise InshaderError(f"{path}: all vertices lie on one point")
    # From here on the origin is in the middle: float32, which Embree takes, is fine only there.
    surfaces = [replace(s, vertices=(s.vertices - centre).astype(np.float32)) for s in surfaces]
    middle = np.zeros(3)
    counts = (scene.data.train_views, scene.data.test_views)
    train = orbit.training_cameras(counts[0], size, middle, distance, ELEVATIONS, scene.seed)
    test = orbit.orbit_cameras(counts[1], size, middle, distance, TEST_ELEVATIONS)
    parameters = {"size": size, "views": counts, "seed": scene.seed, "surfaces": digest(surfaces)}
    sources = [Path(file) for file in (__file__, orbit.__file__) if file]
    file = cache_file("mesh", parameters, sources)
    cached = read_cache(file, {"images": (sum(counts), size, size, 4)})
    if cached is None:
        cached = {"images": render_views(surfaces, (*train, *test))}
        write_cache(file, cached)
    images = cached["images"]
    turn = TURNS[scene.data.up]
    posed = normalised(
        Views(images[: counts[0]], train, tuple(f"train_{i:03d}" for i in range(counts[0]))),
        Views(images[counts[0] :], test, tuple(f"test_{i:03d}" for i in range(counts[1]))),
        [-half - pad, half + pad]
        if scene.data.bounds == "auto"
        else np.array(scene.data.bounds)[:, turn] - centre,
        background_of(scene),
        up=(0, 0, 1),
    )
    centred_from_file = np.eye(4)[[*turn, 3]]
    centred_from_file[:3, 3] = -centre
    return replace(posed, world_from_source=posed.world_from_source @ centred_from_file)


def viewpoint(vertices: NDArray[np.floating]) -> tuple[Doubles, float]:
    """What an orbit looks at, the middle (3,) of the vertices (v, 3), and from how far."""
    centre = (vertices.min(0).astype(np.float64) + vertices.max(0).astype(np.float64)) / 2
    radius = float(np.linalg.norm(vertices - centre, axis=1).max())
    return centre, 0.97 * radius / math.sin(orbit.FIELD_OF_VIEW / 2)


def digest(surfaces: list[Surface]) -> str:
    """Of all arrays: textures in files of their own count too, names and folders do not."""
    found = hashlib.sha256()
    for surface in surfaces:
        for name, array in vars(surface).items():
            if array is not None:
                found.update(f"{name}{array.shape}".encode())
                found.update(np.ascontiguousarray(array).tobytes())
    return found.hexdigest()


# Reading --------------------------------------------------------------------------------------------------


def read_surfaces(path: Path, up: str = "y", textured: bool = True) -> list[Surface]:
    """The triangle meshes of a file, one for each material, turned so that z points up.

    Without ``textured`` all are of one plain colour, and nobody asks whether their textures are there.

    Raises:
        InshaderError: the file cannot be read, has no triangles, or its vertices or indices do not hold.
    """
    trimesh = require("trimesh", "train")
    try:
        loaded = trimesh.load_scene(path, process=False)  # which would drop vertices that are not finite
        meshes = [mesh for mesh in loaded.dump() if isinstance(mesh, trimesh.Trimesh) and len(mesh.faces)]
    # trimesh's many readers raise about anything on damaged files.
    except Exception as error:
        raise InshaderError(f"{path}: cannot be read as a mesh: {type(error).__name__}: {error}") from error
    if not meshes:
        raise InshaderError(f"{path}: no triangles (empty, or only points and lines), expected a mesh")
    return [_surface(mesh, path, up, textured) for mesh in meshes]


def _surface(mesh: Any, path: Path, up: str, textured: bool) -> Surface:
    for index in np.flatnonzero(~np.isfinite(mesh.vertices).all(1)):
        raise InshaderError(
            f"{path}: vertex {index} is {mesh.vertices[index].tolist()}, expected finite numbers"
        )
    mesh.merge_vertices()  # so that formats without shared vertices are shaded smoothly too
    vertices = np.asarray(mesh.vertices, np.float64)
    faces = np.asarray(mesh.faces, np.int64)
    normals = np.nan_to_num(np.asarray(mesh.vertex_normals, np.float32))
    turn = TURNS[up]
    uv, texture, emission, colour = _texture(mesh, path) if textured else (None, None, None, PLAIN_ALBEDO)
    colours = np.broadcast_to(np.asarray(colour, np.float32), vertices.shape)
    if textured and texture is None and mesh.visual.kind in ("vertex", "face"):
        colours = np.asarray(mesh.visual.vertex_colors, np.float32)[:, :3] / np.float32(255)
    return Surface(vertices[:, turn], faces, normals[:, turn], colours, uv, texture, emission)


def _texture(
    mesh: Any, path: Path
) -> tuple[Floats | None, Floats | None, Floats | None, tuple[float, ...] | list[float]]:
    """uv, albedo texture, emission texture and plain colour of a mesh's material."""
    material = getattr(mesh.visual, "material", None)
    uv = getattr(mesh.visual, "uv", None)
    if material is None:
        return None, None, None, PLAIN_ALBEDO
    picture = getattr(material, "baseColorTexture", None)
    factor = getattr(material, "baseColorFactor", None)
    emission = getattr(material, "emissiveTexture", None)
    if picture is None:
        picture = getattr(material, "image", None)
    if picture is None and factor is None and getattr(material, "diffuse", None) is not None:
        factor = material.diffuse
    colour = PLAIN_ALBEDO if factor is None else tuple(float(value) / 255 for value in factor[:3])
    named = _named_texture(path)
    if picture is None and named is not None and not named.is_file():
        raise InshaderError(f"{path}: its texture {named} is missing")
    if picture is None or uv is None or len(uv) != len(mesh.vertices):
        return None, None, None, colour
    texture = _pixels(picture) * np.array((1, 1, 1) if factor is None else colour, np.float32)
    return np.asarray(uv, np.float32), texture, None if emission is None else _pixels(emission), colour


def _pixels(picture: Any) -> Floats:
    return np.asarray(picture.convert("RGB"), np.float32) / np.float32(255)


def _named_texture(path: Path) -> Path | None:
    """The colour texture that an OBJ's material library names: trimesh does not say if it is missing."""
    if path.suffix.lower() != ".obj":
        return None
    for line in path.read_text(errors="replace").splitlines():
        if line.startswith("mtllib "):
            library = path.parent / line.split(maxsplit=1)[1].strip()
            if not library.is_file():
                raise InshaderError(f"{path}: its material library {library} is missing")
            for entry in library.read_text(errors="replace").splitlines():
                words = entry.split()
                if len(words) > 1 and words[0] == "map_Kd":
                    return library.parent / words[-1]
        if line.startswith("f "):
            break
    return None


# Rendering ------------------------------------------------------------------------------------------------


def render_views(surfaces: list[Surface], cameras: tuple[Camera, ...]) -> NDArray[np.uint8]:
    """Pictures (n, h, w, 4) of all surfaces, as ``trace_views`` has them."""
    offsets = np.cumsum([0, *(len(surface.faces) for surface in surfaces)])
    triangles = np.concatenate([surface.vertices[surface.faces] for surface in surfaces])  # (f, 3, 3)

    def shade(face: NDArray[np.int64], barycentric: Floats, rays_d: Floats) -> Floats:
        colour = np.zeros((len(face), 3), np.float32)
        for surface, first, end in zip(surfaces, offsets[:-1], offsets[1:], strict=True):
            of_this = np.flatnonzero((face >= first) & (face < end))
            colour[of_this] = _shade(surface, face[of_this] - first, barycentric[of_this], rays_d[of_this])
        return colour

    return trace_views(triangles, cameras, shade)


def trace_views(triangles: Floats, cameras: tuple[Camera, ...], shade: Shade) -> NDArray[np.uint8]:
    """(n, h, w, 4) uint8 with straight alpha: the mean of ``SAMPLES`` squared rays a pixel.

    Args:
        triangles: (f, 3, 3) corners, in the units of the cameras.
        shade: colours (n, 3) in [0, 1] of hits, from face (n,), the weights (n, 2) of its second and third
            corner, and the ray's direction (n, 3).
    """
    require("embreex", "train")
    from embreex.mesh_construction import TriangleMesh
    from embreex.rtcore_scene import EmbreeScene

    # One geometry in units near 1: Embree's single precision and its tolerances are made for that.
    centre, scale = triangles.reshape(-1, 3).mean(0), float(np.abs(triangles - triangles.mean((0, 1))).max())
    embree = EmbreeScene()
    TriangleMesh(embree, np.ascontiguousarray((triangles - centre) / scale, np.float32))
    images = np.zeros((len(cameras), cameras[0].h, cameras[0].w, 4), np.uint8)
    for camera, image in zip(cameras, images, strict=True):
        fine = camera.resized(SAMPLES * camera.w, SAMPLES * camera.h)
        rays_o, rays_d = fine.rays()
        for top in range(0, camera.h, BAND):
            rows = slice(top * SAMPLES, min(top + BAND, camera.h) * SAMPLES)
            d = np.ascontiguousarray(rays_d[rows].reshape(-1, 3))
            o = np.ascontiguousarray((rays_o[rows].reshape(-1, 3) - centre) / scale, np.float32)
            found = embree.run(o, d, output=1)
            hit = np.flatnonzero(found["primID"] >= 0)
            barycentric = np.stack([found["u"][hit], found["v"][hit]], -1)
            colour = np.zeros((len(d), 4), np.float32)
            colour[hit, :3] = shade(found["primID"][hit], barycentric, d[hit])
            colour[hit, 3] = 1
            image[top : top + BAND] = _pixel_means(colour.reshape(-1, camera.w * SAMPLES, 4))
    return images


def _pixel_means(samples: Floats) -> NDArray[np.uint8]:
    """Samples (h * SAMPLES, w * SAMPLES, 4) of coverage 0 or 1 -> (h, w, 4) uint8, straight alpha."""
    h, w = samples.shape[0] // SAMPLES, samples.shape[1] // SAMPLES
    means = samples.reshape(h, SAMPLES, w, SAMPLES, 4).mean((1, 3))  # (h, w, 4)
    means[..., :3] /= np.maximum(means[..., 3:], np.float32(1e-6))
    pixels: NDArray[np.uint8] = np.rint(255 * np.clip(means, 0, 1)).astype(np.uint8)
    return pixels


def _shade(surface: Surface, face: NDArray[np.int64], barycentric: Floats, rays_d: Floats) -> Floats:
    """Colours (n, 3) at points of faces (n,), given the weights (n, 2) of their second and third corner."""
    corners = surface.faces[face]  # (n, 3)
    weights = np.concatenate([1 - barycentric.sum(1, keepdims=True), barycentric], -1)[..., None]  # (n, 3, 1)
    normals = (surface.normals[corners] * weights).sum(1)
    normals /= np.maximum(np.linalg.norm(normals, axis=1, keepdims=True), np.float32(1e-9))
    a, b, c = np.moveaxis(surface.vertices[corners], 1, 0)
    towards = -np.sign((np.cross(b - a, c - a) * rays_d).sum(1, keepdims=True))  # which side is seen
    normals = normals * towards
    albedo = (surface.colours[corners] * weights).sum(1)
    emission = np.zeros_like(albedo)
    if surface.uv is not None and surface.texture is not None:
        uv = (surface.uv[corners] * weights).sum(1)  # (n, 2)
        albedo = _bilinear(surface.texture, uv)
        if surface.emission is not None:
            emission = _bilinear(surface.emission, uv)
    light = 0.55 + 0.2 * normals[:, 2:] + 0.55 * np.maximum(normals @ SUN, 0)[:, None]
    colours: Floats = np.minimum(albedo * light + emission, 1).astype(np.float32)
    return colours


def _bilinear(texture: Floats, uv: Floats) -> Floats:
    """Texture (h, w, 3) at coordinates (n, 2) that wrap around, v upwards."""
    h, w = texture.shape[:2]
    x, y = uv[:, 0] * w - 0.5, (1 - uv[:, 1]) * h - 0.5
    i, j = np.floor(x).astype(np.int64), np.floor(y).astype(np.int64)
    u, v = (x - i)[:, None], (y - j)[:, None]
    above: Floats = texture[j % h, i % w] * (1 - u) + texture[j % h, (i + 1) % w] * u
    below: Floats = texture[(j + 1) % h, i % w] * (1 - u) + texture[(j + 1) % h, (i + 1) % w] * u
    return np.asarray(above * (1 - v) + below * v, np.float32)
