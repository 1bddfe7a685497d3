"""The naked body of the demo person: shaped, posed, standing on the floor."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from backend.avatar.skinning import joint_transforms, skin_vertices

BODIES = Path(__file__).resolve().parents[2] / "backend" / "body" / "data"
#: Metres that the shoes lift the person.
SOLE = 0.012
#: Shape components, in standard deviations.
BETAS = np.zeros(10)
#: Joint -> axis-angle, degrees: weight on the left leg, arms hanging free of the trunk, head turned a little.
POSE_DEGREES = {
    0: (0.0, 9.0, 0.0),
    1: (-2.0, 9.0, -1.0),
    2: (-9.0, -13.0, 0.0),
    4: (3.0, 0.0, 0.0),
    5: (13.0, 0.0, 0.0),
    7: (0.0, 4.0, 1.0),
    8: (-4.0, -4.0, 0.0),
    3: (2.0, -2.0, -1.0),
    6: (1.0, -2.0, 1.0),
    9: (0.0, -2.0, 0.0),
    12: (0.0, -4.0, 0.0),
    15: (1.0, -7.0, 2.0),
    13: (0.0, 0.0, -6.0),
    14: (0.0, 0.0, 5.0),
    16: (6.0, -3.0, -63.0),
    17: (4.0, 6.0, 61.0),
    18: (0.0, -22.0, 0.0),
    19: (0.0, 32.0, 0.0),
    20: (12.0, 0.0, -4.0),
    21: (16.0, 0.0, 4.0),
    22: (0.0, -4.0, -32.0),
    23: (0.0, 4.0, 34.0),
}


@dataclass(frozen=True)
class Figure:
    """A posed body; metres, y up, x to the person's left, z out of the chest.

    Attributes:
        rest: [V, 3] T-pose vertices, by which garments, hairline and face are laid out.
        posed: [V, 3], standing.
        faces: [F, 3] of the skin alone.
        eyes: for each eye (rest centre, radius).
        head: [4, 4] transform of the head, rest to posed.
        transforms: [24, 4, 4] rest to posed.
    """

    rest: np.ndarray
    posed: np.ndarray
    faces: np.ndarray
    eyes: tuple[tuple[np.ndarray, float], ...]
    head: np.ndarray
    transforms: np.ndarray


def make_figure(body: str = "male", above_floor: float = SOLE) -> Figure:
    """The demo person without clothes, the lowest point ``above_floor`` metres high."""
    with np.load(BODIES / f"{body}.npz", allow_pickle=False) as data:
        rest = (data["v_template"] + data["shapedirs"] @ BETAS).astype(float)
        faces = data["f"].astype(int)
        weights = data["weights"].astype(float)
        joints = data["J_regressor"].astype(float) @ rest
        parents = (-1, *(int(p) for p in data["kintree_table"][0][1:]))
    pose = np.zeros((24, 3))
    for joint, angles in POSE_DEGREES.items():
        pose[joint] = np.radians(angles)
    transforms = np.asarray(joint_transforms(pose, joints, parents))
    posed = np.asarray(skin_vertices(rest, weights, transforms))
    drop = np.eye(4)
    drop[1, 3] = above_floor - posed[:, 1].min()
    transforms = drop @ transforms
    posed = posed + drop[:3, 3]
    part = _components(faces, len(rest))
    sizes = np.bincount(part)
    skin = sizes.argmax()
    eyes = []
    for eye in np.flatnonzero((sizes > 0) & (np.arange(len(sizes)) != skin)):
        ball = rest[part == eye]
        centre = (ball.min(0) + ball.max(0)) / 2
        eyes.append((centre, float(np.linalg.norm(ball - centre, axis=1).max())))
    return Figure(rest, posed, faces[part[faces[:, 0]] == skin], tuple(eyes), transforms[15], transforms)


def _components(faces: np.ndarray, count: int) -> np.ndarray:
    """Label [V] of each vertex' connected part: the smallest vertex index in it."""
    label = np.arange(count)
    while True:
        least = label[faces].min(1)
        before = label.copy()
        for corner in range(3):
            np.minimum.at(label, faces[:, corner], least)
        label = label[label]
        if np.array_equal(label, before):
            return label


def vertex_normals(vertices: np.ndarray, faces: np.ndarray) -> np.ndarray:
    """Unit normals [V, 3], weighted by area; zero for vertices without faces."""
    a, b, c = (vertices[faces[:, k]] for k in range(3))
    flat = np.cross(b - a, c - a)
    total = np.zeros_like(vertices)
    for corner in range(3):
        np.add.at(total, faces[:, corner], flat)
    return total / np.maximum(np.linalg.norm(total, axis=1, keepdims=True), 1e-12)


def move(transform: np.ndarray, points: np.ndarray) -> np.ndarray:
    """Apply a [4, 4] transform to points [N, 3]."""
    return points @ transform[:3, :3].T + transform[:3, 3]
