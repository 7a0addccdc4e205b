"""render-export: pictures, and the shader that needs nothing of ours."""

from __future__ import annotations

import base64
import json
import re
from collections.abc import Callable
from pathlib import Path

import imageio.v3 as iio
import moderngl
import numpy as np
import pytest

from render import export, reference
from render.asset import BakedAsset, write_asset
from render.camera import look_at
from render.renderer import Renderer

Build = Callable[..., BakedAsset]


@pytest.fixture(autouse=True)
def own_context(ctx: moderngl.Context, monkeypatch: pytest.MonkeyPatch) -> None:
    """The suite's context in place of a new one, which would take its place."""
    monkeypatch.setattr(export, "create_context", lambda: ctx)
    monkeypatch.setattr(moderngl.Context, "release", lambda self: None)


@pytest.fixture
def path(build_ball: Build, tmp_path: Path) -> Path:
    write_asset(tmp_path / "asset.safetensors", build_ball("float16"))
    return tmp_path


def load_and_draw(ctx: moderngl.Context, text: str, size: tuple[int, int]) -> np.ndarray:
    """A loader that knows nothing but the file: (h, w, 3), the top row first."""
    vertex = """#version 330 core
        void main() { gl_Position = vec4(gl_VertexID == 1 ? 3 : -1, gl_VertexID == 2 ? 3 : -1, 0, 1); }"""
    program = ctx.program(vertex_shader=vertex, fragment_shader=text)
    for unit, (name, w, h) in enumerate(re.findall(r"^// table (\w+) r32ui (\d+)x(\d+)$", text, re.M)):
        data = re.search(rf"/\* data {name}\n(.*?)\*/", text, re.S)
        assert data is not None
        texture = ctx.texture((int(w), int(h)), 1, base64.b64decode(data[1]), dtype="u4")
        texture.filter = (ctx.NEAREST, ctx.NEAREST)
        texture.use(unit)
        program[name] = unit
    for kind, name, values in re.findall(r"^// uniform (\w+) (\w+) (.*)$", text, re.M):
        program[name].write(np.array(values.split(), float).astype("i4" if kind == "int" else "f4").tobytes())
    target = ctx.framebuffer([ctx.texture(size, 4, dtype="f4")])
    target.use()
    ctx.vertex_array(program, []).render(vertices=3)
    return np.frombuffer(target.read(components=3, dtype="f4"), np.float32).reshape(size[1], size[0], 3)[::-1]


@pytest.mark.parametrize("name", ["ball", "noise"])
@pytest.mark.parametrize("precision", ["float32", "float16"])
def test_glsl_stands_alone(
    name: str, precision: str, build_ball: Build, build_noise: Build, ctx: moderngl.Context
) -> None:
    asset = (build_ball if name == "ball" else build_noise)(precision)
    camera = look_at([-1.1, 1.4, 0.8], [0.1, 0, 0], [0, 0, 1], 50, 70, 0.8)
    text = export.glsl_text(asset, camera)
    assert text.startswith("#version 330 core\n") and "#include" not in text and "#line" not in text
    with Renderer(ctx, asset) as renderer:
        wanted = renderer.draw(camera).images["colour"]
    assert wanted.std() > 0.05
    assert np.abs(load_and_draw(ctx, text, (50, 70)) - wanted).max() < 1 / 255


def test_glsl_command(path: Path, ctx: moderngl.Context) -> None:
    assert export.main([str(path), "--to", str(path / "ball.glsl"), "--size", "40x40"]) == 0
    picture = load_and_draw(ctx, (path / "ball.glsl").read_text(), (40, 40))
    assert export.main([str(path), "--to", str(path / "ball.PNG"), "--size", "40x40"]) == 0
    assert np.abs(picture - iio.imread(path / "ball.PNG") / 255).max() < 1.01 / 255


def test_png_of_a_camera(path: Path, build_ball: Build) -> None:
    camera = look_at([0.2, -1.9, 0.4], [0, 0, 0], [0, 0, 1], 30, 20, 0.6)
    (path / "camera.json").write_text(json.dumps([{**camera.to_json(), "t": 0.0}]))
    arguments = [str(path / "asset.safetensors"), "--to", str(path / "a.png")]
    assert export.main([*arguments, "--camera", str(path / "camera.json")]) == 0
    picture = iio.imread(path / "a.png")
    assert picture.shape == (20, 30, 3) and picture.dtype == np.uint8
    wanted = reference.draw(build_ball("float16"), camera)["colour"]
    assert np.abs(picture / 255 - wanted).max() < 1.01 / 255


def test_png_without_opengl(
    path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    from render.context import create_context

    assert export.main([str(path), "--to", str(path / "a.png"), "--size", "24x20"]) == 0
    monkeypatch.setenv("INSHADER_NO_GL", "1")
    monkeypatch.setattr(export, "create_context", create_context)
    assert export.main([str(path), "--to", str(path / "b.png"), "--size", "24x20"]) == 0
    assert "apt install" in capsys.readouterr().err
    assert np.abs(iio.imread(path / "a.png").astype(int) - iio.imread(path / "b.png")).max() <= 1


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--to", "a.usd"], ".usd is not supported, use .png or .exr or .glsl"),
        (["--to", "picture"], "no suffix is not supported"),
        (["--to", "nowhere/a.png"], "nowhere"),
        (["--to", "nowhere/a.glsl"], "nowhere"),
        (["--to", "a.png", "--camera", "none.json"], "none.json: cannot be read"),
        (["--to", "a.png", "--camera", "bad.json"], "bad.json: not JSON"),
        (["--to", "a.png", "--camera", "wrong.json"], "wrong.json: camera: the key"),
        (["--to", "a.png", "--driver", "pathtrace"], "march has no surface"),
        (["--to", "a.ply", "--driver", "pathtrace"], "use .png"),
        (["--to", "a.ply", "--camera", "bad.json"], "use --resolution"),
        (["--to", "a.glb", "--size", "8x8"], "use --resolution"),
        (["--to", "a.png", "--samples", "4"], "--driver pathtrace"),
    ],
)
def test_errors_are_one_line(
    arguments: list[str],
    message: str,
    path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(path)
    Path("bad.json").write_text("{")
    Path("wrong.json").write_text('{"w": 3}')
    before = sorted(path.iterdir())
    assert export.main([str(path), *arguments]) == 2
    error = capsys.readouterr().err
    assert message in error and error.count("\n") == 1
    assert sorted(path.iterdir()) == before


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--driver", "trace"], "pathtrace"),
        (["--samples", "0"], "expected 1 to"),
        (["--samples", "x"], "1 to"),
    ],
)
def test_options_of_pathtrace(
    arguments: list[str], message: str, path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as ended:
        export.main([str(path), "--to", str(path / "a.png"), *arguments])
    error = capsys.readouterr().err
    assert ended.value.code == 2 and message in error and error.count("\n") == 1


@pytest.mark.parametrize("mode", ["colour", "depth", "normal"])
def test_exr_holds_the_numbers(
    mode: str, build_ball: Build, tmp_path: Path, ctx: moderngl.Context, monkeypatch: pytest.MonkeyPatch
) -> None:
    openexr = pytest.importorskip("OpenEXR")
    monkeypatch.setattr(export, "create_context", lambda: ctx)
    monkeypatch.setattr(moderngl.Context, "release", lambda self: None)
    asset = build_ball()
    write_asset(tmp_path / "asset.safetensors", asset)
    target = tmp_path / "a.exr"
    assert export.main([str(tmp_path), "--to", str(target), "--size", "40x30", "--mode", mode]) == 0
    with openexr.File(str(target), separate_channels=True) as file:
        channels = {name: channel.pixels for name, channel in file.channels().items()}
    with Renderer(ctx, asset) as renderer:
        images = renderer.draw(asset.camera, (40, 30), mode=mode).images
    np.testing.assert_array_equal(channels["A"], images["coverage"][..., 0])
    if mode == "colour":  # over the background again, as a display shows it
        alpha = channels["A"]
        linear = np.stack([channels[name] for name in "RGB"], -1) / np.maximum(alpha, 1e-6)[..., None]
        display = np.where(linear <= 0.0031308, 12.92 * linear, 1.055 * linear ** (1 / 2.4) - 0.055)
        over = alpha[..., None] * display + (1 - alpha[..., None]) * asset.background
        np.testing.assert_allclose(over, images["colour"], atol=2e-4)
    elif mode == "depth":
        np.testing.assert_array_equal(channels["Z"], images["depth"][..., 0])
    else:
        found = np.stack([channels[f"N.{axis}"] for axis in "XYZ"], -1)
        np.testing.assert_array_equal(found, images["normal"])
