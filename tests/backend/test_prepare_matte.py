"""The matte of drawn scenes whose truth is known."""

from __future__ import annotations

import cv2
import numpy as np
import pytest

from backend.prepare.matte import refine_matte

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
