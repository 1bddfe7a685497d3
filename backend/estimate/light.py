"""The light in a photo, from how brightness follows the fitted body's normals: a robust fit, and a small network.

Neighbouring pixels of one cloth differ in brightness as their normals differ in light. A fit to these differences alone
says little of the sides that nobody sees; a network that was shown many lit people says from the fit, and from how
bright the person is from head to foot, what light comes from behind.
"""

from __future__ import annotations

from pathlib import Path
from typing import cast

import torch
from torch import nn
from torch.nn import functional

from ..body.fit import BodyFit
from ..body.model import BodyModel
from ..networks import describe, read_frozen
from ..photo import PreparedPhoto
from .depth import MAP_SIZE, PHOTO_SIZE, body_maps, posed, rest_places, small_photo
from .shading import DEGREES, LUMINANCE, PhotoLight, harmonics

WEIGHTS = "light.safetensors"
COEFFICIENTS = DEGREES[-1]
_STEPS = tuple((down * far, right * far) for far in (2, 4) for down, right in ((0, 1), (1, 0), (1, 1), (1, -1)))
"""Rows and columns from one pixel of a pair to the other."""
_TINT, _NEAR, _LIKE = 0.06, 0.12, 0.7
"""By how much the two may differ and count: in chromaticity, in metres in the rest pose, in the logarithm of light."""
_COVERED, _CLIPPED, _DARKEST = 0.9, 0.75, 2e-3
"""Of matte and of linear luminance: what counts."""
_FITS = ((0.2, 2.0), (0.08, 3.0), (0.4, 1.0))
"""Of each fit: logarithm of light from which a difference is the cloth's, and the weight of the photo against what
lights are like."""
_ROUNDS = 6
"""Of reweighting."""
_LEAST = 80
"""Pixels below which a photo says nothing."""
_BANDS = 8
"""Of equally many pixels, from the lowest to the highest in the rest pose."""
FEATURES = len(_FITS) * COEFFICIENTS + 7 + 9 + 2 * _BANDS
_LUMINANCE = torch.as_tensor(LUMINANCE).float()


class LightNetwork(nn.Module):
    """A perceptron over :func:`features`; its buffers hold what the fit needs to know of lights.

    Args:
        width: of its two hidden layers.
    """

    usual: torch.Tensor
    precision: torch.Tensor
    middle: torch.Tensor
    spread: torch.Tensor

    def __init__(self, width: int = 64) -> None:
        super().__init__()
        self.register_buffer("usual", torch.zeros(COEFFICIENTS))
        self.register_buffer("precision", torch.eye(COEFFICIENTS))
        self.register_buffer("middle", torch.zeros(FEATURES))
        self.register_buffer("spread", torch.ones(FEATURES))
        self.layers = nn.Sequential(
            nn.Linear(FEATURES, width), nn.SiLU(), nn.Dropout(0.2),
            nn.Linear(width, width), nn.SiLU(), nn.Dropout(0.2),
            nn.Linear(width, COEFFICIENTS),
        )  # fmt: skip

    def forward(self, found: torch.Tensor) -> torch.Tensor:
        """Coefficients [B, 15] of the light's logarithm, of features [B, F]."""
        return self.layers(((found - self.middle) / self.spread).clamp(-5, 5))


def differences(
    photo: torch.Tensor, body: torch.Tensor
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor, torch.Tensor]:
    """How pixels differ from others near them that are of the same cloth.

    Args:
        photo: [4, 256, 256], see :func:`~.depth.pack_rgba`.
        body: [16, 64, 64], see :func:`~.depth.body_maps`.

    Returns:
        Of n pairs: the difference of the logarithm of luminance [n]; of :func:`~.shading.harmonics` [n, 15]; how sure
        they are of one cloth [n] in 0..1. Of m pixels that count: linear colour and place in the rest pose [m, 6].
    """
    alpha = functional.avg_pool2d(photo[None, 3:], PHOTO_SIZE // MAP_SIZE)[0, 0]
    rgb = functional.avg_pool2d(photo[None, :3], PHOTO_SIZE // MAP_SIZE)[0] / alpha.clamp(min=1e-3)
    linear = rgb.clamp(0, 1) ** 2.2
    luminance = (linear * _LUMINANCE[:, None, None]).sum(0).clamp(min=_DARKEST)
    tint = (linear / luminance).clamp(max=5) * _LUMINANCE[:, None, None]
    used = (alpha > _COVERED) & (body[0] > _COVERED) & (luminance < _CLIPPED)
    normals = functional.normalize(body[2:5], dim=0).flatten(1).T
    functions = torch.as_tensor(harmonics(normals.double().numpy())).float()
    number = torch.arange(MAP_SIZE**2).reshape(MAP_SIZE, MAP_SIZE)
    pairs = []
    for down, right in _STEPS:
        left = max(-right, 0)
        one = number[: MAP_SIZE - down, left : MAP_SIZE - max(right, 0)]
        pairs.append(torch.stack([one, one + down * MAP_SIZE + right]).flatten(1))
    first, second = torch.cat(pairs, 1)
    both = used.flatten()[first] & used.flatten()[second]
    first, second = first[both], second[both]
    level, tint, place = luminance.log().flatten(), tint.flatten(1).T, body[5:8].flatten(1).T
    light = level[first] - level[second]
    terms = (
        ((values[first] - values[second]) ** 2).sum(1) / (2 * width**2)
        for values, width in ((level[:, None], _LIKE), (tint, _TINT), (place, _NEAR))
    )
    away = cast(torch.Tensor, sum(terms))
    seen = torch.cat([linear.flatten(1).T, place], 1)[used.flatten()]
    return light, functions[first] - functions[second], torch.exp(-away), seen


def features(
    photo: torch.Tensor, body: torch.Tensor, usual: torch.Tensor, precision: torch.Tensor
) -> torch.Tensor | None:
    """What the network is told of a photo: [F]; None where hardly any of it counts.

    Robust fits with the normal prior (mean ``usual`` [15], inverse covariance ``precision`` [15, 15]), what the first
    left, the mean colour, where normals point, and brightness and its spread from low to high.

    Args:
        photo, body: as for :func:`differences`.
        usual, precision: of the coefficients of lights.
    """
    light, functions, sure, seen = differences(photo, body)
    if len(seen) < _LEAST or not len(light):
        return None
    fits = []
    for noise, sharpness in _FITS:
        found = usual
        for _ in range(_ROUNDS):
            weighted = functions * (sure / (1 + ((light - functions @ found) / noise) ** 2))[:, None]
            known, wanted = sharpness * weighted.T @ functions, sharpness * weighted.T @ light
            found = torch.linalg.solve(known + precision, wanted + precision @ usual)
        fits.append(found)
    left = (light - functions @ fits[0]).abs()
    colour, height = seen[:, :3], seen[:, 4]
    level = (colour @ _LUMINANCE).clamp(min=_DARKEST).log()
    turned = functions[:, :3]
    moments = (turned * (sure / (1 + (left / _FITS[0][0]) ** 2))[:, None]).T @ turned / 1000
    bands = [level[part] for part in height.argsort().chunk(_BANDS)]
    return torch.cat(
        [
            *fits,
            torch.stack([left.median(), left.mean(), level.exp().mean().log(), torch.tensor(len(seen) / 1000)]),
            colour.mean(0).clamp(min=1e-3).log(),
            moments.flatten(),
            torch.stack([value for band in bands for value in (band.mean(), band.std())]),
        ]
    )


class LightEstimator:
    """The trained network for one body.

    Args:
        weights: folder with ``light.safetensors``.
        body: that fits are of.

    Raises:
        BackendError: kinds ``weights_missing``, ``weights_damaged``.
    """

    def __init__(self, weights: Path, body: BodyModel) -> None:
        self.body = body
        # So small that it is fastest where its features are: on the processor.
        self.network = cast(LightNetwork, read_frozen(LightNetwork(), weights / WEIGHTS, "cpu"))
        self.described = describe(weights, WEIGHTS)
        """What an avatar package says of the weights."""
        self.rest = rest_places(body)

    @torch.no_grad()
    def estimate(self, fit: BodyFit, photo: PreparedPhoto) -> PhotoLight | None:
        """The light on the person; None where the photo shows too little of them."""
        vertices, joints = (points.float() for points in posed(self.body, fit))
        maps = body_maps(vertices, self.rest, self.body.faces, fit.focal / photo.rgb.shape[0], joints[0])
        found = features(small_photo(photo), maps, self.network.usual, self.network.precision)
        return None if found is None else PhotoLight(self.network(found[None])[0].double().numpy())
