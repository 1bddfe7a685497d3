"""Which of the photo's pixels show a hand that is held before the rest of the person.

The body's hands are stiff, people's are not: where a fitted finger lies on the photo's sleeve, the sleeve would be
painted on the finger, and where the photo's finger lies beside the fitted ones, it would be painted on the belly
behind. Against the background the matte tells; before clothes a cut between the two colours does, and the bones of
fingers where they were found.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import cv2
import numpy as np
import torch
from scipy import ndimage

from ..body.model import JOINT_INDEX
from ..prepare import PreparedPhoto
from ..rendering.mesh import MeshHits, rasterize_mesh
from .clothed import joint_of_vertex
from .distances import depth_inside, nearest_of
from .sheets import Layers

_FINGERS = ((0, 1, 2, 3, 4), (0, 5, 6, 7, 8), (5, 9, 10, 11, 12), (9, 13, 14, 15, 16), (13, 17, 18, 19, 20), (0, 17))
"""Landmarks of a hand along its bones."""
_PALM = (0, 5, 9, 13, 17)
"""Landmarks around its palm."""
_LEAST = 240
"""Pixels of the photo that a hand must cover to be cut out."""
_REACH = 0.7
"""How far around the fitted hand the photo's may reach, over the root of its area."""
_BEFORE = 0.25
"""Share of what is around a hand that must be person for the cut to matter."""
_PLAUSIBLE = (0.3, 1.8)
"""Area of the cut over that of the fitted hand."""
_THICKNESS = 0.015
"""Metres, of fingers where the body has none."""
_SMOOTHING = 4.0
"""Pixels of the maps over which depths blend beside the body's hand."""
_CENTRES = 4
"""Colours that stand for what is around a hand."""
_LAB = np.float32([0.5, 1.0, 1.0])
"""Weights of lightness and colour: a hand is light and dark."""
_ALIKE = 10.0
"""How near to skin they may not be, but for a share of what is around."""
_MOST_ALIKE = 0.3
_BARE = 15.0
"""How near to a hand's colour, in that of :func:`lab_of`, a forearm without a sleeve is."""
_CUTS = 2
"""Rounds of the cut."""
_FINGER = 0.1
"""Half the width of a finger, over the root of a hand's area."""


@dataclass(frozen=True)
class HandPixels:
    """One hand in the photo; H x W pixels of the maps.

    Attributes:
        faces: bool [F], the body's faces that are this hand's.
        shown: bool [H, W], where the photo shows it.
        absent: bool [H, W], where the body's hand reaches in front and the photo shows something else.
        alone: what rays meet of the hand's faces, numbered as the body's.
    """

    faces: np.ndarray
    shown: np.ndarray
    absent: np.ndarray
    alone: MeshHits


def find_hands(
    photo: PreparedPhoto,
    matte: np.ndarray,
    posed: np.ndarray,
    faces: np.ndarray,
    weights: np.ndarray,
    first: MeshHits,
    focal: float,
    device: torch.device | None = None,
) -> list[HandPixels]:
    """The hands that are held before the person and can be told from what is behind them.

    Args:
        photo: prepared.
        matte: bool [H, W], the person.
        posed, faces, weights: of the body, camera space.
        first: what rays meet.
        focal: pixels at the maps' resolution.
        device: see :func:`~backend.rendering.mesh.rasterize_mesh`.
    """
    part = joint_of_vertex(weights)[faces[:, 0]]
    size, side = matte.shape, photo.rgb.shape[0]
    own = {
        name: np.isin(part, [JOINT_INDEX[f"{name}_wrist"], JOINT_INDEX[f"{name}_hand"]]) for name in ("left", "right")
    }
    bare = np.any([*own.values(), part == JOINT_INDEX["head"]], axis=0)
    forearms = [(first.face >= 0) & (part[first.face] == JOINT_INDEX[f"{name}_elbow"]) for name in own]
    lab, found = lab_of(cv2.resize(photo.rgb, size[::-1], interpolation=cv2.INTER_AREA)), []
    for its, landmarks in zip(own.values(), (photo.left_hand, photo.right_hand)):
        seen = (first.face >= 0) & its[first.face]
        others = (first.face >= 0) & bare[first.face] & ~seen
        for forearm in forearms:
            # A bare forearm would belong to the cut, a sleeve is what it must tell from the hand.
            if _is_bare(lab, seen, forearm):
                others |= forearm
        bones = None if landmarks is None else _bones(landmarks, side)
        shown = cut_out(photo.rgb, (photo.alpha > 0.5) & ~_enlarged(others, side), _enlarged(seen, side), bones)
        if shown is None:
            continue
        shown = cv2.resize(shown.astype(np.float32), size[::-1], interpolation=cv2.INTER_AREA) > 0.5
        alone = hits_of(its, posed, faces, focal, size, device)
        # Fingers reach half a pixel beyond those that their middles cover.
        before = ndimage.binary_dilation((alone.face >= 0) & (alone.depth < first.depth + _THICKNESS), iterations=2)
        absent = before & ~ndimage.binary_dilation(shown)
        found.append(HandPixels(its, shown & matte, absent, alone))
    return found


def hits_of(
    chosen: np.ndarray,
    posed: np.ndarray,
    faces: np.ndarray,
    focal: float,
    size: tuple[int, int],
    device: torch.device | None,
) -> MeshHits:
    """What rays meet of the ``chosen`` faces, bool [F], alone; faces keep their numbers."""
    hits = rasterize_mesh(posed, faces[chosen], focal, size, device=device)
    return replace(hits, face=np.where(hits.face >= 0, np.nonzero(chosen)[0][hits.face.clip(0)], -1))


def _enlarged(mask: np.ndarray, size: int) -> np.ndarray:
    return cv2.resize(mask.astype(np.uint8), (size, size), interpolation=cv2.INTER_NEAREST) > 0


def lab_of(rgb: np.ndarray) -> np.ndarray:
    """Colours [H, W, 3] whose distances tell skin from clothes, of uint8 ``rgb`` [H, W, 3]."""
    return cv2.cvtColor(rgb.astype(np.float32) / 255, cv2.COLOR_RGB2LAB) * _LAB


def centres_of(colours: np.ndarray, count: int) -> tuple[np.ndarray, np.ndarray]:
    """``count`` colours that stand for float32 ``colours`` [n, 3]: which of them is whose [n, 1], and they."""
    cv2.setRNGSeed(0)
    stop = (cv2.TERM_CRITERIA_COUNT, 20, 0.0)
    _, label, centres = cv2.kmeans(colours, count, None, stop, 1, cv2.KMEANS_PP_CENTERS)
    return label, centres


def from_centres(lab: np.ndarray, centres: np.ndarray) -> np.ndarray:
    """How far the colours ``lab`` [H, W, 3] are from the nearest of the ``centres`` [n, 3], [H, W]."""
    return np.linalg.norm(lab[:, :, None] - centres, axis=-1).min(-1)


def _is_bare(lab: np.ndarray, hand: np.ndarray, forearm: np.ndarray) -> bool:
    """Whether ``forearm`` has about the ``hand``'s colour, bool [H, W] each, in the picture of :func:`lab_of`."""
    if not (hand.any() and forearm.any()):
        return False
    return bool(np.linalg.norm(np.median(lab[hand], axis=0) - np.median(lab[forearm], axis=0)) < _BARE)


def _bones(landmarks: np.ndarray, size: int) -> np.ndarray:
    """Where in ``size`` x ``size`` pixels the palm lies, filled, and the bones between the landmarks [21, 2], one pixel
    wide."""
    drawn = np.zeros((size, size), np.uint8)
    cv2.fillPoly(drawn, [np.round(landmarks[list(_PALM)] - 0.5).astype(np.int32)], 1)
    for finger in _FINGERS:
        points = np.round(landmarks[list(finger)] - 0.5).astype(np.int32)
        cv2.polylines(drawn, [points[:, None]], False, 1, 1)
    return drawn > 0


def cut_out(rgb: np.ndarray, matte: np.ndarray, seen: np.ndarray, bones: np.ndarray | None) -> np.ndarray | None:
    """Where the picture shows the hand [H, W], None where the matte tells it as well, nothing tells it apart, or its
    bones lie elsewhere.

    Colours do; where they miss a finger, its bones; where they are too much alike, the fitted hand, palm and bones.

    Args:
        rgb: uint8 [H, W, 3].
        matte: bool [H, W], the person less what else has a hand's colour.
        seen: bool [H, W], where the fitted hand is in front.
        bones: bool [H, W], on which palm and fingers surely lie, where they were found.
    """
    area = seen.sum()
    if area < _LEAST:
        return None
    reach = _REACH * np.sqrt(area)
    away = depth_inside(~seen)
    around = (away < reach) & ~seen
    if (around & matte).sum() < _BEFORE * around.sum():
        return None
    inner = depth_inside(seen)
    core = (inner > 0.5 * inner.max()) if bones is None else bones & (away < reach)
    near = (away < reach) & matte
    core, beyond = core & matte, around & matte & (away > 0.4 * reach)
    if min(core.sum(), beyond.sum()) < _CENTRES:
        return None
    cut = _cut_by_colours(rgb, matte, near, core, beyond)
    if cut is None and bones is None:
        return None
    like_skin, shown = (near, seen & matte) if cut is None else cut
    if bones is not None:
        shown |= like_skin & near & (depth_inside(~bones) < _FINGER * np.sqrt(area))
    return shown if _PLAUSIBLE[0] * area < shown.sum() < _PLAUSIBLE[1] * area else None


def _cut_by_colours(
    rgb: np.ndarray, matte: np.ndarray, near: np.ndarray, core: np.ndarray, beyond: np.ndarray
) -> tuple[np.ndarray, np.ndarray] | None:
    """What has the colour of the hand's ``core``, and the hand by a cut between that and what lies ``beyond`` it, in
    ``near``: bool [H, W] each; None where both are too much alike."""
    lab = lab_of(rgb)
    skin = np.median(lab[core], axis=0)
    label, clothes = centres_of(lab[beyond], _CENTRES)
    # The photo's hand itself may reach there; where much is like it, colours tell nothing.
    alike = np.linalg.norm(clothes - skin, axis=1) < _ALIKE
    if alike[label].mean() > _MOST_ALIKE:
        return None
    clothes = clothes[~alike]
    to_clothes = from_centres(lab, clothes)
    like_skin = np.linalg.norm(lab - skin, axis=-1) < to_clothes

    kind = np.where(like_skin, cv2.GC_PR_FGD, cv2.GC_PR_BGD)
    kind[like_skin & core] = cv2.GC_FGD
    kind[~near] = cv2.GC_BGD
    rows, columns = np.nonzero(near)
    tile = slice(rows.min(), rows.max() + 1), slice(columns.min(), columns.max() + 1)
    kind = np.ascontiguousarray(kind[tile].astype(np.uint8))
    if not (kind == cv2.GC_FGD).any() or (kind & 1).all():
        return None
    # What lies outside the matte must not teach the cut what clothes look like.
    picture = rgb.copy()
    picture[~matte] = np.median(rgb[beyond], axis=0)
    shown = np.zeros(near.shape, bool)
    shown[tile] = cut(picture[tile], kind)
    shown &= near
    labels, _ = ndimage.label(shown)
    return like_skin, np.isin(labels, np.unique(labels[core & shown])) & shown


def cut(rgb: np.ndarray, kind: np.ndarray) -> np.ndarray:
    """OpenCV's GrabCut, the same every time: bool [H, W], what belongs to the foreground.

    Args:
        rgb: uint8 [H, W, 3].
        kind: uint8 [H, W], its classes of pixels, at least one of foreground and of background each.
    """
    cv2.setRNGSeed(0)
    models = np.zeros((1, 65)), np.zeros((1, 65))
    kind, _, _ = cv2.grabCut(np.ascontiguousarray(rgb), kind.copy(), None, *models, _CUTS, cv2.GC_INIT_WITH_MASK)
    return (kind & 1).astype(bool)


def without_absent(
    first: MeshHits,
    hands: list[HandPixels],
    posed: np.ndarray,
    faces: np.ndarray,
    focal: float,
    device: torch.device | None = None,
) -> MeshHits:
    """``first`` with what lies behind each hand where the photo does not show it; arguments as for
    :func:`find_hands`."""
    if not hands:
        return first
    others = ~np.any([hand.faces for hand in hands], axis=0)
    absent = (first.face >= 0) & np.any([hand.faces[first.face] & ~hand.shown for hand in hands], axis=0)
    behind = hits_of(others, posed, faces, focal, first.face.shape, device)
    if not (behind.face >= 0).any():
        return first
    return put_in(first, absent, behind)


def put_in(first: MeshHits, there: np.ndarray, others: MeshHits) -> MeshHits:
    """``first`` with what ``others`` meet in its place ``there``, bool [H, W]; beside their outlines the nearest of
    them goes on. They meet something somewhere."""
    nearest = nearest_of(others.face >= 0)
    return MeshHits(
        face=np.where(there, others.face[nearest], first.face),
        barycentric=np.where(there[..., None], others.barycentric[nearest], first.barycentric),
        depth=np.where(there, others.depth[nearest], first.depth),
    )


def with_shown(layers: Layers, hands: list[HandPixels], first: MeshHits) -> Layers:
    """``layers`` with each hand where the photo shows it and the body has it not, as a layer of its own."""
    for hand in hands:
        more = hand.shown & ~((first.face >= 0) & hand.faces[first.face])
        if not more.any() or not (hand.alone.face >= 0).any():
            continue
        covered = hand.alone.face >= 0
        nearest = nearest_of(covered)
        depth, face = (values[nearest] for values in (hand.alone.depth, hand.alone.face))
        weight = cv2.GaussianBlur(covered.astype(np.float32), (0, 0), _SMOOTHING)
        smooth = cv2.GaussianBlur(np.where(covered, depth, 0).astype(np.float32), (0, 0), _SMOOTHING)
        depth = np.where(weight > 1e-3, smooth / np.maximum(weight, 1e-3), depth)
        layers = replace(
            layers,
            front=np.where(more, depth, layers.front),
            back=np.where(more, depth + _THICKNESS, layers.back),
            face=np.where(more, face, layers.face),
            gap=layers.gap | more,
        )
    return replace(layers, hands=tuple(hands))
