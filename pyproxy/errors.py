"""The family of errors. What went wrong in words a user can act on; nothing here knows HTTP.

Every message is one readable line without secrets: handlers send it to clients as it is.
"""

from __future__ import annotations

import math


class PyproxyError(Exception):
    """The root of all errors that pyproxy raises on purpose."""


class BadName(PyproxyError, ValueError):
    """A name that no project, file or digest can have."""


class ConfigError(PyproxyError):
    """A configuration that cannot be served; `mistakes` holds one line each."""

    def __init__(self, mistakes: list[str]) -> None:
        super().__init__("\n".join(mistakes))
        self.mistakes = mistakes


class NotThere(PyproxyError):
    """Asked, and known not to be there."""


class DistributionUnknown(NotThere):
    """No distribution is served under this base path."""


class ProjectUnknown(NotThere):
    """Every remote that was asked says that it has no such project. `fresh_for`: the seconds that they are believed."""

    def __init__(self, message: str, fresh_for: float = math.inf) -> None:
        super().__init__(message)
        self.fresh_for = fresh_for


class FileUnknown(NotThere):
    """The project's page names no such file."""


class Withheld(PyproxyError):
    """There, but policy keeps it from the client."""


class RemoteFailed(PyproxyError):
    """A remote could not be asked, or what it answered cannot be used.

    `remote` is its configured name. `final` tells that asking again at once is pointless: the
    remote is itself a proxy and has said that the fault lies further up.
    """

    def __init__(self, remote: str, why: str, *, final: bool = False, retry_after: float | None = None) -> None:
        super().__init__(f"remote {remote}: {why}")
        self.remote = remote
        self.why = why
        self.final = final
        self.retry_after = retry_after


class RemoteBusy(RemoteFailed):
    """The remote is alive but asks to be left alone for a while (429, 503 with Retry-After)."""


class ContentWrong(RemoteFailed):
    """A body whose digest, size or framing is not what the page or the headers promised."""


class PageUnreadable(PyproxyError):
    """A page of a remote that cannot be understood, or that passes a bound."""


class MetadataUnreadable(PyproxyError):
    """An archive that gives no core metadata: damaged, over a bound, or without any."""


class NotCached(PyproxyError):
    """Not in the cache, and policy forbids to fetch it."""


class StoreTrouble(PyproxyError):
    """The daemon's own store failed; the request may succeed later."""


class StoreFull(StoreTrouble):
    """No room: the disk, the quota or the index is full."""


class StoreInUse(StoreTrouble):
    """Another daemon holds the lock on this store."""


class BlobDamaged(StoreTrouble):
    """A stored blob is missing, cut or altered."""


class FileExists(PyproxyError):
    """A file name whose bytes are fixed for ever in this repository, asked to stand for other bytes."""


class VersionUnknown(PyproxyError):
    """A repository has no such version: never made, or pruned.

    No NotThere: a distribution pinned to it is misconfigured, and a 404 would send clients to other indexes.
    """


class BadRequirement(PyproxyError, ValueError):
    """A text that does not select files: a project's name, and after it versions, is what does."""


class NothingMatches(PyproxyError):
    """A requirement that selects none of a repository's files; nothing was changed."""
