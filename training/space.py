"""What a field is in: a box, all of space, or what a forward-facing scene shows."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from render.camera import Camera
from render.contraction import FAR, SIDE
from render.errors import InshaderError
from render.lattice import BOUNDED
from render.ndc import Ndc
from render.occupancy import dilate
from scenes import PosedImages
from scenes.dataset import Views
from scenes.hull import visual_hull
from scenes.normalise import looks_one_way
from training.contraction import box, expand, lattice_place
from training.kernels import Kernels, Samples
from training.ndc import ndc_of, projected

SHARE = 0.05  # of the pictures, and at least two, that must show a place for something to be there
MOST_VIEWS = 100  # that are asked what they show
CHUNK = 1 << 13  # cells asked for at a time: they stay in the processor's cache


@dataclass(frozen=True, eq=False)
class Space:
    """The box of a scene; or all of space, contracted (``training/contraction.py``); or normalised device
    coordinates (``training/ndc.py``).

    Attributes:
        bounds: (2, 3) of the box, the contracted one or the cube.
        length: of a ray, that is as long as they get there or nearly so.
        cells: (r, r, r) in which something may be.
        ball: (4,) of ``PosedImages``, where space is contracted.
        near: of ``PosedImages``, there.
        ndc: of a forward-facing scene.
    """

    bounds: Tensor
    length: float
    cells: NDArray[np.bool_]
    ball: Tensor | None = None
    near: float = 0.0
    ndc: Ndc | None = None

    @property
    def unbounded(self) -> bool:
        """Whether something is seen along every ray."""
        return self.ball is not None or self.ndc is not None

    def march(
        self, kernels: Kernels, rays_o: Tensor, rays_d: Tensor, leaps: Tensor, step: float, jitter: Tensor
    ) -> Samples:
        """Samples of rays (n, 3) in world units."""
        if self.ball is not None:
            rays_o = (rays_o - self.ball[:3]) / self.ball[3]
            return kernels.march_contracted(rays_o, rays_d, self.near, FAR, leaps, step, jitter)
        if self.ndc is not None:
            rays_o, rays_d = projected(self.ndc, rays_o, rays_d)
        return kernels.march(rays_o, rays_d, self.bounds, leaps, step, jitter)

    def places(self, t: Tensor) -> Tensor:
        """Where along the lattice samples at t (n,) lie, as if contracted rays began at their foot."""
        return t if self.ball is None else lattice_place(t)

    @property
    def facts(self) -> dict[str, NDArray[np.float32]]:
        """What an asset has in place of the data set's: its bounds, where space is contracted."""
        return {} if self.ball is None else {"bounds": self.bounds.cpu().numpy()}

    @property
    def constants(self) -> dict[str, int | float | tuple[float, ...]]:
        """Of the asset."""
        found: dict[str, int | float | tuple[float, ...]] = dict(BOUNDED)
        if self.ball is not None:
            found |= {"ball": tuple(self.ball.tolist()), "near_plane": self.near}
        return found if self.ndc is None else found | self.ndc.constants()


def space_of(dataset: PosedImages, unbounded: bool | None, resolution: int, device: str) -> Space:
    """As the scene says, or if that is None the data; ``resolution`` is r.

    Raises:
        InshaderError: all of space is asked for, and the pictures have alpha; or the contrary.
    """
    views = dataset.train
    if not (dataset.unbounded if unbounded is None else unbounded):
        bounds = torch.from_numpy(np.asarray(dataset.bounds, np.float32)).to(device)
        masked = views.images.shape[-1] == 4
        cells = visual_hull(views, dataset.bounds, resolution) if masked else np.ones((resolution,) * 3, bool)
        return Space(bounds, 2.0, cells)  # the diagonal of the box is 2
    if views.images.shape[-1] == 4:
        raise InshaderError(
            "gaussian_rbf.unbounded: the pictures have alpha, so nothing stands around the object"
        )
    near = dataset.near * float(dataset.ball[3])
    if looks_one_way(views.cameras):
        ndc = ndc_of(dataset)
        cells = _in_view(views, ndc.world(_middles(1.0, resolution)), near, resolution)
        cube = torch.tensor([[-1.0] * 3, [1.0] * 3], device=device)
        return Space(cube, 2.0, cells, ndc=ndc)
    y = _middles(SIDE, resolution)
    x = expand(torch.from_numpy(y)).numpy().astype(np.float64) * dataset.ball[3] + dataset.ball[:3]
    x[np.linalg.norm(y, axis=-1) > SIDE - 1 / FAR] = np.inf
    cells = _in_view(views, x, near, resolution)
    ball = torch.from_numpy(dataset.ball).to(device)
    return Space(box(device), 2 * SIDE, cells, ball, dataset.near)


def _middles(side: float, resolution: int) -> NDArray[np.float32]:
    """(r^3, 3) of the cells of [-side, side]^3."""
    middle = side * (2 * (np.arange(resolution) + 0.5) / resolution - 1)
    grids = np.meshgrid(middle, middle, middle, indexing="ij")
    return np.stack(grids, -1).reshape(-1, 3).astype(np.float32)


def _in_view(views: Views, x: NDArray[np.float64], near: float, resolution: int) -> NDArray[np.bool_]:
    """Cells (r, r, r), of which x (r^3, 3) are the middles, that enough pictures show, farther than ``near``
    from cameras; world units.

    Of what fewer show nobody learns how far it is: it would stand anywhere in front of that one picture. Of
    more than ``MOST_VIEWS`` pictures so many, evenly over the set, speak for all (our choice).
    """
    asked = np.linspace(0, len(views) - 1, min(len(views), MOST_VIEWS)).round().astype(np.int64)
    cameras = [(views.cameras[i].position.astype(np.float32), _edges(views.cameras[i])) for i in asked]
    enough = min(max(2, round(SHARE * len(cameras))), len(cameras))
    index = np.flatnonzero(np.isfinite(x).all(-1))
    cells = np.zeros(resolution**3, np.bool_)
    for start in range(0, len(index), CHUNK):
        part = index[start : start + CHUNK]
        middles = np.ascontiguousarray(x[part].T, np.float32)  # (3, n)
        seen = np.zeros(len(part), np.int32)
        for position, edges in cameras:
            from_camera = middles - position[:, None]
            inside = (edges @ from_camera).min(0) >= 0
            seen += inside & (np.square(from_camera).sum(0) > near * near)
        cells[part] = seen >= enough
    return dilate(cells.reshape((resolution,) * 3))


def _edges(camera: Camera) -> NDArray[np.float32]:
    """(4, 3), one for each side of the picture: all @ x are 0 or more where a place is in the picture, which
    lies at x from the camera in the world's axes. Behind the camera they never all are."""
    left_right = [[camera.fl_x, 0, -camera.cx], [-camera.fl_x, 0, camera.cx - camera.w]]
    top_bottom = [[0, -camera.fl_y, -camera.cy], [0, camera.fl_y, camera.cy - camera.h]]
    edges = np.array(left_right + top_bottom) @ camera.world_from_camera[:3, :3].T
    return edges.astype(np.float32)
