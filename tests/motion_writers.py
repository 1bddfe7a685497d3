"""Motions with known joint places, and a tiny writer of BVH files in the layouts of several programs."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from scipy.spatial.transform import Rotation
from synthetic import JOINT_NAMES, PARENTS, REST_JOINTS

from backend.avatar.motion import Motion, standing_height

# SMPL joint -> bone, by layout.
_UPLEG = {
    "hip": "UpLeg",
    "knee": "Leg",
    "ankle": "Foot",
    "foot": "ToeBase",
    "collar": "Shoulder",
    "shoulder": "Arm",
    "elbow": "ForeArm",
    "wrist": "Hand",
}
_ROKOKO = _UPLEG | {"hip": "Thigh", "knee": "Shin", "foot": "Toe"}
_SOMA = _UPLEG | {"hip": "Leg", "knee": "Shin"}


def _names(middle: dict[str, str], sides: dict[str, str], prefix: str = "") -> dict[str, str]:
    names = {joint: prefix + bone for joint, bone in middle.items()}
    for side in ("left", "right"):
        names |= {f"{side}_{joint}": f"{prefix}{side.title()}{bone}" for joint, bone in sides.items()}
    return names


BONES: dict[str, dict[str, str]] = {
    "mixamo": _names(
        {"pelvis": "Hips", "spine1": "Spine", "spine2": "Spine1", "spine3": "Spine2", "neck": "Neck", "head": "Head"},
        _UPLEG | {"hand": "HandMiddle1"},
        "mixamorig:",
    ),
    "cmu": _names(
        {
            "pelvis": "Hips",
            "spine1": "LowerBack",
            "spine2": "Spine",
            "spine3": "Spine1",
            "neck": "Neck",
            "head": "Head",
        },
        _UPLEG | {"hand": "FingerBase"},
    ),
    "rokoko": _names(
        {"pelvis": "Hips", "spine1": "Spine1", "spine2": "Spine2", "spine3": "Spine4", "neck": "Neck", "head": "Head"},
        _ROKOKO,
    ),
    "soma": _names(
        {"pelvis": "Hips", "spine1": "Spine1", "spine2": "Spine2", "spine3": "Chest", "neck": "Neck1", "head": "Head"},
        _SOMA,
    ),
    # LAFAN has as many spine bones as Mixamo, toes and no fingers; "two" has two spine bones, no toes and no collars.
    "lafan": _names(
        {"pelvis": "Hips", "spine1": "Spine", "spine2": "Spine1", "spine3": "Spine2", "neck": "Neck", "head": "Head"},
        _UPLEG | {"foot": "Toe"},
    ),
    "two": _names(
        {"pelvis": "Hips", "spine1": "Spine", "spine3": "Spine1", "neck": "Neck", "head": "Head"},
        {joint: bone for joint, bone in _UPLEG.items() if joint not in ("foot", "collar")},
    ),
}

# Bones that SMPL lacks, by layout: name, the SMPL joint below it, how far it is along the bone, whose turn it has.
EXTRA: dict[str, tuple[tuple[str, str, float, str], ...]] = {
    "cmu": (
        ("LHipJoint", "left_hip", 0.0, "pelvis"),
        ("RHipJoint", "right_hip", 0.0, "pelvis"),
        ("Neck1", "head", 0.5, "head"),
    ),
    "rokoko": (("Spine3", "spine3", 0.5, "spine2"),),
    "soma": (("Neck2", "head", 0.5, "head"),),
}


@dataclass(frozen=True, eq=False)
class Source:
    """A person whose every joint is known.

    Attributes:
        bones: source bone name by SMPL joint.
        names, parents: of all bones.
        rest: [J, 3] metres, arms out to the sides, y up, facing z.
        turns: [T, J, 3, 3] how far each bone has turned in the world since that pose.
        positions: [T, J, 3] metres.
        fps: frames a second.
    """

    bones: dict[str, str]
    names: list[str]
    parents: list[int]
    rest: np.ndarray
    turns: np.ndarray
    positions: np.ndarray
    fps: float

    def place(self, joint: str) -> np.ndarray:
        """[T, 3] of an SMPL joint's bone."""
        return self.positions[:, self.names.index(self.bones[joint])]

    def turn(self, joint: str) -> np.ndarray:
        """[T, 3, 3] of an SMPL joint's bone."""
        return self.turns[:, self.names.index(self.bones[joint])]


def lively_poses(frames: int, seed: int = 0, whole_turns: float = 0.0) -> np.ndarray:
    """Smooth poses [T, 24, 3] within what people do; the body turns about the vertical as often as it says."""
    random = np.random.default_rng(seed)
    time = np.linspace(0, 1, frames)[:, None, None]
    wave = np.zeros((frames, 24, 3))
    for rate in (1, 2, 3):
        wave += random.normal(size=(24, 3)) * np.sin(2 * np.pi * (rate * time + random.uniform(size=(24, 3)))) / rate
    reach = np.full((24, 1), 0.12)
    for name, size in (("shoulder", 0.45), ("hip", 0.3), ("wrist", 0.25), ("head", 0.2), ("ankle", 0.15)):
        reach[[i for i, joint in enumerate(JOINT_NAMES) if name in joint]] = size
    poses = wave * reach
    swing = np.sin(2 * np.pi * 2 * time[:, 0, 0])
    for side, sign in (("left", 1), ("right", -1)):
        knee, elbow = JOINT_NAMES.index(f"{side}_knee"), JOINT_NAMES.index(f"{side}_elbow")
        poses[:, knee] = np.outer(0.5 + 0.45 * sign * swing, [1, 0, 0])
        poses[:, elbow] = np.outer(0.6 + 0.5 * sign * swing, [0, -sign, 0])
        shoulder = JOINT_NAMES.index(f"{side}_shoulder")
        poses[:, shoulder, 2] -= sign * 1.0
        poses[:, JOINT_NAMES.index(f"{side}_hand")] = 0
        poses[:, JOINT_NAMES.index(f"{side}_foot")] *= 0
    turn = Rotation.from_rotvec(np.outer(2 * np.pi * whole_turns * time[:, 0, 0], [0, 1, 0]))
    poses[:, 0] = (turn * Rotation.from_rotvec(poses[:, 0] * 0.8)).as_rotvec()
    return poses


def make_source(
    layout: str,
    poses: np.ndarray,
    fps: float = 30.0,
    build: float = 1.0,
    root: np.ndarray | None = None,
    proportions: Callable[[str], float] = lambda joint: 1.0,
) -> Source:
    """A source whose bones turn as SMPL's joints do under ``poses``, with bones of other lengths.

    Joints that the layout lacks are left out: what they turn goes to the bones below them.
    """
    bones = BONES[layout]
    local = Rotation.from_rotvec(poses.reshape(-1, 3)).as_matrix().reshape(*poses.shape[:2], 3, 3)
    world = np.empty_like(local)
    rest = np.zeros_like(REST_JOINTS)
    for joint, parent in enumerate(PARENTS):
        world[:, joint] = local[:, joint] if parent < 0 else world[:, parent] @ local[:, joint]
        if parent >= 0:
            size = build * proportions(JOINT_NAMES[joint])
            rest[joint] = rest[parent] + size * (REST_JOINTS[joint] - REST_JOINTS[parent])
    keep = [joint for joint, name in enumerate(JOINT_NAMES) if name in bones]
    parents = []
    for joint in keep:
        parent = PARENTS[joint]
        while parent >= 0 and parent not in keep:
            parent = PARENTS[parent]
        parents.append(keep.index(parent) if parent >= 0 else -1)
    names = [bones[JOINT_NAMES[joint]] for joint in keep]
    smpl = {JOINT_NAMES[joint]: world[:, joint] for joint in range(len(PARENTS))}
    rest, turns = list(rest[keep]), [world[:, joint] for joint in keep]
    for name, below, share, whose in EXTRA.get(layout, ()):
        child = names.index(bones[below])
        parent = parents[child]
        names.insert(child, name)
        rest.insert(child, rest[parent] + share * (rest[child] - rest[parent]))
        turns.insert(child, smpl[whose])
        parents = [p + (p >= child) for p in parents]
        parents.insert(child, parent)
        parents[child + 1] = child
    rest = np.stack(rest)
    world = np.stack(turns, axis=1)
    rest[:, 1] += 0.03 * build - rest[:, 1].min()
    places = np.empty((len(poses), len(names), 3))
    for joint, parent in enumerate(parents):
        if parent < 0:
            places[:, joint] = rest[joint] + (0 if root is None else root)
        else:
            places[:, joint] = places[:, parent] + world[:, parent] @ (rest[joint] - rest[parent])
    return Source(bones, names, parents, rest, world, places, fps)


def forward(motion: Motion, rest: np.ndarray = REST_JOINTS) -> tuple[np.ndarray, np.ndarray]:
    """World rotations and joint places by a loop over frames and joints; the soles stand at height 0."""
    size = standing_height(rest)
    world, places = np.zeros((len(motion), 24, 3, 3)), np.zeros((len(motion), 24, 3))
    for frame in range(len(motion)):
        for joint, parent in enumerate(PARENTS):
            turn = Rotation.from_rotvec(motion.poses[frame, joint]).as_matrix()
            if parent < 0:
                world[frame, joint] = turn
                places[frame, joint] = motion.translation[frame] * size / motion.leg_length + [0, size, 0]
            else:
                world[frame, joint] = world[frame, parent] @ turn
                places[frame, joint] = places[frame, parent] + world[frame, parent] @ (rest[joint] - rest[parent])
    return world, places


def axes_of(source: Source, kind: str) -> np.ndarray:
    """Axes [J, 3, 3] of the bones with arms out: ``t`` the world's, ``a`` an A-pose's, ``x`` with bones along x.

    A BVH file's rest pose is that in which all axes are the world's.
    """
    count = len(source.names)
    axes = np.tile(np.eye(3), (count, 1, 1))
    joint_of = {bone: joint for joint, bone in source.bones.items()}
    random = np.random.default_rng(3)
    for bone, name in enumerate(source.names):
        joint = joint_of.get(name, name)
        side = 1 if joint.startswith("left") else -1
        if kind == "a" and joint.split("_")[-1] in ("shoulder", "elbow", "wrist", "hand"):
            axes[bone] = Rotation.from_euler("z", -45 * side, degrees=True).as_matrix().T
        if kind == "x":
            child = next((c for c, parent in enumerate(source.parents) if parent == bone and joint != "pelvis"), None)
            along = source.rest[child] - source.rest[bone] if child is not None else random.normal(size=3)
            if joint == "pelvis":
                along = np.array([0.0, 1.0, 0.0])
            along = along / max(np.linalg.norm(along), 1e-9)
            other = np.cross(along, random.normal(size=3))
            other /= np.linalg.norm(other)
            axes[bone] = np.stack([along, other, np.cross(along, other)], axis=1)
    return axes


def write_bvh(
    path: Path,
    source: Source,
    *,
    rest: str = "t",
    order: str = "ZXY",
    unit: float = 0.01,
    up: str = "y",
    positions: str = "root",
    newline: str = "\n",
    decimals: int = 6,
) -> None:
    """Write a source as BVH.

    Args:
        rest: kind of :func:`axes_of`.
        order: rotation channels.
        unit: metres.
        up: ``y`` or ``z``.
        positions: which joints have position channels, ``root``, ``all`` or ``zero`` (all, but with zeros).
    """
    axes = axes_of(source, rest)
    turn = np.eye(3) if up == "y" else np.array([[1.0, 0, 0], [0, 0, -1], [0, 1, 0]])
    # In the file's world a bone's axes are those of the file where the rest pose is.
    frames = turn @ source.turns @ axes @ turn.T
    offsets = np.zeros((len(source.names), 3))
    columns = []
    for joint, parent in enumerate(source.parents):
        local = frames[:, joint] if parent < 0 else np.swapaxes(frames[:, parent], 1, 2) @ frames[:, joint]
        if parent >= 0:
            offsets[joint] = turn @ axes[parent].T @ (source.rest[joint] - source.rest[parent]) / unit
        places = source.positions[:, joint] @ turn.T / unit if parent < 0 else np.tile(offsets[joint], (len(local), 1))
        if parent < 0 or positions == "all":
            columns.append(places)
        elif positions == "zero":
            columns.append(places * 0)
        columns.append(Rotation.from_matrix(local).as_euler(order.upper(), degrees=True))
    lines = ["HIERARCHY"]
    rotation = " ".join(f"{axis}rotation" for axis in order)

    def joint_lines(joint: int, depth: int) -> None:
        tab = "\t" * depth
        lines.append(f"{tab}{'ROOT' if source.parents[joint] < 0 else 'JOINT'} {source.names[joint]}")
        lines.append(tab + "{")
        lines.append(f"{tab}\tOFFSET " + " ".join(f"{value:.6f}" for value in offsets[joint]))
        place = source.parents[joint] < 0 or positions != "root"
        lines.append(f"{tab}\tCHANNELS " + ("6 Xposition Yposition Zposition " if place else "3 ") + rotation)
        children = [child for child, parent in enumerate(source.parents) if parent == joint]
        for child in children:
            joint_lines(child, depth + 1)
        if not children:
            lines.extend([f"{tab}\tEnd Site", tab + "\t{", f"{tab}\t\tOFFSET 0.0 {5 * 0.01 / unit:.5f} 0", tab + "\t}"])
        lines.append(tab + "}")

    joint_lines(0, 0)
    # Joints stand in the order of the tree, so do their channels.
    order_in_tree: list[int] = []

    def visit(joint: int) -> None:
        order_in_tree.append(joint)
        for child, parent in enumerate(source.parents):
            if parent == joint:
                visit(child)

    visit(0)
    blocks: list[list[np.ndarray]] = []
    for joint in range(len(source.names)):
        count = 2 if source.parents[joint] < 0 or positions != "root" else 1
        blocks.append([columns.pop(0) for _ in range(count)])
    values = np.concatenate([block for joint in order_in_tree for block in blocks[joint]], axis=1)
    lines += ["MOTION", f"Frames: {len(values)}", f"Frame Time: {1 / source.fps:.7f}"]
    lines += [" ".join(f"{value:.{decimals}f}" for value in row) for row in values]
    path.write_bytes((newline.join(lines) + newline).encode())
