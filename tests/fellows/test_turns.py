"""Turns: one holder a key over all processes, given back by release or by death."""

from __future__ import annotations

import asyncio
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from pyproxy.fellows import alone
from pyproxy.fellows.turns import SharedTurns

ROOT = Path(__file__).parents[2]

_CHILD = """
import sys
from pathlib import Path
from pyproxy.fellows.turns import SharedTurns
turns = SharedTurns(Path(sys.argv[1]))
turn = turns.try_take(sys.argv[2])
print(turn is not None, flush=True)
if sys.stdin.readline() == "release\\n":
    turn.release()
    print("released", flush=True)
    sys.stdin.readline()
"""


class Other:
    """Another process, which has a turn or has not."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        assert process.stdout is not None
        assert process.stdin is not None
        self.process = process
        self.has_it = process.stdout.readline() == "True\n"

    def release(self) -> None:
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        self.process.stdin.write("release\n")
        self.process.stdin.flush()
        assert self.process.stdout.readline() == "released\n"


@contextmanager
def other(path: Path, key: str) -> Iterator[Other]:
    with subprocess.Popen(
        [sys.executable, "-c", _CHILD, str(path), key],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        cwd=ROOT,
    ) as process:
        try:
            yield Other(process)
        finally:
            process.kill()


@pytest.fixture
def turns(tmp_path: Path) -> Iterator[SharedTurns]:
    turns = SharedTurns(tmp_path / "turns")
    yield turns
    turns.close()


def test_try_take__by_another_process__one_has_it_at_a_time(turns: SharedTurns, tmp_path: Path) -> None:
    turn = turns.try_take("a")
    assert turn is not None
    with other(tmp_path / "turns", "a") as same, other(tmp_path / "turns", "b") as different:
        assert not same.has_it
        assert different.has_it
        assert turns.try_take("b") is None
        different.release()
        assert turns.try_take("b") is not None
    turn.release()
    with other(tmp_path / "turns", "a") as later:
        assert later.has_it
    assert (tmp_path / "turns").stat().st_size == 0


def test_try_take__twice_in_one_process__one_has_it(turns: SharedTurns) -> None:
    first = turns.try_take("a")
    assert first is not None
    assert turns.try_take("a") is None
    first.release()
    first.release()
    assert turns.try_take("a") is not None


def test_try_take__holder_killed__is_free_at_once(turns: SharedTurns, tmp_path: Path) -> None:
    with other(tmp_path / "turns", "a") as holder:
        assert turns.try_take("a") is None
        holder.process.kill()
        holder.process.wait()
        assert turns.try_take("a") is not None


async def test_take__waits_for_its_turn_and_tells_that_it_joined(turns: SharedTurns) -> None:
    joined: list[int] = []
    turns.joined = lambda: joined.append(1)
    until = asyncio.get_running_loop().time() + 10
    first = await turns.take("a", until=until)
    second = asyncio.create_task(turns.take("a", until=until))
    await asyncio.sleep(0)
    assert not second.done()
    first.release()
    (await second).release()

    assert joined == [1]


async def test_take__not_in_time__times_out(turns: SharedTurns) -> None:
    held = turns.try_take("a")
    assert held is not None
    with pytest.raises(TimeoutError):
        await turns.take("a", until=asyncio.get_running_loop().time())


async def test_alone__it_is_always_its_turn() -> None:
    turns = alone().turns
    first, second = await turns.take("a", until=0.0), await turns.take("a", until=0.0)
    first.release()
    second.release()
