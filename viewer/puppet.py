"""A shell that the panel deforms: twisted, bent, or falling as a soft body, without any window."""

from __future__ import annotations

import math
from collections.abc import Mapping

from render.animation import MOTIONS, SHAPES, Deformation, Rig
from render.asset import BakedAsset
from render.errors import InshaderError
from render.soft_body import FRAME, SoftBody
from viewer.tasks import Tasks

KINDS = ("none", *MOTIONS)
ANGLES = -180.0, 180.0  # degrees between foot and head
MOST_FRAMES = 6  # of the soft body between two pictures; where drawing is slower than that, so is its time
AXES: Mapping[str, tuple[float, float, float] | None] = {
    "up": None,
    "x": (1, 0, 0),
    "y": (0, 1, 0),
    "z": (0, 0, 1),
}


class Puppet:
    """What is set, and the last deformation that it led to.

    Attributes:
        kind: one of ``KINDS``.
        angle, axis: of a twist or bend; degrees, and one of ``AXES``.
        playing: whether the soft body moves.
        deformation: None where nothing is deformed.

    Raises:
        InshaderError: the asset is no shell.
    """

    def __init__(self, asset: BakedAsset) -> None:
        self.rig = Rig(asset)
        self.kind, self.angle, self.axis = "none", 45.0, "up"
        self.playing = False
        self.deformation: Deformation | None = None
        self._body: SoftBody | None = None
        self._owed = 0.0  # seconds that have passed since the soft body's last frame

    def set(self, kind: str | None = None, angle: float | None = None, axis: str | None = None) -> None:
        """Deform in another way; what is left out stays.

        Raises:
            InshaderError: a cell of the cage is turned inside out; the last deformation is kept.
        """
        begins = kind is not None and kind != self.kind
        self.kind = self.kind if kind is None else kind
        self.angle = self.angle if angle is None else angle
        self.axis = self.axis if axis is None else axis
        if self.kind == "none":
            self.deformation, self.playing = None, False
        elif self.kind in SHAPES:
            self.playing = False
            shape = self.rig.shape(self.kind, math.radians(self.angle), AXES[self.axis])
            self.deformation = self.rig.deformed(shape)
        elif begins:
            self.restart()

    def restart(self) -> None:
        """The soft body where the shell is at rest, above the floor, and moving."""
        if self._body is None:
            self._body = self.rig.soft_body()
        self._body.reset()
        self._owed, self.playing = 0.0, True
        self.deformation = self.rig.deformed(self._body.vertices)

    def advance(self, seconds: float) -> None:
        """Let the soft body move on by the whole frames that have passed.

        Raises:
            InshaderError: a cell of the cage was turned inside out; it is paused as it was last.
        """
        if not self.playing or self._body is None:
            return
        self._owed = min(self._owed + seconds, MOST_FRAMES * FRAME)
        frames = int(self._owed / FRAME)
        if frames == 0:
            return
        self._owed -= frames * FRAME
        try:
            self._body.advance(frames)
            self.deformation = self.rig.deformed(self._body.vertices)
        except InshaderError:
            self.playing = False
            raise


class Puppeteer:
    """The puppet of the asset that is shown; what is wrong is told, and the last deformation stays.

    Attributes:
        puppet: None before anything was deformed.
    """

    def __init__(self, asset: BakedAsset, tasks: Tasks) -> None:
        self.asset, self._tasks = asset, tasks
        self.puppet: Puppet | None = None

    def follow(self, asset: BakedAsset) -> None:
        """Another asset is shown, as it was learnt."""
        self.asset, self.puppet = asset, None

    @property
    def able(self) -> bool:
        """Whether the asset is a shell."""
        return self.asset.driver == "shell"

    @property
    def deformation(self) -> Deformation | None:
        """For the renderer."""
        return None if self.puppet is None else self.puppet.deformation

    @property
    def playing(self) -> bool:
        """Whether the soft body moves."""
        return self.puppet is not None and self.puppet.playing

    def deform(self, kind: str | None = None, angle: float | None = None, axis: str | None = None) -> None:
        """Deform the shell, as ``Puppet.set`` does; soon, where its cage has to be made first."""
        puppet = self.puppet
        if puppet is not None:
            self._tasks.attempt(lambda: puppet.set(kind, angle, axis), "deformation")
        elif self.able:
            told = "making the cage and compiling shaders ..."
            self._tasks.later(told, lambda: self._first(kind, angle, axis))

    def _first(self, kind: str | None, angle: float | None, axis: str | None) -> None:
        if self.able:  # another asset may have come in between
            self.puppet = self.puppet or Puppet(self.asset)
            self.deform(kind, angle, axis)

    def restart(self) -> None:
        """The soft body falls anew."""
        if self.puppet is not None:
            self._tasks.attempt(self.puppet.restart, "deformation")

    def advance(self, seconds: float) -> None:
        """The soft body moves on."""
        puppet = self.puppet
        if puppet is not None:
            self._tasks.attempt(lambda: puppet.advance(seconds), "deformation")
