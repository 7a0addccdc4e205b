"""The march driver: both hosts and its numpy twin draw one picture, and it is the right one."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import moderngl
import numpy as np
import pytest

from render import reference
from render.asset import BakedAsset, BakedNetwork, asset_bytes, asset_from_bytes
from render.camera import Camera, look_at
from render.drivers import march
from render.drivers.march import HOSTS, MODES
from render.errors import InshaderError
from render.lattice import BOUNDED
from render.metrics import parity_db
from render.ndc import Ndc
from render.network import Linear, NetworkSpec, Slot
from render.renderer import Renderer

CheckGolden = Callable[[str, BakedAsset, str], None]
Build = Callable[..., BakedAsset]


def draw(
    ctx: moderngl.Context, asset: BakedAsset, host: str, mode: str = "colour", camera: Camera | None = None
) -> dict[str, np.ndarray]:
    with Renderer(ctx, asset, host) as renderer:
        return renderer.draw(camera or asset.camera, mode=mode).images


@pytest.mark.parametrize("host", HOSTS)
@pytest.mark.parametrize("precision", ["float32", "float16"])
@pytest.mark.parametrize("deferred", [0, 1])
def test_shader_is_the_reference(
    deferred: int, precision: str, host: str, build_noise: Build, ctx: moderngl.Context
) -> None:
    asset = asset_from_bytes(asset_bytes(build_noise(precision, deferred)))
    found, wanted = draw(ctx, asset, host), reference.draw(asset, asset.camera)
    assert wanted["coverage"].max() > 0.9
    assert np.abs(found["coverage"] - wanted["coverage"]).max() < 1e-4
    parity = parity_db(found["colour"], wanted["colour"], found["coverage"], wanted["coverage"])
    assert parity is not None and parity > (90 if precision == "float32" else 80)


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("name", ["ball", "noise"])
def test_modes_on_both_hosts(
    name: str, mode: str, build_ball: Build, build_noise: Build, inside: Camera, ctx: moderngl.Context
) -> None:
    """Cost too: leaping visits the very samples that testing each of them finds."""
    asset = build_ball() if name == "ball" else build_noise()
    for camera in (asset.camera, inside):
        wanted = reference.draw(asset, camera, mode=mode)
        for host in HOSTS:
            found = draw(ctx, asset, host, mode, camera)
            assert found[mode].shape == wanted[mode].shape
            off = np.abs(found[mode] - wanted[mode]).max(-1) > (2e-4 if mode == "normal" else 5e-5)
            if mode in ("depth", "normal"):
                off &= wanted["coverage"][..., 0] > 1e-3  # of almost nothing they are all rounding
            # a sample on a face of the grid may take its slope from either side, one at a cell's may count
            assert off.mean() <= (2e-3 if mode in ("normal", "cost") else 0)


@pytest.mark.parametrize("host", HOSTS)
def test_ball_is_where_it_should_be(host: str, build_ball: Build, ctx: moderngl.Context) -> None:
    """Against the ball itself: coverage, depth, normals and colours in closed form."""
    asset = build_ball(sharpness=200.0)
    camera = asset.camera
    pictures = {mode: draw(ctx, asset, host, mode) for mode in MODES}
    rays_o, rays_d = camera.rays()
    b = (rays_o * rays_d).sum(-1)
    gap = b**2 - (rays_o**2).sum(-1) + 0.5**2  # above 0 where the ray hits
    inner, outer = gap > 0.03, gap < -0.03
    coverage = pictures["colour"]["coverage"][..., 0]
    assert coverage[inner].min() > 0.98 and coverage[outer].max() < 0.02
    t = -b - np.sqrt(np.maximum(gap, 0))
    assert np.abs(pictures["depth"]["depth"][..., 0] - t)[inner].max() < 0.04
    assert not pictures["depth"]["depth"][coverage == 0].any()
    x = rays_o + t[..., None] * rays_d
    normals = x / np.linalg.norm(x, axis=-1, keepdims=True)
    cosines = (pictures["normal"]["normal"] * normals).sum(-1)[inner]
    assert cosines.min() > 0.98
    z = 14 * 0.28209479 * x
    z[..., 0] += 1.5 * 0.48860251 * rays_d[..., 2]
    assert np.abs(pictures["colour"]["colour"] - 1 / (1 + np.exp(-z)))[inner].max() < 0.05
    assert np.allclose(pictures["colour"]["colour"][coverage == 0], asset.background)
    assert (pictures["cost"]["cost"][..., 0][inner] >= 1).all()


@pytest.mark.parametrize("host", HOSTS)
def test_early_stop_saves_evaluations(host: str, build_ball: Build, ctx: moderngl.Context) -> None:
    asset = build_ball()
    whole = replace(asset, constants={**asset.constants, "stop": 0.0})
    with Renderer(ctx, asset, host) as one, Renderer(ctx, whole, host) as other:
        a, b = one.draw(asset.camera), other.draw(asset.camera)
        assert a.stats["evaluations_per_pixel"] < 0.7 * b.stats["evaluations_per_pixel"]
        assert np.abs(a.images["colour"] - b.images["colour"]).max() < 0.01


@pytest.mark.parametrize("host", HOSTS)
def test_empty_and_full_volumes(host: str, build_ball: Build, ctx: moderngl.Context) -> None:
    asset = build_ball()
    shape = (3, 4, 5)
    empty = replace(asset, volumes={"occupancy": np.zeros(shape, bool)})
    picture = draw(ctx, empty, host)
    assert (picture["colour"] == asset.background).all() and not picture["coverage"].any()
    full = replace(asset, volumes={"occupancy": np.ones(shape, bool)})
    wanted = reference.draw(full, asset.camera)["colour"]
    assert np.abs(draw(ctx, full, host)["colour"] - wanted).max() < 1e-4
    away = look_at([3, 0, 0], [6, 0, 0.1], [0, 0, 1], 20, 10, 0.5)
    assert not draw(ctx, asset, host, camera=away)["coverage"].any()


@pytest.mark.parametrize("mode", MODES)
def test_golden(mode: str, build_ball: Build, check_golden: CheckGolden) -> None:
    check_golden("ball", build_ball(), mode)


def without(part: str, name: str) -> Callable[[BakedAsset], BakedAsset]:
    return lambda asset: replace(
        asset, **{part: {k: v for k, v in getattr(asset, part).items() if k != name}}
    )


def constant(name: str, value: object) -> Callable[[BakedAsset], BakedAsset]:
    return lambda asset: replace(asset, constants={**asset.constants, name: value})  # type: ignore[arg-type]


def network(name: str, spec: NetworkSpec) -> Callable[[BakedAsset], BakedAsset]:
    parameters = {key: np.zeros(shape, np.float32) for key, shape in spec.parameter_shapes().items()}
    return lambda asset: replace(asset, networks={**asset.networks, name: BakedNetwork(spec, parameters)})


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (without("grids", "features"), "no grid 'features', it has none"),
        (without("networks", "decoder"), "no network 'decoder', it has view"),
        (without("networks", "view"), "no network 'view'"),
        (without("volumes", "occupancy"), "no volume 'occupancy'"),
        (without("constants", "stop"), "no constant 'stop'"),
        (constant("step_size", 0.0), "step_size is 0.0"),
        (constant("step_size", 1e-9), "step_size"),
        (constant("step_size", (0.1, 0.2)), "step_size is a list of 2"),
        (constant("stop", -1), "stop is -1"),
        (constant("deferred", 7), "deferred is 7"),
        (constant("max_log_density", 1e9), "max_log_density"),
        (network("view", NetworkSpec((Slot("d", 3),), (Linear(12),))), "three times that"),
        (network("view", NetworkSpec((Slot("d", 4),), (Linear(27),))), "one input of width 3"),
        (network("decoder", NetworkSpec((Slot("x", 9),), (Linear(9),))), "one input of width 8"),
        (network("decoder", NetworkSpec((Slot("x", 8),), (Linear(9),), count=2)), "single"),
        (lambda asset: replace(asset, driver="pathtrace"), "there are .*march"),
        (lambda asset: replace(asset, family="unheard_of"), "there are .*gaussian_rbf"),
    ],
)
def test_unfit_assets_are_refused(
    change: Callable[[BakedAsset], BakedAsset], message: str, build_ball: Build, ctx: moderngl.Context
) -> None:
    asset = change(build_ball())
    with pytest.raises(InshaderError, match=message):
        Renderer(ctx, asset)
    with pytest.raises(InshaderError, match=message):
        reference.draw(asset, asset.camera)


def test_networks_that_no_compiler_could_take(build_ball: Build, ctx: moderngl.Context) -> None:
    """Their weights would be megabytes of literals."""
    layers = *[Linear(512)] * 2, Linear(build_ball().networks["decoder"].spec.output_width)
    slots = build_ball().networks["decoder"].spec.inputs
    with pytest.raises(InshaderError, match="decoder is too large to be written into a shader"):
        Renderer(ctx, network("decoder", NetworkSpec(slots, layers))(build_ball()))


@pytest.fixture
def unbounded(build_noise: Build) -> BakedAsset:
    """Noise in all of space: about a ball off the middle and not of radius 1, with a near plane."""
    asset = build_noise()
    constants = {**asset.constants, "ball": (0.2, -0.1, 0.3, 0.5), "near_plane": 0.4, "step_size": 0.03}
    return replace(asset, bounds=np.float32([[-2] * 3, [2] * 3]), constants=constants)


@pytest.mark.parametrize("mode", MODES)
def test_unbounded_scenes_on_both_hosts(
    mode: str, unbounded: BakedAsset, inside: Camera, ctx: moderngl.Context
) -> None:
    """From far away and from within; cost too: leaps along bent rays lose no sample either."""
    for camera in (unbounded.camera, inside):
        wanted = reference.draw(unbounded, camera, mode=mode)
        assert wanted["coverage"].max() > 0.9
        for host in HOSTS:
            found = draw(ctx, unbounded, host, mode, camera)
            # far away a sample's place rounds, and with it the cell it is in, or the side of a face
            unit = np.maximum(np.abs(wanted[mode]), 1) if mode == "depth" else 1
            off = (np.abs(found[mode] - wanted[mode]) / unit).max(-1) > 1e-3
            if mode in ("depth", "normal"):
                off &= wanted["coverage"][..., 0] > 1e-3  # of almost nothing they are all rounding
            assert off.mean() <= (2e-2 if mode in ("normal", "cost") else 5e-3)


@pytest.fixture
def forward_facing(build_noise: Build) -> tuple[BakedAsset, Camera]:
    """Noise in the normalised device coordinates of a frame, and a camera beside it that looks its way."""
    asset = build_noise()
    pose = look_at([0.1, -2, 0.2], [0, 0, 0], [0, 0, 1], 96, 80, 0.7)
    ndc = Ndc(np.linalg.inv(pose.world_from_camera)[:3] / 0.6, (1.6, 1.7))
    constants = {**asset.constants, **ndc.constants(), "step_size": 0.03}
    camera = look_at([0.4, -2.1, 0.1], [0.2, 0, 0], [0, 0.1, 1], 96, 80, 0.8)
    return replace(asset, constants=constants), camera


@pytest.mark.parametrize("mode", MODES)
def test_forward_facing_scenes_on_both_hosts(
    mode: str, forward_facing: tuple[BakedAsset, Camera], ctx: moderngl.Context
) -> None:
    """From where its rays begin on the near plane, and from within the scene, where they begin later."""
    asset, camera = forward_facing
    within = look_at([0.2, -0.8, 0.1], [0, 0.5, 0], [0, 0, 1], 96, 80, 0.8)
    costs = []
    for seen in (camera, within):
        wanted = reference.draw(asset, seen, mode=mode)
        assert wanted["coverage"].max() > 0.9
        costs.append(reference.draw(asset, seen, mode="cost")["cost"].sum())
        for host in HOSTS:
            found = draw(ctx, asset, host, mode, seen)
            # as in unbounded scenes
            unit = np.maximum(np.abs(wanted[mode]), 1) if mode == "depth" else 1
            off = (np.abs(found[mode] - wanted[mode]) / unit).max(-1) > 1e-3
            if mode in ("depth", "normal"):
                off &= wanted["coverage"][..., 0] > 1e-3
            assert off.mean() <= (2e-2 if mode in ("normal", "cost") else 5e-3)
    assert costs[0] != costs[1]


@pytest.mark.parametrize("host", HOSTS)
def test_nothing_is_behind_a_forward_facing_camera(
    host: str, forward_facing: tuple[BakedAsset, Camera], ctx: moderngl.Context
) -> None:
    asset, _ = forward_facing
    away = look_at([0, -2, 0], [0, -5, 0.3], [0, 0, 1], 32, 24, 0.8)
    assert not draw(ctx, asset, host, "colour", away)["coverage"].any()
    assert not reference.draw(asset, away)["coverage"].any()


def test_depths_of_a_forward_facing_scene(
    forward_facing: tuple[BakedAsset, Camera], ctx: moderngl.Context
) -> None:
    """In world units: of a wall across all of it they are those of the plane."""
    asset, camera = forward_facing
    cells = np.zeros((4, 4, 64), bool)
    cells[:, :, 40] = True  # z of 0.25 to 0.28: 0.6 * 2 / (1 - z) = 1.6 to 1.67 away
    decoder = asset.networks["decoder"]
    opaque = {**decoder.parameters, "4.bias": np.full((1, 1), 6, np.float32)}
    constants = {**asset.constants, "step_size": 0.004}
    asset = replace(
        asset,
        constants=constants,
        volumes={"occupancy": cells},
        networks={**asset.networks, "decoder": replace(decoder, parameters=opaque)},
    )
    with Renderer(ctx, asset) as renderer:
        images = renderer.draw(camera, mode="depth").images
    frame = look_at([0.1, -2, 0.2], [0, 0, 0], [0, 0, 1], 8, 8, 1.0)
    rays_o, rays_d = camera.rays()
    places = rays_o + images["depth"] * rays_d
    ahead = (places - frame.position) @ frame.forward
    inside = images["coverage"][..., 0] > 0.9
    assert inside.mean() > 0.5 and (np.abs(ahead[inside] - 1.63) < 0.06).all()


def test_assets_from_before_there_were_other_spaces(build_ball: Build, ctx: moderngl.Context) -> None:
    asset = build_ball()
    kept = {name: value for name, value in asset.constants.items() if name not in BOUNDED}
    assert len(kept) < len(asset.constants)
    before = replace(asset, constants=kept)
    np.testing.assert_array_equal(
        draw(ctx, before, "compute")["colour"], draw(ctx, asset, "compute")["colour"]
    )
    reference.draw(before, asset.camera.resized(8, 8))


def test_an_unbounded_scene_says_where_its_box_is(unbounded: BakedAsset, build_ball: Build) -> None:
    bounds = build_ball().bounds
    for change, text in (
        ({"bounds": bounds}, "the asset is unbounded, its bounds"),
        ({"constants": {**unbounded.constants, "ball": (0.0, 0.0, 1.0)}}, "the constant ball is"),
        ({"constants": {**unbounded.constants, "ball": (0.0, 0.0, 0.0, -1.0)}}, "the constant ball is"),
        ({"constants": {**unbounded.constants, "near_plane": -1.0}}, "near_plane is -1.0"),
        ({"constants": {**unbounded.constants, "forward": 1}}, "contracted and forward-facing"),
        ({"constants": {**unbounded.constants, "forward": 3}}, "forward is 3"),
    ):
        with pytest.raises(InshaderError, match=text):
            march.check(replace(unbounded, **change))
