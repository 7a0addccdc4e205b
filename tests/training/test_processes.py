"""Several processes: what they share, and that together they train as one with twice the batch does."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
SCENE = ["quickstart", "data.max_size=64", "data.train_views=20", "data.test_views=5", "train.preset=fast"]


def torchrun(count: int, *command: str, timeout: float = 240) -> subprocess.CompletedProcess[str]:
    """Run a command in ``count`` processes on this machine."""
    launcher = [sys.executable, "-m", "torch.distributed.run", "--standalone", f"--nproc-per-node={count}"]
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    return subprocess.run(
        [*launcher, "--no-python", *command], capture_output=True, text=True, timeout=timeout, env=environment
    )


def train(folder: Path, *overrides: str) -> list[str]:
    program = [sys.executable, "-c", "import sys; from training.cli import main; sys.exit(main())"]
    return [*program, *SCENE, *overrides, "--out", str(folder)]


PRIMITIVES = """
import numpy as np, torch
from torch import nn
from training import processes
from training.score import Scores, _together
with processes.joined("cpu"):
    rank, count = processes.rank(), processes.count()
    assert count == 2 and processes.first() == (rank == 0)
    assert processes.own(torch.arange(5)).tolist() == [[0, 2, 4], [1, 3]][rank]
    assert list(processes.own(range(5))) == [[0, 2, 4], [1, 3]][rank]
    assert processes.mean(1.0 + rank) == 1.5 and processes.largest(1.0 + rank) == 2.0
    values = torch.tensor([0.0, 1.0]) if rank else torch.tensor([3.0, 0.0])
    processes.keep_largest(values)
    assert values.tolist() == [3, 1]
    same = torch.full((3,), rank, dtype=torch.uint8)
    processes.make_same(same)
    assert same.tolist() == [0, 0, 0]
    a, b, c = (nn.Parameter(torch.zeros(2, 2)) for _ in range(3))
    a.grad = torch.full((2, 2), 1.0 + rank)
    if rank:
        b.grad = torch.ones(2, 2)  # one process alone has met it
    processes.average_gradients([a, b, c])
    assert (a.grad == 1.5).all() and (b.grad == 0.5).all() and c.grad is None
    found = processes.gathered({"x": np.arange(rank + 1), f"only.{rank}": np.ones((rank + 1, 2), np.float32)})
    assert [len(part["x"]) for part in found] == [1, 2] and found[1]["only.1"].shape == (2, 2)
    assert processes.from_first(b"told" if rank == 0 else None) == b"told"
    assert processes.from_first(b"" if rank == 0 else None) == b""
    views = Scores(baked=processes.own([1.0, None, 3.0]), stages={"before": processes.own([4.0, 5.0, 6.0])})
    views, picture = _together(views, {f"row.{2 - rank}": np.full((1, 4, 3), rank, np.float32)})
    assert views.baked == [1, None, 3] and views.stages == {"before": [4, 5, 6]}
    assert picture[:, 0, 0].tolist() == [1, 0]
    processes.barrier()
"""


def test_what_processes_share() -> None:
    done = torchrun(2, sys.executable, "-c", PRIMITIVES)
    assert done.returncode == 0, done.stderr


def test_two_processes_train_as_one_with_twice_the_batch(tmp_path: Path) -> None:
    steps = "train.steps=300"  # after 120 the picture still gains 0.05 dB a step, and seeds differ by 1 dB
    done = torchrun(2, *train(tmp_path / "two", steps, "gaussian_rbf.samples_per_step=8192"))
    assert done.returncode == 0, done.stderr
    alone = train(tmp_path / "one", steps, "gaussian_rbf.samples_per_step=16384")
    done = subprocess.run(alone, capture_output=True, text=True, timeout=240, cwd=ROOT)
    assert done.returncode == 0, done.stderr
    two, one = (json.loads((tmp_path / name / "results.json").read_text()) for name in ("two", "one"))
    assert two["processes"] == 2 and one["processes"] == 1
    assert two.keys() == one.keys() and two["views"] == one["views"] == 5
    # Each draws other pixels: what is asked for is 0.2 dB, and that is about what other seeds differ by.
    assert two["psnr"]["baked"] == pytest.approx(one["psnr"]["baked"], abs=0.2)
    assert (tmp_path / "two" / "comparison.png").is_file()
