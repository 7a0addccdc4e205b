"""A shell against marches through the same field: ``python -m training.families.adaptive_shells.speed RUN``.

One process, one size, the held-out cameras, the very weights that full rays have left: drawn by the ``shell``
driver, by ``march`` with the occupancy that training found and an early stop, and by ``march`` with 384
samples along the diagonal of the box and neither. Frames alternate, so that a busy moment slows them all.
"""

from __future__ import annotations

import sys
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
from rich.console import Console
from rich.table import Table

from render.asset import BakedAsset
from render.context import create_context
from render.errors import InshaderError
from render.metrics import psnr
from render.renderer import Renderer
from render.shell_field import march_asset
from scenes import load_dataset, load_scene
from training import kernels
from training.checkpoint import read_checkpoint
from training.families import find_task
from training.families.adaptive_shells.shells import Shells

UNIFORM_SAMPLES = 384  # along the diagonal of the box, as the paper's full rays have them
FRAMES, UNIFORM_FRAMES = 75, 3  # of either kind, after one that is not counted


def trained(folder: Path) -> Shells:
    """The model of a finished run.

    Raises:
        InshaderError: the folder holds no such run.
    """
    scene = load_scene(str(folder / "config.yaml"), [])
    task, config = find_task(scene)
    model = task.build(config, load_dataset(scene), kernels.select("cpu"), "cpu", scene.seed)
    if not isinstance(model, Shells):
        raise InshaderError(f"{folder}: a run of {scene.family}, expected adaptive_shells")
    model.load_state(read_checkpoint(folder / "checkpoint.safetensors")[0])
    if model.before is None:
        raise InshaderError(f"{folder}: the run ended before its shell was cut out")
    return model


def variants(model: Shells) -> dict[str, BakedAsset]:
    """The field of full rays as each driver is given it."""
    assert model.before is not None
    precision, volume = model.config.precision, model.full.volume
    grids = {"features": model.before.baked_grid(precision)}
    shell = replace(model.bake(), networks=model.before.baked(precision), grids=grids)
    everywhere = np.ones((1, 1, 1), bool)
    return {
        "shell": shell,
        "march, occupancy and early stop": march_asset(shell, volume.occupancy.cells, volume.step_size),
        f"march, {UNIFORM_SAMPLES} uniform samples": march_asset(shell, everywhere, 2 / UNIFORM_SAMPLES, 0.0),
    }


def compare(folder: Path) -> Table:
    """Milliseconds a frame, evaluations a pixel, and how near pictures are to those of uniform samples."""
    assets = variants(trained(folder))
    ctx = create_context()
    renderers = {name: Renderer(ctx, asset) for name, asset in assets.items()}
    cameras = assets["shell"].held_out
    times: dict[str, list[float]] = {name: [] for name in assets}
    cost: dict[str, list[float]] = {name: [] for name in assets}
    near: dict[str, list[float]] = {name: [] for name in assets}
    for k in range(FRAMES + 1):
        pictures = {}
        for name, renderer in renderers.items():
            if "uniform" in name and k > UNIFORM_FRAMES:
                continue
            start = time.perf_counter()
            frame = renderer.draw(cameras[k % len(cameras)])
            ctx.finish()
            elapsed = time.perf_counter() - start
            pictures[name] = frame.images["colour"]
            if k:
                times[name].append(1e3 * elapsed)
                cost[name].append(frame.stats["evaluations_per_pixel"])
        if k <= UNIFORM_FRAMES:
            truth = pictures[list(assets)[-1]]
            for name, picture in pictures.items():
                near[name].append(psnr(picture, truth) or np.inf)
    table = Table(title=f"{folder}: {cameras[0].w}x{cameras[0].h}")
    for column in ("", "ms", "against shell", "evaluations a pixel", "dB to uniform"):
        table.add_column(column)
    base = float(np.median(times["shell"]))
    for name in assets:
        ms = float(np.median(times[name]))
        row = f"{ms:.1f}", f"{ms / base:.2f}", f"{np.mean(cost[name]):.2f}", f"{np.mean(near[name]):.1f}"
        table.add_row(name, *row)
    return table


def main() -> int:
    """Print the table."""
    if len(sys.argv) != 2:
        print("usage: python -m training.families.adaptive_shells.speed RUN", file=sys.stderr)
        return 2
    try:
        Console().print(compare(Path(sys.argv[1])))
    except InshaderError as error:
        print(error, file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
