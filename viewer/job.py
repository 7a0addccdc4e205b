"""A call that the window does not wait for."""

from __future__ import annotations

from collections.abc import Callable
from threading import Thread
from typing import Generic, TypeVar

T = TypeVar("T")


class Job(Generic[T]):
    """``task`` in a thread of its own, which ends with the process; it must not touch OpenGL."""

    def __init__(self, task: Callable[[], T]) -> None:
        self._task = task
        self._results: list[T] = []
        self._error: Exception | None = None
        self._thread = Thread(target=self._run, daemon=True)
        self._thread.start()

    def _run(self) -> None:
        try:
            self._results.append(self._task())
        except Exception as error:  # it is raised where the result is asked for
            self._error = error

    @property
    def done(self) -> bool:
        """Whether ``result`` is there at once."""
        return not self._thread.is_alive()

    def result(self) -> T:
        """What the task returned, or what it raised; waits for it."""
        self._thread.join()
        if self._error is not None:
            raise self._error
        return self._results[0]
