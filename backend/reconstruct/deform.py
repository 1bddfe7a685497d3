"""The clothed surface as one deformation of the fitted body: a membrane that outlines and depths pull at.

An outline says how far clothes and hair stand off, but only along itself: each vertex at the mesh's own outline looks
along its normal for the matte's edge, and is pulled there across the picture. Depths of front and back pull along the
rays. Faces and what no picture shows stay on the body. Everything else is the smoothest field that agrees: one sparse
least-squares problem over the displacements of all vertices, of one view or several, solved a few times because what an
outline asks for changes as the mesh moves.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import torch
from scipy import sparse
from scipy.sparse.linalg import splu

from ..avatar.meshes import vertex_normals
from ..body.model import JOINT_INDEX
from ..estimate.depth import SideDepths
from ..geometry.linear import conjugate_gradients, mesh_laplacian
from ..geometry.maps import project, sample_map
from ..rendering.mesh import MeshHits, rasterize_mesh
from .config import DeformConfig
from .parts import CARRIED, PART_OF_JOINT, by_part, joint_of_vertex


@dataclass(frozen=True, eq=False)
class OutlineView:
    """A picture of S x S pixels whose outline is known.

    Attributes:
        matrix: [4, 4] from the mesh's space to the camera's (OpenCV axes, metres); or [V, 3, 4], each vertex by its
            own, where the picture shows another pose.
        focal: in pixels.
        matte: bool [S, S], the person.
        known: bool [S, S], where that may be asked: inside the photo.
        depths: of front and back along the rays, where they are known.
    """

    matrix: np.ndarray
    focal: float
    matte: np.ndarray
    known: np.ndarray
    depths: SideDepths | None = None


class _Pulls:
    """Data terms of the problem: sum over vertices of (u - target)' weight (u - target)."""

    def __init__(self, count: int) -> None:
        self.weight, self.right = np.zeros((count, 3, 3)), np.zeros((count, 3))

    def add(self, weight: np.ndarray, target: np.ndarray, directions: np.ndarray) -> None:
        """Pull ``weight`` [V] to ``target`` [V, 3], but only along ``directions`` [k, 3], unit and orthogonal, or
        [V, k, 3], each vertex along its own."""
        projector = np.swapaxes(directions, -1, -2) @ directions
        self.weight += weight[:, None, None] * projector
        self.right += weight[:, None] * np.einsum("va,vab->vb", target, np.broadcast_to(projector, (len(target), 3, 3)))


def deform(
    vertices: np.ndarray,
    faces: np.ndarray,
    weights: np.ndarray,
    pinned: np.ndarray,
    views: Sequence[OutlineView],
    config: DeformConfig | None = None,
    device: torch.device | None = None,
) -> np.ndarray:
    """The posed body's ``vertices`` [V, 3] moved to where the views show the clothed person.

    Args:
        vertices: metres, in the views' common space.
        faces: int [F, 3].
        weights: [V, 24] skinning weights: how far a part's surface may stand off, and what belongs to one limb.
        pinned: bool [V], vertices that the outlines of views that see them from the front do not move: the face.
        views: one or several pictures.
        config: weights of the terms.
        device: see :func:`~backend.rendering.mesh.rasterize_mesh`.
    """
    config = config or DeformConfig()
    laplacian = _laplacian(np.ascontiguousarray(faces, np.int64).tobytes(), len(vertices))
    for _ in range(config.rounds):
        pulls = _Pulls(len(vertices))
        normals = vertex_normals(vertices, faces)
        for view in views:
            rotation = np.broadcast_to(view.matrix[..., :3, :3], (len(vertices), 3, 3))
            local, turned = (np.einsum("vab,vb->va", rotation, x) for x in (vertices, normals))
            local += view.matrix[..., :3, 3]
            size = view.matte.shape
            first = rasterize_mesh(local, faces, view.focal, size, device=device)
            # Seen from the front a face ends in hair and cheeks; from the side its outline is its own.
            ray = local / np.linalg.norm(local, axis=1, keepdims=True)
            still = pinned & (-(turned * ray).sum(1)[pinned].sum() > 0.5 * pinned.sum())
            _pull_to_outline(pulls, local, turned, rotation, faces, weights, still, view, first, laplacian, config)
            if view.depths is not None:
                last = rasterize_mesh(local, faces, view.focal, size, farthest=True, device=device)
                moved, trust = _to_depths(local, faces, view.depths, first, last, config)
                target = np.einsum("vab,va->vb", rotation, (moved / local[:, 2])[:, None] * local)
                along = np.einsum("vab,va->vb", rotation, ray)[:, None]
                pulls.add(config.depth * np.minimum(trust, 1.0), target, along)
        vertices = vertices + solve(laplacian, pulls.weight, pulls.right, config)
    return vertices


def meet_depths(
    vertices: np.ndarray,
    faces: np.ndarray,
    focal: float,
    depths: SideDepths,
    config: DeformConfig | None = None,
    device: torch.device | None = None,
) -> np.ndarray:
    """Displacements [V, 3] along the rays that bring the mesh's front and back to the depths; smooth elsewhere.

    Args:
        vertices, faces: as for :func:`deform`, in the camera's space.
        focal: pixels at the depths' resolution.
        depths: of the person.
        config, device: as for :func:`deform`.
    """
    config = config or DeformConfig(stiffness=10.0)
    laplacian = _laplacian(np.ascontiguousarray(faces, np.int64).tobytes(), len(vertices))
    first, last = (
        rasterize_mesh(vertices, faces, focal, depths.front.shape, farthest=farthest, device=device)
        for farthest in (False, True)
    )
    target, trust = _to_depths(vertices, faces, depths, first, last, config)
    moved = smooth(laplacian, target, np.minimum(trust, 2.0), config)
    return vertices * (moved / vertices[:, 2])[:, None]


def solve(laplacian: sparse.csr_matrix, weight: np.ndarray, right: np.ndarray, config: DeformConfig) -> np.ndarray:
    """The minimiser [V, 3] of sum u' weight u - 2 u' right + stiffness u' laplacian u, by conjugate gradients.

    Args:
        laplacian: [V, V] of the mesh's graph.
        weight: [V, 3, 3] symmetric, right: [V, 3].
        config: stiffness, and what holds all vertices a little.
    """
    count = len(weight)
    row = 3 * np.arange(count)[:, None, None] + np.arange(3)[:, None]
    column = 3 * np.arange(count)[:, None, None] + np.arange(3)
    data = weight + config.held * np.eye(3)
    row, column = np.broadcast_to(row, data.shape), np.broadcast_to(column, data.shape)
    blocks = sparse.coo_matrix((data.ravel(), (row.ravel(), column.ravel())), (3 * count, 3 * count))
    system = (sparse.kron(config.stiffness * laplacian, sparse.identity(3)) + blocks).tocsr()
    return conjugate_gradients(system, right.ravel(), config.tolerance, config.iterations).reshape(-1, 3)


def smooth(laplacian: sparse.csr_matrix, target: np.ndarray, trust: np.ndarray, config: DeformConfig) -> np.ndarray:
    """The membrane [V] that follows ``target`` [V] where ``trust`` [V] says so and is smooth elsewhere."""
    system = (config.stiffness * laplacian + sparse.diags(trust + config.held)).tocsc()
    # A membrane has no large dense blocks: looking for them takes as long as all else.
    factors = splu(system, permc_spec="MMD_AT_PLUS_A", relax=1, panel_size=1, options={"SymmetricMode": True})
    return factors.solve(trust * target)


def _pull_to_outline(
    pulls: _Pulls,
    local: np.ndarray,
    normals: np.ndarray,
    rotation: np.ndarray,
    faces: np.ndarray,
    weights: np.ndarray,
    pinned: np.ndarray,
    view: OutlineView,
    first: MeshHits,
    laplacian: sparse.csr_matrix,
    config: DeformConfig,
) -> None:
    """The terms of a view's outline; ``local`` and ``normals`` [V, 3] in its camera's space, to which ``rotation``
    [V, 3, 3] turns."""
    height, width = view.matte.shape
    ray = local / np.linalg.norm(local, axis=1, keepdims=True)
    grazing = 1 - np.abs((normals * ray).sum(1))
    pixels = project(local, view.focal, width)
    direction = normals[:, :2] / np.maximum(np.linalg.norm(normals[:, :2], axis=1, keepdims=True), 1e-9)
    limb = CARRIED[PART_OF_JOINT[joint_of_vertex(weights)]]
    seen = np.where(first.face >= 0, limb[faces[first.face.clip(0), 0]], -1)
    metres = local[:, 2] / view.focal
    inside = ((pixels >= 2) & (pixels < [width - 2, height - 2])).all(1) & sample_map(view.known, pixels)
    # Folds within a limb are tangent too; only where the mesh ends does its outline lie.
    ends = sample_map(seen, pixels + 2 * config.inset * direction) < 0
    candidate = np.flatnonzero((grazing > config.grazing) & inside & ends)
    out_of = sample_map(view.matte, pixels[candidate])
    limit = weights @ _outward_limit(config)
    target, trust = np.zeros(len(local)), np.zeros(len(local))
    reach = int(np.ceil(config.stands_off / metres.min()))
    for group, sense, region in ((candidate[out_of], 1.0, view.matte), (candidate[~out_of], -1.0, ~view.matte)):
        steps, found = _march(pixels[group], sense * direction[group], region, seen, limb[group], reach)
        # The mesh keeps inside: splats reach beyond their middles.
        distance = (sense * (steps + 0.5) - config.inset) * metres[group]
        good = found & (distance <= limit[group]) & (distance >= -config.stands_off / 2)
        target[group[good]] = distance[good]
        trust[group[good]] = (grazing[group[good]] - 0.5) * config.outline
    trust[pinned], target[pinned] = config.pinned, 0
    hidden = ~inside & (trust == 0)
    trust[hidden] = config.pinned
    across = rotation[:, :2]
    pulls.add(trust, np.einsum("vab,va->vb", across, target[:, None] * direction), across)
    # In depth the body grows as it widens, of which an outline shows one half; shoes and hair stand off all around.
    wider = smooth(laplacian, target, trust, config)
    shoe = weights[:, _FEET].sum(1)
    share = config.depth_share + (1 - config.depth_share) * (shoe + weights[:, JOINT_INDEX["head"]])
    along = (share * wider * normals[:, 2])[:, None] * rotation[:, 2]
    pulls.add(np.full(len(local), config.follows), along, rotation[:, 2:])


def _march(
    start: np.ndarray, direction: np.ndarray, inside: np.ndarray, seen: np.ndarray, own: np.ndarray, limit: int
) -> tuple[np.ndarray, np.ndarray]:
    """Steps [n] of one pixel until a ray leaves ``inside`` [H, W], and whether it did so before it met a limb of
    ``seen``, int [H, W], that is not its ``own`` [n]."""
    height, width = inside.shape
    steps = np.zeros(len(start), int)
    running, found = np.ones(len(start), bool), np.zeros(len(start), bool)
    for step in range(1, limit + 1):
        point = np.floor(start + direction * step).astype(int)
        within = (point >= 0).all(1) & (point < [width, height]).all(1)
        x, y = point.clip(0, [width - 1, height - 1]).T
        left_it = within & ~inside[y, x]
        blocked = ~within | (~left_it & (seen[y, x] >= 0) & (seen[y, x] != own))
        found |= running & left_it
        running &= ~left_it & ~blocked
        steps[running] = step
        if not running.any():
            break
    return steps, found


def _to_depths(
    local: np.ndarray,
    faces: np.ndarray,
    depths: SideDepths,
    first: MeshHits,
    last: MeshHits,
    config: DeformConfig,
) -> tuple[np.ndarray, np.ndarray]:
    """How far along the camera's axis vertices [V, 3] must move for front and back to lie at their depths, metres [V],
    and how much each is asked [V], in pixels."""
    shown = np.nonzero((first.face >= 0) & depths.known)
    front, back = (depth[shown] - hits.depth[shown] for depth, hits in ((depths.front, first), (depths.back, last)))
    one_limb = np.maximum(np.abs(front), np.abs(back)) < config.depth_reach
    doubted = np.where(one_limb, (1 - depths.belief[shown]) * (back - front) / 2, 0)
    wanted, trust = np.zeros(len(local)), np.zeros(len(local))
    for hits, moved, spread in (
        (first, front + doubted, depths.front_spread),
        (last, back - doubted, depths.back_spread),
    ):
        # Where depths ask for more, the ray meets another limb.
        near = np.abs(moved) < config.depth_reach
        moved, (row, column) = moved[near], (index[near] for index in shown)
        corner = faces[hits.face[row, column]]
        share = hits.barycentric[row, column] / (1 + (spread[row, column] / config.foretold) ** 2)[:, None]
        for k in range(3):
            wanted += np.bincount(corner[:, k], share[:, k] * moved, len(local))
            trust += np.bincount(corner[:, k], share[:, k], len(local))
    return wanted / np.maximum(trust, 1e-9), trust


_FEET = [joint for name, joint in JOINT_INDEX.items() if name.endswith(("_ankle", "_foot"))]


def _outward_limit(config: DeformConfig) -> np.ndarray:
    """Metres [24] that the surface of what each joint moves may stand off the body."""
    return by_part(config.limits, config.stands_off)[PART_OF_JOINT]


@lru_cache(maxsize=2)
def _laplacian(faces: bytes, count: int) -> sparse.csr_matrix:
    """The graph Laplacian of a mesh of int64 [F, 3] faces: the same mesh is deformed many times."""
    return mesh_laplacian(np.frombuffer(faces, np.int64).reshape(-1, 3), count)
