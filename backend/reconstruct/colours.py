"""Colour for what the photo does not show: taken from the most alike place that it does show.

Alike means: the same part of the body, near in the rest pose, where depth counts little (the back of a shirt continues
its front) and the other side of the body counts almost as much (a hidden arm looks like the seen one). Faces are never
a source for anything but faces, so the back of a head gets hair.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.spatial import cKDTree

from ..body.model import JOINT_INDEX, BodyModel
from .clothed import joint_of_vertex

_DEPTH_WEIGHT = 0.35
_MIRROR_PENALTY = (0.05, 0.012)
"""Metres that the other side of the body is worth further away; of the face, whose sides have the same features."""
_CLASS_PENALTY = 0.6
_DOUBT_PENALTY = 0.12
"""Metres that a colour without any certainty is worth further away."""
_NEIGHBOURS = 16
_SKIN_BEYOND = (0.008, 0.025)
"""Metres from the nearest seen place of a face beyond which its colour is the median of what lies around."""
_SKIN_AROUND = 400
"""How many: a patch of some centimetres, in which features are rarer than skin."""
HAND_CLASS = 4.0
_TRUNK_CLASS, _ARM_CLASS = 2.0, 2.001
_CLASSES = {
    "head": 0.0, "neck": 1.9, "shoulder": _ARM_CLASS, "elbow": _ARM_CLASS, "hand": HAND_CLASS, "wrist": HAND_CLASS,
    "knee": 6.0, "ankle": 7.0, "foot": 7.0, "hip": 6.0,
}  # fmt: skip
"""Numbers whose difference says how unlike two parts are."""
# A nape is nearly trunk: whether it is skin or collar is a matter of height.
HAIR_CLASS, NAPE_CLASS, FACE_CLASS = 0.0, 1.8, 10.0
SEAT_CLASS = 5.3
"""Of the seat: nearer to thighs than to hands and trunk."""
_SEAT = (-0.05, 0.2)
"""Metres from the crotch up within which what pelvis and hips move is seat."""
MIN_HAIR = 40
"""Places that must show hair, or a face, before anything is concluded from them."""
_BALD = 0.15
"""Difference of the colours where hair grows, or clothes are, and of the face below which both are skin."""
_CLOTHED = 0.7
"""Share of a trunk's places without skin from which it is clothed, and of a patch's with it from which it is bare."""
_GREY = 0.02
"""Difference of hues that counts for nothing: grey photos have none."""
_PATCH = 0.06
"""Metres across which places count together."""
_MIDDLE = 0.01
"""Metres from the body's middle."""


def class_of_joint() -> np.ndarray:
    """Colour class [24] of what each joint moves."""
    out = np.full(len(JOINT_INDEX), _TRUNK_CLASS)
    for name, joint in JOINT_INDEX.items():
        out[joint] = _CLASSES.get(name.removeprefix("left_").removeprefix("right_"), _TRUNK_CLASS)
    return out


@dataclass(frozen=True)
class BodyRegions:
    """Parts that joints do not tell apart, each bool [V].

    Attributes:
        face, hair, nape: of the head: with ears and forehead; above the ears; below them.
        seat: what people cover whatever else they wear.
    """

    face: np.ndarray
    hair: np.ndarray
    nape: np.ndarray
    seat: np.ndarray


def body_regions(body: BodyModel) -> BodyRegions:
    """Where a head is surely face, where hair grows, and the rest of it; and the seat."""
    points = dict(zip(body.keypoint_names, (body.keypoint_regressor @ body.template).cpu().numpy()))
    head = body.weights[:, JOINT_INDEX["head"]].cpu().numpy() > 0.5
    template = body.template.cpu().numpy()
    ear = 0.5 * (points["left_ear"] + points["right_ear"])
    face = head & (template[:, 2] > ear[2] - 0.01) & (template[:, 1] < points["left_eye"][1] + 0.055)
    behind = (template[:, 2] < ear[2] - 0.02) & (template[:, 1] > ear[1] - 0.05)
    hair = head & ~face & (behind | (template[:, 1] > ear[1] - 0.02))
    joint = joint_of_vertex(body.weights.cpu().numpy())
    lower = np.isin(joint, [JOINT_INDEX[name] for name in ("pelvis", "left_hip", "right_hip")])
    crotch = template[lower & (np.abs(template[:, 0]) < _MIDDLE), 1].min()
    above = template[:, 1] - crotch
    seat = lower & (above > _SEAT[0]) & (above < _SEAT[1])
    return BodyRegions(face, hair, head & ~face & ~hair, seat)


def class_of_region(kind: np.ndarray, regions: BodyRegions) -> None:
    """Put the regions' classes into ``kind`` [V], the classes of a body's vertices by joint."""
    kind[regions.nape], kind[regions.face], kind[regions.hair] = NAPE_CLASS, FACE_CLASS, HAIR_CLASS
    kind[regions.seat] = SEAT_CLASS


def vertex_classes(body: BodyModel) -> np.ndarray:
    """Colour class [V] of every vertex of a body."""
    kind = class_of_joint()[joint_of_vertex(body.weights.cpu().numpy())]
    class_of_region(kind, body_regions(body))
    return kind


def skin_among_hair(kind: np.ndarray, rgb: np.ndarray, source: np.ndarray) -> np.ndarray:
    """Which sources [n] lie where hair grows but show skin: a high forehead, a hand."""
    face, hair = source & (kind == FACE_CLASS), source & (kind == HAIR_CLASS)
    if min(face.sum(), hair.sum()) < MIN_HAIR:
        return np.zeros(len(kind), bool)
    skin, strand = np.median(rgb[face], 0), np.median(rgb[hair], 0)
    if np.linalg.norm(skin - strand) < _BALD:
        return np.zeros(len(kind), bool)
    return hair & (np.linalg.norm(rgb - skin, axis=1) < np.linalg.norm(rgb - strand, axis=1))


def skin_on_clothes(rest: np.ndarray, kind: np.ndarray, rgb: np.ndarray, source: np.ndarray) -> np.ndarray:
    """Which sources [n] lie on trunk or seat but show skin, of an arm or a thigh before them say.

    Of a seat some clothes must show, of a trunk mostly clothes: then there are clothes behind too. On a trunk skin
    shows in patches; what alternates with other colours is a pattern of clothes.

    Args:
        rest: [n, 3] in the rest pose, metres.
        kind, rgb: [n] and [n, 3].
        source: bool [n].
    """
    out = np.zeros(len(kind), bool)
    bare = next((b for c in (FACE_CLASS, HAND_CLASS) if (b := source & (kind == c)).sum() >= MIN_HAIR), None)
    if bare is None:
        return out
    skin = np.median(rgb[bare], 0)
    from_skin = np.linalg.norm(rgb - skin, axis=1)
    # White cloth may be as bright as skin, but it is not as red.
    red = _hue(skin)
    ruddy = np.linalg.norm(_hue(rgb) - red, axis=-1) < max(0.5 * float(np.linalg.norm(red - 1 / 3)), _GREY)
    for part, least in ((SEAT_CLASS, 0.0), (_TRUNK_CLASS, _CLOTHED)):
        mine = source & (kind == part)
        clothed = mine & (from_skin > _BALD)
        if clothed.sum() < max(MIN_HAIR, least * mine.sum()):
            continue
        like = mine & ruddy & (from_skin < np.linalg.norm(rgb - np.median(rgb[clothed], 0), axis=1))
        if part == _TRUNK_CLASS:
            found = np.nonzero(mine)[0]
            cell = np.unique(np.floor(rest[found] / _PATCH).astype(int), axis=0, return_inverse=True)[1].ravel()
            like[found] &= (np.bincount(cell, like[found]) / np.bincount(cell))[cell] > _CLOTHED
        out |= like
    return out


def misplaced_skin(rest: np.ndarray, kind: np.ndarray, rgb: np.ndarray, source: np.ndarray) -> np.ndarray:
    """Which sources [n] show skin where something else must be: hair or clothes."""
    return skin_among_hair(kind, rgb, source) | skin_on_clothes(rest, kind, rgb, source)


def _hue(rgb: np.ndarray) -> np.ndarray:
    """Shares of red, green and blue [..., 3], which light and shadow leave as they are."""
    return rgb / np.maximum(rgb.sum(-1, keepdims=True), 1e-3)


def fill_unseen(
    source_rest: np.ndarray,
    source_class: np.ndarray,
    source_rgb: np.ndarray,
    source_sure: np.ndarray,
    target_rest: np.ndarray,
    target_class: np.ndarray,
) -> np.ndarray:
    """Colours [M, 3] of unseen places.

    Args:
        source_rest, target_rest: [N, 3] and [M, 3] in the rest pose, metres, x = 0 the body's middle.
        source_class, target_class: [N] and [M] colour classes.
        source_rgb: [N, 3].
        source_sure: [N] in 0..1; colours near the outline or seen at a slant are used where nothing else is near.
    """
    if not len(source_rest):
        return np.full((len(target_rest), 3), 0.5)

    def features(rest: np.ndarray, kind: np.ndarray, mirrored: bool, doubt: np.ndarray) -> np.ndarray:
        scaled = rest * np.array([-1.0 if mirrored else 1.0, 1.0, _DEPTH_WEIGHT])
        away = np.where(kind == FACE_CLASS, _MIRROR_PENALTY[1], _MIRROR_PENALTY[0]) * mirrored
        return np.column_stack([scaled, away, kind * _CLASS_PENALTY, doubt])

    doubt = (1 - source_sure) * _DOUBT_PENALTY
    source = np.vstack([features(source_rest, source_class, mirrored, doubt) for mirrored in (False, True)])
    tree = cKDTree(source)
    wanted = features(target_rest, target_class, False, np.zeros(len(target_rest)))
    distance, index = tree.query(wanted, k=_NEIGHBOURS, workers=2)
    width = 0.5 * distance[:, :1] + 0.004
    weight = np.exp(-0.5 * ((distance - distance[:, :1]) / width) ** 2)
    colour = source_rgb[index % len(source_rgb)]
    out = (colour * weight[..., None]).sum(1) / weight.sum(1, keepdims=True)
    # From the place itself: a face in profile has its other eye from the one that is seen.
    away = np.linalg.norm((source[index[:, 0]] - wanted)[:, :3], axis=1)
    cheek = np.nonzero((target_class == FACE_CLASS) & (away > _SKIN_BEYOND[0]))[0]
    if len(cheek) and (source_class == FACE_CLASS).sum() >= MIN_HAIR:
        # The corner of an eye or of the mouth must not be drawn out over the side of the face.
        _, around = tree.query(wanted[cheek], k=min(_SKIN_AROUND, len(source)), workers=2)
        skin = np.median(source_rgb[around % len(source_rgb)], 1)
        share = ((away[cheek, None] - _SKIN_BEYOND[0]) / (_SKIN_BEYOND[1] - _SKIN_BEYOND[0])).clip(0, 1)
        out[cheek] = share * skin + (1 - share) * out[cheek]
    return out
