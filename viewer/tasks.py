"""Slow work that is put off until a line about it is on the screen, and lines that stay for a while."""

from __future__ import annotations

import time
from collections.abc import Callable

from render.errors import InshaderError

NOTICE = 6.0  # seconds that a line stays on the screen


class Tasks:
    """What is to be done before the next frame, and what there is to tell."""

    def __init__(self) -> None:
        self._due: list[tuple[str, Callable[[], None]]] = []
        self._lines: dict[str, tuple[str, float]] = {}  # by topic: a line, and until when

    def __bool__(self) -> bool:
        """Whether something is put off."""
        return bool(self._due)

    def later(self, told: str, task: Callable[[], None]) -> None:
        """Do ``task`` once ``told`` has been on the screen; what a user can cause ends as a line there."""
        self._due.append((told, task))

    def work(self) -> None:
        """Do what was put off before the last frame."""
        due, self._due = self._due, []
        for _, task in due:
            self.attempt(task)

    def attempt(self, task: Callable[[], None], topic: str = "") -> bool:
        """Do ``task`` now; False where that ended as a line, as what a user can cause does."""
        try:
            task()
        except InshaderError as error:
            self.tell(str(error), topic)
        except OSError as error:
            where = f"{error.filename}: " if error.filename is not None else ""
            self.tell(f"{where}{error.strerror or error}", topic)
        else:
            return True
        return False

    def tell(self, line: str, topic: str = "") -> None:
        """Show a line for a while, in place of another of its topic."""
        self._lines.pop(topic or line, None)  # a newer line comes last
        self._lines[topic or line] = line, time.monotonic() + NOTICE

    def lines(self) -> list[str]:
        """Those to show now."""
        now = time.monotonic()
        self._lines = {topic: entry for topic, entry in self._lines.items() if entry[1] > now}
        return [line for line, _ in self._lines.values()]

    def told(self) -> list[str]:
        """What is about to be done."""
        return [told for told, _ in self._due]
