"""Downloads of large models from a hub on this machine: whole or not at all, and on from where they stopped."""

from __future__ import annotations

import errno
import hashlib
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from backend.errors import BackendError
from backend.models import download as downloads
from backend.models.catalogue import MODELS, Model
from backend.models.checks import verify
from backend.models.download import download
from backend.models.store import Store, resolve
from tests.model_hub import REVISION, WEIGHTS, Hub, contents, running_hub, tiny_model

ROOT = Path(__file__).resolve().parents[2]

BASE, ADAPTER = f"somebody/base/{WEIGHTS}", "other/adapter/adapter.safetensors"
WITHOUT_OPTIONAL = [path for path in contents() if "more" not in path]


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch) -> Iterator[Hub]:
    for name in ("HTTP_PROXY", "http_proxy", "ALL_PROXY", "all_proxy", "HF_TOKEN", "HF_HUB_OFFLINE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(downloads, "PAUSE", 0.01)
    monkeypatch.setattr(downloads, "SPARE", 0)
    with running_hub() as hub:
        monkeypatch.setenv("HF_ENDPOINT", hub.endpoint)
        yield hub


@pytest.fixture
def model(monkeypatch: pytest.MonkeyPatch) -> Model:
    tiny = tiny_model()
    monkeypatch.setitem(MODELS, tiny.name, tiny)
    return tiny


@pytest.fixture
def store(tmp_path: Path, model: Model) -> Store:
    """An empty store, the tiny model's licences accepted."""
    store = Store(tmp_path / "models")
    store.accept(model)
    return store


def place(store: Store, path: str) -> Path:
    """Where a file of the hub is to lie."""
    _owner, repository, name = path.split("/", 2)
    return store.folder / "sv3d" / {"base": "base", "adapter": "adapter"}[repository] / name


def left(store: Store) -> list[str]:
    """Files of the model that are there, without what names the version of partial ones."""
    folder = store.folder / "sv3d"
    found = (path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file())
    return sorted(name if ".partial" not in name else name.split(".safetensors.")[0] + ".partial" for name in found)


def refused(store: Store, model: Model, **more: Any) -> BackendError:
    """The error of a download that fails; the model is not installed after it."""
    with pytest.raises(BackendError) as caught:
        download(model, store, **more)
    assert store.installed(model) is None and caught.value.message.endswith(".") and caught.value.fix.endswith(".")
    return caught.value


def test_a_model_arrives_whole_and_is_recorded(
    hub: Hub, model: Model, store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HF_TOKEN", "hf_secret")
    told: list[tuple[float, str]] = []
    monkeypatch.setattr(downloads, "_REPORT_SECONDS", 0.0)
    download(model, store, report=lambda share, what: told.append((share, what)))
    assert resolve("sv3d", store) == {
        "base": store.folder / "sv3d" / "base",
        "adapter": store.folder / "sv3d" / "adapter" / "adapter.safetensors",
    }
    found = store.installed(model)
    assert found is not None and found.origin == "hub" and verify(model, found, thorough=True) == []
    for path in WITHOUT_OPTIONAL:
        assert place(store, path).read_bytes() == hub.files[path]
        _owner, part, name = path.split("/", 2)
        assert found.parts[part].files[name].sha256 == hashlib.sha256(hub.files[path]).hexdigest()
    assert {part.revision for part in found.parts.values()} == {REVISION}
    assert len(left(store)) == len(WITHOUT_OPTIONAL) and found.size == sum(len(hub.files[p]) for p in WITHOUT_OPTIONAL)
    shares = [share for share, _ in told]
    assert shares == sorted(shares) and told[-1][0] == 1.0
    assert any("of 896 kB" in what and "left" in what for _, what in told)
    # The token is for the hub alone.
    assert {asked.token for asked in hub.asked if not asked.large} == {"Bearer hf_secret"}
    assert {asked.token for asked in hub.asked if asked.large} == {None}


def test_optional_files_only_where_they_are_asked_for(hub: Hub, model: Model, store: Store) -> None:
    download(model, store)
    assert not place(store, "other/adapter/more.safetensors").exists()
    before = dict(hub.sent)
    download(model, store, optional=True)
    assert place(store, "other/adapter/more.safetensors").is_file()
    assert {p: n for p, n in hub.sent.items() if before.get(p) != n} == {
        "other/adapter/more.safetensors": len(hub.files["other/adapter/more.safetensors"])
    }


def test_a_broken_connection_is_gone_on_with_by_itself(hub: Hub, model: Model, store: Store) -> None:
    hub.cuts[BASE] = [100_000, -1, 300_000]
    download(model, store)
    assert place(store, BASE).read_bytes() == hub.files[BASE]
    assert hub.starts(BASE)[0] is None and len(hub.starts(BASE)) == 4
    assert hub.sent[BASE] == len(hub.files[BASE])  # no byte twice


def test_a_download_that_broke_off_goes_on_where_it_stopped(hub: Hub, model: Model, store: Store) -> None:
    hub.cuts[BASE] = [350_000] + [-1] * downloads.TRIES
    error = refused(store, model)
    assert error.kind == "download_interrupted" and "after 350 kB of 896 kB" in error.message
    assert left(store) == ["base/unet/config.json", "base/unet/model.partial", "base/vocab.txt"]
    assert not place(store, BASE).exists()
    with pytest.raises(BackendError) as caught:
        resolve("sv3d", store)
    assert caught.value.kind == "model_missing"
    hub.asked.clear()
    download(model, store)
    assert hub.starts(BASE) == [350_000] and hub.sent[BASE] == len(hub.files[BASE])
    assert resolve("sv3d", store) and len(left(store)) == len(WITHOUT_OPTIONAL)
    assert hub.starts("somebody/base/vocab.txt") == []  # whole already


def test_cancelled_and_gone_on_with(hub: Hub, model: Model, store: Store) -> None:
    error = refused(store, model, cancelled=lambda: hub.sent.get(BASE, 0) > 200_000)
    assert (error.kind, error.message) == ("cancelled", "The download was cancelled.")
    partial = next((store.folder / "sv3d").rglob("*.partial"))
    assert hub.files[BASE].startswith(partial.read_bytes()) and 0 < partial.stat().st_size < len(hub.files[BASE])
    size = partial.stat().st_size
    hub.asked.clear()
    download(model, store)
    assert hub.starts(BASE) == [size] and place(store, BASE).read_bytes() == hub.files[BASE]


def test_a_server_without_ranges_begins_again(hub: Hub, model: Model, store: Store) -> None:
    hub.no_ranges = True
    hub.cuts[BASE] = [100_000]
    download(model, store)
    assert hub.starts(BASE) == [None, 100_000] and place(store, BASE).read_bytes() == hub.files[BASE]


def test_another_version_is_not_gone_on_with(hub: Hub, model: Model, store: Store) -> None:
    hub.cuts[BASE] = [350_000] + [-1] * downloads.TRIES
    refused(store, model)
    hub.files = contents(b"b")
    hub.asked.clear()
    download(model, store)
    assert hub.starts(BASE) == [None] and place(store, BASE).read_bytes() == hub.files[BASE]
    assert not list(store.folder.rglob("*.partial"))


@pytest.mark.parametrize("path", [BASE, "somebody/base/vocab.txt"])
def test_wrong_bytes_are_thrown_away(hub: Hub, model: Model, store: Store, path: str) -> None:
    """By the SHA-256 of a large file, by git's SHA-1 of a small one."""
    hub.spoil.add(path)
    error = refused(store, model)
    assert error.kind == "download_damaged" and "other bytes than the hub announces" in error.message
    assert not place(store, path).exists() and not list(store.folder.rglob("*.partial"))
    hub.spoil.clear()
    download(model, store)
    assert place(store, path).read_bytes() == hub.files[path]


def test_what_is_called_safetensors_and_is_none_is_thrown_away(hub: Hub, model: Model, store: Store) -> None:
    hub.files[ADAPTER] = b"\x80\x04\x95 a pickle under another name"
    assert refused(store, model).kind == "download_damaged"
    assert not place(store, ADAPTER).exists() and not list(store.folder.rglob("*.partial"))


@pytest.mark.parametrize(
    ("status", "code", "kind", "says"),
    [
        (401, "GatedRepo", "model_gated", "Accept the terms on https://huggingface.co/other/adapter"),
        (403, "GatedRepo", "model_gated", "HF_TOKEN"),
        (401, "RepoNotFound", "model_gated", "HF_TOKEN"),
        (404, "EntryNotFound", "model_moved", "adapter.safetensors is not in other/adapter on the hub any more (404)."),
        (404, "RepoNotFound", "model_moved", "Update the extension"),
        (503, "", "network_failed", "the hub answered 503"),
        (429, "", "network_failed", "the hub answered 429"),
        (400, "", "network_failed", "it answered 400"),
    ],
)
def test_refusals_of_the_hub(
    hub: Hub, model: Model, store: Store, status: int, code: str, kind: str, says: str
) -> None:
    hub.status[ADAPTER] = (status, code)
    error = refused(store, model)
    assert error.kind == kind and says in f"{error.message} {error.fix}"
    assert left(store) == []


def test_no_network(hub: Hub, model: Model, store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_ENDPOINT", "http://127.0.0.1:9")
    error = refused(store, model)
    assert error.kind == "network_failed" and "The hub at 127.0.0.1:9 cannot be reached" in error.message
    assert left(store) == []


def test_what_the_package_itself_is_told(hub: Hub, model: Model, store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    import huggingface_hub

    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", True)  # read once, from the environment
    error = refused(store, model)
    assert error.kind == "network_failed" and "HF_HUB_OFFLINE is set" in error.message
    monkeypatch.setattr(huggingface_hub, "__version__", "0.36.0")
    assert refused(store, model).kind == "package_missing" and hub.asked == []


def test_refused_before_anything_is_asked(hub: Hub, model: Model, tmp_path: Path) -> None:
    store = Store(tmp_path / "fresh")
    assert refused(store, model).kind == "licence_missing"
    store.accept(model)
    error = refused(store, model, online=False)
    assert error.kind == "offline" and "Blender's online access is off" in error.message
    assert hub.asked == [] and left(store) == []


def test_too_little_space(hub: Hub, model: Model, store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Store, "free_space", lambda self: 500_000)
    error = refused(store, model)
    assert error.kind == "disk_full" and "needs 896 kB more, and 500 kB are free" in error.message
    assert left(store) == [] and not any(asked.method == "GET" for asked in hub.asked)
    # What is there already needs no more space.
    monkeypatch.setattr(Store, "free_space", lambda self: 10**9)
    hub.cuts[BASE] = [600_000] + [-1] * downloads.TRIES
    refused(store, model)
    monkeypatch.setattr(Store, "free_space", lambda self: 500_000)
    download(model, store)


def test_the_disk_fills_up(hub: Hub, model: Model, store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(handle: int) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(downloads.os, "fsync", full)
    error = refused(store, model)
    assert error.kind == "disk_full" and "is full" in error.message


def test_only_what_is_damaged_is_fetched_again(hub: Hub, model: Model, store: Store) -> None:
    download(model, store)
    place(store, ADAPTER).write_bytes(bytes(len(hub.files[ADAPTER])))
    place(store, "somebody/base/vocab.txt").unlink()
    found = store.installed(model)
    assert found is not None
    assert verify(model, found, thorough=False) == ["base/vocab.txt is missing"]
    thorough = verify(model, found, thorough=True)
    assert thorough == ["base/vocab.txt is missing", "adapter/adapter.safetensors is damaged (other content)"]
    hub.sent.clear()
    download(model, store)
    assert set(hub.sent) == {ADAPTER, "somebody/base/vocab.txt"}
    found = store.installed(model)
    assert found is not None and verify(model, found, thorough=True) == []


def test_a_proxy_of_the_environment_is_used(
    hub: Hub, model: Model, store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    from huggingface_hub.utils import close_session

    # The hub answers as a proxy does, whatever host is asked for; the second server is reached directly.
    monkeypatch.setenv("HTTP_PROXY", hub.endpoint)
    monkeypatch.setenv("NO_PROXY", "localhost")
    monkeypatch.setenv("HF_ENDPOINT", "http://hub.invalid")
    close_session()  # so that the client looks at the environment again
    try:
        download(model, store)
    finally:
        close_session()
    assert place(store, BASE).read_bytes() == hub.files[BASE]


_DOWNLOAD = """
import sys
from pathlib import Path
sys.path[:0] = {paths}
from tests.model_hub import tiny_model
from backend.models import download
from backend.models.catalogue import MODELS
from backend.models.store import Store
download.SPARE = 0
MODELS["sv3d"] = tiny_model()
download.download(MODELS["sv3d"], Store(Path({folder})))
"""


def _child(store: Store) -> subprocess.Popen[bytes]:
    code = _DOWNLOAD.format(paths=[str(ROOT)], folder=repr(str(store.folder)))
    return subprocess.Popen([sys.executable, "-c", code])


def _until(there: Callable[[], object]) -> None:
    end = time.monotonic() + 30
    while not there():
        assert time.monotonic() < end
        time.sleep(0.01)


def test_two_processes_and_one_that_is_killed(hub: Hub, model: Model, store: Store) -> None:
    hub.pause = 0.05
    child = _child(store)
    try:
        _until(lambda: hub.sent.get(BASE, 0) > 100_000)
        error = refused(store, model)
        assert error.kind == "model_busy" and "Another program" in error.message
        with pytest.raises(BackendError, match="Another program"):
            store.remove(model)
    finally:
        child.kill()
        child.wait()
    assert store.installed(model) is None
    partial = next((store.folder / "sv3d").rglob("*.partial"))
    size = partial.stat().st_size
    assert 0 < size < len(hub.files[BASE])
    hub.pause = 0.0
    hub.asked.clear()
    download(model, store)
    assert hub.starts(BASE) == [size] and place(store, BASE).read_bytes() == hub.files[BASE]
