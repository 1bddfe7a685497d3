"""Cloth that does not follow the skin: skirts, dresses below the waist, tails of coats, hanging hair.

A grid of points is hung up by its first row and falls, kept off the body, for a few steps of position-based dynamics
(Mueller et al. 2007: predicted positions moved by constraints, no forces but gravity).
"""

from __future__ import annotations

from dataclasses import dataclass

import torch

_LONGEST_PUSH = 0.03


@dataclass(frozen=True)
class Obstacle:
    """Oriented points that cloth must stay outside of.

    Attributes:
        points, normals: [K, 3].
    """

    points: torch.Tensor
    normals: torch.Tensor

    def push(self, at: torch.Tensor, margin: float | torch.Tensor) -> torch.Tensor:
        """Points [n, 3] moved to ``margin`` metres in front of the nearest obstacle point's tangent plane.

        By no more than 3 cm at once: far from its point a tangent plane says nothing of the surface.
        """
        nearest = torch.cdist(at, self.points).argmin(1)
        normal = self.normals[nearest]
        ahead = ((at - self.points[nearest]) * normal).sum(1)
        return at + normal * (margin - ahead).clamp(0, _LONGEST_PUSH)[:, None]


def _lengths(points: torch.Tensor, closed: bool) -> tuple[torch.Tensor, torch.Tensor]:
    around = (points.roll(-1, 1) - points if closed else points[:, 1:] - points[:, :-1]).norm(dim=-1, keepdim=True)
    return around, (points[1:] - points[:-1]).norm(dim=-1, keepdim=True)


def drape(
    points: torch.Tensor,
    rest: torch.Tensor,
    obstacle: Obstacle,
    *,
    closed: bool,
    pinned: int = 1,
    steps: int = 24,
    margin: float = 0.008,
    gravity: float = 0.004,
    stiffness: float = 0.25,
) -> torch.Tensor:
    """Let a grid of cloth fall.

    Args:
        points: [R, C, 3] where it starts; the first ``pinned`` rows stay.
        rest: [R, C, 3] its shape without strain: lengths of edges are kept as in it.
        obstacle: what it must not enter.
        closed: the last column meets the first.
        pinned: rows that stay.
        steps: of the solver.
        margin: metres kept from the obstacle.
        gravity: metres of fall a step.
        stiffness: 0..1, how much each step evens out the bending.

    Returns:
        [R, C, 3].
    """
    around_rest, along_rest = _lengths(rest, closed)
    rows, columns, _ = points.shape
    free = torch.ones(rows, 1, 1, device=points.device)
    free[:pinned] = 0
    fall = torch.tensor([0.0, -gravity, 0.0], device=points.device)
    velocity = torch.zeros_like(points)
    for _ in range(steps):
        before = points
        points = points + free * (0.85 * velocity + fall)
        for _inner in range(2):
            if closed:
                across = points.roll(-1, 1) - points
            else:
                across = points[:, 1:] - points[:, :-1]
            length = across.norm(dim=-1, keepdim=True).clamp_min(1e-6)
            # Cloth folds rather than shortens: only stretching is resisted fully.
            excess = across * (1 - around_rest / length)
            excess = torch.where(length > around_rest, excess, 0.4 * excess) * 0.5 * free
            if closed:
                points = points + excess - excess.roll(1, 1)
            else:
                edge = torch.zeros_like(points[:, :1])
                points = points + torch.cat([excess, edge], 1) - torch.cat([edge, excess], 1)
        if closed:
            mean = 0.5 * (points.roll(1, 1) + points.roll(-1, 1))
            points = points + free * stiffness * (mean - points)
        elif columns > 2:
            mean = points.clone()
            mean[:, 1:-1] = 0.5 * (points[:, :-2] + points[:, 2:])
            points = points + free * stiffness * (mean - points)
        if rows > 2:
            mean = points.clone()
            mean[1:-1] = 0.5 * (points[:-2] + points[2:])
            points = points + free * stiffness * (mean - points)
        # Cloth does not stretch along its threads: each row hangs at its length below the one above.
        down = (
            torch.nn.functional.normalize(points[pinned:] - points[pinned - 1 : -1], dim=-1) * along_rest[pinned - 1 :]
        )
        points = torch.cat([points[:pinned], points[pinned - 1] + down.cumsum(0)])
        pushed = obstacle.push(points.reshape(-1, 3), margin).reshape(points.shape)
        points = torch.where(free > 0, pushed, points)
        velocity = points - before
    return points
