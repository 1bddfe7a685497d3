"""SDXL's two text encoders, which are needed once: the prompts never change."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import torch

from ...errors import BackendError


@dataclass(frozen=True, eq=False)
class PromptEmbeddings:
    """What the UNet is told of the negative prompt (row 0) and the prompt (row 1).

    Attributes:
        tokens: [2, 77, D], the last hidden layer but one of both encoders beside each other (D = 768 + 1280).
        pooled: [2, P], the second encoder's embedding of the whole text (P = 1280).
    """

    tokens: torch.Tensor
    pooled: torch.Tensor


def require_transformers() -> None:
    """Fail early where the package is missing.

    Raises:
        BackendError: kind ``package_missing``.
    """
    try:
        import transformers  # noqa: F401
    except ImportError as error:
        raise BackendError(
            "package_missing",
            "MV-Adapter needs the package transformers for SDXL's text encoders.",
            "Press Repair in the add-on's preferences, or run `pip install -r backend/requirements.txt`.",
        ) from error


@torch.no_grad()
def encode_prompts(
    base: Path, negative_prompt: str, prompt: str, variants: dict[str, str | None], device: torch.device
) -> PromptEmbeddings:
    """Embed the two prompts; one text encoder is in memory at a time.

    Args:
        base: folder of SDXL with tokenizer, tokenizer_2, text_encoder and text_encoder_2.
        negative_prompt, prompt: texts.
        variants: by the encoder's folder, the variant of its weights ("fp16") or None.
        device: where to compute.

    Returns:
        float32 on ``device``.
    """
    from transformers import CLIPTextModel, CLIPTextModelWithProjection, CLIPTokenizer

    hidden, pooled = [], None
    for suffix, kind in (("", CLIPTextModel), ("_2", CLIPTextModelWithProjection)):
        tokenizer = CLIPTokenizer.from_pretrained(str(base / f"tokenizer{suffix}"), local_files_only=True)
        encoder = kind.from_pretrained(
            str(base / f"text_encoder{suffix}"),
            variant=variants[f"text_encoder{suffix}"],
            use_safetensors=True,
            local_files_only=True,
        )
        # Half precision only where it is fast.
        encoder.to(device, torch.float32 if device.type == "cpu" else torch.float16).eval()
        tokens = tokenizer(
            [negative_prompt, prompt],
            padding="max_length",
            max_length=tokenizer.model_max_length,
            truncation=True,
            return_tensors="pt",
        ).input_ids
        answer = encoder(tokens.to(device), output_hidden_states=True)
        hidden.append(answer.hidden_states[-2].float())
        pooled = answer[0].float()
    assert pooled is not None
    return PromptEmbeddings(torch.cat(hidden, -1), pooled)
