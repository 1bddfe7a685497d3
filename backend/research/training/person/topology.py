"""What all people share: the bodies' triangles, made fine enough for cloth, with what is known of each place on them.

All four shipped bodies have the same triangles, so everything here is found once, on the neutral body in its T-pose,
and holds for every person. "Template" means that body's rest position, metres.
"""

from __future__ import annotations

from dataclasses import dataclass, fields
from functools import lru_cache

import numpy as np
import torch

from ....body.model import JOINT_INDEX, load_body
from ..figure import PART_INDEX

EDGE_LENGTH = 0.017
"""Longest edge (metres, on the template) that trunk and limbs keep: fine enough for folds."""


@dataclass(frozen=True)
class Mesh:
    """Triangles with what smoothing and normals need, as gathers, so that sums have one order on every device.

    Attributes:
        faces: int64 [F, 3].
        neighbours: int64 [V, K]; rows are padded with the vertex itself.
        incident: int64 [V, L] faces at each vertex, padded with F.
    """

    faces: torch.Tensor
    neighbours: torch.Tensor
    incident: torch.Tensor

    def smooth(self, values: torch.Tensor, amount: float | torch.Tensor = 0.5) -> torch.Tensor:
        """One Laplacian step on ``values`` [V, C]."""
        return (
            torch.lerp(values, values[self.neighbours].mean(1), amount)
            if isinstance(amount, float)
            else (values + amount * (values[self.neighbours].mean(1) - values))
        )

    def normals(self, vertices: torch.Tensor) -> torch.Tensor:
        """Area-weighted unit normals [V, 3]."""
        a, b, c = vertices[self.faces].unbind(1)
        normal = torch.linalg.cross(b - a, c - a)
        padded = torch.cat([normal, normal.new_zeros(1, 3)])
        return torch.nn.functional.normalize(padded[self.incident].sum(1), dim=-1, eps=1e-12)


def _padded(owner: np.ndarray, item: np.ndarray, count: int, fill: np.ndarray) -> np.ndarray:
    """Items grouped by owner as rows [count, longest]; ``fill`` [count] where a row is short."""
    order = np.lexsort((item, owner))
    owner, item = owner[order], item[order]
    lengths = np.bincount(owner, minlength=count)
    out = np.repeat(fill[:, None], lengths.max(), axis=1)
    place = np.arange(len(owner)) - np.repeat(np.cumsum(lengths) - lengths, lengths)
    out[owner, place] = item
    return out


def make_mesh(faces: np.ndarray, vertex_count: int) -> Mesh:
    """A :class:`Mesh` of int ``faces`` [F, 3]."""
    edges = np.unique(np.sort(np.concatenate([faces[:, [0, 1]], faces[:, [1, 2]], faces[:, [2, 0]]]), axis=1), axis=0)
    both = np.concatenate([edges, edges[:, ::-1]])
    vertices = np.arange(vertex_count)
    corner_face = np.repeat(np.arange(len(faces)), 3)
    return Mesh(
        faces=torch.from_numpy(faces.astype(np.int64)),
        neighbours=torch.from_numpy(_padded(both[:, 0], both[:, 1], vertex_count, vertices).astype(np.int64)),
        incident=torch.from_numpy(
            _padded(faces.reshape(-1), corner_face, vertex_count, np.full(vertex_count, len(faces))).astype(np.int64)
        ),
    )


def _split(faces: np.ndarray, long_edge: np.ndarray, edges: np.ndarray, first: int) -> np.ndarray:
    """Faces after every edge marked in ``long_edge`` [E] got a vertex (numbered from ``first``) in its middle."""
    number = np.full(len(edges), -1)
    number[long_edge] = first + np.arange(long_edge.sum())
    lookup = {(int(a), int(b)): int(n) for (a, b), n in zip(edges, number)}
    out: list[tuple[int, int, int]] = []
    for face in faces:
        corner = [int(v) for v in face]
        middle = [lookup[tuple(sorted((corner[k], corner[(k + 1) % 3])))] for k in range(3)]
        cut = [m >= 0 for m in middle]
        if not any(cut):
            out.append(tuple(corner))
            continue
        # Turn the face so that its cut edges come first.
        turn = next(k for k in range(3) if cut[k] and not cut[(k + 2) % 3]) if not all(cut) else 0
        a, b, c = corner[turn:] + corner[:turn]
        ab, bc, ca = middle[turn:] + middle[:turn]
        if all(cut):
            out += [(a, ab, ca), (ab, b, bc), (ca, bc, c), (ab, bc, ca)]
        elif bc >= 0:
            out += [(ab, b, bc), (a, ab, bc), (a, bc, c)]
        else:
            out += [(a, ab, c), (ab, b, c)]
    return np.array(out)


@dataclass(frozen=True)
class Region:
    """A part of the body's triangles with vertex numbers of its own. W vertices, G faces.

    Attributes:
        mesh: its triangles.
        vertices: int64 [W], vertices of the body.
        faces: int64 [G], faces of the body.
        template: [W, 3].
    """

    mesh: Mesh
    vertices: torch.Tensor
    faces: torch.Tensor
    template: torch.Tensor


def _region(faces: np.ndarray, inside: np.ndarray, template: np.ndarray) -> Region:
    chosen = np.nonzero(inside[faces].all(1))[0]
    used = np.unique(faces[chosen])
    remap = np.full(len(template), -1)
    remap[used] = np.arange(len(used))
    return Region(
        mesh=make_mesh(remap[faces[chosen]], len(used)),
        vertices=torch.from_numpy(used),
        faces=torch.from_numpy(chosen),
        template=torch.from_numpy(template[used]).float(),
    )


@dataclass(frozen=True)
class Topology:
    """The shared triangles. V vertices, F faces; the cloth region has W vertices and G faces.

    Attributes:
        mesh: all of the body.
        parents: per subdivision, int64 [n, 2]: the vertices whose middles were appended.
        template: [V, 3].
        weights: [V, 24] skinning weights.
        part: int64 [F], body-part labels of figure.py.
        eyes: bool [F], the eyeballs.
        cloth: trunk and limbs without head, hands and toes: what garments are cut from.
        head: head and neck without the eyeballs: what hair and hats are cut from.
        fabric: [G, 3, 2] metres around and along the part, at the corners of cloth faces; cut at the back, the
            underside of arms and the inside of legs.
        cloth_part: int64 [G].
        limb: [W, 2] template coordinates that cuts are made by: outward x of the arms (negative elsewhere), y.
    """

    mesh: Mesh
    parents: tuple[torch.Tensor, ...]
    template: torch.Tensor
    weights: torch.Tensor
    part: torch.Tensor
    eyes: torch.Tensor
    cloth: Region
    head: Region
    fabric: torch.Tensor
    cloth_part: torch.Tensor
    limb: torch.Tensor

    def refine(self, values: torch.Tensor) -> torch.Tensor:
        """Values [V, C] on all vertices from those [13492, C] on the body file's."""
        for pair in self.parents:
            values = torch.cat([values, values[pair].mean(1)])
        return values


_ARM_AXIS = (0.377, 0.028)  # y, z of the T-pose's arms
_ARM_START, _LEG_TOP = 0.19, -0.10
_RADII = {"arms": 0.055, "legs": 0.075, "trunk": 0.145}  # metres per radian around the part


def _fabric(corners: np.ndarray) -> np.ndarray:
    """[G, 3, 2] of template corners [G, 3, 3]."""
    middle = corners.mean(1)
    arm = (np.abs(middle[:, 0]) > _ARM_START) & (middle[:, 1] > 0.2)
    leg = middle[:, 1] < _LEG_TOP
    side = np.where(middle[:, 0] > 0, 1.0, -1.0)[:, None]
    x, y, z = np.moveaxis(corners, -1, 0)
    around_arm = np.arctan2(z - _ARM_AXIS[1], y - _ARM_AXIS[0])
    around_leg = np.arctan2(z, x * side - 0.125)
    around_trunk = np.arctan2(x, z + 0.01)
    angle = np.where(arm[:, None], around_arm, np.where(leg[:, None], around_leg, around_trunk))
    angle -= 2 * np.pi * np.round((angle - angle[:, :1]) / (2 * np.pi))
    radius = np.where(arm, _RADII["arms"], np.where(leg, _RADII["legs"], _RADII["trunk"]))[:, None]
    return np.stack([angle * radius, np.where(arm[:, None], np.abs(x), y)], -1)


def _labels(weights: np.ndarray, template: np.ndarray, faces: np.ndarray) -> np.ndarray:
    joint = weights[faces].sum(1).argmax(1)
    height = template[faces, 1].mean(1)
    label = np.full(len(faces), PART_INDEX["torso"])
    for name, number in JOINT_INDEX.items():
        part = (
            "hands"
            if "wrist" in name or "hand" in name
            else "arms"
            if "shoulder" in name or "elbow" in name
            else "feet"
            if "ankle" in name or "foot" in name
            else "legs"
            if "hip" in name or "knee" in name
            else "head"
            if name == "head"
            else "torso"
        )
        label[joint == number] = PART_INDEX[part]
    label[(joint == JOINT_INDEX["neck"]) & (height > 0.475)] = PART_INDEX["head"]
    return label


@lru_cache(maxsize=4)
def load_topology(device: str = "cpu") -> Topology:
    """The shared triangles on ``device``."""
    if device != "cpu":
        return _move(load_topology("cpu"), device)
    body = load_body("neutral")
    template, faces, weights = body.template.numpy(), body.faces.numpy(), body.weights.numpy()
    fine = {
        JOINT_INDEX[n]
        for n in ("head", "left_wrist", "right_wrist", "left_hand", "right_hand", "left_foot", "right_foot")
    }
    parents = []
    for _ in range(2):
        coarse = ~np.isin(weights.argmax(1), list(fine))
        edges = np.unique(np.sort(np.concatenate([faces[:, [0, 1]], faces[:, [1, 2]], faces[:, [2, 0]]]), 1), axis=0)
        long = (np.linalg.norm(template[edges[:, 0]] - template[edges[:, 1]], axis=1) > EDGE_LENGTH) & coarse[
            edges
        ].all(1)
        pair = edges[long]
        faces = _split(faces, long, edges, len(template))
        template, weights = (np.concatenate([v, v[pair].mean(1)]) for v in (template, weights))
        parents.append(torch.from_numpy(pair))
    # The two eyeballs, 72 vertices each, come last in the body file.
    body_size = len(body.template)
    is_eye = np.zeros(len(template), bool)
    is_eye[body_size - 144 : body_size] = True
    part = _labels(weights, template, faces)

    joint = weights.argmax(1)
    outside = {
        JOINT_INDEX[n]
        for n in ("head", "left_hand", "right_hand", "left_foot", "right_foot", "left_wrist", "right_wrist")
    }
    inside = ~np.isin(joint, list(outside)) & ~is_eye
    # Cuffs reach onto the hand and the ankle.
    inside |= np.isin(joint, [JOINT_INDEX["left_wrist"], JOINT_INDEX["right_wrist"]]) & (np.abs(template[:, 0]) < 0.70)
    cloth = _region(faces, inside, template)
    head = _region(faces, np.isin(joint, [JOINT_INDEX["head"], JOINT_INDEX["neck"]]) & ~is_eye, template)
    chosen = cloth.faces.numpy()
    place = cloth.template.numpy()
    arm = (np.abs(place[:, 0]) > 0.12) & (place[:, 1] > 0.2)
    limb = np.stack([np.where(arm, np.abs(place[:, 0]), -1.0), place[:, 1]], 1)
    return Topology(
        mesh=make_mesh(faces, len(template)),
        parents=tuple(parents),
        template=torch.from_numpy(template).float(),
        weights=torch.from_numpy(weights).float(),
        part=torch.from_numpy(part),
        eyes=torch.from_numpy(is_eye[faces].all(1)),
        cloth=cloth,
        head=head,
        fabric=torch.from_numpy(_fabric(template[faces[chosen]])).float(),
        cloth_part=torch.from_numpy(part[chosen]),
        limb=torch.from_numpy(limb).float(),
    )


def _move(value: object, device: str) -> object:
    """``value`` with every tensor inside on ``device``."""
    if isinstance(value, torch.Tensor):
        return value.to(device)
    if isinstance(value, tuple):
        return tuple(_move(item, device) for item in value)
    if isinstance(value, (Mesh, Region, Topology)):
        return type(value)(**{f.name: _move(getattr(value, f.name), device) for f in fields(value)})
    return value
