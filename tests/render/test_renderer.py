"""Renderer and Frame: hosts, modes, sizes, laziness, timers, and that GL objects are given back."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any

import moderngl
import numpy as np
import pytest

from render.asset import BakedAsset
from render.errors import InshaderError
from render.renderer import CHANNELS, MODES, Renderer, driver_of
from tests.render.conftest import ball, bank, shell, teacher
from tests.render.test_image import noise
from tests.render.test_light_field import light_field

Build = Callable[..., BakedAsset]
BUILDERS: dict[str, Callable[[], BakedAsset]] = {
    "march": ball,
    "trace": teacher,
    "trace_cells": bank,
    "shell": shell,
    "image": noise,
    "lightfield": light_field,
}


def test_every_mode_has_channels() -> None:
    assert set(CHANNELS) == set(MODES)
    assert sorted(MODES.values()) == list(range(len(MODES)))


def test_modes_that_a_driver_lacks_are_refused(build_ball: Build, ctx: moderngl.Context) -> None:
    with Renderer(ctx, build_ball()) as renderer:
        for mode in ("id", "error", "coluor"):
            with pytest.raises(
                InshaderError, match=r"march has no mode .*it has colour, depth, normal, cost"
            ):
                renderer.draw(renderer.asset.camera, mode=mode)
        with pytest.raises(InshaderError, match="march has no state 'time'"):
            renderer.draw(renderer.asset.camera, state={"time": 1.0})


def test_hosts(build_ball: Build, ctx: moderngl.Context) -> None:
    with Renderer(ctx, build_ball()) as renderer:
        assert renderer.host == ("compute" if ctx.version_code >= 430 else "fragment")
    with pytest.raises(InshaderError, match="not one of auto, compute, fragment"):
        Renderer(ctx, build_ball(), host="vulkan")

    class Old:
        version_code = 330
        info = ctx.info

    with pytest.raises(InshaderError, match=r"wants OpenGL 4\.3, here is 3\.3"):
        Renderer(Old(), build_ball(), host="compute")  # type: ignore[arg-type]


@pytest.mark.parametrize("host", ["compute", "fragment"])
def test_sizes_may_change(host: str, build_ball: Build, ctx: moderngl.Context) -> None:
    asset = build_ball()
    with Renderer(ctx, asset, host) as renderer:
        first = renderer.draw(asset.camera).images["colour"]
        assert renderer.draw(asset.camera, (33, 17)).images["colour"].shape == (17, 33, 3)
        assert renderer.draw(asset.camera, (1, 1)).images["coverage"].shape == (1, 1, 1)
        assert np.array_equal(renderer.draw(asset.camera).images["colour"], first)
        with pytest.raises(InshaderError, match="too large"):
            renderer.draw(asset.camera, (30000, 10))


@pytest.mark.parametrize(
    ("driver", "host"), [(d, h) for d in BUILDERS for h in driver_of(BUILDERS[d]()).HOSTS]
)
def test_eight_bits_are_the_picture_rounded(driver: str, host: str, ctx: moderngl.Context) -> None:
    """Colours and coverage alone; other modes, and the picture asked for without, stay what they are."""
    asset = BUILDERS[driver]()
    with Renderer(ctx, asset, host) as renderer:
        exact = renderer.draw(asset.camera).images
        frame = renderer.draw(asset.camera, eight_bit=True)
        assert frame.texture.dtype == "f1"
        rounded = frame.images
        cost = renderer.draw(asset.camera, mode="cost", eight_bit=True)
        assert cost.texture.dtype == "f4" and cost.images["cost"].max() > 0
        again = renderer.draw(asset.camera).images
    for name, values in exact.items():
        np.testing.assert_array_equal(again[name], values)
        assert rounded[name].dtype == np.float32
        # half of a step, and as much again of float32 where a value lies between two
        assert np.abs(rounded[name] - np.clip(values, 0, 1)).max() <= 0.5001 / 255


def test_more_rays_than_a_row_of_groups(ctx: moderngl.Context) -> None:
    """65535 groups of 64 are what OpenGL grants a row: a picture of 2100x2100 takes more."""
    mine = ctx.simple_framebuffer((8, 8))
    mine.use()  # an earlier test may have released what is bound: framebuffers that are made go back to that
    _ = ctx.error  # reading it clears what is left of such a test
    size = 2100, 2100
    for driver, state, mode in (("march", {}, "cost"), ("pathtrace", {"bounces": 0}, "depth")):
        asset = teacher() if driver == "pathtrace" else ball()
        near = dataclasses.replace(asset.camera, fl_x=40 * asset.camera.fl_x, fl_y=40 * asset.camera.fl_y)
        with Renderer(ctx, asset, "compute", driver) as renderer:
            frame = renderer.draw(near, size, mode, state)
            seen = frame.images["coverage"][..., 0] > 0
            assert seen.all(), driver
            assert (frame.images[mode][:, ::50] > 0).all()
        assert ctx.error == "GL_NO_ERROR"


def test_frames_are_read_lazily_and_not_late(build_ball: Build, ctx: moderngl.Context) -> None:
    asset = build_ball()
    with Renderer(ctx, asset) as renderer:
        frame = renderer.draw(asset.camera)
        assert frame.texture.size == (96, 80) and frame.texture.components == 4
        assert frame.images is frame.images
        late = renderer.draw(asset.camera)
        assert late.current and not frame.current
        assert renderer.draw(asset.camera).images["colour"].shape == (80, 96, 3)
        with pytest.raises(RuntimeError, match="drawn over"):
            _ = late.images
        assert frame.images["colour"].shape == (80, 96, 3)  # was read in time


def test_stats(build_ball: Build, ctx: moderngl.Context) -> None:
    asset = build_ball()
    with Renderer(ctx, asset) as renderer:
        stats = renderer.draw(asset.camera).stats
        cost = renderer.draw(asset.camera, mode="cost").images["cost"]
    assert stats["evaluations_per_pixel"] == pytest.approx(float(cost.mean()))
    assert stats["timer"] in ("wall", "gl") and all(value > 0 for value in stats["ms"].values())


@pytest.mark.parametrize("host", ["compute", "fragment"])
def test_timer_queries(host: str, build_ball: Build, ctx: moderngl.Context) -> None:
    """As on hardware; what software says of its passes is not to be believed, only that it says something."""
    asset = build_ball()
    with Renderer(ctx, asset, host) as renderer:
        renderer.timer.kind = "gl"
        stats = renderer.draw(asset.camera).stats
    assert stats["timer"] == "gl" and all(value >= 0 for value in stats["ms"].values())


def test_fragment_host_leaves_the_framebuffer_alone(build_ball: Build, ctx: moderngl.Context) -> None:
    mine = ctx.simple_framebuffer((8, 8))
    mine.use()
    mine.clear(0.25, 0.5, 0.75, 1.0)
    with Renderer(ctx, build_ball(), "fragment") as renderer:
        renderer.draw(renderer.asset.camera)
    assert ctx.fbo is mine and mine.viewport == (0, 0, 8, 8)
    assert mine.read(components=4)[:4] == bytes([64, 128, 191, 255])
    mine.release()


def test_gl_objects_are_given_back(
    build_ball: Build, ctx: moderngl.Context, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Every object that a renderer makes is released with it, whether asked for or forgotten."""
    asset, made = build_ball(), []
    for name in ("buffer", "texture", "framebuffer", "compute_shader", "program", "vertex_array"):
        original = getattr(moderngl.Context, name)

        def make(self: moderngl.Context, *args: Any, original: Any = original, **options: Any) -> Any:
            made.append(original(self, *args, **options))
            return made[-1]

        monkeypatch.setattr(moderngl.Context, name, make)
    for host in ("compute", "fragment"):
        with Renderer(ctx, asset, host) as renderer:
            for mode in ("colour", "normal"):
                renderer.draw(asset.camera, (20, 10), mode)
        forgotten = Renderer(ctx, asset, host)
        forgotten.draw(asset.camera)
        del forgotten
    assert len(made) > 20
    assert all(isinstance(item.mglo, moderngl.InvalidObject) for item in made)
