"""Colours for what the photo does not show of the body: what the painter starts from behind and beside the person."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch.nn import functional

from ..body.model import BodyModel
from ..reconstruct.colours import FACE_CLASS, HAIR_CLASS, MIN_HAIR, fill_unseen, skin_among_hair, vertex_classes
from ..reconstruct.latent.views import BodyMaps, ViewCameras

_SOURCES = 3000
"""At most so many vertices that the photo sees lend their colours: on maps of 128 pixels more make no difference."""
_TURNED = (0.05, 0.3)
"""Cosines between surface and ray below which a vertex shows too little to be believed: of hair, and of all else."""
_SLACK = (0.1, 0.02)
"""Half picture widths that a vertex may lie behind the photo's depth map and count as seen, likewise: the top of a head
slopes steeply."""
_RIMS = (1, 2)
"""Pixels of a picture of 256 from the outline at which they count: hair, and all else."""


@dataclass(frozen=True)
class VertexFill:
    """What the fill needs of a body, once.

    Attributes:
        rest: [N, 3] template, metres.
        kind: [N] colour classes.
        faces: int64 [F, 3].
    """

    rest: np.ndarray
    kind: np.ndarray
    faces: torch.Tensor

    @classmethod
    def of(cls, body: BodyModel, faces: torch.Tensor) -> VertexFill:
        """Of a body, whose ``faces`` are where pictures are drawn."""
        return cls(body.template.cpu().double().numpy(), vertex_classes(body), faces)


def vertex_colours(
    fill: VertexFill,
    photo: torch.Tensor,
    alpha: torch.Tensor,
    maps: BodyMaps,
    cameras: ViewCameras,
    vertices: torch.Tensor,
    normals: torch.Tensor,
) -> torch.Tensor:
    """Colours [N, 3] of the body's vertices: the photo's where it sees them, else those of the most alike place.

    Args:
        fill: of the body.
        photo: [1, 3, S, S] colours in 0..1 that go on beyond the outline.
        alpha: [1, 1, S, S] the matte.
        maps: of all views, the first the photo's.
        cameras: of all views, the first the photo's.
        vertices, normals: [N, 3] in the cameras' world.
    """
    first = cameras[:1]
    place = first.project(vertices)[0]
    at = place[None, None, :, :2] * 2 - 1

    def look(picture: torch.Tensor) -> torch.Tensor:
        return functional.grid_sample(picture, at, padding_mode="zeros", align_corners=False)[0, :, 0].T

    def inner(pixels: int) -> torch.Tensor:
        reach = max(1, round(pixels * alpha.shape[-1] / 256))
        return -functional.max_pool2d(-alpha, 2 * reach + 1, 1, reach)

    eye = first.rays(1)[0][0]
    facing = (normals * functional.normalize(eye - vertices, dim=-1)).sum(-1)
    depth = functional.grid_sample(maps.depth[:1, None], at, align_corners=False, mode="nearest")[0, 0, 0]
    # Of hair there is often no more to see than a rim.
    hair, other = (
        (look(inner(pixels))[:, 0] > 0.5) & (facing > turned) & (place[:, 2] <= depth + slack)
        for pixels, turned, slack in zip(_RIMS, _TURNED, _SLACK)
    )
    rgb, cosine = (v.cpu().double().numpy() for v in (look(photo), facing))
    source = np.where(fill.kind == HAIR_CLASS, hair.cpu().numpy(), other.cpu().numpy())
    source &= ~skin_among_hair(fill.kind, rgb, source)
    kind = fill.kind
    if (kind[source] == HAIR_CLASS).sum() < MIN_HAIR:
        # No hair in sight: any part of the head must do.
        kind = np.where(kind == FACE_CLASS, HAIR_CLASS, kind)
    chosen = np.nonzero(source)[0]
    chosen = chosen[:: max(1, len(chosen) // _SOURCES)]
    hidden = ~source
    rgb[hidden] = fill_unseen(
        fill.rest[chosen], kind[chosen], rgb[chosen], cosine[chosen].clip(0, 1), fill.rest[hidden], kind[hidden]
    )
    return torch.as_tensor(rgb, dtype=photo.dtype, device=photo.device)


def draw_colours(colours: torch.Tensor, faces: torch.Tensor, maps: BodyMaps) -> torch.Tensor:
    """Vertex ``colours`` [N, 3] as pictures [V, 3, S, S], zero beside the body. A face has one colour: it is small."""
    return colours[faces].mean(1)[maps.face].permute(0, 3, 1, 2) * maps.mask[:, None]
