"""How much each splat contributes to each pixel, as a sparse list: for fitting colours and opacities to a picture.

Rendering is linear in the colours, with these contributions as coefficients; a picture's colours can thus be fitted by
simple iterations (SIRT) without any gradient machinery.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch

_DILATION = 0.3
_ALPHA_MIN = 1 / 255
_ALPHA_MAX = 0.99


@dataclass(frozen=True)
class Contributions:
    """Blend weights of P splat-pixel pairs.

    Attributes:
        splat: int64 [P].
        pixel: int64 [P], row * size + column, sorted.
        weight: float32 [P], alpha times transmittance.
        splat_count, size: N and the picture's side in pixels.
    """

    splat: torch.Tensor
    pixel: torch.Tensor
    weight: torch.Tensor
    splat_count: int
    size: int

    def render(self, values: torch.Tensor) -> torch.Tensor:
        """Blend per-splat ``values`` [N, C] to a picture [size * size, C]."""
        out = torch.zeros(self.size * self.size, values.shape[1])
        return out.index_add_(0, self.pixel, self.weight[:, None] * values[self.splat])

    def gather(self, picture: torch.Tensor) -> torch.Tensor:
        """The transpose of :meth:`render`: sums [N, C] of ``picture`` [size * size, C] times the weights."""
        out = torch.zeros(self.splat_count, picture.shape[1])
        return out.index_add_(0, self.splat, self.weight[:, None] * picture[self.pixel])


@torch.no_grad()
def splat_contributions(
    position: np.ndarray, rotation: np.ndarray, scale: np.ndarray, opacity: np.ndarray, focal: float, size: int
) -> Contributions:
    """Contributions of splats in camera space (OpenCV axes) to a square picture, by the equations of 3DGS.

    Args:
        position: [N, 3] metres.
        rotation: [N, 3, 3], columns are the splat's axes.
        scale: [N, 3] metres.
        opacity: [N].
        focal: pixels; the principal point is the picture's centre.
        size: pixels a side.
    """
    mean, axes, sigma, peak = (
        torch.as_tensor(np.ascontiguousarray(a), dtype=torch.float32) for a in (position, rotation, scale, opacity)
    )
    z = mean[:, 2].clamp_min(1e-2)
    centre = mean[:, :2] / z[:, None] * focal + size / 2
    jacobian = torch.zeros(len(z), 2, 3)
    jacobian[:, 0, 0] = jacobian[:, 1, 1] = focal / z
    jacobian[:, :, 2] = -focal * mean[:, :2] / z[:, None] ** 2
    half = jacobian @ (axes * sigma[:, None, :])
    covariance = half @ half.transpose(1, 2)
    a, b, c = covariance[:, 0, 0] + _DILATION, covariance[:, 0, 1], covariance[:, 1, 1] + _DILATION
    determinant = a * c - b * b
    # Beyond this many standard deviations alpha is under the threshold.
    reach = (2 * torch.log((peak / _ALPHA_MIN).clamp_min(1.0))).sqrt()
    extent = torch.stack([a.sqrt(), c.sqrt()], 1) * reach[:, None]
    low = (centre - extent - 0.5).ceil().clamp(0, size).long()
    high = (centre + extent + 0.5).floor().clamp(0, size).long()
    span = (high - low).clamp_min(0)
    count = torch.where(mean[:, 2] > 1e-2, span.prod(1), 0)
    order = torch.argsort(z)
    repeats = count[order]
    splat = torch.repeat_interleave(order, repeats)
    within = torch.arange(len(splat)) - torch.repeat_interleave(repeats.cumsum(0) - repeats, repeats)
    column = low[splat, 0] + within % span[splat, 0]
    row = low[splat, 1] + within // span[splat, 0]
    dx, dy = column + 0.5 - centre[splat, 0], row + 0.5 - centre[splat, 1]
    power = (c[splat] * dx * dx - 2 * b[splat] * dx * dy + a[splat] * dy * dy) / determinant[splat]
    alpha = (peak[splat] * torch.exp(-0.5 * power)).clamp_max(_ALPHA_MAX)
    kept = alpha >= _ALPHA_MIN
    pixel, by_pixel = torch.sort((row * size + column)[kept], stable=True)  # keeps the order of depth within a pixel
    splat, alpha = splat[kept][by_pixel], alpha[kept][by_pixel]
    log_passed = torch.log1p(-alpha.double())
    before = log_passed.cumsum(0) - log_passed
    first = torch.ones(len(pixel), dtype=torch.bool)
    first[1:] = pixel[1:] != pixel[:-1]
    start = torch.cummax(torch.where(first, torch.arange(len(pixel)), 0), 0).values if len(pixel) else pixel
    weight = alpha * torch.exp(before - before[start]).float()
    return Contributions(splat, pixel, weight, len(z), size)
