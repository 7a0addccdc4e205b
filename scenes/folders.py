"""Folders of pictures."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path

from render.errors import InshaderError
from scenes.images import image_size

EXTENSIONS = (".png", ".jpg", ".jpeg")


def pictures_in(folder: Path) -> list[Path]:
    """The pictures of a folder, at least one, by their numbers where all have one, else by name.

    Raises:
        InshaderError: the folder is missing or holds none.
    """
    if not folder.is_dir():
        raise InshaderError(f"{folder}: the folder is missing, expected pictures (.png or .jpg) in it")
    found = sorted(
        path for path in folder.iterdir() if path.suffix.lower() in EXTENSIONS and path.name[0] != "."
    )
    if not found:
        raise InshaderError(f"{folder}: holds no pictures, expected .png or .jpg")
    numbers = numbers_of(found)
    if numbers is None:
        return found
    return [path for _, path in sorted(zip(numbers, found, strict=True))]


def numbers_of(paths: Sequence[Path]) -> list[int] | None:
    """The numbers that all names end in; None where one has none, or two have the same."""
    matches = [re.search(r"[0-9]{1,18}$", path.stem) for path in paths]
    numbers = [int(match[0]) for match in matches if match]
    return numbers if len(set(numbers)) == len(paths) else None


def picture_folder(path: Path, max_size: int | None, name: str = "") -> Path:
    """Of ``images`` and ``images_N`` that whose pictures are the smallest of at least ``max_size``, or else
    the largest.

    Args:
        name: of a picture in them, which may stand in a folder there; folders without it do not count if
            another has it. Empty: their first ones are looked at.

    Raises:
        InshaderError: there is none.
    """
    folders = sorted(
        folder
        for folder in path.iterdir()
        if folder.is_dir() and re.fullmatch(r"images(_[1-9]\d{0,3})?", folder.name)
    )
    if not folders:
        raise InshaderError(f"{path}: no images folder, nor a reduced one such as images_4")
    folders = [folder for folder in folders if name and (folder / name).is_file()] or folders
    samples = [folder / name if (folder / name).is_file() else pictures_in(folder)[0] for folder in folders]
    sizes = [max(image_size(sample)) for sample in samples]
    enough = [size for size in sizes if max_size is not None and size >= max_size]
    return folders[sizes.index(min(enough) if enough else max(sizes))]
