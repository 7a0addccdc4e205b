"""The ``trace`` driver: sphere tracing of a signed distance field, with anti-aliased edges.

What an asset must hold for it (the family is free in how it fills them):

=====================  ==================================================================================
grid ``features``      over the box, u = (x - low) / (high - low)
network ``decoder``    features, or features and u -> y, one value
volume ``occupancy``   rays leap over unset cells; set are those that come within about a cell of the surface
``distance_scale``     f = distance_scale * y: world units, negative inside
=====================  ==================================================================================

and for its colour either

=====================  ==================================================================================
network ``colour``     features, unit normal in which f grows, unit direction of the ray -> display colour
=====================  ==================================================================================

or clay:

=====================  ==================================================================================
``albedo``             display colour of the clay
``ambient``            0 to 1: colour = albedo * (ambient + (1 - ambient) * abs(dot(n, d)))
=====================  ==================================================================================

**Search.** A ray samples f in set cells only. It steps by abs(f), by up to 1 / ``SLOWEST`` of that where f
fell less than the step before (the planar assumption, after Balint and Valasek 2018, without their way
back), but by no more than a cell's diagonal; and by r more, half a pixel's width, so that it does not creep.
f changes sign between two samples: they bracket a hit, whose place is their secant's; a bracket that is
``WIDE`` is narrowed once before. The last correction, one step of Newton's, comes with the normal, which is
the analytic gradient. The first sample tells the side that the ray starts on, so a camera inside the object
sees its inner wall.

**Edges** (a choice). A straight edge at a distance s from a pixel's centre covers 0.5 - s / (2 r) of it, s
below 0 where the centre is covered. For a ray that comes within r and leaves again, s is the smallest f. For
one that enters, unless it does so frontally, a sample behind the surface is taken: a parabola through it and
the bracket tells how deep the ray goes, and that over the sine of the angle between ray and normal is -s
(good for spheres much larger than a pixel, and for symmetric wedges). Either is divided by the length of the
gradient, which is 1 only of true distances. A layer that does not cover all lets the ray go on, through
``LAYERS`` at most; a hit in the last one covers all.

``trace_rays``, in ``render/sphere_tracing.py``, is the numpy twin of ``shaders/drivers``, for any field.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from render.asset import BakedAsset
from render.camera import Camera
from render.errors import InshaderError
from render.fields import SurfaceField, shade, surface_field
from render.network import NetworkSpec
from render.parts import Parts, check_range
from render.ray_passes import RayPasses
from render.sphere_tracing import LAYERS, Array, Cells, Layers, pixel_cones, trace_rays

__all__ = [  # what is known under this module's name, though it stands elsewhere
    "HOSTS",
    "MODES",
    "Layers",
    "Passes",
    "check",
    "composite",
    "pixel_cones",
    "reference",
    "shade",
    "trace_rays",
    "traced",
]
MODES = ("colour", "depth", "normal", "cost")
HOSTS = ("compute", "fragment")
Passes = RayPasses


def check(asset: BakedAsset) -> None:
    """Raise InshaderError unless the parts are there and fit each other."""
    parts = Parts(asset, "compute")
    grid, decoder = parts.grid("features").spec, parts.network("decoder").spec
    parts.volume("occupancy")
    if grid.dimension != 3:
        raise InshaderError(f"the grid features has {grid.dimension} dimensions, trace wants 3")
    width = grid.output_width
    if decoder.count != 1 or slot_widths(decoder) not in ([width], [width, 3]):
        raise InshaderError(
            f"the network decoder must be a single one with one input of width {width}, or a second one of 3"
        )
    if decoder.output_width != 1:
        raise InshaderError(f"the network decoder gives {decoder.output_width} values, trace wants 1")
    check_range(parts, "distance_scale", 1e-6, 1e6)
    if "colour" in asset.networks:
        colour = parts.network("colour").spec
        if colour.count != 1 or slot_widths(colour) != [width, 3, 3] or colour.output_width != 3:
            raise InshaderError(
                f"the network colour must be a single one from inputs of width {width}, 3 and 3 to 3 values"
            )
        return
    check_range(parts, "ambient", 0, 1)
    albedo = parts.constant("albedo")
    if not (isinstance(albedo, tuple) and len(albedo) == 3 and all(0 <= value <= 1 for value in albedo)):
        raise InshaderError(f"the constant albedo is {albedo!r:.60}, expected three numbers from 0 to 1")


def slot_widths(spec: NetworkSpec) -> list[int]:
    """Widths of the inputs."""
    return [slot.width for slot in spec.inputs]


def composite(layers: Layers, colours: Sequence[Array], mode: str, background: Array) -> Array:
    """Pictures (n, 4) of rays, the last channel the coverage.

    Args:
        colours: (n, 3) for each layer; only the mode ``colour`` reads them.
    """
    w = layers.weight[..., None]  # (LAYERS, n, 1)
    coverage: Array = w.sum(0)
    if mode == "colour":
        picture = (w * np.stack(colours)).sum(0) + (1 - coverage) * background
    elif mode == "normal":
        normal = (w * layers.normal).sum(0)
        picture = normal / np.sqrt(np.maximum((normal**2).sum(-1, keepdims=True), 1e-30))
    elif mode == "depth":
        depth = (w[..., 0] * layers.t).sum(0)[:, None]
        depth = np.divide(depth, coverage, out=np.zeros_like(depth), where=coverage > 0)
        picture = np.repeat(depth, 3, 1)
    else:
        picture = np.repeat(layers.evaluations[:, None], 3, 1)
    return np.concatenate([picture, coverage], -1).astype(np.float32)


def traced(
    field: SurfaceField,
    occupancy: Cells,
    bounds: Array,
    camera: Camera,
    cells: Cells | None = None,
    inside: Cells | None = None,
) -> tuple[Layers, list[Array], Array]:
    """What the rays of a picture meet, the colours (n, 3) of each layer, and where it is: (LAYERS, n, 3)."""
    rays_o, rays_d = (part.reshape(-1, 3) for part in camera.rays())
    low, size = bounds[0], bounds[1] - bounds[0]
    layers = trace_rays(
        *(field.distance, field.gradient, occupancy, low, size, rays_o, rays_d),
        *(pixel_cones(camera, rays_d), cells, inside),
    )
    u = np.clip((rays_o - low) / size + layers.t[..., None] * (rays_d / size), 0, 1).astype(np.float32)
    colours = []
    for layer in range(LAYERS):
        met = layers.weight[layer] > 0
        rgb = np.zeros((len(rays_d), 3), np.float32)
        rgb[met] = field.colour(u[layer, met], layers.normal[layer, met], rays_d[met])
        colours.append(rgb)
    return layers, colours, u


def reference(asset: BakedAsset, camera: Camera, mode: str) -> tuple[Array, Array]:
    """The numpy twin: picture (h, w, 4), its last channel the coverage, and evaluations (h, w)."""
    field, occupancy = surface_field(asset), asset.volumes["occupancy"]
    layers, colours, _ = traced(field, occupancy, asset.bounds, camera)
    picture = composite(layers, colours, mode, np.asarray(asset.background, np.float32))
    return picture.reshape(camera.h, camera.w, 4), layers.evaluations.reshape(camera.h, camera.w)
