"""The ``march`` driver: radiance fields on a fixed lattice of samples, front to back, with an early stop.

What an asset must hold for it besides the space of ``render/lattice.py``, whose samples these are (the family
is free in how it fills them):

=====================  ==================================================================================
grid ``features``      over the box of the space, u = (x - low) / (high - low)
network ``decoder``    features -> y = [s, h]: raw density and activations
network ``view``       unit direction -> 3 rows [bias, weights of h]: red, green, blue
``stop``               a ray ends after the sample that brings its transmittance below this
``max_log_density``    sigma = exp(min(s, max_log_density)), per unit of the space
``deferred``           0: every sample is coloured and then composited; 1: y is composited and then coloured
=====================  ==================================================================================

Or the field of ``render/shell_field.py``, uncontracted, in place of grid, ``decoder``, ``view`` and
``max_log_density``: adaptive shells without their meshes, whose density depends on direction and step.

``reference`` is the numpy twin of ``march.glsl`` in ``shaders/drivers`` and in ``shaders/families``.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from render.asset import BakedAsset
from render.camera import Camera
from render.errors import InshaderError
from render.lattice import BOUNDED, Lattice, Space, check_space
from render.parts import Parts, check_range
from render.ray_passes import RayPasses
from render.shell_field import MarchedShell, check_field

MODES = ("colour", "depth", "normal", "cost")
HOSTS = ("compute", "fragment")
REFERENCE_SAMPLES = 1 << 21  # lattice samples that the numpy twin holds at a time: about 60 MB
Array = NDArray[np.float32]


def check(asset: BakedAsset) -> None:
    """Raise InshaderError unless the parts are there and fit each other."""
    parts = Parts(asset, "compute")
    check_space(parts)
    check_range(parts, "stop", 0, 1)
    if "geometry" in asset.networks:
        check_field(parts)
        for name in ("deferred", "contracted"):
            check_range(parts, name, 0, 0)
        if parts.constant("ball") != BOUNDED["ball"] or parts.constant("forward") != BOUNDED["forward"]:
            raise InshaderError(
                "adaptive shells are marched through in a box alone, expected ball 0 0 0 0 and forward 0"
            )
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
    chunk = max(1, REFERENCE_SAMPLES // field.space.most_samples)
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
        self.space = Space.of(asset)
        self.background = np.asarray(asset.background, np.float32)
        self.stop, self.max_log_density = (
            np.float32(parts.number(name)) for name in ("stop", "max_log_density")
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


def _march(field: Field | MarchedShell, rays_o: Array, rays_d: Array, mode: str) -> tuple[Array, Array]:
    """Pictures (n, 4) and evaluations (n,) of rays, sample by sample over all of them."""
    lattice = Lattice(field.space, rays_o, rays_d)
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
        kept = np.exp(-field.density(y, rays_d[alive]) * field.space.step_size)
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
        unit = field.space.ball[3] if lattice.unbounded else np.float32(1)
        picture = np.repeat((depth * per_coverage * unit)[:, None], 3, 1)
    else:
        picture = np.repeat(cost[:, None], 3, 1)
    return np.concatenate([picture, coverage[:, None]], -1).astype(np.float32), cost
