"""The ``shell`` driver: a learnt envelope of two meshes, and a few samples of a field within it.

What an asset must hold for it, besides the field of ``render/shell_field.py``:

=====================  ==================================================================================
mesh ``outer``         around all that is seen; a ray is sampled where it is within
mesh ``inner``         within what is opaque: rays end there, and the last sample takes all; may be empty
``single_width``,      an interval up to ``single_width`` gets one sample, another for each ``spacing`` begun
``spacing``            beyond that, in world units, contracted ones where the scene is
``max_samples``        of an interval
``max_hits``           of a pixel, kept in a list; pixels with more are drawn by casting their rays
``stop``               a ray ends after the sample that brings its transmittance below this
=====================  ==================================================================================

Where the samples stand is said in ``render/intervals.py``. ``reference`` is the numpy twin of the shaders.
Modes of its own: ``thickness``, the length of a ray within the shell, world units; ``wire``, the edges of
both meshes' faces that are turned to the camera.

Source: Wang et al., *Adaptive Shells for Efficient Neural Radiance Field Rendering*, 2023, section 3.4.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import moderngl
import numpy as np
from numpy.typing import NDArray

from render.animation import Deformation, check_deformation
from render.asset import BakedAsset, BakedMesh
from render.cage import Pose, locate, rest_directions, rest_points, world_normals
from render.camera import Camera
from render.contraction import contract
from render.errors import InshaderError
from render.intervals import (
    NEAR,
    Intervals,
    Samples,
    contracted_widths,
    in_box,
    intervals_from_hits,
    samples_of,
)
from render.mesh_hits import camera_hits
from render.parts import Parts, check_range
from render.shell_field import ShellField, check_field
from render.shell_passes import LINE_WIDTH, WIRES, ComputePasses, FragmentPasses

MODES = ("colour", "depth", "normal", "cost", "thickness", "wire")
HOSTS = ("compute", "fragment")
MAX_FACES = 1 << 20  # of a mesh: 64 MB on the device
Array = NDArray[np.float32]


def check(asset: BakedAsset) -> None:
    """Raise InshaderError unless the parts are there and fit each other."""
    parts = Parts(asset, "compute")
    check_field(parts)
    for name, low, high in (("single_width", 0, 1e3), ("spacing", 1e-6, 1e3), ("stop", 0, 1)):
        check_range(parts, name, low, high)
    for name in ("max_samples", "max_hits"):
        check_range(parts, name, 1, 64)
        if not isinstance(parts.number(name), int):
            raise InshaderError(f"the constant {name} is {parts.number(name)!r}, expected a whole number")
    for name in ("outer", "inner"):
        if name not in asset.meshes:
            raise InshaderError(
                f"the asset has no mesh {name!r}, it has {', '.join(sorted(asset.meshes)) or 'none'}"
            )
        if len(asset.meshes[name].faces) > MAX_FACES:
            raise InshaderError(
                f"the mesh {name} has {len(asset.meshes[name].faces)} faces, at most {MAX_FACES} are drawn"
            )
    if not len(asset.meshes["outer"].faces):
        raise InshaderError("the mesh outer has no faces: there is nothing to draw")


def Passes(  # noqa: N802  the renderer's name for what makes them
    ctx: moderngl.Context, asset: BakedAsset, host: str, modes: Mapping[str, int]
) -> ComputePasses | FragmentPasses:
    """The passes of a host."""
    return (ComputePasses if host == "compute" else FragmentPasses)(ctx, asset, modes)


def read_state(state: Mapping[str, Any]) -> Deformation | None:
    """What ``Renderer.draw`` takes as its state for this driver: a ``deformation``, or None.

    Raises:
        InshaderError: a key or a value that is none.
    """
    for key, value in state.items():
        if key != "deformation":
            raise InshaderError(f"the driver shell has no state {key!r:.40}, it knows deformation")
        if value is not None and not isinstance(value, Deformation):
            raise InshaderError(
                f"state deformation: found {type(value).__name__}, expected one of render.animation"
            )
    return state.get("deformation")


def reference(
    asset: BakedAsset, camera: Camera, mode: str, deformation: Deformation | None = None
) -> tuple[Array, Array]:
    """The numpy twin: picture (h, w, 4), its last channel the coverage, and evaluations (h, w)."""
    if deformation is not None:
        check_deformation(asset, deformation)
        asset = replace(asset, meshes=deformation.meshes)
    shape = camera.h, camera.w
    if mode == "wire":
        return _wires(asset, camera).reshape(*shape, 4), np.zeros(shape, np.float32)
    rays_o, rays_d = (x.reshape(-1, 3) for x in camera.rays())
    intervals, samples = shell_samples(asset, camera)
    picture, cost = _composite(asset, rays_o, rays_d, samples, mode, deformation)
    if mode == "thickness":
        length = np.zeros(len(rays_d), np.float32)
        np.add.at(length, intervals.rays, intervals.t_ends - intervals.t_starts)
        picture[:, :3] = length[:, None]
    return picture.reshape(*shape, 4), cost.reshape(shape)


def shell_samples(asset: BakedAsset, camera: Camera) -> tuple[Intervals, Samples]:
    """Intervals and samples of the rays through all pixel centres, row by row."""
    rays_o, rays_d = (x.reshape(-1, 3) for x in camera.rays())
    parts = Parts(asset, "compute")
    inner = camera_hits(asset.meshes["inner"], camera, NEAR)
    solid = np.full(len(rays_d), np.inf, np.float32)
    np.minimum.at(solid, inner.ray, inner.t)
    hits = camera_hits(asset.meshes["outer"], camera, NEAR)
    within = in_box(asset.meshes["outer"].vertices, rays_o)
    intervals = intervals_from_hits(*hits.rows(len(rays_d)), solid, may_begin_within=within)
    widths = contracted_widths(intervals, rays_o, rays_d) if parts.number("contracted") else None
    single_width, spacing = parts.number("single_width"), parts.number("spacing")
    return intervals, samples_of(intervals, single_width, spacing, int(parts.number("max_samples")), widths)


def _composite(
    asset: BakedAsset,
    rays_o: Array,
    rays_d: Array,
    samples: Samples,
    mode: str,
    deformation: Deformation | None,
) -> tuple[Array, Array]:
    """Pictures (n, 4) and evaluations (n,) of rays, sample by sample over all of them."""
    field, parts = ShellField(asset), Parts(asset, "compute")
    contracted = parts.number("contracted") == 1
    stop = -1.0 if mode == "thickness" else parts.number("stop")
    value: NDArray[np.floating] = np.zeros((len(rays_d), 3), np.float32)
    transmittance = np.ones(len(rays_d), np.float32)
    coverage, cost = np.zeros((2, len(rays_d)), np.float32)
    counts = np.diff(samples.offsets)
    for step in range(counts.max(initial=0)):
        alive = np.nonzero((step < counts) & ((step == 0) | (transmittance >= np.float32(stop))))[0]
        if not len(alive):
            break
        at = samples.offsets[alive] + step
        o, d, t, delta = rays_o[alive], rays_d[alive], samples.t[at], samples.delta[at]
        x, along, tetrahedra = o + t[:, None] * d, d, np.zeros(0, np.int64)
        if deformation is not None:
            x, along, tetrahedra = _at_rest(deformation.pose, x, d)
            d = along / np.maximum(np.linalg.norm(along, axis=-1, keepdims=True), np.float32(1e-30))
        v = delta[:, None] * along
        if contracted:
            before, after = (contract((x + s * v).astype(np.float32)) for s in (-0.5, 0.5))
            x, v = contract(x), after - before
        y = field.evaluate(np.clip((x - field.low) / field.size, 0, 1).astype(np.float32))
        kept = np.where(samples.closed[at], np.float32(0), np.exp(-field.optical(y, v)))
        w = transmittance[alive] * (1 - kept)
        if mode == "depth":
            value[alive] += (w * t)[:, None]
        elif mode == "normal":
            n = field.normal(y).astype(np.float64)
            value[alive] += w[:, None] * (
                n if deformation is None else world_normals(deformation.pose, tetrahedra, n)
            )
        else:
            value[alive] += w[:, None] * field.colour(y, d)
        coverage[alive] += w
        transmittance[alive] *= kept
        cost[alive] += 1
    if mode == "colour":
        value = value + transmittance[:, None] * np.asarray(asset.background, np.float32)
    elif mode == "depth":
        value = value / np.maximum(coverage, np.float32(1e-30))[:, None]
    elif mode == "normal":
        value = value / np.maximum(np.linalg.norm(value, axis=-1, keepdims=True), np.float32(1e-15))
    elif mode == "cost":
        value = np.repeat(cost[:, None], 3, 1)
    return np.concatenate([value, coverage[:, None]], -1).astype(np.float32), cost


def _at_rest(pose: Pose, x: Array, d: Array) -> tuple[Array, Array, NDArray[np.int64]]:
    """Points and directions (n, 3) of the deformed world as they were at rest, and their tetrahedra (n,)."""
    places = x.astype(np.float64)
    tetrahedra, _ = locate(pose, places)
    at_rest = rest_points(pose, tetrahedra, places), rest_directions(pose, tetrahedra, d.astype(np.float64))
    return at_rest[0].astype(np.float32), at_rest[1].astype(np.float32), tetrahedra


def _wires(asset: BakedAsset, camera: Camera) -> Array:
    """Pictures (pixels, 4) of both meshes' edges, as ``shell_wire.frag`` draws them."""
    rays_o, rays_d = (x.reshape(-1, 3) for x in camera.rays())
    picture = np.zeros((camera.w * camera.h, 4), np.float32)
    for name, colour in WIRES.items():
        mesh: BakedMesh = asset.meshes[name]
        hits = camera_hits(mesh, camera, NEAR)
        ray, face = hits.ray[hits.entering], hits.face[hits.entering]
        corners = mesh.vertices[mesh.faces[face]] - rays_o[ray][:, None]  # (n, 3, 3)
        n = np.cross(corners, np.roll(corners, -1, 1))
        along = np.abs((n * rays_d[ray][:, None]).sum(-1))
        gap = (along / np.maximum(np.linalg.norm(n, axis=-1), 1e-12)).min(1) * camera.fl_y
        drawn = np.clip(LINE_WIDTH + 0.5 - gap, 0, 1)
        np.maximum.at(picture, ray, (drawn[:, None] * [*colour, 1]).astype(np.float32))
    return picture
