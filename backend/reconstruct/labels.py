"""Which part of the person each of the photo's pixels shows: the fitted body's prior and the photo's colours, fused.

A mixture model: at every pixel the body says how likely each part is there (the nearer its own projection, the more),
every part has a distribution over the photo's colours, and expectation maximisation finds both the distributions and
the parts. Posteriors are smoothed along the photo's edges between the rounds (cost-volume filtering, Hosni et al. 2011,
with the guided filter, He et al. 2010). Where parts have the same colours the body alone decides.
"""

from __future__ import annotations

from typing import cast

import cv2
import numpy as np

from ..geometry.distances import depth_inside, nearest_of
from ..geometry.maps import MAP_SIZE
from .config import LIGHTNESS, CompletionConfig, LabelConfig
from .parts import COUNT, HANDS, KIND, Part, by_part


def label_photo(
    rgb: np.ndarray,
    matte: np.ndarray,
    body: np.ndarray,
    pixels_per_metre: float,
    bones: tuple[np.ndarray | None, np.ndarray | None] = (None, None),
    config: LabelConfig | None = None,
) -> np.ndarray:
    """:class:`~.parts.Part` int [S, S] of what the photo shows; NONE outside the matte.

    Args:
        rgb: uint8 [S, S, 3].
        matte: bool [S, S], the person.
        body: int [S, S], the part of the fitted body that each pixel's ray meets first, NONE for none.
        pixels_per_metre: at the person's distance.
        bones: bool [S, S], on which palm and fingers of the left and the right hand surely lie, where they were found.
        config: of the model.
    """
    config = config or LabelConfig()
    out = np.full(matte.shape, int(Part.NONE))
    covered = (body >= 0) & matte
    if not covered.any():
        return out
    rows, columns = (np.flatnonzero(matte.any(axis)) for axis in (1, 0))
    tile = slice(rows[0], rows[-1] + 1), slice(columns[0], columns[-1] + 1)
    matte, guide = matte[tile], rgb[tile].astype(np.float32) / 255
    part = np.where(covered, body, -1)[tile][nearest_of(covered[tile])]
    present = [p for p in range(COUNT) if (part == p).any() and (covered[tile] & (part == p)).any()]
    prior = np.stack([_prior(part == p, p, pixels_per_metre, config) for p in present])
    for hand, its in zip(HANDS, bones):
        if its is not None and hand in present:
            # Fingers were seen where bones are, wherever the body's stiff hand lies.
            near = np.exp(-depth_inside(~its[tile]) / (config.finger * pixels_per_metre))
            prior[present.index(hand)] = np.maximum(prior[present.index(hand)], config.bones * near)
    prior /= prior.sum(0)
    code = _codes(guide, matte, config)
    posterior = prior
    for _ in range(config.rounds):
        likelihood = _likelihoods(posterior, code, matte, [int(KIND[p]) for p in present], config)
        posterior = prior * likelihood[:, code]
        posterior /= np.maximum(posterior.sum(0), 1e-12)
        posterior = _filtered(posterior, guide, matte, config)
    out[tile] = np.where(matte, np.array(present)[posterior.argmax(0)], Part.NONE)
    return out


_FINGERS = ((0, 1, 2, 3, 4), (0, 5, 6, 7, 8), (5, 9, 10, 11, 12), (9, 13, 14, 15, 16), (13, 17, 18, 19, 20), (0, 17))
"""Landmarks of a hand along its bones (MediaPipe's numbers)."""
_PALM = (0, 5, 9, 13, 17)
"""Landmarks around its palm."""


def hand_bones(landmarks: np.ndarray | None, size: int) -> np.ndarray | None:
    """Where at the maps' resolution palm and fingers surely lie, bool; None where no landmarks were found.

    Args:
        landmarks: [21, 2] pixels of a picture of ``size`` pixels a side.
        size: see above.
    """
    if landmarks is None:
        return None
    drawn, points = np.zeros((MAP_SIZE, MAP_SIZE), np.uint8), landmarks * MAP_SIZE / size
    cv2.fillPoly(drawn, [np.round(points[list(_PALM)] - 0.5).astype(np.int32)], (1,))
    for finger in _FINGERS:
        cv2.polylines(drawn, [np.round(points[list(finger)] - 0.5).astype(np.int32)[:, None]], False, (1,), 1)
    return drawn > 0


def cover_with_hair(
    part: np.ndarray, rest: np.ndarray, confidence: np.ndarray, config: CompletionConfig | None = None
) -> np.ndarray:
    """Parts [n] of places where hair that shows beside the neck also hangs behind it.

    Args:
        part: int [n], as the body and the photo say.
        rest: [n, 3] metres in the rest pose.
        confidence: [n] in 0..1, how far the photo shows each place.
        config: height and least number of places of a row that are compared.
    """
    config = config or CompletionConfig()
    neck = np.flatnonzero((part == Part.NECK) & (confidence <= 0))
    if not len(neck):
        return part
    low, height = rest[neck, 1].min(), rest[:, 1]
    shown = (confidence > 0) & np.isin(part, (Part.HAIR, Part.NECK)) & (height > low)
    row = np.floor((height - low) / config.row).astype(int)
    count = int(row[neck].max()) + 1
    inside = shown & (row < count)
    hair, all_ = (np.bincount(row[chosen], minlength=count) for chosen in (inside & (part == Part.HAIR), inside))
    covered = (2 * hair > all_) & (all_ >= config.fewest)
    # Hair hangs down: what covers the nape further down covers it above, too.
    covered = np.maximum.accumulate(covered)
    out = part.copy()
    behind = neck[rest[neck, 2] < np.median(rest[part == Part.NECK, 2])]
    out[behind] = np.where(covered[row[behind]], Part.HAIR, Part.NECK)
    return out


def _prior(own: np.ndarray, part: int, pixels_per_metre: float, config: LabelConfig) -> np.ndarray:
    """How likely a part is at each pixel, [h, w], by its distance from the part's projection ``own``, bool [h, w]."""
    reach = by_part(config.reach, config.usual_reach)[part] * pixels_per_metre
    return np.exp(-depth_inside(~own) / reach).clip(config.floor)


def _codes(guide: np.ndarray, matte: np.ndarray, config: LabelConfig) -> np.ndarray:
    """Numbers int [h, w] of the nearest of some colours that stand for all of the person's."""
    lab = cv2.cvtColor(guide, cv2.COLOR_RGB2LAB) * np.array([LIGHTNESS, 1, 1], np.float32)
    some = lab[matte]
    cv2.setRNGSeed(0)
    stop = (cv2.TERM_CRITERIA_COUNT, config.rounds, 0.0)
    count = min(config.colours, len(some))
    # OpenCV takes None for no labels to start from; its types do not say so.
    _, _, centres = cv2.kmeans(some, count, cast(np.ndarray, None), stop, 1, cv2.KMEANS_PP_CENTERS)
    flat = lab.reshape(-1, 3)
    away = (centres**2).sum(1) - 2 * flat @ centres.T
    return away.argmin(1).reshape(matte.shape)


def _likelihoods(
    posterior: np.ndarray, code: np.ndarray, matte: np.ndarray, kinds: list[int], config: LabelConfig
) -> np.ndarray:
    """How frequent each colour is in each part, [P, K]; left and right share theirs."""
    numbers, count = code[matte], int(code.max()) + 1
    found: np.ndarray = np.stack([np.bincount(numbers, values[matte], count) for values in posterior])
    shared = {kind: sum(row for row, k in zip(found, kinds) if k == kind) for kind in set(kinds)}
    found = np.stack([shared[kind] for kind in kinds])
    found /= np.maximum(found.sum(1, keepdims=True), 1e-9)
    if Part.FACE in kinds:
        # Hands and necks are as bare as faces mostly, and so small that what is beside them would pass for theirs.
        for small in np.flatnonzero(np.isin(kinds, (*HANDS, Part.NECK))):
            found[small] = (1 - config.bare) * found[small] + config.bare * found[kinds.index(Part.FACE)]
    found += config.floor
    return found / found.sum(1, keepdims=True)


def _filtered(posterior: np.ndarray, guide: np.ndarray, matte: np.ndarray, config: LabelConfig) -> np.ndarray:
    """``posterior`` [P, h, w] smooth but for the edges of ``guide``'s lightness, within the matte."""
    size = (2 * config.radius + 1,) * 2
    weight = matte.astype(np.float32)
    total = np.maximum(cv2.blur(weight, size), 1e-6)

    def mean(values: np.ndarray) -> np.ndarray:
        return cv2.blur(values * weight, size) / total

    grey = guide.mean(2)
    middle = mean(grey)
    spread = mean(grey * grey) - middle**2 + config.edge**2
    out = []
    for values in posterior.astype(np.float32):
        own = mean(values)
        slope = (mean(values * grey) - own * middle) / spread
        out.append(mean(slope) * grey + mean(own - slope * middle))
    return np.stack(out).clip(1e-6, None)
