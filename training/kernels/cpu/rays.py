"""Along rays: marching to samples, a linear layer that differs from ray to ray, compositing."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import torch
from numba import njit, prange
from torch import Tensor

from training.kernels import Samples
from training.kernels.cpu.common import FAST, HALF, ONE, TWO, ZERO, array


@njit(inline="always")
def _safe(d):
    return d if abs(d) >= np.float32(1e-12) else np.float32(1e-12)


@njit(inline="always")
def _cell(p, side):
    return min(max(np.int32(p * np.float32(side)), np.int32(0)), np.int32(side - 1))


@njit(inline="always")
def _exit(o, d, inverse, size, cell, leap, side):
    """Where a ray leaves the slab of cells nearer to ``cell`` than ``leap`` along one axis."""
    face = cell + leap if d > ZERO else cell - leap + 1
    return (size * (np.float32(face) / np.float32(side)) - o) * inverse


@njit(parallel=True, fastmath=FAST, cache=True)
def _walk(rays_o, rays_d, lo, size, leaps, step, jitter, starts, counts, visited):
    """Lattice points in occupied cells: their numbers go to ``visited`` (rays, most), how many to ``counts``.

    Written out by axis: a small array here would be an allocation per ray.
    """
    nx, ny, nz = leaps.shape
    sx, sy, sz = ONE / size[0], ONE / size[1], ONE / size[2]
    for ray in prange(len(rays_o)):
        ox, oy, oz = rays_o[ray, 0] - lo[0], rays_o[ray, 1] - lo[1], rays_o[ray, 2] - lo[2]
        dx, dy, dz = _safe(rays_d[ray, 0]), _safe(rays_d[ray, 1]), _safe(rays_d[ray, 2])
        ix, iy, iz = ONE / dx, ONE / dy, ONE / dz
        ax, bx = -ox * ix, (size[0] - ox) * ix
        ay, by = -oy * iy, (size[1] - oy) * iy
        az, bz = -oz * iz, (size[2] - oz) * iz
        t0 = max(max(min(ax, bx), min(ay, by)), max(min(az, bz), ZERO))
        t1 = min(max(ax, bx), min(max(ay, by), max(az, bz)))
        starts[ray] = t0
        shift, inverse_step = jitter[ray], ONE / step
        found, n = 0, 0
        while found < visited.shape[1]:
            t = t0 + (np.float32(n) + shift) * step
            if not t < t1:
                break
            px, py, pz = (ox + t * dx) * sx, (oy + t * dy) * sy, (oz + t * dz) * sz
            cx, cy, cz = _cell(px, nx), _cell(py, ny), _cell(pz, nz)
            leap = np.int32(leaps[cx, cy, cz])
            if leap == 0:
                visited[ray, found] = n
                found += 1
                n += 1
                continue
            # All cells nearer than ``leap`` are empty: go to the first lattice point behind that cube.
            ex = _exit(ox, dx, ix, size[0], cx, leap, nx)
            ey = _exit(oy, dy, iy, size[1], cy, leap, ny)
            ez = _exit(oz, dz, iz, size[2], cz, leap, nz)
            n = max(n + 1, math.ceil((min(ex, min(ey, ez)) - t0) * inverse_step - shift))
        counts[ray] = found


@njit(parallel=True, fastmath=FAST, cache=True)
def _place(rays_o, rays_d, lo, size, step, jitter, starts, visited, offsets, x, t):
    sx, sy, sz = ONE / size[0], ONE / size[1], ONE / size[2]
    for ray in prange(len(rays_o)):
        for i in range(offsets[ray], offsets[ray + 1]):
            here = starts[ray] + (np.float32(visited[ray, i - offsets[ray]]) + jitter[ray]) * step
            t[i] = here
            x[i, 0] = min(max((rays_o[ray, 0] - lo[0] + here * rays_d[ray, 0]) * sx, ZERO), ONE)
            x[i, 1] = min(max((rays_o[ray, 1] - lo[1] + here * rays_d[ray, 1]) * sy, ZERO), ONE)
            x[i, 2] = min(max((rays_o[ray, 2] - lo[2] + here * rays_d[ray, 2]) * sz, ZERO), ONE)


def march(
    rays_o: Tensor, rays_d: Tensor, bounds: Tensor, leaps: Tensor, step: float, jitter: Tensor
) -> Samples:
    o, d, shift, delta = array(rays_o), array(rays_d), array(jitter), np.float32(step)
    lo, size = array(bounds[0]), array(bounds[1] - bounds[0])
    most = math.ceil(float(np.linalg.norm(size)) / step) + 1  # no ray is longer in the box than its diagonal
    visited = np.empty((len(o), most), np.int32)
    starts, counts = np.empty(len(o), np.float32), np.empty(len(o), np.int64)
    _walk(o, d, lo, size, array(leaps), delta, shift, starts, counts, visited)
    offsets = np.zeros(len(o) + 1, np.int64)
    np.cumsum(counts, out=offsets[1:])
    x, t = torch.empty(int(offsets[-1]), 3), torch.empty(int(offsets[-1]))
    _place(o, d, lo, size, delta, shift, starts, visited, offsets, x.numpy(), t.numpy())
    return Samples(x, t, torch.from_numpy(offsets))


@njit(inline="always")
def _lattice_place(distance):
    far = abs(distance)
    return distance if far <= ONE else math.copysign(TWO - ONE / far, distance)


@njit(inline="always")
def _lattice_distance(s):
    far = abs(s)
    return s if far <= ONE else math.copysign(ONE / (TWO - far), s)


@njit(inline="always")
def _shrunk(x, y, z):
    """What a place shrinks by, and is then a quarter of: the contracted box has a side of 4."""
    norm: Any = max(math.sqrt(x * x + y * y + z * z), ONE)
    return np.float32(0.25) * (TWO - ONE / norm) / norm


@njit(parallel=True, fastmath=FAST, cache=True)
def _walk_contracted(rays_o, rays_d, near, far, leaps, step, jitter, starts, counts, visited):
    """As ``_walk``, on the lattice of ``render/contraction.py``."""
    nx, ny, nz = leaps.shape
    for ray in prange(len(rays_o)):
        ox, oy, oz = rays_o[ray, 0], rays_o[ray, 1], rays_o[ray, 2]
        dx, dy, dz = rays_d[ray, 0], rays_d[ray, 1], rays_d[ray, 2]
        along = ox * dx + oy * dy + oz * dz
        away = max(ox * ox + oy * oy + oz * oz - along * along, ZERO)
        # So many steps no ray can take in a cell (render.contraction.fastest), and a trifle less.
        quick = math.sqrt(ONE + np.float32(4) * away) * step
        a_cell = np.float32(0.9999 * 4) / (np.float32(max(nx, max(ny, nz))) * quick)
        start, end = _lattice_place(near + along), _lattice_place(far + along)
        starts[ray] = start
        shift = jitter[ray]
        found, n = 0, 0
        while found < visited.shape[1]:
            s = start + (np.float32(n) + shift) * step
            if not s < end:
                break
            t = _lattice_distance(s) - along
            x, y, z = ox + t * dx, oy + t * dy, oz + t * dz
            scale = _shrunk(x, y, z)
            cx, cy, cz = _cell(x * scale + HALF, nx), _cell(y * scale + HALF, ny), _cell(z * scale + HALF, nz)
            leap = np.int32(leaps[cx, cy, cz])
            if leap == 0:
                visited[ray, found] = n
                found += 1
                n += 1
            else:
                n += 1 + int(np.float32(leap - 1) * a_cell)
        counts[ray] = found


@njit(parallel=True, fastmath=FAST, cache=True)
def _place_contracted(rays_o, rays_d, step, jitter, starts, visited, offsets, x, t):
    for ray in prange(len(rays_o)):
        dx, dy, dz = rays_d[ray, 0], rays_d[ray, 1], rays_d[ray, 2]
        along = rays_o[ray, 0] * dx + rays_o[ray, 1] * dy + rays_o[ray, 2] * dz
        for i in range(offsets[ray], offsets[ray + 1]):
            s = starts[ray] + (np.float32(visited[ray, i - offsets[ray]]) + jitter[ray]) * step
            here = _lattice_distance(s) - along
            px, py, pz = rays_o[ray, 0] + here * dx, rays_o[ray, 1] + here * dy, rays_o[ray, 2] + here * dz
            scale = _shrunk(px, py, pz)
            t[i] = here
            x[i, 0] = px * scale + HALF
            x[i, 1] = py * scale + HALF
            x[i, 2] = pz * scale + HALF


def march_contracted(
    rays_o: Tensor, rays_d: Tensor, near: float, far: float, leaps: Tensor, step: float, jitter: Tensor
) -> Samples:
    o, d, shift, delta = array(rays_o), array(rays_d), array(jitter), np.float32(step)
    visited = np.empty((len(o), math.ceil(4 / step) + 1), np.int32)  # s is between -2 and 2
    starts, counts = np.empty(len(o), np.float32), np.empty(len(o), np.int64)
    between = np.float32(near), np.float32(far)
    _walk_contracted(o, d, *between, array(leaps), delta, shift, starts, counts, visited)
    offsets = np.zeros(len(o) + 1, np.int64)
    np.cumsum(counts, out=offsets[1:])
    x, t = torch.empty(int(offsets[-1]), 3), torch.empty(int(offsets[-1]))
    _place_contracted(o, d, delta, shift, starts, visited, offsets, x.numpy(), t.numpy())
    return Samples(x, t, torch.from_numpy(offsets))


@njit(parallel=True, fastmath=FAST, cache=True)
def _per_ray_forward(h, rows, offsets, out):
    width = h.shape[1]
    for ray in prange(len(rows)):
        for i in range(offsets[ray], offsets[ray + 1]):
            for c in range(rows.shape[1]):
                total = ZERO
                for k in range(width):
                    total += rows[ray, c, k + 1] * h[i, k]
                out[i, c] = total + rows[ray, c, 0]


@njit(parallel=True, fastmath=FAST, cache=True)
def _per_ray_backward(h, rows, offsets, grad, gh, grows):
    width = h.shape[1]
    for ray in prange(len(rows)):
        for i in range(offsets[ray], offsets[ray + 1]):
            for k in range(width):
                gh[i, k] = ZERO
            for c in range(rows.shape[1]):
                v = grad[i, c]
                if v != ZERO:
                    grows[ray, c, 0] += v
                    for k in range(width):
                        grows[ray, c, k + 1] += v * h[i, k]
                        gh[i, k] += v * rows[ray, c, k + 1]


class _PerRayLinear(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, h: Tensor, rows: Tensor, offsets: Tensor) -> Tensor:
        ctx.save_for_backward(h, rows, offsets)
        out = torch.empty(len(h), rows.shape[1])
        _per_ray_forward(array(h), array(rows), array(offsets), out.numpy())
        return out

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, Tensor, None]:
        h, rows, offsets = ctx.saved_tensors
        gh, grows = torch.empty_like(h), torch.zeros_like(rows)
        arrays = (array(h), array(rows), array(offsets), array(grads[0]))
        _per_ray_backward(*arrays, gh.numpy(), grows.numpy())
        return gh, grows, None


def per_ray_linear(h: Tensor, rows: Tensor, offsets: Tensor) -> Tensor:
    return _PerRayLinear.apply(h, rows, offsets)


@njit(parallel=True, fastmath=FAST, cache=True)
def _composite_forward(optical, values, offsets, stop, sums, transmittance, weights):
    channels = values.shape[1]
    for ray in prange(len(sums)):
        left = ONE
        for i in range(offsets[ray], offsets[ray + 1]):
            if left < stop:
                weights[i] = ZERO
                continue
            through = math.exp(-optical[i])
            weights[i] = left * (ONE - through)
            for c in range(channels):
                sums[ray, c] += weights[i] * values[i, c]
            left *= through
        transmittance[ray] = left


@njit(parallel=True, fastmath=FAST, cache=True)
def _composite_backward(
    optical, values, offsets, stop, sums, transmittance, weights, gsums, gleft, goptical, gvalues
):
    """d sum_c / d optical_i = T_(i+1) v_i - what the samples behind i contribute; d T / d optical_i = -T."""
    channels = values.shape[1]
    for ray in prange(len(sums)):
        behind = ZERO  # gradient-weighted contribution of all samples from i on
        for c in range(channels):
            behind += gsums[ray, c] * sums[ray, c]
        left = ONE
        for i in range(offsets[ray], offsets[ray + 1]):
            if left < stop:
                goptical[i] = ZERO
                for c in range(channels):
                    gvalues[i, c] = ZERO
                continue
            along = ZERO
            for c in range(channels):
                gvalues[i, c] = weights[i] * gsums[ray, c]
                along += gsums[ray, c] * values[i, c]
            behind -= weights[i] * along
            left *= math.exp(-optical[i])  # as forward did, so that both end at the same sample
            goptical[i] = left * along - behind - gleft[ray] * transmittance[ray]


class _Composite(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any, optical: Tensor, values: Tensor, offsets: Tensor, stop: float
    ) -> tuple[Tensor, Tensor, Tensor]:
        n_rays = len(offsets) - 1
        sums, left = torch.zeros(n_rays, values.shape[1]), torch.empty(n_rays)
        weights = torch.empty(len(optical))
        arrays = (array(optical), array(values), array(offsets), np.float32(stop))
        _composite_forward(*arrays, sums.numpy(), left.numpy(), weights.numpy())
        ctx.save_for_backward(optical, values, offsets, sums, left, weights)
        ctx.stop = stop
        ctx.mark_non_differentiable(weights)
        return sums, left, weights

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, Tensor, None, None]:
        optical, values, offsets, sums, left, weights = ctx.saved_tensors
        goptical, gvalues = torch.empty_like(optical), torch.empty_like(values)
        _composite_backward(
            *(array(optical), array(values), array(offsets), np.float32(ctx.stop)),
            *(array(sums), array(left), array(weights), array(grads[0]), array(grads[1])),
            *(goptical.numpy(), gvalues.numpy()),
        )
        return goptical, gvalues, None, None


def composite(optical: Tensor, values: Tensor, offsets: Tensor, stop: float) -> tuple[Tensor, Tensor, Tensor]:
    return _Composite.apply(optical, values, offsets, stop)
