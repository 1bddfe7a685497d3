"""A turnaround sheet cut into its figures: one person side by side from several sides, drawn, rendered or photographed.

Before a plain background figures are what stands out from it; elsewhere the person detector finds them in windows that
slide along the sheet. Which side a figure shows follows from how its shoulders and hips are turned. Whether all figures
show the same person cannot be told here.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from pathlib import Path

import cv2
import numpy as np
from PIL import Image

from ..avatar.plain_files import brief
from ..avatar.whole import whole_file
from ..errors import BackendError
from ..options import SIDES, shown
from .blazepose import LEFT_HIP, LEFT_SHOULDER, RIGHT_HIP, RIGHT_SHOULDER, BlazePose, Detection, PoseLandmarks
from .detect import find_people, mirrored_look
from .image import Photo, load_photo
from .matte import plain_backdrop

FRONT = "front"
TURNS = {FRONT: 0.0, **{side: turn for side, turn in SIDES.items() if turn is not None}}
"""Degrees that the camera stands around the person, towards the person's left, by side."""
MOST_FIGURES = 8
SHEET_SIDE = 8192
"""Pixels; larger sheets are reduced to this long side, so that each of six figures keeps what a photo's crop has."""

_LOOK_HEIGHT = 512
"""Pixels of height at which the background is told from figures."""
_BORDER = 0.02
"""Share of the sheet's sides along its border that counts as background."""
_STANDS_OUT = 0.07
"""Distance of colours, in 0..1, from which something is not the background; as in :mod:`.matte`."""
_WHOLE = 0.55
"""Share of the tallest thing's height from which something is a figure; smaller ones are heads, props and text."""
_NARROW = 0.55
"""Width over height below which a crop holds one figure."""
_ALIKE = 0.7
"""Share of a thing's height from which on two people in it are figures that touch each other."""
_MARGIN = 0.06
"""Figure's heights of background around a crop."""
_WINDOWS = (0.5, 0.8, 1.3)
"""Widths of windows, in heights of the sheet: a standing figure alone, one with arms out, two or three."""
_WINDOW_STEP = 0.25
"""Windows' widths from one window to the next."""
_SAME_HIPS = 0.15
"""Radii of a person's circle within which two detections are of the same person."""
_DETECTION_SCORE, _PERSON_SCORE = 0.3, 0.5
"""Of the detector in a window, from which on the landmark network looks there; and of that network, from which on it is
a person."""
_OVERLAPPING = 0.5
"""Share of a person's landmarks within other people's boxes from which it is one of them, or put together of two."""
_CONTAINED = 0.8
"""Share of a person's box within another's from which it is a part of that one: a head and arms seen once more."""
_PADDING = 0.2
"""Crop's heights around a crop for a second look."""
_WITHIN = 45.0
"""Degrees within which looks agree, and from the front within which a figure is taken for it where none is nearer."""
_NEAR = 30.0
"""Degrees from a side's camera within which a figure shows that side; a three-quarter view is 45 from two of them."""
_SURE = 0.6
"""Confidence below which a sentence names it."""


@dataclass(frozen=True, eq=False)
class Figure:
    """One figure of a sheet.

    Attributes:
        box: left, top, right, bottom of the crop in pixels of the sheet, at most :data:`SHEET_SIDE` a side.
        rgb: uint8 [h, w, 3] of the crop; before a plain background without pieces of its neighbours.
        alpha: float32 [h, w] in 0..1 where the sheet has transparency, else None.
        side: "front", "back", "left", "right" (the person's own) or "other"; of all but "other" one at most.
        turn: degrees that the camera stands around the person, towards the person's left.
        confidence: in 0..1, how sure the side is.
    """

    box: tuple[int, int, int, int]
    rgb: np.ndarray
    alpha: np.ndarray | None
    side: str
    turn: float
    confidence: float


def cut(path: Path, networks: BlazePose, check: Callable[[], None] = lambda: None) -> list[Figure]:
    """The figures of a sheet, from left to right.

    Args:
        path: of the sheet.
        networks: loaded once by the caller.
        check: called between figures; may raise to stop.

    Raises:
        BackendError: kind ``no_turnaround`` where there are less than two figures; those of :func:`load_photo`.
    """
    return cut_photo(load_photo(path, SHEET_SIDE), networks, check)


def cut_photo(photo: Photo, networks: BlazePose, check: Callable[[], None] = lambda: None) -> list[Figure]:
    """:func:`cut` of a sheet that is read already."""
    pieces = _pieces(photo, networks, check)
    found = []
    for piece in pieces:
        check()
        people = find_people(networks, piece.rgb)
        if people:
            found.append((piece, *_turn(networks, piece.rgb, people[0])))
    tallest = max((piece.rgb.shape[0] for piece, _, _ in found), default=0)
    found = [one for one in found if one[0].rgb.shape[0] >= _WHOLE * tallest][:MOST_FIGURES]
    if len(found) < 2:
        count = "Only one figure was" if found else "No figure was"
        raise BackendError(
            "no_turnaround",
            f"{count} found in {shown(photo.name, 120)}.",
            "Choose a sheet that shows the person side by side at least twice, from head to feet.",
        )
    sides, ahead = _sides([turn for _, turn, _ in found])
    return [
        Figure(piece.box, piece.rgb, piece.alpha, side, turn, _confidence(side, turn, ahead, agreement))
        for (piece, turn, agreement), side in zip(found, sides)
    ]


def front_of(figures: Sequence[Figure]) -> Figure:
    """The figure that shows the front.

    Raises:
        BackendError: kind ``no_front``.
    """
    for figure in figures:
        if figure.side == FRONT:
            return figure
    raise BackendError(
        "no_front",
        "No figure of the sheet shows the person from the front.",
        "Give a photo of the front besides the sheet.",
    )


@dataclass(frozen=True, eq=False)
class _Piece:
    """A part of the sheet with one figure; see :class:`Figure`."""

    box: tuple[int, int, int, int]
    rgb: np.ndarray
    alpha: np.ndarray | None


def _pieces(photo: Photo, networks: BlazePose, check: Callable[[], None]) -> list[_Piece]:
    height, width = photo.rgb.shape[:2]
    factor = min(1.0, _LOOK_HEIGHT / height)
    size = (max(1, round(width * factor)), max(1, round(height * factor)))
    small = cv2.resize(photo.rgb, size, interpolation=cv2.INTER_AREA)
    backdrop = None
    if photo.alpha is not None:
        thing = cv2.resize(photo.alpha, size, interpolation=cv2.INTER_AREA) > 0.5
    else:
        backdrop = _background(small)
        if backdrop is None:
            return _detected_pieces(photo, networks, check)
        thing = np.linalg.norm(small.astype(np.float32) / 255 - backdrop[0], axis=2) > backdrop[1]
    labels, figures = _components(thing)
    if len(figures) < 2:  # figures that touch, or none
        return _detected_pieces(photo, networks, check)
    pieces: list[_Piece] = []
    people: list[tuple[int, int, int, int]] | None = None
    for own in figures:
        check()
        shape = np.isin(labels, own)
        rows, columns = np.flatnonzero(shape.any(1)), np.flatnonzero(shape.any(0))
        margin = _MARGIN * (np.ptp(rows) + 1)
        edges = np.array([columns[0] - margin, rows[0] - margin, columns[-1] + 1 + margin, rows[-1] + 1 + margin])
        box = _clip_box(edges / factor, width, height)
        piece = _piece(photo, box, labels, own, backdrop, factor)
        if box[2] - box[0] < _NARROW * (box[3] - box[1]):
            pieces.append(piece)
            continue
        if people is None:
            people = _found_boxes(photo.rgb, networks, check)
        pieces += _split(photo, piece, people)
    return pieces


def _background(small: np.ndarray) -> tuple[np.ndarray, float] | None:
    """Colours [h, w, 3] in 0..1 of a plain background, and how far others must be from it; None if it is not plain."""
    height, width = small.shape[:2]
    side = max(height, width) // 2
    square = cv2.resize(small, (side, side), interpolation=cv2.INTER_AREA).astype(np.float32) / 255
    rim = max(2, round(_BORDER * side))
    known = np.ones((side, side), bool)
    known[rim:-rim, rim:-rim] = False
    found = plain_backdrop(square, known)
    if found is None:
        return None
    return cv2.resize(found[0], (width, height)), max(6 * found[1], _STANDS_OUT)


def _components(thing: np.ndarray) -> tuple[np.ndarray, list[list[int]]]:
    """Labels int [h, w] of what stands out, and those of each figure from left to right: the tall things, each with the
    small ones that its box holds, such as a hat or a shoe that a white stripe cuts off."""
    joined = cv2.morphologyEx(thing.astype(np.uint8), cv2.MORPH_CLOSE, np.ones((3, 3), np.uint8))
    count, labels, stats, _ = cv2.connectedComponentsWithStats(joined)
    left, top, width, height, area = (stats[:, k] for k in range(5))
    tallest = height[1:].max(initial=0)
    tall = [k for k in range(1, count) if height[k] >= _WHOLE * tallest and area[k] > 0.02 * height[k] ** 2]
    tall.sort(key=lambda k: left[k] + width[k] / 2)
    figures = [[k] for k in tall]
    for k in set(range(1, count)) - set(tall):
        middle = (left[k] + width[k] / 2, top[k] + height[k] / 2)
        for own in figures:
            main = own[0]
            if 0 <= middle[0] - left[main] <= width[main] and 0 <= middle[1] - top[main] <= height[main]:
                own.append(k)
                break
    return labels, figures


def _piece(
    photo: Photo,
    box: tuple[int, int, int, int],
    labels: np.ndarray,
    own: Sequence[int],
    backdrop: tuple[np.ndarray, float] | None,
    factor: float,
) -> _Piece:
    """The box of a figure, other things in it taken away."""
    left, top, right, bottom = box
    rgb = photo.rgb[top:bottom, left:right].copy()
    alpha = None if photo.alpha is None else photo.alpha[top:bottom, left:right].copy()
    shape = (right - left, bottom - top)
    window = np.s_[int(top * factor) : int(np.ceil(bottom * factor)), int(left * factor) : int(np.ceil(right * factor))]
    others = (labels[window] > 0) & ~np.isin(labels[window], own)
    if others.any():
        grown = cv2.dilate(others.astype(np.uint8), np.ones((5, 5), np.uint8)) & ~np.isin(labels[window], own)
        away = cv2.resize(grown.astype(np.uint8), shape, interpolation=cv2.INTER_NEAREST) > 0
        if backdrop is not None:
            behind = cv2.resize(backdrop[0][window], shape)
            rgb[away] = (behind[away].clip(0, 1) * 255).round().astype(np.uint8)
        if alpha is not None:
            rgb[away], alpha[away] = 128, 0
    return _Piece(box, rgb, alpha)


def _split(photo: Photo, piece: _Piece, people: Sequence[tuple[int, int, int, int]]) -> list[_Piece]:
    """A wide piece, or several where the figures of ``people`` in it touch each other."""
    left, top, right, bottom = piece.box
    least = _ALIKE * (bottom - top)
    inside = [box for box in people if left < (box[0] + box[2]) / 2 < right and box[3] - box[1] > least]
    return [_plain_piece(photo, box) for box in inside] if len(inside) > 1 else [piece]


def _detected_pieces(photo: Photo, networks: BlazePose, check: Callable[[], None]) -> list[_Piece]:
    check()
    return [_plain_piece(photo, box) for box in _found_boxes(photo.rgb, networks, check)]


def _plain_piece(photo: Photo, box: tuple[int, int, int, int]) -> _Piece:
    left, top, right, bottom = box
    window = np.s_[top:bottom, left:right]
    alpha = None if photo.alpha is None else photo.alpha[window].copy()
    return _Piece(box, photo.rgb[window].copy(), alpha)


def _found_boxes(
    rgb: np.ndarray, networks: BlazePose, check: Callable[[], None] = lambda: None
) -> list[tuple[int, int, int, int]]:
    """Boxes of the people that the detector finds in windows along a wide picture, from left to right."""
    height, width = rgb.shape[:2]
    factor = min(1.0, _LOOK_HEIGHT / height)
    small = cv2.resize(rgb, None, fx=factor, fy=factor, interpolation=cv2.INTER_AREA) if factor < 1 else rgb
    tall, wide = small.shape[:2]
    detections: list[tuple[Detection, int, int]] = []
    for share in _WINDOWS:
        side = min(wide, round(share * tall))
        count = 1 + int(np.ceil((wide - side) / (_WINDOW_STEP * side)))
        for start in np.linspace(0, wide - side, count).astype(int):
            check()
            window = np.ascontiguousarray(small[:, start : start + side])
            detections += [(one, int(start), side) for one in networks.detect(window, _DETECTION_SCORE)]
    # Narrow windows first: what they leave out cannot be taken for a part of the person.
    detections.sort(key=lambda one: (one[2], -one[0].score))
    tried: list[np.ndarray] = []
    people: list[PoseLandmarks] = []
    for one, start, side in detections:
        shift = np.array([start, 0.0])
        place = one.hip + shift
        if any(np.linalg.norm(place - other) < _SAME_HIPS * one.radius for other in tried):
            continue
        check()
        # Neighbours that the window leaves out cannot draw landmarks to themselves.
        person = networks.landmarks(np.ascontiguousarray(small[:, start : start + side]), one)
        if person.score > _PERSON_SCORE:
            tried.append(place)
            people.append(replace(person, image=person.image + shift))
    if not people:
        return []
    tallest = max(np.ptp(person.image[:, 1]) for person in people)
    people = _distinct([person for person in people if np.ptp(person.image[:, 1]) >= _WHOLE * tallest])
    people.sort(key=lambda person: person.image[:, 0].mean())
    boxes = np.array([_landmark_box(person.image) for person in people])
    for one, other in pairwise(boxes):
        if one[2] > other[0]:
            one[2] = other[0] = (one[2] + other[0]) / 2
    return [_clip_box(box / factor, width, height) for box in boxes]


def _distinct(people: Sequence[PoseLandmarks]) -> list[PoseLandmarks]:
    """Each person once, as the surest window saw it; nobody who is put together of two others."""
    kept: list[PoseLandmarks] = []
    for person in sorted(people, key=lambda one: -one.score * one.visibility.mean()):
        within, contained = np.zeros(len(person.image), bool), 0.0
        own = person.image.min(0), person.image.max(0)
        for other in kept:
            low, high = other.image.min(0), other.image.max(0)
            within |= ((person.image >= low) & (person.image <= high)).all(1)
            common = (np.minimum(high, own[1]) - np.maximum(low, own[0])).clip(0)
            contained = max(contained, float(common.prod() / max(np.ptp(own, axis=0).prod(), 1e-6)))
        if within.mean() < _OVERLAPPING and contained < _CONTAINED:
            kept.append(person)
    return kept


def _landmark_box(image: np.ndarray) -> np.ndarray:
    """Left, top, right, bottom around landmarks [33, 2], with what lies beyond them: crown, soles, clothes."""
    low, high = image.min(0), image.max(0)
    tall = high[1] - low[1]
    return np.concatenate([low - np.array([0.1, 0.14]) * tall, high + np.array([0.1, 0.06]) * tall])


def _clip_box(edges: np.ndarray, width: int, height: int) -> tuple[int, int, int, int]:
    left, top = np.floor(edges[:2]).clip(0).astype(int)
    right, bottom = np.minimum(np.ceil(edges[2:]), [width, height]).astype(int)
    return int(left), int(top), int(right), int(bottom)


def _turn(networks: BlazePose, rgb: np.ndarray, person: PoseLandmarks) -> tuple[float, float]:
    """Degrees that the camera stands around the person, and in 0..1 how far four looks agree on it: at the crop as it
    is and with more around it, each also in a mirror."""
    pad = round(_PADDING * rgb.shape[0])
    wider = cv2.copyMakeBorder(rgb, pad, pad, pad, pad, cv2.BORDER_REPLICATE)
    detection = person.detection()
    again = replace(detection, hip=detection.hip + pad, circle=detection.circle + pad)
    padded = networks.landmarks(wider, again)
    looks = [person, mirrored_look(networks, rgb, person), padded, mirrored_look(networks, wider, padded)]
    turns = [_turn_of(networks.lifter.lift(look.image, look.visibility, look.world)) for look in looks]
    # The look that the others are nearest to: a mean of front and back would be a side.
    apart = np.abs((np.subtract.outer(turns, turns) + 180) % 360 - 180)
    best = turns[int(apart.sum(1).argmin())]
    near = [turn for turn in turns if abs((turn - best + 180) % 360 - 180) < _WITHIN]
    mean = np.mean(np.exp(1j * np.radians(near)))
    return float(np.degrees(np.angle(mean))), len(near) / len(turns) * min(look.score for look in looks)


def _turn_of(world: np.ndarray) -> float:
    """Degrees, from the line through both shoulders and that through both hips [33, 3] (OpenCV axes)."""
    across = world[LEFT_SHOULDER] - world[RIGHT_SHOULDER] + world[LEFT_HIP] - world[RIGHT_HIP]
    return float(np.degrees(np.arctan2(-across[2], across[0])))


def _apart_from(turn: float, side: str) -> float:
    """Degrees between a figure's camera and a side's."""
    return abs((turn - TURNS[side] + 180) % 360 - 180)


def _sides(turns: Sequence[float]) -> tuple[list[str], float]:
    """The side of each figure, each but "other" once, and the turn of the front, from which the others are counted: a
    person may stand turned a little in all of them."""
    sides, ahead = ["other"] * len(turns), 0.0
    for side in TURNS:
        nearest = min(range(len(turns)), key=lambda k: _apart_from(turns[k] - ahead, side))
        # Without a better one a three-quarter view is the front: there must be a photo.
        limit = _WITHIN if side == FRONT else _NEAR
        if sides[nearest] == "other" and _apart_from(turns[nearest] - ahead, side) <= limit:
            sides[nearest] = side
            ahead = turns[nearest] if side == FRONT else ahead
    return sides, ahead


def _confidence(side: str, turn: float, ahead: float, agreement: float) -> float:
    """In 0..1: how far looks agree, and how near the figure is to the side's camera; the front to its own."""
    if side == "other":
        return float(agreement)
    return float(agreement * (1 - _apart_from(turn - (0.0 if side == FRONT else ahead), side) / 90))


def write_figures(figures: Sequence[Figure], folder: Path, stem: str) -> list[Path]:
    """Write each figure as a PNG file into a folder that is there: ``STEM_back.png``, ``STEM_other1.png``.

    Raises:
        BackendError: kind ``output_not_writable``.
    """
    paths, others = [], 0
    for figure in figures:
        others += figure.side == "other"
        name = f"{figure.side}{others}" if figure.side == "other" else figure.side
        path = folder / f"{stem}_{name}.png"
        image = figure.rgb
        if figure.alpha is not None:
            image = np.dstack([figure.rgb, (figure.alpha * 255).round().astype(np.uint8)])
        try:
            with whole_file(path) as temporary:
                Image.fromarray(image).save(temporary, "PNG", compress_level=4)
        except OSError as error:
            raise BackendError(
                "output_not_writable",
                f"{shown(path)} cannot be written ({brief(error.strerror or error)}).",
                "Choose another folder.",
            ) from error
        paths.append(path)
    return paths


def describe(figures: Sequence[Figure]) -> str:
    """A sentence on what was cut."""
    named = [
        f"{figure.side} ({figure.confidence:.0%} sure)" if figure.confidence < _SURE else figure.side
        for figure in figures
    ]
    return f"{len(figures)} figures were cut from the sheet, from left to right: {', '.join(named)}."
