"""Run a network that :mod:`.tflite_convert` has unpacked, in plain PyTorch."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from safetensors import SafetensorError, safe_open

from ..errors import BackendError

_NHWC_TO_NCHW_AXIS = {0: 0, 1: 2, 2: 3, 3: 1, -1: 1}


def _activate(x: torch.Tensor, code: int) -> torch.Tensor:
    """TFLite's fused activations: 0 none, 1 ReLU, 3 ReLU6."""
    if code == 0:
        return x
    if code == 1:
        return F.relu(x)
    if code == 3:
        return x.clamp(0, 6)
    raise ValueError(f"The network uses the fused activation {code}, which this program does not know.")


def _pad_same(x: torch.Tensor, kernel: Any, stride: Any, dilation: Any = (1, 1), value: float = 0.0) -> torch.Tensor:
    """TensorFlow's SAME padding: as even as possible, the odd pixel at the bottom and right."""
    padding = []
    for size, k, s, d in zip(reversed(x.shape[-2:]), reversed(kernel), reversed(stride), reversed(dilation)):
        total = max((-(-size // s) - 1) * s + (k - 1) * d + 1 - size, 0)
        padding += [total // 2, total - total // 2]
    return F.pad(x, padding, value=value) if any(padding) else x


def _resize_asymmetric(x: torch.Tensor, size: list[int]) -> torch.Tensor:
    """Bilinear resize with TFLite's default coordinates (no half-pixel shift), which ``F.interpolate`` lacks."""
    height, width = x.shape[2:]
    ys = torch.arange(size[0], device=x.device) * (height / size[0])
    xs = torch.arange(size[1], device=x.device) * (width / size[1])
    y0, x0 = ys.floor().long(), xs.floor().long()
    fy, fx = (ys - y0)[:, None], xs - x0
    rows = x[:, :, y0] * (1 - fy) + x[:, :, (y0 + 1).clamp(max=height - 1)] * fy
    return rows[..., x0] * (1 - fx) + rows[..., (x0 + 1).clamp(max=width - 1)] * fx


def _sound(weights: torch.Tensor) -> torch.Tensor:
    """The same; raises ValueError where they are no numbers, or a matrix of zeros, which no training leaves."""
    if not (weights.sum().isfinite() and (weights.dim() < 2 or weights.any())):
        raise ValueError("the weights are damaged")
    return weights


class GraphNetwork(torch.nn.Module):
    """A feed-forward network read from an unpacked file.

    Args:
        path: safetensors file written by :func:`backend.prepare.tflite_convert.convert`.

    Raises:
        BackendError: kind ``weights_damaged``.
    """

    def __init__(self, path: Path) -> None:
        super().__init__()
        try:
            with safe_open(path, "pt") as file:
                description = json.loads(file.metadata()["graph"])
                for key in file.keys():
                    self.register_buffer(f"w{key}", _sound(file.get_tensor(key)))
            self._inputs: list[int] = description["inputs"]
            self._outputs: list[int] = description["outputs"]
            self._operators: list[dict[str, Any]] = description["operators"]
        except (SafetensorError, OSError, ValueError, KeyError, TypeError) as error:
            raise BackendError(
                "weights_damaged",
                f"The network {path.stem} is damaged.",
                "Run `python -m backend doctor --repair`, or press Repair in the add-on's preferences.",
            ) from error

    @torch.no_grad()
    def forward(self, image: torch.Tensor) -> list[torch.Tensor]:
        """Run on ``image`` [1, H, W, 3]; returns the outputs in the file's order, 4-D ones as [1, H, W, C]."""
        values = {self._inputs[0]: image.permute(0, 3, 1, 2)}

        def get(index: int) -> torch.Tensor | None:
            if index < 0:
                return None
            return values[index] if index in values else getattr(self, f"w{index}")

        for op in self._operators:
            values[op["outputs"][0]] = self._run(op, [get(i) for i in op["inputs"]])
        return [values[i].permute(0, 2, 3, 1) if values[i].dim() == 4 else values[i] for i in self._outputs]

    @staticmethod
    def _run(op: dict[str, Any], args: list[torch.Tensor]) -> torch.Tensor:
        name, x = op["name"], args[0]
        if name in ("CONV_2D", "DEPTHWISE_CONV_2D"):
            weight, bias = args[1], args[2]
            if op["same"]:
                x = _pad_same(x, weight.shape[2:], op["stride"], op["dilation"])
            groups = x.shape[1] if name == "DEPTHWISE_CONV_2D" else 1
            return _activate(F.conv2d(x, weight, bias, op["stride"], 0, op["dilation"], groups), op["activation"])
        if name == "ADD":
            return _activate(x + args[1], op["activation"])
        if name == "FULLY_CONNECTED":
            return _activate(F.linear(x.flatten(1), args[1], args[2]), op["activation"])
        if name == "PAD":
            (_, _), (top, bottom), (left, right), (front, back) = op["values"]
            return F.pad(x, [left, right, top, bottom, front, back])
        if name == "MAX_POOL_2D":
            if op["same"]:
                x = _pad_same(x, op["kernel"], op["stride"], value=-1e30)
            return F.max_pool2d(x, op["kernel"], op["stride"])
        if name == "MEAN":
            return x.mean((2, 3))  # over height and width; the next operator is fully connected
        if name == "RESIZE_BILINEAR":
            if op["align_corners"] or op["half_pixel"]:
                return F.interpolate(x, op["values"], mode="bilinear", align_corners=op["align_corners"])
            return _resize_asymmetric(x, op["values"])
        if name == "RESHAPE":
            flat = x.permute(0, 2, 3, 1) if x.dim() == 4 else x
            out = flat.reshape(op["values"])
            return out.permute(0, 3, 1, 2) if out.dim() == 4 else out
        if name == "CONCATENATION":
            axis = _NHWC_TO_NCHW_AXIS[op["axis"]] if x.dim() == 4 else op["axis"]
            return torch.cat(args, axis)
        if name == "DEPTH_TO_SPACE":
            block = op["block"]
            n, c, h, w = x.shape
            out = x.reshape(n, block, block, c // block**2, h, w).permute(0, 3, 4, 1, 5, 2)
            return out.reshape(n, c // block**2, h * block, w * block)
        if name == "LOGISTIC":
            return torch.sigmoid(x)
        raise ValueError(f"The network uses the operator {name}, which this program does not know.")
