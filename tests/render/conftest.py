"""Small assets whose pictures can be told beforehand."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import imageio.v3 as iio
import moderngl
import numpy as np
import pytest
import trimesh

from render.asset import BakedAsset, BakedGrid, BakedMesh, BakedNetwork
from render.camera import Camera, look_at
from render.context import is_software
from render.grid import GridSpec
from render.lattice import BOUNDED
from render.network import Concat, Linear, NetworkSpec, Normalise, Slot, SquareConcat
from render.renderer import Renderer

LOW, HIGH = np.float32([-0.8, -0.7, -0.9]), np.float32([0.8, 0.9, 0.7])
RADIUS = 0.5


def ball(precision: str = "float32", deferred: int = 0, sharpness: float = 60.0) -> BakedAsset:
    """A ball of radius 0.5 about the origin, coloured by position, its red tinted by the view direction.

    Level 0 of the grid holds [radius - |x|, x, y, z], level 1 (hashed) nothing.
    """
    spec = GridSpec(3, 2, 4, 16, 2.0, 13, precision)
    level = spec.level_list[0]
    axes = np.meshgrid(*[np.arange(level.resolution)] * 3, indexing="ij")
    corners = np.stack([axis.ravel() for axis in reversed(axes)], -1)  # x fastest, as the table has it
    x = LOW + (corners - 0.5) / level.scale * (HIGH - LOW)
    table = np.zeros((spec.entries, 4), precision)
    table[: len(x), 0] = RADIUS - np.linalg.norm(x, axis=-1)
    table[: len(x), 1:] = x
    decoder = NetworkSpec(
        (Slot("features", 8),), (Linear(1), Concat(0)), precision=precision
    )  # y = [s, 8 features]
    view = NetworkSpec((Slot("direction", 3, "spherical_harmonics", 1),), (Linear(27),), precision=precision)
    density = np.zeros((1, 1, 8))
    density[0, 0, 0] = sharpness
    rows = np.zeros((1, 3, 9, 4))
    for channel in range(3):
        rows[0, channel, 2 + channel, 0] = 14  # harmonic 0 is constant
    rows[0, 0, 0, 2] = 1.5  # of red the bias, by d.z
    return BakedAsset(
        family="gaussian_rbf",
        driver="march",
        bounds=np.stack([LOW, HIGH]),
        networks={
            "decoder": BakedNetwork(
                decoder, {"0.weight": density.astype(precision), "0.bias": np.full((1, 1), 3, precision)}
            ),
            "view": BakedNetwork(
                view,
                {
                    "0.weight": rows.reshape(1, 27, 4).astype(precision),
                    "0.bias": np.zeros((1, 27), precision),
                },
            ),
        },
        grids={"features": BakedGrid(spec, table)},
        volumes={"occupancy": occupied_ball(24)},
        constants={"step_size": 0.02, "stop": 0.005, "max_log_density": 6.0, "deferred": deferred, **BOUNDED},
        background=np.float32([1, 0.9, 0.8]),
        up=np.float32([0, 0, 1]),
        world_from_source=np.eye(4),
        camera=look_at([1.2, -1.6, 0.9], [0, 0, 0], [0, 0, 1], 96, 80, 0.7),
        held_out=(look_at([-1.5, -1.0, 0.3], [0, 0, 0], [0, 0, 1], 96, 80, 0.7),),
        scene={"name": "ball", "data": {"path": "nowhere"}},
    )


def occupied_ball(resolution: int) -> np.ndarray:
    """Cells that come within a cell of the ball."""
    cell = (HIGH - LOW) / resolution
    grids = np.meshgrid(*[np.arange(resolution)] * 3, indexing="ij")
    x = LOW + (np.stack(grids, -1) + 0.5) * cell
    return np.linalg.norm(x, axis=-1) < RADIUS + 2 * float(cell.max())


def noise(precision: str = "float32", deferred: int = 0) -> BakedAsset:
    """Random features through a normalised RBF decoder in scattered cells, some at the box's faces."""
    rng = np.random.default_rng(7)
    spec = GridSpec(3, 4, 2, 8, 1.7, 10, precision)
    decoder = NetworkSpec(
        (Slot("features", 8),),
        (SquareConcat(), Linear(8, activation="gaussian"), Normalise(), Concat(0), Linear(1), Concat(4)),
        precision=precision,
    )
    view = NetworkSpec(
        (Slot("direction", 3, "spherical_harmonics", 2),),
        (Linear(3 * decoder.output_width),),
        precision=precision,
    )

    def parameters(network: NetworkSpec, scale: float) -> dict[str, np.ndarray]:
        return {k: rng.normal(0, scale, s).astype(precision) for k, s in network.parameter_shapes().items()}

    weights = parameters(decoder, 0.5)
    weights["4.bias"][:] = 2.5
    coarse = rng.random((5, 4, 6)) < 0.3
    asset = ball(precision, deferred)
    return replace(
        asset,
        networks={
            "decoder": BakedNetwork(decoder, weights),
            "view": BakedNetwork(view, parameters(view, 0.7)),
        },
        grids={"features": BakedGrid(spec, rng.normal(0, 0.5, (spec.entries, 2)).astype(precision))},
        volumes={"occupancy": coarse.repeat(4, 0).repeat(4, 1).repeat(4, 2)},
    )


def teacher(precision: str = "float32") -> BakedAsset:
    """A wavy ball of radius 0.5 about the origin, through a softplus layer that knows where it is.

    Its colours follow position, normal and direction."""
    rng = np.random.default_rng(5)
    spec = GridSpec(3, 2, 4, 16, 1.7, 14, precision)
    level = spec.level_list[0]
    axes = np.meshgrid(*[np.arange(level.resolution)] * 3, indexing="ij")
    corners = np.stack([axis.ravel() for axis in reversed(axes)], -1)  # x fastest, as the table has it
    x = LOW + (corners - 0.5) / level.scale * (HIGH - LOW)
    table = rng.normal(0, 0.01, (spec.entries, 4))
    table[: len(x), 0] = np.linalg.norm(x, axis=-1) - RADIUS
    decoder = NetworkSpec(
        (Slot("features", 8), Slot("position", 3)),
        (Linear(16, activation="softplus", scale=100.0), Concat(0), Linear(1)),
        precision=precision,
    )
    colour = NetworkSpec(
        (Slot("features", 8), Slot("normal", 3), Slot("direction", 3, "spherical_harmonics", 3)),
        (Linear(16, activation="relu"), Linear(8, activation="sine"), Linear(3, activation="sigmoid")),
        precision=precision,
    )
    weights = {key: rng.normal(0, 0.4, shape) for key, shape in decoder.parameter_shapes().items()}
    weights["2.weight"] = rng.normal(0, 0.004, (1, 1, 27))
    weights["2.weight"][0, 0, 16] = 2  # after the hidden units, level 0's first feature; f = 0.5 y
    weights["2.bias"] = np.zeros((1, 1))
    colours = {key: rng.normal(0, 0.7, shape) for key, shape in colour.parameter_shapes().items()}
    return replace(
        ball(precision),
        family="kiloneus",
        driver="trace",
        networks={
            "decoder": BakedNetwork(
                decoder, {key: value.astype(precision) for key, value in weights.items()}
            ),
            "colour": BakedNetwork(colour, {key: value.astype(precision) for key, value in colours.items()}),
        },
        grids={"features": BakedGrid(spec, table.astype(precision))},
        volumes={"occupancy": occupied_ball(24)},
        constants={"distance_scale": 0.5},
    )


def bank(
    shape: tuple[int, int, int] = (7, 8, 6), times: int = 4, precision: str = "float32", grown: float = 0.0
) -> BakedAsset:
    """The ball |x| < 0.5 as a bank of networks that hold f = (|x|^2 - R^2) / 2R exactly.

    x^2 is a linear function of the position in the cell and its square. Out of its cell, beyond a hair, a
    network gives what any picture would show.

    Args:
        times: cells of the occupancy to one with a network.
        grown: how much larger the ball is in the networks than in the volumes.
    """
    sides, size, radius = np.array(shape), (HIGH - LOW).astype(np.float64), RADIUS + grown
    occupancy = bank_shell(sides * times)
    held = occupancy.reshape(shape[0], times, shape[1], times, shape[2], times).any((1, 3, 5))
    middle, half = LOW + (np.argwhere(held) + 0.5) * (size / sides), 0.5 * size / sides
    count = len(middle)
    distance = NetworkSpec(
        (Slot("position", 3),),
        (SquareConcat(), Linear(6, activation="relu"), Concat(1), Linear(1)),
        count=count,
        precision=precision,
    )
    guards = np.concatenate([np.eye(3), -np.eye(3)])  # relu(+-x - 1.002)
    quadratic = np.concatenate([2 * middle * half, np.broadcast_to(half**2, middle.shape)], 1) / (2 * radius)
    weight = np.concatenate([np.full((count, 6), 1e4), 10 * quadratic], 1)[:, None]
    parameters = {
        "1.weight": np.broadcast_to(np.concatenate([guards, 0 * guards], 1), (count, 6, 6)),
        "1.bias": np.full((count, 6), -1.002),
        "3.weight": weight,
        "3.bias": 10 * ((middle**2).sum(1, keepdims=True) - radius**2) / (2 * radius),
    }
    colour = NetworkSpec(
        (Slot("position", 3), Slot("normal", 3), Slot("direction", 3, "spherical_harmonics", 3)),
        (
            *(Linear(12, activation="relu"), Concat(0), Linear(10, activation="sine", scale=2.0)),
            Linear(3, activation="sigmoid"),
        ),
        count=count,
        precision=precision,
    )
    rng = np.random.default_rng(11)
    colours = {key: rng.normal(0, 0.3, shape) for key, shape in colour.parameter_shapes().items()}
    return replace(
        ball(),
        family="kiloneus",
        driver="trace_cells",
        networks={
            "distance": BakedNetwork(distance, {key: x.astype(precision) for key, x in parameters.items()}),
            "colour": BakedNetwork(colour, {key: x.astype(precision) for key, x in colours.items()}),
        },
        grids={},
        volumes={"cells": held, "occupancy": occupancy, "inside": (bank_distance(sides) < 0) & ~held},
        constants={"distance_scale": 0.1},
    )


def bank_distance(sides: np.ndarray) -> np.ndarray:
    """Of the middles of cells from the ball."""
    grids = np.meshgrid(*[np.arange(n) for n in sides], indexing="ij")
    return np.linalg.norm(LOW + (np.stack(grids, -1) + 0.5) * (HIGH - LOW) / sides, axis=-1) - RADIUS


def bank_shell(sides: np.ndarray) -> np.ndarray:
    """Cells that the ball's surface may pass."""
    return np.abs(bank_distance(sides)) < 0.51 * np.linalg.norm((HIGH - LOW) / sides)


def sphere(
    radius: float, subdivisions: int = 3, wobble: float = 0.0, centre: tuple[float, ...] = (0, 0, 0)
) -> BakedMesh:
    """An icosphere, its radius varying along x by a part of ``wobble``."""
    ball = trimesh.creation.icosphere(subdivisions=subdivisions, radius=radius)
    vertices = ball.vertices * (1 + wobble * np.sin(9 * ball.vertices[:, :1])) + centre
    return BakedMesh(vertices.astype(np.float32), ball.faces.astype(np.uint32))


def joined(*meshes: BakedMesh) -> BakedMesh:
    """Several meshes as one."""
    starts = np.cumsum([0, *(len(mesh.vertices) for mesh in meshes)])
    faces = [mesh.faces + np.uint32(start) for mesh, start in zip(meshes, starts, strict=False)]
    return BakedMesh(np.concatenate([mesh.vertices for mesh in meshes]), np.concatenate(faces))


def shell(precision: str = "float32", **constants: float) -> BakedAsset:
    """A fuzzy ball of radius 0.5 about the origin within a wavy envelope, into which a small one reaches.

    f is almost |x| - 0.5, 1 / kappa varies about 1 / 60, normals are exact, colours by random weights."""
    rng = np.random.default_rng(5)
    spec = GridSpec(3, 4, 4, 16, 1.5, 14, precision)
    level = spec.level_list[0]
    axes = np.meshgrid(*[np.arange(level.resolution)] * 3, indexing="ij")
    corners = np.stack([axis.ravel() for axis in reversed(axes)], -1)  # x fastest, as the table has it
    x = LOW + (corners - 0.5) / level.scale * (HIGH - LOW)
    table = rng.normal(0, 0.02, (spec.entries, 4))
    table[: len(x), 0] = np.linalg.norm(x, axis=-1) - RADIUS
    geometry = NetworkSpec(
        (Slot("features", 16), Slot("position", 3)),
        (Linear(8, activation="relu"), Concat(0), Linear(16)),
        precision=precision,
    )
    weights = {key: rng.normal(0, 0.3, shape) for key, shape in geometry.parameter_shapes().items()}
    weights["2.weight"][0, :5], weights["2.bias"][:] = 0, 0
    weights["2.weight"][0, [0, 1], [8, 9]] = 1, 20  # the first feature and the second
    weights["2.bias"][0, 1] = np.log(60)
    weights["2.weight"][0, [2, 3, 4], [24, 25, 26]] = HIGH - LOW  # from u to x, which is along the normal
    weights["2.bias"][0, 2:5] = LOW
    colour = NetworkSpec(
        (Slot("h", 11), Slot("normal", 3), Slot("direction", 3, "spherical_harmonics", 2)),
        (Linear(8, activation="relu"), Linear(3, activation="sigmoid")),
        precision=precision,
    )
    colours = {key: rng.normal(0, 0.7, shape) for key, shape in colour.parameter_shapes().items()}
    settings = {"single_width": 0.02, "spacing": 0.01, "max_samples": 16, "max_hits": 16, "stop": 0.005}
    return replace(
        ball(),
        family="adaptive_shells",
        driver="shell",
        networks={
            "geometry": BakedNetwork(
                geometry, {key: value.astype(precision) for key, value in weights.items()}
            ),
            "colour": BakedNetwork(colour, {key: value.astype(precision) for key, value in colours.items()}),
        },
        grids={"features": BakedGrid(spec, table.astype(precision))},
        volumes={},
        constants={"min_kappa": 5.0, "max_kappa": 5000.0, "contracted": 0, **settings, **constants},
        meshes={
            "outer": joined(sphere(0.6, 3, 0.05), sphere(0.12, 2, centre=(0.55, -0.5, 0.3))),
            "inner": sphere(0.42, 2),
        },
    )


Build = Callable[..., BakedAsset]


@pytest.fixture(scope="session")
def build_ball() -> Build:
    return ball


@pytest.fixture(scope="session")
def build_noise() -> Build:
    return noise


@pytest.fixture(scope="session")
def build_bank() -> Build:
    return bank


@pytest.fixture(scope="session")
def build_teacher() -> Build:
    return teacher


@pytest.fixture(scope="session")
def build_shell() -> Build:
    return shell


@pytest.fixture(scope="session")
def build_sphere() -> Callable[..., BakedMesh]:
    return sphere


GOLDEN = Path(__file__).parent / "golden"


@pytest.fixture
def check_golden(ctx: moderngl.Context) -> Callable[[str, BakedAsset, str], None]:
    """Holds an asset's first view in a mode against the stored picture ``<name>_<mode>.png``, where the same
    software draws; INSHADER_WRITE_GOLDEN=1 stores new ones."""

    def check(name: str, asset: BakedAsset, mode: str) -> None:
        with Renderer(ctx, asset, "compute") as renderer:
            picture = renderer.draw(asset.camera, mode=mode).images[mode]
        shown = {
            "normal": 0.5 * picture + 0.5,
            "depth": picture / 3,
            "cost": picture / 30,
            "id": picture / 255,
            "thickness": picture / 0.6,
        }.get(mode, picture)
        shown = np.rint(np.clip(shown, 0, 1) * 255).astype(np.uint8)
        path = GOLDEN / f"{name}_{mode}.png"
        if os.environ.get("INSHADER_WRITE_GOLDEN") == "1":
            GOLDEN.mkdir(exist_ok=True)
            iio.imwrite(path, shown.squeeze())
        golden = iio.imread(path).reshape(shown.shape)
        if is_software(ctx):
            off = np.abs(shown.astype(int) - golden.astype(int)).max(-1) > 1
            assert off.mean() <= 0.001

    return check


@pytest.fixture
def inside() -> Camera:
    """A camera within the box."""
    return look_at([0.55, -0.3, 0.2], [0, 0, 0], [0, 0, 1], 64, 48, 1.2)
