"""Colours of everything that no picture shows, by one sparse least-squares problem over the whole surface.

Splats are the nodes of a graph. Each has a coarse colour, the unknown, with light divided out. Terms:

* a splat that the photo shows: its photo's colour, by the confidence of the observation and by how far that colour goes
  on around the body (:func:`transferable`);
* a splat that it does not show: the colours of the most alike places that it does show, of the same part, at the same
  height, on the other side or the mirrored one (:func:`partners`), the less the farther they are;
* the colours that other views say, by how far those are believed;
* neighbours on the surface are alike, across the borders of parts hardly.

Fine detail does not follow from a smooth field: unseen splats take that of their nearest partner, as far as it is the
pattern of the cloth and not a badge on it. Light is put back at the end, by one factor for each normal.
"""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
from scipy import sparse

from ..avatar.threads import in_threads
from ..estimate.shading import in_light_of
from ..geometry.kdtree import build_kdtree
from ..geometry.linear import conjugate_gradients, laplacian_of
from .config import COMPLETION, LIGHTNESS, SCRAP, SURFACE_STEP_M, CompletionConfig
from .parts import ARMS, FEET, HANDS, KIND, LEGS, UNLIKENESS, Part
from .visibility import ramp


@dataclass(frozen=True, eq=False)
class Places:
    """n places of the surface.

    Attributes:
        rest: [n, 3] metres in the rest pose; x = 0 is the body's middle, y up.
        normal: [n, 3] unit, in the photo's pose.
        part: int [n], :class:`~.parts.Part`.
    """

    rest: np.ndarray
    normal: np.ndarray
    part: np.ndarray

    def __getitem__(self, chosen: np.ndarray) -> Places:
        return Places(self.rest[chosen], self.normal[chosen], self.part[chosen])


@dataclass(frozen=True, eq=False)
class Said:
    """What pictures say of n places: colours [n, 3] without light, and how far each is believed [n] in 0..1."""

    rgb: np.ndarray
    belief: np.ndarray


_TEXTURED = np.isin(np.arange(len(KIND)), [Part.TRUNK, Part.SEAT, *ARMS, *LEGS])
"""Parts [13] that mostly show cloth, whose pattern goes on."""
_ROUND = np.isin(np.arange(len(KIND)), [Part.FACE, Part.HAIR, *HANDS, *FEET])
"""Parts [13] that have no rows around them: of them nearness in space counts."""


@dataclass(frozen=True, eq=False)
class Problem:
    """The least-squares problem but for what other views say, of n places of which the photo does not show h.

    Attributes:
        places, photo, share: see :func:`pose_problem`.
        hidden: int [h].
        nearest: int [h], the most alike shown place of each.
        believed: [h] weights of partners.
        weight: [n] of all data, right: [n, 3] their colours times that.
        start: [n, 3] colours to begin with.
        graph: the graph Laplacian [n, n]; None where nothing is shown.
    """

    places: Places
    photo: Said
    share: np.ndarray
    hidden: np.ndarray
    nearest: np.ndarray
    believed: np.ndarray
    weight: np.ndarray
    right: np.ndarray
    start: np.ndarray
    graph: sparse.csr_matrix | None


def complete(
    places: Places, photo: Said, views: Said | None = None, config: CompletionConfig = COMPLETION
) -> np.ndarray:
    """Colours [n, 3] without light of all ``places``, also of those that the photo shows, as if it did not.

    Args:
        places: n of them.
        photo: its colours and the confidence of its observations.
        views: what other views say, if anything.
        config: weights.
    """
    return solve_problem(pose_problem(places, photo, transferable(places, photo, config), config), views, config)


def pose_problem(places: Places, photo: Said, share: np.ndarray, config: CompletionConfig = COMPLETION) -> Problem:
    """All of :func:`complete` that needs no other views; ``share`` [n] is of :func:`transferable`."""
    lends = photo.belief * share
    source = _sources(places.part, lends, config)
    if not len(source):
        nothing, nowhere = np.zeros(0), np.zeros(0, int)
        grey = np.full_like(photo.rgb, 0.5)
        return Problem(places, photo, share, nowhere, nowhere, nothing, lends, photo.rgb, grey, None)
    hidden = np.flatnonzero(lends < 1)
    nearest, lent, distance = partners(places, photo, lends, source, hidden, config)
    weight = lends.copy()
    right = weight[:, None] * photo.rgb
    believed = config.partner / (1 + (distance / config.reach) ** 2) * (1 - photo.belief[hidden])
    # A face's other half is its mirror image, to the last eyelash, while it is near.
    face = places.part[hidden] == Part.FACE
    believed += face * config.face * np.exp(-((distance / config.feature) ** 2)) * (1 - photo.belief[hidden])
    weight[hidden] += believed
    right[hidden] += believed[:, None] * lent
    start = photo.rgb.copy()
    start[hidden] = lent
    graph = _surface_graph(places, start, config)
    return Problem(places, photo, share, hidden, nearest, believed, weight, right, start, graph)


def solve_problem(problem: Problem, views: Said | None = None, config: CompletionConfig = COMPLETION) -> np.ndarray:
    """The colours [n, 3] of a ``problem``, with what other ``views`` say."""
    places, hidden, start = problem.places, problem.hidden, problem.start
    if problem.graph is None:
        return start if views is None else views.rgb.clip(0, 1)
    weight, right = problem.weight.copy(), problem.right.copy()
    if views is not None:
        # Views know better what is where than what light is on it.
        rgb = in_light_of(views.rgb, start, places.normal, views.belief)
        theirs = config.views[0] * views.belief[hidden] * problem.believed
        theirs[np.isin(places.part[hidden], (Part.FACE, Part.HAIR, Part.NECK))] *= config.views[1]
        weight[hidden] += theirs
        right[hidden] += theirs[:, None] * rgb[hidden]
    coarse = _solved(problem.graph, weight + 1e-6, right + 1e-6 * start, start, config)
    detail = _detail(places, problem.photo.rgb - coarse, problem.share, hidden, problem.nearest, config)
    coarse[hidden] += detail
    return coarse.clip(0, 1)


def _sources(part: np.ndarray, belief: np.ndarray, config: CompletionConfig) -> np.ndarray:
    """Numbers of the places that lend their colours: believed ones, of parts that show more than a scrap."""
    believed = belief > config.source
    count = np.bincount(KIND[part[believed]], minlength=len(KIND))
    # A head has few places, and nobody else has its colours.
    kept = (count > SCRAP * count.sum()) | (np.arange(len(KIND)) <= Part.NECK)
    return np.flatnonzero(believed & kept[KIND[part]])


def alike(places: Places, photo: Said, config: CompletionConfig) -> np.ndarray:
    """Colours [n, 3]: the photo's where it shows a place, elsewhere those of the most alike ones; see :func:`partners`.

    At least one place is shown.
    """
    source, hidden = np.flatnonzero(photo.belief > 0), np.flatnonzero(photo.belief <= 0)
    out = photo.rgb.copy()
    out[hidden] = partners(places, photo, photo.belief, source, hidden, config)[1]
    return out


def transferable(places: Places, photo: Said, config: CompletionConfig) -> np.ndarray:
    """How far the colour of each place goes on around the body, [n] in 0..1.

    A colour of trunk or limb does that is as frequent at both sides as all across, at its height: the unseen begins
    there. A badge, a tie, the shirt in an open jacket do not, and what shows at one side alone hardly, as a bag. Of
    other parts a colour does that is frequent in it, and not as much in the face: a forehead where hair should be.
    """
    lab = _lab(photo.rgb)
    out = np.ones(len(places.part))
    face = np.flatnonzero((places.part == Part.FACE) & (photo.belief > config.source))
    face = face[:: max(1, len(face) // config.compared)] if len(face) >= config.fewest else face[:0]
    skin = lab[face], photo.belief[face]
    jobs = []
    for kind in np.unique(KIND[places.part]):
        if kind == Part.FACE:
            continue
        own = np.flatnonzero((KIND[places.part] == kind) & (photo.belief > config.source))
        if len(own) < config.fewest:
            continue
        if _ROUND[kind] or kind == Part.SEAT:
            jobs.append((own, own, None))
            continue
        along, across = _along_and_across(places.rest[own], int(kind))
        row = np.floor(along / config.row).astype(int)
        for number in np.unique(row):
            inside = np.abs(row - number) <= 1
            if inside.sum() >= config.fewest:
                jobs.append((own[row == number], own[inside], across[inside]))

    def rate(job: tuple[np.ndarray, np.ndarray, np.ndarray | None]) -> None:
        mine, row, across = job
        some = slice(None, None, -(-len(row) // config.compared))
        typical, belief = lab[row][some], photo.belief[row][some]
        if across is None:

            def frequency(colours: np.ndarray) -> np.ndarray:
                own = _density(colours, typical, belief, config.alike)
                # What is more frequent in the face is rather skin than hair, or than what covers a seat.
                return own**2 / (config.rare[0] + (_density(colours, *skin, config.alike) if len(skin[0]) else 0))

            own_share = frequency(lab[mine]) / frequency(typical).max()
            out[mine] = ramp(own_share, config.rare)
            return
        rank = np.empty(len(row))
        rank[np.argsort(across, kind="stable")] = np.linspace(-1, 1, len(row))
        rank = rank[some]
        everywhere, left, right = (
            _density(lab[mine], typical, belief * weight, config.alike)
            for weight in (1, np.maximum(-rank, 0) ** 4, np.maximum(rank, 0) ** 4)
        )
        beside = np.minimum(left, right) + config.one_side * np.maximum(left, right)
        out[mine] = ramp(beside / np.maximum(beside + everywhere, 1e-9), config.rare)

    in_threads(rate, jobs)
    return out


def _density(lab: np.ndarray, others: np.ndarray, weight: np.ndarray, width: float) -> np.ndarray:
    squared = (lab**2).sum(1)[:, None] + (others**2).sum(1) - 2 * lab @ others.T
    return np.exp(squared / (-2 * width**2)) @ weight / max(float(weight.sum()), 1e-9)


def _lab(rgb: np.ndarray) -> np.ndarray:
    """CIE L*a*b* [n, 3] of display colours [n, 3], lightness halved: cloth is light and dark."""
    lab = cv2.cvtColor(rgb[None].astype(np.float32).clip(0, 1), cv2.COLOR_RGB2LAB)[0]
    return lab * np.array([LIGHTNESS, 1, 1], np.float32)


def _along_and_across(rest: np.ndarray, kind: int) -> tuple[np.ndarray, np.ndarray]:
    """Metres along and across trunk or limb; arms point aside in the rest pose, and both limbs share their rows."""
    x, y, _ = rest.T
    return (np.abs(x), y) if kind in (Part.LEFT_ARM, Part.LEFT_HAND) else (y, x)


def partners(
    places: Places, photo: Said, belief: np.ndarray, source: np.ndarray, hidden: np.ndarray, config: CompletionConfig
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """The most alike shown places of each hidden one: the nearest of all sources [h]; the mean colour [h, 3] of
    ``config.neighbours`` of them; how unlike the place is, in metres [h].

    Distance along trunk and limbs counts more than around them, as stripes and hems run around; the other side of the
    body is some centimetres farther; other parts are as far as :data:`~.parts.UNLIKENESS` says.

    Args:
        places, photo, config: see :func:`complete`.
        belief: [n] how far each place is a source.
        source, hidden: numbers of places.
    """
    assert len(source)
    nearest, distance = np.zeros(len(hidden), int), np.full(len(hidden), np.inf)
    lent = np.zeros((len(hidden), 3))
    kinds = np.unique(KIND[places.part[source]])

    def fill(kind: int) -> None:
        mine = np.flatnonzero(KIND[places.part[hidden]] == kind)
        away = UNLIKENESS[kind] * config.unlike
        near = [k for k in kinds if away[k] < config.unlike * 3]
        chosen = source[np.isin(KIND[places.part[source]], near or kinds)]
        twin = [_features(places[chosen], mirrored, kind, config) for mirrored in (False, True)]
        penalty = away[places.part[chosen]] + (1 - belief[chosen]) * config.reach
        both = [np.column_stack([f, penalty, np.full(len(chosen), m * config.mirror)]) for m, f in enumerate(twin)]
        wanted = _features(places[hidden[mine]], False, kind, config)
        wanted = np.column_stack([wanted, np.zeros((len(mine), 2))])
        k = min(config.neighbours, 2 * len(chosen))
        found, index = build_kdtree(np.concatenate(both)).query(wanted, k=k, workers=-1)
        found, index = found.reshape(len(mine), -1), index.reshape(len(mine), -1) % len(chosen)
        weight = np.exp(-0.5 * ((found - found[:, :1]) / (0.5 * found[:, :1] + 0.004)) ** 2)
        weight /= weight.sum(1, keepdims=True)
        lent[mine] = (photo.rgb[chosen][index] * weight[..., None]).sum(1)
        nearest[mine], distance[mine] = chosen[index[:, 0]], found[:, 0]

    in_threads(fill, [int(kind) for kind in np.unique(KIND[places.part[hidden]])])
    return nearest, lent, distance


def _features(places: Places, mirrored: bool, kind: int, config: CompletionConfig) -> np.ndarray:
    """Metres [n, 3] in which alike places are near."""
    x, y, z = places.rest.T
    if mirrored:
        x = -x
    if _ROUND[kind]:
        return np.column_stack([x, y, z * (config.through if kind in HANDS + FEET else 1.0)])
    if kind == Part.LEFT_ARM:
        return np.column_stack([config.along * x, y, config.through * z])
    return np.column_stack([x, config.along * y, config.through * z])


def _surface_graph(places: Places, guess: np.ndarray, config: CompletionConfig) -> sparse.csr_matrix:
    """The graph Laplacian [n, n] of neighbours on the surface, weak where colours [n, 3] of a first ``guess`` differ:
    the hem of a shirt goes on around it."""
    features = np.column_stack([places.rest, SURFACE_STEP_M * places.normal])
    distance, index = build_kdtree(features).query(features, k=config.neighbours + 1, workers=-1)
    distance, index = distance[:, 1:], index[:, 1:].clip(max=len(features) - 1)
    own = np.repeat(np.arange(len(features)), config.neighbours)
    unlike = UNLIKENESS[places.part[own], places.part[index.ravel()]]
    width = np.median(distance)
    weight = np.exp(-0.5 * (distance.ravel() / (2 * width)) ** 2) / (1 + (unlike / config.border) ** 2)
    lab = _lab(guess)
    weight /= 1 + (np.linalg.norm(lab[own] - lab[index.ravel()], axis=1) / config.edge) ** 2
    weight[~np.isfinite(weight)] = 0
    matrix = sparse.coo_matrix((weight, (own, index.ravel())), (len(features),) * 2).tocsr()
    matrix = (matrix + matrix.T) / 2
    return laplacian_of(matrix)


def _solved(
    laplacian: sparse.csr_matrix, data: np.ndarray, right: np.ndarray, start: np.ndarray, config: CompletionConfig
) -> np.ndarray:
    """The minimiser [n, 3] of sum data |x - right / data|^2 + x' laplacian x, by conjugate gradients."""
    system = (laplacian + sparse.diags(data)).tocsr()

    def column(k: int) -> np.ndarray:
        return conjugate_gradients(system, right[:, k], config.tolerance, config.iterations, start[:, k])

    return np.stack(in_threads(column, range(start.shape[1])), 1)


def _detail(
    places: Places,
    detail: np.ndarray,
    share: np.ndarray,
    hidden: np.ndarray,
    nearest: np.ndarray,
    config: CompletionConfig,
) -> np.ndarray:
    """The fine detail [h, 3] of hidden places: their nearest partner's, no stronger than a part's usual one."""
    strength = np.linalg.norm(detail, axis=1)
    limit = np.zeros(len(KIND))
    for kind in np.unique(KIND):
        shown = (KIND[places.part] == kind) & (share > 0.5)
        shown[hidden] = False
        if shown.any():
            limit[KIND == kind] = config.pattern * np.sqrt(np.average(strength[shown] ** 2, weights=share[shown]))
    part = places.part[hidden]
    most = np.where(_TEXTURED[part], limit[part], 0.0)
    own = detail[nearest]
    factor = np.minimum(1, most / np.maximum(strength[nearest], 1e-6)) * share[nearest]
    return own * factor[:, None]
