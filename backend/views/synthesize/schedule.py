"""Noise levels, scalings, sampler and guidance of the diffusion; nothing here knows a network.

Noisy latents are x = x0 + sigma * noise with x0 of variance 1.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from itertools import pairwise

import torch

Denoiser = Callable[[torch.Tensor, float], torch.Tensor]
"""The expected clean latents, of the shape of the noisy ones, given those and their noise level."""


@dataclass(frozen=True)
class Scalings:
    """x0 = skip * x + out * network(into * x, noise): EDM's preconditioning (Karras et al. 2022, section 5).

    Attributes:
        skip, out, into, noise: of the shape of the noise levels.
    """

    skip: torch.Tensor
    out: torch.Tensor
    into: torch.Tensor
    noise: torch.Tensor


def scalings(sigma: torch.Tensor) -> Scalings:
    """Scalings of v-prediction with EDM's noise embedding, as Stable Video Diffusion has them (sigma_data = 1).

    skip = 1 / (s^2 + 1), out = -s / sqrt(s^2 + 1), into = 1 / sqrt(s^2 + 1), noise = ln(s) / 4.
    """
    square = sigma.square() + 1
    return Scalings(1 / square, -sigma / square.sqrt(), 1 / square.sqrt(), sigma.log() / 4)


def velocity(clean: torch.Tensor, noise: torch.Tensor, sigma: torch.Tensor) -> torch.Tensor:
    """What the network must answer for x = clean + sigma * noise: (noise - sigma * clean) / sqrt(sigma^2 + 1).

    It is Salimans and Ho's v, and has variance 1 at every noise level, so a plain squared error weighs all levels
    alike: (s^2 + 1) / s^2 on the error of x0.
    """
    return (noise - sigma * clean) / (sigma.square() + 1).sqrt()


def draw_sigmas(count: int, mean: float, deviation: float, generator: torch.Generator) -> torch.Tensor:
    """Noise levels [count] with normally distributed logarithm, on the CPU."""
    return (mean + deviation * torch.randn(count, generator=generator)).exp()


def karras_sigmas(steps: int, low: float, high: float, rho: float = 7.0) -> list[float]:
    """Noise levels from ``high`` to ``low`` and then 0, ``steps + 1`` of them (Karras et al. 2022, equation 5).

    Raises:
        ValueError: fewer than one step.
    """
    if steps < 1:
        raise ValueError("sampling takes one step at least")
    ramp = [k / max(steps - 1, 1) for k in range(steps)]
    top, bottom = high ** (1 / rho), low ** (1 / rho)
    return [(top + share * (bottom - top)) ** rho for share in ramp] + [0.0]


def sample_euler(
    denoise: Denoiser, noise: torch.Tensor, sigmas: list[float], step: Callable[[int], None] = lambda done: None
) -> torch.Tensor:
    """Follow dx/dsigma = (x - x0) / sigma from pure noise to clean latents by Euler's method.

    Args:
        denoise: see :data:`Denoiser`.
        noise: unit noise of the latents' shape.
        sigmas: falling, the last 0; see :func:`karras_sigmas`.
        step: told how many steps are done, before each; may raise to stop.
    """
    # At the first level signal and noise add up; the network was trained on such sums.
    x = noise * math.sqrt(sigmas[0] ** 2 + 1)
    for done, (now, then) in enumerate(pairwise(sigmas)):
        step(done)
        x = x + (x - denoise(x, now)) * ((then - now) / now)
    return x


def guidance_scales(azimuths: torch.Tensor, low: float, high: float) -> torch.Tensor:
    """Triangular guidance of each view [V], rising with the angle from the photo's view; constant if both are equal.

    Args:
        azimuths: [V] degrees from the photo's.
        low, high: scale at 0 and at 180 degrees.
    """
    away = ((azimuths + 180) % 360 - 180).abs() / 180
    return low + (high - low) * away


def orbit_scales(frames: int, low: float, high: float) -> torch.Tensor:
    """SV3D's guidance [frames]: a triangle wave over the orbit, ``low`` in the first and last frame (Voleti et al.).

    It goes by the frame's number, not by its angle: the first frame already lies one step from the photo's view.
    """
    place = torch.linspace(0, 1, frames)
    return low + (high - low) * (1 - (2 * place - 1).abs())


def guide(without: torch.Tensor, given: torch.Tensor, scales: torch.Tensor) -> torch.Tensor:
    """Classifier-free guidance (Ho and Salimans 2022).

    Args:
        without, given: [..., V, C, H, W] answers without and with the photo.
        scales: [V].
    """
    return without + scales[:, None, None, None].to(given) * (given - without)
