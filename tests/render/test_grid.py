"""GridSpec: the tiny-cuda-nn convention, slopes, the layout on the device, and GLSL against numpy."""

from __future__ import annotations

import moderngl
import numpy as np
import pytest

from render.errors import InshaderError
from render.grid import HASH_PRIMES, GridSpec, entry_index
from render.grid_glsl import emit, lay_out
from render.probe import run

SPECS = {
    "hashed": GridSpec(3, 4, 2, 8, 1.6, 10),
    "dense": GridSpec(3, 2, 2, 5, 1.5, 14),
    "plane": GridSpec(2, 4, 2, 8, 2.0, 9),
    "dense plane": GridSpec(2, 3, 4, 5, 1.7, 12),
    "plane of one feature": GridSpec(2, 3, 1, 7, 1.7, 7),
    "one feature": GridSpec(3, 3, 1, 7, 1.7, 10),
    "four features": GridSpec(3, 2, 4, 8, 2.0, 10),
    "eight features": GridSpec(2, 3, 8, 4, 2.0, 7),
    "a single cell": GridSpec(3, 1, 2, 1, 1.0, 4),
}


def sample(spec: GridSpec, rows: int = 200) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(5)
    table = rng.normal(0, 1, (spec.entries, spec.features)).astype(spec.precision)
    x = rng.random((rows, spec.dimension)).astype(np.float32)
    x[:4] = [
        [0] * spec.dimension,
        [1] * spec.dimension,
        [0.5] * spec.dimension,
        [1, *[0] * (spec.dimension - 1)],
    ]
    return table, x


def test_levels_follow_tiny_cuda_nn() -> None:
    levels = GridSpec(3, 3, 2, 16, 1.5, 12).level_list
    assert [level.scale for level in levels] == [15, 23, 35]
    assert [level.resolution for level in levels] == [16, 24, 36]
    assert [level.size for level in levels] == [4096, 4096, 4096]
    assert [level.offset for level in levels] == [0, 4096, 8192]
    assert [level.hashed for level in levels] == [False, True, True]
    assert GridSpec(2, 1, 2, 3, 1.0, 8).level_list[0].size == 16  # 9 corners, in multiples of 8


def test_entries_are_dense_or_hashed() -> None:
    dense, hashed = GridSpec(3, 2, 2, 8, 4.0, 10).level_list
    corner = np.array([[1, 2, 3], [7, 7, 7]])
    assert entry_index(dense, corner).tolist() == [1 + 2 * 8 + 3 * 64, 511]
    wanted = [
        (x * 1 ^ (y * HASH_PRIMES[1]) ^ (z * HASH_PRIMES[2])) % (1 << 10) for x, y, z in corner.tolist()
    ]
    assert entry_index(hashed, corner).tolist() == [hashed.offset + index for index in wanted]


def test_corners_keep_their_values() -> None:
    spec = SPECS["dense"]
    table, _ = sample(spec)
    level = spec.level_list[0]
    corners = np.array([[1, 2, 3], [4, 1, 2]])
    x = (corners - 0.5) / level.scale
    found = spec.evaluate(table.astype(np.float64), x)[:, : spec.features]
    assert np.allclose(found, table[entry_index(level, corners)])


@pytest.mark.parametrize("name", SPECS)
def test_jacobian_is_the_slope(name: str) -> None:
    spec = SPECS[name]
    table, x = sample(spec)
    table, x = table.astype(np.float64), x[4:].astype(np.float64)
    y, slope = spec.jacobian(table, x)
    assert np.array_equal(y, spec.evaluate(table, x))
    h = 1e-7
    for axis in range(spec.dimension):
        step = h * np.eye(spec.dimension)[axis]
        wanted = (spec.evaluate(table, x + step) - spec.evaluate(table, x - step)) / (2 * h)
        within = np.abs(slope[..., axis] - wanted) < 1e-4
        assert within.mean() > 0.99  # a point may lie within h of a face, where the slope jumps


@pytest.mark.parametrize("precision", ["float32", "float16"])
@pytest.mark.parametrize("name", SPECS)
def test_glsl_agrees(name: str, precision: str, ctx: moderngl.Context) -> None:
    old = SPECS[name]
    spec = GridSpec.from_json({**old.to_json(), "precision": precision})
    table, x = sample(spec)
    layout = lay_out(spec, table)
    buffer = ctx.buffer(layout.words.tobytes())
    buffer.bind_to_storage_buffer(5)
    code = (
        "layout(std430, binding = 5) readonly buffer table_words { uint words[]; };\n"
        "uint grid_word(uint i) { return words[i]; }\n"
        + emit(spec, "grid", layout)
        + emit(spec, "grid", layout, jacobian=True)
    )
    u = "u[0].xyz" if spec.dimension == 3 else "u[0].xy"
    call = f"grid({u}, y); grid_jvp({u}, v, dx, dy, dz);"
    found = run(ctx, code, call, {"u": x}, {key: spec.output_width for key in ("y", "v", "dx", "dy", "dz")})
    y, slope = spec.jacobian(table.astype(np.float32), x)
    assert np.array_equal(found["y"], found["v"])
    # Fixed point has 16 bits for a range of about 7; that the position is rounded matters more.
    assert np.abs(found["y"] - y).max() < (1e-5 if precision == "float32" else 2e-4) * 4
    finest = spec.level_list[-1].scale
    tolerance = (1e-5 if precision == "float32" else 4e-4) * 4 * max(finest, 1)
    at_faces = 0
    for axis, key in enumerate(("dx", "dy", "dz")[: spec.dimension]):
        wrong = np.abs(found[key] - slope[..., axis]) > tolerance
        at_faces += int(wrong.any(-1).sum())
    assert at_faces <= 2
    if spec.dimension == 2:
        assert not found["dz"].any()
    buffer.release()


def test_float16_layout_is_finer_than_float16() -> None:
    spec = GridSpec(3, 2, 2, 8, 2.0, 9, "float16")
    table, _ = sample(spec)
    layout = lay_out(spec, table)
    assert layout.low is not None and layout.step is not None
    halves = np.stack([layout.words & 65535, layout.words >> 16], -1)  # the hashed level is laid out as it is
    start, level = layout.starts[1], spec.level_list[1]
    read = layout.low[1] + layout.step[1] * halves[start : start + level.size].astype(np.float32)
    stored = table[level.offset :].astype(np.float32)
    assert np.abs(read - stored).max() <= 0.51 * layout.step[1].max()
    assert layout.step[1].max() / 2 < np.spacing(np.abs(table).max())


def test_constant_table_survives_fixed_point() -> None:
    spec = GridSpec(3, 1, 2, 4, 1.0, 6, "float16")
    layout = lay_out(spec, np.full((spec.entries, 2), 0.25, np.float16))
    assert layout.low is not None and (layout.low == 0.25).all() and not layout.words.any()


@pytest.mark.parametrize(
    "change",
    [
        {"dimension": 4},
        {"levels": 0},
        {"levels": 1 << 30},
        {"features": 3},
        {"base_resolution": 0},
        {"growth": float("inf")},
        {"growth": float("nan")},
        {"growth": 0.5},
        {"log2_table_size": 40},
        {"levels": 32, "growth": 16.0},
        {"precision": "int8"},
        {"levels": "8"},
        {"surprise": 1},
    ],
)
def test_bad_descriptions_are_refused(change: dict[str, object]) -> None:
    with pytest.raises(InshaderError):
        GridSpec.from_json({**SPECS["hashed"].to_json(), **change})


def test_bad_tables_are_refused() -> None:
    spec = SPECS["plane"]
    table, _ = sample(spec)
    with pytest.raises(InshaderError, match="expected"):
        spec.check(table[1:])
    table[3, 1] = np.nan
    with pytest.raises(InshaderError, match="finite"):
        spec.check(table)


def test_json_round_trip() -> None:
    for spec in SPECS.values():
        assert GridSpec.from_json(spec.to_json()) == spec
