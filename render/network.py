"""NetworkSpec: the one description of a small network, or of a bank of equally built ones.

From it come the names and shapes of the parameters, the numpy evaluation below, the GLSL
(``render/network_glsl.py``) and the torch module (``training/modules.py``).

A network is a list of *stages*. Stage 0 is the concatenation of the encoded input slots, in order; layer
``i`` makes stage ``i + 1`` out of stage ``i`` and, where it says so, of an earlier one. So every skip,
residual or kernel layer is a line in a list:

    Gaussian RBF decoder, normalised, with a linear term (GNF, Bouzidi et al. 2025, folded as in its code):
        SquareConcat(), Linear(16, activation="gaussian"), Normalise(), Concat(0), Linear(4)
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from render.encodings import ACTIVATIONS, SPHERICAL_HARMONICS, Array, differentiate, evaluate_polynomial
from render.errors import InshaderError

Parameters = Mapping[str, NDArray[np.floating]]

ENCODINGS = ("identity", "frequency", "spherical_harmonics")
# An asset may come from a stranger: what it may ask us to allocate or to emit ends here.
MAX_WIDTH, MAX_LAYERS, MAX_COUNT, MAX_PARAMETERS = 1024, 256, 65536, 1 << 28


@dataclass(frozen=True)
class Slot:
    """A named input.

    Attributes:
        name: argument name, for Python callers.
        width: number of values.
        encoding: ``identity``; ``frequency``: x, then sin(2^k x), cos(2^k x) for k < order (Mildenhall et al.
            2020, eq. 4, without the factor pi and with x itself, as NeuS has it); ``spherical_harmonics`` of
            a unit vector up to degree ``order`` (0..3).
        order: see encoding.
    """

    name: str
    width: int
    encoding: str = "identity"
    order: int = 0

    @property
    def encoded_width(self) -> int:
        if self.encoding == "frequency":
            return self.width * (1 + 2 * self.order)
        if self.encoding == "spherical_harmonics":
            return (self.order + 1) ** 2
        return self.width


@dataclass(frozen=True)
class Linear:
    """y = activation(W x + b). ``scale`` is what sine and softplus multiply their argument with."""

    width: int
    bias: bool = True
    activation: str = "none"
    scale: float = 1.0


@dataclass(frozen=True)
class SquareConcat:
    """y = [x, x * x]: makes a squared Mahalanobis distance a linear layer."""


@dataclass(frozen=True)
class Normalise:
    """y = x / sum(x): with a gaussian layer before it, a normalised RBF (a softmax of squared distances)."""


@dataclass(frozen=True)
class Concat:
    """y = [x, stage ``source``]."""

    source: int


@dataclass(frozen=True)
class Add:
    """y = x + stage ``source``: a residual connection."""

    source: int


Layer = Linear | SquareConcat | Normalise | Concat | Add
LAYERS = {kind.__name__: kind for kind in (Linear, SquareConcat, Normalise, Concat, Add)}
NORMALISE_FLOOR = 1e-20  # far from every kernel the sum underflows; 0/0 must not reach the picture


@dataclass(frozen=True)
class NetworkSpec:
    """Inputs, layers, and how many networks of this build there are.

    Attributes:
        inputs: slots, concatenated in this order into stage 0.
        layers: see the module docstring.
        count: 1, or the number of networks of a bank.
        precision: storage of the parameters in an asset, ``float32`` or ``float16``; arithmetic is float32.

    Raises:
        InshaderError: a layer refers to a stage that does not exist yet, or a size is out of bounds.
    """

    inputs: tuple[Slot, ...]
    layers: tuple[Layer, ...]
    count: int = 1
    precision: str = "float32"
    widths: tuple[int, ...] = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        _check_head(self)
        widths = [sum(slot.encoded_width for slot in self.inputs)]
        for index, layer in enumerate(self.layers):
            widths.append(_layer_width(index, layer, widths))
        if not all(1 <= width <= MAX_WIDTH for width in widths):
            raise InshaderError(f"network: a stage has width {max(widths)}, allowed are 1 to {MAX_WIDTH}")
        object.__setattr__(self, "widths", tuple(widths))
        total = sum(int(np.prod(shape, dtype=object)) for shape in self.parameter_shapes().values())
        if total > MAX_PARAMETERS:
            raise InshaderError(f"network: {total} parameters, allowed are {MAX_PARAMETERS}")

    @property
    def input_width(self) -> int:
        """Width of all raw slots together."""
        return sum(slot.width for slot in self.inputs)

    @property
    def output_width(self) -> int:
        return self.widths[-1]

    def parameter_shapes(self) -> dict[str, tuple[int, ...]]:
        """Names and shapes: ``"<layer>.weight"`` (count, out, in) and ``"<layer>.bias"`` (count, out)."""
        shapes: dict[str, tuple[int, ...]] = {}
        for index, layer in enumerate(self.layers):
            if isinstance(layer, Linear):
                shapes[f"{index}.weight"] = (self.count, layer.width, self.widths[index])
                if layer.bias:
                    shapes[f"{index}.bias"] = (self.count, layer.width)
        return shapes

    def multiply_adds(self) -> int:
        """Multiply-adds of one evaluation in linear layers and squares: the cost comparisons are held at."""
        cost = 0
        for index, layer in enumerate(self.layers):
            if isinstance(layer, Linear):
                cost += layer.width * self.widths[index]
            elif isinstance(layer, SquareConcat):
                cost += self.widths[index]
        return cost

    def check(self, parameters: Parameters) -> None:
        """Raise InshaderError unless ``parameters`` has exactly the right names, shapes and finite values."""
        shapes = self.parameter_shapes()
        if set(parameters) != set(shapes):
            raise InshaderError(f"network: parameters are {sorted(parameters)}, expected {sorted(shapes)}")
        for name, shape in shapes.items():
            if parameters[name].shape != shape:
                raise InshaderError(f"network: {name} has shape {parameters[name].shape}, expected {shape}")
            if not np.isfinite(parameters[name]).all():
                raise InshaderError(f"network: {name} holds a value that is not a finite number")

    def evaluate(self, parameters: Parameters, *inputs: Array) -> Array:
        """Outputs (..., out) of slot values (..., width); a bank takes and gives (count, ..., width)."""
        return self._run(parameters, inputs, None)[0]

    def jacobian(self, parameters: Parameters, *inputs: Array) -> tuple[Array, Array]:
        """Outputs (..., out) and their derivative (..., out, in) by the raw inputs, all slots in order."""
        tangents, start = [], 0
        for slot, x in zip(self.inputs, inputs, strict=True):
            eye = np.eye(slot.width, self.input_width, start, dtype=x.dtype)
            tangents.append(np.broadcast_to(eye, (*x.shape[:-1], *eye.shape)))
            start += slot.width
        y, dy = self._run(parameters, inputs, tangents)
        assert dy is not None
        return y, dy

    def _run(
        self, parameters: Parameters, inputs: tuple[Array, ...], tangents: list[Array] | None
    ) -> tuple[Array, Array | None]:
        """Forward mode: every stage is a value (..., n) and, where asked for, tangents (..., n, k)."""
        encoded = [_encode(slot, x) for slot, x in zip(self.inputs, inputs, strict=True)]
        stages = [np.concatenate(encoded, -1)]
        duals: list[Any] = [None]
        if tangents is not None:
            parts = zip(self.inputs, inputs, tangents, strict=True)
            duals = [np.concatenate([_encode_tangent(slot, x, dx) for slot, x, dx in parts], -2)]
        for index, layer in enumerate(self.layers):
            x, dx = stages[-1], duals[-1]
            y: Array
            dy: Any = None
            match layer:
                case Linear():
                    weight = parameters[f"{index}.weight"].astype(x.dtype)  # (count, out, in)
                    weight = weight.reshape(*weight.shape[:1], *(1,) * (x.ndim - 2), *weight.shape[1:])
                    weight = weight[0] if self.count == 1 else weight
                    z = (weight @ x[..., None])[..., 0]
                    if layer.bias:
                        bias = parameters[f"{index}.bias"].astype(x.dtype)
                        z = z + (
                            bias[0] if self.count == 1 else bias.reshape(self.count, *(1,) * (x.ndim - 2), -1)
                        )
                    activation = ACTIVATIONS[layer.activation]
                    y = activation.value(z, layer.scale)
                    if dx is not None:
                        dy = activation.derivative(z, layer.scale)[..., None] * (weight @ dx)
                case SquareConcat():
                    y = np.concatenate([x, x * x], -1)
                    if dx is not None:
                        dy = np.concatenate([dx, 2 * x[..., None] * dx], -2)
                case Normalise():
                    total = np.maximum(x.sum(-1, keepdims=True), NORMALISE_FLOOR)
                    y = x / total
                    if dx is not None:
                        dy = (dx - y[..., None] * dx.sum(-2, keepdims=True)) / total[..., None]
                case Concat(source):
                    y = np.concatenate([x, stages[source]], -1)
                    dy = None if dx is None else np.concatenate([dx, duals[source]], -2)
                case Add(source):
                    y = x + stages[source]
                    dy = None if dx is None else dx + duals[source]
            stages.append(y)
            duals.append(dy)
        return stages[-1], duals[-1]

    def to_json(self) -> dict[str, Any]:
        return {
            "inputs": [asdict(slot) for slot in self.inputs],
            "layers": [{"kind": type(layer).__name__, **asdict(layer)} for layer in self.layers],
            "count": self.count,
            "precision": self.precision,
        }

    @staticmethod
    def from_json(data: Any) -> NetworkSpec:
        """Inverse of ``to_json``; any malformed description is an InshaderError."""
        try:
            if len(data["layers"]) > MAX_LAYERS or len(data["inputs"]) > MAX_LAYERS:
                raise InshaderError(f"network: more than {MAX_LAYERS} layers or inputs")
            inputs = tuple(Slot(**slot) for slot in data["inputs"])
            layers = tuple(
                LAYERS[layer["kind"]](**{key: value for key, value in layer.items() if key != "kind"})
                for layer in data["layers"]
            )
            return NetworkSpec(inputs, layers, data["count"], data["precision"])
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            raise InshaderError(f"network: malformed description ({error!r})") from error


def _whole(value: object, low: int, high: int) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and low <= value <= high


def _check_head(spec: NetworkSpec) -> None:
    for slot in spec.inputs:
        fine = isinstance(slot.name, str) and slot.encoding in ENCODINGS
        fine = fine and _whole(slot.width, 1, MAX_WIDTH) and _whole(slot.order, 0, 16)
        if slot.encoding == "spherical_harmonics":
            fine = fine and slot.width == 3 and slot.order <= 3
        if not fine:
            raise InshaderError(
                f"network: input {slot!r:.120} is not one of {', '.join(ENCODINGS)} within bounds"
            )
    if not spec.inputs or not 1 <= len(spec.layers) <= MAX_LAYERS or not _whole(spec.count, 1, MAX_COUNT):
        raise InshaderError("network: it needs an input, 1 to 256 layers and a count of 1 to 65536")
    if spec.precision not in ("float32", "float16"):
        raise InshaderError(f"network: precision {spec.precision!r:.40}, expected float32 or float16")


def _layer_width(index: int, layer: Layer, widths: list[int]) -> int:
    """Width of the stage that ``layer`` makes, given the widths of the stages before it."""
    match layer:
        case Linear(width, bias, activation, scale):
            fine = _whole(width, 1, MAX_WIDTH) and isinstance(bias, bool) and activation in ACTIVATIONS
            if not (fine and isinstance(scale, (int, float)) and 0 < scale < 1e6):
                raise InshaderError(f"network: layer {index} is {layer!r:.120}, out of bounds")
            return width
        case SquareConcat():
            return 2 * widths[-1]
        case Normalise():
            return widths[-1]
        case Concat(source) | Add(source):
            if not _whole(source, 0, index):
                raise InshaderError(
                    f"network: layer {index} takes stage {source!r:.40}, it may take 0 to {index}"
                )
            if isinstance(layer, Concat):
                return widths[-1] + widths[source]
            if widths[-1] != widths[source]:
                raise InshaderError(f"network: layer {index} adds widths {widths[-1]} and {widths[source]}")
            return widths[-1]


def _encode(slot: Slot, x: Array) -> Array:
    """Values (..., width) -> (..., encoded width)."""
    if slot.encoding == "frequency":
        waves = [f(2.0**k * x) for k in range(slot.order) for f in (np.sin, np.cos)]
        return np.concatenate([x, *waves], -1).astype(x.dtype)
    if slot.encoding == "spherical_harmonics":
        basis = SPHERICAL_HARMONICS[: slot.encoded_width]
        return np.stack([evaluate_polynomial(p, x) for p in basis], -1)
    return x


def _encode_tangent(slot: Slot, x: Array, dx: Array) -> Array:
    """Tangents (..., width, k) of raw values -> (..., encoded width, k) of encoded ones."""
    if slot.encoding == "frequency":
        x = x[..., None]
        waves = [
            f(2.0**k * x) * s * 2.0**k * dx for k in range(slot.order) for f, s in ((np.cos, 1), (np.sin, -1))
        ]
        return np.concatenate([dx, *waves], -2).astype(dx.dtype)
    if slot.encoding == "spherical_harmonics":
        basis = SPHERICAL_HARMONICS[: slot.encoded_width]
        by_axis = [[evaluate_polynomial(differentiate(p, a), x) for a in range(3)] for p in basis]
        gradient = np.stack([np.stack(row, -1) for row in by_axis], -2)  # (..., encoded, 3)
        return gradient @ dx
    return dx
