"""The large models that make the other sides of a person, by their names: the one way from a name to a warm model."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import torch

from ..models.catalogue import find_model
from ..models.store import Store, resolve
from .adapter.config import AdapterConfig
from .source import ViewSource
from .synthesize.config import FullConfig

ADAPTER = AdapterConfig()
"""Settings of MV-Adapter: the published ones."""
ORBIT = FullConfig(picture=576)
"""Settings of SV3D: 576 pixels are the size of its published weights."""


def load_source(name: str, device: torch.device | str, store: Store) -> ViewSource:
    """Load an installed large model; the packages that it needs are imported here.

    Args:
        name: one of `backend.models.catalogue.MODELS`.
        device: where to compute.
        store: where the model is installed.

    Raises:
        BackendError: kinds ``model_unknown``, ``model_missing``, ``licence_missing``, ``model_damaged``,
            ``models_unreadable``; ``weights_missing``, ``weights_unsafe``, ``weights_damaged``, ``weights_mismatch``,
            ``package_missing``, ``memory_short``.
    """
    parts = resolve(name, store)
    return _LOADERS[name](parts, device, describe_files(name, store))


_Described = Sequence[dict[str, str]]


def _load_mv_adapter(parts: Mapping[str, Path], device: torch.device | str, described: _Described) -> ViewSource:
    from .adapter.load import load_adapter

    return load_adapter(parts, device, config=ADAPTER, described=described)


def _load_sv3d(parts: Mapping[str, Path], device: torch.device | str, described: _Described) -> ViewSource:
    from .synthesize.full import load_full
    from .synthesize.orbit_source import OrbitSource

    return OrbitSource(load_full(parts["pipeline"], ORBIT, device), described)


_LOADERS: dict[str, Callable[[Mapping[str, Path], torch.device | str, _Described], ViewSource]] = {
    "mv-adapter": _load_mv_adapter,
    "sv3d": _load_sv3d,
}


def describe_files(name: str, store: Store) -> list[dict[str, str]]:
    """What an avatar package says of the weights of an installed model, with the hashes that were recorded when it was
    installed.

    Raises:
        BackendError: kinds ``model_unknown``, ``models_unreadable``.
    """
    model = find_model(name)
    found = store.installed(model)
    assert found is not None
    return [
        {
            "name": f"{name}/{part.name}/{file.name}",
            "sha256": found.parts[part.name].files[file.name].sha256,
            "licence": part.licence.name,
        }
        for part, file in model.wanted()
        if file.name.endswith(".safetensors")
    ]
