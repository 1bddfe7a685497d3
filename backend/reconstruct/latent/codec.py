"""Pictures to latents and back."""

from __future__ import annotations

from pathlib import Path

import torch
from torch import nn

from ...errors import BackendError


class LatentCodec(nn.Module):
    """A small autoencoder of factor 8 and 4 channels, in the architecture of ``diffusers.AutoencoderTiny``.

    Latents are shifted and scaled, channel by channel, to mean 0 and variance 1 over the training pictures.

    Args:
        encoder, decoder: channels of their convolutions.
    """

    def __init__(self, encoder: int = 32, decoder: int = 48) -> None:
        super().__init__()
        from diffusers import AutoencoderTiny

        self.network = AutoencoderTiny(
            encoder_block_out_channels=(encoder,) * 4,
            decoder_block_out_channels=(decoder,) * 4,
            num_encoder_blocks=(1, 2, 2, 2),
            num_decoder_blocks=(2, 2, 2, 1),
        )
        self.register_buffer("mean", torch.zeros(4))
        self.register_buffer("deviation", torch.ones(4))

    def encode(self, rgb: torch.Tensor) -> torch.Tensor:
        """Latents [B, 4, S / 8, S / 8] of ``rgb`` [B, 3, S, S] in 0..1."""
        raw = self.network.encoder(rgb * 2 - 1)
        return (raw - self.mean[:, None, None]) / self.deviation[:, None, None]

    def decode(self, latents: torch.Tensor) -> torch.Tensor:
        """Pictures [B, 3, S, S], about 0..1, of latents [B, 4, S / 8, S / 8]."""
        return self.network.decoder(latents * self.deviation[:, None, None] + self.mean[:, None, None]) * 0.5 + 0.5

    def features(self, rgb: torch.Tensor) -> list[torch.Tensor]:
        """The encoder's features of ``rgb`` [B, 3, S, S] after each halving: what the perceptual loss compares."""
        x, out = rgb, []
        for layer in self.network.encoder.layers:
            x = layer(x)
            if isinstance(layer, nn.Conv2d) and layer.stride == (2, 2):
                out.append(x)
        return out


class DiffusersCodec(nn.Module):
    """The SD VAE of the ``full`` configuration from a folder in the ``diffusers`` layout; latents times 0.18215.

    Args:
        folder: with ``config.json`` and safetensors.

    Raises:
        BackendError: kind ``weights_missing``.
    """

    def __init__(self, folder: Path) -> None:
        super().__init__()
        from diffusers import AutoencoderKL

        if not (folder / "config.json").is_file():
            raise BackendError(
                "weights_missing", f"There is no VAE in {folder}.", "Give the folder of an SD VAE in diffusers' layout."
            )
        self.network = AutoencoderKL.from_pretrained(str(folder), use_safetensors=True, local_files_only=True)
        self.factor = float(self.network.config.scaling_factor)

    def encode(self, rgb: torch.Tensor) -> torch.Tensor:
        """As :meth:`LatentCodec.encode`; the mode of the posterior."""
        return self.network.encode(rgb * 2 - 1).latent_dist.mode() * self.factor

    def decode(self, latents: torch.Tensor) -> torch.Tensor:
        """As :meth:`LatentCodec.decode`."""
        return self.network.decode(latents / self.factor).sample * 0.5 + 0.5
