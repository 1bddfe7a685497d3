"""The store of large models: licences, import by hand, checks, removal, the command line and the server's requests."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from backend import __main__ as cli
from backend.errors import BackendError
from backend.models import store as stores
from backend.models.catalogue import MODELS, PICKLE_SUFFIXES, SAFE_SUFFIXES, Model, is_safe, size_text
from backend.models.checks import safetensors_fault
from backend.models.importing import import_folder
from backend.models.requests import METHODS, checked_request, run_request
from backend.models.store import INDEX, Store, default_folder, resolve
from backend.options import SOURCES, ReconstructOptions
from tests.model_hub import CLOSED, OPEN, WEIGHTS, contents, tiny_model, write_by_hand

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture
def model(monkeypatch: pytest.MonkeyPatch) -> Model:
    tiny = tiny_model()
    monkeypatch.setitem(MODELS, tiny.name, tiny)
    return tiny


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(tmp_path / "models")


@pytest.fixture
def by_hand(tmp_path: Path) -> Path:
    """A folder with all files, as somebody has it who downloaded them."""
    write_by_hand(tmp_path / "hand")
    return tmp_path / "hand"


def failure(call: Any, *arguments: Any, **more: Any) -> BackendError:
    with pytest.raises(BackendError) as caught:
        call(*arguments, **more)
    assert caught.value.message.endswith(".") and caught.value.fix.endswith((".", ")."))
    return caught.value


def test_the_catalogue_names_nothing_but_safe_files_of_what_can_be_chosen() -> None:
    assert set(MODELS) == set(SOURCES) - {"built-in"}
    for model in MODELS.values():
        assert model.licences and 0 < model.least_memory < 10**11 and model.size() > 5 * 10**9
        assert len({part.name for part in model.parts}) == len(model.parts)
        for part in model.parts:
            assert part.repository.count("/") == 1 and part.licence.address.startswith("https://")
            names = [file.name for file in part.files]
            assert all(map(is_safe, names)) and len(set(names)) == len(names)
            assert not part.entry or part.entry in names
    assert not SAFE_SUFFIXES & PICKLE_SUFFIXES


@pytest.mark.parametrize(
    "name",
    ["model.bin", "model.pt", "x.pkl", "run.py", "../x.json", "/etc/x.json", "C:/x.json", "a\\x.json", "", "x", "a/.."],
)
def test_unsafe_names(name: str) -> None:
    assert not is_safe(name)


def test_sizes_for_people() -> None:
    assert [size_text(n) for n in (0, 999, 1_500, 335_000_000, 5_140_000_000)] == [
        "0 bytes", "999 bytes", "2 kB", "335 MB", "5.1 GB",
    ]  # fmt: skip


def test_acceptance_is_of_the_licences_that_were_named(
    store: Store, model: Model, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert store.acceptance(model) is None
    store.accept(model)
    found = store.acceptance(model)
    assert found is not None and found.licences == (CLOSED.key, OPEN.key) and found.when.startswith("20")
    # Another version of a text is another licence.
    newer = tiny_model()
    part = newer.parts[0]
    changed = type(part)(part.name, part.repository, part.files, type(CLOSED)(CLOSED.name, "2027", "https://x", "No."))
    assert store.acceptance(Model("sv3d", "Tiny", "", (changed, newer.parts[1]), 1)) is None
    error = failure(store.require_acceptance, Model("sv3d", "Tiny", "", (changed,), 1))
    assert error.kind == "licence_missing" and "models accept sv3d" in error.fix


@pytest.mark.parametrize(
    "names",
    [
        {"somebody/base": "base", "other/adapter": "adapter"},
        {"somebody/base": "somebody/base", "other/adapter": "other/adapter"},
        {"somebody/base": "models--somebody--base/snapshots/abc", "other/adapter": ""},
    ],
)
def test_a_folder_in_place(store: Store, model: Model, tmp_path: Path, names: dict[str, str]) -> None:
    folder = tmp_path / "hand"
    write_by_hand(folder, names)
    import_folder(model, folder, store)
    assert failure(resolve, "sv3d", store).kind == "licence_missing"
    store.accept(model)
    assert resolve("sv3d", store) == {
        "base": folder / names["somebody/base"],
        "adapter": folder / names["other/adapter"] / "adapter.safetensors",
    }
    found = store.installed(model)
    assert found is not None and found.origin == "in place"
    assert "more.safetensors" in found.parts["adapter"].files  # optional, and there
    assert not (store.folder / "sv3d").exists()
    store.remove(model)
    assert (folder / names["other/adapter"] / "adapter.safetensors").is_file()
    assert failure(resolve, "sv3d", store).kind == "model_missing"


def test_a_copy_moves_with_the_store_and_is_removed(store: Store, model: Model, by_hand: Path, tmp_path: Path) -> None:
    told: list[float] = []
    (by_hand / "base" / "unet" / "weights.bin").write_bytes(b"a pickle")
    import_folder(model, by_hand, store, copy=True, report=lambda share, what: told.append(share))
    store.accept(model)
    assert told == sorted(told) and told[-1] == 1.0
    for path, content in contents().items():
        owner_and_name = "/".join(path.split("/")[:2])
        copy = store.folder / "sv3d" / owner_and_name.split("/")[1] / path[len(owner_and_name) + 1 :]
        assert copy.read_bytes() == content
    assert not list(store.folder.rglob("*.bin"))  # only what the catalogue names
    store.folder.rename(tmp_path / "elsewhere")
    moved = Store(tmp_path / "elsewhere")
    assert resolve("sv3d", moved)["base"] == tmp_path / "elsewhere" / "sv3d" / "base"
    size = sum(map(len, contents().values()))
    assert moved.remove(model) == size
    assert sorted(path.name for path in moved.folder.iterdir()) == [INDEX, "models.lock", "sv3d.lock"]
    assert moved.acceptance(model) is not None


def test_an_import_that_fails_leaves_what_was_there(store: Store, model: Model, by_hand: Path) -> None:
    import_folder(model, by_hand, store, copy=True)
    store.accept(model)
    before = {path: path.read_bytes() for path in (store.folder / "sv3d").rglob("*") if path.is_file()}
    (by_hand / "base" / WEIGHTS).write_bytes(contents(b"other")[f"somebody/base/{WEIGHTS}"])
    calls: list[int] = []
    error = failure(
        import_folder, model, by_hand, store, copy=True, cancelled=lambda: len(calls) > 1 or calls.append(1)
    )
    assert error.kind == "cancelled"
    assert {path: path.read_bytes() for path in (store.folder / "sv3d").rglob("*") if path.is_file()} == before
    assert resolve("sv3d", store) and len(list(store.folder.iterdir())) == 4


def test_pickles_are_refused(store: Store, model: Model, by_hand: Path) -> None:
    weights = by_hand / "base" / WEIGHTS
    pickle = weights.with_name("model.bin")
    pickle.write_bytes(b"\x80\x04")
    error = failure(import_folder, model, by_hand, store)
    assert error.kind == "model_unsafe" and "model.bin" in error.message and "can run programs" in error.message
    weights.unlink()
    for copy in (False, True):
        error = failure(import_folder, model, by_hand, store, copy=copy)
        assert error.kind == "model_unsafe" and "in place of model.safetensors" in error.message
    assert store.installed(model) is None and not (store.folder / "sv3d").exists()


def test_incomplete_and_damaged_folders_are_refused(
    store: Store, model: Model, by_hand: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert failure(import_folder, model, tmp_path / "nowhere", store).kind == "model_incomplete"
    vocabulary = by_hand / "base" / "vocab.txt"
    vocabulary.rename(by_hand / "aside.txt")
    error = failure(import_folder, model, by_hand, store)
    assert error.kind == "model_incomplete" and "vocab.txt of somebody/base is not in" in error.message
    (by_hand / "aside.txt").rename(vocabulary)

    weights = by_hand / "base" / WEIGHTS
    whole = weights.read_bytes()
    for content, says in (
        (whole[:-5], "is cut short"),
        (whole + b"x", "holds more than tensors"),
        (b"\x80\x04 a pickle under another name", "is no whole safetensors file"),
        ((20).to_bytes(8, "little") + b"{]" * 20, "is no safetensors file"),
        (b"", "is no whole safetensors file"),
    ):
        weights.write_bytes(content)
        error = failure(import_folder, model, by_hand, store)
        assert error.kind == "model_damaged" and says in error.message
    weights.write_bytes(whole)
    # Weights of another precision have another size.
    monkeypatch.setattr("backend.models.importing._LARGE", 100_000)
    assert import_folder(model, by_hand, store) is None
    twice = type(model)("sv3d", "Tiny", "", tuple(_halved(part) for part in model.parts), 1)
    error = failure(import_folder, twice, by_hand, store)
    assert error.kind == "model_damaged" and "has 896 kB in place of about 450 kB" in error.message


def _halved(part: Any) -> Any:
    files = tuple(type(file)(file.name, file.size // 2, file.optional) for file in part.files)
    return type(part)(part.name, part.repository, files, part.licence, part.gated, part.entry)


def test_too_little_space_for_a_copy(
    store: Store, model: Model, by_hand: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Store, "free_space", lambda self: 1000)
    error = failure(import_folder, model, by_hand, store, copy=True)
    assert error.kind == "disk_full" and "1 kB are free" in error.message
    assert store.installed(model) is None and not (store.folder / "sv3d").exists()
    import_folder(model, by_hand, store)


def test_headers_agree_with_the_format_s_own_writer(tmp_path: Path) -> None:
    import numpy as np
    from safetensors.numpy import save_file

    path = tmp_path / "x.safetensors"
    save_file({"a": np.ones((3, 4), np.float32), "b": np.zeros(5, np.float16)}, path, {"format": "pt"})
    assert safetensors_fault(path) == ""
    path.write_bytes(path.read_bytes()[:-1])
    assert "cut short" in safetensors_fault(path)
    save_file({}, path)
    assert safetensors_fault(path) == ""


def test_what_is_damaged_is_not_resolved(store: Store, model: Model, by_hand: Path) -> None:
    import_folder(model, by_hand, store)
    store.accept(model)
    (by_hand / "base" / "vocab.txt").write_text("one\n")
    error = failure(resolve, "sv3d", store)
    assert error.kind == "model_damaged" and "base/vocab.txt is damaged (4 of 8 bytes)" in error.message
    assert failure(resolve, "nothing", store).kind == "model_unknown"


@pytest.mark.parametrize(
    "text",
    [
        "", "[]", "{}", '{"format": 2, "accepted": {}, "installed": {}}',
        '{"format": 1, "accepted": {"sv3d": {"licences": [3], "when": ""}}, "installed": {}}',
        '{"format": 1, "accepted": {}, "installed": {"sv3d": {"when": "", "origin": "", "parts": {"base": {"folder": '
        '"x", "revision": "", "files": {"../x.json": {"size": 1, "sha256": ""}}}}}}}',
    ],
)  # fmt: skip
def test_a_damaged_index_is_said(store: Store, model: Model, text: str) -> None:
    store.folder.mkdir()
    (store.folder / INDEX).write_text(text)
    for call in (store.acceptance, store.installed, store.accept):
        error = failure(call, model)
        assert error.kind == "models_unreadable" and INDEX in error.message
    assert (store.folder / INDEX).read_text() == text


def test_a_folder_that_cannot_be_written(tmp_path: Path, model: Model) -> None:
    (tmp_path / "file").write_text("not a folder")
    error = failure(Store(tmp_path / "file" / "models").accept, model)
    assert error.kind == "models_not_writable" and "--models" in error.fix


def test_the_default_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(stores.FOLDER_VARIABLE, raising=False)
    monkeypatch.setattr(stores.sys, "prefix", str(tmp_path / "env1"))
    monkeypatch.setattr(stores.Path, "home", lambda: tmp_path / "home")
    assert default_folder() == tmp_path / "home" / ".humansplat" / "models"
    (tmp_path / "env1").mkdir()
    (tmp_path / "env1" / "humansplat-environment.json").touch()
    assert default_folder() == tmp_path / "models"
    monkeypatch.setenv(stores.FOLDER_VARIABLE, str(tmp_path / "chosen"))
    assert default_folder() == tmp_path / "chosen" and Store().folder == tmp_path / "chosen"


def test_the_command_line(
    store: Store, model: Model, by_hand: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(cli, "_stop_on_signals", lambda: lambda: False)

    def run(*arguments: str, status: int = 0) -> tuple[str, str]:
        assert cli.main(["models", *arguments, "--models", str(store.folder)]) == status
        out, err = capsys.readouterr()
        return out, err

    out, _ = run("list")
    assert str(store.folder) in out and "mv-adapter   not installed (10.7 GB), licence not accepted" in out
    out, _ = run("show", "sv3d")
    assert all(
        word in out for word in ("Closed Licence, 2 May 2026", "https://example.org/closed", WEIGHTS, "optional")
    )
    _, err = run("download", "sv3d", status=2)
    assert "The licences of Tiny are not accepted yet." in err
    out, _ = run("accept", "sv3d")
    assert "Accepted: Closed Licence, 2 May 2026 (https://example.org/closed). It forbids commercial use." in out
    out, _ = run("import", "sv3d", str(by_hand))
    assert f"base: {by_hand / 'base'}" in out
    assert json.loads(run("list", "--json")[0])["models"][1]["installed"].startswith("20")
    out, _ = run("verify", "sv3d")
    assert "0 of 5 files are not as they were installed" in out
    (by_hand / "base" / "vocab.txt").write_text("two\none\n")
    answer = json.loads(run("verify", "sv3d", "--json", status=1)[0])
    assert answer == {"ok": False, "faults": ["base/vocab.txt is damaged (other content)"]}
    out, _ = run("remove", "sv3d")
    assert "Tiny is removed" in out
    _, err = run("verify", "sv3d", status=2)
    assert "Tiny is not installed" in err
    answer = json.loads(run("show", "nothing", "--json", status=2)[0])
    assert answer["error"]["kind"] == "model_unknown"


def test_sides_are_an_option_of_reconstruct() -> None:
    parser = cli.build_parser()
    assert parser.parse_args(["reconstruct", "x", "-o", "y"]).sides == "built-in"
    assert parser.parse_args(["reconstruct", "x", "-o", "y", "--sides", "mv-adapter"]).sides == "mv-adapter"
    ReconstructOptions(source="sv3d").check()
    error = failure(ReconstructOptions(source="dream").check)
    assert (error.kind, error.message) == ("arguments", "There is no source of sides dream.")


def test_requests_do_what_they_say(store: Store, model: Model, by_hand: Path) -> None:
    def ask(method: str, **params: Any) -> dict[str, Any]:
        answer = run_request(checked_request(method, params), store, lambda share, what: None, lambda: False)
        assert [state["name"] for state in answer["models"]] == ["mv-adapter", "sv3d"]
        assert answer["folder"] == str(store.folder) and answer["free"] > 0
        return answer["models"][1]

    state = ask("models_list")
    assert (state["accepted"], state["installed"], state["on_disk"]) == ("", "", 0)
    assert state["licences"][0]["key"] == CLOSED.key and state["licences"][0]["forbids"] == CLOSED.forbids
    other = failure(ask, "models_accept", name="sv3d", licences=[OPEN.key])
    assert other.kind == "licence_missing" and store.acceptance(model) is None
    assert ask("models_accept", name="sv3d", licences=[OPEN.key, CLOSED.key])["accepted"]
    assert failure(ask, "models_download", name="sv3d", online=False).kind == "offline"
    state = ask("models_import", name="sv3d", folder=str(by_hand))
    assert state["installed"] and state["origin"] == "in place" and state["faults"] == []
    (by_hand / "base" / "vocab.txt").unlink()
    assert ask("models_list")["faults"] == ["base/vocab.txt is missing"]
    assert ask("models_remove", name="sv3d")["installed"] == ""


@pytest.mark.parametrize(
    ("method", "params", "says"),
    [
        ("models_list", {"name": "sv3d"}, "There is no parameter 'name'."),
        ("models_remove", {}, "'name' is missing."),
        ("models_remove", {"name": "dream"}, "'name' must be one of mv-adapter, sv3d."),
        ("models_download", {"name": "sv3d"}, "'online' is missing."),
        ("models_download", {"name": "sv3d", "online": 1}, "'online' must be of the kind bool."),
        ("models_accept", {"name": "sv3d", "licences": [1]}, "'licences' must be a list of texts."),
        ("models_import", {"name": "sv3d", "folder": ""}, "'folder' must be the path of a folder."),
    ],
)
def test_wrong_parameters(method: str, params: dict[str, Any], says: str) -> None:
    with pytest.raises(ValueError) as caught:
        checked_request(method, params)
    assert str(caught.value) == says


def test_the_server_answers_about_models(tmp_path: Path) -> None:
    asked = [
        ("models_list", {}),
        ("models_remove", {"name": "dream"}),
        ("models_download", {"name": "sv3d", "online": True}),
        ("reconstruct", {"image": "x.png", "output": str(tmp_path / "out"), "sides": "dream"}),
        ("reconstruct", {"image": "x.png", "output": str(tmp_path / "out"), "source": "sv3d"}),
        ("shutdown", {}),
    ]
    assert "models_list" in METHODS
    server = subprocess.Popen(
        [sys.executable, "-m", "backend", "server"], cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE,
        env=os.environ | {stores.FOLDER_VARIABLE: str(tmp_path / "models")},
    )  # fmt: skip
    assert server.stdin is not None and server.stdout is not None
    answers = []
    for number, (method, params) in enumerate(asked):
        line = json.dumps({"jsonrpc": "2.0", "id": number, "method": method, "params": params})
        server.stdin.write(line.encode() + b"\n")
        server.stdin.flush()
        while True:
            answer = json.loads(server.stdout.readline())
            if answer.get("id") == number:
                answers.append(answer)
                break
    assert server.wait(10) == 0
    server.stdin.close()
    server.stdout.close()
    assert answers[0]["result"]["folder"] == str(tmp_path / "models")
    assert answers[1]["error"]["code"] == -32602
    assert answers[2]["error"]["data"]["kind"] == "licence_missing"
    assert "There is no source of sides 'dream'" in answers[3]["error"]["message"]
    assert "There is no parameter 'source'" in answers[4]["error"]["message"]
