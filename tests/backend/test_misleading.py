"""What must not lend its colours to the unseen, on made-up trunks and seats."""

from __future__ import annotations

import numpy as np

from backend.reconstruct.colours import fill_unseen
from backend.reconstruct.misleading import (
    bare_neckline,
    misplaced_skin,
    on_front_alone,
    on_one_leg,
    skin_on_clothes,
)
from backend.reconstruct.regions import FACE_CLASS, HAIR_CLASS, NAPE_CLASS, SEAT_CLASS, TRUNK_CLASS

SKIN = np.array([0.8, 0.6, 0.5])


def chest(spacing: float = 0.005) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """x and y [n] across a trunk 36 cm wide and 40 high, and its places [n, 3] as the photo shows them."""
    x, y = (v.ravel() for v in np.meshgrid(np.arange(-0.18, 0.18, spacing), np.arange(0.0, 0.4, spacing)))
    return x, y, np.stack([x, y, np.full_like(x, 0.1)], 1)


def rejected(rest: np.ndarray, rgb: np.ndarray) -> np.ndarray:
    """What of a trunk in these colours has no place on its back."""
    return on_front_alone(rest, np.full(len(rest), TRUNK_CLASS), rgb, np.ones(len(rest), bool))


def test_skin_before_clothes_does_not_colour_what_is_behind_them() -> None:
    skin, cloth, dark = np.array([0.8, 0.6, 0.5]), np.array([0.95, 0.95, 0.95]), np.array([0.1, 0.1, 0.15])
    y, x = (v.ravel() for v in np.mgrid[0:0.36:72j, -0.12:0.12:48j])
    rest = np.concatenate([np.stack([x, y + up, np.full_like(x, 0.1)], 1) for up in (0.6, 0.0, -0.5)])
    kind = np.repeat([FACE_CLASS, TRUNK_CLASS, SEAT_CLASS], len(x))
    arm, thigh = (np.abs(y - 0.2) < 0.06) & (x < 0), x > -0.05  # before the TRUNK_CLASS, before most of the seat
    striped = np.where((np.floor(y / 0.006) % 8 > 0)[:, None], cloth, [0.85, 0.62, 0.55])
    rgb = np.concatenate(
        [np.tile(skin, (len(x), 1)), np.where(arm[:, None], skin, striped), np.where(thigh[:, None], skin, dark)]
    )
    source, nowhere = np.ones(len(rest), bool), np.zeros(len(rest), bool)
    _, on_trunk, on_seat = np.split(skin_on_clothes(rest, kind, rgb, source, nowhere), 3)
    inner = (np.abs(y - 0.2) < 0.03) & (x < -0.03)
    assert on_trunk[inner].mean() > 0.75 and on_trunk[~arm].mean() < 0.1  # stripes like skin stay
    assert np.array_equal(on_seat, thigh)
    # White stripes on the hem of a shirt are as bright as skin, but not as red.
    white = np.where((np.floor(y / 0.012) % 2 > 0)[:, None], [0.8, 0.78, 0.76], [0.2, 0.25, 0.5])
    rgb[2 * len(x) :] = white
    assert not skin_on_clothes(rest, kind, rgb, source, nowhere)[2 * len(x) :].any()
    # Whoever shows nothing but skin is left as they are.
    assert not skin_on_clothes(rest, kind, np.tile(skin, (len(rest), 1)), source, nowhere).any()


def test_skin_in_sun_and_shadow_is_skin_where_clothes_are_black() -> None:
    y, x = (v.ravel() for v in np.mgrid[0:0.2:40j, -0.12:0.12:48j])
    seat = np.stack([x, y, np.full_like(x, 0.1)], 1)
    rest = np.concatenate([seat + np.array([0, 1, 0]), seat])
    kind = np.repeat([FACE_CLASS, SEAT_CLASS], len(x))
    thigh = x > 0
    light = np.linspace(0.45, 1.2, len(x))[:, None]
    black = 0.05 + 0.03 * np.sin(90 * x)[:, None] * np.ones(3)
    rgb = np.concatenate([np.tile(SKIN, (len(x), 1)), np.where(thigh[:, None], light * SKIN, black)])
    found = misplaced_skin(rest, kind, rgb, np.ones(len(rest), bool))
    assert not found[: len(x)].any() and np.array_equal(found[len(x) :], thigh)
    # Brown trousers below a white shirt are no skin in shadow.
    brown = np.where((y > 0.08)[:, None], 0.9, light * [0.36, 0.32, 0.25])
    rgb = np.concatenate([np.tile(SKIN, (len(x), 1)), brown])
    assert not misplaced_skin(rest, kind, rgb, np.ones(len(rest), bool)).any()


def test_grey_hair_as_bright_as_skin_is_told_from_a_forehead() -> None:
    x, y, place = chest(0.01)
    rest, kind = np.vstack([place, place + np.array([0, 0.4, 0])]), np.repeat([FACE_CLASS, HAIR_CLASS], len(x))
    dark, grey = np.array([0.43, 0.3, 0.26]), np.array([0.37, 0.35, 0.36])
    forehead = y < 0.05
    light = (1 + 2 * x)[:, None]
    rgb = np.vstack([np.tile(dark, (len(x), 1)), np.where(forehead[:, None], dark, light * grey)])
    found = misplaced_skin(rest, kind, rgb, np.ones(len(rest), bool))
    assert np.array_equal(found, np.append(np.zeros(len(x), bool), forehead))
    # Neither a shaved head in the light nor its shadow on the skin is hair.
    rgb[len(x) :] = light * [0.36, 0.27, 0.24]
    assert not misplaced_skin(rest, kind, rgb, np.ones(len(rest), bool)).any()


def test_half_of_what_should_be_hair_may_be_forehead() -> None:
    x, y, place = chest(0.01)
    rest, kind = np.vstack([place, place + np.array([0, 0.4, 0])]), np.repeat([FACE_CLASS, HAIR_CLASS], len(x))
    # A head that is fitted askew: more of the skin, in shadow, than of the hair.
    forehead = y < np.quantile(y, 0.58)
    rgb = np.vstack([np.tile(SKIN, (len(x), 1)), np.where(forehead[:, None], 0.85 * np.asarray(SKIN), 0.1)])
    found = misplaced_skin(rest, kind, rgb, np.ones(len(rest), bool))
    assert np.array_equal(found, np.append(np.zeros(len(x), bool), forehead))
    # Shadow on a bald head is none, however deep.
    shadow = y > np.quantile(y, 0.58)
    for light in (0.8, 0.7, 0.6, 0.4):
        rgb[len(x) :] = np.where(shadow[:, None], light, 0.95) * np.asarray(SKIN)
        assert not misplaced_skin(rest, kind, rgb, np.ones(len(rest), bool)).any()


def test_skin_beside_an_arm_is_the_arms() -> None:
    # A strip of skin too thin to be a patch.
    x, y, trunk = chest()
    rest = np.concatenate([trunk + np.array([0, 1, 0]), trunk])
    kind = np.repeat([FACE_CLASS, TRUNK_CLASS], len(x))
    strip = np.abs(y - 0.2) < 0.008
    cloth = np.array([0.3, 0.35, 0.6])
    rgb = np.concatenate([np.tile(SKIN, (len(x), 1)), np.where(strip[:, None], SKIN, cloth)])
    source, beside = np.ones(len(rest), bool), np.zeros(len(rest), bool)
    assert not skin_on_clothes(rest, kind, rgb, source, beside).any()
    beside[len(x) :] = np.abs(y - 0.2) < 0.02
    assert np.array_equal(skin_on_clothes(rest, kind, rgb, source, beside)[len(x) :], strip)


def test_prints_ties_and_open_jackets_stay_in_front() -> None:
    x, y, rest = chest()
    light = (1 - 0.3 * np.abs(x) / 0.18)[:, None]  # a trunk is darker at its sides
    white, black, yellow = np.full(3, 0.9), np.full(3, 0.1), np.array([0.9, 0.8, 0.2])
    rim = 0.011
    band = (np.abs(x) < 0.12) & (np.abs(y - 0.15) < 0.05)
    disc = np.hypot(x, y - 0.3) < 0.05
    rgb = light * np.select([band[:, None], disc[:, None]], [black, yellow], white)
    found = rejected(rest, rgb)
    assert found[band | disc].mean() > 0.99
    far = (np.maximum(np.abs(x) - 0.12, np.abs(y - 0.15) - 0.05) > rim) & (np.hypot(x, y - 0.3) > 0.05 + rim)
    assert not found[far].any()
    # The shirt in an open jacket, though it is as wide as a third of the trunk.
    shirt = np.abs(x) < 0.06
    found = rejected(rest, light * np.where(shirt[:, None], white, [0.2, 0.25, 0.4]))
    assert found[shirt].all() and not found[np.abs(x) > 0.06 + rim].any()


def test_patterns_go_on_behind() -> None:
    x, y, rest = chest()
    red, white = np.array([0.8, 0.1, 0.1]), np.full(3, 0.9)
    patterns = {
        "plain": np.ones(len(x), bool),
        "across": np.floor(y / 0.02) % 4 > 0,
        "upright": np.floor((x + 0.2) / 0.02) % 3 > 0,
        "checks": (np.floor(y / 0.04) + np.floor((x + 0.2) / 0.04)) % 2 > 0,
        "halves": y > 0.2,
        "lit": np.ones(len(x), bool),
    }
    for name, pattern in patterns.items():
        rgb = np.where(pattern[:, None], white, red)
        if name == "lit":  # from one side
            rgb = rgb * (0.75 + 0.25 * x / 0.18)[:, None]
        assert rejected(rest, rgb).mean() < 0.05, name


def test_a_bag_before_one_thigh_stays_in_front() -> None:
    y, x = (v.ravel() for v in np.mgrid[-0.8:0:160j, -0.16:0.16:64j])
    rest = np.stack([x, y, np.full_like(x, 0.1)], 1)[np.abs(x) > 0.02]
    x, y = rest[:, 0], rest[:, 1]
    kind, source = np.full(len(rest), SEAT_CLASS + 0.1), np.ones(len(rest), bool)
    light = np.where(x > 0, 1.2, 0.85)[:, None]
    trousers, shoes = np.array([0.5, 0.42, 0.1]), np.array([0.1, 0.1, 0.1])
    rgb = np.where((y < -0.7)[:, None], shoes, trousers) * light
    bag = (x > 0.04) & (np.abs(y + 0.2) < 0.12)
    carried = np.where(bag[:, None], [0.08, 0.08, 0.1], rgb)
    found = on_one_leg(rest, kind, carried, source)
    assert found[bag].mean() > 0.95 and found[~bag].mean() < 0.05
    # Shade on one leg, shoes, stripes and legs of two colours are clothes.
    striped = np.where((np.floor(y / 0.03) % 2 > 0)[:, None], rgb, [0.2, 0.2, 0.6])
    halved = np.where(((x > 0) & (y > -0.7))[:, None], [0.2, 0.2, 0.6], rgb)
    for cloth in (rgb, striped, halved):
        assert not on_one_leg(rest, kind, cloth, source).any()
    # What only one leg shows is not told from the other.
    assert not on_one_leg(rest, kind, carried, x > 0).any()


def test_the_back_of_a_shirt_reaches_up_to_the_neck() -> None:
    x, y, trunk = chest()
    neck = np.stack([0.3 * x, 0.4 + 0.2 * y, np.full_like(x, 0.05)], 1)
    face = np.stack([0.4 * x, 0.6 + 0.4 * y, np.full_like(x, 0.1)], 1)
    rest = np.concatenate([trunk, neck, face])
    kind = np.repeat([TRUNK_CLASS, NAPE_CLASS + 0.1, FACE_CLASS], len(x))
    open_ = y > 0.3 + np.abs(x)
    cloth = np.where((np.floor(y / 0.03) % 2 > 0)[:, None], [0.9, 0.76, 0.58], [0.45, 0.36, 0.27])
    lit = np.linspace(0.8, 1.2, len(x))[:, None] * SKIN
    rgb = np.concatenate([np.where(open_[:, None], lit, cloth), lit, np.tile(SKIN, (len(x), 1))])
    found = bare_neckline(rest, kind, rgb)
    assert np.array_equal(found[: len(x)], open_) and found[len(x) : 2 * len(x)].all() and not found[2 * len(x) :].any()
    back = trunk * [1, 1, -1]
    filled = fill_unseen(rest, kind, rgb, np.ones(len(rest)), back, np.full(len(back), TRUNK_CLASS))
    # Of red, skin has 0.75 as green, both colours of the cloth 0.8 or more.
    assert (filled[open_, 1] > 0.79 * filled[open_, 0]).all()
    neck_behind = fill_unseen(rest, kind, rgb, np.ones(len(rest)), neck * [1, 1, -1], kind[len(x) : 2 * len(x)])
    assert np.abs(neck_behind - lit).mean() < 0.05
    # A dress without straps leaves the back bare too.
    rgb[: len(x)] = np.where((y > 0.26)[:, None], lit, cloth)
    assert not bare_neckline(rest, kind, rgb).any()
    # Who wears nothing there keeps their skin, and so does who cannot be told from it.
    for same in (lit, np.tile([0.5, 0.5, 0.5], (len(x), 1))):
        assert not bare_neckline(rest, kind, np.tile(same, (3, 1))).any()
