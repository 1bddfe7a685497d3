"""Node groups are shared, versioned and upgraded without losing a modifier's inputs."""

from __future__ import annotations

from pathlib import Path

import bpy
import numpy as np
from humansplat.humansplat_blender import scene
from humansplat.humansplat_blender.scene.nodes import bind
from humansplat.humansplat_blender.scene.nodes.build import Socket, Tree, ensure_group, get_input, set_input
from humansplat.humansplat_blender.scene.splats import BIND_MODIFIER


def _pass_through(tree: Tree) -> None:
    tree.group_output(Geometry=tree.group_input()["Geometry"])


GEOMETRY = (Socket("Geometry", "NodeSocketGeometry", output=True), Socket("Geometry", "NodeSocketGeometry"))


def test_upgrade_keeps_inputs_that_stay() -> None:
    size = Socket("Size", "NodeSocketFloat", default=1.0)
    group = ensure_group("Test", 1, (*GEOMETRY, Socket("Old", "NodeSocketInt"), size), _pass_through)
    cube = bpy.data.objects.new("cube", bpy.data.meshes.new("cube"))
    modifier = cube.modifiers.new("test", "NODES")
    modifier.node_group = group
    set_input(modifier, "Size", 3.0)
    assert ensure_group("Test", 1, (), _pass_through) == group

    new = Socket("New", "NodeSocketFloat", default=5.0)
    assert ensure_group("Test", 2, (*GEOMETRY, size, new), _pass_through) == group
    names = {item.name for item in group.interface.items_tree if item.in_out == "INPUT"}
    assert names == {"Geometry", "Size", "New"}
    assert get_input(modifier, "Size") == 3.0
    # A file from a newer add-on keeps its newer group.
    assert ensure_group("Test", 1, GEOMETRY, _pass_through) == group
    assert group["humansplat_version"] == 2


def test_avatars_survive_an_upgrade(package: Path) -> None:
    imported = scene.import_avatar(bpy.context, package)
    before = scene.read_splats(bpy.context, imported.splats)
    group = bind.bind_group()
    group["humansplat_version"] = 0
    assert bind.bind_group() == group
    assert get_input(imported.splats.modifiers[BIND_MODIFIER], "Surface") == imported.body
    after = scene.read_splats(bpy.context, imported.splats)
    np.testing.assert_array_equal(before.position, after.position)


def test_another_group_of_that_name_is_left_alone() -> None:
    other = bpy.data.node_groups.new(bind.NAME, "GeometryNodeTree")
    group = bind.bind_group()
    assert group != other
    assert not other.nodes
    assert bind.bind_group() == group
