"""What a photo shows and yet says nothing of what it does not show: skin before hair or clothes, and prints.

It must not lend its colours to the other side of the body: an arm before a shirt would lie on the back, a badge too.
"""

from __future__ import annotations

import numpy as np

from ..avatar.rows import distinct_rows
from ..avatar.threads import in_threads
from .neighbours import tree_of
from .regions import ARM_CLASS, FACE_CLASS, HAIR_CLASS, HAND_CLASS, MIN_HAIR, NAPE_CLASS, SEAT_CLASS, TRUNK_CLASS

_BALD = 0.15
"""Difference of the colours where hair grows, or clothes are, and of the face below which both are skin."""
_STRAND, _STRANDS = 0.2, 0.35
"""Difference from the face's skin in any light beyond which a colour is hair's, and their share from which all hair has
such colours."""
_SCALP_SHADES = (0.5, 1.3)
"""How bright skin is there, over that of the face: black hair must not count as skin in the dark."""
_OTHER_HUE = 0.08
"""Difference of hues beyond which they are not: grey hair is not as red as skin, brown hair nearly is."""
_CLOTHED = 0.7
"""Share of a trunk's places without skin from which it is clothed, and of a patch's with it from which it is bare."""
_NECKLINE = 0.15
"""Metres below the neck down to which necklines reach."""
_BARE = 0.8
"""Share of skin there from which shoulders are bare all across, and the back is too."""
_SKIN_ANGLE = 0.1
"""Radians between colours of one skin at most, as seen from black."""
_GREY = 0.02
"""Difference of hues that counts for nothing: grey photos have none."""
_RUDDY = 0.3
"""Share of the redness of the face that other skin has at least; in the sun it is paler."""
_PATCH = 0.06
"""Metres across which places count together."""
_SIDE = 0.12
"""Share of what is seen of a trunk across that is its left side, and its right one: there the unseen begins."""
_BESIDE = (0.012, 0.05)
"""Metres up and down in which sides are compared with what lies between them: stripes go on at their own height."""
_FEWEST = 5
"""Places at the sides without which nothing is concluded there."""
_COMPARED = 80
"""At most so many are compared with a place."""
_SHADES = (0.6, 1.6)
"""By how much light and shadow may change a colour of one cloth."""
_SKIN_SHADES = (0.3, 1.3)
"""Likewise, of skin, from that of the face."""
_DARK = 0.35
"""Share of skin's brightness below which cloth is black: nothing as red is cloth then."""
_BRIGHT = 0.6
"""Share of skin's brightness that skin has at least, where brown cloth is to be told from it."""
_UNLIKE = 0.12
"""Difference of colours beyond that of two cloths."""
_RARER = 0.5
"""How much rarer than between the sides a colour is at them that does not go on there. Shadows are at any edge, and a
stripe may be missing."""
_NEAR, _RIM = 0.4, 0.008
"""Share of a place's neighbours that must be like that too; metres around those that count as their rim."""
_MOST = 0.6
"""Share of a trunk's places that may differ from its sides: more are its cloth, and the sides something else."""
_NEIGHBOURS = 16
_PIECE = 1024
"""Places that one thread compares at a time."""
_ON_OTHER = 0.05
"""Share of the other leg at its height from which a colour is the cloth's."""


def misleading(
    rest: np.ndarray, kind: np.ndarray, rgb: np.ndarray, source: np.ndarray, beside: np.ndarray
) -> np.ndarray:
    """Which sources [n] say nothing of what the photo does not show.

    See :func:`misplaced_skin`, :func:`on_front_alone` and :func:`on_one_leg`. Arguments as of :func:`skin_on_clothes`.
    """
    out = misplaced_skin(rest, kind, rgb, source, beside)
    left = source & ~out  # of which the two that follow tell different parts
    alone, on_leg = in_threads(lambda found: found(rest, kind, rgb, left), (on_front_alone, on_one_leg))
    return out | alone | on_leg


def misplaced_skin(
    rest: np.ndarray, kind: np.ndarray, rgb: np.ndarray, source: np.ndarray, beside: np.ndarray | None = None
) -> np.ndarray:
    """Which sources [n] show skin where something else must be: hair or clothes. See :func:`skin_on_clothes`."""
    beside = np.zeros(len(kind), bool) if beside is None else beside
    return skin_among_hair(kind, rgb, source) | skin_on_clothes(rest, kind, rgb, source, beside)


def skin_among_hair(kind: np.ndarray, rgb: np.ndarray, source: np.ndarray) -> np.ndarray:
    """Which sources [n] lie where hair grows but show skin: a high forehead, a hand."""
    face, hair = source & (kind == FACE_CLASS), source & (kind == HAIR_CLASS)
    if min(face.sum(), hair.sum()) < MIN_HAIR:
        return np.zeros(len(kind), bool)
    skin = np.median(rgb[face], 0)
    # Of a head that is fitted askew half of what should be hair may be forehead.
    strands = hair & (_from_shades(rgb, skin, _SCALP_SHADES) > _STRAND)
    strand = np.median(rgb[strands if strands.sum() > _STRANDS * hair.sum() else hair], 0)
    if np.linalg.norm(skin - strand) < _BALD:
        # Grey hair may be as bright as skin, but it is not as red, in the light or in shadow.
        rgb, skin, strand = _hue(rgb), _hue(skin), _hue(strand)
        if np.linalg.norm(skin - strand) < _OTHER_HUE:
            return np.zeros(len(kind), bool)
    return hair & (np.linalg.norm(rgb - skin, axis=1) < np.linalg.norm(rgb - strand, axis=1))


def skin_on_clothes(
    rest: np.ndarray, kind: np.ndarray, rgb: np.ndarray, source: np.ndarray, beside: np.ndarray
) -> np.ndarray:
    """Which sources [n] lie on trunk or seat but show skin, of an arm or a thigh before them say.

    Of a seat some clothes must show, of a trunk mostly clothes: then there are clothes behind too. On a trunk skin
    shows in patches, or beside arms that are not fitted to the pixel; what alternates with other colours is a pattern
    of clothes.

    Args:
        rest: [n, 3] in the rest pose, metres.
        kind, rgb: [n] and [n, 3].
        source: bool [n].
        beside: bool [n], what the photo shows beside an arm.
    """
    out = np.zeros(len(kind), bool)
    skin = _skin(kind, rgb, source)
    if skin is None:
        return out
    from_skin = np.linalg.norm(rgb - skin, axis=1)
    for part, least in ((SEAT_CLASS, 0.0), (TRUNK_CLASS, _CLOTHED)):
        mine = source & (kind == part)
        clothed = mine & (from_skin > _BALD)
        if clothed.sum() < max(MIN_HAIR, least * mine.sum()):
            continue
        like = mine & _is_skin(rgb, skin, np.median(rgb[clothed], 0))
        if part == TRUNK_CLASS:
            found = np.nonzero(mine)[0]
            _, cell = distinct_rows(np.floor(rest[found] / _PATCH).astype(int))
            like[found] &= ((np.bincount(cell, like[found]) / np.bincount(cell))[cell] > _CLOTHED) | beside[found]
        out |= like
    return out


def on_front_alone(rest: np.ndarray, kind: np.ndarray, rgb: np.ndarray, source: np.ndarray) -> np.ndarray:
    """Which sources [n] show what a trunk has between its sides alone: a print, a tie, the shirt in an open jacket.

    What goes on around a trunk is as frequent at its sides. So a place whose colour, be it lighter or darker, is much
    rarer at the sides at its height than between them is of no use for the back. Arguments as of
    :func:`skin_on_clothes`.
    """
    out = np.zeros(len(kind), bool)
    trunk = np.nonzero(source & (kind == TRUNK_CLASS))[0]
    across, level = rest[trunk, 0], np.floor(rest[trunk, 1] / (2 * _BESIDE[0])).astype(int)
    beside = np.zeros(len(trunk), bool)
    for number in np.unique(level):
        mine = level == number
        low, high = np.quantile(across[mine], [_SIDE, 1 - _SIDE])
        beside |= mine & ((across < low) | (across > high))
    side, middle = trunk[beside], trunk[~beside]
    if min(len(side), len(middle)) < MIN_HAIR:
        return out
    alone = np.ones(len(middle), bool)
    for reach in _BESIDE:
        at_side, known = _frequency(rest, rgb, side, middle, reach)
        between, _ = _frequency(rest, rgb, middle, middle, reach)
        alone &= known & (at_side < _RARER * between)
    alone = _in_patches(rest, middle, alone)
    if not 0 < len(alone) < _MOST * len(trunk):
        return out
    out[trunk] = tree_of(rest[alone]).query(rest[trunk], workers=-1)[0] < _RIM
    return out


def on_one_leg(rest: np.ndarray, kind: np.ndarray, rgb: np.ndarray, source: np.ndarray) -> np.ndarray:
    """Which sources [n] show what one leg has and the other has not at that height: a bag or a hand before a thigh.

    Trousers of two colours stay: there it is most of what the leg has. Arguments as of :func:`skin_on_clothes`.
    """
    out = np.zeros(len(kind), bool)
    leg = source & (kind >= SEAT_CLASS) & (kind < FACE_CLASS)
    sides = [np.nonzero(leg & (sign * rest[:, 0] > 0))[0] for sign in (1, -1)]
    if min(map(len, sides)) < MIN_HAIR:
        return out
    for own, other in (sides, sides[::-1]):
        there, known = _frequency(rest, rgb, other, own, _BESIDE[1])
        here, _ = _frequency(rest, rgb, own, own, np.inf)
        alone = _in_patches(rest, own, known & (there < _ON_OTHER) & (here < _RARER))
        if len(alone):
            out[own] = tree_of(rest[alone]).query(rest[own], workers=-1)[0] < _RIM
    return out


def _in_patches(rest: np.ndarray, places: np.ndarray, alone: np.ndarray) -> np.ndarray:
    """Those of ``places`` [n] that lie among others that are ``alone`` [n], or beside many: a print and its rim.

    Single ones are stripes that miss their height by a little.
    """
    _, near = tree_of(rest[places]).query(rest[places], k=_NEIGHBOURS, workers=-1)
    return places[alone[near.clip(max=len(places) - 1)].mean(1) > _NEAR]


def _frequency(
    rest: np.ndarray, rgb: np.ndarray, among: np.ndarray, of: np.ndarray, reach: float
) -> tuple[np.ndarray, np.ndarray]:
    """How large a share [n] of the places ``among`` others within ``reach`` up and down is like each place ``of``.

    And bool [n]: there are enough of them.
    """
    among = among[np.argsort(rest[among, 1], kind="stable")]
    first, last = (np.searchsorted(rest[among, 1], rest[of, 1] + limit) for limit in (-reach, reach))
    chosen = first[:, None] + ((last - first)[:, None] * (np.arange(_COMPARED) + 0.5) / _COMPARED).astype(int)
    chosen, rgb = chosen.clip(0, len(among) - 1), rgb.astype(np.float32)
    lent, own = rgb[among], rgb[of]
    power, own_power = (np.square(colours).sum(1) for colours in (lent, own))

    def like(rows: slice) -> np.ndarray:
        # As :func:`_from_shades` of every pair, squared.
        others = power[chosen[rows]]
        product = np.einsum("nc,nkc->nk", own[rows], lent[chosen[rows]])
        factor = (product / np.maximum(others, 1e-6)).clip(*_SHADES)
        squared = own_power[rows, None] + factor * (factor * others - 2 * product)
        return (squared < _UNLIKE**2).mean(1)

    pieces = [slice(start, start + _PIECE) for start in range(0, len(of), _PIECE)]
    return np.concatenate(in_threads(like, pieces)), last - first >= _FEWEST


def bare_arms(kind: np.ndarray, rgb: np.ndarray) -> np.ndarray:
    """Which sources [n] are arms without sleeves beside a clothed trunk: they say nothing of its colour."""
    source = np.ones(len(kind), bool)
    skin, trunk = _skin(kind, rgb, source), kind == TRUNK_CLASS
    if skin is None or trunk.sum() < MIN_HAIR:
        return ~source
    cloth = np.median(rgb[trunk], 0)
    if np.linalg.norm(cloth - skin) < _BALD:
        return ~source
    return (kind == ARM_CLASS) & _is_skin(rgb, skin, cloth)


def bare_neckline(rest: np.ndarray, kind: np.ndarray, rgb: np.ndarray) -> np.ndarray:
    """Which sources [n] are skin of the neck, or of what a neckline leaves open below it.

    The backs of clothes reach up to the neck, unless shoulders are bare all across. Chests are lit otherwise than
    faces: only the colours' direction counts.
    """
    none = np.zeros(len(kind), bool)
    skin, trunk, neck = _skin(kind, rgb, ~none), kind == TRUNK_CLASS, (kind >= NAPE_CLASS) & (kind < TRUNK_CLASS)
    if skin is None or trunk.sum() < MIN_HAIR:
        return none
    limit = (rest[neck, 1].min() if neck.any() else rest[trunk, 1].max()) - _NECKLINE
    lower = trunk & (rest[:, 1] < limit)
    if lower.sum() < MIN_HAIR:
        return none
    like = _angle(rgb, skin) < min(0.5 * float(_angle(np.median(rgb[lower], 0), skin)), _SKIN_ANGLE)
    upper = trunk & (rest[:, 1] > limit)
    if like[lower].mean() > 1 - _CLOTHED or (upper.any() and like[upper].mean() > _BARE):
        return none
    return like & (neck | upper)


def _angle(rgb: np.ndarray, of: np.ndarray) -> np.ndarray:
    """Angle between colours [..., 3] and ``of`` [3], radians: light and shadow leave it as it is."""
    cosine = (rgb * of).sum(-1) / np.maximum(np.linalg.norm(rgb, axis=-1) * np.linalg.norm(of), 1e-6)
    return np.arccos(cosine.clip(-1, 1))


def _skin(kind: np.ndarray, rgb: np.ndarray, source: np.ndarray) -> np.ndarray | None:
    """The colour [3] of face or hands, None where neither is seen."""
    bare = next((b for c in (FACE_CLASS, HAND_CLASS) if (b := source & (kind == c)).sum() >= MIN_HAIR), None)
    return None if bare is None else np.median(rgb[bare], 0)


def _is_skin(rgb: np.ndarray, skin: np.ndarray, cloth: np.ndarray) -> np.ndarray:
    """Which colours [n, 3] are rather ``skin`` than ``cloth``; in sun and shadow too, where the cloth is black."""
    red, hue = _hue(skin) - 1 / 3, _hue(rgb) - 1 / 3
    strength = float(np.linalg.norm(red))
    limit = max(0.5 * strength, _GREY)
    if cloth.max() < _DARK * skin.max() and strength > _GREY:
        along = hue @ red / strength
        ruddy = (along > _RUDDY * strength) & (np.linalg.norm(hue - along[:, None] * red / strength, axis=1) < limit)
        return ruddy & (_from_shades(rgb, skin, _SKIN_SHADES) < _from_shades(rgb, cloth, _SHADES))
    # White cloth may be as bright as skin, but it is not as red; brown cloth as red, but not as bright.
    ruddy = (np.linalg.norm(hue - red, axis=1) < limit) & (rgb.max(1) > _BRIGHT * skin.max())
    return ruddy & (np.linalg.norm(rgb - skin, axis=1) < np.linalg.norm(rgb - cloth, axis=1))


def _from_shades(rgb: np.ndarray, of: np.ndarray, shades: tuple[float, float]) -> np.ndarray:
    """How far colours [..., 3] are from ``of`` [..., 3] between these many times as bright."""
    factor = (rgb * of).sum(-1, keepdims=True) / np.maximum(np.square(of).sum(-1, keepdims=True), 1e-6)
    return np.linalg.norm(rgb - factor.clip(*shades) * of, axis=-1)


def _hue(rgb: np.ndarray) -> np.ndarray:
    """Shares of red, green and blue [..., 3], which light and shadow leave as they are."""
    return rgb / np.maximum(rgb.sum(-1, keepdims=True), 1e-3)
