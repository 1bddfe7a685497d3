"""Which part each pixel shows: people of flat rectangles with bodies that are off, and bodies put where labels say."""

from __future__ import annotations

import numpy as np
import pytest

from backend.geometry.maps import MAP_SIZE, unproject
from backend.reconstruct.config import LabelConfig
from backend.reconstruct.labels import _filtered, _likelihoods, hand_bones, label_photo
from backend.reconstruct.parts import Part
from backend.reconstruct.shape import as_labelled
from backend.rendering.mesh import MeshHits, rasterize_mesh

SIZE = 256
SCALE = 130.0
"""Pixels per metre."""
BOXES = {
    Part.HAIR: (112, 40, 144, 64), Part.FACE: (112, 64, 144, 84), Part.NECK: (120, 84, 136, 90),
    Part.TRUNK: (96, 90, 160, 170), Part.LEFT_ARM: (160, 92, 180, 160), Part.RIGHT_ARM: (76, 92, 96, 160),
    Part.LEFT_HAND: (160, 160, 180, 184), Part.RIGHT_HAND: (76, 160, 96, 184),
    Part.LEFT_LEG: (130, 170, 160, 230), Part.RIGHT_LEG: (96, 170, 126, 230),
}  # fmt: skip
"""Left, top, right and bottom of a person's parts."""
SKIN, SHIRT, TROUSERS = (214, 165, 140), (60, 90, 170), (40, 40, 45)
COLOURS = {
    Part.HAIR: (60, 40, 30), Part.FACE: SKIN, Part.NECK: SKIN, Part.TRUNK: SHIRT, Part.LEFT_ARM: (150, 60, 60),
    Part.RIGHT_ARM: (150, 60, 60), Part.LEFT_HAND: SKIN, Part.RIGHT_HAND: SKIN, Part.LEFT_LEG: TROUSERS,
    Part.RIGHT_LEG: TROUSERS,
}  # fmt: skip
GREY = dict.fromkeys(BOXES, (100, 100, 100))


def inside(box: tuple[int, int, int, int]) -> np.ndarray:
    left, top, right, bottom = box
    out = np.zeros((SIZE, SIZE), bool)
    out[top:bottom, left:right] = True
    return out


def person(right: int = 0, down: int = 0) -> np.ndarray:
    """The parts, int [S, S], of that person some pixels off."""
    out = np.full((SIZE, SIZE), int(Part.NONE))
    for part, (x0, y0, x1, y1) in BOXES.items():
        out[inside((x0 + right, y0 + down, x1 + right, y1 + down))] = part
    return out


def photo(true: np.ndarray, colours: dict[Part, tuple[int, int, int]] = COLOURS) -> np.ndarray:
    rgb = np.full((SIZE, SIZE, 3), 120.0)
    for part, colour in colours.items():
        rgb[true == part] = colour
    return (rgb + np.random.default_rng(0).normal(0, 4, rgb.shape)).clip(0, 255).astype(np.uint8)


TRUE = person()
MATTE = TRUE >= 0


def overlap(found: np.ndarray, true: np.ndarray) -> float:
    return (found & true).sum() / (found | true).sum()


@pytest.mark.parametrize("off", [(0, 0), (4, 0), (0, 5), (-3, 4), (0, 8)])
def test_labels_follow_the_colours_where_the_body_is_some_pixels_off(off: tuple[int, int]) -> None:
    body = person(*off)
    found = label_photo(photo(TRUE), MATTE, body, SCALE)
    assert (found == TRUE)[MATTE].mean() > 0.95
    # Face, neck and hands have one colour: between them the body decides, as it does between legs.
    for part in (Part.HAIR, Part.TRUNK, Part.LEFT_ARM, Part.RIGHT_ARM, Part.LEFT_HAND, Part.RIGHT_HAND):
        assert overlap(found == part, TRUE == part) > 0.85, part.name
    if off != (0, 0):
        assert (body == TRUE)[MATTE].mean() < 0.91


@pytest.mark.parametrize("off", [(0, 0), (4, 0), (0, 5)])
def test_where_all_has_one_colour_labels_follow_the_body(off: tuple[int, int]) -> None:
    body = person(*off)
    found = label_photo(photo(TRUE, GREY), MATTE, body, SCALE)
    covered = MATTE & (body >= 0)
    assert (found == body)[covered].mean() > 0.98


def test_nothing_is_outside_the_matte_and_all_of_it_is_something() -> None:
    body, matte = person(12, -9), MATTE & ~inside((60, 120, 130, 150))
    found = label_photo(photo(TRUE), matte, body, SCALE)
    np.testing.assert_array_equal(found >= 0, matte)
    assert set(np.unique(found)) <= {int(part) for part in BOXES} | {int(Part.NONE)}
    # Where body and matte do not meet nothing can be said.
    for nobody, there in ((np.full_like(body, int(Part.NONE)), MATTE), (body, np.zeros_like(MATTE))):
        assert (label_photo(photo(TRUE), there, nobody, SCALE) == Part.NONE).all()


def test_the_same_photo_has_the_same_labels() -> None:
    noisy = np.random.default_rng(3).integers(0, 255, (SIZE, SIZE, 3)).astype(np.uint8)
    for rgb in (photo(TRUE), noisy):
        first, again = (label_photo(rgb, MATTE, person(4, 4), SCALE) for _ in range(2))
        np.testing.assert_array_equal(first, again)


STIFF = (120, 125, 132, 147)
"""Where the fitted body has its left hand, before the shirt: 9 cm by 17."""
STRIPES = ((np.arange(SIZE) // 3 % 2 > 0) & np.ones((SIZE, 1), bool))[..., None]


def held(at: tuple[int, int, int, int], bones: bool, shirt: str = "plain") -> np.ndarray:
    """Labels of somebody whose left hand is ``at`` some place before the shirt, with or without ``bones`` found there.

    The shirt is plain, striped, or like all else of one colour.
    """
    armed = np.where(TRUE == Part.LEFT_HAND, int(Part.LEFT_ARM), TRUE)
    true, body = (np.where(inside(box), int(Part.LEFT_HAND), armed) for box in (at, STIFF))
    rgb = photo(true, GREY if shirt == "grey" else COLOURS)
    if shirt == "striped":
        rgb = np.where(STRIPES & (true == Part.TRUNK)[..., None], [225, 225, 230], rgb).astype(np.uint8)
    x0, y0, x1, y1 = at
    found = inside((x0 + 3, y0 + 3, x1 - 3, y1 - 3)) if bones else None
    return label_photo(rgb, MATTE, body, SCALE, (found, None))


@pytest.mark.parametrize("at", [(126, 122, 138, 144), (136, 125, 148, 147), (136, 110, 158, 122), (100, 100, 112, 122)])
def test_bones_bring_a_hand_to_where_the_body_has_none(at: tuple[int, int, int, int]) -> None:
    """And where the body has its stiff hand the photo shows the shirt: that is no hand."""
    found, own = held(at, bones=True), inside(at)
    assert overlap(found == Part.LEFT_HAND, own) > 0.95
    assert (found == Part.TRUNK)[(TRUE == Part.TRUNK) & ~own].mean() > 0.98
    assert (found == Part.RIGHT_HAND)[TRUE == Part.RIGHT_HAND].mean() > 0.98
    # Thin stripes cost a little.
    striped = held(at, bones=True, shirt="striped") == Part.LEFT_HAND
    assert striped[own].mean() > 0.8 and striped[inside(STIFF) & ~own].mean() < 0.4
    # Of one colour with the shirt, the hand is where bones are, and no larger than the hand.
    grey = held(at, bones=True, shirt="grey") == Part.LEFT_HAND
    assert grey[own].mean() > 0.25 and (grey & ~own & ~inside(STIFF)).sum() < 0.25 * own.sum()


def test_a_hand_that_is_fitted_beside_the_photos_is_where_its_colour_is() -> None:
    """No bones were found; half of the stiff hand lies on the shirt."""
    at = (126, 122, 138, 144)
    assert overlap(inside(STIFF), inside(at)) < 0.3
    assert overlap(held(at, bones=False) == Part.LEFT_HAND, inside(at)) > 0.95
    assert overlap(held(at, bones=False, shirt="striped") == Part.LEFT_HAND, inside(at)) > 0.7


def test_hair_before_an_arm_is_hair() -> None:
    lock = inside((146, 70, 166, 104))
    true = TRUE.copy()
    arm = inside((148, 50, 172, 160))  # raised beside the head
    true[arm] = Part.LEFT_ARM
    body = true.copy()
    true[lock] = Part.HAIR
    body[inside((140, 44, 148, 104))] = Part.HAIR
    matte = (true >= 0) | (body >= 0)
    found = label_photo(photo(np.where(matte & (true < 0), int(Part.HAIR), true)), matte, body, SCALE)
    assert overlap((found == Part.HAIR) & arm, lock & arm) > 0.85
    assert (found == Part.LEFT_ARM)[arm & ~lock].mean() > 0.95


def test_colours_are_counted_by_how_sure_their_parts_are() -> None:
    """Of two parts that mirror each other both count together; of a third alone; a face lends to hands and necks."""
    config = LabelConfig()
    code, matte = np.array([[0, 0, 1], [2, 2, 1]]), np.array([[True, True, True], [True, False, True]])
    posterior = np.array(
        [[[0.5, 0.2, 0.0], [0.3, 9.0, 0.1]], [[0.5, 0.3, 0.0], [0.3, 9.0, 0.1]], [[0.0, 0.5, 1.0], [0.4, 9.0, 0.8]]]
    )
    arm, trunk, face, hand, neck = (
        int(part) for part in (Part.LEFT_ARM, Part.TRUNK, Part.FACE, Part.LEFT_HAND, Part.NECK)
    )

    def normed(rows: list[list[float]]) -> np.ndarray:
        return np.array(rows) / np.sum(rows, axis=1, keepdims=True)

    found = _likelihoods(posterior, code, matte, [arm, arm, trunk], config)
    counts = normed([[1.5, 0.1 + 0.1, 0.6], [1.5, 0.1 + 0.1, 0.6], [0.5, 1.8, 0.4]])
    np.testing.assert_allclose(found, normed((counts + config.floor).tolist()))
    found = _likelihoods(posterior, code, matte, [face, hand, neck], config)
    counts = normed([[0.7, 0.1, 0.3], [0.8, 0.1, 0.3], [0.5, 1.8, 0.4]])
    counts[1:] = (1 - config.bare) * counts[1:] + config.bare * counts[0]
    np.testing.assert_allclose(found, normed((counts + config.floor).tolist()))


def test_the_filter_keeps_what_is_even_and_the_edges_of_the_photo() -> None:
    config = LabelConfig()
    matte = np.ones((60, 60), bool)
    matte[:, :5] = False
    step = np.where(np.arange(60) < 30, 0.2, 0.8) * np.ones((60, 1))
    even = np.full((60, 60), 0.3)
    noisy = (step > 0.5).astype(float)
    noisy[::7, ::5] = 1 - noisy[::7, ::5]
    out = _filtered(np.stack([even, noisy]), np.repeat(step[..., None], 3, 2).astype(np.float32), matte, config)
    np.testing.assert_allclose(out[0][matte], 0.3, atol=1e-5)
    # One in 35 pixels is wrong: single ones are lost, and the photo's edge is where it was.
    assert (out[1] > 0.5)[matte].tolist() == (step > 0.5)[matte].tolist()
    assert out[1][:, 29].max() < 0.2 and out[1][10:50, 30].min() > 0.8


def test_bones_are_those_of_fingers_and_the_palm_is_filled() -> None:
    # Wrist, and five fingers of four landmarks each that point away from it like a fan.
    angles = np.radians([-60, -25, 0, 25, 50])
    along = np.array([60.0, 100, 125, 150])
    fingers = along[None, :, None] * np.stack([np.sin(angles), np.cos(angles)], 1)[:, None]
    landmarks = np.vstack([[0, 0], fingers.reshape(-1, 2)]) + 200
    drawn = hand_bones(landmarks, MAP_SIZE)
    assert drawn is not None and drawn.shape == (MAP_SIZE, MAP_SIZE)
    assert drawn[240, 200] and drawn[250, 215]
    for finger in fingers:
        x, y = np.round(finger[2] + 199.5).astype(int)
        assert drawn[y - 1 : y + 2, x - 1 : x + 2].any()
    between = np.radians(12.5)
    assert not drawn[int(200 + 125 * np.cos(between)), int(200 + 125 * np.sin(between))]
    # A picture of twice as many pixels shows the same.
    np.testing.assert_array_equal(hand_bones(2 * landmarks, 2 * MAP_SIZE), drawn)
    assert hand_bones(None, MAP_SIZE) is None


FOCAL, BOARD_SIZE = 160.0, 128
HEAD, TRUNK, ARM, HAND = (40, 15, 88, 65), (30, 65, 98, 125), (78, 20, 96, 100), (78, 100, 96, 120)
"""Left, top, right and bottom of boards; arm and hand are in front of head and trunk."""
DEPTHS = {Part.HAIR: 3.0, Part.TRUNK: 2.9, Part.LEFT_ARM: 2.6, Part.LEFT_HAND: 2.6}


def boards() -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Vertices [16, 3], faces [8, 3] and the part [8] of each."""
    vertices, faces, parts = [], [], []
    for number, ((part, depth), (x0, y0, x1, y1)) in enumerate(zip(DEPTHS.items(), (HEAD, TRUNK, ARM, HAND))):
        corners = np.array([(x0, y0), (x1, y0), (x1, y1), (x0, y1)], float)
        vertices.append(unproject(corners, np.full(4, depth), FOCAL, BOARD_SIZE))
        faces += [[4 * number, 4 * number + 2, 4 * number + 1], [4 * number, 4 * number + 3, 4 * number + 2]]
        parts += [int(part)] * 2
    return np.vstack(vertices), np.array(faces), np.array(parts)


def moved(put: dict[tuple[int, int, int, int], Part]) -> tuple[MeshHits, MeshHits, np.ndarray, np.ndarray]:
    """What rays meet of the boards before and after labels are ``put`` on rectangles; parts of faces; labels."""
    vertices, faces, parts = boards()
    first = rasterize_mesh(vertices, faces, FOCAL, (BOARD_SIZE, BOARD_SIZE))
    labels = np.where(first.face >= 0, parts[first.face], int(Part.NONE))
    for (x0, y0, x1, y1), part in put.items():
        labels[y0:y1, x0:x1] = part
    return first, as_labelled(first, labels, parts, vertices, faces, FOCAL), parts, labels


def same_elsewhere(first: MeshHits, after: MeshHits, box: tuple[int, int, int, int]) -> np.ndarray:
    """The rectangle, bool [S, S]; outside it all must be as it was."""
    x0, y0, x1, y1 = box
    there = np.zeros(first.face.shape, bool)
    there[y0:y1, x0:x1] = True
    for name in ("face", "barycentric", "depth"):
        np.testing.assert_array_equal(getattr(after, name)[~there], getattr(first, name)[~there])
    return there


def test_a_body_that_is_where_the_labels_say_stays() -> None:
    first, after, _, _ = moved({})
    same_elsewhere(first, after, (0, 0, 0, 0))


def test_hair_before_a_raised_arm_goes_with_the_head() -> None:
    lock = (78, 25, 93, 50)
    first, after, parts, _ = moved({lock: Part.HAIR})
    there = same_elsewhere(first, after, lock)
    # Also where the lock falls beside the head, 5 pixels of it.
    assert (parts[after.face[there]] == Part.HAIR).all()
    np.testing.assert_allclose(after.depth[there], DEPTHS[Part.HAIR], rtol=1e-6)
    assert (parts[first.face[there]] == Part.LEFT_ARM).all()


def test_a_hand_is_where_the_photo_shows_it_and_not_where_the_body_has_it() -> None:
    """It is held before the trunk; at the arm's end the photo shows the shirt."""
    first, after, parts, labels = moved({HAND: Part.TRUNK, (50, 80, 68, 100): Part.LEFT_HAND})
    shown = labels == Part.LEFT_HAND
    assert (parts[after.face[shown]] == Part.LEFT_HAND).all() and shown.sum() == 18 * 20
    np.testing.assert_allclose(after.depth[shown], DEPTHS[Part.LEFT_HAND], rtol=1e-6)
    gone = np.isin(first.face, np.flatnonzero(parts == Part.LEFT_HAND))
    assert (parts[after.face[gone]] == Part.TRUNK).all() and gone.sum() > 300
    np.testing.assert_allclose(after.depth[gone], DEPTHS[Part.TRUNK], rtol=1e-6)


def test_a_hand_is_as_wide_as_the_photo_shows_it() -> None:
    narrower, wider = (78, 102, 84, 118), (70, 102, 78, 118)
    first, after, parts, labels = moved({narrower: Part.TRUNK, wider: Part.LEFT_HAND})
    there = same_elsewhere(first, after, (70, 102, 84, 118))
    np.testing.assert_array_equal(parts[after.face[there]], labels[there])
    np.testing.assert_allclose(after.depth[there], np.where(labels == Part.LEFT_HAND, 2.6, 2.9)[there], rtol=1e-6)
    # What lies on the rim of the hand is what its nearest pixel shows.
    np.testing.assert_allclose(after.barycentric[110, 75], first.barycentric[110, 78], atol=0.05)


def test_clothes_of_the_trunk_run_into_head_arms_and_legs() -> None:
    """Labels of one on the other, and of parts that the body does not have, move nothing."""
    for part in (Part.HAIR, Part.LEFT_ARM, Part.LEFT_LEG, Part.RIGHT_FOOT, Part.SEAT, Part.NONE):
        first, after, _, _ = moved({(40, 70, 70, 90): part})
        same_elsewhere(first, after, (0, 0, 0, 0))
    # Nor is anything hung on a limb that no ray meets.
    first, after, _, _ = moved({(80, 40, 90, 60): Part.RIGHT_HAND})
    same_elsewhere(first, after, (0, 0, 0, 0))
