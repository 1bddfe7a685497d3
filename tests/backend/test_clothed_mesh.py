"""The clothed mesh against what it is made of: closed, outside, coloured and weighted as the splats around it."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from backend.avatar import Avatar, ClothedMesh, clothed_mesh, joint_transforms, pose_gaussians, skin_vertices
from backend.avatar.gaussians import sh_from_rgb
from tests.synthetic import make_avatar, make_pose


@pytest.fixture(scope="module")
def avatar() -> Avatar:
    return make_avatar(20_000)


@pytest.fixture(scope="module")
def mesh(avatar: Avatar) -> ClothedMesh:
    return clothed_mesh(avatar)


def _nearest(points: np.ndarray, others: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    distance = np.linalg.norm(points[:, None] - others[None], axis=2)
    return distance.argmin(1), distance.min(1)


def test_it_is_closed_and_faces_outwards(mesh: ClothedMesh) -> None:
    edges = np.concatenate([mesh.faces[:, [0, 1]], mesh.faces[:, [1, 2]], mesh.faces[:, [2, 0]]])
    # Every edge is walked as often one way as the other: no rims.
    balance: dict[tuple[int, int], int] = {}
    for a, b in edges.tolist():
        key, step = ((a, b), 1) if a < b else ((b, a), -1)
        balance[key] = balance.get(key, 0) + step
    assert not any(balance.values())
    corners = mesh.vertices[mesh.faces].astype(np.float64)
    volume = (np.cross(corners[:, 0], corners[:, 1]) * corners[:, 2]).sum() / 6
    assert 0.01 < volume < 0.2  # positive: faces are counter-clockwise from outside
    assert np.isfinite(mesh.vertices).all()
    np.testing.assert_allclose(mesh.weights.sum(1), 1, atol=1e-5)


def test_its_vertices_lie_on_the_splats(avatar: Avatar, mesh: ClothedMesh) -> None:
    some = mesh.vertices[:: len(mesh.vertices) // 800]
    _, distance = _nearest(some, avatar.gaussians.position)
    assert np.median(distance) < 0.008
    assert np.percentile(distance, 95) < 0.03


def test_nothing_under_the_clothes_is_in_it(avatar: Avatar) -> None:
    """A second skin of splats two centimetres inside, of another colour, is not seen."""
    gaussians, skin = avatar.gaussians, avatar.skin
    count = len(gaussians)
    corners = avatar.body.surface_vertices[skin.vertex_ids].astype(np.float64)
    inward = -np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0])
    inward /= np.linalg.norm(inward, axis=1, keepdims=True)
    twice = {name: np.concatenate([getattr(skin, name)] * 2) for name in skin.__dataclass_fields__}
    red = np.tile(sh_from_rgb(np.array([1.0, 0.0, 0.0])), (count, 1))
    grey = np.tile(sh_from_rgb(np.array([0.5, 0.5, 0.5])), (count, 1))
    both = replace(
        gaussians,
        position=np.concatenate([gaussians.position, gaussians.position + 0.03 * inward]).astype(np.float32),
        rotation=np.concatenate([gaussians.rotation] * 2),
        scale=np.concatenate([gaussians.scale] * 2),
        opacity=np.concatenate([gaussians.opacity] * 2),
        sh_dc=np.concatenate([grey, red]).astype(np.float32),
    )
    mesh = clothed_mesh(replace(avatar, gaussians=both, skin=type(skin)(**twice)))
    redness = mesh.colours[:, 0] - mesh.colours[:, 1]
    assert np.mean(redness > 0.1) < 0.1


def test_colours_and_pose_are_the_splats(avatar: Avatar, mesh: ClothedMesh) -> None:
    rows = np.arange(0, len(mesh.vertices), len(mesh.vertices) // 600)
    nearest, distance = _nearest(mesh.vertices[rows], avatar.gaussians.position)
    rows, nearest = rows[distance < 0.006], nearest[distance < 0.006]
    pose = make_pose(2, 0.4)
    transforms = joint_transforms(pose, avatar.rest_joints, avatar.parents)
    posed = skin_vertices(mesh.vertices.astype(np.float64), mesh.weights, transforms, avatar.translation)[rows]
    splats = pose_gaussians(avatar, pose).position[nearest]
    assert np.percentile(np.linalg.norm(posed - splats, axis=1), 90) < 0.02


def test_it_is_deterministic(avatar: Avatar, mesh: ClothedMesh) -> None:
    again = clothed_mesh(avatar)
    for name in mesh.__dataclass_fields__:
        np.testing.assert_array_equal(getattr(again, name), getattr(mesh, name))
