"""A run that stopped, in one safe file: tensors, and a JSON header with where in which run it was."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

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
