"""The commands about local repositories."""

from __future__ import annotations

from pathlib import Path

import click

from pyproxy import repo_commands
from pyproxy.cli.asked import JSON, Asked, command, open_store
from pyproxy.cli.root import cli
from pyproxy.config.values import Wrong, some_duration


@cli.group()
def repo() -> None:
    """Local repositories: what was uploaded or added; every change makes a new version."""


def _duration(_ctx: click.Context, _param: click.Parameter, value: str | None) -> float | None:
    """Seconds, written as in the configuration."""
    try:
        return None if value is None else some_duration(value)
    except Wrong as exc:
        raise click.BadParameter(str(exc)) from exc


@repo.command("add")
@click.argument("repository")
@click.argument("wanted", metavar="(FILES | REQUIREMENTS)...", nargs=-1, required=True)
@click.option("--from-cache", is_flag=True, help="Keep what was pulled through: requirements, not files, say what.")
@click.option("--remote", metavar="NAME", help="Of this remote's cached files, where several have some.")
@JSON
@command
def repo_add(
    asked: Asked, *, repository: str, wanted: tuple[str, ...], from_cache: bool, remote: str | None, as_json: bool
) -> None:
    """Add wheels and sdists, or all of a folder; or what the cache holds of `name`, `name==1.0`, `name>=2`."""
    config = asked.loaded()
    if remote is not None and (not from_cache or remote not in config.remotes):
        raise click.UsageError("--remote names one of the remotes, beside --from-cache")
    with repo_commands.repositories(config, repository) as opened:
        if not from_cache:
            repo_commands.add(opened, repository, [Path(path) for path in wanted], as_json=as_json)
            return
        from pyproxy.repo_commands.from_cache import add_cached  # heavy: aiohttp, by the keys of cached files

        with open_store(asked) as store:
            add_cached(opened, store, config, repository, wanted, remote=remote, as_json=as_json)


@repo.command("remove")
@click.argument("repository")
@click.argument("requirements", nargs=-1, required=True)
@JSON
@command
def repo_remove(asked: Asked, *, repository: str, requirements: tuple[str, ...], as_json: bool) -> None:
    """Take files out of the latest version: `name`, `name==1.0`, `name>=2`."""
    with repo_commands.repositories(asked.loaded(), repository) as opened:
        repo_commands.change(opened.remove(repository, requirements), as_json=as_json)


@repo.command("yank")
@click.argument("repository")
@click.argument("requirements", nargs=-1, required=True)
@click.option("--reason", help="What clients are told.")
@JSON
@command
def repo_yank(
    asked: Asked, *, repository: str, requirements: tuple[str, ...], reason: str | None, as_json: bool
) -> None:
    """Mark releases as not to be chosen any more (PEP 592)."""
    with repo_commands.repositories(asked.loaded(), repository) as opened:
        repo_commands.change(opened.yank(repository, requirements, reason), as_json=as_json)


@repo.command("unyank")
@click.argument("repository")
@click.argument("requirements", nargs=-1, required=True)
@JSON
@command
def repo_unyank(asked: Asked, *, repository: str, requirements: tuple[str, ...], as_json: bool) -> None:
    """Take the mark away."""
    with repo_commands.repositories(asked.loaded(), repository) as opened:
        repo_commands.change(opened.unyank(repository, requirements), as_json=as_json)


@repo.command("copy")
@click.argument("source")
@click.argument("target")
@click.argument("requirements", nargs=-1, required=True)
@JSON
@command
def repo_copy(asked: Asked, *, source: str, target: str, requirements: tuple[str, ...], as_json: bool) -> None:
    """Promote files of one repository into another."""
    with repo_commands.repositories(asked.loaded(), source, target) as opened:
        repo_commands.change(opened.copy(source, target, requirements), as_json=as_json)


@repo.command("rollback")
@click.argument("repository")
@click.argument("version", type=int)
@JSON
@command
def repo_rollback(asked: Asked, *, repository: str, version: int, as_json: bool) -> None:
    """Make a new version that holds exactly what this one holds."""
    with repo_commands.repositories(asked.loaded(), repository) as opened:
        repo_commands.change(opened.rollback(repository, version), as_json=as_json)


@repo.command("list")
@click.argument("repository")
@click.option("--version", "version", type=int, help="Another than the latest.")
@JSON
@command
def repo_list(asked: Asked, *, repository: str, version: int | None, as_json: bool) -> None:
    """Every file."""
    with repo_commands.repositories(asked.loaded(), repository) as opened:
        repo_commands.listed(opened, repository, version, as_json=as_json)


@repo.command("versions")
@click.argument("repository")
@JSON
@command
def repo_versions(asked: Asked, *, repository: str, as_json: bool) -> None:
    """Every version, oldest first."""
    with repo_commands.repositories(asked.loaded(), repository) as opened:
        repo_commands.versions(opened, repository, as_json=as_json)


@repo.command("diff")
@click.argument("repository")
@click.argument("old", type=click.IntRange(0), required=False)
@click.argument("new", type=click.IntRange(0), required=False)
@JSON
@command
def repo_diff(asked: Asked, *, repository: str, old: int | None, new: int | None, as_json: bool) -> None:
    """Tell what changed from version OLD to NEW: to the latest, and from the one before it, where they are left out."""
    with repo_commands.repositories(asked.loaded(), repository) as opened:
        repo_commands.difference(opened, repository, old, new, as_json=as_json)


@repo.command("prune")
@click.argument("repository")
@click.option("--keep-last", "last", metavar="N", type=click.IntRange(1), help="Keep the last N versions.")
@click.option(
    "--keep-within", "within", metavar="DURATION", callback=_duration, help="And those shown within 30d, say."
)
@click.option("--dry-run", is_flag=True, help="Only tell what would go.")
@JSON
@command
def repo_prune(
    asked: Asked, *, repository: str, last: int | None, within: float | None, dry_run: bool, as_json: bool
) -> None:
    """Forget old versions, and drop the files that none holds any more; their names stay taken.

    The latest version stays, and those that a distribution of the configuration is pinned to.
    """
    if last is None and within is None:
        raise click.UsageError("say what stays: --keep-last N, --keep-within DURATION, or both")
    config = asked.loaded()
    with repo_commands.repositories(config, repository) as opened:
        repo_commands.prune(opened, config, repository, last=last, within=within, dry_run=dry_run, as_json=as_json)
