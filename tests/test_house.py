"""Rules of the house that a linter does not know."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PACKAGES = ("render", "scenes", "training", "viewer")
SOURCES = sorted(path for package in PACKAGES for path in (ROOT / package).rglob("*.py"))
TEXTS = sorted(
    path
    for folder in (*PACKAGES, "shaders", "tests")
    for path in (ROOT / folder).rglob("*")
    if path.suffix in {".py", ".glsl", ".comp", ".frag", ".vert", ".yaml"}
)


def test_there_is_something_to_check() -> None:
    assert {path.relative_to(ROOT).parts[0] for path in SOURCES} == set(PACKAGES)
    assert Path(__file__) in TEXTS


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: str(path.relative_to(ROOT)))
def test_module(path: Path) -> None:
    tree = ast.parse(path.read_text())
    assert path.name != "utils.py", "a module is named after what it holds"
    assert ast.get_docstring(tree) or not tree.body, "the module has no docstring"
    unsafe = [f"line {node.lineno}: {ast.unparse(node)}" for node in ast.walk(tree) if is_unsafe(node, tree)]
    assert not unsafe, "\n".join(unsafe)


def is_unsafe(node: ast.AST, tree: ast.Module) -> bool:
    """Whether a node of a module can run code that comes with data."""
    match node:
        case ast.Import(names):
            return any(name.name in {"pickle", "dill", "shelve", "marshal"} for name in names)
        case ast.ImportFrom(module="pickle" | "dill" | "shelve" | "marshal"):
            return True
        case ast.Call(ast.Name("eval" | "exec")):
            return True
        case ast.Call(ast.Attribute(ast.Name("torch"), "load" | "save")):
            return True
        case ast.Call(ast.Attribute(ast.Name("yaml"), "load"), [_, ast.Name(loader)]):
            return f"class {loader}(yaml.SafeLoader):" not in ast.unparse(tree)
        case ast.Call(ast.Attribute(ast.Name("yaml"), "load" | "load_all" | "unsafe_load" | "full_load")):
            return True
        case ast.keyword("allow_pickle", value):
            return not (isinstance(value, ast.Constant) and value.value is False)
    return False


@pytest.mark.parametrize(
    "source",
    [
        "import pickle",
        "from pickle import loads",
        "eval('1')",
        "exec('x = 1')",
        "torch.load('x')",
        "yaml.load(text)",
        "yaml.load(text, yaml.Loader)",
        "class Mine(yaml.Loader): ...\nyaml.load(text, Mine)",
        "np.load(path, allow_pickle=True)",
    ],
)
def test_unsafe_calls_are_seen(source: str) -> None:
    tree = ast.parse(source)
    assert any(is_unsafe(node, tree) for node in ast.walk(tree))


@pytest.mark.parametrize(
    "source",
    [
        "model.eval()",
        "yaml.safe_load(text)",
        "class Mine(yaml.SafeLoader): ...\nyaml.load(text, Mine)",
        "np.load(path, allow_pickle=False)",
        "re.compile('x')",
    ],
)
def test_safe_calls_are_let_through(source: str) -> None:
    tree = ast.parse(source)
    assert not any(is_unsafe(node, tree) for node in ast.walk(tree))


def test_nothing_is_left_for_later() -> None:
    mark = re.compile(r"\b(TO" + r"DO|FIX" + r"ME|XX" + r"X)\b")
    left = [
        f"{path.relative_to(ROOT)}:{number}: {line.strip()}"
        for path in TEXTS
        for number, line in enumerate(path.read_text().splitlines(), 1)
        if mark.search(line)
    ]
    assert not left, "\n".join(left)


@pytest.mark.parametrize("name", ["README.md", "CONTRIBUTING.md"])
def test_nothing_is_told_twice(name: str) -> None:
    """A slip of an editor may copy half a document into its middle."""
    lines = (ROOT / name).read_text().splitlines()
    told = [line for line in lines if line.startswith("## ") or len(line) > 60]
    assert sorted(told) == sorted(set(told))
