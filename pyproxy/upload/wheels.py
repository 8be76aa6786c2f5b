"""What makes a sound zip archive a wheel: one dist-info folder, with METADATA, WHEEL and a RECORD that is right."""

from __future__ import annotations

from typing import BinaryIO, Final

from pyproxy.model import printable
from pyproxy.upload.bounds import Budget
from pyproxy.upload.named import Named
from pyproxy.upload.record import rows_of
from pyproxy.upload.refusal import UploadRefused
from pyproxy.upload.zips import Member, Zip

_INFO: Final = ".dist-info"


class Wheel:
    """An uploaded wheel, its headers read. The constructor raises UploadRefused."""

    def __init__(self, archive: BinaryIO, said: Named, size: int, budget: Budget) -> None:
        self._bounds = budget.bounds
        self._zip = Zip(archive, size, budget)
        self._info = said.stem + _INFO
        self._check_folder()

    def _check_folder(self) -> None:
        """Exactly the folder that the file's name tells: another one might be the one that an installer takes."""
        tops = {path.partition("/")[0] for path in self._zip.members}
        infos = {top for top in tops if top.lower().endswith(_INFO)}
        for other in sorted(infos - {self._info}):
            raise UploadRefused(f"a wheel of this name has the folder {self._info}, not {printable(other)}")
        if not infos:
            raise UploadRefused(f"the wheel has no folder {self._info}")

    def metadata(self) -> bytes:
        """METADATA, byte for byte. Raises UploadRefused."""
        return self._zip.content(self._member("METADATA"), self._bounds.metadata)

    def verify(self) -> None:
        """Inflates all of it: each member is what RECORD says. Raises UploadRefused."""
        self._zip.content(self._member("WHEEL"), self._bounds.metadata)
        record = self._member("RECORD")
        files = (member.path for member in self._zip.members.values() if not member.folder)
        rows = rows_of(self._zip.content(record, self._bounds.record), record.path, files)
        for member in self._zip.members.values():
            row = rows.get(member.path)
            pieces = self._zip.pieces(member)
            if row is not None:
                row.check(pieces)
            else:
                for _ in pieces:
                    pass

    def _member(self, name: str) -> Member:
        path = f"{self._info}/{name}"
        found = self._zip.members.get(path)
        if found is None or found.folder:
            raise UploadRefused(f"the wheel has no {path}")
        return found
