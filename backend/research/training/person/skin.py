"""Skin, face and eyes, painted in template coordinates (the neutral body's T-pose, metres)."""

from __future__ import annotations

from dataclasses import dataclass

import torch

from .looks import Colour, Look, blend, line, linear, ramp
from .noise import fractal, noise

EYE = (0.0300, 0.6130, 0.1305)
"""Centre of the left eyeball."""
_IRIS, _PUPIL = 0.0062, 0.0027
_MOUTH_Y, _MOUTH_Z = 0.5445, 0.14
_BROW_Y = 0.6325
_FINGERTIP_X = 0.80


@dataclass(frozen=True)
class Face:
    """How a face is painted. Colours display sRGB.

    Attributes:
        skin, lips, brows, iris: colours.
        brow_weight: half height of the brows, metres.
        brow_tilt: how much their outer ends rise, metres.
        lip_fullness: half height of the mouth, metres.
        lip_strength: 0 (skin) to 1 (lipstick).
        lashes: 0 to 1, darkness of the lid line.
        shadow: 0 to 1, eye shadow.
        blush: 0 to 1.
        stubble: 0 to 1, shaved beard.
        age: 0 to 1, lines.
        freckles: 0 to 1.
        seed: offset of noise.
    """

    skin: Colour
    lips: Colour
    brows: Colour
    iris: Colour
    brow_weight: float = 0.0035
    brow_tilt: float = 0.003
    lip_fullness: float = 0.008
    lip_strength: float = 0.5
    lashes: float = 0.7
    shadow: float = 0.2
    blush: float = 0.3
    stubble: float = 0.0
    age: float = 0.0
    freckles: float = 0.0
    seed: float = 0.0


def skin_look(face: Face) -> Look:
    """The look of skin with a painted face."""

    def look(corners: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        device = corners.device
        place = corners[:, :3]
        x, y, z = place.unbind(1)
        side = x.abs()
        base = linear(face.skin, device).expand(len(x), 3)
        tone = fractal(place * 25 + face.seed, 2)
        base = base * (1 + 0.05 * tone[:, :1])
        red = base * torch.tensor([1.0, 0.72, 0.66], device=device)
        warm = 0.35 * ramp(y, 0.55, 0.62) * (side > 0.068) * (z < 0.08)  # ears
        warm = warm + 0.5 * ramp(side, 0.70, _FINGERTIP_X) * (y > 0.2)  # fingers
        warm = warm + 0.35 * torch.exp(-((y + 0.455) ** 2) / 0.003) * (z > 0)  # knees
        warm = warm + 0.3 * torch.exp(-((side - 0.43) ** 2) / 0.002) * (z < 0.02) * (y > 0.2)  # elbows
        base = blend(base, red, warm.clamp(0, 1))

        front = ramp(z, 0.045, 0.075) * (y > 0.47)
        cheek = torch.exp(-(((side - 0.043) / 0.017) ** 2) - ((y - 0.577) / 0.016) ** 2)
        nose = torch.exp(-((x / 0.012) ** 2) - ((y - 0.58) / 0.010) ** 2)
        base = blend(base, red, (front * (face.blush * cheek + 0.35 * nose + 0.1 * tone[:, 1].abs())).clamp(0, 1))
        if face.freckles > 0:
            spot = ramp(noise(place * 420 + face.seed)[:, 0], 0.55, 0.7) * (cheek + nose).clamp(0, 1)
            base = blend(base, base * 0.6, face.freckles * spot * front)
        # Hollows that the geometry has, deepened: eye sockets, beside the nose, under the lip, around the ear.
        socket = torch.exp(-(((side - 0.030) / 0.019) ** 2) - ((y - 0.616) / 0.012) ** 2)
        fold = (
            torch.exp(-(((side - 0.017 - 0.35 * (0.58 - y)) / 0.003) ** 2))
            * ramp(y, 0.548, 0.556)
            * ramp(-y, -0.582, -0.575)
        )
        chin = torch.exp(-((x / 0.014) ** 2) - ((y - 0.527) / 0.0045) ** 2)
        dark = 0.16 * socket + (0.10 + 0.25 * face.age) * fold + 0.14 * chin
        bag = torch.exp(-(((side - 0.030) / 0.013) ** 2) - ((y - 0.602) / 0.0035) ** 2)
        dark = dark + (0.06 + 0.18 * face.age) * bag
        if face.age > 0:
            for level in (0.652, 0.661, 0.670):
                dark = dark + 0.18 * face.age * line(y - level - 0.002 * torch.sin(x * 90), 0.0008, 0.0012) * (
                    side < 0.035
                )
        base = base * (1 - front * dark.clamp(0, 0.6))[:, None]
        if face.stubble > 0:
            jaw = ramp(-y, -0.567, -0.553) * ramp(y, 0.468, 0.49) * ramp(z, 0.04, 0.06)
            jaw = torch.maximum(jaw, line(x, 0.022, 0.006) * line(y - 0.559, 0.006, 0.004) * front)
            jaw = torch.maximum(
                jaw, ramp(-y, -0.60, -0.58) * ramp(z, 0.035, 0.05) * ramp(-z, -0.085, -0.07) * (side > 0.05)
            )
            grain = 0.75 + 0.25 * noise(place * 900)[:, 0]
            shade = base * 0.25 + 0.75 * linear(face.brows, device)
            base = blend(base, shade, (0.55 * face.stubble * jaw * grain * (y > 0.47)).clamp(0, 1))
        # Lips: two bows that meet in a line.
        half = 0.0235 * (0.9 + 12 * (face.lip_fullness - 0.008))
        across = (x / half).clamp(-1.2, 1.2)
        middle = _MOUTH_Y + 0.0015 * across**2
        bow = 0.0011 * torch.cos(x * 520) * (side < 0.009)
        upper = face.lip_fullness * 0.85 * (1 - across**2).clamp_min(0) + bow
        lower = face.lip_fullness * 1.1 * (1 - across**2).clamp_min(0).sqrt()
        above = y - middle
        lips = torch.where(
            above > 0, 1 - ramp(above - upper, -0.0012, 0.0008), 1 - ramp(-above - lower, -0.0015, 0.001)
        )
        lips = lips * (side < half) * front * (z > 0.09)
        lip = linear(face.lips, device) * (0.9 + 0.2 * noise(torch.stack([x * 700, y * 60, z], -1))[:, :1])
        base = blend(base, lip, lips * (0.35 + 0.65 * face.lip_strength))
        gap = line(above, 0.0011, 0.0009) * (side < half * 1.02) * front
        base = blend(base, linear((0.22, 0.08, 0.07), device), 0.8 * gap)
        nostril = torch.exp(-(((side - 0.0075) / 0.004) ** 2) - ((y - 0.5685) / 0.0028) ** 2) * front * (z > 0.12)
        base = base * (1 - 0.65 * nostril)[:, None]
        # Brows: a tapering arch of short strokes.
        along = ((side - 0.012) / 0.036).clamp(-0.2, 1.3)
        arch = _BROW_Y + face.brow_tilt * torch.sin(along.clamp(0, 1) * 2.2) - 0.003 * (along - 0.75).clamp_min(0)
        height = face.brow_weight * (1.0 - 0.65 * along.clamp(0, 1))
        stroke = 0.75 + 0.35 * noise(torch.stack([x * 900, (y - side * 0.5) * 260, z * 10 + face.seed], -1))[:, 0]
        brow = (
            (1 - ramp((y - arch).abs() - height, -0.0016, 0.0010))
            * ramp(along, -0.08, 0.08)
            * (1 - ramp(along, 0.92, 1.1))
        )
        base = blend(base, linear(face.brows, device), (brow * stroke * front).clamp(0, 0.95))
        # Lid line and lashes around the eye's opening.
        dx, dy = (side - EYE[0]) / 0.0150, (y - EYE[1]) / 0.0068
        ring = (dx**2 + dy**2).sqrt()
        upper_lid = torch.exp(-(((ring - 1.0) / 0.16) ** 2)) * ramp(dy, -0.15, 0.35)
        lower_lid = torch.exp(-(((ring - 1.0) / 0.12) ** 2)) * (1 - ramp(dy, -0.3, 0.1))
        lid = (face.lashes * upper_lid + 0.35 * face.lashes * lower_lid) * front
        shadow = torch.exp(-((dx / 1.15) ** 2) - ((y - EYE[1] - 0.009) / 0.0055) ** 2) * face.shadow * front
        base = blend(base, base * torch.tensor([0.55, 0.45, 0.5], device=device), shadow.clamp(0, 1))
        base = blend(base, linear((0.07, 0.05, 0.045), device), lid.clamp(0, 0.9))
        gloss = 0.10 + 0.12 * lips + 0.05 * nose
        return base.clamp(0.004, 0.95), gloss

    return look


def eye_look(iris: Colour, gaze: tuple[float, float]) -> Look:
    """The look of the eyeballs; ``gaze`` shifts the irises (metres, to the person's left and up)."""

    def look(corners: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        device = corners.device
        x, y, z = corners[:, 0], corners[:, 1], corners[:, 2]
        across = torch.where(x > 0, x - EYE[0], x + EYE[0]) - gaze[0]
        up = y - EYE[1] - gaze[1]
        radius = (across**2 + up**2).sqrt()
        front = z > EYE[2]
        base = linear((0.86, 0.84, 0.82), device).expand(len(x), 3)
        base = base * (1 - 0.45 * ramp(y - EYE[1], 0.002, 0.007))[:, None]  # the lid's shadow
        angle = torch.atan2(up, across)
        colour = linear(iris, device) * (0.8 + 0.3 * noise(torch.stack([angle * 6, radius * 300, x * 0], -1))[:, :1])
        base = blend(
            base,
            colour * (1 - 0.6 * ramp(radius, 0.75 * _IRIS, _IRIS))[:, None],
            (1 - ramp(radius, _IRIS - 4e-4, _IRIS + 4e-4)) * front,
        )
        base = blend(base, linear((0.02, 0.02, 0.02), device), (1 - ramp(radius, _PUPIL - 3e-4, _PUPIL + 3e-4)) * front)
        glint = ((across - 0.002) ** 2 + (up - 0.0025) ** 2).sqrt()
        base = blend(base, linear((0.95, 0.95, 0.95), device), (1 - ramp(glint, 0.0006, 0.0014)) * front)
        return base, torch.full_like(x, 0.3)

    return look
