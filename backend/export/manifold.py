"""Triangle meshes kept closed and unfolded: each edge between two triangles, none of them flat or turned over."""

from __future__ import annotations

import numpy as np
from scipy.sparse import coo_matrix
from scipy.sparse.csgraph import connected_components

from ..avatar.formats.types import ExportError
from ..avatar.meshes import vertex_normals

ROUNDS = 10
"""Of moving vertices and collapsing edges until nothing is folded."""
_PULL = 0.1  # how far the middle of an edge that two sheets share moves into its own sheet, as a share of the way
_SPLIT_ROUNDS = 10
_RELAX_ROUNDS = 12
_PATIENCE = 2  # rounds before a patch is cut out
_SMOOTHINGS = 2  # in each round
_FLAT = 0.02  # 1 is an equilateral triangle, 0 one without an area
_SMALL_PART = 0.02  # of all triangles: smaller parts that touch the rest in a point or line only are dropped


def half_edges(faces: np.ndarray) -> np.ndarray:
    """The directed edges [3F, 2] of faces [F, 3]: first all those from corner 0 to 1, then 1 to 2, then 2 to 0."""
    return np.concatenate([faces[:, [0, 1]], faces[:, [1, 2]], faces[:, [2, 0]]])


def is_closed(faces: np.ndarray) -> bool:
    """Whether every edge is used exactly twice, once each way."""
    edges = half_edges(faces).astype(np.int64)
    count = int(faces.max()) + 1
    ahead, back = edges[:, 0] * count + edges[:, 1], edges[:, 1] * count + edges[:, 0]
    return len(np.unique(ahead)) == len(ahead) and bool(np.isin(ahead, back).all())


def make_manifold(vertices: np.ndarray, faces: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Take apart what touches itself: edges that more than two triangles share, and vertices where two fans meet.

    Triangles with a repeated corner, pairs of triangles that lie back to back, and small parts that come loose are
    dropped.

    Args:
        vertices: [V, 3].
        faces: int [F, 3] of a surface without rims: every edge is used as often one way as the other.

    Returns:
        vertices [W, 3] and faces int64 [G, 3] that :func:`is_closed` accepts.

    Raises:
        ExportError: it touches itself in more places than can be taken apart.
    """
    vertices, faces = np.asarray(vertices, dtype=np.float64), np.asarray(faces, dtype=np.int64)
    for _ in range(_SPLIT_ROUNDS):
        faces = _without_flat_pairs(faces)
        crowded = _crowded_edges(faces)
        if not len(crowded):
            break
        vertices, faces = _split_crowded(vertices, faces, crowded)
    else:
        raise ExportError("The avatar's surface touches itself everywhere: reconstruct the avatar again.")
    vertices, faces = _split_fans(vertices, faces)
    return _without_small_parts(vertices, faces)


def unfold(vertices: np.ndarray, faces: np.ndarray, rounds: int = ROUNDS) -> tuple[np.ndarray, np.ndarray]:
    """A closed surface changed, only around triangles that are flat or turned over, until there are none.

    The vertices of such triangles go to the middle of their neighbours. Where that does not help, an edge collapses;
    where that does not, a patch is cut out and the hole closed.

    Args:
        vertices: [V, 3].
        faces: int [F, 3].
        rounds: after which what is left stays.

    Returns:
        vertices [W, 3], faces int64 [G, 3].
    """
    vertices, faces = np.array(vertices, dtype=np.float64), np.asarray(faces, dtype=np.int64)
    for round_ in range(rounds):
        vertices = _relaxed(vertices, faces)
        wrong = np.flatnonzero(folded(vertices, faces))
        if not len(wrong):
            break
        if round_ < _PATIENCE:
            vertices, faces = _collapsed(vertices, faces, wrong)
        else:
            vertices, faces = make_manifold(*_refilled(vertices, faces, wrong, rings=round_ - _PATIENCE))
    used, corners = np.unique(faces, return_inverse=True)
    return vertices[used], corners.reshape(-1, 3)


def _relaxed(vertices: np.ndarray, faces: np.ndarray) -> np.ndarray:
    """Vertices of folded triangles between their neighbours, later those up to two edges around them, too."""
    vertices = vertices.copy()
    edges = half_edges(faces)
    degree = np.maximum(np.bincount(edges[:, 0], minlength=len(vertices)), 1)
    neighbour = neighbours(faces)
    for round_ in range(_RELAX_ROUNDS):
        wrong = folded(vertices, faces, neighbour)
        if not wrong.any():
            break
        patch = np.zeros(len(vertices), dtype=bool)
        patch[faces[wrong]] = True
        for _ in range(3 * round_ // _RELAX_ROUNDS):  # still wider patches would shrink limbs
            patch[edges[patch[edges[:, 0]], 1]] = True
        near = edges[patch[edges[:, 0]]]
        for _ in range(_SMOOTHINGS):
            for axis in range(3):
                mean = np.bincount(near[:, 0], vertices[near[:, 1], axis], len(vertices)) / degree
                vertices[patch, axis] += 0.5 * (mean - vertices[:, axis])[patch]
    return vertices


def _collapsed(vertices: np.ndarray, faces: np.ndarray, wrong: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The shortest edge of each triangle in ``wrong`` gone, if one can collapse without the surface touching itself."""
    vertices, faces = vertices.copy(), faces.copy()
    for face in wrong:
        corners = faces[face]
        if len(set(corners.tolist())) < 3:
            continue  # gone with its neighbour
        sides = [(corners[k], corners[(k + 1) % 3]) for k in range(3)]
        sides.sort(key=lambda side: float(np.linalg.norm(vertices[side[0]] - vertices[side[1]])))
        for a, b in sides:
            if _can_collapse(faces, a, b):
                vertices[a] = (vertices[a] + vertices[b]) / 2
                faces[faces == b] = a
                break
    return vertices, faces[~(faces == np.roll(faces, 1, axis=1)).any(1)]


def _can_collapse(faces: np.ndarray, a: int, b: int) -> bool:
    """The link condition: both ends know no others in common than the tips of the two triangles between them."""
    around = [set(faces[(faces == end).any(1)].ravel().tolist()) for end in (a, b)]
    return len(around[0] & around[1]) == 4 and min(map(len, around)) > 4


def _refilled(vertices: np.ndarray, faces: np.ndarray, wrong: np.ndarray, rings: int) -> tuple[np.ndarray, np.ndarray]:
    """The triangles around those in ``wrong`` cut out, and each hole closed by a fan about its middle."""
    patch = np.zeros(len(vertices), dtype=bool)
    patch[faces[wrong]] = True
    for _ in range(rings):
        patch[faces[patch[faces].any(1)]] = True
    faces = faces[~patch[faces].any(1)]
    edges = half_edges(faces)
    ahead, back = edges[:, 0] * len(vertices) + edges[:, 1], edges[:, 1] * len(vertices) + edges[:, 0]
    following: dict[int, list[int]] = {}
    for start, end in edges[~np.isin(back, ahead)][:, ::-1].tolist():  # along the hole's own triangles
        following.setdefault(start, []).append(end)
    places, added = [vertices], [faces]
    count = len(vertices)
    while following:
        loop = [next(iter(following))]
        while loop[-1] in following:
            ends = following[loop[-1]]
            loop.append(ends.pop())
            if not ends:
                del following[loop[-2]]
        ring = np.array(loop[:-1])
        places.append(vertices[ring].mean(0, keepdims=True))
        added.append(np.stack([ring, np.array(loop[1:]), np.full(len(ring), count)], axis=1))
        count += 1
    return np.concatenate(places), np.concatenate(added)


def neighbours(faces: np.ndarray) -> np.ndarray:
    """The triangle across each triangle's edge [F, 3] of a closed surface, in the order of :func:`half_edges`."""
    edges = half_edges(faces).astype(np.int64)
    count = int(faces.max()) + 1
    ahead, back = edges[:, 0] * count + edges[:, 1], edges[:, 1] * count + edges[:, 0]
    order = np.argsort(ahead)
    other = order[np.searchsorted(ahead, back, sorter=order)]
    return (other % len(faces)).reshape(3, len(faces)).T


def folded(vertices: np.ndarray, faces: np.ndarray, neighbour: np.ndarray | None = None) -> np.ndarray:
    """bool [F]: triangles that are flat, or that look away from where the surface around them looks.

    That is the mean of the three triangles next to them, or of the smooth normals at their corners.

    Args:
        vertices: [V, 3].
        faces: int [F, 3], a closed surface.
        neighbour: int [F, 3] from :func:`neighbours`, where it is known already.
    """
    corners = vertices[faces].astype(np.float64)
    normal = np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0])
    twice_area = np.sqrt(np.einsum("fi,fi->f", normal, normal))
    sides = corners - corners[:, [1, 2, 0]]
    flat = 2 * np.sqrt(3) * twice_area < _FLAT * np.einsum("fci,fci->f", sides, sides)
    normal /= np.maximum(twice_area, 1e-30)[:, None]
    around = normal[neighbours(faces) if neighbour is None else neighbour]
    agreement = np.einsum("fi,fni->fn", normal, around)
    smooth = vertex_normals(vertices, faces)[faces].sum(1)
    return flat | (agreement.sum(1) < 0) | (agreement < 0).all(1) | (np.einsum("fi,fi->f", normal, smooth) < 0)


def _without_flat_pairs(faces: np.ndarray) -> np.ndarray:
    """Without triangles that repeat a corner, and without two that have the same corners and opposite sides."""
    repeats = (faces == np.roll(faces, 1, axis=1)).any(1)
    faces = faces[~repeats]
    first = faces.argmin(1)
    turned = np.take_along_axis(faces, (first[:, None] + np.arange(3)) % 3, 1)
    side = np.where(turned[:, 1] < turned[:, 2], 1, -1)
    _, group = np.unique(np.sort(turned, 1), axis=0, return_inverse=True)
    group = group.reshape(-1)
    # One of each side cancels one of the other; what is left of a group has one side.
    surplus = np.bincount(group, side)[group].astype(np.int64)
    order = np.lexsort((-side * np.sign(surplus), group))
    start = np.searchsorted(group[order], np.arange(group.max() + 1))
    rank = np.empty(len(faces), dtype=np.int64)
    rank[order] = np.arange(len(faces)) - start[group[order]]
    return faces[rank < np.abs(surplus)]


def _keys(faces: np.ndarray) -> np.ndarray:
    """A number [3F] for each half-edge that is the same both ways."""
    edges = np.sort(half_edges(faces), axis=1)
    return edges[:, 0] * (int(faces.max()) + 1) + edges[:, 1]


def _crowded_edges(faces: np.ndarray) -> list[np.ndarray]:
    """Half-edges of each edge that more than two triangles share."""
    keys = _keys(faces)
    order = np.argsort(keys, kind="stable")
    _, start, count = np.unique(keys[order], return_index=True, return_counts=True)
    return [order[a : a + n] for a, n in zip(start[count > 2], count[count > 2])]


def _split_crowded(vertices: np.ndarray, faces: np.ndarray, crowded: list[np.ndarray]) -> tuple[np.ndarray, np.ndarray]:
    """Each pair of triangles that bounds the same solid wedge gets its own middle of the edge."""
    edges = half_edges(faces)
    faces, places, added = faces.copy(), list(vertices), []
    touched: set[int] = set()
    for half in crowded:
        owners = half % len(faces)
        if touched.intersection(owners.tolist()):
            continue  # next round: one of its triangles has just been divided
        touched.update(owners.tolist())
        for first, second in _wedges(vertices, faces, edges, half):
            ends = edges[first]
            tips = [_tip(faces[h % len(faces)], ends) for h in (first, second)]
            middle = vertices[ends].mean(0)
            places.append(middle + _PULL * (vertices[tips].mean(0) - middle))
            for h in (first, second):
                face = faces[h % len(faces)]
                start, end = edges[h]
                added.append(np.where(face == start, len(places) - 1, face))
                faces[h % len(faces)] = np.where(face == end, len(places) - 1, face)
    return np.array(places), np.concatenate([faces, np.array(added).reshape(-1, 3)])


def _tip(face: np.ndarray, ends: np.ndarray) -> int:
    """The corner of a triangle that is not an end of its edge."""
    return int(face[~np.isin(face, ends)][0])


def _wedges(vertices: np.ndarray, faces: np.ndarray, edges: np.ndarray, half: np.ndarray) -> list[tuple[int, int]]:
    """Half-edges of one edge in pairs that run opposite ways, with the solid between them."""
    a, b = edges[half[0]]
    axis = vertices[b] - vertices[a]
    axis = axis / max(float(np.linalg.norm(axis)), 1e-30)
    side = np.cross(axis, np.eye(3)[np.abs(axis).argmin()])
    up = np.cross(axis, side)
    turning = []
    for h in half:
        arm = vertices[_tip(faces[h % len(faces)], edges[h])] - vertices[a]
        turning.append((-np.arctan2(arm @ up, arm @ side), int(h)))
    # Against the sense of rotation about a->b, the solid begins at a triangle that runs a->b and ends at one that runs
    # b->a: brackets, around a circle.
    ring = [h for _, h in sorted(turning)]
    open_, pairs, closed = [], [], set()
    for h in ring + ring:
        if h in closed:
            continue
        if edges[h][0] == a:
            if h not in open_:
                open_.append(h)
        elif open_:
            pairs.append((open_.pop(), h))
            closed.update(pairs[-1])
    return pairs


def _split_fans(vertices: np.ndarray, faces: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """One vertex for each fan of triangles; vertices that none uses go."""
    count = len(faces)
    keys = _keys(faces)
    order = np.argsort(keys, kind="stable")
    first, second = order[0::2], order[1::2]  # every edge has two half-edges

    def corner(half: np.ndarray, end: int) -> np.ndarray:
        return (half // count + end) % 3 * count + half % count

    # They run opposite ways: where one starts the other ends.
    links = [(corner(first, 0), corner(second, 1)), (corner(first, 1), corner(second, 0))]
    rows, columns = (np.concatenate(side) for side in zip(*links))
    graph = coo_matrix((np.ones(len(rows), dtype=bool), (rows, columns)), shape=(3 * count, 3 * count))
    fans, label = connected_components(graph, directed=False)
    source = np.zeros(fans, dtype=np.int64)
    source[label] = faces.T.reshape(-1)
    # In the order of the vertices they come from, so that a clean mesh stays as it is.
    order = np.argsort(source, kind="stable")
    rank = np.empty(fans, dtype=np.int64)
    rank[order] = np.arange(fans)
    return vertices[source[order]], rank[label].reshape(3, count).T


def _without_small_parts(vertices: np.ndarray, faces: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    edges = half_edges(faces)
    graph = coo_matrix((np.ones(len(edges), dtype=bool), edges.T), shape=(len(vertices),) * 2)
    parts, label = connected_components(graph, directed=False)
    if parts == 1:
        return vertices, faces
    size = np.bincount(label[faces[:, 0]], minlength=parts)
    kept = size[label] >= _SMALL_PART * len(faces)
    rank = np.cumsum(kept) - 1
    return vertices[kept], rank[faces[kept[faces[:, 0]]]]
