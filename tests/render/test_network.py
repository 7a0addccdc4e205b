"""NetworkSpec: numpy against finite differences, GLSL against numpy, banks, and what is refused."""

from __future__ import annotations

import moderngl
import numpy as np
import pytest

from render.encodings import ACTIVATIONS
from render.errors import InshaderError
from render.network import (
    ENCODINGS,
    Add,
    Concat,
    Linear,
    NetworkSpec,
    Normalise,
    Parameters,
    Slot,
    SquareConcat,
)
from render.network_glsl import emit, pack
from render.probe import run

RBF = (SquareConcat(), Linear(6, activation="gaussian"), Normalise(), Concat(0), Linear(1), Concat(4))
SPECS = {
    **{
        f"activation {name}": NetworkSpec((Slot("x", 5),), (Linear(6, activation=name, scale=1.5), Linear(3)))
        for name in ACTIVATIONS
    },
    **{
        f"encoding {name}": NetworkSpec((Slot("x", 3, name, 3),), (Linear(7, activation="tanh"), Linear(2)))
        for name in ENCODINGS
    },
    "two slots of odd widths": NetworkSpec(
        (Slot("x", 3, "frequency", 2), Slot("d", 3, "spherical_harmonics", 2), Slot("code", 5)), (Linear(9),)
    ),
    "rbf": NetworkSpec((Slot("x", 5),), RBF),
    "plain rbf": NetworkSpec(
        (Slot("x", 4),), (SquareConcat(), Linear(8, activation="gaussian"), Linear(4, bias=False))
    ),
    "residual": NetworkSpec(
        (Slot("x", 6),),
        (Linear(6, activation="relu"), Linear(6), Add(1), Concat(0), SquareConcat(), Linear(3)),
    ),
    "no layer with weights": NetworkSpec((Slot("x", 3),), (SquareConcat(), Normalise())),
}


def sample(spec: NetworkSpec, seed: int = 1, rows: int = 50) -> tuple[Parameters, list[np.ndarray]]:
    rng = np.random.default_rng(seed)
    parameters = {
        key: rng.normal(0, 0.6, shape).astype(np.float32) for key, shape in spec.parameter_shapes().items()
    }
    inputs = [rng.normal(0, 1, (rows, slot.width)).astype(np.float32) for slot in spec.inputs]
    for slot, x in zip(spec.inputs, inputs, strict=True):
        if slot.encoding == "spherical_harmonics":
            x /= np.linalg.norm(x, axis=-1, keepdims=True)
    if not parameters:
        inputs = [np.abs(x) for x in inputs]  # a sum that is not about 0
    return parameters, inputs


def assert_close(found: np.ndarray, wanted: np.ndarray, tolerance: float = 1e-5) -> None:
    assert found.shape == wanted.shape
    assert np.abs(found - wanted).max() <= tolerance * max(1.0, float(np.abs(wanted).max()))


@pytest.mark.parametrize("name", SPECS)
def test_jacobian_is_the_slope(name: str) -> None:
    spec = SPECS[name]
    parameters, inputs = sample(spec)
    inputs = [x.astype(np.float64) for x in inputs]
    y, slope = spec.jacobian(parameters, *inputs)
    assert np.array_equal(y, spec.evaluate(parameters, *inputs))
    column, h = 0, 1e-6
    for x in inputs:
        for k in range(x.shape[1]):
            x[:, k] += h
            up = spec.evaluate(parameters, *inputs)
            x[:, k] -= 2 * h
            down = spec.evaluate(parameters, *inputs)
            x[:, k] += h
            assert_close(slope[..., column], (up - down) / (2 * h), 1e-5)
            column += 1


@pytest.mark.parametrize("name", SPECS)
def test_glsl_agrees(name: str, ctx: moderngl.Context) -> None:
    """Value and Jacobian, with literals and with fetched weights, in one program."""
    spec = SPECS[name]
    parameters, inputs = sample(spec)
    weights = pack(spec, parameters)[0]
    code = emit(spec, "net", parameters) + emit(spec, "net", parameters, jacobian=True)
    table = ", ".join(f"vec4({', '.join(map(repr, map(float, row)))})" for row in weights) or "vec4(0)"
    code += f"const vec4 weights[{max(1, len(weights))}] = vec4[]({table});\n"
    code += (
        "vec4 bank_weight(int i) { return weights[i]; }\n"
        + emit(spec, "bank")
        + emit(spec, "bank", jacobian=True)
    )
    rng = np.random.default_rng(3)
    tangents = rng.normal(0, 1, (3, 50, spec.input_width)).astype(np.float32)
    values = {f"a{k}": x for k, x in enumerate(inputs)}
    start = 0
    for k, x in enumerate(inputs):
        for axis, tangent in zip(("dx", "dy", "dz"), tangents, strict=True):
            values[f"a{k}_{axis}"] = tangent[:, start : start + x.shape[1]]
        start += x.shape[1]
    names, outs = list(values), ("dx", "dy", "dz")
    plain = ", ".join(f"a{k}" for k in range(len(inputs)))
    dual = ", ".join(names_of(names, len(inputs)))
    call = " ".join(
        f"{f}({plain}, {f}_y); {f}_jvp({dual}, {f}_v, {f}_dx, {f}_dy, {f}_dz);" for f in ("net", "bank")
    )
    outputs = {
        f"{function}_{o}": spec.output_width for function in ("net", "bank") for o in ("y", "v", *outs)
    }
    found = run(ctx, code, call, values, outputs)
    y, slope = spec.jacobian(parameters, *inputs)
    for function in ("net", "bank"):
        assert_close(found[f"{function}_y"], y)
        assert_close(found[f"{function}_v"], y)
        for axis, tangent in zip(outs, tangents, strict=True):
            assert_close(found[f"{function}_{axis}"], np.einsum("noi,ni->no", slope, tangent))


def names_of(names: list[str], slots: int) -> list[str]:
    """Arguments of ``_jvp`` in their order: every slot with its tangents."""
    return [name for k in range(slots) for name in names if name.split("_")[0] == f"a{k}"]


def test_bank_evaluates_each_of_its_networks() -> None:
    spec = NetworkSpec((Slot("x", 5),), RBF, count=4)
    single = NetworkSpec((Slot("x", 5),), RBF)
    parameters, _ = sample(spec)
    x = np.random.default_rng(0).normal(size=(4, 10, 5)).astype(np.float32)
    y, slope = spec.jacobian(parameters, x)
    for k in range(4):
        one = {key: value[k : k + 1] for key, value in parameters.items()}
        alone, alone_slope = single.jacobian(one, x[k])
        assert_close(y[k], alone)
        assert_close(slope[k], alone_slope)


def test_bank_through_a_buffer(ctx: moderngl.Context) -> None:
    """One network per row, its weights fetched by constant indices from a buffer of ``pack``'s layout."""
    spec = NetworkSpec((Slot("x", 5),), RBF, count=8)
    parameters, _ = sample(spec)
    packed = pack(spec, parameters)  # (8, n, 4)
    x = np.random.default_rng(0).normal(size=(8, 5)).astype(np.float32)
    size = packed.shape[1]
    code = (
        "layout(std430, binding = 5) readonly buffer bank_weights { vec4 words[]; };\n"
        f"vec4 net_weight(int i) {{ return words[int(gl_GlobalInvocationID.x) * {size} + i]; }}\n"
        + emit(spec, "net")
    )
    buffer = ctx.buffer(packed.tobytes())
    buffer.bind_to_storage_buffer(5)
    found = run(ctx, code, "net(x, y);", {"x": x}, {"y": spec.output_width})["y"]
    assert_close(found, spec.evaluate(parameters, x[:, None])[:, 0])
    buffer.release()


def test_output_rows_start_at_a_vec4(ctx: moderngl.Context) -> None:
    spec = NetworkSpec((Slot("x", 3),), (Linear(15),))
    parameters, (x,) = sample(spec)
    found = run(ctx, emit(spec, "net", parameters, rows=3), "net(x, y);", {"x": x}, {"y": 24})["y"]
    y = spec.evaluate(parameters, x)
    assert_close(found.reshape(-1, 3, 8)[:, :, :5].reshape(-1, 15), y)
    assert not found.reshape(-1, 3, 8)[:, :, 5:].any()


def test_pack_is_blocks_then_bias() -> None:
    spec = NetworkSpec((Slot("x", 5),), (Linear(6),))
    weight = np.arange(30, dtype=np.float32).reshape(1, 6, 5) + 1
    bias = -np.arange(6, dtype=np.float32).reshape(1, 6) - 1
    packed = pack(spec, {"0.weight": weight, "0.bias": bias})
    assert packed.shape == (1, 2 * 2 * 4 + 2, 4)
    assert packed[0, 0].tolist() == weight[0, :4, 0].tolist()  # a column of the first block
    assert packed[0, 4].tolist() == [*weight[0, :4, 4].tolist()]  # the next block to the right
    assert packed[0, 5].tolist() == [0, 0, 0, 0]
    assert packed[0, 8].tolist() == [*weight[0, 4:, 0].tolist(), 0, 0]
    assert packed[0, 16:].ravel().tolist() == [*bias[0].tolist(), 0, 0]


def test_normalise_survives_underflow(ctx: moderngl.Context) -> None:
    spec = NetworkSpec((Slot("x", 2),), (Linear(4, activation="gaussian"), Normalise()))
    parameters = {"0.weight": np.full((1, 4, 2), -300, np.float32), "0.bias": np.zeros((1, 4), np.float32)}
    x = np.ones((1, 2), np.float32)
    found = run(ctx, emit(spec, "net", parameters), "net(x, y);", {"x": x}, {"y": 4})["y"]
    assert np.isfinite(found).all() and np.isfinite(spec.evaluate(parameters, x)).all()


def test_json_round_trip() -> None:
    for spec in SPECS.values():
        assert NetworkSpec.from_json(spec.to_json()) == spec


def test_cost_counts_products_and_squares() -> None:
    assert NetworkSpec(
        (Slot("x", 16),), (SquareConcat(), Linear(16), Normalise(), Concat(0), Linear(4))
    ).multiply_adds() == (16 + 32 * 16 + 32 * 4)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"layers": []}, "1 to 256 layers"),
        ({"layers": [{"kind": "Linear", "width": 0}]}, "out of bounds"),
        ({"layers": [{"kind": "Linear", "width": 1 << 40}]}, "out of bounds"),
        ({"layers": [{"kind": "Linear", "width": 4, "activation": "step"}]}, "out of bounds"),
        ({"layers": [{"kind": "Linear", "width": 4, "scale": float("nan")}]}, "out of bounds"),
        ({"layers": [{"kind": "Convolution", "width": 4}]}, "malformed"),
        ({"layers": [{"kind": "Concat", "source": 1}]}, "it may take 0 to 0"),
        ({"layers": [{"kind": "Linear", "width": 4}, {"kind": "Add", "source": 0}]}, "adds widths"),
        ({"layers": [{"kind": "SquareConcat"}] * 20}, "width"),
        ({"layers": 3}, "malformed"),
        ({"inputs": [{"name": "x", "width": 3, "encoding": "hash"}]}, "not one of"),
        ({"inputs": [{"name": "x", "width": 4, "encoding": "spherical_harmonics"}]}, "not one of"),
        ({"count": 1 << 20}, "count"),
        ({"count": True}, "count"),
        ({"precision": "float64"}, "precision"),
    ],
)
def test_bad_descriptions_are_refused(change: dict[str, object], message: str) -> None:
    good = NetworkSpec((Slot("x", 3),), (Linear(4),)).to_json()
    with pytest.raises(InshaderError, match=message):
        NetworkSpec.from_json({**good, **change})


@pytest.mark.parametrize(
    ("key", "value", "message"),
    [
        ("0.weight", np.zeros((1, 4, 4), np.float32), "expected"),
        ("0.bias", np.full((1, 4), np.nan, np.float32), "not a finite number"),
        ("2.bias", np.zeros((1, 4), np.float32), "expected"),
    ],
)
def test_bad_parameters_are_refused(key: str, value: np.ndarray, message: str) -> None:
    spec = NetworkSpec((Slot("x", 3),), (Linear(4),))
    parameters, _ = sample(spec)
    with pytest.raises(InshaderError, match=message):
        spec.check({**parameters, key: value})
