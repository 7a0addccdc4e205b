"""What the passes of the driver ``shell`` draw, and what they draw into."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Any

import moderngl
import numpy as np
from numpy.typing import NDArray

from render.asset import BakedMesh
from render.mesh_hits import face_table
from render.parts import TEXTURE_WIDTH

FACES = 10  # texture unit of a mesh's faces


class Mesh:
    """A mesh on the device, to be drawn by several programs."""

    def __init__(self, ctx: moderngl.Context, mesh: BakedMesh) -> None:
        self.ctx, self.empty = ctx, not len(mesh.faces)
        if self.empty:
            return
        self.vertices = ctx.buffer(mesh.vertices.astype("f4").tobytes())
        self.indices = ctx.buffer(mesh.faces.astype("u4").tobytes())
        rows = face_rows(mesh)
        self.faces = ctx.texture((TEXTURE_WIDTH, len(rows)), 4, rows.tobytes(), dtype="f4")
        self.faces.filter = (moderngl.NEAREST, moderngl.NEAREST)
        self.arrays: dict[int, moderngl.VertexArray] = {}

    def move(self, mesh: BakedMesh) -> None:
        """Draw these vertices from now on; the faces are the same."""
        if not self.empty:
            self.vertices.write(mesh.vertices.astype("f4").tobytes())
            self.faces.write(face_rows(mesh).tobytes())

    def draw(self, program: moderngl.Program) -> None:
        if self.empty:
            return
        if program.glo not in self.arrays:
            self.arrays[program.glo] = self.ctx.vertex_array(
                program, [(self.vertices, "3f", "in_x")], self.indices, index_element_size=4
            )
        self.faces.use(FACES)
        self.arrays[program.glo].render(moderngl.TRIANGLES)

    def release(self) -> None:
        if not self.empty:
            items: Iterable[Any] = (*self.arrays.values(), self.faces, self.indices, self.vertices)
            for item in items:
                item.release()


def face_rows(mesh: BakedMesh) -> NDArray[np.float32]:
    """``face_table`` as rows of a texture (rows, TEXTURE_WIDTH, 4), the last one filled up with zeros."""
    texels = face_table(mesh).reshape(-1, 4)
    return np.pad(texels, ((0, -len(texels) % TEXTURE_WIDTH), (0, 0))).reshape(-1, TEXTURE_WIDTH, 4)


def box_of(mesh: BakedMesh) -> NDArray[np.float32]:
    """(2, 3) the corners of the box around a mesh of faces."""
    return np.stack([mesh.vertices.min(0), mesh.vertices.max(0)])


def corners_of(box: NDArray[np.float32]) -> NDArray[np.float32]:
    """(8, 3) all corners of a box (2, 3)."""
    return np.stack(np.meshgrid(*box.T, indexing="ij"), -1).reshape(8, 3)


class Layer:
    """Float textures of one size with a framebuffer, as many as ``components`` names, made when sized.

    Attributes:
        depth: its own depth buffer, where it has one, or another layer's.
    """

    def __init__(
        self, ctx: moderngl.Context, components: tuple[int, ...], dtype: str = "f4", depth: bool = False
    ) -> None:
        self.ctx, self.components, self.dtype, self.has_depth = ctx, components, dtype, depth
        self.textures: list[moderngl.Texture] = []
        self.depth: moderngl.Renderbuffer | None = None
        self.framebuffer: moderngl.Framebuffer | None = None

    def resize(self, size: tuple[int, int], depth: moderngl.Renderbuffer | None = None) -> None:
        """depth: another layer's, of that size."""
        same_depth = self.has_depth or depth is self.depth
        if self.framebuffer is not None and self.framebuffer.size == size and same_depth:
            return
        self.release()
        self.depth = self.ctx.depth_renderbuffer(size) if self.has_depth else depth
        self.textures = [self.ctx.texture(size, count, dtype=self.dtype) for count in self.components]
        for texture in self.textures:
            texture.filter = (moderngl.NEAREST, moderngl.NEAREST)
        self.framebuffer = self.ctx.framebuffer(self.textures, self.depth)
        self.framebuffer.depth_mask = self.has_depth

    @contextmanager
    def target(self, blending: int | None = None, depth: bool = False) -> Iterator[None]:
        """Draw into it.

        Args:
            blending: moderngl.MIN or MAX of what is there and what is drawn.
            depth: draw only what the depth buffer has farther; it changes if it is the layer's own.
        """
        assert self.framebuffer is not None
        flags = moderngl.NOTHING if blending is None else moderngl.BLEND
        flags |= moderngl.DEPTH_TEST if depth else moderngl.NOTHING
        with self.ctx.scope(self.framebuffer, enable_only=flags):
            if blending is not None:
                self.ctx.blend_equation = blending  # type: ignore[assignment]
            yield
            self.ctx.blend_equation = moderngl.FUNC_ADD  # type: ignore[assignment]

    def clear(self, value: float) -> None:
        assert self.framebuffer is not None
        self.framebuffer.clear(value, value, value, value)

    def release(self) -> None:
        for item in (self.framebuffer, *self.textures, self.depth if self.has_depth else None):
            if item is not None:
                item.release()
        self.framebuffer, self.textures, self.depth = None, [], None
