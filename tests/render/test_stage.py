"""The stage: its checks, its place in the asset file, and its GLSL against numpy."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import moderngl
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.numpy import load, save

from render import probe
from render.asset import BakedAsset, asset_bytes, asset_from_bytes
from render.bvh import LEAF, boxes_of, tree_order
from render.errors import InshaderError
from render.stage import MAX_SOLIDS, Environment, Solid, Stage, stage_from_json
from render.stage_tables import environment_tables, lay_out_tree, reflected

FAR = 1e30
Change = Callable[[dict[str, Any], dict[str, np.ndarray]], Any]


def full_stage() -> Stage:
    """One of each shape and of each material."""
    grey = {"albedo": np.full(3, 0.5)}
    edges = np.array([[1.0, 0, 0], [0, 2, 0]])
    vertices = np.array([[0, 0, 0], [1, 0, 0], [0, 1, 0], [0, 0, 1]], np.float32)
    faces = np.array([[0, 1, 2], [0, 3, 1]], np.int32)
    picture = np.random.default_rng(0).random((4, 8, 3), np.float32)
    box = {"centre": np.zeros(3), "axes": np.eye(3)[[2, 0, 1]], "half_size": np.ones(3)}
    return Stage(
        (
            Solid("sphere", {"centre": np.ones(3), "radius": np.array(0.5)}, "diffuse", grey),
            Solid("mesh", {}, "metal", {**grey, "roughness": np.array(0.2)}, vertices, faces),
            Solid("plane", {"point": np.zeros(3), "normal": np.ones(3)}, "diffuse", grey),
            Solid("box", box, "glass", {"ior": np.array(1.5), "tint": np.ones(3)}),
            Solid(
                "rectangle", {"corner": np.ones(3), "edges": edges}, "emission", {"radiance": np.full(3, 9)}
            ),
        ),
        Environment(np.ones(3), np.zeros(3), picture),
        "emitter",
    )


def with_stage(asset: BakedAsset, stage: Stage) -> BakedAsset:
    return BakedAsset(**{**vars(asset), "stage": stage})


def opened(data: bytes) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
    length = int.from_bytes(data[:8], "little")
    return json.loads(json.loads(data[8 : 8 + length])["__metadata__"]["inshader"]), load(data)


def closed(header: Any, tensors: dict[str, np.ndarray]) -> bytes:
    return save(tensors, metadata={"inshader": json.dumps(header)})


@pytest.fixture(scope="module")
def data(build_ball: Callable[..., BakedAsset]) -> bytes:
    return asset_bytes(with_stage(build_ball(), full_stage()))


def test_round_trip(data: bytes, build_ball: Callable[..., BakedAsset]) -> None:
    stage, again = full_stage(), asset_from_bytes(data).stage
    assert again is not None and again.to_json() == stage.to_json() and again.neural == "emitter"
    for name, tensor in stage.tensors().items():
        assert np.array_equal(again.tensors()[name], tensor)
    assert [solid.is_light for solid in again.solids] == [False] * 4 + [True]
    assert asset_from_bytes(asset_bytes(build_ball())).stage is None


CORRUPTIONS: dict[str, Change] = {
    "no dictionary": lambda h, t: h.update(stage=[1]),
    "no solids": lambda h, t: h["stage"].pop("solids"),
    "unknown shape": lambda h, t: h["stage"]["solids"][0].update(shape="cone"),
    "shape of no name": lambda h, t: h["stage"]["solids"][0].update(shape=["sphere"]),
    "unknown material": lambda h, t: h["stage"]["solids"][0].update(material="velvet"),
    "unknown reading": lambda h, t: h["stage"].update(neural="both"),
    "radius below 0": lambda h, t: h["stage"]["solids"][0]["geometry"].update(radius=-1),
    "radius of text": lambda h, t: h["stage"]["solids"][0]["geometry"].update(radius="1"),
    "huge centre": lambda h, t: h["stage"]["solids"][0]["geometry"].update(centre=[0, 1e20, 0]),
    "two numbers": lambda h, t: h["stage"]["solids"][0]["geometry"].update(centre=[0, 1]),
    "a number too many": lambda h, t: h["stage"]["solids"][0]["geometry"].update(height=1),
    "albedo above 1": lambda h, t: h["stage"]["solids"][0]["surface"].update(albedo=[1, 1, 2]),
    "flat normal": lambda h, t: h["stage"]["solids"][2]["geometry"].update(normal=[0, 0, 0]),
    "skew box": lambda h, t: h["stage"]["solids"][3]["geometry"].update(
        axes=[[1, 0, 0], [1, 0, 0], [0, 0, 1]]
    ),
    "skew rectangle": lambda h, t: h["stage"]["solids"][4]["geometry"].update(edges=[[1, 0, 0], [1, 1, 0]]),
    "a light that takes": lambda h, t: h["stage"]["solids"][4]["surface"].update(radiance=[-1, 0, 0]),
    "many solids": lambda h, t: h["stage"].update(solids=h["stage"]["solids"][:1] * (MAX_SOLIDS + 1)),
    "no faces": lambda h, t: t.pop("stage/faces_1"),
    "faces beyond": lambda h, t: t["stage/faces_1"].__setitem__((0, 0), 4),
    "negative faces": lambda h, t: t["stage/faces_1"].__setitem__((0, 0), -1),
    "real faces": lambda h, t: t.update({"stage/faces_1": t["stage/faces_1"].astype(np.float32)}),
    "no triangles": lambda h, t: t.update({"stage/faces_1": np.zeros((0, 3), np.int32)}),
    "infinite vertices": lambda h, t: t["stage/vertices_1"].__setitem__((0, 0), np.inf),
    "half vertices": lambda h, t: t.update({"stage/vertices_1": t["stage/vertices_1"][:, :2].copy()}),
    "dark picture": lambda h, t: t["stage/environment"].__setitem__((0, 0, 0), -1),
    "picture of NaN": lambda h, t: t["stage/environment"].__setitem__((0, 0, 0), np.nan),
    "no picture": lambda h, t: t.pop("stage/environment"),
    "wide picture": lambda h, t: t.update({"stage/environment": np.zeros((1, 3000, 3), np.float32)}),
    "a mesh too many": lambda h, t: t.update({"stage/vertices_0": np.zeros((1, 3), np.float32)}),
}


@pytest.mark.parametrize("name", CORRUPTIONS)
def test_corrupt_stages_are_refused(name: str, data: bytes) -> None:
    header, tensors = opened(data)
    tensors = {key: value.copy() for key, value in tensors.items()}
    CORRUPTIONS[name](header, tensors)
    with pytest.raises(InshaderError) as error:
        asset_from_bytes(closed(header, tensors))
    assert len(str(error.value)) < 400


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=9), inner, max_size=4),
    max_leaves=8,
)


@given(draws=st.data())
@settings(max_examples=60, deadline=None)
def test_no_value_breaks_the_reader(draws: st.DataObject) -> None:
    stage = full_stage()
    record = stage.to_json()
    keys = draws.draw(st.sampled_from(["solids", "environment", "neural", "solid", "geometry", "surface"]))
    value = draws.draw(json_values)
    if keys in record:
        record[keys] = value
    else:
        solid = draws.draw(st.sampled_from(record["solids"]))
        if keys == "solid":
            solid[draws.draw(st.sampled_from(sorted(solid)))] = value
        elif solid[keys]:
            solid[keys][draws.draw(st.sampled_from(sorted(solid[keys])))] = value
    try:
        stage_from_json(record, stage.tensors())
    except InshaderError:
        pass


# GLSL against numpy -----------------------------------------------------------------------------------------


def rays(count: int, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Origins within and around the unit ball, unit directions mostly through it."""
    rng = np.random.default_rng(seed)
    o = rng.normal(0, 1.2, (count, 3))
    d = rng.normal(0, 0.5, (count, 3)) - o
    return o.astype(np.float32), (d / np.linalg.norm(d, axis=1, keepdims=True)).astype(np.float32)


def glsl_hit(ctx: moderngl.Context, call: str, o: np.ndarray, d: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    code = '#include "common/shapes.glsl"\n'
    call = f"vec3 n = vec3(0.0); hit[0].w = {call}; hit[0].xyz = n;"
    found = probe.run(ctx, code, call, {"o": o, "d": d}, {"hit": 4})["hit"]
    return found[:, 3], found[:, :3]


def same_hits(found: np.ndarray, wanted: np.ndarray) -> None:
    """All but those that graze, within the rounding of float32 near the surface."""
    assert 0.1 < (wanted < FAR).mean() < 0.95
    off = np.abs(np.minimum(found, 1e3) - np.minimum(wanted, 1e3)) > 2e-4
    assert off.mean() < 0.004


def test_sphere(ctx: moderngl.Context) -> None:
    o, d = rays(2000)
    found, _ = glsl_hit(ctx, "sphere_hit(o[0].xyz, d[0].xyz, vec3(0.1, -0.2, 0.3), 0.7)", o, d)
    p = o.astype(np.float64) - [0.1, -0.2, 0.3]
    b = (p * d).sum(1)
    gap = b**2 - (p**2).sum(1) + 0.49
    root = np.sqrt(np.maximum(gap, 0))
    wanted = np.where(-b - root > 1e-5, -b - root, np.where(-b + root > 1e-5, -b + root, FAR))
    same_hits(found, np.where(gap > 0, wanted, FAR))


def test_small_spheres_far_away_keep_their_place(ctx: moderngl.Context) -> None:
    """From 1000 away a ball of 0.01 is met within 1e-4, rounding of t: the plain formula misses it at
    times."""
    aim = np.random.default_rng(1).normal(0, 0.002, (500, 3))
    o = np.float32([[1000.0, 0, 0]]).repeat(500, 0)
    d = (aim - o) / np.linalg.norm(aim - o, axis=1, keepdims=True)
    found, _ = glsl_hit(ctx, "sphere_hit(o[0].xyz, d[0].xyz, vec3(0.0), 0.01)", o, d)
    assert np.abs(found - 1000).max() < 0.0102


def test_plane_and_rectangle(ctx: moderngl.Context) -> None:
    o, d = rays(2000)
    n = np.array([0.6, 0.0, 0.8])
    found, _ = glsl_hit(ctx, "plane_hit(o[0].xyz, d[0].xyz, vec3(0.6, 0.0, 0.8), 0.25)", o, d)
    t = (0.25 - o @ n) / (d @ n)
    near = np.abs(d @ n) > 0.02  # grazing rays meet it far away, within a rounding that grows with t
    same_hits(found[near], np.where(t > 1e-5, t, FAR)[near])
    corner, a, b = np.array([-0.9, -0.8, 0.2]), np.array([1.5, 0, 0.0]), np.array([0, 1.6, 0.0])
    numbers = [f"vec3({', '.join(f'{x:.3f}' for x in v)})" for v in (corner, a, b)]
    found, normals = glsl_hit(ctx, f"rectangle_hit(o[0].xyz, d[0].xyz, {', '.join(numbers)}, n)", o, d)
    t = (0.2 - o[:, 2]) / d[:, 2]
    at = o + t[:, None] * d
    inside = (np.abs(at[:, 0] + 0.15) < 0.75) & (np.abs(at[:, 1]) < 0.8)
    same_hits(found, np.where((t > 1e-5) & inside, t, FAR))
    assert np.allclose(normals, [0, 0, 1])


def test_box(ctx: moderngl.Context) -> None:
    """A turned box: the nearest of its six faces, found one by one."""
    o, d = rays(2000)
    c, s = np.cos(0.5), np.sin(0.5)
    axes = np.array([[c, s, 0], [-s, c, 0], [0, 0, 1]])
    columns = ", ".join(f"{x:.9f}" for x in axes.ravel())
    half, centre = np.array([0.6, 0.4, 0.8]), np.array([0.1, 0.2, -0.1])
    call = f"box_hit(o[0].xyz, d[0].xyz, vec3(0.1, 0.2, -0.1), mat3({columns}), vec3(0.6, 0.4, 0.8), n)"
    found, normals = glsl_hit(ctx, call, o, d)
    p, v = (o - centre) @ axes.T, d @ axes.T
    wanted, facing = np.full(len(o), FAR), np.zeros((len(o), 3))
    for axis in range(3):
        for side in (-1, 1):
            t = (side * half[axis] - p[:, axis]) / v[:, axis]
            at = np.abs(p + t[:, None] * v)
            others = [k for k in range(3) if k != axis]
            closer = (t > 1e-5) & (at[:, others] <= half[others]).all(1) & (t < wanted)
            wanted[closer], facing[closer] = t[closer], side * axes[axis]
    same_hits(found, wanted)
    hit = (wanted < FAR) & (found < FAR)
    assert (np.abs(normals - facing)[hit].max(1) > 1e-4).mean() < 0.01  # on an edge either will do


def soup(count: int, seed: int = 2) -> np.ndarray:
    """Triangles (count, 3, 3), some large, some flat in a plane of the axes."""
    rng = np.random.default_rng(seed)
    size = rng.choice([0.05, 0.3], (count, 1, 1))
    triangles = rng.uniform(-0.8, 0.8, (count, 1, 3)) + size * rng.normal(0, 1, (count, 3, 3))
    triangles[::5, :, 2] = 0.1
    return triangles.astype(np.float32)


def brute_force(triangles: np.ndarray, o: np.ndarray, d: np.ndarray) -> np.ndarray:
    """The nearest t of each ray with any triangle: planes and edge signs, one triangle after the other."""
    nearest = np.full(len(o), FAR)
    o, d = o.astype(np.float64), d.astype(np.float64)
    for corners in triangles.astype(np.float64):
        n = np.cross(corners[1] - corners[0], corners[2] - corners[0])
        with np.errstate(divide="ignore", invalid="ignore"):
            t = (corners[0] - o) @ n / (d @ n)
            x = o + t[:, None] * d
        sides = [np.cross(corners[(k + 1) % 3] - corners[k], x - corners[k]) @ n for k in range(3)]
        nearest = np.where((np.min(sides, 0) >= 0) & (t > 1e-5) & (t < nearest), t, nearest)
    return nearest


@pytest.mark.parametrize("count", [1, 3, 4, 5, 300])
def test_tree_against_brute_force(count: int, ctx: moderngl.Context) -> None:
    triangles = soup(count)
    o, d = rays(1500, seed=3)
    tree = ctx.buffer(lay_out_tree(triangles, np.arange(count, dtype=np.float32)).tobytes())
    tree.bind_to_storage_buffer(5)
    call = """float t = 1e30; int k = bvh_hit(o[0].xyz, d[0].xyz, t, false);
        float end = t * 0.999, beyond = min(t, 1e6) * 1.001;
        hit[0] = vec4(t, k < 0 ? -1.0 : bvh_triangle(3 * k).w, 0.0, 0.0);
        hit[0].z = float(bvh_hit(o[0].xyz, d[0].xyz, end, true) >= 0 && t < 1e29);
        hit[0].w = float(bvh_hit(o[0].xyz, d[0].xyz, beyond, true) >= 0);"""
    found = probe.run(ctx, '#include "common/bvh.glsl"\n', call, {"o": o, "d": d}, {"hit": 4})["hit"]
    tree.release()
    wanted = brute_force(triangles, o, d)
    off = np.abs(np.minimum(found[:, 0], 1e3) - np.minimum(wanted, 1e3)) > 2e-4
    assert off.mean() < 0.003 and (wanted < FAR).any()
    hit = ~off & (wanted < FAR)
    assert (found[hit, 2] == 0).all() and (found[hit, 3] == 1).all()
    assert np.array_equal(found[~off, 1] < 0, wanted[~off] == FAR)


def test_tree_holds_every_triangle() -> None:
    triangles = soup(777)
    order = tree_order(triangles)
    boxes = boxes_of(triangles[order])
    leaves = len(boxes) // 2
    assert len(order) == leaves * LEAF and set(order) == set(range(777))
    for k in range(2, 2 * leaves):
        assert (boxes[k // 2, 0] <= boxes[k, 0]).all() and (boxes[k // 2, 1] >= boxes[k, 1]).all()
    corners = triangles[order].reshape(leaves, -1, 3)
    assert (boxes[leaves:, 0] == corners.min(1)).all() and (boxes[leaves:, 1] == corners.max(1)).all()
    # split along the longest axis: siblings overlap little, so that the tree is worth its name
    volume = np.prod(boxes[leaves:, 1] - boxes[leaves:, 0], -1).mean()
    assert volume < 0.05 * np.prod(boxes[1, 1] - boxes[1, 0])


# Chance -----------------------------------------------------------------------------------------------------


def test_sequence_is_stratified(ctx: moderngl.Context) -> None:
    """256 points of any stream: one in each of 256 intervals of either axis, and in each cell of every grid
    of 256 cells with sides that are powers of two: a (0, 2)-sequence in base 2."""
    index = np.arange(256, dtype=np.float32)[:, None]
    code = '#include "common/sequence.glsl"\n'
    streams = {}
    for stream in (0, 1, 77):
        call = f"x[0].xy = sequence(uint(i[0].x), hash({stream}u));"
        x = probe.run(ctx, code, call, {"i": index}, {"x": 2})["x"]
        assert (x >= 0).all() and (x < 1).all()
        for bits in range(9):
            cells = np.floor(x * [1 << bits, 256 >> bits]).astype(int)
            assert len(set(map(tuple, cells))) == 256
        streams[stream] = x
    assert np.abs(np.corrcoef(streams[0][:, 0], streams[1][:, 0])[0, 1]) < 0.3


def scattered(ctx: moderngl.Context, call: str, count: int = 64) -> np.ndarray:
    k = (np.arange(count) + 0.5) / count
    u = np.stack(np.meshgrid(k, k), -1).reshape(-1, 2)
    code = '#include "common/scatter.glsl"\n'
    return probe.run(ctx, code, call, {"u": u}, {"x": 4})["x"].astype(np.float64)


def test_cosine_and_cone(ctx: moderngl.Context) -> None:
    """Means in closed form: of the cosine 2 / 3, and of the cone's lift half its height."""
    x = scattered(ctx, "x[0].xyz = sample_cosine(u[0].xy);")
    assert np.allclose(np.linalg.norm(x[:, :3], axis=1), 1, atol=1e-5)
    assert abs(x[:, 2].mean() - 2 / 3) < 1e-3 and np.abs(x[:, :2].mean(0)).max() < 1e-3
    x = scattered(ctx, "x[0].xyz = sample_cone(u[0].xy, 0.25);")
    assert np.allclose(np.linalg.norm(x[:, :3], axis=1), 1, atol=1e-5)
    assert abs(1 - x[:, 2].mean() - 0.125) < 1e-4 and x[:, 2].min() > 0.75


@pytest.mark.parametrize("roughness", [0.3, 0.7, 1.0])
@pytest.mark.parametrize("cosine", [0.2, 0.8])
def test_rough_metal(roughness: float, cosine: float, ctx: moderngl.Context) -> None:
    """The density of what is drawn integrates to what is drawn, and the reflected part is the table's."""
    alpha = roughness**2
    w = f"vec3({np.sqrt(1 - cosine**2):.9f}, 0.0, {cosine})"
    drawn = scattered(
        ctx,
        f"x[0].xyz = reflect(-{w}, sample_ggx(u[0].xy, {w}, {alpha})); x[0].w = x[0].z > 0.0 ? 1.0 : 0.0;",
    )
    even = scattered(
        ctx,
        f"float r = sqrt(1.0 - u[0].x * u[0].x), phi = 2.0 * PI * u[0].y;"
        f"x[0].xy = ggx({w}, vec3(r * cos(phi), r * sin(phi), u[0].x), {alpha}) * 2.0 * PI;",
        512,
    ).mean(0)
    assert abs(even[1] - drawn[:, 3].mean()) < 0.02
    table = reflected()
    row, column = roughness * (table.shape[0] - 1), cosine * table.shape[1] - 0.5
    wanted = table[round(row), int(column) : int(column) + 2].mean()
    assert abs(even[0] - wanted) < 0.02


def test_fresnel(ctx: moderngl.Context) -> None:
    """Upright 4 % for glass, nothing at Brewster's angle of one polarisation, all beyond the critical
    angle."""
    cosines = np.array([1.0, np.cos(np.arctan(1.5)), 0.5, 0.01])[:, None]
    code = '#include "common/scatter.glsl"\n'
    call = "x[0].x = fresnel(c[0].x, 1.5, x[0].z); x[0].y = fresnel(c[0].x, 1.0 / 1.5, x[0].w);"
    x = probe.run(ctx, code, call, {"c": cosines}, {"x": 4})["x"]
    across = (cosines[1, 0] - 1.5 * x[1, 2]) / (cosines[1, 0] + 1.5 * x[1, 2])
    assert np.allclose(x[:2, 0], [0.04, across**2 / 2], atol=1e-5)
    assert x[3, 0] > 0.9 and np.allclose(x[2:, 1], 1) and abs(x[0, 1] - 0.04) < 1e-5


def test_environment_shares() -> None:
    """Shares add up, follow brightness and solid angle, and leave nothing out that is blended with light."""
    picture = np.zeros((8, 16, 3), np.float32)
    picture[3, 5] = 10
    table, cumulative = environment_tables(Environment(picture=picture))
    rows, within = cumulative[:8], cumulative[8:].reshape(8, 16)
    assert rows[-1] == 1 and (within[:, -1] == 1).all() and (np.diff(within) >= 0).all()
    assert abs(table[..., 3].mean() - 1) < 1e-5
    assert (table[2:5, 4:7, 3] > 1).all() and table[6, 12, 3] < 0.01
    even, _ = environment_tables(Environment(picture=np.ones((8, 16, 3), np.float32)))
    angle = np.sin(np.pi * (np.arange(8) + 0.5) / 8)
    assert np.allclose(even[:, 0, 3], angle / angle.mean(), rtol=1e-3)
