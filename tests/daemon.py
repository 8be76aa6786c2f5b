"""A whole daemon in this process on port 0, before a scripted remote, and how tests ask it."""

from __future__ import annotations

import asyncio
import base64
import gzip
import hashlib
import io
import json
import logging
import random
import textwrap
import time
import zipfile
from collections import Counter
from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType
from typing import Any
from urllib.parse import urljoin

import aiohttp
import yarl
import zstandard

from pyproxy import logs
from pyproxy.app import Daemon, running
from pyproxy.config import Config, Flags, load
from pyproxy.index.filtered import FilteredIndex
from pyproxy.wire import Limits
from tests.fakes.raw_upstream import RawUpstream
from tests.hot_path import as_wanted

JSON = "application/vnd.pypi.simple.v1+json"
HTML = "application/vnd.pypi.simple.v1+html"

TEXT = "text/html"

QUICK = Limits(sweep=0.02, linger=0.2)


def noise(size: int, seed: int = 0) -> bytes:
    """Bytes that no compression makes fewer; the same for one seed."""
    return random.Random(seed).randbytes(size)


def a_wheel(
    name: str = "alpha", version: str = "1.0", *, payload: bytes = b"", requires: tuple[str, ...] = ()
) -> bytes:
    """A real wheel of this project; `payload` makes it as large as wanted, uncompressed."""
    info = f"{name}-{version}.dist-info"
    metadata = [
        f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n",
        *(f"Requires-Dist: {r}\n" for r in requires),
    ]
    members = {
        f"{name}/__init__.py": b"",
        f"{name}/payload.bin": payload,
        f"{info}/METADATA": "".join(metadata).encode(),
        f"{info}/WHEEL": b"Wheel-Version: 1.0\nGenerator: tests\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
    }
    record = "".join(f"{path},sha256={_urlsafe(data)},{len(data)}\n" for path, data in members.items())
    record += f"{info}/RECORD,,\n"
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", zipfile.ZIP_STORED) as archive:
        for path, data in {**members, f"{info}/RECORD": record.encode()}.items():
            archive.writestr(zipfile.ZipInfo(path, (2020, 1, 1, 0, 0, 0)), data)
    return out.getvalue()


def _urlsafe(data: bytes) -> str:
    """A digest as RECORD has it (PEP 376)."""
    return base64.urlsafe_b64encode(hashlib.sha256(data).digest()).rstrip(b"=").decode()


@dataclass(slots=True)
class Project:
    """A project of the remote: what its page says, file by file. Publish it again after a change."""

    name: str
    files: dict[str, bytes] = field(default_factory=dict)
    said: dict[str, dict[str, Any]] = field(default_factory=dict)  # Any: fields of a JSON page
    page: dict[str, Any] = field(default_factory=dict)

    def add(self, filename: str, data: bytes, **said: Any) -> None:
        """`said` goes into the file's record, over what is true; a value None takes the field out.

        Underscores in the names of fields stand for dashes.
        """
        self.files[filename] = data
        self.said[filename] = {name.replace("_", "-"): value for name, value in said.items()}

    def as_json(self) -> bytes:
        records = []
        for filename, data in self.files.items():
            record = {
                "filename": filename,
                "url": f"../../files/{filename}",
                "hashes": {"sha256": hashlib.sha256(data).hexdigest()},
                "size": len(data),
                **self.said[filename],
            }
            records.append({key: value for key, value in record.items() if value is not None})
        page = {"meta": {"api-version": "1.1"}, "name": self.name, "files": records, "versions": []}
        return json.dumps({**page, **self.page}).encode()

    def publish(self, up: RawUpstream, *, etag: str | None = '"1"', **served: Any) -> None:
        """Lays the page and its files where a remote at `up.url + "simple/"` has them."""
        up.serve(f"/simple/{self.name}/", self.as_json(), content_type=JSON, etag=etag, **served)
        for filename, data in self.files.items():
            up.serve(f"/files/{filename}", data, etag=f'"{hashlib.sha256(data).hexdigest()[:16]}"')


def project(up: RawUpstream, name: str = "alpha", *, payload: bytes = b"", **said: Any) -> Project:
    """A published project of one wheel."""
    made = Project(name)
    made.add(f"{name}-1.0-py3-none-any.whl", a_wheel(name, payload=payload), **said)
    made.publish(up)
    return made


@dataclass(frozen=True, slots=True)
class Answer:
    """What came back. `whole`: the body ended as its head said."""

    status: int
    reason: str
    headers: Mapping[str, str]
    body: bytes = field(repr=False)
    whole: bool

    def json(self) -> Any:  # Any: JSON
        return json.loads(self.plain)

    @property
    def plain(self) -> bytes:
        """The body, decoded."""
        match self.headers.get("Content-Encoding"):
            case None:
                return self.body
            case "gzip":
                return gzip.decompress(self.body)
            case "zstd":
                return zstandard.ZstdDecompressor().decompressobj().decompress(self.body)
            case coding:
                raise AssertionError(f"a coding nobody knows: {coding}")

    @property
    def text(self) -> str:
        return self.plain.decode()

    @property
    def etag(self) -> str:
        return self.headers["ETag"]

    @property
    def line(self) -> str:
        """The one line of a refusal, which stands in the body and in the reason phrase."""
        assert self.status >= 400, self
        line = self.text.removesuffix("\n")
        assert "\n" not in line
        assert line.startswith(self.reason.removesuffix("...")), self
        return line


class Served:
    """A running daemon and a client for it."""

    def __init__(self, daemon: Daemon, session: aiohttp.ClientSession, data: Path) -> None:
        self.daemon = daemon
        self.session = session
        self.data = data
        host, port = daemon.listener.address  # type: ignore[misc]  # TCP in these tests
        self.where = (str(host), int(port))
        self.url = f"http://{host}:{port}"
        self._passed = 0.0

    async def ask(self, path: str, method: str = "GET", **headers: str) -> Answer:
        """One request; underscores in the names of header fields stand for dashes. Nothing is followed or decoded."""
        async with self.asking(path, method, **headers) as response:
            got = bytearray()
            whole = True
            try:
                async for chunk in response.content.iter_any():
                    got += chunk
            except (aiohttp.ClientPayloadError, ConnectionError):
                whole = False
            return Answer(response.status, response.reason or "", response.headers, bytes(got), whole)

    @asynccontextmanager
    async def asking(self, path: str, method: str = "GET", **headers: str) -> AsyncIterator[aiohttp.ClientResponse]:
        """The same, its body not yet read; leaving the block before its end breaks the connection."""
        url = yarl.URL(urljoin(self.url, path) if not path.startswith("//") else self.url + path, encoded=True)
        fields = {"Accept-Encoding": "identity", **{name.replace("_", "-"): value for name, value in headers.items()}}
        async with self.session.request(method, url, headers=fields, allow_redirects=False) as response:
            try:
                yield response
            finally:
                if not response.content.at_eof():
                    response.close()

    async def page(self, name: str = "alpha", base: str = "main", accept: str = JSON, **headers: str) -> Answer:
        return await self.ask(f"/pypi/{base}/simple/{name}/", Accept=accept, **headers)

    async def links(self, name: str = "alpha", base: str = "main") -> dict[str, str]:
        """By file name, the absolute path of each file of the page."""
        answer = await self.page(name, base)
        assert answer.status == 200, answer
        return {f["filename"]: urljoin(f"/pypi/{base}/simple/{name}/", f["url"]) for f in answer.json()["files"]}

    async def link(self, name: str = "alpha", base: str = "main") -> str:
        """The absolute path of the page's first file."""
        return next(iter((await self.links(name, base)).values()))

    # ------------------------------------------------------------------ what the daemon holds

    def later(self, seconds: float) -> None:
        """Lets so much time pass for all that is cached from remotes."""
        self._passed += seconds
        passed = self._passed

        def clock() -> float:
            return time.time() + passed

        for source in self.daemon.current.site.sources.values():
            index = source.index
            index._clock = index._keeper._clock = index._files.archives._clock = clock
            index._details._clock = source.timed._clock = clock
            for kept in (index._names, index._files.companions._documents, index._details._documents):
                kept._clock = kept._keeper._clock = clock
        for distribution in self.daemon.current.site.distributions.values():
            for one in _within(distribution.index):
                if isinstance(one, FilteredIndex):
                    one._clock = clock
        self.daemon.machinery.news.tell_all()  # no clock but this one jumps within a second

    def forget_failures(self) -> None:
        """A remote that failed twice in a row is left alone for half a second and more: not in this test."""
        for source in self.daemon.current.site.sources.values():
            source.upstream._asking._memory._failures.clear()

    def metric(self, name: str, **labels: str) -> float:
        """The sum of the samples of this name that have these labels."""
        families = self.daemon.machinery.metrics.registry.collect()
        samples = (sample for family in families for sample in family.samples)
        return sum(s.value for s in samples if s.name == name and labels.items() <= s.labels.items())

    @contextmanager
    def counting(self, name: str = "pyproxy_requests_total", *by: str) -> Iterator[Counter[tuple[str, ...]]]:
        """What the block adds to this counter, by the values of these labels; filled in at the block's end."""
        counted: Counter[tuple[str, ...]] = Counter()
        before = self._samples(name, by)
        yield counted
        counted.update(self._samples(name, by) - before)

    def _samples(self, name: str, by: tuple[str, ...]) -> Counter[tuple[str, ...]]:
        found: Counter[tuple[str, ...]] = Counter()
        for family in self.daemon.machinery.metrics.registry.collect():
            for sample in family.samples:
                if sample.name == name:
                    found[tuple(sample.labels[label] for label in by)] += int(sample.value)
        return found

    async def coalesced(self, count: int) -> None:
        """Returns once so many requests have joined a fetch under way."""
        while self.metric("pyproxy_coalesced_requests_total") < count:  # noqa: ASYNC110 - counters tell nobody
            await asyncio.sleep(0)

    @property
    def cached(self) -> int:
        """Files in the cache, as the index has them."""
        return self.daemon.machinery.store.cache.files

    @property
    def temps(self) -> list[str]:
        return sorted(path.name for path in (self.data / "cache" / "tmp").iterdir())

    async def settled(self) -> None:
        """Returns once no download and no write behind is under way."""
        machinery = self.daemon.machinery
        for _, task in list(machinery.arrivals._under_way.values()):
            await asyncio.gather(task, return_exceptions=True)
        for source in self.daemon.current.site.sources.values():
            await source.index._stored.settled()
            await source.index._files.companions.settled()


def _within(index: object) -> Iterator[object]:
    """An index and all that it is made of."""
    yield index
    for name in ("_inner", "_index", "_remote", "_indexes"):
        inner = getattr(index, name, None)
        for one in [it for _, it in inner] if name == "_indexes" and inner is not None else [inner]:
            if one is not None:
                yield from _within(one)


def configured(folder: Path, text: str, env: Mapping[str, str] = MappingProxyType({})) -> Config:
    """The configuration of this YAML, its store in `folder/data`."""
    path = folder / "pyproxy.yaml"
    path.write_text(as_wanted(textwrap.dedent(text)))
    return load(path, flags=Flags(data=folder / "data", listen="127.0.0.1:0"), env=env)


def one_remote(up: RawUpstream, **remote: Any) -> str:
    """One distribution, main, over one remote, up, with these keys."""
    return remotes(up=a_remote(up, **remote))


def a_remote(up: RawUpstream, **keys: Any) -> dict[str, Any]:
    """The keys of a remote at this upstream, which is asked once and no more, unless `keys` say otherwise."""
    return {"url": f"{up.url}simple/", "retries": 0, **keys}


def remotes(given: Mapping[str, dict[str, Any]] = MappingProxyType({}), /, **more: dict[str, Any]) -> str:
    """One distribution, main, over these remotes in their order."""
    named = {**given, **more}
    order = json.dumps(list(named) if len(named) > 1 else next(iter(named)))
    return f"remotes: {json.dumps(named)}\ndistributions:\n  main:\n    remote: {order}\n"


@asynccontextmanager
async def serving(
    folder: Path, text: str, *, limits: Limits = QUICK, env: Mapping[str, str] = MappingProxyType({})
) -> AsyncIterator[Served]:
    """The daemon of this configuration, stopped at the end; its store stays for the next."""
    async with (
        running(configured(folder, text, env), limits=limits) as daemon,
        aiohttp.ClientSession(auto_decompress=False, connector=aiohttp.TCPConnector(limit=0)) as session,
    ):
        yield Served(daemon, session, folder / "data")


@contextmanager
def logged(path: Path) -> Iterator[list[dict[str, Any]]]:  # Any: fields of JSON lines
    """The lines that the block logs, filled in at its end."""
    lines: list[dict[str, Any]] = []
    loggers = [logging.getLogger(), logging.getLogger("pyproxy")]
    levels = [logger.level for logger in loggers]
    with path.open("wb") as file:
        logs.setup("json", "debug", fd=file.fileno())
        try:
            yield lines
        finally:
            logs.shutdown()
            for logger, level in zip(loggers, levels, strict=True):
                logger.setLevel(level)
    lines += [json.loads(line) for line in path.read_text().splitlines()]
