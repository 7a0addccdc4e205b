"""What is looked at and how: all that keys and the panel change, without any window.

Slow work (compiling, reading) is put off by ``later`` with a line that says what is going on, so that the
line can be shown first; what takes many steps (films, benchmarks) does one between two frames.
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import moderngl
import numpy as np

from render.asset import BakedAsset, asset_path
from render.bench import peak_of
from render.camera import Camera
from render.camera_path import read_path
from render.errors import InshaderError
from render.renderer import Renderer
from viewer import comparison, tracing
from viewer.comparison import Comparison
from viewer.crop import Crop
from viewer.fly import FAST, SPEEDS, Fly
from viewer.library import Library
from viewer.orbit import clamp
from viewer.path import Path as CameraKeys
from viewer.progress import TrainingLog
from viewer.puppet import Puppeteer
from viewer.resolution import Pace, scaled
from viewer.settings import Settings
from viewer.sides import Sides
from viewer.take import Take
from viewer.tasks import Tasks
from viewer.tracing import PathTracer
from viewer.truth import same_cameras
from viewer.viewpoint import Viewpoint

REST = 0.3  # seconds without a change after which a view counts as at rest
FASTER = 1.15  # factor of the speed for one step of the wheel


class Session:
    """A list of named assets, one of which is shown.

    Attributes:
        index, asset, renderer: which one.
        viewpoint: from where.
        mode, exposure, background, crop: how; ``background`` a display colour or None for the asset's own.
        error_gain: factor of the differences in the mode ``error``.
        other, split: the mode right of the bar, and at which fraction of the width that is; None: no bar.
        comparison: with the pictures of the held-out views.
        tracer: of the mode ``pathtrace``, once that was asked for.
        puppeteer: deforms a shell.
        path: of the camera, that is edited.
        take: what is being written.
        log: of the training that the asset comes from, where it lies in a run folder.
        rested: whether nothing moved when the last frame was drawn.
        pace: how long frames take, and how many pixels they have.

    Args:
        awaited: names of runs that have no asset yet.

    Raises:
        InshaderError: the first asset cannot be drawn here.
    """

    renderer: Renderer
    asset: BakedAsset

    def __init__(
        self,
        ctx: moderngl.Context,
        assets: Sequence[tuple[str, BakedAsset]],
        settings: Settings,
        awaited: Iterable[str] = (),
    ) -> None:
        self.ctx, self.settings = ctx, settings
        self.library = Library(assets, awaited)
        self.tasks = Tasks()
        self.tell, self.later = self.tasks.tell, self.tasks.later
        self.path = CameraKeys()
        self.viewpoint = Viewpoint(assets[0][1], self.tell, taken=lambda: self.path.play(False))
        self.pictures = Sides(ctx)
        self.comparison = Comparison(assets[0][1])
        self.puppeteer = Puppeteer(assets[0][1], self.tasks)
        self.tracer: PathTracer | None = None
        self.take: Take | None = None
        self.log: TrainingLog | None = None
        self.index = -1
        self.pace = Pace()
        self.mode = self.other = "colour"
        self.split: float | None = None
        self.error_gain = 4.0
        self.exposure = 0.0
        self.background: tuple[float, float, float] | None = None
        self.crop = Crop()
        self.help = False
        self._drawn: tuple[Any, ...] = ()  # what the frame shows
        self._announced: tuple[Any, ...] = ()  # modes that were told to be compiled
        self._seen: tuple[Any, ...] = ()  # view, deformation and crop, as they were last
        self.rested = False
        self._moved = -REST  # when one of them was seen to change
        self._show(0)

    def release(self) -> None:
        """Give back what is held on the GPU."""
        self.cancel()
        if self.tracer is not None:
            self.tracer.release()
        self.renderer.release()
        self.pictures.release()

    # --- slow work, and lines about it --------------------------------------------------------------------

    def work(self) -> None:
        """Do what was put off before the last frame, and a step of what is under way."""
        self.tasks.work()
        if self.take is not None:
            self.tasks.attempt(self._take_step)
        else:
            self.tasks.attempt(self._compare)
        if self.log is not None:
            self.log.poll()

    def cancel(self) -> None:
        """Give up what is being written."""
        if self.take is not None:
            self.take.cancel()
            self.tell(f"given up: {self.take.path}")
            self.take = None
            self._forget()

    def _forget(self) -> None:
        """Something else was drawn than what is seen, whose textures may be gone."""
        self._drawn = ()
        self.pictures.forget()

    def _compare(self) -> None:
        index, before = self.viewpoint.standing if self.at_rest else None, self.renderer.frames
        try:
            self.comparison.work(self.renderer, index, self._shown, self.how)
        finally:
            if self.renderer.frames != before:
                self._forget()

    def _take_step(self) -> None:
        take = self.take
        assert take is not None
        try:
            take.step()
        finally:
            if take.over:
                self.take = None
                self._forget()
                self.pace.times.clear()  # the next frame makes the textures anew
        if take.over:
            self.tell(f"written: {take.path}")

    @property
    def notices(self) -> list[str]:
        """The lines to show now."""
        under_way = [] if self.take is None else [self.take.line]
        return [*self.tasks.lines(), *self.comparison.told, *under_way, *self.tasks.told()]

    @property
    def told(self) -> tuple[Any, ...]:
        """What can change on the screen while nothing is done to it."""
        going = None if self.log is None else (self.log.step, self.log.live)
        score = self.comparison.score
        return *self.notices, going, score

    # --- assets -------------------------------------------------------------------------------------------

    @property
    def assets(self) -> list[tuple[str, BakedAsset]]:
        """Those there are, by name."""
        return self.library.entries

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
        """Open a file or a run folder, soon; one of the same name is read anew. A .json is a camera path."""
        opening = self._add_path if name.lower().endswith(".json") else self._add
        self.later(f"opening {name} ...", lambda: opening(name))

    def watch(self) -> None:
        """Open the asset anew, soon, where its file was replaced, as a training that goes on does; after what
        is being filmed or taken, which it would end."""
        if self.take is not None:
            return
        for name in self.library.replaced(self.name):
            self.add(name)

    def _add(self, name: str) -> None:
        entry = self.library.read(name)
        before = list(self.assets)
        try:
            self._show(self.library.put(entry))
        except InshaderError as error:
            self.library.entries = before
            raise InshaderError(f"{name}: {error}") from error

    def _add_path(self, name: str) -> None:
        self.path.take_over(read_path(Path(name)))
        self.tell(f"camera path: {len(self.path.keys)} keys")

    def _show(self, index: int) -> None:
        """Show an asset; when it cannot be drawn, everything stays as it was.

        The view is kept where the boxes are the same, so that variants of one scene can be compared.
        """
        name, asset = self.assets[index]
        renderer = Renderer(self.ctx, asset)
        comparable = False
        if self.index >= 0:
            self.renderer.release()
            old = self.asset
            comparable = (old.driver == "image") == (asset.driver == "image") and bool(
                np.array_equal(old.bounds, asset.bounds) and np.array_equal(old.up, asset.up)
            )
        self.cancel()
        if self.tracer is not None:
            self.tracer.release()
        self.index, self.asset, self.renderer = index, asset, renderer
        self.tracer = None
        self.puppeteer.follow(asset)
        self._announced = ()
        self._forget()
        self.pace.restart()
        folder = asset_path(name).parent if self.library.is_file(name) else None
        if self.log is None or folder is None or self.log.path.parent != folder:
            self.log = None if folder is None else TrainingLog(folder)
        before = self.comparison.truth.asset.held_out
        self.comparison.follow(asset)
        self.mode, self.other = (mode if mode in self.modes else "colour" for mode in (self.mode, self.other))
        self.viewpoint.asset = asset
        if not comparable:
            self.crop.fit(asset)
            self.viewpoint.reset()
        elif not same_cameras(before, asset.held_out):
            self.viewpoint.leave()
        if tracing.MODE in (self.mode, self.other):
            self._begin_tracing()

    # --- modes --------------------------------------------------------------------------------------------

    @property
    def modes(self) -> Sequence[str]:
        """Those that the asset's driver has, light where there is a surface, and those of a comparison."""
        light = (tracing.MODE,) if tracing.offered(self.ctx, self.asset) else ()
        more = comparison.MODES if self.comparison.truth.offered else ()
        return *self.renderer.driver.MODES, *light, *more

    def set_mode(self, mode: str, right: bool = False) -> None:
        """Show another quantity, if the asset has it; ``right`` of the bar, which that brings."""
        if mode not in self.modes:
            return
        if right:
            self.other = mode
            self.split = 0.5 if self.split is None else self.split
        else:
            self.mode = mode
        self.pace.times.clear()  # another program draws it
        if mode in comparison.MODES:
            self.comparison.truth.ask()
            if self.viewpoint.standing is None:
                self.tell(f"the {mode} is known at the held-out views only: [ and ] lead there", "truth")
        if mode == tracing.MODE:
            self._begin_tracing()

    def _begin_tracing(self) -> None:
        if self.tracer is None:
            self.later("compiling the path tracer's shaders ...", self._make_tracer)

    def _make_tracer(self) -> None:
        if self.tracer is None and tracing.offered(self.ctx, self.asset):
            self.tracer = PathTracer(self.ctx, self.asset)

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
        """The mode that is drawn, or the two; colours stand for what is not known or not there yet."""
        return self._sides(self.viewpoint.standing)

    def _sides(self, standing: int | None) -> tuple[str, ...]:
        chosen = (self.mode,) if self.split is None else (self.mode, self.other)
        known = standing is not None and self.comparison.truth.pictures is not None
        absent = {*(() if known else comparison.MODES), *(() if self.tracer else (tracing.MODE,))}
        return tuple("colour" if mode in absent else mode for mode in chosen)

    @property
    def how(self) -> dict[str, Any]:
        """What the renderer is given besides the view: arguments of ``Renderer.draw``."""
        deformation = self.puppeteer.deformation
        return {"state": None if deformation is None else {"deformation": deformation}, "crop": self.crop.box}

    # --- the camera ---------------------------------------------------------------------------------------

    def play(self, seconds: float) -> None:
        """So much time has passed for what moves by itself: the soft body, inertia, the path's preview."""
        if self.take is not None:  # a film has a time of its own
            return
        self.puppeteer.advance(seconds)
        self.viewpoint.coast(seconds)
        if self.path.playing:
            self.path.advance(seconds)
            self.show_path()

    def wheel(self, steps: float) -> None:
        """It zooms; in flight it sets the speed."""
        if isinstance(self.viewpoint.view, Fly):
            speed = clamp(self.settings.speed * FASTER**steps, *SPEEDS)
            self.settings = replace(self.settings, speed=speed)
        else:
            self.viewpoint.zoom(steps)

    def move(self, direction: Sequence[float], fast: bool, seconds: float) -> None:
        """Fly along ``direction`` (ahead, right, up)."""
        self.viewpoint.fly(direction, self.settings.speed * (FAST if fast else 1), seconds)

    def show_path(self) -> None:
        """The view that the path has at its time."""
        path = self.path.built((256, 256))
        if path is not None:
            self.viewpoint.stand_at(path.at(self.path.time))

    # --- drawing ------------------------------------------------------------------------------------------

    @property
    def _shown(self) -> tuple[Any, ...]:
        """What a change of means that something moves."""
        return self.viewpoint.view, self.puppeteer.deformation, self.crop.version

    @property
    def busy(self) -> bool:
        """Whether the next frame differs without another event."""
        moving = self.path.playing or bool(self.viewpoint.glide) or self._shown != self._seen
        return self.at_work or self.gathering or moving or self.puppeteer.playing or self.settings.continuous

    @property
    def at_work(self) -> bool:
        """Whether something goes on that need not be seen."""
        return bool(self.tasks) or self.comparison.drawing or self.take is not None

    @property
    def _traced(self) -> bool:
        """Whether a path traced picture is seen."""
        return tracing.MODE in self.sides

    @property
    def gathering(self) -> bool:
        """Whether one is seen that gets better with the next frame; not where it could not be drawn."""
        drawn = self._traced and bool(self.pictures.modes)
        return drawn and self.tracer is not None and not self.tracer.done

    @property
    def at_rest(self) -> bool:
        """Whether nothing has moved for a while."""
        return time.monotonic() - self._moved >= REST

    def draw(self, target: moderngl.Framebuffer, size: tuple[int, int]) -> None:
        """The picture into ``target``, ``size`` pixels; drawn anew only when something has changed."""
        now = time.monotonic()
        if self._shown != self._seen:
            self._seen, self._moved = self._shown, now
        moving = not self.at_rest
        self.rested = not moving
        self.pace.scale = self._scale(size, moving)
        benchmark = self.comparison.benchmark
        measured = None if benchmark is None or benchmark.results is not None else benchmark.frame
        if measured is not None and measured.current:  # a screenshot may have drawn it over
            self.pictures.screen.show(measured.texture, target, size, "colour", whole=True)
            return
        if self.take is not None and self.pictures.modes:
            self.pictures.present(target, size, self.split, whole=True, **self.looks)
            return
        quick = moving and self.renderer.previews
        wanted = (*self._shown, quick, self._plain, self.sides, scaled(size, self.pace.scale))
        again = self.settings.continuous and bool(self.pictures.modes)
        anew = wanted != self._drawn or again
        if self._compiled() if anew else self.gathering:
            if wanted[-2:] != self._drawn[-2:] and not self.settings.auto:
                self.pace.times.clear()  # another size or mode
            self._drawn = wanted  # whether it can be drawn or not: why not is told once
            if self.tasks.attempt(lambda: self._draw(wanted[-1], quick, anew), "picture"):
                self.ctx.finish()  # the time of a frame is its own, and no picture lags behind the pointer
                self._count(time.monotonic() - now, moving)
            else:
                self.pictures.forget()
        self.pictures.present(target, size, self.split, **self.looks)

    def _draw(self, size: tuple[int, int], quick: bool, anew: bool) -> None:
        """The picture in ``size`` pixels, or a sample more of it."""
        camera = self.viewpoint.camera(size)
        if anew or self.tracer is None:
            self.draw_sides(camera, self.viewpoint.standing, quick, eight_bit=self._plain)
        else:
            self.pictures.gather(self.tracer, camera)

    def _compiled(self) -> bool:
        """Whether the modes can be drawn without a wait; if not, it is told, the first time."""
        modes = [mode for mode in self.sides if mode in self.renderer.driver.MODES]
        wanted, before = (*modes, self.puppeteer.deformation is not None), self._announced
        self._announced = wanted
        if all(map(self.renderer.ready, modes)) or wanted == before or not self.pictures.modes:
            return True
        self.later("compiling shaders ...", lambda: None)
        return False

    def _scale(self, size: tuple[int, int], moving: bool) -> float:
        """The resolution of the next frame."""
        if not self.settings.auto:
            return self.settings.scale
        if self._traced and self.tracer is not None:
            return self.tracer.scale(size, moving, self.settings.target_fps)
        return self.pace.fit(moving)

    def _count(self, seconds: float, moving: bool) -> None:
        """Take a frame into the statistics."""
        tells = self.settings.auto and not self._traced and (moving or not self.pace.timed)
        self.pace.count(seconds, 1 / self.settings.target_fps if tells else None)

    @property
    def _plain(self) -> bool:
        """Whether colours are shown as they were drawn and none is above 1, so that 8 bits are enough."""
        return self.exposure == 0 and self.background is None and float(peak_of(self.asset)) <= 1

    def look(self) -> None:
        """Bring what the last frame cost up to date, for whoever wants to read it."""
        frame = self.pictures.frame
        if frame is not None and frame.current:
            self.pace.look(frame, not self.rested or self.settings.continuous or self.gathering)

    def draw_sides(
        self, camera: Camera, standing: int | None, quick: bool = False, eight_bit: bool = False
    ) -> None:
        """Both modes, or the one, as ``camera`` sees them, which may stand at a held-out view.

        Args:
            quick: by the asset's preview.
            eight_bit: colours are shown as they are.
        """
        sides, truth = self._sides(standing), self.comparison.truth
        how = {**self.how, "state": {"preview": True}} if quick else self.how
        self.pictures.draw(self.renderer, sides, camera, truth, standing, how, self.tracer, eight_bit)

    @property
    def looks(self) -> dict[str, Any]:
        """How pictures are shown: arguments of ``Screen.show``."""
        shift = np.zeros(3) if self.background is None else self.background - self.asset.background
        return {
            "reach": self.viewpoint.reach if "depth" in self.sides else (0.0, 1.0),
            "shift": shift.tolist(),
            "exposure": self.exposure,
            "peak": float(peak_of(self.asset)),
            "error_gain": self.error_gain,
        }
