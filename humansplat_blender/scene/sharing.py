"""Data-blocks that all avatars of a file share: what pasting and appending multiply is made one again."""

from __future__ import annotations

import bpy

from .bone_look import merge_shapes
from .nodes.build import NAME_KEY, VERSION_KEY


def merge_shared() -> int:
    """Put the first of equal node groups, materials and bone shapes in the place of the others; how many went."""
    removed = 0
    # Groups use materials: with these merged first, groups of one version are equal.
    for blocks in (bpy.data.materials, bpy.data.node_groups):
        first: dict[tuple[str, int], bpy.types.ID] = {}
        doubles = []
        for block in blocks:
            if block.library is None and NAME_KEY in block:
                kept = first.setdefault((block[NAME_KEY], block.get(VERSION_KEY, -1)), block)
                if kept != block:
                    block.user_remap(kept)
                    doubles.append(block)
        bpy.data.batch_remove(doubles)
        removed += len(doubles)
    merge_shapes()
    return removed
