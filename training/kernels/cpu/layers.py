"""The numba side of small networks and banks of them: rows through layers, and gradients back.

A tile of rows goes through all layers while it is in the second-level cache. The derivative by an input is
one more row of a sample, its tangent, which linear layers treat as any other. Backward runs the tile again,
cheaper than to remember it. Rows of stages and matrices are padded to whole vectors.

Numba's cache knows of changes to this file, not to ``functions.py`` and ``product.py``: touch it with them.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numba import carray, njit, types
from numba.extending import intrinsic

from training.kernels.cpu.common import FAST, ONE, TWO, ZERO
from training.kernels.cpu.functions import exp2, log1p, sigmoid, sine_cosine
from training.kernels.cpu.product import LANES, add_product

TILE = 64  # rows of values and tangents that go through the layers together
LINEAR, CONCAT, ADD = range(3)
NONE, RELU, SIGMOID, TANH, SINE, SOFTPLUS, GAUSSIAN = range(7)
LN2 = np.float32(math.log(2))

# One tile ---------------------------------------------------------------------------------------------------


@njit(fastmath=FAST, error_model="numpy")
def _activate(kind, scale, y, z):
    """y = activation(z), and z = its derivative, of as many numbers."""
    n = len(y)
    if kind == NONE:
        for i in range(n):
            y[i], z[i] = z[i], ONE
    elif kind == RELU:
        for i in range(n):
            v = z[i]
            y[i], z[i] = ZERO if v <= ZERO else v, ONE if v > ZERO else ZERO
    elif kind == SIGMOID:
        for i in range(n):
            a, _ = sigmoid(z[i])
            y[i], z[i] = a, a * (ONE - a)
    elif kind == TANH:
        for i in range(n):
            a = TWO * sigmoid(TWO * z[i])[0] - ONE
            y[i], z[i] = a, ONE - a * a
    elif kind == SINE:
        for i in range(n):
            s, c = sine_cosine(scale * z[i])
            y[i], z[i] = s, scale * c
    elif kind == SOFTPLUS:
        for i in range(n):
            v = z[i]
            slope, t = sigmoid(scale * v)
            y[i], z[i] = (ZERO if v <= ZERO else v) + log1p(t) / scale, slope
    else:
        for i in range(n):
            v = z[i]
            a = exp2(ZERO if v > ZERO else v)
            y[i], z[i] = a, (LN2 * a if v <= ZERO else ZERO)


@njit(fastmath=FAST, error_model="numpy")
def _curve(y, z, g, here, curve):
    """Gradients by an activation's values and tangents, in place to those by its arguments. A tangent is the
    slope times that of the argument: so its gradient reaches the value too, through the second derivative."""
    n, (_, p, q, r, t) = here, curve
    mixed = np.zeros(n, np.float32)
    gv, slope, a = g[:n], z[:n], y[:n]
    for first in range(n, len(y), n):
        gt, zt = g[first : first + n], z[first : first + n]
        for i in range(n):
            mixed[i] += gt[i] * zt[i]
            gt[i] *= slope[i]
    for i in range(n):
        d = slope[i]
        gv[i] = gv[i] * d + mixed[i] * (d * (p + q * a[i] + r * d) + t * a[i])


@njit
def _room(n):
    """Zeros (n,) at an address that suits vectors: those across cache lines take thrice the time."""
    room = np.zeros(n + LANES, np.float32)
    skip = (LANES - room.ctypes.data // 4 % LANES) % LANES
    return room[skip : skip + n]


@njit
def _fill_zero(values):
    for i in range(len(values)):
        values[i] = ZERO


@njit
def _matrix(flat, start, rows, width):
    return flat[start : start + rows * width].reshape(rows, width)


@njit(fastmath=FAST, error_model="numpy")
def _forward_tile(here, tangents, layers, curves, wide, starts, packed, y, z):
    """All stages of ``here`` samples. In ``y``, stage s starts at TILE * starts[s]: rows of values, then as
    many rows for each tangent. ``z`` has the same places: a' for values, z for tangents."""
    rows, ones, none, one = here * (1 + tangents), np.ones(1, np.float32), np.int64(0), np.int64(1)
    for index in range(len(layers)):
        kind, source, activation, w_in, w_out, bias, matrix = layers[index]
        x0, y0 = TILE * starts[index], TILE * starts[index + 1]
        x_row, y_row = wide[index], wide[index + 1]
        if kind == LINEAR:
            n = here * y_row
            _fill_zero(z[y0 : y0 + rows * y_row])
            add_product(z, y0, y_row, y, x0, x_row, one, packed, matrix, y_row, rows, y_row, w_in)
            if bias:
                shift = matrix + w_in * y_row
                add_product(z, y0, y_row, ones, none, none, none, packed, shift, y_row, here, y_row, one)
            slope = z[y0 : y0 + n]
            _activate(activation, curves[index, 0], y[y0 : y0 + n], slope)
            for first in range(y0 + n, y0 + rows * y_row, n):
                yt, zt = y[first : first + n], z[first : first + n]
                for i in range(n):
                    yt[i] = slope[i] * zt[i]
        else:
            x, to = _matrix(y, x0, rows, x_row), _matrix(y, y0, rows, y_row)
            other = _matrix(y, TILE * starts[source], rows, wide[source])
            shift = w_in if kind == CONCAT else 0
            for i in range(rows):
                for k in range(w_in):
                    to[i, k] = x[i, k]
                for k in range(w_out):
                    to[i, shift + k] = other[i, k] + (ZERO if kind == CONCAT else x[i, k])


@njit(fastmath=FAST, error_model="numpy")
def _backward_tile(here, tangents, by_x, layers, curves, wide, starts, matrices, y, z, g, sums):
    """From the gradients of the last stage, in ``g`` at the places of ``y``, to those of all others (zero
    before), and onto the ``sums`` of the parameters' gradients."""
    rows, ones, none, one = here * (1 + tangents), np.ones(1, np.float32), np.int64(0), np.int64(1)
    for index in range(len(layers) - 1, -1, -1):
        kind, source, _, w_in, w_out, bias, matrix = layers[index]
        x0, y0 = TILE * starts[index], TILE * starts[index + 1]
        x_row, y_row = wide[index], wide[index + 1]
        if kind == LINEAR:
            end = y0 + rows * y_row
            _curve(y[y0:end], z[y0:end], g[y0:end], here * y_row, curves[index])
            add_product(sums, matrix, x_row, g, y0, one, y_row, y, x0, x_row, w_out, x_row, rows)
            if bias:
                shift = matrix + w_out * x_row
                add_product(sums, shift, y_row, ones, none, none, none, g, y0, y_row, one, y_row, here)
            if by_x or index > 0:
                add_product(g, x0, x_row, g, y0, y_row, one, matrices, matrix, x_row, rows, x_row, w_out)
        else:
            to, gx = _matrix(g, y0, rows, y_row), _matrix(g, x0, rows, x_row)
            other = _matrix(g, TILE * starts[source], rows, wide[source])
            shift = w_in if kind == CONCAT else 0
            for i in range(rows):
                for k in range(w_in):
                    gx[i, k] += to[i, k]
                for k in range(w_out):
                    other[i, k] += to[i, shift + k]


@njit
def _load(first, here, tangents, x, rows):
    """Stage 0 of samples ``first`` and on: values, and unit vectors for tangents."""
    for i in range(here):
        for k in range(x.shape[1]):
            rows[i, k] = x[first + i, k]
    for t in range(tangents):
        for i in range(here):
            for k in range(x.shape[1]):
                rows[(1 + t) * here + i, k] = ONE if k == t else ZERO


@njit
def _store(first, here, tangents, rows, y, dy):
    """Values and tangents of ``here`` samples to the arrays of all samples."""
    for i in range(here):
        for o in range(y.shape[1]):
            y[first + i, o] = rows[i, o]
            for t in range(tangents):
                dy[first + i, o, t] = rows[(1 + t) * here + i, o]


@njit
def _fetch(first, here, tangents, rows, y, dy):
    """The inverse of ``_store``."""
    for i in range(here):
        for o in range(y.shape[1]):
            rows[i, o] = y[first + i, o]
            for t in range(tangents):
                rows[(1 + t) * here + i, o] = dy[first + i, o, t]


# All rows ---------------------------------------------------------------------------------------------------


@intrinsic  # type: ignore[untyped-decorator]
def _pointer(typing: Any, address: Any) -> Any:
    """An address as a pointer to float32: tensors in any number then make one signature."""

    def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        return builder.inttoptr(args[0], context.get_value_type(signature.return_type))

    return types.CPointer(types.float32)(address), codegen


@njit
def _pack(layers, wide, parameters, network, packed, matrices):
    """A network's parameters as matrices with padded rows: ``packed`` (in, out), the bias behind them, for
    forward, and ``matrices`` (out, in), unless it is empty, for backward. Padding stays zero."""
    for index in range(len(layers)):
        kind, _, _, w_in, w_out, bias, matrix = layers[index]
        if kind == LINEAR:
            x_row, y_row = wide[index], wide[index + 1]
            weights = carray(_pointer(parameters[index, 0]), (network + 1, w_out, w_in))[network]
            turned = _matrix(packed, matrix, w_in, y_row)
            for o in range(w_out):
                for k in range(w_in):
                    turned[k, o] = weights[o, k]
            if len(matrices):
                same = _matrix(matrices, matrix, w_out, x_row)
                for o in range(w_out):
                    for k in range(w_in):
                        same[o, k] = weights[o, k]
            if bias:
                biases = carray(_pointer(parameters[index, 1]), (network + 1, w_out))[network]
                shift = packed[matrix + w_in * y_row :]
                for o in range(w_out):
                    shift[o] = biases[o]


@njit
def _unpack(layers, wide, sums, place, gradients):
    """Gradients of a piece, from matrices with padded rows to where those of network ``place`` are."""
    for index in range(len(layers)):
        kind, _, _, w_in, w_out, bias, matrix = layers[index]
        if kind == LINEAR:
            weights = carray(_pointer(gradients[index, 0]), (place + 1, w_out, w_in))[place]
            found = _matrix(sums, matrix, w_out, wide[index])
            for o in range(w_out):
                for k in range(w_in):
                    weights[o, k] = found[o, k]
            if bias:
                biases = carray(_pointer(gradients[index, 1]), (place + 1, w_out))[place]
                shift = sums[matrix + w_out * wide[index] :]
                for o in range(w_out):
                    biases[o] = shift[o]


@njit(fastmath=FAST, error_model="numpy", nogil=True, cache=True)
def run(
    pieces, start, end, layers, curves, wide, starts, size, tangents, parameters, x, y, dy, gx, gparameters
):
    """Pieces ``start`` to ``end``. Forward, where ``gparameters`` is empty: x (n, in) -> y (n, out),
    dy (n, out, in). Backward: y and dy are the gradients by those; the gradients by x go to gx, unless it is
    empty, those by parameters to the places of pieces. ``parameters`` and ``gparameters`` (layers, 2) are the
    addresses of weights (networks, out, in) and biases (networks, out)."""
    backward, by_x, step = len(gparameters) > 0, len(gx) > 0, TILE // (1 + tangents)
    stages, more = TILE * starts[-1], int(backward)
    a, z, g = _room(stages), _room(stages), _room(more * stages)
    packed, matrices, sums = _room(size), _room(more * size), _room(more * size)
    for piece in range(start, end):
        network, first, last, place = pieces[piece]
        if first < last:
            _pack(layers, wide, parameters, network, packed, matrices)
        _fill_zero(sums)
        for row in range(first, last, step):
            here = min(step, last - row)
            rows = here * (1 + tangents)
            _load(row, here, tangents, x, _matrix(a, starts[0], rows, wide[0]))
            _forward_tile(here, tangents, layers, curves, wide, starts, packed, a, z)
            to = TILE * starts[-2]
            if not backward:
                _store(row, here, tangents, _matrix(a, to, rows, wide[-1]), y, dy)
                continue
            for stage in range(len(wide)):
                _fill_zero(g[TILE * starts[stage] : TILE * starts[stage] + rows * wide[stage]])
            _fetch(row, here, tangents, _matrix(g, to, rows, wide[-1]), y, dy)
            _backward_tile(here, tangents, by_x, layers, curves, wide, starts, matrices, a, z, g, sums)
            if by_x:
                found = _matrix(g, starts[0], here, wide[0])
                for i in range(here):
                    for k in range(x.shape[1]):
                        gx[row + i, k] = found[i, k]
        if backward:
            _unpack(layers, wide, sums, place, gparameters)
