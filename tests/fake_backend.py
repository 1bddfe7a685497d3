#!/usr/bin/env python3
"""A backend without PyTorch: the real server around a pipeline that makes a small made-up avatar.

Started like the real one (arguments other than ``doctor`` are ignored), it needs numpy alone. The photo's file name
asks for trouble: ``no_person``, ``unexpected``, ``hang`` (ignores cancel), ``crash`` (dies by a signal), ``chatty``
(prints and writes to descriptor 1), ``slow`` (ten seconds, cancels at once); any other photo succeeds after ``STEPS``
progress messages. ``HUMANSPLAT_FAKE_SPLATS`` sets the number of splats. Large models are the tiny one of
``model_hub.py``, downloaded from nowhere; ``HUMANSPLAT_FAKE_HUB=slow`` takes seconds for it, ``broken`` fails.
"""

from __future__ import annotations

import json
import os
import signal
import struct
import sys
import time
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from types import ModuleType
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from backend.errors import BackendError
from backend.options import ReconstructOptions
from backend.progress import CancelCheck, ProgressCallback, Reporter
from backend.server import Backend, CutParams, CutResult, RepaintParams, ViewsParams, serve_stdio

STAGES = {"prepare": 1.0, "body": 1.0, "reconstruct": 2.0, "bind": 0.5, "save": 0.5}
STEPS_PER_STAGE = 4
STEPS = len(STAGES) * STEPS_PER_STAGE
JOINT_NAMES = tuple(
    "pelvis left_hip right_hip spine1 left_knee right_knee spine2 left_ankle right_ankle spine3 left_foot right_foot "
    "neck left_collar right_collar head left_shoulder right_shoulder left_elbow right_elbow left_wrist right_wrist "
    "left_hand right_hand".split()
)
PARENTS = (-1, 0, 0, 0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 9, 9, 12, 13, 14, 16, 17, 18, 19, 20, 21)
#: Rest joints of the stick figure, metres: right half mirrored from the left one.
LEFT_JOINTS = {
    "pelvis": (0.0, 0.95, 0.0),
    "left_hip": (0.09, 0.88, 0.0),
    "spine1": (0.0, 1.06, 0.0),
    "left_knee": (0.10, 0.48, 0.01),
    "spine2": (0.0, 1.19, 0.0),
    "left_ankle": (0.10, 0.08, -0.02),
    "spine3": (0.0, 1.26, 0.0),
    "left_foot": (0.11, 0.03, 0.12),
    "neck": (0.0, 1.46, 0.0),
    "left_collar": (0.06, 1.40, 0.0),
    "head": (0.0, 1.56, 0.02),
    "left_shoulder": (0.16, 1.41, 0.0),
    "left_elbow": (0.42, 1.41, 0.0),
    "left_wrist": (0.67, 1.41, 0.0),
    "left_hand": (0.75, 1.41, 0.0),
}


@dataclass(frozen=True)
class FakeResult:
    """Same fields as ``backend.pipeline.ReconstructResult``."""

    package: Path
    seconds: dict[str, float]
    warnings: tuple[str, ...]


def png(width: int, height: int, rgba: bytes) -> bytes:
    """A PNG file of 8-bit RGBA pixels, rows from the top."""

    def chunk(name: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))

    rows = b"".join(b"\0" + rgba[4 * width * y : 4 * width * (y + 1)] for y in range(height))
    header = struct.pack(">IIBBBBB", width, height, 8, 6, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b"")


def make_avatar(splats: int = 3000, seed: int = 0) -> Any:
    """A figure of 23 square tubes, one a bone, with splats on its faces; a ``backend.avatar.Avatar``."""
    import numpy as np

    from backend.avatar.frames import reference_triangles
    from backend.avatar.gaussians import SH_C0, Gaussians
    from backend.avatar.package import Avatar, Body, Camera, Skin
    from backend.avatar.quaternion import from_matrix
    from backend.avatar.skinning import bind_to_surface, triangle_frames

    random = np.random.default_rng(seed)
    joints = np.array(
        [
            LEFT_JOINTS[name]
            if name in LEFT_JOINTS
            else np.array(LEFT_JOINTS[name.replace("right", "left")]) * (-1.0, 1.0, 1.0)
            for name in JOINT_NAMES
        ],
        np.float32,
    )
    corners = np.array([[-1, -1], [1, -1], [1, 1], [-1, 1]], np.float32)
    side_faces = [[i, (i + 1) % 4, 4 + (i + 1) % 4] for i in range(4)] + [[i, 4 + (i + 1) % 4, 4 + i] for i in range(4)]
    vertices, faces, bones = [], [], []
    for child in range(1, 24):
        start, end = joints[PARENTS[child]], joints[child]
        axis = (end - start) / np.linalg.norm(end - start)
        x = np.cross(axis, (0.0, 0.0, 1.0) if abs(axis[2]) < 0.9 else (1.0, 0.0, 0.0))
        x /= np.linalg.norm(x)
        y = np.cross(axis, x)
        radius = 0.09 if JOINT_NAMES[child] in ("spine1", "spine2", "spine3", "neck", "head") else 0.045
        ring = radius * (corners[:, :1] * x + corners[:, 1:] * y)
        faces += [[8 * (child - 1) + i for i in face] for face in side_faces]
        vertices += [start + ring, end + ring]
        bones += [PARENTS[child]] * 8
    rest = np.concatenate(vertices).astype(np.float32)
    triangles = np.array(faces, np.int32)
    weights = np.eye(24, dtype=np.float32)[bones]

    chosen = triangles[random.integers(0, len(triangles), splats)]
    barycentric = random.dirichlet((1.0, 1.0, 1.0), splats).astype(np.float32)
    position = np.einsum("nk,nkd->nd", barycentric, rest[chosen]).astype(np.float32)
    frames, _area = triangle_frames(rest, chosen)
    rotation = from_matrix(frames).astype(np.float32)
    rgb = np.clip(position * (0.5, 0.5, 2.0) + (0.5, 0.1, 0.5), 0.05, 0.95)
    gaussians = Gaussians(
        position=position,
        rotation=rotation,
        scale=np.tile(np.float32([0.012, 0.012, 0.003]), (splats, 1)),
        opacity=np.full(splats, 0.9, np.float32),
        sh_dc=((rgb - 0.5) / SH_C0).astype(np.float32),
    )
    references = reference_triangles(rest, weights)
    chosen, barycentric, offset, local = bind_to_surface(gaussians, rest, chosen, references)
    joint = np.array(bones)[chosen[:, 0]]
    joint_ids = np.zeros((splats, 4), np.uint8)
    joint_ids[:, 0] = joint
    joint_weights = np.zeros((splats, 4), np.float32)
    joint_weights[:, 0] = 1.0
    pose = np.zeros((24, 3), np.float32)
    pose[JOINT_NAMES.index("left_shoulder")] = (0.0, 0.0, -0.9)
    pose[JOINT_NAMES.index("right_shoulder")] = (0.0, 0.0, 0.9)
    world_to_camera = np.diag([1.0, -1.0, -1.0, 1.0])
    world_to_camera[:3, 3] = (0.0, 0.85, 4.0)
    return Avatar(
        gaussians=gaussians,
        skin=Skin(chosen, barycentric, offset, local, joint_ids, joint_weights),
        body=Body(rest, triangles, weights, rest, triangles, weights, references),
        joint_names=JOINT_NAMES,
        parents=PARENTS,
        rest_joints=joints,
        betas=np.zeros(10, np.float32),
        pose=pose,
        translation=np.zeros(3, np.float32),
        joint_confidence=np.ones(24, np.float32),
        camera=Camera(64, 64, 128.0, 128.0, 32.0, 32.0, world_to_camera),
        body_model={"name": "stick figure", "licence": "CC0-1.0"},
        generator={"name": "humansplat", "version": "0.1.0", "preset": "surface", "weights": []},
        source={"name": "fake.png", "sha256": "0" * 64},
        seconds={name: 0.1 for name in STAGES},
        warnings=("This avatar is made up.",),
    )


def textured_mesh(
    avatar: Any, triangles: int, texture: int, progress: Any = None, cancelled: Any = None, look: Any = None
) -> Any:
    """Stands in for ``backend.export.mesh.textured_mesh``: the clothed mesh with one white pixel as its texture."""
    import numpy as np

    from backend.avatar.clothed_mesh import clothed_mesh
    from backend.avatar.formats.cloud import sorted_weights
    from backend.avatar.formats.types import TexturedMesh
    from backend.avatar.skinning import standing_translation

    mesh = clothed_mesh(avatar, 0.03)
    joints, weights = sorted_weights(np.broadcast_to(np.arange(24), mesh.weights.shape), mesh.weights)
    vertices = mesh.vertices + standing_translation(avatar).astype(np.float32)
    corners = vertices[mesh.faces]
    normals = np.zeros_like(vertices)
    turned = np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0])
    for corner in range(3):
        np.add.at(normals, mesh.faces[:, corner], turned)
    normals /= np.maximum(np.linalg.norm(normals, axis=1, keepdims=True), 1e-12)
    uv = np.full((len(vertices), 2), 0.5, np.float32)
    white = png(1, 1, b"\xff" * 4)
    return TexturedMesh(vertices, normals, mesh.faces, uv, joints, weights, white, 1)


class FakePipeline:
    """Stands in for ``backend.pipeline.Pipeline``; see the module's docstring."""

    def reconstruct(
        self,
        image: Path,
        output: Path,
        options: ReconstructOptions,
        progress: ProgressCallback | None = None,
        cancelled: CancelCheck | None = None,
    ) -> FakeResult:
        """Count through the stages, then write the made-up avatar to ``output``."""
        reporter = Reporter(STAGES, progress, cancelled)
        delay = 0.5 if image.stem == "slow" else 0.01
        for stage in STAGES:
            for step in range(STEPS_PER_STAGE):
                reporter.step(stage, step / STEPS_PER_STAGE, f"{stage} {step + 1} of {STEPS_PER_STAGE}")
                time.sleep(delay)
            if stage == "body":
                self._make_trouble(image.stem)
        from backend.avatar.package import save_avatar

        avatar = make_avatar(
            int(os.environ.get("HUMANSPLAT_FAKE_SPLATS", "3000")), options.seed + round(options.shading * 8)
        )
        picture = png(2, 2, bytes([200, 120, 90, 255] * 4))
        save_avatar(avatar, output, picture, picture)
        return FakeResult(output, dict(avatar.seconds), avatar.warnings)

    @staticmethod
    def _make_trouble(stem: str) -> None:
        if stem == "no_person":
            raise BackendError("no_person", "There is no person in the photo.", "Choose a photo that shows a person.")
        if stem == "unexpected":
            raise ValueError("nobody foresaw this")
        if stem == "hang":
            time.sleep(3600.0)
        if stem == "crash":
            os.kill(os.getpid(), signal.SIGKILL)
        if stem == "chatty":
            print("a library prints")
            os.write(1, b"native code writes\n")


@dataclass(frozen=True)
class FakeRepaint:
    """Same fields as ``backend.retouch.repaint.RepaintResult``."""

    package: Path
    views: dict[str, float]
    splats: int
    notes: tuple[str, ...]
    seconds: float


def save_views(asked: ViewsParams, report: Any, _cancelled: CancelCheck) -> tuple[str, ...]:
    """Stands in for ``backend.retouch.views.save_views``: pictures of one pixel."""
    from backend.avatar.package import load_avatar

    load_avatar(asked.package)
    report(0.5, "Drawing back")
    asked.output.mkdir(parents=True, exist_ok=True)
    for name in ("front.png", "back.png"):
        (asked.output / name).write_bytes(png(1, 1, bytes([90, 90, 90, 255])))
    return ("front.png", "back.png")


def repaint(asked: RepaintParams, report: Any, _cancelled: CancelCheck) -> FakeRepaint:
    """Stands in for ``backend.retouch.repaint.repaint``: all splats become red; ``same`` in a name asks for trouble."""
    from dataclasses import replace

    import numpy as np

    from backend.avatar.gaussians import sh_from_rgb
    from backend.avatar.package import load_avatar, save_avatar

    if any("same" in path.stem for path, _ in asked.pictures):
        raise BackendError("nothing_changed", "It shows nothing that the avatar does not show already.", "Retouch it.")
    report(0.5, "Painting the splats")
    avatar = load_avatar(asked.package)
    red = np.tile(np.float32([0.9, 0.1, 0.1]), (len(avatar.gaussians), 1))
    avatar = replace(avatar, gaussians=replace(avatar.gaussians, sh_dc=sh_from_rgb(red).astype(np.float32)))
    picture = png(2, 2, bytes([200, 120, 90, 255] * 4))
    save_avatar(avatar, asked.output, picture, picture)
    views = {path.stem: 0.1 for path, _ in asked.pictures}
    return FakeRepaint(asked.output, views, len(red), ("A note on the picture.",), 0.1)


def cut(asked: CutParams, report: Any, _cancelled: CancelCheck) -> CutResult:
    """Four figures, one of them from anywhere; ``no_front`` in the name leaves out the front."""
    report(0.5, "Finding the figures")
    asked.output.mkdir(parents=True, exist_ok=True)
    figures = []
    for side in ("front", "back", "left", "other"):
        if side == "front" and "no_front" in asked.sheet.stem:
            continue
        path = asked.output / f"{asked.sheet.stem}_{side}.png"
        path.write_bytes(png(2, 2, bytes([90, 90, 90, 255] * 4)))
        figures.append((path, side, 0.9))
    return CutResult(tuple(figures), ("Figures were cut.",))


def describe() -> dict[str, Any]:
    """What ``initialize`` answers."""
    return {"torch": "none", "device": "cpu", "device_name": "made-up device", "missing": []}


def run_models(asked: Any, report: Any, cancelled: CancelCheck) -> dict[str, Any]:
    """What the real server does, with the tiny model and the hub that stands in."""
    from backend.models.catalogue import MODELS
    from backend.models.requests import run_request
    from backend.models.store import Store

    stand_in_hub()
    asked = replace(asked, model=asked.model and MODELS[asked.model.name])
    return run_request(asked, Store(), report, cancelled)


def stand_in_hub() -> None:
    """Have downloads of large models get the tiny one, without a network."""
    import hashlib

    from backend.models import download, hub
    from backend.models.catalogue import MODELS
    from tests.model_hub import REVISION, contents, tiny_model

    files = contents()

    def look_up(part: Any, name: str) -> Any:
        content = files[f"{part.repository}/{name}"]
        return hub.RemoteState("", len(content), hashlib.sha256(content).hexdigest(), REVISION)

    @contextmanager
    def reading(part: Any, name: str, state: Any, start: int) -> Iterator[tuple[int, Iterator[bytes]]]:
        how = os.environ.get("HUMANSPLAT_FAKE_HUB")
        if how == "broken":
            raise hub.ConnectionLost("the cable is cut")
        content = files[f"{part.repository}/{name}"]

        def chunks() -> Iterator[bytes]:
            for place in range(start, len(content), 30_000):
                time.sleep(0.2 if how == "slow" else 0.0)
                yield content[place : place + 30_000]

        yield start, chunks()

    hub.look_up, hub.reading, download.PAUSE = look_up, reading, 0.01
    MODELS.update({name: tiny_model(name) for name in MODELS})


def doctor() -> None:
    """What ``doctor --repair --json`` prints; ``HUMANSPLAT_FAKE_DOCTOR`` takes its place."""
    print("Looking at the installation ...", file=sys.stderr)
    answer = {"ok": True, "checks": [], "repaired": ["network pose_landmark"], "left": []}
    print(os.environ.get("HUMANSPLAT_FAKE_DOCTOR", json.dumps(answer)))


if __name__ == "__main__":
    if "doctor" in sys.orig_argv:
        doctor()
        sys.exit()
    # The real one needs PyTorch and more; everything else of an export needs numpy alone.
    stand_in = ModuleType("backend.export.mesh")
    stand_in.textured_mesh = textured_mesh
    sys.modules[stand_in.__name__] = stand_in
    calls = {"models": run_models, "views": save_views, "repaint": repaint, "cut": cut}
    serve_stdio(Backend(describe, lambda _device: FakePipeline(), **calls))
