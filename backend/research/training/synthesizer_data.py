"""From samples of the factory (or of scans) to what the synthesizers are given and should answer."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields, replace
from typing import Any

import numpy as np
import torch
from torch.nn import functional

from ...body.model import BodyModel
from ...views.latent.codec import DiffusersCodec, LatentCodec
from ...views.synthesize.conditions import Conditions, azimuths_of, conditions, label_body
from ...views.synthesize.config import SynthesizerConfig
from ...views.synthesize.network import ViewUNet
from ...views.synthesize.schedule import draw_sigmas, scalings, velocity
from .figure import PART_INDEX, TrueBody
from .latent_data import body_surface, frame_of
from .latent_pool import SamplePool
from .samples import Sample, Source, make_sample

_KNEES, _WAIST, _NECK = (4, 5), (0, 3), (12,)
_HEAD_WEIGHT = 2.0
"""Of the error on head and hair: people look there first. HumanSplat weights its losses by part too."""
_EMPTY_WEIGHT = 0.25
"""Of the error on the white around the person, which is large and easy."""


@dataclass(frozen=True)
class Example:
    """B people for the ``lite`` network.

    Attributes:
        latents: [B, V, 4, L, L], what should come out: the person in clean views, in the photo's colours.
        given: see :func:`~backend.views.synthesize.conditions.conditions`.
        azimuths: [B, V] degrees.
        weight: [B, V, 1, L, L] of the squared error.
        pictures: [B, V, 5, F, F] colours over white and coverage of the same views, and where the head is.
    """

    latents: torch.Tensor
    given: Conditions
    azimuths: torch.Tensor
    weight: torch.Tensor
    pictures: torch.Tensor


def join_examples(examples: Sequence[Example]) -> Example:
    """One batch of several."""

    def joined(parts: list[Any]) -> Any:
        if isinstance(parts[0], torch.Tensor):
            return torch.cat(parts)
        kind = type(parts[0])
        return kind(*(joined([getattr(part, f.name) for part in parts]) for f in fields(kind)))

    return joined(list(examples))


def follow_photo(
    rgb: torch.Tensor, alpha: torch.Tensor, photo: torch.Tensor, photo_alpha: torch.Tensor, ridge: float = 1e-3
) -> torch.Tensor:
    """Views in the colours of a photo that was exposed and developed otherwise than they were.

    An affine map of colours, fitted by least squares to the cells of view 0 that photo and view both show whole, is
    applied to the person in all views. Without it a synthesizer would learn to guess how a photo was developed, and
    make sides that do not match it. Cells are means of 1/64 of the picture's side, which blur and noise do not change.

    Args:
        rgb: [V, S, S, 3] over white, view 0 the photo's.
        alpha: [V, S, S] coverage.
        photo: [S, S, 3] before any background.
        photo_alpha: [S, S] its matte.
        ridge: how strongly the map is held to the identity, a share of the pixels.

    Returns:
        [V, S, S, 3] over white.
    """
    cell = max(1, rgb.shape[1] // 64)
    shared = ((alpha[0] > 0.95) & (photo_alpha > 0.95)).to(rgb)[None, None]
    whole = functional.avg_pool2d(shared, cell)[0, 0] > 0.999
    if int(whole.sum()) < 20:
        return rgb
    means = functional.avg_pool2d(torch.stack([rgb[0], photo]).permute(0, 3, 1, 2), cell).permute(0, 2, 3, 1)
    seen, wanted = means[:, whole].double()
    seen = torch.cat([seen, torch.ones_like(seen[:, :1])], 1)
    identity = torch.eye(4, 3, dtype=seen.dtype, device=seen.device)
    hold = ridge * len(seen) * torch.eye(4, dtype=seen.dtype, device=seen.device)
    affine = torch.linalg.solve(seen.T @ seen + hold, seen.T @ wanted + hold @ identity).to(rgb)
    white = 1 - alpha[..., None]
    return ((rgb - white) @ affine[:3] + alpha[..., None] * affine[3]).clamp(0, 1) + white


def as_photographed(sample: Sample, rng: np.random.Generator, clean: float) -> Sample:
    """The sample with the photo as it was before augmentation, for a share ``clean``, or all views in its colours."""
    views = sample.views
    if rng.random() < clean:
        return replace(sample, photo_rgb=views.rgb[0], photo_alpha=views.alpha[0])
    rgb = follow_photo(views.rgb, views.alpha, sample.photo_rgb, sample.photo_alpha)
    return replace(sample, views=replace(views, rgb=rgb))


def hide(alpha: torch.Tensor, rows: dict[str, float], rng: np.random.Generator) -> torch.Tensor:
    """A matte with parts of the person taken away, so that the network learns to complete people.

    Now and then everything below knees or waist or above the neck goes, or one or two rectangles.

    Args:
        alpha: [S, S].
        rows: of the knees, the waist and the neck in the picture, pixels.
        rng: decides.
    """
    size = alpha.shape[0]
    out, row = alpha.clone(), torch.arange(size, device=alpha.device)[:, None]
    kind = rng.random()
    jitter = rng.normal() * 0.03 * size
    if kind < 0.15:
        out[(row >= rows["knees" if rng.random() < 0.5 else "waist"] + jitter).expand_as(out)] = 0
    elif kind < 0.2:
        out[(row <= rows["neck"] + jitter).expand_as(out)] = 0
    if rng.random() < 0.2:
        for _ in range(rng.integers(1, 3)):
            high, wide = (rng.uniform(0.06, 0.3, 2) * size).astype(int)
            top, left = (rng.uniform(0, 1, 2) * (size - np.array([high, wide]))).astype(int)
            out[top : top + high, left : left + wide] = 0
    return out


def joint_rows(sample: Sample) -> dict[str, float]:
    """Rows in pixels of the sample's photo at which photos may end."""
    joints = sample.cameras[:1].project(sample.body.joints.to(sample.cameras.focal))[0, :, 1]
    return {
        name: float(joints[list(chosen)].mean())
        for name, chosen in (("knees", _KNEES), ("waist", _WAIST), ("neck", _NECK))
    }


def _grid(pictures: torch.Tensor, size: int) -> torch.Tensor:
    """Pictures [V, S, S, C] as [V, C, size, size]."""
    return functional.interpolate(pictures.permute(0, 3, 1, 2), size=(size, size), mode="area")


@torch.no_grad()
def lite_example(
    sample: Sample,
    config: SynthesizerConfig,
    codec: LatentCodec | DiffusersCodec,
    bodies: dict[str, BodyModel],
    rng: np.random.Generator | None = None,
    given: TrueBody | None = None,
    latents: torch.Tensor | None = None,
) -> Example:
    """What the ``lite`` network is given for a sample whose first ``config.views`` views are the orbit's.

    The views are of the true person, the conditions of the body that a fit finds.

    Args:
        sample: see there.
        config: sizes.
        codec: frozen, makes the latents.
        bodies: by name, float32 on the sample's device.
        rng: where given, hides parts of the photo.
        given: the body to use; None takes the sample's estimate, or the true one where there is none.
        latents: [1, V, 4, L, L] of an earlier example of the same sample, which need not be computed again.

    Raises:
        ValueError: a sample without a body.
    """
    count, cameras = config.views, sample.cameras[: config.views]
    estimated = given is None and sample.estimate is not None
    state = given or sample.estimate or sample.body
    if state is None:
        raise ValueError(
            "the sample has no body: scans need their body parameters, see backend/research/training/scans.py"
        )
    body = bodies[state.name]
    scale = sample.estimate_scale if estimated else 1.0
    vertices, pelvis = body_surface(body, state, scale, cameras.positions()[0])
    frame = frame_of(pelvis, cameras)

    matte = sample.photo_alpha
    if rng is not None and sample.body is not None:
        matte = hide(matte, joint_rows(sample), rng)
    views = sample.views[:count]
    clean = follow_photo(views.rgb, views.alpha, sample.photo_rgb, sample.photo_alpha)
    if latents is None:
        latents = codec.encode(_grid(clean, config.picture))[None]
    white = sample.photo_rgb * matte[..., None] + (1 - matte[..., None])
    photo, alpha = _grid(white[None], config.picture), _grid(matte[None, ..., None], config.picture)
    seen = frame.cameras(cameras)
    told = conditions(codec.encode(photo), photo, alpha, seen, frame.points(vertices), label_body(body), config)
    # The codec looks a few pixels around: so does the weight.
    covered = functional.max_pool2d(_grid(views.alpha[..., None], config.grid), 3, 1, 1)
    head = (views.label == PART_INDEX["head"]) | (views.label == PART_INDEX["hair"])
    weight = _EMPTY_WEIGHT + (1 - _EMPTY_WEIGHT) * covered
    weight = weight + (_HEAD_WEIGHT - 1) * _grid(head.float()[..., None], config.grid)
    layers = torch.cat([clean, views.alpha[..., None], head.to(clean)[..., None]], -1)
    pictures = _grid(layers, config.grid * config.fineness)
    return Example(latents, told, azimuths_of(seen)[None], weight[None], pictures[None])


def lite_loss(
    network: ViewUNet, example: Example, drop: float, generator: torch.Generator
) -> tuple[torch.Tensor, torch.Tensor]:
    """(weighted squared error of the velocity, the noise levels [B] that were drawn).

    Args:
        network: or what ``accelerate`` wrapped around it.
        example: a batch.
        drop: with which probability a person's photo is left out, for guidance.
        generator: on the CPU.
    """
    config = getattr(network, "module", network).config
    latents, batch = example.latents, len(example.latents)
    sigma = draw_sigmas(batch, config.noise_mean, config.noise_deviation, generator).to(latents)
    noise = torch.randn(latents.shape, generator=generator).to(latents)
    dropped = (torch.rand(batch, generator=generator) < drop).to(latents.device)
    given = example.given.where(dropped, example.given.without_photo())
    wide, s = sigma[:, None, None, None, None], scalings(sigma)
    noisy = latents + wide * noise
    answer = network(s.into[:, None, None, None, None] * noisy, s.noise, given, example.azimuths)
    error = (answer - velocity(latents, noise, wide)).square()
    return (example.weight * error).mean() / example.weight.mean(), sigma


def picture_loss(painted: torch.Tensor, truth: torch.Tensor) -> torch.Tensor:
    """Of colours and logit of the coverage [B, V, 4, F, F]: cross entropy, and distance of colours where the person is.

    The colour's is the absolute distance, whose best answer is the median: less grey than the mean.
    """
    coverage = truth[:, :, 3:4]
    cover = functional.binary_cross_entropy_with_logits(painted[:, :, 3:], coverage)
    # The truth is over white.
    distance = ((painted[:, :, :3] - 1) * coverage - (truth[:, :, :3] - 1)).abs()
    weight = coverage * (1 + (_HEAD_WEIGHT - 1) * truth[:, :, 4:])
    colour = (weight * distance).sum() / (3 * weight.sum()).clamp(min=1)
    return cover + 2 * colour


@torch.no_grad()
def imperfect_latents(network: ViewUNet, example: Example, sigma: float, generator: torch.Generator) -> torch.Tensor:
    """Latents [B, V, 4, L, L] as the network sees them from noise level ``sigma``; the configuration's ``sigma_max`` is
    what one step from pure noise gives. The reconstruction transformer is trained further on them, as HumanSplat does,
    so that it forgives a synthesizer's mistakes."""
    noise = torch.randn(example.latents.shape, generator=generator).to(example.latents)
    levels = torch.full((len(example.latents),), sigma, device=noise.device)
    return network.denoise(example.latents + sigma * noise, levels, example.given, example.azimuths)


@dataclass(frozen=True)
class OrbitExample:
    """One person for the ``full`` network.

    Attributes:
        latents: [F, 4, L, L] of the orbit's views, times the VAE's scaling factor.
        photo_latent: [4, L, L], not scaled.
        embedding: [1, D] of the photo.
        polar, azimuth: [F] radians.
    """

    latents: torch.Tensor
    photo_latent: torch.Tensor
    embedding: torch.Tensor
    polar: torch.Tensor
    azimuth: torch.Tensor


@torch.no_grad()
def orbit_example(
    sample: Sample,
    picture: int,
    encode: Callable[[torch.Tensor], torch.Tensor],
    embed: Callable[[torch.Tensor], torch.Tensor],
    scaling: float,
) -> OrbitExample:
    """What the ``full`` network is given for a sample whose views are an orbit's, the photo's own first.

    Args:
        sample: see there.
        picture: pixels a side.
        encode: the VAE's mode [B, 4, L, L] of pictures [B, 3, S, S] in 0..1.
        embed: CLIP's embedding [1, 1, D] of a picture [1, 3, S, S].
        scaling: the VAE's scaling factor.
    """
    matte = sample.photo_alpha[..., None]
    photo = _grid((sample.photo_rgb * matte + (1 - matte))[None], picture)
    clean = follow_photo(sample.views.rgb, sample.views.alpha, sample.photo_rgb, sample.photo_alpha)
    # SV3D's orbit ends with the photo's own view.
    views = torch.cat([encode(view[None]) for view in _grid(clean, picture).roll(-1, 0)])
    azimuths, elevations = (v.float().roll(-1, 0).to(views.device) for v in (sample.azimuths, sample.elevations))
    polar, azimuth = torch.deg2rad(90 - elevations), torch.deg2rad(azimuths % 360)
    return OrbitExample(views * scaling, encode(photo)[0], embed(photo)[0], polar, azimuth)


class OrbitPool(SamplePool):
    """People of the factory or of a folder of scans, seen from the given azimuths.

    Args:
        azimuths: degrees from the photo's camera, the first 0.
        size, capacity, estimate, device: as of ``SamplePool``.
        source: where figures come from; None is the factory.
    """

    def __init__(
        self,
        azimuths: Sequence[float],
        size: int,
        capacity: int,
        estimate: str | None,
        source: Source | None,
        device: str,
    ) -> None:
        super().__init__(size, 0, capacity, estimate, device)
        self.azimuths, self.source = [float(a) for a in azimuths], source

    def make(self, seed: int, augment: bool = True) -> Sample:
        """The sample of ``seed``."""
        return make_sample(
            seed, self.azimuths, self.size, augment=augment, estimate=self.estimate, source=self.source,
            device=self.device,
        )  # fmt: skip
