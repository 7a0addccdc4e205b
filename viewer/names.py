"""Names of files: of the assets that are shown, and of what is written."""

from __future__ import annotations

import re
from contextlib import suppress
from pathlib import Path

from render.asset import asset_path
from render.errors import InshaderError


def version(name: str) -> tuple[int, int] | None:
    """What tells a file from the one that replaces it; None where there is none."""
    try:
        status = asset_path(name).stat()
    except (InshaderError, OSError):
        return None
    return status.st_mtime_ns, status.st_size


def short_name(name: str) -> str:
    """A word for an asset in the names of files: that of its run folder, else of the file."""
    path = Path(name)
    with suppress(OSError):  # as where the current folder was deleted
        path = path.resolve()
    word = path.parent.name if path.name == "asset.safetensors" else path.name.removesuffix(".safetensors")
    return re.sub(r"[^\w.-]+", "_", word).strip(".") or "asset"


def free_path(folder: Path, stem: str, suffix: str) -> Path:
    """The first of ``stem-001``, ``stem-002``, ... in ``folder`` that there is no file of yet."""
    number = 1
    while (path := folder / f"{stem}-{number:03}{suffix}").exists():
        number += 1
    return path
