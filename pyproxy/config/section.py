"""A mapping of the file read key by key, and the list of everything that is wrong in it.

Reading never stops at a mistake: a wrong value counts as its default, and the file is refused as a whole afterwards.
"""

from __future__ import annotations

import difflib
from collections.abc import Callable, Collection, Iterator, Mapping
from typing import TypeVar

from pyproxy.config.located import Entry, Located, join
from pyproxy.config.values import Wrong, as_key, instead_of, one_of, text

T = TypeVar("T")

NOT_SUPPORTED = "not supported by this version of pyproxy"

# Below this likeness a guess is a riddle; then the keys there are say more.
_ALIKE = 0.55

# More names than these are no answer to what else could stand there.
_MOST_TOLD = 10


class Mistakes:
    """Collects what is wrong; `source` is the file as people named it."""

    def __init__(self, source: str) -> None:
        self.source = source
        self.lines: dict[str, int] = {}  # path to line, of every key that was read
        self._found: list[tuple[int, str]] = []
        self._told: set[str] = set()

    def add(self, line: int, path: str, message: str) -> None:
        """`line` 0 stands for what no line of the file says."""
        at = f"{self.source}:{line}" if line else self.source
        self._found.append((line, f"{at}: {path}: {message}" if path else f"{at}: {message}"))

    def add_once(self, line: int, path: str, message: str) -> None:
        """As `add`, for what is wrong with something that many keys share: only the first of them tells."""
        if message not in self._told:
            self._told.add(message)
            self.add(line, path, message)

    def add_flag(self, flag: str, message: str) -> None:
        """A mistake on the command line, told once."""
        told = f"{flag}: {message}"
        if told not in self._told:
            self._told.add(told)
            self._found.append((0, told))

    def where(self, path: str) -> int:
        """The line of a key, or of the nearest one above it that the file has; 0 where it has none."""
        while path and path not in self.lines:
            path = path.rpartition(".")[0]
        return self.lines.get(path, 0)

    def report(self) -> list[str]:
        """One line each, in the order of the file."""
        return [message for _, message in sorted(self._found, key=lambda it: it[0])]


class Section:
    """One mapping, at `path`. Keys that nobody may give are reported when it is made.

    `known` are the keys that are read, `later` those that a later version will. A key whose value is null counts as not
    given: that is how a file says "the default" out loud.
    """

    def __init__(
        self,
        mistakes: Mistakes,
        entries: Mapping[str, Entry],
        *,
        path: str = "",
        known: Collection[str] | None = None,
        later: Collection[str] = (),
        elsewhere: Mapping[str, str] | None = None,
    ) -> None:
        self.mistakes = mistakes
        self.path = path
        self._entries = entries
        for key, entry in entries.items():
            mistakes.lines[self.at(key)] = entry.line
            if known is None or key in known:
                continue
            if key in later:
                mistakes.add(entry.line, self.at(key), NOT_SUPPORTED)
            else:
                mistakes.add(entry.line, self.at(key), _unknown(key, [*known, *later], elsewhere or {}))

    @property
    def line(self) -> int:
        """Where the section's own key stands."""
        return self.mistakes.where(self.path)

    def at(self, key: str) -> str:
        """The key's whole path."""
        return join(self.path, key)

    def wrong(self, key: str, message: str) -> None:
        """Reports a mistake at the key, or at the section where the key is not given."""
        self.mistakes.add(self.mistakes.where(self.at(key)), self.at(key), message)

    def has(self, key: str) -> bool:
        return key in self._entries and self._entries[key].node.value is not None

    def is_empty(self, key: str) -> bool:
        """Whether a list stands there that has nothing in it."""
        return self.has(key) and self._entries[key].node.value == []

    def value(self, key: str, parse: Callable[[object], T], default: T) -> T:
        """The key's value as `parse` gives it; the default where it is absent, null or wrong."""
        if not self.has(key):
            return default
        entry = self._entries[key]
        try:
            return parse(entry.node.value)
        except Wrong as exc:
            self.mistakes.add(entry.line, self.at(key), str(exc))
            return default

    def values(self, key: str, parse: Callable[[object], T], *, single: bool = False) -> tuple[T, ...] | None:
        """The key's list, each item parsed, without the wrong ones; None where it is absent or null.

        With `single`, one item may stand there without being a list.
        """
        if not self.has(key):
            return None
        entry = self._entries[key]
        if isinstance(entry.node.value, list):
            items = [(item.line, item.value) for item in entry.node.value]
        elif single and not isinstance(entry.node.value, dict):
            items = [(entry.line, entry.node.value)]
        else:
            self.mistakes.add(entry.line, self.at(key), f"must be a list{instead_of(entry.node.value)}")
            return ()
        found: list[T] = []
        for line, value in items:
            try:
                found.append(parse(value))
            except Wrong as exc:
                self.mistakes.add(line, self.at(key), str(exc))
        return tuple(found)

    def section(
        self,
        key: str,
        known: Collection[str] | None = None,
        *,
        later: Collection[str] = (),
        elsewhere: Mapping[str, str] | None = None,
    ) -> Section:
        """The mapping below the key, an empty one where it is absent, null or no mapping."""
        entries: Mapping[str, Entry] = {}
        if self.has(key):
            entry = self._entries[key]
            entries = as_mapping(self.mistakes, entry.node, line=entry.line, path=self.at(key))
        return Section(self.mistakes, entries, path=self.at(key), known=known, later=later, elsewhere=elsewhere)

    def __iter__(self) -> Iterator[str]:
        """The keys, in the order of the file."""
        yield from self._entries

    def __len__(self) -> int:
        return len(self._entries)


def as_mapping(mistakes: Mistakes, node: Located, *, line: int, path: str) -> Mapping[str, Entry]:
    """The node's entries; reported, and none, where it is no mapping."""
    if isinstance(node.value, dict):
        return node.value
    mistakes.add(line, path, f"must be a mapping of keys to values{instead_of(node.value)}")
    return {}


def nearest(name: str, names: Collection[str]) -> str | None:
    """The one of `names` that was probably meant."""
    folded = {it.lower().replace("-", "_"): it for it in names}
    close = difflib.get_close_matches(name.lower().replace("-", "_"), folded, n=1, cutoff=_ALIKE)
    return folded[close[0]] if close else None


def one_of_those(kind: str, names: Collection[str]) -> Callable[[object], str]:
    """A parser of the name of something that stands elsewhere in the file: a remote, a repository, a guard."""

    def parse(value: object) -> str:
        name = text(value)
        if name not in names:
            raise Wrong(f"no {kind} is called {as_key(name)}; {instead_of_name(name, names)}")
        return name

    return parse


def instead_of_name(name: str, names: Collection[str]) -> str:
    """What was probably meant by a name that nothing has, or else what there is."""
    meant = nearest(name, names)
    if meant is not None:
        return f"did you mean {as_key(meant)}?"
    if len(names) > _MOST_TOLD:
        return f"there are {len(names)} others"
    return f"there is {one_of([as_key(it) for it in names]) or 'none'}"


def _unknown(key: str, known: Collection[str], elsewhere: Mapping[str, str]) -> str:
    if key in elsewhere:
        return f"unknown key; did you mean {elsewhere[key]}?"
    meant = nearest(key, known)
    if meant is not None:
        return f"unknown key; did you mean {meant}?"
    return f"unknown key; here may stand {', '.join(sorted(known)) or 'none so far'}"
