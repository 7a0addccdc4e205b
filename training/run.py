"""A whole run: scene file -> data -> training -> asset -> scores, into one folder.

The folder holds ``asset.safetensors`` (while the training goes on, of what there is), ``config.yaml``,
``checkpoint.safetensors``, ``log.jsonl``, ``comparison.png`` and ``results.json``.
"""

from __future__ import annotations

import importlib.metadata
import json
import os
import platform
import shutil
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import imageio.v3 as iio
import numpy as np
import torch
import yaml

from render.asset import BakedAsset, asset_bytes, asset_from_bytes, write_asset
from render.bench import frame_times
from render.errors import InshaderError
from render.files import atomic_write, replacing
from render.stage import Stage, stage_from_json
from scenes import Scene, load_dataset
from scenes.dataset import Dataset, PosedImages
from scenes.stage import read_stage
from training import kernels, processes
from training.families import Task, find_task
from training.loop import Run
from training.preview import Previews
from training.score import asset_drawer, score

FREE_BYTES = 64 << 20  # less than this cannot hold a run


def train(scene: Scene, folder: Path, device: str, resume: bool, view: bool = False) -> dict[str, Any]:
    """Train, bake and score ``scene`` into ``folder``; returns what ``results.json`` holds.

    Args:
        view: open a window on the folder, which shows how the training goes.

    Of several processes (``training/processes.py``) the first alone writes; all return the same.

    Raises:
        InshaderError: the scene, its data, the device or the folder is not usable; said before training.
        KeyboardInterrupt: after the checkpoint is written, but for half a step (``Run.train``).
    """
    task, config = find_task(scene)
    device = pick_device(device)
    check_folder(folder)
    with processes.joined(device):
        results = _train(scene, folder, device, resume, view, task, config)
        found: dict[str, Any] = json.loads(processes.from_first(json.dumps(results).encode()))
    return found


def _train(
    scene: Scene, folder: Path, device: str, resume: bool, view: bool, task: Task, config: Any
) -> dict[str, Any] | None:
    """``train``, of the processes but the first without results."""
    clock = time.monotonic()
    with processes.one_leads():
        dataset = load_dataset(scene)
    if not isinstance(dataset, task.dataset):
        wanted, found = task.dataset.__name__, type(dataset).__name__
        raise InshaderError(f"{scene.family}.task={config.task} takes {wanted}, the data is {found}")
    stage = stage_of(scene, dataset)
    kernel_module = kernels.select(device)
    model = task.build(config, dataset, kernel_module, device, scene.seed)
    seconds = {"data": time.monotonic() - clock}
    clock = time.monotonic()
    model.compile()
    seconds["compile"] = time.monotonic() - clock

    resolved = {**scene.resolved(), scene.family: config.model_dump(mode="json")}
    folder.mkdir(parents=True, exist_ok=True)
    budget = scene.train.seconds if scene.train.steps is None else None
    if scene.train.seconds is None and scene.train.steps is None:
        budget = task.seconds
    run = Run(model, folder, budget, scene.train.steps, json.dumps(resolved, sort_keys=True))
    if resume:
        run.resume()
    if processes.first():
        if not resume:  # what an earlier run has left there would pass for the scores of this one
            for name in ("results.json", "comparison.png"):
                (folder / name).unlink(missing_ok=True)
        atomic_write(folder / "config.yaml", yaml.safe_dump(resolved, sort_keys=False).encode())
        run.preview = Previews(
            model, folder / "asset.safetensors", lambda asset: replace(asset, scene=resolved, stage=stage)
        )
        for line in [f"kernels: {kernel_module.NAME} on {device}", *kernels.fallbacks(device)]:
            print(line, flush=True)
        if view:
            start_viewer(folder)
    run.train()
    seconds["train"] = run.position.seconds

    clock = time.monotonic()
    provenance = _provenance(kernel_module.NAME, device)
    asset = replace(model.bake(), scene=resolved, stage=stage, provenance=provenance)
    if processes.first():
        size = write_asset(folder / "asset.safetensors", asset)
        print(f"baked {folder / 'asset.safetensors'}, {size / 1e6:.2f} MB; scoring {len(dataset.test)} views")
    seconds["bake"] = time.monotonic() - clock

    clock = time.monotonic()
    # What a stranger would read, rounded.
    baked = asset_from_bytes(
        processes.from_first((folder / "asset.safetensors").read_bytes() if processes.first() else None)
    )
    with asset_drawer(baked) as (draw, renderer):
        scores, comparison = score(model, draw, dataset)
        if not processes.first():
            return None
        times = None if renderer is None else frame_times(renderer, baked.held_out)
    seconds["score"] = time.monotonic() - clock
    field_ms = float(np.median(scores.field_ms))
    speedup = None if times is None else round(field_ms / times["ms"]["median"], 2)
    results = {
        "format": 1,
        "scene": scene.name,
        "family": scene.family,
        "device": device,
        "kernels": kernel_module.NAME,
        "processes": processes.count(),
        "seconds": {name: round(value, 3) for name, value in seconds.items()},
        "steps": run.position.total_steps,
        **_picture_facts(dataset),
        "precision": baked.precision,
        "asset_bytes": size,
        **scores.results(),
        **(times or dict.fromkeys(("fps", "ms", "timer", "gl", "evaluations_per_pixel"))),
        "family_metrics": {
            "field_ms": round(field_ms, 3),
            "shader_speedup": speedup,
            **{name: round(value, 6) for name, value in model.metrics().items()},
        },
    }
    _write_results(folder, asset, results, comparison)
    return results


def start_viewer(folder: Path) -> None:
    """``render-view`` on a run folder, as a process of its own that goes on when the training has ended."""
    command = [sys.executable, "-m", "viewer.cli", os.fspath(folder)]
    subprocess.Popen(command, stdin=subprocess.DEVNULL, start_new_session=True)


def stage_of(scene: Scene, dataset: Dataset) -> Stage | None:
    """What else stands in the scene, in the world of its data.

    Raises:
        InshaderError: a mesh or a picture of it cannot be read.
    """
    if scene.stage is None:
        return None
    return stage_from_json(*read_stage(scene.stage, dataset.world_from_source, scene.find))


def _write_results(folder: Path, asset: BakedAsset, results: dict[str, Any], comparison: np.ndarray) -> None:
    for _ in range(2):  # the asset holds its own size, whose digits are part of it
        results["asset_bytes"] = len(asset_bytes(replace(asset, results=results)))
    write_asset(folder / "asset.safetensors", replace(asset, results=results))
    with replacing(folder / "comparison.png") as path:
        iio.imwrite(path, np.round(comparison * 255).astype(np.uint8))
    atomic_write(folder / "results.json", (json.dumps(results, indent=1, allow_nan=False) + "\n").encode())


def _picture_facts(dataset: Dataset) -> dict[str, Any]:
    camera = dataset.test.cameras[0]
    return {
        "views": len(dataset.test),
        "held_out": list(dataset.test.names),
        "resolution": [camera.w, camera.h],
        "samples_per_pixel": 1,
        "background": dataset.background_name,
        "masked": isinstance(dataset, PosedImages) and dataset.masked,
    }


def _provenance(kernel_name: str, device: str) -> dict[str, Any]:
    versions = {name: importlib.metadata.version(name) for name in ("torch", "numpy", "safetensors")}
    return {
        "versions": versions,
        "python": platform.python_version(),
        "kernels": kernel_name,
        "device": device,
    }


def pick_device(name: str) -> str:
    """``auto`` is CUDA where torch sees it.

    Raises:
        InshaderError: CUDA is asked for and absent.
    """
    available = torch.cuda.is_available()
    if name == "cuda" and not available:
        raise InshaderError("--device cuda: torch sees no CUDA device here; use --device cpu or auto")
    return ("cuda" if available else "cpu") if name == "auto" else name


def check_folder(folder: Path) -> None:
    """Raise InshaderError unless a run can be written to ``folder``, which need not exist yet."""
    parent = next(path for path in (folder, *folder.absolute().parents) if path.exists())
    if not parent.is_dir():
        raise InshaderError(f"--out {folder}: {parent} is a file; name a folder")
    if not os.access(parent, os.W_OK | os.X_OK):
        raise InshaderError(f"--out {folder}: {parent} is read-only; name a folder you may write to")
    free = shutil.disk_usage(parent).free
    if free < FREE_BYTES:
        raise InshaderError(
            f"--out {folder}: {free >> 20} MB are free there, a run needs at least {FREE_BYTES >> 20} MB"
        )
