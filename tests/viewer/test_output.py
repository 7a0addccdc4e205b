"""What is written: pictures as numbers, films, paths; a step at a time, whole or not at all."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import moderngl
import numpy as np
import pytest

from render.asset import BakedAsset, read_asset
from render.camera import look_at
from render.camera_path import read_path
from render.errors import InshaderError
from render.film import FPS
from render.metrics import psnr
from tests.render.conftest import teacher
from viewer import output, tracing
from viewer.screen import GREY
from viewer.session import Session
from viewer.settings import Settings

SIZE = 96, 64


@pytest.fixture
def session(ctx: moderngl.Context, tiny_asset: Path) -> Iterator[Session]:
    session = Session(ctx, [("ball", read_asset(tiny_asset))], Settings(auto=False))
    yield session
    session.release()


@pytest.fixture
def target(ctx: moderngl.Context) -> Iterator[moderngl.Framebuffer]:
    target = ctx.simple_framebuffer(SIZE)
    yield target
    target.release()


def draw(session: Session, target: moderngl.Framebuffer) -> np.ndarray:
    session.draw(target, SIZE)
    data = target.read(components=3, alignment=1)
    return np.frombuffer(data, np.uint8).reshape(SIZE[1], SIZE[0], 3)[::-1].astype(int)


def keys(session: Session, count: int, gap: float) -> None:
    """A path of so many keys about the scene."""
    for angle in np.linspace(0, 1.5, count):
        place = [2 * np.cos(angle), 2 * np.sin(angle), 0.5]
        session.path.add(look_at(place, (0, 0, 0), (0, 0, 1), *SIZE, 0.6))
        session.path.set_gap(gap)


def frames(path: Path) -> np.ndarray:
    av = pytest.importorskip("av")
    with av.open(str(path)) as container:
        return np.stack([frame.to_ndarray(format="rgb24") for frame in container.decode(video=0)])


def test_a_screenshot_of_another_size(session: Session, tmp_path: Path) -> None:
    import imageio.v3 as iio

    session.settings = replace(session.settings, width=50, height=70)
    output.screenshot(session, SIZE, tmp_path)
    session.work()
    picture = iio.imread(tmp_path / "ball-colour-001.png").astype(int)
    expected = session.renderer.draw(session.viewpoint.camera((50, 70))).images["colour"]
    assert np.abs(picture - np.rint(np.clip(expected, 0, 1) * 255)).max() <= 1


@pytest.mark.parametrize("mode", ["depth", "colour"])
def test_a_screenshot_of_numbers(session: Session, tmp_path: Path, mode: str) -> None:
    openexr = pytest.importorskip("OpenEXR")
    session.settings = replace(session.settings, exr=True)
    session.set_mode(mode)
    session.set_split(True)
    output.screenshot(session, SIZE, tmp_path)
    session.work()
    with openexr.File(str(tmp_path / f"ball-{mode}-001.exr"), separate_channels=True) as file:
        channels = {name: channel.pixels for name, channel in file.channels().items()}
    images = session.renderer.draw(session.viewpoint.camera(SIZE), mode=mode).images
    np.testing.assert_array_equal(channels["A"], images["coverage"][..., 0])
    if mode == "depth":
        np.testing.assert_array_equal(channels["Z"], images["depth"][..., 0])
    else:
        assert set(channels) == {"R", "G", "B", "A"} and channels["R"].max() > 0.1


def test_pictures_leave_nothing_bound(
    session: Session, ctx: moderngl.Context, target: moderngl.Framebuffer
) -> None:
    """A framebuffer that is released while it is bound breaks the making of the next one."""
    draw(session, target)
    _ = ctx.error  # reading it clears what an earlier test of the run left behind
    session.pictures.pixels(SIZE, None, **session.looks)
    texture = ctx.texture((8, 8), 4)
    other = ctx.framebuffer([texture])
    assert ctx.error == "GL_NO_ERROR"
    other.release()
    texture.release()


def test_a_film_is_what_the_path_shows(
    session: Session, target: moderngl.Framebuffer, tmp_path: Path
) -> None:
    pytest.importorskip("av")
    keys(session, 3, 0.2)
    view = session.viewpoint.view
    draw(session, target)
    output.film(session, SIZE, tmp_path)
    path = tmp_path / "ball-film-001.mp4"
    told: list[str] = []
    while session.take is not None:
        assert session.busy and not path.exists(), "it is there when it is whole"
        session.work()
        told += session.notices
        draw(session, target)  # the window answers in between
    assert any("filming 96 x 64 pixels: 5 of 13" in line for line in told)
    assert any(f"written: {path}" in line for line in session.notices)
    pictures = frames(path)
    built = session.path.built(SIZE)
    assert built is not None and len(pictures) == round(FPS * 0.4) + 1
    for number in (0, 5, len(pictures) - 1):
        wanted = session.renderer.draw(built.spread(len(pictures))[number]).images["colour"]
        assert psnr(pictures[number] / 255, np.clip(wanted, 0, 1)) > 26  # colours of half the resolution
    assert session.viewpoint.view is view
    before = draw(session, target)
    assert session.pictures.frame is not None and session.pictures.frame.texture.size == SIZE
    assert before.std() > 20


def test_a_film_that_is_cancelled_leaves_nothing(
    session: Session, target: moderngl.Framebuffer, tmp_path: Path
) -> None:
    pytest.importorskip("av")
    before = draw(session, target)
    output.film(session, SIZE, tmp_path)  # no keys: once around
    for _ in range(3):
        session.work()
        draw(session, target)
    assert session.take is not None and session.take.total == 180
    session.cancel()
    assert session.take is None and not list(tmp_path.iterdir())
    np.testing.assert_array_equal(draw(session, target), before)


def test_what_cannot_be_written_is_told(session: Session, tmp_path: Path) -> None:
    keys(session, 2, 60.0)
    for _ in range(40):
        keys(session, 1, 60.0)
    session.tasks.attempt(lambda: output.film(session, SIZE, tmp_path))
    assert session.take is None and any("at most 65536 are filmed" in line for line in session.notices)
    session.path.clear()
    output.film(session, SIZE, tmp_path / "missing")
    session.work()
    assert session.take is None and any("missing" in line for line in session.notices)


def test_a_path_as_json(session: Session, tmp_path: Path) -> None:
    output.save_path(session, SIZE, tmp_path)
    assert json.loads((tmp_path / "ball-camera-001.json").read_text())["w"] == SIZE[0]
    keys(session, 3, 0.5)
    output.save_path(session, SIZE, tmp_path)
    path = tmp_path / "ball-path-001.json"
    assert len(read_path(path).cameras) == 3
    assert any("render-export ball --to ball-path-001.mp4 --camera" in line for line in session.notices)
    session.path.clear()
    session.add(str(path))
    session.work()
    assert len(session.path.keys) == 3
    path.write_text("{")
    session.add(str(path))
    session.work()
    assert len(session.path.keys) == 3 and any("not JSON" in line for line in session.notices)


def test_the_preview_moves_the_camera(session: Session, target: moderngl.Framebuffer) -> None:
    keys(session, 2, 1.0)
    session.path.play(True)
    session.play(0.5)
    assert session.busy
    built = session.path.built(SIZE)
    assert built is not None
    shown = session.viewpoint.camera(SIZE)
    np.testing.assert_allclose(shown.world_from_camera, built.at(0.5).world_from_camera, atol=1e-9)
    draw(session, target)
    session.play(5.0)
    assert not session.path.playing
    np.testing.assert_allclose(
        session.viewpoint.camera(SIZE).world_from_camera, built.at(9.0).world_from_camera, atol=1e-9
    )


# Path tracing -------------------------------------------------------------------------------------------


@pytest.fixture
def lit(ctx: moderngl.Context) -> Iterator[Session]:
    if ctx.version_code < 430:
        pytest.skip("the path tracer wants OpenGL 4.3")
    asset: BakedAsset = teacher()
    session = Session(ctx, [("ball", asset)], Settings(auto=False))
    yield session
    session.release()


def test_light_is_gathered(lit: Session, target: moderngl.Framebuffer, tmp_path: Path) -> None:
    import imageio.v3 as iio

    plain = draw(lit, target)
    lit.set_mode(tracing.MODE)
    assert any("path tracer" in line for line in lit.notices), "compiling is told first"
    np.testing.assert_array_equal(draw(lit, target), plain)
    lit.work()
    assert lit.tracer is not None
    lit.tracer.wanted = 6
    pictures = []
    while lit.busy:
        pictures.append(draw(lit, target))
        assert lit.tracer.samples == len(pictures)
    assert len(pictures) == 6 and np.abs(pictures[0] - plain).mean() > 5
    count = lit.tracer.renderer.frames
    np.testing.assert_array_equal(draw(lit, target), pictures[-1])
    assert lit.tracer.renderer.frames == count, "enough is enough"
    lit.tracer.denoise = True
    assert lit.busy
    denoised = draw(lit, target)
    assert not lit.busy and lit.tracer.samples == 6, "no light is gathered anew for it"
    assert np.abs(denoised - pictures[-1]).mean() > 0.2
    lit.viewpoint.drag(0.2, 0.0, False)
    draw(lit, target)
    assert lit.tracer.samples == 1, "another view begins anew"
    output.screenshot(lit, SIZE, tmp_path)
    while lit.take is not None:
        lit.work()
    assert lit.tracer.samples == 6 and iio.imread(tmp_path / "ball-pathtrace-001.png").shape == (
        *SIZE[::-1],
        3,
    )


def test_light_as_numbers_in_another_size(lit: Session, target: moderngl.Framebuffer, tmp_path: Path) -> None:
    """What is seen in the meantime is that picture: the one before is gone."""
    openexr = pytest.importorskip("OpenEXR")
    lit.set_mode(tracing.MODE)
    lit.work()
    assert lit.tracer is not None
    lit.tracer.wanted = 3
    draw(lit, target)
    lit.settings = replace(lit.settings, exr=True, multiple=2)
    output.screenshot(lit, SIZE, tmp_path)
    while lit.take is not None:
        lit.work()
        assert draw(lit, target).std() > 5
    assert lit.tracer.samples == 1, "the window's picture begins anew"
    with openexr.File(str(tmp_path / "ball-pathtrace-001.exr"), separate_channels=True) as file:
        assert file.channels()["R"].pixels.shape == (2 * SIZE[1], 2 * SIZE[0])


def test_a_mode_that_is_compiled_beside_light(
    lit: Session, target: moderngl.Framebuffer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The light goes on while a line about it is shown, and then the mode is drawn."""
    lit.set_mode(tracing.MODE)
    lit.work()
    for _ in range(3):  # until its resolution is settled
        draw(lit, target)
    compiled: set[str] = set()
    monkeypatch.setattr(lit.renderer, "ready", compiled.__contains__)
    lit.set_mode("normal", right=True)
    draw(lit, target)
    assert "compiling shaders ..." in lit.notices
    lit.work()
    draw(lit, target)
    assert lit.pictures.modes == (tracing.MODE, "normal")


def test_light_that_cannot_be_gathered_is_told_once(
    lit: Session, target: moderngl.Framebuffer, monkeypatch: pytest.MonkeyPatch
) -> None:
    lit.set_mode(tracing.MODE)
    lit.work()
    for _ in range(3):
        draw(lit, target)
    assert lit.tracer is not None and lit.busy
    tried = []

    def fails(*arguments: object, **named: object) -> None:
        tried.append(arguments)
        raise InshaderError("too much light")

    monkeypatch.setattr(lit.tracer.renderer, "draw", fails)
    for _ in range(3):
        assert (draw(lit, target) == round(255 * GREY)).all()
    assert len(tried) == 1 and lit.notices == ["too much light"] and not lit.busy


def test_light_beside_colour(lit: Session, target: moderngl.Framebuffer) -> None:
    plain = draw(lit, target)
    lit.set_mode(tracing.MODE, right=True)
    lit.work()
    assert lit.tracer is not None
    lit.tracer.wanted = 3
    count = lit.renderer.frames
    while lit.busy:
        shown = draw(lit, target)
    assert lit.renderer.frames == count + 1, "what is done is not drawn again for every sample"
    np.testing.assert_array_equal(shown[:, :47], plain[:, :47])
    assert np.abs(shown[:, 50:] - plain[:, 50:]).mean() > 5


def test_samples_have_the_pixels_that_there_is_time_for(lit: Session) -> None:
    lit.set_mode(tracing.MODE)
    lit.work()
    tracer = lit.tracer
    assert tracer is not None and tracer.scale((800, 600), False, 30.0) == 0.25, "nothing is known yet"
    tracer._pace = 4 * tracing.PATIENCE / (800 * 600)
    assert tracer.scale((800, 600), False, 30.0) == pytest.approx(0.5)
    tracer._pace *= 1.2
    assert tracer.scale((800, 600), False, 30.0) == pytest.approx(0.5), "it stays, else all would begin anew"
    assert tracer.scale((800, 600), True, 30.0) == pytest.approx(0.25)
    tracer._pace /= 100
    assert tracer.scale((800, 600), False, 30.0) == 1.0


def test_an_asset_without_a_surface_offers_none(session: Session) -> None:
    assert tracing.MODE not in session.modes
    session.set_mode(tracing.MODE)
    assert session.mode == "colour" and session.tracer is None
