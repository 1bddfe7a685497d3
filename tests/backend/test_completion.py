"""Colours of what no picture shows: parts of the problem against plain numpy, the whole on tubes, faces and chests."""

from __future__ import annotations

from dataclasses import replace

import cv2
import numpy as np
import pytest
from scipy import sparse

from backend.estimate.shading import LUMINANCE
from backend.reconstruct.completion import (
    Places,
    Said,
    _detail,
    _solved,
    _surface_graph,
    alike,
    complete,
    partners,
    pose_problem,
    solve_problem,
    transferable,
)
from backend.reconstruct.config import SURFACE_STEP_M, CompletionConfig
from backend.reconstruct.parts import UNLIKENESS, Part

CONFIG = CompletionConfig()
SKIN, CLOTH, NOBODY = np.array([0.8, 0.6, 0.5]), np.array([0.2, 0.3, 0.6]), 0.33
RADIUS = 0.15


def tube(
    spacing: float = 0.01, half: float = 0.3, middle: tuple[float, float, float] = (0, 0, 0), radius: float = RADIUS,
    part: Part = Part.TRUNK, across: bool = False,
) -> Places:  # fmt: skip
    """Places evenly over an open tube of ``radius``, upright or ``across``; the photo is taken from where z is."""
    around = np.linspace(0, 2 * np.pi, round(2 * np.pi * radius / spacing), endpoint=False)
    around, along = (v.ravel() for v in np.meshgrid(around, np.arange(-half + spacing / 2, half, spacing)))
    normal = np.stack([np.sin(around), np.zeros_like(around), np.cos(around)], 1)
    rest = radius * normal + along[:, None] * [0, 1, 0]
    if across:
        normal, rest = normal[:, [1, 0, 2]], rest[:, [1, 0, 2]]
    return Places(rest + middle, normal * [1, -1, -1], np.full(len(rest), int(part)))


def joined(*all_: Places) -> Places:
    return Places(*(np.concatenate([getattr(p, name) for p in all_]) for name in ("rest", "normal", "part")))


def facing(places: Places) -> np.ndarray:
    """How far a photo from the front shows each place, by the ramp of the product."""
    return ((-places.normal[:, 2] - 0.1) / 0.4).clip(0, 1)


def said(rgb: np.ndarray, belief: np.ndarray) -> Said:
    """``rgb`` where the photo shows something; noise, which must not count, elsewhere."""
    noise = np.random.default_rng(5).random(rgb.shape)
    return Said(np.where(belief[:, None] > 0, rgb, noise), belief)


def even(places: Places, rgb: np.ndarray) -> np.ndarray:
    return np.tile(rgb, (len(places.part), 1))


def test_the_solution_is_the_minimiser_of_its_energy() -> None:
    rng = np.random.default_rng(0)
    weight = rng.random((50, 50)) * (rng.random((50, 50)) < 0.2)
    weight = weight + weight.T
    np.fill_diagonal(weight, 0)
    laplacian = np.diag(weight.sum(1)) - weight
    data = rng.random(50) * (rng.random(50) < 0.3) + 1e-3
    target = rng.random((50, 3))
    exact = replace(CONFIG, tolerance=1e-12)
    found = _solved(sparse.csr_matrix(laplacian), data, data[:, None] * target, rng.random((50, 3)), exact)
    expected = np.linalg.solve(laplacian + np.diag(data), data[:, None] * target)
    np.testing.assert_allclose(found, expected, atol=1e-8)

    def energy(x: np.ndarray) -> float:
        bending = 0.5 * (weight[..., None] * (x[:, None] - x[None]) ** 2).sum()
        return float((data[:, None] * (x - target) ** 2).sum() + bending)

    assert all(energy(found + 1e-3 * rng.normal(size=found.shape)) > energy(found) for _ in range(20))
    # With the tolerance of the product no colour is wrong by a step of 8 bits.
    usual = _solved(sparse.csr_matrix(laplacian), data, data[:, None] * target, target, CONFIG)
    assert np.abs(usual - expected).max() < 1 / 255


def test_neighbours_are_weighted_as_written_here_once_more() -> None:
    rng = np.random.default_rng(1)
    count = 60
    normal = rng.normal(size=(count, 3))
    normal /= np.linalg.norm(normal, axis=1, keepdims=True)
    part = rng.choice([Part.TRUNK, Part.SEAT, Part.LEFT_ARM, Part.LEFT_HAND], count)
    places = Places(rng.uniform(-0.1, 0.1, (count, 3)), normal, part)
    guess = rng.random((count, 3))
    found = _surface_graph(places, guess, CONFIG).toarray()
    away = np.sqrt(
        ((places.rest[:, None] - places.rest) ** 2).sum(2)
        + ((normal[:, None] - normal) ** 2).sum(2) * SURFACE_STEP_M**2
    )
    near = np.argsort(away + np.diag(np.full(count, np.inf)), axis=1)[:, : CONFIG.neighbours]
    width = np.median(np.take_along_axis(away, near, 1))
    lab = cv2.cvtColor(guess[None].astype(np.float32), cv2.COLOR_RGB2LAB)[0] * [0.5, 1, 1]
    expected = np.zeros((count, count))
    for i in range(count):
        for j in near[i]:
            weight = np.exp(-((away[i, j] / (2 * width)) ** 2) / 2)
            weight /= 1 + (UNLIKENESS[part[i], part[j]] / CONFIG.border) ** 2
            weight /= 1 + ((lab[i] - lab[j]) ** 2).sum() / CONFIG.edge**2
            expected[i, j] += weight / 2
            expected[j, i] += weight / 2
    np.testing.assert_allclose(found, np.diag(expected.sum(1)) - expected, atol=1e-5)
    np.testing.assert_allclose(found.sum(1), 0, atol=1e-12)


def test_partners_are_those_that_a_search_through_all_finds() -> None:
    rng = np.random.default_rng(2)
    part = np.repeat([Part.TRUNK, Part.LEFT_LEG, Part.RIGHT_LEG, Part.LEFT_ARM, Part.FACE, Part.LEFT_HAND], 40)
    places = Places(rng.uniform(-0.3, 0.3, (240, 3)), np.tile([0.0, 0, -1], (240, 1)), part)
    belief = np.where(np.arange(240) % 2, rng.uniform(0.2, 1, 240), 0)
    source, hidden = np.flatnonzero(belief), np.flatnonzero(belief == 0)
    rgb = rng.random((240, 3))
    one = replace(CONFIG, neighbours=1)
    nearest, lent, distance = partners(places, Said(rgb, belief), belief, source, hidden, one)
    for k, place in enumerate(hidden):
        scale = {
            Part.FACE: (1, 1, 1), Part.LEFT_HAND: (1, 1, one.through), Part.LEFT_ARM: (one.along, 1, one.through)
        }.get(part[place], (1, one.along, one.through))  # fmt: skip
        best = []
        for j in source:
            unlike = UNLIKENESS[part[place], part[j]] * one.unlike + (1 - belief[j]) * one.reach
            for side, farther in ((1, 0.0), (-1, one.mirror)):
                apart = (places.rest[place] - places.rest[j] * [side, 1, 1]) * scale
                best.append((np.sqrt((apart**2).sum() + unlike**2 + farther**2), j))
        assert distance[k] == pytest.approx(min(best)[0]) and nearest[k] == min(best)[1]
        np.testing.assert_allclose(lent[k], rgb[nearest[k]])
    # Of more neighbours colours are mixed, and never beyond their range.
    _, mixed, same = partners(places, Said(rgb, belief), belief, source, hidden, CONFIG)
    np.testing.assert_allclose(same, distance)
    assert mixed.min() > rgb[source].min() and mixed.max() < rgb[source].max()


def test_without_a_part_that_is_seen_the_least_unlike_one_lends() -> None:
    """Of trousers only the seat is seen: legs are its colour, not the nearer hand's."""
    seat, hand = tube(part=Part.SEAT, half=0.1), tube(part=Part.LEFT_HAND, half=0.1, middle=(0, -0.25, 0), radius=0.05)
    leg = tube(part=Part.LEFT_LEG, half=0.2, middle=(0.05, -0.3, 0), radius=0.07)
    places = joined(seat, hand, leg)
    belief = np.where(places.part == Part.LEFT_LEG, 0, facing(places))
    rgb = np.where((places.part == Part.LEFT_HAND)[:, None], SKIN, CLOTH)
    found = complete(places, said(rgb, belief))
    np.testing.assert_allclose(found[places.part == Part.LEFT_LEG], even(leg, CLOTH), atol=0.03)


def test_a_tube_of_one_colour_is_that_colour_all_around() -> None:
    places = tube()
    colour = np.array([0.3, 0.5, 0.7])
    found = complete(places, said(even(places, colour), facing(places)))
    np.testing.assert_allclose(found, even(places, colour), atol=1e-9)


def test_the_border_of_shirt_and_trousers_keeps_its_height_behind() -> None:
    places = tube(spacing=0.005)
    height, behind = places.rest[:, 1], places.normal[:, 2] > 0
    shirt, trousers = np.array([0.8, 0.2, 0.2]), np.array([0.15, 0.15, 0.4])
    true = np.where(height[:, None] > 0.05, shirt, trousers)
    found = complete(places, said(true, facing(places)))
    upper = (found - (shirt + trousers) / 2) @ (shirt - trousers) > 0
    far = np.abs(height - 0.05) > 0.01
    np.testing.assert_array_equal(upper[behind & far], (height > 0.05)[behind & far])
    assert np.abs(found - true)[behind & (np.abs(height - 0.05) > 0.03)].max() < 0.03


def test_a_badge_stays_in_front() -> None:
    places = tube()
    behind = places.normal[:, 2] > 0
    badge = (np.linalg.norm(places.rest[:, :2], axis=1) < 0.05) & ~behind
    grey = even(places, np.full(3, 0.5))
    found = complete(places, said(np.where(badge[:, None], [0.9, 0.1, 0.1], grey), facing(places)))
    assert badge.sum() > 50
    np.testing.assert_allclose(found[behind], grey[behind], atol=0.01)
    # Nor is it left under itself, where something else may be put over it.
    np.testing.assert_allclose(found[badge], grey[badge], atol=0.01)


def test_stripes_go_on_behind() -> None:
    """Around a trunk, and around an arm, which points aside at rest."""
    arm = {"middle": (0.5, 0.3, 0.0), "radius": 0.05, "half": 0.15, "part": Part.LEFT_ARM, "across": True}
    for places, axis in ((tube(spacing=0.004, half=0.18), 1), (tube(spacing=0.004, **arm), 0)):
        behind = places.normal[:, 2] > 0
        light = np.floor(places.rest[:, axis] / 0.06) % 2 > 0
        true = np.where(light[:, None], 0.8, 0.2) * np.ones(3)
        found = complete(places, said(true, facing(places)))
        assert ((found[:, 0] > 0.5) == light)[behind].mean() > 0.97
        assert found[behind & light].mean() - found[behind & ~light].mean() > 0.5 * 0.6


def chest(spacing: float = 0.005) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """x and y [n] across a trunk 36 cm wide and 40 high, and its places [n, 3] as the photo shows them."""
    x, y = (v.ravel() for v in np.meshgrid(np.arange(-0.18, 0.18, spacing), np.arange(0.0, 0.4, spacing)))
    return x, y, np.stack([x, y, np.full_like(x, 0.1)], 1)


X, Y, CHEST = chest()


def goes_on(rgb: np.ndarray, part: Part = Part.TRUNK, face: np.ndarray | None = None) -> np.ndarray:
    """How far each place of a part in these colours goes on; with a ``face`` of some colour, half as large above it."""
    rest, parts = CHEST, np.full(len(CHEST), int(part))
    if face is not None:
        rest = np.vstack([rest, CHEST * [0.5, 0.5, 1] + [0, 0.6, 0]])
        parts, rgb = np.repeat([part, Part.FACE], len(CHEST)), np.vstack([rgb, np.tile(face, (len(CHEST), 1))])
    places = Places(rest, np.tile([0.0, 0, -1], (len(rest), 1)), parts)
    share = transferable(places, Said(rgb, np.ones(len(rest))), CONFIG)
    assert share.min() >= 0 and share.max() <= 1 and (share[len(CHEST) :] == 1).all()
    return share[: len(CHEST)]


def test_prints_ties_and_open_jackets_do_not_go_on() -> None:
    light = (1 - 0.3 * np.abs(X) / 0.18)[:, None]  # a trunk is darker at its sides
    white, black, yellow = np.full(3, 0.9), np.full(3, 0.1), np.array([0.9, 0.8, 0.2])
    band, disc = (np.abs(X) < 0.12) & (np.abs(Y - 0.15) < 0.05), np.hypot(X, Y - 0.3) < 0.05
    share = goes_on(light * np.select([band[:, None], disc[:, None]], [black, yellow], white))
    assert (share[band | disc] < 0.5).mean() > 0.9 and share[~band & ~disc].min() > 0.5
    tie = np.abs(X) < 0.03
    share = goes_on(light * np.where(tie[:, None], [0.7, 0.1, 0.1], white))
    assert share[tie].max() < 0.1 and share[~tie].min() > 0.9
    # The shirt in an open jacket, though it is as wide as a third of the trunk.
    shirt = np.abs(X) < 0.06
    share = goes_on(light * np.where(shirt[:, None], white, [0.2, 0.25, 0.4]))
    assert share[shirt].max() < 0.1 and share[~shirt].min() > 0.9


def test_patterns_and_shadows_go_on() -> None:
    red, white = np.array([0.8, 0.1, 0.1]), np.full(3, 0.9)
    patterns = {
        "plain": np.ones(len(X), bool),
        "across": np.floor(Y / 0.02) % 4 > 0,
        "wide": np.floor(Y / 0.06) % 2 > 0,
        "upright": np.floor((X + 0.2) / 0.02) % 2 > 0,
        "checks": (np.floor(Y / 0.04) + np.floor((X + 0.2) / 0.04)) % 2 > 0,
        "halves": Y > 0.2,
    }
    for name, pattern in patterns.items():
        assert goes_on(np.where(pattern[:, None], white, red)).min() > 0.9, name
    assert goes_on(white * (0.75 + 0.25 * X / 0.18)[:, None]).min() > 0.5  # lit from one side


def test_skin_before_clothes_does_not_go_on() -> None:
    """A hand that was taken for the shirt that it lies before; and a neckline, but not a bare back."""
    hand = (np.abs(Y - 0.2) < 0.05) & (np.abs(X - 0.03) < 0.05)
    for face in (None, SKIN):
        share = goes_on(np.where(hand[:, None], SKIN, 0.95), face=face)
        assert share[hand].max() < 0.1 and share[~hand].min() > 0.9
    # A forearm from one side to the middle.
    arm = (np.abs(Y - 0.2) < 0.06) & (X < 0)
    share = goes_on(np.where(arm[:, None], SKIN, 0.95), face=SKIN)
    assert share[arm].mean() < 0.5 and share[np.abs(Y - 0.2) > 0.1].min() > 0.9
    neckline = Y > 0.3 + np.abs(X)
    share = goes_on(np.where(neckline[:, None], SKIN, CLOTH), face=SKIN)
    assert share[neckline].max() < 0.1 and share[~neckline].min() > 0.9
    # A dress without straps leaves the back bare, and so does who wears nothing.
    bare = Y > 0.26
    away = np.abs(Y - 0.26) > 0.01
    assert goes_on(np.where(bare[:, None], SKIN, CLOTH), face=SKIN)[away].min() > 0.9
    assert goes_on(np.tile(SKIN, (len(X), 1)), face=SKIN).min() > 0.9


def test_a_bag_before_one_thigh_hardly_goes_on() -> None:
    y, x = (v.ravel() for v in np.mgrid[-0.8:0:160j, -0.16:0.16:64j])
    rest = np.stack([x, y, np.full_like(x, 0.1)], 1)[np.abs(x) > 0.02]
    x, y = rest[:, 0], rest[:, 1]
    light = np.where(x > 0, 1.1, 0.9)[:, None]
    cloth = np.where((y < -0.7)[:, None], [0.1, 0.1, 0.1], [0.5, 0.42, 0.1]) * light
    part = np.where(x > 0, int(Part.LEFT_LEG), int(Part.RIGHT_LEG))
    places = Places(rest, np.tile([0.0, 0, -1], (len(rest), 1)), part)
    bag = (x > 0.04) & (np.abs(y + 0.2) < 0.12)
    share = transferable(places, Said(np.where(bag[:, None], [0.08, 0.08, 0.1], cloth), np.ones(len(x))), CONFIG)
    assert share[bag].mean() < 0.5 and share[np.abs(y + 0.2) > 0.15].min() > 0.5
    # Shoes, and shade on one leg, are clothes.
    assert transferable(places, Said(cloth, np.ones(len(x))), CONFIG).min() > 0.5


def test_a_forehead_where_hair_should_be_is_no_hair_and_a_bald_head_is() -> None:
    forehead = Y < np.quantile(Y, 0.4)
    share = goes_on(np.where(forehead[:, None], 0.9 * SKIN, 0.1), Part.HAIR, SKIN)
    assert share[forehead].max() < 0.1 and share[~forehead].min() > 0.9
    shadow = np.where((Y > 0.2)[:, None], 0.7, 0.95) * SKIN
    assert goes_on(shadow, Part.HAIR, SKIN).min() > 0.9


def test_of_few_places_nothing_is_concluded() -> None:
    few = CONFIG.fewest - 1
    places = Places(CHEST[:few], np.tile([0.0, 0, -1], (few, 1)), np.full(few, int(Part.TRUNK)))
    rgb = np.random.default_rng(0).random((few, 3))
    assert (transferable(places, Said(rgb, np.ones(few)), CONFIG) == 1).all()


def test_a_hand_before_a_shirt_does_not_colour_the_back() -> None:
    """Whether the labels say that it is a hand or take it for the shirt."""
    trunk = tube()
    behind = trunk.normal[:, 2] > 0
    hand = (np.abs(trunk.rest[:, 1]) < 0.05) & (np.abs(trunk.rest[:, 0] - 0.04) < 0.06) & ~behind
    rgb = np.where(hand[:, None], SKIN, CLOTH)
    for part in (Part.LEFT_HAND, Part.TRUNK):
        places = replace(trunk, part=np.where(hand, int(part), int(Part.TRUNK)))
        found = complete(places, said(rgb, facing(places)))
        assert np.abs(found - CLOTH)[behind].max() < 0.03, part


def arms_and_hands() -> tuple[Places, Places]:
    """Arms that point aside from a tube of a trunk, and hands at their ends."""
    sides, hands = [], []
    for sign, side in ((1, "LEFT"), (-1, "RIGHT")):
        at_side = {"across": True, "spacing": 0.006}
        sides.append(tube(part=Part[f"{side}_ARM"], radius=0.045, half=0.14, middle=(sign * 0.3, 0.22, 0), **at_side))
        hands.append(tube(part=Part[f"{side}_HAND"], radius=0.03, half=0.08, middle=(sign * 0.53, 0.22, 0), **at_side))
    return joined(*sides), joined(*hands)


def test_bare_arms_do_not_colour_a_trunk() -> None:
    """Somebody in a vest: the back is cloth up to the arms, and the arms are skin."""
    places = joined(tube(), arms_and_hands()[0])
    trunk = places.part == Part.TRUNK
    found = complete(places, said(np.where(trunk[:, None], CLOTH, SKIN), facing(places)))
    share = (found - CLOTH) @ (SKIN - CLOTH) / ((SKIN - CLOTH) ** 2).sum()
    assert share[~trunk].min() > 0.95
    back = trunk & (places.normal[:, 2] > 0.2)
    assert np.abs(share[back & (np.abs(places.rest[:, 1] - 0.22) > 0.15)]).max() < 0.05
    assert np.abs(share[back & (np.abs(places.rest[:, 0]) < 0.1)]).max() < 0.1


def test_a_stiff_hand_that_the_photo_does_not_show_is_no_sleeve() -> None:
    """It lies on the forearm; the other hand, which is seen, lends its colour."""
    places = joined(tube(), *arms_and_hands())
    hand = np.isin(places.part, [Part.LEFT_HAND, Part.RIGHT_HAND])
    hidden = places.part == Part.LEFT_HAND
    found = complete(places, said(np.where(hand[:, None], SKIN, CLOTH), np.where(hidden, 0, facing(places))))
    np.testing.assert_allclose(found[hidden], np.tile(SKIN, (hidden.sum(), 1)), atol=0.03)
    np.testing.assert_allclose(found[~hand], np.tile(CLOTH, ((~hand).sum(), 1)), atol=0.03)


def test_legs_beyond_the_photo_are_trousers_and_not_what_hangs_before_one_of_them() -> None:
    """The photo ends at the thighs, where something white hangs before the left one."""
    legs = [
        tube(part=part, radius=0.08, half=0.45, middle=(side * 0.1, -0.45, 0))
        for side, part in ((1, Part.LEFT_LEG), (-1, Part.RIGHT_LEG))
    ]
    places = joined(*legs, tube(part=Part.LEFT_FOOT, radius=0.05, half=0.05, middle=(0.1, -0.95, 0)))
    height = places.rest[:, 1]
    white = (np.abs(places.rest[:, 0] - 0.1) < 0.04) & (height < -0.25) & (places.normal[:, 2] < 0)
    belief = np.where(height > -0.3, facing(places), 0)
    assert (white & (belief > 0.5)).sum() > 30
    found = complete(places, said(np.where(white[:, None], 1.0, CLOTH), belief))
    np.testing.assert_allclose(found[height < -0.3], np.tile(CLOTH, ((height < -0.3).sum(), 1)), atol=0.03)


@pytest.mark.parametrize(("part", "apart"), [(Part.HAIR, 0.2), (Part.LEFT_FOOT, 0.2 * CONFIG.through)])
@pytest.mark.parametrize("belief", [0.0, 0.4, 1.0])
def test_views_count_against_the_guess_by_how_far_they_are_believed(part: Part, apart: float, belief: float) -> None:
    """Two places, 20 cm apart through the body, of which the photo shows one: two equations with two unknowns."""
    places = Places(
        np.array([[0, 0, 0.1], [0, 0, -0.1]]), np.array([[0, 0, -1.0], [0, 0, -1.0]]), np.full(2, int(part))
    )
    colour = np.array([0.5, 0.4, 0.3])
    # As bright as the photo's, or it would be brought into its light.
    other = colour + 0.2 * np.array([LUMINANCE[1], -LUMINANCE[0], 0])
    exact = replace(CONFIG, neighbours=1, tolerance=1e-13)
    photo, views = (
        said(np.stack([colour, colour]), np.array([1.0, 0.0])),
        Said(np.stack([colour, other]), np.full(2, belief)),
    )
    found = complete(places, photo, views, exact)
    guess = CONFIG.partner / (1 + (apart / CONFIG.reach) ** 2)
    view = guess * belief * CONFIG.views[0] * (CONFIG.views[1] if part == Part.HAIR else 1)
    edge = np.exp(-1 / 8)
    system = np.array([[1 + edge, -edge], [-edge, guess + view + edge]])
    right = np.stack([colour, guess * colour + view * other])
    np.testing.assert_allclose(found, np.linalg.solve(system, right), atol=2e-5)
    np.testing.assert_allclose(complete(places, photo, None, exact), [colour, colour], atol=1e-6)


def test_views_in_another_light_are_brought_into_the_photos() -> None:
    places = tube()
    tint = np.array([0.6, 0.5, 0.35])
    views = Said(even(places, 0.75 * tint), np.ones(len(places.part)))
    found = complete(places, said(even(places, tint), facing(places)), views)
    assert np.abs(found - tint).max() < 0.02


def test_views_decide_what_is_behind() -> None:
    """What the photo shows stays; behind, views of a mark that is not seen in front are followed."""
    places = tube()
    belief = facing(places)
    mark = (np.abs(places.rest[:, 1]) < 0.1) & (places.normal[:, 2] > 0.5)
    grey, other = np.full(3, 0.5), 0.5 + 0.25 * np.array([LUMINANCE[1], -LUMINANCE[0], 0])
    views = Said(np.where(mark[:, None], other, grey), np.ones(len(mark)))
    found = complete(places, said(even(places, grey), belief), views)
    share = (found - grey) @ (other - grey) / ((other - grey) ** 2).sum()
    inner = (np.abs(places.rest[:, 1]) < 0.06) & (places.normal[:, 2] > 0.8)
    # As the weights of guess and view say, less what neighbours that are not marked take.
    most = CONFIG.views[0] / (1 + CONFIG.views[0])
    assert 0.6 * most < share[inner].mean() < most
    assert np.abs(share[belief > 0.9]).max() < 0.05


def test_where_the_photo_shows_nothing_views_say_all_or_it_is_grey() -> None:
    places = tube(half=0.05)
    nothing = said(even(places, SKIN), np.zeros(len(places.part)))
    assert (complete(places, nothing) == 0.5).all()
    views = Said(np.random.default_rng(0).uniform(-0.1, 1.1, places.rest.shape), np.ones(len(places.part)))
    np.testing.assert_array_equal(complete(places, nothing, views), views.rgb.clip(0, 1))


def test_the_problem_is_the_same_whoever_says_something_later() -> None:
    places = tube(half=0.1)
    photo = said(np.random.default_rng(0).random(places.rest.shape), facing(places))
    views = Said(even(places, SKIN), np.full(len(places.part), 0.5))
    problem = pose_problem(places, photo, transferable(places, photo, CompletionConfig()))
    first = solve_problem(problem, views)
    assert first.min() >= 0 and first.max() <= 1
    assert not np.array_equal(solve_problem(problem), first)
    np.testing.assert_array_equal(solve_problem(problem, views), first)
    np.testing.assert_array_equal(complete(places, photo, views), first)


def test_alike_leaves_what_is_shown_and_knows_one_part_from_another() -> None:
    """A shirt, red on the left and blue on the right, seen from the front; hair on top of a face."""
    rest = np.array([[0.1, 0, 0.1], [-0.1, 0, 0.1], [0, 0.6, 0.1], [0, 0.72, 0], [0.1, 0, -0.1], [-0.1, 0, -0.1],
                     [0, 0.6, -0.1]])  # fmt: skip
    part = np.array([Part.TRUNK, Part.TRUNK, Part.FACE, Part.HAIR, Part.TRUNK, Part.TRUNK, Part.HAIR])
    colour = np.array([[1.0, 0, 0], [0, 0, 1], [0.9, 0.7, 0.6], [0.1, 0.1, 0.1]])
    rgb, belief = np.vstack([colour, np.full((3, 3), NOBODY)]), np.array([1.0, 1, 1, 1, 0, 0, 0])
    places = Places(rest, np.tile([0.0, 0, -1], (7, 1)), part)
    found = alike(places, Said(rgb, belief), replace(CONFIG, neighbours=1))
    np.testing.assert_allclose(found, colour[[0, 1, 2, 3, 0, 1, 3]])


def test_light_and_dark_hair_meet_softly_behind() -> None:
    """A lamp beside the head: what is seen of its hair is light on one side and dark on the other."""
    rng = np.random.default_rng(0)
    outward = rng.normal(size=(6000, 3))
    outward /= np.linalg.norm(outward, axis=1, keepdims=True)
    places = Places(0.1 * outward, outward * [1, -1, -1], np.full(6000, int(Part.HAIR)))
    shown = (outward[:, 2] > 0) & (np.abs(outward[:, 0]) > 0.2)
    rgb = np.where(outward[:, :1] > 0, 0.9, 0.1) * np.ones(3)
    found = complete(places, said(rgb, shown.astype(float)))[:, 0]
    around = np.degrees(np.arctan2(outward[:, 0], -outward[:, 2]))
    low = [found[(np.abs(outward[:, 1]) < 0.3) & (np.abs(around - a) < 10)].mean() for a in range(-80, 81, 20)]
    assert low[0] < 0.15 and low[-1] > 0.85 and 0.35 < low[4] < 0.65
    assert (np.diff(low) > -0.02).all() and np.diff(low).max() < 0.6


def face(spacing: float = 0.003) -> Places:
    """Places of a bent face, 10 cm wide."""
    x, y = (
        v.ravel() for v in np.meshgrid(np.arange(-0.05 + spacing / 2, 0.05, spacing), np.arange(-0.06, 0.06, spacing))
    )
    normal = np.stack([16 * x, 0 * x, 1 + 0 * x], 1)
    normal /= np.linalg.norm(normal, axis=1, keepdims=True)
    rest = np.stack([x, 0.6 + y, 0.1 - 8 * x**2], 1)
    return Places(rest, normal * [1, -1, -1], np.full(len(x), int(Part.FACE)))


def test_the_hidden_half_of_a_face_is_skin_with_half_a_mouth() -> None:
    places = face()
    skin, lips = np.array([0.9, 0.7, 0.6]), np.array([0.7, 0.2, 0.2])
    x, y = places.rest[:, 0], places.rest[:, 1] - 0.6
    mouth = (np.abs(y + 0.02) < 0.006) & (np.abs(x) < 0.02)
    found = complete(places, said(np.where(mouth[:, None], lips, skin), (x < 0).astype(float)))
    share = (skin - found) @ (skin - lips) / ((skin - lips) ** 2).sum()
    hidden = x > 0
    assert share[hidden & mouth].mean() > 0.5 > 0.05 > share[hidden & ((x > 0.03) | (np.abs(y + 0.02) > 0.015))].max()


def test_a_face_in_profile_has_its_other_eye() -> None:
    places = face()
    skin, dark = np.array([0.9, 0.7, 0.6]), np.array([0.1, 0.2, 0.3])
    x, y = np.abs(places.rest[:, 0]), places.rest[:, 1] - 0.6
    eye = np.hypot(x - 0.03, y - 0.02) < 0.008
    hidden = places.rest[:, 0] > 0
    found = complete(places, said(np.where(eye[:, None], dark, skin), (~hidden).astype(float)))
    share = (skin - found) @ (skin - dark) / ((skin - dark) ** 2).sum()
    assert share[hidden & (np.hypot(x - 0.03, y - 0.02) > 0.02)].max() < 0.05
    assert share[hidden & eye].mean() > 0.7


def test_detail_is_the_partners_and_no_stronger_than_a_pattern() -> None:
    """Six shown places and a hidden partner of each: closed form."""
    part = np.array([Part.TRUNK, Part.TRUNK, Part.TRUNK, Part.HAIR, Part.FACE, Part.TRUNK])
    strength = np.array([0.02, 0.02, 0.4, 0.02, 0.02, 0.02])
    share = np.array([1.0, 1.0, 1.0, 1.0, 1.0, 0.25])
    direction = np.array([0.6, -0.8, 0.0])
    places = Places(np.zeros((12, 3)), np.zeros((12, 3)), np.concatenate([part, part]))
    detail = np.vstack([strength[:, None] * direction, np.full((6, 3), 9.0)])
    hidden = np.arange(6, 12)
    found = _detail(places, detail, np.concatenate([share, share]), hidden, np.arange(6), CONFIG)
    usual = np.sqrt(np.mean(strength[:3] ** 2))
    most = min(strength[2], CONFIG.pattern * usual)
    expected = np.array([0.02, 0.02, most, 0, 0, 0.25 * 0.02])
    np.testing.assert_allclose(found, expected[:, None] * direction, atol=1e-12)
