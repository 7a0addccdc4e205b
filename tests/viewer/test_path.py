"""The camera path: what editing does to its keys, and what its preview shows."""

from __future__ import annotations

import json
from pathlib import Path as File

import numpy as np
import pytest

from render.camera import look_at
from render.camera_path import read_path
from viewer.path import GAP, GAPS, Path

KEYS = [look_at([2 * np.cos(a), 2 * np.sin(a), 0.4], [0, 0, 0], [0, 0, 1], 64, 48, 0.7) for a in (0, 1, 2, 3)]


@pytest.fixture
def path() -> Path:
    path = Path()
    for key in KEYS:
        path.add(key)
    return path


def order(path: Path) -> list[int]:
    """Which of ``KEYS`` each key is."""
    return [next(i for i, key in enumerate(KEYS) if key is one) for one in path.keys]


def test_keys_come_after_the_selected_one(path: Path) -> None:
    assert order(path) == [0, 1, 2, 3] and path.selected == 3
    assert path.times == [0, GAP, 2 * GAP, 3 * GAP] and path.seconds == 3 * GAP
    path.selected = 0
    path.add(KEYS[3])
    assert order(path) == [0, 3, 1, 2, 3] and path.selected == 1
    path.remove()
    assert order(path) == [0, 1, 2, 3] and path.selected == 1
    path.shift(1)
    assert order(path) == [0, 2, 1, 3] and path.selected == 2
    path.shift(1)
    path.shift(1)
    assert order(path) == [0, 2, 3, 1] and path.selected == 3, "the last one stays the last"
    path.replace(KEYS[0])
    assert order(path) == [0, 2, 3, 0]
    while path.keys:
        path.remove()
    assert path.selected is None and path.built((64, 48)) is None and path.seconds == 0


def test_each_way_has_its_own_time(path: Path) -> None:
    path.selected = 1
    path.set_gap(0.5)
    assert path.times == [0, GAP, GAP + 0.5, 2 * GAP + 0.5]
    path.set_gap(1e9)
    assert path.gaps[1] == GAPS[1]
    path.set_shape(loop=True, tension=0.0)
    assert len(path.times) == 5 and path.seconds == 3 * GAP + GAPS[1]


def test_what_is_built(path: Path) -> None:
    built = path.built((128, 48))
    assert built is not None and built.tension == 0.0
    assert (built.cameras[0].w, built.cameras[0].h) == (128, 48)
    path.set_shape(loop=True, tension=None)
    built = path.built((64, 48))
    assert built is not None and built.tension is None
    np.testing.assert_array_equal(built.at(4 * GAP).world_from_camera, KEYS[0].world_from_camera)


def test_the_preview_ends_or_goes_round(path: Path) -> None:
    path.play(True)
    path.advance(GAP)
    assert path.playing and path.time == GAP
    path.advance(100)
    assert not path.playing and path.time == path.seconds
    path.play(True)
    assert path.time == 0, "from the start again"
    path.set_shape(loop=True, tension=0.0)
    assert not path.playing, "an edited path is not played"
    path.play(True)
    path.advance(4 * GAP + 1)
    assert path.playing and path.time == pytest.approx(1)
    path.clear()
    path.play(True)
    assert not path.playing, "there is nothing to play"


@pytest.mark.parametrize(("loop", "tension"), [(False, None), (True, 0.0), (False, 0.5)])
def test_a_file_brings_back_the_keys(path: Path, loop: bool, tension: float | None, tmp_path: File) -> None:
    path.set_shape(loop, tension)
    path.selected = 2
    path.set_gap(0.7)
    built = path.built((64, 48))
    assert built is not None
    (tmp_path / "path.json").write_text(json.dumps(built.to_json()))
    other = Path()
    other.take_over(read_path(tmp_path / "path.json"))
    assert (other.loop, other.tension) == (loop, tension)
    np.testing.assert_allclose(other.times, path.times)
    for one, key in zip(other.keys, path.keys, strict=True):
        np.testing.assert_allclose(one.world_from_camera, key.world_from_camera)
