"""SMPL-format body models: our own files, skinned by our own code."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from ..errors import BackendError
from ..options import BODIES

JOINT_NAMES = (
    "pelvis left_hip right_hip spine1 left_knee right_knee spine2 left_ankle right_ankle spine3 left_foot right_foot "
    "neck left_collar right_collar head left_shoulder right_shoulder left_elbow right_elbow left_wrist right_wrist "
    "left_hand right_hand"
).split()
JOINT_INDEX = {name: i for i, name in enumerate(JOINT_NAMES)}
JOINT_COUNT = 24
SHAPE_COMPONENTS = 10
DATA_FOLDER = Path(__file__).parent / "data"


def rotation_matrices(axis_angle: torch.Tensor) -> torch.Tensor:
    """Rotation matrices [..., 3, 3] of axis-angle vectors [..., 3] in radians (Rodrigues' formula)."""
    angle = (axis_angle.pow(2).sum(-1, keepdim=True) + 1e-16).sqrt()
    x, y, z = (axis_angle / angle).unbind(-1)
    zero = torch.zeros_like(x)
    skew = torch.stack([zero, -z, y, z, zero, -x, -y, x, zero], -1).reshape(*x.shape, 3, 3)
    sine, cosine = angle.sin()[..., None], angle.cos()[..., None]
    return torch.eye(3, dtype=axis_angle.dtype, device=axis_angle.device) + sine * skew + (1 - cosine) * skew @ skew


@dataclass(frozen=True)
class BodyModel:
    """A body with 24 joints and 10 shape components, in SMPL's format and axes; metres, float64.

    Attributes:
        name: e.g. ``anny-neutral``.
        licence: SPDX name or a sentence.
        template: [V, 3], T-pose.
        shape_directions: [V, 3, 10].
        pose_directions: [V, 3, 207] or None where all are zero.
        weights: [V, 24].
        joint_regressor: [24, V].
        parents: 24 parent indices, -1 first.
        faces: int64 [F, 3].
        keypoint_names, keypoint_regressor: [K, V] rows that give named landmarks from vertices.
        uv, uv_faces: [T, 2] and int64 [F, 3], or None.
    """

    name: str
    licence: str
    template: torch.Tensor
    shape_directions: torch.Tensor
    pose_directions: torch.Tensor | None
    weights: torch.Tensor
    joint_regressor: torch.Tensor
    parents: tuple[int, ...]
    faces: torch.Tensor
    keypoint_names: tuple[str, ...]
    keypoint_regressor: torch.Tensor
    uv: torch.Tensor | None = None
    uv_faces: torch.Tensor | None = None

    def shaped(self, betas: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Rest vertices [V, 3] and joints [24, 3] of a person with shape ``betas`` [10]."""
        vertices = self.template + self.shape_directions @ betas
        return vertices, self.joint_regressor @ vertices

    def joint_transforms(self, rotations: torch.Tensor, joints: torch.Tensor) -> torch.Tensor:
        """Skinning transforms [24, 3, 4] (rest to posed) of local ``rotations`` [24, 3, 3] about ``joints`` [24, 3]."""
        globals_: list[torch.Tensor] = []
        places: list[torch.Tensor] = []
        for joint, parent in enumerate(self.parents):
            if parent < 0:
                globals_.append(rotations[joint])
                places.append(joints[joint])
            else:
                globals_.append(globals_[parent] @ rotations[joint])
                places.append(places[parent] + globals_[parent] @ (joints[joint] - joints[parent]))
        turned, placed = torch.stack(globals_), torch.stack(places)
        return torch.cat([turned, (placed - (turned @ joints[..., None])[..., 0])[..., None]], -1)

    def skin(
        self, vertices: torch.Tensor, transforms: torch.Tensor, weights: torch.Tensor | None = None
    ) -> torch.Tensor:
        """Linear blend skinning of rest ``vertices`` [V, 3] by ``transforms`` [24, 3, 4]."""
        blended = torch.einsum("vj,jab->vab", self.weights if weights is None else weights, transforms)
        return (blended[:, :, :3] @ vertices[..., None])[..., 0] + blended[:, :, 3]

    def pose(self, pose: torch.Tensor, betas: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Posed vertices [V, 3] and joints [24, 3] for axis-angle ``pose`` [24, 3] and shape ``betas`` [10]."""
        vertices, joints = self.shaped(betas)
        rotations = rotation_matrices(pose)
        if self.pose_directions is not None:
            feature = (rotations[1:] - torch.eye(3, dtype=pose.dtype)).reshape(-1)
            vertices = vertices + self.pose_directions @ feature
        transforms = self.joint_transforms(rotations, joints)
        moved = (transforms[:, :, :3] @ joints[..., None])[..., 0] + transforms[:, :, 3]
        return self.skin(vertices, transforms), moved


def body_from_arrays(arrays: dict[str, np.ndarray], name: str, licence: str) -> BodyModel:
    """A :class:`BodyModel` from arrays with SMPL's keys and our ``keypoint_names`` and ``keypoint_regressor``."""

    def tensor(key: str) -> torch.Tensor:
        return torch.as_tensor(np.asarray(arrays[key], dtype=np.float64))

    correctives = np.asarray(arrays["posedirs"]) if "posedirs" in arrays else np.zeros(1)
    has_uv = "vt" in arrays and "ft" in arrays
    return BodyModel(
        name=name,
        licence=licence,
        template=tensor("v_template"),
        shape_directions=tensor("shapedirs")[..., :SHAPE_COMPONENTS],
        pose_directions=torch.as_tensor(correctives.astype(np.float64)) if np.any(correctives) else None,
        weights=tensor("weights"),
        joint_regressor=tensor("J_regressor"),
        parents=(-1, *(int(p) for p in np.asarray(arrays["kintree_table"])[0][1:])),
        faces=torch.as_tensor(np.asarray(arrays["f"]).astype(np.int64)),
        keypoint_names=tuple(str(n) for n in arrays["keypoint_names"]),
        keypoint_regressor=tensor("keypoint_regressor"),
        uv=tensor("vt") if has_uv else None,
        uv_faces=torch.as_tensor(np.asarray(arrays["ft"]).astype(np.int64)) if has_uv else None,
    )


def load_body(body: str | Path = "neutral") -> BodyModel:
    """Load a body by its shipped name (neutral, female, male, child) or from the user's own SMPL or SMPL-X file.

    Raises:
        BackendError: kind ``body_missing`` or ``body_unreadable``.
    """
    if str(body) in BODIES:
        path = DATA_FOLDER / f"{body}.npz"
        if not path.is_file():
            raise BackendError(
                "body_missing",
                f"The body file {path.name} is missing from the installation.",
                "Install HumanSplat again.",
            )
        try:
            with np.load(path, allow_pickle=False) as arrays:
                return body_from_arrays(dict(arrays), f"anny-{body}", "CC0-1.0")
        except Exception as error:  # whatever a damaged archive makes numpy say
            raise BackendError(
                "body_unreadable",
                f"The body file {path.name} of the installation is damaged.",
                "Install HumanSplat again.",
            ) from error
    from .licensed import load_licensed_body

    return load_licensed_body(Path(body))
