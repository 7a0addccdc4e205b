"""The surface of a mesh as data: points at known signed distances, and pictures of it.

A mesh needs no closed surface, see ``scenes/distance.py``. Its materials are merged, its textures ignored.

Choices: the points are near, on and away from the surface as 4:3:1, the mix of instant-ngp (Mueller et al.
2022, appendix) as the NeuRBF code has it (Chen et al. 2023); those near it are normally distributed about it,
half of them with each of two deviations. Pictures are lit from the eye: a surface without a colour of its own
is ALBEDO (AMBIENT + (1 - AMBIENT) |n.d|), which is what the driver ``trace`` draws.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from render.camera import Camera
from render.errors import InshaderError
from scenes import distance, mesh, orbit
from scenes.blender import background_of
from scenes.cache import cache_file, read_cache, write_cache
from scenes.dataset import Surface, Views
from scenes.normalise import world_from_box
from scenes.scene import Scene

POINTS = 3 << 19  # in all: they take about seven seconds for 100,000 triangles on two cores
SHARES = (4, 3, 1)  # near, on, away
DEVIATIONS = (0.01, 0.0025)  # of points near the surface, in world units
PADDING = 0.05  # of the box beyond the mesh, on each side, in its longest side
ALBEDO = (0.82, 0.78, 0.72)
AMBIENT = 0.25
CREASE = np.cos(np.radians(30))  # corners that deviate further are shaded flat

Floats = NDArray[np.float32]
Doubles = NDArray[np.float64]
Faces = NDArray[np.int64]


def read_surface(path: Path, scene: Scene) -> Surface:
    """The mesh at ``path`` as a Surface: see ``data.up``, ``bounds``, ``test_views`` and ``max_size`` (256).

    What was computed is kept in the user's cache under a hash of the mesh. Printed: what is unusual about it.

    Raises:
        InshaderError: no triangles, none with an area, vertices that are not finite, a mesh that encloses
            nothing or sticks out of ``data.bounds``, or no libigl, trimesh or Embree.
    """
    size = scene.data.max_size or mesh.DEFAULT_SIZE
    vertices, faces = _merged(mesh.read_surfaces(path, scene.data.up, textured=False))
    turn = mesh.TURNS[scene.data.up]
    box = _box(vertices, scene, turn, path)
    world_from_turned = world_from_box(box)
    scale, shift = world_from_turned[0, 0], world_from_turned[:3, 3]
    faces = _checked(vertices, faces, path)
    world = (vertices * scale + shift).astype(np.float32)
    bounds = (box * scale + shift).astype(np.float32)
    cameras = orbit.orbit_cameras(scene.data.test_views, size, *mesh.viewpoint(world), mesh.TEST_ELEVATIONS)
    parameters = {
        "size": size,
        "views": len(cameras),
        "seed": scene.seed,
        "points": POINTS,
        "bounds": bounds.tolist(),
        "mesh": mesh.digest([mesh.Surface(world, faces, world, world)]),
    }
    sources = [Path(file) for file in (__file__, mesh.__file__, distance.__file__, orbit.__file__) if file]
    file = cache_file("surface", parameters, sources)
    shapes = {"images": (len(cameras), size, size, 4), "points": (POINTS, 12), "distances": (POINTS, 4)}
    cached = read_cache(file, shapes)
    if cached is None:
        points, distances = sample_points(world, faces, bounds, POINTS, scene.seed)
        if not (distances < 0).any():
            raise InshaderError(
                f"{path}: encloses nothing: no point is inside, expected a surface with an inside"
            )
        cached = {
            "images": render_surface(world, faces, cameras),
            "points": points.view(np.uint8),
            "distances": distances[:, None].view(np.uint8),
        }
        write_cache(file, cached)
    background, background_name = background_of(scene)
    return Surface(
        vertices=world,
        faces=faces,
        points=cached["points"].view(np.float32),
        distances=cached["distances"].view(np.float32)[:, 0],
        test=Views(cached["images"], cameras, tuple(f"test_{i:03d}" for i in range(len(cameras)))),
        bounds=bounds,
        background=np.asarray(background, np.float32),
        background_name=background_name,
        up=np.array([0, 0, 1], np.float32),
        world_from_source=world_from_turned @ np.eye(4)[[*turn, 3]],
    )


# The mesh -------------------------------------------------------------------------------------------------


def _merged(surfaces: list[mesh.Surface]) -> tuple[Doubles, Faces]:
    """One mesh of all, whose vertices at one place, as float32 tells from the middle, are one."""
    starts = np.cumsum([0, *(len(surface.vertices) for surface in surfaces)])
    faces = np.concatenate([surface.faces + n for surface, n in zip(surfaces, starts, strict=False)])
    vertices = np.concatenate([surface.vertices for surface in surfaces]).astype(np.float64)
    used = np.zeros(len(vertices), bool)
    used[faces] = True  # strays must not widen the box
    vertices, faces = vertices[used], (np.cumsum(used) - 1)[faces]
    middle = (vertices.min(0) + vertices.max(0)) / 2
    places = (vertices - middle).astype(np.float32) + np.float32(0)  # no negative zero
    _, first, place = np.unique(places, axis=0, return_index=True, return_inverse=True)
    return vertices[first], place.ravel()[faces]


def _box(vertices: Doubles, scene: Scene, turn: list[int], path: Path) -> Doubles:
    """(2, 3) in units of the file: the mesh's own with some padding, or the scene's."""
    low, high = vertices.min(0), vertices.max(0)
    if scene.data.bounds != "auto":
        box = np.array(scene.data.bounds)[:, turn]
        if (box[0] > low).any() or (box[1] < high).any():
            found = np.stack([low, high])[:, np.argsort(turn)].tolist()
            raise InshaderError(f"data.bounds: {path} reaches {found}, expected a box that holds it")
        return box
    pad = PADDING * float(np.max(high - low))
    if not pad > 0:
        raise InshaderError(f"{path}: all vertices lie on one point")
    return np.stack([low - pad, high + pad])


def _checked(vertices: Doubles, faces: Faces, path: Path) -> Faces:
    """The faces that have an area, turned outwards; says what else is unusual."""
    vectors = distance.area_vectors(vertices, faces)
    sound = vectors.any(1)
    if not sound.any():
        raise InshaderError(f"{path}: all {len(faces)} triangles have no area, expected a surface")
    if not sound.all():
        print(f"{path}: {np.count_nonzero(~sound)} of {len(faces)} triangles have no area and are left out")
    # A triangle with its corners on one line may still close a seam, one with two equal corners does not.
    loose = loose_edges(faces[(faces != np.roll(faces, 1, axis=1)).all(1)])
    if loose:
        print(
            f"{path}: not closed: {loose} edges do not join two faces of one orientation; "
            "inside is where the winding number is above 1/2"
        )
    volumes = (vertices[faces[:, 0]] - vertices.mean(0, np.float64)) * vectors  # three times, when summed
    faces = faces[sound]
    if volumes.sum() < 0:
        print(f"{path}: its triangles face inwards and are turned around")
        faces = faces[:, ::-1]
    return np.ascontiguousarray(faces)


def loose_edges(faces: Faces) -> int:
    """Edges that are not shared by exactly two faces which run along them in opposite directions."""
    edges = faces[:, [0, 1, 1, 2, 2, 0]].reshape(-1, 2)
    undirected = edges.min(1) * (faces.max() + 1) + edges.max(1)
    _, which, counts = np.unique(undirected, return_inverse=True, return_counts=True)
    directions = np.bincount(which.ravel(), np.sign(edges[:, 1] - edges[:, 0]), len(counts))
    return int(np.count_nonzero((counts != 2) | (directions != 0)))


# Points ---------------------------------------------------------------------------------------------------


def sample_points(
    vertices: Floats, faces: Faces, bounds: Floats, count: int, seed: int
) -> tuple[Floats, Floats]:
    """``count`` points (n, 3) in the box and their signed distances (n,), in random order.

    Args:
        vertices, faces, bounds: of the mesh and the box, in world units.
    """
    rng = np.random.default_rng(seed)
    near, on = (count * share // sum(SHARES) for share in SHARES[:2])
    points = np.empty((count, 3), np.float32)
    points[:near] = distance.sample_surface(vertices, faces, near, rng)[0]
    points[near : near + on] = distance.sample_surface(vertices, faces, on, rng)[0]
    deviation = np.array(DEVIATIONS, np.float32)[np.arange(near) % len(DEVIATIONS), None]
    points[:near] += deviation * rng.standard_normal((near, 3), np.float32)
    points[near + on :] = rng.uniform(bounds[0], bounds[1], (count - near - on, 3))
    np.clip(points, *bounds, out=points)
    distances = np.zeros(count, np.float32)
    off = np.r_[:near, near + on : count]  # those on the surface are at 0 by construction
    distances[off] = distance.signed_distances(vertices, faces, points[off])
    order = rng.permutation(count)
    return points[order], distances[order]


# Pictures -------------------------------------------------------------------------------------------------


def render_surface(vertices: Floats, faces: Faces, cameras: tuple[Camera, ...]) -> NDArray[np.uint8]:
    """Pictures (n, h, w, 4) of the mesh, smoothly shaded: see the module's docstring."""
    normals = corner_normals(vertices, faces)

    def shade(face: Faces, barycentric: Floats, rays_d: Floats) -> Floats:
        weights = np.concatenate([1 - barycentric.sum(1, keepdims=True), barycentric], -1)[..., None]
        n = (normals[face] * weights).sum(1)
        n /= np.maximum(np.linalg.norm(n, axis=1, keepdims=True), np.float32(1e-9))
        light = AMBIENT + (1 - AMBIENT) * np.abs((n * rays_d).sum(1, keepdims=True))
        return np.asarray(np.array(ALBEDO, np.float32) * light, np.float32)

    return mesh.trace_views(vertices[faces], cameras, shade)


def corner_normals(vertices: Floats, faces: Faces) -> Floats:
    """Unit normals (f, 3, 3) at the corners of the faces: the vertex's, or at a crease the face's own.

    A vertex has the mean normal of its faces, weighted by their area (a choice, as is ``CREASE``): across an
    edge of a box the gradient of its distance jumps as well.
    """
    flat = distance.area_vectors(vertices, faces)  # (f, 3)
    sums = [np.bincount(faces.ravel(), np.repeat(flat[:, axis], 3), len(vertices)) for axis in range(3)]
    smooth = distance.unit(np.stack(sums, -1))[faces]  # (f, 3, 3)
    flat = distance.unit(flat)[:, None]  # (f, 1, 3)
    deviates = (smooth * flat).sum(-1, keepdims=True) < CREASE
    return np.where(deviates, flat, smooth).astype(np.float32)
