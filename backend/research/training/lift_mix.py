"""More people for the lifter than were rendered: limbs of some on trunks of others, seen from a little aside.

Every rendered person has one pose. What the landmark network says of an arm depends on the arm, and on how the trunk
that it hangs on is turned; so an arm with all that was said of it may change places with that of somebody whose trunk
is turned alike. All is linear in the landmarks: places in the picture, in space, and the true ones move together.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch.nn import functional

from ...body.landmarks import LANDMARK_INDICES, LANDMARK_NAMES
from ...body.model import rotation_matrices
from ...prepare.lift import Observation, observe, turned
from .lift_data import LiftExamples

_LIMBS: tuple[tuple[tuple[int, ...], tuple[int, ...]], ...] = (
    ((11,), (13, 15, 17, 19, 21)),
    ((12,), (14, 16, 18, 20, 22)),
    ((23,), (25, 27, 29, 31)),
    ((24,), (26, 28, 30, 32)),
    ((11, 12), tuple(range(11))),
)
"""(landmarks in whose middle it hangs, landmarks that move with it): arms, legs, head; numbers of BlazePose."""
_LEGS, _HEAD = (2, 3), 4
_LEGS_TOGETHER = 0.5
"""How often both legs are the same person's, as those of a stride are."""
_HEAD_SHARE = 0.5
"""How often heads change, as a share of how often limbs do."""
_TURNS = (0.6, 1.0, 0.6)
"""How much people are turned about the picture's x, y and z, in ``turn``."""
_NEIGHBOURS = 40
"""With how many people of alike trunks limbs may change."""
_TRUNK_WEIGHT = 1.5
"""What a metre of the trunk's lean counts beside hips and shoulders of length one."""
_ROW_OF = {index: row for row, index in enumerate(LANDMARK_INDICES)}


@dataclass(frozen=True, eq=False)
class MixedPeople:
    """Examples that can be mixed, in metres about the hips: N of them.

    Attributes:
        image, visibility, world: [N, 33, 2], [N, 33] and [N, 33, 3], what the landmark network says.
        truth: [N, 27, 3].
        alike: int64 [N, K], examples of others whose trunks are turned alike.
    """

    image: torch.Tensor
    visibility: torch.Tensor
    world: torch.Tensor
    truth: torch.Tensor
    alike: torch.Tensor

    @classmethod
    def of(cls, examples: LiftExamples, person: torch.Tensor, body: list[int]) -> MixedPeople:
        """Prepare examples.

        Args:
            examples: N.
            person: int [N], whose they are: nobody exchanges limbs with themselves.
            body: rows of the truth by which pictures are scaled.
        """
        arrays = (examples.landmarks, examples.visibility, examples.world, examples.truth)
        image, visibility, world, truth = (torch.as_tensor(a) for a in arrays)
        image, world = (v - v[:, [23, 24]].mean(1, keepdim=True) for v in (image, world))
        flat, true = image[:, LANDMARK_INDICES][:, body], truth[:, body, :2]
        image = image * ((flat * true).sum((1, 2)) / flat.square().sum((1, 2)))[:, None, None]
        return cls(image, visibility, world, truth, _alike(truth, person))

    def draw(self, rows: torch.Tensor, share: float, turn: float) -> tuple[Observation, torch.Tensor]:
        """What the network would see of mixed people, and the truth [B, 27, 3] in the same frames.

        Args:
            rows: int64 [B], whose trunks.
            share: of limbs that are somebody else's.
            turn: radians, standard deviation of the turn of the whole.
        """
        image, visibility, world, truth = (v[rows] for v in (self.image, self.visibility, self.world, self.truth))
        count = len(rows)
        if share and self.alike.shape[1]:
            together = torch.rand(count) < _LEGS_TOGETHER
            leg, leg_moves = self._other(rows), torch.rand(count) < share
            for number, (root, moved) in enumerate(_LIMBS):
                other, moves = self._other(rows), torch.rand(count) < share
                if number in _LEGS:
                    other, moves = torch.where(together, leg, other), torch.where(together, leg_moves, moves)
                if number == _HEAD:
                    moves = torch.rand(count) < _HEAD_SHARE * share
                mine, other = moves.nonzero(), other[moves]
                seen, true = torch.tensor(moved), torch.tensor([_ROW_OF[m] for m in moved if m in _ROW_OF])
                for value, whole in ((image, self.image), (world, self.world)):
                    value[mine, seen] = _hung(whole[other], value[mine[:, 0]], seen, list(root))
                visibility[mine, seen] = self.visibility[other][:, seen]
                base = [_ROW_OF[m] for m in root]
                truth[mine, true] = _hung(self.truth[other], truth[mine[:, 0]], true, base)
        if turn:
            rotation = rotation_matrices(turn * torch.randn(count, 3) * torch.tensor(_TURNS)).transpose(1, 2)
            further = world @ rotation
            moved = (further - world)[..., :2].clone()
            moved[:, LANDMARK_INDICES] = (truth @ rotation - truth)[..., :2]
            image, world, truth = image + moved, further, truth @ rotation
        seen = observe(image, visibility, world)
        return seen, turned(truth, seen.turn)

    def _other(self, rows: torch.Tensor) -> torch.Tensor:
        return self.alike[rows, torch.randint(self.alike.shape[1], (len(rows),))]


def _hung(limb: torch.Tensor, trunk: torch.Tensor, moved: torch.Tensor, root: list[int]) -> torch.Tensor:
    """Points ``moved`` of ``limb`` [B, P, C], carried along from its ``root`` to that of ``trunk`` [B, P, C]."""
    return limb[:, moved] - limb[:, root].mean(1, keepdim=True) + trunk[:, root].mean(1, keepdim=True)


def _alike(truth: torch.Tensor, person: torch.Tensor) -> torch.Tensor:
    """int64 [N, K], the examples of other people whose hips and shoulders point most alike."""

    def point(name: str) -> torch.Tensor:
        return truth[:, LANDMARK_NAMES.index(name)]

    left, right = point("left_shoulder"), point("right_shoulder")
    axes = (point("left_hip") - point("right_hip"), left - right, (left + right) / 2)
    weights = (1.0, 1.0, _TRUNK_WEIGHT)
    frame = torch.cat([weight * functional.normalize(axis, dim=-1) for weight, axis in zip(weights, axes)], 1)
    count = min(_NEIGHBOURS, len(frame) - int(torch.bincount(person).max()))
    out = []
    for mine, whose in zip(frame.split(1000), person.split(1000)):
        distance = torch.cdist(mine, frame)
        distance[whose[:, None] == person[None]] = torch.inf
        out.append(distance.topk(count, largest=False).indices)
    return torch.cat(out)
