"""What `RawUpstream` serves, and how a good server answers a request for it: values in, a reply out."""

from __future__ import annotations

import gzip as gzip_
from collections.abc import Mapping
from dataclasses import dataclass, field

from tests.fakes.faults import Reply


@dataclass(frozen=True, slots=True)
class Request:
    """One request as it came. `headers` are in lower case; `at` is time.monotonic()."""

    method: str
    target: str
    headers: Mapping[str, str]
    connection: int
    at: float

    @property
    def path(self) -> str:
        """Without the query, and without what a request to a proxy has before it."""
        path = self.target.partition("?")[0]
        return "/" + path.split("/", 3)[3] if "://" in path else path


@dataclass(slots=True)
class Resource:
    """What lies under a path."""

    body: bytes = b""
    content_type: str = "application/octet-stream"
    etag: str | None = None
    last_modified: str | None = None
    headers: dict[str, str] = field(default_factory=dict)
    ranges: bool = True
    gzip: bool = False

    def reply(self, request: Request) -> Reply:
        """The right answer."""
        headers = {"Content-Type": self.content_type, **self.headers}
        if self.etag is not None:
            headers["ETag"] = self.etag
        if self.last_modified is not None:
            headers["Last-Modified"] = self.last_modified
        if self._unchanged(request):
            return Reply(304, headers)
        body = self.body
        if self.gzip and "gzip" in request.headers.get("accept-encoding", ""):
            headers["Content-Encoding"] = "gzip"
            body = gzip_.compress(body, 1, mtime=0)
        if not self.ranges:
            return Reply(200, headers, body)
        headers["Accept-Ranges"] = "bytes"
        part = self._part(request, len(body))
        if part is None:
            return Reply(200, headers, body)
        first, last = part
        if first > last:
            return Reply(416, {**headers, "Content-Range": f"bytes */{len(body)}"})
        return Reply(206, {**headers, "Content-Range": f"bytes {first}-{last}/{len(body)}"}, body[first : last + 1])

    def _unchanged(self, request: Request) -> bool:
        asked = request.headers.get("if-none-match")
        if asked is not None:
            known = {tag.strip().removeprefix("W/") for tag in asked.split(",")}
            return self.etag is not None and self.etag.removeprefix("W/") in known
        return self.last_modified is not None and request.headers.get("if-modified-since") == self.last_modified

    def _part(self, request: Request, size: int) -> tuple[int, int] | None:
        """First and last byte asked for; None for all, first > last for none."""
        asked = request.headers.get("range", "")
        condition = request.headers.get("if-range")
        if not asked.startswith("bytes=") or "," in asked or request.method != "GET":
            return None
        if condition is not None and condition not in {self.etag, self.last_modified}:
            return None
        start, _, end = asked.removeprefix("bytes=").partition("-")
        if not start:
            return max(0, size - int(end)), size - 1
        first, last = int(start), min(int(end) if end else size - 1, size - 1)
        return (first, last) if first < size else (1, 0)
