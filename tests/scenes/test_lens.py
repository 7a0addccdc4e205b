from __future__ import annotations

import math

import numpy as np
import pytest

from scenes.images import reduce_image
from scenes.lens import SLACK, Lens, undistort, zoom

CURVES = [
    (0.06, -0.08, -0.001, 0.0002, 0.0),  # a telephone's
    (-0.25, 0.05, 0.002, -0.003, 0.01),  # barrel: the undistorted picture is wider
    (0.2, 0.1, 0.0, 0.0, 0.0),  # cushion: narrower
]


def lens_of(curve: tuple[float, float, float, float, float], w: int = 40, h: int = 60) -> Lens:
    return Lens(0.9 * w, 0.92 * w, 0.52 * w, 0.47 * h, w, h, curve)


def by_hand(lens: Lens, x: float, y: float) -> tuple[float, float]:
    """OpenCV's formula as its documentation writes it."""
    k1, k2, p1, p2, k3 = lens.distortion
    r2 = x**2 + y**2
    radial = 1 + k1 * r2 + k2 * r2**2 + k3 * r2**3
    u = x * radial + 2 * p1 * x * y + p2 * (r2 + 2 * x**2)
    v = y * radial + p1 * (r2 + 2 * y**2) + 2 * p2 * x * y
    return lens.fl_x * u + lens.cx, lens.fl_y * v + lens.cy


def bilinear(picture: np.ndarray, u: float, v: float) -> np.ndarray:
    """The colour at a place of a picture, pixel centres at + 0.5, premultiplied where it has alpha."""
    h, w, channels = picture.shape
    u, v = min(max(u - 0.5, 0), w - 1), min(max(v - 0.5, 0), h - 1)
    found = np.zeros(channels)
    for row in (math.floor(v), math.floor(v) + 1):
        for column in (math.floor(u), math.floor(u) + 1):
            weight = (1 - abs(u - column)) * (1 - abs(v - row))
            if weight > 0:
                colour = picture[row, column].astype(float)
                if channels == 4:
                    colour[:3] *= colour[3]
                found += weight * colour
    return found


def slow_undistort(picture: np.ndarray, lens: Lens, w: int, h: int, n: int) -> np.ndarray:
    factor = zoom(lens)
    out = np.zeros((h, w, picture.shape[2]))
    for row in range(h):
        for column in range(w):
            for i in range(n * n):
                u = (column + (i % n + 0.5) / n) * lens.w / w
                v = (row + (i // n + 0.5) / n) * lens.h / h
                x, y = (u - lens.cx) / (factor * lens.fl_x), (v - lens.cy) / (factor * lens.fl_y)
                out[row, column] += bilinear(picture, *by_hand(lens, x, y)) / n**2
            if picture.shape[2] == 4:
                out[row, column, :3] /= max(out[row, column, 3], 1e-6)
    return out


@pytest.mark.parametrize("curve", CURVES)
@pytest.mark.parametrize(("size", "channels"), [((40, 60), 3), ((20, 30), 3), ((13, 19), 4)])
def test_undistort_is_its_slow_twin(
    curve: tuple[float, float, float, float, float], size: tuple[int, int], channels: int
) -> None:
    lens = lens_of(curve)
    picture = np.random.default_rng(0).integers(0, 256, (lens.h, lens.w, channels), np.uint8)
    if channels == 4:
        picture[..., 3] = np.where(picture[..., 3] < 60, 0, 255)
    found = undistort(picture, lens, *size).astype(float)
    errors = []
    for n in range(1, 6):  # one of these is what it chose
        expected = slow_undistort(picture, lens, *size, n)
        if channels == 4:
            expected[expected[..., 3] < 0.5] = 0
        errors.append(np.abs(found - expected).max())
        if errors[-1] < 0.51:  # rounding to whole numbers is half of one
            break
    assert errors[-1] < 0.51, errors
    # Samples lie no further apart than a pixel and the slack: stretched by the zoom at the most by a quarter.
    assert n >= math.floor(lens.w / size[0] / zoom(lens) - SLACK)


@pytest.mark.parametrize("curve", CURVES)
def test_zoom_shows_all_that_was_seen_everywhere(curve: tuple[float, float, float, float, float]) -> None:
    """Of the new picture's border all was in the old picture, and some of it hardly."""
    lens = lens_of(curve, 400, 600)
    factor = zoom(lens)
    assert factor < 1 if curve[0] < 0 else factor > 1
    margin = math.inf
    for t in np.linspace(0, 1, 201):
        for i, j in ((t * lens.w, 0), (t * lens.w, lens.h), (0, t * lens.h), (lens.w, t * lens.h)):
            u, v = by_hand(lens, (i - lens.cx) / (factor * lens.fl_x), (j - lens.cy) / (factor * lens.fl_y))
            margin = min(margin, u, v, lens.w - u, lens.h - v)
    # The net that is looked at has 32 cells a side: in between the border bulges by a hundredth of a pixel.
    assert -0.1 < margin < 0.1


def test_without_distortion_it_is_the_area_mean() -> None:
    lens = lens_of((0.0, 0.0, 0.0, 0.0, 0.0))
    assert zoom(lens) == pytest.approx(1, abs=1e-6)
    picture = np.random.default_rng(1).integers(0, 256, (lens.h, lens.w, 3), np.uint8)
    found = undistort(picture, lens, 20, 30)
    # The zoom is searched to 1e-9, where a half may round the other way.
    assert np.abs(found.astype(int) - reduce_image(picture, 20, 30)).max() <= 1


def test_sixteen_bits() -> None:
    lens = lens_of(CURVES[0])
    picture = np.full((lens.h, lens.w, 3), 40_000, np.uint16)
    found = undistort(picture, lens, 20, 30)
    assert found.dtype == np.uint16 and (found == 40_000).all()


@pytest.mark.parametrize("curve", [(-3.0, 0.0, 0.0, 0.0, 0.0), (0.0, 0.0, 0.0, 0.0, -50.0), (1e29,) * 5])
def test_folds_are_refused(curve: tuple[float, float, float, float, float]) -> None:
    with pytest.raises(ValueError, match="folds"):
        zoom(lens_of(curve))
