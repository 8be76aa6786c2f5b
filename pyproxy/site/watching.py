"""In which distributions a name may be both local and a remote's."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from fnmatch import fnmatchcase

from pyproxy.collisions import Watched
from pyproxy.config import Config, DistributionConfig
from pyproxy.filters import policy_of
from pyproxy.model import ProjectName
from pyproxy.site.remotes import origin_of


def watched_of(config: Config) -> Iterator[Watched]:
    """The distributions in which a name may be both local and a remote's."""
    for distribution in config.distributions.values():
        if distribution.repository is not None and distribution.remotes and distribution.merge == "ahead":
            yield Watched(
                name=distribution.name,
                repository=distribution.repository,
                version=distribution.repository_version,
                remotes={name: origin_of(config.remotes[name]) for name in distribution.remotes},
                private=private_of(distribution.private),
                admits=_admits(config, distribution),
            )


def _admits(config: Config, distribution: DistributionConfig) -> Callable[[str, ProjectName], bool]:
    """Whether the filters of a remote, and those of the distribution, let a project of this name in."""
    own = policy_of(distribution.filters)
    policies = {name: policy_of(config.remotes[name].filters) for name in distribution.remotes}
    return lambda remote, project: policies[remote].refuses(project) is None and own.refuses(project) is None


def private_of(globs: tuple[str, ...]) -> Callable[[ProjectName], bool]:
    return lambda project: any(fnmatchcase(project, glob) for glob in globs)
