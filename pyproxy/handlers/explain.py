"""`/explain/{project}`: why each file is shown or hidden, as text or, by `Accept`, as JSON."""

from __future__ import annotations

import msgspec
from aiohttp import web

from pyproxy.explaining import as_object, as_text, explain
from pyproxy.handlers.exchange import Exchange
from pyproxy.handlers.fields import field
from pyproxy.handlers.guard import NO_STORE
from pyproxy.model import as_project
from pyproxy.site import Distribution


async def explanation(exchange: Exchange, distribution: Distribution, name: str) -> web.StreamResponse:
    """What `pyproxy explain` prints. For this moment: a cool-down may end within the next."""
    found = await explain(exchange.site, distribution, as_project(name))
    headers = {**NO_STORE, "Vary": "Accept"}
    if "json" in (field(exchange.request, "Accept") or ""):
        body = msgspec.json.encode(as_object(found)) + b"\n"
        return web.Response(body=body, headers={**headers, "Content-Type": "application/json"})
    return web.Response(text="".join(f"{line}\n" for line in as_text(found)), headers=headers)
