"""Turn a float TFLite file into a safetensors file that :mod:`.graph` runs in PyTorch. Needed at set-up only.

The file keeps the weights in PyTorch's layout and, in its metadata, the list of operators as JSON. Only the operators
that the pose and hand networks use are known; anything else is an error, so that a changed file cannot pass silently.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import tflite
from safetensors.numpy import save_file

_NAMES = {value: name for name, value in vars(tflite.BuiltinOperator).items() if isinstance(value, int)}
_DTYPES = {0: np.float32, 1: np.float16, 2: np.int32, 3: np.uint8, 4: np.int64, 9: np.int8}
_VECTORS = {1: "Int32Vector", 2: "Uint16Vector", 3: "Uint8Vector"}


def _options(operator: Any, cls: type) -> Any:
    table = operator.BuiltinOptions()
    options = cls()
    options.Init(table.Bytes, table.Pos)
    return options


def _window(options: Any) -> dict[str, Any]:
    return {
        "stride": [options.StrideH(), options.StrideW()],
        "same": options.Padding() == 0,
        "activation": options.FusedActivationFunction(),
    }


def _parameters(name: str, operator: Any) -> dict[str, Any]:
    """The operator's attributes that the executor needs."""
    if name in ("CONV_2D", "DEPTHWISE_CONV_2D"):
        options = _options(operator, tflite.Conv2DOptions if name == "CONV_2D" else tflite.DepthwiseConv2DOptions)
        return _window(options) | {"dilation": [options.DilationHFactor(), options.DilationWFactor()]}
    if name == "MAX_POOL_2D":
        options = _options(operator, tflite.Pool2DOptions)
        return _window(options) | {"kernel": [options.FilterHeight(), options.FilterWidth()]}
    if name == "ADD":
        return {"activation": _options(operator, tflite.AddOptions).FusedActivationFunction()}
    if name == "FULLY_CONNECTED":
        return {"activation": _options(operator, tflite.FullyConnectedOptions).FusedActivationFunction()}
    if name == "CONCATENATION":
        return {"axis": _options(operator, tflite.ConcatenationOptions).Axis()}
    if name == "RESIZE_BILINEAR":
        options = _options(operator, tflite.ResizeBilinearOptions)
        return {"align_corners": bool(options.AlignCorners()), "half_pixel": bool(options.HalfPixelCenters())}
    if name == "DEPTH_TO_SPACE":
        return {"block": _options(operator, tflite.DepthToSpaceOptions).BlockSize()}
    if name == "MEAN":
        return {"keep": bool(_options(operator, tflite.ReducerOptions).KeepDims())}
    if name in ("PAD", "RESHAPE", "LOGISTIC"):
        return {}
    raise ValueError(f"The network uses the operator {name}, which this program does not know.")


def _index_vector(kind: int, table: Any) -> np.ndarray:
    vector = getattr(tflite, _VECTORS[kind])()
    vector.Init(table.Bytes, table.Pos)
    return vector.ValuesAsNumpy().astype(int)


def _densify(tensor: Any, values: np.ndarray) -> np.ndarray:
    """Dense array of a sparse tensor (TFLite's block-compressed format: traversal order and block map)."""
    sparsity = tensor.Sparsity()
    shape = tensor.ShapeAsNumpy().tolist()
    order = [sparsity.TraversalOrder(i) for i in range(sparsity.TraversalOrderLength())]
    blocks = [sparsity.BlockMap(i) for i in range(sparsity.BlockMapLength())]
    levels = []
    for i in range(sparsity.DimMetadataLength()):
        level = sparsity.DimMetadata(i)
        if level.Format() == 0:
            levels.append((level.DenseSize(), None, None))
        else:
            segments = _index_vector(level.ArraySegmentsType(), level.ArraySegments())
            levels.append((None, segments, _index_vector(level.ArrayIndicesType(), level.ArrayIndices())))
    rank = len(shape)
    block_size = [1] * rank
    for k, axis in enumerate(blocks):
        block_size[axis] = levels[rank + k][0]
    # Walk the levels outermost first, keeping for every entry its coordinates and its place in the values.
    coordinates = np.zeros((1, 0), int)
    place = np.zeros(1, int)
    for dense, segments, indices in levels:
        if dense is not None:
            repeats = np.full(len(place), dense)
            inner = np.tile(np.arange(dense), len(place))
            new_place = np.repeat(place, dense) * dense + inner
        else:
            repeats = segments[place + 1] - segments[place]
            starts = np.repeat(segments[place] - (np.cumsum(repeats) - repeats), repeats)
            new_place = starts + np.arange(repeats.sum())
            inner = indices[new_place]
        coordinates = np.hstack([np.repeat(coordinates, repeats, 0), inner[:, None]])
        place = new_place
    index = np.zeros((len(place), rank), int)
    for level in range(rank):
        index[:, order[level]] += coordinates[:, level] * block_size[order[level]]
    for k in range(len(blocks)):
        index[:, blocks[order[rank + k] - rank]] += coordinates[:, rank + k]
    out = np.zeros(shape, values.dtype)
    out[tuple(index.T)] = values[place]
    return out


def convert(source: Path, target: Path) -> None:
    """Write the network in the TFLite file ``source`` as safetensors to ``target``.

    Raises:
        ValueError: the file uses an operator or a tensor type that is not known here.
    """
    model = tflite.Model.GetRootAsModel(source.read_bytes(), 0)
    graph = model.Subgraphs(0)
    tensors = [graph.Tensors(i) for i in range(graph.TensorsLength())]
    shapes = [t.ShapeAsNumpy().tolist() if t.ShapeLength() else [] for t in tensors]
    constants: dict[int, np.ndarray] = {}
    for i, tensor in enumerate(tensors):
        raw = model.Buffers(tensor.Buffer()).DataAsNumpy()
        if isinstance(raw, int) or len(raw) == 0:
            continue
        values = np.frombuffer(raw.tobytes(), _DTYPES[tensor.Type()])
        values = _densify(tensor, values) if tensor.Sparsity() is not None else values.reshape(shapes[i])
        constants[i] = values.astype(np.float32) if values.dtype == np.float16 else values
    operators = []
    for i in range(graph.OperatorsLength()):
        operator = graph.Operators(i)
        code = model.OperatorCodes(operator.OpcodeIndex())
        name = _NAMES[max(code.BuiltinCode(), code.DeprecatedBuiltinCode())]
        inputs, outputs = operator.InputsAsNumpy().tolist(), operator.OutputsAsNumpy().tolist()
        if name in ("DEQUANTIZE", "DENSIFY") and inputs[0] in constants:
            constants[outputs[0]] = constants[inputs[0]].astype(np.float32)
            continue
        parameters = _parameters(name, operator)
        if name in ("RESHAPE", "PAD", "RESIZE_BILINEAR", "MEAN"):
            # Shapes are attributes, not weights.
            values = shapes[outputs[0]] if name == "RESHAPE" else constants[inputs[1]].tolist()
            parameters["values"] = values
            inputs = inputs[:1]
        operators.append({"name": name, "inputs": inputs, "outputs": outputs, **parameters})
    weights = {}
    for operator in operators:
        for position, index in enumerate(operator["inputs"]):
            if index in constants:
                values = constants[index].astype(np.float32)
                if position == 1 and operator["name"] == "CONV_2D":
                    values = values.transpose(0, 3, 1, 2)
                elif position == 1 and operator["name"] == "DEPTHWISE_CONV_2D":
                    values = values.transpose(3, 0, 1, 2)
                weights[str(index)] = np.ascontiguousarray(values)
    description = {
        "inputs": graph.InputsAsNumpy().tolist(),
        "outputs": graph.OutputsAsNumpy().tolist(),
        "operators": operators,
    }
    save_file(weights, target, metadata={"graph": json.dumps(description)})
