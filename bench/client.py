"""One question at a time to a server, and what its answer is: how rows find their URLs and check what they measure."""

from __future__ import annotations

import gzip
import hashlib
import html
import http.client
import json
import re
import urllib.parse
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

PATIENCE: Final = 120.0
"""Seconds that an answer may take: a slow peer is slow, not broken."""

_HREF = re.compile(r"<a\s[^>]*?href=\"([^\"]+)\"[^>]*>([^<]+)</a>", re.IGNORECASE)
_REDIRECTS = (301, 302, 303, 307, 308)


class WrongAnswer(Exception):
    """A server answered something else than what was asked: its figure would say nothing."""


@dataclass(frozen=True, slots=True)
class Answer:
    """An answer as it came; `fields` have lower-case names."""

    url: str
    status: int
    fields: Mapping[str, str]
    raw: bytes

    @property
    def body(self) -> bytes:
        return gzip.decompress(self.raw) if self.fields.get("content-encoding") == "gzip" else self.raw

    @property
    def sha256(self) -> str:
        return hashlib.sha256(self.body).hexdigest()

    def links(self) -> dict[str, str]:
        """The files of a page: their absolute URLs by filename."""
        if "json" in self.fields.get("content-type", ""):
            found = {one["filename"]: one["url"] for one in json.loads(self.body)["files"]}
        else:
            found = {text.strip(): html.unescape(href) for href, text in _HREF.findall(self.body.decode())}
        return {name: urllib.parse.urldefrag(urllib.parse.urljoin(self.url, url))[0] for name, url in found.items()}


def get(
    url: str, headers: Mapping[str, str] | None = None, *, method: str = "GET", body: bytes | None = None
) -> Answer:
    """The answer at the end of up to three redirects. Raises WrongAnswer where there is none."""
    for _ in range(4):
        answer = _once(url, headers or {}, method, body)
        if answer.status not in _REDIRECTS:
            return answer
        url = urllib.parse.urljoin(url, answer.fields["location"])
    raise WrongAnswer(f"{url} redirects without end")


def _once(url: str, headers: Mapping[str, str], method: str, body: bytes | None) -> Answer:
    parts = urllib.parse.urlsplit(url)
    connection = http.client.HTTPConnection(parts.hostname or "", parts.port, timeout=PATIENCE)
    target = urllib.parse.urlunsplit(("", "", parts.path or "/", parts.query, ""))
    try:
        connection.request(method, target, body, dict(headers))
        with connection.getresponse() as response:
            fields = {name.lower(): value for name, value in response.getheaders()}
            return Answer(url, response.status, fields, response.read())
    except (OSError, http.client.HTTPException) as exc:
        raise WrongAnswer(f"{url}: {exc!r}") from exc
    finally:
        connection.close()
