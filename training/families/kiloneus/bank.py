"""The students: a grid of cells over the scene box, and in each that the surface crosses two tiny networks.

What the KiloNeuS paper (Esposito et al. 2022) says of its networks is that there are thousands, and that they
are independent; grid, shapes and activations are our choice. Sines (Sitzmann et al. 2020) because value and
normal of a smooth surface come from one cheap network without an encoding.
"""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional

from render.asset import BakedNetwork
from render.errors import InshaderError
from render.network import MAX_COUNT, Linear, NetworkSpec, Slot
from training.kernels import Kernels
from training.modules import Network, stage_0

# What sine layers multiply their argument with: colours change faster across a cell than distances do.
GEOMETRY_FREQUENCY, COLOUR_FREQUENCY = 6.0, 16.0
POINTS_AT_ONCE = 1 << 17

Floats = NDArray[np.float32]


class Bank(nn.Module):
    """Signed distance and colour of points in active cells, each cell by networks of its own.

    Args:
        cells: (x, y, z), which are active; network k belongs to the k-th in C order.
        fine: cells of the occupancy along a side of one of them.
        bounds: (2, 3) of the box.
        width: of hidden layers.
        harmonics: degree of the spherical harmonics of colour.
    """

    slots: Tensor
    corners: Tensor
    shape: Tensor
    low: Tensor
    size: Tensor

    def __init__(
        self,
        cells: NDArray[np.bool_],
        fine: int,
        bounds: Floats,
        width: int,
        harmonics: int,
        kernels: Kernels,
        generator: torch.Generator,
    ) -> None:
        super().__init__()
        self.kernels, self.cells, self.fine, self.count = kernels, cells, fine, int(cells.sum())
        if not 1 <= self.count <= MAX_COUNT:
            raise InshaderError(f"kiloneus: {self.count} cells hold a surface, expected 1 to {MAX_COUNT}")
        slots = np.full(cells.shape, -1, np.int64)
        slots[cells] = np.arange(self.count)
        self.register_buffer("slots", torch.from_numpy(slots.ravel()))
        self.register_buffer("corners", torch.from_numpy(np.argwhere(cells).astype(np.float32)))
        self.register_buffer("shape", torch.tensor(cells.shape, dtype=torch.float32))
        self.register_buffer("low", torch.from_numpy(bounds[0].copy()))
        self.register_buffer("size", torch.from_numpy(bounds[1] - bounds[0]))
        self.scale = 0.5 * float((self.size / self.shape).mean())  # of an output of 1: half a cell
        position, normal = Slot("position", 3), Slot("normal", 3)
        direction = Slot("direction", 3, "spherical_harmonics", harmonics)
        wave = Linear(width, activation="sine", scale=GEOMETRY_FREQUENCY)
        layers = (wave, wave, Linear(1))
        self.geometry = Network(NetworkSpec((position,), layers, self.count), generator, alike=True)
        fast = Linear(width, activation="sine", scale=COLOUR_FREQUENCY)
        layers = (fast, Linear(width, activation="relu"), Linear(3, activation="sigmoid"))
        spec = NetworkSpec((position, normal, direction), layers, self.count)
        self.colour = Network(spec, generator, alike=True)

    def locate(self, u: Tensor) -> tuple[Tensor, Tensor]:
        """Networks (n,), -1 in cells without one, and places in the cells (n, 3), [-1, 1], of u (n, 3)."""
        fine = self.shape * self.fine  # as render.sphere_tracing.network_cell has it
        cell = torch.minimum((u * fine).floor(), fine - 1).div(self.fine, rounding_mode="floor")
        i, j, k = cell.long().unbind(-1)
        _, ny, nz = self.cells.shape
        return self.slots[(i * ny + j) * nz + k], 2 * (u * self.shape - cell) - 1

    def points(self, corners: Tensor, local: Tensor) -> Tensor:
        """u (..., 3) of places (..., 3) in the cells at ``corners`` (..., 3): the inverse of ``locate``."""
        return (corners + 0.5 * (local + 1)) / self.shape

    def distances(self, local: Tensor, offsets: Tensor) -> Tensor:
        """f (n,), world units, at places (n, 3) sorted by network."""
        parameters = self.geometry.parameters_by_name()
        return self.scale * self.kernels.networks(self.geometry.spec, parameters, local, offsets)[:, 0]

    def gradients(self, local: Tensor, offsets: Tensor) -> tuple[Tensor, Tensor]:
        """f (n,) and its world gradient (n, 3) at places (n, 3) sorted by network."""
        parameters = self.geometry.parameters_by_name()
        y, dy = self.kernels.networks_jacobian(self.geometry.spec, parameters, local, offsets)
        return self.scale * y[:, 0], dy[:, 0] * (2 * self.scale * self.shape / self.size)

    def colours(self, local: Tensor, normal: Tensor, d: Tensor, offsets: Tensor) -> Tensor:
        """Display colours (n, 3) at places sorted by network; unit normals and directions (n, 3)."""
        x = stage_0(self.colour.spec, local, normal, d)
        return self.kernels.networks(self.colour.spec, self.colour.parameters_by_name(), x, offsets)

    def forward(self, u: Tensor, d: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """f (n,), its world gradient and display colours (n, 3) at u (n, 3) in active cells, seen along d."""
        ids, local = self.locate(u)
        order, offsets = self.kernels.by_network(ids.clamp(min=0), self.count)
        f, gradient = self.gradients(local[order], offsets)
        rgb = self.colours(local[order], functional.normalize(gradient, dim=-1, eps=1e-6), d[order], offsets)
        back = inverse(order)
        return f[back], gradient[back], rgb[back]

    def colour_at(self, u: Tensor, normal: Tensor, d: Tensor) -> Tensor:
        """Display colours (n, 3) at u (n, 3), for unit normals and directions (n, 3)."""
        ids, local = self.locate(u)
        order, offsets = self.kernels.by_network(ids.clamp(min=0), self.count)
        rgb = self.colours(local[order], normal[order], d[order], offsets)
        return rgb[inverse(order)]

    @torch.no_grad()
    def distance(self, u: Tensor) -> Tensor:
        """f (n,) at u (n, 3); half the box's diagonal where there is no network."""
        ids, local = self.locate(u)
        order, offsets = self.kernels.by_network(ids.clamp(min=0), self.count)
        f = torch.empty(len(u), device=u.device)
        f[order] = self.distances(local[order], offsets)
        return torch.where(ids < 0, torch.ones_like(f), f)

    @torch.no_grad()
    def distance_gradient(self, u: Tensor) -> tuple[Tensor, Tensor]:
        """f (n,) and its world gradient (n, 3) at u (n, 3)."""
        ids, local = self.locate(u)
        order, offsets = self.kernels.by_network(ids.clamp(min=0), self.count)
        f, gradient = torch.empty(len(u), device=u.device), torch.empty_like(u)
        f[order], gradient[order] = self.gradients(local[order], offsets)
        return f, gradient

    def baked(self, precision: str) -> dict[str, BakedNetwork]:
        """The banks that the shader ``kiloneus/trace_cells.glsl`` asks for."""
        found = {}
        for name, network in (("distance", self.geometry), ("colour", self.colour)):
            spec = NetworkSpec(network.spec.inputs, network.spec.layers, self.count, precision)
            found[name] = BakedNetwork(spec, network.baked())
        return found


def inverse(order: Tensor) -> Tensor:
    """The permutation (n,) that undoes another."""
    back = torch.empty_like(order)
    back[order] = torch.arange(len(order), device=order.device)
    return back
