"""Photographs and the lenses that took them: read, undistorted once, reduced, as cameras without distortion.

What readers of photographs (``blender``, ``capture``, ``colmap``) have in common once they know which picture
was taken from where.
"""

from __future__ import annotations

import os
import sys
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from render.camera import Camera
from render.errors import InshaderError
from scenes import images as image_source
from scenes import lens as lens_source
from scenes.cache import cache_file, read_cache, write_cache
from scenes.images import Pictures, read_image, read_masked, reduce_image, stacked
from scenes.lens import Lens, undistort, zoom

UNEVEN = 1e-2  # how far from a rotation a pose may be, as the largest entry of R^T R - I

Matrix = NDArray[np.float64]


@dataclass(frozen=True)
class Photograph:
    """Where it is said to be, its files, world_from_camera (4, 4) in the frame of its source, its lens."""

    where: str
    picture: Path
    mask: Path | None
    pose: Matrix
    lens: Lens


def rotation_of(axes: Matrix, where: str) -> Matrix:
    """The rotation (3, 3) that is nearest to a matrix which is one but for rounding.

    Raises:
        InshaderError: it is mirrored, or none.
    """
    if np.linalg.det(axes) < 0:
        raise InshaderError(f"{where} is mirrored, expected a right-handed one")
    off = float(np.abs(axes.T @ axes - np.eye(3)).max())
    if off > UNEVEN:
        raise InshaderError(
            f"{where} holds no rotation: R^T R is {off:.2g} from the identity, expected at most {UNEVEN:g}"
        )
    u, _, v = np.linalg.svd(axes)
    return np.asarray(u @ v, np.float64)


def camera_of(photograph: Photograph, w: int, h: int) -> Camera:
    """The camera without distortion, of pictures reduced to (w, h), in the file's photograph."""
    lens = photograph.lens
    factor = zoom(lens) if any(lens.distortion) else 1.0
    x, y = w / lens.w, h / lens.h
    return Camera(
        photograph.pose, factor * lens.fl_x * x, factor * lens.fl_y * y, lens.cx * x, lens.cy * y, w, h
    )


def read_photographs(photographs: list[Photograph], w: int, h: int) -> Pictures:
    """All pictures (n, h, w, 3 | 4), undistorted and reduced; from the cache where they have been before."""
    if not any(any(photograph.lens.distortion) for photograph in photographs):
        return _read(photographs, w, h)
    parameters = {
        "size": (w, h),
        "lenses": [asdict(photograph.lens) for photograph in photographs],
        "files": [
            _state(path)
            for photograph in photographs
            for path in (photograph.picture, photograph.mask)
            if path
        ],
    }
    sources = [Path(module) for module in (__file__, image_source.__file__, lens_source.__file__) if module]
    file = cache_file("capture", parameters, sources)
    for channels in (3, 4):
        cached = read_cache(file, {"images": (len(photographs), h, w, channels)})
        if cached is not None:
            return cached["images"]
    images = _read(photographs, w, h)
    if images.dtype == np.uint8:
        write_cache(file, {"images": images.astype(np.uint8, copy=False)})
    return images


def _state(path: Path) -> tuple[str, int, int]:
    """What changes when a file does."""
    about = path.stat()
    return str(path.resolve()), about.st_size, about.st_mtime_ns


def _read(photographs: list[Photograph], w: int, h: int) -> Pictures:
    """Read, undistort and reduce, with a progress bar where someone looks on."""
    from rich.console import Console
    from rich.progress import track

    def read(photograph: Photograph) -> Pictures:
        lens = photograph.lens
        picture = (
            read_image(photograph.picture)
            if photograph.mask is None
            else read_masked(photograph.picture, photograph.mask)
        )
        if picture.shape[:2] != (lens.h, lens.w):
            raise InshaderError(
                f"{photograph.where}: {photograph.picture} has {picture.shape[1]}x{picture.shape[0]} pixels, "
                f"expected {lens.w}x{lens.h} as the first picture"
            )
        return undistort(picture, lens, w, h) if any(lens.distortion) else reduce_image(picture, w, h)

    console = Console(stderr=True)
    with ThreadPoolExecutor(min(4, os.cpu_count() or 1)) as pool:
        done = track(
            pool.map(read, photographs),
            "reading pictures",
            len(photographs),
            console=console,
            transient=True,
            disable=not sys.stderr.isatty(),
        )
        return stacked(list(done), masked=any(photograph.mask for photograph in photographs))
