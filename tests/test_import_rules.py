"""Who may import whom: read from the source, and tried with the heavy packages blocked."""

from __future__ import annotations

import ast
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
HOUSE = {"render", "scenes", "training", "viewer", "shaders", "tests"}

# What each package may import of the others; a module's name stands for what lies below it as well.
ALLOWED = {
    "render": set[str](),
    "scenes": {"render.camera", "render.errors"},
    "training": {"render", "scenes"},
    "viewer": {"render", "scenes"},
}
# Packages of others that have one home here.
HOMES = {"torch": "training", "torchvision": "training", "nerfacc": "training", "tinycudann": "training"}
HOMES |= {"glfw": "viewer", "imgui_bundle": "viewer", "imgui": "viewer"}
HEAVY = ("torch", "numba", "embreex", "scipy")


def modules(package: str) -> list[Path]:
    """The source files of a package, which cannot be none."""
    found = sorted((ROOT / package).rglob("*.py"))
    assert found, f"{package}/ holds no module"
    return found


def imports(source: str, package: tuple[str, ...]) -> Iterator[tuple[str, int]]:
    """The names that a module of ``package`` imports, at any depth, with their lines."""
    for node in ast.walk(ast.parse(source)):
        match node:  # ``from a import b`` counts as a.b, which may be a module
            case ast.Import(names):
                yield from ((name.name, node.lineno) for name in names)
            case ast.ImportFrom(module, names, level):
                above = package[: len(package) - level + 1] if level else ()
                base = (*above, module) if module else above
                yield from ((".".join((*base, name.name)), node.lineno) for name in names)
            case ast.Call(
                ast.Name("require" | "__import__") | ast.Attribute(attr="require" | "import_module"), args
            ):
                yield from ((arg.value, node.lineno) for arg in args[:1] if isinstance(arg, ast.Constant))


def forbidden(package: str, name: str) -> bool:
    """Whether a module of ``package`` must not import ``name``."""
    top = name.split(".")[0]
    if top in HOUSE - {package}:
        return not any(name == allowed or name.startswith(f"{allowed}.") for allowed in ALLOWED[package])
    return HOMES.get(top, package) != package


@pytest.mark.parametrize("package", ALLOWED)
def test_imports_point_one_way(package: str) -> None:
    wrong = [
        f"{path.relative_to(ROOT)}:{line} imports {name}"
        for path in modules(package)
        for name, line in imports(path.read_text(), path.relative_to(ROOT).parent.parts)
        if forbidden(package, name)
    ]
    assert not wrong, "\n".join(wrong)


@pytest.mark.parametrize(
    ("package", "source", "caught"),
    [
        ("render", "import torch.nn", True),
        ("render", "def f():\n    from torch import nn", True),
        ("render", "from scenes import dataset", True),
        ("render", "from render.errors import require\nrequire('glfw', 'viewer')", True),
        ("render", "from . import errors", False),
        ("scenes", "from render import asset", True),
        ("scenes", "from render.asset import read_asset", True),
        ("scenes", "from render.camera import Camera", False),
        ("scenes", "from render import camera", False),
        ("viewer", "import training", True),
        ("viewer", "import importlib\nimportlib.import_module('torch')", True),
        ("viewer", "import glfw", False),
        ("training", "import glfw", True),
        ("training", "import torch, render.asset", False),
    ],
)
def test_the_rule_itself(package: str, source: str, caught: bool) -> None:
    assert any(forbidden(package, name) for name, _ in imports(source, (package,))) == caught


BLOCKED = """
import importlib, sys

class Block:
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] in {heavy!r}:
            raise ImportError("blocked: " + name)

sys.meta_path.insert(0, Block())
try:
    import {first}
except ImportError as error:
    assert str(error) == "blocked: {first}", error
else:
    raise SystemExit("the block does not block")
for name in {names!r}:
    importlib.import_module(name)
print(len({names!r}))
"""


def test_core_imports_without_the_heavy_packages() -> None:
    files = [path for package in ("render", "scenes", "viewer") for path in modules(package)]
    names = [
        ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__") for path in files
    ]
    code = BLOCKED.format(heavy=HEAVY, names=names, first=HEAVY[0])
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert int(done.stdout.split()[-1]) == len(files)
