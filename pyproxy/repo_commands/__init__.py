"""What `pyproxy repo` does, beside the running daemon: each change is one transaction and makes one new version.

`adding` takes files in, `from_cache` what was pulled through; `changes` runs a change and tells what it did; `telling`
only reads; `opening` finds the repository.
"""

from __future__ import annotations

from pyproxy.repo_commands.adding import add
from pyproxy.repo_commands.changes import change, prune
from pyproxy.repo_commands.opening import NoSuchRepository, repositories
from pyproxy.repo_commands.telling import difference, listed, versions

__all__ = ["NoSuchRepository", "add", "change", "difference", "listed", "prune", "repositories", "versions"]
