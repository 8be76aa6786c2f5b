"""Log lines: one an event, as text or JSON, to stderr.

Code logs through the standard library (`logging.getLogger(__name__)`), with fields by `event`; requests by `access`.
"""

from __future__ import annotations

import atexit
import logging
import os
import select
import stat
import time
from collections.abc import Sequence
from typing import Literal, TypeAlias, get_args

from pyproxy.logs.line import Line, Template, Value, as_json, as_text
from pyproxy.logs.sink import Sink

__all__ = ["Access", "Format", "Level", "access", "dropped", "event", "setup", "shutdown"]

Format: TypeAlias = Literal["text", "json"]
Level: TypeAlias = Literal["debug", "info", "warning", "error"]


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


def setup(log_format: Format = "text", level: Level = "info", *, fd: int = 2, shared: bool = False) -> None:
    """Sends the lines of every logger to `fd`; those of other libraries from warning on.

    `shared`: other processes write to `fd` too, so lines are written in pieces that the kernel keeps together.

    May be called again, to change the format or the level. Raises ValueError for a word it does not know.
    """
    if log_format not in get_args(Format):
        raise ValueError(f"no log format {log_format!r}")
    if level not in get_args(Level):
        raise ValueError(f"no log level {level!r}")
    shutdown()
    sink = Sink(fd, as_json if log_format == "json" else as_text, piece=_piece(fd) if shared else None)
    root = logging.getLogger()
    root.addHandler(_Handler(sink))
    root.setLevel(max(logging.WARNING, _number(level)))
    logging.getLogger("pyproxy").setLevel(_number(level))
    _State.sink = sink
    _State.access = _number(level) <= logging.INFO
    atexit.register(shutdown)


def _piece(fd: int) -> int | None:
    """Bytes that stay together though others write too: a whole write to a file (None), less to a pipe and the rest."""
    try:
        return None if stat.S_ISREG(os.fstat(fd).st_mode) else select.PIPE_BUF
    except OSError:
        return select.PIPE_BUF


def shutdown(timeout: float = 2.0) -> None:
    """Writes the lines that wait, for at most `timeout` seconds, and goes back to not logging."""
    sink, _State.sink, _State.access = _State.sink, None, False
    if sink is None:
        return
    root = logging.getLogger()
    for handler in [handler for handler in root.handlers if isinstance(handler, _Handler)]:
        root.removeHandler(handler)
    root.setLevel(logging.WARNING)
    logging.getLogger("pyproxy").setLevel(logging.NOTSET)
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
    Access(method, path, status=status, nbytes=nbytes, distribution=distribution, kind=kind, result=result).tell(
        ((client, seconds),)
    )


class Access:
    """The access line of a request that may come again and again: all of it but who asked, when, and how long it took.

    The second time it is made into a template, which takes a fifth of the time of making the line anew.
    """

    __slots__ = ("_after", "_before", "_nbytes", "_sink", "_template", "_told")

    def __init__(
        self, method: str, path: str, *, status: int, nbytes: int, distribution: str, kind: str, result: str
    ) -> None:
        self._before = (("method", method), ("path", path.partition("?")[0]), ("status", status))
        self._nbytes = nbytes
        self._after = (("distribution", distribution), ("kind", kind), ("result", result))
        self._told = False
        self._sink: Sink | None = None  # for which the template was made
        self._template: Template | None = None

    def tell(self, repeats: Sequence[tuple[str, float]], missing: int = 0) -> None:
        """Requests, each with its client and its seconds, of whose answers so many bytes did not go out."""
        sink = _State.sink
        if sink is None or not _State.access:
            return
        once = not self._told and len(repeats) == 1
        self._told = True
        if missing or once:
            for client, seconds in repeats:
                sink.push(self._line(time.time(), client, seconds, missing))
            return
        if self._template is None or self._sink is not sink:
            self._sink = sink
            self._template = Template(sink.render, self._line)
        sink.push_all(self._template.filled(time.time(), repeats))

    def _line(self, created: float, client: str, seconds: float, missing: int = 0) -> Line:
        sent = ("bytes", self._nbytes - missing)
        fields = (("client", client), *self._before, sent, ("seconds", seconds), *self._after)
        return Line(created, "info", "access", "", fields)
