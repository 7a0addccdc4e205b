"""A crop box: what lies within it is drawn as before, what lies outside is not there."""

from __future__ import annotations

import moderngl
import numpy as np
import pytest

from render.asset import BakedAsset
from render.camera import look_at
from render.errors import InshaderError
from render.renderer import Renderer
from tests.render.conftest import ball, bank, shell, teacher
from tests.render.test_image import noise

CAMERA = look_at((1.3, 1.5, 0.7), (0, 0, 0), (0, 0, 1), 64, 48, 0.75)
MARGIN = 0.06  # world units about the box's sides within which a pixel may be of either kind
BUILDERS = {"march": ball, "trace": teacher, "trace_cells": bank, "shell": shell}


def met(box: np.ndarray) -> np.ndarray:
    """(h, w) which rays of the camera meet the box."""
    rays_o, rays_d = (part.astype(np.float64) for part in CAMERA.rays())
    ends = (box[:, None, None] - rays_o) / rays_d  # (2, h, w, 3)
    near, far = ends.min(0).max(-1), ends.max(0).min(-1)
    return far > np.maximum(near, 0)


@pytest.mark.parametrize("host", ["compute", "fragment"])
@pytest.mark.parametrize("driver", BUILDERS)
def test_a_crop_box(driver: str, host: str, ctx: moderngl.Context) -> None:
    asset: BakedAsset = BUILDERS[driver]()
    low, high = asset.bounds.astype(np.float64)
    box = np.stack([low + (0, 0.4, 0) * (high - low), high - (0.3, 0, 0.1) * (high - low)])
    with Renderer(ctx, asset, host=host) as renderer:
        assert renderer.crops
        before = renderer.draw(CAMERA).images
        whole = renderer.draw(CAMERA, crop=np.stack([low - 1, high + 1])).images
        cropped = renderer.draw(CAMERA, crop=box).images
        depth = renderer.draw(CAMERA, mode="depth").images["depth"][..., 0]
        after = renderer.draw(CAMERA).images
    for key, value in before.items():
        np.testing.assert_array_equal(whole[key], value)
        np.testing.assert_array_equal(after[key], value, err_msg="it is forgotten with the next picture")
    grown = np.stack([box[0] - MARGIN, box[1] + MARGIN])
    shrunk = np.stack([box[0] + MARGIN, box[1] - MARGIN])
    outside = ~met(grown)
    assert outside.sum() > 200 and (before["coverage"][outside] > 0.5).sum() > 20
    assert (cropped["coverage"][outside] == 0).all()
    np.testing.assert_array_equal(
        cropped["colour"][outside], np.broadcast_to(asset.background, (outside.sum(), 3))
    )
    rays_o, rays_d = CAMERA.rays()
    seen = rays_o + depth[..., None] * rays_d
    within = ((seen > shrunk[0]) & (seen < shrunk[1])).all(-1) & (before["coverage"][..., 0] > 0.999)
    assert within.sum() > 100
    difference = np.abs(cropped["colour"] - before["colour"])[within]
    # rays that begin elsewhere sample elsewhere: of a lattice by up to half a step
    assert np.median(difference) < 0.02 and np.percentile(difference, 90) < 0.1


def test_a_picture_is_not_cropped(ctx: moderngl.Context) -> None:
    with Renderer(ctx, noise()) as renderer:
        assert not renderer.crops
        with pytest.raises(InshaderError, match="cannot be cropped"):
            renderer.draw(CAMERA, crop=np.zeros((2, 3)))
