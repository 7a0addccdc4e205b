"""The held-out pictures of an asset's scene, read on first use in a thread, as they were for the training."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from render.asset import BakedAsset
from render.camera import Camera
from render.errors import InshaderError
from viewer.job import Job

MAX_PIXELS = 1 << 29  # that a scene may have rendered: an asset may come from a stranger
RENDERED = ("procedural", "mesh", "surface")  # formats whose pictures are made from the numbers of the scene
CLOSE = 1e-4  # between numbers of two cameras that are the same: one went through a file
Picture = NDArray[np.float32]


class Truth:
    """What ``asset`` should look like from its held-out views.

    Attributes:
        asset: whose scene is read.
        pictures: as read, in the order of ``asset.held_out``; None before they are there.
    """

    def __init__(self, asset: BakedAsset) -> None:
        self.asset = asset
        self.pictures: NDArray[np.generic] | None = None
        self._job: Job[NDArray[np.generic]] | None = None
        self._failed = False

    @property
    def offered(self) -> bool:
        """Whether the asset says what its held-out views are of."""
        return bool(self.asset.held_out) and isinstance(self.asset.scene.get("data"), Mapping)

    @property
    def asked(self) -> bool:
        """Whether they were asked for, whatever came of it."""
        return self._job is not None

    @property
    def reading(self) -> bool:
        """Whether the thread is at it, or ``poll`` has not fetched what it read."""
        return self.asked and self.pictures is None and not self._failed

    def ask(self) -> None:
        """Have the pictures read, the first time this is called."""
        if self.offered and self._job is None:
            self._job = Job(lambda: held_out_pictures(self.asset))

    def poll(self) -> None:
        """Take the pictures over, once they are read.

        Raises:
            InshaderError, OSError: they cannot be read; once.
        """
        if self.reading and self._job is not None and self._job.done:
            self._failed = True  # unless the next line comes to its end
            self.pictures = self._job.result()
            self._failed = False

    def view(self, index: int) -> tuple[Picture, Picture | None]:
        """Display colour (h, w, 3) and coverage (h, w), None without alpha, of a held-out view."""
        from scenes.dataset import composite, coverage

        assert self.pictures is not None
        picture = self.pictures[index]
        return composite(picture, self.asset.background), coverage(picture)

    def serves(self, asset: BakedAsset) -> bool:
        """Whether the pictures are those of another asset, too."""
        return same_scene(self.asset, asset) and same_cameras(self.asset.held_out, asset.held_out)


def same_scene(a: BakedAsset, b: BakedAsset) -> bool:
    """Whether two assets were made from the same pictures."""
    keys = "data", "seed"
    same_background = np.array_equal(a.background, b.background)
    return same_background and all(a.scene.get(key) == b.scene.get(key) for key in keys)


def same_cameras(a: tuple[Camera, ...], b: tuple[Camera, ...]) -> bool:
    """Whether two lists of cameras are of the same views."""

    def numbers(camera: Camera) -> Any:
        inner = [camera.fl_x, camera.fl_y, camera.cx, camera.cy]
        return np.concatenate([camera.world_from_camera.ravel(), np.divide(inner, camera.h)])

    return len(a) == len(b) and all(
        (one.w, one.h) == (other.w, other.h) and np.allclose(numbers(one), numbers(other), 0, CLOSE)
        for one, other in zip(a, b, strict=True)
    )


def held_out_pictures(asset: BakedAsset) -> NDArray[np.generic]:
    """(n, h, w, 3 | 4) as the scene's reader has them, one for each held-out view of ``asset``.

    ``data.path`` of the asset's scene counts from the current folder, as it did for the training.

    Raises:
        InshaderError: the data cannot be read, or they are not those of the asset's cameras.
    """
    from pydantic import ValidationError

    from scenes.load import load_dataset, recognised
    from scenes.scene import Scene

    known = {key: asset.scene[key] for key in ("name", "seed", "data") if key in asset.scene}
    try:
        scene = Scene.model_validate({"name": "asset", **known})
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        key = ".".join(map(str, first["loc"]))
        raise InshaderError(f"the asset's scene: {key}: {first['msg']}") from error
    longest = max(max(camera.w, camera.h) for camera in asset.held_out)
    if recognised(scene)[0] in RENDERED:
        views, side = scene.data.train_views + scene.data.test_views, scene.data.max_size or longest
        if views * side**2 > MAX_PIXELS:
            raise InshaderError(
                f"the asset's scene wants {views} pictures of {side}x{side} rendered, "
                f"more than {MAX_PIXELS} pixels: no truth is shown"
            )
    try:
        test = load_dataset(scene).test
    except MemoryError as error:
        raise InshaderError("the pictures of the asset's scene do not fit into memory") from error
    if not same_cameras(test.cameras, asset.held_out):
        raise InshaderError(
            f"the data of the asset's scene have other held-out views ({len(test)}) than the asset "
            f"({len(asset.held_out)}): they must be those that it was trained on"
        )
    return test.images
