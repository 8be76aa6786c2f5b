"""Log lines: one an event, harmless to read, without secrets, and never waited for."""

from __future__ import annotations

import json
import logging
import os
import re
import select
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pyproxy import logs
from pyproxy.logs.line import LONGEST, Line, as_json, as_text, escape, redact
from pyproxy.logs.sink import Sink

log = logging.getLogger("pyproxy.some.room")


@pytest.fixture
def to_file(tmp_path: Path) -> Iterator[Callable[..., Callable[[], list[str]]]]:
    """Sets logging up to a file; returns how to read the lines that were written, after which logging is off."""
    path = tmp_path / "log"
    fd = os.open(path, os.O_WRONLY | os.O_CREAT)

    def begin(log_format: logs.Format = "text", level: logs.Level = "info") -> Callable[[], list[str]]:
        logs.setup(log_format, level, fd=fd)

        def lines() -> list[str]:
            logs.shutdown()
            return path.read_text().splitlines()

        return lines

    yield begin
    logs.shutdown()
    os.close(fd)


Begin = Callable[..., Callable[[], list[str]]]


def ask(path: str = "/simple/", **more: Any) -> None:  # Any: keywords of `access`
    logs.access("127.0.0.1", "GET", path, **{"status": 200, "nbytes": 5, "seconds": 0.0123456789, **more})


def test_text__message_and_fields() -> None:
    line = Line(
        0.5, "info", "wire", "listening", (("url", "http://x:1"), ("n", 3), ("none", None), ("said", 'a "b" c'))
    )
    assert (
        as_text(line) == r'1970-01-01T00:00:00.500Z info    wire listening url=http://x:1 n=3 none=- said="a \"b\" c"'
    )


def test_json__message_and_fields() -> None:
    line = Line(0.5, "info", "wire", "listening", (("n", 3), ("time", "not this one"), ("ratio", float("nan"))))
    assert json.loads(as_json(line)) == {
        "time": "1970-01-01T00:00:00.500Z", "level": "info", "logger": "wire", "message": "listening",
        "n": 3, "time_": "not this one", "ratio": "nan",
    }  # fmt: skip


@given(st.text())
def test_line__whatever_it_holds__is_one_line_that_steers_no_terminal(text: str) -> None:
    line = Line(0, "info", "wire", text, (("field", text),))
    for shown in (as_text(line), as_json(line)):
        data = shown.encode("utf-8")  # which half a surrogate pair could not be
        assert len(shown.splitlines()) == 1
        assert not any(byte < 32 or byte == 127 for byte in data)


@given(st.text())
def test_json__gives_the_field_back(text: str) -> None:
    assert json.loads(as_json(Line(0, "info", "wire", "", (("field", text),))))["field"] == redact(text)[:LONGEST]


def test_escape__spells_out_what_could_do_harm() -> None:
    assert escape("a\n\r\t\x1b[31m\x7f\x9b\u2028\u202e\ud800é") == r"a\n\r\t\x1b[31m\x7f\x9b\u2028\u202e\ud800é"


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("GET https://user:pw@index.example/simple/ failed", "GET https://***@index.example/simple/ failed"),
        ("https://token@index.example", "https://***@index.example"),
        ("https://us@er:p@ss@index.example/", "https://***@index.example/"),
        ("https://user:p/w@index.example/", "https://***@index.example/"),
        ("two http://a:b@x http://c:d@y", "two http://***@x http://***@y"),
        ("https://index.example:8443/a@b", "https://index.example:8443/a@b"),
        ("https://index.example/a@1.0?b=c@d", "https://index.example/a@1.0?b=c@d"),
        ("Authorization: Basic dXNlcjpwdw==", "Authorization: Basic ***"),
        ("{'authorization': 'bearer pyp_0123456789'}", "{'authorization': 'bearer ***'}"),
        ("basic authentication failed", "basic authentication failed"),
        ("mail me@example.org", "mail me@example.org"),
    ],
)
def test_redact__userinfo_and_credentials_are_never_shown(text: str, shown: str) -> None:
    assert redact(text) == shown
    line = Line(0, "info", "wire", text, (("field", text),))
    assert shown in as_text(line)
    assert json.loads(as_json(line))["field"] == shown


def test_redact__a_url_cut_by_the_bound__shows_no_half_of_its_userinfo() -> None:
    text = "x" * (LONGEST - 20) + "https://user:secret-of-the-house@index.example/"
    line = Line(0, "info", "wire", text, (("field", text),))
    assert "secret" not in as_text(line) + as_json(line)


SLOW = {
    "colons": "://" + ":" * 8000,
    "users": "://a:b/" * 1200,
    "schemes": "://" * 3000,
    "fields": "authorization:" * 600,
    "spaces": "authorization: basic" + " " * 8000,
    "segments": "/a" * 4000 + " ",
    "letters": "a" * 8000 + '"',
}


@pytest.mark.parametrize("text", SLOW.values(), ids=SLOW)
def test_line__made_to_be_slow__is_not(text: str) -> None:
    since = time.process_time()
    as_text(Line(0, "info", "wire", text, (("field", text),)))
    as_json(Line(0, "info", "wire", text, (("field", text),)))
    assert time.process_time() - since < 0.1


def test_setup__lines_of_the_standard_library_arrive(to_file: Begin) -> None:
    lines = to_file()
    log.warning("remote %s failed", "public")
    logs.event(log, logging.INFO, "refused", client="127.0.0.1", status=400)
    log.debug("not at this level")
    logging.getLogger("foreign").info("not of interest")
    logging.getLogger("foreign").warning("of interest")
    assert [line.split(" ", 1)[1] for line in lines()] == [
        "warning some.room remote public failed",
        "info    some.room refused client=127.0.0.1 status=400",
        "warning foreign of interest",
    ]


def test_setup__an_error_with_its_trace__is_one_line(to_file: Begin) -> None:
    lines = to_file("json")
    log.error("unhandled", exc_info=ValueError("two\nlines"))
    (line,) = lines()
    assert json.loads(line)["message"] == "unhandled"
    assert json.loads(line)["trace"].endswith("ValueError: two\nlines")


@pytest.mark.parametrize("words", [("yaml", "info"), ("text", "loud")])
def test_setup__unknown_words__are_errors(words: tuple[Any, Any]) -> None:
    with pytest.raises(ValueError, match="no log"):
        logs.setup(*words)


def test_setup__again__changes_the_format_and_writes_no_line_twice(to_file: Begin) -> None:
    to_file("text")
    lines = to_file("json")
    log.warning("once")
    assert [json.loads(line)["message"] for line in lines()] == ["once"]


def test_line__with_arguments_that_do_not_fit__is_shown_all_the_same(to_file: Begin) -> None:
    lines = to_file()
    (handler,) = [handler for handler in logging.getLogger().handlers if isinstance(handler, logs._Handler)]
    handler.handle(log.makeRecord("pyproxy", logging.WARNING, __file__, 1, "%d files", ("many",), None))
    log.warning("next")
    assert ["cannot be shown" in line for line in lines()] == [True, False]


def test_field__that_cannot_be_rendered__does_not_silence_what_follows(to_file: Begin) -> None:
    lines = to_file()
    log.warning("bad", extra={"fields": {"x": 10**5000}})  # an int that Python refuses to spell
    log.warning("next")
    assert ["cannot be shown" in line for line in lines()] == [True, False]


def test_access__one_line_without_the_query(to_file: Begin) -> None:
    lines = to_file()
    ask("/simple/x/?token=abc", distribution="main", kind="simple", result="hit")
    rest = "distribution=main kind=simple result=hit"
    assert [line.split(" ", 1)[1] for line in lines()] == [
        f"info    access client=127.0.0.1 method=GET path=/simple/x/ status=200 bytes=5 seconds=0.012346 {rest}"
    ]


def test_access__hostile_path__stays_one_line(to_file: Begin) -> None:
    lines = to_file()
    ask("/\r\n2026 info access client=1.2.3.4\x1b[2J \u202e")
    (line,) = lines()
    assert r'path="/\r\n2026 info access client=1.2.3.4\x1b[2J \u202e"' in line


CLIENTS = (("127.0.0.1", 0.0123456789), ("2001:db8::1", 0.0), ("unix", 7e-7), ("127.0.0.1", 61.5))


@pytest.mark.parametrize("log_format", ["text", "json"])
@pytest.mark.parametrize(
    ("path", "distribution"),
    [
        ("/simple/x/?token=abc", "main"),
        ("/192.0.2.1/1970-01-01T00:00:00.000Z/0.123456/1e+16", "main"),
        ("/x", "v0.123456-192.0.2.1"),
        ("/x", "1e16"),
        ('/\r\n"=\\\u202e', "-"),
    ],
)
def test_access__repeated__has_the_lines_of_requests_one_by_one(
    to_file: Begin, log_format: logs.Format, path: str, distribution: str
) -> None:
    def access() -> logs.Access:
        return logs.Access("GET", path, status=200, nbytes=5, distribution=distribution, kind="simple", result="hit")

    lines = to_file(log_format)
    for client in CLIENTS:
        access().tell((client,))
    access().tell(CLIENTS)
    told = [re.sub(r"\d{4}-\d\d-\d\dT[0-9:.]{12}Z", "THEN", line, count=1) for line in lines()]
    assert told[: len(CLIENTS)] == told[len(CLIENTS) :]


@pytest.mark.parametrize("level", ["warning", "error"])
def test_access__level_above_info__nothing(to_file: Begin, level: logs.Level) -> None:
    lines = to_file("text", level)
    ask()
    assert lines() == []


def test_access__not_set_up__nothing() -> None:
    ask()
    assert logs.dropped() == 0


def test_sink__nobody_reads__nobody_waits_and_the_lost_lines_are_counted_and_told() -> None:
    reader, writer = os.pipe()
    sink = Sink(writer, as_text, limit=100)
    since = time.monotonic()
    for number in range(5000):
        sink.push(Line(0, "info", "wire", f"{number} " + "x" * 200))
    assert time.monotonic() - since < 1
    assert sink.dropped > 4000
    seen: list[bytes] = []

    def read() -> None:
        while data := os.read(reader, 65536):
            seen.append(data)

    thread = threading.Thread(target=read)
    thread.start()
    sink.close(5)
    os.close(writer)
    thread.join(5)
    os.close(reader)
    lines = b"".join(seen).decode().splitlines()
    assert len(lines) - 1 == 5000 - sink.dropped
    assert lines[-1].endswith(f"{sink.dropped} log lines were dropped")
    assert lines[0].split()[3] == "0"


def test_sink__nobody_reads__closing_takes_no_longer_than_it_may() -> None:
    reader, writer = os.pipe()
    sink = Sink(writer, as_text)
    for _ in range(3000):
        sink.push(Line(0, "info", "wire", "x" * 200))
    since = time.monotonic()
    sink.close(0.2)
    assert 0.1 < time.monotonic() - since < 2
    os.close(reader)  # wakes the thread, which is still in its write
    sink._thread.join(5)
    assert not sink._thread.is_alive()
    os.close(writer)


def test_sink__reader_gone__is_no_error_and_counted() -> None:
    reader, writer = os.pipe()
    os.close(reader)
    sink = Sink(writer, as_text)
    sink.push(Line(0, "info", "wire", "lost"))
    sink.close(5)
    assert (sink.dropped, sink._thread.is_alive()) == (1, False)
    os.close(writer)


def test_sink__many_threads__loses_and_mixes_nothing(tmp_path: Path) -> None:
    fd = os.open(tmp_path / "log", os.O_WRONLY | os.O_CREAT)
    sink = Sink(fd, as_text)

    def push(name: str) -> None:
        for number in range(500):
            sink.push(Line(0, "info", "wire", f"{name}-{number}"))

    threads = [threading.Thread(target=push, args=(f"t{number}",)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    sink.close(5)
    os.close(fd)
    words = [line.split()[3] for line in (tmp_path / "log").read_text().splitlines()]
    assert sorted(words) == sorted(f"t{thread}-{number}" for thread in range(4) for number in range(500))


def test_process__ends__its_last_lines_are_written() -> None:
    code = (
        "import logging; from pyproxy import logs; logs.setup();"
        "[logging.getLogger('pyproxy').info('line %d', n) for n in range(1000)]"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=30, check=True)
    assert [line.split()[-1] for line in done.stderr.splitlines()] == [str(number) for number in range(1000)]


def test_process__killed_softly__has_written_what_it_logged_a_moment_before() -> None:
    code = (
        "import logging, time; from pyproxy import logs; logs.setup();"
        "logging.getLogger('pyproxy').info('first'); time.sleep(60)"
    )
    with subprocess.Popen([sys.executable, "-c", code], stderr=subprocess.PIPE, text=True) as process:
        assert process.stderr is not None
        assert process.stderr.readline().endswith("first\n")
        process.send_signal(signal.SIGTERM)


def test_pieces__of_what_is_shared__are_whole_writes_to_a_file_and_smaller_to_a_pipe(tmp_path: Path) -> None:
    with (tmp_path / "log").open("wb") as file:
        assert logs._piece(file.fileno()) is None
    reading, writing = os.pipe()
    assert logs._piece(writing) == select.PIPE_BUF
    os.close(reading)
    os.close(writing)


def test_sink__shared_with_other_processes__breaks_no_line_over_two_writes(monkeypatch: pytest.MonkeyPatch) -> None:
    written: list[bytes] = []

    def write(_fd: int, data: memoryview) -> int:
        written.append(bytes(data))
        return len(data)

    monkeypatch.setattr(os, "write", write)
    sink = Sink(7, lambda line: line.message, piece=100)
    lines = ["a" * 60, "b" * 30, "c" * 250, "d" * 90, "e"]
    for line in lines:
        sink.push(Line(0.0, "info", "test", line))
    sink.close()

    assert b"".join(written).decode().splitlines() == lines
    assert all(len(piece) <= 100 for piece in written)
    whole = [piece for piece in written if b"c" not in piece]
    assert all(piece.endswith(b"\n") for piece in whole)
