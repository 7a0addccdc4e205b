"""The surface that an asset holds, as functions in numpy: what the shaders evaluate, without OpenGL.

Three kinds of asset hold one: a grid and a small network with clay (driver ``trace``, without a network
``colour``), a grid and a network with a network of colours (``trace``), and a bank of networks, one a cell
(``trace_cells``). The contracts are those of ``render/drivers/trace.py`` and ``trace_cells.py``.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from render.asset import BakedAsset, BakedNetwork
from render.errors import InshaderError
from render.network import NetworkSpec
from render.parts import Parts
from render.sphere_tracing import INSIDE, Distance, Gradient, network_cell, network_table

CHUNK = 1 << 16  # points evaluated at once
Array = NDArray[np.float32]
Colour = Callable[[Array, Array, Array], Array]
"""Display colour (n, 3) at u (n, 3) for unit world normals (n, 3), seen along unit directions (n, 3)."""


@dataclass(frozen=True, eq=False)
class SurfaceField:
    """A surface over the box of an asset; points u (n, 3) are in [0, 1].

    Attributes:
        distance: u -> f (n,), world units, negative inside.
        gradient: u -> f (n,) and its slope by u (n, 3).
        colour: u, unit normals in the world (n, 3), in which direction f grows, and unit directions (n, 3)
            -> display colours (n, 3).
    """

    distance: Distance
    gradient: Gradient
    colour: Colour


def surface_field(asset: BakedAsset) -> SurfaceField:
    """The surface of an asset that its driver's ``check`` has passed.

    Raises:
        InshaderError: the asset holds no surface.
    """
    if asset.driver == "trace":
        return _single(asset)
    if asset.driver == "trace_cells":
        return _bank(asset)
    raise InshaderError(
        f"an asset of the driver {asset.driver} holds no surface, expected one of trace or trace_cells"
    )


def shade(normal: Array, rays_d: Array, albedo: Array, ambient: float) -> Array:
    """Clay under a headlight: display colours (n, 3) for unit normals and unit directions (n, 3)."""
    facing = np.abs((normal * rays_d).sum(-1, keepdims=True))
    return np.asarray(albedo * (np.float32(ambient) + np.float32(1 - ambient) * facing), np.float32)


def _chunked(evaluate: Callable[..., tuple[Array, ...]], *points: Array) -> tuple[Array, ...]:
    """``evaluate`` of arrays (n, ..), part by part."""
    parts = [evaluate(*(x[k : k + CHUNK] for x in points)) for k in range(0, max(len(points[0]), 1), CHUNK)]
    return tuple(np.concatenate(part) for part in zip(*parts, strict=True))


def _single(asset: BakedAsset) -> SurfaceField:
    """One network for all of the box; where its second slot is a position, that is u."""
    parts = Parts(asset, "compute")
    grid, decoder = parts.grid("features"), parts.network("decoder")
    scale = np.float32(parts.number("distance_scale"))
    placed = len(decoder.spec.inputs) == 2
    width = grid.spec.output_width

    def slots(features: Array, u: Array) -> tuple[Array, ...]:
        return (features, u) if placed else (features,)

    def value(u: Array) -> tuple[Array, ...]:
        features = np.asarray(grid.spec.evaluate(grid.table, u), np.float32)
        return (scale * decoder.spec.evaluate(decoder.parameters, *slots(features, u))[:, 0],)

    def slope(u: Array) -> tuple[Array, ...]:
        features, by_u = grid.spec.jacobian(grid.table, u)  # (n, F), (n, F, 3)
        y, by_slots = decoder.spec.jacobian(decoder.parameters, *slots(features, u))  # (n, 1), (n, 1, F + 3)
        total = np.einsum("nf,nfu->nu", by_slots[:, 0, :width], by_u)
        total += by_slots[:, 0, width:] if placed else 0
        return scale * y[:, 0], scale * total

    def gradient(u: Array) -> tuple[Array, Array]:
        f, by_u = _chunked(slope, u)
        return f, by_u

    return SurfaceField(lambda u: _chunked(value, u)[0], gradient, _colour(parts))


def _colour(parts: Parts) -> Colour:
    """Of an asset of ``trace``: its network's, or clay."""
    if "colour" not in parts.asset.networks:
        albedo, ambient = np.array(parts.constant("albedo"), np.float32), float(parts.number("ambient"))
        return lambda u, n, d: shade(n, d, albedo, ambient)
    grid, network = parts.grid("features"), parts.network("colour")

    def colour(u: Array, n: Array, d: Array) -> tuple[Array, ...]:
        features = np.asarray(grid.spec.evaluate(grid.table, u), np.float32)
        return (np.asarray(network.spec.evaluate(network.parameters, features, n, d), np.float32),)

    return lambda u, n, d: _chunked(colour, u, n, d)[0]


def _bank(asset: BakedAsset) -> SurfaceField:
    """A network for each set cell; elsewhere f is a cell's diagonal, below 0 inside, and all else is 0."""
    parts = Parts(asset, "compute")
    cells, shape = parts.volume("cells"), parts.volume("occupancy").shape
    table = network_table(cells, parts.volume("inside"))
    scale = np.float32(parts.number("distance_scale"))
    network, colours = parts.network("distance"), parts.network("colour")
    sides = np.array(cells.shape, np.float32)
    diagonal = np.float32(np.linalg.norm((asset.bounds[1] - asset.bounds[0]) / sides))

    def place(u: Array) -> tuple[NDArray[np.int32], Array]:
        """The network (n,) of each point, and where in its cell, [-1, 1], it is (n, 3)."""
        cell = network_cell(u, cells.shape, shape)
        return table[tuple(cell.T)], 2 * (u * sides - cell.astype(np.float32)) - 1

    def value(u: Array) -> Array:
        which, x = place(u)
        f = np.where(which == INSIDE, -diagonal, diagonal)
        for k, at in _by_network(which):
            f[at] = scale * _one(network, k)[0].evaluate(_one(network, k)[1], x[at])[:, 0]
        return f

    def slope(u: Array) -> tuple[Array, Array]:
        which, x = place(u)
        f, by_u = np.where(which == INSIDE, -diagonal, diagonal), np.zeros_like(x)
        for k, at in _by_network(which):
            spec, parameters = _one(network, k)
            y, by_x = spec.jacobian(parameters, x[at])
            f[at], by_u[at] = scale * y[:, 0], scale * by_x[:, 0] * (2 * sides)
        return f, by_u

    def colour(u: Array, n: Array, d: Array) -> Array:
        which, x = place(u)
        rgb = np.zeros_like(x)
        for k, at in _by_network(which):
            spec, parameters = _one(colours, k)
            rgb[at] = spec.evaluate(parameters, x[at], n[at], d[at])
        return rgb

    return SurfaceField(value, slope, colour)


def _by_network(which: NDArray[np.int32]) -> Iterator[tuple[int, NDArray[np.intp]]]:
    """Each network that any of the points (n,) has, and the indices of those, a chunk at a time."""
    order = np.argsort(which, kind="stable")
    order = order[np.searchsorted(which[order], 0) :]
    numbers, starts = np.unique(which[order], return_index=True)
    for k, first, last in zip(numbers, starts, [*starts[1:], len(order)], strict=False):
        for start in range(first, last, CHUNK):
            yield int(k), order[start : min(start + CHUNK, last)]


def _one(bank: BakedNetwork, k: int) -> tuple[NetworkSpec, dict[str, NDArray[np.floating]]]:
    """Network k of a bank, alone."""
    return replace(bank.spec, count=1), {key: array[k : k + 1] for key, array in bank.parameters.items()}
