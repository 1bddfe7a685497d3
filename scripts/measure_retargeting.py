#!/usr/bin/env python3
"""How exactly BVH files are carried over to an avatar: bone map, worst direction of a limb, largest step of a joint.

.venvs/backend/bin/python scripts/measure_retargeting.py AVATAR_PACKAGE FILE.bvh...
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

import numpy as np

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from backend.avatar import MotionError, joint_transforms, load_avatar, retarget  # noqa: E402  (after the path)
from backend.avatar.bone_maps import JOINT_INDEX, find_map  # noqa: E402
from backend.avatar.bvh import read_bvh  # noqa: E402

LIMBS = tuple(
    (f"{side}_{start}", f"{side}_{end}")
    for side in ("left", "right")
    for start, end in (("shoulder", "elbow"), ("elbow", "wrist"), ("hip", "knee"), ("knee", "ankle"))
)


def main() -> None:
    """Read, retarget, compare limb by limb and frame by frame; print a line a file."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("package", type=Path)
    parser.add_argument("files", type=Path, nargs="+")
    arguments = parser.parse_args()
    avatar = load_avatar(arguments.package)
    rest = np.column_stack([avatar.rest_joints, np.ones(len(avatar.rest_joints))])
    for path in arguments.files:
        try:
            clip = read_bvh(path)
            bones = find_map(clip.names)
            motion = retarget(clip, avatar.rest_joints, avatar.parents, bones)
        except MotionError as error:
            print(f"{path.name}: {error}")
            continue
        posed = [joint_transforms(pose, avatar.rest_joints, avatar.parents) for pose in motion.poses]
        places = np.einsum("tjab,jb->tja", np.array(posed), rest)[..., :3]
        worst = 0.0
        for start, end in LIMBS:
            ends = (clip.names.index(bones.bones[joint]) for joint in (end, start))
            theirs = np.subtract(*(clip.positions[:, joint] for joint in ends))
            ours = places[:, JOINT_INDEX[end]] - places[:, JOINT_INDEX[start]]
            sine = np.linalg.norm(np.cross(theirs, ours), axis=1)
            worst = max(worst, float(np.degrees(np.arctan2(sine, (theirs * ours).sum(1))).max()))
        step = np.linalg.norm(np.diff(motion.poses, axis=0), axis=2).max() if len(motion) > 1 else 0.0
        print(
            f"{path.name}: {len(clip.names)} joints, {len(clip)} frames, map {bones.name}, worst limb direction "
            f"{worst:.4f} degrees, largest step of a joint {np.degrees(step):.1f} degrees a frame"
        )


if __name__ == "__main__":
    main()
