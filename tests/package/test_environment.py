"""Finding the backend's environment."""

from __future__ import annotations

import os
import sys
from pathlib import Path, PureWindowsPath

import pytest

from humansplat_blender import environment
from humansplat_blender.client import clean_environment, describe_exit
from humansplat_blender.environment import LEGACY_NAME, MARKER_NAME


def make_environment(folder: Path, marker: bool = False) -> Path:
    python = environment.python_in(folder)
    python.parent.mkdir(parents=True)
    python.touch()
    if marker:
        (folder / MARKER_NAME).write_text("{}")
    return python


def test_order_of_places(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("HUMANSPLAT_BACKEND_PYTHON", raising=False)
    user, repository = tmp_path / "user", tmp_path / "repository"
    assert environment.find("", [user], repository) is None
    beside = make_environment(repository / ".venvs" / "backend")
    assert environment.find("", [user], repository) == environment.Environment(beside, "development")
    installed = make_environment(user / "env1")
    assert environment.find("", [user], repository).python == beside  # no marker: an installation that broke off
    (user / "env1" / MARKER_NAME).write_text("{}")
    assert environment.find("", [user], repository).python == installed
    chosen = make_environment(tmp_path / "chosen")
    assert environment.find(str(tmp_path / "chosen"), [user], repository).python == chosen
    assert environment.find(str(chosen), [user], repository).python == chosen
    assert environment.find(str(tmp_path / "gone"), [user], repository) is None  # a wrong choice is said, not replaced
    monkeypatch.setenv("HUMANSPLAT_BACKEND_PYTHON", str(beside))
    assert environment.find(str(chosen), [user], repository).python == beside


def test_environment_of_an_earlier_version_is_used_until_a_newer_one_is_whole(tmp_path: Path) -> None:
    short, user = tmp_path / "short", tmp_path / "user"
    old = make_environment(user / LEGACY_NAME, marker=True)
    os.utime(user / LEGACY_NAME / MARKER_NAME, (1e9, 1e9))
    new = make_environment(short / "env1")
    assert environment.find("", [short, user], tmp_path).python == old
    (short / "env1" / MARKER_NAME).write_text("{}")
    assert environment.find("", [short, user], tmp_path).python == new


def test_the_newest_of_several_counts(tmp_path: Path) -> None:
    for name, made in (("env1", 2e9), ("env2", 1e9)):
        make_environment(tmp_path / name, marker=True)
        os.utime(tmp_path / name / MARKER_NAME, (made, made))
    assert environment.installed_folder([tmp_path]) == tmp_path / "env1"


def test_environment_whose_blender_is_gone_is_none(tmp_path: Path) -> None:
    make_environment(tmp_path / "env1", marker=True)
    home = tmp_path / "Blender 4.5" / "python"
    home.mkdir(parents=True)
    (tmp_path / "env1" / "pyvenv.cfg").write_text(f"home = {home}\nversion = 3.11.7\n")
    assert environment.is_whole(tmp_path / "env1")
    home.rmdir()
    assert not environment.is_whole(tmp_path / "env1")


@pytest.mark.parametrize("quote", ['"{}"', " {} ", "'{}'", '  "{}"  '])
def test_path_as_windows_copies_it(tmp_path: Path, quote: str) -> None:
    python = make_environment(tmp_path / "my environment")
    assert environment.resolve_python(quote.format(python)) == python
    assert environment.resolve_python(quote.format(python.parents[1])) == python
    assert environment.resolve_python('""') is None


def test_windows_has_a_short_folder_and_others_blenders() -> None:
    home, user = Path("/home/somebody"), Path("/home/somebody/.config/blender/extensions/.user/humansplat")
    assert environment.install_roots("linux", home, user) == (user,)
    assert environment.install_roots("darwin", home, user) == (user,)
    first, second = environment.install_roots("win32", home, user)
    assert first.parent == home and second == user
    chosen = environment.install_roots("win32", home, user, f'"{Path("/short").absolute()}" ')
    assert chosen == (Path("/short").absolute(), first, second)  # what is in the others is still found
    assert len(str(PureWindowsPath(r"C:\Users", "x" * 20, first.name, environment.SLOTS[0]))) == 46


def test_no_setting_of_another_python_reaches_the_backend(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("PYTHONSAFEPATH", "PYTHONHOME", "PYTHONWARNINGS", "PYTHONNOUSERSITE", "VIRTUAL_ENV", "CONDA_PREFIX"):
        monkeypatch.setenv(name, "1")
    monkeypatch.setenv("HTTPS_PROXY", "http://proxy:3128")
    found = clean_environment({"EXTRA": "yes"})
    assert {name for name in found if name.startswith(("PYTHON", "CONDA", "VIRTUAL"))} == {"PYTHONUTF8"}
    assert found["HTTPS_PROXY"] == "http://proxy:3128" and found["EXTRA"] == "yes" and "PATH" in found


def test_exit_codes_in_words() -> None:
    assert describe_exit(3) == "ended with exit code 3"
    assert describe_exit(0xC0000005) == "crashed (access violation)"
    if sys.platform != "win32":
        assert describe_exit(-9) == "was killed (SIGKILL), perhaps because memory ran out"
        assert describe_exit(-11) == "was killed (SIGSEGV)"
