"""A plain numpy renderer of the baked, quantised arrays.

It draws the picture that the shader should draw, slowly. So it separates "the bake lost quality" from "the
shader is wrong", and serves where no OpenGL can be had. Idea: ``baked_render.py`` of MERF (Reiser et al.
2023).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from render.asset import BakedAsset
from render.camera import Camera
from render.renderer import CHANNELS, check_mode, driver_of, driver_state

Image = NDArray[np.float32]


def draw(
    asset: BakedAsset,
    camera: Camera,
    size: tuple[int, int] | None = None,
    mode: str = "colour",
    state: Mapping[str, Any] | None = None,
) -> dict[str, Image]:
    """What ``Renderer(ctx, asset).draw(camera, size, mode, state).images`` holds, without OpenGL.

    Returns:
        ``mode``: (h, w, channels), and ``coverage``: (h, w, 1), 1 - transmittance.

    Raises:
        InshaderError: the asset cannot be drawn, or its driver has no such mode or state.
    """
    driver = driver_of(asset)
    check_mode(driver, mode)
    if size is not None and tuple(size) != (camera.w, camera.h):
        camera = camera.resized(*size)
    picture, _ = driver.reference(asset, camera, mode, *driver_state(driver, state))
    return {mode: picture[..., : CHANNELS[mode]], "coverage": picture[..., 3:]}
