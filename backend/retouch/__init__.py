"""Pictures of an avatar for an image editor, and retouched ones taken over into its splats' colours.

Nothing heavy is imported here: the command line and the server ask for :data:`VIEWS` when they start.
"""

from __future__ import annotations

VIEWS = {"front": 0.0, "left": 90.0, "back": 180.0, "right": 270.0}
"""Degrees about the vertical at which the camera stands, towards the person's left; 0 faces the photo's side."""
