"""The CUDA kernels: which are chosen, what is said of the others, how nerfacc and tiny-cuda-nn are called.

On a GPU ``test_kernels.py`` and ``test_marching.py`` hold them against the reference (mark ``gpu``). Here
both libraries are stood in for by what their documentation says they do, in plain torch: that tests our own
side of the calls, the lattice and the layouts, and nothing of theirs.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from types import ModuleType, SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from render.grid import GridSpec
from render.occupancy import leaps
from training import kernels
from training.kernels import reference
from training.kernels.cuda.libraries import Library, look_for

STEP = 0.05


def traverse_grids(
    rays_o: Tensor,
    rays_d: Tensor,
    binaries: Tensor,
    aabbs: Tensor,
    near_planes: Tensor,
    far_planes: Tensor,
    step_size: float,
    cone_angle: float,
) -> tuple[Any, Any, Tensor]:
    """Steps from the near plane on whose middles are in occupied cells, each with a left and a right edge."""
    assert binaries.dtype == torch.bool and binaries.dim() == 4 and aabbs.shape == (1, 6) and cone_angle == 0
    number = int(((far_planes - near_planes) / step_size).max().ceil())
    left = near_planes[:, None] + torch.arange(number) * step_size
    middle = left + 0.5 * step_size
    x = (rays_o[:, None] + middle[..., None] * rays_d[:, None] - aabbs[0, :3]) / (aabbs[0, 3:] - aabbs[0, :3])
    shape = torch.tensor(binaries.shape[1:])
    cell = (x * shape).floor().long()
    inside = ((cell >= 0) & (cell < shape)).all(-1)
    cell = cell.clamp(min=0).minimum(shape - 1)
    kept = inside & binaries[0][cell.unbind(-1)] & (middle < far_planes[:, None])
    ray = torch.nonzero(kept)[:, 0]
    edges = torch.stack([left[kept], left[kept] + step_size], -1).reshape(-1)
    is_left = torch.arange(len(edges)) % 2 == 0
    return (
        SimpleNamespace(vals=edges, is_left=is_left, is_right=~is_left),
        SimpleNamespace(ray_indices=ray),
        left,
    )


def exclusive_sum(inputs: Tensor, packed_info: Tensor) -> Tensor:
    sums = [
        inputs[start : start + count].cumsum(0) - inputs[start : start + count]
        for start, count in packed_info.tolist()
    ]
    return torch.cat(sums)


def accumulate_along_rays(weights: Tensor, values: Tensor | None, ray_indices: Tensor, n_rays: int) -> Tensor:
    rows = weights[:, None] if values is None else weights[:, None] * values
    return torch.zeros(n_rays, rows.shape[1]).index_add(0, ray_indices, rows)


class Encoding(nn.Module):
    """Of the reference, with parameters laid out flat, level by level, in half precision."""

    def __init__(self, n_input_dims: int, encoding_config: dict[str, Any], dtype: torch.dtype) -> None:
        super().__init__()
        config = {**encoding_config}
        assert config.pop("otype") == "HashGrid" and config.pop("interpolation") == "Linear"
        names = (
            "n_levels",
            "n_features_per_level",
            "base_resolution",
            "per_level_scale",
            "log2_hashmap_size",
        )
        self.spec = GridSpec(n_input_dims, *(config[name] for name in names))
        self.dtype = dtype
        self.params = nn.Parameter(torch.zeros(self.spec.entries * self.spec.features))

    def forward(self, x: Tensor) -> Tensor:
        table = self.params.view(self.spec.entries, self.spec.features)
        return reference.grid_encode(self.spec, table, x).to(self.dtype)


@pytest.fixture
def stood_in(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Both libraries as far as they are called."""
    nerfacc, tinycudann = ModuleType("nerfacc"), ModuleType("tinycudann")
    for function in (traverse_grids, exclusive_sum, accumulate_along_rays):
        setattr(nerfacc, function.__name__, function)
    tinycudann.Encoding = Encoding
    ours = ("training.kernels.cuda.marching", "training.kernels.cuda.encoding")
    for name in ours:
        monkeypatch.delitem(sys.modules, name, raising=False)
    monkeypatch.setitem(sys.modules, "nerfacc", nerfacc)
    monkeypatch.setitem(sys.modules, "tinycudann", tinycudann)
    yield
    for name in ours:
        sys.modules.pop(name, None)


def rays(count: int) -> tuple[Tensor, Tensor, Tensor]:
    """From outside and from within the box, and jitter."""
    draw = torch.Generator().manual_seed(0)
    d = nn.functional.normalize(torch.randn(count, 3, generator=draw), dim=-1)
    o = 0.6 * torch.randn(count, 3, generator=draw) - (torch.arange(count) % 2)[:, None] * 1.5 * d
    return o, d, torch.rand(count, generator=draw)


def test_marching_is_the_references(stood_in: None) -> None:
    from training.kernels.cuda.marching import march

    o, d, jitter = rays(200)
    bounds = torch.tensor([[-0.6, -0.5, -0.7], [0.5, 0.6, 0.4]])
    cells = torch.from_numpy(leaps(np.random.default_rng(1).random((9, 8, 10)) < 0.4))
    found, truth = (f(o, d, bounds, cells, STEP, jitter) for f in (march, reference.march))
    # Rounding may carry a point across the border of a cell.
    same = found.offsets.diff() == truth.offsets.diff()
    assert same.float().mean() > 0.98 and len(truth.t) > 400
    a, b = same[found.ray_ids], same[truth.ray_ids]
    torch.testing.assert_close(found.t[a], truth.t[b], atol=1e-5, rtol=0)
    torch.testing.assert_close(found.x[a], truth.x[b], atol=1e-5, rtol=0)


def test_compositing_and_its_gradients_are_the_references(stood_in: None) -> None:
    from training.kernels.cuda.marching import composite

    draw = torch.Generator().manual_seed(3)
    offsets = torch.tensor([0, 0, 5, 12, 13, 40])  # a ray without samples among them
    optical = (2 * torch.rand(40, generator=draw)).requires_grad_()
    values = torch.rand(40, 4, generator=draw).requires_grad_()
    results = []
    for function in (composite, reference.composite):
        sums, left, weights = function(optical, values, offsets, 1e-2)
        gradients = torch.autograd.grad((sums.square().sum() + left.sum()), [optical, values])
        results.append((sums, left, weights, *gradients))
    for found, truth in zip(*results, strict=True):
        torch.testing.assert_close(found, truth, atol=1e-6, rtol=1e-5)


def test_encoding_hands_over_the_table_as_it_lies(stood_in: None) -> None:
    from training.kernels.cuda.encoding import grid_encode

    spec = GridSpec.between(4, 32, 3, 4, 2, 8)
    table = torch.randn(spec.entries, 2, generator=torch.Generator().manual_seed(5)).requires_grad_()
    x = torch.rand(50, 3, generator=torch.Generator().manual_seed(6))
    found, truth = grid_encode(spec, table, x), reference.grid_encode(spec, table, x)
    assert found.dtype == torch.float32
    torch.testing.assert_close(found, truth, atol=2e-3, rtol=2e-3)  # half precision within
    (gradient,) = torch.autograd.grad(found.square().sum(), table)
    (expected,) = torch.autograd.grad(truth.square().sum(), table)
    torch.testing.assert_close(gradient, expected, atol=1e-2, rtol=1e-2)
    assert grid_encode(spec, table, x[:0]).shape == (0, 8)


def test_what_is_missing_is_told_and_torch_takes_its_place() -> None:
    if torch.cuda.is_available():
        pytest.skip("this machine has a GPU")
    chosen = kernels.select("cuda")
    assert chosen.NAME == "torch" and chosen.march is reference.march
    lines = kernels.fallbacks("cuda")
    assert [line.split(":")[0] for line in lines] == ["nerfacc", "tiny-cuda-nn"]
    assert all(line.endswith("torch takes its place") and "\n" not in line for line in lines)
    assert kernels.select("cpu").NAME == "numba" and kernels.fallbacks("cpu") == []


def test_libraries_are_looked_for(tmp_path: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    absent = look_for("Nothing", "no_such_module", "pip install it", cuda=True)
    assert not absent.found and str(absent) == "Nothing: not installed (pip install it)"
    (tmp_path / "broken_module.py").write_text("raise OSError('no driver\\nand more')")
    monkeypatch.syspath_prepend(str(tmp_path))
    idle = look_for("Broken", "broken_module", "", cuda=False)  # must not be imported
    assert not idle.found and "no CUDA device" in idle.why_not
    broken = look_for("Broken", "broken_module", "", cuda=True)
    assert str(broken) == "Broken: of unknown version does not import: no driver"
    assert str(Library("Good", "1.2")) == "Good 1.2"
