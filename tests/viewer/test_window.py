"""The window itself, on a virtual display: what xdotool does must show in the picture."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import imageio.v3 as iio
import moderngl
import numpy as np
import pytest

from render.asset import BakedAsset, read_asset, write_asset
from render.renderer import Renderer
from viewer.cli import main
from viewer.orbit import Orbit

VIEW = [sys.executable, "-c", "import sys; from viewer.cli import main; sys.exit(main())"]
ROOT = Path(__file__).parents[2]
PATIENCE = 60  # seconds for anything to happen


class Display:
    """A virtual screen: its environment, and its picture as it is now."""

    def __init__(self, number: str, folder: Path) -> None:
        kept = {key: value for key, value in os.environ.items() if key != "WAYLAND_DISPLAY"}
        self.settings = folder / "config" / "inshader" / "viewer.json"
        self.environment = kept | {
            "DISPLAY": f":{number}",
            "LIBGL_ALWAYS_SOFTWARE": "1",
            "XDG_CONFIG_HOME": str(self.settings.parents[1]),
        }
        self.file = folder / "Xvfb_screen0"

    def picture(self) -> np.ndarray:
        """(h, w, 3) int32. The file is in the format of xwd: a big-endian header, a palette, rows of BGRX."""
        data = self.file.read_bytes()
        header = np.frombuffer(data, ">u4", 25)
        start, w, h, row, colours = header[0] + 12 * header[19], header[4], header[5], header[12], header[19]
        assert header[11] == 32 and colours < 1 << 16
        rows = np.frombuffer(data, np.uint8, row * h, start).reshape(h, row)[:, : 4 * w]
        return rows.reshape(h, w, 4)[..., 2::-1].astype(np.int32)

    def keep(self, settings: str) -> None:
        """Leave settings there, as another run would."""
        self.settings.parent.mkdir(parents=True, exist_ok=True)
        self.settings.write_text(settings)

    def do(self, *arguments: str | int) -> str:
        """Run xdotool."""
        command = ["xdotool", *map(str, arguments)]
        done = subprocess.run(command, env=self.environment, capture_output=True, text=True, timeout=PATIENCE)
        assert done.returncode == 0, done.stderr
        return done.stdout.strip()

    def wait(self, told: str, condition: Callable[[np.ndarray], object], settled: bool = True) -> np.ndarray:
        """The first picture that fulfils ``condition`` and, where it is to settle, then stays as it is."""
        deadline = time.monotonic() + PATIENCE
        before = self.picture()
        while time.monotonic() < deadline:
            time.sleep(0.3)
            now = self.picture()
            if condition(now) and (not settled or differing(now, before) == 0):
                return now
            before = now
        raise AssertionError(f"not seen within {PATIENCE} s: {told}")


def differing(a: np.ndarray, b: np.ndarray) -> float:
    """Share of the pixels below the overlay that differ visibly."""
    return float((np.abs(a - b)[100:].max(-1) > 8).mean())


@pytest.fixture
def display(tmp_path: Path) -> Iterator[Display]:
    if os.environ.get("INSHADER_NO_GL") == "1":
        pytest.skip("INSHADER_NO_GL=1")
    if not (shutil.which("Xvfb") and shutil.which("xdotool")):
        pytest.skip("Xvfb and xdotool are not installed")
    read, write = os.pipe()
    command = ["Xvfb", "-displayfd", str(write), "-screen", "0", "640x480x24", "-fbdir", str(tmp_path)]
    server = subprocess.Popen(command, pass_fds=[write], stderr=subprocess.DEVNULL)
    os.close(write)
    with os.fdopen(read) as numbers:
        number = numbers.readline().strip()  # comes when the server is ready
    assert number, "Xvfb did not start"
    yield Display(number, tmp_path)
    server.terminate()
    server.wait()


def headless(ctx: moderngl.Context, asset: BakedAsset, view: Orbit, size: tuple[int, int]) -> np.ndarray:
    """(h, w, 3): what the renderer draws of a view without any window."""
    with Renderer(ctx, asset) as renderer:
        picture = renderer.draw(view.camera(*size)).images["colour"]
    return np.rint(np.clip(picture, 0, 1) * 255).astype(np.int32)


def test_the_window_answers(display: Display, tiny_asset: Path, ctx: moderngl.Context) -> None:
    display.keep('{"panel": false}')
    command = [*VIEW, str(tiny_asset), "--size", "320x300"]
    process = subprocess.Popen(command, env=display.environment, stderr=subprocess.PIPE, text=True)
    try:
        window = display.do("search", "--sync", "--onlyvisible", "--name", "render-view")
        first = display.wait("a picture", lambda now: now[100:280, 20:300].mean() > 100)
        display.do("windowfocus", window)
        display.do("mousemove", "--window", window, 100, 200, "mousedown", 1)
        display.do("mousemove", "--window", window, 160, 200, "mouseup", 1)
        asset = read_asset(tiny_asset)
        view = Orbit.starting_at(asset.camera, asset.up, asset.bounds.mean(0))
        before, after = (
            headless(ctx, asset, one, (320, 300))[100:] for one in (view, view.turned(60 / 300, 0))
        )
        assert np.abs(first[100:300, :320] - before).max() <= 1
        turned = display.wait(
            "a view turned as the camera says", lambda now: np.abs(now[100:300, :320] - after).max() <= 1
        )
        display.do("click", 4, "click", 4, "click", 4)
        zoomed = display.wait("a nearer view", lambda now: differing(now, turned) > 0.02)
        display.do("key", "2")
        depth = display.wait("the depth", lambda now: differing(now, zoomed) > 0.02)
        display.do("key", "3")
        display.wait(
            "the normals", lambda now: differing(now, depth) > 0.02 and now[100:280, 20:300].std() > 20
        )
        display.do("key", "1", "key", "r")
        display.wait("the first view again", lambda now: differing(now, first) < 0.001)
        display.do("windowsize", "--sync", window, 640, 480)
        display.wait("a larger picture", lambda now: now[400:, 400:].std() + now[400:, 400:].mean() > 5)
        display.do("key", "Escape")
        assert process.wait(PATIENCE) == 0
    finally:
        process.kill()
        _, told = process.communicate()
    assert told == ""


def test_panel_flight_full_screen_and_screenshot(
    display: Display, tiny_asset: Path, tmp_path: Path, ctx: moderngl.Context
) -> None:
    run = tmp_path / "run"
    run.mkdir()
    shutil.copy(tiny_asset, run)
    command = [*VIEW, str(run), "--size", "480x400"]
    environment = display.environment | {"PYTHONPATH": str(ROOT)}
    process = subprocess.Popen(command, env=environment, cwd=tmp_path, stderr=subprocess.PIPE, text=True)
    try:
        window = display.do("search", "--sync", "--onlyvisible", "--name", "render-view")
        covered = display.wait("a picture", lambda now: now[100:380, 340:470].mean() > 100)
        display.do("windowfocus", window)
        display.do("key", "Tab")
        first = display.wait("no panel", lambda now: np.abs(now - covered)[100:380, 20:300].mean() > 20)
        assert differing(covered[:, 330:], first[:, 330:]) == 0
        display.do("keydown", "w")
        display.wait("a nearer view", lambda now: differing(now[:360], first[:360]) > 0.02, settled=False)
        display.do("keyup", "w")
        display.do("key", "r")
        display.wait("the first view again", lambda now: differing(now[:340], first[:340]) == 0)
        display.do("key", "question")
        display.wait("the help", lambda now: differing(now[:340], first[:340]) > 0.2)
        display.do("key", "question")
        display.wait("no help", lambda now: differing(now[:340], first[:340]) == 0)
        display.do("key", "p")
        shot = tmp_path / "run-colour-001.png"
        display.wait("a screenshot", lambda now: shot.exists())
        picture = iio.imread(shot).astype(np.int32)
        assert picture.shape == (400, 480, 3)
        assert np.abs(picture - first[:400, :480])[60:340].max() <= 1, "it is what the window shows"
        asset = read_asset(tiny_asset)
        view = Orbit.starting_at(asset.camera, asset.up, asset.bounds.mean(0))
        assert np.abs(picture - headless(ctx, asset, view, (480, 400))).max() <= 1, (
            "and what any renderer draws"
        )
        display.do("key", "F11")
        display.wait("all of the screen", lambda now: now[440:, 500:].min() > 200)
        display.do("key", "F11")
        display.wait("a window again", lambda now: now[440:, 500:].max() == 0)
        write_asset(run / tiny_asset.name, replace(read_asset(tiny_asset), background=np.float32([1, 0, 0])))
        display.wait("the replaced asset", lambda now: (now[60, 470] == (255, 0, 0)).all())
        display.do("key", "Escape")
        assert process.wait(PATIENCE) == 0
    finally:
        process.kill()
        _, told = process.communicate()
    assert told == ""
    assert json.loads(display.settings.read_text())["panel"] is False, "it is kept for the next run"


def test_a_training_is_followed_from_its_start(display: Display, tiny_asset: Path, tmp_path: Path) -> None:
    """A run without an asset is waited for; a corrupt one leaves what is seen."""
    run = tmp_path / "run"
    run.mkdir()
    (run / "config.yaml").write_text("name: run\n")
    lines = [{"stage": "radiance", "step": k, "seconds": k / 10, "psnr": 20 + k / 10} for k in range(1, 40)]
    (run / "log.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    display.keep('{"panel": false}')
    command = [*VIEW, str(run), "--size", "480x400"]
    process = subprocess.Popen(command, env=display.environment, stderr=subprocess.PIPE, text=True)
    try:
        window = display.do("search", "--sync", "--onlyvisible", "--name", "render-view")
        waiting = display.wait("the chart", lambda now: now[150:250, 100:380].std() > 10)
        assert waiting[20:60, 420:470].max() < 40, "beside it there is nothing yet"
        shutil.copy(tiny_asset, run / "new")
        os.replace(run / "new", run / tiny_asset.name)
        first = display.wait("a picture", lambda now: now[100:380, 340:470].mean() > 100)
        display.do("windowfocus", window)
        display.do("key", "x")
        (run / tiny_asset.name).write_bytes(b"cut")
        told = display.wait("an error", lambda now: differing(now[:, 340:470], first[:, 340:470]) > 0.002)
        np.testing.assert_array_equal(told[100:340, :480], first[100:340, :480], "the picture stays")
        display.do("key", "Escape")
        assert process.wait(PATIENCE) == 0
    finally:
        process.kill()
        _, told_line = process.communicate()
    assert told_line == ""


MEMORY = 120.0, 40.0  # seconds of the session, and how many of them may still fill caches


def resident(pid: int) -> float:
    """Megabytes that a process holds."""
    status = Path(f"/proc/{pid}/status").read_text()
    return int(status.split("VmRSS:")[1].split()[0]) / 1024


@pytest.mark.slow
def test_a_long_session_needs_no_more_memory(display: Display, tiny_asset: Path, tmp_path: Path) -> None:
    """Two minutes that stand for thirty: drags, modes, split, sizes, paths, screenshots, a replaced asset."""
    if not Path("/proc/self/status").exists():
        pytest.skip("no /proc")
    run = tmp_path / "run"
    run.mkdir()
    shutil.copy(tiny_asset, run)
    command = [*VIEW, str(run), "--size", "480x400"]
    environment = display.environment | {"PYTHONPATH": str(ROOT)}
    process = subprocess.Popen(command, env=environment, cwd=tmp_path, stderr=subprocess.PIPE, text=True)
    held: list[tuple[float, float]] = []
    try:
        window = display.do("search", "--sync", "--onlyvisible", "--name", "render-view")
        display.wait("a picture", lambda now: now[100:380, 340:470].mean() > 100)
        display.do("windowfocus", window)
        start, number = time.monotonic(), 0
        while time.monotonic() - start < MEMORY[0]:
            number += 1
            display.do("mousemove", "--window", window, 400, 200, "mousedown", 1)
            display.do("mousemove", "--window", window, 400 + 7 * (number % 9), 220, "mouseup", 1)
            display.do("key", "1234"[number % 4], "key", "v", "key", "k", "key", "x", "click", 4 + number % 2)
            if number % 5 == 0:
                display.do("windowsize", window, 480 + 10 * (number % 7), 400)
                display.do("key", "p", "key", "h", "key", "h", "key", "Tab", "key", "space")
            if number % 10 == 0:
                write_asset(run / tiny_asset.name, replace(read_asset(tiny_asset), results={"n": number}))
            held.append((time.monotonic() - start, resident(process.pid)))
            assert process.poll() is None
        display.do("key", "1")
        process.terminate()
    finally:
        process.kill()
        _, told = process.communicate()
    assert told == ""
    late = [megabytes for seconds, megabytes in held if seconds > MEMORY[1]]
    half = len(late) // 2
    assert half > 5, "the session has answered"
    growth = float(np.median(late[half:]) - np.median(late[:half]))
    print(
        f"{np.median(late[:half]):.0f} MB, {growth:+.1f} MB in {MEMORY[0] - MEMORY[1]:.0f} s, {number} rounds"
    )
    assert growth < 8, "megabytes between the halves: noise of allocators is below 3"


def test_damaged_settings_are_told_and_left_out(display: Display, tiny_asset: Path) -> None:
    display.keep('{"panel": ')
    command = [*VIEW, str(tiny_asset), "--size", "480x400"]
    process = subprocess.Popen(command, env=display.environment, stderr=subprocess.PIPE, text=True)
    try:
        window = display.do("search", "--sync", "--onlyvisible", "--name", "render-view")
        display.wait("a picture", lambda now: now[100:340, 340:470].mean() > 100)
        display.do("windowfocus", window)
        display.do("key", "Escape")
        assert process.wait(PATIENCE) == 0
    finally:
        process.kill()
        _, told = process.communicate()
    assert told.startswith(f"render-view: {display.settings}: damaged") and told.count("\n") == 1


def test_without_a_display(tiny_asset: Path) -> None:
    environment = {k: v for k, v in os.environ.items() if k not in ("DISPLAY", "WAYLAND_DISPLAY")}
    done = subprocess.run(
        [*VIEW, str(tiny_asset)], env=environment, capture_output=True, text=True, timeout=PATIENCE
    )
    assert done.returncode == 2
    assert done.stderr.startswith("render-view: no window can be opened")
    assert "render-export" in done.stderr
    assert done.stderr.count("\n") == 1


@pytest.mark.parametrize("count", ["0", "-1", "many"])
def test_a_number_of_frames_that_is_none(count: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        main(["nowhere", f"--frames={count}"])
    told = capsys.readouterr().err
    assert ended.value.code == 2 and told.count("\n") == 1 and "number of frames" in told


def test_an_asset_that_is_none(tmp_path: Path) -> None:
    done = subprocess.run([*VIEW, str(tmp_path)], capture_output=True, text=True, timeout=PATIENCE)
    assert done.returncode == 2
    assert done.stderr.startswith(f"render-view: {tmp_path}: ")
    assert done.stderr.count("\n") == 1
