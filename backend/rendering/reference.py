"""The slow renderer to read and to test against: every splat at every pixel, nearest first, formulas as published."""

from __future__ import annotations

import torch

from .projection import FIELD_MARGIN, MAX_ALPHA, MIN_ALPHA, NEAR
from .types import CameraTensors, GaussianTensors, RenderOutput


def rotation_matrix(quaternion: torch.Tensor) -> torch.Tensor:
    """[3, 3] of a quaternion [4] wxyz of any length: v -> q v q* / |q|^2, written with the cross-product matrix."""
    w, x, y, z = (quaternion / quaternion.norm()).unbind()
    zero = torch.zeros_like(w)
    cross = torch.stack([zero, -z, y, z, zero, -x, -y, x, zero]).reshape(3, 3)
    return torch.eye(3, dtype=w.dtype, device=w.device) + 2 * w * cross + 2 * cross @ cross


def render(gaussians: GaussianTensors, camera: CameraTensors) -> RenderOutput:
    """Render on black. Differentiable; takes time and memory in proportion to N x H x W."""
    like = {"dtype": gaussians.position.dtype, "device": gaussians.position.device}
    height, width = camera.height, camera.width
    fx, fy, cx, cy = camera.intrinsics
    world = camera.world_to_camera[:3, :3]
    local = gaussians.position @ world.T + camera.world_to_camera[:3, 3]
    rows = torch.arange(height, **like)[:, None] + 0.5
    columns = torch.arange(width, **like)[None, :] + 0.5

    color = torch.zeros(height, width, gaussians.color.shape[1], **like)
    depth = torch.zeros(height, width, **like)
    transmittance = torch.ones(height, width, **like)
    for i in torch.argsort(local[:, 2], stable=True).tolist():
        x, y, z = local[i]
        if z <= NEAR:
            continue
        axes = rotation_matrix(gaussians.rotation[i]) * gaussians.scale[i]
        covariance = axes @ axes.T
        # Jacobian of (fx x / z + cx, fy y / z + cy), its direction held to the field of view.
        u = (x / z).clamp(-cx / fx - FIELD_MARGIN * width / fx, (width - cx) / fx + FIELD_MARGIN * width / fx)
        v = (y / z).clamp(-cy / fy - FIELD_MARGIN * height / fy, (height - cy) / fy + FIELD_MARGIN * height / fy)
        zero = torch.zeros_like(z)
        jacobian = torch.stack([fx / z, zero, -fx * u / z, zero, fy / z, -fy * v / z]).reshape(2, 3)
        image = jacobian @ world @ covariance @ world.T @ jacobian.T + camera.dilation * torch.eye(2, **like)
        conic = torch.linalg.inv(image)
        dx, dy = columns - (fx * x / z + cx), rows - (fy * y / z + cy)
        q = 0.5 * (conic[0, 0] * dx * dx + conic[1, 1] * dy * dy) + conic[0, 1] * dx * dy
        alpha = (gaussians.opacity[i] * torch.exp(-q)).clamp(max=MAX_ALPHA)
        alpha = torch.where(alpha >= MIN_ALPHA, alpha, 0)
        weight = alpha * transmittance
        color = color + weight[:, :, None] * gaussians.color[i]
        depth = depth + weight * z
        transmittance = transmittance * (1 - alpha)
    alpha = 1 - transmittance
    return RenderOutput(color, alpha, torch.where(alpha > 0, depth / alpha.clamp(min=1e-10), 0))
