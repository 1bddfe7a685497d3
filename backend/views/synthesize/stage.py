"""The synthesis stage of the ``lite`` preset: warm network, one call a photo."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import torch

from ...body.model import BodyModel
from ...networks import describe, read_frozen
from ..latent.views import SideViews, ViewCameras
from .conditions import azimuths_of, conditions, label_body
from .config import MAX_STEPS, SynthesizerConfig
from .network import ViewUNet
from .painter import Painter, draw_taste
from .schedule import guidance_scales, guide, karras_sigmas, sample_euler

Step = Callable[[float, str], None]
"""Told the fraction done, 0..1, and what is being done; raises to cancel."""
Decode = Callable[[torch.Tensor], tuple[torch.Tensor, torch.Tensor]]
"""Latents [V, 4, L, L] to colours over white [V, 3, S, S] and coverage [V, S, S]."""
WEIGHTS, PAINTER = "synthesizer.safetensors", "painter.safetensors"


class Synthesizer:
    """A warm network for one body.

    Args:
        config: sizes.
        weights: folder with ``synthesizer.safetensors`` and ``painter.safetensors``.
        body: the body that fits are of.
        device: where to compute.

    Raises:
        BackendError: kinds ``weights_missing``, ``weights_damaged``.
    """

    def __init__(self, config: SynthesizerConfig, weights: Path, body: BodyModel, device: torch.device | str) -> None:
        self.config, self.device = config, torch.device(device)
        self.network = read_frozen(ViewUNet(config), weights / WEIGHTS, self.device)
        self.painter = read_frozen(Painter(), weights / PAINTER, self.device)
        self.labels = label_body(body, self.device)
        self.described = describe(weights, WEIGHTS, PAINTER)
        """What an avatar package says of the weights."""

    @torch.no_grad()
    def synthesize(
        self,
        photo_latent: torch.Tensor,
        photo_rgb: torch.Tensor,
        photo_alpha: torch.Tensor,
        cameras: ViewCameras,
        body_vertices: torch.Tensor,
        decode: Decode,
        seed: int = 0,
        steps: int | None = None,
        step: Step = lambda fraction, text: None,
        local: torch.Tensor | None = None,
    ) -> SideViews:
        """Latents and pictures of all views, the photo's own completed where it is cut or hidden.

        The same arguments give the same views on the same device; another seed another plausible back.

        Args:
            photo_latent: [1, 4, L, L] of ``photo_rgb``, normalised as the codec does.
            photo_rgb: [1, 3, S, S] in 0..1 over white.
            photo_alpha: [1, 1, S, S] matte.
            cameras: V of them, the first the photo's; the picture two units wide at the pelvis.
            body_vertices: [N, 3] of the fitted body in the cameras' world.
            decode: the codec's.
            seed: of the noise, and of what to choose where the photo leaves a choice; 0 chooses the likeliest.
            steps: 1..20; None takes the configuration's.
            step: progress; what it raises goes through, so a caller cancels by it.
            local: bool [1, 1, S, S], where the photo shows what does not go on elsewhere, such as a print.

        Raises:
            ValueError: too few or too many steps.
        """
        c, count = self.config, self.config.steps if steps is None else steps
        if not 1 <= count <= MAX_STEPS:
            raise ValueError(f"steps must be 1 to {MAX_STEPS}, not {count}")
        step(0.0, "Drawing the body")
        cameras = ViewCameras(*(value.to(self.device) for value in vars(cameras).values()))
        photo = (value.to(self.device, torch.float32) for value in (photo_latent, photo_rgb, photo_alpha))
        vertices = body_vertices.to(self.device, torch.float32)
        local = None if local is None else local.to(self.device)
        given = conditions(*photo, cameras, vertices, self.labels, c, local)
        azimuths = azimuths_of(cameras)[None]
        scales = guidance_scales(azimuths[0], *c.guidance)
        bare = None if bool((scales == 1).all()) else given.without_photo()

        def denoise(x: torch.Tensor, sigma: float) -> torch.Tensor:
            level = torch.full((1,), sigma, device=self.device)
            with_photo = self.network.denoise(x, level, given, azimuths)
            if bare is None:
                return with_photo
            return guide(self.network.denoise(x, level, bare, azimuths), with_photo, scales)

        generator = torch.Generator().manual_seed(seed)  # on the CPU: a seed then means the same noise everywhere
        noise = torch.randn(1, len(cameras), c.channels, c.grid, c.grid, generator=generator).to(self.device)
        latents = sample_euler(
            denoise,
            noise,
            karras_sigmas(count, c.sigma_min, c.sigma_max),
            lambda done: step((done + 1) / (count + 1), f"Imagining the other sides, {done + 1} of {count}"),
        )
        step(1.0, "Imagining the other sides")
        painted = self.painter.paint(*decode(latents[0]), given.fine[0], draw_taste(seed).to(self.device))
        return SideViews(latents[0], painted, imagined=True)
