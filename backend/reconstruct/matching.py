"""Splats drawn over the photo: opacities that keep to the matte, and colours corrected until the render meets it."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
import torch

from ..avatar.quaternion import from_matrix
from ..geometry.distances import depth_inside
from ..geometry.maps import MAP_SIZE, project, sample_map
from ..rendering import CameraTensors, Contributions, GaussianTensors, contributions, exact_device
from ..rendering.colour_fit import Blend, blend_of, exact_sums, fit_colours
from .config import SURFACE, SurfaceConfig, VisibilityConfig
from .splats import Splats
from .visibility import ramp


@dataclass(frozen=True)
class Blending:
    """How n splats make up the m pixels of a picture that show the person.

    Attributes:
        rows: bool [size^2], which pixels those are.
        size: pixels a side of the picture.
        focal: in its pixels.
        blend: of the splats in them.
    """

    rows: torch.Tensor
    size: int
    focal: float
    blend: Blend


def draw(
    splats: Splats,
    axes: np.ndarray,
    scale: np.ndarray,
    front_count: int,
    alpha: np.ndarray,
    focal: float,
    size: int,
    device: torch.device,
    config: SurfaceConfig = SURFACE,
) -> tuple[np.ndarray, Blending]:
    """Opacities [n] with which the render keeps to the matte, and how the splats blend in it.

    Front splats whose light falls outside the matte fade, or the outline would grow by their width.

    Args:
        splats: the first ``front_count`` are the front's.
        axes, scale: of :func:`~.splats.splat_frames`.
        front_count: see above.
        alpha: the matte.
        focal: in the matte's pixels.
        size: pixels a side of the picture.
        device: where to compute; where that knows no float64, the processor does.
        config: of how splats fade.
    """
    device = exact_device(device)
    factor = size / alpha.shape[0]
    resized = cv2.resize(alpha, (size, size), interpolation=cv2.INTER_AREA)
    matte = torch.as_tensor(resized, device=device).reshape(size**2, 1)
    quaternion = from_matrix(axes)

    def contribute(chosen: np.ndarray | slice, opacity: np.ndarray) -> Contributions:
        arrays = (splats.position, quaternion, scale, opacity, np.zeros((len(opacity), 1)))
        tensors = (torch.as_tensor(np.ascontiguousarray(a[chosen], np.float32), device=device) for a in arrays)
        intrinsics = torch.tensor([focal * factor, focal * factor, size / 2, size / 2], device=device)
        camera = CameraTensors(torch.eye(4, device=device), intrinsics, size, size)
        return contributions(GaussianTensors(*tensors), camera)

    opacity = splats.opacity.clip(0, 1)
    front = np.arange(len(opacity)) < front_count
    pixels = project(splats.position, focal * factor, size)
    # Farther inside no light of a splat, nor of one that hides it, falls outside.
    reach = VisibilityConfig.outline[1] * size / MAP_SIZE
    rim = np.flatnonzero(sample_map(depth_inside(resized > 1 - 1 / 255), pixels) < reach)
    for _ in range(2):
        seen = exact_sums(contribute(rim, opacity))
        both = seen.gather(torch.cat([torch.ones_like(matte), matte], 1).to(seen.weight)).float().cpu().numpy()
        inside = both[:, 1] / np.maximum(both[:, 0], 1e-6)
        visible = (both[:, 0] > 0) & front[rim]
        opacity[rim] = np.where(visible, opacity[rim] * ramp(inside, config.fade), opacity[rim])
    rows = matte[:, 0] > 0.5
    return opacity, Blending(rows, size, focal * factor, blend_of(contribute(slice(None), opacity), rows))


def match_photo(
    splats: Splats,
    scale: np.ndarray,
    opacity: np.ndarray,
    rgb: np.ndarray,
    image: np.ndarray,
    blending: Blending,
    config: SurfaceConfig = SURFACE,
) -> tuple[np.ndarray, np.ndarray]:
    """Colours [n, 3] corrected so that the render meets the photo; and how much of each splat it shows [n], in pixels.

    Overlapping splats blur; :func:`~..rendering.colour_fit.fit_colours` undoes that.
    """
    rows, blend = blending.rows, blending.blend
    device = rows.device
    resized = cv2.resize(image, (blending.size,) * 2, interpolation=cv2.INTER_AREA)
    target = torch.as_tensor(resized, device=device).reshape(-1, 3)
    total = blend.to_splats(torch.ones(int(rows.sum()), 1, device=device))
    wanted = target[rows] * blend.to_pixels(torch.ones(len(rgb), 1, device=device))
    start = torch.as_tensor(rgb, dtype=torch.float32, device=device)
    wide = scale[:, 0] * scale[:, 1] * (blending.focal / splats.position[:, 2]) ** 2
    facing = np.abs((splats.normal * splats.position).sum(1)) / np.linalg.norm(splats.position, axis=1)
    whole = torch.as_tensor(2 * np.pi * opacity * wide * facing, dtype=torch.float32, device=device)[:, None]
    # A trace of everything shines through what lies before it; of large splats, in close-ups, that is many pixels.
    shown = total * (total > config.trace * whole)
    slack = config.slack * (shown > 0)
    limits = ((start - slack).clamp(0, 1), (start + slack).clamp(0, 1))
    # Barely seen splats hardly move: from the side they are seen whole.
    colours = fit_colours(blend, wanted, start, limits, total + config.shown_pixels, config.corrections)
    return colours.cpu().numpy(), shown[:, 0].cpu().numpy()
