"""Input encodings and activations of small networks: one table each, for numpy and for GLSL.

``training/modules.py`` has the torch twins under the same names; ``tests/render/test_network.py`` holds all
three against each other.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.floating]

# Real spherical harmonics up to degree 3 as polynomials in the unit direction (x, y, z): one row per
# function, each a sum of terms (coefficient, exponents). Order and signs are those of 3-D graphics
# (Sloan, "Stupid spherical harmonics tricks", appendix A2).
_C1, _C2 = math.sqrt(3 / (4 * math.pi)), math.sqrt(15 / (4 * math.pi))
_C20, _C22 = math.sqrt(5 / (16 * math.pi)), math.sqrt(15 / (16 * math.pi))
_C33, _C32 = math.sqrt(35 / (32 * math.pi)), math.sqrt(105 / (4 * math.pi))
_C31, _C30, _C3z = (
    math.sqrt(21 / (32 * math.pi)),
    math.sqrt(7 / (16 * math.pi)),
    math.sqrt(105 / (16 * math.pi)),
)
Polynomial = tuple[tuple[float, tuple[int, int, int]], ...]
SPHERICAL_HARMONICS: tuple[Polynomial, ...] = (
    ((math.sqrt(1 / (4 * math.pi)), (0, 0, 0)),),
    ((-_C1, (0, 1, 0)),),
    ((_C1, (0, 0, 1)),),
    ((-_C1, (1, 0, 0)),),
    ((_C2, (1, 1, 0)),),
    ((-_C2, (0, 1, 1)),),
    ((2 * _C20, (0, 0, 2)), (-_C20, (2, 0, 0)), (-_C20, (0, 2, 0))),
    ((-_C2, (1, 0, 1)),),
    ((_C22, (2, 0, 0)), (-_C22, (0, 2, 0))),
    ((-3 * _C33, (2, 1, 0)), (_C33, (0, 3, 0))),
    ((_C32, (1, 1, 1)),),
    ((-4 * _C31, (0, 1, 2)), (_C31, (2, 1, 0)), (_C31, (0, 3, 0))),
    ((2 * _C30, (0, 0, 3)), (-3 * _C30, (2, 0, 1)), (-3 * _C30, (0, 2, 1))),
    ((-4 * _C31, (1, 0, 2)), (_C31, (3, 0, 0)), (_C31, (1, 2, 0))),
    ((_C3z, (2, 0, 1)), (-_C3z, (0, 2, 1))),
    ((-_C33, (3, 0, 0)), (3 * _C33, (1, 2, 0))),
)


def differentiate(polynomial: Polynomial, axis: int) -> Polynomial:
    """Partial derivative of a polynomial in x, y, z along ``axis``."""
    terms = []
    for coefficient, exponents in polynomial:
        if exponents[axis]:
            lowered = tuple(e - (k == axis) for k, e in enumerate(exponents))
            terms.append((coefficient * exponents[axis], lowered))
    return tuple(terms)  # type: ignore[arg-type]


def evaluate_polynomial(polynomial: Polynomial, x: Array) -> Array:
    """Value of a polynomial at points x (..., 3) -> (...)."""
    total = np.zeros(x.shape[:-1], x.dtype)
    for coefficient, (a, b, c) in polynomial:
        total = total + coefficient * x[..., 0] ** a * x[..., 1] ** b * x[..., 2] ** c
    return total


def polynomial_glsl(polynomial: Polynomial, x: str) -> str:
    """The polynomial of the vector ``x`` as a GLSL expression."""
    terms = []
    for coefficient, exponents in polynomial:
        factors = [f"{x}.{axis}" for axis, e in zip("xyz", exponents, strict=True) for _ in range(e)]
        terms.append(
            " * ".join(
                [f"{coefficient:.9g}" if "." in f"{coefficient:.9g}" else f"{coefficient:.1f}", *factors]
            )
        )
    return " + ".join(terms) or "0.0"


@dataclass(frozen=True)
class Activation:
    """An elementwise function z -> a, its derivative, and both as GLSL on a vec4 named ``z``.

    ``s`` is the layer's ``scale``; only sine and softplus use it.
    """

    value: Callable[[Array, float], Array]
    derivative: Callable[[Array, float], Array]
    value_glsl: str
    derivative_glsl: str


def _sigmoid(z: Array) -> Array:
    value: Array = (0.5 * np.tanh(0.5 * z) + 0.5).astype(z.dtype)  # tanh saturates, exp would overflow
    return value


def _gelu_argument(z: Array) -> Array:
    argument: Array = (GELU * (z + GELU_CUBIC * z * z * z)).astype(z.dtype)
    return argument


LN2 = math.log(2.0)
GELU, GELU_CUBIC = math.sqrt(2 / math.pi), 0.044715

ACTIVATIONS: dict[str, Activation] = {
    "none": Activation(lambda z, s: z, lambda z, s: np.ones_like(z), "{z}", "vec4(1.0)"),
    "relu": Activation(
        lambda z, s: np.maximum(z, 0),
        lambda z, s: (z > 0).astype(z.dtype),
        "max({z}, 0.0)",
        "step(1e-30, {z})",
    ),
    "sigmoid": Activation(
        lambda z, s: _sigmoid(z),
        lambda z, s: _sigmoid(z) * _sigmoid(-z),
        "1.0 / (1.0 + exp(-{z}))",
        "(1.0 / ((1.0 + exp(-{z})) * (1.0 + exp({z}))))",
    ),
    "tanh": Activation(
        lambda z, s: np.tanh(z),
        lambda z, s: 1 - np.tanh(z) ** 2,
        "tanh({z})",
        "(1.0 - tanh({z}) * tanh({z}))",
    ),
    "sine": Activation(  # Sitzmann et al. 2020, eq. 1, with its omega as the scale
        lambda z, s: np.sin(s * z), lambda z, s: s * np.cos(s * z), "sin({s} * {z})", "({s} * cos({s} * {z}))"
    ),
    "softplus": Activation(  # log(1 + exp(s z)) / s, written so that large |z| neither overflows nor cancels
        lambda z, s: np.maximum(z, 0) + np.log1p(np.exp(-np.abs(s * z))) / s,
        lambda z, s: _sigmoid(s * z),
        "max({z}, 0.0) + log(1.0 + exp(-abs({s} * {z}))) / {s}",
        "(1.0 / (1.0 + exp(-{s} * {z})))",
    ),
    "gelu": Activation(  # Hendrycks and Gimpel 2016, by tanh, which GLSL has: 5e-4 from the exact one
        lambda z, s: 0.5 * z * (1 + np.tanh(_gelu_argument(z))),
        lambda z, s: (
            0.5 * (1 + np.tanh(_gelu_argument(z)))
            + 0.5 * z * (1 - np.tanh(_gelu_argument(z)) ** 2) * GELU * (1 + 3 * GELU_CUBIC * z * z)
        ),
        f"{{z}} / (1.0 + exp({-2 * GELU:.9g} * ({{z}} + {GELU_CUBIC} * {{z}} * {{z}} * {{z}})))",
        f"(1.0 / (1.0 + exp({-2 * GELU:.9g} * ({{z}} + {GELU_CUBIC} * {{z}} * {{z}} * {{z}})))"
        f" * (1.0 + {2 * GELU:.9g} * {{z}} * (1.0 + {3 * GELU_CUBIC:.9g} * {{z}} * {{z}})"
        f" / (1.0 + exp({2 * GELU:.9g} * ({{z}} + {GELU_CUBIC} * {{z}} * {{z}} * {{z}})))))",
    ),
    "gaussian": Activation(  # of a folded squared distance, to base 2 (Bouzidi et al. 2025, refolded)
        lambda z, s: np.exp2(np.minimum(z, 0)),
        lambda z, s: LN2 * np.exp2(np.minimum(z, 0)) * (z <= 0),
        "exp2(min({z}, 0.0))",
        f"({LN2:.9g} * exp2(min({{z}}, 0.0)) * step({{z}}, vec4(0.0)))",
    ),
}
