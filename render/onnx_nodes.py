"""An ONNX graph under construction."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from render.asset import BakedAsset
from render.camera import Camera
from render.errors import require

if TYPE_CHECKING:
    from onnx import ModelProto

OPSET, IR_VERSION = 13, 7  # what onnxruntime reads since 1.7
INPUT, OUTPUT = "world_from_camera", "picture"


class Graph:
    """Nodes and constants; a tensor is told by its name."""

    def __init__(self) -> None:
        self.onnx = require("onnx", "onnx")
        self.nodes: list[Any] = []
        self.constants: dict[str, NDArray[Any]] = {}
        self.scope = ""
        self.opset, self.ir_version = OPSET, IR_VERSION

    def node(self, op: str, *inputs: str, **attributes: Any) -> str:
        """Append an operator with one output, and name that."""
        name = f"{self.scope}/{op}_{len(self.nodes)}"
        self.nodes.append(self.onnx.helper.make_node(op, inputs, [name], name, **attributes))
        return name

    def constant(self, value: ArrayLike, name: str = "", dtype: type = np.float32) -> str:
        """Store a tensor, weights under the ``name`` that the asset has for them; return its full name."""
        name = f"{self.scope}/{name or len(self.constants)}"
        self.constants[name] = np.ascontiguousarray(value, dtype)
        return name

    def slice(
        self, x: str, starts: tuple[int, ...], ends: tuple[int, ...], axes: tuple[int, ...] = (0, 1)
    ) -> str:
        """x[starts[0]:ends[0], starts[1]:ends[1], ..] along ``axes``."""
        return self.node("Slice", x, *(self.constant(n, dtype=np.int64) for n in (starts, ends, axes)))

    def flat(self, x: str) -> str:
        """x as one axis."""
        return self.node("Reshape", x, self.constant([-1], dtype=np.int64))

    def whole(self, x: str) -> str:
        """x, rounded towards zero, as int64."""
        return self.node("Cast", x, to=self.onnx.TensorProto.INT64)

    def total(self, x: str, axis: int, keepdims: int = 0) -> str:
        """The sum of x along an axis."""
        return self.node("ReduceSum", x, self.constant([axis], dtype=np.int64), keepdims=keepdims)

    def model(self, picture: str, camera: Camera, asset: BakedAsset) -> ModelProto:
        """The whole, with ``picture`` as its output."""
        helper = self.onnx.helper
        self.nodes.append(helper.make_node("Identity", [picture], [OUTPUT], OUTPUT))
        kind = self.onnx.TensorProto.FLOAT
        pose = "pose of the camera (x right, y up, looking down -z) in the asset's world"
        colours = "display colours in [0, 1]; channels, rows from the top, columns"
        graph = helper.make_graph(
            self.nodes,
            "light_field",
            [helper.make_tensor_value_info(INPUT, kind, (4, 4), pose)],
            [helper.make_tensor_value_info(OUTPUT, kind, (1, 3, camera.h, camera.w), colours)],
            [self.onnx.numpy_helper.from_array(array, name) for name, array in self.constants.items()],
        )
        model: ModelProto = helper.make_model(
            graph,
            producer_name="inshader",
            ir_version=self.ir_version,
            opset_imports=[helper.make_opsetid("", self.opset)],
        )
        facts = {
            "camera": camera.to_json(),
            "up": asset.up.tolist(),
            "world_from_source": asset.world_from_source.tolist(),
            **{name: asset.constants[name] for name in ("manifold",) if name in asset.constants},
        }
        helper.set_model_props(model, {name: json.dumps(fact) for name, fact in facts.items()})
        return model
