"""YAML that remembers its lines: text to a tree of values, each with the line on which it stands.

The tags are those of a safe loader, less dates (text here) and sets; a key that stands twice is a mistake. Aliases
share one node, so a tree may be far larger than its text: its size is counted before anybody walks it.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import TypeAlias

import yaml

from pyproxy.config.values import as_key
from pyproxy.model import printable

LARGEST_FILE = 1 << 20
"""Bytes of configuration text; a team's is some 10 kB."""

_MOST_VALUES = 100_000
_DEEPEST = 32

_TAG = "tag:yaml.org,2002:"
_TEXTS = frozenset({f"{_TAG}str", f"{_TAG}timestamp", f"{_TAG}value"})

# One character, or what the loader calls a token ('<block end>'), may stay in its messages; longer texts may not.
_QUOTED = re.compile(r"(['\"])(?!(?:\\?.|\\x..|\\u....|<[a-z ]+>)\1).*?\1")

Scalar: TypeAlias = "str | int | float | bool | None"

Report: TypeAlias = Callable[[int, str, str], None]
"""Takes line, path and message of one mistake."""


@dataclass(frozen=True, slots=True, eq=False)
class Located:
    """A value of the file. Nodes that an alias repeats are the same object.

    `value` is a scalar, a list of Located, or a dict of key to Entry.
    """

    value: Scalar | list[Located] | dict[str, Entry]
    line: int


@dataclass(frozen=True, slots=True, eq=False)
class Entry:
    """A key's value, and the line of the key: that is where people look."""

    line: int
    node: Located


def read_yaml(raw: bytes, report: Report) -> Located | None:
    """The tree; None for an empty file, and where a mistake makes the rest unreadable.

    Every mistake found goes to `report`; with one there the tree is whole but for what it concerns.
    """
    try:
        text = raw.decode("utf-8-sig")
    except UnicodeDecodeError as exc:
        report(raw.count(b"\n", 0, exc.start) + 1, "", "is not UTF-8 text")
        return None
    try:
        # The loader in Python: the one in C ends the process on deep nesting.
        loader = yaml.SafeLoader(text)
        try:
            root = loader.get_single_node()
        finally:
            loader.dispose()
        if root is None:
            return None
        tree = _Tree(report).located(root, "", 0)
    except yaml.MarkedYAMLError as exc:
        mark = exc.problem_mark or exc.context_mark
        report(mark.line + 1 if mark else 1, "", f"is not YAML: {_words(exc)}")
    except yaml.reader.ReaderError as exc:
        report(text.count("\n", 0, exc.position) + 1, "", f"is not YAML: {exc.reason}")
    except RecursionError:
        report(1, "", "is nested too deeply")
    except _Unreadable as exc:
        report(exc.line, "", exc.message)
    else:
        if _count(tree, {}) <= _MOST_VALUES:
            return tree
        report(1, "", f"holds more than {_MOST_VALUES} values, aliases included")
    return None


def _words(exc: yaml.MarkedYAMLError) -> str:
    """The loader's words without the names it quotes: `password: *secret` makes an alias of a password."""
    words = exc.problem or "cannot be read"
    if words.startswith("but "):
        words = f"{exc.context}, {words}"
    return _QUOTED.sub("...", " ".join(words.split()))


class _Unreadable(Exception):
    """Found while walking: there is no tree."""

    def __init__(self, line: int, message: str) -> None:
        super().__init__(message)
        self.line = line
        self.message = message


def _count(node: Located, known: dict[int, int]) -> int:
    """How many values the tree has with every alias written out; each node is walked once."""
    if id(node) not in known:
        known[id(node)] = 1 + sum(_count(child, known) for child in _children(node))
    return known[id(node)]


def _children(node: Located) -> Iterator[Located]:
    if isinstance(node.value, list):
        yield from node.value
    elif isinstance(node.value, dict):
        for entry in node.value.values():
            yield entry.node


class _Tree:
    """Turns nodes into Located, each once however many aliases name it."""

    def __init__(self, report: Report) -> None:
        self._report = report
        self._construct = yaml.constructor.SafeConstructor()
        self._done: dict[int, Located] = {}
        self._open: set[int] = set()  # the nodes being walked: an alias to one of them has no end

    def located(self, node: yaml.Node, path: str, depth: int) -> Located:
        line = node.start_mark.line + 1
        known = self._done.get(id(node))
        if known is not None:
            return known
        if depth > _DEEPEST:
            raise _Unreadable(line, "is nested too deeply")
        if id(node) in self._open:
            raise _Unreadable(line, "has an alias inside of what it stands for")
        self._open.add(id(node))
        self._done[id(node)] = made = Located(self._value(node, path, depth), line)
        self._open.discard(id(node))
        return made

    def _value(self, node: yaml.Node, path: str, depth: int) -> Scalar | list[Located] | dict[str, Entry]:
        if isinstance(node, yaml.MappingNode) and node.tag == f"{_TAG}map":
            return self._mapping(node, path, depth)
        if isinstance(node, yaml.SequenceNode) and node.tag == f"{_TAG}seq":
            return [self.located(item, path, depth + 1) for item in node.value]
        if isinstance(node, yaml.ScalarNode):
            return self._scalar(node, path)
        self._unknown_tag(node, path)
        return None

    def _scalar(self, node: yaml.ScalarNode, path: str) -> Scalar:
        if node.tag in _TEXTS:
            return str(node.value)
        if node.tag in {f"{_TAG}{kind}" for kind in ("int", "float", "bool", "null")}:
            try:
                value: Scalar = self._construct.construct_object(node)
            except (ValueError, KeyError):
                self._report(node.start_mark.line + 1, path, f"is no {node.tag.removeprefix(_TAG)}")
                return None
            return value
        self._unknown_tag(node, path)
        return None

    def _unknown_tag(self, node: yaml.Node, path: str) -> None:
        # Not repeated, as it may be the beginning of a password.
        self._report(node.start_mark.line + 1, path, "unknown tag: text that begins with ! needs quotes")

    def _mapping(self, node: yaml.MappingNode, path: str, depth: int) -> dict[str, Entry]:
        own: dict[str, Entry] = {}
        merged: dict[str, Entry] = {}
        for key_node, value_node in node.value:
            line = key_node.start_mark.line + 1
            if key_node.tag == f"{_TAG}merge":
                for source in value_node.value if isinstance(value_node, yaml.SequenceNode) else [value_node]:
                    # "Keys in mapping nodes earlier in the sequence override keys specified in later mapping nodes."
                    merged = {**self._merged(source, path, depth), **merged}
                continue
            key = self._key(key_node, path)
            if key is None:
                continue
            below = join(path, key)
            if key in own:
                self._report(line, below, f"stands here twice, first on line {own[key].line}")
                continue
            own[key] = Entry(line, self.located(value_node, below, depth + 1))
        return {**merged, **own}

    def _merged(self, node: yaml.Node, path: str, depth: int) -> dict[str, Entry]:
        value = self.located(node, path, depth + 1).value
        if isinstance(value, dict):
            return value
        self._report(node.start_mark.line + 1, path, "<< must name a mapping, or a list of mappings")
        return {}

    def _key(self, node: yaml.Node, path: str) -> str | None:
        line = node.start_mark.line + 1
        if not isinstance(node, yaml.ScalarNode):
            self._report(line, path, "a key must be text")
            return None
        if node.tag not in _TEXTS:
            self._report(
                line, path, f"a key must be text: put {printable(str(node.value), 40).strip(chr(39))} in quotes"
            )
            return None
        return str(node.value)


def join(path: str, key: str) -> str:
    """The path of a key below another, fit to be printed."""
    return f"{path}.{as_key(key)}" if path else as_key(key)
