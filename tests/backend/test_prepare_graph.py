"""The network executor, operator by operator, against plain loops that follow TensorFlow's definitions."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.numpy import save_file

from backend.prepare.graph import GraphNetwork


def _run(
    tmp_path: Path, x: np.ndarray, operators: list[dict[str, Any]], weights: dict[int, np.ndarray] | None = None
) -> np.ndarray:
    """Run a chain of operators on ``x`` [1, H, W, C]; tensor 0 is the input."""
    path = tmp_path / "net.safetensors"
    graph = {"inputs": [0], "outputs": [operators[-1]["outputs"][0]], "operators": operators}
    arrays = {str(k): np.ascontiguousarray(v, dtype=np.float32) for k, v in (weights or {}).items()}
    save_file(arrays, path, metadata={"graph": json.dumps(graph)})
    return GraphNetwork(path)(torch.from_numpy(x.astype(np.float32)))[0].numpy()


def _same_padding(size: int, kernel: int, stride: int) -> tuple[int, int]:
    out = math.ceil(size / stride)
    total = max((out - 1) * stride + kernel - size, 0)
    return out, total // 2


def _conv_loops(x: np.ndarray, weight: np.ndarray, bias: np.ndarray, stride: int, depthwise: bool) -> np.ndarray:
    """SAME convolution of x [H, W, C] with weight [out, in, k, k] (or [C, 1, k, k]); ReLU6 behind it."""
    height, width, _ = x.shape
    k = weight.shape[2]
    (rows, top), (columns, left) = _same_padding(height, k, stride), _same_padding(width, k, stride)
    out = np.zeros((rows, columns, len(weight)))
    for r in range(rows):
        for c in range(columns):
            for o in range(len(weight)):
                value = bias[o]
                for i in range(k):
                    for j in range(k):
                        y, z = r * stride + i - top, c * stride + j - left
                        if 0 <= y < height and 0 <= z < width:
                            pixel = x[y, z, o : o + 1] if depthwise else x[y, z]
                            value += (pixel * weight[o, :, i, j]).sum()
                out[r, c, o] = min(max(value, 0), 6)
    return out


@pytest.mark.parametrize("stride, kernel, shape", [(1, 3, (5, 6)), (2, 3, (6, 7)), (2, 5, (7, 8)), (2, 2, (5, 4))])
@pytest.mark.parametrize("depthwise", [False, True])
def test_convolutions(tmp_path: Path, stride: int, kernel: int, shape: tuple[int, int], depthwise: bool) -> None:
    rng = np.random.default_rng(0)
    x = rng.normal(size=(1, *shape, 3))
    weight = rng.normal(size=(3, 1, kernel, kernel) if depthwise else (4, 3, kernel, kernel))
    bias = rng.normal(size=len(weight))
    op = {
        "name": "DEPTHWISE_CONV_2D" if depthwise else "CONV_2D", "inputs": [0, 1, 2], "outputs": [3], "same": True,
        "stride": [stride, stride], "dilation": [1, 1], "activation": 3,
    }  # fmt: skip
    ours = _run(tmp_path, x, [op], {1: weight, 2: bias})
    assert np.allclose(ours[0], _conv_loops(x[0], weight, bias, stride, depthwise), atol=1e-5)


def test_max_pool_ignores_its_padding(tmp_path: Path) -> None:
    x = np.random.default_rng(1).normal(size=(1, 5, 5, 2)) - 10  # a zero in the padding would win
    op = {
        "name": "MAX_POOL_2D", "inputs": [0], "outputs": [1], "same": True, "stride": [2, 2], "kernel": [2, 2],
        "activation": 0,
    }  # fmt: skip
    expected = np.stack([[x[0, r : r + 2, c : c + 2].max((0, 1)) for c in (0, 2, 4)] for r in (0, 2, 4)])
    assert np.allclose(_run(tmp_path, x, [op])[0], expected, atol=1e-6)


@pytest.mark.parametrize("half_pixel, align", [(False, False), (True, False), (False, True)])
def test_bilinear_resize(tmp_path: Path, half_pixel: bool, align: bool) -> None:
    x = np.random.default_rng(2).normal(size=(1, 3, 4, 2))
    size = [6, 7]
    op = {
        "name": "RESIZE_BILINEAR", "inputs": [0], "outputs": [1], "values": size, "align_corners": align,
        "half_pixel": half_pixel,
    }  # fmt: skip
    ours = _run(tmp_path, x, [op])[0]

    def source(i: int, old: int, new: int) -> float:
        if align:
            return i * (old - 1) / (new - 1)
        return max((i + 0.5) * old / new - 0.5, 0) if half_pixel else i * old / new

    for r in range(size[0]):
        for c in range(size[1]):
            y, z = source(r, 3, size[0]), source(c, 4, size[1])
            y0, z0 = int(y), int(z)
            y1, z1 = min(y0 + 1, 2), min(z0 + 1, 3)
            fy, fz = y - y0, z - z0
            top = x[0, y0, z0] * (1 - fz) + x[0, y0, z1] * fz
            bottom = x[0, y1, z0] * (1 - fz) + x[0, y1, z1] * fz
            assert np.allclose(ours[r, c], top * (1 - fy) + bottom * fy, atol=1e-5)


def test_depth_to_space(tmp_path: Path) -> None:
    x = np.arange(2 * 3 * 8, dtype=float).reshape(1, 2, 3, 8)
    ours = _run(tmp_path, x, [{"name": "DEPTH_TO_SPACE", "inputs": [0], "outputs": [1], "block": 2}])[0]
    for r in range(4):
        for c in range(6):
            for k in range(2):
                assert ours[r, c, k] == x[0, r // 2, c // 2, (r % 2) * 4 + (c % 2) * 2 + k]


def test_reshape_pad_add_concatenate_dense(tmp_path: Path) -> None:
    x = np.random.default_rng(3).normal(size=(1, 2, 3, 4))
    pad = {"name": "PAD", "inputs": [0], "outputs": [1], "values": [[0, 0], [1, 0], [0, 2], [0, 1]]}
    assert np.allclose(_run(tmp_path, x, [pad]), np.pad(x, pad["values"]), atol=1e-6)
    reshape = {"name": "RESHAPE", "inputs": [0], "outputs": [1], "values": [1, 6, 4]}
    assert np.allclose(_run(tmp_path, x, [reshape]), x.reshape(1, 6, 4), atol=1e-6)
    add = {"name": "ADD", "inputs": [0, 0], "outputs": [1], "activation": 1}
    join = {"name": "CONCATENATION", "inputs": [0, 1], "outputs": [2], "axis": 3}
    sigmoid = {"name": "LOGISTIC", "inputs": [2], "outputs": [3]}
    expected = 1 / (1 + np.exp(-np.concatenate([x, np.maximum(2 * x, 0)], 3)))
    assert np.allclose(_run(tmp_path, x, [add, join, sigmoid]), expected, atol=1e-6)
    rng = np.random.default_rng(4)
    weight, bias = rng.normal(size=(5, 4)), rng.normal(size=5)
    mean = {"name": "MEAN", "inputs": [0], "outputs": [1], "values": [1, 2]}
    dense = {"name": "FULLY_CONNECTED", "inputs": [1, 2, 3], "outputs": [4], "activation": 0}
    expected = x.mean((1, 2)) @ weight.T + bias
    assert np.allclose(_run(tmp_path, x, [mean, dense], {2: weight, 3: bias}), expected, atol=1e-5)


def test_unknown_operators_are_errors(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="SOFTMAX"):
        _run(tmp_path, np.zeros((1, 2, 2, 1)), [{"name": "SOFTMAX", "inputs": [0], "outputs": [1]}])
    op = {"name": "ADD", "inputs": [0, 0], "outputs": [1], "activation": 5}
    with pytest.raises(ValueError, match="activation 5"):
        _run(tmp_path, np.zeros((1, 2, 2, 1)), [op])
