"""Normalised device coordinates in tensors, and those of a forward-facing scene.

The twin of ``render/ndc.py``, which says more.
"""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from render.camera import Camera
from render.ndc import SIDEWAYS, Ndc
from scenes import PosedImages
from scenes.normalise import NEAR_OF_DEPTH

NEAREST = 0.05  # of the farthest depth of the box, that the near plane is away in any case
EDGE = 1.001  # so much more than the pictures show: filters stay off the border


def ndc_of(dataset: PosedImages) -> Ndc:
    """Those of the mean of all cameras of a forward-facing scene, in which what they see is within +-1.

    The near plane is as far from the mean camera as a thing may come to one, or before the scene's box.
    """
    cameras = (*dataset.train.cameras, *dataset.test.cameras)
    back = -np.mean([camera.forward for camera in cameras], 0)
    back /= np.linalg.norm(back)
    right = np.cross(np.mean([camera.world_from_camera[:3, 1] for camera in cameras], 0), back)
    right /= np.linalg.norm(right)
    rotation = np.stack([right, np.cross(back, right), back])
    middle = np.mean([camera.position for camera in cameras], 0)
    if dataset.unbounded:
        near = dataset.near * float(dataset.ball[3])
    else:
        depths = (middle - np.stack(np.meshgrid(*dataset.bounds.T, indexing="ij"), -1).reshape(-1, 3)) @ back
        near = max(NEAR_OF_DEPTH * float(depths.min()), NEAREST * float(depths.max()))
    frame = np.concatenate([rotation, -(rotation @ middle)[:, None]], 1) / near
    plain = Ndc(frame, (1.0, 1.0))
    reach = np.zeros(2)
    for camera in cameras:
        ends = plain.ends(camera.position, _corners(camera))
        reach = np.maximum(reach, np.abs(np.concatenate(ends))[:, :2].max(0))
    return Ndc(frame, (float(1 / (EDGE * reach[0])), float(1 / (EDGE * reach[1]))))


def _corners(camera: Camera) -> np.ndarray:
    """(4, 3) world directions of the corners of a picture: rays are straight, so no others reach further."""
    i, j = np.array([0, camera.w, 0, camera.w]), np.array([0, 0, camera.h, camera.h])
    slopes = [(i - camera.cx) / camera.fl_x, (camera.cy - j) / camera.fl_y, -np.ones(4)]
    return np.stack(slopes, -1) @ camera.world_from_camera[:3, :3].T


def projected(ndc: Ndc, rays_o: Tensor, rays_d: Tensor) -> tuple[Tensor, Tensor]:
    """World rays (n, 3) in normalised device coordinates: from the near plane on, unit directions."""
    frame, scale = (torch.as_tensor(part, dtype=torch.float32) for part in (ndc.frame, ndc.scale))
    frame, scale = frame.to(rays_o), scale.to(rays_o)
    o, d = rays_o @ frame[:, :3].T + frame[:, 3], rays_d @ frame[:, :3].T
    dz = torch.minimum(d[:, 2:], -SIDEWAYS * d.norm(dim=-1, keepdim=True))
    start = o - (1 + o[:, 2:]) / dz * d
    first = torch.cat([-scale * start[:, :2] / start[:, 2:], 1 + 2 / start[:, 2:]], 1)
    last = torch.cat([-scale * d[:, :2] / dz, torch.ones_like(dz)], 1)
    return first, functional.normalize(last - first, dim=-1)
