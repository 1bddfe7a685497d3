"""How a pipeline tells what it does: one callback, one cancellation check."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from .errors import Cancelled


@dataclass(frozen=True)
class Progress:
    """One progress report.

    Attributes:
        overall: fraction of the whole job, 0..1.
        stage: name of the running stage, e.g. ``"body"``.
        stage_index: 0-based index of the stage.
        stage_count: number of stages.
        stage_fraction: fraction of this stage, 0..1.
        step: what is being done, a few words for people.
    """

    overall: float
    stage: str
    stage_index: int
    stage_count: int
    stage_fraction: float
    step: str


ProgressCallback = Callable[[Progress], None]
CancelCheck = Callable[[], bool]


class Reporter:
    """Turns a stage's own fractions into overall progress and stops the job when asked to.

    Args:
        stages: stage name -> share of the whole time (any positive unit).
        callback: receives every :class:`Progress`.
        cancelled: polled at every step; once true, :class:`~backend.errors.Cancelled` is raised.
    """

    def __init__(
        self,
        stages: dict[str, float],
        callback: ProgressCallback | None = None,
        cancelled: CancelCheck | None = None,
    ) -> None:
        total = sum(stages.values())
        self._names = list(stages)
        self._shares = [share / total for share in stages.values()]
        self._callback = callback
        self._cancelled = cancelled
        self._stopped = False
        self._last = ("", 0.0)

    def check(self) -> None:
        """Raise :class:`~backend.errors.Cancelled` if the caller wants to stop, or the job has failed elsewhere."""
        if self._stopped or (self._cancelled is not None and self._cancelled()):
            raise Cancelled()

    def stop(self) -> None:
        """The job has failed: what still works for it in another thread ends at its next :meth:`check`."""
        self._stopped = True

    def step(self, stage: str, fraction: float, step: str) -> None:
        """Report that ``stage`` has reached ``fraction`` (0..1), or is as far as it was, and now does ``step``."""
        self.check()
        if stage == self._last[0]:
            fraction = max(fraction, self._last[1])
        self._last = (stage, fraction)
        if self._callback is None:
            return
        index = self._names.index(stage)
        overall = sum(self._shares[:index]) + self._shares[index] * fraction
        self._callback(Progress(overall, stage, index, len(self._names), fraction, step))
