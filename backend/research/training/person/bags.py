"""Bags: a rounded box on the back, at the hip, or hanging from a hand."""

from __future__ import annotations

import math

import torch

from ..figure import PART_INDEX
from .parts import Piece, grid_piece


def rounded_box(
    half: tuple[float, float, float], device: torch.device | str, rows: int = 14, columns: int = 28
) -> torch.Tensor:
    """[rows, columns, 3] superellipsoid of half sizes ``half`` (metres) about the origin."""
    theta = torch.linspace(0.02, math.pi - 0.02, rows, device=device)[:, None].expand(-1, columns)
    phi = (torch.arange(columns, device=device) * (2 * math.pi / columns))[None].expand(rows, -1)

    def power(value: torch.Tensor, exponent: float) -> torch.Tensor:
        return value.sign() * value.abs() ** exponent

    ring = power(theta.sin(), 0.35)
    unit = torch.stack([ring * power(phi.sin(), 0.4), power(theta.cos(), 0.4), ring * power(phi.cos(), 0.4)], -1)
    return unit * torch.tensor(half, device=device)


def bag(
    centre: tuple[float, float, float], half: tuple[float, float, float], transform: torch.Tensor, look: int
) -> Piece:
    """A bag fixed to a joint.

    Args:
        centre: in the joint's rest space, metres.
        half: half sizes.
        transform: [3, 4] rest to posed.
        look: number.
    """
    device = transform.device
    local = rounded_box(half, device)
    points = (local + torch.tensor(centre, device=device)) @ transform[:, :3].T + transform[:, 3]
    return _piece(points, local, look)


def hanging_bag(
    hand: torch.Tensor, half: tuple[float, float, float], drop: float, outward: torch.Tensor, look: int
) -> list[Piece]:
    """A bag that hangs from a posed ``hand`` [3] by handles, ``drop`` metres long; ``outward`` [3] is its flat side."""
    device = hand.device
    up = torch.tensor([0.0, 1.0, 0.0], device=device)
    flat = torch.nn.functional.normalize(outward * torch.tensor([1.0, 0.0, 1.0], device=device), dim=0)
    along = torch.linalg.cross(up, flat)
    frame = torch.stack([along, up, flat], 1)
    local = rounded_box(half, device)
    centre = hand - up * (drop + half[1])
    pieces = [_piece(local @ frame.T + centre, local, look)]
    # Handles: a flat band from one end of the bag over the hand to the other.
    turn = torch.linspace(0, math.pi, 15, device=device)
    arc = torch.stack([-0.6 * half[0] * turn.cos(), (drop + 0.02) * turn.sin().clamp_min(0) ** 0.7, 0 * turn], -1)
    for side in (-0.5, 0.5):
        middle = arc + torch.tensor([0.0, half[1] - 0.01, side * half[2]], device=device) * torch.stack(
            [0 * turn, 1 + 0 * turn, (1 - turn.sin())], -1
        )
        band = torch.stack([middle + torch.tensor([0.0, 0.0, w], device=device) for w in (-0.012, 0.012)], 1)
        pieces.append(
            grid_piece(
                band @ frame.T + centre,
                closed=False,
                around=torch.tensor([0.0, 0.02], device=device),
                along=turn * 0.1,
                part=PART_INDEX["torso"],
                look=look,
                position=band,
            )
        )
    return pieces


def _piece(points: torch.Tensor, local: torch.Tensor, look: int) -> Piece:
    columns = points.shape[1]
    device = points.device
    turn = torch.arange(columns + 1, device=device) * (2 * math.pi / columns)
    return grid_piece(
        points,
        closed=True,
        around=turn * 0.12,
        along=local[:, 0, 1],
        part=PART_INDEX["torso"],
        look=look,
        position=local,
        two_sided=False,
        caps=True,
    )
