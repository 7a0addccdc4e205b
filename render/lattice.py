"""Where rays are marched through: evenly spaced samples in a box, in all of space or in device coordinates.

What an asset must hold for it:

=====================  ==================================================================================
volume ``occupancy``   samples in unset cells do not count
``step_size``          between samples, in units of the space
``ball``               middle and radius of what is not contracted, world units; a radius of 0: the space is
                       the asset's box. Else its box is the contracted one, and steps are on the lattice of
                       ``render/contraction.py``
``near_plane``         in radii of the ball; samples of an unbounded scene lie behind it
``forward``            1: the space is the cube of normalised device coordinates, ``render/ndc.py``, which
``ndc``, ``frame_x``   these make of the world
.. ``frame_z``
=====================  ==================================================================================

The numpy twin of ``shaders/drivers/march_ray.glsl``.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from render import contraction
from render.asset import BakedAsset
from render.errors import InshaderError
from render.ndc import SIDEWAYS, STRAIGHT, Ndc, depth
from render.parts import Parts, check_range

MAX_STEPS = 1 << 16
BOUNDED = {**contraction.PLAIN, **STRAIGHT}  # the constants of an asset whose space is its box
Array = NDArray[np.float32]
Rays = NDArray[np.int64]


def check_space(parts: Parts) -> None:
    """Raise InshaderError unless an asset's space is one that the shader has."""
    asset = parts.asset
    parts.volume("occupancy")
    ball = parts.constant("ball")
    if not isinstance(ball, tuple) or len(ball) != 4 or not 0 <= ball[3] < math.inf:
        raise InshaderError(f"the constant ball is {ball!r:.60}, expected a middle and a radius from 0 on")
    ndc = Ndc.of(parts.constants)
    check_range(parts, "near_plane", 0, contraction.FAR / 2 if ball[3] else 0)
    box = [[-contraction.SIDE] * 3, [contraction.SIDE] * 3]
    if ball[3] and asset.bounds.tolist() != box:
        raise InshaderError(f"the asset is unbounded, its bounds {asset.bounds.tolist()} are not {box}")
    if ball[3] and ndc is not None:
        raise InshaderError("the asset is contracted and forward-facing, expected ball 0 0 0 0 or forward 0")
    low, high = (np.full(3, -1.0), np.ones(3)) if ndc is not None else asset.bounds.astype(np.float64)
    diagonal = float(np.linalg.norm(high - low))
    check_range(parts, "step_size", diagonal / MAX_STEPS, diagonal)


@dataclass(frozen=True, eq=False)
class Space:
    """What rays are marched through.

    Attributes:
        low, size: (3,) of the box, the contracted one or the cube.
        occupancy: (x, y, z).
        step_size: between samples.
        ball, near_plane: of the asset.
        ndc: where it is forward-facing.
    """

    low: Array
    size: Array
    occupancy: NDArray[np.bool_]
    step_size: np.float32
    ball: Array
    near_plane: np.float32
    ndc: Ndc | None

    @staticmethod
    def of(asset: BakedAsset) -> Space:
        """That of an asset that ``check_space`` lets through."""
        parts = Parts(asset, "compute")
        ndc = Ndc.of(parts.constants)
        low, high = asset.bounds if ndc is None else np.array([[-1.0] * 3, [1.0] * 3], np.float32)
        step_size, near_plane = (np.float32(parts.number(name)) for name in ("step_size", "near_plane"))
        ball = np.array(parts.constant("ball"), np.float32)
        return Space(low, high - low, parts.volume("occupancy"), step_size, ball, near_plane, ndc)

    @property
    def most_samples(self) -> int:
        """Of a ray. Contracted, none is longer than the box either."""
        return int(np.linalg.norm(self.size) / self.step_size) + 2


class Lattice:
    """The samples of rays (n, 3) in the world.

    Attributes:
        counts: (n, samples) which of them are in set cells.
    """

    def __init__(self, space: Space, rays_o: Array, rays_d: Array) -> None:
        self.space, half_step = space, np.float32(0.5) * space.step_size
        self.unbounded = space.ball[3] > 0
        if self.unbounded:
            self.o, self.d = (rays_o - space.ball[:3]) / space.ball[3], rays_d
            self.foot = -(self.o * rays_d).sum(-1)
            self.s = contraction.lattice_place(space.near_plane - self.foot) + half_step
            end = contraction.lattice_place(np.float32(contraction.FAR) - self.foot)
        else:
            start: Array = np.zeros(len(rays_d), np.float32)
            if space.ndc is not None:
                rays_o, rays_d, start = self._project(space.ndc, rays_o, rays_d)
            inverse = 1 / np.where(np.abs(rays_d) < 1e-12, np.float32(1e-12), rays_d)
            a, b = (space.low - rays_o) * inverse, (space.low + space.size - rays_o) * inverse
            self.s, end = np.maximum(np.minimum(a, b).max(-1), start) + half_step, np.maximum(a, b).min(-1)
            self.u = (rays_o + self.s[:, None] * rays_d - space.low) / space.size
            self.du = space.step_size * rays_d / space.size
        n = np.ceil((end - self.s) / space.step_size)
        k = np.arange(max(0, int(n.max(initial=0))), dtype=np.float32)
        every = np.arange(len(rays_d))[:, None]
        x = self.point(every, np.minimum(k, np.maximum(n - 1, 0)[:, None]))  # (n, samples, 3)
        shape = np.array(space.occupancy.shape)
        cell = np.minimum((x * shape.astype(np.float32)).astype(np.int32), shape - 1)
        self.counts = space.occupancy[tuple(np.moveaxis(cell, -1, 0))] & (k < n[:, None])

    def _project(self, ndc: Ndc, rays_o: Array, rays_d: Array) -> tuple[Array, Array, Array]:
        """Rays in normalised device coordinates, and where on them the camera is, from 0 on; rays that do not
        look forward end before they begin."""
        first, last = ndc.ends(rays_o, rays_d)
        length = np.linalg.norm(last - first, axis=-1)
        along = (last - first) / length[:, None]
        self.ahead = -ndc.places(rays_o)[:, 2].astype(np.float32)  # of the camera, in the frame
        self.goes = -ndc.directions(rays_d)[:, 2].astype(np.float32)  # in a unit of the world
        before = 1 - 2 / np.maximum(self.ahead, 1)  # z of the camera, if it is behind the near plane
        start = (before - first[:, 2]) / along[:, 2]
        norm = np.linalg.norm(ndc.directions(rays_d), axis=-1)
        start = np.where(self.goes < SIDEWAYS * norm, np.inf, start)
        self.z, self.climbs = first[:, 2].astype(np.float32), along[:, 2].astype(np.float32)
        return first.astype(np.float32), along.astype(np.float32), start.astype(np.float32)

    def distance(self, ray: Rays, k: Array) -> Array:
        """Of samples k (...) of rays (...) along them: world units, or those of the ball."""
        s = self.s[ray] + k * self.space.step_size
        if self.space.ndc is not None:
            away = -depth(self.z[ray] + s * self.climbs[ray])
            return np.asarray((away - self.ahead[ray]) / self.goes[ray], np.float32)
        return contraction.lattice_distance(s) + self.foot[ray] if self.unbounded else s

    def point(self, ray: Rays, k: Array) -> Array:
        """u (..., 3) of samples."""
        if self.unbounded:
            y = contraction.contract(self._place(ray, k))
            return np.asarray(np.clip((y - self.space.low) / self.space.size, 0, 1), np.float32)
        return np.asarray(np.clip(self.u[ray] + k[..., None] * self.du[ray], 0, 1), np.float32)

    def slope(self, ray: Rays, k: Array, by_u: Array) -> Array:
        """Slopes by u (n, 3) of samples as ones in the world, but for their length."""
        slope = np.asarray(by_u / self.space.size, np.float32)
        if self.space.ndc is not None:
            y = self.space.low + self.point(ray, k) * self.space.size
            return np.asarray(self.space.ndc.world_slope(y, slope), np.float32)
        return contraction.contract_slope(self._place(ray, k), slope) if self.unbounded else slope

    def _place(self, ray: Rays, k: Array) -> Array:
        """Where samples of an unbounded scene are, in units of the ball from its middle (..., 3)."""
        place: Array = self.o[ray] + self.distance(ray, k)[..., None] * self.d[ray]
        return place
