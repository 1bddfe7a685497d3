"""What leaves for whom: one folder a target, with everything that this engine or program can use."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType


@dataclass(frozen=True)
class Target:
    """One engine or program.

    Attributes:
        name: what options call it.
        label: for people.
        skeleton: a key of ``skeletons.SKELETONS``.
        axes: a key of ``axes.AXES``, of the PLY and of formats like it.
        mesh: files of the textured mesh: "glb", "vrm".
        splats: keys of ``table.FORMATS``.
        extra: "web" (page and folder) or "godot" (project), empty otherwise.
        harmonics: degree that the PLY has properties for.
        clicks: what to do with the files, one line a step.
    """

    name: str
    label: str
    skeleton: str
    axes: str
    mesh: tuple[str, ...]
    splats: tuple[str, ...]
    extra: str
    harmonics: int
    clicks: tuple[str, ...]


TARGETS: Mapping[str, Target] = MappingProxyType(
    {
        target.name: target
        for target in (
            Target(
                "web", "Web page", "smpl", "y-up", (), ("glb",), "web", 0,
                (
                    "Open index.html in the folder web with a browser, or put the folder on any web server.",
                    "NAME.html is the same page in one file, to send to somebody.",
                ),
            ),
            Target(
                "godot", "Godot 4", "godot", "y-down", ("glb",), ("ply",), "godot", 0,
                (
                    "Godot, Project Manager, Import: choose project.godot in this folder, then press F5.",
                    "To use the person in another project, copy the folder avatar into it and instance avatar.tscn.",
                ),
            ),
            Target(
                "unity", "Unity", "unity", "unity", ("glb", "vrm"), ("ply", "spz2"), "", 3,
                (
                    "The mesh: drag NAME.vrm into a project with UniVRM (a humanoid avatar without mapping), or "
                    "NAME.glb into one with glTFast, or NAME.fbx (Rig: Humanoid).",
                    "The splats: with UnityGaussianSplatting, Tools, Gaussian Splats, Create GaussianSplatAsset from "
                    "NAME.ply. They are mirrored for Unity's left-handed axes: leave the scale at 1.",
                    "Unity does not skin splats by itself: skin.json and skin.bin have the bones of each.",
                ),
            ),
            Target(
                "unreal", "Unreal Engine", "unreal", "y-down", ("glb",), ("ply",), "", 0,
                (
                    "The mesh: Content Browser, Import: NAME.glb (or NAME.fbx) as skeletal mesh; its clips come along.",
                    "Other animations: make an IK Rig for it and retarget from SK_Mannequin, whose bone names it has.",
                    "The splats: with NanoGS, import NAME.ply. Unreal does not skin splats by itself: skin.json and "
                    "skin.bin have the bones of each.",
                ),
            ),
            Target(
                "three", "three.js, Spark, Babylon", "vrm", "y-up", ("glb",), ("glb", "ply", "spz"), "", 0,
                (
                    "NAME.glb is the mesh with its clips, NAME_splats.glb the splats with theirs (GLTFLoader reads "
                    "joints, weights and clips; Spark's SplatSkinning draws them: see the target web).",
                ),
            ),
            Target(
                "playcanvas", "PlayCanvas, SuperSplat", "vrm", "y-down", ("glb",), ("ply", "compressed", "sog"), "", 0,
                (
                    "SuperSplat: drop NAME.ply into the window. NAME.compressed.ply and NAME.sog are smaller.",
                    "PlayCanvas: upload NAME.glb (mesh and clips) and NAME.compressed.ply or NAME.sog (splats).",
                ),
            ),
            Target(
                "blender", "Blender, other 3D programs", "smpl", "z-up", ("glb",), ("glb", "ply"), "", 0,
                ("Import NAME.glb as glTF: a mesh with its skeleton and clips.",),
            ),
            Target(
                "mixamo", "Mixamo skeleton", "mixamo", "y-up", ("glb",), (), "", 0,
                ("Import NAME.glb (or NAME.fbx): its bones have Mixamo's names, in a T-pose.",),
            ),
            Target(
                "vrm", "VRM 1.0", "vrm", "y-up", ("vrm",), (), "", 0,
                ("Open NAME.vrm in any program for VRM 1.0 avatars.",),
            ),
            Target(
                "splats", "Splats, every format", "smpl", "y-up", (),
                ("ply", "glb", "spz", "spz2", "compressed", "splat", "sog", "usd"), "", 0,
                ("Take the file that your program reads; export.json says what each keeps.",),
            ),
        )
    }
)  # fmt: skip
"""Targets by name."""
