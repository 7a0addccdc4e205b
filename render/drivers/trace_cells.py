"""The ``trace_cells`` driver: sphere tracing of a bank of small networks, one for each cell near the surface.

What an asset must hold for it (the family is free in how it fills them):

=====================  ==================================================================================
volume ``cells``       (x, y, z) over the box: which cells have a network, k counts them in C order
volume ``occupancy``   (m x, m y, m z) for a whole m: set within such cells only, where the surface passes;
                       rays leap over unset ones
volume ``inside``      (x, y, z): which of the other cells lie inside the object
bank ``distance``      position in the cell, [-1, 1] -> y, one value
bank ``colour``        position in the cell, unit normal in which f grows, unit direction -> display colour
``distance_scale``     f = distance_scale * y: world units, negative inside
=====================  ==================================================================================

The search is that of the driver ``trace``, with what ``render/sphere_tracing.py`` says of banks; no network
is evaluated outside its cell. The compute host sorts rays by network between passes
(``render/cell_passes.py``), the fragment host lets each pixel fetch the weights that it needs. After Reiser
et al. 2021 (KiloNeRF), whose renderer sorts samples by network, once for eight on each ray; here it is once
for each cell that a ray crosses.
"""

from __future__ import annotations

from collections.abc import Mapping

import moderngl
import numpy as np

from render.asset import BakedAsset
from render.camera import Camera
from render.cell_passes import CellPasses, check_limits
from render.drivers.trace import composite, slot_widths, traced
from render.errors import InshaderError
from render.fields import surface_field
from render.parts import Parts, check_range
from render.ray_passes import RayPasses
from render.sphere_tracing import Array, network_cell, network_table

MODES = ("colour", "depth", "normal", "cost", "id")
HOSTS = ("compute", "fragment")


def check(asset: BakedAsset) -> None:
    """Raise InshaderError unless the parts are there and fit each other."""
    parts = Parts(asset, "compute")
    cells, occupancy, inside = (parts.volume(name) for name in ("cells", "occupancy", "inside"))
    sides = {name: "x".join(map(str, parts.volume(name).shape)) for name in ("cells", "occupancy", "inside")}
    if inside.shape != cells.shape:
        raise InshaderError(f"the volume inside is {sides['inside']}, cells is {sides['cells']}")
    times = occupancy.shape[0] // cells.shape[0]
    if times < 1 or occupancy.shape != tuple(times * n for n in cells.shape):
        raise InshaderError(
            f"the volume occupancy is {sides['occupancy']}, expected a whole multiple of {sides['cells']}"
        )
    if (inside & cells).any():
        raise InshaderError("the volume inside is set in a cell that has a network")
    held = cells.repeat(times, 0).repeat(times, 1).repeat(times, 2)
    if (occupancy & ~held).any():
        raise InshaderError("the volume occupancy is set in a cell that has no network")
    for name, slots, width in (("distance", [3], 1), ("colour", [3, 3, 3], 3)):
        spec = parts.network(name).spec
        if slot_widths(spec) != slots or spec.output_width != width:
            raise InshaderError(
                f"the network {name} must go from inputs of width {' and '.join(map(str, slots))} "
                f"to {width}, it goes from {' and '.join(map(str, slot_widths(spec)))} to {spec.output_width}"
            )
        if spec.count != cells.sum():
            raise InshaderError(
                f"the bank {name} has {spec.count} networks, the volume cells has {cells.sum()} cells"
            )
    check_range(parts, "distance_scale", 1e-6, 1e6)


def Passes(  # noqa: N802  the renderer's name for what makes them
    ctx: moderngl.Context, asset: BakedAsset, host: str, modes: Mapping[str, int]
) -> CellPasses | RayPasses:
    """The passes of a host."""
    check_limits(ctx, asset, host)
    return CellPasses(ctx, asset, modes) if host == "compute" else RayPasses(ctx, asset, host, modes)


def reference(asset: BakedAsset, camera: Camera, mode: str) -> tuple[Array, Array]:
    """The numpy twin: picture (h, w, 4), its last channel the coverage, and evaluations (h, w)."""
    cells, inside = asset.volumes["cells"], asset.volumes["inside"]
    where = asset.volumes["occupancy"], asset.bounds, camera, cells, inside
    layers, colours, u = traced(surface_field(asset), *where)
    if mode == "id":
        first = np.argmax(layers.weight > 0, 0)  # (n,)
        at = np.take_along_axis(u, first[None, :, None], 0)[0]
        cell = network_cell(at, cells.shape, asset.volumes["occupancy"].shape)
        met = layers.weight.sum(0) > 0
        network = np.where(met, network_table(cells)[tuple(cell.T)], -1).astype(np.float32)
        picture = np.concatenate([np.repeat(network[:, None], 3, 1), layers.weight.sum(0)[:, None]], 1)
    else:
        picture = composite(layers, colours, mode, np.asarray(asset.background, np.float32))
    return picture.reshape(camera.h, camera.w, 4), layers.evaluations.reshape(camera.h, camera.w)
