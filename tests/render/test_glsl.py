"""The composer: includes, parts, and compile errors that lead to file and line."""

from __future__ import annotations

from pathlib import Path

import moderngl
import pytest

from render import glsl
from render.errors import InshaderError


@pytest.fixture
def shaders(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder of shaders of our own."""
    for folder in ("common", "families/plain"):
        (tmp_path / folder).mkdir(parents=True)
    (tmp_path / "families" / "plain" / "march.glsl").write_text("float family() { return 1.0; }\n")
    (tmp_path / "common" / "inner.glsl").write_text("// one\nfloat inner() { return 2.0; }\n")
    (tmp_path / "common" / "outer.glsl").write_text(
        '#include "common/inner.glsl"\nfloat outer() { return 3.0; }\n'
    )
    monkeypatch.setattr(glsl, "SHADERS", tmp_path)
    return tmp_path


def write_main(shaders: Path, body: str, head: str = "") -> None:
    text = '#include "common/outer.glsl"\n  # include "common/inner.glsl"  // again\n' + head
    (shaders / "main.comp").write_text(
        text + "layout(local_size_x = 1) in;\nvoid main() {\n" + body + "\n}\n"
    )


def test_files_are_included_once(shaders: Path) -> None:
    write_main(shaders, "float x = inner() + outer();")
    source = glsl.compose("main.comp", defines={"SIDE": 3})
    assert source.text.startswith("#version 430 core\n#define SIDE 3\n#line 1 0\n")
    assert source.text.count("float inner()") == 1
    assert source.files == ("shaders/main.comp", "shaders/common/outer.glsl", "shaders/common/inner.glsl")


def test_errors_lead_to_file_and_line(shaders: Path, ctx: moderngl.Context) -> None:
    write_main(shaders, "float x = inner();\nx = undeclared;")
    with pytest.raises(InshaderError, match=r"shaders/main.comp:6: .*undeclared"):
        glsl.compute_program(ctx, glsl.compose("main.comp"))
    (shaders / "common" / "inner.glsl").write_text("\n\nfloat inner() { return wrong; }\n")
    with pytest.raises(InshaderError, match=r"shaders/common/inner.glsl:3: .*wrong"):
        glsl.compute_program(ctx, glsl.compose("main.comp"))


def test_errors_in_a_part_name_the_part(shaders: Path, ctx: moderngl.Context) -> None:
    write_main(shaders, "", "#asset network decoder\n")
    source = glsl.compose("main.comp", expand=lambda request: "float a;\nbroken")
    with pytest.raises(InshaderError, match="#asset network decoder:"):
        glsl.compute_program(ctx, source)


def test_errors_in_fragment_shaders(shaders: Path, ctx: moderngl.Context) -> None:
    (shaders / "a.vert").write_text("void main() { gl_Position = vec4(0.0); }\n")
    (shaders / "a.frag").write_text("\n\nvoid main() { oops; }\n")
    vertex, fragment = (glsl.compose(name, version=glsl.FRAGMENT) for name in ("a.vert", "a.frag"))
    with pytest.raises(InshaderError, match=r"shaders/a.frag:3: .*oops"):
        glsl.draw_program(ctx, vertex, fragment)
    (shaders / "a.vert").write_text("\nvoid main() { ouch; }\n")
    with pytest.raises(InshaderError, match=r"shaders/a.vert:2: .*ouch"):
        glsl.draw_program(ctx, glsl.compose("a.vert", version=glsl.FRAGMENT), fragment)


@pytest.mark.parametrize(
    "line",
    ["1:7(3): error: no", "1(7) : error C0000: no", "ERROR: 1:7: no"],
    ids=["Mesa", "NVIDIA", "Khronos"],
)
def test_error_formats_of_drivers(line: str) -> None:
    source = glsl.Source("", ("shaders/a", "shaders/b"))
    error = glsl._compile_error(f"GLSL Compiler failed\n\nshader\n======\n{line}\n", source)
    assert str(error).startswith("shaders/b:7: ") and str(error).endswith("no")


def test_unknown_formats_are_passed_on() -> None:
    error = glsl._compile_error("the driver\nis unwell", glsl.Source("", ("shaders/a",)))
    assert str(error) == "shaders/a: the shader does not compile: the driver is unwell"


def test_missing_things_are_named(shaders: Path) -> None:
    write_main(shaders, "", '#include "common/nowhere.glsl"\n')
    with pytest.raises(
        InshaderError, match=r"shaders/main.comp:3: shaders/common/nowhere.glsl: cannot be read"
    ):
        glsl.compose("main.comp")
    write_main(shaders, "", "#asset network decoder\n")
    with pytest.raises(InshaderError, match=r"main.comp:3: there is no asset"):
        glsl.compose("main.comp")
    write_main(shaders, "", "#include family\n")
    assert "float family()" in glsl.compose("main.comp", family="plain/march").text
    for name in ("fancy", "../common/inner", None):
        with pytest.raises(InshaderError, match=r"main.comp:3: there is no family .*there are plain"):
            glsl.compose("main.comp", family=name)


def test_dump(shaders: Path, ctx: moderngl.Context, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_main(shaders, "")
    source = glsl.compose("main.comp")
    monkeypatch.setenv("INSHADER_DUMP_SHADERS", str(tmp_path / "dump"))
    glsl.compute_program(ctx, source).release()
    (path,) = (tmp_path / "dump").iterdir()
    assert path.name.startswith("main_comp-")
    assert (
        path.read_text().startswith(source.text)
        and "// source 1: shaders/common/outer.glsl" in path.read_text()
    )
    monkeypatch.setenv("INSHADER_DUMP_SHADERS", str(shaders / "main.comp" / "folder"))
    with pytest.raises(InshaderError, match="INSHADER_DUMP_SHADERS"):
        glsl.compute_program(ctx, source)
