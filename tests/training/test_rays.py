"""Random pixels: the ray of each is the camera's, and its colour the picture's."""

from __future__ import annotations

import numpy as np
import pytest

from render.camera import Camera, look_at
from scenes import PosedImages, Views
from training.families import seeded
from training.rays import MARGIN, PixelRays, camera_rays

W, H, VIEWS = 9, 7, 3


def numbered(dtype: type, channels: int) -> np.ndarray:
    """Pictures (VIEWS, H, W, channels) whose colours say view, row and column: each is unique."""
    view, row, column = np.meshgrid(np.arange(VIEWS), np.arange(H), np.arange(W), indexing="ij")
    images = np.stack([20 * view + 10, 30 * row + 3, 25 * column + 7], -1)
    if channels == 4:
        images = np.concatenate([images, 255 - 10 * view[..., None]], -1)
    peak = np.iinfo(dtype).max if np.issubdtype(dtype, np.integer) else 1
    return images.astype(dtype) * dtype(peak // 255) if peak > 1 else (images / 255).astype(dtype)


def cameras() -> tuple[Camera, ...]:
    """Of differing places, scales, focal lengths and principal points."""
    rng = np.random.default_rng(1)
    found = []
    for k in range(VIEWS):
        pose = look_at(rng.normal(size=3) * 2, [0, 0, 0], [0, 0, 1], W, H, 0.8).world_from_camera.copy()
        pose[:3, :3] *= 1 + k
        found.append(Camera(pose, 8.0 + k, 9.0 - k, W / 2 + k, H / 2 - 0.3 * k, W, H))
    return tuple(found)


def dataset(images: np.ndarray) -> PosedImages:
    views = Views(images, cameras(), tuple(f"view {k}" for k in range(VIEWS)))
    box = np.float32([[-0.577] * 3, [0.577] * 3])
    white, up = np.ones(3, np.float32), np.float32([0, 0, 1])
    return PosedImages(views, views, box, white, "white", up, np.eye(4))


@pytest.mark.parametrize("channels", [3, 4])
@pytest.mark.parametrize("dtype", [np.uint8, np.uint16, np.float32])
def test_draws_are_pixels_of_the_pictures(dtype: type, channels: int) -> None:
    images = numbered(dtype, channels)
    parts = PixelRays(dataset(images), "cpu").draw(5000, seeded(0))
    assert [part.shape[1] for part in parts] == [3, 3, 3, 1]
    rays_o, rays_d, colour, alpha = (part.numpy() for part in parts)
    assert all(part.dtype == np.float32 for part in (rays_o, rays_d, colour, alpha))
    numbers = np.round(255 * colour).astype(int)
    view, row, column = (numbers - [10, 3, 7]).T // [[20], [30], [25]]
    peak = np.iinfo(dtype).max if np.issubdtype(dtype, np.integer) else 1
    truth = images[view, row, column].astype(np.float64) / peak
    assert np.abs(colour - truth[:, :3]).max() < 1e-6
    assert np.abs(alpha[:, 0] - (truth[:, 3] if channels == 4 else 1)).max() < 1e-6
    rays = [camera.rays() for camera in cameras()]
    assert np.abs(rays_o - np.stack([o for o, _ in rays])[view, row, column]).max() < 1e-6
    # Directions are computed in float32 there and in float64 here
    assert np.abs(rays_d - np.stack([d for _, d in rays])[view, row, column]).max() < 1e-6
    assert np.abs(np.linalg.norm(rays_d, axis=-1) - 1).max() < 1e-6
    # 5000 draws of 189 pixels: every one comes, none more than thrice as often as it should
    counts = np.bincount((view * H + row) * W + column, minlength=VIEWS * H * W)
    assert len(counts) == VIEWS * H * W and counts.min() > 0 and counts.max() < 3 * 5000 / len(counts)


def test_draws_repeat_with_their_seed() -> None:
    pixels = PixelRays(dataset(numbered(np.uint8, 4)), "cpu")
    first, again, other = (pixels.draw(50, seeded(seed)) for seed in (1, 1, 2))
    assert all((a == b).all() for a, b in zip(first, again, strict=True))
    assert not (first[2] == other[2]).all()


def test_only_pixels_on_or_near_the_object_are_drawn() -> None:
    """By Chebyshev distance, in its own picture alone; a trace of alpha is enough."""
    images = numbered(np.uint8, 4)
    images[..., 3] = 0
    images[0, 1, 2, 3] = 255
    images[2, 6, 8, 3] = 1
    wanted = np.zeros((VIEWS, H, W), bool)
    wanted[0, max(0, 1 - MARGIN) : 2 + MARGIN, max(0, 2 - MARGIN) : 3 + MARGIN] = True
    wanted[2, 6 - MARGIN :, 8 - MARGIN :] = True
    pixels = PixelRays(dataset(images), "cpu")
    assert pixels.count == wanted.sum()
    _, _, colour, alpha = (part.numpy() for part in pixels.draw(2000, seeded(0)))
    view, row, column = (np.round(255 * colour).astype(int) - [10, 3, 7]).T // [[20], [30], [25]]
    drawn = np.zeros_like(wanted)
    drawn[view, row, column] = True
    assert np.array_equal(drawn, wanted)
    assert set(np.round(255 * alpha[:, 0]).astype(int).tolist()) == {0, 1, 255}


def test_where_all_is_empty_every_pixel_is_drawn() -> None:
    images = numbered(np.uint8, 4)
    images[..., 3] = 0
    assert PixelRays(dataset(images), "cpu").count == VIEWS * H * W


def test_camera_rays() -> None:
    for camera in cameras():
        rays_o, rays_d = camera_rays(camera, "cpu")
        wanted_o, wanted_d = camera.rays()
        assert np.array_equal(rays_o.numpy().reshape(H, W, 3), wanted_o)
        assert np.array_equal(rays_d.numpy().reshape(H, W, 3), wanted_d)
