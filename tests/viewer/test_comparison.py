"""Held against the truth: modes, scores, the bar between two modes, and the benchmark."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import imageio.v3 as iio
import moderngl
import numpy as np
import pytest

import scenes.load
from render.asset import BakedAsset, read_asset
from render.bench import frame_times, peak_of, score, view_score
from render.camera import look_at
from render.errors import InshaderError
from render.renderer import Renderer
from scenes.dataset import Picture, Views, composite, coverage
from tests.viewer.test_panel import Watched, click
from viewer import output, panel, scores
from viewer.benchmark import Benchmark, rows
from viewer.session import Session
from viewer.settings import Settings
from viewer.truth import MAX_PIXELS, Truth, held_out_pictures

if TYPE_CHECKING:
    from tests.viewer.conftest import Driven

SIZE = 96, 64
TRUTH_SIZE = 80, 64  # narrower than the window, whose pixels it has
PATIENCE = 60  # seconds


@pytest.fixture
def ball(tiny_asset: Path) -> BakedAsset:
    """The asset with two held-out views, the second off centre and rolled, and the word of a scene."""
    w, h = TRUTH_SIZE
    first = look_at((2, 0, 0), (0, 0, 0), (0, 0, 1), w, h, 0.6)
    second = replace(look_at((0, 2, 0.5), (0, 0, 0), (0.3, 0, 1), w, h, 0.6), cx=45.0, cy=30.0)
    scene = {"name": "ball", "seed": 0, "data": {"format": "procedural", "test_views": 2}}
    return replace(read_asset(tiny_asset), held_out=(first, second), scene=scene)


@pytest.fixture
def images(ball: BakedAsset) -> np.ndarray:
    """(2, h, w, 4) uint8: noise that nothing draws."""
    w, h = TRUTH_SIZE
    return np.random.default_rng(3).integers(0, 256, (2, h, w, 4)).astype(np.uint8)


@pytest.fixture
def reads(monkeypatch: pytest.MonkeyPatch, ball: BakedAsset, images: np.ndarray) -> list[int]:
    """Stands for the readers of scenes; grows with each reading."""
    counted: list[int] = []

    def load(scene: Any) -> Picture:
        counted.append(1)
        views = Views(images, ball.held_out, ("a", "b"))
        return Picture(views, ball.bounds, 1.0, ball.background, "white", ball.up, np.eye(4))

    monkeypatch.setattr(scenes.load, "load_dataset", load)
    return counted


@pytest.fixture
def session(ctx: moderngl.Context, ball: BakedAsset, reads: list[int]) -> Iterator[Session]:
    session = Session(ctx, [("ball", ball)], Settings(auto=False))
    yield session
    session.release()


@pytest.fixture
def target(ctx: moderngl.Context) -> Iterator[moderngl.Framebuffer]:
    target = ctx.simple_framebuffer(SIZE)
    yield target
    target.release()


def work(session: Session) -> None:
    """Go on until nothing is under way, with the view at rest."""
    deadline = time.monotonic() + PATIENCE
    session._moved = -1e9
    session.work()
    while session.comparison.busy:
        assert time.monotonic() < deadline
        session.work()


def draw(session: Session, target: moderngl.Framebuffer) -> np.ndarray:
    session.draw(target, SIZE)
    data = target.read(components=3, alignment=1)
    return np.frombuffer(data, np.uint8).reshape(SIZE[1], SIZE[0], 3)[::-1].astype(int)


def rounded(picture: np.ndarray) -> np.ndarray:
    return np.rint(np.clip(picture, 0, 1) * 255).astype(int)


def test_truth_is_read_once_and_shown_at_its_camera(
    session: Session, target: moderngl.Framebuffer, ball: BakedAsset, images: np.ndarray, reads: list[int]
) -> None:
    assert session.modes[-2:] == ("truth", "error")
    colours = draw(session, target)
    assert not reads, "nothing is read before it is asked for"
    session.set_mode("truth")
    assert any("held-out views only" in line for line in session.notices)
    work(session)
    np.testing.assert_array_equal(draw(session, target), colours)
    for index in (0, 1):
        session.viewpoint.jump(1)
        work(session)
        shown = draw(session, target)
        left = (SIZE[0] - TRUTH_SIZE[0]) // 2
        expected = rounded(composite(images[index], ball.background))
        assert np.abs(shown[:, left:-left] - expected).max() <= 1
        assert (shown[:, :left] == shown[0, 0]).all(), "nothing is known beside it"
    assert len(reads) == 1
    session.viewpoint.drag(0.1, 0, pan=False)
    assert session.sides == ("colour",)


def test_the_picture_at_a_held_out_camera_is_that_cameras(
    session: Session, target: moderngl.Framebuffer, ball: BakedAsset
) -> None:
    """Also where its principal point and roll are none of a view that is turned by hand."""
    session.viewpoint.jump(-1)
    assert session.viewpoint.standing == 1
    expected = rounded(session.renderer.draw(ball.held_out[1]).images["colour"])
    left = (SIZE[0] - TRUTH_SIZE[0]) // 2
    # a rounded bit of the principal point moves a ray by no more than a step of 8 bits changes
    assert np.abs(draw(session, target)[:, left:-left] - expected).max() <= 1
    session.viewpoint.set_fov(1.0)
    assert session.viewpoint.standing is None


def test_errors(session: Session, target: moderngl.Framebuffer, ball: BakedAsset, images: np.ndarray) -> None:
    session.set_mode("error")
    session.viewpoint.jump(1)
    work(session)
    session.error_gain = 2.0
    shown = draw(session, target)
    session._drawn = ()
    picture = session.renderer.draw(ball.held_out[0]).images["colour"]
    difference = np.abs(np.clip(picture, 0, 1) - composite(images[0], ball.background))
    left = (SIZE[0] - TRUTH_SIZE[0]) // 2
    assert np.abs(shown[:, left:-left] - rounded(2 * difference)).max() <= 1
    assert "error at 80 x 64" in panel.state_line(session, SIZE)


def test_the_score_of_what_is_seen(session: Session, ball: BakedAsset, images: np.ndarray) -> None:
    session.comparison.truth.ask()
    work(session)
    assert session.comparison.score is None
    assert scores.score_lines(session) == ["away from the held-out views: [ and ] lead there"]
    for index in (0, 1):
        session.viewpoint.jump(1)
        work(session)
        picture = session.renderer.draw(ball.held_out[index]).images["colour"]
        truth = composite(images[index], ball.background)
        expected = view_score(picture, truth, coverage(images[index]), peak_of(ball))
        assert session.comparison.score == expected
        assert f"PSNR {expected.psnr:.2f} dB" in scores.score_lines(session)[0]
    session.viewpoint.drag(0.1, 0, pan=False)
    work(session)
    assert session.comparison.score is None


def test_a_variant_of_the_asset_keeps_pictures_and_place(
    ctx: moderngl.Context, ball: BakedAsset, reads: list[int]
) -> None:
    same, other = replace(ball), replace(ball, held_out=ball.held_out[:1])
    session = Session(ctx, [("a", ball), ("b", same), ("c", other)], Settings(auto=False))
    session.set_mode("truth")
    session.viewpoint.jump(-1)
    work(session)
    session.choose(1)
    session.work()
    assert session.viewpoint.standing == 1 and session.sides == ("truth",) and len(reads) == 1
    session.choose(2)
    session.work()
    assert session.viewpoint.standing is None and session.comparison.truth.pictures is None
    session.release()


@pytest.mark.parametrize("damage", ["other cameras", "missing", "too much", "no scene"])
def test_what_cannot_be_read_is_told_in_a_line(
    ctx: moderngl.Context, ball: BakedAsset, monkeypatch: pytest.MonkeyPatch, reads: list[int], damage: str
) -> None:
    data: dict[str, Any] = {"format": "procedural"}
    if damage == "other cameras":
        turned = replace(ball.held_out[1], cx=40.0)
        ball, expected = replace(ball, held_out=(ball.held_out[0], turned)), "other held-out views"
    elif damage == "missing":
        monkeypatch.undo()
        data, expected = {"format": "blender", "path": "nowhere"}, "there is no nowhere"
    elif damage == "too much":
        data, expected = {"format": "procedural", "max_size": 16384, "test_views": 2000}, str(MAX_PIXELS)
    else:
        data, expected = {"format": "telepathy"}, "data.format"
    session = Session(ctx, [("ball", replace(ball, scene={"data": data}))], Settings(auto=False))
    session.set_mode("truth")
    session.viewpoint.jump(1)
    work(session)
    (told,) = (line for line in session.notices if expected in line)
    assert "\n" not in told
    assert session.sides == ("colour",)
    session.set_mode("error")  # it is not tried again
    work(session)
    assert len(reads) <= 1
    session.release()


def test_pictures_of_a_real_scene(ball: BakedAsset, tmp_path: Path) -> None:
    """Read by the readers themselves: a picture's only view is the picture."""
    from scenes.load import load_dataset
    from scenes.scene import Data, Scene

    picture = np.random.default_rng(0).integers(0, 256, (24, 32, 3)).astype(np.uint8)
    iio.imwrite(tmp_path / "picture.png", picture)
    data = {"format": "auto", "path": str(tmp_path / "picture.png")}
    cameras = load_dataset(Scene(name="picture", data=Data(**data))).test.cameras  # type: ignore[arg-type]
    asset = replace(ball, held_out=cameras, scene={"name": "picture", "data": data})
    np.testing.assert_array_equal(held_out_pictures(asset), picture[None])
    with pytest.raises(InshaderError, match="other held-out views"):
        held_out_pictures(replace(asset, held_out=ball.held_out))


@pytest.mark.parametrize("right", ["truth", "error", "depth", "colour"])
def test_both_sides_of_the_bar(session: Session, target: moderngl.Framebuffer, right: str) -> None:
    """Each half is exactly what that mode alone shows."""
    session.viewpoint.jump(1)
    session.comparison.truth.ask()
    work(session)
    wholes = []
    for mode in ("normal", right):
        session.set_mode(mode)
        wholes.append(draw(session, target))
    session.set_mode("normal")
    session.set_mode(right, right=True)
    session.move_bar(0.4)
    both, bar = draw(session, target), round(0.4 * SIZE[0])
    np.testing.assert_array_equal(both[:, : bar - 1], wholes[0][:, : bar - 1])
    np.testing.assert_array_equal(both[:, bar + 1 :], wholes[1][:, bar + 1 :])
    assert (both[:, bar - 1 : bar + 1] == 255).all()
    count = session.renderer.frames
    session.move_bar(0.9)
    moved = draw(session, target)
    assert session.renderer.frames == count, "moving the bar draws nothing anew"
    np.testing.assert_array_equal(moved[:, :80], wholes[0][:, :80])


def test_a_screenshot_of_both_sides(session: Session, target: moderngl.Framebuffer, tmp_path: Path) -> None:
    session.set_mode("depth", right=True)
    both = draw(session, target)
    output.screenshot(session, SIZE, tmp_path)
    session.work()
    picture = iio.imread(tmp_path / "ball-colour-depth-001.png").astype(int)
    np.testing.assert_array_equal(picture, both)


def finished(benchmark: Benchmark) -> list[int]:
    """Let it run; how many pictures each step drew."""
    deadline, drawn = time.monotonic() + PATIENCE, []
    while benchmark.results is None:
        assert time.monotonic() < deadline
        before = benchmark.renderer.frames
        benchmark.truth.poll()
        benchmark.step()
        drawn.append(benchmark.renderer.frames - before)
    return drawn


def test_the_benchmark_is_render_benchs(
    ctx: moderngl.Context, ball: BakedAsset, images: np.ndarray, reads: list[int]
) -> None:
    with Renderer(ctx, ball) as renderer:
        benchmark = Benchmark(renderer, Truth(ball), frames=5)
        drawn = finished(benchmark)
        assert max(drawn) == 1 and sum(drawn) == benchmark.done == benchmark.total == 1 + 5 + 2
        times = frame_times(renderer, ball.held_out, frames=2)
        expected = score(renderer, [(composite(i, ball.background), coverage(i)) for i in images])
    results = benchmark.results
    assert results is not None
    assert results.keys() == times.keys() | expected.keys()
    assert {key: results[key] for key in expected} == expected
    assert results["evaluations_per_pixel"] > 0 and results["ms"]["p95"] >= results["ms"]["median"] > 0
    told = dict(rows(results))
    assert told["PSNR"] == f"{expected['psnr']['baked']:.2f} dB" and "ms median" in told["frame"]


def test_the_benchmark_without_truth(ctx: moderngl.Context, tiny_asset: Path) -> None:
    asset = read_asset(tiny_asset)
    with Renderer(ctx, asset) as renderer:
        benchmark = Benchmark(renderer, Truth(asset), frames=2)
        assert sum(finished(benchmark)) == 3
    assert benchmark.results is not None and "psnr" not in benchmark.results
    assert "PSNR" not in dict(rows(benchmark.results))


def test_the_benchmark_in_a_session(session: Session, target: moderngl.Framebuffer) -> None:
    before = draw(session, target)
    session.comparison.measure(session.renderer)
    session.work()
    assert session.busy == (not session.comparison.truth.reading), "the window waits for the pictures"
    work(session)
    benchmark = session.comparison.benchmark
    assert benchmark is not None and benchmark.results is not None and not session.busy
    np.testing.assert_array_equal(draw(session, target), before)
    session.comparison.stop()
    assert session.comparison.benchmark is None
    session.comparison.measure(session.renderer)
    while session.comparison.benchmark is not None and session.comparison.benchmark.done < 3:
        session.work()
    assert any("benchmark: picture 3 of" in line for line in session.notices)
    during = draw(session, target)
    assert np.abs(during - before).mean() > 2, "what is measured is shown"
    session.comparison.stop()
    np.testing.assert_array_equal(draw(session, target), before)


def begun(session: Session) -> Benchmark:
    """A benchmark that is under way."""
    session.comparison.measure(session.renderer)
    benchmark = session.comparison.benchmark
    while benchmark is not None and benchmark.done < 3:
        session.work()
    assert benchmark is not None
    return benchmark


@pytest.mark.parametrize("suffix", [".png", ".exr"])
def test_a_screenshot_during_the_benchmark(
    session: Session, target: moderngl.Framebuffer, tmp_path: Path, suffix: str
) -> None:
    """It is of what was seen before, and the benchmark goes on."""
    if suffix == ".exr":
        pytest.importorskip("OpenEXR")
    before = draw(session, target)
    session.settings = replace(session.settings, exr=suffix == ".exr", multiple=2)
    benchmark = begun(session)
    output.screenshot(session, SIZE, tmp_path)
    for _ in range(2):
        session.work()
        draw(session, target)
    assert [path.suffix for path in tmp_path.iterdir()] == [suffix]
    done = benchmark.done
    session.work()
    measured = draw(session, target)
    assert benchmark.done == done + 1 and np.abs(measured - before).mean() > 2
    session.comparison.stop()
    np.testing.assert_array_equal(draw(session, target), before)


def test_a_mode_chosen_during_the_benchmark(session: Session, target: moderngl.Framebuffer) -> None:
    """Its shaders may have to be compiled, and what was seen before the benchmark is gone by then."""
    draw(session, target)
    begun(session)
    session.set_mode("normal")
    draw(session, target)
    session.comparison.stop()
    for _ in range(2):
        draw(session, target)
        session.work()
    assert session.pictures.modes == ("normal",)


def test_a_benchmark_that_waits_leaves_the_picture(
    session: Session, target: moderngl.Framebuffer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Drawing anew would slow down the thread that it waits for."""
    read = threading.Event()
    monkeypatch.setattr("viewer.truth.held_out_pictures", lambda asset: read.wait(PATIENCE))
    draw(session, target)
    count = session.renderer.frames
    session.comparison.measure(session.renderer)
    for _ in range(3):
        session.work()
        draw(session, target)
    assert session.comparison.truth.reading and session.renderer.frames == count
    session.comparison.stop()
    read.set()


def test_keys_and_the_bar(driven: Driven) -> None:
    session, glfw, viewer = driven.session, driven.glfw, driven.viewer
    session.settings = replace(session.settings, panel=False)
    driven.press("V")
    assert session.split == 0.5 and session.sides == ("colour", "depth")
    driven.frames(2)
    view = session.viewpoint.view
    driven.drag((322, 240), (480, 240))
    assert session.split == 0.75 and session.viewpoint.view is view
    driven.drag((322, 240), (330, 240))
    assert session.split == 0.75 and session.viewpoint.view is not view, "the bar is elsewhere now"
    viewer.on_key(None, glfw.KEY_LEFT_SHIFT, 0, glfw.PRESS, 0)
    driven.press("3")
    viewer.on_key(None, glfw.KEY_LEFT_SHIFT, 0, glfw.RELEASE, 0)
    assert session.sides == ("colour", "normal")
    assert panel.state_line(session, glfw.size).startswith("colour | normal")
    driven.press("V")
    assert session.split is None
    driven.press("B")
    assert session.comparison.measuring
    driven.press("B")
    assert not session.comparison.measuring


def test_the_controls(driven: Driven, ball: BakedAsset, reads: list[int]) -> None:
    """Each is there when it is wanted, works, and has a tooltip."""
    session = driven.session
    real = driven.viewer.overlay.imgui
    watched = Watched(real)
    driven.viewer.overlay.imgui = watched
    driven.frames(2)
    assert "read pictures" not in watched.places
    session.assets.append(("other", ball))
    session.choose(1)
    session.settings = replace(session.settings, scale=0.1)
    driven.frames()
    click(driven, watched.places["read pictures"])
    assert reads == [1]
    click(driven, watched.places["split view"])
    assert session.split == 0.5
    driven.frames()
    session.set_mode("error", right=True)
    driven.frames()
    assert {"gain", "right of the bar"} <= watched.places.keys()
    session.comparison.benchmark = Benchmark(session.renderer, session.comparison.truth, frames=1)
    work(session)
    driven.frames()
    click(driven, watched.places["##chart"])
    assert session.viewpoint.standing == 0
    assert "view 1: " in watched.tips["##chart"]
    click(driven, watched.places["close##results"])
    assert session.comparison.benchmark is None
    assert watched.places.keys() == watched.tips.keys()
    driven.viewer.overlay.imgui = real
