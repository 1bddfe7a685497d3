"""A device that is made up: PyTorch's processor under the name ``mps``, which refuses what Apple's graphics refuse.

Inside :class:`PretendMps` tensors that are made on ``mps`` or brought there say that they are there. They know no
float64, do not turn into NumPy arrays, and mix with no tensor of the processor.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import Any

import torch
from torch.overrides import TorchFunctionMode

DEVICE = torch.device("mps")
_MARK = "_is_on_pretended_device"
#: What takes tensors of both.
_MIXES = {"__getitem__", "__setitem__", "copy_", "to", "type_as", "as_tensor", "tensor", "__set__"}
#: What asks about devices and gives no tensors.
_PLAIN = {"_parse_to", "_has_compatible_shallow_copy_type"}


def _tensors(values: Any) -> Iterator[torch.Tensor]:
    if isinstance(values, torch.Tensor):
        yield values
    elif isinstance(values, dict):
        yield from _tensors(list(values.values()))
    elif isinstance(values, (tuple, list)):
        for value in values:
            yield from _tensors(value)


def is_there(tensor: torch.Tensor) -> bool:
    """Whether a tensor is on the device."""
    return getattr(tensor, _MARK, False)


def _is_device(value: Any, kind: str) -> bool:
    return (isinstance(value, torch.device) and value.type == kind) or (isinstance(value, str) and value == kind)


class PretendMps(TorchFunctionMode):
    """While it is entered, by one thread, ``mps`` is a device.

    Attributes:
        calls: how many calls worked on its tensors.
    """

    def __init__(self) -> None:
        super().__init__()
        self.calls = 0

    def __torch_function__(
        self, func: Callable[..., Any], types: Iterable[type], args: tuple[Any, ...] = (), kwargs: Any = None
    ) -> Any:
        """Run ``func`` on the processor and say that it was the device."""
        kwargs = dict(kwargs or {})
        given = list(_tensors([args, kwargs]))
        there = any(map(is_there, given))
        name = getattr(func, "__name__", "")
        asked = [*args, kwargs.get("device")]
        comes = any(_is_device(value, "mps") for value in asked)
        goes = name == "cpu" or any(_is_device(value, "cpu") for value in asked)
        if func is torch.device or name in _PLAIN or not (there or comes):
            return func(*args, **kwargs)
        self.calls += 1
        if name in ("to", "type_as") and len(given) == 2:
            comes, goes = is_there(given[1]), not is_there(given[1])
        owner = getattr(func, "__self__", None)
        if name == "__get__" and owner is torch.Tensor.device:
            return DEVICE
        if name in ("numpy", "__array__"):
            raise TypeError("can't convert mps:0 device type tensor to numpy. Use Tensor.cpu() first.")
        if not comes and not goes and name not in _MIXES and any(t.dim() and not is_there(t) for t in given):
            raise RuntimeError(f"Expected all tensors to be on the same device, but found mps:0 and cpu ({name}).")
        args = tuple(torch.device("cpu") if _is_device(value, "mps") else value for value in args)
        if _is_device(kwargs.get("device"), "mps"):
            kwargs["device"] = torch.device("cpu")
        out = func(*args, **kwargs)
        if name == "__set__":  # what a module's own parameters become
            setattr(args[0], _MARK, is_there(given[-1]))
            return out
        if comes or goes:  # another memory
            out = out.clone()
        for tensor in _tensors(out) if not goes else ():
            if tensor.dtype in (torch.float64, torch.complex128):
                raise TypeError(
                    "Cannot convert a MPS Tensor to float64 dtype as the MPS framework doesn't support float64. "
                    f"Please use float32 instead. ({name})"
                )
            setattr(tensor, _MARK, True)
        return out
