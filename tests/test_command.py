"""How the commands take their line and how they end."""

from __future__ import annotations

import argparse
import errno
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from render import command
from render.errors import InshaderError


def level(text: str) -> int:
    if not text.isdigit():
        raise InshaderError(f"--level is {text!r}, it must be a number")
    return int(text)


@pytest.fixture
def arguments() -> argparse.ArgumentParser:
    parser = command.parser("render-thing", "Does a thing.")
    parser.add_argument("scene", metavar="SCENE")
    parser.add_argument("overrides", metavar="key=value", nargs="*", default=[])
    parser.add_argument("--out", type=Path)
    parser.add_argument("--level", type=level)
    parser.add_argument("--size", metavar="WxH", type=command.size)
    return parser


@pytest.mark.parametrize(
    "line", ["a k=1 j=-2 --out x", "--out x a k=1 j=-2", "a --out x k=1 j=-2", "a k=1 --out=x j=-2"]
)
def test_options_stand_anywhere(arguments: argparse.ArgumentParser, line: str) -> None:
    args = arguments.parse_args(line.split())
    assert (args.scene, args.overrides, args.out) == ("a", ["k=1", "j=-2"], Path("x"))


@pytest.mark.parametrize(
    ("line", "told"),
    [
        ("", "render-thing: the following arguments are required: SCENE"),
        ("a --sise 3", "render-thing: --sise is not understood, is --size meant?"),
        ("a --sise=3", "render-thing: --sise=3 is not understood, is --size meant?"),
        ("a -q", "render-thing: -q is not understood, see --help"),
        ("a --size", "render-thing: argument --size: expected one argument"),
        ("a --level big", "render-thing: --level is 'big', it must be a number"),
        (
            "a --size 800",
            "render-thing: argument --size: '800' is not a size WxH such as 800x600, each side 1 to 32768",
        ),
        ("a --ou x", "render-thing: --ou is not understood, is --out meant?"),
    ],
)
def test_a_wrong_line_is_told_in_one(
    arguments: argparse.ArgumentParser, line: str, told: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as ended:
        arguments.parse_args(line.split())
    assert ended.value.code == 2
    assert capsys.readouterr().err == told + "\n"


def test_size(arguments: argparse.ArgumentParser) -> None:
    assert arguments.parse_args(["a", "--size", "320X240"]).size == (320, 240)
    for wrong in ("", "x", "3x", "0x4", "-1x4", "3x4x5", "40000x1", "²x2", "1e3x4", "9" * 5000 + "x1"):
        with pytest.raises((argparse.ArgumentTypeError, ValueError)):
            command.size(wrong)


def test_version(arguments: argparse.ArgumentParser, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        arguments.parse_args(["--version"])
    assert ended.value.code == 0
    assert capsys.readouterr().out.startswith("render-thing (inshader ")


def raising(error: BaseException) -> Callable[[argparse.Namespace], None]:
    def body(args: argparse.Namespace) -> None:
        raise error

    return body


@pytest.mark.parametrize(
    ("error", "status", "told"),
    [
        (InshaderError("a.yaml: no\n  good"), 2, "render-thing: a.yaml: no good\n"),
        (KeyboardInterrupt(), 130, "render-thing: interrupted\n"),
        (OSError(errno.ENOSPC, "No space left", "out.png"), 2, "render-thing: out.png: No space left\n"),
        (
            PermissionError(errno.EACCES, "Permission denied", "dir"),
            2,
            "render-thing: dir: Permission denied\n",
        ),
        (OSError("cannot read\nthis"), 2, "render-thing: cannot read this\n"),
    ],
)
def test_errors_end_in_one_line(
    arguments: argparse.ArgumentParser,
    capsys: pytest.CaptureFixture[str],
    error: BaseException,
    status: int,
    told: str,
) -> None:
    assert command.run(raising(error), arguments.parse_args(["a"])) == status
    assert capsys.readouterr().err == told


def test_debug_shows_the_traceback(
    arguments: argparse.ArgumentParser, capsys: pytest.CaptureFixture[str]
) -> None:
    assert command.run(raising(InshaderError("no good")), arguments.parse_args(["a", "--debug"])) == 2
    err = capsys.readouterr().err
    assert err.startswith("Traceback") and err.endswith("render-thing: no good\n")


def test_a_defect_of_ours_is_not_hidden(arguments: argparse.ArgumentParser) -> None:
    with pytest.raises(ZeroDivisionError):
        command.run(raising(ZeroDivisionError()), arguments.parse_args(["a"]))


@pytest.mark.parametrize(("returned", "status"), [(None, 0), (0, 0), (3, 3)])
def test_status_of_the_body(arguments: argparse.ArgumentParser, returned: int | None, status: int) -> None:
    assert command.run(lambda args: returned, arguments.parse_args(["a"])) == status


def test_a_reader_that_leaves() -> None:
    code = (
        "import sys\nfrom render import command\n"
        "def body(args):\n    for i in range(10**6): print(i)\n"
        "sys.exit(command.run(body, command.parser('x', '').parse_args([])))"
    )
    read, write = os.pipe()
    process = subprocess.Popen([sys.executable, "-c", code], stdout=write, stderr=subprocess.PIPE)
    os.close(write)
    assert os.read(read, 1) == b"0"
    os.close(read)
    _, err = process.communicate(timeout=60)
    assert (process.returncode, err) == (141, b"")
