"""Films of an asset: the camera goes round it or along a path, or a shell moves before it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
from rich.console import Console
from rich.progress import track

from render.animation import Rig, motion
from render.asset import BakedAsset
from render.camera import Camera
from render.camera_path import CameraPath, orbit, read_path
from render.context import create_context
from render.errors import InshaderError
from render.renderer import Renderer
from render.video import write_video

FPS = 30
SECONDS = 6.0  # of a film whose cameras say nothing of time
MAX_FRAMES = 1 << 16


def write_film(
    asset: BakedAsset,
    target: Path,
    path: Path | None = None,
    size: tuple[int, int] | None = None,
    frames: int | None = None,
    kind: str | None = None,
) -> None:
    """Film an asset into an .mp4 file.

    Args:
        path: a file of cameras; None: the asset's own goes once around the up axis, or stands still before
            what moves.
        size: (w, h) of the picture; None: that of the cameras, at most a pixel less, as sides must be even.
        frames: None: as many as the path's time has, else ``SECONDS``.
        kind: one of ``render.animation.MOTIONS``, of a shell.

    Raises:
        InshaderError: the asset, the cameras or the size are unusable, there is no OpenGL or no encoder, or a
            cell of the cage is turned inside out.
        OSError: the file cannot be written.
    """
    cameras = film_cameras(asset, path, frames, still=kind is not None)
    w, h = cameras[0].w, cameras[0].h
    size = (max(w - w % 2, 2), max(h - h % 2, 2)) if size is None else size
    rig = None if kind is None else Rig(asset)
    ctx = create_context()
    with Renderer(ctx, asset) as renderer:
        states = _states(rig, kind)
        pictures = (renderer.draw(camera, size, state=next(states)).images["colour"] for camera in cameras)
        for _ in _tracked(write_video(target, pictures, size, FPS), len(cameras)):
            pass
    ctx.release()


def film_cameras(
    asset: BakedAsset, path: Path | None, frames: int | None, still: bool = False
) -> list[Camera]:
    """A camera for each frame; what the arguments mean is said at ``write_film``."""
    if path is None and not still:
        centre = asset.bounds.astype(np.float64).mean(0)
        return orbit(asset.camera, asset.up, centre, frames or round(FPS * SECONDS))
    if path is None:
        return [asset.camera] * (frames or round(FPS * SECONDS))
    return path_cameras(read_path(path), str(path), frames)


def path_cameras(keys: CameraPath, name: str, frames: int | None = None) -> list[Camera]:
    """Those of a path, ``FPS`` a second or so many.

    Raises:
        InshaderError: there are too many; the line begins with ``name``.
    """
    seconds = keys.times[-1] - keys.times[0] if len(keys.times) > 1 else SECONDS - 1 / FPS
    count = frames or round(FPS * seconds) + 1
    if count > MAX_FRAMES:
        raise InshaderError(
            f"{name}: {seconds:g} seconds are {count} frames, at most {MAX_FRAMES} are filmed"
        )
    return keys.spread(count)


def _states(rig: Rig | None, kind: str | None) -> Iterator[dict[str, object] | None]:
    """What the renderer is given with each frame."""
    if rig is None or kind is None:
        while True:
            yield None
    for deformation in motion(rig, kind, FPS):
        yield {"deformation": deformation}


def _tracked(steps: Iterator[int], total: int) -> Iterator[int]:
    """They, with a bar on a terminal."""
    console = Console(stderr=True)
    yield from track(steps, "filming", total=total, console=console, disable=not console.is_terminal)
