"""Forearms and legs that are held before the rest of the person: where in the photo they end.

Against the background the matte tells how wide a limb is. Before clothes, or before another limb, nothing did: where a
fitted thigh is too high, the shorts above it would be painted on it and go with it. A cut between the colours on both
sides of the fitted limb's outline tells, where they differ.
"""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
import torch
from scipy import ndimage

from ..body.model import JOINT_INDEX
from ..prepare import PreparedPhoto
from ..rendering.mesh import MeshHits, rasterize_mesh
from .clothed import ARM_CHAINS, CHAIN_OF_JOINT, HEAD_CHAIN, LEG_CHAINS, joint_of_vertex, outline_displacement
from .distances import depth_inside
from .hands import centres_of, cut, from_centres, lab_of

_JUMP = 0.05
"""Metres that a limb must be before what it hides."""
_SHORTEST = 12
"""Pixels of a limb's outline before the person without which nothing is cut."""
_WIDTH, _WIDEST = 0.7, 24.0
"""How far from its outline a limb may end, over half its thickness, and in pixels."""
_NARROWEST = 3.0
"""Pixels; thinner limbs are left as they are."""
_RIDGE = 0.6
"""Share of half its thickness from which a limb's middle counts as surely shown."""
_LEAST = 60
"""Pixels of a limb, and of what is behind, without which nothing is concluded, and that must change hands."""
_CENTRES = 3
"""Colours that stand for a limb, and for what is behind."""
_ALIKE = 12.0
"""How near colours of both may be, in :func:`~.hands.lab_of`, but for a share of what is behind."""
_MOST_ALIKE = 0.3
_TOUCHING = 3
"""Pixels from the outline within which a piece that changes hands begins."""
_STIFFNESS = 1.0
"""Of the membrane that a limb's surface is."""
_STEPS = 2
"""After which the surface lies where it should to a pixel or two."""
_HANDS = [joint for name, joint in JOINT_INDEX.items() if name.endswith(("_wrist", "_hand"))]


@dataclass(frozen=True)
class LimbPixels:
    """One limb in the photo; H x W pixels of the maps.

    Attributes:
        chain: its number in :data:`~.clothed.CHAIN_OF_JOINT`.
        shown: bool [H, W], where the photo shows it.
        known: bool [H, W], where that was told by colours: around its outline before the person.
    """

    chain: int
    shown: np.ndarray
    known: np.ndarray


def find_limbs(
    photo: PreparedPhoto, matte: np.ndarray, first: MeshHits, faces: np.ndarray, weights: np.ndarray
) -> list[LimbPixels]:
    """The limbs whose outline before the rest of the person the photo tells, where it is not the fitted one.

    Hands have :mod:`.hands`, and arms before the head :mod:`.hair`.

    Args:
        photo: prepared.
        matte: bool [H, W], the person.
        first: what rays meet of the body, whose outline is the matte's.
        faces, weights: of the body.
    """
    joint = joint_of_vertex(weights)[faces[:, 0]]
    covered = (first.face >= 0) & matte & ~np.isin(joint, _HANDS)[first.face]
    chain = np.where(covered, CHAIN_OF_JOINT[joint][first.face], -1)
    outlines = _outlines(chain, first.depth)
    if not outlines:
        return []
    rgb = cv2.resize(photo.rgb, matte.shape[::-1], interpolation=cv2.INTER_AREA)
    found = []
    for limb in (*ARM_CHAINS, *LEG_CHAINS):
        own = chain == limb
        shown, known = own.copy(), np.zeros_like(own)
        for (its, other), edge in outlines.items():
            told = _cut(rgb, own, chain == other, edge) if its == limb else None
            if told is not None:
                less, more, near = told
                shown, known = shown & ~less | more, known | near
        if (shown != own).sum() >= _LEAST:
            found.append(LimbPixels(limb, shown, known))
    return found


def _outlines(chain: np.ndarray, depth: np.ndarray) -> dict[tuple[int, int], np.ndarray]:
    """By limb and what it is before: the limb's pixels, bool [H, W], beside such that are farther.

    Args:
        chain: [H, W] numbers of limbs, -1 for none.
        depth: [H, W] metres.
    """
    padded = np.pad(chain, 1, constant_values=-1), np.pad(depth, 1)
    found: dict[tuple[int, int], np.ndarray] = {}
    height, width = chain.shape
    for down, right in ((0, 1), (2, 1), (1, 0), (1, 2)):
        beside, its = (values[down : down + height, right : right + width] for values in padded)
        edge = np.isin(chain, (*ARM_CHAINS, *LEG_CHAINS)) & (beside >= 0) & (beside != chain) & (its > depth + _JUMP)
        for limb, other in np.unique(np.column_stack([chain[edge], beside[edge]]), axis=0).tolist():
            if other != HEAD_CHAIN or limb not in ARM_CHAINS:
                pixels = edge & (chain == limb) & (beside == other)
                found[limb, other] = found.get((limb, other), False) | pixels
    return {pair: edge for pair, edge in found.items() if edge.sum() >= _SHORTEST}


def _cut(
    rgb: np.ndarray, own: np.ndarray, behind: np.ndarray, edge: np.ndarray
) -> tuple[np.ndarray, np.ndarray, np.ndarray] | None:
    """What of the fitted limb shows something ``behind``, what of that shows the limb, and where it was looked for;
    bool [H, W] each, as the arguments are, ``edge`` being the limb's outline before it. None where both are too much
    alike."""
    inner = depth_inside(own)
    away = depth_inside(~edge)
    width = min(_WIDTH * np.percentile(inner[own & (away < 3 * inner.max())], 98), _WIDEST)
    if width < _NARROWEST:
        return None
    # All that follows concerns the surroundings of the outline alone.
    rows, columns = (np.nonzero((away < 3 * width).any(axis))[0] for axis in (1, 0))
    tile = slice(rows[0], rows[-1] + 1), slice(columns[0], columns[-1] + 1)
    tiles = _cut_tile(*(picture[tile] for picture in (rgb, own, behind, edge, inner, away)), width)
    if tiles is None:
        return None
    whole = np.zeros((3, *own.shape), bool)
    whole[(slice(None), *tile)] = tiles
    return whole[0], whole[1], whole[2]


def _cut_tile(
    rgb: np.ndarray,
    own: np.ndarray,
    behind: np.ndarray,
    edge: np.ndarray,
    inner: np.ndarray,
    away: np.ndarray,
    width: float,
) -> tuple[np.ndarray, np.ndarray, np.ndarray] | None:
    """:func:`_cut` in a tile; ``inner`` and ``away`` are pixels from the limb's outline and from its ``edge`` before
    the person, ``width`` how far from that it may end."""
    near = (own | behind) & (away < width)
    ridge = inner >= _RIDGE * ndimage.maximum_filter(inner, 2 * int(width) + 1)
    core = own & ridge & (away >= _RIDGE * width) & (away < 2.5 * width)
    beyond = behind & (away >= width) & (away < 2 * width)
    if min(core.sum(), beyond.sum()) < _LEAST:
        return None
    lab = lab_of(rgb)
    limb, (which, other) = centres_of(lab[core], _CENTRES)[1], centres_of(lab[beyond], _CENTRES)
    alike = np.linalg.norm(other[:, None] - limb, axis=-1).min(1) < _ALIKE
    if alike[which].mean() > _MOST_ALIKE:
        return None
    like_limb = from_centres(lab, limb) < from_centres(lab, other[~alike])
    kind = np.where(like_limb, cv2.GC_PR_FGD, cv2.GC_PR_BGD).astype(np.uint8)
    kind[core | own & ~near] = cv2.GC_FGD
    kind[beyond | ~(own | near)] = cv2.GC_BGD
    # What is neither must not teach the cut its colours.
    picture = rgb.copy()
    picture[~(near | core | beyond)] = np.median(rgb[beyond], axis=0)
    picture[own & ~(near | core)] = np.median(rgb[core], axis=0)
    shown = cut(picture, kind)
    at_edge = away <= _TOUCHING

    def beginning_there(mask: np.ndarray) -> np.ndarray:
        labels, _ = ndimage.label(ndimage.binary_opening(mask))
        return (labels > 0) & np.isin(labels, labels[at_edge])

    return beginning_there(near & own & ~shown), beginning_there(near & behind & shown), near


def bring_limbs(
    vertices: np.ndarray,
    faces: np.ndarray,
    weights: np.ndarray,
    limbs: list[LimbPixels],
    focal: float,
    device: torch.device | None = None,
) -> np.ndarray:
    """``vertices`` [V, 3] with the limbs' outlines where the photo shows them; what they end in goes along a little.

    Args:
        vertices: metres, the posed body, camera space.
        faces, weights: of the body.
        limbs: see :func:`find_limbs`.
        focal: pixels at the maps' resolution.
        device: see :func:`~backend.rendering.mesh.rasterize_mesh`.
    """
    joint = joint_of_vertex(weights)
    for limb in limbs:
        own = (CHAIN_OF_JOINT[joint] == limb.chain) & ~np.isin(joint, _HANDS)
        # The mesh is kept a pixel inside of what it is brought to, so that it does not show beside it: here it may.
        shown = ndimage.binary_dilation(limb.shown)
        for _ in range(_STEPS):
            first = rasterize_mesh(vertices, faces, focal, limb.shown.shape, device=device)
            alone = np.where((first.face >= 0) & own[faces[first.face, 0]], first.face, -1)
            vertices = vertices + outline_displacement(
                vertices, faces, weights, shown, limb.known, alone, focal, ~own, _STIFFNESS
            )
    return vertices
