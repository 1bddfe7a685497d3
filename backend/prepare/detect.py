"""Find the people in a photo, also small, lying and jumping ones."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import cv2
import numpy as np

from ..photo import Agreement
from .blazepose import LEFT_HIP, LEFT_SHOULDER, MIRRORED, RIGHT_HIP, RIGHT_SHOULDER, BlazePose, Detection, PoseLandmarks

_PERSON_SCORE = 0.5
_SMALL = 0.6
"""Share of the picture's longer side; a region, which reaches well beyond the person, below it is a small person."""

_FADED = 0.7
"""How far what surrounds the person is faded for the second looks."""
_PAINTED_OVER, _PAINT_SIDE = 0.007, 256
"""Picture sides around the matte, and pixels a side at which the person is painted over."""
_FACINGS_APART = 0.25
"""Trunk lengths; looks at a person whose side is clear differ by a tenth of a trunk at most."""
_HEELS, _TOES = [29, 30], [31, 32]
_FEET_SEEN = 0.5
"""Visibility from which feet tell the side."""
_AROUND = 0.015
"""Picture sides around the matte that are not faded: mattes miss fingers and hems."""


def _rotate(image: np.ndarray, quarter_turns: int) -> np.ndarray:
    return np.ascontiguousarray(np.rot90(image, quarter_turns))


def _unrotate(point: np.ndarray, quarter_turns: int, shape: tuple[int, int]) -> np.ndarray:
    """A point (x, y) of the picture turned by ``np.rot90(image, quarter_turns)``, in the picture's own pixels."""
    height, width = shape
    x, y = point
    return np.array([(x, y), (width - y, x), (width - x, height - y), (y, height - x)][quarter_turns], float)


def _search_places(shape: tuple[int, int], parts: tuple[int, ...]) -> list[tuple[int, int, int]]:
    """Overlapping square tiles (left, top, side), the picture's longer side over each of ``parts`` large."""
    height, width = shape
    tiles = []
    for part in parts:
        side = max(height, width) // part
        if side < 64:
            break
        for top in np.linspace(0, max(height - side, 0), max(1, round(2 * height / side) - 1)).astype(int):
            for left in np.linspace(0, max(width - side, 0), max(1, round(2 * width / side) - 1)).astype(int):
                tiles.append((int(left), int(top), side))
    return tiles


def _same_person(a: PoseLandmarks, b: PoseLandmarks) -> bool:
    size = max(np.ptp(a.image, 0).max(), np.ptp(b.image, 0).max())
    return float(np.linalg.norm(a.image - b.image, axis=1).mean()) < 0.25 * size


def find_people(networks: BlazePose, rgb: np.ndarray) -> list[PoseLandmarks]:
    """All people in ``rgb`` uint8 [H, W, 3], the largest first; empty when nobody is found.

    The whole picture first; if that finds nobody, its quarter turns (people who lie or are upside down), then
    overlapping tiles (people who fill a small part of the frame).
    """
    people: list[PoseLandmarks] = []

    def accept(detections: list[Detection]) -> None:
        for detection in detections:
            found = networks.landmarks(rgb, detection)
            if found.score > _PERSON_SCORE and not any(_same_person(found, other) for other in people):
                people.append(found)

    accept(networks.detect(rgb))
    if not people:
        for turns in (1, 3, 2):
            for d in networks.detect(_rotate(rgb, turns)):
                points = (_unrotate(p, turns, rgb.shape[:2]) for p in (d.hip, d.circle))
                accept([Detection(d.score, *points)])
    # Small people are missed in the whole picture; where the largest is small, there may be others.
    small = not people or max(person.region[2] for person in people) < _SMALL * max(rgb.shape[:2])
    if small:
        for left, top, side in _search_places(rgb.shape[:2], (2,) if people else (2, 4)):
            tile = rgb[top : top + side, left : left + side]
            factor = max(1.0, 448 / side)
            tile = cv2.resize(tile, None, fx=factor, fy=factor, interpolation=cv2.INTER_LINEAR)
            origin = np.array([left, top])
            accept(
                [Detection(d.score, d.hip / factor + origin, d.circle / factor + origin) for d in networks.detect(tile)]
            )
    return sorted(people, key=lambda person: -person.region[2])


def look_again(
    networks: BlazePose,
    rgb: np.ndarray,
    alpha: np.ndarray,
    pose: PoseLandmarks,
    check: Callable[[], None] = lambda: None,
) -> tuple[PoseLandmarks, Agreement]:
    """The landmarks on which several looks agree: the first one, one in the mirror, and both before a faded background.

    One look may take a shelf behind the person for a hand. The median of four does not. Where the looks disagree on
    the side that the person shows (a blurred or hidden face), the median would be of neither: the feet decide.

    Args:
        networks: see there.
        rgb: uint8 [S, S, 3] crop.
        alpha: [S, S] matte.
        pose: of the first look, in pixels of the crop.
        check: called between the looks; may raise to stop.

    Returns:
        ``pose`` with medians of places and means of visibilities, ``world`` as the lifter says; and how far the looks
        agreed.
    """
    reach = max(1, round(_AROUND * len(rgb)))
    near = cv2.GaussianBlur(cv2.dilate(alpha.astype(np.float32), np.ones((reach, reach))), (0, 0), 0.4 * reach)
    kept = 1 - _FADED * (1 - near[..., None])
    faded = (rgb * kept + 128 * (1 - kept)).clip(0, 255).astype(np.uint8)
    looks = [pose, mirrored_look(networks, rgb, pose)]
    check()
    looks.append(networks.landmarks(faded, pose.detection(), passes=1))
    check()
    looks.append(mirrored_look(networks, faded, pose))
    visibility = np.mean([look.visibility for look in looks], 0)
    kept_looks, unclear = _agreed_facing(looks)
    places = np.median([look.image for look in kept_looks], 0)
    world = [networks.lifter.lift(look.image, look.visibility, look.world) for look in kept_looks]
    agreed = replace(
        pose,
        image=places,
        visibility=visibility,
        world=np.median(world, 0),
    )
    spread = _spread([look.image for look in looks], places, visibility)
    return agreed, Agreement(spread, min(look.score for look in looks), unclear)


def _spread(looks: list[np.ndarray], places: np.ndarray, visibility: np.ndarray) -> float:
    """Mean distance of the looks' landmarks from ``places``, in sizes of the person; left and right may be taken for
    each other, which is another matter."""
    weight = visibility / max(float(visibility.sum()), 1e-6)
    away = [
        min(float(np.linalg.norm(image - places, axis=1) @ weight) for image in (look, look[MIRRORED]))
        for look in looks
    ]
    return float(np.mean(away)) / max(float(np.ptp(places, 0).max()), 1e-6)


def facing(look: PoseLandmarks) -> float:
    """How wide shoulders and hips are across the trunk, in trunk lengths: positive from the front, negative from
    behind, about 0 in profile."""
    shoulders, hips = look.image[[LEFT_SHOULDER, RIGHT_SHOULDER]], look.image[[LEFT_HIP, RIGHT_HIP]]
    up = shoulders.mean(0) - hips.mean(0)
    across = (shoulders[0] - shoulders[1] + hips[0] - hips[1]) / 2
    return float((across[1] * up[0] - across[0] * up[1]) / max(float(up @ up), 1e-6))


def _agreed_facing(looks: list[PoseLandmarks]) -> tuple[list[PoseLandmarks], bool]:
    """The looks that agree on the side that the person shows, and whether there were others."""
    sides = np.array([facing(look) for look in looks])
    if np.ptp(sides) < _FACINGS_APART:
        return looks, False
    # Toes nearer than heels: the front. Faces are blurred and hidden, feet seldom.
    ahead = [look.world[_HEELS, 2].mean() - look.world[_TOES, 2].mean() for look in looks]
    feet = np.mean([look.visibility[_TOES].mean() for look in looks])
    side = np.sign(np.mean(ahead)) if feet > _FEET_SEEN else np.sign(sides.sum())
    ours = sides * side
    # Looks that waver see the person edge on, between the two.
    chosen = ours > 0.5 * ours.max()
    return [look for look, agrees in zip(looks, chosen) if agrees] if ours.max() > 0 else looks, True


def stands_beside_another(networks: BlazePose, rgb: np.ndarray, alpha: np.ndarray) -> bool:
    """Whether somebody else is found once the person is painted over: the network sees one of two people who touch.

    Args:
        networks: see there.
        rgb: uint8 [S, S, 3] crop about the person.
        alpha: [S, S] matte.
    """
    reach = 2 * round(_PAINTED_OVER * len(rgb)) + 1
    person = cv2.dilate((alpha > 0.3).astype(np.uint8), np.ones((reach, reach), np.uint8))
    small = (_PAINT_SIDE, _PAINT_SIDE)
    hole = cv2.resize(person, small, interpolation=cv2.INTER_NEAREST)
    painted = cv2.inpaint(cv2.resize(rgb, small, interpolation=cv2.INTER_AREA), hole, 3, cv2.INPAINT_TELEA)
    without = np.where(person[..., None] > 0, cv2.resize(painted, rgb.shape[1::-1]), rgb)
    for detection in networks.detect(without):
        found = networks.landmarks(without, detection)
        body = found.mask > 0.5
        # What is mostly where the person was is a ghost of the painting.
        if found.score > _PERSON_SCORE and body.any() and person[body].mean() < 0.6:
            return True
    return False


def mirrored_look(networks: BlazePose, rgb: np.ndarray, pose: PoseLandmarks) -> PoseLandmarks:
    """What the landmark network says of the mirrored picture, in pixels of the picture itself."""
    width, first = rgb.shape[1], pose.detection()
    hip, circle = (np.array([width - x, y]) for x, y in (first.hip, first.circle))
    found = networks.landmarks(np.ascontiguousarray(rgb[:, ::-1]), Detection(first.score, hip, circle), passes=1)
    image = found.image * [-1, 1] + [width, 0]
    return replace(
        found,
        image=image[MIRRORED],
        visibility=found.visibility[MIRRORED],
        world=(found.world * [-1, 1, 1])[MIRRORED],
    )
