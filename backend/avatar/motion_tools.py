"""Changes to finished motions: frame rate, an avatar's translation, feet that stay put, hands that stay outside.

Everything works on all frames at once. numpy and the standard library only.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from .bone_maps import JOINT_INDEX, JOINT_PARENTS, BoneMap, find_map
from .clips import Clip
from .motion import Motion, MotionError, standing_height
from .rotations import (
    axis_angles,
    continuous,
    local_rotations,
    quaternion_logs,
    quaternions,
    slerp,
    smallest_turns,
    unit,
    world_positions,
    world_rotations,
)
from .skinning import rotation_matrices

MAX_FRAMES = 1_000_000
_J = JOINT_INDEX
_SIDES = ("left", "right")


def resample(motion: Motion, fps: float) -> Motion:
    """The motion at another frame rate: rotations by slerp, translation linearly; the duration stays.

    Raises:
        MotionError: the rate is not between 0 and 1000, or gives more than ``MAX_FRAMES`` frames.
    """
    if not (np.isfinite(fps) and 0 < fps <= 1000):
        raise MotionError(f"The motion cannot have {fps} frames a second; it must be between 0 and 1000.")
    if fps == motion.fps:
        return motion
    last = len(motion) - 1
    count = int(np.floor(last * fps / motion.fps + 1e-6)) + 1
    if count > MAX_FRAMES:
        raise MotionError(f"At {fps} frames a second the motion would have {count} frames; cut it into parts.")
    at = (np.arange(count) * (motion.fps / fps)).clip(0, last)
    low = np.minimum(at.astype(int), max(last - 1, 0))
    high = np.minimum(low + 1, last)
    share = at - low
    turns = quaternions(motion.poses)
    poses = quaternion_logs(slerp(turns[low], turns[high], share[:, None]))
    translation = motion.translation[low] + share[:, None] * (motion.translation[high] - motion.translation[low])
    return replace(motion, poses=continuous(poses), translation=translation, fps=float(fps))


def avatar_translation(motion: Motion, avatar_rest_joints: np.ndarray, standing_translation: np.ndarray) -> np.ndarray:
    """Translations [T, 3] metres of an avatar, as ``skinning.pose_gaussians`` takes them.

    standing + translation * (the avatar's pelvis above its soles) / (the motion's leg length)

    Args:
        motion: of a body of any size.
        avatar_rest_joints: [24, 3] metres.
        standing_translation: [3] metres, what puts the avatar's rest pose on the ground, soles at height 0.
    """
    standing = np.asarray(standing_translation, dtype=np.float64)
    height = float(np.asarray(avatar_rest_joints, dtype=np.float64)[0, 1] + standing[1])
    if not height > 0:
        raise MotionError("The avatar's pelvis is not above its soles; its standing translation is wrong.")
    return standing + motion.translation * (height / motion.leg_length)


def in_place(motion: Motion) -> Motion:
    """The motion without the way that it goes from its first frame to its last, as on a treadmill."""
    way = motion.translation[-1] - motion.translation[0]
    way[1] = 0
    share = np.linspace(0, 1, len(motion))[:, None]
    return replace(motion, translation=motion.translation - share * way)


@dataclass(frozen=True)
class FootOptions:
    """When a foot is planted. Lengths are metres on a body whose pelvis stands ``BODY_HEIGHT`` above its soles.

    A foot is planted from the frame in which the ball of the foot is both lower than ``low`` above where it stands at
    rest and slower than ``slow``, until it is higher than ``high`` or faster than ``fast``.

    Attributes:
        low, high: metres.
        slow, fast: metres a second.
        wander: metres; a foot that strays farther from its place is planted anew.
        shortest: seconds; shorter contacts are left as they are.
        blend: seconds, before and after a contact, in which the foot comes to its place and leaves it.
    """

    low: float = 0.03
    high: float = 0.045
    slow: float = 0.35
    fast: float = 0.6
    wander: float = 0.10
    shortest: float = 0.08
    blend: float = 0.15


BODY_HEIGHT = 0.97
"""Metres from the soles to the pelvis of the neutral body, for which lengths in options are meant."""


def foot_contacts(
    positions: np.ndarray, rest_heights: Sequence[float], fps: float, size: float, options: FootOptions | None = None
) -> np.ndarray:
    """Whether feet are planted, bool [T, F].

    Args:
        positions: [T, F, 3] metres, the balls of F feet, y up, floor at 0.
        rest_heights: F metres, their heights when standing.
        fps: frames a second.
        size: metres from the soles to the pelvis.
        options: None for the defaults.
    """
    options = options or FootOptions()
    scale = size / BODY_HEIGHT
    height = (positions[..., 1] - np.asarray(rest_heights)) / scale
    speed = _speed(positions, fps) / scale
    enter = (height < options.low) & (speed < options.slow)
    stay = (height < options.high) & (speed < options.fast)
    planted = np.empty(enter.shape, dtype=bool)
    for foot in range(enter.shape[1]):
        planted[:, foot] = _hysteresis(enter[:, foot], stay[:, foot])
        for start, stop in _runs(planted[:, foot]):
            if stop - start < options.shortest * fps:
                planted[start:stop, foot] = False
    return planted


def source_contacts(clip: Clip, bone_map: BoneMap | None = None, options: FootOptions | None = None) -> np.ndarray:
    """Whether the source's left and right foot are planted, bool [T, 2], for :func:`pin_feet`.

    The toes serve where the map names them, otherwise the ankles; the floor is where they are lowest.
    """
    bones = (bone_map or find_map(clip.names)).bones
    index = {name: joint for joint, name in enumerate(clip.names)}
    parts = ["foot" if f"{side}_foot" in bones else "ankle" for side in _SIDES]
    feet = [index[bones[f"{side}_{part}"]] for side, part in zip(_SIDES, parts)]
    places = clip.positions[:, feet]
    legs = [[index[bones[f"{side}_{part}"]] for part in ("hip", "knee", "ankle")] for side in _SIDES]
    chains = [np.linalg.norm(np.diff(clip.positions[:100, leg], axis=1), axis=2).sum(axis=1) for leg in legs]
    size = 1.2 * float(np.median(chains))  # the pelvis stands 1.2 times as high as the legs are long, on our bodies
    floors = np.percentile(places[..., 1], 5, axis=0)
    return foot_contacts(places, floors, clip.fps, size, options)


def pin_feet(
    motion: Motion,
    rest_joints: np.ndarray,
    parents: Sequence[int] = JOINT_PARENTS,
    contacts: np.ndarray | None = None,
    options: FootOptions | None = None,
) -> Motion:
    """The motion with planted feet that neither slide nor sink, by two-bone inverse kinematics of the legs.

    While a foot is planted its ball keeps one place on the floor; the foot keeps its rotation in the world. Where a leg
    is too short for that the pelvis comes down. Knees bend the way they bent.

    Args:
        motion: of any body.
        rest_joints: [24, 3] metres of the body that is to be moved.
        parents: its 24 parents.
        contacts: bool [T, 2], left and right, such as the source's; None finds them in the motion.
        options: None for the defaults.
    """
    options = options or FootOptions()
    rest, world, pelvis, size = _placed(motion, rest_joints, parents)
    positions = world_positions(world, rest, JOINT_PARENTS, pelvis)
    floor = rest[0, 1] - size
    balls = [_J["left_foot"], _J["right_foot"]]
    heights = rest[balls, 1] - floor
    if contacts is None:
        contacts = foot_contacts(positions[:, balls], heights, motion.fps, size, options)
    contacts = np.asarray(contacts, dtype=bool)
    if contacts.shape != (len(motion), 2):
        raise MotionError(f"The contacts have the shape {contacts.shape}, expected {len(motion)} x 2.")
    scale = size / BODY_HEIGHT
    blend = max(1, round(options.blend * motion.fps))
    targets = {}
    drop = np.zeros(len(motion))
    for foot, side in enumerate(_SIDES):
        ball = positions[:, balls[foot]]
        shift = _shifts(ball, contacts[:, foot], float(heights[foot]), options.wander * scale, blend)
        # Feet above the floor stay above it.
        shift[:, 1] = np.maximum(shift[:, 1], np.minimum(heights[foot] - ball[:, 1], 0))
        hip, knee, ankle = (_J[f"{side}_{part}"] for part in ("hip", "knee", "ankle"))
        targets[side] = positions[:, ankle] + shift
        length = _REACH * (_length(rest, hip, knee) + _length(rest, knee, ankle))
        gap = positions[:, hip] - targets[side]
        side_ways = (gap[:, [0, 2]] ** 2).sum(axis=1)
        allowed = np.sqrt(np.maximum(length**2 - side_ways, 0))
        moved = np.linalg.norm(shift, axis=1) > 1e-6
        drop = np.maximum(drop, np.where(moved, gap[:, 1] - allowed, 0).clip(0, 0.15 * size))
    drop = _smooth_above(drop, blend)
    pelvis = pelvis - drop[:, None] * [0, 1, 0]
    positions = positions - drop[:, None, None] * [0, 1, 0]
    for side in _SIDES:
        hip, knee, ankle = (_J[f"{side}_{part}"] for part in ("hip", "knee", "ankle"))
        still = np.linalg.norm(targets[side] - positions[:, ankle], axis=1) < 1e-7
        _two_bones(world, positions, (hip, knee, ankle), targets[side], np.array([1.0, 0, 0]), still)
    return _finished(motion, world, pelvis, size)


@dataclass(frozen=True)
class HandOptions:
    """The body that hands stay out of, in parts of the body's own lengths.

    The trunk is an elliptical capsule from the pelvis to the neck, thighs are round ones.

    Attributes:
        trunk_width: of half the distance between the shoulders.
        trunk_depth: the same, from front to back.
        thigh: radius, of the thigh's length.
        hand: half a hand's thickness, of half the distance between the shoulders.
        smooth: seconds over which the push comes and goes.
    """

    trunk_width: float = 0.80
    trunk_depth: float = 0.60
    thigh: float = 0.20
    hand: float = 0.12
    smooth: float = 0.15


def separate_hands(
    motion: Motion,
    clip: Clip | None,
    rest_joints: np.ndarray,
    parents: Sequence[int] = JOINT_PARENTS,
    bone_map: BoneMap | None = None,
    options: HandOptions | None = None,
) -> Motion:
    """The motion with wrists and hands pushed out of trunk and thighs, by inverse kinematics of the arms.

    Where the source's hands enter the same simple body around the source, they may enter as far here.

    Args:
        motion: the clip, carried over.
        clip: the source, with the motion's frames; None pushes hands out wherever they enter.
        rest_joints: [24, 3] metres of the body that is to be moved.
        parents: its 24 parents.
        bone_map: the source's bones; found by the names where None.
        options: None for the defaults.
    """
    options = options or HandOptions()
    rest, world, pelvis, size = _placed(motion, rest_joints, parents)
    theirs: dict[int, np.ndarray] | None = None
    if clip is not None:
        if len(clip) != len(motion):
            raise MotionError(f"The source has {len(clip)} frames and the motion {len(motion)}; take the same frames.")
        index = {name: joint for joint, name in enumerate(clip.names)}
        bones = (bone_map or find_map(clip.names)).bones
        theirs = {_J[joint]: clip.positions[:, index[bone]] for joint, bone in bones.items() if bone in index}
    radius = max(1, round(options.smooth * motion.fps))
    for _ in range(2):
        positions = world_positions(world, rest, JOINT_PARENTS, pelvis)
        places = {joint: positions[:, joint] for joint in range(len(JOINT_PARENTS))}
        for side, sign in (("left", 1.0), ("right", -1.0)):
            push = _push(places, side, options)
            if theirs is not None:
                own = np.linalg.norm(_push(theirs, side, options), axis=1) * (_across(places) / _across(theirs))
                length = np.linalg.norm(push, axis=1)
                push = push * ((length - own).clip(0) / np.where(length > 0, length, 1))[:, None]
            length = np.linalg.norm(push, axis=1)
            if not (length > 1e-4).any():
                continue
            along = unit(_blurred(push, radius))
            push = along * _smooth_above(length, radius)[:, None]
            chain = tuple(_J[f"{side}_{part}"] for part in ("shoulder", "elbow", "wrist"))
            still = np.linalg.norm(push, axis=1) < 1e-7
            target = positions[:, chain[2]] + push
            _two_bones(world, positions, chain, target, np.array([0, -sign, 0]), still)
    return _finished(motion, world, pelvis, size)


_REACH = 0.999
"""How much of its length a limb is stretched at most; beyond it a joint's bend would have no side."""


def _placed(
    motion: Motion, rest_joints: np.ndarray, parents: Sequence[int]
) -> tuple[np.ndarray, np.ndarray, np.ndarray, float]:
    """Rest joints [24, 3] with the pelvis at x = z = 0, world rotations, pelvis places on the floor 0, its height."""
    rest = np.array(rest_joints, dtype=np.float64)
    if rest.shape != (len(JOINT_PARENTS), 3) or not np.isfinite(rest).all():
        raise MotionError("The avatar's rest joints must be 24 x 3 finite numbers.")
    if tuple(int(parent) for parent in parents) != JOINT_PARENTS:
        raise MotionError("The avatar's joints are not connected as SMPL's.")
    size = standing_height(rest)
    world = world_rotations(rotation_matrices(np.asarray(motion.poses, dtype=np.float64)), JOINT_PARENTS)
    pelvis = motion.translation * (size / motion.leg_length) + [0, size, 0]
    return rest, world, pelvis, size


def _finished(motion: Motion, world: np.ndarray, pelvis: np.ndarray, size: float) -> Motion:
    poses = continuous(axis_angles(local_rotations(world, JOINT_PARENTS)))
    translation = (pelvis - [0, size, 0]) * (motion.leg_length / size)
    return replace(motion, poses=poses, translation=translation)


def _length(rest: np.ndarray, first: int, second: int) -> float:
    return float(np.linalg.norm(rest[first] - rest[second]))


def _speed(positions: np.ndarray, fps: float) -> np.ndarray:
    """Metres a second [T, F] of places [T, F, 3], over the two neighbouring frames."""
    if len(positions) < 2:
        return np.zeros(positions.shape[:2])
    return np.linalg.norm(np.gradient(positions, axis=0), axis=2) * fps


def _hysteresis(enter: np.ndarray, stay: np.ndarray) -> np.ndarray:
    """Runs of ``stay`` [T] in which ``enter`` [T] is true somewhere, from its first place there."""
    planted = np.zeros(len(enter), dtype=bool)
    for start, stop in _runs(stay | enter):
        first = np.flatnonzero(enter[start:stop])
        if first.size:
            planted[start + first[0] : stop] = True
    return planted


def _runs(flags: np.ndarray) -> list[tuple[int, int]]:
    """(start, stop) of each run of true values."""
    edges = np.flatnonzero(np.diff(np.concatenate([[0], flags.astype(np.int8), [0]])))
    return list(zip(edges[::2].tolist(), edges[1::2].tolist()))


def _shifts(ball: np.ndarray, planted: np.ndarray, height: float, wander: float, blend: int) -> np.ndarray:
    """How far the ball of a foot [T, 3] is moved [T, 3] so that it keeps its places, with blends between them."""
    pieces: list[tuple[int, int]] = []
    waiting = _runs(planted)[::-1]
    while waiting:
        start, stop = waiting.pop()
        stray = np.linalg.norm(ball[start:stop] - np.median(ball[start:stop], axis=0), axis=1).max()
        if stray > wander and stop - start > 2 * blend:
            middle = (start + stop) // 2
            waiting += [(middle, stop), (start, middle)]
        else:
            pieces.append((start, stop))
    shift = np.zeros_like(ball)
    weight = np.zeros(len(ball))
    fade = np.cos(np.linspace(0, np.pi, blend + 2)[1:-1]) * 0.5 + 0.5
    fixed = np.zeros(len(ball), dtype=bool)
    for start, stop in pieces:
        place = np.median(ball[start:stop], axis=0)
        place[1] = height
        inside = place - ball[start:stop]
        fixed[start:stop] = True
        shift[start:stop], weight[start:stop] = inside, 1
        for frames, delta in (
            (np.arange(stop, min(stop + blend, len(ball))), inside[-1]),
            (np.arange(start - 1, max(start - blend, 0) - 1, -1), inside[0]),
        ):
            free = ~fixed[frames] & ~planted[frames]
            shift[frames[free]] += fade[: len(frames)][free, None] * delta
            weight[frames[free]] += fade[: len(frames)][free]
    # Where two blends meet they share.
    return shift / np.maximum(weight, 1)[:, None]


def _two_bones(
    world: np.ndarray,
    positions: np.ndarray,
    chain: tuple[int, ...],
    target: np.ndarray,
    hinge: np.ndarray,
    still: np.ndarray,
) -> None:
    """Turn a limb's two bones, in place, so that its end comes to ``target`` [T, 3]; what hangs on it keeps its turn.

    The limb bends in the plane in which it bent; a straight one about ``hinge`` [3], the axis in the rest pose.
    """
    upper, lower, _ = chain
    root, middle, tip = (positions[:, joint] for joint in chain)
    first, second = middle - root, tip - middle
    a, b = np.linalg.norm(first, axis=1), np.linalg.norm(second, axis=1)
    line, aim = tip - root, target - root
    along, towards = unit(line), unit(aim)
    distance = np.clip(np.linalg.norm(aim, axis=1), np.abs(a - b) + 1e-4 * a, _REACH * (a + b))
    bend = np.cross(first, second) / (a * b)[:, None]
    axis = bend + 0.05 * (world[:, upper] @ hinge)
    axis = unit(axis - along * np.einsum("ti,ti->t", axis, along)[:, None])
    cosine = ((a * a + distance**2 - b * b) / (2 * a * distance)).clip(-1, 1)
    side = np.cross(along, axis)
    new_first = a[:, None] * (cosine[:, None] * along + np.sqrt(1 - cosine**2)[:, None] * side)
    turn = smallest_turns(along, towards)
    new_first = np.einsum("tij,tj->ti", turn, new_first)
    new_second = towards * distance[:, None] - new_first
    moving = ~still
    for joint, before, after in ((upper, first, new_first), (lower, second, new_second)):
        world[moving, joint] = smallest_turns(before[moving], after[moving]) @ world[moving, joint]


def _blurred(values: np.ndarray, radius: int) -> np.ndarray:
    """Values [T, C] or [T] blurred along the frames by a cosine window of ``radius`` frames each way."""
    window = np.hanning(2 * radius + 3)[1:-1]
    window /= window.sum()
    padded = np.pad(values.reshape(len(values), -1), ((radius, radius), (0, 0)), mode="edge")
    out = np.stack([np.convolve(column, window, mode="valid") for column in padded.T], axis=1)
    return out.reshape(values.shape)


def _smooth_above(values: np.ndarray, radius: int) -> np.ndarray:
    """A smooth curve [T] that is nowhere below ``values`` [T]: the largest in a window, blurred by the same window."""
    if not values.any():
        return values
    padded = np.pad(values, radius, mode="edge")
    highest = np.lib.stride_tricks.sliding_window_view(padded, 2 * radius + 1).max(axis=1)
    return _blurred(highest, radius)


def _across(places: dict[int, np.ndarray]) -> float:
    """Half the distance between the shoulders, metres."""
    gap = np.linalg.norm(places[_J["left_shoulder"]] - places[_J["right_shoulder"]], axis=1)
    return max(0.5 * float(np.median(gap)), 1e-6)


def _push(places: dict[int, np.ndarray], side: str, options: HandOptions) -> np.ndarray:
    """The shift [T, 3] metres that takes a wrist and its hand out of the trunk and both thighs."""
    half = _across(places)
    wrist, elbow = places[_J[f"{side}_wrist"]], places[_J[f"{side}_elbow"]]
    # Hands that the source lacks point on from the forearm.
    tip = places.get(_J[f"{side}_hand"], wrist + 0.4 * (wrist - elbow))
    pelvis = places[_J["pelvis"]]
    neck = places.get(_J["neck"], 0.5 * (places[_J["left_shoulder"]] + places[_J["right_shoulder"]]))
    across = unit(
        unit(places[_J["left_hip"]] - places[_J["right_hip"]])
        + unit(places[_J["left_shoulder"]] - places[_J["right_shoulder"]])
    )
    trunk = neck - pelvis
    front = unit(np.cross(across, trunk))
    hand = options.hand * half
    radii = (options.trunk_width * half + hand, options.trunk_depth * half + hand)
    push = np.zeros_like(wrist)
    for point in (wrist, 0.5 * (wrist + tip), tip):
        push = push + _out_of(point + push, pelvis + 0.05 * trunk, pelvis + 0.85 * trunk, (across, front), radii)
        for other in _SIDES:
            hip, knee = places[_J[f"{other}_hip"]], places[_J[f"{other}_knee"]]
            radius = options.thigh * float(np.median(np.linalg.norm(knee - hip, axis=1))) + hand
            push = push + _out_of(point + push, hip, knee, (across, front), (radius, radius))
    return push


def _out_of(
    point: np.ndarray,
    start: np.ndarray,
    stop: np.ndarray,
    axes: tuple[np.ndarray, np.ndarray],
    radii: tuple[float, float],
) -> np.ndarray:
    """The shift [T, 3] that takes points [T, 3] out of capsules whose radii differ along two axes [T, 3]."""
    bone = stop - start
    share = np.einsum("ti,ti->t", point - start, bone) / np.maximum(np.einsum("ti,ti->t", bone, bone), 1e-12)
    away = point - start - share.clip(0, 1)[:, None] * bone
    first, second = (np.einsum("ti,ti->t", away, axis) for axis in axes)
    rest = away - first[:, None] * axes[0] - second[:, None] * axes[1]
    deep = np.sqrt((first / radii[0]) ** 2 + (second / radii[1]) ** 2 + (rest**2).sum(axis=1) / min(radii) ** 2)
    # From the very middle the way out is to the front.
    away = np.where(deep[:, None] < 1e-3, 1e-3 * radii[1] * axes[1], away)
    deep = np.maximum(deep, 1e-3)
    return away * np.where(deep < 1, 1 / deep - 1, 0)[:, None]
