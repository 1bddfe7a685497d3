"""The published variants of MV-Adapter on SDXL and the settings of their inference scripts.

Source of all numbers: the repository huanngzh/MV-Adapter, ``scripts/inference_ig2mv_sdxl.py``,
``scripts/inference_i2mv_sdxl.py`` and ``configs/``.
"""

from __future__ import annotations

from dataclasses import dataclass

TITLE = "MV-Adapter"
"""As sentences name it."""


@dataclass(frozen=True)
class ViewAngle:
    """Where the camera of one view stands.

    Attributes:
        turn: degrees around the person from the photo's camera, towards the person's left (MV-Adapter's azimuth).
        elevation: degrees above the horizontal.
        belief: in 0..1, how far the view's colours are believed (``SideView.belief``); None where the view is made
            only because the network was trained with it, and is not returned.
    """

    turn: float
    elevation: float = 0.0
    belief: float | None = 1.0


@dataclass(frozen=True)
class Variant:
    """One of the published adapters. Their tensors have the same names and shapes; they were trained with other inputs.

    Attributes:
        name: as in the file's name, ``mvadapter_<name>_sdxl.safetensors``.
        angles: of the views, in the order in which the network was trained.
        geometry: the condition is position and normal maps of the mesh; otherwise it is the rays of the cameras.
        columns: front, back, top and bottom attend to each other along columns of the picture besides the attention of
            the first four views along rows. Needs six views in the order front, left, back, right, top, bottom.
    """

    name: str
    angles: tuple[ViewAngle, ...]
    geometry: bool
    columns: bool


_POLE = 89.99
"""Degrees of elevation of the views from above and below: at 90 the published camera has no upward direction."""

IG2MV = Variant(
    "ig2mv",
    (
        ViewAngle(0.0, belief=None),
        ViewAngle(90.0),
        ViewAngle(180.0),
        ViewAngle(270.0),
        # Half: crowns and soles are few pixels of these pictures. The factor has not been measured.
        ViewAngle(180.0, _POLE, belief=0.5),
        ViewAngle(180.0, -_POLE, belief=0.5),
    ),
    geometry=True,
    columns=True,
)
"""Guided by an image and a mesh."""
I2MV = Variant(
    "i2mv",
    (
        ViewAngle(0.0, belief=None),
        ViewAngle(45.0, belief=None),
        ViewAngle(90.0),
        ViewAngle(180.0),
        ViewAngle(270.0),
        ViewAngle(315.0, belief=None),
    ),
    geometry=False,
    columns=False,
)
"""Guided by an image and the cameras' directions alone."""
VARIANTS = (IG2MV, I2MV)


@dataclass(frozen=True)
class AdapterConfig:
    """Settings of the sampling.

    Attributes:
        picture: pixels a side of the views, a multiple of 32.
        steps: of the sampler.
        guidance: scale of classifier-free guidance.
        shift: factor by which the signal-to-noise ratio of the last training step is lowered; see
            :func:`~backend.views.adapter.schedule.shifted_betas`.
        prompt, negative_prompt: what the text encoders are given.
        grey: of the background of all pictures, in 0..1.
        fill: longer side of the person's box in the reference picture, in picture sides.
        margin: width of the orthographic views, in longest extents of the mesh.
    """

    picture: int = 768
    steps: int = 50
    guidance: float = 3.0
    shift: float = 8.0
    prompt: str = "high quality"
    negative_prompt: str = "watermark, ugly, deformed, noisy, blurry, low contrast"
    grey: float = 0.5
    fill: float = 0.9
    margin: float = 1.1
