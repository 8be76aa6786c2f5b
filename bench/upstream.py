"""The upstream of all servers: a package index on loopback that counts what is asked, and can be slow or hold back.

    python -m bench.upstream FOLDER PORT

FOLDER holds `pages.json` and the files. `/_/…` steers it: `latency?seconds=`, `hold?name=`, `release`, `counts`.
"""

from __future__ import annotations

import asyncio
import gzip
import hashlib
import json
import re
import sys
import urllib.parse
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import BinaryIO

from bench.catalogue import HTML, JSON, Entry, Page, made_up

_HEAD_LIMIT = 1 << 16
_RANGE = re.compile(r"bytes=(\d*)-(\d*)")


def save(folder: Path, pages: Iterable[Page]) -> None:
    """Lays down what the pages are, for the process that serves them."""
    folder.joinpath("pages.json").write_text(json.dumps([asdict(page) for page in pages]))


def _load(folder: Path) -> dict[str, Page]:
    kept = json.loads(folder.joinpath("pages.json").read_text())
    return {page["name"]: Page(page["name"], tuple(Entry(**one) for one in page["entries"])) for page in kept}


@dataclass(frozen=True, slots=True)
class _Request:
    method: str
    path: str
    query: Mapping[str, str]
    fields: Mapping[str, str]


def _parsed(head: bytes) -> _Request:
    first, *lines = head.decode("latin-1").rstrip("\r\n").split("\r\n")
    method, target, _ = first.split(" ", 2)
    path, _, query = target.partition("?")
    split = (line.partition(":") for line in lines)
    fields = {name.strip().lower(): value.strip() for name, _, value in split}
    return _Request(method, urllib.parse.unquote(path), dict(urllib.parse.parse_qsl(query)), fields)


@dataclass(slots=True)
class Upstream:
    """One index. Its own event loop alone touches it."""

    folder: Path
    base: str
    pages: dict[str, Page]
    latency: float = 0.0
    counts: Counter[str] = field(default_factory=Counter)
    held: str = ""
    gate: asyncio.Event = field(default_factory=asyncio.Event)
    rendered: dict[tuple[str, bool, bool], bytes] = field(default_factory=dict)

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Answers one connection until it is closed."""
        try:
            while head := await reader.readuntil(b"\r\n\r\n"):
                await self._answer(_parsed(head), writer)
        except (asyncio.IncompleteReadError, ConnectionError):
            pass  # the client has gone
        finally:
            writer.close()

    async def _answer(self, request: _Request, writer: asyncio.StreamWriter) -> None:
        if request.path.startswith("/_/"):
            _send(writer, 200, self._steer(request), {"Content-Type": "application/json"})
            return
        self.counts[request.path] += request.method == "GET"
        if self.latency:
            await asyncio.sleep(self.latency)
        if request.path.startswith("/files/"):
            await self._file(request, writer)
        else:
            self._page(request, writer)

    def _steer(self, request: _Request) -> bytes:
        match request.path.removeprefix("/_/"):
            case "latency":
                self.latency = float(request.query["seconds"])
            case "hold":
                self.held = request.query["name"]
                self.gate.clear()
            case "release":
                self.held = ""
                self.gate.set()
        return json.dumps(self.counts).encode()

    def _page(self, request: _Request, writer: asyncio.StreamWriter) -> None:
        name = request.path.removeprefix("/simple/").strip("/")
        as_json = JSON in request.fields.get("accept", "")
        packed = "gzip" in request.fields.get("accept-encoding", "")
        body = self._rendered(name, as_json=as_json, packed=packed)
        if body is None:
            _send(writer, 404, b"no such project", {})
            return
        etag = f'"{hashlib.blake2b(body, digest_size=16).hexdigest()}"'
        fields = {"ETag": etag, "Cache-Control": "max-age=600, public", "Vary": "Accept, Accept-Encoding"}
        if request.fields.get("if-none-match") == etag:
            _send(writer, 304, b"", fields)
            return
        fields["Content-Type"] = (
            JSON if as_json else "text/html" if "text/html" in request.fields.get("accept", "") else HTML
        )
        if packed:
            fields["Content-Encoding"] = "gzip"
        _send(writer, 200, body, fields, head=request.method == "HEAD")

    def _rendered(self, name: str, *, as_json: bool, packed: bool) -> bytes | None:
        """Made once: a page that was asked for before costs the upstream nothing."""
        key = (name, as_json, packed)
        if key not in self.rendered:
            if not name:
                body = self._list(as_json=as_json)
            elif page := self.pages.get(name) or made_up(name):
                body = page.as_json(self.base) if as_json else page.as_html(self.base)
            else:
                return None
            self.rendered[key] = gzip.compress(body, 6) if packed else body
        return self.rendered[key]

    def _list(self, *, as_json: bool) -> bytes:
        if as_json:
            return json.dumps(
                {"meta": {"api-version": "1.3"}, "projects": [{"name": name} for name in self.pages]}
            ).encode()
        links = "".join(f'<a href="/simple/{name}/">{name}</a>\n' for name in self.pages)
        return f"<!DOCTYPE html>\n<html><body>\n{links}</body></html>\n".encode()

    async def _file(self, request: _Request, writer: asyncio.StreamWriter) -> None:
        name = request.path.rpartition("/")[2]
        path = self.folder / name
        if not path.is_file():
            _send(writer, 404, b"no such file", {})
            return
        if name == self.held and request.method == "GET":
            await self.gate.wait()
        with path.open("rb") as file:
            await self._send_file(request, writer, file, path.stat().st_size)

    async def _send_file(self, request: _Request, writer: asyncio.StreamWriter, file: BinaryIO, size: int) -> None:
        etag = f'"{Path(file.name).name}"'
        fields = {"ETag": etag, "Accept-Ranges": "bytes", "Content-Type": "application/octet-stream"}
        fields["Cache-Control"] = "max-age=365000000, immutable, public"
        start, end, status = 0, size, 200
        asked = _RANGE.fullmatch(request.fields.get("range", ""))
        if asked and request.fields.get("if-range", etag) == etag:
            start = int(asked[1]) if asked[1] else size - int(asked[2])
            end = min(int(asked[2]) + 1, size) if asked[1] and asked[2] else size
            status = 206
            fields["Content-Range"] = f"bytes {start}-{end - 1}/{size}"
        _send(writer, status, b"", fields, length=end - start)
        if request.method == "GET":
            await writer.drain()
            await asyncio.get_running_loop().sendfile(writer.transport, file, start, end - start)


def _send(
    writer: asyncio.StreamWriter,
    status: int,
    body: bytes,
    fields: Mapping[str, str],
    *,
    head: bool = False,
    length: int | None = None,
) -> None:
    lines = [f"HTTP/1.1 {status} OK", *(f"{name}: {value}" for name, value in fields.items())]
    if status != 304:  # noqa: PLR2004 - the one status here that has no length
        lines.append(f"Content-Length: {len(body) if length is None else length}")
    writer.write("\r\n".join((*lines, "", "")).encode() + (b"" if head else body))


async def _main(folder: Path, port: int) -> None:
    upstream = Upstream(folder, f"http://127.0.0.1:{port}", _load(folder))
    server = await asyncio.start_server(upstream.serve, "127.0.0.1", port, backlog=1024, limit=_HEAD_LIMIT)
    await server.serve_forever()


if __name__ == "__main__":
    asyncio.run(_main(Path(sys.argv[1]), int(sys.argv[2])))
