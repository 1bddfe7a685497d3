"""Shoes lofted around the person's own feet."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch

from ....body.model import JOINT_INDEX
from ..figure import PART_INDEX
from .looks import Colour, Look, blend, line, linear, ramp
from .noise import fractal
from .parts import Piece, grid_piece


@dataclass(frozen=True)
class Shoe:
    """Attributes: kind: sneaker, leather, boot; colours display sRGB; sole: metres."""

    kind: str
    upper: Colour
    sole_colour: Colour
    trim: Colour
    sole: float = 0.022


def make_shoes(
    rest: torch.Tensor, joints: torch.Tensor, transforms: torch.Tensor, weights: torch.Tensor, shoe: Shoe, look: int
) -> list[Piece]:
    """Both shoes.

    Args:
        rest: [V, 3] the person's rest vertices (body file's).
        joints: [24, 3] rest joints.
        transforms: [24, 3, 4] rest to posed.
        weights: [V, 24] skinning weights.
        shoe: what to make.
        look: number.
    """
    pieces = []
    rows, columns = 22, 24
    device = rest.device
    for side in ("left", "right"):
        ankle, toe = (JOINT_INDEX[f"{side}_{n}"] for n in ("ankle", "foot"))
        foot = rest[(weights[:, ankle] + weights[:, toe] > 0.5)]
        low, high = foot.min(0).values, foot.max(0).values
        length = high[2] - low[2]
        centre_x = joints[ankle, 0]
        toe_x = joints[toe, 0]
        back, front = low[2] - 0.008, high[2] + 0.014 + (0.02 if shoe.kind == "leather" else 0.0)
        t = torch.linspace(0, 1, rows, device=device)
        # Profiles along the foot, from heel to toe: half width, height of the upper, middle line.
        eased = (1 - 0.995 * (2 * t - 1).abs() ** 4) ** 0.42
        width = (0.031 + 0.017 * torch.exp(-(((t - 0.72) / 0.24) ** 2))) * eased
        rise = torch.where(t < 0.38, 0.083 - 0.01 * t, 0.038 + 0.041 * torch.exp(-(((t - 0.38) / 0.21) ** 2)))
        rise = rise * (0.35 + 0.65 * eased)
        scale = length / 0.26
        z = back + (front - back) * t
        x = centre_x + (toe_x - centre_x) * (t * 1.4 - 0.25).clamp(0, 1)
        ground = low[1] - 0.004
        a = torch.arange(columns, device=device) * (-2 * math.pi / columns)
        cos, sin = a.cos(), a.sin()
        # A squarish section: flat sole, rounded upper.
        wide = cos.sign() * cos.abs() ** 0.75
        tall = torch.where(sin > 0, sin.abs() ** 0.85, -(sin.abs() ** 0.35))
        half = 0.5 * (rise * scale)[:, None]
        flare = 1 + 0.10 * (sin < -0.3)[None]
        points = torch.stack(
            [
                x[:, None] + (width * scale)[:, None] * wide[None] * flare,
                ground + half + half * tall[None] + 0 * wide[None],
                z[:, None].expand(-1, columns),
            ],
            -1,
        )
        share = ((z - (joints[toe, 2] - 0.025)) / 0.05).clamp(0, 1)
        share = (share * share * (3 - 2 * share))[:, None, None]
        blend_ = transforms[ankle] * (1 - share[..., None]) + transforms[toe] * share[..., None]
        posed = (blend_[..., :3] @ points[..., None])[..., 0] + blend_[..., 3]
        local = torch.stack(
            [
                (points[..., 0] - x[:, None]) / scale,
                (points[..., 1] - ground) / scale,
                (t[:, None] * 0.27).expand(-1, columns),
            ],
            -1,
        )
        turn = torch.arange(columns + 1, device=device) * (2 * math.pi / columns)
        piece = grid_piece(
            posed,
            closed=True,
            around=turn * 0.04,
            along=t * 0.27,
            part=PART_INDEX["feet"],
            look=look,
            position=local,
            two_sided=False,
            caps=True,
        )
        pieces.append(piece)
    return pieces


def shoe_look(shoe: Shoe) -> Look:
    """The look of shoes; positions are (across, up, along) in metres of a shoe 27 cm long."""

    def look(corners: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        device = corners.device
        x, up, along = corners[:, 0], corners[:, 1], corners[:, 2]
        grain = fractal(corners[:, :3] * 90, 2)[:, 0]
        base = linear(shoe.upper, device) * (1 + 0.06 * grain)[:, None]
        trim, sole = linear(shoe.trim, device), linear(shoe.sole_colour, device)
        if shoe.kind == "sneaker":
            base = blend(base, trim, 1 - ramp(along, 0.035, 0.037))
            base = blend(base, trim, ramp(along - 0.4 * up, 0.225, 0.227))
            swoosh = (
                line(up - 0.030 - 0.12 * (along - 0.12), 0.006) * (along > 0.08) * (along < 0.2) * (x.abs() > 0.018)
            )
            base = blend(base, trim, swoosh)
        laces = (x.abs() < 0.014) * (along > 0.115) * (along < 0.185) * (up > 0.04)
        if shoe.kind in ("sneaker", "leather", "boot"):
            stripes = ramp(torch.sin(along * 2 * math.pi / 0.012), 0.1, 0.4)
            lace = trim if shoe.kind == "sneaker" else linear(shoe.upper, device) * 0.5
            base = blend(base, lace, laces * stripes)
        opening = ramp(up - 0.055 - 0.12 * (0.07 - along).clamp_min(0), 0.0, 0.003) * (along < 0.10)
        base = base * (1 - 0.45 * opening)[:, None]
        height = shoe.sole + (0.012 * ramp(0.09 - along, 0.0, 0.02) if shoe.kind == "leather" else 0.0)
        edge = 1 - ramp(up, height - 0.0015, height + 0.0015)
        base = blend(base, sole, edge)
        base = base * (1 - 0.3 * line(up - height, 0.0015))[:, None]
        gloss = {"leather": 0.5, "boot": 0.3}.get(shoe.kind, 0.1)
        return base.clamp_min(0.004), torch.full_like(x, gloss)

    return look
