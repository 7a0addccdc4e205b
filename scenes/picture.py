"""A single picture as data: fitted as it is, in the plane z = 0."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from render.camera import Camera
from render.errors import InshaderError, require
from scenes.blender import background_of
from scenes.dataset import Picture, Views, composite
from scenes.images import area_mean, read_image, reduce_image, reduced_size
from scenes.rgbe import read_rgbe
from scenes.scene import Scene

DISTANCE = 2.0  # of the camera from the plane, world units; any would do. Our choice
THICKNESS = 1e-3  # half of that of the box, which must have one
MAX_SIDE = 32768  # what a camera may have
# By the Exif tag "orientation": quarter turns against the clock, after a flip left to right or not.
ORIENTATION = 274
TURNS = {2: (0, True), 3: (2, False), 4: (2, True), 5: (1, True), 6: (3, False), 7: (3, True), 8: (1, False)}

Image = NDArray[np.generic]


def read_picture(path: Path, scene: Scene) -> Picture:
    """Read any picture: 8 or 16 bits (PNG, JPEG, TIFF, WebP, BMP), or float (.exr, .hdr).

    Whole numbers are display-referred; grey becomes three equal channels, alpha that hides nothing is
    dropped. Colour profiles are not applied, and a printed line says so; a camera's rotation tag is. Float
    pictures stay float32 and linear, as read; what is below 0 becomes 0, with a printed line (a choice), and
    ``peak`` is their largest value on the background. ``.exr`` is read by the package of the extra ``exr``
    (colour is premultiplied there, and made straight), ``.hdr`` by ``scenes/rgbe.py``. Pictures are
    area-filtered down to ``data.max_size``.

    A unit of ``world_from_source`` is a pixel of the file, y up, the origin at the bottom left.

    Raises:
        InshaderError: missing, damaged, of several frames, in CMYK and the like, or not finite.
    """
    kind = path.suffix.lower()
    if kind in (".exr", ".hdr"):
        image: Image = _read_float(path, _read_exr if kind == ".exr" else _read_hdr)
    else:
        image = _read_whole(path)
    if image.shape[2] == 4 and (image[..., 3] == _opaque(image)).all():
        image = image[..., :3]
    file_h, file_w = image.shape[:2]
    w, h = reduced_size(file_w, file_h, scene.data.max_size)
    if max(w, h) > MAX_SIDE:
        raise InshaderError(f"{path}: {w}x{h} pixels, at most {MAX_SIDE} a side: set data.max_size")
    image = np.ascontiguousarray(_reduced(image, w, h))
    colour, background_name = background_of(scene)
    background = np.asarray(colour, np.float32)
    pixel = 2 / math.hypot(w, h)  # half the diagonal is 1
    corner = np.array([w * pixel / 2, h * pixel / 2, THICKNESS])
    pose = np.eye(4)
    pose[2, 3] = DISTANCE
    focal = DISTANCE / pixel
    camera = Camera(pose, focal, focal, w / 2, h / 2, w, h)
    world_from_source = np.diag([*[w * pixel / file_w] * 3, 1.0])
    world_from_source[:2, 3] = -corner[:2]
    peak = 1.0
    if image.dtype == np.float32:
        peak = float(composite(image, background).max()) or 1.0
    return Picture(
        test=Views(image[None], (camera,), (path.stem,)),
        bounds=np.array([-corner, corner], np.float32),
        peak=peak,
        background=background,
        background_name=background_name,
        up=np.array([0, 1, 0], np.float32),
        world_from_source=world_from_source,
    )


def _opaque(image: Image) -> float:
    return 1.0 if image.dtype == np.float32 else float(np.iinfo(image.dtype.str).max)


def _reduced(image: Image, w: int, h: int) -> Image:
    """``reduce_image`` for float pictures too."""
    if image.dtype != np.float32:
        return reduce_image(image, w, h)  # type: ignore[arg-type]
    values = np.array(image, np.float32)
    if image.shape[2] == 4:
        values[..., :3] *= values[..., 3:]
    values = area_mean(area_mean(values, h, 0), w, 1)  # (h, w, c)
    if image.shape[2] == 4:
        values[..., :3] /= np.maximum(values[..., 3:], np.float32(1e-6))
    return values


# Whole numbers ----------------------------------------------------------------------------------------------


def _read_whole(path: Path) -> Image:
    """(h, w, 3 | 4) uint8 or uint16, upright."""
    from PIL import Image as Pillow

    try:
        with Pillow.open(path) as file:
            frames, info = getattr(file, "n_frames", 1), file.info
            orientation = file.getexif().get(ORIENTATION, 1)
            several = frames > 1 and file.format != "MPO"  # a camera's preview is no second frame
    except Exception as error:  # Pillow raises about anything on damaged bytes
        raise InshaderError(f"{path}: cannot be read as a picture (damaged?): {error}") from error
    if several:
        raise InshaderError(f"{path}: holds {frames} frames, expected a picture of one: save one of them")
    image: Image = read_image(path)
    if info.get("icc_profile"):
        print(f"{path}: its colour profile is ignored, colours are taken as sRGB", flush=True)
    turns, flipped = TURNS.get(orientation, (0, False))
    return np.rot90(image[:, ::-1] if flipped else image, turns)


# Float ------------------------------------------------------------------------------------------------------


def _read_float(path: Path, read: object) -> NDArray[np.float32]:
    """(h, w, 3 | 4) float32 with straight alpha, every value finite and not below 0."""
    assert callable(read)
    try:
        image: NDArray[np.float32] = read(path)
    except InshaderError:
        raise
    except Exception as error:  # OpenEXR raises RuntimeError, numpy ValueError
        raise InshaderError(f"{path}: cannot be read as a picture (damaged?): {error}") from error
    wrong = int((~np.isfinite(image)).any(-1).sum())
    if wrong:
        raise InshaderError(f"{path}: {wrong} pixels are infinite or no numbers, expected finite values")
    if image.min() < 0:
        print(f"{path}: {int((image < 0).any(-1).sum())} pixels are below 0 and become 0", flush=True)
        image = np.maximum(image, 0)
    if image.shape[2] == 4:
        image[..., 3] = np.minimum(image[..., 3], 1)
    return image


def _read_hdr(path: Path) -> NDArray[np.float32]:
    return read_rgbe(path)


def _read_exr(path: Path) -> NDArray[np.float32]:
    openexr = require("OpenEXR", "exr")
    file = openexr.File(str(path), separate_channels=True)
    channels = {name: channel.pixels for name, channel in file.channels().items()}
    names = ["R", "G", "B"] if "R" in channels else ["Y", "Y", "Y"]
    if not set(names) <= set(channels):
        found = ", ".join(sorted(channels))
        raise InshaderError(f"{path}: its channels are {found:.100}, expected R G B or Y, with or without A")
    names += ["A"] if "A" in channels else []
    planes = [np.asarray(channels[name], np.float32) for name in names]
    image = np.stack(planes, -1)  # (h, w, 3 | 4)
    if image.shape[2] == 4:
        image[..., :3] /= np.where(image[..., 3:] > 0, image[..., 3:], 1)
    return image
