"""What every family owes, whatever the folder holds."""

from __future__ import annotations

import importlib
from collections.abc import Callable
from pathlib import Path
from typing import get_args

import pytest
from pydantic import BaseModel

import scenes.dataset
from render.errors import InshaderError
from render.glsl import families as shaders
from scenes import Scene, load_scene
from training import families
from training.families import Family, family_names, find_task
from training.modules import grid_between


def scene(folder: Path, *overrides: str) -> Scene:
    file = folder / "a.yaml"
    file.write_text("name: a scene\n")
    return load_scene(file, overrides)


def record(name: str) -> Family:
    found = importlib.import_module(f"training.families.{name}").FAMILY
    assert isinstance(found, Family)
    return found


NAMES = family_names()
TASKS = [(name, task) for name in NAMES for task in record(name).tasks]


def told(action: Callable[[], object]) -> str:
    """The one line of an error."""
    with pytest.raises(InshaderError) as caught:
        action()
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_there_are_families() -> None:
    found = {path.stem for path in Path(families.__path__[0]).iterdir() if not path.stem.startswith("_")}
    assert "gaussian_rbf" in NAMES and NAMES == sorted(found)


@pytest.mark.parametrize("name", NAMES)
def test_family_has_a_shader(name: str) -> None:
    assert name in {shader.partition("/")[0] for shader in shaders()}


@pytest.mark.parametrize(("name", "task"), TASKS)
def test_config(name: str, task: str) -> None:
    """Frozen, refuses unknown keys, complete without any option, and knows its task."""
    config = record(name).tasks[task].config
    assert issubclass(config, BaseModel)
    assert config.model_config.get("extra") == "forbid" and config.model_config.get("frozen")
    default = config()
    assert config.model_validate(default.model_dump(mode="json")) == default
    assert get_args(config.model_fields["task"].annotation) == (task,)
    assert default.task == task  # type: ignore[attr-defined]
    kind = record(name).tasks[task].dataset
    assert getattr(scenes.dataset, kind.__name__) is kind


@pytest.mark.parametrize(("name", "task"), TASKS)
def test_every_preset_holds(name: str, task: str) -> None:
    found = record(name).tasks[task]
    assert found.presets["default"] == {}
    for options in found.presets.values():
        found.config.model_validate(options)


@pytest.mark.parametrize(("name", "task"), TASKS)
def test_task_is_found_with_its_options(name: str, task: str, tmp_path: Path) -> None:
    found, config = find_task(scene(tmp_path, f"family={name}", f"{name}.task={task}"))
    assert found is record(name).tasks[task]
    assert config == found.config(task=task)


@pytest.mark.parametrize("name", NAMES)
def test_wrong_options_are_told(name: str, tmp_path: Path) -> None:
    """One line that says whose option, what was found, and which one may be meant."""
    chosen = f"family={name}"
    message = told(lambda: find_task(scene(tmp_path, chosen, f"{name}.tsak=1")))
    assert f"{name}.tsak" in message and f"{name}.task" in message
    message = told(lambda: find_task(scene(tmp_path, chosen, f"{name}.zzzzzzzz=1")))
    assert f"{name}.zzzzzzzz" in message
    message = told(lambda: find_task(scene(tmp_path, chosen, f"{name}.task=unheard_of")))
    assert f"{name}.task" in message and "unheard_of" in message
    assert all(task in message for task in record(name).tasks)
    message = told(lambda: find_task(scene(tmp_path, chosen, f"{name}.task=[1, 2]")))
    assert f"{name}.task" in message


def test_numbers_out_of_bounds_are_told(tmp_path: Path) -> None:
    for option, wanted in (
        ("levels=0", "1"),
        ("levels=99", "16"),
        ("levels=many", "integer"),
        ("features=3", "1, 2, 4 or 8"),
        ("learning_rate=-1", "0"),
        ("decoder=bilinear", "'normalised_rbf', 'rbf' or 'mlp'"),
    ):
        key, _, value = option.partition("=")
        message = told(lambda option=option: find_task(scene(tmp_path, f"gaussian_rbf.{option}")))
        assert f"gaussian_rbf.{key}" in message and value in message and wanted in message


@pytest.mark.parametrize(
    ("options", "wanted"),
    [
        ("gaussian_rbf.base_resolution=600", "gaussian_rbf.base_resolution: "),  # alone
        ("finest_resolution=8", "{0}.base_resolution=16 is above finest_resolution=8, expected at most that"),
        (
            "levels=2 base_resolution=2 finest_resolution=8192",
            "{0}.levels=2 is too few from base_resolution=2 to finest_resolution=8192, expected at least 4",
        ),
    ],
)
@pytest.mark.parametrize("name", ["gaussian_rbf", "kiloneus", "adaptive_shells"])
def test_grids_that_cannot_be_are_told(name: str, options: str, wanted: str, tmp_path: Path) -> None:
    overrides = [option if "." in option else f"{name}.{option}" for option in options.split()]
    family = wanted.partition(".")[0].format(name)
    message = told(lambda: find_task(scene(tmp_path, f"family={family}", *overrides)))
    assert message.startswith(f"scene a scene: {wanted.format(name)}")


@pytest.mark.parametrize("name", NAMES)
def test_one_level_is_a_grid(name: str, tmp_path: Path) -> None:
    """The coarsest, whatever the finest would be."""
    chosen = (
        f"family={name}",
        f"{name}.levels=1",
        f"{name}.base_resolution=100",
        f"{name}.finest_resolution=20",
    )
    _, config = find_task(scene(tmp_path, *chosen))
    resolutions = config.base_resolution, config.finest_resolution
    (level,) = grid_between(*resolutions, 3, config.levels, 2, 12).level_list
    assert level.resolution == 100


def test_options_that_do_not_fit_each_other_are_told(tmp_path: Path) -> None:
    for options, wanted in (
        (
            ["family=adaptive_shells", "adaptive_shells.min_kappa=5000"],
            "adaptive_shells.min_kappa=5000 is above max_kappa=4000, expected at most that",
        ),
        (
            ["family=light_field", "light_field.levels=2", "light_field.finest_resolution=2048"],
            "light_field.levels=2 is too few from base_resolution=8 to finest_resolution=2048, "
            "expected at least 3",
        ),
        (
            ["family=light_field", "light_field.teacher_share=0.9", "light_field.finetune_share=0.5"],
            "light_field.teacher_share=0.9 and finetune_share=0.5 leave nothing to distil, "
            "expected less than 1 together",
        ),
    ):
        message = told(lambda options=options: find_task(scene(tmp_path, *options)))
        assert message == f"scene a scene: {wanted}"
    for channels in ("[16, 16, 0]", "[16, 16, 513]"):
        message = told(
            lambda channels=channels: find_task(
                scene(tmp_path, "family=light_field", f"light_field.channels={channels}")
            )
        )
        assert "light_field.channels.2: " in message and channels[9:-1] in message


def test_unknown_families_are_told(tmp_path: Path) -> None:
    message = told(lambda: find_task(scene(tmp_path, "family=gausian_rbf")))
    assert "gausian_rbf is not a family" in message and "is gaussian_rbf meant?" in message
    message = told(lambda: find_task(scene(tmp_path, "family=zzzz")))
    assert all(name in message for name in NAMES)


def test_misspelt_sections_are_told(tmp_path: Path) -> None:
    """A section that nobody would read must not pass in silence, wherever it comes from."""
    message = told(lambda: find_task(scene(tmp_path, "gausian_rbf.levels=4")))
    assert "gausian_rbf is not a family" in message and "gaussian_rbf" in message
    (tmp_path / "b.yaml").write_text("gaussian-rbf:\n  levels: 4\n")
    message = told(lambda: find_task(load_scene(tmp_path / "b.yaml")))
    assert "gaussian-rbf is not a family" in message


def test_sections_of_other_families_are_let_be(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A scene may hold options for each of several families."""
    monkeypatch.setattr(families, "family_names", lambda: [*NAMES, "another"])
    _, config = find_task(scene(tmp_path, "another.unknown=1", "gaussian_rbf.levels=3"))
    assert config.levels == 3
