"""Skinned splats as a GLB: ``KHR_gaussian_splatting`` on points with joints, weights, a skin and clips.

The extension says nothing about skins. Readers that know it draw the rest pose; three.js reads everything that is
needed to skin the splats, which the web page of ``backend.export.web`` does; others show a skinned point cloud.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from ..gaussians import rgb_from_sh
from .gltf import ARRAY_BUFFER, GlbBuilder, add_clips, add_skeleton, used_joints, weight_bytes
from .types import BoneClip, Provenance, Skeleton, SplatCloud

EXTENSION = "KHR_gaussian_splatting"


def splats_glb(cloud: SplatCloud, skeleton: Skeleton, clips: Sequence[BoneClip], provenance: Provenance) -> bytes:
    """A GLB file of splats on a skeleton.

    Args:
        cloud: N splats, whose joints are the skeleton's bones.
        skeleton: the bones.
        clips: motions of the skeleton.
        provenance: said in the file.
    """
    builder = GlbBuilder(provenance)
    builder.use_extension(EXTENSION)
    g = cloud.gaussians
    rotation = g.rotation[:, [1, 2, 3, 0]].astype(np.float64)
    rotation /= np.maximum(np.linalg.norm(rotation, axis=1, keepdims=True), 1e-12)
    # What readers without the extension show: display colours made linear, as glTF's vertex colours are.
    shown = srgb_to_linear(rgb_from_sh(g.sh_dc).clip(0, 1))
    colour = np.concatenate([shown, g.opacity[:, None]], axis=1)

    weights = weight_bytes(cloud.weights)

    def attribute(values: np.ndarray, bounds: bool = False) -> int:
        return builder.accessor(values.astype(np.float32), ARRAY_BUFFER, bounds=bounds)

    primitive = {
        "mode": 0,
        "attributes": {
            "POSITION": attribute(g.position, bounds=True),
            f"{EXTENSION}:ROTATION": attribute(rotation),
            f"{EXTENSION}:SCALE": attribute(g.scale),
            f"{EXTENSION}:OPACITY": attribute(g.opacity.clip(0, 1)),
            f"{EXTENSION}:SH_DEGREE_0_COEF_0": attribute(g.sh_dc),
            "COLOR_0": builder.accessor(np.round(colour * 255).astype(np.uint8), ARRAY_BUFFER, normalized=True),
            "JOINTS_0": builder.accessor(used_joints(cloud.joints, weights), ARRAY_BUFFER),
            "WEIGHTS_0": builder.accessor(weights, ARRAY_BUFFER, normalized=True),
        },
        "extensions": {
            EXTENSION: {
                "kernel": "ellipse",
                "colorSpace": "srgb_rec709_display",
                "projection": "perspective",
                "sortingMethod": "cameraDistance",
            }
        },
    }
    mesh = builder.add("meshes", {"name": provenance.name, "primitives": [primitive]})
    skin, first = add_skeleton(builder, skeleton)
    node = builder.add("nodes", {"name": f"{provenance.name} Splats", "mesh": mesh, "skin": skin})
    builder.document["scenes"][0]["nodes"].append(node)
    add_clips(builder, skeleton, clips, first)
    return builder.to_bytes()


def srgb_to_linear(values: np.ndarray) -> np.ndarray:
    """Linear light 0..1 of display sRGB 0..1 (IEC 61966-2-1)."""
    return np.where(values <= 0.04045, values / 12.92, ((np.maximum(values, 0.04045) + 0.055) / 1.055) ** 2.4)
