"""The latent reconstruction transformer: from latents of a few views and the fitted body to splats, in one pass.

After HumanSplat (Pan et al., NeurIPS 2024): latents with ray coordinates become tokens; tokens attend within and across
views and to the body tokens that project near them; splats are decoded for every pixel. Beyond it: splats lie along
their pixel's ray relative to the body, colours start from the views' own pixels, and the photo's view is decoded at
the photo's resolution.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import nn
from torch.nn import functional

from .config import LatentConfig
from .layers import Block, body_window
from .views import BodyMaps, ViewCameras, pluecker

SPLAT_CHANNELS = 12
"""Along the ray 1, opacity 1, scale 3, rotation 4, colour 3."""
_BODY_FEATURES = 11
"""Of a body token: position 3, normal 3, latent of the photo 4, whether the photo sees it 1."""


@dataclass(frozen=True)
class LatentInput:
    """One person. World: metres over ``scale``, the body's pelvis at the origin.

    Attributes:
        latents: [V, 4, L, L], view 0 the photo's.
        colours: [V, 3, R, R] the views' own pixels (decoded from their latents) in 0..1 over white; R = ``picture``.
        photo: [3, P, P] the photo over white, P = ``reference``.
        photo_alpha: [P, P] its matte.
        cameras: V of them.
        body_points, body_normals: [M, 3] of the body tokens.
        maps: the body from all views at ``output`` pixels.
        photo_maps: the body from the photo's view at ``reference`` pixels.
    """

    latents: torch.Tensor
    colours: torch.Tensor
    photo: torch.Tensor
    photo_alpha: torch.Tensor
    cameras: ViewCameras
    body_points: torch.Tensor
    body_normals: torch.Tensor
    maps: BodyMaps
    photo_maps: BodyMaps


@dataclass(frozen=True)
class PixelSplats:
    """Splats of N pixels, in the input's world.

    Attributes:
        position: [N, 3].
        rotation: [N, 4] wxyz.
        scale: [N, 3].
        opacity: [N].
        rgb: [N, 3].
        depth: [N] along the pixel's camera axis.
        view: int64 [N].
        pixel: int64 [N], row-major in that view's splat map.
        face: int64 [N] the body face that the splat is placed relative to.
    """

    position: torch.Tensor
    rotation: torch.Tensor
    scale: torch.Tensor
    opacity: torch.Tensor
    rgb: torch.Tensor
    depth: torch.Tensor
    view: torch.Tensor
    pixel: torch.Tensor
    face: torch.Tensor


class _Refiner(nn.Module):
    """Convolutions that join upsampled features with maps of the same size and give splat channels."""

    def __init__(self, features: int, maps: int, channels: int) -> None:
        super().__init__()
        self.enter = nn.Conv2d(features + maps, channels, 3, padding=1)
        self.layers = nn.ModuleList(
            nn.Sequential(
                nn.GroupNorm(1, channels),
                nn.SiLU(),
                nn.Conv2d(channels, channels, 3, padding=1),
                nn.GroupNorm(1, channels),
                nn.SiLU(),
                nn.Conv2d(channels, channels, 3, padding=1),
            )
            for _ in range(2)
        )
        self.leave = nn.Conv2d(channels, SPLAT_CHANNELS, 3, padding=1)
        nn.init.zeros_(self.leave.weight)
        nn.init.zeros_(self.leave.bias)

    def forward(self, features: torch.Tensor, maps: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Splat channels and the features before them."""
        x = self.enter(torch.cat([features, maps], 1))
        for layer in self.layers:
            x = x + layer(x)
        return self.leave(functional.silu(x)), x


class LatentTransformer(nn.Module):
    """See the module. One person a call; several are a loop, because bodies and cameras differ."""

    def __init__(self, config: LatentConfig) -> None:
        super().__init__()
        self.config = config
        c = config
        token_channels = c.channels + 6 + (5 if c.body_maps else 0)
        self.enter = nn.Conv2d(token_channels, c.width, c.patch, c.patch)
        self.place = nn.Parameter(torch.randn(1, c.cells * c.cells, c.width) * 0.02)
        self.is_photo = nn.Parameter(torch.randn(2, c.width) * 0.02)
        self.body_enter = nn.Sequential(nn.Linear(_BODY_FEATURES, c.width), nn.SiLU(), nn.Linear(c.width, c.width))
        self.body_block = Block(c.width, c.heads, c.mlp)
        self.nobody = nn.Parameter(torch.randn(1, c.width) * 0.02)
        half = c.depth // 2
        self.blocks = nn.ModuleList(
            Block(
                c.width,
                c.heads,
                c.mlp,
                body=c.body_tokens > 0 and (k + 1) % c.cross_every == 0,
                skip=k >= c.depth - half,
            )
            for k in range(c.depth)
        )
        self.norm = nn.LayerNorm(c.width)
        up = c.output // c.cells
        self.spread = nn.Linear(c.width, c.decoder * up * up)
        self.refine = _Refiner(c.decoder, 3 + 5, c.decoder)
        self.refine_photo = _Refiner(c.decoder, 4 + 5, c.decoder // 2) if c.reference > c.output else None

    def tokens(self, given: LatentInput) -> torch.Tensor:
        """Features [V, cells * cells, C] of all views."""
        c = self.config
        distance = given.cameras.world_to_camera[:, 2, 3]
        entered = [given.latents, pluecker(given.cameras, c.grid)]
        if c.body_maps:
            entered.append(given.maps.resized(c.grid).stacked(distance))
        x = self.enter(torch.cat(entered, 1)).flatten(2).transpose(1, 2)
        views = len(x)
        photo = torch.cat([self.is_photo[:1], self.is_photo[1:].expand(views - 1, -1)])
        x = (x + self.place + photo[:, None]).flatten(0, 1)[None]
        body, window = self._body(given) if c.body_tokens else (None, None)
        earlier: list[torch.Tensor] = []
        half = c.depth // 2
        for number, block in enumerate(self.blocks):
            x = block(x, body, window, earlier.pop() if number >= c.depth - half else None)
            if number < half:
                earlier.append(x)
        return self.norm(x)[0].unflatten(0, (views, -1))

    def _body(self, given: LatentInput) -> tuple[torch.Tensor, torch.Tensor]:
        """Body tokens [1, M + 1, C] and their windows; the last token is seen by all, so that no window is empty."""
        c = self.config
        place = given.cameras.project(given.body_points)
        at = place[:1, :, :2] * 2 - 1
        latent = functional.grid_sample(given.latents[:1], at[:, None], align_corners=False, padding_mode="border")
        photo = given.cameras.world_to_camera[0]
        towards = -(given.body_normals @ photo[:3, :3].T)[:, 2:]
        features = torch.cat([given.body_points, given.body_normals, latent[0, :, 0].T, (towards > 0).to(latent)], 1)
        tokens = self.body_block(self.body_enter(features)[None])
        window = body_window(place[None, ..., :2], c.cells, c.window)
        tokens = torch.cat([tokens, self.nobody[None]], 1)
        return tokens, torch.cat([window, torch.ones_like(window[..., :1])], -1)

    def forward(self, given: LatentInput, threshold: float = 0.0) -> PixelSplats:
        """Splats of the person.

        Args:
            given: latents, colours, cameras and body.
            threshold: splats less opaque than this are left out.
        """
        c = self.config
        x = self.spread(self.tokens(given))
        up = c.output // c.cells
        x = x.unflatten(1, (c.cells, c.cells)).permute(0, 3, 1, 2)
        x = functional.pixel_shuffle(x, up)
        distance = given.cameras.world_to_camera[:, 2, 3]
        colours = functional.interpolate(given.colours, size=(c.output, c.output), mode="area")
        raw, features = self.refine(x, torch.cat([colours * 2 - 1, given.maps.stacked(distance)], 1))
        parts = []
        first = 0
        if self.refine_photo is not None:
            size = (c.reference, c.reference)
            wide = functional.interpolate(features[:1], size=size, mode="bilinear", align_corners=False)
            maps = torch.cat(
                [(given.photo * 2 - 1)[None], given.photo_alpha[None, None], given.photo_maps.stacked(distance[:1])], 1
            )
            fine, _ = self.refine_photo(wide, maps)
            fine = fine + functional.interpolate(raw[:1], size=size, mode="bilinear", align_corners=False)
            cameras = ViewCameras(*(v[:1] for v in vars(given.cameras).values()))
            parts.append(self._splats(fine, given.photo[None], given.photo_maps, cameras, 0, given.photo_alpha))
            first = 1
        cameras = ViewCameras(*(v[first:] for v in vars(given.cameras).values()))
        maps = BodyMaps(*(v[first:] for v in vars(given.maps).values()))
        parts.append(self._splats(raw[first:], colours[first:], maps, cameras, first, None))
        splats = PixelSplats(*(torch.cat(v) for v in zip(*(vars(p).values() for p in parts))))
        if threshold <= 0:
            return splats
        kept = splats.opacity >= threshold
        return PixelSplats(*(v[kept] for v in vars(splats).values()))

    def _splats(
        self,
        raw: torch.Tensor,
        colours: torch.Tensor,
        maps: BodyMaps,
        cameras: ViewCameras,
        first: int,
        alpha: torch.Tensor | None,
    ) -> PixelSplats:
        """Splats of all pixels of maps ``raw`` [V, 12, S, S]; ``alpha`` [S, S] bounds the photo's opacities."""
        c = self.config
        views, _, size, _ = raw.shape
        raw = raw.permute(0, 2, 3, 1)
        half_width = (cameras.world_to_camera[:, 2, 3] / (2 * cameras.focal))[:, None, None]
        depth = maps.depth + torch.tanh(raw[..., 0]) * c.reach * half_width
        origins, directions = cameras.rays(size)
        position = origins[:, None, None] + depth[..., None] * directions
        # A splat covers its pixel; it is thinner along the ray.
        footprint = depth / (cameras.focal[:, None, None] * size)
        base = raw.new_tensor([0.75, 0.75, 0.4])
        scale = footprint[..., None] * base * torch.exp(raw[..., 2:5].clamp(-3, 2))
        local = functional.normalize(raw[..., 5:9] + raw.new_tensor([1.0, 0.0, 0.0, 0.0]), dim=-1)
        turn = _quaternion(cameras.world_to_camera[:, :3, :3].transpose(1, 2))
        rotation = _multiply(turn[:, None, None].expand_as(local), local)
        # Where the body is, splats begin opaque, beside it transparent.
        opacity = torch.sigmoid(raw[..., 1] * 2 + 6 * maps.mask - 3)
        if alpha is not None:
            opacity = opacity * alpha.clamp(0, 1)
        rgb = (colours.permute(0, 2, 3, 1) + 0.5 * torch.tanh(raw[..., 9:12])).clamp(0, 1)
        count = views * size * size
        view = (torch.arange(count, device=raw.device) // (size * size)) + first
        return PixelSplats(
            position=position.reshape(count, 3),
            rotation=rotation.reshape(count, 4),
            scale=scale.reshape(count, 3),
            opacity=opacity.reshape(count),
            rgb=rgb.reshape(count, 3),
            depth=depth.reshape(count),
            view=view,
            pixel=torch.arange(count, device=raw.device) % (size * size),
            face=maps.face.reshape(count),
        )


def _quaternion(matrix: torch.Tensor) -> torch.Tensor:
    """Unit quaternions [V, 4] wxyz of rotation matrices [V, 3, 3]: the eigenvector of Bar-Itzhack's matrix (2000)."""
    m = matrix.double()
    xx, yy, zz = m[:, 0, 0], m[:, 1, 1], m[:, 2, 2]
    rows = [
        [xx + yy + zz, m[:, 2, 1] - m[:, 1, 2], m[:, 0, 2] - m[:, 2, 0], m[:, 1, 0] - m[:, 0, 1]],
        [m[:, 2, 1] - m[:, 1, 2], xx - yy - zz, m[:, 0, 1] + m[:, 1, 0], m[:, 0, 2] + m[:, 2, 0]],
        [m[:, 0, 2] - m[:, 2, 0], m[:, 0, 1] + m[:, 1, 0], yy - xx - zz, m[:, 1, 2] + m[:, 2, 1]],
        [m[:, 1, 0] - m[:, 0, 1], m[:, 0, 2] + m[:, 2, 0], m[:, 1, 2] + m[:, 2, 1], zz - xx - yy],
    ]
    _, vectors = torch.linalg.eigh(torch.stack([torch.stack(r, -1) for r in rows], -2))
    return vectors[..., -1].to(matrix.dtype)


def _multiply(a: torch.Tensor, b: torch.Tensor) -> torch.Tensor:
    """Hamilton product of wxyz quaternions [..., 4]."""
    aw, ax, ay, az = a.unbind(-1)
    bw, bx, by, bz = b.unbind(-1)
    return torch.stack(
        [
            aw * bw - ax * bx - ay * by - az * bz,
            aw * bx + ax * bw + ay * bz - az * by,
            aw * by - ax * bz + ay * bw + az * bx,
            aw * bz + ax * by - ay * bx + az * bw,
        ],
        -1,
    )
