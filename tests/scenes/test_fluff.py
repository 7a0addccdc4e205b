from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from render.camera import Camera
from render.errors import InshaderError
from scenes import PosedImages, fluff, load_dataset, load_scene, medium, procedural, ray_tracer
from scenes.hull import bounds_from_views
from scenes.kernels import compile_kernels, specialised

SMALL = ["data.train_views=4", "data.test_views=4", "data.max_size=96"]
CENTRE = np.array(fluff.MEDIUM[:3])
Floats = NDArray[np.float64]


@pytest.fixture(scope="module")
def posed(tmp_path_factory: pytest.TempPathFactory) -> Iterator[PosedImages]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("INSHADER_CACHE", str(tmp_path_factory.mktemp("cache")))
        yield load_dataset(load_scene("fluff", SMALL))


def source_rays(posed: PosedImages, camera: Camera, subpixels: int = 1) -> tuple[Floats, Floats]:
    """Origins (3,) and unit directions (h, w, subpixels^2, 3) of a camera's rays in the scene's own units."""
    world_from_camera = camera.world_from_camera
    offsets = (np.arange(subpixels) + 0.5) / subpixels
    j, i, b, a = np.meshgrid(
        np.arange(camera.h), np.arange(camera.w), offsets, offsets, indexing="ij"
    )  # (h, w, s, s)
    x, y = (i + a - camera.cx) / camera.fl_x, -(j + b - camera.cy) / camera.fl_y
    d = (
        np.stack([x, y, -np.ones_like(x)], -1).reshape(camera.h, camera.w, -1, 3)
        @ world_from_camera[:3, :3].T
    )
    origin = np.linalg.inv(posed.world_from_source) @ [*world_from_camera[:3, 3], 1]
    return origin[:3], d / np.linalg.norm(d, axis=-1, keepdims=True)


def closest(o: Floats, d: Floats, centre: Floats) -> Floats:
    """How near rays come to a point: (...,)."""
    to_centre = centre - o
    return np.linalg.norm(to_centre - (d @ to_centre)[..., None] * d, axis=-1)


def in_the_open(o: Floats, d: Floats) -> NDArray[np.bool_]:
    """Whether rays (..., 3) keep away from all shapes but the ball."""
    open_ = np.ones(d.shape[:-1], bool)
    for x, y, z, radius in fluff.PLACES[1:]:
        open_ &= closest(o, d, np.array([x, y, z])) > radius + 0.02
    for height in np.linspace(-0.16, 0.02, 19):  # the base lies between; rays come from above
        at = o + ((height - o[2]) / d[..., 2])[..., None] * d
        open_ &= np.hypot(at[..., 0], at[..., 1]) > 0.98
    return open_


# The formula of the docstring, in numpy -------------------------------------------------------------------


def noise(p: Floats) -> Floats:
    cell = np.floor(p).astype(np.int64)
    u = p - cell
    u = u * u * (3 - 2 * u)
    total = np.zeros(p.shape[:-1])
    for corner in np.ndindex(2, 2, 2):
        i, j, k = np.moveaxis(cell + corner, -1, 0)
        h = (i * 73856093 ^ j * 19349663 ^ k * 83492791) & 0x7FFFFFFF
        h = ((h ^ (h >> 13)) * 1274126177) & 0x7FFFFFFF
        value = ((h ^ (h >> 16)) & 0xFFFF) / 65535
        total += np.where(np.array(corner) == 1, u, 1 - u).prod(-1) * value
    return total


def extinction(p: Floats) -> Floats:
    """sigma(x) at points (..., 3) in the scene's own units."""
    p = p - CENTRE
    r = np.linalg.norm(p, axis=-1)
    wave = 1.5 * noise(9 * p)
    q = fluff.FINENESS * p / r[..., None] + wave[..., None] * [1, -1, 0.5]
    t = np.clip((0.6 * noise(q) + 0.4 * noise(2.3 * q) - 0.5) / 0.55 + 0.5, 0, 1)
    strands = t * t * (3 - 2 * t)
    depth = np.maximum(1 - r / (fluff.RADIUS * (0.66 + 0.34 * strands)), 0)
    return fluff.DENSITY * depth**2 * (0.25 + 0.75 * strands)


def transmittance(o: Floats, d: Floats, steps: int = 2000) -> Floats:
    """exp(-integral of sigma) on rays (..., 3) that meet nothing else, by midpoints over the ball's depth."""
    middle = d @ (CENTRE - o)
    h = 2 * fluff.RADIUS / steps
    t = middle[..., None] - fluff.RADIUS + (np.arange(steps) + 0.5) * h  # (..., steps)
    return np.exp(-extinction(o + t[..., None] * d[..., None, :]).sum(-1) * h)


def test_density_is_the_formula() -> None:
    compile_kernels(vars(fluff))
    points = CENTRE + np.random.default_rng(0).uniform(-0.5, 0.5, (2000, 3))
    expected = extinction(points)
    assert (expected > 0).mean() > 0.1 and (expected == 0).mean() > 0.1
    np.testing.assert_allclose([fluff.density(*p) for p in points.tolist()], expected, rtol=1e-6, atol=1e-9)


def test_transmittance_on_rays() -> None:
    """At the spacing of a camera's rays. Strands are about 0.03 wide: points 0.014 apart leave 2 %."""
    compile_kernels(vars(fluff))
    names = {name: getattr(fluff, name) for name in ("MEDIUM", "MEDIUM_BOUNCE", "density", "medium_albedo")}
    optical_depth = specialised(vars(medium), names)["optical_depth"]
    rng = np.random.default_rng(1)
    d = rng.normal(size=(60, 3))
    d /= np.linalg.norm(d, axis=1, keepdims=True)
    errors = []
    for direction in d:
        aim = CENTRE + rng.uniform(-0.22, 0.22, 3)
        o = aim - 2 * direction
        expected = float(transmittance(o, direction))
        found = np.exp(-optical_depth(*o, *direction, 10.0, ray_tracer.MEDIUM_STEP))
        errors.append(found - expected)
        nearly = np.exp(-optical_depth(*o, *direction, 10.0, 5e-4))
        assert nearly == pytest.approx(expected, abs=1e-3)
    assert np.abs(errors).max() < 0.025 and np.sqrt(np.mean(np.square(errors))) < 0.006


def test_alpha_of_pictures_is_the_transmittance(posed: PosedImages) -> None:
    """Pixels in the open, where the ball is all there is. A pixel is the mean of 4 or 16 rays, this one's of
    16: within the strands' own contrast, some hundredths; on average the same."""
    rng = np.random.default_rng(2)
    errors = []
    for camera, image in zip(posed.test.cameras, posed.test.images, strict=True):
        o, d = source_rays(posed, camera, 4)  # (h, w, 16, 3)
        seen = in_the_open(o, d).all(-1) & (closest(o, d, CENTRE) < 0.42).all(-1)
        rows, columns = np.nonzero(seen)
        for pick in rng.choice(len(rows), 12, replace=False):
            row, column = rows[pick], columns[pick]
            expected = 1 - transmittance(o, d[row, column], 400).mean()
            errors.append(image[row, column, 3] / 255 - expected)
    assert np.abs(errors).max() < 0.05 and abs(np.mean(errors)) < 0.006


# Pictures -------------------------------------------------------------------------------------------------


def views_of(posed: PosedImages) -> Iterator[tuple[Camera, NDArray[np.generic]]]:
    for views in (posed.train, posed.test):
        yield from zip(views.cameras, views.images, strict=True)


def test_the_ball_is_soft(posed: PosedImages) -> None:
    """Alpha goes from nearly 1 to nearly 0 over a ring of several per cent of the scene's size."""
    nears, alphas = [], []
    for camera, image in views_of(posed):
        o, d = source_rays(posed, camera)
        d = d[:, :, 0]
        seen = in_the_open(o, d)
        nears.append(closest(o, d, CENTRE)[seen])
        alphas.append(image[..., 3][seen] / 255)
    near, alpha = np.concatenate(nears), np.concatenate(alphas)
    ring = (near > 0.24) & (near < 0.33)
    assert ring.sum() > 500
    assert ((alpha > 0.02) & (alpha < 0.98))[ring].mean() > 0.97
    edges = np.arange(0.02, fluff.RADIUS, 0.02)
    profile = np.array([alpha[np.abs(near - edge) < 0.02].mean() for edge in edges])
    assert (np.diff(profile) < 0.02).all()
    inner, outer = np.interp([-0.95, -0.05], -profile, edges)
    assert np.linalg.norm(posed.world_from_source[:3, 0]) * (outer - inner) > 0.08  # the scene's size is 2
    assert alpha[near < 0.1].min() > 0.97
    assert not alpha[near > fluff.RADIUS + 0.02].any()


def test_the_rest_is_hard(posed: PosedImages) -> None:
    """Away from the ball a pixel is 0, 1 or on an edge: it has a neighbour of both kinds."""
    for camera, image in zip(posed.test.cameras, posed.test.images, strict=True):
        o, d = source_rays(posed, camera)
        away = closest(o, d[:, :, 0], CENTRE) > fluff.RADIUS + 0.02
        alpha = image[..., 3].astype(int)
        padded = np.pad(alpha, 1)
        window = np.lib.stride_tricks.sliding_window_view(padded, (3, 3))
        partial = away & (alpha > 0) & (alpha < 255)
        assert partial.any()
        assert (window[partial].min((-2, -1)) == 0).all()
        assert (window[partial].max((-2, -1)) == 255).all()
        block = closest(o, d[:, :, 0], fluff.PLACES[1, :3]) < 0.2
        assert block.any() and (alpha[block] == 255).all()


def test_the_ball_is_lit_by_the_sun(posed: PosedImages) -> None:
    """The side towards the sun is the brighter one, wherever it is seen from."""
    for camera, image in views_of(posed):
        o, d = source_rays(posed, camera)
        d = d[:, :, 0]
        core = closest(o, d, CENTRE) < 0.25
        for x, y, z, radius in fluff.PLACES[1:]:
            core &= closest(o, d, np.array([x, y, z])) > radius
        at = o + (d @ (CENTRE - o))[..., None] * d - CENTRE  # where each ray comes nearest
        towards_sun, light = at[core] @ ray_tracer.SUN, image[core][:, :3].mean(-1)
        assert np.corrcoef(towards_sun, light)[0, 1] > 0.3


def test_nothing_is_cut_off(posed: PosedImages) -> None:
    for views in (posed.train, posed.test):
        for edge in (views.images[:, [0, -1]], views.images[:, :, [0, -1]]):
            assert not edge.any()
        assert not views.images[views.images[..., 3] == 0].any()


def test_hull_and_stated_bounds_agree(posed: PosedImages) -> None:
    """Of eight views the hull is larger than the shapes; none of it may lie far out of the stated box."""
    low, high = bounds_from_views(posed.train)
    assert (low < posed.bounds[0] + 0.06).all() and (high > posed.bounds[1] - 0.12).all()


def test_same_pictures_again(posed: PosedImages, own_cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    first = load_dataset(load_scene("fluff", SMALL))
    assert np.array_equal(first.train.images, posed.train.images)
    assert np.array_equal(first.test.images, posed.test.images)
    (file,) = own_cache.iterdir()
    assert file.name.startswith("fluff-")
    monkeypatch.setattr(procedural, "trace", None)
    assert np.array_equal(load_dataset(load_scene("fluff", SMALL)).train.images, first.train.images)


@pytest.mark.parametrize("name", ["fluf", "3", "[fluff]"])
def test_unknown_subject(name: str) -> None:
    with pytest.raises(InshaderError) as caught:
        load_scene("fluff", [f"data.subject={name}"])
    message = str(caught.value)
    assert "\n" not in message and "data.subject" in message
    assert "'still_life' or 'fluff'" in message and "found" in message


# Shapes ---------------------------------------------------------------------------------------------------


def test_regions(posed: PosedImages) -> None:
    """In world units: no medium out of one, the whole block in the other, and no meeting of the two."""
    compile_kernels(vars(fluff))
    regions = fluff.regions(posed.world_from_source)
    assert set(regions) == {"fuzzy", "solid"}
    (fuzzy, fuzzy_radius), (solid, solid_radius) = regions["fuzzy"], regions["solid"]
    assert np.linalg.norm(fuzzy - solid) > fuzzy_radius + solid_radius
    points = np.random.default_rng(3).uniform(*posed.bounds.astype(np.float64), (20_000, 3))
    source = (points - posed.world_from_source[:3, 3]) / np.linalg.norm(posed.world_from_source[:3, 0])
    dense = np.array([fluff.density(*p) > 0 for p in source.tolist()])
    hard = np.array([fluff.shape(1, *p) < 0 for p in source.tolist()])
    assert dense.sum() > 200 and hard.sum() > 200
    assert (np.linalg.norm(points[dense] - fuzzy, axis=1) < fuzzy_radius).all()
    assert (np.linalg.norm(points[hard] - solid, axis=1) < solid_radius).all()


def test_shapes_stay_in_their_spheres_and_in_the_boxes() -> None:
    """The tracer bounds all rays by the sphere about the still life's box."""
    compile_kernels(vars(fluff))
    low, high = np.array(fluff.BOUNDS)
    corners = np.array(np.meshgrid(*zip(low, high, strict=True))).reshape(3, -1).T
    assert np.linalg.norm(corners - [0, 0, 0.165], axis=1).max() ** 2 < 2.7
    assert (CENTRE[:2] - fluff.RADIUS > low[:2]).all() and (CENTRE + fluff.RADIUS < high).all()
    points = np.random.default_rng(1).uniform(low - 0.2, high + 0.2, (20_000, 3))
    for k, (x, y, z, radius) in enumerate(fluff.PLACES):
        inside = points[[fluff.shape(k, *point) < 0 for point in points.tolist()]]
        assert len(inside) > 20
        assert (inside > low).all() and (inside < high).all()
        assert (np.linalg.norm(inside - [x, y, z], axis=1) < radius).all()


def test_no_step_of_a_ray_leads_into_a_shape() -> None:
    """The distance is a bound, so that a ray that advances by it stays outside."""
    compile_kernels(vars(fluff))
    rng = np.random.default_rng(2)
    for x, y, z in rng.uniform(-1.1, 1.1, (300, 3)).tolist():
        d, k = fluff.scene_sdf(x, y, z)
        assert d == min(fluff.shape(i, x, y, z) for i in range(len(fluff.PLACES))) == fluff.shape(k, x, y, z)
        if d > 0.01:
            directions = rng.normal(size=(30, 3))
            directions /= np.linalg.norm(directions, axis=1, keepdims=True)
            points = ([x, y, z] + 0.999 * d * directions).tolist()
            assert min(fluff.scene_sdf(*point)[0] for point in points) > -1e-6
            assert np.linalg.norm(fluff.normal(k, x, y, z)) == pytest.approx(1)
