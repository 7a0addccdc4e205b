"""The scenes that need no download: a still life, or fluff, ray traced into posed pictures on first use."""

from __future__ import annotations

import math
from pathlib import Path
from types import ModuleType

import numpy as np
from numpy.typing import NDArray

from render.camera import Camera
from scenes import fluff, orbit, ray_tracer, still_life
from scenes.blender import background_of
from scenes.cache import cache_file, read_cache, write_cache
from scenes.dataset import PosedImages, Views
from scenes.normalise import normalised
from scenes.scene import Scene

DEFAULT_SIZE = 256
SUBJECTS = {"still_life": still_life, "fluff": fluff}
DISTANCE = 3.65  # from a subject's CENTRE: its base nearly fills the picture's width
TRAIN_ELEVATIONS = (math.radians(4), math.radians(68))
TEST_ELEVATIONS = (math.radians(16), math.radians(44))
LATTICE = 96  # light is interpolated between this many points along the longest side
SKY_DIRECTIONS = 32
BATCH = 8  # views in one call: enough to keep all cores at work; Ctrl-C is heard between calls


def render_procedural(scene: Scene) -> PosedImages:
    """``data.subject`` in ``data.train_views`` and ``test_views`` pictures of side ``data.max_size`` (256).

    Pictures are kept in the user's cache (see ``scenes.cache``); a stale or damaged file is made anew.

    Raises:
        InshaderError: numba is not installed.
    """
    size = scene.data.max_size or DEFAULT_SIZE
    subject = SUBJECTS[scene.data.subject]
    counts = (scene.data.train_views, scene.data.test_views)
    train = orbit.training_cameras(counts[0], size, subject.CENTRE, DISTANCE, TRAIN_ELEVATIONS, scene.seed)
    test = orbit.orbit_cameras(counts[1], size, subject.CENTRE, DISTANCE, TEST_ELEVATIONS)
    sources = [*ray_tracer.sources_of(subject), Path(orbit.__file__), Path(__file__)]
    file = cache_file(scene.data.subject, {"size": size, "views": counts, "seed": scene.seed}, sources)
    shape = (sum(counts), size, size, 4)
    cached = read_cache(file, {"images": shape})
    if cached is None:
        cached = {"images": trace(subject, (*train, *test))}
        write_cache(file, cached)
    images = cached["images"]
    bounds = subject.BOUNDS if scene.data.bounds == "auto" else scene.data.bounds
    return normalised(
        Views(images[: counts[0]], train, tuple(f"train_{i:03d}" for i in range(counts[0]))),
        Views(images[counts[0] :], test, tuple(f"test_{i:03d}" for i in range(counts[1]))),
        bounds,
        background_of(scene),
        up=(0, 0, 1),
    )


def trace(subject: ModuleType, cameras: tuple[Camera, ...]) -> NDArray[np.uint8]:
    """Ray trace square views with centred principal points: (n, size, size, 4) uint8, straight alpha."""
    light_lattice, trace_views = ray_tracer.ray_tracer(subject)
    low, high = np.array(subject.BOUNDS)
    cell = float(np.max(high - low)) / (LATTICE - 1)
    counts = [int(n) for n in np.ceil((high - low) / cell).astype(np.int64) + 1]
    sky = _cosine_directions(SKY_DIRECTIONS), _directions(SKY_DIRECTIONS)
    lattice = light_lattice(low, cell, (counts[0], counts[1], counts[2]), *sky)
    images = np.zeros((len(cameras), cameras[0].h, cameras[0].w, 4), np.uint8)
    poses = np.stack([camera.world_from_camera for camera in cameras])
    for i in range(0, len(cameras), BATCH):
        trace_views(poses[i : i + BATCH], cameras[0].fl_x, images[i : i + BATCH], lattice, low, cell)
    return images


def _cosine_directions(count: int) -> NDArray[np.float64]:
    """(count, 3) unit vectors about +z, as dense as the cosine: a Fibonacci lattice on the disc, lifted."""
    i = np.arange(count) + 0.5
    radius, angle = np.sqrt(i / count), i * math.pi * (3 - math.sqrt(5))
    return np.stack([radius * np.cos(angle), radius * np.sin(angle), np.sqrt(1 - radius**2)], -1)


def _directions(count: int) -> NDArray[np.float64]:
    """(count, 3) unit vectors, evenly all around: a Fibonacci lattice on the sphere."""
    i = np.arange(count) + 0.5
    z, angle = 1 - 2 * i / count, i * math.pi * (3 - math.sqrt(5))
    radius = np.sqrt(1 - z**2)
    return np.stack([radius * np.cos(angle), radius * np.sin(angle), z], -1)
