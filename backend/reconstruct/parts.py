"""Parts of a person: the one vocabulary in which labels, visibility and completion speak, and what belongs to which."""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum

import numpy as np

from ..body.model import JOINT_INDEX, BodyModel
from .config import CROTCH_BAND_M, EAR_MARGIN_M, FOREHEAD_M


class Part(IntEnum):
    """What a place of the surface belongs to. NONE is background."""

    NONE = -1
    FACE = 0
    HAIR = 1
    NECK = 2
    TRUNK = 3
    SEAT = 4
    LEFT_ARM = 5
    RIGHT_ARM = 6
    LEFT_HAND = 7
    RIGHT_HAND = 8
    LEFT_LEG = 9
    RIGHT_LEG = 10
    LEFT_FOOT = 11
    RIGHT_FOOT = 12


COUNT = max(Part) + 1
ARMS, HANDS = (Part.LEFT_ARM, Part.RIGHT_ARM), (Part.LEFT_HAND, Part.RIGHT_HAND)
LEGS, FEET = (Part.LEFT_LEG, Part.RIGHT_LEG), (Part.LEFT_FOOT, Part.RIGHT_FOOT)

_OF_NAME = {
    "head": "HAIR", "neck": "NECK", "shoulder": "ARM", "elbow": "ARM", "wrist": "HAND", "hand": "HAND",
    "hip": "LEG", "knee": "LEG", "ankle": "FOOT", "foot": "FOOT",
}  # fmt: skip


def _part_of_joint() -> np.ndarray:
    out = np.full(len(JOINT_INDEX), int(Part.TRUNK))
    for name, joint in JOINT_INDEX.items():
        side, _, rest = name.rpartition("_")
        kind = _OF_NAME.get(rest)
        if kind is not None:
            out[joint] = Part[f"{side.upper()}_{kind}" if side in ("left", "right") else kind]
    return out


PART_OF_JOINT = _part_of_joint()
"""The part [24] of what each joint moves; of the head all is HAIR, see :func:`body_regions`."""

_LIMBS = (("FACE", "HAIR"), ("NECK", "TRUNK", "SEAT"), ("LEFT_ARM", "LEFT_HAND"), ("RIGHT_ARM", "RIGHT_HAND"),
          ("LEFT_LEG", "LEFT_FOOT"), ("RIGHT_LEG", "RIGHT_FOOT"))  # fmt: skip
LIMB = np.zeros(COUNT + 1, int)
"""Number of the limb of each part, [14]; the last, of NONE, is -1."""
for _number, _names in enumerate(_LIMBS):
    for _name in _names:
        LIMB[Part[_name]] = _number
LIMB[Part.NONE] = -1
HEAD_LIMB, TRUNK_LIMB, ARM_LIMBS, LEG_LIMBS = 0, 1, (2, 3), (4, 5)
LIMB_OF_JOINT = LIMB[PART_OF_JOINT]
CARRIED = np.array([0, 0, 1, 1, 1, 2, 3, 4, 5, 6, 7, 6, 7, -1])
"""Number of what carries each part, [14], the last of NONE: head, trunk, arms, hands, legs."""
CARRIES = np.eye(8, dtype=bool)
"""Whether what one carrier shows may hang on another, [8, 8]: clothes of the trunk run into head, arms and legs."""
for _a, _b in ((0, 1), (1, 2), (1, 3), (1, 6), (1, 7)):
    CARRIES[_a, _b] = CARRIES[_b, _a] = True
WITHOUT_FACE = np.append(np.maximum(np.arange(COUNT), Part.HAIR), -1)
"""Parts [14], the last of NONE, with faces as hair: of several pictures each says itself where hair ends."""
MIRRORED = np.array([Part[p.name.replace("LEFT", "X").replace("RIGHT", "LEFT").replace("X", "RIGHT")] for p in
                     sorted(p for p in Part if p >= 0)])  # fmt: skip
"""The part [13] of the other side of the body."""
KIND = np.minimum(np.arange(COUNT), MIRRORED)
"""A number [13] per part, the same for left and right."""


def by_part(values: dict[str, float], otherwise: float) -> np.ndarray:
    """A number [13] per part, of ``values`` by the parts' names without their sides."""
    return np.array([values.get(Part(part).name.rpartition("_")[2], otherwise) for part in range(COUNT)])


def _unlikeness() -> np.ndarray:
    """See :data:`UNLIKENESS`."""
    out = np.full((COUNT, COUNT), 4.0)
    alike = {
        ("TRUNK", "ARM"): 0.0, ("TRUNK", "SEAT"): 2.0, ("SEAT", "LEG"): 0.5, ("NECK", "TRUNK"): 0.2,
        ("HAIR", "NECK"): 2.0,
        ("TRUNK", "LEG"): 2.6, ("ARM", "LEG"): 3.2, ("TRUNK", "FOOT"): 3.2, ("SEAT", "FOOT"): 2.6,
        ("ARM", "HAND"): 1.5, ("LEG", "FOOT"): 1.0, ("SEAT", "ARM"): 3.0, ("NECK", "ARM"): 0.2, ("NECK", "HAND"): 2.0,
    }  # fmt: skip
    for (a, b), value in alike.items():
        for p in (a, f"LEFT_{a}", f"RIGHT_{a}"):
            for q in (b, f"LEFT_{b}", f"RIGHT_{b}"):
                if p in Part.__members__ and q in Part.__members__:
                    out[Part[p], Part[q]] = out[Part[q], Part[p]] = value
    out[KIND[:, None] == KIND[None]] = 0
    out[Part.FACE] = out[:, Part.FACE] = 9.0
    skin = [Part.NECK, *HANDS]
    out[Part.FACE, skin] = out[skin, Part.FACE] = 5.0
    out[Part.FACE, Part.FACE] = 0
    return out


UNLIKENESS = _unlikeness()
"""How unlike the colours of two parts are, [13, 13], 0 for one garment: a fallback where a part itself is not seen."""


def joint_of_vertex(weights: np.ndarray) -> np.ndarray:
    """Index of the joint that moves each vertex most, [V]."""
    return weights.argmax(1)


@dataclass(frozen=True)
class HeadRegions:
    """Parts of a body's vertices, and where a head is face and where hair grows.

    Attributes:
        head: bool [V] of the body's vertices.
        bounds: float [V, 2], metres by which a vertex lies within the bounds of face and of hair, below 0 outside.
        parts: int [V], :class:`Part` of every vertex.
    """

    head: np.ndarray
    bounds: np.ndarray
    parts: np.ndarray

    @property
    def face(self) -> np.ndarray:
        """Bool [V], the face with ears and forehead."""
        return self.parts == Part.FACE

    @property
    def seat(self) -> np.ndarray:
        """Bool [V], what people cover whatever else they wear."""
        return self.parts == Part.SEAT


def head_part(bounds: np.ndarray) -> np.ndarray:
    """Parts [n] of places of the head by their ``bounds`` [n, 2], see :class:`HeadRegions`."""
    return np.where(bounds[:, 0] > 0, Part.FACE, np.where(bounds[:, 1] > 0, Part.HAIR, Part.NECK))


def body_regions(body: BodyModel) -> HeadRegions:
    """The parts of a body's vertices."""
    points = dict(zip(body.keypoint_names, (body.keypoint_regressor @ body.template).cpu().numpy()))
    template, weights = body.template.cpu().numpy(), body.weights.cpu().numpy()
    head = weights[:, JOINT_INDEX["head"]] > 0.5
    ear = 0.5 * (points["left_ear"] + points["right_ear"])
    _, height, depth = template.T
    in_face = np.minimum(depth - ear[2] + EAR_MARGIN_M, points["left_eye"][1] + FOREHEAD_M - height)
    behind = np.minimum(ear[2] - 2 * EAR_MARGIN_M - depth, height - ear[1] + 5 * EAR_MARGIN_M)
    bounds = np.column_stack([in_face, np.maximum(behind, height - ear[1] + 2 * EAR_MARGIN_M)])
    joint = joint_of_vertex(weights)
    parts = PART_OF_JOINT[joint]
    lower = np.isin(joint, [JOINT_INDEX[name] for name in ("pelvis", "left_hip", "right_hip")])
    crotch = template[lower & (np.abs(template[:, 0]) < EAR_MARGIN_M), 1].min()
    seat = lower & (height - crotch > CROTCH_BAND_M[0]) & (height - crotch < CROTCH_BAND_M[1])
    parts[head] = head_part(bounds[head])
    parts[seat] = Part.SEAT
    return HeadRegions(head, bounds, parts)
