"""The field of adaptive shells in numpy: the twin of ``shaders/families/adaptive_shells/shell.glsl``.

What an asset must hold for it:

====================  ===================================================================================
grid ``features``     over the box; u = (x - low) / (high - low), of contracted x if ``contracted`` is 1
network ``geometry``  features, u -> y = [f, log kappa, predicted normal (3), h]; f > 0 outside, in the
                      units of (contracted) space; the normal is made a unit vector before it is used
network ``colour``    h, unit normal, unit direction -> display colour
``contracted``        1: space is contracted into the ball of radius 2, and the box is about that
``min_kappa``,        kappa = exp(clamp(log kappa)) between these: the inverse width of the logistic
``max_kappa``         density about f = 0
====================  ===================================================================================

Source: Wang et al., *Adaptive Shells for Efficient Neural Radiance Field Rendering*, 2023; the section's
opacity after Wang et al., *NeuS*, 2021, with the predicted normal for the slope (our choice).
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from render.asset import BakedAsset
from render.errors import InshaderError
from render.lattice import BOUNDED, Space
from render.network import NetworkSpec
from render.parts import Parts, check_range

HEAD = 5  # values of y before h
Array = NDArray[np.float32]


def check_field(parts: Parts) -> None:
    """Raise InshaderError unless grid, networks and constants are there and fit each other."""
    grid, geometry, colour = (
        parts.grid("features").spec,
        parts.network("geometry").spec,
        parts.network("colour").spec,
    )
    if grid.dimension != 3:
        raise InshaderError(f"the grid features has {grid.dimension} dimensions, shells want 3")
    _check_slots("geometry", geometry, [grid.output_width, 3])
    if geometry.output_width <= HEAD:
        raise InshaderError(
            f"the network geometry gives {geometry.output_width} values, expected more than {HEAD}"
        )
    _check_slots("colour", colour, [geometry.output_width - HEAD, 3, 3])
    if colour.output_width != 3:
        raise InshaderError(f"the network colour gives {colour.output_width} values, expected 3")
    if parts.constant("contracted") not in (0, 1) or not isinstance(parts.constant("contracted"), int):
        raise InshaderError(
            f"the constant contracted is {parts.constant('contracted')!r:.40}, expected 0 or 1"
        )
    check_range(parts, "min_kappa", 1e-3, 1e9)
    check_range(parts, "max_kappa", parts.number("min_kappa"), 1e9)


def _check_slots(name: str, spec: NetworkSpec, widths: list[int]) -> None:
    found = [slot.width for slot in spec.inputs]
    if spec.count != 1 or found != widths:
        raise InshaderError(
            f"the network {name} must be a single one with inputs of width "
            f"{' and '.join(map(str, widths))}, it has {spec.count} with {' and '.join(map(str, found))}"
        )


class ShellField:
    """The functions, and the asset's numbers in float32."""

    def __init__(self, asset: BakedAsset) -> None:
        parts = Parts(asset, "compute")
        self.grid, self.geometry, self.colours = (
            parts.grid("features"),
            parts.network("geometry"),
            parts.network("colour"),
        )
        self.low, self.size = asset.bounds[0], asset.bounds[1] - asset.bounds[0]
        self.log_kappa = np.log(
            np.array([parts.number(name) for name in ("min_kappa", "max_kappa")], np.float32)
        )

    def evaluate(self, u: Array) -> Array:
        """Values y (n, 5 + h) at u (n, 3) in [0, 1]."""
        features = self.grid.spec.evaluate(self.grid.table, u)
        return self.geometry.spec.evaluate(self.geometry.parameters, features, u).astype(np.float32)

    def normal(self, y: Array) -> Array:
        """Unit normals (n, 3)."""
        n = y[:, 2:HEAD]
        return np.asarray(n / np.maximum(np.linalg.norm(n, axis=-1, keepdims=True), 1e-6), np.float32)

    def optical(self, y: Array, v: Array) -> Array:
        """Optical thickness (n,) of the sections v (n, 3) about the places of y."""
        kappa = np.exp(np.clip(y[:, 1], *self.log_kappa))
        half_change = np.float32(0.5) * np.minimum((self.normal(y) * v).sum(-1), 0)
        before, after = (kappa * (y[:, 0] + s * half_change) for s in (-1, 1))
        return np.asarray(np.maximum(_log_sigmoid(before) - _log_sigmoid(after), 0), np.float32)

    def colour(self, y: Array, rays_d: Array) -> Array:
        """Display colours (n, 3) seen along unit directions (n, 3)."""
        rgb = self.colours.spec.evaluate(self.colours.parameters, y[:, HEAD:], self.normal(y), rays_d)
        return rgb.astype(np.float32)


def _log_sigmoid(z: Array) -> Array:
    return np.asarray(np.minimum(z, 0) - np.log(1 + np.exp(-np.abs(z))), np.float32)


class MarchedShell:
    """A shell without its meshes, for the driver ``march``: the twin of ``adaptive_shells/march.glsl``."""

    deferred = False

    def __init__(self, asset: BakedAsset) -> None:
        parts = Parts(asset, "compute")
        self.field = ShellField(asset)
        self.space = Space.of(asset)
        self.background = np.asarray(asset.background, np.float32)
        self.stop = np.float32(parts.number("stop"))

    def evaluate(self, u: Array) -> Array:
        return self.field.evaluate(u)

    def density(self, y: Array, rays_d: Array) -> Array:
        """Per world unit, so that a step absorbs what the section of that length does."""
        return np.asarray(
            self.field.optical(y, self.space.step_size * rays_d) / self.space.step_size, np.float32
        )

    def head(self, rays_d: Array) -> Array:
        return rays_d

    def colour(self, head: Array, y: Array) -> Array:
        return self.field.colour(y, head)

    def density_gradient(self, u: Array) -> Array:
        return np.asarray(-self.field.normal(self.evaluate(u)) * self.space.size, np.float32)


def march_asset(
    asset: BakedAsset, occupancy: NDArray[np.bool_], step_size: float, stop: float | None = None
) -> BakedAsset:
    """The same trained networks for the driver ``march``: steps through occupied cells in place of a shell.

    Args:
        occupancy: (x, y, z) over the box; all set and ``stop`` 0: every sample of every ray is evaluated.
        step_size: between samples, world units; a 384th of the box's diagonal are 384 samples along it.
        stop: transmittance at which rays end; None: as in the shell.

    Raises:
        InshaderError: the scene is contracted.
    """
    if asset.constants.get("contracted") != 0:
        raise InshaderError("a contracted scene has no lattice of steps: march draws bounded ones")
    kept = {name: asset.constants[name] for name in ("contracted", "min_kappa", "max_kappa", "stop")}
    constants = {**kept, "step_size": step_size, "deferred": 0, **BOUNDED}
    if stop is not None:
        constants["stop"] = stop
    return replace(
        asset, driver="march", meshes={}, volumes={"occupancy": occupancy}, constants=constants, results={}
    )
