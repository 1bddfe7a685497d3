"""The parts of a person: their tables against what is written out here, and those of shipped bodies by landmarks."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from backend.body.model import JOINT_INDEX, BodyModel, load_body
from backend.reconstruct import parts
from backend.reconstruct.config import CROTCH_BAND_M, EAR_MARGIN_M, FOREHEAD_M
from backend.reconstruct.parts import COUNT, KIND, LIMB, MIRRORED, PART_OF_JOINT, UNLIKENESS, HeadRegions, Part

SIDES = {
    "hip": "LEG", "knee": "LEG", "ankle": "FOOT", "foot": "FOOT", "collar": None, "shoulder": "ARM", "elbow": "ARM",
    "wrist": "HAND", "hand": "HAND",
}  # fmt: skip
MIDDLE = {"pelvis": "TRUNK", "spine1": "TRUNK", "spine2": "TRUNK", "spine3": "TRUNK", "neck": "NECK", "head": "HAIR"}


@pytest.fixture(scope="module")
def body() -> BodyModel:
    return load_body("neutral")


@pytest.fixture(scope="module")
def regions(body: BodyModel) -> HeadRegions:
    return parts.body_regions(body)


@pytest.fixture(scope="module")
def landmarks(body: BodyModel) -> dict[str, np.ndarray]:
    places = (body.keypoint_regressor @ body.template).numpy()
    return dict(zip(body.keypoint_names, places))


def test_every_joint_moves_its_part() -> None:
    expected = {name: MIDDLE.get(name) for name in MIDDLE}
    for side in ("left", "right"):
        for joint, part in SIDES.items():
            expected[f"{side}_{joint}"] = "TRUNK" if part is None else f"{side.upper()}_{part}"
    assert set(expected) == set(JOINT_INDEX)
    for name, joint in JOINT_INDEX.items():
        assert Part(PART_OF_JOINT[joint]).name == expected[name], name


def test_limbs_and_carriers_of_parts() -> None:
    def groups(number: np.ndarray) -> set[frozenset[str]]:
        return {frozenset(Part(p).name for p in range(COUNT) if number[p] == n) for n in set(number[:COUNT])}

    arms = [{f"{side}_ARM", f"{side}_HAND"} for side in ("LEFT", "RIGHT")]
    legs = [{f"{side}_LEG", f"{side}_FOOT"} for side in ("LEFT", "RIGHT")]
    head, trunk = {"FACE", "HAIR"}, {"NECK", "TRUNK", "SEAT"}
    assert groups(LIMB) == {frozenset(g) for g in (head, trunk, *arms, *legs)}
    single = [{f"{side}_{name}"} for side in ("LEFT", "RIGHT") for name in ("ARM", "HAND")]
    assert groups(parts.CARRIED) == {frozenset(g) for g in (head, trunk, *single, *legs)}
    # Background belongs to nothing.
    assert LIMB[Part.NONE] == parts.CARRIED[Part.NONE] == -1 and len(LIMB) == len(parts.CARRIED) == COUNT + 1
    names = {part: parts.CARRIED[part] for part in Part}
    may = {frozenset((names[a], names[b])) for a, b in (
        (Part.TRUNK, Part.HAIR), (Part.TRUNK, Part.LEFT_LEG), (Part.TRUNK, Part.RIGHT_LEG),
        (Part.TRUNK, Part.LEFT_ARM), (Part.TRUNK, Part.RIGHT_ARM),
    )}  # fmt: skip
    for a in range(8):
        for b in range(8):
            assert parts.CARRIES[a, b] == (a == b or frozenset((a, b)) in may)
    assert parts.LIMB_OF_JOINT[JOINT_INDEX["left_wrist"]] == LIMB[Part.LEFT_ARM] == parts.ARM_LIMBS[0]
    assert parts.LIMB_OF_JOINT[JOINT_INDEX["right_foot"]] == LIMB[Part.RIGHT_LEG] == parts.LEG_LIMBS[1]
    assert LIMB[Part.HAIR] == parts.HEAD_LIMB and LIMB[Part.SEAT] == parts.TRUNK_LIMB


def test_the_mirrored_part_is_the_other_sides() -> None:
    for part in range(COUNT):
        name = Part(part).name
        other = name.replace("LEFT", "?").replace("RIGHT", "LEFT").replace("?", "RIGHT")
        assert Part(MIRRORED[part]).name == other
        assert KIND[part] == KIND[MIRRORED[part]] and (KIND == KIND[part]).sum() == (2 if other != name else 1)


def test_unlikeness_is_a_symmetric_table_that_knows_no_sides() -> None:
    assert UNLIKENESS.shape == (COUNT, COUNT) and (UNLIKENESS >= 0).all()
    np.testing.assert_array_equal(UNLIKENESS, UNLIKENESS.T)
    np.testing.assert_array_equal(UNLIKENESS[MIRRORED][:, MIRRORED], UNLIKENESS)
    np.testing.assert_array_equal(UNLIKENESS[KIND[:, None] == KIND], 0)
    # A hand is nearer to a sleeve than to trousers, a seat nearer to legs than to a shirt, and nothing is like a face.
    hand, arm, leg = Part.LEFT_HAND, Part.RIGHT_ARM, Part.LEFT_LEG
    assert 0 < UNLIKENESS[hand, arm] < UNLIKENESS[hand, leg]
    assert 0 < UNLIKENESS[Part.SEAT, leg] < UNLIKENESS[Part.SEAT, Part.TRUNK] < UNLIKENESS[Part.TRUNK, leg]
    others = [part for part in range(COUNT) if part != Part.FACE]
    assert UNLIKENESS[Part.FACE, others].min() > UNLIKENESS[others][:, others].max()


def test_a_face_goes_before_hair_and_what_is_neither_is_neck() -> None:
    bounds = np.array([[0.01, 0.02], [0.01, -0.02], [-0.01, 0.02], [-0.01, -0.02]])
    assert parts.head_part(bounds).tolist() == [Part.FACE, Part.FACE, Part.HAIR, Part.NECK]


def test_the_joint_of_a_vertex_is_the_one_that_moves_it_most() -> None:
    weights = np.array([[0.2, 0.5, 0.3], [0.6, 0.0, 0.4], [0.1, 0.1, 0.8]])
    assert parts.joint_of_vertex(weights).tolist() == [1, 0, 2]


def test_faces_are_in_front_of_the_ears_and_below_the_hair(
    body: BodyModel, regions: HeadRegions, landmarks: dict[str, np.ndarray]
) -> None:
    template = body.template.numpy()
    ear = 0.5 * (landmarks["left_ear"] + landmarks["right_ear"])
    head = body.weights.numpy()[:, JOINT_INDEX["head"]] > 0.5
    np.testing.assert_array_equal(regions.head, head)
    face = head & (template[:, 2] > ear[2] - EAR_MARGIN_M) & (template[:, 1] < landmarks["left_eye"][1] + FOREHEAD_M)
    np.testing.assert_array_equal(regions.face, face)
    np.testing.assert_array_equal(regions.parts == Part.FACE, face)
    # Half a centimetre inside a bound is half a centimetre.
    place = np.flatnonzero(face)[np.argmin(np.abs(template[face, 2] - ear[2] + EAR_MARGIN_M - 0.005))]
    assert regions.bounds[place, 0] == pytest.approx(template[place, 2] - ear[2] + EAR_MARGIN_M, abs=1e-6)
    highest = np.argmax(template[:, 1])
    behind = np.flatnonzero(head)[np.argmin(template[head, 2] + 10 * np.abs(template[head, 1] - ear[1]))]
    assert regions.parts[highest] == regions.parts[behind] == Part.HAIR
    nose = np.argmin(np.linalg.norm(template - landmarks["nose"], axis=1))
    assert regions.parts[nose] == Part.FACE
    # Hair grows above the ears and, behind them, a little lower; the rest of a head is nape.
    above, back = template[:, 1] - ear[1], ear[2] - template[:, 2]
    margin = EAR_MARGIN_M
    hair = head & ~face & ((above > -2 * margin) | ((back > 2 * margin) & (above > -5 * margin)))
    np.testing.assert_array_equal(head & (regions.parts == Part.HAIR), hair)
    assert (regions.parts[head & ~face & ~hair] == Part.NECK).all()


def test_limbs_of_a_body_are_on_their_sides(body: BodyModel, regions: HeadRegions) -> None:
    template = body.template.numpy()
    for name in ("ARM", "HAND", "LEG", "FOOT"):
        left, right = (template[regions.parts == Part[f"{side}_{name}"]] for side in ("LEFT", "RIGHT"))
        assert len(left) > 50 and left[:, 0].min() > -0.03 and right[:, 0].max() < 0.03
        assert left[:, 1].mean() == pytest.approx(right[:, 1].mean(), abs=0.01)
    # Only heads and seats are told by anything but joints.
    changed = PART_OF_JOINT[parts.joint_of_vertex(body.weights.numpy())] != regions.parts
    assert (changed <= (regions.head | regions.seat)).all()


def test_the_seat_reaches_from_below_the_crotch_to_above_it(body: BodyModel, regions: HeadRegions) -> None:
    template = body.template.numpy()
    height = template[regions.seat, 1]
    assert np.ptp(height) == pytest.approx(CROTCH_BAND_M[1] - CROTCH_BAND_M[0], abs=0.03)
    # The crotch is the lowest place between the legs: straight below it there is no body.
    crotch = height.max() - CROTCH_BAND_M[1]
    between = (np.abs(template[:, 0]) < 0.01) & (template[:, 1] < crotch - 0.03)
    assert not between.any() and template[:, 1].min() < crotch - 0.5
    np.testing.assert_array_equal(regions.parts == Part.SEAT, regions.seat)


@pytest.mark.parametrize("name", ["male", "female"])
def test_other_bodies_have_all_parts(name: str) -> None:
    body = load_body(name)
    assert isinstance(body.template, torch.Tensor)
    count = np.bincount(parts.body_regions(body).parts, minlength=COUNT)
    assert len(count) == COUNT and (count > 40).all()
