"""What is kept between runs."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from viewer import settings
from viewer.settings import Settings, read_settings, settings_path, write_settings

CHOSEN = Settings(
    panel=False,
    auto=False,
    scale=0.5,
    target_fps=60.0,
    speed=2.5,
    inertia=True,
    multiple=3,
    width=1920,
    height=1080,
    exr=True,
    continuous=True,
)


def test_they_come_back(tmp_path: Path) -> None:
    path = tmp_path / "new" / "inshader" / "viewer.json"
    write_settings(path, CHOSEN)
    assert read_settings(path) == (CHOSEN, None)
    assert all(getattr(CHOSEN, name) != value for name, value in vars(Settings()).items())
    assert [file.name for file in path.parent.iterdir()] == ["viewer.json"], "nothing else is left behind"


def test_none_are_no_complaint(tmp_path: Path) -> None:
    assert read_settings(tmp_path / "viewer.json") == (Settings(), None)


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"{",
        b"[1]",
        b"\xff\xfe\x00",
        b'{"panel": 1}',
        b'{"scale": "large"}',
        b'{"scale": 0.01}',
        b'{"target_fps": NaN}',
        b'{"speed": Infinity}',
        b'{"speed": 1' + b"0" * 400 + b"}",
        b'{"multiple": 2.5}',
        b'{"multiple": true}',
        b'{"multiple": null}',
        b"[" * 60_000,
        b" " * 70_000,
    ],
)
def test_damage_is_told_in_one_line(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "viewer.json"
    path.write_bytes(content)
    found, complaint = read_settings(path)
    assert found == Settings()
    assert complaint is not None
    assert str(path) in complaint and "\n" not in complaint


def test_a_folder_in_its_place(tmp_path: Path) -> None:
    found, complaint = read_settings(tmp_path)
    assert found == Settings() and complaint is not None


def test_keys_of_other_versions_are_left_out(tmp_path: Path) -> None:
    path = tmp_path / "viewer.json"
    path.write_text(json.dumps({"panel": False, "of the future": [1], "speed": 1}))
    assert read_settings(path) == (Settings(panel=False, speed=1.0), None)


def test_where_they_lie(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(settings.Path, "home", lambda: tmp_path)
    monkeypatch.setattr(settings.sys, "platform", "linux")
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    assert settings_path() == tmp_path / "config/inshader/viewer.json"
    for value in ("", "relative"):  # its standard says that the latter is not used
        monkeypatch.setenv("XDG_CONFIG_HOME", value)
        assert settings_path() == tmp_path / ".config/inshader/viewer.json"
    monkeypatch.setattr(settings.sys, "platform", "darwin")
    assert settings_path() == tmp_path / "Library/Application Support/inshader/viewer.json"


def test_an_unwritable_place_is_an_error_that_names_it(tmp_path: Path) -> None:
    (tmp_path / "inshader").write_text("a file")
    with pytest.raises(OSError):
        write_settings(tmp_path / "inshader" / "viewer.json", CHOSEN)
