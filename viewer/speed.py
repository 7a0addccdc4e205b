"""What the window costs: ``python -m viewer.speed ASSET``.

Frames of the viewer, panel and all, against the renderer alone, of the same cameras at the same size in the
same context, turn by turn; and how long ``render-view`` takes from its start to the end of its first frame.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from contextlib import closing
from pathlib import Path

import numpy as np
from rich.console import Console
from rich.table import Table

from render import command
from render.asset import asset_path, read_asset
from render.errors import require
from viewer.settings import Settings
from viewer.window import Viewer, open_window

SIZE = 1280, 720
RENDERER, VIEWER = "the renderer alone", "a frame of the viewer"  # of which one less the other is told
FRAMES, WARM = 60, 10
STARTS = 5
STEP = 0.004  # of a drag from frame to frame, in heights of the window


def frame_times(name: str, size: tuple[int, int] = SIZE) -> dict[str, np.ndarray]:
    """Milliseconds of frames, (FRAMES,) of each kind, of the same views; every kind follows every other."""
    glfw = require("glfw", "viewer")
    settings = Settings(auto=False, scale=1.0)
    with open_window("render-view", size) as window:
        glfw.swap_interval(0)
        with closing(Viewer(window, [(name, read_asset(asset_path(name)))], settings)) as viewer:
            drawn = glfw.get_framebuffer_size(window)
            viewpoint, renderer, ctx = viewer.session.viewpoint, viewer.session.renderer, viewer.ctx

            def empty() -> None:
                ctx.screen.clear()
                glfw.swap_buffers(window)

            kinds: dict[str, Callable[[], object]] = {
                RENDERER: lambda: renderer.draw(viewpoint.camera(drawn)),
                "the same in 8 bits a channel": lambda: renderer.draw(
                    viewpoint.camera(drawn), eight_bit=True
                ),
                "an empty window": empty,
                VIEWER: lambda: viewer.turn(always=True),
            }
            times: dict[str, list[float]] = {kind: [] for kind in kinds}
            order = list(kinds)
            for _ in range(WARM + FRAMES):
                viewpoint.drag(STEP, 0.0, pan=False)
                for kind in order:
                    start = time.perf_counter()
                    kinds[kind]()
                    ctx.finish()
                    passed = time.perf_counter() - start
                    times[kind].append(1e3 * passed)
                    if kind != VIEWER:  # whose clock stands still meanwhile
                        viewer.before += passed
                order = order[1:] + order[:1]
    return {kind: np.array(found[WARM:]) for kind, found in times.items()}


def start_times(name: str) -> np.ndarray:
    """(STARTS,) seconds from the start of the process to the end of its first frame, with a warm cache."""
    line = [sys.executable, "-m", "viewer.cli", name, "--frames", "1"]
    found = []
    for _ in range(1 + STARTS):
        start = time.perf_counter()
        subprocess.run(line, check=True)
        found.append(time.perf_counter() - start)
    return np.array(found[1:])


def _measure(arguments: argparse.Namespace) -> None:
    times = frame_times(str(arguments.asset))
    times["what the viewer adds"] = times[VIEWER] - times[RENDERER]
    starts = start_times(str(arguments.asset))
    table = Table(title=f"{arguments.asset}, {SIZE[0]}x{SIZE[1]}: medians, and 95th percentiles")
    for label in ("", "median", "p95"):
        table.add_column(label)
    rows = [(kind, values, "ms") for kind, values in times.items()]
    for label, values, unit in (*rows, ("start to first picture, process and all", starts, "s")):
        table.add_row(label, *(f"{np.percentile(values, percent):.2f} {unit}" for percent in (50, 95)))
    Console().print(table)


def main(argv: Sequence[str] | None = None) -> int:
    arguments = command.parser("python -m viewer.speed", "Measures what the viewer's window costs.")
    arguments.add_argument("asset", type=Path, metavar="ASSET|DIR", help="an asset, or a run folder")
    return command.run(_measure, arguments.parse_args(argv))


if __name__ == "__main__":
    raise SystemExit(main())
