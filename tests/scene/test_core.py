"""The opaque core under the splats of an avatar, in Cycles."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import bpy
import numpy as np
import pytest
from humansplat.humansplat_blender import scene
from humansplat.humansplat_blender.scene import attributes, edits
from humansplat.humansplat_blender.scene.core import core_depth
from humansplat.humansplat_blender.scene.nodes.build import get_input, set_input
from humansplat.humansplat_blender.scene.nodes.core import DEPTH
from humansplat.humansplat_blender.scene.nodes.display import BODY
from humansplat.humansplat_blender.scene.nodes.edit import BRIGHTNESS, OPACITY_CUT
from humansplat.humansplat_blender.scene.nodes.material import CORE
from support import add_orthographic_camera, prepare_cycles, render_pixels

from backend.avatar import save_avatar, sh_from_rgb
from backend.avatar.clothed_mesh import ClothedMesh
from tests.synthetic import make_shipped_avatar

pytestmark = pytest.mark.skipif(scene.has_native_splats(), reason="Blender draws splats itself")

PIXELS = 64


def _cube(side: float) -> ClothedMesh:
    corners = np.array([(x, y, z) for x in (0, 1) for y in (0, 1) for z in (0, 1)], dtype=np.float32) * side
    quads = ((0, 1, 3, 2), (4, 6, 7, 5), (0, 4, 5, 1), (2, 3, 7, 6), (0, 2, 6, 4), (1, 5, 7, 3))
    faces = np.array([part for a, b, c, d in quads for part in ((a, b, c), (a, c, d))], dtype=np.int32)
    return ClothedMesh(corners, faces, np.zeros((8, 3), np.float32), np.ones((8, 24), np.float32) / 24)


@pytest.mark.parametrize(("side", "thick"), [(0.015, None), (0.02, 0.02 * 3**0.5), (0.2, 0.06)])
def test_depth_is_a_quarter_of_the_thickness_up_to_a_limit(side: float, thick: float | None) -> None:
    # From a corner inwards, along the mean of its faces' normals, a cube is a diagonal thick.
    cube = _cube(side)
    across = np.cross(cube.vertices[cube.faces[:, 1]] - cube.vertices[cube.faces[:, 0]],
                      cube.vertices[cube.faces[:, 2]] - cube.vertices[cube.faces[:, 0]])  # fmt: skip
    assert (across.sum(0) == 0).all()
    found = core_depth(cube)
    if thick is None:
        assert (found == 0).all()
    else:
        # Corners of two triangles of one face weigh that face twice, so that some rays leave the diagonal.
        assert found.max() <= 0.25 * thick + 1e-5 and found.max() > 0.2 * thick


@pytest.fixture(scope="module")
def dense(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An avatar whose splats leave no gaps and have colours that change slowly."""
    folder = tmp_path_factory.mktemp("avatars") / "dense"
    avatar = make_shipped_avatar(30_000)
    gaussians = avatar.gaussians
    colours = np.clip(0.5 + gaussians.position * (0.4, 0.3, 2.0), 0.05, 0.95)
    gaussians = replace(
        gaussians,
        opacity=np.full_like(gaussians.opacity, 0.97),
        sh_dc=sh_from_rgb(colours).astype(np.float32),
        scale=np.maximum(gaussians.scale, (0.008, 0.008, 0.0)).astype(np.float32),
    )
    save_avatar(replace(avatar, gaussians=gaussians), folder)
    return folder


@pytest.fixture
def avatar(dense: Path) -> scene.ImportedAvatar:
    imported = scene.import_avatar(bpy.context, dense)
    scene.rest_pose(imported.armature)
    add_orthographic_camera(2.0)
    bpy.context.scene.camera.location.z = 0.9
    prepare_cycles(PIXELS, PIXELS, 8)
    scene.scene_setup(bpy.context.scene)
    bpy.context.scene.world = None
    return imported


def _core_alone(avatar: scene.ImportedAvatar) -> None:
    """Splats of no size show what lies under them."""
    set_input(scene.display_modifier(avatar.splats), "Splat Size", 0.0)


def test_the_picture_is_the_same_but_where_the_back_shone_through(avatar: scene.ImportedAvatar, tmp_path: Path) -> None:
    over = render_pixels(tmp_path / "with.exr")
    display = scene.display_modifier(avatar.splats)
    assert get_input(display, BODY) == avatar.body
    set_input(display, BODY, None)
    alone = render_pixels(tmp_path / "without.exr")
    assert np.quantile(np.abs(over - alone)[..., 3], 0.999) < 0.05
    assert np.sqrt(np.mean((over - alone) ** 2)) < 0.01


def test_the_core_is_inside_and_has_the_colours_of_the_splats_before_it(
    avatar: scene.ImportedAvatar, tmp_path: Path
) -> None:
    whole = render_pixels(tmp_path / "whole.exr")
    _core_alone(avatar)
    core = render_pixels(tmp_path / "core.exr")
    shown = core[..., 3] > 0.99
    assert shown.sum() > 100
    assert (whole[..., 3][shown] > 0.99).all()
    assert np.corrcoef(core[shown][:, :3].ravel(), whole[shown][:, :3].ravel())[0, 1] > 0.5
    assert abs(core[shown][:, :3].mean() - whole[shown][:, :3].mean()) < 0.05


def test_it_is_graded_with_the_splats(avatar: scene.ImportedAvatar, tmp_path: Path) -> None:
    _core_alone(avatar)
    before = render_pixels(tmp_path / "before.exr")
    set_input(scene.display_modifier(avatar.splats), BRIGHTNESS, 0.5)
    after = render_pixels(tmp_path / "after.exr")
    shown = (before[..., 3] > 0.99) & (before[..., :3].max(-1) > 0.05)
    np.testing.assert_allclose(after[shown][:, :3].sum(), 0.5 * before[shown][:, :3].sum(), rtol=0.02)


def test_it_goes_where_splats_are_erased_or_cut(avatar: scene.ImportedAvatar, tmp_path: Path) -> None:
    places = attributes.read_points(avatar.splats.data, "position")
    left = np.flatnonzero(places[:, 0] > 0.2)  # an arm
    edits.erase(avatar.splats, left)
    pixels = render_pixels(tmp_path / "erased.exr")
    columns = np.arange(PIXELS) * 2.0 / PIXELS - 1.0
    assert pixels[:, columns > 0.28, 3].max() < 0.02
    assert pixels[:, columns < -0.28, 3].max() > 0.9
    set_input(scene.display_modifier(avatar.splats), OPACITY_CUT, 1.0)
    assert render_pixels(tmp_path / "cut.exr")[..., 3].max() == 0


def test_it_is_in_renders_alone(avatar: scene.ImportedAvatar) -> None:
    materials = {
        slot.name
        for item in bpy.context.evaluated_depsgraph_get().object_instances
        if (item.parent or item.object).original == avatar.splats and item.object.data is not None
        for slot in item.object.data.materials
        if slot is not None
    }
    assert CORE not in materials and materials


def test_a_copy_has_its_own(avatar: scene.ImportedAvatar) -> None:
    copy = scene.duplicate_avatar(bpy.context, avatar)
    assert get_input(scene.display_modifier(copy.splats), BODY) == copy.body
    depth = attributes.read_points(copy.body.data, DEPTH)
    assert (depth[: attributes.read_points(avatar.splats.data, "bind:vertex_0").max()] == 0).all() and depth.max() > 0
