"""True pictures of the sides that a photo does not show, from the cameras that a prediction asks for."""

from __future__ import annotations

import numpy as np
import torch

from ..avatar import from_rgb
from ..avatar.quaternion import from_matrix
from ..prepare import PreparedPhoto
from ..reconstruct import Reconstruction
from ..reconstruct.latent.stage import Pictures
from ..training.cameras import Camera
from ..training.views import render_views
from .alignment import CropCamera, Similarity
from .candidates import Candidate
from .compare import align
from .truth import Truth


def true_pictures(truth: Truth, photo_size: int) -> Pictures:
    """A stand-in for a synthesizer that never errs, for the networks' ``pictures``.

    The cameras stand in the prediction's space; they are moved to the truth's world as ``compare.align`` moves the
    ``surface`` avatar there.
    """

    def pictures(
        base: Reconstruction, photo: PreparedPhoto, matrices: np.ndarray, focal: float, size: int
    ) -> torch.Tensor:
        left, top, side = photo.crop
        splats = from_rgb(base.position, from_matrix(base.rotation), base.scale, base.opacity, base.rgb)
        to_world, _ = align(Candidate(splats, CropCamera(left, top, side, focal * side)), truth, photo_size)
        cameras = Camera(
            torch.as_tensor(moved(matrices, to_world), dtype=torch.float32),
            torch.full((len(matrices),), focal * size),
            torch.full((len(matrices), 2), size / 2),
            size,
        )
        scene = truth.scene
        return render_views([scene.figure], [scene.light], [cameras], size, 2, baked=[scene.baked]).rgb.permute(
            0, 3, 1, 2
        )

    return pictures


def moved(matrices: np.ndarray, to_world: Similarity) -> np.ndarray:
    """Cameras [V, 4, 4] that see the world as ``matrices`` see what ``to_world`` moves there, only larger."""
    out = np.tile(np.eye(4), (len(matrices), 1, 1))
    out[:, :3, :3] = matrices[:, :3, :3] @ to_world.rotation.T
    out[:, :3, 3] = to_world.scale * matrices[:, :3, 3] - out[:, :3, :3] @ to_world.translation
    return out
