"""Scores of a baked asset on the held-out views, and the picture that shows them."""

from __future__ import annotations

import dataclasses
import math
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import numpy as np
from numpy.typing import NDArray

from render import reference
from render.asset import BakedAsset
from render.camera import Camera
from render.context import create_context
from render.errors import InshaderError
from render.metrics import SSIM_RADIUS, parity_db, psnr, ssim
from render.renderer import Renderer
from scenes.dataset import Dataset, Picture, composite, coverage
from training import processes
from training.families import Model

Image = NDArray[np.float32]
Draw = Callable[[Camera], tuple[Image, Image]]  # colour (h, w, 3) and coverage (h, w, 1)

COMPARED_VIEWS, ERROR_GAIN = 3, 5.0
STAGES = "stages."  # what columns of earlier stages begin with


@dataclasses.dataclass
class Scores:
    """Per held-out view, in dB unless said otherwise; None where a figure is infinite or does not apply."""

    baked: list[float | None] = dataclasses.field(default_factory=list)
    field: list[float | None] = dataclasses.field(default_factory=list)
    foreground: list[float | None] = dataclasses.field(default_factory=list)
    parity: list[float | None] = dataclasses.field(default_factory=list)
    ssim: list[float | None] = dataclasses.field(default_factory=list)
    stages: dict[str, list[float | None]] = dataclasses.field(default_factory=dict)
    field_ms: list[float] = dataclasses.field(default_factory=list)  # the field's own drawing by the kernels

    def arrays(self) -> dict[str, NDArray[np.float64]]:
        """A column for every figure, NaN for None; those of ``stages`` as ``stages.<name>``."""
        columns = {field.name: getattr(self, field.name) for field in dataclasses.fields(self)}
        columns |= {f"{STAGES}{name}": values for name, values in columns.pop("stages").items()}
        return {name: np.array(values, np.float64) for name, values in columns.items()}

    @staticmethod
    def from_arrays(arrays: Mapping[str, NDArray[np.float64]]) -> Scores:
        """Inverse of ``arrays``."""
        scores = Scores()
        for name, values in arrays.items():
            column = [None if math.isnan(value) else value for value in values.tolist()]
            if name.startswith(STAGES):
                scores.stages[name.removeprefix(STAGES)] = column
            else:
                setattr(scores, name, column)
        return scores

    def results(self) -> dict[str, Any]:
        """The keys of ``results.json`` that are scores."""
        return {
            "psnr": {
                "baked": mean(self.baked),
                "field": mean(self.field),
                "foreground": mean(self.foreground),
                "stages": {name: mean(values) for name, values in self.stages.items()},
                "per_view": [_rounded(value) for value in self.baked],
            },
            "ssim": {"baked": mean(self.ssim)},
            "parity_db": mean(self.parity),
        }


def mean(values: list[float | None] | list[float]) -> float | None:
    """Mean of what there is; None of nothing."""
    found = [value for value in values if value is not None]
    return _rounded(float(np.mean(found))) if found else None


def _rounded(value: float | None) -> float | None:
    return None if value is None else round(value, 4)


@contextmanager
def asset_drawer(asset: BakedAsset) -> Iterator[tuple[Draw, Renderer | None]]:
    """A function that draws the asset: through OpenGL, or the numpy renderer where there is none."""
    try:
        context = create_context()
    except InshaderError as error:
        print(f"scored with the numpy renderer: {error}", flush=True)

        def slow(camera: Camera) -> tuple[Image, Image]:
            images = reference.draw(asset, camera)
            return images["colour"], images["coverage"]

        yield slow, None
        return
    try:
        with context, Renderer(context, asset) as renderer:

            def draw(camera: Camera) -> tuple[Image, Image]:
                images = renderer.draw(camera).images
                return images["colour"], images["coverage"]

            yield draw, renderer
    finally:
        context.release()


def score(model: Model, draw: Draw, dataset: Dataset) -> tuple[Scores, Image]:
    """Scores on all held-out views, and the comparison picture.

    It has a row for each of three views: truth | trained field | baked asset | the asset's error x 5. Colours
    are in units of the peak of a ``Picture``, in scores and for show. Of several processes each draws its own
    views, and all return the same.
    """
    scores, rows = Scores(), dict[str, Image]()
    peak = np.float32(dataset.peak if isinstance(dataset, Picture) else 1)
    compared = set(np.linspace(0, len(dataset.test) - 1, COMPARED_VIEWS).round().astype(int).tolist())
    for index in processes.own(range(len(dataset.test))):
        camera = dataset.test.cameras[index]
        truth = composite(dataset.test.images[index], dataset.background) / peak
        alpha = coverage(dataset.test.images[index])
        start = time.perf_counter()
        trained = model.draw(camera)
        scores.field_ms.append(1e3 * (time.perf_counter() - start))
        trained_rgb, trained_alpha = np.clip(trained[..., :3] / peak, 0, 1), trained[..., 3:]
        baked, baked_alpha = draw(camera)
        baked = np.clip(baked / peak, 0, 1)
        scores.baked.append(psnr(baked, truth))
        for name, draw_earlier in model.earlier.items():
            before = np.clip(draw_earlier(camera)[..., :3] / peak, 0, 1)
            scores.stages.setdefault(name, []).append(psnr(before, truth))
        scores.field.append(psnr(trained_rgb, truth))
        scores.foreground.append(None if alpha is None else psnr(baked, truth, mask=alpha > 0))
        scores.parity.append(parity_db(baked, trained_rgb, baked_alpha, trained_alpha))
        scores.ssim.append(ssim(baked, truth) if min(camera.w, camera.h) > 2 * SSIM_RADIUS else None)
        if index in compared:
            error = np.clip(np.abs(baked - truth) * ERROR_GAIN, 0, 1)
            rows[f"row.{index}"] = np.concatenate([truth, trained_rgb, baked, error], 1)
    return _together(scores, rows)


def _together(scores: Scores, rows: dict[str, Image]) -> tuple[Scores, Image]:
    """The scores of all processes' views, in the order of views, and the rows of the picture likewise."""
    found = processes.gathered({**scores.arrays(), **rows})
    nothing = np.zeros(0)  # of a process that had no view to score
    columns = {name: _in_turn([part.get(name, nothing) for part in found]) for name in scores.arrays()}
    rows = {name: image for part in found for name, image in part.items() if name.startswith("row.")}
    ordered = sorted(rows, key=lambda name: int(name.removeprefix("row.")))
    return Scores.from_arrays(columns), np.concatenate([rows[name] for name in ordered], 0)


def _in_turn(parts: list[NDArray[np.float64]]) -> NDArray[np.float64]:
    """The entries of what ``processes.own`` has dealt out, in their first order."""
    whole = np.empty(sum(map(len, parts)))
    for number, part in enumerate(parts):
        whole[number :: len(parts)] = part
    return whole
