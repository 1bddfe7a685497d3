"""From the pose network's soft 256 px mask to a matte with clean edges."""

from __future__ import annotations

import cv2
import numpy as np
import torch

from ..photo import PreparedPhoto
from .matting import foreground_colours, solve_matte

_GRABCUT_SIDE = 512
_GRABCUT_ITERATIONS = 2
_CLEAR = 0.04
"""Picture sides around the network's mask that may still be person."""
_BACKDROP_SAMPLES = 20000
_PLAIN_SPREAD, _PLAIN_SHARE = 0.02, 0.93
"""A background is plain whose colours stray this little from a smooth field, in this share of its pixels."""
_STANDS_OUT = 0.07
"""Distance of colours, in 0..1, from which something is not the background."""
_DARKEST_SHADOW = 0.45
"""Share of a background's light that a shadow leaves."""
_LARGEST_THING = 0.35
"""Area of one thing that is carried, in shares of the person's."""
_BAND = 12 / 1024
"""Picture sides on both sides of the cut within which the colours say what is person."""
_FAINT = (0.1, 0.9)
"""What matting makes of surely nothing and surely person in noisy photos."""
_MARGIN = 8
"""Pixels around the person whose colours are told from the background's."""
_TELLING = 0.5
"""Alpha from which the colour of what shows of the person can be told, two pixels further in."""


def _keep_main_parts(alpha: np.ndarray, seed: np.ndarray) -> np.ndarray:
    """Drop islands that do not touch ``seed`` (surely the person) or are specks."""
    count, labels, stats, _ = cv2.connectedComponentsWithStats((alpha > 0.3).astype(np.uint8))
    if count <= 2:
        return alpha
    sizes = stats[:, cv2.CC_STAT_AREA]
    touched = np.bincount(labels[seed], minlength=count) > 0
    keep = touched & (sizes > 0.01 * sizes[1:].max())
    keep[0] = True  # the soft rim outside every component stays soft
    return alpha * keep[labels]


def plain_backdrop(rgb: np.ndarray, known: np.ndarray) -> tuple[np.ndarray, float] | None:
    """What a plain background would look like behind the person too, and how far it strays; None if it is not plain.

    Args:
        rgb: float32 [S, S, 3] in 0..1.
        known: bool [S, S], surely background.
    """
    size = len(rgb)
    y, x = np.mgrid[-1 : 1 : size * 1j, -1 : 1 : size * 1j].astype(np.float32)
    basis = np.stack([x**i * y**j for i in range(4) for j in range(4 - i)], -1)
    rows, columns = np.nonzero(known)
    chosen = np.random.default_rng(0).permutation(len(rows))[:_BACKDROP_SAMPLES]
    some, colours = (values[rows[chosen], columns[chosen]].astype(float) for values in (basis, rgb))
    weight = np.ones(len(some))
    for _ in range(5):
        weighted = (some * weight[:, None]).T
        # Samples on one line do not tell all of a cubic: any of those that fit will do.
        coefficients = np.linalg.lstsq(weighted @ some, weighted @ colours, rcond=None)[0]
        away = np.linalg.norm(colours - some @ coefficients, axis=1)
        spread = max(1.5 * float(np.median(away)), 0.5 / 255)
        weight = 1 / (1 + (away / (2 * spread)) ** 2) ** 2
    if spread > _PLAIN_SPREAD or (away < 4 * spread + 0.02).mean() < _PLAIN_SHARE:
        return None
    return basis @ coefficients.astype(np.float32), spread


def _carried(rgb: np.ndarray, soft: np.ndarray, person: np.ndarray, inside: np.ndarray) -> np.ndarray:
    """Bool [S, S]: what hangs together with the ``person`` and stands out from a plain background, such as a bag.

    The pose network's mask leaves out what people carry, and the ends of hair and skirts. Before a plain background
    one sees where they end. Shadows, which darken the background without tinting it, are left out.

    Args:
        rgb: uint8 [S, S, 3].
        soft: [S, S] the network's mask.
        person: bool [S, S], what counts as person so far.
        inside: bool [S, S] where the picture is known.
    """
    nothing, size = np.zeros_like(person), len(rgb)
    reach = 2 * round(_CLEAR * size) + 1
    known = inside & (cv2.dilate((soft > 0.1).astype(np.uint8), np.ones((reach, reach))) == 0)
    if known.sum() < 0.05 * known.size or not person.any():
        return nothing
    colours = rgb.astype(np.float32) / 255
    found = plain_backdrop(colours, known)
    if found is None:
        return nothing
    wall, spread = found
    limit = max(6 * spread, _STANDS_OUT)
    shade = (colours * wall).sum(-1) / np.maximum((wall * wall).sum(-1), 1e-6)
    tinted = np.linalg.norm(colours - shade[..., None] * wall, axis=-1) > limit
    other = (np.linalg.norm(colours - wall, axis=-1) > limit) & (tinted | (shade < _DARKEST_SHADOW) | (shade > 1.02))
    other = cv2.morphologyEx((other & inside).astype(np.uint8), cv2.MORPH_OPEN, np.ones((3, 3), np.uint8)) > 0
    count, labels = cv2.connectedComponents((other & ~person).astype(np.uint8), connectivity=4)
    touching = cv2.dilate(person.astype(np.uint8), np.ones((3, 3), np.uint8)) > 0
    area = np.bincount(labels.ravel(), minlength=count)
    edge = np.zeros_like(person)
    edge[[0, -1]], edge[:, [0, -1]] = True, True
    edge |= cv2.dilate((~inside).astype(np.uint8), np.ones((3, 3), np.uint8)) > 0
    keep = (np.bincount(labels[touching], minlength=count) > 0) & (area < _LARGEST_THING * person.sum())
    keep &= np.bincount(labels[edge], minlength=count) == 0  # what goes on beyond the picture is furniture
    keep[0] = False
    return keep[labels]


def refine_matte(
    rgb: np.ndarray, soft: np.ndarray, inside: np.ndarray, device: torch.device | str = "cpu"
) -> np.ndarray:
    """Sharpen a soft mask along the picture's own edges.

    GrabCut decides within the mask's uncertain band only, seeded by what the network is sure of. Where the cut
    disagrees with the network too much (clutter, darkness), the network's mask is kept. Before a plain background what
    the person carries is added. Closed-form matting then says what is person along the cut.

    Args:
        rgb: uint8 [S, S, 3].
        soft: float32 [S, S] in 0..1.
        inside: bool [S, S], false where the crop lies outside the picture.
        device: which solves for the matte; it must know float64.

    Returns:
        float32 [S, S] in 0..1.
    """
    side = rgb.shape[0]
    small_rgb = cv2.resize(rgb, (_GRABCUT_SIDE, _GRABCUT_SIDE), interpolation=cv2.INTER_AREA)
    small = cv2.resize(soft, (_GRABCUT_SIDE, _GRABCUT_SIDE), interpolation=cv2.INTER_AREA)
    disc = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (5, 5))
    sure = cv2.erode((small > 0.8).astype(np.uint8), disc) > 0
    possible = cv2.dilate((small > 0.2).astype(np.uint8), disc) > 0
    binary = small > 0.5
    if sure.sum() > 50 and (~possible).sum() > 50:
        labels = np.where(binary, cv2.GC_PR_FGD, cv2.GC_PR_BGD).astype(np.uint8)
        labels[sure], labels[~possible] = cv2.GC_FGD, cv2.GC_BGD
        cv2.setRNGSeed(0)
        background, foreground = np.zeros((1, 65)), np.zeros((1, 65))
        cv2.grabCut(
            np.ascontiguousarray(small_rgb[..., ::-1]), labels, None, background, foreground,
            _GRABCUT_ITERATIONS, cv2.GC_INIT_WITH_MASK,
        )  # fmt: skip
        cut = (labels == cv2.GC_FGD) | (labels == cv2.GC_PR_FGD)
        if (cut & binary).sum() > 0.85 * (cut | binary).sum():
            kernel = np.ones((3, 3), np.uint8)
            opened = cv2.morphologyEx(cut.astype(np.uint8), cv2.MORPH_OPEN, kernel)
            binary = cv2.morphologyEx(opened, cv2.MORPH_CLOSE, kernel) > 0
    there = cv2.resize(inside.astype(np.uint8), (_GRABCUT_SIDE, _GRABCUT_SIDE), interpolation=cv2.INTER_NEAREST) > 0
    binary = binary | _carried(small_rgb, small, binary, there)
    mask = cv2.resize(binary.astype(np.uint8) * 255, (side, side), interpolation=cv2.INTER_LINEAR) // 128
    reach = 2 * round(_BAND * side) + 1
    band = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (reach, reach))
    uncertain = (cv2.dilate(mask, band) > 0) & (cv2.erode(mask, band) == 0) & inside
    alpha = solve_matte(rgb, mask, uncertain, device=device)
    low, high = _FAINT
    alpha = np.clip((alpha - low) / (high - low), 0, 1).astype(np.float32) * inside
    return _keep_main_parts(alpha, cv2.resize(sure.astype(np.uint8), (side, side)) > 0)


def extend_colours(rgb: np.ndarray, alpha: np.ndarray, sure: float = 0.95) -> np.ndarray:
    """Photo whose uncertain and background pixels take the nearest sure person colour.

    Keeps background colour out of everything that samples near the outline.

    Args:
        rgb: uint8 [H, W, 3].
        alpha: float32 [H, W].
        sure: alpha from which a pixel counts as person alone.

    Returns:
        uint8 [H, W, 3].
    """
    solid = (alpha >= sure).astype(np.uint8)
    eroded = cv2.erode(solid, np.ones((5, 5), np.uint8))
    # Thin parts (fingers) vanish under erosion: keep them where nothing else is near.
    far = cv2.distanceTransform(1 - eroded, cv2.DIST_L2, 3) > 6
    source = (eroded > 0) | ((solid > 0) & far)
    if not source.any():
        return rgb
    _, labels = cv2.distanceTransformWithLabels(
        (~source).astype(np.uint8), cv2.DIST_L2, 5, labelType=cv2.DIST_LABEL_PIXEL
    )
    colour_of_label = np.zeros((labels.max() + 1, 3), np.uint8)
    colour_of_label[labels[source]] = rgb[source]
    return colour_of_label[labels]


def person_colours(photo: PreparedPhoto, device: torch.device | str = "cpu") -> np.ndarray:
    """The person's colours in a picture and beyond the outline, uint8 [S, S, 3]; ``device`` computes."""
    # Under a matte that came with the file the person's colours need not be mixed with anything.
    if photo.matte_given:
        return extend_colours(photo.rgb, photo.alpha)
    return own_colours(photo.rgb, photo.alpha, device)


def own_colours(rgb: np.ndarray, alpha: np.ndarray, device: torch.device | str = "cpu") -> np.ndarray:
    """The person's own colours, as far as they can be told from the background's; beyond, the nearest of those.

    Args:
        rgb: uint8 [H, W, 3], person and background mixed by ``alpha``.
        alpha: float32 [H, W].
        device: which computes.

    Returns:
        uint8 [H, W, 3].
    """
    rows, columns = (np.nonzero((alpha > 0).any(axis))[0] for axis in (1, 0))
    own = rgb.copy()
    if len(rows):
        # A person fills half of the picture, and nothing else is asked for.
        part = tuple(slice(max(at[0] - _MARGIN, 0), at[-1] + 1 + _MARGIN) for at in (rows, columns))
        own[part] = foreground_colours(rgb[part], alpha[part], device)
    return extend_colours(own, alpha, _TELLING)
