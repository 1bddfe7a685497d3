"""A pipeline as a list of named stages: each says what it needs and gives, and a scheduler runs them."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Executor, Future
from contextlib import AbstractContextManager
from dataclasses import dataclass
from functools import partial
from typing import Any


@dataclass(frozen=True)
class Stage:
    """One step of a pipeline.

    Attributes:
        gives: names of its results; of several, ``work`` gives a tuple.
        work: gets the results that its parameters name.
        group: the name under which its time is counted and its progress told.
        text: what it does, for people.
        beside: it runs in another thread while later stages that do not need it go on; its time is not counted.
        late: of what it needs, what it gets as a function that waits for it.
    """

    gives: tuple[str, ...]
    work: Callable[..., Any]
    group: str = ""
    text: str = ""
    beside: bool = False
    late: tuple[str, ...] = ()

    @property
    def needs(self) -> tuple[str, ...]:
        """Names of the results that it gets."""
        return tuple(inspect.signature(self.work).parameters)


@dataclass(frozen=True)
class _Later:
    """A result that another thread works for; ``index`` is its place in a stage's tuple, None for the whole."""

    future: Future[Any]
    index: int | None

    def get(self) -> Any:
        found = self.future.result()
        return found if self.index is None else found[self.index]


def run_stages(
    stages: Sequence[Stage],
    given: Mapping[str, Any],
    beside: Executor,
    watch: Callable[[str, str], AbstractContextManager[None]],
) -> dict[str, Any]:
    """All results by name, those of stages beside the others included.

    Args:
        stages: in the order of their work. What a stage needs is given or a result of a stage before it; a stage whose
            results are all given is left out.
        given: results that are there already.
        beside: where stages run that are beside the others. It must begin them in their order.
        watch: gives what surrounds the work of a group: told its name and what is being done.
    """
    known = dict(given)
    for stage in stages:
        if all(name in known for name in stage.gives):
            continue
        needed = {name: known[name] for name in stage.needs}
        if stage.beside:
            future = beside.submit(_work, stage, needed)
            single = len(stage.gives) == 1
            known |= {name: _Later(future, None if single else index) for index, name in enumerate(stage.gives)}
        else:
            with watch(stage.group, stage.text):
                found = _work(stage, needed)
            known |= {stage.gives[0]: found} if len(stage.gives) == 1 else dict(zip(stage.gives, found, strict=True))
    return {name: _now(value) for name, value in known.items()}


def _work(stage: Stage, needed: Mapping[str, Any]) -> Any:
    late = {name: partial(_now, needed[name]) for name in stage.late}
    return stage.work(**{name: _now(value) for name, value in needed.items() if name not in late}, **late)


def _now(value: Any) -> Any:
    return value.get() if isinstance(value, _Later) else value
