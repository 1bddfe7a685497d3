"""Sizes of the novel-view synthesizers."""

from __future__ import annotations

from dataclasses import dataclass

MAX_STEPS = 20
"""Of the ``lite`` sampler: more do not pay on a processor."""


@dataclass(frozen=True)
class SynthesizerConfig:
    """The small cross-view network over our own autoencoder's latents: :func:`lite`, which is meant to ship.

    Attributes:
        picture: pixels a side of the views that the latents stand for.
        factor: pixels to one latent pixel.
        channels: of the latents.
        views: how many are made; view 0 is the photo's own camera.
        fineness: body maps are drawn with this many pixels a side to one latent pixel, then averaged.
        widths: channels at each level of the UNet; the grid halves from one to the next.
        blocks: residual blocks a level on the way down, one more on the way up.
        attention: levels at which the tokens of all views attend to each other, 0 the finest.
        head: channels of one attention head.
        embedding: width of the embedding of noise level and azimuth.
        steps: of the sampler unless told, at most :data:`MAX_STEPS`.
        sigma_min, sigma_max: noise levels where sampling ends and starts; latents have variance 1.
        guidance: how far to exaggerate the photo's influence before and behind the person; (1, 1) costs nothing,
            anything else doubles the work.
        noise_mean, noise_deviation: of the logarithm of the noise levels that training draws; higher than SVD's 0.7,
            so that the mean, which few steps live on, is learnt first.
    """

    picture: int = 256
    factor: int = 8
    channels: int = 4
    views: int = 4
    fineness: int = 4
    widths: tuple[int, ...] = (64, 128, 192)
    blocks: int = 2
    attention: tuple[int, ...] = (1, 2)
    head: int = 32
    embedding: int = 256
    steps: int = 12
    sigma_min: float = 0.02
    sigma_max: float = 80.0
    guidance: tuple[float, float] = (1.0, 1.0)
    noise_mean: float = 1.0
    noise_deviation: float = 1.6

    @property
    def grid(self) -> int:
        """Latent pixels a side."""
        return self.picture // self.factor


@dataclass(frozen=True)
class FullConfig:
    """SV3D as HumanSplat uses it.

    Attributes:
        picture: pixels a side, a multiple of 64: 576 is SV3D's own size, 512 that of the fine-tuned model.
        frames: of the orbit.
        steps: of the sampler.
        guidance: scale in the frames nearest to the photo's and in the one opposite.
        noise: how much noise the photo gets before it is encoded (noise augmentation), pixel values in -1..1.
        elevation: degrees of the photo's camera above the person; the whole orbit keeps it.
        views: azimuths in degrees of the frames that go on to the reconstruction.
        turn: 1 if a growing azimuth takes SV3D's camera to the person's left, as ours goes; -1 if to the right.
            Authors' code pairs SV3D's angles with cameras that turn as ours do; not verified with real weights.
    """

    picture: int = 512
    frames: int = 21
    steps: int = 25
    guidance: tuple[float, float] = (1.0, 2.5)
    noise: float = 1e-5
    elevation: float = 0.0
    views: tuple[float, ...] = (0.0, 90.0, 180.0, 270.0)
    turn: int = 1

    @property
    def grid(self) -> int:
        """Latent pixels a side."""
        return self.picture // 8


def lite() -> SynthesizerConfig:
    """What ships. One step gives the mean of all plausible views: what a training of hours on a processor reaches."""
    return SynthesizerConfig(steps=1)


def smoke() -> SynthesizerConfig:
    """Small enough for tests."""
    return SynthesizerConfig(picture=64, widths=(16, 32), attention=(1,), blocks=1, head=16, embedding=32, steps=3)


CONFIGS = {"lite": lite, "smoke": smoke}
