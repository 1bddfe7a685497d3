"""What an SV3D checkpoint must hold: names and shapes, checked before gigabytes are read; and the original's names."""

from __future__ import annotations

import argparse
import re
import sys
from functools import lru_cache
from pathlib import Path

import torch

from ...errors import BackendError

SV3D_UNET: dict[str, object] = {
    "sample_size": 72,
    "in_channels": 8,
    "out_channels": 4,
    "block_out_channels": (320, 640, 1280, 1280),
    "addition_time_embed_dim": 256,
    "projection_class_embeddings_input_dim": 1280,
    "layers_per_block": 2,
    "cross_attention_dim": 1024,
    "transformer_layers_per_block": 1,
    "num_attention_heads": (5, 10, 20, 20),
    "num_frames": 21,
}
"""Geometry of SV3D_p's UNet. Source: the configuration ``sv3d_p.yaml`` in Stability AI's repository generative-models
(model_channels 320, channel_mult 1 2 4 4, num_res_blocks 2, attention_resolutions 4 2 1, num_head_channels 64,
context_dim 1024, adm_in_channels 1280), in the words of ``diffusers``."""
_RESIDUAL = {
    "norm1": "in_layers.0",
    "conv1": "in_layers.2",
    "time_emb_proj": "emb_layers.1",
    "norm2": "out_layers.0",
    "conv2": "out_layers.3",
    "conv_shortcut": "skip_connection",
}
_PLAIN = {
    "time_embedding.linear_1": "time_embed.0",
    "time_embedding.linear_2": "time_embed.2",
    "add_embedding.linear_1": "label_emb.0.0",
    "add_embedding.linear_2": "label_emb.0.2",
    "conv_in": "input_blocks.0.0",
    "conv_norm_out": "out.0",
    "conv_out": "out.2",
}
_IN_BLOCK = re.compile(r"(down_blocks|up_blocks)\.(\d)\.(resnets|attentions|downsamplers|upsamplers)\.(\d)\.(.*)")
ORIGINAL_PREFIX = "model.diffusion_model."


@lru_cache(maxsize=1)
def expected_shapes() -> dict[str, tuple[int, ...]]:
    """Name -> shape of every tensor of SV3D's UNet in the layout of ``diffusers``, without making any."""
    from .full import SV3DUNet

    with torch.device("meta"):
        unet = SV3DUNet(**SV3D_UNET)
    return {name: tuple(value.shape) for name, value in unet.state_dict().items()}


def read_shapes(path: Path) -> dict[str, tuple[int, ...]]:
    """Name -> shape of the tensors in a safetensors file, from its header alone.

    Raises:
        BackendError: kind ``weights_damaged``.
    """
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(str(path), framework="pt") as file:
            return {name: tuple(file.get_slice(name).get_shape()) for name in file.keys()}
    except (OSError, SafetensorError) as error:
        raise BackendError(
            "weights_damaged", f"{path.name} is no readable safetensors file.", "Download or convert it again."
        ) from error


def differences(expected: dict[str, tuple[int, ...]], found: dict[str, tuple[int, ...]]) -> list[str]:
    """What is missing, foreign or of another shape, counted, with one example each; nothing where all is as expected.

    Args:
        expected, found: name -> shape.
    """
    missing = sorted(expected.keys() - found.keys())
    foreign = sorted(found.keys() - expected.keys())
    other = sorted(name for name in expected.keys() & found.keys() if expected[name] != found[name])
    parts = []
    if missing:
        parts.append(f"{len(missing)} tensors are missing (such as {missing[0]})")
    if foreign:
        parts.append(f"{len(foreign)} do not belong there (such as {foreign[0]})")
    if other:
        name = other[0]
        parts.append(f"{len(other)} have another shape (such as {name}: {found[name]} instead of {expected[name]})")
    return parts


def check_shapes(found: dict[str, tuple[int, ...]], what: str) -> None:
    """Compare with :func:`expected_shapes`.

    Args:
        found: name -> shape.
        what: the file's or folder's name, for the message.

    Raises:
        BackendError: kind ``weights_mismatch``; the message counts what is missing, foreign or of another shape and
            names one of each.
    """
    expected = expected_shapes()
    if any(name.startswith(ORIGINAL_PREFIX) for name in found):
        raise BackendError(
            "weights_mismatch",
            f"{what} is SV3D's original checkpoint, not one in the layout of diffusers.",
            "Convert it with: python -m backend.views.synthesize.layout sv3d_p.safetensors FOLDER",
        )
    parts = differences(expected, found)
    if not parts:
        return
    hint = "Give a checkpoint of SV3D_p converted to the layout of diffusers."
    if found.get("add_embedding.linear_1.weight", (0, 0))[-1] == 768:
        hint = "This is Stable Video Diffusion, which knows no cameras. " + hint
    raise BackendError("weights_mismatch", f"{what} does not fit SV3D: {'; '.join(parts)}.", hint)


def check_folder(folder: Path) -> None:
    """Check the safetensors of a ``unet`` folder, one file or several.

    Raises:
        BackendError: kinds ``weights_missing``, ``weights_unsafe`` (only pickles), ``weights_damaged``,
            ``weights_mismatch``.
    """
    files = sorted(folder.glob("*.safetensors"))
    if not files and any(folder.glob("*.bin")):
        raise BackendError(
            "weights_unsafe",
            f"{folder} holds weights only as pickles, which can run programs on your computer.",
            "Give weights as safetensors, or allow pickles if you trust where these come from.",
        )
    if not files:
        raise BackendError(
            "weights_missing",
            f"There are no weights in {folder}.",
            "See docs/models.md for how to get them, or choose other sides.",
        )
    variants = [f for f in files if ".fp16" in f.name]
    plain = [f for f in files if f not in variants]
    found: dict[str, tuple[int, ...]] = {}
    for path in plain or variants:
        found |= read_shapes(path)
    check_shapes(found, str(folder))


def original_name(name: str) -> str:
    """The name in Stability AI's checkpoints (without prefix) of the ``diffusers`` tensor ``name``.

    Its blocks are numbered through: input_blocks 0 is the first convolution, then each level has two of layers and one
    that halves the picture; output_blocks have three of layers a level, the last also doubles the picture.
    """
    owner, _, kind = name.rpartition(".")
    if owner in _PLAIN:
        return f"{_PLAIN[owner]}.{kind}"
    match = re.fullmatch(
        r"(down_blocks|up_blocks)\.(\d)\.(resnets|attentions|downsamplers|upsamplers)\.(\d)\.(.*)", name
    )
    if match:
        side, block, group, layer, rest = match[1], int(match[2]), match[3], int(match[4]), match[5]
        if group == "downsamplers":
            return f"input_blocks.{3 * (block + 1)}.0.op.{rest.removeprefix('conv.')}"
        if group == "upsamplers":
            # The coarsest level has no attention, so its doubling comes one place earlier.
            return f"output_blocks.{3 * block + 2}.{1 if block == 0 else 2}.{rest}"
        number = 1 + 3 * block + layer if side == "down_blocks" else 3 * block + layer
        start = f"{'input' if side == 'down_blocks' else 'output'}_blocks.{number}"
    else:
        match = re.fullmatch(r"mid_block\.(resnets|attentions)\.(\d)\.(.*)", name)
        if not match:
            raise KeyError(name)
        group, layer, rest = match[1], int(match[2]), match[3]
        start = "middle_block"
    if group == "attentions":
        place = f"{start}.1"
        for ours, theirs in (
            ("temporal_transformer_blocks.", "time_stack."),
            ("time_pos_embed.linear_1.", "time_pos_embed.0."),
            ("time_pos_embed.linear_2.", "time_pos_embed.2."),
        ):
            rest = rest.replace(ours, theirs)
        return f"{place}.{rest}"
    place = f"{start}.{2 * layer if start == 'middle_block' else 0}"
    if rest.startswith("time_mixer."):
        return f"{place}.{rest}"
    branch, module, kind = rest.split(".")
    inside = "time_stack." if branch == "temporal_res_block" else ""
    return f"{place}.{inside}{_RESIDUAL[module]}.{kind}"


def convert_original(path: Path, folder: Path) -> Path:
    """Write the UNet of Stability AI's ``sv3d_p.safetensors`` as a ``unet`` folder in the layout of ``diffusers``.

    The other parts of the pipeline (vae, image_encoder, feature_extractor, scheduler) are those of Stable Video
    Diffusion's own folder.

    Args:
        path: the original checkpoint.
        folder: gets ``unet/``.

    Returns:
        The file that was written, half precision.

    Raises:
        BackendError: kinds ``weights_damaged``, ``weights_mismatch``.
    """
    import json

    from safetensors import safe_open
    from safetensors.torch import save_file

    found = read_shapes(path)
    names = {name: ORIGINAL_PREFIX + original_name(name) for name in expected_shapes()}
    check_shapes({ours: found[theirs] for ours, theirs in names.items() if theirs in found}, path.name)
    target = folder / "unet" / "diffusion_pytorch_model.safetensors"
    target.parent.mkdir(parents=True, exist_ok=True)
    with safe_open(str(path), framework="pt") as file:
        save_file({ours: file.get_tensor(theirs).half().contiguous() for ours, theirs in names.items()}, str(target))
    (target.parent / "config.json").write_text(json.dumps({"_class_name": "SV3DUNet", **SV3D_UNET}, indent=2))
    return target


def main() -> int:
    parser = argparse.ArgumentParser(description="Convert SV3D's original checkpoint, or check a converted one.")
    parser.add_argument("checkpoint", type=Path, help="sv3d_p.safetensors, or a unet folder to check")
    parser.add_argument("folder", type=Path, nargs="?", help="gets unet/; the other parts come from SVD's folder")
    arguments = parser.parse_args()
    try:
        if arguments.folder is None:
            check_folder(arguments.checkpoint)
            print(f"{arguments.checkpoint}: {len(expected_shapes())} tensors, all as expected")
        else:
            print(convert_original(arguments.checkpoint, arguments.folder))
    except BackendError as error:
        print(error, file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
