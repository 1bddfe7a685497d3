"""What the reconstruction transformer says of people at first, kept on disk: further looks are trained from it."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from ...body.model import BodyModel
from ...views.latent import BodyMaps, FirstLook, LatentInput, LatentTransformer, ViewCameras
from ...views.latent.codec import LatentCodec
from ...views.latent.hull import outlines
from .latent_data import latent_input
from .latent_losses import true_depth
from .latent_pool import to_bytes
from .loop import save_at_once
from .samples import Sample
from .synthesizer_data import as_photographed

_CLEAN = 0.6
"""Share of the photos that are taken as they are, without augmentation."""
_ERROR = (0.15, 0.85)
"""How much of the error of a photo's fit bodies have: as much as fits to several views."""
_NOBODY = -100.0
"""Kept for the depth where nobody is."""


@dataclass(frozen=True)
class KeptLook:
    """One person.

    Attributes:
        given: what ``LatentTransformer.look_again`` needs of it; latents, photo and body points are empty.
        first: without ``raw``, which is empty.
        truth: [V, S, S] true depth in the network's world, NaN where the pictures do not show the person.
        unit: metres to one.
    """

    given: LatentInput
    first: FirstLook
    truth: torch.Tensor
    unit: float


@torch.no_grad()
def look(
    network: LatentTransformer,
    codec: LatentCodec,
    bodies: dict[str, BodyModel],
    sample: Sample,
    rng: np.random.Generator,
) -> KeptLook:
    """Look at a person of the factory.

    Args:
        network: trained, without its further looks.
        codec: of its latents.
        bodies: by name.
        sample: with an estimate of the body.
        rng: chooses photo and body.
    """
    sample = as_photographed(sample, rng, _CLEAN)
    given, frame = latent_input(sample, network.config, codec, bodies, error=float(rng.uniform(*_ERROR)))
    first = network.first_look(given)
    size = first.depth.shape[-1]
    truth = true_depth(sample.views[: network.config.views], frame, size)
    # Where the photo was cut or covered, the person is there but not to be seen.
    seen = outlines(given.alphas, size)[0][:, 0] > 0.5
    return KeptLook(given, first, torch.where(seen, truth, torch.nan), frame.unit)


def write_look(kept: KeptLook, path: Path) -> None:
    """Keep it in few bytes; a stopped write leaves no file under its name."""
    given, first = kept.given, kept.first
    distance = given.cameras.world_to_camera[:, 2, 3][:, None, None]
    packed = {
        "colours": to_bytes(given.colours),
        "alphas": to_bytes(given.alphas),
        "mask": given.maps.mask.to(torch.uint8),
        "body": (given.maps.depth - distance).half(),
        "depth": (first.depth - distance).half(),
        "features": first.features.half(),
        "known": first.known.half(),
        "truth": (kept.truth - distance).nan_to_num(_NOBODY).half(),
        "cameras": vars(given.cameras),
        "unit": kept.unit,
    }
    save_at_once(packed, path)


def read_look(path: Path) -> KeptLook:
    """What :func:`write_look` kept."""
    kept = torch.load(path, map_location="cpu", weights_only=True)
    cameras = ViewCameras(**kept["cameras"])
    distance = cameras.world_to_camera[:, 2, 3][:, None, None]
    empty = torch.zeros(0)
    mask = kept["mask"].float()
    given = LatentInput(
        latents=empty,
        colours=kept["colours"].float() / 255,
        alphas=kept["alphas"].float() / 255,
        photo=empty,
        photo_alpha=empty,
        cameras=cameras,
        body_points=empty,
        body_normals=empty,
        maps=BodyMaps(kept["body"].float() + distance, empty, mask, empty),
    )
    first = FirstLook(empty, kept["depth"].float() + distance, kept["features"].float(), kept["known"].float())
    truth = kept["truth"].float()
    truth = torch.where(truth > _NOBODY, truth + distance, torch.nan)
    return KeptLook(given, first, truth, kept["unit"])
