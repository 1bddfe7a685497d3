"""Parts of the body that have colours of their own, and how unlike they are."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from ..body.model import JOINT_INDEX, BodyModel
from .clothed import joint_of_vertex

HAND_CLASS = 4.0
TRUNK_CLASS, ARM_CLASS = 2.0, 2.001
_CLASSES = {
    "head": 0.0, "neck": 1.9, "shoulder": ARM_CLASS, "elbow": ARM_CLASS, "hand": HAND_CLASS, "wrist": HAND_CLASS,
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
_MIDDLE = 0.01
"""Metres from the body's middle."""


def class_of_joint() -> np.ndarray:
    """Colour class [24] of what each joint moves."""
    out = np.full(len(JOINT_INDEX), TRUNK_CLASS)
    for name, joint in JOINT_INDEX.items():
        out[joint] = _CLASSES.get(name.removeprefix("left_").removeprefix("right_"), TRUNK_CLASS)
    return out


@dataclass(frozen=True)
class BodyRegions:
    """Parts that joints do not tell apart, each bool [V] but for the last.

    Attributes:
        face, hair, nape: of the head: with ears and forehead; above the ears; below them.
        seat: what people cover whatever else they wear.
        inside: float [V, 2], metres by which a vertex lies within the bounds of ``face`` and of ``hair``, below 0
            outside them; see :func:`class_within`.
    """

    face: np.ndarray
    hair: np.ndarray
    nape: np.ndarray
    seat: np.ndarray
    inside: np.ndarray


def body_regions(body: BodyModel) -> BodyRegions:
    """Where a head is surely face, where hair grows, and the rest of it; and the seat."""
    points = dict(zip(body.keypoint_names, (body.keypoint_regressor @ body.template).cpu().numpy()))
    head = body.weights[:, JOINT_INDEX["head"]].cpu().numpy() > 0.5
    template = body.template.cpu().numpy()
    ear = 0.5 * (points["left_ear"] + points["right_ear"])
    _, height, depth = template.T
    in_face = np.minimum(depth - ear[2] + 0.01, points["left_eye"][1] + 0.055 - height)
    behind = np.minimum(ear[2] - 0.02 - depth, height - ear[1] + 0.05)
    inside = np.column_stack([in_face, np.maximum(behind, height - ear[1] + 0.02)])
    kind = class_within(inside)
    face, hair, nape = (head & (kind == number) for number in (FACE_CLASS, HAIR_CLASS, NAPE_CLASS))
    joint = joint_of_vertex(body.weights.cpu().numpy())
    lower = np.isin(joint, [JOINT_INDEX[name] for name in ("pelvis", "left_hip", "right_hip")])
    crotch = template[lower & (np.abs(template[:, 0]) < _MIDDLE), 1].min()
    above = height - crotch
    seat = lower & (above > _SEAT[0]) & (above < _SEAT[1])
    return BodyRegions(face, hair, nape, seat, inside)


def class_within(inside: np.ndarray) -> np.ndarray:
    """Class [n] of places of the head, of ``inside`` [n, 2] as in :class:`BodyRegions`: what is within the first bounds
    is face, and of the rest what is within the second hair."""
    return np.where(inside[:, 0] > 0, FACE_CLASS, np.where(inside[:, 1] > 0, HAIR_CLASS, NAPE_CLASS))


def class_of_region(kind: np.ndarray, regions: BodyRegions) -> None:
    """Put the regions' classes into ``kind`` [V], the classes of a body's vertices by joint."""
    kind[regions.nape], kind[regions.face], kind[regions.hair] = NAPE_CLASS, FACE_CLASS, HAIR_CLASS
    kind[regions.seat] = SEAT_CLASS


def vertex_classes(body: BodyModel) -> np.ndarray:
    """Colour class [V] of every vertex of a body."""
    kind = class_of_joint()[joint_of_vertex(body.weights.cpu().numpy())]
    class_of_region(kind, body_regions(body))
    return kind
