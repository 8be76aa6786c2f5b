"""The heads of requests, as bytes: what all of them say to one host is put together once.

Nothing in a field can end its line, so no field holds another one.
"""

from __future__ import annotations

import re
from collections.abc import Mapping

# What a question is asked by. Its answer is read accordingly, so nobody else may set these.
_ASKED_BY = frozenset({"accept", "accept-encoding", "if-modified-since", "if-none-match", "if-range", "range"})

# All controls but the tab (RFC 9110 §5.5).
_UNSENDABLE = re.compile(r"[\x00-\x08\x0a-\x1f\x7f]")


class Heads:
    """The heads of requests to one host. `always`: the fields that all of them have; those of a question win.

    `before_path`: scheme and authority, where a proxy is asked by whole URLs (RFC 9112 §3.2.2).
    """

    def __init__(self, always: Mapping[str, str], *, before_path: str = "") -> None:
        """Raises ValueError for a field that cannot be sent."""
        fields = {name: value for name, value in always.items() if name.lower() not in _ASKED_BY}
        self._before = before_path
        self._always = f" HTTP/1.1\r\n{_lines(fields)}"

    def head(self, method: str, path: str, fields: Mapping[str, str]) -> bytes:
        """`path` is a target's, which holds no space and no control. Raises ValueError as above."""
        return f"{method} {self._before}{path}{self._always}{_lines(fields)}\r\n".encode()


def _lines(fields: Mapping[str, str]) -> str:
    if _UNSENDABLE.search("\t".join([*fields, *fields.values()])):  # one look at all of them
        raise ValueError("a header field with control characters")
    return "".join([f"{name}: {value}\r\n" for name, value in fields.items()])
