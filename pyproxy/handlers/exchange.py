"""One request and what becomes of it: what the handlers pass along, and what is counted and logged at the end."""

from __future__ import annotations

from dataclasses import dataclass

from aiohttp import web

from pyproxy.metrics import RequestKind, Result
from pyproxy.site import Distribution, Site


@dataclass(slots=True)
class Exchange:
    """Written by the handlers of one request, read once it is answered."""

    request: web.BaseRequest
    site: Site
    distribution: Distribution | None = None
    kind: RequestKind = "other"
    result: Result = "hit"
    sent: int = 0
    """Bytes of the body that went out."""

    @property
    def is_head(self) -> bool:
        return self.request.method == "HEAD"
