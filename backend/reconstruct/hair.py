"""Hair that falls before an arm: which of the photo's pixels on a raised forearm or hand show hair.

A hand in the hair, or behind a neck, is fitted before them. What has the colour of hair there, and hangs together with
the head, is the head's, or it would go with the arm. A glove of the hair's colour is taken for hair.
"""

from __future__ import annotations

import cv2
import numpy as np
import torch
from scipy import ndimage

from ..prepare import PreparedPhoto
from ..rendering.mesh import MeshHits
from .clothed import ARM_CHAINS, CHAIN_OF_JOINT, HEAD_CHAIN, joint_of_vertex
from .distances import depth_inside
from .hands import centres_of, from_centres, hits_of, lab_of, put_in
from .regions import BodyRegions

_REACH = 0.9
"""Of the root of the head's area: how far from it hair may fall on an arm."""
_LEAST = 60
"""Pixels of hair, and of an arm, without which nothing is concluded; and of hair before an arm."""
_CENTRES = 3
"""Colours that stand for hair, and for an arm."""
_UNLIKE = 20.0
"""How far from the face's colour, in that of :func:`~.hands.lab_of`, hair must be to be told from skin."""
_CLOSED = 3
"""Pixels; gaps between locks are up to twice as wide."""
_NEARER, _ALIKE = 0.8, 20.0
"""How near to hair a pixel's colour must be: against how near to the arm, and at all."""
_BETWEEN = 1.5
"""The first of them for what is between locks."""
_DARKER, _BLACK = (1.0, 0.8, 0.6), np.float32([8.0, 0.0, 0.0])
"""Cube roots of the light on an arm and on skin, whose shaded side is no hair. The lightness of :func:`~.hands.lab_of`
is half of CIE L*, in which less light is a factor of L* + 16."""


def hair_before_arms(
    photo: PreparedPhoto,
    matte: np.ndarray,
    first: MeshHits,
    faces: np.ndarray,
    weights: np.ndarray,
    regions: BodyRegions,
) -> np.ndarray:
    """Bool [H, W]: pixels of the maps where the body has a forearm or hand in front and the photo shows hair.

    Args:
        photo: prepared.
        matte: bool [H, W], the person.
        first: what rays meet of the body.
        faces, weights: of the body.
        regions: of the body, its face and where its hair grows.
    """
    chain = CHAIN_OF_JOINT[joint_of_vertex(weights)[faces[:, 0]]]
    covered = (first.face >= 0) & matte
    head = covered & (chain[first.face] == HEAD_CHAIN)
    skin, grown = (head & part[faces].all(1)[first.face] for part in (regions.face, regions.hair))
    arm = covered & np.isin(chain[first.face], ARM_CHAINS)
    reach = _REACH * np.sqrt(head.sum())
    near = arm & (depth_inside(~head) < reach)
    nothing = np.zeros(matte.shape, bool)
    hair, other = grown & (depth_inside(matte) > 2), arm & ~near
    if min(near.sum(), hair.sum(), skin.sum(), other.sum()) < _LEAST:
        return nothing
    lab = lab_of(cv2.resize(photo.rgb, matte.shape[::-1], interpolation=cv2.INTER_AREA))
    bare = np.median(lab[skin], axis=0)
    hairs = centres_of(lab[hair], _CENTRES)[1]
    hairs = hairs[np.linalg.norm(hairs - bare, axis=1) > _UNLIKE]
    if not len(hairs):
        return nothing
    lit = np.vstack([centres_of(lab[other], _CENTRES)[1], bare])
    arms = np.vstack([share * (lit + _BLACK) - _BLACK for share in _DARKER])
    to_hair, to_arm = from_centres(lab, hairs), from_centres(lab, arms)
    # All of the head but the face counts, and a dark shirt leads from nowhere to anywhere.
    passable = near | (matte & (first.face < 0))
    alike = (passable & (to_hair < _ALIKE) & (to_hair < _NEARER * to_arm)) | (head & ~skin)
    labels, _ = ndimage.label(alike)
    found = np.isin(labels, labels[hair])
    # Dark between locks, less like either, is hair too.
    between = ndimage.binary_closing(found, iterations=_CLOSED) & (to_hair < _BETWEEN * to_arm)
    before = near & ndimage.binary_opening(found | between)
    return before if before.sum() >= _LEAST else nothing


def with_hair(
    first: MeshHits,
    hair: np.ndarray,
    posed: np.ndarray,
    faces: np.ndarray,
    weights: np.ndarray,
    focal: float,
    device: torch.device | None = None,
) -> MeshHits:
    """``first`` with the head, or what of it is nearest, where there is ``hair``, bool [H, W].

    Args:
        first, faces, weights: as for :func:`hair_before_arms`.
        hair: from there.
        posed: [V, 3] metres, the body, camera space.
        focal: pixels at the maps' resolution.
        device: see :func:`~backend.rendering.mesh.rasterize_mesh`.
    """
    if not hair.any():
        return first
    chain = CHAIN_OF_JOINT[joint_of_vertex(weights)[faces[:, 0]]]
    head = hits_of(chain == HEAD_CHAIN, posed, faces, focal, hair.shape, device)
    return put_in(first, hair, head)
