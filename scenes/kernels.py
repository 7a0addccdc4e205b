"""Scalar Python that numba compiles on first use: importing the modules that hold it does not import numba.

Uncompiled, the functions run as plain Python, slowly.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

from render.errors import require

Function = TypeVar("Function", bound=Callable[..., Any])

OPTIONS: dict[str, Any] = {"fastmath": True, "error_model": "numpy"}

_MARKED: dict[Callable[..., Any], bool] = {}  # function -> whether its loops run on all cores
_COMPILED: dict[Callable[..., Any], Any] = {}


def kernel(function: Function) -> Function:
    """Mark a function for ``compile_kernels``."""
    _MARKED[function] = False
    return function


def parallel_kernel(function: Function) -> Function:
    """Mark a function whose ``prange`` loops are to run on all cores."""
    _MARKED[function] = True
    return function


def compile_kernels(*scopes: dict[str, Any]) -> None:
    """Put the compiled version in the place of every marked function in these module scopes.

    Raises:
        InshaderError: numba is not installed.
    """
    numba = require("numba", "train")
    for scope in scopes:
        for name, value in list(scope.items()):
            if callable(value) and value in _MARKED:
                if value not in _COMPILED:
                    _COMPILED[value] = numba.njit(parallel=_MARKED[value], **OPTIONS)(value)
                scope[name] = _COMPILED[value]


def cached(function: Callable[..., Any]) -> Any:
    """Compile a function and keep its machine code on disk, where some folder can be written to."""
    numba = require("numba", "train")
    try:
        return numba.njit(cache=True, **OPTIONS)(function)
    except RuntimeError:  # numba finds no place for its cache
        return numba.njit(**OPTIONS)(function)
