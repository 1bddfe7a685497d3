"""Who a person is under the clothes: body, shape, pose."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import torch

from ....body.model import JOINT_INDEX, BodyModel, load_body, rotation_matrices
from ....body.poses import pose_from_directions
from ....rendering.triangles import vertex_normals
from .poses import NamedPose, choose, sample_pose, spread_arms, spread_legs

BODIES = {"male": 0.42, "female": 0.42, "child": 0.13, "neutral": 0.03}
_ALLOWED_DEPTH = 0.012
"""Metres that flesh may press into flesh, as it does."""


@dataclass(frozen=True)
class Identity:
    """Body and pose of a person.

    Attributes:
        body: name of the body file.
        betas: [10].
        pose: [24, 3] axis-angle; the pelvis' row in world axes.
        kind: of pose.
        age: 0 child, 1 adult, 2 old.
        finger_curl: radians by which fingers bend, left and right.
    """

    body: str
    betas: np.ndarray
    pose: np.ndarray
    kind: str
    age: int
    finger_curl: tuple[float, float]


@lru_cache(maxsize=16)
def body_model(name: str, device: str = "cpu") -> BodyModel:
    """A shipped body in float32 on ``device``."""
    body = load_body(name)
    moved = {
        key: value.to(device, torch.float32 if value.is_floating_point() else value.dtype)
        for key, value in vars(body).items()
        if isinstance(value, torch.Tensor)
    }
    return BodyModel(**{**vars(body), **moved})


@lru_cache(maxsize=1)
def _groups() -> dict[str, np.ndarray]:
    """Vertices of the body file that may run into each other, thinned."""
    joint = load_body("neutral").weights.numpy().argmax(1)

    def of(*names: str, stride: int = 3) -> np.ndarray:
        return np.nonzero(np.isin(joint, [JOINT_INDEX[n] for n in names]))[0][::stride]

    trunk = ("pelvis", "spine1", "spine2", "spine3", "left_hip", "right_hip", "left_knee", "right_knee")
    return {
        "left_arm": of("left_elbow", "left_wrist", "left_hand", stride=8),
        "right_arm": of("right_elbow", "right_wrist", "right_hand", stride=8),
        "trunk": np.concatenate([of(*trunk, stride=2), of("head", "neck", stride=8)]),
        "left_leg": of("left_knee", "left_ankle", "left_foot", stride=4),
        "right_leg": of("right_knee", "right_ankle", "right_foot", stride=4),
        "left_thigh": of("left_hip", stride=3),
        "right_thigh": of("right_hip", stride=3),
    }


def _depth(vertices: torch.Tensor, normals: torch.Tensor, part: np.ndarray, other: np.ndarray) -> float:
    """How deep (metres) vertices of ``part`` lie inside the surface of ``other``; minus the gap where none does."""
    points, surface = vertices[part], vertices[other]
    distance, nearest = torch.cdist(points, surface).min(1)
    ahead = ((points - surface[nearest]) * normals[other][nearest]).sum(-1)
    return float(torch.where((ahead > 0) | (distance > 0.15), -distance, -ahead).max())


@dataclass(frozen=True)
class Draft:
    """A body and pose as drawn, whose limbs may still run into each other: ``directions`` as in ``poses``; the rest is
    that of the identity."""

    body: str
    betas: np.ndarray
    kind: str
    directions: NamedPose
    age: int
    finger_curl: tuple[float, float]


def draw_identity(rng: np.random.Generator) -> Draft:
    """A random body and pose."""
    name = choose(rng, BODIES)
    betas = rng.normal(size=10).clip(-2.2, 2.2)
    kind, directions = sample_pose(rng)
    age = 0 if name == "child" else int(1 + (rng.random() < 0.2))
    return Draft(name, betas, kind, directions, age, tuple(rng.uniform(0.2, 1.5, 2)))


def settle_identity(draft: Draft, bulk: float = 0.0) -> Identity:
    """The draft with its limbs moved apart.

    Args:
        draft: from :func:`draw_identity`.
        bulk: metres of clothes on the trunk; arms are held that much further out.
    """
    directions = spread_arms(draft.directions, 1.5 * bulk, 1.5 * bulk)
    body = body_model(draft.body)
    shape = torch.as_tensor(draft.betas, dtype=torch.float32)
    groups = _groups()
    for _ in range(8):
        pose = pose_from_directions(directions)
        with torch.no_grad():
            vertices = body.pose(torch.as_tensor(pose, dtype=torch.float32), shape)[0]
            normals = vertex_normals(vertices, body.faces)
        allowed = _ALLOWED_DEPTH - bulk
        arms = [_depth(vertices, normals, groups[side + "_arm"], groups["trunk"]) for side in ("left", "right")]
        crossed = _depth(vertices, normals, groups["left_arm"], groups["right_arm"])
        legs = max(
            _depth(vertices, normals, groups["left_leg"], np.concatenate([groups["right_leg"], groups["right_thigh"]])),
            _depth(vertices, normals, groups["right_leg"], np.concatenate([groups["left_leg"], groups["left_thigh"]])),
        )
        if max(*arms, crossed) < allowed and legs < _ALLOWED_DEPTH:
            break
        left, right = (0.15 * (max(arm, crossed) > allowed) for arm in arms)
        directions = spread_arms(directions, left, right)
        if legs >= _ALLOWED_DEPTH:
            directions = spread_legs(directions, 0.05)
    return Identity(draft.body, draft.betas, pose, draft.kind, draft.age, draft.finger_curl)


def curl_fingers(vertices: torch.Tensor, joints: torch.Tensor, angles: tuple[float, float]) -> torch.Tensor:
    """Rest vertices [V, 3] of the body file with fingers bent along an arc, palms inward.

    Args:
        vertices: T-pose, metres; arms along x, palms down.
        joints: [24, 3].
        angles: radians from knuckle to tip, left and right hand.
    """
    out = vertices
    for side, name, angle in ((1.0, "left_hand", angles[0]), (-1.0, "right_hand", angles[1])):
        knuckle = joints[JOINT_INDEX[name]]
        length = 0.45 * (joints[JOINT_INDEX[name]] - joints[JOINT_INDEX[name.replace("hand", "wrist")]]).norm() + 0.035
        along = (out[:, 0] - knuckle[0]) * side
        bend = (along / length).clamp(0, 1.2) * angle
        curvature = angle / length
        up = out[:, 1] - knuckle[1]
        x = torch.sin(bend) / curvature + up * torch.sin(bend) + (along - 1.2 * length).clamp_min(0)
        y = (torch.cos(bend) - 1) / curvature + up * torch.cos(bend)
        bent = torch.stack([knuckle[0] + side * x, knuckle[1] + y, out[:, 2]], -1)
        out = torch.where((along > 0)[:, None], bent, out)
    return out


def pose_body(identity: Identity, pose: torch.Tensor, device: str) -> tuple[torch.Tensor, ...]:
    """Posed vertices [13492, 3], posed joints [24, 3] and skinning transforms [24, 3, 4], float32."""
    body = body_model(identity.body, device)
    shape = torch.as_tensor(identity.betas, dtype=torch.float32, device=device)
    vertices, joints = body.shaped(shape)
    rotations = rotation_matrices(pose.to(device, torch.float32))
    vertices = curl_fingers(vertices, joints, identity.finger_curl)
    transforms = body.joint_transforms(rotations, joints)
    moved = (transforms[:, :, :3] @ joints[..., None])[..., 0] + transforms[:, :, 3]
    return body.skin(vertices, transforms), moved, transforms
