"""The one error a user can cause, and the one place that asks for an optional package."""

from __future__ import annotations

import importlib
from types import ModuleType


class InshaderError(Exception):
    """A mistake the user can mend, told in one line: what was found, where, and what would be right.

    Every command prints it without a traceback and exits with status 2 (see ``render.command``).
    """

    def __init__(self, message: str) -> None:
        super().__init__(" ".join(message.split()))


def require(module: str, extra: str) -> ModuleType:
    """Import an optional ``module``; where it is absent, say which extra of ``inshader`` brings it.

    Raises:
        InshaderError: the module cannot be imported.
    """
    try:
        return importlib.import_module(module)
    except (ImportError, OSError) as error:  # OSError: a wheel whose shared library does not load
        raise InshaderError(
            f"{module} cannot be imported ({error}): install it with pip install 'inshader[{extra}]'"
        ) from error
