"""What the jobs have in common that run commands on a thread of their own. Standard library only, no bpy."""

from __future__ import annotations

import subprocess
import threading

from .client import Failure, kill_tree


class BackgroundJob:
    """Runs :meth:`_run` on a thread; read its attributes from anywhere.

    Args:
        name: of the thread.
        label: what goes on at first.
        message: said once it has worked.

    Attributes:
        fraction, label, last_line: progress, 0..1, and what goes on.
        done: it has ended; ``failure`` says why where it has not worked, else ``message`` what was done.
        notes: sentences to show beside the success.
    """

    def __init__(self, name: str, label: str, message: str = "") -> None:
        self.fraction = 0.0
        self.label = label
        self.last_line = ""
        self.message = message
        self.failure: Failure | None = None
        self.notes: list[str] = []
        self.done = False
        self._cancelled = False
        self._process: subprocess.Popen[bytes] | None = None
        self._thread = threading.Thread(target=self._run, name=name, daemon=True)

    def start(self) -> None:
        """Begin."""
        self._thread.start()

    def cancel(self) -> None:
        """Stop; ``done`` follows as soon as what was begun is cleared away."""
        self._cancelled = True
        self.label = "Cancelling"
        if self._process is not None:
            kill_tree(self._process)

    def wait(self, seconds: float) -> bool:
        """Wait until it has ended; False if it has not by then."""
        self._thread.join(seconds)
        return self.done

    def _started(self, process: subprocess.Popen[bytes]) -> None:
        """Note the process that runs, which :meth:`cancel` kills; at once if that was asked for meanwhile."""
        self._process = process
        if self._cancelled:
            kill_tree(process)

    def _run(self) -> None:
        """The work, on the thread; sets ``failure`` and, last, ``done``."""
        raise NotImplementedError
