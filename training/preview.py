"""Assets of a training that goes on, for whoever looks at its run folder (``render-view``)."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path

from render.asset import BakedAsset, write_asset
from render.errors import InshaderError
from training.families import Model

FIRST, EVERY = 3.0, 10.0  # seconds of training before the first asset, and between two at the least
SHARE = 0.02  # of all time that they may take; the budget of a training does not count it


class Previews:
    """Bakes what there is into a file, now and then; what comes of the training does not depend on it.

    Args:
        complete: adds to an asset what the model does not know.
    """

    def __init__(self, model: Model, path: Path, complete: Callable[[BakedAsset], BakedAsset]) -> None:
        self.model, self.path, self.complete = model, path, complete
        self._due = time.monotonic() + FIRST

    def __call__(self) -> None:
        """After a step."""
        start = time.monotonic()
        if start < self._due:
            return
        try:
            asset = self.model.preview()
            if asset is not None:
                write_asset(self.path, self.complete(asset))
        except (InshaderError, OSError):  # no surface yet, a full disk: the end will tell if it is one
            pass
        end = time.monotonic()
        self._due = end + max(EVERY, (end - start) / SHARE)
