"""What the four commands share: how a line is parsed, and how it ends.

A command is a parser, a body and one call::

    def main(argv: Sequence[str] | None = None) -> int:
        arguments = command.parser("render-bench", "Measures an asset.")
        arguments.add_argument("asset", type=Path)
        return command.run(_bench, arguments.parse_args(argv))

Everything a user can get wrong ends in one line on stderr and exit status 2.
"""

from __future__ import annotations

import argparse
import difflib
import importlib.metadata
import os
import sys
import traceback
from collections.abc import Callable, Iterable
from typing import NoReturn

from render.errors import InshaderError

# Exit statuses; the last two are 128 + the number of the signal, as in a shell.
USER_ERROR, INTERRUPTED, BROKEN_PIPE = 2, 130, 141


class _Parser(argparse.ArgumentParser):
    """Errors are one line, options may stand anywhere, and a misspelt one is told with its nearest."""

    def parse_args(  # type: ignore[override]  # one of its overloads
        self, args: Iterable[str] | None = None, namespace: None = None
    ) -> argparse.Namespace:
        try:
            known, extra = self.parse_known_intermixed_args(args, namespace)
        except InshaderError as error:  # from a ``type=`` function
            self.error(str(error))
        if extra:
            close = difflib.get_close_matches(extra[0].split("=")[0], self._option_string_actions, 1)
            self.error(
                f"{extra[0]} is not understood, " + (f"is {close[0]} meant?" if close else "see --help")
            )
        return known

    def error(self, message: str) -> NoReturn:
        self.exit(USER_ERROR, f"{self.prog}: {' '.join(message.split())}\n")


def parser(prog: str, description: str) -> argparse.ArgumentParser:
    """A parser with ``--debug`` and ``--version``, to which a command adds its own arguments."""
    arguments = _Parser(prog, description=description, allow_abbrev=False)
    arguments.add_argument("--debug", action="store_true", help="show the traceback of an error")
    arguments.add_argument("--version", action="version", version=f"{prog} (inshader {_version()})")
    arguments.set_defaults(prog=prog)
    return arguments


def run(body: Callable[[argparse.Namespace], int | None], args: argparse.Namespace) -> int:
    """Call ``body(args)`` and return the exit status: its own (None is 0), or that of its error.

    ``args`` comes from a parser made by ``parser``. Errors that are no user's doing pass through.
    """
    try:
        status = body(args) or 0
        sys.stdout.flush()
        return status
    except KeyboardInterrupt:
        return _end(args, "interrupted", INTERRUPTED)
    except BrokenPipeError:  # the reader of our output has gone; nothing more may be written there
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return BROKEN_PIPE
    except InshaderError as error:
        return _end(args, str(error), USER_ERROR)
    except OSError as error:
        where = f"{error.filename}: " if error.filename is not None else ""
        return _end(args, f"{where}{error.strerror or error}", USER_ERROR)


def size(text: str) -> tuple[int, int]:
    """The ``type`` of an argument ``WxH``: width and height in pixels."""
    width, _, height = text.lower().partition("x")
    if not (
        width.isdecimal() and height.isdecimal() and 1 <= int(width) <= 32768 and 1 <= int(height) <= 32768
    ):
        raise argparse.ArgumentTypeError(f"{text!r} is not a size WxH such as 800x600, each side 1 to 32768")
    return int(width), int(height)


def _end(args: argparse.Namespace, message: str, status: int) -> int:
    if args.debug:
        traceback.print_exc()
    print(f"{args.prog}: {' '.join(message.split())}", file=sys.stderr)
    return status


def _version() -> str:
    try:
        return importlib.metadata.version("inshader")
    except importlib.metadata.PackageNotFoundError:
        return "not installed"
