"""A deformed shell on the device: what ``shaders/drivers/shell_pose.glsl`` reads."""

from __future__ import annotations

import moderngl
import numpy as np

from render.cage import EDGE, HINTS, STEPS, Pose
from render.parts import TEXTURE_WIDTH

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
