"""Fewer splats by merging neighbours: mass, mean and covariance of each pair are kept, so nothing gets holes.

A splat's mass is its opacity times the area that it covers (the product of its two larger scales). Rounds of disjoint
pairs are merged, the cheapest first, until the budget is met. A merged splat has its pair's mean and covariance
(moment matching, as in Runnalls 2007) and the opacity that gives it their mass.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from .. import quaternion
from ..gaussians import Gaussians, rgb_from_sh
from .order import morton_codes
from .types import ExportError, SplatCloud

BUDGETS = (100_000, 50_000, 25_000, 10_000)
_REACH = 5  # places along a curve within which partners are looked for
_SHIFTS = (0.0, 0.31, 0.67)  # of the curves' grids
_ROUND_SHARE = 0.5  # of the splats that one round may do away with
_MATCHINGS = 4  # passes of mutual choice in a round
_COLOUR, _SHAPE, _DISTANCE, _TILT = 1000.0, 0.02, 1.0, 1.5  # weights of a pair's cost
_SCALED = np.float32(1e6)  # square millimetres, so that determinants fit into single precision
_CHUNK = 1 << 16  # pairs weighed at a time
_OPAQUE = 0.999


@dataclass
class _State:
    """Splats as moments, float64: means [N, 3], covariances [N, 3, 3], masses, opacities, dc [N, 3], bones [N, J]."""

    mean: np.ndarray
    cov: np.ndarray
    mass: np.ndarray
    dc: np.ndarray
    bones: np.ndarray

    def __len__(self) -> int:
        return len(self.mean)


def merge_splats(cloud: SplatCloud, budget: int) -> SplatCloud:
    """At most ``budget`` splats that look like the cloud's; deterministic. A smaller cloud stays as it is.

    Raises:
        ExportError: the budget is below 100.
    """
    if budget < 100:
        raise ExportError(f"A person cannot be shown with {budget} splats; give 100 or more.")
    if len(cloud) <= budget:
        return cloud
    state, kept = _moments(cloud), np.arange(len(cloud))
    # Splats that were never merged leave exactly as they came.
    untouched = np.ones(len(cloud), bool)
    while len(state) > budget:
        wanted = min(len(state) - budget, max(1, int(_ROUND_SHARE * len(state))))
        first, second = _pairs(state, wanted)
        if not len(first):
            raise ExportError("The splats cannot be merged any further; choose a larger budget.")
        _merge(state, first, second)
        untouched[kept[first]] = False
        stay = np.ones(len(state), bool)
        stay[second] = False
        state = _State(*(getattr(state, name)[stay] for name in ("mean", "cov", "mass", "dc", "bones")))
        kept = kept[stay]
    return _cloud(state, cloud, kept, untouched[kept])


def _moments(cloud: SplatCloud) -> _State:
    g = cloud.gaussians
    turned = quaternion.to_matrix(quaternion.normalize(g.rotation.astype(np.float64))) * g.scale[:, None].astype(float)
    bones = np.zeros((len(g), int(cloud.joints.max()) + 1))
    np.add.at(bones, (np.arange(len(g))[:, None], cloud.joints), cloud.weights)
    cov = turned @ turned.swapaxes(1, 2)
    return _State(g.position.astype(np.float64), cov, g.opacity * _area(np.sort(g.scale, axis=1)), g.sh_dc + 0.0, bones)


def _area(ascending: np.ndarray) -> np.ndarray:
    """Area of splats by their scales [N, 3], the smallest first."""
    return ascending[:, 1].astype(np.float64) * ascending[:, 2]


def _pairs(state: _State, wanted: int) -> tuple[np.ndarray, np.ndarray]:
    """Up to ``wanted`` disjoint pairs of neighbours, the cheapest that are found."""
    count = len(state)
    links = []
    for shift in _SHIFTS:
        order = np.argsort(morton_codes(state.mean, 16, shift), kind="stable")
        links += [np.stack([order[:-step], order[step:]], 1) for step in range(1, _REACH + 1) if step < count]
    ends = np.sort(np.concatenate(links), axis=1)
    keys = np.sort(ends[:, 0] * count + ends[:, 1])
    keys = keys[np.concatenate([[True], keys[1:] != keys[:-1]])]
    pairs = np.stack([keys // count, keys % count], axis=1)
    cost = _cost(state, pairs[:, 0], pairs[:, 1])
    chosen: list[np.ndarray] = []
    free = np.ones(count, bool)
    for _ in range(_MATCHINGS):
        alive = free[pairs].all(1)
        pairs, cost = pairs[alive], cost[alive]
        if not len(pairs):
            break
        best = np.full(count, np.inf)
        np.minimum.at(best, pairs[:, 0], cost)
        np.minimum.at(best, pairs[:, 1], cost)
        mutual = np.flatnonzero((cost <= best[pairs[:, 0]]) & (cost <= best[pairs[:, 1]]))
        # Equal costs can give a splat two partners: the first pair has it.
        mutual = mutual[np.unique(pairs[mutual, 0], return_index=True)[1]]
        mutual = mutual[np.unique(pairs[mutual, 1], return_index=True)[1]]
        mutual = mutual[~np.isin(pairs[mutual, 1], pairs[mutual, 0])]
        chosen.append(np.concatenate([pairs[mutual], cost[mutual, None]], axis=1))
        free[pairs[mutual]] = False
    found = np.concatenate(chosen) if chosen else np.zeros((0, 3))
    found = found[np.argsort(found[:, 2], kind="stable")[:wanted]]
    return found[:, 0].astype(int), found[:, 1].astype(int)


def _cost(state: _State, first: np.ndarray, second: np.ndarray) -> np.ndarray:
    """How much a picture changes if pairs [P] are merged: the smaller one's mass times how unlike the two are."""
    mean, cov, bones = (array.astype(np.float32) for array in (state.mean, state.cov, state.bones))
    rgb, mass = rgb_from_sh(state.dc).astype(np.float32), state.mass
    spread = np.trace(cov, axis1=1, axis2=2)
    volume = np.sqrt(np.maximum(_determinants(cov * _SCALED), 1e-18))
    cost = np.empty(len(first))
    for start in range(0, len(first), _CHUNK):
        a, b = first[start : start + _CHUNK], second[start : start + _CHUNK]
        apart = mean[a] - mean[b]
        distance = (apart**2).sum(1) / np.maximum(spread[a] + spread[b], 1e-12)
        # Two flat splats in one plane have a flat sum; tilted or stacked ones do not.
        both = cov[a] + cov[b] + (apart[:, :, None] * apart[:, None]) / 2
        together = np.sqrt(np.maximum(_determinants(both * _SCALED), 1e-18))
        tilt = np.log(together / (volume[a] + volume[b])).clip(0)
        colour = ((rgb[a] - rgb[b]) ** 2).sum(1)
        moved = np.abs(bones[a] - bones[b]).sum(1)
        unlike = _COLOUR * colour + _SHAPE * (_DISTANCE * distance + _TILT * tilt + moved)
        cost[start : start + _CHUNK] = np.minimum(mass[a], mass[b]) * unlike
    return cost


def _determinants(m: np.ndarray) -> np.ndarray:
    """Determinants [N] of [N, 3, 3]; several times faster than ``np.linalg.det``."""
    return (
        m[:, 0, 0] * (m[:, 1, 1] * m[:, 2, 2] - m[:, 1, 2] * m[:, 2, 1])
        - m[:, 0, 1] * (m[:, 1, 0] * m[:, 2, 2] - m[:, 1, 2] * m[:, 2, 0])
        + m[:, 0, 2] * (m[:, 1, 0] * m[:, 2, 1] - m[:, 1, 1] * m[:, 2, 0])
    )


def _merge(state: _State, a: np.ndarray, b: np.ndarray) -> None:
    """Put the merged splats in the places of ``a``."""
    mass = state.mass[a] + state.mass[b]
    share = (state.mass[a] / np.maximum(mass, 1e-30))[:, None]
    apart = state.mean[a] - state.mean[b]
    spread = (share * (1 - share))[:, :, None] * apart[:, :, None] * apart[:, None]
    state.cov[a] = share[:, :, None] * state.cov[a] + (1 - share)[:, :, None] * state.cov[b] + spread
    for name in ("mean", "dc", "bones"):
        values = getattr(state, name)
        values[a] = share * values[a] + (1 - share) * values[b]
    state.mass[a] = mass


def _cloud(state: _State, source: SplatCloud, kept: np.ndarray, untouched: np.ndarray) -> SplatCloud:
    sizes, axes = np.linalg.eigh(state.cov)
    axes[:, :, 0] *= np.sign(np.linalg.det(axes))[:, None]
    scale = np.sqrt(np.maximum(sizes, 1e-14))
    opacity = np.minimum(state.mass / np.maximum(_area(scale), 1e-20), _OPAQUE)
    joints = np.argsort(-state.bones, axis=1, kind="stable")[:, :4]
    weights = np.take_along_axis(state.bones, joints, 1)
    weights /= np.maximum(weights.sum(1, keepdims=True), 1e-12)
    joints[weights == 0] = 0
    if joints.shape[1] < 4:
        padding = ((0, 0), (0, 4 - joints.shape[1]))
        joints, weights = np.pad(joints, padding), np.pad(weights, padding)
    g = source.gaussians
    values = {
        "position": state.mean, "rotation": quaternion.from_matrix(axes), "scale": scale,
        "opacity": opacity, "sh_dc": state.dc,
    }  # fmt: skip
    for name, array in values.items():
        before = getattr(g, name)
        array = array.astype(before.dtype)
        array[untouched] = before[kept[untouched]]
        values[name] = array
    joints, weights = joints.astype(np.uint8), weights.astype(np.float32)
    joints[untouched], weights[untouched] = source.joints[kept[untouched]], source.weights[kept[untouched]]
    return SplatCloud(Gaussians(**values), joints, weights)
