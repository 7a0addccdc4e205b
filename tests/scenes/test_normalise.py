from __future__ import annotations

import numpy as np
import pytest

from render.camera import look_at
from render.errors import InshaderError
from scenes.dataset import Views
from scenes.normalise import normalised, world_from_box

BOUNDS = np.array([[2.0, -1, 5], [4, 3, 6]])


def test_box_is_centred_with_half_diagonal_one() -> None:
    world_from_source = world_from_box(BOUNDS)
    corners = BOUNDS @ world_from_source[:3, :3].T + world_from_source[:3, 3]
    assert np.allclose(corners[0], -corners[1])
    assert np.linalg.norm(corners[1]) == pytest.approx(1)


def test_round_trip_and_same_pixels() -> None:
    camera = look_at((10, 1, 8), (3, 1, 5.5), (0, 0, 1), 20, 10, 0.6)
    views = Views(np.zeros((1, 10, 20, 3), np.uint8), (camera,), ("a",))
    posed = normalised(views, views, BOUNDS, ((1, 1, 1), "white"), (0, 0, 1))
    source_from_world = np.linalg.inv(posed.world_from_source)
    box = posed.bounds @ source_from_world[:3, :3].T + source_from_world[:3, 3]
    assert np.allclose(box, BOUNDS, atol=1e-5)
    moved = posed.train.cameras[0]
    assert np.allclose(moved.transformed(source_from_world).world_from_camera, camera.world_from_camera)
    assert np.allclose(moved.rays()[1], camera.rays()[1], atol=1e-6)  # a similarity without rotation
    # A point of the source lands on the ray of the pixel that saw it.
    rays_o, rays_d = camera.rays()
    point = posed.world_from_source @ [*(rays_o[3, 7] + 5 * rays_d[3, 7]), 1]
    away = point[:3] - moved.position
    assert np.allclose(away / np.linalg.norm(away), moved.rays()[1][3, 7], atol=1e-6)


@pytest.mark.parametrize(
    "bounds", [[[0, 0, 0], [1, 1, 0]], [[0, 0, 0], [1, np.nan, 1]], [[1, 1, 1], [0, 0, 0]]]
)
def test_empty_boxes_are_told(bounds: list[list[float]]) -> None:
    with pytest.raises(InshaderError, match="scene box"):
        world_from_box(bounds)
