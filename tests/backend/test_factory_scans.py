"""Scans: small characters written with trimesh and Pillow, read back as figures."""

from __future__ import annotations

import math
import pickle
import sys
from pathlib import Path

import numpy as np
import pytest

torch = pytest.importorskip("torch")
trimesh = pytest.importorskip("trimesh")

from PIL import Image  # noqa: E402

from backend.body.model import load_body  # noqa: E402
from backend.errors import BackendError  # noqa: E402
from backend.research.training import scans  # noqa: E402
from backend.research.training.cameras import orbit  # noqa: E402
from backend.research.training.figure import PART_INDEX  # noqa: E402
from backend.research.training.lighting import Light  # noqa: E402
from backend.research.training.samples import make_sample  # noqa: E402
from backend.research.training.scans import ScanFolder, sample_texture  # noqa: E402
from backend.research.training.views import render_views  # noqa: E402

FLAT = Light(
    torch.ones(3), torch.ones(3), torch.tensor([0.0, 1.0, 0.0]), torch.zeros(3), 0.1,
    torch.tensor([0.0, 1.0, 0.0]), torch.zeros(3), 1.0,
)  # fmt: skip


def character() -> trimesh.Trimesh:
    """A body in our axes, faces +z, 1.6 to 1.8 m; u grows to the person's left, v upwards."""
    body = load_body("neutral")
    vertices = body.template.numpy()
    mesh = trimesh.Trimesh(vertices, body.faces.numpy(), process=False)
    low, high = vertices.min(0), vertices.max(0)
    uv = ((vertices - low) / (high - low))[:, :2]
    return mesh, uv


def picture() -> Image.Image:
    """Left half red and right half blue, seen as u grows; the upper half of both is brighter."""
    pixels = np.zeros((64, 64, 3), np.uint8)
    pixels[:32, :32], pixels[:32, 32:] = (220, 40, 40), (40, 40, 220)
    pixels[32:, :32], pixels[32:, 32:] = (120, 20, 20), (20, 20, 120)
    return Image.fromarray(pixels)


def write(folder: Path, name: str, turn: np.ndarray) -> None:
    mesh, uv = character()
    material = (
        trimesh.visual.material.SimpleMaterial(image=picture())
        if name.endswith("obj")
        else trimesh.visual.material.PBRMaterial(baseColorTexture=picture())
    )
    mesh.visual = trimesh.visual.TextureVisuals(uv=uv, material=material)
    mesh.vertices = mesh.vertices @ turn.T + [3.0, -1.0, 0.5]
    (folder / name).parent.mkdir(parents=True, exist_ok=True)
    mesh.export(folder / name)


Z_UP = np.array([[1.0, 0.0, 0.0], [0.0, 0.0, -1.0], [0.0, 1.0, 0.0]])


@pytest.mark.parametrize(
    ("name", "turn"),
    [
        ("a.glb", np.eye(3)),
        ("person/a.obj", np.eye(3)),
        ("cm.glb", 100 * scans._turn(140)),
        ("person/tiny.obj", 7e-3 * scans._turn(-90)),
    ],
)
def test_characters_come_back_upright_in_metres_and_in_colour(tmp_path: Path, name: str, turn: np.ndarray) -> None:
    write(tmp_path, name, turn)
    source = ScanFolder(tmp_path)
    assert len(source) == 1
    figure = source(0)
    low, high = figure.vertices.amin(0), figure.vertices.amax(0)
    true = np.ptp(character()[0].vertices, 0)
    height = 1.7 if "tiny" in name else float(true[1])
    assert float(low[1]) == pytest.approx(0, abs=1e-5)
    assert float(high[1]) == pytest.approx(height, rel=1e-3)
    # Turned to face +z to within a few degrees: as wide as it was.
    assert float((high - low)[0]) == pytest.approx(true[0] * height / true[1], rel=0.02)
    assert scans.toes_direction(figure.vertices.numpy().astype(float)) == pytest.approx(0, abs=5)
    camera = orbit([0.0], 0.0, (0.0, height / 2, 0.0), 3.0, 200)
    view = render_views([figure], [FLAT], [camera], 200, supersample=1)
    body = figure.vertices
    spots = {}
    for part, (x, y) in {"left": (0.09, 0.72), "right": (-0.09, 0.72), "thigh": (0.09, 0.42)}.items():
        column, row = camera.project(torch.tensor([[x * height, y * height, float(body[:, 2].mean())]]))[0, 0, :2]
        spots[part] = view.rgb[0, int(row), int(column)]
    # The person's left (u > 0.5) is blue, on the right of a picture from the front.
    assert spots["left"][2] > 3 * spots["left"][0] and spots["right"][0] > 3 * spots["right"][2]
    assert spots["left"][2] > 1.4 * spots["thigh"][2]


def test_z_up_scans_are_raised(tmp_path: Path) -> None:
    write(tmp_path, "a.obj", Z_UP @ np.diag([0.6, 1.0, 1.0]))
    figure = ScanFolder(tmp_path)(0)
    true = np.ptp(character()[0].vertices, 0)
    assert float(figure.vertices[:, 1].max()) == pytest.approx(true[1], rel=1e-3)
    head = figure.vertices[figure.faces[figure.part == PART_INDEX["head"]].reshape(-1)]
    assert head[:, 1].min() > 0.8 * true[1]


def test_a_texture_is_read_bilinearly() -> None:
    rng = np.random.default_rng(0)
    pixels = torch.as_tensor(rng.integers(0, 256, (5, 7, 3)), dtype=torch.uint8)
    linear = scans._to_linear(pixels / 255)
    # At a pixel's middle, the pixel; half way between two, their mean; v counts from below; it repeats.
    at = lambda column, row: torch.tensor([[(column + 0.5) / 7, 1 - (row + 0.5) / 5]])  # noqa: E731
    torch.testing.assert_close(sample_texture(pixels, at(3, 1))[0], linear[1, 3], rtol=1e-5, atol=1e-5)
    torch.testing.assert_close(sample_texture(pixels, at(3.5, 1))[0], linear[1, 3:5].mean(0), rtol=1e-5, atol=1e-5)
    torch.testing.assert_close(sample_texture(pixels, at(6, 4.25))[0], linear[4, 6] * 0.75 + linear[0, 6] * 0.25)
    torch.testing.assert_close(sample_texture(pixels, at(3, 1) + 2.0), sample_texture(pixels, at(3, 1)))
    torch.testing.assert_close(scans._to_linear(torch.tensor([0.5, 0.02])), torch.tensor([0.2140411, 0.0015480]))


def test_vertex_colours_and_parts_by_height(tmp_path: Path) -> None:
    mesh, _ = character()
    colours = np.zeros((len(mesh.vertices), 4), np.uint8)
    colours[:] = (188, 0, 0, 255)
    mesh.visual = trimesh.visual.ColorVisuals(mesh, vertex_colors=colours)
    (tmp_path / "00003").mkdir()
    mesh.export(tmp_path / "00003" / "00003.ply")
    figure = ScanFolder(tmp_path)(0)
    surface = figure.material(torch.zeros(1, dtype=torch.int64), figure.corners[:1, 0])
    torch.testing.assert_close(surface.albedo[0], torch.tensor([0.5028865, 0.0, 0.0]), rtol=1e-4, atol=1e-6)
    body = load_body("neutral")
    truth = torch.tensor(scans._PART_OF_JOINT)[body.weights.argmax(1)][body.faces[:, 0]]
    area = trimesh.Trimesh(body.template.numpy(), body.faces.numpy(), process=False).area_faces
    right = (figure.part == truth).numpy()
    assert (right * area).sum() / area.sum() > 0.75


def test_thuman_layout_with_parameters(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A posed body, scaled and shifted as that data set does; its own body file stands for the licensed one."""
    body = load_body("neutral")
    rng = np.random.default_rng(3)
    pose, betas = torch.as_tensor(rng.normal(size=(24, 3)) * 0.1), torch.as_tensor(rng.normal(size=10) * 0.5)
    pose[0], pose[22:] = torch.tensor([0.0, 0.8, 0.0]), 0
    posed, joints = body.pose(pose, betas)
    scan = trimesh.Trimesh(0.6 * posed.numpy() + [0.1, 0.2, -0.3], body.faces.numpy(), process=False)
    folder = tmp_path / "0007"
    folder.mkdir()
    scan.export(folder / "0007.obj")
    content = {
        "global_orient": pose[:1].numpy().astype("f4"),
        "body_pose": pose[1:22].reshape(1, -1).numpy().astype("f4"),
        "betas": betas[None].numpy().astype("f4"),
        "transl": np.array([[0.1, 0.2, -0.3]], "f4"),
        "scale": np.array([0.6], "f4"),
    }
    (tmp_path / "smplx" / "0007").mkdir(parents=True)
    (tmp_path / "smplx" / "0007" / "smplx_param.pkl").write_bytes(pickle.dumps(content))
    alone = ScanFolder(tmp_path)(0)
    assert alone.body is None
    assert float(np.ptp(alone.vertices[:, 1].numpy())) == pytest.approx(np.ptp(posed[:, 1].numpy()), rel=1e-4)

    source = ScanFolder(tmp_path, body_file=Path("neutral"))
    figure = source(0)
    assert len(source) == 1 and figure.body is not None
    wanted = body.pose(figure.body.pose, figure.body.betas)[0] + figure.body.translation
    np.testing.assert_allclose(figure.vertices.numpy(), wanted.numpy(), atol=1e-4)
    np.testing.assert_allclose(figure.body.joints[0, [0, 2]], 0, atol=1e-6)
    sample = make_sample(0, 2, 64, source=source, augment=False)
    assert set(sample.views.label.unique().tolist()) >= {0, 1, 3, 4, 6}
    assert float(joints[0, 1]) < 1.0


def test_nothing_in_a_pickle_runs(tmp_path: Path) -> None:
    class Evil:
        def __reduce__(self) -> tuple:
            return (Path.touch, (tmp_path / "ran",))

    write(tmp_path, "0001/0001.obj", np.eye(3))
    (tmp_path / "0001" / "smplx_param.pkl").write_bytes(pickle.dumps({"pose": Evil()}))
    with pytest.raises(BackendError, match="which no array needs"):
        ScanFolder(tmp_path)(0)
    assert not (tmp_path / "ran").exists()


def test_errors_say_what_to_do(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(BackendError, match="no GLB, OBJ or PLY"):
        ScanFolder(tmp_path)
    (tmp_path / "a.glb").write_bytes(b"not a mesh")
    with pytest.raises(BackendError) as caught:
        ScanFolder(tmp_path)(0)
    assert caught.value.kind == "scan_unreadable"
    monkeypatch.setitem(sys.modules, "trimesh", None)
    with pytest.raises(BackendError, match="needs the package trimesh"):
        ScanFolder(tmp_path)(0)


def test_a_scan_makes_a_sample(tmp_path: Path) -> None:
    write(tmp_path, "a.glb", scans._turn(60))
    sample = make_sample(5, [0, 180], 64, source=ScanFolder(tmp_path))
    assert sample.body is None and sample.views.alpha[0].mean() > 0.05
    assert math.isfinite(float(sample.photo_rgb.sum()))
