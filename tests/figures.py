"""Figures for the tests of the factory: simple solids, and a shipped body with painted clothes."""

from __future__ import annotations

import numpy as np
import torch

from backend.body.model import load_body
from backend.research.evaluation.mannequins import POSES, pose_from_directions
from backend.research.training.figure import PART_INDEX, Figure, Surface, TrueBody


def figure_from(
    vertices: torch.Tensor,
    faces: torch.Tensor,
    albedo: torch.Tensor | None = None,
    part: torch.Tensor | None = None,
    *,
    two_sided: bool = False,
    gloss: float = 0.0,
    body: TrueBody | None = None,
) -> Figure:
    """A figure of plain colours: ``albedo`` [V, 3] per vertex (grey by default), smooth normals."""
    vertices = vertices.float()
    a, b, c = (vertices[faces[:, k]] for k in range(3))
    face_normal = torch.linalg.cross(b - a, c - a)
    normals = torch.zeros_like(vertices)
    for k in range(3):
        normals.index_add_(0, faces[:, k], face_normal)
    colours = torch.full_like(vertices, 0.5) if albedo is None else albedo.float()

    def material(face: torch.Tensor, corners: torch.Tensor) -> Surface:
        return Surface(corners, torch.full_like(corners[:, 0], gloss))

    return Figure(
        vertices=vertices,
        normals=torch.nn.functional.normalize(normals, dim=1),
        faces=faces,
        corners=colours[faces],
        part=torch.full((len(faces),), PART_INDEX["torso"]) if part is None else part,
        two_sided=torch.full((len(faces),), two_sided),
        material=material,
        body=body,
    )


def cube(centre: tuple[float, float, float], side: float) -> tuple[torch.Tensor, torch.Tensor]:
    """Vertices [8, 3] and outward faces [12, 3]; vertex 4 x + 2 y + z with each of x, y, z 0 or 1."""
    grid = torch.cartesian_prod(*(torch.tensor([-0.5, 0.5]),) * 3)
    quads = torch.tensor([[0, 1, 3, 2], [4, 6, 7, 5], [0, 4, 5, 1], [2, 3, 7, 6], [0, 2, 6, 4], [1, 5, 7, 3]])
    faces = torch.cat([quads[:, [0, 1, 2]], quads[:, [0, 2, 3]]])
    return grid * side + torch.tensor(centre), faces


def mannequin_figure(pose_name: str = "walking", seed: int = 0, body_name: str = "neutral") -> Figure:
    """The shipped body, standing on the ground in a named pose, with painted hair, shirt, trousers and shoes."""
    body = load_body(body_name)
    rng = np.random.default_rng(seed)
    pose = torch.as_tensor(pose_from_directions(POSES[pose_name]))
    betas = torch.as_tensor(rng.normal(size=10) * 0.7)
    vertices, joints = body.pose(pose, betas)
    translation = -torch.stack([joints[0, 0], vertices[:, 1].min(), joints[0, 2]])
    main = body.weights.argmax(1)
    part_of_joint = torch.tensor(
        [3, 6, 6, 3, 6, 6, 3, 7, 7, 3, 7, 7, 1, 3, 3, 1, 4, 4, 4, 4, 5, 5, 5, 5], dtype=torch.int64
    )
    part = part_of_joint[main]
    top = body.template[:, 1].max()
    part[(part == 1) & (body.template[:, 1] > top - 0.09)] = 2
    palette = torch.as_tensor(rng.uniform(0.08, 0.6, (8, 3)))
    palette[1] = palette[5] = torch.tensor([0.6, 0.38, 0.28])
    palette[4], palette[2] = palette[3], palette[2] * 0.2
    return figure_from(
        vertices + translation,
        body.faces,
        palette[part],
        part[body.faces].mode(1).values,
        gloss=0.1,
        body=TrueBody(body_name, betas, pose, translation, joints + translation),
    )
