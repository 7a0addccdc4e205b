"""The sampler of shells: against a ray-by-ray loop, and on spheres, where all is known."""

from __future__ import annotations

import math
import time

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from render.contraction import contract
from render.intervals import (
    NEAR,
    SAME,
    SHORTEST,
    Intervals,
    contracted_widths,
    in_box,
    intervals_from_hits,
    samples_of,
)

Hits = tuple[np.ndarray, np.ndarray, np.ndarray]


def csr(rays: list[list[tuple[float, bool]]]) -> Hits:
    """Offsets, t and entering of hits given ray by ray."""
    flat = [hit for ray in rays for hit in ray]
    offsets = np.cumsum([0, *map(len, rays)])
    return (
        offsets,
        np.array([t for t, _ in flat], np.float32),
        np.array([enters for _, enters in flat], bool),
    )


def loop(hits: list[tuple[float, bool]], t_solid: float, t_near: float) -> tuple[list[tuple], bool]:
    """Intervals (start, end, closed) of one ray, hit by hit, and whether its order was broken."""
    places: dict[np.float32, int] = {}
    for t, enters in hits:
        if t > t_near and math.isfinite(t):
            places[np.float32(t)] = places.get(np.float32(t), 0) + (1 if enters else -1)
    ordered: list[tuple[np.float32, bool]] = []
    last = (np.float32(-1), False)
    for t, sum_ in sorted(places.items()):
        if sum_ != 0:
            same = (sum_ > 0) == last[1] and t - last[0] < SAME * max(t, np.float32(1))
            last = t, sum_ > 0
            ordered += [] if same else [last]
    found, broken = [], False
    depth = int(bool(ordered) and not ordered[0][1])
    start, left = np.float32(t_near), None
    for t, enters in ordered:
        if t > t_solid:
            break
        left = None if enters else t
        if enters:
            start = start if depth else t
            depth += 1
        elif depth == 0:
            broken = True
        else:
            depth -= 1
            if depth == 0:
                found.append((start, t, False))
    if depth and math.isfinite(t_solid):
        found.append((start, np.float32(t_solid), True))
    elif depth:
        broken = True
        if left is not None:
            found.append((start, left, False))
    found = [(a, b, c) for a, b, c in found if (b >= a if c else np.float32(b - a) >= SHORTEST)]
    return found, broken


def as_list(intervals: Intervals, ray: int) -> list[tuple]:
    part = slice(intervals.offsets[ray], intervals.offsets[ray + 1])
    return list(
        zip(intervals.t_starts[part], intervals.t_ends[part], intervals.closed[part].tolist(), strict=True)
    )


# few places, so that several hits often share one; the last ones and the first do not count
PLACES = st.sampled_from([0.5, 0.5000001, 0.75, 1.0, 1.25, 1.5, 2.0, 3.0, 1e-4, -1.0, math.inf, math.nan])
RAYS = st.lists(
    st.tuples(
        st.lists(st.tuples(PLACES, st.booleans()), max_size=7), st.sampled_from([0.25, 1.1, 1.6, math.inf])
    ),
    min_size=1,
    max_size=6,
)


@settings(max_examples=400, deadline=None)
@given(RAYS)
def test_intervals_are_those_of_the_loop(rays: list[tuple[list[tuple[float, bool]], float]]) -> None:
    hits, solid = [ray for ray, _ in rays], np.array([t for _, t in rays], np.float32)
    found = intervals_from_hits(*csr(hits), solid)
    for number, ray in enumerate(hits):
        wanted, broken = loop(ray, solid[number], np.float32(NEAR))
        assert as_list(found, number) == wanted
        assert found.broken[number] == broken
    for array in (found.t_starts, found.t_ends):
        assert array.dtype == np.float32 and np.isfinite(array).all()


@pytest.mark.parametrize(
    ("hits", "t_solid", "wanted", "broken"),
    [
        ([], math.inf, [], False),
        ([], 2.0, [], False),
        ([(1, True), (2, False)], math.inf, [(1, 2, False)], False),
        ([(2, False), (1, True)], math.inf, [(1, 2, False)], False),
        ([(2, False)], math.inf, [(NEAR, 2, False)], False),  # the camera within the shell
        ([(2, False)], 1.0, [(NEAR, 1, True)], False),
        ([(1, True), (2, False)], 1.5, [(1, 1.5, True)], False),
        ([(1, True), (2, False), (3, True), (4, False)], 3.5, [(1, 2, False), (3, 3.5, True)], False),
        ([(1, True), (2, False), (3, True), (4, False)], 2.5, [(1, 2, False)], False),
        ([(1, True)], 1.5, [(1, 1.5, True)], False),  # never left, but solid
        ([(1, True)], math.inf, [], True),
        ([(1, True), (1.5, True), (2, False)], math.inf, [(1, 2, False)], True),  # one face is missing
        ([(1, True), (1.5, True), (2, False), (3, False)], math.inf, [(1, 3, False)], False),  # a fold
        ([(1, True), (1.5, True), (2, False), (3, False)], 2.5, [(1, 2.5, True)], False),
        ([(1, True), (2, True), (3, False), (4, False), (5, True)], 6, [(1, 4, False), (5, 6, True)], False),
        ([(2, False), (3, True), (4, False)], math.inf, [(NEAR, 2, False), (3, 4, False)], False),
        ([(1, True), (1.5, True), (2, False), (3, True)], math.inf, [], True),
        ([(1, True), (1 + 5e-6, True), (2, False)], 3.0, [(1, 2, False)], False),  # an edge, cast
        ([(1, True), (2, False), (3, False)], math.inf, [(1, 2, False)], True),
        ([(1, True), (2, False), (3, False)], 2.5, [(1, 2, False)], False),  # nobody looks behind the solid
        ([(1, True), (1, False)], math.inf, [], False),  # touched at an edge
        ([(1, True), (2, False), (2, True), (3, False)], math.inf, [(1, 3, False)], False),
        ([(1, True), (1, True), (2, False)], math.inf, [(1, 2, False)], False),  # an edge met twice
        ([(1, True), (1 + 5e-7, False)], math.inf, [], False),
        ([(1, True), (2, False)], 1.0, [(1, 1, True)], False),  # closed at once: a sample all the same
        ([(1, True), (2, False)], 0.5, [], False),
    ],
)
def test_rules(hits: list[tuple[float, bool]], t_solid: float, wanted: list[tuple], broken: bool) -> None:
    found = intervals_from_hits(*csr([hits]), np.float32([t_solid]))
    assert as_list(found, 0) == [(np.float32(a), np.float32(b), c) for a, b, c in wanted]
    assert found.broken.tolist() == [broken]


def test_rays_from_outside_do_not_begin_within() -> None:
    """Where a face is missing: not all the way from the camera."""
    hits = csr([[(2, False), (3, True), (4, False)], [(2, False)], [(2, False)]])
    found = intervals_from_hits(*hits, np.float32([np.inf, 1, 1]), may_begin_within=[False, False, True])
    assert as_list(found, 0) == [(np.float32(3), np.float32(4), False)]
    assert as_list(found, 1) == [] and as_list(found, 2) == [(np.float32(NEAR), np.float32(1), True)]
    assert found.broken.tolist() == [True, False, False]
    vertices = np.float32([[0, 0, 0], [1, 2, 1]])
    assert in_box(vertices, np.float32([[0.5, 1.5, 0.5], [0.5, 2.5, 0.5]])).tolist() == [True, False]
    assert not in_box(vertices[:0], np.zeros(3, np.float32))


def sphere_hits(rays_o: np.ndarray, rays_d: np.ndarray, radius: float) -> tuple[np.ndarray, np.ndarray]:
    """Both t (n, 2) of rays with a sphere about the origin; NaN where they miss."""
    b = (rays_o * rays_d).sum(-1)
    with np.errstate(invalid="ignore"):
        root = np.sqrt(b**2 - (rays_o**2).sum(-1) + radius**2)
    return np.stack([-b - root, -b + root], -1), np.isnan(root)


@pytest.mark.parametrize("distance", [2.0, 0.9, 0.5], ids=["outside", "between", "in the solid"])
def test_shell_of_spheres(distance: float) -> None:
    """Outer radius 1, inner 0.8; rays in all directions, many of which graze."""
    rng = np.random.default_rng(3)
    n = 5000
    rays_d = rng.normal(size=(n, 3))
    rays_d /= np.linalg.norm(rays_d, axis=-1, keepdims=True)
    rays_o = np.broadcast_to([0.0, 0.0, distance], (n, 3))
    outer, missed = sphere_hits(rays_o, rays_d, 1.0)
    inner, _ = sphere_hits(rays_o, rays_d, 0.8)
    solid = np.where(inner > NEAR, inner, np.inf).min(-1)
    found = intervals_from_hits(
        np.arange(0, 2 * n + 1, 2), outer.ravel().astype(np.float32), np.tile([True, False], n), solid
    )
    assert not found.broken.any()
    begin = np.maximum(outer[:, 0], NEAR)
    end = np.minimum(outer[:, 1], solid)
    met = ~missed & (outer[:, 1] > NEAR)
    assert np.array_equal(np.diff(found.offsets), met.astype(int))
    assert np.abs(found.t_starts - begin[met]).max() < 1e-6  # float32 of lengths up to 3
    assert np.abs(found.t_ends - end[met]).max() < 1e-6
    assert np.array_equal(found.closed, (solid < outer[:, 1])[met])
    assert met.any() and (distance != 2.0 or not met.all())


def test_samples_tile_their_intervals() -> None:
    rng = np.random.default_rng(4)
    offsets = np.cumsum([0, 2, 0, 1, 3])
    starts = np.float32([1.0, 2.0, 0.5, 1.0, 1.5, 3.0])
    widths = np.float32([0.01, 0.0201, 0.5, 0.0, 0.02, 0.031])
    closed = np.array([False, True, False, True, False, True])
    intervals = Intervals(offsets, starts, starts + widths, closed, np.zeros(4, bool))
    samples = samples_of(intervals, 0.02, 0.01, 16)
    counts = [1, 2, 16, 1, 1, 3]
    assert np.array_equal(samples.offsets, np.cumsum([0, 3, 0, 16, 5]))
    at = 0
    for a, width, number, ends in zip(starts, intervals.t_ends - starts, counts, closed, strict=True):
        for i in range(number):
            assert samples.t[at] == pytest.approx(a + (i + 0.5) * width / number, abs=1e-6)
            assert samples.delta[at] == pytest.approx(width / number, abs=1e-7)
            assert samples.closed[at] == (ends and i == number - 1)
            at += 1
    assert at == len(samples.t) == len(samples.closed)
    assert samples.t.dtype == samples.delta.dtype == np.float32
    wide = samples_of(intervals, 0.02, 0.01, 16, widths=rng.random(6).astype(np.float32) * 0)
    assert np.array_equal(np.diff(wide.offsets), np.diff(offsets))  # as narrow as told


def test_no_rays_and_no_hits() -> None:
    for rays in (0, 3):
        nothing = np.zeros(0, np.float32)
        found = intervals_from_hits(np.zeros(rays + 1, np.int64), nothing, nothing > 0, np.full(rays, np.inf))
        samples = samples_of(found, 0.02, 0.01, 16)
        assert np.array_equal(found.offsets, np.zeros(rays + 1)) and len(found.broken) == rays
        assert np.array_equal(samples.offsets, np.zeros(rays + 1)) and not len(samples.t)


def test_contraction() -> None:
    x = np.float32([[0.3, 0.4, 0.0], [0.6, 0.8, 0.0], [6.0, 8.0, 0.0], [0.0, 0.0, -1e6]])
    norms = np.linalg.norm(contract(x), axis=-1)
    assert np.allclose(norms, [0.5, 1.0, 1.9, 2.0], atol=1e-6)
    assert np.allclose(contract(x) / norms[:, None], x / np.linalg.norm(x, axis=-1, keepdims=True), atol=1e-6)


def test_contracted_widths() -> None:
    """One interval within the unit ball, one far beyond it, along a ray through the middle."""
    intervals = Intervals(
        np.array([0, 0, 2]),
        np.float32([0.5, 9.0]),
        np.float32([0.75, 99.0]),
        np.zeros(2, bool),
        np.zeros(2, bool),
    )
    d = np.float32([[1, 0, 0], [0, 0.6, -0.8]])
    widths = contracted_widths(intervals, np.zeros((2, 3), np.float32), d)
    assert widths == pytest.approx([0.25, 1 / 9 - 1 / 99], abs=1e-6)
    assert np.array_equal(np.diff(samples_of(intervals, 0.02, 0.01, 16, widths).offsets), [0, 16 + 10])


def test_a_picture_of_rays_is_quick() -> None:
    """160,000 rays within half a second, as training asks; it is a tenth of that on an idle core."""
    rng = np.random.default_rng(5)
    counts = rng.integers(0, 8, 160_000) & ~1
    offsets = np.concatenate([[0], np.cumsum(counts)])
    t = rng.random(offsets[-1]).astype(np.float32)
    entering = np.arange(len(t)) % 2 == 0
    solid = np.where(rng.random(len(counts)) < 0.5, np.float32(0.9), np.float32(np.inf))
    start = time.process_time()
    found = intervals_from_hits(offsets, t, entering, solid)
    samples = samples_of(found, 0.02, 0.01, 16)
    assert time.process_time() - start < 0.5
    assert len(samples.t) > len(found.t_starts) > 80_000
