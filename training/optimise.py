"""Adam with a rate for each group of parameters; one step for all processes (``training/processes.py``)."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor, nn

from training import processes


def adam(groups: Mapping[float, list[nn.Parameter]]) -> torch.optim.Adam:
    """Adam over groups of parameters; each learns at that part, its key, of the rate given to ``descend``."""
    named = [{"params": parameters, "rate": rate} for rate, parameters in groups.items()]
    return torch.optim.Adam(named, lr=1e-3, betas=(0.9, 0.99), eps=1e-15, fused=True)


def descend(optimiser: torch.optim.Adam, loss: Tensor, learning_rate: float) -> None:
    """One step down the mean loss of all processes, each group at its part of ``learning_rate``."""
    for group in optimiser.param_groups:
        group["lr"] = learning_rate * group["rate"]
    optimiser.zero_grad()
    loss.backward()
    processes.average_gradients(p for group in optimiser.param_groups for p in group["params"])
    optimiser.step()
