"""Grid encoding by tiny-cuda-nn, whose convention ``render.grid.GridSpec`` is."""

from __future__ import annotations

from functools import cache
from typing import Any

import tinycudann
import torch
from torch import Tensor

from render.grid import GridSpec


def grid_encode(spec: GridSpec, table: Tensor, x: Tensor) -> Tensor:
    """Half precision within, float32 without; the table's gradient is scaled by tiny-cuda-nn itself."""
    if not len(x):
        return x.new_zeros(0, spec.output_width) + 0 * table.sum()
    found = torch.func.functional_call(_encoding(spec), {"params": table.reshape(-1)}, (x,))
    return found.float()


@cache
def _encoding(spec: GridSpec) -> Any:
    """The encoding of a spec; its own parameters are never used."""
    return tinycudann.Encoding(
        spec.dimension,
        {
            "otype": "HashGrid",
            "n_levels": spec.levels,
            "n_features_per_level": spec.features,
            "log2_hashmap_size": spec.log2_table_size,
            "base_resolution": spec.base_resolution,
            "per_level_scale": spec.growth,
            "interpolation": "Linear",
        },
        dtype=torch.float16,
    )
