"""The asset file: round trip, and that nothing but InshaderError comes out of a bad one."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from safetensors.numpy import load, save

from render.asset import (
    MAX_MESH,
    BakedAsset,
    BakedMesh,
    asset_bytes,
    asset_from_bytes,
    asset_path,
    read_asset,
    write_asset,
)
from render.errors import InshaderError

Change = Callable[[dict[str, Any], dict[str, np.ndarray]], None]


def opened(data: bytes) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
    """The 'inshader' header and the tensors of a file."""
    length = int.from_bytes(data[:8], "little")
    outer = json.loads(data[8 : 8 + length])
    return json.loads(outer["__metadata__"]["inshader"]), load(data)


def closed(header: Any, tensors: dict[str, np.ndarray]) -> bytes:
    return save(tensors, metadata={"inshader": json.dumps(header)})


TETRAHEDRON = BakedMesh(
    np.float32([[0, 0, 0], [1, 0, 0], [0, 1, 0], [0, 0, 1]]),
    np.uint32([[0, 2, 1], [0, 1, 3], [0, 3, 2], [1, 2, 3]]),
)
NOTHING = BakedMesh(np.zeros((0, 3), np.float32), np.zeros((0, 3), np.uint32))


@pytest.fixture(scope="module")
def data(build_noise: Callable[..., BakedAsset]) -> bytes:
    return asset_bytes(replace(build_noise(), meshes={"outer": TETRAHEDRON, "inner": NOTHING}))


@pytest.mark.parametrize("precision", ["float32", "float16"])
def test_round_trip(precision: str, build_noise: Callable[..., BakedAsset], tmp_path: Path) -> None:
    asset = build_noise(precision)
    size = write_asset(tmp_path / "asset.safetensors", asset)
    assert size == (tmp_path / "asset.safetensors").stat().st_size
    again = read_asset(asset_path(tmp_path))
    assert again.precision == precision
    assert (again.family, again.driver, again.constants, again.scene) == (
        asset.family,
        asset.driver,
        asset.constants,
        asset.scene,
    )
    for name, tensor in asset.tensors().items():
        assert np.array_equal(again.tensors()[name], tensor)
        assert again.tensors()[name].dtype == tensor.dtype
    assert np.array_equal(again.volumes["occupancy"], asset.volumes["occupancy"])
    assert np.array_equal(again.bounds, asset.bounds) and np.array_equal(again.background, asset.background)
    assert again.camera.to_json() == asset.camera.to_json() and len(again.held_out) == 1
    assert asset_bytes(again) == asset_bytes(asset)


def test_meshes_round_trip(data: bytes) -> None:
    asset = asset_from_bytes(data)
    assert set(asset.meshes) == {"outer", "inner"}
    for name, mesh in (("outer", TETRAHEDRON), ("inner", NOTHING)):
        found = asset.meshes[name]
        assert np.array_equal(found.vertices, mesh.vertices) and found.vertices.dtype == np.float32
        assert np.array_equal(found.faces, mesh.faces) and found.faces.dtype == np.uint32
    assert asset_bytes(asset) == data


def test_wider_numbers_of_meshes_are_stored_narrow(build_noise: Callable[..., BakedAsset]) -> None:
    wide = BakedMesh(TETRAHEDRON.vertices.astype(np.float64), TETRAHEDRON.faces.astype(np.int64))  # type: ignore[arg-type]
    again = asset_from_bytes(asset_bytes(replace(build_noise(), meshes={"outer": wide})))
    assert np.array_equal(again.meshes["outer"].faces, TETRAHEDRON.faces)


def test_files_without_meshes_are_read(data: bytes) -> None:
    header, tensors = opened(data)
    del header["meshes"]
    kept = {name: tensor for name, tensor in tensors.items() if not name.startswith("meshes/")}
    assert asset_from_bytes(closed(header, kept)).meshes == {}


def test_half_precision_halves_the_file(build_noise: Callable[..., BakedAsset]) -> None:
    sizes = [sum(t.nbytes for t in build_noise(p).tensors().values()) for p in ("float16", "float32")]
    assert sizes[0] < 0.6 * sizes[1]


def set_header(*path: str | int, value: Any) -> Change:
    def change(header: dict[str, Any], tensors: dict[str, np.ndarray]) -> None:
        target: Any = header
        for key in path[:-1]:
            target = target[key]
        target[path[-1]] = value

    return change


def drop(key: str) -> Change:
    return lambda header, tensors: header.pop(key)


def set_tensor(name: str, function: Callable[[np.ndarray], np.ndarray]) -> Change:
    def change(header: dict[str, Any], tensors: dict[str, np.ndarray]) -> None:
        tensors[name] = np.ascontiguousarray(function(tensors[name]))

    return change


def with_nan(array: np.ndarray) -> np.ndarray:
    array = array.copy()
    array.flat[-1] = np.nan
    return array


BAD: dict[str, tuple[Change, str]] = {
    "newer version": (set_header("format", value=99), "newer than 1"),
    "no version": (drop("format"), "format number"),
    "wrong shape": (set_tensor("grids/features", lambda t: t[1:]), "expected"),
    "wrong rank": (set_tensor("networks/decoder/1.weight", lambda t: t[0]), "expected"),
    "NaN weight": (set_tensor("networks/decoder/1.weight", with_nan), "1.weight.*finite"),
    "NaN table": (set_tensor("grids/features", with_nan), "finite"),
    "infinite weight": (set_tensor("networks/view/0.bias", lambda t: t + np.inf), "finite"),
    "missing tensor": (lambda header, tensors: tensors.pop("grids/features"), "missing"),
    "nameless tensor": (
        lambda header, tensors: tensors.update(extra=np.zeros(3, np.float32)),
        "does not name",
    ),
    "wrong type": (set_tensor("grids/features", lambda t: t.astype(np.float64)), "type F64"),
    "short volume": (set_tensor("volumes/occupancy", lambda t: t[:-1]), "bytes"),
    "huge volume": (set_header("volumes", "occupancy", value=[1 << 40, 2, 2]), "1 to 1024"),
    "huge table": (set_header("grids", "features", "log2_table_size", value=60), "out of bounds"),
    "huge level count": (set_header("grids", "features", "levels", value=10**9), "out of bounds"),
    "huge network": (set_header("networks", "decoder", "layers", 1, "width", value=10**9), "out of bounds"),
    "huge bank": (set_header("networks", "decoder", "count", value=10**9), "count"),
    "missing key": (drop("bounds"), "malformed"),
    "flat box": (set_header("bounds", value=[[0, 0, 0], [1, 0, 1]]), "bounds"),
    "box that float32 makes flat": (set_header("bounds", value=[[0, 0, 0], [1, 1e-50, 1]]), "bounds"),
    "no up": (set_header("up", value=[0, 0, 0]), "up is"),
    "singular source": (set_header("world_from_source", value=[[0] * 4] * 4), "world_from_source is sing"),
    "source without a last row": (
        set_header("world_from_source", value=[[1, 0, 0, 0], [0, 1, 0, 0], [0, 0, 1, 0], [0, 0, 1, 1]]),
        "world_from_source ends in",
    ),
    "infinite box": (set_header("bounds", value=[[-1, -1, -1], [1, 1, float("inf")]]), "finite"),
    "singular camera": (set_header("camera", "world_from_camera", value=[[0] * 4] * 4), "singular"),
    "part named in GLSL": (set_header("constants", "x; void main() {}", value=1), "named in lower case"),
    "driver as a path": (set_header("driver", value="../march"), "driver must be a name"),
    "constant of text": (set_header("constants", "stop", value="0.5"), "malformed|constant"),
    "huge mesh": (set_header("meshes", "outer", value=[MAX_MESH + 1, 4]), "the mesh outer must have 0 to"),
    "mesh of no count": (set_header("meshes", "outer", value=[4, True]), "the mesh outer must have 0 to"),
    "mesh without faces": (lambda header, tensors: tensors.pop("meshes/outer/faces"), "outer/faces.*missing"),
    "mesh of another length": (set_tensor("meshes/outer/vertices", lambda t: t[1:]), "outer has vertices"),
    "mesh of another type": (
        set_tensor("meshes/outer/faces", lambda t: t.astype(np.int32)),
        "expected uint32",
    ),
    "mesh with NaN": (set_tensor("meshes/outer/vertices", with_nan), "outer has a vertex that is no finite"),
    "mesh far away": (set_tensor("meshes/outer/vertices", lambda t: t + np.float32(1e7)), "within 1e"),
    "face beyond": (set_tensor("meshes/outer/faces", lambda t: t + np.uint32(1)), "vertex 4, there are 4"),
    "face of an empty mesh": (set_header("meshes", "inner", value=[0, 1]), "inner has faces"),
    "mesh as a path": (set_header("meshes", "../outer", value=[0, 0]), "named in lower case"),
    "deep nesting": (set_header("held_out", value=[[[[[]]]]]), "camera"),
}


@pytest.mark.parametrize("name", BAD)
def test_bad_parts_are_refused(name: str, data: bytes) -> None:
    change, message = BAD[name]
    header, tensors = opened(data)
    change(header, tensors)
    with pytest.raises(InshaderError, match=message) as caught:
        asset_from_bytes(closed(header, tensors))
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("name", ["empty", "text", "png", "other safetensors", "header of zeros"])
def test_files_that_are_not_ours_are_refused(name: str, tmp_path: Path) -> None:
    path = tmp_path / "asset.safetensors"
    path.write_bytes(
        {
            "empty": b"",
            "text": b"once upon a time there was a scene" * 9,
            "png": b"\x89PNG\r\n\x1a\n" + bytes(200),
            "other safetensors": save({"weight": np.zeros(3, np.float32)}),
            "header of zeros": bytes(64),
        }[name]
    )
    with pytest.raises(InshaderError, match=r"asset\.safetensors: not a"):
        read_asset(path)


def test_absent_files_are_named(tmp_path: Path) -> None:
    with pytest.raises(InshaderError, match="nowhere"):
        asset_path(tmp_path / "nowhere.safetensors")
    with pytest.raises(InshaderError, match="cannot be read"):
        read_asset(tmp_path)


def test_truncated_at_every_kind_of_place(data: bytes) -> None:
    length = int.from_bytes(data[:8], "little")
    for end in (
        0,
        3,
        8,
        9,
        8 + length // 2,
        8 + length - 1,
        8 + length,
        9 + length,
        len(data) // 2,
        len(data) - 1,
    ):
        with pytest.raises(InshaderError):
            asset_from_bytes(data[:end])


def survives(data: bytes) -> None:
    try:
        asset_from_bytes(data)
    except InshaderError as error:
        assert "\n" not in str(error)


@settings(max_examples=150, deadline=None)
@given(st.binary(max_size=400))
@example(b"\xff" * 16)
@example((2).to_bytes(8, "little") + b"{}")
@example((2).to_bytes(8, "little") + b"[]")
@example((100000).to_bytes(8, "little") + b"[" * 100000)
def test_fuzz_bytes(noise: bytes) -> None:
    survives(noise)


@settings(max_examples=150, deadline=None)
@given(draws=st.data())
def test_fuzz_flipped_bytes(data: bytes, draws: st.DataObject) -> None:
    changed = bytearray(data)
    places = st.integers(0, 8 + int.from_bytes(data[:8], "little") + 64)
    for place, value in draws.draw(st.lists(st.tuples(places, st.integers(0, 255)), max_size=4)):
        changed[place] = value
    survives(bytes(changed))


VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=8,
)


@settings(max_examples=300, deadline=None)
@given(draws=st.data())
def test_fuzz_header_values(data: bytes, draws: st.DataObject) -> None:
    """Any value anywhere in the header."""
    header, tensors = opened(data)
    target: Any = header
    while True:
        keys = list(target) if isinstance(target, dict) else list(range(len(target)))
        key = draws.draw(st.sampled_from(keys))
        if isinstance(target[key], (dict, list)) and target[key] and draws.draw(st.booleans()):
            target = target[key]
            continue
        target[key] = draws.draw(VALUES)
        break
    try:
        changed = closed(header, tensors)
    except UnicodeEncodeError:
        return
    survives(changed)
