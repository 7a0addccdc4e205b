"""PSNR and SSIM against their definitions and against scikit-image."""

from __future__ import annotations

import numpy as np
import pytest

from render.metrics import parity_db, psnr, ssim


@pytest.fixture
def pictures() -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(0)
    a = rng.random((40, 33, 3)).astype(np.float32)
    return a, np.clip(a + rng.normal(0, 0.1, a.shape), 0, 1).astype(np.float32)


def test_psnr_is_its_definition(pictures: tuple[np.ndarray, np.ndarray]) -> None:
    a, b = pictures
    assert psnr(a, b) == pytest.approx(-10 * np.log10(np.mean((a.astype(float) - b) ** 2)))
    assert psnr(a, b, peak=2) == pytest.approx((psnr(a, b) or 0) + 20 * np.log10(2))
    assert psnr(np.zeros((4, 4, 3)), np.full((4, 4, 3), 0.1)) == pytest.approx(20)


def test_psnr_of_equal_pictures_is_none(pictures: tuple[np.ndarray, np.ndarray]) -> None:
    a, b = pictures
    assert psnr(a, a) is None
    assert psnr(a, b, mask=np.zeros(a.shape[:2], bool)) is None


def test_psnr_takes_a_mask(pictures: tuple[np.ndarray, np.ndarray]) -> None:
    a, b = pictures
    mask = np.zeros(a.shape[:2], bool)
    mask[5:9, 6:20] = True
    assert psnr(a, b, mask=mask) == pytest.approx(psnr(a[5:9, 6:20], b[5:9, 6:20]))


@pytest.mark.parametrize("peak", [1.0, 3.0])
def test_ssim_agrees_with_scikit_image(peak: float, pictures: tuple[np.ndarray, np.ndarray]) -> None:
    metrics = pytest.importorskip("skimage.metrics")
    a, b = pictures
    options = {"gaussian_weights": True, "sigma": 1.5, "use_sample_covariance": False, "channel_axis": -1}
    wanted = metrics.structural_similarity(a.astype(float), b.astype(float), data_range=peak, **options)
    assert ssim(a, b, peak) == pytest.approx(wanted, abs=1e-5)
    assert ssim(a, a, peak) == pytest.approx(1)


def test_parity_counts_what_either_covers(pictures: tuple[np.ndarray, np.ndarray]) -> None:
    a, b = pictures
    cover_a, cover_b = np.zeros((2, *a.shape[:2], 1), np.float32)
    assert parity_db(a, b, cover_a, cover_b) is None
    cover_a[:10], cover_b[5:20] = 0.5, 1
    assert parity_db(a, b, cover_a, cover_b[..., 0]) == pytest.approx(psnr(a[:20], b[:20]))
