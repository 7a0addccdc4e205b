"""Features of a grid, summed along the rays of a light field's map: what its trunk takes instead of points.

Rays are marched through like those of the driver ``march``, on the same lattice, but coarsely, a ray for a
block of pixels, and what is composited are features, which the networks after it make a picture of. Source:
Chan et al., *EG3D*, 2022, section 4.3; here without tri-planes, and in occupied cells alone.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from render.asset import BakedAsset, BakedGrid, BakedNetwork
from render.camera import Camera
from render.errors import InshaderError
from render.lattice import Lattice, Space, check_space
from render.light_field import Array, network_of
from render.light_field_rays import RayPoints, block_rays
from render.parts import Parts, check_range

MAX_LOG_DENSITY = 12.0  # sigma = exp(min(s, this)) of raw density s, per unit of the space
RAYS_AT_ONCE = 1 << 12


@dataclass(frozen=True, eq=False)
class Gather:
    """What is gathered along a ray.

    Attributes:
        grid: ``features``, over the space.
        density: features -> one value, the raw density.
        space: of the samples.
        stop: a ray ends after the sample that brings its transmittance below this.
    """

    grid: BakedGrid
    density: BakedNetwork
    space: Space
    stop: np.float32

    @staticmethod
    def of(asset: BakedAsset) -> Gather | None:
        """That of an asset, None where its trunk takes points.

        Raises:
            InshaderError: a part is missing or does not fit.
        """
        if "features" not in asset.grids:
            return None
        parts = Parts(asset, "compute")
        check_space(parts)
        check_range(parts, "stop", 0, 1)
        grid, density = asset.grids["features"], network_of(asset.networks, "density")
        width = grid.spec.output_width
        if grid.spec.dimension != 3 or density.spec.count != 1 or density.spec.output_width != 1:
            raise InshaderError("the grid features must be one of space, and density a network of one value")
        if len(density.spec.inputs) != 1 or density.spec.input_width != width:
            raise InshaderError(f"the network density must have one input of width {width}")
        return Gather(grid, density, Space.of(asset), np.float32(parts.number("stop")))

    @property
    def output_width(self) -> int:
        return self.grid.spec.output_width + 4

    def evaluate(self, rays_o: Array, rays_d: Array) -> Array:
        """Of rays in the world, unit directions (n, 3): (n, F + 4) features, opacity, direction."""
        parts = [
            self._gathered(rays_o[first : first + RAYS_AT_ONCE], rays_d[first : first + RAYS_AT_ONCE])
            for first in range(0, len(rays_o), RAYS_AT_ONCE)
        ]
        return np.concatenate(parts)

    def _gathered(self, rays_o: Array, rays_d: Array) -> Array:
        lattice = Lattice(self.space, rays_o, rays_d)
        ray, k = np.nonzero(lattice.counts)
        u = lattice.point(ray, k.astype(np.float32))
        features = self.grid.spec.evaluate(self.grid.table, u)  # (samples, F)
        s = self.density.spec.evaluate(self.density.parameters, features)[:, 0]
        optical = np.zeros(lattice.counts.shape, np.float32)
        optical[ray, k] = np.exp(np.minimum(s, np.float32(MAX_LOG_DENSITY))) * self.space.step_size
        behind = np.exp(-np.cumsum(optical, 1))  # (n, samples) the transmittance after each
        before = np.concatenate([np.ones_like(behind[:, :1]), behind[:, :-1]], 1)[:, : optical.shape[1]]
        weights = np.where(before < self.stop, np.float32(0), before - behind)
        summed = np.zeros((len(rays_o), features.shape[1]), np.float32)
        np.add.at(summed, ray, weights[ray, k][:, None] * features)
        return np.concatenate([summed, weights.sum(1, keepdims=True), rays_d], 1).astype(np.float32)


def trunk_inputs(asset: BakedAsset, camera: Camera, factor: int) -> Array:
    """What the trunk of an asset takes of the rays of a camera at the pitch."""
    gather = Gather.of(asset)
    if gather is None:
        return RayPoints.of(asset).of_camera(camera, factor)
    rays_o, rays_d = block_rays(camera, factor)
    gathered = gather.evaluate(rays_o.reshape(-1, 3), rays_d.reshape(-1, 3))
    return gathered.reshape(*rays_d.shape[:2], -1)
