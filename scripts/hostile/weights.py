"""Damaged installations: a copy of the backend and of its networks is spoilt, and the backend is run from there.

Nothing of the real installation is written to: the copies are the cases' own, and pip only says what it would install.
"""

from __future__ import annotations

import json
import os
import shutil
import struct
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path

from backend.manifest import network_damage
from backend.prepare.weights import NETWORKS, weights_folder

from .cases import MADE, REFUSED, ROOT, WARNED, Case, Ran, Said, left_behind, run_backend, said_by

_PHOTO = ROOT / "docs" / "demo" / "person.jpg"
_OFFLINE = {"PIP_INDEX_URL": "http://127.0.0.1:9/simple", "PIP_EXTRA_INDEX_URL": "", "PIP_RETRIES": "0",
            "no_proxy": "127.0.0.1", "PIP_CONFIG_FILE": os.devnull, "PIP_FIND_LINKS": ""}  # fmt: skip

_BROKEN = {"torch": "raise OSError('DLL load failed')"}
Spoil = Callable[[Path], None]


def cases(folder: Path) -> list[Case]:
    """``doctor`` must name each damage, ``setup`` and ``--repair`` say what to do, ``reconstruct`` refuse or warn."""
    _make(folder)
    doctor = partial(_case, folder, _doctor)
    setup = partial(_case, folder, _setup)
    repair = partial(_case, folder, _repair)
    surface = partial(_case, folder, partial(_reconstruct, "surface"))
    lite = partial(_case, folder, partial(_reconstruct, "lite"))
    return [
        doctor("of_nothing", {}, (MADE,)),
        doctor(
            "bodies_and_lifter",
            {
                "body/data/female.npz": _cut,
                "body/data/child.npz": _zero,
                "body/data/neutral.npz": _folder,
                "prepare/lifter.safetensors": _flip,
            },
        ),
        doctor(
            "lite",
            {
                "weights/lite/depth.safetensors": _nan,
                "weights/lite/codec.safetensors": _claim,
                "weights/lite/painter.safetensors": _nest,
                "weights/lite/light.safetensors": _another,
                "prepare/lifter.safetensors": _remove,
            },
        ),
        doctor("lite_missing", {"weights": shutil.rmtree}, says="weights/lite/synthesizer.safetensors"),
        doctor("networks", {"pose_landmark": _cut, "pose_detection": _zero, "hand_landmark": _another}),
        doctor("no_networks", {"hand_landmark": _folder, "pose_landmark": _nest, "pose_detection": _remove}),
        doctor("manifest_cut", {"manifest.json": _cut}, says="manifest.json"),
        doctor("module_cut", {"prepare/graph.py": _cut}, says="program"),
        doctor("torch_raises", {}, says="torch", broken=_BROKEN),
        doctor("torch_aborts", {}, says="torch", broken={"torch": "import os; os.abort()"}),
        doctor("opencv_raises", {}, says="opencv", broken={"cv2": "raise ImportError('libGL.so.1')"}),
        setup("of_nothing", {}, (MADE,)),
        setup("networks_offline", {"pose_landmark": _cut, "hand_landmark": _remove}, says="internet"),
        setup("into_a_file", {"networks": _file}, says="networks"),
        Case("setup_mends_or_says", partial(_mended, folder), (MADE, REFUSED), seconds=400),
        repair("of_nothing", {}, (MADE,)),
        repair("networks_offline", {"pose_landmark": _zero}, says="internet"),
        repair("body_cut", {"body/data/male.npz": _cut}, says="Install the extension"),
        repair("torch_offline", {}, says="could not install torch", broken=_BROKEN),
        *(
            surface(f"{name.rpartition('/')[2].partition('.')[0]}_{spoil.__name__[1:]}", {name: spoil}, says=word)
            for name, spoil, word in (
                ("body/data/neutral.npz", _cut, "neutral"),
                ("body/data/neutral.npz", _zero, "neutral"),
                ("body/data/neutral.npz", _remove, "neutral"),
                ("body/data/neutral.npz", _folder, "neutral"),
                ("prepare/lifter.safetensors", _cut, "lifter"),
                ("prepare/lifter.safetensors", _nan, "lifter"),
                ("prepare/lifter.safetensors", _another, "lifter"),
                ("prepare/lifter.safetensors", _remove, "lifter"),
                ("pose_detection", _nan, "pose_detection"),
                ("pose_detection", _zero, "pose_detection"),
                ("pose_detection", _claim, "pose_detection"),
                ("pose_detection", _nest, "pose_detection"),
                ("pose_landmark", _another, "pose_landmark"),
                ("pose_landmark", _remove, "pose_landmark"),
                ("pose_landmark", _folder, "pose_landmark"),
            )
        ),
        lite("depth_nan", {"weights/lite/depth.safetensors": _nan}, (WARNED, REFUSED), says="depth"),
        lite("painter_cut", {"weights/lite/painter.safetensors": _cut}, (WARNED, REFUSED), says="painter"),
        lite("reconstruction_missing", {"weights/lite/reconstruction.safetensors": _remove}, (WARNED,), says="surface"),
    ]


def _make(folder: Path) -> None:
    """A copy of the backend and of the networks, which the cases share by links."""
    if not (folder / "networks").is_dir():
        ignored = shutil.ignore_patterns("__pycache__", "training", "evaluation", "research")
        shutil.copytree(ROOT / "backend", folder / "backend", ignore=ignored, dirs_exist_ok=True)
        made = folder / "networks.part"
        made.mkdir(exist_ok=True)
        for name in NETWORKS:
            shutil.copyfile(weights_folder() / f"{name}.safetensors", made / f"{name}.safetensors")
        made.rename(folder / "networks")


def _case(
    folder: Path,
    run: Callable[[Path, Mapping[str, str]], Said],
    name: str,
    damage: Mapping[str, Spoil],
    wanted: tuple[str, ...] = (REFUSED,),
    says: str = "",
    broken: Mapping[str, str] | None = None,
) -> Case:
    """A case that spoils an installation of its own.

    Args:
        folder: with what :func:`_make` made.
        run: the command.
        name: of the damage.
        damage: path in ``backend/``, name of a network, or ``networks`` -> what happens to it.
        wanted, says: of the case.
        broken: module -> program that stands in its place.
    """

    def try_it(own: Path) -> Said:
        environment = _installation(folder, own)
        for place, spoil in damage.items():
            spoil(_place(own, place))
        for module, program in (broken or {}).items():
            (own / "broken").mkdir(exist_ok=True)
            (own / "broken" / f"{module}.py").write_text(program, "utf-8")
        before = _sizes(own)
        said = run(own, environment)
        if run is _doctor and any(name not in said.text for name in map(_called, damage)):
            raise AssertionError(f"not all damages are named: {said.text}")
        lost = said.lost or ("files were changed" if _sizes(own) != before else "")
        return Said(said.outcome, said.text, lost, said.peak)

    command = {_doctor: "doctor", _setup: "setup", _repair: "repair"}.get(run, "reconstruct")
    if isinstance(run, partial):
        command += f"_{run.args[0]}"
    return Case(f"{command}_{name}", try_it, wanted, says, seconds=300)


def _installation(folder: Path, own: Path) -> dict[str, str]:
    """Links to the copies; the environment in which the backend runs from there."""
    for name in ("backend", "networks"):
        shutil.copytree(folder / name, own / name, copy_function=_link)
    paths = os.pathsep.join(map(str, (own / "broken", own, Path(__file__).parent / "guard")))
    return {"PYTHONPATH": paths, "HUMANSPLAT_WEIGHTS": str(own / "networks"), "PIP_DRY_RUN": "1"}


def _link(source: str, target: str) -> None:
    try:
        os.link(source, target)
    except OSError:
        shutil.copyfile(source, target)


def _place(own: Path, name: str) -> Path:
    if name in NETWORKS:
        return own / "networks" / f"{name}.safetensors"
    return own / name if name == "networks" else own / "backend" / name


def _called(place: str) -> str:
    """What ``doctor`` calls it."""
    return f"network {place}:" if place in NETWORKS else "tiny run: program" if place.endswith(".py") else place


def _sizes(own: Path) -> dict[str, int]:
    return {str(path): path.lstat().st_size for path in own.rglob("*") if path.is_file() and path.suffix != ".pyc"}


def _write(path: Path, data: bytes) -> None:
    path.unlink()  # not what it is linked to
    path.write_bytes(data)


def _cut(path: Path) -> None:
    data = path.read_bytes()
    _write(path, data[: len(data) // 2])


def _zero(path: Path) -> None:
    """All but the header of a network, as a disk that lost power leaves it."""
    data = path.read_bytes()
    start = 8 + int.from_bytes(data[:8], "little") if path.suffix == ".safetensors" else len(data) // 2
    _write(path, data[:start] + bytes(len(data) - start))


def _nan(path: Path) -> None:
    _write(path, path.read_bytes()[:-4] + struct.pack("<f", float("nan")))


def _flip(path: Path) -> None:
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    _write(path, bytes(data))


def _claim(path: Path) -> None:
    _write(path, struct.pack("<Q", 4 << 30) + path.read_bytes()[8:])


def _nest(path: Path) -> None:
    _write(path, struct.pack("<Q", 100_000) + b"[" * 100_000)


def _another(path: Path) -> None:
    others = sorted(other for other in path.parent.glob("*.safetensors") if other != path)
    others += [path.parent.parent / "weights" / "lite" / "light.safetensors"]
    _write(path, others[0].read_bytes())


def _remove(path: Path) -> None:
    path.unlink()


def _folder(path: Path) -> None:
    path.unlink()
    path.mkdir()


def _file(path: Path) -> None:
    shutil.rmtree(path)
    path.write_bytes(b"")


def _doctor(own: Path, environment: Mapping[str, str]) -> Said:
    return _diagnosis(run_backend(["doctor", "--json"], cwd=own, environment=environment))


def _diagnosis(ran: Ran, extra: Sequence[str] = ()) -> Said:
    """``doctor``'s end as an answer: what it names is refused."""
    if ran.status not in (0, 1):
        raise RuntimeError(f"exit status {ran.status}: {ran.text}")
    found = json.loads(ran.out)
    wrong = [check for check in found["checks"] if check["required"] and not check["ok"]]
    if bool(wrong) != (ran.status == 1) or found["ok"] == bool(wrong):
        raise RuntimeError(f"exit status {ran.status} with {len(wrong)} damages")
    said = [f"{check['name']}: {check['found'] or 'missing'}." for check in wrong]
    hints = [*dict.fromkeys(check["what_to_do"] for check in wrong), *extra]
    return Said(REFUSED if wrong else MADE, " ".join([*said, *hints]), "" if all(hints) else "what to do")


def _repair(own: Path, environment: Mapping[str, str]) -> Said:
    ran = run_backend(["doctor", "--repair", "--json"], cwd=own, environment={**environment, **_OFFLINE}, seconds=280)
    if ran.status in (0, 1):
        found = json.loads(ran.out)
        left = " ".join(found["left"])
        lost = f"said to be repaired: {found['repaired']}" if found["repaired"] else ""
        return Said(REFUSED if left else MADE, left, lost)
    return said_by(ran)


def _setup(own: Path, environment: Mapping[str, str]) -> Said:
    return said_by(run_backend(["setup"], cwd=own, environment={**environment, **_OFFLINE}))


def _mended(folder: Path, own: Path) -> Said:
    """With whatever connection there is: the networks are whole after it, or it is said what to do."""
    environment = _installation(folder, own)
    for name, spoil in (("pose_landmark", _cut), ("hand_landmark", _folder), ("pose_detection", _remove)):
        spoil(_place(own, name))
    said = said_by(run_backend(["setup"], cwd=own, environment=environment, seconds=380))
    if said.outcome != MADE:
        return said
    wrong = {name: network_damage(name, _place(own, name)) for name in NETWORKS}
    lost = [f"{name}: {damage}" for name, damage in wrong.items() if damage]
    extra = left_behind(own / "networks", [f"{name}.safetensors" for name in NETWORKS])
    return Said(MADE, said.text, "; ".join(filter(None, [*lost, extra])))


def _reconstruct(preset: str, own: Path, environment: Mapping[str, str]) -> Said:
    output = own.parent / f"{own.name}-out"  # beside what must not change
    ran = run_backend(
        ["reconstruct", _PHOTO, "--preset", preset, "-o", output / "avatar"],
        cwd=own, environment=environment, seconds=280,
    )  # fmt: skip
    left = left_behind(output) if ran.status == 2 and output.is_dir() else ""
    if ran.status == 0 and not (output / "avatar" / "avatar.json").is_file():
        left = "the avatar"
    return said_by(ran, lost=left)
