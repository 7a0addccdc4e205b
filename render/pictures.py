"""Drawn pictures as files: .png for show, .exr with the numbers themselves."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from render.asset import BakedAsset
from render.errors import require
from render.files import replacing

Image = NDArray[np.float32]
# The channels of an .exr by mode, beside the coverage A; of the others it is the one number Y.
CHANNELS: Mapping[str, tuple[str, ...]] = {
    "colour": ("R", "G", "B"),
    "normal": ("N.X", "N.Y", "N.Z"),
    "depth": ("Z",),
    "wire": ("R", "G", "B"),
}


def eight_bits(picture: NDArray[Any]) -> NDArray[np.uint8]:
    """Display colours in [0, 1] rounded to 0 to 255; what is that already stays."""
    whole = picture if picture.dtype == np.uint8 else np.rint(np.clip(picture, 0, 1) * 255)
    return whole.astype(np.uint8, copy=False)


def write_png(path: Path, picture: NDArray[Any]) -> None:
    """(h, w, 3) display colours, or 8-bit ones.

    Raises:
        OSError: the file cannot be written.
    """
    import imageio.v3 as iio  # slower to import than all that shows a picture

    with replacing(path) as temporary:
        iio.imwrite(temporary, eight_bits(picture), extension=".png")


def write_exr(path: Path, channels: Mapping[str, Image]) -> None:
    """Each (h, w), stored as 32-bit floats.

    Raises:
        InshaderError: the package OpenEXR is missing.
        OSError: the file cannot be written.
    """
    openexr: Any = require("OpenEXR", "exr")
    header = {"compression": openexr.ZIP_COMPRESSION, "type": openexr.scanlineimage}
    planes = {name: np.ascontiguousarray(plane, np.float32) for name, plane in channels.items()}
    with replacing(path) as temporary:
        temporary.touch()  # what the package raises tells less than the system does
        openexr.File(header, planes).write(str(temporary))


def exr_channels(asset: BakedAsset, mode: str, images: Mapping[str, Image]) -> dict[str, Image]:
    """What ``write_exr`` takes, of ``Frame.images``.

    Colours are linear light times the coverage, without the asset's background, as the format has it; depth
    is the distance along the ray in world units, normals are unit vectors in the world.
    """
    picture, coverage = images[mode], images["coverage"]
    if mode == "colour" and (coverage < 1).any():
        over = picture - (1 - coverage) * asset.background
        straight = over / np.maximum(coverage, 1e-6)
        picture = coverage * _linear(asset, np.maximum(straight, 0))
    elif mode == "colour":
        picture = _linear(asset, picture)
    names = CHANNELS.get(mode, ("Y",))
    found = {name: picture[..., k].astype(np.float32) for k, name in enumerate(names)}
    return {**found, "A": coverage[..., 0].astype(np.float32)}


def _linear(asset: BakedAsset, colour: Image) -> Image:
    """Linear light of a display colour; pictures learnt from floats, whose peak is their own, are linear."""
    peak = asset.constants.get("peak", 1)
    if asset.driver == "image" and isinstance(peak, (int, float)) and peak != 1:
        return colour
    low, high = colour / 12.92, ((np.maximum(colour, 0) + 0.055) / 1.055) ** 2.4
    return np.where(colour <= 0.04045, low, high).astype(np.float32)
