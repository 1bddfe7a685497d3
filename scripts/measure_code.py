#!/usr/bin/env python3
"""How large the backend is: lines, named constants and unnamed numbers of each folder, and import cycles.

    .venvs/backend/bin/python scripts/measure_code.py                     # folders, and modules of backend/reconstruct
    .venvs/backend/bin/python scripts/measure_code.py --modules views     # modules of other folders
    .venvs/backend/bin/python scripts/measure_code.py --names reconstruct # the constants by name

A **named constant** is one of

* a name in capitals, with or without a leading underscore, that a module binds to a number, or to a tuple, list or dict
  of numbers; ``A, B = 1, 2`` binds two;
* a field, with such a default, of a dataclass whose name ends in ``Config``.

Numbers include what arithmetic makes of numbers alone (``2 * 5``). Not counted: what is computed from other names,
since it cannot be tuned on its own; classes other than those, such as enums; names bound to strings, or to tables of
indices, that is, to nothing but integers of which there are three or more, or two or more in tuples of their own.

An **unnamed number** is a floating-point number written inside a function, other than 0, 0.5, 1 and 2 and those below
1e-5, which guard against division by zero. Defaults of arguments count too. Each stands where a named constant might.

A **cycle** is a set of modules that import each other when loaded; imports inside functions, and those for type
checkers alone, do not count, nor does a module's import of the package that it lies in.
"""

from __future__ import annotations

import argparse
import ast
import sys
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
_TYPES_ONLY = "TYPE_CHECKING"
_PLAIN = (0.0, 0.5, 1.0, 2.0)
"""Floating-point numbers that need no name."""
_GUARD = 1e-5
"""Below this a number guards against division by zero."""


@dataclass(frozen=True)
class Measured:
    """What one module holds.

    Attributes:
        lines: of its file, blank ones and comments too.
        constants: names of its constants; fields as ``Class.field``.
        unnamed: lines and values of its unnamed numbers.
    """

    lines: int
    constants: tuple[str, ...]
    unnamed: tuple[tuple[int, float], ...]


def measure(path: Path) -> Measured:
    """The figures of one Python file."""
    text = path.read_text("utf-8")
    tree = ast.parse(text)
    constants: list[str] = []
    for node in tree.body:
        if isinstance(node, ast.Assign | ast.AnnAssign) and node.value is not None:
            targets = node.targets if isinstance(node, ast.Assign) else [node.target]
            constants += [name for target in targets for name in _constants(target, node.value)]
        elif isinstance(node, ast.ClassDef) and node.name.endswith("Config") and _is_dataclass(node):
            constants += [
                f"{node.name}.{ast.unparse(field.target)}"
                for field in node.body
                if isinstance(field, ast.AnnAssign) and field.value is not None and _is_numeric(_default(field.value))
            ]
    return Measured(len(text.splitlines()), tuple(constants), tuple(_unnamed(tree)))


def _constants(target: ast.expr, value: ast.expr) -> list[str]:
    """Names of constants that an assignment at the top of a module makes."""
    if isinstance(target, ast.Tuple) and isinstance(value, ast.Tuple) and len(target.elts) == len(value.elts):
        numbers = [number for element in value.elts for number in _numbers(element)]
        if _is_indices(value) or (all(isinstance(n, int) for n in numbers) and len(numbers) > 2):
            return []
        return [name for one, its in zip(target.elts, value.elts) for name in _constants(one, its)]
    if isinstance(target, ast.Name) and target.id.isupper() and _is_numeric(value) and not _is_indices(value):
        return [target.id]
    return []


def _is_numeric(value: ast.expr) -> bool:
    """Whether an expression is a number, or a tuple, list or dict of numbers."""
    if isinstance(value, ast.Dict):
        return bool(value.values) and all(_is_numeric(element) for element in value.values)
    if isinstance(value, ast.Tuple | ast.List):
        return bool(value.elts) and all(_is_numeric(element) for element in value.elts)
    if isinstance(value, ast.UnaryOp):
        return _is_numeric(value.operand)
    if isinstance(value, ast.BinOp):
        return _is_numeric(value.left) and _is_numeric(value.right)
    return (
        isinstance(value, ast.Constant) and isinstance(value.value, int | float) and not isinstance(value.value, bool)
    )


def _numbers(value: ast.expr) -> list[float]:
    """All numbers that are written in an expression."""
    return [
        node.value
        for node in ast.walk(value)
        if isinstance(node, ast.Constant) and isinstance(node.value, int | float) and not isinstance(node.value, bool)
    ]


def _is_indices(value: ast.expr) -> bool:
    """Whether a tuple or list is a table of indices."""
    if not isinstance(value, ast.Tuple | ast.List) or not all(isinstance(number, int) for number in _numbers(value)):
        return False
    return len(_numbers(value)) > 2 or all(isinstance(element, ast.Tuple | ast.List) for element in value.elts)


def _is_dataclass(node: ast.ClassDef) -> bool:
    return any("dataclass" in ast.unparse(decorator) for decorator in node.decorator_list)


def _default(value: ast.expr) -> ast.expr:
    """What ``field(default_factory=lambda: ...)`` gives; any other expression as it is."""
    if isinstance(value, ast.Call):
        for keyword in value.keywords:
            if keyword.arg == "default":
                return keyword.value
            if keyword.arg == "default_factory" and isinstance(keyword.value, ast.Lambda):
                return keyword.value.body
    return value


def _unnamed(tree: ast.Module) -> list[tuple[int, float]]:
    """Lines and values of unnamed numbers."""
    found = {
        (node.lineno, node.col_offset): node.value
        for function in ast.walk(tree)
        if isinstance(function, ast.FunctionDef | ast.AsyncFunctionDef)
        for node in ast.walk(function)
        if isinstance(node, ast.Constant) and isinstance(node.value, float)
    }
    return [(place[0], n) for place, n in sorted(found.items()) if n not in _PLAIN and n >= _GUARD]


def imports(package: Path) -> dict[str, set[str]]:
    """By module of a package, those of its own that it imports when it is loaded; a folder goes by its own name."""
    files = {name_of(path, package): path for path in sorted(package.rglob("*.py"))}
    return {name: _imported(name, path, set(files)) for name, path in files.items()}


def name_of(path: Path, package: Path) -> str:
    """``backend.body.fit`` of a file; a package has its folder's name."""
    return ".".join(path.relative_to(package.parent).with_suffix("").parts).removesuffix(".__init__")


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


def cycles(package: Path) -> list[list[str]]:
    """Sets of two or more modules of a package that import each other, sorted."""
    used = {
        name: {other for other in others if not name.startswith(f"{other}.")}
        for name, others in imports(package).items()
    }
    reached: dict[str, set[str]] = {}
    for start in used:
        found, open_ = set[str](), list(used[start])
        while open_:
            if (name := open_.pop()) not in found:
                found.add(name)
                open_ += used[name]
        reached[start] = found
    groups = {frozenset({a, *(b for b in reached[a] if a in reached[b])}) for a in used}
    return sorted(sorted(group) for group in groups if len(group) > 1)


def _row(name: str, found: list[Measured]) -> str:
    lines, constants, unnamed = (sum(n) for n in zip(*((m.lines, len(m.constants), len(m.unnamed)) for m in found)))
    return f"{name:<32}{lines:>8}{constants:>12}{unnamed:>10}"


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--package", type=Path, default=ROOT / "backend", help="what is measured")
    parser.add_argument("--modules", nargs="*", default=["reconstruct"], metavar="FOLDER", help="shown by module, too")
    parser.add_argument(
        "--names", nargs="*", default=[], metavar="FOLDER", help="whose constants and numbers are shown"
    )
    arguments = parser.parse_args()
    package: Path = arguments.package.resolve()
    found = {path.relative_to(package): measure(path) for path in sorted(package.rglob("*.py"))}
    print(f"{'':<32}{'lines':>8}{'constants':>12}{'unnamed':>10}")
    for folder in sorted({path.parts[0] for path in found if len(path.parts) > 1}):
        inside = {path: one for path, one in found.items() if path.parts[0] == folder}
        print(_row(f"{package.name}/{folder}", list(inside.values())))
        for path, one in inside.items():
            if folder in arguments.modules:
                print(_row(f"    {path.relative_to(folder)}", [one]))
            if folder in arguments.names:
                print("".join(f"        {name}\n" for name in one.constants), end="")
                print("".join(f"        line {line}: {value}\n" for line, value in one.unnamed), end="")
    print(_row("all", list(found.values())))
    circles = cycles(package)
    print(f"{len(circles)} import cycles")
    print("".join(f"    {' '.join(circle)}\n" for circle in circles), end="")
    return 0


if __name__ == "__main__":
    sys.exit(main())
