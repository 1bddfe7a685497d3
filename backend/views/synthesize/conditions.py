"""What the synthesizer is told of each view: the photo, the fitted body, and the photo carried by the body."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch.nn import functional

from ...body.model import JOINT_NAMES, BodyModel
from ...rendering.triangles import vertex_normals
from ..latent.views import BodyMaps, ViewCameras, draw_body
from .config import SynthesizerConfig
from .fill import PALETTE, VertexFill, draw_colours, vertex_colours

PARTS = ("head", "torso", "arms", "hands", "legs", "feet")
"""Body parts of the label maps; finer labels than a small network can use would be noise to it."""
_PART_OF_JOINT = {
    **dict.fromkeys(("neck", "head"), "head"),
    **dict.fromkeys(("pelvis", "spine1", "spine2", "spine3", "left_collar", "right_collar"), "torso"),
    **dict.fromkeys(("left_shoulder", "right_shoulder", "left_elbow", "right_elbow"), "arms"),
    **dict.fromkeys(("left_wrist", "right_wrist", "left_hand", "right_hand"), "hands"),
    **dict.fromkeys(("left_hip", "right_hip", "left_knee", "right_knee"), "legs"),
    **dict.fromkeys(("left_ankle", "right_ankle", "left_foot", "right_foot"), "feet"),
}
CHANNELS = {
    "photo_latent": 4,
    "matte": 1,
    "normal": 3,
    "depth": 1,
    "mask": 1,
    "parts": len(PARTS),
    "carried_latent": 4,
    "carried_rgb": 3,
    "seen": 1,
}
"""Channels of the conditions in order. ``photo_latent`` and ``matte`` are the same in every view."""
CONDITION_CHANNELS = sum(CHANNELS.values())
_OF_PHOTO = ("photo_latent", "matte", "carried_latent", "carried_rgb", "seen")
FINE_CHANNELS = {"normal": 3, "depth": 1, "mask": 1, "palette": 3 * len(PALETTE), "seen": 1}
"""Channels of the maps that pictures are painted by, in order; ``palette`` is :data:`~.fill.PALETTE`, its first colour
the photo's own where it sees the body; beside the body they go on."""
_FINE_OF_PHOTO = 3 * len(PALETTE) + 1
"""How many of the last channels come from the photo."""
_DEPTH_SLACK, _MOST_SLACK = 0.02, 0.12
"""How far, in half picture widths at the pelvis (about metres), a point may lie behind what the photo's depth map says
and still count as seen; where the body slopes away, depth changes within a pixel, and the slack grows to the latter."""


def channel_slice(name: str) -> slice:
    """Where in the conditions the channels ``name`` of :data:`CHANNELS` are."""
    names = list(CHANNELS)
    start = sum(CHANNELS[n] for n in names[: names.index(name)])
    return slice(start, start + CHANNELS[name])


def vertex_parts(body: BodyModel) -> torch.Tensor:
    """The part of each body vertex, int64 [N], numbers of :data:`PARTS`: that of the joint which moves it most."""
    part = [PARTS.index(_PART_OF_JOINT[name]) for name in JOINT_NAMES]
    return torch.tensor(part, device=body.weights.device)[body.weights.argmax(1)]


@dataclass(frozen=True)
class BodyLabels:
    """What is known of each vertex of a body.

    Attributes:
        parts: int64 [N], see :func:`vertex_parts`.
        fill: how hidden vertices get their colours.
    """

    parts: torch.Tensor
    fill: VertexFill


def label_body(body: BodyModel, device: torch.device | str | None = None) -> BodyLabels:
    """The labels of a body, on ``device`` or where it is."""
    faces = body.faces if device is None else body.faces.to(device)
    return BodyLabels(vertex_parts(body).to(faces.device), VertexFill.of(body, faces))


def azimuths_of(cameras: ViewCameras) -> torch.Tensor:
    """Degrees [V] in 0..360 by which each camera stands to the right of the first, seen from there.

    A person who faces the first camera has their left there.
    """
    first = cameras.world_to_camera[0, :3, :3]
    ahead = cameras.world_to_camera[:, 2, :3] @ first.T
    return torch.rad2deg(torch.atan2(-ahead[:, 0], ahead[:, 2])) % 360


@dataclass(frozen=True)
class Conditions:
    """What the network is told of the views of B people.

    Attributes:
        coarse: [B, V, C, L, L], channels as in :data:`CHANNELS`.
        fine: [B, V, 21, F, F], channels as in :data:`FINE_CHANNELS`, F = L times the configuration's fineness.
    """

    coarse: torch.Tensor
    fine: torch.Tensor

    def without_photo(self) -> Conditions:
        """Without anything of the photo: what guidance compares with."""
        kept = torch.ones(CONDITION_CHANNELS, dtype=self.coarse.dtype, device=self.coarse.device)
        for name in _OF_PHOTO:
            kept[channel_slice(name)] = 0
        body = self.fine[:, :, :-_FINE_OF_PHOTO]
        fine = torch.cat([body, torch.zeros_like(self.fine[:, :, -_FINE_OF_PHOTO:])], 2)
        return Conditions(self.coarse * kept[:, None, None], fine)

    def where(self, chosen: torch.Tensor, other: Conditions) -> Conditions:
        """``other`` for the people that bool ``chosen`` [B] names, these for the rest."""
        mask = chosen[:, None, None, None, None]
        return Conditions(torch.where(mask, other.coarse, self.coarse), torch.where(mask, other.fine, self.fine))


def surface_points(maps: BodyMaps, cameras: ViewCameras) -> torch.Tensor:
    """World points [V, S, S, 3] that the pixels of ``maps`` see; without meaning beside the body."""
    origins, directions = cameras.rays(maps.depth.shape[1])
    return origins[:, None, None] + maps.depth[..., None] * directions


def spread_out(picture: torch.Tensor, weight: torch.Tensor) -> torch.Tensor:
    """``picture`` [V, C, S, S] where ``weight`` [V, 1, S, S] is one, elsewhere the colours near by; zero if none is.

    The fitted body is never quite where the person is: what it carries from beside the person would be background.
    Fills from coarser and coarser pictures (push-pull; Gortler et al. 1996). S is a power of two.
    """
    size = picture.shape[-1]
    if size == 1 or size % 2:
        return picture * (weight > 0)
    total = functional.avg_pool2d(torch.cat([picture * weight, weight], 1), 2)
    known = (4 * total[:, -1:]).clamp(max=1)
    small = spread_out(total[:, :-1] / total[:, -1:].clamp(min=1e-6), known)
    around = functional.interpolate(small, size=(size, size), mode="bilinear", align_corners=False)
    return weight * picture + (1 - weight) * around


def carry_photo(
    photo: torch.Tensor,
    photo_alpha: torch.Tensor,
    maps: BodyMaps,
    cameras: ViewCameras,
) -> tuple[torch.Tensor, torch.Tensor]:
    """The photo painted onto the body and seen from all views, without regard to what hides what.

    A point on the back thus gets the colour in front of it, and a flag says that the photo does not see it.

    Args:
        photo: [1, C, P, P] anything of the photo's picture.
        photo_alpha: [1, 1, S, S] its matte.
        maps: of all views, the first the photo's.
        cameras: of all views, the first the photo's.

    Returns:
        (``photo`` [V, C, S, S], zero beside the body and outside the photo; whether the photo sees that point of the
        body [V, S, S], 0 or 1).
    """
    views, size, _ = maps.depth.shape
    points = surface_points(maps, cameras)
    eye = cameras.rays(1)[0][0]
    first = cameras[:1]
    place = first.project(points.reshape(-1, 3))[0].reshape(views, size, size, 3)
    at = place[..., :2].reshape(1, views * size, size, 2) * 2 - 1

    def look(picture: torch.Tensor) -> torch.Tensor:
        found = functional.grid_sample(picture, at, padding_mode="zeros", align_corners=False)[0]
        return found.reshape(-1, views, size, size).transpose(0, 1)

    matte = look(photo_alpha) * maps.mask[:, None]
    pixel = (place[..., :2] * size).floor().long().clamp(0, size - 1)
    surface = maps.depth[0][pixel[..., 1], pixel[..., 0]]
    inside = ((place[..., :2] >= 0) & (place[..., :2] < 1)).all(-1)
    # Thin parts have their back closer to their front than the slack: a back never faces the photo.
    cosine = (maps.normal * functional.normalize(eye - points, dim=-1)).sum(-1)
    pixel_width = place[..., 2] / (cameras.focal[0] * size)
    slope = (1 - cosine.square()).clamp(min=0).sqrt() / cosine.clamp(min=1e-3)
    slack = (_DEPTH_SLACK + pixel_width * slope).clamp(max=_MOST_SLACK)
    seen = inside & (cosine > 0) & (place[..., 2] <= surface + slack) & (matte[:, 0] > 0.5)
    return look(photo) * maps.mask[:, None], seen.to(photo) * maps.mask


def conditions(
    photo_latent: torch.Tensor,
    photo_rgb: torch.Tensor,
    photo_alpha: torch.Tensor,
    cameras: ViewCameras,
    vertices: torch.Tensor,
    labels: BodyLabels,
    config: SynthesizerConfig,
    local: torch.Tensor | None = None,
) -> Conditions:
    """Everything that the network is told beside the noisy latents, coarse maps averaged over the latent pixels.

    Args:
        photo_latent: [1, 4, L, L].
        photo_rgb: [1, 3, S, S] in 0..1 over white.
        photo_alpha: [1, 1, S, S].
        cameras: of all views, the first the photo's; the picture two units wide at the pelvis.
        vertices: [N, 3] of the fitted body in the cameras' world.
        labels: of the body.
        config: sizes.
        local: bool [1, 1, S, S], where the photo lends no colours to what it does not show; None: nowhere.

    Returns:
        Of one person. Normals are in each view's camera axes (right, down, forward), depth is counted from the pelvis;
        all maps of the body but the palette are 0 beside it, colours are in -1..1 times the matte.
    """
    views, fine = len(cameras), config.grid * config.fineness
    faces = labels.fill.faces
    normals = vertex_normals(vertices, faces)
    maps = draw_body(vertices, normals, faces, cameras, fine)
    mask = maps.mask[:, None]
    normal = torch.einsum("vij,vhwj->vihw", cameras.world_to_camera[:, :3, :3], maps.normal)
    depth = (maps.depth - cameras.world_to_camera[:, 2, 3, None, None])[:, None]
    label = functional.one_hot(labels.parts[faces[:, 0]][maps.face], len(PARTS)).permute(0, 3, 1, 2)
    matte = functional.interpolate(photo_alpha, size=(config.grid, config.grid), mode="area")
    beyond = spread_out(photo_rgb * 2 - 1, photo_alpha)
    carried_rgb, seen = carry_photo(beyond, photo_alpha, maps, cameras)
    carried_latent, _ = carry_photo(spread_out(photo_latent, matte), photo_alpha, maps, cameras)
    fine_maps = torch.cat([normal, depth, torch.ones_like(mask), label.to(mask), carried_latent, carried_rgb], 1) * mask
    averaged = functional.avg_pool2d(torch.cat([fine_maps, seen[:, None]], 1), config.fineness)
    photo = torch.cat([photo_latent, matte], 1).expand(views, -1, -1, -1)
    colours = vertex_colours(labels.fill, 0.5 + 0.5 * beyond, photo_alpha, maps, cameras, vertices, normals, local)
    palette = draw_colours((2 * colours - 1).flatten(1), faces, maps)
    palette[:, :3] = torch.where(seen[:, None] > 0, carried_rgb, palette[:, :3])
    palette = spread_out(palette, mask)  # hair and clothes stand off the body
    fine_maps = torch.cat([normal * mask, depth * mask, mask, palette, seen[:, None]], 1)
    return Conditions(torch.cat([photo, averaged], 1)[None], fine_maps[None])
