"""Which cells of the scene box are worth a sample, learnt along with the field.

A cell is kept while it is dense and can be seen. Dense: its density, sampled now and then, has not faded
(the moving maximum of Mueller et al. 2022, appendix E.3). Seen, our own addition: a training ray
gave weight to it or to a neighbour lately. The inside of a solid is dense and never seen, and costs most of
the samples of a grid that keeps it. Neighbours stay, so that a surface may move.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from render.occupancy import dilate, leaps
from training import processes
from training.kernels import Samples

FADE_DENSITY, FADE_SEEN = 0.95, 0.3  # per update
DENSE = 0.01  # optical thickness of a step below which a cell counts as empty; instant-ngp's value
SEEN = 0.1  # compositing weight
CELLS_PER_UPDATE = 1 << 18
LEAP_CAP = 8  # cells; a longer leap saves little in a tight box and costs a pass over it to find


class Occupancy(nn.Module):
    """Occupied cells inside ``allowed`` (R, R, R), all of them at first.

    ``least`` is the compositing weight from which on a cell counts as seen.

    ``leaps`` (R, R, R) uint8 is what the marching kernel reads.
    """

    leaps: Tensor
    thickness: Tensor
    seen: Tensor

    def __init__(self, allowed: NDArray[np.bool_], least: float = SEEN) -> None:
        super().__init__()
        self.least = least
        self.shape = allowed.shape
        self.allowed = torch.from_numpy(np.flatnonzero(allowed))
        self.register_buffer("leaps", torch.from_numpy(leaps(allowed, LEAP_CAP)))
        unseen = np.where(allowed.reshape(-1), np.inf, 0).astype(np.float32)  # kept until it is looked at
        self.register_buffer("thickness", torch.from_numpy(unseen))
        self.register_buffer("seen", torch.zeros(allowed.size))

    @property
    def cells(self) -> NDArray[np.bool_]:
        """(R, R, R) which are occupied."""
        return (self.leaps == 0).cpu().numpy()

    def note(self, samples: Samples, weights: Tensor) -> None:
        """Remember the largest weight that a ray gave to each cell."""
        shape = torch.tensor(self.shape, device=samples.x.device)
        i, j, k = torch.minimum((samples.x * shape).long(), shape - 1).unbind(-1)
        self.seen.scatter_reduce_(0, (i * self.shape[1] + j) * self.shape[2] + k, weights, "amax")

    @torch.no_grad()
    def update(self, optical_thickness: Callable[[Tensor], Tensor], generator: torch.Generator) -> None:
        """Look again at random allowed cells, at those seen by any process.

        ``optical_thickness`` maps points (n, 3) in [0, 1] to (n,).
        """
        processes.keep_largest(self.seen)
        index = self.allowed
        if len(index) > CELLS_PER_UPDATE:  # without repetition: of a cell written twice either value may stay
            index = index[torch.randperm(len(index), generator=generator)[:CELLS_PER_UPDATE]]
        nx, ny, nz = self.shape
        corner = torch.stack([index // (ny * nz), index // nz % ny, index % nz], -1).float()
        x = (corner + torch.rand(corner.shape, generator=generator)) / torch.tensor([nx, ny, nz])
        found = optical_thickness(x.to(self.leaps.device))
        index = index.to(self.leaps.device)
        before = self.thickness[index]
        before[before.isinf()] = 0
        self.thickness[index] = torch.maximum(before * FADE_DENSITY, found)
        # Until density has formed its mean is the bar, so that a faint start is not thrown away whole.
        known = self.thickness[self.allowed]
        bar = min(DENSE, float(known[known.isfinite()].mean()))
        dense = (self.thickness > bar).cpu().numpy().reshape(self.shape)
        seen = dilate((self.seen > self.least).cpu().numpy().reshape(self.shape))
        self.seen *= FADE_SEEN
        self.leaps.copy_(torch.from_numpy(leaps(dense & seen, LEAP_CAP)))
        processes.make_same(self.thickness, self.leaps)  # a GPU need not find the same twice
