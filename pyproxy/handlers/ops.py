"""For operators: metrics, health, and what is served here."""

from __future__ import annotations

from typing import Any

import msgspec
from aiohttp import web

from pyproxy.handlers.exchange import Exchange
from pyproxy.handlers.guard import RETRY_AFTER, refusal
from pyproxy.metrics import CONTENT_TYPE
from pyproxy.site import Distribution, Site

TEXT = "text/plain; charset=utf-8"
NO_STORE = {"Cache-Control": "no-store", "X-Content-Type-Options": "nosniff"}


async def metrics(exchange: Exchange) -> web.StreamResponse:
    """`/metrics`: Prometheus' text format."""
    return _answer(exchange, exchange.site.exposition(), CONTENT_TYPE)


async def health(exchange: Exchange) -> web.StreamResponse:
    """`/healthz`: the process is alive and its loop turns."""
    return _answer(exchange, b"ok\n", TEXT)


async def readiness(exchange: Exchange) -> web.StreamResponse:
    """`/readyz`: the store is open and a configuration is in force."""
    trouble = exchange.site.trouble()
    if trouble is not None:
        exchange.result = "error"
        return refusal(503, trouble, {"Retry-After": RETRY_AFTER})
    return _answer(exchange, b"ready\n", TEXT)


async def distributions(exchange: Exchange) -> web.StreamResponse:
    """`/distributions`: those that are no secret, as JSON."""
    site = exchange.site
    shown = [_described(site, distribution) for distribution in site.distributions.values() if not distribution.hidden]
    return _answer(exchange, msgspec.json.encode(shown) + b"\n", "application/json")


def _answer(exchange: Exchange, body: bytes, content_type: str) -> web.Response:
    exchange.sent = 0 if exchange.is_head else len(body)
    return web.Response(body=body, headers={**NO_STORE, "Content-Type": content_type})


def _described(site: Site, distribution: Distribution) -> dict[str, Any]:  # Any: a JSON object
    remotes = distribution.remotes
    return {
        "name": distribution.name,
        "base_path": distribution.base_path,
        "base_url": f"{site.public_url or ''}/pypi/{distribution.base_path}/",
        "remote": remotes[0] if len(remotes) == 1 else list(remotes),
        "repository": None,
        "repository_version": None,
        "allow_uploads": False,
        "content_guard": None,
        "hidden": distribution.hidden,
        "labels": dict(distribution.labels),
        "merge": "ahead",
        "last_updated": None,
    }
