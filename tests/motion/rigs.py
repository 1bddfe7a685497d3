"""Source armatures with known motions, as programs bring them into Blender, and what the tests measure."""

from __future__ import annotations

from pathlib import Path

import bpy
import numpy as np
from humansplat.humansplat_blender import scene
from humansplat.humansplat_blender.motion import action as actions
from humansplat.humansplat_blender.scene import convert
from mathutils import Matrix
from motion_writers import Source, lively_poses, make_source
from scipy.spatial.transform import Rotation

from tests.synthetic import JOINT_NAMES, REST_JOINTS

RIGIFY = {
    "pelvis": "spine",
    "spine1": "spine.001",
    "spine2": "spine.002",
    "spine3": "spine.003",
    "neck": "spine.004",
    "head": "spine.006",
} | {
    f"{side}_{joint}": f"{bone}.{side[0].upper()}"
    for side in ("left", "right")
    for joint, bone in {
        "hip": "thigh",
        "knee": "shin",
        "ankle": "foot",
        "foot": "toe",
        "collar": "shoulder",
        "shoulder": "upper_arm",
        "elbow": "forearm",
        "wrist": "hand",
        "hand": "f_middle.01",
    }.items()
}
LIMBS = [
    (f"{side}_{a}", f"{side}_{b}")
    for side in ("left", "right")
    for a, b in (("hip", "knee"), ("knee", "ankle"), ("shoulder", "elbow"), ("elbow", "wrist"))
]
DIRECTIONS = [*LIMBS, ("neck", "head"), ("pelvis", "neck")]
PLACED = Matrix.Translation((0.7, -0.4, 0.0)) @ Matrix.Rotation(0.7, 4, "Z")
FBX = PLACED @ Matrix.Rotation(np.pi / 2, 4, "X") @ Matrix.Scale(0.01, 4)
"""What Blender's FBX import makes of Mixamo's y-up centimetres, turned and moved by the artist."""


def walk_root(frames: int) -> np.ndarray:
    """The way [T, 3] of the pelvis, metres, y up."""
    time = np.linspace(0, 1, frames)
    return np.stack([np.sin(3 * time), 0.03 * np.sin(20 * time), 2 * time], axis=1)


def lively_source(frames: int = 60, whole_turns: float = 0.0, **more: object) -> Source:
    """A person of another build than the avatar: longer shins, short upper arms."""
    return make_source(
        "mixamo",
        lively_poses(frames, 1, whole_turns),
        24,
        1.15,
        walk_root(frames),
        lambda joint: {"ankle": 1.2, "elbow": 0.85}.get(joint.split("_")[-1], 1.0),
        **more,
    )


def add_armature(
    source: Source,
    matrix: Matrix = FBX,
    arms: float = 0.0,
    names: dict[str, str] | None = None,
    controls: bool = False,
) -> bpy.types.Object:
    """An armature object with the source's motion as keys on the frames 1 to T.

    Args:
        source: the motion; its world (y up) becomes the object's surroundings, turned and moved with the object.
        matrix: the object's transform; its turn from y up to z up is taken as it is.
        arms: degrees by which the arms hang in the rest pose (45: an A-pose).
        names: bone by SMPL joint; the source's own where None.
        controls: Rigify's way: plain bones without a motion of their own, `DEF-` bones without parents which copy the
            keyed `ORG-` bones.
    """
    rename = {bone: (names or source.bones)[joint] for joint, bone in source.bones.items()}
    prefix = "ORG-" if controls else ""
    bones = [prefix + rename[name] for name in source.names]
    # Where bones are in the armature: the source is placed as the object is, but upright.
    inward = np.array(matrix.inverted())
    frame = np.array(PLACED) if matrix != Matrix() else np.eye(4)
    to_world = frame[:3, :3] @ convert.TO_BLENDER
    local = inward[:3, :3] @ to_world
    scale = np.cbrt(np.linalg.det(local))
    turn = local / scale

    def place(points: np.ndarray) -> np.ndarray:
        return (points @ to_world.T + frame[:3, 3]) @ inward[:3, :3].T + inward[:3, 3]

    rest_turns = np.tile(np.eye(3), (len(bones), 1, 1))
    joint_of = {bone: joint for joint, bone in source.bones.items()}
    for bone, name in enumerate(source.names):
        joint = joint_of.get(name, "")
        if joint.split("_")[-1] in ("shoulder", "elbow", "wrist", "hand"):
            side = -1 if joint.startswith("left") else 1
            rest_turns[bone] = Rotation.from_euler("z", side * arms, degrees=True).as_matrix()
    heads = source.rest.copy()
    for bone, parent in enumerate(source.parents):
        if parent >= 0:
            heads[bone] = heads[parent] + rest_turns[parent] @ (source.rest[bone] - source.rest[parent])
    heads = place(heads)

    armature = bpy.data.objects.new("Source", bpy.data.armatures.new("Source"))
    bpy.context.scene.collection.objects.link(armature)
    armature.matrix_world = matrix
    random = np.random.default_rng(0)
    bpy.context.view_layer.objects.active = armature
    bpy.ops.object.mode_set(mode="EDIT")
    edit = armature.data.edit_bones
    for bone, (name, parent) in enumerate(zip(bones, source.parents)):
        made = edit.new(name)
        children = [child for child, other in enumerate(source.parents) if other == bone]
        along = heads[children[0]] - heads[bone] if children else random.normal(size=3)
        made.head = heads[bone]
        made.tail = heads[bone] + along / np.linalg.norm(along) * max(np.linalg.norm(along), 0.05 * scale)
        made.roll = random.uniform(-3, 3)
        made.parent = edit[bones[parent]] if parent >= 0 else None
        made.use_connect = False
    if controls:
        for name in bones:
            for copy in (name.removeprefix("ORG-"), name.replace("ORG-", "DEF-")):
                made = edit.new(copy)
                made.head, made.tail, made.roll = edit[name].head, edit[name].tail, edit[name].roll
    bpy.ops.object.mode_set(mode="OBJECT")
    for name in bones if controls else ():
        constraint = armature.pose.bones[name.replace("ORG-", "DEF-")].constraints.new("COPY_TRANSFORMS")
        constraint.target, constraint.subtarget = armature, name
    _key(armature, bones, source, turn, rest_turns, place)
    bpy.context.view_layer.update()
    return armature


def _key(
    armature: bpy.types.Object,
    bones: list[str],
    source: Source,
    turn: np.ndarray,
    rest_turns: np.ndarray,
    place: object,
) -> None:
    count = len(source.positions)
    rest = [np.array(armature.data.bones[name].matrix_local) for name in bones]
    poses = np.tile(np.eye(4), (len(bones), count, 1, 1))
    action = actions.new_action("Take 1", armature)
    frames = np.arange(1, count + 1)
    for bone, (name, parent) in enumerate(zip(bones, source.parents)):
        turned = turn @ (source.turns[:, bone] @ rest_turns[bone].T) @ turn.T
        poses[bone, :, :3, :3] = turned @ rest[bone][:3, :3]
        poses[bone, :, :3, 3] = place(source.positions[:, bone])
        above, above_rest = (np.eye(4), np.eye(4)) if parent < 0 else (poses[parent], rest[parent])
        basis = np.linalg.inv(np.linalg.inv(above_rest) @ rest[bone]) @ np.linalg.inv(above) @ poses[bone]
        turns = np.array([Matrix(m.tolist()).to_quaternion() for m in basis[:, :3, :3]])
        turns[1:] *= np.cumprod(np.where((turns[1:] * turns[:-1]).sum(axis=1) < 0, -1, 1))[:, None]
        bone_ = armature.pose.bones[name]
        bone_.rotation_mode = "QUATERNION"
        actions.add_curves(action, bone_.path_from_id("rotation_quaternion"), name, frames, turns)
        if parent < 0:
            actions.add_curves(action, bone_.path_from_id("location"), name, frames, basis[:, :3, 3])
    actions.assign(armature, actions.own(action))


def heads(armature: bpy.types.Object, bones: dict[str, str]) -> dict[str, np.ndarray]:
    """Evaluated bone heads in the world, by SMPL joint."""
    evaluated = armature.evaluated_get(bpy.context.evaluated_depsgraph_get())
    return {joint: np.array(evaluated.matrix_world @ evaluated.pose.bones[bone].head) for joint, bone in bones.items()}


def avatar_bones(armature: bpy.types.Object) -> dict[str, str]:
    """The avatar's bone names by SMPL joint."""
    return dict(zip(scene.joint_names(armature), (bone.name for bone in scene.joint_bones(armature))))


def direction_errors(
    avatar: bpy.types.Object, source: bpy.types.Object, bones: dict[str, str], frames: range
) -> dict[tuple[str, str], float]:
    """The largest angle in degrees between the two armatures' bones, by pair of joints, over frames of the scene."""
    worst = dict.fromkeys(DIRECTIONS, 0.0)
    own = avatar_bones(avatar)
    for frame in frames:
        bpy.context.scene.frame_set(frame)
        ours, theirs = heads(avatar, own), heads(source, bones)
        for pair in DIRECTIONS:
            first, second = (places[pair[1]] - places[pair[0]] for places in (ours, theirs))
            angle = np.degrees(np.arctan2(np.linalg.norm(np.cross(first, second)), first @ second))
            worst[pair] = max(worst[pair], float(angle))
    return worst


def snapshot() -> dict[str, object]:
    """What must be as before after a failure."""
    return {
        "actions": sorted((action.name, action.users, action.use_fake_user) for action in bpy.data.actions),
        "objects": sorted(obj.name for obj in bpy.data.objects),
        "scenes": [(s.name, s.frame_current, s.frame_start, s.frame_end) for s in bpy.data.scenes],
        "bones": {
            (obj.name, bone.name): (
                tuple(np.array(bone.matrix_basis).ravel()),
                [constraint.name for constraint in bone.constraints],
            )
            for obj in bpy.data.objects
            if obj.pose is not None
            for bone in obj.pose.bones
        },
        "animation": {
            obj.name: (
                obj.animation_data.action.name if obj.animation_data.action else None,
                len(obj.animation_data.nla_tracks),
            )
            for obj in bpy.data.objects
            if obj.animation_data is not None
        },
    }


def import_avatar(package: Path, **more: object) -> bpy.types.Object:
    """An avatar's armature."""
    return scene.import_avatar(bpy.context, package, **more).armature


__all__ = ["JOINT_NAMES", "REST_JOINTS"]
