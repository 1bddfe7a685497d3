"""Where the extension is built from and what it is called once installed. Import it before bpy."""

from __future__ import annotations

import atexit
import importlib.util
import os
import shutil
import sys
import sysconfig
import tempfile
import venv
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
FAKE_BACKEND = ROOT / "tests" / "fake_backend.py"
MODULE = "bl_ext.user_default.humansplat"
HAS_BPY = importlib.util.find_spec("bpy") is not None

if "bpy" not in sys.modules:
    # Blender reads this once, when bpy is first imported: nobody's own profile is touched.
    profile = tempfile.mkdtemp(prefix="humansplat-profile-")
    os.environ["BLENDER_USER_RESOURCES"] = profile
    atexit.register(shutil.rmtree, profile, ignore_errors=True)


def extension_tool() -> Path:
    """Blender's own script behind ``blender --command extension``."""
    spec = importlib.util.find_spec("bpy")
    assert spec is not None and spec.origin is not None
    return next(Path(spec.origin).parent.glob("*/scripts/addons_core/bl_pkg/cli/blender_ext.py"))


def make_interpreter(folder: Path, code: str) -> Path:
    """A Python that runs ``code`` and ends, whatever its arguments; it has the packages of the running one."""
    venv.create(folder, with_pip=False)
    (site,) = folder.glob("lib/python3*/site-packages") if os.name != "nt" else [folder / "Lib" / "site-packages"]
    (site / "instead.py").write_text(
        "import os, sys, traceback\n"
        "status = 0\n"
        "try:\n"
        f"    exec({code!r})\n"
        "except SystemExit as end:\n"
        "    status = end.code or 0\n"
        "except BaseException:\n"
        "    status = 1\n"
        "    traceback.print_exc()\n"
        "sys.stdout.flush()\n"
        "os._exit(status)\n",
        "utf-8",
    )
    (site / "instead.pth").write_text(f"{sysconfig.get_path('purelib')}\nimport instead\n", "utf-8")
    return folder / ("Scripts/python.exe" if os.name == "nt" else "bin/python")
