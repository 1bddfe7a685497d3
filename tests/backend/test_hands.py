"""Hands that are held before clothes: found in the picture, and put where the photo shows them."""

from __future__ import annotations

from types import SimpleNamespace

import cv2
import numpy as np
import pytest

from backend.body.model import JOINT_INDEX
from backend.reconstruct.hands import HandPixels, _bones, cut_out, find_hands, with_shown, without_absent
from backend.reconstruct.sheets import Layers, without_islands
from backend.rendering.mesh import rasterize_mesh

SIZE = 400
SKIN = (196, 140, 110)


def hand(shift: tuple[int, int], spread: float) -> np.ndarray:
    """A palm with four fingers [S, S], ``spread`` radians between them."""
    drawn = np.zeros((SIZE, SIZE), np.uint8)
    palm = np.array([200, 200]) + shift
    cv2.circle(drawn, tuple(int(v) for v in palm), 26, 1, -1)
    for k in range(4):
        angle = (k - 1.5) * spread
        tip = palm + 70 * np.array([np.sin(angle), np.cos(angle)])
        cv2.line(drawn, tuple(int(v) for v in palm), tuple(int(v) for v in tip), 1, 13)
    return drawn > 0


def picture(clothes: np.ndarray, true: np.ndarray) -> np.ndarray:
    rng = np.random.default_rng(0)
    light = 0.8 + 0.4 * np.linspace(0, 1, SIZE)[:, None, None]
    rgb = np.where(true[..., None], np.array(SKIN) * light, clothes)
    return (rgb + rng.normal(0, 4, rgb.shape)).clip(0, 255).astype(np.uint8)


def stripes() -> np.ndarray:
    bands = (np.arange(SIZE) // 9 % 2)[None, :, None]
    return np.broadcast_to(np.where(bands, [40, 60, 120], [225, 225, 230]), (SIZE, SIZE, 3)).astype(float)


@pytest.mark.parametrize("landmarks", [True, False])
def test_a_hand_is_cut_out_of_striped_clothes(landmarks: bool) -> None:
    true, fitted = hand((0, 0), 0.25), hand((8, -5), 0.5)
    person = np.ones((SIZE, SIZE), bool)
    bones = cv2.erode(true.astype(np.uint8), np.ones((9, 9), np.uint8)) > 0 if landmarks else None
    found = cut_out(picture(stripes(), true), person, fitted, bones)
    assert found is not None
    assert (found & true).sum() / (found | true).sum() > 0.95
    assert (fitted & true).sum() / (fitted | true).sum() < 0.75


def test_no_cut_where_colours_or_matte_do_not_ask_for_one() -> None:
    true, fitted = hand((0, 0), 0.25), hand((8, -5), 0.5)
    person = np.ones((SIZE, SIZE), bool)
    alike = np.broadcast_to(np.array(SKIN) * 0.97, (SIZE, SIZE, 3))
    assert cut_out(picture(alike, true), person, fitted, None) is None
    assert cut_out(picture(stripes(), true), true, fitted, None) is None
    assert cut_out(picture(stripes(), true), person, np.zeros_like(fitted), None) is None


def test_where_colours_are_alike_bones_add_fingers_to_the_fitted_hand() -> None:
    true, fitted = hand((0, 0), 0.25), hand((8, -5), 0.5)
    person = np.ones((SIZE, SIZE), bool)
    alike = picture(np.broadcast_to(np.array(SKIN) * 0.97, (SIZE, SIZE, 3)), true)
    bones = np.zeros((SIZE, SIZE), np.uint8)
    for k in range(4):
        angle = (k - 1.5) * 0.25
        tip = np.round(200 + 70 * np.array([np.sin(angle), np.cos(angle)])).astype(int)
        cv2.line(bones, (200, 200), tuple(int(v) for v in tip), 1, 1)
    found = cut_out(alike, person, fitted, bones > 0)
    assert found is not None and found[fitted].all()
    drawn = cv2.dilate(bones, cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (13, 13))) > 0
    assert found[drawn & true].mean() > 0.95
    assert (found & ~(true | fitted)).sum() < 0.05 * true.sum()


def test_bones_elsewhere_are_not_the_hands() -> None:
    true, fitted = hand((0, 0), 0.25), hand((8, -5), 0.5)
    alike = picture(np.broadcast_to(np.array(SKIN) * 0.97, (SIZE, SIZE, 3)), true)
    bones = np.zeros((SIZE, SIZE), bool)
    bones[20:60, 20] = True
    assert cut_out(alike, np.ones((SIZE, SIZE), bool), fitted, bones) is None


@pytest.mark.parametrize("bare", [True, False])
def test_a_forearm_is_no_part_of_the_hand(bare: bool) -> None:
    focal, size, middle = 400.0, (SIZE, SIZE), np.array([200, 200])

    def corners(low: tuple[int, int], high: tuple[int, int], depth: float) -> np.ndarray:
        x, y = np.array([[low[0], high[0], high[0], low[0]], [low[1], low[1], high[1], high[1]]])
        return np.column_stack([(x - middle[0]) * depth / focal, (y - middle[1]) * depth / focal, np.full(4, depth)])

    posed = np.vstack(
        [corners((5, 5), (395, 395), 3.0), corners((180, 60), (220, 200), 2.0), corners((170, 200), (230, 300), 2.0)]
    )
    faces = np.vstack([np.array([[0, 1, 2], [0, 2, 3]]) + 4 * part for part in range(3)])
    weights = np.zeros((12, 24))
    for part, joint in enumerate(("spine1", "left_elbow", "left_hand")):
        weights[4 * part : 4 * part + 4, JOINT_INDEX[joint]] = 1
    first = rasterize_mesh(posed, faces, focal, size)
    forearm = np.isin(first.face, [2, 3])
    # The photo's hand begins 20 pixels above the fitted one: a sleeve ends there.
    skin = (first.face >= 4) | forearm & (bare | (np.arange(SIZE)[:, None] >= 180))
    matte = first.face >= 0
    photo = SimpleNamespace(
        rgb=picture(np.where(forearm[..., None], [225, 225, 230], stripes()), skin),
        alpha=matte.astype(np.float32),
        left_hand=None,
        right_hand=None,
    )
    (found,) = find_hands(photo, matte, posed, faces, weights, first, focal)
    assert found.shown[first.face >= 4].mean() > 0.95
    sleeve = forearm & (np.arange(SIZE)[:, None] < 175)
    assert found.shown[sleeve].mean() < 0.05
    if not bare:
        assert found.shown[forearm & skin].mean() > 0.8


def test_bones_are_those_of_fingers_and_the_palm_is_filled() -> None:
    # Wrist, and five fingers of four landmarks each that point away from it like a fan.
    angles = np.radians([-60, -25, 0, 25, 50])
    along = np.array([60.0, 100, 125, 150])
    fingers = along[None, :, None] * np.stack([np.sin(angles), np.cos(angles)], 1)[:, None]
    landmarks = np.vstack([[0, 0], fingers.reshape(-1, 2)]) + 200
    drawn = _bones(landmarks, SIZE)
    assert drawn[240, 200] and drawn[250, 215]
    for finger in fingers:
        x, y = np.round(finger[2] + 199.5).astype(int)
        assert drawn[y - 1 : y + 2, x - 1 : x + 2].any()
    between = np.radians(12.5)
    assert not drawn[int(200 + 125 * np.cos(between)), int(200 + 125 * np.sin(between))]


def square(centre: tuple[float, float], half: float, depth: float) -> np.ndarray:
    corners = np.array([[-1, -1], [1, -1], [1, 1], [-1, 1]]) * half + centre
    return np.column_stack([corners, np.full(4, depth)])


def test_layers_follow_the_photo_and_not_the_fitted_hand() -> None:
    size, focal = (64, 64), 64.0
    posed = np.vstack([square((0, 0), 1.2, 3.0), square((-0.2, 0), 0.3, 2.0)])
    faces = np.array([[0, 1, 2], [0, 2, 3], [4, 5, 6], [4, 6, 7]])
    first = rasterize_mesh(posed, faces, focal, size)
    own = np.array([False, False, True, True])
    seen = (first.face >= 0) & own[first.face]
    shown = np.roll(seen, 6, axis=1)
    alone = rasterize_mesh(posed, faces[own], focal, size)
    alone = type(alone)(np.where(alone.face >= 0, alone.face + 2, -1), alone.barycentric, alone.depth)
    hands = [HandPixels(own, shown, seen & ~shown, alone)]
    behind = without_absent(first, hands, posed, faces, focal)
    assert np.allclose(behind.depth[seen & ~shown], 3.0) and not own[behind.face[seen & ~shown]].any()
    assert np.allclose(behind.depth[seen & shown], 2.0) and own[behind.face[seen & shown]].all()
    layers = Layers(behind.depth, behind.depth + 0.1, behind.face, np.zeros(size, bool))
    after = with_shown(layers, hands, behind)
    assert np.allclose(after.front[shown], 2.0, atol=1e-5) and own[after.face[shown]].all()
    assert np.array_equal(after.gap, shown & ~seen) and (after.back > after.front)[first.face >= 0].all()
    elsewhere = ~shown & (first.face >= 0)
    assert np.allclose(after.front[elsewhere], 3.0)


def test_islands_before_a_surface_are_put_on_it() -> None:
    inside = np.zeros((64, 64), bool)
    inside[4:60, 4:60] = True
    front = np.full((64, 64), 2.0)
    front[10:16, 10:16] = 1.7
    front[30:50, 30:50] = 1.6
    face = np.where(inside, (front < 1.65) * 7, -1)
    face[10:16, 10:16] = 3
    after = without_islands(Layers(front, front + 0.02, face, np.zeros_like(inside)))
    assert (after.front[10:16, 10:16] == 2.0).all() and (after.face[10:16, 10:16] == 0).all()
    assert (after.front[30:50, 30:50] == 1.6).all() and (after.face[30:50, 30:50] == 7).all()
    assert (after.back >= after.front).all() and np.array_equal(after.face >= 0, inside)
