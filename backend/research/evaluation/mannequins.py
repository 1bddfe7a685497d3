"""Rendered people of known pose: what the prepare and body stages are measured and tested on.

A mannequin is one of the shipped bodies in a hand-written pose, painted so that it reads as a person (hair, face,
shirt, trousers, shoes) and lit by one lamp. Nothing here comes from a photo, so the pictures may be shown and shipped.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import cv2
import numpy as np
import torch
from scipy.spatial.transform import Rotation

from ...avatar.meshes import vertex_normals
from ...body.model import JOINT_INDEX, BodyModel
from ...body.poses import POSES, pose_from_directions
from ...rendering.mesh import rasterize_mesh


@dataclass(frozen=True)
class Mannequin:
    """A rendered person and everything that is true of it. Camera space, OpenCV axes, metres.

    Attributes:
        name: of the pose.
        rgb: uint8 [S, S, 3].
        mask: bool [S, S], where the body is.
        pose: [24, 3] axis-angle; the pelvis' row in camera axes.
        betas: [10].
        translation: [3].
        joints: [24, 3].
        keypoints: [K, 3], the body's named keypoints.
        focal: pixels; the principal point is the picture's centre.
        yaw: degrees that the person is turned to their left of facing the camera.
    """

    name: str
    rgb: np.ndarray
    mask: np.ndarray
    pose: np.ndarray
    betas: np.ndarray
    translation: np.ndarray
    joints: np.ndarray
    keypoints: np.ndarray
    focal: float
    yaw: float

    def pixels(self, points: np.ndarray) -> np.ndarray:
        """Pixels [N, 2] of camera-space ``points`` [N, 3]."""
        return points[:, :2] / points[:, 2:] * self.focal + self.rgb.shape[0] / 2


_PERTURBATION = {"pelvis": 0.05, "spine": 0.04, "collar": 0.03, "foot": 0.02, "ankle": 0.05, "knee": 0.04, "hand": 0.05}
_SKINS = ((0.93, 0.76, 0.65), (0.85, 0.65, 0.52), (0.62, 0.44, 0.33), (0.42, 0.28, 0.21))
_HAIRS = ((0.12, 0.08, 0.06), (0.04, 0.03, 0.03), (0.3, 0.19, 0.1), (0.62, 0.48, 0.27))


def make_mannequin(
    body: BodyModel,
    pose_name: str,
    yaw: float,
    seed: int,
    *,
    size: int = 768,
    fill: float = 0.78,
    betas_spread: float = 0.8,
    roll: float = 0.0,
) -> Mannequin:
    """Render the body in the pose ``pose_name`` of :data:`POSES`, slightly perturbed.

    Args:
        body: a shipped body (its keypoints place the face).
        pose_name: key of :data:`POSES`.
        yaw: degrees; 0 faces the camera, 90 shows the right side.
        seed: decides the perturbation, the shape, the clothes, the camera and the lamp.
        size: pixels of the square picture.
        fill: share of the picture that the longer side of the person takes.
        betas_spread: standard deviation of the shape components.
        roll: degrees by which the picture is turned; 90 makes a standing person lie.
    """
    rng = np.random.default_rng(seed)
    pose = pose_from_directions(POSES[pose_name])
    for name, joint in JOINT_INDEX.items():
        spread = next((s for part, s in _PERTURBATION.items() if part in name), 0.08)
        noise = Rotation.from_rotvec(rng.normal(size=3) * spread)
        pose[joint] = (Rotation.from_rotvec(pose[joint]) * noise).as_rotvec()
    betas = rng.normal(size=body.shape_directions.shape[-1]) * betas_spread
    pitch = math.radians(rng.uniform(-2, 8))
    to_camera = (
        Rotation.from_euler("z", roll, degrees=True)
        * Rotation.from_euler("x", -pitch)
        * Rotation.from_matrix(np.diag([1.0, -1.0, -1.0]))
        * Rotation.from_euler("y", yaw, degrees=True)
    )
    pose[0] = (to_camera * Rotation.from_rotvec(pose[0])).as_rotvec()
    with torch.no_grad():
        posed, joints = (v.numpy() for v in body.pose(torch.as_tensor(pose), torch.as_tensor(betas)))
        rest = body.template.numpy()
    low, high = posed.min(0), posed.max(0)
    focal = 0.5 * size / math.tan(math.radians(rng.uniform(28, 50)) / 2)
    distance = float((high - low)[:2].max()) * focal / (fill * size) + 0.5 * (high - low)[2]
    translation = np.array([0, 0, distance]) - (low + high) / 2
    posed, joints = posed + translation, joints + translation
    rgb, mask = _render(body, rest, posed, focal, size, rng)
    return Mannequin(
        name=pose_name,
        rgb=rgb,
        mask=mask,
        pose=pose,
        betas=betas,
        translation=translation,
        joints=joints,
        keypoints=body.keypoint_regressor.numpy() @ posed,
        focal=focal,
        yaw=yaw,
    )


def _render(
    body: BodyModel, rest: np.ndarray, posed: np.ndarray, focal: float, size: int, rng: np.random.Generator
) -> tuple[np.ndarray, np.ndarray]:
    """uint8 picture [S, S, 3] and mask bool [S, S], four samples a pixel."""
    faces = body.faces.numpy()
    hits = rasterize_mesh(posed, faces, 2 * focal, (2 * size, 2 * size))
    seen = hits.face >= 0
    corners, weights = faces[hits.face[seen]], hits.barycentric[seen][..., None]
    normal = (vertex_normals(posed, faces)[corners] * weights).sum(1)
    colour = _paint(body, (rest[corners] * weights).sum(1), rng)
    lamp = np.array([rng.uniform(-0.6, 0.6), -0.7, -0.8])
    lamp /= np.linalg.norm(lamp)
    light = 0.5 + 0.5 * (normal @ lamp).clip(0)
    top, bottom = rng.uniform(0.35, 0.95, 3), rng.uniform(0.35, 0.95, 3)
    ramp = np.linspace(0, 1, 2 * size)[:, None, None]
    image = np.broadcast_to(top * (1 - ramp) + bottom * ramp, (2 * size, 2 * size, 3)).copy()
    image[seen] = colour * light[:, None]
    image += rng.normal(size=image.shape) * 0.02
    small = cv2.resize(image.astype(np.float32), (size, size), interpolation=cv2.INTER_AREA)
    mask = cv2.resize(seen.astype(np.float32), (size, size), interpolation=cv2.INTER_AREA) > 0.5
    return (small.clip(0, 1) * 255).round().astype(np.uint8), mask


def _paint(body: BodyModel, at: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Colours [N, 3] in 0..1 of rest-pose points ``at`` [N, 3] of the mean shape."""
    keypoints = dict(zip(body.keypoint_names, body.keypoint_regressor.numpy() @ body.template.numpy()))
    joints = dict(zip(JOINT_INDEX, body.joint_regressor.numpy() @ body.template.numpy()))
    tone = rng.integers(len(_SKINS))
    # Dark skin under light hair reads as the back of a head.
    skin, hair = np.array(_SKINS[tone]), np.array(_HAIRS[rng.integers(2 if tone > 1 else len(_HAIRS))])
    shirt, trousers, shoes = (rng.uniform(0.05, 0.95, 3) for _ in range(3))
    sleeve = joints["left_shoulder"][0] + rng.uniform(0.1, 0.45)
    hem = joints["left_ankle"][1] + (0.05 if rng.random() < 0.7 else 0.36)
    x, y, z = np.abs(at[:, 0]), at[:, 1], at[:, 2]
    out = np.tile(skin, (len(at), 1))
    out[(y < joints["neck"][1] - 0.015) & (x < sleeve) & (y > joints["left_hip"][1] + 0.09)] = shirt
    leg = (y <= joints["left_hip"][1] + 0.09) & (x < joints["left_elbow"][0])
    out[leg & (y > hem)] = trousers
    out[leg & (y < joints["left_ankle"][1] + 0.01)] = shoes
    eye, nose, ear = keypoints["left_eye"], keypoints["nose"], keypoints["left_ear"]
    up = eye[1] - nose[1]
    on_head = y > nose[1] - 3 * up
    out[on_head & ((y > eye[1] + 1.6 * up) | (z < ear[2] + 0.005) & (y > nose[1] - 1.5 * up))] = hair
    front = on_head & (z > ear[2])
    dx, dy = x - eye[0], y - eye[1]
    out[front & ((dx / 0.016) ** 2 + (dy / 0.009) ** 2 < 1)] = (0.95, 0.95, 0.95)
    out[front & (dx**2 + dy**2 < 0.007**2)] = (0.1, 0.07, 0.05)
    out[front & (np.abs(dx) < 0.022) & (np.abs(dy - 0.02) < 0.004)] = 0.4 * skin
    mouth = nose[1] - 1.05 * up
    out[front & ((x / 0.024) ** 2 + ((y - mouth) / 0.008) ** 2 < 1)] = 0.55 * skin + (0.25, 0.0, 0.02)
    out[front & (np.abs(x - 0.008) < 0.004) & (np.abs(y - nose[1] + 0.012) < 0.003)] = 0.5 * skin
    return out
