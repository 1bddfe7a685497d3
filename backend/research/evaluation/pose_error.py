"""How far a fitted body is from a mannequin's true one."""

from __future__ import annotations

import math
from dataclasses import astuple, dataclass

import numpy as np
import torch
from scipy.spatial.transform import Rotation

from ...body.fit import BodyFit
from ...body.model import JOINT_INDEX, BodyModel
from ...photo import PreparedPhoto
from .mannequins import Mannequin


@dataclass(frozen=True)
class PoseError:
    """Errors of one fit.

    Attributes:
        joints: mean distance of the 24 joints with the pelvises laid on each other (MPJPE), mm.
        aligned: the same after the best similarity transform (PA-MPJPE), mm.
        root: angle between the pelvises' orientations, degrees.
        lean: how much further than in truth the trunk tilts forward, degrees.
        landmarks: mean reprojection error as the fit reports it, % of the person's size.
    """

    joints: float
    aligned: float
    root: float
    lean: float
    landmarks: float

    def __str__(self) -> str:
        return (
            f"MPJPE {self.joints:4.0f}  PA {self.aligned:4.0f} mm  root {self.root:4.1f}  lean {self.lean:+5.1f} deg  "
            f"2D {self.landmarks:.2f} %"
        )

    @staticmethod
    def mean(errors: list[PoseError]) -> PoseError:
        """Component-wise mean."""
        return PoseError(*np.mean([astuple(e) for e in errors], 0).tolist())


def align_similarity(source: np.ndarray, target: np.ndarray) -> np.ndarray:
    """``source`` [N, 3] moved onto ``target`` by the best rotation, scale and shift (Umeyama 1991, eq. 39 to 43)."""
    a, b = source - source.mean(0), target - target.mean(0)
    u, s, vt = np.linalg.svd(b.T @ a)
    signs = np.array([1.0, 1.0, np.sign(np.linalg.det(u @ vt))])
    scale = (s * signs).sum() / (a**2).sum()
    return scale * a @ (u * signs @ vt).T + target.mean(0)


def _forward_tilt(joints: np.ndarray, forward: np.ndarray) -> float:
    trunk = joints[JOINT_INDEX["neck"]] - joints[0]
    return math.degrees(math.asin(np.clip(trunk @ forward / np.linalg.norm(trunk), -1, 1)))


def pose_error(mannequin: Mannequin, body: BodyModel, fit: BodyFit, photo: PreparedPhoto) -> PoseError:
    """Compare ``fit`` of ``body`` with the truth."""
    with torch.no_grad():
        joints = body.pose(torch.as_tensor(fit.pose), torch.as_tensor(fit.betas))[1].numpy()
    truth = mannequin.joints
    root = Rotation.from_rotvec(mannequin.pose[0])
    # Forward is the true chest's, level.
    forward = root.apply([0, 0, 1.0])
    forward[1] = 0
    forward /= np.linalg.norm(forward)
    return PoseError(
        joints=1e3 * float(np.linalg.norm((joints - joints[0]) - (truth - truth[0]), axis=1).mean()),
        aligned=1e3 * float(np.linalg.norm(align_similarity(joints, truth) - truth, axis=1).mean()),
        root=math.degrees((Rotation.from_rotvec(fit.pose[0]) * root.inv()).magnitude()),
        lean=_forward_tilt(joints, forward) - _forward_tilt(truth, forward),
        landmarks=100 * fit.landmark_error / fit.person_size,
    )
