"""`/explain/{project}`: why each file is shown or hidden, as text or, by `Accept`, as JSON."""

from __future__ import annotations

import asyncio

import msgspec
from aiohttp import web

from pyproxy.explaining import Explanation, as_object, as_text, explain
from pyproxy.handlers.exchange import Exchange
from pyproxy.handlers.fields import field, wants_json
from pyproxy.handlers.guard import NO_STORE
from pyproxy.model import as_project
from pyproxy.site import Distribution


async def explanation(exchange: Exchange, distribution: Distribution, name: str) -> web.StreamResponse:
    """What `pyproxy explain` prints. For this moment: a cool-down may end within the next."""
    found = await explain(exchange.site, distribution, as_project(name))
    as_json = wants_json(field(exchange.request, "Accept") or "")
    body = await asyncio.to_thread(_json if as_json else _text, found)  # 5,000 files take 20 ms
    kind = "application/json" if as_json else "text/plain; charset=utf-8"
    return web.Response(body=body, headers={**NO_STORE, "Vary": "Accept", "Content-Type": kind})


def _json(found: Explanation) -> bytes:
    return msgspec.json.encode(as_object(found)) + b"\n"


def _text(found: Explanation) -> bytes:
    return "".join(f"{line}\n" for line in as_text(found)).encode()
