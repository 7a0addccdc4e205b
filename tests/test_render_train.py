"""render-train from end to end: what it leaves behind, and how it refuses."""

from __future__ import annotations

import errno
import json
import math
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import imageio.v3 as iio
import numpy as np
import pytest

from render.asset import read_asset
from render.camera import look_at
from scenes import load_scene
from training import run as training_run
from training.cli import main

SMALL = [
    "gaussian_rbf.levels=4",
    "gaussian_rbf.log2_table_size=12",
    "gaussian_rbf.finest_resolution=64",
    "gaussian_rbf.occupancy_resolution=24",
    "gaussian_rbf.steps=48",
    "gaussian_rbf.samples_per_step=4096",
]
FILES = {
    "asset.safetensors",
    "checkpoint.safetensors",
    "config.yaml",
    "log.jsonl",
    "comparison.png",
    "results.json",
}


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """A coloured ball in NeRF-synthetic's layout: eight training and two test pictures of 24x24."""
    return ball_folder(tmp_path / "ball")


def ball_folder(folder: Path) -> Path:
    rng = np.random.default_rng(0)
    for split, count in (("train", 8), ("test", 2)):
        (folder / split).mkdir(parents=True)
        frames = []
        for index in range(count):
            position = rng.normal(size=3)
            camera = look_at(4 * position / np.linalg.norm(position), [0, 0, 0], [0, 0, 1], 24, 24, 0.7)
            rays_o, rays_d = camera.rays()
            b = (rays_o * rays_d).sum(-1)
            gap = b**2 - (rays_o**2).sum(-1) + 0.8**2
            x = rays_o + (-b - np.sqrt(np.maximum(gap, 0)))[..., None] * rays_d
            picture = np.concatenate([128 + 100 * np.sin(3 * x), np.full((24, 24, 1), 255.0)], -1)
            picture[gap <= 0] = 0
            iio.imwrite(folder / split / f"r_{index}.png", picture.astype(np.uint8))
            pose = camera.world_from_camera.tolist()
            frames.append({"file_path": f"./{split}/r_{index}", "transform_matrix": pose})
        text = json.dumps({"camera_angle_x": 0.7, "frames": frames})
        (folder / f"transforms_{split}.json").write_text(text)
    return folder


def command_line(data: Path, out: Path, *more: str) -> list[str]:
    return ["nerf_synthetic", f"data.path={data}", "train.steps=40", *SMALL, "--out", str(out), *more]


def render_train(arguments: list[str], **environment: str) -> subprocess.CompletedProcess[str]:
    """A process of its own: it makes an OpenGL context of its own too."""
    command = [sys.executable, "-c", "import sys; from training.cli import main; sys.exit(main())"]
    return subprocess.run(
        [*command, *arguments], env={**os.environ, **environment}, capture_output=True, text=True
    )


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The run folder of a short training."""
    folder = tmp_path_factory.mktemp("finished")
    result = render_train(command_line(ball_folder(folder / "ball"), folder / "run"))
    assert result.returncode == 0, result.stderr
    return folder / "run"


def test_run_folder(finished: Path) -> None:
    assert {path.name for path in finished.iterdir()} == FILES
    lines = [json.loads(line) for line in (finished / "log.jsonl").read_text().splitlines()]
    assert all({"stage", "step", "seconds", "psnr"} <= set(line) for line in lines)
    h, w, _ = iio.imread(finished / "comparison.png").shape
    assert (w, h) == (4 * 24, 2 * 24)  # truth, field, asset, error; both views there are


def test_results(finished: Path) -> None:
    def refuse(name: str) -> float:
        raise AssertionError(f"{name} in results.json")

    results: dict[str, Any] = json.loads((finished / "results.json").read_text(), parse_constant=refuse)
    no_gl = os.environ.get("INSHADER_NO_GL") == "1"
    kinds: dict[str, Any] = {
        "format": 1,
        "scene": "nerf_synthetic",
        "family": "gaussian_rbf",
        "device": "cpu",
        "kernels": "numba",
        "steps": 40,
        "views": 2,
        "resolution": [24, 24],
        "samples_per_pixel": 1,
        "background": "white",
        "masked": False,
        "precision": "float16",
        "asset_bytes": (finished / "asset.safetensors").stat().st_size,
    }
    assert {key: results[key] for key in kinds} == kinds
    assert set(results["seconds"]) == {"data", "compile", "train", "bake", "score"}
    psnr = results["psnr"]
    assert set(psnr) == {"baked", "field", "foreground", "stages", "per_view"} and psnr["stages"] == {}
    assert psnr["baked"] == pytest.approx(np.mean(psnr["per_view"]), abs=1e-3)
    assert psnr["baked"] == pytest.approx(psnr["field"], abs=0.1)
    assert psnr["foreground"] < psnr["baked"] and 0 < results["ssim"]["baked"] <= 1
    assert results["parity_db"] >= 42
    if not no_gl:
        assert results["fps"]["median"] == pytest.approx(1e3 / results["ms"]["median"], rel=1e-3)
        assert results["timer"] in ("wall", "gl") and set(results["gl"]) == {"renderer", "version"}
        assert results["evaluations_per_pixel"] > 0
    stored = dict(read_asset(finished / "asset.safetensors").results)
    assert {**stored, "asset_bytes": 0} == {**results, "asset_bytes": 0}


def test_config_is_a_scene_file(finished: Path) -> None:
    again = load_scene(finished / "config.yaml")
    assert again.resolved() == read_asset(finished / "asset.safetensors").scene
    assert again.train.steps == 40 and again.families["gaussian_rbf"]["levels"] == 4


def test_default_folder_and_options_anywhere(
    data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    seen: list[Any] = []
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(training_run, "train", lambda *call: seen.append(call) or {})
    monkeypatch.setattr("training.cli.print_results", lambda *call: None)
    line = ["--resume", "nerf_synthetic", f"data.path={data}", "--device", "cpu", "name=vase", "seed=3"]
    assert main(line) == 0, capsys.readouterr().err
    ((scene, folder, device, resume),) = seen
    assert (scene.name, scene.seed, folder, device, resume) == ("vase", 3, Path("runs/vase"), "cpu", True)


Spoil = Callable[[Path], object]


def edit_frame(change: Callable[[dict[str, Any]], object]) -> Spoil:
    def spoil(data: Path) -> None:
        file = data / "transforms_train.json"
        content = json.loads(file.read_text())
        change(content["frames"][3])
        file.write_text(json.dumps(content))

    return spoil


def truncate(data: Path) -> None:
    picture = data / "train" / "r_3.png"
    picture.write_bytes(picture.read_bytes()[:200])


def other_size(data: Path) -> None:
    iio.imwrite(data / "train" / "r_3.png", np.zeros((12, 12, 4), np.uint8))


def keep(data: Path) -> None:
    pass


MISTAKES: dict[str, tuple[Spoil, list[str], list[str]]] = {
    "misspelt key": (keep, ["data.backgroud=white"], ["data.backgroud", "background"]),
    "unknown family": (keep, ["family=kilonerf"], ["kilonerf", "gaussian_rbf"]),
    "unknown option": (keep, ["gaussian_rbf.decodr=rbf"], ["gaussian_rbf.decodr", "decoder"]),
    "unknown decoder": (keep, ["gaussian_rbf.decoder=tree"], ["gaussian_rbf.decoder", "tree"]),
    "unknown option of the line": (keep, ["--outt", "x"], ["--outt", "--out"]),
    "no data": (keep, ["data.path=/nowhere"], ["/nowhere", "data.path"]),
    "missing picture": (lambda data: (data / "train/r_3.png").unlink(), [], ["r_3", "transforms_train.json"]),
    "truncated picture": (truncate, [], ["r_3.png"]),
    "picture of another size": (other_size, [], ["r_3.png", "12x12", "24x24"]),
    "NaN in a pose": (
        edit_frame(lambda frame: frame["transform_matrix"][0].__setitem__(0, math.nan)),
        [],
        ["transforms_train.json", "frame"],
    ),
    "singular pose": (
        edit_frame(lambda frame: frame.update(transform_matrix=[[0.0] * 4] * 3 + [[0, 0, 0, 1]])),
        [],
        ["transforms_train.json", "singular"],
    ),
    "no checkpoint": (keep, ["--resume"], ["no checkpoint", "--resume"]),
}


@pytest.mark.parametrize("mistake", MISTAKES)
def test_mistakes(mistake: str, data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    spoil, more, parts = MISTAKES[mistake]
    spoil(data)
    out = tmp_path / "out"
    refused(command_line(data, out, *more), out, capsys, *parts)


def refused(line: list[str], out: Path, capsys: pytest.CaptureFixture[str], *parts: str) -> None:
    """Status 2, one line on stderr that has all ``parts``, and no result."""
    try:
        status = main(line)
    except SystemExit as error:  # the parser's own
        status = error.code  # type: ignore[assignment]
    said = capsys.readouterr().err
    assert status == 2, said
    assert said.count("\n") == 1 and all(part in said for part in parts), said
    left = {path.name for path in out.iterdir()} if out.is_dir() else set()
    assert not left & {"asset.safetensors", "results.json", "comparison.png"}, left


def test_no_such_scene(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    refused(
        ["quikstart", "--out", str(tmp_path / "out")], tmp_path / "out", capsys, "quikstart", "quickstart?"
    )


def test_out_is_a_file(data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "file"
    out.write_text("kept")
    refused(command_line(data, out), out, capsys, str(out), "is a file")
    assert out.read_text() == "kept"


def test_out_is_read_only(
    data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(os, "access", lambda *_: False)  # root may write anywhere
    refused(command_line(data, tmp_path / "out"), tmp_path / "out", capsys, "read-only")


def test_little_room_is_told_before_training(
    data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    usage = shutil._ntuple_diskusage(10**9, 10**9 - 10**6, 10**6)  # type: ignore[attr-defined]
    monkeypatch.setattr(shutil, "disk_usage", lambda _: usage)
    refused(command_line(data, tmp_path / "out"), tmp_path / "out", capsys, "0 MB are free")


def test_full_disk(
    data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(path: Path, *_: object) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(path))

    monkeypatch.setattr(training_run, "atomic_write", full)
    refused(command_line(data, tmp_path / "out"), tmp_path / "out", capsys, "No space left", "config.yaml")


def test_cuda_is_absent(
    data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("torch.cuda.is_available", lambda: False)
    line = command_line(data, tmp_path / "out", "--device", "cuda")
    refused(line, tmp_path / "out", capsys, "--device cuda", "--device cpu")


def test_without_opengl(data: Path, tmp_path: Path, finished: Path) -> None:
    result = render_train(command_line(data, tmp_path / "out"), INSHADER_NO_GL="1")
    assert result.returncode == 0, result.stderr
    results = json.loads((tmp_path / "out" / "results.json").read_text())
    assert results["fps"] is None and results["ms"] is None and results["gl"] is None
    told = [line for line in result.stdout.splitlines() if "numpy renderer" in line]
    assert len(told) == 1 and "libegl1" in told[0]
    with_gl = json.loads((finished / "results.json").read_text())
    # The same training, drawn by numpy and by the shader: pictures alike to far better than this.
    assert results["psnr"]["baked"] == pytest.approx(with_gl["psnr"]["baked"], abs=0.01)


def test_ctrl_c_and_resume(data: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    line = [part.replace("train.steps=40", "train.steps=600") for part in command_line(data, out)]
    command = [sys.executable, "-c", "import sys; from training.cli import main; sys.exit(main())", *line]
    process = subprocess.Popen(command, stderr=subprocess.PIPE, stdout=subprocess.DEVNULL, text=True)
    deadline = time.monotonic() + 120
    while not ((out / "log.jsonl").exists() and (out / "log.jsonl").read_text()):
        assert process.poll() is None and time.monotonic() < deadline, process.communicate()
        time.sleep(0.02)
    process.send_signal(signal.SIGINT)
    _, said = process.communicate(timeout=60)
    assert process.returncode == 130 and "Traceback" not in said, said
    assert (out / "checkpoint.safetensors").is_file() and not (out / "asset.safetensors").exists()
    result = render_train([*line, "--resume"])
    assert result.returncode == 0, result.stderr
    assert json.loads((out / "results.json").read_text())["steps"] == 600
