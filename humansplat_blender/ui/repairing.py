"""The Repair button."""

from __future__ import annotations

import bpy

from .. import locations
from ..install.settings import pip_environment
from ..repair import RepairJob
from . import operators, runtime


class HUMANSPLAT_OT_repair_backend(bpy.types.Operator):
    """Look for damaged parts of the backend and mend them: packages are installed, networks unpacked again"""

    bl_idname = "humansplat.repair_backend"
    bl_label = "Repair"

    @classmethod
    def poll(cls, _context: bpy.types.Context) -> bool:
        """Needs an environment and no other job."""
        if not runtime.idle(cls):
            return False
        if runtime.backend_spec() is None:
            cls.poll_message_set("There is no backend yet: install it first")
            return False
        return True

    def execute(self, _context: bpy.types.Context) -> set[str]:
        """Start it; without a window, also wait for it."""
        spec = runtime.backend_spec()
        assert spec is not None
        environment = pip_environment()
        if not bpy.app.online_access:
            environment["PIP_NO_INDEX"] = "1"  # pip downloads nothing then and says so
        job = RepairJob(spec.python, spec.extension_root, locations.install_log(), environment)
        runtime.manager().start_install(job)
        return operators.pump(self)


CLASSES = (HUMANSPLAT_OT_repair_backend,)
