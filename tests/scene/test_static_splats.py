"""Splats of other programs as a static object: where they lie, how they are drawn, files that cannot be used."""

from __future__ import annotations

from pathlib import Path

import bpy
import numpy as np
import pytest
from humansplat.humansplat_blender import scene

from backend.avatar import write_ply
from backend.avatar.formats.axes import AXES, turn_splats
from backend.avatar.formats.compressed_ply import write_compressed_ply
from backend.avatar.formats.splat_file import write_splat
from backend.avatar.formats.spz import write_spz
from tests.synthetic import make_avatar


@pytest.mark.parametrize("name", AXES)
def test_every_convention_stands_the_person_upright(tmp_path: Path, name: str) -> None:
    gaussians = make_avatar(500).gaussians
    write_ply(tmp_path / "a.ply", turn_splats(gaussians, AXES[name]))
    made = scene.import_splats(bpy.context, tmp_path / "a.ply", name, (1, 2, 3))
    places = np.array([vertex.co for vertex in made.data.vertices]) if hasattr(made.data, "vertices") else None
    if places is not None:
        x, y, z = gaussians.position.T
        assert np.allclose(places, np.stack([x, -z, y], 1), atol=1e-5)
    assert tuple(made.location) == (1, 2, 3)
    back = scene.read_splats(bpy.context, made, edited=False)
    assert np.allclose(back.position, gaussians.position, atol=1e-5)
    assert np.allclose(back.scale, gaussians.scale, rtol=1e-4)


def test_every_format_by_what_is_in_it(tmp_path: Path) -> None:
    gaussians = make_avatar(500).gaussians
    down = turn_splats(gaussians, AXES["y-down"])
    write_ply(tmp_path / "a.ply", down)
    write_compressed_ply(tmp_path / "b.compressed.ply", down)
    write_splat(tmp_path / "c.splat", down)
    write_spz(tmp_path / "d.spz", gaussians)
    for file in ("a.ply", "b.compressed.ply", "c.splat", "d.spz"):
        made = scene.import_splats(bpy.context, tmp_path / file)
        back = scene.read_splats(bpy.context, made, edited=False)
        assert made.name.startswith(file[0])
        assert np.allclose(back.position.mean(0), gaussians.position.mean(0), atol=2e-3)
        assert bpy.context.object == made
        assert scene.has_native_splats() or scene.display_modifier(made) is not None


def test_files_that_cannot_be_used_leave_nothing(tmp_path: Path) -> None:
    before = len(bpy.data.objects), len(bpy.data.meshes)
    (tmp_path / "a.ply").write_bytes(b"ply\nformat ascii 1.0\nelement vertex 1\nproperty float x\nend_header\n0\n")
    (tmp_path / "b.spz").write_bytes(b"\x1f\x8bnothing")
    (tmp_path / "c.splat").write_bytes(b"x" * 33)
    (tmp_path / "d.txt").write_bytes(b"hello there")
    for file in ("a.ply", "b.spz", "c.splat", "d.txt"):
        with pytest.raises(ValueError, match=file):
            scene.import_splats(bpy.context, tmp_path / file)
    with pytest.raises(OSError):
        scene.import_splats(bpy.context, tmp_path / "nowhere.ply")
    assert (len(bpy.data.objects), len(bpy.data.meshes)) == before
