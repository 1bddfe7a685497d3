"""What of a user's settings pip gets to see."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from humansplat_blender.install.settings import default_config_files, has_own_index, pip_environment, refusal


@pytest.fixture(autouse=True)
def _no_settings(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [name for name in os.environ if name.startswith("PIP_")]:
        monkeypatch.delenv(name)
    monkeypatch.delenv("HUMANSPLAT_PIP_CONFIG", raising=False)


def pip_names(environment: dict[str, str]) -> dict[str, str]:
    return {name: value for name, value in environment.items() if name.startswith("PIP_")}


def test_what_changes_packages_is_dropped_and_what_reaches_them_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    dropped = "USER TARGET PREFIX ROOT INDEX_URL EXTRA_INDEX_URL FIND_LINKS CONSTRAINT REQUIREMENT PRE NO_BINARY "
    dropped += "REQUIRE_VIRTUALENV NO_DEPS PYTHON TRUSTED_HOST CONFIG_FILE ISOLATED IGNORE_INSTALLED"
    for name in dropped.split():
        monkeypatch.setenv(f"PIP_{name}", "1")
    kept = {
        "PIP_PROXY": "http://proxy:3128",
        "PIP_CERT": "/c.pem",
        "PIP_CACHE_DIR": "/cache",
        "PIP_DEFAULT_TIMEOUT": "99",
    }
    other = {
        "HTTPS_PROXY": "http://p:1",
        "NO_PROXY": "local",
        "SSL_CERT_FILE": "/a.pem",
        "REQUESTS_CA_BUNDLE": "/b.pem",
    }
    for name, value in (kept | other).items():
        monkeypatch.setenv(name, value)
    found = pip_environment([])
    assert pip_names(found) == kept | {"PIP_CONFIG_FILE": os.devnull}
    assert {name: found[name] for name in other} == other
    assert not has_own_index(found)


def test_proxy_and_certificate_of_pip_s_own_files_are_honoured(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    machine, user = tmp_path / "pip.ini", tmp_path / "pip.conf"
    machine.write_text("[global]\nproxy = http://first:1\ncert = /machine.pem\nindex-url = http://evil/\n")
    user.write_text("[global]\nproxy = http://second:2\nuser = true\n[install]\nclient_cert = /me.pem\ntarget = /x\n")
    found = pip_names(pip_environment([machine, user, tmp_path / "none"]))
    del found["PIP_CONFIG_FILE"]
    assert found == {"PIP_PROXY": "http://second:2", "PIP_CERT": "/machine.pem", "PIP_CLIENT_CERT": "/me.pem"}
    monkeypatch.setenv("PIP_PROXY", "http://variable:3")  # as in pip, variables are stronger than files
    assert pip_environment([machine, user])["PIP_PROXY"] == "http://variable:3"


def test_damaged_files_are_ignored(tmp_path: Path) -> None:
    (tmp_path / "pip.conf").write_bytes(b"\xff\xfe[glo\x00bal\nproxy")
    assert pip_names(pip_environment([tmp_path / "pip.conf"])) == {"PIP_CONFIG_FILE": os.devnull}


def test_user_without_a_home(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os.path, "expanduser", lambda path: path)
    assert default_config_files() and pip_environment()["PIP_CONFIG_FILE"] == os.devnull


def test_value_that_no_variable_can_hold(tmp_path: Path) -> None:
    (tmp_path / "pip.conf").write_bytes(b"[global]\nproxy = http://p\0:1\n")
    assert pip_names(pip_environment([tmp_path / "pip.conf"])) == {"PIP_CONFIG_FILE": os.devnull}


@pytest.mark.parametrize("kind", ["gone", "folder", "bytes", "pipe"])
def test_mirror_that_cannot_be_read(kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing takes the place of an index that was asked for; what says so is :func:`refusal`."""
    own = tmp_path / "mirror.conf"
    if kind == "folder":
        own.mkdir()
    elif kind == "bytes":
        own.write_bytes(b"\xff" * 9)
    elif kind == "pipe":
        if not hasattr(os, "mkfifo"):
            pytest.skip("there are no pipes with names")
        os.mkfifo(own)
    assert refusal() is None
    monkeypatch.setenv("HUMANSPLAT_PIP_CONFIG", str(own))
    assert pip_environment([])["PIP_NO_INDEX"] == "1"
    assert "HUMANSPLAT_PIP_CONFIG" in refusal().message and refusal().details == str(own)


def test_a_company_s_mirror(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    own = tmp_path / "mirror.conf"
    own.write_text("[global]\nindex-url = https://mirror/simple\nfind-links =\n    /wheels\n    /more\nuser = true\n")
    monkeypatch.setenv("HUMANSPLAT_PIP_CONFIG", str(own))
    found = pip_environment([])
    assert found["PIP_INDEX_URL"] == "https://mirror/simple" and found["PIP_FIND_LINKS"] == "/wheels /more"
    assert "PIP_USER" not in found and has_own_index(found)
    assert "PIP_NO_INDEX" not in found and refusal() is None


def test_pip_itself_sees_nothing_else(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Asked of pip: a user's file with ``user = true`` does not reach it."""
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path))
    monkeypatch.setenv("APPDATA", str(tmp_path))
    for name in ("pip.conf", "pip.ini"):
        (tmp_path / "pip").mkdir(exist_ok=True)
        (tmp_path / "pip" / name).write_text("[global]\nuser = true\nindex-url = http://evil/\nproxy = http://p:1\n")
    assert any(file.is_file() for file in default_config_files())
    command = [sys.executable, "-m", "pip", "config", "list"]
    before = subprocess.run(command, capture_output=True, text=True).stdout
    if "evil" not in before:
        pytest.skip("this Python has no pip, or pip keeps its files elsewhere")
    listed = subprocess.run(command, capture_output=True, text=True, env=pip_environment()).stdout
    assert "evil" not in listed and "user" not in listed
    assert "http://p:1" in listed
