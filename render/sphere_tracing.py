"""Sphere tracing of distance fields in numpy: the twin of ``shaders/drivers/trace_search.glsl``.

It knows a field by two functions, so it traces what an asset holds (``render/fields.py``) and what is still
being trained. How the search goes, and what becomes of edges, is told in ``render/drivers/trace.py``.

**Banks.** Where a field is a grid of cells with a network each, no step leaves the cell of its sample by more
than a hair, so that the next sample lies in the cell that the ray comes to. Which network a point has follows
from ``network_cell``: the cell of the occupancy, a whole number of which makes one of the networks. Where the
surface is cut, because two networks do not agree on it, a secant that falls into a cell without a network is
replaced by the nearer end of its bracket, and a probe stays in the cell of the sample before it. The cells of
the occupancy may hold the surface without any margin: a step towards it that ends in an unset one ends in a
sample all the same, or where it leaves the network's cell in one just before, lest the surface lie behind.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, fields

import numpy as np
from numpy.typing import NDArray

from render.camera import Camera
from render.occupancy import leaps

# As in shaders/drivers/trace_search.glsl.
EVALUATIONS, LAYERS = 128, 3
FRONTAL, PROBE_REACH, WIDE, DEEP = np.float32(0.7), np.float32(8), np.float32(4), np.float32(1e9)
CLOSED, HASTE, SLOWEST = np.float32(0.004), np.float32(0.0625), np.float32(0.6)
NEAR_PROBE, MARGIN = np.float32(0.1), np.float32(0.25)
SEARCH, REFINE, PROBE, HIT, GRAZE, LEFT = range(6)
OUTSIDE, INSIDE = -1, -2  # what stands for a network in cells that have none
Array = NDArray[np.float32]
Cells = NDArray[np.bool_]
Distance = Callable[[Array], Array]
"""f (n,) at u (n, 3) in [0, 1]: world units, negative inside."""
Gradient = Callable[[Array], tuple[Array, Array]]
"""f (n,) and its slope by u (n, 3), at u (n, 3)."""


@dataclass(frozen=True, eq=False)
class Layers:
    """What n rays met, front to back; where a ray met fewer, the weight is 0.

    Attributes:
        t: (LAYERS, n), along the ray.
        normal: (LAYERS, n, 3), unit, the direction in which f grows.
        weight: (LAYERS, n), the part of the pixel that shows the layer; their sum is the coverage.
        evaluations: (n,) of the field, one with a gradient counted like any other.
    """

    t: Array
    normal: Array
    weight: Array
    evaluations: Array


def pixel_cones(camera: Camera, rays_d: Array) -> Array:
    """Half a pixel's width (n,) at a unit of distance along unit directions (n, 3)."""
    cosine = rays_d @ camera.forward.astype(np.float32)
    return np.asarray(0.5 * cosine / np.sqrt(camera.fl_x * camera.fl_y), np.float32)


def network_cell(u: Array, cells: tuple[int, ...], occupancy: tuple[int, ...]) -> NDArray[np.int32]:
    """The cell (n, 3) of the network that a point u (n, 3) in [0, 1] belongs to, given both shapes."""
    shape = np.array(occupancy, np.int32)
    cell = np.minimum((u * shape.astype(np.float32)).astype(np.int32), shape - 1)
    return np.asarray(cell // (shape // np.array(cells, np.int32)), np.int32)


def network_table(cells: Cells, inside: Cells | None = None) -> NDArray[np.int32]:
    """The number of each cell's network, in C order; ``INSIDE`` or ``OUTSIDE`` where there is none."""
    table = np.cumsum(cells.ravel(), dtype=np.int32).reshape(cells.shape) - 1
    none = np.int32(OUTSIDE) if inside is None else np.where(inside, np.int32(INSIDE), np.int32(OUTSIDE))
    return np.where(cells, table, none).astype(np.int32)


def trace_rays(
    distance: Distance,
    gradient: Gradient,
    occupancy: Cells,
    low: Array,
    size: Array,
    rays_o: Array,
    rays_d: Array,
    cones: Array,
    cells: Cells | None = None,
    inside: Cells | None = None,
) -> Layers:
    """Trace a distance field, by the shader's steps.

    Args:
        distance, gradient: the field, over the box.
        occupancy: (x, y, z) over the box.
        low, size: (3,) of the box, world units.
        rays_o, rays_d: (n, 3), world; directions are unit vectors.
        cones: (n,), see ``pixel_cones``.
        cells: of a bank: which cells have a network. Each side of ``occupancy`` is the same multiple of
            theirs, and it is set within them only. The field is then asked for points in them only, and the
            points at ``Layers.t`` lie in them.
        inside: of a bank: which of the others lie inside the object: it tells on which side a ray starts. For
            one that starts in a cell with a network, its first sample does, as where there is no bank.
    """
    space = _Space.of(occupancy, size, cells, inside)
    n = len(rays_d)
    found = Layers(
        np.zeros((LAYERS, n), np.float32),
        np.zeros((LAYERS, n, 3), np.float32),
        np.zeros((LAYERS, n), np.float32),
        np.zeros(n, np.float32),
    )
    s = _enter(space, low, size, rays_o, rays_d, cones)
    for layer in range(LAYERS):
        if not len(s.t):
            break
        s = _search(distance, space, s)
        found.evaluations[s.index] = s.cost
        s = s.take(s.stage != LEFT)
        f, slope = gradient(s.point(s.th))
        slope = (slope / size).astype(np.float32)
        _resolve(space, s, f, (slope * rays_d[s.index]).sum(-1))
        hit = s.stage == HIT
        squared = (slope**2).sum(-1)
        smallest = np.where(hit & (layer == LAYERS - 1), -DEEP, s.low)
        cover = np.clip(0.5 - 0.5 * smallest / np.sqrt(np.maximum(squared, 0.1)), 0, 1)
        found.t[layer, s.index] = s.th
        found.normal[layer, s.index] = slope / np.sqrt(np.maximum(squared, 1e-30))[:, None]
        found.weight[layer, s.index] = s.transmittance * cover
        found.evaluations[s.index] = s.cost
        s.transmittance -= s.transmittance * cover
        if cells is not None:
            s.t = space.next(s, s.t)
        s = s.take((s.transmittance > CLOSED) & (s.t < s.t1) & (s.cost < EVALUATIONS))
    return found


@dataclass(eq=False)
class _Search:
    """Rays, and where the search of each stands; names are those of the shaders.

    Arrays are (n,), those of three components (3, n). ``index`` is the ray's place among those given.
    """

    index: NDArray[np.intp]
    t1: Array
    u: Array
    du: Array
    per_cell: Array
    nudge: Array
    cone: Array
    t: Array
    ta: Array
    ga: Array
    tb: Array
    gb: Array
    th: Array
    low: Array
    side: Array
    cost: Array
    transmittance: Array
    clear: NDArray[np.bool_]
    stage: NDArray[np.int8]

    def take(self, which: NDArray[np.bool_] | NDArray[np.intp]) -> _Search:
        """Some of the rays."""
        if which.dtype == bool:
            which = np.nonzero(which)[0]
        return _Search(*(getattr(self, part.name).take(which, -1) for part in fields(self)))

    def point(self, t: Array) -> Array:
        """(n, 3) in the box."""
        return np.asarray(np.clip(self.u + t * self.du, 0, 1).T, np.float32)


@dataclass(frozen=True, eq=False)
class _Space:
    """Cells of the occupancy and of a bank.

    Attributes:
        gaps: how far to leap, flat; see ``render.occupancy.leaps``.
        shape: (3, 1) of the occupancy.
        longest: a cell's diagonal, world units.
        networks: flat ``network_table``; None: there is but one network, which all of the box has.
        coarse: (3, 1), the shape of the bank's cells.
        times: cells of the occupancy to one of the bank along each axis.
    """

    gaps: NDArray[np.uint8]
    shape: NDArray[np.int32]
    longest: np.float32
    networks: NDArray[np.int32] | None
    coarse: NDArray[np.int32]
    times: int

    @classmethod
    def of(cls, occupancy: Cells, size: Array, cells: Cells | None, inside: Cells | None) -> _Space:
        shape = np.array(occupancy.shape, np.int32)
        coarse = shape if cells is None else np.array(cells.shape, np.int32)
        networks = None if cells is None else network_table(cells, inside).ravel()
        longest = np.float32(np.linalg.norm(size / shape))
        times = int(shape[0] // coarse[0])
        return cls(leaps(occupancy).ravel(), shape[:, None], longest, networks, coarse[:, None], times)

    def cell(self, s: _Search, t: Array) -> tuple[Array, NDArray[np.int32]]:
        """Where rays are at t, in cells of the occupancy, and in which cell: (3, n) each."""
        p = np.clip(s.u + t * s.du, 0, 1) * self.shape.astype(np.float32)
        return p, np.minimum(p.astype(np.int32), self.shape - 1)

    def next(self, s: _Search, t: Array, stays: NDArray[np.bool_] | None = None) -> Array:
        """The first t (n,) from the given ones on that lies in a set cell; t1 or more where there is none.

        Those of rays that stay (n,) are left as they are.
        """
        t = t.copy()
        index = np.nonzero(t < s.t1 if stays is None else ~stays & (t < s.t1))[0]
        while len(index):
            some = _Walk(s.u.take(index, 1), s.du.take(index, 1))
            p, cell = self.cell(some, t[index])  # type: ignore[arg-type]
            gap = self.gaps[_flat(cell, self.shape)].astype(np.int32)
            off = np.nonzero(gap)[0]
            index = index[off]
            cell, gap = cell.take(off, 1), gap[off]
            way = _way(p.take(off, 1), cell + 1 - gap, cell + gap, s.per_cell.take(index, 1))
            t[index] += way + s.nudge[index]
            index = index[t[index] < s.t1[index]]
        return t

    def step(self, s: _Search, t: Array, pace: Array, nearing: NDArray[np.bool_]) -> Array:
        """Where rays of a bank are sampled next that were at t (n,)."""
        cell = self.cell(s, t)[1]
        due = nearing & (self.gaps[_flat(cell, self.shape)] == 0)
        ahead, inner = self.ways(s, t)[0], self.inner_ways(s, t)[0]
        pace = np.minimum(pace, ahead + s.nudge)
        leaves = self.network(s, t + pace) < 0
        stays = due & (~leaves | (inner > s.nudge))
        return self.next(s, t + np.where(stays & leaves, inner, pace), stays)

    def network(self, s: _Search, t: Array) -> NDArray[np.int32]:
        """The number of the network at t (n,), below 0 where there is none."""
        assert self.networks is not None
        return np.asarray(self.networks[_flat(self.cell(s, t)[1] // self.times, self.coarse)])

    def ways(self, s: _Search, t: Array) -> tuple[Array, Array]:
        """From t (n,) to where the ray leaves its network's cell, and back to where it entered."""
        p, cell = self.cell(s, t)
        first = cell // self.times * self.times
        last = first + self.times
        return _way(p, first, last, s.per_cell), _way(p, first, last, -s.per_cell)

    def inner_ways(self, s: _Search, t: Array) -> tuple[Array, Array]:
        """A trifle less than ``ways``, so that rounding does not carry a point into the next cell."""
        ahead, back = self.ways(s, t)
        zero, margin = np.float32(0), MARGIN * s.nudge
        return np.maximum(ahead - margin, zero), np.maximum(back - margin, zero)


@dataclass(frozen=True, eq=False)
class _Walk:
    """What ``_Space.cell`` needs of rays."""

    u: Array
    du: Array


def _flat(cell: NDArray[np.int32], shape: NDArray[np.int32]) -> NDArray[np.int32]:
    return np.asarray((cell[0] * shape[1] + cell[1]) * shape[2] + cell[2])


def _way(p: Array, first: NDArray[np.int32], last: NDArray[np.int32], per_cell: Array) -> Array:
    """t (n,) from points p (3, n) to where they leave the box from one corner to another."""
    way = (np.where(per_cell > 0, last, first).astype(np.float32) - p) * per_cell
    return np.asarray(np.maximum(np.minimum(np.minimum(way[0], way[1]), way[2]), np.float32(0)))


def _enter(space: _Space, low: Array, size: Array, rays_o: Array, rays_d: Array, cones: Array) -> _Search:
    """The rays that come to a set cell, there."""
    inverse = 1 / _nonzero(rays_d.T)
    a, b = ((corner - rays_o).T * inverse for corner in (low, low + size))
    t0 = np.maximum(np.minimum(a, b).max(0), np.float32(0))
    t1 = np.maximum(a, b).min(0)
    u, du = ((rays_o - low) / size).T, (rays_d / size).T
    per_cell = np.asarray(1 / _nonzero(du * space.shape.astype(np.float32)), np.float32)
    # above the rounding of t, for a camera far away
    nudge = np.maximum(np.float32(0.004) * np.abs(per_cell).min(0), np.float32(1e-6) * np.abs(t1))
    nothing, n = np.zeros_like(t0), len(t0)
    s = _Search(
        index=np.arange(n),
        t1=t1,
        u=u,
        du=du,
        per_cell=per_cell,
        nudge=nudge,
        cone=cones,
        t=t0,
        ta=nothing,
        ga=nothing - 1,
        tb=nothing,
        gb=nothing,
        th=nothing,
        low=nothing,
        side=nothing,
        cost=nothing,
        transmittance=nothing + 1,
        clear=np.ones(n, bool),
        stage=np.zeros(n, np.int8),
    ).take(t0 < t1)
    if space.networks is not None:
        network = space.network(s, s.t)
        s.side = np.select([network == INSIDE, network == OUTSIDE], [-1.0, 1.0]).astype(np.float32)
    s.t = space.next(s, s.t)
    s = s.take(s.t < s.t1)
    s.ta, s.th = s.t.copy(), s.t.copy()
    return s


def _nonzero(x: Array) -> Array:
    return np.asarray(np.where(np.abs(x) < 1e-12, np.float32(1e-12), x), np.float32)


def _search(distance: Distance, space: _Space, s: _Search) -> _Search:
    """The same rays in another order, each at the end of a layer."""
    s.low[:], s.stage[:] = 1, SEARCH
    ended = []
    while len(s.t):
        _step(space, s, distance(s.point(s.t)))
        over = s.stage >= HIT
        ended.append(s.take(over))
        s = s.take(~over)
    return _Search(*(np.concatenate([getattr(e, part.name) for e in ended], -1) for part in fields(s)))


def _resolve(space: _Space, s: _Search, f: Array, slope: Array) -> None:
    """One step of Newton's for the hits, given the field at ``th`` and its slope along the ray."""
    hit = s.stage == HIT
    s.cost += 1
    s.clear &= ~hit
    r = s.cone * s.th
    change = np.clip(s.side * f / np.maximum(-s.side * slope, np.float32(0.1)), -r, r)
    if space.networks is not None:
        ahead, back = space.inner_ways(s, s.th)
        change = np.clip(change, -back, ahead)
    s.th += np.where(hit, change, 0)


def _depth(ta: Array, a: Array, tb: Array, b: Array, tc: Array, c: Array) -> Array:
    """How far a ray that enters is from the silhouette, by the parabola through three samples along it."""
    ab, bc = (b - a) / (tb - ta), (c - b) / (tc - tb)
    curvature = (bc - ab) / (tc - ta)
    slope = ab + curvature * (tb - ta)
    bottom = slope * slope / (4 * np.where(curvature > 0, curvature, 1)) - b
    deep = np.where(curvature > 0, bottom, DEEP)
    return np.asarray(deep / np.sqrt(1 - np.clip(ab, -FRONTAL, 0) ** 2), np.float32)


def _step(space: _Space, s: _Search, f: Array) -> None:
    """What follows from an evaluation at ``s.t`` that gave f (n,)."""
    s.cost += 1
    s.side = np.where(s.side == 0, np.where(f < 0, np.float32(-1), np.float32(1)), s.side)
    g, r = s.side * f, s.cone * s.t
    searching = s.stage == SEARCH
    crossed = searching & (g <= 0) & (s.ga > 0)
    # the last layer's surface did not end there after all
    closed = searching & (g < -r) & (s.ga <= 0)
    i = np.nonzero(closed)[0]
    s.low[i] = -DEEP

    probed = np.nonzero(s.stage == PROBE)[0]
    refined = np.nonzero(crossed | (s.stage == REFINE))[0]
    going = np.nonzero(searching & ~crossed & ~closed)[0]
    s.stage[i] = HIT

    i = probed
    s.low[i] = -_depth(s.ta[i], s.ga[i], s.tb[i], s.gb[i], s.t[i], g[i]) / r[i]
    s.ga[i], s.stage[i] = g[i], HIT

    if len(refined):
        _bracket(space, s, refined, g[refined], r[refined], crossed[refined])
    if len(going):
        _advance(space, s, going, f[going], g[going], r[going])


def _bracket(
    space: _Space, s: _Search, i: NDArray[np.intp], g: Array, r: Array, crossed: NDArray[np.bool_]
) -> None:
    """Rays ``i`` that have just found a change of sign, or a better place of one."""
    t, front = s.t[i], g > 0
    ta, ga = np.where(front, t, s.ta[i]), np.where(front, g, s.ga[i])
    tb, gb = np.where(front, s.tb[i], t), np.where(front, s.gb[i], g)
    slope = (ga - gb) / (tb - ta)
    th = ta + ga / slope
    beyond = tb + np.minimum(1 / slope, PROBE_REACH) * r
    wide, flat = crossed & (tb - ta > WIDE * r), slope < FRONTAL
    if space.networks is not None:
        some = s.take(i)
        homeless = space.network(some, th) < 0
        th = np.where(homeless, np.where(ga < -gb, ta, tb), th)
        wide &= ~homeless
        ahead = space.inner_ways(some, tb)[0]
        far = flat & ~wide & (space.network(some, beyond) < 0)
        beyond = np.where(far, np.minimum(beyond, tb + ahead), beyond)
        flat &= beyond - tb > NEAR_PROBE * r
    s.ta[i], s.ga[i], s.tb[i], s.gb[i], s.th[i], s.low[i] = ta, ga, tb, gb, th, -DEEP
    s.stage[i] = np.where(wide, REFINE, np.where(flat, PROBE, HIT))
    s.t[i] = np.where(wide, th, beyond)


def _advance(space: _Space, s: _Search, i: NDArray[np.intp], f: Array, g: Array, r: Array) -> None:
    """Rays ``i`` that have not met the surface go on."""
    t, low, ga = s.t[i], s.low[i], s.ga[i]
    away = g > r
    grazed = away & (low < 1)
    s.clear[i] |= away
    closer = ~away & s.clear[i] & (g < low * r)
    low = np.where(closer, np.maximum(g / np.maximum(r, np.float32(1e-30)), 0), low)
    s.low[i] = low
    s.th[i] = np.where(closer, t, s.th[i])
    way = t - s.ta[i]
    falls = (ga > g) & (way < 2 * space.longest)
    fall = np.where(falls, (ga - g) / np.where(falls, way, 1), 1)
    pace = np.minimum(np.abs(f) / np.clip(fall, SLOWEST, 1), space.longest)
    pace = np.maximum(pace + r, r * (1 + s.cost[i] * HASTE))
    s.ta[i], s.ga[i] = t, g
    some = s.take(i)
    if space.networks is None:
        t = space.next(some, t + pace)
    else:
        t = space.step(some, t, pace, (ga <= 0) | (ga > g))
    s.t[i] = t
    over = ~grazed & ((t >= some.t1) | (some.cost >= EVALUATIONS))
    s.stage[i] = np.where(grazed | (over & (low < 1)), GRAZE, np.where(over, LEFT, SEARCH))
