"""What a repository holds, which versions it has, and what changed between two of them. Changes nothing."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from datetime import UTC, datetime

import click
import msgspec

from pyproxy.model import as_project
from pyproxy.storage.repository import Diff, LocalFile, Repositories


def listed(opened: Repositories, repository: str, version: int | None, *, as_json: bool) -> None:
    """Every file of a version."""
    number = opened.latest(repository) if version is None else version
    rows = [
        msgspec.to_builtins(file)
        for name in opened.projects(repository, number)
        for file in opened.page_files(repository, as_project(name), number)
    ]
    _show(rows, lambda row: f"{row['filename']}{_mark(row.get('yanked', False))}", as_json=as_json)


def versions(opened: Repositories, repository: str, *, as_json: bool) -> None:
    """Every version that was not pruned."""
    rows = [
        {**_fields(version), "created_at": datetime.fromtimestamp(version.created_at, UTC).isoformat()}
        for version in opened.versions(repository)
    ]

    def line(row: dict[str, object]) -> str:
        change = f"{row['action']}  +{row['added']} -{row['removed']}"
        return f"{row['number']:>6}  {row['created_at']}  {change}  {row['files']} files  {row['summary']}"

    _show(rows, line, as_json=as_json)


def difference(opened: Repositories, repository: str, a: int | None, b: int | None, *, as_json: bool) -> None:
    """What changed from version `a` to version `b`, the latest; from the one before that where `a` is not given."""
    after = opened.latest(repository) if b is None else b
    before = _before(opened, repository, after) if a is None else a
    kinds = _kinds(opened.diff(repository, before, after))
    if as_json:
        told = {kind: [msgspec.to_builtins(file) for file in files] for kind, files in kinds.items()}
        click.echo(msgspec.json.encode({"repository": repository, "from": before, "to": after, **told}))
        return
    for kind, files in kinds.items():
        for file in files:
            reason = f" ({file.yanked})" if isinstance(file.yanked, str) and file.yanked else ""
            click.echo(f"{kind}: {file.filename}{reason}")
    click.echo(f"version {before} to {after}")


def _before(opened: Repositories, repository: str, version: int) -> int:
    """The version before this one, of those that were not pruned; 0, the empty one, before the first."""
    earlier = [one.number for one in opened.versions(repository) if one.number < version]
    return earlier[-1] if earlier else 0


def _kinds(diff: Diff) -> dict[str, list[LocalFile]]:
    """The files by what happened to them. One that was yanked anew for another reason counts as yanked."""
    kinds: dict[str, list[LocalFile]] = {"added": [*diff.added], "removed": [*diff.removed]}
    kinds |= {"yanked": [], "unyanked": [], "changed": []}
    for old, new in diff.changed:
        kind = "changed" if old.yanked == new.yanked else "unyanked" if new.yanked is False else "yanked"
        kinds[kind].append(new)
    return kinds


def _mark(yanked: object) -> str:
    return "" if yanked is False else " (yanked)" if yanked is True else f" (yanked: {yanked})"


def _fields(struct: msgspec.Struct) -> dict[str, object]:
    """A struct's fields by name, whatever its encoding."""
    return {name: getattr(struct, name) for name in struct.__struct_fields__}


def _show(rows: Iterable[dict[str, object]], line: Callable[[dict[str, object]], str], *, as_json: bool) -> None:
    """One line a row, for people or for machines."""
    for row in rows:
        click.echo(msgspec.json.encode(row) if as_json else line(row))
