"""An asset that needs no training, a ball with coloured patches, and a window that is only a framebuffer."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import moderngl
import numpy as np
import pytest

from render.asset import BakedAsset, BakedGrid, BakedNetwork, read_asset, write_asset
from render.camera import look_at
from render.grid import GridSpec, entry_index
from render.lattice import BOUNDED
from render.network import Linear, NetworkSpec, Slot
from viewer import window
from viewer.settings import Settings


@pytest.fixture(scope="session")
def tiny_asset(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The file of it."""
    n = 12
    grid = GridSpec(dimension=3, levels=1, features=4, base_resolution=n, growth=1.0, log2_table_size=11)
    (level,) = grid.level_list
    corners = np.stack(np.meshgrid(*[np.arange(n)] * 3, indexing="ij"), -1)
    radius = np.linalg.norm((corners - 0.5) / level.scale - 0.5, axis=-1)
    table = np.zeros((grid.entries, 4), np.float32)
    values = np.random.default_rng(1).uniform(-6, 6, (n, n, n, 4))
    values[..., 0] = 60 * (0.4 - radius)  # log density
    table[entry_index(level, corners)] = values

    decoder = NetworkSpec((Slot("features", 4),), (Linear(4, bias=False),))
    view = NetworkSpec((Slot("d", 3, "spherical_harmonics", 0),), (Linear(12, bias=False),))
    rows = np.eye(3, 4, 1).reshape(1, 12, 1) / 0.28209479  # each channel is one of the activations
    half = 1 / np.sqrt(3)
    asset = BakedAsset(
        family="gaussian_rbf",
        driver="march",
        bounds=np.float32([[-half] * 3, [half] * 3]),
        networks={
            "decoder": BakedNetwork(decoder, {"0.weight": np.eye(4, dtype=np.float32)[None]}),
            "view": BakedNetwork(view, {"0.weight": rows.astype(np.float32)}),
        },
        grids={"features": BakedGrid(grid, table)},
        volumes={"occupancy": radius < 0.7},
        constants={"step_size": 0.02, "stop": 0.005, "max_log_density": 6.0, "deferred": 0, **BOUNDED},
        background=np.ones(3, np.float32),
        up=np.float32([0, 0, 1]),
        world_from_source=np.eye(4),
        camera=look_at((1.5, 1.0, 0.8), (0, 0, 0), (0, 0, 1), 320, 240, 0.8),
    )
    path = tmp_path_factory.mktemp("asset") / "asset.safetensors"
    write_asset(path, asset)
    return path


class NoWindow:
    """Stands for the module glfw: its constants, and a window of a fixed size that nobody sees."""

    def __init__(self, size: tuple[int, int], scale: float = 1.0) -> None:
        self.real = pytest.importorskip("glfw")
        self.size, self.scale = size, scale
        self.closing = False
        self.title = ""

    def __getattr__(self, name: str) -> Any:
        return getattr(self.real, name) if name.isupper() else lambda *arguments: None

    def get_framebuffer_size(self, window: Any) -> tuple[int, int]:
        return self.size

    def get_window_size(self, window: Any) -> tuple[int, int]:
        return self.size

    def get_window_content_scale(self, window: Any) -> tuple[float, float]:
        return self.scale, self.scale

    def get_cursor_pos(self, window: Any) -> tuple[float, float]:
        return 0.0, 0.0

    def set_window_title(self, window: Any, title: str) -> None:
        self.title = title

    def set_window_should_close(self, window: Any, value: bool) -> None:
        self.closing = value


class Driven:
    """A viewer whose events come from the test, and what it draws."""

    def __init__(self, viewer: window.Viewer, target: moderngl.Framebuffer, glfw: NoWindow) -> None:
        self.viewer, self.target, self.glfw = viewer, target, glfw
        self.session = viewer.session

    def frames(self, count: int = 4) -> np.ndarray:
        """Draw some, as the loop does; (h, w, 3) of the last."""
        for _ in range(count):
            self.session.work()
            self.viewer.draw(self.glfw.size, 0.1)
        data = self.target.read(components=3, alignment=1)
        return np.frombuffer(data, np.uint8).reshape(*self.glfw.size[::-1], 3)[::-1].astype(int)

    def press(self, name: str) -> None:
        """A key goes down and up."""
        key = getattr(self.glfw, f"KEY_{name}")
        for action in (self.glfw.PRESS, self.glfw.RELEASE):
            self.viewer.on_key(None, key, 0, action, 0)

    def drag(self, start: tuple[float, float], end: tuple[float, float], button: int = 0) -> None:
        """With a mouse button held; a click where both are the same."""
        self.viewer.on_pointer(None, *start)
        self.viewer.on_button(None, button, self.glfw.PRESS, 0)
        if start != end:
            self.viewer.on_pointer(None, *end)
        self.viewer.on_button(None, button, self.glfw.RELEASE, 0)


@pytest.fixture(params=[1.0])
def driven(
    ctx: moderngl.Context,
    tiny_asset: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    request: pytest.FixtureRequest,
) -> Iterator[Driven]:
    """A viewer of the ball in 640 x 480 pixels; its parameter is the scale of the desktop."""
    pytest.importorskip("imgui_bundle")
    glfw = NoWindow((640, 480), request.param)
    target = ctx.simple_framebuffer(glfw.size)
    monkeypatch.setattr(ctx, "_screen", target)
    monkeypatch.setattr(window, "require", lambda module, extra: glfw)
    monkeypatch.setattr(window, "current_context", lambda: ctx)
    monkeypatch.chdir(tmp_path)
    _ = ctx.error  # reading it clears what an earlier test of the run left behind
    viewer = window.Viewer(None, [("ball", read_asset(tiny_asset))], Settings(auto=False))
    yield Driven(viewer, target, glfw)
    viewer.close()
    assert ctx.error == "GL_NO_ERROR"
    target.release()
