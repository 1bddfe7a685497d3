"""Which folder of the backend may import which, and that nothing imports itself by way of others."""

from __future__ import annotations

import ast
from functools import cache
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
LAYERS = (
    ("avatar", "errors", "progress", "__version__", "__init__"),
    ("manifest", "options", "photo", "devices", "threads"),
    ("geometry", "networks", "rendering", "turntable", "posing", "export"),
    ("body",),
    ("prepare",),
    ("estimate",),
    ("reconstruct",),
    ("views",),
    ("bind",),
    ("pipeline",),
    ("repair", "doctor"),
    ("server",),
    ("__main__",),
    ("research",),
)
"""From below: a layer may import those before it, and the other members of its own layer where no circle arises."""
_TYPES_ONLY = "TYPE_CHECKING"


@cache
def imports() -> dict[str, set[str]]:
    """By module of the backend, those of its own that it imports when it is loaded."""
    files = {name_of(path): path for path in sorted((ROOT / "backend").rglob("*.py"))}
    return {name: _imported(name, path, set(files)) for name, path in files.items()}


def name_of(path: Path) -> str:
    """``backend.body.fit``; a package has its folder's name."""
    return ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")


def _imported(name: str, path: Path, known: set[str]) -> set[str]:
    package = name if path.name == "__init__.py" else name.rpartition(".")[0]
    found: set[str] = set()
    for node in _loaded(ast.parse(path.read_text("utf-8")).body):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names} & known
        else:
            above = package.split(".")[: len(package.split(".")) - node.level + 1] if node.level else []
            target = ".".join([*above, *([node.module] if node.module else [])])
            for alias in node.names:
                inner = f"{target}.{alias.name}"
                found.add(inner if inner in known else target)
    return (found & known) - {name}


def _loaded(body: list[ast.stmt]) -> list[ast.Import | ast.ImportFrom]:
    """The imports that run when a module is loaded: none in functions, none for type checkers alone."""
    found: list[ast.Import | ast.ImportFrom] = []
    for node in body:
        if isinstance(node, ast.Import | ast.ImportFrom):
            found.append(node)
        elif isinstance(node, ast.If) and _TYPES_ONLY not in ast.unparse(node.test):
            found += _loaded(node.body) + _loaded(node.orelse)
        elif isinstance(node, ast.Try):
            found += _loaded(node.body) + [n for handler in node.handlers for n in _loaded(handler.body)]
    return found


def folder_of(module: str) -> str:
    """The first part of a module's name within the backend."""
    parts = module.split(".")
    return parts[1] if len(parts) > 1 else "__init__"


def test_no_module_imports_itself_by_way_of_others() -> None:
    graph = {name: {other for other in used if not name.startswith(f"{other}.")} for name, used in imports().items()}
    try:
        TopologicalSorter(graph).prepare()
    except CycleError as error:
        pytest.fail(" -> ".join(error.args[1]))


def test_folders_import_only_those_below_them() -> None:
    layer = {name: number for number, names in enumerate(LAYERS) for name in names}
    wrong = [
        f"{module} imports {other}"
        for module, used in imports().items()
        for other in used
        if layer[folder_of(other)] > layer[folder_of(module)]
    ]
    assert not wrong, "\n".join(wrong)


def test_nothing_that_ships_imports_research_and_only_the_avatar_is_free_of_pytorch() -> None:
    shipped = {name: used for name, used in imports().items() if folder_of(name) != "research"}
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
