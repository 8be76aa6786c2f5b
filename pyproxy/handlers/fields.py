"""Header fields of a request as one value each, and what they ask for."""

from __future__ import annotations

from aiohttp import web

from pyproxy.encoding import weighted


def field(request: web.BaseRequest, name: str) -> str | None:
    """All lines of a field joined as a list (RFC 9110 §5.3), None where there is none."""
    values = request.headers.getall(name, [])
    return ", ".join(values) if values else None


def wants_json(accept: str) -> bool:
    """Whether some JSON is named, and no text is wanted more. Who takes anything is a person."""
    weights = list(weighted(accept))
    json = max((weight for name, weight in weights if name.endswith(("/json", "+json"))), default=0.0)
    text = max((weight for name, weight in weights if name.startswith("text/")), default=0.0)
    return json > 0 and json >= text
