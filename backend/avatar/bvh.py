"""Reads BVH motion files of any skeleton into a :class:`Clip`. numpy and the standard library only.

The format is that of Biovision's files as Meredith and Maddock, "Motion Capture File Formats Explained" (2001),
describe it: angles in degrees, a joint's rotation is the product of its rotation channels in the order in which the
file lists them, v_parent = R_first R_second R_third v. Position channels stand in the place of the OFFSET, as Blender,
MotionBuilder and Mixamo write them; where a joint's are zero in all frames and its OFFSET is not, they are added to it.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import BinaryIO

import numpy as np

from .bone_maps import BoneMap, find_map
from .clips import MAX_JOINTS, Clip, frame_slice
from .motion import MotionError
from .rotations import unit

MAX_NUMBERS = 60_000_000
"""Channel values read at once (480 MB); 100 000 frames of 200 joints."""
MAX_POSES = 16_000_000
"""Frames times joints kept at once (1.5 GB of world rotations and positions)."""
UNITS = {"m": 1.0, "cm": 0.01, "mm": 0.001, "inch": 0.0254, "foot": 0.3048, "dm": 0.1, "cmu": 0.0254 / 0.45}
"""Metres in a file's unit. CMU's files count in inches divided by 0.45 (mocap.cs.cmu.edu, "info")."""
LEG = 0.82
"""Metres from hip to ankle along the bones of an adult of 1.70 m; measured on the shipped neutral body."""

_UNUSUAL = 0.35  # how many times (in logarithms) a leg must be off before a unit other than metric is preferred
_HEADER_BYTES = 4 << 20
_BLOCK_BYTES = 4 << 20
_MOTION = re.compile(rb"^[ \t]*MOTION[ \t]*\r?$", re.IGNORECASE | re.MULTILINE)
_COUNTS = re.compile(rb"\s*Frames\s*:\s*(\S+)\s+Frame\s*Time\s*:\s*(\S+)", re.IGNORECASE)
_COMMENT = re.compile(rb"^[ \t]*(#|//)[^\r\n]*", re.MULTILINE)
_TOKEN = re.compile(
    r"\s*(?:(?P<open>\{)|(?P<close>\})|(?P<joint>(?:ROOT|JOINT)[ \t]+[^\r\n{]+)|(?P<end>End[ \t]+\w+[^\r\n{]*)"
    r"|OFFSET(?P<offset>(?:[ \t]+[^\s{}]+){3})|CHANNELS[ \t]+(?P<count>\d{1,3})(?P<channels>(?:\s+[XYZ]\w+)*))",
    re.IGNORECASE,
)
_CHANNEL = re.compile(r"([XYZ])(rotation|position)$", re.IGNORECASE)


@dataclass(eq=False)
class _Joint:
    """A joint as the header tells it; ``channels`` are (axis, whether it is a rotation, column)."""

    name: str
    parent: int
    offset: np.ndarray | None = None
    channels: list[tuple[int, bool, int]] = field(default_factory=list)


def read_bvh(
    path: str | Path,
    *,
    up: str = "auto",
    scale: float | None = None,
    frames: tuple[int, int] | None = None,
    bone_map: BoneMap | None = None,
    mapped_only: bool = False,
) -> Clip:
    """Read a BVH file. End Sites become joints named after their parent with ``_end``.

    Args:
        path: the file.
        up: the file's upward axis, ``y`` or ``z``; ``auto`` finds it from where the trunk points in the rest pose where
            the person stands upright there, otherwise in the frames.
        scale: metres in the file's unit; None finds it from the length of the legs (metres, centimetres, millimetres,
            decimetres, inches, feet, CMU's unit; otherwise what makes the legs those of an adult).
        frames: (start, stop), to read a part of a long file.
        bone_map: tells which bones are trunk and legs; found by the names where None.
        mapped_only: keep only the joints that the map names, which long files need.

    Raises:
        MotionError: the file cannot be read, is damaged or too large, or an option is wrong.
    """
    path = Path(path)
    if up not in ("auto", "y", "z"):
        raise MotionError(f"The upward axis must be y, z or auto, not {up!r}.")
    if scale is not None and not (np.isfinite(scale) and scale > 0):
        raise MotionError("The scale must be a positive number of metres in the file's unit.")
    try:
        with path.open("rb") as file:
            joints, rest = _read_header(file, path.name)
            width = sum(len(joint.channels) for joint in joints)
            values, fps = _read_frames(file, rest, width, frames, path.name)
    except OSError as error:
        raise MotionError(f"{path.name} cannot be read: {error.strerror or error}.") from error
    names = _names(joints)
    if bone_map is None:
        try:
            bone_map = find_map(names)
        except MotionError:
            if mapped_only:
                raise
    mapped = {} if bone_map is None else {joint: names.index(b) for joint, b in bone_map.bones.items() if b in names}
    offsets = np.array([joint.offset for joint in joints])
    added = _added_positions(joints, offsets, values)
    parents = [joint.parent for joint in joints]
    rest_positions = offsets.copy()
    for joint, parent in enumerate(parents):
        if parent >= 0:
            rest_positions[joint] += rest_positions[parent]
    sample = values[np.linspace(0, len(values) - 1, min(len(values), 50)).astype(int)]
    _, seen = _world(joints, offsets, added, sample, range(len(joints)))
    if up == "auto":
        up = _up_axis(mapped, rest_positions, seen)
    if scale is None:
        scale = _unit(mapped, offsets, parents, seen, up)
    keep: Sequence[int] = sorted(mapped.values()) if mapped_only else range(len(joints))
    if len(values) * len(keep) > MAX_POSES:
        raise MotionError(
            f"{path.name} has {len(values)} frames of {len(keep)} joints, too many to hold at once; "
            f"read a part with frames=(start, stop)."
        )
    rotations, positions = _world(joints, offsets, added, values, keep)
    del values
    turn = np.eye(3) if up == "y" else np.array([[1.0, 0, 0], [0, 0, 1], [0, -1, 0]])
    if up == "z":
        for joint in range(len(keep)):
            rotations[:, joint] = turn @ rotations[:, joint]
            positions[:, joint] = positions[:, joint] @ turn.T
    positions *= scale
    place = {joint: new for new, joint in enumerate(keep)}
    return Clip(
        names=tuple(names[joint] for joint in keep),
        parents=tuple(_kept_parent(joint, parents, place) for joint in keep),
        rest_positions=rest_positions[keep] @ turn.T * scale,
        rest_rotations=np.broadcast_to(turn, (len(keep), 3, 3)).copy(),
        rotations=rotations,
        positions=positions,
        fps=fps,
        name=path.stem,
    )


def _kept_parent(joint: int, parents: Sequence[int], place: dict[int, int]) -> int:
    parent = parents[joint]
    while parent >= 0 and parent not in place:
        parent = parents[parent]
    return place.get(parent, -1)


def _read_header(file: BinaryIO, name: str) -> tuple[list[_Joint], bytes]:
    """The joints and what was read beyond the line MOTION."""
    head = file.read(_HEADER_BYTES)
    if not re.match(rb"(\xef\xbb\xbf)?(\s|#[^\n]*\n|//[^\n]*\n)*HIERARCHY\b", head, re.IGNORECASE):
        raise MotionError(f"{name} is no BVH file: it does not begin with HIERARCHY.")
    found = _MOTION.search(head)
    if found is None:
        raise MotionError(f"{name} ends before its motion, or its skeleton is too large; export it again.")
    text = _COMMENT.sub(b"", head[: found.start()]).decode("utf-8", "replace")
    start = re.search("HIERARCHY", text, re.IGNORECASE)
    return _parse_hierarchy(text, start.end() if start else 0, name), head[found.end() :]


def _parse_hierarchy(text: str, at: int, name: str) -> list[_Joint]:
    joints: list[_Joint] = []
    stack: list[int] = []
    current = -1  # the joint whose brace is to come
    column = 0
    end = len(text.rstrip())
    while at < end:
        token = _TOKEN.match(text, at)
        if token is None:
            line = text.count("\n", 0, at + len(text[at:]) - len(text[at:].lstrip())) + 1
            raise MotionError(f"{name} has something in its skeleton that is not BVH, at line {line}; export it again.")
        at = token.end()
        if token["joint"] or token["end"]:
            parent = stack[-1] if stack else -1
            if token["end"] and parent < 0:
                raise MotionError(f"{name} has an End Site outside of a joint; export it again.")
            title = joints[parent].name + "_end" if token["end"] else token["joint"].strip()[5:].strip()
            joints.append(_Joint("".join(letter for letter in title[:200] if letter.isprintable()), parent))
            current = len(joints) - 1
            if current >= MAX_JOINTS:
                raise MotionError(f"{name} has more than {MAX_JOINTS} joints; export the body's bones alone.")
        elif token["open"]:
            if current < 0:
                raise MotionError(f"{name} has braces that do not belong to a joint; export it again.")
            stack.append(current)
            current = -1
        elif token["close"]:
            if not stack:
                raise MotionError(f"{name} has more closing than opening braces; export it again.")
            stack.pop()
        elif not stack:
            raise MotionError(f"{name} has an OFFSET or CHANNELS outside of a joint; export it again.")
        elif token["offset"]:
            joints[stack[-1]].offset = _offset(token["offset"], name)
        else:
            words = token["channels"].split()
            if len(words) != int(token["count"]) or len(words) > 9 or joints[stack[-1]].channels:
                raise MotionError(f"{name} has wrong CHANNELS at the joint {joints[stack[-1]].name}; export it again.")
            for word in words:
                channel = _CHANNEL.match(word)
                if channel is None:
                    raise MotionError(f"{name} has the channel {word!r}, which BVH does not know; export it again.")
                axis = "XYZ".index(channel[1].upper())
                joints[stack[-1]].channels.append((axis, channel[2].lower() == "rotation", column))
                column += 1
    if stack or current >= 0:
        raise MotionError(f"{name} is cut off in its skeleton; export it again.")
    if not joints or column == 0:
        raise MotionError(f"{name} has no joints that move.")
    bare = next((joint.name for joint in joints if joint.offset is None), None)
    if bare is not None:
        raise MotionError(f"{name} has no OFFSET for the joint {bare}; export it again.")
    return joints


def _offset(text: str, name: str) -> np.ndarray:
    try:
        offset = np.array([float(word) for word in text.split()])
    except ValueError as error:
        raise MotionError(f"{name} has an OFFSET that is no number; export it again.") from error
    if not np.isfinite(offset).all() or np.abs(offset).max() > 1e9:
        raise MotionError(f"{name} has an OFFSET that is not finite; export it again.")
    return offset


def _names(joints: Sequence[_Joint]) -> list[str]:
    """Names of the joints, all different."""
    names: list[str] = []
    used: set[str] = set()
    for joint in joints:
        title, number = joint.name, 2
        while title in used:
            title = f"{joint.name}.{number}"
            number += 1
        used.add(title)
        names.append(title)
    return names


def _read_frames(
    file: BinaryIO, rest: bytes, width: int, frames: tuple[int, int] | None, name: str
) -> tuple[np.ndarray, float]:
    """Channel values [T, width] and the frame rate. Memory follows what is there, not what the file says is there."""
    rest = _COMMENT.sub(b"", rest + file.readline())
    found = _COUNTS.match(rest)
    if found is None:
        raise MotionError(f"{name} does not say how many frames it has and how long one is; export it again.")
    try:
        declared, seconds = int(found[1]), float(found[2])
    except ValueError as error:
        raise MotionError(f"{name} has a frame count or frame time that is no number; export it again.") from error
    if not (np.isfinite(seconds) and 0.001 <= seconds <= 1000):
        raise MotionError(f"{name} has the frame time {seconds}; it must be a number of seconds, such as 0.0333.")
    start, stop = frame_slice(frames, declared)
    if (stop - start) * width > MAX_NUMBERS:
        raise MotionError(
            f"{name} says it has {declared} frames of {width} channels, too many to read at once; read a part "
            f"with frames=(start, stop), at most {MAX_NUMBERS // width} frames."
        )
    first, last = start * width, stop * width
    pieces: list[np.ndarray] = []
    seen, tail, block = 0, b"", rest[found.end() :]
    while seen < last:
        end = max(block.rfind(b"\n"), block.rfind(b"\r"))
        if end < 0 and len(block) > 4 * _BLOCK_BYTES:  # frames without line ends
            end = block.rfind(b" ")
        more = file.read(_BLOCK_BYTES)
        if not more:
            end = len(block)
        whole, tail = block[: max(end, 0)], block[max(end, 0) :]
        numbers = _numbers(whole, name)
        pieces.append(numbers[max(0, first - seen) : max(0, last - seen)])
        seen += len(numbers)
        block = tail + more
        if not more:
            break
    if seen < last:
        raise MotionError(
            f"{name} says it has {declared} frames and holds {seen // width}: it is cut off; export it again, or read "
            f"a part with frames=(0, {seen // width})."
        )
    values = np.concatenate(pieces).reshape(-1, width)
    if not np.isfinite(values).all() or np.abs(values).max() > 1e9:
        raise MotionError(f"{name} holds numbers that are not finite; export it again.")
    fps = 1 / seconds
    # Frame times have few digits: 0.008333 means 120 frames a second, but 0.033367 means 29.97.
    return values, float(round(fps)) if abs(fps / round(max(fps, 1)) - 1) < 5e-4 else fps


def _numbers(text: bytes, name: str) -> np.ndarray:
    if b"#" in text or b"/" in text:
        text = _COMMENT.sub(b"", text)
    if not text.strip():
        return np.zeros(0)
    try:
        return np.array(text.split(), dtype=np.float64)
    except ValueError as error:
        raise MotionError(f"{name} has something among its frames that is no number; export it again.") from error


def _added_positions(joints: Sequence[_Joint], offsets: np.ndarray, values: np.ndarray) -> list[bool]:
    """Whether a joint's position channels are added to its offset: where they are zero throughout."""
    added = []
    for joint, offset in zip(joints, offsets):
        columns = [column for _, turns, column in joint.channels if not turns]
        size = np.abs(offset).max()
        still = bool(columns) and size > 0 and np.abs(values[:, columns]).max() < 1e-6 * size
        added.append(still and joint.parent >= 0)
    return added


def _world(
    joints: Sequence[_Joint], offsets: np.ndarray, added: Sequence[bool], values: np.ndarray, keep: Sequence[int]
) -> tuple[np.ndarray, np.ndarray]:
    """World rotations [T, K, 3, 3] and positions [T, K, 3] of the joints ``keep``, in the file's axes and unit."""
    count = len(values)
    needed = set(keep)
    for joint in range(len(joints) - 1, -1, -1):
        if joint in needed and joints[joint].parent >= 0:
            needed.add(joints[joint].parent)
    waiting = [0] * len(joints)
    for joint in needed:
        if joints[joint].parent >= 0:
            waiting[joints[joint].parent] += 1
    place = {joint: new for new, joint in enumerate(keep)}
    rotations = np.empty((count, len(place), 3, 3))
    positions = np.empty((count, len(place), 3))
    open_: dict[int, tuple[np.ndarray, np.ndarray]] = {}
    for index in sorted(needed):
        joint = joints[index]
        local, shift = _local(joint, offsets[index], added[index], values)
        if joint.parent >= 0:
            turn, origin = open_[joint.parent]
            shift = origin + np.einsum("tij,tj->ti", turn, shift)
            local = turn if local is None else turn @ local
            waiting[joint.parent] -= 1
            if waiting[joint.parent] == 0:
                del open_[joint.parent]
        elif local is None:
            local = np.broadcast_to(np.eye(3), (count, 3, 3))
        if waiting[index]:
            open_[index] = (local, shift)
        if index in place:
            rotations[:, place[index]], positions[:, place[index]] = local, shift
    return rotations, positions


def _local(joint: _Joint, offset: np.ndarray, added: bool, values: np.ndarray) -> tuple[np.ndarray | None, np.ndarray]:
    """A joint's rotation [T, 3, 3] (None for none) and place [T, 3] in its parent's axes."""
    shift = np.tile(offset, (len(values), 1))
    turn: np.ndarray | None = None
    for axis, turns, column in joint.channels:
        if not turns:
            if not added:
                shift[:, axis] = values[:, column]
            continue
        angle = np.deg2rad(values[:, column])
        cosine, sine = np.cos(angle)[:, None], np.sin(angle)[:, None]
        if turn is None:
            turn = np.tile(np.eye(3), (len(values), 1, 1))
        # R times a turn about an axis mixes the two columns of the other axes.
        b, c = (axis + 1) % 3, (axis + 2) % 3
        first, second = turn[:, :, b].copy(), turn[:, :, c].copy()
        turn[:, :, b] = cosine * first + sine * second
        turn[:, :, c] = cosine * second - sine * first
    return turn, shift


def _up_axis(mapped: dict[str, int], rest: np.ndarray, seen: np.ndarray) -> str:
    """``y`` or ``z``, from the rest skeleton where it stands upright along one of them, otherwise from the frames."""
    if not mapped:
        spread = np.ptp(seen, axis=1).mean(axis=0)
        return "z" if spread[2] > spread[1] else "y"
    top = mapped["head"] if "head" in mapped else mapped["neck"]

    def trunk(places: np.ndarray) -> np.ndarray:
        hips = 0.5 * (places[..., mapped["left_hip"], :] + places[..., mapped["right_hip"], :])
        return unit(places[..., top, :] - hips)

    legs = unit(rest[mapped["left_ankle"]] + rest[mapped["right_ankle"]] - rest[mapped["left_hip"]] * 2)
    standing = trunk(rest)
    if standing @ legs < -0.8 and np.abs(standing[1:]).max() > 0.9:
        return "z" if abs(standing[2]) > abs(standing[1]) else "y"
    mean = trunk(seen).mean(axis=0)
    return "z" if abs(mean[2]) > abs(mean[1]) else "y"


def _unit(mapped: dict[str, int], offsets: np.ndarray, parents: Sequence[int], seen: np.ndarray, up: str) -> float:
    """Metres in the file's unit."""
    if mapped:
        leg = 0.0
        for side in ("left", "right"):
            hip, knee, ankle = (seen[:, mapped[f"{side}_{part}"]] for part in ("hip", "knee", "ankle"))
            lengths = np.linalg.norm(hip - knee, axis=1) + np.linalg.norm(knee - ankle, axis=1)
            leg += 0.5 * float(np.median(lengths))
    else:
        # A person stands about as high as twice the legs.
        leg = 0.48 * float(np.median(np.ptp(seen[:, :, "xyz".index(up)], axis=1)))
    if not leg > 0:
        raise MotionError("The skeleton's legs have no length; give the file's scale, or export it again.")
    best, distance = 0.0, np.inf
    for name, metres in UNITS.items():
        off = abs(np.log(leg * metres / LEG))
        if off < np.log(2.5) and off + (0 if name in ("m", "cm") else _UNUSUAL) < distance:
            best, distance = metres, off + (0 if name in ("m", "cm") else _UNUSUAL)
    return best or LEG / leg
