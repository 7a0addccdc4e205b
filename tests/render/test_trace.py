"""The trace driver: both hosts and its numpy twin draw one picture, and it is the right one."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import imageio.v3 as iio
import moderngl
import numpy as np
import pytest

from render import reference
from render.asset import BakedAsset, BakedGrid, BakedNetwork, asset_bytes, asset_from_bytes, write_asset
from render.camera import Camera, look_at
from render.drivers import trace
from render.drivers.trace import HOSTS, MODES
from render.errors import InshaderError
from render.export import glsl_text
from render.grid import GridSpec
from render.metrics import parity_db, psnr
from render.network import Concat, Linear, NetworkSpec, Normalise, Slot, SquareConcat
from render.renderer import Renderer

LOW, HIGH = np.float32([-0.8, -0.7, -0.9]), np.float32([0.8, 0.9, 0.7])
RADIUS = 0.5
ALBEDO, AMBIENT = (0.8, 0.6, 0.5), 0.2
Field = Callable[[np.ndarray], np.ndarray]


def asset_of(
    grid: BakedGrid, decoder: BakedNetwork, distance: Field, cells: int, scale: float = 1.0
) -> BakedAsset:
    """An asset whose field is about ``distance``, with a band of cells around its surface."""
    cell = (HIGH - LOW) / cells
    corners = np.stack(np.meshgrid(*[np.arange(cells)] * 3, indexing="ij"), -1)
    far = np.abs(distance(LOW + (corners + 0.5) * cell))
    return BakedAsset(
        family="gaussian_rbf",
        driver="trace",
        bounds=np.stack([LOW, HIGH]),
        networks={"decoder": decoder},
        grids={"features": grid},
        volumes={"occupancy": far < np.linalg.norm(cell)},
        constants={"distance_scale": scale, "albedo": ALBEDO, "ambient": AMBIENT},
        background=np.float32([1, 0.9, 0.8]),
        up=np.float32([0, 0, 1]),
        world_from_source=np.eye(4),
        camera=look_at([1.2, -1.6, 0.9], [0, 0, 0], [0, 0, 1], 96, 80, 0.7),
    )


def vertices(spec: GridSpec, level: int) -> np.ndarray:
    """World points (n, 3) of a dense level's entries, in their order."""
    axes = np.meshgrid(*[np.arange(spec.level_list[level].resolution)] * 3, indexing="ij")
    corners = np.stack([axis.ravel() for axis in reversed(axes)], -1)  # x fastest, as the table has it
    return LOW + (corners - 0.5) / spec.level_list[level].scale * (HIGH - LOW)


def ball_distance(x: np.ndarray) -> np.ndarray:
    return np.linalg.norm(x, axis=-1) - RADIUS


def ball() -> BakedAsset:
    """f = (|x|^2 - R^2) / 2R, exactly: the grid holds x, the decoder squares. Its slope there is 1."""
    spec = GridSpec(3, 1, 4, 16, 2.0, 12)
    x = vertices(spec, 0)
    table = np.zeros((spec.entries, 4), np.float32)
    table[: len(x), :3] = x
    decoder = NetworkSpec((Slot("features", 4),), (SquareConcat(), Linear(1)))
    weight = np.zeros((1, 1, 8), np.float32)
    weight[..., 4:7] = 2
    parameters = {"1.weight": weight, "1.bias": np.full((1, 1), -2 * RADIUS**2, np.float32)}
    network = BakedNetwork(decoder, parameters)
    return asset_of(BakedGrid(spec, table), network, ball_distance, 40, scale=1 / (4 * RADIUS))


def shapes_distance(x: np.ndarray) -> np.ndarray:
    """A ring in front of a ball and a box."""
    ring = np.hypot(np.hypot(x[..., 0] - 0.2, x[..., 2] - 0.1) - 0.3, x[..., 1] + 0.2) - 0.09
    small = np.linalg.norm(x - [-0.25, 0.1, -0.1], axis=-1) - 0.3
    q = np.abs(x - [0.1, 0.35, -0.35]) - [0.35, 0.15, 0.2]
    box = np.linalg.norm(np.maximum(q, 0), axis=-1) + np.minimum(q.max(-1), 0)
    return np.minimum(np.minimum(ring, small), box)


def shapes(precision: str = "float32") -> BakedAsset:
    """Random features through a normalised RBF decoder, small beside the distance that one level holds."""
    rng = np.random.default_rng(3)
    spec = GridSpec(3, 3, 2, 16, 1.6, 15, precision)
    table = rng.normal(0, 0.02, (spec.entries, 2))
    x = vertices(spec, 1)
    first = spec.level_list[1].offset
    table[first : first + len(x), 0] = shapes_distance(x)
    decoder = NetworkSpec(
        (Slot("features", 6),),
        (SquareConcat(), Linear(8, activation="gaussian"), Normalise(), Concat(0), Linear(1)),
        precision=precision,
    )
    weights = {key: rng.normal(0, 0.3, shape) for key, shape in decoder.parameter_shapes().items()}
    weights["4.weight"] = rng.normal(0, 0.01, (1, 1, 14))
    weights["4.weight"][0, 0, 8 + 2] = 1  # after the kernels, level 1's first feature
    weights["4.bias"] = np.zeros((1, 1))
    network = BakedNetwork(decoder, {key: value.astype(precision) for key, value in weights.items()})
    return asset_of(BakedGrid(spec, table.astype(precision)), network, shapes_distance, 32)


@pytest.fixture
def teacher(build_teacher: Callable[..., BakedAsset]) -> BakedAsset:
    return build_teacher()


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


@pytest.fixture(scope="module")
def inside() -> Camera:
    """A camera within the ball."""
    return look_at([0.2, -0.1, 0.1], [1, 0.4, 0], [0, 0, 1], 48, 40, 1.2)


@pytest.mark.parametrize("host", HOSTS)
@pytest.mark.parametrize("precision", ["float32", "float16"])
def test_shader_is_the_reference(precision: str, host: str, ctx: moderngl.Context) -> None:
    asset = asset_from_bytes(asset_bytes(shapes(precision)))
    found, wanted = draw(ctx, asset, host), reference.draw(asset, asset.camera)
    assert 0.1 < wanted["coverage"].mean() < 0.6
    parity = parity_db(found["colour"], wanted["colour"], found["coverage"], wanted["coverage"])
    # the shader's fixed-point tables differ from float16 by the rounding of the coarser of the two
    assert parity is not None and parity > (70 if precision == "float32" else 50)


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("name", ["ball", "shapes"])
def test_modes_on_both_hosts(name: str, mode: str, inside: Camera, ctx: moderngl.Context) -> None:
    asset = ball() if name == "ball" else shapes()
    for camera in (asset.camera, inside):
        wanted = reference.draw(asset, camera, mode=mode)
        for host in HOSTS:
            found = draw(ctx, asset, host, mode, camera)
            assert found[mode].shape == wanted[mode].shape
            off = np.abs(found[mode] - wanted[mode]).max(-1) > (2e-3 if mode == "normal" else 5e-4)
            # a ray on the verge of one more step or layer, or on a face of the grid, may go either way
            assert off.mean() <= 5e-3


def test_hosts_agree(ctx: moderngl.Context) -> None:
    asset = shapes()
    pictures = [draw(ctx, asset, host) for host in HOSTS]
    assert np.abs(pictures[0]["colour"] - pictures[1]["colour"]).max() < 1e-4


@pytest.mark.parametrize("host", HOSTS)
def test_ball_is_where_it_should_be(host: str, ctx: moderngl.Context) -> None:
    """Against the ball itself: coverage, depth, normals and colours in closed form."""
    asset = ball()
    pictures = {mode: draw(ctx, asset, host, mode) for mode in MODES}
    gap, t, normals = ball_hits(asset.camera)
    inner, outer = gap > 0.02, gap < -0.02
    coverage = pictures["colour"]["coverage"][..., 0]
    assert (coverage[inner] > 0.999).all() and not coverage[outer].any()
    assert np.abs(pictures["depth"]["depth"][..., 0] - t)[inner].max() < 1e-5
    assert not pictures["depth"]["depth"][coverage == 0].any()
    # taken at the secant's place, which is that far from the hit
    assert np.abs(pictures["normal"]["normal"] - normals)[inner].max() < 2e-3
    facing = np.abs((normals * asset.camera.rays()[1]).sum(-1, keepdims=True))
    colour = np.array(ALBEDO) * (AMBIENT + (1 - AMBIENT) * facing)
    assert np.abs(pictures["colour"]["colour"] - colour)[inner].max() < 3e-3
    assert np.allclose(pictures["colour"]["colour"][coverage == 0], asset.background)
    cost = pictures["cost"]["cost"][..., 0]
    assert (cost[inner] >= 3).all() and cost[inner].mean() < 9 and not cost[gap < -0.3].any()


def test_edges_are_those_of_area_filtered_pictures(ctx: moderngl.Context) -> None:
    """A ball's disc has its area within 0.5 %, and its picture is far nearer the truth than a hard edge."""
    asset, k = ball(), 8
    camera = asset.camera.resized(120, 100)
    found = draw(ctx, asset, "compute", camera=camera)
    fine = camera.resized(120 * k, 100 * k)
    gap, _, normals = ball_hits(fine)
    facing = np.abs((normals * fine.rays()[1]).sum(-1, keepdims=True))
    colour = np.where(
        gap[..., None] > 0, np.array(ALBEDO) * (AMBIENT + (1 - AMBIENT) * facing), (1, 0.9, 0.8)
    )
    truth = colour.reshape(100, k, 120, k, 3).mean((1, 3))
    covered = (gap > 0).reshape(100, k, 120, k).mean((1, 3))
    assert abs(found["coverage"].sum() / covered.sum() - 1) < 0.001
    assert np.abs(found["coverage"][..., 0] - covered).max() < 0.09  # an edge at 45 degrees has a wider ramp
    hard = colour[k // 2 :: k, k // 2 :: k]
    smooth, edged = psnr(found["colour"], truth), psnr(hard, truth)
    assert smooth is not None and edged is not None and smooth > edged + 15


def test_silhouette_before_a_surface(ctx: moderngl.Context) -> None:
    """Behind a covered part the ray goes on: no background shows through at the edge of the ring."""
    asset = shapes()
    with Renderer(ctx, asset) as renderer:
        truth = renderer.draw(asset.camera, (96 * 6, 80 * 6)).images["coverage"]
        truth = truth.reshape(80, 6, 96, 6).mean((1, 3))
        found = renderer.draw(asset.camera).images["coverage"][..., 0]
    within = truth > 0.999
    assert within.mean() > 0.1 and (found[within] < 0.95).mean() < 2e-3


@pytest.mark.parametrize("host", HOSTS)
def test_camera_inside_sees_the_inner_wall(host: str, inside: Camera, ctx: moderngl.Context) -> None:
    asset = ball()
    rays_o, rays_d = inside.rays()
    b = (rays_o * rays_d).sum(-1)
    t = -b + np.sqrt(b**2 - (rays_o**2).sum(-1) + RADIUS**2)
    picture = draw(ctx, asset, host, "depth", inside)
    assert (picture["coverage"] > 0.999).all()
    assert np.abs(picture["depth"][..., 0] - t).max() < 1e-4
    normals = draw(ctx, asset, host, "normal", inside)["normal"]
    assert ((normals * rays_d).sum(-1) > 0).all()  # outwards all the same


@pytest.mark.parametrize("host", HOSTS)
def test_rays_that_miss(host: str, ctx: moderngl.Context) -> None:
    asset = ball()
    away = look_at([3, 0, 0], [6, 0, 0.1], [0, 0, 1], 20, 10, 0.5)
    empty = replace(asset, volumes={"occupancy": np.zeros((3, 4, 5), bool)})
    for one, camera in ((asset, away), (empty, asset.camera)):
        picture = draw(ctx, one, host, camera=camera)
        assert (picture["colour"] == asset.background).all() and not picture["coverage"].any()
        assert not draw(ctx, one, host, "cost", camera)["cost"].any()


def test_camera_far_away(ctx: moderngl.Context) -> None:
    """Where rounding is coarser than a cell a picture still ends, and shows about as much as it should."""
    asset = ball()
    for away in (1e3, 1e5, 1e8):
        camera = look_at([away, 0, 0], [0, 0, 0], [0, 0, 1], 16, 16, min(2.0 / away, 0.5))
        found = draw(ctx, asset, "compute", camera=camera)["coverage"]
        assert np.isfinite(found).all()
        if away == 1e3:
            assert abs(found.mean() - np.pi / 16) < 0.01


def test_the_band_of_cells_does_not_matter(ctx: moderngl.Context) -> None:
    """Cells that hold no surface cost evaluations and change nothing."""
    asset = ball()
    cell = (HIGH - LOW) / 30
    corners = np.stack(np.meshgrid(*[np.arange(30)] * 3, indexing="ij"), -1)
    wide = replace(asset, volumes={"occupancy": ball_distance(LOW + (corners + 0.5) * cell) < 0.15})
    with Renderer(ctx, asset) as one, Renderer(ctx, wide) as other:
        a, b = one.draw(asset.camera), other.draw(asset.camera)
        assert a.stats["evaluations_per_pixel"] < b.stats["evaluations_per_pixel"]
        # how near the closest sample of a grazing ray is depends on where the ray's samples fall
        assert np.abs(a.images["colour"] - b.images["colour"]).max() < 0.02


def test_any_field_can_be_traced() -> None:
    """``trace_rays`` with a field of one's own: what the asset's grid and network give, without them."""
    asset = ball()
    camera = asset.camera
    rays_o, rays_d = (part.reshape(-1, 3) for part in camera.rays())
    low, size = LOW, HIGH - LOW

    def distance(u: np.ndarray) -> np.ndarray:
        return ball_distance(low + u * size).astype(np.float32)

    def gradient(u: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        x = low + u * size
        return distance(u), (x / np.linalg.norm(x, axis=-1, keepdims=True) * size).astype(np.float32)

    cones = trace.pixel_cones(camera, rays_d)
    occupancy = asset.volumes["occupancy"]
    layers = trace.trace_rays(distance, gradient, occupancy, low, size, rays_o, rays_d, cones)
    colours = [trace.shade(normal, rays_d, np.float32(ALBEDO), AMBIENT) for normal in layers.normal]
    picture = trace.composite(layers, colours, "colour", asset.background)
    wanted = reference.draw(asset, camera)["colour"]
    error = psnr(picture[:, :3].reshape(wanted.shape), wanted)
    assert error is not None and error > 45  # two fields of one surface


def test_exports(tmp_path: Path, ctx: moderngl.Context) -> None:
    """The picture, and one shader file that stands alone."""
    asset = shapes()
    path, png = tmp_path / "asset.safetensors", tmp_path / "picture.png"
    write_asset(path, asset)
    subprocess.run([sys.executable, "-m", "render.export", path, "--to", png], check=True)
    wanted = draw(ctx, asset, "compute")["colour"]
    assert np.abs(iio.imread(png) / 255 - wanted).max() < 1 / 255
    text = glsl_text(asset, asset.camera)
    assert "// table features_table r32ui" in text and "// table occupancy_table r32ui" in text
    vertex = "#version 330 core\nvoid main() { gl_Position = vec4(0.0); }"
    program = ctx.program(vertex_shader=vertex, fragment_shader=text)
    named = [line.split()[3] for line in text.splitlines() if line.startswith("// uniform ")]
    assert set(named) == {name for name in program if name.startswith("u_")}
    program.release()


def without(part: str, name: str) -> Callable[[BakedAsset], BakedAsset]:
    return lambda asset: replace(
        asset, **{part: {k: v for k, v in getattr(asset, part).items() if k != name}}
    )


def constant(name: str, value: object) -> Callable[[BakedAsset], BakedAsset]:
    return lambda asset: replace(asset, constants={**asset.constants, name: value})  # type: ignore[arg-type]


def decoder(spec: NetworkSpec) -> Callable[[BakedAsset], BakedAsset]:
    parameters = {key: np.zeros(shape, np.float32) for key, shape in spec.parameter_shapes().items()}
    return lambda asset: replace(asset, networks={"decoder": BakedNetwork(spec, parameters)})


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (without("grids", "features"), "no grid 'features', it has none"),
        (without("networks", "decoder"), "no network 'decoder', it has none"),
        (without("volumes", "occupancy"), "no volume 'occupancy'"),
        (without("constants", "albedo"), "no constant 'albedo'"),
        (constant("distance_scale", 0.0), "distance_scale is 0.0"),
        (constant("distance_scale", (0.1, 0.2)), "distance_scale is a list of 2"),
        (constant("ambient", 1.5), "ambient is 1.5"),
        (constant("albedo", 0.5), "albedo is 0.5, expected three numbers"),
        (constant("albedo", (0.5, 2.0, 0.5)), "albedo is"),
        (decoder(NetworkSpec((Slot("x", 4),), (Linear(2),))), "gives 2 values, trace wants 1"),
        (decoder(NetworkSpec((Slot("x", 5),), (Linear(1),))), "one input of width 4"),
        (decoder(NetworkSpec((Slot("x", 4),), (Linear(1),), count=2)), "single"),
        (
            lambda asset: replace(
                asset, grids={"features": BakedGrid(GridSpec(2, 1, 4, 4, 2.0, 8), np.zeros((16, 4)))}
            ),
            "2 dimensions",
        ),
    ],
)
def test_unfit_assets_are_refused(
    change: Callable[[BakedAsset], BakedAsset], message: str, ctx: moderngl.Context
) -> None:
    asset = change(ball())
    with pytest.raises(InshaderError, match=message) as caught:
        Renderer(ctx, asset)
    assert "\n" not in str(caught.value)
    with pytest.raises(InshaderError, match=message):
        reference.draw(asset, asset.camera)


@pytest.mark.parametrize("mode", MODES)
def test_golden(mode: str, check_golden: Callable[[str, BakedAsset, str], None]) -> None:
    check_golden("shapes", shapes(), mode)


def test_teacher_golden(teacher: BakedAsset, check_golden: Callable[[str, BakedAsset, str], None]) -> None:
    check_golden("teacher", teacher, "colour")


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("precision", ["float32", "float16"])
def test_teacher_has_colours_of_its_own(
    precision: str, mode: str, build_teacher: Callable[..., BakedAsset], ctx: moderngl.Context
) -> None:
    """A network of colours in place of clay, and a decoder that knows where it is."""
    asset = asset_from_bytes(asset_bytes(build_teacher(precision)))
    wanted = reference.draw(asset, asset.camera, mode=mode)
    for host in HOSTS:
        found = draw(ctx, asset, host, mode)
        off = np.abs(found[mode] - wanted[mode]).max(-1) > 2e-3
        assert off.mean() <= 5e-3  # rays on the verge of one more step
        if mode == "colour":
            parity = parity_db(found[mode], wanted[mode], found["coverage"], wanted["coverage"])
            # rounding of float32; fixed-point tables differ from float16 by the rounding of the coarser
            assert parity is not None and parity > (60 if precision == "float32" else 50)
            shown = wanted[mode][wanted["coverage"][..., 0] > 0.99]
            assert shown.std(0).min() > 0.03


@pytest.mark.parametrize(
    ("slots", "outputs"), [((9, 3, 3), 3), ((8, 3), 3), ((8, 3, 3), 4), ((8, 3, 3, 1), 3), ((8, 2, 4), 3)]
)
def test_unfit_networks_of_colours(slots: tuple[int, ...], outputs: int, teacher: BakedAsset) -> None:
    spec = NetworkSpec(tuple(Slot(f"s{k}", n) for k, n in enumerate(slots)), (Linear(outputs),))
    network = BakedNetwork(spec, {key: np.zeros(shape) for key, shape in spec.parameter_shapes().items()})
    asset = replace(teacher, networks={**teacher.networks, "colour": network})
    with pytest.raises(
        InshaderError, match="network colour must be a single one from inputs of width 8, 3 and 3"
    ):
        trace.check(asset)
