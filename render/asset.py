"""BakedAsset: everything the shader needs of one trained scene, in one safe file.

The file is a ``.safetensors`` with one JSON header under the metadata key ``inshader``. A stranger's file is
safe to open: no pickle, sizes are checked against the file before anything is allocated, every number is
checked for being finite, and no string of it ever reaches the shader compiler (shaders ask for parts by the
names *they* use, see ``render/glsl.py``).
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from safetensors.numpy import load, save

from render.camera import Camera
from render.errors import InshaderError
from render.files import atomic_write
from render.grid import GridSpec
from render.network import NetworkSpec
from render.stage import Stage, stage_from_json

FORMAT = 1
NAME = re.compile(r"[a-z][a-z0-9_]{0,31}\Z")
MAX_HEADER_BYTES = 1 << 25  # 25 held-out cameras take 10 kB
MAX_MESH = 1 << 22  # vertices, and faces: 48 MB each
MAX_COORDINATE = 1e6  # world units; the scene box has half-diagonal 1
SHORTEST_UP = 1e-6  # of a direction
Tensor = NDArray[Any]
Constant = int | float | tuple[float, ...]
DTYPES = {
    "F32": np.float32,
    "F16": np.float16,
    "U8": np.uint8,
    "U16": np.uint16,
    "U32": np.uint32,
    "I32": np.int32,
}


@dataclass(frozen=True, eq=False)
class BakedNetwork:
    """A spec and its parameters, stored in the spec's precision."""

    spec: NetworkSpec
    parameters: Mapping[str, Tensor]


@dataclass(frozen=True, eq=False)
class BakedGrid:
    """A spec and its table (entries, features), stored in the spec's precision."""

    spec: GridSpec
    table: Tensor


@dataclass(frozen=True, eq=False)
class BakedMesh:
    """Triangles in world units, wound so that their normals point outwards; there may be none.

    Attributes:
        vertices: (n, 3) float32.
        faces: (m, 3) uint32, numbers of vertices.
    """

    vertices: NDArray[np.float32]
    faces: NDArray[np.uint32]


@dataclass(frozen=True, eq=False)
class BakedAsset:
    """A trained scene, ready to draw.

    Attributes:
        family, driver: the driver is a module of ``render/drivers``; what it calls is the family's shader
            ``shaders/families/<family>/<driver>.glsl``.
        bounds: (2, 3) float32 corners of the scene box in world units.
        networks, grids: by the names that the family's shader uses.
        volumes: (x, y, z) bool arrays over the box, for example ``occupancy``; a bit per cell in the file.
        constants: whole or real numbers, or short lists of reals, that the shaders read.
        background: (3,) float32 display colour behind the scene.
        up: (3,) float32.
        world_from_source: (4, 4) similarity from the data set's frame.
        camera: what a viewer shows first.
        held_out: cameras of the held-out views.
        scene: the resolved scene file; its data path as the user gave it.
        results: what ``results.json`` holds, empty until scored.
        provenance: versions and the like, for people.
        stage: what else stands in the scene, for the driver ``pathtrace``; None: nothing was said of it.
        meshes: by the names that the driver uses, for example ``outer``.
    """

    family: str
    driver: str
    bounds: NDArray[np.float32]
    networks: Mapping[str, BakedNetwork]
    grids: Mapping[str, BakedGrid]
    volumes: Mapping[str, Tensor]
    constants: Mapping[str, Constant]
    background: NDArray[np.float32]
    up: NDArray[np.float32]
    world_from_source: NDArray[np.float64]
    camera: Camera
    held_out: tuple[Camera, ...] = ()
    scene: Mapping[str, Any] = field(default_factory=dict)
    results: Mapping[str, Any] = field(default_factory=dict)
    provenance: Mapping[str, Any] = field(default_factory=dict)
    stage: Stage | None = None
    meshes: Mapping[str, BakedMesh] = field(default_factory=dict)

    def tensors(self) -> dict[str, Tensor]:
        """All arrays under the names they have in the file."""
        found: dict[str, Tensor] = {}
        for name, network in self.networks.items():
            found.update({f"networks/{name}/{key}": value for key, value in network.parameters.items()})
        found.update({f"grids/{name}": grid.table for name, grid in self.grids.items()})
        found.update({f"volumes/{name}": np.packbits(volume) for name, volume in self.volumes.items()})
        for name, mesh in self.meshes.items():
            found[f"meshes/{name}/vertices"] = mesh.vertices.astype(np.float32, copy=False)
            found[f"meshes/{name}/faces"] = mesh.faces.astype(np.uint32, copy=False)
        if self.stage is not None:
            found.update({f"stage/{name}": tensor for name, tensor in self.stage.tensors().items()})
        return found

    @property
    def shader(self) -> str:
        """What ``#include family`` stands for."""
        return f"{self.family}/{self.driver}"

    @property
    def precision(self) -> str:
        """``float16`` where any table or network is stored so."""
        stored = {network.spec.precision for network in self.networks.values()}
        stored |= {grid.spec.precision for grid in self.grids.values()}
        return "float16" if "float16" in stored else "float32"


def write_asset(path: Path, asset: BakedAsset) -> int:
    """Write atomically; returns the number of bytes."""
    data = asset_bytes(asset)
    atomic_write(path, data)
    return len(data)


def asset_bytes(asset: BakedAsset) -> bytes:
    """The file's content. Parameters are rounded to their spec's precision here."""
    header = {
        "format": FORMAT,
        "family": asset.family,
        "driver": asset.driver,
        "bounds": np.asarray(asset.bounds, np.float64).tolist(),
        "networks": {name: network.spec.to_json() for name, network in asset.networks.items()},
        "grids": {name: grid.spec.to_json() for name, grid in asset.grids.items()},
        "volumes": {name: list(volume.shape) for name, volume in asset.volumes.items()},
        "constants": dict(asset.constants),
        "background": np.asarray(asset.background, np.float64).tolist(),
        "up": np.asarray(asset.up, np.float64).tolist(),
        "world_from_source": np.asarray(asset.world_from_source, np.float64).tolist(),
        "camera": asset.camera.to_json(),
        "held_out": [camera.to_json() for camera in asset.held_out],
        "scene": dict(asset.scene),
        "results": dict(asset.results),
        "provenance": dict(asset.provenance),
        **({} if asset.stage is None else {"stage": asset.stage.to_json()}),
        "meshes": {name: [len(mesh.vertices), len(mesh.faces)] for name, mesh in asset.meshes.items()},
    }
    tensors = {}
    for name, tensor in asset.tensors().items():
        kind, key = name.split("/")[:2]
        if kind in ("networks", "grids"):
            spec = asset.networks[key].spec if kind == "networks" else asset.grids[key].spec
            tensor = tensor.astype(spec.precision)
        tensors[name] = np.ascontiguousarray(tensor)
    return save(tensors, metadata={"inshader": json.dumps(header, allow_nan=False)})


def asset_path(argument: str | Path) -> Path:
    """An asset file, or the one in a run folder.

    Raises:
        InshaderError: there is none.
    """
    path = Path(argument)
    if path.is_dir():
        path = path / "asset.safetensors"
    if not path.is_file():
        raise InshaderError(
            f"{argument}: no such asset; expected a .safetensors file or a folder made by render-train"
        )
    return path


def read_asset(path: Path) -> BakedAsset:
    """Read and check an asset file.

    Raises:
        InshaderError: the file is absent, truncated, not ours, of a newer version, or holds a wrong part.
    """
    try:
        data = path.read_bytes()
    except OSError as error:
        raise InshaderError(f"{path}: cannot be read: {error.strerror}") from error
    try:
        return asset_from_bytes(data)
    except InshaderError as error:
        raise InshaderError(f"{path}: {error}") from error


def asset_from_bytes(data: bytes) -> BakedAsset:
    """Inverse of ``asset_bytes``; whatever is wrong with ``data`` is an InshaderError."""
    header = _header(data)
    try:
        tensors = load(data)
    except Exception as error:  # the parser's own error types are not public
        raise InshaderError(f"not a whole .safetensors file ({error})") from error
    try:
        asset = _asset(header, tensors)
    except (KeyError, TypeError, ValueError, AttributeError, OverflowError, RecursionError) as error:
        raise InshaderError(f"the header is malformed ({error!r:.200})") from error
    extra = set(tensors) - set(asset.tensors())
    if extra:
        raise InshaderError(f"it holds a tensor that its header does not name: {sorted(extra)[0]!r:.80}")
    return asset


def _header(data: bytes) -> dict[str, Any]:
    """Our JSON out of the safetensors header, after checking that the file is as long as it says."""
    if len(data) < 8:
        raise InshaderError("not a .safetensors file: shorter than its first 8 bytes")
    length = int.from_bytes(data[:8], "little")
    if not 2 <= length <= min(len(data) - 8, MAX_HEADER_BYTES):
        raise InshaderError("not a whole .safetensors file: its header is longer than the file")
    try:
        outer = json.loads(data[8 : 8 + length])
        metadata = outer.pop("__metadata__", {})
        end = max((int(entry["data_offsets"][1]) for entry in outer.values()), default=0)
        dtypes = {entry["dtype"] for entry in outer.values()}
    except (ValueError, TypeError, KeyError, AttributeError, IndexError, RecursionError) as error:
        raise InshaderError(f"not a .safetensors file: {error!r:.200}") from error
    if end > len(data) - 8 - length:
        raise InshaderError(f"truncated: it holds {len(data)} bytes, its header promises {end + 8 + length}")
    if not isinstance(metadata, dict) or "inshader" not in metadata:
        raise InshaderError(
            "not an Inshader asset: its header has no 'inshader' entry (render-train writes one)"
        )
    if not dtypes <= set(DTYPES):
        raise InshaderError(
            f"a tensor has type {min(map(str, dtypes - set(DTYPES))):.20}, not one of {', '.join(DTYPES)}"
        )
    try:
        header = json.loads(metadata["inshader"], parse_constant=lambda name: float(name))
    except (ValueError, TypeError, RecursionError) as error:
        raise InshaderError(f"its 'inshader' header is not JSON ({error!r:.200})") from error
    if not isinstance(header, dict) or not isinstance(header.get("format"), int):
        raise InshaderError("its 'inshader' header has no format number")
    if header["format"] > FORMAT:
        raise InshaderError(
            f"format {header['format']} is newer than {FORMAT}, the newest this version reads: upgrade"
        )
    return header


def _numbers(value: Any, shape: tuple[int, ...], what: str) -> NDArray[np.float64]:
    array = np.array(value)
    # text would be parsed, and what float32 does not hold would be infinite in the shader
    if array.dtype.kind not in "iuf" or array.shape != shape or not (np.abs(array) < 1e30).all():
        raise InshaderError(
            f"{what} must be {'x'.join(map(str, shape)) or 'one'} finite number{'s' * bool(shape)}"
        )
    return array.astype(np.float64)


def _named(header: dict[str, Any], key: str) -> dict[str, Any]:
    parts = header[key]
    if not isinstance(parts, dict) or len(parts) > 64 or not all(NAME.match(name) for name in parts):
        raise InshaderError(f"{key} must be at most 64 parts named in lower case letters, digits and _")
    return parts


def _take(tensors: Mapping[str, Tensor], name: str) -> Tensor:
    if name not in tensors:
        raise InshaderError(f"the tensor {name!r:.80} is missing")
    return tensors[name]


def _volume(name: str, shape: Any, packed: Tensor) -> NDArray[np.bool_]:
    if not (
        isinstance(shape, list) and len(shape) == 3 and all(type(n) is int and 1 <= n <= 1024 for n in shape)
    ):
        raise InshaderError(f"the volume {name} must have three sides of 1 to 1024")
    cells = shape[0] * shape[1] * shape[2]
    if packed.dtype != np.uint8 or packed.shape != (-(-cells // 8),):
        raise InshaderError(
            f"the volume {name} is {packed.dtype} {packed.shape}, expected {-(-cells // 8)} bytes"
        )
    return np.unpackbits(packed, count=cells).astype(bool).reshape(shape)


def _mesh(name: str, counts: Any, vertices: Tensor, faces: Tensor) -> BakedMesh:
    if not (
        isinstance(counts, list)
        and len(counts) == 2
        and all(type(n) is int and 0 <= n <= MAX_MESH for n in counts)
    ):
        raise InshaderError(f"the mesh {name} must have 0 to {MAX_MESH} vertices and as many faces")
    wanted = (("vertices", vertices, np.float32), ("faces", faces, np.uint32))
    for (part, array, dtype), count in zip(wanted, counts, strict=True):
        if array.dtype != dtype or array.shape != (count, 3):
            raise InshaderError(
                f"the mesh {name} has {part} {array.dtype} {array.shape}, "
                f"expected {np.dtype(dtype)} {(count, 3)}"
            )
    if not (np.abs(vertices) < MAX_COORDINATE).all():
        raise InshaderError(
            f"the mesh {name} has a vertex that is no finite place within {MAX_COORDINATE:g} of the origin"
        )
    if faces.size and faces.max() >= len(vertices):
        raise InshaderError(
            f"the mesh {name} has a face with vertex {faces.max()}, there are {len(vertices)} vertices"
        )
    return BakedMesh(vertices, faces)


def _constant(name: str, value: Any) -> Constant:
    if type(value) is int and abs(value) < 1 << 31:
        return value
    values = _numbers(value, np.shape(value), f"constant {name}")
    if values.ndim > 1 or values.size > 64:
        raise InshaderError(f"the constant {name} must be a number or a list of at most 64")
    return tuple(values.tolist()) if values.ndim else float(values)


def _asset(header: dict[str, Any], tensors: Mapping[str, Tensor]) -> BakedAsset:
    networks, grids, volumes = {}, {}, {}
    for name, data in _named(header, "networks").items():
        spec = NetworkSpec.from_json(data)
        parameters = {key: _take(tensors, f"networks/{name}/{key}") for key in spec.parameter_shapes()}
        spec.check(parameters)
        networks[name] = BakedNetwork(spec, parameters)
    for name, data in _named(header, "grids").items():
        grid = GridSpec.from_json(data)
        table = _take(tensors, f"grids/{name}")
        grid.check(table)
        grids[name] = BakedGrid(grid, table)
    for name, shape in _named(header, "volumes").items():
        volumes[name] = _volume(name, shape, _take(tensors, f"volumes/{name}"))
    constants = {name: _constant(name, value) for name, value in _named(header, "constants").items()}
    meshes = {}
    for name, counts in _named({"meshes": {}, **header}, "meshes").items():  # older files name none
        parts = (_take(tensors, f"meshes/{name}/{part}") for part in ("vertices", "faces"))
        meshes[name] = _mesh(name, counts, *parts)
    bounds = _numbers(header["bounds"], (2, 3), "bounds").astype(np.float32)
    if not (bounds[0] < bounds[1]).all():
        raise InshaderError("bounds: the first corner must be below the second")
    up = _numbers(header["up"], (3,), "up").astype(np.float32)
    if not float(np.linalg.norm(up)) > SHORTEST_UP:
        raise InshaderError(f"up is {up.tolist()}, expected a direction")
    world_from_source = _numbers(header["world_from_source"], (4, 4), "world_from_source")
    scale = float(np.abs(world_from_source[:3, :3]).max())
    if scale == 0 or abs(np.linalg.det(world_from_source[:3, :3] / scale)) < 1e-6:
        raise InshaderError("world_from_source is singular, expected a similarity")
    if not np.allclose(world_from_source[3], [0, 0, 0, 1]):
        raise InshaderError(f"world_from_source ends in {world_from_source[3].tolist()}, not in 0 0 0 1")
    for key in ("family", "driver"):
        if not isinstance(header[key], str) or not NAME.match(header[key]):
            raise InshaderError(f"{key} must be a name in lower case letters, digits and _")
    for key in ("scene", "results", "provenance"):
        if not isinstance(header[key], dict):
            raise InshaderError(f"{key} must be an object")
    stage = None
    if "stage" in header:
        arrays = {name[6:]: tensor for name, tensor in tensors.items() if name.startswith("stage/")}
        stage = stage_from_json(header["stage"], arrays)
    if not isinstance(header["held_out"], list) or len(header["held_out"]) > 4096:
        raise InshaderError("held_out must be a list of at most 4096 cameras")
    return BakedAsset(
        family=header["family"],
        driver=header["driver"],
        bounds=bounds,
        networks=networks,
        grids=grids,
        volumes=volumes,
        constants=constants,
        background=_numbers(header["background"], (3,), "background").astype(np.float32),
        up=up,
        world_from_source=world_from_source,
        camera=Camera.from_json(header["camera"]),
        held_out=tuple(Camera.from_json(camera) for camera in header["held_out"]),
        scene=header["scene"],
        results=header["results"],
        provenance=header["provenance"],
        stage=stage,
        meshes=meshes,
    )
