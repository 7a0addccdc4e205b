"""Which of the optional CUDA libraries are here. Importing this module imports them."""

from __future__ import annotations

import importlib
import importlib.metadata
import importlib.util
from dataclasses import dataclass


@dataclass(frozen=True)
class Library:
    """An optional library.

    Attributes:
        name: as it is known.
        version: what is installed; None where it is not.
        why_not: one line on why it is not used; empty where it is.
    """

    name: str
    version: str | None
    why_not: str = ""

    @property
    def found(self) -> bool:
        return not self.why_not

    def __str__(self) -> str:
        return f"{self.name} {self.version}" if self.found else f"{self.name}: {self.why_not}"


def look_for(name: str, module: str, install: str, cuda: bool) -> Library:
    """Whether a library is installed and imports. Without CUDA it is not imported: both then fail, or start
    to build something.

    Args:
        install: how it is had.
    """
    if importlib.util.find_spec(module) is None:
        return Library(name, None, f"not installed ({install})")
    try:
        version = importlib.metadata.version(module)
    except importlib.metadata.PackageNotFoundError:
        version = "of unknown version"
    if not cuda:
        return Library(name, version, f"{version} is installed, but torch sees no CUDA device")
    try:
        importlib.import_module(module)
    except Exception as error:  # compilers, drivers and dynamic linkers all speak their own way
        first = (str(error) or type(error).__name__).splitlines()[0]
        return Library(name, version, f"{version} does not import: {first[:200]}")
    return Library(name, version)


def look_for_all(cuda: bool) -> tuple[Library, Library]:
    """nerfacc and tiny-cuda-nn."""
    return (
        look_for("nerfacc", "nerfacc", "pip install 'inshader[cuda]'", cuda),
        look_for("tiny-cuda-nn", "tinycudann", "from source: github.com/NVlabs/tiny-cuda-nn", cuda),
    )


def _cuda() -> bool:
    import torch

    return torch.cuda.is_available()


NERFACC, TINYCUDANN = look_for_all(_cuda())
