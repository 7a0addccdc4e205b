"""A run folder that was used before."""

from __future__ import annotations

from pathlib import Path

import imageio.v3 as iio
import numpy as np
import pytest

from scenes import load_scene
from training.loop import Run
from training.run import train


def test_an_interrupted_run_shows_no_scores_of_another(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A new one removes them when it begins; one that is resumed is the same run."""
    iio.imwrite(tmp_path / "a.png", np.random.default_rng(0).integers(0, 255, (12, 16, 3), np.uint8))
    scene = load_scene("image", [f"data.path={tmp_path / 'a.png'}", "train.steps=3", "gaussian_rbf.levels=2"])
    out, scores = tmp_path / "out", {"results.json", "comparison.png"}

    def interrupted(self: Run) -> None:
        self.save()
        raise KeyboardInterrupt

    monkeypatch.setattr(Run, "train", interrupted)
    for resume in (False, True):
        out.mkdir(exist_ok=True)
        for name in scores:
            (out / name).write_text("of before")
        with pytest.raises(KeyboardInterrupt):
            train(scene, out, "cpu", resume)
        left = {path.name for path in out.iterdir()}
        assert left & scores == (scores if resume else set()) and "config.yaml" in left
