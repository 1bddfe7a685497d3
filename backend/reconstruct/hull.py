"""What the outlines of other pictures say of how deep the photo shows somebody."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from scipy import ndimage
from scipy.spatial import cKDTree

from ..geometry.kdtree import build_kdtree
from ..geometry.maps import on_rays, project, sample_map
from .config import DeformConfig, VisibilityConfig
from .deform import OutlineView


@dataclass(frozen=True, eq=False)
class OtherOutlines:
    """The other pictures of a person whom the photo shows.

    Attributes:
        views: of them, with a motion of each of the ``vertices``.
        vertices: [V, 3] of the body, camera space of the photo, with whose nearest one each place moves.
        focal: pixels of the photo's maps.
    """

    views: Sequence[OutlineView]
    vertices: np.ndarray
    focal: float

    @cached_property
    def _tree(self) -> cKDTree:
        return build_kdtree(self.vertices)

    def within(self, depth: np.ndarray, where: np.ndarray) -> np.ndarray:
        """``depth`` [S, S] metres, where asked (bool [S, S]) as near as may be to what it was so that all pictures show
        person there too."""
        if not self.views or not where.any():
            return depth
        # A pixel of a person who fills a picture is half as much.
        step = VisibilityConfig.behind / 2
        steps = step * np.arange(1, round(DeformConfig.depth_reach / step) + 1)
        offsets = np.append(0, np.stack([steps, -steps], 1).ravel())
        found, best = np.zeros(where.sum(), bool), np.zeros(where.sum())
        for offset, inside in zip(offsets, self._inside(depth, where, offsets)):
            good = ~found & inside
            best[good], found = offset, found | good
        out = depth.copy()
        out[where] += best
        return out

    def between(self, depth: np.ndarray, where: np.ndarray, reach: float) -> tuple[np.ndarray, np.ndarray]:
        """Where the photo's rays enter and leave what all pictures show, around ``depth`` [S, S], where asked: metres
        [n] each; nan where nothing limits it within ``reach`` metres."""
        if not self.views or not where.any():
            return (np.full(int(where.sum()), np.nan),) * 2
        offsets = VisibilityConfig.behind * np.arange(2 + int(reach / VisibilityConfig.behind))
        inside = np.stack([*self._inside(depth, where, np.concatenate([-offsets, offsets]))])
        ends = []
        for sign, side in ((-1, inside[: len(offsets)]), (1, inside[len(offsets) :])):
            # Of the pictures' intervals, the one that holds the place itself.
            last = np.where(side.all(0), len(offsets), side.argmin(0)) - 1
            limited = (last >= 0) & (last < len(offsets) - 1)
            ends.append(np.where(limited, depth[where] + sign * offsets[last.clip(0)], np.nan))
        return ends[0], ends[1]

    def _inside(self, depth: np.ndarray, where: np.ndarray, offsets: np.ndarray) -> Iterator[np.ndarray]:
        """Whether all pictures show person, or nothing, at ``depth`` and each of ``offsets``, bool [n]."""
        points = on_rays(where, depth, self.focal)
        _, nearest = self._tree.query(points, workers=-1)
        turned = [np.einsum("nab,nb->na", view.matrix[nearest, :, :3], points) for view in self.views]
        allowed = [view.matte | ~view.known for view in self.views]
        for offset in offsets:
            good = np.ones(len(points), bool)
            for view, place, inside in zip(self.views, turned, allowed):
                local = place * (1 + offset / points[:, 2:]) + view.matrix[nearest, :, 3]
                good &= sample_map(inside, project(local, view.focal, len(inside)))
            yield good


def filled(
    front: np.ndarray,
    back: np.ndarray,
    garment: np.ndarray,
    from_outline: np.ndarray,
    outlines: OtherOutlines,
    blur: float,
) -> tuple[np.ndarray, np.ndarray]:
    """``front`` and ``back`` [S, S] of a garment that hangs free, as deep as other pictures show it.

    Outlines of four sides bound a box; a garment is round: in each row of the photo it is an ellipse.

    Args:
        front, back: metres.
        garment: bool [S, S].
        from_outline: [S, S] pixels from the photo's outline.
        outlines: of the other pictures.
        blur: pixels over which what they say is evened out.
    """
    middle = (front + back) / 2
    runs, count = ndimage.label(garment, [[0, 0, 0], [1, 1, 1], [0, 0, 0]])
    widest = np.asarray(ndimage.maximum(from_outline, runs, np.arange(count + 1)))[runs]
    # What is deeper than wide is no garment: the outline from the side is that of legs in a stride.
    most = np.where(garment, widest * middle / outlines.focal, 0)
    near, far = outlines.between(middle, garment, 2 * float(most.max(initial=0)))
    known = np.isfinite(near) & np.isfinite(far)
    if not known.any():
        return front, back
    weight = np.zeros(garment.shape)
    weight[garment] = known
    maps = np.zeros((2, *garment.shape))
    maps[0][garment], maps[1][garment] = np.nan_to_num(near + far) / 2, np.nan_to_num(far - near) / 2
    total = ndimage.gaussian_filter(weight, blur)
    middle, half = (ndimage.gaussian_filter(one, blur) / np.maximum(total, 1e-6) for one in maps)
    share = (from_outline / np.maximum(widest, 1e-6)).clip(0, 1)
    half = np.minimum(half, most)
    half = half * np.sqrt(share * (2 - share))
    asked = garment & (total > 0.1)
    return (
        np.where(asked, np.minimum(middle - half, front), front),
        np.where(asked, np.maximum(middle + half, back), back),
    )
