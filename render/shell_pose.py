"""A deformed shell on the device: what ``shaders/drivers/shell_pose.glsl`` reads, and a tree that follows."""

from __future__ import annotations

import moderngl
import numpy as np
from numpy.typing import NDArray

from render.bvh import LEAF
from render.cage import EDGE, HINTS, STEPS, Pose
from render.parts import TEXTURE_WIDTH

Floats = NDArray[np.float32]
DEFINES = {"POSE_HINTS": HINTS, "POSE_FIRST": HINTS**3 // 4, "POSE_EDGE": EDGE}


class PoseTable:
    """A texture of one pose at a time, made when there is one."""

    def __init__(self, ctx: moderngl.Context) -> None:
        self.ctx = ctx
        self.texture: moderngl.Texture | None = None

    def write(self, pose: Pose) -> dict[str, bytes]:
        """Hold another pose; the uniforms that go with it."""
        hints = pose.hints.astype(np.uint32).reshape(-1, 4)
        texels = np.concatenate([hints, pose.words().reshape(-1, 4)])
        rows = -(-len(texels) // TEXTURE_WIDTH)
        if self.texture is None or self.texture.height != rows:
            self.release()
            self.texture = self.ctx.texture((TEXTURE_WIDTH, rows), 4, dtype="u4")
            self.texture.filter = (moderngl.NEAREST, moderngl.NEAREST)
        self.texture.write(np.pad(texels, ((0, -len(texels) % TEXTURE_WIDTH), (0, 0))).tobytes())
        low, high = pose.bounds
        return {
            "u_pose_low": low.astype("f4").tobytes(),
            "u_pose_size": (high - low).astype("f4").tobytes(),
            "u_pose_steps": np.int32(STEPS).tobytes(),
        }

    def bind(self, unit: int) -> None:
        assert self.texture is not None
        self.texture.use(unit)

    def release(self) -> None:
        if self.texture is not None:
            self.texture.release()
        self.texture = None


def moved_tree(order: NDArray[np.int64], triangles: Floats, owner: Floats) -> Floats:
    """What ``stage_tables.lay_out_tree`` gives, its boxes drawn around triangles (n, 3, 3) that have moved.

    Args:
        order: as ``build_tree`` found it before; triangles that were near each other still are.
    """
    corners = triangles[order]
    held = corners.reshape(len(order) // LEAF, -1, 3)
    levels = [np.stack([held.min(1), held.max(1)], 1)]  # of boxes, the leaves' first
    while len(levels[-1]) > 1:
        pairs = levels[-1].reshape(-1, 2, 2, 3)
        levels.append(np.stack([pairs[:, :, 0].min(1), pairs[:, :, 1].max(1)], 1))
    boxes = np.concatenate([np.zeros((1, 2, 3), np.float32), *reversed(levels)])
    boxes[0, 0, 0] = len(levels[0])
    parts = np.zeros((len(order), 3, 4), np.float32)
    parts[:, 0, :3], parts[:, 1:, :3], parts[:, 0, 3] = (
        corners[:, 0],
        corners[:, 1:] - corners[:, :1],
        owner[order],
    )
    return np.concatenate([np.pad(boxes.reshape(-1, 3), ((0, 0), (0, 1))), parts.reshape(-1, 4)])
