"""The project as a whole: what no file may say, and what the documents and examples promise."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
import tomllib
from collections.abc import Iterator, Mapping
from importlib.metadata import packages_distributions
from pathlib import Path
from typing import Any

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from tests.ladder import PACKAGE, ROOT, RUNGS, Modules, room_of

# Folders of somebody's own things, at the start of a path or of a file: URL; /etc, /opt and /var are the system's.
_OWN = "home|mnt|private|root|tmp|Users|work|workspace"
_MACHINE_PATH = re.compile(rf"(?:(?<![\w./)}}~*-])|(?<=file://))/(?:{_OWN})/[\w.]")


def _tracked() -> Mapping[str, str]:
    """The text of every file that git tracks or would track."""
    if not (ROOT / ".git").exists():
        pytest.skip("no git checkout, so nothing tells which files are the project's")
    command = ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"]
    listed = subprocess.run(command, cwd=ROOT, check=True, capture_output=True).stdout
    paths = [ROOT / name for name in listed.decode().split("\0") if name]
    return {str(path.relative_to(ROOT)): path.read_bytes().decode("latin-1") for path in paths if path.is_file()}


def _public_registries() -> list[str]:
    """The host names of the public registries, as the installed pip knows them: none is written down here."""
    ask = (
        "from pip._internal.models.index import PyPI, TestPyPI\n"
        "print(*(host for index in (PyPI, TestPyPI) for host in (index.netloc, index.file_storage_domain)))"
    )
    return subprocess.run([sys.executable, "-c", ask], check=True, capture_output=True, text=True).stdout.split()


def _mentions(texts: Mapping[str, str], pattern: re.Pattern[str]) -> Iterator[str]:
    for name, text in texts.items():
        for number, line in enumerate(text.splitlines(), 1):
            if pattern.search(line):
                yield f"{name}:{number}: {line.strip()[:100]}"


def test_files__name_no_public_registry() -> None:
    hosts = _public_registries()
    pattern = re.compile("|".join(map(re.escape, hosts)), re.IGNORECASE)

    assert len(hosts) == 4
    assert list(_mentions({"a": f"https://{hosts[0].upper()}/simple/"}, pattern))
    assert list(_mentions(_tracked(), pattern)) == []


def test_files__name_no_path_of_a_machine() -> None:
    assert list(_mentions(_tracked(), _MACHINE_PATH)) == []


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("see {}home{}someone", True),
        ('"{}tmp{}x"', True),
        ("unix:{}tmp{}sock", True),
        ("file://{}root{}pip.conf", True),
        ("DATA{}tmp{}x", False),
        ("https://index.example{}root{}simple", False),
        ("{}var{}lib", False),
    ],
)
def test_machine_path__is_told_from_others(text: str, expected: bool) -> None:  # noqa: FBT001 (a column of the table)
    assert bool(_MACHINE_PATH.search(text.format("/", "/"))) is expected


def test_lock_files__are_not_kept() -> None:
    kept = {Path(name).name for name in _tracked()}

    assert not kept & {"uv.lock", "poetry.lock", "pdm.lock", "Pipfile.lock", "pylock.toml"}


def _project() -> dict[str, Any]:  # Any: what TOML holds
    return tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))


def _dependencies() -> set[str]:
    return {canonicalize_name(Requirement(line).name) for line in _project()["project"]["dependencies"]}


def test_imports__are_declared_dependencies() -> None:
    providers = packages_distributions()
    modules = Modules.below(ROOT / PACKAGE)
    imported = {
        name.partition(".")[0]
        for source in modules.sources.values()
        for node in ast.walk(ast.parse(source))
        for name in _absolute_names(node)
    }
    foreign = imported - set(sys.stdlib_module_names) - {PACKAGE}

    assert foreign
    undeclared = {
        name for name in foreign if not {canonicalize_name(one) for one in providers.get(name, [])} & _dependencies()
    }
    assert undeclared == set()


def _absolute_names(node: ast.AST) -> list[str]:
    match node:
        case ast.Import(names=aliases):
            return [alias.name for alias in aliases]
        case ast.ImportFrom(module=str(module), level=0):
            return [module]
    return []


def test_dependencies__each_has_its_reason_in_architecture() -> None:
    table = (ROOT / "ARCHITECTURE.md").read_text("utf-8").partition("## Dependencies")[2]

    assert set(re.findall(r"^\| ([a-z][a-z0-9-]*) \|", table, re.MULTILINE)) - {"what"} == _dependencies()


def test_architecture__names_every_room_that_is_there() -> None:
    rooms = {room_of(name) for name in Modules.below(ROOT / PACKAGE).sources} - {"", None}
    text = (ROOT / "ARCHITECTURE.md").read_text("utf-8")

    missing = {room for room in rooms if room and not re.search(rf"`{room.partition('.')[0]}/?`", text)}
    assert missing == set()


def test_architecture__shows_the_ladder_that_is_checked() -> None:
    text = (ROOT / "ARCHITECTURE.md").read_text("utf-8")
    shown = next(block for block in re.findall(r"(?:^    .*\n)+", text, re.MULTILINE) if "errors" in block)
    words = {"index components": "index.*"}
    words |= {f"index {room}": f"index.{room}" for room in ("protocol", "patience", "made_pages")}
    rungs = [{words.get(room.strip(), room.strip()) for room in rung.split("|")} for rung in shown.split(">")]

    unsaid = {"__main__", "index", ""}  # with cli; the package that holds the protocol; what everybody imports
    assert rungs == [set(rung) - unsaid for rung in RUNGS if set(rung) - unsaid]


def test_lint__each_ignored_rule_says_why() -> None:
    lines = (ROOT / "pyproject.toml").read_text("utf-8").splitlines()

    ignored = [line for line in lines if re.match(r'\s+"[A-Z]+[0-9]*",', line)]
    assert len(ignored) > 10
    assert [line for line in ignored if "# " not in line] == []


def test_readme__begins_with_the_two_commands() -> None:
    first, second, *_ = (ROOT / "README.md").read_text("utf-8").splitlines()

    assert first.strip().startswith("git clone ")
    assert first.endswith("make run")
    assert second.strip().startswith("pip install --index-url http://127.0.0.1:7974/simple/ ")


@pytest.mark.parametrize("document", ["README.md", "ARCHITECTURE.md", "CONTRIBUTING.md", "CHANGELOG.md"])
def test_documents__link_to_files_that_are_there(document: str) -> None:
    links = re.findall(r"\]\((?!https?:)([^)#]+)\)", (ROOT / document).read_text("utf-8"))

    assert [link for link in links if not (ROOT / link).exists()] == []


def test_changelog__keeps_a_section_for_the_next_release() -> None:
    assert "\n## [Unreleased]\n" in (ROOT / "CHANGELOG.md").read_text("utf-8")
