"""Stage 5, bind: splats into the canonical pose, hung on the surface's triangles and on four joints each."""

from __future__ import annotations

import numpy as np

from ..avatar import Gaussians, Skin
from ..avatar.quaternion import from_matrix
from ..avatar.skinning import bind_to_surface, place_on_surface, triangle_stretch
from ..reconstruct import Reconstruction

JOINTS_PER_SPLAT = 4


def bind(reconstruction: Reconstruction) -> tuple[Gaussians, Skin]:
    """Canonical splats and what ties them to the surface.

    Every splat keeps its place and turn in the frame of its triangle; its scale is divided by the triangle's stretch from
    rest to the photo's pose, so that posing the result as in the photo gives the reconstruction back exactly.
    """
    mesh = reconstruction.surface
    triangles = mesh.faces[reconstruction.face].astype(np.int32)
    posed_rotation = from_matrix(reconstruction.rotation)
    barycentric, offset, local = bind_to_surface(reconstruction.position, posed_rotation, mesh.posed, triangles)
    position, rotation = place_on_surface(mesh.rest, triangles, barycentric, offset, local)
    stretch = triangle_stretch(mesh.rest, mesh.posed, triangles)
    # Weights at the splat: a point beyond its triangle must not extrapolate them.
    inside = barycentric.clip(0, 1)
    inside /= inside.sum(1, keepdims=True)
    weights = (mesh.weights[triangles] * inside[..., None]).sum(1)
    joints = np.argsort(-weights, axis=1)[:, :JOINTS_PER_SPLAT]
    top = np.take_along_axis(weights, joints, 1)
    gaussians = Gaussians.from_rgb(
        position=position,
        rotation=rotation,
        scale=reconstruction.scale / stretch[:, None],
        opacity=reconstruction.opacity,
        rgb=reconstruction.rgb,
    )
    skin = Skin(
        vertex_ids=triangles,
        barycentric=barycentric.astype(np.float32),
        offset=offset.astype(np.float32),
        rotation=local.astype(np.float32),
        joint_ids=joints.astype(np.uint8),
        joint_weights=(top / top.sum(1, keepdims=True)).astype(np.float32),
    )
    return gaussians, skin
