"""Skirts, dresses and coat tails: tubes around both legs, hung from the waist and draped."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch

from ....body.model import JOINT_INDEX
from ..figure import PART_INDEX
from .noise import noise
from .parts import Piece, grid_piece
from .topology import Topology
from .tubes import Obstacle, drape


@dataclass(frozen=True)
class Skirt:
    """Attributes, metres on the template:

    top, hem: y where it begins and ends.
    ease: off the hips.
    flare: how much further out the hem is.
    pleats: count of folds around, and their depth at the hem.
    gap: half width of an open front in radians (coat tails); 0 is closed.
    """

    top: float = 0.085
    hem: float = -0.45
    ease: float = 0.012
    flare: float = 0.06
    pleats: int = 9
    depth: float = 0.012
    gap: float = 0.0


_COLUMNS = 56


def make_skirt(
    topology: Topology,
    rest: torch.Tensor,
    joints: torch.Tensor,
    transforms: torch.Tensor,
    obstacle: Obstacle,
    skirt: Skirt,
    look: int,
    seed: float,
) -> Piece:
    """Make the tube.

    Args:
        topology: the shared triangles.
        rest: [W, 3] cloth region of the person's rest body.
        joints: [24, 3] rest joints.
        transforms: [24, 3, 4].
        obstacle: legs and hips, posed.
        skirt: what to make.
        look: number.
        seed: offset of noise.
    """
    device = rest.device
    # The template's heights on this person: hips and knees are where they are.
    template_hip, template_ankle = -0.083, -0.895
    hip, ankle = joints[1, 1], joints[JOINT_INDEX["left_ankle"], 1]
    waist = joints[JOINT_INDEX["spine1"], 1]

    def height(y: float) -> torch.Tensor:
        if y > template_hip:
            return hip + (y - template_hip) * (waist - hip) / (0.083 - template_hip)
        return hip + (y - template_hip) * (ankle - hip) / (template_ankle - template_hip)

    rows = max(8, int((skirt.top - skirt.hem) / 0.028))
    y = torch.stack([height(skirt.top + (skirt.hem - skirt.top) * k / (rows - 1)) for k in range(rows)])
    step = 2 * math.pi / _COLUMNS
    if skirt.gap > 0:
        azimuth = torch.linspace(skirt.gap, 2 * math.pi - skirt.gap, _COLUMNS, device=device)
    else:
        azimuth = torch.arange(_COLUMNS, device=device) * step
    direction = torch.stack([azimuth.sin(), azimuth.cos()], -1)
    trunk = rest[(topology.limb[:, 0] < 0)][::2]
    centre = joints[0, [0, 2]]
    reach = (trunk[:, [0, 2]] - centre) @ direction.T  # [n, C]
    near = (trunk[:, None, 1] - y[None]).abs() < 0.025  # [n, R]
    support = torch.where(near[:, :, None], reach[:, None], reach.new_tensor(-1.0)).amax(0)  # [R, C]
    # At the waistband the cloth lies on the body, hollows and all; further down it spans them.
    aligned = reach > 0.98 * (trunk[:, [0, 2]] - centre).norm(dim=1, keepdim=True)
    radial = torch.where(near[:, :, None] & aligned[:, None], reach[:, None], reach.new_tensor(-1.0)).amax(0)
    fitted = torch.where(radial > 0, radial, support)
    spanned = ((skirt.top - torch.linspace(skirt.top, skirt.hem, rows, device=device)) / 0.16).clamp(0, 1)[:, None]
    support = torch.lerp(fitted, support, spanned)
    # Below the fullest part the cloth falls straight from there.
    fullest = torch.cummax(torch.where((y > hip - 0.06)[:, None], support, support.new_tensor(-1.0)), 0).values
    down = torch.linspace(0, 1, rows, device=device)
    above = (y > hip - 0.02)[:, None]
    radius = torch.where(above, support, fullest) + skirt.ease * (0.45 + 0.55 * spanned)
    for _ in range(3):
        radius = torch.cat([radius[:1], (radius[:-2] + radius[1:-1] + radius[2:]) / 3, radius[-1:]])
        if skirt.gap == 0:
            radius = (radius.roll(1, 1) + 2 * radius + radius.roll(-1, 1)) / 4
    wobble = noise(torch.stack([azimuth * 1.5, azimuth * 0 + seed, azimuth * 0], -1))[:, 0]
    pleat = torch.cos(azimuth * skirt.pleats + 1.5 * wobble)
    radius = radius + down[:, None] ** 1.2 * (skirt.flare + skirt.depth * pleat)
    points = torch.stack(
        [centre[0] + radius * direction[:, 0], y[:, None].expand_as(radius), centre[1] + radius * direction[:, 1]], -1
    )
    # Skinned start: the front follows the thighs, the middle stays with the pelvis.
    side = torch.sigmoid((points[..., 0] - centre[0]) / 0.04)
    leg = 0.75 * ((hip + 0.05 - points[..., 1]) / 0.25).clamp(0, 1)
    weights = torch.stack([1 - leg, leg * side, leg * (1 - side)], -1)
    blended = torch.einsum("rcj,jab->rcab", weights, transforms[[0, 1, 2]])
    start = (blended[..., :3] @ points[..., None])[..., 0] + blended[..., 3]
    closed = skirt.gap == 0
    draped = drape(
        start, points, obstacle, closed=closed, pinned=2, steps=14, margin=0.012 + 0.5 * skirt.ease, stiffness=0.10
    )
    hem = ((1 - down) * (skirt.top - skirt.hem))[:, None].expand(-1, _COLUMNS)
    template_y = torch.linspace(skirt.top, skirt.hem, rows, device=device)
    local = torch.stack(
        [
            0.16 * direction[:, 0].expand(rows, -1),
            template_y[:, None].expand(-1, _COLUMNS),
            0.16 * direction[:, 1].expand(rows, -1),
        ],
        -1,
    )
    turn = torch.cat([azimuth, azimuth[-1:] + step]) if closed else azimuth
    return grid_piece(
        draped,
        closed=closed,
        around=turn * 0.19,
        along=template_y,
        part=PART_INDEX["legs"],
        look=look,
        hem=hem,
        position=local,
    )
