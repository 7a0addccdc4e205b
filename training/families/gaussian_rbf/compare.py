"""Compares decoders: ``python -m training.families.gaussian_rbf.compare SCENE [key=value ...]``.

Same data, grid, steps and seed; neurons such that each decoder takes the multiply-adds of the default one, or
the nearest number to it. One table, a run folder for each below ``runs/compare``.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import get_args

from rich.console import Console
from rich.table import Table

from render.errors import InshaderError
from render.network import Linear, NetworkSpec, Slot
from scenes import load_scene
from training.cli import task_metrics
from training.families import find_task
from training.families.gaussian_rbf.decoder import DecoderConfig, decoder_layers
from training.run import train

OUTPUTS = {"radiance": 4, "image": 3, "sdf": 1}  # per evaluation: radiance has density and folded colour rows


def multiply_adds(config: DecoderConfig, outputs: int) -> int:
    """Of one evaluation of the decoder, features in and ``outputs`` values out."""
    features = Slot("features", config.levels * config.features)
    return NetworkSpec((features,), (*decoder_layers(config), Linear(outputs))).multiply_adds()


def equal_cost(config: DecoderConfig, decoder: str, outputs: int) -> DecoderConfig:
    """``config`` with another decoder, of as nearly as may be the same number of multiply-adds."""
    wanted = multiply_adds(config, outputs)
    candidates = [config.model_copy(update={"decoder": decoder, "neurons": n}) for n in range(1, 129)]
    return min(candidates, key=lambda other: abs(multiply_adds(other, outputs) - wanted))


def compare(scene_name: str, overrides: list[str]) -> Table:
    """Train with every decoder; the table of what came of it."""
    _, config = find_task(load_scene(scene_name, overrides))
    if not isinstance(config, DecoderConfig):
        raise InshaderError(f"{scene_name}: its family has no decoders to compare")
    task = config.model_dump()["task"]
    table = Table(title=f"{scene_name} {' '.join(overrides)}", show_header=False)
    rows = []
    for decoder in get_args(DecoderConfig.model_fields["decoder"].annotation):
        chosen = equal_cost(config, decoder, OUTPUTS[task])
        options = [f"gaussian_rbf.decoder={decoder}", f"gaussian_rbf.neurons={chosen.neurons}"]
        scene = load_scene(scene_name, [*overrides, *options])
        results = train(scene, Path("runs/compare") / f"{scene.name}_{decoder}", "auto", resume=False)
        rows.append(
            {
                "decoder": decoder,
                "neurons": chosen.neurons,
                "multiply-adds": multiply_adds(chosen, OUTPUTS[task]),
                "steps": results["steps"],
                "PSNR": results["psnr"]["baked"],
                "object alone": results["psnr"]["foreground"],
                "SSIM": results["ssim"]["baked"],
                **task_metrics(results),
            }
        )
    for name, *values in zip(rows[0], *(row.values() for row in rows), strict=True):
        table.add_row(name, *(f"{v:.5g}" if isinstance(v, float) else str(v) for v in values))
    return table


def main() -> int:
    """Print the table."""
    if len(sys.argv) < 2:
        print(
            "usage: python -m training.families.gaussian_rbf.compare SCENE [key=value ...]", file=sys.stderr
        )
        return 2
    try:
        Console().print(compare(sys.argv[1], sys.argv[2:]))
    except InshaderError as error:
        print(error, file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
