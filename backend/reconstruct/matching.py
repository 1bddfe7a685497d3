"""Splats drawn over the photo: opacities that keep to the matte, and colours corrected until the render meets it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import cv2
import numpy as np
import torch
from scipy import sparse

from ..avatar.quaternion import from_matrix
from ..geometry.distances import depth_inside
from ..geometry.maps import MAP_SIZE, project, sample_map
from ..rendering import CameraTensors, Contributions, GaussianTensors, contributions, exact_device
from .config import SURFACE, SurfaceConfig, VisibilityConfig
from .splats import Splats
from .visibility import ramp

_Blend = Callable[[torch.Tensor], torch.Tensor]


@dataclass(frozen=True)
class Blending:
    """How n splats make up the m pixels of a picture that show the person.

    Attributes:
        rows: bool [size^2], which pixels those are.
        size: pixels a side of the picture.
        focal: in its pixels.
        to_pixels: from values [n, C] of splats to those [m, C] of the pixels.
        to_splats: the transpose.
    """

    rows: torch.Tensor
    size: int
    focal: float
    to_pixels: _Blend
    to_splats: _Blend


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
        seen = _exact(contribute(rim, opacity))
        both = seen.gather(torch.cat([torch.ones_like(matte), matte], 1).to(seen.weight)).float().cpu().numpy()
        inside = both[:, 1] / np.maximum(both[:, 0], 1e-6)
        visible = (both[:, 0] > 0) & front[rim]
        opacity[rim] = np.where(visible, opacity[rim] * ramp(inside, config.fade), opacity[rim])
    rows = matte[:, 0] > 0.5
    return opacity, Blending(rows, size, focal * factor, *_blends(contribute(slice(None), opacity), rows))


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

    Overlapping splats blur. Projected gradient descent on the colours undoes that: steps as of SIRT, momentum as of
    FISTA (Beck and Teboulle, 2009).
    """
    rows, to_pixels, to_splats = blending.rows, blending.to_pixels, blending.to_splats
    device = rows.device
    resized = cv2.resize(image, (blending.size,) * 2, interpolation=cv2.INTER_AREA)
    target = torch.as_tensor(resized, device=device).reshape(-1, 3)
    total = to_splats(torch.ones(int(rows.sum()), 1, device=device))
    wanted = target[rows] * to_pixels(torch.ones(len(rgb), 1, device=device))
    start = colours = torch.as_tensor(rgb, dtype=torch.float32, device=device)
    wide = scale[:, 0] * scale[:, 1] * (blending.focal / splats.position[:, 2]) ** 2
    facing = np.abs((splats.normal * splats.position).sum(1)) / np.linalg.norm(splats.position, axis=1)
    whole = torch.as_tensor(2 * np.pi * opacity * wide * facing, dtype=torch.float32, device=device)[:, None]
    # A trace of everything shines through what lies before it; of large splats, in close-ups, that is many pixels.
    shown = total * (total > config.trace * whole)
    slack = config.slack * (shown > 0)
    low, high = (start - slack).clamp(0, 1), (start + slack).clamp(0, 1)
    ahead, momentum = colours, 1.0
    for _ in range(config.corrections):
        # Barely seen splats hardly move: from the side they are seen whole.
        change = to_splats(wanted - to_pixels(ahead)) / (total + config.shown_pixels)
        before, colours = colours, (ahead + change).clamp(low, high)
        slower, momentum = momentum - 1, (1 + (1 + 4 * momentum**2) ** 0.5) / 2
        ahead = colours + slower / momentum * (colours - before)
    return colours.cpu().numpy(), shown[:, 0].cpu().numpy()


def _blends(seen: Contributions, rows: torch.Tensor) -> tuple[_Blend, _Blend]:
    """From values [n, C] of splats to those [m, C] of the pixels where ``rows`` [H W] is true, and the transpose."""
    keep = rows[seen.pixel]
    pixel = (rows.cumsum(0) - 1)[seen.pixel[keep]]
    chosen = Contributions(seen.splat[keep], pixel, seen.weight[keep], seen.splat_count, int(rows.sum()))
    if rows.device.type != "cpu":
        exact = _exact(chosen)
        return lambda x: exact.render(x.double()).float(), lambda x: exact.gather(x.double()).float()
    index = (chosen.pixel.int().numpy(), chosen.splat.int().numpy())
    matrix = sparse.csr_matrix((chosen.weight.numpy(), index), (chosen.pixel_count, chosen.splat_count))
    transpose = matrix.T.tocsr()
    return lambda x: torch.as_tensor(matrix @ x.numpy()), lambda x: torch.as_tensor(transpose @ x.numpy())


def _exact(seen: Contributions) -> Contributions:
    """On a card, which adds in any order, in double precision: float32 can tell no difference then."""
    return seen if seen.weight.device.type != "cuda" else replace(seen, weight=seen.weight.double())
