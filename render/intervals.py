"""Where on a ray a shell is, and where in it the field is evaluated: the sampler of adaptive shells.

A ray meets the *outer* mesh any number of times, which makes intervals, and ends where it first meets the
*inner* one. A thin interval gets one sample, in a thick one they stand evenly. Training and drawing use this
very sampler, since a field that is fitted to few places is right at those only; its GLSL twin is
``shaders/drivers/shell_intervals.glsl``.

Source: Wang et al., *Adaptive Shells for Efficient Neural Radiance Field Rendering*, 2023, section 3.4 and
procedure 3. Our choice: samples stand in the middles of equal parts, so that the parts tile the interval; an
interval that ends on the inner mesh is *closed*, its last sample opaque; whatever order an imperfect mesh is
met in makes intervals.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

NEAR = 1e-3  # world units: what is nearer to a ray's origin is not met
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
        broken: (rays,) whether entering and leaving hits did not alternate, or what was entered was not left.
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
    offsets: Ints, t: Array, entering: Bools, t_solid: Array, t_near: ArrayLike = NEAR
) -> Intervals:
    """Intervals of rays, by their hits on the outer mesh.

    Hits up to ``t_near`` and such that are not finite do not count. Hits at the same place count as one: it
    enters if more of them enter than leave, and is none if as many do. A second entering or leaving hit in a
    row is ignored. If a ray's first hit leaves, the ray began within the shell, and its interval at
    ``t_near``. An interval ends at ``t_solid`` if that is nearer; what is entered and not left ends there, or
    is dropped where the ray meets no inner mesh. Intervals shorter than ``SHORTEST`` are dropped, unless
    closed.

    Args:
        offsets: (rays + 1,); the hits of ray i are offsets[i] to offsets[i + 1], in any order.
        t: (hits,) along the ray.
        entering: (hits,) whether the face is met from outside: dot(normal, d) < 0.
        t_solid: (rays,) the nearest hit on the inner mesh, infinite where there is none.
        t_near: where rays begin, one number or (rays,).
    """
    count = len(offsets) - 1
    near = np.broadcast_to(np.asarray(t_near, np.float32), count)
    solid = np.asarray(t_solid, np.float32)
    ray, t, enters = _merged(np.repeat(np.arange(count), np.diff(offsets)), t, entering, near)
    first = np.ones(len(ray), bool)
    first[1:] = ray[1:] != ray[:-1]
    turns = first.copy()
    turns[1:] |= enters[1:] != enters[:-1]
    broken = np.zeros(count, bool)
    broken[ray[~turns & (t <= solid[ray])]] = True
    ray, t, enters, first = ray[turns], t[turns], enters[turns], first[turns]

    # now hits alternate: an interval begins at each that enters, and at t_near before a first one that leaves
    begins = enters | first
    last = np.ones(len(ray), bool)
    last[:-1] = ray[:-1] != ray[1:]
    ends = np.append(t[1:], np.float32(np.inf))
    ends = np.where(enters, np.where(last, np.float32(np.inf), ends), t)[begins]
    starts = np.where(enters, t, near[ray])[begins]
    ray = ray[begins]
    broken[ray[np.isinf(ends) & np.isinf(solid[ray])]] = True
    closed = solid[ray] < ends
    ends = np.minimum(ends, solid[ray])
    kept = np.where(closed, ends >= starts, np.isfinite(ends) & (ends - starts >= SHORTEST))
    ray, starts, ends, closed = ray[kept], starts[kept], ends[kept], closed[kept]
    return Intervals(_offsets(np.bincount(ray, minlength=count)), starts, ends, closed, broken)


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


def contract(x: Array) -> Array:
    """All of space into the ball of radius 2: x within the unit ball, (2 - 1 / |x|) x / |x| beyond it.

    Source: Barron et al., *Mip-NeRF 360*, 2022, equation 10. ``x``: (..., 3).
    """
    norm = np.maximum(np.linalg.norm(x, axis=-1, keepdims=True), np.float32(1))
    return np.asarray((2 - 1 / norm) / norm * x, np.float32)


def contracted_widths(intervals: Intervals, rays_o: Array, rays_d: Array) -> Array:
    """(n,) how far apart the ends of intervals of rays (rays, 3) are once contracted."""
    o, d = rays_o[intervals.rays], rays_d[intervals.rays]
    ends = (contract(o + t[:, None] * d) for t in (intervals.t_starts, intervals.t_ends))
    start, end = ends
    return np.asarray(np.linalg.norm(end - start, axis=-1), np.float32)


def _merged(ray: Ints, t: Array, entering: Bools, near: Array) -> tuple[Ints, Array, Bools]:
    """Ray, t and kind of the hits that count, along each ray, those at the same place as one."""
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
    return ray[places], t[places], total > 0


def _offsets(counts: NDArray[np.integer]) -> Ints:
    return np.concatenate([[0], np.cumsum(counts)]).astype(np.int64)
