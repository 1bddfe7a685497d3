"""Where the extension is built from and what it is called once installed. Import it before bpy."""

from __future__ import annotations

import importlib.util
import os
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
FAKE_BACKEND = ROOT / "tests" / "fake_backend.py"
MODULE = "bl_ext.user_default.humansplat"
HAS_BPY = importlib.util.find_spec("bpy") is not None

if "bpy" not in sys.modules:
    # Blender reads this once, when bpy is first imported: nobody's own profile is touched.
    os.environ["BLENDER_USER_RESOURCES"] = tempfile.mkdtemp(prefix="humansplat-profile-")


def extension_tool() -> Path:
    """Blender's own script behind ``blender --command extension``."""
    spec = importlib.util.find_spec("bpy")
    assert spec is not None and spec.origin is not None
    return next(Path(spec.origin).parent.glob("*/scripts/addons_core/bl_pkg/cli/blender_ext.py"))
