"""What is written: screenshots, films, and camera paths."""

from __future__ import annotations

import json
import shlex
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from render.camera import Camera
from render.camera_path import orbit
from render.errors import InshaderError
from render.files import atomic_write
from render.pictures import exr_channels, write_exr, write_png
from viewer import tracing
from viewer.names import free_path, short_name
from viewer.session import Session
from viewer.take import Take


def here() -> Path:
    """The current folder, into which everything is written.

    Raises:
        InshaderError: it was deleted.
    """
    try:
        return Path.cwd()
    except FileNotFoundError as error:
        raise InshaderError("the current folder was deleted: nothing can be written there") from error


def screenshot(session: Session, window: tuple[int, int], folder: Path) -> None:
    """Begin to write what is seen into ``folder``, in the size that the settings give beside a window."""
    if session.take is not None:
        return
    size, exr = session.settings.written(window), session.settings.exr
    suffix = ".exr" if exr else ".png"
    sides = session.sides[:1] if exr else session.sides
    path = free_path(folder, f"{short_name(session.name)}-{'-'.join(sides)}", suffix)
    camera = session.viewpoint.camera(size)
    steps = _exr_steps(session, camera, path) if exr else _png_steps(session, camera, path)
    total = session.tracer.wanted if session.tracer is not None and tracing.MODE in sides else 1
    session.take = Take(f"drawing {size[0]} x {size[1]} pixels", path, steps, total)


def _png_steps(session: Session, camera: Camera, path: Path) -> Iterator[int]:
    for picture in _drawn(session, camera, session.viewpoint.standing):
        if picture is None:
            yield session.tracer.samples if session.tracer is not None else 0
        else:
            write_png(path, picture)


def _exr_steps(session: Session, camera: Camera, path: Path) -> Iterator[int]:
    """The numbers of the one mode, or of that left of the bar, by the renderer alone."""
    mode, tracer = session.sides[0], session.tracer
    if mode == tracing.MODE and tracer is not None:
        images = session.pictures.gather(tracer, camera).images  # they are shown in the meantime
        while not tracer.done:
            yield tracer.samples
            images = session.pictures.gather(tracer, camera).images
        images = {"colour": images["colour"], "coverage": np.ones_like(images["coverage"])}
        mode = "colour"
    elif mode in session.renderer.driver.MODES:
        images = session.renderer.draw(camera, mode=mode, **session.how).images
    else:
        raise InshaderError(f"an .exr holds what is drawn, not the mode {mode}: choose another, or .png")
    write_exr(path, exr_channels(session.asset, mode, images))


def film(session: Session, window: tuple[int, int], folder: Path) -> None:
    """Begin to film the path, or once around where it has no keys, as it is seen now.

    Raises:
        InshaderError: the path takes too long.
    """
    from render.film import FPS, SECONDS, path_cameras
    from render.video import write_video

    if session.take is not None:
        return
    w, h = (max(side - side % 2, 2) for side in session.settings.written(window))
    path = free_path(folder, f"{short_name(session.name)}-film", ".mp4")
    keys = session.path.built((w, h))
    if keys is None:
        start, up = session.viewpoint.camera((w, h)), session.asset.up
        cameras = orbit(start, up, session.viewpoint.centre, round(FPS * SECONDS))
    else:
        cameras = path_cameras(keys, "the camera path")
    steps = write_video(path, _film_pictures(session, cameras, 1 / FPS), (w, h), FPS)
    session.path.playing = False
    session.take = Take(f"filming {w} x {h} pixels", path, steps, len(cameras))


def _film_pictures(
    session: Session, cameras: list[Camera], seconds: float
) -> Iterator[NDArray[np.uint8] | None]:
    for number, camera in enumerate(cameras):
        if number:
            session.puppeteer.advance(seconds)
        yield from _drawn(session, camera, None)


def _drawn(session: Session, camera: Camera, standing: int | None) -> Iterator[NDArray[np.uint8] | None]:
    """What is seen from there, (h, w, 3), after a None for every step until the path tracer has enough."""
    session.draw_sides(camera, standing)
    tracer = session.tracer
    while tracer is not None and tracing.MODE in session.pictures.modes and not tracer.done:
        yield None
        session.pictures.gather(tracer, camera)
    yield session.pictures.pixels((camera.w, camera.h), session.split, **session.looks)


def save_path(session: Session, window: tuple[int, int], folder: Path) -> None:
    """Write the camera path as JSON, and tell the command that films it; without keys, what is seen now."""
    size = session.settings.written(window)
    keys = session.path.built(size)
    word = short_name(session.name)
    data: Any
    if keys is None:
        path, data = free_path(folder, f"{word}-camera", ".json"), session.viewpoint.camera(size).to_json()
    else:
        path, data = free_path(folder, f"{word}-path", ".json"), keys.to_json()
    atomic_write(path, (json.dumps(data, indent=1) + "\n").encode())
    target = path.with_suffix(".png" if keys is None else ".mp4").name
    command = shlex.join(["render-export", session.name, "--to", target, "--camera", path.name])
    session.tell(f"written: {path}; for a batch job: {command}")
