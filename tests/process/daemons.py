"""The daemon as a process of its own: how tests start, ask, stop and kill it, and what they find on its disk.

Every wait has an end, and whatever is still running when its block is left is killed by its pid.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import re
import signal
import sys
import textwrap
from collections.abc import AsyncIterator, Callable, Iterable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self
from urllib.parse import urljoin

import aiohttp
import yarl

from pyproxy.storage.store import Finding, open_store, verify
from tests import forking
from tests.daemon import JSON, Answer
from tests.forking import ROOT, AsyncForked
from tests.hot_path import as_wanted

PATIENCE = 20.0
"""Seconds until something that should have happened counts as not happening. A busy machine takes its time."""

_READY = re.compile(r"pyproxy serves (?P<url>http\S+)(?: on unix:(?P<path>.+))?")


class Dead(AssertionError):
    """The daemon ended where it should have been running."""


@dataclass(frozen=True, slots=True)
class Done:
    """A command that has ended."""

    code: int
    out: str
    err: str


def _environment(more: Mapping[str, str]) -> dict[str, str]:
    # aiohttp reads the machine's certificates twice when it is imported: a tenth of a second, for nobody here.
    certificates = {"SSL_CERT_FILE": os.devnull, "SSL_CERT_DIR": os.devnull}
    return {**os.environ, "PYTHONPATH": str(ROOT), "PYTHONDONTWRITEBYTECODE": "1", **certificates, **more}


async def _started(
    *arguments: str,
    cwd: Path,
    env: Mapping[str, str],
    fresh: bool,
    around: tuple[str, ...] = (),
) -> asyncio.subprocess.Process | AsyncForked:
    """pyproxy with these arguments: forked, or `fresh` and below a command `around` it."""
    if not (fresh or around or forking.OFF):
        return await AsyncForked.begun("pyproxy", *arguments, cwd=cwd, env=env)
    return await asyncio.create_subprocess_exec(
        *(*around, sys.executable, "-m", "pyproxy", *arguments),
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
        cwd=cwd,
        env=env,
        limit=forking.LONGEST_LINE,
    )


async def pyproxy(
    *arguments: str | Path, cwd: Path = ROOT, env: Mapping[str, str] | None = None, fresh: bool = False
) -> Done:
    """Runs a command to its end. `fresh`: as a user starts it, from the very beginning of the interpreter."""
    process = await _started(*map(str, arguments), cwd=cwd, env=_environment(env or {}), fresh=fresh)
    try:
        async with asyncio.timeout(PATIENCE):
            out, err = await process.communicate()
    except BaseException:
        process.kill()
        await process.wait()
        raise
    assert process.returncode is not None
    return Done(process.returncode, out.decode(), err.decode())


class Process:
    """One daemon, started as often as a test likes, with one configuration and one store below `folder`.

    `before` is a line of shell that runs ahead of it (`ulimit -n 64`), `under` a command that it runs below.
    `fresh`: as a user starts it, where others are forked from a process that has imported everything already.
    """

    def __init__(
        self,
        folder: Path,
        text: str | None,
        *arguments: str,
        cwd: Path = ROOT,
        before: str = "",
        under: tuple[str, ...] = (),
        env: Mapping[str, str],
        fresh: bool = False,
    ) -> None:
        self.folder = folder
        self.data = folder / "data"
        self.config = folder / "pyproxy.yaml"
        self.url = ""
        self.socket: Path | None = None
        self.lines: list[str] = []
        """What it wrote to stderr, over all starts."""
        self.out: list[str] = []
        self.env = dict(env)
        self._arguments = ["--data", str(self.data), "--listen", "127.0.0.1:0", *arguments]
        if text is not None:
            self.write(text)
            self._arguments = ["--config", str(self.config), *self._arguments]
        self._cwd = cwd
        self._before, self._under, self._fresh = before, under, fresh
        self._process: asyncio.subprocess.Process | AsyncForked | None = None
        self._reading: asyncio.Task[None] | None = None
        self._heard = asyncio.Condition()
        # One for each start, the last in use. Those before stay open: closed, they let their readers wait for ever.
        self._sessions: list[aiohttp.ClientSession] = []

    # ------------------------------------------------------------------ its life

    def write(self, text: str) -> None:
        """Puts the configuration there, whole at once."""
        new = self.config.with_suffix(".new")
        new.write_text(as_wanted(textwrap.dedent(text)))
        new.replace(self.config)

    async def spawn(self) -> None:
        """Begins the process and waits for nothing."""
        assert self._process is None
        around = (*self._under, "sh", "-c", f'{self._before} && exec "$@"', "sh") if self._before or self._under else ()
        self._process = await _started(
            "serve",
            *self._arguments,
            cwd=self._cwd,
            env=_environment(self.env),
            fresh=self._fresh,
            around=around,
        )
        self._reading = asyncio.create_task(self._read(self._process))

    async def start(self) -> Self:
        """Returns when it is ready. Raises Dead where it ends before that."""
        await self.spawn()
        return await self.ready()

    async def ready(self) -> Self:
        process = self._process
        assert process is not None
        assert process.stdout is not None
        async with asyncio.timeout(3 * PATIENCE):  # several workers, on a busy machine, take as many times as long
            line = (await process.stdout.readline()).decode()
        self.out.append(line)
        found = _READY.match(line)
        if found is None:
            raise Dead(f"exit code {await self.ended()}: {self.stderr}")
        self.url, path = found["url"], found["path"]
        self.socket = Path(path) if path is not None else None
        connector = aiohttp.UnixConnector(path) if path is not None else aiohttp.TCPConnector(limit=0)
        timeout = aiohttp.ClientTimeout(total=3 * PATIENCE)
        self._sessions.append(aiohttp.ClientSession(connector=connector, timeout=timeout, auto_decompress=False))
        return self

    @property
    def pid(self) -> int:
        assert self._process is not None
        return self._process.pid

    @property
    def alive(self) -> bool:
        return self._process is not None and self._process.returncode is None

    def signal(self, number: signal.Signals) -> None:
        assert self._process is not None
        self._process.send_signal(number)

    async def ended(self, within: float = PATIENCE) -> int:
        """Its exit code, once it has ended by itself; -9 for one that was killed."""
        process = self._process
        assert process is not None
        async with asyncio.timeout(within):
            code = await process.wait()
        assert self._reading is not None
        await self._reading
        self._process = self._reading = None
        return code

    async def close(self) -> None:
        """Kills what still runs and gives all connections back."""
        await self.kill()
        for session in self._sessions:
            await session.close()

    async def stop(self) -> int:
        """SIGTERM, and its exit code."""
        self.signal(signal.SIGTERM)
        return await self.ended()

    async def kill(self) -> None:
        """SIGKILL, unless it has ended already."""
        if self._process is not None:
            with contextlib.suppress(ProcessLookupError):
                self._process.kill()
            await self.ended()

    async def restart(self) -> None:
        assert await self.stop() == 0, self.stderr
        await self.start()

    # ------------------------------------------------------------------ what it says

    @property
    def stderr(self) -> str:
        return "\n".join(self.lines)

    async def logged(self, text: str, times: int = 1) -> list[str]:
        """The lines with this text, once there are so many."""
        async with asyncio.timeout(PATIENCE), self._heard:
            await self._heard.wait_for(lambda: self._count(text) >= times)
        return [line for line in self.lines if text in line]

    def _count(self, text: str) -> int:
        return sum(text in line for line in self.lines)

    async def _read(self, process: asyncio.subprocess.Process | AsyncForked) -> None:
        assert process.stderr is not None
        async for line in process.stderr:
            async with self._heard:
                self.lines.append(line.decode().rstrip("\n"))
                self._heard.notify_all()

    def memory(self, what: str = "VmRSS") -> int:
        """Bytes of memory, as the kernel counts them; `VmHWM` for the most there ever were."""
        status = Path(f"/proc/{self.pid}/status").read_text()
        found = re.search(rf"^{what}:\s+(\d+) kB", status, re.MULTILINE)
        assert found is not None
        return int(found[1]) * 1024

    @property
    def descriptors(self) -> int:
        """How many files and sockets it has open."""
        return sum(1 for _ in Path(f"/proc/{self.pid}/fd").iterdir())

    # ------------------------------------------------------------------ asking it

    @property
    def session(self) -> aiohttp.ClientSession:
        """The client of this start."""
        return self._sessions[-1]

    @asynccontextmanager
    async def asking(self, path: str, method: str = "GET", **headers: str) -> AsyncIterator[aiohttp.ClientResponse]:
        """An answer whose body is not read yet. Raises aiohttp.ClientError."""
        url = yarl.URL(urljoin(self.url, path), encoded=True)
        fields = {name.replace("_", "-"): value for name, value in headers.items()}
        async with self.session.request(method, url, headers=fields, allow_redirects=False) as response:
            yield response

    async def ask(self, path: str, method: str = "GET", **headers: str) -> Answer:
        """The answer, whole or as far as it came. Raises aiohttp.ClientError where there is none at all."""
        async with self.asking(path, method, **headers) as response:
            got = bytearray()
            whole = True
            try:
                async for chunk in response.content.iter_any():
                    got += chunk
            except (aiohttp.ClientError, ConnectionError):
                whole = False
            return Answer(response.status, response.reason or "", response.headers, bytes(got), whole)

    async def page(self, name: str = "alpha", base: str = "main", **headers: str) -> Answer:
        return await self.ask(f"/pypi/{base}/simple/{name}/", Accept=JSON, **headers)

    async def file(self, name: str, source: str = "up") -> Answer:
        return await self.ask(f"/pypi/main/files/{source}/files/{name}")

    async def metric(self, name: str, **labels: str) -> float:
        """The sum of the samples of this name that have these labels."""
        text = (await self.ask("/metrics")).body.decode()
        found = re.findall(rf"^{name}(?:\{{(.*)\}})? (\S+)$", text, re.MULTILINE)
        wanted = [f'{label}="{value}"' for label, value in labels.items()]
        return sum(float(value) for said, value in found if all(w in said.split(",") for w in wanted))


@asynccontextmanager
async def daemon(
    folder: Path,
    text: str | None,
    *arguments: str,
    cwd: Path = ROOT,
    before: str = "",
    under: tuple[str, ...] = (),
    started: bool = True,
    env: Mapping[str, str] | None = None,
    fresh: bool = False,
) -> AsyncIterator[Process]:
    """A daemon with this configuration (None: no `--config`), killed at the end if it is still there. See Process."""
    process = Process(folder, text, *arguments, cwd=cwd, before=before, under=under, env=env or {}, fresh=fresh)
    try:
        if started:
            await process.start()
        yield process
    finally:
        await process.close()


# ---------------------------------------------------------------------- what is on its disk


@dataclass(frozen=True, slots=True)
class Found:
    """A store as the disk has it and as its account says. `temps` are what is on its way, or was left behind."""

    size: int
    blobs: int
    counted_size: int
    counted_blobs: int
    temps: tuple[str, ...]
    findings: tuple[Finding, ...]

    @property
    def in_order(self) -> bool:
        same = (self.size, self.blobs) == (self.counted_size, self.counted_blobs)
        return same and not self.temps and not self.findings


def blobs_of(data: Path) -> list[Path]:
    return [path for path in (data / "cache" / "blobs").glob("*/*") if path.is_file()]


def blob_of(data: Path, digest: str) -> Path:
    return data / "cache" / "blobs" / digest[:2] / digest


def temps_of(data: Path) -> tuple[str, ...]:
    return tuple(sorted(path.name for path in (data / "cache" / "tmp").iterdir()))


def look(data: Path) -> Found:
    """What is there while the daemon runs, every blob read. Blocking."""
    store = open_store(data, limit=1 << 40, exclusive=False)
    try:
        findings = tuple(verify(store, mend=False))
        total = store.cache.total()
        sizes = [path.stat().st_size for path in blobs_of(data)]
        return Found(sum(sizes), len(sizes), total.size, total.blobs, temps_of(data), findings)
    finally:
        store.close()


async def in_order(data: Path, *, limit: int = 1 << 40) -> Found:
    """Waits for disk and account to agree, as they must once nothing is under way; fails with what does not.

    After a crash the blobs that are found again may pass the limit for a moment.
    """
    found: Found | None = None
    try:
        async with asyncio.timeout(PATIENCE):
            while not (found := await asyncio.to_thread(look, data)).in_order or found.size > limit:  # noqa: ASYNC110 - another process
                await asyncio.sleep(0.05)
    except TimeoutError:
        raise AssertionError(f"not in order: {found}") from None
    return found


async def until(holds: Callable[[], bool], what: str) -> None:
    """Looks again and again at what another process does, which tells nobody."""
    try:
        async with asyncio.timeout(PATIENCE):
            while not holds():  # noqa: ASYNC110 - another process
                await asyncio.sleep(0.01)
    except TimeoutError:
        raise AssertionError(f"never: {what}") from None


def one_remote(
    url: str, *, more: str = "", server: Mapping[str, Any] | None = None, size: str = "1GiB", **keys: Any
) -> str:
    """One distribution, main, over one remote, up, at this URL; `more` is YAML of further distributions."""
    remote = {"url": url, "retries": 0, **keys}
    text = f"server: {json.dumps(dict(server or {}))}\nstorage: {{max_cache_size: {size}}}\n"
    text += f"remotes: {json.dumps({'up': remote})}\ndistributions:\n  main: {{remote: up, default: true}}\n"
    return text + textwrap.indent(textwrap.dedent(more), "  ")


def all_right(answers: Iterable[Answer], bodies: Iterable[bytes]) -> bool:
    """Whether every answer is a whole 200 with its body."""
    return all(a.status == 200 and a.whole and a.body == body for a, body in zip(answers, bodies, strict=True))
