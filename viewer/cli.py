"""``render-view``: look at baked assets in a window."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from contextlib import closing

from render import command
from render.asset import asset_path, read_asset
from viewer import keys
from viewer.settings import read_settings, settings_path, write_settings
from viewer.window import Viewer, open_window


def main(argv: Sequence[str] | None = None) -> int:
    """Entry point; returns the exit status."""
    parser = command.parser("render-view", "Look at baked assets in a window.")
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    parser.epilog = "in the window:\n" + keys.help_text()
    parser.add_argument(
        "asset", metavar="ASSET|DIR", nargs="+", help="a baked asset, or a run folder that holds one"
    )
    parser.add_argument(
        "--size",
        metavar="WxH",
        type=command.size,
        help="of the window; else the first view's shape, 800 long",
    )
    return command.run(_view, parser.parse_args(argv))


def _view(args: argparse.Namespace) -> None:
    assets = [(argument, read_asset(asset_path(argument))) for argument in args.asset]
    camera = assets[0][1].camera
    longest = max(camera.w, camera.h)
    fitting = max(1, round(800 * camera.w / longest)), max(1, round(800 * camera.h / longest))
    path = settings_path()
    settings, complaint = read_settings(path)
    if complaint is not None:
        print(f"render-view: {complaint}", file=sys.stderr)
    with (
        open_window("render-view", args.size or fitting) as window,
        closing(Viewer(window, assets, settings)) as viewer,
    ):
        if complaint is not None:
            viewer.session.tell(complaint)
        viewer.run()
        chosen = viewer.session.settings
    try:
        if chosen != settings:
            write_settings(path, chosen)
    except OSError as error:  # no reason to fail: everything was shown
        print(f"render-view: {path}: settings cannot be kept ({error.strerror})", file=sys.stderr)


if __name__ == "__main__":
    raise SystemExit(main())
