"""How a surface starts where pictures have alpha: as the rim of the visual hull (our choice)."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from render.errors import InshaderError
from render.occupancy import dilate
from scenes import PosedImages
from scenes.hull import visual_hull
from training import processes

START_SHARE, START_POINTS = 0.01, 1 << 14  # of the budget, and of the hull in a step
START_BAND = 0.1  # world units: how near to the hull's rim its points are


class HullStart:
    """The visual hull of the training views, and a loss that turns a field into its distance.

    Args:
        resolution: cells of the hull along a side of the box.
        radius: world units; no camera may stand so near to the middle of the box.
        device: of the field that is to become its distance.

    Attributes:
        cells: (r, r, r) of the hull; None without alpha.
        allowed: (r, r, r) cells that a surface may pass through.

    Raises:
        InshaderError: nothing is in all masks, or a camera stands inside the object.
    """

    def __init__(self, dataset: PosedImages, resolution: int, radius: float, device: str) -> None:
        alpha = dataset.train.images.shape[-1] == 4
        self.cells = visual_hull(dataset.train, dataset.bounds, resolution) if alpha else None
        check_views(dataset, self.cells, radius)
        # A cell more: where the hull is tight, the surface has to be able to lie on its rim.
        self.allowed = np.ones((resolution,) * 3, bool) if self.cells is None else dilate(self.cells)
        self.size, self.device = dataset.bounds[1] - dataset.bounds[0], device
        self.near_rim: tuple[Tensor, Tensor] | None = None  # points in [0, 1] and distances, when wanted

    def loss(
        self, distance: Callable[[Tensor], Tensor], generator: torch.Generator
    ) -> tuple[Tensor, dict[str, float]]:
        """How far a field, u (n, 3) -> f (n,), is from the distance to the rim at random points near it."""
        if self.near_rim is None:
            assert self.cells is not None  # without a hull nobody starts there
            rim = torch.from_numpy(rim_distance(self.cells, self.size))
            near = torch.nonzero(rim.abs() < START_BAND)
            u = (near + 0.5) / torch.tensor(rim.shape)
            self.near_rim = u.to(self.device), rim[tuple(near.T)].to(self.device)
        u, truth = self.near_rim
        drawn = torch.randint(len(u), (processes.count() * START_POINTS,), generator=generator)
        index = processes.own(drawn)
        error = distance(u[index]) - truth[index]
        return error.abs().mean(), {
            "psnr": -10 * math.log10(max(error.detach().square().mean().item(), 1e-12))
        }


def rim_distance(hull: NDArray[np.bool_], size: NDArray[np.float32]) -> NDArray[np.float32]:
    """World distances (r, r, r) of the middles of cells to the rim of the hull, negative inside."""
    from scipy.ndimage import distance_transform_edt

    cell = (size / hull.shape).tolist()
    outside, inside = (distance_transform_edt(part, cell) for part in (~hull, hull))
    return np.asarray(np.where(hull, -inside, outside), np.float32)


def check_views(dataset: PosedImages, hull: NDArray[np.bool_] | None, radius: float) -> None:
    """Raise InshaderError where the masks or the cameras leave no object that could be seen from outside."""
    if hull is not None and not hull.any():
        raise InshaderError(
            "no place in the box is covered in all views: the masks are black or do not fit the "
            "poses, or data.bounds misses the object (render-train SCENE --inspect draws them)"
        )
    for camera, name in zip(dataset.train.cameras, dataset.train.names, strict=True):
        position = camera.position.astype(np.float32)
        within = float(np.linalg.norm(position)) < radius
        if hull is not None:
            u = (position - dataset.bounds[0]) / (dataset.bounds[1] - dataset.bounds[0])
            within = bool(((u >= 0) & (u < 1)).all()) and bool(hull[tuple((u * hull.shape).astype(int))])
        if within:
            raise InshaderError(
                f"the camera of {name} stands inside the object; its surface has to be seen from "
                "outside (set data.bounds around the object)"
            )
