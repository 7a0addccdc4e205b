"""The OpenGL context, and machines without one."""

from __future__ import annotations

import moderngl
import pytest

from render.context import create_context, current_context, is_software
from render.errors import InshaderError


def test_contexts_can_be_made(ctx: moderngl.Context) -> None:
    other = create_context()
    assert other.version_code >= 330
    other.release()
    ctx.__enter__()  # makes the suite's own current again
    assert is_software(ctx) == ("llvmpipe" in ctx.info["GL_RENDERER"].lower())


def test_no_opengl_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("INSHADER_NO_GL", "1")
    with pytest.raises(InshaderError, match="apt install libegl1"):
        create_context()


def test_failing_back_ends_are_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(**options: object) -> moderngl.Context:
        raise ImportError("no libEGL\nhere") if "backend" in options else RuntimeError("no display")

    monkeypatch.delenv("INSHADER_NO_GL", raising=False)
    monkeypatch.setattr(moderngl, "create_context", fail)
    with pytest.raises(InshaderError, match=r"no libEGL here.*libgl1-mesa-dri"):
        create_context()
    with pytest.raises(InshaderError, match="window"):
        current_context()
