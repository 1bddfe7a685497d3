"""One entry point that reads a motion file for an avatar. numpy and the standard library only."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from .amass import read_amass
from .bone_maps import JOINT_PARENTS, BoneMap
from .bvh import read_bvh
from .motion import Motion, MotionError
from .retarget import RetargetOptions, retarget

SUFFIXES = (".npz", ".bvh")


@dataclass(frozen=True)
class MotionOptions:
    """How a motion file is read; the defaults find everything by themselves.

    Attributes:
        up: the file's upward axis: ``auto``, ``y`` or ``z``; for ``.npz`` also ``-y``.
        scale: metres in the file's unit (BVH).
        fps: frames a second, against what the file says.
        frames: (start, stop), a part of the file.
        bone_map: which bones are which joints (BVH).
        retarget: root motion, ground and reference frame.
    """

    up: str = "auto"
    scale: float | None = None
    fps: float | None = None
    frames: tuple[int, int] | None = None
    bone_map: BoneMap | None = None
    retarget: RetargetOptions = field(default_factory=RetargetOptions)


def read_motion(
    path: str | Path,
    rest_joints: np.ndarray,
    parents: Sequence[int] = JOINT_PARENTS,
    options: MotionOptions | None = None,
) -> Motion:
    """Read a motion for a body: ``.npz`` of AMASS, SMPL, SMPL-H or SMPL-X, or ``.bvh`` of any skeleton.

    Args:
        path: the file; its suffix says what it is.
        rest_joints: [24, 3] metres, the avatar's.
        parents: 24 indices, the avatar's.
        options: None for the defaults.

    Raises:
        MotionError: with one sentence about what is wrong and what to do, for everything that the file may hold.
    """
    path = Path(path)
    options = options or MotionOptions()
    suffix = path.suffix.lower()
    if suffix in (".fbx", ".glb", ".gltf", ".vrm", ".dae", ".usd"):
        raise MotionError(f"{path.name}: import it with Blender, then choose its armature as the source.")
    if suffix in (".pkl", ".pickle", ".npy", ".pt"):
        raise MotionError(f"{path.name}: pickles and bare arrays are not read; save it with numpy.savez (.npz).")
    if suffix not in SUFFIXES:
        raise MotionError(f"{path.name}: motions are read from .npz (AMASS, SMPL) and .bvh files.")
    if not path.is_file():
        raise MotionError(f"There is no file {path}.")
    try:
        if suffix == ".npz":
            motion = _with_root(
                read_amass(path, up=options.up, fps=options.fps, frames=options.frames, floor=_floor(options)),
                options.retarget.root,
            )
        else:
            clip = read_bvh(
                path,
                up=options.up,
                scale=options.scale,
                frames=options.frames,
                bone_map=options.bone_map,
                mapped_only=True,
            )
            motion = retarget(clip, rest_joints, parents, options.bone_map, options.retarget)
    except MemoryError as error:
        raise MotionError(f"{path.name} is too long for the memory at hand; read a part of its frames.") from error
    if options.fps is not None and motion.fps != options.fps:
        motion = Motion(motion.poses, motion.translation, options.fps, motion.leg_length, motion.name)
    return motion


def _floor(options: MotionOptions) -> float | None:
    return 0.0 if options.retarget.ground == "file" else None


def _with_root(motion: Motion, root: str) -> Motion:
    if root == "scaled":
        return motion
    translation = motion.translation.copy()
    translation[:, [0, 2] if root == "in_place" else [0, 1, 2]] = 0
    return Motion(motion.poses, translation, motion.fps, motion.leg_length, motion.name)
