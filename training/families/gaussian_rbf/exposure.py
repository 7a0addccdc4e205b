"""How bright the pictures are that a radiance field learns from."""

from __future__ import annotations

import torch
from torch import Tensor, nn


class Exposure(nn.Module):
    """By what each training picture's colours are brighter, by channel, than those of the mean picture.

    Held-out pictures are drawn as the mean picture is. Of display colours a gain (our choice).
    """

    def __init__(self, views: int) -> None:
        super().__init__()
        self.log_gain = nn.Parameter(torch.zeros(views, 3))

    def forward(self, view: Tensor) -> Tensor:
        """(n, 3) for pictures (n,); 1 where nothing is learnt."""
        if not len(self.log_gain):
            return torch.ones(3, device=self.log_gain.device)
        return torch.exp(self.log_gain - self.log_gain.mean(0))[view.to(self.log_gain.device)]
