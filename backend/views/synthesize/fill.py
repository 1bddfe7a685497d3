"""Colours for what the photo does not show of the body: what the painter starts from behind and beside the person."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from scipy.spatial import cKDTree
from torch.nn import functional

from ...avatar.meshes import vertex_normals
from ...body.model import JOINT_NAMES, BodyModel
from ...reconstruct.completion import Places, Said, alike, transferable
from ...reconstruct.config import CompletionConfig
from ...reconstruct.parts import HANDS, Part, body_regions, joint_of_vertex
from ..latent.views import BodyMaps, ViewCameras

_SOURCES = 3000
"""At most so many vertices that the photo sees lend their colours: on maps of 128 pixels more make no difference."""
_TURNED = (0.05, 0.3)
"""Cosines between surface and ray below which a vertex shows too little to be believed: of hair, and of all else."""
_SLACK = (0.1, 0.02)
"""Half picture widths that a vertex may lie behind the photo's depth map and count as seen, likewise: the top of a head
slopes steeply."""
_RIMS = (1, 2)
"""Pixels of a picture of 256 from the outline at which they count: hair, and all else."""


_COMPLETION = CompletionConfig(mirror=0.05)
"""As the painter was trained: the other side lends less, or a parting would show skin behind."""
_FEWEST = 40
"""Places that must show hair, or a face, before anything is concluded from them."""
_GOES_ON = 0.5
"""How far a colour must go on around the body to be lent."""
_AROUND = 60
"""How many places make a ring around trunk or limb."""
_ALONG, _ACROSS, _THROUGH = 1.0, 0.2, 0.05
"""How much distance counts along a limb, across it and through it where rings are looked for."""
_ARMS = [joint for joint, name in enumerate(JOINT_NAMES) if name.endswith(("shoulder", "elbow", "wrist"))]
"""Joints that move arms, which point aside in the rest pose."""
_APART = 10.0
"""Metres between parts of different kinds."""
_HAIR_DEPTH = 0.03
"""Metres outside the skull where hair, if there is any, is seen."""
PALETTE = ("filled", "median", "mean", "hair", "skin")
"""What the photo offers for every place of the body: the colour of the most alike place that it shows, which may be a
badge; the median of the ring around trunk or limb, which is none; its mean, which is that of stripes; hair; skin."""


@dataclass(frozen=True)
class VertexFill:
    """What the fill needs of a body, once.

    Attributes:
        rest: [N, 3] template, metres.
        normal: [N, 3] of it.
        part: int [N], :class:`~backend.reconstruct.parts.Part`.
        ring: [N, 4] features by which places on one ring around trunk or limb are near each other.
        faces: int64 [F, 3].
    """

    rest: np.ndarray
    normal: np.ndarray
    part: np.ndarray
    ring: np.ndarray
    faces: torch.Tensor

    @classmethod
    def of(cls, body: BodyModel, faces: torch.Tensor) -> VertexFill:
        """Of a body, whose ``faces`` are where pictures are drawn."""
        rest, part = body.template.cpu().double().numpy(), body_regions(body).parts
        arm = np.isin(joint_of_vertex(body.weights.cpu().numpy()), _ARMS)
        side, height = np.abs(rest[:, 0]), rest[:, 1]
        along, across = np.where(arm, side, height), np.where(arm, height, side)
        group = arm + 2 * (part == Part.HAIR) + 4 * (part == Part.FACE) + 8 * np.isin(part, HANDS)
        group += 16 * (part == Part.SEAT)
        ring = np.column_stack([_ALONG * along, _ACROSS * across, _THROUGH * rest[:, 2], _APART * group])
        return cls(rest, vertex_normals(rest, body.faces.cpu().numpy()), part, ring, faces)


def vertex_colours(
    fill: VertexFill,
    photo: torch.Tensor,
    alpha: torch.Tensor,
    maps: BodyMaps,
    cameras: ViewCameras,
    vertices: torch.Tensor,
    normals: torch.Tensor,
    local: torch.Tensor | None = None,
) -> torch.Tensor:
    """The :data:`PALETTE` [N, 5, 3] of the body's vertices; where the photo sees one, all but hair and skin are that.

    Args:
        fill: of the body.
        photo: [1, 3, S, S] colours in 0..1 that go on beyond the outline.
        alpha: [1, 1, S, S] the matte.
        maps: of all views, the first the photo's.
        cameras: of all views, the first the photo's.
        vertices, normals: [N, 3] in the cameras' world.
        local: bool [1, 1, S, S], where the photo lends no colours to what it does not show; None: nowhere.
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
    part, config = fill.part, _COMPLETION
    source = np.where(part == Part.HAIR, hair.cpu().numpy(), other.cpu().numpy())
    places = Places(fill.rest, fill.normal, part)
    goes_on = transferable(places, Said(rgb, np.where(source, cosine.clip(0.3, 1), 0)), config)
    source &= goes_on > _GOES_ON
    if local is not None:
        # Pixels are coarse: hair beside a forehead, or a sleeve beside a print, must not be lost with them.
        clothes = np.isin(part, (Part.TRUNK, Part.SEAT))
        source &= ~clothes | (look(local.to(photo))[:, 0].cpu().numpy() == 0)
    chosen = np.nonzero(source)[0]
    chosen = chosen[:: max(1, len(chosen) // _SOURCES)]
    if not len(chosen):
        return torch.full((len(rgb), len(PALETTE), 3), 0.5, dtype=photo.dtype, device=photo.device)
    out = np.repeat(rgb[:, None], len(PALETTE), 1)
    hidden = ~source
    lends = np.zeros(len(rgb))
    lends[chosen] = cosine[chosen].clip(0.3, 1)
    out[hidden, 0] = alike(places, Said(rgb, lends), config)[hidden]
    around = cKDTree(fill.ring[chosen]).query(fill.ring[hidden], k=min(_AROUND, len(chosen)), workers=-1)[1]
    around = rgb[chosen][around.reshape(int(hidden.sum()), -1)]
    out[hidden, 1], out[hidden, 2] = np.median(around, 1), around.mean(1)
    strand = _hair(fill, photo, inner(1), maps, first, vertices + _HAIR_DEPTH * normals)
    out[:, 3] = np.median(strand, 0) if len(strand) >= _FEWEST else _typical(rgb, (part == Part.HAIR) & source, source)
    face, hand = (part == Part.FACE) & source, np.isin(part, HANDS) & source
    out[:, 4] = _typical(rgb, face if face.sum() >= _FEWEST else hand, source)
    return torch.as_tensor(out, dtype=photo.dtype, device=photo.device)


def _hair(
    fill: VertexFill,
    photo: torch.Tensor,
    alpha: torch.Tensor,
    maps: BodyMaps,
    first: ViewCameras,
    outside: torch.Tensor,
) -> np.ndarray:
    """Colours [n, 3] that the photo shows around the skull, of hair or hat; none of bald heads.

    Args:
        fill, photo, maps: see :func:`vertex_colours`.
        alpha: [1, 1, S, S] the matte without its rim.
        first: the photo's camera.
        outside: [N, 3] points outside the body's vertices.
    """
    place = first.project(outside)[0]
    at = place[None, None, :, :2] * 2 - 1
    face = torch.as_tensor(fill.part != Part.HAIR, device=photo.device)[fill.faces[:, 0]][maps.face[:1]]
    body = (face.to(photo) * maps.mask[:1])[None]
    layers = torch.cat([photo, alpha], 1)
    found = functional.grid_sample(layers, at, padding_mode="zeros", align_corners=False)[0, :, 0].T
    hidden = functional.grid_sample(body, at, padding_mode="zeros", align_corners=False, mode="nearest")[0, 0, 0]
    hair = fill.part == Part.HAIR
    # Beside the face, a matte's rim shows cheeks and ears.
    upper = hair & (fill.rest[:, 1] > np.median(fill.rest[hair, 1]))
    chosen = (found[:, 3] > 0.9) & (hidden < 0.5) & torch.as_tensor(upper, device=photo.device)
    return found[chosen, :3].cpu().double().numpy()


def _typical(rgb: np.ndarray, wanted: np.ndarray, any_: np.ndarray) -> np.ndarray:
    """Median colour [3] of those ``wanted`` [N], of ``any_`` [N] where those are too few."""
    return np.median(rgb[wanted if wanted.sum() >= _FEWEST else any_], 0)


def draw_colours(colours: torch.Tensor, faces: torch.Tensor, maps: BodyMaps) -> torch.Tensor:
    """Vertex ``colours`` [N, C] as pictures [V, C, S, S], zero beside the body. A face has one colour: it is small."""
    return colours[faces].mean(1)[maps.face].permute(0, 3, 1, 2) * maps.mask[:, None]
