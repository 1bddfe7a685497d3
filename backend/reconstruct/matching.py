"""Splats drawn over the pictures: opacities that keep to the photo's matte, colours that meet all of them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np
import torch

from ..avatar.quaternion import from_matrix
from ..geometry.distances import depth_inside
from ..geometry.maps import MAP_SIZE, project, sample_map
from ..rendering import CameraTensors, Contributions, GaussianTensors, contributions, exact_device
from ..rendering.colour_fit import Blend, ColourTerm, blend_of, exact_sums, fit_to_pictures
from .config import SURFACE, SurfaceConfig, VisibilityConfig
from .splats import Splats
from .views import SplatsInPicture
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
        return _contribute([array[chosen] for array in arrays], focal * factor, size, device)

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


def match_pictures(
    splats: Splats,
    axes: np.ndarray,
    scale: np.ndarray,
    opacity: np.ndarray,
    rgb: np.ndarray,
    image: np.ndarray,
    blending: Blending,
    pictured: Sequence[SplatsInPicture] = (),
    config: SurfaceConfig = SURFACE,
) -> tuple[np.ndarray, np.ndarray]:
    """Colours [n, 3] corrected so that renders meet the photo and further pictures; and how much of each splat the
    photo shows [n], in pixels.

    Overlapping splats blur, and a picture that sees a place from the side says less of it than its pixels show:
    :func:`~..rendering.colour_fit.fit_colours` finds what is best in all of them, where the photo counts most.

    Args:
        splats, axes, scale, opacity: n splats.
        rgb: [n, 3] to begin with.
        image: float32 [S, S, 3] the photo.
        blending: of the splats in it.
        pictured: where further pictures have them.
        config: how far colours may go.
    """
    device = blending.rows.device
    start = torch.as_tensor(rgb, dtype=torch.float32, device=device)
    photo = _term(blending, image, config.photo if pictured else 1.0, len(rgb))
    # A trace of everything shines through what lies before it; of large splats, in close-ups, that is many pixels.
    whole = _whole(splats.position, splats.normal, scale, opacity, blending)
    filled = photo.total / photo.say
    shown = filled * (filled > config.trace * whole)
    terms, reached = [photo], shown > 0
    for other in pictured:
        there = _blend_in(other, axes, scale, opacity, blending.size, device)
        normal = np.einsum("nab,nb->na", other.turn, splats.normal)
        terms.append(_term(there, other.image, other.belief / len(pictured), len(rgb)))
        whole = _whole(other.position, normal, scale, opacity, there)
        reached = reached | (terms[-1].total > config.trace * terms[-1].say * whole)
    limits = (torch.where(reached, 0.0, start), torch.where(reached, 1.0, start))
    # Barely seen splats hardly move: from the side they are seen whole.
    colours = fit_to_pictures(terms, start, limits, config.shown_pixels, config.corrections)
    return colours.cpu().numpy(), shown[:, 0].cpu().numpy()


def _term(blending: Blending, image: np.ndarray, say: float, count: int) -> ColourTerm:
    """The term of ``image`` [S, S, 3], of ``count`` splats."""
    resized = cv2.resize(image, (blending.size,) * 2, interpolation=cv2.INTER_AREA)
    target = torch.as_tensor(resized, device=blending.rows.device).reshape(-1, 3)
    return ColourTerm.of(blending.blend, target[blending.rows], say, count)


def _whole(
    position: np.ndarray, normal: np.ndarray, scale: np.ndarray, opacity: np.ndarray, blending: Blending
) -> torch.Tensor:
    """Pixels [n, 1] that splats would fill in a picture if nothing hid them; ``position`` is in its camera's space."""
    wide = scale[:, 0] * scale[:, 1] * (blending.focal / position[:, 2]) ** 2
    facing = np.abs((normal * position).sum(1)) / np.linalg.norm(position, axis=1)
    filled = 2 * np.pi * opacity * wide * facing
    return torch.as_tensor(filled, dtype=torch.float32, device=blending.rows.device)[:, None]


def _blend_in(
    other: SplatsInPicture, axes: np.ndarray, scale: np.ndarray, opacity: np.ndarray, size: int, device: torch.device
) -> Blending:
    """How splats make up a further picture, at ``size`` pixels a side."""
    resized = cv2.resize(other.alpha, (size, size), interpolation=cv2.INTER_AREA)
    focal = other.focal * size / len(other.image)
    arrays = (other.position, from_matrix(other.turn @ axes), scale, opacity, np.zeros((len(opacity), 1)))
    rows = torch.as_tensor(resized > 0.5, device=device).reshape(-1)
    return Blending(rows, size, focal, blend_of(_contribute(arrays, focal, size, device), rows))


def _contribute(arrays: Sequence[np.ndarray], focal: float, size: int, device: torch.device) -> Contributions:
    """Of splats given by position, rotation, scale, opacity and colours, in a camera's space."""
    tensors = (torch.as_tensor(np.ascontiguousarray(array, np.float32), device=device) for array in arrays)
    intrinsics = torch.tensor([focal, focal, size / 2, size / 2], device=device)
    camera = CameraTensors(torch.eye(4, device=device), intrinsics, size, size)
    return contributions(GaussianTensors(*tensors), camera)
