"""A light field as one ONNX graph: a camera's pose in, a picture out.

    world_from_camera  float32 (4, 4)        as in ``Camera``: OpenGL's axes, in the asset's world
    picture            float32 (1, 3, h, w)  display colours in [0, 1], row 0 at the top

Planes before rows, as phones' and browsers' libraries take pictures. The size and the lens are fixed: they
are those of the camera that the graph is made for, whose pixels must be those that the networks were trained
at. All else, from the rays of the map on, is computed by the graph: what ``RayPoints.of_camera`` or
``Gather.evaluate`` computes, and ``LightField.evaluate``, in float32, by standard operators of opset 13
(2021), or 18 where the trunk takes what is gathered of a grid.

Of operators that do the same, those were taken that onnxruntime's execution provider for Core ML knows as
well; layers are convolutions of 1 x 1, which accelerators are made for and which are as fast as matrix
products on a CPU.

Points and their waves need float32, whatever the rest is computed in: at a frequency of 32, float16 is wrong
by some hundredths of a radian. The names of these nodes begin with ``rays/``.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from render.asset import BakedAsset
from render.camera import Camera
from render.errors import InshaderError
from render.light_field import LightField, Step
from render.light_field_gather import Gather
from render.light_field_rays import RayPoints, pitch_of, ray_map
from render.network import Linear
from render.onnx_networks import activated, network_in
from render.onnx_nodes import Graph
from render.onnx_rays import gathered, points_of

if TYPE_CHECKING:
    from onnx import ModelProto

MAX_BYTES = (1 << 31) - (1 << 27)  # of weights: what a protobuf message holds, less what rays may take


def onnx_model(asset: BakedAsset, camera: Camera) -> ModelProto:
    """The graph of an asset's light field, for views with the size and the lens of ``camera``.

    Its metadata have what an application needs besides, as JSON: ``camera`` (a first view, and the lens that
    all views have), ``up``, ``world_from_source`` and ``manifold``, which cameras it was trained for, where
    the asset tells.

    Raises:
        InshaderError: the asset is no light field, it has a layer that no light field has, or the pixels of
            ``camera`` are not those that it was trained at.
    """
    if asset.driver != "lightfield":
        raise InshaderError(f"an .onnx is written of light fields, the asset's driver is {asset.driver}")
    light_field = LightField.of(asset.networks)
    gather = Gather.of(asset)
    view = ray_map(camera, pitch_of(asset), light_field.factor)
    if not view.exact:
        raise InshaderError(_other_pixels(camera, asset, light_field.factor))
    weights = sum(4 * array.size for _, part in light_field.parts() for array in part.parameters.values())
    if weights >= MAX_BYTES:
        raise InshaderError(f"the networks take {weights} bytes in float32, an .onnx holds {MAX_BYTES}")
    graph = Graph()
    if gather is None:
        x = points_of(graph, RayPoints.of(asset), view, light_field.factor)  # (K, 3, rays)
    else:
        x = gathered(graph, gather, view, light_field.factor)  # (F + 4, rays)
    x = graph.node("Reshape", x, graph.constant([1, -1, view.rows, view.columns], dtype=np.int64))
    x = network_in(graph, "trunk", light_field.trunk, x)
    for number, step in enumerate(light_field.steps):
        x = _upsample(graph, f"up_{number}", step, x)
        x = network_in(graph, f"refine_{number}", step.refine, x)
    if (view.camera.h, view.camera.w) != (camera.h, camera.w):
        x = graph.slice(x, (0, 0), (camera.h, camera.w), (2, 3))
    return graph.model(x, camera, asset)


def _other_pixels(camera: Camera, asset: BakedAsset, factor: int) -> str:
    """One line on a camera that is not at the pitch, with the size that would be, where there is one."""
    pitch = pitch_of(asset)
    text = (
        f"an .onnx draws at the focal lengths that were trained, {pitch[0]:g} and {pitch[1]:g} pixels, the "
        f"camera has {camera.fl_x:g} and {camera.fl_y:g}"
    )
    w, h = round(camera.w * pitch[0] / camera.fl_x), round(camera.h * pitch[1] / camera.fl_y)
    fits = 1 <= min(w, h) and max(w, h) <= 32768 and ray_map(camera.resized(w, h), pitch, factor).exact
    return f"{text}: use --size {w}x{h}" if fits else text


def _upsample(graph: Graph, name: str, step: Step, x: str) -> str:
    """(1, in, rows, columns) -> (1, out, rows * factor, columns * factor) by a transposed convolution."""
    graph.scope = name
    (layer,) = step.bank.spec.layers
    assert isinstance(layer, Linear)  # LightField.of has looked
    parts = [graph.constant(step.kernel(), "0.weight")]
    if layer.bias:
        bias = step.bank.parameters["0.bias"]
        if (bias != bias[0]).any():
            raise InshaderError(f"the biases of the bank {name} differ, a transposed convolution has one")
        parts.append(graph.constant(bias[0], "0.bias"))
    padding = step.taps - 1
    z = graph.node(
        "ConvTranspose",
        x,
        *parts,
        kernel_shape=(step.factor * step.taps,) * 2,
        strides=(step.factor,) * 2,
        pads=(padding,) * 4,
    )
    return activated(graph, name, layer, z)
