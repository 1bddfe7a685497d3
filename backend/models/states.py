"""What there is to know of each model and of the store, as the panel and the command line show it."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

from .catalogue import MODELS, Model
from .checks import verify
from .store import Store


def describe_models(store: Store) -> dict[str, Any]:
    """All models and the store: the answer to the protocol's requests about models.

    Raises:
        BackendError: kind ``models_unreadable``.
    """
    models = [describe_model(model, store) for model in MODELS.values()]
    return {"folder": str(store.folder), "free": store.free_space(), "models": models}


def describe_model(model: Model, store: Store) -> dict[str, Any]:
    """One model: what it is, its licences, and whether it is accepted and installed. Sizes are bytes.

    Raises:
        BackendError: kind ``models_unreadable``.
    """
    found = store.installed(model)
    acceptance = store.acceptance(model)
    return {
        "name": model.name,
        "title": model.title,
        "about": model.about,
        "size": model.size(),
        "least_memory": model.least_memory,
        "gated": any(part.gated for part in model.parts),
        "licences": [asdict(licence) | {"key": licence.key} for licence in model.licences],
        "accepted": "" if acceptance is None else acceptance.when,
        "installed": "" if found is None else found.when,
        "origin": "" if found is None else found.origin,
        "folders": {} if found is None else {name: str(part.folder) for name, part in found.parts.items()},
        "on_disk": store.partial_size(model) if found is None else found.size,
        "faults": [] if found is None else verify(model, found, thorough=False),
    }
