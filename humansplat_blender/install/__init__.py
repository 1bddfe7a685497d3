"""Installing the backend's Python environment: what this computer is, what is installed, and how. No bpy.

:class:`InstallJob` makes an environment, :func:`remove` deletes it, :func:`clean_up` deletes what was left of either.
"""

from .job import InstallJob, clean_up, remove

__all__ = ["InstallJob", "clean_up", "remove"]
