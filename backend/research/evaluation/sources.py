"""Where true people come from: the factory's test seeds, or a folder of 3D characters."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
import torch

from ...avatar import rotation_matrices
from ...body.poses import POSES, axis_angle, pose_from_directions
from ..training.figure import Figure
from ..training.person import build_person
from ..training.samples import Scene, facing, make_scene, split_seeds
from ..training.scans import ScanFolder
from .given import bent_pose
from .truth import Truth, make_truth

TARGET_POSES = ("walking", "arms_up", "relaxed", "lunge", "a_pose", "waving", "sitting", "arms_out")
"""Poses that avatars are put into, one a person in turn; written down by hand, none of them the photo's."""


@dataclass(frozen=True)
class FactorySource:
    """The first ``count`` people of the factory's test split."""

    count: int
    device: str = "cpu"

    @property
    def key(self) -> str:
        """Tells sources apart; how many people are measured changes nobody's result."""
        return "factory"

    def __len__(self) -> int:
        return self.count

    def other(self, index: int) -> int:
        """Number of somebody else."""
        return (index + 1) % len(split_seeds("test"))

    def name(self, index: int) -> str:
        """For tables and files."""
        return f"{split_seeds('test')[index]:04d}"

    def scene(self, index: int) -> Scene:
        """The person of a seed in its own pose."""
        seed = split_seeds("test")[index]
        return make_scene(seed, figure=build_person(seed, device=self.device).figure())

    def truth(self, index: int, size: int) -> Truth:
        """What the person is held to."""
        scene = self.scene(index)
        pose = target_pose(index, facing(scene.figure))
        reposed = build_person(scene.seed, device=self.device).figure(torch.as_tensor(pose))
        return make_truth(self.name(index), scene, size, reposed)

    def bent(self, index: int) -> Figure | None:
        """The person as further pictures of another moment show it."""
        person = build_person(split_seeds("test")[index], device=self.device)
        body = person.figure().body
        assert body is not None
        return person.figure(torch.as_tensor(bent_pose(body.pose.cpu().numpy())))


@dataclass(frozen=True)
class FolderSource:
    """The 3D characters of a folder, in the order of their names; they cannot be posed.

    Raises:
        BackendError: as ``training.scans.ScanFolder``, on first use.
    """

    folder: Path
    limit: int
    body_file: Path | None = None
    device: str = "cpu"

    @cached_property
    def _scans(self) -> ScanFolder:
        return ScanFolder(self.folder, self.body_file, self.device)

    @property
    def key(self) -> str:
        """Tells sources apart."""
        return f"{self.folder} {self.body_file}"

    def __len__(self) -> int:
        return min(self.limit, len(self._scans))

    def other(self, index: int) -> int:
        """Number of somebody else."""
        return (index + 1) % len(self._scans)

    def name(self, index: int) -> str:
        """For tables and files."""
        return "_".join(self._scans.paths[index].relative_to(self.folder).with_suffix("").parts)

    def scene(self, index: int) -> Scene:
        """The character as it stands, lit and photographed by its number's chance."""
        return make_scene(index, figure=self._scans(index))

    def truth(self, index: int, size: int) -> Truth:
        """What the character is held to."""
        return make_truth(self.name(index), self.scene(index), size)

    def bent(self, index: int) -> Figure | None:
        """Nobody: characters cannot be posed."""
        return None


Source = FactorySource | FolderSource


def target_pose(index: int, azimuth: float) -> np.ndarray:
    """The pose [24, 3] that person number ``index`` is put into, turned to face ``azimuth`` degrees as in the photo."""
    pose = pose_from_directions(POSES[TARGET_POSES[index % len(TARGET_POSES)]])
    turn = rotation_matrices(np.array([0.0, np.radians(azimuth), 0.0]))
    pose[0] = axis_angle(turn @ rotation_matrices(pose[0]))
    return pose
