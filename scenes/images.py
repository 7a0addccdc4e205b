"""Reading pictures: any common PNG or JPEG to RGB or straight-alpha RGBA, area-filtered down to a size."""

from __future__ import annotations

import os
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from render.errors import InshaderError

# Pillow's, of files whose colours are grey or RGB; of others it gives what only looks so.
MODES = ("1", "L", "LA", "P", "PA", "RGB", "RGBA", "RGBX", "I;16", "I;16B", "I;16L", "I")

Pictures = NDArray[np.unsignedinteger]  # uint8 or uint16


def read_images(paths: Sequence[Path], max_size: int | None = None) -> tuple[Pictures, tuple[int, int]]:
    """Read pictures of one size and reduce each as soon as it is read.

    Args:
        paths: at least one file.
        max_size: longest side in pixels of what is returned; None, or more than they have, leaves them be.

    Returns:
        (n, h, w, 3 | 4) uint8 or uint16, and the (width, height) of the files. RGBA where any file has alpha
        that hides something, uint16 where any has 16 bits.

    Raises:
        InshaderError: a file is missing, truncated, no picture, or of another size than the first.
    """
    sizes: list[tuple[int, int]] = []  # of the files, the first in front

    def read(path: Path) -> Pictures:
        picture = read_image(path)
        h, w = picture.shape[:2]
        sizes.append((w, h))
        if (w, h) != sizes[0]:
            raise InshaderError(
                f"{path}: {w}x{h} pixels, but {paths[0]} has {sizes[0][0]}x{sizes[0][1]}: expected one size"
            )
        return reduce_image(picture, *reduced_size(w, h, max_size))

    first = read(paths[0])  # alone, so that it is the size the others are held against
    with ThreadPoolExecutor(min(8, os.cpu_count() or 1)) as pool:
        pictures = [first, *pool.map(read, paths[1:])]
    return stacked(pictures), sizes[0]


def stacked(pictures: Sequence[Pictures], masked: bool = False) -> Pictures:
    """Pictures of one size as one array: RGBA where any has alpha, uint16 where any has 16 bits.

    Alpha that hides nothing in any picture is no mask and is dropped, unless they are ``masked``: then it was
    asked for.
    """
    if any(picture.dtype == np.uint16 for picture in pictures):
        pictures = [p if p.dtype == np.uint16 else p.astype(np.uint16) * np.uint16(257) for p in pictures]
    if any(picture.shape[2] == 4 for picture in pictures):
        pictures = [p if p.shape[2] == 4 else _opaque(p) for p in pictures]
    peak = np.iinfo(pictures[0].dtype).max
    if not masked and all((picture[..., 3:] == peak).all() for picture in pictures):  # without alpha too
        pictures = [picture[..., :3] for picture in pictures]
    return np.stack(pictures)


def read_image(path: Path) -> Pictures:
    """One picture as (h, w, 3 | 4) uint8 or uint16; grey and palette pictures become RGB.

    Raises:
        InshaderError: the file is missing, truncated, no picture, or in CMYK and the like.
    """
    import imageio.v3 as iio

    from scenes.png16 import is_deep_png, read_deep_png

    about = _about(path)
    mode, clear = about.get("mode"), about.get("transparency")
    if mode not in MODES:
        raise InshaderError(f"{path}: its colours are {mode}, expected grey or RGB: convert it")
    try:
        if is_deep_png(path):
            picture = read_deep_png(path)
        else:
            # A palette's transparent entries, or the one transparent colour of a picture without alpha, are
            # lost unless they are asked for. Pillow has them for 8 bits.
            wanted = "RGBA" if mode == "PA" or (clear is not None and mode[0] != "I") else None
            picture = iio.imread(path, plugin="pillow", index=0, mode="RGB" if mode == "RGBX" else wanted)
    # Pillow's decoders raise about anything on damaged bytes (SyntaxError, struct.error, zlib.error, ...).
    except Exception as error:
        raise InshaderError(f"{path}: cannot be read as a picture (damaged?): {error}") from error
    if picture.dtype == np.bool_:
        picture = picture.astype(np.uint8) * np.uint8(255)
    if picture.ndim == 2:
        picture = picture[..., None]
    if picture.ndim != 3 or picture.shape[2] > 4 or picture.dtype not in (np.uint8, np.uint16):
        raise InshaderError(
            f"{path}: shape {picture.shape}, type {picture.dtype}: expected 8 or 16 bits of grey, RGB or RGBA"
        )
    if clear is not None and picture.dtype == np.uint16:
        alpha = np.where((picture == clear).all(-1, keepdims=True), 0, 65535)
        picture = np.concatenate([picture, alpha.astype(np.uint16)], -1)
    if picture.shape[2] <= 2:  # grey, or grey with alpha
        picture = np.concatenate([picture[..., :1]] * 3 + [picture[..., 1:]], -1)  # (h, w, 3 | 4)
    return picture


def image_size(path: Path) -> tuple[int, int]:
    """(width, height) in pixels, of which only the head of the file is read.

    Raises:
        InshaderError: the file is missing or no picture.
    """
    w, h = _about(path)["shape"]
    return int(w), int(h)


def _about(path: Path) -> dict[str, Any]:
    """What the head of a file says: ``mode``, ``shape`` and perhaps ``transparency``, as Pillow has them."""
    import imageio.v3 as iio

    if not path.is_file():
        raise InshaderError(f"{path}: the picture is missing")
    try:
        return dict(iio.immeta(path, plugin="pillow"))
    except Exception as error:  # as in read_image
        raise InshaderError(f"{path}: cannot be read as a picture (damaged?): {error}") from error


def read_masked(path: Path, mask_path: Path) -> Pictures:
    """A picture (h, w, 4) whose alpha is all or nothing: where its mask is lighter than half.

    Raises:
        InshaderError: a file is missing or damaged, the sizes differ, or the mask is black all over.
    """
    rgb, mask = read_image(path), read_image(mask_path)
    if mask.shape[:2] != rgb.shape[:2]:
        (h, w), (mask_h, mask_w) = rgb.shape[:2], mask.shape[:2]
        raise InshaderError(
            f"{mask_path}: {mask_w}x{mask_h} pixels, but {path} has {w}x{h}: expected one size"
        )
    covered = mask[..., :3].max(-1) > np.iinfo(mask.dtype).max // 2  # (h, w)
    if not covered.any():
        raise InshaderError(f"{mask_path}: the mask is all black, expected white where the object is")
    alpha = covered.astype(rgb.dtype) * np.iinfo(rgb.dtype).max
    return np.concatenate([rgb[..., :3], alpha[..., None]], -1)


def _opaque(picture: Pictures) -> Pictures:
    peak = np.iinfo(picture.dtype).max
    return np.concatenate([picture, np.full_like(picture[..., :1], peak)], -1)


# Reduction ------------------------------------------------------------------------------------------------


def reduced_size(w: int, h: int, max_size: int | None) -> tuple[int, int]:
    """(width, height) with a longest side of at most ``max_size``; never enlarged."""
    longest = max(w, h)
    if max_size is None or longest <= max_size:
        return w, h
    return max(1, round(w * max_size / longest)), max(1, round(h * max_size / longest))


def reduce_image(picture: Pictures, w: int, h: int) -> Pictures:
    """Area-filter a picture (h0, w0, 3 | 4) down to (h, w, 3 | 4) of the same type.

    Every new pixel is the mean over exactly the area it covers, for factors that are no whole numbers too.
    With alpha the mean is taken of premultiplied colour, so that what hides under alpha 0 does not bleed in;
    the result is straight again, and colour under alpha 0 is 0. Values are averaged as stored
    (display-referred), which is also how a field composites its samples.
    """
    if picture.shape[:2] == (h, w):
        return picture
    return rounded(area_mean(area_mean(premultiplied(picture), h, 0), w, 1), picture.dtype)


def premultiplied(picture: Pictures) -> NDArray[np.float32]:
    """A picture (h, w, 3 | 4) to be averaged: as float32, colours times alpha."""
    values = picture.astype(np.float32)
    if picture.shape[2] == 4:
        values[..., :3] *= values[..., 3:]
    return values


def rounded(values: NDArray[np.float32], dtype: np.dtype[Any]) -> Pictures:
    """The way back from means (h, w, 3 | 4) of ``premultiplied`` ones, which are overwritten."""
    if values.shape[2] == 4:
        values[..., :3] /= np.maximum(values[..., 3:], np.float32(1e-6))
        # Colours are found before alpha is rounded; where it rounds to 0 nothing is seen of them.
        values[values[..., 3] < 0.5] = 0
    return np.clip(np.rint(values), 0, np.iinfo(dtype).max).astype(dtype)


def area_mean(values: NDArray[np.float32], size: int, axis: int) -> NDArray[np.float32]:
    """Mean along ``axis`` over ``size`` equal intervals, which may begin in the middle of a sample."""
    old = values.shape[axis]
    if old == size:
        return values
    values = np.moveaxis(values, axis, 0)
    if old % size == 0:
        parts = values.reshape(size, old // size, *values.shape[1:])
        return np.moveaxis(parts.mean(1, dtype=np.float32), 0, axis)
    # The integral is piecewise linear between samples, so a difference of two of its values is exact.
    integral = np.zeros((old + 1, *values.shape[1:]), np.float64)
    np.cumsum(values, 0, np.float64, out=integral[1:])
    edges = np.arange(size + 1) * (old / size)
    whole = np.minimum(edges.astype(np.int64), old - 1)
    part = (edges - whole).reshape(-1, *[1] * (values.ndim - 1))
    at_edges = integral[whole] + part * values[whole]  # (size + 1, ...)
    means = (np.diff(at_edges, axis=0) * (size / old)).astype(np.float32)
    return np.moveaxis(means, 0, axis)
