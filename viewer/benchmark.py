"""What render-bench does, one picture at a time, so that a window can draw in between."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from render.bench import FRAMES, ViewScore, peak_of, score_summary, time_summary, timed_frame, view_score
from render.renderer import Frame, Renderer
from viewer.job import Job
from viewer.truth import Truth


class Benchmark:
    """Times over the held-out cameras, then scores where there is truth.

    Attributes:
        done, total: pictures drawn and to be drawn.
        frame: the last one.
        results: the keys of ``frame_times`` and, with truth, of ``score``; None before the end.
    """

    def __init__(self, renderer: Renderer, truth: Truth, frames: int = FRAMES) -> None:
        self.renderer, self.truth, self.frames = renderer, truth, frames
        self.cameras = renderer.asset.held_out or (renderer.asset.camera,)
        self.done, self.total = 0, 1 + frames
        self.frame: Frame | None = None
        self.results: dict[str, Any] | None = None
        self._job: Job[ViewScore] | None = None
        self._steps = self._run()

    @property
    def waiting(self) -> bool:
        """Whether a thread has to end before the next picture: drawing all the time would slow it down."""
        return self.truth.reading or (self._job is not None and not self._job.done)

    def step(self) -> None:
        """Draw one picture, or look whether what is done beside has ended.

        Raises:
            InshaderError: a camera's picture cannot be drawn here.
        """
        next(self._steps, None)

    def _run(self) -> Iterator[None]:
        self.truth.ask()
        while self.truth.reading:  # nothing is timed beside a thread that works
            yield
        scored = self.truth.pictures is not None
        self.total += len(self.cameras) * scored
        self._drawn(self.renderer.draw(self.cameras[0]))
        self.renderer.ctx.finish()
        yield
        times = []
        for number in range(self.frames):
            frame, ms, evaluations = timed_frame(self.renderer, self.cameras[number % len(self.cameras)])
            times.append((ms, evaluations))
            self._drawn(frame)
            yield
        results = time_summary(self.renderer, times)
        if scored:
            scores: list[ViewScore] = []
            for index in range(len(self.cameras)):
                self._drawn(self.renderer.draw(self.cameras[index]))
                self._job = score_job(self.frame, self.truth, index)  # SSIM takes longer than a frame
                yield
                while not self._job.done:
                    yield
                scores.append(self._job.result())
            results |= score_summary(scores)
        self.results = results

    def _drawn(self, frame: Frame) -> None:
        self.frame = frame
        self.done += 1


def score_job(frame: Frame | None, truth: Truth, index: int) -> Job[ViewScore]:
    """The score of a frame of a held-out view, in the pixels of its camera."""
    assert frame is not None
    picture, peak = frame.images["colour"], peak_of(truth.asset)
    return Job(lambda: view_score(picture, *truth.view(index), peak))


def rows(results: dict[str, Any]) -> list[tuple[str, str]]:
    """What a person wants to see of the results."""
    found = []
    if "psnr" in results:
        for label, key in (("PSNR", "baked"), ("foreground", "foreground")):
            if results["psnr"][key] is not None:
                found.append((label, f"{results['psnr'][key]:.2f} dB"))
        if results["ssim"]["baked"] is not None:
            found.append(("SSIM", f"{results['ssim']['baked']:.4f}"))
    return [
        *found,
        ("frame", f"{results['ms']['median']:.2f} ms median, {results['ms']['p95']:.2f} ms p95"),
        ("rate", f"{results['fps']['median']:.1f} frames a second"),
        ("timer", "wall clock" if results["timer"] == "wall" else "the GPU's clock"),
        ("evaluations", f"{results['evaluations_per_pixel']:.2f} a pixel"),
        ("OpenGL", results["gl"]["renderer"]),
    ]
