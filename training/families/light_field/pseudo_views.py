"""Pseudo views: pictures that a teacher draws, kept as bytes in one memory-mapped file.

The file stands in the user's cache, under a name made from all that decides its content, beside a file of
flags, one for each view that is there. So a run that stopped, or another student of the same teacher, finds
what was drawn; several processes fill it together, each its own views. It is reserved as a whole before the
first view, so that a full disk is told at the start.
"""

from __future__ import annotations

import contextlib
import errno
import hashlib
import os
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import BinaryIO

import numpy as np

from render.camera import Camera
from render.errors import InshaderError
from scenes.cache import cache_folder
from training.families.light_field.teacher import Teacher

KEPT_BYTES = 8 << 30  # of pseudo views in the cache; older ones make room


class PseudoViews:
    """``len(cameras)`` pictures of one size.

    Attributes:
        pictures: (n, h, w, 3) uint8 display colours, as far as they are there.
        done: (n,) uint8, 1 where they are.

    Args:
        key: bytes that say what the teacher is; cameras are added to it.

    Raises:
        InshaderError: there is no room for the file.
    """

    def __init__(self, cameras: tuple[Camera, ...], teacher: Teacher, key: bytes) -> None:
        self.cameras, self.teacher = cameras, teacher
        digest = hashlib.sha256(key)
        for camera in cameras:
            lens = (camera.fl_x, camera.fl_y, camera.cx, camera.cy, camera.w, camera.h)
            digest.update(camera.world_from_camera.tobytes() + np.array(lens, np.float64).tobytes())
        folder = cache_folder() / "pseudo_views"
        self.path = folder / f"{digest.hexdigest()[:24]}.rgb"
        shape = (len(cameras), cameras[0].h, cameras[0].w, 3)
        _reserve(self.path, int(np.prod(shape)), self.path.with_suffix(".done"))
        _reserve(self.path.with_suffix(".done"), len(cameras))
        self.pictures = np.memmap(self.path, np.uint8, "r+", shape=shape)
        self.done = np.memmap(self.path.with_suffix(".done"), np.uint8, "r+", shape=(len(cameras),))
        os.utime(self.path)
        _clear(folder)

    def __len__(self) -> int:
        return len(self.cameras)

    def fill(self, wanted: Sequence[int]) -> None:
        """Draw those of the wanted views that are not there."""
        missing = [index for index in wanted if not self.done[index]]
        if not missing:
            return
        with self.teacher() as draw:
            for index in missing:
                picture = np.clip(draw(self.cameras[index]), 0, 1)
                self.pictures[index] = np.round(255 * picture).astype(np.uint8)
                self.done[index] = 1  # after the picture: who ends in between draws it again


def _reserve(path: Path, size: int, flags: Path | None = None) -> None:
    """Make ``path`` a file of ``size`` bytes, zero where it is new, with its room on the disk taken.

    Args:
        flags: a file that tells what is in the other; it goes where that one has to be made.

    Raises:
        InshaderError: the disk is full, or the folder cannot be written to.
    """
    made = False
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        made = not path.exists()
        # First: who ends in between leaves no flags of pictures that are not there.
        if flags is not None and (made or path.stat().st_size < size):
            flags.unlink(missing_ok=True)
        with open(path, "ab") as file:
            if file.tell() < size:
                _take_room(file, size)
    except OSError as error:
        if made:
            with contextlib.suppress(OSError):
                path.unlink()
        reason = error.strerror
        if error.errno == errno.ENOSPC:
            reason = f"{size >> 20} MB are needed and not free"
        raise InshaderError(
            f"{path}: {reason}; make room, name another folder by INSHADER_CACHE, or set fewer "
            "light_field.pseudo_views"
        ) from error


def _take_room(file: BinaryIO, size: int) -> None:
    """Lengthen a file; where the system cannot reserve room, there must be enough at least now."""
    if hasattr(os, "posix_fallocate"):
        os.posix_fallocate(file.fileno(), 0, size)
        return
    if shutil.disk_usage(os.path.dirname(file.name)).free < size:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
    file.truncate(size)


def _clear(folder: Path) -> None:
    """Remove the oldest files until the others take no more than KEPT_BYTES; the newest stays."""
    files = sorted(folder.glob("*.rgb"), key=lambda path: path.stat().st_mtime, reverse=True)
    kept = 0
    for number, path in enumerate(files):
        kept += path.stat().st_size
        if number and kept > KEPT_BYTES:
            with contextlib.suppress(OSError):  # another training may hold it
                path.with_suffix(".done").unlink(missing_ok=True)  # first: flags must not outlive pictures
                path.unlink()
