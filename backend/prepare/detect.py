"""Find the people in a photo, also small, lying and jumping ones."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import cv2
import numpy as np

from .blazepose import MIRRORED, BlazePose, Detection, PoseLandmarks

_PERSON_SCORE = 0.5
_SMALL = 0.6
"""Share of the picture's longer side; a region, which reaches well beyond the person, below it is a small person."""

_FADED = 0.7
"""How far what surrounds the person is faded for the second looks."""
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
) -> PoseLandmarks:
    """The landmarks on which several looks agree: the first one, one in the mirror, and both before a faded background.

    One look may take a shelf behind the person for a hand. The median of four does not.

    Args:
        networks: see there.
        rgb: uint8 [S, S, 3] crop.
        alpha: [S, S] matte.
        pose: of the first look, in pixels of the crop.
        check: called between the looks; may raise to stop.

    Returns:
        ``pose`` with medians of places and means of visibilities; ``world`` as the lifter says.
    """
    reach = max(1, round(_AROUND * len(rgb)))
    near = cv2.GaussianBlur(cv2.dilate(alpha.astype(np.float32), np.ones((reach, reach))), (0, 0), 0.4 * reach)
    kept = 1 - _FADED * (1 - near[..., None])
    faded = (rgb * kept + 128 * (1 - kept)).clip(0, 255).astype(np.uint8)
    looks = [pose, _mirrored_look(networks, rgb, pose)]
    check()
    looks.append(networks.landmarks(faded, pose.detection(), passes=1))
    check()
    looks.append(_mirrored_look(networks, faded, pose))
    world = [networks.lifter.lift(look.image, look.visibility, look.world) for look in looks]
    return replace(
        pose,
        image=np.median([look.image for look in looks], 0),
        visibility=np.mean([look.visibility for look in looks], 0),
        world=np.median(world, 0),
    )


def _mirrored_look(networks: BlazePose, rgb: np.ndarray, pose: PoseLandmarks) -> PoseLandmarks:
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
