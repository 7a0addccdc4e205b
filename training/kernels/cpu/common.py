"""What all numba kernels share: how they are compiled, and constants of the right width."""

from __future__ import annotations

from typing import Any

import numpy as np
from torch import Tensor

# Infinities and NaN keep their meaning: a diverging run must be seen. Sums keep their order: with "reassoc"
# code that numba loads from its cache was seen to add in another order than the code it had just compiled.
FAST = {"contract", "arcp", "nsz"}
# A bare 0.5 is a float64 to numba, and would turn a whole expression into one.
ZERO, HALF, ONE, TWO = np.float32(0), np.float32(0.5), np.float32(1), np.float32(2)


def array(tensor: Tensor) -> Any:
    """The numpy array of a CPU tensor, contiguous."""
    return tensor.detach().contiguous().numpy()
