"""Light fields: the shaders against the numpy twin, and layer by layer against plain sums."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Sequence
from typing import Any

import moderngl
import numpy as np
import pytest
from numpy.typing import NDArray

from render import light_field_passes, reference
from render.asset import BakedAsset, BakedGrid, BakedNetwork, asset_bytes, asset_from_bytes
from render.camera import Camera, look_at
from render.encodings import ACTIVATIONS
from render.errors import InshaderError
from render.grid import GridSpec
from render.lattice import BOUNDED
from render.light_field import LightField
from render.light_field_gather import trunk_inputs
from render.light_field_passes import LightFieldPasses
from render.light_field_plan import STRAIGHT_WEIGHTS, assign_buffers, plan, straight_fits
from render.light_field_rays import (
    RayPoints,
    pitch_of,
    ray_map,
    resampled,
)
from render.manifold import Orbit, manifold_constant
from render.ndc import Ndc
from render.network import Add, Concat, Linear, NetworkSpec, Slot
from render.renderer import Renderer
from render.timing import PassTimer

Floats = NDArray[np.float32]
# Sums of up to a few hundred float32 products in another order, through a dozen layers.
CLOSE = 2e-5


def network(rng: np.random.Generator, spec: NetworkSpec) -> BakedNetwork:
    parameters = {}
    for name, shape in spec.parameter_shapes().items():
        reach = 0.9 / math.sqrt(shape[-1]) if name.endswith("weight") else 0.1
        parameters[name] = (reach * rng.normal(size=shape)).astype(spec.precision)
    return BakedNetwork(spec, parameters)


def blocks(width: int, count: int, activation: str, stage: int) -> list[Any]:
    found: list[Any] = []
    for k in range(count):
        found += [Linear(width, activation=activation), Linear(width), Add(stage + 3 * k)]
    return found


def light_field(
    *,
    width: int = 20,
    channels: Sequence[int] = (12, 7),
    factors: Sequence[int] = (2, 3),
    taps: int = 2,
    activation: str = "relu",
    precision: str = "float32",
    size: tuple[int, int] = (48, 36),
    grid: bool = False,
    forward: bool = False,
    preview: bool = False,
) -> BakedAsset:
    """A light field of random weights."""
    rng = np.random.default_rng(3)
    slot = Slot("gathered", 8 + 4) if grid else Slot("points", 24, "frequency", 2)
    networks = {}
    for prefix, wide in (("", width), *([("preview_", 8)] if preview else [])):
        layers = (Linear(wide, activation=activation), *blocks(wide, 2, activation, 1), Add(1))
        networks[f"{prefix}trunk"] = network(rng, NetworkSpec((slot,), layers, precision=precision))
        for number, (out, factor) in enumerate(zip(channels, factors, strict=True)):
            looked = taps if factor == 2 else 1
            spec = NetworkSpec((Slot("x", wide * looked**2),), (Linear(out),), factor**2, precision)
            networks[f"{prefix}up_{number}"] = network(rng, spec)
            last = [Linear(3, activation="sigmoid")] if number == len(factors) - 1 else []
            spec = NetworkSpec(
                (Slot("x", out),), (*blocks(out, 1, activation, 0), *last), precision=precision
            )
            networks[f"{prefix}refine_{number}"] = network(rng, spec)
            wide = out
    camera = look_at([1.5, 2, 1], [0, 0, 0], [0, 0, 1], *size, 0.6)
    ndc = None
    if forward:
        frame = np.linalg.inv(look_at([1.4, 2.1, 1], [0, 0, 0], [0, 0, 1], 8, 8, 1.0).world_from_camera)[:3]
        ndc = Ndc(frame, (2 * camera.fl_x / camera.w, 2 * camera.fl_y / camera.h))
    grids, volumes, constants = {}, {}, RayPoints(8, ndc).constants()
    if grid:
        found = GridSpec(3, 4, 2, 4, 1.6, 9, precision)
        table = rng.normal(size=(found.entries, 2)).astype(precision)
        grids["features"] = BakedGrid(found, table)
        networks["density"] = network(rng, NetworkSpec((Slot("x", 8),), (Linear(1),), precision=precision))
        volumes["occupancy"] = rng.random((6, 7, 5)) < 0.5
        constants = {**BOUNDED, **({} if ndc is None else ndc.constants()), "step_size": 0.05, "stop": 0.01}
    orbit = orbit_about_origin()
    return BakedAsset(
        family="light_field",
        driver="lightfield",
        bounds=np.float32([[-0.577] * 3, [0.577] * 3]),
        networks=networks,
        grids=grids,
        volumes=volumes,
        constants={
            "pitch": (camera.fl_x, camera.fl_y),
            "manifold": manifold_constant(orbit),
            **constants,
        },
        background=np.float32([1, 1, 1]),
        up=np.float32([0, 0, 1]),
        world_from_source=np.eye(4),
        camera=camera,
        held_out=(camera,),
    )


def orbit_about_origin() -> Orbit:
    numbers = ([0, 0, 0], [0, 0, 1], [2, 3.5], [-0.2, 1.2], [0, math.pi], [0.1])
    return Orbit(*(np.array(part, np.float64) for part in numbers))


CASES: dict[str, dict[str, Any]] = {
    "relu": {},
    "gelu": {"activation": "gelu"},
    "shuffle": {"taps": 1},
    "float16": {"precision": "float16"},
    "gathered": {"grid": True, "factors": (2, 2)},
    "gathered float16": {"grid": True, "precision": "float16"},
    "forward": {"forward": True},
    "gathered forward": {"grid": True, "forward": True},
}


@pytest.mark.parametrize("form", ["straight", "loop"])
@pytest.mark.parametrize("case", CASES)
def test_shader_is_the_numpy_twin(
    case: str, form: str, ctx: moderngl.Context, monkeypatch: pytest.MonkeyPatch
) -> None:
    """At the pitch, and resampled to a smaller and a larger view of another shape."""
    monkeypatch.setattr(light_field_passes, "straight_fits", lambda _: form == "straight")
    asset = light_field(**CASES[case])
    with Renderer(ctx, asset) as renderer:
        assert all(shape.straight == (form == "straight") for shape in renderer._passes.passes[0].forms)
        for size in ((48, 36), (31, 29), (120, 77)):
            drawn = renderer.draw(asset.camera, size).images["colour"]
            wanted = reference.draw(asset, asset.camera, size)["colour"]
            assert wanted.std() > 0.01  # it is a picture
            # 16-bit fixed point of the grid's table is as fine as half of float16's last bit
            assert np.abs(drawn - wanted).max() < (1e-3 if case == "gathered float16" else CLOSE)


def plain_layer(layer: Any, source: Floats, added: list[Floats]) -> Floats:
    """One dispatch by sums over taps: (h, w, c) -> (h * factor, w * factor, outputs)."""
    h, w, channels = source.shape
    padded = np.pad(source, ((1, 1), (1, 1), (0, 0)))
    out = np.zeros((h * layer.factor, w * layer.factor, layer.outputs))
    for row in range(layer.factor):
        for column in range(layer.factor):
            weight = layer.weight[row * layer.factor + column].reshape(layer.outputs, -1, channels)
            sums = np.broadcast_to(layer.bias[row * layer.factor + column], (h, w, layer.outputs)).copy()
            for tap in range(layer.taps**2):
                dy, dx = (tap // 2 + row - 1, tap % 2 + column - 1) if layer.taps == 2 else (0, 0)
                sums = sums + padded[1 + dy : 1 + dy + h, 1 + dx : 1 + dx + w] @ weight[:, tap].T
            out[row :: layer.factor, column :: layer.factor] = sums
    result: Floats = ACTIVATIONS[layer.activation].value(out, layer.scale) + sum(added)
    return result


@pytest.mark.parametrize("form", ["straight", "loop"])
def test_every_layer(form: str, ctx: moderngl.Context, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each dispatch, given what was there before it, within 1e-4 of the layer written out."""
    asset = light_field(activation="gelu", factors=(2, 2))
    monkeypatch.setattr(light_field_passes, "straight_fits", lambda _: form == "straight")
    passes = LightFieldPasses(ctx, asset, LightField.of(asset.networks))
    run, seen = LightFieldPasses._run, []

    def checked(self: LightFieldPasses, number: int, size: NDArray[np.int64]) -> None:
        layer = self.layers[number]

        def read(buffer: int, wide: int, high: int, channels: int) -> Floats:
            data = np.frombuffer(self.maps[buffer].read(), np.float32)[: channels * wide * high]
            return data.reshape(channels, high, wide).transpose(1, 2, 0)

        w, h = (int(n) for n in size)
        source = read(layer.source, w, h, layer.inputs // layer.taps**2)
        added = [read(buffer, w, h, layer.outputs) for buffer in layer.added]
        run(self, number, size)
        if layer.target is not None:
            ctx.memory_barrier()
            got = read(layer.target, w * layer.factor, h * layer.factor, layer.outputs)
            assert np.abs(got - plain_layer(layer, source, added)).max() < 1e-4
            seen.append(number)

    monkeypatch.setattr(LightFieldPasses, "_run", checked)
    picture = ctx.texture((48, 36), 4, dtype="f4")
    passes.draw(ray_map(asset.camera, pitch_of(asset), 4), picture, PassTimer(ctx))
    assert seen == list(range(len(passes.layers) - 1)), "all but the one that writes the picture"
    passes.release()
    picture.release()


def test_buffers_are_used_again_but_not_too_soon() -> None:
    """What the renamed buffers hold, followed layer by layer, is what the plan with one each says."""
    first = plan(LightField.of(light_field().networks))
    again = plan(LightField.of(light_field().networks))
    count = assign_buffers(again)
    assert count < 6 < len(first)
    holds = {0: 0}
    for one, other in zip(first, again, strict=True):
        assert [holds[buffer] for buffer in (other.source, *other.added)] == [one.source, *one.added]
        if one.target is not None:
            assert other.target is not None and other.target not in (other.source, *other.added)
            holds[other.target] = one.target


def test_preview_and_cost(ctx: moderngl.Context) -> None:
    asset = light_field(preview=True)
    with Renderer(ctx, asset) as renderer:
        full = renderer.draw(asset.camera).images["colour"]
        frame = renderer.draw(asset.camera, state={"preview": True})
        assert np.abs(frame.images["colour"] - full).max() > 0.01
        wanted = reference.draw(asset, asset.camera, state={"preview": True})["colour"]
        assert np.abs(frame.images["colour"] - wanted).max() < CLOSE
        assert (frame.images["coverage"] == 1).all()
        assert frame.stats["evaluations_per_pixel"] == pytest.approx(1 / 36)
        assert np.allclose(renderer.draw(asset.camera, mode="cost").images["cost"], 1 / 36)
        with pytest.raises(InshaderError, match="has no state 'moving', it has preview"):
            renderer.draw(asset.camera, state={"moving": True})


def test_views_out_of_the_manifold_are_told(ctx: moderngl.Context) -> None:
    asset = light_field()
    far = dataclasses.replace(asset.camera, world_from_camera=asset.camera.world_from_camera.copy())
    far.world_from_camera[:3, 3] *= 3
    wide = dataclasses.replace(asset.camera, fl_x=asset.camera.fl_x / 2, fl_y=asset.camera.fl_y / 2)
    with Renderer(ctx, asset) as renderer:
        assert renderer.draw(asset.camera).warning is None
        assert "field of view is wider" in renderer.draw(wide).warning
        assert "farther" in renderer.draw(far).warning


def test_the_file_keeps_all(ctx: moderngl.Context) -> None:
    asset = light_field(preview=True, grid=False)
    again = asset_from_bytes(asset_bytes(asset))
    with Renderer(ctx, asset) as one:
        wanted = one.draw(asset.camera).images["colour"]
    with Renderer(ctx, again) as other:
        assert (other.draw(asset.camera).images["colour"] == wanted).all()


# Rays -------------------------------------------------------------------------------------------------------


def test_points_of_a_scene_in_a_box() -> None:
    """They lie on the rays of the camera through the middles of blocks, evenly in depth about the origin."""
    camera = look_at([1.5, 2, 1], [0.1, 0, 0], [0, 0, 1], 24, 12, 0.7)
    points = RayPoints(5).of_camera(camera, 4).reshape(3, 6, 5, 3)
    rays_o, rays_d = camera.resized(6, 3).rays()
    away = points - rays_o[..., None, :]
    across = np.cross(away, rays_d[..., None, :])
    assert np.abs(across).max() < 1e-5  # on the rays
    depth = away @ camera.forward
    distance = np.linalg.norm(camera.position)
    assert np.allclose(depth, np.linspace(distance - 1, distance + 1, 5), atol=1e-5)


@pytest.mark.parametrize("size", [(48, 36), (96, 36), (40, 30), (13, 50)])
def test_a_map_covers_the_view(size: tuple[int, int]) -> None:
    camera = look_at([2, 1, 1], [0, 0, 0], [0, 0, 1], 48, 36, 0.6)
    view = ray_map(camera.resized(*size), (camera.fl_x, camera.fl_y), 6)
    assert view.camera.w == 6 * view.columns and view.camera.h == 6 * view.rows
    assert view.exact == (size[1] == 36)
    for have, want, scale in zip((view.camera.w, view.camera.h), size, view.scale, strict=True):
        assert want * scale - 1e-3 <= have < want * scale + 6
    # The middle of the picture is where the camera looks.
    assert np.allclose([view.camera.cx / view.scale[0], view.camera.cy / view.scale[1]], np.array(size) / 2)


def test_a_very_wide_view_is_coarser() -> None:
    camera = look_at([2, 1, 1], [0, 0, 0], [0, 0, 1], 48, 36, 0.6)
    view = ray_map(look_at([2, 1, 1], [0, 0, 0], [0, 0, 1], 4000, 4000, 3.1), (camera.fl_x * 50,) * 2, 6)
    assert max(view.camera.w, view.camera.h) <= 4096 + 6


def test_resampling() -> None:
    """A linear ramp stays one; a picture at its own size stays itself; a fine pattern becomes its mean."""
    ramp = np.broadcast_to(np.arange(32, dtype=np.float32)[None, :, None], (24, 32, 3))
    half = resampled(ramp, (2.0, 2.0), 16, 12)
    assert np.allclose(half[:, 1:-1, 0], np.arange(16)[1:-1] * 2 + 0.5)
    assert (resampled(ramp, (1.0, 1.0), 32, 24) == ramp).all()
    checks = np.float32(np.indices((24, 32)).sum(0) % 2)[..., None]
    assert np.allclose(resampled(checks, (4.0, 4.0), 8, 6)[1:-1, 1:-1], 0.5, atol=1e-6)


# What is refused --------------------------------------------------------------------------------------------


def changed(asset: BakedAsset, **networks: BakedNetwork | None) -> BakedAsset:
    together = {**asset.networks, **networks}
    kept = {name: found for name, found in together.items() if found is not None}
    return dataclasses.replace(asset, networks=kept)


def with_constant(asset: BakedAsset, name: str, value: Any) -> BakedAsset:
    return dataclasses.replace(asset, constants={**asset.constants, name: value})


def bad_assets() -> dict[str, tuple[BakedAsset, str]]:
    rng = np.random.default_rng(0)
    asset = light_field()
    bank = network(rng, NetworkSpec((Slot("x", 80),), (Linear(12),), 5))
    narrow = network(rng, NetworkSpec((Slot("x", 7),), (Linear(4),)))
    trunk = network(rng, NetworkSpec((Slot("points", 12),), (Linear(20),)))
    joined = network(rng, NetworkSpec((Slot("points", 24),), (Linear(10), Linear(10), Concat(1))))
    points = (Slot("points", 24),)
    repeated = (Linear(20), Linear(20), Add(1), Linear(20), Add(2))
    twice = network(rng, NetworkSpec(points, repeated))
    itself = network(rng, NetworkSpec(points, (Linear(20), Add(1))))
    wide = (*[Linear(7)] * 40, Linear(3), Linear(3), Add(41))
    colours = network(rng, NetworkSpec((Slot("x", 7),), wide))
    return {
        "no trunk": (changed(asset, trunk=None), "no network 'trunk'"),
        "no steps": (changed(asset, up_0=None), "0 steps"),
        "no refinement": (changed(asset, refine_0=None), "no network 'refine_0'"),
        "5 phases": (changed(asset, up_0=bank), "expected the square of 2 or more"),
        "not a colour": (changed(asset, refine_1=narrow), "gives 4 values, expected 3"),
        "too few points": (changed(asset, trunk=trunk), "takes 12 values"),
        "added twice": (changed(asset, trunk=twice), "adds stage 2 in layer 4"),
        "added to itself": (changed(asset, trunk=itself), "Add as layer 1"),
        "colours that are added to": (changed(asset, refine_1=colours), "ends with Add"),
        "upside down": (with_constant(asset, "manifold", tuple(map(float, range(14)))), "manifold is"),
        "concatenation": (changed(asset, trunk=joined), "Concat as layer 2"),
        "no pitch": (with_constant(asset, "pitch", 3.0), "pitch is 3.0"),
        "no manifold": (with_constant(asset, "manifold", (0.0, 1.0)), "manifold is"),
        "points": (with_constant(asset, "points", 1000), "points is 1000"),
        "frame": (with_constant(asset, "frame_y", (1.0, 2.0)), "frame_y is"),
    }


@pytest.mark.parametrize("what", bad_assets())
def test_an_asset_that_does_not_fit(what: str, ctx: moderngl.Context) -> None:
    asset, message = bad_assets()[what]
    with pytest.raises(InshaderError, match=message) as caught:
        Renderer(ctx, asset)
    assert "\n" not in str(caught.value)


def test_trunk_inputs_of_a_gathered_field_are_bounded() -> None:
    """Opacity in [0, 1] and a unit direction."""
    asset = light_field(grid=True)
    camera: Camera = asset.camera
    rays = trunk_inputs(asset, camera, 6)
    opacity, direction = rays[..., 8], rays[..., 9:12]
    assert rays.shape[-1] == 12 and opacity.max() > 0.1
    assert (opacity >= 0).all() and (opacity <= 1 + 1e-6).all()
    assert np.allclose(np.linalg.norm(direction, axis=-1), 1, atol=1e-5)


def test_a_bias_is_no_matrix() -> None:
    """The straight form is for layers of few weights, however many outputs they have."""
    networks = dict(light_field(width=12, channels=(132,), factors=(2,), taps=1).networks)
    refine = networks["refine_0"]
    few = NetworkSpec(refine.spec.inputs, refine.spec.layers[-1:], precision=refine.spec.precision)
    networks["refine_0"] = network(np.random.default_rng(0), few)
    assert 132**2 > STRAIGHT_WEIGHTS and straight_fits(LightField.of(networks))
    assert not straight_fits(LightField.of({**networks, "refine_0": refine}))
