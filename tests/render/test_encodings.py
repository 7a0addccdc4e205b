"""The tables of encodings and activations by themselves; the parity of networks is in test_network.py."""

from __future__ import annotations

import numpy as np
import pytest

from render.encodings import ACTIVATIONS, SPHERICAL_HARMONICS, differentiate, evaluate_polynomial


def test_spherical_harmonics_are_orthonormal() -> None:
    """By quadrature: Gauss-Legendre in z, equal steps around it."""
    z, weights = np.polynomial.legendre.leggauss(8)
    angle = (np.arange(16) + 0.5) / 16 * 2 * np.pi
    r = np.sqrt(1 - z**2)
    x = np.stack([r[:, None] * np.cos(angle), r[:, None] * np.sin(angle), z[:, None] + 0 * angle], -1)
    basis = np.stack([evaluate_polynomial(p, x) for p in SPHERICAL_HARMONICS], -1)
    gram = np.einsum("zam,zan,z->mn", basis, basis, weights) * 2 * np.pi / 16
    assert np.allclose(gram, np.eye(16), atol=1e-12)


def test_polynomials_differentiate() -> None:
    x = np.random.default_rng(0).normal(size=(20, 3))
    for polynomial in SPHERICAL_HARMONICS:
        for axis in range(3):
            h = 1e-6 * np.eye(3)[axis]
            wanted = (evaluate_polynomial(polynomial, x + h) - evaluate_polynomial(polynomial, x - h)) / 2e-6
            assert np.allclose(evaluate_polynomial(differentiate(polynomial, axis), x), wanted, atol=1e-7)


@pytest.mark.parametrize("name", ACTIVATIONS)
def test_activations_differentiate(name: str) -> None:
    activation = ACTIVATIONS[name]
    z = np.linspace(-4, 4, 81) + 0.013  # not on a kink
    wanted = (activation.value(z + 1e-6, 1.7) - activation.value(z - 1e-6, 1.7)) / 2e-6
    assert np.allclose(activation.derivative(z, 1.7), wanted, atol=1e-6)


@pytest.mark.parametrize("name", ["sigmoid", "tanh", "softplus", "gaussian"])
def test_activations_stay_finite(name: str) -> None:
    z = np.float32([-3e4, -200, 200])
    z = z if name != "softplus" else np.append(z, np.float32(3e4))
    assert np.isfinite(ACTIVATIONS[name].value(z, 1.0)).all()
    assert np.isfinite(ACTIVATIONS[name].derivative(z, 1.0)).all()
