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
from training.kernels.cpu.functions import exp2

FLOOR, LN2 = np.float32(NORMALISE_FLOOR), np.float32(math.log(2))

WIDE = 128  # samples a block, innermost: every inner loop is a run of vectors in the first-level cache
BLOCKS_PER_TASK = 8


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
                    row[i] = exp2(min(row[i], ZERO))
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
    """ga, gq (threads, N, F) and gbias (threads, N) are each thread's own sums. A sum over samples is kept as
    WIDE sums until the end, so that its order is written here and not chosen by the compiler."""
    n, features = x.shape
    count = len(a)
    fours = (count + 3) // 4 * 4  # kernels pass over gradients by fours, the last ones with zeros
    share = ((n + threads - 1) // threads + WIDE - 1) // WIDE * WIDE
    for thread in prange(threads):
        xt = np.zeros((features, WIDE), np.float32)
        gxt = np.empty((features, WIDE), np.float32)
        gz = np.zeros((fours, WIDE), np.float32)
        phi = np.zeros((count, WIDE), np.float32)
        mean = np.empty(WIDE, np.float32)
        sum_a = np.zeros((count, features, WIDE), np.float32)
        sum_q = np.zeros((count, features, WIDE), np.float32)
        sum_bias = np.zeros((count, WIDE), np.float32)
        pa, pq = np.zeros((fours, features), np.float32), np.zeros((fours, features), np.float32)
        pa[:count], pq[:count] = a, TWO * q
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
                for i in range(WIDE):
                    gz[j, i] = LN2 * phi[j, i] * (gz[j, i] - mean[i])
                    sum_bias[j, i] += gz[j, i]
                for f in range(features):
                    g, v, total_a, total_q = gz[j], xt[f], sum_a[j, f], sum_q[j, f]
                    for i in range(WIDE):
                        t = g[i] * v[i]
                        total_a[i] += t
                        total_q[i] += t * v[i]
            for j in range(0, count, 4):
                g0, g1, g2, g3 = gz[j], gz[j + 1], gz[j + 2], gz[j + 3]
                for f in range(features):
                    v, gv = xt[f], gxt[f]
                    a0, a1, a2, a3 = pa[j, f], pa[j + 1, f], pa[j + 2, f], pa[j + 3, f]
                    q0, q1, q2, q3 = pq[j, f], pq[j + 1, f], pq[j + 2, f], pq[j + 3, f]
                    for i in range(WIDE):
                        slope = g0[i] * q0 + g1[i] * q1 + g2[i] * q2 + g3[i] * q3
                        gv[i] += g0[i] * a0 + g1[i] * a1 + g2[i] * a2 + g3[i] * a3 + v[i] * slope
            for i in range(here):
                for f in range(features):
                    gx[first + i, f] = gxt[f, i]
        for i in range(WIDE):
            for j in range(count):
                gbias[thread, j] += sum_bias[j, i]
                for f in range(features):
                    ga[thread, j, f] += sum_a[j, f, i]
                    gq[thread, j, f] += sum_q[j, f, i]


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
        ga, gq = np.zeros((2, threads, *a.shape), np.float32)
        gbias = np.zeros((threads, len(a)), np.float32)
        arrays = array(x), a, q, *ctx.options, array(out), array(grads[0])
        _kernels_backward(*arrays, threads, gx.numpy(), ga, gq, gbias)
        gweight = np.concatenate([ga.sum(0), gq.sum(0)], 1)
        return gx, torch.from_numpy(gweight), torch.from_numpy(gbias.sum(0)), None, None, None


def gaussian_kernels(
    x: Tensor, weight: Tensor, bias: Tensor, normalise: bool, gain: float, linear: bool
) -> Tensor:
    return _GaussianKernels.apply(x, weight, bias, normalise, gain, linear)
