"""Push the fitted body out (or in) to the matte's outline: the clothed surface.

The photo says how far clothes and hair stand off only along the outline. There, each near-tangent vertex looks along
its normal for the matte's edge; everywhere else the offset is the smoothest that agrees (a membrane over the mesh), so
a wide jacket is wider in front and behind too.
"""

from __future__ import annotations

from functools import lru_cache

import numpy as np
import torch
from scipy import ndimage, sparse
from scipy.sparse.linalg import splu

from ..body.model import JOINT_INDEX
from ..rendering.mesh import rasterize_mesh, vertex_normals
from .distances import depth_inside
from .types import Reconstruction, SideDepths

_LIMITS_OUT = {"head": 0.12, "neck": 0.06, "hand": 0.02, "wrist": 0.025, "foot": 0.035, "ankle": 0.05, "knee": 0.10}
"""Metres that a part's surface may be pushed out; clothes on the trunk and thighs take the default."""
_DEFAULT_OUT = 0.14
_LIMIT_IN = 0.07
_DEPTH_SHARE = 0.5
"""How much thicker, over how much wider, clothes make the body: an outline shows the width alone."""
_INSIDE = 1.0
"""Pixels that the mesh keeps inside the outline: splats reach beyond their middles, and those of the front cover the
matte whatever the mesh does."""
_FEET = [joint for name, joint in JOINT_INDEX.items() if name.endswith(("_ankle", "_foot"))]
_OUTLINE_PIXELS = 3
"""Steps along the normal after which a vertex on the mesh's outline has left the mesh."""


def joint_of_vertex(weights: np.ndarray) -> np.ndarray:
    """Index of the joint that moves each vertex most, [V]."""
    return weights.argmax(1)


def joint_of_splat(splats: Reconstruction) -> np.ndarray:
    """The joint [n] that moves each splat."""
    return joint_of_vertex(splats.surface.weights)[splats.surface.faces[splats.face, 0]]


def _outward_limit(weights: np.ndarray) -> np.ndarray:
    limit = np.full(weights.shape[1], _DEFAULT_OUT)
    for name, joint in JOINT_INDEX.items():
        limit[joint] = _LIMITS_OUT.get(name.removeprefix("left_").removeprefix("right_"), _DEFAULT_OUT)
    return weights @ limit


def _chain_of_joint() -> np.ndarray:
    """A number per limb [24]: a ray that meets another limb before the outline says nothing about this one."""
    chain = np.zeros(len(JOINT_INDEX), int)
    for name, joint in JOINT_INDEX.items():
        side = 1 if name.startswith("left") else 2 if name.startswith("right") else 0
        part = name.split("_")[-1]
        if part in ("elbow", "wrist", "hand"):
            chain[joint] = side
        elif part in ("hip", "knee", "ankle", "foot"):
            chain[joint] = 2 + side
        elif part in ("head", "neck"):
            chain[joint] = HEAD_CHAIN
    return chain


ARM_CHAINS, LEG_CHAINS, HEAD_CHAIN = (1, 2), (3, 4), 5
CHAIN_OF_JOINT = _chain_of_joint()


def _march(
    start: np.ndarray, direction: np.ndarray, inside: np.ndarray, stop: np.ndarray, limit: int
) -> tuple[np.ndarray, np.ndarray]:
    """Steps [n] of one pixel until a ray leaves ``inside`` [H, W], and whether it did so before meeting ``stop``.

    ``stop`` is int [H, W, ...]: rays pass pixels whose label equals their own or -1.
    """
    labels, own = stop
    height, width = inside.shape
    steps = np.zeros(len(start), int)
    running = np.ones(len(start), bool)
    found = np.zeros(len(start), bool)
    for step in range(1, limit + 1):
        point = np.floor(start + direction * step).astype(int)
        within = (point >= 0).all(1) & (point < [width, height]).all(1)
        x, y = point.clip(0, [width - 1, height - 1]).T
        left_it = within & ~inside[y, x]
        blocked = ~within | (~left_it & (labels[y, x] >= 0) & (labels[y, x] != own))
        found |= running & left_it
        running &= ~left_it & ~blocked
        steps[running] = step
        if not running.any():
            break
    return steps, found


def outline_displacement(
    vertices: np.ndarray,
    faces: np.ndarray,
    weights: np.ndarray,
    matte: np.ndarray,
    known: np.ndarray,
    face_map: np.ndarray,
    focal: float,
    pinned: np.ndarray,
    stiffness: float = 3.0,
) -> np.ndarray:
    """Smooth displacements [V, 3] in metres, camera space, that bring the mesh's outline to the matte's.

    Across the picture they are a vector field, so that a limb whose two outlines ask for the same side is shifted and
    one whose outlines ask for opposite sides widens. Depth, of which the photo says nothing, follows the widening only.

    Args:
        vertices: [V, 3] posed, camera space.
        faces: [F, 3].
        weights: [V, 24].
        matte: bool [H, W], the person.
        known: bool [H, W], inside the picture.
        face_map: int [H, W], the face seen at each pixel, -1 for none.
        focal: pixels at this resolution.
        pinned: bool [V], vertices that stay on the body (the face).
        stiffness: of the membrane.
    """
    height, width = matte.shape
    normals = vertex_normals(vertices, faces)
    view = vertices / np.linalg.norm(vertices, axis=1, keepdims=True)
    grazing = 1 - np.abs((normals * view).sum(1))
    pixels = vertices[:, :2] / vertices[:, 2:] * focal + np.array([width / 2, height / 2])
    direction = normals[:, :2] / np.maximum(np.linalg.norm(normals[:, :2], axis=1, keepdims=True), 1e-9)
    chain = CHAIN_OF_JOINT[joint_of_vertex(weights)]
    labels = np.where(face_map >= 0, chain[faces[face_map.clip(0), 0]], -1)
    metres = vertices[:, 2] / focal
    limit_out = _outward_limit(weights)

    inside_picture = ((pixels >= 2) & (pixels < [width - 2, height - 2])).all(1)
    # Folds within a limb are tangent too; only where the mesh ends does its outline lie.
    x, y = np.floor(pixels + _OUTLINE_PIXELS * direction).astype(int).clip(0, [width - 1, height - 1]).T
    candidate = np.nonzero((grazing > 0.6) & inside_picture & (labels[y, x] < 0))[0]
    x, y = pixels[candidate].astype(int).T
    candidate = candidate[known[y, x]]
    x, y = pixels[candidate].astype(int).T
    is_in = matte[y, x]

    target = np.zeros(len(vertices))
    trust = np.zeros(len(vertices))
    reach = int(np.ceil(_DEFAULT_OUT / metres.min()))
    for group, sense, region in ((candidate[is_in], 1.0, matte), (candidate[~is_in], -1.0, ~matte)):
        if not len(group):
            continue
        steps, found = _march(pixels[group], sense * direction[group], region, (labels, chain[group]), reach)
        distance = (sense * (steps + 0.5) - _INSIDE) * metres[group]
        good = found & (distance <= limit_out[group]) & (distance >= -_LIMIT_IN)
        target[group[good]] = distance[good]
        trust[group[good]] = (grazing[group[good]] - 0.5) * 6
    # The frame's edge is no outline.
    near_frame = ~known
    trust[candidate[near_frame[y, x]]] = 0
    trust[pinned] = 0.4
    target[pinned] = 0
    # What the photo does not show keeps the body's own shape.
    x, y = np.floor(pixels).astype(int).clip(0, [width - 1, height - 1]).T
    trust[~inside_picture | ~known[y, x]] = 0.05
    wanted = np.column_stack([target[:, None] * direction, target])
    smooth = smooth_over_mesh(faces, wanted, trust, stiffness, rest=0.01)
    # Shoes hide the toes' shape: every vertex goes its own way.
    shoe = weights[:, _FEET].sum(1)[:, None]
    across = (1 - shoe) * smooth[:, :2] + shoe * smooth[:, 2:] * normals[:, :2]
    # Hair stands off a head all around, as shoes do a foot.
    share = _DEPTH_SHARE + (1 - _DEPTH_SHARE) * (shoe + weights[:, [JOINT_INDEX["head"]]])
    return np.column_stack([across, share * smooth[:, 2:] * normals[:, 2:]])


def ways_in(matte: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Of a matte, bool [H, W]: what is :data:`_INSIDE` it, and for every pixel the distance to that in pixels, and row
    and column [2, H, W] of the nearest of it."""
    inner = depth_inside(matte) > _INSIDE
    return inner, *ndimage.distance_transform_edt(~inner, return_indices=True)


def carve(
    vertices: np.ndarray,
    faces: np.ndarray,
    way_in: tuple[np.ndarray, np.ndarray, np.ndarray],
    known: np.ndarray,
    focal: float,
    reach: float,
) -> np.ndarray:
    """Displacements [V, 3] that bring what is not :data:`_INSIDE` the matte into it, dragging its neighbours along.

    Args:
        vertices, faces, known, focal: as for :func:`outline_displacement`.
        way_in: see :func:`ways_in`.
        reach: metres; what lies further outside is left alone.
    """
    height, width = known.shape
    pixels = vertices[:, :2] / vertices[:, 2:] * focal + np.array([width / 2, height / 2])
    x, y = np.floor(pixels).astype(int).clip(0, [width - 1, height - 1]).T
    in_picture = ((pixels >= 0) & (pixels < [width, height])).all(1) & known[y, x]
    inner, distance, (row, column) = way_in
    metres = vertices[:, 2] / focal
    gap = distance[y, x] * metres
    outside = in_picture & (gap > 0) & (gap < reach)
    inside = in_picture & inner[y, x]
    wanted = (np.column_stack([column[y, x], row[y, x]]) + 0.5 - pixels) * metres[:, None]
    wanted[~outside] = 0
    trust = np.where(outside, 3.0, np.where(inside, 0.1, 0.0))
    return np.column_stack([smooth_over_mesh(faces, wanted, trust, stiffness=3.0, rest=0.01), np.zeros(len(vertices))])


_MOST_MOVED = 0.25
"""Metres that a vertex is moved along its ray; where depths ask for more, the ray meets another limb."""
_FORETOLD = 0.04
"""Metres by which depths are foretold to err from which they count less."""
_DEPTH_STIFFNESS = 10.0
"""Of the membrane: what a picture says of depth is smooth along a limb. Softer ones meet the depths better, and then
limbs hang beside their bones in other poses."""


def meet_depths(
    vertices: np.ndarray, faces: np.ndarray, focal: float, depths: SideDepths, device: torch.device | None = None
) -> np.ndarray:
    """Displacements [V, 3] along the rays that bring the mesh's front and back to the depths; smooth elsewhere.

    Args:
        vertices, faces, focal: as for :func:`outline_displacement`.
        depths: at the maps' resolution.
        device: see :func:`~backend.rendering.mesh.rasterize_mesh`.
    """
    wanted, trust = np.zeros(len(vertices)), np.zeros(len(vertices))
    first, last = (
        rasterize_mesh(vertices, faces, focal, depths.front.shape, farthest=farthest, device=device)
        for farthest in (False, True)
    )
    shown = np.nonzero((first.face >= 0) & depths.known)
    front, back = (depth[shown] - hits.depth[shown] for depth, hits in ((depths.front, first), (depths.back, last)))
    one_limb = np.maximum(np.abs(front), np.abs(back)) < _MOST_MOVED
    doubted = np.where(one_limb, (1 - depths.belief[shown]) * (back - front) / 2, 0)
    sides = ((first, front + doubted, depths.front_spread), (last, back - doubted, depths.back_spread))
    for hits, moved, spread in sides:
        near = np.abs(moved) < _MOST_MOVED
        moved, (row, column) = moved[near], (index[near] for index in shown)
        corner = faces[hits.face[row, column]]
        share = hits.barycentric[row, column] / (1 + (spread[row, column] / _FORETOLD) ** 2)[:, None]
        for k in range(3):
            wanted += np.bincount(corner[:, k], share[:, k] * moved, len(vertices))
            trust += np.bincount(corner[:, k], share[:, k], len(vertices))
    target = wanted / np.maximum(trust, 1e-9)
    moved = smooth_over_mesh(faces, target, np.minimum(trust, 2.0), _DEPTH_STIFFNESS, rest=0.01)
    return vertices * (moved / vertices[:, 2])[:, None]


def smooth_over_mesh(
    faces: np.ndarray, target: np.ndarray, trust: np.ndarray, stiffness: float, rest: float
) -> np.ndarray:
    """The membrane [V] that follows ``target`` [V] (or [V, C]) where ``trust`` [V] says so and is smooth elsewhere.

    Minimises sum trust (x - target)^2 + stiffness sum over edges (x_i - x_j)^2 + rest sum x^2.
    """
    laplacian = _laplacian(np.ascontiguousarray(faces, np.int64).tobytes(), len(target))
    system = (sparse.diags(trust + rest * 0.01) + stiffness * laplacian).tocsc()
    right = trust * target if target.ndim == 1 else trust[:, None] * target
    # A membrane has no large dense blocks: looking for them takes as long as all else.
    factors = splu(system, permc_spec="MMD_AT_PLUS_A", relax=1, panel_size=1, options={"SymmetricMode": True})
    return factors.solve(right)


@lru_cache(maxsize=2)
def _laplacian(faces: bytes, count: int) -> sparse.csr_matrix:
    """The graph Laplacian of a mesh of int64 [F, 3] faces: the same mesh is smoothed many times."""
    faces = np.frombuffer(faces, np.int64).reshape(-1, 3)
    edges = np.concatenate([faces[:, [0, 1]], faces[:, [1, 2]], faces[:, [2, 0]]])
    ones = np.ones(len(edges) * 2)
    adjacency = sparse.coo_matrix(
        (ones, (np.concatenate([edges[:, 0], edges[:, 1]]), np.concatenate([edges[:, 1], edges[:, 0]]))),
        shape=(count, count),
    ).tocsr()
    adjacency.data[:] = 1
    return sparse.diags(np.asarray(adjacency.sum(1)).ravel()) - adjacency
