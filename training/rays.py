"""Random pixels of the training pictures as rays and colours."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from render.camera import Camera
from scenes import PosedImages
from training import processes

# A pixel this near to a covered one is trained on too: it teaches the outline. Our choice.
MARGIN = 2


class PixelRays:
    """The pixels of all training views, drawn with replacement.

    Where the pictures have alpha, only pixels on or near the object are drawn: every other ray passes outside
    the visual hull, where nothing is ever placed, and would teach nothing.
    """

    def __init__(self, dataset: PosedImages, device: str) -> None:
        images = np.asarray(dataset.train.images)
        self.peak = float(np.iinfo(images.dtype).max) if np.issubdtype(images.dtype, np.integer) else 1.0
        n, self.h, self.w, self.channels = images.shape
        self.pixels = torch.from_numpy(images).reshape(-1, self.channels)
        cameras = dataset.train.cameras
        self.device = device
        self.world_from_camera = torch.from_numpy(np.stack([c.world_from_camera for c in cameras])).float()
        lenses = [[c.fl_x, c.fl_y, c.cx, c.cy] for c in cameras]
        self.intrinsics = torch.tensor(lenses, dtype=torch.float32)  # (views, 4)
        self.wanted = _near_coverage(images)  # (pixels,) flat indices, or None for all
        self.count = n * self.h * self.w if self.wanted is None else len(self.wanted)

    def pick(self, count: int, generator: torch.Generator) -> Tensor:
        """Flat indices (count,) of random pixels."""
        index = torch.randint(self.count, (count,), generator=generator)
        return index if self.wanted is None else self.wanted[index]

    def draw(self, count: int, generator: torch.Generator) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """``rays`` of random pixels, each process's own."""
        return self.rays(self.own(count, generator))

    def own(self, count: int, generator: torch.Generator) -> Tensor:
        """Flat indices (count,) of random pixels, other ones in each process."""
        return processes.own(self.pick(processes.count() * count, generator))

    def views(self, index: Tensor) -> Tensor:
        """Which picture pixels (n,) belong to, (n,)."""
        return index // (self.h * self.w)

    def rays(self, index: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Pixels (n,): rays_o, rays_d (n, 3), colour (n, 3) not premultiplied, alpha (n, 1)."""
        view, pixel = self.views(index), index % (self.h * self.w)
        j, i = (pixel // self.w).float() + 0.5, (pixel % self.w).float() + 0.5
        fl_x, fl_y, cx, cy = self.intrinsics[view].unbind(-1)
        d = torch.stack([(i - cx) / fl_x, -(j - cy) / fl_y, -torch.ones_like(i)], -1)  # (n, 3)
        pose = self.world_from_camera[view]  # (n, 4, 4)
        rays_d = functional.normalize((pose[:, :3, :3] @ d[..., None])[..., 0], dim=-1)
        rgba = self.pixels[index].float() / self.peak
        alpha = rgba[:, 3:] if self.channels == 4 else torch.ones(len(index), 1)
        parts = pose[:, :3, 3].contiguous(), rays_d, rgba[:, :3], alpha
        return tuple(part.to(self.device) for part in parts)  # type: ignore[return-value]

    def cones(self, index: Tensor, rays_d: Tensor) -> Tensor:
        """Half a pixel's width (n,) at a unit of distance along the rays of pixels (n,)."""
        view = self.views(index)
        forward = -self.world_from_camera[view, :3, 2].to(rays_d)
        focal = self.intrinsics[view, :2].prod(-1).sqrt().to(rays_d)
        return 0.5 * (forward * rays_d).sum(-1) / focal


def camera_rays(camera: Camera, device: str) -> tuple[Tensor, Tensor]:
    """All rays of a camera, row by row: rays_o, rays_d (h * w, 3)."""
    rays_o, rays_d = camera.rays()
    parts = torch.from_numpy(np.ascontiguousarray(rays_o)), torch.from_numpy(rays_d)
    return parts[0].reshape(-1, 3).to(device), parts[1].reshape(-1, 3).to(device)


def _near_coverage(images: np.ndarray) -> Tensor | None:
    """Flat indices of pixels within MARGIN of one with alpha above 0; None without alpha."""
    if images.shape[-1] != 4:
        return None
    found, per_view = [], images.shape[1] * images.shape[2]
    for index, alpha in enumerate(images[..., 3]):
        covered = torch.from_numpy((alpha > 0).astype(np.float32))[None, None]
        near = functional.max_pool2d(covered, 2 * MARGIN + 1, 1, MARGIN)
        found.append(torch.nonzero(near.reshape(-1) > 0)[:, 0] + index * per_view)
    wanted = torch.cat(found)
    return wanted if len(wanted) else None
