"""A person from a seed: identity, outfit, and the figure in any pose."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import torch

from ....body.model import JOINT_INDEX
from ..figure import Figure, Surface, TrueBody
from . import bags
from .hair import make_beard, make_hair, make_hat
from .identity import Identity, body_model, draw_identity, pose_body, settle_identity
from .parts import Piece
from .shells import Cut, Fit, shell
from .shoes import make_shoes
from .skirts import make_skirt
from .topology import Topology, load_topology
from .tubes import Obstacle
from .wardrobe import Look, Outfit, loosened, sample_outfit

_HIDDEN_DEPTH = 0.03
"""Skin this far (metres) inside a garment's border is left out, so that it cannot show through."""


@dataclass(frozen=True)
class Person:
    """A synthetic person.

    Attributes:
        seed: which decides everything.
        identity: body, shape, own pose.
        outfit: clothes, hair, colours.
        device: where figures are made.
    """

    seed: int
    identity: Identity
    outfit: Outfit
    device: str = "cpu"

    @property
    def describe(self) -> dict[str, str]:
        """Words for people."""
        return {"body": self.identity.body, "pose": self.identity.kind, **self.outfit.words}

    def figure(self, pose: torch.Tensor | None = None, translation: torch.Tensor | None = None) -> Figure:
        """The person as triangles.

        Args:
            pose: [24, 3] axis-angle, the pelvis' row in world axes; None is the person's own.
            translation: [3] metres; None puts the lowest point at y = 0 and the pelvis at x = z = 0.
        """
        with torch.no_grad():
            return _build(self, pose, translation)


def build_person(seed: int, device: str = "cpu", loose: bool = False) -> Person:
    """The person that ``seed`` stands for, as dressed or in looser clothes."""
    rng = np.random.default_rng([seed, 7])
    # The body decides the outfit, and the outfit's bulk how far arms stay out.
    draft = draw_identity(np.random.default_rng([seed, 3]))
    outfit = sample_outfit(rng, draft.body, draft.age)
    identity = settle_identity(draft, outfit.bulk)
    if loose:
        outfit = loosened(outfit, np.random.default_rng([seed, 11]))
    return Person(seed, identity, outfit, device)


def _flex(pose: torch.Tensor) -> dict[str, float]:
    """0..1 by joint: how much it is bent."""
    angle = pose.norm(dim=1).tolist()
    flex = {}
    for side in ("left_", "right_"):
        for joint, full in (("elbow", 1.6), ("knee", 1.6), ("hip", 1.4)):
            flex[side + joint] = min(1.0, angle[JOINT_INDEX[side + joint]] / full)
        flex[side + "shoulder"] = 0.5
    flex["waist"] = min(1.0, 0.35 + sum(angle[JOINT_INDEX[n]] for n in ("spine1", "spine2", "spine3")))
    flex["ankle"] = 0.9
    return flex


def _head_fit(template: torch.Tensor, rest: torch.Tensor) -> torch.Tensor:
    """[3, 4] scale and shift of the template's head to the person's, axis by axis."""
    scale = rest.std(0) / template.std(0)
    return torch.cat([torch.diag(scale), (rest.mean(0) - scale * template.mean(0))[:, None]], 1)


class _Looks:
    """Collects looks and hands out their numbers."""

    def __init__(self) -> None:
        self.table: list[Look] = []

    def add(self, look: Look) -> int:
        self.table.append(look)
        return len(self.table) - 1


def _build(person: Person, pose: torch.Tensor | None, translation: torch.Tensor | None) -> Figure:
    device = person.device
    topology = load_topology(device)
    identity, outfit = person.identity, person.outfit
    own = torch.as_tensor(identity.pose if pose is None else pose, dtype=torch.float64).cpu()
    coarse, joints, transforms = pose_body(identity, own, device)
    body = body_model(identity.body, device)
    shape = torch.as_tensor(identity.betas, dtype=torch.float32, device=device)
    rest, rest_joints = body.shaped(shape)
    posed = topology.refine(coarse)
    rest_fine = topology.refine(rest)
    normals = topology.mesh.normals(posed)
    flex = _flex(own)
    seed = float(person.seed % 997) * 0.731
    looks = _Looks()
    cloth, cloth_normals = posed[topology.cloth.vertices], normals[topology.cloth.vertices]

    pieces: list[Piece] = []
    # Garments, outermost first, so that each can leave out what is hidden under the ones before.
    covered = torch.zeros(len(cloth), dtype=torch.bool, device=device)
    for number, garment in reversed(list(enumerate(outfit.shells))):
        look = looks.add(garment.look)
        piece, field = shell(
            topology, cloth, cloth_normals, garment.cut, garment.fit, flex, seed + 11.7 * number, look, covered
        )
        pieces.append(piece)
        covered = covered | (field > _HIDDEN_DEPTH)

    skin = looks.add(outfit.skin)
    eyes = looks.add(outfit.eyes)
    hidden = torch.zeros(len(posed), dtype=torch.bool, device=device)
    hidden[topology.cloth.vertices] = covered
    if outfit.shoes is not None:
        hidden |= topology.template[:, 1] < -0.915
    kept = ~hidden[topology.mesh.faces].all(1)
    pieces.append(_skin_piece(topology, posed, normals, kept & ~topology.eyes, skin))
    pieces.append(_skin_piece(topology, posed, normals, kept & topology.eyes, eyes))

    below = Obstacle(*_below(topology, cloth, cloth_normals))
    for skirt, look in outfit.skirts:
        pieces.append(
            make_skirt(
                topology,
                rest_fine[topology.cloth.vertices],
                rest_joints,
                transforms,
                below,
                skirt,
                looks.add(look),
                seed,
            )
        )
    if outfit.shoes is not None:
        shoe, look = outfit.shoes
        pieces += make_shoes(rest, rest_joints, transforms, body.weights, shoe, looks.add(look))

    head_region = topology.head
    head = posed[head_region.vertices]
    to_shape = _head_fit(head_region.template, rest_fine[head_region.vertices])
    head_transform = transforms[JOINT_INDEX["head"]]
    above = Obstacle(*_above(topology, cloth, cloth_normals, transforms[JOINT_INDEX["spine3"], :, :3], outfit.bulk))
    style, look = outfit.hair
    stature = float(rest[:, 1].max() - rest[:, 1].min()) / 1.7
    style = replace(style, hanging=style.hanging * stature, tail=style.tail * stature)
    pieces += make_hair(
        topology, head, head_transform, to_shape, above, style, looks.add(look), seed, outfit.hat is not None
    )
    if outfit.beard is not None:
        length, look = outfit.beard
        pieces.append(make_beard(topology, head, length, looks.add(look), seed))
    if outfit.hat is not None:
        hat, look = outfit.hat
        pieces += make_hat(topology, head, head_transform, to_shape, hat, looks.add(look), seed)
    if outfit.bag is not None:
        pieces += _bag(person, topology, cloth, cloth_normals, rest, joints, transforms, flex, looks)

    figure = _join(pieces, looks.table)
    low = figure.vertices[:, 1].min()
    shift = torch.stack([-joints[0, 0], -low, -joints[0, 2]]) if translation is None else translation.to(joints)
    return Figure(
        **{
            **vars(figure),
            "vertices": figure.vertices + shift,
            "body": TrueBody(
                name=identity.body,
                betas=torch.as_tensor(identity.betas, dtype=torch.float64),
                pose=own,
                translation=shift.double().cpu(),
                joints=(joints + shift).double().cpu(),
            ),
        }
    )


def _below(topology: Topology, cloth: torch.Tensor, normals: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    chosen = ((topology.limb[:, 0] < 0) & (topology.limb[:, 1] < 0.1)).nonzero()[:, 0][::4]
    return cloth[chosen], normals[chosen]


def _above(
    topology: Topology, cloth: torch.Tensor, normals: torch.Tensor, trunk: torch.Tensor, bulk: float
) -> tuple[torch.Tensor, torch.Tensor]:
    """What hair lies on; ``trunk`` [3, 3] is the chest's rotation."""
    chosen = ((topology.limb[:, 0] < 0.3) & (topology.limb[:, 1] > -0.05)).nonzero()[:, 0][::4]
    # Shoulders turn hair away to the back rather than up or aside, or it spreads over them like a cape.
    level = torch.tensor([0.25, 0.25, 1.0], device=cloth.device)
    turned = torch.nn.functional.normalize(normals[chosen] * level - 0.3 * trunk[:, 2], dim=-1)
    return cloth[chosen] + normals[chosen] * bulk, turned


def _skin_piece(topology: Topology, posed: torch.Tensor, normals: torch.Tensor, kept: torch.Tensor, look: int) -> Piece:
    faces = topology.mesh.faces[kept]
    far = torch.ones(len(posed), device=posed.device)
    return Piece(
        vertices=posed,
        normals=normals,
        faces=faces,
        position=topology.template,
        fabric=torch.zeros(len(faces), 3, 2, device=posed.device),
        hem=far,
        spare=0 * far,
        part=topology.part[kept],
        two_sided=False,
        look=look,
    )


def _bag(
    person: Person,
    topology: Topology,
    cloth: torch.Tensor,
    cloth_normals: torch.Tensor,
    rest: torch.Tensor,
    joints: torch.Tensor,
    transforms: torch.Tensor,
    flex: dict[str, float],
    looks: _Looks,
) -> list[Piece]:
    kind, look = person.outfit.bag
    number = looks.add(look)
    strap = Fit(person.outfit.bulk + 0.014, 0.0, 0.0, smooth=6, folds=0.0)
    if kind == "hand":
        hand = joints[JOINT_INDEX["left_hand"]]
        outward = transforms[0, :, 0]
        return bags.hanging_bag(hand - 0.02, (0.15, 0.13, 0.05), 0.12, outward, number)
    trunk = rest[(rest[:, 0].abs() < 0.15)]
    if kind == "backpack":
        spine = rest[(rest[:, 0].abs() < 0.1) & (rest[:, 1] > 0.1) & (rest[:, 1] < 0.35), 2].min()
        pieces = [
            bags.bag(
                (0.0, 0.20, float(spine) - 0.075 - person.outfit.bulk),
                (0.145, 0.20, 0.075),
                transforms[JOINT_INDEX["spine3"]],
                number,
            )
        ]
        cut = Cut(band=(0.095, 0.022, 0.10))
    else:
        side = trunk[(trunk[:, 1].abs() < 0.06), 0].max()
        pieces = [
            bags.bag((float(side) + 0.05 + person.outfit.bulk, -0.10, 0.02), (0.045, 0.09, 0.13), transforms[0], number)
        ]
        cut = Cut(sash=(-1.35, 0.17, 0.018))
    piece, _ = shell(topology, cloth, cloth_normals, cut, strap, flex, 0.0, number)
    return [*pieces, piece]


def _join(pieces: list[Piece], table: list[Look]) -> Figure:
    offset = 0
    faces, look_of_face = [], []
    for piece in pieces:
        faces.append(piece.faces + offset)
        look_of_face.append(torch.full((len(piece.faces),), piece.look, device=piece.faces.device))
        offset += len(piece.vertices)
    joined = torch.cat(faces)
    vertices = torch.cat([p.vertices for p in pieces])
    # Vertices that no face uses are dropped.
    used = torch.zeros(len(vertices), dtype=torch.bool, device=vertices.device)
    used[joined.reshape(-1)] = True
    renumbered = used.cumsum(0) - 1
    return Figure(
        vertices=vertices[used],
        normals=torch.cat([p.normals for p in pieces])[used],
        faces=renumbered[joined],
        corners=torch.cat([p.corners() for p in pieces]),
        part=torch.cat([p.part for p in pieces]),
        two_sided=torch.cat([torch.full((len(p.faces),), p.two_sided, device=p.faces.device) for p in pieces]),
        material=_Painted(torch.cat(look_of_face), tuple(table)),
    )


@dataclass(frozen=True)
class _Painted:
    """The material of a person: each face's number int64 [F] in a table of looks, which work on any device."""

    look_of_face: torch.Tensor
    table: tuple[Look, ...]

    def to(self, device: torch.device | str) -> _Painted:
        return replace(self, look_of_face=self.look_of_face.to(device))

    def __call__(self, face: torch.Tensor, corners: torch.Tensor) -> Surface:
        which = self.look_of_face[face]
        albedo = torch.zeros(len(face), 3, device=face.device)
        gloss = torch.zeros(len(face), device=face.device)
        for number, look in enumerate(self.table):
            chosen = (which == number).nonzero()[:, 0]
            if len(chosen):
                albedo[chosen], gloss[chosen] = look(corners[chosen])
        return Surface(albedo, gloss)
