"""What is looked at and how: all that keys and the panel change, without any window.

Slow work (compiling, screenshots) is put off by ``later`` with a line that says what is going on, so that the
line can be shown first.
"""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import moderngl
import numpy as np

from render.animation import Deformation
from render.asset import BakedAsset, asset_path, read_asset
from render.camera import Camera
from render.errors import InshaderError
from render.files import replacing
from render.renderer import Frame, Renderer
from viewer.fly import FAST, SPEEDS, Fly
from viewer.orbit import Orbit, Vector, clamp
from viewer.puppet import Puppet
from viewer.resolution import FrameTimes, adapted, scaled
from viewer.screen import Screen
from viewer.settings import Settings

REST = 0.3  # seconds without a change after which a view counts as at rest
NOTICE = 6.0  # seconds that a line stays on the screen
STATS = 0.5  # seconds between looks at the counts of evaluations, which have to be fetched from the GPU
WATCH = 1.0  # seconds between looks at whether the asset has been replaced
FASTER = 1.15  # factor of the speed for one step of the wheel
UPS: Mapping[str, tuple[float, float, float]] = {
    "+x": (1, 0, 0),
    "-x": (-1, 0, 0),
    "+y": (0, 1, 0),
    "-y": (0, -1, 0),
    "+z": (0, 0, 1),
    "-z": (0, 0, -1),
}


class Session:
    """A list of named assets, one of which is shown.

    Attributes:
        index, asset, renderer: which one.
        mode, view, up, exposure, background: how; ``up`` is one of ``UPS`` or None for the asset's own,
            ``background`` a display colour or None for the asset's own.
        held_out: the index of the held-out view that was jumped to last.
        puppet: how the asset is deformed, once that was asked for.
        times, stats, scale: of the frames drawn last: seconds, ``Frame.stats``, and the resolution.

    Raises:
        InshaderError: the first asset cannot be drawn here.
    """

    renderer: Renderer
    asset: BakedAsset
    view: Orbit | Fly

    def __init__(
        self, ctx: moderngl.Context, assets: Sequence[tuple[str, BakedAsset]], settings: Settings
    ) -> None:
        self.ctx, self.assets, self.settings = ctx, list(assets), settings
        self.screen = Screen(ctx)
        self.puppet: Puppet | None = None
        self.index = -1
        self.times = FrameTimes()
        self.stats: Mapping[str, Any] = {}
        self.mode = "colour"
        self.exposure = 0.0
        self.background: tuple[float, float, float] | None = None
        self.scale = 1.0
        self.help = False
        self._notices: dict[str, tuple[str, float]] = {}  # by topic: a line, and until when
        self._tasks: list[tuple[str, Callable[[], None]]] = []
        self._frame: Frame | None = None
        self._drawn: tuple[Any, ...] = ()  # what the frame shows
        self._seen: Orbit | Fly | None = None
        self._bent: Deformation | None = None
        self._moved = -REST  # when the view or the shell was seen to change
        self._motion_scale: float | None = None  # None before any frame was timed
        self._looked = 0.0  # when the stats were taken
        self._watched = time.monotonic()
        self._versions = {name: version(name) for name, _ in assets}
        self._show(0)

    def release(self) -> None:
        """Give back what is held on the GPU."""
        self.renderer.release()
        self.screen.release()

    # --- slow work, and lines about it --------------------------------------------------------------------

    def later(self, told: str, task: Callable[[], None]) -> None:
        """Do ``task`` once ``told`` has been on the screen; what a user can cause ends as a line there."""
        self._tasks.append((told, task))

    def work(self) -> None:
        """Do what was put off before the last frame."""
        due, self._tasks = self._tasks, []
        for _, task in due:
            try:
                task()
            except InshaderError as error:
                self.tell(str(error))
            except OSError as error:
                where = f"{error.filename}: " if error.filename is not None else ""
                self.tell(f"{where}{error.strerror or error}")

    def tell(self, line: str, topic: str = "") -> None:
        """Show a line for a while, in place of another of its topic."""
        self._notices.pop(topic or line, None)  # a newer line comes last
        self._notices[topic or line] = line, time.monotonic() + NOTICE

    @property
    def notices(self) -> list[str]:
        """The lines to show now."""
        now = time.monotonic()
        self._notices = {topic: entry for topic, entry in self._notices.items() if entry[1] > now}
        return [line for line, _ in self._notices.values()] + [told for told, _ in self._tasks]

    # --- assets -------------------------------------------------------------------------------------------

    @property
    def name(self) -> str:
        """Of the asset, as it was given."""
        return self.assets[self.index][0]

    def choose(self, index: int) -> None:
        """Show another of the assets, soon."""
        index %= len(self.assets)
        if index != self.index:
            self.later(f"opening {self.assets[index][0]} ...", lambda: self._show(index))

    def add(self, name: str) -> None:
        """Open a file or a run folder, soon; one of the same name is read anew."""
        self.later(f"opening {name} ...", lambda: self._add(name))

    def watch(self) -> None:
        """Open the asset anew, soon, where its file was replaced, as a training that goes on does."""
        now = time.monotonic()
        if now - self._watched < WATCH:
            return
        self._watched = now
        found = version(self.name)
        if found is not None and found != self._versions.get(self.name):
            self._versions[self.name] = found  # once, also when it turns out to be no asset
            self.add(self.name)

    def _add(self, name: str) -> None:
        path = asset_path(name)
        self._versions[name] = version(name)  # before it is read: what comes later is seen later
        if path.suffix != ".safetensors":  # anything may be dropped, also what is too large to be read
            raise InshaderError(f"{name}: not a .safetensors file")
        entry = name, read_asset(path)
        known = [index for index, (other, _) in enumerate(self.assets) if other == name]
        before = list(self.assets)
        if known:
            self.assets[known[0]] = entry
        else:
            self.assets.append(entry)
        try:
            self._show(known[0] if known else len(self.assets) - 1)
        except InshaderError as error:
            self.assets = before
            raise InshaderError(f"{name}: {error}") from error

    def _show(self, index: int) -> None:
        """Show an asset; when it cannot be drawn, everything stays as it was.

        The view is kept where the boxes are the same, so that variants of one scene can be compared.
        """
        asset = self.assets[index][1]
        renderer = Renderer(self.ctx, asset)
        comparable = False
        if self.index >= 0:
            self.renderer.release()
            old = self.asset
            comparable = old.driver == asset.driver and bool(
                np.array_equal(old.bounds, asset.bounds) and np.array_equal(old.up, asset.up)
            )
        self.index, self.asset, self.renderer, self.puppet = index, asset, renderer, None
        self._frame, self._drawn, self.stats, self._motion_scale = None, (), {}, None
        self.times.clear()
        if self.mode not in renderer.driver.MODES:
            self.mode = "colour"
        if not comparable:
            self.reset()

    @property
    def modes(self) -> Sequence[str]:
        """Those that the asset's driver has."""
        return tuple(self.renderer.driver.MODES)

    def set_mode(self, mode: str) -> None:
        """Show another quantity, if the asset has it."""
        if mode in self.modes and mode != self.mode:
            self.mode = mode
            self.times.clear()  # another program draws it

    # --- deformation --------------------------------------------------------------------------------------

    @property
    def deformable(self) -> bool:
        """Whether the asset is a shell."""
        return self.asset.driver == "shell"

    def deform(self, kind: str | None = None, angle: float | None = None, axis: str | None = None) -> None:
        """Deform the shell, as ``Puppet.set`` does; soon, where its cage has to be made first."""
        if self.puppet is not None:
            self._try(lambda puppet: puppet.set(kind, angle, axis))
        elif self.deformable:
            self.later("making the cage and compiling shaders ...", lambda: self._first(kind, angle, axis))

    def _first(self, kind: str | None, angle: float | None, axis: str | None) -> None:
        if self.deformable:  # another asset may have come in between
            self.puppet = self.puppet or Puppet(self.asset)
            self.deform(kind, angle, axis)

    def restart(self) -> None:
        """The soft body falls anew."""
        self._try(Puppet.restart)

    def play(self, seconds: float) -> None:
        """So much time has passed for what moves by itself."""
        self._try(lambda puppet: puppet.advance(seconds))

    def _try(self, change: Callable[[Puppet], None]) -> None:
        """Change the deformation; where a cell is turned inside out, that is told and the last one stays."""
        if self.puppet is not None:
            try:
                change(self.puppet)
            except InshaderError as error:
                self.tell(str(error), "deformation")

    @property
    def _state(self) -> dict[str, Any] | None:
        """What the renderer is given besides the view."""
        if self.puppet is None or self.puppet.deformation is None:
            return None
        return {"deformation": self.puppet.deformation}

    # --- the camera ---------------------------------------------------------------------------------------

    @property
    def flat(self) -> bool:
        """Whether a picture is looked at."""
        return self.asset.driver == "image"

    @property
    def flying(self) -> bool:
        return isinstance(self.view, Fly)

    @property
    def centre(self) -> Vector:
        """(3,) of the scene box."""
        low, high = self.asset.bounds.astype(np.float64)
        centre: Vector = 0.5 * (low + high)
        return centre

    def _up(self) -> Any:
        return self.asset.up if self.up is None else UPS[self.up]

    def reset(self) -> None:
        """The first view, as the asset has it."""
        self.up: str | None = None
        self.held_out: int | None = None
        self.view = Orbit.starting_at(self.asset.camera, self.asset.up, self.centre, self.flat)

    def look_from(self, camera: Camera) -> None:
        """The view of ``camera``, in the way of moving that is on; its roll is dropped."""
        if self.flying:
            self.view = Fly.starting_at(camera, self._up())
        else:
            self.view = Orbit.starting_at(camera, self._up(), self.centre, self.flat)

    def set_flying(self, flying: bool) -> None:
        """Fly or turn about the scene, from the view there is; a picture is only turned to and fro."""
        if flying and self.flat:
            self.tell("a picture is flat: there is nothing to fly through")
        elif flying != self.flying:
            here = self.view.camera(256, 256)
            if flying:
                self.view = Fly.starting_at(here, self._up())
            else:
                self.view = Orbit.starting_at(here, self._up(), self.centre, self.flat)

    def set_up(self, up: str | None) -> None:
        """Another axis that points up, from the view there is."""
        self.up = up
        self.look_from(self.view.camera(256, 256))

    def set_fov(self, fov_y: float) -> None:
        """Another vertical field of view, in radians."""
        self.view = self.view.with_fov(fov_y)

    def jump(self, step: int) -> None:
        """To the held-out view that many further on."""
        cameras = self.asset.held_out
        if not cameras:
            self.tell("this asset holds no held-out views")
            return
        first = 0 if step > 0 else -1
        self.held_out = (first if self.held_out is None else self.held_out + step) % len(cameras)
        self.look_from(cameras[self.held_out])
        self.tell(f"held-out view {self.held_out + 1} of {len(cameras)}", "held-out view")

    def drag(self, right: float, down: float, pan: bool) -> None:
        """The pointer went by these fractions of the window's height."""
        view = self.view
        if isinstance(view, Fly):
            self.view = view.looked(right, down)
        else:
            self.view = view.panned(right, down) if pan else view.turned(right, down)

    def wheel(self, steps: float) -> None:
        """It zooms; in flight it sets the speed."""
        if isinstance(self.view, Fly):
            speed = clamp(self.settings.speed * FASTER**steps, *SPEEDS)
            self.settings = replace(self.settings, speed=speed)
        else:
            self.view = self.view.zoomed(steps)

    def move(self, direction: Sequence[float], fast: bool, seconds: float) -> None:
        """Fly along ``direction`` (ahead, right, up); the first time, this takes off."""
        if not any(direction) or self.flat:
            return
        if not self.flying:
            self.set_flying(True)
            self.tell("flying: F goes back to turning")
        if isinstance(self.view, Fly):
            speed = self.settings.speed * (FAST if fast else 1)
            self.view = self.view.moved(direction, speed, seconds)

    # --- drawing ------------------------------------------------------------------------------------------

    @property
    def busy(self) -> bool:
        """Whether the next frame differs without another event."""
        playing = self.puppet is not None and self.puppet.playing
        return bool(self._tasks) or self.settings.continuous or playing or self.view is not self._seen

    def draw(self, target: moderngl.Framebuffer, size: tuple[int, int]) -> None:
        """The picture into ``target``, ``size`` pixels; drawn anew only when something has changed."""
        now = time.monotonic()
        deformation = None if self.puppet is None else self.puppet.deformation
        if self.view is not self._seen or deformation is not self._bent:
            self._seen, self._bent, self._moved = self.view, deformation, now
        moving = now - self._moved < REST
        self.scale = self.settings.scale
        if self.settings.auto:
            self.scale = (self._motion_scale or 1.0) if moving else 1.0
        wanted = self.view, deformation, self.mode, scaled(size, self.scale)
        if wanted != self._drawn or self._frame is None or self.settings.continuous:
            if wanted[2:] != self._drawn[2:] and not self.settings.auto:
                self.times.clear()  # another size
            camera = self.view.camera(*wanted[3])
            frame = self._frame = self.renderer.draw(camera, mode=self.mode, state=self._state)
            self.ctx.finish()  # the time of a frame is its own, and no picture lags behind the pointer
            self._drawn = wanted
            seconds = time.monotonic() - now
            self.times.add(seconds)
            known = len(self.times) > 0  # the first frame compiled or made textures
            if self.settings.auto and known and (moving or self._motion_scale is None):
                target_seconds = 1 / self.settings.target_fps
                self._motion_scale = adapted(self.scale, seconds, target_seconds)
            if now - self._looked > STATS or not (moving or self.settings.continuous):
                self._looked, self.stats = now, frame.stats
        assert self._frame is not None
        self._present(self._frame, target, size)

    def _present(self, frame: Frame, target: moderngl.Framebuffer, size: tuple[int, int]) -> None:
        shift = np.zeros(3) if self.background is None else self.background - self.asset.background
        away = float(np.linalg.norm(self.view.camera(1, 1).position - self.centre))
        self.screen.show(
            frame.texture,
            target,
            size,
            self.mode,
            reach=away + 1.0,  # the half-diagonal of the scene box
            shift=shift.tolist(),
            exposure=self.exposure,
        )

    def screenshot(self, size: tuple[int, int], folder: Path) -> None:
        """Write what is seen as a PNG into ``folder``, ``size`` times the chosen multiple, soon."""
        w, h = (side * self.settings.multiple for side in size)
        self.later(f"drawing {w} x {h} pixels ...", lambda: self._screenshot((w, h), folder))

    def _screenshot(self, size: tuple[int, int], folder: Path) -> None:
        import imageio.v3 as iio

        self._frame, self._drawn = None, ()  # the renderer draws over it
        frame = self.renderer.draw(self.view.camera(*size), mode=self.mode, state=self._state)
        canvas = self.ctx.texture(size, 4)
        target = self.ctx.framebuffer([canvas])
        try:
            self._present(frame, target, size)
            data = target.read(components=3, alignment=1)
        finally:
            target.release()
            canvas.release()
            self.times.clear()  # the next frame makes the textures anew
        path = free_path(folder, f"{short_name(self.name)}-{self.mode}", ".png")
        with replacing(path) as temporary:
            iio.imwrite(temporary, np.frombuffer(data, np.uint8).reshape(size[1], size[0], 3)[::-1])
        self.tell(f"written: {path}")


def version(name: str) -> tuple[int, int] | None:
    """What tells a file from the one that replaces it; None where there is none."""
    try:
        status = asset_path(name).stat()
    except (InshaderError, OSError):
        return None
    return status.st_mtime_ns, status.st_size


def short_name(name: str) -> str:
    """A word for an asset in the names of files: that of its run folder, else of the file."""
    path = Path(name).resolve()
    word = path.parent.name if path.name == "asset.safetensors" else path.name.removesuffix(".safetensors")
    return re.sub(r"[^\w.-]+", "_", word).strip(".") or "asset"


def free_path(folder: Path, stem: str, suffix: str) -> Path:
    """The first of ``stem-001``, ``stem-002``, ... in ``folder`` that there is no file of yet."""
    number = 1
    while (path := folder / f"{stem}-{number:03}{suffix}").exists():
        number += 1
    return path
