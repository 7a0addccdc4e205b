"""A run that stopped, in one safe file: tensors, and a JSON header with where in which run it was."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor

from render.errors import InshaderError
from render.files import atomic_write

FORMAT = 1


def write_checkpoint(path: Path, tensors: dict[str, Tensor], about: dict[str, Any]) -> None:
    """Write atomically. ``about`` is JSON."""
    header = json.dumps({"format": FORMAT, **about})
    atomic_write(
        path,
        save(
            {name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()},
            {"inshader_checkpoint": header},
        ),
    )


def read_checkpoint(path: Path) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """Inverse of ``write_checkpoint``.

    Raises:
        InshaderError: there is none, it is damaged, or of another version.
    """
    if not path.is_file():
        raise InshaderError(f"{path}: no checkpoint to resume from; run without --resume to start anew")
    try:
        with safe_open(path, framework="pt") as file:
            about = json.loads((file.metadata() or {})["inshader_checkpoint"])
            tensors = {name: file.get_tensor(name) for name in file.keys()}
    except (SafetensorError, OSError, ValueError, KeyError, RecursionError) as error:
        raise InshaderError(f"{path}: not a checkpoint of render-train ({error})") from error
    if not isinstance(about, dict):
        raise InshaderError(f"{path}: not a checkpoint of render-train (its header is no object)")
    if about.get("format") != FORMAT:
        raise InshaderError(f"{path}: checkpoint format {about.get('format')}, this version reads {FORMAT}")
    return tensors, about


# State of a model -------------------------------------------------------------------------------------------


def prefixed(prefix: str, state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The entries under longer names."""
    return {f"{prefix}{name}": value for name, value in state.items()}


def without_prefix(prefix: str, state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The entries whose names begin with ``prefix``, under what is left of them."""
    return {name.removeprefix(prefix): value for name, value in state.items() if name.startswith(prefix)}


def optimiser_state(optimiser: torch.optim.Optimizer) -> dict[str, Tensor]:
    """Moments and counts of every parameter, ``<parameter>.<name>``."""
    moments = optimiser.state_dict()["state"]
    return {f"{index}.{name}": value for index, part in moments.items() for name, value in part.items()}


def load_optimiser(optimiser: torch.optim.Optimizer, state: Mapping[str, Tensor]) -> None:
    """Undo ``optimiser_state``; rates are left as they are."""
    moments: dict[int, dict[str, Tensor]] = {}
    for name, value in state.items():
        index, key = name.split(".")
        moments.setdefault(int(index), {})[key] = value
    optimiser.load_state_dict({**optimiser.state_dict(), "state": moments})
