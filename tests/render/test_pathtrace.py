"""The path tracer against closed forms: furnace, irradiance, noise, seeds; and what its state does."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import imageio.v3 as iio
import moderngl
import numpy as np
import pytest

from render import export
from render.asset import BakedAsset, BakedGrid, BakedNetwork, write_asset
from render.camera import Camera, look_at
from render.context import create_context
from render.drivers.pathtrace import default_stage, read_state
from render.errors import InshaderError
from render.grid import GridSpec
from render.network import Linear, NetworkSpec, Slot, SquareConcat
from render.renderer import Renderer
from render.stage import Environment, Solid, Stage

RADIUS = 0.4
LOW, HIGH = np.float32([-0.6, -0.6, -0.6]), np.float32([0.6, 0.6, 0.6])


def ball(albedo: tuple[float, float, float] = (1, 1, 1), ambient: float = 1.0) -> BakedAsset:
    """f = (|x|^2 - R^2) / 2R, exactly; its colour is ``albedo`` where ``ambient`` is 1."""
    spec = GridSpec(3, 1, 4, 16, 2.0, 12)
    level = spec.level_list[0]
    axes = np.meshgrid(*[np.arange(level.resolution)] * 3, indexing="ij")
    corners = np.stack([axis.ravel() for axis in reversed(axes)], -1)
    x = LOW + (corners - 0.5) / level.scale * (HIGH - LOW)
    table = np.zeros((spec.entries, 4), np.float32)
    table[: len(x), :3] = x
    weight = np.zeros((1, 1, 8), np.float32)
    weight[..., 4:7] = 2
    parameters = {"1.weight": weight, "1.bias": np.full((1, 1), -2 * RADIUS**2, np.float32)}
    decoder = NetworkSpec((Slot("features", 4),), (SquareConcat(), Linear(1)))
    cells = 24
    middles = np.stack(np.meshgrid(*[(np.arange(cells) + 0.5) / cells] * 3, indexing="ij"), -1)
    cell = float(np.linalg.norm(HIGH - LOW)) / cells
    return BakedAsset(
        family="gaussian_rbf",
        driver="trace",
        bounds=np.stack([LOW, HIGH]),
        networks={"decoder": BakedNetwork(decoder, parameters)},
        grids={"features": BakedGrid(spec, table)},
        volumes={"occupancy": np.abs(np.linalg.norm(LOW + middles * (HIGH - LOW), axis=-1) - RADIUS) < cell},
        constants={"distance_scale": 1 / (4 * RADIUS), "albedo": albedo, "ambient": ambient},
        background=np.float32([1, 1, 1]),
        up=np.float32([0, 0, 1]),
        world_from_source=np.eye(4),
        camera=look_at([1.3, -1.9, 1.1], [0, 0, 0], [0, 0, 1], 32, 32, 0.8),
    )


def solid(shape: str, material: str, **numbers: Any) -> Solid:
    """A solid whose numbers are told apart by their names."""
    surface = {"albedo", "roughness", "ior", "tint", "radiance"} & set(numbers)
    values = {name: np.asarray(value, np.float32) for name, value in numbers.items()}
    geometry = {name: values[name] for name in set(values) - surface}
    return Solid(shape, geometry, material, {name: values[name] for name in surface})


def even(radiance: float) -> Environment:
    return Environment(np.full(3, radiance, np.float32), np.full(3, radiance, np.float32))


def linear(picture: np.ndarray) -> np.ndarray:
    """Radiance from display colour."""
    return np.where(picture > 0.04045, ((np.maximum(picture, 0) + 0.055) / 1.055) ** 2.4, picture / 12.92)


def radiance(
    ctx: moderngl.Context, asset: BakedAsset, samples: int, camera: Camera | None = None, **state: Any
) -> np.ndarray:
    """Linear (h, w, 3) of so many samples."""
    with Renderer(ctx, asset, driver="pathtrace") as renderer:
        frame = renderer.draw(camera or asset.camera, state={"samples": samples, **state})
        return linear(frame.images["colour"].astype(np.float64))


FURNACE = {
    "diffuse": solid("sphere", "diffuse", centre=[0.7, 0.15, -0.3], radius=0.25, albedo=[1, 1, 1]),
    "mirror": solid("sphere", "metal", centre=[0.7, 0.15, -0.3], radius=0.25, albedo=[1, 1, 1], roughness=0),
    "satin": solid("sphere", "metal", centre=[0.7, 0.15, -0.3], radius=0.25, albedo=[1, 1, 1], roughness=0.4),
    "rough": solid("sphere", "metal", centre=[0.7, 0.15, -0.3], radius=0.25, albedo=[1, 1, 1], roughness=1),
    "glass": solid("sphere", "glass", centre=[0.7, 0.15, -0.3], radius=0.25, ior=1.5, tint=[1, 1, 1]),
    "mesh": Solid(
        "mesh",
        {},
        "diffuse",
        {"albedo": np.ones(3, np.float32)},
        np.float32([[0.6, -0.2, -0.2], [1.1, -0.1, -0.2], [0.7, 0.4, -0.2], [0.7, 0, 0.4]]),
        np.int32([[0, 2, 1], [0, 1, 3], [0, 3, 2], [1, 2, 3]]),
    ),
    "box": solid(
        "box",
        "diffuse",
        centre=[0.6, 0, 0],
        axes=np.eye(3)[[1, 2, 0]],
        half_size=[0.2, 0.1, 0.3],
        albedo=[1, 1, 1],
    ),
}


@pytest.mark.parametrize("name", FURNACE)
def test_white_furnace(name: str, ctx: moderngl.Context) -> None:
    """Among things that absorb nothing, in even light of 1, everything is 1: the neural ball among them.

    Most paths bring exactly 1 whatever their way. Those that meet rough metal do so in the mean, as far as
    its table holds; the mean of a block of 16 pixels is known to a third of a percent then.
    """
    noisy = FURNACE[name].surface.get("roughness", 0) > 0
    asset = replace(ball(), stage=Stage((FURNACE[name],), even(1.0)))
    found = radiance(ctx, asset, 512 if noisy else 32, bounces=16)
    assert abs(found.mean() - 1) < 0.002
    blocks = found.reshape(8, 4, 8, 4, 3).mean((1, 3))
    assert np.abs(blocks - 1).max() < (0.01 if noisy else 1e-5)


@pytest.mark.parametrize("kind", ["field", "bank"])
def test_grey_furnace_loses_what_it_should(kind: str, build_bank: Any, ctx: moderngl.Context) -> None:
    """A convex body whose albedo is display colour 0.5, in even light, sends on just that part; no
    ray meets the body that it left, not even at seams between the networks of a bank."""
    part = linear(np.array(0.5)).item()
    asset, radius = ball((0.5, 0.5, 0.5)), RADIUS
    if kind == "bank":
        asset, radius = build_bank(), 0.5
        colour = asset.networks["colour"]
        none = {key: np.zeros_like(value) for key, value in colour.parameters.items()}
        dull = BakedNetwork(colour.spec, none)  # sigmoid(0)
        asset = replace(asset, networks={**asset.networks, "colour": dull})
    asset = replace(asset, stage=Stage((), even(2.0)))
    # the ball fills the picture
    camera = look_at([3.5 * radius, 0.5 * radius, radius], [0, 0, 0], [0, 0, 1], 16, 16, 0.3)
    assert np.abs(radiance(ctx, asset, 8, camera) - 2 * part).max() < 1e-3


LAMP = {"centre": [0.0, 0.0, 1.6], "radius": 0.5}


def lamp(light: float = 10.0) -> Solid:
    return solid("sphere", "emission", radiance=[light] * 3, **LAMP)


def test_irradiance_under_a_spherical_lamp(ctx: moderngl.Context) -> None:
    """A floor under a spherical lamp: E = pi L sin^2(theta) cos(phi), out goes albedo E / pi.

    A pixel is averaged over its square, as is the closed form at 9 points of each; the rest is noise.
    """
    albedo, light, height = 0.6, 10.0, -0.7
    floor = solid("plane", "diffuse", point=[0, 0, height], normal=[0, 0, 1], albedo=[albedo] * 3)
    asset = replace(ball(), stage=Stage((floor, lamp(light)), even(0.0)))
    camera = look_at([3.0, 0, 2.0], [1.4, 0, height], [0, 0, 1], 16, 16, 0.25)
    found = radiance(ctx, asset, 128, camera, bounces=1)
    fine = camera.resized(48, 48)
    rays_o, rays_d = (part.astype(np.float64) for part in fine.rays())
    x = rays_o + ((height - rays_o[..., 2:]) / rays_d[..., 2:]) * rays_d
    to = np.array(LAMP["centre"]) - x
    distance = np.linalg.norm(to, axis=-1)
    seen = albedo * light * (0.5 / distance) ** 2 * to[..., 2] / distance
    expected = seen.reshape(16, 3, 16, 3).mean((1, 3))
    # away from the ball's shadow, which the picture does not show
    assert abs(found.mean() / expected.mean() - 1) < 0.005
    assert np.abs(found.mean(-1) / expected - 1).max() < 0.02


@pytest.mark.parametrize("neural", ["albedo", "emitter"])
def test_two_spheres(neural: str, ctx: moderngl.Context) -> None:
    """One sphere lights the top of another, where E = pi L sin^2(theta): the neural ball is lit in one
    reading and gives the light in the other. Light that goes back and forth is cut off by ``bounces``."""
    if neural == "albedo":
        asset = replace(ball(), stage=Stage((lamp(),), even(0.0)))
        camera = look_at([1.0, 0, 1.3], [0, 0, RADIUS], [0, 0, 1], 8, 8, 0.002)
        expected = 10.0 * (0.5 / (1.6 - RADIUS)) ** 2
    else:
        sphere = solid("sphere", "diffuse", centre=[0, 0, -1.2], radius=0.3, albedo=[0.8] * 3)
        asset = replace(ball(), stage=Stage((sphere,), even(0.0)))
        camera = look_at([1.5, 0, -0.4], [0, 0, -0.9], [0, 0, 1], 16, 16, 0.002)
        expected = 0.8 * 1.0 * (RADIUS / 0.9) ** 2
    # the emitter is found by chance, with probability 0.2: 1024 samples of 256 pixels err by 0.4 %
    found = radiance(ctx, asset, 64 if neural == "albedo" else 1024, camera, bounces=1, neural=neural)
    assert abs(found.mean() / expected - 1) < 0.02


def test_lamp_and_environment_by_any_strategy(ctx: moderngl.Context) -> None:
    """A rectangular lamp gives a floor the same light whether it is sampled or found by chance: as an
    emitting box of no height it is not sampled. And an even picture gives what an even environment does."""
    floor = solid("plane", "diffuse", point=[0, 0, -0.8], normal=[0, 0, 1], albedo=[0.5] * 3)
    metal = solid("sphere", "metal", centre=[0.9, 0, -0.4], radius=0.3, albedo=[0.9] * 3, roughness=0.5)
    edges = [[1.6, 0, 0], [0, 1.6, 0]]
    sampled = solid("rectangle", "emission", corner=[-0.8, -0.8, 1.2], edges=edges, radiance=[3.0] * 3)
    box = {"centre": [0, 0, 1.2], "axes": np.eye(3), "half_size": [0.8, 0.8, 1e-4]}
    chance = solid("box", "emission", radiance=[3.0] * 3, **box)
    picture = Environment(picture=np.full((8, 16, 3), 0.3, np.float32))
    found = {
        (name, sky): radiance(
            ctx, replace(ball(), stage=Stage((floor, metal, light), environment)), 256, bounces=4
        )
        for name, light in (("sampled", sampled), ("chance", chance))
        for sky, environment in (("even", even(0.3)), ("picture", picture))
    }
    means = {key: value.reshape(4, 8, 4, 8, 3).mean((1, 3, 4)) for key, value in found.items()}
    wanted = means["chance", "even"]
    assert wanted.min() > 0.05
    for key, mean in means.items():
        # chance finds the lamp with probability 0.3 or so: 1 % of noise a block of 64 pixels
        assert np.abs(mean / wanted - 1).max() < 0.04, key
        assert abs(mean.mean() / wanted.mean() - 1) < 0.006, key


def test_sun_in_a_picture(ctx: moderngl.Context) -> None:
    """A few bright texels light a slope as the integral of the picture does, which numpy takes on a fine
    lattice; a picture is blended between texels. Up is a third axis, and the slope tells the azimuth."""
    h, w = 16, 32
    picture = np.full((h, w, 3), 0.05, np.float32)
    picture[4:6, 20:22] = 40.0
    up, k = np.array([1.0, 0.0, 0.0]), 8
    v, u = np.meshgrid((np.arange(h * k) + 0.5) / k - 0.5, (np.arange(w * k) + 0.5) / k - 0.5, indexing="ij")
    rows, columns, blended = np.floor(v).astype(int), np.floor(u).astype(int), 0.0
    for i in (0, 1):
        for j in (0, 1):
            weight = np.abs(1 - i - v + rows) * np.abs(1 - j - u + columns)
            blended = blended + weight * picture[np.clip(rows + i, 0, h - 1), (columns + j) % w, 0]
    theta, phi = np.pi * (v + 0.5) / h, 2 * np.pi * ((u + 0.5) / w - 0.5)
    # up is x, so that the picture's middle lies along y, and what is right of it turns towards z
    d = np.stack([np.cos(theta), np.sin(theta) * np.cos(phi), np.sin(theta) * np.sin(phi)], -1)
    normal = np.array([0.5, 0.5, 0.7]) / np.linalg.norm([0.5, 0.5, 0.7])
    solid_angle = np.sin(theta) * (np.pi / (h * k)) * (2 * np.pi / (w * k))
    irradiance = (blended * np.maximum(d @ normal, 0) * solid_angle).sum()
    slope = solid("plane", "diffuse", point=-normal, normal=normal, albedo=[0.5] * 3)
    asset = replace(ball(), up=np.float32(up), stage=Stage((slope,), Environment(picture=picture)))
    camera = look_at(2 * normal + [0, 0, 3.0], -normal + [0, 0, 2.5], up, 16, 16, 0.1)  # beside the ball
    found = radiance(ctx, asset, 64, camera, bounces=1)
    # 256 pixels of 64 samples; the ball hides a thousandth of the light
    assert abs(found.mean() / (0.5 * irradiance / np.pi) - 1) < 0.01


def test_noise_falls_with_the_root_of_the_samples(ctx: moderngl.Context) -> None:
    """The slope of the deviation between seeds over the samples, both as logarithms. Independent samples
    would give -0.5; the sequence is stratified, which can only gain. The slope itself is known to 0.03 from
    1024 pixels and eight seeds' differences, where light and paths have no heavy tails."""
    floor = solid("plane", "diffuse", point=[0, 0, -0.8], normal=[0, 0, 1], albedo=[0.7] * 3)
    asset = replace(ball((0.8, 0.7, 0.6)), stage=Stage((floor, lamp()), even(0.5)))
    counts, deviations = [4, 16, 64], []
    for count in counts:
        pictures = [radiance(ctx, asset, count, seed=seed, bounces=3) for seed in range(4)]
        deviations.append(np.sqrt(np.var(pictures, axis=0, ddof=1).mean()))
    slope = np.polyfit(np.log(counts), np.log(deviations), 1)[0]
    assert -0.95 < slope < -0.45


def test_equal_seeds_give_equal_pictures(ctx: moderngl.Context) -> None:
    asset = ball((0.8, 0.7, 0.6), 0.3)
    first, again = (radiance(ctx, asset, 5) for _ in range(2))
    assert np.array_equal(first, again)
    with Renderer(ctx, asset, driver="pathtrace") as renderer:
        for samples in (2, 1, 2):
            frame = renderer.draw(asset.camera, state={"samples": samples})
        assert frame.stats["samples"] == 5
        assert np.array_equal(linear(frame.images["colour"].astype(np.float64)), first)
    assert not np.array_equal(radiance(ctx, asset, 5, seed=1), first)


def test_gl_objects_are_given_back(ctx: moderngl.Context, monkeypatch: pytest.MonkeyPatch) -> None:
    made: list[Any] = []
    for name in ("buffer", "texture", "framebuffer", "compute_shader", "program", "vertex_array"):
        original = getattr(moderngl.Context, name)

        def make(self: moderngl.Context, *args: Any, original: Any = original, **options: Any) -> Any:
            made.append(original(self, *args, **options))
            return made[-1]

        monkeypatch.setattr(moderngl.Context, name, make)
    asset = ball()
    with Renderer(ctx, asset, driver="pathtrace") as renderer:
        for size in ((12, 8), (16, 8)):
            frame = renderer.draw(asset.camera, size, state={"denoise": True, "bounces": 2})
        passes = ("camera", "intersect", "shade", "shadows", "connect", "add", "denoise", "show")
        assert set(frame.stats["ms"]) == set(passes) and all(frame.stats["ms"].values())
    assert len(made) > 20
    assert all(isinstance(item.mglo, moderngl.InvalidObject) for item in made)


def test_what_starts_a_picture_anew(ctx: moderngl.Context) -> None:
    asset = ball()
    other = look_at([1.2, -1.9, 1.1], [0, 0, 0], [0, 0, 1], 32, 32, 0.8)
    with Renderer(ctx, asset, driver="pathtrace") as renderer:

        def samples(
            camera: Camera = asset.camera, size: Any = None, mode: str = "colour", **state: Any
        ) -> int:
            return int(renderer.draw(camera, size, mode, state).stats["samples"])

        assert [samples(), samples(), samples(samples=3), samples(samples=0)] == [1, 2, 5, 5]
        assert samples(mode="normal", denoise=True, exposure=2.0) == 6
        assert [samples(other), samples(other)] == [1, 2]
        assert samples(other, (16, 16)) == 1
        assert samples(other, (32, 32)) == 1
        assert [samples(neural="emitter"), samples(neural="albedo"), samples()] == [1, 1, 2]
        assert [samples(seed=3), samples(bounces=2), samples(clamp=1.0)] == [1, 1, 1]


def test_modes_show_what_is_met(ctx: moderngl.Context) -> None:
    """Depth and normals of the ball in closed form; the cost counts evaluations."""
    asset = replace(ball(), stage=Stage((), even(1.0)))
    rays_o, rays_d = (part.astype(np.float64) for part in asset.camera.rays())
    b = (rays_o * rays_d).sum(-1)
    gap = b**2 - (rays_o**2).sum(-1) + RADIUS**2
    t = -b - np.sqrt(np.maximum(gap, 0))
    with Renderer(ctx, asset, driver="pathtrace") as renderer:
        pictures = {
            mode: renderer.draw(asset.camera, mode=mode, state={"samples": 16}).images
            for mode in ("depth", "normal", "cost")
        }
    inner = gap > 0.05
    assert inner.sum() > 50
    coverage = pictures["depth"]["coverage"][..., 0]
    assert (coverage[inner] == 1).all() and not coverage[gap < -0.05].any()
    # the mean over a pixel is not its middle's: a pixel is 0.06 wide here
    assert np.abs(pictures["depth"]["depth"][..., 0] - t)[inner].max() < 0.03
    normals = (rays_o + t[..., None] * rays_d) / RADIUS
    assert np.abs(pictures["normal"]["normal"] - normals)[inner].max() < 0.05
    cost = pictures["cost"]["cost"][..., 0]
    assert (cost[inner] >= 3).all() and not cost[gap < -0.5].any()


def test_denoiser_leaves_edges(ctx: moderngl.Context) -> None:
    """Filtered, a picture of four samples is much nearer the truth, and nearer at the ball's edge too, where
    a filter that knew no edges would be several times as far off."""
    floor = solid("plane", "diffuse", point=[0, 0, -0.4], normal=[0, 0, 1], albedo=[0.7] * 3)
    asset = replace(ball((0.9, 0.3, 0.2)), stage=Stage((floor, lamp(6.0)), even(0.3)))
    camera = asset.camera.resized(48, 48)
    truth = radiance(ctx, asset, 512, camera)
    noisy, filtered = (radiance(ctx, asset, 4, camera, denoise=denoise) for denoise in (False, True))
    errors = [np.abs(picture - truth).mean(-1) for picture in (noisy, filtered)]
    assert errors[1].mean() < 0.5 * errors[0].mean()
    rays_o, rays_d = camera.rays()
    b = (rays_o * rays_d).sum(-1)
    edge = np.abs(np.sqrt(np.maximum((rays_o**2).sum(-1) - b**2, 0)) - RADIUS) < 0.08
    assert edge.sum() > 50 and errors[1][edge].mean() < 0.9 * errors[0][edge].mean()
    smeared = np.mean([np.roll(noisy, (i, j), (0, 1)) for i in range(-3, 4) for j in range(-3, 4)], 0)
    assert errors[1][edge].mean() < 0.3 * np.abs(smeared - truth).mean(-1)[edge].mean()
    assert abs(filtered.mean() / noisy.mean() - 1) < 0.02


def test_clamp_takes_away_light_only_where_asked(ctx: moderngl.Context) -> None:
    asset = replace(ball(), stage=Stage((lamp(50.0),), even(0.1)))
    assert radiance(ctx, asset, 8, clamp=0.2).mean() < 0.9 * radiance(ctx, asset, 8).mean()


def test_default_stage_holds_the_object(ctx: moderngl.Context) -> None:
    """The floor touches the lowest occupied cell, and the picture is neither dark nor burnt out."""
    asset = ball((0.8, 0.7, 0.6), 0.3)
    floor = default_stage(asset).solids[0].geometry
    assert -RADIUS - 0.1 < floor["point"][2] <= -RADIUS + 0.06
    picture = radiance(ctx, asset, 16)
    assert 0.1 < picture.mean() < 0.9 and np.quantile(picture, 0.95) < 1.5


@pytest.mark.parametrize(
    ("state", "parts"),
    [
        ({"sample": 1}, ["sample", "samples"]),
        ({"time": 1}, ["time", "it knows"]),
        ({"samples": -1}, ["samples", "-1", "0 to"]),
        ({"samples": True}, ["samples", "int"]),
        ({"samples": 1.5}, ["samples", "int"]),
        ({"exposure": "bright"}, ["exposure", "float"]),
        ({"exposure": float("nan")}, ["exposure", "nan"]),
        ({"neural": "mirror"}, ["neural", "emitter", "albedo"]),
        ({"denoise": 1}, ["denoise", "bool"]),
    ],
)
def test_bad_states(state: Mapping[str, Any], parts: list[str]) -> None:
    with pytest.raises(InshaderError) as error:
        read_state(state)
    assert all(part in str(error.value) for part in parts)


def test_export(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, ctx: moderngl.Context) -> None:
    """The command draws what the renderer does; noise goes where it is asked to."""
    monkeypatch.setattr(export, "create_context", lambda: ctx)
    monkeypatch.setattr(moderngl.Context, "release", lambda self: None)
    asset, path = ball((0.8, 0.6, 0.4)), tmp_path / "asset.safetensors"
    write_asset(path, asset)
    options = [str(path), "--driver", "pathtrace", "--samples", "3", "--size", "24x24"]
    assert export.main([*options, "--to", str(tmp_path / "a.png")]) == 0
    assert export.main([*options, "--denoise", "--to", str(tmp_path / "b.png")]) == 0
    noisy, filtered = (iio.imread(tmp_path / name) / 255 for name in ("a.png", "b.png"))
    with Renderer(ctx, asset, driver="pathtrace") as renderer:
        wanted = renderer.draw(asset.camera, (24, 24), state={"samples": 3}).images["colour"]
    assert np.abs(noisy - np.clip(wanted, 0, 1)).max() < 1.01 / 255
    assert np.abs(noisy - filtered).max() > 2 / 255
    monkeypatch.setattr(export, "create_context", create_context)
    monkeypatch.setenv("INSHADER_NO_GL", "1")
    assert export.main([*options, "--to", str(tmp_path / "c.png")]) == 2
    assert not (tmp_path / "c.png").exists()


def test_what_cannot_be_path_traced(ctx: moderngl.Context, build_ball: Any) -> None:
    with pytest.raises(InshaderError, match="march has no surface"):
        Renderer(ctx, build_ball(), driver="pathtrace")
    with pytest.raises(InshaderError, match="pathtrace"):
        Renderer(ctx, ball(), driver="march")
    with pytest.raises(InshaderError, match="compute"):
        Renderer(ctx, ball(), "fragment", driver="pathtrace")
    with (
        Renderer(ctx, ball(), driver="pathtrace") as renderer,
        pytest.raises(InshaderError, match="mode 'id'"),
    ):
        renderer.draw(ball().camera, mode="id")
