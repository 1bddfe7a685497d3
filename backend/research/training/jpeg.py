"""What JPEG does to a picture, without a codec: the lossy half of ITU-T T.81 (baseline, 4:2:0) in tensors."""

from __future__ import annotations

import math

import torch

# ITU-T T.81, tables K.1 and K.2.
_LUMINANCE = [
    [16, 11, 10, 16, 24, 40, 51, 61], [12, 12, 14, 19, 26, 58, 60, 55], [14, 13, 16, 24, 40, 57, 69, 56],
    [14, 17, 22, 29, 51, 87, 80, 62], [18, 22, 37, 56, 68, 109, 103, 77], [24, 35, 55, 64, 81, 104, 113, 92],
    [49, 64, 78, 87, 103, 121, 120, 101], [72, 92, 95, 98, 112, 100, 103, 99],
]  # fmt: skip
_CHROMINANCE = [
    [17, 18, 24, 47, 99, 99, 99, 99], [18, 21, 26, 66, 99, 99, 99, 99], [24, 26, 56, 99, 99, 99, 99, 99],
    [47, 66, 99, 99, 99, 99, 99, 99], *([99] * 8 for _ in range(4)),
]  # fmt: skip


def _table(base: list[list[int]], quality: int, device: torch.device) -> torch.Tensor:
    """Quantisation steps [8, 8] at a quality, scaled as the Independent JPEG Group's library does."""
    scale = 5000 // quality if quality < 50 else 200 - 2 * quality
    return ((torch.tensor(base, device=device) * scale + 50) // 100).clamp(1, 255).float()


def _cosines(device: torch.device) -> torch.Tensor:
    """The orthonormal 8-point DCT-II as a matrix [frequency, sample]."""
    k, n = torch.arange(8.0)[:, None], torch.arange(8.0)[None]
    matrix = torch.cos((2 * n + 1) * k * math.pi / 16) / 2
    matrix[0] /= math.sqrt(2)
    return matrix.to(device)


def _lose(plane: torch.Tensor, steps: torch.Tensor) -> torch.Tensor:
    """Quantise the 8 x 8 blocks of ``plane`` [H, W] (multiples of 8, values about 0)."""
    cosines = _cosines(plane.device)
    height, width = plane.shape
    blocks = plane.reshape(height // 8, 8, width // 8, 8).transpose(1, 2)
    frequency = cosines @ blocks @ cosines.T
    blocks = cosines.T @ ((frequency / steps).round() * steps) @ cosines
    return blocks.transpose(1, 2).reshape(height, width)


def jpeg(rgb: torch.Tensor, quality: int) -> torch.Tensor:
    """``rgb`` [H, W, 3] in 0..1 after writing it as a JPEG file of ``quality`` (1..100) and reading it back."""
    height, width = rgb.shape[:2]
    values = (rgb.clamp(0, 1) * 255).round().permute(2, 0, 1)
    # Whole blocks of both resolutions; the border repeats its last pixel.
    values = torch.nn.functional.pad(values[None], (0, -width % 16, 0, -height % 16), mode="replicate")[0]
    red, green, blue = values
    luma = 0.299 * red + 0.587 * green + 0.114 * blue
    chroma = torch.stack([(blue - luma) / 1.772, (red - luma) / 1.402]).round()
    small = torch.nn.functional.avg_pool2d(chroma[None], 2)[0].round()
    luma = _lose(luma.round() - 128, _table(_LUMINANCE, quality, rgb.device)) + 128
    steps = _table(_CHROMINANCE, quality, rgb.device)
    small = torch.stack([_lose(plane, steps).round() for plane in small])
    luma = luma.round().clamp(0, 255)
    cb, cr = torch.nn.functional.interpolate(small[None], scale_factor=2, mode="bilinear")[0]
    out = torch.stack([luma + 1.402 * cr, luma - 0.344136 * cb - 0.714136 * cr, luma + 1.772 * cb], -1)
    return (out.round().clamp(0, 255) / 255)[:height, :width]
