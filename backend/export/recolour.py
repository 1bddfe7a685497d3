"""Colours of merged splats, fitted to pictures of the splats that they were merged from."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import torch

from ..avatar.formats.cloud import pose_cloud
from ..avatar.formats.types import SplatCloud
from ..avatar.gaussians import Gaussians, sh_from_rgb
from ..rendering import CameraTensors, GaussianTensors
from ..rendering.colour_fit import ColourTerm, blend_of, fit_to_pictures
from ..rendering.rasterizer import contributions
from .looks import Look

STEPS = 12
SHOWN = 2.0
"""Pixels, over all looks, by which a splat's correction is damped: what is hidden keeps its colour."""
_COVERED = 0.05


def recolour(merged: SplatCloud, looks: Sequence[Look], moved: np.ndarray | None = None) -> SplatCloud:
    """The merged splats with colours that show, on each look, what all splats show there.

    Merging takes the mean of two colours. But splats that overlap were given colours whose *blend* is right, some too
    dark and some too bright by themselves, and a mean of them knows nothing of which one lies before the other.

    Args:
        merged: n splats.
        looks: pictures of all splats, with how much each counts.
        moved: [3] metres from where the looks have them; None where they are in place.
    """
    placed = merged if moved is None else replace(merged, gaussians=_shifted(merged.gaussians, -moved))
    start = torch.as_tensor(merged.gaussians.rgb.clip(0, 1), dtype=torch.float32)
    terms = []
    for look in looks:
        posed = placed.gaussians if look.transforms is None else pose_cloud(placed, look.transforms)
        height, width = look.alpha.shape
        matrix, numbers = (torch.as_tensor(a, dtype=torch.float32) for a in (look.world_to_camera, look.intrinsics))
        camera = CameraTensors(matrix, numbers, width, height, look.blur)
        seen = contributions(GaussianTensors.from_gaussians(posed), camera)
        rows = torch.as_tensor(look.alpha.reshape(-1) > _COVERED)
        colours = torch.as_tensor(look.rgb.reshape(-1, 3), dtype=torch.float32)[rows]
        terms.append(ColourTerm.of(blend_of(seen, rows), colours, look.say, len(start)))
    found = fit_to_pictures(terms, start, (torch.zeros_like(start), torch.ones_like(start)), SHOWN, STEPS)
    coded = sh_from_rgb(found.numpy()).astype(merged.gaussians.sh_dc.dtype)
    return replace(merged, gaussians=replace(merged.gaussians, sh_dc=coded))


def _shifted(gaussians: Gaussians, by: np.ndarray) -> Gaussians:
    return replace(gaussians, position=gaussians.position + by.astype(gaussians.position.dtype))
