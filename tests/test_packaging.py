"""The distribution: what a wheel holds, and that it wins over folders of the same names."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
COMMANDS = sorted(PROJECT["scripts"])
DATA = sorted(
    path.relative_to(ROOT)
    for folder in ("shaders", "scenes")
    for path in (ROOT / folder).rglob("*")
    if path.is_file() and path.suffix not in {".py", ".pyc", ".nbi", ".nbc"}
)
WHERE = """
import pathlib, render, scenes, training, viewer
folders = {pathlib.Path(module.__file__).parents[1] for module in (render, scenes, training, viewer)}
assert len(folders) == 1, folders
from render.glsl import families
from scenes.scene import bundled_scenes
assert "gaussian_rbf/march" in families() and "quickstart" in bundled_scenes()
print(folders.pop())
"""


@pytest.fixture(scope="module")
def decoys(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A current folder in which every package of the house has an impostor."""
    folder = tmp_path_factory.mktemp("decoys")
    for name in ("render", "scenes", "training", "shaders", "viewer"):
        (folder / name).mkdir()
        (folder / name / "__init__.py").write_text("raise SystemExit('the decoy was imported')\n")
    return folder


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The wheel of this tree, installed into a folder of its own."""
    folder = tmp_path_factory.mktemp("wheel")
    source = folder / "source"
    source.mkdir()
    for name in ("render", "scenes", "training", "viewer", "shaders"):
        shutil.copytree(ROOT / name, source / name, ignore=shutil.ignore_patterns("__pycache__"))
    for name in ("pyproject.toml", "LICENSE", "README.md"):
        shutil.copy(ROOT / name, source)
    pip("wheel", "--no-deps", "--no-build-isolation", "--wheel-dir", folder, source)
    (wheel,) = folder.glob("inshader-*.whl")
    pip("install", "--no-deps", "--target", folder / "site", wheel)
    return folder / "site"


def pip(*arguments: str | Path) -> None:
    command = [sys.executable, "-m", "pip", "--quiet", "--no-input", *map(str, arguments)]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr


def run(command: list[str | Path], cwd: Path, path: Path | None = None) -> str:
    """Standard output of ``command`` in ``cwd``, with ``path`` before the installed packages."""
    environment = {key: value for key, value in os.environ.items() if key != "PYTHONPATH"}
    if path is not None:
        environment["PYTHONPATH"] = str(path)
    done = subprocess.run(command, cwd=cwd, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def test_wheel_holds_the_data(installed: Path, decoys: Path) -> None:
    assert any(path.suffix == ".yaml" for path in DATA)
    assert any(path.suffix == ".glsl" for path in DATA)
    missing = [str(path) for path in DATA if not (installed / path).is_file()]
    assert not missing, missing
    found = run([sys.executable, "-P", "-c", WHERE], decoys, installed)
    assert Path(found.strip()) == installed


def test_wheel_holds_nothing_else(installed: Path) -> None:
    folders = {path.name for path in installed.iterdir() if path.suffix != ".dist-info"}
    assert folders == {"render", "scenes", "training", "viewer", "shaders", "bin"}


@pytest.mark.parametrize("name", COMMANDS)
def test_command_runs_among_decoys(name: str, installed: Path, decoys: Path) -> None:
    out = run([installed / "bin" / name, "--help"], decoys, installed)
    assert out.startswith(f"usage: {name}")


def test_decoys_would_be_noticed(decoys: Path) -> None:
    with pytest.raises(AssertionError, match="the decoy was imported"):
        run([sys.executable, "-c", "import render"], decoys)


def test_environment_runs_this_tree(decoys: Path) -> None:
    """Of an editable install, as `make` leaves it: commands and imports lead here from any folder."""
    found = run([sys.executable, "-P", "-c", WHERE], decoys)
    assert Path(found.strip()) == ROOT
    for name in COMMANDS:
        assert run([Path(sys.executable).parent / name, "--help"], decoys).startswith(f"usage: {name}")


def test_requirements_are_pinned() -> None:
    """Every direct dependency but those of the CUDA extra has its tested version in constraints.txt."""
    lines = (ROOT / "constraints.txt").read_text().splitlines()
    pins = [line for line in lines if line and not line.startswith("#")]
    assert all(re.fullmatch(r"[\w.-]+==[\w.]+", pin) for pin in pins), (
        "only name==version, without a local suffix"
    )
    extras = PROJECT["optional-dependencies"]
    wanted = PROJECT["dependencies"] + [
        r for name, rs in extras.items() if name not in ("cuda", "all") for r in rs
    ]
    names = {normal(re.split(r"[<>=!~]", requirement)[0]) for requirement in wanted}
    assert names <= {normal(pin.split("==")[0]) for pin in pins}
    assert not any("cuda" in pin or "nvidia" in pin for pin in pins)


def test_all_is_every_extra_but_cuda() -> None:
    extras = PROJECT["optional-dependencies"]
    (everything,) = extras["all"]
    named = re.fullmatch(r"inshader\[(.*)\]", everything)
    assert named is not None
    assert set(named[1].split(",")) == set(extras) - {"all", "cuda"}


def normal(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()
