"""What is looked at and how: all that keys and the panel change, without any window.

Slow work (compiling, screenshots) is put off by ``later`` with a line that says what is going on, so that the
line can be shown first.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import moderngl
import numpy as np

from render.animation import Deformation
from render.asset import BakedAsset, asset_path, read_asset
from render.bench import peak_of
from render.camera import Camera
from render.errors import InshaderError
from render.files import replacing
from render.renderer import Renderer
from viewer import comparison
from viewer.benchmark import Benchmark
from viewer.comparison import Comparison
from viewer.fly import FAST, SPEEDS, Fly
from viewer.names import free_path, short_name, version
from viewer.orbit import Orbit, Vector, clamp
from viewer.puppet import Puppet
from viewer.resolution import FrameTimes, adapted, scaled
from viewer.settings import Settings
from viewer.sides import Sides
from viewer.truth import same_cameras

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
        error_gain: factor of the differences in the mode ``error``.
        other, split: the mode right of the bar, and at which fraction of the width that is; None: no bar.
        held_out: the index of the held-out view that was jumped to last.
        comparison: with the pictures of the held-out views.
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
        self.pictures = Sides(ctx)
        self.puppet: Puppet | None = None
        self.index = -1
        self.times = FrameTimes()
        self.stats: Mapping[str, Any] = {}
        self.mode = "colour"
        self.other = "colour"
        self.split: float | None = None
        self.error_gain = 4.0
        self.exposure = 0.0
        self.background: tuple[float, float, float] | None = None
        self.scale = 1.0
        self.held_out: int | None = None
        self.help = False
        self._notices: dict[str, tuple[str, float]] = {}  # by topic: a line, and until when
        self._tasks: list[tuple[str, Callable[[], None]]] = []
        self.comparison = Comparison(assets[0][1])
        self._stood: Orbit | Fly | None = None  # the view that is a held-out camera's
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
        self.pictures.release()

    # --- slow work, and lines about it --------------------------------------------------------------------

    def later(self, told: str, task: Callable[[], None]) -> None:
        """Do ``task`` once ``told`` has been on the screen; what a user can cause ends as a line there."""
        self._tasks.append((told, task))

    def work(self) -> None:
        """Do what was put off before the last frame."""
        due, self._tasks = self._tasks, []
        for _, task in (*due, ("", self._compare)):
            try:
                task()
            except InshaderError as error:
                self.tell(str(error))
            except OSError as error:
                where = f"{error.filename}: " if error.filename is not None else ""
                self.tell(f"{where}{error.strerror or error}")

    def _compare(self) -> None:
        index = self.standing if self.at_rest else None
        if self.comparison.work(self.renderer, index, (self.view, self._deformation), self._state):
            self._drawn = ()  # the frame has been drawn over

    def tell(self, line: str, topic: str = "") -> None:
        """Show a line for a while, in place of another of its topic."""
        self._notices.pop(topic or line, None)  # a newer line comes last
        self._notices[topic or line] = line, time.monotonic() + NOTICE

    @property
    def notices(self) -> list[str]:
        """The lines to show now."""
        now = time.monotonic()
        self._notices = {topic: entry for topic, entry in self._notices.items() if entry[1] > now}
        return [
            *(line for line, _ in self._notices.values()),
            *self.comparison.told,
            *(told for told, _ in self._tasks),
        ]

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
        self._drawn, self.stats, self._motion_scale = (), {}, None
        self.pictures.forget()
        self.times.clear()
        before = self.comparison.truth.asset.held_out
        self.comparison.follow(asset)
        self.mode, self.other = (mode if mode in self.modes else "colour" for mode in (self.mode, self.other))
        if not comparable:
            self.reset()
        elif not same_cameras(before, asset.held_out):
            self.held_out = self._stood = None

    @property
    def modes(self) -> Sequence[str]:
        """Those that the asset's driver has, and those of a comparison where there can be one."""
        more = comparison.MODES if self.comparison.truth.offered else ()
        return *self.renderer.driver.MODES, *more

    def set_mode(self, mode: str, right: bool = False) -> None:
        """Show another quantity, if the asset has it; ``right`` of the bar, which that brings."""
        if mode not in self.modes:
            return
        if right:
            self.other = mode
            self.split = 0.5 if self.split is None else self.split
        else:
            self.mode = mode
        self.times.clear()  # another program draws it
        if mode in comparison.MODES:
            self.comparison.truth.ask()
            if self.standing is None:
                self.tell(f"the {mode} is known at the held-out views only: [ and ] lead there", "truth")

    def set_split(self, split: bool) -> None:
        """Two modes with a bar between them, or one."""
        if split and self.other == self.mode:  # something to compare with
            self.other = next((mode for mode in self.modes if mode != self.mode), self.mode)
        self.split = 0.5 if split else None

    def move_bar(self, place: float) -> None:
        """The bar to this fraction of the width."""
        self.split = clamp(place, 0.0, 1.0)

    @property
    def sides(self) -> tuple[str, ...]:
        """The mode that is drawn, or the two; without truth, colours stand for what wants it."""
        chosen = (self.mode,) if self.split is None else (self.mode, self.other)
        known = self.standing is not None and self.comparison.truth.pictures is not None
        return tuple("colour" if mode in comparison.MODES and not known else mode for mode in chosen)

    def measure(self) -> None:
        """Begin the benchmark."""
        self.comparison.benchmark = Benchmark(self.renderer, self.comparison.truth)

    def stop(self) -> None:
        """End it before its time."""
        self.comparison.benchmark = None

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
    def _deformation(self) -> Deformation | None:
        return None if self.puppet is None else self.puppet.deformation

    @property
    def _state(self) -> dict[str, Any] | None:
        """What the renderer is given besides the view."""
        return None if self._deformation is None else {"deformation": self._deformation}

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
        self.held_out = self._stood = None
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
        self.stand((first if self.held_out is None else self.held_out + step) % len(cameras))

    def stand(self, index: int) -> None:
        """At a held-out view; its roll and its principal point are kept until the view is moved."""
        cameras = self.asset.held_out
        self.held_out = index
        self.look_from(cameras[index])
        self._stood = self.view
        self.tell(f"held-out view {index + 1} of {len(cameras)}", "held-out view")

    @property
    def standing(self) -> int | None:
        """The index of the held-out view that the camera is exactly at."""
        return self.held_out if self.view is self._stood else None

    def camera(self, size: tuple[int, int]) -> Camera:
        """What is looked through, in a picture of ``size`` pixels."""
        standing = self.standing
        return self.view.camera(*size) if standing is None else self.asset.held_out[standing].resized(*size)

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
        at_work = bool(self._tasks) or self.comparison.drawing
        return at_work or self.settings.continuous or playing or self.view is not self._seen

    @property
    def at_rest(self) -> bool:
        """Whether the view and the shell have not changed for a while."""
        return time.monotonic() - self._moved >= REST

    def draw(self, target: moderngl.Framebuffer, size: tuple[int, int]) -> None:
        """The picture into ``target``, ``size`` pixels; drawn anew only when something has changed."""
        now = time.monotonic()
        if self.view is not self._seen or self._deformation is not self._bent:
            self._seen, self._bent, self._moved = self.view, self._deformation, now
        moving = not self.at_rest
        self.scale = self.settings.scale
        if self.settings.auto:
            self.scale = (self._motion_scale or 1.0) if moving else 1.0
        benchmark = self.comparison.benchmark
        if benchmark is not None and benchmark.results is None and benchmark.frame is not None:
            self.pictures.screen.show(benchmark.frame.texture, target, size, "colour", whole=True)
            return
        wanted = self.view, self._deformation, self.sides, scaled(size, self.scale)
        if wanted != self._drawn or not self.pictures.modes or self.settings.continuous:
            if wanted[2:] != self._drawn[2:] and not self.settings.auto:
                self.times.clear()  # another size
            self._draw_sides(wanted[3])
            self.ctx.finish()  # the time of a frame is its own, and no picture lags behind the pointer
            self._drawn = wanted
            seconds = time.monotonic() - now
            self.times.add(seconds)
            known = len(self.times) > 0  # the first frame compiled or made textures
            if self.settings.auto and known and (moving or self._motion_scale is None):
                target_seconds = 1 / self.settings.target_fps
                self._motion_scale = adapted(self.scale, seconds, target_seconds)
            due = now - self._looked > STATS or not (moving or self.settings.continuous)
            if due and self.pictures.frame is not None:
                self._looked, self.stats = now, self.pictures.frame.stats
        self.pictures.present(target, size, self.split, **self.looks)

    def _draw_sides(self, size: tuple[int, int]) -> None:
        camera, truth = self.camera(size), self.comparison.truth
        self.pictures.draw(self.renderer, self.sides, camera, truth, self.standing, self._state)

    @property
    def looks(self) -> dict[str, Any]:
        """How pictures are shown: arguments of ``Screen.show``."""
        shift = np.zeros(3) if self.background is None else self.background - self.asset.background
        away = float(np.linalg.norm(self.view.camera(1, 1).position - self.centre))
        return {
            "reach": away + 1.0,  # the half-diagonal of the scene box
            "shift": shift.tolist(),
            "exposure": self.exposure,
            "peak": float(peak_of(self.asset)),
            "error_gain": self.error_gain,
        }

    def screenshot(self, size: tuple[int, int], folder: Path) -> None:
        """Write what is seen as a PNG into ``folder``, ``size`` times the chosen multiple, soon."""
        w, h = (side * self.settings.multiple for side in size)
        self.later(f"drawing {w} x {h} pixels ...", lambda: self._screenshot((w, h), folder))

    def _screenshot(self, size: tuple[int, int], folder: Path) -> None:
        import imageio.v3 as iio

        self._draw_sides(size)
        picture = self.pictures.pixels(size, self.split, **self.looks)
        self._drawn = ()  # the renderer drew over the frame
        self.times.clear()  # the next one makes the textures anew
        path = free_path(folder, f"{short_name(self.name)}-{'-'.join(self.sides)}", ".png")
        with replacing(path) as temporary:
            iio.imwrite(temporary, picture)
        self.tell(f"written: {path}")
