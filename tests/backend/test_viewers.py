"""Exported splats in viewers made by others: Spark, PlayCanvas and three.js draw what our own rasteriser draws.

A file whose axes, handedness, sizes or colours a viewer takes in another way gives another picture. Tests skip
themselves, saying so, where the programs are missing.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from backend.avatar import Gaussians, sh_from_rgb
from backend.avatar.formats.axes import AXES, turn_splats
from backend.avatar.formats.cloud import clean, pose_cloud, splat_cloud
from backend.avatar.formats.compressed_ply import write_compressed_ply
from backend.avatar.formats.gltf_splats import splats_glb
from backend.avatar.formats.skeletons import Rig, fit_rig, skinning_transforms
from backend.avatar.formats.skinned_ply import write_skinned_ply
from backend.avatar.formats.splat_file import write_splat
from backend.avatar.formats.spz import write_spz, zstd_library
from backend.avatar.formats.types import BoneClip, Provenance, SplatCloud
from backend.avatar.motion_library import make_motion
from backend.rendering import CameraTensors, GaussianTensors, render_splats
from backend.rendering.projection import project
from backend.turntable import orbit_camera
from tests.oracles import browser, node_modules, run_node
from tests.synthetic import JOINT_NAMES, make_avatar

SIDE = 384
GROUND = np.array([51, 64, 77]) / 255
AZIMUTH = 25.0
"""Degrees; seen from the front, but with none of the avatar's axes in the picture's plane."""
ZOOM = 1.15
"""Times as large as the turntable would show the avatar."""
FRAME = 40
"""Of the motion, where splats are posed."""
MARKS = {"left_hand": 0, "head": 1, "spine3": 2}
"""Joints of which the surroundings are red, green and blue; of the last one, the front alone."""


ALIKE = {"spark": 43.0, "playcanvas": 38.0, "three": 36.0}
"""dB that each viewer has to reach. Spark draws splats out to where they vanish, as we do; PlayCanvas lets them end at
2.8 standard deviations, and three.js cuts them off at 2."""
APART = 10.0
"""dB by which the mirror images of our picture have to be worse."""


@dataclass(frozen=True)
class Case:
    """A file in a viewer.

    Attributes:
        client: of ``tests/oracles/pages``.
        kind: of file, see ``write``.
        posed: splats are posed and then written, instead of written at rest.
        axes: of ``AXES``, what the file's numbers mean.
    """

    client: str
    kind: str
    posed: bool = False
    axes: str = "y-up"

    @property
    def file(self) -> str:
        """The file's name; the viewers go by its suffix."""
        stem, suffix = {"spz2": ("two", "spz"), "spz4": ("four", "spz")}.get(self.kind, ("splats", self.kind))
        return f"{stem}-{self.axes}{'-posed' * self.posed}.{suffix}"

    @property
    def name(self) -> str:
        return f"{self.client}-{self.kind}{'-posed' * self.posed}"

    def write(self, folder: Path, cloud: SplatCloud, rig: Rig, clip: BoneClip) -> None:
        """Write the file, with the writers that exports use."""
        path = folder / self.file
        if self.posed:
            cloud = replace(cloud, gaussians=pose_cloud(cloud, skinning_transforms(rig.skeleton, clip, FRAME)))
        cloud = replace(cloud, gaussians=turn_splats(cloud.gaussians, AXES[self.axes]))
        if self.kind == "ply":
            write_skinned_ply(path, cloud)
        elif self.kind == "compressed.ply":
            write_compressed_ply(path, cloud.gaussians)
        elif self.kind == "splat":
            write_splat(path, cloud.gaussians)
        elif self.kind == "glb":
            path.write_bytes(splats_glb(cloud, rig.skeleton, [clip], Provenance("Zoë", "HumanSplat", "CC0-1.0", "")))
        else:
            write_spz(path, cloud.gaussians, int(self.kind.removeprefix("spz") or 3))


CASES = (
    Case("spark", "ply"),
    Case("spark", "ply", posed=True),
    Case("spark", "spz"),
    Case("spark", "spz", posed=True),
    Case("spark", "spz2"),
    Case("spark", "compressed.ply"),
    Case("spark", "splat"),
    Case("playcanvas", "ply", axes="y-down"),
    Case("playcanvas", "ply", posed=True, axes="y-down"),
    Case("playcanvas", "compressed.ply", axes="y-down"),
    Case("playcanvas", "glb"),
    Case("three", "ply"),
    Case("three", "spz"),
    Case("three", "spz", posed=True),
    Case("three", "spz4"),
    Case("three", "splat"),
    Case("three", "glb"),
)


@dataclass(frozen=True, eq=False)
class Scene:
    """What is looked at, once at rest and once posed.

    Attributes:
        splats: by whether they are posed.
        marks: by whether they are posed: joint -> its splats' mean place, metres.
        ours: by whether they are posed and compensated, see ``drawn``.
        world_to_camera: [4, 4], OpenCV axes.
        focal: pixels.
        shots: by name of a case, float [SIDE, SIDE, 3] in 0..1: what the viewer shows.
        report: what ``render.mjs`` says.
    """

    splats: dict[bool, Gaussians]
    marks: dict[bool, dict[str, np.ndarray]]
    ours: dict[tuple[bool, bool], np.ndarray]
    world_to_camera: np.ndarray
    focal: float
    shots: dict[str, np.ndarray]
    report: dict[str, Any]

    def pixel(self, place: np.ndarray) -> tuple[int, int]:
        """Row and column where a point in space is in the picture."""
        x, y, z = self.world_to_camera[:3, :3] @ place + self.world_to_camera[:3, 3]
        return int(self.focal * y / z + SIDE / 2), int(self.focal * x / z + SIDE / 2)


def drawn(splats: Gaussians, world_to_camera: np.ndarray, focal: float, compensated: bool) -> np.ndarray:
    """What our own rasteriser draws.

    Args:
        splats: N splats.
        world_to_camera: [4, 4], OpenCV axes.
        focal: pixels.
        compensated: splats, which are widened by 0.3 square pixels lest they fall between pixels, lose as much opacity
            as they gain area (Mip-Splatting, Yu et al. 2024). three.js does that always, the others where asked to.
    """
    if compensated:
        areas = []
        for dilation in (1e-9, 0.3):
            intrinsics = torch.tensor([focal, focal, SIDE / 2, SIDE / 2], dtype=torch.float64)
            camera = CameraTensors(torch.from_numpy(world_to_camera), intrinsics, SIDE, SIDE, dilation)
            shapes = project(GaussianTensors.from_gaussians(splats, dtype=torch.float64), camera)
            assert len(shapes.index) == len(splats)  # all are in front of the camera
            areas.append((shapes.var_x * shapes.var_y).sqrt().numpy())
        splats = replace(splats, opacity=(splats.opacity * areas[0] / areas[1]).astype(np.float32))
    rgba = render_splats(splats, focal, (SIDE, SIDE), world_to_camera)
    return (rgba[:, :, :3] + (1 - rgba[:, :, 3:]) * GROUND).clip(0, 1)


def marked(cloud: SplatCloud, joints: np.ndarray) -> tuple[SplatCloud, dict[str, np.ndarray]]:
    """A cloud of dull colours with red, green and blue marks; which splats they are."""
    g = cloud.gaussians
    rgb, opacity, scale, marks = 0.35 + 0.3 * g.rgb, g.opacity.copy(), g.scale.copy(), {}
    for name, channel in MARKS.items():
        middle = joints[JOINT_NAMES.index(name)] + ([0, 0, 0.12] if name == "spine3" else [0, 0, 0])
        which = np.nonzero(np.linalg.norm(g.position - middle, axis=1) < 0.12)[0]
        if name == "spine3":
            which = which[g.position[which, 2] > middle[2] - 0.06]
        assert len(which) > 20
        rgb[which] = 0.08
        rgb[which, channel] = 0.95
        opacity[which], scale[which] = 0.97, np.maximum(scale[which], 0.012)
        marks[name] = which
    colours = sh_from_rgb(rgb).astype(np.float32)
    return replace(cloud, gaussians=replace(g, sh_dc=colours, opacity=opacity, scale=scale)), marks


@pytest.fixture(scope="module")
def scene(tmp_path_factory: pytest.TempPathFactory) -> Scene:
    """Every file, drawn in one run of a browser."""
    for package in ("puppeteer-core", "@sparkjsdev/spark", "playcanvas"):
        if not (node_modules() / package).is_dir():
            pytest.skip(f"the npm package {package} is not installed (scripts/setup --tests does it, with npm)")
    program = browser()
    avatar = make_avatar(5000)
    rig = fit_rig(avatar, "mixamo")
    clip = rig.clip(make_motion("wave", avatar.rest_joints, avatar.parents))
    joints = avatar.rest_joints + avatar.translation
    cloud, marks = marked(clean(rig.cloud(splat_cloud(avatar)))[0], joints)
    posed = pose_cloud(cloud, skinning_transforms(rig.skeleton, clip, FRAME))
    splats = {False: cloud.gaussians, True: posed}

    world_to_camera, focal = orbit_camera(cloud.gaussians.position, AZIMUTH, SIDE)
    focal *= ZOOM
    eye = -world_to_camera[:3, :3].T @ world_to_camera[:3, 3]
    field = np.degrees(2 * np.arctan(SIDE / 2 / focal))
    camera = {"position": eye.tolist(), "target": (eye + world_to_camera[2, :3]).tolist(), "fov": field}
    folder = tmp_path_factory.mktemp("viewers")
    cases = []
    for case in CASES:
        if case.kind == "spz4" and zstd_library() is None:
            continue
        if not (folder / case.file).exists():
            case.write(folder, cloud, rig, clip)
        # SuperSplat and PlayCanvas's viewers turn every file of splats, but not glTF.
        turn = [0, 0, 180] if case.axes == "y-down" else [0, 0, 0]
        cases.append({"name": case.name, "client": case.client, "file": case.file, "turn": turn, "camera": camera})
    asked = {"folder": str(folder), "size": SIDE, "background": GROUND.tolist(), "cases": cases}
    (folder / "cases.json").write_text(json.dumps(asked))
    report = run_node("render.mjs", folder / "cases.json", program, folder / "shots", seconds=300)
    shots = {
        case["name"]: np.asarray(Image.open(folder / "shots" / f"{case['name']}.png").convert("RGB")) / 255
        for case in cases
    }
    places = {moved: {name: g.position[ids].mean(0) for name, ids in marks.items()} for moved, g in splats.items()}
    ours = {(moved, mip): drawn(g, world_to_camera, focal, mip) for moved, g in splats.items() for mip in (False, True)}
    return Scene(splats, places, ours, world_to_camera, focal, shots, report)


def likeness(a: np.ndarray, b: np.ndarray) -> float:
    """Peak signal-to-noise ratio of two pictures, dB."""
    return float(-10 * np.log10(((a - b) ** 2).mean()))


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_a_viewer_shows_what_we_draw(scene: Scene, case: Case) -> None:
    if case.name not in scene.shots:
        pytest.skip("no zstd library")
    shot, ours = scene.shots[case.name], scene.ours[case.posed, case.client == "three"]
    assert shot.shape == (SIDE, SIDE, 3)
    assert scene.report["cases"][case.name]["splats"] == len(scene.splats[case.posed])
    found = likeness(shot, ours)
    print(f"{case.name}: {found:.1f} dB, {scene.report['cases'][case.name]['seconds']:.1f} s")
    assert found > ALIKE[case.client]
    assert np.abs((shot - ours).mean((0, 1))).max() < 0.005  # neither brighter nor of another colour
    for mirrored in (ours[:, ::-1], ours[::-1], ours[::-1, ::-1]):
        assert likeness(shot, mirrored) < found - APART
    # The marks tell left from right, up from down, and the front from the back.
    for name, channel in MARKS.items():
        row, column = scene.pixel(scene.marks[case.posed][name])
        colour = shot[row - 2 : row + 3, column - 2 : column + 3].mean((0, 1))
        assert colour[channel] > 0.75 and np.delete(colour, channel).max() < 0.3, name


def test_viewers_stay_within_the_page(scene: Scene) -> None:
    """Nothing is fetched from elsewhere, and nothing is complained about."""
    assert scene.report["outside"] == []
    assert scene.report["console"] == []
