"""The training loop: stages, a budget of seconds or steps, progress, checkpoints, Ctrl-C."""

from __future__ import annotations

import json
import math
import os
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path

from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

from render.errors import InshaderError
from training import processes
from training.checkpoint import read_checkpoint, write_checkpoint
from training.families import Model, Stage

CHECKPOINT_EVERY, LOG_EVERY = 60.0, 1.0  # seconds
# A budget of seconds becomes a number of steps once this part of it has passed, and again at the later marks,
# since steps get cheaper as empty space is found and dearer when the machine is busy.
CALIBRATE_AT = (0.03, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8)
FEWEST_STEPS = 5  # that a rate is taken from
EARLY = 0.9  # a plan that ends before this part was made while the machine was busy, and is made again


@dataclass
class Position:
    """Where a run is; a checkpoint holds it as JSON.

    Attributes:
        stage, step: index of the stage and steps done in it.
        steps: planned for the stage; a guess until the first calibration.
        calibrations: how many marks of CALIBRATE_AT have passed.
        marked_step, marked_seconds: where the last of them was, in steps and seconds of the stage.
        seconds, stage_seconds: spent in steps, in all and in this stage.
        total_steps: done in all stages.
    """

    stage: int = 0
    step: int = 0
    steps: int = 0
    calibrations: int = 0
    marked_step: int = 0
    marked_seconds: float = 0.0
    seconds: float = 0.0
    stage_seconds: float = 0.0
    total_steps: int = 0


@dataclass
class Run:
    """One training: the model, its budget (exactly one of both), and the folder it writes to."""

    model: Model
    folder: Path
    seconds: float | None
    steps: int | None
    scene: str
    preview: Callable[[], None] | None = None  # called after every step, for whoever looks on
    position: Position = field(default_factory=Position)
    saved_at: int | None = None  # total steps of this run that its checkpoint holds

    def resume(self) -> None:
        """Go back to where the checkpoint in the folder was taken.

        Raises:
            InshaderError: no usable checkpoint, or one of another scene file.
        """
        path = self.folder / "checkpoint.safetensors"
        state, about = read_checkpoint(path)
        try:
            if about["scene"] != self.scene:
                raise InshaderError(
                    f"{path}: was made with other settings (see config.yaml there); resume with the same"
                )
            self.model.load_state(state)
            self.position = Position(**about["position"])
            self.saved_at = self.position.total_steps
        except (KeyError, TypeError, ValueError, RuntimeError) as error:
            raise InshaderError(f"{path}: does not fit this model ({error})") from error

    def save(self) -> None:
        if not processes.first():
            return
        about = {"scene": self.scene, "position": asdict(self.position)}
        write_checkpoint(self.folder / "checkpoint.safetensors", self.model.state(), about)
        self.saved_at = self.position.total_steps

    def train(self) -> None:
        """Run all stages to the end of the budget. Ctrl-C: write a checkpoint and raise KeyboardInterrupt.

        Half a step is never saved: interrupted in the middle of one, the last checkpoint stands.

        Raises:
            InshaderError: training diverged.
        """
        path = self.folder / "log.jsonl" if processes.first() else Path(os.devnull)
        log = path.open("a" if self.position.total_steps else "w")
        with log, _progress() as show, _interrupts() as interrupted:
            saved = logged = time.monotonic()
            whole = True  # the model is between two steps
            try:
                while self.position.stage < len(self.model.stages):
                    whole = False
                    metrics = self._step(self.model.stages[self.position.stage])
                    whole = True
                    now = time.monotonic()
                    last = self.position.step >= self.position.steps
                    if metrics is not None and (last or now - logged > LOG_EVERY):
                        logged = now
                        log.write(json.dumps(self._line(metrics), allow_nan=False) + "\n")
                        log.flush()
                        show(self._done(), metrics, self.position)
                    if self.preview is not None:
                        self.preview()
                    if now - saved > CHECKPOINT_EVERY:
                        self.save()
                        saved = now
                    # Where the processes meet, after what the first does alone: no step waits for that.
                    if processes.largest(interrupted()):
                        raise KeyboardInterrupt
            except KeyboardInterrupt:
                if whole:
                    self.save()
                elif processes.first():
                    print(f"half a step is not saved: {self._kept()}", file=sys.stderr, flush=True)
                raise
        self.save()

    def _kept(self) -> str:
        """What there is to resume from."""
        if self.saved_at is None:
            return "there is no checkpoint of this run yet"
        return f"the checkpoint after step {self.saved_at} stands"

    def _step(self, stage: Stage) -> dict[str, float] | None:
        """One step of a stage, or the move to the next stage (None)."""
        at = self.position
        budget = None if self.seconds is None else self.seconds * stage.share
        if at.steps == 0:
            at.steps = 1_000_000 if self.steps is None else max(1, round(self.steps * stage.share))
        if at.step >= at.steps:
            self.position = Position(stage=at.stage + 1, seconds=at.seconds, total_steps=at.total_steps)
            return None
        # Before the first calibration the plan is a guess, and time is the better measure of progress.
        progress = at.step / at.steps if self.steps or at.calibrations else at.stage_seconds / (budget or 1)
        start = time.monotonic()
        metrics = stage.step(min(progress, 1.0))
        elapsed = processes.largest(time.monotonic() - start)
        for name, value in metrics.items():
            if not math.isfinite(value):
                raise InshaderError(
                    f"training diverged: {name} is {value} at step {at.step} of the stage {stage.name}; "
                    "lower the learning rate"
                )
        at.step += 1
        at.total_steps += 1
        at.seconds += elapsed
        at.stage_seconds += elapsed
        if budget is not None:
            self._calibrate(budget)
        return metrics

    def _calibrate(self, budget: float) -> None:
        """Turn what is left of the stage's seconds into steps: at the marks, where the plan ends early, and
        where the budget is overdrawn."""
        at = self.position
        if at.step == 1:  # it prepares what the others use, and tells nothing of their rate
            at.marked_step, at.marked_seconds = at.step, at.stage_seconds
        passed = sum(at.stage_seconds >= mark * budget for mark in CALIBRATE_AT)
        if at.step - at.marked_step < FEWEST_STEPS:
            passed = at.calibrations
        if passed > at.calibrations:
            # The rate since the last mark is the best guess of the rate to come.
            rate = (at.step - at.marked_step) / max(at.stage_seconds - at.marked_seconds, 1e-9)
            at.steps = at.step + max(0, round(rate * (budget - at.stage_seconds)))
            at.calibrations, at.marked_step, at.marked_seconds = passed, at.step, at.stage_seconds
        if at.step >= at.steps and at.stage_seconds < EARLY * budget:
            at.steps = at.step + max(1, round(at.step / at.stage_seconds * (budget - at.stage_seconds)))
        if at.stage_seconds >= budget:
            at.steps = at.step

    def _done(self) -> float:
        """Progress through all stages in [0, 1]."""
        stages, at = self.model.stages, self.position
        before = sum(stage.share for stage in stages[: at.stage])
        here = stages[at.stage].share if at.stage < len(stages) else 0
        if self.seconds is not None:
            return min(before + at.stage_seconds / self.seconds, 1)
        return before + here * at.step / max(at.steps, 1)

    def _line(self, metrics: dict[str, float]) -> dict[str, float | str]:
        at = self.position
        name = self.model.stages[at.stage].name
        return {"stage": name, "step": at.total_steps, "seconds": round(at.seconds, 3), **metrics}


@contextmanager
def _interrupts() -> Iterator[Callable[[], bool]]:
    """Ctrl-C waits for the end of a step, that it may be saved; a second Ctrl-C does not wait.

    Yields whether it was pressed. Where somebody else listens to the signal it is left to them.
    """
    pressed = False

    def press(number: int, frame: object) -> None:
        nonlocal pressed
        if pressed:
            raise KeyboardInterrupt
        pressed = True

    if (
        threading.current_thread() is not threading.main_thread()
        or signal.getsignal(signal.SIGINT) is not signal.default_int_handler
    ):
        yield lambda: False
        return
    signal.signal(signal.SIGINT, press)
    try:
        yield lambda: pressed
    finally:
        signal.signal(signal.SIGINT, signal.default_int_handler)


Show = Callable[[float, dict[str, float], Position], None]


@contextmanager
def _progress() -> Iterator[Show]:
    """A bar with rate, ETA and PSNR on a terminal, a plain line for every tenth elsewhere."""
    if not processes.first():
        yield lambda done, metrics, at: None
        return
    console = Console(stderr=True)
    if console.is_terminal:
        columns = (
            TextColumn("{task.description}"),
            BarColumn(),
            TextColumn("{task.percentage:>3.0f}%"),
            TimeRemainingColumn(),
        )
        with Progress(*columns, console=console) as bar:
            task = bar.add_task("training", total=1.0)
            yield lambda done, metrics, at: bar.update(
                task, completed=done, description=_describe(metrics, at)
            )
        return
    tenth = -1

    def plain(done: float, metrics: dict[str, float], at: Position) -> None:
        nonlocal tenth
        if int(done * 10) > tenth:
            tenth = int(done * 10)
            print(f"{done:4.0%}  {_describe(metrics, at)}", file=sys.stderr, flush=True)

    yield plain


def _describe(metrics: dict[str, float], at: Position) -> str:
    rate = at.total_steps / at.seconds if at.seconds else 0.0
    return f"step {at.total_steps}  {rate:.1f} steps/s  batch PSNR {metrics.get('psnr', 0):.1f} dB"
