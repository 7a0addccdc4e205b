"""What the viewer keeps between runs: one small JSON file in the user's folder of settings."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

from render.files import atomic_write
from viewer.fly import SPEEDS
from viewer.resolution import LOWEST

LARGEST = 16384  # pixels along a side of what is written
# What each number may be; what lies beyond counts as damage.
RANGES: Mapping[str, tuple[float, float]] = {
    "scale": (LOWEST, 1.0),
    "target_fps": (5.0, 144.0),
    "speed": SPEEDS,
    "multiple": (1, 4),
    "width": (0, LARGEST),
    "height": (0, LARGEST),
}
MAX_BYTES = 1 << 16


@dataclass(frozen=True)
class Settings:
    """What a user chose.

    Attributes:
        panel: whether the side panel is shown.
        auto: whether the resolution falls while the view moves, to hold ``target_fps``.
        scale: of the resolution where it is not automatic.
        speed: of flying, world units a second.
        inertia: whether a drag that is let go of in motion goes on for a while.
        width, height: of screenshots and films, pixels; 0: those of the window, times ``multiple``.
        exr: whether screenshots are .exr files, of numbers.
        continuous: whether frames are drawn all the time, not only when something changes.
    """

    panel: bool = True
    auto: bool = True
    scale: float = 1.0
    target_fps: float = 30.0
    speed: float = 0.8
    inertia: bool = False
    multiple: int = 1
    width: int = 0
    height: int = 0
    exr: bool = False
    continuous: bool = False

    def written(self, window: tuple[int, int]) -> tuple[int, int]:
        """Size of what is written, in pixels, beside a window of that size."""
        if self.width and self.height:
            return self.width, self.height
        return window[0] * self.multiple, window[1] * self.multiple


def settings_path() -> Path:
    """Where the file lies on this system."""
    if sys.platform == "win32":
        base = Path(os.environ.get("APPDATA") or Path.home() / "AppData" / "Roaming")
    elif sys.platform == "darwin":
        base = Path.home() / "Library" / "Application Support"
    else:
        configured = Path(os.environ.get("XDG_CONFIG_HOME", ""))
        base = configured if configured.is_absolute() else Path.home() / ".config"  # as its standard says
    return base / "inshader" / "viewer.json"


def read_settings(path: Path) -> tuple[Settings, str | None]:
    """The settings of a file, and one line about what is wrong with it; whatever is wrong, defaults serve."""
    try:
        if path.stat().st_size > MAX_BYTES:
            raise ValueError(f"it is larger than {MAX_BYTES} bytes")
        data = json.loads(path.read_text())
        return _checked(data), None
    except FileNotFoundError:
        return Settings(), None
    except OSError as error:
        return Settings(), f"{path}: cannot be read ({error.strerror}), so defaults are used"
    except (ValueError, OverflowError, RecursionError) as error:
        return Settings(), " ".join(f"{path}: damaged ({error}), so defaults are used".split())


def write_settings(path: Path, settings: Settings) -> None:
    """Keep ``settings`` in ``path``, whole or not at all.

    Raises:
        OSError: the folder cannot be made or written.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    atomic_write(path, (json.dumps(asdict(settings), indent=1) + "\n").encode())


def _checked(data: Any) -> Settings:
    """Settings from JSON; keys that another version wrote are left out."""
    if not isinstance(data, dict):
        raise ValueError(f"it holds a {type(data).__name__}, not an object")
    known: dict[str, Any] = {}
    for field in fields(Settings):
        if field.name not in data:
            continue
        value, kind = data[field.name], type(field.default)
        if kind is float and type(value) is int:
            value = float(value)
        fits = type(value) is kind  # a bool is no number here
        if not fits:
            raise ValueError(f"{field.name} is {value!r:.40}, not a {kind.__name__}")
        low, high = RANGES.get(field.name, (0, 1))
        if not low <= value <= high:
            raise ValueError(f"{field.name} is {value!r:.40}, not {low:g} to {high:g}")
        known[field.name] = value
    return Settings(**known)
