"""For operators: metrics, health, and what is served here."""

from __future__ import annotations

from typing import Any

import msgspec
from aiohttp import web

from pyproxy.handlers.access import listed
from pyproxy.handlers.exchange import Exchange
from pyproxy.handlers.guard import RETRY_AFTER, refusal
from pyproxy.metrics import CONTENT_TYPE
from pyproxy.site import Distribution, Site

TEXT = "text/plain; charset=utf-8"
NO_STORE = {"Cache-Control": "no-store", "X-Content-Type-Options": "nosniff"}


async def metrics(exchange: Exchange) -> web.StreamResponse:
    """`/metrics`: Prometheus' text format."""
    return _answer(await exchange.site.exposition(), CONTENT_TYPE)


async def health(_: Exchange) -> web.StreamResponse:
    """`/healthz`: the process is alive and its loop turns."""
    return _answer(b"ok\n", TEXT)


async def readiness(exchange: Exchange) -> web.StreamResponse:
    """`/readyz`: the store is open and a configuration is in force."""
    trouble = exchange.site.trouble()
    if trouble is not None:
        exchange.result = "error"
        return refusal(503, trouble, {"Retry-After": RETRY_AFTER})
    return _answer(b"ready\n", TEXT)


async def distributions(exchange: Exchange) -> web.StreamResponse:
    """`/distributions`: those that are no secret to who asks, as JSON."""
    shown = [_described(exchange.site, distribution) for distribution in await listed(exchange)]
    return _answer(msgspec.json.encode(shown) + b"\n", "application/json")


def _answer(body: bytes, content_type: str) -> web.Response:
    return web.Response(body=body, headers={**NO_STORE, "Content-Type": content_type})


def _described(site: Site, distribution: Distribution) -> dict[str, Any]:  # Any: a JSON object
    remotes = distribution.remotes
    return {
        "name": distribution.name,
        "base_path": distribution.base_path,
        "base_url": f"{site.public_url or ''}/pypi/{distribution.base_path}/",
        "remote": remotes[0] if len(remotes) == 1 else list(remotes) or None,
        "repository": distribution.repository,
        "repository_version": distribution.pinned,
        "allow_uploads": distribution.allow_uploads,
        "content_guard": distribution.guard_name,
        "hidden": distribution.hidden,
        "labels": dict(distribution.labels),
        "merge": distribution.merge,
        "last_updated": site.last_updated(distribution),
    }
