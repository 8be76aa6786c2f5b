"""The section `repositories`: the names of what is kept here. Their content is no business of the file."""

from __future__ import annotations

from pyproxy.config.remotes import as_name
from pyproxy.config.section import Section


def read_repositories(repositories: Section) -> tuple[str, ...]:
    """Every repository, the mistaken ones too, for others to name."""
    for name in repositories:
        wrong = as_name(name)
        if wrong:
            repositories.wrong(name, wrong)
        repositories.section(name, known=())
    return tuple(repositories)
