"""What the tests of crashes let a process of its own do: `python -m tests.storage.child WHAT FOLDER [ARGUMENT]`."""

from __future__ import annotations

import asyncio
import os
import random
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Self

from pyproxy.errors import StoreFull, StoreTrouble
from pyproxy.model import ProjectName, ProjectPage
from pyproxy.storage.failpoints import VARIABLE
from pyproxy.storage.records import PageHead, pack_page
from pyproxy.storage.store import open_store
from tests.forking import ROOT, begun
from tests.storage.stores import got, put

UNLIMITED = (resource.RLIM_INFINITY, resource.RLIM_INFINITY)


def child(
    what: str, path: Path, argument: str = "", *, failpoint: str = "", module: str = "tests.storage.child"
) -> subprocess.CompletedProcess[str]:
    """Runs it to its end."""
    with tempfile.TemporaryFile("w+") as out, tempfile.TemporaryFile("w+") as err:
        files = {"stdout": out.fileno(), "stderr": err.fileno()}
        environment = {**os.environ, VARIABLE: failpoint}
        code = begun(module, what, str(path), argument, cwd=ROOT, env=environment, **files).wait()
        for file in (out, err):
            file.seek(0)
        return subprocess.CompletedProcess(what, code, out.read(), err.read())


class Running:
    """A child under way; killed at the end of the `with` block, if not before."""

    def __init__(self, what: str, path: Path, argument: str = "", *, module: str = "tests.storage.child") -> None:
        stdin, stdin_of_child = os.pipe()[::-1]
        stdout, stdout_of_child = os.pipe()
        files = {"stdin": stdin_of_child, "stdout": stdout_of_child, "stderr": 2}
        self._process = begun(module, what, str(path), argument, cwd=ROOT, env=os.environ, **files)
        for descriptor in (stdin_of_child, stdout_of_child):
            os.close(descriptor)
        self._stdin = os.fdopen(stdin, "w")
        self._stdout = os.fdopen(stdout, "r")

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.kill()

    def line(self) -> str:
        """The next line it prints."""
        return self._stdout.readline().rstrip("\n")

    def go_on(self) -> None:
        """Gives it the line that it waits for."""
        self._stdin.write("\n")
        self._stdin.flush()

    def kill(self) -> list[str]:
        """Ends it at once; the whole lines that it had printed and nobody had read."""
        if self._process.returncode is not None:
            return []
        self._process.kill()
        return [line.rstrip("\n") for line in self._rest() if line.endswith("\n")]

    def finish(self) -> list[str]:
        """Waits for its good end; the lines it printed."""
        lines = [line.rstrip("\n") for line in self._rest()]
        assert self._process.returncode == 0
        return lines

    def _rest(self) -> list[str]:
        with self._stdin, self._stdout:
            lines = self._stdout.readlines()
        self._process.wait()
        return lines


def say(line: object) -> None:
    sys.stdout.write(f"{line}\n")
    sys.stdout.flush()


async def limited(path: Path, _: str) -> None:
    """Meets a disk that refuses, for files and for the index, and that takes again."""
    page = pack_page(ProjectPage(ProjectName("shelf"), status_reason=random.Random(0).randbytes(2000).hex()))
    store = open_store(path, limit=1 << 30, exclusive=True)
    await put(store, "public/small", b"small")
    resource.setrlimit(resource.RLIMIT_FSIZE, (200_000, resource.RLIM_INFINITY))
    try:
        await put(store, "public/large", bytes(300_000))
    except StoreFull as exc:
        say(f"file: {exc}")
    try:
        for at in range(1000):
            await store.records.put_page("public", ProjectName(f"p{at}"), PageHead("u"), page)
    except StoreTrouble as exc:
        say(f"index: {exc}")
    say(f"read: {got(store, 'public/small')!r}")
    resource.setrlimit(resource.RLIMIT_FSIZE, UNLIMITED)
    await put(store, "public/large", bytes(300_000))
    await store.records.put_page("public", ProjectName("later"), PageHead("u"), page)
    say(f"later: {store.trouble} {store.cache.bytes}")
    store.close()


async def fill(path: Path, seed: str) -> None:
    """Keeps files and says so, for ever; a third of them are dropped again, and old ones are evicted."""
    store = open_store(path, limit=100_000, exclusive=True)
    say("open")
    varied = random.Random(seed)
    for at in range(1_000_000):
        data = varied.randbytes(varied.randrange(1, 9000))
        await asyncio.gather(put(store, f"public/{seed}/{at}", data), put(store, f"public/{seed}/{at}b", data[:99]))
        say(f"{seed}/{at}")
        if at % 3 == 0:
            await store.cache.drop(f"public/{seed}/{at}")


async def once(path: Path, _: str) -> None:
    """Keeps three files of which the last pushes the first out."""
    store = open_store(path, limit=1000, exclusive=True)
    for name in "abc":
        await put(store, f"public/{name}", name.encode() * 400)
        say(name)
    store.close()


async def beside(path: Path, name: str) -> None:
    """One of several processes that write into one store; some of the files are the same for all."""
    store = open_store(path, limit=60_000, exclusive=False)
    varied = random.Random(name)
    for at in range(60):
        shared = b"shared %d" % (at % 7) * 100
        try:
            await asyncio.gather(
                put(store, f"public/{name}/{at}", varied.randbytes(varied.randrange(1, 3000))),
                put(store, f"public/{name}/s{at}", shared),
            )
        except StoreTrouble as exc:
            say(f"refused: {exc}")
        assert store.cache.bytes <= 60_000
    store.close()
    say("done")


async def read(path: Path, _: str) -> None:
    """Begins to read the index and never ends."""
    store = open_store(path, limit=1000, exclusive=False)
    transactions = [store.records.env.reading() for _ in range(60)]
    say(len(transactions))
    await asyncio.sleep(60)


async def write(path: Path, _: str) -> None:
    """Takes the index's write lock and keeps it."""
    store = open_store(path, limit=1000, exclusive=False)

    def hold(_txn: object) -> None:
        say("locked")
        time.sleep(60)

    store.records.writer.call(hold)


async def daemon(path: Path, _: str) -> None:
    """Holds the store until it is killed."""
    open_store(path, limit=1000, exclusive=True)
    say(os.getpid())
    await asyncio.sleep(60)


if __name__ == "__main__":
    asyncio.run(globals()[sys.argv[1]](Path(sys.argv[2]), sys.argv[3]))
