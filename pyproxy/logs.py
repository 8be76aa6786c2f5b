"""Log lines: one an event, as text or JSON, to stderr, by a thread of their own so that nobody ever waits for a reader.

What comes from outside cannot break a line: control characters are escaped, and the userinfo of URLs is never shown.
Code logs through the standard library (`logging.getLogger(__name__)`), with fields by `event`.
"""

from __future__ import annotations

import atexit
import functools
import json
import logging
import os
import re
import select
import threading
import time
from collections import deque
from collections.abc import Callable
from typing import Literal, NamedTuple, TypeAlias, get_args

Format: TypeAlias = Literal["text", "json"]
Level: TypeAlias = Literal["debug", "info", "warning", "error"]
Value: TypeAlias = str | int | float | None

QUEUE = 20_000
"""Lines that wait for a slow reader of stderr; those beyond are dropped and counted."""

LONGEST = 8192
"""Characters of a message or of one field; a stack trace keeps its end, everything else its beginning."""

_BATCH = 1000
_NAP = 0.02  # seconds between two writes while lines keep coming: one call to the kernel for many lines

# C0, DEL, C1; the marks that turn the direction of text; line and paragraph separators; halves of surrogate pairs.
_HOSTILE = re.compile("[\x00-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069\ud800-\udfff]")
# The second branch: a password with a slash in it, which no parser of URLs would take for userinfo. Nothing here
# backtracks and the last part has a bound: paths that clients choose come by, and this runs with the GIL held.
_USERINFO = re.compile(r"(?<=://)(?:[^\s/?#]*@|[^\s/?#@:]*+:(?!\d*+(?:[/?#\s]|$))[^\s@]{0,512}+@)")
_CREDENTIALS = re.compile(r"(?i)(authorization\W{1,5}(?:basic|bearer) +)[^\s\"',]+")
# What nearly all values of access lines are: nothing in them to escape, to quote or to hide ("://" needs two slashes).
_PLAIN = re.compile(r"(?:/?[A-Za-z0-9_.+~:%@,-]+)+/?|/")
_BARE = re.compile(r"[^\s\"=\\]+")
_ENCODER = json.JSONEncoder(ensure_ascii=True, allow_nan=False, separators=(",", ":"))
_LATIN1 = 0xFF
_RESERVED = ("time", "level", "logger", "message")


class Line(NamedTuple):
    """One event. `created` is in seconds since the epoch; `fields` have the order in which they are shown."""

    created: float
    level: str
    logger: str
    message: str
    fields: tuple[tuple[str, Value], ...] = ()


def escape(text: str) -> str:
    """The text without anything that could end a line or steer a terminal: those characters are spelt out."""
    return _HOSTILE.sub(_spelt, text)


def redact(text: str) -> str:
    """The text without the userinfo of URLs and without the credentials of an Authorization field."""
    if "://" in text:
        text = _USERINFO.sub("***@", text)
    return _CREDENTIALS.sub(r"\1***", text)


def _spelt(found: re.Match[str]) -> str:
    code = ord(found[0])
    return {9: "\\t", 10: "\\n", 13: "\\r"}.get(code) or (f"\\x{code:02x}" if code <= _LATIN1 else f"\\u{code:04x}")


def as_text(line: Line) -> str:
    """`TIME LEVEL LOGGER MESSAGE name=value …`, without a line's end."""
    head = f"{_instant(line.created)} {line.level:<7} {line.logger}"
    message = f" {escape(redact(line.message)[:LONGEST])}" if line.message else ""
    return head + message + "".join(f" {name}={_text_value(name, value)}" for name, value in line.fields)


def as_json(line: Line) -> str:
    """An object with time, level, logger, message (where there is one) and the fields, in ASCII."""
    shown: dict[str, Value] = {"time": _instant(line.created), "level": line.level, "logger": line.logger}
    if line.message:
        shown["message"] = redact(line.message)[:LONGEST]
    for name, value in line.fields:
        shown[f"{name}_" if name in _RESERVED else name] = _shortened(name, value)
    # ensure_ascii escapes every control character, and whatever else is not printable ASCII.
    return _ENCODER.encode(shown)


def _text_value(name: str, value: Value) -> str:
    shown = _shortened(name, value)
    if shown is None:
        return "-"
    if not isinstance(shown, str):
        return str(shown).lower()
    if shown is value and _PLAIN.fullmatch(shown):
        return shown
    if _BARE.fullmatch(shown) and not _HOSTILE.search(shown):
        return shown
    return '"' + escape(shown.replace("\\", "\\\\").replace('"', '\\"')) + '"'


def _shortened(name: str, value: Value) -> Value:
    if isinstance(value, str):
        if len(value) <= LONGEST and _PLAIN.fullmatch(value):
            return value
        value = redact(value)  # before it is cut, as half a URL would not be known for one
        return value[-LONGEST:] if name == "trace" else value[:LONGEST]
    if isinstance(value, float):
        # JSON has no infinity and no NaN.
        return round(value, 6) if abs(value) < float("inf") else str(value)
    return value


def _instant(created: float) -> str:
    seconds, millis = divmod(int(created * 1000), 1000)
    return f"{_second(seconds)}.{millis:03d}Z"


@functools.lru_cache(maxsize=4)  # many lines are of one second
def _second(seconds: int) -> str:
    return time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(seconds))


class Sink:
    """A bounded queue of lines and the thread that writes them to a descriptor."""

    def __init__(self, fd: int, render: Callable[[Line], str], *, limit: int = QUEUE) -> None:
        self._fd = fd
        self._render = render
        self._limit = limit
        self._queue: deque[Line] = deque()  # appended to by everybody, taken from by the thread
        self._wake = threading.Event()
        self._asleep = False  # set by the thread; whoever finds it set wakes the thread
        self._closing = threading.Event()
        self._told = 0  # how many of the dropped were told of
        self.dropped = 0
        self._thread = threading.Thread(target=self._run, name="logs", daemon=True)
        self._thread.start()

    def push(self, line: Line) -> None:
        """Takes the line, or drops and counts it where too many wait. Never blocks."""
        if len(self._queue) >= self._limit or self._closing.is_set():
            self.dropped += 1
            return
        self._queue.append(line)
        if self._asleep:
            self._asleep = False
            self._wake.set()

    def close(self, timeout: float = 2.0) -> None:
        """Writes what waits, for at most `timeout` seconds: a reader that has stopped must not stop the daemon."""
        self._closing.set()
        self._wake.set()
        self._thread.join(timeout)

    def _run(self) -> None:
        while True:
            while self._queue:
                self._write(self._batch())
                self._closing.wait(_NAP)
            if self.dropped > self._told:
                self._tell_dropped()
                continue
            if self._closing.is_set():
                return
            self._asleep = True
            if self._queue:  # pushed between the look above and the line before this one
                continue
            self._wake.wait()
            self._wake.clear()

    def _batch(self) -> bytes:
        rows = []
        for _ in range(min(len(self._queue), _BATCH)):
            line = self._queue.popleft()
            try:
                rows.append(self._render(line))
            except Exception as exc:  # noqa: BLE001 - whatever a line holds, the lines after it are still written
                rows.append(self._render(Line(line.created, "error", "logs", f"a line cannot be shown: {exc!r}")))
        return "".join(f"{row}\n" for row in rows).encode("utf-8", "backslashreplace")

    def _tell_dropped(self) -> None:
        count, self._told = self.dropped - self._told, self.dropped
        line = Line(time.time(), "warning", "logs", f"{count} log lines were dropped")
        self._write(f"{self._render(line)}\n".encode())

    def _write(self, data: bytes) -> None:
        view = memoryview(data)
        while view:
            try:
                view = view[os.write(self._fd, view) :]
            except BlockingIOError:
                # Somebody who shares the descriptor (a terminal, say) made it non-blocking.
                select.select([], [self._fd], [], 1.0)
            except OSError:
                # Nobody reads any more (EPIPE), or the disk is full: there is no other place to say so.
                lost = bytes(view).count(b"\n")
                self.dropped += lost
                self._told += lost
                return


class _Handler(logging.Handler):
    """Makes lines of the standard library's records."""

    def __init__(self, sink: Sink) -> None:
        super().__init__()
        self._sink = sink

    def emit(self, record: logging.LogRecord) -> None:
        try:
            message = record.getMessage()
        except Exception as exc:  # noqa: BLE001 - arguments that do not fit their message
            message = f"{record.msg!r} cannot be shown: {exc!r}"
        fields = tuple((name, _plain(value)) for name, value in getattr(record, "fields", {}).items())
        if record.exc_info and record.exc_info[0] is not None:
            fields = (*fields, ("trace", logging.Formatter().formatException(record.exc_info)))
        name = record.name.removeprefix("pyproxy.")
        self._sink.push(Line(record.created, record.levelname.lower(), name, message, fields))


def _plain(value: object) -> Value:
    # Shown now and not later: an object may change, or keep much alive, until the thread comes to it.
    return value if value is None or isinstance(value, str | int | float) else str(value)


class _State:
    """The process has one stderr, so there is one sink: this is the one global of the module."""

    sink: Sink | None = None
    access = False


def setup(log_format: Format = "text", level: Level = "info", *, fd: int = 2) -> None:
    """Sends the lines of every logger to `fd`; those of other libraries from warning on.

    May be called again, to change the format or the level. Raises ValueError for a word it does not know.
    """
    if log_format not in get_args(Format):
        raise ValueError(f"no log format {log_format!r}")
    if level not in get_args(Level):
        raise ValueError(f"no log level {level!r}")
    shutdown()
    sink = Sink(fd, as_json if log_format == "json" else as_text)
    root = logging.getLogger()
    root.addHandler(_Handler(sink))
    root.setLevel(max(logging.WARNING, _number(level)))
    logging.getLogger("pyproxy").setLevel(_number(level))
    _State.sink = sink
    _State.access = _number(level) <= logging.INFO
    atexit.register(shutdown)


def shutdown(timeout: float = 2.0) -> None:
    """Writes the lines that wait, for at most `timeout` seconds, and goes back to not logging."""
    sink, _State.sink, _State.access = _State.sink, None, False
    if sink is None:
        return
    root = logging.getLogger()
    for handler in [handler for handler in root.handlers if isinstance(handler, _Handler)]:
        root.removeHandler(handler)
    atexit.unregister(shutdown)
    sink.close(timeout)


def dropped() -> int:
    """Lines lost since `setup`, as nobody read them fast enough."""
    return 0 if _State.sink is None else _State.sink.dropped


def _number(level: Level) -> int:
    return logging.getLevelNamesMapping()[level.upper()]


def event(logger: logging.Logger, level: int, message: str, **fields: object) -> None:
    """Logs an event with fields, which are shown after the message as name=value."""
    if logger.isEnabledFor(level):
        logger.log(level, message, extra={"fields": fields}, stacklevel=2)


def access(
    client: str,
    method: str,
    path: str,
    *,
    status: int,
    nbytes: int,
    seconds: float,
    distribution: str = "-",
    kind: str = "other",
    result: str = "-",
) -> None:
    """The one line of a request; nothing happens where level `info` is off. A query in `path` is left out."""
    sink = _State.sink
    if sink is None or not _State.access:
        return
    sink.push(
        Line(
            time.time(),
            "info",
            "access",
            "",
            (
                ("client", client),
                ("method", method),
                ("path", path.partition("?")[0]),
                ("status", status),
                ("bytes", nbytes),
                ("seconds", seconds),
                ("distribution", distribution),
                ("kind", kind),
                ("result", result),
            ),
        )
    )
