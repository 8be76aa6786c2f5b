"""What makes an archive an sdist: one folder named for project and version, with PKG-INFO at its top (PEP 517, 625)."""

from __future__ import annotations

from typing import BinaryIO, Final

from pyproxy.model import normalised, printable
from pyproxy.upload.bounds import Budget
from pyproxy.upload.members import Names, safe_path
from pyproxy.upload.named import Named, as_version
from pyproxy.upload.refusal import UploadRefused
from pyproxy.upload.tars import Tar, TarMember
from pyproxy.upload.zips import Zip

_PKG_INFO: Final = "PKG-INFO"
_DEPTH: Final = 64


def pkg_info(archive: BinaryIO, said: Named, size: int, budget: Budget) -> bytes:
    """PKG-INFO, byte for byte, of an sdist that was read to its end. Raises UploadRefused."""
    if said.filename.endswith(".zip"):
        return _of_zip(Zip(archive, size, budget), said, budget)
    return _of_tar(Tar(archive, budget), said, budget)


def _of_zip(archive: Zip, said: Named, budget: Budget) -> bytes:
    top = _Top(said)
    for member in archive.members.values():
        top.check(member.path, folder=member.folder)
    wanted = archive.members.get(top.pkg_info)
    if wanted is None or wanted.folder:
        raise UploadRefused(f"the sdist has no {_PKG_INFO} in its folder")
    found = archive.content(wanted, budget.bounds.metadata)
    for member in archive.members.values():
        for _ in archive.pieces(member):
            pass
    return found


def _of_tar(archive: Tar, said: Named, budget: Budget) -> bytes:
    top = _Top(said)
    names = Names(folders_may_repeat=True)
    files: set[str] = set()
    length = 0
    found = None
    for member in archive.members():
        length += len(member.name)
        if length > budget.bounds.directory:
            raise UploadRefused("the names in the archive are too long together", 413)
        path = safe_path(member.name)
        top.check(path, folder=member.folder)
        names.add(path, folder=member.folder)
        if member.link is not None:
            _check_link(member, member.link, path, files)
        elif not member.folder:
            files.add(path)
            if path == top.pkg_info:
                found = archive.content(budget.bounds.metadata)
    if found is None:
        raise UploadRefused(f"the sdist has no {_PKG_INFO} in its folder")
    return found


def _check_link(member: TarMember, link: str, path: str, files: set[str]) -> None:
    """A hard link leads to a file before it, a symbolic one to somewhere in the folder (as PEP 721 has it)."""
    if member.hard:
        if link not in files:
            raise UploadRefused(f"{printable(path)} is a link to what is not in the archive")
        return
    # All steps up come first, from a folder that is no link: "a/../.." may lead through one to anywhere.
    steps = link.removeprefix("./").split("/", _DEPTH)
    ups = 0
    while ups < len(steps) and steps[ups] == "..":
        ups += 1
    if ups >= path.count("/"):
        raise UploadRefused(f"{printable(path)} is a link that leads out of the sdist's folder")
    if steps[ups:] or not ups:
        safe_path("/".join(steps[ups:]))


class _Top:
    """The one folder in which everything lies."""

    def __init__(self, said: Named) -> None:
        self._said = said
        self._name: str | None = None

    @property
    def pkg_info(self) -> str:
        return f"{self._name}/{_PKG_INFO}"

    def check(self, path: str, *, folder: bool) -> None:
        """Refuses a member that lies elsewhere, and a folder of another name."""
        top, slash, _ = path.partition("/")
        if not slash and not folder:
            raise UploadRefused(f"{printable(path)} lies outside the sdist's folder")
        if self._name is None and self._fits(top):
            self._name = top
        if top != self._name:
            raise UploadRefused(f"an sdist of this name has one folder, {self._said.stem}, not {printable(top)}")

    def _fits(self, top: str) -> bool:
        """Whether name and version are those of the file's name, in whatever spelling."""
        return any(
            normalised(top[:at]) == self._said.project and as_version(top[at + 1 :]) == self._said.version
            for at, char in enumerate(top)
            if char == "-"
        )
