"""A picture or a film in the making: a step between two frames, so that the window answers all the while."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path


class Take:
    """What is written, and how far it is.

    Attributes:
        done, total: steps.
        over: whether it is written.

    Args:
        told: what is being done, for a line on the screen.
        steps: gives the number of steps done; closing it leaves nothing behind.
    """

    def __init__(self, told: str, path: Path, steps: Iterator[int], total: int) -> None:
        self.told, self.path, self.total = told, path, total
        self.done, self.over = 0, False
        self._steps = steps

    @property
    def line(self) -> str:
        """For the screen."""
        return f"{self.told}: {self.done} of {self.total}" if self.total > 1 else f"{self.told} ..."

    def step(self) -> None:
        """Go on for a while.

        Raises:
            InshaderError, OSError: it cannot be drawn or written; it is over then.
        """
        try:
            self.done = next(self._steps)
        except StopIteration:
            self.over = True
        except BaseException:
            self.over = True
            raise

    def cancel(self) -> None:
        """Give up."""
        self.over = True
        close = getattr(self._steps, "close", None)
        if close is not None:
            close()
