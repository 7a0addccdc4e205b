"""Multi-resolution grids: encoding of points, and its gradient by the table."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from numba import njit, prange
from torch import Tensor

from render.grid import HASH_PRIMES, GridSpec
from training.kernels.cpu.common import FAST, HALF, ONE, ZERO, array

P1, P2 = np.uint32(HASH_PRIMES[1]), np.uint32(HASH_PRIMES[2])
U1 = np.uint32(1)
WIDE = 256  # points a block, innermost: rows and weights of corners are found in runs of vectors
BLOCKS_PER_TASK = 8


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
def _block(x, first, xt):
    """Points ``first`` and on, transposed into xt (3, WIDE)."""
    for i in range(min(WIDE, len(x) - first)):
        xt[0, i], xt[1, i], xt[2, i] = x[first + i, 0], x[first + i, 1], x[first + i, 2]


@njit(inline="always")
def _corners(xt, scale, resolution, size, hashed, position, rows, weights):
    """Rows in a level's table (8, WIDE) and trilinear weights (8, WIDE) of the corners of the cells that hold
    points xt (3, WIDE); x fastest. ``position`` (3, WIDE) is room to work in."""
    for axis in range(3):
        for i in range(WIDE):
            position[axis, i] = xt[axis, i] * scale + HALF
    if hashed:
        mask = size - U1  # the size of a hashed level is a power of two
        for i in range(WIDE):
            cx, cy, cz = (
                np.uint32(np.int32(position[0, i])),
                np.uint32(np.int32(position[1, i])),
                np.uint32(np.int32(position[2, i])),
            )
            y0, z0 = cy * P1, cz * P2
            x1, y1, z1 = cx + U1, y0 + P1, z0 + P2
            rows[0, i], rows[1, i] = (cx ^ y0 ^ z0) & mask, (x1 ^ y0 ^ z0) & mask
            rows[2, i], rows[3, i] = (cx ^ y1 ^ z0) & mask, (x1 ^ y1 ^ z0) & mask
            rows[4, i], rows[5, i] = (cx ^ y0 ^ z1) & mask, (x1 ^ y0 ^ z1) & mask
            rows[6, i], rows[7, i] = (cx ^ y1 ^ z1) & mask, (x1 ^ y1 ^ z1) & mask
    else:
        dy, dz = resolution, resolution * resolution
        for i in range(WIDE):
            cx, cy, cz = (
                np.uint32(np.int32(position[0, i])),
                np.uint32(np.int32(position[1, i])),
                np.uint32(np.int32(position[2, i])),
            )
            row = cx + dy * cy + dz * cz
            rows[0, i], rows[1, i] = _wrap(row, size), _wrap(row + U1, size)
            rows[2, i], rows[3, i] = _wrap(row + dy, size), _wrap(row + dy + U1, size)
            rows[4, i], rows[5, i] = _wrap(row + dz, size), _wrap(row + dz + U1, size)
            rows[6, i], rows[7, i] = _wrap(row + dz + dy, size), _wrap(row + dz + dy + U1, size)
    for i in range(WIDE):
        px, py, pz = position[0, i], position[1, i], position[2, i]
        fx, fy, fz = (
            px - np.float32(np.int32(px)),
            py - np.float32(np.int32(py)),
            pz - np.float32(np.int32(pz)),
        )
        gx, gy, gz = ONE - fx, ONE - fy, ONE - fz
        near, right, up, both = gx * gy, fx * gy, gx * fy, fx * fy
        weights[0, i], weights[1, i], weights[2, i], weights[3, i] = near * gz, right * gz, up * gz, both * gz
        weights[4, i], weights[5, i], weights[6, i], weights[7, i] = near * fz, right * fz, up * fz, both * fz


@njit(inline="always")
def _room():
    xt, position = np.zeros((3, WIDE), np.float32), np.empty((3, WIDE), np.float32)
    return xt, position, np.empty((8, WIDE), np.uint32), np.empty((8, WIDE), np.float32)


@njit(parallel=True, fastmath=FAST, cache=True)
def _grid_forward(x, table, lanes, scale, resolution, offset, size, hashed, out):
    n, features = len(x), len(lanes)
    task = WIDE * BLOCKS_PER_TASK
    for chunk in prange((n + task - 1) // task):
        xt, position, rows, w = _room()
        for first in range(chunk * task, min(n, (chunk + 1) * task), WIDE):
            _block(x, first, xt)
            for level in range(len(scale)):
                s, r, m, is_hashed = scale[level], resolution[level], size[level], hashed[level]
                _corners(xt, s, r, m, is_hashed, position, rows, w)
                o, column = offset[level], level * features
                for i in range(min(WIDE, n - first)):
                    a, b, c, d = o + rows[0, i], o + rows[1, i], o + rows[2, i], o + rows[3, i]
                    e, f, g, h = o + rows[4, i], o + rows[5, i], o + rows[6, i], o + rows[7, i]
                    for k in range(features):
                        near = (table[a, k] * w[0, i] + table[b, k] * w[1, i]) + (
                            table[c, k] * w[2, i] + table[d, k] * w[3, i]
                        )
                        far = (table[e, k] * w[4, i] + table[f, k] * w[5, i]) + (
                            table[g, k] * w[6, i] + table[h, k] * w[7, i]
                        )
                        out[first + i, column + k] = near + far


@njit(parallel=True, fastmath=FAST, cache=True)
def _grid_backward(x, grad, lanes, scale, resolution, offset, size, hashed, out):
    """A level is one thread's own: no two threads ever add to the same row."""
    n, features = len(x), len(lanes)
    for level in prange(len(scale)):
        xt, position, rows, w = _room()
        s, r, m, is_hashed = scale[level], resolution[level], size[level], hashed[level]
        o, column = offset[level], level * features
        out[o : o + np.int64(size[level])] = ZERO
        for first in range(0, n, WIDE):
            _block(x, first, xt)
            _corners(xt, s, r, m, is_hashed, position, rows, w)
            for i in range(min(WIDE, n - first)):
                used = False
                for k in range(features):
                    used |= grad[first + i, column + k] != ZERO
                if not used:  # samples behind a surface
                    continue
                for corner in range(8):
                    row, weight = o + rows[corner, i], w[corner, i]
                    for k in range(features):
                        out[row, k] += grad[first + i, column + k] * weight


# The same in the plane -------------------------------------------------------------------------------------


@njit(inline="always")
def _corners_2d(x, first, scale, resolution, size, hashed, position, rows, weights):
    """Rows in a level's table (4, WIDE) and bilinear weights (4, WIDE) of the corners of the cells that hold
    points ``first`` and on; x fastest. ``position`` (2, WIDE) is room to work in."""
    for i in range(min(WIDE, len(x) - first)):
        position[0, i] = x[first + i, 0] * scale + HALF
        position[1, i] = x[first + i, 1] * scale + HALF
    if hashed:
        mask = size - U1
        for i in range(WIDE):
            cx, y0 = np.uint32(np.int32(position[0, i])), np.uint32(np.int32(position[1, i])) * P1
            x1, y1 = cx + U1, y0 + P1
            rows[0, i], rows[1, i] = (cx ^ y0) & mask, (x1 ^ y0) & mask
            rows[2, i], rows[3, i] = (cx ^ y1) & mask, (x1 ^ y1) & mask
    else:
        for i in range(WIDE):
            cx, cy = np.uint32(np.int32(position[0, i])), np.uint32(np.int32(position[1, i]))
            row = cx + resolution * cy
            above = row + resolution
            rows[0, i], rows[1, i] = _wrap(row, size), _wrap(row + U1, size)
            rows[2, i], rows[3, i] = _wrap(above, size), _wrap(above + U1, size)
    for i in range(WIDE):
        px, py = position[0, i], position[1, i]
        fx, fy = px - np.float32(np.int32(px)), py - np.float32(np.int32(py))
        gx, gy = ONE - fx, ONE - fy
        weights[0, i], weights[1, i], weights[2, i], weights[3, i] = gx * gy, fx * gy, gx * fy, fx * fy


@njit(inline="always")
def _room_2d():
    return np.zeros((2, WIDE), np.float32), np.empty((4, WIDE), np.uint32), np.empty((4, WIDE), np.float32)


@njit(parallel=True, fastmath=FAST, cache=True)
def _grid_forward_2d(x, table, lanes, scale, resolution, offset, size, hashed, out):
    n, features = len(x), len(lanes)
    task = WIDE * BLOCKS_PER_TASK
    for chunk in prange((n + task - 1) // task):
        position, rows, w = _room_2d()
        for first in range(chunk * task, min(n, (chunk + 1) * task), WIDE):
            for level in range(len(scale)):
                s, r, m, is_hashed = scale[level], resolution[level], size[level], hashed[level]
                _corners_2d(x, first, s, r, m, is_hashed, position, rows, w)
                o, column = offset[level], level * features
                for i in range(min(WIDE, n - first)):
                    a, b, c, d = o + rows[0, i], o + rows[1, i], o + rows[2, i], o + rows[3, i]
                    for k in range(features):
                        out[first + i, column + k] = (table[a, k] * w[0, i] + table[b, k] * w[1, i]) + (
                            table[c, k] * w[2, i] + table[d, k] * w[3, i]
                        )


@njit(parallel=True, fastmath=FAST, cache=True)
def _grid_backward_2d(x, grad, lanes, scale, resolution, offset, size, hashed, out):
    n, features = len(x), len(lanes)
    for level in prange(len(scale)):
        position, rows, w = _room_2d()
        s, r, m, is_hashed = scale[level], resolution[level], size[level], hashed[level]
        o, column = offset[level], level * features
        out[o : o + np.int64(size[level])] = ZERO
        for first in range(0, n, WIDE):
            _corners_2d(x, first, s, r, m, is_hashed, position, rows, w)
            for i in range(min(WIDE, n - first)):
                for corner in range(4):
                    row, weight = o + rows[corner, i], w[corner, i]
                    for k in range(features):
                        out[row, k] += grad[first + i, column + k] * weight


class _GridEncode(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, table: Tensor, x: Tensor, spec: GridSpec) -> Tensor:
        ctx.save_for_backward(x)
        ctx.spec = spec
        out = torch.empty(len(x), spec.output_width)
        forward = _grid_forward if spec.dimension == 3 else _grid_forward_2d
        forward(array(x), array(table), *_levels(spec), out.numpy())
        return out

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, None, None]:
        (x,) = ctx.saved_tensors
        out = torch.empty(ctx.spec.entries, ctx.spec.features)
        backward = _grid_backward if ctx.spec.dimension == 3 else _grid_backward_2d
        backward(array(x), array(grads[0]), *_levels(ctx.spec), out.numpy())
        return out, None, None


def grid_encode(spec: GridSpec, table: Tensor, x: Tensor) -> Tensor:
    return _GridEncode.apply(table, x, spec)
