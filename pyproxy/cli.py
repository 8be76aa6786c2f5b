"""The commands: what is typed, and the exit codes (0 done, 1 failed while running, 2 wrong usage or configuration)."""

from __future__ import annotations

import asyncio
import os
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from functools import wraps
from pathlib import Path
from typing import NoReturn

import click
import msgspec

from pyproxy import __version__
from pyproxy.config import Config, Flags, describe, find, load, warnings
from pyproxy.errors import ConfigError, PyproxyError
from pyproxy.logs import Format, Level, setup, shutdown
from pyproxy.storage import store as storage
from pyproxy.units import ago, as_size

FAILED = 1
WRONG = 2


@dataclass(frozen=True, slots=True)
class Asked:
    """What every command is told by its options."""

    config: Path | None
    flags: Flags

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
                click.echo(mistake, err=True)
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
        **own: bool,
    ) -> None:
        setup(log_format, log_level)
        try:
            run(Asked(config, Flags(data=data, upstream=upstream, listen=listen, workers=workers)), **own)
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
@click.option("--workers", metavar="N", help="Processes that share the port and the store.")
@command
def serve(asked: Asked) -> None:
    """Run the daemon in the foreground; one line tells the index URL when it is ready."""
    from pyproxy import app  # heavy: aiohttp and the daemon; other commands do without

    early = app.early_reload()
    config = asked.loaded()
    _warn(config)

    def ready(url: str) -> None:
        click.echo(f"pyproxy serves {url}")

    asyncio.run(app.serve(config, load=asked.load, ready=ready, early=early))


@cli.command()
@command
def check(asked: Asked) -> None:
    """Validate the configuration and print what it resolves to; secrets are not shown."""
    config = asked.loaded()
    click.echo(describe(config))
    _warn(config)


@cli.command()
@click.option("--json", "as_json", is_flag=True, help="For machines.")
@command
def status(asked: Asked, *, as_json: bool) -> None:
    """Tell what the cache holds."""
    with _store(asked) as store:
        found = storage.status(store)
    if as_json:
        click.echo(msgspec.json.encode({**asdict(found), "path": str(found.path)}))
        return
    click.echo(f"store      {found.path}")
    click.echo(f"daemon     {f'running, pid {found.daemon}' if found.daemon is not None else 'not running'}")
    click.echo(f"cached     {as_size(found.bytes)} of {as_size(found.limit)} in {found.blobs} files")
    if found.oldest_use is not None and found.newest_use is not None:
        click.echo(f"last used  {ago(found.oldest_use)} (longest unused) to {ago(found.newest_use)}")
    for remote, count in found.pages.items():
        click.echo(f"pages      {count} of remote {remote}")
    click.echo(f"index      {as_size(found.index_bytes)} of {as_size(found.index_limit)}")


@cli.command()
@click.option("--json", "as_json", is_flag=True, help="For machines: an object a line.")
@click.option("--keep", is_flag=True, help="Only tell what is wrong; change nothing.")
@command
def verify(asked: Asked, *, as_json: bool, keep: bool) -> None:
    """Read every blob again and check every record; what is damaged is dropped, to be fetched again."""
    wrong = unmended = 0
    with _store(asked) as store:
        for finding in storage.verify(store, mend=not keep):
            wrong += 1
            unmended += not finding.mended
            click.echo(msgspec.json.encode(asdict(finding)) if as_json else str(finding))
        total = store.cache.total()
    if not as_json:
        click.echo(f"{total.blobs} files, {as_size(total.size)}: " + (f"{wrong} findings" if wrong else "all right"))
    if unmended:
        sys.exit(FAILED)


@cli.command()
@command
def gc(asked: Asked) -> None:
    """Evict down to the limit, the longest unused first."""
    with _store(asked) as store:
        gone = storage.gc(store)
        left = store.cache.bytes
    click.echo(f"gave back {as_size(gone)}; {as_size(left)} are cached")


@contextmanager
def _store(asked: Asked) -> Iterator[storage.Store]:
    """The store of the configuration, beside a running daemon or alone."""
    config = asked.loaded()
    store = storage.open_store(config.storage.path, limit=config.storage.max_cache_size, exclusive=False)
    try:
        yield store
    finally:
        store.close()


def _warn(config: Config) -> None:
    for warning in warnings(config):
        click.echo(f"warning: {warning}", err=True)


def _fail(reason: str) -> NoReturn:
    click.echo(f"pyproxy: {reason}", err=True)
    sys.exit(FAILED)


def main() -> None:
    """The console script."""
    cli()
