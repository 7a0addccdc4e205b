"""Where the scene is looked at from: all that moves the camera, without any window."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from render.asset import BakedAsset
from render.camera import Camera
from viewer.fly import Fly
from viewer.glide import Glide
from viewer.orbit import Orbit, Vector

UPS: Mapping[str, tuple[float, float, float]] = {
    "+x": (1, 0, 0),
    "-x": (-1, 0, 0),
    "+y": (0, 1, 0),
    "-y": (0, -1, 0),
    "+z": (0, 0, 1),
    "-z": (0, 0, -1),
}


class Viewpoint:
    """The view of an asset.

    Attributes:
        view: an orbit or a flight.
        up: one of ``UPS``, or None for the asset's own.
        held_out: the index of the held-out view that was jumped to last.
        glide: what a drag leaves behind.

    Args:
        tell: shows a line, of a topic.
        taken: is called when a hand moves the view: whatever else moves it has to end.
    """

    view: Orbit | Fly

    def __init__(
        self, asset: BakedAsset, tell: Callable[[str, str], None], taken: Callable[[], None]
    ) -> None:
        self.asset, self.tell, self.taken = asset, tell, taken
        self.glide = Glide()
        self._exact: Camera | None = None  # what ``_stood`` is, with its roll and its principal point
        self._stood: Orbit | Fly | None = None
        self.reset()

    @property
    def flat(self) -> bool:
        """Whether a picture is looked at."""
        return self.asset.driver == "image"

    @property
    def flying(self) -> bool:
        return isinstance(self.view, Fly)

    @property
    def centre(self) -> Vector:
        """(3,) of the scene box."""
        low, high = self.asset.bounds.astype(np.float64)
        centre: Vector = 0.5 * (low + high)
        return centre

    def _up(self) -> Any:
        return self.asset.up if self.up is None else UPS[self.up]

    # --- from where -------------------------------------------------------------------------------------

    def reset(self) -> None:
        """The first view, as the asset has it."""
        self.taken()
        self.up: str | None = None
        self.held_out: int | None = None
        self._stood = None
        self.glide.halt()
        self.view = Orbit.starting_at(self.asset.camera, self.asset.up, self.centre, self.flat)

    def look_from(self, camera: Camera) -> None:
        """The view of ``camera``, in the way of moving that is on; its roll is dropped."""
        self.glide.halt()
        if self.flying:
            self.view = Fly.starting_at(camera, self._up())
        else:
            self.view = Orbit.starting_at(camera, self._up(), self.centre, self.flat)

    def stand_at(self, camera: Camera) -> None:
        """The view of ``camera``; its roll and its principal point are kept until the view is moved."""
        self.held_out = None
        self.look_from(camera)
        self._exact, self._stood = camera, self.view

    def jump(self, step: int) -> None:
        """To the held-out view that many further on."""
        cameras = self.asset.held_out
        if not cameras:
            self.tell("this asset holds no held-out views", "held-out view")
            return
        first = 0 if step > 0 else -1
        self.stand((first if self.held_out is None else self.held_out + step) % len(cameras))

    def stand(self, index: int) -> None:
        """At a held-out view."""
        self.taken()
        cameras = self.asset.held_out
        self.stand_at(cameras[index])
        self.held_out = index
        self.tell(f"held-out view {index + 1} of {len(cameras)}", "held-out view")

    def leave(self) -> None:
        """The held-out views are others now."""
        self.held_out = self._stood = None

    @property
    def standing(self) -> int | None:
        """The index of the held-out view that the camera is exactly at."""
        return self.held_out if self.view is self._stood else None

    @property
    def reach(self) -> tuple[float, float]:
        """Distances from the camera between which the scene lies: 1 is the half-diagonal of its box."""
        away = float(np.linalg.norm(self.view.camera(1, 1).position - self.centre))
        return max(away - 1.0, 0.0), away + 1.0

    def camera(self, size: tuple[int, int]) -> Camera:
        """What is looked through, in a picture of ``size`` pixels."""
        if self.view is self._stood and self._exact is not None:
            return self._exact.resized(*size)
        return self.view.camera(*size)

    # --- how --------------------------------------------------------------------------------------------

    def set_flying(self, flying: bool) -> None:
        """Fly or turn about the scene, from the view there is; a picture is only turned to and fro."""
        if flying and self.flat:
            self.tell("a picture is flat: there is nothing to fly through", "")
        elif flying != self.flying:
            here = self.view.camera(256, 256)
            self.glide.halt()
            if flying:
                self.view = Fly.starting_at(here, self._up())
            else:
                self.view = Orbit.starting_at(here, self._up(), self.centre, self.flat)

    def set_up(self, up: str | None) -> None:
        """Another axis that points up, from the view there is."""
        self.up = up
        self.look_from(self.view.camera(256, 256))

    def set_fov(self, fov_y: float) -> None:
        """Another vertical field of view, in radians."""
        self.taken()
        self.view = self.view.with_fov(fov_y)

    def drag(self, right: float, down: float, pan: bool, seconds: float = 0.0) -> None:
        """The pointer went by these fractions of the window's height, within the last ``seconds``."""
        self.taken()
        self.glide.dragged(right, down, pan, time.monotonic(), seconds)
        self._follow(right, down, pan)

    def let_go(self, inertia: bool) -> None:
        """The drag is over, or goes on by ``inertia``."""
        if inertia:
            self.glide.let_go(time.monotonic())
        else:
            self.glide.halt()

    def coast(self, seconds: float) -> None:
        """What inertia does within that time."""
        if self.glide:
            right, down = self.glide.step(seconds)
            self._follow(right, down, self.glide.pan)

    def _follow(self, right: float, down: float, pan: bool) -> None:
        view = self.view
        if isinstance(view, Fly):
            self.view = view.looked(right, down)
        else:
            self.view = view.panned(right, down) if pan else view.turned(right, down)

    def zoom(self, steps: float) -> None:
        """Nearer to what is turned about."""
        if isinstance(self.view, Orbit):
            self.taken()
            self.view = self.view.zoomed(steps)

    def fly(self, direction: Sequence[float], speed: float, seconds: float) -> None:
        """Move along ``direction`` (ahead, right, up); the first time, this takes off."""
        if not any(direction) or self.flat:
            return
        self.taken()
        if not self.flying:
            self.set_flying(True)
            self.tell("flying: F goes back to turning", "")
        if isinstance(self.view, Fly):
            self.glide.halt()
            self.view = self.view.moved(direction, speed, seconds)
