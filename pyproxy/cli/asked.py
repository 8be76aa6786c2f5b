"""What every command is told by its options, how it tells of trouble, and the exit codes."""

from __future__ import annotations

import logging
import os
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import wraps
from pathlib import Path
from typing import Any, NoReturn

import click

from pyproxy.config import Config, Flags, find, load, warnings
from pyproxy.errors import BadRequirement, ConfigError, PyproxyError
from pyproxy.logs import Format, Level, setup, shutdown
from pyproxy.machine_index import MachineIndex, machine_index
from pyproxy.repo_commands import NoSuchRepository
from pyproxy.storage import store as storage

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

    @property
    def path(self) -> Path | None:
        """The file that configures; None where nobody wrote one."""
        return self.config if self.config is not None else find(Path.cwd(), os.environ)

    def load(self, machine: Callable[[], MachineIndex] = machine_index) -> Config:
        """Raises ConfigError. Blocking: the machine's index may be asked of pip, by `machine`."""
        return load(self.path, flags=self.flags, machine=machine)

    def loaded(self, machine: Callable[[], MachineIndex] = machine_index) -> Config:
        """The configuration, or the end of the process with a line for each mistake."""
        try:
            return self.load(machine)
        except ConfigError as exc:
            for mistake in exc.mistakes:
                say(mistake)
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
        except (NoSuchRepository, BadRequirement) as exc:
            fail(str(exc), WRONG)
        except PyproxyError as exc:
            fail(str(exc))
        finally:
            shutdown()

    for option in _COMMON:
        with_options = option(with_options)
    return with_options


JSON = click.option("--json", "as_json", is_flag=True, help="For machines.")


@contextmanager
def open_store(asked: Asked) -> Iterator[storage.Store]:
    """The store of the configuration, beside a running daemon or alone."""
    config = asked.loaded()
    if not config.storage.path.is_dir():
        fail(f"there is no store at {config.storage.path}")
    store = storage.open_store(config.storage.path, limit=config.storage.max_cache_size, exclusive=False)
    try:
        yield store
    finally:
        store.close()


def warn(config: Config) -> None:
    for warning in warnings(config):
        say(warning, level=logging.WARNING, as_text="warning: ")


def fail(reason: str, code: int = FAILED) -> NoReturn:
    say(reason, as_text="pyproxy: ")
    sys.exit(code)


def say(line: str, *, level: int = logging.ERROR, as_text: str = "") -> None:
    """A line on stderr; for machines an event of the log like all others. `as_text` goes ahead of it for people."""
    context = click.get_current_context(silent=True)
    if context is not None and context.params.get("log_format") == "json":
        log.log(level, "%s", line)
    else:
        click.echo(f"{as_text}{line}", err=True)
