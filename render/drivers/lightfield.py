"""The ``lightfield`` driver: one forward pass of a network makes the whole picture.

What an asset must hold for it:

======================  =================================================================================
networks ``trunk``,     see ``render/light_field.py``; the trunk takes the points of a ray, as they are or
``up_0``, ``refine_0``  with the encoding ``frequency``, or what is gathered
.. and ``preview_...``  optional: a smaller light field of the same rays, drawn while the camera moves
``pitch``               focal lengths (x, y) in pixels that the networks were trained at
``points``, ``ndc``,     how many points a ray has, and where: ``RayPoints``
``forward``, ``frame_x``
.. ``frame_z``
grid ``features``,      in place of ``points``: what is gathered along a ray, in the space of
network ``density``,    ``render/lattice.py``, and what the trunk takes: ``render/light_field_gather.py``
``stop``
``manifold``            which cameras it was trained for: ``render/manifold.py``
======================  =================================================================================

A light field has no depth and no coverage: its colours stand on the background that it was trained with, and
coverage is 1. Evaluations are those of the trunk, one for a block of pixels. ``Frame.warning`` says
where a camera is outside of what was trained. The state ``preview`` draws the smaller networks.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import moderngl
import numpy as np

from render.asset import BakedAsset
from render.camera import Camera
from render.errors import InshaderError
from render.glsl import compose, compute_program
from render.light_field import Array, LightField
from render.light_field_gather import Gather, trunk_inputs
from render.light_field_passes import LightFieldPasses
from render.light_field_rays import RayMap, RayPoints, pitch_of, ray_map, resampled, resampling_taps
from render.manifold import manifold_of
from render.targets import Targets, write_uniforms
from render.timing import PassTimer

MODES = ("colour", "cost")
HOSTS = ("compute",)
PREVIEW = "preview_"
WIDER = 1.1  # than what was trained a field of view may be before anything is said


def check(asset: BakedAsset) -> None:
    """Raise InshaderError unless the parts are there and fit each other."""
    gather = Gather.of(asset)
    width = 3 * RayPoints.of(asset).count if gather is None else gather.output_width
    encodings = ("identity", "frequency") if gather is None else ("identity",)
    for light_field in fields(asset):
        slot = light_field.trunk.spec.inputs[0]
        if slot.encoding not in encodings or slot.width != width:
            raise InshaderError(
                f"the network trunk takes {slot.width} values with the encoding {slot.encoding}, expected "
                f"{width} with {' or '.join(encodings)}"
            )
    pitch_of(asset)
    manifold_of(asset)


def fields(asset: BakedAsset) -> list[LightField]:
    """The light field, and its preview where there is one."""
    found = [LightField.of(asset.networks)]
    if f"{PREVIEW}trunk" in asset.networks:
        found.append(LightField.of(asset.networks, PREVIEW))
    return found


def lens_warning(asset: BakedAsset, view: RayMap) -> str | None:
    """What is unusual about a view's lens, or None. Windows are often wider, to where there is little."""
    trained = asset.camera.h * pitch_of(asset)[1] / asset.camera.fl_y
    if view.camera.h - 16 > WIDER * trained:
        return "the field of view is wider than what was trained"
    return None


def read_state(state: Mapping[str, Any]) -> bool:
    """Whether the preview is wanted, where there is one.

    Raises:
        InshaderError: there is no such state.
    """
    unknown = set(state) - {"preview"}
    if unknown:
        raise InshaderError(f"the driver lightfield has no state {min(unknown)!r:.40}, it has preview")
    return bool(state.get("preview", False))


class Passes:
    """The passes of a light field, and of its preview, in one context."""

    def __init__(self, ctx: moderngl.Context, asset: BakedAsset, host: str, modes: Mapping[str, int]) -> None:
        self.ctx, self.asset = ctx, asset
        self.manifold = manifold_of(asset)
        self.passes = [LightFieldPasses(ctx, asset, field) for field in fields(asset)]
        self.resample = compute_program(ctx, compose("drivers/lightfield_resample.comp"))
        self.targets = Targets(ctx)
        self.native: moderngl.Texture | None = None
        self.warning: str | None = None
        self.counted: tuple[moderngl.Texture | None, float] = None, 0.0  # the cost that was written last

    def draw(
        self, camera: Camera, mode: str, timer: PassTimer, preview: bool
    ) -> tuple[moderngl.Texture, moderngl.Texture]:
        """The picture (r, g, b, 1) and the evaluations of the trunk per pixel, row 0 at the top."""
        passes = self.passes[-1 if preview else 0]
        view = ray_map(camera, pitch_of(self.asset), passes.light_field.factor)
        self.warning = self.manifold.warning(camera) or lens_warning(self.asset, view)
        self.targets.resize((camera.w, camera.h))
        picture, cost = self.targets.textures
        evaluations = view.rows * view.columns / (camera.w * camera.h)
        if (cost, evaluations) != self.counted:
            cost.write(np.full((camera.h, camera.w), evaluations, np.float32).tobytes())
            self.counted = cost, evaluations
        if mode == "cost":
            shown = np.array([evaluations] * 3 + [1], np.float32)
            picture.write(np.broadcast_to(shown, (camera.h, camera.w, 4)).tobytes())
        elif view.exact:
            passes.draw(view, picture, timer)
        else:
            passes.draw(view, self._native(view), timer)
            self._resample(view, timer)
        return picture, cost

    @property
    def previews(self) -> bool:
        """Whether there are smaller networks to draw while the camera moves."""
        return len(self.passes) > 1

    def _native(self, view: RayMap) -> moderngl.Texture:
        size = (view.camera.w, view.camera.h)
        if self.native is None or self.native.size != size:
            if self.native is not None:
                self.native.release()
            self.native = self.ctx.texture(size, 4, dtype="f4")
            self.native.filter = (moderngl.NEAREST, moderngl.NEAREST)
        return self.native

    def _resample(self, view: RayMap, timer: PassTimer) -> None:
        picture = self.targets.textures[0]
        assert self.native is not None
        self.native.use(0)
        picture.bind_to_image(0, read=False, write=True)
        uniforms = {
            "u_source": np.int32(0).tobytes(),
            "u_scale": np.array(view.scale, "f4").tobytes(),
            "u_taps": np.int32(resampling_taps(view.scale)).tobytes(),
        }
        write_uniforms([self.resample], uniforms)
        with timer.measure("resample"):
            self.resample.run(-(-picture.width // 8), -(-picture.height // 8))
        self.ctx.memory_barrier()

    def release(self) -> None:
        for item in (*self.passes, self.targets, self.resample, self.native):
            if item is not None:
                item.release()


def reference(asset: BakedAsset, camera: Camera, mode: str, preview: bool = False) -> tuple[Array, Array]:
    """The numpy twin: picture (h, w, 4), its last channel 1, and evaluations (h, w)."""
    light_field = fields(asset)[-1 if preview else 0]
    view = ray_map(camera, pitch_of(asset), light_field.factor)
    evaluations = view.rows * view.columns / (camera.w * camera.h)
    cost = np.full((camera.h, camera.w), evaluations, np.float32)
    picture = np.ones((camera.h, camera.w, 4), np.float32)
    if mode == "cost":
        picture[..., :3] = evaluations
        return picture, cost
    rays = trunk_inputs(asset, view.camera, light_field.factor)
    picture[..., :3] = resampled(light_field.evaluate(rays), view.scale, camera.w, camera.h)
    return picture, cost
