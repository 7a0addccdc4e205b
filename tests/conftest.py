"""Fixtures of the whole suite."""

from __future__ import annotations

import os
from collections.abc import Iterator

import moderngl
import pytest

from render.context import create_context


@pytest.fixture(scope="session")
def ctx() -> Iterator[moderngl.Context]:
    """One headless OpenGL context for the whole run.

    A machine without OpenGL fails the tests that ask for it, unless INSHADER_NO_GL=1 says that this is meant.
    """
    if os.environ.get("INSHADER_NO_GL") == "1":
        pytest.skip("INSHADER_NO_GL=1")
    context = create_context()
    yield context
    context.release()
