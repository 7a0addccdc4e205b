"""render-export to a mesh, in the frame of the data set, with colours where the field has them.

A ball whose distances lie in the grid, and a half-space of a bank of networks, each of which is affine.
"""

from __future__ import annotations

import io
import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import trimesh

from render import export, mesh
from render.asset import BakedAsset, BakedGrid, BakedNetwork, write_asset
from render.camera import look_at
from render.errors import InshaderError
from render.grid import GridSpec
from render.network import Linear, NetworkSpec, Slot

LOW, HIGH = np.float32([-0.8, -0.5, -0.6]), np.float32([0.6, 0.7, 0.7])
CENTRE, RADIUS = np.float32([-0.1, 0.1, 0.05]), 0.4
SCALE = 0.25  # of the distances
# z of the world is y of the file, as for a mesh with y up; the file's units are three times as large.
WORLD_FROM_SOURCE = np.array([[0, 0, 3, 0.1], [3, 0, 0, -0.2], [0, 3, 0, 0.3], [0, 0, 0, 1.0]])

Function = Callable[[np.ndarray], np.ndarray]


def ball_distance(x: np.ndarray) -> np.ndarray:
    return np.linalg.norm(x - CENTRE, axis=-1) - RADIUS


def asset_of(distance: Function, occupied: Function | None = None) -> BakedAsset:
    """A dense grid of one level whose vertices hold twice the distance, over SCALE; the decoder halves it.

    Args:
        distance: (n, 3) -> (n,) in world units.
        occupied: which cells hold the surface, by their middles; default: those within a cell of zero.
    """
    spec = GridSpec(3, 1, 1, 97, 1.0, 20)
    level = spec.level_list[0]
    axes = np.meshgrid(*[np.arange(level.resolution)] * 3, indexing="ij")
    corners = np.stack([axis.ravel() for axis in reversed(axes)], -1)  # x fastest, as the table has it
    table = np.zeros((spec.entries, 1), np.float32)
    table[: len(corners), 0] = 2 * distance(LOW + (corners - 0.5) / level.scale * (HIGH - LOW)) / SCALE
    cells = np.stack(np.meshgrid(*[np.arange(n) for n in (32, 24, 28)], indexing="ij"), -1)
    size = (HIGH - LOW) / (32, 24, 28)
    middles = LOW + (cells + 0.5) * size
    if occupied is None:
        occupancy = np.abs(distance(middles)) < np.linalg.norm(size)
    else:
        occupancy = occupied(middles)
    decoder = NetworkSpec((Slot("features", 1),), (Linear(1),))
    weights = {"0.weight": np.full((1, 1, 1), 0.5, np.float32), "0.bias": np.zeros((1, 1), np.float32)}
    return BakedAsset(
        family="gaussian_rbf",
        driver="trace",
        bounds=np.stack([LOW, HIGH]),
        networks={"decoder": BakedNetwork(decoder, weights)},
        grids={"features": BakedGrid(spec, table)},
        volumes={"occupancy": occupancy},
        constants={"distance_scale": SCALE, "albedo": (0.8, 0.7, 0.6), "ambient": 0.3},
        background=np.float32([1, 1, 1]),
        up=np.float32([0, 0, 1]),
        world_from_source=WORLD_FROM_SOURCE,
        camera=look_at([1.2, -1.6, 0.9], [0, 0, 0], [0, 0, 1], 40, 40, 0.7),
    )


@pytest.fixture(scope="module")
def ball() -> BakedAsset:
    return asset_of(ball_distance)


# Two outputs, of which neither is told to be the distance.
WIDE = BakedNetwork(
    NetworkSpec((Slot("features", 1),), (Linear(2, bias=False),)),
    {"0.weight": np.ones((1, 2, 1), np.float32)},
)


def in_source(world: np.ndarray) -> np.ndarray:
    back = np.linalg.inv(WORLD_FROM_SOURCE)
    return world @ back[:3, :3].T + back[:3, 3]


@pytest.mark.parametrize("suffix", [".ply", ".glb"])
def test_a_ball(ball: BakedAsset, suffix: str, tmp_path: Path) -> None:
    write_asset(tmp_path / "asset.safetensors", ball)
    target = tmp_path / f"ball{suffix}"
    assert export.main([str(tmp_path), "--to", str(target), "--resolution", "96"]) == 0
    made = trimesh.load(io.BytesIO(target.read_bytes()), file_type=suffix[1:], force="mesh", process=False)
    from_centre = np.asarray(made.vertices) - in_source(CENTRE)
    radii = np.linalg.norm(from_centre, axis=1)
    assert radii.min() > 0.997 * RADIUS / 3 and radii.max() < 1.003 * RADIUS / 3
    assert made.is_watertight and made.is_winding_consistent  # every vertex is shared
    assert made.volume == pytest.approx(4 / 3 * np.pi * (RADIUS / 3) ** 3, rel=0.01)  # positive: outward
    normals = np.asarray(made.vertex_normals)
    assert (normals * from_centre).sum(1).min() > 0.995 * RADIUS / 3
    stored = target.read_bytes()
    assert (b"property float nx" if suffix == ".ply" else b'"NORMAL"') in stored


# Colours ----------------------------------------------------------------------------------------------------

BY_FEATURE, BY_NORMAL, BY_DIRECTION = (
    np.float32([[0.5]] * 3),
    1.5 * np.eye(3, dtype=np.float32),
    np.float32(0.4),
)


def coloured(asset: BakedAsset) -> BakedAsset:
    """With colours sigmoid(1.5 n + 0.4 (d.x + d.y + d.z) + 0.5 feature), for the ball's one feature."""
    spec = NetworkSpec(
        (Slot("features", 1), Slot("normal", 3), Slot("direction", 3)), (Linear(3, activation="sigmoid"),)
    )
    weight = np.concatenate([BY_FEATURE, BY_NORMAL, np.full((3, 3), BY_DIRECTION)], 1)[None]
    parameters = {"0.weight": weight, "0.bias": np.zeros((1, 3), np.float32)}
    return replace(
        asset, family="kiloneus", networks={**asset.networks, "colour": BakedNetwork(spec, parameters)}
    )


def seen(normal: np.ndarray) -> np.ndarray:
    """Those colours on the surface, where the feature is 0, along the inward normal."""
    return 1 / (1 + np.exp(-(1.5 * normal - 0.4 * normal.sum(1, keepdims=True))))


def glb_parts(content: bytes) -> tuple[dict, dict[str, np.ndarray]]:
    """The scene and the arrays of a binary glTF file, by the specification rather than by a library."""
    magic, version, length = content[:4], *np.frombuffer(content[4:12], "<u4")
    assert (magic, version, length) == (b"glTF", 2, len(content))
    size = int(np.frombuffer(content[12:16], "<u4")[0])
    assert content[16:20] == b"JSON" and size % 4 == 0 and content[24 + size : 28 + size] == b"BIN\0"
    scene, data = json.loads(content[20 : 20 + size]), content[28 + size :]
    assert scene["buffers"][0]["byteLength"] == len(data)
    primitive = scene["meshes"][0]["primitives"][0]
    arrays = {}
    for name, k in [*primitive["attributes"].items(), ("indices", primitive["indices"])]:
        accessor = scene["accessors"][k]
        view = scene["bufferViews"][accessor["bufferView"]]
        assert view["byteOffset"] % 4 == 0
        kind = {5126: "<f4", 5123: "<u2", 5125: "<u4"}[accessor["componentType"]]
        part = np.frombuffer(data[view["byteOffset"] :][: view["byteLength"]], kind)
        arrays[name] = part.reshape(accessor["count"], {"SCALAR": 1, "VEC3": 3, "VEC4": 4}[accessor["type"]])
    return scene, arrays


def test_colours_of_a_ball(ball: BakedAsset) -> None:
    asset = coloured(ball)
    made = trimesh.load(io.BytesIO(mesh.mesh_file(asset, ".ply", 64)), file_type="ply", process=False)
    world = np.asarray(made.vertices) @ WORLD_FROM_SOURCE[:3, :3].T + WORLD_FROM_SOURCE[:3, 3]
    wanted = seen((world - CENTRE) / np.linalg.norm(world - CENTRE, axis=1, keepdims=True))
    assert wanted.std(0).min() > 0.1
    shown = np.asarray(made.visual.vertex_colors)[:, :3] / 255
    # The slope of the grid is that of a chord: 1 / 96 of the box against a radius of 0.4, 3 % at most, and
    # half a step of 8 bits
    assert np.abs(shown - wanted).max() < 0.03 and np.abs(shown - wanted).mean() < 0.006
    scene, arrays = glb_parts(mesh.mesh_file(asset, ".glb", 64))
    assert scene["extensionsUsed"] == ["KHR_materials_unlit"]
    assert arrays["indices"].max() == len(arrays["POSITION"]) - 1
    assert np.allclose(arrays["POSITION"], made.vertices, atol=1e-6)
    assert np.allclose(np.linalg.norm(arrays["NORMAL"], axis=1), 1, atol=1e-5)
    linear = arrays["COLOR_0"] / 65535
    assert (linear[:, 3] == 1).all()
    display = np.where(linear <= 0.0031308, 12.92 * linear, 1.055 * linear ** (1 / 2.4) - 0.055)[:, :3]
    assert np.abs(display - shown).max() <= 0.6 / 255  # rounded to 8 bits there, to 16 here


def test_clay_has_no_colours(ball: BakedAsset) -> None:
    assert b"property uchar red" not in mesh.mesh_file(ball, ".ply", 24)
    scene, arrays = glb_parts(mesh.mesh_file(ball, ".glb", 24))
    assert set(arrays) == {"POSITION", "NORMAL", "indices"} and "materials" not in scene


def half_space(normal: np.ndarray, cells: tuple[int, int, int]) -> BakedAsset:
    """The points below a plane through the middle of the box, as a bank: y is affine in a cell."""
    middle, size = (LOW + HIGH) / 2, HIGH - LOW
    at = np.stack(np.meshgrid(*[np.arange(n) for n in cells], indexing="ij"), -1)
    centres = LOW + (at + 0.5) / cells * size
    distance, reach = (centres - middle) @ normal, float(np.abs(normal * size / cells).sum()) / 2
    held = np.abs(distance) <= reach
    count = int(held.sum())
    f = NetworkSpec((Slot("x", 3),), (Linear(1),), count=count)
    c = NetworkSpec(
        (Slot("x", 3), Slot("normal", 3), Slot("direction", 3)), (Linear(3, activation="sigmoid"),), count
    )
    weight = np.zeros((count, 3, 9), np.float32)
    weight[:, 0, 0] = (size / cells / 2)[0]  # red is sigmoid(world x), through each network's bias
    weight[:, 1, 3:6], weight[:, 2, 6:] = 1, 1  # green follows the normal, blue the direction
    bias = np.zeros((count, 3), np.float32)
    bias[:, 0] = centres[held][:, 0]
    by_cell = np.repeat((normal * size / cells / 2 / SCALE)[None, None], count, 0).astype(np.float32)
    offset = (distance[held] / SCALE)[:, None].astype(np.float32)
    return replace(
        asset_of(ball_distance),
        family="kiloneus",
        driver="trace_cells",
        networks={
            "distance": BakedNetwork(f, {"0.weight": by_cell, "0.bias": offset}),
            "colour": BakedNetwork(c, {"0.weight": weight, "0.bias": bias}),
        },
        grids={},
        volumes={"cells": held, "occupancy": held, "inside": ~held & (distance < 0)},
        constants={"distance_scale": SCALE},
    )


def test_a_bank_of_networks() -> None:
    """The cut is flat and coloured by the networks it crosses, walls of the box by the cut next to them."""
    normal = np.array([0.36, 0.48, 0.8])
    asset = half_space(normal, (7, 6, 5))
    made = trimesh.load(io.BytesIO(mesh.mesh_file(asset, ".ply", 40)), file_type="ply", process=False)
    assert made.is_watertight
    world = np.asarray(made.vertices) @ WORLD_FROM_SOURCE[:3, :3].T + WORLD_FROM_SOURCE[:3, 3]
    assert made.volume == pytest.approx(np.prod(HIGH - LOW) / 2 / 27, rel=0.01)
    inner = ((world > LOW + 0.04) & (world < HIGH - 0.04)).all(1)
    assert inner.sum() > 500
    assert np.abs((world[inner] - (LOW + HIGH) / 2) @ normal).max() < 1e-4
    shown = np.asarray(made.visual.vertex_colors)[:, :3] / 255
    total = normal.sum()
    wanted = 1 / (1 + np.exp(-np.stack([world[:, 0], 0 * world[:, 0] + total, 0 * world[:, 0] - total], -1)))
    assert np.abs(shown - wanted)[inner].max() <= 0.6 / 255
    assert 0.15 < shown.min() and shown.max() < 0.9  # nothing is left black


def test_resolution_counts_cells_of_the_longest_side(ball: BakedAsset) -> None:
    for resolution in (24, 60):
        vertices, _ = mesh.extract_mesh(ball, resolution)
        world = vertices @ WORLD_FROM_SOURCE[:3, :3].T + WORLD_FROM_SOURCE[:3, 3]
        along = (world[:, 0] - LOW[0]) / (HIGH[0] - LOW[0]) * resolution
        on_planes = np.abs(along - np.rint(along)) < 1e-4  # vertices lie on edges of the lattice
        assert 0.3 < on_planes.mean() < 0.9


def test_same_as_evaluating_everywhere() -> None:
    """Two balls, one in the other, the inner one hollow: pieces of both sides, some of them inside."""

    def distance(x: np.ndarray) -> np.ndarray:
        r = np.linalg.norm(x - CENTRE, axis=-1)
        return np.maximum(r - 0.5, 0.25 - r)

    narrow = mesh.extract_mesh(asset_of(distance), 64)
    full = mesh.extract_mesh(asset_of(distance, lambda x: np.ones(x.shape[:-1], bool)), 64)
    assert np.array_equal(narrow[1], full[1]) and np.allclose(narrow[0], full[0])
    made = trimesh.Trimesh(*narrow, process=False)
    assert made.is_watertight and made.body_count == 2
    assert made.volume == pytest.approx(4 / 3 * np.pi * (0.5**3 - 0.25**3) / 27, rel=0.01)


def test_only_what_is_near_the_surface_is_evaluated(
    ball: BakedAsset, monkeypatch: pytest.MonkeyPatch
) -> None:
    count, evaluate = [], GridSpec.evaluate
    monkeypatch.setattr(
        GridSpec, "evaluate", lambda self, table, x: count.append(len(x)) or evaluate(self, table, x)
    )
    mesh.extract_mesh(ball, 64)
    assert 0 < sum(count) < 0.4 * 64 * 55 * 60


def test_a_field_that_is_wrong_in_free_cells(ball: BakedAsset) -> None:
    """Where nothing is occupied the shader never looks, so what the field holds there is no surface."""
    ghost = np.float32([0.45, 0.55, 0.55])

    def distance(x: np.ndarray) -> np.ndarray:
        return np.minimum(ball_distance(x), np.linalg.norm(x - ghost, axis=-1) - 0.05)

    haunted = asset_of(distance, lambda x: np.abs(ball_distance(x)) < 0.08)
    vertices, faces = mesh.extract_mesh(haunted, 64)
    assert trimesh.Trimesh(vertices, faces, process=False).body_count == 1
    assert np.linalg.norm(vertices - in_source(CENTRE), axis=1).max() < 1.01 * RADIUS / 3


def test_a_surface_that_leaves_the_box_is_closed() -> None:
    vertices, faces = mesh.extract_mesh(asset_of(lambda x: x[..., 2] - np.float32(0.1)), 40)
    made = trimesh.Trimesh(vertices, faces, process=False)
    assert made.is_watertight
    size = HIGH - LOW
    assert made.volume == pytest.approx(size[0] * size[1] * (0.1 - LOW[2]) / 27, rel=0.01)
    world = vertices @ WORLD_FROM_SOURCE[:3, :3].T + WORLD_FROM_SOURCE[:3, 3]
    assert (world >= LOW - 1e-6).all() and (world <= HIGH + 1e-6).all()


def test_a_mirrored_frame_keeps_outsides_outside(ball: BakedAsset) -> None:
    mirrored = replace(ball, world_from_source=np.diag([-1.0, 1, 1, 1]))
    assert trimesh.Trimesh(*mesh.extract_mesh(mirrored, 32), process=False).volume > 0


@pytest.mark.parametrize("resolution", [-1, 0, 7, 513, 10**9])
def test_resolutions_out_of_range(ball: BakedAsset, resolution: int) -> None:
    with pytest.raises(InshaderError, match=rf"--resolution {resolution}: expected 8 to 512 cells"):
        mesh.mesh_file(ball, ".ply", resolution)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda asset: asset_of(lambda x: np.ones(x.shape[:-1])), "no zero in the box"),
        (lambda asset: asset_of(lambda x: -np.ones(x.shape[:-1]), lambda x: x[..., 0] > 9), "no zero in"),
        (lambda asset: replace(asset, volumes={}), "no volume 'occupancy'"),
        (lambda asset: replace(asset, constants={}), "no constant 'distance_scale'"),
        (lambda asset: replace(asset, networks={"decoder": WIDE}), "decoder gives 2 values, trace wants 1"),
        (lambda asset: replace(asset, constants={"distance_scale": (1.0, 2.0)}), "expected one number"),
    ],
)
def test_errors_are_one_line(
    ball: BakedAsset,
    change: Callable[[BakedAsset], BakedAsset],
    message: str,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    write_asset(tmp_path / "asset.safetensors", change(ball))
    assert export.main([str(tmp_path), "--to", str(tmp_path / "a.ply"), "--resolution", "24"]) == 2
    error = capsys.readouterr().err
    assert message in error and error.count("\n") == 1
    assert not (tmp_path / "a.ply").exists()


def test_a_radiance_field_has_no_mesh(build_ball: Callable[[], BakedAsset]) -> None:
    with pytest.raises(InshaderError, match="the driver march holds no surface"):
        mesh.mesh_file(build_ball(), ".ply")


def test_resolution_is_for_meshes(
    ball: BakedAsset, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write_asset(tmp_path / "asset.safetensors", ball)
    assert export.main([str(tmp_path), "--to", str(tmp_path / "a.png"), "--resolution", "24"]) == 2
    assert "--resolution" in capsys.readouterr().err
