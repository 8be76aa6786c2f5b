"""The ladder of imports (ARCHITECTURE.md) and its checker.

Imports point down, and rooms on one rung do not know each other.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
PACKAGE = "pyproxy"

# From the top. A room is a module or a package with all that is in it; inside a package there may be no cycle.
RUNGS: tuple[tuple[str, ...], ...] = (
    ("__main__", "cli"),
    ("workers", "repo_commands", "warming"),
    ("app",),
    ("repeats",),
    ("wire", "reload", "handlers"),
    ("explaining", "beside"),
    ("site",),
    (
        "index.*",
        "renderings",
        "list_renderings",
        "collisions",
    ),  # each component of the index by itself: one behaviour a file
    (
        "index",
        "index.protocol",
        "index.patience",
        "index.made_pages",
        "arrival",
        "shared_arrival",
        "arrivals",
        "auth",
        "upkeep",
    ),
    ("upstream", "filters", "storage", "singleflight", "fellows"),
    (
        "simple_api",
        "json_api",
        "encoding",
        "listing",
        "lists_folder",
        "wheel",
        "wanted",
        "progress",
        "upload",
        "digests",
        "freshness",
        "config",
        "machine_index",
        "news",
        "metrics",
        "logs",
    ),
    ("selection",),
    (
        "model",
        "part",
        "pouring",
        "secret",
        "units",
        "instants",
        "counted",
        "binding",
        "deadlines",
        "quick_aiohttp",
        "garbage",
    ),
    ("errors",),
    ("",),  # pyproxy/__init__.py, which everybody imports by importing anything
)

# The few steps between rooms of one rung, from the importer to the imported; together they may make no cycle.
DECLARED = {
    ("__main__", "cli"),
    ("listing", "simple_api"),
    ("listing", "encoding"),
    ("lists_folder", "listing"),
    ("lists_folder", "simple_api"),
    ("lists_folder", "encoding"),
    ("simple_api", "encoding"),
    ("config", "machine_index"),
    ("arrivals", "arrival"),
    ("shared_arrival", "arrival"),
    ("index.protocol", "arrival"),  # a file's bytes may be the answer while they are still on their way
}

# A component too large for one file: its parts are one room with it, which no other component enters.
PARTS = {
    "index.archives": "index.cached",
    "index.companions": "index.cached",
    "index.documents": "index.cached",
    "index.keeper": "index.cached",
    "index.lists": "index.cached",
    "index.range_metadata": "index.cached",
    "index.remote_details": "index.cached",
    "index.remote_files": "index.cached",
    "index.shelf": "index.cached",
    "index.stored_companions": "index.cached",
    "index.stored_pages": "index.cached",
}

_HEAVY = re.compile(r"#\s*heavy:\s*\S")


@dataclass(frozen=True, slots=True)
class Import:
    """One import of a module of the package. `target` is its name without "pyproxy."."""

    target: str
    line: int
    inside_function: bool


@dataclass(slots=True)
class Modules:
    """The modules of a package folder: their names without the package's own, and what they import of it."""

    sources: dict[str, str] = field(default_factory=dict)

    @classmethod
    def below(cls, folder: Path) -> Modules:
        modules = cls()
        for path in sorted(folder.rglob("*.py")):
            parts = path.relative_to(folder).with_suffix("").parts
            name = ".".join(parts[:-1] if parts[-1] == "__init__" else parts)
            modules.sources[name] = path.read_text("utf-8")
        return modules

    def imports(self, name: str) -> Iterator[Import]:
        for node, inside in _walk(ast.parse(self.sources[name])):
            for target in dict.fromkeys(self._targets(name, node)):
                yield Import(target, getattr(node, "lineno", 0), inside)

    def _targets(self, name: str, node: ast.AST) -> Iterator[str]:
        match node:
            case ast.Import(names=aliases):
                for alias in aliases:
                    yield from self._own(alias.name)
            case ast.ImportFrom(module=module, names=aliases, level=level):
                base = ".".join([*self._base(name, level), module] if module else self._base(name, level))
                for alias in aliases:
                    # "from pyproxy import model" names a module, "from pyproxy.model import File" a thing in one.
                    inner = f"{base}.{alias.name}".removeprefix(f"{PACKAGE}.")
                    yield from self._own(f"{base}.{alias.name}" if inner in self.sources else base)
            case ast.Call(
                func=ast.Name(id=called) | ast.Attribute(attr=called), args=[ast.Constant(value=str(text)), *_]
            ):
                if called in {"import_module", "__import__"}:
                    yield from self._own(text)

    def _base(self, name: str, level: int) -> list[str]:
        if level == 0:
            return []
        parts = [PACKAGE, *filter(None, name.split("."))]
        is_package = name == "" or any(other.startswith(f"{name}.") for other in self.sources)
        return parts[: len(parts) - level + is_package]

    @staticmethod
    def _own(dotted: str) -> Iterator[str]:
        if dotted == PACKAGE or dotted.startswith(f"{PACKAGE}."):
            yield dotted[len(PACKAGE) + 1 :]


def _walk(root: ast.AST) -> Iterator[tuple[ast.AST, bool]]:
    """All that is below it, in the order of the source, and whether it stands inside a function."""
    waiting = [(root, False)]
    while waiting:
        node, inside = waiting.pop()
        if node is not root:
            yield node, inside
        inside = inside or isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda)
        waiting += [(child, inside) for child in reversed(list(ast.iter_child_nodes(node)))]


def room_of(module: str) -> str | None:
    """The room on the ladder that a module belongs to; None where it has none yet."""
    rooms = {room for rung in RUNGS for room in rung}
    if module in PARTS:
        return PARTS[module]
    if module in rooms:
        return module
    package = module.partition(".")[0]
    if f"{package}.*" in rooms:
        return ".".join(module.split(".")[:2])  # a component that became a package is still one room
    return package if package in rooms else None


def rung_of(room: str) -> int:
    """How far below the top a room is."""
    for depth, rung in enumerate(RUNGS):
        if room in rung:
            return depth
    return next(depth for depth, rung in enumerate(RUNGS) if f"{room.partition('.')[0]}.*" in rung)


def faults(modules: Modules) -> list[str]:
    """Every breach of the ladder, one line each."""
    found = []
    edges: dict[str, set[str]] = {name: set() for name in modules.sources}
    for name, source in modules.sources.items():
        tree = ast.parse(source)
        room = room_of(name)
        if not ast.get_docstring(tree):
            found.append(f"{_shown(name)}: does not open with a sentence that says what it owns")
        if room is None:
            found.append(f"{_shown(name)}: has no place on the ladder")
            continue
        lines = source.splitlines()
        for step in modules.imports(name):
            edges[name].add(step.target)
            why = _breach(room, room_of(step.target))
            if why:
                found.append(f"{_shown(name)}:{step.line}: imports {_shown(step.target)}, {why}")
            if step.inside_function and not _HEAVY.search(lines[step.line - 1]):
                found.append(f"{_shown(name)}:{step.line}: imports {_shown(step.target)} inside a function")
        found += _hidden_imports(name, tree, lines)
    found += [f"a cycle: {' > '.join(map(_shown, cycle))}" for cycle in cycles(edges)]
    return found


def _breach(importer: str, imported: str | None) -> str | None:
    if imported is None:
        return "which has no place on the ladder"
    if importer == imported or (importer, imported) in DECLARED:
        return None
    if importer == "" and imported != "":
        return "but importing anything imports it first"
    above, below = rung_of(importer), rung_of(imported)
    if above > below:
        return "which stands above it"
    return "which stands beside it" if above == below else None


def _hidden_imports(name: str, tree: ast.Module, lines: list[str]) -> Iterator[str]:
    """Imports of other packages inside functions, too, say what makes them heavy."""
    for node, inside in _walk(tree):
        foreign = isinstance(node, ast.Import | ast.ImportFrom) and not list(Modules({name: ""})._targets(name, node))
        if inside and foreign and not _HEAVY.search(lines[getattr(node, "lineno", 1) - 1]):
            yield f"{_shown(name)}:{getattr(node, 'lineno', 0)}: imports inside a function without `# heavy:` and why"


def cycles(edges: Mapping[str, Iterable[str]]) -> list[list[str]]:
    """The cycles of modules that import each other, each once, as a path that ends where it begins."""
    found: list[list[str]] = []
    done: set[str] = set()

    def visit(name: str, path: list[str]) -> None:
        if name in path:
            found.append([*path[path.index(name) :], name])
            return
        if name in done:
            return
        for target in sorted(edges.get(name, ())):
            visit(target, [*path, name])
        done.add(name)

    for name in sorted(edges):
        visit(name, [])
    return found


def _shown(name: str) -> str:
    return f"{PACKAGE}.{name}" if name else PACKAGE
