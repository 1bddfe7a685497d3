"""Paths that grow too long are said before anything is downloaded."""

from __future__ import annotations

from pathlib import Path, PureWindowsPath

import pytest
from extension_under_test import ROOT

from humansplat_blender.environment import HOME_NAME, SLOTS
from humansplat_blender.install import limits

BUILDS = ("cpu", "cu126", "cu130")


@pytest.mark.parametrize("build", BUILDS)
def test_windows_paths_stay_short(build: str) -> None:
    longest = limits.longest_path(ROOT, "windows-x64", build)
    root = PureWindowsPath(r"C:\Users", "a" * 20, HOME_NAME)
    for name in SLOTS:
        whole = str(root / name / longest)
        assert limits.length(whole, "windows-x64") < 240, whole
        assert limits.refusal(Path(root / name), longest, "windows-x64", long_paths=False) is None


@pytest.mark.parametrize(
    ("system", "user"),
    [
        ("macos-arm64", "/Users/{}/Library/Application Support/Blender/4.5/extensions/.user/user_default/humansplat"),
        ("linux-x64", "/home/{}/.config/blender/4.5/extensions/.user/user_default/humansplat"),
        ("linux-arm64", "/home/{}/.config/blender/4.5/extensions/.user/user_default/humansplat"),
    ],
)
def test_paths_elsewhere(system: str, user: str) -> None:
    for build in BUILDS:
        longest = limits.longest_path(ROOT, system, build)
        whole = f"{user.format('a' * 255)}/{SLOTS[-1]}/{longest}"
        assert limits.length(whole, system) < limits.LIMITS[system.partition("-")[0]]
        assert max(len(part.encode()) for part in whole.split("/")) <= 255


def test_too_long_is_said_with_what_to_do() -> None:
    folder = Path("C:/Users/" + "a" * 60 + "/.humansplat/env1")
    longest = limits.longest_path(ROOT, "windows-x64", "cu130")
    failure = limits.refusal(folder, longest, "windows-x64", long_paths=False)
    assert f"{len(str(folder)) + 1 + len(longest)} characters" in failure.message and "allows 259" in failure.message
    assert "HUMANSPLAT_HOME" in failure.fix and "LongPathsEnabled" in failure.fix
    assert limits.refusal(folder, longest, "windows-x64", long_paths=True) is None


def test_lengths_as_the_systems_count() -> None:
    assert limits.length("é山😀", "windows-x64") == 4
    assert limits.length("é山😀", "linux-x64") == 9
