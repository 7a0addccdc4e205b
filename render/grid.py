"""GridSpec: the one description of a multi-resolution feature grid, with dense and hashed levels.

The convention is tiny-cuda-nn's (``grid.h``), so that a grid trained by either draws here: level ``l`` has
scale ``s = base_resolution * growth^l - 1`` and resolution ``ceil(s) + 1``; a point x in [0, 1]^d sits at
``x * s + 0.5``; corners are addressed densely (x fastest) where the level fits the table and by its spatial
hash where it does not, both modulo the level's size. Source: Mueller et al. 2022, section 3.

The numpy evaluation is below, the GLSL in ``render/grid_glsl.py``, the trained one in ``training/kernels``.
"""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from render.encodings import Array
from render.errors import InshaderError

HASH_PRIMES = (1, 2654435761, 805459861)
MAX_LEVELS, MAX_LOG2_TABLE_SIZE = 32, 24


@dataclass(frozen=True)
class Level:
    """One resolution of the grid; ``offset`` and ``size`` count table entries."""

    scale: float
    resolution: int
    offset: int
    size: int
    hashed: bool


@dataclass(frozen=True)
class GridSpec:
    """A grid of ``levels`` resolutions with ``features`` values per entry, concatenated level by level.

    Attributes:
        dimension: of the points, 2 or 3.
        levels: number of resolutions.
        features: values per entry, 1, 2, 4 or 8.
        base_resolution: of the coarsest level.
        growth: ratio between two resolutions.
        log2_table_size: a level has at most 2^this entries.
        precision: storage of the table in an asset, ``float32`` or ``float16``.

    Raises:
        InshaderError: a number is out of bounds.
    """

    dimension: int
    levels: int
    features: int
    base_resolution: int
    growth: float
    log2_table_size: int
    precision: str = "float32"

    def __post_init__(self) -> None:
        def whole(value: object, low: int, high: int) -> bool:
            return isinstance(value, int) and not isinstance(value, bool) and low <= value <= high

        growth = isinstance(self.growth, (int, float)) and 1.0 <= self.growth <= 16.0
        if not (
            whole(self.dimension, 2, 3)
            and whole(self.levels, 1, MAX_LEVELS)
            and whole(self.features, 1, 8)
            and self.features in (1, 2, 4, 8)
            and whole(self.base_resolution, 1, 4096)
            and whole(self.log2_table_size, 3, MAX_LOG2_TABLE_SIZE)
            and growth
            and self.base_resolution * self.growth ** (self.levels - 1) <= 1 << 20
            and self.precision in ("float32", "float16")
        ):
            raise InshaderError(f"grid: {self!r:.200} is out of bounds")

    @staticmethod
    def between(
        coarsest: int, finest: int, dimension: int, levels: int, features: int, log2_table_size: int
    ) -> GridSpec:
        """The grid whose first and last levels have these resolutions."""
        growth = (finest / coarsest) ** (1 / max(levels - 1, 1))
        return GridSpec(dimension, levels, features, coarsest, growth, log2_table_size)

    @cached_property
    def level_list(self) -> tuple[Level, ...]:
        """All levels, coarse to fine."""
        found, offset = [], 0
        for index in range(self.levels):
            scale = self.base_resolution * self.growth**index - 1.0
            resolution = math.ceil(scale) + 1
            dense = -(-(resolution**self.dimension) // 8) * 8  # tiny-cuda-nn rounds up to multiples of 8
            size = min(dense, 1 << self.log2_table_size)
            found.append(Level(scale, resolution, offset, size, resolution**self.dimension > size))
            offset += size
        return tuple(found)

    @property
    def entries(self) -> int:
        """Entries of the whole table, which has shape (entries, features)."""
        return self.level_list[-1].offset + self.level_list[-1].size

    @property
    def output_width(self) -> int:
        return self.levels * self.features

    def check(self, table: NDArray[np.floating]) -> None:
        """Raise InshaderError unless ``table`` has the right shape and finite values."""
        if table.shape != (self.entries, self.features):
            raise InshaderError(
                f"grid: the table has shape {table.shape}, expected {(self.entries, self.features)}"
            )
        if not np.isfinite(table).all():
            raise InshaderError("grid: the table holds a value that is not a finite number")

    def evaluate(self, table: NDArray[np.floating], x: Array) -> Array:
        """Features (n, levels * features) of points x (n, dimension) in [0, 1]."""
        return np.concatenate([_interpolate(level, table, x) for level in self.level_list], -1)

    def jacobian(self, table: NDArray[np.floating], x: Array) -> tuple[Array, Array]:
        """Features (n, f) and their derivative (n, f, dimension) by x; piecewise constant at cell faces."""
        slopes = []
        for level in self.level_list:
            axes = [_interpolate(level, table, x, axis) for axis in range(self.dimension)]
            slopes.append(np.stack(axes, -1))  # (n, features, dimension)
        return self.evaluate(table, x), np.concatenate(slopes, 1)

    def to_json(self) -> dict[str, Any]:
        return asdict(self)

    @staticmethod
    def from_json(data: Any) -> GridSpec:
        """Inverse of ``to_json``; any malformed description is an InshaderError."""
        try:
            return GridSpec(**data)
        except TypeError as error:
            raise InshaderError(f"grid: malformed description ({error})") from error


def entry_index(level: Level, corner: NDArray[np.integer]) -> NDArray[np.int64]:
    """Table rows (...) of integer lattice corners (..., dimension)."""
    if level.hashed:
        index = np.zeros(corner.shape[:-1], np.uint32)
        for axis in range(corner.shape[-1]):
            index ^= corner[..., axis].astype(np.uint32) * np.uint32(HASH_PRIMES[axis])
    else:
        strides = level.resolution ** np.arange(corner.shape[-1])
        index = (corner.astype(np.int64) * strides).sum(-1).astype(np.uint32)
    return level.offset + (index % np.uint32(level.size)).astype(np.int64)


def _interpolate(level: Level, table: NDArray[np.floating], x: Array, slope: int | None = None) -> Array:
    """d-linear interpolation (n, features) of one level, or its derivative along the axis ``slope``."""
    position = x * x.dtype.type(level.scale) + x.dtype.type(0.5)
    base = np.floor(position)
    fraction = position - base
    total = np.zeros((len(x), table.shape[1]), x.dtype)
    dimension = x.shape[-1]
    for k in range(1 << dimension):
        bits = np.array([(k >> axis) & 1 for axis in range(dimension)])
        weights = np.where(bits, fraction, 1 - fraction)  # (n, dimension)
        if slope is not None:
            weights[:, slope] = level.scale * (2 * bits[slope] - 1)
        corner = base.astype(np.int64) + bits
        total += weights.prod(-1, keepdims=True) * table[entry_index(level, corner)].astype(x.dtype)
    return total
