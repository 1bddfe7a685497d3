"""Skirts and coats that swing when the person moves: a modifier on the body object, which splats and mesh follow."""

from __future__ import annotations

import bpy
import numpy as np
from mathutils.kdtree import KDTree

from ...backend.avatar.clothed_mesh import ClothedMesh
from ...backend.avatar.package import Avatar
from . import attributes
from .nodes import sway
from .roles import ImportedAvatar

MODIFIER = "Sway"
SETTINGS = (sway.AMOUNT, sway.FREQUENCY, sway.DAMPING)
"""Inputs of the modifier, in the order in which a panel shows them."""
_LOWER = ("pelvis", "left_hip", "right_hip", "left_knee", "right_knee")
"""What skirts hang from. What stands off other parts is hair, a bag, a hat: it is stiff, or held."""
_CLOSE = 0.02  # metres off the skin; closer cloth does not swing
_SHARE = 0.8  # of the way to the skin that is left to swing in


def room_of(avatar: Avatar, clothed: ClothedMesh) -> np.ndarray:
    """How far the body object's vertices may swing, metres, float32 [N]: as they stand off the naked body's.

    First those of the surface that carries the splats, then the clothed mesh's.
    """
    vertices = np.concatenate([avatar.body.surface_vertices, clothed.vertices])
    weights = np.concatenate([avatar.body.surface_weights, clothed.weights])
    share = weights[:, [avatar.joint_names.index(name) for name in _LOWER if name in avatar.joint_names]].sum(1)
    tree = KDTree(len(avatar.body.vertices))
    for number, place in enumerate(avatar.body.vertices.tolist()):
        tree.insert(place, number)
    tree.balance()
    room = np.zeros(len(vertices), np.float32)
    hanging = np.flatnonzero(share > 0)
    away = np.array([tree.find(place)[2] for place in vertices[hanging].tolist()])
    room[hanging] = share[hanging] * _SHARE * np.maximum(away - _CLOSE, 0)
    return room


def sway_modifier(avatar: ImportedAvatar) -> bpy.types.NodesModifier | None:
    """What swings the cloth, with the inputs `SETTINGS`; None where it does not."""
    return avatar.body.modifiers.get(MODIFIER)


def add_sway(avatar: ImportedAvatar) -> float:
    """Have loose cloth swing; nothing where it does already. How far the loosest cloth has room, metres.

    Raises:
        ValueError: nothing is known of the clothes, they fit closely, or the body cannot be edited; one sentence.
    """
    body = avatar.body
    if body.library is not None:
        raise ValueError(f"{body.name} is linked from another file: make it local or an override first.")
    if sway.ROOM not in body.data.attributes:
        raise ValueError(f"{avatar.armature.name} is from an earlier version: import it again, then it can sway.")
    room = attributes.read_points(body.data, sway.ROOM)
    if room.max() <= 0:
        raise ValueError(f"{avatar.armature.name} wears nothing loose: there is nothing to sway.")
    if sway_modifier(avatar) is None:
        modifier = body.modifiers.new(MODIFIER, "NODES")
        modifier.node_group = sway.sway_group()
    return float(room.max())


def remove_sway(avatar: ImportedAvatar) -> None:
    """Cloth follows the bones alone again."""
    modifier = sway_modifier(avatar)
    if modifier is not None:
        avatar.body.modifiers.remove(modifier)
