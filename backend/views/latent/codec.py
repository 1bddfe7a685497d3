"""Pictures to latents and back."""

from __future__ import annotations

from pathlib import Path

import torch
from torch import nn
from torch.nn import functional

from ...errors import BackendError

_FACTOR = 8
"""Pixels to one latent pixel."""
_BLOCK = 2
"""Pixels a side of the blocks that the small autoencoder works on."""
_WHITE = 0.02
"""How far from white a pixel counts as the person's where no coverage is known."""


class LatentCodec(nn.Module):
    """A small autoencoder of factor 8 and 4 channels, in the architecture of ``diffusers.AutoencoderTiny``.

    It works on blocks of 2 x 2 pixels, which makes it four times as fast as on pixels, and it also tells the coverage
    of the person, which nobody can read from white clothes over white. A linear path beside it takes the blocks' mean
    colours along, so that training begins with small pictures instead of grey. Latents are shifted and scaled, channel
    by channel, to mean 0 and variance 1 over the training pictures.

    Args:
        width: channels of the convolutions.
    """

    def __init__(self, width: int = 48) -> None:
        super().__init__()
        from diffusers import AutoencoderTiny

        self.network = AutoencoderTiny(
            in_channels=3 * _BLOCK**2,
            out_channels=4 * _BLOCK**2,
            encoder_block_out_channels=(width,) * 3,
            decoder_block_out_channels=(width,) * 3,
            num_encoder_blocks=(1, 2, 3),
            num_decoder_blocks=(3, 2, 1),
        )
        self.mean_in = nn.Conv2d(3, 4, 1, bias=False)
        self.mean_out = nn.Conv2d(4, 4, 1)
        with torch.no_grad():
            self.mean_in.weight.copy_(torch.eye(4, 3)[..., None, None])
            self.mean_out.weight.copy_(0.5 * torch.diag(torch.tensor([1.0, 1.0, 1.0, 0.0]))[..., None, None])
            self.mean_out.bias.fill_(0.5)
            for network in (self.network.encoder, self.network.decoder):
                network.layers[-1].weight.mul_(0.1)
        self.register_buffer("mean", torch.zeros(4))
        self.register_buffer("deviation", torch.ones(4))

    def raw(self, rgb: torch.Tensor) -> torch.Tensor:
        """Latents [B, 4, S / 8, S / 8] of ``rgb`` [B, 3, S, S] in 0..1, before they are shifted and scaled."""
        means = functional.avg_pool2d(rgb * 2 - 1, _FACTOR)
        return self.network.encoder(functional.pixel_unshuffle(rgb, _BLOCK) * 2 - 1) + self.mean_in(means)

    def from_raw(self, raw: torch.Tensor) -> torch.Tensor:
        """Colours and coverage [B, 4, S, S], about 0..1, of what :meth:`raw` gives."""
        smooth = functional.interpolate(self.mean_out(raw), scale_factor=_FACTOR, mode="bilinear", align_corners=False)
        return functional.pixel_shuffle(self.network.decoder(raw), _BLOCK) * 0.5 + 0.5 + smooth

    def encode(self, rgb: torch.Tensor) -> torch.Tensor:
        """Latents [B, 4, S / 8, S / 8] of ``rgb`` [B, 3, S, S] in 0..1 over white."""
        return (self.raw(rgb) - self.mean[:, None, None]) / self.deviation[:, None, None]

    def decode(self, latents: torch.Tensor) -> torch.Tensor:
        """Pictures [B, 3, S, S], in 0..1 over white, of latents [B, 4, S / 8, S / 8]."""
        return self.decode_rgba(latents)[0]

    def decode_rgba(self, latents: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Pictures [B, 3, S, S] over white and coverage [B, S, S], both in 0..1, of latents [B, 4, S / 8, S / 8]."""
        rgba = self.from_raw(latents * self.deviation[:, None, None] + self.mean[:, None, None]).clamp(0, 1)
        return rgba[:, :3], rgba[:, 3]

    def features(self, rgb: torch.Tensor) -> list[torch.Tensor]:
        """The encoder's features of ``rgb`` [B, 3, S, S] after each halving: what the perceptual loss compares."""
        x, out = functional.pixel_unshuffle(rgb, _BLOCK), []
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
        return (self.network.decode(latents / self.factor).sample * 0.5 + 0.5).clamp(0, 1)

    def decode_rgba(self, latents: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """As :meth:`LatentCodec.decode_rgba`; this autoencoder knows no coverage: it is what is not white."""
        rgb = self.decode(latents)
        return rgb, ((1 - rgb).amax(1) / _WHITE - 1).clamp(0, 1)
