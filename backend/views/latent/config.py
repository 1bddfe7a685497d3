"""Sizes of the latent reconstruction transformer."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class LatentConfig:
    """One class, two configurations: :func:`lite`, which ships, and :func:`full`, the published size.

    Attributes:
        picture: pixels a side of the views that the latents were made from.
        factor: pixels to one latent pixel.
        channels: of the latents.
        views: how many views go in; view 0 is the photo.
        patch: latent pixels to one token, a side.
        width, depth, heads: of the transformer.
        mlp: hidden width of its feed-forward layers, in widths.
        body_tokens: how many body vertices become tokens; 0 leaves the body out.
        window: an image token sees the body tokens that project within this many tokens of it; 0 its own cell alone,
            None all of them.
        cross_every: a layer that looks at the body after every so many layers.
        body_maps: also give each view's maps of the body (depth, normal, mask) and of the outlines' hull with the
            latents.
        maps: pixels a side of the maps of the body and of the hull, and of most convolutions.
        output: pixels a side of the splat maps; twice ``maps``.
        reference: pixels a side of the photo's own splat map, to which its parameters are interpolated.
        decoder: channels of the convolutions that make splats out of tokens.
        reach: how far along its ray a splat may lie from the body, in half picture widths at the body's distance.
        looks: how often the views are compared with each other and their splats placed again.
    """

    picture: int = 256
    factor: int = 8
    channels: int = 4
    views: int = 4
    patch: int = 2
    width: int = 192
    depth: int = 6
    heads: int = 6
    mlp: int = 4
    body_tokens: int = 864
    window: int | None = 2
    cross_every: int = 2
    body_maps: bool = True
    maps: int = 128
    output: int = 256
    reference: int = 512
    decoder: int = 32
    reach: float = 0.35
    looks: int = 2

    @property
    def grid(self) -> int:
        """Latent pixels a side."""
        return self.picture // self.factor

    @property
    def cells(self) -> int:
        """Tokens a side."""
        return self.grid // self.patch


def lite() -> LatentConfig:
    """What we train and ship."""
    return LatentConfig()


def full() -> LatentConfig:
    """The published size: latents of the SD VAE at 512 pixels, 65,536 splats, a token for every SMPL vertex."""
    return LatentConfig(
        picture=512,
        patch=2,
        width=512,
        depth=12,
        heads=8,
        body_tokens=6890,
        cross_every=1,
        body_maps=False,
        maps=64,
        output=128,
        reference=128,
        decoder=128,
        looks=0,
    )


def smoke() -> LatentConfig:
    """Small enough for tests."""
    return LatentConfig(
        picture=64,
        width=32,
        depth=2,
        heads=2,
        body_tokens=64,
        maps=32,
        output=64,
        reference=64,
        decoder=16,
        cross_every=1,
    )


CONFIGS = {"lite": lite, "full": full, "smoke": smoke}
