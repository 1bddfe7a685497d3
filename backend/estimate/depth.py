"""Where the person's front and back are in depth: a network that looks at the photo and at the fitted body.

A photo and the body fitted to it leave open how far clothes and hair stand off, and where limbs and trunk are along the
rays. For every pixel of the matte the network says how far the first and the last surface on its ray lie from the
body's, and how far that may be wrong. Moving along rays leaves the photo's own view as it is.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
import torch
from torch import nn
from torch.nn import functional

from ..body.fit import BodyFit
from ..body.model import BodyModel
from ..geometry.distances import nearest_of
from ..networks import describe, read_frozen
from ..networks.layers import Block, Residual
from ..photo import PreparedPhoto
from ..rendering.triangles import Hits, rasterize, vertex_normals

PHOTO_SIZE, MAP_SIZE = 256, 64
"""Pixels a side of the photo that the network sees, and of all maps."""
UNIT = 0.1
"""Metres to one of the network's numbers."""
MOST = 0.6
"""Metres by which a surface may lie before or behind the body."""
_LEAST_SPREAD = 0.02
_THICKER, _THICKEST = 0.1, 0.16
"""Metres from which further thickness of clothes on a trunk counts less and less, and what it comes to at most. The
factory's people with more carry bags; a shirt that fills what is between arms and trunk looks like one, too."""
_TRUNK, _NECK, _SHOULDER = (0.0, 0.08), 0.47, 0.2
"""Metres in the rest pose, from the pelvis up and from the middle: from where that holds, in part and wholly, and where
trunks end."""
_TALL = 1.7
"""Metres."""
WEIGHTS = "depth.safetensors"


_DOUBTED = 0.04
"""Metres of foretold error with which thickness is half believed. People unlike those from whom the network learned, as
with a strip of background beside them, would get humps and trains."""


@dataclass(frozen=True)
class SideDepths:
    """Where the photo's rays enter and leave the person, as the network says.

    Attributes:
        front, back: float [S, S] metres along the camera's axis.
        front_spread, back_spread: [S, S] metres by which they err, about.
        known: bool [S, S], the matte inside the photo: elsewhere the others mean nothing.
    """

    front: np.ndarray
    back: np.ndarray
    front_spread: np.ndarray
    back_spread: np.ndarray
    known: np.ndarray

    @property
    def belief(self) -> np.ndarray:
        """How far the depths' thickness counts against the body's own, [S, S] in 0..1."""
        return 1 / (1 + (np.maximum(self.front_spread, self.back_spread) / _DOUBTED) ** 4)

    def scaled(self, factor: float) -> SideDepths:
        """Of the same person ``factor`` times as far away and as large."""
        return SideDepths(
            factor * self.front,
            factor * self.back,
            factor * self.front_spread,
            factor * self.back_spread,
            self.known,
        )


def both_sides(
    vertices: torch.Tensor, faces: torch.Tensor, focal: float, size: int
) -> tuple[torch.Tensor, torch.Tensor, tuple[Hits, Hits]]:
    """First and last depth [S, S] of a mesh, infinite beside it, and the hits of both (the last ones' depths inverse).

    Args:
        vertices: float32 [V, 3] metres, camera space (OpenCV axes, principal point at the picture's middle).
        faces: int64 [F, 3].
        focal: in picture widths.
        size: pixels a side.
    """
    z = vertices[:, 2:]
    pixels = vertices[:, :2] / z * (focal * size) + size / 2
    first = rasterize(torch.cat([pixels, z], 1)[None], faces, (size, size))
    # Over the picture the inverse of depth is linear: the smallest is the last surface.
    last = rasterize(torch.cat([pixels, 1 / z], 1)[None], faces, (size, size), perspective=False)
    return first.spread(first.depth, torch.inf)[0], last.spread(1 / last.depth, torch.inf)[0], (first, last)


BODY_CHANNELS = 2 * (1 + 1 + 3 + 3)


def body_maps(
    vertices: torch.Tensor, rest: torch.Tensor, faces: torch.Tensor, focal: float, pelvis: torch.Tensor
) -> torch.Tensor:
    """What the network sees of a body: [16, M, M], eight maps of its front and eight of its back.

    Coverage, depth less the pelvis' (in tenths of a metre, extended to the pixels beside it), normal, and the place in
    the rest pose (metres), which tells the parts apart.

    Args:
        vertices: float32 [V, 3] posed, camera space.
        rest: float32 [V, 3], see :func:`rest_places`.
        faces: int64 [F, 3].
        focal: in picture widths.
        pelvis: [3] joint, camera space.
    """
    *depths, hits = both_sides(vertices, faces, focal, MAP_SIZE)
    normals = vertex_normals(vertices, faces)
    nearest = nearest_inside(depths[0].isfinite())
    maps = []
    for depth, hit in zip(depths, hits):
        corners = faces[hit.face]
        values = torch.cat([normals, rest], 1)[corners]
        values = hit.spread((values * hit.barycentric[..., None]).sum(1))[0]
        covered = depth.isfinite()
        shifted = ((depth - pelvis[2]) / UNIT)[nearest].nan_to_num(0, 0, 0)
        maps += [covered.float()[None], shifted[None], values.permute(2, 0, 1)]
    return torch.cat(maps)


def rest_places(body: BodyModel) -> torch.Tensor:
    """Vertices [V, 3] of the mean body in the rest pose, from its pelvis, all bodies made equally tall."""
    height = body.template[:, 1].max() - body.template[:, 1].min()
    return ((body.template - body.joint_regressor[0] @ body.template) * (_TALL / height)).float()


def nearest_inside(mask: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Row and column of the nearest pixel of ``mask`` [H, W] for every pixel, its own where there are none."""
    row, column = nearest_of(mask.cpu().numpy())
    return torch.as_tensor(row, device=mask.device), torch.as_tensor(column, device=mask.device)


_ALIKE = 0.05
"""Metres of depth over which neighbouring pixels lend each other less."""


def enlarged(values: torch.Tensor, depth: torch.Tensor, fine: torch.Tensor) -> torch.Tensor:
    """``values`` [C, M, M] at the pixels of ``fine``, mixed from the nearest four whose body is as deep there.

    Args:
        values: of pixels whose body lies at ``depth``.
        depth: [C, M, M] metres.
        fine: [C, S, S] metres, S a multiple of M.

    Returns:
        [C, S, S].
    """
    size, coarse = fine.shape[-1], depth.shape[-1]
    at = ((torch.arange(size) + 0.5) * coarse / size - 0.5).clamp(0, coarse - 1)
    low = at.floor().long().clamp(max=coarse - 2)
    part = at - low
    total, weight = torch.zeros_like(fine), torch.full_like(fine, 1e-12)
    for row in (0, 1):
        for column in (0, 1):
            place = (slice(None), (low + row)[:, None], (low + column)[None])
            near = (part if row else 1 - part)[:, None] * (part if column else 1 - part)[None]
            share = near * torch.exp(-(((fine - depth[place]) / _ALIKE) ** 2)) + 1e-9 * near
            total += share * values[place]
            weight += share
    return total / weight


def no_thicker(offset: torch.Tensor, body: torch.Tensor) -> torch.Tensor:
    """``offset`` [B, 2, M, M] with backs moved towards fronts where clothes would make a trunk thicker than they do.

    Args:
        offset: see :meth:`DepthNetwork.forward`.
        body: [16, M, M], see :func:`body_maps`.
    """
    row, column = nearest_inside(body[0] > 0)
    share = torch.ones_like(body[0])
    # The places in the rest pose of what both surfaces show there.
    for aside, height in (body[5:7, row, column], body[13:15, row, column]):
        trunk = (aside.abs() < _SHOULDER) & (height < _NECK)
        share = share * trunk * ((height - _TRUNK[0]) / (_TRUNK[1] - _TRUNK[0])).clamp(0, 1)
    room = _THICKEST - _THICKER
    beyond = (UNIT * (offset[:, 1] - offset[:, 0]) - _THICKER).clamp(min=0)
    taken = share * (beyond - room * (1 - (-beyond / room).exp())) / UNIT
    # What stands off in front takes nothing from the body's own back.
    return torch.stack([offset[:, 0], offset[:, 1] - torch.minimum(taken, offset[:, 1].clamp(min=0))], 1)


@dataclass(frozen=True)
class DepthConfig:
    """Sizes of the network.

    Attributes:
        photo: channels of the photo at 128 pixels a side.
        widths: channels at 64 pixels a side and at each half of that.
        blocks: residual blocks at each on the way down, and on the way up.
        attention: blocks of attention at the smallest size.
        heads: of each.
    """

    photo: int = 64
    widths: tuple[int, ...] = (80, 160, 320)
    blocks: tuple[int, ...] = (3, 3, 2)
    attention: int = 12
    heads: int = 5


class DepthNetwork(nn.Module):
    """A U-Net over the photo at 256 pixels and the body's maps at 64, with attention over all of the person.

    Args:
        config: sizes.
    """

    def __init__(self, config: DepthConfig | None = None) -> None:
        super().__init__()
        config = config or DepthConfig()
        (first, *others), last = config.widths, config.widths[-1]
        self.see_photo = nn.Sequential(
            nn.Conv2d(4, config.photo // 2, 4, stride=2, padding=1),
            nn.SiLU(),
            nn.Conv2d(config.photo // 2, config.photo, 3, padding=1),
            nn.SiLU(),
            nn.Conv2d(config.photo, first, 4, stride=2, padding=1),
        )
        self.see_body = nn.Conv2d(BODY_CHANNELS, first, 3, padding=1)
        self.down = nn.ModuleList(
            nn.Sequential(*(Residual(w) for _ in range(n))) for w, n in zip(config.widths, config.blocks)
        )
        self.shrink = nn.ModuleList(nn.Conv2d(a, b, 2, stride=2) for a, b in zip(config.widths, others))
        cells = MAP_SIZE // 2 ** len(others)
        self.place = nn.Parameter(0.02 * torch.randn(1, cells * cells, last))
        self.attend = nn.ModuleList(Block(last, config.heads, 4) for _ in range(config.attention))
        self.grow = nn.ModuleList(nn.Conv2d(b, 4 * a, 1) for a, b in zip(config.widths, others))
        self.up = nn.ModuleList(
            nn.Sequential(*(Residual(w) for _ in range(n))) for w, n in zip(config.widths[:-1], config.blocks)
        )
        self.leave = nn.Sequential(nn.GroupNorm(4, first), nn.SiLU(), nn.Conv2d(first, 4, 3, padding=1))
        final = self.leave[-1]
        assert isinstance(final, nn.Conv2d) and final.bias is not None
        nn.init.zeros_(final.weight)
        nn.init.zeros_(final.bias)

    def forward(self, photo: torch.Tensor, body: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """How far front and back lie behind the body's, and how far that may be wrong.

        Args:
            photo: [B, 4, 256, 256], colours of 0..1 times the matte, and the matte.
            body: [B, 16, 64, 64], see :func:`body_maps`.

        Returns:
            (offsets [B, 2, 64, 64], spreads [B, 2, 64, 64] above zero), both in tenths of a metre.
        """
        x = self.see_photo(photo) + self.see_body(body)
        kept = []
        for number, blocks in enumerate(self.down):
            x = blocks(x)
            if number < len(self.shrink):
                kept.append(x)
                x = self.shrink[number](x)
        tokens = x.flatten(2).transpose(1, 2) + self.place
        for block in self.attend:
            tokens = block(tokens)
        x = tokens.transpose(1, 2).reshape(x.shape)
        for grow, blocks, skip in zip(reversed(self.grow), reversed(self.up), reversed(kept)):
            x = blocks(functional.pixel_shuffle(grow(x), 2) + skip)
        offset, spread = self.leave(x).chunk(2, 1)
        return offset, functional.softplus(spread) + _LEAST_SPREAD


def pack_rgba(rgb: torch.Tensor, alpha: torch.Tensor) -> torch.Tensor:
    """The photo as the network sees it: [4, S, S] of colours [S, S, 3] and matte [S, S] in 0..1."""
    return torch.cat([rgb * alpha[..., None], alpha[..., None]], -1).permute(2, 0, 1)


def small_photo(photo: PreparedPhoto) -> torch.Tensor:
    """A prepared photo as networks see it, [4, 256, 256]."""
    size = (PHOTO_SIZE, PHOTO_SIZE)
    rgb, alpha = (
        torch.as_tensor(cv2.resize(layer.astype(np.float32), size, interpolation=cv2.INTER_AREA))
        for layer in (photo.rgb, photo.alpha)
    )
    return pack_rgba(rgb / 255, alpha)


def posed(body: BodyModel, fit: BodyFit) -> tuple[torch.Tensor, torch.Tensor]:
    """Vertices [V, 3] and joints [24, 3] of a fitted body in the photo camera's space, float64."""
    vertices, joints = body.pose(torch.as_tensor(fit.pose), torch.as_tensor(fit.betas))
    translation = torch.as_tensor(fit.translation)
    return vertices + translation, joints + translation


class DepthEstimator:
    """The trained network for one body.

    Args:
        weights: folder with ``depth.safetensors``.
        body: that fits are of.
        device: where to compute.

    Raises:
        BackendError: kinds ``weights_missing``, ``weights_damaged``.
    """

    def __init__(self, weights: Path, body: BodyModel, device: torch.device) -> None:
        self.body, self.device = body, device
        self.network: nn.Module = read_frozen(DepthNetwork(), weights / WEIGHTS, device)
        self.described = describe(weights, WEIGHTS)
        """What an avatar package says of the weights."""
        self.rest = rest_places(body)

    @torch.no_grad()
    def estimate(self, fit: BodyFit, photo: PreparedPhoto, size: int) -> SideDepths:
        """Depths of the person in ``photo``, maps of ``size`` pixels a side, in the fit's camera space."""
        focal = fit.focal / photo.rgb.shape[0]
        vertices, joints = (points.float() for points in posed(self.body, fit))
        maps = body_maps(vertices, self.rest, self.body.faces, focal, joints[0])
        offset, spread = self._both_ways(small_photo(photo)[None].to(self.device), maps[None].to(self.device))
        first, last, _ = both_sides(vertices, self.body.faces, focal, size)
        nearest = nearest_inside(first.isfinite())
        first, last = (depth[nearest] for depth in (first, last))
        offset, spread = (
            UNIT * enlarged(v.float().cpu()[0], maps[[1, 9]] * UNIT + joints[0, 2], torch.stack([first, last]))
            for v in (no_thicker(offset, maps.to(offset.device)), spread)
        )
        depth = torch.stack([first, last]) + offset
        matte = cv2.resize(photo.alpha, (size, size), interpolation=cv2.INTER_AREA) > 0.5
        front, back = depth.double().numpy()
        front_spread, back_spread = spread.double().numpy()
        known = matte & photo.inside_at(size)
        return SideDepths(front, np.maximum(back, front), front_spread, back_spread, known)

    def _both_ways(self, photo: torch.Tensor, body: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Mean of what the network says of the photo and of its mirror image."""
        offset, spread = self.network(photo, body)
        twin_offset, twin_spread = self.network(photo.flip(-1), mirrored_maps(body))
        return (offset + twin_offset.flip(-1)) / 2, (spread + twin_spread.flip(-1)) / 2


_ACROSS = (2, 5, 10, 13)
"""Maps of the body whose numbers point across: x of normals and of places in the rest pose."""


def mirrored_maps(body: torch.Tensor) -> torch.Tensor:
    """Maps [B, 16, M, M] of the same bodies in the mirror."""
    body = body.flip(-1)
    body[:, list(_ACROSS)] *= -1
    return body
