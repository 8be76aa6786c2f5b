from __future__ import annotations

import logging
import os
import subprocess
import sys
from pathlib import Path
from types import MappingProxyType

import pytest

from pyproxy.storage import tallies as module
from pyproxy.storage.tallies import KINDS, RESULTS, Answered, Tallies, answered

COUNT = """
import sys, os
from pathlib import Path
from pyproxy.storage.tallies import Tallies
tallies = Tallies(Path(sys.argv[1]))
for _ in range(int(sys.argv[2])):
    tallies.count("file", "hit")
print(flush=True)
sys.stdin.read()
os.kill(os.getpid(), 9)
"""


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "tallies"


def test_counts__are_read_while_they_are_made_and_after_a_restart(path: Path) -> None:
    for expected in (2, 4):
        tallies = Tallies(path)
        tallies.count("file", "hit")
        tallies.count("file", "hit")
        assert answered(path).counts == {"file": {"hit": expected}}
        tallies.close()
        tallies.close()
        assert answered(path).counts == {"file": {"hit": expected}}


def test_counts__every_kind_and_result__has_a_place_of_its_own(path: Path) -> None:
    tallies = Tallies(path)
    for number, (kind, result) in enumerate(((k, r) for k in KINDS for r in RESULTS), 1):
        for _ in range(number):
            tallies.count(kind, result)
    numbers = iter(range(1, 100))
    assert answered(path).counts == {kind: {result: next(numbers) for result in RESULTS} for kind in KINDS}
    tallies.close()


def test_since__is_when_the_counting_began(path: Path) -> None:
    tallies = Tallies(path)
    tallies.count("file", "hit")
    tallies.close()
    since = answered(path).since
    assert since is not None
    assert abs(since - path.stat().st_mtime) < 60
    tallies = Tallies(path)
    tallies.count("file", "hit")
    assert answered(path).since == since
    tallies.close()


def test_processes__at_once_and_killed__lose_and_double_nothing(path: Path) -> None:
    tallies = Tallies(path)
    tallies.count("file", "hit")
    for _ in range(2):  # the slots of the dead are taken again
        children = [
            subprocess.Popen([sys.executable, "-c", COUNT, path, "1000"], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
            for _ in range(3)
        ]
        for child in children:
            assert child.stdout is not None
            child.stdout.readline()
        for child in children:
            child.communicate()
    assert answered(path).counts == {"file": {"hit": 6001}}
    tallies.close()


@pytest.mark.parametrize(
    "content", [b"", b"other", module._TITLE, b"x" * module._SIZE], ids=["empty", "other", "short", "noise"]
)
def test_file__that_is_none_of_ours__tells_nothing_and_is_begun_anew(path: Path, content: bytes) -> None:
    path.write_bytes(content)
    assert answered(path) == Answered()
    tallies = Tallies(path)
    tallies.count("simple", "miss")
    assert answered(path).counts == {"simple": {"miss": 1}}
    tallies.close()


def test_file__missing__tells_nothing(path: Path) -> None:
    assert answered(path) == Answered()


def test_disk__refuses__counting_goes_on_and_it_is_told(
    path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def full(*_: object) -> None:
        raise OSError(28, os.strerror(28))

    monkeypatch.setattr(os, "posix_fallocate", full)
    tallies = Tallies(path)
    with caplog.at_level(logging.WARNING):
        for _ in range(3):
            tallies.count("file", "hit")
    tallies.close()
    assert answered(path) == Answered()
    assert caplog.text.count("requests are not counted for `pyproxy status`: No space left on device") == 1


def test_rates__are_of_what_came_from_the_cache() -> None:
    counts = {
        "file": {"hit": 5, "stale": 1, "revalidated": 1, "miss": 3, "error": 9, "denied": 9},
        "json": {"error": 1},
        "other": {"hit": 1},
    }
    assert Answered(0.0, MappingProxyType(counts)).rates == {"file": (0.7, 10)}
