"""The ``march`` driver: radiance fields on a fixed lattice of samples, front to back, with an early stop.

What an asset must hold for it (the family is free in how it fills them):

=====================  ==================================================================================
grid ``features``      over the box, u = (x - low) / (high - low)
network ``decoder``    features -> y = [s, h]: raw density and activations
network ``view``       unit direction -> 3 rows [bias, weights of h]: red, green, blue
volume ``occupancy``   samples in unset cells are not evaluated
``step_size``          between samples, world units; in an unbounded scene on the lattice of
                       ``render/contraction.py``
``ball``               middle and radius of what is not contracted, world units; a radius of 0: the scene is
                       bounded by its box. Else the box is the contracted one
``near_plane``         in radii of the ball; samples of an unbounded scene lie behind it
``stop``               a ray ends after the sample that brings its transmittance below this
``max_log_density``    sigma = exp(min(s, max_log_density))
``deferred``           0: every sample is coloured and then composited; 1: y is composited and then coloured
=====================  ==================================================================================

Or the field of ``render/shell_field.py``, uncontracted, in place of grid, ``decoder``, ``view`` and
``max_log_density``: adaptive shells without their meshes, whose density depends on direction and step.

``reference`` is the numpy twin of ``march.glsl`` in ``shaders/drivers`` and in ``shaders/families``.
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from render import contraction
from render.asset import BakedAsset
from render.camera import Camera
from render.contraction import BOUNDED
from render.drivers.trace import check_range
from render.errors import InshaderError
from render.parts import Parts
from render.ray_passes import RayPasses
from render.shell_field import MarchedShell, check_field

MODES = ("colour", "depth", "normal", "cost")
HOSTS = ("compute", "fragment")
MAX_STEPS = 1 << 16
REFERENCE_SAMPLES = 1 << 21  # lattice samples that the numpy twin holds at a time: about 60 MB
Array = NDArray[np.float32]


def check(asset: BakedAsset) -> None:
    """Raise InshaderError unless the parts are there and fit each other."""
    parts = Parts(asset, "compute")
    parts.volume("occupancy")
    diagonal = float(np.linalg.norm(asset.bounds[1].astype(np.float64) - asset.bounds[0]))
    check_range(parts, "step_size", diagonal / MAX_STEPS, diagonal)
    check_range(parts, "stop", 0, 1)
    _check_ball(parts)
    if "geometry" in asset.networks:
        check_field(parts)
        for name in ("deferred", "contracted"):
            check_range(parts, name, 0, 0)
        if parts.constant("ball") != BOUNDED["ball"]:
            raise InshaderError("adaptive shells are marched through in a box alone, ball must be 0 0 0 0")
        return
    check_range(parts, "max_log_density", -80, 80)
    check_range(parts, "deferred", 0, 1)
    grid, decoder, view = (
        parts.grid("features").spec,
        parts.network("decoder").spec,
        parts.network("view").spec,
    )
    if grid.dimension != 3:
        raise InshaderError(f"the grid features has {grid.dimension} dimensions, march wants 3")
    for name, spec, width in (("decoder", decoder, grid.output_width), ("view", view, 3)):
        if spec.count != 1 or len(spec.inputs) != 1 or spec.inputs[0].width != width:
            raise InshaderError(f"the network {name} must be a single one with one input of width {width}")
    if view.output_width != 3 * decoder.output_width:
        raise InshaderError(
            f"the network view gives {view.output_width} values, "
            f"the decoder's {decoder.output_width} want three times that"
        )


def _check_ball(parts: Parts) -> None:
    """Raise InshaderError unless space is a box, or contracted as the shader has it."""
    ball = parts.constant("ball")
    if not isinstance(ball, tuple) or len(ball) != 4 or not 0 <= ball[3] < math.inf:
        raise InshaderError(f"the constant ball is {ball!r:.60}, expected a middle and a radius from 0 on")
    check_range(parts, "near_plane", 0, contraction.FAR / 2 if ball[3] else 0)
    box = [[-contraction.SIDE] * 3, [contraction.SIDE] * 3]
    if ball[3] and parts.asset.bounds.tolist() != box:
        raise InshaderError(f"the asset is unbounded, its bounds {parts.asset.bounds.tolist()} are not {box}")


class Passes(RayPasses):
    """Normals have a program of their own: the Jacobian at every sample is dear."""

    APART = ("normal",)


def reference(asset: BakedAsset, camera: Camera, mode: str) -> tuple[Array, Array]:
    """The numpy twin: picture (h, w, 4), its last channel the coverage, and evaluations (h, w)."""
    origins, directions = camera.rays()
    rays_o, rays_d = origins.reshape(-1, 3), directions.reshape(-1, 3)
    picture = np.zeros((len(rays_d), 4), np.float32)
    cost = np.zeros(len(rays_d), np.float32)
    field = MarchedShell(asset) if "geometry" in asset.networks else Field(asset)
    # Contracted, no ray is longer than the box either.
    longest = int(np.linalg.norm(asset.bounds[1] - asset.bounds[0]) / field.step_size) + 2
    chunk = max(1, REFERENCE_SAMPLES // longest)
    for start in range(0, len(rays_d), chunk):
        part = slice(start, start + chunk)
        picture[part], cost[part] = _march(field, rays_o[part], rays_d[part], mode)
    return picture.reshape(camera.h, camera.w, 4), cost.reshape(camera.h, camera.w)


class Field:
    """The numpy twin of ``shaders/families/gaussian_rbf/march.glsl``, and the asset's numbers in float32."""

    def __init__(self, asset: BakedAsset) -> None:
        parts = Parts(asset, "compute")
        self.grid, self.decoder, self.view = (
            parts.grid("features"),
            parts.network("decoder"),
            parts.network("view"),
        )
        self.occupancy = parts.volume("occupancy")
        self.low, self.size = asset.bounds[0], asset.bounds[1] - asset.bounds[0]
        self.background = np.asarray(asset.background, np.float32)
        self.step_size, self.stop, self.max_log_density = (
            np.float32(parts.number(name)) for name in ("step_size", "stop", "max_log_density")
        )
        self.ball, self.near_plane = (
            np.array(parts.constant("ball"), np.float32),
            np.float32(parts.number("near_plane")),
        )
        self.deferred = parts.number("deferred") == 1

    def evaluate(self, u: Array) -> Array:
        """Values y (n, 1 + h) at u (n, 3)."""
        features = self.grid.spec.evaluate(self.grid.table, u)
        return self.decoder.spec.evaluate(self.decoder.parameters, features).astype(np.float32)

    def density(self, y: Array, rays_d: Array | None = None) -> Array:
        """sigma (n,), per world unit; the same along all directions."""
        return np.asarray(np.exp(np.minimum(y[..., 0], self.max_log_density)), np.float32)

    def head(self, rays_d: Array) -> Array:
        """Rows (n, 3, 1 + h) for the colours of rays (n, 3)."""
        rows = self.view.spec.evaluate(self.view.parameters, rays_d).astype(np.float32)
        return rows.reshape(len(rays_d), 3, -1)

    def colour(self, head: Array, y: Array) -> Array:
        """Display colours (n, 3); the place of the density in y is the bias's."""
        z = head[..., 0] + (head[..., 1:] * y[..., None, 1:]).sum(-1)
        return np.asarray(0.5 * np.tanh(0.5 * z) + 0.5, np.float32)

    def density_gradient(self, u: Array) -> Array:
        """d sigma / d u (n, 3)."""
        features, by_u = self.grid.spec.jacobian(self.grid.table, u)  # (n, f), (n, f, 3)
        y, by_features = self.decoder.spec.jacobian(self.decoder.parameters, features)
        slope = np.einsum("nf,nfu->nu", by_features[:, 0], by_u)
        steep = self.density(y) * (y[:, 0] < self.max_log_density)
        return np.asarray(slope * steep[:, None], np.float32)


class Lattice:
    """The samples of rays (n, 3): the numpy twin of ``shaders/drivers/march_ray.glsl``.

    Attributes:
        counts: (n, samples) which of them are in set cells.
    """

    def __init__(self, field: Field | MarchedShell, rays_o: Array, rays_d: Array) -> None:
        self.field, self.d, half_step = field, rays_d, np.float32(0.5) * field.step_size
        self.unbounded = field.ball[3] > 0
        if self.unbounded:
            self.o = (rays_o - field.ball[:3]) / field.ball[3]
            self.foot = -(self.o * rays_d).sum(-1)
            self.s = contraction.lattice_place(field.near_plane - self.foot) + half_step
            end = contraction.lattice_place(np.float32(contraction.FAR) - self.foot)
        else:
            inverse = 1 / np.where(np.abs(rays_d) < 1e-12, np.float32(1e-12), rays_d)
            a, b = (field.low - rays_o) * inverse, (field.low + field.size - rays_o) * inverse
            self.s, end = np.maximum(np.minimum(a, b).max(-1), 0) + half_step, np.maximum(a, b).min(-1)
            self.u = (rays_o + self.s[:, None] * rays_d - field.low) / field.size
            self.du = field.step_size * rays_d / field.size
        n = np.ceil((end - self.s) / field.step_size)
        k = np.arange(max(0, int(n.max(initial=0))), dtype=np.float32)
        every = np.arange(len(rays_d))[:, None]
        x = self.point(every, np.minimum(k, np.maximum(n - 1, 0)[:, None]))  # (n, samples, 3)
        shape = np.array(field.occupancy.shape)
        cell = np.minimum((x * shape.astype(np.float32)).astype(np.int32), shape - 1)
        self.counts = field.occupancy[tuple(np.moveaxis(cell, -1, 0))] & (k < n[:, None])

    def distance(self, ray: NDArray[np.int64], k: Array) -> Array:
        """Of samples k (...) of rays (...) along them: world units, or those of the ball."""
        s = self.s[ray] + k * self.field.step_size
        return contraction.lattice_distance(s) + self.foot[ray] if self.unbounded else s

    def point(self, ray: NDArray[np.int64], k: Array) -> Array:
        """u (..., 3) of samples."""
        if self.unbounded:
            y = contraction.contract(self._place(ray, k))
            return np.asarray(np.clip((y - self.field.low) / self.field.size, 0, 1), np.float32)
        return np.asarray(np.clip(self.u[ray] + k[..., None] * self.du[ray], 0, 1), np.float32)

    def slope(self, ray: NDArray[np.int64], k: Array, by_u: Array) -> Array:
        """Slopes by u (n, 3) of samples as ones in the world, but for their length."""
        slope = np.asarray(by_u / self.field.size, np.float32)
        return contraction.contract_slope(self._place(ray, k), slope) if self.unbounded else slope

    def _place(self, ray: NDArray[np.int64], k: Array) -> Array:
        """Where samples of an unbounded scene are, in units of the ball from its middle (..., 3)."""
        place: Array = self.o[ray] + self.distance(ray, k)[..., None] * self.d[ray]
        return place


def _march(field: Field | MarchedShell, rays_o: Array, rays_d: Array, mode: str) -> tuple[Array, Array]:
    """Pictures (n, 4) and evaluations (n,) of rays, sample by sample over all of them."""
    lattice = Lattice(field, rays_o, rays_d)
    order = np.argsort(~lattice.counts, axis=1, kind="stable")  # (n, samples): those that count first
    totals = lattice.counts.sum(1)
    head = field.head(rays_d)
    composite = np.zeros((len(rays_d), head.shape[-1]), np.float32)
    rgb, normal = np.zeros((2, len(rays_d), 3), np.float32)
    transmittance = np.ones(len(rays_d), np.float32)
    coverage, depth, cost = np.zeros((3, len(rays_d)), np.float32)
    for step in range(totals.max(initial=0)):
        alive = np.nonzero((step < totals) & ~((transmittance < field.stop) & (cost > 0)))[0]
        if not len(alive):
            break
        k = order[alive, step].astype(np.float32)
        x = lattice.point(alive, k)
        y = field.evaluate(x)
        kept = np.exp(-field.density(y, rays_d[alive]) * field.step_size)
        w = transmittance[alive] * (1 - kept)
        if field.deferred:
            composite[alive] += w[:, None] * y
        else:
            rgb[alive] += w[:, None] * field.colour(head[alive], y)
        if mode == "normal":
            normal[alive] -= w[:, None] * lattice.slope(alive, k, field.density_gradient(x))
        coverage[alive] += w
        depth[alive] += w * lattice.distance(alive, k)
        transmittance[alive] *= kept
        cost[alive] += 1
    per_coverage = np.divide(1, coverage, out=np.zeros_like(coverage), where=coverage > 0)
    if field.deferred:
        rgb = coverage[:, None] * field.colour(head, composite * per_coverage[:, None])
    if mode == "colour":
        picture = rgb + transmittance[:, None] * field.background
    elif mode == "normal":
        picture = normal / np.sqrt(np.maximum((normal**2).sum(-1, keepdims=True), 1e-30))
    elif mode == "depth":
        unit = field.ball[3] if lattice.unbounded else np.float32(1)
        picture = np.repeat((depth * per_coverage * unit)[:, None], 3, 1)
    else:
        picture = np.repeat(cost[:, None], 3, 1)
    return np.concatenate([picture, coverage[:, None]], -1).astype(np.float32), cost
