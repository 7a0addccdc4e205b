"""``render-bench``: how fast an asset draws here, and how good it is where that is known.

It writes the keys of ``results.json`` (render-train's). Times are measured over the held-out cameras. Scores
are those that render-train left in the run folder or in the asset, as long as the resolution is theirs; with
``--scene`` they are taken anew. This package does not know how scenes are read: whoever does offers a
function under the entry point group ``inshader.truth``::

    def truth(scene: str, asset_scene: Mapping) -> Sequence[tuple[colour (h, w, 3), coverage (h, w) | None]]

which gives the held-out pictures in the order of the asset's held-out cameras, as display colours in float32.
"""

from __future__ import annotations

import argparse
import importlib.metadata
import json
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from rich.console import Console
from rich.table import Column, Table
from rich.text import Text

from render import command
from render.asset import BakedAsset, asset_path, read_asset
from render.camera import Camera
from render.context import create_context
from render.errors import InshaderError
from render.files import atomic_write
from render.metrics import SSIM_RADIUS, psnr, ssim
from render.renderer import Frame, Renderer

TRUTH = "inshader.truth"
FRAMES = 50
Image = NDArray[np.float32]
Truth = Sequence[tuple[Image, Image | None]]
# What render-train knows and a benchmark does not measure.
KEPT = (
    "scene",
    "family",
    "device",
    "kernels",
    "steps",
    "samples_per_pixel",
    "background",
    "masked",
    "family_metrics",
)
SCORES = ("psnr", "ssim", "parity_db")


def frame_times(
    renderer: Renderer, cameras: Sequence[Camera], size: tuple[int, int] | None = None, frames: int = FRAMES
) -> dict[str, Any]:
    """Draw ``frames`` pictures from ``cameras`` in turn, after one that does not count.

    Returns:
        The keys ``fps``, ``ms``, ``timer``, ``gl``, ``evaluations_per_pixel`` of ``results.json``. A frame's
        time is that of its passes by the GPU's clock, or by the wall's where the processor draws.
    """
    renderer.draw(cameras[0], size)
    renderer.ctx.finish()
    drawn = [timed_frame(renderer, cameras[number % len(cameras)], size) for number in range(frames)]
    return time_summary(renderer, [(ms, evaluations) for _, ms, evaluations in drawn])


def timed_frame(
    renderer: Renderer, camera: Camera, size: tuple[int, int] | None = None
) -> tuple[Frame, float, float]:
    """One frame, drawn to its end, its milliseconds and its evaluations a pixel."""
    start = time.perf_counter()
    frame = renderer.draw(camera, size)
    renderer.ctx.finish()
    wall = (time.perf_counter() - start) * 1e3
    stats = frame.stats
    ms = wall if stats["timer"] == "wall" else sum(stats["ms"].values())
    return frame, ms, stats["evaluations_per_pixel"]


def time_summary(renderer: Renderer, drawn: Sequence[tuple[float, float]]) -> dict[str, Any]:
    """What ``frame_times`` returns, from the milliseconds and evaluations of frames."""
    times, evaluations = zip(*drawn, strict=True)
    median = float(np.median(times))
    info = renderer.ctx.info
    return {
        "fps": {"median": round(1e3 / median, 3)},
        "ms": {"median": round(median, 4), "p95": round(float(np.percentile(times, 95)), 4)},
        "timer": renderer.timer.kind,
        "gl": {"renderer": str(info["GL_RENDERER"]), "version": str(info["GL_VERSION"])},
        "evaluations_per_pixel": round(float(np.mean(evaluations)), 4),
    }


def score(renderer: Renderer, truth: Truth) -> dict[str, Any]:
    """The keys ``psnr`` and ``ssim`` of ``results.json`` against the truth of the held-out views.

    Raises:
        InshaderError: the truth is not that of this asset's cameras.
    """
    cameras = renderer.asset.held_out
    if len(truth) != len(cameras) or not cameras:
        raise InshaderError(
            f"the scene has {len(truth)} held-out views, the asset {len(cameras)}: they must be the same"
        )
    peak = peak_of(renderer.asset)
    scores = []
    for camera, (colour, coverage) in zip(cameras, truth, strict=True):
        h, w = colour.shape[:2]
        picture = renderer.draw(camera, (w, h)).images["colour"]
        scores.append(view_score(picture, colour, coverage, peak))
    return score_summary(scores)


class ViewScore(NamedTuple):
    """How alike a picture and its truth are: PSNR in dB, over all and over what is covered, and SSIM."""

    psnr: float | None
    foreground: float | None
    ssim: float | None


def peak_of(asset: BakedAsset) -> np.float32:
    """The value that scores count as 1: that of a picture; other scenes have colours up to 1."""
    stored = asset.constants.get("peak")
    return np.float32(stored if isinstance(stored, (int, float)) and stored > 0 else 1)


def view_score(picture: Image, colour: Image, coverage: Image | None, peak: np.float32) -> ViewScore:
    """Of a drawn picture (h, w, 3) against its truth and that one's coverage (h, w)."""
    colour, picture = colour / peak, np.clip(picture / peak, 0, 1)
    mask = None if coverage is None else coverage.reshape(colour.shape[:2]) > 0
    foreground = None if mask is None else psnr(picture, colour, mask=mask)
    small = min(colour.shape[:2]) <= 2 * SSIM_RADIUS  # than the window of SSIM
    return ViewScore(psnr(picture, colour), foreground, None if small else ssim(picture, colour))


def score_summary(scores: Sequence[ViewScore]) -> dict[str, Any]:
    """What ``score`` returns, from the scores of the held-out views."""
    per_view = [one.psnr for one in scores]
    return {
        "psnr": {
            "baked": _mean(per_view),
            "field": None,
            "foreground": _mean([one.foreground for one in scores]),
            "stages": {},
            "per_view": [None if value is None else round(value, 4) for value in per_view],
        },
        "ssim": {"baked": _mean([one.ssim for one in scores])},
        "parity_db": None,
    }


def _mean(values: Sequence[float | None]) -> float | None:
    found = [value for value in values if value is not None]
    return round(float(np.mean(found)), 4) if found else None


def read_truth(scene: str, asset: BakedAsset) -> Truth:
    """The held-out pictures, by whoever offers to read scenes.

    Raises:
        InshaderError: nobody does, or the scene cannot be read.
    """
    offers = list(importlib.metadata.entry_points(group=TRUTH))
    if not offers:
        raise InshaderError(
            f"--scene {scene}: nothing installed reads scenes (no entry point {TRUTH}): install inshader"
        )
    read = offers[0].load()
    return list(read(scene, asset.scene))


def stored_results(argument: Path, asset: BakedAsset) -> dict[str, Any]:
    """What render-train measured: ``results.json`` of the run folder, else what the asset itself holds.

    Either may come from a stranger: what is not of the kind that render-train writes is left out.
    """
    folder = argument if argument.is_dir() else argument.parent
    try:
        data = json.loads((folder / "results.json").read_text())
    except (OSError, ValueError, RecursionError):
        data = asset.results
    found = _plain(data)
    if not isinstance(found, dict):
        return {}
    for key in ("seconds", "psnr", "ssim"):
        if key in found and not isinstance(found[key], dict):
            found[key] = None
    for section in (found.get("psnr"), found.get("ssim")):
        for key in ("baked", "foreground", "field"):
            if section is not None and isinstance(section.get(key), str | bool | list | dict):
                section[key] = None
    return found


def _plain(value: Any, depth: int = 0) -> Any:
    """A value of JSON without what cannot be shown or written: endless numbers, control characters."""
    if isinstance(value, dict) and depth < 4:
        return {str(key)[:80]: _plain(item, depth + 1) for key, item in list(value.items())[:200]}
    if isinstance(value, list) and depth < 4:
        return [_plain(item, depth + 1) for item in value[:10_000]]
    if isinstance(value, str):
        return "".join(letter for letter in value[:200] if letter.isprintable())
    if isinstance(value, bool) or value is None:
        return value
    return value if isinstance(value, int | float) and abs(value) < 1e30 else None


def _count(text: str) -> int:
    if not (text.isdecimal() and 1 <= int(text) <= 100_000):
        raise InshaderError(f"{text!r:.40} is not a number of frames: expected 1 to 100000")
    return int(text)


def _bench(arguments: argparse.Namespace) -> None:
    path = asset_path(arguments.asset)
    ctx = create_context()  # first, so that its start is not counted
    start = time.perf_counter()
    asset = read_asset(path)
    with Renderer(ctx, asset) as renderer:
        cameras = list(asset.held_out) or [asset.camera]
        size = arguments.size or (cameras[0].w, cameras[0].h)
        renderer.draw(cameras[0], size).texture.read()
        first = time.perf_counter() - start
        stored = stored_results(arguments.asset, asset)
        results: dict[str, Any] = {
            "format": 1,
            **{key: stored.get(key) for key in KEPT},
            "family": asset.family,
            "seconds": {**(stored.get("seconds") or {}), "first_frame": round(first, 3)},
            "views": len(asset.held_out),
            "resolution": list(size),
            "precision": asset.precision,
            "asset_bytes": path.stat().st_size,
            **frame_times(renderer, cameras, size, arguments.frames),
            **{key: stored.get(key) if stored.get("resolution") == list(size) else None for key in SCORES},
        }
        if arguments.scene is not None:
            results |= score(renderer, read_truth(arguments.scene, asset))
    ctx.release()
    if arguments.json is not None:
        atomic_write(arguments.json, (json.dumps(results, indent=1, allow_nan=False) + "\n").encode())
    Console(file=sys.stdout).print(_table(path, results))


def _table(path: Path, results: dict[str, Any]) -> Table:
    """What a person wants to see of the results."""
    w, h = results["resolution"]
    psnr_of = results["psnr"] or {}
    rows = [
        ("frame", f"{results['ms']['median']:.2f} ms median, {results['ms']['p95']:.2f} ms p95"),
        (
            "rate",
            f"{results['fps']['median']:.1f} frames a second at {w}x{h}, by the {results['timer']} clock",
        ),
        ("first frame", f"{results['seconds']['first_frame']:.2f} s, reading and compiling included"),
        ("evaluations", f"{results['evaluations_per_pixel']:.2f} a pixel"),
        ("asset", f"{results['asset_bytes'] / 1e6:.2f} MB, {results['precision']}"),
        ("OpenGL", f"{results['gl']['renderer']}, {results['gl']['version']}"),
    ]
    if psnr_of.get("baked") is not None:
        on = f" on {results['background']}" if results.get("background") else ""
        similarity = (results["ssim"] or {}).get("baked")
        also = f", SSIM {similarity:.4f}" if similarity is not None else ""
        rows.insert(
            0, ("PSNR", f"{psnr_of['baked']:.2f} dB over {results['views']} held-out views{on}{also}")
        )
    # as Text: what stands in brackets in a name is no markup
    title = Text(f"{results.get('scene') or 'asset'}: {results['family']}", style="table.title")
    table = Table("", Column(Text(f"{path}")), title=title)
    for row in rows:
        table.add_row(*map(Text, row))
    return table


def main(argv: Sequence[str] | None = None) -> int:
    arguments = command.parser("render-bench", "Measures how fast an asset draws on this machine.")
    arguments.add_argument(
        "asset", type=Path, metavar="ASSET|DIR", help="an asset, or a folder made by render-train"
    )
    arguments.add_argument(
        "--scene", metavar="FILE", help="score against the held-out pictures of this scene"
    )
    arguments.add_argument(
        "--size", type=command.size, metavar="WxH", help="of the pictures; default: the cameras' own"
    )
    arguments.add_argument(
        "--frames", type=_count, default=FRAMES, metavar="N", help=f"to measure (default {FRAMES})"
    )
    arguments.add_argument(
        "--json", type=Path, metavar="FILE", help="write the figures there, with the keys of results.json"
    )
    return command.run(_bench, arguments.parse_args(argv))


if __name__ == "__main__":
    raise SystemExit(main())
