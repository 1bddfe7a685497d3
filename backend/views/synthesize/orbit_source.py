"""SV3D as a source of views: pictures of an orbit around the photo's person, by the photo alone."""

from __future__ import annotations

from collections.abc import Sequence

import torch

from ...prepare import person_colours
from ..backdrop import matte_over, picture_over
from ..source import SideView, Step, Subject
from .full import TITLE, FullSynthesizer
from .memory import smaller_mode, told

_WHITE = 1.0
"""Background of SV3D's pictures (Stability AI's ``scripts/sampling/simple_video_sample.py``)."""
_FILL = 0.9
"""Longer side of the person's box in the picture that SV3D is shown, in picture sides. SV3D's own script leaves it to
the user; 0.9 is the default of the same authors' ``simple_video_sample_4d2.py``. Not compared with others."""


class OrbitSource:
    """See :class:`~backend.views.source.ViewSource`.

    SV3D knows neither body nor mesh, and its cameras are only about those that it was told: they are to be sought.

    Args:
        synthesizer: see there; its ``config.views`` are the azimuths whose pictures are wanted, 0 the photo's own.
        described: what an avatar package says of the weights.
    """

    title = TITLE

    def __init__(self, synthesizer: FullSynthesizer, described: Sequence[dict[str, str]]) -> None:
        self.synthesizer, self.described = synthesizer, described

    def views(self, subject: Subject, seed: int, step: Step) -> Sequence[SideView]:
        """Pictures of the other sides; alpha is what stands out from the white background.

        Raises:
            BackendError: kinds ``memory_short`` (of every mode), ``weights_damaged``, ``no_person``.
        """
        size = self.synthesizer.config.picture
        own = person_colours(subject.photo, self.synthesizer.device)
        shown = picture_over(own, subject.photo.alpha, _WHITE, _FILL, size)
        rgb = torch.as_tensor(shown.copy()).permute(2, 0, 1)[None] / 255
        turns = [turn for turn in self.synthesizer.config.views if turn % 360]
        while True:
            try:
                pictures = self.synthesizer.pictures(rgb, turns, seed, told(step, self.synthesizer.mode))
                break
            except torch.OutOfMemoryError:
                smaller = smaller_mode(self.synthesizer.mode, self.title)
            # Outside of the handler: the error's traceback holds what was computed so far.
            self.synthesizer.use(smaller)
        return [SideView(picture, matte_over(picture, _WHITE), turn) for picture, turn in zip(pictures, turns)]
