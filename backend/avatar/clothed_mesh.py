"""One closed, coloured, skinned mesh of the person as clothed, made from an avatar's splats at rest.

The splats and the surface that carries them are put into a voxel grid; what cannot be reached from outside is inside;
the boundary is meshed by naive surface nets (Gibson 1998) and moved onto the splats by a moving-least-squares
projection (Levin 2004). So the mesh shows nothing that lies under the clothes, and has no rims.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from .gaussians import rgb_from_sh
from .package import Avatar
from .quaternion import to_matrix
from .skinning import outward_axes

VOXEL_SIZE = 0.011
"""Metres; fingers and folds below this size melt together. A person has about 24,000 vertices."""
_REACH = 0.4  # metres around the body in which hats, bags and skirts lie; splats farther off are floaters

_SAMPLE_DISTANCE = 0.8  # voxels between two points of the surface
_TORN = 12.0  # voxels; longer triangles are between parts that the rest pose has torn apart
_SMOOTHING_ROUNDS = 2
_MLS_ROUNDS = 3
_KERNEL = 0.9  # standard deviation of the projection's weights, in voxels
_MAXIMUM_SHIFT = 1.5  # voxels a vertex may be moved by the projection: farther splats belong to another layer
_CORNERS = np.array([(x, y, z) for x in (0, 1) for y in (0, 1) for z in (0, 1)])
_NEIGHBOURS = np.array([(x, y, z) for x in (-1, 0, 1) for y in (-1, 0, 1) for z in (-1, 0, 1)])


@dataclass(frozen=True, eq=False)
class ClothedMesh:
    """A closed triangle mesh at rest, avatar space, metres.

    Attributes:
        vertices: float32 [V, 3].
        faces: int32 [F, 3], counter-clockwise seen from outside.
        colours: float32 [V, 3] display sRGB, 0..1.
        weights: float32 [V, 24] skinning weights, rows sum to 1.
    """

    vertices: np.ndarray
    faces: np.ndarray
    colours: np.ndarray
    weights: np.ndarray


def clothed_mesh(avatar: Avatar, voxel_size: float = VOXEL_SIZE) -> ClothedMesh:
    """The avatar's outside as one mesh; deterministic.

    Args:
        avatar: with N splats at rest.
        voxel_size: metres.
    """
    grid = _Grid(avatar, voxel_size)
    vertices, quads = _surface_net(grid.solid())
    vertices = _smooth(vertices, quads) * voxel_size + grid.origin
    cells = grid.splat_cells()
    for _ in range(_MLS_ROUNDS):
        vertices = cells.project(vertices)
    colours, weights = cells.sample(vertices, quads)
    faces = np.concatenate([quads[:, [0, 1, 2]], quads[:, [0, 2, 3]]])
    return ClothedMesh(
        vertices.astype(np.float32), faces.astype(np.int32), colours.astype(np.float32), weights.astype(np.float32)
    )


class _Grid:
    """Voxels around an avatar at rest, two empty ones on every side."""

    def __init__(self, avatar: Avatar, size: float) -> None:
        self.avatar, self.size = avatar, size
        body, places = avatar.body, avatar.gaussians.position.astype(np.float64)
        low, high = body.vertices.min(0) - _REACH, body.vertices.max(0) + _REACH
        self.near = ((places > low) & (places < high)).all(1)
        self.places = places[self.near]
        points = np.concatenate([self.places, body.surface_vertices]).clip(low, high)
        self.origin = points.min(0) - 2.5 * size
        self.shape = tuple(np.ceil((points.max(0) - self.origin) / size).astype(int) + 3)

    def cell(self, points: np.ndarray) -> np.ndarray:
        """Flat index of each point's voxel."""
        voxel = np.floor((points - self.origin) / self.size).astype(int).clip(0, np.array(self.shape) - 1)
        return np.ravel_multi_index(voxel.T, self.shape)

    def solid(self) -> np.ndarray:
        """Voxels [X, Y, Z] of the person: splats and surface, small gaps closed, and what these shut off."""
        wall = np.zeros(self.shape, dtype=bool)
        wall.ravel()[self.cell(self.places)] = True
        for points in self._surface_points():
            wall.ravel()[self.cell(points)] = True
        # A closing by one voxel: what is reached past thickened walls, thickened itself.
        outside = _grown(_reached(~_grown(wall)))
        return _largest_part(~outside)

    def _surface_points(self) -> Iterator[np.ndarray]:
        """Points [P, 3] on the surface, none farther than a voxel from the next."""
        body = self.avatar.body
        corners = body.surface_vertices.astype(np.float64)[body.surface_faces]
        longest = np.linalg.norm(corners - np.roll(corners, 1, axis=1), axis=2).max(1) / self.size
        corners, longest = corners[longest < _TORN], longest[longest < _TORN]
        count = np.ceil(longest / _SAMPLE_DISTANCE).astype(int).clip(min=1)
        for steps in np.unique(count):
            triangles = corners[count == steps]
            for i in range(steps + 1):
                for j in range(steps + 1 - i):
                    share = np.array([steps - i - j, i, j]) / steps
                    yield np.einsum("c,nci->ni", share, triangles)

    def splat_cells(self) -> _SplatCells:
        """What the splats of each voxel are on average."""
        return _SplatCells(self)


def _grown(voxels: np.ndarray) -> np.ndarray:
    """With the six neighbours of each voxel."""
    out = voxels.copy()
    for axis in range(3):
        before, after = np.moveaxis(voxels, axis, 0), np.moveaxis(out, axis, 0)
        after[1:] |= before[:-1]
        after[:-1] |= before[1:]
    return out


def _largest_part(solid: np.ndarray) -> np.ndarray:
    """The largest part of ``solid`` that is connected by faces; floaters are smaller."""
    # Every voxel takes the smallest number of its part, swept along the axes until nothing changes.
    nothing = np.int32(solid.size)
    label = np.where(solid, np.arange(solid.size, dtype=np.int32).reshape(solid.shape), nothing)
    total = -1
    while total != (total := int(label.sum(dtype=np.int64))):
        for ahead, filled in _sweeps(label, solid):
            for layer in range(1, len(ahead)):
                both = filled[layer] & filled[layer - 1]
                np.minimum(ahead[layer], ahead[layer - 1], out=ahead[layer], where=both)
    largest = np.bincount(label.ravel(), minlength=solid.size + 1)[:-1].argmax()
    return label == largest


def _sweeps(*arrays: np.ndarray) -> Iterator[tuple[np.ndarray, ...]]:
    """Views of 3D arrays for sweeps along each axis, both ways: the first axis is the one to walk along."""
    for axis in range(3):
        for order in (slice(None), slice(None, None, -1)):
            yield tuple(np.moveaxis(array, axis, 0)[order] for array in arrays)


def _reached(free: np.ndarray) -> np.ndarray:
    """Voxels of ``free`` that are connected by faces with the grid's first corner."""
    reached = np.zeros_like(free)
    reached[0, 0, 0] = True
    count = 0
    while count != (count := int(reached.sum())):
        for ahead, open_ in _sweeps(reached, free):
            for layer in range(1, len(ahead)):
                ahead[layer] |= ahead[layer - 1] & open_[layer]
    return reached


def _surface_net(solid: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Vertices [V, 3] in voxels (voxel centres lie at 0.5) and quads [F, 4], counter-clockwise from outside."""
    corners = np.stack([solid[x : x - 1 or None, y : y - 1 or None, z : z - 1 or None] for x, y, z in _CORNERS])
    count = corners.sum(0)
    mixed = (count > 0) & (count < 8)
    where = np.argwhere(mixed)
    index = np.full(mixed.shape, -1)
    index[mixed] = np.arange(len(where))
    inside = corners[:, mixed]
    # A vertex lies at the middle of the crossed edges' middles.
    total, crossed = np.zeros((len(where), 3)), np.zeros(len(where))
    for a in range(8):
        for b in range(a + 1, 8):
            if np.abs(_CORNERS[a] - _CORNERS[b]).sum() == 1:
                cut = inside[a] != inside[b]
                total[cut] += (_CORNERS[a] + _CORNERS[b]) / 2
                crossed += cut
    vertices = where + 0.5 + total / crossed[:, None]
    quads = []
    for axis in range(3):
        u, v = [other for other in range(3) if other != axis]
        first = np.moveaxis(solid, axis, 0)
        for out, flip in ((first[:-1] & ~first[1:], axis == 1), (~first[:-1] & first[1:], axis != 1)):
            edges = np.argwhere(np.moveaxis(out, 0, axis))
            ring = []
            for du, dv in ((0, 0), (1, 0), (1, 1), (0, 1)):
                cell = edges.copy()
                cell[:, u] -= 1 - du
                cell[:, v] -= 1 - dv
                ring.append(index[tuple(cell.T)])
            quad = np.stack(ring, axis=1)
            quads.append(quad[:, ::-1] if flip else quad)
    return vertices, np.concatenate(quads)


def _smooth(vertices: np.ndarray, quads: np.ndarray) -> np.ndarray:
    """Vertices between those around them, in voxels: the grid's steps go, the size stays (Taubin 1995)."""
    edges = np.concatenate([np.roll(quads, -side, axis=1)[:, :2] for side in range(4)])
    degree = np.bincount(edges[:, 0], minlength=len(vertices))
    for _ in range(_SMOOTHING_ROUNDS):
        for share in (0.5, -0.53):
            mean = np.stack([np.bincount(edges[:, 0], vertices[edges[:, 1], k], len(vertices)) for k in range(3)], 1)
            vertices = vertices + share * (mean / degree[:, None] - vertices)
    return vertices


class _SplatCells:
    """Splats summed up by voxel, and their averages around any point."""

    def __init__(self, grid: _Grid) -> None:
        self.grid = grid
        avatar = grid.avatar
        gaussians, skin = avatar.gaussians, avatar.skin
        self.keys, cell = np.unique(grid.cell(grid.places), return_inverse=True)
        near = grid.near
        amount = gaussians.opacity.astype(np.float64)[near]
        count = len(self.keys)

        def mean(values: np.ndarray) -> np.ndarray:
            return np.stack([np.bincount(cell, amount * column, count) for column in values.T], 1)

        self.amount = np.bincount(cell, amount, count)
        turns = to_matrix(gaussians.rotation[near].astype(np.float64))
        normals = np.einsum("nij,nj->ni", turns, outward_axes(avatar)[near])
        joint_count = avatar.body.weights.shape[1]
        entry = cell[:, None] * joint_count + skin.joint_ids[near]
        joints = np.bincount(entry.ravel(), (amount[:, None] * skin.joint_weights[near]).ravel(), count * joint_count)
        joints = joints.reshape(count, joint_count)
        whole = np.maximum(self.amount, 1e-12)[:, None]
        self.place = mean(grid.places) / whole
        self.normal = mean(normals) / whole
        self.colour = mean(np.clip(rgb_from_sh(gaussians.sh_dc[near]), 0, 1)) / whole
        self.joints = joints / whole

    def _around(self, points: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Rows [V, 27] into the cells and weights [V, 27]; a point far from every splat takes the nearest."""
        grid = self.grid
        at = np.floor((points - grid.origin) / grid.size).astype(int)
        near = (at[:, None] + _NEIGHBOURS).clip(0, np.array(grid.shape) - 1)
        key = np.ravel_multi_index(tuple(np.moveaxis(near, -1, 0)), grid.shape)
        row = np.searchsorted(self.keys, key).clip(max=len(self.keys) - 1)
        found = self.keys[row] == key
        distance = ((self.place[row] - points[:, None]) ** 2).sum(-1) / (_KERNEL * grid.size) ** 2
        weight = np.where(found, self.amount[row] * np.exp(-0.5 * distance), 0)
        return row, weight

    def project(self, points: np.ndarray) -> np.ndarray:
        """Points moved along the splats' normal onto the plane through the splats around them."""
        row, weight = self._around(points)
        total = weight.sum(1)
        whole = np.maximum(total, 1e-12)[:, None]
        normal = (weight[..., None] * self.normal[row]).sum(1)
        normal /= np.maximum(np.linalg.norm(normal, axis=1, keepdims=True), 1e-12)
        place = (weight[..., None] * self.place[row]).sum(1) / whole
        height = ((place - points) * normal).sum(1)
        limit = _MAXIMUM_SHIFT * self.grid.size
        move = (total > 1e-6) & (np.abs(height) < limit)
        return points + np.where(move, height, 0)[:, None] * normal

    def sample(self, points: np.ndarray, quads: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Colours [V, 3] and joint weights [V, J] at points; where there are no splats, as around there on the mesh."""
        row, weight = self._around(points)
        values = np.concatenate([self.colour, self.joints], axis=1)
        total = weight.sum(1)
        mean = np.zeros((len(points), values.shape[1]))
        for slot in range(weight.shape[1]):
            mean += weight[:, slot, None] * values[row[:, slot]]
        mean /= np.maximum(total, 1e-12)[:, None]
        mean = _spread(mean, total > 1e-6, quads)
        return mean[:, :3].clip(0, 1), mean[:, 3:] / mean[:, 3:].sum(1, keepdims=True)


def _spread(values: np.ndarray, known: np.ndarray, quads: np.ndarray) -> np.ndarray:
    """Values [V, C] of a mesh, those that are not known averaged from the neighbours that are, ring by ring."""
    edges = np.concatenate([np.roll(quads, -side, axis=1)[:, :2] for side in range(4)])
    edges = np.concatenate([edges, edges[:, ::-1]])
    known = known.copy()
    while not known.all():
        source, target = edges[known[edges[:, 0]] & ~known[edges[:, 1]]].T
        if not len(source):  # a part without any splats
            values[~known] = values[known].mean(axis=0) if known.any() else 1.0
            break
        total = np.stack([np.bincount(target, column[source], len(values)) for column in values.T], axis=1)
        hits = np.bincount(target, minlength=len(values))
        new = hits > 0
        values[new] = total[new] / hits[new, None]
        known |= new
    return values
