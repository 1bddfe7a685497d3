"""Garments that follow the body: shells cut from the body's own triangles, held off it, smoothed, folded and hemmed."""

from __future__ import annotations

from dataclasses import dataclass

import torch

from .noise import fractal, noise
from .parts import Piece
from .topology import Mesh, Topology


@dataclass(frozen=True)
class Cut:
    """Which part of trunk and limbs a garment covers, in template metres (pelvis joint at y = 0, neck at 0.47).

    Attributes:
        sleeve: how far out sleeves reach (shoulder 0.18, elbow 0.43, wrist 0.66); 0 has none.
        bottom: y of the lower hem (-0.9 ankle, -0.46 knee, -0.09 crotch).
        top: y of the upper hem; large for garments that end at the neck.
        neck: y of the neckline at the sides of the neck; large closes it up to the chin.
        neck_front: how much lower the neckline is in front.
        vee: depth of a V below the neckline.
        opening: half width of an open front; 0 is closed.
        straps: half width that is left of the shoulders (sleeveless tops); 0 leaves them whole.
        band: (x, half width, lowest y) of a pair of bands over the shoulders: what a backpack hangs on. Nothing else
            of the cut counts then.
        sash: (slope, y on the middle line, half width) of a band across the trunk: the strap of a bag. As above.
    """

    sleeve: float = 0.0
    bottom: float = -0.02
    top: float = 9.0
    neck: float = 0.46
    neck_front: float = 0.05
    vee: float = 0.0
    opening: float = 0.0
    straps: float = 0.0
    band: tuple[float, float, float] | None = None
    sash: tuple[float, float, float] | None = None


def cut_field(cut: Cut, topology: Topology) -> torch.Tensor:
    """[W] metres inside the garment's border, negative outside; roughly a distance near the border."""
    place = topology.cloth.template
    x, y, z = place.unbind(1)
    arm = topology.limb[:, 0]
    if cut.band is not None:
        centre, half, low = cut.band
        return torch.minimum(half - (x.abs() - centre).abs(), torch.where(arm > 0.16, 0.16 - arm, y - low))
    if cut.sash is not None:
        slope, middle, half = cut.sash
        field = half - (y - middle - slope * x).abs() / (1 + slope**2) ** 0.5
        return torch.where(arm > 0.15, torch.minimum(field, 0.15 - arm), torch.minimum(field, y + 0.09))
    field = torch.minimum(y - cut.bottom, cut.top - y)
    on_arm = arm > 0
    field = torch.where(on_arm & (arm > 0.2), torch.full_like(field, 9.0), field)
    field = torch.minimum(field, torch.where(on_arm, cut.sleeve - arm, torch.full_like(field, 9.0)))
    # The neckline is a plane that falls to the front.
    front = (z + 0.06).clamp(0, 0.16) / 0.16
    neckline = cut.neck - cut.neck_front * front
    if cut.vee > 0:
        neckline = neckline - cut.vee * (1 - x.abs() / (0.45 * cut.vee + 0.03)).clamp_min(0) * (z > 0.03)
    slope = torch.where(x.abs() < 0.16, neckline - y, torch.full_like(y, 9.0))
    field = torch.minimum(field, slope)
    if cut.straps > 0:
        gap = (x.abs() - 0.105 + cut.straps).abs() - cut.straps
        field = torch.minimum(field, torch.where(y > 0.33, -gap, torch.full_like(y, 9.0)))
    if cut.opening > 0:
        # The edges part towards the hem.
        half = cut.opening * (0.35 + 1.2 * (0.42 - y).clamp(0, 0.6))
        field = torch.minimum(field, torch.where(z > 0.0, x.abs() - half, torch.full_like(y, 9.0)))
    return field


@dataclass(frozen=True)
class Fit:
    """How a garment hangs.

    Attributes:
        thickness: metres off the skin (or off what is worn below).
        slack: metres that the cloth may stand off further, on the trunk.
        limb_slack: the same on sleeves and legs.
        flare: metres more at the lower hem or at the cuffs of trousers.
        cuff: metres more at the sleeves' ends.
        smooth: steps of smoothing: how far the cloth bridges hollows.
        folds: metres, height of folds.
        collar: metres that a band along the neckline stands out (0 none).
        hood: metres of a hood that lies on the back (0 none).
    """

    thickness: float
    slack: float = 0.01
    limb_slack: float = 0.01
    flare: float = 0.0
    cuff: float = 0.0
    smooth: int = 6
    folds: float = 0.003
    collar: float = 0.0
    hood: float = 0.0


def _slack(cut: Cut, fit: Fit, topology: Topology) -> torch.Tensor:
    """[W] metres beyond the thickness."""
    _x, y, _z = topology.cloth.template.unbind(1)
    arm = topology.limb[:, 0]
    along_arm = ((arm - 0.2) / max(cut.sleeve - 0.2, 0.05)).clamp(0, 1)
    trunk = fit.slack * (0.35 + 0.65 * ((0.42 - y) / 0.35).clamp(0, 1))
    leg = ((-0.08 - y) / 0.1).clamp(0, 1)
    down = ((-0.1 - y) / max(-0.1 - cut.bottom, 0.1)).clamp(0, 1)
    lower = fit.limb_slack * (0.7 + 0.3 * down) + fit.flare * down**1.5
    slack = torch.lerp(trunk, lower, leg)
    sleeve = fit.limb_slack * (0.6 + 0.4 * along_arm) + fit.cuff * along_arm
    slack = torch.where(arm > 0.16, torch.lerp(trunk, sleeve, ((arm - 0.16) / 0.06).clamp(0, 1)), slack)
    # Shirts flare below the waist where no leg divides them.
    if cut.bottom > -0.35 and fit.flare > 0:
        slack = slack + fit.flare * ((0.1 - y) / 0.2).clamp(0, 1) * (arm < 0) * (1 - leg)
    return slack


def _folds(topology: Topology, fit: Fit, flex: dict[str, float], seed: float, slack: torch.Tensor) -> torch.Tensor:
    """[W] metres: folds around bent joints, hanging folds on loose cloth, and a little everywhere."""
    place = topology.cloth.template
    x, y, z = place.unbind(1)
    arm = topology.limb[:, 0]
    side = torch.where(x > 0, 1.0, -1.0)
    # Across the limb: short along its axis, long around it, slanted by slow noise.
    slant = noise(place * 6 + seed)[:, 0] * 0.025
    on_arm = (arm > 0.16)[:, None]
    across = torch.where(
        on_arm,
        torch.stack([(x + slant) * 26, y * 9, z * 9 + 3 * side], -1),
        torch.stack([x * 10, (y + 1.6 * slant + 0.45 * x.abs()) * 19, z * 10 + 3 * side * (y < -0.1)], -1),
    )
    ridge = 1 - 2 * fractal(across + seed, 2)[:, 0].abs()
    # Hanging: short around, long along.
    hanging = noise(torch.stack([x * 22, y * 4 + 5, z * 22], -1) + seed)[:, 0]
    strength = 0.22 + 0.0 * x
    for name, at_x, at_y, reach in (
        ("elbow", 0.434, None, 0.07),
        ("shoulder", 0.19, None, 0.06),
        ("knee", None, -0.461, 0.08),
        ("hip", None, -0.07, 0.07),
        ("waist", None, 0.10, 0.08),
        ("ankle", None, -0.84, 0.07),
    ):
        for sign, prefix in ((1.0, "left_"), (-1.0, "right_")):
            bent = flex.get(prefix + name, flex.get(name, 0.0))
            near = (arm - at_x) if at_x is not None else torch.where(arm > 0.2, torch.ones_like(y), y - at_y)
            strength = strength + bent * torch.exp(-((near / reach) ** 2)) * (side == sign)
    loose = (slack / 0.03).clamp(0, 1.5)
    height = 1.5 * fit.folds * (strength * ridge + 0.5 * loose * hanging)
    return height


def snap(field: torch.Tensor, points: torch.Tensor, mesh: Mesh) -> tuple[torch.Tensor, torch.Tensor]:
    """Move the first vertices outside the border onto it.

    Returns:
        (points [W, 3], inside: bool [W] of vertices truly inside).
    """
    inside = field > 0
    around = mesh.neighbours
    near = inside[around]
    share = field[around] / (field[around] - field[:, None]).clamp_min(1e-6)
    crossing = torch.lerp(points[around], points[:, None].expand(-1, around.shape[1], -1), share[..., None])
    count = near.sum(1)
    mean = (crossing * near[..., None]).sum(1) / count.clamp_min(1)[:, None]
    return torch.where((~inside & (count > 0))[:, None], mean, points), inside


def shell(
    topology: Topology,
    posed: torch.Tensor,
    normals: torch.Tensor,
    cut: Cut,
    fit: Fit,
    flex: dict[str, float],
    seed: float,
    look: int,
    hidden: torch.Tensor | None = None,
) -> tuple[Piece, torch.Tensor]:
    """Make one garment.

    Args:
        topology: the shared triangles.
        posed: [W, 3] cloth vertices of the posed body.
        normals: [W, 3].
        cut, fit: what and how.
        flex: 0..1 by joint name (and "waist"): how much each is bent.
        seed: offset of the noise.
        look: number of the look.
        hidden: bool [W] vertices that another garment hides; faces with only such are left out.

    Returns:
        (the piece, field [W] of the cut).
    """
    field = cut_field(cut, topology)
    slack = _slack(cut, fit, topology)
    thickness = torch.full_like(slack, fit.thickness)
    x, y, z = topology.cloth.template.unbind(1)
    if fit.collar > 0:
        near_neck = (x.abs() < 0.13) & (y > 0.3)
        thickness = thickness + fit.collar * ((0.04 - field) / 0.03).clamp(0, 1) * near_neck
    if fit.hood > 0:
        bump = torch.exp(-(((y - 0.42) / 0.05) ** 2) - ((x / 0.10) ** 4)) * (z < 0.03)
        bump = bump + 0.45 * torch.exp(-(((field - 0.02) / 0.03) ** 2)) * (x.abs() < 0.13) * (y > 0.3)
        thickness = thickness + fit.hood * bump
    # Slack cloth rests on what faces up and hangs under what faces down.
    downward = (-normals[:, 1]).clamp(-1, 1)
    hang = slack * (0.55 + 0.45 * downward)
    fall = slack * (0.5 + 0.5 * downward) * 0.8
    points = posed + normals * (thickness + hang)[:, None]
    points = points - torch.stack([torch.zeros_like(fall), fall, torch.zeros_like(fall)], -1)
    looseness = (slack / 0.02).clamp(0.15, 0.9)[:, None]
    for _ in range(fit.smooth):
        points = topology.cloth.mesh.smooth(points, 0.7 * looseness)
        short = thickness - ((points - posed) * normals).sum(1)
        points = points + normals * short.clamp_min(0)[:, None]
    cloth_normals = topology.cloth.mesh.normals(points)
    height = _folds(topology, fit, flex, seed, slack)
    room = ((points - posed) * normals).sum(1) - 0.6 * thickness
    points = points + cloth_normals * torch.maximum(height, -room.clamp_min(0))[:, None]
    points, inside = snap(field, points, topology.cloth.mesh)
    cloth_normals = topology.cloth.mesh.normals(points)

    faces = topology.cloth.mesh.faces
    corner_inside = inside[faces]
    kept = corner_inside.any(1)
    if hidden is not None:
        kept = kept & ~hidden[faces].all(1)
    count = len(points)
    # The hem: border edges (opposite the only inside corner) are turned in towards the skin.
    border = kept & (corner_inside.sum(1) == 1)
    edge_faces = faces[border]
    lone = corner_inside[border].long().argmax(1)
    rows = torch.arange(len(edge_faces), device=faces.device)
    a, b = edge_faces[rows, (lone + 1) % 3], edge_faces[rows, (lone + 2) % 3]
    inner = posed + (points - posed) * 0.25
    inner, _ = snap(field, inner, topology.cloth.mesh)
    hem_faces = torch.cat([torch.stack([b, a, a + count], -1), torch.stack([b, a + count, b + count], -1)])
    all_faces = torch.cat([faces[kept], hem_faces])
    fabric = torch.cat(
        [
            topology.fabric[kept],
            topology.fabric[border][rows, (lone + 1) % 3][:, None].expand(-1, 3, -1).repeat(2, 1, 1),
        ]
    )
    template = torch.stack([x, y, z], -1)
    hem = torch.where(inside, field, torch.zeros_like(field))
    piece = Piece(
        vertices=torch.cat([points, inner]),
        normals=torch.cat([cloth_normals, cloth_normals]),
        faces=all_faces,
        position=torch.cat([template, template]),
        fabric=fabric,
        hem=torch.cat([hem, torch.zeros_like(hem)]),
        spare=(height / max(fit.folds, 1e-4)).clamp(-1.5, 1.5).repeat(2),
        part=torch.cat([topology.cloth_part[kept], topology.cloth_part[border].repeat(2)]),
        two_sided=True,
        look=look,
    )
    return piece, field
