"""Files of the Hugging Face hub over HTTP: what a file is, and its bytes from a place on.

The hub's address is ``HF_ENDPOINT`` or https://huggingface.co; ``HF_TOKEN`` and proxies of the environment are used, as
the package ``huggingface_hub`` does.
"""

from __future__ import annotations

import hashlib
import importlib
import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from ..errors import BackendError
from .catalogue import Part

READ_SECONDS = 20.0
"""Without a byte, after which a connection counts as broken."""


@dataclass(frozen=True)
class RemoteState:
    """What the hub says of a file.

    Attributes:
        url: of its bytes; it leads on to where they lie.
        size: bytes.
        etag: SHA-256 of a large file, git's SHA-1 of a small one, or something else.
        revision: commit.
    """

    url: str
    size: int
    etag: str
    revision: str

    @property
    def is_small(self) -> bool:
        """Whether the etag is git's SHA-1 of the file."""
        return re.fullmatch(r"[0-9a-f]{40}", self.etag) is not None

    def matches(self, digest: str, git_digest: str) -> bool:
        """Whether a file of the right size is the right one, by its SHA-256 and its git SHA-1."""
        if re.fullmatch(r"[0-9a-f]{64}", self.etag):
            return self.etag == digest
        return self.etag == git_digest if self.is_small else True


class ConnectionLost(Exception):
    """The connection broke, or could not be made; the text says why. Trying again may help."""


class RangeRefused(Exception):
    """There are no bytes from the asked-for place on."""


def git_hash(size: int) -> Any:
    """A hash that gives git's SHA-1 of a file of ``size`` bytes, once they are fed to it."""
    return hashlib.sha1(f"blob {size}\0".encode(), usedforsecurity=False)


def look_up(part: Part, name: str) -> RemoteState:
    """What the hub says of a file.

    Raises:
        BackendError: kinds ``package_missing``, ``model_gated``, ``model_moved``, ``network_failed``.
        ConnectionLost: see there.
    """
    hub, http = _packages()
    url = hub.hf_hub_url(part.repository, name, revision=part.revision, endpoint=_endpoint())
    try:
        found = hub.get_hf_file_metadata(url, timeout=READ_SECONDS, token=None, headers=None)
    except http.HTTPError as error:
        raise _explained(error, part, name) from error
    except hub.errors.OfflineModeIsEnabled as error:
        raise BackendError(
            "network_failed",
            "Nothing is downloaded, because the environment variable HF_HUB_OFFLINE is set.",
            "Unset it, or use a local folder.",
        ) from error
    if found.size is None or found.etag is None:
        raise BackendError(
            "network_failed",
            f"The hub at {_host()} does not say how large {name} of {part.repository} is.",
            "Try again later; a proxy or mirror may be in the way.",
        )
    return RemoteState(url, found.size, found.etag, found.commit_hash or "")


@contextmanager
def reading(part: Part, name: str, state: RemoteState, start: int) -> Iterator[tuple[int, Iterator[bytes]]]:
    """The file's bytes from ``start`` on; with them the place where they begin, 0 where the server knows no ranges.

    Raises:
        BackendError: as :func:`look_up`.
        ConnectionLost, RangeRefused: see there.
    """
    hub, http = _packages()
    headers = hub.utils.build_hf_headers() | {"Accept-Encoding": "identity"}
    if start:
        headers["Range"] = f"bytes={start}-"
    try:
        # A token does not follow to another host: the client leaves it out of such redirects.
        with hub.get_session().stream(
            "GET", state.url, headers=headers, follow_redirects=True, timeout=READ_SECONDS
        ) as response:
            if response.status_code == 416:
                raise RangeRefused
            hub.utils.hf_raise_for_status(response)
            yield (start if response.status_code == 206 else 0), response.iter_bytes()
    except http.HTTPError as error:
        raise _explained(error, part, name) from error


def _packages() -> tuple[Any, Any]:
    """``huggingface_hub`` and the HTTP client that it uses.

    Raises:
        BackendError: kind ``package_missing``.
    """
    try:
        import huggingface_hub
        import huggingface_hub.errors
        import huggingface_hub.utils

        try:
            http = importlib.import_module("httpx2")  # of huggingface_hub 2
        except ImportError:
            http = importlib.import_module("httpx")  # of huggingface_hub 1
    except ImportError as error:
        raise BackendError(
            "package_missing",
            f"Downloads need a package that is not installed ({error.name}).",
            "Install the backend again, or download by hand and import the folder.",
        ) from error
    if int(huggingface_hub.__version__.partition(".")[0]) < 1:  # which has another HTTP client
        raise BackendError(
            "package_missing",
            f"The package huggingface_hub {huggingface_hub.__version__} is too old for downloads.",
            "Install the backend again, or download by hand and import the folder.",
        )
    return huggingface_hub, http


def _endpoint() -> str:
    return os.environ.get("HF_ENDPOINT", "").rstrip("/") or "https://huggingface.co"


def _host() -> str:
    return _endpoint().partition("//")[2]


def _unreachable(reason: str) -> BackendError:
    return BackendError(
        "network_failed",
        f"The hub at {_host()} cannot be reached ({reason}).",
        "Check the internet connection and the proxy, then start again: what is there already is not fetched twice.",
    )


def _explained(error: Exception, part: Part, name: str) -> Exception:
    """What an error of the HTTP client means, as an error of ours."""
    response = getattr(error, "response", None)
    lines = str(error).strip().splitlines()
    if response is None:
        return ConnectionLost(lines[0].rstrip(".") if lines else type(error).__name__)
    status = response.status_code
    if status in (401, 403):
        return BackendError(
            "model_gated",
            f"The hub does not give {name} of {part.repository} to you ({status}): its owner asks to accept terms on "
            "its page with an account, or has closed it.",
            f"Accept the terms on {part.page}, let the environment variable HF_TOKEN hold a token of that account, and "
            "start again.",
        )
    if status in (404, 410):
        return BackendError(
            "model_moved",
            f"{name} is not in {part.repository} on the hub any more ({status}).",
            "Update the extension, or download the model by hand and import its folder.",
        )
    if status in (408, 429) or status >= 500:
        return ConnectionLost(f"the hub answered {status}")
    return _unreachable(f"it answered {status}")


def unreachable(error: ConnectionLost) -> BackendError:
    """The error for somebody who cannot connect at all."""
    return _unreachable(str(error))
