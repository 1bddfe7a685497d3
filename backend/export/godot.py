"""A project for Godot 4 with an avatar: its mesh, its clips, and its splats moved by a small script of ours.

The project's own files are in the folder ``godot`` beside this module. What is in ``avatar`` there works in any other
Godot project, too: it is copied as ``res://avatar``.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path

from ..avatar.formats.gltf_splats import splats_glb
from ..avatar.formats.types import BoneClip, Provenance, Skeleton, SplatCloud

TEMPLATES = Path(__file__).with_name("godot")
PROFILE_BONES = (
    *("Root", "Hips", "Spine", "Chest", "UpperChest", "Neck", "Head", "LeftEye", "RightEye", "Jaw"),
    *(
        side + bone
        for side in ("Left", "Right")
        for bone in (
            *("Shoulder", "UpperArm", "LowerArm", "Hand", "ThumbMetacarpal", "ThumbProximal", "ThumbDistal"),
            *(
                finger + part
                for finger in ("Index", "Middle", "Ring", "Little")
                for part in ("Proximal", "Intermediate", "Distal")
            ),
            *("UpperLeg", "LowerLeg", "Foot", "Toes"),
        )
    ),
)
"""The bones of Godot's ``SkeletonProfileHumanoid``."""
_LOOP = 1  # Animation.LOOP_LINEAR
_SLOWEST, _FASTEST = 30, 120  # frames a second: what Godot's importer takes when it is not told, and the most it allows


def write_godot_project(
    folder: Path,
    name: str,
    mesh_glb: bytes,
    splats: SplatCloud | None,
    skeleton: Skeleton,
    clips: Sequence[BoneClip],
    provenance: Provenance,
) -> None:
    """Write a project that Godot 4.3 and later open and run.

    Args:
        folder: an existing folder, empty.
        name: the project's.
        mesh_glb: the mesh with skeleton and clips (``formats.gltf_mesh``).
        splats: on the same skeleton; without them the project has the mesh alone.
        skeleton: the bones. Where they have Godot's humanoid names, Godot is told which is which, so that animations
            made for other characters fit.
        clips: motions of the skeleton, in the order of the keys.
        provenance: said in the splats' file.

    Raises:
        OSError: a file cannot be written.
    """
    avatar = folder / "avatar"
    avatar.mkdir()
    names = [animation_name(clip.name) for clip in clips]
    # Godot samples all clips anew at one rate.
    rate = min(max((round(clip.fps) for clip in clips), default=_SLOWEST), _FASTEST)
    values = {
        "name": _text(name),
        "clips": ", ".join(map(_text, names)),
        "fps": str(max(rate, _SLOWEST)),
        "subresources": _subresources(names, set(skeleton.names)),
    }
    files = ["project.godot", "main.tscn", "main.gd", "shots.gd", "avatar/avatar.glb.import", "avatar/README.txt"]
    if splats is not None:
        files += ["avatar/splats.gd", "avatar/splats.gdshader", "avatar/avatar_splat.glb.import"]
        (avatar / "avatar_splat.glb").write_bytes(splats_glb(splats, skeleton, clips, provenance))
    for file in files:
        _copy(file, folder / file, values)
    _copy(f"avatar/avatar{'' if splats is None else '_with_splats'}.tscn", avatar / "avatar.tscn", values)
    (avatar / "avatar.glb").write_bytes(mesh_glb)


def _copy(template: str, target: Path, values: dict[str, str]) -> None:
    text = (TEMPLATES / template).read_text("utf-8")
    text = re.sub(f"@({'|'.join(values)})@", lambda match: values[match[1]], text)
    target.write_text(text, "utf-8", newline="\n")


def _text(value: str) -> str:
    """A string as Godot's files have it."""
    escaped = value.replace("\\", "\\\\").replace('"', '\\"')
    return '"' + re.sub(r"[\x00-\x1f]", " ", escaped) + '"'


def _subresources(clips: Sequence[str], bones: set[str]) -> str:
    """What Godot's importer is to do with parts of the mesh's file: all clips loop, the skeleton is a humanoid."""
    loops = ",".join(f'{_text(clip)}:{{"settings/loop_mode":{_LOOP}}}' for clip in clips)
    # The optimizer drops keys, and hips and feet drift.
    nodes = ['"PATH:AnimationPlayer":{"optimizer/enabled":false}']
    if "Hips" in bones:
        nodes.append(f'"PATH:Skeleton3D":{{"retarget/bone_map":{_bone_map(bones)}}}')
    return f'{{"animations":{{{loops}}},"nodes":{{{",".join(nodes)}}}}}'


def animation_name(name: str) -> str:
    """What Godot's importer calls a clip: some characters are not allowed there."""
    return re.sub(r'[.:@/"%,\[]', "_", name)


def _bone_map(bones: set[str]) -> str:
    """Which bone is which in Godot's humanoid: those of the same name."""
    entries = ",".join(f'"bone_map/{bone}":&"{bone if bone in bones else ""}"' for bone in PROFILE_BONES)
    return f'Object(BoneMap,"profile":Object(SkeletonProfileHumanoid,"script":null),{entries})'
