"""The only outgoing HTTP: conditional fetches of pages, lists and small documents, file streams, and their failures.

`Upstream` is one remote. Errors of the client library are translated here, and nothing above knows the library.
"""

from pyproxy.upstream.client import ACCEPT_PAGE, LIST_LIMIT, PAGE_LIMIT, Upstream
from pyproxy.upstream.files import FileStream
from pyproxy.upstream.memory import FailureMemory
from pyproxy.upstream.values import (
    FileHead,
    Kind,
    ListFound,
    ListMissing,
    ListUnchanged,
    Missing,
    Observer,
    Pace,
    PageFound,
    PageMissing,
    PageUnchanged,
    RemoteSettings,
    SmallFound,
    Unchanged,
    Validators,
)

__all__ = [
    "ACCEPT_PAGE",
    "LIST_LIMIT",
    "PAGE_LIMIT",
    "FailureMemory",
    "FileHead",
    "FileStream",
    "Kind",
    "ListFound",
    "ListMissing",
    "ListUnchanged",
    "Missing",
    "Observer",
    "Pace",
    "PageFound",
    "PageMissing",
    "PageUnchanged",
    "RemoteSettings",
    "SmallFound",
    "Unchanged",
    "Upstream",
    "Validators",
]
