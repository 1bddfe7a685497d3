"""Repairing the backend's environment from Blender: ``python -m backend doctor --repair`` as a job. No bpy."""

from __future__ import annotations

import contextlib
import json
import subprocess
import threading
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from .background import BackgroundJob
from .client import Failure, clean_environment, describe_exit, spawn_options
from .environment import backend_command

_FIX = "Press Install Backend to make its environment anew."


class RepairJob(BackgroundJob):
    """Looks for what is damaged and mends it, on a thread of its own; read its attributes from anywhere.

    Args:
        python: interpreter of the environment.
        extension_root: folder with the ``backend`` package.
        log_path: file that receives everything that is printed.
        environment: of the process; by default :func:`.client.clean_environment`.

    Attributes:
        first: called on the thread before anything else.
    """

    def __init__(
        self, python: Path, extension_root: Path, log_path: Path, environment: Mapping[str, str] | None = None
    ) -> None:
        super().__init__("humansplat-repair", "Looking at the backend")
        self.first: Callable[[], object] = lambda: None
        self._command = backend_command(python, "doctor", "--repair", "--json")
        self._extension_root = extension_root
        self._log_path = log_path
        self._environment = dict(environment or clean_environment({"PYTHONDONTWRITEBYTECODE": "1"}))

    # --- thread ------------------------------------------------------------------------------------------------

    def _run(self) -> None:
        try:
            self.first()
            self._repair()
        except Exception as error:  # the panel waits for `done`
            text = f"The backend could not be looked at: {type(error).__name__}: {error}."
            self.failure = Failure("repair_failed", text, _FIX)
        finally:
            if self._cancelled:
                self.failure = Failure("cancelled", "The repair was cancelled.")
            self.done = True

    def _repair(self) -> None:
        process = subprocess.Popen(
            self._command,
            cwd=self._extension_root,
            env=self._environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            **spawn_options(),
        )
        self._started(process)
        reader = threading.Thread(target=self._read_progress, args=(process,), daemon=True)
        reader.start()
        assert process.stdout is not None
        output = process.stdout.read().decode(errors="replace")
        code = process.wait()
        reader.join(1.0)
        answer = _last_object(output)
        if answer is None or not isinstance(answer.get("checks"), list):
            error = (answer or {}).get("error")
            reason = str(error.get("message")) if isinstance(error, dict) else f"it {describe_exit(code)}."
            self.failure = Failure(
                "repair_failed", f"The backend could not be looked at: {reason}", _FIX, output[-4000:]
            )
            return
        repaired, left = (_sentences(answer.get(key)) for key in ("repaired", "left"))
        if answer.get("ok") is True and not left:
            self.message = f"Repaired: {', '.join(repaired)}." if repaired else "Nothing of the backend is damaged."
            return
        self.failure = Failure(
            "repair_failed",
            (f"Repaired: {', '.join(repaired)}. " if repaired else "")
            + f"Still wrong: {left[0] if left else 'unknown'}",
            "" if left else _FIX,
            "\n".join(left),
        )

    def _read_progress(self, process: subprocess.Popen[bytes]) -> None:
        assert process.stderr is not None
        with contextlib.ExitStack() as stack:
            log = None
            with contextlib.suppress(OSError):
                self._log_path.parent.mkdir(parents=True, exist_ok=True)
                log = stack.enter_context(open(self._log_path, "w", encoding="utf-8"))
            for raw in iter(process.stderr.readline, b""):
                line = raw.decode(errors="replace").rstrip()
                if line:
                    self.last_line = line
                    self.fraction = min(0.9, self.fraction + 0.3)
                if log is not None:
                    with contextlib.suppress(OSError):
                        log.write(line + "\n")


def _last_object(text: str) -> dict[str, Any] | None:
    """The JSON object in the last line of a text; None if that is none."""
    lines = text.strip().splitlines()
    try:
        found = json.loads(lines[-1]) if lines else None
    except (ValueError, RecursionError):
        return None
    return found if isinstance(found, dict) else None


def _sentences(found: Any) -> list[str]:
    return [str(sentence) for sentence in found] if isinstance(found, list) else []
