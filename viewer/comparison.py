"""What a picture is held against: the truth, its score, and the benchmark of them all."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from render.asset import BakedAsset
from render.bench import ViewScore
from render.errors import InshaderError
from render.renderer import Renderer
from viewer.benchmark import Benchmark, score_job
from viewer.job import Job
from viewer.truth import Truth

MODES = "truth", "error"  # besides those of the asset's driver


class Comparison:
    """Of the asset that is shown with its scene.

    Attributes:
        truth: the pictures of the held-out views.
        score: of what is seen, while the camera stands at one of them and the pictures are read.
        benchmark: the last one of this asset.
    """

    def __init__(self, asset: BakedAsset) -> None:
        self.truth = Truth(asset)
        self.score: ViewScore | None = None
        self.benchmark: Benchmark | None = None
        self._scored: Any = None  # what the score is of
        self._job: Job[ViewScore] | None = None

    def follow(self, asset: BakedAsset) -> None:
        """Another asset is shown; pictures are read anew only if it has others."""
        self.benchmark, self.score, self._scored, self._job = None, None, None, None
        if not self.truth.serves(asset):
            self.truth = Truth(asset)

    @property
    def measuring(self) -> bool:
        """Whether the benchmark is under way."""
        return self.benchmark is not None and self.benchmark.results is None

    @property
    def busy(self) -> bool:
        """Whether something is being read or computed."""
        return self.truth.reading or self._job is not None or self.measuring

    @property
    def drawing(self) -> bool:
        """Whether the benchmark can draw its next picture."""
        benchmark = self.benchmark
        return benchmark is not None and benchmark.results is None and not benchmark.waiting

    @property
    def told(self) -> list[str]:
        """Lines about what is going on."""
        lines = ["reading pictures ..."] if self.truth.reading else []
        if self.measuring and self.benchmark is not None and not self.truth.reading:
            lines.append(f"benchmark: picture {self.benchmark.done} of {self.benchmark.total}")
        return lines

    def measure(self, renderer: Renderer) -> None:
        """Begin the benchmark."""
        self.benchmark = Benchmark(renderer, self.truth)

    def stop(self) -> None:
        """End it before its time, or forget what it found."""
        self.benchmark = None

    def work(self, renderer: Renderer, index: int | None, seen: Any, how: Mapping[str, Any]) -> None:
        """Go on with what was begun, for no longer than a frame, which the renderer may draw for it.

        Args:
            index: the held-out view that the camera rests at.
            seen: what differs whenever the picture there does.
            how: further arguments of ``Renderer.draw``.

        Raises:
            InshaderError, OSError: the pictures cannot be read, or one not be drawn; once.
        """
        self.truth.poll()
        if self.measuring and self.benchmark is not None:
            try:
                self.benchmark.step()
            except InshaderError:
                self.benchmark = None
                raise
            return
        if index is None or seen != self._scored:
            self.score, self._job, self._scored = None, None, None
        if self._job is not None and self._job.done:
            job, self._job = self._job, None
            self.score = job.result()
        if index is None or self.truth.pictures is None or self._scored is not None:
            return
        self._scored = seen  # whether it can be drawn or not
        frame = renderer.draw(renderer.asset.held_out[index], **how)
        self._job = score_job(frame, self.truth, index)
