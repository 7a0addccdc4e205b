"""Normalised device coordinates."""

from __future__ import annotations

import numpy as np
import pytest

from render.errors import InshaderError
from render.ndc import Ndc, depth

# a rotation and a scale of 1/0.8, the near plane 0.8 in front of a place beside the world's origin
TURN = np.array([[0.8, 0.6, 0], [0, 0, 1], [0.6, -0.8, 0]])
FRAME = np.concatenate([TURN, [[0.1], [-0.2], [0.3]]], 1) / 0.8
NDC = Ndc(FRAME, (2.0, 3.0))


def rays() -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(0)
    in_frame = np.stack([*rng.uniform(-0.5, 0.5, (2, 40)), -np.ones(40)], -1)
    return rng.uniform(-0.1, 0.1, (40, 3)), in_frame @ TURN


def projected(x: np.ndarray) -> np.ndarray:
    x = NDC.places(x)
    return np.stack([-2 * x[:, 0] / x[:, 2], -3 * x[:, 1] / x[:, 2], 1 + 2 / x[:, 2]], -1)


def test_straight_lines_stay_straight() -> None:
    """Near plane and infinity go to -1 and 1; a place of a ray is where its depth is between them."""
    o, d = rays()
    first, last = NDC.ends(o, d)
    assert np.allclose(first[:, 2], -1) and np.allclose(last[:, 2], 1)
    for t in (1.5, 4.0, 30.0):
        y = projected(o + t * d)
        s = (y[:, 2:] + 1) / 2
        assert np.allclose(first + s * (last - first), y)


def test_the_way_back() -> None:
    o, d = rays()
    x = o + 3 * d
    y = projected(x)
    assert np.allclose(NDC.world(y), x) and np.allclose(depth(y[:, 2]), NDC.places(x)[:, 2])
    assert np.isfinite(NDC.world(np.array([0.3, 0.2, 1.0]))).all(), "infinity is somewhere, too"


def test_slopes_are_those_of_the_world() -> None:
    """Against differences of g . y along the world's axes."""
    o, d = rays()
    x, g = o + 3 * d, np.random.default_rng(1).normal(size=(40, 3))
    h = 1e-5
    for axis in range(3):
        step = h * np.eye(3)[axis]
        change = ((projected(x + step) - projected(x - step)) * g).sum(-1) / (2 * h)
        assert np.allclose(NDC.world_slope(projected(x), g)[:, axis], change, atol=1e-6)


def test_rays_to_the_side_end_somewhere() -> None:
    first, last = NDC.ends(np.zeros(3), np.array([[1.0, 0, 0], [0, 0, 0.5], [-0.6, 0.8, 0]]) @ TURN)
    assert np.isfinite(first).all() and np.isfinite(last).all()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"forward": 2}, "forward is 2"),
        ({"ndc": (1.0,)}, "ndc is"),
        ({"frame_y": None}, "frame_y is None"),
        ({"frame_y": (0.0, 0.0, 0.0, 1.0)}, "no frame"),
        ({"ndc": (0.0, 1.0)}, "no frame"),
    ],
)
def test_constants(change: dict[str, object], message: str) -> None:
    constants = NDC.constants()
    again = Ndc.of(constants)
    assert again is not None and np.array_equal(again.frame, FRAME) and again.scale == (2, 3)
    assert Ndc.of({**constants, "forward": 0}) is None
    with pytest.raises(InshaderError, match=message):
        Ndc.of({**constants, **change})
