"""Deforming a shell in the viewer: what the panel sets, the soft body's time, what is told of mistakes."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import moderngl
import numpy as np
import pytest

from render.animation import Rig
from render.asset import BakedAsset
from render.errors import InshaderError
from render.soft_body import FRAME
from tests.render.conftest import shell
from viewer.puppet import MOST_FRAMES, Puppet
from viewer.session import Session
from viewer.settings import Settings

SIZE = 48, 40


@pytest.fixture(scope="module")
def asset() -> BakedAsset:
    return shell()


@pytest.fixture
def puppet(asset: BakedAsset) -> Puppet:
    return Puppet(asset)


@pytest.fixture
def session(ctx: moderngl.Context, asset: BakedAsset) -> Iterator[Session]:
    session = Session(ctx, [("shell", asset)], Settings(auto=False))
    yield session
    session.release()


@pytest.fixture
def target(ctx: moderngl.Context) -> Iterator[moderngl.Framebuffer]:
    target = ctx.simple_framebuffer(SIZE)
    yield target
    target.release()


def draw(session: Session, target: moderngl.Framebuffer) -> np.ndarray:
    session.work()
    session.draw(target, SIZE)
    data = target.read(components=3, alignment=1)
    return np.frombuffer(data, np.uint8).reshape(SIZE[1], SIZE[0], 3)[::-1].astype(int)


def test_twists_and_bends(puppet: Puppet, asset: BakedAsset) -> None:
    rig = Rig(asset)
    puppet.set("twist", angle=90.0)
    assert puppet.deformation is not None
    np.testing.assert_allclose(puppet.deformation.pose.vertices, rig.shape("twist", np.pi / 2))
    puppet.set(axis="x")
    np.testing.assert_allclose(puppet.deformation.pose.vertices, rig.shape("twist", np.pi / 2, (1, 0, 0)))
    puppet.set("bend", angle=-30.0)
    np.testing.assert_allclose(puppet.deformation.pose.vertices, rig.shape("bend", -np.pi / 6, (1, 0, 0)))
    puppet.set("none")
    assert puppet.deformation is None


def test_too_much_keeps_the_last_valid_one(puppet: Puppet) -> None:
    puppet.set("bend", angle=20.0)
    before = puppet.deformation
    with pytest.raises(InshaderError, match="the cage's cell"):
        puppet.set(angle=360.0)
    assert puppet.deformation is before and puppet.angle == 360.0
    puppet.set(angle=25.0)
    assert puppet.deformation is not before


@pytest.mark.parametrize("seconds", [0.25 * FRAME, FRAME, 3.6 * FRAME])
def test_the_soft_body_keeps_time(puppet: Puppet, seconds: float) -> None:
    """However often it is drawn, so much of its time passes; but no picture waits for too many frames."""
    puppet.set("soft")
    assert puppet.playing and puppet._body is not None
    count = round(18 * FRAME / seconds)
    for _ in range(count):
        puppet.advance(seconds)
    assert puppet._body.seconds == pytest.approx(18 * FRAME, abs=1.01 * FRAME)
    before = puppet._body.seconds
    puppet.advance(60.0)
    assert puppet._body.seconds - before == pytest.approx(MOST_FRAMES * FRAME)


def test_pausing_and_starting_over(puppet: Puppet) -> None:
    puppet.set("soft")
    puppet.advance(0.1)
    assert puppet.deformation is not None and puppet._body is not None
    fallen = puppet.deformation.pose.vertices
    puppet.playing = False
    puppet.advance(0.1)
    assert puppet.deformation.pose.vertices is fallen
    puppet.restart()
    assert puppet.playing and puppet._body.seconds == 0
    np.testing.assert_array_equal(puppet.deformation.pose.vertices, puppet.rig.cage.vertices)
    puppet.advance(0.1)
    np.testing.assert_allclose(puppet.deformation.pose.vertices, fallen)


def test_the_session_draws_it(session: Session, target: moderngl.Framebuffer) -> None:
    plain = draw(session, target)
    session.puppeteer.deform(kind="twist", angle=120.0)
    assert any("cage" in line for line in session.notices), "what takes a while is told first"
    twisted = draw(session, target)
    assert np.abs(twisted - plain).max() > 30
    count = session.renderer.frames
    draw(session, target)
    assert session.renderer.frames == count, "nothing changes"
    session.puppeteer.deform(angle=60.0)
    assert np.abs(draw(session, target) - twisted).max() > 10
    session.puppeteer.deform(kind="none")
    np.testing.assert_array_equal(draw(session, target), plain)


def test_the_session_plays_it(session: Session, target: moderngl.Framebuffer) -> None:
    session.puppeteer.deform(kind="soft")
    before = draw(session, target)
    assert session.busy
    for _ in range(4):
        session.play(0.1)
    after = draw(session, target)
    assert np.abs(after - before).max() > 30
    assert session.puppeteer.puppet is not None
    session.puppeteer.puppet.playing = False
    session.play(1.0)
    count = session.renderer.frames
    np.testing.assert_array_equal(draw(session, target), after)
    assert not session.busy and session.renderer.frames == count
    session.puppeteer.restart()
    np.testing.assert_array_equal(draw(session, target), before)


def test_mistakes_are_told(session: Session, target: moderngl.Framebuffer) -> None:
    session.puppeteer.deform(kind="bend", angle=20.0)
    before = draw(session, target)
    session.puppeteer.deform(angle=360.0)
    (told,) = (line for line in session.notices if "cell" in line)
    assert "\n" not in told
    np.testing.assert_array_equal(draw(session, target), before)


def test_a_soft_body_that_breaks_is_paused(session: Session, monkeypatch: pytest.MonkeyPatch) -> None:
    session.puppeteer.deform(kind="soft")
    session.work()
    assert session.puppeteer.puppet is not None and session.puppeteer.puppet._body is not None
    session.play(0.1)
    before = session.puppeteer.puppet.deformation

    def breaks(frames: int) -> None:
        raise InshaderError("the cage's cell (1, 2, 3) is flat")

    monkeypatch.setattr(session.puppeteer.puppet._body, "advance", breaks)
    session.play(0.1)
    assert not session.puppeteer.puppet.playing and session.puppeteer.puppet.deformation is before
    assert any("cell (1, 2, 3) is flat" in line for line in session.notices)


def test_another_asset_is_as_it_was_learnt(ctx: moderngl.Context, asset: BakedAsset) -> None:
    session = Session(ctx, [("a", asset), ("b", replace(asset))], Settings(auto=False))
    session.puppeteer.deform(kind="twist")
    session.work()
    assert session.puppeteer.puppet is not None
    session.choose(1)
    session.work()
    assert session.puppeteer.puppet is None and session.puppeteer.able
    session.release()
