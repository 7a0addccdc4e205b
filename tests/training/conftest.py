"""A data set whose pictures are known in closed form, and the kernels of each device."""

from __future__ import annotations

import numpy as np
import pytest

from render.camera import Camera, look_at
from scenes import PosedImages, Views
from training.kernels import Kernels, select

RADIUS = 0.45
SUPERSAMPLING = 4  # rays a pixel along each side: truth is area-filtered


def ball_picture(camera: Camera) -> np.ndarray:
    """A ball about the origin, coloured by position: (h, w, 4) uint8, straight alpha, area-filtered."""
    n = SUPERSAMPLING
    rays_o, rays_d = camera.resized(n * camera.w, n * camera.h).rays()
    b = (rays_o * rays_d).sum(-1)
    gap = b**2 - (rays_o**2).sum(-1) + RADIUS**2
    x = rays_o + (-b - np.sqrt(np.maximum(gap, 0)))[..., None] * rays_d
    rgb = 0.5 + 0.4 * np.sin(7 * x[..., [1, 2, 0]] + [0, 1, 2])
    premultiplied = np.concatenate([rgb, np.ones_like(rgb[..., :1])], -1) * (gap > 0)[..., None]
    picture = premultiplied.reshape(camera.h, n, camera.w, n, 4).mean((1, 3))
    picture[..., :3] /= np.maximum(picture[..., 3:], 1e-6)
    return np.round(255 * picture).astype(np.uint8)


def ball_views(count: int, size: int, seed: int) -> Views:
    """Pictures from random places around the ball."""
    rng = np.random.default_rng(seed)
    positions = rng.normal(size=(count, 3))
    positions *= 2.2 / np.linalg.norm(positions, axis=-1, keepdims=True)
    cameras = tuple(look_at(position, [0, 0, 0], [0, 0, 1], size, size, 0.6) for position in positions)
    images = np.stack([ball_picture(camera) for camera in cameras])
    return Views(images, cameras, tuple(f"view {k}" for k in range(count)))


@pytest.fixture(scope="session")
def ball() -> PosedImages:
    """24 pictures of 32x32 to train on, 3 to score."""
    side = 1 / np.sqrt(3)  # half-diagonal 1
    return PosedImages(
        train=ball_views(24, 32, 1),
        test=ball_views(3, 32, 2),
        bounds=np.float32([[-side] * 3, [side] * 3]),
        background=np.float32([1, 1, 1]),
        background_name="white",
        up=np.float32([0, 0, 1]),
        world_from_source=np.eye(4),
    )


@pytest.fixture(params=["cpu", pytest.param("cuda", marks=pytest.mark.gpu)])
def device(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def kernels(device: str) -> Kernels:
    """The kernels that training uses on a device."""
    return select(device)
