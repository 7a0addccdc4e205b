"""Functions that LLVM can run on vectors, unlike its calls of the C library. Not a number stays one."""

from __future__ import annotations

import math

import numpy as np
from numba import njit

from training.kernels.cpu.common import HALF, ONE, TWO, ZERO

LOG2E, TWO_OVER_PI = np.float32(math.log2(math.e)), np.float32(2 / math.pi)
ROUND = np.float32(1.5 * 2**23)
I1, I2 = np.int32(1), np.int32(2)
THIRD, FIFTH, SEVENTH, NINTH, ELEVENTH = (np.float32(1 / k) for k in (3, 5, 7, 9, 11))


@njit(inline="always")
def exp2(x):
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


@njit(inline="always")
def log1p(x):
    """log(1 + x) for x in [0, 1] within 2e-7: the series of 2 atanh(x / (2 + x))."""
    u = x / (TWO + x)
    square = u * u
    p = SEVENTH + square * (NINTH + square * ELEVENTH)
    return TWO * u * (ONE + square * (THIRD + square * (FIFTH + square * p)))


@njit(inline="always")
def sine_cosine(x):
    """sin(x) and cos(x) within 2e-7 + 1e-10 |x|, for |x| below 10^4.

    Reduction by quarter turns in three parts, of which the first two have room for the factor, and minimax
    polynomials on [-pi/4, pi/4]: Cephes ``sinf`` (Moshier).
    """
    shifted = x * TWO_OVER_PI + ROUND  # the sum has no room for a fraction, its last bits are the whole
    turns = shifted - ROUND
    r = x - turns * np.float32(1.5703125)
    r = r - turns * np.float32(4.837512969970703125e-4)
    r = r - turns * np.float32(7.54978995489188216e-8)
    quarter = np.float32(shifted).view(np.int32)
    z = r * r
    s = np.float32(-1.9515295891e-4) * z + np.float32(8.3321608736e-3)
    s = (s * z - np.float32(1.6666654611e-1)) * z * r + r
    c = np.float32(2.443315711809948e-5) * z - np.float32(1.388731625493765e-3)
    c = (c * z + np.float32(4.166664568298827e-2)) * z * z - HALF * z + ONE
    sine, cosine = (c, s) if quarter & I1 else (s, c)
    return (-sine if quarter & I2 else sine), (-cosine if (quarter + I1) & I2 else cosine)


@njit(inline="always")
def sigmoid(x):
    """1 / (1 + exp(-x)), and the exponential exp(-|x|) it is made of."""
    t = exp2(-abs(x) * LOG2E)
    return (ONE if x >= ZERO else t) / (ONE + t), t
