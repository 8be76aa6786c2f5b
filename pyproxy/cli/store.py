"""The commands about what the store holds: status, verify, gc."""

from __future__ import annotations

import sys
from dataclasses import asdict
from itertools import chain

import click
import msgspec

from pyproxy.cli.asked import FAILED, Asked, command, open_store
from pyproxy.cli.root import cli
from pyproxy.storage import store as storage
from pyproxy.storage.rebuild import rebuild_local
from pyproxy.storage.repository import open_local
from pyproxy.units import ago, as_size

_ANSWERS = {"simple": "pages", "file": "files", "json": "JSON API answers"}


@cli.command()
@click.option("--json", "as_json", is_flag=True, help="For machines.")
@command
def status(asked: Asked, *, as_json: bool) -> None:
    """Tell what the cache holds, and how much of what was asked for it answered."""
    with open_store(asked) as store:
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
    with open_store(asked) as store:
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
    with open_store(asked) as store:
        gone = storage.gc(store)
        left = store.cache.bytes
    click.echo(f"gave back {as_size(gone)}; {as_size(left)} are cached")
