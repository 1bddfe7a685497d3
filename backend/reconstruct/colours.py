"""Colour for what the photo does not show: taken from the most alike place that it does show.

Alike means: the same part of the body, near in the rest pose, where depth counts little but for hair (the back of a
shirt continues its front) and the other side of the body counts almost as much (a hidden arm looks like the seen one).
Faces are never a source for anything but faces, so the back of a head gets hair.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from scipy.spatial.distance import cdist

from ..avatar.threads import in_threads
from .misleading import bare_arms, bare_neckline
from .neighbours import tree_of
from .regions import FACE_CLASS, HAIR_CLASS, MIN_HAIR, SEAT_CLASS, TRUNK_CLASS

_DEPTH_WEIGHT = 0.35
_HAIR_DEPTH = 1.0
"""How much depth counts for hair: what is behind goes on rather with the crown than with a fringe."""
_ALONG, _SHOULDER = 2.0, 0.2
"""How much more places differ along trunk and limbs than around them, as stripes and hems run around; and where arms,
which are held out sideways, begin, in metres from the middle."""
_MIRROR_PENALTY = (0.05, 0.012)
"""Metres that the other side of the body is worth further away; of the face, whose sides have the same features."""
_CLASS_PENALTY = 0.6
_GROUP = 0.5
"""Difference of classes from which they are searched one after the other."""
_DOUBT_PENALTY = 0.12
"""Metres that a colour without any certainty is worth further away."""
_NEIGHBOURS = 16
_SKIN_BEYOND = (0.008, 0.025)
"""Metres from the nearest seen place of a face beyond which its colour is the median of what lies around."""
_SKIN_AROUND, _SKIN_STEP = 400, 4
"""How many: a patch of some centimetres, in which features are rarer than skin. Every fourth of them is enough."""
_HAIR_BEYOND, _SOFT, _STRANDS = (0.01, 0.05), 0.35, 500
"""Metres from the nearest seen place of hair from which unseen hair has the mean colour of what lies around, its width
over how far that is, and how many places stand for it."""
_BELOW, _SEEN = (0.08, 0.25), 0.3
"""Metres from the nearest seen place of legs, likewise, the median being that of the lowest that is seen; and how much
must be seen of legs and seat, from top to bottom, for them to reach so far."""
_SOLE = 0.01
"""Metres below the lowest seen place from which a place lies beyond the frame, not under a foot that stands in it."""
_LOWEST, _FOOT = 0.15, 0.02
"""Metres up to which that reaches, from where this share of it is lower."""


def fill_unseen(
    source_rest: np.ndarray,
    source_class: np.ndarray,
    source_rgb: np.ndarray,
    source_sure: np.ndarray,
    target_rest: np.ndarray,
    target_class: np.ndarray,
) -> np.ndarray:
    """Colours [M, 3] of unseen places.

    Args:
        source_rest, target_rest: [N, 3] and [M, 3] in the rest pose, metres, x = 0 the body's middle.
        source_class, target_class: [N] and [M] colour classes.
        source_rgb: [N, 3].
        source_sure: [N] in 0..1; colours near the outline or seen at a slant are used where nothing else is near.
    """
    if not len(source_rest):
        return np.full((len(target_rest), 3), 0.5)
    seen = cloth = _Seen(source_rest, source_class, source_rgb, source_sure)
    # What is bare says nothing of the back of a shirt; nor does what counts as bare once that is left out.
    while (bare := bare_arms(cloth.kind, cloth.rgb) | bare_neckline(*cloth[:3])).any():
        cloth = _Seen(*(values[~bare] for values in cloth))
    below = target_rest[:, 1] < source_rest[:, 1].min() - _SOLE
    trunk = (target_class == TRUNK_CLASS) & (cloth is not seen)
    out = np.empty((len(target_rest), 3))

    def fill(part: tuple[np.ndarray, _Seen, bool]) -> None:
        chosen, sources, beyond = part
        if chosen.any():
            out[chosen] = _filled(sources, target_rest[chosen], target_class[chosen], beyond)

    there, by = ((below, True), (~below, False)), ((trunk, cloth), (~trunk, seen))
    in_threads(fill, [(place & part, sources, beyond) for place, beyond in there for part, sources in by])
    return out


class _Seen(NamedTuple):
    """What the photo shows: the sources of :func:`fill_unseen`."""

    rest: np.ndarray
    kind: np.ndarray
    rgb: np.ndarray
    sure: np.ndarray


def _filled(seen: _Seen, target_rest: np.ndarray, target_class: np.ndarray, beyond: bool) -> np.ndarray:
    """Colours [M, 3] of places that all lie ``beyond`` the frame's lower edge, or none of them."""
    # There all heights are far: how far must not outweigh where around the leg a place is.
    along = 1.0 if beyond else _ALONG

    def features(rest: np.ndarray, kind: np.ndarray, mirrored: bool, doubt: np.ndarray) -> np.ndarray:
        x, y, z = rest.T
        longer = np.where((kind == HAIR_CLASS) | (kind == FACE_CLASS), 1.0, along)
        x = x + np.sign(x) * np.maximum(np.abs(x) - _SHOULDER, 0) * (longer - 1)
        deep = np.where(kind == HAIR_CLASS, _HAIR_DEPTH, _DEPTH_WEIGHT)
        scaled = np.column_stack([-x if mirrored else x, longer * y, deep * z])
        away = np.where(kind == FACE_CLASS, _MIRROR_PENALTY[1], _MIRROR_PENALTY[0]) * mirrored
        return np.column_stack([scaled, away, kind * _CLASS_PENALTY, doubt])

    doubt = (1 - seen.sure) * _DOUBT_PENALTY
    source = np.vstack([features(seen.rest, seen.kind, mirrored, doubt) for mirrored in (False, True)])
    wanted, kinds = features(target_rest, target_class, False, np.zeros(len(target_rest))), np.tile(seen.kind, 2)
    distance, index = _nearest(source, kinds, wanted, target_class, _NEIGHBOURS)
    width = 0.5 * distance[:, :1] + 0.004
    weight = np.exp(-0.5 * ((distance - distance[:, :1]) / width) ** 2)
    colour = seen.rgb[index % len(seen.rgb)]
    out = (colour * weight[..., None]).sum(1) / weight.sum(1, keepdims=True)
    # From the place itself: a face in profile has its other eye from the one that is seen.
    twin, place = np.divmod(index[:, :1], len(seen.rest))
    apart = seen.rest[place[:, 0]] * np.where(twin, [-1.0, 1.0, 1.0], 1.0) - target_rest
    away = np.linalg.norm(apart * [1, 1, _DEPTH_WEIGHT], axis=1)
    cheek = np.nonzero((target_class == FACE_CLASS) & (away > _SKIN_BEYOND[0]))[0]
    if len(cheek) and (seen.kind == FACE_CLASS).sum() >= MIN_HAIR:
        # The corner of an eye or of the mouth must not be drawn out over the side of the face.
        some = np.arange(0, len(source), _SKIN_STEP)
        count = min(_SKIN_AROUND // _SKIN_STEP, len(some))
        _, around = _nearest(source[some], kinds[some], wanted[cheek], target_class[cheek], count)
        skin = np.median(seen.rgb[some[around] % len(seen.rgb)], 1)
        share = ((away[cheek, None] - _SKIN_BEYOND[0]) / (_SKIN_BEYOND[1] - _SKIN_BEYOND[0])).clip(0, 1)
        out[cheek] = share * skin + (1 - share) * out[cheek]
    tuft = np.nonzero((target_class == HAIR_CLASS) & (away > _HAIR_BEYOND[0]))[0]
    if len(tuft):
        # Where the nearest of one side and of the other meet, light and dark hair would, too.
        some = tuft[:: -(-len(tuft) // _STRANDS)]
        apart = (cdist(target_rest[tuft], target_rest[some]) / (_SOFT * away[tuft, None])) ** 2
        weight = np.exp(0.5 * (apart.min(1, keepdims=True) - apart))
        soft = weight @ out[some] / weight.sum(1, keepdims=True)
        share = ((away[tuft, None] - _HAIR_BEYOND[0]) / (_HAIR_BEYOND[1] - _HAIR_BEYOND[0])).clip(0, 1)
        out[tuft] = share * soft + (1 - share) * out[tuft]
    near, far = _legs_reach(seen.rest, seen.kind) if beyond else _BELOW
    below = np.nonzero((target_class >= SEAT_CLASS) & (target_class < FACE_CLASS) & (away > near))[0]
    if len(below):
        # Legs beyond the frame: the last row of the photo, a hand or a badge in it, must not be drawn out to the feet.
        share = ((away[below, None] - near) / max(far - near, 1e-6)).clip(0, 1)
        out[below] = share * _lowest(seen.rest, seen.kind, seen.rgb) + (1 - share) * out[below]
    return out


def _nearest(
    source: np.ndarray, source_class: np.ndarray, wanted: np.ndarray, target_class: np.ndarray, count: int
) -> tuple[np.ndarray, np.ndarray]:
    """Distances and numbers [M, count] of the features ``source`` [N, 6] nearest to ``wanted`` [M, 6].

    Classes lie apart: those like a target's are searched by themselves, which is quick, and all of them where another
    class might be nearer.
    """
    kinds = np.unique(source_class)
    cuts = (kinds[:-1] + kinds[1:])[np.diff(kinds) > _GROUP] / 2
    group, group_of_kind, wanted_group = (np.searchsorted(cuts, c) for c in (source_class, kinds, target_class))
    distance, index = np.empty((len(wanted), count)), np.empty((len(wanted), count), int)
    doubtful = np.ones(len(wanted), bool)
    for number in np.unique(wanted_group):
        own, to = np.nonzero(group == number)[0], np.nonzero(wanted_group == number)[0]
        if len(own) < count:
            continue
        found, near = (v.reshape(len(to), count) for v in tree_of(source[own]).query(wanted[to], k=count, workers=-1))
        distance[to], index[to] = found, own[near]
        others = np.append(kinds[group_of_kind != number], np.inf)
        apart = _CLASS_PENALTY * np.abs(target_class[to, None] - others).min(1)
        doubtful[to] = found[:, -1] > apart
    if doubtful.any():
        found = tree_of(source).query(wanted[doubtful], k=count, workers=-1)
        distance[doubtful], index[doubtful] = (v.reshape(-1, count) for v in found)
    return distance, index


def _legs_reach(rest: np.ndarray, kind: np.ndarray) -> tuple[float, ...]:
    """:data:`_BELOW` for places below the frame, of so much of legs and seat as is seen."""
    height = rest[(kind >= SEAT_CLASS) & (kind < FACE_CLASS), 1]
    low, high = np.quantile(height, [_FOOT, 1 - _FOOT]) if len(height) else (0.0, 0.0)
    return tuple(reach * min(1.0, (high - low) / _SEEN) for reach in _BELOW)


def _lowest(rest: np.ndarray, kind: np.ndarray, rgb: np.ndarray) -> np.ndarray:
    """Median colour [3] of the lowest that is seen: of legs, else of the seat, else of anything."""
    leg, seat = (kind > SEAT_CLASS) & (kind < FACE_CLASS), kind == SEAT_CLASS
    mine = next((m for m in (leg, seat) if m.sum() >= MIN_HAIR), np.ones(len(kind), bool))
    height = rest[mine, 1]
    return np.median(rgb[mine][height <= np.quantile(height, _FOOT) + _LOWEST], 0)
