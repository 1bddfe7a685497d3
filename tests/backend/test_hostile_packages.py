"""Packages of strangers: each case ends as it should, in one sentence, and nothing costs more memory than an avatar."""

from __future__ import annotations

import gzip
import json
import random
import shutil
import struct
import tracemalloc
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hostile_packages import OPENS, REFUSED, HostilePackage, hostile_packages
from synthetic import make_avatar

from backend.avatar import AvatarFormatError, load_avatar, package, save_avatar, validate_avatar
from backend.avatar.archives import ArchiveError, ArrayArchive
from backend.avatar.formats.read import read_splats
from backend.avatar.ply import PROPERTIES

MEMORY = 40_000_000
"""Bytes; the small package takes one million, and the cases that open have up to fifteen."""


@pytest.fixture(scope="module")
def valid(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("valid") / "avatar"
    save_avatar(make_avatar(150, seed=3), folder)
    return folder


@pytest.fixture(scope="module")
def cases(valid: Path, tmp_path_factory: pytest.TempPathFactory) -> list[HostilePackage]:
    return hostile_packages(valid, tmp_path_factory.mktemp("hostile"))


def _outcome(folder: Path) -> tuple[str, str]:
    """Whether it opens, and what is said where it does not."""
    try:
        avatar = load_avatar(folder)
    except AvatarFormatError as error:
        return REFUSED, str(error)
    validate_avatar(avatar)
    for faces in (avatar.body.faces, avatar.body.surface_faces):
        corners = np.sort(faces, axis=1)
        assert (np.diff(corners, axis=1) > 0).all()
        assert len(np.unique(corners, axis=0)) == len(corners)
    return OPENS, ""


def test_every_case_ends_as_it_should(cases: list[HostilePackage]) -> None:
    assert len(cases) >= 75 and len({case.name for case in cases}) == len(cases)
    wrong, tracing = [], tracemalloc.is_tracing()
    tracemalloc.start()
    for case in cases:
        tracemalloc.reset_peak()
        before = tracemalloc.get_traced_memory()[0]
        found, message = _outcome(case.path)
        taken = tracemalloc.get_traced_memory()[1] - before
        if found != case.expected or taken > MEMORY:
            wrong.append(f"{case.name}: {found}, {taken:,} bytes, {message}")
        if found == REFUSED:
            assert "\n" not in message and len(message) < 400 and message.endswith("."), case.name
            assert "pickle" not in message and "unsafe" not in message, case.name
    if not tracing:
        tracemalloc.stop()
    assert not wrong
    assert not list(Path.cwd().glob("pwned*")) and not list(cases[0].path.parent.rglob("*slipped*"))


def test_random_damage_is_refused_or_harmless(valid: Path, tmp_path: Path) -> None:
    dice = random.Random(20)
    originals = {path.name: path.read_bytes() for path in valid.iterdir()}
    folder = tmp_path / "avatar"
    shutil.copytree(valid, folder)
    counts = {OPENS: 0, REFUSED: 0}
    for _ in range(400):
        name = dice.choice(sorted(originals))
        data = originals[name]
        changed = dice.choice((_flip, _cut, _overwrite, _repeat, _field if name == "avatar.json" else _flip))(
            data, dice
        )
        (folder / name).write_bytes(changed)
        found, _ = _outcome(folder)
        counts[found] += 1
        (folder / name).write_bytes(data)
    assert load_avatar(folder) is not None
    assert min(counts.values()) > 20  # or the damage tests nothing


def _flip(data: bytes, dice: random.Random) -> bytes:
    changed = bytearray(data)
    # Half of the flips go where names, sizes and kinds are.
    reach = len(data) if dice.random() < 0.5 else min(2000, len(data))
    for _ in range(dice.choice((1, 1, 3, 30))):
        at = dice.randrange(reach)
        changed[at if dice.random() < 0.5 else len(data) - 1 - at] ^= 1 << dice.randrange(8)
    return bytes(changed)


def _cut(data: bytes, dice: random.Random) -> bytes:
    return data[: dice.randrange(len(data))]


def _overwrite(data: bytes, dice: random.Random) -> bytes:
    at, length = dice.randrange(len(data)), dice.choice((4, 8, 100))
    filler = dice.choice((b"\0", b"\xff", b"9", b"\x7f"))
    return data[:at] + filler * length + data[at + length :]


def _repeat(data: bytes, dice: random.Random) -> bytes:
    at, length = dice.randrange(len(data)), dice.randrange(1, 3000)
    return data[:at] + data[at : at + length] * 2 + data[at + length :]


def _field(data: bytes, dice: random.Random) -> bytes:
    document = json.loads(data)
    places = list(_places(document))
    table, key = dice.choice(places)
    table[key] = dice.choice((None, True, -1, 0, 1e308, 10**30, "", "x" * 5000, [], {}, [[]], [None] * 24, "\0"))
    return json.dumps(document).encode()


def _places(value: Any) -> Any:
    pairs = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, inner in list(pairs):
        yield value, key
        yield from _places(inner)


def test_a_package_of_strangers_links_is_read_as_files_alone(valid: Path, tmp_path: Path) -> None:
    folder = shutil.copytree(valid, tmp_path / "avatar")
    real = (folder / "skin.npz").rename(tmp_path / "elsewhere.npz")
    try:
        (folder / "skin.npz").symlink_to(real)
    except OSError:
        pytest.skip("no links here")
    load_avatar(folder)
    real.unlink()
    with pytest.raises(AvatarFormatError, match=r"lacks skin\.npz"):
        load_avatar(folder)


def test_zip_directory_of_any_length_is_not_read(valid: Path, tmp_path: Path) -> None:
    """A second end record, of the 64-bit kind, could say more than the first."""
    data = (valid / "skin.npz").read_bytes()
    end = data.rfind(b"PK\x05\x06")
    (tmp_path / "a.npz").write_bytes(data[:end] + b"PK\x06\x07" + bytes(16) + data[end:])
    with pytest.raises(ArchiveError, match="larger than such files are"):
        ArrayArchive(tmp_path / "a.npz", ("offset",))


def test_nothing_but_one_kind_of_error_leaves(valid: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for kind in (MemoryError, RecursionError, KeyError, ZeroDivisionError, NotImplementedError, EOFError, OSError):

        def fail(*_: Any, kind: type[Exception] = kind) -> None:
            raise kind("so\nso")

        monkeypatch.setattr(package, "read_ply", fail)
        with pytest.raises(AvatarFormatError) as caught:
            load_avatar(valid)
        assert str(caught.value).endswith(".") and "\n" not in str(caught.value)


def test_splats_of_strangers_cost_no_more_than_their_file(tmp_path: Path) -> None:
    def spz(count: int, zeros: int) -> bytes:
        head = struct.pack("<IIIBBBB", 0x5053474E, 3, count, 0, 12, 0, 0)
        return gzip.compress(head + bytes(zeros), 9)

    (tmp_path / "more.spz").write_bytes(spz(40_000_000, 1000))
    (tmp_path / "less.spz").write_bytes(spz(1_000, 1000))
    (tmp_path / "bomb.spz").write_bytes(spz(10, 300 << 20))
    (tmp_path / "no_harm.spz").write_bytes(spz(0, 0))
    head = b"ply\nformat binary_little_endian 1.0\nelement vertex 60000000\n"
    head += b"".join(b"property float %s\n" % name.encode() for name in PROPERTIES) + b"end_header\n"
    with open(tmp_path / "hole.ply", "wb") as file:
        file.write(head)
        file.truncate(len(head) + 60_000_000 * 248)
    with open(tmp_path / "hole.splat", "wb") as file:
        file.truncate(14 << 30)
    for name, message in (
        ("more.spz", "more than fit"),
        ("less.spz", "cut off"),
        ("bomb.spz", ""),  # ten splats of zeros, and what nobody unpacks
        ("no_harm.spz", "no splats"),
        ("hole.ply", "larger than any"),
        ("hole.splat", "larger than any"),
    ):
        tracemalloc.start()
        if message:
            with pytest.raises(ValueError, match=message):
                read_splats(tmp_path / name)
        else:
            assert len(read_splats(tmp_path / name)) == 10
        assert tracemalloc.get_traced_memory()[1] < MEMORY, name
        tracemalloc.stop()
