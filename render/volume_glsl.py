"""A bool volume -> how far one may leap from each cell: words for the shader, and the GLSL that reads them.

The function emitted for a volume called ``NAME``::

    int NAME_distance(ivec3 cell)     0 in a set cell, else the Chebyshev distance to the nearest set one

with the constant ``ivec3 NAME_size``. The distances are those of ``render.occupancy.leaps``.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from render.occupancy import leaps


def lay_out(volume: NDArray[np.bool_]) -> NDArray[np.uint32]:
    """Distances as words, four cells each, z fastest."""
    cells = leaps(volume).ravel()
    return np.pad(cells, (0, -cells.size % 4)).view("<u4").astype(np.uint32)


def emit(shape: tuple[int, ...], name: str) -> str:
    """GLSL of one volume."""
    x, y, z = shape
    return (
        f"const ivec3 {name}_size = ivec3({x}, {y}, {z});\n"
        f"int {name}_distance(ivec3 cell) {{\n"
        f"    int i = (cell.x * {y} + cell.y) * {z} + cell.z;\n"
        f"    return int({name}_word(uint(i >> 2)) >> uint((i & 3) << 3)) & 255;\n"
        f"}}\n"
    )
