"""Which computers the backend can be installed on, and which build of PyTorch suits their cards."""

from __future__ import annotations

from dataclasses import replace

import pytest

from humansplat_blender.install import machine
from humansplat_blender.install.machine import Card, Machine, choose_build, parse_cards

LINUX = Machine("linux", "x86_64", 64, (3, 11), glibc=(2, 36))
WINDOWS = Machine("win32", "amd64", 64, (3, 11))
MAC = Machine("darwin", "arm64", 64, (3, 11), macos=(14, 5))


@pytest.mark.parametrize(
    ("found", "name"),
    [
        (WINDOWS, "windows-x64"),
        (LINUX, "linux-x64"),
        (replace(LINUX, processor="aarch64"), "linux-arm64"),
        (MAC, "macos-arm64"),
        (replace(LINUX, python=(3, 10)), "linux-x64"),
        (replace(WINDOWS, python=(3, 13)), "windows-x64"),
    ],
)
def test_computers_that_will_do(found: Machine, name: str) -> None:
    assert machine.refusal(found) is None
    assert machine.system_name(found) == name


@pytest.mark.parametrize(
    ("found", "words"),
    [
        (replace(MAC, processor="x86_64"), "Intel"),
        (replace(WINDOWS, processor="arm64"), "Windows on ARM"),
        (replace(WINDOWS, bits=32), "32-bit"),
        (replace(WINDOWS, processor="x86", bits=32), "32-bit"),
        (replace(LINUX, processor="armv7l", bits=32), "32-bit"),
        (replace(LINUX, processor="riscv64"), "riscv64"),
        (replace(MAC, macos=(13, 6)), "macOS 13.6"),
        (replace(LINUX, glibc=(2, 27)), "2.27"),
        (replace(LINUX, glibc=()), "another C library"),
        (replace(LINUX, python=(3, 14)), "3.14"),
        (replace(WINDOWS, python=(3, 9)), "needs 3.10 to 3.13"),
    ],
)
def test_computers_that_will_not_are_told_why_and_what_to_do(found: Machine, words: str) -> None:
    failure = machine.refusal(found)
    assert words in failure.message
    assert failure.message.endswith(".") and failure.fix.endswith(".")


def test_this_computer_is_looked_at() -> None:
    here = machine.this_machine()
    assert here.bits == 64 and here.processor == here.processor.lower() and here.system


RTX, GTX, KEPLER, H100, BLACKWELL = (8, 6), (6, 1), (3, 7), (9, 0), (12, 0)


@pytest.mark.parametrize(
    ("system", "driver", "computes", "build", "words"),
    [
        ("windows-x64", (), [], "cpu", ""),
        ("windows-x64", (580, 88), [RTX], "cu130", ""),
        ("windows-x64", (581,), [(7, 5)], "cu130", ""),
        ("windows-x64", (576, 2), [RTX], "cu126", ""),
        ("windows-x64", (560, 76), [RTX], "cu126", ""),
        ("windows-x64", (560, 70), [RTX], "cpu", "560.76 or later"),
        ("linux-x64", (560, 28), [RTX], "cu126", ""),
        ("linux-x64", (560, 27), [RTX], "cpu", "560.28 or later"),
        ("windows-x64", (580, 88), [GTX], "cu126", ""),
        ("windows-x64", (580, 88), [(5, 0)], "cu126", ""),
        ("windows-x64", (580, 88), [(7, 0)], "cu126", ""),
        ("windows-x64", (472, 12), [KEPLER], "cpu", "too old"),
        ("windows-x64", (537, 13), [GTX], "cpu", "Update the driver"),
        ("linux-x64", (580, 65, 6), [H100], "cu130", ""),
        ("windows-x64", (581, 15), [BLACKWELL], "cu130", ""),
        ("windows-x64", (572, 16), [BLACKWELL], "cpu", "580 or later"),
        ("windows-x64", (581, 15), [RTX, GTX], "cu126", ""),
        ("windows-x64", (581, 15), [RTX, KEPLER], "cu130", ""),
        ("windows-x64", (581, 15), [BLACKWELL, GTX], "cu130", ""),
        ("linux-arm64", (580, 95), [H100], "cu130", ""),
        ("linux-arm64", (570, 0), [H100], "cpu", "580 or later"),
        ("linux-arm64", (580, 95), [(7, 2)], "cpu", "too old"),
        ("macos-arm64", (580, 0), [RTX], "cpu", ""),
        ("windows-x64", (441, 22), [()], "cpu", "560.76 or later"),
    ],
)
def test_build_by_cards_and_driver(
    system: str, driver: tuple[int, ...], computes: list[tuple[int, ...]], build: str, words: str
) -> None:
    chosen = choose_build(system, [Card("GeForce", compute, driver) for compute in computes])
    assert chosen.name == build
    assert words in chosen.note and bool(words) == bool(chosen.note)
    assert chosen.cuda == (build != "cpu")


def test_what_the_driver_s_tool_prints() -> None:
    text = (
        "8.6, 560.94, NVIDIA GeForce RTX 3060\r\n6.1, 560.94, NVIDIA GeForce GTX 1080, old\n\nNo devices were found\n"
    )
    assert parse_cards(text) == [
        Card("NVIDIA GeForce RTX 3060", (8, 6), (560, 94)),
        Card("NVIDIA GeForce GTX 1080, old", (6, 1), (560, 94)),
    ]
    assert parse_cards("GPU-1234-abcd, 441.22, Quadro K2000\n") == [Card("Quadro K2000", (), (441, 22))]
    assert parse_cards("[N/A], [N/A], x\n") == []
    assert parse_cards("8.6, \u00b2\u00b3.4, x\n8.6, " + "9" * 5000 + ".1, x\n") == []
