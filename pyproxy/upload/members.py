"""Names of archive members: harmless ones, each only once, wherever the archive may be extracted."""

from __future__ import annotations

import re
import unicodedata
from typing import Final

from pyproxy.model import printable
from pyproxy.upload.refusal import UploadRefused

_LENGTH: Final = 1024
_DEPTH: Final = 64

# Backslashes and drives are separators on some systems; control characters are shown or cut by others.
_HARMFUL = re.compile(r"[\x00-\x1f\x7f-\x9f\\]|\A[A-Za-z]:")
_NOWHERE: Final = frozenset({"", ".", ".."})


def safe_path(name: str) -> str:
    """The path without a folder's closing slash. Raises UploadRefused where it could lead anywhere else."""
    path = name.removesuffix("/")
    if len(name) > _LENGTH or name.count("/") > _DEPTH:
        raise UploadRefused(f"a member's name is too long: {printable(name)}")
    if _HARMFUL.search(path) or not _NOWHERE.isdisjoint(path.split("/")):
        raise UploadRefused(f"a member has a harmful name: {printable(name)}")
    return path


class Names:
    """The paths of an archive's members seen so far.

    Two that differ only in case, or in how a character is composed, are one file on the systems that think so: what is
    installed there would depend on the order of extraction.
    """

    def __init__(self, *, folders_may_repeat: bool) -> None:
        self._folders_may_repeat = folders_may_repeat
        self._leaves: dict[str, str] = {}
        self._folders: dict[str, str] = {}  # those that are members
        self._parents: set[str] = set()

    def add(self, path: str, *, folder: bool) -> None:
        """Notes a safe path. Raises UploadRefused."""
        key = _fold(path)
        other = self._leaves.get(key) or self._folders.get(key)
        if other is not None and not (folder and self._folders_may_repeat and other == path and key in self._folders):
            if other == path:
                raise UploadRefused(f"the archive has {printable(path)} twice")
            raise UploadRefused(f"{printable(other)} and {printable(path)} are the same file on some systems")
        if not folder and key in self._parents:
            raise UploadRefused(f"{printable(path)} is a file and a folder")
        (self._folders if folder else self._leaves)[key] = path
        self._note_parents(key)

    def _note_parents(self, key: str) -> None:
        at = key.rfind("/")
        while at > 0 and (parent := key[:at]) not in self._parents:
            if parent in self._leaves:
                # Also a link, through which what lies below would be written elsewhere.
                raise UploadRefused(f"{printable(parent)} is a file and a folder")
            self._parents.add(parent)
            at = key.rfind("/", 0, at)


def _fold(path: str) -> str:
    return path.lower() if path.isascii() else unicodedata.normalize("NFD", path.casefold())
