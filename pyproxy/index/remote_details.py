"""What a remote's JSON API tells of its projects, where it has one: kept by the rules of freshness, as it was given."""

from __future__ import annotations

import logging
import math
import time
from collections import OrderedDict
from collections.abc import Callable
from urllib.parse import quote

from pyproxy.errors import ContentWrong, FileUnknown
from pyproxy.index.documents import RemoteDocuments
from pyproxy.index.protocol import Details, Served
from pyproxy.model import ProjectName

log = logging.getLogger(__name__)

MISSING_REMEMBERED = 10_000
"""Addresses known to lead nowhere; beyond it the oldest are forgotten."""

_SIMPLE = "/simple/"


class RemoteDetails:
    """The documents of one remote. `url` is its simple index; `negative_ttl` how long a 404 is believed, in seconds."""

    def __init__(
        self,
        documents: RemoteDocuments,
        *,
        url: str,
        negative_ttl: float,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._documents = documents
        self._api = json_api_of(url)
        self._negative_ttl = negative_ttl
        self._clock = clock
        self._missing: OrderedDict[str, float] = OrderedDict()

    async def get(self, project: ProjectName, version: str | None) -> Served[Details]:
        """Without a document where the remote has none of it. Raises RemoteFailed, NotCached."""
        if self._api is None:
            return Served(Details(), "hit", self._negative_ttl)
        release = "" if version is None else f"{quote(version, safe='!+')}/"
        url = f"{self._api}{project}/{release}json"
        age = self._clock() - self._missing.get(url, -math.inf)
        if 0 <= age < self._negative_ttl:
            return Served(Details(), "hit", self._negative_ttl - age)
        try:
            served = await self._documents.get(url, f"what is told of {project}")
        except (FileUnknown, ContentWrong) as exc:
            # Whoever has a page for people at every address has no such API either; and what is over the bound now is
            # so in a moment too.
            log.debug("%s", exc)
            self._remember(url)
            return Served(Details(), "miss", self._negative_ttl)
        self._missing.pop(url, None)
        return Served(Details(served.value), served.result, served.fresh_for)

    async def close(self) -> None:
        await self._documents.close()

    def _remember(self, url: str) -> None:
        self._missing[url] = self._clock()
        self._missing.move_to_end(url)
        while len(self._missing) > MISSING_REMEMBERED:
            self._missing.popitem(last=False)


def json_api_of(url: str) -> str | None:
    """Where the JSON API of a simple index lies, by the public index's layout; None where nothing tells.

    `/simple/` has it at `/pypi/`, and `/pypi/team/simple/` (a pyproxy) at `/pypi/team/pypi/`.
    """
    return f"{url.removesuffix(_SIMPLE)}/pypi/" if url.endswith(_SIMPLE) else None
