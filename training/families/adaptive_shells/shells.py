"""Task ``shells``: posed pictures to a field within a shell, drawn by the ``shell`` driver.

Three stages: ``start`` (the field becomes the visual hull, where pictures have alpha), ``full_ray`` (NeuS
with a sharpness that every place learns for itself, ``field.py``), ``narrow_band`` (the shell is cut out,
``envelope.py``, and the field learns on within it, with the shader's own few samples, ``narrow_band.py``).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from pydantic import Field
from torch import Tensor

from render.asset import BakedAsset, BakedMesh
from render.camera import Camera
from render.shell_field import march_asset
from scenes import PosedImages
from training.checkpoint import load_optimiser, optimiser_state, prefixed, without_prefix
from training.contraction import expand
from training.families import Draw, Stage, Task, facts_for_asset, seeded
from training.families.adaptive_shells.envelope import Options, extract
from training.families.adaptive_shells.field import FieldConfig, ShellField
from training.families.adaptive_shells.narrow_band import BandPixels, Sampler, Shell, band_loss, render
from training.kernels import Kernels
from training.optimise import adam, descend
from training.rays import camera_rays
from training.surface.optimisation import POINTS_AT_ONCE, SurfaceTraining

FINAL_RATE = 0.03  # the learning rate of the band falls exponentially to this part of its start
NOTICED = 1 << 18  # training rays that tell which places carry weight
CARRIES = 0.01  # the weight that a place must have on one of them, lest it be cut off; the digest's guard
EMPTY = 0.2  # world units: the distance of places outside of the visual hull, and of what is not seen
RIM = 0.05  # world units: half the width of what is seen of an object at the side of the box it stands on
SEEN, SEEN_SPREADS = 0.02, 8.0  # world units, and in units of s: how far from what is seen things are known
EVALUATION_RAYS = 1 << 15


class Config(FieldConfig):
    """Options of the task, under the key ``adaptive_shells`` of a scene file."""

    task: Literal["shells"] = "shells"
    lattice: int = Field(256, ge=32, le=512, description="that the shell is cut from, along the longest side")
    single_width: float = Field(
        0.034, gt=0, le=1, description="thinner intervals get one sample, world units"
    )
    spacing: float = Field(0.03, gt=0, le=1, description="of further samples, world units")
    max_samples: int = Field(16, ge=1, le=64, description="of an interval")
    max_hits: int = Field(16, ge=2, le=64, description="that a pixel's list holds; rays with more are cast")
    stop: float = Field(1e-3, ge=0, lt=1, description="transmittance at which a ray ends")
    keep_faces: float = Field(0.015, gt=0, le=1, description="share of the faces that decimation leaves")
    band_rays: int = Field(1 << 13, ge=64, le=1 << 20, description="of a batch within the shell")
    band_rate: float = Field(1e-2, gt=0, le=1, description="learning rate within the shell")
    full_ray: float = Field(0.3, gt=0, lt=1, description="share of the budget that full rays get")


class Shells:
    """Task ``shells`` (a ``training.families.Model``)."""

    def __init__(
        self, config: Config, dataset: PosedImages, kernels: Kernels, device: str, seed: int
    ) -> None:
        self.config, self.dataset, self.kernels, self.device = config, dataset, kernels, device
        self.seed, self.generator = seed, seeded(seed)
        self.field = ShellField(config, dataset.bounds, kernels, self.generator)
        self.bounds = self.field.box()  # of the space that f is in
        self.full = SurfaceTraining(
            config, self.field, dataset, kernels, device, self.generator, config.contracted
        )
        self.optimiser = adam(self.field.groups())
        self.sampler = Sampler(
            *(config.single_width, config.spacing, config.max_samples, config.stop, config.contracted)
        )
        self.meshes: dict[str, BakedMesh] = {}  # outer and inner, once they are cut out
        self.facts: dict[str, float] = {}
        self.before: ShellField | None = None  # the field as full rays have left it
        # Made from the meshes, where they are wanted.
        self.shell: Shell | None = None
        self.band: BandPixels | None = None
        begin = self.full.starts
        left = 1.0 - sum(stage.share for stage in begin)
        self.stages: tuple[Stage, ...] = (
            *begin,
            Stage("full_ray", config.full_ray * left, self.full.step),
            Stage("narrow_band", (1 - config.full_ray) * left, self.learn_band),
        )

    def compile(self) -> None:
        self.full.compile()
        u, d = torch.rand(64, 3, generator=seeded(0)), torch.full((64, 3), 3**-0.5)
        *_, rgb = self.field.narrow(u.to(self.device), d.to(self.device))
        rgb.sum().backward()
        self.optimiser.zero_grad()

    # Stages ---------------------------------------------------------------------------------------------

    @torch.no_grad()
    def cut_out(self) -> None:
        """From the field to the meshes."""
        size = self.bounds[1] - self.bounds[0]
        counts = np.maximum(np.round(self.config.lattice * size / size.max()), 8).astype(int)
        keep = self.carrying(tuple(counts))
        axes = [torch.linspace(0, 1, int(n) + 1) for n in counts]
        points = torch.stack(torch.meshgrid(*axes, indexing="ij"), -1).view(-1, 3)
        empty = self.empty(points)  # where nothing is asked of the field
        distance, kappa = (torch.full((len(points),), value) for value in (EMPTY, self.config.max_kappa))
        for part in torch.nonzero(~empty)[:, 0].split(POINTS_AT_ONCE):
            distance[part], kappa[part] = (
                value.cpu() for value in self.field.surface(points[part].to(self.device))
            )
        shape = tuple(int(n) + 1 for n in counts)
        f, s = distance.view(shape).numpy(), (1 / kappa).view(shape).numpy()
        nothing = empty.view(shape).numpy() | unseen(keep, s, size)
        f = np.where(nothing, np.maximum(f, np.float32(EMPTY)), f)
        if not self.config.contracted:
            close_where_it_stands(f, keep, size)
        options = Options(
            keep_faces=self.config.keep_faces, max_drift=2.5, bounded=not self.config.contracted
        )
        envelope = extract(f, s, self.bounds, options, keep)
        self.meshes = {
            "outer": self.in_the_world(envelope.outer),
            "inner": self.in_the_world(envelope.inner),
        }
        self.facts = envelope.facts
        self.before = self.copy_of(self.field.state_dict())

    def copy_of(self, state: Mapping[str, Tensor]) -> ShellField:
        """A field of its own with these parameters."""
        field = ShellField(self.config, self.dataset.bounds, self.kernels, seeded(0)).to(self.device)
        field.load_state_dict(state)
        return field

    def in_the_world(self, mesh: BakedMesh) -> BakedMesh:
        """A mesh of the space that f is in."""
        if not self.config.contracted:
            return mesh
        return BakedMesh(expand(torch.from_numpy(mesh.vertices)).numpy(), mesh.faces)

    def empty(self, u: Tensor) -> Tensor:
        """(n,) whether places (n, 3) in [0, 1] lie outside of where a surface may be."""
        allowed = torch.from_numpy(self.full.hull.allowed)
        shape = torch.tensor(allowed.shape)
        return ~allowed[torch.minimum((u * shape).long(), shape - 1).unbind(-1)]

    def carrying(self, shape: tuple[int, ...]) -> NDArray[np.bool_]:
        """(x, y, z) which cells of the box carry weight on random training rays."""
        most = torch.zeros(shape)
        sizes = torch.tensor(shape)
        volume = self.full.volume
        generator = seeded(self.seed + 1)
        for index in volume.pixels.pick(NOTICED, generator).split(EVALUATION_RAYS):
            rays_o, rays_d, *_ = volume.pixels.rays(index)
            samples, weights = volume.weights(self.field, self.field.surface, rays_o, rays_d)
            cell = torch.minimum((samples.x.cpu() * sizes).long(), sizes - 1)
            flat = (cell[:, 0] * shape[1] + cell[:, 1]) * shape[2] + cell[:, 2]
            most.view(-1).scatter_reduce_(0, flat, weights.cpu(), "amax")
        return (most > CARRIES).numpy()

    def learn_band(self, progress: float) -> dict[str, float]:
        if not self.meshes:
            self.cut_out()
        pixels, config = self.full.volume.pixels, self.config
        if self.band is None:
            self.band = BandPixels.find(self.shell_of_meshes(), pixels, seeded(self.seed + 2))
        background = None if pixels.channels == 4 else self.full.volume.background
        loss, psnr, samples = band_loss(
            *(self.field, pixels, self.band, self.sampler, background, config.band_rays, self.generator)
        )
        descend(self.optimiser, loss, config.band_rate * FINAL_RATE**progress)
        return {"psnr": psnr, "samples_per_ray": samples / config.band_rays}

    def shell_of_meshes(self) -> Shell:
        if self.shell is None:
            self.shell = Shell(self.meshes["outer"], self.meshes["inner"])
        return self.shell

    # Model ----------------------------------------------------------------------------------------------

    @property
    def earlier(self) -> Mapping[str, Draw]:
        """The field that full rays have left, volume-rendered."""
        before = self.before
        return {} if before is None else {"full_ray": lambda camera: self.full.volume.draw(before, camera)}

    def state(self) -> dict[str, Tensor]:
        found = {**prefixed("full.", self.full.state()), "generator": self.generator.get_state()}
        if self.before is not None:
            for name, mesh in self.meshes.items():
                found[f"{name}.vertices"] = torch.from_numpy(mesh.vertices)
                found[f"{name}.faces"] = torch.from_numpy(mesh.faces.astype(np.int64))
            found |= {f"facts.{name}": torch.tensor(value) for name, value in self.facts.items()}
            found |= prefixed("before.", self.before.state_dict())
            found |= prefixed("optimiser.", optimiser_state(self.optimiser))
        return found

    def load_state(self, state: Mapping[str, Tensor]) -> None:
        self.full.load_state(without_prefix("full.", state))
        if "outer.faces" in state:
            self.meshes = {
                name: BakedMesh(
                    state[f"{name}.vertices"].numpy(), state[f"{name}.faces"].numpy().astype(np.uint32)
                )
                for name in ("outer", "inner")
            }
            self.facts = {name: float(value) for name, value in without_prefix("facts.", state).items()}
            self.before = self.copy_of(without_prefix("before.", state))
            load_optimiser(self.optimiser, without_prefix("optimiser.", state))
        self.generator.set_state(state["generator"])

    @torch.no_grad()
    def draw(self, camera: Camera) -> NDArray[np.float32]:
        rays_o, rays_d = camera_rays(camera, self.device)
        rows = []
        for o, d in zip(rays_o.split(EVALUATION_RAYS), rays_d.split(EVALUATION_RAYS), strict=True):
            intervals = self.shell_of_meshes().intervals(o.cpu().numpy(), d.cpu().numpy())
            samples = self.sampler.samples(intervals, o, d)
            rgb, left = render(self.field, o, d, samples, self.config.stop)
            rows.append(torch.cat([rgb + left[:, None] * self.full.volume.background, 1 - left[:, None]], -1))
        return np.asarray(torch.cat(rows).cpu().numpy().reshape(camera.h, camera.w, 4))

    def metrics(self) -> dict[str, float]:
        """Samples that the sampler places on held-out views, and what the envelope tells of itself."""
        pixels = hits = samples = broken = 0
        for camera in self.dataset.test.cameras:
            rays_o, rays_d = camera_rays(camera, "cpu")
            intervals = self.shell_of_meshes().intervals(rays_o.numpy(), rays_d.numpy())
            pixels += len(rays_o)
            hits += int((np.diff(intervals.offsets) > 0).sum())
            samples += len(self.sampler.samples(intervals, rays_o, rays_d).t)
            broken += int(intervals.broken.sum())
        return {
            "samples_per_pixel": samples / pixels,
            "samples_per_hit_ray": samples / max(hits, 1),
            "broken_rays": float(broken),
            **self.facts,
        }

    def preview(self) -> BakedAsset | None:
        """The field in occupied space, until its shell is cut out; a contracted one waits for that."""
        if self.meshes:
            return self.bake()
        if self.config.contracted:
            return None
        return march_asset(self.bake(), self.full.volume.occupancy.cells, self.full.volume.step_size)

    def bake(self) -> BakedAsset:
        config = self.config
        return BakedAsset(
            family="adaptive_shells",
            driver="shell",
            networks=self.field.baked(config.precision),
            grids={"features": self.field.baked_grid(config.precision)},
            volumes={},
            meshes=self.meshes,
            constants={
                "min_kappa": config.min_kappa,
                "max_kappa": config.max_kappa,
                "single_width": config.single_width,
                "spacing": config.spacing,
                "max_samples": config.max_samples,
                "max_hits": config.max_hits,
                "stop": config.stop,
                "contracted": int(config.contracted),
            },
            **{**facts_for_asset(self.dataset), "bounds": self.bounds},
        )


def unseen(
    carrying: NDArray[np.bool_], s: NDArray[np.float32], size: NDArray[np.float32]
) -> NDArray[np.bool_]:
    """Which lattice points (x + 1, y + 1, z + 1) no training ray tells anything of.

    A surface is anywhere in there: below what stands on the floor, or hangs where no camera looked from. A
    point counts as seen near a cell that carries weight: as deep as an inner mesh may lie behind it.

    Args:
        carrying: (x, y, z) cells with weight on training rays.
        s: of the kernel at the points, world units.
        size: (3,) of the box, world units.
    """
    from scipy.ndimage import distance_transform_edt

    near = np.ones(np.add(carrying.shape, 1), bool)  # False at the corners of cells that carry weight
    for corner in np.ndindex(2, 2, 2):
        near[tuple(slice(i, i + n) for i, n in zip(corner, carrying.shape, strict=True))] &= ~carrying
    distance = distance_transform_edt(near, size / carrying.shape)
    return np.asarray(distance > np.maximum(SEEN, SEEN_SPREADS * s))


def close_where_it_stands(
    f: NDArray[np.float32], carrying: NDArray[np.bool_], size: NDArray[np.float32]
) -> None:
    """Close distances f (x + 1, y + 1, z + 1) at the sides of the box that an object stands on, in place.

    Of what stands on a side the rim is seen there, and nothing of its underside. Of what sticks out of the
    box all of the section is seen, at that side: that is left as it is, for ``extract`` to tell.
    """
    from scipy.ndimage import distance_transform_edt

    for axis in range(3):
        spacing = np.delete(size / carrying.shape, axis)
        for end in (0, -1):
            seen = np.pad(np.moveaxis(carrying, axis, 0)[end], 1)
            if distance_transform_edt(seen, spacing).max() < RIM:
                side = np.moveaxis(f, axis, 0)[end]
                np.maximum(side, np.float32(EMPTY), out=side)


PRESETS: dict[str, dict[str, Any]] = {
    "default": {},
    "fast": {"single_width": 0.05, "spacing": 0.05},  # for drawing without a GPU
    "fine": {"single_width": 0.026, "spacing": 0.013},  # twice the samples
}
TASK = Task(Config, PosedImages, Shells, PRESETS, seconds=180.0)
