"""How far one picture, outline or surface is from another.

Pictures are float [H, W, 3] in 0..1, display sRGB, over white. Every picture measure takes ``where``: None measures the
whole picture (what papers call unmasked), a bool [H, W] only those pixels (masked).
"""

from __future__ import annotations

import importlib.util
import os
from functools import cache
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from scipy.spatial import cKDTree

from ...errors import BackendError

BEST_PSNR = 60.0
"""Decibels at which PSNR is capped, so that equal pictures do not make means infinite; 8-bit pictures end at 59."""
FLIP_PIXELS_PER_DEGREE = 67.0
"""FLIP's standard viewing conditions: a 0.7 m wide 4K monitor seen from 0.7 m."""
_WINDOW, _SIGMA = 11, 1.5
_C1, _C2 = 0.01**2, 0.03**2


def psnr(truth: np.ndarray, ours: np.ndarray, where: np.ndarray | None = None) -> float:
    """Peak signal-to-noise ratio in decibels, ``-10 log10(mean squared difference)``, at most :data:`BEST_PSNR`."""
    difference = (np.asarray(truth, np.float64) - ours) ** 2
    error = _mean(difference.mean(2), where)
    return float(min(BEST_PSNR, -10 * np.log10(max(error, 1e-12))))


def ssim(truth: np.ndarray, ours: np.ndarray, where: np.ndarray | None = None) -> float:
    """Structural similarity (Wang et al. 2004): Gaussian window of 11 x 11 pixels with sigma 1.5, mean of the channels.

    The mean leaves out the five pixels along the picture's edge whose window is not whole, unless ``where`` has
    nothing else.
    """
    values = _ssim_map(np.asarray(truth, np.float64), np.asarray(ours, np.float64))
    whole = np.zeros(values.shape, bool)
    pad = _WINDOW // 2
    whole[pad:-pad, pad:-pad] = True
    if where is not None:
        whole = whole & where if (whole & where).any() else where
    return _mean(values, whole)


def _ssim_map(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """[H, W], equation 13 of the paper with K1 = 0.01, K2 = 0.03 and population moments."""

    def blur(image: np.ndarray) -> np.ndarray:
        return cv2.GaussianBlur(image, (_WINDOW, _WINDOW), _SIGMA, borderType=cv2.BORDER_REFLECT)

    mean_a, mean_b = blur(a), blur(b)
    var_a, var_b = blur(a * a) - mean_a**2, blur(b * b) - mean_b**2
    covariance = blur(a * b) - mean_a * mean_b
    top = (2 * mean_a * mean_b + _C1) * (2 * covariance + _C2)
    return (top / ((mean_a**2 + mean_b**2 + _C1) * (var_a + var_b + _C2))).mean(2)


def flip_map(truth: np.ndarray, ours: np.ndarray) -> np.ndarray:
    """NVIDIA's FLIP error map for displayed pictures (LDR-FLIP, Andersson et al. 2020), float [H, W] in 0..1.

    Raises:
        BackendError: kind ``package_missing`` where the package ``flip-evaluator`` is not installed.
    """
    evaluate = _flip_evaluator()
    pair = (np.ascontiguousarray(np.clip(image, 0, 1), dtype=np.float32) for image in (truth, ours))
    error, _, _ = evaluate(*pair, "LDR", True, False, False, {"ppd": FLIP_PIXELS_PER_DEGREE})
    return np.asarray(error, dtype=np.float64).reshape(truth.shape[:2])


def require_flip() -> None:
    """Raise now rather than after minutes of work where FLIP is missing; see :func:`flip_map`."""
    _flip_evaluator()


@cache
def _flip_evaluator() -> Any:
    try:
        from flip_evaluator import evaluate
    except ImportError as error:
        raise BackendError(
            "package_missing", "The package flip-evaluator is not installed.", "Run scripts/setup --tests."
        ) from error
    return evaluate


def mean_where(values: np.ndarray, where: np.ndarray | None = None) -> float:
    """Mean of a map [H, W] over ``where``; not a number where that is empty."""
    return _mean(values, where)


def _mean(values: np.ndarray, where: np.ndarray | None) -> float:
    chosen = values if where is None else values[where]
    return float(chosen.mean()) if chosen.size else float("nan")


class Lpips:
    """Learned perceptual similarity (Zhang et al. 2018), AlexNet, version 0.1: where its weights are on disk.

    Nothing is downloaded: ``reason`` says in a sentence why it cannot be measured, None when it can.
    """

    _BACKBONE = "alexnet-owt-7be5be79.pth"

    def __init__(self) -> None:
        self.reason: str | None = None
        self._network: Any = None
        cache_folder = os.environ.get("TORCH_HOME", "~/.cache/torch")
        weights = Path(cache_folder).expanduser() / "hub" / "checkpoints" / self._BACKBONE
        if importlib.util.find_spec("lpips") is None:
            self.reason = "the package lpips is not installed"
        elif not weights.is_file():
            self.reason = f"its AlexNet weights are not at {weights}"

    def __call__(self, truth: np.ndarray, ours: np.ndarray) -> float | None:
        """Distance of two pictures, None where it cannot be measured."""
        if self.reason is not None:
            return None
        import torch

        if self._network is None:
            import lpips

            self._network = lpips.LPIPS(net="alex", verbose=False).eval()
        pair = (torch.as_tensor(np.asarray(x, np.float32)).permute(2, 0, 1)[None] * 2 - 1 for x in (truth, ours))
        with torch.no_grad():
            return float(self._network(*pair))


def outline_iou(truth: np.ndarray, ours: np.ndarray) -> float:
    """Intersection over union of two coverages [H, W], each cut at one half."""
    a, b = truth > 0.5, ours > 0.5
    union = (a | b).sum()
    return float((a & b).sum() / union) if union else float("nan")


def chamfer(truth: np.ndarray, ours: np.ndarray) -> tuple[float, float]:
    """Mean distance to the nearest point: (of the truth's points [N, 3] to ours [M, 3], of ours to the truth's).

    Their mean is the Chamfer distance; in the points' unit.
    """
    forth, _ = cKDTree(ours).query(truth)
    back, _ = cKDTree(truth).query(ours)
    return float(forth.mean()), float(back.mean())


def thin(points: np.ndarray, cell: float) -> np.ndarray:
    """Mean of the points [N, 3] in each cell of a grid, so that densely sampled places do not weigh more."""
    _, index, count = np.unique(
        np.floor(points / cell).astype(np.int64), axis=0, return_inverse=True, return_counts=True
    )
    index = index.reshape(-1)
    return np.stack([np.bincount(index, points[:, axis]) / count for axis in range(3)], 1)


def normal_error(truth: np.ndarray, ours: np.ndarray, where: np.ndarray) -> float:
    """Mean angle in degrees between the normals [H, W, 3] of the pixels ``where``; lengths do not matter."""
    a, b = truth[where].astype(np.float64), ours[where].astype(np.float64)
    length = np.linalg.norm(a, axis=1) * np.linalg.norm(b, axis=1)
    cosine = (a * b).sum(1)[length > 1e-9] / length[length > 1e-9]
    return float(np.degrees(np.arccos(cosine.clip(-1, 1))).mean()) if cosine.size else float("nan")


def mean_distance(truth: np.ndarray, ours: np.ndarray) -> float:
    """Mean distance of corresponding points [N, 3] (MPJPE of joints, PVE of vertices), in their unit."""
    return float(np.linalg.norm(truth - ours, axis=1).mean())
