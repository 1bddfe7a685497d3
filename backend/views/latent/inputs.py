"""What the transformer takes, from a body, cameras and pictures: the same for training and for use."""

from __future__ import annotations

import torch
from torch.nn import functional

from .codec import DiffusersCodec, LatentCodec
from .config import LatentConfig
from .model import LatentInput
from .views import SideViews, ViewCameras, draw_body


def network_input(
    config: LatentConfig,
    codec: LatentCodec | DiffusersCodec,
    cameras: ViewCameras,
    vertices: torch.Tensor,
    normals: torch.Tensor,
    faces: torch.Tensor,
    tokens: torch.Tensor,
    photo: torch.Tensor,
    photo_alpha: torch.Tensor,
    others: SideViews,
) -> LatentInput:
    """Put together one person.

    Args:
        config: sizes.
        codec: of the latents.
        cameras: V of them in the network's world.
        vertices, normals: [N, 3] of the body in that world.
        faces: int64 [F, 3].
        tokens: int64 [M], the vertices that become tokens.
        photo: [1, 3, S, S] in 0..1 over white.
        photo_alpha: [1, 1, S, S] its matte.
        others: the other views, V - 1.
    """

    def sized(picture: torch.Tensor, size: int) -> torch.Tensor:
        return functional.interpolate(picture, size=(size, size), mode="area")

    with torch.no_grad():
        colours = sized(photo, config.picture)
        latents = torch.cat([codec.encode(colours), others.latents])
        decoded, coverage = shown(others, codec, config.picture)
    return LatentInput(
        latents=latents,
        colours=torch.cat([colours, decoded]),
        alphas=torch.cat([sized(photo_alpha, config.picture)[:, 0], coverage]),
        photo=sized(photo, config.reference)[0],
        photo_alpha=sized(photo_alpha, config.reference)[0, 0],
        cameras=cameras,
        body_points=vertices[tokens],
        body_normals=normals[tokens],
        maps=draw_body(vertices, normals, faces, cameras, config.maps),
    )


_EDGE = 4.0
"""How steep the outline of a painted picture is made: its coverage says how likely it is, and a person is there or not.
"""


def shown(views: SideViews, codec: LatentCodec | DiffusersCodec, size: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Colours over white [V, 3, S, S] and coverage [V, S, S] of ``views``; painted ones become ``size`` pixels wide."""
    if views.pictures is None:
        return codec.decode_rgba(views.latents)
    large = functional.interpolate(views.pictures, size=(size, size), mode="bicubic", align_corners=False).clamp(0, 1)
    alpha = ((large[:, 3:] - 0.5) * _EDGE + 0.5).clamp(0, 1)
    return large[:, :3] * alpha + (1 - alpha), alpha[:, 0]
