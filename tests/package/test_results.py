"""The list of avatars and its index, which may be anybody's. Needs no bpy."""

from __future__ import annotations

import json
import multiprocessing
import os
import shutil
import sys
import time
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
if str(ROOT) not in sys.path:
    sys.path.insert(0, str(ROOT))

from humansplat_blender import results  # noqa: E402  (after the path)
from humansplat_blender.pictures import Picture  # noqa: E402
from humansplat_blender.results import INDEX_NAME, ResultFolder  # noqa: E402

METADATA = '{"format": "humansplat-avatar", "version": 2}'


def _package(folder: Path) -> Path:
    folder.mkdir(parents=True)
    (folder / "avatar.json").write_text(METADATA, "utf-8")
    (folder / "skin.npz").write_bytes(b"splats")
    return folder


def _make(folder: ResultFolder, stem: str = "photo") -> results.Result:
    work = folder.make_work_folder()
    result = folder.adopt(_package(work / "avatar"), Path(f"/photos/{stem}.jpg"), 1.5)
    shutil.rmtree(work)
    return result


@pytest.fixture
def folder(tmp_path: Path) -> ResultFolder:
    return ResultFolder(tmp_path / "results")


def _names(folder: Path) -> list[str]:
    return [result.name for result in ResultFolder(folder).results]


def test_adopted_avatars_are_listed_newest_first(folder: ResultFolder) -> None:
    made = [_make(folder), _make(folder, "other"), _make(folder)]
    assert [result.name for result in made] == ["photo", "other", "photo-2"]
    again = ResultFolder(folder.folder).results
    assert again == made[::-1] and again[0].photo == Path("/photos/photo.jpg") and again[0].seconds == 1.5


@pytest.mark.parametrize(
    "name", ["../victim", "..", ".", "", "a/../../victim", "..\\victim", "C:victim", "/victim", "link", "x\0", 5, None]
)
def test_what_lies_outside_is_not_listed_and_never_deleted(folder: ResultFolder, name: object) -> None:
    mine = _make(folder)
    victim = _package(folder.folder.parent / "victim")
    index = folder.folder / INDEX_NAME
    if name == "/victim":
        name = str(victim)
    if name == "link":
        try:
            (folder.folder / "link").symlink_to(victim, target_is_directory=True)
        except OSError:
            pytest.skip("no links here")
    entries = json.loads(index.read_text("utf-8"))
    index.write_text(json.dumps([entries[0] | {"folder": name}, *entries]), "utf-8")
    assert _names(folder.folder) == ["photo"]
    places = [victim, folder.folder / "link", folder.folder, folder.folder / "..", folder.folder / ".." / "victim"]
    for place in places:
        assert not folder.delete(place)
    assert (victim / "skin.npz").is_file() and mine.folder.is_dir()


@pytest.mark.parametrize(
    "entry",
    [
        *(None, 5, "photo", [], {}, {"folder": "photo", "seconds": "long"}),
        *({"folder": "photo", "photo": 5, "seconds": 10**400}, {"folder": "gone"}, {"folder": ["photo"]}),
    ],
)
def test_one_bad_entry_does_not_empty_the_list(folder: ResultFolder, entry: object) -> None:
    _make(folder)
    _make(folder, "other")
    index = folder.folder / INDEX_NAME
    entries = json.loads(index.read_text("utf-8"))
    index.write_text(json.dumps([entries[0], entry, entries[1]]), "utf-8")
    assert _names(folder.folder) == ["other", "photo"]
    _make(folder, "third")
    assert _names(folder.folder) == ["third", "other", "photo"]


@pytest.mark.parametrize("content", [b"", b"[{", b"{}", b"\xff\xfe", b"[" * 100_000, b"null", b"[" + b" " * 20_000_000])
def test_a_damaged_index_is_made_again_and_kept(folder: ResultFolder, content: bytes) -> None:
    _make(folder)
    _make(folder, "other")
    (folder.folder / "notes").mkdir()
    index = folder.folder / INDEX_NAME
    index.write_bytes(content)
    assert sorted(_names(folder.folder)) == ["other", "photo"]
    assert index.read_bytes() == content  # reading changes nothing
    _make(folder, "third")
    assert sorted(_names(folder.folder)) == ["other", "photo", "third"]
    assert (folder.folder / "results.damaged.json").read_bytes() == content
    assert isinstance(json.loads(index.read_text("utf-8")), list)


def test_deleting_and_forgetting(folder: ResultFolder) -> None:
    first, second = _make(folder), _make(folder, "other")
    folder.forget(first.folder)
    assert first.folder.is_dir() and _names(folder.folder) == ["other"]
    assert not folder.delete(first.folder) and first.folder.is_dir()  # it is not listed any more
    assert folder.delete(second.folder) and not second.folder.exists()
    assert _names(folder.folder) == [] and not list(folder.folder.glob(".job-*"))


def _refusing(monkeypatch: pytest.MonkeyPatch, times: int) -> list[object]:
    """Renames that a scanner refuses so many times."""
    real, refused = os.rename, []

    def rename(source: Path, target: Path) -> None:
        if len(refused) < times:
            refused.append(source)
            raise PermissionError(13, "The process cannot access the file", str(source))
        real(source, target)

    monkeypatch.setattr(results.os, "rename", rename)
    return refused


def test_a_scanner_that_holds_the_avatar_for_a_moment(folder: ResultFolder, monkeypatch: pytest.MonkeyPatch) -> None:
    refused = _refusing(monkeypatch, 3)
    assert _make(folder).folder.is_dir() and len(refused) == 3


def test_an_avatar_that_cannot_be_moved_is_copied(folder: ResultFolder, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(results, "_PATIENCE", 0.1)
    _refusing(monkeypatch, 1000)
    result = _make(folder)
    assert (result.folder / "skin.npz").read_bytes() == b"splats" and _names(folder.folder) == ["photo"]
    assert not folder.delete(result.folder) and result.folder.is_dir()  # what is in use stays, and stays listed
    assert _names(folder.folder) == ["photo"]


def test_an_avatar_that_can_be_neither_moved_nor_copied_stays(
    folder: ResultFolder, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(results, "_PATIENCE", 0.1)
    work = folder.make_work_folder()
    package = _package(work / "avatar")

    def full(source: Path, target: Path) -> None:
        Path(target).mkdir()
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        _refusing(patch, 1000)
        patch.setattr(results.shutil, "copytree", full)
        with pytest.raises(OSError, match="No space"):
            folder.adopt(package, Path("photo.jpg"), 1.0)
    assert (package / "skin.npz").is_file() and _names(folder.folder) == []
    assert not (folder.folder / "photo").exists()
    # A day later it is found, as the avatar of a job whose Blender has died.
    os.utime(work, (0, 0))
    folder.make_work_folder()
    assert _names(folder.folder) == ["recovered"] and not work.exists()


def _adopt_many(folder: Path, worker: int, count: int) -> None:
    own = ResultFolder(folder)
    for number in range(count):
        _make(own, f"w{worker}n{number}")


def test_several_blenders_lose_no_entry(folder: ResultFolder) -> None:
    folder.folder.mkdir()
    context = multiprocessing.get_context("spawn")
    workers = [context.Process(target=_adopt_many, args=(folder.folder, worker, 8)) for worker in range(3)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join(60)
        assert worker.exitcode == 0
    assert len(_names(folder.folder)) == 24


def test_a_blender_that_is_killed_loses_no_avatar(folder: ResultFolder, monkeypatch: pytest.MonkeyPatch) -> None:
    """At whichever step: the avatar is listed, or in its work folder, where a later job finds it."""
    _make(folder)
    for step, name in (("write_text", "recovered"), ("_move", "recovered-2")):
        work = folder.make_work_folder()
        _package(work / "avatar")
        with monkeypatch.context() as patch:

            def killed(*_: object) -> None:
                os._exit(9)

            patch.setattr(results, step, killed)
            try:
                context = multiprocessing.get_context("fork")
            except ValueError:
                pytest.skip("processes do not begin as copies here")
            child = context.Process(target=folder.adopt, args=(work / "avatar", Path("photo.jpg"), 1.0))
            child.start()
            child.join(30)
            assert child.exitcode == 9
        os.utime(work, (0, 0))
        folder.make_work_folder()
        assert name in _names(folder.folder)


@pytest.mark.parametrize("kind", ["folder", "pipe", "circle"])
def test_what_is_no_index_is_set_aside(folder: ResultFolder, kind: str) -> None:
    _make(folder)
    for name in ("results.json", ".results.lock"):
        path = folder.folder / name
        path.unlink()
        if kind == "folder":
            path.mkdir()
        elif kind == "pipe":
            if not hasattr(os, "mkfifo"):
                pytest.skip("no pipes here")
            os.mkfifo(path)
        else:
            try:
                path.symlink_to(path)
            except OSError:
                pytest.skip("no links here")
    assert _names(folder.folder) == ["photo"]
    _make(folder, "other")
    assert sorted(_names(folder.folder)) == ["other", "photo"]
    assert isinstance(json.loads((folder.folder / INDEX_NAME).read_text("utf-8")), list)


def test_a_stuck_blender_does_not_keep_an_avatar_off_the_list(
    folder: ResultFolder, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(results, "_LOCK_SECONDS", 0.2)
    folder.folder.mkdir()
    other = results.ProcessLock(folder.folder / results._LOCK_NAME)
    assert other.acquire()
    started = time.monotonic()
    _make(folder)
    assert time.monotonic() - started < 3 and _names(folder.folder) == ["photo"]
    other.release()


PICTURES = (Picture(Path("/photos/back.jpg").absolute(), "back"), Picture(Path("/photos/more.png").absolute()))


def _make_with_pictures(folder: ResultFolder) -> results.Result:
    work = folder.make_work_folder()
    result = folder.adopt(_package(work / "avatar"), Path("/photos/photo.jpg"), 1.5, PICTURES)
    shutil.rmtree(work)
    return result


def test_pictures_are_remembered_and_entries_without_them_have_none(folder: ResultFolder) -> None:
    _make(folder)
    _make_with_pictures(folder)
    _make(folder, "other")
    entries = json.loads((folder.folder / INDEX_NAME).read_text("utf-8"))
    assert [entry.get("pictures") for entry in entries] == [None, [picture.to_json() for picture in PICTURES], None]
    assert entries[1]["pictures"][0] == {"path": str(PICTURES[0].path), "side": "back"}
    assert [result.pictures for result in ResultFolder(folder.folder).results] == [(), PICTURES, ()]


def test_what_made_the_sides_is_remembered(folder: ResultFolder) -> None:
    work = folder.make_work_folder()
    folder.adopt(_package(work / "avatar"), Path("/photos/photo.jpg"), 1.5, sides="sv3d")
    _make(folder, "other")
    index = folder.folder / INDEX_NAME
    entries = json.loads(index.read_text("utf-8"))
    assert [entry.get("sides") for entry in entries] == [None, "sv3d"]
    assert [result.sides for result in ResultFolder(folder.folder).results] == ["built-in", "sv3d"]
    for wrong in (None, 5, "built-in", "pictures", "nothing", ["sv3d"], {}):
        index.write_text(json.dumps([entries[1] | {"sides": wrong}]), "utf-8")
        assert [result.sides for result in ResultFolder(folder.folder).results] == ["built-in"]


_BACK = PICTURES[0].to_json()


@pytest.mark.parametrize(
    "pictures",
    [
        *(None, 5, "back.jpg", {}, _BACK, [None], [5], ["back.jpg"], [[]], [{}], [_BACK, {"side": "left"}]),
        *([_BACK | {"path": path}] for path in (5, None, "", "back.jpg", "../back.jpg", "/x\0", ["/back.jpg"])),
        *([_BACK | {"side": side}] for side in (5, None, "", "front", ["back"])),
        *([_BACK, _BACK], [_BACK | {"side": "other"}] * 9),
    ],
)
def test_pictures_that_are_none_are_passed_over(folder: ResultFolder, pictures: object) -> None:
    _make_with_pictures(folder)
    index = folder.folder / INDEX_NAME
    (entry,) = json.loads(index.read_text("utf-8"))
    index.write_text(json.dumps([entry | {"pictures": pictures}]), "utf-8")
    (result,) = ResultFolder(folder.folder).results
    assert result.name == "photo" and result.photo == Path("/photos/photo.jpg") and result.pictures == ()


def test_eight_further_pictures_are_the_most(folder: ResultFolder) -> None:
    _make_with_pictures(folder)
    index = folder.folder / INDEX_NAME
    (entry,) = json.loads(index.read_text("utf-8"))
    index.write_text(json.dumps([entry | {"pictures": [_BACK | {"side": "other"}] * 8}]), "utf-8")
    assert len(ResultFolder(folder.folder).results[0].pictures) == 8
