"""A field with a surface, its optimiser and its batches: stages ``start`` and volume rendering."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from render.camera import Camera
from render.errors import InshaderError
from scenes import PosedImages
from training.checkpoint import load_optimiser, optimiser_state, prefixed, without_prefix
from training.families import Stage, seeded
from training.kernels import Kernels
from training.optimise import adam, descend
from training.surface.backdrop import Backdrop
from training.surface.field import DECODER_RATE, SurfaceConfig
from training.surface.hull_start import START_SHARE, HullStart
from training.surface.volume import VolumeTraining, Weights

POINTS_AT_ONCE = 1 << 17
FINAL_RATE = 0.05  # learning rates fall exponentially to this part of their start
COARSE_LEVELS = 4  # that are open from the first step


class SurfaceTraining:
    """A field with its optimiser and batches.

    Args:
        field: a ``SurfaceField`` that is also a ``volume.Field``, called with (u, d), and offers ``surface``,
            a ``volume.Surface``, and ``sharpen(s)``, which raises the sharpness that it need not learn.
        generator: that made it; it goes on from there.
        contracted: whether all of space is in its box (``training/contraction.py``).

    Raises:
        InshaderError: as ``HullStart`` does; a contracted scene has pictures with alpha.
    """

    def __init__(
        self,
        config: SurfaceConfig,
        field: Any,
        dataset: PosedImages,
        kernels: Kernels,
        device: str,
        generator: torch.Generator,
        contracted: bool = False,
    ) -> None:
        self.config, self.field, self.generator = config, field.to(device), generator
        if contracted and dataset.train.images.shape[-1] == 4:
            raise InshaderError(
                "adaptive_shells.contracted=true: the pictures have alpha, so nothing stands around the "
                "object; expected false, or pictures without alpha"
            )
        # In a contracted scene cameras may stand anywhere, and what is far is part of the field.
        radius = 0.0 if contracted else config.radius
        self.hull = HullStart(dataset, config.occupancy_resolution, radius, device)
        beyond = self.hull.cells is None and not contracted
        self.backdrop = Backdrop(kernels, generator).to(device) if beyond else None
        self.volume = VolumeTraining(
            *(dataset, kernels, device, self.hull.allowed),
            *(config.steps, config.samples_per_step, self.backdrop, contracted),
        )
        groups = field.groups()
        if self.backdrop is not None:
            groups[DECODER_RATE] = [*groups[DECODER_RATE], *self.backdrop.parameters()]
        self.optimiser = adam(groups)

    @property
    def starts(self) -> tuple[Stage, ...]:
        """The stage before NeuS's: with alpha, the field becomes the visual hull's distance."""
        return () if self.hull.cells is None else (Stage("start", START_SHARE, self.start),)

    def start(self, progress: float) -> dict[str, float]:
        self.field.open(COARSE_LEVELS)
        loss, shown = self.hull.loss(self.field.distance, self.generator)
        descend(self.optimiser, loss, self.config.learning_rate)
        return shown

    def step(self, progress: float) -> dict[str, float]:
        config, field = self.config, self.field
        opening = min(progress / config.open_until, 1) if config.open_until else 1.0
        field.open(COARSE_LEVELS + opening * max(config.levels - COARSE_LEVELS, 0))
        anneal = min(progress / config.anneal_until, 1) if config.anneal_until else 1.0
        weights = Weights(config.eikonal, config.mask)
        rise = (config.final_sharpness / config.sharpness) ** min(progress / config.sharp_until, 1)
        field.sharpen(config.sharpness * rise)
        loss, shown = self.volume.loss(field, field.surface, anneal, weights, self.generator)
        descend(self.optimiser, loss, config.learning_rate * FINAL_RATE**progress)
        self.volume.look_again(field.surface, self.generator)
        return shown

    def compile(self) -> None:
        # Copies: a step notes what it has seen in place.
        before = {name: value.clone() for name, value in self.volume.state().items()}
        weights = Weights(self.config.eikonal, self.config.mask)
        loss, _ = self.volume.loss(self.field, self.field.surface, 1.0, weights, seeded(0))
        loss.backward()
        self.optimiser.zero_grad()
        self.volume.load_state(before)

    def draw(self, camera: Camera) -> NDArray[np.float32]:
        """Volume-rendered: (h, w, 4), colour on the background and coverage."""
        return self.volume.draw(self.field, camera)

    @torch.no_grad()
    def distance(self, u: NDArray[np.float32]) -> NDArray[np.float32]:
        """World distances (n,) at u (n, 3) in [0, 1]."""
        parts = torch.from_numpy(np.ascontiguousarray(u, np.float32)).to(self.field.low.device)
        return np.concatenate(
            [self.field.distance(part).cpu().numpy() for part in parts.split(POINTS_AT_ONCE)]
        )

    def state(self) -> dict[str, Tensor]:
        return {
            **prefixed("field.", self.field.state_dict()),
            **prefixed("backdrop.", {} if self.backdrop is None else self.backdrop.state_dict()),
            **prefixed("volume.", self.volume.state()),
            **prefixed("optimiser.", optimiser_state(self.optimiser)),
            "generator": self.generator.get_state(),
        }

    def load_state(self, state: Mapping[str, Tensor]) -> None:
        self.field.load_state_dict(without_prefix("field.", state))
        if self.backdrop is not None:
            self.backdrop.load_state_dict(without_prefix("backdrop.", state))
        self.volume.load_state(without_prefix("volume.", state))
        load_optimiser(self.optimiser, without_prefix("optimiser.", state))
        self.generator.set_state(state["generator"])
