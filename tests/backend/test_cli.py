"""The command line: exit status, what goes to which stream, and how errors read."""

from __future__ import annotations

import io
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import numpy as np
import pytest
from fake_backend import make_avatar
from PIL import Image

from backend import __main__ as cli
from backend import doctor
from backend.avatar import load_avatar, save_avatar, standing_translation
from backend.avatar.motion_files import read_motion
from backend.errors import BackendError
from backend.options import ReconstructOptions
from backend.posing import choose_frame
from backend.progress import CancelCheck, Progress, ProgressCallback, Reporter

ROOT = Path(__file__).resolve().parents[2]


def run(*arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "backend", *arguments],
        cwd=ROOT,
        env=os.environ | environment,
        capture_output=True,
        text=True,
        timeout=120,
    )


@pytest.fixture
def pipeline(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[SimpleNamespace]:
    """A made-up ``backend.pipeline``; ``raises`` is raised in the middle, ``seen`` holds the options."""
    control = SimpleNamespace(raises=None, seen=None, before=lambda: None)

    class Pipeline:
        def __init__(self, device: str) -> None:
            self.device = device

        def reconstruct(
            self,
            image: Path,
            output: Path,
            options: ReconstructOptions,
            progress: ProgressCallback | None = None,
            cancelled: CancelCheck | None = None,
        ) -> SimpleNamespace:
            control.seen = options
            reporter = Reporter({"prepare": 1.0, "body": 1.0}, progress, cancelled)
            reporter.step("prepare", 0.0, "one")
            control.before()
            reporter.step("body", 0.0, "two")
            if control.raises is not None:
                raise control.raises
            return SimpleNamespace(package=output, seconds={"prepare": 0.25, "body": 1.5}, warnings=("Feet are cut.",))

    module = ModuleType("backend.pipeline")
    module.Pipeline = Pipeline
    monkeypatch.setitem(sys.modules, "backend.pipeline", module)
    handlers = {name: signal.getsignal(name) for name in (signal.SIGINT, signal.SIGTERM)}
    control.photo = tmp_path / "photo.png"
    control.photo.write_bytes(b"")
    control.arguments = ["reconstruct", str(control.photo), "-o", str(tmp_path / "out")]
    yield control
    for name, handler in handlers.items():
        signal.signal(name, handler)


def test_help_imports_nothing_heavy() -> None:
    code = "import sys, backend.__main__ as m; m.build_parser().format_help(); print(sorted(sys.modules))"
    modules = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True).stdout
    assert "'backend.server'" in modules
    for heavy in ("torch", "numpy", "cv2", "scipy", "PIL"):
        assert f"'{heavy}'" not in modules


def test_reconstruct_reports_on_stderr_and_answers_on_stdout(
    pipeline: SimpleNamespace, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    status = cli.main(
        [*pipeline.arguments, "--seed", "4", "--person", "2", "--body", "child", "--shading", "0.5", "--json"]
    )
    out, err = capsys.readouterr()
    assert status == 0
    assert json.loads(out) == {
        "package": str(tmp_path / "out"),
        "seconds": {"prepare": 0.25, "body": 1.5},
        "warnings": ["Feet are cut."],
    }
    assert pipeline.seen == ReconstructOptions("lite", 4, 2, "auto", "child", 0.5)
    assert "prepare" in err and "0.25 s" in err and "1.50 s" in err and "Feet are cut." in err


def test_without_json_standard_output_stays_empty(
    pipeline: SimpleNamespace, capsys: pytest.CaptureFixture[str]
) -> None:
    assert cli.main(pipeline.arguments) == 0
    assert capsys.readouterr().out == ""


@pytest.mark.parametrize("as_json", [False, True])
def test_expected_error_is_a_sentence_with_a_fix(
    pipeline: SimpleNamespace, capsys: pytest.CaptureFixture[str], as_json: bool
) -> None:
    pipeline.raises = BackendError("no_person", "There is nobody.", "Take another photo.")
    assert cli.main([*pipeline.arguments, *["--json"] * as_json]) == 2
    out, err = capsys.readouterr()
    assert "Error: There is nobody.\nTake another photo.\n" in err
    assert "Traceback" not in err
    error = {"error": {"kind": "no_person", "message": "There is nobody.", "fix": "Take another photo."}}
    assert (json.loads(out) if out else None) == (error if as_json else None)


@pytest.mark.parametrize(("error", "kind"), [(ZeroDivisionError("oops"), "internal"), (MemoryError(), "out_of_memory")])
def test_unexpected_error_is_a_sentence_too(
    pipeline: SimpleNamespace, capsys: pytest.CaptureFixture[str], error: Exception, kind: str
) -> None:
    pipeline.raises = error
    assert cli.main([*pipeline.arguments, "--json"]) == 1
    out, err = capsys.readouterr()
    assert json.loads(out)["error"]["kind"] == kind
    assert "Traceback" not in err
    assert cli.main([*pipeline.arguments, "--verbose"]) == 1
    assert "Traceback" in capsys.readouterr().err


@pytest.mark.parametrize("name", [signal.SIGINT, signal.SIGTERM])
def test_signal_cancels_between_steps(
    pipeline: SimpleNamespace, capsys: pytest.CaptureFixture[str], name: signal.Signals
) -> None:
    pipeline.before = lambda: os.kill(os.getpid(), name)
    assert cli.main(pipeline.arguments) == 130
    assert "cancelled" in capsys.readouterr().err


def test_asking_to_stop_while_the_package_is_written_is_answered_truthfully(
    pipeline: SimpleNamespace, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(cli, "_stop_on_signals", lambda: lambda: True)
    reporter = Reporter.step
    monkeypatch.setattr(Reporter, "step", lambda self, *given: None)  # it is past the last step
    assert cli.main(pipeline.arguments) == 0
    monkeypatch.setattr(Reporter, "step", reporter)
    assert "already being written when you asked to stop; it is whole" in capsys.readouterr().err


def _heed_interrupts() -> None:
    """What a shell starts in the background ignores Ctrl-C, and so does what that starts: these tests, for one."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)


def test_interrupting_the_loading_ends_at_once(tmp_path: Path) -> None:
    """PyTorch takes seconds to load."""
    (tmp_path / "torch").mkdir()
    (tmp_path / "torch" / "__init__.py").write_text("import time\nfor _ in range(600): time.sleep(0.1)\n")
    (tmp_path / "photo.png").write_bytes(b"")
    for name in (signal.SIGINT, signal.SIGTERM):
        process = subprocess.Popen(
            [sys.executable, "-m", "backend", "reconstruct", str(tmp_path / "photo.png"), "-o", str(tmp_path / "out")],
            cwd=ROOT, env=os.environ | {"PYTHONPATH": str(tmp_path)}, stderr=subprocess.PIPE, text=True,
            preexec_fn=_heed_interrupts,
        )  # fmt: skip
        assert process.stderr is not None
        assert "Loading" in process.stderr.readline()
        time.sleep(1.0)
        started = time.monotonic()
        process.send_signal(name)
        assert process.wait(10.0) == 130
        assert time.monotonic() - started < 2.0
        assert "cancelled" in process.stderr.read()
        process.stderr.close()


def test_a_photo_that_cannot_be_looked_at(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Any) -> None:
    def refuse(_path: Path) -> bool:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(Path, "is_file", refuse)
    assert cli.main(["reconstruct", str(tmp_path / "a" / "b.jpg"), "-o", str(tmp_path / "out"), "--json"]) == 2
    error = json.loads(capsys.readouterr().out)["error"]
    assert error["kind"] == "image_unreadable" and "Permission denied" in error["message"]


def test_a_reader_that_leaves_gets_no_traceback(tmp_path: Path) -> None:
    """As ``... --json | true`` does."""
    reading, writing = os.pipe()
    os.close(reading)
    done = subprocess.run(
        [sys.executable, "-m", "backend", "reconstruct", str(tmp_path / "gone.jpg"), "-o", "out", "--json"],
        cwd=ROOT, stdout=writing, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip
    os.close(writing)
    assert done.returncode == 1
    assert "gone.jpg" in done.stderr and "Traceback" not in done.stderr and "Exception ignored" not in done.stderr


@pytest.mark.skipif(os.name == "nt", reason="streams are closed otherwise there")
@pytest.mark.parametrize("closed", [(1,), (2,), (1, 2)])
def test_closed_streams_lead_nowhere(tmp_path: Path, closed: tuple[int, ...]) -> None:
    """As ``... 2>&-`` does: no file gets the number, and with it what is printed."""
    program = (
        f"import os, sys\nfor number in {closed}: os.close(number)\n"
        "os.execv(sys.executable, [sys.executable, '-c', sys.argv[1], sys.argv[2]])"
    )
    look = (
        "import os, sys\nfrom backend import __main__ as cli\n"
        "status = cli.main(['reconstruct', sys.argv[1] + '/gone.jpg', '-o', 'out', '--json'])\n"
        "with open(sys.argv[1] + '/found', 'w') as file: print(status, file.fileno() > 2, file=file)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", program, look, str(tmp_path)], cwd=ROOT, capture_output=True, text=True, timeout=60
    )
    assert (tmp_path / "found").read_text() == "2 True\n"
    assert done.stdout == "" if 1 in closed else json.loads(done.stdout)["error"]["kind"] == "image_unreadable"
    assert done.stderr == "" if 2 in closed else "gone.jpg" in done.stderr


def test_progress_is_written_over_without_codes(monkeypatch: pytest.MonkeyPatch) -> None:
    """Old consoles show ANSI's codes as they are."""

    class Terminal(io.StringIO):
        def isatty(self) -> bool:
            return True

    terminal = Terminal()
    monkeypatch.setattr(sys, "stderr", terminal)
    monkeypatch.setenv("COLUMNS", "30")
    line = cli._ProgressLine()
    line(Progress(0.25, "body", 0, 1, 0.0, "a step whose name is long, longer than the line"))
    line(Progress(0.5, "save", 0, 1, 0.0, "short"))
    line.close()
    first, second, last, end = terminal.getvalue().split("\r")[1:]
    assert "\x1b" not in terminal.getvalue() and "\n" not in terminal.getvalue()
    assert len(first) == 29 and first.startswith(" 25%  body: a step")
    assert second.startswith(" 50%  save: short") and len(second) == len(first)
    assert last.strip() == "" and len(last) == len(second.rstrip()) and end == ""


def test_missing_photo_is_said_without_loading_anything(tmp_path: Path) -> None:
    started = time.monotonic()
    done = run("reconstruct", str(tmp_path / "gone.jpg"), "-o", str(tmp_path / "out"), "--json")
    assert time.monotonic() - started < 1.0
    assert done.returncode == 2
    assert json.loads(done.stdout)["error"]["kind"] == "image_unreadable"
    assert "gone.jpg" in done.stderr
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    "arguments",
    [
        ["reconstruct", "a.jpg"],
        ["reconstruct", "a.jpg", "-o", "b", "--seed", "-1"],
        ["reconstruct", "a.jpg", "-o", "b", "--seed", str(2**64)],
        ["reconstruct", "a.jpg", "-o", "b", "--person", "0"],
        ["reconstruct", "a.jpg", "-o", "b", "--shading", "nan"],
        ["reconstruct", "a.jpg", "-o", "b", "--preset", "gold"],
        ["reconstruct", "a.jpg", "-o", ""],
        ["render", "a", "-o", ""],
        ["render", "a", "-o", " "],
        ["export", "a", "--to", "web", "-o", ""],
        ["render", "a", "-o", "b", "--view", "upwards"],
        ["render", "a", "-o", "b", "--view", "nan"],
        ["render", "a", "-o", "b", "--view", "inf"],
        ["render", "a", "-o", "b", "--size", "9" * 5000],
        ["render", "a", "-o", "b", "--background", "red"],
        ["render", "a", "-o", "b", "--pose", "rest", "--motion", "walk"],
        ["render", "a", "-o", "b", "--motion", "walk", "--frame", "-1"],
        [],
    ],
)
def test_wrong_arguments(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as exit_info:
        cli.main(arguments)
    assert exit_info.value.code == 2
    out, err = capsys.readouterr()
    assert out == "" and "usage:" in err
    with pytest.raises(SystemExit) as exit_info:
        cli.main([*arguments, "--json"])
    assert exit_info.value.code == 2
    error = json.loads(capsys.readouterr().out)["error"]
    assert error["kind"] == "arguments" and error["message"] and len(error["message"]) < 1000


@pytest.fixture(scope="module")
def figure(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An avatar package of the made-up figure."""
    folder = tmp_path_factory.mktemp("avatars") / "figure"
    save_avatar(make_avatar(500), folder)
    return folder


@pytest.fixture
def bow(tmp_path: Path) -> Path:
    """A motion file: the spine bends, the pelvis rises by half a metre."""
    poses, places = np.zeros((3, 24, 3)), np.zeros((3, 3))
    poses[:, 3, 0], places[:, 2] = (0.0, 0.6, 1.2), (0.0, 0.25, 0.5)  # AMASS files are z up
    poses[:, 0, 0] = np.pi / 2
    path = tmp_path / "bow.npz"
    np.savez(path, poses=poses, trans=places, mocap_framerate=30.0)
    return path


def test_render_takes_a_frame_of_a_motion(figure: Path, bow: Path, tmp_path: Path) -> None:
    def picture(name: str, *more: str) -> np.ndarray:
        path = tmp_path / f"{name}.png"
        assert cli.main(["render", str(figure), "-o", str(path), "--size", "64", *more]) == 0
        return np.asarray(Image.open(path))

    first = picture("first", "--motion", str(bow))
    assert np.array_equal(picture("zero", "--motion", str(bow), "--frame", "0"), first)
    assert not np.array_equal(picture("last", "--motion", str(bow), "--frame", "2"), first)
    walk = picture("walk", "--motion", "walk", "--frame", "5")
    assert walk.shape == (64, 64, 4) and walk[..., 3].max() > 128
    avatar = load_avatar(figure)
    motion = read_motion(bow, avatar.rest_joints)
    pose, translation = choose_frame(avatar, str(bow), 2)
    np.testing.assert_allclose(pose, motion.poses[2])
    np.testing.assert_allclose(pose[3], (1.2, 0, 0), atol=1e-6)
    rise = translation[1] - choose_frame(avatar, str(bow), 0)[1][1]
    ratio = (avatar.rest_joints[0, 1] + standing_translation(avatar)[1]) / motion.leg_length
    assert rise == pytest.approx(0.5 * ratio)


@pytest.mark.parametrize(
    ("more", "kind", "text"),
    [
        (["--motion", "fly"], "motion_unreadable", "fly"),
        (["--motion", "gone.bvh"], "motion_unreadable", "There is no file"),
        (["--motion", "dance.fbx"], "motion_unreadable", "import it with Blender"),
        (["--motion", "BOW", "--frame", "3"], "frame_out_of_range", "has no frame 3"),
        (["--frame", "3"], "arguments", "no motion"),
    ],
)
def test_motions_that_cannot_be_rendered(
    figure: Path, bow: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], more: list[str], kind: str, text: str
) -> None:
    more = [str(bow) if word == "BOW" else word for word in more]
    assert cli.main(["render", str(figure), "-o", str(tmp_path / "a.png"), "--json", *more]) == 2
    out, err = capsys.readouterr()
    assert json.loads(out)["error"]["kind"] == kind
    assert text in err and "Traceback" not in err
    assert not (tmp_path / "a.png").exists()


def test_views_and_colours() -> None:
    parser = cli.build_parser()
    arguments = parser.parse_args(["render", "a", "-o", "b", "--view", "left", "--background", "#ff8000"])
    assert arguments.view == 90.0
    assert arguments.background == (1.0, 128 / 255, 0.0)
    assert parser.parse_args(["render", "a", "-o", "b", "--view", "-30.5"]).view == -30.5


def test_doctor_finds_this_installation_complete() -> None:
    done = run("doctor", "--json", OMP_NUM_THREADS="1")
    answer = json.loads(done.stdout)
    assert done.returncode == 0, done.stdout
    assert answer["ok"]
    found = {check["name"]: check["found"] for check in answer["checks"]}
    import torch

    assert found["torch"] == torch.__version__
    assert found["device"].startswith("cuda" if torch.cuda.is_available() else "cpu")


def test_doctor_says_what_is_missing(tmp_path: Path) -> None:
    done = run("doctor", HUMANSPLAT_WEIGHTS=str(tmp_path), OMP_NUM_THREADS="1")
    assert done.returncode == 1
    assert "MISSING" in done.stdout and "python -m backend setup" in done.stdout


def test_doctor_without_packages_still_reports(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Any Python can ask, as `python -S` shows: no third-party package is found."""
    done = subprocess.run(
        [sys.executable, "-S", "-m", "backend", "doctor", "--json"], cwd=ROOT, capture_output=True, text=True
    )
    assert done.returncode == 1
    checks = {check["name"]: check for check in json.loads(done.stdout)["checks"]}
    assert checks["torch"]["what_to_do"] == doctor.INSTALL_HINT
    assert checks["body/data/neutral.npz"]["ok"]


@pytest.mark.parametrize("minor", [10, 11, 12, 13])
def test_pins_are_read_as_pip_reads_them(minor: int) -> None:
    requirements = pytest.importorskip("packaging.requirements")
    text = doctor.REQUIREMENTS.read_text("utf-8")
    expected: dict[str, Any] = {}
    for line in text.splitlines():
        if line and not line.startswith("#"):
            requirement = requirements.Requirement(line)
            if requirement.marker is None or requirement.marker.evaluate({"python_version": f"3.{minor}"}):
                (specifier,) = requirement.specifier
                assert specifier.operator == "=="
                expected[requirement.name] = specifier.version
    assert doctor.required_packages(text, (3, minor)) == expected
