"""Lock files that name every file: `pylock.toml` (PEP 751) and `uv.lock`."""

from __future__ import annotations

import tomllib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Final, TypeAlias
from urllib.parse import unquote, urlsplit

from pyproxy.errors import BadName
from pyproxy.model import Filename, as_filename, as_project, printable
from pyproxy.wanted.values import Named, Unreadable, Wishes

LARGEST: Final = 64 << 20

_Table: TypeAlias = Mapping[str, Any]  # Any: TOML, whose shape is looked at where it is used


def read_lock(path: Path) -> Wishes:
    """What the lock file names, by whichever of the two it is. Raises Unreadable."""
    top = _toml(path)
    if "lock-version" in top:
        # PEP 751: who does not support the major version must say so, and later minor ones add to what is known.
        _understood(path, "lock-version", str(top["lock-version"]).partition(".")[0], top["lock-version"])
        return _collected(path, _tables(top, "packages", path), _pylock)
    if isinstance(top.get("version"), int) and ("package" in top or "requires-python" in top):
        _understood(path, "version", str(top["version"]), top["version"])
        return _collected(path, _tables(top, "package", path), _uv)
    raise Unreadable(f"{path}: neither a pylock.toml nor a uv.lock")


def _understood(path: Path, key: str, major: str, told: object) -> None:
    if major != "1":
        raise Unreadable(f"{path}: {key} {printable(str(told), 20)} is not understood, only 1")


def _toml(path: Path) -> _Table:
    try:
        with path.open("rb") as source:
            raw = source.read(LARGEST + 1)
        if len(raw) > LARGEST:
            raise Unreadable(f"{path}: larger than {LARGEST >> 20} MiB")
        return tomllib.loads(raw.decode())
    except OSError as exc:
        raise Unreadable(f"{path}: {exc.strerror or exc}") from exc
    except UnicodeDecodeError:
        raise Unreadable(f"{path}: is not text in UTF-8") from None
    except (tomllib.TOMLDecodeError, RecursionError) as exc:
        raise Unreadable(f"{path}: is not TOML: {exc}") from None


def _collected(path: Path, packages: list[_Table], read: Any) -> Wishes:  # Any: one of the two below
    named: dict[tuple[str, str], Named] = {}
    notes: list[str] = []
    mistakes: list[str] = []
    for package in packages:
        try:
            for found in read(package, f"{path}: {_name(package, path)}"):
                if isinstance(found, str):
                    notes.append(found)
                else:
                    named.setdefault((found.filename, str(sorted(found.hashes.items()))), found)
        except Unreadable as exc:
            mistakes += exc.mistakes
    if mistakes:
        raise Unreadable(*mistakes)
    return Wishes(named=tuple(named.values()), notes=tuple(notes))


def _uv(package: _Table, where: str) -> Iterator[Named | str]:
    """`[[package]]` with its source, its `sdist` and its `wheels`."""
    source = _table(package, "source")
    index = source.get("registry")
    if not isinstance(index, str) or not index.startswith(("http://", "https://")):
        if not source.keys() & {"editable", "virtual", "directory"}:  # the project itself, mostly
            yield f"{where} comes from no index; passed over"
        return
    for record in _records(package):
        algorithm, _, digest = str(record.get("hash") or "").partition(":")
        yield _named(package, record, {algorithm: digest.lower()} if digest else {}, index, where)


def _pylock(package: _Table, where: str) -> Iterator[Named | str]:
    """`[[packages]]`: one of vcs, directory and archive, or the files of an index."""
    if package.keys() & {"vcs", "directory", "archive"}:
        yield f"{where} comes from no index; passed over"
        return
    index = package.get("index")
    for record in _records(package):
        hashes = {str(name): str(digest).lower() for name, digest in _table(record, "hashes").items()}
        yield _named(package, record, hashes, index if isinstance(index, str) else None, where)


def _records(package: _Table) -> Iterator[_Table]:
    if sdist := _table(package, "sdist"):
        yield sdist
    wheels = package.get("wheels", [])
    if isinstance(wheels, list):
        yield from (wheel for wheel in wheels if isinstance(wheel, dict))


def _named(package: _Table, record: _Table, hashes: Mapping[str, str], index: str | None, where: str) -> Named:
    try:
        return Named(as_project(str(package.get("name"))), _filename(record), hashes, index, where)
    except BadName as exc:
        raise Unreadable(f"{where}: {exc}") from None


def _filename(record: _Table) -> Filename:
    """As it is told, else the last segment of the URL or path (PEP 751, `packages.wheels.name`)."""
    for key in ("name", "filename"):
        if isinstance(told := record.get(key), str):
            return as_filename(told)
    place = record.get("url") or record.get("path")
    path = urlsplit(place).path if isinstance(place, str) else ""
    return as_filename(unquote(path).rpartition("/")[2])


def _name(package: _Table, path: Path) -> str:
    name = package.get("name")
    if not isinstance(name, str):
        raise Unreadable(f"{path}: a package without a name")
    return name if name.isascii() and name.isprintable() else printable(name)


def _table(table: _Table, key: str) -> _Table:
    found = table.get(key)
    return found if isinstance(found, dict) else {}


def _tables(table: _Table, key: str, path: Path) -> list[_Table]:
    found = table.get(key, [])
    if not isinstance(found, list) or not all(isinstance(one, dict) for one in found):
        raise Unreadable(f"{path}: {key} is no array of tables")
    return found
