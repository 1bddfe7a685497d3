"""What views of a person say of the splats: a tube in one colour for the photo's view and another for the others."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from test_surface import tube

from backend.reconstruct.config import ViewsConfig
from backend.reconstruct.parts import Part
from backend.reconstruct.types import SurfaceMesh
from backend.reconstruct.views import ViewedPerson, said_by
from backend.rendering.mesh import rasterize_mesh

FOCAL, SIZE, RADIUS = 1.5, 128, 0.2
MIDDLE = np.array([0.0, 0.0, 3.0])
FRONT, OTHER = np.array([0.1, 0.2, 0.9]), np.array([0.9, 0.5, 0.1])
CONFIG, SHARP = ViewsConfig(), ViewsConfig(blur=0)


def cameras() -> np.ndarray:
    """The photo's and three others, a quarter turn apart about the tube's axis, [4, 4, 4]."""
    out = []
    for turn in np.radians([0.0, 90.0, 180.0, 270.0]):
        matrix = np.eye(4)
        matrix[:3, :3] = [[np.cos(turn), 0, np.sin(turn)], [0, 1, 0], [-np.sin(turn), 0, np.cos(turn)]]
        matrix[:3, 3] = MIDDLE - matrix[:3, :3] @ MIDDLE
        out.append(matrix)
    return np.stack(out)


@pytest.fixture(scope="module")
def mesh() -> SurfaceMesh:
    vertices, faces = tube(RADIUS, tuple(MIDDLE))
    return SurfaceMesh(vertices, vertices, faces, np.zeros((len(vertices), 24)), len(vertices), len(faces))


@pytest.fixture(scope="module")
def views(mesh: SurfaceMesh) -> ViewedPerson:
    """Four pictures of the tube; the photo shows it in one colour, the others in another."""
    there = np.stack(
        [
            rasterize_mesh(mesh.posed @ m[:3, :3].T + m[:3, 3], mesh.faces, FOCAL * SIZE, (SIZE, SIZE)).face >= 0
            for m in cameras()
        ]
    )
    rgb = np.where(np.arange(4)[:, None, None, None] == 0, FRONT, OTHER) * there[..., None]
    return ViewedPerson(cameras(), FOCAL, rgb, there.astype(float))


def asked(mesh: SurfaceMesh, views: ViewedPerson, config: ViewsConfig = CONFIG) -> tuple[np.ndarray, ...]:
    """Of the first tube's places well inside the pictures: normals, places, colours that are said and their weights."""
    faces = mesh.faces[: 40 * 48 * 2]
    place = mesh.posed[faces].mean(1)
    inner = np.abs(place[:, 1]) < 0.4
    normal = (place - MIDDLE) * [1, 0, 1]
    normal /= np.linalg.norm(normal, axis=1, keepdims=True)
    rgb, weight = said_by(views, place, normal, np.full(len(place), int(Part.TRUNK)), mesh, None, config)
    assert rgb.shape == place.shape and weight.min() >= 0 and weight.max() <= 1
    return normal[inner], place[inner], rgb[inner], weight[inner]


def test_every_side_is_the_colour_of_the_view_that_faces_it(mesh: SurfaceMesh, views: ViewedPerson) -> None:
    normal, _, rgb, weight = asked(mesh, views)
    ahead, behind = normal[:, 2] < -0.97, normal[:, 2] > 0.3
    np.testing.assert_allclose(rgb[ahead], np.tile(FRONT, (ahead.sum(), 1)), atol=0.02)
    np.testing.assert_allclose(rgb[behind], np.tile(OTHER, (behind.sum(), 1)), atol=1e-6)
    # Halfway two views see a place at 45 degrees each: cos² of them sums to about 1 everywhere.
    assert weight.min() > 0.99


def test_two_views_share_what_both_see_by_the_squares_of_their_cosines(mesh: SurfaceMesh, views: ViewedPerson) -> None:
    """Of sharp pictures; a place's rays to the cameras, and its normal, in closed form."""
    normal, place, rgb, _ = asked(mesh, views, SHARP)
    eyes = np.stack([-m[:3, :3].T @ m[:3, 3] for m in cameras()])
    to_eye = eyes[:, None] - place
    cosine = ((to_eye / np.linalg.norm(to_eye, axis=2, keepdims=True)) * normal).sum(2).clip(0, 1)
    # Away from the outlines, where pixels are half background.
    chosen = ((cosine == 0) | (cosine > 0.4)).all(0) & (cosine[0] > 0)
    share = cosine[0] ** 2 / (cosine**2).sum(0)
    found = (rgb - OTHER) @ (FRONT - OTHER) / ((FRONT - OTHER) ** 2).sum()
    assert chosen.sum() > 100 and share[chosen].min() < 0.4
    np.testing.assert_allclose(found[chosen], share[chosen], atol=1e-6)


def test_views_that_show_nobody_say_nothing(mesh: SurfaceMesh, views: ViewedPerson) -> None:
    _, _, rgb, weight = asked(mesh, replace(views, coverage=np.zeros_like(views.coverage)))
    assert (weight == 0).all() and (rgb == 0).all()
    # Nor do pixels that are half background.
    low = replace(views, coverage=views.coverage * CONFIG.coverage[0])
    assert asked(mesh, low)[3].max() < 1e-5


def test_what_is_seen_by_no_more_than_a_slanted_view_is_half_believed(mesh: SurfaceMesh, views: ViewedPerson) -> None:
    """Of the photo alone: its weight is the cosine's square over what is enough."""
    one = ViewedPerson(views.matrices[:1], views.focal, views.rgb[:1], views.coverage[:1])
    normal, place, rgb, weight = asked(mesh, one, SHARP)
    facing = -(normal * place).sum(1) / np.linalg.norm(place, axis=1)
    seen = facing > 0.4
    np.testing.assert_allclose(weight[seen], (facing[seen] ** 2 / CONFIG.enough).clip(0, 1), atol=1e-6)
    np.testing.assert_allclose(rgb[seen], np.tile(FRONT, (seen.sum(), 1)), atol=1e-6)
    assert (weight[facing < -0.05] == 0).all()


def test_beside_an_arm_nothing_takes_the_arms_colour(mesh: SurfaceMesh, views: ViewedPerson) -> None:
    """A pole before the tube's back: what lies just beside it in a view does not count, what lies further off does."""
    pole, more = tube(0.03, (0, 0, 3.4))
    count = len(mesh.posed)
    posed = np.vstack([mesh.posed, pole])
    both = replace(mesh, rest=posed, posed=posed, faces=np.vstack([mesh.faces, more + count]))
    behind_view = ViewedPerson(views.matrices[2:3], views.focal, views.rgb[2:3], views.coverage[2:3])
    normal, place, _, weight = asked(both, behind_view)
    back = normal[:, 2] > 0.8
    # Seen from behind at 2.8 m, the pole's outline is nearer to the middle than it is wide, and a pixel is 15 mm.
    hidden, free = back & (np.abs(place[:, 0]) < 0.045), back & (np.abs(place[:, 0]) > 0.11)
    assert hidden.sum() > 50 and (weight[hidden] == 0).all()
    assert free.sum() > 50 and weight[free].min() > 0.9
