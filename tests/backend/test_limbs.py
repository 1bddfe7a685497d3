"""Limbs before the person are told from what is behind by colours: a thigh that is fitted beside the photo's."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest
from test_surface import tube

from backend.body.model import JOINT_INDEX
from backend.reconstruct.clothed import ARM_CHAINS, LEG_CHAINS
from backend.reconstruct.limbs import LimbPixels, bring_limbs, find_limbs
from backend.rendering.mesh import rasterize_mesh

SIZE, FOCAL = (256, 256), 400.0
SKIN, CLOTH = np.array([205, 150, 120]), np.array([40, 45, 60])


def wall(depth: float) -> tuple[np.ndarray, np.ndarray]:
    x, y = np.meshgrid([-0.55, 0.55], [-0.55, 0.55])
    vertices = np.column_stack([x.ravel(), y.ravel(), np.full(4, depth)])
    return vertices, np.array([[0, 1, 2], [1, 3, 2]])


def person(behind: str, limb: str, before: float = 0.3) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Vertices, faces and weights of a limb before something else."""
    (back, back_faces), (front, front_faces) = wall(2.0), tube(0.08, (0, 0, 2.0 - before), rings=40, sides=24)
    front = front * [1, 1.4, 1]  # longer than the picture is high
    weights = np.zeros((len(back) + len(front), 24))
    weights[: len(back), JOINT_INDEX[behind]] = 1
    weights[len(back) :, JOINT_INDEX[limb]] = 1
    return np.vstack([back, front]), np.vstack([back_faces, front_faces + len(back)]), weights


def shifted_limb(vertices: np.ndarray, faces: np.ndarray, by: float) -> np.ndarray:
    """Where the photo's limb is that stands ``by`` metres to the right of the fitted one, bool [H, W]."""
    moved = vertices.copy()
    moved[4:, 0] += by
    return rasterize_mesh(moved, faces, FOCAL, SIZE).face >= 2


def photo_of(limb: np.ndarray, colour: np.ndarray = SKIN) -> SimpleNamespace:
    noise = np.random.default_rng(0).normal(0, 4, (*SIZE, 3))
    rgb = (np.where(limb[..., None], colour, CLOTH) + noise).clip(0, 255).astype(np.uint8)
    return SimpleNamespace(rgb=np.repeat(np.repeat(rgb, 2, 0), 2, 1))


def test_a_leg_is_where_the_photo_shows_it() -> None:
    vertices, faces, weights = person("spine1", "left_hip")
    first = rasterize_mesh(vertices, faces, FOCAL, SIZE)
    matte, true = first.face >= 0, shifted_limb(vertices, faces, 0.03)
    (found,) = find_limbs(photo_of(true), matte, first, faces, weights)
    fitted = first.face >= 2
    assert (fitted != true)[matte].mean() > 0.04
    assert (found.shown != true)[matte].mean() < 0.002
    brought = bring_limbs(vertices, faces, weights, [found], FOCAL)
    after = rasterize_mesh(brought, faces, FOCAL, SIZE).face >= 2
    assert (after != true)[matte].mean() < 0.25 * (fitted != true)[matte].mean()
    np.testing.assert_array_equal(brought[:4], vertices[:4])


@pytest.mark.parametrize(
    ("behind", "limb", "before", "colour"),
    [
        ("spine1", "left_hip", 0.3, CLOTH + 6),
        ("spine1", "left_hip", 0.0, SKIN),
        ("spine1", "left_shoulder", 0.3, SKIN),
        ("spine1", "left_hand", 0.3, SKIN),
        ("head", "left_elbow", 0.3, SKIN),
    ],
    ids=["alike", "hardly before it", "upper arm", "hand", "before hair"],
)
def test_where_colours_do_not_tell_nothing_is_cut(behind: str, limb: str, before: float, colour: np.ndarray) -> None:
    vertices, faces, weights = person(behind, limb, before)
    first = rasterize_mesh(vertices, faces, FOCAL, SIZE)
    photo = photo_of(shifted_limb(vertices, faces, 0.03), colour)
    assert find_limbs(photo, first.face >= 0, first, faces, weights) == []


def test_a_limb_that_is_fitted_to_the_pixel_stays() -> None:
    vertices, faces, weights = person("spine1", "left_knee")
    first = rasterize_mesh(vertices, faces, FOCAL, SIZE)
    shown = first.face >= 2
    assert find_limbs(photo_of(shown), first.face >= 0, first, faces, weights) == []
    limb = LimbPixels(LEG_CHAINS[0], shown, np.ones(SIZE, bool))
    after = rasterize_mesh(bring_limbs(vertices, faces, weights, [limb], FOCAL), faces, FOCAL, SIZE).face >= 2
    assert abs(after.sum() / shown.sum() - 1) < 0.02


def test_the_hand_of_an_arm_that_moves_is_not_torn_off() -> None:
    vertices, faces, weights = person("spine1", "left_elbow")
    end = 4 + 24 * 24
    weights[end:] = 0
    weights[end:, JOINT_INDEX["left_hand"]] = 1
    true = shifted_limb(vertices, faces, 0.03)
    brought = bring_limbs(vertices, faces, weights, [LimbPixels(ARM_CHAINS[0], true, np.ones(SIZE, bool))], FOCAL)
    moved = np.linalg.norm(brought - vertices, axis=1)[4:].reshape(40, 24).max(1)
    assert moved[:20].min() > 0.02 and moved[-8:].max() < 0.01
    assert np.abs(np.diff(moved)).max() < 0.015
