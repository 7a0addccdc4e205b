"""What a radiance field is in, and how bright the pictures are that it learns from."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from render.contraction import BOUNDED, FAR, SIDE
from render.errors import InshaderError
from scenes import PosedImages
from scenes.hull import visual_hull
from training.contraction import box, in_view
from training.kernels import Kernels, Samples


@dataclass(frozen=True, eq=False)
class Space:
    """What the field is in: the scene box, or all of space (``training/contraction.py``).

    Attributes:
        bounds: (2, 3) of the box, or of the contracted one.
        length: what ``steps`` samples span.
        cells: (r, r, r) in which something may be.
        ball: (4,) of ``PosedImages``; None in a box.
        near: of ``PosedImages``.
    """

    bounds: Tensor
    length: float
    cells: NDArray[np.bool_]
    ball: Tensor | None
    near: float

    def march(
        self, kernels: Kernels, rays_o: Tensor, rays_d: Tensor, leaps: Tensor, step: float, jitter: Tensor
    ) -> Samples:
        """Samples of rays (n, 3) in world units."""
        if self.ball is None:
            return kernels.march(rays_o, rays_d, self.bounds, leaps, step, jitter)
        rays_o = (rays_o - self.ball[:3]) / self.ball[3]
        return kernels.march_contracted(rays_o, rays_d, self.near, FAR, leaps, step, jitter)

    @property
    def constants(self) -> dict[str, float | tuple[float, ...]]:
        """Of the asset."""
        if self.ball is None:
            return BOUNDED
        return {"ball": tuple(self.ball.tolist()), "near_plane": self.near}


def space_of(dataset: PosedImages, unbounded: bool | None, resolution: int, device: str) -> Space:
    """As the scene says, or if that is None the data; ``resolution`` is r.

    Raises:
        InshaderError: all of space is asked for, and the pictures have alpha.
    """
    if not (dataset.unbounded if unbounded is None else unbounded):
        bounds = torch.from_numpy(np.asarray(dataset.bounds, np.float32)).to(device)
        cells = visual_hull(dataset.train, dataset.bounds, resolution)
        return Space(bounds, 2.0, cells, None, 0.0)  # the diagonal of the box is 2
    if dataset.train.images.shape[-1] == 4:
        raise InshaderError(
            "gaussian_rbf.unbounded: the pictures have alpha, so nothing stands around the object"
        )
    cells = in_view(dataset.train, dataset.ball, dataset.near, resolution)
    return Space(box(device), 2 * SIDE, cells, torch.from_numpy(dataset.ball).to(device), dataset.near)


class Exposure(nn.Module):
    """By what each training picture's colours are brighter, by channel, than those of the mean picture.

    Held-out pictures are drawn as the mean picture is. Of display colours a gain (our choice).
    """

    def __init__(self, views: int) -> None:
        super().__init__()
        self.log_gain = nn.Parameter(torch.zeros(views, 3))

    def forward(self, view: Tensor) -> Tensor:
        """(n, 3) for pictures (n,); 1 where nothing is learnt."""
        if not len(self.log_gain):
            return torch.ones(3, device=self.log_gain.device)
        return torch.exp(self.log_gain - self.log_gain.mean(0))[view.to(self.log_gain.device)]
