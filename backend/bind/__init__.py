"""Stage 5, bind: splats into the canonical pose, hung on the surface and on four joints each."""

from __future__ import annotations

import numpy as np

from ..avatar import (
    Gaussians,
    KnownTriangles,
    Skin,
    bind_to_surface,
    from_rgb,
    reference_triangles,
    stretch,
    triangle_frames,
)
from ..avatar.quaternion import from_matrix, multiply, normalize
from ..body.model import BodyModel
from ..reconstruct import Reconstruction

JOINTS_PER_SPLAT = 4
Bound = tuple[Gaussians, Skin, np.ndarray]
"""What :func:`bind` returns."""


def template_triangles(body: BodyModel) -> KnownTriangles:
    """The reference triangles of a body of mean shape, most of which hold for every clothed one."""
    vertices = body.template.numpy()
    return KnownTriangles(vertices, reference_triangles(vertices, body.weights.numpy()))


def bind(reconstruction: Reconstruction, known: KnownTriangles | None = None) -> Bound:
    """Canonical splats, what ties them to the surface, and the surface's reference triangles [S, 3].

    Every splat keeps its point of the surface and its place and turn in the frame there; its scale is divided by the
    triangle's stretch from rest to the photo's pose, so that posing the result as in the photo gives the reconstruction
    back exactly.

    Args:
        reconstruction: from the stages before.
        known: of the body's template, to be quick.
    """
    mesh = reconstruction.surface
    references = reference_triangles(mesh.rest, mesh.weights, known)
    posed = from_rgb(
        reconstruction.position,
        from_matrix(reconstruction.rotation),
        reconstruction.scale,
        reconstruction.opacity,
        reconstruction.rgb,
    )
    triangles, barycentric, offset, rotation = bind_to_surface(
        posed, mesh.posed, mesh.faces[reconstruction.face], references
    )
    frames, _ = triangle_frames(mesh.rest, references)
    frames = frames[triangles[:, 0]]
    position = (mesh.rest[triangles] * barycentric[..., None]).sum(1) + np.einsum("nij,nj->ni", frames, offset)
    weights = (mesh.weights[triangles] * barycentric[..., None]).sum(1)
    joints = np.argsort(-weights, axis=1)[:, :JOINTS_PER_SPLAT]
    top = np.take_along_axis(weights, joints, 1)
    gaussians = Gaussians(
        position=position.astype(np.float32),
        rotation=normalize(multiply(from_matrix(frames), rotation)).astype(np.float32),
        scale=(posed.scale / stretch(mesh.rest, mesh.posed, triangles)[:, None]).astype(np.float32),
        opacity=posed.opacity,
        sh_dc=posed.sh_dc,
    )
    skin = Skin(
        vertex_ids=triangles,
        barycentric=barycentric,
        offset=offset,
        rotation=rotation,
        joint_ids=joints.astype(np.uint8),
        joint_weights=(top / top.sum(1, keepdims=True)).astype(np.float32),
        seen=reconstruction.seen.clip(0, 1).astype(np.float32),
    )
    return gaussians, skin, references
