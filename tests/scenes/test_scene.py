from __future__ import annotations

import os
from pathlib import Path

import pytest
import yaml
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from render.errors import InshaderError
from scenes.scene import Scene, bundled_scenes, load_scene
from training.cli import main


def write(folder: Path, text: str | bytes, name: str = "mine.yaml") -> Path:
    path = folder / name
    path.write_bytes(text.encode() if isinstance(text, str) else text)
    return path


def test_bundled_scenes_load() -> None:
    assert {"quickstart", "nerf_synthetic", "mesh"} <= set(bundled_scenes())
    for name in bundled_scenes():
        scene = load_scene(name)
        assert scene.name == name
        assert scene.data.background == "white"


def test_defaults_and_overrides(tmp_path: Path) -> None:
    path = write(tmp_path, "")
    assert load_scene(path).name == "mine"
    overrides = [
        "name=a=b",
        "train.seconds=1e-1",
        "gaussian_rbf.grid.levels=8",
        "data.background=[0, 0.5, 1]",
    ]
    scene = load_scene(path, overrides)
    assert scene.name == "a=b"
    assert scene.train.seconds == 0.1
    assert scene.families == {"gaussian_rbf": {"grid": {"levels": 8}}}
    assert scene.data.background == (0, 0.5, 1)
    assert scene.family == "gaussian_rbf"


def test_one_budget_replaces_the_other() -> None:
    scene = load_scene("quickstart", ["train.steps=10"])
    assert (scene.train.steps, scene.train.seconds) == (10, None)


def test_resolved_is_a_scene_again(tmp_path: Path) -> None:
    bounds = "data.bounds=[[-1, -2, -3], [1, 2, 3]]"
    scene = load_scene("quickstart", ["kiloneus.cells=16", "data.path=here", "data.format=mesh", bounds])
    text = yaml.safe_dump(scene.resolved())
    again = load_scene(write(tmp_path, text))
    assert again.resolved() == scene.resolved()
    assert again.resolved()["kiloneus"] == {"cells": 16}
    assert again.resolved()["data"]["path"] == "here"


def test_path_beside_the_scene_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "scenes").mkdir()
    (tmp_path / "scenes" / "data").mkdir()
    path = write(tmp_path / "scenes", "data: {path: data}")
    monkeypatch.chdir(tmp_path)
    assert load_scene(path).data_path == tmp_path / "scenes" / "data"
    (tmp_path / "data").mkdir()
    assert load_scene(path).data_path == Path("data")
    assert load_scene(path).data.path == "data"
    assert load_scene("quickstart").data_path is None


def test_scenes_are_frozen() -> None:
    with pytest.raises(ValueError, match="frozen"):
        load_scene("quickstart").seed = 3  # type: ignore[misc]


@pytest.mark.parametrize(
    ("text", "parts"),
    [
        ("data: {pth: x}", ["data.pth", "did you mean data.path?"]),
        ("trian: {seconds: 3}", ["trian", "did you mean train?"]),
        ("sed: 3", ["sed", "did you mean seed?"]),
        ("data: {subject: fluf}", ["data.subject", "'still_life' or 'fluff'", "'fluf'"]),
        ("data: {background: pink}", ["data.background", "white, black or three numbers", "'pink'"]),
        ("data: {background: [0, 0, 2]}", ["data.background", "0..1"]),
        ("data: {bounds: [[1, 1, 1], [0, 0, 0]]}", ["data.bounds", "auto or two corners"]),
        ("data: {max_size: 0}", ["data.max_size", "0"]),
        ("data: {max_size: .nan}", ["nan", "not a finite number"]),
        ("train: {seconds: 1, steps: 2}", ["train", "seconds and steps are both set"]),
        ("train: {seconds: -1}", ["train.seconds", "-1"]),
        ("train: 3", ["train: expected keys of its own; found 3"]),
        ("seed: ten", ["seed", "'ten'"]),
        ("name: ../up", ["name", "without /"]),
        ("- a\n- b", ["list", "key: value"]),
        ("a: [1", ["line 1"]),
        ("seed: 1\nseed: 2", ["seed is given twice", "line 2"]),
        ("gaussian_rbf: {a: 1, a: 2}", ["a is given twice"]),
        ("a: &a [1]\nb: *a", ["aliases"]),
        ("a: &a {b: *a}", ["aliases"]),
        ("gaussian_rbf: !!python/object:os.system {}", ["tag"]),
        ("gaussian_rbf: {when: !!timestamp x}", ["tag"]),
        ("seed: !!int many", ["not YAML"]),
        ("? [a, b]\n: 1", ["a key is not a word"]),
        ("3: 4", ["a key is not a word"]),
        ("gaussian_rbf: " + "[" * 40 + "]" * 40, ["deep"]),
        ("a: 1\n---\nb: 2", ["expected a single document"]),
        (b"\xff\xfe\xfa", ["UTF-8"]),
        ("# " + "x" * (1 << 20), ["larger than"]),
        ("name: \x07", ["not YAML"]),
    ],
)
def test_mistakes_in_a_file(tmp_path: Path, text: str | bytes, parts: list[str]) -> None:
    path = write(tmp_path, text)
    with pytest.raises(InshaderError) as caught:
        load_scene(path)
    message = str(caught.value)
    assert "\n" not in message
    assert message.startswith(str(path))
    for part in parts:
        assert part in message


@pytest.mark.parametrize(
    ("override", "parts"),
    [
        ("train.second=3", ["train.second", "did you mean train.seconds?"]),
        ("data.max_size=big", ["data.max_size", "'big'"]),
        ("seed", ["expected dotted.key=value"]),
        ("=3", ["expected dotted.key=value"]),
        ("data..path=3", ["expected dotted.key=value"]),
        ("family.more=3", ["family is a value"]),
        ("famly=kiloneus", ["famly", "did you mean family?"]),
        ("gaussian_rbf=3", ["gaussian_rbf", "a family's section"]),
        ("data.path=[", ["data.path=["]),
        ("train.steps=3 train.seconds=4", ["train.steps"]),
    ],
)
def test_mistakes_in_an_override(override: str, parts: list[str]) -> None:
    with pytest.raises(InshaderError) as caught:
        load_scene("quickstart", override.split())
    message = str(caught.value)
    assert message.startswith("override")
    for part in parts:
        assert part in message


@pytest.mark.parametrize("name", ["quickstrat", "nowhere.yaml", "/", "a\0b", "x" * 5000])
def test_no_such_scene(name: str) -> None:
    with pytest.raises(InshaderError) as caught:
        load_scene(name)
    assert name != "quickstrat" or "did you mean quickstart?" in str(caught.value)


NOBODY = "~no-such-user/x"


def test_the_home_of_nobody(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(InshaderError, match=r"scene '~no-such-user/x': nobody knows .*'~no-such-user'"):
        load_scene(NOBODY)
    scene = load_scene("quickstart", [f"data.path={NOBODY}"])
    with pytest.raises(InshaderError, match=r"data\.path '~no-such-user/x': nobody knows"):
        assert scene.data_path
    with pytest.raises(InshaderError, match=r"path '~no-such-user/x': nobody knows"):
        scene.find(NOBODY)
    assert main([NOBODY, "--inspect"]) == main(["quickstart", f"data.path={NOBODY}", "--inspect"]) == 2
    assert len(capsys.readouterr().err.splitlines()) == 2


def test_unreadable_scene(tmp_path: Path) -> None:
    if os.geteuid() == 0:
        pytest.skip("root may read anything")
    path = write(tmp_path, "seed: 1")
    path.chmod(0)
    with pytest.raises(InshaderError, match="cannot be read"):
        load_scene(path)


SLOW = settings(max_examples=300, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text() | st.dates() | st.binary(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=8,
)
known = st.sampled_from(["name", "family", "seed", "data", "train", "gaussian_rbf", "families", "dta"])
inner_keys = st.sampled_from(
    [*"abc", "path", "bounds", "background", "max_size", "seconds", "steps", "preset", "up"]
)
documents = st.dictionaries(known, st.dictionaries(inner_keys, values, max_size=4) | values, max_size=5)


def load_or_tell(path: Path, overrides: list[str]) -> None:
    try:
        scene = load_scene(path, overrides)
    except InshaderError as error:
        assert "\n" not in str(error)
    else:
        assert isinstance(scene, Scene)
        assert load_scene(write(path.parent, yaml.safe_dump(scene.resolved()))).resolved() == scene.resolved()


@SLOW
@given(documents)
def test_no_document_breaks_the_reader(tmp_path: Path, document: object) -> None:
    load_or_tell(write(tmp_path, yaml.safe_dump(document)), [])


@SLOW
@given(
    st.binary(max_size=60)
    | st.text(alphabet=list("a:-[]{}&*!|>'\"%@?#,.~=<\n \t0179eE\\"), max_size=40).map(str.encode)
)
def test_no_bytes_break_the_reader(tmp_path: Path, text: bytes) -> None:
    load_or_tell(write(tmp_path, text), [])


@SLOW
@given(
    st.lists(
        st.text(max_size=30) | st.builds("{}.{}={}".format, known, inner_keys, st.text(max_size=8)),
        max_size=3,
    )
)
def test_no_override_breaks_the_reader(tmp_path: Path, overrides: list[str]) -> None:
    load_or_tell(write(tmp_path, "seed: 3"), overrides)
