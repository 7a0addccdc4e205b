"""The image driver: both hosts against the numpy twin, the picture in its place, and what is refused."""

from __future__ import annotations

import base64
import re
from collections.abc import Callable
from dataclasses import replace

import moderngl
import numpy as np
import pytest

from render import reference
from render.asset import BakedAsset, BakedGrid, BakedNetwork, asset_bytes, asset_from_bytes
from render.bench import score
from render.camera import Camera, look_at
from render.drivers.image import HOSTS, MODES
from render.errors import InshaderError
from render.export import glsl_text
from render.grid import GridSpec
from render.network import Concat, Linear, NetworkSpec, Normalise, Slot, SquareConcat
from render.pictures import exr_channels
from render.renderer import Renderer

BOUNDS = np.float32([[-0.8, -0.6, -0.001], [0.8, 0.6, 0.001]])


def standing(x: float, y: float, z: float) -> np.ndarray:
    """The pose of a camera there that looks straight at the plane."""
    pose = np.eye(4)
    pose[:3, 3] = x, y, z
    return pose


BEFORE = Camera(standing(0, 0, 2), 80, 80, 32, 24, 64, 48)  # its 64 x 48 pixels are the picture
CAMERAS = {
    "before": BEFORE,
    "near": replace(BEFORE, world_from_camera=standing(0.3, 0, 0.1)),
    "far": replace(BEFORE, world_from_camera=standing(0, 0, 5)),
    "oblique": look_at([0.9, -1.1, 0.7], [0.1, 0.1, 0], [0, 1, 0], 70, 50, 0.9),
    "behind": look_at([0.2, 0.1, -1.5], [0, 0, 0], [0, 1, 0], 40, 40, 0.9),
    "away": look_at([0, 0, 1], [0, 0, 3], [0, 1, 0], 20, 10, 0.5),
}


def noise(channels: int = 3, precision: str = "float32") -> BakedAsset:
    """Random features in dense and hashed levels, decoded by normalised kernels; the middle is coloured."""
    rng = np.random.default_rng(channels)
    grid = GridSpec(2, 4, 2, 5, 2.0, 8, precision)
    decoder = NetworkSpec(
        (Slot("features", 8),),
        (SquareConcat(), Linear(6, activation="gaussian"), Normalise(), Concat(0), Linear(channels)),
        precision=precision,
    )
    parameters = {
        name: (0.5 * rng.normal(size=shape)).astype(precision)
        for name, shape in decoder.parameter_shapes().items()
    }
    parameters["1.weight"][..., 8:] = -np.abs(parameters["1.weight"][..., 8:])
    parameters["4.bias"][:] = 0.5
    table = rng.normal(size=(grid.entries, 2)).astype(precision)
    return BakedAsset(
        family="gaussian_rbf",
        driver="image",
        bounds=BOUNDS,
        networks={"decoder": BakedNetwork(decoder, parameters)},
        grids={"features": BakedGrid(grid, table)},
        volumes={},
        constants={"peak": 1.0},
        background=np.float32([0.2, 0.4, 0.9]),
        up=np.float32([0, 1, 0]),
        world_from_source=np.eye(4),
        camera=BEFORE,
        held_out=(BEFORE,),
    )


def ramp() -> BakedAsset:
    """Red is u, green is v, but for the half cell at the rim where the grid's lattice ends."""
    grid = GridSpec(2, 1, 2, 9, 1.0, 10)
    level = grid.level_list[0]
    axis = (np.arange(level.resolution) - 0.5) / level.scale
    v, u = np.meshgrid(axis, axis, indexing="ij")  # x fastest
    table = np.zeros((grid.entries, 2), np.float32)
    table[: u.size] = np.stack([u.ravel(), v.ravel()], -1)
    decoder = NetworkSpec((Slot("features", 2),), (Linear(3),))
    parameters = {"0.weight": np.eye(3, 2, dtype=np.float32)[None], "0.bias": np.zeros((1, 3), np.float32)}
    asset = noise()
    return replace(
        asset,
        networks={"decoder": BakedNetwork(decoder, parameters)},
        grids={"features": BakedGrid(grid, table)},
    )


@pytest.mark.parametrize("host", HOSTS)
@pytest.mark.parametrize("precision", ["float32", "float16"])
@pytest.mark.parametrize("channels", [3, 4])
def test_shader_is_the_reference(channels: int, precision: str, host: str, ctx: moderngl.Context) -> None:
    asset = asset_from_bytes(asset_bytes(noise(channels, precision)))
    with Renderer(ctx, asset, host) as renderer:
        for name, camera in CAMERAS.items():
            for mode in MODES:
                found, wanted = (
                    renderer.draw(camera, mode=mode).images,
                    reference.draw(asset, camera, mode=mode),
                )
                # a ray along the rim may be taken to pass on either side
                close = np.abs(found[mode] - wanted[mode]).max(-1) < (
                    1e-4 if precision == "float32" else 2e-3
                )
                close &= np.abs(found["coverage"] - wanted["coverage"])[..., 0] < 2e-3
                assert (~close).mean() < 2e-3, (name, mode)
                if name == "before":
                    assert np.ptp(wanted["coverage"]) > 0.3 or channels == 3
                    assert mode != "colour" or wanted["colour"].std() > 0.1


@pytest.mark.parametrize("host", HOSTS)
def test_the_picture_is_where_it_should_be(host: str, ctx: moderngl.Context) -> None:
    asset = ramp()
    with Renderer(ctx, asset, host) as renderer:
        frame = renderer.draw(BEFORE)
        picture = frame.images["colour"]
        assert (frame.images["coverage"] == 1).all() and frame.stats["evaluations_per_pixel"] == 1
        j, i = np.mgrid[:48, :64]
        inner = (slice(4, -4), slice(5, -5))
        wanted = np.stack([(i + 0.5) / 64, 1 - (j + 0.5) / 48], -1)
        assert np.abs(picture[..., :2] - wanted)[inner].max() < 1e-5
        zoomed = CAMERAS["near"]  # 20 times nearer, about x = 0.3
        wanted_u = (0.3 + (i + 0.5 - 32) / 80 * 0.1 + 0.8) / 1.6
        assert np.abs(renderer.draw(zoomed).images["colour"][..., 0] - wanted_u).max() < 1e-5
        far = renderer.draw(CAMERAS["far"])
        assert far.images["coverage"].mean() == pytest.approx(0.16, abs=0.01)  # 2.5 times as far
        outside = far.images["coverage"][..., 0] == 0
        assert np.allclose(far.images["colour"][outside], asset.background)
        assert far.stats["evaluations_per_pixel"] == pytest.approx(0.16, abs=0.01)
        depth = renderer.draw(CAMERAS["far"], mode="depth").images["depth"]
        assert not depth[outside].any() and depth[24, 32, 0] == pytest.approx(5, abs=1e-3)
        assert not renderer.draw(CAMERAS["away"]).images["coverage"].any()


def test_glsl_stands_alone(ctx: moderngl.Context) -> None:
    asset = noise(4, "float16")
    camera = CAMERAS["oblique"]
    text = glsl_text(asset, camera)
    assert "#include" not in text and "#asset" not in text
    vertex = """#version 330 core
        void main() { gl_Position = vec4(gl_VertexID == 1 ? 3 : -1, gl_VertexID == 2 ? 3 : -1, 0, 1); }"""
    program = ctx.program(vertex_shader=vertex, fragment_shader=text)
    ((name, w, h),) = re.findall(r"^// table (\w+) r32ui (\d+)x(\d+)$", text, re.M)
    data = re.search(rf"/\* data {name}\n(.*?)\*/", text, re.S)
    assert data is not None
    texture = ctx.texture((int(w), int(h)), 1, base64.b64decode(data[1]), dtype="u4")
    texture.filter = (ctx.NEAREST, ctx.NEAREST)
    texture.use(0)
    for kind, uniform, values in re.findall(r"^// uniform (\w+) (\w+) (.*)$", text, re.M):
        numbers = np.array(values.split(), float)
        program[uniform].write(numbers.astype("i4" if kind == "int" else "f4").tobytes())
    target = ctx.framebuffer([ctx.texture((camera.w, camera.h), 4, dtype="f4")])
    target.use()
    ctx.vertex_array(program, []).render(vertices=3)
    found = np.frombuffer(target.read(components=3, dtype="f4"), np.float32)
    found = found.reshape(camera.h, camera.w, 3)[::-1]
    with Renderer(ctx, asset) as renderer:
        wanted = renderer.draw(camera).images["colour"]
    off = np.abs(found - wanted).max(-1) > 1 / 255
    assert wanted.std() > 0.05 and off.mean() < 2e-3


def test_scores_count_in_units_of_the_peak(ctx: moderngl.Context) -> None:
    asset = noise()
    truth = np.clip(reference.draw(asset, BEFORE)["colour"], 0, 1) + np.float32(0.1)
    with Renderer(ctx, replace(asset, constants={"peak": 2.0})) as renderer:
        found = score(renderer, [(truth, None)])["psnr"]["baked"]
    picture = np.clip(reference.draw(asset, BEFORE)["colour"], 0, 2)
    wanted = 10 * np.log10(4 / np.mean((picture - truth) ** 2))
    assert found == pytest.approx(wanted, abs=0.01)


def decoded_by(spec: NetworkSpec) -> Callable[[BakedAsset], BakedAsset]:
    parameters = {key: np.zeros(shape, np.float32) for key, shape in spec.parameter_shapes().items()}
    return lambda asset: replace(asset, networks={"decoder": BakedNetwork(spec, parameters)})


def test_unfit_assets_are_refused(ctx: moderngl.Context) -> None:
    solid = GridSpec(3, 1, 8, 4, 1.0, 8)
    changes: list[tuple[Callable[[BakedAsset], BakedAsset], str]] = [
        (lambda asset: replace(asset, grids={}), "no grid 'features'"),
        (lambda asset: replace(asset, networks={}), "no network 'decoder'"),
        (lambda asset: replace(asset, constants={}), "no constant 'peak'"),
        (lambda asset: replace(asset, constants={"peak": 0}), "the constant peak is 0"),
        (decoded_by(NetworkSpec((Slot("x", 9),), (Linear(3),))), "one input of width 8"),
        (decoded_by(NetworkSpec((Slot("x", 8),), (Linear(3),), count=2)), "single"),
        (decoded_by(NetworkSpec((Slot("x", 8),), (Linear(5),))), "gives 5 values, expected 3 or 4"),
        (
            lambda asset: replace(
                asset, grids={"features": BakedGrid(solid, np.zeros((solid.entries, 8), np.float32))}
            ),
            "has 3 dimensions, image wants 2",
        ),
    ]
    for change, message in changes:
        with pytest.raises(InshaderError, match=message):
            Renderer(ctx, change(noise()))
    with pytest.raises(InshaderError, match="no mode 'normal'"), Renderer(ctx, noise()) as renderer:
        renderer.draw(BEFORE, mode="normal")


@pytest.mark.parametrize("peak", [0.8, 2.0])
def test_float_pictures_are_linear_already(peak: float) -> None:
    """However dark they are: .exr files get the numbers as they were learnt."""
    asset = noise()
    asset = replace(asset, constants={**asset.constants, "peak": peak})
    images = {"colour": np.full((2, 3, 3), 0.5, np.float32), "coverage": np.ones((2, 3, 1), np.float32)}
    assert (exr_channels(asset, "colour", images)["G"] == 0.5).all()
