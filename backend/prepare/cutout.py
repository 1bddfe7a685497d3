"""What a file's alpha channel is: a cut-out of the person, with or without another program's rim, or only a frame."""

from __future__ import annotations

import cv2
import numpy as np

_NEAR = 0.025
"""Distance, in heights of the person, within which two outlines are the same one."""
_HUGGING = 0.5
"""Share of the person's outline that a cut-out follows; frames follow a tenth."""
_WIDEST_RIM = 0.02
"""Heights of the person; what is wider is clothing."""
_ONE_COLOUR = 0.12
"""Distance of colours in 0..1 below which they count as one."""
_RIM_SHARE, _INNER_SHARE = 0.7, 0.4
"""Share of the outline that has the rim's colour within the rim, and at most where the person begins."""


def _outline(mask: np.ndarray) -> np.ndarray:
    """bool [H, W], the inmost line of pixels of a mask; the picture's border is no outline."""
    padded = cv2.copyMakeBorder(mask.astype(np.uint8), 1, 1, 1, 1, cv2.BORDER_REPLICATE)
    return mask & (cv2.erode(padded, np.ones((3, 3), np.uint8))[1:-1, 1:-1] == 0)


def is_cut_out(alpha: np.ndarray, person: np.ndarray) -> bool:
    """Whether ``alpha`` was cut along the person. Rounded corners, padding and vignettes were not.

    Args:
        alpha: [H, W] in 0..1, the file's.
        person: [H, W] in 0..1, the pose network's soft mask.
    """
    shape, opaque = person > 0.5, alpha > 0.5
    rows = np.nonzero(shape.any(1))[0]
    if not len(rows) or not (shape & opaque).any():
        return False
    edge, line = _outline(opaque), _outline(shape)
    if not edge.any() or not line.any():
        return False
    distance = cv2.distanceTransform((~edge).astype(np.uint8), cv2.DIST_L2, 5)
    near = max(3.0, _NEAR * (rows[-1] - rows[0] + 1))
    return float((distance[line] <= near).mean()) > _HUGGING


def rim_width(rgb: np.ndarray, alpha: np.ndarray) -> int:
    """Pixels by which a band of one colour goes round a cut-out along its whole outline; 0 where there is none.

    A person in one colour has no rim: what follows further in must be of many colours.

    Args:
        rgb: uint8 [H, W, 3].
        alpha: [H, W] in 0..1.
    """
    opaque = alpha > 0.5
    rows = np.nonzero(opaque.any(1))[0]
    if not len(rows):
        return 0
    depth = cv2.distanceTransform(np.pad(opaque, 1).astype(np.uint8), cv2.DIST_L2, 5)[1:-1, 1:-1]
    widest = max(3, round(_WIDEST_RIM * (rows[-1] - rows[0] + 1)))
    colours = rgb.astype(np.float32) / 255
    rings = [colours[(depth > d) & (depth <= d + 1)] for d in range(2 * widest)]
    if len(rings[1]) < 50:
        return 0
    colour = np.median(np.concatenate(rings[1:3]), 0)
    share = [float((np.linalg.norm(ring - colour, axis=1) < _ONE_COLOUR).mean()) if len(ring) else 0 for ring in rings]
    # The outmost pixel mixes with whatever lay behind.
    if max(share[1:3]) < _RIM_SHARE:
        return 0
    end = next((d for d, value in enumerate(share) if d > 1 and value < _INNER_SHARE), 0)
    return end if end <= widest else 0


def without_rim(rgb: np.ndarray, alpha: np.ndarray) -> np.ndarray:
    """``alpha`` [H, W] drawn in by the width of the rim that goes round the cut-out; see :func:`rim_width`."""
    width = rim_width(rgb, alpha)
    if not width:
        return alpha
    opaque = np.pad(alpha > 0.5, 1).astype(np.uint8)
    depth = cv2.distanceTransform(opaque, cv2.DIST_L2, 5)[1:-1, 1:-1]
    # The rim's inner edge is soft as its outer one was: half a pixel of person is where one pixel more is all of it.
    return np.minimum(alpha, np.clip(depth - width - 0.5, 0, 1)).astype(np.float32)
