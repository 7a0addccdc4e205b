"""The composer: shader files in, one GLSL text per program out, and compile errors led back to file and line.

Three directives of our own are expanded, each alone on its line::

    #include "common/box.glsl"    a file of ``shaders/``, once per program
    #include family               what the asset's family has for its driver
    #asset network decoder        a part of the asset by the name the *shader* uses, see ``render/parts.py``

Strings of an asset's header never reach the GLSL: the shader asks, the asset only answers with numbers. With
``INSHADER_DUMP_SHADERS=folder`` in the environment every composed text is written there.
"""

from __future__ import annotations

import hashlib
import os
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

import moderngl

from render.errors import InshaderError
from render.files import atomic_write

SHADERS = Path(__file__).parents[1] / "shaders"
Expand = Callable[[str], str]
"""What a driver hands in for ``#asset``: the rest of the line -> GLSL."""

COMPUTE, FRAGMENT = "430 core", "330 core"
GROUP, LONGEST_ROW = 64, 65535  # as in common/dispatch.glsl: things a group, groups a row
_DIRECTIVE = re.compile(r"\s*#\s*(include|asset)\s+(.*?)\s*(?://.*)?$")
# How compilers tell where: source, line. Mesa 0:3(51), NVIDIA 0(3), Khronos' reference and ANGLE ERROR: 0:3.
_PLACES = (
    re.compile(r"^(\d+):(\d+)\(\d+\):\s*(.*)$"),
    re.compile(r"^(\d+)\((\d+)\)\s*:\s*(.*)$"),
    re.compile(r"^(?:ERROR|WARNING):\s*(\d+):(\d+):\s*(.*)$"),
)


@dataclass(frozen=True)
class Source:
    """A composed shader: its text, and the names of the files that ``#line`` numbers in it stand for."""

    text: str
    files: tuple[str, ...]


def compose(
    path: str,
    *,
    version: str = COMPUTE,
    family: str | None = None,
    expand: Expand | None = None,
    defines: Mapping[str, int | float] | None = None,
) -> Source:
    """Compose ``shaders/<path>``.

    Args:
        version: what follows ``#version``.
        family: what ``#include family`` stands for, ``family/driver``.
        expand: answers ``#asset``.
        defines: macros, set before the first line.

    Raises:
        InshaderError: a file is missing, or a part of the asset is.
    """
    head = [f"#version {version}", *(f"#define {key} {value}" for key, value in (defines or {}).items())]
    files: list[str] = []
    lines = _include(path, files, family, expand)
    return Source("\n".join([*head, *lines]) + "\n", tuple(files))


def compose_text(text: str, *, name: str, version: str = COMPUTE, expand: Expand | None = None) -> Source:
    """Compose GLSL that is not a file of ``shaders/``; errors call it ``name``."""
    files = [name]
    lines = [f"#version {version}", *_lines(text, 0, files, None, expand)]
    return Source("\n".join(lines) + "\n", tuple(files))


def families() -> list[str]:
    """The shaders of the families, ``family/driver``."""
    return sorted(f"{path.parent.name}/{path.stem}" for path in (SHADERS / "families").glob("*/*.glsl"))


def _include(path: str, files: list[str], family: str | None, expand: Expand | None) -> list[str]:
    """The lines of a file, or none where it was included before."""
    name = f"shaders/{path}"
    if name in files:
        return []
    try:
        text = (SHADERS / path).read_text()
    except OSError as error:
        raise InshaderError(f"{name}: cannot be read: {error.strerror}") from error
    files.append(name)
    return _lines(text, len(files) - 1, files, family, expand)


def _lines(text: str, source: int, files: list[str], family: str | None, expand: Expand | None) -> list[str]:
    """Text with its directives expanded, in ``#line`` markers."""
    out = [f"#line 1 {source}"]
    for number, line in enumerate(text.splitlines(), 1):
        directive = _DIRECTIVE.match(line)
        if directive is None:
            out.append(line)
            continue
        kind, rest = directive.groups()
        try:
            if kind == "include":
                out += _include(_included(rest, family), files, family, expand)
            else:
                if expand is None:
                    raise InshaderError("there is no asset to take a part of")
                code = expand(rest)
                files.append(f"#asset {rest}")
                out += [f"#line 1 {len(files) - 1}", *code.splitlines()]
        except InshaderError as error:
            raise InshaderError(f"{files[source]}:{number}: {error}") from error
        out.append(f"#line {number + 1} {source}")
    return out


def _included(rest: str, family: str | None) -> str:
    if rest != "family":
        return rest.strip('"')
    if family is None or family not in families():
        raise InshaderError(f"there is no family {family!r:.40}, there are {', '.join(families())}")
    return f"families/{family}.glsl"


def compute_program(ctx: moderngl.Context, source: Source) -> moderngl.ComputeShader:
    """Compile a compute shader.

    Raises:
        InshaderError: it does not compile; names file and line.
    """
    _dump(source)
    try:
        return ctx.compute_shader(source.text)
    except moderngl.Error as error:
        raise _compile_error(str(error), source) from error


def groups_of(count: int) -> tuple[int, int]:
    """The (x, y) of a dispatch on so many things, for shaders that include ``common/dispatch.glsl``: rows
    that are as long as OpenGL grants, the last of them perhaps longer than it need be."""
    groups = -(-count // GROUP)
    return min(groups, LONGEST_ROW), -(-groups // LONGEST_ROW)


def draw_program(ctx: moderngl.Context, vertex: Source, fragment: Source) -> moderngl.Program:
    """Compile and link a vertex and a fragment shader.

    Raises:
        InshaderError: one does not compile; names file and line.
    """
    _dump(vertex)
    _dump(fragment)
    try:
        return ctx.program(vertex_shader=vertex.text, fragment_shader=fragment.text)
    except moderngl.Error as error:
        # moderngl says in a heading which of the two it was
        raise _compile_error(str(error), vertex if "vertex_shader" in str(error) else fragment) from error


def _compile_error(log: str, source: Source) -> InshaderError:
    """The first error of a compiler's log, with the file it is in."""
    files = source.files
    found = []
    for line in log.splitlines():
        for place in _PLACES:
            match = place.match(line.strip())
            if match is not None and int(match[1]) < len(files):
                index = _mended(source, int(match[1]), int(match[2]), match[3])
                found.append(f"{files[index]}:{match[2]}: {match[3]}")
                break
    errors = [line for line in found if "warning" not in line.lower()] or found
    if not errors:
        return InshaderError(f"{files[0]}: the shader does not compile: {log:.500}")
    more = f" (and {len(errors) - 1} more)" if len(errors) > 1 else ""
    return InshaderError(f"{errors[0]}{more}")


def _mended(source: Source, index: int, line: int, message: str) -> int:
    """The source that an error is in. Mesa calls it 0 for names within an expression, with the right line:
    then it is the one whose line holds the name."""
    name = re.search(r"`(\w+)'", message)
    if index or name is None:
        return index
    holders = [k for (k, n), text in _places(source).items() if n == line and name[1] in text]
    return holders[0] if holders else index


def _places(source: Source) -> dict[tuple[int, int], str]:
    """(source, line) -> text, by the ``#line`` markers."""
    found, index, number = {}, 0, 0
    for text in source.text.splitlines():
        if text.startswith("#line "):
            number, index = map(int, text.split()[1:])
            continue
        found[index, number] = text
        number += 1
    return found


def _dump(source: Source) -> None:
    folder = os.environ.get("INSHADER_DUMP_SHADERS")
    if not folder:
        return
    try:
        Path(folder).mkdir(parents=True, exist_ok=True)
        name = re.sub(r"\W+", "_", source.files[0].removeprefix("shaders/"))
        digest = hashlib.sha256(source.text.encode()).hexdigest()[:8]
        legend = "".join(f"// source {index}: {file}\n" for index, file in enumerate(source.files))
        atomic_write(Path(folder) / f"{name}-{digest}.glsl", (source.text + legend).encode())
    except OSError as error:
        raise InshaderError(f"INSHADER_DUMP_SHADERS={folder}: cannot be written: {error.strerror}") from error
