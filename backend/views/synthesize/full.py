"""SV3D out of the parts of ``diffusers``: an orbit of views of what one picture shows (Voleti et al., ECCV 2024).

Facts of the model are from Stability AI's configuration ``sv3d_p.yaml`` and from HumanSplat's code; no code is.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from contextlib import AbstractContextManager
from pathlib import Path

import numpy as np
import torch
from diffusers import AutoencoderKL, AutoencoderKLTemporalDecoder, EulerDiscreteScheduler
from diffusers import UNetSpatioTemporalConditionModel as SpatioTemporalUNet
from diffusers.models.embeddings import get_timestep_embedding
from torch import nn
from torch.nn import functional

from ...errors import BackendError
from ..latent.views import ViewCameras
from .config import FullConfig
from .layout import check_folder
from .memory import MemoryMode, apply, at_work, hold, mode_for
from .schedule import guide, orbit_scales
from .stage import Step

TITLE = "SV3D"
"""As sentences name it."""
PARTS = ("unet", "vae", "image_encoder", "scheduler", "feature_extractor")
_CLIP_SIZE = 224
_CLIP_MEAN, _CLIP_DEVIATION = (0.48145466, 0.4578275, 0.40821073), (0.26862954, 0.26130258, 0.27577711)
SVD_SCHEDULE = {
    "beta_start": 0.00085,
    "beta_end": 0.012,
    "beta_schedule": "scaled_linear",
    "prediction_type": "v_prediction",
    "interpolation_type": "linear",
    "use_karras_sigmas": True,
    "sigma_min": 0.002,
    "sigma_max": 700.0,
    "timestep_spacing": "leading",
    "timestep_type": "continuous",
    "steps_offset": 1,
}
"""Of Stable Video Diffusion's ``scheduler_config.json``: EDM's noise levels with v-prediction."""


class SV3DUNet(SpatioTemporalUNet):
    """Stable Video Diffusion's UNet, told the camera of each frame.

    In place of SVD's three numbers a clip, each frame has its own embedding: noise level of the photo, polar angle and
    azimuth, embedded in ``addition_time_embed_dim`` and twice in twice as many channels. All weights have SVD's names.
    """

    def forward(
        self,
        sample: torch.Tensor,
        timestep: torch.Tensor,
        encoder_hidden_states: torch.Tensor,
        cameras: torch.Tensor,
    ) -> torch.Tensor:
        """Velocity [B, F, 4, H, W].

        Args:
            sample: [B, F, 8, H, W], scaled noisy latents and the photo's latent.
            timestep: [B] or one number, ln(sigma) / 4.
            encoder_hidden_states: [B, 1, D], CLIP's embedding of the photo.
            cameras: [B, F, 3], noise level of the photo, polar angle and azimuth in radians.
        """
        batch, frames, _, height, width = sample.shape
        level = self.time_embedding(self.time_proj(timestep.reshape(-1).expand(batch)).to(sample.dtype))
        base = self.config.addition_time_embed_dim
        told = [
            get_timestep_embedding(values, channels, flip_sin_to_cos=True, downscale_freq_shift=0)
            for values, channels in zip(cameras.flatten(0, 1).float().unbind(1), (base, 2 * base, 2 * base))
        ]
        embedding = level.repeat_interleave(frames, 0) + self.add_embedding(torch.cat(told, 1).to(sample.dtype))
        context = encoder_hidden_states.repeat_interleave(frames, 0)
        # No frame is a still picture to the learned blend of spatial and temporal layers.
        stills = torch.zeros(batch, frames, dtype=sample.dtype, device=sample.device)

        def extra(block: nn.Module) -> dict[str, torch.Tensor]:
            attends = getattr(block, "has_cross_attention", False)
            return {"encoder_hidden_states": context} if attends else {}

        x = self.conv_in(sample.flatten(0, 1))
        kept = [x]
        for block in self.down_blocks:
            x, features = block(hidden_states=x, temb=embedding, image_only_indicator=stills, **extra(block))
            kept.extend(features)
        x = self.mid_block(hidden_states=x, temb=embedding, encoder_hidden_states=context, image_only_indicator=stills)
        for block in self.up_blocks:
            count = len(block.resnets)
            features, kept = tuple(kept[-count:]), kept[:-count]
            x = block(
                hidden_states=x,
                temb=embedding,
                res_hidden_states_tuple=features,
                image_only_indicator=stills,
                **extra(block),
            )
        x = self.conv_out(self.conv_act(self.conv_norm_out(x)))
        return x.reshape(batch, frames, -1, height, width)


class ClipEmbedder(nn.Module):
    """CLIP's image embedding (ViT-H/14 in SVD's folder).

    Args:
        encoder: a ``transformers`` CLIPVisionModelWithProjection.
        mean, deviation: of the pictures that it was trained on.
    """

    def __init__(
        self,
        encoder: nn.Module,
        mean: Sequence[float] = _CLIP_MEAN,
        deviation: Sequence[float] = _CLIP_DEVIATION,
    ) -> None:
        super().__init__()
        self.encoder = encoder
        self.register_buffer("mean", torch.tensor(mean)[:, None, None])
        self.register_buffer("deviation", torch.tensor(deviation)[:, None, None])

    def forward(self, rgb: torch.Tensor) -> torch.Tensor:
        """Embedding [B, 1, D] of ``rgb`` [B, 3, S, S] in 0..1."""
        size = (_CLIP_SIZE, _CLIP_SIZE)
        small = functional.interpolate(rgb.float(), size=size, mode="bicubic", antialias=True, align_corners=False)
        weights = next(self.encoder.parameters())
        pixels = ((small - self.mean.float()) / self.deviation.float()).to(weights.dtype)
        return self.encoder(pixels).image_embeds[:, None]


def orbit_azimuths(frames: int, through: Sequence[float] = ()) -> list[float]:
    """Azimuths in degrees of SV3D's orbit: evenly on from the photo's view, which comes last as 360.

    Args:
        frames: how many.
        through: angles in 0..360 that are hit exactly by the frames nearest to them; the others are spaced evenly
            between those. SV3D_p takes any angles.
    """
    even = [360 * (k + 1) / frames for k in range(frames)]
    wanted = [a for a in through if 0 < a < 360]
    marks = [0, *(min(range(1, frames), key=lambda k: abs(360 * k / frames - a)) for a in wanted), frames]
    if not wanted or len(set(marks)) < len(marks):
        return even
    return np.interp(range(1, frames + 1), marks, [0.0, *wanted, 360.0]).tolist()


class FullSynthesizer:
    """A warm SV3D.

    Args:
        unet: see :class:`SV3DUNet`.
        vae: Stable Diffusion's or SVD's, factor 8, 4 channels.
        embed: CLIP's embedding [B, 1, D] of pictures [B, 3, S, S] in 0..1.
        scheduler: with EDM's noise levels and v-prediction.
        config: see there.
        mode: how to use memory.
        device: where to compute.
    """

    def __init__(
        self,
        unet: SV3DUNet,
        vae: AutoencoderKL | AutoencoderKLTemporalDecoder,
        embed: nn.Module,
        scheduler: EulerDiscreteScheduler,
        config: FullConfig,
        mode: MemoryMode,
        device: torch.device | str,
    ) -> None:
        self.unet, self.vae, self.embed, self.scheduler = unet.eval(), vae.eval(), embed.eval(), scheduler
        self.config, self.device = config, torch.device(device)
        self.use(mode)

    def use(self, mode: MemoryMode) -> None:
        """See :func:`~backend.views.synthesize.memory.hold`.

        Raises:
            BackendError: kind ``memory_short``.
        """
        self.mode = hold(mode, (self.unet, self.vae, self.embed), self.device, self._place, TITLE)

    def _place(self, mode: MemoryMode) -> None:
        self.embed.to(mode.dtype)
        apply(mode, self.unet, self.vae, self.device)
        if mode.offload == "none":
            self.embed.to(self.device)

    def _at_work(self, part: nn.Module) -> AbstractContextManager[None]:
        """Hold ``part`` on the device while it is used."""
        return at_work(part, self.mode, self.device, layered=part is self.unet)

    @torch.no_grad()
    def synthesize(
        self,
        photo_latent: torch.Tensor | None,
        photo_rgb: torch.Tensor,
        photo_alpha: torch.Tensor | None = None,
        cameras: ViewCameras | None = None,
        body_vertices: torch.Tensor | None = None,
        seed: int = 0,
        steps: int | None = None,
        step: Step = lambda fraction, text: None,
    ) -> torch.Tensor:
        """Latents of the views at ``config.views``, in the call of ``Synthesizer.synthesize``.

        SV3D knows no body: only ``photo_rgb`` [1, 3, S, S], seed, steps and step are used. The photo's own view is the
        photo's clean latent, as in HumanSplat.

        Returns:
            [V, 4, L, L], times the VAE's scaling factor.
        """
        latents, azimuths = self.orbit(photo_rgb, seed, steps, step)
        out = latents[_nearest(azimuths, self.config.views)]
        out[0] = self.encode(photo_rgb)[0] * self.vae.config.scaling_factor
        return out

    @torch.no_grad()
    def pictures(self, photo_rgb: torch.Tensor, turns: Sequence[float], seed: int, step: Step) -> np.ndarray:
        """Pictures of the orbit, uint8 [V, S, S, 3], S as ``config.picture``.

        Args:
            photo_rgb: [1, 3, S, S] in 0..1 over white.
            turns: azimuths in degrees; of each the nearest frame is taken.
            seed: of the noise.
            step: progress, told before every denoising step; what it raises goes through.

        Raises:
            BackendError: kind ``weights_damaged`` where the answer is not finite.
        """
        latents, azimuths = self.orbit(photo_rgb, seed, step=step)
        rgb = self.decode(latents[_nearest(azimuths, turns)])
        if not rgb.isfinite().all():
            raise BackendError(
                "weights_damaged", f"What {TITLE} computes is not finite: its weights are damaged.", "Get them again."
            )
        return (rgb * 255).round().byte().permute(0, 2, 3, 1).cpu().numpy()

    @torch.no_grad()
    def encode(self, rgb: torch.Tensor) -> torch.Tensor:
        """The VAE's mode [B, 4, L, L] of ``rgb`` [B, 3, S, S] in 0..1, not scaled."""
        size = (self.config.picture, self.config.picture)
        with self._at_work(self.vae):
            pixels = functional.interpolate(rgb.to(self.device, torch.float32), size=size, mode="area") * 2 - 1
            return self.vae.encode(pixels).latent_dist.mode()

    @torch.no_grad()
    def decode(self, latents: torch.Tensor) -> torch.Tensor:
        """Pictures [F, 3, S, S] in 0..1 of scaled latents [F, 4, L, L]."""
        with self._at_work(self.vae):
            parts = []
            for part in (latents.float() / self.vae.config.scaling_factor).split(self.mode.decode_chunk):
                temporal = isinstance(self.vae, AutoencoderKLTemporalDecoder)
                parts.append(self.vae.decode(part, **({"num_frames": len(part)} if temporal else {})).sample)
        return (torch.cat(parts) * 0.5 + 0.5).clamp(0, 1)

    @torch.no_grad()
    def orbit(
        self,
        photo_rgb: torch.Tensor,
        seed: int = 0,
        steps: int | None = None,
        step: Step = lambda fraction, text: None,
    ) -> tuple[torch.Tensor, list[float]]:
        """(scaled latents [F, 4, L, L], azimuth of each frame in degrees, the photo's own last as 360).

        Args:
            photo_rgb: [1, 3, S, S] in 0..1 over white.
            seed: of the noise.
            steps: None takes the configuration's.
            step: progress; what it raises goes through.
        """
        c, dtype = self.config, self.mode.dtype
        generator = torch.Generator().manual_seed(seed)
        step(0.0, "Looking at the photo")
        azimuths = orbit_azimuths(c.frames, c.views)
        angles = torch.deg2rad(torch.tensor([c.turn * a for a in azimuths]) % 360)
        polar = torch.full_like(angles, float(np.radians(90 - c.elevation)))
        cameras = torch.stack([torch.full_like(angles, c.noise), polar, angles], 1)[None].to(self.device)
        photo = photo_rgb.to(self.device, torch.float32)
        noise = torch.randn(photo.shape, generator=generator).to(photo)
        photo_latent = self.encode(photo + 0.5 * c.noise * noise)[:, None].to(dtype).expand(-1, c.frames, -1, -1, -1)
        with self._at_work(self.embed):
            embedding = self.embed(photo).to(dtype)
        self.scheduler.set_timesteps(c.steps if steps is None else steps, device=self.device)
        shape = (1, c.frames, self.unet.config.out_channels, c.grid, c.grid)
        latents = torch.randn(shape, generator=generator).to(self.device) * self.scheduler.init_noise_sigma
        scales = orbit_scales(c.frames, *c.guidance)
        guided = not bool((scales == 1).all())
        with self._at_work(self.unet):
            for done, level in enumerate(self.scheduler.timesteps):
                count = len(self.scheduler.timesteps)
                step((done + 1) / (count + 1), f"Imagining the other sides, step {done + 1} of {count}")
                scaled = self.scheduler.scale_model_input(latents, level).to(dtype)
                velocity = self._velocity(scaled, level, photo_latent, embedding, cameras, scales if guided else None)
                latents = self.scheduler.step(velocity.float(), level, latents).prev_sample
        step(1.0, "Imagining the other sides")
        return latents[0], azimuths

    def _velocity(
        self,
        scaled: torch.Tensor,
        level: torch.Tensor,
        photo_latent: torch.Tensor,
        embedding: torch.Tensor,
        cameras: torch.Tensor,
        scales: torch.Tensor | None,
    ) -> torch.Tensor:
        """The UNet's answer [1, F, 4, H, W], guided by ``scales`` [F] if there are any."""
        given = torch.cat([scaled, photo_latent], 2)
        if scales is None:
            return self.unet(given, level, embedding, cameras)
        bare = torch.cat([scaled, torch.zeros_like(photo_latent)], 2)
        nothing = torch.zeros_like(embedding)
        if self.mode.split_guidance:
            without = self.unet(bare, level, nothing, cameras)
            return guide(without, self.unet(given, level, embedding, cameras), scales)
        both = torch.cat([bare, given])
        answers = self.unet(both, level, torch.cat([nothing, embedding]), cameras.expand(2, -1, -1))
        return guide(*answers.chunk(2), scales)


def _nearest(azimuths: Sequence[float], wanted: Sequence[float]) -> list[int]:
    """Indices of the ``azimuths`` that lie nearest to those ``wanted``, degrees."""
    return [min(range(len(azimuths)), key=lambda k: abs(azimuths[k] - view)) for view in wanted]


def load_full(
    source: str | Path,
    config: FullConfig | None = None,
    device: torch.device | str = "cpu",
    *,
    unet_folder: Path | None = None,
    mode: MemoryMode | None = None,
    allow_download: bool = False,
    allow_pickle: bool = False,
) -> FullSynthesizer:
    """SV3D from a folder in the ``diffusers`` layout or from a hub id.

    Args:
        source: folder with unet/, vae/, image_encoder/, scheduler/ and feature_extractor/, or a hub id.
        config: None takes the defaults.
        device: where to compute.
        unet_folder: a UNet of our own fine-tuning that takes the place of the source's.
        mode: None chooses by the memory that is free.
        allow_download: a hub id may be fetched; else only what is in the local cache is used.
        allow_pickle: the user consents to weights that are pickles; see :func:`~.layout.check_folder`.

    Raises:
        BackendError: kinds ``weights_missing``, ``weights_unsafe``, ``weights_damaged``, ``weights_mismatch``,
            ``package_missing``, ``memory_short``.
    """
    device = torch.device(device)
    mode = mode_for(device, TITLE) if mode is None else mode
    folder = Path(source)
    if folder.is_dir():
        for part in PARTS:
            if not (folder / part).is_dir() and not (part == "unet" and unet_folder is not None):
                raise BackendError(
                    "weights_missing",
                    f"{folder} has no folder {part}.",
                    f"An SV3D folder holds {', '.join(PARTS)}: see docs/models.md.",
                )
        unet_folder = folder / "unet" if unet_folder is None else unet_folder
    elif not _is_hub_id(str(source)):
        raise BackendError(
            "weights_missing",
            f"There is no folder {source}.",
            "See docs/models.md for how to get SV3D's weights, or choose other sides.",
        )
    if unet_folder is not None and not (allow_pickle and not any(unet_folder.glob("*.safetensors"))):
        check_folder(unet_folder)
    options = {"use_safetensors": None if allow_pickle else True, "local_files_only": not allow_download}
    # The economical way needs the package accelerate.
    whole = options | {"low_cpu_mem_usage": False}
    try:
        if unet_folder is None:
            unet = SV3DUNet.from_pretrained(str(source), subfolder="unet", torch_dtype=mode.dtype, **whole)
        else:
            unet = SV3DUNet.from_pretrained(str(unet_folder), torch_dtype=mode.dtype, **whole)
        vae = _vae_class(source, not allow_download).from_pretrained(str(source), subfolder="vae", **whole)
        scheduler = EulerDiscreteScheduler.from_pretrained(
            str(source), subfolder="scheduler", local_files_only=not allow_download
        )
        embed = _load_clip(source, mode.dtype, options)
    except (OSError, ValueError, RuntimeError, KeyError) as error:
        reason = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
        raise BackendError(
            "weights_missing",
            f"SV3D cannot be loaded from {source}: {reason}",
            "Check the folder with: python -m backend.views.synthesize.layout FOLDER/unet",
        ) from error
    return FullSynthesizer(unet, vae, embed, scheduler, config or FullConfig(), mode, device)


def _is_hub_id(source: str) -> bool:
    """Whether ``source`` reads like owner/name."""
    parts = source.split("/")
    return len(parts) == 2 and all(part and not part.startswith((".", "~")) for part in parts)


def _vae_class(source: str | Path, local: bool) -> type[AutoencoderKL] | type[AutoencoderKLTemporalDecoder]:
    """SV3D's conversion carries Stable Diffusion's VAE, SVD's own folder the one with a temporal decoder."""
    loaded = AutoencoderKL.load_config(str(source), subfolder="vae", local_files_only=local)
    return AutoencoderKLTemporalDecoder if "Temporal" in loaded.get("_class_name", "") else AutoencoderKL


def _load_clip(source: str | Path, dtype: torch.dtype, options: dict[str, object]) -> ClipEmbedder:
    try:
        from transformers import CLIPVisionModelWithProjection
    except ImportError as error:
        raise BackendError(
            "package_missing",
            "The full synthesizer needs the package transformers for CLIP's image embedding.",
            "Press Repair in the add-on's preferences, or run `pip install -r backend/requirements.txt`.",
        ) from error
    encoder = CLIPVisionModelWithProjection.from_pretrained(
        str(source), subfolder="image_encoder", torch_dtype=dtype, **options
    )
    settings = Path(source) / "feature_extractor" / "preprocessor_config.json"
    if not settings.is_file():
        return ClipEmbedder(encoder)
    values = json.loads(settings.read_text())
    return ClipEmbedder(encoder, values.get("image_mean", _CLIP_MEAN), values.get("image_std", _CLIP_DEVIATION))
