"""The visual hull: what all silhouettes leave standing, and the scene box that follows from it.

Source: Laurentini, "The visual hull concept for silhouette-based image understanding", 1994. Carving level by
level, and the generous first box, are our choice.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray

from render.camera import Camera
from render.errors import InshaderError
from scenes.dataset import Views

COARSEST = 16  # cells a side of the first level; larger cells are hardly ever carved


def visual_hull(views: Views, bounds: ArrayLike, resolution: int) -> NDArray[np.bool_]:
    """Cells of a box that no silhouette excludes.

    A cell is carved only where a view sees all of it, a pixel of margin included, and alpha 0 everywhere
    there: no part of the object is ever lost. A view carves nothing that reaches outside its picture.

    Args:
        views: pictures with alpha (n, h, w, 4); cameras in the units of ``bounds``.
        bounds: (2, 3) corners of the box.
        resolution: cells a side, r.

    Returns:
        (r, r, r) bool, indexed [x][y][z] with x first.

    Raises:
        InshaderError: the pictures have no alpha.
    """
    if views.images.shape[-1] != 4:
        raise InshaderError("visual hull: the pictures have no alpha, set data.bounds")
    low, high = np.asarray(bounds, np.float64)
    tables = [_summed_coverage(image[..., 3]) for image in views.images]
    levels = [resolution]
    while levels[0] % 2 == 0 and levels[0] > COARSEST:
        levels.insert(0, levels[0] // 2)
    alive = np.argwhere(np.ones((levels[0],) * 3, np.bool_)).astype(np.int32)  # (cells, 3)
    for level in levels:
        if level != levels[0]:  # the eight children of what is left
            children = np.argwhere(np.ones((2, 2, 2), np.bool_)).astype(np.int32)  # (8, 3)
            alive = (2 * alive[:, None] + children).reshape(-1, 3)
        cell = (high - low) / level
        centres = np.ascontiguousarray((low + (alive + 0.5) * cell).T, np.float32)  # (3, cells)
        keep = np.ones(len(alive), np.bool_)
        for camera, table in zip(views.cameras, tables, strict=True):
            seen, covered = _seen(camera, table, centres, cell / 2)
            keep &= ~seen | covered
            if np.count_nonzero(keep) < 0.9 * len(keep):  # dropping cells costs as much as testing them
                alive, centres = alive[keep], np.compress(keep, centres, 1)
                keep = np.ones(len(alive), np.bool_)
        alive = alive[keep]
    hull = np.zeros((resolution,) * 3, np.bool_)
    hull[tuple(alive.T)] = True
    return hull


def _summed_coverage(alpha: NDArray[np.generic]) -> NDArray[np.int32]:
    """(h + 1, w + 1): how many covered pixels lie above and left of each pixel corner."""
    table = np.zeros((alpha.shape[0] + 1, alpha.shape[1] + 1), np.int32)
    np.cumsum(np.cumsum(alpha != 0, 0, np.int32), 1, out=table[1:, 1:])
    return table


def _seen(
    camera: Camera, table: NDArray[np.int32], centres: NDArray[np.float32], half: NDArray[np.float64]
) -> tuple[NDArray[np.bool_], NDArray[np.bool_]]:
    """Which cells project, with a pixel of margin, wholly into the picture; which of them onto coverage.

    Args:
        centres: (3, n), one row per axis: rows that lie together make this twice as fast.
        half: (3,) half extents of a cell.

    Returns:
        Two (n,) masks; the second is False where the first is.
    """
    camera_from_world = np.linalg.inv(camera.world_from_camera).astype(np.float32)
    rotation = camera_from_world[:3, :3]
    x, y, depth = rotation @ centres + camera_from_world[:3, 3:]  # (n,) each
    depth = -depth
    reach_x, reach_y, reach_z = (float(reach) for reach in np.abs(rotation) @ half)  # along the camera's axes
    in_front = depth > 1.001 * reach_z
    depth[~in_front] = 2 * reach_z  # any depth that divides well: these are not seen
    # |x'/d' - x/d| <= (reach_x + |x/d| reach_z) / (d - reach_z) for every point (x', d') of the cell.
    near = 1 / (depth - reach_z)
    x /= depth
    y /= -depth
    w, h = table.shape[1] - 1, table.shape[0] - 1
    left, right = _interval(x, near, reach_x, reach_z, float(camera.fl_x), float(camera.cx))
    top, bottom = _interval(y, near, reach_y, reach_z, float(camera.fl_y), float(camera.cy))
    seen = in_front & (left >= 0) & (right <= w) & (top >= 0) & (bottom <= h)
    index = np.flatnonzero(seen)
    i0, i1 = left[index].astype(np.int32), np.ceil(right[index]).astype(np.int32)
    j0, j1 = top[index].astype(np.int32) * (w + 1), np.ceil(bottom[index]).astype(np.int32) * (w + 1)
    count = table.reshape(-1)
    covered = np.zeros_like(seen)
    covered[index] = count[j1 + i1] - count[j0 + i1] > count[j1 + i0] - count[j0 + i0]
    return seen, covered


def _interval(
    slope: NDArray[np.float32],
    near: NDArray[np.float32],
    reach: float,
    reach_z: float,
    fl: float,
    centre: float,
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """The pixels between which a cell falls along one axis of the picture, a pixel of margin included."""
    middle = fl * slope + np.float32(centre)
    margin = np.abs(slope)
    margin *= fl * reach_z
    margin += fl * reach
    margin *= near
    margin += 1
    return middle - margin, middle + margin


def bounds_from_views(views: Views, resolution: int = 64) -> NDArray[np.float64]:
    """The scene box (2, 3) in the units of the cameras, as tight as the silhouettes tell.

    A generous box around what the cameras look at is carved, then the box of what is left once more, finer.
    Without alpha the generous box itself is returned.

    Raises:
        InshaderError: the cameras do not look at a common place, or no cell is inside all silhouettes.
    """
    box = _box_in_view(views.cameras)
    if views.images.shape[-1] != 4:
        return box
    for cells in (resolution, 2 * resolution):
        size = (box[1] - box[0]) / cells
        occupied = np.argwhere(visual_hull(views, box, cells))  # (n, 3)
        occupied = occupied[well_seen(views, box[0] + (occupied + 0.5) * size, size / 2)]
        if len(occupied) == 0:
            raise InshaderError(
                "scene box: nothing lies inside all silhouettes (wrong poses?); set data.bounds"
            )
        box = box[0] + np.stack([occupied.min(0), occupied.max(0) + 1]) * size
    # The hull is conservative by about a cell; half a percent more keeps filters off the border.
    return box + np.array([[-1.0], [1.0]]) * 0.005 * float(np.max(box[1] - box[0]))


def well_seen(views: Views, centres: NDArray[np.float64], half: NDArray[np.float64]) -> NDArray[np.bool_]:
    """Cells (n, 3) that at least half as many views see wholly as see the best seen one (our choice): (n,).

    A corner of the generous box that hardly any picture shows is not carved, yet says nothing of the object.
    """
    h, w = views.images.shape[1:3]
    count = np.zeros(len(centres), np.int32)
    cells = np.ascontiguousarray(centres.T, np.float32)
    nothing = np.zeros((h + 1, w + 1), np.int32)
    for camera in views.cameras:
        count += _seen(camera, nothing, cells, half)[0]
    return count >= max(1, int(count.max(initial=0)) // 2)


def _box_in_view(cameras: tuple[Camera, ...]) -> NDArray[np.float64]:
    """A cube (2, 3) about the point nearest to all optical axes, as wide as the view there (our choice)."""
    positions = np.stack([camera.position for camera in cameras])
    forward = np.stack([camera.forward for camera in cameras])
    across = np.eye(3) - forward[:, :, None] * forward[:, None, :]  # (n, 3, 3) projectors off each axis
    system = across.sum(0)
    if np.linalg.cond(system) > 1e6:
        raise InshaderError(
            "scene box: the cameras all look one way, so auto cannot place it; set data.bounds"
        )
    centre = np.linalg.solve(system, np.einsum("nij,nj->i", across, positions))
    distances = np.einsum("nj,nj->n", centre - positions, forward)
    spread = [max(camera.w / camera.fl_x, camera.h / camera.fl_y) / 2 for camera in cameras]
    half = 1.1 * float(np.median(distances * np.array(spread)))
    if not half > 0:
        raise InshaderError(
            "scene box: the cameras look away from each other, auto cannot place it; set data.bounds"
        )
    return np.stack([centre - half, centre + half])
