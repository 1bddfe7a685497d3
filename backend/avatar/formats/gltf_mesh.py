"""A textured, skinned mesh as a GLB, and as VRM 1.0, which is a GLB that says which bone is which."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from ..bone_maps import JOINT_NAMES
from .gltf import ARRAY_BUFFER, ELEMENT_ARRAY_BUFFER, GlbBuilder, add_clips, add_skeleton, used_joints
from .skeletons import SkeletonPreset
from .types import BoneClip, ExportError, Provenance, Skeleton, TexturedMesh

_LINEAR_MIPMAP_LINEAR, _LINEAR, _CLAMP = 9987, 9729, 33071
VRM_LICENCE = "https://vrm.dev/licenses/1.0/"
_VRM_BONES: Mapping[str, str] = {
    "pelvis": "hips", "spine1": "spine", "spine2": "chest", "spine3": "upperChest", "neck": "neck", "head": "head",
    "collar": "Shoulder", "shoulder": "UpperArm", "elbow": "LowerArm", "wrist": "Hand", "hand": "MiddleProximal",
    "hip": "UpperLeg", "knee": "LowerLeg", "ankle": "Foot", "foot": "Toes",
}  # fmt: skip


def mesh_glb(
    mesh: TexturedMesh, skeleton: Skeleton, clips: Sequence[BoneClip], provenance: Provenance, lit: bool = False
) -> bytes:
    """A GLB file of a textured mesh on a skeleton.

    Args:
        mesh: whose joints are the skeleton's bones.
        skeleton: the bones.
        clips: motions of the skeleton.
        provenance: said in the file.
        lit: the engine's lights shade it; otherwise it shows its colours as they are (``KHR_materials_unlit``), which
            hold the photo's light already.
    """
    builder = _builder(mesh, skeleton, clips, provenance, lit)
    return builder.to_bytes()


def mesh_vrm(
    mesh: TexturedMesh, skeleton: Skeleton, preset: SkeletonPreset, provenance: Provenance, author: str = ""
) -> bytes:
    """A VRM 1.0 file of a textured mesh in T-pose; it holds no clips, which the format keeps in files of their own.

    Args:
        mesh, skeleton, provenance: as for :func:`mesh_glb`.
        preset: what the skeleton was made by.
        author: who is shown in the avatar; VRM must name one.

    Raises:
        ExportError: the preset's rest pose is not a T-pose.
    """
    if preset.rest != "T":
        raise ExportError(f"VRM needs a T-pose; the skeleton {preset.name} has another rest pose: choose vrm.")
    builder = _builder(mesh, skeleton, (), provenance, lit=False)
    first = builder.document["skins"][0]["joints"][0] + int(bool(preset.root))
    bones = {name: {"node": first + joint} for joint, name in enumerate(_vrm_names())}
    builder.use_extension("VRMC_vrm")
    builder.document["extensions"] = {
        "VRMC_vrm": {
            "specVersion": "1.0",
            "meta": {
                "name": provenance.name,
                "authors": [author or provenance.name],
                "copyrightInformation": provenance.licence,
                "references": [provenance.source] if provenance.source else [],
                "licenseUrl": VRM_LICENCE,
                "avatarPermission": "onlyAuthor",
                "commercialUsage": "personalNonProfit",
                "creditNotation": "required",
                "allowRedistribution": False,
                "modification": "prohibited",
            },
            "humanoid": {"humanBones": bones},
        }
    }
    return builder.to_bytes()


def _vrm_names() -> list[str]:
    names = []
    for joint in JOINT_NAMES:
        side, _, part = joint.partition("_")
        names.append(side + _VRM_BONES[part] if side in ("left", "right") else _VRM_BONES[joint])
    return names


def _builder(
    mesh: TexturedMesh, skeleton: Skeleton, clips: Sequence[BoneClip], provenance: Provenance, lit: bool
) -> GlbBuilder:
    builder = GlbBuilder(provenance)
    image = builder.add("images", {"name": "colour", "mimeType": "image/png", "bufferView": builder.view(mesh.texture)})
    sampler = builder.add(
        "samplers",
        {"magFilter": _LINEAR, "minFilter": _LINEAR_MIPMAP_LINEAR, "wrapS": _CLAMP, "wrapT": _CLAMP},
    )
    texture = builder.add("textures", {"sampler": sampler, "source": image})
    material: dict[str, Any] = {
        "name": provenance.name,
        "pbrMetallicRoughness": {
            "baseColorTexture": {"index": texture},
            "metallicFactor": 0.0,
            "roughnessFactor": 1.0,
        },
    }
    if not lit:
        builder.use_extension("KHR_materials_unlit")
        material["extensions"] = {"KHR_materials_unlit": {}}
    small = len(mesh.vertices) <= 0xFFFF
    indices = mesh.faces.astype(np.uint16 if small else np.uint32).reshape(-1)
    primitive = {
        "attributes": {
            "POSITION": builder.accessor(mesh.vertices.astype(np.float32), ARRAY_BUFFER, bounds=True),
            "NORMAL": builder.accessor(mesh.normals.astype(np.float32), ARRAY_BUFFER),
            "TEXCOORD_0": builder.accessor(mesh.uv.astype(np.float32), ARRAY_BUFFER),
            "JOINTS_0": builder.accessor(used_joints(mesh.joints, mesh.weights), ARRAY_BUFFER),
            "WEIGHTS_0": builder.accessor(mesh.weights.astype(np.float32), ARRAY_BUFFER),
        },
        "indices": builder.accessor(indices, ELEMENT_ARRAY_BUFFER),
        "material": builder.add("materials", material),
    }
    index = builder.add("meshes", {"name": provenance.name, "primitives": [primitive]})
    skin, first = add_skeleton(builder, skeleton)
    node = builder.add("nodes", {"name": f"{provenance.name} Mesh", "mesh": index, "skin": skin})
    builder.document["scenes"][0]["nodes"].append(node)
    add_clips(builder, skeleton, clips, first)
    return builder
