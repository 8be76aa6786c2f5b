"""Header fields of a request as one value each."""

from __future__ import annotations

from aiohttp import web


def field(request: web.BaseRequest, name: str) -> str | None:
    """All lines of a field joined as a list (RFC 9110 §5.3), None where there is none."""
    values = request.headers.getall(name, [])
    return ", ".join(values) if values else None
