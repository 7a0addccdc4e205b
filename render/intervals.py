"""Where on a ray a shell is, and where in it the field is evaluated: the sampler of adaptive shells.

A ray meets the *outer* mesh any number of times, which makes intervals, and ends where it first meets the
*inner* one. A thin interval gets one sample, in a thick one they stand evenly. Training and drawing use this
very sampler, since a field that is fitted to few places is right at those only; its GLSL twin is
``shaders/drivers/shell_samples.glsl``.

Source: Wang et al., *Adaptive Shells for Efficient Neural Radiance Field Rendering*, 2023, section 3.4 and
procedure 3. Our choice: samples stand in the middles of equal parts, so that the parts tile the interval; an
interval that ends on the inner mesh is *closed*, its last sample opaque; whatever order an imperfect mesh is
met in makes intervals.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from render.contraction import contract

NEAR = 1e-3  # world units: what is nearer to a ray's origin is not met
SAME = np.float32(2e-5)  # times t, or 1: hits of one kind that are nearer to each other are one
SHORTEST = np.float32(1e-6)  # world units: rounding makes shorter ones, where a ray passes along an edge
Array = NDArray[np.float32]
Ints = NDArray[np.int64]
Bools = NDArray[np.bool_]


@dataclass(frozen=True, eq=False)
class Intervals:
    """Parts of rays within a shell, ray by ray and along each.

    Attributes:
        offsets: (rays + 1,); those of ray i are offsets[i] to offsets[i + 1].
        t_starts, t_ends: (n,) in world units along the ray.
        closed: (n,) whether it ends on the inner mesh.
        broken: (rays,) whether hits left what was not entered, or did not leave what was.
    """

    offsets: Ints
    t_starts: Array
    t_ends: Array
    closed: Bools
    broken: Bools

    @property
    def rays(self) -> Ints:
        """(n,) which ray each is of."""
        return np.repeat(np.arange(len(self.offsets) - 1), np.diff(self.offsets))


@dataclass(frozen=True, eq=False)
class Samples:
    """Where rays are sampled.

    Attributes:
        offsets: (rays + 1,); those of ray i are offsets[i] to offsets[i + 1], in the order along it.
        t: (n,) the middle of the part that a sample stands for.
        delta: (n,) length of that part.
        closed: (n,) whether it takes all the light that is left.
    """

    offsets: Ints
    t: Array
    delta: Array
    closed: Bools


def intervals_from_hits(
    offsets: Ints,
    t: Array,
    entering: Bools,
    t_solid: Array,
    t_near: ArrayLike = NEAR,
    may_begin_within: ArrayLike = True,
) -> Intervals:
    """Intervals of rays, by their hits on the outer mesh.

    Hits up to ``t_near`` and such that are not finite do not count. Hits at the same place count as one: it
    enters if more of them enter than leave, and is none if as many do. So do hits of one kind in a row that
    are less than ``SAME`` apart, as casting a ray makes them, at an edge or by rounding.

    Entering hits are counted: where the mesh folds or overlaps itself, a ray has entered twice, and its
    interval ends where it has left twice. If a ray's first hit leaves, the ray began within the shell, and
    its interval at ``t_near``. A hit that leaves what was not entered is ignored. An interval ends at
    ``t_solid`` if that is nearer. What is entered and not left ends there; where the ray meets no inner mesh,
    it ends at the ray's last hit if that one leaves, else it is dropped. Intervals shorter than ``SHORTEST``
    are dropped, unless closed.

    Args:
        offsets: (rays + 1,); the hits of ray i are offsets[i] to offsets[i + 1], in any order.
        t: (hits,) along the ray.
        entering: (hits,) whether the face is met from outside: dot(normal, d) < 0.
        t_solid: (rays,) the nearest hit on the inner mesh, infinite where there is none.
        t_near: where rays begin, one number or (rays,).
        may_begin_within: one or (rays,), whether a ray may begin within the shell; where not, as outside of
            the box of the outer mesh, a first hit that leaves is ignored.
    """
    count = len(offsets) - 1
    near = np.broadcast_to(np.asarray(t_near, np.float32), count)
    solid = np.asarray(t_solid, np.float32)
    ray, t, sign = _merged(np.repeat(np.arange(count), np.diff(offsets)), t, entering, near)
    within = np.zeros(count, np.int64)  # how often a ray has entered where it begins
    within[ray[_firsts(ray) & (sign < 0)]] = 1
    within *= np.broadcast_to(np.asarray(may_begin_within, bool), count)
    seen = t <= solid[ray]  # nobody looks behind the solid
    ray, t, sign = ray[seen], t[seen], sign[seen]
    depth = _depths(ray, sign, within)
    before = np.where(_firsts(ray), within[ray], np.roll(depth, 1))
    begins, leaves = (sign > 0) & (before == 0), (sign < 0) & (before == 1)

    began = np.concatenate([np.nonzero(within)[0], ray[begins]])
    starts = np.concatenate([near[within > 0], t[begins]])
    open_ = np.nonzero(np.bincount(began, minlength=count) > np.bincount(ray[leaves], minlength=count))[0]
    last = np.full(count, np.inf, np.float32)
    last[ray] = np.where(sign < 0, t, np.float32(np.inf))  # of all hits of a ray the last one stays
    ended = np.concatenate([ray[leaves], open_])
    ends = np.concatenate([t[leaves], np.where(np.isfinite(solid), solid, last)[open_]])
    closed = np.concatenate([np.zeros(leaves.sum(), bool), np.isfinite(solid[open_])])
    broken = np.zeros(count, bool)
    broken[ray[(sign < 0) & (before == 0)]] = True
    broken[open_[np.isinf(solid[open_])]] = True

    by_start, by_end = np.argsort(began, kind="stable"), np.argsort(ended, kind="stable")
    ray, starts, ends, closed = began[by_start], starts[by_start], ends[by_end], closed[by_end]
    kept = closed | (np.isfinite(ends) & (ends - starts >= SHORTEST))
    ray, starts, ends, closed = ray[kept], starts[kept], ends[kept], closed[kept]
    return Intervals(_offsets(np.bincount(ray, minlength=count)), starts, ends, closed, broken)


def in_box(vertices: Array, x: Array) -> Bools:
    """(...) whether places x (..., 3) are in the box of vertices (n, 3)."""
    low, high = (end(vertices, 0, initial=start) for end, start in ((np.min, np.inf), (np.max, -np.inf)))
    return np.asarray(((x >= low) & (x <= high)).all(-1), np.bool_)


def samples_of(
    intervals: Intervals,
    single_width: float,
    spacing: float,
    max_samples: int,
    widths: Array | None = None,
) -> Samples:
    """Samples of intervals: one up to ``single_width``, another for each ``spacing`` begun beyond it.

    Args:
        single_width, spacing: in the units of ``widths``.
        max_samples: of an interval.
        widths: (n,) lengths that the number of samples follows; None: t_ends - t_starts. Scenes that are
            contracted have those of ``contracted_widths``.
    """
    length = intervals.t_ends - intervals.t_starts
    beyond = np.maximum((length if widths is None else widths) - np.float32(single_width), np.float32(0))
    number = np.minimum(np.ceil(beyond / np.float32(spacing)) + 1, max_samples).astype(np.int64)
    interval = np.repeat(np.arange(len(number)), number)
    offsets = _offsets(number)
    index = (np.arange(len(interval)) - offsets[interval]).astype(np.float32)
    delta = (length / number.astype(np.float32))[interval]
    t = intervals.t_starts[interval] + (index + np.float32(0.5)) * delta
    closed = np.zeros(len(interval), bool)
    closed[offsets[1:][intervals.closed] - 1] = True
    return Samples(offsets[intervals.offsets], t, delta, closed)


def contracted_widths(intervals: Intervals, rays_o: Array, rays_d: Array) -> Array:
    """(n,) how far apart the ends of intervals of rays (rays, 3) are once contracted."""
    o, d = rays_o[intervals.rays], rays_d[intervals.rays]
    ends = (contract(o + t[:, None] * d) for t in (intervals.t_starts, intervals.t_ends))
    start, end = ends
    return np.asarray(np.linalg.norm(end - start, axis=-1), np.float32)


def _merged(ray: Ints, t: Array, entering: Bools, near: Array) -> tuple[Ints, Array, Ints]:
    """Ray, t and sign (1 enters, -1 leaves) of the hits that count, along each ray; the same ones as one."""
    t = np.asarray(t, np.float32)
    counts = (t > near[ray]) & (t < np.inf)
    ray, t, sign = ray[counts], t[counts], np.where(entering, 1, -1)[counts]
    order = np.lexsort((t, ray))
    ray, t, sign = ray[order], t[order], sign[order]
    fresh = np.ones(len(ray), bool)
    fresh[1:] = (ray[1:] != ray[:-1]) | (t[1:] != t[:-1])
    places = np.nonzero(fresh)[0]
    total = np.add.reduceat(sign, places) if len(places) else sign
    places, total = places[total != 0], total[total != 0]
    ray, t, enters = ray[places], t[places], total > 0
    same = np.zeros(len(ray), bool)
    same[1:] = (
        (ray[1:] == ray[:-1]) & (enters[1:] == enters[:-1]) & (t[1:] - t[:-1] < SAME * np.maximum(t[1:], 1))
    )
    return ray[~same], t[~same], np.where(enters, 1, -1)[~same]


def _firsts(ray: Ints) -> Bools:
    """(hits,) which is the first of its ray."""
    return np.append(True, ray[1:] != ray[:-1])[: len(ray)]


def _depths(ray: Ints, sign: Ints, within: Ints) -> Ints:
    """(hits,) how often a ray has entered and not left after each hit; never below 0."""
    total, first = np.cumsum(sign), _firsts(ray)
    start = np.zeros(len(within), np.int64)  # the sum over all rays before
    start[ray[first]] = (total - sign)[first]
    depth = total - start[ray] + within[ray]
    apart = 2 * len(ray) + 2  # lifts a ray above the next one, whose lowest depth is then its own
    lowest = np.minimum.accumulate(depth - apart * ray) + apart * ray
    return np.asarray(depth - np.minimum(lowest, 0), np.int64)


def _offsets(counts: NDArray[np.integer]) -> Ints:
    return np.concatenate([[0], np.cumsum(counts)]).astype(np.int64)
