"""How many pixels are drawn while the view moves, and how long frames take."""

from __future__ import annotations

import math
import time
from collections import deque
from collections.abc import Mapping
from typing import Any

from render.renderer import Frame

# Counts of evaluations have to be fetched from the GPU: seconds between looks, and their share of the time.
STATS, LOOKS = 0.5, 0.02
LOWEST = 0.25  # scale of the width and the height
STEP = 0.05  # scales are multiples of it, so that textures are not made anew for every frame
MARGIN = 0.9  # of the target's time is aimed at: a rate that is just met would be missed every other frame
WINDOW = 120  # frames that the statistics look back on


def adapted(scale: float, seconds: float, target: float) -> float:
    """The scale for the next frame of a motion, when one at ``scale`` took ``seconds`` and may ``target``.

    Time goes with the number of pixels, the square of the scale. It falls at once, to half at most, since
    one slow frame may be an accident; it rises by a step a frame, and only where that leaves a margin.
    """
    wanted = scale * math.sqrt(MARGIN * target / max(seconds, 1e-6))
    if seconds > target:
        scale = min(max(wanted, scale / 2), scale - STEP)
    elif wanted > scale + STEP:
        scale += STEP
    return min(max(math.floor(scale / STEP + 1e-6) * STEP, LOWEST), 1.0)


def scaled(size: tuple[int, int], scale: float) -> tuple[int, int]:
    """A picture's size in pixels at ``scale``, at least one."""
    return max(1, round(size[0] * scale)), max(1, round(size[1] * scale))


class FrameTimes:
    """The times of the last ``WINDOW`` frames, in seconds."""

    def __init__(self) -> None:
        self._seconds: deque[float] = deque(maxlen=WINDOW)
        self._skip = True

    def __len__(self) -> int:
        return len(self._seconds)

    def add(self, seconds: float) -> None:
        """Count a frame; the first one after ``clear`` is left out, it made textures or compiled."""
        if not self._skip:
            self._seconds.append(seconds)
        self._skip = False

    def clear(self) -> None:
        """Forget them, when something else is drawn from here on."""
        self._seconds.clear()
        self._skip = True

    def percentile(self, percent: float) -> float | None:
        """Seconds that this share of the frames took at most; None before there are any."""
        place = math.ceil(percent / 100 * len(self._seconds)) - 1
        return sorted(self._seconds)[max(place, 0)] if self._seconds else None


class Pace:
    """How long frames take, what they cost, and how many pixels the next one has time for.

    Attributes:
        times, scale: of the frames drawn last: seconds, and the resolution.
        stats: ``Frame.stats`` of the frame that was looked at last.
    """

    def __init__(self) -> None:
        self.times = FrameTimes()
        self.stats: Mapping[str, Any] = {}
        self.scale = 1.0
        self._motion_scale: float | None = None  # None before any frame was timed
        self._looked: Frame | None = None
        self._look_again = 0.0  # when the stats of another frame may be taken

    def restart(self) -> None:
        """Another asset is drawn from here on."""
        self.times.clear()
        self.stats, self._motion_scale, self._looked = {}, None, None

    def fit(self, moving: bool) -> float:
        """The resolution that holds the frame rate while something moves, and all of it at rest."""
        return (self._motion_scale or 1.0) if moving else 1.0

    def count(self, seconds: float, target: float | None) -> None:
        """A frame took so long; the next one of a motion may take ``target``, None: as before."""
        self.times.add(seconds)
        if target is not None and len(self.times) > 0:  # the first frame compiled or made textures
            self._motion_scale = adapted(self.scale, seconds, target)

    @property
    def timed(self) -> bool:
        """Whether a frame has told of the next ones."""
        return self._motion_scale is not None

    def look(self, frame: Frame, often: bool) -> None:
        """Take the stats of a frame, if it is another one; now and then, where they come ``often``."""
        start = time.monotonic()
        if frame is not self._looked and (start > self._look_again or not often):
            self.stats, self._looked = frame.stats, frame
            took = time.monotonic() - start
            self._look_again = start + max(STATS, took / LOOKS)
