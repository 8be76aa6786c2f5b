"""The local content of a configuration, open for as long as a command runs."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from pyproxy.config import Config
from pyproxy.errors import PyproxyError
from pyproxy.storage.repository import Repositories, open_local


class NoSuchRepository(PyproxyError):
    """The configuration declares no repository of this name."""


@contextmanager
def repositories(config: Config, *names: str) -> Iterator[Repositories]:
    """The local content, open for as long as the command runs. Raises NoSuchRepository."""
    for name in names:
        if name not in config.repositories:
            there = ", ".join(config.repositories) or "none"
            raise NoSuchRepository(f"no repository is called {name}; the configuration has {there}")
    opened = open_local(config.storage.path, exclusive=False)
    try:
        yield opened
    finally:
        opened.close()
