"""How much each splat contributes to each pixel, as a sparse list: for fitting colours and opacities to a picture.

Rendering is linear in the colours, with these contributions as coefficients; colours can thus be fitted to a picture by
simple iterations (SIRT) that need nothing but a product with this matrix and one with its transpose.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch


@dataclass(frozen=True, eq=False)
class Contributions:
    """Blend weights of P splat-pixel pairs.

    Attributes:
        splat: int64 [P].
        pixel: int64 [P], row-major.
        weight: [P], alpha times transmittance.
        splat_count, pixel_count: N splats and H W pixels.
    """

    splat: torch.Tensor
    pixel: torch.Tensor
    weight: torch.Tensor
    splat_count: int
    pixel_count: int

    def render(self, values: torch.Tensor) -> torch.Tensor:
        """Blend per-splat ``values`` [N, C] to a picture [H W, C]."""
        out = values.new_zeros(self.pixel_count, values.shape[1])
        return out.index_add_(0, self.pixel, self.weight[:, None] * values[self.splat])

    def gather(self, picture: torch.Tensor) -> torch.Tensor:
        """The transpose of :meth:`render`: sums [N, C] of ``picture`` [H W, C] times the weights."""
        out = picture.new_zeros(self.splat_count, picture.shape[1])
        return out.index_add_(0, self.splat, self.weight[:, None] * picture[self.pixel])
