"""The camera path that is being edited: key cameras, how long each way takes, and where a preview is."""

from __future__ import annotations

from itertools import accumulate

import numpy as np

from render.camera import Camera
from render.camera_path import CameraPath

GAPS = 0.1, 60.0  # seconds from key to key
GAP = 2.0
MAX_KEYS = 1000
LINE = 200  # cameras along the line that shows the path


class Path:
    """A path without any window.

    Attributes:
        keys: cameras, of any size.
        gaps: seconds from each key to the next, and from the last to the first.
        loop: whether the path goes back to the first key.
        tension: of the spline; None: straight from key to key.
        time: seconds, of the preview.
        playing: whether it moves.
        selected: the index of the key that is edited.
    """

    def __init__(self) -> None:
        self.keys: list[Camera] = []
        self.gaps: list[float] = []
        self.loop = False
        self.tension: float | None = 0.0
        self.time = 0.0
        self.playing = False
        self.selected: int | None = None

    @property
    def times(self) -> list[float]:
        """Seconds at which each key is passed, and the end again in a loop."""
        return list(accumulate(self.gaps, initial=0.0))[: len(self.keys) + (self.loop and len(self.keys) > 1)]

    @property
    def seconds(self) -> float:
        """From the first key to the end."""
        return self.times[-1] if self.keys else 0.0

    def built(self, size: tuple[int, int]) -> CameraPath | None:
        """As pictures of ``size`` pixels see it; None without keys."""
        if not self.keys:
            return None
        cameras = [camera.resized(*size) for camera in self.keys]
        times = self.times
        return CameraPath(np.array(times), cameras + cameras[: len(times) - len(cameras)], self.tension)

    # --- editing ------------------------------------------------------------------------------------------

    def add(self, camera: Camera) -> None:
        """A key after the selected one, or at the end."""
        if len(self.keys) >= MAX_KEYS:
            return
        at = len(self.keys) if self.selected is None else self.selected + 1
        self.keys.insert(at, camera)
        self.gaps.insert(at, GAP)
        self._changed(at)

    def replace(self, camera: Camera) -> None:
        """The selected key is here now."""
        if self.selected is not None:
            self.keys[self.selected] = camera
            self._changed(self.selected)

    def remove(self) -> None:
        """The selected key."""
        if self.selected is not None:
            del self.keys[self.selected], self.gaps[self.selected]
            left = len(self.keys)
            self._changed(min(self.selected, left - 1) if left else None)

    def shift(self, step: int) -> None:
        """The selected key changes places with a neighbour."""
        at = self.selected
        if at is None or not 0 <= at + step < len(self.keys):
            return
        self.keys[at], self.keys[at + step] = self.keys[at + step], self.keys[at]
        self._changed(at + step)

    def set_gap(self, seconds: float) -> None:
        """How long the way from the selected key takes."""
        if self.selected is not None:
            self.gaps[self.selected] = min(max(seconds, GAPS[0]), GAPS[1])
            self._changed(self.selected)

    def set_shape(self, loop: bool, tension: float | None) -> None:
        """Whether it comes back, and how it bends."""
        self.loop, self.tension = loop, tension
        self._changed(self.selected)

    def clear(self) -> None:
        """No keys."""
        self.keys, self.gaps = [], []
        self._changed(None)

    def take_over(self, path: CameraPath) -> None:
        """The keys of a file; one that ends where it began is a loop."""
        cameras, times = list(path.cameras), path.times
        first, last = cameras[0].world_from_camera, cameras[-1].world_from_camera
        self.loop = len(cameras) > 2 and bool(np.allclose(first, last))
        if self.loop:
            cameras.pop()
        gaps = [float(gap) for gap in np.diff(times)]
        self.keys, self.gaps = cameras[:MAX_KEYS], [*gaps, GAP][: min(len(cameras), MAX_KEYS)]
        self.tension = path.tension
        self._changed(None)

    def _changed(self, selected: int | None) -> None:
        self.selected, self.playing = selected, False
        self.time = min(self.time, self.seconds)

    # --- preview ------------------------------------------------------------------------------------------

    def play(self, playing: bool) -> None:
        """Go on from where it is, from the start where that is the end; or halt."""
        self.playing = playing and len(self.keys) > 1
        if self.playing and self.time >= self.seconds:
            self.time = 0.0

    def advance(self, seconds: float) -> None:
        """So much time has passed."""
        if self.playing:
            self.time += seconds
            if self.time >= self.seconds:
                self.playing = self.loop
                self.time = self.time % self.seconds if self.loop else self.seconds
