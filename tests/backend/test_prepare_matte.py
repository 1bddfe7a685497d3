"""The matte of drawn scenes whose truth is known."""

from __future__ import annotations

import cv2
import numpy as np
import pytest

from backend.prepare import own_colours
from backend.prepare.matte import refine_matte
from backend.prepare.matting import solve_matte

SIZE = 512


def scene(clutter: bool, seed: int = 0) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """(picture, soft mask of the person alone, the person, a bag that hangs on a strap, a shadow on the floor)."""
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[:SIZE, :SIZE]
    wall = np.stack([150 + 40 * y / SIZE, 160 + 20 * x / SIZE, 175 - 30 * y / SIZE], -1)
    if clutter:
        coarse = rng.uniform(40, 220, (16, 16, 3)).astype(np.float32)
        wall = cv2.resize(coarse, (SIZE, SIZE), interpolation=cv2.INTER_NEAREST)
    person, bag, shadow = (np.zeros((SIZE, SIZE), np.uint8) for _ in range(3))
    cv2.ellipse(person, (250, 250), (60, 190), 0, 0, 360, 1, -1)
    cv2.line(bag, (300, 250), (370, 300), 1, 5)
    cv2.rectangle(bag, (350, 300), (420, 380), 1, -1)
    cv2.ellipse(shadow, (330, 440), (110, 14), 0, 0, 360, 1, -1)
    person, bag, shadow = person > 0, bag > 0, shadow > 0
    bag &= ~person
    shadow &= ~person & ~bag
    rgb = np.where(shadow[..., None], 0.75 * wall, wall)
    rgb[person], rgb[bag] = (60, 40, 110), (30, 120, 60)
    rgb = (cv2.GaussianBlur(rgb, (0, 0), 0.6) + rng.normal(0, 2, rgb.shape)).clip(0, 255).astype(np.uint8)
    soft = cv2.GaussianBlur(person.astype(np.float32), (0, 0), 4)
    return rgb, soft, person, bag, shadow


def test_what_a_person_carries_is_seen_before_a_plain_background() -> None:
    rgb, soft, person, bag, shadow = scene(clutter=False)
    matte = refine_matte(rgb, soft, np.ones((SIZE, SIZE), bool)) > 0.5
    assert matte[bag].mean() > 0.95 and matte[shadow].mean() < 0.05
    whole = person | bag
    assert (matte & whole).sum() > 0.97 * (matte | whole).sum()


def test_a_cluttered_background_carries_nothing() -> None:
    rgb, soft, person, _, _ = scene(clutter=True)
    matte = refine_matte(rgb, soft, np.ones((SIZE, SIZE), bool)) > 0.5
    assert (matte & person).sum() > 0.95 * (matte | person).sum()


@pytest.mark.parametrize("where", ["apart", "beyond"])
def test_things_that_are_not_carried_stay_out(where: str) -> None:
    """A ball that does not touch the person; a table that goes on beyond the picture."""
    rgb, soft, person, bag, _ = scene(clutter=False)
    thing = np.zeros((SIZE, SIZE), np.uint8)
    if where == "apart":
        cv2.circle(thing, (90, 400), 30, 1, -1)
    else:
        cv2.rectangle(thing, (0, 330), (200, 345), 1, -1)
    only = (thing > 0) & ~person
    rgb[only] = (200, 60, 30)
    matte = refine_matte(rgb, soft, np.ones((SIZE, SIZE), bool)) > 0.5
    assert matte[only].mean() < 0.05 and matte[bag].mean() > 0.95


def mixture() -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """A striped disc with a soft rim before a wall of another hue: (picture, its own colours, alpha)."""
    y, x = np.mgrid[:SIZE, :SIZE].astype(np.float32)
    stripes = (y // 16 % 2)[..., None] > 0
    own = np.where(stripes, np.float32([210, 205, 200]), np.float32([40, 60, 120])) + 15 * (x / SIZE)[..., None]
    wall = np.stack([90 + 30 * y / SIZE, 150 - 20 * x / SIZE, 90 + 10 * x / SIZE], -1)
    alpha = ((150 - np.hypot(x - 256, y - 256)) / 8 + 0.5).clip(0, 1)
    return (alpha[..., None] * own + (1 - alpha[..., None]) * wall).round().astype(np.uint8), own, alpha


def test_a_soft_rim_is_told_from_the_colours_around_it() -> None:
    rgb, _, alpha = mixture()
    guess, uncertain = alpha > 0.5, np.abs(np.hypot(*(np.mgrid[:SIZE, :SIZE] - 256)) - 150) < 12
    found = solve_matte(rgb, guess, uncertain)
    assert np.abs(found - alpha)[uncertain].mean() < 0.03
    assert np.abs(found - alpha)[uncertain].mean() < 0.3 * np.abs(guess - alpha)[uncertain].mean()
    assert np.array_equal(found[~uncertain], guess[~uncertain])


def test_the_cut_decides_where_person_and_wall_look_alike() -> None:
    rgb = np.full((64, 64, 3), 128, np.uint8)
    guess = np.arange(64)[None].repeat(64, 0) < 32
    found = solve_matte(rgb, guess, np.abs(np.arange(64)[None].repeat(64, 0) - 31.5) < 8)
    assert np.array_equal(found > 0.5, guess)


def test_matting_minimises_its_energy() -> None:
    """Against equation 12 of Levin et al., window by window and pixel by pixel."""
    rng = np.random.default_rng(0)
    rgb, guess = rng.integers(0, 256, (9, 10, 3)).astype(np.uint8), rng.random((9, 10)).round()
    uncertain = np.zeros((9, 10), bool)
    uncertain[3:6, 2:7] = True
    belief, smoothness = 0.05, 1e-3
    laplacian = np.zeros((90, 90))
    colours = rgb.reshape(-1, 3) / 255
    for row in range(1, 8):
        for column in range(1, 9):
            window = [(row + i) * 10 + column + j for i in (-1, 0, 1) for j in (-1, 0, 1)]
            mean = colours[window].mean(0)
            covariance = np.cov(colours[window].T, bias=True) + smoothness / 9 * np.eye(3)
            for i in window:
                for j in window:
                    alike = (colours[i] - mean) @ np.linalg.solve(covariance, colours[j] - mean)
                    laplacian[i, j] += (i == j) - (1 + alike) / 9
    free = uncertain.ravel()
    system = laplacian[np.ix_(free, free)] + belief * np.eye(free.sum())
    right = belief * guess.ravel()[free] - laplacian[np.ix_(free, ~free)] @ guess.ravel()[~free]
    expected = np.linalg.solve(system, right).clip(0, 1)
    np.testing.assert_allclose(
        solve_matte(rgb, guess, uncertain, belief, smoothness).ravel()[free], expected, atol=0.01
    )


def test_half_covered_pixels_lose_the_wall_but_keep_their_stripe() -> None:
    rgb, own, alpha = mixture()
    inner = (np.arange(SIZE) % 16 - 7.5)[:, None] ** 2 < 16  # of a stripe
    for some, most in (((0.4, 0.9), 0.35), ((0.1, 0.4), 0.5)):
        rim = (alpha > some[0]) & (alpha < some[1]) & inner
        before, after = (np.abs(picture - own)[rim].mean() for picture in (rgb, own_colours(rgb, alpha)))
        assert after < most * before
