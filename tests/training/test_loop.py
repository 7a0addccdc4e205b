"""The loop: budgets, stages, checkpoints, Ctrl-C, and that a resumed run is the run that was not stopped."""

from __future__ import annotations

import json
import math
import os
import signal
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file, save, save_file
from torch import Tensor

import training.loop
from render.asset import BakedAsset, asset_bytes, read_asset
from render.camera import Camera
from render.errors import InshaderError
from scenes import PosedImages
from training import preview
from training.checkpoint import read_checkpoint, write_checkpoint
from training.families import Stage, seeded
from training.families.gaussian_rbf.radiance import Config, Radiance
from training.kernels import cpu
from training.loop import Run

CHECKPOINT = "checkpoint.safetensors"


class Clock:
    """Stands in for the module ``time`` of the loop: no time passes but what steps say they take."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.now = 0.0
        monkeypatch.setattr(training.loop, "time", self)

    def monotonic(self) -> float:
        return self.now


class Walk:
    """A Model whose weights go for a random walk; a step has two halves."""

    def __init__(
        self, shares: Mapping[str, float], within: Callable[[int], None] = lambda step: None
    ) -> None:
        self.stages = tuple(
            Stage(name, share, lambda progress, name=name: self.step(name, progress))  # type: ignore[misc]
            for name, share in shares.items()
        )
        self.within = within
        self.weights, self.turns = torch.zeros(4), torch.zeros(4)
        self.generator = seeded(0)
        self.calls: list[tuple[str, float]] = []

    def step(self, name: str, progress: float) -> dict[str, float]:
        self.calls.append((name, progress))
        self.weights = self.weights + torch.randn(4, generator=self.generator)
        self.within(len(self.calls))
        self.turns = self.turns * 0.5 + self.weights
        return {"psnr": 20.0 + progress}

    def compile(self) -> None:
        raise AssertionError("the loop does not compile")

    def state(self) -> dict[str, Tensor]:
        return {"weights": self.weights, "turns": self.turns, "generator": self.generator.get_state()}

    def load_state(self, state: Mapping[str, Tensor]) -> None:
        self.weights, self.turns = state["weights"], state["turns"]
        self.generator.set_state(state["generator"])

    def draw(self, camera: Camera) -> np.ndarray:
        raise AssertionError("the loop does not draw")

    def bake(self) -> BakedAsset:
        raise AssertionError("the loop does not bake")

    def count(self, name: str) -> int:
        return sum(called == name for called, _ in self.calls)


def run(model: Any, folder: Path, steps: int | None = None, seconds: float | None = None) -> Run:
    return Run(model, folder, seconds, steps, '{"name": "a scene"}')


def lines(folder: Path) -> list[dict[str, Any]]:
    """The log; every line is JSON with finite numbers."""

    def refuse(constant: str) -> float:
        raise AssertionError(f"{constant} in the log")

    text = (folder / "log.jsonl").read_text()
    assert text.endswith("\n")
    return [json.loads(line, parse_constant=refuse) for line in text.splitlines()]


# Budgets ---------------------------------------------------------------------------------------------------


def test_stages_share_the_steps(tmp_path: Path) -> None:
    model = Walk({"teacher": 0.25, "student": 0.6, "finish": 0.15})
    training_run = run(model, tmp_path, steps=40)
    training_run.train()
    assert [model.count(name) for name in ("teacher", "student", "finish")] == [10, 24, 6]
    assert [name for name, _ in model.calls] == ["teacher"] * 10 + ["student"] * 24 + ["finish"] * 6
    for name in ("teacher", "student", "finish"):
        progress = [value for called, value in model.calls if called == name]
        assert progress == pytest.approx(np.arange(len(progress)) / len(progress))
    assert training_run.position.total_steps == 40
    assert [line["stage"] for line in lines(tmp_path)] == ["teacher", "student", "finish"]


def test_every_stage_makes_a_step(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """However small the budget."""
    clock = Clock(monkeypatch)

    def slow(step: int) -> None:
        clock.now += 3.0

    for budget in ({"steps": 1}, {"seconds": 0.5}):
        model = Walk({"long": 0.99, "short": 0.01}, slow)
        run(model, tmp_path, **budget).train()  # type: ignore[arg-type]
        assert (model.count("long"), model.count("short")) == (1, 1)


@pytest.mark.parametrize(
    ("cost", "shortest"),
    [
        (lambda step: 0.01, 0.99),
        # Steps that get cheaper end the run before its time, for it is planned by the mean of those before
        (lambda step: 0.01 + 0.03 * math.exp(-step / 100), 0.9),
        (lambda step: 0.01 + 0.00001 * step, 0.99),  # that get dearer
        (lambda step: 0.3 if step % 50 == 7 else 0.01, 0.85),  # of a busy machine
        (lambda step: 0.25 if 200 <= step < 210 else 0.01, 0.9),  # of one that is busy for a while
    ],
    ids=["even", "cheaper", "dearer", "uneven", "spell"],
)
def test_seconds_end_near_their_time(
    cost: Callable[[int], float], shortest: float, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    clock = Clock(monkeypatch)
    planned: list[int] = []

    def spend(step: int) -> None:
        clock.now += cost(step)
        planned.append(training_run.position.steps)

    model = Walk({"first": 0.4, "second": 0.6}, spend)
    training_run = run(model, tmp_path, seconds=20.0)
    training_run.train()
    # A stage may be overdrawn by the step that it is in.
    dearest = max(cost(step) for step in range(len(model.calls)))
    assert shortest * 20 <= training_run.position.seconds <= 20 + 2 * dearest
    assert training_run.position.seconds == pytest.approx(clock.now)
    for name, budget in (("first", 8.0), ("second", 12.0)):
        numbers = [k for k, (called, _) in enumerate(model.calls) if called == name]
        spent = np.cumsum([cost(k + 1) for k in numbers])
        # Soon the end of a stage is a number of steps, at first as rough as the few steps it was told from.
        late = [planned[k] for k, t in zip(numbers, spent, strict=True) if t > 0.05 * budget + 0.3]
        assert late and len(numbers) / 4 < min(late) and max(late) < 4 * len(numbers)
        progress = np.array([model.calls[k][1] for k in numbers])
        assert progress[0] == 0 and 0.9 < progress[-1] < 1 and (progress >= 0).all() and (progress <= 1).all()
        # A new plan may set it back; the last fifth, which settles the weights, follows the last plan.
        assert (np.diff(progress[len(progress) * 4 // 5 :]) > 0).all()


def test_the_plan_is_stored(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    clock = Clock(monkeypatch)

    def spend(step: int) -> None:
        clock.now += 0.01
        press(step, 300)

    stopped = run(Walk({"only": 1.0}, spend), tmp_path, seconds=10.0)
    with pytest.raises(KeyboardInterrupt):
        stopped.train()
    model = Walk({"only": 1.0}, lambda step: spend(0))
    resumed = run(model, tmp_path, seconds=10.0)
    resumed.resume()
    assert resumed.position == stopped.position and resumed.position.steps == pytest.approx(1000, rel=0.01)
    resumed.train()
    assert resumed.position.seconds == pytest.approx(10, rel=0.01)
    assert 300 + len(model.calls) == resumed.position.total_steps == pytest.approx(1000, rel=0.01)


# Log and progress ------------------------------------------------------------------------------------------


def test_log(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    """About a line a second, one at the end of every stage; the next run begins a new log."""
    clock = Clock(monkeypatch)

    def spend(step: int) -> None:
        clock.now += 0.1

    for _ in range(2):
        run(Walk({"a": 0.5, "b": 0.5}, spend), tmp_path, steps=100).train()
        found = lines(tmp_path)
        assert 8 <= len(found) <= 12
        steps = [line["step"] for line in found]
        assert steps == sorted(set(steps)) and steps[-1] == 100 and 50 in steps
        for line in found:
            assert {"stage", "step", "seconds", "psnr"} <= set(line)
            assert line["seconds"] == pytest.approx(0.1 * line["step"], abs=1e-3)
            assert line["stage"] == ("a" if line["step"] <= 50 else "b")
        told = capsys.readouterr().err.splitlines()  # where no terminal is, a line for every tenth
        assert 3 <= len(told) <= 11
        assert all("PSNR" in line and "steps/s" in line for line in told)


def test_divergence_is_told(tmp_path: Path) -> None:
    class Diverging(Walk):
        def step(self, name: str, progress: float) -> dict[str, float]:
            super().step(name, progress)
            return {"psnr": math.nan if progress >= 0.5 else 20.0, "rays": 5.0}

    with pytest.raises(
        InshaderError, match=r"diverged: psnr is nan at step 5 of the stage only.*learning rate"
    ):
        run(Diverging({"only": 1.0}), tmp_path, steps=10).train()
    assert not (tmp_path / CHECKPOINT).exists()  # nothing to go on from


# Ctrl-C and resuming ---------------------------------------------------------------------------------------


def press(step: int, at: int) -> None:
    """Ctrl-C in the middle of a step."""
    if step == at:
        signal.raise_signal(signal.SIGINT)


@pytest.mark.parametrize("at", [1, 7, 10, 11, 20])
def test_ctrl_c_waits_for_the_end_of_a_step(at: int, tmp_path: Path) -> None:
    """Half a step is never saved: the run that goes on ends like the one that was not stopped."""
    shares = {"a": 0.5, "b": 0.5}
    whole = Walk(shares)
    run(whole, tmp_path, steps=20).train()

    stopped = Walk(shares, lambda step: press(step, at))
    with pytest.raises(KeyboardInterrupt):
        run(stopped, tmp_path, steps=20).train()
    assert len(stopped.calls) == at
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler
    rest = Walk(shares)
    resumed = run(rest, tmp_path, steps=20)
    resumed.resume()
    resumed.train()
    assert stopped.calls + rest.calls == whole.calls
    assert all(torch.equal(value, whole.state()[name]) for name, value in rest.state().items())
    steps = [line["step"] for line in lines(tmp_path)]
    assert steps == sorted(set(steps)) and steps[-1] == 20 and 10 in steps


def test_a_second_ctrl_c_does_not_wait(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Half a step is not saved then either: what was there stands, and that is told."""
    clock = Clock(monkeypatch)

    def impatient(at: int, walk: Walk) -> Run:
        """Stopped in the middle of a step."""

        def within(step: int) -> None:
            clock.now += 10
            press(step, at)
            press(step, at)
            assert step != at, "the second one has not come through"

        walk.within = within
        stopped = run(walk, tmp_path, steps=12)
        with pytest.raises(KeyboardInterrupt):
            stopped.train()
        assert signal.getsignal(signal.SIGINT) is signal.default_int_handler
        return stopped

    impatient(3, Walk({"only": 1.0}))
    assert not (tmp_path / CHECKPOINT).exists()
    told = [line for line in capsys.readouterr().err.splitlines() if "half a step" in line]
    assert told == ["half a step is not saved: there is no checkpoint of this run yet"]

    impatient(9, Walk({"only": 1.0}))  # there is a checkpoint after a minute
    told = [line for line in capsys.readouterr().err.splitlines() if "half a step" in line]
    assert told == ["half a step is not saved: the checkpoint after step 7 stands"]
    whole, rest = Walk({"only": 1.0}), Walk({"only": 1.0})
    resumed = run(rest, tmp_path, steps=12)
    resumed.resume()
    assert resumed.position.total_steps == 7
    resumed.train()
    run(whole, tmp_path, steps=12).train()
    assert all(torch.equal(value, whole.state()[name]) for name, value in rest.state().items())


def test_interrupts_between_two_steps_are_saved(tmp_path: Path) -> None:
    """Such as a second Ctrl-C while an asset is written."""
    model = Walk({"only": 1.0})
    stopped = run(model, tmp_path, steps=9)

    def preview() -> None:
        if len(model.calls) == 4:
            raise KeyboardInterrupt

    stopped.preview = preview
    with pytest.raises(KeyboardInterrupt):
        stopped.train()
    assert read_checkpoint(tmp_path / CHECKPOINT)[1]["position"]["total_steps"] == 4


def test_other_listeners_keep_the_signal(tmp_path: Path) -> None:
    """Where Ctrl-C is ignored, as in a shell's background, it stays so."""
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        model = Walk({"only": 1.0}, lambda step: press(step, 3))
        run(model, tmp_path, steps=9).train()
        assert len(model.calls) == 9 and signal.getsignal(signal.SIGINT) is signal.SIG_IGN
    finally:
        signal.signal(signal.SIGINT, before)


def test_a_finished_run_resumes_to_its_end(tmp_path: Path) -> None:
    run(Walk({"only": 1.0}), tmp_path, steps=9).train()
    log = (tmp_path / "log.jsonl").read_text()
    again = Walk({"only": 1.0})
    resumed = run(again, tmp_path, steps=9)
    resumed.resume()
    resumed.train()
    assert not again.calls and resumed.position.total_steps == 9
    assert (tmp_path / "log.jsonl").read_text() == log


def test_checkpoints_are_written_on_the_way(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    clock = Clock(monkeypatch)
    found: list[int] = []

    def spend(step: int) -> None:
        clock.now += 10.0
        if (tmp_path / CHECKPOINT).exists():
            found.append(read_checkpoint(tmp_path / CHECKPOINT)[1]["position"]["total_steps"])

    run(Walk({"only": 1.0}, spend), tmp_path, steps=60).train()
    assert len(set(found)) >= 5  # of 600 seconds


# The family's own model ------------------------------------------------------------------------------------

# Past two updates of the occupancy, and not many samples.
STEPS, STOP = 230, 130


def radiance(ball: PosedImages, seed: int = 0) -> Radiance:
    config = Config(
        levels=4,
        finest_resolution=32,
        base_resolution=8,
        log2_table_size=12,
        neurons=8,
        occupancy_resolution=24,
        steps=64,
        samples_per_step=4096,
        precision="float32",
    )
    return Radiance(config, ball, cpu, "cpu", seed)


@pytest.fixture(scope="module")
def whole(ball: PosedImages, tmp_path_factory: pytest.TempPathFactory) -> tuple[dict[str, Tensor], bytes]:
    """The last state and the asset of a run that was not stopped."""
    model = radiance(ball)
    run(model, tmp_path_factory.mktemp("whole"), steps=STEPS).train()
    return model.state(), asset_bytes(model.bake())


def test_resume_equals_an_uninterrupted_run(
    ball: PosedImages, whole: tuple[dict[str, Tensor], bytes], tmp_path: Path
) -> None:
    """Bit for bit, on the CPU with the same number of threads."""
    stopped = radiance(ball)
    step = stopped.stages[0].step

    def interrupted(progress: float) -> dict[str, float]:
        press(stopped.steps_done, STOP - 1)
        return step(progress)

    stopped.stages = (Stage("radiance", 1.0, interrupted),)
    with pytest.raises(KeyboardInterrupt):
        run(stopped, tmp_path, steps=STEPS).train()
    assert stopped.steps_done == STOP
    model = radiance(ball, seed=5)  # whatever it starts from is replaced
    resumed = run(model, tmp_path, steps=STEPS)
    resumed.resume()
    assert resumed.position.total_steps == STOP
    resumed.train()
    wanted, asset = whole
    state = model.state()
    assert set(state) == set(wanted)
    assert [name for name, value in wanted.items() if not torch.equal(state[name], value)] == []
    assert asset_bytes(model.bake()) == asset


def test_runs_repeat_and_seeds_differ(
    ball: PosedImages, whole: tuple[dict[str, Tensor], bytes], tmp_path: Path
) -> None:
    for seed, same in ((0, True), (1, False)):
        model = radiance(ball, seed)
        run(model, tmp_path, steps=STEPS).train()
        assert (asset_bytes(model.bake()) == whole[1]) == same


def test_previews_change_nothing(
    ball: PosedImages,
    whole: tuple[dict[str, Tensor], bytes],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Assets after every twentieth step, each of which can be read; the run comes to the same bits."""
    for name in ("FIRST", "EVERY", "SHARE"):
        monkeypatch.setattr(preview, name, float("inf") if name == "SHARE" else 0.0)
    model = radiance(ball)
    looked_at = run(model, tmp_path, steps=STEPS)
    seen: list[str] = []

    def complete(asset: BakedAsset) -> BakedAsset:
        seen.append(asset.driver)
        return replace(asset, scene={"name": "a scene"})

    bake = preview.Previews(model, tmp_path / "asset.safetensors", complete)
    looked_at.preview = lambda: bake() if model.steps_done % 20 == 0 else None
    looked_at.train()
    assert len(seen) >= STEPS // 20 and set(seen) == {"march"}
    assert read_asset(tmp_path / "asset.safetensors").scene == {"name": "a scene"}
    assert asset_bytes(model.bake()) == whole[1]


def test_previews_take_a_small_part_of_the_time(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    now, baked = [0.0], [0]
    monkeypatch.setattr(preview, "time", SimpleNamespace(monotonic=lambda: now[0]))

    class Slow:
        def preview(self) -> None:
            baked[0] += 1
            now[0] += 5.0

    previews = preview.Previews(Slow(), tmp_path / "asset.safetensors", lambda asset: asset)  # type: ignore[arg-type]
    while now[0] < 2000:
        now[0] += 0.5
        previews()
    assert 5 * baked[0] <= 1.1 * preview.SHARE * 2000 and baked[0] > 5
    assert not list(tmp_path.iterdir()), "where there is nothing yet, nothing is written"


# Damaged checkpoints ---------------------------------------------------------------------------------------


@pytest.fixture
def finished(tmp_path: Path) -> Path:
    """The checkpoint of a Walk."""
    run(Walk({"only": 1.0}), tmp_path, steps=9).train()
    return tmp_path / CHECKPOINT


def resume_fails(folder: Path, scene: str = '{"name": "a scene"}') -> str:
    """What resuming a Walk is refused with."""
    with pytest.raises(InshaderError) as caught:
        Run(Walk({"only": 1.0}), folder, None, 9, scene).resume()
    message = str(caught.value)
    assert "\n" not in message and CHECKPOINT in message
    return message


def test_round_trip(tmp_path: Path) -> None:
    tensors = {"a": torch.arange(6.0).reshape(2, 3).T, "b": torch.tensor([1, 2]), "c": torch.zeros(0)}
    write_checkpoint(tmp_path / CHECKPOINT, tensors, {"scene": "ä", "position": {"step": 3}})
    read, about = read_checkpoint(tmp_path / CHECKPOINT)
    assert set(read) == set(tensors)
    for name, value in tensors.items():
        assert torch.equal(read[name], value) and read[name].dtype == value.dtype
    assert about["scene"] == "ä" and about["position"] == {"step": 3}


def test_no_checkpoint(tmp_path: Path) -> None:
    assert "no checkpoint to resume from" in resume_fails(tmp_path)


def test_other_settings(finished: Path) -> None:
    assert "other settings" in resume_fails(finished.parent, '{"name": "another scene"}')


@pytest.mark.parametrize("kept", [0, 4, 9, 60, -40, -1])
def test_truncated(kept: int, finished: Path) -> None:
    data = finished.read_bytes()
    finished.write_bytes(data[:kept])
    assert "not a checkpoint" in resume_fails(finished.parent)


@pytest.mark.parametrize("data", [b"once upon a time" * 30, b"\xff" * 64, save({"a": torch.zeros(2)})])
def test_not_a_checkpoint(data: bytes, finished: Path) -> None:
    finished.write_bytes(data)
    assert "not a checkpoint" in resume_fails(finished.parent)


def rewrite(path: Path, header: str) -> None:
    """The same tensors under another header."""
    save_file(load_file(path), path, {"inshader_checkpoint": header})


@pytest.mark.parametrize("header", ["", "[]", "3", "null", "{", "[" * 100000])
def test_malformed_header(header: str, finished: Path) -> None:
    rewrite(finished, header)
    assert "not a checkpoint" in resume_fails(finished.parent)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"format": 99}, "format 99, this version reads 1"),
        ({"format": None}, "format None"),
        ({"scene": 7}, "other settings"),
        ({"position": {"steps": 1, "surprise": 2}}, "does not fit"),
        ({"position": [1, 2]}, "does not fit"),
    ],
)
def test_wrong_header(change: dict[str, Any], message: str, finished: Path) -> None:
    about = read_checkpoint(finished)[1]
    rewrite(finished, json.dumps({**about, **change}))
    assert message in resume_fails(finished.parent)


@pytest.mark.parametrize("key", ["scene", "position"])
def test_headless(key: str, finished: Path) -> None:
    about = read_checkpoint(finished)[1]
    del about[key]
    rewrite(finished, json.dumps(about))
    assert "does not fit" in resume_fails(finished.parent)


@pytest.mark.parametrize(
    "change",
    [
        lambda state: state.pop("field.decoder.grid.table"),
        lambda state: state.pop("generator"),
        lambda state: state.update({"field.decoder.grid.table": torch.zeros(3, 2)}),
        lambda state: state.update({"optimiser.exp_avg": torch.zeros(3)}),
        lambda state: state.update({"generator": torch.zeros(3, dtype=torch.uint8)}),
        lambda state: state.update({"counters": torch.zeros(5)}),
    ],
)
def test_tensors_that_do_not_fit(
    change: Callable[[dict[str, Tensor]], object], ball: PosedImages, tmp_path: Path
) -> None:
    model = radiance(ball)
    model.step(0.0)
    first = run(model, tmp_path, steps=9)
    first.save()
    state, about = read_checkpoint(tmp_path / CHECKPOINT)
    change(state)
    write_checkpoint(tmp_path / CHECKPOINT, state, about)
    with pytest.raises(InshaderError, match=f"{CHECKPOINT}: does not fit this model"):
        run(radiance(ball), tmp_path, steps=9).resume()


def test_a_full_disk_leaves_the_last_checkpoint(finished: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    before = finished.read_bytes()

    def full(*args: object, **options: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match="No space left"):
        run(Walk({"only": 1.0}), finished.parent, steps=3).train()
    monkeypatch.undo()
    assert finished.read_bytes() == before
    assert sorted(path.name for path in finished.parent.iterdir()) == [CHECKPOINT, "log.jsonl"]
    with safe_open(finished, framework="pt") as file:
        assert file.metadata()
