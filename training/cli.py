"""``render-train``: a scene file in, a run folder out."""

from __future__ import annotations

import argparse
import os
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich.console import Console
from rich.table import Table

from render import command
from render.errors import InshaderError
from render.files import replacing

if TYPE_CHECKING:
    from scenes import Scene


def main(argv: Sequence[str] | None = None) -> int:
    """Entry point; returns the exit status."""
    arguments = command.parser("render-train", "Trains a neural field, bakes it into an asset and scores it.")
    arguments.add_argument(
        "scene", nargs="?", help="a scene file, or the name of a bundled scene such as quickstart"
    )
    arguments.add_argument(
        "overrides",
        nargs="*",
        default=[],
        metavar="key=value",
        help="changes to the scene, such as train.seconds=30",
    )
    arguments.add_argument("--out", type=Path, help="run folder (default: runs/<scene name>)")
    arguments.add_argument("--device", choices=("auto", "cpu", "cuda"), default="auto")
    arguments.add_argument(
        "--resume", action="store_true", help="go on from the checkpoint in the run folder"
    )
    arguments.add_argument(
        "--view", action="store_true", help="open a window that shows how the training goes"
    )
    arguments.add_argument(
        "--inspect",
        action="store_true",
        help="train nothing: say what the data is, and draw cameras and box to inspect.png in the run folder",
    )
    arguments.add_argument(
        "--doctor",
        action="store_true",
        help="say what is installed, what was found and what falls back to what",
    )
    args = arguments.parse_args(argv)
    if args.doctor:
        return command.run(_doctor, args)
    if args.scene is None:
        arguments.error("name a scene file, or a bundled scene such as quickstart")
    # Overrides may stand before the scene too: it is the first word that is none of them.
    words = [args.scene, *args.overrides]
    args.scene = next((word for word in words if "=" not in word or Path(word).is_file()), args.scene)
    words.remove(args.scene)
    args.overrides = words
    return command.run(_train, args)


def _train(args: argparse.Namespace) -> None:
    from scenes import load_scene

    # Before torch is imported: a typing mistake is told at once.
    scene = load_scene(args.scene, args.overrides)
    folder = args.out or Path("runs") / scene.name
    if args.inspect:
        for option in ("resume", "view"):
            if getattr(args, option):
                raise InshaderError(f"--inspect trains nothing, so there is nothing to --{option}: name one")
        _inspect(scene, folder)
        return
    from training import processes
    from training.run import train

    results = train(scene, folder, args.device, args.resume, args.view)
    if processes.first():
        print_results(results, folder)


def _inspect(scene: Scene, folder: Path) -> None:
    """Print what the data of a scene is, and leave the picture of it in ``folder``; needs no torch."""
    import imageio.v3 as iio

    from scenes.inspect import LEGEND, inspect

    found = inspect(scene)
    width = 2 + max(len(name) for name, _ in found.rows)
    for name, value in found.rows:
        print(f"{name:<{width}}{value}")
    for warning in found.warnings:
        print(f"warning: {warning}")
    folder.mkdir(parents=True, exist_ok=True)
    with replacing(folder / "inspect.png") as path:
        iio.imwrite(path, found.picture)
    print(f"{'picture':<{width}}{folder / 'inspect.png'}: {LEGEND}")


def _doctor(args: argparse.Namespace) -> None:
    from training.doctor import doctor

    for name, found in doctor():
        print(f"{name:<20}{found}")


def task_metrics(results: dict[str, Any]) -> dict[str, float]:
    """The entries of ``family_metrics`` that the task itself gave: all but those that every run has."""
    of_all = ("field_ms", "shader_speedup")
    return {name: value for name, value in results["family_metrics"].items() if name not in of_all}


def print_results(results: dict[str, Any], folder: Path) -> None:
    """The table at the end of a run."""

    def unit(value: float | None, text: str) -> str:
        return "-" if value is None else f"{value:{text}}"

    table = Table(title=f"{results['scene']}: {results['family']}", show_header=False)
    w, h = results["resolution"]
    score, seconds = results["psnr"], results["seconds"]
    rows = [
        ("held-out views", f"{results['views']} of {w}x{h} on {results['background']}"),
        ("PSNR, baked shader", unit(score["baked"], ".2f") + " dB"),
        ("PSNR, trained field", unit(score["field"], ".2f") + " dB"),
        ("PSNR, where the object is", unit(score["foreground"], ".2f") + " dB"),
        ("SSIM, baked shader", unit(results["ssim"]["baked"], ".4f")),
        ("shader against field", unit(results["parity_db"], ".1f") + " dB"),
        ("frames per second", unit((results["fps"] or {}).get("median"), ".1f")),
        ("faster than the field", unit(results["family_metrics"].get("shader_speedup"), ".1f") + " times"),
        ("asset", f"{results['asset_bytes'] / 1e6:.2f} MB, {results['precision']}"),
        (
            "training",
            f"{seconds['train']:.0f} s, {results['steps']} steps, {results['kernels']} kernels",
        ),
        *((name.replace("_", " "), f"{value:.5g}") for name, value in task_metrics(results).items()),
        ("picture", os.fspath(folder / "comparison.png")),
    ]
    for name, value in rows:
        table.add_row(name, value)
    Console().print(table)


if __name__ == "__main__":
    raise SystemExit(main())
