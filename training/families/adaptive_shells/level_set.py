"""Dilation and erosion of a distance field by level-set evolution, as far as its kernel size asks for.

Source: Wang et al. 2023, "Adaptive shells for efficient neural radiance field rendering", section 3.3 and
procedures 1 and 2: from f on a lattice evolve df/dt = -|grad f| v + curvature, with speeds v that follow from
the opacity of a step through the kernel. Where this departs from the text:

- The opacity of a step is NeuS' (entry minus exit, relative to the entry); the text's makes it negative.
- The speed of erosion is negative: with the text's sign the surface grows, and the last clamp undoes it all.
- Curvature is added, which smooths; subtracted it shatters the surface. Its factor is a length here, 0.01 of
  the paper's voxel of 2/512, so that the smoothing is the same at any resolution. (Taken in world units it
  would be 65 times beyond what is stable, in voxels the surface would freeze.)
- Slopes are Godunov's upwind ones and time steps resolve the motion (Osher and Sethian 1988), in place of 50
  steps of 25 cells each: nothing but what the surface reaches can become inside, however noisy the field is
  elsewhere, and no redistancing is needed. So the taper of eq. 5, which is 1 on the surface, is left out; its
  support remains, as the band of points that are evolved.
- Dilation moves at one speed wherever the opacity passes the threshold of eq. 6, fast enough to get there in
  the time (our choice). The text's speed, that opacity, decides how soon the motion ends, hardly ever where.
- Erosion is no faster than what crosses its band in half the time (our choice; the text's 100 is never seen
  inside the surface, where opacities are high).

Lengths are world units, in which the scene box has half-diagonal 1, and f is positive outside. A lattice has
a point at every corner of the box: value i lies at low + i / (n - 1) * size, as ``render.mesh.isosurface``
has it.
"""

from __future__ import annotations

import math

import numpy as np
from numba import njit, prange
from numpy.typing import ArrayLike, NDArray

from training.kernels.cpu.common import FAST, HALF, ONE, TWO, ZERO

PROBE = 2 / 512  # the step whose opacity counts: the paper's voxel, whatever the lattice here
MIN_ALPHA = 0.01  # opacity of that step up to which the outside belongs to the shell, eq. 6
LARGEST_KERNEL = 0.1  # of s; larger ones have no opacity anywhere (our choice)
TIME = 5.0  # 50 steps of 0.1
DILATION_BAND, EROSION_BAND = 0.1, 0.05  # zeta: farthest that the surface moves outward and inward
DILATION_SPEED = 1.25 * DILATION_BAND / TIME
EROSION_SPEED, MAX_EROSION_SPEED = 0.001, 2 * EROSION_BAND / TIME  # beta of eq. 7 and its largest value
SMOOTHING = 0.01 * PROBE  # lambda: the area that curvature smooths in a unit of time
MARGIN, MARGIN_CELLS = 0.01, 3  # that far, and so many cells at least, are evolved beyond what moves

Floats = NDArray[np.float32]
Bools = NDArray[np.bool_]
Integers = NDArray[np.int64]


def opacity(f: ArrayLike, s: ArrayLike, step: float = PROBE) -> NDArray[np.float64]:
    """Alpha of a step head-on through the surface, its middle at distance f, of kernel size s.

    1 - Phi_s(f - step/2) / Phi_s(f + step/2), Phi_s(f) = 1 / (1 + exp(-f/s)); in [0, 1], 1 deep inside a hard
    surface. Source: Wang et al. 2021, "NeuS", eq. 13.
    """
    f, s = np.asarray(f, np.float64), np.asarray(s, np.float64)
    enters, leaves = (f + step / 2) / s, (f - step / 2) / s
    ratio = np.logaddexp(0, -enters) - np.logaddexp(0, -leaves)  # of logarithms, log Phi(x) = -log(1 + e^-x)
    return np.asarray(-np.expm1(ratio), np.float64)


def outward_reach(s: ArrayLike) -> NDArray[np.float64]:
    """Largest f at which ``opacity`` passes ``MIN_ALPHA``: how far dilation goes, at most its band.

    ``opacity`` solved for f.
    """
    s = np.asarray(s, np.float64)
    inside = 1 - MIN_ALPHA - np.exp(-PROBE / s)
    reach = PROBE / 2 + s * np.log(np.maximum(inside, 1e-300) / MIN_ALPHA)
    return np.asarray(np.clip(reach, 0, DILATION_BAND), np.float64)


def dilate(f: Floats, s: Floats, spacing: ArrayLike) -> Floats:
    """The field (x, y, z) of the outer surface, nowhere above f. ``f`` is left as it is.

    Args:
        f, s: (x, y, z) distances and kernel sizes at lattice points, finite, s positive.
        spacing: (3,) distances between lattice points.
    """
    cells = margin_cells(spacing)
    moving = np.zeros(np.add(f.shape, 2), np.bool_)
    _mark(f, s, -cells * np.max(spacing), DILATION_BAND, MIN_ALPHA, moving)
    work = _evolve(f, s, spacing, widened(moving, cells), grows=True)
    return np.minimum(f, work, out=work)


def erode(f: Floats, s: Floats, spacing: ArrayLike) -> Floats:
    """The field (x, y, z) of the inner surface, nowhere below f; arguments as of ``dilate``."""
    moving = np.zeros(np.add(f.shape, 2), np.bool_)
    _mark(f, s, -EROSION_BAND, margin_cells(spacing) * np.max(spacing), -1.0, moving)
    work = _evolve(f, s, spacing, moving, grows=False)
    return np.maximum(f, work, out=work)


def time_steps(spacing: ArrayLike, grows: bool) -> int:
    """Steps into which ``TIME`` is divided so that each is stable on lattice points that far apart.

    A step dt leaves a point 1 - dt (sqrt(3) v / h + 6 lambda / h^2) of its own value at least: sqrt(3) for
    upwind slopes along three axes, 6 as the Laplacian has. That must not be negative (a bound on the safe
    side: curvature smooths along two directions only). With the two limits kept apart it is not stable.
    """
    h = float(np.min(spacing))
    if grows:
        return math.ceil(TIME * (math.sqrt(3) * DILATION_SPEED / h + 6 * SMOOTHING / h**2))
    return math.ceil(TIME * math.sqrt(3) * MAX_EROSION_SPEED / h)


def margin_cells(spacing: ArrayLike) -> int:
    """Cells evolved beyond what moves: for slopes and curvature there, and so that hollows can fill."""
    return max(MARGIN_CELLS, math.ceil(MARGIN / float(np.min(spacing))))


def _evolve(f: Floats, s: Floats, spacing: ArrayLike, active: Bools, grows: bool) -> Floats:
    """f after ``TIME``; only the points of ``active``, (x + 2, y + 2, z + 2), change.

    A layer around the lattice repeats its rim at all times, so that every point has neighbours.
    """
    work = np.pad(f, 1, mode="edge")  # C-contiguous, so that ``flat`` is a view of it
    starts, offsets = _runs(active)
    speed = np.empty(int(offsets[-1]), np.float32)
    _speeds(f, s, starts, offsets, grows, speed)
    fresh = np.empty_like(speed)
    steps = time_steps(spacing, grows)
    dt, smoothing = np.float32(TIME / steps), np.float32(SMOOTHING if grows else 0)
    per = (1 / np.asarray(spacing, np.float64)).astype(np.float32)
    row, plane = work.shape[2], work.shape[1] * work.shape[2]
    at_rim = any(np.moveaxis(active, axis, 0)[end].any() for axis in range(3) for end in (1, -2))
    flat = work.reshape(-1)
    for _ in range(steps):
        _step(flat, starts, offsets, speed, dt, smoothing, per[0], per[1], per[2], plane, row, fresh)
        _store(flat, starts, offsets, fresh)
        if at_rim:
            _repeat_rim(work)
    return np.ascontiguousarray(work[1:-1, 1:-1, 1:-1])


def _repeat_rim(work: Floats) -> None:
    for axis in range(3):
        layers = np.moveaxis(work, axis, 0)
        layers[0], layers[-1] = layers[1], layers[-2]


def widened(mask: Bools, cells: int) -> Bools:
    """The mask and all within so many cells of it along every axis, without its outermost layer."""
    for axis in range(3):
        narrow = np.moveaxis(mask, axis, 0)
        wide = np.moveaxis(mask.copy(), axis, 0)
        for shift in range(1, cells + 1):
            wide[shift:] |= narrow[:-shift]
            wide[:-shift] |= narrow[shift:]
        mask = np.moveaxis(wide, 0, axis)
    inner = np.zeros_like(mask)
    inner[1:-1, 1:-1, 1:-1] = mask[1:-1, 1:-1, 1:-1]
    return inner


def _runs(active: Bools) -> tuple[Integers, Integers]:
    """Where the points form runs along z: flat number of the first (n,), and (n + 1,) how many came before.

    The outermost layer is not active, so a run ends before its row does.
    """
    flat = active.reshape(-1)
    edges = np.flatnonzero(flat[1:] != flat[:-1]) + 1
    starts = edges[::2]
    offsets = np.zeros(len(starts) + 1, np.int64)
    np.cumsum(edges[1::2] - starts, out=offsets[1:])
    return starts, offsets


# In double precision, as a threshold depends on it.
@njit(inline="always")
def _opacity(f, s):
    s = min(np.float64(s), LARGEST_KERNEL)
    enters, leaves = -(f + 0.5 * PROBE) / s, -(f - 0.5 * PROBE) / s
    a = max(enters, 0.0) + math.log1p(math.exp(-abs(enters)))
    b = max(leaves, 0.0) + math.log1p(math.exp(-abs(leaves)))
    return -math.expm1(a - b)


@njit(parallel=True, cache=True)
def _mark(f, s, low, high, above, marks):
    """Points between the two distances whose opacity is higher than ``above``, in a mask with a rim."""
    for i in prange(f.shape[0]):
        for j in range(f.shape[1]):
            for k in range(f.shape[2]):
                if low < f[i, j, k] < high and (above < 0 or _opacity(f[i, j, k], s[i, j, k]) > above):
                    marks[i + 1, j + 1, k + 1] = True


@njit(parallel=True, cache=True)
def _speeds(f, s, starts, offsets, grows, speed):
    """Of every active point the speed outwards, in world units for a unit of time."""
    ny, nz = f.shape[1], f.shape[2]
    for run in prange(len(starts)):
        start = starts[run]
        i = start // ((ny + 2) * (nz + 2)) - 1
        j = start // (nz + 2) % (ny + 2) - 1
        k = start % (nz + 2) - 1
        for n in range(offsets[run + 1] - offsets[run]):
            alpha = _opacity(f[i, j, k + n], s[i, j, k + n])
            if grows:
                moves = f[i, j, k + n] < DILATION_BAND and alpha > MIN_ALPHA
                speed[offsets[run] + n] = DILATION_SPEED if moves else 0.0
            else:
                speed[offsets[run] + n] = -min(MAX_EROSION_SPEED, EROSION_SPEED / max(alpha, 1e-9))


@njit(inline="always")
def _upwind(back, ahead, sign):
    """Square of Godunov's slope along an axis; information comes from the lower side if the surface grows."""
    slope = max(max(sign * back, -sign * ahead), ZERO)
    return slope * slope


@njit(inline="always")
def _curvature(f, i, plane, row, px, py, pz):
    """|grad f| div(grad f / |grad f|), central differences."""
    fx = HALF * px * (f[i + plane] - f[i - plane])
    fy = HALF * py * (f[i + row] - f[i - row])
    fz = HALF * pz * (f[i + 1] - f[i - 1])
    fxx = px * px * (f[i + plane] - TWO * f[i] + f[i - plane])
    fyy = py * py * (f[i + row] - TWO * f[i] + f[i - row])
    fzz = pz * pz * (f[i + 1] - TWO * f[i] + f[i - 1])
    fxy = f[i + plane + row] - f[i + plane - row] - f[i - plane + row] + f[i - plane - row]
    fxz = f[i + plane + 1] - f[i + plane - 1] - f[i - plane + 1] + f[i - plane - 1]
    fyz = f[i + row + 1] - f[i + row - 1] - f[i - row + 1] + f[i - row - 1]
    mixed = HALF * (px * py * fx * fy * fxy + px * pz * fx * fz * fxz + py * pz * fy * fz * fyz)
    xx, yy, zz = fx * fx, fy * fy, fz * fz
    straight = fxx * (yy + zz) + fyy * (xx + zz) + fzz * (xx + yy)
    return (straight - mixed) / (xx + yy + zz + np.float32(1e-12))


@njit(parallel=True, cache=True, fastmath=FAST)
def _step(f, starts, offsets, speed, dt, smoothing, px, py, pz, plane, row, fresh):
    """One step of forward Euler; f is flat, ``px`` to ``pz`` are points per unit of length."""
    for run in prange(len(starts)):
        start, first = starts[run], offsets[run]
        for n in range(offsets[run + 1] - first):
            i = start + n
            v = speed[first + n]
            sign = ONE if v >= ZERO else -ONE
            here = f[i]
            squares = _upwind(px * (here - f[i - plane]), px * (f[i + plane] - here), sign)
            squares += _upwind(py * (here - f[i - row]), py * (f[i + row] - here), sign)
            squares += _upwind(pz * (here - f[i - 1]), pz * (f[i + 1] - here), sign)
            rate = -v * np.sqrt(squares)
            if smoothing > ZERO:
                rate += smoothing * _curvature(f, i, plane, row, px, py, pz)
            fresh[first + n] = here + dt * rate


@njit(parallel=True, cache=True)
def _store(f, starts, offsets, fresh):
    for run in prange(len(starts)):
        for n in range(offsets[run + 1] - offsets[run]):
            f[starts[run] + n] = fresh[offsets[run] + n]
