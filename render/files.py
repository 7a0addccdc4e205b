"""Files that are either written whole or not at all."""

from __future__ import annotations

import os
import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


@contextmanager
def replacing(path: str | os.PathLike[str]) -> Iterator[Path]:
    """A temporary path to write to, which takes the place of ``path`` when the block ends well.

    It lies in the same folder and ends in the same suffix, so writers that go by the suffix work. After an
    error it is removed and whatever ``path`` held before is untouched. Pipes and devices (``/dev/stdout``)
    cannot be replaced and are written straight.

    Raises:
        OSError: the folder is missing or read-only, or the disk is full; it names ``path``.
    """
    path = Path(path)
    if path.exists() and not path.is_file() and not path.is_dir():
        yield path
        return
    target = path.resolve()  # a link goes on pointing where it did
    temporary = target.with_name(f".{target.stem}.{secrets.token_hex(4)}{target.suffix}")
    try:
        yield temporary
        with open(temporary, "rb") as file:
            os.fsync(file.fileno())
        os.replace(temporary, target)
    except OSError as error:
        if error.filename is None or Path(error.filename) == temporary:
            raise OSError(error.errno, error.strerror, str(path)) from error
        raise
    finally:
        temporary.unlink(missing_ok=True)


def atomic_write(path: str | os.PathLike[str], data: bytes) -> None:
    """Write ``data`` to ``path``, whole or not at all.

    Raises:
        OSError: as ``replacing`` does.
    """
    with replacing(path) as temporary:
        temporary.write_bytes(data)
