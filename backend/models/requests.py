"""The server's requests about models: their parameters, checked, and the work."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..errors import BackendError
from .catalogue import MODELS, Model

if TYPE_CHECKING:
    from .store import Store

METHODS = ("models_list", "models_accept", "models_download", "models_import", "models_remove")


@dataclass(frozen=True)
class ModelRequest:
    """A request, its parameters checked.

    Attributes:
        method: one of `METHODS`.
        model: None for ``models_list``.
        licences: keys of the licences that the user has been shown and has accepted; None accepts nothing.
        folder: of ``models_import``.
        copy: of ``models_import``.
        online: of ``models_download``: the user allows the use of the internet.
    """

    method: str
    model: Model | None = None
    licences: tuple[str, ...] | None = None
    folder: Path = Path()
    copy: bool = False
    online: bool = False


_PARAMETERS: dict[str, dict[str, type]] = {
    "models_list": {},
    "models_accept": {"name": str, "licences": list},
    "models_download": {"name": str, "licences": list, "online": bool},
    "models_import": {"name": str, "folder": str, "copy": bool},
    "models_remove": {"name": str},
}
_NEEDED = {"name", "folder", "online"}


def checked_request(method: str, params: dict[str, Any]) -> ModelRequest:
    """The request of these parameters.

    Raises:
        ValueError: one is missing, unknown or of the wrong kind; the text is a sentence.
    """
    known = _PARAMETERS[method]
    unknown = sorted(set(params) - set(known))
    if unknown:
        raise ValueError(f"There is no parameter {unknown[0][:40]!r}.")
    for name, kind in known.items():
        if name in params and type(params[name]) is not kind:
            raise ValueError(f"{name!r} must be of the kind {kind.__name__}.")
        if name not in params and name in _NEEDED:
            raise ValueError(f"{name!r} is missing.")
    if "name" in known and params["name"] not in MODELS:
        raise ValueError(f"'name' must be one of {', '.join(MODELS)}.")
    if params.get("folder") == "":
        raise ValueError("'folder' must be the path of a folder.")
    licences = params.get("licences")
    if licences is not None and not all(isinstance(key, str) for key in licences):
        raise ValueError("'licences' must be a list of texts.")
    return ModelRequest(
        method,
        MODELS.get(params.get("name", "")),
        None if licences is None else tuple(licences),
        Path(params.get("folder", "")),
        params.get("copy", False),
        params.get("online", False),
    )


def run_request(
    asked: ModelRequest, store: Store, report: Callable[[float, str], None], cancelled: Callable[[], bool]
) -> dict[str, Any]:
    """Do what is asked, and describe all models afterwards.

    Raises:
        BackendError: see `download`, `importing` and `store`; kind ``licence_missing`` where other licences were shown
            than the catalogue has.
    """
    from .states import describe_models

    model = asked.model
    if model is not None:
        if asked.licences is not None:
            _accept(model, asked.licences, store)
        if asked.method == "models_download":
            from .download import download

            download(model, store, asked.online, report=report, cancelled=cancelled)
        elif asked.method == "models_import":
            from .importing import import_folder

            import_folder(model, asked.folder, store, asked.copy, report, cancelled)
        elif asked.method == "models_remove":
            store.remove(model)
    return describe_models(store)


def _accept(model: Model, licences: tuple[str, ...], store: Store) -> None:
    if set(licences) != {licence.key for licence in model.licences}:
        raise BackendError(
            "licence_missing",
            f"Other licences were accepted than {model.title} has now.",
            "Look at the list of models again, and accept what it names.",
        )
    store.accept(model)
