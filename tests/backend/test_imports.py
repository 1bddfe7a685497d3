"""Which folder of the backend may import which, and that nothing imports itself by way of others."""

from __future__ import annotations

import ast
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "scripts"))

import measure_code  # noqa: E402  (after the path)

LAYERS = (
    ("avatar", "errors", "progress", "stages", "__version__", "__init__"),
    ("manifest", "options", "photo", "devices", "threads"),
    ("geometry", "models", "networks", "rendering", "turntable", "posing", "export"),
    ("body",),
    ("prepare",),
    ("estimate",),
    ("reconstruct",),
    ("views",),
    ("bind", "assemble", "likeness", "output", "steps", "retouch"),
    ("pipeline",),
    ("repair", "doctor"),
    ("server",),
    ("__main__",),
    ("research",),
)
"""From below: a layer may import those before it, and the other members of its own layer where no circle arises."""


IMPORTS = measure_code.imports(ROOT / "backend")
"""By module of the backend, those of its own that it imports when it is loaded."""


def folder_of(module: str) -> str:
    """The first part of a module's name within the backend."""
    parts = module.split(".")
    return parts[1] if len(parts) > 1 else "__init__"


def test_no_module_imports_itself_by_way_of_others() -> None:
    assert not measure_code.cycles(ROOT / "backend")


def test_folders_import_only_those_below_them() -> None:
    layer = {name: number for number, names in enumerate(LAYERS) for name in names}
    wrong = [
        f"{module} imports {other}"
        for module, used in IMPORTS.items()
        for other in used
        if layer[folder_of(other)] > layer[folder_of(module)]
    ]
    assert not wrong, "\n".join(wrong)


def test_nothing_that_ships_imports_research_and_only_the_avatar_is_free_of_pytorch() -> None:
    shipped = {name: used for name, used in IMPORTS.items() if folder_of(name) != "research"}
    assert not [name for name, used in shipped.items() if any(folder_of(other) == "research" for other in used)]
    for path in (ROOT / "backend" / "avatar").rglob("*.py"):
        roots = {
            name.split(".")[0]
            for node in ast.walk(ast.parse(path.read_text("utf-8")))
            for name in (
                [a.name for a in node.names]
                if isinstance(node, ast.Import)
                else [node.module or ""]
                if isinstance(node, ast.ImportFrom) and not node.level
                else []
            )
        }
        assert not roots & {"torch", "bpy", "cv2", "diffusers"}, path
