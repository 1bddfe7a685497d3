"""MV-Adapter as a source of views."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch

from ...prepare.matte import person_colours
from ..backdrop import matte_over, picture_over
from ..source import SideView, Step, Subject
from ..synthesize.memory import smaller_mode, told
from .conditions import mesh_conditions, ray_conditions
from .config import TITLE
from .model import MultiviewDiffusion


class AdapterSource:
    """See :class:`~backend.views.source.ViewSource`.

    Args:
        model: see there.
        described: what an avatar package says of the weights.
    """

    title = TITLE

    def __init__(self, model: MultiviewDiffusion, described: Sequence[dict[str, str]]) -> None:
        self.model, self.described = model, described

    def views(self, subject: Subject, seed: int, step: Step) -> Sequence[SideView]:
        """Pictures of the other sides, in the order of the variant's angles, without the photo's own side.

        With a variant that is guided by geometry, cameras are known and alpha is the mesh's coverage. With the other
        one cameras are to be sought, and alpha is what stands out from the grey background.

        Raises:
            BackendError: kinds ``memory_short`` (of every mode), ``weights_damaged``, ``no_person``.
        """
        config, variant = self.model.config, self.model.variant
        own = person_colours(subject.photo, self.model.device)
        reference = picture_over(own, subject.photo.alpha, config.grey, config.fill, config.picture)
        wanted = [(k, angle.turn, angle.belief) for k, angle in enumerate(variant.angles) if angle.belief is not None]
        if not variant.geometry:
            pictures = self._imagine(reference, ray_conditions(variant.angles, config), seed, step)
            return [
                SideView(pictures[k], matte_over(pictures[k], config.grey), turn, belief=belief)
                for k, turn, belief in wanted
            ]
        given = mesh_conditions(subject.vertices, subject.faces, variant.angles, config)
        pictures = self._imagine(reference, given.maps, seed, step)
        return [
            SideView(
                pictures[k],
                given.covered[k].astype(np.float32),
                turn,
                given.matrices[k],
                given.focal,
                belief,
                outline=False,
            )
            for k, turn, belief in wanted
        ]

    def _imagine(self, reference: np.ndarray, maps: np.ndarray, seed: int, step: Step) -> np.ndarray:
        """:meth:`MultiviewDiffusion.imagine`, from the start again in a smaller mode each time that memory runs out."""
        while True:
            try:
                return self.model.imagine(reference, maps, seed, told(step, self.model.mode))
            except torch.OutOfMemoryError:
                smaller = smaller_mode(self.model.mode, self.title)
            # Outside of the handler: the error's traceback holds what was computed so far.
            self.model.use(smaller)
