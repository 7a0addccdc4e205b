"""Scalar Python that numba compiles on first use: importing the modules that hold it does not import numba.

Uncompiled, the functions run as plain Python, slowly.
"""

from __future__ import annotations

from collections.abc import Callable
from types import FunctionType
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

    The modules that they import marked functions from are compiled as well.

    Raises:
        InshaderError: numba is not installed.
    """
    numba = require("numba", "train")
    for scope in scopes:
        for name, value in list(scope.items()):
            if callable(value) and value in _MARKED:
                if value not in _COMPILED:
                    _COMPILED[value] = numba.njit(parallel=_MARKED[value], **OPTIONS)(value)
                    if value.__globals__ is not scope:
                        compile_kernels(value.__globals__)
                scope[name] = _COMPILED[value]


def specialised(scope: dict[str, Any], names: dict[str, Any]) -> dict[str, Any]:
    """A copy of a module's scope, compiled, in which ``names`` stand in the place of the module's own.

    Its marked functions are compiled anew, so that they see ``names``; the module itself is left as it is.

    Raises:
        InshaderError: numba is not installed.
    """
    numba = require("numba", "train")
    copy = {**scope, **names, "prange": numba.prange}
    for name, value in scope.items():
        plain = getattr(value, "py_func", value)  # of one that is compiled already
        own = callable(plain) and plain in _MARKED and plain.__module__ == scope["__name__"]
        if own and name not in names:
            copy[name] = numba.njit(parallel=_MARKED[plain], **OPTIONS)(in_scope(plain, copy))
    compile_kernels(copy)
    return copy


def in_scope(function: Callable[..., Any], scope: dict[str, Any]) -> Callable[..., Any]:
    """The same function, which looks up its global names in ``scope``."""
    assert isinstance(function, FunctionType)
    return FunctionType(
        function.__code__, scope, function.__name__, function.__defaults__, function.__closure__
    )


def cached(function: Callable[..., Any]) -> Any:
    """Compile a function and keep its machine code on disk, where some folder can be written to."""
    numba = require("numba", "train")
    try:
        return numba.njit(cache=True, **OPTIONS)(function)
    except RuntimeError:  # numba finds no place for its cache
        return numba.njit(**OPTIONS)(function)
