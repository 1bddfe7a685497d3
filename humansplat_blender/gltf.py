"""What Blender's glTF exporter writes of an avatar: the clothed mesh, matt, in its vertex colours.

The exporter finds the class by its name in the module of every enabled add-on, and calls its hooks.
"""

from __future__ import annotations

from typing import Any


class glTF2ExportUserExtension:
    """Hooks of Khronos' exporter, ``io_scene_gltf2``."""

    def __init__(self) -> None:
        self.is_critical = False

    def gather_material_hook(self, material: Any, blender_material: Any, _settings: dict[str, Any]) -> None:
        """Make the materials that are transparent in renders opaque and matt; vertex colours give the colour."""
        from .scene.nodes.build import NAME_KEY
        from .scene.preview import MATERIAL_PREFIX

        if not str(getattr(blender_material, "get", lambda *_: "")(NAME_KEY, "")).startswith(MATERIAL_PREFIX):
            return
        from io_scene_gltf2.io.com.gltf2_io import MaterialPBRMetallicRoughness

        material.pbr_metallic_roughness = MaterialPBRMetallicRoughness(
            base_color_factor=None,
            base_color_texture=None,
            extensions=None,
            extras=None,
            metallic_factor=0.0,
            metallic_roughness_texture=None,
            roughness_factor=1.0,
        )
        material.alpha_mode = None
        material.double_sided = None

    def gather_mesh_hook(self, mesh: Any, _blender_mesh: Any, blender_object: Any, *_others: Any) -> None:
        """Have the avatar's colours be the ones that viewers multiply with: Blender 5 puts white before them."""
        from .scene.roles import ROLE

        if blender_object is None or blender_object.get(ROLE) != "body":
            return
        for primitive in mesh.primitives or ():
            if "COLOR_1" in primitive.attributes:
                primitive.attributes["COLOR_0"] = primitive.attributes.pop("COLOR_1")
