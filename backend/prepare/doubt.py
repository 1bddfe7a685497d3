"""How sure it is that the picture shows one whole person: refusals and warnings, each with what to do.

The bounds were set between people (the photos and test people of the project: nothing of this is said of them without
a reason) and pictures of animals, dolls, things and parts of people; ``scripts/measure_doubt.py`` prints the figures.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise

import cv2
import numpy as np

from ..errors import BackendError
from ..photo import Agreement
from .legs import UnseenLegs

_NO_PERSON_SPREAD, _NO_PERSON_SCORE = 0.07, 0.25
_DOUBTFUL_SPREAD, _DOUBTFUL_SCORE = 0.02, 0.8
_DOUBTFUL_ERROR = 0.018
"""Of the landmarks, in sizes of the person, of a body that was fitted to what looks disagree on."""
_SMALL = 200
"""Pixels of a person from which on a face has some twenty."""
_BLURRED = 150
"""Pixels that a blurred photo of the person could be reduced to without a loss."""
_KEPT_DETAIL, _KEPT_FINEST = 0.52, 0.42
"""Contrast of a scale, in that of twice as coarse a one, from which on it is sharp; cameras soften the finest."""
_ROUNDING = 0.6
"""Levels of 255; contrast below is that of rounding."""
_BACK = -0.2
_LARGE_HEAD = 0.165
"""Trunks between eyes and mouth; children and people seen from above reach it."""
_SHORT_LEGS = 1.25
"""Trunks from hip to ankle; those of adults seen from the front are longer."""
_PIECES = 0.9
_AT_THE_EDGE = 0.12
"""Person's heights of matte along the picture's left or right edge."""
_DISAGREEMENT = 0.6
_GAP = 3
"""Pixels of 256 between the body's legs from which on one sees between them."""
_SPANNED, _FREE_ABOVE = 0.12, 0.04
"""Shares of the legs' length over which something spans them, and over which nothing does above that."""


def no_person(message: str) -> BackendError:
    """The refusal of a picture, with what to do; ``message`` says why."""
    fix = "Choose a photo that shows one person from head to feet, well lit and not too small."
    return BackendError("no_person", message, fix)


@dataclass(frozen=True)
class Seen:
    """What the stage knows of the person, in pixels of the square crop.

    Attributes:
        rgb: uint8 [S, S, 3].
        alpha: [S, S] matte.
        inside: bool [S, S] where the crop lies inside the picture.
        landmarks: [33, 2].
        visibility: [33].
        facing: trunk lengths across the trunk; negative from behind.
        agreement: of the looks.
        legs: those that are not seen.
        scale: pixels of the crop a pixel of the photo.
        neighbour: another person touches this one.
        cut_ankles, cut_head: the frame cuts them, which is said elsewhere.
    """

    rgb: np.ndarray
    alpha: np.ndarray
    inside: np.ndarray
    landmarks: np.ndarray
    visibility: np.ndarray
    facing: float
    agreement: Agreement
    legs: UnseenLegs
    scale: float
    neighbour: bool
    cut_ankles: bool
    cut_head: bool


def refuse_non_person(agreement: Agreement) -> None:
    """Raise where several looks agree on nothing, or are sure that nobody is there.

    Raises:
        BackendError: kind ``no_person``.
    """
    if agreement.spread > _NO_PERSON_SPREAD or agreement.score < _NO_PERSON_SCORE:
        raise no_person("What was found in the picture is hardly one whole person.")


def refuse_misfit(agreement: Agreement, error: float) -> None:
    """Raise where the looks disagree and no body fits what they saw.

    Args:
        agreement: of the looks.
        error: mean distance of the fitted body's landmarks from those seen, in sizes of the person.

    Raises:
        BackendError: kind ``no_person``.
    """
    if agreement.spread > _DOUBTFUL_SPREAD and error > _DOUBTFUL_ERROR:
        raise no_person("No human body fits what was found in the picture.")


def doubts(seen: Seen) -> list[str]:
    """Sentences for the user, the gravest first; empty for a good photo."""
    said = []
    agreement, legs = seen.agreement, seen.legs
    if agreement.spread > _DOUBTFUL_SPREAD or agreement.score < _DOUBTFUL_SCORE:
        said.append(
            "It is doubtful whether the picture shows one whole person; look at the avatar from all sides, or choose a "
            "clearer photo."
        )
    if agreement.facing_unclear:
        said.append(
            "Whether the person is seen from the front or from behind is not clear (a hidden or blurred face?); if the "
            "avatar is the wrong way round, choose a photo with a clear face."
        )
    elif seen.facing < _BACK:
        said.append("The photo shows the person from behind; the face is imagined. Choose one from the front for it.")
    person = seen.alpha > 0.5
    rows = np.nonzero(person.any(1))[0]
    height = (rows[-1] - rows[0] + 1) / seen.scale if len(rows) else 0.0
    detail = height * _sharpness(seen.rgb, person, seen.scale)
    if height < _SMALL:
        said.append(
            f"The person is only {height:.0f} pixels tall; the avatar will be blurred. Choose a photo with at least "
            f"{_SMALL} pixels."
        )
    elif detail < _BLURRED:
        said.append(f"The photo is blurred: {detail:.0f} pixels of height would show as much. Choose a sharper one.")
    if legs.hidden and not seen.cut_ankles:
        said.append(f"Something hides {_legs(legs.hidden)}; what is hidden goes on straight and is imagined.")
    if legs.ended and not seen.cut_ankles:
        said.append(
            f"The photo does not show all of {_legs(legs.ended)}; the avatar's may bend wrongly or be made up. Hide or "
            "erase there with the splat brushes what should not be."
        )
    if seen.neighbour:
        said.append(
            "Another person stands close to this one; parts of the two may have been mixed up. Choose a photo with "
            "some space between them, or give a picture that is cut out."
        )
    if _largest_share(person) < _PIECES:
        said.append(
            "The person is seen in several pieces (something stands before them?); what is between is imagined."
        )
    if (side := _cut_side(person, seen.inside, height * seen.scale)) and not seen.cut_head:
        said.append(f"The photo's {side} edge cuts the person; what is beyond is imagined.")
    if _head_size(seen) > _LARGE_HEAD and not seen.cut_ankles:
        said.append(
            "The head is large for the body. If this is a child, choose the body Child; if the photo was taken from "
            "above or very near, choose one from the height of the chest and further away."
        )
    return said


def disagreement(alpha: np.ndarray, silhouette: np.ndarray, inside: np.ndarray) -> str | None:
    """A sentence where the fitted body and the outline are far apart (a cloak, a thing, a wrong pose).

    Args:
        alpha: [S, S] matte.
        silhouette: bool [S, S], of the fitted body.
        inside: bool [S, S] where the photo is known.
    """
    person, body = (alpha > 0.5) & inside, silhouette & inside
    if (person & body).sum() >= _DISAGREEMENT * max(int((person | body).sum()), 1):
        return None
    return (
        "The fitted body and the person's outline are far apart (wide clothes, a large thing, or a pose that was not "
        "understood); look at the avatar from all sides."
    )


def hangs_before_legs(alpha: np.ndarray, silhouette: np.ndarray, legs: np.ndarray) -> str | None:
    """A sentence where something that begins below the hips spans both legs: a bag; a skirt begins at the hips.

    Args:
        alpha: [S, S] matte.
        silhouette: bool [S, S], of the fitted body.
        legs: [2, 3, 2] pixels (x, y) of the left and the right hip, knee and ankle.
    """
    person = alpha > 0.5
    tops, ends = legs[:, 0, 1], legs[:, 2, 1]
    if (np.diff(legs[..., 1], axis=1) < 3).any():
        return None  # not upright
    free, spanned = [], []
    for row in range(max(int(tops.max()), 0), min(int(ends.min()), len(alpha))):
        a, b = sorted(np.interp(row, leg[:, 1], leg[:, 0]) for leg in legs)
        between = slice(max(int(a), 0), max(int(b) + 1, 0))
        gap = ~silhouette[row, between]
        if gap.sum() >= _GAP:
            covered = float(person[row, between][gap].mean())
            (spanned if covered > 0.8 else free).append(row)
    length = float(ends.min() - tops.max())
    # The longest stretch of rows: trousers span a few at the crotch.
    runs = np.split(np.array(spanned, int), np.nonzero(np.diff(spanned) > 1)[0] + 1)
    longest = max(runs, key=len)
    if len(longest) < max(_SPANNED * length, 1):
        return None
    if sum(row < longest[0] for row in free) < _FREE_ABOVE * length:
        return None
    return (
        "Something hangs before both legs (a bag?); it is taken for a part of them and will move with them. Choose a "
        "photo without it, or erase it with the splat brushes."
    )


def _legs(names: tuple[str, ...]) -> str:
    return "both legs" if len(names) == 2 else f"the {names[0]} leg"


def _largest_share(person: np.ndarray) -> float:
    count, _, stats, _ = cv2.connectedComponentsWithStats(person.astype(np.uint8))
    areas = stats[1:, cv2.CC_STAT_AREA]
    return float(areas.max() / areas.sum()) if count > 1 else 1.0


def _cut_side(person: np.ndarray, inside: np.ndarray, height: float) -> str | None:
    """Which side of the picture cuts the person over a good part of its height."""
    columns = np.nonzero(inside.any(0))[0]
    if not len(columns):
        return None
    for name, column in (("left", columns[0] + 1), ("right", columns[-1] - 1)):
        if 1 < column < person.shape[1] - 2 and person[:, column].sum() > _AT_THE_EDGE * height:
            return name
    return None


def _head_size(seen: Seen) -> float:
    """Trunks from eyes to mouth, of faces that are seen from the front above short legs; else 0."""
    points = seen.landmarks
    if seen.visibility[[2, 5, 9, 10]].min() < 0.9 or abs(seen.facing) < 0.35 or seen.agreement.facing_unclear:
        return 0.0
    trunk = np.linalg.norm(points[[11, 12]].mean(0) - points[[23, 24]].mean(0))
    bones = np.linalg.norm(points[[23, 25, 24, 26]] - points[[25, 27, 26, 28]], axis=1)
    if bones.sum() / 2 > _SHORT_LEGS * trunk:
        return 0.0  # a trunk that leans towards the camera looks short
    return float(np.linalg.norm(points[[2, 5]].mean(0) - points[[9, 10]].mean(0)) / max(trunk, 1e-6))


def _sharpness(rgb: np.ndarray, person: np.ndarray, scale: float) -> float:
    """Share in 0..1 of the photo's own resolution that shows something.

    Natural pictures have nearly as much contrast at every scale; blur takes that of the fine ones.
    """
    if scale > 1:
        rgb = cv2.resize(rgb, None, fx=1 / scale, fy=1 / scale, interpolation=cv2.INTER_AREA)
        person = cv2.resize(person.astype(np.uint8), rgb.shape[1::-1], interpolation=cv2.INTER_NEAREST) > 0
    grey = cv2.cvtColor(rgb, cv2.COLOR_RGB2GRAY).astype(np.float32)
    within = cv2.erode(person.astype(np.uint8), np.ones((5, 5), np.uint8)) > 0
    strength, factor = [], 1.0
    for _ in range(6):
        if within.sum() < 200:
            break
        detail = grey - cv2.GaussianBlur(grey, (0, 0), 1.0)
        strength.append(float(detail[within].std()))
        grey = cv2.resize(grey, None, fx=0.5, fy=0.5, interpolation=cv2.INTER_AREA)
        within = cv2.resize(within.astype(np.uint8), grey.shape[1::-1], interpolation=cv2.INTER_NEAREST) > 0
    for finer, coarser in pairwise(strength):
        if finer > _ROUNDING and finer >= (_KEPT_DETAIL if factor < 1 else _KEPT_FINEST) * coarser:
            return factor
        factor /= 2
    return factor
