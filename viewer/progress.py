"""How a training goes: its ``log.jsonl``, read as it grows."""

from __future__ import annotations

import json
import math
import time
from pathlib import Path

MAX_BYTES = 1 << 26  # of a log
PART = 1 << 20  # bytes that are read at a time
POINTS = 2000  # of a curve: where there are more, every second one goes
POLL = 1.0  # seconds between looks at the file
RECENT = 15.0  # seconds within which a training has written something, as long as it goes on


class TrainingLog:
    """The log in a run folder, whether it is there yet or not; lines that are none of it are passed over.

    Attributes:
        curves: by name, the seconds and the values of a number that the lines hold.
        stage, step, seconds: of the last line.
    """

    def __init__(self, folder: Path) -> None:
        self.path = folder / "log.jsonl"
        self._start_over()
        self._looked = -math.inf

    def _start_over(self) -> None:
        self.curves: dict[str, tuple[list[float], list[float]]] = {}
        self.stage, self.step, self.seconds = "", 0, 0.0
        self._read, self._rest, self._every, self._lines = 0, b"", 1, 0

    @property
    def live(self) -> bool:
        """Whether the training goes on, as far as its log tells."""
        try:
            return time.time() - self.path.stat().st_mtime < RECENT
        except OSError:
            return False

    def poll(self) -> None:
        """Read what has been added, at most so often and so much."""
        now = time.monotonic()
        if now - self._looked < POLL:
            return
        self._looked = now
        try:
            size = self.path.stat().st_size
            if size < self._read:  # another training has begun
                self._start_over()
            if size == self._read or self._read > MAX_BYTES:
                return
            with self.path.open("rb") as file:
                file.seek(self._read)
                data = file.read(PART)
        except OSError:
            return
        self._read += len(data)
        *lines, self._rest = (self._rest + data).split(b"\n")
        for line in lines:
            self._take(line)
        if len(data) == PART:
            self._looked = -math.inf  # there is more

    def _take(self, line: bytes) -> None:
        try:
            entry = json.loads(line)
        except (ValueError, RecursionError):
            return
        if not isinstance(entry, dict):
            return
        numbers = {
            name: float(value)
            for name, value in entry.items()
            if isinstance(value, (int, float)) and not isinstance(value, bool) and abs(value) < 1e12
        }
        seconds = numbers.pop("seconds", None)
        if seconds is None:
            return
        self.seconds = seconds
        self.step = int(numbers.pop("step", self.step))
        self.stage = entry["stage"][:40] if isinstance(entry.get("stage"), str) else self.stage
        self._lines += 1
        if self._lines % self._every:
            return
        for name, value in list(numbers.items())[:16]:
            xs, ys = self.curves.setdefault(name[:24], ([], []))
            xs.append(seconds)
            ys.append(value)
        if max((len(xs) for xs, _ in self.curves.values()), default=0) > POINTS:
            self.curves = {name: (xs[::2], ys[::2]) for name, (xs, ys) in self.curves.items()}
            self._every *= 2
