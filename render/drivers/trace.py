"""The ``trace`` driver: sphere tracing of a signed distance field, with anti-aliased edges.

What an asset must hold for it (the family is free in how it fills them):

=====================  ==================================================================================
grid ``features``      over the box, u = (x - low) / (high - low)
network ``decoder``    features -> y, one value
volume ``occupancy``   rays leap over unset cells; set are those that come within about a cell of the surface
``distance_scale``     f = distance_scale * y: world units, negative inside
``albedo``             display colour of the clay
``ambient``            0 to 1: colour = albedo * (ambient + (1 - ambient) * abs(dot(n, d)))
=====================  ==================================================================================

**Search.** A ray samples f in set cells only. It steps by abs(f), by up to 1 / ``SLOWEST`` of that where f
fell less than the step before (the planar assumption, after Balint and Valasek 2018, without their way
back), but by no more than a cell's diagonal; and by r more, half a pixel's width, so that it does not creep.
f changes sign between two samples: they bracket a hit, whose place is their secant's; a bracket that is
``WIDE`` is narrowed once before. The last correction, one step of Newton's, comes with the normal, which is
the analytic gradient. The first sample tells the side that the ray starts on, so a camera inside the object
sees its inner wall.

**Edges** (a choice). A straight edge at a distance s from a pixel's centre covers 0.5 - s / (2 r) of it, s
below 0 where the centre is covered. For a ray that comes within r and leaves again, s is the smallest f. For
one that enters, unless it does so frontally, a sample behind the surface is taken: a parabola through it and
the bracket tells how deep the ray goes, and that over the sine of the angle between ray and normal is -s
(good for spheres much larger than a pixel, and for symmetric wedges). Either is divided by the length of the
gradient, which is 1 only of true distances. A layer that does not cover all lets the ray go on, through
``LAYERS`` at most; a hit in the last one covers all.

``trace_rays`` is the numpy twin of ``trace.glsl`` in ``shaders/drivers``, for any field.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from render.asset import BakedAsset
from render.camera import Camera
from render.errors import InshaderError
from render.occupancy import leaps
from render.parts import Parts
from render.ray_passes import RayPasses

MODES = ("colour", "depth", "normal", "cost")
HOSTS = ("compute", "fragment")
# As in shaders/drivers/trace.glsl.
EVALUATIONS, LAYERS = 128, 3
FRONTAL, PROBE_REACH, WIDE, DEEP = np.float32(0.7), np.float32(8), np.float32(4), np.float32(1e9)
CLOSED, HASTE, SLOWEST = np.float32(0.004), np.float32(0.0625), np.float32(0.6)
SEARCH, REFINE, PROBE, HIT, GRAZE, LEFT = range(6)
REFERENCE_POINTS = 1 << 16  # that the reference evaluates at a time
Array = NDArray[np.float32]
Passes = RayPasses
Distance = Callable[[Array], Array]
"""f (n,) at u (n, 3) in [0, 1]."""
Gradient = Callable[[Array], tuple[Array, Array]]
"""f (n,) and its slope by u (n, 3), at u (n, 3)."""


def check(asset: BakedAsset) -> None:
    """Raise InshaderError unless the parts are there and fit each other."""
    parts = Parts(asset, "compute")
    grid, decoder = parts.grid("features").spec, parts.network("decoder").spec
    parts.volume("occupancy")
    if grid.dimension != 3:
        raise InshaderError(f"the grid features has {grid.dimension} dimensions, trace wants 3")
    width = grid.output_width
    if decoder.count != 1 or len(decoder.inputs) != 1 or decoder.inputs[0].width != width:
        raise InshaderError(f"the network decoder must be a single one with one input of width {width}")
    if decoder.output_width != 1:
        raise InshaderError(f"the network decoder gives {decoder.output_width} values, trace wants 1")
    for name, low, high in (("distance_scale", 1e-6, 1e6), ("ambient", 0, 1)):
        if not low <= parts.number(name) <= high:
            raise InshaderError(
                f"the constant {name} is {parts.number(name)!r}, expected {low:g} to {high:g}"
            )
    albedo = parts.constant("albedo")
    if not (isinstance(albedo, tuple) and len(albedo) == 3 and all(0 <= value <= 1 for value in albedo)):
        raise InshaderError(f"the constant albedo is {albedo!r:.60}, expected three numbers from 0 to 1")


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


def shade(normal: Array, rays_d: Array, albedo: Array, ambient: float) -> Array:
    """Clay under a headlight: display colours (n, 3) for unit normals and unit directions (n, 3)."""
    facing = np.abs((normal * rays_d).sum(-1, keepdims=True))
    return np.asarray(albedo * (np.float32(ambient) + np.float32(1 - ambient) * facing), np.float32)


def trace_rays(
    distance: Distance,
    gradient: Gradient,
    occupancy: NDArray[np.bool_],
    low: Array,
    size: Array,
    rays_o: Array,
    rays_d: Array,
    cones: Array,
) -> Layers:
    """Trace a distance field, by the shader's steps.

    Args:
        distance, gradient: the field, over the box.
        occupancy: (x, y, z) over the box.
        low, size: (3,) of the box, world units.
        rays_o, rays_d: (n, 3), world; directions are unit vectors.
        cones: (n,), see ``pixel_cones``.
    """
    rays = _Rays(occupancy, low, size, rays_o, rays_d, cones)
    n = len(rays_d)
    found = Layers(
        np.zeros((LAYERS, n), np.float32),
        np.zeros((LAYERS, n, 3), np.float32),
        np.zeros((LAYERS, n), np.float32),
        np.zeros(n, np.float32),
    )
    state = _State.start(rays.next(np.arange(n), rays.t0))
    left = np.ones(n, np.float32)  # transmittance
    alive = np.nonzero(state.t < rays.t1)[0]
    for layer in range(LAYERS):
        if not len(alive):
            break
        state.begin(alive)
        searching = alive
        while len(searching):
            _sample(distance, rays, state, searching)
            searching = searching[state.stage[searching] < HIT]
        met = alive[state.stage[alive] != LEFT]
        f, slope = gradient(rays.point(met, state.th[met]))
        state.cost[met] += 1
        slope = (slope / size).astype(np.float32)
        hit = state.stage[met] == HIT
        side, r = state.side[met], rays.cones[met] * state.th[met]
        facing = np.maximum(-side * (slope * rays_d[met]).sum(-1), np.float32(0.1))
        state.th[met] += np.where(hit, np.clip(side * f / facing, -r, r), 0)
        state.clear[met] &= ~hit
        squared = (slope**2).sum(-1)
        smallest = np.where(hit & (layer == LAYERS - 1), -DEEP, state.low[met])
        cover = np.clip(0.5 - 0.5 * smallest / np.sqrt(np.maximum(squared, 0.1)), 0, 1)
        found.t[layer, met] = state.th[met]
        found.normal[layer, met] = slope / np.sqrt(np.maximum(squared, 1e-30))[:, None]
        found.weight[layer, met] = left[met] * cover
        left[met] -= found.weight[layer, met]
        on = (left[alive] > CLOSED) & (state.t[alive] < rays.t1[alive]) & (state.cost[alive] < EVALUATIONS)
        alive = alive[on]
    found.evaluations[:] = state.cost
    return found


class _Rays:
    """The numpy twin of ``trace_ray.glsl``. ``which`` are indices (m,) of rays."""

    def __init__(
        self,
        occupancy: NDArray[np.bool_],
        low: Array,
        size: Array,
        rays_o: Array,
        rays_d: Array,
        cones: Array,
    ) -> None:
        inverse = 1 / np.where(np.abs(rays_d) < 1e-12, np.float32(1e-12), rays_d)
        a, b = (low - rays_o) * inverse, (low + size - rays_o) * inverse
        self.t0: Array = np.maximum(np.minimum(a, b).max(-1), np.float32(0))
        self.t1: Array = np.maximum(a, b).min(-1)
        self.u, self.du = (rays_o - low) / size, rays_d / size
        self.shape = np.array(occupancy.shape, np.int32)
        self.gaps = leaps(occupancy)
        cells = self.du * self.shape.astype(np.float32)
        self.per_cell = 1 / np.where(np.abs(cells) < 1e-12, np.float32(1e-12), cells)
        # above the rounding of t, for a camera far away
        nudge = np.float32(0.004) * np.abs(self.per_cell).min(-1)
        self.nudge: Array = np.maximum(nudge, np.float32(1e-6) * np.abs(self.t1))
        self.cones = cones
        self.longest = np.float32(np.linalg.norm(size / self.shape))

    def point(self, which: NDArray[np.intp], t: Array) -> Array:
        """(m, 3) in the box."""
        x: Array = np.clip(self.u[which] + t[:, None] * self.du[which], 0, 1)
        return x

    def next(self, which: NDArray[np.intp], t: Array) -> Array:
        """The first t (m,) from the given ones on that lies in a set cell; t1 or more where there is none."""
        t = t.copy()
        going = np.nonzero(t < self.t1[which])[0]
        while len(going):
            rays = which[going]
            p = self.point(rays, t[going]) * self.shape.astype(np.float32)
            cell = np.minimum(p.astype(np.int32), self.shape - 1)
            gap = self.gaps[tuple(cell.T)].astype(np.int32)
            going, rays, p, cell, gap = (part[gap > 0] for part in (going, rays, p, cell, gap))
            ahead = self.per_cell[rays] > 0
            face = (cell + np.where(ahead, gap[:, None], 1 - gap[:, None])).astype(np.float32)
            way = ((face - p) * self.per_cell[rays]).min(-1)
            t[going] += np.maximum(way, np.float32(0)) + self.nudge[rays]
            going = going[t[going] < self.t1[rays]]
        return t


@dataclass(eq=False)
class _State:
    """Where the search of n rays stands; names are those of ``trace.glsl``."""

    t: Array
    ta: Array
    ga: Array
    tb: Array
    gb: Array
    th: Array
    low: Array
    side: Array
    cost: Array
    clear: NDArray[np.bool_]
    stage: NDArray[np.int8]

    @classmethod
    def start(cls, t: Array) -> _State:
        """Rays that begin at t (n,)."""
        tb, gb, low, side, cost = (np.zeros_like(t) for _ in range(5))
        clear, stage = np.ones(len(t), bool), np.zeros(len(t), np.int8)
        return cls(t, t.copy(), -np.ones_like(t), tb, gb, t.copy(), low, side, cost, clear, stage)

    def begin(self, which: NDArray[np.intp]) -> None:
        """A new layer."""
        self.low[which] = 1
        self.stage[which] = SEARCH


def _depth(ta: Array, a: Array, tb: Array, b: Array, tc: Array, c: Array) -> Array:
    """How far a ray that enters is from the silhouette, by the parabola through three samples along it."""
    ab, bc = (b - a) / (tb - ta), (c - b) / (tc - tb)
    curvature = (bc - ab) / (tc - ta)
    slope = ab + curvature * (tb - ta)
    bottom = slope * slope / (4 * np.where(curvature > 0, curvature, 1)) - b
    deep = np.where(curvature > 0, bottom, DEEP)
    return np.asarray(deep / np.sqrt(1 - np.clip(ab, -FRONTAL, 0) ** 2), np.float32)


def _sample(distance: Distance, rays: _Rays, s: _State, which: NDArray[np.intp]) -> None:
    """One evaluation of each of the rays ``which``, and what follows from it."""
    t, stage = s.t[which], s.stage[which]
    f = distance(rays.point(which, t))
    s.cost[which] += 1
    s.side[which] = np.where(s.side[which] == 0, np.where(f < 0, -1, 1), s.side[which])
    g, r = s.side[which] * f, rays.cones[which] * t
    crossed = (stage == SEARCH) & (g <= 0) & (s.ga[which] > 0)

    # the last layer's surface did not end there after all
    closed = (stage == SEARCH) & (g < -r) & (s.ga[which] <= 0)
    i = which[closed]
    s.stage[i], s.low[i] = HIT, -DEEP

    k = stage == PROBE
    i = which[k]
    deep = _depth(s.ta[i], s.ga[i], s.tb[i], s.gb[i], t[k], g[k])
    s.low[i] = -deep / r[k]
    s.ga[i] = g[k]
    s.stage[i] = HIT

    k = crossed | (stage == REFINE)
    i, front = which[k], g[k] > 0
    s.ta[i], s.ga[i] = np.where(front, t[k], s.ta[i]), np.where(front, g[k], s.ga[i])
    s.tb[i], s.gb[i] = np.where(front, s.tb[i], t[k]), np.where(front, s.gb[i], g[k])
    slope = (s.ga[i] - s.gb[i]) / (s.tb[i] - s.ta[i])
    s.th[i], s.low[i] = s.ta[i] + s.ga[i] / slope, -DEEP
    wide = crossed[k] & (s.tb[i] - s.ta[i] > WIDE * r[k])
    s.stage[i] = np.where(wide, REFINE, np.where(slope < FRONTAL, PROBE, HIT))
    s.t[i] = np.where(wide, s.th[i], s.tb[i] + np.minimum(1 / slope, PROBE_REACH) * r[k])

    k = (stage == SEARCH) & ~crossed & ~closed
    i, away = which[k], g[k] > r[k]
    s.stage[i] = np.where(away & (s.low[i] < 1), GRAZE, SEARCH)
    s.clear[i] |= away
    closer = ~away & s.clear[i] & (g[k] < s.low[i] * r[k])
    s.low[i] = np.where(closer, np.maximum(g[k] / r[k], 0), s.low[i])
    s.th[i] = np.where(closer, t[k], s.th[i])
    way = t[k] - s.ta[i]
    falls = (s.ga[i] > g[k]) & (way < 2 * rays.longest)
    fall = np.where(falls, (s.ga[i] - g[k]) / np.where(falls, way, 1), 1)
    pace = np.minimum(np.abs(f[k]) / np.clip(fall, SLOWEST, 1), rays.longest)
    s.ta[i], s.ga[i] = t[k], g[k]
    s.t[i] = rays.next(i, t[k] + np.maximum(pace + r[k], r[k] * (1 + s.cost[i] * HASTE)))
    over = (s.stage[i] == SEARCH) & ((s.t[i] >= rays.t1[i]) | (s.cost[i] >= EVALUATIONS))
    s.stage[i] = np.where(over, np.where(s.low[i] < 1, GRAZE, LEFT), s.stage[i])


def composite(
    layers: Layers, rays_d: Array, mode: str, albedo: Array, ambient: float, background: Array
) -> Array:
    """Pictures (n, 4) of rays, the last channel the coverage."""
    w = layers.weight[..., None]  # (LAYERS, n, 1)
    coverage: Array = w.sum(0)
    if mode == "colour":
        rgb = [shade(normal, rays_d, albedo, ambient) for normal in layers.normal]
        picture = (w * rgb).sum(0) + (1 - coverage) * background
    elif mode == "normal":
        normal = (w * layers.normal).sum(0)
        picture = normal / np.sqrt(np.maximum((normal**2).sum(-1, keepdims=True), 1e-30))
    elif mode == "depth":
        depth = (w[..., 0] * layers.t).sum(0)[:, None]
        depth = np.divide(depth, coverage, out=np.zeros_like(depth), where=coverage > 0)
        picture = np.repeat(depth, 3, 1)
    else:
        picture = np.repeat(layers.evaluations[:, None], 3, 1)
    return np.concatenate([picture, coverage], -1).astype(np.float32)


def reference(asset: BakedAsset, camera: Camera, mode: str) -> tuple[Array, Array]:
    """The numpy twin: picture (h, w, 4), its last channel the coverage, and evaluations (h, w)."""
    parts = Parts(asset, "compute")
    grid, decoder = parts.grid("features"), parts.network("decoder")
    scale = np.float32(parts.number("distance_scale"))

    def distance(u: Array) -> Array:
        pieces = [np.zeros(0, np.float32)]
        for start in range(0, len(u), REFERENCE_POINTS):
            features = grid.spec.evaluate(grid.table, u[start : start + REFERENCE_POINTS])
            pieces.append(scale * decoder.spec.evaluate(decoder.parameters, features)[:, 0])
        return np.concatenate(pieces)

    def gradient(u: Array) -> tuple[Array, Array]:
        values, slopes = [np.zeros(0, np.float32)], [np.zeros((0, 3), np.float32)]
        for start in range(0, len(u), REFERENCE_POINTS):
            features, by_u = grid.spec.jacobian(grid.table, u[start : start + REFERENCE_POINTS])
            y, by_features = decoder.spec.jacobian(decoder.parameters, features)
            values.append(scale * y[:, 0])
            slopes.append(scale * np.einsum("nf,nfu->nu", by_features[:, 0], by_u))
        return np.concatenate(values), np.concatenate(slopes)

    origins, directions = camera.rays()
    rays_o, rays_d = origins.reshape(-1, 3), directions.reshape(-1, 3)
    low, size = asset.bounds[0], asset.bounds[1] - asset.bounds[0]
    cones = pixel_cones(camera, rays_d)
    layers = trace_rays(distance, gradient, parts.volume("occupancy"), low, size, rays_o, rays_d, cones)
    albedo, ambient = np.array(parts.constant("albedo"), np.float32), float(parts.number("ambient"))
    background = np.asarray(asset.background, np.float32)
    picture = composite(layers, rays_d, mode, albedo, ambient, background)
    shape = camera.h, camera.w
    return picture.reshape(*shape, 4), layers.evaluations.reshape(shape)
