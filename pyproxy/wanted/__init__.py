"""What somebody wants to be in the cache: requirements and lock files read, and held against pages."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from pyproxy.wanted.choosing import Release, chosen, dependencies, fits, named_on
from pyproxy.wanted.locks import read_lock
from pyproxy.wanted.markers import Python
from pyproxy.wanted.requirements_txt import as_ask, read_requirements
from pyproxy.wanted.values import Ask, Named, Unreadable, Wishes

__all__ = [
    "Ask",
    "Named",
    "Python",
    "Release",
    "Unreadable",
    "Wishes",
    "as_ask",
    "chosen",
    "dependencies",
    "fits",
    "gathered",
    "named_on",
]


def gathered(requirements: Iterable[str], paths: Iterable[Path]) -> Wishes:
    """What these say together: requirements as they are typed, and files. Raises Unreadable with every mistake."""
    wishes = Wishes()
    mistakes: list[str] = []
    for text in requirements:
        try:
            found = as_ask(text, "")
            wishes += Wishes(notes=(found,)) if isinstance(found, str) else Wishes(asks=(found,))
        except Unreadable as exc:
            mistakes += exc.mistakes
    for path in paths:
        try:
            wishes += _read(path)
        except Unreadable as exc:
            mistakes += exc.mistakes
    if mistakes:
        raise Unreadable(*mistakes)
    return wishes


def _read(path: Path) -> Wishes:
    """A lock file where its name ends in .toml or .lock, else pip's requirements."""
    return read_lock(path) if path.suffix in (".toml", ".lock") else read_requirements(path)
