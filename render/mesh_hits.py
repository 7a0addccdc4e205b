"""Where the rays of a picture meet a mesh, in numpy: the twin of rasterising it, for few and for many faces.

Each face is tested against the pixels that its projection may cover, so work grows with the picture's depth
complexity, not with faces times pixels; pairs are held ``PAIRS`` at a time.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from render.asset import BakedMesh
from render.camera import Camera

PAIRS = 1 << 18  # of a face and a pixel, held at a time: about 100 MB
Z_NEAR = 1e-4  # of what is not in front of the camera the projection says nothing
Array = NDArray[np.float32]
Ints = NDArray[np.int64]


@dataclass(frozen=True, eq=False)
class MeshHits:
    """All hits of all rays through pixel centres, in the order of faces.

    Attributes:
        ray: (n,) the pixel, row by row.
        t: (n,) along the ray.
        entering: (n,) dot(normal, d) < 0.
        face: (n,) which is met.
    """

    ray: Ints
    t: Array
    entering: NDArray[np.bool_]
    face: Ints

    def rows(self, rays: int) -> tuple[Ints, Array, NDArray[np.bool_]]:
        """Offsets (rays + 1,), t and entering, ray by ray."""
        order = np.argsort(self.ray, kind="stable")
        counts = np.bincount(self.ray, minlength=rays)
        return np.concatenate([[0], np.cumsum(counts)]), self.t[order], self.entering[order]


def face_table(mesh: BakedMesh) -> Array:
    """(faces, 4, 4): of each face its plane [n, dot(n, x)], n a unit vector, and its corners [x, 0].

    A face without area has n = 0 and is never met.
    """
    corners = mesh.vertices[mesh.faces].astype(np.float64)  # (faces, 3, 3)
    n = np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0])
    length = np.linalg.norm(n, axis=-1, keepdims=True)
    n = np.divide(n, length, out=np.zeros_like(n), where=length > 1e-30)
    plane = np.concatenate([n, (n * corners.mean(1)).sum(-1, keepdims=True)], 1)
    return np.concatenate([plane[:, None], np.pad(corners, ((0, 0), (0, 0), (0, 1)))], 1).astype(np.float32)


def camera_hits(mesh: BakedMesh, camera: Camera, near: float) -> MeshHits:
    """Every hit beyond ``near`` of the rays through the centres of the camera's pixels."""
    table, corners = face_table(mesh), mesh.vertices[mesh.faces].astype(np.float64)
    rays_o, rays_d = (x.reshape(-1, 3) for x in camera.rays())
    found = [(np.zeros(0, np.int64), np.zeros(0, np.float32), np.zeros(0, bool), np.zeros(0, np.int64))]
    for face, ray in _pairs(corners, camera):
        o, d = rays_o[ray], rays_d[ray]
        a, b, c = np.moveaxis(corners[face] - o[:, None], 1, 0)
        # volumes that the ray spans with each edge: of one sign where it passes within; faces share them
        spans = np.stack([(np.cross(p, q) * d).sum(-1) for p, q in ((a, b), (b, c), (c, a))])
        plane = table[face, 0]
        cosine, gap = (plane[:, :3] * d).sum(-1), plane[:, 3] - (plane[:, :3] * o).sum(-1)
        t = np.divide(gap, cosine, out=np.zeros_like(gap), where=np.abs(cosine) > 1e-12)
        met = ((spans >= 0).all(0) | (spans <= 0).all(0)) & (t > near) & (np.abs(cosine) > 1e-12)
        found.append((ray[met], t[met], cosine[met] < 0, face[met]))
    return MeshHits(*(np.concatenate(parts) for parts in zip(*found, strict=True)))


def _seen(x: NDArray[np.float64], camera: Camera) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Where on the picture places (.., 3) are seen, in pixels (.., 2), and how far ahead of the camera."""
    axes = np.linalg.inv(camera.world_from_camera[:3, :3])
    p = (x - camera.position) @ axes.T
    ahead = -p[..., 2]
    slope = p[..., :2] / np.maximum(ahead, Z_NEAR)[..., None] * [1, -1]
    return slope * [camera.fl_x, camera.fl_y] + [camera.cx, camera.cy], ahead


def _pairs(corners: NDArray[np.float64], camera: Camera) -> Iterator[tuple[Ints, Ints]]:
    """Faces and pixels that may meet, in pieces."""
    place, ahead = _seen(corners, camera)
    last = np.array([camera.w - 1, camera.h - 1])
    behind: NDArray[np.bool_] = np.asarray(ahead.min(1) < Z_NEAR)
    low = np.where(behind[:, None], 0, np.clip(np.floor(place.min(1) - 1), 0, last + 1)).astype(np.int64)
    high = np.where(behind[:, None], last, np.clip(np.ceil(place.max(1)), -1, last)).astype(np.int64)
    sides = np.where(ahead.max(1)[:, None] < Z_NEAR, 0, np.maximum(high - low + 1, 0))
    counts = sides.prod(1)
    ends = np.cumsum(counts)
    total = int(ends[-1]) if len(ends) else 0
    for start in range(0, total, PAIRS):
        pair = np.arange(start, min(start + PAIRS, total))
        face = np.searchsorted(ends, pair, side="right")
        within = pair - (ends[face] - counts[face])
        column, row = low[face, 0] + within % sides[face, 0], low[face, 1] + within // sides[face, 0]
        yield face, row * camera.w + column
