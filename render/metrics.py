"""How alike two pictures are: PSNR, SSIM, and the parity of one picture drawn in two ways."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

Image = NDArray[np.floating]
SSIM_RADIUS, SSIM_SIGMA = 5, 1.5  # Wang et al. 2004: a window of 11 pixels


def psnr(a: Image, b: Image, peak: float = 1.0, mask: NDArray[np.bool_] | None = None) -> float | None:
    """Peak signal-to-noise ratio in dB of two pictures (h, w, c); only where ``mask`` (h, w) is set.

    Returns:
        None where it is infinite (equal pictures) or nothing is compared.
    """
    difference = np.asarray(a, np.float64) - np.asarray(b, np.float64)
    if mask is not None:
        difference = difference[mask]
    error = float(np.mean(difference**2)) if difference.size else 0.0
    return 10 * math.log10(peak * peak / error) if error > 0 else None


def ssim(a: Image, b: Image, peak: float = 1.0) -> float:
    """Structural similarity of two pictures (h, w, c), the mean over pixels and channels.

    A Gaussian window of 11 pixels, sigma 1.5; windows that leave the picture are left out, so each side is at
    least 11. Source: Wang et al. 2004, eq. 13, in the form of scikit-image (``gaussian_weights``, without
    ``use_sample_covariance``).
    """
    x, y = np.asarray(a, np.float64), np.asarray(b, np.float64)
    mean_x, mean_y = _blurred(x), _blurred(y)
    var_x = _blurred(x * x) - mean_x * mean_x
    var_y = _blurred(y * y) - mean_y * mean_y
    covariance = _blurred(x * y) - mean_x * mean_y
    c1, c2 = (0.01 * peak) ** 2, (0.03 * peak) ** 2
    similarity = (2 * mean_x * mean_y + c1) * (2 * covariance + c2)
    similarity /= (mean_x**2 + mean_y**2 + c1) * (var_x + var_y + c2)
    return float(similarity.mean())


def _blurred(image: NDArray[np.float64]) -> NDArray[np.float64]:
    """Gaussian blur of the two leading axes, without the border the window does not fit in."""
    offsets = np.arange(-SSIM_RADIUS, SSIM_RADIUS + 1)
    weights = np.exp(-0.5 * (offsets / SSIM_SIGMA) ** 2)
    weights /= weights.sum()
    for axis in (0, 1):
        length = image.shape[axis] - 2 * SSIM_RADIUS
        slices = [np.take(image, range(k, k + length), axis) * weight for k, weight in enumerate(weights)]
        image = np.sum(slices, 0)
    return image


def parity_db(a: Image, b: Image, coverage_a: Image, coverage_b: Image, floor: float = 1e-3) -> float | None:
    """PSNR of two drawings of one field, over the pixels that either covers by more than ``floor``.

    Args:
        a, b: (h, w, 3) display colours.
        coverage_a, coverage_b: (h, w) or (h, w, 1).
    """
    shape = a.shape[:2]
    covered = (coverage_a.reshape(shape) > floor) | (coverage_b.reshape(shape) > floor)
    return psnr(a, b, mask=covered)
