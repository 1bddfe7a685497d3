"""What the light's network learns from: features of photos of scripts/make_depths.py, and the light in them."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace

import numpy as np
import torch

from ...body.model import rotation_matrices
from ...estimate.light import COEFFICIENTS, features
from ...estimate.shading import LUMINANCE, harmonics
from .depth_batches import DepthBatch, DepthPool, mirrored
from .depth_data import DepthExample, read_examples
from .lighting import Light, sample_light, sphere
from .samples import photo_angles

DIRECTIONS = sphere(400).double()
"""[D, 3] unit, camera axes, over which lights are compared."""
AHEAD = (-DIRECTIONS[:, 2]).clamp(min=0)
AHEAD /= AHEAD.sum()
"""[D] how much of each a camera sees of a ball: its mean is what brightness is counted from."""
_SKY = 2 / 3
"""Of a gradient over the sky, what is left of it in the cosine-weighted mean that a surface gets."""
_ELSEWHERE = 12.0
"""Degrees between where the true body faces and where it should, from which a photo is another than the seed's own."""
_GAIN, _TINT = 0.15, 0.06
"""Standard deviations of the logarithms by which a spoilt photo's colours are scaled, together and each."""


def functions() -> torch.Tensor:
    """:func:`harmonics` of the directions, less their mean over what a camera sees: [D, 15]."""
    found = torch.as_tensor(harmonics(DIRECTIONS.numpy()))
    return found - AHEAD @ found


def irradiance(light: Light, elevation: float) -> torch.Tensor:
    """Logarithm [D] of the luminance that arrives at the directions, less its mean over what a camera sees.

    Nothing shades anything: what the body hides of sky and lamp is about as much of either.

    Args:
        light: about a camera at azimuth 0.
        elevation: degrees of that camera.
    """
    angle = np.radians(elevation)
    axes = torch.tensor(
        [[1, 0, 0], [0, -np.cos(angle), np.sin(angle)], [0, -np.sin(angle), -np.cos(angle)]], dtype=torch.float64
    )
    world = DIRECTIONS @ axes
    up = 0.5 + 0.5 * _SKY * world[:, 1:2]
    total = light.bottom * (1 - up) + light.top * up
    for direction, colour in ((light.key_direction, light.key), (light.fill_direction, light.fill)):
        total = total + (world @ direction.double()).clamp(min=0)[:, None] * colour
    level = (total @ torch.as_tensor(LUMINANCE)).log()
    return level - AHEAD @ level


def usual_lights(seeds: range) -> tuple[torch.Tensor, torch.Tensor]:
    """Mean [15] and inverse covariance [15, 15] of the coefficients of the lights of ``seeds``."""
    levels = torch.stack([irradiance(sample_light(seed), photo_angles(seed)[1]) for seed in seeds])
    found = torch.linalg.lstsq(functions(), levels.T).solution.T
    covariance = torch.cov(found.T) + 1e-5 * torch.eye(COEFFICIENTS, dtype=torch.float64)
    return found.mean(0).float(), torch.linalg.inv(covariance).float()


@dataclass(frozen=True)
class LitPhotos:
    """Features [N, F] of photos and :func:`irradiance` [N, D] of their lights."""

    features: torch.Tensor
    levels: torch.Tensor


def lit_photos(pool: DepthPool, usual: torch.Tensor, precision: torch.Tensor, varied: bool) -> LitPhotos:
    """Each person's own photo, if asked in the mirror and spoilt too; others are not lit as people light them.

    Args:
        pool: of people.
        usual, precision: see :func:`features`.
        varied: whether to add those.
    """
    told, levels = [], []
    for path in pool.files:
        seed = int(path.stem)
        rng = np.random.default_rng([seed, 0x116])
        examples = read_examples(path)
        if not examples or not _own(examples[0], seed):
            continue
        light, elevation = sample_light(seed), photo_angles(seed)[1]
        for seen, lit in _pictures(pool, examples[0], light, rng, varied):
            found = features(seen.photo[0], seen.body[0], usual, precision)
            if found is not None:
                told.append(found.nan_to_num(0))
                levels.append(irradiance(lit, elevation).float())
    return LitPhotos(torch.stack(told), torch.stack(levels))


def _own(example: DepthExample, seed: int) -> bool:
    """Whether a photo is taken from where the seed's own is: where nobody was found in that one, it is another."""
    forward = rotation_matrices(example.true_pose[:1].double())[0, :, 2]
    turned = float(torch.rad2deg(torch.atan2(forward[0], -forward[2]))) + photo_angles(seed)[0]
    return abs((turned + 180) % 360 - 180) < _ELSEWHERE


def _pictures(
    pool: DepthPool, example: DepthExample, light: Light, rng: np.random.Generator, varied: bool
) -> Iterator[tuple[DepthBatch, Light]]:
    rgb, alpha = example.rgb.float() / 255, example.alpha.float() / 255
    body = (example.pose, example.betas, example.translation)
    own = pool.seen(example, rgb, alpha, body)
    yield own, light
    if varied:
        across = torch.tensor([-1.0, 1.0, 1.0])
        twin = replace(light, key_direction=light.key_direction * across, fill_direction=light.fill_direction * across)
        yield mirrored(own), twin
        gain = np.exp(rng.normal(0, _GAIN) + rng.normal(0, _TINT, 3))
        noise = rng.normal(0, rng.exponential(0.02), rgb.shape)
        spoilt = (rgb * torch.as_tensor(gain) + torch.as_tensor(noise)).clamp(0, 1).float()
        yield pool.seen(example, spoilt, alpha, body), light
