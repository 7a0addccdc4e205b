"""The kernels in numba: parallel over points, rays or levels, deterministic, backward passes by hand.

Every gradient is written by exactly one thread in a fixed order, so a training run repeats bit for bit with
the same number of threads. Inner loops run over contiguous features so that LLVM turns them into vectors.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import torch
from numba import get_num_threads, njit, prange
from torch import Tensor

from render.grid import HASH_PRIMES, GridSpec
from render.network import NORMALISE_FLOOR
from training.kernels import Samples, reference

NAME = "numba"

# Contractions and reordering, but infinities and NaN keep their meaning: a diverging run must be seen.
FAST = {"contract", "reassoc", "arcp", "nsz"}
P1, P2 = np.uint32(HASH_PRIMES[1]), np.uint32(HASH_PRIMES[2])
ZERO, HALF, ONE, TWO = np.float32(0), np.float32(0.5), np.float32(1), np.float32(2)
FLOOR, LN2 = np.float32(NORMALISE_FLOOR), np.float32(math.log(2))
U1 = np.uint32(1)
BLOCK = 512  # points per task: their features stay in the first-level cache while the levels pass over them


def _array(tensor: Tensor) -> Any:
    return tensor.detach().contiguous().numpy()


# multi-resolution grid -------------------------------------------------------------------------------------


def _levels(spec: GridSpec) -> tuple[Any, ...]:
    """Arguments of the grid kernels. The type of the first, a tuple, tells them the number of features at
    compile time, which doubles their speed: the loops over features unroll."""
    levels = spec.level_list
    return (
        (0,) * spec.features,
        np.array([level.scale for level in levels], np.float32),
        np.array([level.resolution for level in levels], np.uint32),
        np.array([level.offset for level in levels], np.int64),
        np.array([level.size for level in levels], np.uint32),
        np.array([level.hashed for level in levels], np.bool_),
    )


@njit(inline="always")
def _wrap(i, size):
    """i % size, without the division: corners of a dense level reach past its size once at most."""
    return i - size if i >= size else i


@njit(inline="always")
def _rows(cx, cy, cz, resolution, size, hashed):
    """Rows of the 8 corners of a cell, x fastest."""
    if hashed:  # the size of a hashed level is a power of two
        mask = size - U1
        y0, y1, z0, z1 = cy * P1, (cy + U1) * P1, cz * P2, (cz + U1) * P2
        x0, x1 = cx, cx + U1
        return (
            (x0 ^ y0 ^ z0) & mask,
            (x1 ^ y0 ^ z0) & mask,
            (x0 ^ y1 ^ z0) & mask,
            (x1 ^ y1 ^ z0) & mask,
            (x0 ^ y0 ^ z1) & mask,
            (x1 ^ y0 ^ z1) & mask,
            (x0 ^ y1 ^ z1) & mask,
            (x1 ^ y1 ^ z1) & mask,
        )
    i = cx + resolution * (cy + resolution * cz)
    dy, dz = resolution, resolution * resolution
    return (
        _wrap(i, size),
        _wrap(i + U1, size),
        _wrap(i + dy, size),
        _wrap(i + dy + U1, size),
        _wrap(i + dz, size),
        _wrap(i + dz + U1, size),
        _wrap(i + dz + dy, size),
        _wrap(i + dz + dy + U1, size),
    )


@njit(parallel=True, fastmath=FAST, cache=True)
def _grid_forward(x, table, lanes, scale, resolution, offset, size, hashed, out):
    n, features = x.shape[0], len(lanes)
    for block in prange((n + BLOCK - 1) // BLOCK):
        for level in range(len(scale)):
            s, o, first = scale[level], offset[level], level * features
            r, m, is_hashed = resolution[level], size[level], hashed[level]
            for i in range(block * BLOCK, min(n, (block + 1) * BLOCK)):
                px, py, pz = x[i, 0] * s + HALF, x[i, 1] * s + HALF, x[i, 2] * s + HALF
                cx, cy, cz = np.uint32(px), np.uint32(py), np.uint32(pz)
                fx, fy, fz = px - np.float32(cx), py - np.float32(cy), pz - np.float32(cz)
                gx, gy, gz = ONE - fx, ONE - fy, ONE - fz
                a, b, c, d, e, f, g, h = _rows(cx, cy, cz, r, m, is_hashed)
                for k in range(features):
                    near = (table[o + a, k] * gx + table[o + b, k] * fx) * gy + (
                        table[o + c, k] * gx + table[o + d, k] * fx
                    ) * fy
                    far = (table[o + e, k] * gx + table[o + f, k] * fx) * gy + (
                        table[o + g, k] * gx + table[o + h, k] * fx
                    ) * fy
                    out[i, first + k] = near * gz + far * fz


@njit(parallel=True, fastmath=FAST, cache=True)
def _grid_backward(x, grad, lanes, scale, resolution, offset, size, hashed, out):
    """A level is one thread's own: no two threads ever add to the same row."""
    features = len(lanes)
    for level in prange(len(scale)):
        s, o, first = scale[level], offset[level], level * features
        r, m, is_hashed = resolution[level], size[level], hashed[level]
        for i in range(x.shape[0]):
            used = False
            for k in range(features):
                used |= grad[i, first + k] != ZERO
            if not used:  # samples behind a surface
                continue
            px, py, pz = x[i, 0] * s + HALF, x[i, 1] * s + HALF, x[i, 2] * s + HALF
            cx, cy, cz = np.uint32(px), np.uint32(py), np.uint32(pz)
            fx, fy, fz = px - np.float32(cx), py - np.float32(cy), pz - np.float32(cz)
            gx, gy, gz = ONE - fx, ONE - fy, ONE - fz
            a, b, c, d, e, f, g, h = _rows(cx, cy, cz, r, m, is_hashed)
            for k in range(features):
                v = grad[i, first + k]
                out[o + a, k] += v * (gx * gy * gz)
                out[o + b, k] += v * (fx * gy * gz)
                out[o + c, k] += v * (gx * fy * gz)
                out[o + d, k] += v * (fx * fy * gz)
                out[o + e, k] += v * (gx * gy * fz)
                out[o + f, k] += v * (fx * gy * fz)
                out[o + g, k] += v * (gx * fy * fz)
                out[o + h, k] += v * (fx * fy * fz)


class _GridEncode(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, table: Tensor, x: Tensor, spec: GridSpec) -> Tensor:
        ctx.save_for_backward(x)
        ctx.spec = spec
        out = torch.empty(len(x), spec.output_width)
        _grid_forward(_array(x), _array(table), *_levels(spec), out.numpy())
        return out

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, None, None]:
        (x,) = ctx.saved_tensors
        out = torch.zeros(ctx.spec.entries, ctx.spec.features)
        _grid_backward(_array(x), _array(grads[0]), *_levels(ctx.spec), out.numpy())
        return out, None, None


def grid_encode(spec: GridSpec, table: Tensor, x: Tensor) -> Tensor:
    if spec.dimension != 3:
        return reference.grid_encode(spec, table, x)
    return _GridEncode.apply(table, x, spec)


# Gaussian kernels ------------------------------------------------------------------------------------------

WIDE = 256  # samples a block, innermost: every inner loop is a run of vectors in the first-level cache
BLOCKS_PER_TASK = 8


@njit(inline="always")
def _exp2(x):
    """2^x for x in [-126, 0] within 3e-7: a polynomial and an exponent, which LLVM can run on vectors.

    Coefficients: Cephes ``exp2f`` (Moshier), minimax on [0, 1).
    """
    x = max(x, np.float32(-126))
    whole = np.int32(math.floor(x))
    f = x - np.float32(whole)
    p = np.float32(1.8775767e-3)
    p = p * f + np.float32(8.9893397e-3)
    p = p * f + np.float32(5.5826318e-2)
    p = p * f + np.float32(2.4015361e-1)
    p = p * f + np.float32(6.9315308e-1)
    p = p * f + np.float32(9.9999994e-1)
    return p * np.int32((whole + np.int32(127)) << np.int32(23)).view(np.float32)


@njit(parallel=True, fastmath=FAST, cache=True)
def _kernels_forward(x, a, q, bias, normalise, gain, linear, out):
    n, features = x.shape
    count = len(bias)
    task = WIDE * BLOCKS_PER_TASK
    for chunk in prange((n + task - 1) // task):
        xt = np.zeros((features, WIDE), np.float32)
        z = np.empty((count, WIDE), np.float32)
        scale = np.empty(WIDE, np.float32)
        for first in range(chunk * task, min(n, (chunk + 1) * task), WIDE):
            here = min(WIDE, n - first)
            for i in range(here):
                for f in range(features):
                    xt[f, i] = x[first + i, f]
            scale[:] = ZERO
            for j in range(count):
                row = z[j]
                row[:] = bias[j]
                for f in range(features):
                    v, af, qf = xt[f], a[j, f], q[j, f]
                    for i in range(WIDE):
                        row[i] += v[i] * (af + v[i] * qf)
                for i in range(WIDE):
                    row[i] = _exp2(min(row[i], ZERO))
                    scale[i] += row[i]
            for i in range(WIDE):
                scale[i] = gain / max(scale[i], FLOOR) if normalise else gain
            for i in range(here):
                for j in range(count):
                    out[first + i, j] = z[j, i] * scale[i]
                if linear:
                    for f in range(features):
                        out[first + i, count + f] = xt[f, i]


@njit(parallel=True, fastmath=FAST, cache=True)
def _kernels_backward(x, a, q, normalise, gain, linear, out, grad, threads, gx, ga, gq, gbias):
    """ga, gq (threads, N, F) and gbias (threads, N) are each thread's own sums."""
    n, features = x.shape
    count = a.shape[0]
    share = ((n + threads - 1) // threads + WIDE - 1) // WIDE * WIDE
    for thread in prange(threads):
        xt = np.zeros((features, WIDE), np.float32)
        gxt = np.empty((features, WIDE), np.float32)
        gz = np.zeros((count, WIDE), np.float32)
        phi = np.zeros((count, WIDE), np.float32)
        mean = np.empty(WIDE, np.float32)
        for first in range(thread * share, min(n, (thread + 1) * share), WIDE):
            here = min(WIDE, n - first)
            if here < WIDE:
                gz[:] = ZERO
            for i in range(here):
                for f in range(features):
                    xt[f, i] = x[first + i, f]
                    gxt[f, i] = grad[first + i, count + f] if linear else ZERO
                for j in range(count):
                    gz[j, i] = grad[first + i, j]
                    phi[j, i] = out[first + i, j]
            mean[:] = ZERO
            if normalise:
                for j in range(count):
                    for i in range(WIDE):
                        mean[i] += gz[j, i] * phi[j, i]
                for i in range(WIDE):
                    mean[i] /= gain
            for j in range(count):
                gj, pj, total = gz[j], phi[j], ZERO
                for i in range(WIDE):
                    gj[i] = LN2 * pj[i] * (gj[i] - mean[i])
                    total += gj[i]
                gbias[thread, j] += total
                for f in range(features):
                    v, gv, af, qf = xt[f], gxt[f], a[j, f], TWO * q[j, f]
                    total_a, total_q = ZERO, ZERO
                    for i in range(WIDE):
                        t = gj[i] * v[i]
                        total_a += t
                        total_q += t * v[i]
                        gv[i] += gj[i] * (af + qf * v[i])
                    ga[thread, j, f] += total_a
                    gq[thread, j, f] += total_q
            for i in range(here):
                for f in range(features):
                    gx[first + i, f] = gxt[f, i]


class _GaussianKernels(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any, x: Tensor, weight: Tensor, bias: Tensor, normalise: bool, gain: float, linear: bool
    ) -> Tensor:
        a, q = (_array(part) for part in weight.detach().chunk(2, 1))
        out = torch.empty(len(x), len(bias) + linear * x.shape[1])
        _kernels_forward(_array(x), a, q, _array(bias), normalise, np.float32(gain), linear, out.numpy())
        ctx.save_for_backward(x, weight, out)
        ctx.options = normalise, np.float32(gain), linear
        return out

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:
        x, weight, out = ctx.saved_tensors
        a, q = (_array(part) for part in weight.detach().chunk(2, 1))
        threads, gx = get_num_threads(), torch.empty_like(x)
        ga, gq = np.zeros((threads, *a.shape), np.float32), np.zeros((threads, *a.shape), np.float32)
        gbias = np.zeros((threads, len(a)), np.float32)
        arrays = _array(x), a, q, *ctx.options, _array(out), _array(grads[0])
        _kernels_backward(*arrays, threads, gx.numpy(), ga, gq, gbias)
        gweight = np.concatenate([ga.sum(0), gq.sum(0)], 1)
        return gx, torch.from_numpy(gweight), torch.from_numpy(gbias.sum(0)), None, None, None


def gaussian_kernels(
    x: Tensor, weight: Tensor, bias: Tensor, normalise: bool, gain: float, linear: bool
) -> Tensor:
    return _GaussianKernels.apply(x, weight, bias, normalise, gain, linear)


# per-ray linear layer --------------------------------------------------------------------------------------


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
        _per_ray_forward(_array(h), _array(rows), _array(offsets), out.numpy())
        return out

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, Tensor, None]:
        h, rows, offsets = ctx.saved_tensors
        gh, grows = torch.empty_like(h), torch.zeros_like(rows)
        arrays = (_array(h), _array(rows), _array(offsets), _array(grads[0]))
        _per_ray_backward(*arrays, gh.numpy(), grows.numpy())
        return gh, grows, None


def per_ray_linear(h: Tensor, rows: Tensor, offsets: Tensor) -> Tensor:
    return _PerRayLinear.apply(h, rows, offsets)


# marching --------------------------------------------------------------------------------------------------


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
    o, d, shift, delta = _array(rays_o), _array(rays_d), _array(jitter), np.float32(step)
    lo, size = _array(bounds[0]), _array(bounds[1] - bounds[0])
    most = math.ceil(float(np.linalg.norm(size)) / step) + 1  # no ray is longer in the box than its diagonal
    visited = np.empty((len(o), most), np.int32)
    starts, counts = np.empty(len(o), np.float32), np.empty(len(o), np.int64)
    _walk(o, d, lo, size, _array(leaps), delta, shift, starts, counts, visited)
    offsets = np.zeros(len(o) + 1, np.int64)
    np.cumsum(counts, out=offsets[1:])
    x, t = torch.empty(int(offsets[-1]), 3), torch.empty(int(offsets[-1]))
    _place(o, d, lo, size, delta, shift, starts, visited, offsets, x.numpy(), t.numpy())
    return Samples(x, t, torch.from_numpy(offsets))


# compositing -----------------------------------------------------------------------------------------------


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
        arrays = (_array(optical), _array(values), _array(offsets), np.float32(stop))
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
            *(_array(optical), _array(values), _array(offsets), np.float32(ctx.stop)),
            *(_array(sums), _array(left), _array(weights), _array(grads[0]), _array(grads[1])),
            *(goptical.numpy(), gvalues.numpy()),
        )
        return goptical, gvalues, None, None


def composite(optical: Tensor, values: Tensor, offsets: Tensor, stop: float) -> tuple[Tensor, Tensor, Tensor]:
    return _Composite.apply(optical, values, offsets, stop)
