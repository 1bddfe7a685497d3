"""The scripts' own logic: environments that survive interruption, counting tests, the demo's poses and photo."""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
from scipy.spatial.transform import Rotation

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "scripts"))

import demo_poses  # noqa: E402  (after the path)
import environments  # noqa: E402
import run_tests  # noqa: E402
from demo_person import figure, shot  # noqa: E402
from environments import Environment, Layer, SetupError  # noqa: E402

from backend.body.landmarks import POSE_LANDMARKS  # noqa: E402
from backend.body.model import DATA_FOLDER, JOINT_NAMES  # noqa: E402
from backend.prepare import BlazePose, load_photo, prepare  # noqa: E402
from backend.prepare.detect import find_people  # noqa: E402


class Runner:
    """Takes the place of venv and pip; a command that is told to fail or to be interrupted obeys."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.calls: list[str] = []
        self.behaviour: dict[str, int | type[BaseException]] = {}

    def __call__(self, command: Sequence[str]) -> int:
        if "venv" in command:
            self.calls.append("venv")
            (self.folder / "bin").mkdir(parents=True)
            # An interpreter that runs, whatever it is asked.
            (self.folder / "bin" / "python").write_text("#!/bin/sh\nexit 0\n")
            (self.folder / "bin" / "python").chmod(0o755)
            return 0
        self.calls.append(command[0])
        behaviour = self.behaviour.get(command[0], 0)
        if isinstance(behaviour, int):
            return behaviour
        raise behaviour


@pytest.fixture
def made(tmp_path: Path) -> tuple[Environment, Runner, Path]:
    requirements = tmp_path / "requirements.txt"
    requirements.write_text("one==1\n")
    folder = tmp_path / "venvs" / "backend"
    layers = (
        Layer("base", "the base", ((("torch-index",), ("torch",)), (("rest",),)), (requirements,)),
        Layer("tests", "the tests", ((("extra",),),), ()),
    )
    return Environment(folder, Path(sys.executable), layers), Runner(folder), requirements


def test_environment_is_made_once(made: tuple[Environment, Runner, Path]) -> None:
    environment, runner, requirements = made
    environments.ensure(environment, runner)
    assert runner.calls == ["venv", "torch-index", "rest", "extra"]
    environments.ensure(environment, runner)
    assert len(runner.calls) == 4
    requirements.write_text("one==2\n")
    environments.ensure(environment, runner)
    assert runner.calls[4:] == ["torch-index", "rest"]  # the layer that changed, on top of what is there


def test_second_choice_where_the_first_cannot_be_reached(made: tuple[Environment, Runner, Path]) -> None:
    environment, runner, _ = made
    runner.behaviour["torch-index"] = 1
    environments.ensure(environment, runner)
    assert runner.calls == ["venv", "torch-index", "torch", "rest", "extra"]


def test_failure_is_said_and_completed_later(made: tuple[Environment, Runner, Path]) -> None:
    environment, runner, _ = made
    runner.behaviour["extra"] = 1
    with pytest.raises(SetupError, match="continues where it stopped"):
        environments.ensure(environment, runner)
    runner.behaviour.clear()
    runner.calls.clear()
    environments.ensure(environment, runner)
    assert runner.calls == ["extra"]


def test_interrupted_environment_is_made_afresh(made: tuple[Environment, Runner, Path]) -> None:
    environment, runner, _ = made
    runner.behaviour["rest"] = KeyboardInterrupt
    with pytest.raises(KeyboardInterrupt):
        environments.ensure(environment, runner)
    half = environment.folder / "half-written"
    half.touch()
    runner.behaviour.clear()
    runner.calls.clear()
    environments.ensure(environment, runner)
    assert runner.calls == ["venv", "torch-index", "rest", "extra"]
    assert not half.exists()


def test_environment_made_by_hand_is_completed(made: tuple[Environment, Runner, Path]) -> None:
    environment, runner, _ = made
    runner(["python", "-m", "venv"])
    runner.calls.clear()
    environments.ensure(environment, runner)
    assert runner.calls == ["torch-index", "rest", "extra"]


def test_broken_environment_is_made_afresh(made: tuple[Environment, Runner, Path]) -> None:
    environment, runner, _ = made
    environments.ensure(environment, runner)
    environment.python.write_text("#!/bin/sh\nexit 1\n")
    environments.ensure(environment, runner)
    assert runner.calls.count("venv") == 2


def test_system_libraries_are_those_of_their_packages() -> None:
    # Debian names a library's package after its soname, in small letters, a dash dropped where there is no digit.
    for library, package in environments.BLENDER_LIBRARIES.items():
        name, number = library.split(".so.")
        assert package == name.lower() + (f"-{number}" if name[-1].isdigit() else number)


@pytest.mark.parametrize(
    ("xml", "status", "expected"),
    [
        ('<testsuites><testsuite tests="9" failures="1" errors="1" skipped="2"/></testsuites>', 1, (5, 2, 2)),
        ('<testsuites><testsuite tests="4" failures="0" errors="0" skipped="0"/></testsuites>', 0, (4, 0, 0)),
        ('<testsuites><testsuite tests="0" failures="0" errors="0" skipped="0"/></testsuites>', 5, (0, 0, 0)),
        ('<testsuites><testsuite tests="4" failures="0" errors="0" skipped="0"/></testsuites>', 3, (4, 1, 0)),
        ("<testsuites", 0, (0, 1, 0)),
        (None, -11, (0, 1, 0)),
    ],
    ids=["mixed", "all well", "no tests", "internal error after", "cut off", "crashed"],
)
def test_counts_of_a_test_run(xml: str | None, status: int, expected: tuple[int, int, int], tmp_path: Path) -> None:
    file = tmp_path / "results.xml"
    if xml is not None:
        file.write_text(xml)
    outcome = run_tests.read_results(file, status)
    assert (outcome.passed, outcome.failed, outcome.skipped) == expected


def test_summary_line() -> None:
    total = run_tests.Outcome(3, 0, 1) + run_tests.Outcome(4, 2, 0)
    assert str(total) == "7 passed, 2 failed, 1 skipped"


def test_a_part_that_does_not_end_names_the_test_that_ran(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "test_it.py").write_text(
        "import time\ndef test_ends():\n    pass\ndef test_hangs():\n    time.sleep(120)\n"
    )
    monkeypatch.setitem(run_tests.SECONDS, "slow", 12)
    command = (sys.executable, "-m", "pytest", str(tmp_path), "-q", "-p", "no:cacheprovider", "-p", "unfinished")
    part = run_tests.Part("slow", command, tmp_path / "results.xml")
    outcome = run_tests.run_part(part, tmp_path / "notes", tmp_path / "out.txt")
    assert outcome == run_tests.Outcome(failed=1)
    said = (tmp_path / "out.txt").read_text().splitlines()[-1]
    assert "did not end within 12 s" in said and said.endswith("test_hangs")


def test_demo_poses_turn_as_they_say() -> None:
    assert JOINT_NAMES == demo_poses.JOINTS
    rng = np.random.default_rng(0)
    for angles in rng.uniform(-100, 100, (50, 3)):
        # Upper-case letters: about the axes as they turn along; x, y, z in that order is z first about fixed axes.
        expected = Rotation.from_euler("XYZ", angles, degrees=True)
        turned = Rotation.from_rotvec(demo_poses.axis_angle(*angles))
        assert (turned * expected.inv()).magnitude() < 1e-12
    assert demo_poses.axis_angle(0, 0, 0) == pytest.approx([0, 0, 0])
    for name in demo_poses.POSES_DEGREES:
        pose = demo_poses.pose(name)
        assert pose.shape == (24, 3) and np.abs(pose).max() < np.pi


def test_demo_photo_shows_its_person() -> None:
    """The picture, the figure it is made of and the camera agree: the networks find every limb where it was put."""
    photo = load_photo(ROOT / "docs" / "demo" / "person.jpg")
    assert photo.rgb.shape == (shot.SIZE[1], shot.SIZE[0], 3)
    networks = BlazePose("cpu")
    people = find_people(networks, photo.rgb)
    assert len(people) == 1
    person = figure.make_figure()
    with np.load(DATA_FOLDER / "male.npz", allow_pickle=False) as data:
        names = [str(name) for name in data["keypoint_names"]]
        keypoints = shot.project(data["keypoint_regressor"] @ person.posed)
    outline = shot.project(person.posed)
    limbs = [(index, names.index(name)) for index, name, weight in POSE_LANDMARKS if weight == 1.0]
    found, expected = people[0].image[[i for i, _ in limbs]], keypoints[[i for _, i in limbs]]
    errors = np.linalg.norm(found - expected, axis=1) / np.ptp(outline[:, 1])
    assert errors.mean() < 0.02
    assert errors.max() < 0.05
    prepared = prepare(photo, networks)
    assert prepared.warnings == ()
    assert people[0].visibility.min() > 0.5


@pytest.mark.parametrize(
    ("command", "said"),
    [
        ("benchmark_factory.py --device cpu --workers 2 --people 1 --views 2 --size 64", r"([\d.]+) views/s"),
        ("benchmark_pipeline.py --full-random --tiny --device cpu --repeats 1", r"denoise +([\d.]+)"),
    ],
)
def test_benchmarks_print_what_they_measure(command: str, said: str) -> None:
    script, *options = command.split()
    run = subprocess.run(
        [sys.executable, str(ROOT / "scripts" / script), *options], capture_output=True, text=True, timeout=300
    )
    assert run.returncode == 0, run.stderr
    found = re.search(said, run.stdout)
    assert found is not None, run.stdout
    assert 0 < float(found[1]) < 1000
