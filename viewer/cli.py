"""``render-view``: look at baked assets in a window."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from contextlib import closing

from render import command
from render.asset import asset_path, read_asset
from render.camera import Camera
from render.errors import require
from viewer import keys, waiting
from viewer.panel import WIDTH as PANEL_WIDTH
from viewer.settings import read_settings, settings_path, write_settings
from viewer.window import Viewer, open_window


def main(argv: Sequence[str] | None = None) -> int:
    """Entry point; returns the exit status."""
    parser = command.parser("render-view", "Look at baked assets in a window.")
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    parser.epilog = "in the window:\n" + keys.help_text()
    parser.add_argument(
        "asset",
        metavar="ASSET|DIR",
        nargs="+",
        help="a baked asset, or a run folder, also of a training that has just begun",
    )
    parser.add_argument(
        "--size",
        metavar="WxH",
        type=command.size,
        help="of the window; else the first view's shape, 800 long, and room for the panel",
    )
    parser.add_argument("--frames", metavar="N", type=_count, help="end after so many frames")
    return command.run(_view, parser.parse_args(argv))


def _view(args: argparse.Namespace) -> None:
    path = settings_path()
    first_time = not path.exists()
    settings, complaint = read_settings(path)
    if complaint is not None:
        print(f"render-view: {complaint}", file=sys.stderr)
    awaited = [name for name in args.asset if waiting.is_run(name)]
    assets = [(name, read_asset(asset_path(name))) for name in args.asset if name not in awaited]
    size = args.size or _fitting(assets[0][1].camera if assets else None, settings.panel)
    with open_window("render-view", size) as window:
        if not assets:
            first = waiting.wait(require("glfw", "viewer"), window, awaited)
            if first is None:
                return
            assets = [first]
            awaited.remove(first[0])
        with closing(Viewer(window, assets, settings, awaited)) as viewer:
            if complaint is not None:
                viewer.session.tell(complaint)
            if first_time:
                viewer.session.tell("H shows all keys")
            viewer.run(args.frames)
            chosen = viewer.session.settings
    try:
        if chosen != settings or first_time:
            write_settings(path, chosen)
    except OSError as error:  # no reason to fail: everything was shown
        print(f"render-view: {path}: settings cannot be kept ({error.strerror})", file=sys.stderr)


def _count(text: str) -> int:
    if not (text.isdecimal() and int(text) >= 1):
        raise argparse.ArgumentTypeError(f"{text!r:.40} is not a number of frames: expected 1 or more")
    return int(text)


def _fitting(camera: Camera | None, panel: bool) -> tuple[int, int]:
    """A window for a camera's pictures."""
    w, h = (1, 1) if camera is None else (camera.w, camera.h)
    longest = max(w, h)
    beside = PANEL_WIDTH if panel else 0
    return max(1, round(800 * w / longest)) + beside, max(1, round(800 * h / longest))


if __name__ == "__main__":
    raise SystemExit(main())
