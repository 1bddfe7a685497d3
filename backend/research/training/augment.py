"""A clean rendering spoilt as the photos that people bring are spoilt, and its matte as mattes are imperfect."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch.nn import functional

from .jpeg import jpeg


class _Chance:
    """Random numbers of one generator on the CPU, so that every device sees the same."""

    def __init__(self, generator: torch.Generator, device: torch.device) -> None:
        self._generator, self._device = generator, device

    def number(self, low: float = 0.0, high: float = 1.0) -> float:
        return low + (high - low) * float(torch.rand((), generator=self._generator))

    def happens(self, probability: float) -> bool:
        return self.number() < probability

    def below(self, count: int) -> int:
        return int(torch.randint(count, (), generator=self._generator))

    def uniform(self, *shape: int) -> torch.Tensor:
        return torch.rand(shape, generator=self._generator).to(self._device)

    def normal(self, *shape: int) -> torch.Tensor:
        return torch.randn(shape, generator=self._generator).to(self._device)

    def colour(self) -> torch.Tensor:
        """A colour [3, 1, 1], seldom a loud one."""
        level, loud = self.number(0.03, 0.97), self.number() ** 2
        return (level + (self.uniform(3, 1, 1) - 0.5) * (0.15 + loud)).clamp(0, 1)

    def clouds(self, size: int, cells: float, channels: int = 1) -> torch.Tensor:
        """Smooth noise [channels, size, size] in 0..1 with about ``cells`` bumps across."""
        coarse = self.uniform(1, channels, max(2, round(cells)) + 3, max(2, round(cells)) + 3)
        return functional.interpolate(coarse, (size, size), mode="bicubic", align_corners=True)[0].clamp(0, 1)


def _gaussian(image: torch.Tensor, sigma: float) -> torch.Tensor:
    """``image`` [C, H, W] blurred; borders repeat."""
    reach = min(max(1, math.ceil(3 * sigma)), image.shape[-1] - 1)
    at = torch.arange(-reach, reach + 1, dtype=image.dtype, device=image.device)
    kernel = torch.exp(-0.5 * (at / max(sigma, 1e-3)) ** 2)
    kernel = (kernel / kernel.sum()).expand(len(image), 1, 1, -1)
    padded = functional.pad(image[None], (reach,) * 4, mode="replicate")
    padded = functional.conv2d(padded, kernel, groups=len(image))
    return functional.conv2d(padded, kernel.transpose(2, 3), groups=len(image))[0]


def _motion(image: torch.Tensor, length: float, angle: float) -> torch.Tensor:
    """``image`` [C, H, W] smeared over ``length`` pixels."""
    steps = max(2, math.ceil(length) + 1)
    size = image.shape[-1]
    offsets = (torch.arange(steps) / (steps - 1) - 0.5) * length * 2 / size
    shifts = torch.eye(2, 3, device=image.device).repeat(steps, 1, 1)
    shifts[:, 0, 2], shifts[:, 1, 2] = offsets * math.cos(angle), offsets * math.sin(angle)
    grid = functional.affine_grid(shifts, [steps, len(image), size, size], align_corners=False)
    moved = functional.grid_sample(image.expand(steps, -1, -1, -1), grid, padding_mode="border", align_corners=False)
    return moved.mean(0)


def _background(size: int, chance: _Chance) -> torch.Tensor:
    """A background [3, S, S]: white, a plain colour, a gradient, blurred shapes as behind a shallow focus, a room."""
    kind = chance.number()
    one = chance.colour().expand(3, size, size)
    if kind < 0.15:
        return torch.ones_like(one)
    if kind < 0.3:
        return one.clone()
    row = torch.linspace(0, 1, size, device=one.device)
    if kind < 0.5:
        angle = chance.number(0, 2 * math.pi)
        slope = (row[None] - 0.5) * math.cos(angle) + (row[:, None] - 0.5) * math.sin(angle) + 0.5
        return one + (chance.colour() - one) * slope.clamp(0, 1)
    if kind < 0.75:
        where = chance.clouds(size, chance.number(3, 9), 2)
        mixed = one + (chance.colour() - one) * where[0] + (chance.colour() - one) * where[1]
        return (mixed + 0.5 * (chance.clouds(size, 3) - 0.5)).clamp(0, 1)
    # A wall, a floor, and boxes for furniture, all out of focus.
    horizon = chance.number(0.55, 0.9)
    out = torch.where(row[:, None] < horizon, one, chance.colour())
    for _ in range(2 + chance.below(6)):
        left, top = chance.number(-0.2, 0.9), chance.number(0, 0.8)
        wide, high = chance.number(0.05, 0.5), chance.number(0.05, 0.6)
        box = ((row > left) & (row < left + wide))[None] & ((row > top) & (row < top + high))[:, None]
        out = torch.where(box, chance.colour(), out)
    grain = (chance.clouds(size, 40) - 0.5) * chance.number(0, 0.25)
    return _gaussian(out + grain, size * chance.number(0.002, 0.02)).clamp(0, 1)


def _occluder(size: int, alpha: torch.Tensor, chance: _Chance) -> tuple[torch.Tensor, torch.Tensor]:
    """Colour [3, S, S] and coverage [S, S] of what hides the person: a blob, a bar, or a box below."""
    row = torch.linspace(0, 1, size, device=alpha.device)
    x, y = row[None] - chance.number(0.25, 0.75), row[:, None] - chance.number(0.25, 0.95)
    kind = chance.number()
    if kind < 0.5:
        turn, stretch = chance.number(0, math.pi), chance.number(0.4, 1.0)
        across = x * math.cos(turn) + y * math.sin(turn)
        along = (y * math.cos(turn) - x * math.sin(turn)) * stretch
        edge = 0.03 + 0.1 * chance.number() + 0.06 * (chance.clouds(size, 5)[0] - 0.5)
        distance = edge - (across**2 + along**2).sqrt()
    elif kind < 0.8:
        turn = chance.number(-0.5, 0.5) + (0.0 if chance.happens(0.5) else math.pi / 2)
        distance = chance.number(0.01, 0.05) - (x * math.cos(turn) + y * math.sin(turn)).abs()
    else:
        distance = torch.minimum(0.2 - x.abs(), y)
    cover = (distance * size / chance.number(0.8, 3.0) + 0.5).clamp(0, 1)
    colour = chance.colour() * (0.6 + 0.4 * chance.clouds(size, chance.number(2, 30)))
    return colour.expand(3, size, size), cover


def _power(values: torch.Tensor, exponent: float) -> torch.Tensor:
    """By way of the logarithm: the bytes of ``pow`` depend on how many threads share the work."""
    return (values.clamp(min=1e-6).log() * exponent).exp()


def _develop(image: torch.Tensor, chance: _Chance) -> torch.Tensor:
    """Exposure, white balance, contrast, saturation and gamma of another camera."""
    gain = 2 ** (0.28 * chance.normal(1, 1, 1)) * torch.exp(0.05 * chance.normal(3, 1, 1))
    image = _power(_power(image.clamp(max=1), 2.2) * gain, 1 / 2.2)
    grey = (image * image.new_tensor([0.299, 0.587, 0.114])[:, None, None]).sum(0, keepdim=True)
    image = grey + (image - grey) * math.exp(0.2 * float(chance.normal(1)))
    contrast, lift = math.exp(0.12 * float(chance.normal(1))), 0.02 * float(chance.normal(1))
    image = (0.5 + (image - 0.5) * contrast + lift).clamp(0, 1)
    if chance.happens(0.02):
        image = grey.expand_as(image).clamp(0, 1)
    return _power(image, math.exp(0.1 * float(chance.normal(1))))


def _spoil_matte(alpha: torch.Tensor, chance: _Chance) -> torch.Tensor:
    """Edges moved in or out by a few pixels, here more and there less; softened; pieces lost, scraps gained."""
    size = alpha.shape[-1]
    unit = size / 256
    sigma = unit * chance.number(0.6, 1.9)
    soft = _gaussian(alpha[None], sigma)[0]
    # Half way up a blurred edge lies the edge; higher is inside it, lower outside.
    level = 0.5 + 0.3 * (chance.number() - 0.5) + 0.5 * (chance.clouds(size, chance.number(4, 14))[0] - 0.5)
    sharpness = chance.number(2.5, 8.0)
    matte = ((soft - level.clamp(0.2, 0.8)) * sharpness + 0.5).clamp(0, 1)
    if chance.happens(0.35):
        edge = (4 * soft * (1 - soft)).clamp(0, 1) ** 0.5
        lost = ((chance.clouds(size, chance.number(6, 16))[0] - chance.number(0.72, 0.88)) * 12).clamp(0, 1)
        matte = matte * (1 - lost * edge)
    if chance.happens(0.25):
        near = _gaussian(alpha[None], 6 * unit)[0] > 0.02
        scraps = ((chance.clouds(size, chance.number(6, 20))[0] - chance.number(0.85, 0.95)) * 20).clamp(0, 1)
        matte = torch.maximum(matte, scraps * near)
    return _gaussian(matte[None], unit * chance.number(0.2, 0.9))[0].clamp(0, 1)


def on_background(rgb: torch.Tensor, alpha: torch.Tensor, generator: torch.Generator) -> torch.Tensor:
    """``rgb`` [S, S, 3] over white with coverage ``alpha`` [S, S] before some background instead."""
    behind = _background(rgb.shape[0], _Chance(generator, rgb.device)).permute(1, 2, 0)
    return rgb - (1 - alpha[..., None]) * (1 - behind)


def augment_photo(
    rgb: torch.Tensor, alpha: torch.Tensor, cut_rows: Sequence[float], generator: torch.Generator
) -> tuple[torch.Tensor, torch.Tensor]:
    """Spoil a photo and its matte. Everything is decided by ``generator``; sizes scale with the picture.

    The person stays where it is: a photo that is cut off below keeps its frame and ends earlier.

    Args:
        rgb: [S, S, 3] sRGB over white.
        alpha: [S, S].
        cut_rows: rows in pixels at which a photo may end: of the knees, the waist and the chest; those that do not lie
            in the picture from top to bottom in that way are not used.
        generator: on the CPU.

    Returns:
        (photo [S, S, 3] of 8-bit values in 0..1 with some background, matte [S, S]).
    """
    size = rgb.shape[0]
    unit = size / 256
    chance = _Chance(generator, rgb.device)
    image = (rgb - (1 - alpha[..., None])).permute(2, 0, 1)
    image = image + (1 - alpha) * _background(size, chance)
    matte = alpha
    if chance.happens(0.18):
        colour, cover = _occluder(size, alpha, chance)
        image, matte = image + (colour - image) * cover, matte * (1 - cover)
    image = _develop(image, chance) if chance.happens(0.8) else image
    kind = chance.number()
    if kind < 0.35:
        image = _gaussian(image, unit * chance.number(0.2, 1.3))
    elif kind < 0.43:
        image = _motion(image, unit * chance.number(1.5, 6), chance.number(0, math.pi))
    if chance.happens(0.6):
        level = chance.number(0.002, 0.035)
        grain = chance.normal(3, size, size)
        if chance.happens(0.5):
            grain = _gaussian(grain, 0.7) * 2
        # Shot noise grows with the root of the light.
        image = image + grain * level * (0.3 + image.clamp(0, 1)).sqrt()
    if chance.happens(0.8):
        matte = _spoil_matte(matte, chance)
    rows = [r for r in cut_rows if 0.15 * size < r < 0.95 * size]
    if rows and chance.happens(0.2):
        cut = round(rows[chance.below(len(rows))] + chance.number(-0.03, 0.03) * size)
        outside = torch.arange(size, device=rgb.device)[:, None] >= cut
        image, matte = image.masked_fill(outside, 0), matte.masked_fill(outside, 0)
    image = image.permute(1, 2, 0).clamp(0, 1)
    image = jpeg(image, 35 + chance.below(61)) if chance.happens(0.75) else (image * 255).round() / 255
    return image, matte
