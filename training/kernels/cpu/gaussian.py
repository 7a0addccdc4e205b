"""Gaussian kernels of features: the hidden layer of the RBF decoders."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import torch
from numba import get_num_threads, njit, prange
from torch import Tensor

from render.network import NORMALISE_FLOOR
from training.kernels.cpu.common import FAST, TWO, ZERO, array

FLOOR, LN2 = np.float32(NORMALISE_FLOOR), np.float32(math.log(2))

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
        a, q = (array(part) for part in weight.detach().chunk(2, 1))
        out = torch.empty(len(x), len(bias) + linear * x.shape[1])
        _kernels_forward(array(x), a, q, array(bias), normalise, np.float32(gain), linear, out.numpy())
        ctx.save_for_backward(x, weight, out)
        ctx.options = normalise, np.float32(gain), linear
        return out

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:
        x, weight, out = ctx.saved_tensors
        a, q = (array(part) for part in weight.detach().chunk(2, 1))
        threads, gx = get_num_threads(), torch.empty_like(x)
        ga, gq = np.zeros((threads, *a.shape), np.float32), np.zeros((threads, *a.shape), np.float32)
        gbias = np.zeros((threads, len(a)), np.float32)
        arrays = array(x), a, q, *ctx.options, array(out), array(grads[0])
        _kernels_backward(*arrays, threads, gx.numpy(), ga, gq, gbias)
        gweight = np.concatenate([ga.sum(0), gq.sum(0)], 1)
        return gx, torch.from_numpy(gweight), torch.from_numpy(gbias.sum(0)), None, None, None


def gaussian_kernels(
    x: Tensor, weight: Tensor, bias: Tensor, normalise: bool, gain: float, linear: bool
) -> Tensor:
    return _GaussianKernels.apply(x, weight, bias, normalise, gain, linear)
