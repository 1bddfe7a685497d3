"""One body for a photo and further pictures of the same person: where each camera stood, and how each poses it.

A picture says little about depth, two from different sides say all. Pictures are taken to show the photo's pose; where
their landmarks deny it, as the pictures of another moment, they have a pose of their own and do not change the photo's.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np
from scipy.spatial.transform import Rotation

from ..photo import PreparedPhoto
from .fit import BodyFit, BodyFitter
from .look import View

_MAYBE_SAME, _SAME_POSE = 0.05, 0.03
"""Mean distance of visible landmarks, in sizes of the person, up to which a picture may show the photo's pose, whose
depths the photo hardly tells; and up to which it does, once all pictures have told them."""

_DENIED = 0.004
"""By how much more than before the photo's own landmarks may be missed, in sizes of the person: 7 mm of an adult."""


@dataclass(frozen=True, eq=False)
class FittedPicture:
    """A further picture and its body.

    Attributes:
        picture: from the stage before.
        fit: in the picture camera's space, of the photo's shape.
        turn: degrees that its camera stands around the person from the photo's, towards the person's left.
        belief: in 0..1, how far its colours are believed.
        outline: whether its matte says something of the person's shape.
    """

    picture: PreparedPhoto
    fit: BodyFit
    turn: float
    belief: float = 1.0
    outline: bool = True


def fit_pictures(
    fitter: BodyFitter,
    fit: BodyFit,
    photo: PreparedPhoto,
    pictures: Sequence[PreparedPhoto],
    turns: Sequence[float | None],
    check: Callable[[], None] = lambda: None,
) -> tuple[BodyFit, list[FittedPicture]]:
    """The photo's fit, mended by all pictures, and theirs.

    Args:
        fitter: of the body.
        fit, photo: of the stages before.
        pictures: of the same person.
        turns: degrees that each camera is said to stand around the person from the photo's, towards the person's left;
            None where nobody says.
        check: called between the steps; may raise to stop.
    """
    starts = [_starts(fitter, fit, picture, turn, check) for picture, turn in zip(pictures, turns)]
    placed = [_placed(fitter, fit, picture, start, check) for picture, start in zip(pictures, starts)]
    alone, same = list(placed), [found.landmark_error < _MAYBE_SAME * found.person_size for found in placed]
    joined, own = fit, fitter.misses(fit, photo)
    while shared := [k for k, one in enumerate(same) if one]:
        views = [view_of(pictures[k], camera_between(fitter, fit, alone[k]), turns[k]) for k in shared]
        joined, matrices = fitter.adjust(fit, photo, views, check)
        for k, matrix in zip(shared, matrices):
            placed[k] = seen_from(fitter, joined, matrix, pictures[k])
        miss = {k: fitter.misses(placed[k], pictures[k]) for k in shared}
        wrong = [k for k in shared if miss[k] > _SAME_POSE]
        if not wrong and fitter.misses(joined, photo) < own + _DENIED:
            break
        wrong = wrong or [max(shared, key=miss.__getitem__)]
        for k in wrong:
            same[k], placed[k] = False, alone[k]
    if 2 * sum(same) < len(same):
        # Pictures are mostly made together: where more than half are of another moment the others fit by chance.
        same, placed = [False] * len(same), alone
    fit = joined if any(same) else fit
    out = []
    for picture, found, one in zip(pictures, placed, same):
        if not one:
            found = _placed(fitter, fit, picture, [found.pose[0]], check)
        matrix = camera_between(fitter, fit, found)
        turn = -float(np.degrees(np.arctan2(matrix[2, 0], matrix[2, 2])))
        # Of another moment the pose is known to some centimetres only: an outline says less than that of the shape.
        out.append(FittedPicture(picture, fitter.follow(found, picture, one, check), turn, outline=one))
    return fit, out


def seen_from(fitter: BodyFitter, fit: BodyFit, matrix: np.ndarray, picture: PreparedPhoto) -> BodyFit:
    """``fit`` in the space of a camera at ``matrix`` [4, 4] from its own."""
    pelvis = _pelvis(fitter, fit)
    pose = fit.pose.copy()
    pose[0] = (Rotation.from_matrix(matrix[:3, :3]) * Rotation.from_rotvec(fit.pose[0])).as_rotvec()
    translation = matrix[:3, :3] @ (pelvis + fit.translation) + matrix[:3, 3] - pelvis
    return replace(fit, pose=pose, translation=translation, focal=picture.focal)


def _pelvis(fitter: BodyFitter, fit: BodyFit) -> np.ndarray:
    return fitter.skeleton.joints[0] + fitter.skeleton.joints_by_shape[0] @ fit.betas


def camera_between(fitter: BodyFitter, fit: BodyFit, other: BodyFit) -> np.ndarray:
    """[4, 4] from the camera space of ``fit`` to that of ``other``, a fit of the same pose and shape."""
    pelvis = _pelvis(fitter, fit)
    out = np.eye(4)
    turn = Rotation.from_rotvec(other.pose[0]) * Rotation.from_rotvec(fit.pose[0]).inv()
    out[:3, :3] = turn.as_matrix()
    out[:3, 3] = pelvis + other.translation - out[:3, :3] @ (pelvis + fit.translation)
    return out


def view_of(picture: PreparedPhoto, matrix: np.ndarray, turn: float | None) -> View:
    """What a picture says to the fit, seen by a camera at ``matrix`` [4, 4], which is said to be turned by ``turn``
    degrees."""
    hands = (picture.left_hand, picture.right_hand)
    radians = None if turn is None else float(np.radians(turn))
    return View(
        picture.alpha, picture.landmarks, picture.visibility, picture.focal, matrix, picture.inside, hands, radians
    )


def _starts(
    fitter: BodyFitter, fit: BodyFit, picture: PreparedPhoto, turn: float | None, check: Callable[[], None]
) -> list[np.ndarray]:
    """Turns of the pelvis, axis-angle, from which the body may be brought to a picture: by what is said, and by what
    the picture alone says."""
    starts = [fitter.fit(picture, check).pose[0]]
    if turn is not None:
        about = Rotation.from_rotvec([0.0, np.radians(turn), 0.0])
        starts.append((about * Rotation.from_rotvec(fit.pose[0])).as_rotvec())
    return starts


def _placed(
    fitter: BodyFitter,
    fit: BodyFit,
    picture: PreparedPhoto,
    starts: Sequence[np.ndarray],
    check: Callable[[], None],
) -> BodyFit:
    tried = [fitter.place(fit, picture, start, check) for start in starts]
    return min(tried, key=lambda found: found[1])[0]
