"""True views of the sides that a photo does not show, from the cameras that a prediction asks for."""

from __future__ import annotations

import numpy as np
import torch

from ...avatar import from_rgb
from ...avatar.quaternion import from_matrix
from ...reconstruct import Reconstruction
from ...views.latent.stage import AllViews, Orbit, Step
from ...views.latent.views import SideViews, without_white
from ..training.cameras import Camera
from ..training.views import render_views
from .alignment import CropCamera, Similarity
from .candidates import Candidate
from .compare import align
from .truth import Truth


def true_views(truth: Truth, photo_size: int) -> AllViews:
    """A stand-in for a synthesizer that never errs.

    The cameras stand in the prediction's space; they are moved to the truth's world as ``compare.align`` moves the
    ``surface`` avatar there.
    """

    def views(orbit: Orbit, base: Reconstruction, step: Step) -> SideViews:
        size = orbit.size
        left, top, side = orbit.photo.crop
        focal = float(orbit.cameras.focal[0])
        splats = from_rgb(base.position, from_matrix(base.rotation), base.scale, base.opacity, base.rgb)
        to_world, _ = align(Candidate(splats, CropCamera(left, top, side, focal * side)), truth, photo_size)
        matrices = moved(orbit.matrices(), to_world)
        cameras = Camera(
            torch.as_tensor(matrices, dtype=torch.float32),
            torch.full((len(matrices),), focal * size),
            torch.full((len(matrices), 2), size / 2),
            size,
        )
        scene = truth.scene
        pictures = render_views([scene.figure], [scene.light], [cameras], size, 2, baked=[scene.baked])
        rgb = pictures.rgb.permute(0, 3, 1, 2).to(orbit.rgb.device)
        alpha = pictures.alpha[:, None].to(orbit.rgb.device)
        return SideViews(orbit.codec.encode(rgb), torch.cat([without_white(rgb, alpha), alpha], 1))

    return views


def moved(matrices: np.ndarray, to_world: Similarity) -> np.ndarray:
    """Cameras [V, 4, 4] that see the world as ``matrices`` see what ``to_world`` moves there, only larger."""
    out = np.tile(np.eye(4), (len(matrices), 1, 1))
    out[:, :3, :3] = matrices[:, :3, :3] @ to_world.rotation.T
    out[:, :3, 3] = to_world.scale * matrices[:, :3, 3] - out[:, :3, :3] @ to_world.translation
    return out
