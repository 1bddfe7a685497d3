"""Export an avatar package as a Godot project: ``python scripts/try_engine_export.py PACKAGE FOLDER``."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from backend.avatar import load_avatar  # noqa: E402  (after the path)
from backend.avatar.formats.cloud import clean, splat_cloud  # noqa: E402
from backend.avatar.formats.gltf_mesh import mesh_glb  # noqa: E402
from backend.avatar.formats.skeletons import fit_rig  # noqa: E402
from backend.avatar.formats.types import Provenance  # noqa: E402
from backend.avatar.motion_library import make_motion  # noqa: E402
from backend.export.godot import write_godot_project  # noqa: E402
from backend.export.mesh import textured_mesh  # noqa: E402

CLIPS = ("walk", "idle", "wave", "dance_step", "run", "sit")


def main() -> None:
    """Everything at its defaults."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("package", type=Path)
    parser.add_argument("folder", type=Path, help="a new folder")
    arguments = parser.parse_args()
    avatar = load_avatar(arguments.package)
    rig = fit_rig(avatar, "godot")
    clips = [rig.clip(make_motion(name, avatar.rest_joints, avatar.parents, in_place=True)) for name in CLIPS]
    name = arguments.package.name
    provenance = Provenance(name, "HumanSplat", "", "")
    mesh = mesh_glb(rig.mesh(textured_mesh(avatar)), rig.skeleton, clips, provenance)
    splats = rig.cloud(clean(splat_cloud(avatar))[0])
    arguments.folder.mkdir(parents=True)
    write_godot_project(arguments.folder, name, mesh, splats, rig.skeleton, clips, provenance)


if __name__ == "__main__":
    main()
