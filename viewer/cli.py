"""``render-view``: look at baked assets in a window."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from contextlib import closing

from render import command
from render.asset import asset_path, read_asset
from viewer.window import Viewer, open_window

KEYS = """
  drag                      turn about the up axis, or move a picture
  middle or shift drag      pan
  wheel                     zoom
  R                         back to the first view
  1 2 3 4                   colour, depth, normal, cost
  Tab                       the next asset
  Esc                       quit
"""


def main(argv: Sequence[str] | None = None) -> int:
    """Entry point; returns the exit status."""
    parser = command.parser("render-view", "Look at baked assets in a window.")
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    parser.epilog = "in the window:" + KEYS
    parser.add_argument(
        "asset", metavar="ASSET|DIR", nargs="+", help="a baked asset, or a run folder that holds one"
    )
    parser.add_argument(
        "--size", metavar="WxH", type=command.size, default=(800, 800), help="of the window, 800x800"
    )
    return command.run(_view, parser.parse_args(argv))


def _view(args: argparse.Namespace) -> None:
    assets = [(argument, read_asset(asset_path(argument))) for argument in args.asset]
    with open_window("render-view", args.size) as window, closing(Viewer(window, assets)) as viewer:
        viewer.run()
