"""Closed-form matting: how far each uncertain pixel is person (Levin, Lischinski and Weiss 2008); and in what colour.

In every small window colours of person and background each lie on a line, so that alpha is a linear function of colour
there. What fits that best in all windows at once, given where alpha is known, is a sparse linear system.
"""

from __future__ import annotations

from collections.abc import Callable

import cv2
import numpy as np
import torch
from scipy import ndimage
from torch.nn import functional

_WINDOW = 3
_CHUNK = 50_000
"""Windows whose matrices are in memory at once."""
_TOLERANCE, _ITERATIONS = 1e-3, 200
_REACH = 2 * (_WINDOW // 2)
"""Rows and columns between two pixels of one window, at most."""


def solve_matte(
    rgb: np.ndarray,
    guess: np.ndarray,
    uncertain: np.ndarray,
    belief: float = 3e-3,
    smoothness: float = 1e-5,
    device: torch.device | str = "cpu",
) -> np.ndarray:
    """``guess`` where it is certain; elsewhere what the colours say.

    Args:
        rgb: uint8 [H, W, 3].
        guess: float [H, W] in 0..1.
        uncertain: bool [H, W], the pixels to solve for.
        belief: how much the guess counts there too: where person and background look alike, nothing else does.
        smoothness: epsilon of Levin et al., equation 12; for colours in 0..1 more than their noise's variance.
        device: which solves; it must know float64.

    Returns:
        float64 [H, W] in 0..1.
    """
    out = guess.astype(np.float64)
    pixels = np.flatnonzero(uncertain)
    if not len(pixels):
        return out
    # Values of the pixels in question in a row, and a zero for all others.
    number = np.full(uncertain.size, len(pixels))
    number[pixels] = np.arange(len(pixels))
    number = torch.as_tensor(number, device=device)
    given = torch.as_tensor(np.where(uncertain, 0.0, out).ravel(), device=device)
    colours = torch.as_tensor(rgb.reshape(-1, 3), device=device)
    row = torch.arange(-_REACH, _REACH + 1)
    # A pixel meets those of its windows: two rows and columns around it.
    around = torch.as_tensor(pixels)[:, None] + (row[:, None] * rgb.shape[1] + row).ravel()
    around = around.clamp(0, uncertain.size - 1).to(device)
    laplacian = torch.zeros(len(pixels) + 1, len(row), len(row), dtype=torch.float64, device=device)
    for windows in _windows(uncertain):
        windows = torch.as_tensor(windows, device=device)
        matrices = _affinities(colours[windows].double() / 255, smoothness).unflatten(2, (_WINDOW, _WINDOW))
        at = number[windows]
        for place in range(_WINDOW**2):
            # A pixel is in this place of one window alone: no two write to the same entry.
            up, left = (_REACH - steps for steps in divmod(place, _WINDOW))
            laplacian[:, up : up + _WINDOW, left : left + _WINDOW][at[:, place]] += matrices[:, place]
    laplacian = laplacian[:-1].flatten(1)
    first = torch.as_tensor(out.ravel()[pixels], device=device)
    wanted = belief * first - (laplacian * given[around]).sum(1)
    neighbours = number[around].ravel()

    def times(values: torch.Tensor) -> torch.Tensor:
        # In one row: selecting by a matrix of indices takes four times as long.
        seen = torch.cat([values, values.new_zeros(1)]).index_select(0, neighbours)
        return seen.view_as(laplacian).mul_(laplacian).sum(1) + belief * values

    found = _conjugate_gradients(times, wanted, first, laplacian[:, around.shape[1] // 2] + belief)
    out.ravel()[pixels] = found.clamp(0, 1).cpu().numpy()
    return out


def _conjugate_gradients(
    times: Callable[[torch.Tensor], torch.Tensor], wanted: torch.Tensor, first: torch.Tensor, diagonal: torch.Tensor
) -> torch.Tensor:
    """What ``times`` takes to ``wanted``, from ``first`` on, until the rest is a thousandth; by the diagonal scaled."""
    found, rest = first, wanted - times(first)
    enough = _TOLERANCE * float(wanted.norm())
    scaled = rest / diagonal
    way, size = scaled, rest @ scaled
    for _ in range(_ITERATIONS):
        if float(rest.norm()) <= enough:
            break
        turned = times(way)
        step = size / (way @ turned)
        found, rest = found + step * way, rest - step * turned
        scaled = rest / diagonal
        before, size = size, rest @ scaled
        way = scaled + size / before * way
    return found


def _windows(uncertain: np.ndarray) -> list[np.ndarray]:
    """The windows that hold an uncertain pixel, as flat indices [n, 9] of their pixels."""
    width = uncertain.shape[1]
    centres = ndimage.binary_dilation(uncertain, np.ones((_WINDOW, _WINDOW)))
    centres[[0, -1]], centres[:, [0, -1]] = False, False
    steps = np.arange(_WINDOW) - _WINDOW // 2
    around = (steps[:, None] * width + steps).ravel()
    found = np.flatnonzero(centres)[:, None] + around
    return [found[k : k + _CHUNK] for k in range(0, len(found), _CHUNK)]


def _affinities(colours: torch.Tensor, smoothness: float) -> torch.Tensor:
    """The matting Laplacian's part of each window (equation 12): colours [n, 9, 3] to [n, 9, 9]."""
    count = colours.shape[1]
    away = colours - colours.mean(1, keepdim=True)
    still = torch.eye(3).to(colours)
    inverse = torch.linalg.inv(away.mT @ away / count + smoothness / count * still)
    return torch.eye(count).to(colours) - (1 + away @ inverse @ away.mT) / count


_REGULARISATION, _SLOPE = 1e-5, 0.1
"""How much neighbours lend each other everywhere, and for every unit of alpha between them."""
_COARSE, _STEPS = 32, (10, 4)
"""Pixels a side up to which a level takes the first number of steps, and beyond which it takes the second."""


def foreground_colours(rgb: np.ndarray, alpha: np.ndarray, device: torch.device | str = "cpu") -> np.ndarray:
    """The person's own colours where background shines through (Germer et al. 2020, "Fast multi-level foreground
    estimation"): colours of person and background that mix to the picture and are smooth where alpha is.

    Args:
        rgb: uint8 [H, W, 3].
        alpha: float [H, W] in 0..1.
        device: which computes.

    Returns:
        uint8 [H, W, 3]; far from the person it goes on smoothly.
    """
    layers, (height, width) = np.dstack([rgb.astype(np.float32) / 255, alpha.astype(np.float32)]), alpha.shape
    both = torch.as_tensor(layers[..., :3].mean((0, 1)), device=device)[:, None, None].expand(2, 3, 1, 1)
    levels = max(1, int(np.ceil(np.log2(max(height, width)))))
    for level in range(levels + 1):
        size = (max(1, round(width ** (level / levels))), max(1, round(height ** (level / levels))))
        small = torch.as_tensor(cv2.resize(layers, size, interpolation=cv2.INTER_AREA), device=device).permute(2, 0, 1)
        both = functional.interpolate(both, size=size[::-1], mode="nearest")
        both = _mixed_better(small[:3], small[3], both, _STEPS[max(size) > _COARSE])
    return (both[0] * 255).round().byte().permute(1, 2, 0).cpu().numpy()


def _mixed_better(image: torch.Tensor, alpha: torch.Tensor, both: torch.Tensor, steps: int) -> torch.Tensor:
    """Steps of Jacobi's method: colours [2, 3, H, W] of person and background, every pixel solved for given its four
    neighbours, for ``image`` [3, H, W] and ``alpha`` [H, W]."""
    weights = [_REGULARISATION + _SLOPE * (alpha - near).abs() for near in _neighbours(alpha[None, None])]
    share = torch.stack([alpha, 1 - alpha])
    # The two equations of a pixel: what each colour counts in its own, and in the other's.
    own, cross = share**2 + sum(weights)[:, 0], share[0] * share[1]
    determinant = own[0] * own[1] - cross**2
    by_own, by_other = (own.flip(0) / determinant)[:, None], cross / determinant
    shown = share[:, None] * image
    for _ in range(steps):
        pull = shown.clone()
        for weight, near in zip(weights, _neighbours(both)):
            pull.addcmul_(weight, near)
        both = (by_own * pull - by_other * pull.flip(0)).clamp_(0, 1)
    return both


def _neighbours(values: torch.Tensor) -> tuple[torch.Tensor, ...]:
    """``values`` [N, C, H, W] of the pixels on the right, on the left, below and above, the last ones repeated."""
    wider = functional.pad(values, (1, 1, 1, 1), mode="replicate")
    rows, columns = slice(1, -1), slice(1, -1)
    return (
        wider[:, :, rows, 2:],
        wider[:, :, rows, :-2],
        wider[:, :, 2:, columns],
        wider[:, :, :-2, columns],
    )
