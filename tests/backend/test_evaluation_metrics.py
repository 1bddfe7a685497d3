"""Each measure against an independent implementation or a closed form."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.spatial.transform import Rotation
from skimage.metrics import peak_signal_noise_ratio, structural_similarity

from backend.research.evaluation import metrics


def _pair(seed: int = 0, size: int = 64) -> tuple[np.ndarray, np.ndarray]:
    """A smooth picture and a disturbed one."""
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[:size, :size] / size
    picture = np.stack([0.5 + 0.4 * np.sin(6 * x + k) * np.cos(4 * y) for k in range(3)], 2)
    return picture, (picture + rng.normal(size=picture.shape) * 0.1).clip(0, 1)


def test_psnr_is_scikit_images() -> None:
    truth, ours = _pair()
    assert metrics.psnr(truth, ours) == pytest.approx(peak_signal_noise_ratio(truth, ours, data_range=1))
    assert metrics.psnr(truth, truth) == metrics.BEST_PSNR
    # A constant difference of a tenth is 20 dB, wherever it is measured.
    where = np.zeros((64, 64), bool)
    where[10:20, 30:50] = True
    shifted = truth + np.where(where, 0.1, 0.3)[..., None]
    assert metrics.psnr(truth, shifted, where) == pytest.approx(20)
    assert metrics.psnr(truth, shifted, ~where) == pytest.approx(-20 * np.log10(0.3))


def test_ssim_is_scikit_images() -> None:
    truth, ours = _pair()
    options = dict(gaussian_weights=True, sigma=1.5, use_sample_covariance=False, data_range=1, channel_axis=2)
    expected, full = structural_similarity(truth, ours, full=True, **options)
    assert metrics.ssim(truth, ours) == pytest.approx(expected, abs=1e-9)
    where = np.zeros((64, 64), bool)
    where[20:40, 10:30] = True
    assert metrics.ssim(truth, ours, where) == pytest.approx(full.mean(2)[where].mean(), abs=1e-9)
    # At the picture's edge there is no whole window: those pixels count only where there are no others.
    where[:] = False
    where[:, :3] = True
    assert metrics.ssim(truth, ours, where) == pytest.approx(full.mean(2)[where].mean(), abs=1e-9)
    assert metrics.ssim(truth, truth) == pytest.approx(1)


def test_flip_behaves_as_published() -> None:
    truth, ours = _pair()
    assert np.abs(metrics.flip_map(truth, truth)).max() < 1e-6
    error = metrics.flip_map(truth, ours)
    assert error.shape == (64, 64) and 0 < error.min() <= error.max() <= 1
    assert metrics.flip_map(ours, truth) == pytest.approx(error, abs=1e-5)  # LDR-FLIP is symmetric
    # The paper's worst case by construction of its colour metric: green against blue of full strength.
    green, blue = (np.tile(np.array(c, float), (64, 64, 1)) for c in ((0, 1, 0), (0, 0, 1)))
    assert metrics.flip_map(green, blue).mean() == pytest.approx(1, abs=0.02)
    # Worse noise is a greater error, and an error stays where it is.
    worse = (truth + 2 * (ours - truth)).clip(0, 1)
    assert metrics.flip_map(truth, worse).mean() > error.mean()
    spot = truth.copy()
    spot[30:34, 30:34] = 1 - spot[30:34, 30:34]
    local = metrics.flip_map(truth, spot)
    assert local[26:38, 26:38].mean() > 10 * local[:10].mean()


def test_outline_iou_of_two_squares() -> None:
    a, b = np.zeros((2, 20, 20))
    a[2:10, 2:10] = 1
    b[4:12, 2:10] = 0.8
    assert metrics.outline_iou(a, b) == pytest.approx(48 / 80)
    assert np.isnan(metrics.outline_iou(a * 0, b * 0))


def test_chamfer_of_spheres_and_against_brute_force() -> None:
    rng = np.random.default_rng(0)
    a, b = rng.normal(size=(300, 3)), rng.normal(size=(200, 3)) + 0.3
    distance = np.linalg.norm(a[:, None] - b[None], axis=2)
    assert metrics.chamfer(a, b) == pytest.approx((distance.min(1).mean(), distance.min(0).mean()))
    # Two concentric spheres are their radii's difference apart.
    sphere = rng.normal(size=(40000, 3))
    sphere /= np.linalg.norm(sphere, axis=1, keepdims=True)
    assert metrics.chamfer(sphere, 1.2 * sphere) == pytest.approx((0.2, 0.2), abs=2e-3)


def test_thinning_evens_out_density() -> None:
    rng = np.random.default_rng(0)
    points = np.concatenate([rng.uniform(0, 1, (20000, 2)), rng.uniform(0, 0.1, (20000, 2))])
    thinned = metrics.thin(np.c_[points, np.full(len(points), 0.05)], 0.1)
    assert len(thinned) == 100
    assert thinned[:, :2].mean(0) == pytest.approx([0.5, 0.5], abs=0.01)


def test_normal_error_is_the_angle() -> None:
    rng = np.random.default_rng(0)
    truth = rng.normal(size=(8, 8, 3))
    axis = np.cross(truth, rng.normal(size=truth.shape)).reshape(-1, 3)
    turn = Rotation.from_rotvec(axis / np.linalg.norm(axis, axis=1, keepdims=True) * np.radians(25))
    ours = 0.3 * turn.apply(truth.reshape(-1, 3)).reshape(truth.shape)
    where = np.ones((8, 8), bool)
    assert metrics.normal_error(truth, ours, where) == pytest.approx(25)
    ours[0] = 0  # nothing known there: not counted
    assert metrics.normal_error(truth, ours, where) == pytest.approx(25)


def test_mean_distance() -> None:
    rng = np.random.default_rng(0)
    joints = rng.normal(size=(24, 3))
    assert metrics.mean_distance(joints, joints + np.array([3, 0, 4])) == pytest.approx(5)


def test_lpips_says_why_it_is_missing(monkeypatch: pytest.MonkeyPatch, tmp_path: object) -> None:
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    lpips = metrics.Lpips()
    assert lpips.reason and lpips(*_pair()) is None
