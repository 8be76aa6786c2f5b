"""The commands about what a distribution offers: warm, explain."""

from __future__ import annotations

import asyncio
import logging
import platform
import re
import sys
from collections.abc import Callable
from contextlib import AbstractAsyncContextManager
from dataclasses import asdict
from pathlib import Path

import click
import msgspec

from pyproxy import progress, wanted
from pyproxy.cli.asked import FAILED, WRONG, Asked, command, say
from pyproxy.cli.root import cli
from pyproxy.config import Config
from pyproxy.errors import BadName, BadRequirement
from pyproxy.model import as_project
from pyproxy.selection import as_selector
from pyproxy.units import as_size


@cli.command()
@click.argument("distribution", metavar="DIST")
@click.argument("requirements", metavar="[REQ]...", nargs=-1)
@click.option(
    "-r",
    "--requirement",
    "files",
    metavar="FILE",
    multiple=True,
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help="requirements.txt, uv.lock or pylock.toml; of a lock file exactly the files that it names.",
)
@click.option("--only", metavar="GLOB", multiple=True, help="Only files with such a name: '*-cp312-*', '*.tar.gz'.")
@click.option(
    "--python",
    "pythons",
    metavar="VERSION",
    multiple=True,
    callback=lambda _context, _option, given: _as_pythons(given),
    help="The newest releases for this Python; may be repeated.  [default: that of pyproxy, and any from 3.8 on]",
)
@click.option("--no-deps", is_flag=True, help="Not what the requirements depend on.")
@click.option("--json", "as_json", is_flag=True, help="For machines.")
@command
def warm(
    asked: Asked,
    *,
    distribution: str,
    requirements: tuple[str, ...],
    files: tuple[Path, ...],
    only: tuple[str, ...],
    pythons: tuple[str | None, ...],
    no_deps: bool,
    as_json: bool,
) -> None:
    """Fill the cache ahead of need: the files and metadata of the newest releases that fit, for every platform.

    Dependencies come along, as far as any machine may want them: whatever marker they have, without solving for
    versions that go together; a lock file does that. Works beside the running daemon and without it.
    """
    if not requirements and not files:
        raise click.UsageError("name requirements, or a file with -r")
    try:
        wishes = wanted.gathered(requirements, files)
    except wanted.Unreadable as exc:
        for mistake in exc.mistakes:
            say(mistake)
        sys.exit(WRONG)
    config = asked.loaded()
    _there(config, distribution)
    from pyproxy import warming  # heavy: aiohttp and the index; other commands do without

    def watch(now: Callable[[], progress.Progress]) -> AbstractAsyncContextManager[None]:
        return progress.shown(sys.stderr, now)

    work = warming.warm(config, distribution, wishes, only=only, pythons=pythons, deps=not no_deps, watch=watch)
    outcome = asyncio.run(work)
    if as_json:
        click.echo(msgspec.json.encode({"distribution": distribution, **asdict(outcome)}))
    else:
        for note in outcome.notes:
            say(note, level=logging.INFO, as_text="note: ")
        for what, why in sorted(outcome.failed.items()):
            say(f"{what}: {why}", as_text="failed: ")
        came = f"fetched {outcome.fetched} files, {as_size(outcome.nbytes)}; {outcome.already} were there"
        click.echo(came + (f"; {len(outcome.failed)} failed" if outcome.failed else ""))
    if outcome.failed:
        sys.exit(FAILED)


def _as_pythons(given: tuple[str, ...]) -> tuple[str | None, ...]:
    for python in given:
        if not re.fullmatch(r"\d+\.\d+(\.\d+)?", python, re.ASCII):
            raise click.BadParameter(f"not a version of Python, such as 3.12: {python}")
    # None: the newest that any Python takes, for whoever is not as old as this one.
    return given or (None, platform.python_version())


@cli.command()
@click.argument("distribution", metavar="DIST")
@click.argument("requirement", metavar="REQ")
@click.option("--json", "as_json", is_flag=True, help="For machines.")
@command
def explain(asked: Asked, *, distribution: str, requirement: str, as_json: bool) -> None:
    """Tell of every file of a project whether it is shown or hidden, and which line of the configuration decides.

    Filters, merge rules, the order of remotes and guards. Works beside the running daemon and without it.
    """
    try:
        meant = as_selector(requirement)
        project = as_project(meant.names)
    except (BadRequirement, BadName):
        raise click.BadParameter("must be a project's name, and after it versions", param_hint="REQ") from None
    config = asked.loaded()
    _there(config, distribution)
    from pyproxy import explaining  # heavy: aiohttp and the index; other commands do without
    from pyproxy.beside import beside  # heavy: as above

    async def run() -> explaining.Explanation:
        async with beside(config) as site:
            of = next(one for one in site.distributions.values() if one.name == distribution)
            return await explaining.explain(site, of, project)

    found = explaining.of_versions(asyncio.run(run()), meant)
    if as_json:
        click.echo(msgspec.json.encode(explaining.as_object(found)))
    else:
        click.echo("\n".join(explaining.as_text(found)))


def _there(config: Config, distribution: str) -> None:
    """Ends the command where no distribution is called so."""
    if distribution not in config.distributions:
        there = ", ".join(config.distributions)
        raise click.BadParameter(f"no distribution is called {distribution}; there are: {there}", param_hint="DIST")
