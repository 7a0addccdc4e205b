"""The log of a training: read as it grows, whatever it holds."""

from __future__ import annotations

import json
import os
import time
from pathlib import Path

import pytest

from viewer import progress
from viewer.progress import TrainingLog
from viewer.run_panel import state_line


@pytest.fixture
def log(tmp_path: Path) -> TrainingLog:
    return TrainingLog(tmp_path)


def write(log: TrainingLog, text: str, mode: str = "a") -> None:
    with log.path.open(mode) as file:
        file.write(text)
    log._looked = -1e9
    log.poll()


def line(step: int, **numbers: object) -> str:
    return json.dumps({"stage": "radiance", "step": step, "seconds": step / 10, **numbers}) + "\n"


def test_it_grows(log: TrainingLog) -> None:
    log.poll()
    assert not log.live and not log.curves and "nothing yet" in state_line(log)
    write(log, line(10, psnr=20.0, loss=0.5) + line(20, psnr=25.0)[:-5])
    assert log.curves == {"psnr": ([1.0], [20.0]), "loss": ([1.0], [0.5])} and log.live
    write(log, line(20, psnr=25.0)[-5:])
    assert log.curves["psnr"] == ([1.0, 2.0], [20.0, 25.0])
    assert state_line(log) == "training: radiance, step 20, 2 s"
    os.utime(log.path, (time.time() - 100,) * 2)
    assert state_line(log) == "trained: radiance, step 20, 2 s"
    write(log, line(5, psnr=1.0), "w")
    assert log.curves == {"psnr": ([0.5], [1.0])}, "another training in the same folder"


def test_what_is_no_line_of_it_is_passed_over(log: TrainingLog) -> None:
    bad = ['{"step": 1}', "[1]", "not JSON", "[" * 9000, '{"seconds": "soon"}', '{"seconds": true}']
    write(log, "\n".join(bad) + "\n" + line(3, psnr=float("nan"), loss=1e300, depth=2.0, name="x"))
    assert log.curves == {"depth": ([0.3], [2.0])}


def test_a_long_one_is_thinned_out(log: TrainingLog, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(progress, "POINTS", 50)
    write(log, "".join(line(step, psnr=float(step)) for step in range(1000)))
    seconds, values = log.curves["psnr"]
    assert 20 <= len(values) <= 51 and values == [10 * t for t in seconds]
    assert values[-1] > 950 and log.step == 999


def test_it_is_read_in_parts(log: TrainingLog, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(progress, "PART", 64)
    write(log, "".join(line(step, psnr=1.0) for step in range(20)))
    for _ in range(60):
        log.poll()
    assert log.step == 19
