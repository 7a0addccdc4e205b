"""The kernels on a CUDA device: the reference, and where they import nerfacc and tiny-cuda-nn in its place.

nerfacc (Li et al. 2023) marches through boxes and composites, tiny-cuda-nn (Müller 2021) encodes grids, in
half precision. Networks stay with torch: tiny-cuda-nn's have no biases, ours do. Marches through all of space
stay too: nerfacc has no such lattice. Without a GPU the libraries are not imported.
"""

from training.kernels import reference
from training.kernels.cuda.libraries import NERFACC, TINYCUDANN
from training.kernels.reference import (
    by_network,
    gaussian_kernels,
    march_contracted,
    networks,
    networks_jacobian,
    per_ray_linear,
)

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

if NERFACC.found:
    from training.kernels.cuda.marching import composite, march
else:
    composite, march = reference.composite, reference.march
if TINYCUDANN.found:
    from training.kernels.cuda.encoding import grid_encode
else:
    grid_encode = reference.grid_encode

NAME = " + ".join(["torch", *(library.name for library in (NERFACC, TINYCUDANN) if library.found)])
