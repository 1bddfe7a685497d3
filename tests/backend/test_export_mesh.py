"""The exported mesh: closed, unfolded, skinned and textured as the splats; and what its parts do on their own."""

from __future__ import annotations

import io
import sys
from collections.abc import Callable, Iterator
from dataclasses import replace

import numpy as np
import pytest
import torch
from PIL import Image
from scipy.spatial import cKDTree

from backend.avatar import (
    Avatar,
    bind_to_surface,
    pose_gaussians,
    quaternion,
    standing_translation,
    triangle_frames,
)
from backend.avatar.formats.types import ExportError, TexturedMesh
from backend.errors import Cancelled
from backend.export import looks as looks_module
from backend.export import mesh as mesh_module
from backend.export.manifold import folded, is_closed, make_manifold, unfold
from backend.export.mesh import textured_mesh
from backend.export.simplify import carried_over, simplified
from tests.synthetic import make_avatar

TRIANGLES, TEXTURE = 4_000, 768

CUBE = np.array([(x, y, z) for x in (0, 1) for y in (0, 1) for z in (0, 1)], dtype=np.float64)
CUBE_FACES = np.array(
    [[0, 1, 3], [0, 3, 2], [4, 6, 7], [4, 7, 5], [0, 4, 5], [0, 5, 1], [2, 3, 7], [2, 7, 6], [0, 2, 6], [0, 6, 4],
     [1, 5, 7], [1, 7, 3]]
)  # fmt: skip


@pytest.fixture(scope="module")
def avatar() -> Avatar:
    """Splats that lie flat on the surface and hide it, as those of reconstructed avatars do."""
    made = make_avatar(30_000)
    body, triangles = made.body, made.skin.vertex_ids
    frames, _ = triangle_frames(body.surface_vertices.astype(np.float64), triangles)
    count = len(triangles)
    gaussians = replace(
        made.gaussians,
        rotation=quaternion.from_matrix(frames).astype(np.float32),
        scale=np.tile(np.float32([0.004, 0.004, 0.0005]), (count, 1)),
        opacity=np.full(count, 0.97, dtype=np.float32),
    )
    bound = bind_to_surface(gaussians, body.surface_vertices, triangles, body.reference_triangles)
    names = ("vertex_ids", "barycentric", "offset", "rotation")
    return replace(made, gaussians=gaussians, skin=replace(made.skin, **dict(zip(names, bound))))


@pytest.fixture(scope="module", autouse=True)
def quick() -> Iterator[None]:
    """Coarse voxels and pictures, and no threads that wait for each other on a busy machine."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(mesh_module, "VOXEL", 0.016)
        patch.setattr(looks_module, "SIZE", 256)
        yield
    torch.set_num_threads(threads)


@pytest.fixture(scope="module")
def mesh(avatar: Avatar, quick: None) -> TexturedMesh:
    return textured_mesh(avatar, TRIANGLES, TEXTURE)


def _volume(vertices: np.ndarray, faces: np.ndarray) -> float:
    corners = vertices[faces].astype(np.float64)
    return float((np.cross(corners[:, 0], corners[:, 1]) * corners[:, 2]).sum() / 6)


def _welded(mesh: TexturedMesh) -> np.ndarray:
    """Faces with the copies of each vertex made one again."""
    rows = np.concatenate([mesh.vertices, mesh.normals], axis=1)
    _, corners = np.unique(rows, axis=0, return_inverse=True)
    return corners.reshape(-1)[mesh.faces]


def _sphere(count: int = 24) -> tuple[np.ndarray, np.ndarray]:
    """A closed sphere of radius 1 with about 2 count^2 triangles."""
    rings = np.linspace(0, np.pi, count + 1)[1:-1]
    around = np.arange(2 * count) * np.pi / count
    ring = np.stack(np.broadcast_arrays(
        np.sin(rings)[:, None] * np.cos(around), np.cos(rings)[:, None], -np.sin(rings)[:, None] * np.sin(around)
    ), axis=2)  # fmt: skip
    vertices = np.concatenate([ring.reshape(-1, 3), [[0, 1, 0], [0, -1, 0]]])
    grid = np.arange(len(rings) * 2 * count).reshape(len(rings), -1)
    after = np.roll(grid, -1, axis=1)
    top, bottom = np.full_like(grid[0], len(vertices) - 2), np.full_like(grid[0], len(vertices) - 1)
    faces = [
        np.stack([grid[:-1], grid[1:], after[1:]], -1).reshape(-1, 3),
        np.stack([grid[:-1], after[1:], after[:-1]], -1).reshape(-1, 3),
        np.stack([top, grid[0], after[0]], -1),
        np.stack([bottom, after[-1], grid[-1]], -1),
    ]
    return vertices, np.concatenate(faces)


def test_it_is_closed_and_has_as_many_triangles_as_asked_for(mesh: TexturedMesh) -> None:
    assert abs(len(mesh.faces) - TRIANGLES) <= 0.02 * TRIANGLES
    faces = _welded(mesh)
    ahead: dict[tuple[int, int], int] = {}
    for a, b in np.concatenate([faces[:, [0, 1]], faces[:, [1, 2]], faces[:, [2, 0]]]).tolist():
        ahead[a, b] = ahead.get((a, b), 0) + 1
    assert all(times == 1 and ahead.get((b, a)) == 1 for (a, b), times in ahead.items())
    assert 0.01 < _volume(mesh.vertices, mesh.faces) < 0.2


def test_no_triangle_is_flat_or_turned_over(mesh: TexturedMesh) -> None:
    corners = mesh.vertices[mesh.faces].astype(np.float64)
    normal = np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0])
    area = 0.5 * np.linalg.norm(normal, axis=1)
    assert area.min() > 1e-10
    np.testing.assert_allclose(np.linalg.norm(mesh.normals, axis=1), 1, atol=1e-4)
    agreement = np.einsum("fi,fci->fc", normal / (2 * area[:, None]), mesh.normals[mesh.faces]).mean(1)
    assert agreement.min() > 0


def test_it_stands_on_the_ground_on_the_splats(avatar: Avatar, mesh: TexturedMesh) -> None:
    assert abs(mesh.vertices[:, 1].min()) < 0.03
    splats = pose_gaussians(avatar, np.zeros((24, 3)), standing_translation(avatar))
    distance, _ = cKDTree(splats.position).query(mesh.vertices)
    assert np.median(distance) < 0.012


def test_weights_are_those_of_the_splats(avatar: Avatar, mesh: TexturedMesh) -> None:
    assert mesh.joints.shape == mesh.weights.shape == (len(mesh.vertices), 4)
    assert mesh.joints.dtype == np.uint8 and mesh.joints.max() < 24
    assert mesh.weights.dtype == np.float32 and mesh.weights.min() >= 0
    np.testing.assert_allclose(mesh.weights.sum(1), 1, atol=1e-6)
    assert (np.diff(mesh.weights, axis=1) <= 0).all()
    places = avatar.gaussians.position + standing_translation(avatar)
    _, nearest = cKDTree(places).query(mesh.vertices)
    ours, theirs = np.zeros((2, len(mesh.vertices), 24))
    rows = np.arange(len(mesh.vertices))[:, None]
    np.add.at(ours, (rows, mesh.joints), mesh.weights)
    np.add.at(theirs, (rows, avatar.skin.joint_ids[nearest]), avatar.skin.joint_weights[nearest])
    assert np.median(np.abs(ours - theirs).sum(1)) < 0.2


def test_charts_lie_in_the_picture_and_do_not_overlap(mesh: TexturedMesh) -> None:
    assert mesh.uv.min() >= 0 and mesh.uv.max() <= 1
    size = 1024
    count = np.zeros((size, size), dtype=np.int32)
    for triangle in (mesh.uv.astype(np.float64) * size)[mesh.faces]:
        low = np.floor(triangle.min(0)).astype(int)
        high = np.ceil(triangle.max(0)).astype(int)
        y, x = np.mgrid[low[1] : high[1], low[0] : high[0]] + 0.5
        (ax, ay), (bx, by) = triangle[1] - triangle[0], triangle[2] - triangle[0]
        area = ax * by - ay * bx
        if abs(area) < 1e-9:
            continue
        px, py = x - triangle[0, 0], y - triangle[0, 1]
        second, third = (px * by - py * bx) / area, (ax * py - ay * px) / area
        # Well inside: neighbours share their edges.
        inside = (second > 1e-3) & (third > 1e-3) & (second + third < 1 - 1e-3)
        count[low[1] : high[1], low[0] : high[0]] += inside
    assert (count > 0).mean() > 0.4
    assert (count > 1).sum() <= 1e-3 * (count > 0).sum()


def test_colours_are_those_of_the_splats(avatar: Avatar, mesh: TexturedMesh) -> None:
    with Image.open(io.BytesIO(mesh.texture)) as file:
        assert file.format == "PNG" and file.mode == "RGB" and file.size == (TEXTURE, TEXTURE)
        texture = np.asarray(file, dtype=np.float64) / 255
    column, row = (mesh.uv[mesh.faces].mean(1) * TEXTURE).astype(int).clip(0, TEXTURE - 1).T
    middle = mesh.vertices[mesh.faces].mean(1)
    places = avatar.gaussians.position + standing_translation(avatar)
    distance, nearest = cKDTree(places).query(middle, k=8)
    close = distance[:, 0] < 0.01
    expected = avatar.gaussians.rgb.clip(0, 1)[nearest].mean(1)
    assert close.mean() > 0.5
    assert np.median(np.abs(texture[row, column] - expected)[close]) < 0.08
    assert np.percentile(np.abs(texture[row, column] - expected)[close].max(1), 90) < 0.35


def test_it_is_deterministic_tells_progress_and_can_be_cancelled(avatar: Avatar, mesh: TexturedMesh) -> None:
    told: list[float] = []
    again = textured_mesh(avatar, TRIANGLES, TEXTURE, told.append)
    for name in ("vertices", "normals", "faces", "uv", "joints", "weights"):
        np.testing.assert_array_equal(getattr(again, name), getattr(mesh, name))
    assert again.texture == mesh.texture
    assert told == sorted(told) and told[0] == 0 and told[-1] == 1
    with pytest.raises(Cancelled):
        textured_mesh(avatar, TRIANGLES, TEXTURE, cancelled=lambda: True)


def test_numbers_out_of_range_are_refused(avatar: Avatar) -> None:
    with pytest.raises(ExportError, match="triangles"):
        textured_mesh(avatar, 10)
    with pytest.raises(ExportError, match="pixels"):
        textured_mesh(avatar, texture=16)


@pytest.mark.parametrize("package", ["fast_simplification", "xatlas"])
def test_a_missing_package_is_named(monkeypatch: pytest.MonkeyPatch, package: str) -> None:
    from backend.export.atlas import unwrap

    monkeypatch.setitem(sys.modules, package, None)
    parts = np.zeros(len(CUBE_FACES), dtype=int)
    calls: dict[str, Callable[[], object]] = {
        "fast_simplification": lambda: simplified(CUBE, CUBE_FACES, 4),
        "xatlas": lambda: unwrap(CUBE, CUBE_FACES, parts, 256),
    }
    with pytest.raises(ExportError, match=r"Install the backend again.*pip install"):
        calls[package]()


def test_what_touches_along_an_edge_or_in_a_corner_is_taken_apart() -> None:
    for shift in ((1, 1, 0), (1, 1, 1)):
        vertices, index = np.unique(np.concatenate([CUBE, CUBE + shift]), axis=0, return_inverse=True)
        faces = index.reshape(-1)[np.concatenate([CUBE_FACES, CUBE_FACES + 8])]
        assert len(vertices) < 16
        apart, apart_faces = make_manifold(vertices, faces)
        assert is_closed(apart_faces)
        assert len(apart) >= 16
        assert _volume(apart, apart_faces) == pytest.approx(2, abs=0.15)


def test_a_clean_surface_stays_as_it_is() -> None:
    vertices, faces = _sphere()
    assert is_closed(faces) and not folded(vertices, faces).any()
    again, again_faces = make_manifold(vertices, faces)
    np.testing.assert_array_equal(again, vertices)
    np.testing.assert_array_equal(again_faces, faces)
    np.testing.assert_array_equal(unfold(vertices, faces)[0], vertices)


def test_triangles_that_lie_back_to_back_are_dropped() -> None:
    double = np.concatenate([CUBE_FACES, CUBE_FACES[:1], CUBE_FACES[:1, ::-1]])
    assert not is_closed(double)
    _, faces = make_manifold(CUBE, double)
    assert is_closed(faces) and len(faces) == len(CUBE_FACES)


def test_folds_are_smoothed_away_and_the_rest_is_left_alone() -> None:
    vertices, faces = _sphere()
    pushed = vertices.copy()
    pushed[300] += 0.6 * (vertices[310] - vertices[300])
    assert folded(pushed, faces).any()
    flat, flat_faces = unfold(pushed, faces)
    assert is_closed(flat_faces) and not folded(flat, flat_faces).any()
    assert abs(len(flat_faces) - len(faces)) <= 8
    assert _volume(flat, flat_faces) == pytest.approx(_volume(vertices, faces), rel=0.02)


def test_values_are_carried_over_from_the_nearest_place() -> None:
    vertices, faces = _sphere()
    points = 1.01 * vertices[faces].mean(1)
    np.testing.assert_allclose(carried_over(points, vertices, faces, vertices), points / 1.01, atol=0.02)
