"""Stage 1, prepare: from a photo file to one person's square crop with matte, landmarks and camera."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import cv2
import numpy as np

from ..errors import BackendError
from ..photo import CROP_SIZE, PreparedPhoto
from .blazepose import BlazePose, HandLandmarks, PoseLandmarks
from .cutout import is_cut_out, without_rim
from .detect import facing, find_people, look_again, stands_beside_another
from .doubt import Seen, doubts, no_person, refuse_non_person
from .image import Photo, load_photo
from .legs import find_unseen_legs
from .matte import extend_colours, own_colours, person_colours, refine_matte

__all__ = ["BlazePose", "PreparedPhoto", "extend_colours", "load_photo", "own_colours", "person_colours", "prepare"]

FIELD_OF_VIEW = 39.6
"""Degrees across a crop that holds the whole body: the published method's camera."""
MARGIN = 0.06
MIN_PERSON_PIXELS = 40
_HAND_SCORE = 0.5
_NOBODY = "No person was found in the picture."


def _choose(people: list[PoseLandmarks], person: int | None) -> PoseLandmarks:
    if not people:
        raise no_person(_NOBODY)
    if person is None:
        return people[0]
    if not 1 <= person <= len(people):
        raise BackendError(
            "person_index",
            f"Person {person} was asked for, but {len(people)} {'was' if len(people) == 1 else 'were'} found.",
            f"Give a number from 1 (the largest) to {len(people)}.",
        )
    return people[person - 1]


def _hands(networks: BlazePose, rgb: np.ndarray, pose: PoseLandmarks) -> dict[str, np.ndarray | None]:
    hands: dict[str, np.ndarray | None] = {}
    for side, (wrist, index, pinky) in {"left_hand": (15, 19, 17), "right_hand": (16, 20, 18)}.items():
        hand: HandLandmarks | None = None
        if pose.visibility[[wrist, index, pinky]].min() > 0.4:
            hand = networks.hand(rgb, pose.image[wrist], pose.image[index], pose.image[pinky])
            # A hand that the network puts elsewhere is another hand or none.
            length = np.linalg.norm(pose.image[wrist] - pose.image[index])
            if hand.score < _HAND_SCORE or np.linalg.norm(hand.image[0] - pose.image[wrist]) > 0.8 * length:
                hand = None
        hands[side] = None if hand is None else hand.image
    return hands


def _out(pose: PoseLandmarks, shape: tuple[int, int]) -> np.ndarray:
    """bool [33], joints beyond the frame: they were not photographed."""
    x, y = pose.image.T
    return (y > shape[0]) | (y < 0) | (x < 0) | (x > shape[1])


def _cut(pose: PoseLandmarks, shape: tuple[int, int]) -> tuple[bool, bool]:
    """Whether the frame cuts an ankle, and the head."""
    out = _out(pose, shape)
    return bool(out[[27, 28]].any()), bool(out[:11].mean() > 0.5)


def _warnings(people: int, person: int | None, pose: PoseLandmarks, shape: tuple[int, int]) -> list[str]:
    out = _out(pose, shape)
    messages = []
    if people > 1 and person is None:
        messages.append(
            f"{people} people were found; the largest was taken. Choose another with the person number (1 to {people})."
        )
    if out[[27, 28]].all():
        where = "waist" if out[[25, 26]].all() else "knees"
        messages.append(f"The photo cuts the person at the {where}; the legs below are imagined from the body alone.")
    if out[:11].mean() > 0.5:
        messages.append("The photo cuts the head off; it is imagined from the body alone.")
    return messages


def prepare(
    photo: Photo, networks: BlazePose, person: int | None = None, check: Callable[[], None] = lambda: None
) -> PreparedPhoto:
    """Find the person, cut the matte, crop to a square.

    Args:
        photo: from :func:`load_photo`.
        networks: loaded once by the caller.
        person: 1 is the largest person in the picture; None takes that one and says so if there are others.
        check: called between the steps; may raise to stop.

    Raises:
        BackendError: kinds ``no_person``, ``person_index``, ``image_too_small``.
    """
    people = find_people(networks, photo.rgb)
    check()
    pose = _choose(people, person)
    height, width = photo.rgb.shape[:2]
    known = np.ones((height, width), np.float32)
    cut_out = None
    if photo.alpha is not None and is_cut_out(photo.alpha, pose.mask):
        cut_out = without_rim(photo.rgb, photo.alpha)
    elif photo.alpha is not None:
        known = (photo.alpha > 0.5).astype(np.float32)  # a frame: what it leaves out was not photographed
    mask = pose.mask * known if cut_out is None else cut_out * (cv2.blur(pose.mask, (9, 9)) > 0.02)
    ys, xs = np.nonzero(mask > 0.4)
    if len(ys) < 100 or np.ptp(ys) < MIN_PERSON_PIXELS:
        raise BackendError(
            "image_too_small",
            f"The person is only {np.ptp(ys) if len(ys) else 0} pixels tall in the picture.",
            "Choose a photo in which the person is at least 200 pixels tall.",
        )
    # The crop holds the mask and the joints that lie inside the picture.
    seen = pose.image[(pose.image >= 0).all(1) & (pose.image <= [width, height]).all(1) & (pose.visibility > 0.3)]
    low = np.minimum([xs.min(), ys.min()], seen.min(0)) if len(seen) else np.array([xs.min(), ys.min()], float)
    high = np.maximum([xs.max() + 1, ys.max() + 1], seen.max(0)) if len(seen) else np.array([xs.max(), ys.max()], float)
    side = float((high - low).max()) * (1 + 2 * MARGIN)
    scale = CROP_SIZE / side
    origin = (low + high) / 2 - side / 2
    rgb, soft, inside = (_square(layer, origin, scale) for layer in (photo.rgb, mask, known))
    inside = inside > 0.5
    alpha = soft if cut_out is not None else refine_matte(rgb, soft, inside, networks.exact)
    alpha = alpha * inside
    check()
    # The region holds the whole body, also what the frame cuts: the camera's distance follows the body, not the crop.
    extent = max(side, 0.8 * pose.region[2])
    near = pose.region[:2] - origin
    region = (float(near[0] * scale), float(near[1] * scale), pose.region[2] * scale, pose.region[3])
    cropped = replace(pose, image=(pose.image - origin) * scale, region=region)
    cropped, agreement = look_again(networks, rgb, alpha, cropped, check)
    refuse_non_person(agreement)
    if not (alpha > 0.5).any():
        raise no_person(_NOBODY)
    pose = replace(pose, image=cropped.image / scale + origin, visibility=cropped.visibility)
    check()
    hands = _hands(networks, photo.rgb, pose)
    legs = find_unseen_legs(rgb, alpha, inside, cropped.image, cropped.visibility)
    cut = _cut(pose, (height, width))
    seen = Seen(
        rgb, alpha, inside, cropped.image, cropped.visibility, facing(cropped), agreement, legs, scale,
        stands_beside_another(networks, rgb, alpha), *cut,
    )  # fmt: skip
    return PreparedPhoto(
        rgb=rgb,
        alpha=alpha.astype(np.float32),
        inside=inside & ~legs.unknown,
        landmarks=cropped.image,
        visibility=pose.visibility,
        world_landmarks=cropped.world,
        focal=0.5 * extent * scale / float(np.tan(np.radians(FIELD_OF_VIEW) / 2)),
        matte_given=cut_out is not None,
        person_count=len(people),
        warnings=(*_warnings(len(people), person, pose, (height, width)), *doubts(seen)),
        agreement=agreement,
        name=photo.name,
        sha256=photo.sha256,
        crop=(float(origin[0]), float(origin[1]), side),
        **{side_: None if hand is None else (hand - origin) * scale for side_, hand in hands.items()},
    )


def _square(layer: np.ndarray, origin: np.ndarray, scale: float) -> np.ndarray:
    """The square of ``CROP_SIZE / scale`` pixels at ``origin``, resampled to the crop's size."""
    if scale < 1:
        layer = cv2.resize(layer, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA)
        origin, scale = origin * scale, 1.0
    # OpenCV's pixel centres are at integers, ours at +0.5.
    matrix = np.array(
        [[scale, 0, -origin[0] * scale + 0.5 * scale - 0.5], [0, scale, -origin[1] * scale + 0.5 * scale - 0.5]]
    )
    cubic = layer.dtype == np.uint8
    out = cv2.warpAffine(layer, matrix, (CROP_SIZE, CROP_SIZE), flags=cv2.INTER_CUBIC if cubic else cv2.INTER_LINEAR)
    return out
