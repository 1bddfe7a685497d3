"""Whether two pictures show the same person in the same clothes, by the colours of the parts that both show."""

from __future__ import annotations

import cv2
import numpy as np
import torch

from .body.fit import BodyFit
from .body.model import BodyModel
from .estimate.depth import posed
from .photo import PreparedPhoto
from .reconstruct.config import LIGHTNESS
from .reconstruct.parts import FEET, HANDS, KIND, Part
from .rendering.mesh import rasterize_mesh

SAME_PERSON = 0.75
"""Likeness below which somebody else is shown, or other clothes: ``scripts/measure_likeness.py`` says how often that is
right."""
_SIZE = 256
"""Pixels a side at which pictures are compared."""
_RIM = 5
"""Pixels of an outline's surroundings that are left out: the background mixes in."""
_FEWEST, _MOST = 60, 300
"""Pixels of a part from which it is compared, and how many of them at most."""
_NEAR = 10.0
"""CIE L*a*b* units, lightness halved, within which colours are the same in another light."""
_LEFT_OUT = (Part.FACE, *HANDS, *FEET)
"""Parts that one side hides or that are skin of anybody."""


def part_colours(body: BodyModel, parts: np.ndarray, picture: PreparedPhoto, fit: BodyFit) -> dict[int, np.ndarray]:
    """CIE L*a*b* colours [n, 3], lightness weighed, of each kind of part that a picture shows.

    Args:
        body: the model.
        parts: int [V] of its vertices, see :func:`~.reconstruct.parts.body_regions`.
        picture: of the person.
        fit: of the body to it.
    """
    faces = body.faces.numpy()
    with torch.no_grad():
        vertices = posed(body, fit)[0].numpy()
    hits = rasterize_mesh(vertices, faces, fit.focal * _SIZE / picture.rgb.shape[0], (_SIZE, _SIZE))
    rgb, alpha = (
        cv2.resize(layer, (_SIZE, _SIZE), interpolation=cv2.INTER_AREA) for layer in (picture.rgb, picture.alpha)
    )
    inside = cv2.erode((alpha > 0.95).astype(np.uint8), np.ones((_RIM, _RIM), np.uint8)) > 0
    lab = cv2.cvtColor(rgb.astype(np.float32) / 255, cv2.COLOR_RGB2LAB) * np.array([LIGHTNESS, 1, 1], np.float32)
    kind = np.where((hits.face >= 0) & inside, KIND[parts[faces[hits.face, 0]]], -1)
    found = {int(number): lab[kind == number] for number in np.unique(kind) if number >= 0}
    return {number: colours for number, colours in found.items() if number not in _LEFT_OUT and len(colours) > _FEWEST}


def likeness(one: dict[int, np.ndarray], other: dict[int, np.ndarray]) -> float:
    """In 0..1: the mean over parts of how many of each one's colours the other has too; 1 where no part is in both."""
    shares = []
    for number in one.keys() & other.keys():
        mine, theirs = (colours[:: -(-len(colours) // _MOST)] for colours in (one[number], other[number]))
        near = np.linalg.norm(mine[:, None] - theirs[None], axis=2) < _NEAR
        shares.append((near.any(0).mean() + near.any(1).mean()) / 2)
    return float(np.mean(shares)) if shares else 1.0
