"""The ``pathtrace`` driver: progressive global illumination of a neural object among classic ones.

It stands above the drivers ``trace`` and ``trace_cells``: any asset that one of these draws can be path
traced, with the stage that it holds (``render/stage.py``) or, where it has none, on ``default_stage``. Light
is linear; pictures are shown in sRGB, times the exposure. Every draw adds samples and shows the mean of all.

**Passes** of a sample. A ray through each pixel; then, for every event, the field's answer to all rays
(``render/intersect.py``), the shading of whatever is nearest, the field's answer to rays towards sampled
lights, and the light that came through; at the end the path is added to its pixel's sums. No pass adds up
numbers in an order that chance decides: equal seeds give equal pictures.

**Light.** Next-event estimation towards one light a vertex, evenly chosen, and cosine, GGX or specular
scattering, weighed by the power heuristic (Veach 1997). Rectangles emit on both sides. A constant or graded
environment is found by the scattered rays alone, which sample it as well as anything; a picture of one is
sampled by its brightness. Emitting planes, boxes and meshes, and neural emitters, are found by chance. From
the fourth event on paths end by Russian roulette on their throughput; the last event of a path, number
``bounces``, only takes what emits there, which is the one bias. Smooth glass hides lights from shadow rays:
what it focuses is found by scattered rays.

**Neural colour.** ``emitter``: display colour, made linear, is the radiance that leaves the object.
``albedo``: the same number is a diffuse albedo seen from there (which light baked into the colour then
darkens twice). Scattered rays begin off the surface by two tolerances of the search and what networks may
disagree at seams.

Sources beyond those named: Kajiya, The Rendering Equation, 1986; Turquin, Practical multiple scattering
compensation for microfacet models, 2019; Dammertz et al., Edge-Avoiding A-Trous Wavelet Transform, 2010; the
shaders name theirs. ``denoise`` filters light without albedo, and takes for noise what the variance of the
samples allows, as Schied et al., Spatiotemporal Variance-Guided Filtering, 2017, do.
"""

from __future__ import annotations

import difflib
import importlib
from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any

import moderngl
import numpy as np

from render.asset import BakedAsset
from render.camera import Camera
from render.errors import InshaderError
from render.glsl import compose, compute_program, groups_of
from render.intersect import HIT_BYTES, RAY_BYTES, intersector
from render.stage import NEURAL, Environment, Solid, Stage
from render.stage_tables import StageTables
from render.targets import Targets, view_uniforms, write_uniforms
from render.timing import PassTimer

MODES = ("colour", "depth", "normal", "cost")
HOSTS = ("compute",)
BASES = ("trace", "trace_cells")
BYTES = {"rays": RAY_BYTES, "hits": HIT_BYTES, "shadows": RAY_BYTES, "paths": 80, "sums": 64}  # a pixel
LIGHT_BYTES = 16
LIST_HEAD, WAITING = 16, 2  # bytes; the third list, of paths that wait for a light
MAX_PIXELS = 1 << 23  # about 300 bytes each
FILTER_STEPS = (1, 2, 4, 8, 16)
PASSES = ("camera", "shade", "connect", "add", "denoise", "show")


@dataclass(frozen=True)
class State:
    """What ``Renderer.draw`` takes as its state for this driver.

    Attributes:
        samples: that this call adds to each pixel; 0 shows what is there, if there is anything. denoise:
        whether the picture is filtered; what is added up never is. exposure: what radiance is multiplied with
        for the picture. neural: ``emitter`` or ``albedo``; empty: as the stage says. seed: of all chance.
        bounces: events of a path at most. clamp: 0, or the most that one vertex beyond the first may add to a
        pixel; it takes away fireflies, and
            light with them.

    Another camera, size, reading, seed, number of bounces or clamp starts the picture anew.
    """

    samples: int = 1
    denoise: bool = False
    exposure: float = 1.0
    neural: str = ""
    seed: int = 0
    bounces: int = 8
    clamp: float = 0.0


RANGES = {
    "samples": (0, 1 << 16),
    "exposure": (0, 1e6),
    "seed": (0, 2**32 - 1),
    "bounces": (0, 256),
    "clamp": (0, 1e9),
}


def read_state(state: Mapping[str, Any]) -> State:
    """The state with its defaults.

    Raises:
        InshaderError: a key that is none of ``State``'s, or a value of the wrong kind or range.
    """
    known = {entry.name: type(entry.default) for entry in fields(State)}
    for key, value in state.items():
        if key not in known:
            near = difflib.get_close_matches(str(key), known, 1)
            hint = f"did you mean {near[0]}?" if near else f"it knows {', '.join(known)}"
            raise InshaderError(f"the driver pathtrace has no state {key!r:.40}; {hint}")
        kind = known[key]
        fits = isinstance(value, (int, float) if kind is float else kind)
        if not fits or (isinstance(value, bool) and kind is not bool):
            raise InshaderError(f"state {key}: found {value!r:.40}, expected {kind.__name__}")
        if key in RANGES and not RANGES[key][0] <= value <= RANGES[key][1]:
            raise InshaderError(
                f"state {key}: found {value!r:.40}, expected {RANGES[key][0]:g} to {RANGES[key][1]:g}"
            )
    if state.get("neural", "") not in ("", *NEURAL):
        raise InshaderError(f"state neural: found {state['neural']!r:.40}, expected {' or '.join(NEURAL)}")
    return State(**state)


def check(asset: BakedAsset) -> None:
    """Raise InshaderError unless rays can meet the asset's surface."""
    if asset.driver not in BASES:
        raise InshaderError(
            f"an asset of the driver {asset.driver} has no surface to trace paths to, expected one of "
            + " or ".join(BASES)
        )
    importlib.import_module(f"render.drivers.{asset.driver}").check(asset)


def default_stage(asset: BakedAsset) -> Stage:
    """Where an asset without a stage stands: a pale floor under its lowest occupied cell, a soft sky, and a
    wide warm lamp above the shoulder of its camera (all a choice)."""
    up = asset.up.astype(np.float64) / np.linalg.norm(asset.up)
    low, high = asset.bounds.astype(np.float64)
    height = np.minimum(low * up, high * up).sum()
    occupancy = asset.volumes.get("occupancy")
    if occupancy is not None and occupancy.ndim == 3 and occupancy.any():
        at = np.argwhere(occupancy) + np.where(up > 0, 1, 0)  # the upper corners of cells, seen along up
        height = ((low + at * (high - low) / occupancy.shape) @ up).min()
    to_camera = asset.camera.position - (asset.camera.position @ up) * up
    side = np.cross(up, to_camera)
    side /= max(float(np.linalg.norm(side)), 1e-9)
    front = np.cross(side, up)
    middle = 1.9 * up + 0.9 * front - 1.1 * side
    toward = -middle / np.linalg.norm(middle)
    a = np.cross(toward, up)
    a /= max(float(np.linalg.norm(a)), 1e-9)
    edges = 0.7 * np.stack([a, np.cross(toward, a)])
    numbers = {"corner": middle - edges.sum(0) / 2, "edges": edges}
    floor = {"point": height * up, "normal": up}
    return Stage(
        solids=(
            Solid("plane", _floats(floor), "diffuse", _floats({"albedo": [0.5, 0.47, 0.43]})),
            Solid("rectangle", _floats(numbers), "emission", _floats({"radiance": [58.0, 50.0, 40.0]})),
        ),
        environment=Environment(
            np.array([0.36, 0.43, 0.56], np.float32), np.array([0.5, 0.47, 0.44], np.float32)
        ),
    )


def _floats(numbers: Mapping[str, Any]) -> dict[str, Any]:
    return {name: np.asarray(value, np.float32) for name, value in numbers.items()}


class Passes:
    """The programs, buffers and sums of one asset in one context.

    Attributes:
        samples: that have come together.
    """

    def __init__(self, ctx: moderngl.Context, asset: BakedAsset, host: str, modes: Mapping[str, int]) -> None:
        self.ctx, self.asset, self.modes = ctx, asset, modes
        self.stage = asset.stage if asset.stage is not None else default_stage(asset)
        defines = {f"MODE_{mode.upper()}": number for mode, number in modes.items()}
        self.programs: dict[str, Any] = {
            name: compute_program(ctx, compose(f"drivers/pathtrace_{name}.comp", defines=defines))
            for name in PASSES
        }
        self.field = intersector(ctx, asset)
        self.tables = StageTables(ctx, self.stage, asset.up)
        self.lit = (
            any(solid.is_light for solid in self.stage.solids) or self.stage.environment.picture is not None
        )
        self.targets = Targets(ctx)
        self.buffers: dict[str, moderngl.Buffer] = {}
        self.samples, self._view, self._pixels = 0, b"", 0

    def draw(
        self, camera: Camera, mode: str, timer: PassTimer, state: State
    ) -> tuple[moderngl.Texture, moderngl.Texture]:
        """The picture (r, g, b, coverage) and the evaluations per pixel of a sample, row 0 at the top."""
        self._resize(camera)
        neural = state.neural or self.stage.neural
        uniforms = view_uniforms(camera, self.asset.background, self.modes[mode])
        shared = {
            "u_width": np.int32(camera.w),
            "u_count": np.int32(camera.w * camera.h),
            "u_seed": np.uint32(state.seed),
            "u_bounces": np.int32(state.bounces),
            "u_neural": np.int32(NEURAL.index(neural)),
            "u_clamp": np.float32(state.clamp),
        }
        uniforms |= {name: value.tobytes() for name, value in shared.items()}
        view = b"".join(value for name, value in uniforms.items() if name != "u_mode")
        if view != self._view:
            self._view, self.samples = view, 0
        write_uniforms(self.programs.values(), {**uniforms, **self.tables.uniforms})
        for _ in range(state.samples if self.samples else max(state.samples, 1)):
            self._sample(timer, state.bounces)
            self.samples += 1
        self._show(timer, state)
        return self.targets.textures[0], self.targets.textures[1]

    def _resize(self, camera: Camera) -> None:
        pixels = camera.w * camera.h
        if pixels > MAX_PIXELS:
            raise InshaderError(
                f"a picture of {camera.w}x{camera.h} is too large for pathtrace: at most {MAX_PIXELS} pixels"
            )
        self.targets.resize((camera.w, camera.h))
        if pixels == self._pixels:
            return
        for buffer in self.buffers.values():
            buffer.release()
        self.buffers = {name: self.ctx.buffer(reserve=size * pixels) for name, size in BYTES.items()}
        self.buffers["lists"] = self.ctx.buffer(reserve=3 * (LIST_HEAD + 4 * pixels))
        self._pixels, self._view = pixels, b""

    def _sample(self, timer: PassTimer, bounces: int) -> None:
        """One path through every pixel, added to the sums. Shading takes those that go on alone."""
        rays, hits, shadows, paths, lists = (
            self.buffers[name] for name in ("rays", "hits", "shadows", "paths", "lists")
        )
        bound = {0: rays, 1: hits, 2: shadows, 3: paths, 7: lists}
        write_uniforms(self.programs.values(), {"u_sample": np.uint32(self.samples).tobytes()})
        self._run("camera", timer, bound)
        lists.write(np.array([*groups_of(self._pixels), 1, self._pixels], np.uint32).tobytes())
        for bounce in range(bounces + 1):
            with timer.measure("intersect"):
                self.field.intersect(rays, hits, self._pixels)
            for number in ((bounce + 1) % 2, WAITING):
                lists.write(np.array([0, 1, 1, 0], np.uint32).tobytes(), LIST_HEAD * number)
            self.tables.bind()
            self.programs["shade"]["u_bounce"] = bounce
            self._run("shade", timer, bound, LIST_HEAD * (bounce % 2))
            if bounce < bounces and self.lit:
                with timer.measure("shadows"):
                    self.field.intersect(shadows, hits, self._pixels, occlusion=True)
                self.tables.bind()
                self._run("connect", timer, bound, LIST_HEAD * WAITING)
        self._run("add", timer, {3: paths, 4: self.buffers["sums"]})

    def _show(self, timer: PassTimer, state: State) -> None:
        values = {
            "u_samples": np.float32(self.samples).tobytes(),
            "u_exposure": np.float32(state.exposure).tobytes(),
            "u_filtered": np.int32(state.denoise).tobytes(),
        }
        write_uniforms(self.programs.values(), values)
        if state.denoise:
            self._denoise(timer)
        self.targets.bind_images()
        sums = self.buffers["sums"]
        self._run("show", timer, {0: sums, 1: self.buffers.get("light", sums)})

    def _denoise(self, timer: PassTimer) -> None:
        """Filter the means into the buffer ``light``."""
        for name in ("light", "other"):
            if name not in self.buffers:
                self.buffers[name] = self.ctx.buffer(reserve=LIGHT_BYTES * self._pixels)
        program, after, before = self.programs["denoise"], self.buffers["light"], self.buffers["other"]
        for number, step in enumerate((0, *FILTER_STEPS)):
            if number:
                before, after = after, before
            program["u_step"] = step
            self._run("denoise", timer, {0: self.buffers["sums"], 1: before, 2: after})
        self.buffers["light"], self.buffers["other"] = after, before

    def _run(
        self, name: str, timer: PassTimer, buffers: Mapping[int, moderngl.Buffer], head: int | None = None
    ) -> None:
        """Run a program on all pixels, or on the list whose dispatch lies at ``head``."""
        for binding, buffer in buffers.items():
            buffer.bind_to_storage_buffer(binding)
        with timer.measure(name):
            if head is None:
                self.programs[name].run(*groups_of(self._pixels))
            else:
                self.programs[name].run_indirect(self.buffers["lists"], head)
            self.ctx.memory_barrier()

    def release(self) -> None:
        self.field.release()
        self.tables.release()
        self.targets.release()
        for item in (*self.buffers.values(), *self.programs.values()):
            item.release()
