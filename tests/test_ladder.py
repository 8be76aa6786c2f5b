"""The package keeps the ladder of imports, and the checker finds what does not."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.ladder import DECLARED, PACKAGE, ROOT, Modules, cycles, faults, rung_of


def test_package__stands_on_the_ladder() -> None:
    modules = Modules.below(ROOT / PACKAGE)

    assert {"errors", "model"} <= set(modules.sources)
    assert "\n".join(faults(modules)) == ""


def test_declared_steps__are_on_one_rung_and_make_no_cycle() -> None:
    assert all(rung_of(importer) == rung_of(imported) for importer, imported in DECLARED)

    assert cycles({importer: {to for source, to in DECLARED if source == importer} for importer, _ in DECLARED}) == []


@pytest.mark.parametrize(
    ("name", "source", "expected"),
    [
        ("cli", "from pyproxy import app, model", None),
        ("site", "from pyproxy.index import cached", None),
        ("index.cached", "from pyproxy.index.protocol import Index", None),
        ("index.cached", "from .protocol import Index", None),
        ("index.cached", "from pyproxy.index.keeper import Keeper", None),
        ("storage.cache", "from pyproxy.storage import blobs", None),
        ("handlers.pages", "from pyproxy.handlers.respond import respond", None),
        ("upstream", "import aiohttp", None),
        ("__main__", "from pyproxy.cli import main", None),
        ("config", "from pyproxy.machine_index import machine_index", None),
        ("app", "def f():\n    import pyproxy.model  # heavy: a reason", None),
        ("model", "import pyproxy.upstream", "which stands above it"),
        ("model", "from pyproxy import upstream", "which stands above it"),
        ("model", "from . import upstream", "which stands above it"),
        ("storage.cache", "from ..index.cached import Cached", "which stands above it"),
        ("model", "if TYPE_CHECKING:\n    from pyproxy.index.cached import Cached", "which stands above it"),
        ("errors", "importlib.import_module('pyproxy.model')", "which stands above it"),
        ("index.cached", "from pyproxy.index.merged import Merged", "which stands beside it"),
        ("index.cached", "from .merged import Merged", "which stands beside it"),
        ("index.merged", "from pyproxy.index.keeper import Keeper", "which stands beside it"),
        ("arrival", "from pyproxy import auth", "which stands beside it"),
        ("upstream.pool", "from pyproxy.storage.blobs import Blobs", "which stands beside it"),
        ("machine_index", "from pyproxy import config", "which stands beside it"),
        ("index", "from pyproxy.index.cached import Cached", "which stands above it"),
        ("", "from pyproxy.errors import PyproxyError", "importing anything imports it first"),
        ("app", "def f():\n    import pyproxy.model", "inside a function"),
        ("app", "async def f():\n    import numpy", "inside a function"),
        ("app", "def f():\n    import numpy  # heavy:", "inside a function"),
        ("stray", "import json", "no place on the ladder"),
        ("app", "import pyproxy.stray", "no place on the ladder"),
    ],
)
def test_faults__of_one_import(name: str, source: str, expected: str | None) -> None:
    others = (
        "model",
        "errors",
        "upstream",
        "app",
        "auth",
        "cli",
        "config",
        "index.cached",
        "index.merged",
        "storage.blobs",
    )
    modules = Modules(dict.fromkeys(others, '"""A room."""'))
    modules.sources[name] = f'"""A room."""\n{source}'

    found = faults(modules)

    if expected is None:
        assert found == []
    else:
        assert any(expected in fault for fault in found), found


def test_faults__cycle_inside_one_package__is_named() -> None:
    modules = Modules(
        {
            "storage.blobs": '"""Bytes."""\nfrom pyproxy.storage import cache',
            "storage.cache": '"""Which bytes."""\nfrom pyproxy.storage import blobs',
        }
    )

    assert faults(modules) == ["a cycle: pyproxy.storage.blobs > pyproxy.storage.cache > pyproxy.storage.blobs"]


def test_faults__no_opening_sentence() -> None:
    assert faults(Modules({"model": "import json"})) == [
        "pyproxy.model: does not open with a sentence that says what it owns"
    ]


def test_below__reads_packages_by_their_folder(tmp_path: Path) -> None:
    (tmp_path / "storage").mkdir()
    (tmp_path / "__init__.py").write_text('"""All."""')
    (tmp_path / "storage" / "__init__.py").write_text('"""Bytes."""')
    (tmp_path / "storage" / "blobs.py").write_text("from . import __doc__")

    modules = Modules.below(tmp_path)

    assert sorted(modules.sources) == ["", "storage", "storage.blobs"]
    assert [step.target for step in modules.imports("storage.blobs")] == ["storage"]
