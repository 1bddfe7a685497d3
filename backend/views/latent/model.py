"""The latent reconstruction transformer: from latents of a few views and the fitted body to splats, in one pass.

After HumanSplat (Pan et al., NeurIPS 2024): latents with ray coordinates become tokens; tokens attend within and across
views and to the body tokens that project near them; splats are decoded for every pixel. Beyond it: splats lie along
their pixel's ray relative to the body, the outlines' hull is given as a map, colours start from the views' own pixels,
and the photo's splats have the photo's resolution.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import nn
from torch.nn import functional

from ...avatar.quaternion import from_matrix
from ...networks.layers import Block, FineMaps, Residual, body_window
from .config import LatentConfig
from .hull import HELD, HULL_CHANNELS, NEAREST, hull_maps
from .refine import CrossViewRefinement, compared
from .settle import joined, settled
from .views import BodyMaps, ViewCameras, pluecker

SPLAT_CHANNELS = 12
"""Along the ray 1, opacity 1, scale 3, rotation 4, colour 3."""
_BODY_FEATURES = 11
"""Of a body token: position 3, normal 3, latent of the photo 4, whether the photo sees it 1."""


_BODY_MAPS = 5
_OWN_MAPS = 3
"""What a further look is told of a pixel's own depth: itself, how far it was moved, how far it lies from the body."""
_AGAIN_REACH = 0.25
"""How far along its ray a splat may move at a further look, in half picture widths."""
_OPAQUE = 4.0
"""Logit of the opacity that splats begin with."""
_SIZE = (0.5, 0.5, 0.1)
"""Standard deviations that splats begin with, in pixels; along the ray they are thin. Larger ones would show beyond
the outline, smaller ones let light through."""
_INSET = 0.75
"""Pixels by which splats lie behind the surface that the pixel sees, because they reach beyond their middles: to the
other views they are the outline."""
_COVERED = (0.75, 1.0)
"""Coverage of a pixel below which its splat is left out, and from which on it is whole."""
_CLOTHES = 0.02
"""Half picture widths by which clothes stand off the body."""
_FAR = 0.3
"""Half picture widths from the body; farther off is all the same."""
_EDGE = 0.04
"""Half picture widths: neighbouring depths farther apart than this lie on different limbs."""
_RIM = 0.9
"""Coverage below which a pixel's colour is mixed with what is behind the person."""


@dataclass(frozen=True)
class LatentInput:
    """One person. World: metres over ``scale``, the body's pelvis at the origin.

    Attributes:
        latents: [V, 4, L, L], view 0 the photo's.
        colours: [V, 3, R, R] the views' own pixels (decoded from their latents) in 0..1 over white; R = ``picture``.
        alphas: [V, R, R] their coverage.
        photo: [3, P, P] the photo over white, P = ``reference``.
        photo_alpha: [P, P] its matte.
        cameras: V of them.
        body_points, body_normals: [M, 3] of the body tokens.
        maps: the body from all views at ``maps`` pixels.
    """

    latents: torch.Tensor
    colours: torch.Tensor
    alphas: torch.Tensor
    photo: torch.Tensor
    photo_alpha: torch.Tensor
    cameras: ViewCameras
    body_points: torch.Tensor
    body_normals: torch.Tensor
    maps: BodyMaps


@dataclass(frozen=True)
class SplatMaps:
    """What the network says of every pixel of its maps.

    Attributes:
        raw: [V, 12, S, S], S = ``output``.
        depth: [V, S, S] along the camera's axis.
        first: the depth before the views were compared with each other.
    """

    raw: torch.Tensor
    depth: torch.Tensor
    first: torch.Tensor


@dataclass(frozen=True)
class FirstLook:
    """What the network says before it compares the views with each other.

    Attributes:
        raw, depth: see :class:`SplatMaps`.
        features: [V, ``decoder``, M, M] from the tokens, M = ``maps``.
        known: [V, 9, M, M] of body and hull.
    """

    raw: torch.Tensor
    depth: torch.Tensor
    features: torch.Tensor
    known: torch.Tensor


@dataclass(frozen=True)
class PixelSplats:
    """Splats of N pixels, in the input's world.

    Attributes:
        position: [N, 3].
        rotation: [N, 4] wxyz.
        scale: [N, 3].
        opacity: [N].
        rgb: [N, 3].
        view: int64 [N].
        face: int64 [N] the body face that the splat is placed relative to.
    """

    position: torch.Tensor
    rotation: torch.Tensor
    scale: torch.Tensor
    opacity: torch.Tensor
    rgb: torch.Tensor
    view: torch.Tensor
    face: torch.Tensor


class _Refiner(FineMaps):
    """Convolutions that join upsampled features with maps, and give splat channels at twice their size."""

    def __init__(self, features: int, maps: int, channels: int) -> None:
        super().__init__()
        self.enter = nn.Conv2d(features + maps, channels, 3, padding=1)
        self.before = Residual(channels)
        self.down = nn.Conv2d(channels, 2 * channels, 2, 2)
        self.middle = nn.Sequential(Residual(2 * channels), Residual(2 * channels))
        self.up = nn.Conv2d(2 * channels, 4 * channels, 1)
        self.after = Residual(channels)
        self.add_end(channels, channels // 2, SPLAT_CHANNELS)

    def forward(self, features: torch.Tensor, maps: torch.Tensor, pictures: torch.Tensor) -> torch.Tensor:
        """Splat channels [V, 12, 2 S, 2 S].

        Args:
            features: [V, F, S, S] from the tokens.
            maps: [V, M, S, S].
            pictures: [V, 4, 2 S, 2 S] colours and coverage: limbs end where they do.
        """
        x = self.before(self.enter(torch.cat([features, maps], 1)))
        x = x + functional.pixel_shuffle(self.up(self.middle(self.down(x))), 2)
        return self.end(self.after(x), pictures)


class LatentTransformer(nn.Module):
    """See the module. One person a call; several are a loop, because bodies and cameras differ."""

    def __init__(self, config: LatentConfig) -> None:
        super().__init__()
        self.config = config
        c = config
        token_channels = c.channels + 6 + (_BODY_MAPS + HULL_CHANNELS if c.body_maps else 0)
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
        up = c.maps // c.cells
        self.spread = nn.Linear(c.width, c.decoder * up * up)
        maps = 4 + _BODY_MAPS + HULL_CHANNELS
        self.refine = _Refiner(c.decoder, maps, c.decoder)
        if c.looks:
            self.again = CrossViewRefinement(c.decoder + maps + _OWN_MAPS, c.views, SPLAT_CHANNELS)

    def tokens(self, given: LatentInput, maps: torch.Tensor, shown: torch.Tensor) -> torch.Tensor:
        """Features [V, cells, cells, C] of all views.

        Args:
            given: see there.
            maps: [V, 9, S, S] of body and hull.
            shown: bool [V, cells, cells]; the other cells are empty, their features zero.
        """
        c = self.config
        entered = [given.latents, pluecker(given.cameras, c.grid)]
        if c.body_maps:
            entered.append(functional.interpolate(maps, size=(c.grid, c.grid), mode="area"))
        x = self.enter(torch.cat(entered, 1)).flatten(2).transpose(1, 2)
        views = len(x)
        photo = torch.cat([self.is_photo[:1], self.is_photo[1:].expand(views - 1, -1)])
        kept = torch.nonzero(shown.flatten())[:, 0]
        x = (x + self.place + photo[:, None]).flatten(0, 1)[kept][None]
        body, window = self._body(given, kept) if c.body_tokens else (None, None)
        earlier: list[torch.Tensor] = []
        half = c.depth // 2
        for number, block in enumerate(self.blocks):
            x = block(x, body, window, earlier.pop() if number >= c.depth - half else None)
            if number < half:
                earlier.append(x)
        out = x.new_zeros(shown.numel(), c.width).index_copy(0, kept, self.norm(x)[0])
        return out.unflatten(0, shown.shape)

    def _body(self, given: LatentInput, kept: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Body tokens [1, M + 1, C] and the windows of the image tokens ``kept``.

        The last token is seen by all, so that no window is empty.
        """
        c = self.config
        place = given.cameras.project(given.body_points)
        at = place[:1, :, :2] * 2 - 1
        latent = functional.grid_sample(given.latents[:1], at[:, None], align_corners=False, padding_mode="border")
        photo = given.cameras.world_to_camera[0]
        towards = -(given.body_normals @ photo[:3, :3].T)[:, 2:]
        features = torch.cat([given.body_points, given.body_normals, latent[0, :, 0].T, (towards > 0).to(latent)], 1)
        tokens = self.body_block(self.body_enter(features)[None])
        window = body_window(place[None, ..., :2], c.cells, c.window)[:, kept]
        tokens = torch.cat([tokens, self.nobody[None]], 1)
        return tokens, torch.cat([window, torch.ones_like(window[..., :1])], -1)

    def forward(self, given: LatentInput, compare: bool = True) -> SplatMaps:
        """The splats' parameters, before they become splats; see :meth:`splats`.

        Args:
            given: see there.
            compare: whether the views are pictures of one person, which can be compared with each other: what
                contradicts others moves.
        """
        first = self.first_look(given)
        if not compare:
            return SplatMaps(first.raw, first.depth, first.depth)
        raw, before, depth = first.raw, first.depth, self.settled(given, first.depth)
        for _ in range(self.config.looks):
            change, moved = self.look_again(given, first, before, depth)
            raw, before, depth = raw + change, depth, self.settled(given, moved)
        return SplatMaps(raw, _moved(depth, joined(depth, given.alphas)), first.depth)

    def first_look(self, given: LatentInput) -> FirstLook:
        """What tokens, body and outlines say, before the views are compared with each other."""
        c = self.config
        distance = given.cameras.world_to_camera[:, 2, 3]
        hull = hull_maps(given.alphas, given.cameras, given.maps)
        known = torch.cat([given.maps.stacked(distance), hull], 1)
        pictures, small = self._pictures(given)
        # Most of the pictures is empty: attention leaves those cells out, convolutions what lies around the rest.
        shown, rows, columns = self._shown(given, small)
        x = self.spread(self.tokens(given, known, shown)[:, rows, columns]).permute(0, 3, 1, 2)
        x = functional.pixel_shuffle(x, c.maps // c.cells)
        seen = torch.cat([small, known], 1)
        raw = self.refine(x, _part(seen, rows, columns, c.cells), _part(pictures, rows, columns, c.cells))
        raw, features = (_back(part, rows, columns, c.cells) for part in (raw, x))
        guess = _enlarged(given.maps.depth + _towards_hull(hull), c.output)
        depth = guess + torch.tanh(raw[:, 0]) * c.reach * _half_width(given)
        return FirstLook(raw, depth, features, known)

    def settled(self, given: LatentInput, depth: torch.Tensor) -> torch.Tensor:
        """``depth`` [V, S, S] moved as :func:`settled` says; gradients pass as if it had not been."""
        return _moved(depth, settled(depth, given.alphas, given.cameras))

    def look_again(
        self, given: LatentInput, first: FirstLook, before: torch.Tensor, depth: torch.Tensor
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Compare the views with each other.

        Args:
            given: see there; only pictures, outlines, cameras and the body's depth and mask count.
            first: of it.
            before, depth: [V, S, S] before and after it settled last.

        Returns:
            (what is added to ``first.raw``; the new depth, not settled).
        """
        c = self.config
        distance = given.cameras.world_to_camera[:, 2, 3][:, None, None]
        low, was = (
            functional.interpolate(d.detach()[:, None], size=(c.maps, c.maps), mode="nearest-exact")[:, 0]
            for d in (depth, before)
        )
        own = torch.stack([low - distance, was - low, (low - given.maps.depth).clamp(-_FAR, _FAR)], 1)
        others = compared(depth.detach(), given.colours, given.alphas, given.cameras, c.maps)
        pictures, small = self._pictures(given)
        _, rows, columns = self._shown(given, small)
        seen = torch.cat([first.features, small, first.known, own, others], 1)
        change = self.again(_part(seen, rows, columns, c.cells), _part(pictures, rows, columns, c.cells))
        change = _back(change, rows, columns, c.cells)
        return change, depth + torch.tanh(change[:, 0]) * _AGAIN_REACH * _half_width(given)

    def _pictures(self, given: LatentInput) -> tuple[torch.Tensor, torch.Tensor]:
        """Colours and coverage of the views, -1 to 1, at ``output`` and at ``maps`` pixels, [V, 4, S, S] each."""
        c = self.config
        pictures = torch.cat([given.colours, given.alphas[:, None]], 1)
        pictures = functional.interpolate(pictures, size=(c.output, c.output), mode="area") * 2 - 1
        return pictures, functional.avg_pool2d(pictures, c.output // c.maps)

    def _shown(self, given: LatentInput, small: torch.Tensor) -> tuple[torch.Tensor, slice, slice]:
        """Which cells [V, cells, cells] show person or body; rows and columns of those of any view."""
        person = torch.maximum(small[:, 3] * 0.5 + 0.5, given.maps.mask) > 0.02
        shown = functional.adaptive_max_pool2d(person.float(), self.config.cells) > 0
        return shown, *(_extent(shown.any(0).any(k)) for k in (1, 0))

    def splats(self, given: LatentInput, maps: SplatMaps, threshold: float = 0.0) -> PixelSplats:
        """Splats of the pixels that show the person.

        Args:
            given: latents, colours, cameras and body.
            maps: what :meth:`forward` says of them.
            threshold: splats less opaque than this are left out.
        """
        c = self.config
        photo = self._splats(given, maps, slice(0, 1), given.photo[None], given.photo_alpha[None])
        size = (c.output, c.output)
        colours = functional.interpolate(given.colours[1:], size=size, mode="area")
        alphas = functional.interpolate(given.alphas[1:, None], size=size, mode="area")[:, 0]
        others = self._splats(given, maps, slice(1, None), colours, alphas)
        splats = PixelSplats(*(torch.cat(v) for v in zip(vars(photo).values(), vars(others).values())))
        kept = splats.opacity > threshold
        return PixelSplats(*(v[kept] for v in vars(splats).values()))

    def colours(self, given: LatentInput, maps: SplatMaps) -> torch.Tensor:
        """The person's colours [V, 3, S, S] in all views, S = ``output``; without meaning beside the person."""
        size = (self.config.output, self.config.output)
        seen = functional.interpolate(given.colours, size=size, mode="area")
        alphas = functional.interpolate(given.alphas[:, None], size=size, mode="area")[:, 0]
        return (_own_colours(seen, alphas) + _colour_change(maps.raw[:, 9:12])).clamp(0, 1)

    def _splats(
        self, given: LatentInput, maps: SplatMaps, views: slice, colours: torch.Tensor, alphas: torch.Tensor
    ) -> PixelSplats:
        """Splats of the pixels of ``colours`` [V, 3, S, S] and ``alphas`` [V, S, S] that show the person."""
        cameras = given.cameras[views]
        size = colours.shape[-1]
        raw = functional.interpolate(maps.raw[views], size=(size, size), mode="bilinear", align_corners=False)
        shown = torch.nonzero(alphas > _COVERED[0], as_tuple=True)
        view, row, column = shown
        raw = raw.permute(0, 2, 3, 1)[shown]
        depth = _enlarged(maps.depth[views], size)[shown]
        footprint = depth / (cameras.focal[view] * size)
        scale = footprint[:, None] * raw.new_tensor(_SIZE) * torch.exp(raw[:, 2:5].clamp(-3, 2))
        origins, directions = cameras.rays(size)
        position = origins[view] + (depth + _INSET * footprint)[:, None] * directions[shown]
        covered = (alphas[shown] - _COVERED[0]) / (_COVERED[1] - _COVERED[0])
        local = functional.normalize(raw[:, 5:9] + raw.new_tensor([1.0, 0.0, 0.0, 0.0]), dim=-1)
        turn = _quaternion(cameras.world_to_camera[:, :3, :3].transpose(1, 2))
        step = given.maps.face.shape[-1] / size
        face = given.maps.face[views][view, (row * step).long(), (column * step).long()]
        return PixelSplats(
            position=position,
            rotation=_multiply(turn[view], local),
            scale=scale,
            opacity=torch.sigmoid(raw[:, 1] * 2 + _OPAQUE) * covered.clamp(0, 1),
            rgb=(_own_colours(colours, alphas).permute(0, 2, 3, 1)[shown] + _colour_change(raw[:, 9:12])).clamp(0, 1),
            view=view + (views.start or 0),
            face=face,
        )


def _moved(depth: torch.Tensor, there: torch.Tensor) -> torch.Tensor:
    """``there``, with the gradients of ``depth``."""
    return depth + (there - depth.detach())


def _half_width(given: LatentInput) -> torch.Tensor:
    """Half a picture's width [V, 1, 1] where the world's origin lies."""
    return (given.cameras.world_to_camera[:, 2, 3] / (2 * given.cameras.focal))[:, None, None]


def _towards_hull(hull: torch.Tensor) -> torch.Tensor:
    """What is added to the body's depth [V, S, S]: nothing is outside the hull, clothes may reach it."""
    return torch.where(hull[:, HELD] < 0.5, hull[:, NEAREST], hull[:, NEAREST].clamp(-_CLOTHES, _CLOTHES))


def _extent(any_there: torch.Tensor) -> slice:
    """From the first to the last true of bool [N]; all where none is."""
    found = torch.nonzero(any_there)[:, 0]
    return slice(int(found[0]), int(found[-1]) + 1) if len(found) else slice(0, len(any_there))


def _part(maps: torch.Tensor, rows: slice, columns: slice, cells: int) -> torch.Tensor:
    """The pixels of ``maps`` [V, C, S, S] in those rows and columns of cells."""
    up = maps.shape[-1] // cells
    return maps[:, :, rows.start * up : rows.stop * up, columns.start * up : columns.stop * up]


def _back(part: torch.Tensor, rows: slice, columns: slice, cells: int) -> torch.Tensor:
    """Maps of which ``part`` is what :func:`_part` takes; zero around it."""
    up = part.shape[-1] // (columns.stop - columns.start)
    around = (columns.start, cells - columns.stop, rows.start, cells - rows.stop)
    return functional.pad(part, [n * up for n in around])


def _enlarged(depth: torch.Tensor, size: int) -> torch.Tensor:
    """Depth [V, S, S] at ``size`` pixels a side: interpolated within a limb, not between one and what is behind it."""
    d = depth[:, None]
    smooth = functional.interpolate(d, size=(size, size), mode="bilinear", align_corners=False)
    plain = functional.interpolate(d, size=(size, size), mode="nearest-exact")
    padded = functional.pad(d.detach(), (1, 1, 1, 1), mode="replicate")
    spread = functional.max_pool2d(padded, 3, 1) + functional.max_pool2d(-padded, 3, 1)
    edge = functional.interpolate(spread, size=(size, size), mode="nearest-exact") > _EDGE
    return torch.where(edge, plain, smooth)[:, 0]


def _colour_change(raw: torch.Tensor) -> torch.Tensor:
    """What is added to the views' own colours."""
    return 0.5 * torch.tanh(raw)


def _own_colours(colours: torch.Tensor, alphas: torch.Tensor) -> torch.Tensor:
    """Colours [V, 3, S, S] whose rim, mixed with white, is taken from the person's pixels beside it."""
    solid = (alphas > _RIM).to(colours)[:, None]
    mixed = colours
    for reach in (2, 4):
        total = functional.avg_pool2d(torch.cat([colours * solid, solid], 1), 2 * reach + 1, 1, reach)
        near = total[:, :3] / total[:, 3:].clamp(min=1e-6)
        mixed = torch.where((solid == 0) & (total[:, 3:] > 1e-3), near, mixed)
        if reach == 2:
            solid, colours = torch.maximum(solid, (total[:, 3:] > 1e-3).to(solid)), mixed
    return mixed


def _quaternion(matrix: torch.Tensor) -> torch.Tensor:
    """Unit quaternions [V, 4] wxyz of rotation matrices [V, 3, 3]."""
    return torch.as_tensor(from_matrix(matrix.detach().cpu().double().numpy())).to(matrix)


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
