"""What the reconstruction transformer is trained with: the paper's losses, and geometry that the factory gives free."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch.nn import functional

from ...rendering import CameraTensors, GaussianTensors, render
from ...views.latent import PixelSplats, ViewCameras
from ...views.latent.codec import LatentCodec
from .figure import PART_INDEX
from .latent_data import Frame
from .views import Views


@dataclass(frozen=True)
class LossWeights:
    """Of each term.

    Attributes:
        colour: squared difference of rendered and true colours.
        mask: squared difference of coverage.
        perceptual: difference of the codec's encoder features.
        parts: the hierarchical semantics-guided term: body parts cropped and compared at several resolutions.
        head, hands: how much more these parts count in it than others.
        depth: of each pixel's splat against the true depth, where the view shows the person.
        first: the same of the depth before the views were compared with each other.
    """

    colour: float = 1.0
    mask: float = 1.0
    perceptual: float = 0.1
    parts: float = 1.0
    head: float = 2.0
    hands: float = 2.0
    depth: float = 5.0
    first: float = 5.0


_DILATION = 0.06
"""Square pixels. With what 3DGS adds, splats would learn to be too small for other sizes of picture."""
PART_SIZES = (64, 32, 16)
"""Pixels a side at which crops are compared."""


def to_gaussians(splats: PixelSplats, least_opacity: float = 0.02) -> GaussianTensors:
    """Splats that a camera could see, for the renderer."""
    kept = splats.opacity.detach() > least_opacity
    return GaussianTensors(
        splats.position[kept], splats.rotation[kept], splats.scale[kept], splats.opacity[kept], splats.rgb[kept]
    )


def view_camera(cameras: ViewCameras, index: int, size: int) -> CameraTensors:
    """One of ``cameras`` with a picture of ``size`` pixels a side."""
    focal, centre = cameras.focal[index] * size, cameras.centre[index] * size
    intrinsics = torch.stack([focal, focal, *centre])
    return CameraTensors(cameras.world_to_camera[index], intrinsics, size, size, _DILATION)


def part_crops(label: torch.Tensor, count: int = 16) -> dict[str, torch.Tensor]:
    """Square boxes (left, top, side; 0..1) around the parts that ``label`` [S, S] shows by ``count`` pixels or more."""
    size = label.shape[0]
    boxes = {}
    for name, number in PART_INDEX.items():
        if name in ("background", "hair"):
            continue
        chosen = (label == number) | ((label == PART_INDEX["hair"]) if name == "head" else (label == number))
        rows, columns = torch.nonzero(chosen, as_tuple=True)
        if len(rows) < count:
            continue
        low = torch.stack([columns.min(), rows.min()]).float()
        high = torch.stack([columns.max(), rows.max()]).float() + 1
        side = (high - low).max() * 1.15
        corner = (low + high - side) / 2
        boxes[name] = torch.cat([corner, side[None]]) / size
    return boxes


def crop(picture: torch.Tensor, box: torch.Tensor, size: int) -> torch.Tensor:
    """``picture`` [C, S, S] inside ``box`` (left, top, side; 0..1), resampled to [C, size, size]."""
    steps = (torch.arange(size, device=picture.device) + 0.5) / size * box[2]
    y, x = torch.meshgrid(steps + box[1], steps + box[0], indexing="ij")
    grid = torch.stack([x, y], -1)[None] * 2 - 1
    # Averages before it samples where the crop is made smaller.
    factor = float(box[2]) * picture.shape[-1] / size
    if factor > 1.5:
        kernel = int(factor)
        picture = functional.avg_pool2d(picture[None], kernel, 1, kernel // 2, count_include_pad=False)[0]
    return functional.grid_sample(picture[None], grid, align_corners=False, padding_mode="border")[0]


def perceptual(codec: LatentCodec, a: torch.Tensor, b: torch.Tensor) -> torch.Tensor:
    """Mean squared difference of unit-length features of ``a`` and ``b`` [B, 3, S, S], over the encoder's levels."""
    with torch.no_grad():
        target = codec.features(b)
    total = a.new_zeros(())
    for mine, theirs in zip(codec.features(a), target):
        total = total + (functional.normalize(mine, dim=1) - functional.normalize(theirs, dim=1)).pow(2).sum(1).mean()
    return total / len(target)


def true_depth(truth: Views, frame: Frame, size: int) -> torch.Tensor:
    """Depth [V, size, size] of the pictures ``truth`` [V] in the network's unit, NaN beside the person."""
    depth = functional.interpolate(truth.depth[:, None], size=(size, size), mode="nearest-exact")[:, 0] / frame.unit
    alpha = functional.interpolate(truth.alpha[:, None], size=(size, size), mode="area")[:, 0]
    return torch.where(torch.isfinite(depth) & (alpha > 0.5), depth, torch.nan)


def depth_error(depth: torch.Tensor, truth: torch.Tensor) -> torch.Tensor:
    """Mean over views of the mean distance of ``depth`` [V, S, S] from ``truth``, where that is a number.

    In the network's unit; an error of a few hundredths is as bad as a large one, since arms before the trunk are rare
    and far off.
    """
    shown = truth.isfinite()
    error = (depth - truth.nan_to_num(0.0)).abs().clamp(max=0.3)
    return ((error * shown).sum((1, 2)) / shown.sum((1, 2)).clamp(min=1)).mean()


def geometry_loss(depth: torch.Tensor, truth: Views, frame: Frame) -> torch.Tensor:
    """:func:`depth_error` of ``depth`` [V, S, S] against the pictures ``truth`` [V]."""
    return depth_error(depth, true_depth(truth, frame, depth.shape[-1]))


def picture_losses(
    splats: PixelSplats,
    cameras: ViewCameras,
    truth: Views,
    codec: LatentCodec,
    weights: LossWeights,
    size: int,
) -> tuple[dict[str, torch.Tensor], torch.Tensor]:
    """Losses of renders from all of ``cameras`` against ``truth`` at ``size`` pixels.

    Returns:
        (terms by name, unweighted; renders [V, 3, size, size]).
    """
    gaussians = to_gaussians(splats)
    white = (1.0, 1.0, 1.0)
    drawn, covered = [], []
    for view in range(len(cameras)):
        out = render(gaussians, view_camera(cameras, view, size), white)
        drawn.append(out.rgb.permute(2, 0, 1))
        covered.append(out.alpha)
    mine, alpha = torch.stack(drawn), torch.stack(covered)
    target = functional.interpolate(truth.rgb.permute(0, 3, 1, 2), size=(size, size), mode="area")
    target_alpha = functional.interpolate(truth.alpha[:, None], size=(size, size), mode="area")[:, 0]
    terms = {
        "colour": (mine - target).pow(2).mean(),
        "mask": (alpha - target_alpha).pow(2).mean(),
        "perceptual": perceptual(codec, mine, target) if weights.perceptual else mine.new_zeros(()),
    }
    if weights.parts:
        total, norm = mine.new_zeros(()), 0.0
        for view in range(len(cameras)):
            for name, box in part_crops(truth.label[view]).items():
                weight = {"head": weights.head, "hands": weights.hands}.get(name, 1.0)
                for pixels in PART_SIZES:
                    difference = crop(mine[view], box, pixels) - crop(target[view], box, pixels)
                    total = total + weight * difference.pow(2).mean()
                    norm += weight
        terms["parts"] = total / max(norm, 1.0)
    return terms, mine
