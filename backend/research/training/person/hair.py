"""Hair, beards and hats: shells off the scalp, hanging sheets, tails and buns."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import torch

from ..figure import PART_INDEX
from .noise import fractal, noise
from .parts import Piece, grid_piece
from .shells import snap
from .topology import Topology
from .tubes import Obstacle

HEAD_CENTRE = (0.0, 0.63, 0.055)
HEAD_RADII = (0.072, 0.093, 0.098)
"""An ellipsoid through the template's skull, metres."""
_CROWN = (0.0, 0.723, 0.03)


@dataclass(frozen=True)
class HairStyle:
    """Attributes, lengths in metres:

    shell: thickness of hair on the scalp (0 is bald).
    bulk: more of it on the top.
    rough: height of curls and tufts; roughness: their count a metre.
    hairline: how far the hair grows into the forehead (+) or recedes (-).
    fringe: how far a fringe falls over the forehead (0 none).
    hanging: length of the sheet that hangs from the head (0 none).
    opening: degrees from straight ahead where the sheet begins on each side.
    wave: height of waves in the sheet.
    tail: length of a pony tail (0 none); tail_height: 0 low to 1 on the crown.
    bun: radius of a bun (0 none).
    parting: x of a parting, None without.
    combed: strands run back instead of down from the crown.
    """

    shell: float = 0.012
    bulk: float = 0.01
    rough: float = 0.003
    roughness: float = 60.0
    hairline: float = 0.0
    fringe: float = 0.0
    hanging: float = 0.0
    opening: float = 70.0
    wave: float = 0.004
    tail: float = 0.0
    tail_height: float = 0.5
    bun: float = 0.0
    parting: float | None = None
    combed: bool = False


def _azimuth(template: torch.Tensor) -> torch.Tensor:
    """Radians around the head's vertical axis; 0 ahead, pi behind; [W]."""
    return torch.atan2(template[:, 0], template[:, 2] - HEAD_CENTRE[2])


def hairline_field(template: torch.Tensor, style: HairStyle) -> torch.Tensor:
    """[W] metres above the hairline, negative on the face and the neck."""
    turn = _azimuth(template).abs() * 180 / math.pi
    knots = torch.tensor([0.0, 25.0, 48.0, 62.0, 80.0, 98.0, 112.0, 130.0, 155.0, 180.0], device=template.device)
    front = 0.6765 - style.hairline - style.fringe
    heights = torch.tensor(
        [
            front,
            front,
            0.664 - 0.5 * style.hairline - 0.4 * style.fringe,
            0.628,
            0.598,
            0.628,
            0.60,
            0.553,
            0.535,
            0.533,
        ],
        device=template.device,
    )
    index = torch.searchsorted(knots, turn.contiguous()).clamp(1, len(knots) - 1)
    share = (turn - knots[index - 1]) / (knots[index] - knots[index - 1])
    height = torch.lerp(heights[index - 1], heights[index], share)
    field = template[:, 1] - height
    x, y, z = template.unbind(1)
    ear = (x.abs() > 0.0725) & (y > 0.562) & (y < 0.652) & (z > 0.0) & (z < 0.078)
    return torch.where(ear, torch.minimum(field, 0.0725 - x.abs()), field)


def _strand_coordinates(template: torch.Tensor, faces: torch.Tensor, combed: bool) -> torch.Tensor:
    """[F, 3, 2] metres across and along strands."""
    corner = template[faces]
    x, y, z = corner.unbind(-1)
    if combed:
        return torch.stack([x, z], -1)
    angle = torch.atan2(x, z - _CROWN[2])
    angle = angle - 2 * math.pi * torch.round((angle - angle[:, :1]) / (2 * math.pi))
    radius = ((x - _CROWN[0]) ** 2 + (y - _CROWN[1]) ** 2 + (z - _CROWN[2]) ** 2).sqrt()
    return torch.stack([angle * 0.075, radius], -1)


def scalp_shell(
    topology: Topology,
    posed: torch.Tensor,
    field: torch.Tensor,
    thickness: torch.Tensor,
    look: int,
    *,
    part: int,
    smooth: int,
    seed: float,
    rough: float = 0.0,
    roughness: float = 60.0,
    combed: bool = False,
) -> Piece:
    """A shell off the head where ``field`` [W] is positive.

    Args:
        topology: the shared triangles.
        posed: [W, 3] head region of the posed body.
        field: metres inside the border.
        thickness: [W] metres.
        look: number.
        part: label.
        smooth: smoothing steps before the shell is raised: hides ears and brows.
        seed: offset of noise.
        rough, roughness: height (metres) and count a metre of tufts.
        combed: see :class:`HairStyle`.
    """
    region = topology.head
    base = posed
    for _ in range(smooth):
        base = region.mesh.smooth(base, 0.6)
    normals = region.mesh.normals(base)
    skin = region.mesh.normals(posed)
    height = thickness
    if rough > 0:
        tuft = fractal(region.template * roughness + seed, 2)[:, 0]
        height = height + rough * tuft * (thickness / thickness.max().clamp_min(1e-4)).sqrt()
    points = base + normals * height[:, None]
    short = 0.6 * thickness - ((points - posed) * skin).sum(1)
    points = points + skin * short.clamp(0, 0.05)[:, None]
    points, inside = snap(field, points, region.mesh)
    # The border lies on the skin.
    border = (~inside)[:, None]
    points = torch.where(border, points - 0.7 * normals * thickness[:, None], points)
    faces = region.mesh.faces
    kept = inside[faces].any(1)
    return Piece(
        vertices=points,
        normals=region.mesh.normals(points),
        faces=faces[kept],
        position=region.template,
        fabric=_strand_coordinates(region.template, faces[kept], combed),
        hem=field.clamp_min(0),
        spare=(0.2 + 0.5 * (field / 0.1)).clamp(0, 1),
        part=torch.full((int(kept.sum()),), part, device=posed.device),
        two_sided=False,
        look=look,
    )


def make_hair(
    topology: Topology,
    head: torch.Tensor,
    transform: torch.Tensor,
    to_shape: torch.Tensor,
    obstacle: Obstacle,
    style: HairStyle,
    look: int,
    seed: float,
    under_hat: bool = False,
) -> list[Piece]:
    """All pieces of a hair style.

    Args:
        topology: the shared triangles.
        head: [W, 3] head region of the posed body.
        transform: [3, 4] from the person's rest position to the posed head.
        to_shape: [3, 4] from template to the person's rest head (scale and shift).
        obstacle: body and clothes.
        style: what to make.
        look: number.
        seed: offset of noise.
        under_hat: pressed flat.
    """
    if style.shell <= 0:
        return []
    if under_hat:
        style = replace(style, shell=min(style.shell, 0.005), bulk=0.0, rough=0.001, fringe=0.0, parting=None)
    template = topology.head.template
    field = hairline_field(template, style)
    rise = (field / 0.035).clamp(0, 1)
    top = ((template[:, 1] - 0.66) / 0.05).clamp(0, 1)
    thickness = 0.0015 + style.shell * rise * (3 - 2 * rise) * rise + style.bulk * top * rise
    if style.fringe > 0:
        low = (field / 0.012).clamp(0, 1)
        ahead = torch.exp(-((_azimuth(template) / 0.9) ** 4)) * (template[:, 1] > 0.62)
        thickness = torch.maximum(thickness, 0.009 * low * ahead)
    pieces = [
        scalp_shell(
            topology,
            head,
            field,
            thickness,
            look,
            part=PART_INDEX["hair"],
            smooth=3,
            seed=seed,
            rough=style.rough,
            roughness=style.roughness,
            combed=style.combed,
        )
    ]
    place = _Placer(transform, to_shape)
    if style.hanging > 0:
        pieces.append(_sheet(place, obstacle, style, look, seed, 1.2 if under_hat else 0.12))
    if style.tail > 0:
        pieces.append(_tail(place, obstacle, style, look, seed))
    if style.bun > 0:
        pieces.append(_bun(place, style, look, seed))
    return pieces


@dataclass(frozen=True)
class _Placer:
    """Takes template positions near the head to the posed person."""

    transform: torch.Tensor
    to_shape: torch.Tensor

    def __call__(self, points: torch.Tensor) -> torch.Tensor:
        rest = points @ self.to_shape[:, :3].T + self.to_shape[:, 3]
        return rest @ self.transform[:, :3].T + self.transform[:, 3]


def _skull(azimuth: torch.Tensor, polar: torch.Tensor, off: float | torch.Tensor) -> torch.Tensor:
    """Template points on the skull's ellipsoid, ``off`` metres outside; ``polar`` 0 is the crown."""
    direction = torch.stack([polar.sin() * azimuth.sin(), polar.cos() + 0 * azimuth, polar.sin() * azimuth.cos()], -1)
    device = azimuth.device
    radii = torch.tensor(HEAD_RADII, device=device) + torch.as_tensor(off, device=device)[..., None]
    return torch.tensor(HEAD_CENTRE, device=device) + direction * radii


def _grid_noise(down: torch.Tensor, across: torch.Tensor, seed: float) -> torch.Tensor:
    """Noise [R, C] on a grid of rows at ``down`` [R] and columns at ``across`` [C]."""
    y, x = torch.meshgrid(down, across, indexing="ij")
    return noise(torch.stack([x, y, torch.full_like(x, seed)], -1).reshape(-1, 3))[:, 0].reshape(x.shape)


def _sheet(place: _Placer, obstacle: Obstacle, style: HairStyle, look: int, seed: float, top: float) -> Piece:
    device = place.transform.device
    columns = 44
    opening = math.radians(style.opening)
    # Columns run to the right as seen from outside: from the person's left front around the back to the right.
    azimuth = torch.linspace(opening, 2 * math.pi - opening, columns, device=device)
    skull_rows = 9
    polar = torch.linspace(top, 1.55, skull_rows, device=device)
    across = torch.linspace(-1, 1, columns, device=device)
    # At its front edges the sheet comes out of the hair on the scalp.
    rise = 1 - across.abs() ** 6
    off = (style.shell + style.bulk * (1 - polar / 1.6))[:, None] * (0.5 + 0.5 * rise) + 0.006 * rise
    skull = _skull(azimuth[None].expand(skull_rows, -1), polar[:, None].expand(-1, columns), off)
    head = place(skull.reshape(-1, 3)).reshape(skull_rows, columns, 3)
    rows = max(6, int(style.hanging / 0.02))
    step = style.hanging / rows
    # Strands at the front are a little shorter.
    lengths = step * (1 - 0.18 * across.abs() ** 3)[:, None] * torch.ones(1, 3, device=device)
    down = torch.tensor([0.0, -1.0, 0.0], device=device)
    start = [head[-1]]
    level = torch.tensor([1.0, 0.0, 1.0], device=device)
    outward = torch.nn.functional.normalize(head[-1] - head[-1].mean(0), dim=-1) * level
    # Long hair gathers behind the neck, so that it falls down the back and not around the shoulders like a cape.
    gather = place(torch.tensor([[0.0, 0.50, -0.015]], device=device))
    inward = (gather - head[-1]) * level
    for row in range(rows):
        depth = row * step
        lean = 0.12 * math.exp(-depth / 0.05) * outward + 7.0 * math.exp(-(((depth - 0.09) / 0.045) ** 2)) * inward * (
            style.hanging > 0.12
        )
        start.append(start[-1] + lengths * torch.nn.functional.normalize(down + lean, dim=-1))
    hanging = torch.stack(start)
    # Hair is limp: it lies where it falls. Evening it out keeps strands together.
    for _ in range(6):
        pushed = obstacle.push(hanging[1:].reshape(-1, 3), 0.012).reshape(hanging[1:].shape)
        mean = pushed.clone()
        mean[:, 1:-1] = 0.25 * pushed[:, :-2] + 0.5 * pushed[:, 1:-1] + 0.25 * pushed[:, 2:]
        even = mean.clone()
        even[1:-1] = 0.25 * mean[:-2] + 0.5 * mean[1:-1] + 0.25 * mean[2:]
        hanging = torch.cat([hanging[:1], even])
    points = torch.cat([head[:-1], hanging])
    total = len(points)
    down_share = torch.arange(total, device=device) / (total - 1)
    grid_u = across * 0.30
    ripple = _grid_noise(down_share * 7, across * 9, seed)
    wave = style.wave * (ripple + torch.sin(down_share * 22 + seed)[:, None] * 0.6) * down_share[:, None]
    centre = points.mean(1, keepdim=True)
    out = torch.nn.functional.normalize(
        (points - centre) * torch.tensor([1.0, 0.0, 1.0], device=device), dim=-1, eps=1e-6
    )
    points = points + out * wave[..., None]
    # Ragged ends.
    ragged = noise(torch.stack([across * 40, across * 0 + seed, across * 0], -1))[:, 0]
    points[-1] = points[-1] + down * (0.007 * ragged)[:, None]
    tip = (down_share * 1.2 - 0.3).clamp(0, 1)[:, None].expand(-1, columns)
    return grid_piece(
        points,
        closed=False,
        around=grid_u,
        along=down_share * (0.12 + style.hanging),
        part=PART_INDEX["hair"],
        look=look,
        spare=tip,
    )


def _tail(place: _Placer, obstacle: Obstacle, style: HairStyle, look: int, seed: float) -> Piece:
    device = place.transform.device
    polar = 1.55 - 1.0 * style.tail_height
    root = _skull(torch.tensor(math.pi, device=device), torch.tensor(polar, device=device), style.shell * 0.6)
    outer = _skull(torch.tensor(math.pi, device=device), torch.tensor(polar, device=device), style.shell + 0.06)
    a, b = place(torch.stack([root, outer])).unbind(0)
    rows, columns = 14, 12
    # Hair leaves the band to the back and at once falls.
    direction = torch.nn.functional.normalize((b - a) * torch.tensor([1.0, 0.35, 1.0], device=device), dim=0)
    down = torch.tensor([0.0, -1.0, 0.0], device=device)
    path = [a]
    step = style.tail / (rows - 1)
    for row in range(rows - 1):
        lean = 0.85 * math.exp(-row * step / 0.035)
        path.append(path[-1] + step * torch.nn.functional.normalize(direction * lean + down * (1.05 - lean), dim=0))
    path = torch.stack(path)
    share = torch.linspace(0, 1, rows, device=device)
    radius = 0.009 + 0.022 * torch.sin(share * math.pi * 0.85 + 0.15) ** 0.8 * (1 - 0.75 * share**3)
    for _ in range(4):
        pushed = obstacle.push(path, 0.012 + radius)
        path = torch.cat([path[:1], pushed[1:]])
        path = torch.cat([path[:1], 0.25 * path[:-2] + 0.5 * path[1:-1] + 0.25 * path[2:], path[-1:]])
    tangent = torch.nn.functional.normalize(torch.cat([path[1:] - path[:-1], path[-1:] - path[-2:-1]]), dim=-1)
    side = torch.nn.functional.normalize(
        place.transform[:, :3] @ torch.tensor([1.0, 0, 0], device=device), dim=0
    ).expand(rows, 3)
    side = torch.nn.functional.normalize(side - (side * tangent).sum(1, keepdim=True) * tangent, dim=-1)
    other = torch.linalg.cross(tangent, side)
    angle = torch.arange(columns, device=device) * (2 * math.pi / columns)
    ring = side[:, None] * angle.cos()[None, :, None] + other[:, None] * (-angle).sin()[None, :, None]
    bumps = _grid_noise(share * 6, angle * 2, seed)
    points = path[:, None] + ring * (radius[:, None] * (1 + 0.18 * bumps))[..., None]
    points[-1] = path[-1] + 0.3 * (points[-1] - path[-1])
    turn = torch.arange(columns + 1, device=device) * (2 * math.pi / columns)
    return grid_piece(
        points,
        closed=True,
        around=turn * 0.025,
        along=share * style.tail,
        part=PART_INDEX["hair"],
        look=look,
        spare=share[:, None].expand(-1, columns),
        caps=True,
        two_sided=False,
    )


def _bun(place: _Placer, style: HairStyle, look: int, seed: float) -> Piece:
    device = place.transform.device
    polar = torch.tensor(1.5 - 1.1 * style.tail_height, device=device)
    centre = _skull(torch.tensor(math.pi, device=device), polar, style.shell + 0.55 * style.bun)
    rows, columns = 12, 18
    theta = torch.linspace(0.05, math.pi - 0.05, rows, device=device)[:, None].expand(-1, columns)
    phi = (torch.arange(columns, device=device) * (2 * math.pi / columns))[None].expand(rows, -1)
    direction = torch.stack([theta.sin() * phi.sin(), theta.cos(), theta.sin() * phi.cos()], -1)
    bumps = noise((direction * 2.5 + seed).reshape(-1, 3))[:, 0].reshape(rows, columns)
    points = centre + direction * (style.bun * (1 + 0.12 * bumps))[..., None]
    turn = torch.arange(columns + 1, device=device) * (2 * math.pi / columns)
    return grid_piece(
        place(points.reshape(-1, 3)).reshape(rows, columns, 3),
        closed=True,
        around=turn * style.bun,
        along=theta[:, 0] * style.bun,
        part=PART_INDEX["hair"],
        look=look,
        two_sided=False,
        caps=True,
    )


def make_beard(topology: Topology, head: torch.Tensor, length: float, look: int, seed: float) -> Piece:
    """A beard and moustache ``length`` metres long."""
    x, y, z = topology.head.template.unbind(1)
    side = x.abs()
    # Under the cheekbones, narrowing to the sideburns, above the throat; the lips stay bare.
    ragged = 0.003 * noise(topology.head.template * 160 + seed)[:, 0]
    cheek = 0.556 + 0.9 * (side - 0.030).clamp(0, 0.05) + 2.2 * (side - 0.060).clamp(0, 0.03)
    ahead = z - 0.050 - 0.35 * (0.52 - y).clamp(0, 0.1) + 0.15 * (y - 0.55).clamp(0, 0.05)
    field = torch.minimum(torch.minimum(cheek - y, ahead), y - 0.489 + 0.12 * side) + ragged
    mouth = ((x / 0.026) ** 2 + ((y - 0.5440) / 0.0085) ** 2).sqrt()
    moustache = torch.minimum(0.0275 - side, torch.minimum(y - 0.5515, 0.5655 - y - 0.12 * side))
    field = torch.maximum(
        torch.where(z > 0.1, torch.minimum(field, (mouth - 1) * 0.009), field),
        torch.where(z > 0.1, moustache, field - 9),
    )
    rise = (field / 0.012).clamp(0, 1)
    chin = torch.exp(-((x / 0.035) ** 2) - ((y - 0.50) / 0.025) ** 2)
    thickness = 0.0008 + length * rise * (0.45 + 1.0 * chin)
    return scalp_shell(
        topology,
        head,
        field,
        thickness,
        look,
        part=PART_INDEX["hair"],
        smooth=0,
        seed=seed,
        rough=0.25 * length,
        roughness=110.0,
    )


@dataclass(frozen=True)
class Hat:
    """Attributes: kind: cap, beanie, brim, bucket; band: metres above the brows where it sits (0 low)."""

    kind: str
    band: float = 0.0


def make_hat(
    topology: Topology,
    head: torch.Tensor,
    transform: torch.Tensor,
    to_shape: torch.Tensor,
    hat: Hat,
    look: int,
    seed: float,
) -> list[Piece]:
    """The pieces of a hat; arguments as in :func:`make_hair`."""
    template = topology.head.template
    device = template.device
    _x, y, z = template.unbind(1)
    part = PART_INDEX["hair"]
    low_front, low_back = {
        "cap": (0.668, 0.625),
        "beanie": (0.662, 0.595),
        "brim": (0.668, 0.64),
        "bucket": (0.662, 0.62),
    }[hat.kind]
    share = ((z + 0.04) / 0.19).clamp(0, 1)
    field = y - (low_back + (low_front - low_back) * share + hat.band)
    rise = (field / 0.02).clamp(0, 1)
    high = ((y - 0.68) / 0.045).clamp(0, 1)
    thickness = {
        "cap": 0.014 + 0.010 * high,
        "beanie": 0.016 + 0.022 * high,
        "brim": 0.016 + 0.055 * high**0.5,
        "bucket": 0.016 + 0.035 * high**0.5,
    }[hat.kind] * (0.75 + 0.25 * rise)
    crown = scalp_shell(topology, head, field, thickness, look, part=part, smooth=8, seed=seed)
    place = _Placer(transform, to_shape)
    pieces = [crown]
    if hat.kind == "beanie":
        return pieces
    if hat.kind == "cap":
        columns, depth, droop, span = 21, 0.068, 0.022, math.radians(62)
        azimuth = torch.linspace(span, -span, columns, device=device)
        reach = depth * (1 - (azimuth / span).abs() ** 2.5)
    else:
        columns = 41
        azimuth = torch.linspace(math.pi, -math.pi, columns, device=device)
        depth, droop = (0.075, 0.01) if hat.kind == "brim" else (0.05, 0.045)
        reach = torch.full_like(azimuth, depth)
    band = low_back + (low_front - low_back) * (0.5 + 0.5 * azimuth.cos()) + hat.band + 0.004
    radius = torch.stack([azimuth.sin() * (HEAD_RADII[0] + 0.012), azimuth.cos() * (HEAD_RADII[2] + 0.010)], -1)
    out = torch.nn.functional.normalize(radius, dim=-1)
    rows = []
    for k in range(5):
        step = k / 4
        flat = radius + out * (reach * step)[:, None]
        height = band - droop * step**1.5 - 0.010 * step * (1 - azimuth.cos()) * (hat.kind == "cap")
        rows.append(torch.stack([flat[:, 0], height, HEAD_CENTRE[2] + flat[:, 1]], -1))
    top = torch.stack(rows)
    under = top - torch.tensor([0.0, 0.004, 0.0], device=device)
    grid = torch.cat([top, under.flip(0)])
    points = place(grid.reshape(-1, 3)).reshape(grid.shape)
    # Rows run outwards with columns to the left as seen from above: mirrored against grid_faces, hence the flip.
    pieces.append(
        grid_piece(
            points.flip(1),
            closed=False,
            around=azimuth.flip(0) * 0.09,
            along=torch.arange(len(grid), device=device) * 0.012,
            part=part,
            look=look,
            position=grid.flip(1),
        )
    )
    return pieces
