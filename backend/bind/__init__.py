"""Stage 5, bind: splats into the canonical pose, hung on the surface's triangles and on four joints each."""

from __future__ import annotations

import numpy as np

from ..avatar import Gaussians, Skin, bind_to_surface, from_rgb, triangle_frames
from ..avatar.quaternion import from_matrix, multiply, normalize
from ..avatar.skinning import STRETCH_LIMITS
from ..reconstruct import Reconstruction

JOINTS_PER_SPLAT = 4


def bind(reconstruction: Reconstruction) -> tuple[Gaussians, Skin]:
    """Canonical splats and what ties them to the surface.

    Every splat keeps its place and turn in the frame of its triangle; its scale is divided by the triangle's stretch
    from rest to the photo's pose, so that posing the result as in the photo gives the reconstruction back exactly.
    """
    mesh = reconstruction.surface
    triangles = mesh.faces[reconstruction.face].astype(np.int32)
    posed = from_rgb(
        reconstruction.position,
        from_matrix(reconstruction.rotation),
        reconstruction.scale,
        reconstruction.opacity,
        reconstruction.rgb,
    )
    barycentric, offset, local = bind_to_surface(posed, mesh.posed, triangles)
    rest_frames, rest_area = triangle_frames(mesh.rest, triangles)
    _, posed_area = triangle_frames(mesh.posed, triangles)
    position = (mesh.rest[triangles] * barycentric[..., None]).sum(1) + rest_frames[:, :, 2] * offset[:, None]
    stretch = np.sqrt(posed_area / rest_area).clip(*STRETCH_LIMITS)
    # Weights at the splat: a point beyond its triangle must not extrapolate them.
    inside = barycentric.clip(0, 1)
    inside /= inside.sum(1, keepdims=True)
    weights = (mesh.weights[triangles] * inside[..., None]).sum(1)
    joints = np.argsort(-weights, axis=1)[:, :JOINTS_PER_SPLAT]
    top = np.take_along_axis(weights, joints, 1)
    gaussians = Gaussians(
        position=position.astype(np.float32),
        rotation=normalize(multiply(from_matrix(rest_frames), local)).astype(np.float32),
        scale=(posed.scale / stretch[:, None]).astype(np.float32),
        opacity=posed.opacity,
        sh_dc=posed.sh_dc,
    )
    skin = Skin(
        vertex_ids=triangles,
        barycentric=barycentric,
        offset=offset,
        rotation=local,
        joint_ids=joints.astype(np.uint8),
        joint_weights=(top / top.sum(1, keepdims=True)).astype(np.float32),
    )
    return gaussians, skin
