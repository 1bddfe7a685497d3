"""Splats in 3D to ellipses in the picture: EWA splatting (Zwicker et al. 2001) as 3DGS (Kerbl et al. 2023) uses it."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch.nn import functional

from .types import CameraTensors, GaussianTensors

MAX_ALPHA = 0.99
MIN_ALPHA = 1 / 255
"""Contributions below this are skipped."""
NEAR = 0.01
"""Metres; splats whose centre is nearer to the camera's plane, or behind it, are skipped."""
FIELD_MARGIN = 0.15
"""The perspective's slope is taken at most this share of the picture's size beyond its border: far off the picture the
linearisation of the projection has no meaning and would smear splats across it."""


@dataclass(frozen=True, eq=False)
class Ellipses:
    """M projected splats in front of the camera, in the form that suits a scan along picture rows.

    With dx, dy from the centre, a splat's exponent is -q, q = (dy^2 / var_y + (dx - slope dy)^2 / var_x) / 2: the
    covariance [[a, b], [b, c]] has var_y = c, slope = b / c, and var_x = a - b^2 / c, the variance of x within a row.

    Attributes:
        index: int64 [M] into the splats.
        center: [M, 2] pixels.
        slope, var_x, var_y: [M].
        depth: [M] metres.
    """

    index: torch.Tensor
    center: torch.Tensor
    slope: torch.Tensor
    var_x: torch.Tensor
    var_y: torch.Tensor
    depth: torch.Tensor


def project(gaussians: GaussianTensors, camera: CameraTensors) -> Ellipses:
    """Project all splats beyond the near plane; differentiable."""
    turn, shift = camera.world_to_camera[:3, :3], camera.world_to_camera[:3, 3]
    local = gaussians.position @ turn.T + shift
    index = torch.nonzero(local[:, 2] > NEAR)[:, 0]
    x, y, z = local[index].unbind(1)
    fx, fy, cx, cy = camera.intrinsics.unbind()
    center = torch.stack([fx * x / z + cx, fy * y / z + cy], dim=1)
    axes = _scaled_axes(gaussians.rotation[index], gaussians.scale[index])
    row_x = _image_row(axes, turn, 0, _bounded(x / z, fx, cx, camera.width), fx / z)
    row_y = _image_row(axes, turn, 1, _bounded(y / z, fy, cy, camera.height), fy / z)
    a, b, c = (row_x * row_x).sum(1), (row_x * row_y).sum(1), (row_y * row_y).sum(1)
    # det(M M^T + d I) by Lagrange's identity: a sum of positive terms, so that needles keep their thickness.
    thin = torch.linalg.cross(row_x, row_y).square().sum(1)
    determinant = thin + camera.dilation * (a + c) + camera.dilation**2
    var_y = c + camera.dilation
    return Ellipses(index, center, b / var_y, determinant / var_y, var_y, z)


def _bounded(slope: torch.Tensor, focal: torch.Tensor, center: torch.Tensor, size: int) -> torch.Tensor:
    margin = FIELD_MARGIN * size / focal
    return slope.clamp(-center / focal - margin, (size - center) / focal + margin)


def _image_row(
    axes: torch.Tensor, turn: torch.Tensor, row: int, slope: torch.Tensor, magnification: torch.Tensor
) -> torch.Tensor:
    """One row [M, 3] of J W R S: how far each of the splat's axes reaches along x or y of the picture, in pixels."""
    direction = magnification[:, None] * (turn[row] - slope[:, None] * turn[2])
    return torch.einsum("ni,nik->nk", direction, axes)


def _scaled_axes(rotation: torch.Tensor, scale: torch.Tensor) -> torch.Tensor:
    """R S [M, 3, 3]: columns are the splat's axes, one standard deviation long."""
    w, x, y, z = functional.normalize(rotation, dim=1).unbind(1)
    matrix = torch.stack(
        [
            *(1 - 2 * (y * y + z * z), 2 * (x * y - w * z), 2 * (x * z + w * y)),
            *(2 * (x * y + w * z), 1 - 2 * (x * x + z * z), 2 * (y * z - w * x)),
            *(2 * (x * z - w * y), 2 * (y * z + w * x), 1 - 2 * (x * x + y * y)),
        ],
        dim=1,
    )
    return matrix.reshape(-1, 3, 3) * scale[:, None, :]
