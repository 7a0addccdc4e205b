"""NeuS: a signed distance along a ray -> optical thickness, and its gradient from finite differences.

Source: Wang et al. 2021, eq. 13 and the code that goes with it; finite differences after Li et al. 2023
(Neuralangelo), with four taps instead of six (our choice).
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn
from torch.nn import functional

LOG_SHARPNESS_RATE = 10.0  # s = exp(10 theta): theta then moves as fast as weights do (the authors' code)
# Corners of a tetrahedron: their weighted sum is a gradient exact to second order.
TAPS = torch.tensor([[1.0, -1, -1], [-1, -1, 1], [-1, 1, -1], [1, 1, 1]])


class Sharpness(nn.Module):
    """The learnt s: 1 / s is the spread of the surface along a ray, world units.

    It learns above a floor that whoever trains it may raise (our choice): in minutes it does not get from fog
    to a surface by itself.
    """

    floor: Tensor

    def __init__(self, start: float) -> None:
        super().__init__()
        self.theta = nn.Parameter(torch.tensor(math.log(start) / LOG_SHARPNESS_RATE))
        self.register_buffer("floor", torch.tensor(start))

    def forward(self) -> Tensor:
        return torch.maximum(torch.exp(LOG_SHARPNESS_RATE * self.theta), self.floor)


def optical_thickness(f: Tensor, slope: Tensor, step: float, s: Tensor, anneal: float) -> Tensor:
    """-log(1 - alpha) of sections of length ``step`` around samples with distance f and d . grad f ``slope``.

    alpha = 1 - Phi(s f_next) / Phi(s f_prev), with the ends of the section on the tangent at its middle; in
    logarithms that is a difference of two log-sigmoids, which neither cancels nor needs the 1e-5 of the
    authors' code (our choice). ``anneal`` in [0, 1] fades from a slope that no section has the wrong sign of
    to max(-slope, 0).
    """
    fall = anneal * functional.relu(-slope) + (1 - anneal) * functional.relu(0.5 - 0.5 * slope)
    half = 0.5 * step * fall
    return functional.logsigmoid(s * (f + half)) - functional.logsigmoid(s * (f - half))


def frontal_thickness(f: Tensor, step: float, s: Tensor) -> Tensor:
    """``optical_thickness`` of a section that the ray enters the surface in head on."""
    return optical_thickness(f, -torch.ones_like(f), step, s, 1.0)


def taps(u: Tensor, reach: float, size: Tensor) -> Tensor:
    """Points (n, 5, 3) in [0, 1]: u (n, 3) itself, then four around it at ``reach`` world units an axis."""
    around = u[:, None] + TAPS.to(u.device) * (reach / size)  # (n, 4, 3)
    return torch.cat([u[:, None], around], 1).clamp(0, 1)


def gradient_of_taps(f: Tensor, reach: float) -> Tensor:
    """World gradient (n, 3) of distances (n, 5) at ``taps``."""
    return f[:, 1:] @ (TAPS.to(f.device) / (4 * reach))
