"""Which bone of a source skeleton plays which of SMPL's 24 joints: shipped maps, the choice among them, JSON files."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType

from .motion import MotionError

JOINT_NAMES: tuple[str, ...] = tuple(
    (
        "pelvis left_hip right_hip spine1 left_knee right_knee spine2 left_ankle right_ankle spine3 left_foot "
        "right_foot neck left_collar right_collar head left_shoulder right_shoulder left_elbow right_elbow "
        "left_wrist right_wrist left_hand right_hand"
    ).split()
)
"""SMPL's joints in SMPL's order, as ``backend.body.model.JOINT_NAMES``, which needs PyTorch."""
JOINT_INDEX: Mapping[str, int] = MappingProxyType({name: joint for joint, name in enumerate(JOINT_NAMES)})
JOINT_PARENTS: tuple[int, ...] = (-1, 0, 0, 0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 9, 9, 12, 13, 14, 16, 17, 18, 19, 20, 21)
REQUIRED: tuple[str, ...] = (
    "pelvis",
    *(
        f"{side}_{part}"
        for part in ("hip", "knee", "ankle", "shoulder", "elbow", "wrist")
        for side in ("left", "right")
    ),
)
"""Joints without which a motion cannot be carried over; of neck and head one is needed too."""
_MAP_BYTES = 1 << 20


@dataclass(frozen=True)
class BoneMap:
    """A source skeleton's bones by SMPL joint.

    ``left_hand`` and ``right_hand`` tell only where the hand points (the middle finger's first bone serves); fingers
    are not carried over.

    Attributes:
        name: what to call it, such as ``Mixamo``.
        bones: source bone name by SMPL joint name; joints that the source lacks are absent.
    """

    name: str
    bones: Mapping[str, str]

    def __post_init__(self) -> None:
        """Raise MotionError where a joint is unknown, a bone is named twice or a required joint is missing."""
        unknown = [joint for joint in self.bones if joint not in JOINT_INDEX]
        if unknown:
            raise MotionError(f"The bone map names {unknown[0]!r}, which is none of SMPL's 24 joints.")
        if not all(isinstance(bone, str) and bone for bone in self.bones.values()):
            raise MotionError("The bone map must give the name of one bone for each joint.")
        bones = list(self.bones.values())
        twice = next((bone for bone in bones if bones.count(bone) > 1), None)
        if twice is not None:
            raise MotionError(f"The bone map uses the bone {twice!r} for two joints; leave one of them out.")
        missing = missing_joints(self.bones)
        if missing:
            raise MotionError(f"The bone map {self.name} lacks {_list(missing)}; name the bones for these joints.")
        object.__setattr__(self, "bones", MappingProxyType(dict(self.bones)))

    def to_json(self) -> str:
        """Text of a file that :func:`load_bone_map` reads; joints without a bone stand there as null."""
        bones = {joint: self.bones.get(joint) for joint in JOINT_NAMES}
        return json.dumps({"name": self.name, "bones": bones}, indent=1, ensure_ascii=False) + "\n"


def missing_joints(bones: Mapping[str, str]) -> list[str]:
    """The required joints that ``bones`` lacks."""
    missing = [joint for joint in REQUIRED if joint not in bones]
    if "neck" not in bones and "head" not in bones:
        missing.append("neck or head")
    return missing


def save_bone_map(bone_map: BoneMap, path: str | Path) -> None:
    """Write a map as JSON, to edit and to load again."""
    Path(path).write_text(bone_map.to_json(), encoding="utf-8")


def load_bone_map(path: str | Path) -> BoneMap:
    """Read a map from JSON: ``{"name": ..., "bones": {SMPL joint: bone name or null}}``.

    Raises:
        MotionError: the file cannot be read or the map cannot be used.
    """
    path = Path(path)
    try:
        if path.stat().st_size > _MAP_BYTES:
            raise MotionError(f"{path.name} is too large for a bone map.")
        data = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise MotionError(f"{path.name} cannot be read: {error.strerror or error}.") from error
    except (ValueError, RecursionError) as error:
        raise MotionError(
            f"{path.name} is no JSON file of a bone map; save one from HumanSplat and edit it."
        ) from error
    bones = data.get("bones") if isinstance(data, dict) else None
    if not isinstance(bones, dict):
        raise MotionError(f'{path.name} is no bone map: it needs the entries "name" and "bones".')
    used = {joint: bone for joint, bone in bones.items() if bone is not None}
    return BoneMap(str(data.get("name", path.stem)), used)


def find_map(names: Iterable[str]) -> BoneMap:
    """The shipped map that covers most of SMPL's joints with bones named ``names``.

    Names are compared without case, separators, namespaces (``mixamorig:``) and the prefixes of Rigify and of SMPL's
    FBX files. Of two maps that cover as many joints the one listed first is taken.

    Raises:
        MotionError: no map fits; names the required joints that the nearest one lacks.
    """
    table = _table(names)
    best: tuple[int, int, str, dict[str, str]] | None = None
    for title, joints in MAPS.items():
        bones = _resolve(joints, table)
        rank = (-len(missing_joints(bones)), len(bones))
        if best is None or rank > best[:2]:
            best = (*rank, title, bones)
    assert best is not None
    missing = missing_joints(best[3])
    if not missing:
        return BoneMap(best[2], best[3])
    if best[1] < 6:
        raise MotionError(
            "The skeleton's bone names belong to none of the known rigs (Mixamo, Rigify, Unreal, VRM, CMU, SMPL, "
            f"Rokoko, SOMA): {_list(missing)} are missing; give a bone map that names them."
        )
    raise MotionError(
        f"The skeleton looks like {best[2]}, but has no bones for {_list(missing)}; give a bone map that names them."
    )


def _list(words: list[str]) -> str:
    return ", ".join(words)


_PREFIX = re.compile(r"^(mixamorig\d*[:_]?|def-|org-|[mf]_avg_|valvebiped[._])", re.IGNORECASE)


def _key(name: str) -> str:
    """A bone name without namespace, known prefixes, separators and case."""
    name = name.rsplit(":", 1)[-1].rsplit("|", 1)[-1].strip()
    return re.sub(r"[\s_.\-]", "", _PREFIX.sub("", name)).lower()


def _table(names: Iterable[str]) -> dict[str, str]:
    """The best of the bones that share a key: Rigify's deforming bone, then the plain one, then the original."""
    table: dict[str, str] = {}
    rank = {"DEF-": 0, "ORG-": 2}
    for name in names:
        key = _key(name)
        if key not in table or rank.get(name[:4], 1) < rank.get(table[key][:4], 1):
            table[key] = name
    return table


def _resolve(joints: Mapping[str, tuple[str, ...]], table: Mapping[str, str]) -> dict[str, str]:
    """Bones for the joints of one shipped map; each bone once, in the map's order."""
    found: dict[str, str] = {}
    for joint, candidates in joints.items():
        for candidate in candidates:
            bone = table.get(_key(candidate))
            if bone is not None and bone not in found.values():
                found[joint] = bone
                break
    return found


def _sides(middle: str, sides: str, left: str = "Left", right: str = "Right") -> dict[str, tuple[str, ...]]:
    """A map from two lists ``joint=name|name ...``; ``@`` in the second stands for the side."""
    joints: dict[str, tuple[str, ...]] = {}
    for entry in middle.split():
        joint, names = entry.split("=")
        joints[joint] = tuple(names.split("|"))
    for entry in sides.split():
        joint, names = entry.split("=")
        for side, word in (("left", left), ("right", right)):
            joints[f"{side}_{joint}"] = tuple(name.replace("@", word) for name in names.split("|"))
    return joints


# The chest comes before the middle of the spine: of two spine bones the upper one is the chest.
_UPLEG = (
    "hip=@UpLeg|@Upleg knee=@Leg ankle=@Foot foot=@ToeBase|@Toe|@Toes|@Foot_end collar=@Shoulder|@Collar "
    "shoulder=@Arm|@UpArm elbow=@ForeArm|@LowArm wrist=@Hand hand=@HandMiddle1|@FingerBase|@HandIndex1|@Hand_end"
)
_UNREAL = (
    "hip=thigh_@ knee=calf_@ ankle=foot_@ foot=ball_@|foot_@_end collar=clavicle_@ shoulder=upperarm_@ "
    "elbow=lowerarm_@ wrist=hand_@ hand=middle_01_@|hand_@_end"
)
MAPS: Mapping[str, Mapping[str, tuple[str, ...]]] = MappingProxyType(
    {
        "Mixamo": _sides("pelvis=Hips spine1=Spine spine3=Spine2|Spine1 spine2=Spine1 neck=Neck head=Head", _UPLEG),
        "CMU": _sides("pelvis=Hips spine1=LowerBack spine2=Spine spine3=Spine1 neck=Neck head=Head", _UPLEG),
        # Biovision's own names, which many old BVH files have: joints, not bones, are named.
        "Biovision": _sides(
            "pelvis=Hips spine1=Chest spine3=Chest4|Chest3|Chest2 spine2=Chest2 neck=Neck head=Head",
            "hip=@Hip knee=@Knee ankle=@Ankle foot=@Toe|@Ankle_end collar=@Collar shoulder=@Shoulder elbow=@Elbow "
            "wrist=@Wrist hand=@Wrist_end",
        ),
        # Rokoko Studio's own skeleton; its Mixamo and MotionBuilder exports carry the names above.
        "Rokoko": _sides(
            "pelvis=Hips spine1=Spine1|Spine spine3=Spine4|Spine3|Spine2 spine2=Spine3|Spine2 neck=Neck head=Head",
            "hip=@Thigh|@UpLeg knee=@Shin ankle=@Foot foot=@Toe|@ToeBase|@Foot_end collar=@Shoulder "
            "shoulder=@Arm|@UpperArm elbow=@ForeArm wrist=@Hand hand=@HandMiddle1|@FingerMiddle1|@Hand_end",
        ),
        # NVIDIA's SOMA: the thigh is LeftLeg, which elsewhere is the shin.
        "SOMA": _sides(
            "pelvis=Hips spine1=Spine1|Spine spine2=Spine2 spine3=Chest|Spine3 neck=Neck1|Neck head=Head",
            "hip=@Leg knee=@Shin ankle=@Foot foot=@ToeBase|@Toe|@Foot_end collar=@Shoulder shoulder=@Arm "
            "elbow=@ForeArm wrist=@Hand hand=@HandMiddle1|@Hand_end",
        ),
        "Unreal 5": _sides(
            "pelvis=pelvis spine1=spine_01 spine2=spine_03 spine3=spine_05 neck=neck_01 head=head", _UNREAL, "l", "r"
        ),
        "Unreal": _sides(
            "pelvis=pelvis spine1=spine_01 spine3=spine_03|spine_02 spine2=spine_02 neck=neck_01 head=head",
            _UNREAL,
            "l",
            "r",
        ),
        "Rigify": _sides(
            "pelvis=spine|torso spine1=spine.001 spine2=spine.002 spine3=spine.003 neck=spine.004|neck "
            "head=spine.006|head",
            "hip=thigh.@ knee=shin.@ ankle=foot.@ foot=toe.@ collar=shoulder.@ shoulder=upper_arm.@ elbow=forearm.@ "
            "wrist=hand.@ hand=f_middle.01.@|palm.02.@",
            "L",
            "R",
        ),
        "VRM": _sides(
            "pelvis=J_Bip_C_Hips spine1=J_Bip_C_Spine spine3=J_Bip_C_UpperChest|J_Bip_C_Chest spine2=J_Bip_C_Chest "
            "neck=J_Bip_C_Neck head=J_Bip_C_Head",
            "hip=J_Bip_@_UpperLeg knee=J_Bip_@_LowerLeg ankle=J_Bip_@_Foot foot=J_Bip_@_ToeBase "
            "collar=J_Bip_@_Shoulder shoulder=J_Bip_@_UpperArm elbow=J_Bip_@_LowerArm wrist=J_Bip_@_Hand "
            "hand=J_Bip_@_Middle1",
            "L",
            "R",
        ),
        "Unity humanoid": _sides(
            "pelvis=Hips spine1=Spine spine3=UpperChest|Chest spine2=Chest neck=Neck head=Head",
            "hip=@UpperLeg knee=@LowerLeg ankle=@Foot foot=@Toes|@Toe collar=@Shoulder shoulder=@UpperArm "
            "elbow=@LowerArm wrist=@Hand hand=@MiddleProximal",
        ),
        # The same names with the side behind, as VRM bones imported into Blender often have it.
        "Unity humanoid, side last": _sides(
            "pelvis=Hips spine1=Spine spine3=UpperChest|Chest spine2=Chest neck=Neck head=Head",
            "hip=UpperLeg.@|Upper_Leg.@ knee=LowerLeg.@ ankle=Foot.@ foot=Toes.@|Toe.@ collar=Shoulder.@ "
            "shoulder=UpperArm.@ elbow=LowerArm.@ wrist=Hand.@ hand=MiddleProximal.@",
            "L",
            "R",
        ),
        "CMU (ASF)": _sides(
            "pelvis=root|hips spine1=lowerback spine2=upperback spine3=thorax neck=lowerneck head=head",
            "hip=@femur knee=@tibia ankle=@foot foot=@toes collar=@clavicle shoulder=@humerus elbow=@radius "
            "wrist=@wrist hand=@hand|@fingers",
            "l",
            "r",
        ),
        "SMPL": _sides(
            "pelvis=pelvis spine1=spine1 spine2=spine2 spine3=spine3 neck=neck head=head",
            "hip=@hip knee=@knee ankle=@ankle foot=@foot collar=@collar shoulder=@shoulder elbow=@elbow wrist=@wrist "
            "hand=@hand|@middle1|@hand_middle1",
            "left",
            "right",
        ),
        "SMPL, short sides": _sides(
            "pelvis=pelvis spine1=spine1 spine2=spine2 spine3=spine3 neck=neck head=head",
            "hip=L_hip knee=L_knee ankle=L_ankle foot=L_foot|L_toe collar=L_collar shoulder=L_shoulder elbow=L_elbow "
            "wrist=L_wrist hand=L_hand|L_middle1".replace("L_", "@_"),
            "L",
            "R",
        ),
        "Biped": _sides(
            "pelvis=Bip01_Pelvis|Bip001_Pelvis spine1=Bip01_Spine|Bip001_Spine "
            "spine3=Bip01_Spine2|Bip001_Spine2|Bip01_Spine1|Bip001_Spine1 spine2=Bip01_Spine1|Bip001_Spine1 "
            "neck=Bip01_Neck|Bip001_Neck head=Bip01_Head|Bip001_Head",
            "hip=Bip01_@_Thigh|Bip001_@_Thigh knee=Bip01_@_Calf|Bip001_@_Calf ankle=Bip01_@_Foot|Bip001_@_Foot "
            "foot=Bip01_@_Toe0|Bip001_@_Toe0 collar=Bip01_@_Clavicle|Bip001_@_Clavicle "
            "shoulder=Bip01_@_UpperArm|Bip001_@_UpperArm elbow=Bip01_@_Forearm|Bip001_@_Forearm "
            "wrist=Bip01_@_Hand|Bip001_@_Hand hand=Bip01_@_Finger2|Bip001_@_Finger2",
            "L",
            "R",
        ),
    }
)
"""Shipped maps by rig: for each joint the names to look for, the first that is there wins."""
