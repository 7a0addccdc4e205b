"""A light field drawn in four ways: ``python -m training.families.light_field.speed RUN`` or ``PRESET WxH``.

By the shaders, by onnxruntime from the exported graph, and by torch in float32 and bfloat16, all on the
processor but for the shaders, which run wherever OpenGL does. Torch is given what the trunk takes of each
ray, the others compute it. A preset is drawn with random weights: how long a network takes does not depend on
what it knows.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from rich.console import Console
from rich.table import Table
from torch import Tensor
from torch.nn import functional

from render import command
from render.asset import (
    BakedAsset,
    BakedNetwork,
    asset_bytes,
    asset_from_bytes,
    asset_path,
    read_asset,
)
from render.camera import look_at
from render.context import create_context
from render.errors import InshaderError, require
from render.light_field import LightField, Step
from render.light_field_gather import trunk_inputs
from render.light_field_rays import RayPoints
from render.manifold import manifold_constant, orbit_around
from render.metrics import psnr
from render.onnx_graph import onnx_model
from render.renderer import Renderer
from training import kernels
from training.families import seeded
from training.families.light_field.options import PRESETS, Config, build_network
from training.modules import run_layers, stage_0

FRAMES = 5  # of each, in turn, after one that is not counted
Picture = NDArray[np.float32]
DISTANCE, FIELD_OF_VIEW = 2.5, 0.69  # of the camera of a preset, as NeRF-synthetic has them


def untrained(preset: str, w: int, h: int) -> BakedAsset:
    """The network of a preset with random weights, for pictures of w x h.

    Raises:
        InshaderError: there is no such preset on points, or its upsampling does not divide the size.
    """
    known = [name for name, options in PRESETS.items() if options.get("levels") == 0]
    if preset not in known:
        raise InshaderError(f"{preset} is neither a run nor one of {', '.join(known)}")
    config = Config.model_validate(PRESETS[preset])
    if w % config.upscale or h % config.upscale:
        raise InshaderError(f"{preset}: {w}x{h} is not divisible by {config.upscale}")
    networks = build_network(config, None, kernels.select("cpu"), seeded(0)).baked(config.precision)
    up = np.array([0.0, 0.0, 1.0])
    angles = np.linspace(0, 2 * np.pi, 12, endpoint=False)
    places = DISTANCE * np.stack([np.cos(angles), np.sin(angles), np.full(12, 0.4)], -1)
    cameras = tuple(look_at(place, np.zeros(3), up, w, h, FIELD_OF_VIEW) for place in places)
    asset = BakedAsset(
        family="light_field",
        driver="lightfield",
        bounds=np.array([[-0.577] * 3, [0.577] * 3], np.float32),
        networks=networks,
        grids={},
        volumes={},
        constants={
            "pitch": (cameras[0].fl_x, cameras[0].fl_y),
            "manifold": manifold_constant(orbit_around(cameras, up, 0.1, 0.05)),
            **RayPoints(config.points).constants(),
        },
        background=np.ones(3, np.float32),
        up=up.astype(np.float32),
        world_from_source=np.eye(4),
        camera=cameras[0],
        held_out=cameras,
    )
    return asset_from_bytes(asset_bytes(asset))  # rounded as a file has it


def by_torch(light_field: LightField, rays: Picture, kind: torch.dtype) -> Callable[[], Picture]:
    """The networks in torch, ready to run on rays (h, w, c), which are computed once."""

    def ready(network: BakedNetwork) -> Callable[[Tensor], Tensor]:
        parameters = {
            name: torch.from_numpy(np.asarray(part)).to(kind) for name, part in network.parameters.items()
        }
        return lambda x: run_layers(network.spec, parameters, x)

    trunk = ready(light_field.trunk)
    steps = [(enlarge(step, kind), ready(step.refine)) for step in light_field.steps]
    start = stage_0(light_field.trunk.spec, torch.from_numpy(rays)).to(kind)  # encoded in float32

    @torch.no_grad()
    def picture() -> Picture:
        x = trunk(start)
        for up, refine in steps:
            x = refine(up(x))
        return x.float().numpy()

    return picture


def enlarge(step: Step, kind: torch.dtype) -> Callable[[Tensor], Tensor]:
    """One step of upsampling as torch's transposed convolution: (h, w, c) -> (h * factor, w * factor, c')."""
    kernel = torch.from_numpy(step.kernel()).to(kind)
    bias = torch.from_numpy(np.asarray(step.bank.parameters["0.bias"])[0]).to(kind)
    padding = (step.taps - 1) * step.factor // 2

    def run(x: Tensor) -> Tensor:
        y = functional.conv_transpose2d(x.permute(2, 0, 1)[None], kernel, bias, step.factor, padding)
        return y[0].permute(1, 2, 0)

    return run


def compare(asset: BakedAsset, name: str) -> Table:
    """Milliseconds a frame, and how near the pictures are to numpy's."""
    onnxruntime = require("onnxruntime", "onnx")
    field, camera = LightField.of(asset.networks), asset.camera
    session = onnxruntime.InferenceSession(
        onnx_model(asset, camera).SerializeToString(), providers=["CPUExecutionProvider"]
    )
    pose = {"world_from_camera": camera.world_from_camera.astype(np.float32)}
    ctx = create_context()
    renderer = Renderer(ctx, asset)

    def shaders() -> Picture:
        frame = renderer.draw(camera)
        ctx.finish()
        found: Picture = frame.images["colour"]
        return found

    rays = trunk_inputs(asset, camera, field.factor)
    ways: dict[str, Callable[[], Picture]] = {
        f"shaders, {ctx.info['GL_RENDERER']}": shaders,
        "onnxruntime": lambda: np.moveaxis(session.run(None, pose)[0][0], 0, -1),
        "torch without rays, float32": by_torch(field, rays, torch.float32),
        "torch without rays, bfloat16": by_torch(field, rays, torch.bfloat16),
    }
    truth = field.evaluate(rays)
    times: dict[str, list[float]] = {way: [] for way in ways}
    near = {}
    for k in range(FRAMES + 1):
        for way, draw in ways.items():
            start = time.perf_counter()
            picture = draw()
            if k:
                times[way].append(1e3 * (time.perf_counter() - start))
            near[way] = psnr(picture, truth)
    table = Table(title=f"{name}: {camera.w}x{camera.h}, {2e-9 * _work(asset, field):.2f} GFLOP")
    for column in ("", "ms", "dB to numpy"):
        table.add_column(column)
    for way in ways:
        decibels = near[way]
        table.add_row(way, f"{np.median(times[way]):.1f}", "equal" if decibels is None else f"{decibels:.1f}")
    return table


def _work(asset: BakedAsset, field: LightField) -> int:
    return field.multiply_adds(asset.camera.h // field.factor, asset.camera.w // field.factor)


def main() -> int:
    """Print the table."""
    words = sys.argv[1:]
    if len(words) not in (1, 2):
        print("usage: python -m training.families.light_field.speed RUN | PRESET WxH", file=sys.stderr)
        return 2
    try:
        asset = read_asset(asset_path(Path(words[0]))) if len(words) == 1 else _preset(*words)
        Console().print(compare(asset, words[0]))
    except InshaderError as error:
        print(error, file=sys.stderr)
        return 2
    return 0


def _preset(name: str, size: str) -> BakedAsset:
    return untrained(name, *command.size(size))


if __name__ == "__main__":
    sys.exit(main())
