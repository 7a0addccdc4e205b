"""The kernels in numba: parallel over points, rays or levels, deterministic, backward passes by hand.

Every gradient is written by exactly one thread in a fixed order, so a training run repeats bit for bit with
the same number of threads. Inner loops run over contiguous features so that LLVM turns them into vectors.
"""

from training.kernels.cpu.gaussian import gaussian_kernels
from training.kernels.cpu.grid import grid_encode
from training.kernels.cpu.network import by_network, networks, networks_jacobian
from training.kernels.cpu.rays import composite, march, march_contracted, per_ray_linear

NAME = "numba"

__all__ = [
    "NAME",
    "by_network",
    "composite",
    "gaussian_kernels",
    "grid_encode",
    "march",
    "march_contracted",
    "networks",
    "networks_jacobian",
    "per_ray_linear",
]
