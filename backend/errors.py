"""Errors that a person can act on: each says what is wrong in one sentence and what to do next in another."""

from __future__ import annotations

from typing import Any


class BackendError(Exception):
    """An expected failure, shown to the user as it is.

    Args:
        kind: stable machine-readable name, e.g. ``"no_person"``; the add-on picks its fix buttons by it.
        message: one sentence that says what is wrong.
        fix: one sentence that says what to do next.
    """

    def __init__(self, kind: str, message: str, fix: str) -> None:
        super().__init__(f"{message} {fix}")
        self.kind = kind
        self.message = message
        self.fix = fix

    def __reduce__(self) -> tuple[Any, ...]:
        """How it goes from one process to another: as it is, whatever the arguments of its class."""
        return _again, (type(self), self.args, dict(self.__dict__))


def _again(kind: type[BackendError], arguments: tuple[Any, ...], state: dict[str, Any]) -> BackendError:
    error = kind.__new__(kind, *arguments)
    error.__dict__.update(state)
    return error


class Cancelled(BackendError):
    """Raised between steps once the caller has asked to stop; nothing has been written.

    Args:
        what: was cancelled.
    """

    def __init__(self, what: str = "reconstruction") -> None:
        super().__init__("cancelled", f"The {what} was cancelled.", "Start it again when you are ready.")
