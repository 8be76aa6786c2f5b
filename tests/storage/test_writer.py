from __future__ import annotations

import asyncio
import errno
import threading
from collections.abc import Iterator
from pathlib import Path

import lmdb
import pytest

from pyproxy.errors import StoreFull, StoreTrouble
from pyproxy.storage import writer as writer_module
from pyproxy.storage.disk import Disk
from pyproxy.storage.environment import Environment, Txn
from pyproxy.storage.writer import Writer
from tests.storage.stores import Faults


class Bench:
    """A writer over a bare environment, and the number of its commits."""

    def __init__(self, path: Path) -> None:
        self.faults = Faults(errno.EIO)
        self.env = Environment(path)
        self.writer = Writer(self.env, Disk(path, fault=self.faults), relieve=lambda _: False)

    @property
    def commits(self) -> int:
        return self.faults.calls.count("commit")

    def get(self, key: bytes) -> bytes | None:
        with self.env.reading() as txn:
            return txn.get(key, db=self.env.meta)

    def putting(self, key: bytes, value: bytes) -> Putting:
        return Putting(self.env, key, value)

    def hold(self) -> threading.Event:
        """Keeps the writer busy until the event that is returned is set, so that what follows waits together."""
        begun, go_on = threading.Event(), threading.Event()

        def wait(_txn: Txn) -> None:
            begun.set()
            assert go_on.wait(10)

        self.writer.submit(wait)
        assert begun.wait(10)
        return go_on

    def close(self) -> None:
        self.writer.close()
        self.env.close()


class Putting:
    def __init__(self, env: Environment, key: bytes, value: bytes) -> None:
        self._env, self._key, self._value = env, key, value

    def __call__(self, txn: Txn) -> str:
        txn.put(self._key, self._value, db=self._env.meta)
        return self._key.decode()


@pytest.fixture
def bench(tmp_path: Path) -> Iterator[Bench]:
    made = Bench(tmp_path)
    yield made
    made.close()


async def test_write__returned__is_committed(bench: Bench) -> None:
    assert await bench.writer.write(bench.putting(b"k", b"v")) == "k"
    assert bench.get(b"k") == b"v"


async def test_writes__waiting_together__share_one_commit(bench: Bench) -> None:
    go_on = bench.hold()
    writes = [asyncio.ensure_future(bench.writer.write(bench.putting(b"%d" % at, b""))) for at in range(100)]
    await asyncio.sleep(0)
    go_on.set()
    assert await asyncio.gather(*writes) == [str(at) for at in range(100)]
    assert bench.commits == 2


async def test_write__that_raises__fails_alone(bench: Bench) -> None:
    def bad(txn: Txn) -> None:
        txn.put(b"half", b"", db=bench.env.meta)
        raise KeyError("mine")

    go_on = bench.hold()
    writes: list[asyncio.Future[object]] = [
        asyncio.ensure_future(bench.writer.write(bench.putting(b"a", b""))),
        asyncio.ensure_future(bench.writer.write(bad)),
        asyncio.ensure_future(bench.writer.write(bench.putting(b"b", b""))),
    ]
    await asyncio.sleep(0)
    go_on.set()
    results = await asyncio.gather(*writes, return_exceptions=True)
    assert results[0] == "a"
    assert results[2] == "b"
    assert isinstance(results[1], KeyError)
    assert (bench.get(b"a"), bench.get(b"b"), bench.get(b"half")) == (b"", b"", None)
    assert bench.writer.trouble is None


@pytest.mark.parametrize("what", ["begin", "commit"])
async def test_write__disk_failing_at_commit__is_trouble_once(bench: Bench, what: str) -> None:
    bench.faults.fail(what)
    with pytest.raises(StoreTrouble, match="cannot write the index: Input/output error"):
        await bench.writer.write(bench.putting(b"k", b"1"))
    assert bench.writer.trouble is not None
    bench.faults.heal()
    await bench.writer.write(bench.putting(b"k", b"2"))
    assert bench.writer.trouble is None
    assert bench.get(b"k") == b"2"


@pytest.mark.parametrize("code", [errno.ENOSPC, errno.EFBIG, errno.EDQUOT])
async def test_write__lmdb_finding_no_room__is_store_full(bench: Bench, code: int) -> None:
    def full(_txn: Txn) -> None:
        exc = lmdb.Error("mdb_txn_commit")
        vars(exc)["code"] = code  # as LMDB sets it where it raises
        raise exc

    with pytest.raises(StoreFull, match="cannot write the index"):
        await bench.writer.write(full)


async def test_write__out_of_memory__is_store_full_and_isolated(bench: Bench) -> None:
    def hungry(_txn: Txn) -> None:
        raise MemoryError

    with pytest.raises(StoreFull):
        await bench.writer.write(hungry)
    assert await bench.writer.write(bench.putting(b"k", b"")) == "k"


async def test_write__cancelled_while_it_waits__is_not_done(bench: Bench) -> None:
    go_on = bench.hold()
    write = asyncio.ensure_future(bench.writer.write(bench.putting(b"k", b"")))
    await asyncio.sleep(0)
    write.cancel()
    with pytest.raises(asyncio.CancelledError):
        await write
    go_on.set()
    await bench.writer.write(bench.putting(b"other", b""))
    assert bench.get(b"k") is None


async def test_write__behind_a_lock_that_is_never_given_back__ends(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(writer_module, "PATIENCE", 0.05)
    go_on = bench.hold()
    with pytest.raises(StoreTrouble, match="longer than"):
        await bench.writer.write(bench.putting(b"k", b""))
    with pytest.raises(StoreTrouble, match="longer than"):
        bench.writer.call(bench.putting(b"k", b""))
    go_on.set()


def test_close__writes_waiting__are_done_first(tmp_path: Path) -> None:
    bench = Bench(tmp_path)
    go_on = bench.hold()
    waiting = bench.writer.submit(bench.putting(b"k", b""))
    closing = threading.Thread(target=bench.writer.close)
    closing.start()
    go_on.set()
    closing.join()
    assert waiting.result(0) == "k"
    with pytest.raises(StoreTrouble, match="closed"):
        bench.writer.call(bench.putting(b"late", b""))
    bench.writer.close()
    bench.env.close()


def test_idle_writer__gives_back_the_slots_of_dead_readers(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    looked = threading.Event()

    def look(_env: Environment) -> int:
        looked.set()
        return 1

    monkeypatch.setattr(writer_module, "HOUSEKEEPING", 0.001)
    monkeypatch.setattr(Environment, "reader_check", look)
    bench = Bench(tmp_path)
    assert looked.wait(10)
    bench.close()
