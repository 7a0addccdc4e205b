"""A stage on the device: what ``shaders/drivers/pathtrace_stage.glsl`` reads, and how it is laid out."""

from __future__ import annotations

from typing import Any

import moderngl
import numpy as np
from numpy.typing import NDArray

from render.bvh import boxes_of, tree_order
from render.stage import MATERIALS, Environment, Solid, Stage

OBJECT = 6  # vec4s of an object, as in the shader
ORDER = ("sphere", "plane", "box", "rectangle", "mesh")
PARAMETERS = {"metal": "roughness", "glass": "ior"}
COLOURS = {"diffuse": "albedo", "metal": "albedo", "glass": "tint", "emission": "radiance"}
FIRST_BINDING = 4  # of three buffers
Floats = NDArray[np.float32]


class StageTables:
    """Buffers, textures and uniforms of one stage.

    Args:
        up: (3,) which way the environment's top is.
    """

    def __init__(self, ctx: moderngl.Context, stage: Stage, up: NDArray[np.floating]) -> None:
        solids = sorted(stage.solids, key=lambda solid: ORDER.index(solid.shape))
        picture, cumulative = environment_tables(stage.environment)
        tables = (_objects(solids), _triangles(solids), cumulative)
        self.buffers = [ctx.buffer(np.append(table, np.zeros(4)).astype("f4").tobytes()) for table in tables]
        h, w = picture.shape[:2]
        self.textures = [
            ctx.texture((w, h), 4, picture.tobytes(), dtype="f4"),
            ctx.texture(REFLECTED[::-1], 1, reflected().tobytes(), dtype="f4"),
        ]
        for texture in self.textures:
            texture.filter = (moderngl.LINEAR, moderngl.LINEAR)
            texture.repeat_x = texture.repeat_y = False
        self.textures[0].repeat_x = True
        ends = np.cumsum([sum(solid.shape == shape for solid in solids) for shape in ORDER[:4]])
        held = stage.environment.picture is not None
        self.uniforms = {
            "u_ends": ends.astype("i4").tobytes(),
            "u_objects": np.int32(len(solids)).tobytes(),
            "u_lights": np.int32(sum(solid.is_light for solid in solids)).tobytes(),
            "u_top": stage.environment.top.tobytes(),
            "u_bottom": stage.environment.bottom.tobytes(),
            "u_environment_from_world": environment_frame(up).T.astype("f4").tobytes(),
            "u_picture": np.array([w, h] if held else [0, 0], "i4").tobytes(),
            "u_environment": np.int32(0).tobytes(),
            "u_reflected": np.int32(1).tobytes(),
        }

    def bind(self) -> None:
        """To the storage buffers from ``FIRST_BINDING`` on, and texture units 0 and 1."""
        for number, buffer in enumerate(self.buffers):
            buffer.bind_to_storage_buffer(FIRST_BINDING + number)
        for unit, texture in enumerate(self.textures):
            texture.use(unit)

    def release(self) -> None:
        for buffer in self.buffers:
            buffer.release()
        for texture in self.textures:
            texture.release()


def _objects(solids: list[Solid]) -> Floats:
    """(vec4s, 4): the objects, then the number of each light."""
    found = np.zeros((len(solids), OBJECT, 4), np.float32)
    for words, solid in zip(found, solids, strict=True):
        parameter: Any = solid.surface.get(PARAMETERS.get(solid.material, ""), 0.0)
        words[0, :3] = list(MATERIALS).index(solid.material), parameter, solid.is_light
        words[1, :3] = solid.surface[COLOURS[solid.material]]
        geometry = solid.geometry
        if solid.shape == "sphere":
            words[2] = np.append(geometry["centre"], geometry["radius"])
        elif solid.shape == "plane":
            normal = geometry["normal"].astype(np.float64) / np.linalg.norm(geometry["normal"])
            words[2] = np.append(normal, normal @ geometry["point"])
        elif solid.shape == "box":
            words[2:6, :3] = np.concatenate([geometry["centre"][None], geometry["axes"]])
            words[2:5, 3] = geometry["half_size"]
        elif solid.shape == "rectangle":
            words[2:5, :3] = np.concatenate([geometry["corner"][None], geometry["edges"]])
    lights = np.zeros((len(solids), 4), np.float32)
    numbers = [number for number, solid in enumerate(solids) if solid.is_light]
    lights[: len(numbers), 0] = numbers
    return np.concatenate([found.reshape(-1, 4), lights])


def _triangles(solids: list[Solid]) -> Floats:
    """All meshes together, as ``lay_out_tree`` has them; empty where there are none."""
    corners, owners = [np.zeros((0, 3, 3), np.float32)], [np.zeros(0, np.float32)]
    for number, solid in enumerate(solids):
        if solid.vertices is not None and solid.faces is not None:
            corners.append(solid.vertices[solid.faces])
            owners.append(np.full(len(solid.faces), number, np.float32))
    triangles, owner = np.concatenate(corners), np.concatenate(owners)
    return lay_out_tree(triangles, owner) if len(triangles) else np.zeros((0, 4), np.float32)


def lay_out_tree(triangles: Floats, owner: Floats, order: NDArray[np.int64] | None = None) -> Floats:
    """Triangles (n, 3, 3) and what each belongs to (n,) as words (.., 4) of ``bvh.glsl``.

    Args:
        order: of the leaves; None: the best for these triangles, as ``tree_order`` finds it.
    """
    order = tree_order(triangles) if order is None else order
    boxes = boxes_of(triangles[order])
    corner, edges = triangles[order, 0], triangles[order, 1:] - triangles[order, :1]
    parts = np.zeros((len(order), 3, 4), np.float32)
    parts[:, 0, :3], parts[:, 1:, :3], parts[:, 0, 3] = corner, edges, owner[order]
    boxes[0, 0, 0] = len(boxes) // 2
    return np.concatenate([np.pad(boxes.reshape(-1, 3), ((0, 0), (0, 1))), parts.reshape(-1, 4)])


# Environment ----------------------------------------------------------------------------------------------


def environment_frame(up: NDArray[np.floating]) -> NDArray[np.float64]:
    """(3, 3) environment from world: z is up, and the middle of the picture lies along the first of the
    world's axes that is not up, made level (a choice)."""
    z = np.asarray(up, np.float64) / np.linalg.norm(up)
    first = np.eye(3)[0 if abs(z[0]) < 0.9 else 1]
    x = first - (first @ z) * z
    x /= np.linalg.norm(x)
    return np.stack([x, np.cross(z, x), z])


def environment_tables(environment: Environment) -> tuple[Floats, Floats]:
    """The picture (h, w, 4), its last channel the density of each texel over that of even light, and the
    cumulative shares: of rows (h,), then of texels within each row (h w,).

    A texel's share is the largest luminance of it and its neighbours, with which it is blended, times its
    solid angle.
    """
    picture = environment.picture
    if picture is None:
        return np.zeros((1, 1, 4), np.float32), np.zeros(0, np.float32)
    h, w = picture.shape[:2]
    bright = picture @ np.array([0.2126, 0.7152, 0.0722])
    bright = np.max([bright, np.roll(bright, 1, 1), np.roll(bright, -1, 1)], 0)
    rows = np.pad(bright, ((1, 1), (0, 0)), mode="edge")
    bright = np.max([rows[:-2], rows[1:-1], rows[2:]], 0)
    bright = bright + max(1e-4 * bright.mean(), 1e-12)
    share = bright * np.sin(np.pi * (np.arange(h) + 0.5) / h)[:, None]
    share /= share.sum()
    row = share.sum(1)
    within = np.cumsum(share / row[:, None], 1)
    within[:, -1] = 1
    over = np.cumsum(row)
    over[-1] = 1
    table = np.concatenate([picture, (share * (w * h))[..., None]], -1)
    return table.astype(np.float32), np.concatenate([over, within.ravel()]).astype(np.float32)


# Rough metal ----------------------------------------------------------------------------------------------

REFLECTED = (32, 64)  # roughnesses, cosines


def reflected() -> Floats:
    """What white rough metal reflects by single scattering, (32, 64) by roughness from 0 to 1, and cosine at
    the middles of even intervals: the mean of the shader's weights over directions drawn as it draws them."""
    rows, columns = REFLECTED
    k = (np.arange(32) + 0.5) / 32
    u, v = (part.ravel() for part in np.meshgrid(k, k))
    cosine = ((np.arange(columns) + 0.5) / columns)[:, None]
    w = np.stack([np.sqrt(1 - cosine**2), np.zeros_like(cosine), cosine])  # (3, columns, 1)
    found = np.zeros((rows, columns))
    for row in range(rows):
        alpha = max((row / (rows - 1)) ** 2, 1e-4)
        seen = w * np.array([alpha, alpha, 1])[:, None, None]
        seen /= np.linalg.norm(seen, axis=0)
        z = 1 - v * (1 + seen[2])
        r = np.sqrt(np.maximum(1 - z**2, 0))
        m = np.stack([r * np.cos(2 * np.pi * u), r * np.sin(2 * np.pi * u), z]) + seen
        m *= np.array([alpha, alpha, 1])[:, None, None]
        m /= np.linalg.norm(m, axis=0)
        out = 2 * (w * m).sum(0) * m - w
        lw = _smith(w, alpha)
        kept = (1 + lw) / (1 + lw + _smith(out, alpha))
        found[row] = np.where(out[2] > 0, kept, 0).mean(1)
    return found.astype(np.float32)


def _smith(w: NDArray[np.float64], alpha: float) -> NDArray[np.float64]:
    slope = alpha**2 * (w[0] ** 2 + w[1] ** 2) / np.maximum(w[2] ** 2, 1e-12)
    return np.asarray(0.5 * np.sqrt(1 + slope) - 0.5)
