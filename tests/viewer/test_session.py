"""What is looked at and how, drawn into a framebuffer."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from typing import Any

import imageio.v3 as iio
import moderngl
import numpy as np
import pytest

from render.asset import BakedAsset, BakedGrid, BakedNetwork, read_asset, write_asset
from render.camera import Camera, look_at
from render.errors import InshaderError
from render.grid import GridSpec
from render.network import Linear, NetworkSpec, Slot
from viewer import output
from viewer.fly import Fly
from viewer.names import free_path, short_name
from viewer.orbit import Orbit
from viewer.screen import GREY
from viewer.session import Session
from viewer.settings import Settings
from viewer.viewpoint import UPS

SIZE = 96, 64


@pytest.fixture
def ball(tiny_asset: Path) -> BakedAsset:
    """The asset with two held-out views."""
    views = [look_at(place, (0, 0, 0), (0, 0, 1), 32, 32, 0.6) for place in ((2, 0, 0), (0, 2, 0.5))]
    return replace(read_asset(tiny_asset), held_out=tuple(views))


@pytest.fixture
def session(ctx: moderngl.Context, ball: BakedAsset) -> Iterator[Session]:
    session = Session(ctx, [("ball", ball)], Settings(auto=False))
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


def headless(session: Session, mode: str = "colour") -> np.ndarray:
    frame = session.renderer.draw(session.viewpoint.view.camera(*SIZE), mode=mode)
    session._drawn = ()  # the frame has been drawn over
    return np.rint(np.clip(frame.images[mode], 0, 1) * 255).astype(int)


def test_the_picture_is_the_renderers(session: Session, target: moderngl.Framebuffer) -> None:
    picture = draw(session, target)
    assert np.abs(picture - headless(session)).max() <= 1
    assert picture.std() > 20


def test_nothing_is_drawn_while_nothing_changes(session: Session, target: moderngl.Framebuffer) -> None:
    first = draw(session, target)
    count = session.renderer.frames
    np.testing.assert_array_equal(draw(session, target), first)
    assert session.renderer.frames == count
    session.viewpoint.drag(0.1, 0, pan=False)
    assert session.busy
    draw(session, target)
    assert session.renderer.frames == count + 1
    session.settings = replace(session.settings, continuous=True)
    draw(session, target)
    draw(session, target)
    assert session.renderer.frames == count + 3
    assert len(session.pace.times) > 0
    assert not session.pace.stats, "nobody has asked, and it takes a while"
    session.look()
    assert session.pace.stats["ms"] and session.pace.stats["timer"] == session.renderer.timer.kind
    headless(session)
    session.look()  # drawn over: what was seen stays


def test_colours_have_the_bits_that_they_need(session: Session, target: moderngl.Framebuffer) -> None:
    """Eight where they are shown as they are; more before exposure and background come to them."""
    session.background = tuple(session.asset.background.tolist())
    exact = draw(session, target)
    session.background = None
    for exposure, dtype in ((0.0, "f1"), (2.0, "f4"), (0.0, "f1")):
        session.exposure = exposure
        shown = draw(session, target)
        assert session.pictures.frame is not None and session.pictures.frame.texture.dtype == dtype
    assert np.abs(shown - exact).max() <= 1


def test_fewer_pixels(session: Session, target: moderngl.Framebuffer) -> None:
    full = draw(session, target)
    session.settings = replace(session.settings, scale=0.5)
    half = draw(session, target)
    assert session.pace.scale == 0.5
    assert session.pictures.frame is not None and session.pictures.frame.texture.size == (48, 32)
    difference = np.abs(half - full)
    assert 0.5 < difference.mean() < 12, "a coarser picture of the same, the right way up"
    assert np.abs(half[::-1] - full).mean() > 2 * difference.mean()


def test_automatic_resolution(
    session: Session, target: moderngl.Framebuffer, monkeypatch: pytest.MonkeyPatch
) -> None:
    session.settings = Settings(auto=True, target_fps=144.0)
    now = [0.0]
    monkeypatch.setattr("viewer.session.time.monotonic", lambda: now[0])
    slow = session.renderer.draw

    def taking_long(*arguments: object, **named: object) -> object:
        now[0] += 0.2
        return slow(*arguments, **named)  # type: ignore[arg-type]

    monkeypatch.setattr(session.renderer, "draw", taking_long)
    for _ in range(8):
        session.viewpoint.drag(0.01, 0, pan=False)
        draw(session, target)
    assert session.pace.scale == 0.25
    now[0] += 1
    draw(session, target)
    assert session.pace.scale == 1.0, "at rest there are all pixels"
    session.viewpoint.drag(0.01, 0, pan=False)
    draw(session, target)
    assert session.pace.scale == 0.25, "the next motion begins where the last one ended"


def test_modes(session: Session, target: moderngl.Framebuffer) -> None:
    pictures = []
    for mode in session.modes:
        session.set_mode(mode)
        draw(session, target)  # where a mode has shaders of its own, that is told first
        pictures.append(draw(session, target))
    assert all(np.abs(a - b).mean() > 2 for a, b in pairwise(pictures))
    session.set_mode("error")
    assert session.mode == session.modes[-1], "what the driver does not have is not chosen"


def test_a_mode_that_is_compiled_while_the_view_moves(session: Session, target: moderngl.Framebuffer) -> None:
    draw(session, target)
    session.set_mode("normal")
    count, told = session.renderer.frames, []
    for _ in range(4):
        session.viewpoint.drag(0.01, 0, pan=False)
        session.work()
        draw(session, target)
        told.append("compiling shaders ..." in session.notices)
    assert told == [True, False, False, False]
    assert session.renderer.frames == count + 3 and session.pictures.modes == ("normal",)


def test_a_picture_that_cannot_be_drawn_is_told_once(
    session: Session, target: moderngl.Framebuffer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also where the draw comes so far that the textures that were seen are gone."""
    first, real, tried = draw(session, target), session.renderer.draw, []

    def fails(camera: Camera, **how: Any) -> None:
        tried.append(camera)
        real(camera, (8, 8), **how)
        raise InshaderError("a map of 9 rays is too much")

    with monkeypatch.context() as patched:
        patched.setattr(session.renderer, "draw", fails)
        session.viewpoint.drag(0.1, 0, pan=False)
        for _ in range(3):
            session.work()
            assert (draw(session, target) == round(255 * GREY)).all()
        assert len(tried) == 1 and session.notices == ["a map of 9 rays is too much"]
        session.settings = replace(session.settings, continuous=True)
        draw(session, target)
        assert len(tried) == 1
    session.viewpoint.reset()
    np.testing.assert_array_equal(draw(session, target), first)


def test_another_background(session: Session, target: moderngl.Framebuffer) -> None:
    white = draw(session, target)
    session.background = 1.0, 0.0, 0.0
    red = draw(session, target)
    session._drawn = ()
    coverage = session.renderer.draw(session.viewpoint.view.camera(*SIZE)).images["coverage"]
    expected = white - 255 * (1 - coverage) * (0, 1, 1)
    assert np.abs(red - np.clip(expected, 0, 255)).max() <= 2
    assert (red[0, 0] == (255, 0, 0)).all()


def test_exposure_is_of_linear_light(session: Session, target: moderngl.Framebuffer) -> None:
    before = draw(session, target) / 255
    session.exposure = -1.0
    after = draw(session, target) / 255

    def linear(s: np.ndarray) -> np.ndarray:
        return np.where(s <= 0.04045, s / 12.92, ((s + 0.055) / 1.055) ** 2.4)

    inside = (before > 0.1) & (before < 0.99)
    np.testing.assert_allclose(linear(after)[inside], 0.5 * linear(before)[inside], atol=0.01)


def test_held_out_views_come_round(session: Session, ball: BakedAsset) -> None:
    for step, expected in ((1, 0), (1, 1), (1, 0), (-1, 1)):
        session.viewpoint.jump(step)
        assert session.viewpoint.held_out == expected
        np.testing.assert_allclose(
            session.viewpoint.view.camera(32, 32).world_from_camera,
            ball.held_out[expected].world_from_camera,
            atol=1e-6,
        )
    assert session.notices == ["held-out view 2 of 2"]
    session.viewpoint.reset()
    session.viewpoint.jump(-1)
    assert session.viewpoint.held_out == 1


def test_no_held_out_views(ctx: moderngl.Context, tiny_asset: Path) -> None:
    session = Session(ctx, [("ball", read_asset(tiny_asset))], Settings())
    view = session.viewpoint.view
    session.viewpoint.jump(1)
    assert session.viewpoint.view is view and "no held-out" in session.notices[0]
    session.release()


def test_moving_takes_off_and_lands(session: Session) -> None:
    before = session.viewpoint.view.camera(32, 32)
    session.move((0, 0, 0), False, 0.1)
    assert isinstance(session.viewpoint.view, Orbit)
    session.move((1, 0, 0), False, 0.5)
    assert isinstance(session.viewpoint.view, Fly)
    way = session.viewpoint.view.camera(32, 32).position - before.position
    np.testing.assert_allclose(way, 0.5 * session.settings.speed * before.forward, atol=1e-9)
    session.move((1, 0, 0), True, 0.1)
    fast = session.viewpoint.view.camera(32, 32).position - before.position - way
    np.testing.assert_allclose(fast, 0.4 * session.settings.speed * before.forward, atol=1e-9)
    session.wheel(2)
    assert session.settings.speed > Settings().speed, "in flight the wheel sets the speed"
    session.viewpoint.set_flying(False)
    assert isinstance(session.viewpoint.view, Orbit)


@pytest.mark.parametrize("up", UPS)
def test_the_up_axis(session: Session, up: str) -> None:
    place = session.viewpoint.view.camera(32, 32).position
    for flying in (False, True):
        session.viewpoint.set_flying(flying)
        session.viewpoint.set_up(up)
        camera = session.viewpoint.view.camera(32, 32)
        assert camera.world_from_camera[:3, 1] @ UPS[up] > 0
        assert camera.world_from_camera[:3, 0] @ UPS[up] == pytest.approx(0, abs=1e-9)
        np.testing.assert_allclose(camera.position, place, atol=1e-6)
    session.viewpoint.reset()
    assert session.viewpoint.up is None and isinstance(session.viewpoint.view, Orbit)


def picture_of(ball: BakedAsset, peak: float) -> BakedAsset:
    """A picture of random colours up to ``peak``."""
    grid = GridSpec(dimension=2, levels=1, features=4, base_resolution=5, growth=1.0, log2_table_size=5)
    decoder = NetworkSpec((Slot("features", 4),), (Linear(3, bias=False),))
    table = np.random.default_rng(0).uniform(0, peak, (grid.entries, 4)).astype(np.float32)
    return replace(
        ball,
        driver="image",
        bounds=np.float32([[-0.6, -0.6, -0.1], [0.6, 0.6, 0.1]]),
        networks={"decoder": BakedNetwork(decoder, {"0.weight": np.eye(3, 4, dtype=np.float32)[None]})},
        grids={"features": BakedGrid(grid, table)},
        volumes={},
        constants={"peak": peak},
        up=np.float32([0, 1, 0]),
        camera=look_at((0, 0, 2), (0, 0, 0), (0, 1, 0), 96, 64, 0.7),
    )


@pytest.mark.parametrize("peak", [1.0, 4.0])
def test_colours_beyond_white_keep_their_bits(
    ctx: moderngl.Context, ball: BakedAsset, target: moderngl.Framebuffer, peak: float
) -> None:
    """A filter between pixels comes before the screen's end of what can be shown."""
    session = Session(ctx, [("picture", picture_of(ball, peak))], Settings(auto=False, scale=0.5))
    draw(session, target)
    assert session.pictures.frame is not None
    assert session.pictures.frame.texture.dtype == ("f1" if peak == 1 else "f4")
    session.release()


def test_a_picture_is_moved_and_not_flown_through(
    ctx: moderngl.Context, ball: BakedAsset, target: moderngl.Framebuffer
) -> None:
    asset = picture_of(ball, 1.0)
    session = Session(ctx, [("ball", ball), ("picture", asset)], Settings(auto=False))
    session.set_mode("normal")
    session.move((1, 0, 0), False, 0.1)
    session.choose(1)
    session.work()
    assert session.mode == "colour", "a picture has no normals"
    view = session.viewpoint.view
    assert isinstance(view, Orbit) and view.flat
    session.move((1, 0, 0), False, 0.1)
    assert session.viewpoint.view is view
    session.viewpoint.set_flying(True)
    assert session.viewpoint.view is view and any("flat" in line for line in session.notices)
    before = draw(session, target)
    session.viewpoint.drag(0.25, 0, pan=False)  # by a quarter of the height, which is 16 pixels
    after = draw(session, target)
    assert np.abs(after[:, 16:] - before[:, :-16]).max() <= 2
    assert session.viewpoint.view.camera(9, 9).forward @ (0, 0, -1) == pytest.approx(1)
    session.release()


def test_a_file_that_is_none_leaves_the_picture(
    session: Session, target: moderngl.Framebuffer, tmp_path: Path, tiny_asset: Path
) -> None:
    first = draw(session, target)
    cut = tmp_path / "cut.safetensors"
    cut.write_bytes(tiny_asset.read_bytes()[:-10])
    picture = tmp_path / "picture.png"
    picture.write_bytes(b"\x89PNG")
    foreign = tmp_path / "foreign.safetensors"
    write_asset(foreign, replace(read_asset(tiny_asset), driver="unheard"))
    empty = tmp_path / "empty"
    empty.mkdir()
    for path in (cut, picture, foreign, empty, tmp_path / "missing"):
        session.add(str(path))
        assert any(str(path) in line for line in session.notices), "what goes on is told first"
        session.work()
        (told,) = (line for line in session.notices if str(path) in line)
        assert "\n" not in told and not told.startswith("opening")
    assert len(session.assets) == 1 and session.index == 0
    np.testing.assert_array_equal(draw(session, target), first)


def test_a_file_that_is_one_is_shown(
    session: Session, target: moderngl.Framebuffer, tmp_path: Path, ball: BakedAsset
) -> None:
    path = tmp_path / "asset.safetensors"
    smaller = look_at((3, 0, 0), (0, 0, 0), (0, 0, 1), 32, 32, 0.9)
    write_asset(path, replace(ball, bounds=2 * ball.bounds, camera=smaller))
    before = draw(session, target)
    session.add(str(tmp_path))
    session.work()
    assert [name for name, _ in session.assets] == ["ball", str(tmp_path)]
    assert session.index == 1 and session.name == str(tmp_path)
    assert np.abs(draw(session, target) - before).mean() > 2
    session.add(str(tmp_path))  # once more, as after another training
    session.work()
    assert len(session.assets) == 2
    session.choose(2)  # comes round
    session.work()
    assert session.index == 0
    np.testing.assert_array_equal(draw(session, target), before)


def test_a_replaced_asset_is_picked_up(
    ctx: moderngl.Context, target: moderngl.Framebuffer, ball: BakedAsset, tmp_path: Path
) -> None:
    path = tmp_path / "asset.safetensors"
    write_asset(path, ball)
    session = Session(ctx, [(str(tmp_path), ball)], Settings(auto=False))
    session.viewpoint.drag(0.1, 0, pan=False)
    view, white = session.viewpoint.view, draw(session, target)

    def watched() -> list[str]:
        session.library._looked = -1e9
        session.watch()
        told = session.notices
        session.work()
        return told

    assert watched() == []
    write_asset(path, replace(ball, background=np.float32([1, 0, 0])))
    assert watched() == [f"opening {tmp_path} ..."]
    red = draw(session, target)
    assert session.viewpoint.view is view and len(session.assets) == 1
    assert (white[0, 0] == 255).all() and (red[0, 0] == (255, 0, 0)).all()
    path.write_bytes(b"cut")
    watched()
    assert any(str(path) in line for line in session.notices)
    np.testing.assert_array_equal(draw(session, target), red)
    path.unlink()
    assert not any("opening" in line for line in watched()), "it is told once, and not when it is gone"
    session.release()


def test_variants_of_a_scene_keep_the_view(ctx: moderngl.Context, ball: BakedAsset) -> None:
    session = Session(
        ctx, [("a", ball), ("b", replace(ball)), ("c", replace(ball, bounds=2 * ball.bounds))], Settings()
    )
    session.viewpoint.drag(0.2, 0.1, pan=False)
    view = session.viewpoint.view
    session.choose(1)
    session.work()
    assert session.index == 1 and session.viewpoint.view is view
    session.choose(2)
    session.work()
    assert session.viewpoint.view is not view
    session.release()


@pytest.mark.parametrize("multiple", [1, 2])
def test_screenshots(session: Session, target: moderngl.Framebuffer, tmp_path: Path, multiple: int) -> None:
    session.settings = replace(session.settings, multiple=multiple, scale=0.25)
    before = draw(session, target)
    output.screenshot(session, SIZE, tmp_path)
    session.work()
    output.screenshot(session, SIZE, tmp_path)
    session.work()
    first, second = tmp_path / "ball-colour-001.png", tmp_path / "ball-colour-002.png"
    assert sorted(tmp_path.iterdir()) == [first, second]
    assert any(str(second) in line for line in session.notices)
    picture = iio.imread(first).astype(int)
    assert picture.shape == (multiple * SIZE[1], multiple * SIZE[0], 3)
    camera = session.viewpoint.view.camera(multiple * SIZE[0], multiple * SIZE[1])
    expected = np.rint(np.clip(session.renderer.draw(camera).images["colour"], 0, 1) * 255)
    assert np.abs(picture - expected).max() <= 1
    session._drawn = ()
    np.testing.assert_array_equal(draw(session, target), before)


def test_a_screenshot_that_cannot_be_written(session: Session, tmp_path: Path) -> None:
    output.screenshot(session, SIZE, tmp_path / "missing")
    session.work()
    assert any("missing" in line for line in session.notices)


def test_names_of_files(tmp_path: Path) -> None:
    assert short_name("runs/chair") == "chair"
    assert short_name("runs/chair/asset.safetensors") == "chair"
    assert short_name("a b/c d.safetensors") == "c_d"
    (tmp_path / "a-001.png").touch()
    assert free_path(tmp_path, "a", ".png") == tmp_path / "a-002.png"
