"""Gaussian RBF fields: multi-resolution grid features decoded by Gaussian kernels in feature space.

Sources: GNF / Gaussian RBFNet (Bouzidi, Laga, Wannous and Sohel 2025, arXiv 2503.06762): the decoder
y = W exp(-1/2 sum_f beta_f (x_f - mu_f)^2) + b on grid features x, spherical harmonics of degree 3 for
colour; instant-ngp (Mueller et al. 2022) for the grid and the occupancy.

Where we differ, each by our own measurement (README, "Decoders"):
- The default decoder normalises the kernels (a softmax of squared distances) and appends x itself as a linear
  term; ``decoder: rbf`` is the paper's, ``decoder: mlp`` a ReLU layer with the same number of multiply-adds.
- The output layer for colour is linear in the harmonics of the ray direction, so it is folded once per ray
  into three rows, which makes the colour of a sample 3 (1 + H) multiply-adds instead of 48 (1 + H).
- ``deferred`` composites the activations and applies the output layer once per pixel.
- The scene box is the object's, carved from its silhouettes, and only what is dense and seen is sampled
  (``training/occupancy.py``).
"""

from training.families import Family
from training.families.gaussian_rbf import image, radiance, sdf

FAMILY = Family(tasks={"radiance": radiance.TASK, "image": image.TASK, "sdf": sdf.TASK})
