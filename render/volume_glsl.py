"""A bool volume -> how far one may leap from each cell: words for the shader, and the GLSL that reads them.

The function emitted for a volume called ``NAME``::

    int NAME_distance(ivec3 cell)     0 in a set cell, else the Chebyshev distance to the nearest set one

with the constant ``ivec3 NAME_size``. The distances are those of ``render.occupancy.leaps``. Of the volume
that tells which cells of a bank have a network::

    int NAME_network(ivec3 cell)      its number, or what render/sphere_tracing.py says where there is none
    ivec3 NAME_place(int network)     its cell
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from render.occupancy import leaps
from render.sphere_tracing import network_table


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


def lay_out_networks(cells: NDArray[np.bool_], inside: NDArray[np.bool_]) -> NDArray[np.uint32]:
    """Numbers of networks as words, z fastest; then the cell of each, ten bits a coordinate."""
    x, y, z = np.nonzero(cells)
    places = (x | y << 10 | z << 20).astype(np.uint32)
    return np.concatenate([network_table(cells, inside).ravel().view(np.uint32), places])


def emit_networks(shape: tuple[int, ...], name: str) -> str:
    """GLSL of the volume that tells where networks are."""
    x, y, z = shape
    return (
        f"const ivec3 {name}_size = ivec3({x}, {y}, {z});\n"
        f"int {name}_network(ivec3 cell) {{\n"
        f"    return int({name}_word(uint((cell.x * {y} + cell.y) * {z} + cell.z)));\n"
        f"}}\n"
        f"ivec3 {name}_place(int network) {{\n"
        f"    uint word = {name}_word(uint({x * y * z} + network));\n"
        f"    return ivec3(word & 1023u, word >> 10 & 1023u, word >> 20);\n"
        f"}}\n"
    )
