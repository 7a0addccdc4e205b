"""Rendered pictures kept on disk, so that a scene is traced once."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import tempfile
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from scenes.scene import expanded


def cache_folder() -> Path:
    """$INSHADER_CACHE, else $XDG_CACHE_HOME/inshader, else ~/.cache/inshader."""
    chosen = os.environ.get("INSHADER_CACHE")
    if chosen:
        return expanded(chosen, "INSHADER_CACHE")
    base = os.environ.get("XDG_CACHE_HOME")
    return Path(base or "~/.cache").expanduser() / "inshader"


def cache_file(kind: str, parameters: dict[str, Any], sources: list[Path]) -> Path:
    """Where the result for these parameters, and this text of the sources, is kept."""
    digest = hashlib.sha256(json.dumps(parameters, sort_keys=True).encode())
    for source in sources:
        digest.update(source.read_bytes())
    return cache_folder() / f"{kind}-{digest.hexdigest()[:20]}.npz"


def read_cache(file: Path, shapes: dict[str, tuple[int, ...]]) -> dict[str, NDArray[np.uint8]] | None:
    """The uint8 arrays of a file, None where it is absent, damaged or holds anything else."""
    try:
        with np.load(file, allow_pickle=False) as stored:
            arrays = {name: np.asarray(stored[name]) for name in shapes}
    except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile, NotImplementedError, MemoryError):
        return None
    if any(arrays[name].shape != shape or arrays[name].dtype != np.uint8 for name, shape in shapes.items()):
        return None
    return arrays


def write_cache(file: Path, arrays: dict[str, NDArray[np.uint8]]) -> None:
    """Write all or nothing; where nothing can be written the pictures are just made anew next time."""
    with contextlib.suppress(OSError):
        file.parent.mkdir(parents=True, exist_ok=True)
        handle, temporary = tempfile.mkstemp(dir=file.parent, suffix=".part")
        try:
            with os.fdopen(handle, "wb") as stream:
                np.savez(stream, **arrays)  # type: ignore[arg-type]  # (the stub takes allow_pickle from **arrays)
            os.replace(temporary, file)
        except BaseException:
            Path(temporary).unlink(missing_ok=True)
            raise
