"""render-bench: its figures, its scores, and its errors."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import moderngl
import numpy as np
import pytest

from render import bench
from render.asset import BakedAsset, write_asset
from render.errors import InshaderError
from render.renderer import Renderer

Build = Callable[..., BakedAsset]
RESULTS = {
    "scene": "ball",
    "background": "peach",
    "resolution": [96, 80],
    "seconds": {"train": 3.0},
    "psnr": {"baked": 31.5, "field": 31.6, "foreground": 28.0, "stages": {}, "per_view": [31.5]},
    "ssim": {"baked": 0.97},
    "parity_db": 63.0,
}


@pytest.fixture
def run_folder(build_ball: Build, tmp_path: Path) -> Path:
    write_asset(tmp_path / "asset.safetensors", build_ball("float16"))
    (tmp_path / "results.json").write_text(json.dumps(RESULTS))
    return tmp_path


@pytest.fixture(autouse=True)
def own_context(ctx: moderngl.Context, monkeypatch: pytest.MonkeyPatch) -> None:
    """The suite's context in place of a new one, which would take its place."""
    monkeypatch.setattr(bench, "create_context", lambda: ctx)
    monkeypatch.setattr(moderngl.Context, "release", lambda self: None)


def measured(capsys: pytest.CaptureFixture[str], folder: Path, *arguments: str) -> tuple[dict[str, Any], str]:
    assert bench.main([str(folder), "--frames", "3", "--json", str(folder / "out.json"), *arguments]) == 0
    return json.loads((folder / "out.json").read_text()), capsys.readouterr().out


def test_run_folder(run_folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    results, table = measured(capsys, run_folder)
    assert results["psnr"]["baked"] == 31.5 and results["parity_db"] == 63.0 and results["scene"] == "ball"
    assert results["fps"]["median"] == pytest.approx(1e3 / results["ms"]["median"], rel=1e-3)
    assert results["ms"]["p95"] >= results["ms"]["median"] > 0
    assert results["seconds"]["train"] == 3.0 and results["seconds"]["first_frame"] > 0
    assert results["precision"] == "float16" and results["resolution"] == [96, 80] and results["views"] == 1
    assert results["asset_bytes"] == (run_folder / "asset.safetensors").stat().st_size
    assert (
        results["timer"] in ("wall", "gl")
        and results["gl"]["renderer"]
        and results["evaluations_per_pixel"] > 0.5
    )
    assert "31.50 dB" in table and "first frame" in table


def test_scores_belong_to_a_resolution(run_folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    results, table = measured(capsys, run_folder, "--size", "40x30")
    assert results["resolution"] == [40, 30]
    assert results["psnr"] is None and results["parity_db"] is None and "PSNR" not in table


@pytest.mark.parametrize(
    "stored",
    [
        {"seconds": [1]},
        {"ssim": 3, "psnr": {"baked": 30.0}},
        {"psnr": {"baked": "x"}, "ssim": {"baked": True}},
        {"psnr": {"baked": float("inf"), "foreground": [1]}, "background": {"a": float("nan")}},
        {"scene": "[/x]\x1b[31m", "background": "[red]", "psnr": {"baked": 30.0}},
        [1],
    ],
)
def test_results_of_a_stranger(
    stored: object, build_ball: Build, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = tmp_path / "run [bold]"
    folder.mkdir()
    write_asset(folder / "asset.safetensors", build_ball("float16"))
    (folder / "results.json").write_text(
        json.dumps({"resolution": [96, 80], **stored} if isinstance(stored, dict) else stored)
    )
    _, table = measured(capsys, folder)
    assert "\x1b" not in table and "[bold]" in table


def test_pictures_smaller_than_the_window_of_ssim() -> None:
    picture = np.full((8, 30, 3), 0.5, np.float32)
    found = bench.view_score(picture, picture + 0.1, None, np.float32(1))
    assert found.ssim is None and found.psnr == pytest.approx(20, abs=1e-3)
    assert bench.score_summary([found])["ssim"]["baked"] is None


def test_asset_without_results(run_folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (run_folder / "results.json").unlink()
    results, _ = measured(capsys, run_folder)
    assert results["psnr"] is None and results["scene"] is None


def test_scene(
    run_folder: Path,
    build_ball: Build,
    capsys: pytest.CaptureFixture[str],
    ctx: moderngl.Context,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Truth comes from whoever offers to read scenes."""
    asset = build_ball("float16")
    with Renderer(ctx, asset) as renderer:
        images = renderer.draw(asset.held_out[0]).images
    truth = images["colour"] + np.float32(0.01)

    def read(scene: str, stored: Mapping[str, Any]) -> list[tuple[np.ndarray, np.ndarray]]:
        assert scene == "ball.yaml" and stored["name"] == "ball"
        return [(truth, images["coverage"])]

    monkeypatch.setattr(
        bench.importlib.metadata, "entry_points", lambda group: [SimpleNamespace(load=lambda: read)]
    )
    results, table = measured(capsys, run_folder, "--scene", "ball.yaml")
    assert results["psnr"]["baked"] == pytest.approx(40, abs=0.3)
    assert results["psnr"]["foreground"] == pytest.approx(40, abs=0.3)
    assert results["ssim"]["baked"] > 0.98 and "SSIM" in table
    with (
        Renderer(ctx, asset) as renderer,
        pytest.raises(InshaderError, match="2 held-out views, the asset 1"),
    ):
        bench.score(renderer, [(truth, None)] * 2)
    monkeypatch.setattr(bench.importlib.metadata, "entry_points", lambda group: [])
    assert bench.main([str(run_folder), "--scene", "ball.yaml"]) == 2
    assert "reads scenes" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["nowhere"], "nowhere: no such asset"),
        (["."], "no such asset"),
        ([".", "--size", "big"], "WxH"),
        ([".", "--size", "0x5"], "WxH"),
        ([".", "--frames", "none"], "number of frames"),
    ],
)
def test_errors_are_one_line(
    arguments: list[str],
    message: str,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(tmp_path)
    try:
        status = bench.main(arguments)
    except SystemExit as end:  # from argparse
        status = int(end.code or 0)
    error = capsys.readouterr().err
    assert status == 2 and message in error and error.count("\n") == 1


def test_no_opengl(
    run_folder: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    from render.context import create_context

    monkeypatch.setenv("INSHADER_NO_GL", "1")
    monkeypatch.setattr(bench, "create_context", create_context)
    assert bench.main([str(run_folder)]) == 2
    error = capsys.readouterr().err
    assert "apt install" in error and error.count("\n") == 1


def test_results_of_the_asset_itself(build_ball: Build, tmp_path: Path) -> None:
    asset = replace(build_ball(), results={"psnr": {"baked": 30.0}})
    path = tmp_path / "a.safetensors"
    assert bench.stored_results(path, asset) == {"psnr": {"baked": 30.0}}
    (tmp_path / "results.json").write_text("{ not json")
    assert bench.stored_results(path, asset) == {"psnr": {"baked": 30.0}}
