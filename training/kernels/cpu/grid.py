"""Multi-resolution grids: encoding of points, and its gradient by the table."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from numba import njit, prange
from torch import Tensor

from render.grid import HASH_PRIMES, GridSpec
from training.kernels import reference
from training.kernels.cpu.common import FAST, HALF, ONE, ZERO, array

P1, P2 = np.uint32(HASH_PRIMES[1]), np.uint32(HASH_PRIMES[2])
U1 = np.uint32(1)
BLOCK = 512  # points per task: their features stay in the first-level cache while the levels pass over them


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
        _grid_forward(array(x), array(table), *_levels(spec), out.numpy())
        return out

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, None, None]:
        (x,) = ctx.saved_tensors
        out = torch.zeros(ctx.spec.entries, ctx.spec.features)
        _grid_backward(array(x), array(grads[0]), *_levels(ctx.spec), out.numpy())
        return out, None, None


def grid_encode(spec: GridSpec, table: Tensor, x: Tensor) -> Tensor:
    if spec.dimension != 3:
        return reference.grid_encode(spec, table, x)
    return _GridEncode.apply(table, x, spec)
