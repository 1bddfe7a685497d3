"""Named attributes of meshes and point clouds as numpy arrays."""

from __future__ import annotations

from collections.abc import Mapping

import bpy
import numpy as np

# data type -> (property that holds the value, numpy dtype, components)
_LAYOUT = {
    "FLOAT": ("value", np.float32, 1),
    "INT": ("value", np.int32, 1),
    "FLOAT_VECTOR": ("vector", np.float32, 3),
    "FLOAT_COLOR": ("color", np.float32, 4),
    "FLOAT4": ("vector", np.float32, 4),
    "QUATERNION": ("value", np.float32, 4),
}

PointValues = Mapping[str, tuple[str, np.ndarray]]
"""Attribute name -> (data type, array [N] or [N, components])."""


def has_data_type(name: str) -> bool:
    """Whether this Blender knows attributes of this data type."""
    return name in bpy.types.Attribute.bl_rna.properties["data_type"].enum_items


def write_points(data: bpy.types.Mesh | bpy.types.PointCloud, values: PointValues) -> None:
    """Create or replace point attributes.

    All attributes are made before any is written: making one may move the memory of the others.
    """
    for name, (data_type, _) in values.items():
        attribute = data.attributes.get(name)
        if attribute is not None and (attribute.data_type, attribute.domain) != (data_type, "POINT"):
            data.attributes.remove(attribute)
            attribute = None
        if attribute is None:
            data.attributes.new(name, data_type, "POINT")
    for name, (data_type, array) in values.items():
        key, dtype, _ = _LAYOUT[data_type]
        data.attributes[name].data.foreach_set(key, np.ascontiguousarray(array, dtype=dtype).ravel())


def read_points(data: bpy.types.Mesh | bpy.types.PointCloud, name: str) -> np.ndarray:
    """A point attribute as an array [N] or [N, components]. KeyError where it is missing."""
    attribute = data.attributes[name]
    key, dtype, components = _LAYOUT[attribute.data_type]
    array = np.empty(len(attribute.data) * components, dtype=dtype)
    attribute.data.foreach_get(key, array)
    return array if components == 1 else array.reshape(-1, components)
