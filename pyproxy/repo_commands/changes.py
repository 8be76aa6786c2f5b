"""Changes of a repository, run to their end, and what is told of them."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine, Iterable
from dataclasses import asdict
from typing import Any

import click
import msgspec

from pyproxy.config import Config
from pyproxy.storage.repository import Outcome, Pruned, Repositories
from pyproxy.units import as_size


def change(work: Coroutine[Any, Any, Outcome], *, as_json: bool, left_out: int = 0) -> None:  # Any: what it is sent
    """Runs a change and tells what it did. `left_out`: files that were asked for and are not to be had."""
    outcome = asyncio.run(_awaited(work))
    if as_json:
        click.echo(msgspec.json.encode({**asdict(outcome), "left_out": left_out}))
        return
    for what, names in (
        ("added", outcome.added),
        ("already there", outcome.already),
        ("removed", outcome.removed),
        ("changed", outcome.changed),
    ):
        _each(what, names)
    if left_out:
        click.echo(f"left out: {left_out} files that are not cached")
    click.echo(f"version {outcome.version}")


def prune(
    opened: Repositories,
    config: Config,
    repository: str,
    *,
    last: int | None,
    within: float | None,
    dry_run: bool,
    as_json: bool,
) -> None:
    """Forgets versions and drops what none holds any more; the pinned ones of the configuration stay."""
    pinned = _pinned(config, repository)
    if dry_run:
        pruned = opened.foresee(repository, last or 1, within=within, pinned=pinned)
    else:
        pruned = asyncio.run(opened.prune(repository, last or 1, within=within, pinned=pinned))
    if as_json:
        click.echo(msgspec.json.encode({**asdict(pruned), "pinned": sorted(pinned), "dry_run": dry_run}))
        return
    _tell(pruned, pinned, would="would " if dry_run else "")


def _tell(pruned: Pruned, pinned: frozenset[int], *, would: str) -> None:
    _each(f"{would}forget" if would else "forgotten", (f"version {number}" for number in pruned.versions))
    _each(f"{would}drop" if would else "dropped", pruned.gone)
    gives = f"{would}give back" if would else "gave back"
    click.echo(f"{gives} {as_size(pruned.nbytes)} in {pruned.blobs} files; {len(pruned.left)} versions stay")
    _each("pinned by the configuration, stays", (f"version {n}" for n in pruned.left if n in pinned))


def _pinned(config: Config, repository: str) -> frozenset[int]:
    """The versions of it that distributions show."""
    return frozenset(
        distribution.repository_version
        for distribution in config.distributions.values()
        if distribution.repository == repository and distribution.repository_version is not None
    )


def _each(what: str, names: Iterable[str]) -> None:
    for name in names:
        click.echo(f"{what}: {name}")


async def _awaited(work: Coroutine[Any, Any, Outcome]) -> Outcome:
    return await work
