"""The commands: what is typed, and the exit codes (0 done, 1 failed while running, 2 wrong usage or configuration)."""

from __future__ import annotations

import asyncio
import logging
import os
import platform
import re
import sys
from collections.abc import Callable, Iterator
from contextlib import AbstractAsyncContextManager, contextmanager
from dataclasses import asdict, dataclass
from functools import wraps
from itertools import chain
from pathlib import Path
from typing import Any, NoReturn

import click
import msgspec

from pyproxy import __version__, progress, reload, repo_commands, wanted
from pyproxy.auth import new_token
from pyproxy.config import Config, Flags, describe, find, load, warnings
from pyproxy.config.values import Wrong, some_duration
from pyproxy.errors import BadName, BadRequirement, ConfigError, PyproxyError
from pyproxy.logs import Format, Level, setup, shutdown
from pyproxy.model import as_project
from pyproxy.selection import as_selector
from pyproxy.storage import store as storage
from pyproxy.storage.rebuild import rebuild_local
from pyproxy.storage.repository import open_local
from pyproxy.units import ago, as_size

log = logging.getLogger(__name__)

FAILED = 1
WRONG = 2


@dataclass(frozen=True, slots=True)
class Asked:
    """What every command is told by its options."""

    config: Path | None
    flags: Flags
    log_format: Format = "text"
    log_level: Level = "info"

    def load(self) -> Config:
        """Raises ConfigError. Blocking: the machine's index may be asked of pip."""
        path = self.config if self.config is not None else find(Path.cwd(), os.environ)
        return load(path, flags=self.flags)

    def loaded(self) -> Config:
        """The configuration, or the end of the process with a line for each mistake."""
        try:
            return self.load()
        except ConfigError as exc:
            for mistake in exc.mistakes:
                _say(mistake)
            sys.exit(WRONG)


_COMMON = (
    click.option(
        "--log-level",
        type=click.Choice(["debug", "info", "warning", "error"]),
        default="info",
        help="From which level on; info has a line a request.",
    ),
    click.option(
        "--log-format", type=click.Choice(["text", "json"]), default="text", help="One line an event, on stderr."
    ),
    click.option(
        "--upstream", metavar="URL", help="Stands in for the machine's own index, in every remote without a url."
    ),
    click.option("--data", metavar="DIR", type=click.Path(path_type=Path), help="Where the store lies."),
    click.option("--config", metavar="FILE", type=click.Path(path_type=Path), help="The configuration (YAML)."),
)


def command(run: Callable[..., None]) -> Callable[..., None]:
    """Gives a command the options that all of them take, as one `Asked` before its own."""

    @wraps(run)
    def with_options(
        *,
        config: Path | None,
        data: Path | None,
        upstream: str | None,
        log_format: Format,
        log_level: Level,
        listen: str | None = None,
        workers: str | None = None,
        **own: Any,  # Any: the options of the command itself
    ) -> None:
        setup(log_format, log_level)
        try:
            flags = Flags(data=data, upstream=upstream, listen=listen, workers=workers)
            run(Asked(config, flags, log_format, log_level), **own)
        except PyproxyError as exc:
            _fail(str(exc))
        finally:
            shutdown()

    for option in _COMMON:
        with_options = option(with_options)
    return with_options


@click.group(context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100})
@click.version_option(__version__, prog_name="pyproxy", message="%(prog)s %(version)s")
def cli() -> None:
    """A caching proxy and index for Python packages, for pip, uv and their kin."""


@cli.command()
@click.option("--listen", metavar="HOST:PORT", help="Where to listen; also unix:PATH.")
@click.option("--workers", metavar="N", help="Processes that share the port and the store; auto: one a core.")
@command
def serve(asked: Asked) -> None:
    """Run the daemon in the foreground; one line tells the index URL when it is ready."""
    poked = reload.early()
    config = asked.loaded()
    _warn(config)

    def ready(url: str) -> None:
        click.echo(f"pyproxy serves {url}")

    if config.server.workers > 1:
        from pyproxy.workers import supervisor  # heavy: what only several processes need

        several = supervisor.Supervisor(
            config, load=asked.load, ready=ready, log_format=asked.log_format, log_level=asked.log_level
        )
        asyncio.run(several.run(poked))
        return
    from pyproxy import app  # heavy: aiohttp and the daemon; other commands, and a supervisor, do without

    asyncio.run(app.serve(config, load=asked.load, ready=ready, early=poked))


@cli.command()
@command
def check(asked: Asked) -> None:
    """Validate the configuration and print what it resolves to; secrets are not shown."""
    config = asked.loaded()
    click.echo(describe(config))
    _warn(config)
    if (config.storage.path / "local").is_dir():
        from pyproxy.repo_commands.colliding import colliding  # heavy: aiohttp, by what the daemon is built of

        for warning in colliding(config):
            _say(warning, level=logging.WARNING, as_text="warning: ")


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
            _say(mistake)
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
            _say(note, level=logging.INFO, as_text="note: ")
        for what, why in sorted(outcome.failed.items()):
            _say(f"{what}: {why}", as_text="failed: ")
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


_ANSWERS = {"simple": "pages", "file": "files", "json": "JSON API answers"}


@cli.command()
@click.option("--json", "as_json", is_flag=True, help="For machines.")
@command
def status(asked: Asked, *, as_json: bool) -> None:
    """Tell what the cache holds, and how much of what was asked for it answered."""
    with _store(asked) as store:
        found = storage.status(store)
    if as_json:
        rates = {kind: rate for kind, (rate, _) in found.answered.rates.items()}
        click.echo(msgspec.json.encode({**asdict(found), "path": str(found.path), "hit_rates": rates}))
        return
    click.echo(f"store      {found.path}")
    click.echo(f"daemon     {f'running, pid {found.daemon}' if found.daemon is not None else 'not running'}")
    click.echo(f"cached     {as_size(found.bytes)} of {as_size(found.limit)} in {found.blobs} files")
    if found.oldest_use is not None and found.newest_use is not None:
        click.echo(f"last used  {ago(found.oldest_use)} (longest unused) to {ago(found.newest_use)}")
    if found.answered.since is not None:
        for kind, (rate, total) in found.answered.rates.items():
            name = _ANSWERS.get(kind, kind)
            click.echo(f"hit rate   {rate:.1%} of {total} {name}, since {ago(found.answered.since)}")
    for remote, count in found.pages.items():
        click.echo(f"pages      {count} of remote {remote}")
    click.echo(f"index      {as_size(found.index_bytes)} of {as_size(found.index_limit)}")


@cli.command()
@click.option("--json", "as_json", is_flag=True, help="For machines: an object a line.")
@click.option("--keep", is_flag=True, help="Only tell what is wrong; change nothing.")
@click.option("--rebuild", is_flag=True, help="First make the index of local content anew, from what lies beside it.")
@command
def verify(asked: Asked, *, as_json: bool, keep: bool, rebuild: bool) -> None:
    """Read every blob again and check every record; what is damaged is dropped, to be fetched again.

    Local files that are damaged are set aside: adding the same file again brings them back.
    """
    wrong = 0
    with _store(asked) as store:
        if rebuild:
            rebuilt = rebuild_local(store.path)
            click.echo(f"rebuilt {len(rebuilt.repositories)} repositories, {rebuilt.files} files")
        local = open_local(store.path, exclusive=False)
        try:
            for finding in chain(storage.verify(store, mend=not keep), local.verify(mend=not keep)):
                wrong += 1
                click.echo(msgspec.json.encode(asdict(finding)) if as_json else str(finding))
        finally:
            local.close()
        total = store.cache.total()
    if not as_json:
        click.echo(f"{total.blobs} files, {as_size(total.size)}: " + (f"{wrong} findings" if wrong else "all right"))
    if wrong:
        sys.exit(FAILED)


@cli.command()
@command
def gc(asked: Asked) -> None:
    """Evict down to the limit, the longest unused first."""
    with _store(asked) as store:
        gone = storage.gc(store)
        left = store.cache.bytes
    click.echo(f"gave back {as_size(gone)}; {as_size(left)} are cached")


@cli.group()
def repo() -> None:
    """Local repositories: what was uploaded or added; every change makes a new version."""


_JSON = click.option("--json", "as_json", is_flag=True, help="For machines.")


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
@_JSON
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

        with _store(asked) as store:
            add_cached(opened, store, config, repository, wanted, remote=remote, as_json=as_json)


@repo.command("remove")
@click.argument("repository")
@click.argument("requirements", nargs=-1, required=True)
@_JSON
@command
def repo_remove(asked: Asked, *, repository: str, requirements: tuple[str, ...], as_json: bool) -> None:
    """Take files out of the latest version: `name`, `name==1.0`, `name>=2`."""
    with repo_commands.repositories(asked.loaded(), repository) as opened:
        repo_commands.change(opened.remove(repository, requirements), as_json=as_json)


@repo.command("yank")
@click.argument("repository")
@click.argument("requirements", nargs=-1, required=True)
@click.option("--reason", help="What clients are told.")
@_JSON
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
@_JSON
@command
def repo_unyank(asked: Asked, *, repository: str, requirements: tuple[str, ...], as_json: bool) -> None:
    """Take the mark away."""
    with repo_commands.repositories(asked.loaded(), repository) as opened:
        repo_commands.change(opened.unyank(repository, requirements), as_json=as_json)


@repo.command("copy")
@click.argument("source")
@click.argument("target")
@click.argument("requirements", nargs=-1, required=True)
@_JSON
@command
def repo_copy(asked: Asked, *, source: str, target: str, requirements: tuple[str, ...], as_json: bool) -> None:
    """Promote files of one repository into another."""
    with repo_commands.repositories(asked.loaded(), source, target) as opened:
        repo_commands.change(opened.copy(source, target, requirements), as_json=as_json)


@repo.command("rollback")
@click.argument("repository")
@click.argument("version", type=int)
@_JSON
@command
def repo_rollback(asked: Asked, *, repository: str, version: int, as_json: bool) -> None:
    """Make a new version that holds exactly what this one holds."""
    with repo_commands.repositories(asked.loaded(), repository) as opened:
        repo_commands.change(opened.rollback(repository, version), as_json=as_json)


@repo.command("list")
@click.argument("repository")
@click.option("--version", "version", type=int, help="Another than the latest.")
@_JSON
@command
def repo_list(asked: Asked, *, repository: str, version: int | None, as_json: bool) -> None:
    """Every file."""
    with repo_commands.repositories(asked.loaded(), repository) as opened:
        repo_commands.listed(opened, repository, version, as_json=as_json)


@repo.command("versions")
@click.argument("repository")
@_JSON
@command
def repo_versions(asked: Asked, *, repository: str, as_json: bool) -> None:
    """Every version, oldest first."""
    with repo_commands.repositories(asked.loaded(), repository) as opened:
        repo_commands.versions(opened, repository, as_json=as_json)


@repo.command("diff")
@click.argument("repository")
@click.argument("old", type=click.IntRange(0), required=False)
@click.argument("new", type=click.IntRange(0), required=False)
@_JSON
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
@_JSON
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


@cli.command()
@click.argument("name")
@command
def token(_asked: Asked, *, name: str) -> None:
    """Print a new token once, and the hashed entry to paste into the YAML."""
    secret, entry = new_token()
    click.echo(f"token (shown once): {secret}")
    click.echo(f"for guards.NAME.tokens: {name}: {entry}")


@contextmanager
def _store(asked: Asked) -> Iterator[storage.Store]:
    """The store of the configuration, beside a running daemon or alone."""
    config = asked.loaded()
    if not config.storage.path.is_dir():
        _fail(f"there is no store at {config.storage.path}")
    store = storage.open_store(config.storage.path, limit=config.storage.max_cache_size, exclusive=False)
    try:
        yield store
    finally:
        store.close()


def _warn(config: Config) -> None:
    for warning in warnings(config):
        _say(warning, level=logging.WARNING, as_text="warning: ")


def _fail(reason: str) -> NoReturn:
    _say(reason, as_text="pyproxy: ")
    sys.exit(FAILED)


def _say(line: str, *, level: int = logging.ERROR, as_text: str = "") -> None:
    """A line on stderr; for machines an event of the log like all others. `as_text` goes ahead of it for people."""
    context = click.get_current_context(silent=True)
    if context is not None and context.params.get("log_format") == "json":
        log.log(level, "%s", line)
    else:
        click.echo(f"{as_text}{line}", err=True)


def main() -> None:
    """The console script."""
    cli()
