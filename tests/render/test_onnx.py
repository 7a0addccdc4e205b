"""The ONNX graph of a light field, run by onnxruntime, against the numpy twin."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import imageio.v3 as iio
import numpy as np
import onnx
import onnxruntime
import pytest

from render import export
from render.asset import BakedAsset, BakedGrid, BakedNetwork, read_asset, write_asset
from render.camera import Camera, look_at
from render.errors import InshaderError
from render.grid import GridSpec
from render.lattice import BOUNDED
from render.light_field import LightField
from render.light_field_gather import trunk_inputs
from render.light_field_rays import (
    RayPoints,
    pitch_of,
    ray_map,
)
from render.ndc import Ndc
from render.network import Add, Concat, Layer, Linear, NetworkSpec, Slot, SquareConcat
from render.onnx_graph import onnx_model
from render.onnx_nodes import INPUT, OUTPUT

UP = [0, 0, 1]
# All around the origin, upright, at 0.5 to 5 from it: the constant ``manifold`` of ``render/manifold.py``.
ORBIT = (0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 1.0, 0.5, 5.0, -1.5, 1.5, 0.0, 3.1416, 0.5)
RESIDUAL = (Linear(8, activation="gelu"), Linear(8), Add(1), Add(1))


def baked(seed: int, spec: NetworkSpec, shared_bias: bool = False) -> BakedNetwork:
    """Random weights that keep the size of what passes through."""
    rng = np.random.default_rng(seed)
    parameters = {}
    for name, shape in spec.parameter_shapes().items():
        scale = 1 / np.sqrt(shape[-1]) if name.endswith("weight") else 0.3
        values = rng.normal(0, scale, shape)
        if shared_bias and name.endswith("bias"):
            values[:] = values[0]
        parameters[name] = values.astype(spec.precision)
    return BakedNetwork(spec, parameters)


def networks(
    steps: tuple[tuple[int, int], ...], trunk: tuple[Layer, ...], activation: str, precision: str
) -> dict[str, BakedNetwork]:
    """A light field of 4 points a ray with steps of (factor, taps)."""
    spec = NetworkSpec((Slot("points", 12, "frequency", 3),), trunk, precision=precision)
    found, width = {"trunk": baked(1, spec)}, spec.output_width
    for number, (factor, taps) in enumerate(steps):
        bank = NetworkSpec((Slot("taps", taps**2 * width),), (Linear(6),), factor**2, precision)
        last: tuple[Layer, ...] = (Linear(6, activation=activation), Linear(6), Add(0))
        if number == len(steps) - 1:
            last += (Linear(3, activation="sigmoid"),)
        refine = NetworkSpec((Slot("pixel", 6),), last, precision=precision)
        found[f"up_{number}"] = baked(10 + number, bank, shared_bias=True)
        found[f"refine_{number}"] = baked(20 + number, refine)
        width = 6
    return found


def light_field(
    steps: tuple[tuple[int, int], ...] = ((2, 2), (2, 2)),
    trunk: tuple[Layer, ...] = (Linear(8, activation="gelu"), *RESIDUAL),
    activation: str = "gelu",
    forward: bool = False,
    precision: str = "float32",
) -> BakedAsset:
    """Random weights. The asset's camera is at the pitch, its size no multiple of the map's blocks."""
    camera = look_at([1.3, -2.1, 0.9], [0.1, 0, 0.1], UP, 43, 31, 0.8)
    ndc = None
    if forward:
        # a rotation, a scale and an offset: the world's y is the frame's -z
        ndc = Ndc(np.array([[0.9, 0, 0, 0.1], [0, 0, 0.9, 0], [0, -0.9, 0, -1.2]]), (1.9, 2.3))
        camera = look_at([0.1, -0.4, 0.0], [0, 3, 0.2], UP, 43, 31, 0.8)
    points = RayPoints(4, ndc)
    return BakedAsset(
        family="light_field",
        driver="lightfield",
        bounds=np.float32([[-0.5, -0.6, -0.5], [0.5, 0.6, 0.6]]),
        networks=networks(steps, trunk, activation, precision),
        grids={},
        volumes={},
        constants={"pitch": (camera.fl_x, camera.fl_y), "manifold": ORBIT, **points.constants()},
        background=np.float32([1, 1, 1]),
        up=np.float32(UP),
        world_from_source=np.diag([2.0, 2.0, 2.0, 1.0]),
        camera=camera,
    )


def gathering(log2_table_size: int, space: str = "box", **options: Any) -> BakedAsset:
    """A light field whose trunk takes what is gathered of a grid with levels of 3 to 14 cells, in scattered
    cells of a box, of all of space or of device coordinates."""
    asset = light_field(**options, forward=space == "ndc")
    rng = np.random.default_rng(7)
    precision = options.get("precision", "float32")
    spec = GridSpec(3, 4, 2, 4, 1.6, log2_table_size, precision)
    density = NetworkSpec((Slot("features", 8),), (Linear(1),), precision=precision)
    constants = {name: value for name, value in asset.constants.items() if name != "points"}
    if space == "all":
        constants |= {"ball": (0.1, -0.2, 0.1, 0.7), "near_plane": 0.4}
    trunk = NetworkSpec(
        (Slot("gathered", 12),), (Linear(8, activation="relu"), *RESIDUAL), precision=precision
    )
    return replace(
        asset,
        networks={**asset.networks, "density": baked(5, density), "trunk": baked(6, trunk)},
        grids={"features": BakedGrid(spec, rng.normal(0, 2, (spec.entries, 2)).astype(precision))},
        volumes={"occupancy": rng.random((6, 7, 5)) < 0.5},
        constants={**BOUNDED, **constants, "step_size": 0.11, "stop": 0.05},
        **({"bounds": np.float32([[-2] * 3, [2] * 3])} if space == "all" else {}),
    )


def run(model: onnx.ModelProto, *poses: np.ndarray) -> list[np.ndarray]:
    """Pictures (h, w, 3) by a graph that passes the checker and holds none but standard operators."""
    onnx.checker.check_model(model, full_check=True)
    gathers = any(node.op_type == "NonZero" for node in model.graph.node)
    assert [(o.domain, o.version) for o in model.opset_import] == [("", 18 if gathers else 13)]
    assert {node.domain for node in model.graph.node} == {""}
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1  # more would spin while others work
    session = onnxruntime.InferenceSession(model.SerializeToString(), options)
    pictures = [session.run([OUTPUT], {INPUT: pose.astype(np.float32)})[0] for pose in poses]
    return [picture[0].transpose(1, 2, 0) for picture in pictures]


def wanted(asset: BakedAsset, camera: Camera) -> np.ndarray:
    field = LightField.of(asset.networks)
    view = ray_map(camera, pitch_of(asset), field.factor)
    return field.evaluate(trunk_inputs(asset, view.camera, field.factor))[: camera.h, : camera.w]


def poses(asset: BakedAsset) -> list[np.ndarray]:
    """The asset's own, and others: rolled, farther, and so near that no point may lie behind the camera."""
    own = asset.camera
    if asset.constants["forward"]:
        places = [(0.3, -0.5, 0.2), (-0.4, -0.3, -0.1), (0.0, -0.6, 0.3)]
        others = [look_at(place, [0, 3, 0], [0.1, 0, 1], own.w, own.h, 0.8) for place in places]
    else:
        places = [(-0.9, 1.4, 0.2), (0.0, 3.4, -1.0), (0.5, 0.2, 0.3)]
        others = [look_at(place, [0, 0.1, 0], [0.3, 0, 1], own.w, own.h, 0.8) for place in places]
    return [camera.world_from_camera for camera in (own, *others)]


@pytest.mark.parametrize("forward", [False, True])
@pytest.mark.parametrize("activation", ["relu", "gelu"])
@pytest.mark.parametrize("steps", [((2, 2), (2, 2)), ((2, 1), (3, 1)), ((2, 2), (3, 1)), ((4, 1),)])
def test_is_the_numpy_twin(steps: tuple[tuple[int, int], ...], activation: str, forward: bool) -> None:
    asset = light_field(steps, activation=activation, forward=forward)
    factor = LightField.of(asset.networks).factor
    assert asset.camera.w % factor and asset.camera.h % factor, "there is something to cut off"
    found = run(onnx_model(asset, asset.camera), *poses(asset))
    for picture, pose in zip(found, poses(asset), strict=True):
        camera = replace(asset.camera, world_from_camera=pose)
        assert picture.shape == (31, 43, 3) and picture.std() > 0.02
        # Numpy has points in float64 before it rounds them: 3e-7, four times that by the waves. Seen: 2e-6.
        assert np.abs(picture - wanted(asset, camera)).max() < 1e-5
    assert min(np.abs(picture - found[0]).max() for picture in found[1:]) > 0.05, "the pose is looked at"


@pytest.mark.parametrize("space", ["box", "all", "ndc"])
@pytest.mark.parametrize("log2_table_size", [8, 14], ids=["hashed", "dense"])
def test_gathers_as_the_numpy_twin(log2_table_size: int, space: str) -> None:
    asset = gathering(log2_table_size, space)
    assert asset.grids["features"].spec.level_list[-1].hashed == (log2_table_size == 8)
    found = run(onnx_model(asset, asset.camera), *poses(asset))
    for picture, pose in zip(found, poses(asset), strict=True):
        camera = replace(asset.camera, world_from_camera=pose)
        assert picture.std() > 0.02
        # Features change by 3 within 1 / 14 of the cube: by 50 times as much as the points' 3e-7.
        assert np.abs(picture - wanted(asset, camera)).max() < 1e-4


@pytest.mark.parametrize(
    "trunk",
    [
        (Linear(9, activation="sine", scale=3.0), Concat(0), Linear(5, activation="tanh")),
        (Linear(7, bias=False, activation="relu"), Linear(7, activation="sigmoid"), Add(1), Concat(1)),
    ],
)
def test_other_trunks(trunk: tuple[Layer, ...]) -> None:
    asset = light_field(((2, 2), (2, 1)), trunk)
    (found,) = run(onnx_model(asset, asset.camera), asset.camera.world_from_camera)
    assert np.abs(found - wanted(asset, asset.camera)).max() < 1e-5  # as above


def test_points_without_waves() -> None:
    asset = light_field()
    spec = NetworkSpec((Slot("points", 12),), (Linear(8, activation="relu"),))
    asset = replace(asset, networks={**asset.networks, "trunk": baked(3, spec)})
    (found,) = run(onnx_model(asset, asset.camera), asset.camera.world_from_camera)
    assert np.abs(found - wanted(asset, asset.camera)).max() < 1e-5  # as above


def test_half_precision_is_widened() -> None:
    asset = light_field(precision="float16")
    model = onnx_model(asset, asset.camera)
    assert {tensor.data_type for tensor in model.graph.initializer} == {
        onnx.TensorProto.FLOAT,
        onnx.TensorProto.INT64,
    }
    (found,) = run(model, asset.camera.world_from_camera)
    assert np.abs(found - wanted(asset, asset.camera)).max() < 1e-5  # as above


def test_what_an_application_needs_besides() -> None:
    asset = light_field()
    model = onnx_model(asset, asset.camera)
    facts = {entry.key: json.loads(entry.value) for entry in model.metadata_props}
    assert facts["manifold"] == list(ORBIT)
    assert Camera.from_json(facts["camera"]).to_json() == asset.camera.to_json()
    assert facts["up"] == UP and facts["world_from_source"][0] == [2, 0, 0, 0]
    assert model.SerializeToString(deterministic=True) == onnx_model(asset, asset.camera).SerializeToString(
        deterministic=True
    )


def test_a_wider_view_at_the_pitch() -> None:
    asset = light_field()
    camera = asset.camera.resized(70, 31)
    (found,) = run(onnx_model(asset, camera), camera.world_from_camera)
    assert found.shape == (31, 70, 3)
    assert np.abs(found - wanted(asset, camera)).max() < 1e-5  # as above


def parts(**changed: BakedNetwork) -> Mapping[str, BakedNetwork]:
    return {**light_field().networks, **changed}


def spoilt_bias() -> BakedNetwork:
    bank = light_field().networks["up_0"]
    bias = bank.parameters["0.bias"].copy()
    bias[2] += 0.1
    return BakedNetwork(bank.spec, {**bank.parameters, "0.bias": bias})


def trunk_of(*layers: Layer, encoding: str = "frequency", width: int = 12) -> BakedNetwork:
    order = 3 if encoding == "frequency" else 1
    return baked(0, NetworkSpec((Slot("points", width, encoding, order),), layers))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"driver": "march"}, "the asset's driver is march"),
        ({"constants": {}}, "the constant pitch is None"),
        ({"networks": {}}, "no network 'trunk'"),
        ({"networks": parts(trunk=trunk_of(SquareConcat(), Linear(8)))}, "layer 0 of the network trunk is a"),
        ({"networks": parts(trunk=trunk_of(Linear(8, activation="gaussian")))}, "activation gaussian, an"),
        (
            {"networks": parts(trunk=trunk_of(Linear(8), encoding="spherical_harmonics", width=3))},
            "by spherical_harmonics, an .onnx can by frequency",
        ),
        ({"networks": parts(up_0=spoilt_bias())}, "the biases of the bank up_0 differ"),
    ],
)
def test_assets_that_have_no_graph(changes: dict[str, Any], message: str) -> None:
    asset = replace(light_field(), **changes)
    with pytest.raises(InshaderError, match=message):
        onnx_model(asset, asset.camera)


def test_cameras_of_other_pixels() -> None:
    asset = light_field()
    camera = asset.camera
    for other, message in [
        (camera.resized(86, 62), "use --size 43x31$"),
        (replace(camera, fl_x=camera.fl_x * 1.5), "36.6609 pixels, the camera has 54.9914 and 36.6609$"),
    ]:
        with pytest.raises(InshaderError, match=message):
            onnx_model(asset, other)


# The command ------------------------------------------------------------------------------------------------


@pytest.fixture
def path(tmp_path: Path) -> Path:
    write_asset(tmp_path / "asset.safetensors", gathering(8, precision="float16"))
    return tmp_path


def test_command(path: Path) -> None:
    target = path / "small.onnx"
    assert export.main([str(path), "--to", str(target)]) == 0
    asset = read_asset(path / "asset.safetensors")
    (found,) = run(onnx.load(target), asset.camera.world_from_camera)
    assert np.abs(found - wanted(asset, asset.camera)).max() < 1e-4  # as above
    assert export.main([str(path), "--to", str(target), "--size", "60x31"]) == 0
    assert run(onnx.load(target), asset.camera.world_from_camera)[0].shape == (31, 60, 3)
    assert export.main([str(path), "--to", str(path / "small.png")]) == 0
    shown = iio.imread(path / "small.png") / 255
    assert np.abs(found - shown).max() < 1 / 255  # half a step of the file, and the shader's rounding


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--to", "a.onnx", "--size", "86x62"], "use --size 43x31"),
        (["--to", "nowhere/a.onnx"], "nowhere"),
        (["--to", "a.onnx", "--frames", "3"], "those of a film"),
        (["--to", "a.onnx", "--driver", "pathtrace"], "use .png"),
    ],
)
def test_command_errors_are_one_line(
    arguments: list[str],
    message: str,
    path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(path)
    before = sorted(path.iterdir())
    assert export.main([str(path), *arguments]) == 2
    error = capsys.readouterr().err
    assert message in error and error.count("\n") == 1
    assert sorted(path.iterdir()) == before


def test_command_refuses_other_families(
    build_ball: Callable[..., BakedAsset], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write_asset(tmp_path / "asset.safetensors", build_ball())
    assert export.main([str(tmp_path), "--to", str(tmp_path / "a.onnx")]) == 2
    error = capsys.readouterr().err
    assert "the asset's driver is march" in error and error.count("\n") == 1
    assert [file.name for file in tmp_path.iterdir()] == ["asset.safetensors"]


def test_command_names_the_extra(
    path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "onnx", None)
    assert export.main([str(path), "--to", str(path / "a.onnx")]) == 2
    error = capsys.readouterr().err
    assert "pip install 'inshader[onnx]'" in error and error.count("\n") == 1
    assert [file.name for file in path.iterdir()] == ["asset.safetensors"]
