"""Carries a motion of any skeleton over to an SMPL body. numpy and the standard library only.

Rotations are compared in the world, relative to the rest poses, so that neither the bones' own axes nor their roll
matter. With S(t) a source bone's axes and S_0 those of its rest pose, D(t) = S(t) S_0^-1 is how far the bone has turned
in the world. A constant C, the *correction*, poses the target as the source rests; the target's joint is then turned by

    W(t) = D(t) C.

C follows from the directions of the bones in the two rest poses. The pelvis and the chest take a whole frame (left to
right, and along the trunk). A limb takes the smallest turn, after its parent's correction, that lays it along the
source's: the twist about a limb is therefore the source's own, relative to the rest pose. Collars and the head follow
the chest, since rigs differ in where these bones begin but not in how a resting person holds them. Feet turn about the
vertical alone: in both rest poses they stand on the floor.

A rest pose that no person can take (LAFAN's bones all lie along one axis) says nothing of twist. The frame in which the
person stands most upright then takes its place, the axes about which knees and elbows bend give the twist, and the head
looks ahead on average.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from .amass import lowest_sole
from .bone_maps import JOINT_INDEX, JOINT_PARENTS, BoneMap, find_map
from .clips import Clip
from .motion import Motion, MotionError, standing_height
from .rotations import (
    axes_frame,
    axis_angles,
    between,
    continuous,
    local_rotations,
    smallest_turns,
    unit,
)

ROOTS = ("scaled", "in_place", "off")
_J = JOINT_INDEX
_SIDES = ("left", "right")
# Where each limb points: the joint at its other end.
_POINTS = {_J[f"{side}_{a}"]: _J[f"{side}_{b}"] for side in _SIDES for a, b in (
    ("hip", "knee"), ("knee", "ankle"), ("shoulder", "elbow"), ("elbow", "wrist"), ("wrist", "hand"),
)} | {_J["neck"]: _J["head"]}  # fmt: skip
# Which of them must point as the source's in each frame; a hand keeps how its own bone turns.
_EXACT = tuple(joint for joint in _POINTS if joint not in (_J["left_wrist"], _J["right_wrist"]))
# The axes about which SMPL's knees and elbows bend in the rest pose: the cross product of the two bones, bent.
_HINGES = {
    _J["left_hip"]: np.array([1.0, 0, 0]),
    _J["right_hip"]: np.array([1.0, 0, 0]),
    _J["left_shoulder"]: np.array([0, -1.0, 0]),
    _J["right_shoulder"]: np.array([0, 1.0, 0]),
}
_UP = np.array([0.0, 1.0, 0.0])
_FOOT_PITCH = np.deg2rad(35)
"""How much steeper a resting foot may be than SMPL's and still be thought to stand on the floor."""
_STUB = np.deg2rad(50)
"""How far a resting hand or foot may point from where SMPL's would; beyond it the source's end bone is a stub."""


@dataclass(frozen=True)
class RetargetOptions:
    """How a motion is carried over.

    Attributes:
        root: ``scaled`` moves the body as far as the ratio of the legs' lengths says; ``in_place`` keeps the height
            alone; ``off`` leaves the pelvis where it stands at rest.
        ground: ``feet`` puts the floor where the result's feet are lowest; ``file`` takes the source's height 0.
        reference_frame: the frame that serves as the source's rest pose; None takes the rest pose itself, or the most
            upright frame where no person can rest like that.
    """

    root: str = "scaled"
    ground: str = "feet"
    reference_frame: int | None = None

    def __post_init__(self) -> None:
        """Raise MotionError for an option that is not known."""
        if self.root not in ROOTS:
            raise MotionError(f"The root motion must be one of {', '.join(ROOTS)}, not {self.root!r}.")
        if self.ground not in ("feet", "file"):
            raise MotionError(f"The ground must be feet or file, not {self.ground!r}.")


def retarget(
    clip: Clip,
    rest_joints: np.ndarray,
    parents: Sequence[int] = JOINT_PARENTS,
    bone_map: BoneMap | None = None,
    options: RetargetOptions | None = None,
) -> Motion:
    """The clip as a motion of the body with ``rest_joints``.

    The directions of thighs, shins, upper arms, forearms, the neck and the trunk (pelvis to neck) are the source's in
    each frame. Joints that the source lacks lie between their neighbours (spine, neck) or follow the parent (toes,
    collars); hands do not bend fingers.

    Args:
        clip: the source.
        rest_joints: [24, 3] metres, arms out to the sides, y up, facing +z.
        parents: 24 indices, SMPL's.
        bone_map: the source's bones by SMPL joint; None finds it by the names.
        options: None for the defaults.

    Raises:
        MotionError: bones are missing, or the skeletons cannot be compared.
    """
    options = options or RetargetOptions()
    rest_joints = _checked_rest(rest_joints, parents)
    bone_map = bone_map or find_map(clip.names)
    source = _Source.of(clip, bone_map)
    own = source
    odd = options.reference_frame is not None or not _natural(source.rest)
    if odd:
        frame = options.reference_frame
        if frame is not None and not 0 <= frame < len(clip):
            raise MotionError(f"The reference frame {frame} is none of the motion's {len(clip)} frames.")
        own = source.resting_at(_most_upright(source.frames) if frame is None else frame)
    corrections = _corrections(own, rest_joints, hinges=odd)
    world = _posed(own, corrections, rest_joints)
    translation, leg_length = _translation(source, world, rest_joints, options)
    poses = continuous(axis_angles(local_rotations(world, JOINT_PARENTS)))
    return Motion(poses, translation, clip.fps, leg_length, clip.name)


def _checked_rest(rest_joints: np.ndarray, parents: Sequence[int]) -> np.ndarray:
    rest_joints = np.asarray(rest_joints, dtype=np.float64)
    if rest_joints.shape != (len(JOINT_PARENTS), 3) or not np.isfinite(rest_joints).all():
        raise MotionError("The avatar's rest joints must be 24 x 3 finite numbers.")
    if tuple(int(parent) for parent in parents) != JOINT_PARENTS:
        raise MotionError("The avatar's joints are not connected as SMPL's; only such avatars can take a motion.")
    return rest_joints


@dataclass(frozen=True, eq=False)
class _Source:
    """The source's mapped bones under SMPL's joint numbers.

    Attributes:
        rest: [3] by joint, metres.
        axes: rest rotations [3, 3] by joint.
        frames: [T, 3] by joint, metres.
        turns: rotations [T, 3, 3] by joint.
    """

    rest: dict[int, np.ndarray]
    axes: dict[int, np.ndarray]
    frames: dict[int, np.ndarray]
    turns: dict[int, np.ndarray]

    @classmethod
    def of(cls, clip: Clip, bone_map: BoneMap) -> _Source:
        index = {name: place for place, name in enumerate(clip.names)}
        lost = [bone for bone in bone_map.bones.values() if bone not in index]
        if lost:
            raise MotionError(f"The skeleton has no bone {lost[0]!r}, which the bone map {bone_map.name} names.")
        bones = {_J[joint]: index[bone] for joint, bone in bone_map.bones.items()}
        return cls(
            rest={joint: np.asarray(clip.rest_positions[bone], np.float64) for joint, bone in bones.items()},
            axes={joint: np.asarray(clip.rest_rotations[bone], np.float64) for joint, bone in bones.items()},
            frames={joint: np.asarray(clip.positions[:, bone], np.float64) for joint, bone in bones.items()},
            turns={joint: np.asarray(clip.rotations[:, bone], np.float64) for joint, bone in bones.items()},
        )

    def resting_at(self, frame: int) -> _Source:
        """The same motion with a frame as the rest pose."""
        return _Source(
            {joint: places[frame] for joint, places in self.frames.items()},
            {joint: turns[frame] for joint, turns in self.turns.items()},
            self.frames,
            self.turns,
        )

    def turned(self, joint: int) -> np.ndarray:
        """D [T, 3, 3], how far the joint has turned in the world since the rest pose."""
        return self.turns[joint] @ self.axes[joint].T


def _top(places: dict[int, np.ndarray]) -> np.ndarray:
    """Where the trunk ends: the neck, or the middle of the shoulders."""
    if _J["neck"] in places:
        return places[_J["neck"]]
    return 0.5 * (places[_J["left_shoulder"]] + places[_J["right_shoulder"]])


def _across(places: dict[int, np.ndarray], part: str) -> np.ndarray:
    return places[_J[f"left_{part}"]] - places[_J[f"right_{part}"]]


def _natural(rest: dict[int, np.ndarray]) -> bool:
    """Whether a standing person can rest like that: upright, straight legs, hips and shoulders the same way round."""
    trunk = unit(_top(rest) - 0.5 * (rest[_J["left_hip"]] + rest[_J["right_hip"]]))
    hips, shoulders = unit(_across(rest, "hip")), unit(_across(rest, "shoulder"))
    if not trunk.any() or hips @ shoulders < 0.8 or abs(hips @ trunk) > 0.4:
        return False
    for side, sign in (("left", 1), ("right", -1)):
        hip, knee, ankle = (rest[_J[f"{side}_{part}"]] for part in ("hip", "knee", "ankle"))
        shoulder, elbow, wrist = (rest[_J[f"{side}_{part}"]] for part in ("shoulder", "elbow", "wrist"))
        thigh, shin, upper, lower = (unit(v) for v in (knee - hip, ankle - knee, elbow - shoulder, wrist - elbow))
        if thigh @ trunk > -0.7 or shin @ trunk > -0.7 or thigh @ shin < 0.7:
            return False
        if sign * (upper @ hips) < -0.3 or upper @ lower < 0.3:
            return False
    return True


def _most_upright(frames: dict[int, np.ndarray]) -> int:
    """The frame in which the person stands most like a person at rest; y is up."""
    trunk = unit(_top(frames) - 0.5 * (frames[_J["left_hip"]] + frames[_J["right_hip"]]))
    score = 2 * trunk[:, 1] + np.einsum("ti,ti->t", unit(_across(frames, "hip")), unit(_across(frames, "shoulder")))
    for side in _SIDES:
        hip, knee, ankle = (frames[_J[f"{side}_{part}"]] for part in ("hip", "knee", "ankle"))
        shoulder, elbow, wrist = (frames[_J[f"{side}_{part}"]] for part in ("shoulder", "elbow", "wrist"))
        score -= unit(knee - hip)[:, 1] + unit(ankle - knee)[:, 1]
        score += 0.5 * np.einsum("ti,ti->t", unit(elbow - shoulder), unit(wrist - elbow))
    return int(score.argmax())


def _corrections(source: _Source, target: np.ndarray, hinges: bool) -> np.ndarray:
    """C [24, 3, 3]: the target's world rotations in the source's rest pose."""
    rest = source.rest
    there = {joint: target[joint] for joint in range(len(target))}
    corrections = np.tile(np.eye(3), (len(target), 1, 1))
    # Both trunks must end at the same place.
    ours = there if _J["neck"] in rest else {joint: place for joint, place in there.items() if joint != _J["neck"]}
    trunk, our_trunk = _top(rest) - rest[_J["pelvis"]], _top(ours) - target[_J["pelvis"]]
    upright = np.cos(np.deg2rad(20))
    if not hinges and unit(trunk)[1] > upright and unit(our_trunk)[1] > upright:
        # Both stand: where a rig puts the neck must not tilt the pelvis.
        trunk = our_trunk = _UP
    pelvis = _frame_turn(our_trunk, _across(there, "hip"), trunk, _across(rest, "hip"))
    chest = _frame_turn(our_trunk, _across(there, "shoulder"), trunk, _across(rest, "shoulder"))
    if pelvis is None and chest is None:
        raise MotionError("The source's hips and shoulders lie in one line; choose another reference frame.")
    pelvis = chest if pelvis is None else pelvis
    chest = pelvis if chest is None else chest
    assert pelvis is not None and chest is not None
    for name in ("left_collar", "right_collar", "neck", "head", "spine3"):
        corrections[_J[name]] = chest
    corrections[_J["pelvis"]] = pelvis
    corrections[_J["spine1"]], corrections[_J["spine2"]] = between(pelvis, chest, 1 / 3), between(pelvis, chest, 2 / 3)
    # Parents come before children in SMPL's order; the neck's correction must not reach the head.
    before = {_J["neck"]: _J["spine3"]} | {_J[f"{s}_shoulder"]: _J["spine3"] for s in _SIDES}
    for joint in sorted((*_POINTS, *(_J[f"{side}_{part}"] for side in _SIDES for part in ("ankle", "foot")))):
        parent = corrections[before.get(joint, JOINT_PARENTS[joint])]
        corrections[joint] = parent
        name_side = "left" if joint in (_J["left_ankle"], _J["left_foot"]) else "right"
        if joint in (_J["left_ankle"], _J["right_ankle"]):
            corrections[joint] = _foot(source, target, name_side, pelvis, parent, hinges)
        elif joint in _POINTS and joint in rest and _POINTS[joint] in rest:
            end = _POINTS[joint]
            ours_, theirs = target[end] - target[joint], rest[end] - rest[joint]
            hand = joint in (_J["left_wrist"], _J["right_wrist"])
            if hand and unit(parent @ ours_) @ unit(theirs) < np.cos(_STUB):
                continue
            if np.linalg.norm(theirs) > 1e-6:
                corrections[joint] = smallest_turns(parent @ ours_, theirs) @ parent
                hinge = _hinge(source, joint) if hinges and joint in _HINGES else None
                if hinge is not None:
                    turn = _frame_turn(ours_, _HINGES[joint], theirs, hinge)
                    corrections[joint] = corrections[joint] if turn is None else turn
    for side in _SIDES:
        corrections[_J[f"{side}_hand"]] = corrections[_J[f"{side}_wrist"]]
    if hinges and _J["head"] in source.turns:
        corrections[_J["head"]] = corrections[_J["head"]] @ _mean_look(source, corrections).T
    return corrections


def _mean_look(source: _Source, corrections: np.ndarray) -> np.ndarray:
    """The mean rotation [3, 3] of the head against the chest: on average people look straight ahead.

    It is the rotation nearest to the mean matrix (Moakher 2002).
    """
    head, chest = _J["head"], _J["spine3"] if _J["spine3"] in source.turns else _J["pelvis"]
    ours, below = source.turned(head) @ corrections[head], source.turned(chest) @ corrections[chest]
    u, _, v = np.linalg.svd(np.einsum("tji,tjk->ik", below, ours) / len(ours))
    return u @ np.diag([1, 1, np.linalg.det(u @ v)]) @ v


def _frame_turn(main: np.ndarray, side: np.ndarray, to_main: np.ndarray, to_side: np.ndarray) -> np.ndarray | None:
    """The rotation [3, 3] that takes one pair of directions to the other; None where a pair spans no plane."""
    first, second = axes_frame(main, side), axes_frame(to_main, to_side)
    return None if first is None or second is None else second @ first.T


def _foot(
    source: _Source, target: np.ndarray, side: str, pelvis: np.ndarray, shin: np.ndarray, odd: bool
) -> np.ndarray:
    """The correction of an ankle: a foot on the floor keeps its sole level and turns where the source's points."""
    ankle, foot = _J[f"{side}_ankle"], _J[f"{side}_foot"]
    ours = target[foot] - target[ankle]
    upright = smallest_turns(pelvis @ _UP, _UP) @ pelvis  # the pelvis's heading alone
    follow = shin if odd else upright
    theirs = source.rest[foot] - source.rest[ankle] if foot in source.rest else np.zeros(3)
    along = unit(theirs)
    # The end of a foot without toes may be a stub that points anywhere.
    if not along.any() or along @ unit(follow @ ours) < np.cos(_STUB) or np.linalg.norm(along[[0, 2]]) < 0.1:
        return follow
    if odd:
        turn = _frame_turn(ours, np.cross(_UP, ours), theirs, np.cross(_UP, theirs))
        return follow if turn is None else turn
    if np.arcsin(along[1]) - np.arcsin(unit(ours)[1]) < -_FOOT_PITCH:  # the toes hang down
        return smallest_turns(shin @ ours, theirs) @ shin
    return smallest_turns((upright @ ours) * [1, 0, 1], theirs * [1, 0, 1]) @ upright


def _hinge(source: _Source, joint: int) -> np.ndarray | None:
    """The axis [3] about which the limb's middle joint bends, as it lies in the rest pose; None where it hardly bends.

    It is the mean, carried back to the rest pose, of the cross product of the limb's two bones, which is longer the
    more the limb bends.
    """
    middle = _POINTS[joint]
    end = _POINTS[middle]
    upper = unit(source.frames[middle] - source.frames[joint])
    lower = unit(source.frames[end] - source.frames[middle])
    axis = np.einsum("tji,tj->ti", source.turned(joint), np.cross(upper, lower))
    weight = np.linalg.norm(axis, axis=1)
    mean = axis.sum(axis=0)
    total = float(weight.sum())
    bent = float((weight > 0.25).mean())
    return mean if bent > 0.02 and np.linalg.norm(mean) > 0.8 * total else None


def _posed(source: _Source, corrections: np.ndarray, target: np.ndarray) -> np.ndarray:
    """World rotations [T, 24, 3, 3] of the target."""
    count = len(source.frames[0])
    world = np.empty((count, len(target), 3, 3))
    for joint in range(len(target)):
        if joint in source.turns:
            world[:, joint] = source.turned(joint) @ corrections[joint]
    for joint in _EXACT:
        end = _POINTS[joint]
        if joint in source.turns and end in source.frames:
            _point(world, joint, target[end] - target[joint], source.frames[end] - source.frames[joint])
    _fill(world, set(source.turns), corrections)
    if _J["neck"] in source.frames:
        _bend_spine(world, target, source.frames[_J["neck"]] - source.frames[_J["pelvis"]])
    return world


def _point(world: np.ndarray, joint: int, bone: np.ndarray, along: np.ndarray) -> None:
    """Turn a joint by the least so that its ``bone`` [3] lies along [T, 3]: bones between two mapped ones may bend."""
    world[:, joint] = smallest_turns(world[:, joint] @ bone, along) @ world[:, joint]


def _fill(world: np.ndarray, known: set[int], corrections: np.ndarray) -> None:
    """Rotations of the joints that the source lacks."""
    chain = [_J[name] for name in ("pelvis", "spine1", "spine2", "spine3", "neck", "head")]
    chain = [joint for joint in chain if joint in known or joint != chain[-1]]
    present = [place for place, joint in enumerate(chain) if joint in known]
    for place, joint in enumerate(chain):
        if joint in known:
            continue
        below = max(p for p in present if p < place)
        above = min((p for p in present if p > place), default=None)
        if above is None or (chain[above] in (_J["neck"], _J["head"]) and joint != _J["neck"]):
            # What bends above the chest is no measure of how the chest bends.
            above = None
        low = world[:, chain[below]] @ corrections[chain[below]].T
        if above is None:
            turned = low
        else:
            high = world[:, chain[above]] @ corrections[chain[above]].T
            turned = between(low, high, (place - below) / (above - below))
        world[:, joint] = turned @ corrections[joint]
    for joint, parent in enumerate(JOINT_PARENTS):
        if joint not in known and joint not in chain:
            # It keeps to its parent as in the corrections, which say how the source's rest pose looks.
            world[:, joint] = world[:, parent] @ corrections[parent].T @ corrections[joint]
    for side in _SIDES:
        world[:, _J[f"{side}_hand"]] = world[:, _J[f"{side}_wrist"]]
        if _J[f"{side}_foot"] not in known:
            world[:, _J[f"{side}_foot"]] = world[:, _J[f"{side}_ankle"]]


def _bend_spine(world: np.ndarray, target: np.ndarray, along: np.ndarray) -> None:
    """Turn the spine's three joints alike so that the neck lies from the pelvis in the direction ``along`` [T, 3].

    The two spines have other joints, so that the same bends lead to another place. The pelvis stays, and arms, neck and
    head keep their rotations in the world.
    """
    spine = [_J["spine1"], _J["spine2"], _J["spine3"]]
    ends = [_J["spine2"], _J["spine3"], _J["neck"]]
    base = world[:, 0] @ (target[spine[0]] - target[0])
    for _ in range(4):
        reach = base.copy()
        for joint, end in zip(spine, ends):
            reach += world[:, joint] @ (target[end] - target[joint])
        turn = smallest_turns(reach, along)
        for joint in spine:
            world[:, joint] = turn @ world[:, joint]


def _translation(
    source: _Source, world: np.ndarray, target: np.ndarray, options: RetargetOptions
) -> tuple[np.ndarray, float]:
    """Translation [T, 3] metres and leg length as :class:`Motion` has them."""
    leg_length = standing_height(target)
    ours = np.mean([_leg({joint: target[None, joint] for joint in range(len(target))}, side) for side in _SIDES])
    theirs = np.mean([_leg(source.frames, side) for side in _SIDES])
    if not theirs > 1e-6:
        raise MotionError("The source's legs have no length; choose other bones for hips, knees and ankles.")
    # The middle of the hips is the same place in all skeletons; where the pelvis's bone begins is not.
    hips = 0.5 * (source.frames[_J["left_hip"]] + source.frames[_J["right_hip"]]) * (ours / theirs)
    above = target[0] - 0.5 * (target[_J["left_hip"]] + target[_J["right_hip"]])
    pelvis = hips + world[:, 0] @ above
    floor = lowest_sole(world, target, pelvis) if options.ground == "feet" else 0.0
    translation = pelvis - [0, leg_length + floor, 0]
    if options.root == "off":
        translation[:] = 0
    elif options.root == "in_place":
        translation[:, [0, 2]] = 0
    return translation, leg_length


def _leg(frames: dict[int, np.ndarray], side: str) -> float:
    """Metres from hip over knee to ankle, the median over frames."""
    hip, knee, ankle = (frames[_J[f"{side}_{part}"]][:1000] for part in ("hip", "knee", "ankle"))
    return float(np.median(np.linalg.norm(knee - hip, axis=1) + np.linalg.norm(ankle - knee, axis=1)))
