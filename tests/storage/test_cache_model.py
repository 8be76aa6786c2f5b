"""The cache against a model that is a list: same files, same bytes, same victims, whatever is done in what order."""

from __future__ import annotations

import asyncio
from contextlib import ExitStack

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from pyproxy.errors import StoreFull
from pyproxy.storage.room import Reservation
from pyproxy.storage.store import Store, open_store
from tests.storage.stores import assert_sound, digest_of, got, in_memory, on_disk, put

LIMIT = 100
names = st.sampled_from([f"public/{name}" for name in "abcdef"])
contents = st.tuples(st.sampled_from(b"xyz"), st.integers(1, 60)).map(lambda drawn: bytes([drawn[0]]) * drawn[1])


class Model:
    """Blobs by use, oldest first; files by key."""

    def __init__(self) -> None:
        self.blobs: list[bytes] = []
        self.files: dict[str, bytes] = {}
        self.reserved = 0
        self.limit = LIMIT

    @property
    def size(self) -> int:
        return sum(map(len, self.blobs))

    def use(self, data: bytes) -> None:
        if data in self.blobs:
            self.blobs.remove(data)
            self.blobs.append(data)

    def make_room(self) -> None:
        while self.size + self.reserved > self.limit:
            gone = self.blobs.pop(0)
            self.files = {key: data for key, data in self.files.items() if data != gone}

    def put(self, key: str, data: bytes) -> None:
        if data not in self.blobs:
            self.blobs.append(data)
        self.files[key] = data
        self.use(data)


class CacheMachine(RuleBasedStateMachine):
    def __init__(self) -> None:
        super().__init__()
        self.folder = ExitStack()
        self.path = self.folder.enter_context(in_memory())
        self.loop = asyncio.new_event_loop()
        self.model = Model()
        self.held: list[Reservation] = []
        self.store: Store

    @initialize()
    def begin(self) -> None:
        self.store = self.opened()

    def opened(self) -> Store:
        return open_store(self.path, limit=self.model.limit, exclusive=True, environment={})

    @rule(key=names, data=contents)
    def put(self, key: str, data: bytes) -> None:
        if len(data) + self.model.reserved > self.model.limit:
            try:
                self.loop.run_until_complete(put(self.store, key, data))
            except StoreFull:
                return
            raise AssertionError("it cannot have fitted")
        self.model.reserved += len(data)
        self.model.make_room()
        self.model.reserved -= len(data)
        self.model.put(key, data)
        self.loop.run_until_complete(put(self.store, key, data))

    @rule(key=names)
    def get(self, key: str) -> None:
        assert got(self.store, key) == self.model.files.get(key)
        if key in self.model.files:
            self.model.use(self.model.files[key])

    @rule(key=names)
    def drop(self, key: str) -> None:
        self.loop.run_until_complete(self.store.cache.drop(key))
        data = self.model.files.pop(key, None)
        if data is not None and data not in self.model.files.values():
            self.model.blobs.remove(data)

    @rule(key=names, data=contents)
    def damage(self, key: str, data: bytes) -> None:
        record = self.store.cache.find(key)
        if record is None or self.model.files[key] == data:
            return
        self.store.blobs.path(record.digest).write_bytes(data)
        assert self.loop.run_until_complete(self.store.cache.mend(record)) is False
        gone = self.model.files[key]
        self.model.files = {other: held for other, held in self.model.files.items() if held != gone}
        self.model.blobs.remove(gone)

    @rule(nbytes=st.integers(0, 120))
    def reserve(self, nbytes: int) -> None:
        try:
            self.held.append(self.loop.run_until_complete(self.store.cache.reserve(nbytes)))
        except StoreFull:
            assert nbytes + self.model.reserved > self.model.limit
            return
        self.model.reserved += nbytes
        self.model.make_room()

    @precondition(lambda self: self.held)
    @rule()
    def release(self) -> None:
        reservation = self.held.pop()
        self.model.reserved -= reservation.nbytes
        reservation.release()

    @precondition(lambda self: not self.held)
    @rule(limit=st.integers(50, 150))
    def restart_with_another_limit(self, limit: int) -> None:
        self.store.close()
        self.model.limit = limit
        self.store = self.opened()
        self.loop.run_until_complete(self.store.cache.shrink())
        self.model.make_room()

    @invariant()
    def same(self) -> None:
        if not hasattr(self, "store"):
            return
        cache = self.store.cache
        assert (cache.bytes, cache.files) == (self.model.size, len(self.model.blobs)) == on_disk(self.path)
        assert cache.reserved == self.model.reserved
        held = {digest_of(data) for data in self.model.blobs}
        assert set(self.store.blobs.walk()) == held
        for key in [f"public/{name}" for name in "abcdef"]:
            record, data = cache.find(key), self.model.files.get(key)
            assert (record.digest if record else None) == (digest_of(data) if data is not None else None)

    def teardown(self) -> None:
        for reservation in self.held:
            reservation.release()
        if hasattr(self, "store"):
            assert_sound(self.store)
            self.store.close()
        self.loop.close()
        self.folder.close()


TestCacheAgainstModel = CacheMachine.TestCase
TestCacheAgainstModel.settings = settings(max_examples=25, stateful_step_count=25, deadline=None)
