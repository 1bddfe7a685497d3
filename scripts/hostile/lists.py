"""The list of results: an index that is anybody's, folders that are not what they seem, several Blenders at once."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

from humansplat_blender.results import INDEX_NAME, Result, ResultFolder

from .cases import MADE, REFUSED, ROOT, Case, Said, memory_peak

_METADATA = '{"format": "humansplat-avatar", "version": 2}'
_GOOD = ("first", "second")
_LOCK = ".results.lock"


def cases(folder: Path) -> list[Case]:
    """What an index may say, what it may be, and what may happen to the folder meanwhile."""
    long = "a" * 5000
    entries: dict[str, Any] = {
        "parent": {"folder": "../victim"},
        "dots": {"folder": ".."},
        "dot": {"folder": "."},
        "nothing": {"folder": ""},
        "through": {"folder": "first/../../victim"},
        "backslash": {"folder": "..\\victim"},
        "drive": {"folder": "C:victim"},
        "share": {"folder": "\\\\server\\share"},
        "absolute": {"folder": "VICTIM"},
        "link": {"folder": "link"},
        "link_to_itself": {"folder": "circle"},
        "link_to_the_list": {"folder": "self"},
        "nul": {"folder": "first\0"},
        "line": {"folder": "first\n"},
        "half_a_letter": {"folder": "\ud800"},
        "5000_letters": {"folder": long},
        "file": {"folder": INDEX_NAME},
        "notes_of_the_user": {"folder": "notes"},
        "work": {"folder": ".job-0123456789ab"},
        "gone": {"folder": "gone"},
        "number": {"folder": 5},
        "null": {"folder": None},
        "list": {"folder": ["first"]},
        "no_table": "first",
        "of_nothing": {},
        "nested": [[[[[[]]]]]],
        "nested_deep": {"folder": "gone", "photo": json.loads("[" * 500 + "]" * 500)},
    }
    odd: dict[str, dict[str, Any]] = {
        "nan": {"seconds": float("nan"), "made": float("inf")},
        "400_digits": {"seconds": 10**400, "made": -(10**400)},
        "texts": {"seconds": "long", "made": [], "photo": 5},
        "photo_nul": {"photo": "a\0b"},
        "photo_half_a_letter": {"photo": "\ud800"},
        "photo_of_a_megabyte": {"photo": "a" * 1_000_000},
        "photo_elsewhere": {"photo": "/dev/zero"},
        "no_more": {"photo": None},
    }
    indexes: dict[str, bytes] = {
        "empty": b"",
        "cut": b'[{"folder": "fir',
        "table": b"{}",
        "null": b"null",
        "not_utf8": b"\xff\xfe[]",
        "nested": b"[" * 200_000,
        "nested_tables": b'[{"a":' * 100_000,
        "20_mb_of_blanks": b"[" + b" " * 20_000_000,
        "number_of_a_megabyte": b"[" + b"9" * 1_000_000 + b"]",
        "nul_bytes": bytes(4096),
        "picture": (ROOT / "docs" / "demo" / "person.jpg").read_bytes(),
    }
    names = {
        "emoji": "🧍‍♀️ Zoë",
        "line": "two\nlines",
        "quotes": 'it\'s "$(x)" & %PATH%',
        "right_to_left": "\u202egpj.exe",
        "blanks": " a ",
        "no_letters": "...",
        "200_letters": "ä" * 200,
        "reserved": "CON",
    }
    return [
        *(Case(f"entry_{name}", partial(_bad_entry, entry), (REFUSED,)) for name, entry in entries.items()),
        *(Case(f"values_{name}", partial(_odd_values, values), (MADE,)) for name, values in odd.items()),
        *(Case(f"index_{name}", partial(_damaged, data), (MADE,)) for name, data in indexes.items()),
        *(Case(f"photo_{name}", partial(_named, stem), (MADE,)) for name, stem in names.items()),
        Case("index_of_a_million", _million, (MADE,)),
        Case("index_a_hole_of_8_gb", partial(_replaced, _hole), (MADE,)),
        Case("index_a_folder", partial(_replaced, _folder), (MADE,)),
        Case("index_a_link_outside", partial(_replaced, _linked), (MADE,)),
        Case("index_missing", partial(_replaced, lambda path, _own: path.unlink()), (MADE,)),
        Case("folder_of_an_emoji", partial(_listed, "🧍 a"), (MADE,)),
        Case("folder_of_two_lines", partial(_listed, "a\nb"), (MADE,)),
        Case("avatars_deleted_by_hand", _deleted_by_hand, (MADE,)),
        Case("all_deleted_by_hand", _all_deleted, (MADE,)),
        Case("the_folder_is_a_file", _no_folder, (REFUSED,)),
        Case("lock_a_folder", partial(_lock, lambda path, _own: path.mkdir()), (MADE,)),
        Case("lock_a_link_outside", partial(_lock, lambda path, own: path.symlink_to(own / "notes.txt")), (MADE,)),
        Case("three_writers_at_once", _writers, (MADE,)),
        Case("a_writer_and_a_deleter", _writer_and_deleter, (MADE,)),
        Case("killed_while_listing", partial(_killed, "write_text"), (MADE,)),
        Case("killed_while_moving", partial(_killed, "_move"), (MADE,)),
        Case("delete_a_link", _delete_a_link, (REFUSED,)),
        Case("delete_what_was_replaced_by_a_link", _delete_replaced, (REFUSED,)),
        *((Case("index_a_pipe", partial(_replaced, _pipe), (MADE,)),) if hasattr(os, "mkfifo") else ()),
        *((Case("lock_a_pipe", partial(_lock, _pipe), (MADE,), seconds=60),) if hasattr(os, "mkfifo") else ()),
    ]


# --- what is there before and after ------------------------------------------------------------------------------


def _package(folder: Path) -> Path:
    folder.mkdir(parents=True)
    (folder / "avatar.json").write_text(_METADATA, "utf-8")
    (folder / "skin.npz").write_bytes(folder.name.encode("utf-8", "replace"))
    return folder


def _adopt(results: ResultFolder, stem: str) -> Result:
    work = results.make_work_folder()
    made = results.adopt(_package(work / "avatar"), Path(f"/photos/{stem}.jpg"), 1.5)
    shutil.rmtree(work)
    return made


def _start(own: Path) -> ResultFolder:
    """A list of two avatars; a folder and a file of the user among them; another avatar and a file outside."""
    results = ResultFolder(own / "results")
    for name in reversed(_GOOD):
        _adopt(results, name)
    (own / "results" / "notes").mkdir()
    (own / "results" / "notes" / "a.txt").write_text("mine")
    (own / "notes.txt").write_text("mine")
    _package(own / "victim")
    return results


def _files(own: Path) -> dict[str, bytes]:
    """All plain files but the list's own."""
    found = {}
    for path in own.rglob("*"):
        if path.is_file() and not path.is_symlink() and path.parent != own / "results":
            found[str(path.relative_to(own))] = path.read_bytes()
    return found


def _lost(own: Path, before: dict[str, bytes], names: list[str] | None = None) -> str:
    """What is not as it was, and avatars that the list lacks or has too many."""
    after = _files(own)
    lost = [name for name, data in before.items() if after.get(name) != data]
    listed = sorted(result.name for result in ResultFolder(own / "results").results)
    wanted = sorted(names or _GOOD)
    if listed != wanted:
        lost.append(f"lists {listed} instead of {wanted}")
    return ", ".join(lost)


def _grown(own: Path, before: dict[str, bytes]) -> str:
    """As :func:`_lost`, once right now and once after one more avatar was added."""
    lost = _lost(own, before)
    if not lost:
        _adopt(ResultFolder(own / "results"), "third")
        lost = _lost(own, before, [*_GOOD, "third"])
    return lost


def _entries(own: Path) -> list[Any]:
    return json.loads((own / "results" / INDEX_NAME).read_text("utf-8"))


def _write(own: Path, entries: Any) -> None:
    (own / "results" / INDEX_NAME).write_text(json.dumps(entries), "utf-8")


# --- what the index says -----------------------------------------------------------------------------------------


def _bad_entry(entry: Any, own: Path) -> Said:
    """It is left out of the list, what it names is not deleted, and the others stay."""
    _start(own)
    inside = own / "results"
    (inside / "link").symlink_to(own / "victim", target_is_directory=True)
    (inside / "circle").symlink_to(inside / "circle")
    (inside / "self").symlink_to(inside, target_is_directory=True)
    entries = _entries(own)
    if isinstance(entry, dict) and entry:
        if entry["folder"] == "VICTIM":
            entry = {"folder": str(own / "victim")}
        entry = {**entries[0], **entry}
    _write(own, [entries[0], entry, entries[1]])
    before, results = _files(own), ResultFolder(inside)
    name = entry.get("folder") if isinstance(entry, dict) else None
    listed = len(results.results) > len(_GOOD)
    if isinstance(name, str):
        for place in (inside / name, Path(name)):
            try:
                listed |= results.delete(place)
            except ValueError as error:
                return Said(REFUSED, "", f"delete raised {error}")
    return Said(MADE if listed else REFUSED, "It is not listed.", _grown(own, before))


def _odd_values(values: dict[str, Any], own: Path) -> Said:
    _start(own)
    entries = _entries(own)
    _write(own, [entries[0] | values, entries[1]])
    before = _files(own)
    for result in ResultFolder(own / "results").results:
        assert result.seconds == result.seconds and abs(result.made) < 1e300
    return Said(MADE, lost=_grown(own, before))


def _damaged(data: bytes, own: Path) -> Said:
    """All avatars that lie there are listed again, and the damaged index is kept."""
    _start(own)
    before = _files(own)
    (own / "results" / INDEX_NAME).write_bytes(data)
    with memory_peak() as peak:
        lost = _grown(own, before)
    if not lost and not any(path.read_bytes() == data for path in (own / "results").glob("results.*.json")):
        lost = "the damaged index"
    return Said(MADE, lost=lost, peak=peak[0])


def _named(stem: str, own: Path) -> Said:
    """A photo of an odd name."""
    results = _start(own)
    before = _files(own)
    made = _adopt(results, stem)
    lost = _lost(own, before, [*_GOOD, made.name])
    if made.folder.parent != own / "results" or not (made.folder / "skin.npz").is_file():
        lost = "the avatar"
    again = ResultFolder(own / "results").results[0]
    return Said(MADE, lost=lost or ("" if again.photo == Path(f"/photos/{stem}.jpg") else "the photo's name"))


def _million(own: Path) -> Said:
    _start(own)
    entries, before = _entries(own), _files(own)
    _write(own, [*entries, *[{"folder": "gone"}] * 200_000])
    with memory_peak() as peak:
        lost = _grown(own, before)
    return Said(MADE, lost=lost, peak=peak[0])


def _replaced(replace: Callable[[Path, Path], None], own: Path) -> Said:
    """Something else stands where the index was."""
    _start(own)
    before, index = _files(own), own / "results" / INDEX_NAME
    replace(index, own)
    if not index.exists():  # nobody can tell a list that was deleted from one that was never there
        before, lost = _files(own), ""
        _adopt(ResultFolder(own / "results"), "third")
        after = _files(own)
        return Said(MADE, lost=", ".join(name for name in before if name not in after))
    with memory_peak() as peak:
        try:
            lost, refused = _grown(own, before), ""
        except OSError as error:
            lost, refused = _lost(own, before), str(error)
    return Said(REFUSED if refused else MADE, refused, lost, peak[0])


def _hole(path: Path, _own: Path) -> None:
    os.truncate(path, 8 << 30)


def _folder(path: Path, _own: Path) -> None:
    path.unlink()
    path.mkdir()


def _pipe(path: Path, _own: Path) -> None:
    path.unlink(missing_ok=True)
    os.mkfifo(path)


def _linked(path: Path, own: Path) -> None:
    """To a file of the user: a change of the list must not change it."""
    path.rename(own / "elsewhere.json")
    path.symlink_to(own / "elsewhere.json")


# --- what happens to the folder ----------------------------------------------------------------------------------


def _listed(name: str, own: Path) -> Said:
    """A folder that was renamed, and the index with it."""
    _start(own)
    (own / "results" / "first").rename(own / "results" / name)
    entries = _entries(own)
    _write(own, [entry | {"folder": name} if entry["folder"] == "first" else entry for entry in entries])
    before = _files(own)
    lost = _lost(own, before, [name, "second"])
    if not ResultFolder(own / "results").delete(own / "results" / name):
        lost = lost or "it cannot be deleted"
    return Said(MADE, lost=lost)


def _deleted_by_hand(own: Path) -> Said:
    results = _start(own)
    shutil.rmtree(own / "results" / "first")
    before = _files(own)
    assert not results.delete(own / "results" / "first")
    results.forget(own / "results" / "first")
    _adopt(results, "third")
    return Said(MADE, lost=_lost(own, before, ["second", "third"]))


def _all_deleted(own: Path) -> Said:
    results = _start(own)
    shutil.rmtree(own / "results")
    before = _files(own)
    results.refresh()
    assert results.results == [] and not results.delete(own / "results" / "first")
    _adopt(results, "third")
    return Said(MADE, lost=_lost(own, before, ["third"]))


def _no_folder(own: Path) -> Said:
    """The avatar that cannot be listed stays where it is."""
    _start(own)
    shutil.rmtree(own / "results")
    (own / "results").write_bytes(b"mine")
    package = _package(own / "work" / "avatar")
    before, results = _files(own), ResultFolder(own / "results")
    try:
        results.adopt(package, Path("a.jpg"), 1.0)
    except OSError as error:
        return Said(REFUSED, str(error), ", ".join(name for name, data in before.items() if _files(own)[name] != data))
    return Said(MADE)


def _lock(replace: Callable[[Path, Path], None], own: Path) -> Said:
    """Something else stands where the lock was."""
    _start(own)
    path = own / "results" / _LOCK
    path.unlink(missing_ok=True)
    before = _files(own)
    replace(path, own)
    return Said(MADE, lost=_grown(own, before))


def _run(own: Path, program: str) -> subprocess.Popen[bytes]:
    """Another Blender: ``program`` has ``results`` and the functions of this module."""
    head = f"import sys; sys.path[:0] = {[str(ROOT), str(ROOT / 'scripts'), str(ROOT / 'tests')]!r}\n"
    head += "from pathlib import Path; import os\nfrom hostile.lists import *\nfrom hostile.lists import _adopt\n"
    head += f"results = ResultFolder(Path({str(own / 'results')!r}))\n"
    return subprocess.Popen([sys.executable, "-B", "-c", head + program], stderr=subprocess.DEVNULL)


def _writers(own: Path) -> Said:
    _start(own)
    before = _files(own)
    workers = [_run(own, f"for n in range(8): _adopt(results, f'w{number}n{{n}}')") for number in range(3)]
    assert [worker.wait(100) for worker in workers] == [0, 0, 0]
    return Said(MADE, lost=_lost(own, before, [*_GOOD, *(f"w{w}n{n}" for w in range(3) for n in range(8))]))


def _writer_and_deleter(own: Path) -> Said:
    results = _start(own)
    for number in range(8):
        _adopt(results, f"old{number}")
    before = {name: data for name, data in _files(own).items() if "old" not in name}
    writer = _run(own, "for n in range(8): _adopt(results, f'new{n}')")
    deleter = _run(own, "for n in range(8): assert results.delete(results.folder / f'old{n}')")
    assert [writer.wait(100), deleter.wait(100)] == [0, 0]
    return Said(MADE, lost=_lost(own, before, [*_GOOD, *(f"new{n}" for n in range(8))]))


def _killed(function: str, own: Path) -> Said:
    """The process ends before ``function`` is run for a new avatar; a day later the list has it."""
    _start(own)
    before = _files(own)
    program = "from humansplat_blender import results as module\n"
    program += f"module.{function} = lambda *_: os._exit(9)\n_adopt(results, 'third')\n"
    assert _run(own, program).wait(60) == 9
    for path in (own / "results").glob(".job-*"):
        os.utime(path, (0, 0))
    _adopt(ResultFolder(own / "results"), "fourth")
    listed = [result.name for result in ResultFolder(own / "results").results]
    third = [name for name in listed if name in ("third", "recovered")]
    return Said(MADE, lost=_lost(own, before, [*_GOOD, "fourth", *(third or ["third"])]))


def _delete_a_link(own: Path) -> Said:
    results = _start(own)
    (own / "results" / "first").rename(own / "elsewhere")
    (own / "results" / "first").symlink_to(own / "elsewhere", target_is_directory=True)
    before = _files(own)
    deleted = results.delete(own / "results" / "first")
    return Said(MADE if deleted else REFUSED, "It is not deleted.", _lost(own, before, ["second"]))


def _delete_replaced(own: Path) -> Said:
    """The list was read while the avatar was still there; now its name leads to somebody else's."""
    results = _start(own)
    shutil.rmtree(own / "results" / "first")
    (own / "results" / "first").symlink_to(own / "victim", target_is_directory=True)
    before = _files(own)
    deleted = results.delete(own / "results" / "first")
    return Said(MADE if deleted else REFUSED, "It is not deleted.", _lost(own, before, ["second"]))
