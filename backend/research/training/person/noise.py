"""Smooth noise that costs one lookup: a fixed volume of random numbers that repeats."""

from __future__ import annotations

from functools import lru_cache

import torch

_SIZE = 32


@lru_cache(maxsize=4)
def _volume(device: str) -> torch.Tensor:
    """[1, 2, S+1, S+1, S+1] in -1..1, the last slice of each axis equal to the first."""
    generator = torch.Generator().manual_seed(20240)
    cube = torch.rand(2, _SIZE, _SIZE, _SIZE, generator=generator) * 2 - 1
    for axis in (1, 2, 3):
        cube = torch.cat([cube, cube.narrow(axis, 0, 1)], axis)
    return cube[None].to(device)


def noise(points: torch.Tensor) -> torch.Tensor:
    """Two independent noises [n, 2] in -1..1 at ``points`` [n, 3], with features about one unit large.

    Value noise: random numbers at whole coordinates, smoothstep between them; repeats every 32 units.
    """
    whole = points.floor()
    part = points - whole
    eased = whole.remainder(_SIZE) + part * part * (3 - 2 * part)
    grid = (eased * (2 / _SIZE) - 1)[None, :, None, None]
    out = torch.nn.functional.grid_sample(_volume(str(points.device)), grid, align_corners=True, padding_mode="border")
    return out[0, :, :, 0, 0].T


def fractal(points: torch.Tensor, octaves: int = 3) -> torch.Tensor:
    """Sum of ``octaves`` noises [n, 2], each twice as fine and half as strong; about -1..1."""
    total, strength, norm = 0.0, 1.0, 0.0
    for octave in range(octaves):
        total = total + strength * noise(points * 2**octave + 7.3 * octave)
        norm += strength
        strength *= 0.5
    return total / norm * 1.5
