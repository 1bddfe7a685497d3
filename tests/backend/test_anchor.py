"""Imagined views laid on the surface: against closed forms on a tube."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from backend.reconstruct.latent import anchor as module
from backend.reconstruct.latent.anchor import ViewedPerson, anchor
from backend.reconstruct.latent.even import even_cloth
from backend.reconstruct.latent.seam import _REACH, seam_of, soften_seam
from backend.reconstruct.shading import PhotoLight
from backend.reconstruct.types import Reconstruction, SurfaceMesh
from backend.rendering.mesh import rasterize_mesh

FOCAL, SIZE, DISTANCE = 1.5, 128, 3.0
MIDDLE = np.array([0.0, 0.0, DISTANCE])
FRONT, BACK = np.array([0.1, 0.2, 0.9]), np.array([0.9, 0.5, 0.1])


def tube(radius: tuple[float, float] = (0.2, 0.2), shift: float = 0.0) -> tuple[np.ndarray, np.ndarray]:
    """A tube of 1.2 m about the vertical axis, ``radius`` across and along the view; vertices [V, 3], faces [F, 3]."""
    around, along = 64, 49
    angle = 2 * np.pi * np.arange(around) / around
    height = np.linspace(-0.6, 0.6, along)
    ring = np.stack([radius[0] * np.sin(angle), np.zeros(around), -radius[1] * np.cos(angle) + shift], 1)
    vertices = (ring[None] + height[:, None, None] * [0, 1, 0]).reshape(-1, 3) + MIDDLE
    i, j = np.meshgrid(np.arange(along - 1), np.arange(around), indexing="ij")
    a, b = i * around + j, i * around + (j + 1) % around
    faces = np.concatenate([np.stack([a, b, b + around], -1), np.stack([a, b + around, a + around], -1)])
    faces = faces.reshape(-1, 3)
    corner = vertices[faces]
    outward = np.einsum(
        "fi,fi->f", np.cross(corner[:, 1] - corner[:, 0], corner[:, 2] - corner[:, 0]), corner.mean(1) - MIDDLE
    )
    return vertices, faces if outward.mean() > 0 else faces[:, ::-1]


def cameras() -> np.ndarray:
    """The photo's and three others, a quarter turn apart about the tube's axis, [4, 4, 4]."""
    out = []
    for turn in np.radians([0.0, 90.0, 180.0, 270.0]):
        matrix = np.eye(4)
        matrix[:3, :3] = np.array([[np.cos(turn), 0, -np.sin(turn)], [0, 1, 0], [np.sin(turn), 0, np.cos(turn)]]).T
        matrix[:3, 3] = MIDDLE - matrix[:3, :3] @ MIDDLE
        out.append(matrix)
    return np.stack(out)


def viewed(vertices: np.ndarray, faces: np.ndarray) -> ViewedPerson:
    """The four views of that tube; the photo shows it in one colour, the others in another."""
    matrices, depth = cameras(), []
    for matrix in matrices:
        local = vertices @ matrix[:3, :3].T + matrix[:3, 3]
        depth.append(rasterize_mesh(local, faces, FOCAL * SIZE, (SIZE, SIZE)).depth)
    depths = np.stack(depth)
    there = np.isfinite(depths)
    rgb = np.where(np.arange(4)[:, None, None, None] == 0, FRONT, BACK) * np.ones((4, SIZE, SIZE, 3))
    return ViewedPerson(matrices, FOCAL, rgb, there.astype(float))


@pytest.fixture(scope="module")
def base() -> Reconstruction:
    """Splats in the middles of a tube's faces, all in one colour that no view shows."""
    vertices, faces = tube()
    weights = np.zeros((len(vertices), 24))
    weights[:, 0] = 1
    mesh = SurfaceMesh(vertices, vertices, faces, weights, len(vertices), len(faces))
    position = vertices[faces].mean(1)
    normal = position - MIDDLE
    normal[:, 1] = 0
    normal /= np.linalg.norm(normal, axis=1, keepdims=True)
    up = np.array([0.0, 1.0, 0.0])
    rotation = np.stack(
        [np.cross(np.broadcast_to(up, normal.shape), normal), np.broadcast_to(up, normal.shape), normal], -1
    )
    count = len(position)
    return Reconstruction(
        position=position,
        rotation=rotation,
        scale=np.full((count, 3), 0.01),
        opacity=np.ones(count),
        rgb=np.full((count, 3), 0.5),
        face=np.arange(count),
        surface=mesh,
        seen=np.clip((-normal[:, 2] - 0.1) / 0.35, 0, 1),
        local=np.zeros(count, bool),
    )


def test_what_the_photo_shows_keeps_its_colour_and_the_rest_takes_the_views(base: Reconstruction) -> None:
    moved = anchor(base, viewed(*tube()))
    facing = -base.rotation[:, 2, 2]
    inner = np.abs(base.position[:, 1]) < 0.5
    assert np.allclose(moved.rgb[inner & (facing > 0.5)], 0.5)
    expected = 0.5 + module._TRUST * (BACK - 0.5)
    assert np.allclose(moved.rgb[inner & (facing < -0.3)], expected, atol=1e-6)
    # At the sides, too, but for the rim that the photo half sees.
    assert np.allclose(moved.rgb[inner & (np.abs(facing) < 0.05)], expected, atol=1e-6)


def test_views_that_show_nobody_change_no_colour(base: Reconstruction) -> None:
    nobody = replace(viewed(*tube()), coverage=np.zeros((4, SIZE, SIZE)))
    moved = anchor(base, nobody)
    assert np.array_equal(moved.rgb, base.rgb) and np.array_equal(moved.position, base.position)


def test_where_the_photo_ends_the_first_view_goes_on(base: Reconstruction) -> None:
    ahead = -base.rotation[:, 2, 2] > 0.99
    below, above = (
        ahead & (sign * base.position[:, 1] > 0.1) & (np.abs(base.position[:, 1]) < 0.5) for sign in (1, -1)
    )
    cut = replace(base, seen=np.where(base.position[:, 1] > 0, 0.0, base.seen))  # at the waist; y is down
    moved = anchor(cut, viewed(*tube()))
    assert np.allclose(moved.rgb[above], 0.5)
    # Views from the side, which see it at a slant, add a little of theirs.
    assert np.allclose(moved.rgb[below], 0.5 + module._TRUST * (FRONT - 0.5), atol=0.02)


def test_where_the_light_is_known_views_are_as_bright_as_it_says(base: Reconstruction) -> None:
    """Views in half the light keep their tint and take the base's brightness; without a known light they stay dark."""
    seen = viewed(*tube())
    behind = (base.rotation[:, 2, 2] > 0.3) & (np.abs(base.position[:, 1]) < 0.5)
    tint = np.array([0.6, 0.5, 0.35])
    dark = replace(seen, rgb=np.broadcast_to(0.75 * tint, seen.rgb.shape))
    base = replace(base, rgb=np.broadcast_to(tint, base.rgb.shape))
    lit = anchor(replace(base, light=PhotoLight(np.zeros(15))), dark).rgb[behind]
    assert np.allclose(lit, tint, atol=0.01)
    assert np.allclose(anchor(base, dark).rgb[behind], tint * (1 - 0.25 * module._TRUST), atol=0.01)


def test_beside_an_arm_nothing_takes_the_arms_colour(base: Reconstruction) -> None:
    """A pole before the tube's back: what lies just beside it in a view does not count, what lies further off does."""
    vertices, faces = tube()
    pole, more = tube(radius=(0.03, 0.03), shift=0.4)
    mesh = base.surface
    both = replace(
        mesh,
        rest=np.concatenate([vertices, pole]),
        posed=np.concatenate([vertices, pole]),
        faces=np.concatenate([faces, more + len(vertices)]),
        weights=np.concatenate([mesh.weights, np.zeros((len(pole), 24))]),
    )
    moved = anchor(replace(base, surface=both), viewed(vertices, faces))
    back = (base.rotation[:, 2, 2] > 0.8) & (np.abs(base.position[:, 1]) < 0.5)
    # Seen from behind at 2.8 m, the pole's outline is nearer to the middle than it is wide.
    behind = back & (np.abs(base.position[:, 0]) < 0.045)
    beside = back & (np.abs(base.position[:, 0]) > 0.1)
    assert np.allclose(moved.rgb[behind], 0.5) and behind.any()
    assert np.allclose(moved.rgb[beside], 0.5 + module._TRUST * (BACK - 0.5), atol=1e-6) and beside.any()


def test_patterns_go_on_behind_but_badges_do_not(base: Reconstruction) -> None:
    behind = (base.rotation[:, 2, 2] > 0.3) & (np.abs(base.position[:, 1]) < 0.5)
    seen = viewed(*tube())
    row = np.round((base.position[:, 1] + 0.6) / 0.025 - 0.5).astype(int)
    striped = np.where((row % 2 == 0)[:, None], [0.8, 0.8, 0.8], [0.2, 0.2, 0.2])
    moved = anchor(replace(base, rgb=striped), seen)

    def contrast(rgb: np.ndarray) -> float:
        return float(rgb[behind & (row % 2 == 0)].mean() - rgb[behind & (row % 2 == 1)].mean())

    assert contrast(moved.rgb) > 0.6 * contrast(striped)
    badge = np.linalg.norm(base.position - MIDDLE - np.array([0, 0, 0.2]), axis=1) < 0.05
    assert 4 < badge.sum() < 60
    plain = np.where(badge[:, None], [0.9, 0.1, 0.1], [0.5, 0.5, 0.5])
    moved = anchor(replace(base, rgb=plain), seen)
    around = behind & ~badge
    left = np.linalg.norm(moved.rgb[badge].mean(0) - moved.rgb[around].mean(0)) / np.linalg.norm([0.4, -0.4, -0.4])
    assert left < 1.2 * (1 - module._TRUST)


def test_a_step_of_light_at_the_seam_is_spread_and_another_thing_is_not(base: Reconstruction) -> None:
    around, height = (v.ravel() for v in np.meshgrid(np.radians(np.arange(0.5, 360)), np.linspace(-0.3, 0.3, 120)))
    normal = np.stack([np.sin(around), np.zeros_like(around), -np.cos(around)], 1)
    dense = Reconstruction(
        position=0.2 * normal + np.stack([0 * height, height, 0 * height], 1) + MIDDLE,
        rotation=np.concatenate([np.zeros((len(normal), 3, 2)), normal[:, :, None]], 2),
        scale=np.full((len(normal), 3), 0.01),
        opacity=np.ones(len(normal)),
        rgb=np.zeros((len(normal), 3)),
        face=np.zeros(len(normal), int),
        surface=base.surface,
        seen=(np.cos(around) > 0.3).astype(float),
        local=np.zeros(len(normal), bool),
    )
    seen = dense.seen > 0.5
    for step in (0.05, -0.05):
        given = replace(dense, rgb=np.where(seen, 0.5 + step, 0.5)[:, None] * np.ones(3))
        rgb = soften_seam(given, seam_of(given))
        assert np.array_equal(rgb[seen], np.full((seen.sum(), 3), 0.5 + step))
        # Along the tube's wall colours fall from the seen one to the other: half of a cosine's wave, turned normals
        # being a fifth of the way.
        along = 0.2 * (np.arccos(np.cos(around[~seen])) - np.arccos(0.3))
        share = (rgb[~seen] - 0.5) / step
        expected = 0.5 + 0.5 * np.cos(np.pi * (along * np.hypot(1, 0.2) / _REACH).clip(0, 1))
        assert np.abs(share - expected[:, None]).max() < 0.08
        assert np.abs(share[along > _REACH]).max() < 1e-9
    # Skin beside cloth stays as it is, and so does somebody whom no photo shows.
    other = replace(dense, rgb=np.where(seen, 0.8, 0.5)[:, None] * np.ones(3))
    for given in (other, replace(other, seen=0 * other.seen)):
        assert np.array_equal(soften_seam(given, seam_of(given)), given.rgb)


def test_a_pale_patch_behind_is_evened_out_and_cloth_of_many_colours_is_not(base: Reconstruction) -> None:
    around = np.arctan2(base.rotation[:, 0, 2], -base.rotation[:, 2, 2])
    seen, height = np.abs(around) < 1.4, base.position[:, 1]
    person = replace(base, seen=seen.astype(float))
    cloth = np.where(height[:, None] > 0.1, [0.3, 0.2, 0.6], [0.6, 0.3, 0.2])
    patch = (np.abs(np.abs(around) - np.pi) < 0.8) & (np.abs(height + 0.25) < 0.1)
    given = np.where(patch[:, None], [0.8, 0.75, 0.7], cloth)
    rgb = even_cloth(replace(person, rgb=given))
    assert np.array_equal(rgb[seen], given[seen])
    inner = (np.abs(np.abs(around) - np.pi) < 0.5) & (np.abs(height + 0.25) < 0.06)
    left = np.linalg.norm(rgb[inner] - cloth[inner], axis=1) / np.linalg.norm([0.2, 0.45, 0.5])
    assert inner.sum() > 50 and left.mean() < 0.35
    # Away from where both cloths meet, what was right stays right.
    far = ~patch & (np.abs(height - 0.1) > 0.1) & (np.abs(height + 0.25) > 0.2)
    assert np.abs(rgb[far] - cloth[far]).max() < 0.02
    many = np.array([[0.8, 0.2, 0.2], [0.2, 0.8, 0.2], [0.2, 0.2, 0.8], [0.8, 0.8, 0.2], [0.2, 0.8, 0.8]])
    many = many[np.floor((around + np.pi) / 0.4).astype(int) % 5]
    assert np.array_equal(even_cloth(replace(person, rgb=many)), many)
