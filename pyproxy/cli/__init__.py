"""The commands: what is typed, and the exit codes (0 done, 1 failed while running, 2 wrong usage or configuration)."""

from __future__ import annotations

from pyproxy.cli import daemon, projects, repository, store
from pyproxy.cli.root import cli

__all__ = ["cli", "daemon", "main", "projects", "repository", "store"]


def main() -> None:
    """The console script."""
    cli()
