"""Where OpenGL comes from: a headless context of our own, or the current one of a window."""

from __future__ import annotations

import os

import moderngl

from render.errors import InshaderError

_HINT = "on Debian or Ubuntu: apt install libegl1 libgl1-mesa-dri"
_SOFTWARE = ("llvmpipe", "softpipe", "swrast", "swiftshader", "software rasterizer", "gdi generic")


def create_context() -> moderngl.Context:
    """A headless context: EGL where there is one, else what the system offers without a window.

    ``INSHADER_NO_GL=1`` in the environment stands for a machine that has none.

    Raises:
        InshaderError: no OpenGL 3.3 context can be made; says what to install.
    """
    if os.environ.get("INSHADER_NO_GL") == "1":
        raise InshaderError(f"no OpenGL (INSHADER_NO_GL=1 is set); {_HINT}")
    reasons = []
    for backend in ({"backend": "egl"}, {}):
        try:
            return moderngl.create_context(standalone=True, require=330, **backend)  # type: ignore[arg-type]
        except Exception as error:  # each back end of glcontext has its own exceptions
            reasons.append(str(error) or type(error).__name__)
    raise InshaderError(f"no OpenGL 3.3 context can be made ({reasons[0]}); {_HINT}")


def current_context() -> moderngl.Context:
    """The context that a window has made current in this thread.

    Raises:
        InshaderError: there is none, or it is older than OpenGL 3.3.
    """
    try:
        return moderngl.create_context(require=330)
    except Exception as error:
        raise InshaderError(f"the window has no OpenGL 3.3 context ({error})") from error


def is_software(ctx: moderngl.Context) -> bool:
    """Whether the processor draws: timer queries are wrong there, and pictures are the same everywhere."""
    name = str(ctx.info["GL_RENDERER"]).lower()
    return any(word in name for word in _SOFTWARE)
