"""Options of light fields, the presets, and the networks that they describe."""

from __future__ import annotations

from typing import Annotated, Any, Literal, Self

import torch
from pydantic import BaseModel, ConfigDict, Field, model_validator

from render.errors import InshaderError
from render.light_field_rays import MAX_POINTS
from training.families.light_field.gather import GatherFeatures
from training.families.light_field.network import LightFieldNetwork
from training.kernels import Kernels
from training.modules import check_resolutions, grid_between
from training.optimise import adam
from training.space import Space

FACTORS = {2: (2,), 3: (3,), 4: (2, 2), 6: (2, 3), 8: (2, 2, 2), 12: (2, 2, 3), 16: (2, 2, 2, 2)}
GRID_RATE = 5.0  # of the grid, in learning rates


class Config(BaseModel):
    """Options of the family, under the key ``light_field`` of a scene file."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    task: Literal["distil"] = "distil"
    teacher: str = Field(
        "gaussian_rbf",
        description="who draws the pseudo views: gaussian_rbf, a radiance field trained first; a procedural "
        "subject (still_life, fluff), which is ray traced; none, to learn from the real pictures alone; "
        "else an asset or run folder of the same scene",
    )
    teacher_options: dict[str, Any] = Field(
        default_factory=dict, description="of the radiance field that is trained first, as under gaussian_rbf"
    )
    teacher_share: float = Field(
        0.25, gt=0, lt=1, description="of the budget, where the teacher is trained first"
    )
    finetune_share: float = Field(
        0.08, ge=0, lt=1, description="of the budget, for the real pictures at the end"
    )
    pseudo_views: int = Field(2000, ge=2, le=100_000, description="pictures that the teacher draws")
    distance_range: float = Field(
        0.1, ge=0, lt=1, description="how much nearer and farther than the data's cameras may come, a part"
    )
    target_range: float = Field(
        0.05, ge=0, le=1, description="how far off their target cameras may look, world units"
    )
    levels: int = Field(
        8,
        ge=0,
        le=16,
        description="of the grid that is gathered along rays; 0: the trunk takes points of them",
    )
    points: int = Field(8, ge=2, le=MAX_POINTS, description="of a ray that the trunk takes")
    steps: int = Field(
        192, ge=16, le=4096, description="samples along a ray, as under gaussian_rbf, that are gathered"
    )
    occupancy_resolution: int = Field(
        96, ge=8, le=512, description="cells a side, where there is no teacher's"
    )
    features: Literal[1, 2, 4, 8] = Field(2, description="values per grid entry")
    log2_table_size: int = Field(16, ge=8, le=22, description="entries of a grid level, at most 2^this")
    base_resolution: int = Field(
        8, ge=2, le=128, description="coarsest level of the grid, cells along a side"
    )
    finest_resolution: int = Field(192, ge=2, le=2048, description="finest level")
    octaves: int = Field(0, ge=0, le=10, description="of the encoding of points that the trunk takes")
    jitter: bool = Field(
        False,
        description="move the points of a ray at random within their strata, in training; samples always",
    )
    width: int = Field(24, ge=4, le=512, description="of the trunk")
    blocks: int = Field(1, ge=1, le=64, description="residual blocks of the trunk")
    channels: tuple[Annotated[int, Field(ge=1, le=512)], ...] = Field(
        (16, 16, 8),
        min_length=1,
        max_length=4,
        description="after each step of upsampling; of fewer steps the last",
    )
    upscale: Literal[2, 3, 4, 6, 8, 12, 16] = Field(2, description="pixels along a side that a ray becomes")
    refine: int = Field(1, ge=0, le=8, description="residual blocks after each step of upsampling")
    overlaps: bool = Field(
        True, description="transposed convolutions with kernel 4 and stride 2, else kernel 2"
    )
    activation: Literal["relu", "gelu"] = Field("relu", description="gelu is the form by tanh")
    normalise: bool = Field(False, description="batch normalisation, folded into the layers when baked")
    preview: str | None = Field(
        None, description="a preset whose network is trained beside, to be drawn while the camera moves"
    )
    views_per_step: int = Field(4, ge=1, le=256, description="size of a training batch")
    crop: int = Field(
        32,
        ge=0,
        le=1024,
        description="train on windows of so many rays a side, which many steps need; 0: whole views",
    )
    learning_rate: float = Field(4e-3, gt=0, le=1, description="of Adam, at its height")
    precision: Literal["float16", "float32"] = Field("float16", description="of the networks in the asset")

    @model_validator(mode="after")
    def _something_is_left(self) -> Self:
        if self.teacher_share + self.finetune_share >= 1:
            raise ValueError(
                f"teacher_share={self.teacher_share:g} and finetune_share={self.finetune_share:g} leave "
                "nothing to distil, expected less than 1 together"
            )
        return self

    @model_validator(mode="after")
    def _has_a_grid(self) -> Self:
        if self.levels:
            check_resolutions(self.levels, self.base_resolution, self.finest)
        return self

    @property
    def finest(self) -> int:
        """Cells along a side of the finest level."""
        return max(self.finest_resolution, self.base_resolution)


POINTS: dict[str, Any] = {"levels": 0, "upscale": 8, "crop": 16}
PRESETS: dict[str, dict[str, Any]] = {
    "default": {},
    "mobile_r2l": {
        **POINTS,
        "octaves": 6,
        "width": 256,
        "blocks": 29,
        "channels": (64, 64, 16),
        "refine": 2,
        "activation": "gelu",
        "normalise": True,
        "jitter": True,
        "crop": 0,
        "preview": "J",
        "pseudo_views": 10_000,
        "learning_rate": 5e-4,
    },
    "E": {
        **POINTS,
        "octaves": 6,
        "width": 128,
        "blocks": 14,
        "channels": (32, 16),
        "upscale": 4,
        "refine": 2,
        "learning_rate": 1e-3,
    },
    "G": {
        **POINTS,
        "octaves": 4,
        "width": 64,
        "blocks": 8,
        "channels": (32, 16, 8),
        "learning_rate": 2e-3,
    },
    "J": {**POINTS, "octaves": 3, "width": 48, "blocks": 6, "channels": (16, 16, 8), "crop": 8},
    "K": {
        **POINTS,
        "octaves": 2,
        "width": 32,
        "blocks": 4,
        "channels": (16, 8, 8),
        "overlaps": False,
        "crop": 8,
    },
}

NETWORK = ("points", "octaves", "width", "blocks", "refine", "overlaps", "activation", "normalise")


def optimiser_of(network: LightFieldNetwork) -> torch.optim.Adam:
    """Adam; the grid learns faster than what reads it."""
    grid = [] if network.gather is None else list(network.gather.grid.parameters())
    others = [part for part in network.parameters() if not any(part is entry for entry in grid)]
    return adam({GRID_RATE: grid, 1.0: others} if grid else {1.0: others})


def build_network(
    config: Config, space: Space | None, kernels: Kernels, generator: torch.Generator
) -> LightFieldNetwork:
    """The network that the options describe.

    Args:
        space: what is gathered in, where something is.

    Raises:
        InshaderError: there are fewer channels than steps of upsampling.
    """
    factors = FACTORS[config.upscale]
    if len(config.channels) < len(factors):
        raise InshaderError(
            f"light_field.channels={list(config.channels)}: upscale={config.upscale} takes "
            f"{len(factors)} steps, expected at least {len(factors)} numbers"
        )
    options = {name: getattr(config, name) for name in NETWORK}
    gather = None
    if config.levels:
        assert space is not None
        resolutions = config.base_resolution, config.finest
        spec = grid_between(*resolutions, 3, config.levels, config.features, config.log2_table_size)
        gather = GatherFeatures(spec, space, config.steps, kernels, generator)
    channels = config.channels[len(config.channels) - len(factors) :]
    return LightFieldNetwork(
        gather=gather, channels=channels, factors=factors, generator=generator, **options
    )


def preview_config(config: Config) -> Config:
    """The options of the network that is drawn while the camera moves; its rays are those of the other."""
    if config.preview not in PRESETS:
        raise InshaderError(f"light_field.preview={config.preview} is not one of {', '.join(PRESETS)}")
    if config.levels:
        raise InshaderError("light_field.preview is of networks that take points: set light_field.levels=0")
    channels = PRESETS[config.preview].get("channels", Config().channels)
    if len(channels) < len(FACTORS[config.upscale]):
        raise InshaderError(
            f"light_field.preview={config.preview} has channels for {len(channels)} steps of upsampling, "
            f"upscale={config.upscale} takes {len(FACTORS[config.upscale])}: name another preset, or null"
        )
    same = {"points": config.points, "upscale": config.upscale, "views_per_step": config.views_per_step}
    return Config.model_validate({**PRESETS[config.preview], **same, "preview": None})
