"""The shell driver: both hosts, casting rays and the numpy twin draw one picture, and it is the right one."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import moderngl
import numpy as np
import pytest

from render import probe, reference, shell_passes
from render.asset import BakedAsset, BakedMesh, BakedNetwork, asset_bytes, asset_from_bytes
from render.camera import Camera, look_at
from render.drivers.shell import HOSTS, MODES, shell_samples
from render.errors import InshaderError
from render.intervals import NEAR
from render.mesh_hits import camera_hits
from render.metrics import parity_db
from render.network import Linear, NetworkSpec, Slot
from render.parts import Parts
from render.renderer import MODES as MODE_NUMBERS
from render.renderer import Renderer
from render.shell_field import ShellField, march_asset

Build = Callable[..., BakedAsset]
BuildMesh = Callable[..., BakedMesh]
CheckGolden = Callable[[str, BakedAsset, str], None]
Image = dict[str, np.ndarray]
NO_MESH = BakedMesh(np.zeros((0, 3), np.float32), np.zeros((0, 3), np.uint32))
BETWEEN = look_at([0.4, -0.28, 0.02], [0.3, -0.6, 0.35], [0, 0, 1], 64, 48, 1.5)  # the meshes


def with_meshes(asset: BakedAsset, **meshes: BakedMesh) -> BakedAsset:
    return replace(asset, meshes={**asset.meshes, **meshes})


def joined(parts: list[BakedMesh]) -> BakedMesh:
    """One mesh of several."""
    starts = np.cumsum([0, *(len(mesh.vertices) for mesh in parts)])
    return BakedMesh(
        np.concatenate([mesh.vertices for mesh in parts]),
        np.concatenate([m.faces + np.uint32(start) for m, start in zip(parts, starts, strict=False)]),
    )


def draw(
    ctx: moderngl.Context, asset: BakedAsset, host: str, mode: str = "colour", camera: Camera | None = None
) -> Image:
    with Renderer(ctx, asset, host) as renderer:
        return renderer.draw(camera or asset.camera, mode=mode).images


def apart(found: Image, wanted: Image, mode: str, limit: float) -> float:
    """Share of pixels, of those that either covers, which differ by more than ``limit``."""
    covered = np.maximum(found["coverage"], wanted["coverage"])[..., 0] > 1e-3
    off = np.abs(found[mode] - wanted[mode]).max(-1) > limit
    return float((off & covered).sum() / max(covered.sum(), 1))


@pytest.mark.parametrize("host", HOSTS)
@pytest.mark.parametrize("precision", ["float32", "float16"])
def test_shader_is_the_reference(
    precision: str, host: str, build_shell: Build, ctx: moderngl.Context
) -> None:
    asset = asset_from_bytes(asset_bytes(build_shell(precision)))
    found, wanted = draw(ctx, asset, host), reference.draw(asset, asset.camera)
    assert wanted["coverage"].max() > 0.99
    parity = parity_db(found["colour"], wanted["colour"], found["coverage"], wanted["coverage"])
    # 130 dB is seen in float32, where no pixel's centre is within rounding of a silhouette; grids of 16 bits
    # are read with another rounding
    assert parity is not None and parity > (80 if precision == "float32" else 60)


@pytest.mark.parametrize("host", HOSTS)
def test_modes(host: str, build_shell: Build, ctx: moderngl.Context) -> None:
    """Outside the shell, and between its meshes."""
    asset = build_shell()
    with Renderer(ctx, asset, host) as renderer:
        for camera in (asset.camera, BETWEEN):
            for mode in MODES:
                found = renderer.draw(camera, mode=mode).images
                wanted = reference.draw(asset, camera, mode=mode)
                assert wanted["coverage"].max() > 0.99
                assert found[mode].shape == wanted[mode].shape
                # rasterisers snap corners to a 256th of a pixel: a face more or less, where edges pass
                assert apart(found, wanted, mode, 5e-4) <= (0.01 if mode == "wire" else 0.002)


@pytest.mark.parametrize("mode", ["colour", "thickness", "wire"])
def test_golden(mode: str, build_shell: Build, check_golden: CheckGolden) -> None:
    check_golden("shell", build_shell(), mode)


def test_cast_rays_are_the_drawn_meshes(build_shell: Build, ctx: moderngl.Context) -> None:
    """With a list of one hit all pixels with another before the inner ball overflow, and are cast."""
    drawn, cast = build_shell(), build_shell(max_hits=1)
    with Renderer(ctx, drawn, "compute") as one, Renderer(ctx, cast, "compute") as other:
        for camera, share in ((drawn.camera, 0.6), (BETWEEN, 0.02)):
            for mode in ("colour", "depth", "cost", "thickness"):
                wanted, frame = one.draw(camera, mode=mode), other.draw(camera, mode=mode)
                assert wanted.stats["overflow"] == 0
                assert frame.stats["overflow"] > share * (wanted.images["coverage"] > 0).sum()
                assert apart(frame.images, wanted.images, mode, 5e-4) <= 0.003  # silhouettes


def test_overflow_is_counted_and_drawn(
    build_shell: Build, build_sphere: BuildMesh, ctx: moderngl.Context
) -> None:
    """A row of balls: pixels through several have more hits than the list holds, and lose none."""
    outer = joined([build_sphere(0.08, 2, centre=(0.0, y, 0.0)) for y in np.linspace(-0.6, 0.6, 7)])
    asset = with_meshes(build_shell(max_hits=4, stop=0.0), outer=outer, inner=NO_MESH)
    camera = look_at([0.02, -2.0, 0.03], [0, 0, 0], [0, 0, 1], 64, 48, 0.4)
    hits = np.bincount(camera_hits(outer, camera, NEAR).ray, minlength=64 * 48)
    wanted = reference.draw(asset, camera)
    with Renderer(ctx, asset, "compute") as renderer:
        frame = renderer.draw(camera)
        assert frame.stats["overflow"] == pytest.approx((hits > 4).sum(), abs=3)
        assert (hits > 4).sum() > 50 and ((hits > 0) & (hits <= 4)).sum() > 50
        assert apart(frame.images, wanted, "colour", 5e-4) <= 0.01  # seven silhouettes
        again = renderer.draw(camera, (16, 12)), renderer.draw(camera)  # buffers of another size, and back
        assert np.array_equal(again[1].images["colour"], renderer.draw(camera).images["colour"])


@pytest.mark.parametrize(("host", "max_hits"), [("compute", 16), ("compute", 1), ("fragment", 16)])
def test_overlapping_pieces(
    host: str, max_hits: int, build_shell: Build, build_sphere: BuildMesh, ctx: moderngl.Context
) -> None:
    """Three balls that run into each other: a ray has left when it has left them all, in one interval."""
    middles = np.float32([-0.15, 0.0, 0.2])
    outer = joined([build_sphere(0.2, 3, centre=(0.0, float(y), 0.0)) for y in middles])
    asset = with_meshes(build_shell(max_hits=max_hits, stop=0.0), outer=outer, inner=NO_MESH)
    camera = look_at([0.02, -2.0, 0.03], [0, 0, 0], [0, 0, 1], 64, 48, 0.4)
    intervals, _ = shell_samples(asset, camera)
    alone = np.diff(intervals.offsets) == 1
    assert not intervals.broken.any() and alone.sum() > 300
    rays_o, rays_d = (x.reshape(-1, 3) for x in camera.rays())
    along = rays_d[:, 1:2] * (middles - rays_o[0, 1]) - (rays_o * rays_d)[:, [0, 2]].sum(-1, keepdims=True)
    near = (rays_o**2).sum(-1, keepdims=True) - 2 * rays_o[:, 1:2] * middles + middles**2 - along**2
    half = np.sqrt(np.maximum(0.2**2 - near, 0))
    met = near < 0.17**2  # of each ball: far from its silhouette
    through = alone & met.all(-1)
    assert through.sum() > 200
    wanted = (along + half).max(-1) - (along - half).min(-1)
    with Renderer(ctx, asset, host) as renderer:
        frame = renderer.draw(camera, mode="thickness")
        length = frame.images["thickness"].reshape(-1)
        assert np.abs(length - wanted)[through].max() < 0.01  # as far as 1280 faces are from a ball, twice
        assert apart(frame.images, reference.draw(asset, camera, mode="thickness"), "thickness", 5e-4) <= 0.01
        assert frame.stats["broken"] == 0


def test_short_lists_of_large_pictures(
    build_shell: Build, ctx: moderngl.Context, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Lists of samples grow as far as a buffer may; where they may not, rays are cast instead."""
    asset = build_shell(spacing=0.004, max_samples=64)
    wanted = reference.draw(asset, asset.camera)
    pixels = asset.camera.w * asset.camera.h
    with Renderer(ctx, asset, "compute") as renderer:
        frame = renderer.draw(asset.camera)
        assert frame.stats["evaluations_per_pixel"] > shell_passes.SAMPLES
        assert frame.stats["overflow"] == 0
        assert apart(frame.images, wanted, "colour", 5e-4) <= 0.003
    monkeypatch.setattr(shell_passes, "LIST_BYTES", shell_passes.HEADER + shell_passes.RAY_BYTES * pixels)
    with Renderer(ctx, asset, "compute") as renderer:
        frame = renderer.draw(asset.camera)
        assert frame.stats["overflow"] > 100
        frame_colour = frame.images["colour"]
        assert apart(frame.images, wanted, "colour", 5e-4) <= 0.003
        with pytest.raises(InshaderError, match="192000 pixels is too large here"):
            renderer.draw(asset.camera, (480, 400))
        assert np.abs(renderer.draw(asset.camera).images["colour"] - frame_colour).max() < 1e-5


def test_rays_from_anywhere(build_shell: Build, ctx: moderngl.Context) -> None:
    """Those of two pictures, in one list, as secondary rays would come."""
    asset = build_shell()
    cameras = [asset.camera.resized(24, 20), BETWEEN.resized(24, 20)]
    pairs = [[x.reshape(-1, 3) for x in camera.rays()] for camera in cameras]
    rays = np.pad(np.concatenate([np.stack(pair, 1) for pair in pairs]), ((0, 0), (0, 0), (0, 1)))
    with Renderer(ctx, asset, "compute") as renderer:
        passes = shell_passes.ComputePasses(ctx, asset, MODE_NUMBERS)
        given, taken = ctx.buffer(rays.astype("f4").tobytes()), ctx.buffer(reserve=32 * len(rays))
        passes.cast(given, taken, len(rays))
        answers = np.frombuffer(taken.read(), np.float32).reshape(2, -1, 8)
        for camera, found in zip(cameras, answers, strict=True):
            frame = renderer.draw(camera)
            cast = {
                "colour": (found[:, :3] + found[:, 4:5] * asset.background).reshape(20, 24, 3),
                "coverage": found[:, 3].reshape(20, 24, 1),
            }
            assert apart(cast, frame.images, "colour", 5e-4) <= 0.01  # of few pixels; silhouettes
            assert found[:, 5].mean() == pytest.approx(frame.stats["evaluations_per_pixel"], rel=0.01)
        for item in (passes, given, taken):
            item.release()


def test_peels_end(build_shell: Build, ctx: moderngl.Context, monkeypatch: pytest.MonkeyPatch) -> None:
    """With too few of them it is told."""
    asset = build_shell()
    with Renderer(ctx, asset, "fragment") as renderer:
        whole = renderer.draw(asset.camera)
        assert whole.stats["overflow"] == 0
        monkeypatch.setattr(shell_passes, "MAX_PEELS", 1)
        assert renderer.draw(asset.camera).stats["overflow"] > 100


def test_moved_meshes(build_shell: Build, ctx: moderngl.Context) -> None:
    """Drawn, cast and peeled as if the asset had had them."""
    for host, hits in (("compute", 16), ("compute", 1), ("fragment", 16)):
        asset = build_shell(max_hits=hits)
        moved = {
            name: BakedMesh((mesh.vertices * np.float32(0.97) + np.float32(0.02)), mesh.faces)
            for name, mesh in asset.meshes.items()
        }
        with Renderer(ctx, asset, host) as renderer:
            before = renderer.draw(asset.camera, (24, 20)).images["colour"]
            renderer._passes.move(moved)
            found = renderer.draw(asset.camera, (24, 20)).images
        wanted = reference.draw(with_meshes(asset, **moved), asset.camera, (24, 20))
        assert apart(found, wanted, "colour", 5e-4) <= 0.01  # of few pixels; silhouettes
        assert np.abs(found["colour"] - before).max() > 0.02


@pytest.mark.parametrize("host", HOSTS)
def test_imperfect_meshes(host: str, build_shell: Build, ctx: moderngl.Context) -> None:
    """Faces are missing, and others turned round: whatever order that makes, all draw the same."""
    asset = build_shell()
    rng = np.random.default_rng(8)
    outer = asset.meshes["outer"]
    faces = outer.faces[rng.random(len(outer.faces)) < 0.95]
    turned = rng.random(len(faces)) < 0.05
    faces[turned] = faces[turned, ::-1]
    broken = with_meshes(asset, outer=BakedMesh(outer.vertices, faces))
    intervals, _ = shell_samples(broken, broken.camera)
    wanted = reference.draw(broken, broken.camera)
    with Renderer(ctx, broken, host) as renderer:
        frame = renderer.draw(broken.camera)
        assert np.isfinite(frame.images["colour"]).all()
        assert apart(frame.images, wanted, "colour", 5e-4) <= 0.01  # many more edges
        # the fragment host does not see what it passes over
        assert intervals.broken.sum() > 20
        share = frame.stats["broken"] / intervals.broken.sum()
        assert 0.97 < share < 1.03 if host == "compute" else 0 < share < 1.03


def test_ball_is_where_it_should_be(
    build_shell: Build, build_sphere: BuildMesh, ctx: moderngl.Context
) -> None:
    """Against the ball in closed form."""
    asset = build_shell(max_samples=64, spacing=0.004, min_kappa=200.0, max_kappa=200.0, stop=0.0)
    asset = with_meshes(asset, outer=build_sphere(0.56, 4), inner=build_sphere(0.46, 4))
    pictures = {mode: draw(ctx, asset, "compute", mode) for mode in MODES if mode != "wire"}
    rays_o, rays_d = asset.camera.rays()
    b = (rays_o * rays_d).sum(-1)
    gap = b**2 - (rays_o**2).sum(-1)
    met = gap + 0.4**2 > 0
    t = -b - np.sqrt(np.maximum(gap + 0.5**2, 0))
    assert pictures["colour"]["coverage"][met].min() > 0.999  # closed
    assert np.abs(pictures["depth"]["depth"][..., 0] - t)[met].max() < 0.015  # of a kernel 0.018 wide
    x = rays_o + t[..., None] * rays_d
    cosine = (pictures["normal"]["normal"] * x).sum(-1)[met] / 0.5
    assert cosine.min() > 0.999
    missed = gap + 0.57**2 < 0
    assert (pictures["colour"]["colour"][missed] == asset.background).all()
    assert not pictures["cost"]["cost"][missed].any() and not pictures["thickness"]["thickness"][missed].any()
    chord = np.sqrt(np.maximum(gap + 0.56**2, 0)) - np.sqrt(np.maximum(gap + 0.46**2, 0))
    length = pictures["thickness"]["thickness"][..., 0]
    assert np.abs(length - chord)[met].max() < 0.004  # as far as 5120 faces are from a ball


@pytest.mark.parametrize("host", HOSTS)
def test_contracted(host: str, build_shell: Build, build_sphere: BuildMesh, ctx: moderngl.Context) -> None:
    """A far shell around the camera, and the near one in its middle."""
    asset = build_shell(contracted=1)
    far = build_sphere(20.0, 3)
    outer, near = asset.meshes["outer"], build_sphere(9.0, 3)
    hollow = BakedMesh(
        np.concatenate([outer.vertices, far.vertices, near.vertices]),
        np.concatenate(
            [
                outer.faces,
                far.faces + np.uint32(len(outer.vertices)),
                near.faces[:, ::-1] + np.uint32(len(outer.vertices) + len(far.vertices)),
            ]
        ),
    )
    bounds = np.array([[-2, -2, -2], [2, 2, 2]], np.float32)
    asset = replace(with_meshes(asset, outer=hollow), bounds=bounds)
    wanted = reference.draw(asset, asset.camera)
    assert wanted["coverage"].max() > 0.99
    found = draw(ctx, asset, host)
    # f is rounded at 20 times the distance, and kappa multiplies it
    assert apart(found, wanted, "colour", 2e-3) <= 0.005
    intervals, samples = shell_samples(asset, asset.camera)
    # the first ray passes the far shell only: its chord is short once contracted, and so has few samples
    assert intervals.offsets[1] == 1 and intervals.t_ends[0] - intervals.t_starts[0] > 10
    rays_o, rays_d = (x.reshape(-1, 3)[0].astype(np.float64) for x in asset.camera.rays())
    ends = [rays_o + t[0] * rays_d for t in (intervals.t_starts, intervals.t_ends)]
    near, far = ((2 - 1 / np.linalg.norm(x)) * x / np.linalg.norm(x) for x in ends)
    number = 1 + np.ceil((np.linalg.norm(far - near) - 0.02) / 0.01)
    assert samples.offsets[1] == number and 2 <= number < 16


@pytest.mark.parametrize("host", HOSTS)
def test_grazing_pixels_and_empty_views(host: str, build_shell: Build, ctx: moderngl.Context) -> None:
    asset = build_shell()
    away = look_at([3, 0, 0], [6, 0, 0.1], [0, 0, 1], 20, 10, 0.5)
    picture = draw(ctx, asset, host, camera=away)
    assert (picture["colour"] == asset.background).all() and not picture["coverage"].any()
    tiny = look_at([0, -60, 0], [0, 0, 0], [0, 0, 1], 9, 9, 0.2)  # the ball is a pixel wide
    picture = draw(ctx, asset, host, camera=tiny)
    assert picture["coverage"].max() > 0.9 and (picture["coverage"] > 0).sum() <= 4
    hollow = with_meshes(asset, inner=NO_MESH)
    wanted = reference.draw(hollow, asset.camera)
    assert apart(draw(ctx, hollow, host), wanted, "colour", 2e-4) <= 0.002


@pytest.mark.parametrize("host", HOSTS)
def test_stop_saves_samples(host: str, build_shell: Build, ctx: moderngl.Context) -> None:
    """The fragment host; the compute host evaluates all in one batch, and leaves out what is not seen."""
    asset = with_meshes(build_shell(), inner=NO_MESH)
    whole = replace(asset, constants={**asset.constants, "stop": 0.0})
    _, samples = shell_samples(whole, asset.camera)
    hit = (np.diff(samples.offsets) > 0).sum()
    with Renderer(ctx, asset, host) as one, Renderer(ctx, whole, host) as other:
        costs = [renderer.draw(asset.camera, mode="cost").images["cost"].mean() for renderer in (one, other)]
        assert costs[0] < 0.9 * costs[1]
        a, b = one.draw(asset.camera), other.draw(asset.camera)
        assert np.abs(a.images["colour"] - b.images["colour"]).max() < 0.01
        pixels = asset.camera.w * asset.camera.h
        for frame, cost in ((a, costs[host == "compute"]), (b, costs[1])):
            assert frame.stats["evaluations_per_pixel"] == pytest.approx(cost, rel=1e-5)
        assert costs[1] == pytest.approx(len(samples.t) / pixels, rel=1e-3)
        assert b.stats["evaluations_per_hit"] == pytest.approx(len(samples.t) / hit, rel=1e-3)


def test_field_functions(build_shell: Build, ctx: moderngl.Context) -> None:
    """The leaf functions against their numpy twin, and the section's opacity against its definition."""
    asset = build_shell()
    rng = np.random.default_rng(2)
    u, v = rng.random((500, 3)).astype(np.float32), rng.normal(0, 0.05, (500, 3)).astype(np.float32)
    d = v / np.linalg.norm(v, axis=-1, keepdims=True)
    found = probe.run(
        ctx,
        '#include "families/adaptive_shells/shell.glsl"\n',
        "vec4 y[FIELD_BLOCKS]; field_evaluate(u[0].xyz, y);"
        "n[0] = vec4(field_normal(y), field_optical(y, v[0].xyz));"
        "c[0] = vec4(field_shade(y, d[0].xyz), 0.0);",
        {"u": u, "v": v, "d": d},
        {"n": 4, "c": 3},
        Parts(asset, "compute"),
    )
    field = ShellField(asset)
    y = field.evaluate(u)
    assert np.abs(found["n"][:, :3] - field.normal(y)).max() < 1e-5
    assert np.abs(found["c"] - field.colour(y, d)).max() < 1e-5
    # kappa of 60 times rounding of f, and the logarithm's cancellation
    assert np.abs(np.exp(-found["n"][:, 3]) - np.exp(-field.optical(y, v))).max() < 5e-5
    kappa = np.exp(np.clip(y[:, 1].astype(np.float64), np.log(5), np.log(5000)))
    m = np.minimum((field.normal(y) * v).sum(-1), 0)
    before, after = (1 / (1 + np.exp(-kappa * (y[:, 0] - s * m / 2))) for s in (1, -1))
    alpha = np.clip(1 - after / before, 0, 1)
    assert np.abs(1 - np.exp(-field.optical(y, v)) - alpha).max() < 1e-5 and alpha.max() > 0.5


@pytest.mark.parametrize("host", ["compute", "fragment"])
def test_marched(host: str, build_shell: Build, ctx: moderngl.Context) -> None:
    """The same weights without their meshes, by both hosts of the driver march and by its twin."""
    asset = march_asset(build_shell(), np.ones((6, 6, 6), bool), step_size=0.02)
    with Renderer(ctx, asset, host) as renderer:
        for mode in ("colour", "depth", "normal", "cost"):
            wanted = reference.draw(asset, asset.camera, mode=mode)
            assert wanted["coverage"].max() > 0.99
            assert apart(renderer.draw(asset.camera, mode=mode).images, wanted, mode, 2e-4) <= 0.003


def test_marched_finely_is_the_shell(
    build_shell: Build, build_sphere: BuildMesh, ctx: moderngl.Context
) -> None:
    """Within a shell that leaves nothing out, many samples are the picture of many steps."""
    whole = with_meshes(
        build_shell(stop=0.0, max_samples=64, spacing=0.01, single_width=0.01),
        outer=build_sphere(0.69, 4),
        inner=NO_MESH,
    )
    step = float(np.linalg.norm(whole.bounds[1] - whole.bounds[0])) / 384
    marched = march_asset(whole, np.ones((1, 1, 1), bool), step, stop=0.0)
    a, b = draw(ctx, whole, "compute"), draw(ctx, marched, "compute")
    # outside the envelope the field leaves a haze, and a section is exact where f is linear
    assert np.abs(a["colour"] - b["colour"]).max() < 0.03
    with pytest.raises(InshaderError, match="march draws bounded ones"):
        march_asset(build_shell(contracted=1), np.ones((1, 1, 1), bool), step)


def constant(name: str, value: object) -> Callable[[BakedAsset], BakedAsset]:
    return lambda asset: replace(asset, constants={**asset.constants, name: value})  # type: ignore[arg-type]


def network(name: str, spec: NetworkSpec) -> Callable[[BakedAsset], BakedAsset]:
    parameters = {key: np.zeros(shape, np.float32) for key, shape in spec.parameter_shapes().items()}
    return lambda asset: replace(asset, networks={**asset.networks, name: BakedNetwork(spec, parameters)})


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda asset: replace(asset, meshes={}), "no mesh 'outer', it has none"),
        (lambda asset: replace(asset, meshes={"outer": NO_MESH}), "no mesh 'inner', it has outer"),
        (lambda asset: with_meshes(asset, outer=NO_MESH), "mesh outer has no faces"),
        (
            lambda asset: with_meshes(
                asset, inner=BakedMesh(np.zeros((3, 3), np.float32), np.zeros(((1 << 20) + 1, 3), np.uint32))
            ),
            "inner has 1048577 faces, at most",
        ),
        (lambda asset: replace(asset, grids={}), "no grid 'features'"),
        (lambda asset: replace(asset, networks={}), "no network 'geometry'"),
        (constant("max_hits", 0), "max_hits is 0"),
        (constant("max_samples", 16.5), "max_samples is 16.5, expected a whole number"),
        (constant("spacing", 0.0), "spacing is 0"),
        (constant("single_width", -1.0), "single_width is -1"),
        (constant("stop", 2), "stop is 2"),
        (constant("contracted", 2), "contracted is 2, expected 0 or 1"),
        (constant("contracted", 1.0), "contracted is 1.0, expected 0 or 1"),
        (constant("max_kappa", 1.0), "max_kappa is 1.0, expected 5 to"),
        (network("geometry", NetworkSpec((Slot("x", 16),), (Linear(16),))), "inputs of width 16 and 3"),
        (network("geometry", NetworkSpec((Slot("x", 16), Slot("p", 3)), (Linear(5),))), "more than 5"),
        (network("colour", NetworkSpec((Slot("h", 11), Slot("n", 3)), (Linear(3),))), "11 and 3 and 3"),
        (
            network("colour", NetworkSpec((Slot("h", 11), Slot("n", 3), Slot("d", 3)), (Linear(4),))),
            "colour gives 4",
        ),
    ],
)
def test_unfit_assets_are_refused(
    change: Callable[[BakedAsset], BakedAsset], message: str, build_shell: Build, ctx: moderngl.Context
) -> None:
    asset = change(build_shell())
    with pytest.raises(InshaderError, match=message) as caught:
        Renderer(ctx, asset)
    assert "\n" not in str(caught.value)
    with pytest.raises(InshaderError, match=message):
        reference.draw(asset, asset.camera)
