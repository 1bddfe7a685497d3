"""Closed-form matting: how far each uncertain pixel is person (Levin, Lischinski and Weiss 2008); and in what colour.

In every small window colours of person and background each lie on a line, so that alpha is a linear function of colour
there. What fits that best in all windows at once, given where alpha is known, is a sparse linear system.
"""

from __future__ import annotations

import cv2
import numpy as np
from scipy import ndimage, sparse
from scipy.sparse.linalg import cg

_WINDOW = 3
_CHUNK = 50_000
"""Windows whose matrices are in memory at once."""
_TOLERANCE, _ITERATIONS = 1e-3, 200


def solve_matte(
    rgb: np.ndarray, guess: np.ndarray, uncertain: np.ndarray, belief: float = 3e-3, smoothness: float = 1e-5
) -> np.ndarray:
    """``guess`` where it is certain; elsewhere what the colours say.

    Args:
        rgb: uint8 [H, W, 3].
        guess: float [H, W] in 0..1.
        uncertain: bool [H, W], the pixels to solve for.
        belief: how much the guess counts there too: where person and background look alike, nothing else does.
        smoothness: epsilon of Levin et al., equation 12; for colours in 0..1 more than their noise's variance.

    Returns:
        float64 [H, W] in 0..1.
    """
    out = guess.astype(np.float64)
    pixels = np.flatnonzero(uncertain)
    if not len(pixels):
        return out
    number = np.full(uncertain.size, -1)
    number[pixels] = np.arange(len(pixels))
    laplacian = sparse.csr_matrix((len(pixels), len(pixels)))
    known = np.zeros(len(pixels))
    for windows in _windows(uncertain):
        matrices = _affinities(rgb.reshape(-1, 3)[windows] / 255.0, smoothness)
        at = number[windows]
        free = at >= 0
        given = np.einsum("nkl,nl->nk", matrices, np.where(free, 0.0, out.ravel()[windows]))
        known -= np.bincount(at[free], given[free], len(pixels))
        rows, columns = (np.broadcast_to(v, matrices.shape) for v in (at[:, :, None], at[:, None, :]))
        both = (rows >= 0) & (columns >= 0)
        laplacian = laplacian + sparse.csr_matrix((matrices[both], (rows[both], columns[both])), laplacian.shape)
    first = out.ravel()[pixels]
    system = (laplacian + belief * sparse.identity(len(pixels))).tocsr()
    inverse = sparse.diags(1 / system.diagonal())
    found, _ = cg(system, known + belief * first, x0=first, rtol=_TOLERANCE, maxiter=_ITERATIONS, M=inverse)
    out.ravel()[pixels] = found.clip(0, 1)
    return out


def _windows(uncertain: np.ndarray) -> list[np.ndarray]:
    """The windows that hold an uncertain pixel, as flat indices [n, 9] of their pixels."""
    width = uncertain.shape[1]
    centres = ndimage.binary_dilation(uncertain, np.ones((_WINDOW, _WINDOW)))
    centres[[0, -1]], centres[:, [0, -1]] = False, False
    steps = np.arange(_WINDOW) - _WINDOW // 2
    around = (steps[:, None] * width + steps).ravel()
    found = np.flatnonzero(centres)[:, None] + around
    return [found[k : k + _CHUNK] for k in range(0, len(found), _CHUNK)]


def _affinities(colours: np.ndarray, smoothness: float) -> np.ndarray:
    """The matting Laplacian's part of each window (equation 12): colours [n, 9, 3] to [n, 9, 9]."""
    count = colours.shape[1]
    away = colours - colours.mean(1, keepdims=True)
    covariance = away.transpose(0, 2, 1) @ away / count + smoothness / count * np.eye(3)
    return np.eye(count) - (1 + away @ np.linalg.inv(covariance) @ away.transpose(0, 2, 1)) / count


_REGULARISATION, _SLOPE = 1e-5, 0.1
"""How much neighbours lend each other everywhere, and for every unit of alpha between them."""
_COARSE, _STEPS = 32, (10, 4)
"""Pixels a side up to which a level takes the first number of steps, and beyond which it takes the second."""


def foreground_colours(rgb: np.ndarray, alpha: np.ndarray) -> np.ndarray:
    """The person's own colours where background shines through (Germer et al. 2020, "Fast multi-level foreground
    estimation"): colours of person and background that mix to the picture and are smooth where alpha is.

    Args:
        rgb: uint8 [H, W, 3].
        alpha: float [H, W] in 0..1.

    Returns:
        uint8 [H, W, 3]; far from the person it goes on smoothly.
    """
    image, height, width = rgb.astype(np.float32) / 255, *alpha.shape
    person = background = image.mean((0, 1), keepdims=True)
    levels = max(1, int(np.ceil(np.log2(max(height, width)))))
    for level in range(levels + 1):
        size = (max(1, round(width ** (level / levels))), max(1, round(height ** (level / levels))))
        shown = cv2.resize(image, size, interpolation=cv2.INTER_AREA)
        share = cv2.resize(alpha.astype(np.float32), size, interpolation=cv2.INTER_AREA)
        person, background = (cv2.resize(v, size, interpolation=cv2.INTER_NEAREST) for v in (person, background))
        for _ in range(_STEPS[max(size) > _COARSE]):
            person, background = _mixed_better(shown, share, person, background)
    return (person * 255).round().astype(np.uint8)


def _mixed_better(
    image: np.ndarray, alpha: np.ndarray, person: np.ndarray, background: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """One step of Jacobi's method, every pixel solved for given its four neighbours."""
    alpha = alpha[..., None]
    rest = 1 - alpha
    own, cross, other = alpha**2, alpha * rest, rest**2
    first, second = alpha * image, rest * image
    for axis in (0, 1):
        for step in (1, -1):
            near_alpha, near_person, near_background = (_shifted(v, step, axis) for v in (alpha, person, background))
            weight = _REGULARISATION + _SLOPE * np.abs(alpha - near_alpha)
            own, other = own + weight, other + weight
            first, second = first + weight * near_person, second + weight * near_background
    determinant = own * other - cross**2
    return (
        ((other * first - cross * second) / determinant).clip(0, 1),
        ((own * second - cross * first) / determinant).clip(0, 1),
    )


def _shifted(values: np.ndarray, step: int, axis: int) -> np.ndarray:
    """``values`` [H, W, C] of the neighbour ``step`` pixels along ``axis``, the last one repeated."""
    count = values.shape[axis]
    return np.take(values, (np.arange(count) + step).clip(0, count - 1), axis)
