"""What stands behind the scene box in pictures without alpha, so that the surface need not imitate it."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from render.network import Linear, NetworkSpec, Slot
from training.kernels import Kernels
from training.modules import Network, stage_0

WIDTH, OCTAVES = 64, 4


class Backdrop(nn.Module):
    """Colour of a ray by where it leaves the ball around the box, and its direction (our choice).

    It stands in for NeRF++ (Zhang et al. 2020), which NeuS marches through outside: one evaluation a ray, and
    parallax enough for a box that fills most of the pictures. It is for training alone and not baked.
    """

    def __init__(self, kernels: Kernels, generator: torch.Generator) -> None:
        super().__init__()
        self.kernels = kernels
        slots = Slot("exit", 3, "frequency", OCTAVES), Slot("direction", 3, "frequency", OCTAVES)
        hidden = Linear(WIDTH, activation="relu")
        spec = NetworkSpec(slots, (hidden, hidden, Linear(3, activation="sigmoid")))
        self.network = Network(spec, generator)

    def forward(self, rays_o: Tensor, rays_d: Tensor) -> Tensor:
        """Display colours (n, 3) of rays (n, 3) in world units, where the box's half diagonal is 1."""
        along = (rays_o * rays_d).sum(-1, keepdim=True)
        beyond = (along.square() - rays_o.square().sum(-1, keepdim=True) + 1).clamp(min=0).sqrt()
        x = stage_0(self.network.spec, rays_o + (beyond - along) * rays_d, rays_d)
        offsets = torch.tensor([0, len(x)], device=x.device)
        return self.kernels.networks(self.network.spec, self.network.parameters_by_name(), x, offsets)
