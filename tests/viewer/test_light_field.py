"""Light fields in the viewer: smaller networks while the camera moves, and views that are guesses."""

from __future__ import annotations

import math
from collections.abc import Iterator

import moderngl
import numpy as np
import pytest

from render.asset import BakedAsset, BakedNetwork
from render.camera import look_at
from render.light_field_rays import RayPoints
from render.manifold import Orbit, manifold_constant
from render.network import Linear, NetworkSpec, Slot
from viewer.session import Session
from viewer.settings import Settings

SIZE = 64, 48
FULL, PREVIEW = (0.25, 0.5, 0.75), (0.75, 0.25, 0.5)


def constant(colour: tuple[float, float, float], prefix: str) -> dict[str, BakedNetwork]:
    """A light field that is of one colour everywhere."""
    logits = np.log(np.float32(colour) / (1 - np.float32(colour)))
    parts = {
        "trunk": (NetworkSpec((Slot("points", 6),), (Linear(4),)), np.zeros(4)),
        "up_0": (NetworkSpec((Slot("x", 4),), (Linear(4),), 4), np.zeros((4, 4))),
        "refine_0": (NetworkSpec((Slot("x", 4),), (Linear(3, activation="sigmoid"),)), logits),
    }
    return {
        f"{prefix}{name}": BakedNetwork(
            spec,
            {
                "0.weight": np.zeros(spec.parameter_shapes()["0.weight"], np.float32),
                "0.bias": np.float32(bias).reshape(spec.count, -1),
            },
        )
        for name, (spec, bias) in parts.items()
    }


@pytest.fixture
def session(ctx: moderngl.Context) -> Iterator[Session]:
    numbers = ([0, 0, 0], [0, 0, 1], [1.5, 2.5], [-0.2, 1.2], [0, math.pi], [0.1])
    orbit = Orbit(*(np.array(part, np.float64) for part in numbers))
    camera = look_at([2, 0, 0.5], [0, 0, 0], [0, 0, 1], *SIZE, 0.7)
    asset = BakedAsset(
        family="light_field",
        driver="lightfield",
        bounds=np.float32([[-0.577] * 3, [0.577] * 3]),
        networks={**constant(FULL, ""), **constant(PREVIEW, "preview_")},
        grids={},
        volumes={},
        constants={
            "pitch": (camera.fl_x, camera.fl_y),
            "manifold": manifold_constant(orbit),
            **RayPoints(2).constants(),
        },
        background=np.float32([1, 1, 1]),
        up=np.float32([0, 0, 1]),
        world_from_source=np.eye(4),
        camera=camera,
    )
    session = Session(ctx, [("light field", asset)], Settings(auto=False))
    yield session
    session.release()


def shown(session: Session, target: moderngl.Framebuffer) -> np.ndarray:
    session.draw(target, SIZE)
    found = np.frombuffer(target.read(components=3, alignment=1), np.uint8).reshape(-1, 3)
    assert (found == found[0]).all()
    return found[0] / 255


def test_the_preview_while_it_moves(
    session: Session, ctx: moderngl.Context, monkeypatch: pytest.MonkeyPatch
) -> None:
    now = [100.0]
    monkeypatch.setattr("viewer.session.time.monotonic", lambda: now[0])
    target = ctx.simple_framebuffer(SIZE)
    shown(session, target)
    now[0] += 10
    assert np.allclose(shown(session, target), FULL, atol=0.01)
    session.viewpoint.drag(0.01, 0, pan=False)
    assert np.allclose(shown(session, target), PREVIEW, atol=0.01)
    now[0] += 10
    assert np.allclose(shown(session, target), FULL, atol=0.01), "at rest all networks draw"
    target.release()


def test_a_guess_is_told(session: Session, ctx: moderngl.Context, monkeypatch: pytest.MonkeyPatch) -> None:
    now = [100.0]
    monkeypatch.setattr("viewer.session.time.monotonic", lambda: now[0])
    target = ctx.simple_framebuffer(SIZE)
    shown(session, target)
    assert session.pictures.warning is None
    for _ in range(20):
        session.viewpoint.zoom(-1)
    now[0] += 10
    shown(session, target)
    assert session.pictures.warning is not None and "farther" in session.pictures.warning
    target.release()
