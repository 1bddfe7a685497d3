"""A motion of any skeleton, as arrays: what files and armatures are read into before they are retargeted."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass

import numpy as np

from .motion import MotionError

MAX_JOINTS = 1024
"""Joints of one skeleton; the largest rigs in use (Rigify with a face) have about 800 bones."""


@dataclass(frozen=True, eq=False)
class Clip:
    """T frames of J joints or bones, in one world: metres, y up. Where it faces is the file's own.

    Attributes:
        names: J names, all different.
        parents: J indices, -1 for roots; parents come before their children.
        rest_positions: [J, 3] joints (bone heads) of the rest pose.
        rest_rotations: [J, 3, 3] axes of the bones in the rest pose, columns in the world.
        rotations: [T, J, 3, 3] axes of the bones in each frame, columns in the world.
        positions: [T, J, 3] joints in each frame.
        fps: frames a second.
        name: what to call it.
    """

    names: tuple[str, ...]
    parents: tuple[int, ...]
    rest_positions: np.ndarray
    rest_rotations: np.ndarray
    rotations: np.ndarray
    positions: np.ndarray
    fps: float
    name: str = "Motion"

    def __post_init__(self) -> None:
        """Raise MotionError where shapes, parents or numbers cannot be used."""
        joints, frames = len(self.names), len(self.rotations)
        if joints == 0 or frames == 0:
            raise MotionError("The motion has no frames." if joints else "The motion's skeleton has no joints.")
        if joints > MAX_JOINTS:
            raise MotionError(f"The skeleton has {joints} joints; at most {MAX_JOINTS} can be used.")
        if len(set(self.names)) != joints:
            raise MotionError("Two joints of the skeleton have the same name; rename one of them.")
        if len(self.parents) != joints or any(not -1 <= parent < i for i, parent in enumerate(self.parents)):
            raise MotionError("The skeleton's parents must be one index a joint, each before its children.")
        for what, shape in (
            ("rest_positions", (joints, 3)),
            ("rest_rotations", (joints, 3, 3)),
            ("rotations", (frames, joints, 3, 3)),
            ("positions", (frames, joints, 3)),
        ):
            array = getattr(self, what)
            if np.shape(array) != shape:
                raise MotionError(f"The motion's {what} have the shape {np.shape(array)}, expected {shape}.")
            if not np.isfinite(array).all():
                raise MotionError("The motion holds numbers that are not finite; export it again.")
        if not (np.isfinite(self.fps) and 0 < self.fps <= 1000):
            raise MotionError(f"The motion has {self.fps} frames a second; it must be between 0 and 1000.")

    def __len__(self) -> int:
        return len(self.rotations)

    def only(self, names: Collection[str]) -> Clip:
        """The clip with these joints alone, in the same order; a parent is the nearest ancestor that is left."""
        keep = [joint for joint, name in enumerate(self.names) if name in names]
        place = {joint: new for new, joint in enumerate(keep)}
        parents = []
        for joint in keep:
            parent = self.parents[joint]
            while parent >= 0 and parent not in place:
                parent = self.parents[parent]
            parents.append(place.get(parent, -1))
        return Clip(
            names=tuple(self.names[joint] for joint in keep),
            parents=tuple(parents),
            rest_positions=self.rest_positions[keep],
            rest_rotations=self.rest_rotations[keep],
            rotations=self.rotations[:, keep],
            positions=self.positions[:, keep],
            fps=self.fps,
            name=self.name,
        )


def frame_slice(frames: tuple[int, int] | None, count: int) -> tuple[int, int]:
    """The range start..stop of ``count`` frames that ``frames`` asks for; all where None.

    Raises:
        MotionError: the range is empty.
    """
    if count <= 0:
        raise MotionError("The motion has no frames.")
    if frames is None:
        return 0, count
    start, stop = max(0, int(frames[0])), min(count, int(frames[1]))
    if start >= stop:
        raise MotionError(f"The motion has the frames 0 to {count}; {frames[0]} to {frames[1]} holds none of them.")
    return start, stop
