"""What the window costs: ``python -m viewer.speed ASSET``.

Frames of the viewer, panel and all, against the renderer alone, of the same cameras at the same size in the
same context, turn by turn; and how long ``render-view`` takes from its start to the end of its first frame.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import time
from collections.abc import Sequence
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
FRAMES, WARM = 60, 10
STARTS = 5
STEP = 0.004  # of a drag from frame to frame, in heights of the window


def frame_times(name: str, size: tuple[int, int] = SIZE) -> tuple[np.ndarray, np.ndarray]:
    """Milliseconds of frames by the renderer and by the viewer, (FRAMES,) each."""
    glfw = require("glfw", "viewer")
    settings = Settings(auto=False, scale=1.0)
    with open_window("render-view", size) as window:
        glfw.swap_interval(0)
        with closing(Viewer(window, [(name, read_asset(asset_path(name)))], settings)) as viewer:
            session, times = viewer.session, []
            drawn = glfw.get_framebuffer_size(window)
            for _ in range(WARM + FRAMES):
                session.viewpoint.drag(STEP, 0.0, False)
                camera = session.viewpoint.camera(drawn)
                start = time.perf_counter()
                session.renderer.draw(camera)
                session.ctx.finish()
                alone = time.perf_counter()
                glfw.poll_events()
                session.watch()
                session.work()
                viewer.draw(drawn, 0.02)
                glfw.swap_buffers(window)
                session.ctx.finish()
                times.append((alone - start, time.perf_counter() - alone))
    renderer, whole = 1e3 * np.array(times[WARM:]).T
    return renderer, whole


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
    renderer, whole = frame_times(str(arguments.asset))
    starts = start_times(str(arguments.asset))
    table = Table(title=f"{arguments.asset}: medians, and 95th percentiles")
    table.add_column("")
    table.add_column("median")
    table.add_column("p95")
    for label, values, unit in (
        (f"renderer alone, {SIZE[0]}x{SIZE[1]}", renderer, "ms"),
        ("a frame of the viewer", whole, "ms"),
        ("what the viewer adds", whole - renderer, "ms"),
        ("start to first picture, process and all", starts, "s"),
    ):
        table.add_row(label, *(f"{np.percentile(values, percent):.2f} {unit}" for percent in (50, 95)))
    Console().print(table)


def main(argv: Sequence[str] | None = None) -> int:
    arguments = command.parser("python -m viewer.speed", "Measures what the viewer's window costs.")
    arguments.add_argument("asset", type=Path, metavar="ASSET|DIR", help="an asset, or a run folder")
    return command.run(_measure, arguments.parse_args(argv))


if __name__ == "__main__":
    raise SystemExit(main())
