"""What surfaces look like: fabrics with patterns, prints, seams and fastenings; hair; leather.

A look is a plain function from interpolated corners [n, 7] (see parts.py) to (albedo [n, 3] linear, gloss [n]). Colours
are given in display sRGB, as people write them, and made linear once.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import torch

from .noise import fractal, noise

Look = Callable[[torch.Tensor], tuple[torch.Tensor, torch.Tensor]]
Colour = tuple[float, float, float]


def linear(colour: Colour | torch.Tensor, device: torch.device | str = "cpu") -> torch.Tensor:
    """Linear values of display sRGB ones (IEC 61966-2-1)."""
    c = torch.as_tensor(colour, dtype=torch.float32, device=device).clamp(0, 1)
    return torch.where(c <= 0.04045, c / 12.92, ((c + 0.055) / 1.055) ** 2.4)


def ramp(value: torch.Tensor, low: float | torch.Tensor, high: float | torch.Tensor) -> torch.Tensor:
    """Smooth step: 0 below ``low``, 1 above ``high``."""
    t = ((value - low) / (high - low)).clamp(0, 1)
    return t * t * (3 - 2 * t)


def line(value: torch.Tensor, half_width: float, softness: float = 0.0015) -> torch.Tensor:
    """1 where |value| is under ``half_width`` metres, 0 beyond, with a soft edge."""
    return 1 - ramp(value.abs(), half_width - softness, half_width + softness)


def blend(base: torch.Tensor, colour: torch.Tensor, amount: torch.Tensor) -> torch.Tensor:
    """``base`` [n, 3] with ``colour`` [3] or [n, 3] laid over by ``amount`` [n]."""
    return base + (colour - base) * amount[:, None]


@dataclass(frozen=True)
class Pattern:
    """A cloth pattern.

    Attributes:
        kind: solid, stripes, verticals, checks, gingham, dots, heather, camouflage, denim, knit, florals.
        colours: two to four, display sRGB.
        size: metres of one repeat.
        seed: offset of noise.
    """

    kind: str
    colours: tuple[Colour, ...]
    size: float = 0.05
    seed: float = 0.0


def _square(value: torch.Tensor, share: float = 0.5) -> torch.Tensor:
    """1 in the first ``share`` of each unit, 0 in the rest, with soft edges."""
    wrapped = value - value.floor()
    return ramp(wrapped, 0.0, 0.06) * (1 - ramp(wrapped, share, share + 0.06))


def paint_pattern(pattern: Pattern, corners: torch.Tensor) -> torch.Tensor:
    """Linear colours [n, 3]."""
    device = corners.device
    colours = [linear(c, device) for c in pattern.colours]
    base = colours[0].expand(len(corners), 3)
    second = colours[1 % len(colours)]
    u, v = corners[:, 3] / pattern.size, corners[:, 4] / pattern.size
    place = corners[:, :3]
    kind = pattern.kind
    if kind == "stripes":
        base = blend(base, second, _square(v, 0.4 + 0.2 * math.sin(pattern.seed)))
    elif kind == "verticals":
        base = blend(base, second, _square(u, 0.3))
    elif kind == "checks":
        third = colours[2 % len(colours)]
        base = blend(base, second, 0.55 * _square(v, 0.5))
        base = blend(base, second, 0.55 * _square(u, 0.5))
        base = blend(base, third, 0.8 * torch.maximum(_square(v + 0.22, 0.07), _square(u + 0.22, 0.07)))
    elif kind == "gingham":
        base = blend(base, second, 0.5 * (_square(v, 0.47) + _square(u, 0.47)))
    elif kind == "dots":
        row = v.floor()
        du, dv = (u + 0.5 * row.remainder(2)).frac(), v - row
        du = du - du.floor() - 0.5
        base = blend(base, second, 1 - ramp((du**2 + (dv - 0.5) ** 2).sqrt(), 0.2, 0.26))
    elif kind == "florals":
        cell = torch.stack([u.floor(), v.floor(), torch.zeros_like(u)], -1)
        jitter = noise(cell * 1.37 + pattern.seed) * 0.22
        du, dv = u - u.floor() - 0.5 + jitter[:, 0], v - v.floor() - 0.5 + jitter[:, 1]
        angle = torch.atan2(dv, du)
        radius = (du**2 + dv**2).sqrt() / (0.75 + 0.25 * torch.cos(5 * angle + 6 * jitter[:, 0]))
        base = blend(base, second, 1 - ramp(radius, 0.24, 0.30))
        base = blend(base, colours[2 % len(colours)], 1 - ramp(radius, 0.08, 0.12))
    elif kind == "camouflage":
        value = fractal(place * 14 + pattern.seed, 2)
        base = blend(base, second, ramp(value[:, 0], 0.02, 0.06))
        base = blend(base, colours[2 % len(colours)], ramp(value[:, 1], 0.12, 0.16))
        if len(colours) > 3:
            base = blend(base, colours[3], ramp(fractal(place * 18 + pattern.seed + 9, 2)[:, 0], 0.22, 0.26))
    elif kind == "heather":
        value = noise(torch.stack([u * 30, v * 90, place[:, 2] * 500], -1) + pattern.seed)
        base = blend(base, second, 0.25 + 0.25 * value[:, 0])
    elif kind == "denim":
        worn = ramp(fractal(place * 5 + pattern.seed, 2)[:, 0], -0.5, 0.8)
        thigh = torch.exp(-(((place[:, 1] + 0.28) / 0.17) ** 2)) * (place[:, 2] > 0)
        thread = noise(torch.stack([u * 60, v * 60, u * 60 - v * 60], -1))[:, 0]
        base = blend(base, second, (0.1 + 0.2 * worn + 0.35 * thigh + 0.12 * thread).clamp(0, 1))
    elif kind == "knit":
        base = base * (0.82 + 0.18 * (torch.sin(u * 2 * math.pi).abs() * torch.sin(v * 2 * math.pi + u).abs()))[:, None]
    weave = fractal(place * 60 + pattern.seed, 2)[:, 0] * 0.035 + noise(place * 7 + pattern.seed)[:, 1] * 0.04
    # Valleys of folds (spare below 0) see less light than a mesh this coarse can tell.
    crease = 0.16 * corners[:, 6].clamp(-1.5, 1)
    return (base * (1 + weave + crease)[:, None]).clamp(0.003, 0.95)


@dataclass(frozen=True)
class Details:
    """What is sewn on or printed on. Template metres; colours display sRGB.

    Attributes:
        hem: colour of a band along all hems, and its width (0 none).
        buttons: colour; a placket with buttons down the front.
        zip: colour of a zip down the front.
        pockets: none, chest, kangaroo, hips, cargo, jacket.
        seams: strength 0..1 of the seams' dark lines.
        print_: none, disc, box, star, letters, number, bars, mountains.
        print_colours: of the print.
        logo: colour of a small logo on the chest.
        side_stripe: colour of a stripe along sleeves' and legs' outside.
        block: colour of everything above ``block_above`` (colour blocking).
        block_above: y.
        yoke: sleeves take this colour (raglan).
        belt: colour of a belt at y = ``belt_at``.
        tie: colour of a tie.
        fly: lines of a trouser fly.
        lapel: lapels of a jacket that opens as far as this half width (0 none).
    """

    hem: Colour | None = None
    hem_width: float = 0.0
    buttons: Colour | None = None
    zip: Colour | None = None
    pockets: str = "none"
    seams: float = 0.5
    print_: str = "none"
    print_colours: tuple[Colour, ...] = ()
    logo: Colour | None = None
    side_stripe: Colour | None = None
    block: Colour | None = None
    block_above: float = 0.3
    yoke: Colour | None = None
    belt: Colour | None = None
    belt_at: float = 0.085
    tie: Colour | None = None
    fly: bool = False
    lapel: float = 0.0
    seed: int = 0


_GLYPHS = (
    0b111101111101101,
    0b110101110101110,
    0b011100100100011,
    0b111100110100111,
    0b101101111101101,
    0b111010010010111,
    0b100100100100111,
    0b110101110100100,
    0b111001010100111,
    0b010111010010001,
)
"""3x5 bitmaps, enough to read as lettering."""


def _letters(x: torch.Tensor, y: torch.Tensor, height: float, count: int, seed: int) -> torch.Tensor:
    """1 on the strokes of ``count`` block letters in a row centred at (0, 0)."""
    cell = height / 5
    advance = 4 * cell
    column = (x + advance * count / 2) / advance
    number = column.floor()
    inside = (number >= 0) & (number < count) & (y.abs() < height / 2)
    i = ((column - number) * 4).floor().long().clamp(0, 3)
    j = ((height / 2 - y) / cell).floor().long().clamp(0, 4)
    glyphs = torch.tensor([_GLYPHS[(seed + 3 * k) % len(_GLYPHS)] for k in range(count)], device=x.device)
    bits = glyphs[number.long().clamp(0, count - 1)] >> (14 - (3 * j + i.clamp(max=2)))
    return ((bits & 1).bool() & inside & (i < 3)).float()


def _paint_print(base: torch.Tensor, details: Details, x: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
    """A print centred at (0, 0), about 20 cm large."""
    device = base.device
    first, second = (linear(details.print_colours[k % len(details.print_colours)], device) for k in (0, 1))
    radius = (x**2 + y**2).sqrt()
    kind = details.print_
    if kind == "disc":
        base = blend(base, first, 1 - ramp(radius, 0.075, 0.079))
        base = blend(base, second, (1 - ramp(radius, 0.05, 0.054)) * ramp(y + 0.02 * torch.sin(x * 80), -0.004, 0.004))
    elif kind == "box":
        base = blend(base, first, line(x, 0.085) * line(y, 0.055))
        base = blend(
            base, second, line(x, 0.075) * line(y, 0.045) * (0.5 + 0.5 * torch.sign(torch.sin(x * 70 + y * 40)))
        )
    elif kind == "star":
        angle = torch.atan2(x, y)
        wedge = (angle * 5 / (2 * math.pi)).remainder(1) - 0.5
        base = blend(base, first, 1 - ramp(radius / (0.55 + 0.9 * wedge.abs()), 0.078, 0.083))
    elif kind == "letters":
        base = blend(base, first, _letters(x, y - 0.02, 0.045, 5 + details.seed % 3, details.seed))
        base = blend(base, second, _letters(x, y + 0.035, 0.02, 9, details.seed + 1))
    elif kind == "number":
        base = blend(base, first, _letters(x, y, 0.15, 2, details.seed))
    elif kind == "bars":
        base = blend(base, first, line(x, 0.13) * _square(y * 18) * line(y, 0.085))
    elif kind == "mountains":
        ridge = 0.05 * (torch.sin(x * 45 + details.seed).abs() + 0.6 * torch.sin(x * 110).abs()) - 0.05
        frame = 1 - ramp(radius, 0.083, 0.086)
        base = blend(base, second, frame)
        base = blend(base, first, frame * ramp(ridge - y, -0.002, 0.002))
    return base


def fabric(pattern: Pattern, details: Details, gloss: float = 0.02) -> Look:
    """The look of a garment."""

    def look(corners: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        device = corners.device
        base = paint_pattern(pattern, corners)
        x, y, z = corners[:, 0], corners[:, 1], corners[:, 2]
        hem = corners[:, 5]
        front, trunk = (z > 0.0).float(), ((x.abs() < 0.19) & (y > -0.08)).float()
        arm = (x.abs() > 0.19) & (y > 0.2)
        leg = (y < -0.08) & ~arm
        if details.block is not None:
            base = blend(
                base, linear(details.block, device), ramp(y, details.block_above - 0.002, details.block_above + 0.002)
            )
        if details.yoke is not None:
            slope = x.abs() - 0.17 + 0.35 * (0.42 - y).clamp(-0.06, 0.2) * (x.abs() < 0.2)
            base = blend(base, linear(details.yoke, device), ramp(slope, -0.002, 0.002) * (y > 0.15))
        if details.side_stripe is not None:
            colour = linear(details.side_stripe, device)
            outside = torch.where(arm, line(z - 0.028, 0.014) * (y > 0.377), line(z, 0.018) * leg * (x.abs() > 0.12))
            base = blend(base, colour, outside)
        if details.print_ != "none":
            chest = _paint_print(base, details, x, y - 0.235)
            base = torch.where(((front * trunk > 0) & (x.abs() < 0.14))[:, None], chest, base)
        if details.logo is not None:
            base = blend(base, linear(details.logo, device), line(x - 0.075, 0.016) * line(y - 0.29, 0.010) * front)
        dark = torch.zeros_like(x)
        if details.pockets == "kangaroo":
            edge = line((x.abs() - 0.12 + 0.35 * (y - 0.03)).abs(), 0.003) * (y > 0.0) * (y < 0.12)
            dark = dark + 0.5 * torch.maximum(edge, line(y - 0.12, 0.003) * (x.abs() < 0.09)) * front
        elif details.pockets == "chest":
            box = torch.maximum((x - 0.08).abs() / 0.045, (y - 0.25).abs() / 0.055)
            dark = dark + 0.4 * line(box - 1, 0.05, 0.03) * front
        elif details.pockets == "jacket":
            for level in (0.02, 0.25):
                dark = (
                    dark
                    + 0.6 * line(y - level - 0.1 * (x.abs() - 0.1), 0.004) * (x.abs() > 0.06) * (x.abs() < 0.13) * front
                )
        elif details.pockets == "cargo":
            box = torch.maximum((z - 0.01).abs() / 0.07, (y + 0.35).abs() / 0.08)
            dark = dark + 0.6 * line(box - 1, 0.05, 0.03) * (x.abs() > 0.12)
            dark = dark + 0.4 * line(y + 0.305, 0.004) * ((z - 0.01).abs() < 0.07) * (x.abs() > 0.12) * leg
        if details.pockets in ("hips", "cargo"):
            dark = (
                dark + 0.5 * line((x.abs() - 0.13) * 0.8 + (0.03 - y) * 0.6, 0.003) * (y < 0.075) * (y > -0.05) * front
            )
            back = line(torch.maximum((x.abs() - 0.075).abs() / 0.05, (y + 0.03).abs() / 0.06) - 1, 0.05, 0.03)
            dark = dark + 0.45 * back * (1 - front)
        if details.fly:
            dark = dark + 0.45 * line(x - 0.012 * (y > -0.05), 0.002) * front * (y > -0.08) * (y < 0.09)
        seam = line(x.abs() - 0.185, 0.003) * (y > 0.25) + line(y - 0.085, 0.002) * leg
        seam = seam + line(z - 0.005, 0.0025) * trunk * (x.abs() > 0.1) * 0.7
        seam = seam + line(z, 0.0025) * leg * 0.8 + line((y - 0.395), 0.002) * trunk * (1 - front) * 0.4
        if details.hem_width > 0:
            seam = seam + line(hem - details.hem_width, 0.0018)
        dark = dark + 0.35 * details.seams * seam.clamp(0, 1)
        if details.hem is not None:
            base = blend(base, linear(details.hem, device), 1 - ramp(hem, details.hem_width - 0.002, details.hem_width))
        if details.belt is not None:
            belt = line(y - details.belt_at, 0.018)
            base = blend(base, linear(details.belt, device), belt)
            buckle = belt * line(x, 0.022) * front * (1 - line(x, 0.014) * line(y - details.belt_at, 0.01))
            base = blend(base, linear((0.75, 0.7, 0.55), device), buckle)
        if details.tie is not None:
            width = 0.018 + 0.05 * (0.4 - y).clamp(0, 0.4)
            tie = (1 - ramp(x.abs() - width, -0.002, 0.002)) * front * (y > -0.01) * (y < 0.43)
            base = blend(base, linear(details.tie, device), tie)
        if details.buttons is not None:
            dark = dark + 0.3 * line(x.abs() - 0.016, 0.0018) * front * trunk
            spot = (x**2 + ((y / 0.085).frac().abs() - 0.5).mul(0.085) ** 2).sqrt()
            base = blend(base, linear(details.buttons, device), (1 - ramp(spot, 0.006, 0.008)) * front * trunk)
        if details.zip is not None:
            base = blend(base, linear(details.zip, device), line(x, 0.005) * front * trunk)
            dark = dark + 0.25 * line(x.abs() - 0.014, 0.002) * front * trunk
        if details.lapel > 0:
            edge = details.lapel * (0.35 + 1.2 * (0.42 - y).clamp(0, 0.6))
            reach = edge + 0.055 * ramp(y, 0.08, 0.32)
            dark = dark + 0.55 * line(x.abs() - reach, 0.004) * front * (y > 0.1) * trunk
        return base * (1 - dark.clamp(0, 0.85))[:, None], torch.full_like(x, gloss)

    return look


def plain(colour: Colour, gloss: float, variation: float = 0.06, grain: float = 30.0) -> Look:
    """Leather, rubber, felt: one colour with grain.

    Args:
        colour: display sRGB.
        gloss: see :class:`~backend.research.training.figure.Surface`.
        variation: relative strength of the grain.
        grain: grains a metre.
    """

    def look(corners: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        value = fractal(corners[:, :3] * grain, 2)[:, 0]
        return linear(colour, corners.device) * (1 + variation * value)[:, None], torch.full_like(value, gloss)

    return look


def strands(root: Colour, tip: Colour, seed: float, contrast: float = 0.5, parting: float | None = None) -> Look:
    """Hair: streaks along ``fabric``'s second coordinate, lighter towards the tips (``spare`` 1).

    Args:
        root, tip: display sRGB.
        seed: offset of the noise.
        contrast: how much strands differ.
        parting: x (template metres) of a line of skin on the crown, None without.
    """

    def look(corners: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        device = corners.device
        u, v, tipness = corners[:, 3], corners[:, 4], corners[:, 6]
        wave = noise(torch.stack([u * 8, v * 8, u * 0 + seed], -1))[:, 0]
        across = torch.stack([u * 330 + 4 * wave, v * 10 + seed, u * 0 + seed], -1)
        streak = noise(across)[:, 0] * 0.6 + noise(across * torch.tensor([2.3, 1.5, 1.0], device=device))[:, 1] * 0.4
        clump = noise(torch.stack([u * 75 + 1.5 * wave, v * 4 + seed, u * 0 + seed + 5], -1))[:, 0]
        base = linear(root, device) + (linear(tip, device) - linear(root, device)) * tipness.clamp(0, 1)[:, None]
        base = base * (1 + contrast * (0.55 * streak + 0.45 * clump)).clamp_min(0.15)[:, None]
        gloss = (0.09 + 0.09 * streak + 0.05 * clump).clamp(0.01, 1)
        if parting is not None:
            x, y, z = corners[:, 0], corners[:, 1], corners[:, 2]
            bare = line(x - parting - 0.003 * streak, 0.0025) * (y > 0.68) * (z > -0.01)
            base = blend(base, linear((0.72, 0.56, 0.48), device), 0.6 * bare)
        return base, gloss

    return look
