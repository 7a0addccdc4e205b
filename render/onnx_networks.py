"""Networks in an ONNX graph."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from render.asset import BakedNetwork
from render.encodings import GELU, GELU_CUBIC
from render.errors import InshaderError
from render.network import Add, Concat, Linear, Slot
from render.onnx_nodes import Graph


def _encoded(graph: Graph, slot: Slot, x: str) -> str:
    """The slot's values, in the order of ``NetworkSpec``."""
    graph.scope = "rays"
    if slot.encoding == "identity":
        return x
    if slot.encoding != "frequency":
        raise InshaderError(f"the trunk encodes its points by {slot.encoding}, an .onnx can by frequency")
    parts = [x]
    for k in range(slot.order):
        angle = graph.node("Mul", x, graph.constant(2.0**k)) if k else x
        parts += [graph.node("Sin", angle), graph.node("Cos", angle)]
    return graph.node("Concat", *parts, axis=1)


def _gelu(graph: Graph, z: str) -> str:
    """Written as onnxruntime and Core ML know it, who make one operator of it."""
    constant, node = graph.constant, graph.node
    cubic = node("Mul", node("Pow", z, constant(3)), constant(GELU_CUBIC))
    tanh = node("Tanh", node("Mul", node("Add", z, cubic), constant(GELU)))
    return node("Mul", node("Mul", z, constant(0.5)), node("Add", tanh, constant(1)))


ACTIVATIONS: Mapping[str, Callable[[Graph, str, float], str]] = {
    "none": lambda graph, z, s: z,
    "relu": lambda graph, z, s: graph.node("Relu", z),
    "sigmoid": lambda graph, z, s: graph.node("Sigmoid", z),
    "tanh": lambda graph, z, s: graph.node("Tanh", z),
    "sine": lambda graph, z, s: graph.node("Sin", graph.node("Mul", z, graph.constant(s))),
    "gelu": lambda graph, z, s: _gelu(graph, z),
}


def network_in(graph: Graph, name: str, network: BakedNetwork, x: str) -> str:
    """A network of every pixel, (1, in, rows, columns) -> (1, out, rows, columns)."""
    stages = [_encoded(graph, network.spec.inputs[0], x)]
    graph.scope = name
    for index, layer in enumerate(network.spec.layers):
        x = stages[-1]
        match layer:
            case Linear():
                weight = network.parameters[f"{index}.weight"][0, :, :, None, None]
                parts = [graph.constant(weight, f"{index}.weight")]
                if layer.bias:
                    parts.append(graph.constant(network.parameters[f"{index}.bias"][0], f"{index}.bias"))
                z = graph.node("Conv", x, *parts, kernel_shape=(1, 1))
                stages.append(activated(graph, name, layer, z))
            case Concat(source):
                stages.append(graph.node("Concat", x, stages[source], axis=1))
            case Add(source):
                stages.append(graph.node("Add", x, stages[source]))
            case _:
                raise InshaderError(
                    f"layer {index} of the network {name} is a {type(layer).__name__}, an .onnx has "
                    "Linear, Concat and Add"
                )
    return stages[-1]


def activated(graph: Graph, name: str, layer: Linear, z: str) -> str:
    """z behind the activation of a layer of the network ``name``."""
    if layer.activation not in ACTIVATIONS:
        raise InshaderError(
            f"the network {name} has the activation {layer.activation}, an .onnx has {', '.join(ACTIVATIONS)}"
        )
    return ACTIVATIONS[layer.activation](graph, z, layer.scale)
