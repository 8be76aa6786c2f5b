"""The commands about the daemon and its configuration: serve, check, token."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import resource
from concurrent.futures import ThreadPoolExecutor
from typing import Final

import click

from pyproxy import garbage, reload
from pyproxy.auth import new_token
from pyproxy.cli.asked import Asked, command, say, warn
from pyproxy.cli.root import cli
from pyproxy.config import as_entry, as_token_name, describe
from pyproxy.machine_index import MachineIndex, machine_index

OPEN_FILES: Final = 150_000
"""Enough for all connections that a process takes."""


@cli.command()
@click.option("--listen", metavar="HOST:PORT", help="Where to listen; also unix:PATH.")
@click.option("--workers", metavar="N", help="Processes that share the port and the store; auto: one a core.")
@command
def serve(asked: Asked) -> None:
    """Run the daemon in the foreground; one line tells the index URL when it is ready."""
    poked = reload.early()
    _allow_open_files()
    garbage.wait()
    alone = asked.path is None and asked.flags.workers is None
    config = asked.loaded(_asked_beside if alone else machine_index)
    warn(config)

    def ready(url: str) -> None:
        garbage.collect()
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


def _allow_open_files() -> None:
    """As many as the system has for us: a client takes one or two, and a shell's 1,024 are meant for other programs."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = OPEN_FILES if hard == resource.RLIM_INFINITY else min(hard, OPEN_FILES)
    if soft != resource.RLIM_INFINITY and soft < wanted:
        with contextlib.suppress(ValueError, OSError):  # forbidden after all: connections are counted by what there is
            resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))


def _asked_beside() -> MachineIndex:
    """The machine's index. pip takes half a second to tell it, and this process has something to do meanwhile."""
    with ThreadPoolExecutor(1) as asking:
        found = asking.submit(machine_index)
        import pyproxy.app  # noqa: F401  # heavy: aiohttp and the daemon, which is about to serve

        return found.result()


@cli.command()
@command
def check(asked: Asked) -> None:
    """Validate the configuration and print what it resolves to; secrets are not shown."""
    config = asked.loaded()
    click.echo(describe(config))
    warn(config)
    if (config.storage.path / "local").is_dir():
        from pyproxy.repo_commands.colliding import colliding  # heavy: aiohttp, by what the daemon is built of

        for warning in colliding(config):
            say(warning, level=logging.WARNING, as_text="warning: ")


@cli.command()
@click.argument("name")
@command
def token(_asked: Asked, *, name: str) -> None:
    """Print a new token once, and the hashed entry to paste into the YAML."""
    if wrong := as_token_name(name):
        raise click.BadParameter(wrong, param_hint="NAME")
    secret, entry = new_token()
    click.echo(f"token (shown once): {secret}")
    click.echo(f"for guards.NAME.tokens: {as_entry(name, entry)}")
