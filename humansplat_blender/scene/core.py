"""How deep under the clothed mesh its opaque core may lie, see :mod:`.nodes.core`."""

from __future__ import annotations

import numpy as np
from mathutils.bvhtree import BVHTree

from ...backend.avatar.clothed_mesh import ClothedMesh
from ...backend.avatar.meshes import vertex_normals

_DEEPEST = 0.015  # metres; the node group goes less deep where splats are smaller
_SHARE = 0.25  # of the body's thickness
_THIN = 0.03  # metres; thinner parts, as hands and hair, have no core: gaps melt together in their mesh


def core_depth(clothed: ClothedMesh) -> np.ndarray:
    """Metres, float32 [V], inwards from the vertices of the clothed mesh at rest; 0 where there is no core."""
    vertices = clothed.vertices.astype(np.float64)
    normals = vertex_normals(vertices, clothed.faces)
    tree = BVHTree.FromPolygons(vertices.tolist(), clothed.faces.tolist())
    reach = _DEEPEST / _SHARE
    inside = vertices - 1e-4 * normals
    hits = [tree.ray_cast(place, way, reach)[3] for place, way in zip(inside.tolist(), (-normals).tolist())]
    thick = np.array([reach if distance is None else distance for distance in hits])
    return np.where(thick < _THIN, 0, _SHARE * thick).astype(np.float32)
