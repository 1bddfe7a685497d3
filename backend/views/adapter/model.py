"""The sampling of MV-Adapter on SDXL: views of a person from noise, a reference picture and each view's condition."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from diffusers import AutoencoderKL, EulerDiscreteScheduler, T2IAdapter, UNet2DConditionModel

from ...errors import BackendError
from ..source import Step
from ..synthesize.memory import MemoryMode, apply, at_work, hold
from .attention import ViewExchange
from .config import TITLE, AdapterConfig, Variant
from .text import PromptEmbeddings


@dataclass(frozen=True, eq=False)
class AdapterNetworks:
    """What MV-Adapter consists of.

    Attributes:
        unet: SDXL's, with the processors of :func:`~backend.views.adapter.attention.install_attention`.
        encoder: of the conditions [B, 6, S, S]; its four features are added to the UNet's blocks on the way down.
        vae: SDXL's, factor 8, 4 channels.
        scheduler: with the noise levels of :func:`~backend.views.adapter.schedule.shifted_scheduler`.
        prompts: see there.
    """

    unet: UNet2DConditionModel
    encoder: T2IAdapter
    vae: AutoencoderKL
    scheduler: EulerDiscreteScheduler
    prompts: PromptEmbeddings


class MultiviewDiffusion:
    """MV-Adapter with its networks in memory.

    Args:
        networks: see there.
        config: see there.
        variant: which of the published adapters ``networks`` hold.
        mode: how to use memory.
        device: where to compute.
    """

    def __init__(
        self, networks: AdapterNetworks, config: AdapterConfig, variant: Variant, mode: MemoryMode, device: torch.device
    ) -> None:
        self.networks, self.config, self.variant, self.device = networks, config, variant, device
        for network in (networks.unet, networks.encoder, networks.vae):
            network.eval().requires_grad_(False)
        self.use(mode)

    def use(self, mode: MemoryMode) -> None:
        """See :func:`~backend.views.synthesize.memory.hold`.

        Raises:
            BackendError: kind ``memory_short``.
        """
        networks = (self.networks.unet, self.networks.encoder, self.networks.vae)
        self.mode = hold(mode, networks, self.device, self._place, TITLE)

    def _place(self, mode: MemoryMode) -> None:
        unet, encoder, vae = self.networks.unet, self.networks.encoder, self.networks.vae
        # The VAE of the published scripts was made for float16; SDXL's own one overflows in it and says so.
        halved = mode.dtype is not torch.float32 and not vae.config.force_upcast
        for network, dtype in ((encoder, mode.dtype), (vae, torch.float16 if halved else torch.float32)):
            if network.dtype != dtype:
                network.to(dtype)
        apply(mode, unet, vae, self.device, slice_attention=False)
        if mode.offload == "none":
            encoder.to(self.device)

    @torch.no_grad()
    def imagine(self, reference: np.ndarray, maps: np.ndarray, seed: int, step: Step) -> np.ndarray:
        """The views that belong to ``maps``.

        Args:
            reference: uint8 [S, S, 3], the person over grey.
            maps: float32 [V, 6, S, S] in 0..1.
            seed: of the noise, which is drawn on the CPU, so that it is the same on every device.
            step: progress, told before every denoising step; what it raises goes through.

        Returns:
            uint8 [V, S, S, 3].

        Raises:
            BackendError: kind ``weights_damaged`` where the answer is not finite.
        """
        generator = torch.Generator().manual_seed(seed)
        step(0.0, "Looking at the photo")
        scheduler, side = self.networks.scheduler, self.config.picture // 8
        scheduler.set_timesteps(self.config.steps, device=self.device)
        noise = torch.randn(len(maps), 4, side, side, generator=generator).to(self.device)
        latents = noise * scheduler.init_noise_sigma
        reference_latent = self._encode(reference, generator)
        with at_work(self.networks.encoder, self.mode, self.device):
            given = torch.as_tensor(maps).to(self.device, self.mode.dtype)
            features = self.networks.encoder(given)
        with at_work(self.networks.unet, self.mode, self.device, layered=True):
            seen = self._reference_features(reference_latent)
            count = len(scheduler.timesteps)
            for done, level in enumerate(scheduler.timesteps):
                step((done + 1) / (count + 2), f"Imagining the other sides, step {done + 1} of {count}")
                scaled = scheduler.scale_model_input(latents, level).to(self.mode.dtype)
                predicted = self._predict(scaled, level, features, seen)
                latents = scheduler.step(predicted.float(), level, latents, generator=generator).prev_sample
        step((count + 1) / (count + 2), "Drawing the other sides")
        return self._decode(latents)

    def _encode(self, picture: np.ndarray, generator: torch.Generator) -> torch.Tensor:
        """A sample [1, 4, S / 8, S / 8] of the VAE's distribution for ``picture``, scaled, as in training."""
        vae = self.networks.vae
        with at_work(vae, self.mode, self.device):
            pixels = torch.as_tensor(picture.copy()).permute(2, 0, 1)[None].to(self.device, vae.dtype)
            drawn = vae.encode(pixels / 127.5 - 1).latent_dist.sample(generator)
        return drawn * vae.config.scaling_factor

    def _decode(self, latents: torch.Tensor) -> np.ndarray:
        """Pictures uint8 [V, S, S, 3] of scaled latents."""
        vae = self.networks.vae
        pictures = []
        with at_work(vae, self.mode, self.device):
            for part in (latents / vae.config.scaling_factor).split(self.mode.decode_chunk):
                pictures.append(vae.decode(part.to(vae.dtype)).sample.float().cpu())
        values = torch.cat(pictures)
        if not values.isfinite().all():
            raise BackendError(
                "weights_damaged",
                f"What {TITLE} computes is not finite: its weights are damaged, or its VAE is not made for float16.",
                "Download the adapter and the VAE sdxl-vae-fp16-fix again.",
            )
        return (values * 127.5 + 127.5).round().clamp(0, 255).byte().permute(0, 2, 3, 1).numpy()

    def _reference_features(self, reference: torch.Tensor) -> dict[str, torch.Tensor]:
        """Inputs of all self-attention layers for the reference, without noise, at time 0; by the layer's name.

        Returns:
            [2, L, C] each: zeros, for the answer without the reference, and the inputs.
        """
        record: dict[str, torch.Tensor] = {}
        self._call(reference.to(self.mode.dtype), torch.zeros(()), slice(1, 2), None, ViewExchange(record=record))
        return {name: torch.cat([torch.zeros_like(values), values]) for name, values in record.items()}

    def _predict(
        self,
        scaled: torch.Tensor,
        level: torch.Tensor,
        features: list[torch.Tensor],
        seen: dict[str, torch.Tensor],
    ) -> torch.Tensor:
        """The noise [V, 4, S / 8, S / 8] in scaled latents of that shape, with classifier-free guidance."""
        views, columns = len(scaled), self.variant.columns

        def answers(rows: slice) -> torch.Tensor:
            reference = {name: values[rows] for name, values in seen.items()}
            return self._call(scaled, level, rows, features, ViewExchange(views, columns, reference))

        if self.mode.split_guidance:
            without, given = answers(slice(0, 1)), answers(slice(1, 2))
        else:
            without, given = answers(slice(0, 2)).chunk(2)
        return without + self.config.guidance * (given - without)

    def _call(
        self,
        latents: torch.Tensor,
        level: torch.Tensor,
        rows: slice,
        features: list[torch.Tensor] | None,
        exchange: ViewExchange,
    ) -> torch.Tensor:
        """The UNet's answer for V latents with each of the R prompts ``rows``: [R V, 4, H, W]."""
        tokens, pooled = (
            values[rows].to(self.device, self.mode.dtype).repeat_interleave(len(latents), 0)
            for values in (self.networks.prompts.tokens, self.networks.prompts.pooled)
        )
        count = len(tokens) // len(latents)
        side = self.config.picture
        # Original size, corner of the crop, target size: SDXL's conditions on sizes.
        sizes = torch.tensor([[side, side, 0, 0, side, side]]).to(tokens).expand(len(tokens), -1)
        return self.networks.unet(
            latents.repeat(count, 1, 1, 1),
            level,
            encoder_hidden_states=tokens,
            added_cond_kwargs={"text_embeds": pooled, "time_ids": sizes},
            cross_attention_kwargs={"exchange": exchange},
            down_intrablock_additional_residuals=None
            if features is None
            else [feature.repeat(count, 1, 1, 1) for feature in features],
            return_dict=False,
        )[0]
