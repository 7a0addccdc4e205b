"""How long the passes of a frame take: by the GPU's clock, or by the wall's where the processor draws."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager

import moderngl

from render.context import is_software


class PassTimer:
    """Milliseconds per pass of the last frame; what runs several times in it counts together.

    Timer queries are wrong on software OpenGL: there every pass is waited for. On hardware nothing waits
    before ``milliseconds`` is asked for.

    Attributes:
        kind: ``wall`` or ``gl``.
    """

    def __init__(self, ctx: moderngl.Context) -> None:
        self.kind = "wall" if is_software(ctx) else "gl"
        self._ctx = ctx
        self._queries: dict[str, list[moderngl.Query]] = {}
        self._runs: dict[str, int] = {}
        self._seconds: dict[str, float] = {}

    def begin(self) -> None:
        """A new frame."""
        self._runs.clear()
        self._seconds.clear()

    @contextmanager
    def measure(self, name: str) -> Iterator[None]:
        """Time the GL commands of the block as the pass ``name``."""
        if self.kind == "gl":
            queries, run = self._queries.setdefault(name, []), self._runs.get(name, 0)
            if run == len(queries):
                queries.append(self._ctx.query(time=True))
            self._runs[name] = run + 1
            with queries[run]:
                yield
            return
        start = time.perf_counter()
        yield
        self._ctx.finish()
        self._seconds[name] = self._seconds.get(name, 0) + time.perf_counter() - start

    def milliseconds(self) -> dict[str, float]:
        """By pass; waits for the frame to end."""
        if self.kind == "wall":
            return {name: seconds * 1e3 for name, seconds in self._seconds.items()}
        return {
            name: sum(query.elapsed for query in self._queries[name][:runs]) * 1e-6
            for name, runs in self._runs.items()
        }
