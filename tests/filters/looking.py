"""Files of a page as rules look at them, made from what a test says of them."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from pyproxy.config import FilterConfig
from pyproxy.config.filters import selector
from pyproxy.filters import Policy, policy_of, seen
from pyproxy.model import File, as_filename, as_project

NOW = 1_790_000_000.0
"""2026-09-21T14:13:20Z."""


def a_file(filename: str, **said: Any) -> File:  # Any: fields of a File
    return File(as_filename(filename), f"https://files.example/{filename}", f"up/{filename}", **said)


def policy(**keys: Any) -> Policy:  # Any: fields of a FilterConfig; selectors as text
    for key in ("includes", "excludes", "exempt"):
        if key in keys:
            keys[key] = tuple(map(selector, keys[key]))
    return policy_of(FilterConfig(**keys))


def left(rules: Policy, files: Iterable[File | str], name: str = "alpha", now: float = NOW) -> list[str]:
    """The names of the files that these rules show."""
    project = as_project(name)
    if rules.refuses(project) is not None:
        return []
    page = [a_file(file) if isinstance(file, str) else file for file in files]
    verdicts = rules.verdicts(project, seen(project, page), now)
    return [file.filename for file, verdict in zip(page, verdicts.of, strict=True) if verdict is None]


def reasons(rules: Policy, files: Iterable[File | str], name: str = "alpha", now: float = NOW) -> dict[str, str]:
    """By file name, why it is hidden."""
    project = as_project(name)
    page = [a_file(file) if isinstance(file, str) else file for file in files]
    verdicts = rules.verdicts(project, seen(project, page), now).of
    return {f.filename: verdict.reason for f, verdict in zip(page, verdicts, strict=True) if verdict is not None}
