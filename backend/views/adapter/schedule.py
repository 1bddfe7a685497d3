"""The noise levels that MV-Adapter was trained and is sampled with: SDXL's with more noise at the end."""

from __future__ import annotations

import numpy as np
import torch
from diffusers import EulerDiscreteScheduler


def shifted_betas(alphas_cumprod: torch.Tensor, shift: float) -> np.ndarray:
    """Variances of the noise of T training steps whose signal-to-noise ratio is lowered, from the first step's, which
    stays, to the last one's, which is divided by ``shift``.

    snr'(t) = snr(t) shift^(-t / (T - 1)): the interpolation of log snr and log (snr / shift) that the published code
    calls "interpolated" (``mvadapter/schedulers/scheduling_shift_snr.py``).

    Args:
        alphas_cumprod: [T] share of the signal's variance after each step.
        shift: 1 or more.

    Returns:
        float32 [T].
    """
    signal = alphas_cumprod.double().numpy()
    place = np.arange(len(signal)) / (len(signal) - 1)
    snr = signal / (1 - signal) * shift**-place
    shifted = snr / (1 + snr)
    return (1 - shifted / np.concatenate([[1.0], shifted[:-1]])).astype(np.float32)


def shifted_scheduler(base: EulerDiscreteScheduler, shift: float) -> EulerDiscreteScheduler:
    """``base`` with the noise levels of :func:`shifted_betas`."""
    betas = shifted_betas(base.alphas_cumprod, shift)
    return EulerDiscreteScheduler.from_config(base.config, trained_betas=betas.tolist())
