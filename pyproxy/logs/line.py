"""One log line as text or JSON. What comes from outside cannot break it, and no secret of a URL is shown in it."""

from __future__ import annotations

import functools
import json
import re
import time
from collections.abc import Callable, Sequence
from typing import NamedTuple, TypeAlias

Value: TypeAlias = str | int | float | None

LONGEST = 8192
"""Characters of a message or of one field; a stack trace keeps its end, everything else its beginning."""

# C0, DEL, C1; the marks that turn the direction of text; line and paragraph separators; halves of surrogate pairs.
_HOSTILE = re.compile("[\x00-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069\ud800-\udfff]")
# The second branch: a password with a slash in it, which no parser of URLs would take for userinfo. Nothing here
# backtracks and the last part has a bound: paths that clients choose come by, and this runs with the GIL held.
_USERINFO = re.compile(r"(?<=://)(?:[^\s/?#]*@|[^\s/?#@:]*+:(?!\d*+(?:[/?#\s]|$))[^\s@]{0,512}+@)")
_CREDENTIALS = re.compile(r"(?i)(authorization\W{1,5}(?:basic|bearer) +)[^\s\"',]+")
# What nearly all values of access lines are: nothing in them to escape, to quote or to hide ("://" needs two slashes).
_PLAIN = re.compile(r"/?+(?:[A-Za-z0-9_.+~:%@,-]++/?+)++|/")
_BARE = re.compile(r"[^\s\"=\\]+")
_ENCODER = json.JSONEncoder(ensure_ascii=True, allow_nan=False, separators=(",", ":"))
_LATIN1 = 0xFF
_RESERVED = ("time", "level", "logger", "message")
_CLIENT = "192.0.2.1"  # of the addresses that RFC 5737 sets apart: nobody has it
_SECONDS = 1e16  # written with a plus, which no name of a distribution has


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


class Template:
    """Lines that differ in their time, their client and how many seconds something took, and in nothing else.

    `line` makes one; what `render` makes of it has the three in this order, and nothing before them that anybody
    outside could have chosen.
    """

    __slots__ = ("_parts",)

    def __init__(self, render: Callable[[Line], str], line: Callable[[float, str, float], Line]) -> None:
        shown = render(line(0.0, _CLIENT, _SECONDS))
        start, _, rest = shown.partition(_instant(0.0))
        between, _, rest = rest.partition(_CLIENT)
        # From its end: a path may have this number in it, and what stands behind the seconds has not.
        before, _, end = rest.rpartition(str(_SECONDS))
        self._parts = (start, between, before, end)

    def filled(self, created: float, repeats: Sequence[tuple[str, float]]) -> list[str]:
        """The lines as text, one for each client and its seconds.

        A client is an address, or the word for those who have none: shown as it stands.
        """
        start, between, before, end = self._parts
        begin = f"{start}{_instant(created)}{between}"
        return [f"{begin}{client}{before}{_micro(round(seconds * 1e6))}{end}" for client, seconds in repeats]


@functools.lru_cache(maxsize=1024)
def _micro(micros: int) -> str:
    return str(micros / 1e6)  # the nearest float to those six decimals, which is shown by them: no need to round


def _text_value(name: str, value: Value) -> str:
    if isinstance(value, str) and len(value) <= LONGEST and _PLAIN.fullmatch(value):
        return value
    shown = _shortened(name, value)
    if shown is None:
        return "-"
    if not isinstance(shown, str):
        return str(shown).lower()
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
    return _milli(int(created * 1000))


@functools.lru_cache(maxsize=4)  # lines that are made by templates are many in a thousandth of a second
def _milli(created: int) -> str:
    seconds, millis = divmod(created, 1000)
    return f"{_second(seconds)}.{millis:03d}Z"


@functools.lru_cache(maxsize=4)  # many lines are of one second
def _second(seconds: int) -> str:
    return time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(seconds))
