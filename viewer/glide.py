"""Inertia: a drag that is let go of in motion goes on for a while, ever slower, at any frame rate."""

from __future__ import annotations

import math
from collections import deque

RECENT = 0.08  # seconds of a drag that tell how fast it was let go
FADE = 0.35  # seconds in which the speed falls to 1 / e
SLOWEST = 0.004  # window heights a second: below that it stands still


def _share(end: float, seconds: float, now: float) -> float:
    """How much of a way counts as recent. Where frames are slow, the events of each come all at once: what
    they tell is spread over the time that it may have taken."""
    if seconds <= 0:
        return float(now - end < RECENT)
    return min(max(end - (now - RECENT), 0.0) / seconds, 1.0)


class Glide:
    """The end of a drag, in fractions of the window's height."""

    def __init__(self) -> None:
        self.speed = 0.0, 0.0  # right and down, a second
        self.pan = False
        self._recent: deque[tuple[float, float, float, float]] = deque()

    def __bool__(self) -> bool:
        """Whether it goes on."""
        return self.speed != (0.0, 0.0)

    def halt(self) -> None:
        """Something else moves the view."""
        self.speed = 0.0, 0.0
        self._recent.clear()

    def dragged(self, right: float, down: float, pan: bool, now: float, seconds: float = 0.0) -> None:
        """The pointer went by so much, some time within the ``seconds`` before ``now``."""
        self.speed, self.pan = (0.0, 0.0), pan
        while self._recent and now - self._recent[0][0] > RECENT:
            self._recent.popleft()
        self._recent.append((now, seconds, right, down))

    def let_go(self, now: float) -> None:
        """The drag is over: it goes on as fast as it was within the last moment."""
        recent = [(_share(end, seconds, now), *way) for end, seconds, *way in self._recent]
        self._recent.clear()
        right, down = (sum(entry[0] * entry[axis] for entry in recent) / RECENT for axis in (1, 2))
        self.speed = (right, down) if math.hypot(right, down) > SLOWEST else (0.0, 0.0)

    def step(self, seconds: float) -> tuple[float, float]:
        """How far it goes within ``seconds``; cut into frames in any way, they add up to the same."""
        right, down = self.speed
        left = math.exp(-seconds / FADE)
        way = FADE * (1 - left)
        self.speed = (right * left, down * left) if math.hypot(right, down) * left > SLOWEST else (0.0, 0.0)
        return right * way, down * way
