"""The trace_cells driver: both hosts and its numpy twin draw one picture, and it is the right one.

The networks of ``build_bank`` spoil the picture wherever one is asked outside its cell, so every test of this
file also holds the passes to that.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import moderngl
import numpy as np
import pytest

from render import cell_passes, reference
from render.asset import BakedAsset, BakedNetwork, asset_bytes, asset_from_bytes
from render.camera import Camera, look_at
from render.cell_passes import CellIntersector
from render.drivers import trace, trace_cells
from render.drivers.trace_cells import HOSTS, MODES
from render.errors import InshaderError
from render.export import glsl_text
from render.fields import surface_field
from render.metrics import parity_db
from render.network import Linear, NetworkSpec, Slot
from render.renderer import Renderer

RADIUS = 0.5
Build = Callable[..., BakedAsset]


def waves(times: int = 2) -> BakedAsset:
    """Networks of sines that agree on no more than the values at the middles of their cells: all seams."""
    rng = np.random.default_rng(4)
    low, high = np.float32([-0.5, -0.6, -0.4]), np.float32([0.5, 0.6, 0.4])
    shape = np.array([5, 6, 4])
    middles = (np.stack(np.meshgrid(*[np.arange(n) for n in shape], indexing="ij"), -1) + 0.5) / shape
    f = np.linalg.norm(low + middles * (high - low), axis=-1) - 0.3
    cells = np.abs(f) < 0.17
    count = int(cells.sum())
    distance = NetworkSpec(
        (Slot("position", 3),),
        (Linear(8, activation="sine"), Linear(6, activation="softplus", scale=10.0), Linear(1)),
        count,
    )
    colour = NetworkSpec(
        (Slot("position", 3), Slot("normal", 3), Slot("direction", 3, "spherical_harmonics", 1)),
        (Linear(8, activation="relu"), Linear(3, activation="sigmoid")),
        count,
    )
    x = (low + middles * (high - low))[cells]
    slope = (
        x / np.linalg.norm(x, axis=-1, keepdims=True) * 0.1
    )  # by the position in a cell: half a side is 0.1
    weights = {key: rng.normal(0, 0.1, shape) for key, shape in distance.parameter_shapes().items()}
    weights["0.weight"][:, 0] = 0.5 * slope  # almost linear
    weights["0.bias"][:, 0] = 0
    weights["1.weight"][:, 0, 0] = 1
    weights["1.bias"][:, 0] = 1
    weights["2.weight"] = rng.normal(0, 0.02, (count, 1, 6))
    weights["2.weight"][:, 0, 0] = 2
    weights["2.bias"] = (f[cells] - 2)[:, None]
    colours = {key: rng.normal(0, 0.6, shape) for key, shape in colour.parameter_shapes().items()}
    fine = cells.repeat(times, 0).repeat(times, 1).repeat(times, 2)
    return BakedAsset(
        family="kiloneus",
        driver="trace_cells",
        bounds=np.stack([low, high]),
        networks={
            "distance": BakedNetwork(distance, {k: v.astype(np.float32) for k, v in weights.items()}),
            "colour": BakedNetwork(colour, {k: v.astype(np.float32) for k, v in colours.items()}),
        },
        grids={},
        volumes={"cells": cells, "occupancy": fine, "inside": (f < 0) & ~cells},
        constants={"distance_scale": 1.0},
        background=np.float32([1, 0.9, 0.8]),
        up=np.float32([0, 0, 1]),
        world_from_source=np.eye(4),
        camera=look_at([1.0, -1.3, 0.7], [0, 0, 0], [0, 0, 1], 96, 80, 0.7),
    )


def draw(
    ctx: moderngl.Context, asset: BakedAsset, host: str, mode: str = "colour", camera: Camera | None = None
) -> dict[str, np.ndarray]:
    with Renderer(ctx, asset, host) as renderer:
        return renderer.draw(camera or asset.camera, mode=mode).images


def ball_hits(camera: Camera) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """By pixel: the squared half chord (negative: missed), the distance to the hit, its normal."""
    rays_o, rays_d = (part.astype(np.float64) for part in camera.rays())
    b = (rays_o * rays_d).sum(-1)
    gap = b**2 - (rays_o**2).sum(-1) + RADIUS**2
    t = -b - np.sqrt(np.maximum(gap, 0))
    return gap, t, (rays_o + t[..., None] * rays_d) / RADIUS


def test_shader_is_the_reference(build_bank: Build, ctx: moderngl.Context) -> None:
    """In every mode, on both hosts: from outside, from within the solid, and from a cell with a network."""
    views = (
        None,
        look_at([0.05, -0.1, 0.02], [1, 0.4, 0], [0, 0, 1], 32, 24, 1.2),
        look_at([0.35, -0.3, 0.2], [0, 0, 0], [0, 0, 1], 32, 24, 1.2),
    )
    for asset in (build_bank(times=3), waves()):
        for host in HOSTS:
            with Renderer(ctx, asset, host) as renderer:
                for view in views:
                    camera = view or asset.camera
                    for mode in MODES:
                        wanted = reference.draw(asset, camera, mode=mode)
                        found = renderer.draw(camera, mode=mode).images
                        off = np.abs(found[mode] - wanted[mode]).max(-1) > 2e-4
                        # a ray on the verge of one more step, or a point on a face, may go either way
                        assert off.mean() <= 2e-3, (asset.volumes["cells"].shape, host, mode)
                        assert np.abs(found["coverage"] - wanted["coverage"]).mean() < 1e-4


@pytest.mark.parametrize("host", HOSTS)
@pytest.mark.parametrize("precision", ["float32", "float16"])
def test_parity(precision: str, host: str, build_bank: Build, ctx: moderngl.Context) -> None:
    """Weights reach the shader as what the file holds, of either precision; what is left is rounding."""
    for asset in (waves(), build_bank((6, 6, 6), 2, precision)):
        asset = asset_from_bytes(asset_bytes(asset))
        found, wanted = draw(ctx, asset, host), reference.draw(asset, asset.camera)
        assert 0.05 < wanted["coverage"].mean() < 0.6
        parity = parity_db(found["colour"], wanted["colour"], found["coverage"], wanted["coverage"])
        assert parity is not None and parity > 60  # 90 but for single pixels on the verge of one more step


@pytest.mark.parametrize("times", [1, 4])
@pytest.mark.parametrize("host", HOSTS)
def test_ball_is_where_it_should_be(times: int, host: str, build_bank: Build, ctx: moderngl.Context) -> None:
    """Against the ball itself, across all seams: coverage, depth, normals, and which network it was."""
    asset = build_bank(times=times)
    pictures = {mode: draw(ctx, asset, host, mode) for mode in MODES}
    gap, t, normals = ball_hits(asset.camera)
    inner, outer = gap > 0.02, gap < -0.02
    coverage = pictures["colour"]["coverage"][..., 0]
    assert (coverage[inner] > 0.999).all() and not coverage[outer].any()
    # Newton's step ends at a face of the cell, short of the hit by what the secant was off
    assert np.abs(pictures["depth"]["depth"][..., 0] - t)[inner].max() < 1e-4
    # taken at the secant's place, which is that far from the hit; where a face cuts the bracket, half a pixel
    assert np.abs(pictures["normal"]["normal"] - normals)[inner].max() < 6e-3
    cost = pictures["cost"]["cost"][..., 0]
    assert (cost[inner] >= 2).all() and cost[inner].mean() < 9
    assert times == 1 or not cost[gap < -0.3].any()
    x = normals * RADIUS
    cells = asset.volumes["cells"]
    place = (x - asset.bounds[0]) / (asset.bounds[1] - asset.bounds[0]) * cells.shape
    clear = inner & (np.abs(place - np.rint(place)) > 1e-3).all(-1)
    table = np.cumsum(cells).reshape(cells.shape) - 1
    network = table[tuple(np.moveaxis(place[clear].astype(int), -1, 0))]
    assert (pictures["id"]["id"][clear][:, 0] == network).all()
    assert (pictures["id"]["id"][outer] == -1).all()


def test_seams_do_not_show(build_bank: Build, ctx: moderngl.Context) -> None:
    """A bank is its single field: coverage, depth and evaluations' cost but for the stops at faces."""
    asset = build_bank()
    field, camera = surface_field(asset), asset.camera
    low, size = asset.bounds[0], asset.bounds[1] - asset.bounds[0]

    def distance(u: np.ndarray) -> np.ndarray:
        return (((low + u * size) ** 2).sum(-1) - RADIUS**2).astype(np.float32)

    def gradient(u: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        return distance(u), (2 * (low + u * size) * size).astype(np.float32)

    rays_o, rays_d = (part.reshape(-1, 3) for part in camera.rays())
    cones = trace.pixel_cones(camera, rays_d)
    one = trace.trace_rays(distance, gradient, asset.volumes["occupancy"], low, size, rays_o, rays_d, cones)
    u = np.clip((rays_o - low + one.t[0][:, None] * rays_d) / size, 0, 1)
    met = one.weight[0] > 0.9999
    rgb = field.colour(u[met], one.normal[0, met], rays_d[met])
    found = draw(ctx, asset, "compute")
    assert np.abs(found["coverage"].ravel() - one.weight.sum(0)).max() < 0.02  # probes end at some faces
    assert np.median(np.abs(found["colour"].reshape(-1, 3)[met] - rgb)) < 1e-4


@pytest.mark.parametrize("host", HOSTS)
def test_camera_inside_sees_the_inner_wall(host: str, build_bank: Build, ctx: moderngl.Context) -> None:
    asset = build_bank((12, 12, 12), 2)
    assert asset.volumes["inside"].any()
    camera = look_at([0.05, -0.1, 0.02], [1, 0.4, 0], [0, 0, 1], 48, 40, 1.2)
    rays_o, rays_d = camera.rays()
    b = (rays_o * rays_d).sum(-1)
    t = -b + np.sqrt(b**2 - (rays_o**2).sum(-1) + RADIUS**2)
    picture = draw(ctx, asset, host, "depth", camera)
    assert (picture["coverage"] > 0.999).all()
    assert np.abs(picture["depth"][..., 0] - t).max() < 1e-4
    normals = draw(ctx, asset, host, "normal", camera)["normal"]
    assert ((normals * rays_d).sum(-1) > 0).all()  # outwards all the same


@pytest.mark.parametrize("host", HOSTS)
def test_surface_before_the_first_cell(host: str, build_bank: Build, ctx: moderngl.Context) -> None:
    """A ray that comes from outside and finds itself inside at its first sample has met the surface there."""
    asset = build_bank((10, 10, 10), 1, grown=0.15)  # its surface lies before most cells
    depth = draw(ctx, asset, host, "depth")
    gap, t, _ = ball_hits(asset.camera)
    inner = gap > 0.02
    assert (depth["coverage"][inner] > 0.999).all()
    assert (depth["depth"][..., 0] < t + 0.01)[inner].all()  # and not the wall behind it
    unknown = replace(asset, volumes={**asset.volumes, "occupancy": asset.volumes["cells"]})
    assert np.array_equal(draw(ctx, unknown, host, "depth")["depth"], depth["depth"])


@pytest.mark.parametrize("host", HOSTS)
def test_rays_that_miss(host: str, build_bank: Build, ctx: moderngl.Context) -> None:
    asset = build_bank((6, 6, 6), 2)
    away = look_at([3, 0, 0], [6, 0, 0.1], [0, 0, 1], 20, 10, 0.5)
    empty = replace(asset, volumes={**asset.volumes, "occupancy": np.zeros((12, 12, 12), bool)})
    for one, camera in ((asset, away), (empty, asset.camera)):
        picture = draw(ctx, one, host, camera=camera)
        assert (picture["colour"] == asset.background).all() and not picture["coverage"].any()
        assert not draw(ctx, one, host, "cost", camera)["cost"].any()
        assert (draw(ctx, one, host, "id", camera)["id"] == -1).all()


def test_camera_far_away(build_bank: Build, ctx: moderngl.Context) -> None:
    """Where rounding is coarser than a cell a picture still ends, and shows about as much as it should."""
    asset = build_bank((6, 6, 6), 2)
    for away in (1e3, 1e5, 1e8):
        camera = look_at([away, 0, 0], [0, 0, 0], [0, 0, 1], 16, 16, min(2.0 / away, 0.5))
        found = draw(ctx, asset, "compute", camera=camera)["coverage"]
        assert np.isfinite(found).all()
        if away == 1e3:
            assert abs(found.mean() - np.pi / 16) < 0.02


def test_no_network_is_evaluated_outside_its_cell(build_bank: Build, monkeypatch: pytest.MonkeyPatch) -> None:
    """In the twin, whose steps are the shader's."""
    largest = [0.0]
    for name in ("evaluate", "jacobian"):
        plain = getattr(NetworkSpec, name)

        def checked(spec: NetworkSpec, parameters, x, *others, plain=plain):  # type: ignore[no-untyped-def]
            largest[0] = max(largest[0], float(np.abs(x).max(initial=0)))
            return plain(spec, parameters, x, *others)

        monkeypatch.setattr(NetworkSpec, name, checked)
    for asset in (build_bank(times=3), waves(1)):
        reference.draw(asset, asset.camera)
    assert 0.99 < largest[0] < 1 + 1e-4  # a hair, in units of half a cell


def test_pictures_are_the_same_again_and_in_parts(
    build_bank: Build, ctx: moderngl.Context, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The order in which rays arrive at a bin is left to chance; it must not show. Nor must the parts."""
    asset = build_bank()
    with Renderer(ctx, asset) as renderer:
        first = renderer.draw(asset.camera).images
        small = renderer.draw(asset.camera, (31, 17)).images["colour"]
        again = renderer.draw(asset.camera).images
    assert all(np.array_equal(first[key], again[key]) for key in first)
    monkeypatch.setattr(cell_passes, "RAYS_AT_ONCE", 1000)
    parts = draw(ctx, asset, "compute")
    assert all(np.array_equal(first[key], parts[key]) for key in first)
    assert np.array_equal(draw(ctx, asset, "compute", camera=asset.camera.resized(31, 17))["colour"], small)


def test_evaluations_are_counted(build_bank: Build, ctx: moderngl.Context) -> None:
    asset = build_bank()
    _, wanted = trace_cells.reference(asset, asset.camera, "cost")
    for host in HOSTS:
        with Renderer(ctx, asset, host) as renderer:
            stats = renderer.draw(asset.camera).stats
        assert abs(stats["evaluations_per_pixel"] / wanted.mean() - 1) < 1e-3 and "trace_cells" in stats["ms"]


def rays(count: int = 500) -> np.ndarray:
    """Records (n, 2, 4) of rays from a sphere about the ball to points near it, and from within."""
    rng = np.random.default_rng(2)
    o = rng.normal(size=(count, 3))
    o *= np.where(np.arange(count) % 10 == 0, 0.1, 1.4)[:, None] / np.linalg.norm(o, axis=1, keepdims=True)
    d = rng.uniform(-0.5, 0.5, (count, 3)) - o
    d /= np.linalg.norm(d, axis=1, keepdims=True)
    cone, farthest = np.full((count, 1), 1e-3), np.full((count, 1), 100.0)
    return np.concatenate([o, cone, d, farthest], 1).reshape(count, 2, 4).astype(np.float32)


def met(ctx: moderngl.Context, asset: BakedAsset, records: np.ndarray, occlusion: bool = False) -> np.ndarray:
    buffer, hits = ctx.buffer(records.tobytes()), ctx.buffer(reserve=48 * len(records))
    intersector = CellIntersector(ctx, asset)
    intersector.intersect(buffer, hits, len(records), occlusion)
    found = np.frombuffer(hits.read(), np.float32).reshape(-1, 3, 4)
    for item in (buffer, hits, intersector):
        item.release()
    return found


def test_intersector_finds_first_hits(
    build_bank: Build, ctx: moderngl.Context, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of rays from anywhere: as the twin does where a pixel is covered, and as the ball itself has it."""
    asset, records = build_bank((12, 12, 12), 2), rays()
    found = met(ctx, asset, records)
    o, d = records[:, 0, :3], records[:, 1, :3]
    b = (o * d).sum(1)
    gap = b**2 - (o**2).sum(1) + RADIUS**2
    starts_inside = (o**2).sum(1) < RADIUS**2
    t = -b + np.where(starts_inside, 1, -1) * np.sqrt(np.maximum(gap, 0))
    hit = gap > 0.004
    assert hit.mean() > 0.3 and starts_inside.any() and (gap < -0.004).mean() > 0.05
    assert np.abs(found[hit, 0, 0] - t[hit]).max() < 1e-4 and (found[gap < -0.004, 0, 0] == -1).all()
    assert (found[hit, 0, 2] == np.where(starts_inside, -1, 1)[hit]).all()
    x = o + t[:, None] * d
    assert np.abs(found[hit, 1, :3] - x[hit] / RADIUS).max() < 6e-3
    low, size = asset.bounds[0], asset.bounds[1] - asset.bounds[0]
    u = (o + found[:, 0, :1] * d - low) / size
    rgb = surface_field(asset).colour(u[hit], found[hit, 1, :3], d[hit])
    assert np.median(np.abs(found[hit, 2, :3] - rgb)) < 1e-5
    cells = asset.volumes["cells"]
    layers = trace.trace_rays(
        *(
            surface_field(asset).distance,
            surface_field(asset).gradient,
            asset.volumes["occupancy"],
            low,
            size,
        ),
        *(o, d, records[:, 0, 3], cells, asset.volumes["inside"]),
    )
    covered = hit & (layers.weight[0] > 0.9999)
    assert covered.mean() > 0.3 and np.abs(found[covered, 0, 0] - layers.t[0, covered]).max() < 1e-4
    monkeypatch.setattr(cell_passes, "RAYS_AT_ONCE", 200)
    assert np.array_equal(met(ctx, asset, records), found)


def test_intersector_occlusion_and_ends(build_bank: Build, ctx: moderngl.Context) -> None:
    """Shadow rays need no more than t; a ray ends at its largest t, and one without any is none."""
    asset, records = build_bank((12, 12, 12), 2), rays()
    found = met(ctx, asset, records)
    shadows = met(ctx, asset, records, occlusion=True)
    hit = found[:, 0, 0] > 0
    assert ((shadows[:, 0, 0] > 0) == hit).all() and np.abs(shadows - found)[hit, 0, 0].max() < 2e-3
    records[:, 1, 3] = np.where(np.arange(len(records)) % 2, found[:, 0, 0] - 0.05, found[:, 0, 0] + 0.05)
    nearer = met(ctx, asset, records)
    assert ((nearer[:, 0, 0] > 0) == (hit & (np.arange(len(records)) % 2 == 0))).all()
    records[:, 1, 3] = 0
    assert (met(ctx, asset, records)[:, 0, 0] == -1).all()


def test_a_ray_may_begin_on_the_surface(build_bank: Build, ctx: moderngl.Context) -> None:
    """As those of a path tracer do, within 3e-4 of it: outwards they meet nothing, inwards the other side."""
    rng = np.random.default_rng(5)
    n = rng.normal(size=(300, 3))
    n /= np.linalg.norm(n, axis=1, keepdims=True)
    d = rng.normal(size=(300, 3))
    d /= np.linalg.norm(d, axis=1, keepdims=True)
    d *= np.sign((n * d).sum(1, keepdims=True))
    cosine = (n * d).sum(1)
    o = n * (RADIUS + rng.uniform(-2.5e-4, 2.5e-4, (300, 1)))
    ends = np.ones((300, 1))
    records = np.concatenate([o, 1e-3 * ends, d, 9 * ends], 1).reshape(-1, 2, 4).astype(np.float32)
    found = met(ctx, build_bank((12, 12, 12), 2), records)
    assert (found[cosine > 0.1, 0, 0] == -1).all()


def test_exports_a_shader_that_stands_alone(build_bank: Build, ctx: moderngl.Context) -> None:
    asset = build_bank((6, 6, 6), 2)
    text = glsl_text(asset, asset.camera)
    assert all(
        f"// table {name}_table r32ui" in text for name in ("cells", "occupancy", "distance", "colour")
    )
    program = ctx.program(
        vertex_shader="#version 330 core\nvoid main() { gl_Position = vec4(0.0); }", fragment_shader=text
    )
    program.release()


def volume(name: str, value: object) -> Callable[[BakedAsset], BakedAsset]:
    return lambda asset: replace(asset, volumes={**asset.volumes, name: value})


def network(
    name: str, slots: tuple[int, ...], width: int, count: int | None = None
) -> Callable[..., BakedAsset]:
    def change(asset: BakedAsset) -> BakedAsset:
        spec = NetworkSpec(
            tuple(Slot(f"s{k}", n) for k, n in enumerate(slots)),
            (Linear(width),),
            count or asset.networks["distance"].spec.count,
        )
        zeros = {key: np.zeros(shape, np.float32) for key, shape in spec.parameter_shapes().items()}
        return replace(asset, networks={**asset.networks, name: BakedNetwork(spec, zeros)})

    return change


def without(part: str, name: str) -> Callable[[BakedAsset], BakedAsset]:
    return lambda asset: replace(
        asset, **{part: {k: v for k, v in getattr(asset, part).items() if k != name}}
    )


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (without("volumes", "cells"), "no volume 'cells'"),
        (without("volumes", "inside"), "no volume 'inside'"),
        (without("volumes", "occupancy"), "no volume 'occupancy'"),
        (without("networks", "colour"), "no network 'colour'"),
        (without("constants", "distance_scale"), "no constant 'distance_scale'"),
        (volume("occupancy", np.zeros((12, 12, 18), bool)), "12x12x18, expected a whole multiple of 6x6x6"),
        (volume("occupancy", np.zeros((5, 5, 5), bool)), "5x5x5, expected a whole multiple of 6x6x6"),
        (volume("occupancy", np.ones((12, 12, 12), bool)), "occupancy is set in a cell that has no network"),
        (volume("inside", np.zeros((6, 6, 5), bool)), "inside is 6x6x5, cells is 6x6x6"),
        (volume("inside", np.ones((6, 6, 6), bool)), "inside is set in a cell that has a network"),
        (
            network("distance", (3,), 2),
            "network distance must go from inputs of width 3 to 1, it goes from 3 to 2",
        ),
        (network("distance", (2,), 1), "network distance must go from"),
        (network("distance", (3,), 1, 7), "the bank distance has 7 networks, the volume cells has"),
        (network("colour", (3, 3), 3), "width 3 and 3 and 3 to 3, it goes from 3 and 3 to 3"),
        (lambda asset: replace(asset, constants={"distance_scale": 0.0}), "distance_scale is 0.0"),
    ],
)
def test_unfit_assets_are_refused(
    change: Callable[[BakedAsset], BakedAsset], message: str, build_bank: Build, ctx: moderngl.Context
) -> None:
    asset = change(build_bank((6, 6, 6), 2))
    with pytest.raises(InshaderError, match=message) as caught:
        Renderer(ctx, asset)
    assert "\n" not in str(caught.value)
    with pytest.raises(InshaderError, match=message):
        reference.draw(asset, asset.camera)


@pytest.mark.parametrize("host", HOSTS)
def test_limits_of_the_graphics_system(
    host: str, build_bank: Build, ctx: moderngl.Context, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A grid of cells too large for a texture: the limit, and the largest that fits."""
    asset = build_bank((6, 6, 6), 2)
    monkeypatch.setattr(cell_passes, "MAX_TEXTURE_HEIGHT", 4)
    with pytest.raises(
        InshaderError, match=r"cell grid is too large: .* a texture here holds \d+ of them"
    ) as caught:
        Renderer(ctx, asset, host)
    assert "\n" not in str(caught.value)


def test_networks_too_wide_to_share(build_bank: Build, ctx: moderngl.Context) -> None:
    asset = network("colour", (3, 3, 3), 3)(build_bank((6, 6, 6), 2))
    spec = NetworkSpec(asset.networks["colour"].spec.inputs, (Linear(256), Linear(32), Linear(3)), 1)
    spec = replace(spec, count=asset.networks["distance"].spec.count)
    zeros = {key: np.zeros(shape, np.float32) for key, shape in spec.parameter_shapes().items()}
    asset = replace(asset, networks={**asset.networks, "colour": BakedNetwork(spec, zeros)})
    with pytest.raises(InshaderError, match="has room for 32768: use the host fragment"):
        Renderer(ctx, asset, "compute")
    assert draw(ctx, asset, "fragment", camera=asset.camera.resized(12, 10))["coverage"].any()


@pytest.mark.parametrize("mode", ["colour", "normal", "id"])
def test_golden(mode: str, build_bank: Build, check_golden: Callable[[str, BakedAsset, str], None]) -> None:
    check_golden("bank", build_bank(), mode)
