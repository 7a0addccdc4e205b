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

from render import reference
from render.asset import BakedAsset, read_asset, write_asset
from render.camera import look_at
from render.export import main as export_main
from render.metrics import psnr, ssim
from scenes import load_dataset, load_scene
from scenes.dataset import composite
from training import preview
from training import run as training_run
from training.checkpoint import read_checkpoint
from training.cli import main
from training.families import find_task

ROOT = Path(__file__).parents[1]
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


@pytest.fixture(autouse=True)
def no_previews(monkeypatch: pytest.MonkeyPatch) -> None:
    """However slow the machine is, what is in a folder is there for its own reason."""
    monkeypatch.setattr(preview, "FIRST", float("inf"))


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


COMMAND = [sys.executable, "-c", "import sys; from training.cli import main; sys.exit(main())"]


def render_train(arguments: list[str]) -> subprocess.CompletedProcess[str]:
    """A process of its own: it makes an OpenGL context of its own too."""
    return subprocess.run([*COMMAND, *arguments], capture_output=True, text=True)


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The run folder of a short training; its data lie in ``ball`` beside it."""
    folder = tmp_path_factory.mktemp("finished")
    result = render_train(command_line(ball_folder(folder / "ball"), folder / "run"))
    assert result.returncode == 0, result.stderr
    assert "PSNR, baked shader" in result.stdout and "Warning" not in result.stderr
    return folder / "run"


@pytest.fixture
def no_gl(monkeypatch: pytest.MonkeyPatch) -> None:
    """For runs within this process, whose OpenGL context belongs to other tests."""
    monkeypatch.setenv("INSHADER_NO_GL", "1")


def test_run_folder(finished: Path) -> None:
    assert {path.name for path in finished.iterdir()} == FILES
    lines = [json.loads(line) for line in (finished / "log.jsonl").read_text().splitlines()]
    assert all({"stage", "step", "seconds", "psnr"} <= set(line) for line in lines)
    h, w, _ = iio.imread(finished / "comparison.png").shape
    assert (w, h) == (4 * 24, 2 * 24)  # truth, field, asset, error; both views there are

    with iio.imopen(finished / "comparison.png", "r", plugin="pillow") as file:
        picture = file.read() / 255
    views = load_dataset(load_scene(finished / "config.yaml")).test
    truth = composite(views.images, np.ones(3, np.float32))
    for row in range(2):  # rounded to 8 bits once
        assert np.abs(picture[24 * row : 24 * row + 24, :24] - truth[row]).max() < 0.51 / 255
        field, asset, error = (picture[24 * row : 24 * row + 24, 24 * k : 24 * k + 24] for k in (1, 2, 3))
        assert np.abs(field - asset).max() < 0.02
        # Both are rounded, and the error is magnified: 5 / 255 of it at most
        assert np.abs(np.clip(5 * np.abs(asset - truth[row]), 0, 1) - error).max() < 6 / 255


# What results.json holds (design, section 3); ``nullable`` is what a machine without OpenGL leaves out.
NULLABLE = {"fps", "ms", "timer", "gl", "evaluations_per_pixel"}
KINDS: dict[str, Any] = {
    "format": int,
    "scene": str,
    "family": str,
    "device": str,
    "kernels": str,
    "seconds": dict.fromkeys(("data", "compile", "train", "bake", "score"), float),
    "steps": int,
    "views": int,
    "resolution": [int, int],
    "samples_per_pixel": int,
    "background": str,
    "masked": bool,
    "precision": str,
    "processes": int,
    "held_out": [str, str],
    "asset_bytes": int,
    "psnr": {"baked": float, "field": float, "foreground": float, "stages": dict, "per_view": [float, float]},
    "ssim": {"baked": float},
    "parity_db": float,
    "fps": {"median": float},
    "ms": {"median": float, "p95": float},
    "timer": str,
    "gl": {"renderer": str, "version": str},
    "evaluations_per_pixel": float,
    "family_metrics": dict,
}


def check_kinds(found: Any, wanted: Any) -> None:
    if isinstance(wanted, dict):
        assert set(found) == set(wanted)
        for key, kind in wanted.items():
            check_kinds(found[key], kind)
    elif isinstance(wanted, list):
        assert len(found) == len(wanted)
        for value, kind in zip(found, wanted, strict=True):
            check_kinds(value, kind)
    else:
        assert type(found) is wanted


def read_results(folder: Path) -> dict[str, Any]:
    """``results.json``, after a check of its keys and types; NaN and infinity are not JSON."""

    def refuse(name: str) -> float:
        raise AssertionError(f"{name} in results.json")

    results: dict[str, Any] = json.loads((folder / "results.json").read_text(), parse_constant=refuse)
    absent = {key for key in NULLABLE if results[key] is None}
    assert absent in (set(), NULLABLE)
    check_kinds(results, {key: type(None) if key in absent else kind for key, kind in KINDS.items()})
    return results


def test_results(finished: Path) -> None:
    results = read_results(finished)
    facts: dict[str, Any] = {
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
    assert {key: results[key] for key in facts} == facts
    assert all(value >= 0 for value in results["seconds"].values()) and results["seconds"]["train"] > 0
    psnr = results["psnr"]
    assert psnr["stages"] == {}
    assert psnr["baked"] == pytest.approx(np.mean(psnr["per_view"]), abs=1e-3)
    assert psnr["baked"] == pytest.approx(psnr["field"], abs=0.1)
    assert psnr["foreground"] < psnr["baked"] and 0 < results["ssim"]["baked"] <= 1
    assert results["parity_db"] >= 42
    if os.environ.get("INSHADER_NO_GL") != "1":
        assert results["fps"]["median"] == pytest.approx(1e3 / results["ms"]["median"], rel=1e-3)
        assert results["ms"]["median"] <= results["ms"]["p95"]
        assert results["timer"] in ("wall", "gl") and results["evaluations_per_pixel"] > 0
    assert read_asset(finished / "asset.safetensors").results == results


def check_scores(folder: Path, tolerance: float) -> None:
    """``results.json`` against scores taken anew by numpy, from the asset's file and the data. In dB."""
    results, asset = read_results(folder), read_asset(folder / "asset.safetensors")
    views = load_dataset(load_scene(folder / "config.yaml")).test
    truth = composite(views.images, asset.background)
    covered = views.images[..., 3] > 0
    drawn = [np.clip(reference.draw(asset, camera)["colour"], 0, 1) for camera in asset.held_out]
    per_view = [psnr(a, b) for a, b in zip(drawn, truth, strict=True)]
    foreground = [psnr(a, b, mask=mask) for a, b, mask in zip(drawn, truth, covered, strict=True)]
    assert per_view == pytest.approx(results["psnr"]["per_view"], abs=tolerance)
    assert np.mean(foreground) == pytest.approx(results["psnr"]["foreground"], abs=tolerance)
    alike = [ssim(a, b) for a, b in zip(drawn, truth, strict=True)]
    assert np.mean(alike) == pytest.approx(results["ssim"]["baked"], abs=tolerance)


def test_scores_are_those_of_the_asset(finished: Path) -> None:
    check_scores(finished, 0.01)  # numpy and the shader differ by 1e-4 or less where the error is some 0.1


def test_config_is_a_scene_file(finished: Path) -> None:
    """It holds every key, and is equal to the scene it came from, with its family's options."""
    again = load_scene(finished / "config.yaml")
    assert again.resolved() == read_asset(finished / "asset.safetensors").scene
    line = command_line(finished.parent / "ball", finished)
    scene = load_scene(line[0], [word for word in line[1:-2] if "=" in word])
    for key in ("name", "family", "seed", "data", "train"):
        assert getattr(again, key) == getattr(scene, key)
    assert find_task(again) == find_task(scene)
    assert again.train.steps == 40 and again.families["gaussian_rbf"]["levels"] == 4
    assert set(again.families["gaussian_rbf"]) == set(find_task(scene)[0].config.model_fields)


def test_config_repeats_the_run(finished: Path, tmp_path: Path, no_gl: None) -> None:
    """Bit for bit, in another process."""
    assert main([str(finished / "config.yaml"), "--out", str(tmp_path / "again")]) == 0
    first, again = (read_asset(f / "asset.safetensors").tensors() for f in (finished, tmp_path / "again"))
    assert set(first) == set(again)
    assert [name for name, tensor in first.items() if not np.array_equal(tensor, again[name])] == []


@pytest.mark.parametrize(
    "line",
    [
        "SCENE name=vase seed=3 --resume --device cpu",
        "--resume SCENE name=vase --device cpu seed=3",
        "name=vase SCENE --device=cpu seed=3 --resume",
        "name=vase seed=3 --resume --device cpu SCENE",
    ],
)
def test_default_folder_and_overrides_anywhere(
    line: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    seen: list[Any] = []
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(training_run, "train", lambda *call: seen.append(call) or {})
    monkeypatch.setattr("training.cli.print_results", lambda *call: None)
    (tmp_path / "a=b.yaml").write_text("name: jar\n")
    for scene in ("quickstart", "a=b.yaml"):
        assert main(line.replace("SCENE", scene).split()) == 0, capsys.readouterr().err
    for scene, folder, device, resume, *_ in seen:
        assert (scene.name, scene.seed, folder, device, resume) == ("vase", 3, Path("runs/vase"), "cpu", True)
    assert len(seen) == 2 and seen[0][0].data.format == "procedural"


def test_default_folder(data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, no_gl: None) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "vase.yaml").write_text(f"data:\n  path: {data.name}\n")
    assert main(["vase.yaml", "train.steps=2", *SMALL]) == 0
    assert {path.name for path in (tmp_path / "runs" / "vase").iterdir()} == FILES
    assert read_results(tmp_path / "runs" / "vase")["scene"] == "vase"


def test_pictures_without_alpha_in_a_box(data: Path, tmp_path: Path, no_gl: None) -> None:
    """All of the box is looked at: there is no outline to carve it by."""
    for path in data.glob("*/*.png"):
        iio.imwrite(path, iio.imread(path)[..., :3])
    assert main(command_line(data, tmp_path / "out", "train.steps=200")) == 0
    *_, last = (tmp_path / "out" / "log.jsonl").read_text().splitlines()
    assert json.loads(last)["psnr"] > 14, "what eight pictures show; they do not tell where it is"
    assert (tmp_path / "out" / "results.json").is_file()


def test_pictures_too_small_for_ssim(data: Path, tmp_path: Path, no_gl: None) -> None:
    """What does not apply is null."""
    assert main(command_line(data, tmp_path / "out", "train.steps=2", "data.max_size=8")) == 0
    results = json.loads((tmp_path / "out" / "results.json").read_text())
    assert results["ssim"] == {"baked": None} and results["psnr"]["baked"] > 0


# Mistakes --------------------------------------------------------------------------------------------------


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
    "override without a value": (keep, ["train.steps"], ["train.steps", "key=value"]),
    "two budgets": (keep, ["train.seconds=3"], ["train", "seconds", "steps"]),
    "value out of bounds": (keep, ["train.steps=0"], ["train.steps", "0"]),
    "misspelt section": (keep, ["gausian_rbf.levels=4"], ["gausian_rbf", "gaussian_rbf"]),
    "unknown device": (keep, ["--device", "cdua"], ["--device", "cdua", "cuda"]),
    "empty data": (
        lambda data: shutil.rmtree(data) or data.mkdir(),
        [],
        ["data.path", "transforms_train.json"],
    ),
    "transforms that are no JSON": (
        lambda data: (data / "transforms_train.json").write_text("{"),
        [],
        ["transforms_train.json", "JSON"],
    ),
    "all of space around an object": (
        keep,
        ["gaussian_rbf.unbounded=true"],
        ["gaussian_rbf.unbounded", "alpha"],
    ),
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
    """Status 2, one line on stderr that has all ``parts``, and nothing else anywhere."""
    before = sorted(out.iterdir()) if out.is_dir() else []
    try:
        status = main(line)
    except SystemExit as error:  # the parser's own
        status = error.code  # type: ignore[assignment]
    printed, said = capsys.readouterr()
    assert status == 2 and not printed, said
    assert said.count("\n") == 1 and all(part in said for part in parts), said
    assert said.startswith("render-train: ")
    assert (sorted(out.iterdir()) if out.is_dir() else []) == before


def test_no_such_scene(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    refused(
        ["quikstart", "--out", str(tmp_path / "out")], tmp_path / "out", capsys, "quikstart", "quickstart?"
    )


@pytest.mark.parametrize("below", ["", "run", "a/run"])
def test_out_is_a_file(below: str, data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "file"
    file.write_text("kept")
    refused(command_line(data, file / below), file / below, capsys, f"{file} is a file")
    assert file.read_text() == "kept"


def test_out_is_read_only(
    data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(os, "access", lambda *_: False)  # root may write anywhere
    out = tmp_path / "a" / "out"
    refused(command_line(data, out), out, capsys, f"--out {out}", str(tmp_path), "read-only")
    assert not (tmp_path / "a").exists()


def test_little_room_is_told_before_training(
    data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    usage = shutil._ntuple_diskusage(10**9, 10**9 - 10**6, 10**6)  # type: ignore[attr-defined]
    monkeypatch.setattr(shutil, "disk_usage", lambda _: usage)
    refused(command_line(data, tmp_path / "out"), tmp_path / "out", capsys, "0 MB are free")


@pytest.mark.parametrize("name", sorted(FILES - {"log.jsonl"}))
def test_a_disk_that_fills_up(
    name: str,
    data: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    no_gl: None,
) -> None:
    """Whichever file does not fit is named and absent, and no half of it is left."""
    write = os.fsync

    def full(descriptor: int) -> None:
        if any(path.name.startswith(f".{Path(name).stem}.") for path in out.iterdir()):
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        write(descriptor)

    monkeypatch.setattr(os, "fsync", full)
    out = tmp_path / "out"
    assert main(command_line(data, out, "train.steps=2")) == 2
    said = capsys.readouterr().err.splitlines()[-1]  # after the progress
    assert said == f"render-train: {out / name}: No space left on device"
    left = {path.name for path in out.iterdir()}
    assert name not in left and "results.json" not in left and left <= FILES


def test_cuda_is_absent(
    data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("torch.cuda.is_available", lambda: False)
    line = command_line(data, tmp_path / "out", "--device", "cuda")
    refused(line, tmp_path / "out", capsys, "--device cuda", "--device cpu")


def test_without_opengl(
    finished: Path, tmp_path: Path, no_gl: None, capsys: pytest.CaptureFixture[str]
) -> None:
    """The end of the same training, scored once more by numpy."""
    out = tmp_path / "out"
    shutil.copytree(finished, out)
    (out / "results.json").unlink()
    assert main(command_line(finished.parent / "ball", out, "--resume")) == 0
    printed, said = capsys.readouterr()
    told = [line for line in printed.splitlines() if "numpy renderer" in line]
    assert len(told) == 1 and "apt install libegl1" in told[0] and not said
    results, with_gl = read_results(out), read_results(finished)
    assert all(results[key] is None for key in NULLABLE)
    assert results["steps"] == with_gl["steps"]
    # Pictures of numpy and of the shader differ by far less than they do from the truth.
    assert results["psnr"]["per_view"] == pytest.approx(with_gl["psnr"]["per_view"], abs=0.01)
    assert results["ssim"]["baked"] == pytest.approx(with_gl["ssim"]["baked"], abs=1e-3)
    assert results["parity_db"] >= 42
    check_scores(out, 1e-4)  # the same renderer and the same rounded file: all but the last digit
    with_gl_bytes = (finished / "asset.safetensors").stat().st_size
    assert results["asset_bytes"] == pytest.approx(with_gl_bytes, abs=1000)  # but for the results in it


def test_ctrl_c_and_resume(data: Path, tmp_path: Path, no_gl: None) -> None:
    """Of a run of five seconds, stopped as soon as its log says that it goes."""
    out = tmp_path / "out"
    line = [part.replace("train.steps=40", "train.seconds=5") for part in command_line(data, out)]
    process = subprocess.Popen(
        [*COMMAND, *line], stderr=subprocess.PIPE, stdout=subprocess.DEVNULL, text=True
    )
    deadline = time.monotonic() + 120
    while not ((out / "log.jsonl").exists() and (out / "log.jsonl").read_text()):
        assert process.poll() is None and time.monotonic() < deadline, process.communicate()
        time.sleep(0.02)
    process.send_signal(signal.SIGINT)
    _, said = process.communicate(timeout=60)
    assert process.returncode == 130 and "Traceback" not in said, said
    assert said.splitlines()[-1] == "render-train: interrupted"
    left = {path.name for path in out.iterdir()} - {
        "asset.safetensors"
    }  # on a slow machine, of what there is
    assert left == {"checkpoint.safetensors", "config.yaml", "log.jsonl"}
    done = read_checkpoint(out / "checkpoint.safetensors")[1]["position"]
    assert 0 < done["total_steps"] and 0 < done["seconds"] < 5

    assert main([*line, "--resume"]) == 0
    results = read_results(out)
    assert results["steps"] > done["total_steps"]
    # Of both parts; a machine that has other things to do in one of them ends early or late.
    assert done["seconds"] < results["seconds"]["train"] < 15
    steps = [json.loads(text)["step"] for text in (out / "log.jsonl").read_text().splitlines()]
    assert steps == sorted(set(steps)) and steps[-1] == results["steps"]


def test_a_window_beside_the_training(
    data: Path, tmp_path: Path, no_gl: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A process of its own that is handed the run folder; there is an asset long before the end."""
    started: list[tuple[list[str], bool]] = []

    class Viewer:
        def __init__(self, command: list[str], stdin: int, start_new_session: bool) -> None:
            started.append((command, start_new_session))

    seen: list[str] = []

    def written(path: Path, asset: BakedAsset) -> int:
        seen.append(asset.scene["name"])
        return write_asset(path, asset)

    monkeypatch.setattr(preview, "FIRST", 0.0)
    monkeypatch.setattr(preview, "write_asset", written)
    with monkeypatch.context() as patched:
        patched.setattr(subprocess, "Popen", Viewer)
        assert main([*command_line(data, tmp_path / "out"), "--view"]) == 0
    command = [sys.executable, "-m", "viewer.cli", str(tmp_path / "out")]
    assert started == [(command, True)] and seen
    told = subprocess.run([*command[:-1], "--version"], capture_output=True, text=True, cwd=ROOT)
    assert told.returncode == 0 and told.stdout.startswith("render-view")


def test_other_settings_do_not_resume(
    finished: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "out"
    shutil.copytree(finished, out)
    line = command_line(finished.parent / "ball", out, "--resume", "gaussian_rbf.neurons=5")
    refused(line, out, capsys, str(out / "checkpoint.safetensors"), "other settings")


def test_a_mesh_becomes_a_distance_field(tmp_path: Path, no_gl: None) -> None:
    """The bundled scene ``sdf`` on a coarse ball, from the command to the exported surface."""
    import trimesh

    trimesh.creation.icosphere(2, 3.0).apply_translation([5, 0, 0]).export(tmp_path / "ball.ply")
    small = ["gaussian_rbf.levels=3", "gaussian_rbf.finest_resolution=32", "gaussian_rbf.log2_table_size=12"]
    short = ["train.steps=250", "data.test_views=1", "data.max_size=24"]
    assert (
        main(["sdf", f"data.path={tmp_path / 'ball.ply'}", *small, *short, "--out", str(tmp_path / "run")])
        == 0
    )
    results = json.loads((tmp_path / "run" / "results.json").read_text())
    assert results["family_metrics"]["iou"] > 0.95 and results["parity_db"] > 42
    assert {path.name for path in (tmp_path / "run").iterdir()} == FILES
    exported = tmp_path / "surface.ply"
    assert export_main([str(tmp_path / "run"), "--to", str(exported), "--resolution", "48"]) == 0
    radii = np.linalg.norm(trimesh.load(exported).vertices - [5, 0, 0], axis=1)
    # In the ball's own frame. So little training leaves specks elsewhere: most of the surface counts.
    assert np.median(np.abs(radii - 3)) < 0.1 and np.quantile(np.abs(radii - 3), 0.8) < 0.2


def test_a_picture_becomes_a_field(tmp_path: Path, no_gl: None) -> None:
    y, x = np.mgrid[:32, :48] / 32
    picture = np.stack([0.5 + 0.4 * np.sin(5 * x), y, 1 - y], -1)
    iio.imwrite(tmp_path / "waves.png", np.rint(255 * picture).astype(np.uint8))
    small = ["gaussian_rbf.base_resolution=4", "gaussian_rbf.finest_resolution=32", "train.steps=250"]
    assert main(["image", f"data.path={tmp_path / 'waves.png'}", *small, "--out", str(tmp_path / "run")]) == 0
    results = json.loads((tmp_path / "run" / "results.json").read_text())
    assert results["psnr"]["baked"] > 35 and results["resolution"] == [48, 32]
    assert results["family_metrics"]["parameters"] > 1000


def test_data_that_the_task_does_not_take(
    data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert (
        main(["nerf_synthetic", f"data.path={data}", "gaussian_rbf.task=sdf", "--out", str(tmp_path / "a")])
        == 2
    )
    assert "gaussian_rbf.task=sdf takes Surface, the data is PosedImages" in capsys.readouterr().err
    assert not (tmp_path / "a").exists()
