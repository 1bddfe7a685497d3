"""Skeletons by engine: bone names, a bone below everything where it is expected, and the rest pose.

Bones have no rotation at rest: a skeleton is the places of its joints, in a T-pose or an A-pose. Retargeters (Unity's
Mecanim, Unreal's IK Retargeter, Godot's SkeletonProfile, VRM, Mixamo) need the names, the hierarchy and the pose.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from types import MappingProxyType

import numpy as np

from .. import quaternion
from ..bone_maps import JOINT_NAMES, JOINT_PARENTS
from ..motion import Motion
from ..motion_tools import avatar_translation
from ..package import Avatar
from ..rotations import local_rotations, world_positions, world_rotations
from ..skinning import rotation_matrices, standing_translation
from .cloud import pose_cloud
from .types import BoneClip, ExportError, Skeleton, SplatCloud, TexturedMesh

A_POSE_DEGREES = 45.0
"""How far arms hang below the horizontal in the A-pose, as Unreal's mannequin holds them."""


@dataclass(frozen=True, eq=False)
class SkeletonPreset:
    """What one family of engines expects.

    Attributes:
        name: what options call it.
        label: for people.
        bones: 24 names in SMPL's order.
        root: name of a bone at the origin, below the hips; empty where there is none.
        rest: "T" or "A".
    """

    name: str
    label: str
    bones: tuple[str, ...]
    root: str
    rest: str


def _names(template: str, sides: tuple[str, str], words: Mapping[str, str]) -> tuple[str, ...]:
    """24 names: ``words`` by SMPL's joint without its side; ``template`` puts {side} and {word} together."""
    names = []
    for joint in JOINT_NAMES:
        side, _, part = joint.partition("_")
        if side in ("left", "right"):
            names.append(template.format(side=sides[side == "right"], word=words[part]))
        else:
            names.append(words[joint])
    return tuple(names)


_HUMANOID = {
    "pelvis": "Hips", "spine1": "Spine", "spine2": "Chest", "spine3": "UpperChest", "neck": "Neck", "head": "Head",
    "collar": "Shoulder", "shoulder": "UpperArm", "elbow": "LowerArm", "wrist": "Hand", "hand": "MiddleProximal",
    "hip": "UpperLeg", "knee": "LowerLeg", "ankle": "Foot", "foot": "Toes",
}  # fmt: skip
_MIXAMO = {
    "pelvis": "mixamorig:Hips", "spine1": "mixamorig:Spine", "spine2": "mixamorig:Spine1",
    "spine3": "mixamorig:Spine2", "neck": "mixamorig:Neck", "head": "mixamorig:Head",
    "collar": "Shoulder", "shoulder": "Arm", "elbow": "ForeArm", "wrist": "Hand", "hand": "HandMiddle1",
    "hip": "UpLeg", "knee": "Leg", "ankle": "Foot", "foot": "ToeBase",
}  # fmt: skip
_UNREAL = {
    "pelvis": "pelvis", "spine1": "spine_01", "spine2": "spine_02", "spine3": "spine_03", "neck": "neck_01",
    "head": "head", "collar": "clavicle", "shoulder": "upperarm", "elbow": "lowerarm", "wrist": "hand",
    "hand": "middle_01", "hip": "thigh", "knee": "calf", "ankle": "foot", "foot": "ball",
}  # fmt: skip

_SIDES = ("Left", "Right")
SKELETONS: Mapping[str, SkeletonPreset] = MappingProxyType(
    {
        preset.name: preset
        for preset in (
            SkeletonPreset("smpl", "SMPL", JOINT_NAMES, "", "T"),
            SkeletonPreset("mixamo", "Mixamo", _names("mixamorig:{side}{word}", _SIDES, _MIXAMO), "", "T"),
            SkeletonPreset("unreal", "Unreal Mannequin", _names("{word}_{side}", ("l", "r"), _UNREAL), "root", "A"),
            SkeletonPreset("unity", "Unity Humanoid", _names("{side}{word}", _SIDES, _HUMANOID), "", "T"),
            SkeletonPreset("vrm", "VRM 1.0", _names("{side}{word}", _SIDES, _HUMANOID), "Root", "T"),
            SkeletonPreset("godot", "Godot humanoid", _names("{side}{word}", _SIDES, _HUMANOID), "Root", "T"),
        )
    }
)


def find_skeleton(name: str) -> SkeletonPreset:
    """The preset called ``name``.

    Raises:
        ExportError: there is none.
    """
    if name not in SKELETONS:
        raise ExportError(f"There is no skeleton called {name!r}; choose one of {', '.join(SKELETONS)}.")
    return SKELETONS[name]


@dataclass(frozen=True, eq=False)
class Rig:
    """A preset fitted to one avatar: takes what is skinned to SMPL's joints, and motions, over to its bones.

    Attributes:
        preset: names and rest pose.
        skeleton: the bones.
        to_rest: float64 [24, 4, 4], what takes SMPL's rest pose (standing) to the preset's.
    """

    preset: SkeletonPreset
    skeleton: Skeleton
    to_rest: np.ndarray
    _avatar_joints: np.ndarray  # [24, 3] of the package, not standing
    _standing: np.ndarray  # [3]

    @property
    def _first(self) -> int:
        return int(bool(self.preset.root))

    def cloud(self, cloud: SplatCloud) -> SplatCloud:
        """Splats in the preset's rest pose, on its bones."""
        joints = (cloud.joints + self._first).astype(np.uint8)
        if self.preset.rest == "T":
            return replace(cloud, joints=joints)
        return SplatCloud(pose_cloud(cloud, self.to_rest), joints, cloud.weights)

    def mesh(self, mesh: TexturedMesh) -> TexturedMesh:
        """A mesh in the preset's rest pose, on its bones."""
        joints = (mesh.joints + self._first).astype(np.uint8)
        if self.preset.rest == "T":
            return replace(mesh, joints=joints)
        blended = np.einsum("nk,nkij->nij", mesh.weights.astype(np.float64), self.to_rest[mesh.joints][:, :, :3])
        vertices = np.einsum("nij,nj->ni", blended[:, :, :3], mesh.vertices) + blended[:, :, 3]
        # Normals turn by the cofactors of the affine part.
        cofactor = np.linalg.det(blended[:, :, :3])[:, None, None] * np.linalg.inv(blended[:, :, :3]).swapaxes(1, 2)
        normals = np.einsum("nij,nj->ni", cofactor, mesh.normals)
        normals /= np.maximum(np.linalg.norm(normals, axis=1, keepdims=True), 1e-12)
        return replace(mesh, vertices=vertices.astype(np.float32), normals=normals.astype(np.float32), joints=joints)

    def clip(self, motion: Motion) -> BoneClip:
        """A motion as rotations of the bones."""
        shift = avatar_translation(motion, self._avatar_joints, self._standing) - self._standing
        return self.pose_clip(motion.poses, shift, motion.fps, motion.name)

    def pose_clip(self, poses: np.ndarray, translation: np.ndarray, fps: float, name: str) -> BoneClip:
        """Poses as rotations of the bones.

        Args:
            poses: [T, 24, 3] axis-angle of SMPL's joints.
            translation: [T, 3] metres, how far the hips are from where they are at rest, standing.
            fps: frames a second.
            name: what to call the clip.
        """
        world = world_rotations(rotation_matrices(np.asarray(poses, dtype=np.float64)), JOINT_PARENTS)
        # A bone that the rest pose has turned already turns by so much less.
        world = world @ self.to_rest[None, :, :3, :3].swapaxes(-1, -2)
        local = quaternion.from_matrix(local_rotations(world, JOINT_PARENTS))
        local = _without_flips(local)
        skeleton = self.skeleton
        if self._first:
            still = np.zeros((len(local), 1, 4))
            still[..., 0] = 1
            local = np.concatenate([still, local], axis=1)
        # The hips' parent, where there is one, stands at the origin.
        hips = skeleton.heads[skeleton.hips] + np.asarray(translation, dtype=np.float64)
        return BoneClip(name, float(fps), local, hips)


def fit_rig(avatar: Avatar, name: str) -> Rig:
    """The preset ``name`` for this avatar.

    Raises:
        ExportError: there is no such preset.
    """
    preset = find_skeleton(name)
    standing = standing_translation(avatar)
    heads = np.asarray(avatar.rest_joints, dtype=np.float64) + standing
    to_rest = np.broadcast_to(np.eye(4), (len(heads), 4, 4)).copy()
    if preset.rest == "A":
        world, places = _a_pose(heads)
        to_rest[:, :3, :3] = world
        to_rest[:, :3, 3] = places - np.einsum("jab,jb->ja", world, heads)
        heads = places
    names, parents, hips = preset.bones, tuple(JOINT_PARENTS), 0
    if preset.root:
        names, parents, hips = (preset.root, *names), (-1, *(parent + 1 for parent in parents)), 1
        heads = np.concatenate([np.zeros((1, 3)), heads])
    return Rig(preset, Skeleton(names, parents, heads, hips), to_rest, np.asarray(avatar.rest_joints), standing)


def skinning_transforms(skeleton: Skeleton, clip: BoneClip, frame: int) -> np.ndarray:
    """Transforms [J, 4, 4] of the bones in a frame, rest -> posed: what an engine's skinning works with."""
    world = np.zeros((len(skeleton), 4, 4))
    out = np.zeros((len(skeleton), 4, 4))
    turns = quaternion.to_matrix(clip.rotations[frame])
    for bone, parent in enumerate(skeleton.parents):
        local = np.eye(4)
        local[:3, :3] = turns[bone]
        local[:3, 3] = skeleton.heads[bone] - (skeleton.heads[parent] if parent >= 0 else 0)
        if bone == skeleton.hips:
            local[:3, 3] = clip.hips[frame]
        world[bone] = world[parent] @ local if parent >= 0 else local
        back = np.eye(4)
        back[:3, 3] = -skeleton.heads[bone]
        out[bone] = world[bone] @ back
    return out


def _a_pose(heads: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """World rotations [24, 3, 3] and joint places [24, 3] of the A-pose from those of the T-pose."""
    local = np.zeros((24, 3))
    for side, sign in (("left", 1.0), ("right", -1.0)):
        shoulder, elbow = (JOINT_NAMES.index(f"{side}_{part}") for part in ("shoulder", "elbow"))
        arm = heads[elbow] - heads[shoulder]
        # The bodies' arms hang by some degrees already at rest.
        hangs = np.degrees(np.arctan2(-arm[1], np.hypot(arm[0], arm[2])))
        local[shoulder, 2] = -sign * np.radians(A_POSE_DEGREES - hangs)
    world = world_rotations(rotation_matrices(local)[None], JOINT_PARENTS)
    return world[0], world_positions(world, heads, JOINT_PARENTS, heads[None, 0])[0]


def _without_flips(local: np.ndarray) -> np.ndarray:
    """The same rotations [T, J, 4] with signs that engines may interpolate between."""
    local = local.copy()
    for frame in range(1, len(local)):
        flip = (local[frame] * local[frame - 1]).sum(-1) < 0
        local[frame, flip] *= -1
    return local
