"""``python -m backend models ...``: large models on the command line."""

from __future__ import annotations

import argparse
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..errors import BackendError, Cancelled
from .catalogue import MODELS, Model, find_model, size_text
from .store import FOLDER_VARIABLE, Store


@dataclass(frozen=True)
class Console:
    """How a command tells what it does.

    Attributes:
        say: prints a line for people.
        report: shows progress: fraction in 0..1, and what is done.
        stopped: whether the user wants to stop.
    """

    say: Callable[[str], None]
    report: Callable[[float, str], None]
    stopped: Callable[[], bool]


def add_models_command(commands: Any, run: Callable[[argparse.Namespace], dict[str, Any]]) -> None:
    """Add the command ``models`` with its own commands.

    Args:
        commands: what ``add_subparsers`` gave.
        run: called with the arguments; it makes a :class:`Console` and calls :func:`run_command`.
    """
    models = commands.add_parser("models", help="large models for the other sides: list, download, import, remove")
    own = models.add_subparsers(dest="models_command", required=True)

    def add(name: str, explanation: str, named: bool = True) -> argparse.ArgumentParser:
        parser = own.add_parser(name, help=explanation, description=explanation)
        if named:
            parser.add_argument("name", metavar="NAME", help=", ".join(MODELS))
        parser.add_argument(
            "--models", type=Path, metavar="FOLDER", help=f"where models lie (default: {FOLDER_VARIABLE}, or see list)"
        )
        for option, use in (("--json", "print one JSON object"), ("--verbose", "show the traceback of an error")):
            # Suppressed: the command above has the same options, which this one's defaults would undo.
            parser.add_argument(option, action="store_true", default=argparse.SUPPRESS, help=use)
        parser.set_defaults(run=run)
        return parser

    add("list", "what can be had, and what is installed", named=False)
    add("show", "a model's licences, size and files")
    add("accept", "say that you have read and accept a model's licences")
    fetch = add("download", "download a model, or go on with it")
    fetch.add_argument("--optional", action="store_true", help="also files that nothing needs by default")
    bring = add("import", "install a model from a folder that was downloaded by hand")
    bring.add_argument("folder", type=Path, metavar="FOLDER")
    bring.add_argument("--copy", action="store_true", help="copy the files; else they are used where they are")
    add("verify", "compare every byte of an installed model with what was installed")
    add("remove", "delete a model's files; a folder that is used where it is stays")


def run_command(arguments: argparse.Namespace, console: Console) -> dict[str, Any]:
    """Run one of the commands.

    Returns:
        What ``--json`` prints; ``ok`` is False where `verify` has found something.

    Raises:
        BackendError: see there.
    """
    store = Store(arguments.models)
    if arguments.models_command == "list":
        return _list(store, console)
    model = find_model(arguments.name)
    return _COMMANDS[arguments.models_command](model, store, arguments, console)


def _list(store: Store, console: Console) -> dict[str, Any]:
    from .states import describe_models

    found = describe_models(store)
    console.say(f"Models lie in {store.folder} ({size_text(found['free'])} free).")
    for state in found["models"]:
        console.say(f"{state['name']:<12} {_in_words(state)}. {state['about']}")
    return found


def _in_words(state: dict[str, Any]) -> str:
    if state["faults"]:
        return f"damaged: {state['faults'][0]}"
    words = "installed" if state["installed"] else "not installed"
    if not state["installed"] and state["on_disk"]:
        words += f" ({size_text(state['on_disk'])} of about {size_text(state['size'])} are there)"
    else:
        words += f" ({size_text(state['on_disk'] or state['size'])})"
    return words + ("" if state["accepted"] else ", licence not accepted")


def _show(model: Model, store: Store, _arguments: argparse.Namespace, console: Console) -> dict[str, Any]:
    from .states import describe_model

    state = describe_model(model, store)
    console.say(f"{model.title}: {_in_words(state)}")
    console.say(f"{model.about} For NVIDIA cards from about {size_text(model.least_memory)} on.")
    for part in model.parts:
        console.say(f"\n{part.name}: {part.page}")
        console.say(f"  Licence: {part.licence.key}, {part.licence.address}")
        console.say(f"  {part.licence.forbids}")
        for file in part.files:
            console.say(f"  {file.name} ({size_text(file.size)}{', optional' if file.optional else ''})")
    return state


def _accept(model: Model, store: Store, _arguments: argparse.Namespace, console: Console) -> dict[str, Any]:
    store.accept(model)
    for licence in model.licences:
        console.say(f"Accepted: {licence.key} ({licence.address}). {licence.forbids}")
    return {"accepted": [licence.key for licence in model.licences]}


def _download(model: Model, store: Store, arguments: argparse.Namespace, console: Console) -> dict[str, Any]:
    from .download import download

    download(model, store, optional=arguments.optional, report=console.report, cancelled=console.stopped)
    return _installed(model, store, console)


def _import(model: Model, store: Store, arguments: argparse.Namespace, console: Console) -> dict[str, Any]:
    from .importing import import_folder

    import_folder(model, arguments.folder, store, arguments.copy, console.report, console.stopped)
    return _installed(model, store, console)


def _installed(model: Model, store: Store, console: Console) -> dict[str, Any]:
    from .states import describe_model

    state = describe_model(model, store)
    console.say(f"{model.title} is installed ({size_text(state['on_disk'])}):")
    for name, folder in state["folders"].items():
        console.say(f"  {name}: {folder}")
    if not state["accepted"]:
        console.say(f"Before it can be used: python -m backend models accept {model.name}")
    return state


def _verify(model: Model, store: Store, _arguments: argparse.Namespace, console: Console) -> dict[str, Any]:
    from .checks import verify

    found = store.installed(model)
    if found is None:
        raise BackendError(
            "model_missing", f"{model.title} is not installed in {store.folder}.", "Download or import it first."
        )
    count = max(sum(len(part.files) for part in found.parts.values()), 1)
    looked: list[str] = []

    def step(name: str) -> None:
        if console.stopped():
            raise Cancelled("check")
        console.report(min(len(looked) / count, 1.0), name)
        looked.append(name)

    faults = verify(model, found, True, step)
    for fault in faults:
        console.say(f"{fault}.")
    console.say(f"{model.title}: {len(faults)} of {count} files are not as they were installed.")
    return {"ok": not faults, "faults": faults}


def _remove(model: Model, store: Store, _arguments: argparse.Namespace, console: Console) -> dict[str, Any]:
    freed = store.remove(model)
    console.say(f"{model.title} is removed ({size_text(freed)} freed).")
    return {"freed": freed}


_COMMANDS: dict[str, Callable[[Model, Store, argparse.Namespace, Console], dict[str, Any]]] = {
    "show": _show, "accept": _accept, "download": _download, "import": _import, "verify": _verify, "remove": _remove,
}  # fmt: skip
