"""The parts that all pages for people are made of: the frame, its style, and text, paths and numbers as safe HTML."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from html import escape
from typing import Final
from urllib.parse import quote

CONTENT_SECURITY_POLICY: Final = (
    "default-src 'none'; style-src 'unsafe-inline'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'"
)
"""The header that these pages are to be sent with: default-src does not cover the last three."""

_TEXT_LIMIT: Final = 500
# Control characters, those that turn the direction of text, and halves of surrogate pairs, which no encoder takes.
_UNSHOWN = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069\ud800-\udfff]")
_INSTANT = re.compile(r"([0-9]{4}-[0-9]{2}-[0-9]{2})T([0-9]{2}:[0-9]{2})[0-9:.]*Z\Z", re.ASCII)

# Light and dark; no colour carries a meaning alone.
_STYLE: Final = """\
:root { color-scheme: light dark; --ink: #1b1f24; --paper: #fff; --soft: #57606a; --line: #d0d7de; --box: #f3f5f7;
  --link: #0550ae }
@media (prefers-color-scheme: dark) {
  :root { --ink: #e6edf3; --paper: #0d1117; --soft: #9ba5b0; --line: #30363d; --box: #161b22; --link: #79b8ff }
}
* { box-sizing: border-box }
body { margin: 0; background: var(--paper); color: var(--ink); font: 1rem/1.5 system-ui, sans-serif }
header, main { max-width: 72rem; margin: 0 auto; padding: .75rem 1rem }
h1, h2, .status { overflow-wrap: anywhere }
h1 { font-size: 1.75rem; margin: .5rem 0 }
h2 { font-size: 1.25rem; margin: 1.5rem 0 .5rem }
a { color: var(--link) }
:focus-visible { outline: 3px solid var(--link); outline-offset: 2px }
nav, small, caption, dt { color: var(--soft) }
.wide { overflow-x: auto }
table { border-collapse: collapse; width: 100% }
caption { text-align: left; padding: .25rem 0 }
th, td { text-align: left; vertical-align: top; padding: .35rem .75rem .35rem 0; border-bottom: 1px solid var(--line) }
tbody th { font-weight: normal; overflow-wrap: anywhere; min-width: 16rem }
time, .size { white-space: nowrap }
code, pre { font: .9em/1.4 ui-monospace, monospace; overflow-wrap: anywhere }
pre { background: var(--box); border: 1px solid var(--line); border-radius: .375rem; padding: .5rem .75rem;
  margin: .25rem 0 .75rem; overflow-x: auto }
dd { margin: 0 }
.tag { border: 1px solid var(--soft); border-radius: 1rem; padding: 0 .5rem; font-size: .8rem; color: var(--soft) }
.status { background: var(--box); border-left: .3rem solid var(--soft); padding: .5rem .75rem }
form { display: flex; flex-wrap: wrap; gap: .5rem; align-items: center; margin: 1rem 0 }
input, button { font: inherit; padding: .35rem .6rem; color: inherit; background: var(--box);
  border: 1px solid var(--soft); border-radius: .375rem }
input { flex: 1 1 16rem }
"""


def document(title: str, trail: Sequence[tuple[str, str]], body: str) -> str:
    """The whole page. `trail` leads from the root to here: (relative URL, name) of each page above; `body` is HTML."""
    nav = ""
    if trail:
        crumbs = "".join(f'<a href="{href}">{text(what)}</a> / ' for href, what in trail)
        nav = f'<nav aria-label="You are here">{crumbs}<span aria-current="page">{text(title)}</span></nav>'
    names = " · ".join(text(name) for name in (title, *(what for _, what in reversed(trail))))
    return (
        '<!DOCTYPE html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n<meta name="robots" content="noindex">\n'
        f"<title>{names}</title>\n<style>\n{_STYLE}</style>\n</head>\n<body>\n"
        f"<header>{nav}</header>\n<main>\n<h1>{text(title)}</h1>\n{body}</main>\n</body>\n</html>\n"
    )


def table(caption: str, heads: Iterable[str], rows: str) -> str:
    """A table that scrolls by itself on a narrow screen. `rows` is HTML."""
    head = "".join(f'<th scope="col">{text(name)}</th>' for name in heads)
    return (
        f'<div class="wide"><table><caption>{text(caption)}</caption>\n<thead><tr>{head}</tr></thead>\n'
        f"<tbody>\n{rows}</tbody></table></div>\n"
    )


def note(body: str) -> str:
    """A line that stands out. `body` is HTML."""
    return f'<p class="status" role="note">{body}</p>\n'


def tag(word: str) -> str:
    return f' <span class="tag">{text(word)}</span>'


def text(raw: str) -> str:
    """Text for an element or a quoted attribute, shortened where somebody wrote a book."""
    shown = raw if len(raw) <= _TEXT_LIMIT else raw[:_TEXT_LIMIT] + "…"
    return escape(_UNSHOWN.sub("\ufffd", shown))


def path(raw: str) -> str:
    """Path segments for a quoted attribute."""
    return escape(quote(_UNSHOWN.sub("\ufffd", raw)))


def link(encoded: str) -> str:
    """A path that is percent-encoded already: what is encoded stays, what would end the path or the attribute goes."""
    return escape(quote(_UNSHOWN.sub("\ufffd", encoded), safe="/%:~+!,;=@&$()*'"))


def count(number: int, what: str) -> str:
    return f"{number:,} {what}{'' if number == 1 else 's'}"


def nbytes(size: int | None) -> str:
    """A size for people: two or three digits, binary units."""
    if size is None:
        return ""
    if size < 1 << 10:
        return count(size, "byte")
    shift, unit = next((shift, unit) for shift, unit in ((30, "GiB"), (20, "MiB"), (10, "KiB")) if size >> shift)
    return f"{size / (1 << shift):.1f} {unit}"


def instant(upload_time: str | None) -> str:
    """An RFC 3339 instant, to the minute; anything else as it stands."""
    if upload_time is None:
        return ""
    found = _INSTANT.match(upload_time)
    if found is None:
        return text(upload_time)
    return f'<time datetime="{text(upload_time)}">{found[1]} {found[2]} UTC</time>'
